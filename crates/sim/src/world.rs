//! The cluster, its clients and its troubles, and the scheduler that steps them.

use crate::audit::{Snapshots, audit};
use crate::client::{Party, parties};
use crate::disk::{Crash, StoreHandle};
use crate::history::{History, refusal};
use crate::life::{Life, STAGES, Site};
use crate::net::NetHandle;
use crate::peers::PeersHandle;
use crate::plan::{EPOCH, Plan};
use crate::rng::Rng;
use crate::scheme::{Act, Scheme, View};
use crate::shadow::{Asked, Logs};
use crate::trace::Trace;
use crate::workload::Workload;
use core::marker::PhantomData;
use ordain_agent::disk::FileId;
use ordain_agent::metrics::Registry;
use ordain_agent::shared::Holder;
use ordain_consensus::{Body, Message};
use ordain_node::journal::{Floor, read_state};
use ordain_types::codes::Code;
use ordain_types::frame::{FrameError, ServerFrame, ServerView};
use ordain_types::{BatchIndex, Nanos, NodeId, Now};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

const MILLI: u64 = Nanos::MILLI;
/// Another fault comes after this long though nothing was finished since the last.
const STALL: u64 = 500 * MILLI;
/// Nobody was elected for this long while too many nodes owe a promise floor: nobody will be.
const STUCK: u64 = Nanos::SECOND;
/// Longest jump of idle time: stages may wait for the wall clock without saying until when.
const JUMP_MAX: u64 = 2 * MILLI;

/// A node's clocks.
#[derive(Clone, Copy, Debug)]
struct Clock {
    /// Parts in a million by which it runs fast or slow.
    drift: i64,
    /// Monotonic time at the start of the run.
    base: u64,
    /// Wall clock against the truth, nanoseconds.
    offset: i64,
}

impl Clock {
    fn read(&self, now: u64) -> Now {
        let mono = self.base + now.saturating_add_signed(now as i64 / 1_000_000 * self.drift);
        Now { mono: Nanos(mono), wall: Nanos((EPOCH + now).saturating_add_signed(self.offset)) }
    }
}

struct Node {
    store: StoreHandle,
    life: Option<Life>,
    clock: Clock,
    /// Lives of the operating system.
    os_boot: u64,
    restart_at: Option<u64>,
    paused_until: u64,
    stopping_until: Option<u64>,
    full_until: Option<u64>,
    /// Bits of stages that did nothing when last called.
    idle: u32,
    /// A cut that the journal was asked for and has not answered.
    cutting: Option<u64>,
    fresh: bool,
    stint: u64,
    /// The furthest that it ever acknowledged to a leader, and that leader's term.
    promised: Floor,
    /// Term in which it leads, or led last.
    term: u64,
    seen: (u64, u64),
    /// Highest log position of which it was seen to hold a snapshot.
    snapshot: u64,
    /// A bit that was flipped and is to be flipped back if the node notices.
    damage: Option<(FileId, u64, u8)>,
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
    history: History,
    logs: Logs,
    /// What nodes sent on each connection and is not a whole frame yet.
    partial: BTreeMap<u64, Vec<u8>>,
    faults: u64,
    next_fault: u64,
    last_fault: u64,
    heal_at: Option<u64>,
    workload: PhantomData<W>,
    scheme: Option<Scheme>,
    /// Since when only an operator could go on, as far as can be seen.
    stuck_since: Option<u64>,
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
}

impl<W: Workload> World<W> {
    /// The cluster of `plan`, all nodes about to start.
    #[must_use]
    pub fn new(plan: Plan, mut rng: Rng, trace: Trace) -> Self {
        let nodes: Vec<Node> = (0..plan.nodes)
            .map(|node| Node {
                store: StoreHandle::new(node as u64, plan.disks[node], rng.fork(), trace.clone()),
                life: None,
                clock: Clock {
                    drift: rng.range(0, 1_000) as i64 - 500,
                    base: rng.range(1, 1_000) * MILLI,
                    offset: rng.range(0, 40 * MILLI) as i64 - 20 * MILLI as i64,
                },
                os_boot: 1,
                restart_at: Some(rng.below(20 * MILLI)),
                paused_until: 0,
                stopping_until: None,
                full_until: None,
                idle: 0,
                cutting: None,
                fresh: true,
                stint: 0,
                promised: Floor::default(),
                term: 0,
                seen: (0, 0),
                snapshot: 0,
                damage: None,
            })
            .collect();
        nodes.iter().for_each(|node| node.store.lock().lie = plan.lie);
        let net = NetHandle::new(plan.nodes, plan.weather, rng.fork(), trace.clone());
        let peers = PeersHandle::new(plan.nodes, plan.roads, rng.fork(), trace.clone());
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
            history: History::default(),
            logs,
            partial: BTreeMap::new(),
            faults: 0,
            last_fault: 0,
            heal_at: None,
            workload: PhantomData,
            scheme: None,
            stuck_since: None,
        }
    }

    /// Runs to the end: trouble, then peace, then the final checks.
    pub fn run(&mut self) -> Totals {
        while self.trace.failure().is_none()
            && (self.history.finished < self.plan.operations || self.faults < self.plan.faults)
            && self.now < self.plan.patience.0
            && !self.is_stuck()
        {
            self.step(true);
        }
        self.make_peace();
        let deadline = self.now + self.plan.patience.1;
        self.stuck_since = None;
        while self.trace.failure().is_none() && !self.is_at_rest() && !self.is_stuck() {
            if self.now > deadline {
                self.trace.fail("progress after healing", self.describe());
            }
            self.step(false);
        }
        if self.trace.failure().is_none() {
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
        }
    }

    /// So many nodes lost acknowledged batches that the rest must not elect (rule R4), and with no copy on disk
    /// all votes together do not suffice either: only an operator can go on.
    fn note_stuck(&mut self) {
        let policy = self.plan.facts.policy;
        if policy.durable == 0 {
            let whole = (0..self.nodes.len()).filter(|node| !self.owes_floor(*node)).count();
            let stuck = whole + (policy.received as usize) < self.nodes.len() + 1 && self.leader().is_none();
            self.stuck_since = self.stuck_since.or(Some(self.now)).filter(|_| stuck);
        }
    }

    fn is_stuck(&self) -> bool {
        self.stuck_since.is_some_and(|since| self.now > since + STUCK)
    }

    fn metric(&self, node: usize, name: &str) -> u64 {
        self.nodes[node].life.as_ref().and_then(|life| life.registry.value(name)).unwrap_or(0)
    }

    /// Whether the node may lack what it acknowledged.
    fn owes_floor(&self, node: usize) -> bool {
        self.metric(node, "ordain_promise_floor") > 0
    }

    fn describe(&self) -> String {
        let nodes = self.nodes.iter().map(|node| {
            node.life.as_ref().map_or_else(
                || "down".to_owned(),
                |life| {
                    let c = &life.shared;
                    format!(
                        "stint {} committed {} written {} durable {} applied {} room {}",
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
        (first..first + total).map(|at| at % total).find_map(|at| {
            if at >= nodes * STAGES {
                let client = at - nodes * STAGES;
                return (self.client_idle & (1 << client) == 0).then_some(Actor::Client(client));
            }
            let (node, stage) = (at / STAGES, at % STAGES);
            let state = &self.nodes[node];
            let runs =
                state.life.is_some() && state.paused_until <= self.now && state.idle & (1 << stage) == 0;
            runs.then_some(Actor::Stage(node, stage))
        })
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
        for node in &self.nodes {
            consider(node.store.lock().next_due());
            consider(node.restart_at);
            if node.paused_until > now {
                consider(Some(node.paused_until));
                continue;
            }
            let mono = node.clock.read(now).mono;
            let deadline = node.life.as_ref().and_then(Life::next_deadline);
            consider(deadline.map(|deadline| now + deadline.since(mono)));
        }
        for client in &self.clients {
            consider(client.next_deadline());
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
        let result = catch_unwind(AssertUnwindSafe(|| life.do_work(stage, now, limit)));
        let name = life.name(stage);
        match result {
            Ok(Ok(0)) => state.idle |= 1 << stage,
            Ok(Ok(work)) => {
                state.idle = 0;
                self.trace.event(name, &[node as u64, work as u64]);
            }
            Ok(Err(fatal)) => return self.node_stopped(node, name, &fatal.to_string()),
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

    // Watching.

    fn observe(&mut self, node: usize) {
        let state = &mut self.nodes[node];
        let Some(life) = &mut state.life else { return };
        let cursors = &life.shared;
        if !life.is_running() {
            return;
        }
        if let Some(keep) = state.cutting {
            if cursors.cut.asked(Holder::Journal).is_some() {
                return;
            }
            state.cutting = None;
            self.logs.cut(node, keep);
        }
        state.snapshot = state.snapshot.max(cursors.snapshot.load());
        let seen = (cursors.written.load(), cursors.committed.load());
        if core::mem::take(&mut state.fresh) {
            self.logs.recovered(node, seen.0);
            if let Some((file, at, _)) = state.damage.take() {
                let what = format!("node {node} started although {file:?} is damaged at offset {at}");
                self.trace.fail("damage at rest is reported", what);
            }
            self.trace.event("recovered", &[node as u64, seen.0]);
            // After a clean stop the log still holds what was acknowledged.
            if !life.was_clean && life.floor.unwrap_or_default() < state.promised {
                let what = format!("node {node} acknowledged {:?} and owes {:?}", state.promised, life.floor);
                self.trace.fail("a promise floor covers what was acknowledged", what);
            }
        }
        let commits = seen.1 > state.seen.1;
        if seen != state.seen {
            state.seen = seen;
            let store = state.store.lock();
            self.logs.follow(node, &store, seen.0);
            self.logs.commit(node, &store, seen.1);
        }
        if life.floor.is_some()
            && life.registry.value("ordain_rejoins_total").is_some_and(|rejoins| rejoins > 0)
        {
            life.floor = None;
            self.logs.rejoined(node);
        }
        let stint = cursors.stint.load();
        if commits && stint % 2 == 1 && stint == state.stint {
            self.logs.leader_commits(node, seen.1, state.term);
        }
        if stint != state.stint {
            state.stint = stint;
            if stint % 2 == 1 {
                let term = life.registry.value("ordain_term").expect("the log stage registers its term");
                self.trace.event("leads", &[node as u64, term]);
                state.term = term;
                self.logs.leads(node, term);
            }
        }
        self.hear_sent();
        self.exchange_floor();
        self.hear_promises();
    }

    /// Stands for what nodes would tell each other: what every one of them holds a snapshot of may go.
    fn exchange_floor(&self) {
        let floor = self.nodes.iter().map(|node| node.snapshot).min().unwrap_or(0);
        for life in self.nodes.iter().filter_map(|node| node.life.as_ref()) {
            let known = &life.shared.trim_floor;
            if life.is_running() && known.load() < floor {
                known.store(floor);
            }
        }
    }

    /// Looks at every frame that left for another node: what it promises must be on disk.
    fn hear_promises(&mut self) {
        let sent = core::mem::take(&mut self.peers.lock().sent);
        for (from, to, frame) in sent {
            let Ok((message, _)) = Message::decode(&frame) else {
                return self.trace.fail("nodes send whole frames", format!("node {from} sent {frame:?}"));
            };
            let store = self.nodes[from].store.lock();
            let state = store.durable(FileId::NodeState).and_then(|file| read_state(file).ok());
            let voted = |node: usize| {
                state.as_ref().map(|state| (state.term, state.voted_for))
                    == Some((message.term, Some(NodeId(node as u32))))
            };
            let holds = match message.body {
                Body::Vote { .. } => voted(from),
                Body::VoteReply { grant: Some(_) } => voted(to),
                Body::Ack { .. } => state.as_ref().is_some_and(|state| state.ack_term == message.term),
                _ => state.as_ref().is_some_and(|state| state.boot == message.boot),
            };
            drop(store);
            if let Body::Ack { received, durable, .. } = message.body {
                let reach = BatchIndex(durable.0 + self.plan.facts.unsynced_max);
                let promised = Floor { term: message.term, index: received.min(reach) };
                self.nodes[from].promised = promised.max(self.nodes[from].promised);
            }
            if !holds {
                let what = format!("node {from} sent {message:?} to node {to}; its disk says {state:?}");
                return self.trace.fail("promises are on disk when they leave", what);
            }
        }
    }

    /// Looks at every reply that left a node.
    fn hear_sent(&mut self) {
        let sent = core::mem::take(&mut self.net.lock().sent);
        for (_, conn, bytes) in sent {
            let partial = self.partial.entry(conn).or_default();
            partial.extend_from_slice(&bytes);
            let mut at = 0;
            loop {
                let (view, used) = match ServerView::split(&partial[at..]) {
                    Ok(found) => found,
                    Err(FrameError::Incomplete) => break,
                    Err(FrameError::Malformed(what)) => {
                        return self.trace.fail("nodes send whole frames", what);
                    }
                };
                at += used;
                let header = view.header;
                let code = Code::from_wire(header.code).unwrap_or(Code::Unsupported);
                if code != Code::Executed {
                    self.trace.mark(refusal(code));
                } else if header.kind == ServerFrame::Reply as u8 {
                    let asked =
                        Asked { session: header.session(), number: header.number(), seq: header.seq() };
                    let policy = self.plan.facts.policy;
                    let stores: Vec<_> = self.nodes.iter().map(|node| node.store.clone()).collect();
                    self.logs.reply_leaves(&stores, asked, (policy.received, policy.durable));
                    self.history.reply_leaves(asked, view.payload, &self.trace);
                }
            }
            partial.drain(..at);
        }
    }

    /// A stage says that its node must stop.
    fn node_stopped(&mut self, node: usize, stage: &str, fatal: &str) {
        self.trace.say(|| format!("node {node} stops, {stage}: {fatal}"));
        let state = &mut self.nodes[node];
        let excused = state.store.lock().failed;
        if let Some((file, at, bit)) = state.damage.take() {
            // The damage was reported: the operator restores the file.
            self.trace.mark("damage reported");
            state.store.lock().flip(file, at, bit);
            return self.bring_down(node, Crash::Kill);
        }
        if !excused {
            return self
                .trace
                .fail("no node stops without a cause", format!("node {node}, {stage}: {fatal}"));
        }
        // After a failed sync only a restart of the machine shows what its disk holds.
        self.bring_down(node, Crash::Power(100));
    }

    // Trouble.

    fn let_time_act(&mut self, trouble: bool) {
        let now = self.now;
        for node in &self.nodes {
            node.store.lock().advance(now);
        }
        self.net.lock().advance(now);
        self.peers.lock().advance(now);
        if self.heal_at.is_some_and(|at| at <= now) {
            self.heal_at = None;
            self.peers.lock().heal();
        }
        for node in 0..self.nodes.len() {
            let state = &mut self.nodes[node];
            if state.restart_at.is_some_and(|at| at <= now) {
                state.restart_at = None;
                self.start(node);
            }
            let state = &mut self.nodes[node];
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

    fn start(&mut self, node: usize) {
        let state = &mut self.nodes[node];
        self.trace.event("start", &[node as u64, state.os_boot]);
        state.fresh = true;
        state.idle = 0;
        state.stint = 0;
        state.seen = (0, 0);
        let site = Site {
            node,
            plan: &self.plan,
            trace: &self.trace,
            store: &state.store,
            net: &self.net,
            peers: &self.peers,
            os_boot: state.os_boot,
            seed: self.rng.bits(),
        };
        state.life = Some(Life::new::<W>(&site));
    }

    fn bring_down(&mut self, node: usize, how: Crash) {
        let state = &mut self.nodes[node];
        let Some(life) = state.life.take() else { return };
        let power = matches!(how, Crash::Power(_));
        let watermark = life.shared.watermark.load();
        self.trace.event("down", &[node as u64, u64::from(power)]);
        let silent = power && self.rng.one_in(2);
        {
            let mut store = state.store.lock();
            self.logs.note_durable(node, &store);
            if life.shared.cut.asked(Holder::Journal).is_some()
                && let Some(keep) = state.cutting
            {
                self.logs.cut(node, keep);
            }
            store.crash(how);
        }
        if power {
            self.logs.lost_power(node);
            state.os_boot += 1;
        }
        state.cutting = None;
        state.stopping_until = None;
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
    fn leader(&self) -> Option<usize> {
        let leads = |node: &Node| node.life.as_ref().is_some_and(|life| life.shared.leads());
        let leaders = (0..self.nodes.len()).filter(|node| leads(&self.nodes[*node]));
        leaders.max_by_key(|node| self.metric(*node, "ordain_term"))
    }

    /// One fault.
    fn strike(&mut self) {
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
        let node = self.rng.below(self.nodes.len() as u64) as usize;
        self.faults += 1;
        self.trace.event(fault.name(), &[node as u64]);
        self.trace.mark(fault.name());
        self.inflict(fault, node);
    }

    fn inflict(&mut self, fault: Fault, node: usize) {
        let (low, high) = self.plan.trouble;
        let until = self.now + self.rng.spread(low, high);
        let keep = self.rng.pick(&[0, 50, 50, 90, 100]);
        let fault = if fault == Fault::Power && !self.may_lose_power(node) { Fault::Kill } else { fault };
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
            Fault::Pause => self.nodes[node].paused_until = until,
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
                    self.scheme = Some(Scheme::draw(&mut self.rng, self.now, leader, self.nodes.len()));
                }
            }
            Fault::Reset => self.net.lock().reset_one(),
            Fault::Partition => {
                let one_way = self.rng.one_in(3);
                let outward = self.rng.one_in(2);
                let mut peers = self.peers.lock();
                for other in (0..self.nodes.len()).filter(|other| *other != node) {
                    if !one_way || outward {
                        peers.block(node, other);
                    }
                    if !one_way || !outward {
                        peers.block(other, node);
                    }
                }
                self.heal_at = Some(until.max(self.heal_at.unwrap_or(0)));
            }
            Fault::Link => {
                let other =
                    (node + self.rng.range(1, self.nodes.len() as u64 - 1) as usize) % self.nodes.len();
                self.peers.lock().cut(node, other);
            }
            Fault::Clock => {
                let step = self.rng.range(0, 400 * MILLI) as i64 - 200 * MILLI as i64;
                self.nodes[node].clock.offset += step;
            }
            Fault::Leader => {
                let Some(leader) = self.leader() else { return };
                let fault = self.rng.pick(&[Fault::Kill, Fault::Power, Fault::Partition, Fault::Pause]);
                let fault =
                    if fault == Fault::Power && self.plan.odds.power == 0 { Fault::Kill } else { fault };
                self.inflict(fault, leader);
            }
        }
    }

    /// With no copy on disk, a node that lost power may not vote before it has caught up; when too many do
    /// at once, nobody is elected.
    fn may_lose_power(&self, node: usize) -> bool {
        let others_whole = || {
            (0..self.nodes.len()).filter(|other| *other != node).all(|other| {
                let runs = self.nodes[other].life.as_ref().is_some_and(Life::is_running);
                runs && !self.owes_floor(other)
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
                Act::Stall(node, until) => self.nodes[node].store.lock().faults.stalled_until = until,
            }
        }
    }

    /// From now on nothing fails, and everybody finishes what they began.
    fn make_peace(&mut self) {
        self.trace.event("peace", &[]);
        self.heal_at = None;
        self.scheme = None;
        self.peers.lock().heal();
        self.net.lock().heal();
        for node in &mut self.nodes {
            node.paused_until = 0;
            node.full_until = None;
            node.store.lock().faults = crate::disk::Faults::default();
            if let Some((file, at, bit)) = node.damage.take()
                && node.life.is_none()
            {
                node.store.lock().flip(file, at, bit);
            }
        }
        for client in &mut self.clients {
            client.finish();
        }
    }

    // The end.

    fn is_at_rest(&self) -> bool {
        self.clients.iter().all(|client| client.is_done()) && {
            let ends = self.nodes.iter().map(|node| {
                let life =
                    node.life.as_ref().filter(|life| life.is_running() && node.stopping_until.is_none())?;
                let c = &life.shared;
                let [written, durable, committed, applied] =
                    [&c.written, &c.durable, &c.committed, &c.applied].map(|cursor| cursor.load());
                (written == durable && written == committed && written == applied && written > 0)
                    .then_some(written)
            });
            let ends: Option<Vec<u64>> = ends.collect();
            ends.is_some_and(|ends| ends.iter().all(|end| *end == ends[0]))
        }
    }

    /// The final checks; of nodes that could not come to rest, only what they committed and answered.
    fn check_end(&mut self, settled: bool) {
        for node in 0..self.nodes.len() {
            self.observe(node);
            let state = &self.nodes[node];
            if let Some(life) = &state.life {
                note_counts(&self.trace, &life.registry);
            }
            if !settled {
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
            let Some(life) = state.life.as_ref().filter(|_| settled) else { continue };
            let applied = life.shared.applied.load() as usize;
            let live = life.registry.value("ordain_apply_output_hash");
            if live != hashes.get(applied.wrapping_sub(1)).copied() {
                let what = format!("node {node} has output hash {live:?} at batch {applied}");
                self.trace.fail("live = replayed = restored", what);
            }
        }
    }
}

/// Takes the marks that a life's own counters show.
fn note_counts(trace: &Trace, registry: &Registry) {
    const MARKS: [(&str, &str); 6] = [
        ("ordain_elections_won_total", "election won"),
        ("ordain_elections_won_weak_total", "election won by weak votes"),
        ("ordain_rejoins_total", "dirty node rejoined"),
        ("ordain_log_cuts_total", "uncommitted suffix cut"),
        ("ordain_log_ticks_total", "tick sealed"),
        ("ordain_requests_repeated_total", "duplicate recognised"),
    ];
    for (metric, mark) in MARKS {
        trace.mark_times(mark, registry.value(metric).unwrap_or(0));
    }
}

#[derive(Clone, Copy, Debug)]
enum Actor {
    Stage(usize, usize),
    Client(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
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
            Self::Clock => "fault: clock step",
            Self::Leader => "fault: at the leader",
            Self::Stall => "fault: disk stalls",
            Self::Scheme => "fault: scheme",
        }
    }
}
