//! Declaring a loss (rule R7) on a node that is stopped: its log goes on with a control batch of a new lineage, which
//! no election has to grant it. The batch's term is higher than any that the lineage before can have had, so that the
//! ordinary rules of votes and of matching logs do the rest: this log is behind none, and no promise floor reaches
//! beyond it.
//!
//! Each step is synced before the next: the term, so that the node votes for no log without the new lineage's
//! beginning from here on; the batches; the watermark behind them. Interrupted anywhere, it may be done again, and
//! then begins one more lineage: whether somebody took over what the first attempt wrote cannot be seen from here.

use crate::recovery::{Recovered, RecoveryError, describe};
use crate::state::{Mark, NodeState, SLOT_LEN, Slots};
use core::task::Poll;
use ordain_agent::disk::{Disk, DiskOp, FileId, IoBytes};
use ordain_agent::planted::{self, Mistake};
use ordain_types::batch::{
    self, BATCH_ALIGN, BATCH_HEADER, BatchKind, BatchView, SEGMENT_START_LEN, Seal, SegmentStart,
};
use ordain_types::lineage::LineageBreak;
use ordain_types::{BatchIndex, ClusterFacts, Lineage, LogEnd, Nanos, Position, Term, align_up};
use std::collections::VecDeque;
use zerocopy::IntoBytes;

/// Terms that the lineages of two attempts draw from, so that they hardly ever meet.
const DRAWN: u64 = 1 << 24;

/// What is declared.
#[derive(Clone, Debug)]
pub struct Declaration {
    /// What the log will say of it. Its lineage and end are filled in here.
    pub text: LineageBreak,
    /// Bodies of control batches behind it: a configuration, where members are gone for good.
    pub others: Vec<Vec<u8>>,
    /// The highest lineage of which any node was seen to know.
    pub seen: Lineage,
    /// Random: tells this attempt from any other that begins the same lineage.
    pub salt: u64,
    /// Wall clock.
    pub wall: Nanos,
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forced {
    /// The lineage that begins.
    pub lineage: Lineage,
    /// The batch that says so.
    pub index: BatchIndex,
    /// The log's end.
    pub end: LogEnd,
}

/// Forces a node that was recovered: step it until it is ready. See the module.
#[derive(Debug)]
pub struct Force<D> {
    disk: D,
    facts: ClusterFacts,
    /// Operations still to be done, one after the other.
    left: VecDeque<DiskOp>,
    is_busy: bool,
    /// Position up to which segments exist.
    room: Position,
    stamp: (Term, Nanos),
    end: LogEnd,
    forced: Forced,
}

impl<D: Disk> Force<D> {
    /// Begins. `recovered` is what [`Recovery`](crate::Recovery) just found and mended through the same disk.
    ///
    /// # Panics
    /// If lineages are exhausted.
    #[must_use]
    pub fn new(facts: &ClusterFacts, recovered: &Recovered, declaration: &Declaration, disk: D) -> Self {
        let known = Lineage::of(recovered.state.term).max(declaration.seen);
        let lineage = if planted::is(Mistake::LineageNotRaised) { known } else { known.next() };
        let term = if planted::is(Mistake::LineageNotRaised) {
            recovered.state.term.next()
        } else {
            Term(lineage.first_term().0 + 1 + declaration.salt % DRAWN)
        };
        let end = recovered.end;
        let text = LineageBreak { lineage, end: (end.term, end.index), ..declaration.text.clone() };
        let mut force = Self {
            disk,
            facts: facts.clone(),
            left: VecDeque::new(),
            is_busy: false,
            room: recovered.room,
            stamp: (term, declaration.wall),
            end,
            forced: Forced { lineage, index: BatchIndex(0), end },
        };
        let mut slots = recovered.slots;
        let mut state = NodeState { term, voted_for: None, clean: false, ..recovered.state.clone() };
        force.store(&mut slots, &state);
        let first = force.end.position.0 / facts.segment_size;
        for body in [text.encode()].iter().chain(&declaration.others) {
            force.control(body);
            if force.forced.index == BatchIndex(0) {
                force.forced.index = force.end.index;
            }
        }
        for number in first..=(force.end.position.0 - 1) / facts.segment_size {
            force.left.push_back(DiskOp::Sync { tag: 0, file: FileId::Segment(number) });
        }
        // Its log is the reference now: what it may have acknowledged beyond it is what was declared lost.
        state.floor = None;
        state.blank = false;
        state.ack_term = term;
        state.watermark = Mark { index: force.end.index, position: force.end.position };
        state.clean = true;
        force.store(&mut slots, &state);
        force.forced.end = force.end;
        force
    }

    /// Gives the disk back.
    pub fn into_disk(self) -> D {
        self.disk
    }

    /// Goes on by at most one finished operation.
    ///
    /// # Errors
    /// [`RecoveryError::Disk`]: it may be tried again from the start.
    pub fn step(&mut self) -> Poll<Result<Forced, RecoveryError>> {
        if self.is_busy {
            let Some(done) = self.disk.poll() else { return Poll::Pending };
            self.is_busy = false;
            if let Err(error) = done.result {
                return Poll::Ready(Err(RecoveryError::Disk { doing: describe(&done.op), error }));
            }
        }
        match self.left.pop_front() {
            Some(op) => {
                self.disk.submit(op);
                self.is_busy = true;
                Poll::Pending
            }
            None => Poll::Ready(Ok(self.forced.clone())),
        }
    }

    /// Both slots, the second once the first is on disk.
    fn store(&mut self, slots: &mut Slots, state: &NodeState) {
        let file = FileId::NodeState;
        for mirror in [false, true] {
            let mut slot = Vec::with_capacity(SLOT_LEN);
            let offset = match mirror {
                true => slots.mirror(state, &mut slot),
                false => slots.store(state, &mut slot),
            };
            self.left.push_back(DiskOp::Write { tag: 0, file, offset, bytes: IoBytes::Owned(slot) });
            self.left.push_back(DiskOp::Sync { tag: 0, file });
        }
    }

    /// Puts a control batch behind the log's end, in a new segment if it must.
    fn control(&mut self, body: &[u8]) {
        let size = self.facts.segment_size;
        let len = align_up(BATCH_HEADER + body.len(), BATCH_ALIGN);
        let left = size - self.end.position.0 % size;
        if left < size && left < len as u64 {
            self.put(BatchKind::Pad, left as usize, &[]);
        }
        if self.end.position.0.is_multiple_of(size) {
            let start = SegmentStart {
                cluster: self.facts.cluster.0,
                segment_size: size.into(),
                lineage: Lineage::of(self.stamp.0).0.into(),
                reserved: [0; 6],
            };
            self.put(BatchKind::SegmentStart, SEGMENT_START_LEN, start.as_bytes());
        }
        self.put(BatchKind::Control, len, body);
    }

    fn put(&mut self, kind: BatchKind, len: usize, body: &[u8]) {
        let (LogEnd { position, index, next_seq, time, chain, .. }, (term, wall)) = (self.end, self.stamp);
        let mut bytes = vec![0; len];
        bytes[BATCH_HEADER..BATCH_HEADER + body.len()].copy_from_slice(body);
        let seal = Seal {
            kind,
            count: 0,
            unsynced: u16::MAX,
            position,
            index: index.next(),
            term,
            first_seq: next_seq,
            time: time.max(wall),
            previous: chain,
        };
        batch::seal(&mut bytes, &seal);
        self.end = self.end.after(&BatchView::trusted(&bytes).expect("it was just sealed"));
        let (number, offset) = (position.0 / self.facts.segment_size, position.0 % self.facts.segment_size);
        let file = FileId::Segment(number);
        if position >= self.room {
            self.left.push_back(DiskOp::Create { tag: 0, file, size: self.facts.segment_size });
            self.room = self.room.plus(self.facts.segment_size);
        }
        self.left.push_back(DiskOp::Write { tag: 0, file, offset, bytes: IoBytes::Owned(bytes) });
    }
}
