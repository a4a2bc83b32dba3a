//! Damage at rest in what is not full yet: while a node of a cluster is down, its disk forgets something of where its log
//! ends. Of what the node knows to be synced, others have everything, and it must have that back before it takes part in
//! anything. Behind that, what is damaged cannot be told from what is torn: it costs the node its copy, and is dealt out
//! only where the policy in force survives that.

use super::World;
use super::members::Standing;
use crate::configs::copies;
use crate::disk::{Crash, SECTOR};
use crate::life::Life;
use crate::workload::Workload;
use ordain_agent::disk::FileId;
use ordain_node::journal::{NODE_STATE_LEN, NodeState, read_state};
use ordain_types::Position;

/// Damage in the segment in which what was synced ends.
#[derive(Debug)]
pub(super) struct Spot {
    segment: u64,
    /// The segment's bytes as far as they were known to be synced.
    was: Vec<u8>,
}

impl<W: Workload> World<W> {
    /// A node goes down, and when it comes back its disk has forgotten something.
    pub(super) fn damage_at_rest(&mut self, node: usize, keep: u64) {
        let state = &self.nodes[node];
        let runs = state.life.as_ref().is_some_and(Life::is_running) && state.standing == Standing::Member;
        let is_sound = |node: usize| self.nodes[node].spot.is_none() && self.nodes[node].rotten.is_empty();
        if !runs || state.blank || !(0..self.nodes.len()).all(is_sound) {
            return;
        }
        let robs = self.may_lose(node) && self.memory_counts() && self.rng.one_in(2);
        let loses = self.plan.odds.power > 0 && self.may_lose_power(node) && !self.is_any_blank();
        let how = if loses && self.rng.one_in(2) { Crash::Power(keep) } else { Crash::Kill };
        self.observe(node);
        self.bring_down(node, how);
        let Some(state) = self.state_at_rest(node) else { return };
        if robs {
            self.rob(node, &state);
        } else {
            self.spoil(node, &state);
        }
    }

    /// Whether every configuration that may count asks for more received copies than synced ones: then another node has
    /// what a node's disk is robbed of, and gives no vote to who lacks it.
    fn memory_counts(&self) -> bool {
        let boards = self.boards();
        let mut known = boards.iter().flatten().chain([self.logs.settled().last().1]);
        known.all(|known| {
            let (received, durable) = copies(known, known.voter_count());
            received > durable
        })
    }

    /// What a node that is down will find about itself; `None` if its log is about to be cut or replaced.
    fn state_at_rest(&self, node: usize) -> Option<NodeState> {
        let store = self.nodes[node].store.lock();
        let state = read_state(store.written(FileId::NodeState, 0, NODE_STATE_LEN)?).ok()?;
        let replaced = store.size(FileId::Succession).is_some();
        (state.cut.is_none() && !state.blank && !replaced).then_some(state)
    }

    /// Damages the segment in which what the node knows to be synced ends, if another node has all of that.
    fn spoil(&mut self, node: usize, state: &NodeState) {
        let size = self.plan.facts.segment_size;
        let Position(end) = state.watermark.position;
        if end == 0 {
            return;
        }
        let segment = (end - 1) / size;
        let store = self.nodes[node].store.lock();
        // In front of a snapshot a start looks at nothing.
        if store.newest_snapshot() > segment * size {
            return;
        }
        let file = store.durable(FileId::Segment(segment)).expect("the watermark lies in it");
        let spot = Spot { segment, was: file[..(end - segment * size) as usize].to_vec() };
        drop(store);
        if !self.is_spot_kept(node, &spot) {
            return;
        }
        let at = self.rng.below(spot.was.len() as u64);
        let sector = at - at % SECTOR as u64;
        let (from, to) = match self.rng.below(3) {
            0 => (sector, (sector + SECTOR as u64).min(spot.was.len() as u64)),
            _ => (at, at + 1),
        };
        let bits = if to - from == 1 { 1 << self.rng.below(8) } else { 0xA5 };
        let mut store = self.nodes[node].store.lock();
        (from..to).for_each(|at| store.flip(FileId::Segment(segment), at, bits));
        drop(store);
        self.trace.event("damage at rest", &[node as u64, segment, from, to]);
        self.trace.mark("open segment damaged");
        self.nodes[node].spot = Some(spot);
    }

    /// Damages a batch that the node has and does not know to be synced.
    fn rob(&mut self, node: usize, state: &NodeState) {
        let size = self.plan.facts.segment_size;
        let (known, synced) = self.logs.known(node);
        let first = state.watermark.index.0 + 1;
        if known < first {
            return;
        }
        let index = self.rng.range(first, known);
        let (from, to) = (self.logs.end_of(node, index - 1), self.logs.end_of(node, index));
        let (at, bits) = (self.rng.range(from, to - 1), 1 << self.rng.below(8));
        let mut store = self.nodes[node].store.lock();
        if store.newest_snapshot() > from {
            return;
        }
        store.flip(FileId::Segment(at / size), at % size, bits);
        drop(store);
        self.trace.event("damage at rest", &[node as u64, at / size, at % size, index]);
        self.trace.mark(if index <= synced { "synced batch robbed" } else { "received batch robbed" });
        self.logs.rob(node, index - 1);
        self.nodes[node].robbed = true;
    }

    /// Whether another node has on its disk what was damaged.
    fn is_spot_kept(&self, node: usize, spot: &Spot) -> bool {
        (0..self.nodes.len()).any(|other| {
            let state = &self.nodes[other];
            other != node
                && state.standing == Standing::Member
                && !state.blank
                && !state.rotten.contains(&spot.segment)
                && self.has(other, spot)
        })
    }

    fn has(&self, node: usize, spot: &Spot) -> bool {
        let store = self.nodes[node].store.lock();
        store.durable(FileId::Segment(spot.segment)).is_some_and(|file| file.starts_with(&spot.was))
    }

    /// A node takes part again. What its disk forgot it must have back.
    pub(super) fn check_spot(&mut self, node: usize) {
        self.check_mended(node);
        let Some(spot) = self.nodes[node].spot.take() else { return };
        if self.has(node, &spot) {
            return self.trace.mark("open segment mended");
        }
        let what =
            format!("node {node} started although segment {} lacks what was synced there", spot.segment);
        self.trace.fail("damage at rest is reported", what);
    }

    /// Whether a segment that got its name anew is the one that was damaged at rest, and is what it was as far as that
    /// was synced.
    pub(super) fn is_spot_mended(&self, node: usize, segment: u64) -> bool {
        self.nodes[node].spot.as_ref().is_some_and(|spot| spot.segment == segment && self.has(node, spot))
    }

    /// Where nobody has what was there any more, an operator restores it.
    pub(super) fn note_spots(&mut self) {
        for node in 0..self.nodes.len() {
            if self.nodes[node].spot.as_ref().is_some_and(|spot| !self.is_spot_kept(node, spot)) {
                self.trace.mark("damage at rest beyond help");
                self.restore_spot(node);
            }
        }
    }

    /// An operator stops the node, if it is trying to start, and puts back what its disk forgot.
    pub(super) fn restore_spot(&mut self, node: usize) {
        if let Some(spot) = self.nodes[node].spot.take() {
            self.bring_down(node, Crash::Kill);
            let mut store = self.nodes[node].store.lock();
            store.restore(FileId::Segment(spot.segment), &spot.was);
            // What the node may have mended meanwhile is the operator's now.
            store.mended.retain(|segment| *segment != spot.segment);
        }
    }
}
