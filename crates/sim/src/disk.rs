//! A node's disk: what the operating system holds, what the device holds, and how the two differ when the
//! power goes. Lanes complete at random delays; crashes keep what a real machine may keep.

use crate::rng::Rng;
use crate::trace::Trace;
use ordain_agent::disk::{Disk, DiskDone, DiskError, DiskOp, FileId, IoBytes};
use ordain_agent::witness::{Witness, WitnessError};
use ordain_node::journal::read_state;
use ordain_types::BatchIndex;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

/// Bytes that reach the device whole or not at all.
pub const SECTOR: usize = 512;

/// How long operations take, nanoseconds, shortest and longest.
#[derive(Clone, Copy, Debug)]
pub struct Speed {
    /// Writes, reads, lists.
    pub quick: (u64, u64),
    /// Syncs.
    pub sync: (u64, u64),
    /// Creates and removes.
    pub meta: (u64, u64),
}

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// The process is killed: what the operating system has, stays.
    Kill,
    /// Power loss: of what was not synced, any sectors may be missing; about this many percent stay.
    Power(u64),
}

#[derive(Debug, Default)]
struct File {
    written: Vec<u8>,
    durable: Vec<u8>,
    /// Sectors written and not synced.
    dirty: Vec<bool>,
    /// Sectors whose sync failed: the operating system calls them clean, the device never got them.
    lost: Vec<bool>,
}

impl File {
    fn new(size: usize) -> Self {
        let sectors = size.div_ceil(SECTOR);
        Self {
            written: vec![0; size],
            durable: vec![0; size],
            dirty: vec![false; sectors],
            lost: vec![false; sectors],
        }
    }

    fn grow(&mut self, size: usize) {
        if size > self.written.len() {
            self.written.resize(size, 0);
            self.durable.resize(size, 0);
            self.dirty.resize(size.div_ceil(SECTOR), false);
            self.lost.resize(size.div_ceil(SECTOR), false);
        }
    }

    fn write(&mut self, offset: usize, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let end = offset + bytes.len();
        self.grow(end);
        self.written[offset..end].copy_from_slice(bytes);
        for sector in offset / SECTOR..end.div_ceil(SECTOR) {
            self.dirty[sector] = true;
            self.lost[sector] = false;
        }
    }

    fn sectors(&self, sector: usize) -> core::ops::Range<usize> {
        sector * SECTOR..((sector + 1) * SECTOR).min(self.written.len())
    }

    fn sync(&mut self) {
        for sector in 0..self.dirty.len() {
            if core::mem::take(&mut self.dirty[sector]) {
                let range = self.sectors(sector);
                self.durable[range.clone()].copy_from_slice(&self.written[range]);
            }
        }
    }

    fn fail_sync(&mut self) {
        for sector in 0..self.dirty.len() {
            if core::mem::take(&mut self.dirty[sector]) {
                self.lost[sector] = true;
            }
        }
    }

    /// The kernel drops pages that it calls clean, of which some never reached the device.
    fn drop_pages(&mut self) {
        for sector in 0..self.lost.len() {
            if core::mem::take(&mut self.lost[sector]) {
                let range = self.sectors(sector);
                self.written[range.clone()].copy_from_slice(&self.durable[range]);
            }
        }
    }

    fn lose_power(&mut self, keep: u64, rng: &mut Rng) {
        for sector in 0..self.dirty.len() {
            let range = self.sectors(sector);
            if self.dirty[sector] && rng.percent(keep) {
                self.durable[range.clone()].copy_from_slice(&self.written[range.clone()]);
            }
            if self.dirty[sector] || self.lost[sector] {
                self.written[range.clone()].copy_from_slice(&self.durable[range]);
            }
            self.dirty[sector] = false;
            self.lost[sector] = false;
        }
    }

    /// A sector may be dirty for what follows these bytes: either version of it holds them.
    fn is_durable(&self, offset: usize, length: usize) -> bool {
        let range = offset..offset + length;
        self.written.get(range.clone()).is_some_and(|written| self.durable.get(range) == Some(written))
    }
}

#[derive(Debug)]
struct Pending {
    due: u64,
    op: DiskOp,
}

#[derive(Debug, Default)]
struct Lane {
    capacity: usize,
    pending: VecDeque<Pending>,
    done: VecDeque<DiskDone>,
}

/// What a disk says and does not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// Calls segments synced that are not.
    SyncsNothing,
    /// Calls segments written before they are.
    WritesLater,
    /// Keeps the node state for a kill but not for a power loss.
    ForgetsNodeState,
}

/// Faults to come, counted in operations.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// Syncs that will fail.
    pub syncs: u32,
    /// Writes that will fail.
    pub writes: u32,
    /// Creates that will fail for another reason than space.
    pub creates: u32,
    /// Reads of segments that will give something else than is there.
    pub misreads: u32,
    /// The file system is full: nothing can be created.
    pub full: bool,
    /// No sync of a segment finishes before this time.
    pub stalled_until: u64,
}

/// One node's disk.
#[derive(Debug)]
pub struct Store {
    node: u64,
    now: u64,
    rng: Rng,
    speed: Speed,
    trace: Trace,
    files: BTreeMap<FileId, File>,
    lanes: Vec<Lane>,
    /// Faults to come.
    pub faults: Faults,
    /// What is wrong with it.
    pub lie: Option<Lie>,
    /// Writes that were called done.
    late: Option<DiskOp>,
    /// An operation that stops a node has failed in this life of the process.
    pub failed: bool,
    /// A file could not be created for lack of space in this life of the process.
    pub refused: bool,
    /// Operations finished since somebody last looked: a reason to run the node's stages.
    pub woke: bool,
    /// Segments whose mended copy got their name since somebody last looked.
    pub mended: Vec<u64>,
    /// What the operating system, not the device, remembers of how far the journal is written.
    noted: Option<BatchIndex>,
}

/// Handle of a node's disk.
#[derive(Clone, Debug)]
pub struct StoreHandle(Arc<Mutex<Store>>);

impl Witness for StoreHandle {
    fn recall(&self) -> Option<BatchIndex> {
        self.lock().noted
    }

    fn note(&mut self, written: BatchIndex) -> Result<(), WitnessError> {
        self.lock().noted = Some(written);
        Ok(())
    }
}

impl StoreHandle {
    /// An empty disk.
    #[must_use]
    pub fn new(node: u64, speed: Speed, rng: Rng, trace: Trace) -> Self {
        Self(Arc::new(Mutex::new(Store {
            node,
            now: 0,
            rng,
            speed,
            trace,
            files: BTreeMap::new(),
            lanes: Vec::new(),
            faults: Faults::default(),
            lie: None,
            late: None,
            failed: false,
            refused: false,
            woke: false,
            mended: Vec::new(),
            noted: None,
        })))
    }

    /// The disk itself.
    pub fn lock(&self) -> MutexGuard<'_, Store> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// A new lane for a stage of the present process.
    #[must_use]
    pub fn lane(&self, capacity: usize) -> SimDisk {
        let mut store = self.lock();
        store.lanes.push(Lane { capacity, ..Lane::default() });
        SimDisk { store: self.clone(), lane: store.lanes.len() - 1 }
    }
}

fn file_number(file: FileId) -> u64 {
    match file {
        FileId::Segment(number) => number,
        FileId::NodeState => u64::MAX,
        FileId::Facts => u64::MAX - 1,
        FileId::SnapshotDraft => u64::MAX - 2,
        FileId::Succession => u64::MAX - 3,
        FileId::Diverged => u64::MAX - 4,
        FileId::SegmentDraft => u64::MAX - 5,
        FileId::Snapshot(position) => position | 1 << 63,
        FileId::Incoming(position) => position | 1 << 62,
    }
}

impl Store {
    /// When the next operation finishes, if one is under way.
    #[must_use]
    pub fn next_due(&self) -> Option<u64> {
        self.lanes.iter().filter_map(|lane| lane.pending.front().map(|pending| pending.due)).min()
    }

    /// Lets every operation that is due by `now` take effect, in order of time.
    pub fn advance(&mut self, now: u64) {
        self.now = now;
        loop {
            let next = (0..self.lanes.len())
                .filter_map(|lane| self.lanes[lane].pending.front().map(|pending| (pending.due, lane)))
                .min()
                .filter(|(due, _)| *due <= now);
            let Some((_, lane)) = next else { return };
            let pending = self.lanes[lane].pending.pop_front().expect("it was just seen");
            let done = self.perform(pending.op);
            self.lanes[lane].done.push_back(done);
            self.woke = true;
        }
    }

    fn perform(&mut self, mut op: DiskOp) -> DiskDone {
        let (name, file, a, b) = match &op {
            DiskOp::Write { file, offset, bytes, .. } => ("write", *file, *offset, bytes.len() as u64),
            DiskOp::Sync { file, .. } => ("sync", *file, 0, 0),
            DiskOp::Read { file, offset, buffer, .. } => ("read", *file, *offset, buffer.len() as u64),
            DiskOp::Create { file, size, .. } => ("create", *file, *size, 0),
            DiskOp::Remove { file, .. } => ("remove", *file, 0, 0),
            DiskOp::Rename { to, .. } => ("rename", *to, 0, 0),
            DiskOp::List { .. } => ("list", FileId::Facts, 0, 0),
        };
        let result = self.effect(&mut op);
        match &op {
            DiskOp::Rename { to: FileId::Snapshot(_), .. } if result.is_ok() => {
                self.trace.mark("snapshot stored")
            }
            DiskOp::Remove { file: FileId::Segment(_), .. } => self.trace.mark("segment removed"),
            _ => {}
        }
        self.trace.event(name, &[self.node, file_number(file), a, b, u64::from(result.is_ok())]);
        DiskDone { op, result }
    }

    fn effect(&mut self, op: &mut DiskOp) -> Result<usize, DiskError> {
        match op {
            DiskOp::Sync { file: FileId::Segment(_), .. } if self.lie == Some(Lie::SyncsNothing) => Ok(0),
            DiskOp::Sync { file: FileId::NodeState, .. } if self.lie == Some(Lie::ForgetsNodeState) => Ok(0),
            DiskOp::Write { file: file @ FileId::Segment(_), offset, bytes, .. }
                if self.lie == Some(Lie::WritesLater) =>
            {
                let length = bytes.len();
                let bytes = IoBytes::Owned(bytes.to_vec());
                let later = DiskOp::Write { tag: 0, file: *file, offset: *offset, bytes };
                if let Some(DiskOp::Write { file, offset, bytes, .. }) = self.late.replace(later) {
                    self.file(file)?.write(offset as usize, &bytes);
                }
                Ok(length)
            }
            DiskOp::Write { file, offset, bytes, .. } => {
                if take(&mut self.faults.writes) {
                    self.failed = true;
                    self.trace.mark("fault: write failed");
                    return Err(DiskError::Io("simulated write error".to_owned()));
                }
                self.file(*file)?.write(*offset as usize, bytes);
                Ok(bytes.len())
            }
            DiskOp::Sync { file, .. } => {
                if take(&mut self.faults.syncs) {
                    self.failed = true;
                    self.trace.mark("fault: sync failed");
                    self.file(*file)?.fail_sync();
                    return Err(DiskError::Io("simulated sync error".to_owned()));
                }
                self.file(*file)?.sync();
                Ok(0)
            }
            DiskOp::Read { file, offset, buffer, .. } => {
                let from = &self.file(*file)?.written;
                let start = (*offset as usize).min(from.len());
                let count = buffer.len().min(from.len() - start);
                buffer[..count].copy_from_slice(&from[start..start + count]);
                if matches!(file, FileId::Segment(_)) && take(&mut self.faults.misreads) {
                    buffer[0] ^= 1;
                }
                Ok(count)
            }
            DiskOp::Create { file, size, .. } => {
                if self.faults.full {
                    self.refused = true;
                    self.trace.mark("fault: no space");
                    if *file == FileId::Succession {
                        self.trace.mark("succession on a full disk");
                    }
                    return Err(DiskError::NoSpace);
                }
                if take(&mut self.faults.creates) {
                    self.failed = true;
                    self.trace.mark("fault: create failed");
                    return Err(DiskError::Io("simulated create error".to_owned()));
                }
                self.files.insert(*file, File::new(*size as usize));
                Ok(0)
            }
            DiskOp::Remove { file, .. } => {
                self.files.remove(file);
                Ok(0)
            }
            DiskOp::Rename { from, to, .. } => {
                let file = self.files.remove(from).ok_or(DiskError::NotFound)?;
                if file.written != file.durable {
                    self.trace.fail("what gets its name is synced", format!("node {}, {from:?}", self.node));
                }
                self.files.insert(*to, file);
                if let FileId::Segment(segment) = to {
                    self.mended.push(*segment);
                }
                Ok(0)
            }
            DiskOp::List { files, .. } => {
                files.clear();
                files.extend(self.files.iter().map(|(id, file)| (*id, file.written.len() as u64)));
                Ok(0)
            }
        }
    }

    fn file(&mut self, file: FileId) -> Result<&mut File, DiskError> {
        self.files.get_mut(&file).ok_or(DiskError::NotFound)
    }

    /// The process ends. Of the operations under way, each lane finished some first ones, and possibly
    /// part of a write. All lanes are gone. Says whether something had failed, so that what was not synced may be lost; a sync
    /// may be the last thing that the process did.
    pub fn crash(&mut self, how: Crash) -> bool {
        for lane in core::mem::take(&mut self.lanes) {
            let finished = self.rng.below(lane.pending.len() as u64 + 1) as usize;
            for (at, Pending { mut op, .. }) in lane.pending.into_iter().enumerate() {
                if at < finished {
                    // Nobody learns how it ended.
                    let _ = self.effect(&mut op);
                } else if let DiskOp::Write { file, offset, bytes, .. } = &op {
                    let part = self.rng.below(bytes.len() as u64 + 1) as usize;
                    if let Ok(file) = self.file(*file) {
                        file.write(*offset as usize, &bytes[..part]);
                    }
                    break;
                } else {
                    break;
                }
            }
        }
        if let Crash::Power(keep) = how {
            for file in self.files.values_mut() {
                file.lose_power(keep, &mut self.rng);
            }
            self.noted = None;
        } else if self.failed && self.rng.one_in(2) {
            self.trace.mark("pages dropped after a failed sync");
            self.files.values_mut().for_each(File::drop_pages);
        }
        let Faults { full, stalled_until, .. } = self.faults;
        self.faults = Faults { full, stalled_until, ..Faults::default() };
        self.refused = false;
        core::mem::take(&mut self.failed)
    }

    /// Whether something is being written to a segment, or was and nobody has looked yet.
    #[must_use]
    pub fn is_writing(&self) -> bool {
        let writes = |op: &DiskOp| matches!(op, DiskOp::Write { file: FileId::Segment(_), .. });
        self.lanes.iter().any(|lane| {
            lane.pending.iter().any(|pending| writes(&pending.op))
                || lane.done.iter().any(|done| writes(&done.op))
        })
    }

    /// Everything is gone.
    pub fn wipe(&mut self) {
        self.files.clear();
        self.mended.clear();
    }

    /// The log is moved out of the node's way, and its state stays without it.
    pub fn set_aside(&mut self) {
        let state = self.durable(FileId::NodeState).map(read_state);
        let state = state.expect("a node that ran has a state").expect("and it is whole");
        self.files.retain(|id, _| matches!(id, FileId::Facts));
        let bytes = state.without_log().to_file();
        let mut file = File::new(bytes.len());
        file.write(0, &bytes);
        file.sync();
        self.files.insert(FileId::NodeState, file);
    }

    /// Flips a bit of a segment before log position `end`, on the device and in every cache; which.
    pub fn corrupt(&mut self, segment_size: u64, end: u64) -> Option<(FileId, u64, u8)> {
        let at = if end > 0 { self.rng.below(end) } else { return None };
        let (id, at) = (FileId::Segment(at / segment_size), at % segment_size);
        let bit = 1 << self.rng.below(8);
        self.flip(id, at, bit);
        Some((id, at, bit))
    }

    /// Flips a bit of the newest snapshot, on the device and in every cache.
    pub fn corrupt_snapshot(&mut self) {
        let Some((position, len)) = self.snapshots().map(|(position, bytes)| (position, bytes.len())).last()
        else {
            return;
        };
        let (at, bit) = (self.rng.below(len as u64), 1 << self.rng.below(8));
        self.trace.mark("snapshot damaged");
        self.trace.event("corrupt snapshot", &[self.node, position, at]);
        self.flip(FileId::Snapshot(position), at, bit);
    }

    /// Positions of the snapshots and their bytes, ascending.
    pub fn snapshots(&self) -> impl Iterator<Item = (u64, &[u8])> {
        self.files.iter().filter_map(|(id, file)| match id {
            FileId::Snapshot(position) => Some((*position, &file.written[..])),
            _ => None,
        })
    }

    /// Position of the newest snapshot that is durable under its name; 0 if there is none.
    #[must_use]
    pub fn newest_snapshot(&self) -> u64 {
        self.snapshots().map(|(position, _)| position).last().unwrap_or(0)
    }

    /// The oldest segment.
    #[must_use]
    pub fn oldest_segment(&self) -> u64 {
        let mut segments = self.files.keys().filter_map(|id| match id {
            FileId::Segment(number) => Some(*number),
            _ => None,
        });
        segments.next().unwrap_or(0)
    }

    /// The first log position from `end` on where a segment holds anything but zero, on the device or for the system.
    #[must_use]
    pub fn first_byte_behind(&self, end: u64, segment_size: u64) -> Option<u64> {
        let first = end / segment_size;
        self.files.range(FileId::Segment(first)..=FileId::Segment(u64::MAX)).find_map(|(id, file)| {
            let FileId::Segment(number) = id else { return None };
            let from = end.saturating_sub(number * segment_size) as usize;
            let found = |bytes: &[u8]| bytes.iter().skip(from).position(|byte| *byte != 0);
            let at = found(&file.written).into_iter().chain(found(&file.durable)).min()?;
            Some(number * segment_size + (from + at) as u64)
        })
    }

    /// Removes a file, as an operator does.
    pub fn remove(&mut self, file: FileId) {
        self.files.remove(&file);
    }

    /// Flips bits of a byte.
    pub fn flip(&mut self, file: FileId, at: u64, bits: u8) {
        if let Some(file) = self.files.get_mut(&file)
            && let Some(byte) = file.written.get_mut(at as usize)
        {
            *byte ^= bits;
            file.durable[at as usize] ^= bits;
        }
    }

    /// Puts these bytes into a file, as an operator does.
    pub fn restore(&mut self, file: FileId, bytes: &[u8]) {
        if let Some(file) = self.files.get_mut(&file) {
            file.write(0, bytes);
            file.sync();
        }
    }

    /// What the operating system holds of `file` at `offset`; `None` if the file does not reach so far.
    #[must_use]
    pub fn written(&self, file: FileId, offset: usize, length: usize) -> Option<&[u8]> {
        self.files.get(&file)?.written.get(offset..offset + length)
    }

    /// Whether these bytes of `file` are on the device as the operating system has them.
    #[must_use]
    pub fn is_durable(&self, file: FileId, offset: usize, length: usize) -> bool {
        self.files.get(&file).is_some_and(|file| file.is_durable(offset, length))
    }

    /// What the device holds of `file`, if it exists.
    #[must_use]
    pub fn durable(&self, file: FileId) -> Option<&[u8]> {
        self.files.get(&file).map(|file| file.durable.as_slice())
    }

    /// Bytes of `file`, if it exists.
    #[must_use]
    pub fn size(&self, file: FileId) -> Option<usize> {
        self.files.get(&file).map(|file| file.written.len())
    }
}

fn take(count: &mut u32) -> bool {
    let some = *count > 0;
    *count = count.saturating_sub(1);
    some
}

/// A stage's lane to the simulated disk.
#[derive(Debug)]
pub struct SimDisk {
    store: StoreHandle,
    lane: usize,
}

impl Disk for SimDisk {
    fn free(&self) -> usize {
        let store = self.store.lock();
        store.lanes.get(self.lane).map_or(0, |lane| lane.capacity - lane.pending.len() - lane.done.len())
    }

    fn submit(&mut self, op: DiskOp) {
        assert!(self.free() > 0, "submitted to a full lane");
        let mut store = self.store.lock();
        let (low, high) = match op {
            DiskOp::Write { .. } | DiskOp::Read { .. } | DiskOp::List { .. } => store.speed.quick,
            DiskOp::Sync { .. } => store.speed.sync,
            DiskOp::Create { .. } | DiskOp::Remove { .. } | DiskOp::Rename { .. } => store.speed.meta,
        };
        let stalled = matches!(op, DiskOp::Sync { file: FileId::Segment(_), .. });
        let stalled_until = if stalled { store.faults.stalled_until } else { 0 };
        let due = (store.now + store.rng.spread(low, high)).max(stalled_until);
        let lane = &mut store.lanes[self.lane];
        let due = lane.pending.back().map_or(due, |last| last.due.max(due));
        lane.pending.push_back(Pending { due, op });
    }

    fn poll(&mut self) -> Option<DiskDone> {
        self.store.lock().lanes.get_mut(self.lane)?.done.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(seed: u64) -> StoreHandle {
        let speed = Speed { quick: (10, 100), sync: (100, 1_000), meta: (100, 1_000) };
        StoreHandle::new(0, speed, Rng::new(seed), Trace::default())
    }

    fn finish(store: &StoreHandle, lane: &mut SimDisk) -> Vec<Result<usize, DiskError>> {
        let now = store.lock().now;
        store.lock().advance(now + 1_000_000);
        core::iter::from_fn(|| lane.poll()).map(|done| done.result).collect()
    }

    const FILE: FileId = FileId::Segment(0);

    fn write(lane: &mut SimDisk, offset: u64, byte: u8, length: usize) {
        lane.submit(DiskOp::Write { tag: 0, file: FILE, offset, bytes: IoBytes::Owned(vec![byte; length]) });
    }

    #[test]
    fn a_kill_keeps_what_was_written_and_power_loss_what_was_synced() {
        for seed in 0..50 {
            let store = store(seed);
            let mut lane = store.lane(8);
            lane.submit(DiskOp::Create { tag: 0, file: FILE, size: 4096 });
            write(&mut lane, 0, 1, 1024);
            lane.submit(DiskOp::Sync { tag: 0, file: FILE });
            write(&mut lane, 512, 2, 2048);
            assert!(finish(&store, &mut lane).iter().all(Result::is_ok));
            assert!(store.lock().is_durable(FILE, 0, 512) && !store.lock().is_durable(FILE, 0, 513));
            store.lock().crash(Crash::Kill);
            assert_eq!(store.lock().written(FILE, 512, 2048).unwrap(), [2; 2048]);
            store.lock().crash(Crash::Power(50));
            let store = store.lock();
            assert_eq!(store.written(FILE, 0, 512).unwrap(), [1; 512]);
            for sector in 1..5 {
                let bytes = store.written(FILE, sector * SECTOR, SECTOR).unwrap();
                let old = u8::from(sector < 2);
                assert!(bytes.iter().all(|byte| *byte == bytes[0]), "a sector is never torn");
                assert!(bytes[0] == 2 || bytes[0] == old);
            }
        }
    }

    #[test]
    fn what_a_failed_sync_dropped_no_later_sync_saves() {
        let store = store(1);
        let mut lane = store.lane(8);
        lane.submit(DiskOp::Create { tag: 0, file: FILE, size: 512 });
        write(&mut lane, 0, 7, 512);
        store.lock().faults.syncs = 1;
        lane.submit(DiskOp::Sync { tag: 0, file: FILE });
        lane.submit(DiskOp::Sync { tag: 0, file: FILE });
        let results = finish(&store, &mut lane);
        assert!(results[2].is_err() && results[3].is_ok());
        store.lock().crash(Crash::Power(100));
        assert_eq!(store.lock().written(FILE, 0, 512).unwrap(), [0; 512]);
    }

    #[test]
    fn a_full_disk_creates_nothing_until_there_is_space() {
        let store = store(1);
        let mut lane = store.lane(8);
        store.lock().faults.full = true;
        lane.submit(DiskOp::Create { tag: 0, file: FILE, size: 512 });
        assert_eq!(finish(&store, &mut lane), [Err(DiskError::NoSpace)]);
        store.lock().faults.full = false;
        lane.submit(DiskOp::Create { tag: 0, file: FILE, size: 512 });
        assert_eq!(finish(&store, &mut lane), [Ok(0)]);
    }
}
