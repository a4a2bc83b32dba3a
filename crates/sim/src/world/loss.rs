//! Lost disks: a node comes back with nothing but its key and its configuration (rule R9). Never so many at once that
//! the policy in force does not survive it, so that each datum is kept somewhere and somebody can be elected.

use super::World;
use super::members::Standing;
use crate::configs::copies;
use crate::disk::Crash;
use crate::life::Life;
use crate::plan::member;
use crate::workload::Workload;
use ordain_agent::disk::FileId;
use ordain_consensus::{Body, Message};
use ordain_node::journal::Floor;

impl<W: Workload> World<W> {
    /// Whether a member's disk was lost, or something on it that the node cannot know of, and that is not made up for.
    pub(super) fn is_any_blank(&self) -> bool {
        self.members().into_iter().any(|node| self.nodes[node].blank || self.nodes[node].robbed)
    }

    /// Whether the cluster survives it if this node loses something now, whoever else may be about to.
    pub(super) fn may_lose(&self, node: usize) -> bool {
        let is_impaired = |other: &usize| {
            let state = &self.nodes[*other];
            let faults = state.store.lock().faults;
            state.blank
                || !state.life.as_ref().is_some_and(Life::is_running)
                || self.owes_floor(*other)
                || faults.syncs + faults.writes + faults.creates > 0
        };
        let voters = self.voters();
        let impaired = voters.iter().filter(|other| **other != node && is_impaired(other)).count();
        let boards = self.boards();
        let known = boards.iter().flatten().chain([self.logs.settled().last().1]);
        let received = known.map(|known| copies(known, known.voter_count()).0).min().unwrap_or(0);
        let lost = impaired + 1;
        // Some copy is left of what was acknowledged, and a majority to elect somebody. Two voters are one.
        lost < received as usize && 2 * (voters.len() - lost.min(voters.len())) > voters.len()
    }

    /// A member that has a disk loses it, if the others survive that.
    pub(super) fn strike_disk(&mut self, node: usize) {
        let state = &self.nodes[node];
        let has_run = state.store.lock().durable(FileId::NodeState).is_some();
        if state.standing == Standing::Member && has_run && self.may_lose(node) {
            self.lose_disk(node);
        }
    }

    /// The node goes down, and what it starts with next is an empty data directory.
    pub(super) fn lose_disk(&mut self, node: usize) {
        self.trace.event("disk lost", &[node as u64]);
        let leads = self.leader() == Some(node);
        self.trace.mark(if leads { "disk of a leader lost" } else { "disk of a follower lost" });
        self.observe(node);
        // The machine may run on, and with it what its operating system remembers of the journal.
        let how = self.rng.pick(&[Crash::Kill, Crash::Power(0)]);
        self.bring_down(node, how);
        let last = self.logs.settled().last().1.clone();
        let state = &mut self.nodes[node];
        let mut store = state.store.lock();
        state.lost_snapshot = store.newest_snapshot();
        store.wipe();
        drop(store);
        // Its operator names who is a member now: those that it was made with may all be gone.
        let others = last.members.iter().map(|seat| seat.member.id.0).filter(|id| *id as usize != node);
        state.contacts = others.map(member).collect();
        state.blank = true;
        (state.promised, state.owed_floor) = (Floor::default(), Floor::default());
        (state.owes_promises, state.evidence) = (false, false);
        (state.damage, state.oldest) = (None, 0);
        state.rotten.clear();
        (state.spot, state.robbed) = (None, false);
        self.logs.lose(node);
    }

    /// A node whose disk was lost may say that it is whole, when it has back what it had.
    pub(super) fn note_whole(&mut self, node: usize) {
        if !self.nodes[node].blank || self.stored_state(node).is_none_or(|state| state.blank) {
            return;
        }
        self.nodes[node].blank = false;
        self.trace.event("whole again", &[node as u64]);
        self.trace.mark("lost disk made up for");
        self.logs.whole_again(node, &self.nodes[node].store.lock());
    }

    /// Until then it votes for nobody.
    pub(super) fn check_blank(&self, from: usize, message: &Message) {
        let votes = matches!(message.body, Body::Vote { .. } | Body::VoteReply { grant: Some(_), .. });
        if votes && self.nodes[from].blank {
            let what = format!("node {from} lost its disk, is not whole and sends {message:?}");
            self.trace.fail("who lost its disk votes for nobody", what);
        }
    }
}
