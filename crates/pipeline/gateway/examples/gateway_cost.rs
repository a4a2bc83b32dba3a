//! What a request costs in the gateway: `cargo run --release -p ordain-gateway --example gateway_cost`.
//!
//! A network in memory hands requests over and takes replies away; the log and apply are played between the
//! measured calls. Prints nanoseconds per request, the best of several rounds, for one and for many
//! connections.

use ordain_agent::Agent;
use ordain_agent::metrics::Registry;
use ordain_agent::net::{ConnId, Net, NetEvent};
use ordain_agent::shared::{Cursors, Shared};
use ordain_agent::wire::{DELIVERY, Delivery, SUBMISSION, delivery};
use ordain_counter::{CounterDecoder, Counters, Request, SCHEMA};
use ordain_gateway::{Gateway, GatewayConfig, GatewayParts};
use ordain_keys::{ClientHandshake, KeyPair};
use ordain_ring::log::LogRing;
use ordain_ring::spsc::{Receiver, Sender, channel};
use ordain_types::frame::{ChallengeBody, ClientFrame, KeyBody, SERVER_HEADER, ServerFrame, ServerHeader};
use ordain_types::record::RECORD_HEADER;
use ordain_types::{ClusterFacts, ClusterId, Nanos, Now, Position, RecordHeader, RecordKind};
use std::time::Instant;
use zerocopy::{FromBytes, IntoBytes};

/// Requests of a session before their replies.
const BURST: u64 = 256;
const ROUNDS: usize = 400;
const PAYLOAD: usize = 16;

#[derive(Default)]
struct Pipe {
    received: Vec<u8>,
    consumed: usize,
    sent: Vec<u8>,
}

#[derive(Default)]
struct Memory {
    pipes: Vec<Pipe>,
    events: Vec<NetEvent>,
}

impl Net for Memory {
    fn poll(&mut self, events: &mut Vec<NetEvent>, _limit: usize) -> usize {
        let taken = self.events.len();
        events.append(&mut self.events);
        taken
    }

    fn received(&self, conn: ConnId) -> &[u8] {
        let pipe = &self.pipes[conn.0 as usize];
        &pipe.received[pipe.consumed..]
    }

    fn consume(&mut self, conn: ConnId, bytes: usize) {
        self.pipes[conn.0 as usize].consumed += bytes;
    }

    fn send_room(&self, conn: ConnId) -> usize {
        (1 << 22) - self.pipes[conn.0 as usize].sent.len()
    }

    fn send(&mut self, conn: ConnId, bytes: &[u8]) -> bool {
        if bytes.len() > self.send_room(conn) {
            return false;
        }
        self.pipes[conn.0 as usize].sent.extend_from_slice(bytes);
        true
    }

    fn flush(&mut self) {}

    fn close(&mut self, conn: ConnId) {
        panic!("connection {} was closed", conn.0);
    }

    fn accept(&mut self, _accepting: bool) {}
}

struct Bench {
    gateway: Gateway<Memory, Counters, CounterDecoder>,
    requests: Receiver,
    deliveries: Sender,
    shared: Shared,
    now: u64,
}

impl Bench {
    fn new(connections: usize) -> Self {
        let facts = ClusterFacts::new(ClusterId([1; 16]), Nanos(1), 1);
        let (sender, requests) = channel(1 << 21);
        let (deliveries, receiver) = channel(1 << 22);
        let (_, ring) = LogRing::new(1 << 20, Position(0));
        let shared = Shared::new(Cursors::default());
        shared.room.store(1 << 20);
        shared.stint.store(1);
        let parts = GatewayParts {
            facts,
            config: GatewayConfig::new(KeyPair::from_seed(&[1; 32]), [2; 32]),
            net: Memory::default(),
            decoder: CounterDecoder,
            requests: sender,
            deliveries: receiver,
            ring,
            shared: shared.clone(),
        };
        let gateway = Gateway::new(parts, &Registry::default());
        let mut bench = Self { gateway, requests, deliveries, shared, now: 0 };
        let pair = KeyPair::from_seed(&[3; 32]);
        let key = KeyBody { key: pair.public().0, permissions: u32::MAX.into(), reserved: [0; 4] };
        bench.deliver(
            Delivery { kind: delivery::KEY.into(), key: 1.into(), ..Delivery::default() },
            key.as_bytes(),
        );
        for conn in 0..connections as u64 {
            bench.connect(conn, &pair);
        }
        bench
    }

    fn run(&mut self) {
        self.now += 1000;
        let now = Nanos(self.now);
        while self.gateway.do_work(Now { mono: now, wall: now }, 4096).unwrap() > 0 {}
    }

    fn connect(&mut self, conn: u64, pair: &KeyPair) {
        let client = ClientHandshake::new(pair.clone(), ClusterId([1; 16]), None, [4; 32]);
        let net = self.gateway.net();
        net.pipes.push(Pipe::default());
        net.events.push(NetEvent::Opened(ConnId(conn)));
        self.send(conn, ClientFrame::Hello as u8, client.hello().as_bytes());
        let sent = std::mem::take(&mut self.gateway.net().pipes[conn as usize].sent);
        let (challenge, _) = ChallengeBody::read_from_prefix(&sent[SERVER_HEADER..]).unwrap();
        let (proof, _) = client.answer(&challenge).unwrap();
        self.send(conn, ClientFrame::Proof as u8, proof.as_bytes());
        self.send(conn, RecordKind::SessionOpen as u8, &[0; 8]);
        self.requests.release();
        let opened = ServerHeader {
            kind: ServerFrame::Opened as u8,
            session: (conn + 1).into(),
            ..ServerHeader::default()
        };
        let head = Delivery {
            kind: delivery::OPENED.into(),
            conn: conn.into(),
            stint: 1.into(),
            key: 1.into(),
            ..Delivery::default()
        };
        self.deliver(head, opened.as_bytes());
        self.run();
    }

    fn send(&mut self, conn: u64, kind: u8, payload: &[u8]) {
        let header = RecordHeader { length: (payload.len() as u32).into(), kind, ..RecordHeader::default() };
        let net = self.gateway.net();
        net.pipes[conn as usize].received.extend_from_slice(header.as_bytes());
        net.pipes[conn as usize].received.extend_from_slice(payload);
        net.events.push(NetEvent::Received(ConnId(conn)));
        self.run();
    }

    fn deliver(&mut self, head: Delivery, frame: &[u8]) {
        let space = self.deliveries.try_claim(DELIVERY + frame.len()).unwrap();
        space[..DELIVERY].copy_from_slice(head.as_bytes());
        space[DELIVERY..].copy_from_slice(frame);
        self.deliveries.commit();
    }

    /// Requests `first..first + BURST` of every session; nanoseconds per request in and out.
    fn round(&mut self, first: u64) -> (f64, f64) {
        let connections = self.gateway.net().pipes.len() as u64;
        let payload = Request::Add { counter: 1, by: 1 }.to_wire();
        for conn in 0..connections {
            let net = self.gateway.net();
            let pipe = &mut net.pipes[conn as usize];
            pipe.received.clear();
            pipe.sent.clear();
            pipe.consumed = 0;
            for number in first..first + BURST {
                let header = RecordHeader {
                    length: (PAYLOAD as u32).into(),
                    kind: RecordKind::Request as u8,
                    schema: SCHEMA,
                    open_span: ((number - first) as u16).into(),
                    session: (conn + 1).into(),
                    number: number.into(),
                    ..RecordHeader::default()
                };
                pipe.received.extend_from_slice(header.as_bytes());
                pipe.received.extend_from_slice(&payload);
            }
            net.events.push(NetEvent::Received(ConnId(conn)));
        }
        let count = (connections * BURST) as f64;
        let begin = Instant::now();
        self.run();
        let ingress = begin.elapsed().as_nanos() as f64 / count;
        let mut admitted = 0;
        while let Some(message) = self.requests.peek() {
            assert_eq!(message.len(), SUBMISSION + RECORD_HEADER + PAYLOAD);
            self.requests.release();
            admitted += 1;
        }
        assert_eq!(admitted, connections * BURST);
        self.shared.committed.store(self.shared.committed.load() + 1);
        self.shared.applied.store(self.shared.committed.load());
        let head = Delivery {
            kind: delivery::REPLY.into(),
            index: self.shared.committed.load().into(),
            stint: 1.into(),
            key: 1.into(),
            ..Delivery::default()
        };
        for number in first..first + BURST {
            for conn in 0..connections {
                let header = ServerHeader {
                    length: (PAYLOAD as u32).into(),
                    kind: ServerFrame::Reply as u8,
                    session: (conn + 1).into(),
                    number: number.into(),
                    ..ServerHeader::default()
                };
                let mut frame = [0; SERVER_HEADER + PAYLOAD];
                frame[..SERVER_HEADER].copy_from_slice(header.as_bytes());
                self.deliver(head, &frame);
            }
        }
        let begin = Instant::now();
        self.run();
        let egress = begin.elapsed().as_nanos() as f64 / count;
        assert!(
            self.gateway
                .net()
                .pipes
                .iter()
                .all(|pipe| pipe.sent.len() == BURST as usize * (SERVER_HEADER + PAYLOAD))
        );
        (ingress, egress)
    }
}

fn main() {
    for connections in [1, 64] {
        let mut bench = Bench::new(connections);
        let rounds: Vec<_> = (0..ROUNDS).map(|round| bench.round(1 + round as u64 * BURST)).collect();
        let median = |of: fn(&(f64, f64)) -> f64| {
            let mut all: Vec<_> = rounds.iter().map(of).collect();
            all.sort_by(f64::total_cmp);
            (all[0], all[all.len() / 2])
        };
        let (ingress, egress) = (median(|round| round.0), median(|round| round.1));
        println!(
            "{connections:3} connections: ingress {:.1} ns (median {:.1}), egress {:.1} ns (median {:.1}) per request",
            ingress.0, ingress.1, egress.0, egress.1
        );
    }
}
