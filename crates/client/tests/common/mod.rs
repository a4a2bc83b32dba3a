//! A node as small as the protocol allows: one log, sessions, scripted refusals. Written from
//! `docs/format/client.md`, not from the production gateway.
#![allow(dead_code, reason = "each test file uses its part")]

use ordain_client::{ClientCore, CoreConfig, Event, QueryError};
use ordain_keys::{KeyPair, ServerHandshake};
use ordain_types::codes::Code;
use ordain_types::frame::{
    ClientFrame, HelloBody, KEYS_PER_ANSWER, KeyEntry, MembersBody, ProofBody, ReceiptAskBody, ReceiptBody,
    ServerFrame, ServerHeader, SubscribeBody, WelcomeBody, body, frame_len,
};
use ordain_types::members::Member;
use ordain_types::record::{RECORD_HEADER, record_len};
use ordain_types::roster::{FactsBody, RosterHead, write_page};
use ordain_types::steer::Steer;
use ordain_types::{
    ClusterFacts, ClusterId, Configuration, Nanos, NodeId, Receipt, RecordHeader, RecordKind, Term,
};
use std::collections::BTreeMap;
use zerocopy::{FromBytes, IntoBytes};

pub const CLUSTER: ClusterId = ClusterId([9; 16]);

pub fn client_pair() -> KeyPair {
    KeyPair::from_seed(&[1; 32])
}

pub fn node_pair() -> KeyPair {
    KeyPair::from_seed(&[2; 32])
}

pub fn core_config() -> CoreConfig {
    CoreConfig { cluster: CLUSTER, ..CoreConfig::new(client_pair()) }
}

/// A cluster whose clients reach its nodes at these addresses.
pub fn cluster(clients: &[&str]) -> Configuration {
    let member = |(id, client): (u32, &&str)| Member {
        id: NodeId(id),
        // Long, so that there are several pages.
        peer: format!("{}:{}", "p".repeat(200), id + 1),
        client: (*client).to_owned(),
        key: node_pair().public().0,
    };
    let members: Vec<_> = (0..).zip(clients).map(member).collect();
    Configuration::initial(&ClusterFacts::new(CLUSTER, Nanos(1), 3), &members)
}

#[derive(Debug, Default)]
pub struct Session {
    pub next: u64,
    pub floor: u64,
    /// By number: kind, payload, seq.
    pub used: BTreeMap<u64, (u8, Vec<u8>, u64)>,
}

#[derive(Debug)]
enum Stage {
    Fresh,
    Challenged(Box<ServerHandshake>),
    Ready,
}

/// Everything that outlives connections, and the one connection.
#[derive(Debug)]
pub struct Node {
    pub window: u32,
    pub idle: u64,
    pub session_timeout: u64,
    pub seq: u64,
    pub sessions: BTreeMap<u64, Session>,
    /// Payloads of executed requests, in order.
    pub executed: Vec<Vec<u8>>,
    /// Refusals still to be given, each to the next request whose payload is this.
    pub refusals: Vec<(Vec<u8>, Code)>,
    /// Refusals of the next SessionOpens.
    pub open_refusals: Vec<Code>,
    /// The payload of refused SessionOpens.
    pub leader: String,
    /// Every reply is sent twice.
    pub stutter: bool,
    /// Replies are kept back and sent in the opposite order.
    pub hold_back: bool,
    /// Frames received, for assertions.
    pub kinds: Vec<u8>,
    pub keep_alives: Vec<(u64, u16)>,
    pub outputs: u64,
    /// Keys that it knows.
    pub keys: u32,
    pub cluster: Configuration,
    held: Vec<Vec<u8>>,
    stage: Stage,
    attached: Vec<u64>,
    inbox: Vec<u8>,
    pub outbox: Vec<u8>,
}

impl Node {
    pub fn new() -> Self {
        Self {
            window: 1024,
            idle: 30 * Nanos::SECOND,
            session_timeout: 600 * Nanos::SECOND,
            seq: 11,
            sessions: BTreeMap::new(),
            executed: Vec::new(),
            refusals: Vec::new(),
            open_refusals: Vec::new(),
            leader: String::new(),
            stutter: false,
            hold_back: false,
            kinds: Vec::new(),
            keep_alives: Vec::new(),
            outputs: 0,
            keys: 60,
            cluster: cluster(&["a:1", "b:1", "c:1"]),
            held: Vec::new(),
            stage: Stage::Fresh,
            attached: Vec::new(),
            inbox: Vec::new(),
            outbox: Vec::new(),
        }
    }

    /// The connection is gone; what was received stays in the log.
    pub fn hang_up(&mut self) {
        self.stage = Stage::Fresh;
        self.attached.clear();
        self.held.clear();
        self.inbox.clear();
        self.outbox.clear();
    }

    pub fn receive(&mut self, bytes: &[u8]) {
        self.inbox.extend_from_slice(bytes);
        while let Ok((header, _)) = RecordHeader::read_from_prefix(&self.inbox) {
            let total = record_len(header.length.get() as usize);
            if self.inbox.len() < total {
                return;
            }
            let frame: Vec<u8> = self.inbox.drain(..total).collect();
            let (payload, padding) = frame[RECORD_HEADER..].split_at(header.length.get() as usize);
            assert!(padding.iter().all(|byte| *byte == 0), "padding");
            assert_eq!((header.key.get(), header.permissions.get()), (0, 0), "fields of the node");
            self.kinds.push(header.kind);
            self.take(&header, payload);
        }
    }

    pub fn put(&mut self, header: ServerHeader, payload: &[u8]) {
        let frame = server_frame(header, payload);
        self.outbox.extend_from_slice(&frame);
    }

    fn answer(&mut self, kind: ServerFrame, code: Code, session: u64, number: u64, seq: u64, payload: &[u8]) {
        self.put(server_header(kind, code, session, number, seq), payload);
    }

    fn take(&mut self, header: &RecordHeader, payload: &[u8]) {
        let (session, number) = (header.session.get(), header.number.get());
        if let Some(kind) = ClientFrame::from_wire(header.kind) {
            return self.take_frame(kind, session, number, payload);
        }
        assert!(matches!(self.stage, Stage::Ready), "sign in first");
        match RecordKind::from_wire(header.kind).unwrap() {
            RecordKind::SessionOpen => {
                assert_eq!((session, payload), (0, &[0; 8][..]));
                if !self.open_refusals.is_empty() {
                    let code = self.open_refusals.remove(0);
                    let leader = self.leader.clone();
                    return self.answer(ServerFrame::Opened, code, 0, number, 0, leader.as_bytes());
                }
                self.seq += 1;
                self.sessions.insert(self.seq, Session { next: 1, floor: 1, ..Session::default() });
                self.attached.push(self.seq);
                self.answer(ServerFrame::Opened, Code::Executed, self.seq, number, self.seq, &[]);
            }
            RecordKind::SessionKeepAlive => {
                assert_eq!(number, self.sessions[&session].next);
                self.keep_alives.push((number, header.open_span.get()));
            }
            kind => self.request(kind, header, payload),
        }
    }

    fn request(&mut self, kind: RecordKind, header: &RecordHeader, payload: &[u8]) {
        let (id, number) = (header.session.get(), header.number.get());
        let window = self.window;
        let refuse = |node: &mut Self, code, seq| node.answer(ServerFrame::Reply, code, id, number, seq, &[]);
        if !self.attached.contains(&id) {
            return refuse(self, Code::NotAttached, 0);
        }
        let Some(session) = self.sessions.get_mut(&id) else {
            return refuse(self, Code::UnknownSession, 0);
        };
        assert!(u32::from(header.open_span.get()) < window, "beyond the window");
        if number > session.next {
            let next = session.next;
            return refuse(self, Code::Expected, next);
        }
        if number == session.next {
            if let Some(place) = self.refusals.iter().position(|(refused, _)| refused == payload) {
                let (_, code) = self.refusals.remove(place);
                return refuse(self, code, 0);
            }
            session.next += 1;
            self.seq += 1;
            session.used.insert(number, (kind as u8, payload.to_vec(), self.seq));
            self.executed.push(payload.to_vec());
        }
        session.floor = session.floor.max(header.lowest_open().0);
        if number < session.floor {
            return refuse(self, Code::Forgotten, 0);
        }
        let (used, bytes, seq) = session.used[&number].clone();
        if (used, &bytes[..]) != (kind as u8, payload) {
            return refuse(self, Code::Conflict, seq);
        }
        if kind == RecordKind::SessionClose {
            self.sessions.remove(&id);
        }
        let reply =
            server_frame(server_header(ServerFrame::Reply, Code::Executed, id, number, seq), &reply(payload));
        for _ in 0..=usize::from(self.stutter) {
            if self.hold_back {
                self.held.push(reply.clone());
            } else {
                self.outbox.extend_from_slice(&reply);
            }
        }
    }

    /// Lets go of the replies that were kept back.
    pub fn release(&mut self) {
        while let Some(frame) = self.held.pop() {
            self.outbox.extend_from_slice(&frame);
        }
    }

    pub fn publish(&mut self, stream: u64, number: u64) {
        self.outputs = self.outputs.max(number);
        self.seq += 1;
        self.answer(ServerFrame::Output, Code::Executed, stream, number, self.seq, b"output");
    }

    fn take_frame(&mut self, kind: ClientFrame, session: u64, number: u64, payload: &[u8]) {
        match kind {
            ClientFrame::Hello => {
                let hello: &HelloBody = body(payload).unwrap();
                let handshake = ServerHandshake::challenge(&node_pair(), CLUSTER, hello, [4; 32]);
                let Ok(handshake) = handshake else {
                    return self.answer(
                        ServerFrame::Goodbye,
                        Code::Unauthenticated,
                        0,
                        0,
                        0,
                        b"another cluster",
                    );
                };
                self.answer(ServerFrame::Challenge, Code::Executed, 0, 0, 0, handshake.body().as_bytes());
                self.stage = Stage::Challenged(Box::new(handshake));
            }
            ClientFrame::Proof => {
                let Stage::Challenged(handshake) = &self.stage else { panic!("Hello comes first") };
                let who = handshake.finish(body::<ProofBody>(payload).unwrap()).unwrap();
                assert_eq!(who.key, client_pair().public());
                self.stage = Stage::Ready;
                let welcome = WelcomeBody {
                    key: 2.into(),
                    permissions: 0x100.into(),
                    window: self.window.into(),
                    payload_max: 65_536.into(),
                    session_timeout: self.session_timeout.into(),
                    idle_timeout: self.idle.into(),
                };
                self.answer(ServerFrame::Welcome, Code::Executed, 0, 0, 0, welcome.as_bytes());
            }
            ClientFrame::Resume => {
                let (code, next, floor) = match self.sessions.get(&session) {
                    Some(known) => (Code::Executed, known.next, known.floor),
                    None => (Code::UnknownSession, 0, 0),
                };
                if code == Code::Executed {
                    self.attached.push(session);
                }
                self.answer(ServerFrame::Resumed, code, session, next, floor, &[]);
            }
            ClientFrame::Query => {
                let answer = reply(payload);
                self.answer(ServerFrame::Answer, Code::Executed, session, number, self.seq, &answer);
            }
            ClientFrame::Subscribe => {
                let wanted: &SubscribeBody = body(payload).unwrap();
                let next = if wanted.from.get() == 0 { self.outputs + 1 } else { wanted.from.get() };
                let stream = wanted.stream.get();
                self.answer(ServerFrame::Subscribed, Code::Executed, stream, next, 0, &[]);
                for number in next..=self.outputs {
                    self.publish(stream, number);
                }
            }
            ClientFrame::Unsubscribe => {}
            ClientFrame::Ping => self.answer(ServerFrame::Pong, Code::Executed, 0, number, 0, &[]),
            ClientFrame::Keys => {
                let first = u64::from_le_bytes(payload.try_into().unwrap()) as u32;
                let entry = |number: u32| KeyEntry {
                    key: [number as u8; 32],
                    permissions: number.into(),
                    number: number.into(),
                };
                let keys: Vec<_> = (first..=self.keys).take(KEYS_PER_ANSWER).map(entry).collect();
                self.answer(ServerFrame::Keys, Code::Executed, 0, number, self.seq, keys.as_bytes());
            }
            ClientFrame::Members => {
                let wanted: &MembersBody = body(payload).unwrap();
                let first = wanted.first.get().max(wanted.made.get());
                let mut page = Vec::new();
                let head = RosterHead::new(&self.cluster, NodeId(0), Term(1), None, false);
                write_page(&mut page, &head, &self.cluster.members, first);
                self.answer(ServerFrame::Members, Code::Executed, 0, number, 0, &page);
            }
            ClientFrame::Facts => {
                let facts = FactsBody::new(&ClusterFacts::new(CLUSTER, Nanos(1), 3), [7; 32]);
                self.answer(ServerFrame::Facts, Code::Executed, 0, number, 0, facts.as_bytes());
            }
            // Of what is asked here, snapshots are had and all else is refused.
            ClientFrame::Steer => match Steer::decode(payload).unwrap() {
                Steer::Level(1) => self.answer(ServerFrame::Steered, Code::Executed, 0, number, 77, &[]),
                _ => self.answer(ServerFrame::Steered, Code::NotYet, 0, number, 0, b"because"),
            },
            ClientFrame::Receipt => {
                assert_eq!(session, 0);
                let seq = match body::<ReceiptAskBody>(payload).unwrap().seq.get() {
                    0 => self.seq,
                    seq => seq,
                };
                if seq > self.seq {
                    return self.answer(ServerFrame::Receipt, Code::Malformed, 0, number, 0, &[]);
                }
                let receipt = ReceiptBody { index: (seq + 1).into(), chain: [seq as u8; 32] };
                self.answer(ServerFrame::Receipt, Code::Executed, 0, number, seq, receipt.as_bytes());
            }
        }
    }
}

/// What the node's application replies.
pub fn reply(request: &[u8]) -> Vec<u8> {
    if request == b"hello" { b"hi".to_vec() } else { request.iter().rev().copied().take(64).collect() }
}

pub fn server_header(kind: ServerFrame, code: Code, session: u64, number: u64, seq: u64) -> ServerHeader {
    ServerHeader {
        kind: kind as u8,
        code: code as u8,
        session: session.into(),
        number: number.into(),
        seq: seq.into(),
        ..ServerHeader::default()
    }
}

pub fn server_frame(header: ServerHeader, payload: &[u8]) -> Vec<u8> {
    let header = ServerHeader { length: (payload.len() as u32).into(), ..header };
    let mut frame = header.as_bytes().to_vec();
    frame.extend_from_slice(payload);
    frame.resize(frame_len(payload.len()), 0);
    frame
}

/// What a test cares about, owned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    SignedIn,
    Opened(u64),
    Resumed(u64),
    Closed(u64),
    Lost(u64, Code),
    Acknowledged { ticket: u64, number: u64, seq: u64, reply: Vec<u8> },
    NotExecuted { ticket: u64, number: u64, code: Code },
    Unknown { ticket: u64, number: u64 },
    Answered(u64, Option<Vec<u8>>),
    Receipt(u64, Result<Receipt, QueryError>),
    Steered(u64, Result<u64, (QueryError, String)>),
    Members(Vec<u8>),
    Subscribed(u64),
    SubscriptionRefused(Code, u64),
    Output(u64),
    DataLost(u16, u16),
    Disconnected(String),
}

pub fn own(event: Event<'_>) -> Seen {
    match event {
        Event::SignedIn { .. } => Seen::SignedIn,
        Event::SessionOpened(session) => Seen::Opened(session.0),
        Event::SessionResumed(session) => Seen::Resumed(session.0),
        Event::SessionClosed(session) => Seen::Closed(session.0),
        Event::SessionLost { session, code } => Seen::Lost(session.0, code),
        Event::Completed(completion) => {
            let (ticket, number) = (completion.ticket.0, completion.number.0);
            match completion.outcome {
                ordain_client::Outcome::Acknowledged { seq, reply } => {
                    Seen::Acknowledged { ticket, number, seq: seq.0, reply: reply.to_vec() }
                }
                ordain_client::Outcome::NotExecuted(code) => Seen::NotExecuted { ticket, number, code },
                ordain_client::Outcome::Unknown => Seen::Unknown { ticket, number },
            }
        }
        Event::Answered(query, result) => {
            Seen::Answered(query.0, result.ok().map(|(_, bytes)| bytes.to_vec()))
        }
        Event::Receipt(query, result) => Seen::Receipt(query.0, result),
        Event::Steered(query, result) => {
            let result = result.map(|index| index.0).map_err(|(error, why)| (error, why.to_owned()));
            Seen::Steered(query.0, result)
        }
        Event::Members(page) => Seen::Members(page.to_vec()),
        Event::Subscribed { next, .. } => Seen::Subscribed(next.0),
        Event::SubscriptionRefused { code, oldest, .. } => Seen::SubscriptionRefused(code, oldest.0),
        Event::Output { number, .. } => Seen::Output(number.0),
        Event::DataLost { before, now } => Seen::DataLost(before.0, now.0),
        Event::Disconnected(ending) => Seen::Disconnected(ending.to_string()),
    }
}

/// A core, a node, and the bytes between them.
#[derive(Debug)]
pub struct Pair {
    pub core: ClientCore,
    pub node: Node,
    pub now: Nanos,
    pub seen: Vec<Seen>,
    /// Bytes that the node sent and the core has not taken.
    wire: Vec<u8>,
    /// Bytes that may still be carried; the connection breaks with the last.
    pub budget: usize,
    /// Everything carried, for the worked example: from whom, and what.
    pub trace: Vec<(&'static str, Vec<u8>)>,
}

impl Pair {
    pub fn new(config: CoreConfig) -> Self {
        Self {
            core: ClientCore::new(config),
            node: Node::new(),
            now: Nanos(1_000_000),
            seen: Vec::new(),
            wire: Vec::new(),
            budget: usize::MAX,
            trace: Vec::new(),
        }
    }

    /// Connected and with a session.
    pub fn ready(config: CoreConfig) -> Self {
        let mut pair = Self::new(config);
        pair.connect();
        pair.run();
        assert!(pair.core.is_ready(), "{:?}", pair.seen);
        pair
    }

    pub fn connect(&mut self) {
        self.core.connected(self.now, [3; 32], Some(node_pair().public()));
    }

    pub fn cut(&mut self) {
        self.node.hang_up();
        self.wire.clear();
        let seen = &mut self.seen;
        self.core.disconnected(&mut |event| seen.push(own(event)));
    }

    /// Carries bytes until nothing moves, or until the budget is spent, which cuts the connection.
    pub fn run(&mut self) {
        loop {
            let moved = self.carry();
            if self.budget == 0 {
                self.cut();
                self.budget = usize::MAX;
                return;
            }
            if !moved {
                return;
            }
        }
    }

    fn carry(&mut self) -> bool {
        let out = self.core.outgoing(self.now);
        let part = out.len().min(self.budget);
        if part > 0 {
            self.trace.push(("client", out[..part].to_vec()));
            self.node.receive(&out[..part]);
            self.core.sent(part);
            self.budget -= part;
        }
        let answer = self.node.outbox.len().min(self.budget);
        self.budget -= answer;
        let bytes: Vec<u8> = self.node.outbox.drain(..answer).collect();
        if answer > 0 {
            self.trace.push(("node", bytes.clone()));
        }
        self.wire.extend(bytes);
        let seen = &mut self.seen;
        let taken = self.core.receive(self.now, &self.wire, &mut |event| seen.push(own(event)));
        self.wire.drain(..taken);
        part > 0 || answer > 0
    }

    pub fn submit(&mut self, payload: &[u8]) -> u64 {
        self.core.submit(1, payload).unwrap().0
    }

    /// Puts a frame of the node on the wire.
    pub fn inject(&mut self, header: ServerHeader, payload: &[u8]) {
        self.node.put(header, payload);
        self.run();
    }

    pub fn pass(&mut self, nanos: u64) {
        self.now = self.now.plus(nanos);
        let seen = &mut self.seen;
        self.core.tick(self.now, &mut |event| seen.push(own(event)));
        self.run();
    }

    pub fn take_seen(&mut self) -> Vec<Seen> {
        std::mem::take(&mut self.seen)
    }
}
