//! The agent. One duty cycle: what the network brought, what may leave, what each connection's turn allows.

use crate::config::GatewayConfig;
use crate::metrics::Metrics;
use crate::table::{Phase, Table};
use ordain_agent::metrics::Registry;
use ordain_agent::net::{ConnId, Net, NetEvent};
use ordain_agent::shared::Shared;
use ordain_agent::wire::SUBMISSION;
use ordain_agent::{Agent, Fatal};
use ordain_api::{Application, RequestDecoder};
use ordain_keys::PublicKey;
use ordain_outputs::OutputLog;
use ordain_ring::log::LogRing;
use ordain_ring::spsc::{Receiver, Sender};
use ordain_types::codes::Code;
use ordain_types::configuration::{ADDRESS_MAX, Configuration};
use ordain_types::frame::{REPLY_MAX, ServerFrame, ServerHeader, frame_len};
use ordain_types::record::{PAYLOAD_MAX, record_len};
use ordain_types::{ClusterFacts, KeyId, Lineage, Nanos, NodeId, Now, Stint};
use rustc_hash::FxHashMap;
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use zerocopy::IntoBytes;

/// Bytes that the request ring needs at least: it takes messages of up to a quarter of its size.
pub const REQUEST_RING_MIN: usize = (4 * (SUBMISSION + record_len(PAYLOAD_MAX))).next_power_of_two();

/// Longest payload of a frame of the gateway's own, but for members and facts.
const OWN_PAYLOAD: usize = 264;
const _: () = assert!(ADDRESS_MAX <= OWN_PAYLOAD && OWN_PAYLOAD <= REPLY_MAX);
/// Send room that a connection keeps for its Goodbye.
const GOODBYE_ROOM: usize = frame_len(OWN_PAYLOAD);
/// Network events taken per cycle at most, so that taking them does not delay replies.
const EVENTS: usize = 256;
/// Deliveries handled for one unit of the cycle's limit: a request may cause several.
const DELIVERIES: usize = 4;

/// What a gateway is made of.
pub struct GatewayParts<N, D> {
    /// The cluster's facts.
    pub facts: ClusterFacts,
    /// Bounds.
    pub config: GatewayConfig,
    /// The network.
    pub net: N,
    /// Judges payloads.
    pub decoder: D,
    /// To the log stage; at least [`REQUEST_RING_MIN`] bytes.
    pub requests: Sender,
    /// From apply.
    pub deliveries: Receiver,
    /// The log ring, to know how far the log has come.
    pub ring: LogRing,
    /// Cursors.
    pub shared: Shared,
}

/// The gateway stage.
pub struct Gateway<N, A, D> {
    net: N,
    deliveries: Receiver,
    core: Core<A, D>,
    events: Vec<NetEvent>,
    /// Until when the network may wait, as of the last cycle.
    deaf_until: Option<Nanos>,
    /// When the network was looked at last.
    heard: Nanos,
}

impl<N, D> fmt::Debug for GatewayParts<N, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GatewayParts").finish_non_exhaustive()
    }
}

impl<N, A, D> fmt::Debug for Gateway<N, A, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway").field("table", &self.core.table).finish_non_exhaustive()
    }
}

/// Everything but the port and the delivery ring, from which bytes are lent while this changes.
pub(crate) struct Core<A, D> {
    pub facts: ClusterFacts,
    pub config: GatewayConfig,
    pub decoder: D,
    pub requests: Sender,
    pub ring: LogRing,
    pub shared: Shared,
    pub metrics: Metrics,
    pub table: Table,
    /// Keys as the log has them: number and permissions.
    pub keys: FxHashMap<PublicKey, (KeyId, u32)>,
    pub outputs: OutputLog,
    pub lineage: Lineage,
    /// Handshakes begun: each nonce is derived from its number.
    pub nonces: u64,
    /// The stint that this cycle sees.
    pub stint: Stint,
    /// The last stint in which everything from before it was delivered: only then are all keys known here.
    pub ready_in: Stint,
    /// Times that apply started over, as far as the delivery ring has told.
    pub restarts: u64,
    pub cycle: Cycle,
    /// The configuration that was posted last, and how many posts were seen.
    pub cluster: Option<Arc<Configuration>>,
    pub cluster_seen: u64,
    /// Where a page of members is put together.
    pub page: Vec<u8>,
    /// Where a frame of this stage's own is put together.
    pub frame: Vec<u8>,
    application: PhantomData<fn() -> A>,
}

/// What is found once per cycle and holds for all its frames.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cycle {
    pub now: Nanos,
    /// Why nothing is handed to the log stage.
    pub closed: Option<Code>,
    /// Why no subscription is taken.
    pub outputs_closed: Option<Code>,
    /// Whether what is sequenced now could not be committed, as far as the log stage sees.
    pub no_copies: bool,
    /// Whether the log has no room for requests of clients, and of operators.
    pub no_room: bool,
    pub no_operator_room: bool,
    /// Bytes of the request ring that clients may still use.
    pub client_requests: usize,
}

/// What the node says when it ends a connection.
#[derive(Clone, Debug)]
pub(crate) struct Goodbye {
    pub code: Code,
    pub why: Cow<'static, str>,
}

pub(crate) const fn goodbye(code: Code, why: &'static str) -> Goodbye {
    Goodbye { code, why: Cow::Borrowed(why) }
}

impl<N: Net, A: Application, D: RequestDecoder<A>> Gateway<N, A, D> {
    /// A gateway without connections.
    ///
    /// # Panics
    /// If the request ring is smaller than [`REQUEST_RING_MIN`].
    #[must_use]
    pub fn new(parts: GatewayParts<N, D>, registry: &Registry) -> Self {
        let GatewayParts { facts, config, net, decoder, requests, deliveries, ring, shared } = parts;
        assert!(
            requests.max_len() * 4 >= REQUEST_RING_MIN,
            "the request ring needs at least {REQUEST_RING_MIN} bytes"
        );
        let core = Core {
            outputs: OutputLog::new(config.outputs_bytes),
            facts,
            config,
            decoder,
            requests,
            ring,
            shared,
            metrics: Metrics::new(registry),
            table: Table::default(),
            keys: FxHashMap::default(),
            lineage: Lineage::ZERO,
            nonces: 0,
            stint: Stint::ZERO,
            ready_in: Stint::ZERO,
            restarts: 0,
            cycle: Cycle::default(),
            cluster: None,
            cluster_seen: 0,
            page: Vec::with_capacity(REPLY_MAX),
            frame: Vec::with_capacity(frame_len(REPLY_MAX)),
            application: PhantomData,
        };
        let events = Vec::with_capacity(EVENTS);
        Self { net, deliveries, core, events, deaf_until: None, heard: Nanos::ZERO }
    }

    /// The port, for tests and tools.
    pub const fn net(&mut self) -> &mut N {
        &mut self.net
    }

    /// Until when clients may wait: while something that apply has seen is not synced.
    fn may_wait_until(&self) -> Option<Nanos> {
        let shared = &self.core.shared;
        let delay = self.core.config.input_delay;
        let is_syncing = delay > Nanos::ZERO && shared.durable.load() < shared.applied.load();
        is_syncing.then(|| self.heard.plus(delay.0))
    }

    fn hear_net(&mut self) -> usize {
        let core = &mut self.core;
        let taken = self.net.poll(&mut self.events, EVENTS);
        for event in self.events.drain(..) {
            match event {
                NetEvent::Opened(id) => core.on_opened(&mut self.net, id),
                NetEvent::Received(id) => {
                    if let Some(slot) = core.table.slot(id) {
                        core.table.get_mut(slot).heard = core.cycle.now;
                        core.table.enqueue(slot);
                    }
                }
                NetEvent::Closed(id) => {
                    if let Some(slot) = core.table.slot(id) {
                        core.table.remove(slot);
                    }
                }
            }
        }
        taken
    }

    /// Ends the connections once everything admitted is journaled and what may be answered has been.
    fn finish(&mut self) {
        let shared = &self.core.shared;
        if shared.journal_closed.load() == 0 {
            return;
        }
        // Nobody writes any more: what the journal has is the whole log, and a leader owes answers to its end,
        // unless it came to lead when the log was closed already: then nothing was admitted under it, and
        // without a batch of its own it commits nothing.
        let last = shared.written.load();
        let has_written = shared.leads() && shared.stint_first.load() <= last;
        let is_known = shared.committed.load().min(shared.applied.load()) >= last;
        // Otherwise, what is still in the ring waits for a commitment that this life will not see.
        if has_written && (!is_known || self.deliveries.peek().is_some()) {
            return;
        }
        for slot in self.core.table.used() {
            self.core.end(&mut self.net, slot, &goodbye(Code::Stopping, "the node stops: connect elsewhere"));
        }
        self.net.flush();
        self.core.shared.gateway_closed.store(1);
    }
}

impl<N: Net, A: Application, D: RequestDecoder<A>> Agent for Gateway<N, A, D> {
    fn name(&self) -> &'static str {
        "gateway"
    }

    fn do_work(&mut self, now: Now, limit: usize) -> Result<usize, Fatal> {
        let stopping = self.core.shared.is_stopping();
        if stopping {
            self.net.accept(false);
            // `closed` holds from here on: nothing follows this in the request ring.
            self.core.shared.requests_closed.store(1);
        }
        let mut work = self.core.begin_cycle(&mut self.net, now.mono, stopping);
        // Answers first: they free what requests wait for, and carry the acknowledgements of what the kernel
        // has received, which reading would have it send by themselves.
        let delivered = self.core.deliver(&mut self.net, &mut self.deliveries, limit * DELIVERIES);
        if delivered > 0 {
            self.net.flush();
        }
        work += delivered;
        self.deaf_until = self.may_wait_until();
        if self.deaf_until.is_none_or(|until| until <= now.mono) {
            self.deaf_until = None;
            self.heard = now.mono;
            work += self.hear_net();
        }
        work += self.core.take_turns(&mut self.net, limit);
        work += self.core.tell_presence();
        work += self.core.serve_subscriptions(&mut self.net, limit);
        work += self.core.time_out(&mut self.net);
        if work > 0 {
            self.core.show();
            self.net.flush();
        }
        if stopping && self.core.shared.gateway_closed.load() == 0 {
            self.finish();
        }
        Ok(work)
    }

    fn next_deadline(&self) -> Option<Nanos> {
        self.core.table.first_deadline().map(|(deadline, _)| deadline)
    }

    fn deaf_until(&self) -> Option<Nanos> {
        self.deaf_until
    }
}

impl<A: Application, D: RequestDecoder<A>> Core<A, D> {
    fn begin_cycle<N: Net>(&mut self, net: &mut N, now: Nanos, stopping: bool) -> usize {
        let stint = self.shared.stint();
        let was_leader = self.stint.0 % 2 == 1;
        let ended = if stint != self.stint && was_leader { self.end_reign(net) } else { 0 };
        if stint != self.stint {
            self.table.all_told();
        }
        self.stint = stint;
        if let Some(news) = self.shared.board.news(&mut self.cluster_seen) {
            self.cluster = Some(news);
        }
        let no_copies = self.shared.no_copies.load() == 1;
        let starting = (self.ready_in != stint).then_some(Code::Starting);
        let (closed, outputs_closed) = match stint.0 % 2 {
            _ if stopping => (Some(Code::Stopping), Some(Code::Stopping)),
            // Outputs are of committed batches alone: whoever executes these can serve them.
            0 => {
                let closed = if no_copies { Code::NoCopies } else { Code::NotLeader };
                (Some(closed), (self.shared.committed.load() == 0).then_some(Code::Starting))
            }
            _ => (starting, starting),
        };
        // With the disk full, what was admitted must still fit into the segments that exist.
        let left = self.shared.room.load().saturating_sub(self.ring.published().0);
        let admitted = 8 * self.requests.max_len() as u64 + 2 * u64::from(self.facts.batch_max);
        let needed = admitted.min(self.facts.segment_size / 2);
        let is_full = self.shared.disk_full.load() == 1;
        let reserve = self.requests.max_len();
        self.cycle = Cycle {
            now,
            closed,
            outputs_closed,
            no_copies,
            no_room: is_full && left < needed,
            no_operator_room: is_full && left < needed / 2,
            client_requests: self.requests.free().saturating_sub(reserve),
        };
        ended
    }

    /// Nothing that was promised in the reign that is over can be kept here: clients ask the new leader.
    fn end_reign<N: Net>(&mut self, net: &mut N) -> usize {
        let used = self.table.used();
        for slot in used.iter().copied() {
            if matches!(self.table.get(slot).phase, Phase::Ready) {
                self.end(net, slot, &goodbye(Code::NotLeader, ""));
            }
        }
        self.table.forget_left();
        used.len()
    }

    fn on_opened<N: Net>(&mut self, net: &mut N, id: ConnId) {
        self.metrics.accepted.add(1);
        if self.table.strangers() >= self.config.strangers() {
            let oldest = self.table.oldest_stranger().expect("the bound is not zero");
            self.metrics.turned_away.add(1);
            self.end(net, oldest, &goodbye(Code::Busy, "too many connections are signing in: try again"));
        }
        let now = self.cycle.now;
        self.table.add(id, now, now.plus(self.config.handshake_timeout.0));
    }

    /// Ends the connections whose time is up.
    fn time_out<N: Net>(&mut self, net: &mut N) -> usize {
        let mut ended = 0;
        while let Some((deadline, slot)) = self.table.first_deadline() {
            if deadline > self.cycle.now {
                break;
            }
            let conn = self.table.get(slot);
            // One that this node does not read on is not to blame for silence.
            let heard = if conn.queued || conn.held { self.cycle.now } else { conn.heard };
            let due = heard.plus(self.config.idle_timeout.0);
            match conn.phase {
                Phase::Ready if due > self.cycle.now => self.table.postpone(slot, due),
                Phase::Ready => {
                    let why = "nothing was heard for too long: send a Ping now and then";
                    self.end(net, slot, &goodbye(Code::Idle, why));
                }
                _ => self.end(net, slot, &goodbye(Code::Unauthenticated, "the sign-in took too long")),
            }
            ended += 1;
        }
        ended
    }

    /// The leader, if this node knows one.
    pub fn leader(&self) -> Option<NodeId> {
        self.shared.leader.load().checked_sub(1).map(|leader| NodeId(leader as u32))
    }

    /// Puts a frame of this stage into `self.frame`. Whoever came to the wrong node is told the right one
    /// instead of `payload`.
    pub fn own_frame(&mut self, kind: ServerFrame, code: Code, ids: (u64, u64, u64), payload: &[u8]) {
        let (session, number, seq) = ids;
        let seat = self.leader().and_then(|leader| self.cluster.as_ref()?.find(leader));
        let payload = match code {
            Code::NotLeader => seat.map_or("", |seat| &seat.member.client).as_bytes(),
            _ => payload,
        };
        let header = ServerHeader {
            length: (payload.len() as u32).into(),
            kind: kind as u8,
            code: code as u8,
            lineage: self.lineage.0.into(),
            session: session.into(),
            number: number.into(),
            seq: seq.into(),
        };
        self.frame.clear();
        self.frame.extend_from_slice(header.as_bytes());
        self.frame.extend_from_slice(payload);
        self.frame.resize(frame_len(payload.len()), 0);
    }

    /// Sends `self.frame`. `false`: the connection was too slow, and is gone.
    pub fn send_own<N: Net>(&mut self, net: &mut N, slot: u32) -> bool {
        let frame = std::mem::take(&mut self.frame);
        let sent = self.send(net, slot, &frame);
        self.frame = frame;
        sent
    }

    /// Sends a frame. `false`: the connection was too slow, and is gone.
    pub fn send<N: Net>(&mut self, net: &mut N, slot: u32, frame: &[u8]) -> bool {
        let id = self.table.get(slot).id;
        if net.send_room(id) < frame.len() + GOODBYE_ROOM || !net.send(id, frame) {
            self.end(net, slot, &goodbye(Code::TooSlow, "answers were read too slowly"));
            return false;
        }
        true
    }

    /// Says why, and closes.
    pub fn end<N: Net>(&mut self, net: &mut N, slot: u32, Goodbye { code, why }: &Goodbye) {
        let conn = self.table.get(slot);
        let id = conn.id;
        self.metrics.handshakes_failed.add(u64::from(!matches!(conn.phase, Phase::Ready)));
        match code {
            Code::Malformed => self.metrics.malformed.add(1),
            Code::TooSlow => self.metrics.too_slow.add(1),
            Code::Idle => self.metrics.idle.add(1),
            _ => {}
        }
        tracing::debug!(conn = id.0, ?code, %why, "a connection is closed");
        let why = why.as_bytes();
        self.own_frame(ServerFrame::Goodbye, *code, (0, 0, 0), &why[..why.len().min(OWN_PAYLOAD)]);
        // With no room for it, the connection ends without a word.
        net.send(id, &self.frame);
        net.close(id);
        self.table.remove(slot);
    }

    fn show(&self) {
        self.metrics.connections.set(self.table.signed_in() as u64);
        self.metrics.strangers.set(self.table.strangers() as u64);
        self.metrics.sessions.set(self.table.sessions.len() as u64);
        self.metrics.subscriptions.set(self.table.subscriptions.len() as u64);
    }
}
