//! Nodes that computed something else: that they stop, say where, keep the evidence, and do not start again before an
//! operator acted.

use super::{MILLI, World};
use crate::disk::Crash;
use crate::life::Life;
use crate::workload::Workload;
use ordain_agent::disk::FileId;

/// No other fault strikes for this long while a node has diverged: it is found out by then, and what it might do
/// meanwhile if it came to lead is what it must not.
const CALM: u64 = 2_000 * MILLI;

/// What came of a bent reply.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bent {
    /// The reply is of this batch or of one a little behind it.
    pub from: u64,
    /// When.
    pub at: u64,
    /// How often the state had been built anew by then.
    pub restarts: u64,
}

impl<W: Workload> World<W> {
    /// The next reply that this follower computes is bent, unless another node's was.
    pub(super) fn bend(&mut self, node: usize) {
        let members = self.members();
        let is_calm = members.iter().map(|node| &self.nodes[*node]).all(|node| {
            node.bent.is_none() && !node.bends && node.life.as_ref().is_some_and(Life::is_running)
        });
        let is_calm = is_calm && members.contains(&node);
        self.nodes[node].bends = is_calm && self.heal_at.is_none() && self.scheme.is_none();
    }

    /// Whether other faults should wait.
    pub(super) fn is_diverging(&self) -> bool {
        self.nodes.iter().any(|node| node.bent.is_some_and(|bent| self.now < bent.at + CALM))
    }

    /// A state that is built anew is sound again.
    pub(super) fn note_rebuilt(&mut self, node: usize) {
        let state = &mut self.nodes[node];
        if let Some(life) = &state.life
            && state.bent.is_some_and(|bent| bent.restarts < life.shared.restarts.load())
        {
            state.bent = None;
        }
    }

    /// Whether a node that has diverged runs and has not been found out.
    pub(super) fn undetected(&self) -> Option<usize> {
        self.nodes.iter().position(|node| node.bent.is_some())
    }

    /// Whether a node has diverged and waits for an operator, or will: of a majority with such a node nothing can be
    /// expected.
    pub(super) fn awaits_operator(&self) -> bool {
        self.nodes.iter().any(|node| node.bent.is_some() || node.evidence)
    }

    /// A node says that it has diverged.
    pub(super) fn diverged(&mut self, node: usize, stage: &str, fatal: &str) {
        let state = &mut self.nodes[node];
        if stage == "start" {
            if !core::mem::take(&mut state.evidence) {
                let what = format!("node {node}: {fatal}");
                return self.trace.fail("no node stops without a cause", what);
            }
            // The operator found the cause and removes the evidence; the disk was never wrong.
            self.trace.mark("diverged node does not start");
            state.store.lock().remove(FileId::Diverged);
            return self.bring_down(node, Crash::Kill);
        }
        let named = fatal.split("at batch ").nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok());
        let bent = state.bent.take();
        // Its replies may be in what it sent, though it is rebuilt since.
        let other = (0..self.nodes.len())
            .any(|other| self.nodes[other].was_bent && fatal.contains(&format!(" on node {other};")));
        match (bent, named) {
            (Some(bent), Some(named)) if bent.from <= named => self.trace.mark("divergence named"),
            // Of two nodes nobody knows which one is right, and the follower gives way.
            (None, Some(_)) if other && fatal.contains("no third node") => {
                self.trace.mark("sound node gives way");
                self.misled = true;
            }
            _ => {
                let what = format!("node {node}, bent {bent:?}: {fatal}");
                return self.trace.fail("no node stops without a cause", what);
            }
        }
        let store = self.nodes[node].store.clone();
        let kept = store.lock().durable(FileId::Diverged).is_some_and(|kept| {
            let kept = String::from_utf8_lossy(kept);
            !kept.is_empty() && fatal.contains(&*kept)
        });
        // A disk that takes nothing keeps no evidence. The node says so, and the operator has that.
        let refused = fatal.contains("could not be noted");
        if refused {
            self.trace.mark("divergence not noted");
        }
        if !kept && !refused {
            let what = format!("node {node} stopped with {fatal:?} and kept nothing of it");
            return self.trace.fail("evidence of a divergence is kept", what);
        }
        self.bring_down(node, Crash::Kill);
    }
}
