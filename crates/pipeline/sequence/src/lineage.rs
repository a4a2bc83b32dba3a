//! What only an operator can mend, in the operator's words.

use ordain_agent::Fatal;
use ordain_consensus::{Core, Role};

/// Ends a node whose log goes on where the cluster, by declaration, did not.
pub(crate) fn check(core: &Core) -> Result<(), Fatal> {
    let Some(outlived) = core.outlived() else { return Ok(()) };
    let (first, lineage) = (outlived.first, outlived.lineage);
    Err(Fatal::new(
        format!(
            "this node holds batches from {first} on that lineage {lineage} of the cluster, which an operator began by \
             declaring a loss, does not have"
        ),
        "Its log and snapshots are moved to a folder lineage-* in the data directory, and nothing of them is removed: \
         start the node again, and it joins empty.",
    )
    .outlived())
}

/// Elections without a leader after which it is worth a word: a few seconds of them.
const ATTEMPTS: u32 = 20;

/// Watches for a cluster that elects nobody.
#[derive(Debug, Default)]
pub(crate) struct Plight {
    /// Most votes seen since a leader was known, and most strong ones.
    votes: usize,
    strong: usize,
    /// Elections asked for when it was last told.
    told: u32,
}

impl Plight {
    /// Looks at consensus; `connected` other nodes are. Tells of it less and less often.
    pub(crate) fn look(&mut self, core: &Core, connected: usize) {
        if core.leader().is_some() {
            *self = Self::default();
            return;
        }
        if matches!(core.role(), Role::PreCandidate | Role::Candidate) {
            let (votes, strong) = core.votes();
            (self.votes, self.strong) = (self.votes.max(votes), self.strong.max(strong));
        }
        let attempts = core.attempts();
        if attempts >= ATTEMPTS.max(2 * self.told) {
            self.told = attempts;
            tracing::warn!(
                attempts,
                connected,
                votes = self.votes,
                strong = self.strong,
                "no election succeeds: not enough nodes are there, or too many of them lost what they acknowledged \
                 (rules R3, R4). Start the nodes that are down. If all run and it stays so, stop them and see \
                 `ordain recover --plan DIR...`"
            );
        }
    }
}
