//! A gateway between a network in memory, with scripted bytes, and a log and an apply stage that the test
//! plays: real rings, real cursors, real keys.

use ordain_agent::Agent;
use ordain_agent::metrics::Registry;
use ordain_agent::net::{ConnId, Net, NetEvent};
use ordain_agent::shared::{Cursors, Shared};
use ordain_agent::wire::{DELIVERY, Delivery, SUBMISSION, Submission, delivery, submission};
use ordain_api::{Class, Malformed, RequestDecoder};
use ordain_counter::{CounterDecoder, Counters, Query, Request};
use ordain_gateway::{Gateway, GatewayConfig, GatewayParts, REQUEST_RING_MIN};
use ordain_keys::{ClientHandshake, KeyPair};
use ordain_ring::log::{LogRing, Producer};
use ordain_ring::spsc::{Receiver, Sender, channel};
use ordain_types::codes::Code;
use ordain_types::frame::{
    ChallengeBody, ClientFrame, KeyBody, ServerFrame, ServerHeader, ServerView, SubscribeBody, frame_len,
};
use ordain_types::record::{RECORD_HEADER, record_len};
use ordain_types::{ClusterFacts, ClusterId, Nanos, Now, Position, RecordHeader, RecordKind};
use std::collections::{BTreeMap, VecDeque};
use zerocopy::{FromBytes, IntoBytes};

pub const CLUSTER: ClusterId = ClusterId([9; 16]);
pub const SCHEMA: u8 = ordain_counter::SCHEMA;
/// Bytes that a connection buffers for its client.
pub const SEND_MAX: usize = 256 * 1024;

/// A connection's two buffers.
#[derive(Debug, Default)]
struct Pipe {
    received: Vec<u8>,
    sent: Vec<u8>,
    /// The client takes nothing.
    stuck: bool,
}

/// What is added to this counter is part of level 1.
pub const OF_LEVEL_1: u32 = 11;

/// Reads the counters' requests, of which some are part of a level.
#[derive(Clone, Copy, Debug)]
pub struct Levelled;

impl RequestDecoder<Counters> for Levelled {
    fn classify(&self, schema: u8, payload: &[u8]) -> Result<Class, Malformed> {
        let class = CounterDecoder.classify(schema, payload)?;
        let is_new =
            matches!(CounterDecoder.decode(schema, payload), Ok(Request::Add { counter: OF_LEVEL_1, .. }));
        Ok(Class { level: u16::from(is_new), ..class })
    }

    fn decode(&self, schema: u8, payload: &[u8]) -> Result<Request, Malformed> {
        CounterDecoder.decode(schema, payload)
    }

    fn decode_query(&self, schema: u8, payload: &[u8]) -> Result<Query, Malformed> {
        CounterDecoder.decode_query(schema, payload)
    }
}

/// The network in memory.
#[derive(Debug, Default)]
pub struct Wires {
    pipes: BTreeMap<u64, Pipe>,
    /// What was sent on connections that the node closed.
    closed: BTreeMap<u64, Vec<u8>>,
    events: VecDeque<NetEvent>,
    opened: u64,
    pub accepting: bool,
}

impl Net for Wires {
    fn poll(&mut self, events: &mut Vec<NetEvent>, limit: usize) -> usize {
        let taken = self.events.len().min(limit);
        events.extend(self.events.drain(..taken));
        taken
    }

    fn received(&self, conn: ConnId) -> &[u8] {
        self.pipes.get(&conn.0).map_or(&[], |pipe| &pipe.received)
    }

    fn consume(&mut self, conn: ConnId, bytes: usize) {
        if let Some(pipe) = self.pipes.get_mut(&conn.0) {
            pipe.received.drain(..bytes);
        }
    }

    fn send_room(&self, conn: ConnId) -> usize {
        let held = |pipe: &Pipe| if pipe.stuck { pipe.sent.len() } else { 0 };
        self.pipes.get(&conn.0).map_or(0, |pipe| SEND_MAX - held(pipe))
    }

    fn send(&mut self, conn: ConnId, bytes: &[u8]) -> bool {
        if bytes.len() > self.send_room(conn) {
            return false;
        }
        self.pipes.get_mut(&conn.0).expect("it has room").sent.extend_from_slice(bytes);
        true
    }

    fn flush(&mut self) {}

    fn close(&mut self, conn: ConnId) {
        if let Some(pipe) = self.pipes.remove(&conn.0) {
            self.closed.insert(conn.0, pipe.sent);
        }
    }

    fn accept(&mut self, accepting: bool) {
        self.accepting = accepting;
    }
}

/// A frame from the node.
#[derive(Clone, Debug)]
pub struct Got {
    pub header: ServerHeader,
    pub payload: Vec<u8>,
}

impl Got {
    pub fn kind(&self) -> ServerFrame {
        ServerFrame::from_wire(self.header.kind).unwrap()
    }

    pub fn code(&self) -> Code {
        Code::from_wire(self.header.code).unwrap()
    }
}

/// What the gateway handed to the log stage.
#[derive(Clone, Debug)]
pub struct Asked {
    pub kind: u64,
    pub conn: u64,
    pub header: RecordHeader,
    pub payload: Vec<u8>,
}

pub struct Rig {
    pub gateway: Gateway<Wires, Counters, Levelled>,
    pub shared: Shared,
    pub requests: Receiver,
    pub deliveries: Sender,
    _producer: Producer,
    pub registry: Registry,
    pub now: Nanos,
    /// Bytes of each connection that are not parsed yet.
    unread: BTreeMap<u64, Vec<u8>>,
}

/// The key pair that `seed` stands for.
pub fn pair(seed: u8) -> KeyPair {
    KeyPair::from_seed(&[seed; 32])
}

pub fn facts() -> ClusterFacts {
    ClusterFacts { window: 4, segment_size: 1 << 20, ..ClusterFacts::new(CLUSTER, Nanos(1), 1) }
}

pub fn config() -> GatewayConfig {
    GatewayConfig {
        connections_max: 16,
        operator_reserve: 2,
        strangers_max: 4,
        questions_per_connection: 3,
        sessions_per_connection: 3,
        subscriptions_per_connection: 2,
        outputs_bytes: 8192,
        ..GatewayConfig::new(pair(200), [7; 32])
    }
}

/// Key 1 is an operator's, key 2 and 3 are clients'.
pub const OPERATOR: u8 = 1;
pub const ALICE: u8 = 2;
pub const BOB: u8 = 3;
pub const CLIENT: u32 = 1 << 8;

impl Rig {
    /// A node that leads in stint 1 and has applied the keys of the genesis, batch 2.
    pub fn new() -> Self {
        let mut rig = Self::with(config());
        rig.genesis();
        rig.lead(1);
        rig
    }

    /// A node that does not lead and knows nothing.
    pub fn with(config: GatewayConfig) -> Self {
        Self::with_facts(config, facts())
    }

    pub fn with_facts(config: GatewayConfig, facts: ClusterFacts) -> Self {
        let (sender, requests) = channel(REQUEST_RING_MIN);
        let (deliveries, receiver) = channel(1 << 20);
        let (producer, ring) = LogRing::new(1 << 20, Position(0));
        let shared = Shared::new(Cursors::default());
        let registry = Registry::default();
        shared.room.store(1 << 20);
        let parts = GatewayParts {
            facts,
            config,
            net: Wires { accepting: true, ..Wires::default() },
            decoder: Levelled,
            requests: sender,
            deliveries: receiver,
            ring,
            shared: shared.clone(),
        };
        Self {
            gateway: Gateway::new(parts, &registry),
            shared,
            requests,
            deliveries,
            _producer: producer,
            registry,
            now: Nanos(1_000_000),
            unread: BTreeMap::new(),
        }
    }

    pub fn genesis(&mut self) {
        let permissions = [(OPERATOR, u32::MAX), (ALICE, CLIENT), (BOB, CLIENT)];
        for (id, (seed, permissions)) in permissions.into_iter().enumerate() {
            self.set_key(seed, id as u64 + 1, permissions, 2);
        }
        self.apply(2);
    }

    pub fn apply(&mut self, index: u64) {
        self.shared.written.store(index);
        self.shared.applied.store(index);
        self.shared.committed.store(index);
        self.run();
    }

    /// Begins stint `stint` with the batch behind the last one.
    pub fn lead(&mut self, stint: u64) {
        self.shared.stint_first.store(self.shared.applied.load() + 1);
        self.shared.stint.store(stint);
        self.apply(self.shared.applied.load() + 1);
    }

    pub fn run(&mut self) -> usize {
        self.cycle(1000)
    }

    pub fn cycle(&mut self, limit: usize) -> usize {
        self.now = self.now.plus(1000);
        self.gateway.do_work(Now { mono: self.now, wall: self.now }, limit).unwrap()
    }

    /// Cycles until nothing is left to do.
    pub fn settle(&mut self) {
        for _ in 0..1000 {
            if self.run() == 0 {
                return;
            }
        }
        panic!("the gateway does not come to rest");
    }

    pub fn metric(&self, name: &str) -> u64 {
        self.registry.value(name).unwrap()
    }

    // The clients' side.

    pub fn connect(&mut self) -> u64 {
        let net = self.gateway.net();
        net.opened += 1;
        let conn = net.opened;
        net.pipes.insert(conn, Pipe::default());
        net.events.push_back(NetEvent::Opened(ConnId(conn)));
        conn
    }

    pub fn hang_up(&mut self, conn: u64) {
        let net = self.gateway.net();
        net.pipes.remove(&conn);
        net.events.push_back(NetEvent::Closed(ConnId(conn)));
        self.run();
    }

    /// The client stops reading, or goes on.
    pub fn stick(&mut self, conn: u64, stuck: bool) {
        self.gateway.net().pipes.get_mut(&conn).unwrap().stuck = stuck;
    }

    pub fn is_open(&mut self, conn: u64) -> bool {
        self.gateway.net().pipes.contains_key(&conn)
    }

    /// Hands bytes to a connection without letting the gateway run.
    pub fn push(&mut self, conn: u64, bytes: &[u8]) {
        let net = self.gateway.net();
        if let Some(pipe) = net.pipes.get_mut(&conn) {
            pipe.received.extend_from_slice(bytes);
            net.events.push_back(NetEvent::Received(ConnId(conn)));
        }
    }

    pub fn send(&mut self, conn: u64, bytes: &[u8]) {
        self.push(conn, bytes);
        self.run();
    }

    /// Every frame that has come on a connection since the last call.
    pub fn heard(&mut self, conn: u64) -> Vec<Got> {
        let net = self.gateway.net();
        let bytes = match net.pipes.get_mut(&conn) {
            Some(pipe) => std::mem::take(&mut pipe.sent),
            None => net.closed.remove(&conn).unwrap_or_default(),
        };
        let unread = self.unread.entry(conn).or_default();
        unread.extend(bytes);
        let mut frames = Vec::new();
        while let Ok((view, len)) = ServerView::split(unread) {
            frames.push(Got { header: *view.header, payload: view.payload.to_vec() });
            unread.drain(..len);
        }
        assert!(unread.is_empty(), "half a frame was sent");
        frames
    }

    /// The one frame that has come.
    pub fn one(&mut self, conn: u64) -> Got {
        let mut frames = self.heard(conn);
        assert_eq!(frames.len(), 1, "{frames:?}");
        frames.pop().unwrap()
    }

    /// Sends bytes and gives the code of the one frame that comes back.
    pub fn code(&mut self, conn: u64, bytes: &[u8]) -> Code {
        self.send(conn, bytes);
        self.one(conn).code()
    }

    /// A connection signed in with the key of `seed`.
    pub fn signed_in(&mut self, seed: u8) -> u64 {
        let conn = self.connect();
        let welcome = self.sign_in(conn, seed);
        assert_eq!(welcome.kind(), ServerFrame::Welcome, "{welcome:?}");
        conn
    }

    /// The answer to the last step that the node lets a client take.
    pub fn sign_in(&mut self, conn: u64, seed: u8) -> Got {
        let client = ClientHandshake::new(pair(seed), CLUSTER, None, [seed; 32]);
        self.send(conn, &frame(ClientFrame::Hello as u8, 0, 0, client.hello().as_bytes()));
        let got = self.one(conn);
        if got.kind() != ServerFrame::Challenge {
            return got;
        }
        let (proof, _) = client.answer(&ChallengeBody::read_from_bytes(&got.payload).unwrap()).unwrap();
        self.send(conn, &frame(ClientFrame::Proof as u8, 0, 0, proof.as_bytes()));
        self.one(conn)
    }

    /// Opens a session.
    pub fn session(&mut self, conn: u64, key: u64, id: u64) {
        self.send(conn, &open(5));
        let asked = self.asked();
        assert_eq!((asked.len(), asked[0].header.kind()), (1, Some(RecordKind::SessionOpen)));
        self.opened(conn, key, id, Code::Executed);
        let got = self.one(conn);
        assert_eq!((got.kind(), got.code()), (ServerFrame::Opened, Code::Executed));
        assert_eq!((got.header.session.get(), got.header.number.get()), (id, 5));
    }

    // The log's and apply's side.

    /// What was handed to the log stage since the last call.
    pub fn asked(&mut self) -> Vec<Asked> {
        let mut all = Vec::new();
        while let Some(bytes) = self.requests.peek() {
            let (head, frame) = Submission::read_from_prefix(bytes).unwrap();
            let (header, rest) = RecordHeader::read_from_prefix(frame).unwrap();
            assert_eq!(SUBMISSION + header.record_len(), bytes.len());
            let payload = rest[..header.length.get() as usize].to_vec();
            all.push(Asked { kind: head.kind.get(), conn: head.conn.get(), header, payload });
            self.requests.release();
        }
        all
    }

    /// The numbers of the records handed over since the last call.
    pub fn admitted(&mut self) -> Vec<u64> {
        let records = self.asked().into_iter().filter(|asked| asked.kind == submission::RECORD);
        records.map(|asked| asked.header.number.get()).collect()
    }

    /// Puts a message on the delivery ring.
    pub fn emit(&mut self, head: Delivery, header: ServerHeader, payload: &[u8]) {
        let header = ServerHeader { length: (payload.len() as u32).into(), ..header };
        let mut bytes = header.as_bytes().to_vec();
        bytes.extend_from_slice(payload);
        bytes.resize(frame_len(payload.len()), 0);
        self.put(head, &bytes);
    }

    pub fn put(&mut self, head: Delivery, bytes: &[u8]) {
        let space = self.deliveries.try_claim(DELIVERY + bytes.len()).unwrap();
        space[..DELIVERY].copy_from_slice(head.as_bytes());
        space[DELIVERY..].copy_from_slice(bytes);
        self.deliveries.commit();
    }

    /// The head of a delivery of what has been applied, in the present stint.
    pub fn head(&self, kind: u64, conn: u64, key: u64) -> Delivery {
        Delivery {
            kind: kind.into(),
            conn: conn.into(),
            index: self.shared.applied.load().into(),
            stint: self.shared.stint.load().into(),
            round: 0.into(),
            key: key.into(),
        }
    }

    pub fn set_key(&mut self, seed: u8, id: u64, permissions: u32, index: u64) {
        let key = KeyBody { key: pair(seed).public().0, permissions: permissions.into(), reserved: [0; 4] };
        let head = Delivery {
            kind: delivery::KEY.into(),
            index: index.into(),
            key: id.into(),
            ..Delivery::default()
        };
        self.put(head, key.as_bytes());
        self.run();
    }

    pub fn opened(&mut self, conn: u64, key: u64, session: u64, code: Code) {
        let head = self.head(delivery::OPENED, conn, key);
        self.emit(head, header(ServerFrame::Opened, code, session, 0, 9), &[]);
        self.run();
    }

    pub fn reply(&mut self, key: u64, session: u64, number: u64, code: Code) {
        let head = self.head(delivery::REPLY, 0, key);
        self.emit(head, header(ServerFrame::Reply, code, session, number, 9), b"reply");
        self.run();
    }

    pub fn resumed(&mut self, conn: u64, session: u64, next: u64, floor: u64, code: Code) {
        let head = self.head(delivery::ANSWER, conn, 0);
        self.emit(head, header(ServerFrame::Resumed, code, session, next, floor), &[]);
        self.run();
    }

    pub fn subscribed(&mut self, conn: u64, stream: u64, from: u64, code: Code) {
        let head = self.head(delivery::ANSWER, conn, 0);
        self.emit(head, header(ServerFrame::Subscribed, code, stream, from, 0), &[]);
        self.run();
    }

    pub fn output(&mut self, stream: u64, number: u64, len: usize) {
        let head = Delivery { stint: 0.into(), ..self.head(delivery::OUTPUT, 0, 0) };
        self.emit(head, header(ServerFrame::Output, Code::Executed, stream, number, 9), &vec![7; len]);
        self.run();
    }

    /// The application watches a session, or does so no more.
    pub fn watched(&mut self, session: u64, on: bool) {
        let head = Delivery { stint: 0.into(), ..self.head(delivery::WATCHED, session, on.into()) };
        self.put(head, &[]);
        self.run();
    }

    /// What was said of connections since the last call: sessions, and whether each has one.
    pub fn presence(&mut self) -> Vec<(u64, bool)> {
        let records = self.asked().into_iter().filter(|asked| asked.kind == submission::RECORD);
        let said = records.filter_map(|asked| match asked.header.kind()? {
            RecordKind::SessionLost => Some((asked.header.session.get(), false)),
            RecordKind::SessionKeepAlive => Some((asked.header.session.get(), true)),
            _ => None,
        });
        said.collect()
    }

    pub fn session_closed(&mut self, session: u64) {
        let head = Delivery { stint: 0.into(), ..self.head(delivery::CLOSED, session, 0) };
        self.put(head, &[]);
        self.run();
    }
}

pub fn header(kind: ServerFrame, code: Code, session: u64, number: u64, seq: u64) -> ServerHeader {
    ServerHeader {
        kind: kind as u8,
        code: code as u8,
        session: session.into(),
        number: number.into(),
        seq: seq.into(),
        ..ServerHeader::default()
    }
}

/// A frame as a client sends it.
pub fn frame(kind: u8, session: u64, number: u64, payload: &[u8]) -> Vec<u8> {
    let header = RecordHeader {
        length: (payload.len() as u32).into(),
        kind,
        schema: SCHEMA,
        session: session.into(),
        number: number.into(),
        ..RecordHeader::default()
    };
    raw(header, payload)
}

pub fn raw(header: RecordHeader, payload: &[u8]) -> Vec<u8> {
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend_from_slice(payload);
    bytes.resize(record_len(payload.len()), 0);
    bytes
}

/// A request that adds 1 to a counter; every reply before it is confirmed.
pub fn add(session: u64, number: u64) -> Vec<u8> {
    add_open(session, number, 0)
}

/// The same, with the `span` requests before it still open.
pub fn add_open(session: u64, number: u64, span: u16) -> Vec<u8> {
    let mut bytes =
        frame(RecordKind::Request as u8, session, number, &Request::Add { counter: 1, by: 1 }.to_wire());
    bytes[6..8].copy_from_slice(&span.to_le_bytes());
    bytes
}

pub fn open(correlation: u64) -> Vec<u8> {
    frame(RecordKind::SessionOpen as u8, 0, correlation, &[0; 8])
}

pub fn close(session: u64, number: u64) -> Vec<u8> {
    frame(RecordKind::SessionClose as u8, session, number, &[])
}

pub fn keep_alive(session: u64, number: u64) -> Vec<u8> {
    frame(RecordKind::SessionKeepAlive as u8, session, number, &[])
}

pub fn resume(session: u64) -> Vec<u8> {
    frame(ClientFrame::Resume as u8, session, 0, &[])
}

pub fn query(id: u64) -> Vec<u8> {
    frame(ClientFrame::Query as u8, 0, id, &ordain_counter::Query::Read { counter: 1 }.to_wire())
}

pub fn receipt(id: u64, seq: u64) -> Vec<u8> {
    frame(ClientFrame::Receipt as u8, 0, id, &seq.to_le_bytes())
}

pub fn keys(id: u64, first: u64) -> Vec<u8> {
    frame(ClientFrame::Keys as u8, 0, id, &first.to_le_bytes())
}

pub fn ping(number: u64) -> Vec<u8> {
    frame(ClientFrame::Ping as u8, 0, number, &[])
}

pub fn subscribe(stream: u64, from: u64) -> Vec<u8> {
    let body = SubscribeBody { stream: stream.into(), from: from.into() };
    frame(ClientFrame::Subscribe as u8, 0, 0, body.as_bytes())
}

pub fn key_set(session: u64, number: u64, seed: u8) -> Vec<u8> {
    let key = KeyBody { key: pair(seed).public().0, permissions: CLIENT.into(), reserved: [0; 4] };
    frame(RecordKind::KeySet as u8, session, number, key.as_bytes())
}

const _: () = assert!(RECORD_HEADER == size_of::<RecordHeader>());

/// Feeds a connection with whatever comes. What reaches the log is of the sender's own session, in its order,
/// with the sender's key; and whoever is honest is served as before.
pub fn hostile_client(signed: bool, frames: &[Vec<u8>]) {
    let mut rig = Rig::new();
    let bob = rig.signed_in(BOB);
    rig.session(bob, 3, 60);
    let hostile = if signed {
        let alice = rig.signed_in(ALICE);
        rig.session(alice, 2, 50);
        alice
    } else {
        rig.connect()
    };
    let mut next = 1;
    for bytes in frames {
        rig.send(hostile, bytes);
        for asked in rig.asked() {
            let header = asked.header;
            assert!(signed);
            assert_eq!((asked.conn, header.key.get(), header.permissions.get()), (hostile, 2, CLIENT));
            if asked.kind != submission::RECORD {
                continue;
            }
            let place = (header.session.get(), header.number.get());
            match header.kind() {
                Some(RecordKind::Request | RecordKind::SessionClose) => {
                    assert_eq!(place, (50, next));
                    next += 1;
                }
                Some(RecordKind::SessionKeepAlive) => assert_eq!(place, (50, next)),
                Some(RecordKind::SessionOpen) => assert_eq!(place, (0, hostile)),
                other => panic!("{other:?} reached the log"),
            }
        }
    }
    rig.heard(hostile);
    rig.send(bob, &add(60, 1));
    assert_eq!(rig.admitted(), [1]);
}
