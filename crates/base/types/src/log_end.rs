//! Where a log ends.

use crate::batch::{self, BatchView};
use crate::{BatchIndex, Chain, Nanos, Position, Seq, Term};

/// The end of a log: what the next batch must follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogEnd {
    /// Where the next batch starts.
    pub position: Position,
    /// Number of the last batch, 0 in an empty log.
    pub index: BatchIndex,
    /// Its term.
    pub term: Term,
    /// Number of the next record.
    pub next_seq: Seq,
    /// Time of the last batch.
    pub time: Nanos,
    /// Its chain value.
    pub chain: Chain,
}

impl LogEnd {
    /// The end of a log without batches.
    pub const EMPTY: Self = Self {
        position: Position(0),
        index: BatchIndex(0),
        term: Term(0),
        next_seq: Seq(1),
        time: Nanos(0),
        chain: Chain([0; 32]),
    };

    /// The end behind `batch`, which follows this one; nothing is checked. Hashes the batch.
    #[must_use]
    pub fn after(&self, batch: &BatchView<'_>) -> Self {
        let header = batch.header;
        Self {
            position: header.end(),
            index: header.index(),
            term: header.term(),
            next_seq: header.next_seq(),
            time: header.time(),
            chain: batch::chain(self.chain, batch.bytes()),
        }
    }
}
