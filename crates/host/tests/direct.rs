//! The log's lane by direct I/O, on a real file system: what it writes is what a lane on a thread writes.

use ordain_agent::disk::{Disk, DiskDone, DiskError, DiskOp, FileId, IoBytes};
use ordain_host::direct::DirectDisk;
use ordain_host::disk::{DataDir, FileDisk};
use ordain_host::doorbell::Doorbell;
use std::sync::Arc;
use std::time::Duration;

const SIZE: u64 = 256 * 1024;
const SEGMENT: FileId = FileId::Segment(3);

struct Rig {
    lane: DirectDisk,
    /// Creates files and reads them back, by way of the page cache.
    files: FileDisk,
    bell: Arc<Doorbell>,
    _dir: tempfile::TempDir,
}

impl Rig {
    /// `None`, aloud, where the lane does not exist.
    fn new() -> Option<Self> {
        // Beside the build's other files: the folder for temporary ones may be in memory.
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let data = DataDir::open(&dir.path().join("data")).unwrap();
        let bell = Doorbell::new().unwrap();
        let files = data.lane("files", 8, bell.clone()).unwrap();
        match DirectDisk::new(&data, 32, &bell) {
            Ok(lane) => Some(Self { lane, files, bell, _dir: dir }),
            Err(error) => {
                println!("SKIPPED: no direct I/O by io_uring here: {error}");
                None
            }
        }
    }

    fn wait(bell: &Doorbell, disk: &mut dyn Disk) -> DiskDone {
        loop {
            bell.announce();
            if let Some(done) = disk.poll() {
                bell.withdraw();
                return done;
            }
            assert!(bell.wait(Duration::from_secs(60)), "a completion did not wake");
        }
    }

    fn create(&mut self, file: FileId) {
        self.files.submit(DiskOp::Create { tag: 0, file, size: SIZE });
        Self::wait(&self.bell, &mut self.files).result.unwrap();
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) {
        let bytes = IoBytes::Owned(bytes.to_vec());
        self.lane.submit(DiskOp::Write { tag: offset, file: SEGMENT, offset, bytes });
    }

    fn sync(&mut self) {
        self.lane.submit(DiskOp::Sync { tag: u64::MAX, file: SEGMENT });
    }

    /// Tags of what is done, in order, until nothing is under way.
    fn settle(&mut self) -> Vec<u64> {
        let mut tags = Vec::new();
        while self.lane.free() < 32 {
            let done = Self::wait(&self.bell, &mut self.lane);
            let expected = if let DiskOp::Write { bytes, .. } = &done.op { bytes.len() } else { 0 };
            assert_eq!(done.result, Ok(expected));
            tags.push(done.op.tag());
        }
        tags
    }

    fn content(&mut self, file: FileId) -> Vec<u8> {
        self.files.submit(DiskOp::Read { tag: 0, file, offset: 0, buffer: vec![1; SIZE as usize] });
        let done = Self::wait(&self.bell, &mut self.files);
        assert_eq!(done.result, Ok(SIZE as usize));
        let DiskOp::Read { buffer, .. } = done.op else { panic!("another operation came back") };
        buffer
    }
}

/// A small generator of numbers that repeat: the state of an xorshift.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    fn bytes(&mut self, len: u64) -> Vec<u8> {
        (0..len).map(|_| self.below(255) as u8 + 1).collect()
    }
}

/// Appends of any size, in groups behind which a sync stands or does not, cuts with zeros over what is cut off,
/// and other files in between: the file always holds the log, and zeros behind it.
#[test]
fn a_log_is_written_byte_for_byte() {
    let Some(mut rig) = Rig::new() else { return };
    for seed in 1..=20 {
        let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed));
        rig.create(SEGMENT);
        let (mut log, mut end) = (vec![0_u8; SIZE as usize], 0_u64);
        for _ in 0..40 {
            match numbers.below(10) {
                // A cut: zeros from here to the old end, in two writes.
                0 if end > 0 => {
                    let keep = numbers.below(end);
                    let middle = keep + numbers.below(end - keep + 1);
                    rig.write(keep, &vec![0; (middle - keep) as usize]);
                    rig.write(middle, &vec![0; (end - middle) as usize]);
                    rig.sync();
                    log[keep as usize..end as usize].fill(0);
                    end = keep;
                }
                // Names change their meaning: files are opened anew.
                1 => {
                    rig.settle();
                    rig.create(FileId::Segment(4));
                }
                _ => {
                    for _ in 0..=numbers.below(3) {
                        let room = SIZE - end;
                        let large = numbers.below(4) == 0;
                        let len = numbers.below(if large { 20_000 } else { 300 }.min(room).max(1));
                        let bytes = numbers.bytes(len);
                        rig.write(end, &bytes);
                        log[end as usize..(end + len) as usize].copy_from_slice(&bytes);
                        end += len;
                    }
                    if numbers.below(3) > 0 {
                        rig.sync();
                    }
                }
            }
            if numbers.below(3) == 0 || rig.lane.free() < 8 {
                rig.settle();
                assert!(rig.content(SEGMENT) == log, "seed {seed}");
            }
        }
        rig.settle();
        assert!(rig.content(SEGMENT) == log, "seed {seed}");
    }
}

#[test]
fn completions_come_in_order_with_what_was_submitted() {
    let Some(mut rig) = Rig::new() else { return };
    rig.create(SEGMENT);
    for at in 0..5 {
        rig.write(at * 100, &[at as u8 + 1; 100]);
    }
    rig.sync();
    rig.write(500, &[9; 100]);
    rig.sync();
    rig.sync();
    assert_eq!(rig.settle(), [0, 100, 200, 300, 400, u64::MAX, 500, u64::MAX, u64::MAX]);
}

/// A write that begins in the middle of a block whose start the lane has not written.
#[test]
fn what_was_there_before_stays() {
    let Some(mut rig) = Rig::new() else { return };
    rig.create(SEGMENT);
    let bytes = IoBytes::Owned(vec![5; 5000]);
    rig.files.submit(DiskOp::Write { tag: 0, file: SEGMENT, offset: 0, bytes });
    Rig::wait(&rig.bell, &mut rig.files).result.unwrap();
    rig.write(5000, &[6; 10]);
    rig.sync();
    rig.settle();
    let content = rig.content(SEGMENT);
    assert!(content[..5000].iter().all(|byte| *byte == 5) && content[5000..5010] == [6; 10]);
    assert!(content[5010..].iter().all(|byte| *byte == 0));
}

#[test]
fn a_missing_file_is_told_and_the_lane_goes_on() {
    let Some(mut rig) = Rig::new() else { return };
    rig.write(0, &[1; 10]);
    rig.sync();
    for _ in 0..2 {
        let done = Rig::wait(&rig.bell, &mut rig.lane);
        assert_eq!(done.result, Err(DiskError::NotFound));
    }
    rig.create(SEGMENT);
    rig.write(0, &[1; 10]);
    rig.sync();
    assert_eq!(rig.settle(), [0, u64::MAX]);
}
