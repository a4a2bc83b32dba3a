//! Power is lost everywhere, and an operator declares a loss (rule R7): what was not kept is no finding any more, but
//! whoever holds an acknowledgement of it must be told, and within the new lineage everything holds as before.

use super::{MILLI, World};
use crate::client::Client;
use crate::disk::Crash;
use crate::workload::Workload;
use core::task::Poll;
use ordain_node::journal::{Declaration, Floor, Force, OsBoot, Recovered, Recovery};
use ordain_types::lineage::{LineageBreak, UNBOUNDED};
use ordain_types::{BatchIndex, Lineage, Nanos, NodeId, Term};

/// Requests that new clients finish in the new lineage.
const OPERATIONS: u64 = 60;

impl<W: Workload> World<W> {
    pub(super) fn declare_loss(&mut self) {
        self.trace.event("declare", &[]);
        self.trace.mark("loss declared");
        self.end_trouble();
        for node in 0..self.nodes.len() {
            self.observe(node);
            let keep = self.rng.pick(&[0, 0, 50]);
            self.bring_down(node, Crash::Power(keep));
            self.nodes[node].restart_at = None;
        }
        // The best log, or one that an operator took who did not look at the others.
        let found: Vec<Recovered> = (0..self.nodes.len()).map(|node| self.recover(node)).collect();
        let end = |node: &usize| (found[*node].end.term, found[*node].end.index);
        let best = (0..found.len()).max_by_key(end).expect("a cluster has nodes");
        let chosen = if self.rng.one_in(3) { self.rng.below(found.len() as u64) as usize } else { best };
        let seen = found.iter().map(|found| found.state.lineage()).max().unwrap_or(Lineage::FIRST);
        if self.rng.one_in(3) {
            // The first attempt is interrupted.
            let steps = self.rng.range(1, 40);
            let recovered = self.recover(chosen);
            self.force(chosen, &recovered, seen, Some(steps));
            self.nodes[chosen].store.lock().crash(Crash::Power(50));
        }
        let recovered = self.recover(chosen);
        let end = self.force(chosen, &recovered, seen, None);
        let store = self.nodes[chosen].store.lock();
        let last_seq = self.logs.declare(chosen, &store, end.0);
        drop(store);
        // What it acknowledged is in its log, or was just declared lost.
        (self.nodes[chosen].promised, self.nodes[chosen].owed_floor) = Default::default();
        self.history.declare(last_seq);
        self.partial.clear();
        self.replace_clients();
        for node in 0..self.nodes.len() {
            self.nodes[node].restart_at = Some(self.now + self.rng.spread(MILLI / 10, 5 * MILLI));
        }
        self.live_on(chosen);
    }

    /// Recovers a node's journal as a tool does, and stops there.
    fn recover(&mut self, node: usize) -> Recovered {
        let mut recovery = Recovery::new(&self.plan.facts, OsBoot::default(), self.nodes[node].store.lane(2));
        let recovered = self.drive(node, u64::MAX, || recovery.step());
        self.nodes[node].store.lock().crash(Crash::Kill);
        recovered.expect("it has the time").expect("a node without damage recovers")
    }

    fn force(&mut self, node: usize, recovered: &Recovered, seen: Lineage, steps: Option<u64>) -> BatchIndex {
        let text = LineageBreak {
            lineage: Lineage::ZERO,
            node: NodeId(node as u32),
            end: (Term::ZERO, BatchIndex::ZERO),
            batches: UNBOUNDED,
            bytes: UNBOUNDED,
            tips: Vec::new(),
        };
        let wall = self.nodes[node].clock.read(self.now).wall;
        let declaration = Declaration { text, others: Vec::new(), seen, salt: self.rng.bits(), wall };
        let lane = self.nodes[node].store.lane(2);
        let mut force = Force::new(&self.plan.facts, recovered, &declaration, lane);
        let forced = self.drive(node, steps.unwrap_or(u64::MAX), || force.step());
        forced.map_or(BatchIndex::ZERO, |forced| forced.expect("the disk works").end.index)
    }

    /// Steps what uses the disk of a node that is down; `None` if it was not done in time.
    fn drive<T>(&mut self, node: usize, steps: u64, mut step: impl FnMut() -> Poll<T>) -> Option<T> {
        for _ in 0..steps {
            if let Poll::Ready(done) = step() {
                return Some(done);
            }
            self.now += 20 * Nanos::MICRO;
            self.nodes[node].store.lock().advance(self.now);
        }
        None
    }

    /// Half of those who heard of the old lineage wait to be told; the others are replaced by newcomers.
    fn replace_clients(&mut self) {
        for client in &mut self.clients {
            client.leave(&mut self.history);
        }
        self.clients.truncate(self.plan.clients);
        for (id, client) in self.clients.iter_mut().enumerate() {
            if id % 2 == 1 || !client.expect_loss(&mut self.net.lock()) {
                *client = Box::new(Client::<W>::new(id, &self.plan, self.rng.fork(), self.trace.clone()));
            }
        }
        self.client_idle = 0;
    }

    /// Until newcomers were served and those who wait were told. The node that holds the new lineage's beginning may
    /// vanish for a while, when others have heard of it.
    fn live_on(&mut self, chosen: usize) {
        let enough = self.history.finished + OPERATIONS;
        let deadline = self.now + self.plan.patience.1;
        let mut vanishes = self.rng.one_in(2);
        let newcomers = self.clients.iter().any(|client| !client.waits_for_loss());
        let goes_on = |world: &Self| {
            newcomers && world.history.finished < enough
                || world.clients.iter().any(|client| client.waits_for_loss())
        };
        while self.trace.failure().is_none() && goes_on(self) {
            self.stuck_since = None;
            let heard = || {
                let others = (0..self.nodes.len()).filter(|node| *node != chosen);
                others
                    .filter_map(|node| self.stored_state(node))
                    .any(|state| state.lineage() > Lineage::FIRST)
            };
            if vanishes && heard() {
                vanishes = false;
                self.trace.mark("the new lineage's only holder vanished");
                self.bring_down(chosen, Crash::Kill);
                self.nodes[chosen].restart_at = Some(self.now + 500 * MILLI);
            }
            if self.now > deadline {
                let waits = self.clients.iter().any(|client| client.waits_for_loss());
                let checker =
                    if waits { "clients are told of a declared loss" } else { "progress after healing" };
                self.trace.fail(checker, self.describe());
            }
            self.step(false);
        }
    }

    /// A node found that its log goes on where, by declaration, the cluster's does not.
    pub(super) fn set_aside(&mut self, node: usize) {
        self.trace.mark("old lineage set aside");
        self.trace.event("set aside", &[node as u64]);
        self.observe(node);
        self.bring_down(node, Crash::Kill);
        self.nodes[node].store.lock().set_aside();
        // What it acknowledged is in front of the lineage's beginning, or was declared lost.
        self.nodes[node].promised = Floor::default();
        self.logs.set_aside(node);
    }
}
