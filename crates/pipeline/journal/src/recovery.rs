//! Finding the end of the log at start.
//!
//! One pass over all segments, or over those behind a snapshot ([`Anchor`]), checks every batch against the one
//! before it. Where that ends, the question
//! is whether the log ends there too. Below the watermark it does not: the batch was synced and is damaged
//! now. Above it, the batch was never reported durable, so what is left of it is torn and may go; except on
//! a lone node, where a later header can say that it *was* synced (`BatchHeader::unsynced`).
//!
//! What stands behind the end is zeroed, so that no stale suffix can come back, and what stands between the
//! watermark and the end is written once more before it counts as synced: if a sync failed in an earlier
//! life, the kernel may hold those pages as clean though the disk never got them.

mod error;

pub use error::{Damage, RecoveryError};

use crate::state::{Floor, Mark, NODE_STATE_LEN, NodeState, OsBoot, SLOT_LEN, Slots, read_slots};
use crate::verify::{Fault, TermStart, Verifier, whole_batches};
use core::task::Poll;
use ordain_agent::disk::{Disk, DiskDone, DiskOp, FileId, IoBytes};
use ordain_agent::planted::{self, Mistake};
use ordain_types::LogEnd;
use ordain_types::batch::{BATCH_ALIGN, BatchError, BatchHeader, BatchKind, BatchView, SEGMENT_START_LEN};
use ordain_types::{BatchIndex, Boot, ClusterFacts, Configuration, Position};
use std::collections::VecDeque;

/// Bytes read at once: many times the longest batch, so that little is read twice, and little enough for
/// a step to be short and the bytes to be in the cache when they are checked.
const CHUNK: usize = 1024 * 1024;

/// Bytes read of what was noted of a divergence.
const EVIDENCE_MAX: u64 = 64 * 1024;

/// Where a snapshot lies in the log. It was committed and synced up to there before the snapshot got its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// The end of the log before the snapshot's segment.
    pub end: LogEnd,
    /// Where each term up to there begins, ascending.
    pub terms: Vec<TermStart>,
    /// The last configuration up to there, and its batch; `None`: the one that the cluster was made with.
    pub configuration: Option<(BatchIndex, Configuration)>,
}

/// What recovery found, and made true on disk.
#[derive(Clone, Debug)]
pub struct Recovered {
    /// The end of the log. Everything before it is synced, everything behind it is zero.
    pub end: LogEnd,
    /// The node state as it now stands on disk: the boot number of this life, no clean mark, the watermark
    /// at the log's end, and after a dirty stop at least the promise floor that rule R2 asks for.
    pub state: NodeState,
    /// Position up to which segments exist.
    pub room: Position,
    /// Whether nothing that the operating system had was lost.
    pub was_clean: bool,
    /// Whether something behind the watermark that might have been acknowledged had to be cut off.
    pub tail_cut: bool,
    /// Bytes behind the end up to the last one that was not zero.
    pub cut_bytes: u64,
    /// The watermark of the life before.
    pub watermark_before: Mark,
    /// Where each term begins, ascending.
    pub terms: Vec<TermStart>,
    /// The configuration at the anchor, if the log up to there has one, and all behind it, ascending.
    pub configurations: Vec<(BatchIndex, Configuration)>,
    /// The oldest segment that exists.
    pub oldest: u64,
    /// The first of `segments`.
    pub first_segment: u64,
    /// The end of the log just before each segment's first batch, in the order of segments. In front of the
    /// anchor `term` and `time` may be later ones, and segments in front of one whose start cannot be read are left
    /// out.
    pub segments: Vec<LogEnd>,
    /// Batches in the log.
    pub batches: u64,
    /// Records in the log.
    pub records: u64,
    pub(crate) slots: Slots,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Start,
    List,
    ReadState,
    /// Reading why this node must not start.
    Evidence,
    /// First start: the node-state file is being created.
    CreateState,
    /// Learning where segments in front of the anchor begin, the last one first.
    Heads {
        number: u64,
    },
    /// Checking batches.
    Scan,
    /// The log ends; a read ahead is still to come back.
    Drain,
    /// Looking at what stands behind the end.
    Tail {
        at: Position,
    },
    /// Storing the end, that is, what is going to be cut.
    Decide,
    /// Reading what stands between watermark and end...
    Copy {
        at: Position,
    },
    /// ... and writing it once more.
    CopyBack {
        at: Position,
    },
    /// Zeroing what stands behind the end.
    Zero {
        at: Position,
    },
    /// Removing stale segments, the last one first.
    Remove {
        number: u64,
    },
    Sync,
    Store,
    Mirror,
    Done,
}

/// Recovery of one node: step it until it is ready. See the module.
#[derive(Debug)]
pub struct Recovery<D> {
    disk: D,
    facts: ClusterFacts,
    os_boot: OsBoot,
    /// Where copies in memory count: how far the node may have said that it has the log.
    witnessed: Option<BatchIndex>,
    /// Where there are other nodes: the first life in an empty data directory.
    born: Option<Boot>,
    phase: Phase,
    /// Operations submitted or waiting, and those waiting for the lane to have room.
    in_flight: usize,
    waiting: VecDeque<DiskOp>,
    /// Buffers at hand; two are in use.
    buffers: Vec<Vec<u8>>,
    /// The oldest segment, and one behind the last.
    oldest: u64,
    segments: u64,
    anchor: Option<Anchor>,
    first_segment: u64,
    state: NodeState,
    slots: Slots,
    /// Whether this start has stored the node state.
    has_stored: bool,
    verifier: Verifier,
    terms: Vec<TermStart>,
    configurations: Vec<(BatchIndex, Configuration)>,
    segment_ends: Vec<LogEnd>,
    /// Why the log ended where it did, if not because segments ended.
    fault: Option<Fault>,
    /// Behind the last byte of the tail that is not zero.
    tail_end: Position,
    /// A lone node looks for proof from here on.
    proof_from: Position,
    outcome: Outcome,
}

/// What was decided about the end.
#[derive(Clone, Copy, Debug, Default)]
struct Outcome {
    was_clean: bool,
    tail_cut: bool,
    watermark_before: Mark,
}

/// What the end of a log means to the node that holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// Nothing that the operating system had was lost.
    pub was_clean: bool,
    /// Something behind the end that might have been acknowledged is torn.
    pub tail_cut: bool,
    /// The promise floor that is owed (rule R2).
    pub floor: Option<Floor>,
}

/// What a start finds out about a log that ends at `end` with something behind it that is no batch if `has_tail`.
/// `now`: the present run of the operating system, and how far the node may have said that it has the log.
#[must_use]
pub fn judge(
    facts: &ClusterFacts,
    state: &NodeState,
    end: &LogEnd,
    has_tail: bool,
    (os_boot, witnessed): (OsBoot, Option<BatchIndex>),
) -> Judgement {
    let watermark = state.watermark;
    let is_cut = state.cut.is_some_and(|cut| cut.index == end.index);
    let stopped_clean = state.clean && end.index == watermark.index;
    let tail_cut = has_tail && !stopped_clean && !is_cut;
    // The kernel keeps what it took as long as it runs, unless it fails to write it back: then it may drop
    // it, and whether anybody was there to see the error is left to chance. In a cluster this matters whatever the
    // policy is that this disk knows: a later one, which counts copies in memory, may be in what was dropped (R6).
    let has_all = (facts.voters == 1 && !facts.policy.counts_memory())
        || is_cut
        || planted::is(Mistake::WitnessIgnored)
        || witnessed.is_some_and(|written| written <= end.index);
    let was_clean = stopped_clean || (os_boot.is_same(state.os_boot) && !tail_cut && has_all);
    if was_clean {
        return Judgement { was_clean, tail_cut, floor: state.floor };
    }
    let w = facts.unsynced_max;
    let reach = match tail_cut {
        true => watermark.index.0.saturating_add(2 * w),
        false => end.index.0.saturating_add(w),
    };
    let promised = if planted::is(Mistake::FloorFromDisk) { end.term } else { state.ack_term };
    let owed = Floor { term: promised.max(end.term), index: BatchIndex(reach.max(end.index.0)) };
    Judgement { was_clean, tail_cut, floor: state.floor.max(Some(owed)) }
}

impl<D: Disk> Recovery<D> {
    /// Recovery over `disk`. `os_boot` is the present run of the operating system.
    ///
    /// # Panics
    /// If `facts` do not hold together ([`ClusterFacts::check`]).
    pub fn new(facts: &ClusterFacts, os_boot: OsBoot, disk: D) -> Self {
        facts.check().expect("facts were checked when the configuration was read");
        Self {
            disk,
            os_boot,
            witnessed: None,
            born: None,
            phase: Phase::Start,
            in_flight: 0,
            waiting: VecDeque::new(),
            buffers: Vec::new(),
            oldest: 0,
            segments: 0,
            anchor: None,
            first_segment: 0,
            state: NodeState::new(facts),
            slots: Slots::default(),
            has_stored: false,
            verifier: Verifier::new(facts, LogEnd::EMPTY),
            terms: Vec::new(),
            configurations: Vec::new(),
            segment_ends: Vec::new(),
            fault: None,
            tail_end: Position(0),
            proof_from: Position(0),
            outcome: Outcome::default(),
            facts: facts.clone(),
        }
    }

    /// Trusts the log in front of a snapshot that was checked, and that the segment behind it follows.
    ///
    /// # Panics
    /// If the anchor is not at the start of a segment, or after the first step.
    #[must_use]
    pub fn behind(mut self, anchor: Anchor) -> Self {
        assert!(self.phase == Phase::Start, "before the first step");
        assert!(anchor.end.position.0.is_multiple_of(self.facts.segment_size), "a segment begins there");
        self.verifier = Verifier::new(&self.facts, anchor.end);
        self.terms.clone_from(&anchor.terms);
        self.configurations.extend(anchor.configuration.clone());
        self.first_segment = anchor.end.position.0 / self.facts.segment_size;
        self.anchor = Some(anchor);
        self
    }

    /// Recovery that knows how far the node may have said that it has the log, as its
    /// [`Witness`](ordain_agent::witness::Witness) recalls. Where copies in memory count, a node without this
    /// knowledge is clean only after a stop in good order.
    #[must_use]
    pub fn with_witnessed(mut self, written: Option<BatchIndex>) -> Self {
        self.witnessed = written;
        self
    }

    /// Recovery of a node that is not alone: if the data directory is empty, it may have had another one, and is blank
    /// (rule R9). The number of its life is then behind the random `salt`, of which 40 bits are used.
    #[must_use]
    pub const fn among_others(mut self, salt: u64) -> Self {
        self.born = Some(Boot(1 + (salt >> 24)));
        self
    }

    /// Bytes of the log that were checked, and bytes of all segments.
    #[must_use]
    pub fn progress(&self) -> (u64, u64) {
        (self.verifier.end().position.0, self.total().0)
    }

    /// Gives the disk of a recovery that failed back, with how many operations are still in flight there, and where the
    /// stored watermark lies.
    pub fn abandon(self) -> (D, usize, Position) {
        (self.disk, self.in_flight - self.waiting.len(), self.state.watermark.position)
    }

    /// Gives the disk back.
    pub fn into_disk(self) -> D {
        self.disk
    }

    /// Goes on by at most one finished operation (1 MiB of log).
    ///
    /// # Errors
    /// [`RecoveryError`]: the node must not start.
    ///
    /// # Panics
    /// If called again after it was ready.
    pub fn step(&mut self) -> Poll<Result<Recovered, RecoveryError>> {
        assert!(self.phase != Phase::Done, "recovery is over");
        if self.phase == Phase::Start {
            self.phase = Phase::List;
            self.submit(DiskOp::List { tag: 0, files: Vec::new() });
        }
        let Some(done) = self.disk.poll() else { return Poll::Pending };
        self.in_flight -= 1;
        if let Some(op) = self.waiting.pop_front() {
            self.disk.submit(op);
        }
        match self.on_done(done) {
            Ok(()) if self.phase == Phase::Done => Poll::Ready(Ok(self.recovered())),
            Ok(()) => Poll::Pending,
            Err(error) => {
                self.phase = Phase::Done;
                Poll::Ready(Err(error))
            }
        }
    }

    fn recovered(&mut self) -> Recovered {
        let end = *self.verifier.end();
        Recovered {
            end,
            state: self.state.clone(),
            room: self.total(),
            was_clean: self.outcome.was_clean,
            tail_cut: self.outcome.tail_cut,
            cut_bytes: self.tail_end.0.saturating_sub(end.position.0),
            watermark_before: self.outcome.watermark_before,
            terms: core::mem::take(&mut self.terms),
            configurations: core::mem::take(&mut self.configurations),
            oldest: self.oldest,
            first_segment: self.first_segment,
            segments: core::mem::take(&mut self.segment_ends),
            batches: end.index.0,
            records: end.next_seq.0 - 1,
            slots: self.slots,
        }
    }

    fn on_done(&mut self, done: DiskDone) -> Result<(), RecoveryError> {
        let moved = match done.result {
            Ok(moved) => moved,
            Err(error) => return Err(RecoveryError::Disk { doing: describe(&done.op), error }),
        };
        match (self.phase, done.op) {
            (Phase::List, DiskOp::List { files, .. }) => self.on_list(&files),
            (Phase::Evidence, DiskOp::Read { buffer, .. }) => {
                let text = String::from_utf8_lossy(&buffer[..moved]);
                Err(RecoveryError::Diverged { evidence: text.trim_matches('\0').to_owned() })
            }
            (Phase::ReadState, DiskOp::Read { buffer, .. }) => self.on_state(&buffer[..moved]),
            (Phase::CreateState, _) => {
                self.outcome.was_clean = true;
                self.store();
                Ok(())
            }
            (Phase::Heads { number }, DiskOp::Read { buffer, .. }) => {
                let result = self.on_head(number, &buffer[..moved]);
                self.buffers.push(buffer);
                result
            }
            (Phase::Scan, DiskOp::Read { file, offset, buffer, .. }) => {
                if moved < buffer.len() {
                    return Err(self.shrunk(file, offset + moved as u64));
                }
                let result = self.on_chunk(self.position(file, offset), &buffer);
                self.buffers.push(buffer);
                result
            }
            (Phase::Tail { at }, DiskOp::Read { file, offset, buffer, .. }) => {
                if moved < buffer.len() {
                    return Err(self.shrunk(file, offset + moved as u64));
                }
                self.on_tail(at, &buffer)?;
                let at = at.plus(buffer.len() as u64);
                self.buffers.push(buffer);
                self.read_tail(at)
            }
            (Phase::Copy { at }, DiskOp::Read { file, offset, buffer, .. }) => {
                if moved < buffer.len() {
                    return Err(self.shrunk(file, offset + moved as u64));
                }
                self.phase = Phase::CopyBack { at: at.plus(buffer.len() as u64) };
                self.submit(DiskOp::Write { tag: 0, file, offset, bytes: IoBytes::Owned(buffer) });
                Ok(())
            }
            (phase, op) => {
                if let DiskOp::Write { bytes: IoBytes::Owned(buffer), .. } | DiskOp::Read { buffer, .. } = op
                {
                    self.buffers.push(buffer);
                }
                if self.in_flight == 0 {
                    self.after(phase)?;
                }
                Ok(())
            }
        }
    }

    /// Everything of a phase is done.
    fn after(&mut self, phase: Phase) -> Result<(), RecoveryError> {
        match phase {
            Phase::Drain => return self.read_tail(self.verifier.end().position),
            Phase::Decide if planted::is(Mistake::CacheTrusted) => self.zero(self.verifier.end().position),
            Phase::Decide => self.copy(self.state.watermark.position),
            Phase::CopyBack { at } => self.copy(at),
            Phase::Zero { at } => self.zero(at),
            Phase::Remove { number } => {
                self.segments = number;
                self.remove();
            }
            Phase::Sync => self.store(),
            Phase::Store => self.mirror(),
            Phase::Mirror => self.phase = Phase::Done,
            other => unreachable!("nothing to do after {other:?}"),
        }
        Ok(())
    }

    fn on_list(&mut self, files: &[(FileId, u64)]) -> Result<(), RecoveryError> {
        let mut has_state = false;
        let mut diverged = None;
        let first = files.iter().find_map(|(file, _)| match file {
            FileId::Segment(number) => Some(*number),
            _ => None,
        });
        // Where there is a snapshot the log may begin later than with batch 1, but not behind the snapshot.
        self.oldest = first.unwrap_or(0).min(self.first_segment);
        self.segments = self.oldest;
        for (file, size) in files {
            match *file {
                FileId::NodeState => has_state = true,
                FileId::Segment(number) if number != self.segments => {
                    return Err(RecoveryError::MissingSegment { number: self.segments });
                }
                FileId::Segment(number) => {
                    let expected = self.facts.segment_size;
                    if *size != expected {
                        return Err(RecoveryError::FileSize { number, found: *size, expected });
                    }
                    self.segments += 1;
                }
                FileId::Facts
                | FileId::Snapshot(_)
                | FileId::SnapshotDraft
                | FileId::SegmentDraft
                | FileId::Incoming(_)
                | FileId::Succession => {}
                FileId::Diverged => diverged = Some(*size),
            }
        }
        if let Some(size) = diverged {
            self.phase = Phase::Evidence;
            let buffer = vec![0; size.min(EVIDENCE_MAX) as usize];
            self.submit(DiskOp::Read { tag: 0, file: FileId::Diverged, offset: 0, buffer });
            return Ok(());
        }
        if has_state {
            self.phase = Phase::ReadState;
            let buffer = vec![0; NODE_STATE_LEN];
            self.submit(DiskOp::Read { tag: 0, file: FileId::NodeState, offset: 0, buffer });
            Ok(())
        } else if self.segments == 0 {
            self.create_state();
            Ok(())
        } else {
            Err(RecoveryError::StateMissing { segments: self.segments - self.oldest })
        }
    }

    fn create_state(&mut self) {
        self.state.blank = self.born.is_some();
        self.phase = Phase::CreateState;
        let size = NODE_STATE_LEN as u64;
        self.submit(DiskOp::Create { tag: 0, file: FileId::NodeState, size });
    }

    fn on_state(&mut self, bytes: &[u8]) -> Result<(), RecoveryError> {
        match read_slots(bytes) {
            Ok((state, slots)) => (self.state, self.slots) = (state, slots),
            Err(fault) if fault.is_unborn() && self.segments == 0 => {
                self.create_state();
                return Ok(());
            }
            Err(fault) => return Err(RecoveryError::State(fault)),
        }
        if self.state.cluster != self.facts.cluster {
            let (found, expected) = (self.state.cluster, self.facts.cluster);
            return Err(RecoveryError::OtherCluster { found, expected });
        }
        if self.state.facts != self.facts.fingerprint() {
            return Err(RecoveryError::OtherFacts);
        }
        if self.state.watermark.position > self.total() {
            return Err(RecoveryError::MissingSegment { number: self.segments });
        }
        if let Some(Anchor { end, .. }) = self.anchor {
            // The snapshot proves what an older slot may not know.
            let mark = Mark { index: end.index, position: end.position };
            self.state.watermark = self.state.watermark.max(mark);
            self.state.cut = self.state.cut.filter(|cut| *cut >= mark);
        }
        self.read_head(self.first_segment)
    }

    /// Reads the start of the segment in front of `number`, or begins to scan.
    fn read_head(&mut self, number: u64) -> Result<(), RecoveryError> {
        if number == self.oldest {
            return self.begin_scan();
        }
        self.phase = Phase::Heads { number: number - 1 };
        let mut buffer = self.buffers.pop().unwrap_or_default();
        buffer.resize(SEGMENT_START_LEN, 0);
        self.submit(DiskOp::Read { tag: 0, file: FileId::Segment(number - 1), offset: 0, buffer });
        Ok(())
    }

    /// Checks the batches of a chunk that begins with one.
    fn on_chunk(&mut self, at: Position, bytes: &[u8]) -> Result<(), RecoveryError> {
        let whole = whole_batches(bytes);
        let next = at.plus(whole as u64);
        // The disk reads while the batches are being checked.
        if whole > 0 && next < self.total() {
            self.read(next);
        }
        let mut rest = if whole > 0 { &bytes[..whole] } else { bytes };
        while !rest.is_empty() && !self.is_cut() {
            let before = *self.verifier.end();
            match self.verifier.check(rest) {
                Ok(batch) => {
                    let (header, len) = (batch.header, batch.bytes().len());
                    if header.kind() == BatchKind::SegmentStart {
                        self.segment_ends.push(before);
                    }
                    if self.terms.last().is_none_or(|last| last.term != header.term()) {
                        self.terms.push(TermStart { term: header.term(), first: header.index() });
                    }
                    if header.kind() == BatchKind::Control {
                        self.note_control(&batch)?;
                    }
                    rest = &rest[len..];
                    self.check_marks()?;
                }
                Err(fault) => {
                    self.on_fault(fault)?;
                    return self.end_scan();
                }
            }
        }
        match self.is_cut() || next >= self.total() {
            true => self.end_scan(),
            false => Ok(()),
        }
    }

    /// A control batch that was checked.
    fn note_control(&mut self, batch: &BatchView<'_>) -> Result<(), RecoveryError> {
        let index = batch.header.index();
        match Configuration::of_batch(batch) {
            Ok(None) => {}
            Ok(Some(configuration)) => self.configurations.push((index, configuration)),
            Err(error) => return Err(RecoveryError::Control { index, error }),
        }
        Ok(())
    }

    /// The facts with the largest W that may have been in use when this node acknowledged something (rule R6): what its
    /// own disk says.
    fn worst(&self) -> ClusterFacts {
        let known = self.configurations.iter().map(|(_, known)| known.unsynced_max);
        let unsynced_max = known.fold(self.facts.unsynced_max, u64::max);
        ClusterFacts { unsynced_max, ..self.facts.clone() }
    }

    fn begin_scan(&mut self) -> Result<(), RecoveryError> {
        self.segment_ends.reverse();
        self.phase = Phase::Scan;
        self.scan_on(self.verifier.end().position)
    }

    fn on_head(&mut self, number: u64, bytes: &[u8]) -> Result<(), RecoveryError> {
        match BatchView::parse(bytes) {
            Ok(batch) if batch.segment_start().is_some() => {
                let header = batch.header;
                self.segment_ends.push(LogEnd {
                    position: Position(number * self.facts.segment_size),
                    index: BatchIndex(header.index().0.saturating_sub(1)),
                    term: header.term(),
                    next_seq: header.first_seq(),
                    chain: header.previous(),
                    time: header.time(),
                });
                self.first_segment = number;
                self.read_head(number)
            }
            _ => {
                tracing::warn!(
                    segment = number,
                    "a segment in front of the snapshot is damaged; nothing is read from it. See the extent with \
                     `ordain journal verify`"
                );
                self.begin_scan()
            }
        }
    }

    /// Reads on at `next`, or ends.
    fn scan_on(&mut self, next: Position) -> Result<(), RecoveryError> {
        if next >= self.total() || self.is_cut() {
            return self.end_scan();
        }
        self.read(next);
        Ok(())
    }

    /// Whether a cut that an earlier life decided ends the log here.
    fn is_cut(&self) -> bool {
        self.state.cut.is_some_and(|cut| cut.index == self.verifier.end().index)
    }

    /// A mark in the node state names index and position; the log must agree.
    fn check_marks(&self) -> Result<(), RecoveryError> {
        let end = self.verifier.end();
        for mark in [Some(self.state.watermark), self.state.cut].into_iter().flatten() {
            if mark.index == end.index && mark.position != end.position {
                let (found, expected) = (end.position.0, mark.position.0);
                return Err(self.damage(Fault::Follow { field: "position", found, expected }, None));
            }
        }
        Ok(())
    }

    fn on_fault(&mut self, fault: Fault) -> Result<(), RecoveryError> {
        let (number, offset) = self.place(self.verifier.end().position);
        match fault {
            Fault::Bytes(BatchError::Version(version)) => {
                return Err(RecoveryError::Version { segment: number, offset, version });
            }
            Fault::Cluster(found) => return Err(RecoveryError::ForeignSegment { number, found }),
            Fault::SegmentSize(found) => return Err(RecoveryError::SegmentSize { number, found }),
            _ => self.fault = Some(fault),
        }
        Ok(())
    }

    fn damage(&self, fault: Fault, proof: Option<BatchIndex>) -> RecoveryError {
        let end = self.verifier.end();
        let (segment, offset) = self.place(end.position);
        let (index, watermark) = (end.index.next(), self.state.watermark.index);
        RecoveryError::Corrupt(Damage { segment, offset, index, fault, watermark, proof })
    }

    fn end_scan(&mut self) -> Result<(), RecoveryError> {
        let end = *self.verifier.end();
        let is_unbound = self.anchor.as_ref().is_some_and(|anchor| anchor.end.index == end.index);
        if is_unbound && self.state.watermark.index == end.index {
            return Err(RecoveryError::Unbound { number: self.place(end.position).0 });
        }
        if end.index < self.state.watermark.index && !planted::is(Mistake::DamageCut) {
            let fault = self.fault.unwrap_or(Fault::Bytes(BatchError::Empty));
            return Err(self.damage(fault, None));
        }
        self.proof_from = end.position;
        self.tail_end = end.position;
        self.phase = Phase::Drain;
        if self.in_flight == 0 { self.after(Phase::Drain) } else { Ok(()) }
    }

    fn read_tail(&mut self, at: Position) -> Result<(), RecoveryError> {
        if at >= self.total() {
            self.decide();
            return Ok(());
        }
        self.phase = Phase::Tail { at };
        self.read(at);
        Ok(())
    }

    fn on_tail(&mut self, at: Position, bytes: &[u8]) -> Result<(), RecoveryError> {
        if is_zero(bytes) {
            return Ok(());
        }
        let last = bytes.iter().rposition(|byte| *byte != 0).expect("one of them is not zero");
        self.tail_end = at.plus(last as u64 + 1);
        // Only the leader knows what was synced where, and only a lone node is sure to have led. A decided
        // cut was judged before.
        if self.facts.voters > 1 || self.is_cut() {
            return Ok(());
        }
        let end = *self.verifier.end();
        for offset in (0..bytes.len()).step_by(BATCH_ALIGN) {
            let place = at.plus(offset as u64);
            if place < self.proof_from {
                continue;
            }
            let Ok(header) = BatchHeader::parse(&bytes[offset..]) else { continue };
            // As many batches as fit at most lie between the end and a header that stands here.
            let most = end.index.0 + 1 + (place.0 - end.position.0) / BATCH_ALIGN as u64;
            if header.position() != place || !(end.index.0 + 1..=most).contains(&header.index().0) {
                continue;
            }
            // What a payload looks like is its client's choice, so bodies are not searched.
            self.proof_from = header.end();
            let synced = match header.unsynced.get() {
                u16::MAX => 0,
                unsynced => (header.index().0 - 1).saturating_sub(u64::from(unsynced)),
            };
            if synced > end.index.0 {
                let fault =
                    self.fault.expect("a decided cut aside, only a fault ends a log before its bytes do");
                return Err(self.damage(fault, Some(header.index())));
            }
        }
        Ok(())
    }

    /// The end is known, and what stands behind it. Stores both before anything is changed.
    fn decide(&mut self) {
        let end = *self.verifier.end();
        let mark = Mark { index: end.index, position: end.position };
        let watermark = self.state.watermark;
        let has_tail = self.tail_end > end.position;
        let Judgement { was_clean, tail_cut, floor } =
            judge(&self.worst(), &self.state, &end, has_tail, (self.os_boot, self.witnessed));
        self.outcome = Outcome { was_clean, tail_cut, watermark_before: watermark };
        self.state.floor = floor;
        if !planted::is(Mistake::BootNotCounted) {
            self.state.boot = self.state.boot.next();
        }
        self.state.os_boot = self.os_boot;
        self.state.clean &= planted::is(Mistake::CleanMarkKept);
        // A cut that is not finished may have zeroed what the kernel has and the device has not.
        if !has_tail && watermark == mark && self.state.cut.is_none() {
            return self.store();
        }
        self.state.cut = Some(mark);
        self.phase = Phase::Decide;
        self.submit_state(false);
    }

    fn copy(&mut self, at: Position) {
        let end = self.verifier.end().position;
        if at >= end {
            return self.zero(end);
        }
        self.phase = Phase::Copy { at };
        self.read_up_to(at, end);
    }

    fn zero(&mut self, at: Position) {
        let end = self.verifier.end().position;
        let (number, offset) = self.place(at);
        let (first, _) = self.place(end);
        if number != first || at >= self.tail_end || planted::is(Mistake::TailLeft) {
            return self.remove();
        }
        let mut buffer = self.buffers.pop().unwrap_or_default();
        buffer.clear();
        buffer.resize((self.facts.segment_size - offset).min(CHUNK as u64) as usize, 0);
        self.phase = Phase::Zero { at: at.plus(buffer.len() as u64) };
        let file = FileId::Segment(number);
        self.submit(DiskOp::Write { tag: 0, file, offset, bytes: IoBytes::Owned(buffer) });
    }

    fn remove(&mut self) {
        let (keep, _) = self.place(self.verifier.end().position);
        let last = self.segments.saturating_sub(1);
        let removes = self.tail_end > self.verifier.end().position && !planted::is(Mistake::TailLeft);
        if removes && last > keep {
            self.phase = Phase::Remove { number: last };
            return self.submit(DiskOp::Remove { tag: 0, file: FileId::Segment(last) });
        }
        let (first, _) = self.place(self.state.watermark.position);
        self.phase = Phase::Sync;
        // Behind the end, too: an earlier life may have got no further than writing its zeros there.
        for number in first..self.segments {
            self.submit(DiskOp::Sync { tag: 0, file: FileId::Segment(number) });
        }
        if self.in_flight == 0 {
            self.store();
        }
    }

    /// Stores the state of this life in both slots: the state before it may look clean.
    fn store(&mut self) {
        let end = self.verifier.end();
        if self.state.boot == Boot(0) {
            self.state.boot = self.born.unwrap_or(Boot(1));
            self.state.os_boot = self.os_boot;
            self.state.clean = false;
        }
        self.state.watermark = Mark { index: end.index, position: end.position };
        self.state.cut = None;
        self.phase = Phase::Store;
        self.submit_state(false);
    }

    /// The other slot is overwritten only once this one is known to be on disk.
    fn mirror(&mut self) {
        self.phase = Phase::Mirror;
        self.submit_state(true);
    }

    fn submit_state(&mut self, mirror: bool) {
        let mut slot = Vec::with_capacity(SLOT_LEN);
        let offset = match mirror {
            true => self.slots.mirror(&self.state, &mut slot),
            false => self.slots.store(&self.state, &mut slot),
        };
        let file = FileId::NodeState;
        // The newest slot may be with the kernel only, if the process before was killed before it had synced it. Until it
        // is on disk the other slot is all that a power loss leaves.
        if !core::mem::replace(&mut self.has_stored, true) {
            self.submit(DiskOp::Sync { tag: 0, file });
        }
        self.submit(DiskOp::Write { tag: 0, file, offset, bytes: IoBytes::Owned(slot) });
        self.submit(DiskOp::Sync { tag: 0, file });
    }

    fn read(&mut self, at: Position) {
        self.read_up_to(at, self.total());
    }

    /// Reads a chunk, at most up to `end` or the end of the segment.
    fn read_up_to(&mut self, at: Position, end: Position) {
        let (number, offset) = self.place(at);
        let most = (self.facts.segment_size - offset).min(end.0 - at.0).min(CHUNK as u64);
        let mut buffer = self.buffers.pop().unwrap_or_default();
        buffer.resize(most as usize, 0);
        self.submit(DiskOp::Read { tag: 0, file: FileId::Segment(number), offset, buffer });
    }

    fn submit(&mut self, op: DiskOp) {
        self.in_flight += 1;
        match self.disk.free() > 0 && self.waiting.is_empty() {
            true => self.disk.submit(op),
            false => self.waiting.push_back(op),
        }
    }

    fn total(&self) -> Position {
        Position(self.segments * self.facts.segment_size)
    }

    fn place(&self, at: Position) -> (u64, u64) {
        (at.0 / self.facts.segment_size, at.0 % self.facts.segment_size)
    }

    fn position(&self, file: FileId, offset: u64) -> Position {
        let FileId::Segment(number) = file else { unreachable!("only segments are scanned") };
        Position(number * self.facts.segment_size + offset)
    }

    fn shrunk(&self, file: FileId, found: u64) -> RecoveryError {
        let FileId::Segment(number) = file else { unreachable!("only segments are scanned") };
        RecoveryError::FileSize { number, found, expected: self.facts.segment_size }
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    // A block at a time without a branch per byte: as fast as memory, and it still ends early.
    bytes.chunks(4096).all(|block| block.iter().fold(0, |sum, byte| sum | byte) == 0)
}

pub(crate) fn describe(op: &DiskOp) -> String {
    match op {
        DiskOp::Write { file, offset, .. } => format!("writing {} at {offset}", name(*file)),
        DiskOp::Sync { file, .. } => format!("syncing {}", name(*file)),
        DiskOp::Read { file, offset, .. } => format!("reading {} at {offset}", name(*file)),
        DiskOp::Create { file, .. } => format!("creating {}", name(*file)),
        DiskOp::Remove { file, .. } => format!("removing {}", name(*file)),
        DiskOp::Rename { from, to, .. } => format!("renaming {} to {}", name(*from), name(*to)),
        DiskOp::List { .. } => "listing the data directory".to_owned(),
    }
}

/// A file's name for the operator.
pub(crate) fn name(file: FileId) -> String {
    match file {
        FileId::Segment(number) => format!("segment {number}"),
        FileId::NodeState => "the node-state file".to_owned(),
        FileId::Facts => "the facts file".to_owned(),
        FileId::Snapshot(position) => format!("the snapshot at position {position}"),
        FileId::SnapshotDraft => "the snapshot under construction".to_owned(),
        FileId::SegmentDraft => "the mended copy of a segment".to_owned(),
        FileId::Incoming(position) => format!("the incoming snapshot at position {position}"),
        FileId::Succession => "the succession file".to_owned(),
        FileId::Diverged => "the evidence of a divergence".to_owned(),
    }
}
