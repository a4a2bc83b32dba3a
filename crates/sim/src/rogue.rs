//! A client that does what a correct one never does: asks again for what it was told, says something else
//! under a number that it has used, goes beyond the window, writes over a connection that it has left,
//! reaches for the sessions of others, and sends rubbish. It has one request at a time that is meant.

use crate::client::{Party, key_pair};
use crate::history::History;
use crate::net::Network;
use crate::plan::Plan;
use crate::rng::Rng;
use crate::shadow::Asked;
use crate::trace::Trace;
use crate::workload::{Author, Payload, Workload};
use ordain_keys::ClientHandshake;
use ordain_types::codes::Code;
use ordain_types::frame::{ChallengeBody, ClientFrame, OpenBody, ServerFrame, ServerView, body};
use ordain_types::record::{RECORD_HEADER, RecordKind, record_len};
use ordain_types::{ClusterId, Nanos, RecordHeader};
use std::collections::{BTreeMap, BTreeSet};
use zerocopy::IntoBytes;

/// A connection on which nothing is heard for this long though something is owed is given up.
const PATIENCE: u64 = 300 * Nanos::MILLI;

/// Requests that may be repeated or contradicted: more than any window, so that some are forgotten.
const REMEMBERED: usize = 40;

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Hello,
    SignIn,
    Session,
    Attaching,
    Ready,
}

/// See the module.
pub struct Rogue<W: Workload> {
    id: usize,
    nodes: usize,
    cluster: ClusterId,
    rng: Rng,
    trace: Trace,
    author: W::Author,
    window: u64,
    think: (u64, u64),
    conn: Option<u64>,
    phase: Phase,
    handshake: Option<ClientHandshake>,
    input: Vec<u8>,
    /// A connection that was left without a word, before the session was resumed on the present one.
    left: Option<u64>,
    left_input: Vec<u8>,
    /// Numbers used on it since.
    left_numbers: BTreeSet<u64>,
    session: u64,
    /// Sessions that it asked for and never heard of: they may exist, and are its own.
    unheard: u64,
    /// Sessions that it tried to resume while one of its own might have had that number.
    tried: BTreeSet<u64>,
    /// The number that is meant, and when it was first used: the highest seq known then.
    next: u64,
    after: Option<u64>,
    /// Whether it was sent and may be answered.
    awaited: bool,
    /// What was sent first under each number.
    sent: BTreeMap<u64, Payload>,
    next_at: u64,
    heard_at: u64,
    finishing: bool,
}

impl<W: Workload> Rogue<W> {
    /// A rogue that is not connected.
    #[must_use]
    pub fn new(id: usize, plan: &Plan, rng: Rng, trace: Trace) -> Self {
        Self {
            id,
            nodes: plan.machines(),
            cluster: plan.facts.cluster,
            rng,
            trace,
            author: W::author(id),
            window: u64::from(plan.facts.window),
            think: plan.think,
            conn: None,
            phase: Phase::Hello,
            handshake: None,
            input: Vec::new(),
            left: None,
            left_input: Vec::new(),
            left_numbers: BTreeSet::new(),
            session: 0,
            unheard: 0,
            tried: BTreeSet::new(),
            next: 1,
            after: None,
            awaited: false,
            sent: BTreeMap::new(),
            next_at: 0,
            heard_at: 0,
            finishing: false,
        }
    }

    fn connect(&mut self, now: u64, net: &mut Network) {
        let node = self.rng.below(self.nodes as u64) as usize;
        self.conn = net.connect(self.id, node);
        (self.phase, self.heard_at) = (Phase::Hello, now);
        if self.conn.is_none() {
            self.next_at = now + self.rng.spread(10 * Nanos::MICRO, 10 * Nanos::MILLI);
        }
    }

    fn hang_up(&mut self, now: u64, net: &mut Network) {
        if let Some(conn) = self.conn.take() {
            net.client_close(conn);
        }
        self.input.clear();
        self.awaited = false;
        self.next_at = now + self.rng.spread(100 * Nanos::MICRO, 20 * Nanos::MILLI);
    }

    /// Leaves the connection open and goes on with another.
    fn leave(&mut self, net: &mut Network) {
        self.forget_left(net);
        self.left = self.conn.take();
        self.left_input = core::mem::take(&mut self.input);
        self.awaited = false;
    }

    fn forget_left(&mut self, net: &mut Network) {
        if let Some(conn) = self.left.take() {
            net.client_close(conn);
        }
        self.left_input.clear();
        self.left_numbers.clear();
    }

    fn lose_session(&mut self, net: &mut Network) {
        self.trace.mark("session expired");
        self.forget_left(net);
        (self.session, self.next, self.after, self.awaited) = (0, 1, None, false);
        self.sent.clear();
        self.phase = Phase::Session;
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
        self.trace.event("rogue hears", &[self.id as u64, numbers[0], numbers[1], numbers[2], numbers[3]]);
        let kind = ServerFrame::from_wire(header.kind).expect("split checked the kind");
        let Some(code) = Code::from_wire(header.code) else {
            return self.trace.fail("nodes send whole frames", format!("code {}", header.code));
        };
        let own = header.session.get() == self.session;
        match kind {
            ServerFrame::Challenge => self.prove(view, now, net),
            ServerFrame::Welcome => self.phase = Phase::Session,
            ServerFrame::Opened if code == Code::Executed => {
                self.unheard -= 1;
                self.session = header.session.get();
                self.next = 1;
                self.phase = Phase::Ready;
            }
            ServerFrame::Resumed if code == Code::Executed && own => {
                self.resumed(header.number.get());
            }
            ServerFrame::Resumed if code == Code::Executed && self.unheard > 0 => self.unheard -= 1,
            ServerFrame::Resumed if code == Code::Executed => {
                let what = format!("rogue {} got session {}", self.id, header.session());
                self.trace.fail("sessions belong to their keys", what);
            }
            // What became of a theft.
            ServerFrame::Resumed if self.phase == Phase::Ready => {}
            ServerFrame::Resumed | ServerFrame::Reply if code == Code::UnknownSession && own => {
                history.lost.push(self.session);
                self.lose_session(net);
            }
            ServerFrame::Opened | ServerFrame::Resumed | ServerFrame::Goodbye => self.hang_up(now, net),
            ServerFrame::Reply if own => self.reply(view, code, now, net, history),
            _ => {}
        }
    }

    fn resumed(&mut self, expected: u64) {
        if expected < self.next {
            let what = format!("rogue {} was answered number {}, not {expected}", self.id, self.next - 1);
            self.trace.fail("nothing acknowledged is lost", what);
        }
        if expected > self.next + 1 {
            let what = format!("rogue {} meant number {} at most, not {expected}", self.id, self.next);
            self.trace.fail("executed at most once", what);
        }
        // What it has sent and the node has admitted may still go with the node's reign: it asks for that again.
        (self.phase, self.awaited) = (Phase::Ready, false);
    }

    fn prove(&mut self, view: &ServerView<'_>, now: u64, net: &mut Network) {
        let answer = self
            .handshake
            .take()
            .zip(body::<ChallengeBody>(view.payload))
            .and_then(|(handshake, challenge)| handshake.answer(challenge).ok());
        let Some((proof, _)) = answer else {
            self.trace.fail("clients can sign in", format!("rogue {} was challenged badly", self.id));
            return self.hang_up(now, net);
        };
        let header = RecordHeader { kind: ClientFrame::Proof as u8, ..RecordHeader::default() };
        if !self.send(net, header, proof.as_bytes()) {
            self.hang_up(now, net);
        }
    }

    fn reply(
        &mut self,
        view: &ServerView<'_>,
        code: Code,
        now: u64,
        net: &mut Network,
        history: &mut History,
    ) {
        let number = view.header.number.get();
        match code {
            Code::Executed => {
                let asked = Asked {
                    session: view.header.session(),
                    number: view.header.number(),
                    seq: view.header.seq(),
                };
                let after = if number == self.next { self.after.unwrap_or(0) } else { 0 };
                history.acknowledge(asked, view.payload, after, &self.trace);
                self.advance(number, history);
            }
            // Something else was there first.
            Code::Conflict => self.advance(number, history),
            Code::NotLeader | Code::Stopping | Code::Starting | Code::NotAttached if number >= self.next => {
                self.hang_up(now, net);
            }
            _ if number == self.next => {
                self.awaited = false;
                self.sent.remove(&number);
                self.next_at = now + self.rng.spread(10 * Nanos::MICRO, 5 * Nanos::MILLI);
            }
            _ => {}
        }
    }

    fn advance(&mut self, number: u64, history: &mut History) {
        if number == self.next {
            history.finished += 1;
            (self.next, self.after, self.awaited) = (number + 1, None, false);
            if self.sent.len() > REMEMBERED {
                self.sent.pop_first();
            }
        }
    }

    /// A connection that was left has nothing to say about what was sent on it since.
    fn hear_left(&mut self, net: &mut Network) {
        let Some(conn) = self.left else { return };
        let stands = net.client_take(conn, &mut self.left_input);
        let mut at = 0;
        while let Ok((view, used)) = ServerView::split(&self.left_input[at..]) {
            at += used;
            let header = view.header;
            let is_reply = header.kind == ServerFrame::Reply as u8 && header.session.get() == self.session;
            let number = header.number.get();
            if is_reply && header.code == Code::Executed as u8 && self.left_numbers.contains(&number) {
                let what = format!("rogue {} wrote number {number} after it had resumed elsewhere", self.id);
                self.trace.fail("who resumes a session fences the others", what);
            }
        }
        self.left_input.drain(..at);
        if !stands {
            self.forget_left(net);
        }
    }

    // Speaking.

    fn send(&mut self, net: &mut Network, header: RecordHeader, payload: &[u8]) -> bool {
        self.conn.is_some_and(|conn| put(net, conn, header, payload))
    }

    fn speak(&mut self, now: u64, net: &mut Network, history: &mut History) -> bool {
        match self.phase {
            Phase::Hello => {
                let mut nonce = [0; 32];
                self.rng.fill(&mut nonce);
                let handshake = ClientHandshake::new(key_pair(self.id), self.cluster, None, nonce);
                let header = RecordHeader { kind: ClientFrame::Hello as u8, ..RecordHeader::default() };
                let sent = self.send(net, header, handshake.hello().as_bytes());
                if sent {
                    (self.handshake, self.phase) = (Some(handshake), Phase::SignIn);
                }
                sent
            }
            Phase::Session => {
                let header = RecordHeader { session: self.session.into(), ..RecordHeader::default() };
                let sent = if self.session == 0 {
                    let header = RecordHeader { kind: RecordKind::SessionOpen as u8, ..header };
                    self.unheard += 1;
                    self.send(net, header, OpenBody { reserved: [0; 8] }.as_bytes())
                } else {
                    self.send(net, RecordHeader { kind: ClientFrame::Resume as u8, ..header }, &[])
                };
                if sent {
                    self.phase = Phase::Attaching;
                }
                sent
            }
            Phase::Ready if now >= self.next_at && !self.finishing => {
                self.next_at = now + self.rng.spread(self.think.0, self.think.1);
                self.misbehave(now, net, history);
                true
            }
            _ => false,
        }
    }

    fn misbehave(&mut self, now: u64, net: &mut Network, history: &mut History) {
        match self.rng.below(128) {
            0..=3 => self.repeat(net),
            4..=6 => self.contradict(net, history),
            7 => self.exceed(net, history),
            8 => self.skip(net),
            9 => self.reach(net, RecordKind::Request as u8),
            10 => self.reach(net, ClientFrame::Resume as u8),
            11 => {
                self.trace.mark("rogue sends rubbish");
                let mut rubbish = [0; 64];
                self.rng.fill(&mut rubbish);
                if let Some(conn) = self.conn.filter(|conn| net.client_room(*conn) >= rubbish.len()) {
                    net.client_send(conn, &rubbish);
                }
            }
            12 => {
                self.trace.mark("rogue leaves a connection open");
                self.leave(net);
                self.next_at = now;
            }
            13..=16 => self.write_to_left(net),
            _ if !self.awaited => self.mean(net, history),
            _ => {}
        }
    }

    fn request(&self, number: u64, span: u64) -> RecordHeader {
        RecordHeader {
            kind: RecordKind::Request as u8,
            open_span: (span.min(u64::from(u16::MAX)) as u16).into(),
            session: self.session.into(),
            number: number.into(),
            ..RecordHeader::default()
        }
    }

    fn send_request(&mut self, net: &mut Network, header: RecordHeader, payload: &Payload) -> bool {
        self.send(net, RecordHeader { schema: payload.schema, ..header }, &payload.bytes)
    }

    /// The next request, in order.
    fn mean(&mut self, net: &mut Network, history: &mut History) {
        let span = self.rng.below(self.window.min(self.next));
        self.use_next(net, history, span);
    }

    /// A request that declares more open than the window allows.
    fn exceed(&mut self, net: &mut Network, history: &mut History) {
        let span = self.rng.range(self.window, 2 * self.window);
        self.use_next(net, history, span);
    }

    fn use_next(&mut self, net: &mut Network, history: &mut History, span: u64) {
        let known = self.sent.get(&self.next).cloned();
        let payload = known.unwrap_or_else(|| self.author.command(&mut self.rng));
        history.claim((self.session, self.next), &payload.bytes);
        self.after = self.after.or(Some(history.highest));
        if self.send_request(net, self.request(self.next, span), &payload) {
            self.sent.entry(self.next).or_insert(payload);
            self.awaited = true;
        }
    }

    fn any_sent(&mut self) -> Option<(u64, Payload)> {
        let count = self.sent.len() as u64;
        let at = if count > 0 { self.rng.below(count) as usize } else { return None };
        self.sent.iter().nth(at).map(|(number, payload)| (*number, payload.clone()))
    }

    /// What was answered, or is under way, once more.
    fn repeat(&mut self, net: &mut Network) {
        if let Some((number, payload)) = self.any_sent() {
            self.trace.mark("rogue repeats a number");
            self.send_request(net, self.request(number, 0), &payload);
        }
    }

    /// Another request under a number that was used.
    fn contradict(&mut self, net: &mut Network, history: &mut History) {
        if let Some((number, _)) = self.any_sent() {
            let payload = self.author.command(&mut self.rng);
            history.claim((self.session, number), &payload.bytes);
            if self.send_request(net, self.request(number, 0), &payload) && number == self.next {
                self.awaited = true;
            }
        }
    }

    /// A number that is not next. Nobody may execute it: it is not claimed.
    fn skip(&mut self, net: &mut Network) {
        let number = self.next + self.rng.range(2, 4);
        let payload = self.author.command(&mut self.rng);
        self.send_request(net, self.request(number, 0), &payload);
    }

    /// A session that may be another's.
    fn reach(&mut self, net: &mut Network, kind: u8) {
        let session = self.rng.spread(1, 1_000);
        let is_request = kind == RecordKind::Request as u8;
        if !is_request && self.unheard > 0 {
            self.tried.insert(session);
        }
        // A request in a session that may be its own after all could rightly be executed.
        if session != self.session && !(is_request && self.tried.contains(&session)) {
            let payload = if is_request {
                self.author.command(&mut self.rng)
            } else {
                Payload { schema: 0, bytes: Vec::new() }
            };
            let header = RecordHeader { kind, session: session.into(), ..self.request(1, 0) };
            self.send_request(net, header, &payload);
        }
    }

    /// A request on the connection that was left, which is not to be executed: it is not claimed.
    fn write_to_left(&mut self, net: &mut Network) {
        // What it had sent there before it left may be answered there.
        let is_new = !self.awaited && !self.sent.contains_key(&self.next);
        let Some(conn) = self.left.filter(|_| is_new) else { return };
        let payload = self.author.command(&mut self.rng);
        let header = RecordHeader { schema: payload.schema, ..self.request(self.next, 0) };
        if put(net, conn, header, &payload.bytes) {
            self.trace.mark("rogue writes where it is fenced");
            self.left_numbers.insert(self.next);
        }
    }
}

/// Sends a frame if there is room.
fn put(net: &mut Network, conn: u64, header: RecordHeader, payload: &[u8]) -> bool {
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

impl<W: Workload> Party for Rogue<W> {
    fn step(&mut self, now: u64, net: &mut Network, history: &mut History) -> bool {
        if self.finishing {
            return false;
        }
        self.hear_left(net);
        let Some(conn) = self.conn else {
            if now >= self.next_at {
                self.connect(now, net);
            }
            return now >= self.next_at;
        };
        let before = self.input.len();
        let stands = net.client_take(conn, &mut self.input);
        let heard = self.input.len() > before;
        if heard {
            self.heard_at = now;
            self.hear(now, net, history);
        }
        let owed = self.phase != Phase::Ready || self.awaited;
        if self.conn == Some(conn) && (!stands || (owed && now > self.heard_at + PATIENCE)) {
            self.hang_up(now, net);
            return true;
        }
        (self.conn.is_some() && self.speak(now, net, history)) || heard
    }

    fn finish(&mut self) {
        self.finishing = true;
    }

    /// Nobody owes it anything.
    fn is_done(&self) -> bool {
        self.finishing
    }

    fn next_deadline(&self) -> Option<u64> {
        let owed = self.phase != Phase::Ready || self.awaited;
        let patience = if owed && self.conn.is_some() { self.heard_at + PATIENCE + 1 } else { u64::MAX };
        let speaks = self.conn.is_none() || self.phase == Phase::Ready;
        let next = if speaks { self.next_at } else { u64::MAX };
        (!self.finishing).then(|| next.min(patience))
    }

    fn describe(&self) -> String {
        format!("rogue {} {:?} {:?} session {}", self.id, self.conn, self.phase, self.session)
    }
}
