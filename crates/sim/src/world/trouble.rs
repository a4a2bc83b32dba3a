//! What goes wrong, and when.

use super::watch::note_counts;
use super::{MILLI, Node, STANDS_STILL, World};
use crate::disk::Crash;
use crate::life::{Life, Site};
use crate::partition::Partition;
use crate::scheme::{Act, Scheme, View};
use crate::workload::Workload;
use ordain_agent::disk::FileId;
use ordain_agent::shared::Holder;

/// Another fault comes after this long though nothing was finished since the last.
const STALL: u64 = 500 * MILLI;

/// A partition that comes and goes.
#[derive(Clone, Debug)]
pub(super) struct Flapping {
    partition: Partition,
    is_on: bool,
    /// When it changes.
    pub(super) next: u64,
    /// Longest time between two changes.
    most: u64,
}

impl<W: Workload> World<W> {
    pub(super) fn let_time_act(&mut self, trouble: bool) {
        let now = self.now;
        for node in &self.nodes {
            node.store.lock().advance(now);
        }
        self.net.lock().advance(now);
        self.peers.lock().advance(now);
        if self.heal_at.is_some_and(|at| at <= now) {
            self.heal_at = None;
            self.flapping = None;
            self.peers.lock().heal();
        }
        self.flap();
        self.seat();
        for node in 0..self.nodes.len() {
            let state = &mut self.nodes[node];
            if state.restart_at.is_some_and(|at| at <= now) {
                state.restart_at = None;
                self.start(node);
            }
            let state = &mut self.nodes[node];
            if state.paused_until <= now
                && let Some(drift) = state.suspended.take()
            {
                state.clock.set_drift(now, drift);
            }
            if state.full_until.is_some_and(|until| until <= now) {
                state.full_until = None;
                state.store.lock().faults.full = false;
            }
            if let Some(until) = state.stopping_until {
                let closed = state.life.as_ref().is_none_or(Life::is_closed);
                if closed {
                    self.trace.mark("graceful stop");
                }
                if closed || until <= now {
                    self.bring_down(node, Crash::Kill);
                }
            }
        }
        if trouble {
            self.go_on_scheming();
        }
        if trouble && self.next_fault <= now && self.is_diverging() {
            self.next_fault = now + 10 * MILLI;
        }
        if trouble && self.next_fault <= now {
            self.next_fault = now + self.rng.spread(self.plan.calm.0, self.plan.calm.1);
            // Faults keep pace with the work, so that a run is neither all trouble nor all calm.
            if self.history.finished * self.plan.faults >= self.faults * self.plan.operations
                || now > self.last_fault + STALL
            {
                self.last_fault = now;
                self.strike();
            }
        } else if !trouble {
            self.next_fault = u64::MAX;
        }
    }

    pub(super) fn start(&mut self, node: usize) {
        let state = &mut self.nodes[node];
        self.trace.event("start", &[node as u64, state.os_boot]);
        // What was installed meanwhile.
        if state.build < u16::MAX && self.rng.one_in(2) {
            state.build = u16::MAX;
        }
        self.logs.builds[node] = state.build;
        state.fresh = true;
        state.idle = 0;
        state.stint = 0;
        state.owed = false;
        state.seen = (0, 0);
        let site = Site {
            node,
            plan: &self.plan,
            trace: &self.trace,
            store: &state.store,
            net: &self.net,
            peers: &self.peers,
            os_boot: state.os_boot,
            build: state.build,
            seed: self.rng.bits(),
            contacts: &state.contacts,
        };
        state.life = Some(Life::new::<W>(&site));
    }

    pub(super) fn bring_down(&mut self, node: usize, how: Crash) {
        let state = &mut self.nodes[node];
        let Some(life) = state.life.take() else { return };
        let power = matches!(how, Crash::Power(_));
        if life.is_running() {
            let owes = life.owes_floor();
            state.owed_floor = life.floor.filter(|_| owes).unwrap_or_default();
        }
        let watermark = life.shared.watermark.load();
        self.trace.event("down", &[node as u64, u64::from(power)]);
        let mut lost = power;
        let silent = power && self.rng.one_in(2);
        {
            let mut store = state.store.lock();
            self.logs.note_durable(node, &store);
            if life.shared.cut.asked(Holder::Journal).is_some()
                && let Some(keep) = state.cutting
            {
                self.logs.cut(node, keep);
            }
            lost |= store.crash(how);
        }
        if lost {
            self.logs.lost_power(node);
            // What a stop in good order closed is on the disk.
            state.owes_promises |= power && life.shared.journal_closed.load() == 0;
        }
        state.os_boot += u64::from(power);
        state.cutting = None;
        state.stopping_until = None;
        (state.bends, state.bent) = (false, None);
        state.evidence = state.store.lock().size(FileId::Diverged).is_some();
        state.paused_until = 0;
        self.net.lock().node_down(node, silent);
        self.peers.lock().node_down(node, silent);
        let (low, high) = self.plan.trouble;
        state.restart_at = Some(self.now + self.rng.spread(low, high));
        if self.plan.corrupt_snapshots && self.rng.one_in(2) {
            state.store.lock().corrupt_snapshot();
        }
        note_counts(&self.trace, &life.registry);
        if self.plan.corrupt && state.damage.is_none() && self.rng.one_in(2) {
            let mut store = state.store.lock();
            // What was synced after the stored watermark cannot always be told from a torn tail (ADR 3).
            let end = self.logs.end_of(node, watermark);
            state.damage = store.corrupt(self.plan.facts.segment_size, end);
            if let Some((_, at, _)) = state.damage {
                self.trace.event("corrupt", &[node as u64, at]);
            }
        }
    }

    /// Of those that think they lead, the one with the highest term.
    pub(super) fn leader(&self) -> Option<usize> {
        let leads = |node: &Node| node.life.as_ref().is_some_and(|life| life.shared.leads());
        let leaders = (0..self.nodes.len()).filter(|node| leads(&self.nodes[*node]));
        leaders.max_by_key(|node| self.metric(*node, "ordain_term"))
    }

    /// One fault.
    pub(super) fn strike(&mut self) {
        let odds = self.plan.odds;
        let table = [
            (odds.kill, Fault::Kill),
            (odds.power, Fault::Power),
            (odds.blackout, Fault::Blackout),
            (odds.stop, Fault::Stop),
            (odds.pause, Fault::Pause),
            (odds.disk, Fault::Disk),
            (odds.full, Fault::Full),
            (odds.reset, Fault::Reset),
            (odds.partition, Fault::Partition),
            (odds.link, Fault::Link),
            (odds.clock, Fault::Clock),
            (odds.leader, Fault::Leader),
            (odds.stall, Fault::Stall),
            (odds.scheme, Fault::Scheme),
            (odds.damage, Fault::Damage),
            (odds.bend, Fault::Bend),
            (odds.rot, Fault::Rot),
            (odds.rest, Fault::Rest),
            (odds.loss, Fault::Loss),
        ];
        let mut at = self.rng.below(table.iter().map(|(odds, _)| odds).sum());
        let fault = table
            .iter()
            .find_map(|(odds, fault)| {
                let hit = at < *odds;
                at = at.wrapping_sub(*odds);
                hit.then_some(*fault)
            })
            .expect("the odds add up");
        let node = self.somebody();
        self.faults += 1;
        self.trace.event(fault.name(), &[node as u64]);
        self.trace.mark(fault.name());
        self.inflict(fault, node);
    }

    pub(super) fn inflict(&mut self, fault: Fault, node: usize) {
        let (low, high) = self.plan.trouble;
        let until = self.now + self.rng.spread(low, high);
        let keep = self.rng.pick(&[0, 50, 50, 90, 100]);
        let fault = match fault {
            Fault::Power if !self.may_lose_power(node) => Fault::Kill,
            // One loss at a time, until it is made up for.
            Fault::Power | Fault::Disk if self.is_any_blank() && !self.may_lose(node) => Fault::Kill,
            Fault::Blackout if self.is_any_blank() => Fault::Kill,
            fault => fault,
        };
        match fault {
            Fault::Kill => self.bring_down(node, Crash::Kill),
            Fault::Power => self.bring_down(node, Crash::Power(keep)),
            Fault::Blackout => {
                (0..self.nodes.len()).for_each(|node| self.bring_down(node, Crash::Power(keep)))
            }
            Fault::Stop => {
                if let Some(life) = &self.nodes[node].life {
                    life.shared.stop();
                    self.nodes[node].stopping_until = Some(self.now + 200 * MILLI);
                }
            }
            Fault::Pause => {
                let state = &mut self.nodes[node];
                state.paused_until = until;
                // A process that is not scheduled, or a machine that sleeps.
                if self.rng.one_in(3) {
                    self.suspend(node);
                }
            }
            Fault::Disk => {
                let mut store = self.nodes[node].store.lock();
                match self.rng.below(3) {
                    0 => store.faults.syncs = 1,
                    1 => store.faults.writes = 1,
                    _ => store.faults.creates = 1,
                }
            }
            Fault::Full => {
                self.nodes[node].store.lock().faults.full = true;
                self.nodes[node].full_until = Some(until);
            }
            Fault::Stall => self.nodes[node].store.lock().faults.stalled_until = until,
            Fault::Scheme => {
                if let Some(leader) = self.leader().filter(|_| self.scheme.is_none()) {
                    let (nodes, sleepers) = (self.nodes.len(), self.plan.sleepers);
                    self.scheme = Some(Scheme::draw(&mut self.rng, self.now, leader, nodes, sleepers));
                }
            }
            Fault::Bend => self.bend(node),
            Fault::Rot => self.rot(node),
            Fault::Rest => self.damage_at_rest(node, keep),
            Fault::Loss => self.strike_disk(node),
            Fault::Reset => self.net.lock().reset_one(),
            Fault::Partition => {
                let partition = Partition::draw(&mut self.rng, node, self.nodes.len());
                self.trace.mark(partition.mark);
                if self.rng.one_in(4) {
                    self.trace.mark("partition: flapping");
                    let most = self.rng.pick(&[MILLI, 10 * MILLI, 2 * self.plan.election_timeout.0]);
                    self.flapping = Some(Flapping { partition, is_on: false, next: self.now, most });
                } else {
                    self.block(&partition);
                }
                self.heal_at = Some(until.max(self.heal_at.unwrap_or(0)));
            }
            Fault::Link => {
                let other =
                    (node + self.rng.range(1, self.nodes.len() as u64 - 1) as usize) % self.nodes.len();
                self.peers.lock().cut(node, other);
            }
            Fault::Damage => self.peers.lock().damage_next(node),
            Fault::Clock => self.disturb_clocks(node),
            Fault::Leader => {
                let Some(leader) = self.leader() else { return };
                let fault = self.rng.pick(&[Fault::Kill, Fault::Power, Fault::Partition, Fault::Pause]);
                let fault =
                    if fault == Fault::Power && self.plan.odds.power == 0 { Fault::Kill } else { fault };
                self.inflict(fault, leader);
            }
        }
    }

    /// The clock of a node that is paused does not know it.
    pub(super) fn suspend(&mut self, node: usize) {
        let state = &mut self.nodes[node];
        if state.suspended.is_none() {
            self.trace.mark("machine suspended");
            state.suspended = Some(state.clock.drift);
            state.clock.set_drift(self.now, STANDS_STILL);
        }
    }

    /// Steps or drifts of one clock or of all of them.
    fn disturb_clocks(&mut self, node: usize) {
        let all = self.rng.one_in(4);
        let reach = if self.rng.one_in(8) { 60 * 1_000 * MILLI } else { 200 * MILLI };
        let drifts = self.rng.one_in(3);
        for node in (0..self.nodes.len()).filter(|other| all || *other == node) {
            let state = &mut self.nodes[node];
            if drifts && state.suspended.is_none() {
                let drift = self.rng.range(0, 2 * self.plan.drift) as i64 - self.plan.drift as i64;
                state.clock.set_drift(self.now, drift);
            } else {
                state.clock.offset += self.rng.range(0, 2 * reach) as i64 - reach as i64;
            }
        }
        self.trace.mark(match (all, drifts) {
            (_, true) => "clock drifts",
            (true, _) => "all clocks step",
            _ => "clock steps",
        });
    }

    fn block(&self, partition: &Partition) {
        let mut peers = self.peers.lock();
        partition.blocked.iter().for_each(|(from, to)| peers.block(*from, *to));
    }

    /// A partition that comes and goes does so.
    fn flap(&mut self) {
        let Some(mut flapping) = self.flapping.take() else { return };
        if flapping.next <= self.now {
            flapping.is_on = !flapping.is_on;
            flapping.next = self.now + self.rng.spread(MILLI / 10, flapping.most);
            match flapping.is_on {
                true => self.block(&flapping.partition),
                false => self.peers.lock().heal(),
            }
        }
        self.flapping = Some(flapping);
    }

    /// With no copy on disk, a node that lost power may not vote before it has caught up; when too many do
    /// at once, nobody is elected.
    pub(super) fn may_lose_power(&self, node: usize) -> bool {
        let others_whole = || {
            self.members().into_iter().filter(|other| *other != node).all(|other| {
                let runs = self.nodes[other].life.as_ref().is_some_and(Life::is_running);
                runs && !self.owes_floor(other) && !self.nodes[other].blank
            })
        };
        self.plan.reckless || self.plan.facts.policy.durable > 0 || others_whole()
    }

    /// The next steps of the scheme under way.
    fn go_on_scheming(&mut self) {
        let Some(mut scheme) = self.scheme.take() else { return };
        let lives = || self.nodes.iter().map(|node| node.life.as_ref());
        let running: Vec<_> = lives().map(|life| life.is_some_and(Life::is_running)).collect();
        let leads: Vec<_> = lives().map(|life| life.is_some_and(|life| life.shared.leads())).collect();
        let view = View { now: self.now, running: &running, leads: &leads };
        let Some(acts) = scheme.next(view, &mut self.rng) else { return self.peers.lock().heal() };
        self.scheme = Some(scheme);
        for act in acts {
            self.trace.say(|| format!("scheme: {act:?}"));
            match act {
                Act::Isolate(node, noticed) => self.peers.lock().isolate(node, noticed),
                Act::Heal => self.peers.lock().heal(),
                Act::Power(node) => {
                    self.inflict(Fault::Power, node);
                    let soon = self.now + self.rng.spread(100_000, 5 * MILLI);
                    self.nodes[node].restart_at = self.nodes[node].restart_at.map(|at| at.min(soon));
                }
                Act::Suspend(node, length) => {
                    self.nodes[node].paused_until = self.now + length;
                    self.suspend(node);
                }
                Act::Stall(node, until) => self.nodes[node].store.lock().faults.stalled_until = until,
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Kill,
    Power,
    Blackout,
    Stop,
    Pause,
    Disk,
    Full,
    Reset,
    Partition,
    Link,
    Clock,
    Leader,
    Stall,
    Scheme,
    Damage,
    Bend,
    Rot,
    Rest,
    Loss,
}

impl Fault {
    const fn name(self) -> &'static str {
        match self {
            Self::Kill => "fault: kill",
            Self::Power => "fault: power loss",
            Self::Blackout => "fault: power loss everywhere",
            Self::Stop => "fault: stop",
            Self::Pause => "fault: pause",
            Self::Disk => "fault: disk error",
            Self::Full => "fault: disk full",
            Self::Reset => "fault: connection reset",
            Self::Partition => "fault: partition",
            Self::Link => "fault: link cut",
            Self::Clock => "fault: clock",
            Self::Leader => "fault: at the leader",
            Self::Stall => "fault: disk stalls",
            Self::Scheme => "fault: scheme",
            Self::Damage => "fault: frame damaged",
            Self::Bend => "fault: bent reply",
            Self::Rot => "fault: rot",
            Self::Rest => "fault: damage at rest",
            Self::Loss => "fault: disk lost",
        }
    }
}
