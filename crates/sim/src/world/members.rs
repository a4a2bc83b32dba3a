//! Nodes that come and go: who is switched on when the log makes it a member, and off when it is none any more.

use super::{MILLI, World};
use crate::disk::Crash;
use crate::plan::member;
use crate::workload::Workload;
use ordain_types::NodeId;
use ordain_types::configuration::Stage;

/// What a machine is to the cluster, as far as is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It was never a member, and has never run.
    Spare,
    /// A member, voter or learner.
    Member,
    /// It was one. Its process goes on until then: nobody else knows that it is of no use.
    Leaving(u64),
    /// It was one, and is switched off for good.
    Gone,
}

impl<W: Workload> World<W> {
    /// Those that are members, as far as is committed.
    pub(super) fn members(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|node| self.nodes[*node].standing == Standing::Member).collect()
    }

    /// The voters, as far as is committed.
    pub(super) fn voters(&self) -> Vec<usize> {
        self.logs.settled().last().1.voters().map(|id| id.0 as usize).collect()
    }

    /// An operator names today's members to each of these nodes that can connect to none of the others: all that it knew are
    /// gone or not of these, and nobody can tell it.
    pub(super) fn name_members(&mut self, among: &[usize]) {
        let all: Vec<usize> =
            self.logs.settled().last().1.members.iter().map(|seat| seat.member.id.0 as usize).collect();
        for node in among.iter().copied().filter(|node| all.contains(node)) {
            let is_alone = {
                let peers = self.peers.lock();
                !among.iter().any(|other| *other != node && peers.know_each_other(node, *other))
            };
            if self.nodes[node].life.is_none() || among.len() < 2 || !is_alone {
                continue;
            }
            self.trace.mark("members named by an operator");
            self.bring_down(node, Crash::Kill);
            let soon = self.now + self.rng.spread(MILLI / 10, 2 * MILLI);
            let state = &mut self.nodes[node];
            state.contacts =
                all.iter().filter(|other| **other != node).map(|other| member(*other as u32)).collect();
            state.restart_at = Some(soon);
        }
    }

    /// Switches nodes on and off, by what is committed.
    pub(super) fn seat(&mut self) {
        let last = self.logs.settled().last().1.clone();
        if last.version != self.seated {
            self.seated = last.version;
            for node in 0..self.nodes.len() {
                let is_member = last.find(NodeId(node as u32)).is_some();
                match self.nodes[node].standing {
                    Standing::Spare if is_member => {
                        self.trace.event("joins", &[node as u64]);
                        let others = last.members.iter().filter(|seat| seat.member.id.0 as usize != node);
                        self.nodes[node].contacts = others.map(|seat| member(seat.member.id.0)).collect();
                        self.nodes[node].standing = Standing::Member;
                        self.nodes[node].restart_at = Some(self.now + self.rng.spread(MILLI, 50 * MILLI));
                    }
                    Standing::Member if !is_member => {
                        self.trace.event("leaves", &[node as u64]);
                        let until = self.now + self.rng.spread(MILLI, 3_000 * MILLI);
                        self.nodes[node].standing = Standing::Leaving(until);
                    }
                    _ => {}
                }
            }
        }
        for node in 0..self.nodes.len() {
            if let Standing::Leaving(until) = self.nodes[node].standing
                && until <= self.now
            {
                self.switch_off(node);
            }
        }
    }

    /// For good.
    pub(super) fn switch_off(&mut self, node: usize) {
        self.trace.event("switched off", &[node as u64]);
        self.bring_down(node, Crash::Kill);
        let state = &mut self.nodes[node];
        state.restart_at = None;
        state.standing = Standing::Gone;
        // Nobody asks any more what became of it.
        (state.damage, state.evidence) = (None, false);
        (state.spot, state.robbed) = (None, false);
    }

    /// A node says that it was removed, and stops.
    pub(super) fn removed(&mut self, node: usize, cause: &str) {
        let last = self.logs.settled().last().1.clone();
        let id = NodeId(node as u32);
        if last.find(id).is_some() || id >= last.next_id {
            let what = format!("node {node}: {cause}; the log says {last:?}");
            return self.trace.fail("no node stops without a cause", what);
        }
        self.trace.mark("removed node stops");
        self.switch_off(node);
    }

    /// Whether nothing is left to be changed: the last configuration is settled, and those that run and belong to it
    /// agree on that.
    pub(super) fn is_seated(&self) -> bool {
        let (_, last) = self.logs.settled().last();
        let agrees = |node: &usize| {
            let life = self.nodes[*node].life.as_ref();
            let board = life.and_then(|life| life.shared.board.news(&mut 0));
            board.is_none_or(|board| board == *last)
        };
        last.stage == Stage::Settled && self.members().iter().all(agrees)
    }

    /// One of those that are members or run.
    pub(super) fn somebody(&mut self) -> usize {
        let is_there = |node: &usize| {
            let state = &self.nodes[*node];
            state.standing == Standing::Member || state.life.is_some()
        };
        let there: Vec<usize> = (0..self.nodes.len()).filter(is_there).collect();
        there[self.rng.below(there.len() as u64) as usize]
    }
}
