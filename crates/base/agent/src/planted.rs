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
    /// Log: an uncommitted suffix is overwritten before every stage has let go of it.
    CutWithoutBarrier,
    /// Log: a closed stage goes on publishing.
    ClosedLogGoesOn,
    /// Apply: a request whose number was used is executed again.
    RepeatExecuted,
    /// Apply: confirmed replies are never forgotten.
    FloorIgnored,
    /// Journal: a write is called synced when it is written.
    DurableWhenWritten,
    /// Journal: the stored watermark runs ahead of the syncs.
    WatermarkAhead,
    /// Journal: both slots of the node state are overwritten at once.
    SlotsAtOnce,
    /// Journal: a vote is reported stored before it is.
    VoteNotAwaited,
    /// Apply: snapshots are written without the session table.
    SnapshotWithoutSessions,
}

#[cfg(feature = "planted")]
mod switch {
    use super::Mistake;
    use std::sync::atomic::{AtomicU8, Ordering};

    /// The number of the mistake plus one; 0 for none.
    static MISTAKE: AtomicU8 = AtomicU8::new(0);

    /// Plants a mistake in every stage of this process, or none.
    pub fn plant(mistake: Option<Mistake>) {
        MISTAKE.store(mistake.map_or(0, |mistake| mistake as u8 + 1), Ordering::Relaxed);
    }

    /// Whether this mistake is to be made.
    #[must_use]
    pub fn is(mistake: Mistake) -> bool {
        MISTAKE.load(Ordering::Relaxed) == mistake as u8 + 1
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
