//! The protocol, without sockets, clock or randomness.

mod session;
mod streams;

use crate::event::{Completion, Ending, Event, Outcome, QueryError, QueryId, Ticket};
use crate::outbox::Outbox;
use crate::pending::{Pending, State};
use core::fmt;
use ordain_keys::{ClientHandshake, Identified, KeyPair, PublicKey};
use ordain_types::codes::Code;
use ordain_types::frame::{
    ChallengeBody, ClientFrame, FrameError, KeyBody, KeysBody, MembersBody, OpenBody, ReceiptAskBody,
    ReceiptBody, ServerFrame, ServerView, SubscribeBody, WelcomeBody, body,
};
use ordain_types::record::{PAYLOAD_MAX, record_len};
use ordain_types::steer::Steer;
use ordain_types::{
    BatchIndex, Chain, ClusterId, KeyId, Lineage, Nanos, NodeId, Number, OutputSeq, Receipt, RecordHeader,
    RecordKind, Seq, SessionId, Stream,
};
use std::collections::VecDeque;
use zerocopy::IntoBytes;

/// Queries and wishes for receipts that may be unanswered. Beyond, a node would only make them wait.
pub const QUERIES_MAX: usize = 64;
/// Streams that may be read at a time: what fits into one sign-in.
pub const SUBSCRIPTIONS_MAX: usize = 64;
/// Before a node has told its bounds.
const NOT_YET: u64 = u64::MAX;

/// Which session a client wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionWish {
    /// A new one.
    Open,
    /// One that an earlier process left. What that process had not read the answers of is confirmed.
    Resume(SessionId),
    /// None: queries and outputs only.
    None,
}

/// What a client is told once.
#[derive(Clone, Debug)]
pub struct CoreConfig {
    /// The client's key.
    pub pair: KeyPair,
    /// The cluster that is meant; all zeros for any.
    pub cluster: ClusterId,
    /// The session wanted.
    pub session: SessionWish,
    /// Requests that may be open, 1 to 65,535. The cluster's window bounds them too.
    pub window: u32,
    /// Bytes of open requests that may be kept; rounded up to a power of two that holds a longest request.
    pub buffer: usize,
    /// After how many nanoseconds a request is tried again that was refused for want of room, copies or
    /// time (Busy, NoRoom, NoCopies, Starting). `None`: its outcome is [`Outcome::NotExecuted`].
    pub retry_after: Option<u64>,
    /// How many nanoseconds a node may leave a sign-in or a Ping unanswered.
    pub silence: u64,
    /// The same while something is open that only a node can answer: after so long without a word it is sent a
    /// Ping, and after as long again it is given up for the next one. A Ping costs little, and a node that has no
    /// answer yet still answers it; so this finds a leader that fell silent and not one that is slow. It doubles
    /// each time a node is given up for it, up to `silence`, until an answer comes.
    pub impatience: u64,
}

impl CoreConfig {
    /// The defaults: 1,024 requests, 1 MiB, another try after 20 ms, 10 s of silence, 150 ms of it where something
    /// is open.
    #[must_use]
    pub const fn new(pair: KeyPair) -> Self {
        Self {
            pair,
            cluster: ClusterId([0; 16]),
            session: SessionWish::Open,
            window: 1024,
            buffer: 1 << 20,
            retry_after: Some(20 * Nanos::MILLI),
            silence: 10 * Nanos::SECOND,
            impatience: 150 * Nanos::MILLI,
        }
    }
}

/// Why a request, query or subscription was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubmitError {
    /// The window or a buffer is full, or there is no session yet. Go on polling, then try again.
    Full,
    /// The payload is longer than the cluster takes.
    TooLong {
        /// Bytes that it takes.
        max: u32,
    },
    /// The session is being closed, or none was wanted.
    Closed,
}

impl fmt::Display for SubmitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => write!(f, "too much is open: wait for answers, then try again"),
            Self::TooLong { max } => write!(f, "the payload is longer than {max} bytes: split it"),
            Self::Closed => write!(f, "there is no session to send it in: connect with one"),
        }
    }
}

impl std::error::Error for SubmitError {}

#[derive(Debug)]
enum Phase {
    /// There is no connection.
    Down,
    /// Hello was sent.
    Challenge(Box<ClientHandshake>),
    /// Proof was sent.
    Welcome(Identified),
    /// Signed in; the session is not attached.
    Detached(Detached),
    /// Signed in, the session attached.
    Attached,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Detached {
    /// SessionOpen was sent.
    Opening,
    /// SessionOpen was refused and is to be sent again.
    Until(Nanos),
    /// Resume was sent.
    Resuming,
    /// No session is wanted.
    Content,
}

#[derive(Clone, Copy, Debug)]
struct Subscription {
    stream: Stream,
    /// The next output to come, 0 while the node has not said.
    next: u64,
    /// Subscribed on this connection.
    active: bool,
}

/// A question that is unanswered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    Query,
    Keys,
    Members,
    Facts,
    Steer,
    /// Members, asked for by this client itself.
    Discover,
    /// A receipt that covers this record.
    Receipt(Seq),
}

/// A number was refused: it is free, and everything above it will be passed over.
#[derive(Clone, Copy, Debug)]
struct Stall {
    from: u64,
    /// Requests above that were sent and not answered yet.
    unanswered: usize,
}

/// One session and one connection at a time. The shell around it moves bytes and tells the time:
/// [`connected`](Self::connected), then [`outgoing`](Self::outgoing) and [`sent`](Self::sent),
/// [`receive`](Self::receive) and [`tick`](Self::tick), until [`Event::Disconnected`] or its own
/// [`disconnected`](Self::disconnected); then again. Open requests outlive connections.
///
/// Nothing is allocated per request.
#[derive(Debug)]
pub struct ClientCore {
    config: CoreConfig,
    phase: Phase,
    welcome: Option<WelcomeBody>,
    outbox: Outbox,
    /// The session, while it is not lost.
    session: SessionId,
    /// The session was named by the caller, who does not know its numbers.
    adopting: bool,
    closing: bool,
    pending: Pending,
    /// Numbers below this are in the log.
    logged: u64,
    stall: Option<Stall>,
    /// No request is sent before this time.
    hold: Nanos,
    tickets: u64,
    /// What is unanswered, by id, in the order in which it was asked.
    questions: VecDeque<(u64, Question)>,
    last_question: u64,
    subscriptions: Vec<Subscription>,
    /// See [`ClientCore::set_discovers`].
    discovers: bool,
    /// Counts SessionOpens, so that a late Opened is told from the one waited for.
    opens: u64,
    lineage: Option<Lineage>,
    now: Nanos,
    /// When a frame came last, when one was sent, when a record of the session was sent.
    heard: Nanos,
    spoke: Nanos,
    recorded: Nanos,
    /// When the Ping that is unanswered was sent.
    pinged: Option<Nanos>,
    /// Since when something is open that only a node can answer.
    asking: Option<Nanos>,
    /// Nodes given up for their silence since the last answer.
    given_up: u32,
}

impl ClientCore {
    /// A client without a connection.
    ///
    /// # Panics
    /// If the window is not between 1 and 65,535.
    #[must_use]
    pub fn new(config: CoreConfig) -> Self {
        assert!((1..=65_535).contains(&config.window), "the window is between 1 and 65,535 requests");
        let buffer = config.buffer.max(record_len(PAYLOAD_MAX)).next_power_of_two();
        let session = match config.session {
            SessionWish::Resume(session) => session,
            SessionWish::Open | SessionWish::None => SessionId::ZERO,
        };
        Self {
            pending: Pending::new(config.window as usize, buffer),
            phase: Phase::Down,
            welcome: None,
            outbox: Outbox::new(),
            session,
            adopting: session != SessionId::ZERO,
            closing: false,
            logged: 1,
            stall: None,
            hold: Nanos::ZERO,
            tickets: 0,
            questions: VecDeque::with_capacity(QUERIES_MAX),
            last_question: 0,
            subscriptions: Vec::with_capacity(SUBSCRIPTIONS_MAX),
            discovers: false,
            opens: 0,
            lineage: None,
            now: Nanos::ZERO,
            heard: Nanos::ZERO,
            spoke: Nanos::ZERO,
            recorded: Nanos::ZERO,
            pinged: None,
            asking: None,
            given_up: 0,
            config,
        }
    }

    /// There is a new connection. `nonce`: fresh random bytes; `node`: the key that the node must have.
    ///
    /// # Panics
    /// If the last connection has not ended.
    pub fn connected(&mut self, now: Nanos, nonce: [u8; 32], node: Option<PublicKey>) {
        assert!(matches!(self.phase, Phase::Down), "one connection at a time");
        (self.now, self.heard, self.pinged) = (now, now, None);
        let handshake = ClientHandshake::new(self.config.pair.clone(), self.config.cluster, node, nonce);
        self.control(ClientFrame::Hello as u8, 0, 0, handshake.hello().as_bytes());
        self.phase = Phase::Challenge(Box::new(handshake));
    }

    /// The connection broke or is to be given up.
    pub fn disconnected(&mut self, on: &mut impl FnMut(Event<'_>)) {
        if self.is_connected() {
            self.end(Ending::Closed, on);
        }
    }

    /// Whether there is a connection.
    #[must_use]
    pub const fn is_connected(&self) -> bool {
        !matches!(self.phase, Phase::Down)
    }

    /// Whether requests are answered at present: signed in, session attached.
    #[must_use]
    pub const fn is_ready(&self) -> bool {
        matches!(self.phase, Phase::Attached)
    }

    /// The session, if there is one.
    #[must_use]
    pub fn session(&self) -> Option<SessionId> {
        (self.session != SessionId::ZERO).then_some(self.session)
    }

    /// Requests that have no outcome yet.
    #[must_use]
    pub fn open_requests(&self) -> usize {
        self.pending.len()
    }

    /// What the node signed in to last said of its bounds.
    #[must_use]
    pub const fn welcome(&self) -> Option<&WelcomeBody> {
        self.welcome.as_ref()
    }

    /// Takes a command of the application.
    ///
    /// # Errors
    /// [`SubmitError`]; the request is not taken and has no outcome.
    pub fn submit(&mut self, schema: u8, payload: &[u8]) -> Result<Ticket, SubmitError> {
        self.take(RecordKind::Request, schema, payload)
    }

    /// Adds a key or changes its permissions; 0 revokes it. The reply is the key's number, 4 bytes.
    ///
    /// # Errors
    /// As [`ClientCore::submit`].
    pub fn set_key(&mut self, key: PublicKey, permissions: u32) -> Result<Ticket, SubmitError> {
        let body = KeyBody { key: key.0, permissions: permissions.into(), reserved: [0; 4] };
        self.take(RecordKind::KeySet, 0, body.as_bytes())
    }

    /// Closes the session behind what was submitted before.
    ///
    /// # Errors
    /// As [`ClientCore::submit`].
    pub fn close_session(&mut self) -> Result<Ticket, SubmitError> {
        let ticket = self.take(RecordKind::SessionClose, 0, &[])?;
        self.closing = true;
        Ok(ticket)
    }

    fn take(&mut self, kind: RecordKind, schema: u8, payload: &[u8]) -> Result<Ticket, SubmitError> {
        if self.closing || self.config.session == SessionWish::None {
            return Err(SubmitError::Closed);
        }
        let Some(welcome) = &self.welcome else { return Err(SubmitError::Full) };
        let max = welcome.payload_max.get();
        if payload.len() > max as usize {
            return Err(SubmitError::TooLong { max });
        }
        let window = self.config.window.min(welcome.window.get()) as usize;
        if self.session == SessionId::ZERO || self.adopting || self.pending.len() >= window {
            return Err(SubmitError::Full);
        }
        if !self.pending.push((self.tickets + 1, self.session, kind), schema, payload) {
            return Err(SubmitError::Full);
        }
        self.tickets += 1;
        Ok(Ticket(self.tickets))
    }

    /// Takes a query of the application.
    ///
    /// # Errors
    /// [`SubmitError`]; [`SubmitError::Full`] also while there is no connection.
    pub fn query(&mut self, schema: u8, payload: &[u8]) -> Result<QueryId, SubmitError> {
        let max = self.welcome.as_ref().map_or(u32::MAX, |welcome| welcome.payload_max.get());
        if payload.len() > max as usize {
            return Err(SubmitError::TooLong { max });
        }
        let session = self.session.0.into();
        let header =
            RecordHeader { kind: ClientFrame::Query as u8, schema, session, ..RecordHeader::default() };
        self.ask(Question::Query, header, payload)
    }

    /// Asks for a receipt that covers record `seq` and everything before it, or, if that is 0, the last record
    /// that the node knows of.
    ///
    /// # Errors
    /// [`SubmitError::Full`] also while there is no connection.
    pub fn receipt(&mut self, seq: Seq) -> Result<QueryId, SubmitError> {
        let body = ReceiptAskBody { seq: seq.0.into() };
        let header = RecordHeader { kind: ClientFrame::Receipt as u8, ..RecordHeader::default() };
        self.ask(Question::Receipt(seq), header, body.as_bytes())
    }

    /// Asks which keys the cluster knows, from number `first` on; for operators. [`Event::Answered`] brings
    /// [`KeyEntry`](ordain_types::frame::KeyEntry)s in the order of their numbers; none: there are no more.
    ///
    /// # Errors
    /// [`SubmitError::Full`] also while there is no connection.
    pub fn keys(&mut self, first: KeyId) -> Result<QueryId, SubmitError> {
        let body = KeysBody { first: u64::from(first.0).into() };
        let header = RecordHeader { kind: ClientFrame::Keys as u8, ..RecordHeader::default() };
        self.ask(Question::Keys, header, body.as_bytes())
    }

    /// Asks the node for the members from number `first` on, and who leads, as far as it knows.
    /// [`Event::Answered`] brings a page, which [`read_page`](ordain_types::roster::read_page) reads.
    ///
    /// # Errors
    /// [`SubmitError::Full`] also while there is no connection.
    pub fn members(&mut self, first: NodeId) -> Result<QueryId, SubmitError> {
        self.ask_members(Question::Members, first, false)
    }

    /// The same of the members that the cluster was made with.
    ///
    /// # Errors
    /// As [`ClientCore::members`].
    pub fn made(&mut self, first: NodeId) -> Result<QueryId, SubmitError> {
        self.ask_members(Question::Members, first, true)
    }

    /// As [`ClientCore::members`], but [`Event::Members`] brings the page: for the shell, which learns from it
    /// whom to try.
    ///
    /// # Errors
    /// As [`ClientCore::members`].
    pub fn discover(&mut self, first: NodeId) -> Result<QueryId, SubmitError> {
        self.ask_members(Question::Discover, first, false)
    }

    /// Whether each node signed in to is asked for the members before anything else, as by
    /// [`ClientCore::discover`] from number 0 on. A node that does not lead answers that as well, before it sends
    /// this client elsewhere: whoever was away while the members changed learns from it where to go.
    pub const fn set_discovers(&mut self, discovers: bool) {
        self.discovers = discovers;
    }

    fn ask_members(&mut self, question: Question, first: NodeId, made: bool) -> Result<QueryId, SubmitError> {
        let body = MembersBody { first: u64::from(first.0).into(), made: u64::from(made).into() };
        let header = RecordHeader { kind: ClientFrame::Members as u8, ..RecordHeader::default() };
        self.ask(question, header, body.as_bytes())
    }

    /// Asks the node for the cluster's facts; for operators. [`Event::Answered`] brings a
    /// [`FactsBody`](ordain_types::roster::FactsBody).
    ///
    /// # Errors
    /// [`SubmitError::Full`] also while there is no connection.
    pub fn facts(&mut self) -> Result<QueryId, SubmitError> {
        let header = RecordHeader { kind: ClientFrame::Facts as u8, ..RecordHeader::default() };
        self.ask(Question::Facts, header, &[])
    }

    /// Changes the cluster; for operators. [`Event::Steered`] says what became of it.
    ///
    /// # Errors
    /// [`SubmitError::Full`] also while there is no connection.
    pub fn steer(&mut self, steer: &Steer) -> Result<QueryId, SubmitError> {
        let mut body = Vec::new();
        steer.encode(&mut body);
        let header = RecordHeader { kind: ClientFrame::Steer as u8, ..RecordHeader::default() };
        self.ask(Question::Steer, header, &body)
    }

    fn ask(
        &mut self,
        question: Question,
        header: RecordHeader,
        payload: &[u8],
    ) -> Result<QueryId, SubmitError> {
        // It sees what was submitted before it: those requests leave first.
        let is_jammed =
            !self.is_signed_in() || !self.fill() || !self.outbox.has_room(record_len(payload.len()));
        if self.questions.len() >= QUERIES_MAX || is_jammed {
            return Err(SubmitError::Full);
        }
        self.last_question += 1;
        let header = RecordHeader { number: self.last_question.into(), ..header };
        let taken = self.outbox.put_parts(header, payload);
        debug_assert!(taken, "room was looked for");
        self.questions.push_back((self.last_question, question));
        Ok(QueryId(self.last_question))
    }

    /// Reads the outputs of a stream, from `from` on, or, if that is 0, from the next one to come. Goes on
    /// over connections with the output behind the last one seen, until it is refused or ended.
    ///
    /// # Errors
    /// [`SubmitError::Full`] if [`SUBSCRIPTIONS_MAX`] streams are read already.
    pub fn subscribe(&mut self, stream: Stream, from: OutputSeq) -> Result<(), SubmitError> {
        let others = self.subscriptions.iter().filter(|subscription| subscription.stream != stream).count();
        let is_full = others >= SUBSCRIPTIONS_MAX
            || (self.is_signed_in() && !self.put_subscribe(ClientFrame::Subscribe, stream, from.0));
        if is_full {
            return Err(SubmitError::Full);
        }
        self.subscriptions.retain(|subscription| subscription.stream != stream);
        self.subscriptions.push(Subscription { stream, next: from.0, active: false });
        Ok(())
    }

    /// Reads a stream no longer.
    ///
    /// # Errors
    /// [`SubmitError::Full`]: the connection is jammed; try again.
    pub fn unsubscribe(&mut self, stream: Stream) -> Result<(), SubmitError> {
        if self.is_signed_in() && !self.put_subscribe(ClientFrame::Unsubscribe, stream, 0) {
            return Err(SubmitError::Full);
        }
        self.subscriptions.retain(|subscription| subscription.stream != stream);
        Ok(())
    }

    /// Whether queries and subscriptions are answered at present.
    #[must_use]
    pub const fn is_signed_in(&self) -> bool {
        matches!(self.phase, Phase::Detached(_) | Phase::Attached)
    }

    fn put_subscribe(&mut self, kind: ClientFrame, stream: Stream, from: u64) -> bool {
        let body = SubscribeBody { stream: stream.to_wire().into(), from: from.into() };
        self.control(kind as u8, 0, 0, body.as_bytes())
    }

    fn control(&mut self, kind: u8, session: u64, number: u64, payload: &[u8]) -> bool {
        let header =
            RecordHeader { kind, session: session.into(), number: number.into(), ..RecordHeader::default() };
        self.spoke = self.now;
        self.outbox.put_parts(header, payload)
    }

    /// Bytes to be sent now; tell [`ClientCore::sent`] how many were.
    pub fn outgoing(&mut self, now: Nanos) -> &[u8] {
        self.now = now;
        self.fill();
        self.outbox.waiting()
    }

    /// Moves requests that may be sent into the outbox, as far as it takes them. Says whether it took all.
    fn fill(&mut self) -> bool {
        if matches!(self.phase, Phase::Attached) && self.stall.is_none() && self.now >= self.hold {
            while let Some(frame) = self.pending.to_send() {
                if !self.outbox.put(frame) {
                    return false;
                }
                self.pending.mark_sent();
                (self.spoke, self.recorded) = (self.now, self.now);
            }
        }
        true
    }

    /// The first `bytes` of [`ClientCore::outgoing`] are on their way.
    ///
    /// # Panics
    /// If that is more than there were.
    pub fn sent(&mut self, bytes: usize) {
        self.outbox.sent(bytes);
    }

    /// Lets time pass: keeps connection and session alive, gives up a node that is silent.
    pub fn tick(&mut self, now: Nanos, on: &mut impl FnMut(Event<'_>)) {
        self.now = now;
        self.asking = if self.has_open() { self.asking.or(Some(now)) } else { None };
        if matches!(self.phase, Phase::Down) {
            return;
        }
        if self.given_up_at().is_some_and(|time| now >= time) {
            self.given_up = self.given_up.saturating_add(1);
            return self.end(Ending::Silent, on);
        }
        if !self.is_signed_in() {
            return;
        }
        let (_, session) = self.intervals();
        if self.ping_at().is_some_and(|time| now >= time) {
            self.pinged = Some(now);
            self.control(ClientFrame::Ping as u8, 0, 0, &[]);
        }
        if matches!(self.phase, Phase::Attached) && now.since(self.recorded) >= session {
            self.keep_alive();
        }
        if matches!(self.phase, Phase::Detached(Detached::Until(time)) if now >= time) {
            self.open();
        }
    }

    /// When [`ClientCore::tick`] or [`ClientCore::outgoing`] has something to do next if nothing happens.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Nanos> {
        if matches!(self.phase, Phase::Down) {
            return None;
        }
        let (_, session) = self.intervals();
        let (silence, ping) = (self.given_up_at(), self.ping_at());
        let alive = matches!(self.phase, Phase::Attached).then(|| self.recorded.plus(session));
        let open = match self.phase {
            Phase::Detached(Detached::Until(time)) => Some(time),
            _ => None,
        };
        let retry = (self.stall.is_none() && self.hold > self.now).then_some(self.hold);
        [silence, ping, alive, open, retry].into_iter().flatten().min()
    }

    /// When a node that says nothing more is given up; `None` while nothing is awaited of it.
    fn given_up_at(&self) -> Option<Nanos> {
        let (since, limit) = match self.phase {
            Phase::Down => return None,
            // A sign-in costs a node more than a Ping, and many come at once when a leader is gone.
            Phase::Challenge(_) | Phase::Welcome(_) => (self.heard, self.patience().saturating_mul(4)),
            _ => (self.pinged?.max(self.heard), self.patience()),
        };
        Some(since.plus(limit.min(self.config.silence)))
    }

    /// When a Ping is due.
    fn ping_at(&self) -> Option<Nanos> {
        let (idle, _) = self.intervals();
        let asking = self.asking.unwrap_or(self.now).max(self.heard);
        let asks = self.has_open().then(|| asking.plus(self.patience()));
        let ping = self.spoke.min(self.heard).plus(idle);
        self.pinged.is_none().then(|| asks.map_or(ping, |asks| asks.min(ping)))
    }

    /// Whether something is open that only a node can answer.
    fn has_open(&self) -> bool {
        !self.pending.is_empty() || !self.questions.is_empty()
    }

    /// How long a node may say nothing at present.
    fn patience(&self) -> u64 {
        if !self.has_open() {
            return self.config.silence;
        }
        let doubled = self.config.impatience.saturating_mul(1 << self.given_up.min(16));
        doubled.min(self.config.silence)
    }

    /// How often to ping, and to keep the session alive, in nanoseconds: thrice as often as needed.
    fn intervals(&self) -> (u64, u64) {
        self.welcome.as_ref().map_or((NOT_YET, NOT_YET), |welcome| {
            (welcome.idle_timeout.get() / 3, welcome.session_timeout.get() / 3)
        })
    }

    fn keep_alive(&mut self) {
        let number = self.pending.unsent();
        let header = RecordHeader {
            kind: RecordKind::SessionKeepAlive as u8,
            open_span: ((number - self.pending.lowest()) as u16).into(),
            session: self.session.0.into(),
            number: number.into(),
            ..RecordHeader::default()
        };
        // One more third is left if it does not fit.
        let _ = self.outbox.put_parts(header, &[]);
        (self.spoke, self.recorded) = (self.now, self.now);
    }

    /// Takes the whole frames at the start of `bytes` and says how many bytes that were; the rest is to be
    /// given again with more behind it. A frame is at most 1,056 bytes long.
    pub fn receive(&mut self, now: Nanos, bytes: &[u8], on: &mut impl FnMut(Event<'_>)) -> usize {
        self.now = now;
        let mut at = 0;
        while self.is_connected() {
            let result = match ServerView::split(&bytes[at..]) {
                Ok((frame, len)) => {
                    at += len;
                    self.heard = now;
                    self.frame(frame, on)
                }
                Err(FrameError::Incomplete) => break,
                Err(FrameError::Malformed(why)) => Err(Ending::Protocol(why)),
            };
            if let Err(ending) = result {
                self.end(ending, on);
            }
        }
        at
    }

    fn end(&mut self, ending: Ending<'_>, on: &mut impl FnMut(Event<'_>)) {
        self.phase = Phase::Down;
        self.outbox.clear();
        self.stall = None;
        self.pending.rewind();
        for subscription in &mut self.subscriptions {
            subscription.active = false;
        }
        while let Some((id, question)) = self.questions.pop_front() {
            let (id, error) = (QueryId(id), QueryError::Disconnected);
            on(match question {
                Question::Query | Question::Keys | Question::Members | Question::Facts => {
                    Event::Answered(id, Err(error))
                }
                Question::Steer => Event::Steered(id, Err((error, ""))),
                Question::Discover => continue,
                Question::Receipt(_) => Event::Receipt(id, Err(error)),
            });
        }
        on(Event::Disconnected(ending));
    }

    fn frame<'a>(&mut self, frame: ServerView<'a>, on: &mut impl FnMut(Event<'_>)) -> Result<(), Ending<'a>> {
        let header = frame.header;
        let kind = ServerFrame::from_wire(header.kind).expect("unknown kinds make no frame");
        let code = code(header.code);
        let words = text(frame.payload);
        if kind == ServerFrame::Goodbye {
            return Err(match code {
                Code::NotLeader => Ending::Elsewhere { code, leader: words },
                _ => Ending::Goodbye { code, why: words },
            });
        }
        match (&self.phase, kind) {
            (Phase::Challenge(_), ServerFrame::Challenge) => return self.prove(frame),
            (Phase::Welcome(_), ServerFrame::Welcome) => return self.signed_in(frame, on),
            (Phase::Challenge(_) | Phase::Welcome(_), _) => {
                return Err(Ending::Protocol("a frame before Welcome"));
            }
            _ => {}
        }
        if code == Code::Executed && matches!(kind, ServerFrame::Reply | ServerFrame::Answer) {
            self.given_up = 0;
        }
        // First, so that whoever hears that his session is gone knows why.
        self.watch_lineage(Lineage(header.lineage.get()), kind, on);
        if matches!(code, Code::NotLeader | Code::Stopping | Code::NotAttached)
            || (code == Code::Starting && kind == ServerFrame::Subscribed)
            // A node that sees too few others says so; one elsewhere may see more.
            || (code == Code::NoCopies && kind != ServerFrame::Reply)
        {
            if kind == ServerFrame::Steered {
                // Not answered by the end of the connection: it surely did not happen.
                self.answered(kind, frame, code, on);
            }
            return Err(Ending::Elsewhere { code, leader: words });
        }
        match kind {
            ServerFrame::Reply => self.reply(frame, code, on),
            ServerFrame::Opened => self.opened(frame, code, on),
            ServerFrame::Resumed => self.resumed(frame, code, on),
            ServerFrame::Answer
            | ServerFrame::Keys
            | ServerFrame::Members
            | ServerFrame::Facts
            | ServerFrame::Steered => {
                self.answered(kind, frame, code, on);
                Ok(())
            }
            ServerFrame::Receipt => self.receipted(frame, code, on),
            ServerFrame::Subscribed => self.subscribed(frame, code, on),
            ServerFrame::Output => self.output(frame, on),
            ServerFrame::Pong => {
                self.pinged = None;
                Ok(())
            }
            ServerFrame::Challenge | ServerFrame::Welcome => Err(Ending::Protocol("a second sign-in")),
            ServerFrame::Goodbye => unreachable!("dealt with above"),
        }
    }

    /// An answer to a question, unless it is to one that was not asked.
    fn answered(
        &mut self,
        kind: ServerFrame,
        frame: ServerView<'_>,
        code: Code,
        on: &mut impl FnMut(Event<'_>),
    ) {
        let number = frame.header.number.get();
        let Some(place) = self.questions.iter().position(|(id, _)| *id == number) else { return };
        let question = self.questions[place].1;
        let fits = match question {
            Question::Query => kind == ServerFrame::Answer,
            Question::Keys => kind == ServerFrame::Keys,
            Question::Members | Question::Discover => kind == ServerFrame::Members,
            Question::Facts => kind == ServerFrame::Facts,
            Question::Steer => kind == ServerFrame::Steered,
            Question::Receipt(_) => false,
        };
        if !fits {
            return;
        }
        self.questions.remove(place);
        let (id, is_done) = (QueryId(number), code == Code::Executed);
        let refused = QueryError::Refused(code);
        on(match question {
            Question::Discover if !is_done => return,
            Question::Discover => Event::Members(frame.payload),
            Question::Steer if is_done => Event::Steered(id, Ok(BatchIndex(frame.header.seq.get()))),
            // The payload of NotLeader is an address.
            Question::Steer if code == Code::NotLeader => Event::Steered(id, Err((refused, ""))),
            Question::Steer => Event::Steered(id, Err((refused, text(frame.payload)))),
            _ if is_done => Event::Answered(id, Ok((frame.header.seq(), frame.payload))),
            _ => Event::Answered(id, Err(refused)),
        });
    }

    fn prove<'a>(&mut self, frame: ServerView<'a>) -> Result<(), Ending<'a>> {
        let Phase::Challenge(handshake) = &self.phase else { unreachable!("the caller looked") };
        let challenge =
            body::<ChallengeBody>(frame.payload).ok_or(Ending::Protocol("a challenge's length"))?;
        let (proof, node) = handshake.answer(challenge).map_err(Ending::Handshake)?;
        self.phase = Phase::Welcome(node);
        self.control(ClientFrame::Proof as u8, 0, 0, proof.as_bytes());
        Ok(())
    }

    fn signed_in<'a>(
        &mut self,
        frame: ServerView<'a>,
        on: &mut impl FnMut(Event<'_>),
    ) -> Result<(), Ending<'a>> {
        let Phase::Welcome(node) = self.phase else { unreachable!("the caller looked") };
        let welcome = *body::<WelcomeBody>(frame.payload).ok_or(Ending::Protocol("a welcome's length"))?;
        let is_possible = (1..=65_535).contains(&welcome.window.get())
            && welcome.payload_max.get() as usize <= PAYLOAD_MAX
            && welcome.session_timeout.get() >= 3
            && welcome.idle_timeout.get() >= 3;
        if !is_possible {
            return Err(Ending::Protocol("bounds in Welcome"));
        }
        self.welcome = Some(welcome);
        on(Event::SignedIn { node, welcome });
        self.phase = Phase::Detached(Detached::Content);
        if self.discovers {
            let asked = self.discover(NodeId(0));
            debug_assert!(asked.is_ok(), "nothing was asked on this connection before");
        }
        for place in 0..self.subscriptions.len() {
            let Subscription { stream, next, .. } = self.subscriptions[place];
            self.put_subscribe(ClientFrame::Subscribe, stream, next);
        }
        self.want_session();
        Ok(())
    }

    fn receipted<'a>(
        &mut self,
        frame: ServerView<'a>,
        code: Code,
        on: &mut impl FnMut(Event<'_>),
    ) -> Result<(), Ending<'a>> {
        let (number, seq) = (frame.header.number.get(), frame.header.seq());
        let asked = self.questions.iter().enumerate().find_map(|(place, open)| match *open {
            (id, Question::Receipt(asked)) if id == number => Some((place, asked)),
            _ => None,
        });
        let Some((place, asked)) = asked else { return Ok(()) };
        let result = if code == Code::Executed {
            let body = body::<ReceiptBody>(frame.payload).ok_or(Ending::Protocol("a receipt's length"))?;
            if asked != Seq(0) && asked != seq {
                return Err(Ending::Protocol("a receipt of another record"));
            }
            Ok(Receipt { seq, index: BatchIndex(body.index.get()), chain: Chain(body.chain) })
        } else {
            Err(QueryError::Refused(code))
        };
        self.questions.remove(place);
        on(Event::Receipt(QueryId(number), result));
        Ok(())
    }

    /// The lineage of what was heard last; `None` before anything was.
    #[must_use]
    pub const fn lineage(&self) -> Option<Lineage> {
        self.lineage
    }

    fn watch_lineage(&mut self, now: Lineage, kind: ServerFrame, on: &mut impl FnMut(Event<'_>)) {
        // A node that has not executed anything yet does not know.
        if matches!(kind, ServerFrame::Pong) || now == Lineage::ZERO {
            return;
        }
        match self.lineage {
            Some(before) if now > before => on(Event::DataLost { before, now }),
            Some(_) => return,
            None => {}
        }
        self.lineage = Some(now);
    }
}

fn complete(ticket: u64, number: u64, outcome: Outcome<'_>, on: &mut impl FnMut(Event<'_>)) {
    on(Event::Completed(Completion { ticket: Ticket(ticket), number: Number(number), outcome }));
}

/// Codes that a later version may add are refusals: they come from 64 on, and this build can do nothing
/// about them.
fn code(wire: u8) -> Code {
    Code::from_wire(wire).unwrap_or(Code::Unsupported)
}

/// Refusals that may pass by themselves.
const fn is_passing(code: Code) -> bool {
    matches!(code, Code::Busy | Code::NoRoom | Code::NoCopies | Code::Starting)
}

fn text(payload: &[u8]) -> &str {
    core::str::from_utf8(payload).unwrap_or("")
}
