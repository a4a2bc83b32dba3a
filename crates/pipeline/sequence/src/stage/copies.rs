//! Whether the copies that the ack policy names can exist at present. Where they cannot, the gateway refuses
//! what is new with NoCopies, instead of letting it wait for an end that nobody knows; what was sequenced stays
//! open, and is answered when copies exist again.

use super::{Log, Other, Peers};
use ordain_consensus::Role;
use ordain_types::{BatchIndex, Nanos};

/// A leader whose oldest uncommitted batch has waited this long cannot make its copies: somebody's disk or
/// process hangs. Far above what a loaded disk takes for a sync, and short enough for a client to be told before
/// it gives up.
const STALLED: u64 = 2 * Nanos::SECOND;

/// How long a node must see too few others, and no leader, before it says that the cluster is not whole: elections
/// and starts take less.
const ALONE: u64 = Nanos::SECOND;

/// How long what is sequenced has waited, and how long this node has been with too few.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wait {
    /// Committed when it was looked at last.
    committed: BatchIndex,
    /// Since when nothing more was committed though there is more.
    since: Option<Nanos>,
    alone_since: Option<Nanos>,
}

impl Wait {
    /// Looks again; says whether it has been too long.
    fn is_stalled(&mut self, committed: BatchIndex, last: BatchIndex, now: Nanos) -> bool {
        if committed == last || committed != self.committed {
            (self.committed, self.since) = (committed, None);
        }
        if committed < last {
            return now.since(*self.since.get_or_insert(now)) >= STALLED;
        }
        false
    }

    /// The same of being alone.
    fn is_alone(&mut self, alone: bool, now: Nanos) -> bool {
        if !alone {
            self.alone_since = None;
            return false;
        }
        now.since(*self.alone_since.get_or_insert(now)) >= ALONE
    }
}

impl<P: Peers> Log<P> {
    /// Says so to the gateway, and to the operator when it changes.
    pub(super) fn judge_copies(&mut self, now: Nanos) {
        let configuration = self.core.configuration();
        let own = usize::from(configuration.votes(self.core.id()));
        let others = || self.others.iter().filter(|other| other.votes);
        let voters = others().count() + own;
        let counts = |other: &&Other| other.is_up && !self.core.knows_blank(other.id);
        let up = others().filter(counts).count() + own;
        let committed = BatchIndex(self.shared.committed.load());
        let last = self.writer.tail().index;
        let stalled = self.wait.is_stalled(committed, last, now);
        let needed = configuration.copies().received as usize;
        let leads = self.core.role() == Role::Leader;
        let too_few = !leads && self.core.leader().is_none() && up < voters / 2 + 1;
        let alone = self.wait.is_alone(too_few, now);
        let missing = if leads { up < needed || voters > 1 && stalled } else { alone };
        if missing == (self.shared.no_copies.load() == 1) {
            return;
        }
        self.shared.no_copies.store(missing.into());
        self.metrics.no_copies.set(missing.into());
        if missing {
            tracing::warn!(
                voters,
                connected = up,
                needed,
                uncommitted = last.0 - committed.0,
                "the copies that the ack policy names cannot exist: new requests are refused (NoCopies), what was \
                 sequenced stays open. Start the nodes that are down, or mend their disks and connections"
            );
        } else {
            tracing::info!(voters, connected = up, "copies can exist again, or another node knows better");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_waits_without_progress_is_stalled() {
        let mut wait = Wait::default();
        let (a, b, c) = (BatchIndex(1), BatchIndex(2), BatchIndex(3));
        let at = |part: u64| Nanos(Nanos::SECOND + part * STALLED / 4);
        assert!(!wait.is_stalled(a, a, at(0)));
        assert!(!wait.is_stalled(a, b, at(40)), "nothing waited before");
        assert!(!wait.is_stalled(a, b, at(43)));
        assert!(wait.is_stalled(a, b, at(44)));
        assert!(!wait.is_stalled(b, c, at(45)), "one was committed");
        assert!(wait.is_stalled(b, c, at(49)));
        assert!(!wait.is_stalled(c, c, at(50)));
    }
}
