//! A client: signs in, opens a session, sends requests, asks again, moves to another node when one does not
//! answer, and knows what it may expect.

use crate::audit::Ack;
use crate::net::Network;
use crate::plan::Plan;
use crate::rng::Rng;
use crate::shadow::Asked;
use crate::trace::Trace;
use crate::workload::{Payload, Workload};
use crate::world::History;
use ordain_keys::{ClientHandshake, KeyPair};
use ordain_types::codes::Code;
use ordain_types::frame::{
    ChallengeBody, ClientFrame, OpenBody, ServerFrame, ServerView, SubscribeBody, body,
};
use ordain_types::record::{RECORD_HEADER, RecordKind, record_len};
use ordain_types::{ClusterId, Nanos, RecordHeader};
use std::collections::BTreeMap;
use zerocopy::IntoBytes;

/// A connection on which nothing is heard for this long though something is owed is given up.
const PATIENCE: u64 = 300 * Nanos::MILLI;

/// The key pair of a client, the same in every run.
#[must_use]
pub fn key_pair(client: usize) -> KeyPair {
    KeyPair::from_seed(&[client as u8 + 1; 32])
}

/// A request that the client holds open.
struct Open {
    payload: Payload,
    /// Highest seq that anybody had been told when it was first sent.
    after: u64,
    /// Sent on the present connection.
    sent: bool,
    /// Answered, and asked again.
    held: Option<(u64, Vec<u8>)>,
    closes: bool,
}

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The hello is to be sent, or was.
    Hello(bool),
    /// The proof was sent.
    Proof,
    /// Signed in; the session is to be opened or resumed, or that was sent.
    Session(bool),
    /// Ready for requests.
    Ready,
}

/// See the module.
pub struct Client<W> {
    id: usize,
    nodes: usize,
    cluster: ClusterId,
    rng: Rng,
    trace: Trace,
    window: u64,
    think: (u64, u64),
    silence: u64,
    timeout: u64,
    conn: Option<u64>,
    phase: Phase,
    handshake: Option<ClientHandshake>,
    input: Vec<u8>,
    session: u64,
    next: u64,
    open: BTreeMap<u64, Open>,
    /// A query's id, and the highest seq that anybody had been told when it was sent.
    query: Option<(u64, u64)>,
    queries: u64,
    /// Streams that the connection reads, and the next output of each.
    streams: BTreeMap<u64, u64>,
    /// Earliest time of the next thing to do.
    next_at: u64,
    heard_at: u64,
    silent_until: u64,
    finishing: bool,
    workload: core::marker::PhantomData<fn() -> W>,
}

impl<W: Workload> Client<W> {
    /// A client that is not connected.
    #[must_use]
    pub fn new(id: usize, plan: &Plan, rng: Rng, trace: Trace) -> Self {
        Self {
            id,
            nodes: plan.nodes,
            cluster: plan.facts.cluster,
            rng,
            trace,
            window: u64::from(plan.facts.window),
            think: plan.think,
            silence: plan.silence,
            timeout: plan.facts.session_timeout.0,
            conn: None,
            phase: Phase::Hello(false),
            handshake: None,
            input: Vec::new(),
            session: 0,
            next: 1,
            open: BTreeMap::new(),
            query: None,
            queries: 0,
            streams: BTreeMap::new(),
            next_at: 0,
            heard_at: 0,
            silent_until: 0,
            finishing: false,
            workload: core::marker::PhantomData,
        }
    }

    /// Begins nothing new from now on.
    pub const fn finish(&mut self) {
        self.finishing = true;
        self.silent_until = 0;
    }

    /// Whether nothing is outstanding.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.finishing && self.open.is_empty()
    }

    /// For the report of a run that hangs.
    #[must_use]
    pub fn describe(&self) -> String {
        let open: Vec<_> = self.open.iter().map(|(number, open)| (*number, open.sent)).collect();
        format!("client {} {:?} {:?} session {} open {open:?}", self.id, self.conn, self.phase, self.session)
    }

    /// When the client wants to be stepped though nothing arrives.
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        if self.is_done() {
            return None;
        }
        let patience = if self.owes() { self.heard_at + PATIENCE } else { u64::MAX };
        let speaks = self.conn.is_none()
            || self.phase == Phase::Ready && (self.may_begin() || self.open.values().any(|open| !open.sent));
        let next = if speaks { self.next_at } else { u64::MAX };
        Some(self.silent_until.max(next.min(patience)))
    }

    fn may_begin(&self) -> bool {
        let lowest = self.open.keys().next().copied().unwrap_or(self.next);
        !self.finishing && self.next - lowest < self.window
    }

    fn owes(&self) -> bool {
        self.conn.is_some() && (self.phase != Phase::Ready || !self.open.is_empty() || self.query.is_some())
    }

    /// Does one thing; `false` if there was nothing to do.
    pub fn step(&mut self, now: u64, net: &mut Network, history: &mut History) -> bool {
        if self.is_done() || now < self.silent_until {
            return false;
        }
        let Some(conn) = self.conn else {
            return now >= self.next_at && self.connect(now, net);
        };
        let before = self.input.len();
        let stands = net.client_take(conn, &mut self.input);
        let heard = self.input.len() > before;
        if heard {
            self.heard_at = now;
            self.hear(now, net, history);
        }
        if self.conn.is_none() {
            return true;
        }
        if !stands || (self.owes() && now > self.heard_at + PATIENCE) {
            self.hang_up(now, net);
            return true;
        }
        self.speak(now, net, history) || heard
    }

    fn connect(&mut self, now: u64, net: &mut Network) -> bool {
        let node = self.rng.below(self.nodes as u64) as usize;
        self.conn = net.connect(self.id, node);
        self.heard_at = now;
        self.phase = Phase::Hello(false);
        if self.conn.is_none() {
            self.next_at = now + self.rng.spread(10 * Nanos::MICRO, 10 * Nanos::MILLI);
        }
        true
    }

    fn hang_up(&mut self, now: u64, net: &mut Network) {
        if let Some(conn) = self.conn.take() {
            net.client_close(conn);
        }
        self.input.clear();
        self.query = None;
        self.streams.clear();
        for open in self.open.values_mut() {
            open.sent = false;
        }
        self.next_at = now + self.rng.spread(100 * Nanos::MICRO, 20 * Nanos::MILLI);
    }

    /// The session is gone: what became of the requests outstanding is not known.
    fn lose_session(&mut self, history: &mut History) {
        history.finished += self.open.len() as u64;
        self.session = 0;
        self.next = 1;
        self.open.clear();
        if self.phase == Phase::Ready {
            self.phase = Phase::Session(false);
        }
    }

    // Hearing.

    fn hear(&mut self, now: u64, net: &mut Network, history: &mut History) {
        let input = core::mem::take(&mut self.input);
        let mut at = 0;
        while self.conn.is_some()
            && let Ok((view, used)) = ServerView::split(&input[at..])
        {
            at += used;
            self.hear_frame(&view, now, net, history);
        }
        if self.conn.is_some() {
            self.input.extend_from_slice(&input[at..]);
        }
    }

    fn hear_frame(&mut self, view: &ServerView<'_>, now: u64, net: &mut Network, history: &mut History) {
        let header = view.header;
        let numbers = [header.kind.into(), header.code.into(), header.number.get(), header.seq.get()];
        self.trace.event("client hears", &[self.id as u64, numbers[0], numbers[1], numbers[2], numbers[3]]);
        let kind = ServerFrame::from_wire(header.kind).expect("split checked the kind");
        let Some(code) = Code::from_wire(header.code) else {
            return self.trace.fail("nodes send whole frames", format!("code {}", header.code));
        };
        let elsewhere = matches!(
            code,
            Code::NotLeader
                | Code::Stopping
                | Code::Starting
                | Code::Fenced
                | Code::NotAttached
                | Code::WrongKey
        );
        if elsewhere || kind == ServerFrame::Goodbye {
            self.trace.mark(if code == Code::NotLeader { "refused: not leader" } else { "sent elsewhere" });
            return self.hang_up(now, net);
        }
        match kind {
            ServerFrame::Challenge => self.prove(view, now, net),
            ServerFrame::Welcome => self.phase = Phase::Session(false),
            ServerFrame::Opened if code == Code::Executed => {
                self.session = header.session().0;
                self.next = 1;
                self.phase = Phase::Ready;
            }
            ServerFrame::Resumed if code == Code::Executed => {
                if header.number.get() > self.next || header.number.get() == 0 {
                    let what = format!("client {} used numbers below {}, not {header:?}", self.id, self.next);
                    self.trace.fail("nothing acknowledged is lost", what);
                }
                self.phase = Phase::Ready;
            }
            ServerFrame::Opened | ServerFrame::Resumed if code == Code::UnknownSession => {
                self.trace.mark("session expired");
                self.lose_session(history);
            }
            ServerFrame::Opened | ServerFrame::Resumed => self.hang_up(now, net),
            ServerFrame::Reply => self.hear_reply(view, code, now, history),
            ServerFrame::Answer => self.hear_answer(view, code, history),
            ServerFrame::Subscribed if code == Code::Executed => {
                self.streams.insert(header.session.get(), header.number.get());
            }
            ServerFrame::Subscribed => {}
            ServerFrame::Output => self.hear_output(view, history),
            ServerFrame::Pong | ServerFrame::Goodbye | ServerFrame::Receipt | ServerFrame::Keys => {}
        }
    }

    fn prove(&mut self, view: &ServerView<'_>, now: u64, net: &mut Network) {
        let answer = self
            .handshake
            .as_ref()
            .zip(body::<ChallengeBody>(view.payload))
            .and_then(|(handshake, challenge)| handshake.answer(challenge).ok());
        let Some((proof, _)) = answer else {
            self.trace.fail("clients can sign in", format!("client {} was challenged badly", self.id));
            return self.hang_up(now, net);
        };
        self.phase = Phase::Proof;
        let header = RecordHeader { kind: ClientFrame::Proof as u8, ..RecordHeader::default() };
        if !self.send(net, header, proof.as_bytes()) {
            self.hang_up(now, net);
        }
    }

    fn hear_reply(&mut self, view: &ServerView<'_>, code: Code, now: u64, history: &mut History) {
        let header = view.header;
        let number = header.number().0;
        match code {
            Code::Executed => self.hear_executed(view, history),
            Code::UnknownSession if header.session().0 == self.session => {
                self.trace.mark("session expired");
                self.lose_session(history);
            }
            Code::UnknownSession => {}
            Code::Malformed => self.trace.mark("refused: malformed"),
            Code::Forgotten => self.trace.mark("forgotten"),
            Code::Conflict => {
                let what = format!("client {} never used number {number} twice", self.id);
                self.trace.fail("requests keep their bytes", what);
            }
            _ => {
                self.trace.mark(match code {
                    Code::Expected => "refused: expected",
                    Code::NoRoom => "refused: no room",
                    Code::NoCopies => "refused: no copies",
                    Code::Busy => "refused: busy",
                    _ => "refused: otherwise",
                });
                for open in self.open.range_mut(number..) {
                    open.1.sent = false;
                }
                self.next_at = now + self.rng.spread(10 * Nanos::MICRO, 5 * Nanos::MILLI);
            }
        }
    }

    fn hear_executed(&mut self, view: &ServerView<'_>, history: &mut History) {
        let header = view.header;
        let asked = Asked { session: header.session(), number: header.number(), seq: header.seq() };
        if asked.session.0 != self.session {
            return;
        }
        let Some(open) = self.open.get_mut(&asked.number.0) else {
            return self.trace.mark("reply came again");
        };
        let reply = (asked.seq.0, view.payload.to_vec());
        if let Some(held) = &open.held {
            if *held != reply {
                let what = format!("{asked:?} was answered with {held:?} and then with {reply:?}");
                return self.trace.fail("a reply never changes", what);
            }
            self.trace.mark("duplicate answered alike");
            self.open.remove(&asked.number.0);
            return;
        }
        if asked.seq.0 <= open.after {
            let what = format!("{asked:?} was asked after seq {} was acknowledged", open.after);
            self.trace.fail("real-time order", what);
        }
        history.highest = history.highest.max(asked.seq.0);
        history.finished += 1;
        history.acks.push(Ack { asked, reply: reply.1.clone() });
        if open.closes {
            return self.lose_session(history);
        }
        if !self.finishing && self.rng.one_in(16) {
            open.held = Some(reply);
            open.sent = false;
        } else {
            self.open.remove(&asked.number.0);
        }
    }

    fn hear_answer(&mut self, view: &ServerView<'_>, code: Code, history: &mut History) {
        let Some((id, after)) = self.query else { return };
        if view.header.number.get() != id {
            return;
        }
        self.query = None;
        history.finished += 1;
        if code != Code::Executed {
            return;
        }
        self.trace.mark("query answered");
        let seq = view.header.seq.get();
        if seq < after {
            let what = format!(
                "client {} asked after seq {after} was acknowledged; the answer knows {seq}",
                self.id
            );
            self.trace.fail("queries see what was acknowledged", what);
        }
    }

    fn hear_output(&mut self, view: &ServerView<'_>, history: &mut History) {
        let (stream, number) = (view.header.session.get(), view.header.number.get());
        let Some(next) = self.streams.get_mut(&stream) else { return };
        if *next != number {
            let what = format!("client {} got output {number} of stream {stream:#x}, not {next}", self.id);
            return self.trace.fail("outputs are dense", what);
        }
        *next += 1;
        let known = history.outputs.entry((stream, number)).or_insert_with(|| view.payload.to_vec());
        if known.as_slice() != view.payload {
            let what = format!("output {number} of stream {stream:#x} is {known:?} and {:?}", view.payload);
            return self.trace.fail("an output never changes", what);
        }
        self.trace.mark("output heard");
    }

    // Speaking.

    fn send(&mut self, net: &mut Network, header: RecordHeader, payload: &[u8]) -> bool {
        let Some(conn) = self.conn else { return false };
        let len = record_len(payload.len());
        if net.client_room(conn) < len {
            return false;
        }
        let header = RecordHeader { length: (payload.len() as u32).into(), ..header };
        let mut bytes = vec![0; len];
        bytes[..RECORD_HEADER].copy_from_slice(header.as_bytes());
        bytes[RECORD_HEADER..RECORD_HEADER + payload.len()].copy_from_slice(payload);
        net.client_send(conn, &bytes);
        true
    }

    fn speak(&mut self, now: u64, net: &mut Network, history: &mut History) -> bool {
        match self.phase {
            Phase::Hello(false) => {
                let mut nonce = [0; 32];
                self.rng.fill(&mut nonce);
                let handshake = ClientHandshake::new(key_pair(self.id), self.cluster, None, nonce);
                let hello = *handshake.hello();
                self.handshake = Some(handshake);
                let header = RecordHeader { kind: ClientFrame::Hello as u8, ..RecordHeader::default() };
                let sent = self.send(net, header, hello.as_bytes());
                self.phase = Phase::Hello(sent);
                sent
            }
            Phase::Session(false) => {
                let (kind, payload) = if self.session == 0 {
                    (RecordKind::SessionOpen as u8, OpenBody { reserved: [0; 8] }.as_bytes().to_vec())
                } else {
                    (ClientFrame::Resume as u8, Vec::new())
                };
                let header = RecordHeader { kind, session: self.session.into(), ..RecordHeader::default() };
                let sent = self.send(net, header, &payload);
                self.phase = Phase::Session(sent);
                sent
            }
            Phase::Ready if now >= self.next_at => {
                self.resend(net) || (self.may_begin() && self.begin(now, net, history))
            }
            _ => false,
        }
    }

    /// Sends the first request that is open and was not sent on this connection.
    fn resend(&mut self, net: &mut Network) -> bool {
        let Some((number, open)) = self.open.iter().find(|(_, open)| !open.sent) else { return false };
        let (number, payload, closes) = (*number, open.payload.clone(), open.closes);
        let lowest = self.open.keys().next().expect("one was found");
        let kind = if closes { RecordKind::SessionClose } else { RecordKind::Request };
        let header = RecordHeader {
            kind: kind as u8,
            schema: payload.schema,
            open_span: ((number - lowest) as u16).into(),
            session: self.session.into(),
            number: number.into(),
            ..RecordHeader::default()
        };
        let sent = self.send(net, header, &payload.bytes);
        self.open.get_mut(&number).expect("just found").sent = sent;
        sent
    }

    /// Something new.
    fn begin(&mut self, now: u64, net: &mut Network, history: &mut History) -> bool {
        let lowest = self.open.keys().next().copied().unwrap_or(self.next);
        self.next_at = now + self.rng.spread(self.think.0, self.think.1);
        match self.rng.below(400) {
            0..=9 if self.query.is_none() => {
                self.queries += 1;
                let query = W::query(&mut self.rng);
                let header = RecordHeader {
                    kind: ClientFrame::Query as u8,
                    schema: query.schema,
                    number: self.queries.into(),
                    ..RecordHeader::default()
                };
                if self.send(net, header, &query.bytes) {
                    self.query = Some((self.queries, history.highest));
                }
            }
            10..=12 => {
                let stream = W::stream(&mut self.rng).to_wire();
                let header = RecordHeader { kind: ClientFrame::Subscribe as u8, ..RecordHeader::default() };
                let body = SubscribeBody { stream: stream.into(), from: self.rng.below(2).into() };
                if !self.streams.contains_key(&stream) {
                    self.send(net, header, body.as_bytes());
                }
            }
            13..=14 => {
                let nonsense = W::nonsense(&mut self.rng);
                let header = RecordHeader {
                    kind: RecordKind::Request as u8,
                    schema: nonsense.schema,
                    session: self.session.into(),
                    number: self.next.into(),
                    ..RecordHeader::default()
                };
                if self.open.is_empty() {
                    self.send(net, header, &nonsense.bytes);
                }
            }
            15 => {
                let header = RecordHeader {
                    kind: RecordKind::SessionKeepAlive as u8,
                    session: self.session.into(),
                    number: self.next.into(),
                    open_span: ((self.next - lowest) as u16).into(),
                    ..RecordHeader::default()
                };
                self.send(net, header, &[]);
            }
            16 if self.silence > 0 => {
                self.trace.mark("client goes silent");
                self.silent_until = now + self.timeout + self.timeout / 4;
            }
            choice => {
                let closes = choice == 17;
                let payload =
                    if closes { Payload { schema: 0, bytes: Vec::new() } } else { W::command(&mut self.rng) };
                let open = Open { payload, after: history.highest, sent: false, held: None, closes };
                self.open.insert(self.next, open);
                self.next += 1;
            }
        }
        true
    }
}
