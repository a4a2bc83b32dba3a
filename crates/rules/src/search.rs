//! Searches, and counterexamples that can be read.

use crate::cluster::{Change, Cluster, Node, Role};
use crate::model::{ALWAYS, Action, Rules};
use stateright::{Checker, HasDiscoveries, Model};
use std::fmt::Write;

/// What a search found.
#[derive(Debug)]
pub struct Report {
    /// Different states, up to the nodes' names.
    pub states: usize,
    /// Steps to the farthest.
    pub depth: usize,
    /// Which of [`crate::model::SOMETIMES`] were met.
    pub met: Vec<&'static str>,
    /// What was broken, and how.
    pub broken: Option<(&'static str, String)>,
}

/// Visits every state within bounds, breadth first, or stops soon after something is broken.
#[must_use]
pub fn search<const N: usize>(rules: &Rules<N>, threads: usize) -> Report {
    let checker = rules.clone().checker().threads(threads).finish_when(HasDiscoveries::AnyFailures);
    let checker = checker.spawn_bfs().join();
    let mut discoveries: Vec<_> = checker.discoveries().into_iter().collect();
    discoveries.sort_unstable_by_key(|(name, _)| *name);
    let broken = discoveries.iter().filter(|(name, _)| ALWAYS.contains(name));
    let broken =
        broken.map(|(name, path)| (*name, path.clone().into_actions())).min_by_key(|(_, path)| path.len());
    Report {
        states: checker.unique_state_count(),
        depth: checker.max_depth() - 1,
        met: discoveries.iter().map(|(name, _)| *name).filter(|name| !ALWAYS.contains(name)).collect(),
        broken: broken.map(|(name, actions)| (name, trace(rules, &actions))),
    }
}

/// The steps up to the first state that breaks something, and the nodes that each changed. Nodes keep their names, A, B and so on, although states do not.
///
/// # Panics
/// If the actions do not follow from each other.
#[must_use]
pub fn trace<const N: usize>(rules: &Rules<N>, actions: &[Action]) -> String {
    let (mut cluster, mut names) = rules.start().canonical();
    let mut text = String::new();
    for action in actions {
        let raw = rules.apply(&cluster, *action).expect("the action was possible");
        let said = describe(*action, &|node| letter(names[usize::from(node)]));
        writeln!(text, "{said}").expect("a string takes everything");
        let shown = |cluster: &Cluster<N>, at: usize| {
            let node = &cluster.nodes[at];
            let leads = node.role == Role::Leader;
            show(node, if leads { cluster.reign(node.term).commit } else { 0 })
        };
        for (at, &name) in names.iter().enumerate() {
            if shown(&raw, at) != shown(&cluster, at) {
                writeln!(text, "    {}: {}", letter(name), shown(&raw, at))
                    .expect("a string takes everything");
            }
        }
        let (next, order) = raw.canonical();
        names = std::array::from_fn(|i| names[usize::from(order[i])]);
        cluster = next;
        if !rules.holds(&cluster) {
            break;
        }
    }
    text
}

fn letter(name: u8) -> char {
    char::from(b'A' + name)
}

fn describe(action: Action, name: &dyn Fn(u8) -> char) -> String {
    match action {
        Action::Campaign { node, term } => format!("{} asks for votes in term {term}", name(node)),
        Action::Vote { node, candidate } => format!("{} votes for {}", name(node), name(candidate)),
        Action::Win { node } => format!("{} wins", name(node)),
        Action::Seal { node, change } => {
            let what = match change {
                Change::None => "a batch".to_owned(),
                Change::Policy(policy) => format!("a switch to policy {policy}"),
                Change::Voters(set) => {
                    let mut voters: Vec<char> = (0..8).filter(|j| set >> j & 1 == 1).map(name).collect();
                    voters.sort_unstable();
                    format!("a change of voters to {}", voters.iter().collect::<String>())
                }
            };
            format!("{} seals {what}", name(node))
        }
        Action::Hello { node, term } => format!("the leader of term {term} hears of {}'s life", name(node)),
        Action::Append { node, term, index: 0 } => {
            format!("{} takes an empty frame of term {term}", name(node))
        }
        Action::Append { node, term, index } => {
            format!("{} takes batch {index} from term {term}", name(node))
        }
        Action::Write { node } => format!("{} writes a batch", name(node)),
        Action::Sync { node } => format!("{} syncs a batch", name(node)),
        Action::Watermark { node } => format!("{} stores its watermark", name(node)),
        Action::Kill { node } => format!("{}'s process ends and starts again", name(node)),
        Action::DiskLoss { node } => format!("{} starts again with an empty disk", name(node)),
        Action::Admit { node, term } => {
            format!("all others have confirmed term {term} since its leader heard of {}'s life", name(node))
        }
        Action::Force { node } => format!("an operator declares a loss on {}", name(node)),
        Action::Hear { node } => format!("{} hears of the second lineage", name(node)),
        Action::PowerLoss { node, keep, torn } => {
            let torn = if torn { " and cuts what is torn behind them" } else { "" };
            format!("{}'s power fails; it finds {keep} batches{torn}", name(node))
        }
    }
}

/// Batches by their terms: `|` stands behind the synced ones, `:` behind the written ones.
fn show<const N: usize>(node: &Node<N>, commit: u8) -> String {
    let mut log = String::new();
    for index in 0..=node.log.len() {
        if let Some(batch) = node.log.get(index) {
            log += &batch.term().to_string();
            match batch.change() {
                Change::None => log.push(' '),
                Change::Policy(policy) => log += &format!("p{policy} "),
                Change::Voters(_) => log += "v ",
            }
        }
        if index == node.durable {
            log.push('|');
        }
        if index == node.written && index < node.log.len() {
            log.push(':');
        }
    }
    let mut text = format!("term {} {:?} log {}", node.term, node.role, log.trim_end());
    if node.floor != (0, 0) {
        text += &format!(" owes {:?}", node.floor);
    }
    if node.suspect {
        text += " suspect";
    }
    if node.blank {
        text += " blank";
    }
    if commit > 0 {
        text += &format!(" committed {commit}");
    }
    text
}
