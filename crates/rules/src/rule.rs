//! The rule itself, as functions: what counts as a copy, what a node owes, what its vote is worth, who wins.
//! Numbers are those of `docs/relaxed-acks.md`.

/// A log's end or a promise floor: term of the last batch, and its index. Compared in this order (Raft 5.4.1).
pub type End = (u8, u8);

/// An ack policy. Both numbers are capped at a majority of whatever voters they are applied to, so that
/// [`Policy::MAJORITY`] is plain Raft at any size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// m: nodes that have received a batch.
    pub received: u8,
    /// k: nodes that have it synced.
    pub durable: u8,
    /// W.
    pub window: u8,
}

impl Policy {
    /// Plain Raft: m = k = a majority.
    pub const MAJORITY: Self = Self::new(u8::MAX, u8::MAX);

    /// A policy with W = 1.
    #[must_use]
    pub const fn new(received: u8, durable: u8) -> Self {
        Self { received, durable, window: 1 }
    }

    /// (m, k) for `n` voters.
    #[must_use]
    pub fn of(self, n: u8) -> (u8, u8) {
        (self.received.min(majority(n)), self.durable.min(majority(n)))
    }
}

/// The least majority of `n`.
#[must_use]
pub const fn majority(n: u8) -> u8 {
    n / 2 + 1
}

/// What a vote is worth (R3). `Blank` is the vote of a node that lost synced batches: it counts for the majority
/// that makes a term's leader unique, and for nothing else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grant {
    /// No vote.
    #[default]
    None,
    /// Neither vouches for what the node received nor for what it synced.
    Blank,
    /// Vouches for what the node synced.
    Weak,
    /// Vouches for all that the node ever acknowledged.
    Strong,
}

/// The rule, or what it is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// The rule as written.
    Rule,

    // Mistakes: a search must find what each breaks.
    /// R3: a node that owes a floor votes as if it did not.
    DirtyVotesStrong,
    /// R1: received copies count however far they are ahead of the disk.
    NoWindow,
    /// R2: the floor's term is that of the last batch on disk, not `ack_term`.
    FloorTermFromDisk,
    /// R5: frames and acknowledgements of a past life count.
    NoBoot,
    /// R4: a majority of whoever answers wins.
    MajorityWins,
    /// R4: one vote fewer than `n - k + 1` wins.
    OneTooFew,
    /// R1: batches of past terms are committed by counting copies.
    NoCurrentTerm,
    /// R3: a node votes twice in a term.
    VotesTwice,
    /// R5: the floor is dropped when the log matches, though the kernel does not have it yet.
    DropsUnwritten,
    /// R5: a winner drops its floor at once, though the kernel does not have its log yet.
    WinnerDropsUnwritten,
    /// R2: after a cut the floor is W, not 2W, beyond the watermark.
    CutOwesOneWindow,
    /// R2: a node whose synced batches turned bad votes as if it had lost unsynced ones only.
    CorruptVotesWeak,
    /// R5: such a node counts as repaired when it has written what it lost, though it has not synced it.
    RepairNotSynced,
    /// R9: a node whose disk was lost takes itself for a new one.
    EmptyIsNew,
    /// R9: what a blank node acknowledges counts.
    BlankCounts,
    /// R9: a leader does not ask the others about their terms.
    AdmittedUnasked,
    /// R9: a blank node is whole when it has written the log up to the mark, and not synced it.
    WholeUnsynced,
    /// R6: a weaker policy is used as soon as it is logged.
    SwitchAtOnce,
    /// R6: a larger W is used for a node whose own disk may not have it yet.
    WindowNotOnDisk,
    /// R8: voters change under a policy below a majority.
    ChangeWithoutRaise,
    /// R8: a leader that has committed nothing in its term changes voters.
    ChangeBeforeCommit,

    /// R7: a declared loss is not declared: clients see no other lineage.
    LineageNotRaised,
    /// R7: a node that knows of a lineage votes for logs without its beginning.
    OldLineageElects,

    // Not mistakes: a search within bounds finds nothing.
    /// R2, stricter: a node that cut anything has no disk vote until repaired.
    CutVotesBlank,
    /// R6, laxer: a weaker policy is used once committed, though not on a majority of disks.
    SwitchNotOnDisks,
    /// R6, laxer: a stronger policy counts in elections as soon as it is logged.
    StrongerAtOnce,
}

/// R1: how far a node's received copies count.
#[must_use]
pub fn counts_to(received: u8, durable: u8, window: u8, variant: Variant) -> u8 {
    if variant == Variant::NoWindow { received } else { received.min(durable + window) }
}

/// What recovery found.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// The log's end.
    pub end: End,
    /// The watermark that was stored before.
    pub watermark: u8,
    /// Something that was no whole batch had to be cut.
    pub torn: bool,
}

/// R2: what a node owes after its power failed.
#[must_use]
pub fn floor(found: Found, ack_term: u8, window: u8, variant: Variant) -> End {
    let reach = match (found.torn, variant) {
        (false, _) => found.end.1 + window,
        (true, Variant::CutOwesOneWindow) => found.watermark + window,
        (true, _) => found.watermark + 2 * window,
    };
    let term = if variant == Variant::FloorTermFromDisk { found.end.0 } else { ack_term };
    found.end.max((term, reach))
}

/// R3: what the vote of a node is worth that owes `floor` (nothing if zero) and may have lost synced batches.
#[must_use]
pub fn judge(candidate: End, floor: End, suspect: bool, variant: Variant) -> Grant {
    if candidate >= floor || variant == Variant::DirtyVotesStrong {
        Grant::Strong
    } else if suspect {
        Grant::Blank
    } else {
        Grant::Weak
    }
}

/// R4, for votes of nodes that know of no policy weaker than this one.
#[must_use]
pub fn wins(grants: impl Iterator<Item = Grant>, n: u8, policy: Policy, variant: Variant) -> Option<Win> {
    let (m, k) = policy.of(n);
    let k = if variant == Variant::OneTooFew { k + 1 } else { k };
    let (mut votes, mut disks, mut strong) = (0, 0, 0);
    for grant in grants {
        votes += u8::from(grant > Grant::None);
        disks += u8::from(grant >= Grant::Weak);
        strong += u8::from(grant == Grant::Strong);
    }
    if votes < majority(n) {
        None
    } else if strong + m > n {
        Some(Win::Strong)
    } else if disks + k > n || variant == Variant::MajorityWins {
        Some(Win::Weak)
    } else {
        None
    }
}

/// How an election was won.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Win {
    /// By `n - m + 1` strong votes.
    Strong,
    /// By `n - k + 1` votes in all.
    Weak,
}
