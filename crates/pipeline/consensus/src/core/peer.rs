//! What a node believes of another.

use crate::message::{Copies, Grant};
use ordain_types::{BatchIndex, Boot, Nanos, NodeId};

/// What is believed of another node. Log facts hold for this term and its life `boot` only.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) id: NodeId,
    pub(super) up: bool,
    /// Its copies and its vote count, by the log's last configuration.
    pub(super) votes: bool,
    /// A leader sends it the log: a member, or one that was until a change that is not committed yet.
    pub(super) listens: bool,
    /// Its latest life known, 0 if none.
    pub(super) boot: Boot,
    /// Its answer to the vote or pre-vote in progress, and the weakest policy that it knows.
    pub(super) vote: Option<(Grant, Copies)>,
    /// It has refused its vote in this term.
    pub(super) denied: bool,
    pub(super) matched: BatchIndex,
    pub(super) received: BatchIndex,
    pub(super) durable: BatchIndex,
    /// Next batch to send.
    pub(super) next: BatchIndex,
    /// Until a match is known, nothing but probes is sent.
    pub(super) probing: bool,
    /// See [`Append::mark`].
    pub(super) mark: BatchIndex,
    /// Last word from it in this term.
    pub(super) heard: Nanos,
    /// Highest read round that it confirmed.
    pub(super) round: u64,
    /// It may have promised what it does not know (R9), as far as its present life said; or has said that it does.
    pub(super) blank: bool,
    pub(super) whole: bool,
    /// It told this node's present life that nobody was promised anything in its data directory.
    pub(super) empty: bool,
    /// How far this leader is with letting it count again.
    pub(super) admission: Admission,
}

/// What a leader knows of the terms that a blank node may have promised something in: see [`Core::admit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    Unasked,
    /// All other voters are to confirm this round,
    All(u64),
    /// and then a majority this one.
    Majority(u64),
    Done,
}

impl Peer {
    pub(super) const fn new(id: NodeId) -> Self {
        Self {
            id,
            up: false,
            votes: false,
            listens: false,
            boot: Boot::ZERO,
            vote: None,
            denied: false,
            matched: BatchIndex::ZERO,
            received: BatchIndex::ZERO,
            durable: BatchIndex::ZERO,
            next: BatchIndex(1),
            probing: true,
            mark: BatchIndex::ZERO,
            heard: Nanos::ZERO,
            round: 0,
            blank: false,
            whole: false,
            empty: false,
            admission: Admission::Unasked,
        }
    }

    /// Forgets what was believed of its log; `last` is the end of this node's.
    pub(super) const fn forget(&mut self, last: BatchIndex) {
        self.matched = BatchIndex::ZERO;
        self.received = BatchIndex::ZERO;
        self.durable = BatchIndex::ZERO;
        self.next = last.next();
        self.probing = true;
        self.mark = last;
        self.round = 0;
        self.admission = Admission::Unasked;
    }
}
