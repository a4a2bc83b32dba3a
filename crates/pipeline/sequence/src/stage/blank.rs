//! What an operator hears of a node whose data directory began empty (rule R9).

use super::{Log, Peers};
use ordain_types::{Nanos, NodeId};

/// How long a node is blank before it is worth a word: new clusters are at work, and nodes that fetch little are whole,
/// within less.
const PATIENCE: u64 = 3 * Nanos::SECOND;

/// What was told, and when the next word is due.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Told {
    was_blank: bool,
    due: Option<(Nanos, u64)>,
}

impl<P: Peers> Log<P> {
    pub(super) fn tell_of_blank(&mut self, now: Nanos) {
        let is_blank = self.core.is_blank();
        if is_blank != self.blank.was_blank {
            self.blank.was_blank = is_blank;
            self.metrics.blank.set(is_blank.into());
            if !is_blank {
                tracing::info!("this node votes and counts from now on: it knows all that it ever promised");
            }
        }
        if !is_blank {
            self.blank.due = None;
            return;
        }
        let (due, wait) = *self.blank.due.get_or_insert((now.plus(PATIENCE), PATIENCE));
        if now < due {
            return;
        }
        self.blank.due = Some((now.plus(2 * wait), 2 * wait));
        let voters = self.others.iter().filter(|other| other.votes);
        let away: Vec<NodeId> = voters.filter(|other| !other.is_up).map(|other| other.id).collect();
        match self.core.leader() {
            Some(leader) => tracing::info!(
                leader = leader.0,
                ?away,
                "this node began with an empty data directory, and counts for nothing until it has the leader's log on \
                 disk and every other voter has confirmed the leader's term. Nothing is to be done unless nodes stay \
                 away: start those, or remove them with `ordain cluster remove`"
            ),
            None => tracing::warn!(
                ?away,
                "this node began with an empty data directory, and nobody leads. A new cluster begins when all its \
                 voters, empty, have spoken with each other: start those that are away. If the cluster is not new, too \
                 many of its nodes are away or lost what they had: start the others, or see `ordain recover --plan DIR...`"
            ),
        }
    }
}
