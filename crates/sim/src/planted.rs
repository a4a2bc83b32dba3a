//! Mistakes planted on purpose: each must be caught by a checker. A list that catches all of them is worth
//! more than any number of runs that find nothing.

use crate::disk::Lie;
use crate::run::{Options, Outcome, run};
use crate::workload::Workload;
use ordain_agent::planted::{Mistake, plant};
use ordain_consensus::Mutation;

/// Where the mistake is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// In a stage.
    Stage(Mistake),
    /// In the consensus core.
    Consensus(Mutation),
    /// By the disk, which stands for a journal that does not wait for it.
    Disk(Lie),
}

/// All mistakes, the number of nodes that shows them, and seeds after which they count as missed.
pub const ALL: [(Plant, usize, u64); 22] = [
    (Plant::Stage(Mistake::ReplyBeforeCommit), 3, 20),
    (Plant::Stage(Mistake::StaleStint), 3, 100),
    (Plant::Stage(Mistake::CutWithoutBarrier), 3, 100),
    (Plant::Stage(Mistake::ClosedLogGoesOn), 1, 200),
    (Plant::Stage(Mistake::RepeatExecuted), 1, 20),
    (Plant::Stage(Mistake::FloorIgnored), 1, 20),
    (Plant::Stage(Mistake::DurableWhenWritten), 1, 20),
    (Plant::Stage(Mistake::WatermarkAhead), 1, 100),
    (Plant::Disk(Lie::SyncsNothing), 1, 20),
    (Plant::Disk(Lie::WritesLater), 1, 20),
    (Plant::Disk(Lie::ForgetsNodeState), 3, 100),
    (Plant::Consensus(Mutation::DirtyVotesStrong), 3, 100),
    (Plant::Consensus(Mutation::MajorityWins), 3, 100),
    (Plant::Consensus(Mutation::NoCurrentTerm), 3, 100),
    (Plant::Consensus(Mutation::OneTooFew), 3, 100),
    (Plant::Consensus(Mutation::NoBoot), 3, 100),
    (Plant::Consensus(Mutation::FloorFromDisk), 3, 100),
    (Plant::Consensus(Mutation::NoWindow), 3, 100),
    (Plant::Stage(Mistake::CutWaitsForRoom), 3, 200),
    (Plant::Stage(Mistake::VoteNotAwaited), 3, 200),
    (Plant::Stage(Mistake::SlotsAtOnce), 1, 1_000),
    (Plant::Stage(Mistake::SnapshotWithoutSessions), 1, 50),
];

impl Plant {
    /// Its name.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::Stage(mistake) => format!("{mistake:?}"),
            Self::Consensus(mutation) => format!("{mutation:?}"),
            Self::Disk(lie) => format!("{lie:?}"),
        }
    }

    /// One run with the mistake.
    #[must_use]
    pub fn run<W: Workload>(self, options: Options) -> Outcome {
        plant(if let Self::Stage(mistake) = self { Some(mistake) } else { None });
        let outcome = run::<W>(options, |plan| match self {
            Self::Stage(_) => {}
            Self::Consensus(mutation) => plan.mutation = mutation,
            Self::Disk(lie) => plan.lie = Some(lie),
        });
        plant(None);
        outcome
    }
}
