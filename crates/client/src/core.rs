//! The protocol without I/O.
//!
//! Requests wait in the order in which they were submitted until they are answered. Each has a number in
//! the session only for the log's sake: when the node refuses one before sequencing, the node answers
//! everything behind it with `Expected`. The core then sends nothing until every answer that is due has
//! come (*draining*), gives the rest new dense numbers, and sends them again.

use ordain_keys::{ClientHandshake, HandshakeError, Identified, KeyPair, PublicKey};
use ordain_types::codes::Code;
use ordain_types::frame::{
    ChallengeBody, ClientFrame, FrameError, OpenBody, ServerFrame, ServerView, SubscribeBody, WelcomeBody,
    body,
};
use ordain_types::record::{RECORD_HEADER, RecordKind, record_len};
use ordain_types::{ClusterId, Nanos, Number, OutputSeq, RecordHeader, Seq, SessionId, Stream};
use std::collections::VecDeque;
use std::fmt;
use zerocopy::{FromBytes, IntoBytes};

/// A request as the program knows it: counted from 0 in the order of submission. Unlike its number in the
/// session it never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// It was executed, once, and the copies that the ack policy names exist.
    Acknowledged {
        /// Its number in the session.
        number: Number,
        /// Its record in the log.
        seq: Seq,
        /// What the application replied.
        reply: &'a [u8],
    },
    /// It was not executed and never will be.
    NotExecuted(Code),
    /// It may or may not have been executed: its session is gone, and with it the way to ask.
    Unknown,
}

/// What the protocol brings.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// The node proved who it is, and so did we.
    SignedIn(Identified),
    /// The session is open, or attached again: requests flow.
    Attached(SessionId),
    /// A request was answered.
    Completed(RequestId, Outcome<'a>),
    /// A query was answered; `Err` if it was refused.
    Answer(u64, Result<(Seq, &'a [u8]), Code>),
    /// A query's connection broke before its answer: ask again.
    AnswerLost(u64),
    /// A subscription stands; the next output has this number.
    Subscribed(Stream, OutputSeq),
    /// A subscription was refused; for `TooOld` the oldest number kept.
    NotSubscribed(Stream, Code, OutputSeq),
    /// An output.
    Output(Stream, OutputSeq, Seq, &'a [u8]),
    /// The session ended: everything open is reported as unknown first.
    SessionLost(Code),
    /// A session could not be opened at present.
    NotOpened(Code),
    /// The node will close the connection.
    Goodbye(Code, &'a str),
}

/// The node does not keep to the protocol, or is not who it should be. Hang up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolError {
    /// The handshake failed.
    Handshake(HandshakeError),
    /// A frame makes no sense.
    Frame(&'static str),
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Handshake(error) => write!(f, "signing in failed: {error}"),
            Self::Frame(what) => {
                write!(
                    f,
                    "the node does not keep to the protocol: {what}. Check that the address is a node's"
                )
            }
        }
    }
}

impl std::error::Error for ProtocolError {}

/// Who signs in where.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The client's key.
    pub key: KeyPair,
    /// The cluster meant; zeros for any.
    pub cluster: ClusterId,
    /// The key that the node must have, if known.
    pub node: Option<PublicKey>,
}

#[derive(Debug)]
enum Phase {
    Offline,
    Challenge(Box<ClientHandshake>),
    Welcome(Identified),
    /// Signed in; no session yet, or not attached.
    Opening,
    Attached,
}

/// A request that is not answered.
#[derive(Debug, Default)]
struct Pending {
    id: u64,
    number: u64,
    /// The whole record.
    record: Vec<u8>,
    /// Sent on this connection and not answered.
    due: bool,
    /// Answered, behind one that is not.
    done: bool,
}

/// Bytes to be sent: consumed from the front.
#[derive(Debug, Default)]
struct Outgoing {
    bytes: Vec<u8>,
    sent: usize,
}

/// A failed request is tried again this long after it was refused for want of something.
const RETRY: Nanos = Nanos(5 * Nanos::MILLI);
/// Smallest share of a time-out after which something is said.
const KEEP_ALIVE_SHARE: u64 = 3;

/// See the module.
#[derive(Debug)]
pub struct ClientCore {
    identity: Identity,
    phase: Phase,
    out: Outgoing,
    session: Option<SessionId>,
    window: usize,
    payload_max: usize,
    session_timeout: u64,
    idle_timeout: u64,
    /// In order of submission. `due` ones come first.
    pending: VecDeque<Pending>,
    spare: Vec<Vec<u8>>,
    /// How many of `pending` are due an answer on this connection.
    due: usize,
    /// Everything of `pending` before this was sent on this connection.
    next_to_send: usize,
    next_id: u64,
    next_number: u64,
    draining: bool,
    /// While draining: the number that the log takes next.
    refused_from: Option<u64>,
    /// While draining: something was refused that may be taken a little later.
    retry_later: bool,
    resend_at: Option<Nanos>,
    open_at: Option<Nanos>,
    queries: VecDeque<u64>,
    next_query: u64,
    subscriptions: Vec<(Stream, OutputSeq)>,
    spoke: Nanos,
    kept_alive: Nanos,
}

impl ClientCore {
    /// A client that is not connected.
    #[must_use]
    pub fn new(identity: Identity) -> Self {
        Self {
            identity,
            phase: Phase::Offline,
            out: Outgoing::default(),
            session: None,
            window: 0,
            payload_max: 0,
            session_timeout: u64::MAX,
            idle_timeout: u64::MAX,
            pending: VecDeque::new(),
            spare: Vec::new(),
            due: 0,
            next_to_send: 0,
            next_id: 0,
            next_number: 1,
            draining: false,
            refused_from: None,
            retry_later: false,
            resend_at: None,
            open_at: None,
            queries: VecDeque::new(),
            next_query: 0,
            subscriptions: Vec::new(),
            spoke: Nanos(0),
            kept_alive: Nanos(0),
        }
    }

    /// The session, once there is one.
    #[must_use]
    pub const fn session(&self) -> Option<SessionId> {
        self.session
    }

    /// Whether requests flow.
    #[must_use]
    pub const fn is_attached(&self) -> bool {
        matches!(self.phase, Phase::Attached)
    }

    /// Requests that are not answered.
    #[must_use]
    pub fn open_requests(&self) -> usize {
        self.pending.len()
    }

    /// Whether [`ClientCore::submit`] takes another request now.
    #[must_use]
    pub fn has_window(&self) -> bool {
        self.session.is_some() && self.pending.len() < self.window
    }

    /// Longest payload that the cluster takes, bytes; 0 before the first sign-in.
    #[must_use]
    pub const fn payload_max(&self) -> usize {
        self.payload_max
    }

    /// A connection stands. `nonce` must be fresh and unpredictable.
    pub fn connected(&mut self, nonce: [u8; 32], now: Nanos) {
        let Identity { key, cluster, node } = &self.identity;
        let handshake = ClientHandshake::new(key.clone(), *cluster, *node, nonce);
        self.out = Outgoing { bytes: core::mem::take(&mut self.out.bytes), sent: 0 };
        self.out.bytes.clear();
        self.frame(ClientFrame::Hello as u8, 0, 0, handshake.hello().as_bytes());
        self.phase = Phase::Challenge(Box::new(handshake));
        self.spoke = now;
    }

    /// The connection is gone. Requests are kept; queries are lost, each with an event.
    pub fn disconnected(&mut self, mut on: impl FnMut(Event<'_>)) {
        self.phase = Phase::Offline;
        self.due = 0;
        self.next_to_send = 0;
        self.resend_at = None;
        self.open_at = None;
        (self.draining, self.refused_from, self.retry_later) = (false, None, false);
        for pending in &mut self.pending {
            pending.due = false;
        }
        while let Some(query) = self.queries.pop_front() {
            on(Event::AnswerLost(query));
        }
    }

    /// Takes a request; `None` while the window is full, before the first session is open, or if the
    /// payload is longer than [`ClientCore::payload_max`].
    pub fn submit(&mut self, schema: u8, payload: &[u8], now: Nanos) -> Option<RequestId> {
        self.submit_as(RecordKind::Request, schema, payload, now)
    }

    /// As [`ClientCore::submit`] for the runtime's own numbered records: `SessionClose` and `KeySet`.
    pub fn submit_as(
        &mut self,
        kind: RecordKind,
        schema: u8,
        payload: &[u8],
        now: Nanos,
    ) -> Option<RequestId> {
        if !self.has_window() || payload.len() > self.payload_max {
            return None;
        }
        let session = self.session.expect("a window needs a session");
        let header = RecordHeader {
            length: (payload.len() as u32).into(),
            kind: kind as u8,
            schema,
            session: session.0.into(),
            ..RecordHeader::default()
        };
        let mut record = self.spare.pop().unwrap_or_default();
        record.clear();
        record.extend_from_slice(header.as_bytes());
        record.extend_from_slice(payload);
        record.resize(record_len(payload.len()), 0);
        let id = self.next_id;
        self.next_id += 1;
        let number = self.next_number;
        self.next_number += 1;
        self.pending.push_back(Pending { id, number, record, due: false, done: false });
        self.send_pending(now);
        Some(RequestId(id))
    }

    /// Asks a question; the id comes back with the answer. `None` while not signed in, or with as many
    /// questions open as the window has requests.
    pub fn query(&mut self, schema: u8, payload: &[u8], now: Nanos) -> Option<u64> {
        let is_ready = matches!(self.phase, Phase::Opening | Phase::Attached);
        if !is_ready || self.queries.len() >= self.window || payload.len() > self.payload_max {
            return None;
        }
        let id = self.next_query;
        self.next_query += 1;
        self.queries.push_back(id);
        let header = RecordHeader {
            length: (payload.len() as u32).into(),
            kind: ClientFrame::Query as u8,
            schema,
            number: id.into(),
            ..RecordHeader::default()
        };
        self.put(&header, payload);
        self.spoke = now;
        Some(id)
    }

    /// Reads a stream from output `from` on, or from the next to come if that is 0. After a reconnect it
    /// goes on behind the last output seen.
    pub fn subscribe(&mut self, stream: Stream, from: OutputSeq) {
        self.subscriptions.retain(|(known, _)| *known != stream);
        self.subscriptions.push((stream, from));
        if matches!(self.phase, Phase::Opening | Phase::Attached) {
            self.send_subscribe(stream, from);
        }
    }

    /// Bytes for the node.
    #[must_use]
    pub fn outgoing(&self) -> &[u8] {
        &self.out.bytes[self.out.sent..]
    }

    /// The first `bytes` of [`ClientCore::outgoing`] were sent.
    pub fn sent(&mut self, bytes: usize) {
        self.out.sent += bytes;
        if self.out.sent == self.out.bytes.len() {
            self.out.bytes.clear();
            self.out.sent = 0;
        }
    }

    /// Time at which [`ClientCore::tick`] has something to do.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Nanos> {
        if matches!(self.phase, Phase::Offline) {
            return None;
        }
        let speak = self.spoke.plus(self.idle_timeout / KEEP_ALIVE_SHARE);
        let keep = self.kept_alive.plus(self.session_timeout / KEEP_ALIVE_SHARE);
        [Some(speak), self.session.map(|_| keep), self.resend_at, self.open_at].into_iter().flatten().min()
    }

    /// Time passes: sends what was put off, and keeps session and connection alive.
    pub fn tick(&mut self, now: Nanos) {
        if self.open_at.is_some_and(|at| now >= at) {
            self.open_at = None;
            self.open();
        }
        if self.resend_at.is_some_and(|at| now >= at) {
            self.resend_at = None;
            self.send_pending(now);
        }
        if let (Phase::Attached, Some(session)) = (&self.phase, self.session)
            && now.since(self.kept_alive) >= self.session_timeout / KEEP_ALIVE_SHARE
        {
            let number = self.pending.front().map_or(self.next_number, |front| front.number);
            self.frame(RecordKind::SessionKeepAlive as u8, session.0, number, &[]);
            (self.kept_alive, self.spoke) = (now, now);
        }
        if matches!(self.phase, Phase::Opening | Phase::Attached)
            && now.since(self.spoke) >= self.idle_timeout / KEEP_ALIVE_SHARE
        {
            self.frame(ClientFrame::Ping as u8, 0, 0, &[]);
            self.spoke = now;
        }
    }

    /// Takes received bytes, and says how many of them were whole frames. The rest must be given again
    /// with what follows.
    ///
    /// # Errors
    /// [`ProtocolError`]: hang up.
    pub fn receive(
        &mut self,
        bytes: &[u8],
        now: Nanos,
        mut on: impl FnMut(Event<'_>),
    ) -> Result<usize, ProtocolError> {
        let mut used = 0;
        loop {
            match ServerView::split(&bytes[used..]) {
                Ok((view, len)) => {
                    self.take(&view, now, &mut on)?;
                    used += len;
                }
                Err(FrameError::Incomplete) => return Ok(used),
                Err(FrameError::Malformed(what)) => return Err(ProtocolError::Frame(what)),
            }
        }
    }

    fn take(
        &mut self,
        view: &ServerView<'_>,
        now: Nanos,
        on: &mut impl FnMut(Event<'_>),
    ) -> Result<(), ProtocolError> {
        let header = view.header;
        let kind = ServerFrame::from_wire(header.kind).expect("split checked the kind");
        let code = Code::from_wire(header.code).ok_or(ProtocolError::Frame("an unknown code"))?;
        match (kind, &self.phase) {
            (ServerFrame::Goodbye, _) => {
                on(Event::Goodbye(code, core::str::from_utf8(view.payload).unwrap_or("")));
                Ok(())
            }
            (ServerFrame::Challenge, Phase::Challenge(handshake)) => {
                let challenge: &ChallengeBody =
                    body(view.payload).ok_or(ProtocolError::Frame("a challenge of another size"))?;
                let (proof, node) = handshake.answer(challenge).map_err(ProtocolError::Handshake)?;
                self.frame(ClientFrame::Proof as u8, 0, 0, proof.as_bytes());
                self.phase = Phase::Welcome(node);
                Ok(())
            }
            (ServerFrame::Welcome, Phase::Welcome(node)) => {
                let node = *node;
                let welcome: &WelcomeBody =
                    body(view.payload).ok_or(ProtocolError::Frame("a welcome of another size"))?;
                self.welcome(welcome, now);
                on(Event::SignedIn(node));
                Ok(())
            }
            (_, Phase::Offline | Phase::Challenge(_) | Phase::Welcome(_)) => {
                Err(ProtocolError::Frame("an answer before anything was asked"))
            }
            (ServerFrame::Opened, _) => self.on_opened(view, code, now, on),
            (ServerFrame::Resumed, _) => self.on_resumed(view, code, now, on),
            (ServerFrame::Reply, _) => {
                self.on_reply(view, code, now, on);
                Ok(())
            }
            (ServerFrame::Answer, _) => {
                let id = header.number.get();
                let Some(at) = self.queries.iter().position(|open| *open == id) else {
                    return Err(ProtocolError::Frame("an answer to no question"));
                };
                self.queries.remove(at);
                let answer =
                    if code == Code::Executed { Ok((header.seq(), view.payload)) } else { Err(code) };
                on(Event::Answer(id, answer));
                Ok(())
            }
            (ServerFrame::Output, _) => self.on_output(view, on),
            (ServerFrame::Subscribed, _) => {
                let stream = stream_of(view)?;
                if code == Code::Executed {
                    on(Event::Subscribed(stream, OutputSeq(header.number.get())));
                } else {
                    self.subscriptions.retain(|(known, _)| *known != stream);
                    on(Event::NotSubscribed(stream, code, OutputSeq(header.seq.get())));
                }
                Ok(())
            }
            (ServerFrame::Pong, _) => Ok(()),
            (ServerFrame::Challenge | ServerFrame::Welcome, _) => {
                Err(ProtocolError::Frame("a handshake after the handshake"))
            }
        }
    }

    fn welcome(&mut self, welcome: &WelcomeBody, now: Nanos) {
        self.window = welcome.window.get() as usize;
        self.payload_max = welcome.payload_max.get() as usize;
        self.session_timeout = welcome.session_timeout.get();
        self.idle_timeout = welcome.idle_timeout.get();
        (self.spoke, self.kept_alive) = (now, now);
        self.phase = Phase::Opening;
        match self.session {
            Some(session) => self.frame(ClientFrame::Resume as u8, session.0, 0, &[]),
            None => self.open(),
        }
        for at in 0..self.subscriptions.len() {
            let (stream, from) = self.subscriptions[at];
            self.send_subscribe(stream, from);
        }
    }

    fn open(&mut self) {
        if matches!(self.phase, Phase::Opening) {
            self.frame(RecordKind::SessionOpen as u8, 0, 0, OpenBody { reserved: [0; 8] }.as_bytes());
        }
    }

    fn on_opened(
        &mut self,
        view: &ServerView<'_>,
        code: Code,
        now: Nanos,
        on: &mut impl FnMut(Event<'_>),
    ) -> Result<(), ProtocolError> {
        if self.session.is_some() {
            return Err(ProtocolError::Frame("a session that was not asked for"));
        }
        if code != Code::Executed {
            self.open_at = Some(now.plus(RETRY.0));
            on(Event::NotOpened(code));
            return Ok(());
        }
        let session = view.header.session();
        self.session = Some(session);
        self.next_number = 1;
        self.phase = Phase::Attached;
        on(Event::Attached(session));
        Ok(())
    }

    fn on_resumed(
        &mut self,
        view: &ServerView<'_>,
        code: Code,
        now: Nanos,
        on: &mut impl FnMut(Event<'_>),
    ) -> Result<(), ProtocolError> {
        let session = view.header.session();
        if self.session != Some(session) || !matches!(self.phase, Phase::Opening) {
            return Err(ProtocolError::Frame("a session that was not asked for"));
        }
        match code {
            Code::Executed => {
                self.phase = Phase::Attached;
                self.renumber(view.header.number.get());
                on(Event::Attached(session));
                self.send_pending(now);
            }
            Code::UnknownSession | Code::WrongKey => {
                self.lose_session(code, on);
                self.open();
            }
            // Not at present: the connection is of no use, and the program will find another.
            other => on(Event::Goodbye(other, "the session cannot be attached here at present")),
        }
        Ok(())
    }

    fn lose_session(&mut self, code: Code, on: &mut impl FnMut(Event<'_>)) {
        while let Some(pending) = self.pending.pop_front() {
            if !pending.done {
                on(Event::Completed(RequestId(pending.id), Outcome::Unknown));
            }
            self.spare.push(pending.record);
        }
        (self.due, self.next_to_send, self.next_number) = (0, 0, 1);
        (self.draining, self.refused_from, self.retry_later) = (false, None, false);
        self.resend_at = None;
        self.session = None;
        self.phase = Phase::Opening;
        on(Event::SessionLost(code));
    }

    /// Gives everything that the log does not have yet the numbers that it takes next.
    fn renumber(&mut self, expected: u64) {
        let mut next = expected;
        self.pending.retain(|pending| !pending.done || pending.number < expected);
        for pending in self.pending.iter_mut().filter(|pending| pending.number >= expected) {
            pending.number = next;
            next += 1;
        }
        self.next_number = next;
    }

    fn on_reply(&mut self, view: &ServerView<'_>, code: Code, now: Nanos, on: &mut impl FnMut(Event<'_>)) {
        let header = view.header;
        if self.session != Some(header.session()) {
            return;
        }
        let number = header.number.get();
        let Some(at) = self.find(number) else { return };
        let pending = &mut self.pending[at];
        if !core::mem::take(&mut pending.due) {
            return;
        }
        self.due -= 1;
        let id = RequestId(pending.id);
        let outcome = match code {
            Code::Executed => {
                Some(Outcome::Acknowledged { number: Number(number), seq: header.seq(), reply: view.payload })
            }
            Code::Forgotten => Some(Outcome::Unknown),
            Code::UnknownSession => {
                self.lose_session(code, on);
                self.open();
                return;
            }
            // In want of something that may come: asked again when everything due is in.
            Code::Expected
            | Code::Busy
            | Code::NoRoom
            | Code::NoCopies
            | Code::Starting
            | Code::NotLeader => None,
            Code::NotAttached | Code::Fenced | Code::Stopping => {
                on(Event::Goodbye(code, "the session is not attached to this connection"));
                None
            }
            other => Some(Outcome::NotExecuted(other)),
        };
        if code.is_refusal() || code == Code::Expected {
            let taken_next = if code == Code::Expected { header.seq.get() } else { number };
            self.refused_from = Some(self.refused_from.map_or(taken_next, |from| from.min(taken_next)));
            self.retry_later |= outcome.is_none() && code != Code::Expected;
            self.draining = true;
        }
        if let Some(outcome) = outcome {
            self.pending[at].done = true;
            on(Event::Completed(id, outcome));
            self.forget_done();
        }
        if self.draining && self.due == 0 {
            self.end_drain(now);
        }
    }

    /// Everything sent was answered: what is left gets dense numbers from the one that the log takes next,
    /// and is sent again, a little later if something has to become possible first.
    fn end_drain(&mut self, now: Nanos) {
        self.pending.retain(|pending| !pending.done);
        let taken_next = self.refused_from.take().expect("draining begins with a refusal");
        self.renumber(taken_next);
        self.draining = false;
        self.next_to_send = 0;
        if core::mem::take(&mut self.retry_later) {
            self.resend_at = Some(now.plus(RETRY.0));
        } else {
            self.send_pending(now);
        }
    }

    /// Where the request with this number is, numbers being ascending.
    fn find(&self, number: u64) -> Option<usize> {
        let front = self.pending.front()?.number;
        // Dense in all but the moments after a refusal: try the obvious place first.
        let guess = number.checked_sub(front)? as usize;
        if self.pending.get(guess).is_some_and(|pending| pending.number == number) {
            return Some(guess);
        }
        self.pending.binary_search_by_key(&number, |pending| pending.number).ok()
    }

    fn forget_done(&mut self) {
        while self.pending.front().is_some_and(|front| front.done) {
            let pending = self.pending.pop_front().expect("just seen");
            self.spare.push(pending.record);
            self.next_to_send = self.next_to_send.saturating_sub(1);
        }
    }

    /// Sends what was not sent on this connection, unless answers are awaited first.
    fn send_pending(&mut self, now: Nanos) {
        if !matches!(self.phase, Phase::Attached) || self.draining || self.resend_at.is_some() {
            return;
        }
        let Some(lowest) = self.pending.front().map(|front| front.number) else { return };
        while let Some(pending) = self.pending.get_mut(self.next_to_send) {
            self.next_to_send += 1;
            if pending.done {
                continue;
            }
            let (header, _) =
                RecordHeader::mut_from_prefix(&mut pending.record).expect("a record has a header");
            header.number = pending.number.into();
            header.open_span = ((pending.number - lowest).min(u64::from(u16::MAX)) as u16).into();
            pending.due = true;
            self.due += 1;
            self.out.bytes.extend_from_slice(&pending.record);
            (self.spoke, self.kept_alive) = (now, now);
        }
    }

    fn on_output(
        &mut self,
        view: &ServerView<'_>,
        on: &mut impl FnMut(Event<'_>),
    ) -> Result<(), ProtocolError> {
        let stream = stream_of(view)?;
        let seq = OutputSeq(view.header.number.get());
        if let Some((_, next)) = self.subscriptions.iter_mut().find(|(known, _)| *known == stream) {
            *next = seq.next();
            on(Event::Output(stream, seq, view.header.seq(), view.payload));
        }
        Ok(())
    }

    fn send_subscribe(&mut self, stream: Stream, from: OutputSeq) {
        let wanted = SubscribeBody { stream: stream.to_wire().into(), from: from.0.into() };
        self.frame(ClientFrame::Subscribe as u8, 0, 0, wanted.as_bytes());
    }

    fn frame(&mut self, kind: u8, session: u64, number: u64, payload: &[u8]) {
        let header = RecordHeader {
            length: (payload.len() as u32).into(),
            kind,
            session: session.into(),
            number: number.into(),
            ..RecordHeader::default()
        };
        self.put(&header, payload);
    }

    fn put(&mut self, header: &RecordHeader, payload: &[u8]) {
        self.out.bytes.extend_from_slice(header.as_bytes());
        self.out.bytes.extend_from_slice(payload);
        let padding = record_len(payload.len()) - RECORD_HEADER - payload.len();
        self.out.bytes.extend_from_slice(&[0; 8][..padding]);
    }
}

fn stream_of(view: &ServerView<'_>) -> Result<Stream, ProtocolError> {
    Stream::from_wire(view.header.session.get()).ok_or(ProtocolError::Frame("a stream that cannot be"))
}
