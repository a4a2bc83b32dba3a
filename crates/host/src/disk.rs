//! A data directory on a real file system: its lock, its files, and lanes that do the blocking calls on
//! threads of their own.
//!
//! Files: `segment-%016x.log`, `snapshot-%016x`, `incoming-%016x`, `succession`, `node-state`,
//! `facts`, `address`. Names that begin with `.new-` are files under
//! construction that a crash left behind; they are removed when the directory is opened.

use crate::doorbell::Doorbell;
use ordain_agent::disk::{Disk, DiskDone, DiskError, DiskOp, FileId};
use rustix::fs::{Advice, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::num::NonZeroU64;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// Files that a lane keeps open. Beyond it the lane closes all and opens anew what it needs: a journal
/// touches two segments at a time, a reader goes through them in order.
const OPEN_MAX: usize = 16;

/// Zeros are written in chunks of this size, so that creating a segment needs little memory.
const ZERO_CHUNK: usize = 1 << 20;

/// A file under construction is synced whenever this many bytes were written, so that the device's queue
/// stays short for the journal's own syncs.
const ZERO_SYNC: u64 = 8 << 20;

/// How often a stalled disk looks whether it still is.
const STALL_LOOK: Duration = Duration::from_millis(1);

pub(crate) const UNFINISHED: &str = ".new-";

/// Why a data directory cannot be used.
#[derive(Debug)]
pub enum OpenError {
    /// Another process uses it.
    InUse {
        /// The directory.
        path: PathBuf,
        /// The process that the lock file names; it may be unreadable.
        pid: Option<u32>,
    },
    /// The operating system refused.
    Io {
        /// What was tried, on which path.
        what: String,
        /// Its answer.
        error: std::io::Error,
    },
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse { path, pid } => {
                write!(f, "data directory {} is in use by ", path.display())?;
                match pid {
                    Some(pid) => write!(f, "process {pid}. Stop it first")?,
                    None => write!(f, "another process. Stop it first")?,
                }
                write!(f, ", or name another directory with --data")
            }
            Self::Io { what, error } => {
                write!(f, "{what}: {error}. Check the path, its owner and its permissions")
            }
        }
    }
}

impl std::error::Error for OpenError {}

/// A data directory, locked for this process as long as this or a lane of it lives.
#[derive(Clone, Debug)]
pub struct DataDir(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    directory: File,
    /// Counts files created and removed: a lane that sees it move closes what it has open, because a name
    /// may mean another file now.
    generation: AtomicU64,
    /// As long as this file exists, the disk stalls; for experiments.
    stall_while: Option<PathBuf>,
    _lock: File,
}

impl DataDir {
    /// Opens the directory, creating it (mode 0700) if it is not there, and locks it.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let failed = |what: &'static str, at: &Path| {
            let what = format!("{what} {}", at.display());
            move |error| OpenError::Io { what, error }
        };
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(failed("cannot create data directory", path))?;
        let directory = File::open(path).map_err(failed("cannot open data directory", path))?;
        let lock = lock(path, failed("cannot lock data directory", path))?;
        let names = std::fs::read_dir(path).map_err(failed("cannot list data directory", path))?;
        for entry in names.flatten() {
            if entry.file_name().to_str().is_some_and(|name| name.starts_with(UNFINISHED)) {
                std::fs::remove_file(entry.path()).map_err(failed("cannot remove", &entry.path()))?;
            }
        }
        let generation = AtomicU64::new(0);
        let path = path.to_owned();
        Ok(Self(Arc::new(Inner { path, directory, generation, stall_while: None, _lock: lock })))
    }

    /// Lets the disk stall as long as the file exists: whatever its lanes sync, make, remove or rename waits. Writes
    /// go on, as they do into a kernel's memory, until they stand behind such an operation of their lane.
    ///
    /// # Panics
    /// If a lane exists.
    #[must_use]
    pub fn stalling_while(mut self, file: Option<PathBuf>) -> Self {
        Arc::get_mut(&mut self.0).expect("no lane exists yet").stall_while = file;
        self
    }

    fn stall(&self) {
        if let Some(file) = &self.0.stall_while {
            while file.exists() {
                std::thread::sleep(STALL_LOOK);
            }
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Moves whenever a name may mean another file than before.
    pub(crate) fn generation(&self) -> u64 {
        self.0.generation.load(Ordering::Acquire)
    }

    /// A lane for up to `capacity` operations at a time, with a thread of its own called `name`, which
    /// rings `bell` whenever an operation is done.
    ///
    /// # Errors
    /// If the thread cannot be started.
    ///
    /// # Panics
    /// If `capacity` is 0.
    pub fn lane(&self, name: &str, capacity: usize, bell: Arc<Doorbell>) -> std::io::Result<FileDisk> {
        self.spawn(name, capacity, bell, false)
    }

    /// A lane that reads what the disk holds, not what the kernel remembers of it, as far as the kernel follows advice.
    ///
    /// # Errors
    /// If the thread cannot be started.
    ///
    /// # Panics
    /// If `capacity` is 0.
    pub fn cold_lane(&self, name: &str, capacity: usize, bell: Arc<Doorbell>) -> std::io::Result<FileDisk> {
        self.spawn(name, capacity, bell, true)
    }

    fn spawn(
        &self,
        name: &str,
        capacity: usize,
        bell: Arc<Doorbell>,
        cold: bool,
    ) -> std::io::Result<FileDisk> {
        assert!(capacity > 0, "a lane holds at least one operation");
        let (submit, operations) = sync_channel(capacity);
        // As many completions as operations can be under way: sending one never waits.
        let (finish, completions) = sync_channel(capacity);
        let worker = Worker { dir: self.clone(), open: BTreeMap::new(), generation: 0, cold };
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || worker.run(&operations, &finish, &bell))?;
        Ok(FileDisk { submit: Some(submit), completions, capacity, busy: 0, thread: Some(thread) })
    }
}

fn lock(path: &Path, failed: impl FnOnce(std::io::Error) -> OpenError) -> Result<File, OpenError> {
    let held = || -> std::io::Result<Result<File, Option<u32>>> {
        let mut options = File::options();
        let mut file = options.read(true).write(true).create(true).truncate(false).open(path.join("LOCK"))?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let mut pid = String::new();
                // Best effort: the holder may be about to write it.
                let _ = Read::by_ref(&mut file).take(32).read_to_string(&mut pid);
                return Ok(Err(pid.trim().parse().ok()));
            }
            Err(error) => return Err(error.into()),
        }
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{}", std::process::id())?;
        Ok(Ok(file))
    };
    held().map_err(failed)?.map_err(|pid| OpenError::InUse { path: path.to_owned(), pid })
}

/// The name of a file in its data directory.
#[must_use]
pub fn file_name(file: FileId) -> String {
    match file {
        FileId::Segment(number) => format!("segment-{number:016x}.log"),
        FileId::NodeState => "node-state".to_owned(),
        FileId::Facts => "facts".to_owned(),
        FileId::Snapshot(position) => format!("snapshot-{position:016x}"),
        FileId::SnapshotDraft => format!("{UNFINISHED}snapshot"),
        FileId::SegmentDraft => format!("{UNFINISHED}segment"),
        FileId::Incoming(position) => format!("incoming-{position:016x}"),
        FileId::Diverged => "diverged".to_owned(),
        FileId::Succession => "succession".to_owned(),
    }
}

/// The inverse of [`file_name`]; `None` for files that are none of ours.
#[must_use]
pub fn file_id(name: &str) -> Option<FileId> {
    let file = match name {
        "node-state" => FileId::NodeState,
        "facts" => FileId::Facts,
        "diverged" => FileId::Diverged,
        "succession" => FileId::Succession,
        _ => {
            let number = |digits: &str| u64::from_str_radix(digits, 16).ok();
            let (kind, rest) = name.split_once('-')?;
            match kind {
                "snapshot" => FileId::Snapshot(number(rest)?),
                "incoming" => FileId::Incoming(number(rest)?),
                "segment" => FileId::Segment(number(rest.strip_suffix(".log")?)?),
                _ => return None,
            }
        }
    };
    (file_name(file) == name).then_some(file)
}

/// A lane of a [`DataDir`]. Dropping it waits for what was submitted.
#[derive(Debug)]
pub struct FileDisk {
    submit: Option<SyncSender<DiskOp>>,
    completions: Receiver<DiskDone>,
    capacity: usize,
    busy: usize,
    thread: Option<JoinHandle<()>>,
}

impl Disk for FileDisk {
    fn free(&self) -> usize {
        self.capacity - self.busy
    }

    fn submit(&mut self, op: DiskOp) {
        assert!(self.free() > 0, "submitted to a full lane");
        self.busy += 1;
        let lane = self.submit.as_ref().expect("open until dropped");
        lane.try_send(op).unwrap_or_else(|_| panic!("a lane's thread lives as long as the lane"));
    }

    fn poll(&mut self) -> Option<DiskDone> {
        let done = self.completions.try_recv().ok()?;
        self.busy -= 1;
        Some(done)
    }
}

impl Drop for FileDisk {
    fn drop(&mut self) {
        self.submit = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was reported by the panic hook; a drop has nobody to tell.
            let _ = thread.join();
        }
    }
}

/// The blocking side of a lane.
struct Worker {
    dir: DataDir,
    open: BTreeMap<FileId, File>,
    generation: u64,
    /// What is read comes from the disk.
    cold: bool,
}

impl Worker {
    fn run(mut self, operations: &Receiver<DiskOp>, finish: &SyncSender<DiskDone>, bell: &Doorbell) {
        while let Ok(mut op) = operations.recv() {
            let result = self.execute(&mut op);
            if finish.send(DiskDone { op, result }).is_err() {
                return;
            }
            bell.ring();
        }
    }

    fn execute(&mut self, op: &mut DiskOp) -> Result<usize, DiskError> {
        let generation = self.dir.generation();
        if generation != self.generation || self.open.len() > OPEN_MAX {
            self.open.clear();
            self.generation = generation;
        }
        if !matches!(op, DiskOp::Write { .. } | DiskOp::Read { .. } | DiskOp::List { .. }) {
            self.dir.stall();
        }
        match op {
            DiskOp::Write { file, offset, bytes, .. } => {
                self.with("write", *file, |open| open.write_all_at(bytes, *offset))?;
                Ok(bytes.len())
            }
            DiskOp::Sync { file, .. } => {
                self.with("sync", *file, File::sync_data)?;
                Ok(0)
            }
            DiskOp::Read { file, offset, buffer, .. } => {
                let cold = self.cold;
                self.with("read", *file, |open| {
                    if cold {
                        // Advice: where it is not followed, less is found.
                        let len = NonZeroU64::new(buffer.len() as u64);
                        let _ = rustix::fs::fadvise(open, *offset, len, Advice::DontNeed);
                    }
                    read_at(open, buffer, *offset)
                })
            }
            DiskOp::Create { file, size, .. } => self.create(*file, *size).map(|()| 0),
            DiskOp::Remove { file, .. } => self.remove(*file).map(|()| 0),
            DiskOp::Rename { from, to, .. } => self.rename(*from, *to).map(|()| 0),
            DiskOp::List { files, .. } => self.list(files).map(|()| 0),
        }
    }

    fn path(&self, file: FileId) -> PathBuf {
        self.dir.path().join(file_name(file))
    }

    fn with<R>(
        &mut self,
        what: &str,
        file: FileId,
        act: impl FnOnce(&File) -> std::io::Result<R>,
    ) -> Result<R, DiskError> {
        if !self.open.contains_key(&file) {
            let path = self.path(file);
            let opened = File::options().read(true).write(true).open(&path);
            self.open.insert(file, opened.map_err(|error| disk_error("open", &path, &error))?);
        }
        act(&self.open[&file]).map_err(|error| disk_error(what, &self.path(file), &error))
    }

    fn create(&mut self, file: FileId, size: u64) -> Result<(), DiskError> {
        let unfinished = self.dir.path().join(format!("{UNFINISHED}{}", file_name(file)));
        let path = self.path(file);
        let made = write_zeros(&unfinished, size).and_then(|()| std::fs::rename(&unfinished, &path));
        self.changed();
        if let Err(error) = made {
            // Nothing more can be done if this fails too: opening the directory removes it.
            let _ = std::fs::remove_file(&unfinished);
            return Err(disk_error("create", &path, &error));
        }
        self.dir.0.directory.sync_all().map_err(|error| {
            let _ = std::fs::remove_file(&path);
            disk_error("sync the directory of", &path, &error)
        })
    }

    fn remove(&mut self, file: FileId) -> Result<(), DiskError> {
        let path = self.path(file);
        let removed = match std::fs::remove_file(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            other => other,
        };
        self.changed();
        removed
            .and_then(|()| self.dir.0.directory.sync_all())
            .map_err(|error| disk_error("remove", &path, &error))
    }

    fn rename(&mut self, from: FileId, to: FileId) -> Result<(), DiskError> {
        let path = self.path(to);
        let renamed = std::fs::rename(self.path(from), &path);
        self.changed();
        renamed
            .and_then(|()| self.dir.0.directory.sync_all())
            .map_err(|error| disk_error("rename a file to", &path, &error))
    }

    /// Names have changed their meaning: no lane may go on with the files it has open.
    fn changed(&self) {
        self.dir.0.generation.fetch_add(1, Ordering::Release);
    }

    fn list(&self, files: &mut Vec<(FileId, u64)>) -> Result<(), DiskError> {
        files.clear();
        let dir = self.dir.path();
        let mut list = || -> std::io::Result<()> {
            for entry in std::fs::read_dir(dir)? {
                let entry = entry?;
                let Some(file) = entry.file_name().to_str().and_then(file_id) else { continue };
                match entry.metadata() {
                    Ok(metadata) => files.push((file, metadata.len())),
                    // Another lane removed it meanwhile.
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        };
        list().map_err(|error| disk_error("list", dir, &error))?;
        files.sort_unstable();
        Ok(())
    }
}

fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(bytes) => filled += bytes,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Zeros are written and not merely reserved: a sync after a write into reserved space also has to make
/// the change of its extent durable, which costs a fifth more.
fn write_zeros(path: &Path, size: u64) -> std::io::Result<()> {
    let flags = OFlags::CREATE | OFlags::TRUNC | OFlags::RDWR | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::from_raw_mode(0o600))?);
    let zeros = vec![0; ZERO_CHUNK.min(usize::try_from(size).unwrap_or(ZERO_CHUNK))];
    let mut offset = 0;
    while offset < size {
        let chunk = (size - offset).min(ZERO_CHUNK as u64);
        file.write_all_at(&zeros[..chunk as usize], offset)?;
        offset += chunk;
        if offset % ZERO_SYNC == 0 {
            file.sync_data()?;
        }
    }
    file.sync_all()
}

pub(crate) fn disk_error(what: &str, path: &Path, error: &std::io::Error) -> DiskError {
    let text = || format!("cannot {what} {}: {error}", path.display());
    match Errno::from_io_error(error) {
        Some(Errno::NOSPC | Errno::DQUOT) => DiskError::NoSpace,
        Some(Errno::NOENT) => DiskError::NotFound,
        Some(Errno::ACCESS | Errno::PERM | Errno::ROFS) => DiskError::Denied(text()),
        _ => DiskError::Io(text()),
    }
}
