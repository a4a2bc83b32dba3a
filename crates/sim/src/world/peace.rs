//! The end of a run: nothing fails any more, everybody comes to rest, and everything is compared.

use super::members::Standing;
use super::watch::note_counts;
use super::{MILLI, World};
use crate::audit::{Snapshots, audit};
use crate::disk::Faults;
use crate::workload::Workload;

impl<W: Workload> World<W> {
    /// From now on nothing fails, and everybody finishes what they began.
    pub(super) fn make_peace(&mut self) {
        self.trace.event("peace", &[]);
        self.end_trouble();
        for node in 0..self.nodes.len() {
            match self.nodes[node].standing {
                Standing::Member => {}
                Standing::Leaving(_) => {
                    self.switch_off(node);
                    continue;
                }
                Standing::Spare | Standing::Gone => continue,
            }
            let soon = self.now + self.rng.spread(MILLI / 10, 2 * MILLI);
            let state = &mut self.nodes[node];
            if state.life.is_none() {
                state.restart_at = Some(state.restart_at.map_or(soon, |at| at.min(soon)));
            }
        }
        for client in &mut self.clients {
            client.finish();
        }
        self.stuck_since = None;
        self.name_members(&self.members());
        self.expect_service(self.members());
    }

    /// No fault is left, and none is to come.
    pub(super) fn end_trouble(&mut self) {
        self.heal_at = None;
        self.flapping = None;
        self.scheme = None;
        self.silent = false;
        self.peers.lock().heal();
        self.net.lock().heal();
        for node in &mut self.nodes {
            node.paused_until = 0;
            node.bends = false;
            node.full_until = None;
            node.store.lock().faults = Faults::default();
            if let Some((file, at, bit)) = node.damage.take()
                && node.life.is_none()
            {
                node.store.lock().flip(file, at, bit);
            }
        }
    }

    pub(super) fn is_at_rest(&self) -> bool {
        self.clients.iter().all(|client| client.is_done())
            && self.undetected().is_none()
            && !self.is_rotten()
            && !self.is_any_blank()
            && {
                let members = self.members();
                let ends = members.iter().map(|node| {
                    let node = &self.nodes[*node];
                    let life = node
                        .life
                        .as_ref()
                        .filter(|life| life.is_running() && node.stopping_until.is_none())?;
                    if node.store.lock().is_writing() {
                        return None;
                    }
                    let c = &life.shared;
                    let [written, durable, committed, applied] =
                        [&c.written, &c.durable, &c.committed, &c.applied].map(|cursor| cursor.load());
                    (written == durable && written == committed && written == applied && written > 0)
                        .then_some(written)
                });
                let ends: Option<Vec<u64>> = ends.collect();
                self.is_seated() && ends.is_some_and(|ends| ends.iter().all(|end| *end == ends[0]))
            }
    }

    /// The final checks; of nodes that could not come to rest, only what they committed and answered.
    pub(super) fn check_end(&mut self, settled: bool) {
        for node in 0..self.nodes.len() {
            self.observe(node);
            let state = &self.nodes[node];
            if let Some(life) = &state.life {
                note_counts(&self.trace, &life.registry);
            }
            if !settled || state.standing != Standing::Member {
                continue;
            }
            let applied = state.life.as_ref().map_or(0, |life| life.shared.applied.load());
            let store = state.store.lock();
            self.logs.commit(node, &store, applied);
            self.logs.compare_segments(node, &store);
        }
        let mut stored = Snapshots::new();
        for state in self.nodes.iter().filter(|_| !self.plan.corrupt_snapshots) {
            for (position, bytes) in state.store.lock().snapshots() {
                stored.entry(position).or_default().push(bytes.to_vec());
            }
        }
        let Self { plan, logs, history, rng, trace, .. } = self;
        let hashes = audit::<W>(&plan.facts, logs, &stored, settled, history, rng, trace);
        for (node, state) in self.nodes.iter().enumerate() {
            let is_member = state.standing == Standing::Member;
            let Some(life) = state.life.as_ref().filter(|_| settled && is_member) else { continue };
            let applied = life.shared.applied.load() as usize;
            let live = life.registry.value("ordain_apply_output_hash");
            if live != hashes.get(applied.wrapping_sub(1)).copied() {
                let what = format!("node {node} has output hash {live:?} at batch {applied}");
                self.trace.fail("live = replayed = restored", what);
            }
        }
    }
}
