//! The stage that puts the log on disk.
//!
//! Three lanes to the disk, because what they carry must not wait for one another: `log` carries the log's
//! own writes and syncs, `state` the node state, on which votes wait, and `prepare` makes the segments to
//! come, which takes as long as writing a segment does, and removes those that nobody needs.
//!
//! Group commit: whatever is published is written at once, and a sync follows right behind it unless one is
//! in flight. Then it covers all that was written meanwhile when it is its turn.

use crate::recovery::{Recovered, name};
use crate::state::{Floor, Mark, NodeState, SLOT_LEN, Slots};
use core::cmp::min;
use ordain_agent::disk::{Disk, DiskDone, DiskError, DiskOp, FileId, IoBytes};
use ordain_agent::metrics::{Gauge, Registry};
use ordain_agent::planted::{self, Mistake};
use ordain_agent::shared::{Holder, Shared};
use ordain_agent::wire::VoteRequest;
use ordain_agent::witness::Witness;
use ordain_agent::{Agent, Fatal};
use ordain_ring::log::{Consumer, JoinError, LogRing, PINS_MAX};
use ordain_ring::spsc::Receiver;
use ordain_types::batch::BatchHeader;
use ordain_types::{BatchIndex, Boot, ClusterFacts, Nanos, NodeId, Now, Position, Term};
use std::collections::VecDeque;
use zerocopy::FromBytes;

/// Longest write, bytes: long enough for a disk's full speed, and at most 8,192 headers to walk in one go.
const WRITE_MAX: u64 = 1024 * 1024;
/// Writes in flight: enough to keep a disk busy, and their pins must be had.
const WRITES_MAX: usize = 8;
/// Segments prepared beyond the one that is being written.
const AHEAD: u64 = 1;
/// Bytes of log kept behind the snapshots where nothing else is said: a few minutes at full rate.
const RETAIN: u64 = 4 * 1024 * 1024 * 1024;
/// When preparing a segment is tried again on a full disk.
const RETRY: u64 = 200 * Nanos::MILLI;
/// A watermark that lags is stored when nothing was synced for this long: what a quiet node holds is known
/// to be synced, at the price of one more small sync.
const QUIET: u64 = 20 * Nanos::MILLI;

const _: () = assert!(WRITES_MAX <= PINS_MAX);
const _: () = assert!(WRITE_MAX as usize >= ordain_types::batch::BATCH_MAX);

/// The disk of a [`Journal`]: three lanes, see the module.
#[derive(Debug)]
pub struct Lanes<D> {
    /// Writes and syncs of the log. Depth 2 at least, about 20 to be of use.
    pub log: D,
    /// The node state. Depth 2.
    pub state: D,
    /// Segments to come. Depth 1.
    pub prepare: D,
}

/// What a journal tells of itself.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    bytes: Gauge,
    writes: Gauge,
    syncs: Gauge,
    watermark: Gauge,
    no_room: Gauge,
    oldest: Gauge,
}

impl Metrics {
    /// Registers the numbers.
    #[must_use]
    pub fn register(registry: &Registry) -> Self {
        Self {
            bytes: registry.counter("ordain_journal_bytes_total", "Bytes of log written."),
            writes: registry.counter("ordain_journal_writes_total", "Writes of log finished."),
            syncs: registry.counter("ordain_journal_syncs_total", "Syncs of log finished."),
            watermark: registry
                .gauge("ordain_journal_watermark", "Batch up to which the node state says synced."),
            no_room: registry
                .gauge("ordain_journal_no_room", "1 while the disk is too full for a new segment."),
            oldest: registry
                .gauge("ordain_journal_oldest_position", "Log position where the oldest segment begins."),
        }
    }
}

/// An operation in flight on the log lane, and how far the log is written or synced when it is done.
#[derive(Clone, Copy, Debug)]
enum LogOp {
    Write(Mark),
    Sync(Mark),
    /// Of a cut: changes no mark.
    Zero,
}

/// How far a cut has come. Each step begins when the operations of the one before are done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CutStep {
    /// Operations in flight come to their end.
    Drain,
    /// The node state says what is going to be cut.
    Mark,
    /// What stands behind the cut becomes zero.
    Zero { at: Position },
    /// The node state says that it is done.
    Clear,
    /// The ring's consumer goes back.
    Rewind,
}

/// See the module.
pub struct Journal<D> {
    segment_size: u64,
    unsynced_max: u64,
    ring: LogRing,
    /// None only after a cut behind what the ring still holds, until the log's writer has gone back.
    consumer: Option<Consumer>,
    votes: Receiver,
    cursors: Shared,
    lanes: Lanes<D>,
    metrics: Metrics,

    /// Log lane, in order. At most its depth.
    in_flight: VecDeque<LogOp>,
    writes: usize,
    syncs: usize,
    /// How far writes are submitted, and done; how far syncs are submitted, and done.
    submitted: Mark,
    written: Mark,
    covered: Mark,
    synced: Mark,

    state: NodeState,
    slots: Slots,
    /// The state differs from the one stored last in what somebody waits for.
    state_dirty: bool,
    /// The state stored last stands in one slot only, and holds more than a watermark.
    mirror_due: bool,
    /// A store in flight: its watermark, and the last vote request that it holds.
    storing: Option<(Mark, u64)>,
    stored: Mark,
    vote: u64,
    slot: Vec<u8>,
    /// When the log counts as quiet.
    quiet_at: Nanos,

    room: Position,
    /// The prepare lane is at work.
    preparing: bool,
    retry_at: Option<Nanos>,
    /// Where the oldest segment begins, how much is kept, and whether removing failed.
    oldest: Position,
    retain: u64,
    keeps_all: bool,

    /// Where copies in memory count: remembers how far this node may have said that it has the log.
    witness: Option<Box<dyn Witness>>,

    cut: Option<CutStep>,
    zeros: Vec<u8>,
    closing: bool,
}

impl<D: Disk> Journal<D> {
    /// A journal that goes on where recovery ended. Joins the ring and publishes its cursors.
    ///
    /// # Panics
    /// If the ring does not hold the recovered end.
    #[must_use]
    pub fn new(
        facts: &ClusterFacts,
        recovered: &Recovered,
        lanes: Lanes<D>,
        ring: LogRing,
        votes: Receiver,
        cursors: Shared,
        metrics: Metrics,
    ) -> Self {
        let end = Mark { index: recovered.end.index, position: recovered.end.position };
        let consumer = ring.join_at(end.position).expect("the ring holds the recovered end");
        cursors.written.store(end.index.0);
        cursors.durable.store(end.index.0);
        cursors.watermark.store(end.index.0);
        cursors.room.store(recovered.room.0);
        let oldest = Position(recovered.oldest * facts.segment_size);
        cursors.oldest.store(oldest.0);
        let sealed = match recovered.segments.last() {
            _ if end.position.0.is_multiple_of(facts.segment_size) => end,
            Some(start) => Mark { index: start.index, position: start.position },
            None => Mark::default(),
        };
        seal(&cursors, sealed);
        metrics.oldest.set(oldest.0);
        metrics.watermark.set(end.index.0);
        Self {
            segment_size: facts.segment_size,
            unsynced_max: facts.unsynced_max,
            ring,
            consumer: Some(consumer),
            votes,
            cursors,
            lanes,
            metrics,
            in_flight: VecDeque::with_capacity(64),
            writes: 0,
            syncs: 0,
            submitted: end,
            written: end,
            covered: end,
            synced: end,
            state: recovered.state.clone(),
            slots: recovered.slots,
            state_dirty: false,
            mirror_due: false,
            storing: None,
            stored: end,
            vote: 0,
            slot: Vec::with_capacity(SLOT_LEN),
            quiet_at: Nanos(0),
            room: recovered.room,
            preparing: false,
            retry_at: None,
            oldest,
            retain: RETAIN,
            keeps_all: false,
            witness: None,
            cut: None,
            zeros: Vec::new(),
            closing: false,
        }
    }

    /// Keeps this many bytes of log, 4 GiB unless said, though snapshots would let them go.
    #[must_use]
    pub const fn retaining(mut self, retain: u64) -> Self {
        self.retain = retain;
        self
    }

    /// The journal, with a witness of how far it has written. Without one, where copies in memory count, a
    /// crash of the process costs as much as one of the operating system.
    ///
    /// # Errors
    /// [`Fatal`] if nothing can be noted.
    pub fn with_witness(mut self, witness: Option<Box<dyn Witness>>) -> Result<Self, Fatal> {
        self.witness = witness;
        self.testify(self.written)?;
        Ok(self)
    }

    /// Lets it be known elsewhere that the log was written up to `written`: before anybody hears of it.
    fn testify(&mut self, written: Mark) -> Result<(), Fatal> {
        let Some(witness) = &mut self.witness else { return Ok(()) };
        witness.note(written.index).map_err(|error| {
            Fatal::new(
                format!("it cannot be noted how far the journal is written: {error}"),
                "Check /dev/shm, then start the node again: it counts as if the machine had failed.",
            )
        })
    }

    /// What the node state says now. It is on disk once `vote_stored` or `journal_closed` says so.
    #[must_use]
    pub const fn state(&self) -> &NodeState {
        &self.state
    }

    /// Goes on with stopping in good order: everything synced, the watermark at the log's end, and then the
    /// clean mark, in both slots.
    fn close(&mut self) {
        let at_rest = self.in_flight.is_empty()
            && self.consumer.as_ref().is_some_and(|consumer| consumer.position() == self.ring.published())
            && self.synced == self.submitted
            && self.storing.is_none()
            && !self.cursors.cut.is_on()
            && !self.preparing
            && !self.mirror_due
            && !self.state_dirty;
        match at_rest {
            true if self.state.clean => self.cursors.journal_closed.store(1),
            true => (self.state.clean, self.state_dirty) = (true, true),
            false => {}
        }
    }

    fn work(&mut self, now: Now) -> Result<usize, Fatal> {
        self.closing = self.cursors.log_closed.load() == 1;
        let mut work = self.poll_log(now)? + self.poll_state()? + self.poll_prepare(now)?;
        match self.cursors.cut.asked(Holder::Journal) {
            Some((index, position)) => work += self.cut_to(Mark { index, position })?,
            None if self.cursors.cut.is_on() => {}
            None => work += self.write(),
        }
        work += self.take_votes();
        work += usize::from(self.store_state(now));
        work += usize::from(self.prepare(now));
        work += usize::from(self.swap()) + usize::from(self.trim());
        if self.cut.is_none() {
            let synced = if planted::is(Mistake::DurableWhenWritten) { self.written } else { self.synced };
            let durable = min(synced.index.0, self.stored.index.0.saturating_add(self.window()));
            // In this order, so that whoever loads them in the other one never sees the watermark ahead.
            self.cursors.durable.store(durable);
            self.cursors.watermark.store(self.stored.index.0);
        }
        if self.closing {
            self.close();
        }
        Ok(work)
    }

    // The log lane.

    /// Submits what is published, and a sync behind it.
    fn write(&mut self) -> usize {
        if self.room == Position(0) {
            // The batches that open a log stand in the ring before the first segment exists.
            return 0;
        }
        if self.syncs > 0 {
            // The lane works in order, so a write would wait for the sync anyway: what arrives meanwhile
            // leaves as one write.
            return 0;
        }
        if self.consumer.is_none() {
            self.consumer = self.ring.join_at(self.submitted.position).ok();
        }
        let Some(consumer) = &mut self.consumer else { return 0 };
        let mut batches = 0;
        while self.writes < WRITES_MAX && self.lanes.log.free() >= 2 {
            let from = self.submitted;
            let segment_end = (from.position.0 / self.segment_size + 1) * self.segment_size;
            // The first batches of a new log are published before their segment is prepared.
            let limit = segment_end.min(from.position.0 + WRITE_MAX).min(self.room.0.max(from.position.0));
            let limit = Position(limit);
            let bytes = consumer.peek(from.position, limit);
            let end = walk(bytes, from);
            if end == from {
                assert!(bytes.is_empty(), "no batch crosses a segment");
                break;
            }
            assert!(!self.state.clean, "batch {} was published after the journal was closed", end.index);
            let len = (end.position.0 - from.position.0) as usize;
            let pinned =
                consumer.pin(from.position, len).expect("fewer writes are in flight than pins exist");
            self.lanes.log.submit(DiskOp::Write {
                tag: end.position.0,
                file: FileId::Segment(from.position.0 / self.segment_size),
                offset: from.position.0 % self.segment_size,
                bytes: IoBytes::Ring(pinned),
            });
            self.in_flight.push_back(LogOp::Write(end));
            self.writes += 1;
            self.submitted = end;
            batches += (end.index.0 - from.index.0) as usize;
            if end.position.0 == segment_end {
                // A sync covers one file: close this one before going on to the next.
                submit_sync(&mut self.lanes.log, &mut self.in_flight, self.segment_size, end);
                self.syncs += 1;
                self.covered = end;
            }
        }
        if self.syncs == 0 && self.covered < self.submitted && self.lanes.log.free() > 0 {
            submit_sync(&mut self.lanes.log, &mut self.in_flight, self.segment_size, self.submitted);
            self.syncs += 1;
            self.covered = self.submitted;
        }
        batches
    }

    fn poll_log(&mut self, now: Now) -> Result<usize, Fatal> {
        let mut work = 0;
        while let Some(done) = self.lanes.log.poll() {
            work += 1;
            let expected = self.in_flight.pop_front().expect("only what is in flight completes");
            let DiskDone { op, result } = done;
            let moved = result.map_err(|error| failed(&op, &error))?;
            check_whole(&op, moved)?;
            match (expected, op) {
                (LogOp::Write(end), op) => {
                    // The pin first: the consumer must not release a range that is pinned.
                    drop(op);
                    self.metrics.writes.add(1);
                    self.metrics.bytes.add(end.position.0 - self.written.position.0);
                    self.writes -= 1;
                    self.testify(end)?;
                    self.written = end;
                    let consumer = self.consumer.as_mut().expect("it leaves only when nothing is in flight");
                    consumer.release((end.position.0 - consumer.position().0) as usize);
                    self.cursors.written.store(end.index.0);
                }
                (LogOp::Sync(end), _) => {
                    self.metrics.syncs.add(1);
                    self.syncs -= 1;
                    self.synced = end;
                    // A write that fills a segment is synced by itself.
                    if end.position.0.is_multiple_of(self.segment_size) {
                        seal(&self.cursors, end);
                    }
                    self.quiet_at = now.mono.plus(QUIET);
                }
                (LogOp::Zero, DiskOp::Write { bytes: IoBytes::Owned(zeros), .. }) => self.zeros = zeros,
                (LogOp::Zero, _) => {}
            }
        }
        Ok(work)
    }

    // The node state.

    fn take_votes(&mut self) -> usize {
        let mut taken = 0;
        while let Some(message) = self.votes.peek() {
            let request =
                VoteRequest::read_from_bytes(message).expect("the log stage sends vote requests only");
            let term = Term(request.term.get());
            let voted_for = request
                .voted_for
                .get()
                .checked_sub(1)
                .map(|node| NodeId(u32::try_from(node).expect("the log stage names nodes")));
            assert!(request.number.get() == self.vote + 1, "vote requests are dense");
            assert!(term >= self.state.term, "terms do not go back");
            assert!(
                term > self.state.term || self.state.voted_for.is_none() || self.state.voted_for == voted_for,
                "one vote in a term"
            );
            let floor =
                Floor { term: Term(request.floor_term.get()), index: BatchIndex(request.floor_index.get()) };
            self.vote = request.number.get();
            self.state.term = term;
            self.state.voted_for = voted_for;
            self.state.ack_term = Term(request.ack_term.get());
            self.state.floor = (floor != Floor::default()).then_some(floor);
            self.state.blank = request.blank.get() != 0;
            self.state.boot = self.state.boot.max(Boot(request.boot.get()));
            self.state_dirty = true;
            self.votes.release();
            taken += 1;
        }
        taken
    }

    /// Stores the state if somebody waits for it, the watermark lags or the log is quiet, and mirrors it
    /// otherwise if that is due.
    /// W, as the log says it once the log stage has looked.
    fn window(&self) -> u64 {
        match self.cursors.window.load() {
            0 => self.unsynced_max,
            window => window,
        }
    }

    fn store_state(&mut self, now: Now) -> bool {
        if self.storing.is_some() || self.lanes.state.free() < 2 {
            return false;
        }
        let synced = if planted::is(Mistake::WatermarkAhead) { self.submitted } else { self.synced };
        let watermark = self.state.cut.map_or(synced, |cut| min(cut, synced));
        let lag = watermark.index.0.saturating_sub(self.stored.index.0);
        let watermark_due = lag >= self.window() / 2 || lag > 0 && now.mono >= self.quiet_at;
        let mut slot = core::mem::take(&mut self.slot);
        let offset = if self.state_dirty || watermark_due || lag > 0 && self.closing {
            self.mirror_due |= self.state_dirty;
            self.state_dirty = false;
            self.state.watermark = watermark;
            self.slots.store(&self.state, &mut slot)
        } else if self.mirror_due {
            self.mirror_due = false;
            self.slots.mirror(&self.state, &mut slot)
        } else {
            self.slot = slot;
            return false;
        };
        let file = FileId::NodeState;
        self.lanes.state.submit(DiskOp::Write { tag: 0, file, offset, bytes: IoBytes::Owned(slot) });
        if !planted::is(Mistake::StateNotSynced) {
            self.lanes.state.submit(DiskOp::Sync { tag: 0, file });
        }
        self.storing = Some((self.state.watermark, self.vote));
        if planted::is(Mistake::VoteNotAwaited) {
            self.cursors.vote_stored.store(self.vote);
        }
        true
    }

    fn poll_state(&mut self) -> Result<usize, Fatal> {
        let mut work = 0;
        while let Some(DiskDone { op, result }) = self.lanes.state.poll() {
            work += 1;
            let moved = result.map_err(|error| failed(&op, &error))?;
            check_whole(&op, moved)?;
            match op {
                DiskOp::Write { bytes: IoBytes::Owned(slot), .. }
                    if !planted::is(Mistake::StateNotSynced) =>
                {
                    self.slot = slot;
                }
                _ => {
                    let (watermark, vote) = self.storing.take().expect("a store is in flight");
                    self.stored = watermark;
                    self.metrics.watermark.set(watermark.index.0);
                    self.cursors.vote_stored.store(vote);
                }
            }
        }
        Ok(work)
    }

    // Segments to come.

    fn prepare(&mut self, now: Now) -> bool {
        let wanted = (self.submitted.position.0 / self.segment_size + 1 + AHEAD) * self.segment_size;
        let waits = self.retry_at.is_some_and(|at| now.mono < at);
        // What opens a log is published before there is room for it.
        let is_enough = self.room.0 >= wanted || self.closing && self.room >= self.ring.published();
        if self.preparing || waits || is_enough || self.lanes.prepare.free() == 0 {
            return false;
        }
        let file = FileId::Segment(self.room.0 / self.segment_size);
        self.lanes.prepare.submit(DiskOp::Create { tag: 0, file, size: self.segment_size });
        self.preparing = true;
        true
    }

    fn poll_prepare(&mut self, now: Now) -> Result<usize, Fatal> {
        let Some(DiskDone { op, result }) = self.lanes.prepare.poll() else { return Ok(0) };
        self.preparing = false;
        match result {
            Ok(_) if matches!(op, DiskOp::Remove { .. }) => {}
            Ok(_) if matches!(op, DiskOp::Rename { .. }) => self.cursors.damage.swap.answer(true),
            Err(error) if matches!(op, DiskOp::Rename { .. }) => {
                tracing::error!(%error, "a mended segment did not get its name; it is mended anew later");
                self.cursors.damage.swap.answer(false);
            }
            Err(error) if matches!(op, DiskOp::Remove { .. }) => {
                self.keeps_all = true;
                tracing::warn!(%error, "an old segment cannot be removed: none is tried again before the next start");
            }
            Ok(_) => {
                self.room = self.room.plus(self.segment_size);
                self.cursors.room.store(self.room.0);
                if self.retry_at.take().is_some() {
                    self.metrics.no_room.set(0);
                    self.cursors.disk_full.store(0);
                    tracing::info!(room = self.room.0, "the disk has room for segments again");
                }
            }
            Err(DiskError::NoSpace) => {
                if self.retry_at.replace(now.mono.plus(RETRY)).is_none() {
                    self.metrics.no_room.set(1);
                    self.cursors.disk_full.store(1);
                    tracing::warn!(
                        bytes = self.segment_size,
                        "no space for a new segment: requests are refused once the prepared ones are full. \
                         Free disk space; the node goes on by itself"
                    );
                }
            }
            Err(error) => return Err(failed(&op, &error)),
        }
        Ok(1)
    }

    /// Gives a mended segment its name, unless nobody needs it any more.
    fn swap(&mut self) -> bool {
        let Some(segment) = self.cursors.damage.swap.asked() else { return false };
        if self.preparing || self.lanes.prepare.free() == 0 {
            return false;
        }
        if segment * self.segment_size < self.oldest.0 || self.closing {
            self.cursors.damage.swap.answer(false);
            return true;
        }
        let (from, to) = (FileId::SegmentDraft, FileId::Segment(segment));
        self.lanes.prepare.submit(DiskOp::Rename { tag: 0, from, to });
        self.preparing = true;
        true
    }

    /// Removes the oldest segment if nobody needs it: one at a time, so that segments stay a contiguous range.
    fn trim(&mut self) -> bool {
        if self.preparing || self.keeps_all || self.closing || self.lanes.prepare.free() == 0 {
            return false;
        }
        let needless = min(self.cursors.needless.load(), self.cursors.trim_floor.load());
        let needless = if planted::is(Mistake::TrimsUnasked) { u64::MAX } else { needless };
        let end = self.oldest.plus(self.segment_size);
        if end.0 > min(needless, self.synced.position.0.saturating_sub(self.retain)) {
            return false;
        }
        let file = FileId::Segment(self.oldest.0 / self.segment_size);
        // First, so that a reader that does not find the file learns why.
        self.cursors.oldest.store(end.0);
        self.oldest = end;
        self.metrics.oldest.set(end.0);
        self.lanes.prepare.submit(DiskOp::Remove { tag: 0, file });
        self.preparing = true;
        true
    }

    // Cutting.

    /// Goes on with cutting everything behind `keep` off.
    fn cut_to(&mut self, keep: Mark) -> Result<usize, Fatal> {
        let step = *self.cut.get_or_insert(CutStep::Drain);
        let next = match step {
            _ if !self.in_flight.is_empty() && !planted::is(Mistake::CutInFlight) => return Ok(0),
            // A vote that comes in between is stored on the way.
            CutStep::Mark | CutStep::Clear if self.state_dirty || self.storing.is_some() => return Ok(0),
            CutStep::Drain if keep >= self.submitted => CutStep::Rewind,
            CutStep::Drain if planted::is(Mistake::CutLeavesBytes) => {
                self.submitted = keep;
                CutStep::Zero { at: keep.position }
            }
            CutStep::Drain => {
                self.state.cut = Some(keep);
                self.state_dirty = true;
                CutStep::Mark
            }
            CutStep::Mark => CutStep::Zero { at: keep.position },
            CutStep::Zero { at } if at < self.submitted.position => self.zero(at),
            CutStep::Zero { .. } => {
                self.submitted = keep;
                self.written = min(self.written, keep);
                self.covered = min(self.covered, keep);
                self.synced = min(self.synced, keep);
                self.unseal(keep);
                // While the state still says that nothing behind the cut counts.
                self.testify(self.written)?;
                self.state.cut = None;
                self.state_dirty = true;
                CutStep::Clear
            }
            CutStep::Clear => CutStep::Rewind,
            CutStep::Rewind => {
                let rewound =
                    self.consumer.as_mut().map_or(Ok(()), |consumer| consumer.rewind(keep.position));
                match rewound {
                    Ok(()) => {}
                    // Joins again when the log's writer has gone back.
                    Err(JoinError::Gone { .. } | JoinError::Full) => self.consumer = None,
                    Err(JoinError::Beyond { .. }) => return Ok(0),
                }
                self.cursors.watermark.store(self.stored.index.0);
                self.cursors.durable.store(min(self.cursors.durable.load(), self.synced.index.0));
                self.cursors.written.store(self.written.index.0);
                self.cut = None;
                self.cursors.cut.answer(Holder::Journal);
                return Ok(1);
            }
        };
        self.cut = Some(next);
        Ok(1)
    }

    /// What is sealed goes back with a cut: the place first, so that nobody takes what is cut for sealed.
    fn unseal(&self, keep: Mark) {
        let [position, index] = &self.cursors.sealed;
        let start = keep.position.0 - keep.position.0 % self.segment_size;
        if position.load() > start {
            position.store(start);
            index.store(keep.index.0);
        }
    }

    /// Zeroes a piece from `at` on.
    fn zero(&mut self, at: Position) -> CutStep {
        let segment_end = (at.0 / self.segment_size + 1) * self.segment_size;
        let end = self.submitted.position.0.min(segment_end).min(at.0 + WRITE_MAX);
        let mut zeros = core::mem::take(&mut self.zeros);
        zeros.clear();
        zeros.resize((end - at.0) as usize, 0);
        let file = FileId::Segment(at.0 / self.segment_size);
        let (offset, bytes) = (at.0 % self.segment_size, IoBytes::Owned(zeros));
        self.lanes.log.submit(DiskOp::Write { tag: at.0, file, offset, bytes });
        self.in_flight.push_back(LogOp::Zero);
        if !planted::is(Mistake::CutNotSynced) {
            self.lanes.log.submit(DiskOp::Sync { tag: at.0, file });
            self.in_flight.push_back(LogOp::Zero);
        }
        CutStep::Zero { at: Position(end) }
    }
}

impl<D: Disk> Agent for Journal<D> {
    fn name(&self) -> &'static str {
        "journal"
    }

    fn do_work(&mut self, now: Now, _limit: usize) -> Result<usize, Fatal> {
        // Bounded by the lanes' depths and by WRITES_MAX writes of WRITE_MAX bytes.
        self.work(now)
    }

    fn next_deadline(&self) -> Option<Nanos> {
        let quiet = (self.synced > self.stored && self.storing.is_none()).then_some(self.quiet_at);
        let retry = if self.preparing { None } else { self.retry_at };
        quiet.into_iter().chain(retry).min()
    }
}

/// The end of the whole batches at the start of `bytes`, which begin behind `from`.
fn walk(bytes: &[u8], from: Mark) -> Mark {
    let mut at = from;
    let mut rest = bytes;
    while let Ok((header, _)) = BatchHeader::ref_from_prefix(rest) {
        let Some(behind) = rest.get(header.len()..) else { break };
        at = Mark { index: at.index.next(), position: header.end() };
        assert!(header.index() == at.index, "the ring holds the log in order");
        rest = behind;
    }
    assert!(
        at.position.0 - from.position.0 == (bytes.len() - rest.len()) as u64,
        "the ring holds batches in place"
    );
    at
}

/// Everything up to `end`, where a segment ends, is full and synced.
fn seal(cursors: &Shared, end: Mark) {
    let [position, index] = &cursors.sealed;
    index.store(end.index.0);
    position.store(end.position.0);
}

fn submit_sync<D: Disk>(lane: &mut D, in_flight: &mut VecDeque<LogOp>, segment_size: u64, end: Mark) {
    // The segment of the last byte: `end` may be the start of the next one.
    let file = FileId::Segment((end.position.0 - 1) / segment_size);
    lane.submit(DiskOp::Sync { tag: end.position.0, file });
    in_flight.push_back(LogOp::Sync(end));
}

fn check_whole(op: &DiskOp, moved: usize) -> Result<(), Fatal> {
    match op {
        DiskOp::Write { bytes, .. } if moved != bytes.len() => {
            let error = DiskError::Io(format!("only {moved} of {} bytes were taken", bytes.len()));
            Err(failed(op, &error))
        }
        _ => Ok(()),
    }
}

/// An error from which a node does not go on.
fn failed(op: &DiskOp, error: &DiskError) -> Fatal {
    match op {
        DiskOp::Sync { file, .. } => Fatal::new(
            format!("syncing {} failed: {error}", name(*file)),
            "What the disk holds is not known any more, so the sync is not tried again. Check the disk, then \
             start the node: it finds out what is there",
        ),
        DiskOp::Create { file, .. } => Fatal::new(
            format!("preparing {} failed: {error}", name(*file)),
            "Check the disk and the permissions of the data directory, then start the node again",
        ),
        DiskOp::Write { file, offset, .. } => Fatal::new(
            format!("writing {} at offset {offset} failed: {error}", name(*file)),
            "Check the disk and its free space, then start the node again",
        ),
        other => unreachable!("the journal submits no {other:?}"),
    }
}
