//! A random walk of whole clusters of this core: lossy, duplicating, reordering, partitioned network
//! with frames of past lives; disks that lose or tear what was not synced; process and power failures;
//! then healing, after which progress is demanded. Every run is a function of its seed.

mod runs;

use self::runs::Odds;
use crate::message::FRAME_MAX;
use crate::{Config, Core, Effect, Message, Mutation, Recovered, Role, Terms, Verdict, VoteState};
use ordain_types::configuration::{Change, Configuration, Stage};
use ordain_types::facts::AckPolicy;
use ordain_types::members::Member;
use ordain_types::{BatchIndex, Boot, Nanos, NodeId, Term};
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

const TIMEOUT: u64 = 40;
const HEARTBEAT: u64 = 10;
const STEPS: usize = 600;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

/// A batch: its term and a value that no other batch has. The value stands for bytes and chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Batch {
    term: u64,
    value: usize,
}

struct Packet {
    from: usize,
    to: usize,
    bytes: [u8; FRAME_MAX],
    /// Value of the batch before the first, and the batches.
    previous: usize,
    first: usize,
    batches: Vec<Batch>,
}

/// The shell of one core, with what its disk and its kernel hold.
struct Node {
    core: Core,
    up: bool,
    log: Vec<Batch>,
    written: usize,
    synced: usize,
    watermark: usize,
    vote: VoteState,
    boot: u64,
    /// The power failed and no life since has stored its start.
    dirty: bool,
    torn: bool,
    persisting: Option<VoteState>,
    truncating: Option<usize>,
    rounds: BTreeMap<u64, usize>,
    /// Committed and synced up to here: where a snapshot may stand.
    anchor: usize,
    /// Numbers of its lives.
    lives: BTreeSet<u64>,
}

/// What the runs reached.
#[derive(Debug, Default)]
struct Marks {
    commits: usize,
    elections: usize,
    weak_elections: usize,
    truncations: usize,
    dirty_restarts: usize,
    torn_tails: usize,
    floors_dropped: usize,
    step_downs: usize,
    read_rounds: usize,
    old_term_batches: usize,
    healed: usize,
    /// Nobody could be elected: the policy leaves this to the operator.
    stuck_by_policy: usize,
    policies: usize,
    windows: usize,
    voter_changes: usize,
    given_up: usize,
    transfers: usize,
    disks_lost: usize,
    outgrown: usize,
    readmitted: usize,
    founded: usize,
}

/// What a run is about.
#[derive(Clone, Copy, Debug)]
struct Plan {
    voters: usize,
    /// Nodes that may become members.
    spares: usize,
    policy: AckPolicy,
    /// Percent of steps in which an operator asks for something.
    changes: usize,
    /// Percent of crashes after which the disk is empty. Nodes then begin empty, too.
    losses: usize,
    mutation: Mutation,
}

impl Plan {
    const fn fixed(voters: usize, policy: AckPolicy, mutation: Mutation) -> Self {
        Self { voters, spares: 0, policy, changes: 0, losses: 0, mutation }
    }
}

struct Cluster<'a> {
    random: Random,
    plan: Plan,
    /// All nodes, voters or not.
    all: usize,
    first: Configuration,
    /// By value of their batch.
    configurations: BTreeMap<usize, Configuration>,
    now: u64,
    nodes: Vec<Node>,
    net: Vec<Packet>,
    loss: usize,
    cut_off: Option<usize>,
    /// Values of all committed batches, in order.
    history: Vec<usize>,
    leaders: BTreeMap<u64, usize>,
    /// By value: nodes that ever wrote and ever synced it, as bits.
    copies: Vec<(u32, u32)>,
    marks: &'a mut Marks,
}

type Check = Result<(), String>;

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Check {
    if holds { Ok(()) } else { Err(what()) }
}

fn index(length: usize) -> BatchIndex {
    BatchIndex(length as u64)
}

impl<'a> Cluster<'a> {
    fn new(plan: Plan, seed: u64, marks: &'a mut Marks) -> Self {
        let mut random = Random(seed);
        let window = [1, 1, 2, 3][random.below(4)];
        let loss = random.below(30);
        let mut cluster = Self {
            random,
            plan,
            all: plan.voters + plan.spares,
            first: crate::tests::cluster(
                &(0..plan.voters as u32).map(NodeId).collect::<Vec<_>>(),
                plan.policy,
                window,
            ),
            configurations: BTreeMap::new(),
            now: 0,
            nodes: Vec::new(),
            net: Vec::new(),
            loss,
            cut_off: None,
            history: Vec::new(),
            leaders: BTreeMap::new(),
            copies: Vec::new(),
            marks,
        };
        for id in 0..plan.voters + plan.spares {
            let vote = VoteState { blank: plan.losses > 0, ..VoteState::default() };
            let recovered = Recovered {
                vote,
                boot: Boot(1),
                clean: true,
                torn: false,
                log: Terms::new(),
                durable: BatchIndex(0),
                watermark: BatchIndex(0),
                configurations: vec![(BatchIndex(0), cluster.first.clone())],
            };
            let core = Core::new(cluster.config(id, 1), recovered, Nanos(0));
            cluster.nodes.push(Node {
                core,
                up: true,
                log: Vec::new(),
                written: 0,
                synced: 0,
                watermark: 0,
                vote,
                boot: 0,
                dirty: false,
                torn: false,
                persisting: None,
                truncating: None,
                rounds: BTreeMap::new(),
                anchor: 0,
                lives: BTreeSet::new(),
            });
        }
        cluster
    }

    fn config(&self, id: usize, boot: u64) -> Config {
        Config {
            id: NodeId(id as u32),
            // Where operators are at work, leaders last long enough to finish something.
            election_timeout: Nanos(if self.plan.changes > 0 { 6 * TIMEOUT } else { TIMEOUT }),
            heartbeat: Nanos(HEARTBEAT),
            seed: id as u64 * 1000 + boot,
            mutation: self.plan.mutation,
        }
    }

    fn start(&mut self) -> Check {
        for at in 0..self.all {
            self.connect(at)?;
        }
        Ok(())
    }

    fn connect(&mut self, at: usize) -> Check {
        for peer in (0..self.all).filter(|peer| *peer != at) {
            self.nodes[at].core.peer_up(NodeId(peer as u32), Nanos(self.now));
        }
        self.drain(at)
    }

    fn crash(&mut self, at: usize, clean: bool) {
        let node = &mut self.nodes[at];
        node.up = false;
        node.rounds.clear();
        if let Some(to) = node.truncating.take()
            && self.random.percent(50)
        {
            cut(node, to);
        }
        if let Some(vote) = node.persisting.take()
            && self.random.percent(50)
        {
            store(node, vote);
        }
        let survives = if clean {
            node.written
        } else {
            node.synced + self.random.below(node.written - node.synced + 1)
        };
        if !clean {
            node.dirty = true;
            node.torn |= survives < node.written && self.random.percent(50);
            node.synced = survives;
            // What the disk gave back it has.
            for batch in &node.log[..survives] {
                self.copies[batch.value].1 |= 1 << at;
            }
        }
        node.written = survives;
        node.log.truncate(survives);
    }

    /// Where all that was ever promised would be gone, what begins anew is another cluster.
    fn may_lose_disk(&self, at: usize) -> bool {
        let knows = |node: &Node| !node.vote.blank && node.vote.term > Term(0);
        self.leaders.is_empty() || (0..self.all).any(|other| other != at && knows(&self.nodes[other]))
    }

    /// The disk of a node that is down comes back empty.
    fn lose_disk(&mut self, at: usize) {
        self.marks.disks_lost += 1;
        let boot = (1..)
            .map(|_| self.random.below(40) as u64)
            .find(|boot| !self.nodes[at].lives.contains(&(boot + 1)));
        let node = &mut self.nodes[at];
        node.log.clear();
        (node.written, node.synced, node.watermark, node.anchor) = (0, 0, 0, 0);
        node.vote = VoteState { blank: true, ..VoteState::default() };
        node.boot = boot.expect("there are more numbers than lives");
        (node.dirty, node.torn) = (false, false);
    }

    fn restart(&mut self, at: usize) -> Check {
        let config = self.config(at, self.nodes[at].boot + 1);
        let configurations = self.known(at);
        let node = &mut self.nodes[at];
        let mut log = Terms::new();
        for (before, batch) in node.log.iter().enumerate() {
            log.push(index(before + 1), Term(batch.term));
        }
        self.marks.dirty_restarts += usize::from(node.dirty);
        self.marks.torn_tails += usize::from(node.dirty && node.torn);
        let recovered = Recovered {
            vote: node.vote,
            boot: Boot(node.boot + 1),
            clean: !node.dirty,
            torn: node.torn,
            log,
            durable: index(if node.dirty { node.synced } else { node.watermark }),
            watermark: index(node.watermark),
            configurations,
        };
        node.core = Core::new(config, recovered, Nanos(self.now));
        node.up = true;
        self.drain(at)?;
        self.connect(at)
    }

    /// What a start finds: the configuration at the snapshot, and those behind it.
    fn known(&self, at: usize) -> Vec<(BatchIndex, Configuration)> {
        let node = &self.nodes[at];
        let mut known = vec![(index(0), self.first.clone())];
        for (before, batch) in node.log.iter().enumerate() {
            if let Some(configuration) = self.configurations.get(&batch.value) {
                if before < node.anchor {
                    known.clear();
                }
                known.push((index(before + 1), configuration.clone()));
            }
        }
        known
    }

    /// Carries out the effects of a core.
    fn drain(&mut self, at: usize) -> Check {
        while let Some(effect) = self.nodes[at].core.pop() {
            match effect {
                Effect::Persist(vote) => {
                    ensure(self.nodes[at].persisting.is_none(), || "two writes at a time".into())?;
                    self.nodes[at].persisting = Some(vote);
                }
                Effect::Send { to, message } => self.post(at, to.0 as usize, message, 0, Vec::new()),
                Effect::Truncate { to } => {
                    self.marks.truncations += 1;
                    self.nodes[at].truncating = Some(to.0 as usize);
                }
                Effect::BecameLeader { term } => self.elected(at, term)?,
                Effect::SteppedDown { .. } => {
                    self.marks.step_downs += 1;
                    self.nodes[at].rounds.clear();
                }
                Effect::Committed(to) => self.committed(at, to.0 as usize)?,
                Effect::Configuration { .. } => {}
                Effect::ReadRoundDone(done) => {
                    let node = &mut self.nodes[at];
                    while let Some(entry) = node.rounds.first_entry().filter(|entry| *entry.key() <= done) {
                        let asked_at = entry.remove();
                        self.marks.read_rounds += 1;
                        let knows = node.core.committed().0 as usize;
                        ensure(knows >= asked_at, || {
                            format!("stale read: knows {knows} of {asked_at} batches")
                        })?;
                    }
                }
            }
        }
        Ok(())
    }

    fn elected(&mut self, at: usize, term: Term) -> Check {
        self.marks.elections += 1;
        if self.plan.changes == 0 {
            let (_, strong) = self.nodes[at].core.votes();
            let weak = strong + self.plan.policy.received as usize <= self.plan.voters;
            self.marks.weak_elections += usize::from(weak);
            let counted = self.nodes[at].core.counts().elections_won_weak;
            ensure(!weak || counted > 0, || format!("a weak election of {term} was not counted"))?;
        }
        ensure(self.leaders.insert(term.0, at).is_none(), || format!("two leaders of {term}"))?;
        self.complete(at)?;
        self.marks.old_term_batches += usize::from(self.nodes[at].log.len() > self.history.len());
        self.seal(at);
        Ok(())
    }

    /// Leader completeness.
    fn complete(&self, at: usize) -> Check {
        let log = &self.nodes[at].log;
        for (before, value) in self.history.iter().enumerate() {
            ensure(log.get(before).is_some_and(|batch| batch.value == *value), || {
                format!("leader {at} of {} lacks committed batch {}", self.nodes[at].core.term(), before + 1)
            })?;
        }
        Ok(())
    }

    fn committed(&mut self, at: usize, to: usize) -> Check {
        // A leader that is no member any more has stepped down when this is heard.
        let leads = self.leaders.get(&self.nodes[at].core.term().0) == Some(&at);
        for before in 0..to {
            let value = self.nodes[at].log[before].value;
            if let Some(known) = self.history.get(before) {
                ensure(*known == value, || format!("committed batch {} changed at {at}", before + 1))?;
                continue;
            }
            ensure(leads, || format!("follower {at} knows a commit before its leader"))?;
            let (wrote, synced) = self.copies[value];
            let (voters, needed) = self.needed(at, before);
            let [wrote, synced] = [wrote, synced].map(|nodes| (nodes & voters).count_ones());
            ensure(wrote >= needed.received, || format!("too few copies of {before}"))?;
            ensure(synced >= needed.durable, || format!("too few synced of {before}"))?;
            self.history.push(value);
            self.marks.commits += 1;
            self.mark_change(value);
        }
        let term = self.nodes[at].core.term();
        for other in 0..self.all {
            let core = &self.nodes[other].core;
            if self.nodes[other].up && core.role() == Role::Leader && core.term() > term {
                self.complete(other)?;
            }
        }
        Ok(())
    }

    /// What a batch of a leader's log needs to be committed, by reading that log: the voters of its last
    /// configuration, and the copies that the last one before the batch asks for; of a configuration itself also
    /// those that it asks for.
    fn needed(&self, at: usize, before: usize) -> (u32, AckPolicy) {
        let of = |batch: &Batch| self.configurations.get(&batch.value);
        let log = &self.nodes[at].log;
        let last = log.iter().rev().find_map(of).unwrap_or(&self.first);
        let voters = last.voters().fold(0, |set, voter| set | 1 << voter.0);
        let majority = last.voter_count() / 2 + 1;
        let copies = |configuration: &Configuration| match configuration.stage {
            Stage::Raised(_) | Stage::Changed => AckPolicy { received: majority, durable: majority },
            _ => AckPolicy {
                received: configuration.policy.received.min(majority),
                durable: configuration.policy.durable.min(majority),
            },
        };
        let mut needed = copies(log[..before].iter().rev().find_map(of).unwrap_or(&self.first));
        if let Some(own) = of(&log[before]).map(copies) {
            needed.received = needed.received.max(own.received);
            needed.durable = needed.durable.max(own.durable);
        }
        (voters, needed)
    }

    fn mark_change(&mut self, value: usize) {
        let Some(now) = self.configurations.get(&value) else { return };
        let before = self.history[..self.history.len() - 1].iter().rev();
        let before = before.filter_map(|value| self.configurations.get(value)).next().unwrap_or(&self.first);
        self.marks.policies += usize::from(now.policy != before.policy);
        self.marks.windows += usize::from(now.unsynced_max != before.unsynced_max);
        let changed = now.stage == Stage::Changed;
        self.marks.voter_changes += usize::from(changed);
        let left = matches!(before.stage, Stage::Raised(_)) && !changed;
        self.marks.given_up += usize::from(left);
    }

    /// An operator's wish, at whoever believes that it leads.
    fn wish(&mut self, at: usize) -> Check {
        let someone = NodeId(self.random.below(self.all) as u32);
        let member = Member {
            id: NodeId(self.plan.voters as u32 + self.random.below(self.plan.spares.max(1)) as u32),
            peer: "new:1".into(),
            client: "new:2".into(),
            key: [99; 32],
        };
        let copies = |random: &mut Random| {
            let received = 1 + random.below(3) as u32;
            AckPolicy { received, durable: random.below(received as usize + 1) as u32 }
        };
        let wish = match self.plan.mutation {
            Mutation::WindowNotOnDisk => 2,
            Mutation::ChangeWithoutRaise => 3 + self.random.below(4),
            _ => self.random.below(8),
        };
        let policy = copies(&mut self.random);
        let core = &mut self.nodes[at].core;
        let taken = match wish {
            0 | 1 => core.propose(&Change::Policy(policy)).is_ok(),
            2 => core.propose_window([1, 2, 3, 4][someone.0 as usize % 4]).is_ok(),
            3 => core.propose(&Change::AddLearner(member)).is_ok(),
            4 | 5 => core.propose(&Change::Promote(someone)).is_ok(),
            6 => core.propose(&Change::Remove(someone)).is_ok(),
            _ => core.transfer(Some(someone)).is_ok(),
        };
        self.marks.transfers += usize::from(taken && wish == 7);
        self.drain(at)
    }

    fn seal(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        if node.core.is_transferring() {
            return;
        }
        let due = node.core.due().cloned();
        let value = self.copies.len();
        node.log.push(Batch { term: node.core.term().0, value });
        self.copies.push((0, 0));
        let last = index(node.log.len());
        node.core.appended(last);
        if let Some(configuration) = due {
            self.configurations.insert(value, configuration.clone());
            node.core.configured(last, configuration);
        }
    }

    fn post(&mut self, from: usize, to: usize, message: Message, first: usize, batches: Vec<Batch>) {
        let mut bytes = [0; FRAME_MAX];
        message.encode(&mut bytes);
        let previous = match first {
            0 | 1 => usize::MAX,
            _ => self.nodes[from].log[first - 2].value,
        };
        self.net.push(Packet { from, to, bytes, previous, first, batches });
        if self.net.len() > 50 {
            let lost = self.random.below(self.net.len());
            self.net.swap_remove(lost);
        }
    }

    fn deliver(&mut self, packet: Packet) -> Check {
        let Packet { from, to, bytes, mut previous, first, batches } = packet;
        if !self.nodes[to].up || self.cut_off.is_some_and(|alone| (alone == from) != (alone == to)) {
            return Ok(());
        }
        let (message, _) = Message::decode(&bytes).map_err(|error| error.to_string())?;
        let from = NodeId(from as u32);
        self.nodes[to].core.receive(from, message, Nanos(self.now));
        self.drain(to)?;
        for (offset, batch) in batches.into_iter().enumerate() {
            let at = first + offset;
            let verdict = self.nodes[to].core.accept(from, index(at), Term(batch.term));
            let log = &mut self.nodes[to].log;
            match verdict {
                Verdict::Write => {
                    let end = log.last().map_or(usize::MAX, |batch| batch.value);
                    ensure(at == log.len() + 1 && end == previous, || format!("chain breaks at {at}"))?;
                    log.push(batch);
                    if let Some(configuration) = self.configurations.get(&batch.value) {
                        self.nodes[to].core.configured(index(at), configuration.clone());
                    }
                }
                Verdict::Skip => {
                    ensure(log[at - 1] == batch, || format!("one identity, two batches: {at}"))?;
                }
                Verdict::Drop => {}
            }
            self.drain(to)?;
            if verdict == Verdict::Drop {
                break;
            }
            previous = batch.value;
        }
        Ok(())
    }

    fn write(&mut self, at: usize, to: usize) -> Check {
        let node = &mut self.nodes[at];
        for batch in &node.log[node.written..to] {
            self.copies[batch.value].0 |= 1 << at;
        }
        node.written = to;
        node.core.written(index(to));
        self.drain(at)
    }

    fn sync(&mut self, at: usize, to: usize) -> Check {
        let node = &mut self.nodes[at];
        for batch in &node.log[..to] {
            self.copies[batch.value].1 |= 1 << at;
        }
        node.synced = to;
        node.core.durable(index(to));
        self.drain(at)
    }

    fn mark_water(&mut self, at: usize) -> Check {
        let node = &mut self.nodes[at];
        node.watermark = node.synced;
        if self.random.percent(20) {
            node.anchor = node.watermark.min(node.core.committed().0 as usize).max(node.anchor);
        }
        // The core hears of what is synced first.
        node.core.durable(index(node.synced));
        node.core.watermark(index(node.watermark));
        self.drain(at)
    }

    fn persist(&mut self, at: usize) -> Check {
        let node = &mut self.nodes[at];
        if let Some(vote) = node.persisting.take() {
            self.marks.floors_dropped += usize::from(node.vote.floor.is_some() && vote.floor.is_none());
            self.marks.outgrown += usize::from(vote.boot > node.core.boot());
            if node.vote.blank && !vote.blank {
                let readmitted = node.core.counts().readmitted > 0;
                self.marks.readmitted += usize::from(readmitted);
                self.marks.founded += usize::from(!readmitted);
            }
            store(node, vote);
            node.core.persisted(vote);
        }
        self.drain(at)
    }

    fn truncate(&mut self, at: usize) -> Check {
        let node = &mut self.nodes[at];
        if let Some(to) = node.truncating.take() {
            cut(node, to);
            node.core.truncated(index(to));
        }
        self.drain(at)
    }

    fn stream(&mut self, at: usize, to: usize, most: usize) {
        let peer = NodeId(to as u32);
        let node = &mut self.nodes[at];
        let Some(from) = node.core.next_batch(peer) else { return };
        let from = from.0 as usize;
        let through = (from + most).min(node.log.len());
        let message = node.core.stream(peer, index(through), 128);
        let batches = node.log[from - 1..through].to_vec();
        self.post(at, to, message, from, batches);
    }

    /// One random step.
    fn step(&mut self, odds: &Odds) -> Check {
        self.now += self.random.below(odds.pace) as u64;
        let at = self.random.below(self.all);
        let other = (at + 1 + self.random.below(self.all - 1)) % self.all;
        if !self.nodes[at].up {
            if self.random.percent(odds.restart) {
                self.restart(at)?;
            }
        } else if self.random.percent(odds.crash) {
            let clean = self.random.percent(odds.clean);
            self.crash(at, clean);
            if self.plan.losses > 0 && self.random.percent(self.plan.losses) && self.may_lose_disk(at) {
                self.lose_disk(at);
            }
        } else if self.random.percent(self.plan.changes) {
            let leads = |at: &usize| self.nodes[*at].core.role() == Role::Leader;
            let leader = (0..self.all).filter(leads).max_by_key(|at| self.nodes[*at].core.term());
            if let Some(leader) = leader.filter(|leader| self.nodes[*leader].up) {
                self.wish(leader)?;
            }
        } else {
            match self.random.below(100) {
                0..12 => {
                    let node = &self.nodes[at];
                    let to = node.written + self.random.below(node.log.len() - node.written + 1);
                    self.write(at, to)?;
                }
                12..26 if self.random.percent(odds.sync) => {
                    let node = &self.nodes[at];
                    let to = node.synced + self.random.below(node.written - node.synced + 1);
                    self.sync(at, to)?;
                }
                26..29 => self.mark_water(at)?,
                29..50 => self.persist(at)?,
                50..58 => self.truncate(at)?,
                58..68 if self.random.percent(odds.seal) => {
                    let node = &self.nodes[at];
                    let most = if self.plan.changes > 0 { 28 } else { 16 };
                    if node.core.role() == Role::Leader && node.log.len() < most {
                        self.seal(at);
                        self.drain(at)?;
                    }
                }
                68..78 if self.random.percent(odds.stream) => {
                    let most = self.random.below(4);
                    self.stream(at, other, most);
                }
                78..86 => {
                    self.nodes[at].core.tick(Nanos(self.now));
                    self.drain(at)?;
                }
                86..97 if self.random.percent(odds.reconnect) => {
                    let peer = NodeId(other as u32);
                    self.nodes[at].core.peer_down(peer, Nanos(self.now));
                    self.drain(at)?;
                    self.nodes[at].core.peer_up(peer, Nanos(self.now));
                    self.drain(at)?;
                }
                97 => {
                    self.cut_off = if self.cut_off.is_some() { None } else { Some(at) };
                }
                98 => {
                    let asked_at = self.history.len();
                    let node = &mut self.nodes[at];
                    if let Some(round) = node.core.read_round() {
                        node.rounds.insert(round, asked_at);
                    }
                    self.drain(at)?;
                }
                _ => {}
            }
        }
        for _ in 0..1 + self.random.below(odds.deliver) {
            if self.net.is_empty() {
                break;
            }
            let which = self.random.below(self.net.len());
            if self.random.percent(10) {
                let packet = &self.net[which];
                let twin = Packet { batches: packet.batches.clone(), ..*packet };
                self.net.push(twin);
            }
            let packet = self.net.swap_remove(which);
            if !self.random.percent(self.loss) {
                self.deliver(packet)?;
            }
        }
        Ok(())
    }

    /// Everything works again: a new batch must be committed everywhere within bounded time.
    fn heal(&mut self) -> Check {
        self.cut_off = None;
        for at in 0..self.all {
            if !self.nodes[at].up {
                self.restart(at)?;
            }
        }
        let whole = self.nodes.iter().filter(|node| node.core.vote_state().floor.is_none()).count();
        let may_stall = self.plan.losses > 0 && !self.can_elect();
        let goal = self.now + if self.plan.changes > 0 { 400 } else { 40 } * TIMEOUT;
        let mut target = None;
        while self.now < goal {
            self.now += 1;
            for at in 0..self.all {
                self.persist(at)?;
                self.truncate(at)?;
                self.write(at, self.nodes[at].log.len())?;
                self.sync(at, self.nodes[at].written)?;
                self.mark_water(at)?;
                for to in 0..self.all {
                    self.stream(at, to, 8);
                }
                self.nodes[at].core.tick(Nanos(self.now));
                self.drain(at)?;
                let leads = self.nodes[at].core.role() == Role::Leader;
                if leads && self.nodes[at].core.due().is_some() {
                    self.seal(at);
                    self.drain(at)?;
                }
                let leads = leads && !self.nodes[at].core.is_transferring();
                if leads && target.is_none_or(|(term, _)| term != self.nodes[at].core.term()) {
                    self.seal(at);
                    target = Some((self.nodes[at].core.term(), self.nodes[at].log.len()));
                }
            }
            for packet in std::mem::take(&mut self.net) {
                self.deliver(packet)?;
            }
            if let Some((_, length)) = target
                && let Some(leader) = self.nodes.iter().find(|node| node.core.role() == Role::Leader)
                && leader.core.settled_configuration() == leader.core.configuration()
                && leader.core.configuration().stage == Stage::Settled
                && leader
                    .core
                    .configuration()
                    .members
                    .iter()
                    .all(|seat| self.nodes[seat.member.id.0 as usize].core.committed().0 as usize >= length)
            {
                self.marks.healed += 1;
                return Ok(());
            }
        }
        if may_stall {
            self.marks.stuck_by_policy += 1;
            return Ok(());
        }
        let policies = self.configurations.values().chain([&self.first]).map(|known| known.policy);
        let weakest = policies.min_by_key(|policy| (policy.durable, policy.received)).expect("one is there");
        if weakest.durable == 0 && whole + (weakest.received as usize) < self.all + 1 {
            self.marks.stuck_by_policy += 1;
            return Ok(());
        }
        Err("no progress after healing".into())
    }
}

impl Cluster<'_> {
    /// Whether R4 lets the nodes that know what they promised elect one of them, or nobody promised anything.
    fn can_elect(&self) -> bool {
        let states = || self.nodes.iter().map(|node| *node.core.vote_state());
        let (n, AckPolicy { received: m, durable: k }) = (self.all as u32, self.plan.policy);
        let knows = states().filter(|state| !state.blank).count() as u32;
        let strong = states().filter(|state| !state.blank && state.floor.is_none()).count() as u32;
        states().all(|state| state.term == Term(0)) || knows > n / 2 && (strong + m > n || knows + k > n)
    }
}

fn store(node: &mut Node, vote: VoteState) {
    node.vote = vote;
    node.boot = vote.boot.0;
    node.lives.insert(node.boot);
    node.dirty = false;
    node.torn = false;
}

fn cut(node: &mut Node, to: usize) {
    node.log.truncate(to);
    node.written = node.written.min(to);
    node.synced = node.synced.min(to);
    node.watermark = node.watermark.min(to);
}
