//! The journal's lane without a thread of its own: writes by io_uring past the page cache, each as one
//! operation with the sync behind it. It saves two changes of threads per sync, which cost as much as a third
//! of the sync itself on a small machine.
//!
//! Direct I/O moves whole blocks. The lane copies what is written behind the part of its first block that is
//! on the disk already, and fills the last block with zeros: it is for a log, whose files are zero behind its
//! end. A write is done when its bytes are on the disk, so this lane is for a node whose copy in memory counts
//! for nobody else; [`FileDisk`](crate::disk::FileDisk) tells of the two steps one by one.

use crate::disk::{DataDir, disk_error};
use crate::doorbell::Doorbell;
use ordain_agent::disk::{Disk, DiskDone, DiskError, DiskOp, FileId};
use ordain_sys::memory::AlignedBuffer;
use ordain_sys::uring::{Done, Uring};
use rustix::fs::{Mode, OFlags};
use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// Unit of direct I/O: what every device and file system in use takes, and a page.
const BLOCK: usize = 4096;

/// Bytes that go to the disk as one operation, at most: as much as one write of the journal, and the block
/// that it begins in.
const STAGE: usize = (1 << 20) + BLOCK;

/// The one operation that is under way at a time: writes of a log touch the same block again and again.
const TAG: usize = 0;

/// What the kernel is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Nothing.
    Idle,
    /// A write that covers so many operations at the front of the queue, and so many bytes.
    Write { operations: usize, bytes: usize },
    /// A sync, the operation at the front of the queue.
    Sync,
}

/// A file and what its last block, written in part, holds.
#[derive(Debug)]
struct Open {
    id: FileId,
    file: Arc<File>,
    generation: u64,
    /// End of the last write.
    end: u64,
    /// From the start of the block in which `end` lies.
    last_block: Box<[u8; BLOCK]>,
    /// Something was written that no operation has made durable.
    unsynced: bool,
}

/// See the module.
#[derive(Debug)]
pub struct DirectDisk {
    dir: DataDir,
    uring: Uring,
    capacity: usize,
    queue: VecDeque<DiskOp>,
    done: VecDeque<DiskDone>,
    step: Step,
    open: Option<Open>,
    /// With the lane while the kernel does not have it.
    stage: Option<AlignedBuffer>,
}

impl DirectDisk {
    /// A lane for up to `capacity` operations at a time, which wakes the owner of `bell`.
    ///
    /// # Errors
    /// If the system has no io_uring for this process, or the file system of `dir` no direct I/O.
    pub fn new(dir: &DataDir, capacity: usize, bell: &Doorbell) -> std::io::Result<Self> {
        try_direct_io(dir)?;
        let uring = Uring::new(2)?;
        bell.watch(&uring)?;
        Ok(Self {
            dir: dir.clone(),
            uring,
            capacity,
            queue: VecDeque::with_capacity(capacity),
            done: VecDeque::with_capacity(capacity),
            step: Step::Idle,
            open: None,
            stage: Some(AlignedBuffer::new(STAGE, BLOCK)),
        })
    }

    /// Gives the kernel what is at the front of the queue, if it has nothing.
    fn start(&mut self) {
        while self.step == Step::Idle
            && let Some(front) = self.queue.front()
        {
            let started = match front {
                DiskOp::Write { .. } => self.start_write(),
                DiskOp::Sync { file, .. } => self.start_sync(*file),
                other => panic!("a lane for a log writes and syncs: {other:?}"),
            };
            if let Err(error) = started {
                self.finish(1, Err(error));
            }
        }
    }

    /// Starts a write of as many operations at the front of the queue as continue one another and fit, made
    /// durable at once if a sync is behind them.
    fn start_write(&mut self) -> Result<(), DiskError> {
        let Some(DiskOp::Write { file: id, offset, .. }) = self.queue.front() else { unreachable!() };
        let (id, offset) = (*id, *offset);
        self.open(id)?;
        let path = || self.dir.path().join(crate::disk::file_name(id));
        let open = self.open.as_mut().expect("just opened");
        let Some(mut stage) = self.stage.take() else {
            return Err(DiskError::Io(format!(
                "cannot write {}: an operation was refused before",
                path().display()
            )));
        };

        let start = offset / BLOCK as u64 * BLOCK as u64;
        let mut filled = (offset - start) as usize;
        if filled > 0 {
            if offset <= open.end && open.end / BLOCK as u64 * BLOCK as u64 == start {
                stage[..filled].copy_from_slice(&open.last_block[..filled]);
            } else if let Err(error) = open.file.read_exact_at(&mut stage[..BLOCK], start) {
                self.stage = Some(stage);
                return Err(disk_error("read", &path(), &error));
            }
        }
        let (mut operations, mut bytes, mut durable) = (0, 0, false);
        for op in &self.queue {
            match op {
                DiskOp::Write { file, offset: at, bytes: more, .. }
                    if *file == id && *at == offset + bytes as u64 && filled + more.len() <= STAGE =>
                {
                    stage[filled..filled + more.len()].copy_from_slice(more);
                    filled += more.len();
                    bytes += more.len();
                    operations += 1;
                }
                DiskOp::Sync { file, .. } => {
                    durable = *file == id && !open.unsynced;
                    break;
                }
                _ => break,
            }
        }
        assert!(operations > 0, "a write is at most {} bytes", STAGE - BLOCK);
        let whole = filled.next_multiple_of(BLOCK);
        stage[filled..whole].fill(0);
        open.end = start + filled as u64;
        let last = filled / BLOCK * BLOCK;
        if last < whole {
            open.last_block.copy_from_slice(&stage[last..last + BLOCK]);
        }
        open.unsynced = !durable;
        self.step = Step::Write { operations: operations + usize::from(durable), bytes: whole };
        let submitted = self.uring.write(TAG, &open.file, start, stage, whole, durable);
        submitted.map_err(|error| disk_error("write", &path(), &error))
    }

    fn start_sync(&mut self, id: FileId) -> Result<(), DiskError> {
        self.open(id)?;
        let open = self.open.as_mut().expect("just opened");
        open.unsynced = false;
        self.step = Step::Sync;
        let submitted = self.uring.sync_data(TAG, &open.file);
        submitted
            .map_err(|error| disk_error("sync", &self.dir.path().join(crate::disk::file_name(id)), &error))
    }

    /// Opens a file, unless it is the one that is open and its name still means it.
    fn open(&mut self, id: FileId) -> Result<(), DiskError> {
        let generation = self.dir.generation();
        if self.open.as_ref().is_some_and(|open| open.id == id && open.generation == generation) {
            return Ok(());
        }
        let path = self.dir.path().join(crate::disk::file_name(id));
        let file = open_direct(&path, OFlags::empty()).map_err(|error| disk_error("open", &path, &error))?;
        // The first write finds its block on the disk.
        let (end, last_block) = (u64::MAX, Box::new([0; BLOCK]));
        self.open = Some(Open { id, file: Arc::new(file), generation, end, last_block, unsynced: true });
        Ok(())
    }

    fn take(&mut self, done: Done) {
        let step = std::mem::replace(&mut self.step, Step::Idle);
        self.stage = done.buffer.or(self.stage.take());
        let path = |lane: &Self| {
            let name = lane.open.as_ref().map(|open| crate::disk::file_name(open.id));
            lane.dir.path().join(name.unwrap_or_default())
        };
        match (step, done.result) {
            // An operation that was given up when the ring refused it.
            (Step::Idle, _) => {}
            (Step::Sync, Ok(_)) => self.finish(1, Ok(())),
            (Step::Sync, Err(error)) => self.finish(1, Err(disk_error("sync", &path(self), &error))),
            (Step::Write { operations, bytes }, Ok(written)) if written == bytes => {
                self.finish(operations, Ok(()));
            }
            (Step::Write { operations, bytes }, Ok(written)) => {
                let what = format!("{}: {written} of {bytes} bytes were written", path(self).display());
                self.finish(operations, Err(DiskError::Io(what)));
            }
            (Step::Write { operations, .. }, Err(error)) => {
                self.finish(operations, Err(disk_error("write", &path(self), &error)));
            }
        }
    }

    /// The operations at the front of the queue are done.
    fn finish(&mut self, operations: usize, result: Result<(), DiskError>) {
        self.step = Step::Idle;
        if result.is_err() {
            // What the file holds is not known.
            self.open = None;
        }
        for op in self.queue.drain(..operations) {
            let bytes = if let DiskOp::Write { bytes, .. } = &op { bytes.len() } else { 0 };
            self.done.push_back(DiskDone { op, result: result.clone().map(|()| bytes) });
        }
    }
}

impl Disk for DirectDisk {
    fn free(&self) -> usize {
        self.capacity - self.queue.len() - self.done.len()
    }

    fn submit(&mut self, op: DiskOp) {
        assert!(self.free() > 0, "submitted to a full lane");
        let is_sync = matches!(op, DiskOp::Sync { .. });
        self.queue.push_back(op);
        // A write waits for the sync that is probably next; the next poll starts it in any case.
        if is_sync {
            self.start();
        }
    }

    fn poll(&mut self) -> Option<DiskDone> {
        if self.done.is_empty() {
            while let Some(done) = self.uring.poll() {
                self.take(done);
            }
            self.start();
        }
        self.done.pop_front()
    }
}

fn open_direct(path: &std::path::Path, flags: OFlags) -> std::io::Result<File> {
    let flags = flags | OFlags::RDWR | OFlags::DIRECT | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::open(path, flags, Mode::from_raw_mode(0o600))?))
}

/// Whether the file system takes a direct write of one block.
fn try_direct_io(dir: &DataDir) -> std::io::Result<()> {
    let path = dir.path().join(format!("{}direct-io", crate::disk::UNFINISHED));
    let tried = open_direct(&path, OFlags::CREATE | OFlags::TRUNC)
        .and_then(|file| file.write_all_at(&AlignedBuffer::new(BLOCK, BLOCK), 0));
    // A file of this name that is left behind is removed when the directory is opened.
    let _ = std::fs::remove_file(&path);
    tried
}
