//! The core.

mod blank;
mod changes;
mod counting;
mod elections;
mod following;
mod peer;

pub use changes::READY;

use self::following::Following;
use self::peer::{Admission, Peer};
use crate::configs::Configs;
use crate::message::{Append, BATCHES_MAX, Body, Message};
use crate::{Config, Effect, LogEnd, Recovered, Terms, Verdict, VoteState};
use ordain_types::configuration::{Configuration, MEMBERS_MAX};
use ordain_types::{BatchIndex, Boot, Lineage, Nanos, NodeId, Term};
use std::collections::VecDeque;

#[cfg(any(test, feature = "planted"))]
use crate::Mutation;

/// Most other nodes that this one speaks with: members, as many that were or are to be some, and no more, whatever
/// the transport lets in.
const PEERS_MAX: usize = 2 * MEMBERS_MAX;

/// Whether a mistake is to be made; never in a shipped build.
#[cfg(any(test, feature = "planted"))]
macro_rules! errs {
    ($core:expr, $mutation:ident) => {
        $core.config.mutation == crate::Mutation::$mutation
    };
}
#[cfg(not(any(test, feature = "planted")))]
macro_rules! errs {
    ($core:expr, $mutation:ident) => {
        false
    };
}
use errs;

/// What this node is in its term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Follows, or waits for a leader.
    Follower,
    /// Asks whether an election would succeed; has not used up a term.
    PreCandidate,
    /// Asks for votes.
    Candidate,
    /// Leads.
    Leader,
}

/// A leader hands over to `to`, who is told as soon as it has the whole log; at `until` the leader goes on.
#[derive(Clone, Copy, Debug)]
struct Transfer {
    to: NodeId,
    until: Nanos,
    told: bool,
}

/// This node holds batches of a lineage that was ended without them (R7): they may have been acknowledged, so they are
/// evidence, and are not cut off as what was never committed is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outlived {
    /// The first batch that the lineage in force does not have.
    pub first: BatchIndex,
    /// The lineage in force.
    pub lineage: Lineage,
}

/// What this node has been through in this life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Elections won by R4's second arm alone: too few strong votes, but enough in all.
    pub elections_won_weak: u64,
    /// Floors dropped because the log had reached the leader's mark (R5).
    pub rejoins: u64,
    /// Times that this node, blank, was found whole by a leader (R9).
    pub readmitted: u64,
}

/// The consensus core of one node. See the crate's page.
///
/// Every input ends with [`Core::invariants`]; then the shell drains [`Core::pop`].
#[derive(Clone, Debug)]
pub struct Core {
    config: Config,
    configs: Configs,
    /// Voters, by the log's last configuration, and whether this node is one.
    voters: usize,
    votes: bool,
    /// Fewer received copies than this commit nothing, by whatever policy may be in force.
    enough: usize,
    /// Other nodes, ascending.
    peers: Vec<Peer>,
    boot: Boot,
    now: Nanos,
    random: u64,

    /// As it should be on disk, and as it is.
    state: VoteState,
    synced: Option<VoteState>,
    persisting: Option<VoteState>,

    log: Terms,
    written: BatchIndex,
    durable: BatchIndex,
    watermark: BatchIndex,
    /// While a cut is under way: the last batch to keep.
    truncating: Option<BatchIndex>,
    commit: BatchIndex,
    announced: BatchIndex,
    /// This node's copies when it last heard of progress: whatever else changes them ends in [`Core::settle`].
    counted: (BatchIndex, BatchIndex),

    role: Role,
    leader: Option<NodeId>,
    following: Following,
    /// See [`Core::outlived`].
    outlived: Option<Outlived>,
    /// A vote given but perhaps not yet synced, and the candidate's log end.
    granted: Option<(NodeId, LogEnd)>,
    /// Elections asked for since a leader was last heard.
    attempts: u32,
    /// Elections asked for in this life.
    campaigns: u64,
    /// See [`Core::set_behind`].
    behind: bool,
    /// A configuration that this leader's shell is to seal.
    due: Option<Configuration>,
    /// Leadership is being handed over.
    transfer: Option<Transfer>,
    /// When this node began to lead, and since when its disk has been far behind.
    led_since: Nanos,
    slow_since: Option<Nanos>,
    /// When the policy was raised for a change of voters.
    raised_at: Nanos,
    /// When the leader was last heard.
    heard: Nanos,
    /// When to ask for an election.
    deadline: Nanos,
    /// When to repeat heartbeats or requests.
    repeat: Nanos,

    round_sent: u64,
    round_done: u64,
    round_wanted: u64,
    counts: Counts,

    /// An input adds at most two effects per peer and seven more; the shell drains them before the next,
    /// so that this never grows.
    effects: VecDeque<Effect>,
}

// Inputs.
impl Core {
    /// A node that has just started. The first effect is the start's [`Effect::Persist`]; nothing is
    /// sent before it is done.
    ///
    /// # Panics
    /// On a configuration or a recovered state that contradicts itself.
    #[must_use]
    pub fn new(config: Config, recovered: Recovered, now: Nanos) -> Self {
        assert!(config.heartbeat.0 > 0 && config.heartbeat < config.election_timeout);
        let Recovered { vote: mut state, boot, clean, torn, log, durable, watermark, configurations } =
            recovered;
        assert!(boot > Boot::ZERO, "lives are counted from 1");
        state.boot = boot;
        #[cfg(any(test, feature = "planted"))]
        if config.mutation == Mutation::EmptyIsNew {
            state.blank = false;
        }
        let end = log.end();
        assert!(watermark <= durable && durable <= end.index, "the log lacks batches that were synced");
        assert!(
            state.ack_term <= state.term && end.term <= state.term,
            "the vote state is older than the log"
        );

        let mut configurations = configurations.into_iter();
        let (first, configuration) = configurations.next().expect("every log has a configuration");
        let mut configs = Configs::new(first, configuration);
        // R6: whatever was in use when this node acknowledged something, its disk knows.
        let mut largest = configs.window();
        for (index, configuration) in configurations {
            assert!(index <= end.index, "a configuration behind the log's end");
            configs.push(index, configuration);
            largest = largest.max(configs.window());
        }

        // R2. A node that never acknowledged anything owes nothing.
        if !clean && state.ack_term > Term::ZERO {
            let w = largest;
            let reach = if torn { watermark.0 + 2 * w } else { end.index.0 + w };
            #[allow(unused_mut)]
            let mut floor = LogEnd { term: state.ack_term, index: BatchIndex(reach) };
            #[cfg(any(test, feature = "planted"))]
            if config.mutation == Mutation::FloorFromDisk {
                floor.term = end.term;
            }
            state.floor = state.floor.max(Some(floor.max(end)));
        }

        let mut core = Self {
            configs,
            voters: 0,
            votes: false,
            enough: 0,
            peers: Vec::with_capacity(PEERS_MAX),
            boot,
            now,
            random: config.seed,
            state,
            synced: None,
            persisting: None,
            written: end.index,
            durable,
            watermark,
            log,
            truncating: None,
            commit: BatchIndex::ZERO,
            announced: BatchIndex::ZERO,
            counted: Default::default(),
            role: Role::Follower,
            leader: None,
            following: Following::default(),
            outlived: None,
            granted: None,
            attempts: 0,
            campaigns: 0,
            behind: false,
            due: None,
            transfer: None,
            led_since: now,
            slow_since: None,
            raised_at: now,
            heard: now,
            deadline: now,
            repeat: now,
            round_sent: 0,
            round_done: 0,
            round_wanted: 0,
            counts: Counts::default(),
            effects: VecDeque::with_capacity(2 * PEERS_MAX + 8),
            config,
        };
        core.seat();
        core.effects.clear(); // The shell knows what it gave.
        if core.voters > 1 || !core.votes {
            core.postpone_election();
        }
        core.settle();
        core
    }

    /// Time passes.
    pub fn tick(&mut self, now: Nanos) {
        self.now = self.now.max(now);
        match self.role {
            Role::Leader if !self.hears_quorum() => self.step_down(),
            Role::Leader => self.lead_on(),
            _ if self.now >= self.deadline => self.campaign(),
            Role::PreCandidate | Role::Candidate if self.now >= self.repeat => self.request_votes(),
            _ => {}
        }
        self.settle();
    }

    /// A connection to a peer opened. Nothing is sent to a peer that is not up. It need not be a member: a node's
    /// log may not know yet who else is one.
    pub fn peer_up(&mut self, id: NodeId, now: Nanos) {
        self.now = self.now.max(now);
        if let Some(at) = self.meet_peer(id) {
            let last = self.log.last();
            let peer = &mut self.peers[at];
            peer.up = true;
            peer.probing = true;
            peer.next = if peer.matched > BatchIndex::ZERO { peer.matched.next() } else { last.next() };
            self.send(at, Body::Hello);
            if self.role == Role::Leader && self.peers[at].listens {
                self.send_append(at);
            }
        }
        self.settle();
    }

    /// A connection to a peer closed. If it led, an election starts at once (the pre-vote decides), unless this node
    /// is behind.
    pub fn peer_down(&mut self, id: NodeId, now: Nanos) {
        self.now = self.now.max(now);
        if let Some(at) = self.peer(id) {
            self.peers[at].up = false;
            self.peers[at].probing = true;
            self.transfer.take_if(|transfer| transfer.to == id);
            if self.role == Role::Follower && self.leader == Some(id) {
                self.leader = None;
                if self.behind { self.postpone_election() } else { self.campaign() }
            }
            self.tally();
        }
        self.settle();
    }

    /// Whether this node has yet to execute much of what is committed, so that it could not answer at once if it
    /// led. When the leader's connection closes, such a node gives the others an election time-out to go ahead.
    pub const fn set_behind(&mut self, behind: bool) {
        self.behind = behind;
    }

    /// A message came. The transport vouches for `from`; whose connection is not up and who is no member is
    /// ignored. If it is an `Append` with batches, the shell then offers each to [`Core::accept`], in order.
    pub fn receive(&mut self, from: NodeId, message: Message, now: Nanos) {
        self.now = self.now.max(now);
        if let Some(at) = self.peer(from)
            && self.meet(at, message.boot)
        {
            self.handle(at, &message);
        }
        self.settle();
    }

    /// What to do with a batch of the `Append` frame that [`Core::receive`] last got from `from`. The
    /// shell has checked its sums and, if it is to follow the log's last batch, its position and chain.
    ///
    /// # Panics
    /// If a leader contradicts a committed batch: the node must stop and keep the evidence.
    pub fn accept(&mut self, from: NodeId, index: BatchIndex, term: Term) -> Verdict {
        let verdict = self.judge_batch(from, index, term);
        if verdict == Verdict::Drop {
            self.following.expect = None;
        } else {
            self.following.expect = Some(index.next());
            self.match_up_to(index);
        }
        self.settle();
        verdict
    }

    /// The batch that was just appended or accepted holds this configuration. To be called before anything else.
    ///
    /// # Panics
    /// If it is not the last batch, or of a leader: if it is not what [`Core::due`] asked for.
    pub fn configured(&mut self, index: BatchIndex, configuration: Configuration) {
        assert_eq!(index, self.log.last(), "a configuration is told with its batch");
        if self.role == Role::Leader {
            assert_eq!(self.due.take().as_ref(), Some(&configuration), "a configuration nobody asked for");
        }
        self.configs.push(index, configuration);
        self.seat();
        self.settle_configuration();
        self.settle();
    }

    /// The leader's shell sealed a batch of its term.
    ///
    /// # Panics
    /// If this node does not lead, or `index` is not the next.
    pub fn appended(&mut self, index: BatchIndex) {
        assert_eq!(self.role, Role::Leader, "only a leader seals batches");
        self.log.push(index, self.state.term);
        self.invariants(); // Nothing follows from it yet: it is in nobody's copies.
    }

    /// The kernel has all batches up to here.
    ///
    /// # Panics
    /// If the log does not hold them.
    pub fn written(&mut self, index: BatchIndex) {
        assert!(index <= self.log.last(), "written {index} behind the log's end");
        self.written = self.written.max(index);
        self.progressed();
    }

    /// The disk has all batches up to here.
    ///
    /// # Panics
    /// If the kernel does not.
    pub fn durable(&mut self, index: BatchIndex) {
        assert!(index <= self.written, "durable {index} ahead of written {}", self.written);
        self.durable = self.durable.max(index);
        self.progressed();
    }

    /// The stored watermark is at least this. Durability is not reported further than W beyond it.
    ///
    /// # Panics
    /// If the disk does not have those batches.
    pub fn watermark(&mut self, index: BatchIndex) {
        assert!(index <= self.durable, "watermark {index} ahead of durable {}", self.durable);
        self.watermark = self.watermark.max(index);
        self.progressed();
    }

    /// The [`Effect::Persist`] under way is on disk.
    ///
    /// # Panics
    /// If it is not this one.
    pub fn persisted(&mut self, state: VoteState) {
        assert_eq!(self.persisting.take(), Some(state), "one write of the vote state at a time");
        let first = self.synced.replace(state).is_none() || state.boot != self.boot;
        self.boot = state.boot;
        if first {
            (0..self.peers.len()).for_each(|at| self.send(at, Body::Hello));
        }
        if self.role == Role::Candidate && self.own_vote_counts() {
            self.request_votes();
            self.tally();
        }
        self.settle();
    }

    /// The [`Effect::Truncate`] under way is done.
    ///
    /// # Panics
    /// If it is not this one.
    pub fn truncated(&mut self, to: BatchIndex) {
        assert_eq!(self.truncating.take(), Some(to), "a cut that was not asked for");
        self.log.truncate(to);
        if self.configs.truncate(to) {
            self.seat();
        }
        self.written = self.written.min(to);
        self.durable = self.durable.min(to);
        self.watermark = self.watermark.min(to);
        // The leader thinks that it sent more; a rejection makes it ask again at once.
        if let Some(at) = self.leader.and_then(|leader| self.peer(leader)) {
            let hint = self.log.end();
            self.send(at, Body::Reject { previous: to.next(), hint });
        }
        self.settle();
    }

    /// A query wants to know that no later leader acted before it arrived. Returns the round whose
    /// [`Effect::ReadRoundDone`] says so; `None` if this node does not lead. Queries that arrive while
    /// a round is under way share the next.
    pub fn read_round(&mut self) -> Option<u64> {
        if self.role != Role::Leader {
            return None;
        }
        if self.round_done == self.round_sent {
            self.start_round();
        } else {
            self.round_wanted = self.round_sent + 1;
        }
        let round = self.round_wanted;
        self.settle();
        Some(round)
    }

    /// Stops leading, as before a shutdown. A voter that has the whole log is asked to lead; the shell then closes
    /// its connections, whereupon the others elect in any case.
    pub fn resign(&mut self) {
        if self.role == Role::Leader {
            self.hand_over();
            self.step_down();
        }
        self.settle();
    }

    /// The next effect.
    pub fn pop(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }
}

// Streaming.
impl Core {
    /// The first batch that `id` should be sent now, if any: this node leads, the peer is up, and it is
    /// known where its log matches.
    #[must_use]
    pub fn next_batch(&self, id: NodeId) -> Option<BatchIndex> {
        self.next_for(self.peer(id)?)
    }

    fn next_for(&self, at: usize) -> Option<BatchIndex> {
        let peer = &self.peers[at];
        let ready = peer.up && peer.listens && !peer.probing;
        let streams = self.role == Role::Leader && ready && peer.next <= self.log.last();
        streams.then_some(peer.next)
    }

    /// The frame to put before the batches from [`Core::next_batch`] through `through`, `bytes` long in
    /// all. They count as sent.
    ///
    /// # Panics
    /// If there is no such batch to send, or `bytes` is over [`BATCHES_MAX`].
    pub fn stream(&mut self, id: NodeId, through: BatchIndex, bytes: u32) -> Message {
        let at = self.peer(id).expect("a voter");
        let from = self.next_for(at).expect("there is a batch to send");
        assert!(from <= through && through <= self.log.last() && bytes <= BATCHES_MAX);
        let message = self.append(at, bytes);
        self.peers[at].next = through.next();
        message
    }
}

// Views.
impl Core {
    /// What this node is.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.role
    }

    /// Its term.
    #[must_use]
    pub const fn term(&self) -> Term {
        self.state.term
    }

    /// The leader it knows, itself included.
    #[must_use]
    pub const fn leader(&self) -> Option<NodeId> {
        self.leader
    }

    /// All batches up to here are committed, as far as this node knows. 0 after a start.
    #[must_use]
    pub const fn committed(&self) -> BatchIndex {
        self.commit
    }

    /// The shape of its log.
    #[must_use]
    pub const fn log(&self) -> &Terms {
        &self.log
    }

    /// The vote state as it should be on disk.
    #[must_use]
    pub const fn vote_state(&self) -> &VoteState {
        &self.state
    }

    /// This node.
    #[must_use]
    pub const fn id(&self) -> NodeId {
        self.config.id
    }

    /// Number of this life.
    #[must_use]
    pub const fn boot(&self) -> Boot {
        self.boot
    }

    /// The log's last configuration: it says who votes.
    #[must_use]
    pub const fn configuration(&self) -> &Configuration {
        self.configs.latest()
    }

    /// The last configuration that is known to be committed.
    #[must_use]
    pub const fn settled_configuration(&self) -> &Configuration {
        self.configs.settled()
    }

    /// W for this node: as far as durability may be ahead of the stored watermark.
    #[must_use]
    pub fn window(&self) -> u64 {
        self.configs.window_of(self.durable)
    }

    /// Whether a leader should take no request, because it hands over.
    #[must_use]
    pub const fn is_transferring(&self) -> bool {
        self.transfer.is_some()
    }

    /// What this node has been through in this life.
    #[must_use]
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// Where a cut is under way: the last batch to keep.
    #[must_use]
    pub const fn truncating(&self) -> Option<BatchIndex> {
        self.truncating
    }

    /// Of a leader: what it counts for `id`, (received, durable), before the window of rule R1.
    #[must_use]
    pub fn copies(&self, id: NodeId) -> Option<(BatchIndex, BatchIndex)> {
        if self.role != Role::Leader {
            return None;
        }
        if id == self.config.id {
            return Some(self.own_copies());
        }
        self.peer(id).map(|at| (self.peers[at].received, self.peers[at].durable))
    }

    /// Elections that this node asked for since it last heard a leader.
    #[must_use]
    pub const fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Set once a leader's log showed that this node's goes on in a lineage that was ended. It takes nothing more:
    /// the shell stops the node and keeps its files.
    #[must_use]
    pub const fn outlived(&self) -> Option<Outlived> {
        self.outlived
    }

    /// Elections that this node asked for in this life.
    #[must_use]
    pub const fn campaigns(&self) -> u64 {
        self.campaigns
    }

    /// When [`Core::tick`] next has something to do; `u64::MAX` if never.
    #[must_use]
    pub fn next_deadline(&self) -> Nanos {
        match self.role {
            Role::Leader if self.peers.is_empty() => Nanos(u64::MAX),
            Role::Leader => self.transfer.map_or(self.repeat, |transfer| transfer.until.min(self.repeat)),
            Role::Follower => self.deadline,
            Role::PreCandidate | Role::Candidate => self.deadline.min(self.repeat),
        }
    }

    /// Checks what must always hold.
    ///
    /// # Panics
    /// If it does not.
    pub fn invariants(&self) {
        let end = self.log.end();
        assert!(end.term <= self.state.term && self.state.ack_term <= self.state.term);
        assert!(self.watermark <= self.durable && self.durable <= self.written && self.written <= end.index);
        assert!(self.commit <= end.index && self.following.matched <= end.index);
        match self.role {
            Role::Leader => {
                assert!(!self.state.blank);
                assert!(
                    self.state.voted_for == Some(self.config.id) && self.state.ack_term == self.state.term
                );
                assert!(self.truncating.is_none());
                for peer in &self.peers {
                    assert!(peer.matched < peer.next && peer.next <= end.index.next());
                    #[cfg(any(test, feature = "planted"))]
                    if self.config.mutation == Mutation::NoBoot {
                        continue; // Believes what another life said.
                    }
                    assert!(peer.durable <= peer.received && peer.received <= peer.matched);
                }
            }
            Role::Candidate => {
                assert!(self.state.voted_for == Some(self.config.id) && self.truncating.is_none());
                assert!(!self.state.blank);
            }
            Role::PreCandidate => assert!(self.truncating.is_none()),
            Role::Follower => {
                if let Some(to) = self.truncating {
                    assert!(self.commit <= to && self.following.matched <= to);
                }
            }
        }
    }
}

// Messages.
impl Core {
    /// Notes the life that a message comes from. False if it is a past one.
    fn meet(&mut self, at: usize, boot: Boot) -> bool {
        let last = self.log.last();
        let peer = &mut self.peers[at];
        if boot == peer.boot {
            return true;
        }
        #[cfg(any(test, feature = "planted"))]
        if self.config.mutation == Mutation::NoBoot && peer.boot > Boot::ZERO {
            return true;
        }
        if boot < peer.boot {
            return false;
        }
        // R5.
        peer.boot = boot;
        peer.forget(last);
        (peer.blank, peer.whole, peer.empty) = (false, false, false);
        if self.state.blank {
            self.send(at, Body::Hello); // Now it can be said to this life.
        }
        if self.role == Role::Leader && self.peers[at].listens {
            self.send_append(at);
        }
        true
    }

    fn handle(&mut self, at: usize, message: &Message) {
        let from = self.peers[at].id;
        if message.to_boot > self.boot {
            self.outgrow(message.to_boot);
        }
        if message.term > self.state.term {
            self.enter_term(message.term);
        }
        self.hear_standing(at, message);
        let current = message.term == self.state.term;
        let for_me = self.is_for_me(message.to_boot);
        match message.body {
            Body::Hello => {}
            Body::PreVote { end } => {
                let grant = (current && self.would_elect(from, end)).then(|| self.judge(end));
                let weakest = self.configs.weakest();
                self.send(at, Body::PreVoteReply { proposed: message.term.next(), grant, weakest });
                // It may have refused this node's question when it still had a leader. Now it has none, and
                // of two that ask each other one yields.
                if grant.is_none() && self.role == Role::PreCandidate && self.peers[at].vote.is_none() {
                    self.send(at, Body::PreVote { end: self.log.end() });
                }
            }
            Body::Vote { end } if current && self.may_vote(from, end) => {
                self.state.voted_for = Some(from);
                self.granted = Some((from, end));
                self.role = Role::Follower;
                self.postpone_election();
            }
            Body::Vote { .. } => {
                let weakest = self.configs.weakest();
                self.send(at, Body::VoteReply { grant: None, weakest });
            }
            Body::PreVoteReply { proposed, grant, weakest } => {
                if self.role == Role::PreCandidate && proposed == self.state.term.next() && for_me {
                    self.take_vote(at, grant, weakest);
                    self.tally();
                }
            }
            Body::VoteReply { grant, weakest } => {
                if self.role == Role::Candidate && current && for_me {
                    self.peers[at].denied |= grant.is_none();
                    self.take_vote(at, grant, weakest);
                    self.tally();
                }
            }
            Body::Append(append) if current => self.follow(at, for_me, &append),
            Body::Append(append) => {
                // Tells a leader of the past that it is one.
                self.send(at, Body::Reject { previous: append.previous.index, hint: self.log.end() });
            }
            Body::Ack { matched, received, durable, round } => {
                let plausible = durable <= received && received <= matched && matched <= self.log.last();
                let current = current || errs!(self, AckOtherTerm);
                if self.role == Role::Leader && current && for_me && plausible {
                    let peer = &mut self.peers[at];
                    peer.heard = self.now;
                    peer.matched = peer.matched.max(matched);
                    peer.received = peer.received.max(received);
                    peer.durable = peer.durable.max(durable);
                    peer.round = peer.round.max(round);
                    if peer.probing {
                        peer.probing = false;
                        peer.next = peer.matched.next();
                    }
                    peer.next = peer.next.max(peer.matched.next());
                }
            }
            Body::TimeoutNow => {
                if current && for_me && self.role == Role::Follower && self.leader == Some(from) {
                    self.campaign_at_once();
                }
            }
            Body::Reject { previous, hint } => {
                if self.role == Role::Leader && current && for_me {
                    let common = self.log.last_within(hint.index, hint.term);
                    let peer = &mut self.peers[at];
                    peer.heard = self.now;
                    #[cfg(any(test, feature = "planted"))]
                    if self.config.mutation == Mutation::NoBoot {
                        peer.matched = peer.matched.min(common.index);
                    }
                    // A rejection of what is known to match is an old one.
                    if previous > peer.matched && common.index < previous {
                        let next = common.index.max(peer.matched).next();
                        // Of a row of frames behind a lost one, each is rejected; one probe is enough.
                        let news = !peer.probing || peer.next != next;
                        peer.probing = true;
                        peer.next = next;
                        if news {
                            self.send_append(at);
                        }
                    }
                }
            }
        }
    }

    fn is_for_me(&self, to_boot: Boot) -> bool {
        #[cfg(any(test, feature = "planted"))]
        if self.config.mutation == Mutation::NoBoot {
            return true;
        }
        to_boot == self.boot
    }

    fn peer(&self, id: NodeId) -> Option<usize> {
        self.peers.iter().position(|peer| peer.id == id)
    }

    fn send(&mut self, at: usize, body: Body) {
        let peer = &self.peers[at];
        // Before the start is on disk, this life has no number.
        if peer.up && self.synced.is_some() {
            let (term, to_boot, standing) = (self.state.term, peer.boot, self.standing());
            let message = Message { term, boot: self.boot, to_boot, standing, body };
            self.effects.push_back(Effect::Send { to: peer.id, message });
        }
    }

    fn append(&self, at: usize, batches: u32) -> Message {
        let peer = &self.peers[at];
        let previous = BatchIndex(peer.next.0 - 1);
        let term = self.log.term_at(previous).expect("within the log");
        let append = Append {
            previous: LogEnd { term, index: previous },
            commit: self.commit,
            mark: peer.mark,
            round: self.round_sent,
            batches,
            admits: peer.admission == Admission::Done,
        };
        let (term, to_boot, standing) = (self.state.term, peer.boot, self.standing());
        Message { term, boot: self.boot, to_boot, standing, body: Body::Append(append) }
    }

    /// An `Append` without batches: a heartbeat, a probe, or a read round.
    fn send_append(&mut self, at: usize) {
        let message = self.append(at, 0);
        self.send(at, message.body);
    }

    fn heartbeat(&mut self) {
        self.repeat = self.now.plus(self.config.heartbeat.0);
        for at in 0..self.peers.len() {
            if self.peers[at].listens {
                self.send_append(at);
            }
        }
    }
}
