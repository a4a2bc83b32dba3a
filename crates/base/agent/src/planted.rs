//! Mistakes that the simulator's checkers must catch, to show that they would see a real one. Without the
//! feature `planted`, which no shipped build has, [`is`] is a constant `false`.

/// A mistake to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// Gateway: a reply leaves before its batch is committed.
    ReplyBeforeCommit,
    /// Gateway: what an ended reign wrote is answered.
    StaleStint,
    /// Apply: letting go of the log's end waits for room to the gateway, which waits for what vanishes.
    CutWaitsForRoom,
    /// Apply: letting go of the log's end forgets to take back what was executed of it.
    CutKeepsApplied,
    /// Log: a closed stage goes on publishing.
    ClosedLogGoesOn,
    /// Gateway and apply: a request whose number was used is logged and executed again.
    RepeatExecuted,
    /// Snapshots: a copy that begins with one is not told the level of behaviour in force.
    LevelForgotten,
    /// Apply: confirmed replies are never forgotten.
    FloorIgnored,
    /// Journal: a write is called synced when it is written.
    DurableWhenWritten,
    /// Journal: the stored watermark runs ahead of the syncs.
    WatermarkAhead,
    /// Journal: a vote is reported stored before it is.
    VoteNotAwaited,
    /// Recovery: the promise floor takes its term from the last batch on disk instead of `ack_term` (rule R2).
    FloorFromDisk,
    /// Forcing: the log goes on in the lineage that it was of (rule R7).
    LineageNotRaised,
    /// Log: what is in memory and not with the kernel is acknowledged as received.
    AckBeforeWritten,
    /// Log: a level begins although builds lack it that members run.
    LevelUnasked,
    /// Log: a query waits for no read round.
    ReadsAtOnce,
    /// Log: time in the log is whatever the wall clock says.
    TimeGoesBack,
    /// Journal: a cut does not wait for the writes in flight, which land behind it.
    CutInFlight,
    /// Journal: a cut moves the end of the log and leaves the bytes.
    CutLeavesBytes,
    /// Journal: a cut does not sync its zeros.
    CutNotSynced,
    /// Journal: the node state is written and not synced.
    StateNotSynced,
    /// Journal: segments go although no snapshot stands for them.
    TrimsUnasked,
    /// Recovery: what is damaged below the watermark is cut like a torn tail.
    DamageCut,
    /// Recovery: a torn tail is left standing behind the end.
    TailLeft,
    /// Recovery: what the kernel holds is taken for what the disk holds.
    CacheTrusted,
    /// Recovery: the witness is not asked.
    WitnessIgnored,
    /// Recovery: a node that has started still says that it stopped clean.
    CleanMarkKept,
    /// Recovery: a start is not counted.
    BootNotCounted,
    /// Gateway: who resumes a session does not fence the one who had it.
    NobodyFenced,
    /// Apply: a session expires a moment early.
    ExpiresEarly,
    /// Apply: any key may write in any session.
    KeyIgnored,
    /// Shadow: a snapshot gets its name before it is synced.
    SnapshotNotSynced,
    /// Archive: a peer that asks for old batches interrupts the one that is being read for.
    LaggardsInterrupt,
    /// Apply: snapshots are written without the session table.
    SnapshotWithoutSessions,
    /// Guard: what nodes computed is exchanged and not compared.
    OutputsNotCompared,
    /// Guard: the evidence that a node was the odd one is not kept, so that it starts again.
    EvidenceNotKept,
    /// A snapshot that takes the log's place takes the promise floor with it (rule R5).
    SuccessionForgetsFloor,
    /// Parts of snapshots from other nodes are not checked against their hashes.
    PartNotVerified,
    /// What one node alone has a snapshot of is trimmed.
    TrimAlone,
    /// Mending: what another node sends is put into the segment unchecked.
    MendUnchecked,
    /// Mending: the copy of a segment gets its name before it is synced.
    MendNotSynced,
    /// Scrubber: what it reads is not checked.
    ScrubBlind,
    /// Reading back: bytes from segments are handed on without a look at their checksums.
    ReaderTrusts,
    /// Reading back: who may not read on stays in the ring, and nothing fits in behind it.
    ReaderKeepsTheRing,
    /// Members: nobody is told of those that its own log does not know.
    MembersUntold,
    /// Framing: frames from other nodes are taken without a look at their checksums.
    FrameUnchecked,
}

#[cfg(feature = "planted")]
mod switch {
    use super::Mistake;
    use core::cell::Cell;

    thread_local! {
        static MISTAKE: Cell<Option<Mistake>> = const { Cell::new(None) };
    }

    /// Plants a mistake in every stage that this thread runs, or none.
    pub fn plant(mistake: Option<Mistake>) {
        MISTAKE.set(mistake);
    }

    /// Whether this mistake is to be made.
    #[must_use]
    pub fn is(mistake: Mistake) -> bool {
        MISTAKE.get() == Some(mistake)
    }
}

#[cfg(feature = "planted")]
pub use switch::{is, plant};

/// Whether this mistake is to be made.
#[cfg(not(feature = "planted"))]
#[must_use]
#[inline(always)]
pub const fn is(_mistake: Mistake) -> bool {
    false
}
