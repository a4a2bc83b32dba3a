//! Mistakes that the rule's tests must catch, to show that they would see a real one.

/// A mistake to make. All are refused by the rule in `docs/relaxed-acks.md`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mutation {
    /// The rule as it stands.
    #[default]
    None,
    /// R3: a node that lost acknowledged batches votes as if it had not.
    DirtyVotesStrong,
    /// R1: a received copy counts however far it is ahead of the disk.
    NoWindow,
    /// R2: the floor takes its term from the last batch on disk instead of `ack_term`.
    FloorFromDisk,
    /// R1 and R5: acknowledgements and marks of an earlier life are taken for this one's.
    NoBoot,
    /// R4: a majority elects, whoever votes.
    MajorityWins,
    /// R4: weak votes elect with one too few.
    OneTooFew,
    /// R1: batches of an earlier term are committed by counting copies (Raft 5.4.2).
    NoCurrentTerm,
    /// R7: a node votes for logs without the beginning of a lineage that it knows of.
    OldLineageElects,
    /// R6: a weaker policy is used when it is logged, not when it is committed.
    WeakerWhenLogged,
    /// R6: a larger W is used for nodes whose disks may not know it.
    WindowNotOnDisk,
    /// R1: acknowledgements of an earlier term are taken for this one's.
    AckOtherTerm,
    /// R8: voters change under a policy below a synced majority.
    ChangeWithoutRaise,
    /// R8: a leader changes voters before it has committed anything in its term.
    ChangeBeforeCommit,
    /// R1: a leader counts itself before its disk knows that it took in anything of its term.
    CountsItselfEarly,
    /// R1: a follower acknowledges before its disk knows so.
    AckTermNotAwaited,
    /// R3: a node votes for everybody who asks.
    VotesTwice,
    /// R3: a candidate with a shorter log gets votes.
    ShorterLogWins,
    /// R5: the floor goes when the log matches, written or not.
    MarkUnwritten,
    /// R9: a node with an empty data directory takes itself for a new one.
    EmptyIsNew,
    /// R9: what a node acknowledges that does not know what it promised counts.
    BlankCounts,
    /// R9: a node that does not know what it promised gives votes.
    BlankVotes,
    /// Raft 5.3: a follower takes the leader's commitment for what its own log holds there.
    CommitUnmatched,
}

impl Mutation {
    /// The mistakes that need no change of the configuration.
    pub const ALL: [Self; 7] = [
        Self::DirtyVotesStrong,
        Self::NoWindow,
        Self::FloorFromDisk,
        Self::NoBoot,
        Self::MajorityWins,
        Self::OneTooFew,
        Self::NoCurrentTerm,
    ];
    /// Those that do.
    pub const OF_CHANGES: [Self; 4] =
        [Self::WeakerWhenLogged, Self::WindowNotOnDisk, Self::ChangeWithoutRaise, Self::ChangeBeforeCommit];
}
