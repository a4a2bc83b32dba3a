//! What the rules say of the nodes at hand: who could be elected, and what would be lost if an operator decided.

use super::evidence::{Evidence, Place};
use ordain_types::{Lineage, Term};
use serde::Serialize;

/// How a voter would answer a candidate (rule R3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Grant {
    Strong,
    Weak,
    No,
    /// It cannot start, or is not here.
    Absent,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Vote {
    pub node: u32,
    pub grant: Grant,
    pub why: String,
}

/// Acknowledged batches that may be lost, if one log is declared the cluster's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Loss {
    AtMost {
        batches: u64,
        bytes: u64,
    },
    /// So many voters are not here that they alone may hold what was acknowledged.
    Unbounded {
        missing: u64,
    },
}

impl Loss {
    /// As the command line names it.
    pub fn name(self) -> String {
        match self {
            Self::AtMost { batches, .. } => format!("{batches}-batches"),
            Self::Unbounded { .. } => "unknown".to_owned(),
        }
    }

    /// Whether somebody who accepts `other` accepts this.
    pub fn is_within(self, other: &str) -> bool {
        let accepted = other.strip_suffix("-batches").and_then(|number| number.parse().ok());
        match self {
            _ if other == "unknown" => true,
            Self::AtMost { batches, .. } => accepted.is_some_and(|accepted: u64| batches <= accepted),
            Self::Unbounded { .. } => false,
        }
    }
}

/// What would happen if a node asked to be elected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    pub node: u32,
    pub wins: bool,
    pub votes: Vec<Vote>,
    /// Which rule is not met, in words.
    pub unmet: Option<String>,
    pub loss: Loss,
}

/// The log that is behind no other: the best to go on with. `None` if no node can start.
pub fn best(nodes: &[Evidence]) -> Option<&Evidence> {
    let able = nodes.iter().filter(|node| node.fault.is_none());
    // Of equal logs that of the lowest number, so that everybody names the same.
    able.max_by_key(|node| (node.end, node.clean, std::cmp::Reverse(node.node)))
}

/// R3, R4 and R7 for `candidate` among those voters that are at hand.
pub fn judge(candidate: &Evidence, nodes: &[Evidence]) -> Verdict {
    let voters: Vec<u32> = candidate.members.iter().filter(|seat| seat.votes).map(|seat| seat.node).collect();
    let find = |id: u32| nodes.iter().find(|node| node.node == id);
    // R9: all are empty, so the cluster is new.
    let promised_nothing = |node: &Evidence| node.term == 0 && node.end.term == 0;
    let is_new = voters.iter().all(|id| find(*id).is_some_and(promised_nothing));
    let votes: Vec<Vote> = voters.iter().map(|id| vote(candidate, *id, find(*id), is_new)).collect();
    let n = voters.len();
    // R6: the weakest policy that anybody knows of.
    let known = || voters.iter().filter_map(|id| find(*id));
    let m = known().map(|node| node.received).min().unwrap_or(candidate.received) as usize;
    let k = known().map(|node| node.durable).min().unwrap_or(candidate.durable) as usize;
    let count = |grants: &[Grant]| votes.iter().filter(|vote| grants.contains(&vote.grant)).count();
    let (all, strong) = (count(&[Grant::Strong, Grant::Weak]), count(&[Grant::Strong]));
    let majority = n / 2 + 1;
    let own = votes.iter().any(|vote| vote.node == candidate.node && vote.grant != Grant::No);
    let wins = own && all >= majority && (strong + m > n || all + k > n);
    let unmet = (!wins).then(|| match () {
        () if !own => format!("node {} may not ask for votes: {}", candidate.node, why(&votes, candidate.node)),
        () if all < majority => {
            format!("rule R4: {all} of {n} voters would vote for node {}, a majority is {majority}", candidate.node)
        }
        () => format!(
            "rule R4: of {all} votes {strong} are strong; {} strong ones are needed, or {} in all: the others may have \
             acknowledged what node {} does not have",
            n - m + 1,
            if k == 0 { "no number".to_owned() } else { (n - k + 1).to_string() },
            candidate.node
        ),
    });
    let loss = loss(candidate, &voters, m, nodes);
    Verdict { node: candidate.node, wins, votes, unmet, loss }
}

fn why(votes: &[Vote], node: u32) -> &str {
    votes.iter().find(|vote| vote.node == node).map_or("it is no voter", |vote| &vote.why)
}

fn vote(candidate: &Evidence, id: u32, voter: Option<&Evidence>, is_new: bool) -> Vote {
    let answer = |grant, why: String| Vote { node: id, grant, why };
    let Some(voter) = voter else { return answer(Grant::Absent, "its data are not at hand".to_owned()) };
    if let Some(fault) = &voter.fault {
        return answer(Grant::Absent, format!("it cannot start: {fault}"));
    }
    let lineage = Lineage::of(Term(voter.term));
    if Lineage::of(Term(candidate.end.term)) < lineage {
        let why = format!("R7: it knows of lineage {lineage}, whose beginning that log does not hold");
        return answer(Grant::No, why);
    }
    if voter.end > candidate.end {
        return answer(Grant::No, format!("R3: its own log is longer, up to {}", voter.end));
    }
    if voter.blank && !is_new && !candidate.is_unopened() {
        let why = "R9: its data directory began empty, and it gives no vote before a leader finds it whole";
        return answer(Grant::No, why.to_owned());
    }
    match voter.floor.filter(|floor| candidate.end < *floor) {
        Some(floor) => answer(Grant::Weak, format!("R2, R3: it may have acknowledged up to {floor}")),
        None => answer(Grant::Strong, "that log has all that it acknowledged".to_owned()),
    }
}

/// A batch that was acknowledged was received by m voters. Those of them that are at hand told their leader so, and
/// what they told is in their logs or at or below their promise floors. What one told that began empty is not known.
fn loss(candidate: &Evidence, voters: &[u32], m: usize, nodes: &[Evidence]) -> Loss {
    let able = |id: &&u32| nodes.iter().find(|node| node.node == **id && node.fault.is_none() && !node.blank);
    let mut beyond: Vec<u64> =
        voters.iter().filter_map(|id| able(&id)).map(|node| lost(candidate, node)).collect();
    let missing = voters.len() - beyond.len();
    beyond.sort_unstable();
    // So many of those at hand received it at least.
    let Some(least) = m.checked_sub(missing).filter(|least| *least > 0) else {
        return Loss::Unbounded { missing: missing as u64 };
    };
    let batches = beyond[beyond.len() - least];
    Loss::AtMost { batches, bytes: batches.saturating_mul(candidate.batch_max) }
}

/// Batches that `node` may have acknowledged and `candidate` may lack.
fn lost(candidate: &Evidence, node: &Evidence) -> u64 {
    let (reach, end): (Place, Place) = (node.reach(), candidate.end);
    if reach <= end {
        return 0;
    }
    // Of its last term the candidate has what that term's leader had.
    let has = if reach.term == end.term { end.batch } else { candidate.shared(node) };
    reach.batch.saturating_sub(has)
}
