//! Consensus on batches with relaxed acknowledgements: a pure core for up to 9 voters.
//!
//! [`Core`] decides who leads, which prefix of each log matches, what is cut, what is committed and
//! what each peer is sent. It does no I/O, reads no clock and holds no batch: the shell around it owns
//! the log, verifies batches (checksums, position, chain) and moves bytes. Inputs are methods; what
//! must happen comes out as [`Effect`]s that the shell drains after each input. Batches for a peer are
//! not an effect but pulled ([`Core::next_batches`]) when its connection has room, so that a slow peer
//! costs no memory here.
//!
//! The rules R1 to R9 named in comments are those of `docs/relaxed-acks.md`. The rest is Raft (Ongaro,
//! *Consensus: Bridging Theory and Practice*, 2014) with pre-vote (9.6) and check-quorum (6.2).
//!
//! # Matching
//! A batch is identified by (index, term): a term has one leader, and a leader never resumes a term
//! after a restart. Terms never fall along a log, so a log's shape is a short list of (term, first
//! index), one pair per leader that wrote ([`Terms`]). Both sides find the last common batch from
//! these lists alone: a rejection names the follower's last batch with a term no higher than the
//! leader asked about, the leader answers with its last batch no higher than that, and each exchange
//! leaves at least one term behind. No old batch is read to match a laggard. That the *bytes* agree is
//! checked by the shell: each batch carries the chain value of the one before, so a follower cannot
//! append to a prefix that differs.
#![forbid(unsafe_code)]

mod configs;
mod core;
pub mod message;
#[cfg(any(test, feature = "planted"))]
mod planted;
mod refused;
mod terms;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod walk;

pub use crate::core::{Core, Counts, Outlived, READY, Role};
pub use crate::message::{Body, Copies, DecodeError, Grant, Message, Standing};
#[cfg(any(test, feature = "planted"))]
pub use crate::planted::Mutation;
pub use crate::refused::{Proposed, Refused};
pub use crate::terms::{TermSpan, Terms};

use ordain_types::configuration::Configuration;
use ordain_types::{BatchIndex, Boot, Nanos, NodeId, Term};

/// Where a log ends, or a place that its end is compared with. Ordered as votes order logs: by the
/// term of the last batch, then by its index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogEnd {
    /// Term of the batch.
    pub term: Term,
    /// Its index.
    pub index: BatchIndex,
}

/// What consensus must find again after a crash. The shell stores it in the node-state file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VoteState {
    /// Highest term seen.
    pub term: Term,
    /// Who got this node's vote in `term`.
    pub voted_for: Option<NodeId>,
    /// Highest term in which this node accepted an append, or led.
    pub ack_term: Term,
    /// The promise floor of rule R2 while one is owed: this node may have acknowledged, before it lost
    /// its unsynced batches, up to here. It outlives clean restarts.
    pub floor: Option<LogEnd>,
    /// Its data directory began empty, so that it may have promised what it does not know (rule R9).
    pub blank: bool,
    /// Number of this life. [`Core::new`] has it from [`Recovered::boot`]; it rises if others know a later one.
    pub boot: Boot,
}

/// Facts of this node. Those of the cluster that may change are in the log.
#[derive(Clone, Debug)]
pub struct Config {
    /// This node.
    pub id: NodeId,
    /// A follower that hears nothing from a leader for this long, plus a random part of the same length
    /// at most, asks for an election; a leader that hears no quorum for this long steps down.
    pub election_timeout: Nanos,
    /// Interval of a leader's heartbeats and of repeated requests; well under `election_timeout`.
    pub heartbeat: Nanos,
    /// Seed of the random part of election time-outs. Must differ between nodes.
    pub seed: u64,
    /// The mistake to make.
    #[cfg(any(test, feature = "planted"))]
    pub mutation: Mutation,
}

/// What the shell found on disk at start.
#[derive(Clone, Debug)]
pub struct Recovered {
    /// As last stored.
    pub vote: VoteState,
    /// Number of this life, higher than any before. The shell stores it in the same write as the first
    /// [`Effect::Persist`], so that a life that forgot its floor cannot look clean to the next.
    pub boot: Boot,
    /// The operating system did not die since the last batch was acknowledged: whatever the kernel had
    /// is in the log found. Or recovery itself applied rule R2 and stored the floor, with the number of
    /// this life, in `vote`.
    pub clean: bool,
    /// A bad batch above the watermark was cut off the tail. Ignored if `clean`.
    pub torn: bool,
    /// The log found, cut behind its last whole batch.
    pub log: Terms,
    /// Last batch known to be synced.
    pub durable: BatchIndex,
    /// The stored watermark: reported durability never ran more than W ahead of it.
    pub watermark: BatchIndex,
    /// Configurations with their batches, ascending. The first is committed: what the cluster was made with, with
    /// batch 0, or that of the snapshot from which the node starts. Then all that the log holds behind it.
    pub configurations: Vec<(BatchIndex, Configuration)>,
}

/// What the shell must do. Order matters: effects are carried out in the order in which they come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Store and sync this, then call [`Core::persisted`]. One at a time: the next comes only after.
    /// What depends on it stays in the core until then.
    Persist(VoteState),
    /// Send this to a peer. May be lost.
    Send {
        /// The peer.
        to: NodeId,
        /// What.
        message: Message,
    },
    /// A barrier: drain the I/O of everything behind `to`, mark the cut durably, then call
    /// [`Core::truncated`]. The core accepts no batch in between.
    Truncate {
        /// The last batch to keep.
        to: BatchIndex,
    },
    /// This node leads. Seal a `TermStart` batch of this term before any other.
    BecameLeader {
        /// The term.
        term: Term,
    },
    /// This node leads no more. Read rounds that are not done never will be.
    SteppedDown {
        /// The term in which it led.
        term: Term,
    },
    /// All batches up to here are committed, for good.
    Committed(BatchIndex),
    /// The log's last configuration changed, or is now known to be committed: [`Core::configuration`].
    Configuration {
        /// Whether it is.
        is_settled: bool,
    },
    /// Read rounds up to this one are done: since each began, a quorum has confirmed this leader.
    ReadRoundDone(u64),
}

/// What to do with a batch that a leader sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// Append it. The core counts it as the end of the log from now on.
    Write,
    /// It is in the log already.
    Skip,
    /// Ignore it and the rest of its frame; the leader will send again.
    Drop,
}
