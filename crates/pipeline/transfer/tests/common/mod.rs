//! Two nodes: what is on their disks, and the wire between their exchanges.

use ordain_agent::Fatal;
use ordain_agent::disk::FileId;
use ordain_agent::metrics::Registry;
use ordain_agent::shared::Shared;
use ordain_agent::side::{Outbox, SIDE_HEAD, Side};
use ordain_agent::states::States;
use ordain_agent::wire::Stored;
use ordain_api::Step;
use ordain_apply::Replica;
use ordain_apply::snapshot::{Place, Writer};
pub use ordain_apply::testkit::files::{File, Files, Lane, World};
use ordain_apply::testkit::{CLIENT, Log, execute, facts};
use ordain_counter::{CounterDecoder, CounterEncoder, CounterFactory, Request, SCHEMA};
use ordain_journal::TermStart;
use ordain_ring::spsc;
use ordain_transfer::message::Held;
use ordain_transfer::{Exchange, ExchangeParts, SnapshotLanes};
use ordain_types::frame::OpenBody;
use ordain_types::{
    BatchIndex, BatchKind, BatchView, ClusterFacts, Nanos, NodeId, Now, Position, RecordHeader, RecordKind,
    Stint,
};
use std::collections::VecDeque;
use zerocopy::IntoBytes;

pub const SEGMENT: u64 = 4096;

pub fn small() -> ClusterFacts {
    ClusterFacts { segment_size: SEGMENT, batch_max: 1024, payload_max: 256, ..facts() }
}

/// A log of `segments` segments that are not filled to their ends.
pub fn log(segments: u64) -> Vec<Vec<u8>> {
    let facts = small();
    let (mut log, mut batches) = Log::new(&facts, &CounterFactory);
    let open = RecordHeader { key: CLIENT.0.into(), ..Log::header(RecordKind::SessionOpen) };
    let session = log.push(open, OpenBody { reserved: [0; 8] }.as_bytes());
    batches.push(log.seal(BatchKind::Data));
    let mut number = 0;
    while log.position().0 < segments * SEGMENT - 1024 {
        if SEGMENT - log.position().0 % SEGMENT < 512 {
            batches.extend(log.next_segment(&facts));
        }
        for request in [Request::Add { counter: 3, by: 2 }, Request::Burst { counter: 1, count: 2 }] {
            number += 1;
            let header = RecordHeader {
                schema: SCHEMA,
                session: session.0.into(),
                number: number.into(),
                // Replies stay with the session, so that its snapshots have some size.
                open_span: 0.into(),
                key: CLIENT.0.into(),
                ..Log::header(RecordKind::Request)
            };
            log.push(header, &request.to_wire());
        }
        batches.push(log.seal(BatchKind::Data));
    }
    batches
}

/// The log as segments on a disk.
pub fn segments(batches: &[Vec<u8>]) -> Files {
    let mut bytes = batches.concat();
    bytes.resize(bytes.len().next_multiple_of(SEGMENT as usize), 0);
    let segments = bytes.chunks(SEGMENT as usize).zip(0..);
    segments.map(|(bytes, number)| (FileId::Segment(number), File::of(bytes))).collect()
}

/// The snapshot in front of segment `number`, and what it is announced as.
pub fn snapshot(batches: &[Vec<u8>], number: u64) -> (Held, Vec<u8>) {
    let mut copy = Replica::new(&small(), &CounterFactory, CounterDecoder, CounterEncoder);
    let mut place = Place::default();
    for bytes in batches {
        let batch = BatchView::parse(bytes).unwrap();
        if batch.header.position().0 == number * SEGMENT {
            place.chain = batch.header.previous();
            break;
        }
        if place.terms.is_empty() {
            place.terms.push(TermStart { term: batch.header.term(), first: batch.header.index() });
        }
        execute(&mut copy, &batch, Stint::ZERO);
    }
    let (mut writer, mut bytes) = (Writer::new(place), Vec::new());
    while copy.snapshot(&mut writer, &mut bytes) == Step::More {}
    let held = Held {
        position: Position(number * SEGMENT),
        index: copy.applied(),
        bytes: bytes.len() as u64,
        hash: writer.hash(),
    };
    (held, bytes)
}

/// What left a node.
pub struct Wire {
    pub room: usize,
    pub sent: VecDeque<(u8, Vec<u8>)>,
}

impl Outbox for Wire {
    fn room(&self, _to: NodeId) -> usize {
        self.room
    }

    fn send(&mut self, _to: NodeId, kind: u8, first: &[u8], second: &[u8]) -> bool {
        let fits = SIDE_HEAD + first.len() + second.len() <= self.room;
        if fits {
            self.sent.push_back((kind, [first, second].concat()));
        }
        fits
    }
}

/// One life of a node's exchange.
pub struct Node {
    pub id: NodeId,
    pub exchange: Exchange<Lane>,
    pub shared: Shared,
    pub registry: Registry,
    pub wire: Wire,
    shadow: spsc::Sender,
}

impl Node {
    pub fn new(id: u32, world: &World) -> Self {
        let (shadow, stored) = spsc::channel(1024);
        let (shared, registry) = (Shared::default(), Registry::default());
        let exchange = Exchange::new(ExchangeParts {
            level: 0,
            facts: &small(),
            lanes: SnapshotLanes { send: world.lane(), receive: world.lane() },
            others: vec![NodeId(1 - id)],
            stored: Some(stored),
            states: States::default(),
            shared: shared.clone(),
            registry: &registry,
        });
        let wire = Wire { room: 4096, sent: VecDeque::new() };
        Self { id: NodeId(id), exchange, shared, registry, wire, shadow }
    }

    pub fn stored(&mut self, held: Held) {
        let Held { position, index, bytes, hash } = held;
        let told = Stored { position: position.0.into(), index: index.0.into(), bytes: bytes.into(), hash };
        self.shadow.try_claim(size_of::<Stored>()).unwrap().copy_from_slice(told.as_bytes());
        self.shadow.commit();
    }

    pub fn metric(&self, name: &str) -> u64 {
        self.registry.value(name).unwrap()
    }

    pub fn work(&mut self, now: Now) -> Result<usize, Fatal> {
        self.exchange.work(now, &mut self.wire)
    }
}

pub fn at(mono: u64) -> Now {
    Now { mono: Nanos(mono), wall: Nanos(mono) }
}

/// What a wire does to a frame of a kind; `false` loses it.
pub type Tamper = dyn FnMut(u8, &mut Vec<u8>) -> bool;

/// A node that leads and one that lacks what the first has trimmed.
pub struct Pair {
    pub leader: Node,
    pub laggard: Node,
    pub now: u64,
    /// What the wire does to frames from the leader: `false` loses them.
    pub tamper: Box<Tamper>,
}

impl Pair {
    pub fn new(leader: Node, laggard: Node) -> Self {
        let mut pair = Self { leader, laggard, now: 1, tamper: Box::new(|_, _| true) };
        pair.connect();
        pair
    }

    pub fn connect(&mut self) {
        let now = at(self.now);
        self.leader.exchange.up(self.laggard.id, now);
        self.laggard.exchange.up(self.leader.id, now);
    }

    /// The connection breaks with all that is on it.
    pub fn disconnect(&mut self) {
        let now = at(self.now);
        self.leader.exchange.down(self.laggard.id, now);
        self.laggard.exchange.down(self.leader.id, now);
        self.leader.wire.sent.clear();
        self.laggard.wire.sent.clear();
    }

    /// A millisecond passes.
    ///
    /// # Errors
    /// As the laggard's.
    pub fn step(&mut self) -> Result<(), Fatal> {
        self.now += Nanos::MILLI;
        let now = at(self.now);
        self.leader.exchange.lacks(self.laggard.id, BatchIndex(1), now);
        self.leader.work(now).unwrap();
        self.laggard.work(now)?;
        while let Some((kind, mut body)) = self.leader.wire.sent.pop_front() {
            if (self.tamper)(kind, &mut body) {
                self.laggard.exchange.hear(self.leader.id, kind, &body, now);
            }
        }
        while let Some((kind, body)) = self.laggard.wire.sent.pop_front() {
            self.leader.exchange.hear(self.laggard.id, kind, &body, now);
        }
        Ok(())
    }

    /// Steps until the laggard has a whole snapshot.
    pub fn fetch(&mut self) {
        for _ in 0..100_000 {
            if self.laggard.exchange.successor().is_some() {
                return;
            }
            self.step().unwrap();
        }
        panic!("no snapshot came");
    }
}
