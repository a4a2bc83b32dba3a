//! What can happen, and what must hold.

use crate::cluster::{Ballot, Batch, Change, Cluster, LONGEST, Log, Node, Peer, Reign, Role, TERMS};
use crate::rule::{self, Found, Grant, Policy, Variant, Win};
use stateright::{Model, Property};

/// How far a search goes, and from where.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// Voters at the beginning, as a set of bits.
    pub voters: u8,
    /// Policies, the weakest first; each at least as strong in both numbers as the one before.
    pub policies: Vec<Policy>,
    /// The policy at the beginning, by its place.
    pub policy: u8,
    /// Terms from 1.
    pub terms: u8,
    /// Most batches in a log, and most of them in a log that change nothing, the policy, the voters.
    pub batches: [u8; 4],
    /// Power losses, ends of processes, disks that lose what they had synced, disks that are lost whole.
    pub faults: [u8; 4],
    /// How disks keep their word.
    pub disk: Disk,
    /// Several candidates of one term.
    pub rivals: bool,
    /// Begin with a leader of term 1, elected by a majority of clean nodes.
    pub led: bool,
    /// A batch is first in memory, and with the kernel in a later step.
    pub ring: bool,
    /// Terms from this one on are of the second lineage, which an operator may begin, once (R7); 0: none are.
    pub lineage: u8,
}

/// How disks keep their word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Disk {
    /// What is synced stays. Watermarks are stored at once, and nothing torn is found.
    Sound,
    /// What is synced stays. Watermarks lag behind, and what was not synced may be found torn.
    Torn,
    /// As `Torn`; and what is not beyond the watermark may turn bad.
    Corrupt,
    /// As `Corrupt`; and so may what is synced beyond the watermark.
    Liar,
}

/// One step. Nodes are named by their place in the state before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A node asks for votes in a term.
    Campaign { node: u8, term: u8 },
    /// A node answers a live candidate.
    Vote { node: u8, candidate: u8 },
    /// A candidate finds that it won.
    Win { node: u8 },
    /// A leader seals a batch.
    Seal { node: u8, change: Change },
    /// The leader of a term hears of a node's present life.
    Hello { node: u8, term: u8 },
    /// A frame of a term's leader arrives that makes the log match up to `index`. If that is not 0 it carries
    /// batch `index`.
    Append { node: u8, term: u8, index: u8 },
    /// The kernel takes one more batch.
    Write { node: u8 },
    /// The disk has one more batch.
    Sync { node: u8 },
    /// What the disk has is noted on it.
    Watermark { node: u8 },
    /// The process ends and starts again.
    Kill { node: u8 },
    /// The power fails; `keep` batches are found at the start, and whether something behind them had to be cut.
    PowerLoss { node: u8, keep: u8, torn: bool },
    /// The process ends, and starts again with an empty disk.
    DiskLoss { node: u8 },
    /// The leader of a term finds that all others have confirmed it since it heard of a blank node's life.
    Admit { node: u8, term: u8 },
    /// An operator declares a loss: a node's log goes on with a batch of the second lineage.
    Force { node: u8 },
    /// A node hears that there is a second lineage, by a frame of whoever knows.
    Hear { node: u8 },
}

/// Names of what must never happen.
pub const ALWAYS: [&str; 3] =
    ["a term has one leader", "a leader has what was committed before", "committed prefixes agree"];

/// Names of what a search must meet.
pub const SOMETIMES: [&str; 12] = [
    "votes in all win, strong ones do not",
    "a majority does not win",
    "a batch is committed in a reign won by votes in all",
    "a floor is dropped at the mark",
    "a suffix is cut",
    "a policy and a batch behind it are committed",
    "a change of voters is committed",
    "a batch is committed in the second lineage",
    "what was committed is not in the second lineage",
    "a log of the first lineage is set aside",
    "a node that lost its disk is whole again",
    "nobody can be elected without a node that lost its disk",
];

/// The rule, or a variant of it, within bounds. `N` nodes exist; those that are no voters may become some.
#[derive(Clone, Debug)]
pub struct Rules<const N: usize> {
    /// How far.
    pub bounds: Bounds,
    /// The rule, or which mistake.
    pub variant: Variant,
}

impl<const N: usize> Rules<N> {
    /// # Panics
    /// If the bounds do not fit the representation.
    #[must_use]
    pub fn new(bounds: Bounds, variant: Variant) -> Self {
        assert!(usize::from(bounds.terms) <= TERMS && usize::from(bounds.batches[0]) <= LONGEST);
        assert!(N <= 4 || bounds.batches[3] == 0, "a set of voters has four bits in a batch");
        assert!(usize::from(bounds.policy) < bounds.policies.len() && bounds.policies.len() <= 14);
        Self { bounds, variant }
    }

    /// Whether nothing is broken in a state.
    #[must_use]
    pub fn holds(&self, cluster: &Cluster<N>) -> bool {
        !cluster.two_leaders && self.leaders_complete(cluster) && self.commitments_agree(cluster)
    }

    /// R7: whether a term is of the second lineage.
    fn is_later(&self, term: u8) -> bool {
        self.bounds.lineage > 0 && term >= self.bounds.lineage
    }

    /// Whether two terms are of one lineage, as far as clients are told.
    fn is_same_lineage(&self, one: usize, other: usize) -> bool {
        let later = |at: usize| self.is_later(at as u8 + 1);
        later(one) == later(other) || self.is(Variant::LineageNotRaised)
    }

    /// R7: whether a node that knows of `term` elects a log: one that holds the beginning of the term's lineage.
    fn may_elect(&self, term: u8, log: &Log) -> bool {
        !self.is_later(term) || self.is_later(log.end().0) || self.is(Variant::OldLineageElects)
    }

    /// The leader of a term has every batch that was committed in an earlier one of its lineage, and the lineage's
    /// beginning, which counts as committed by declaration.
    fn leaders_complete(&self, cluster: &Cluster<N>) -> bool {
        let reigns = || (1..).zip(&cluster.reigns).filter(|(_, reign)| reign.leader.is_some());
        let begins =
            |reign: &Reign<N>| reign.log.batches().iter().any(|batch| batch.term() == self.bounds.lineage);
        reigns().all(|(term, reign)| !self.is_later(term) || begins(reign))
            && cluster.reigns.iter().enumerate().all(|(at, reign)| {
                let mut later = cluster.reigns.iter().enumerate().skip(at + 1);
                later.all(|(other, later)| {
                    later.leader.is_none()
                        || !self.is_same_lineage(at, other)
                        || later.log.has(&reign.log, reign.commit)
                })
            })
    }

    fn commitments_agree(&self, cluster: &Cluster<N>) -> bool {
        let reigns = || cluster.reigns.iter().enumerate();
        reigns().all(|(at, one)| {
            reigns().all(|(to, other)| {
                !self.is_same_lineage(at, to) || one.log.has(&other.log, one.commit.min(other.commit))
            })
        })
    }

    /// Where a search begins.
    pub(crate) fn start(&self) -> Cluster<N> {
        let mut cluster = Cluster::new(self.bounds.voters, self.bounds.faults);
        if self.bounds.led {
            let majority = rule::majority(self.bounds.voters.count_ones() as u8);
            let votes = (1..majority).map(|node| Action::Vote { node, candidate: 0 });
            let campaign = [Action::Campaign { node: 0, term: 1 }];
            for action in campaign.into_iter().chain(votes).chain([Action::Win { node: 0 }]) {
                cluster = self.apply(&cluster, action).expect("clean nodes elect by a majority");
            }
        }
        cluster
    }

    fn is(&self, variant: Variant) -> bool {
        self.variant == variant
    }

    /// Voters by a log (Raft 4.1: the latest in it, committed or not).
    fn voters(&self, cluster: &Cluster<N>, node: usize) -> u8 {
        let mut sets =
            cluster.nodes[node].log.batches().iter().rev().filter_map(|batch| match batch.change() {
                Change::Voters(set) => Some(set),
                _ => None,
            });
        sets.next().unwrap_or(cluster.voters)
    }

    /// R6: the weakest policy that may be in use as far as a node knows.
    fn known_policy(&self, node: &Node<N>) -> u8 {
        let mut known = self.bounds.policy;
        for (index, batch) in (1..).zip(node.log.batches()) {
            if let Change::Policy(policy) = batch.change() {
                let stronger = policy > known && self.is(Variant::StrongerAtOnce);
                known = if index <= node.commit || stronger { policy } else { known.min(policy) };
            }
        }
        known
    }

    /// R6: the largest W that may be in use as far as a log on disk says.
    fn window(&self, log: &Log) -> u8 {
        let window = |policy: u8| self.bounds.policies[usize::from(policy)].window;
        let logged = log.batches().iter().filter_map(|batch| match batch.change() {
            Change::Policy(policy) => Some(window(policy)),
            _ => None,
        });
        logged.fold(window(self.bounds.policy), u8::max)
    }

    /// R6: the policy by which the leader of `term` counts copies of a batch.
    fn policy_in_use(&self, cluster: &Cluster<N>, term: u8, leader: usize, index: u8) -> u8 {
        let reign = cluster.reign(term);
        let voters = self.voters(cluster, leader);
        let mut used = self.bounds.policy;
        for (at, batch) in (1..=index).zip(reign.log.batches()) {
            let Change::Policy(policy) = batch.change() else { continue };
            let on_disks = members::<N>(voters).filter(|&j| reign.peers[j].durable >= at).count() as u8
                >= rule::majority(voters.count_ones() as u8);
            let weaker_may =
                at < index && at <= reign.commit && (on_disks || self.is(Variant::SwitchNotOnDisks))
                    || self.is(Variant::SwitchAtOnce);
            if policy >= used || weaker_may {
                used = policy;
            }
        }
        used
    }

    /// R4.
    fn wins(&self, cluster: &Cluster<N>, node: usize) -> Option<Win> {
        let voters = self.voters(cluster, node);
        let ballots = cluster.nodes[node].ballots;
        // Replies may be lost: those of voters who know of weaker policies are left out, or count by them.
        (0..self.bounds.policies.len()).find_map(|policy| {
            let grants = members::<N>(voters)
                .map(|j| ballots[j])
                .filter(|ballot| usize::from(ballot.policy) >= policy);
            let n = voters.count_ones() as u8;
            rule::wins(grants.map(|ballot| ballot.grant), n, self.bounds.policies[policy], self.variant)
        })
    }

    /// What a leader may seal.
    fn changes(&self, cluster: &Cluster<N>, leader: usize, changes: &mut Vec<Change>) {
        let node = &cluster.nodes[leader];
        let [all, data, policies, voters] = self.bounds.batches;
        if node.log.len() == all {
            return;
        }
        let count = |wanted: fn(Change) -> bool| {
            node.log.batches().iter().filter(|batch| wanted(batch.change())).count() as u8
        };
        if count(|change| change == Change::None) < data {
            changes.push(Change::None);
        }
        let commit = cluster.reign(node.term).commit;
        let settled = (commit + 1..=node.log.len())
            .all(|at| !matches!(node.log.get(at).map(Batch::change), Some(Change::Voters(_))));
        if count(|change| matches!(change, Change::Policy(_))) < policies {
            let latest = node.log.batches().iter().rev().find_map(|batch| match batch.change() {
                Change::Policy(policy) => Some(policy),
                _ => None,
            });
            let latest = latest.unwrap_or(self.bounds.policy);
            // R8: the policy is lowered when the voters are committed.
            let others = (0..self.bounds.policies.len() as u8).filter(|&policy| policy != latest);
            changes.extend(others.filter(|&policy| policy > latest || settled).map(Change::Policy));
        }
        if count(|change| matches!(change, Change::Voters(_))) < voters {
            // R8.
            let raised = self.bounds.policies[usize::from(self.known_policy(node))] == Policy::MAJORITY;
            let may = settled
                && (raised || self.is(Variant::ChangeWithoutRaise))
                && (commit > 0 || self.is(Variant::ChangeBeforeCommit));
            let now = self.voters(cluster, leader);
            changes.extend((0..N).map(|j| now ^ 1 << j).filter(|&set| may && set != 0).map(Change::Voters));
        }
    }

    pub(crate) fn apply(&self, before: &Cluster<N>, action: Action) -> Option<Cluster<N>> {
        let mut cluster = *before;
        match action {
            Action::Campaign { node, term } => {
                let at = usize::from(node);
                enter(&mut cluster, at, term);
                let policy = self.known_policy(&cluster.nodes[at]);
                let candidate = &mut cluster.nodes[at];
                candidate.voted = true;
                candidate.role = Role::Candidate;
                let end = candidate.log.end();
                let grant = rule::judge(end, candidate.floor, candidate.suspect, self.variant);
                candidate.ballots[at] = Ballot { grant, policy };
            }
            Action::Vote { node, candidate } => {
                let (at, to) = (usize::from(node), usize::from(candidate));
                let (term, end) = (cluster.nodes[to].term, cluster.nodes[to].log.end());
                let policy = self.known_policy(&cluster.nodes[at]);
                enter(&mut cluster, at, term);
                let voter = &mut cluster.nodes[at];
                voter.voted = true;
                let grant = rule::judge(end, voter.floor, voter.suspect, self.variant);
                cluster.nodes[to].ballots[at] = Ballot { grant, policy };
            }
            Action::Win { node } => {
                let at = usize::from(node);
                let win = self.wins(&cluster, at)?;
                let leader = &mut cluster.nodes[at];
                leader.role = Role::Leader;
                leader.ack_term = leader.term;
                leader.matched = leader.log.len();
                leader.ballots = [Ballot::default(); N];
                let (term, log) = (leader.term, leader.log);
                if cluster.reign(term).leader.is_some() {
                    cluster.two_leaders = true;
                    return Some(cluster);
                }
                let reign = cluster.reign_mut(term);
                reign.leader = Some(node);
                reign.log = log;
                reign.weak = win == Win::Weak;
            }
            Action::Seal { node, change } => {
                let leader = &mut cluster.nodes[usize::from(node)];
                leader.log.push(Batch::new(leader.term, change));
                let (term, log) = (leader.term, leader.log);
                cluster.reign_mut(term).log = log;
            }
            Action::Hello { node, term } => {
                let reign = cluster.reign_mut(term);
                reign.peers[usize::from(node)] = Peer { met: true, mark: reign.log.len(), ..Peer::default() };
            }
            Action::Append { node, term, index } => {
                let at = usize::from(node);
                let reign = *cluster.reign(term);
                enter(&mut cluster, at, term);
                let outlived = self.sets_aside(&cluster, at, term, index);
                let node = &mut cluster.nodes[at];
                node.role = Role::Follower;
                node.ballots = [Ballot::default(); N];
                node.ack_term = term;
                if outlived {
                    // It starts again without a log, and owes the lineage's beginning.
                    let window = self.window(&node.log);
                    self.restart(&mut cluster, at, 0);
                    let found = Found { end: (0, 0), watermark: 0, torn: false };
                    let node = &mut cluster.nodes[at];
                    node.ack_term = self.bounds.lineage;
                    node.floor = rule::floor(found, node.ack_term, window, self.variant);
                    self.settle(&mut cluster);
                    return Some(cluster);
                }
                if let Some(batch) = reign.log.get(index)
                    && node.log.get(index) != Some(batch)
                {
                    node.log.truncate(index - 1);
                    node.written = node.written.min(index - 1);
                    node.durable = node.durable.min(index - 1);
                    node.watermark = node.watermark.min(index - 1);
                    node.log.push(batch);
                }
                node.matched = node.matched.max(index);
                node.commit = node.commit.max(reign.commit.min(node.matched));
            }
            Action::Force { node } => {
                let at = usize::from(node);
                let keep = cluster.nodes[at].written;
                self.restart(&mut cluster, at, keep);
                let term = self.bounds.lineage;
                enter(&mut cluster, at, term);
                let node = &mut cluster.nodes[at];
                node.log.push(Batch::new(term, Change::None));
                let len = node.log.len();
                (node.written, node.durable, node.watermark) = (len, len, len);
                (node.ack_term, node.floor, node.suspect) = (term, (0, 0), false);
            }
            Action::Hear { node } => enter(&mut cluster, usize::from(node), self.bounds.lineage),
            Action::DiskLoss { node } => {
                cluster.faults[3] -= 1;
                self.restart(&mut cluster, usize::from(node), 0);
                let node = &mut cluster.nodes[usize::from(node)];
                (node.term, node.voted, node.ack_term) = (0, false, 0);
                (node.floor, node.suspect) = ((0, 0), false);
                node.blank = !self.is(Variant::EmptyIsNew);
            }
            Action::Admit { node, term } => cluster.reign_mut(term).peers[usize::from(node)].admits = true,
            Action::Write { node } => cluster.nodes[usize::from(node)].written += 1,
            Action::Sync { node } => cluster.nodes[usize::from(node)].durable += 1,
            Action::Watermark { node } => {
                let node = &mut cluster.nodes[usize::from(node)];
                node.watermark = node.durable;
            }
            Action::Kill { node } => {
                cluster.faults[1] -= 1;
                let keep = cluster.nodes[usize::from(node)].written;
                self.restart(&mut cluster, usize::from(node), keep);
            }
            Action::PowerLoss { node, keep, torn } => {
                let at = usize::from(node);
                let broken = keep < cluster.nodes[at].durable;
                cluster.faults[0] -= 1;
                cluster.faults[2] -= u8::from(broken);
                let watermark = cluster.nodes[at].watermark;
                self.restart(&mut cluster, at, keep);
                let node = &mut cluster.nodes[at];
                if node.ack_term > 0 {
                    let found = Found { end: node.log.end(), watermark, torn };
                    let floor = rule::floor(found, node.ack_term, self.window(&node.log), self.variant);
                    node.floor = node.floor.max(floor);
                    node.suspect |= keep < watermark && !self.is(Variant::CorruptVotesWeak)
                        || torn && self.is(Variant::CutVotesBlank);
                }
            }
        }
        self.settle(&mut cluster);
        Some(cluster)
    }

    /// A new life with the first `keep` batches, which recovery syncs.
    fn restart(&self, cluster: &mut Cluster<N>, at: usize, keep: u8) {
        let node = &mut cluster.nodes[at];
        node.log.truncate(keep);
        (node.written, node.durable, node.watermark) = (keep, keep, keep);
        (node.matched, node.commit) = (0, 0);
        node.role = Role::Follower;
        node.ballots = [Ballot::default(); N];
        if !self.is(Variant::NoBoot) {
            cluster
                .reigns
                .iter_mut()
                .for_each(|reign| (reign.peers[at].met, reign.peers[at].admits) = (false, false));
        }
    }

    /// What follows without anybody's choice: floors are dropped, acknowledgements arrive, batches are committed,
    /// and what can make no difference any more is forgotten.
    fn settle(&self, cluster: &mut Cluster<N>) {
        for at in 0..N {
            let node = &mut cluster.nodes[at];
            if !self.bounds.ring {
                node.written = node.log.len();
            }
            if self.bounds.disk == Disk::Sound {
                node.watermark = node.durable;
            }
            self.drop_floor(cluster, at);
            self.make_whole(cluster, at);
        }
        for term in 1..=self.bounds.terms {
            if let Some(leader) = cluster.leads(term) {
                self.count(cluster, term, leader);
            }
        }
        self.forget(cluster);
    }

    /// R5.
    fn drop_floor(&self, cluster: &mut Cluster<N>, at: usize) {
        let node = cluster.nodes[at];
        if node.floor == (0, 0) || node.term == 0 {
            return;
        }
        let leads = node.role == Role::Leader;
        let peer = cluster.reign(node.term).peers[at];
        let mark = if leads { node.matched } else { peer.mark };
        let matches = leads || peer.met && node.matched >= mark;
        let early = if leads { Variant::WinnerDropsUnwritten } else { Variant::DropsUnwritten };
        let written = node.written >= mark || self.is(early);
        let synced = !node.suspect || node.durable >= mark || self.is(Variant::RepairNotSynced);
        if matches && written && synced {
            cluster.nodes[at].floor = (0, 0);
            cluster.nodes[at].suspect = false;
        }
    }

    /// R9. That the leader's word arrives at once loses nothing: a whole node may do more, and need not.
    fn make_whole(&self, cluster: &mut Cluster<N>, at: usize) {
        let node = cluster.nodes[at];
        if !node.blank || node.term == 0 {
            return;
        }
        let peer = cluster.reign(node.term).peers[at];
        let has = if self.is(Variant::WholeUnsynced) { node.written } else { node.durable };
        if peer.met && peer.admits && node.matched >= peer.mark && has >= peer.mark {
            cluster.nodes[at].blank = false;
            cluster.nodes[at].voted = true;
        }
    }

    /// R9: whether the leader of `term` may let a blank node count when that has its log.
    fn may_admit(&self, cluster: &Cluster<N>, at: usize, term: u8) -> bool {
        let Some(leader) = cluster.leads(term) else { return false };
        let voters = self.voters(cluster, leader);
        let others = || members::<N>(voters).filter(|&j| j != leader && j != at).map(|j| &cluster.nodes[j]);
        let confirms = |node: &&Node<N>| node.term == term && node.ack_term == term;
        let whole = others().filter(confirms).filter(|node| !node.blank).count() + 1;
        let asked = others().all(|node| confirms(&node))
            && whole >= usize::from(rule::majority(voters.count_ones() as u8));
        let peer = cluster.reign(term).peers[at];
        at != leader
            && cluster.nodes[at].blank
            && peer.met
            && !peer.admits
            && (asked || self.is(Variant::AdmittedUnasked))
    }

    /// R1. That acknowledgements arrive at once and that batches are committed as soon as they can be loses
    /// nothing: both only add to what must be kept.
    fn count(&self, cluster: &mut Cluster<N>, term: u8, leader: usize) {
        for at in 0..N {
            let node = cluster.nodes[at];
            let mut on_disk = node.log;
            on_disk.truncate(node.durable);
            let matched = if at == leader { node.log.len() } else { node.matched };
            let peer = &mut cluster.reign_mut(term).peers[at];
            let counts = !node.blank || self.is(Variant::BlankCounts);
            if node.term == term && counts && (peer.met || at == leader) {
                // Durability is not reported further than W beyond the stored watermark.
                let durable = node.durable.min(node.watermark + self.window(&on_disk));
                peer.received = peer.received.max(node.written.min(matched));
                peer.durable = peer.durable.max(durable.min(matched));
            }
        }
        let voters = self.voters(cluster, leader);
        while let Some(commit) = (cluster.reign(term).commit + 1..=cluster.reign(term).log.len())
            .rev()
            .find(|&index| self.is_committed(cluster, term, leader, voters, index))
        {
            cluster.reign_mut(term).commit = commit;
        }
        cluster.nodes[leader].commit = cluster.reign(term).commit;
    }

    fn is_committed(&self, cluster: &Cluster<N>, term: u8, leader: usize, voters: u8, index: u8) -> bool {
        let reign = cluster.reign(term);
        let policy = self.bounds.policies[usize::from(self.policy_in_use(cluster, term, leader, index))];
        let (m, k) = policy.of(voters.count_ones() as u8);
        let peers = || members::<N>(voters).map(|j| reign.peers[j]);
        let reach = |peer: &Peer| {
            let mut on_disk = reign.log;
            on_disk.truncate(peer.durable);
            let unknown = self.is(Variant::WindowNotOnDisk);
            let window = if unknown { policy.window } else { policy.window.min(self.window(&on_disk)) };
            rule::counts_to(peer.received, peer.durable, window, self.variant)
        };
        (reign.log.term_at(index) == Some(term) || self.is(Variant::NoCurrentTerm))
            && peers().filter(|peer| reach(peer) >= index).count() >= usize::from(m)
            && peers().filter(|peer| peer.durable >= index).count() >= usize::from(k)
    }

    fn forget(&self, cluster: &mut Cluster<N>) {
        let oldest = cluster.nodes.iter().map(|node| node.term).min().unwrap_or(0);
        for term in 1..=self.bounds.terms {
            let live = cluster.leads(term).is_some();
            for at in 0..N {
                let node = &cluster.nodes[at];
                let owes = node.floor != (0, 0) || node.blank || self.is(Variant::NoBoot);
                let (gone, blank) = (node.term > term, node.blank);
                let peer = &mut cluster.reign_mut(term).peers[at];
                if !live {
                    (peer.received, peer.durable) = (0, 0);
                }
                if gone {
                    // It takes no frame of this term any more.
                    (peer.met, peer.mark, peer.admits) = (false, 0, false);
                } else if !owes {
                    peer.mark = 0;
                }
                peer.admits &= blank;
            }
            if term < oldest {
                let reign = cluster.reign_mut(term);
                reign.leader = None;
                reign.weak = false;
                reign.log.truncate(reign.commit);
            }
        }
        // Of reigns that are quite over, a later one's commitments stand for the earlier one's.
        for term in 2..oldest {
            let later = *cluster.reign(term);
            let earlier = cluster.reign_mut(term - 1);
            if later.log.has(&earlier.log, earlier.commit) {
                earlier.log.truncate(0);
                earlier.commit = 0;
            }
        }
        if self.bounds.policies.len() == 1 {
            cluster.nodes.iter_mut().for_each(|node| node.commit = 0);
        }
    }

    /// What frame `index` of a term would do to a log that it fits.
    fn fits(&self, cluster: &Cluster<N>, at: usize, term: u8, index: u8) -> bool {
        let (node, reign) = (&cluster.nodes[at], cluster.reign(term));
        let leads = reign.leader.is_none_or(|leader| usize::from(leader) == at);
        let previous = index.saturating_sub(1);
        !leads
            && term >= node.term
            && reign.peers[at].met
            && index <= reign.log.len()
            && node.log.term_at(previous) == reign.log.term_at(previous)
    }

    /// Every frame that may arrive: node, term, index.
    fn frames(&self, cluster: &Cluster<N>) -> impl Iterator<Item = (usize, u8, u8)> {
        let terms = self.bounds.terms;
        let all = (0..N).flat_map(move |at| (1..=terms).map(move |term| (at, term)));
        let all = all.flat_map(|(at, term)| (0..=cluster.reign(term).log.len()).map(move |i| (at, term, i)));
        all.filter(|&(at, term, index)| self.fits(cluster, at, term, index))
    }

    fn rejoins(&self, cluster: &Cluster<N>) -> bool {
        cluster.nodes.iter().any(|node| node.floor != (0, 0))
            && self.frames(cluster).any(|(at, term, index)| {
                let node = &cluster.nodes[at];
                let mark = cluster.reign(term).peers[at].mark;
                node.floor != (0, 0) && mark > 0 && node.matched < mark && index == mark
            })
    }

    /// R7: whether a frame meets a log that lacks the beginning of the term's lineage and goes on differently.
    fn sets_aside(&self, cluster: &Cluster<N>, at: usize, term: u8, index: u8) -> bool {
        let log = &cluster.nodes[at].log;
        let held = log.get(index);
        self.is_later(term)
            && !self.is_later(log.end().0)
            && held.is_some()
            && held != cluster.reign(term).log.get(index)
    }

    fn cuts(&self, cluster: &Cluster<N>) -> bool {
        self.frames(cluster).any(|(at, term, index)| {
            let held = cluster.nodes[at].log.get(index);
            held.is_some() && held != cluster.reign(term).log.get(index)
        })
    }
}

fn members<const N: usize>(set: u8) -> impl Iterator<Item = usize> {
    (0..N).filter(move |at| set >> at & 1 == 1)
}

fn committed<const N: usize>(reign: &Reign<N>) -> impl Iterator<Item = Change> {
    reign.log.batches()[..usize::from(reign.commit)].iter().map(|batch| batch.change())
}

/// A node hears of a term.
fn enter<const N: usize>(cluster: &mut Cluster<N>, at: usize, term: u8) {
    let node = &mut cluster.nodes[at];
    if node.term < term {
        node.term = term;
        node.voted = false;
        node.matched = 0;
        node.role = Role::Follower;
        node.ballots = [Ballot::default(); N];
    }
}

impl<const N: usize> Model for Rules<N> {
    type State = Cluster<N>;
    type Action = Action;

    fn init_states(&self) -> Vec<Cluster<N>> {
        vec![self.start().canonical().0]
    }

    fn actions(&self, cluster: &Cluster<N>, actions: &mut Vec<Action>) {
        let mut changes = Vec::new();
        // Without rivals a candidate goes on until it wins. Had it not begun, all could still do what they can do
        // now: a lower term and a vote that was not given forbid nothing.
        let free = |node: &Node<N>| self.bounds.rivals || node.role != Role::Candidate;
        for (at, node) in cluster.nodes.iter().enumerate() {
            let name = at as u8;
            let used = |term| {
                cluster.reign(term).leader.is_some()
                    || cluster.nodes.iter().any(|node| node.term == term && node.role == Role::Candidate)
            };
            let votes = self.voters(cluster, at) >> at & 1 == 1;
            if node.role != Role::Leader
                && !node.blank
                && free(node)
                && votes
                && self.may_elect(node.term, &node.log)
            {
                // Nobody is elected in the term of the break, and none but who knows of its lineage behind it.
                let lineage = self.bounds.lineage;
                let terms = (node.term + 1..=self.bounds.terms)
                    .filter(|&term| {
                        lineage == 0 || (term > lineage) == (node.term >= lineage) && term != lineage
                    })
                    .filter(|&term| self.bounds.rivals || !used(term));
                actions.extend(terms.map(|term| Action::Campaign { node: name, term }));
            }
            if node.role == Role::Candidate {
                for (j, voter) in cluster.nodes.iter().enumerate() {
                    let can = free(voter) && voter.term < node.term
                        || voter.term == node.term
                            && (!voter.voted
                                || node.ballots[j].grant > Grant::None
                                || self.is(Variant::VotesTwice));
                    let may = node.log.end() >= voter.log.end() && self.may_elect(node.term, &node.log);
                    if j != at && can && may && !voter.blank {
                        actions.push(Action::Vote { node: j as u8, candidate: name });
                    }
                }
                if self.wins(cluster, at).is_some() {
                    actions.push(Action::Win { node: name });
                }
            }
            if node.role == Role::Leader {
                changes.clear();
                self.changes(cluster, at, &mut changes);
                actions.extend(changes.iter().map(|&change| Action::Seal { node: name, change }));
                for (j, other) in cluster.nodes.iter().enumerate() {
                    if j != at && other.term <= node.term && !cluster.reign(node.term).peers[j].met {
                        actions.push(Action::Hello { node: j as u8, term: node.term });
                    }
                }
            }
            if node.written < node.log.len() {
                actions.push(Action::Write { node: name });
            }
            if node.durable < node.written {
                actions.push(Action::Sync { node: name });
            }
            if node.watermark < node.durable {
                actions.push(Action::Watermark { node: name });
            }
            if cluster.faults[3] > 0 && free(node) {
                actions.push(Action::DiskLoss { node: name });
            }
            let admits = (1..=self.bounds.terms).filter(|&term| self.may_admit(cluster, at, term));
            actions.extend(admits.map(|term| Action::Admit { node: name, term }));
            if cluster.faults[1] > 0 && free(node) {
                actions.push(Action::Kill { node: name });
            }
            if cluster.faults[0] > 0 && free(node) {
                let bad = match self.bounds.disk {
                    Disk::Sound | Disk::Torn => 0,
                    Disk::Corrupt => node.watermark,
                    Disk::Liar => node.durable,
                };
                let bad = if cluster.faults[2] > 0 { bad } else { 0 };
                for keep in (0..bad).chain(node.durable..=node.written) {
                    let broken = keep < node.durable;
                    if !broken {
                        actions.push(Action::PowerLoss { node: name, keep, torn: false });
                    }
                    if broken || self.bounds.disk > Disk::Sound && keep < node.written {
                        actions.push(Action::PowerLoss { node: name, keep, torn: true });
                    }
                }
            }
        }
        let knows = |node: &Node<N>| self.is_later(node.term);
        for (at, node) in cluster.nodes.iter().enumerate().filter(|_| self.bounds.lineage > 0) {
            let is_known = cluster.nodes.iter().any(knows);
            if !is_known && free(node) {
                actions.push(Action::Force { node: at as u8 });
            }
            if is_known && !knows(node) && free(node) {
                actions.push(Action::Hear { node: at as u8 });
            }
        }
        let frames = self.frames(cluster).filter(|&(at, ..)| free(&cluster.nodes[at]));
        actions.extend(frames.map(|(at, term, index)| Action::Append { node: at as u8, term, index }));
    }

    fn next_state(&self, cluster: &Cluster<N>, action: Action) -> Option<Cluster<N>> {
        let after = self.apply(cluster, action)?;
        (after != *cluster).then(|| after.canonical().0)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(ALWAYS[0], |_, cluster: &Cluster<N>| !cluster.two_leaders),
            Property::always(ALWAYS[1], |rules: &Self, cluster| rules.leaders_complete(cluster)),
            Property::always(ALWAYS[2], |rules: &Self, cluster| rules.commitments_agree(cluster)),
            Property::sometimes(SOMETIMES[0], |rules: &Self, cluster: &Cluster<N>| {
                (0..N).any(|at| {
                    cluster.nodes[at].role == Role::Candidate && rules.wins(cluster, at) == Some(Win::Weak)
                })
            }),
            Property::sometimes(SOMETIMES[1], |rules: &Self, cluster: &Cluster<N>| {
                (0..N).any(|at| {
                    let votes =
                        cluster.nodes[at].ballots.iter().filter(|b| b.grant > Grant::None).count() as u8;
                    let n = rules.voters(cluster, at).count_ones() as u8;
                    votes >= rule::majority(n) && rules.wins(cluster, at).is_none()
                })
            }),
            Property::sometimes(SOMETIMES[2], |_, cluster: &Cluster<N>| {
                cluster.reigns.iter().any(|reign| reign.weak && reign.commit > 0)
            }),
            Property::sometimes(SOMETIMES[3], Self::rejoins),
            Property::sometimes(SOMETIMES[4], Self::cuts),
            Property::sometimes(SOMETIMES[5], |_, cluster: &Cluster<N>| {
                cluster.reigns.iter().any(|reign| {
                    let mut committed =
                        committed(reign).skip_while(|change| !matches!(change, Change::Policy(_)));
                    committed.any(|change| change == Change::None)
                })
            }),
            Property::sometimes(SOMETIMES[6], |_, cluster: &Cluster<N>| {
                let voters = |change| matches!(change, Change::Voters(_));
                cluster.reigns.iter().any(|reign| committed(reign).any(voters))
            }),
            Property::sometimes(SOMETIMES[7], |rules: &Self, cluster: &Cluster<N>| {
                (1..).zip(&cluster.reigns).any(|(term, reign)| rules.is_later(term) && reign.commit > 0)
            }),
            Property::sometimes(SOMETIMES[8], |rules: &Self, cluster: &Cluster<N>| {
                let reigns = || (1..).zip(&cluster.reigns);
                reigns().any(|(term, reign)| {
                    let lacks =
                        |later: &Reign<N>| later.leader.is_some() && !later.log.has(&reign.log, reign.commit);
                    !rules.is_later(term) && reigns().any(|(to, later)| rules.is_later(to) && lacks(later))
                })
            }),
            Property::sometimes(SOMETIMES[9], |rules: &Self, cluster: &Cluster<N>| {
                rules.frames(cluster).any(|(at, term, index)| rules.sets_aside(cluster, at, term, index))
            }),
            Property::sometimes(SOMETIMES[10], |rules: &Self, cluster: &Cluster<N>| {
                let lost = rules.bounds.faults[3] > 0 && cluster.faults[3] == 0;
                lost && cluster.nodes.iter().all(|node| !node.blank)
            }),
            Property::sometimes(SOMETIMES[11], |rules: &Self, cluster: &Cluster<N>| {
                let blank = cluster.nodes.iter().any(|node| node.blank);
                let stands = |at: usize| {
                    let node = &cluster.nodes[at];
                    let votes = node.ballots.iter().filter(|b| b.grant > Grant::None).count();
                    node.role == Role::Candidate && votes == N - 1 && rules.wins(cluster, at).is_none()
                };
                blank && (0..N).any(stands)
            }),
        ]
    }
}
