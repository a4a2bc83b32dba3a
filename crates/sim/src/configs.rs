//! Which configuration is in force where, as a log says it: read from the log's bytes, and independently of the
//! consensus core (rules R1, R6 and R8 of `docs/relaxed-acks.md`).

use ordain_types::configuration::{Configuration, Stage};
use ordain_types::facts::AckPolicy;
use std::sync::Arc;

/// The configurations of one log, each with its batch; 0: the one that the cluster was made with.
#[derive(Clone, Debug)]
pub struct Configs(Vec<(u64, Arc<Configuration>)>);

impl Configs {
    /// A log without any but what the cluster was made with.
    #[must_use]
    pub fn new(first: Configuration) -> Self {
        Self(vec![(0, Arc::new(first))])
    }

    /// Batch `index` holds one.
    pub fn push(&mut self, index: u64, configuration: Configuration) {
        self.0.push((index, Arc::new(configuration)));
    }

    /// The log ends with batch `keep`.
    pub fn truncate(&mut self, keep: u64) {
        self.0.retain(|(index, _)| *index <= keep);
    }

    /// The same log up to batch `keep`.
    #[must_use]
    pub fn up_to(&self, keep: u64) -> Self {
        let mut same = self.clone();
        same.truncate(keep);
        same
    }

    /// The last one, and its batch.
    #[must_use]
    pub fn last(&self) -> (u64, &Arc<Configuration>) {
        let (index, last) = self.0.last().expect("the first one stays");
        (*index, last)
    }

    /// The last one up to batch `index`, and its batch.
    #[must_use]
    pub fn at(&self, index: u64) -> (u64, &Arc<Configuration>) {
        let behind = self.0.partition_point(|(at, _)| *at <= index);
        let (at, known) = &self.0[behind - 1];
        (*at, known)
    }

    /// The one in front of the last.
    #[must_use]
    pub fn before_last(&self) -> Option<&Arc<Configuration>> {
        self.0.iter().rev().nth(1).map(|(_, known)| known)
    }

    /// That in force at batch `index`, and all behind it.
    pub fn from(&self, index: u64) -> impl Iterator<Item = &Arc<Configuration>> {
        let (first, _) = self.at(index);
        self.0.iter().filter(move |(at, _)| *at >= first).map(|(_, known)| known)
    }

    /// The batches in `behind + 1 ..= last` that hold one.
    pub fn places(&self, behind: u64, last: u64) -> impl Iterator<Item = u64> {
        self.0.iter().map(|(at, _)| *at).filter(move |at| (behind + 1..=last).contains(at))
    }

    /// R6: W for a node whose disk has the log up to batch `durable`: the least that its disk may come to know as the
    /// last one, whatever it gets of the log before it stops.
    #[must_use]
    pub fn window(&self, durable: u64) -> u64 {
        self.from(durable).map(|known| known.unsynced_max).min().expect("one is in force")
    }

    /// Whether any of them lets a copy count that is not synced.
    #[must_use]
    pub fn counted_memory(&self) -> bool {
        self.0.iter().any(|(_, known)| known.policy.counts_memory())
    }

    /// The (received, synced) copies that batch `index` needs among `n` voters: by the last configuration in front of
    /// it; a configuration itself also those that it names.
    #[must_use]
    pub fn needed(&self, index: u64, n: u32) -> (u32, u32) {
        let (m, k) = copies(self.at(index - 1).1, n);
        match self.at(index) {
            (at, own) if at == index => {
                let (own_m, own_k) = copies(own, n);
                (m.max(own_m), k.max(own_k))
            }
            _ => (m, k),
        }
    }
}

/// (m, k) of a configuration for `n` voters.
#[must_use]
pub fn copies(configuration: &Configuration, n: u32) -> (u32, u32) {
    let majority = n / 2 + 1;
    if matches!(configuration.stage, Stage::Raised(_) | Stage::Changed) {
        return (majority, majority);
    }
    let AckPolicy { received, durable } = configuration.policy;
    (received.min(majority), durable.min(majority))
}

/// The voters of a configuration, one bit each.
#[must_use]
pub fn voters(configuration: &Configuration) -> u32 {
    configuration.voters().fold(0, |set, voter| set | 1 << voter.0)
}

/// What is wrong with `next` behind `before`, if anything: versions count up, and voters change by one, from a raised
/// policy, and are followed by one that is raised still (R8).
#[must_use]
pub fn wrong_step(before: &Configuration, next: &Configuration) -> Option<&'static str> {
    let moved = (voters(before) ^ voters(next)).count_ones();
    match () {
        () if next.version != before.version + 1 => Some("its version is not the next"),
        () if moved > 1 => Some("more than one voter comes or goes"),
        () if moved == 1 && !matches!(before.stage, Stage::Raised(_)) => {
            Some("voters change under a policy that was not raised")
        }
        () if moved == 1 && next.stage != Stage::Changed => {
            Some("voters change and the policy is lowered at once")
        }
        () => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::member;
    use ordain_types::configuration::{Change, MemberRole, VoterChange};
    use ordain_types::{ClusterFacts, ClusterId, Nanos, NodeId};

    fn three() -> Configuration {
        let facts = ClusterFacts::new(ClusterId([1; 16]), Nanos(1), 3);
        Configuration::initial(&facts, &(0..3).map(member).collect::<Vec<_>>())
    }

    fn policy(before: &Configuration, received: u32, durable: u32) -> Configuration {
        before.changed(&Change::Policy(AckPolicy { received, durable })).unwrap()
    }

    #[test]
    fn what_a_batch_needs_is_what_the_log_says_in_front_of_it() {
        let mut configs = Configs::new(three());
        configs.push(10, policy(&three(), 2, 2));
        configs.push(20, policy(&policy(&three(), 2, 2), 1, 0));
        let needed = [9, 10, 11, 20, 21].map(|index| configs.needed(index, 3));
        assert_eq!(needed, [(2, 1), (2, 2), (2, 2), (2, 2), (1, 0)]);
        configs.truncate(19);
        assert_eq!(configs.needed(21, 3), (2, 2));
    }

    #[test]
    fn a_window_counts_as_far_as_the_disk_has_it() {
        let window = |before: &Configuration, window| before.changed(&Change::UnsyncedMax(window)).unwrap();
        let (small, first) = (window(&three(), 16), three().unsynced_max);
        let mut configs = Configs::new(three());
        configs.push(10, small.clone());
        assert_eq!((configs.window(9), configs.window(10)), (16, 16));
        configs.push(20, window(&small, 64));
        assert_eq!([9, 10, 19, 20].map(|durable| configs.window(durable)), [16, 16, 16, 64]);
        assert!(first > 64);
    }

    #[test]
    fn voters_change_one_by_one_and_under_a_raised_policy() {
        let three = three();
        let learner = three.changed(&Change::AddLearner(member(3))).unwrap();
        let raised = learner.changed(&Change::Promote(NodeId(3))).unwrap();
        assert_eq!(raised.stage, Stage::Raised(VoterChange::Promote(NodeId(3))));
        let changed = raised.follow_up().unwrap();
        let settled = changed.follow_up().unwrap();
        for (before, next) in
            [(&three, &learner), (&learner, &raised), (&raised, &changed), (&changed, &settled)]
        {
            assert_eq!(wrong_step(before, next), None);
        }
        let at_once = Configuration { version: learner.version + 1, ..changed.clone() };
        assert!(wrong_step(&learner, &at_once).is_some());
        let lowered = Configuration { version: changed.version, ..settled };
        assert!(wrong_step(&raised, &lowered).is_some());
        let mut two = changed;
        two.members[0].role = MemberRole::Learner;
        assert!(wrong_step(&raised, &two).is_some());
    }
}
