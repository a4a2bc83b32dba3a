//! File lanes on a real file system.

use ordain_agent::disk::{Disk, DiskDone, DiskError, DiskOp, FileId, IoBytes};
use ordain_host::disk::{DataDir, FileDisk, OpenError, file_id, file_name};
use ordain_host::doorbell::Doorbell;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

struct Lane {
    disk: FileDisk,
    bell: Arc<Doorbell>,
}

impl Lane {
    fn open(dir: &DataDir) -> Self {
        let bell = Doorbell::new().unwrap();
        Self { disk: dir.lane("lane", 8, bell.clone()).unwrap(), bell }
    }

    /// The next completion, waiting as a runner does.
    fn wait(&mut self) -> DiskDone {
        loop {
            self.bell.announce();
            if let Some(done) = self.disk.poll() {
                self.bell.withdraw();
                return done;
            }
            assert!(self.bell.wait(Duration::from_secs(60)), "a completion did not ring");
        }
    }

    fn run(&mut self, op: DiskOp) -> Result<DiskOp, DiskError> {
        self.disk.submit(op);
        let done = self.wait();
        done.result.map(|_| done.op)
    }

    fn create(&mut self, file: FileId, size: u64) -> Result<(), DiskError> {
        self.run(DiskOp::Create { tag: 1, file, size }).map(drop)
    }

    fn write(&mut self, file: FileId, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        let bytes = IoBytes::Owned(bytes.to_vec());
        self.run(DiskOp::Write { tag: 2, file, offset, bytes }).map(drop)
    }

    fn read(&mut self, file: FileId, offset: u64, length: usize) -> Result<Vec<u8>, DiskError> {
        self.disk.submit(DiskOp::Read { tag: 3, file, offset, buffer: vec![0xee; length] });
        let done = self.wait();
        let filled = done.result?;
        let DiskOp::Read { mut buffer, .. } = done.op else { panic!("another operation came back") };
        assert!(buffer[filled..].iter().all(|byte| *byte == 0xee), "written behind what was read");
        buffer.truncate(filled);
        Ok(buffer)
    }

    fn list(&mut self) -> Vec<(FileId, u64)> {
        match self.run(DiskOp::List { tag: 4, files: Vec::new() }) {
            Ok(DiskOp::List { files, .. }) => files,
            other => panic!("{other:?}"),
        }
    }
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

const SEGMENT: FileId = FileId::Segment(7);

#[test]
fn names_are_read_back_and_others_are_not_ours() {
    for file in [FileId::Segment(0), FileId::Segment(u64::MAX), FileId::NodeState, FileId::Facts] {
        assert_eq!(file_id(&file_name(file)), Some(file));
    }
    for name in ["segment-7.log", "segment-000000000000000G.log", "segment-+000000000000007.log", "LOCK", ""]
    {
        assert_eq!(file_id(name), None, "{name}");
    }
}

#[test]
fn a_file_lives_from_creation_to_removal() {
    let temp = tempfile::tempdir().unwrap();
    let mut lane = Lane::open(&DataDir::open(temp.path()).unwrap());
    let size = 3 * 1024 * 1024 + 17;
    lane.create(SEGMENT, size).unwrap();
    lane.create(FileId::NodeState, 512).unwrap();
    std::fs::write(temp.path().join("stranger"), "x").unwrap();
    assert_eq!(lane.list(), [(SEGMENT, size), (FileId::NodeState, 512)]);

    assert_eq!(lane.read(SEGMENT, 0, 8).unwrap(), [0; 8]);
    lane.write(SEGMENT, 100, b"abc").unwrap();
    lane.run(DiskOp::Sync { tag: 5, file: SEGMENT }).unwrap();
    lane.run(DiskOp::Sync { tag: 5, file: FileId::NodeState }).unwrap();
    assert_eq!(lane.read(SEGMENT, 99, 5).unwrap(), b"\0abc\0");
    assert_eq!(lane.read(SEGMENT, size - 2, 5).unwrap(), [0, 0], "a read ends with the file");
    assert_eq!(lane.read(SEGMENT, size + 2, 5).unwrap(), b"");

    lane.run(DiskOp::Remove { tag: 6, file: SEGMENT }).unwrap();
    lane.run(DiskOp::Remove { tag: 6, file: SEGMENT }).unwrap();
    assert_eq!(lane.read(SEGMENT, 0, 8), Err(DiskError::NotFound));
    assert_eq!(lane.write(SEGMENT, 0, b"a"), Err(DiskError::NotFound));
    assert_eq!(lane.run(DiskOp::Sync { tag: 5, file: SEGMENT }).unwrap_err(), DiskError::NotFound);
    assert_eq!(lane.list(), [(FileId::NodeState, 512)]);
}

#[test]
fn a_lane_sees_what_another_created_anew() {
    let temp = tempfile::tempdir().unwrap();
    let dir = DataDir::open(temp.path()).unwrap();
    let (mut writer, mut reader) = (Lane::open(&dir), Lane::open(&dir));
    writer.create(SEGMENT, 64).unwrap();
    writer.write(SEGMENT, 0, b"old").unwrap();
    assert_eq!(reader.read(SEGMENT, 0, 3).unwrap(), b"old");
    writer.create(SEGMENT, 64).unwrap();
    assert_eq!(reader.read(SEGMENT, 0, 3).unwrap(), [0; 3]);
    writer.write(SEGMENT, 0, b"new").unwrap();
    assert_eq!(reader.read(SEGMENT, 0, 3).unwrap(), b"new");
}

#[test]
fn completions_come_in_order_and_the_bound_holds() {
    let temp = tempfile::tempdir().unwrap();
    let mut lane = Lane::open(&DataDir::open(temp.path()).unwrap());
    lane.create(SEGMENT, 4096).unwrap();
    for round in 0..50 {
        let mut tag = round * 8;
        while lane.disk.free() > 0 {
            let bytes = IoBytes::Owned(vec![tag as u8; 16]);
            lane.disk.submit(DiskOp::Write { tag, file: SEGMENT, offset: 0, bytes });
            tag += 1;
        }
        assert_eq!(tag, round * 8 + 8);
        for expected in round * 8..tag {
            assert_eq!(lane.wait().op.tag(), expected);
        }
        assert_eq!(lane.read(SEGMENT, 0, 1).unwrap(), [(tag - 1) as u8]);
    }
}

#[test]
fn what_was_submitted_is_done_when_the_lane_is_dropped() {
    let temp = tempfile::tempdir().unwrap();
    let dir = DataDir::open(temp.path()).unwrap();
    let mut lane = Lane::open(&dir);
    lane.disk.submit(DiskOp::Create { tag: 0, file: SEGMENT, size: 4096 });
    let bytes = IoBytes::Owned(b"kept".to_vec());
    lane.disk.submit(DiskOp::Write { tag: 1, file: SEGMENT, offset: 0, bytes });
    drop(lane);
    assert_eq!(Lane::open(&dir).read(SEGMENT, 0, 4).unwrap(), b"kept");
}

#[test]
fn a_directory_has_one_user_and_the_error_names_it() {
    let temp = tempfile::tempdir().unwrap();
    let dir = DataDir::open(temp.path()).unwrap();
    let lane = Lane::open(&dir);
    drop(dir);
    let error = DataDir::open(temp.path()).unwrap_err();
    assert!(matches!(error, OpenError::InUse { pid: Some(pid), .. } if pid == std::process::id()), "{error}");
    assert!(error.to_string().contains(&format!("in use by process {}", std::process::id())));
    drop(lane);
    DataDir::open(temp.path()).unwrap();
}

#[test]
fn what_a_crash_left_unfinished_is_removed() {
    let temp = tempfile::tempdir().unwrap();
    std::fs::write(temp.path().join(".new-segment-0000000000000007.log"), "half").unwrap();
    let mut lane = Lane::open(&DataDir::open(temp.path()).unwrap());
    assert_eq!(lane.list(), []);
    assert_eq!(names(temp.path()), ["LOCK"]);
}

/// A small file system of its own, if this user may mount one.
struct SmallFileSystem(tempfile::TempDir);

impl SmallFileSystem {
    fn mount() -> Option<Self> {
        let temp = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=2m", "ordain-test"]).arg(temp.path());
        mount.output().is_ok_and(|done| done.status.success()).then_some(Self(temp))
    }
}

impl Drop for SmallFileSystem {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).output();
    }
}

#[test]
fn a_disk_stalls_as_long_as_its_file_exists() {
    let temp = tempfile::tempdir().unwrap();
    let stall = temp.path().join("stall");
    let dir = DataDir::open(&temp.path().join("data")).unwrap().stalling_while(Some(stall.clone()));
    let mut lane = Lane::open(&dir);
    lane.create(SEGMENT, 4096).unwrap();
    std::fs::write(&stall, []).unwrap();
    // A write reaches the kernel; what has to reach the disk waits.
    lane.write(SEGMENT, 0, b"there").unwrap();
    let syncing = std::thread::spawn(move || lane.run(DiskOp::Sync { tag: 5, file: SEGMENT }).map(|_| ()));
    std::thread::sleep(std::time::Duration::from_millis(50));
    assert!(!syncing.is_finished());
    std::fs::remove_file(&stall).unwrap();
    assert_eq!(syncing.join().unwrap(), Ok(()));
}

#[test]
fn a_full_file_system_is_an_error_and_leaves_nothing_behind() {
    let Some(small) = SmallFileSystem::mount() else {
        eprintln!("SKIPPED: this user may not mount a small file system, so a full one was not tried");
        return;
    };
    let dir = DataDir::open(small.0.path()).unwrap();
    let mut lane = Lane::open(&dir);
    lane.create(SEGMENT, 1 << 20).unwrap();
    assert_eq!(lane.create(FileId::Segment(8), 4 << 20), Err(DiskError::NoSpace));
    assert_eq!(names(small.0.path()), ["LOCK", "segment-0000000000000007.log"]);
    assert_eq!(lane.write(SEGMENT, 1 << 20, &vec![1; 4 << 20]), Err(DiskError::NoSpace));
    lane.write(SEGMENT, 0, b"room").unwrap();
}

#[test]
fn a_refusal_by_the_system_names_the_path() {
    let temp = tempfile::tempdir().unwrap();
    let mut lane = Lane::open(&DataDir::open(temp.path()).unwrap());
    // A directory in a file's place can be opened by nobody for writing, not even by root.
    std::fs::create_dir(temp.path().join(file_name(SEGMENT))).unwrap();
    let Err(DiskError::Io(text)) = lane.write(SEGMENT, 0, b"a") else { panic!("written into a directory") };
    assert!(text.contains("segment-0000000000000007.log") && text.contains("directory"), "{text}");

    if rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: root may do everything, so permissions were not tried");
        return;
    }
    let path = temp.path().join(file_name(FileId::NodeState));
    std::fs::write(&path, "state").unwrap();
    let mut permissions = std::fs::metadata(&path).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o000);
    std::fs::set_permissions(&path, permissions).unwrap();
    let Err(DiskError::Denied(text)) = lane.read(FileId::NodeState, 0, 1) else {
        panic!("read without leave")
    };
    assert!(text.contains("node-state"), "{text}");
}
