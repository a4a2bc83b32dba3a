//! The agent. One duty cycle: what the network brought, what each connection's turn allows, what may leave.

use crate::config::GatewayConfig;
use crate::connection::Tables;
use ordain_agent::metrics::{Gauge, Registry};
use ordain_agent::net::{ConnId, Net, NetEvent};
use ordain_agent::shared::Shared;
use ordain_agent::{Agent, Fatal};
use ordain_api::{Application, RequestDecoder};
use ordain_outputs::OutputLog;
use ordain_ring::log::LogRing;
use ordain_ring::spsc::{Receiver, Sender};
use ordain_types::codes::Code;
use ordain_types::frame::{SERVER_HEADER, ServerFrame, ServerHeader, frame_len};
use ordain_types::{ClusterFacts, Nanos, Now, Stint};
use std::collections::VecDeque;
use std::marker::PhantomData;
use zerocopy::IntoBytes;

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
    /// To the log stage.
    pub requests: Sender,
    /// From apply.
    pub deliveries: Receiver,
    /// The log ring, to know how far the log has come.
    pub ring: LogRing,
    /// Cursors.
    pub shared: Shared,
}

#[derive(Debug)]
pub(crate) struct Metrics {
    pub connections: Gauge,
    pub accepted: Gauge,
    pub turned_away: Gauge,
    pub frames: Gauge,
    pub admitted: Gauge,
    pub refused: Gauge,
    pub duplicates: Gauge,
    pub handshakes_failed: Gauge,
    pub replies: Gauge,
    pub outputs: Gauge,
    pub too_slow: Gauge,
    pub sessions: Gauge,
}

/// The gateway stage.
pub struct Gateway<N, A, D> {
    pub(crate) facts: ClusterFacts,
    pub(crate) config: GatewayConfig,
    pub(crate) net: N,
    pub(crate) decoder: D,
    pub(crate) requests: Sender,
    pub(crate) deliveries: Receiver,
    pub(crate) ring: LogRing,
    pub(crate) shared: Shared,
    pub(crate) tables: Tables,
    pub(crate) outputs: OutputLog,
    pub(crate) metrics: Metrics,
    /// Slots of connections with bytes to look at, in the order of their turns.
    pub(crate) turns: VecDeque<usize>,
    /// Stint in which connections were last looked at.
    pub(crate) stint: Stint,
    /// Handshakes begun: each nonce is derived from its number.
    pub(crate) nonces: u64,
    /// Free bytes of the request ring that only operators may use.
    pub(crate) reserve: usize,
    /// Where the search for silent connections goes on.
    sweep: usize,
    /// Where the service of subscriptions goes on.
    pub(crate) serve: usize,
    pub(crate) subscribers: usize,
    events: Vec<NetEvent>,
    application: PhantomData<fn() -> A>,
}

/// Connections looked at for silence in one cycle.
const SWEEP: usize = 16;
/// Deliveries handled for one unit of the cycle's limit.
const DELIVERIES: usize = 4;

impl<N: Net, A: Application, D: RequestDecoder<A>> Gateway<N, A, D> {
    /// A gateway without connections.
    #[must_use]
    pub fn new(parts: GatewayParts<N, D>, registry: &Registry) -> Self {
        let GatewayParts { facts, config, net, decoder, requests, deliveries, ring, shared } = parts;
        let metrics = Metrics {
            connections: registry.gauge("ordain_connections", "Client connections."),
            accepted: registry.counter("ordain_connections_accepted_total", "Client connections accepted."),
            turned_away: registry.counter(
                "ordain_connections_turned_away_total",
                "Connections closed because a bound was reached.",
            ),
            frames: registry.counter("ordain_frames_received_total", "Frames received from clients."),
            admitted: registry.counter("ordain_requests_admitted_total", "Records handed to the log."),
            refused: registry.counter("ordain_requests_refused_total", "Requests refused before sequencing."),
            duplicates: registry
                .counter("ordain_requests_repeated_total", "Requests whose number was used before."),
            handshakes_failed: registry.counter("ordain_handshakes_failed_total", "Sign-ins that failed."),
            replies: registry.counter("ordain_replies_total", "Replies and answers sent."),
            outputs: registry.counter("ordain_outputs_total", "Outputs of committed batches."),
            too_slow: registry.counter(
                "ordain_connections_too_slow_total",
                "Connections closed because they did not read.",
            ),
            sessions: registry.gauge("ordain_sessions_attached", "Sessions attached to a connection."),
        };
        let reserve = requests.max_len() / 2;
        let outputs = OutputLog::new(config.outputs_bytes);
        Self {
            facts,
            config,
            net,
            decoder,
            requests,
            deliveries,
            ring,
            shared,
            tables: Tables::default(),
            outputs,
            metrics,
            turns: VecDeque::new(),
            stint: Stint(0),
            nonces: 0,
            reserve,
            sweep: 0,
            serve: 0,
            subscribers: 0,
            events: Vec::new(),
            application: PhantomData,
        }
    }

    /// Whether clients' requests are of use: this node leads, and has applied all that was before its reign.
    pub(crate) fn is_serving(&self) -> bool {
        self.shared.leads() && self.shared.applied.load() >= self.shared.stint_first.load()
    }

    /// Buffers a frame for a connection. One that does not read its answers is closed.
    pub(crate) fn send(&mut self, conn: ConnId, header: &ServerHeader, payload: &[u8]) {
        let mut frame = [0; frame_len(256)];
        let len = frame_len(payload.len());
        frame[..SERVER_HEADER].copy_from_slice(header.as_bytes());
        frame[SERVER_HEADER..SERVER_HEADER + payload.len()].copy_from_slice(payload);
        self.send_frame(conn, &frame[..len]);
    }

    /// As [`Gateway::send`] for a frame that is laid out already.
    pub(crate) fn send_frame(&mut self, conn: ConnId, frame: &[u8]) -> bool {
        if self.net.send(conn, frame) {
            return true;
        }
        if self.tables.slot(conn).is_some() {
            self.metrics.too_slow.add(1);
            tracing::info!(conn = conn.0, "a client does not read its answers and is disconnected");
            self.drop_connection(conn);
        }
        false
    }

    /// Says why, and closes.
    pub(crate) fn goodbye(&mut self, conn: ConnId, code: Code, why: &str) {
        let why = &why.as_bytes()[..why.len().min(256)];
        let header = ServerHeader {
            length: (why.len() as u32).into(),
            kind: ServerFrame::Goodbye as u8,
            code: code as u8,
            ..ServerHeader::default()
        };
        self.send(conn, &header, why);
        self.drop_connection(conn);
    }

    pub(crate) fn drop_connection(&mut self, conn: ConnId) {
        if let Some(connection) = self.tables.find(conn) {
            self.subscribers -= connection.subscriptions.len();
        }
        self.tables.remove(conn);
        self.net.close(conn);
    }

    fn hear_net(&mut self, now: Now, limit: usize) -> usize {
        let mut events = core::mem::take(&mut self.events);
        let count = self.net.poll(&mut events, limit);
        for event in events.drain(..) {
            match event {
                NetEvent::Opened(conn) => self.on_opened(conn, now.mono),
                NetEvent::Received(conn) => self.queue_turn(conn),
                NetEvent::Closed(conn) => {
                    if let Some(connection) = self.tables.find(conn) {
                        self.subscribers -= connection.subscriptions.len();
                    }
                    self.tables.remove(conn);
                }
            }
        }
        self.events = events;
        count
    }

    fn on_opened(&mut self, conn: ConnId, now: Nanos) {
        self.metrics.accepted.add(1);
        let is_full = self.tables.connections() >= self.config.connections_max
            || self.tables.strangers >= self.config.strangers_max;
        if is_full {
            self.metrics.turned_away.add(1);
            self.net.close(conn);
        } else {
            self.tables.insert(conn, now);
        }
    }

    pub(crate) fn queue_turn(&mut self, conn: ConnId) {
        if let Some(slot) = self.tables.slot(conn)
            && let Some(connection) = self.tables.get(slot)
            && !connection.queued
        {
            connection.queued = true;
            self.turns.push_back(slot);
        }
    }

    /// When the reign ends, nothing that was promised under it can be kept here: clients go and ask the
    /// new leader.
    fn watch_stint(&mut self) {
        let stint = self.shared.stint();
        if stint == self.stint {
            return;
        }
        self.stint = stint;
        for slot in 0..self.tables.slots() {
            if let Some(connection) = self.tables.get(slot)
                && connection.is_ready()
            {
                let id = connection.id;
                self.goodbye(id, Code::NotLeader, "the cluster has another leader: connect to it");
            }
        }
        self.tables.sessions.clear();
    }

    /// Closes what has been silent for too long.
    fn sweep(&mut self, now: Nanos) {
        for _ in 0..SWEEP.min(self.tables.slots()) {
            self.sweep = (self.sweep + 1) % self.tables.slots();
            let (handshake, idle) = (self.config.handshake_timeout.0, self.config.idle_timeout.0);
            let Some(connection) = self.tables.get(self.sweep) else { continue };
            let (id, silent) = (connection.id, now.since(connection.heard));
            if connection.is_ready() && silent > idle {
                self.goodbye(id, Code::Idle, "nothing was heard for too long: send a Ping now and then");
            } else if !connection.is_ready() && silent > handshake {
                self.goodbye(id, Code::Unauthenticated, "the sign-in took too long");
            }
        }
    }
}

impl<N: Net, A: Application, D: RequestDecoder<A>> Agent for Gateway<N, A, D> {
    fn name(&self) -> &'static str {
        "gateway"
    }

    fn do_work(&mut self, now: Now, limit: usize) -> Result<usize, Fatal> {
        self.watch_stint();
        let mut work = self.hear_net(now, limit);
        work += self.take_turns(now, limit);
        work += self.deliver(limit * DELIVERIES);
        work += self.serve_subscriptions(limit);
        self.sweep(now.mono);
        self.net.flush();
        self.metrics.connections.set(self.tables.connections() as u64);
        self.metrics.sessions.set(self.tables.sessions.len() as u64);
        let closing = self.shared.is_stopping() && self.shared.journal_closed.load() == 1;
        if closing && self.deliveries.peek().is_none() {
            self.shared.gateway_closed.store(1);
        }
        Ok(work)
    }

    fn next_deadline(&self) -> Option<Nanos> {
        None
    }
}
