//! A disk in memory whose crashes are chosen, a maker of logs, and a node that is nothing but a journal.
#![allow(dead_code, reason = "each test binary uses its part")]

use ordain_agent::Fatal;
use ordain_agent::disk::{Disk, DiskDone, DiskError, DiskOp, FileId};
use ordain_agent::shared::Shared;
use ordain_agent::wire::VoteRequest;
use ordain_agent::witness::{Witness, WitnessError};
use ordain_journal::{Anchor, Journal, Lanes, Metrics, OsBoot, Recovered, Recovery, RecoveryError};
use ordain_ring::log::{LogRing, Producer};
use ordain_ring::spsc::{self, Sender};
use ordain_types::LogEnd;
use ordain_types::batch::{self, BATCH_HEADER, BatchKind, SEGMENT_START_LEN, Seal, SegmentStart};
use ordain_types::record::{RECORD_HEADER, RecordHeader, RecordKind, record_len};
use ordain_types::{BatchIndex, ClusterFacts, ClusterId, Lineage, Nanos, Now, Seq, Term, align_up};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Poll;
use zerocopy::IntoBytes;

pub const SEGMENT: u64 = 1024;
/// What a disk writes whole or not at all.
pub const SECTOR: usize = 128;

/// The smallest facts that hold together.
pub fn facts(voters: u32) -> ClusterFacts {
    let facts = ClusterFacts {
        segment_size: SEGMENT,
        batch_max: 512,
        payload_max: 256,
        unsynced_max: 16,
        ..ClusterFacts::new(ClusterId([7; 16]), Nanos(1), voters)
    };
    facts.check().unwrap();
    facts
}

#[derive(Clone, Debug, Default)]
pub struct File {
    pub durable: Vec<u8>,
    /// What a failed sync left in the page cache, counted as clean: read, and never written to the disk.
    pub forgotten: Vec<(usize, Vec<u8>)>,
    /// Written and not synced, in order.
    pub unsynced: Vec<(usize, Vec<u8>)>,
}

impl File {
    pub fn view(&self) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        for (at, piece) in self.forgotten.iter().chain(&self.unsynced) {
            let end = at + piece.len();
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            bytes[*at..end].copy_from_slice(piece);
        }
        bytes
    }

    /// The unsynced writes cut into sectors.
    pub fn sectors(&self) -> Vec<(usize, Vec<u8>)> {
        let mut sectors = Vec::new();
        for (at, bytes) in &self.unsynced {
            let mut from = 0;
            while from < bytes.len() {
                let to = bytes.len().min(from + SECTOR - (at + from) % SECTOR);
                sectors.push((at + from, bytes[from..to].to_vec()));
                from = to;
            }
        }
        sectors
    }
}

type Hook = Box<dyn FnMut(&DiskOp) -> Option<DiskError> + Send>;

#[derive(Default)]
pub struct State {
    pub files: BTreeMap<FileId, File>,
    /// Operations that will still be carried out; then everything stands still.
    pub budget: Option<usize>,
    /// Operations on the node state wait for ever.
    pub stalled: bool,
    /// Carried out, as text, for tests that look at the order.
    pub history: Vec<String>,
    hook: Option<Hook>,
    /// What the witness remembers, and whether it does.
    pub noted: Option<BatchIndex>,
    pub deaf: bool,
}

/// Shared by its lanes.
#[derive(Clone, Default)]
pub struct World(Arc<Mutex<State>>);

pub struct Lane {
    world: World,
    queue: VecDeque<DiskOp>,
    depth: usize,
}

impl World {
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub fn lane(&self, depth: usize) -> Lane {
        Lane { world: self.clone(), queue: VecDeque::new(), depth }
    }

    pub fn fail(&self, hook: impl FnMut(&DiskOp) -> Option<DiskError> + Send + 'static) {
        self.lock().hook = Some(Box::new(hook));
    }

    pub fn heal(&self) {
        self.lock().hook = None;
    }

    /// Another disk with the same content, unsynced writes apart.
    pub fn copy(&self) -> Self {
        let copy = Self::default();
        copy.lock().files = self.lock().files.clone();
        copy.lock().noted = self.lock().noted;
        copy
    }

    /// What a power loss leaves if of the unsynced sectors, in order over all files, those are kept for
    /// which `keep` says so.
    pub fn after_power_loss(&self, mut keep: impl FnMut(usize) -> bool) -> Self {
        let copy = self.copy();
        copy.lock().noted = None;
        let mut number = 0;
        for file in copy.lock().files.values_mut() {
            file.forgotten.clear();
            file.unsynced = file.sectors();
            file.unsynced.retain(|_| {
                number += 1;
                keep(number - 1)
            });
            file.durable = file.view();
            file.unsynced.clear();
        }
        copy
    }

    pub fn unsynced_sectors(&self) -> usize {
        self.lock().files.values().map(|file| file.sectors().len()).sum()
    }

    /// The bytes of all segments, one behind the other.
    pub fn log(&self) -> Vec<u8> {
        let state = self.lock();
        let segments = state.files.iter().filter(|(file, _)| matches!(file, FileId::Segment(_)));
        segments.flat_map(|(_, file)| file.view()).collect()
    }

    /// Changes the durable byte at a place of the log.
    pub fn poke(&self, at: usize, change: impl FnOnce(&mut u8)) {
        let file = FileId::Segment(at as u64 / SEGMENT);
        let mut state = self.lock();
        let bytes = &mut state.files.get_mut(&file).unwrap().durable;
        change(&mut bytes[at % SEGMENT as usize]);
    }
}

impl Witness for World {
    fn recall(&self) -> Option<BatchIndex> {
        self.lock().noted
    }

    fn note(&mut self, written: BatchIndex) -> Result<(), WitnessError> {
        let mut state = self.lock();
        if state.deaf {
            return Err(WitnessError("the witness is deaf".to_owned()));
        }
        state.noted = Some(written);
        Ok(())
    }
}

impl State {
    fn carry_out(&mut self, op: &mut DiskOp) -> Result<usize, DiskError> {
        if let Some(error) = self.hook.as_mut().and_then(|hook| hook(op)) {
            return Err(error);
        }
        let name = |file: &FileId| match file {
            FileId::Segment(number) => format!("{number}"),
            other => format!("{other:?}"),
        };
        match op {
            DiskOp::Write { file, offset, bytes, .. } => {
                self.history.push(format!("write {}", name(file)));
                let entry = self.files.get_mut(file).ok_or(DiskError::NotFound)?;
                let grows = *file == FileId::SnapshotDraft;
                let fits = *offset as usize + bytes.len() <= entry.durable.len();
                assert!(grows || fits, "files do not grow");
                entry.unsynced.push((*offset as usize, bytes.to_vec()));
                Ok(bytes.len())
            }
            DiskOp::Sync { file, .. } => {
                self.history.push(format!("sync {}", name(file)));
                let entry = self.files.get_mut(file).ok_or(DiskError::NotFound)?;
                for (at, piece) in std::mem::take(&mut entry.unsynced) {
                    let end = at + piece.len();
                    entry.durable.resize(entry.durable.len().max(end), 0);
                    entry.durable[at..end].copy_from_slice(&piece);
                }
                Ok(0)
            }
            DiskOp::Read { file, offset, buffer, .. } => {
                let entry = self.files.get(file).ok_or(DiskError::NotFound)?;
                let view;
                let bytes = match entry.unsynced.is_empty() && entry.forgotten.is_empty() {
                    true => &entry.durable,
                    false => {
                        view = entry.view();
                        &view
                    }
                };
                let from = bytes.len().min(*offset as usize);
                let len = buffer.len().min(bytes.len() - from);
                buffer[..len].copy_from_slice(&bytes[from..from + len]);
                Ok(len)
            }
            DiskOp::Create { file, size, .. } => {
                self.history.push(format!("create {}", name(file)));
                let durable = vec![0; *size as usize];
                self.files.insert(*file, File { durable, ..File::default() });
                Ok(0)
            }
            DiskOp::Remove { file, .. } => {
                self.history.push(format!("remove {}", name(file)));
                self.files.remove(file);
                Ok(0)
            }
            DiskOp::Rename { from, to, .. } => {
                self.history.push(format!("rename {} {}", name(from), name(to)));
                let content = self.files.remove(from).ok_or(DiskError::NotFound)?;
                self.files.insert(*to, content);
                Ok(0)
            }
            DiskOp::List { files, .. } => {
                files.extend(self.files.iter().map(|(file, content)| (*file, content.durable.len() as u64)));
                Ok(0)
            }
        }
    }
}

impl Disk for Lane {
    fn free(&self) -> usize {
        self.depth - self.queue.len()
    }

    fn submit(&mut self, op: DiskOp) {
        assert!(self.free() > 0);
        self.queue.push_back(op);
    }

    fn poll(&mut self) -> Option<DiskDone> {
        let mut state = self.world.lock();
        let is_state = |op: &DiskOp| matches!(op, DiskOp::Write { file, .. } | DiskOp::Sync { file, .. } if *file == FileId::NodeState);
        if self.queue.is_empty() || state.stalled && is_state(&self.queue[0]) {
            return None;
        }
        match &mut state.budget {
            Some(0) => return None,
            Some(left) => *left -= 1,
            None => {}
        }
        let mut op = self.queue.pop_front()?;
        let result = state.carry_out(&mut op);
        Some(DiskDone { op, result })
    }
}

/// Recovers; `None` if the disk came to a standstill.
pub fn try_recover(world: &World, facts: &ClusterFacts, os: u8) -> Option<Result<Recovered, RecoveryError>> {
    run(world, Recovery::new(facts, OsBoot([os; 16]), world.lane(2)).with_witnessed(world.recall()))
}

/// Recovers a member of a cluster.
pub fn recover_member(world: &World, facts: &ClusterFacts, salt: u64) -> Option<Recovered> {
    let recovery = Recovery::new(facts, OsBoot([1; 16]), world.lane(2)).among_others(salt);
    run(world, recovery).map(|recovered| recovered.expect("nothing is wrong with it"))
}

/// Recovers behind a snapshot.
pub fn recover_behind(
    world: &World,
    facts: &ClusterFacts,
    os: u8,
    anchor: &Anchor,
) -> Result<Recovered, RecoveryError> {
    let recovery = Recovery::new(facts, OsBoot([os; 16]), world.lane(2)).behind(anchor.clone());
    let recovery = recovery.with_witnessed(world.recall());
    run(world, recovery).expect("the disk stands still")
}

fn run(world: &World, mut recovery: Recovery<Lane>) -> Option<Result<Recovered, RecoveryError>> {
    for _ in 0..10_000 {
        if let Poll::Ready(result) = recovery.step() {
            return Some(result);
        }
        if world.lock().budget == Some(0) {
            return None;
        }
    }
    panic!("recovery does not end");
}

pub fn recover(world: &World, facts: &ClusterFacts, os: u8) -> Result<Recovered, RecoveryError> {
    try_recover(world, facts, os).expect("the disk stands still")
}

/// Makes batches that follow one another.
#[derive(Clone)]
pub struct Maker {
    pub facts: ClusterFacts,
    pub end: LogEnd,
    pub term: Term,
    /// What the leader's disk has, for the `unsynced` field.
    pub durable: BatchIndex,
    /// Ends of all batches made.
    pub ends: Vec<LogEnd>,
}

impl Maker {
    pub fn new(facts: &ClusterFacts, end: LogEnd) -> Self {
        Self { facts: facts.clone(), end, term: end.term, durable: end.index, ends: vec![end] }
    }

    fn seal(&mut self, kind: BatchKind, count: u16, mut bytes: Vec<u8>) -> Vec<u8> {
        let end = self.end;
        let (index, term) = (end.index.next(), self.term);
        let unsynced = u16::try_from(end.index.0 - self.durable.0).unwrap_or(u16::MAX);
        let time = Nanos(end.time.0 + 1);
        let (position, first_seq, previous) = (end.position, end.next_seq, end.chain);
        batch::seal(
            &mut bytes,
            &Seal { kind, count, unsynced, position, index, term, first_seq, time, previous },
        );
        self.end = LogEnd {
            position: position.plus(bytes.len() as u64),
            index,
            term,
            next_seq: Seq(first_seq.0 + u64::from(count)),
            chain: batch::chain(previous, &bytes),
            time,
        };
        self.ends.push(self.end);
        bytes
    }

    /// A batch of one record for each payload, with the pad and the segment start that come before it.
    pub fn data(&mut self, payloads: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut body = vec![0; BATCH_HEADER];
        for payload in payloads {
            let length = payload.len() as u32;
            let header = RecordHeader {
                length: length.into(),
                kind: RecordKind::Request as u8,
                session: 1.into(),
                number: self.end.next_seq.0.into(),
                ..Default::default()
            };
            let at = body.len();
            body.extend_from_slice(header.as_bytes());
            body.extend_from_slice(payload);
            body.resize(at + record_len(payload.len()), 0);
        }
        body.resize(align_up(body.len(), batch::BATCH_ALIGN), 0);
        let size = self.facts.segment_size;
        let mut batches = Vec::new();
        let left = size - self.end.position.0 % size;
        if left < size && left < body.len() as u64 {
            batches.push(self.seal(BatchKind::Pad, 0, vec![0; left as usize]));
        }
        if self.end.position.0.is_multiple_of(size) {
            let start = SegmentStart {
                cluster: self.facts.cluster.0,
                segment_size: size.into(),
                lineage: Lineage::FIRST.0.into(),
                ..Default::default()
            };
            let mut bytes = vec![0; SEGMENT_START_LEN];
            bytes[BATCH_HEADER..BATCH_HEADER + size_of::<SegmentStart>()].copy_from_slice(start.as_bytes());
            batches.push(self.seal(BatchKind::SegmentStart, 0, bytes));
        }
        batches.push(self.seal(BatchKind::Data, payloads.len() as u16, body));
        batches
    }

    /// A batch that takes `units` times 128 bytes.
    pub fn units(&mut self, units: usize) -> Vec<Vec<u8>> {
        let payload = vec![self.end.index.0 as u8 | 1; units * 128 - BATCH_HEADER - RECORD_HEADER];
        self.data(&[&payload])
    }

    /// Goes back to the end of batch `index`.
    pub fn cut(&mut self, index: u64) -> LogEnd {
        let at = self.ends.iter().position(|end| end.index.0 == index).unwrap();
        self.ends.truncate(at + 1);
        self.end = self.ends[at];
        self.durable = self.durable.min(self.end.index);
        self.end
    }
}

pub struct Node {
    pub world: World,
    pub maker: Maker,
    pub producer: Producer,
    pub ring: LogRing,
    pub journal: Journal<Lane>,
    pub votes: Sender,
    pub vote: u64,
    pub cursors: Shared,
    pub recovered: Recovered,
    pub metrics: ordain_agent::metrics::Registry,
    pub now: Now,
}

impl Node {
    pub fn start(world: &World, facts: &ClusterFacts) -> Self {
        Self::try_start(world, facts, 1).unwrap()
    }

    pub fn try_start(world: &World, facts: &ClusterFacts, os: u8) -> Result<Self, RecoveryError> {
        Ok(Self::of(world, facts, recover(world, facts, os)?, 0))
    }

    /// A node that keeps `retain` bytes of log behind snapshots.
    pub fn of(world: &World, facts: &ClusterFacts, recovered: Recovered, retain: u64) -> Self {
        let (producer, ring) = LogRing::new(16 * SEGMENT as usize, recovered.end.position);
        let (votes, receiver) = spsc::channel(4096);
        let cursors = Shared::default();
        let lanes = Lanes { log: world.lane(20), state: world.lane(2), prepare: world.lane(1) };
        let metrics = ordain_agent::metrics::Registry::default();
        let journal = Journal::new(
            facts,
            &recovered,
            lanes,
            ring.clone(),
            receiver,
            cursors.clone(),
            Metrics::register(&metrics),
        )
        .retaining(retain);
        let journal = journal.with_witness(Some(Box::new(world.clone()))).unwrap();
        let maker = Maker::new(facts, recovered.end);
        let world = world.clone();
        let now = Now { mono: Nanos(1), wall: Nanos(1) };
        Self { world, maker, producer, ring, journal, votes, vote: 0, cursors, recovered, metrics, now }
    }

    pub fn publish(&mut self, batches: &[Vec<u8>]) {
        for batch in batches {
            let end = self.producer.published().0 + batch.len() as u64;
            while self.cursors.room.load() < end {
                assert!(self.work().unwrap() > 0, "no room for the log");
            }
            self.producer.try_claim(batch.len()).unwrap().copy_from_slice(batch);
            self.producer.publish(batch.len());
        }
    }

    pub fn work(&mut self) -> Result<usize, Fatal> {
        ordain_agent::Agent::do_work(&mut self.journal, self.now, 64)
    }

    /// Works until nothing moves.
    pub fn settle(&mut self) {
        while self.work().unwrap() > 0 {}
    }

    /// As `settle`, a quiet time later.
    pub fn rest(&mut self) {
        self.settle();
        self.now.mono = self.now.mono.plus(20 * Nanos::MILLI);
        self.settle();
    }

    pub fn data(&mut self, units: usize) {
        let batches = self.maker.units(units);
        self.publish(&batches);
    }

    pub fn vote(&mut self, term: u64, voted_for: u64) -> bool {
        self.vote_as(VoteRequest {
            term: term.into(),
            voted_for: voted_for.into(),
            ack_term: term.into(),
            ..Default::default()
        })
    }

    pub fn vote_as(&mut self, request: VoteRequest) -> bool {
        self.vote += 1;
        let request = VoteRequest { number: self.vote.into(), ..request };
        self.votes.try_claim(request.as_bytes().len()).unwrap().copy_from_slice(request.as_bytes());
        self.votes.commit();
        true
    }

    pub fn close(&mut self) {
        self.cursors.log_closed.store(1);
        for _ in 0..1000 {
            self.work().unwrap();
            if self.cursors.journal_closed.load() == 1 {
                return;
            }
        }
        panic!("the journal does not close");
    }
}
