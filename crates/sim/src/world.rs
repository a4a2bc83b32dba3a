//! The cluster, its clients and its troubles, and the scheduler that steps them.

mod declared;
mod diverge;
mod healing;
mod loss;
mod members;
mod peace;
mod rest;
mod rot;
mod story;
mod trouble;
mod watch;

use crate::client::{Party, parties};
use crate::disk::StoreHandle;
use crate::history::History;
use crate::life::{Life, STAGES};
use crate::net::NetHandle;
use crate::peers::PeersHandle;
use crate::plan::{EPOCH, Plan};
use crate::rng::Rng;
use crate::scheme::Scheme;
use crate::shadow::Logs;
use crate::trace::Trace;
use crate::workload::Workload;
use crate::world::healing::Healing;
use crate::world::members::Standing;
use crate::world::trouble::Flapping;
use core::marker::PhantomData;
use diverge::Bent;
use ordain_agent::disk::FileId;
use ordain_agent::shared::Holder;
use ordain_node::journal::Floor;
use ordain_types::members::Member;
use ordain_types::{Nanos, Now};
use rest::Spot;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

const MILLI: u64 = Nanos::MILLI;
/// Longest jump of idle time: stages may wait for the wall clock without saying until when.
const JUMP_MAX: u64 = 2 * MILLI;

/// A node's clocks.
#[derive(Clone, Copy, Debug)]
struct Clock {
    /// Parts in a million by which it runs fast or slow; a suspended machine's stands still.
    drift: i64,
    /// Monotonic time...
    base: u64,
    /// ... at this time.
    since: u64,
    /// Wall clock against the truth, nanoseconds.
    offset: i64,
}

/// The drift of a clock that stands still.
const STANDS_STILL: i64 = -1_000_000;

impl Clock {
    fn mono(&self, now: u64) -> u64 {
        let passed = now - self.since;
        let drift = i128::from(passed) * i128::from(self.drift) / 1_000_000;
        self.base + passed.saturating_add_signed(drift as i64)
    }

    fn read(&self, now: u64) -> Now {
        Now { mono: Nanos(self.mono(now)), wall: Nanos((EPOCH + now).saturating_add_signed(self.offset)) }
    }

    /// From now on it runs like this.
    fn set_drift(&mut self, now: u64, drift: i64) {
        (self.base, self.since, self.drift) = (self.mono(now), now, drift);
    }
}

struct Node {
    standing: Standing,
    /// See [`Site::contacts`].
    contacts: Vec<Member>,
    store: StoreHandle,
    life: Option<Life>,
    clock: Clock,
    /// Lives of the operating system.
    os_boot: u64,
    /// The highest level of behaviour that the build installed has.
    build: u16,
    restart_at: Option<u64>,
    paused_until: u64,
    /// Drift of the clock once a suspended machine goes on.
    suspended: Option<i64>,
    stopping_until: Option<u64>,
    full_until: Option<u64>,
    /// Bits of stages that did nothing when last called.
    idle: u32,
    /// A cut that the journal was asked for and has not answered.
    cutting: Option<u64>,
    fresh: bool,
    stint: u64,
    /// It lost power, and not after a stop in good order, since it last recovered.
    owes_promises: bool,
    /// The furthest that it ever acknowledged to a leader, and that leader's term.
    promised: Floor,
    /// It may lack what it acknowledged, by its own account.
    owed: bool,
    /// Its disk was lost, and it has not said since that it is whole.
    blank: bool,
    /// Position of the newest snapshot on the disk that was lost.
    lost_snapshot: u64,
    /// Term in which it leads, or led last.
    term: u64,
    seen: (u64, u64),
    /// Where its oldest segment began when last looked at.
    oldest: u64,
    /// The promise floor that its last life owed.
    owed_floor: Floor,
    /// A bit that was flipped and is to be flipped back if the node notices.
    damage: Option<(FileId, u64, u8)>,
    /// Segments that are not what was written.
    rotten: BTreeSet<u64>,
    /// Damage that it must find and mend when it starts.
    spot: Option<Spot>,
    /// Its disk forgot what it cannot know to have had, and it has not caught up since.
    robbed: bool,
    /// The next reply that it computes as a follower is bent.
    bends: bool,
    /// Its life has computed something else.
    bent: Option<Bent>,
    was_bent: bool,
    /// It must not start: it was found to have diverged.
    evidence: bool,
}

/// See the module.
pub struct World<W: Workload> {
    plan: Plan,
    trace: Trace,
    rng: Rng,
    now: u64,
    steps: u64,
    nodes: Vec<Node>,
    net: NetHandle,
    peers: PeersHandle,
    clients: Vec<Box<dyn Party>>,
    client_idle: u64,
    /// Clients do nothing for now, operators apart.
    silent: bool,
    history: History,
    logs: Logs,
    /// Who voted for whom in which term.
    votes: BTreeMap<(usize, u64), usize>,
    /// What nodes sent on each connection and is not a whole frame yet.
    partial: BTreeMap<u64, Vec<u8>>,
    faults: u64,
    next_fault: u64,
    last_fault: u64,
    heal_at: Option<u64>,
    flapping: Option<Flapping>,
    healing: Option<Healing>,
    /// A healed core that commits.
    core: Option<Vec<usize>>,
    /// The longest time that a healed cluster, or a healed core of it, took to commit again.
    longest_outage: u64,
    /// A node that had diverged came to lead, or a sound one gave way to it.
    misled: bool,
    workload: PhantomData<W>,
    scheme: Option<Scheme>,
    /// Since when only an operator could go on, as far as can be seen.
    stuck_since: Option<u64>,
    /// Version of the configuration by which nodes were switched on and off.
    seated: u64,
}

/// What a run came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Operations that came to an end.
    pub operations: u64,
    /// Requests that were acknowledged.
    pub acknowledged: u64,
    /// Faults.
    pub faults: u64,
    /// Steps of stages and clients.
    pub steps: u64,
    /// Simulated nanoseconds.
    pub nanos: u64,
    /// Committed batches.
    pub batches: u64,
    /// Longest time that a healed cluster, or a healed core of one, took to commit again, nanoseconds.
    pub outage: u64,
    /// The same in election time-outs.
    pub outage_timeouts: u64,
}

impl<W: Workload> World<W> {
    /// The cluster of `plan`, all nodes about to start.
    #[must_use]
    pub fn new(plan: Plan, mut rng: Rng, trace: Trace) -> Self {
        let nodes: Vec<Node> = (0..plan.machines())
            .map(|node| Node {
                standing: if node < plan.nodes { Standing::Member } else { Standing::Spare },
                contacts: Vec::new(),
                store: StoreHandle::new(node as u64, plan.disks[node], rng.fork(), trace.clone()),
                life: None,
                clock: Clock {
                    drift: rng.range(0, 2 * plan.drift) as i64 - plan.drift as i64,
                    base: rng.range(1, 1_000) * MILLI,
                    since: 0,
                    offset: rng.range(0, 40 * MILLI) as i64 - 20 * MILLI as i64,
                },
                os_boot: 1,
                build: if plan.wishes.is_some_and(|wishes| wishes.level > 0) { 0 } else { u16::MAX },
                restart_at: (node < plan.nodes).then(|| rng.below(20 * MILLI)),
                paused_until: 0,
                suspended: None,
                stopping_until: None,
                full_until: None,
                idle: 0,
                cutting: None,
                fresh: true,
                stint: 0,
                owes_promises: false,
                promised: Floor::default(),
                owed: false,
                blank: false,
                lost_snapshot: 0,
                term: 0,
                seen: (0, 0),
                oldest: 0,
                owed_floor: Floor::default(),
                damage: None,
                rotten: BTreeSet::new(),
                spot: None,
                robbed: false,
                bends: false,
                bent: None,
                was_bent: false,
                evidence: false,
            })
            .collect();
        nodes.iter().for_each(|node| node.store.lock().lie = plan.lie);
        let net = NetHandle::new(plan.machines(), plan.weather, rng.fork(), trace.clone());
        let peers = PeersHandle::new(plan.machines(), plan.roads, rng.fork(), trace.clone());
        let clients = parties::<W>(&plan, &mut rng, &trace);
        let logs = Logs::new(&plan, trace.clone());
        Self {
            next_fault: 50 * MILLI + rng.spread(plan.calm.0, plan.calm.1),
            plan,
            trace,
            rng,
            now: 0,
            steps: 0,
            nodes,
            net,
            peers,
            clients,
            client_idle: 0,
            silent: false,
            history: History::default(),
            logs,
            votes: BTreeMap::new(),
            partial: BTreeMap::new(),
            faults: 0,
            last_fault: 0,
            heal_at: None,
            flapping: None,
            healing: None,
            core: None,
            longest_outage: 0,
            misled: false,
            workload: PhantomData,
            scheme: None,
            stuck_since: None,
            seated: 0,
        }
    }

    /// Runs to the end: trouble, then peace for a core of the cluster alone or for all of it, then the final checks.
    pub fn run(&mut self) -> Totals {
        while self.goes_on()
            && (self.history.finished < self.plan.operations || self.faults < self.plan.faults)
            && self.now < self.plan.patience.0
            && !self.is_stuck()
        {
            self.step(true);
        }
        self.nodes.iter_mut().for_each(|node| node.bends = false);
        // A node that was found to have diverged waits for the operator first, and another rule.
        if self.plan.declares && self.goes_on() && !self.awaits_operator() {
            // Whoever decides on logs looks at what is whole.
            (0..self.nodes.len()).for_each(|node| self.restore(node));
            self.declare_loss();
        }
        if self.plan.core && self.goes_on() && !self.is_stuck() && !self.awaits_operator() {
            self.heal_core();
            self.serve_from_core();
        }
        self.finish()
    }

    /// Neither has anything failed, nor does a node answer that has diverged, for as long as nobody has found out or with no
    /// third node to ask: from then on a wrong state counts as the right one, and nothing can be checked against it.
    fn goes_on(&self) -> bool {
        self.trace.failure().is_none() && !self.misled
    }

    /// Peace, until everybody is at rest, and the final checks.
    fn finish(&mut self) -> Totals {
        self.make_peace();
        let deadline = self.now + self.plan.patience.1;
        while self.goes_on() && !self.is_at_rest() && !self.is_stuck() {
            if self.now > deadline {
                match self.undetected() {
                    Some(node) => {
                        let what = format!("node {node} runs on, {:?}", self.nodes[node].bent);
                        self.trace.fail("a node that diverged stops", what);
                    }
                    None => self.trace.fail("progress after healing", self.describe()),
                }
            }
            self.step(false);
        }
        if self.misled {
            self.trace.mark("a diverged node answers");
        } else if self.trace.failure().is_none() {
            if self.is_stuck() {
                self.trace.mark("stuck by policy");
            }
            self.check_end(!self.is_stuck());
        }
        Totals {
            operations: self.history.finished,
            acknowledged: self.history.acks.len() as u64,
            faults: self.faults,
            steps: self.steps,
            nanos: self.now,
            batches: self.logs.committed_len() as u64,
            outage: self.longest_outage,
            outage_timeouts: self.longest_outage / self.plan.election_timeout.0,
        }
    }

    fn metric(&self, node: usize, name: &str) -> u64 {
        self.nodes[node].life.as_ref().and_then(|life| life.registry.value(name)).unwrap_or(0)
    }

    /// Whether the node may lack what it acknowledged.
    fn owes_floor(&self, node: usize) -> bool {
        self.nodes[node].life.as_ref().is_some_and(Life::owes_floor)
    }

    fn describe(&self) -> String {
        let nodes = self.nodes.iter().map(|node| {
            if node.standing != Standing::Member {
                return format!("{:?}", node.standing);
            }
            node.life.as_ref().map_or_else(
                || "down".to_owned(),
                |life| {
                    let c = &life.shared;
                    let value = |name| life.registry.value(name).unwrap_or(0);
                    format!(
                        "term {} blank {} floor {} stint {} committed {} written {} durable {} applied {} room {}",
                        value("ordain_term"),
                        value("ordain_blank"),
                        value("ordain_promise_floor"),
                        c.stint.load(),
                        c.committed.load(),
                        c.written.load(),
                        c.durable.load(),
                        c.applied.load(),
                        c.room.load()
                    )
                },
            )
        });
        let clients = self.clients.iter().filter(|client| !client.is_done()).map(|client| client.describe());
        format!("nodes {:?}; waiting: {:?}", nodes.collect::<Vec<_>>(), clients.collect::<Vec<_>>())
    }

    // Scheduling.

    fn step(&mut self, trouble: bool) {
        self.steps += 1;
        self.now += self.rng.below(400);
        self.trace.at(self.now);
        self.let_time_act(trouble);
        if self.rng.one_in(32) {
            self.wake_all();
        }
        if self.steps.is_multiple_of(256) {
            self.note_stuck();
            self.judge_healing();
            self.note_rot();
            self.note_spots();
        }
        match self.choose() {
            Some(Actor::Stage(node, stage)) => self.step_stage(node, stage),
            Some(Actor::Client(client)) => {
                let mut net = self.net.lock();
                if !self.clients[client].step(self.now, &mut net, &mut self.history) {
                    self.client_idle |= 1 << client;
                }
            }
            None => self.jump(),
        }
    }

    fn wake_all(&mut self) {
        self.client_idle = 0;
        for node in &mut self.nodes {
            node.idle = 0;
        }
    }

    /// One of those that may have something to do.
    fn choose(&mut self) -> Option<Actor> {
        let (nodes, clients) = (self.nodes.len(), self.clients.len());
        let total = nodes * STAGES + clients;
        let first = self.rng.below(total as u64) as usize;
        (first..total).chain(0..first).find_map(|at| {
            if at >= nodes * STAGES {
                let client = at - nodes * STAGES;
                let acts = self.client_idle & (1 << client) == 0 && self.takes_part(client);
                return acts.then_some(Actor::Client(client));
            }
            let (node, stage) = (at / STAGES, at % STAGES);
            let state = &self.nodes[node];
            let runs =
                state.life.is_some() && state.paused_until <= self.now && state.idle & (1 << stage) == 0;
            runs.then_some(Actor::Stage(node, stage))
        })
    }

    fn takes_part(&self, client: usize) -> bool {
        !self.silent || self.clients[client].is_operator()
    }

    /// Nobody has anything to do: time passes until something happens.
    fn jump(&mut self) {
        let now = self.now;
        let mut next = now + JUMP_MAX;
        let mut consider = |at: Option<u64>| {
            if let Some(at) = at {
                next = next.min(at.max(now + 1));
            }
        };
        consider(self.net.lock().next_due());
        consider(self.peers.lock().next_due());
        consider(Some(self.next_fault));
        consider(self.heal_at);
        consider(self.flapping.as_ref().map(|flapping| flapping.next));
        for node in &self.nodes {
            consider(node.store.lock().next_due());
            consider(node.restart_at);
            if node.paused_until > now {
                consider(Some(node.paused_until));
                continue;
            }
            let mono = node.clock.read(now).mono;
            let deadline = node.life.as_ref().and_then(Life::next_deadline);
            consider(deadline.map(|deadline| now + deadline.since(mono).min(JUMP_MAX)));
        }
        for client in (0..self.clients.len()).filter(|client| self.takes_part(*client)) {
            consider(self.clients[client].next_deadline());
        }
        self.now = next;
        self.wake_all();
    }

    fn step_stage(&mut self, node: usize, stage: usize) {
        let limit = self.rng.range(1, self.plan.limit) as usize;
        let state = &mut self.nodes[node];
        let now = state.clock.read(self.now);
        let life = state.life.as_mut().expect("only running nodes are stepped");
        if let Some((keep, _)) = life.shared.cut.asked(Holder::Journal) {
            state.cutting = Some(keep.0);
        }
        let name = life.name(stage);
        let applied = life.shared.applied.load();
        let bends = state.bends && name == "apply" && !life.shared.leads();
        if bends {
            life.bend.arm();
        }
        let result = catch_unwind(AssertUnwindSafe(|| life.do_work(stage, now, limit)));
        if bends && life.bend.disarm() {
            state.bends = false;
            let restarts = life.shared.restarts.load();
            state.bent = Some(Bent { from: applied + 1, at: self.now, restarts });
            state.was_bent = true;
            self.trace.event("bent", &[node as u64, applied + 1]);
            self.trace.mark("reply bent");
        }
        match result {
            Ok(Ok(0)) => state.idle |= 1 << stage,
            Ok(Ok(work)) => {
                state.idle = 0;
                self.trace.event(name, &[node as u64, work as u64]);
            }
            Ok(Err(fatal)) if fatal.outlived && self.plan.declares => return self.set_aside(node),
            Ok(Err(fatal)) => return self.node_stopped(node, name, &fatal),
            Err(panic) => {
                let what = panic
                    .downcast_ref::<String>()
                    .cloned()
                    .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                let what = format!("node {node}, stage {name}: {}", what.unwrap_or_default());
                return self.trace.fail("no stage panics", what);
            }
        }
        self.observe(node);
    }
}

#[derive(Clone, Copy, Debug)]
enum Actor {
    Stage(usize, usize),
    Client(usize),
}
