//! Where stages meet: cursors with one writer each, and the two handshakes (cutting the log, stopping)
//! that need an answer. Stages know this and the rings, never each other.

use crate::board::Board;
use crate::damage::Damage;
use crate::digests::Digests;
use ordain_types::{BatchIndex, Position, Stint};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A cursor on a cache line of its own: one writer stores with release, anybody loads with acquire.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Cursor(AtomicU64);

impl Cursor {
    /// The value, and everything its writer did before storing it.
    #[must_use]
    pub fn load(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    /// Publishes a value.
    pub fn store(&self, value: u64) {
        self.0.store(value, Ordering::Release);
    }
}

/// Who has to let go of the log's end before it may be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// The journal: in-flight writes are done, the cut is durable, its ring cursor is at or before it.
    Journal = 0,
    /// Apply: its ring cursor is at or before the cut, its state holds nothing from behind it.
    Apply = 1,
}

/// Cutting an uncommitted suffix off the log: the log's writer asks, every holder answers, the writer takes
/// the ring back and finishes, and only then is the range written and read anew. Until then the suffix is
/// still in the ring: a holder that read on after its answer would take it up again.
#[derive(Debug, Default)]
pub struct Cut {
    generation: Cursor,
    keep: Cursor,
    position: Cursor,
    answers: [Cursor; 2],
    finished: Cursor,
}

impl Cut {
    /// Cuts asked for so far. A reader that looks at it finds out that what it read ahead may be void.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation.load()
    }

    /// Asks for everything behind batch `keep`, which ends at `position`, to be let go. The writer
    /// publishes nothing until [`Cut::is_done`], and then calls [`Cut::finish`].
    pub fn ask(&self, keep: BatchIndex, position: Position) {
        assert!(!self.is_on(), "one cut at a time");
        self.keep.store(keep.0);
        self.position.store(position.0);
        self.generation.store(self.generation.load() + 1);
    }

    /// The cut that `holder` has not answered yet: the last batch to keep and where it ends.
    #[must_use]
    pub fn asked(&self, holder: Holder) -> Option<(BatchIndex, Position)> {
        (self.generation.load() != self.answers[holder as usize].load())
            .then(|| (BatchIndex(self.keep.load()), Position(self.position.load())))
    }

    /// `holder` has let go.
    pub fn answer(&self, holder: Holder) {
        self.answers[holder as usize].store(self.generation.load());
    }

    /// Whether everybody has answered.
    #[must_use]
    pub fn is_done(&self) -> bool {
        let generation = self.generation.load();
        self.answers.iter().all(|answer| answer.load() == generation)
    }

    /// The writer has taken the ring back: what holders find behind the cut from now on is new.
    pub fn finish(&self) {
        assert!(self.is_done(), "every holder answers first");
        self.finished.store(self.generation.load());
    }

    /// Whether a cut was asked for and is not finished: holders read nothing new from the ring.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.finished.load() != self.generation.load()
    }
}

/// The cursors of one node. Batch indices unless said otherwise.
#[derive(Debug, Default)]
pub struct Cursors {
    /// Journal: the operating system has the batch's bytes.
    pub written: Cursor,
    /// Journal: synced, and at most W batches ahead of the stored watermark.
    pub durable: Cursor,
    /// Journal: the stored watermark. Never ahead of `durable`.
    pub watermark: Cursor,
    /// Journal: log [`Position`] up to which segments are prepared. Nothing may be sealed behind it.
    pub room: Cursor,
    /// Journal: 1 while the disk is too full for another segment.
    pub disk_full: Cursor,
    /// Journal: log [`Position`] of the start of a segment in front of which all segments are full and synced; and the
    /// last batch in front of it, or a later one. See [`Cursors::sealed`].
    pub sealed: [Cursor; 2],
    /// Damaged segments.
    pub damage: Damage,
    /// Log: committed under the ack policy. Never goes back.
    pub committed: Cursor,
    /// Apply: applied. Goes back only through a cut.
    pub applied: Cursor,
    /// Log: [`Stint`]; odd while this node leads.
    pub stint: Cursor,
    /// Log: index of the first batch of the present stint. Stored before `stint`.
    pub stint_first: Cursor,
    /// Log: the leader's node id plus one, 0 if unknown.
    pub leader: Cursor,
    /// Log: highest election term seen.
    pub term: Cursor,
    /// Log: 1 while the copies that the ack policy names cannot exist, as far as this node can see.
    pub no_copies: Cursor,
    /// Log, and whoever makes the node: the configuration of the cluster.
    pub board: Board,
    /// Log: W, batches, as far as this node's disk knows the log; 0 before the log stage runs.
    pub window: Cursor,
    /// Log: read rounds completed, see [`Cursors::read_round_done`].
    pub read_rounds: Cursor,
    /// Journal: last vote state stored, by the number the log gave it.
    pub vote_stored: Cursor,
    /// Apply: earliest log time, nanoseconds, at which the application or a session's expiry wants a
    /// tick; 0 if none.
    pub tick_due: Cursor,
    /// Apply: how often it started over from an empty state. Stored before the cut is answered that made it
    /// necessary: whatever it delivered before the RESTART of this number is void, even if a batch of the
    /// same index is committed by now.
    pub restarts: Cursor,
    /// Apply: what came of each recent batch. Stored before `applied`.
    pub digests: Digests,
    /// Cutting the log.
    pub cut: Cut,
    /// Shadow: log [`Position`] of the newest snapshot stored; 0 if there is none.
    pub snapshot: Cursor,
    /// Shadow: log position before which nothing is needed to start or rebuild this node, even if its newest
    /// snapshot is damaged: that of the older snapshot of two. 0 until there are two.
    pub needless: Cursor,
    /// The cluster's exchange: log position before which no node needs anything of this one. It goes back while a node
    /// is sent a snapshot. A lone node has the end of all positions from the start.
    pub trim_floor: Cursor,
    /// The cluster's exchange: log position of the oldest snapshot that a node is being sent, which must stay; 0 if none
    /// is.
    pub pinned: Cursor,
    /// Whoever makes the node: the highest level of behaviour that this build has.
    pub level: Cursor,
    /// The cluster's exchange: the lowest one that a node which is connected has, as far as it said so.
    pub level_of_others: Cursor,
    /// Journal: log position where the oldest segment begins. Stored before what lies in front of it goes.
    pub oldest: Cursor,
    /// Graceful stop, before all else: 1 when the gateway will hand nothing more to the log stage.
    pub requests_closed: Cursor,
    /// Graceful stop, first: 1 when the log stage will publish nothing more.
    pub log_closed: Cursor,
    /// Graceful stop, second: 1 when the journal has synced everything and set the clean mark.
    pub journal_closed: Cursor,
    /// Graceful stop, last: 1 when the gateway has sent every reply that was due.
    pub gateway_closed: Cursor,
    stopping: AtomicBool,
    diverged: AtomicBool,
}

/// Handle of the cursors of a node.
pub type Shared = Arc<Cursors>;

impl Cursors {
    /// Log position in front of which segments are full, synced and committed: nothing in them ever changes again.
    #[must_use]
    pub fn sealed(&self) -> Position {
        let [position, index] = self.sealed.each_ref();
        let before = position.load();
        // The index is stored first where both grow, and last where a cut takes them back.
        let is_committed = index.load() <= self.committed.load();
        Position(if is_committed && position.load() == before { before } else { 0 })
    }

    /// The present stint.
    #[must_use]
    pub fn stint(&self) -> Stint {
        Stint(self.stint.load())
    }

    /// Whether this node leads at present.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.stint.load() % 2 == 1
    }

    /// Whether the read round with this number is over.
    #[must_use]
    pub fn read_round_done(&self, round: u64) -> bool {
        self.read_rounds.load() >= round
    }

    /// Asks every stage to stop taking new work. The gateway refuses it and hands over nothing more
    /// (`requests_closed`), the log stage seals what was admitted, the journal syncs it, the gateway answers it; each says so in its `_closed` cursor.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// This node computed something else than the majority: from now on it must not serve. The log stage leads no
    /// more and adds nothing; the guard stops the node once the evidence is kept.
    pub fn diverge(&self) {
        self.diverged.store(true, Ordering::Release);
    }

    /// Whether [`Cursors::diverge`] was called.
    #[must_use]
    pub fn has_diverged(&self) -> bool {
        self.diverged.load(Ordering::Acquire)
    }

    /// Whether [`Cursors::stop`] was called.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_waits_for_every_holder() {
        let cut = Cut::default();
        assert!(cut.is_done());
        cut.ask(BatchIndex(4), Position(512));
        assert_eq!(cut.asked(Holder::Apply), Some((BatchIndex(4), Position(512))));
        cut.answer(Holder::Apply);
        assert_eq!(cut.asked(Holder::Apply), None);
        assert!(!cut.is_done());
        cut.answer(Holder::Journal);
        assert!(cut.is_done() && cut.is_on());
        cut.finish();
        assert!(!cut.is_on());
    }
}
