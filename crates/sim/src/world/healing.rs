//! Liveness: once faults end, for everybody or for a majority alone, a leader must commit again within a bounded
//! time, unless rule R4 itself forbids an election.

use super::{MILLI, World};
use crate::configs::copies;
use crate::workload::Workload;
use core::cmp::Ordering;
use ordain_node::SNAPSHOT_REST;
use ordain_node::journal::Floor;
use ordain_types::{BatchIndex, Configuration, Nanos, NodeId, Term};
use std::sync::Arc;

/// Election time-outs within which a healed cluster commits again. An election takes up to two, rivals may spoil a
/// few, and a node that leads and hears nothing needs another to notice.
const TIMEOUTS: u64 = 40;
/// Nobody was elected for this long while nobody can win: nobody will be.
const STUCK: u64 = Nanos::SECOND;
/// Within this time some client of a healed core is served: all of them may be waiting for a silent connection,
/// or for their sessions to expire.
const SERVED: u64 = 10 * Nanos::SECOND;
/// A graceful stop that hangs is ended after this long.
const STOP: u64 = 200 * MILLI;
/// Operations that clients finish while only the core is whole.
const OPERATIONS: u64 = 50;

/// A healed part of the cluster from which something is expected.
#[derive(Clone, Debug)]
pub(super) struct Healing {
    /// Its nodes.
    core: Vec<usize>,
    since: u64,
    deadline: u64,
}

/// What became of a healed core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Serves,
    /// Nobody can win under rule R4.
    Forbidden,
    Waits,
}

/// What a node would bring to an election.
#[derive(Clone, Debug)]
struct Voter {
    id: NodeId,
    end: Floor,
    floor: Option<Floor>,
    /// The last configuration of its log: who votes.
    latest: Arc<Configuration>,
    /// Whether that is known to be committed, and if not, the one before.
    before: Option<Arc<Configuration>>,
    /// Its disk was lost, or its first start was, and it is not whole again (R9).
    blank: bool,
    /// It says that it is blank, and no disk was lost: new, or it stopped before it had stored that it is whole.
    unproved: bool,
    /// It is in a term.
    has_term: bool,
}

impl Voter {
    fn may_lead(&self) -> bool {
        !self.blank
            && (self.latest.votes(self.id)
                || self.before.as_ref().is_some_and(|before| before.votes(self.id)))
    }

    /// The fewest copies, for `n` voters, that its log lets count (R6).
    fn weakest(&self, n: u32) -> (u32, u32) {
        let known = [&self.latest].into_iter().chain(&self.before).map(|known| copies(known, n));
        known.reduce(|a, b| (a.0.min(b.0), a.1.min(b.1))).expect("the latest is there")
    }

    /// Whether it could win with votes of `voters`, itself among them: rules R3, R4 and R6. Any vote may be left out.
    fn wins(&self, voters: &[Self]) -> bool {
        let n = self.latest.voter_count();
        let grants = |voter: &&Self| self.latest.votes(voter.id) && self.end >= voter.end && !voter.blank;
        let grants: Vec<_> = voters.iter().filter(grants).collect();
        let own = self.weakest(n);
        (0..1_u32 << grants.len()).any(|set| {
            let counted = || (0..).zip(&grants).filter(|(at, _)| set & 1 << at != 0).map(|(_, voter)| *voter);
            let is_strong = |voter: &&Self| voter.floor.is_none_or(|floor| self.end >= floor);
            let (votes, strong) = (counted().count() as u32, counted().filter(is_strong).count() as u32);
            let (m, k) =
                counted().map(|voter| voter.weakest(n)).fold(own, |a, b| (a.0.min(b.0), a.1.min(b.1)));
            votes > n / 2 && (strong + m > n || votes + k > n)
        })
    }
}

/// Whether one of `voters` could win with the votes of them all.
fn somebody_wins(voters: &[Voter]) -> bool {
    voters.iter().any(|candidate| candidate.may_lead() && candidate.wins(voters))
}

impl<W: Workload> World<W> {
    /// From now on these nodes have no more trouble than others give them, and must go on.
    pub(super) fn expect_service(&mut self, core: Vec<usize>) {
        let disk = self.plan.disks.iter().map(|disk| disk.sync.1 + disk.meta.1).max().unwrap_or(0);
        // Recovery makes a dozen syncs, the journal behind it a few more, messages take their time, and a node that
        // is being stopped, or was, comes back first.
        let slow = 30 * disk
            + 60 * self.plan.roads.delay.1
            + self.plan.roads.reconnect.1
            + self.plan.trouble.1
            + STOP;
        // A snapshot that had no room is begun anew in a while, and who lacks it may be needed.
        let had_no_room = core.iter().any(|node| self.nodes[*node].store.lock().refused);
        let slow = if had_no_room { slow + SNAPSHOT_REST } else { slow };
        let deadline = self.now + TIMEOUTS * self.plan.election_timeout.0 + slow;
        self.healing = Some(Healing { core, since: self.now, deadline });
    }

    /// Heals a majority and keeps the others in trouble: down, frozen, or cut off in both directions or one.
    pub(super) fn heal_core(&mut self) {
        let (nodes, voters) = (self.nodes.len(), self.voters());
        let n = voters.len();
        // Two voters have no majority that lacks one; and while voters change, it is not one number that elects.
        let least = n as u64 / 2 + 1;
        let most = if self.is_seated() { (n as u64 - 1).max(least) } else { n as u64 };
        let size = if self.is_seated() { self.rng.range(least, most) as usize } else { n };
        let first = self.rng.below(n as u64) as usize;
        let core: Vec<_> = (0..size).map(|step| voters[(first + step) % n]).collect();
        self.trace.event("core", &[first as u64, size as u64]);
        self.trace.mark("only a core is healed");
        self.end_trouble();
        // Who could help may not be of the core.
        (0..self.nodes.len()).for_each(|node| self.restore_spot(node));
        for node in &core {
            let runs = self.nodes[*node].life.as_ref().is_some_and(|life| life.is_running());
            if !runs && !self.nodes[*node].rotten.is_empty() {
                self.restore(*node);
            }
        }
        for node in self.members().into_iter().filter(|node| !core.contains(node)) {
            let (out, into) = match self.rng.below(5) {
                0 => {
                    let how = self.rng.pick(&[crate::disk::Crash::Kill, crate::disk::Crash::Power(50)]);
                    let how = if self.plan.odds.power > 0 && !self.is_any_blank() {
                        how
                    } else {
                        crate::disk::Crash::Kill
                    };
                    self.bring_down(node, how);
                    self.nodes[node].restart_at = None;
                    continue;
                }
                1 => {
                    self.nodes[node].paused_until = u64::MAX;
                    continue;
                }
                2 => (true, true),
                3 => (true, false),
                _ => (false, true),
            };
            let mut peers = self.peers.lock();
            for other in (0..nodes).filter(|other| *other != node) {
                if out {
                    peers.block(node, other);
                }
                if into {
                    peers.block(other, node);
                }
            }
        }
        for node in &core {
            let soon = self.now + self.rng.spread(MILLI / 10, 2 * MILLI);
            let state = &mut self.nodes[*node];
            state.restart_at = state.restart_at.map(|at| at.min(soon));
        }
        self.name_members(&core);
        self.expect_service(core);
    }

    /// Lets the core serve for a while, if it is to serve.
    pub(super) fn serve_from_core(&mut self) {
        while self.healing.is_some() && self.goes_on() {
            self.step(false);
        }
        let began = self.history.finished;
        let deadline = self.now + SERVED;
        while self.core_serves()
            && self.history.finished < began + OPERATIONS
            && self.goes_on()
            && self.now < deadline
        {
            self.step(false);
        }
        if self.now >= deadline && self.history.finished == began {
            self.trace.fail("clients of a healed core are served", self.describe());
        }
        self.core = None;
    }

    fn core_serves(&self) -> bool {
        self.core.as_ref().is_some_and(|core| core.iter().any(|node| self.commits(*node)))
    }

    /// Whether the node leads and has committed in its term.
    pub(super) fn commits(&self, node: usize) -> bool {
        let Some(life) = self.nodes[node].life.as_ref().filter(|life| life.shared.leads()) else {
            return false;
        };
        self.logs.term_of(node, life.shared.committed.load()) == Some(self.nodes[node].term)
    }

    fn voter(&self, node: usize) -> Option<Voter> {
        if !self.nodes[node].life.as_ref()?.is_running() {
            return None;
        }
        let state = self.stored_state(node)?;
        let index = self.metric(node, "ordain_last_batch");
        let end = self.logs.end(node);
        // What stands behind the written end is of the last term that the node took anything in.
        let term = if end.index.0 < index { state.ack_term } else { end.term };
        let life = self.nodes[node].life.as_ref()?;
        let latest = life.shared.board.news(&mut 0)?;
        let configs = self.logs.configs(node);
        let (at, written) = configs.last();
        let before = match written.version.cmp(&latest.version) {
            // It is in memory only, or was, and is cut.
            Ordering::Less => Some(written.clone()),
            Ordering::Greater => None,
            Ordering::Equal if at <= life.shared.committed.load() => None,
            Ordering::Equal => configs.before_last().cloned(),
        };
        let end = Floor { term, index: BatchIndex(index) };
        Some(Voter {
            id: NodeId(node as u32),
            end,
            floor: state.floor,
            latest,
            before,
            blank: self.nodes[node].blank,
            unproved: state.blank,
            has_term: state.term > Term(0),
        })
    }

    /// Whether rule R4 lets nobody of `core` be elected, as far as it can be seen from outside. A node that is not
    /// running yet is given the benefit of the doubt.
    fn nobody_wins(&self, core: &[usize]) -> bool {
        let voters: Option<Vec<_>> = core.iter().map(|node| self.voter(*node)).collect();
        voters.is_some_and(|mut voters| {
            // While nobody is in a term, those who are new tell each other that they are whole.
            let has_begun = voters.iter().any(|voter| voter.has_term);
            voters.iter_mut().for_each(|voter| voter.blank |= voter.unproved && has_begun);
            !somebody_wins(&voters)
        })
    }

    fn verdict(&self, core: &[usize]) -> Verdict {
        let leads = |node: &usize| self.nodes[*node].life.as_ref().is_some_and(|life| life.shared.leads());
        match () {
            () if core.iter().any(|node| self.commits(*node)) => Verdict::Serves,
            () if !core.iter().any(leads) && self.nobody_wins(core) => Verdict::Forbidden,
            () => Verdict::Waits,
        }
    }

    pub(super) fn judge_healing(&mut self) {
        let Some(healing) = &self.healing else { return };
        match self.verdict(&healing.core) {
            Verdict::Serves => {
                self.longest_outage = self.longest_outage.max(self.now - healing.since);
                self.core = self.healing.take().map(|healing| healing.core);
            }
            _ if self.now <= healing.deadline => {}
            Verdict::Forbidden => {
                self.trace.mark("a stall that the rule asks for");
                self.healing = None;
            }
            Verdict::Waits => {
                let what = format!(
                    "nodes {:?} were healed {} ms ago and commit nothing: {}",
                    healing.core,
                    (self.now - healing.since) / MILLI,
                    self.describe()
                );
                self.trace.fail("bounded unavailability", what);
            }
        }
    }

    /// So many nodes lost acknowledged batches that the rest must not elect, all votes together included: only an
    /// operator can go on.
    pub(super) fn note_stuck(&mut self) {
        if self.nodes.len() > 1 {
            let all = self.members();
            let stuck = self.leader().is_none() && self.nobody_wins(&all);
            self.stuck_since = self.stuck_since.or(Some(self.now)).filter(|_| stuck);
        }
    }

    pub(super) fn is_stuck(&self) -> bool {
        self.stuck_since.is_some_and(|since| self.now > since + STUCK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::member;
    use ordain_types::configuration::Change;
    use ordain_types::facts::AckPolicy;
    use ordain_types::{ClusterFacts, ClusterId};

    fn at(term: u64, index: u64) -> Floor {
        Floor { term: Term(term), index: BatchIndex(index) }
    }

    /// (log end, floor) of each, of three voters under a policy.
    fn wins_under(received: u32, durable: u32, voters: &[(Floor, Option<Floor>)]) -> bool {
        let mut facts = ClusterFacts::new(ClusterId([1; 16]), Nanos(1), 3);
        facts.policy = AckPolicy { received, durable };
        let latest = Arc::new(Configuration::initial(&facts, &(0..3).map(member).collect::<Vec<_>>()));
        let voter = |(id, (end, floor)): (u32, &(Floor, Option<Floor>))| Voter {
            id: NodeId(id),
            end: *end,
            floor: *floor,
            latest: latest.clone(),
            before: None,
            blank: false,
            unproved: false,
            has_term: true,
        };
        somebody_wins(&(0..).zip(voters).map(voter).collect::<Vec<_>>())
    }

    fn wins(voters: &[(Floor, Option<Floor>)]) -> bool {
        wins_under(2, 1, voters)
    }

    #[test]
    fn who_wins_follows_from_ends_and_floors() {
        assert!(wins(&[(at(1, 5), None), (at(1, 4), None)]));
        assert!(!wins(&[(at(1, 5), None)]), "no majority");
        assert!(!wins(&[(at(1, 5), None), (at(1, 4), Some(at(1, 6)))]), "a weak vote and two in all");
        assert!(wins(&[(at(1, 6), None), (at(1, 4), Some(at(1, 6)))]), "the floor is reached");
        let weak = (at(1, 4), Some(at(1, 20)));
        assert!(wins(&[weak, weak, (at(1, 5), None)]), "all votes together");
        assert!(!wins_under(1, 1, &[(at(1, 5), None); 2]), "1/1 needs all three");
    }

    #[test]
    fn who_knows_of_a_weaker_policy_is_counted_by_it_or_left_out() {
        let facts = ClusterFacts::new(ClusterId([1; 16]), Nanos(1), 3);
        let first = Configuration::initial(&facts, &(0..3).map(member).collect::<Vec<_>>());
        let policy = |received, durable| Change::Policy(AckPolicy { received, durable });
        let strong = Arc::new(first.changed(&policy(2, 2)).unwrap());
        let weak = Arc::new(strong.changed(&policy(1, 1)).unwrap());
        let voter = |id, latest: &Arc<Configuration>| Voter {
            id: NodeId(id),
            end: at(1, 5),
            floor: None,
            latest: latest.clone(),
            before: None,
            blank: false,
            unproved: false,
            has_term: true,
        };
        assert!(somebody_wins(&[voter(0, &strong), voter(1, &strong)]));
        assert!(!somebody_wins(&[voter(0, &strong), voter(1, &weak)]), "1/1 needs all three");
        assert!(somebody_wins(&[voter(0, &strong), voter(1, &weak), voter(2, &strong)]));
        // What it does not know to be committed may not be.
        let (changed, before) = (voter(0, &strong), Some(weak.clone()));
        assert!(!somebody_wins(&[Voter { before, ..changed }, voter(1, &strong)]));
    }
}
