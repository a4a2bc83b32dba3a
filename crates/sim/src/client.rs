//! A client: the production client core, and a user who asks, waits, loses patience, falls silent, dies and
//! comes back.

use crate::history::{Answered, History};
use crate::net::Network;
use crate::operator::Operator;
use crate::plan::{Plan, node_pair};
use crate::rng::Rng;
use crate::rogue::Rogue;
use crate::shadow::Asked;
use crate::trace::Trace;
use crate::workload::{Author, Payload, Workload};
use ordain_api::{ClassKind, RequestDecoder};
use ordain_client::{
    ClientCore, Completion, CoreConfig, Ending, Event, Outcome, QueryId, SessionWish, SubmitError,
};
use ordain_keys::KeyPair;
use ordain_types::codes::Code;
use ordain_types::steer::Steer;
use ordain_types::{ClusterId, Nanos, OutputSeq, Seq, SessionId, Stream};
use std::collections::BTreeMap;
use std::sync::OnceLock;

/// An impatient user gives up a connection over which nothing was achieved for this long.
const PATIENCE: u64 = 300 * Nanos::MILLI;
/// How long a node may leave a Ping unanswered.
const SILENCE: u64 = 300 * Nanos::MILLI;

/// The key pair of a client, the same in every run.
#[must_use]
pub fn key_pair(client: usize) -> KeyPair {
    // Made once: clients sign in very often.
    static PAIRS: [OnceLock<KeyPair>; 64] = [const { OnceLock::new() }; 64];
    let make = || KeyPair::from_seed(&[client as u8 + 1; 32]);
    PAIRS.get(client).map_or_else(make, |pair| pair.get_or_init(make).clone())
}

/// One who talks to nodes over the simulated network.
pub trait Party {
    /// Does one thing; `false` if there was nothing to do.
    fn step(&mut self, now: u64, net: &mut Network, history: &mut History) -> bool;

    /// Begins nothing new from now on.
    fn finish(&mut self);

    /// Whether nothing is outstanding.
    fn is_done(&self) -> bool;

    /// It goes on no more: what became of its requests nobody will learn.
    fn leave(&mut self, _history: &mut History) {}

    /// A loss was declared: it waits to be told, and does nothing else. `false`: it heard of no lineage yet, and need
    /// not be told.
    fn expect_loss(&mut self, _net: &mut Network) -> bool {
        false
    }

    /// Whether it was to be told of a loss and was not.
    fn waits_for_loss(&self) -> bool {
        false
    }

    /// Of an operator: asks for this, if anything, until it is done.
    fn order(&mut self, _steer: Option<&Steer>) -> bool {
        false
    }

    /// Whether it is an operator.
    fn is_operator(&self) -> bool {
        false
    }

    /// Whether something that was ordered is not done.
    fn owes_order(&self) -> bool {
        false
    }

    /// When it wants to be stepped though nothing arrives.
    fn next_deadline(&self) -> Option<u64>;

    /// For the report of a run that hangs.
    fn describe(&self) -> String;
}

/// Everybody who takes part in a run.
#[must_use]
pub fn parties<W: Workload>(plan: &Plan, rng: &mut Rng, trace: &Trace) -> Vec<Box<dyn Party>> {
    let clients = 0..plan.clients;
    let rogues = plan.clients..plan.parties();
    let clients = clients.map(|id| {
        let client = Client::<W>::new(id, plan, rng.fork(), trace.clone());
        Box::new(client) as Box<dyn Party>
    });
    let mut all: Vec<_> = clients.collect();
    all.extend(rogues.map(|id| {
        let rogue = Rogue::<W>::new(id, plan, rng.fork(), trace.clone());
        Box::new(rogue) as Box<dyn Party>
    }));
    if plan.wishes.is_some() {
        let operator = Operator::new(plan, rng.fork(), trace.clone());
        all.extend(operator.map(|operator| Box::new(operator) as Box<dyn Party>));
    }
    all
}

/// What the client library owes its user.
struct Open {
    payload: Payload,
    /// Highest seq that anybody had been told when it was submitted.
    after: u64,
    /// The refusal that it deserves.
    deserves: Option<Code>,
    /// Whether it is part of a level, of which nobody here knows whether it has begun.
    is_new: bool,
}

/// A query that is unanswered.
struct Question {
    payload: Payload,
    after: u64,
}

/// What the user of the library knows.
struct User {
    id: usize,
    trace: Trace,
    /// Whether passing refusals are the user's own business.
    sees_refusals: bool,
    key: u32,
    permissions: u32,
    session: u64,
    open: BTreeMap<u64, Open>,
    questions: BTreeMap<u64, Question>,
    /// Streams subscribed to, and the next output of each; 0 if it is not known yet.
    streams: BTreeMap<u64, u64>,
    /// Replies that the author has not heard of.
    replies: Vec<Vec<u8>>,
    progress_at: u64,
    /// Whether it has to be told of a declared loss, and whether it was.
    loss: Option<bool>,
}

/// See the module.
pub struct Client<W: Workload> {
    user: User,
    core: ClientCore,
    conn: Option<u64>,
    input: Vec<u8>,
    /// The node connected to, or tried next.
    member: usize,
    author: W::Author,
    /// A command that could not be submitted yet.
    draft: Option<Payload>,
    /// The library takes nothing more before something is heard.
    jammed: bool,
    /// Connections that came to nothing since the last session was attached.
    failed: usize,
    nodes: usize,
    cluster: ClusterId,
    rng: Rng,
    window: u64,
    retry_after: Option<u64>,
    think: (u64, u64),
    silence: u64,
    timeout: u64,
    impatient: bool,
    /// Earliest time of the next thing to do.
    next_at: u64,
    silent_until: u64,
    finishing: bool,
}

impl<W: Workload> Client<W> {
    /// A client that is not connected.
    #[must_use]
    pub fn new(id: usize, plan: &Plan, mut rng: Rng, trace: Trace) -> Self {
        let retry_after = (!rng.one_in(4)).then(|| rng.spread(Nanos::MILLI, 20 * Nanos::MILLI));
        let user = User {
            id,
            trace,
            sees_refusals: retry_after.is_none(),
            key: 0,
            permissions: 0,
            session: 0,
            open: BTreeMap::new(),
            questions: BTreeMap::new(),
            streams: BTreeMap::new(),
            replies: Vec::new(),
            progress_at: 0,
            loss: None,
        };
        let window = rng.pick(&[1, 3, u64::from(plan.facts.window), 64]);
        let core = core(id, plan.facts.cluster, window, retry_after, SessionWish::Open);
        Self {
            user,
            core,
            conn: None,
            input: Vec::new(),
            member: rng.below(plan.nodes as u64) as usize,
            author: W::author(id),
            draft: None,
            jammed: false,
            failed: 0,
            nodes: plan.machines(),
            cluster: plan.facts.cluster,
            window,
            retry_after,
            think: plan.think,
            silence: plan.silence,
            timeout: plan.facts.session_timeout.0,
            impatient: rng.one_in(2),
            rng,
            next_at: 0,
            silent_until: 0,
            finishing: false,
        }
    }

    fn connect(&mut self, now: u64, net: &mut Network) -> bool {
        self.conn = net.connect(self.user.id, self.member);
        if self.conn.is_none() {
            self.turn_away(now);
            return true;
        }
        let mut nonce = [0; 32];
        self.rng.fill(&mut nonce);
        self.user.progress_at = now;
        self.core.connected(Nanos(now), nonce, Some(node_pair(self.member).public()));
        true
    }

    /// Another node is tried next.
    fn turn_away(&mut self, now: u64) {
        self.member = (self.member + 1) % self.nodes;
        self.failed += 1;
        let pause = if self.failed.is_multiple_of(self.nodes) { 50 } else { 1 };
        self.next_at = now + self.rng.spread(100 * Nanos::MICRO, pause * Nanos::MILLI);
    }

    /// Closes the connection if the core has done with it.
    fn settle(&mut self, now: u64, net: &mut Network) {
        if self.core.is_connected() {
            return;
        }
        if let Some(conn) = self.conn.take() {
            net.client_close(conn);
            self.input.clear();
            self.turn_away(now);
        }
    }

    fn listen(&mut self, now: u64, conn: u64, net: &mut Network, history: &mut History) -> bool {
        let Self { user, core, input, .. } = self;
        let mut on = |event: Event<'_>| user.hear(event, now, history);
        let before = input.len();
        let stands = net.client_take(conn, input);
        let heard = input.len() > before;
        if heard {
            self.jammed = false;
            let taken = core.receive(Nanos(now), input, &mut on);
            input.drain(..taken);
        }
        core.tick(Nanos(now), &mut on);
        let is_over = !stands || self.loses_patience_at() < now;
        if is_over {
            let Self { user, core, .. } = self;
            core.disconnected(&mut |event| user.hear(event, now, history));
        }
        if self.core.is_ready() {
            self.failed = 0;
        }
        for reply in self.user.replies.drain(..) {
            self.author.hear(&reply);
        }
        heard || is_over
    }

    fn send(&mut self, now: u64, conn: u64, net: &mut Network) -> bool {
        let waiting = self.core.outgoing(Nanos(now));
        let mut len = waiting.len().min(net.client_room(conn));
        if len > 0 && self.rng.one_in(4) {
            len = self.rng.range(1, len as u64) as usize;
        }
        net.client_send(conn, &waiting[..len]);
        self.core.sent(len);
        len > 0
    }

    fn loses_patience_at(&self) -> u64 {
        let Self { user, core, .. } = self;
        let owed = !core.is_signed_in() || !user.open.is_empty() || !user.questions.is_empty();
        if self.impatient && owed { user.progress_at + PATIENCE } else { u64::MAX }
    }

    fn may_begin(&self) -> bool {
        self.user.loss.is_none() && !self.finishing && !self.jammed && self.core.is_signed_in()
    }

    /// Something new.
    fn begin(&mut self, now: u64, history: &mut History) {
        self.next_at = now + self.rng.spread(self.think.0, self.think.1);
        match self.rng.below(400) {
            0..=9 => self.ask(now, history),
            10..=12 => self.change_subscriptions(),
            13..=14 => {
                let nonsense = W::nonsense(&mut self.rng);
                self.submit(&nonsense, now, history);
            }
            15 => {
                let user = &mut self.user;
                self.core.disconnected(&mut |event| user.hear(event, now, history));
            }
            16 if self.silence > 0 => {
                self.user.trace.mark("client goes silent");
                self.silent_until = now + self.timeout + self.timeout / 4;
            }
            17 => {
                if let Ok(ticket) = self.core.close_session() {
                    let payload = Payload { schema: 0, bytes: Vec::new() };
                    let open = Open { payload, after: history.highest, deserves: None, is_new: false };
                    self.user.open.insert(ticket.0, open);
                }
            }
            18 => self.die(history),
            _ => {
                let draft = self.draft.take().unwrap_or_else(|| self.author.command(&mut self.rng));
                if !self.submit(&draft, now, history) {
                    self.draft = Some(draft);
                }
            }
        }
    }

    fn submit(&mut self, payload: &Payload, now: u64, history: &mut History) -> bool {
        match self.core.submit(payload.schema, &payload.bytes) {
            Ok(ticket) => {
                if self.user.open.is_empty() {
                    self.user.progress_at = now;
                }
                let (payload, deserves, is_new) =
                    (payload.clone(), self.deserves(payload), Self::is_new(payload));
                self.user.open.insert(ticket.0, Open { payload, after: history.highest, deserves, is_new });
                true
            }
            Err(SubmitError::Full) => {
                self.jammed = true;
                false
            }
            Err(SubmitError::Closed) => {
                // The session was closed, or was lost while it was being closed.
                if self.user.open.is_empty() {
                    self.replace(SessionWish::Open);
                }
                false
            }
            Err(SubmitError::TooLong { max }) => {
                let what = format!("{} bytes are refused as more than {max}", payload.bytes.len());
                self.user.trace.fail("the client library takes requests", what);
                false
            }
        }
    }

    /// Whether a request is part of a level of behaviour that has to begin.
    fn is_new(payload: &Payload) -> bool {
        let (_, decoder, _) = W::parts();
        decoder.classify(payload.schema, &payload.bytes).is_ok_and(|class| class.level > 0)
    }

    /// The refusal that a node must give to this request.
    fn deserves(&self, payload: &Payload) -> Option<Code> {
        let (_, decoder, _) = W::parts();
        match decoder.classify(payload.schema, &payload.bytes) {
            Ok(class) if class.kind != ClassKind::Command => Some(Code::Malformed),
            Ok(class) if class.permissions & !self.user.permissions != 0 && class.level == 0 => {
                Some(Code::NotPermitted)
            }
            Ok(_) => None,
            Err(_) => Some(Code::Malformed),
        }
    }

    fn ask(&mut self, now: u64, history: &History) {
        let payload = self.author.query(&mut self.rng);
        if let Ok(QueryId(id)) = self.core.query(payload.schema, &payload.bytes) {
            if self.user.questions.is_empty() {
                self.user.progress_at = now;
            }
            self.user.questions.insert(id, Question { payload, after: history.highest });
        }
    }

    fn change_subscriptions(&mut self) {
        let stream = self.author.stream(&mut self.rng);
        let wire = stream.to_wire();
        if self.user.streams.contains_key(&wire) {
            if self.rng.one_in(2) && self.core.unsubscribe(stream).is_ok() {
                self.user.streams.remove(&wire);
            }
        } else {
            let from = self.rng.below(2);
            if self.core.subscribe(stream, OutputSeq(from)).is_ok() {
                self.user.streams.insert(wire, from);
            }
        }
    }

    /// The process ends and another takes its place, which may know the session.
    fn die(&mut self, history: &mut History) {
        let user = &mut self.user;
        for open in user.open.values() {
            history.orphan(user.session, &open.payload.bytes);
        }
        history.finished += user.open.len() as u64;
        let knows = user.session != 0 && self.rng.one_in(2);
        let wish = if knows { SessionWish::Resume(SessionId(user.session)) } else { SessionWish::Open };
        user.trace.mark(if knows { "session taken over" } else { "session abandoned" });
        user.open.clear();
        self.replace(wish);
    }

    fn replace(&mut self, wish: SessionWish) {
        self.user.questions.clear();
        self.user.streams.clear();
        // The connection goes with the process; `settle` closes it.
        self.core = core(self.user.id, self.cluster, self.window, self.retry_after, wish);
    }
}

fn core(
    id: usize,
    cluster: ClusterId,
    window: u64,
    retry_after: Option<u64>,
    session: SessionWish,
) -> ClientCore {
    ClientCore::new(CoreConfig {
        cluster,
        session,
        window: window as u32,
        buffer: 1 << 16,
        retry_after,
        silence: SILENCE,
        ..CoreConfig::new(key_pair(id))
    })
}

impl<W: Workload> Party for Client<W> {
    fn step(&mut self, now: u64, net: &mut Network, history: &mut History) -> bool {
        if self.is_done() || now < self.silent_until {
            return false;
        }
        let Some(conn) = self.conn else {
            return now >= self.next_at && self.connect(now, net);
        };
        let mut worked = self.listen(now, conn, net, history);
        if self.may_begin() && now >= self.next_at {
            self.begin(now, history);
            worked = true;
        }
        self.settle(now, net);
        if self.conn.is_some() {
            worked |= self.send(now, conn, net);
        }
        worked
    }

    fn finish(&mut self) {
        self.finishing = true;
        self.silent_until = 0;
    }

    fn is_done(&self) -> bool {
        self.user.loss == Some(true)
            || self.user.loss.is_none() && self.finishing && self.user.open.is_empty()
    }

    fn leave(&mut self, history: &mut History) {
        for open in self.user.open.values() {
            history.orphan(self.user.session, &open.payload.bytes);
        }
    }

    fn expect_loss(&mut self, net: &mut Network) -> bool {
        // Who has closed its session asks nothing more, and so is told nothing.
        let asks = self.core.session().is_some() || self.core.open_requests() > 0;
        let knows = asks && self.core.lineage().is_some();
        // What is on its way was said before.
        if let Some(conn) = self.conn.take() {
            net.client_close(conn);
            self.input.clear();
        }
        self.core.disconnected(&mut |_| {});
        if knows {
            self.user.loss = Some(false);
            self.silent_until = 0;
        }
        knows
    }

    fn waits_for_loss(&self) -> bool {
        self.user.loss == Some(false)
    }

    fn next_deadline(&self) -> Option<u64> {
        if self.is_done() {
            return None;
        }
        let speaks = self.conn.is_none() || self.may_begin();
        let next = if speaks { self.next_at } else { u64::MAX };
        let patience =
            if self.conn.is_some() { self.loses_patience_at().saturating_add(1) } else { u64::MAX };
        let core = self.core.next_deadline().map_or(u64::MAX, |deadline| deadline.0);
        Some(self.silent_until.max(next.min(core).min(patience)))
    }

    fn describe(&self) -> String {
        let open: Vec<_> = self.user.open.keys().collect();
        format!("client {} {:?} session {} open {open:?}", self.user.id, self.conn, self.user.session)
    }
}

impl User {
    fn hear(&mut self, event: Event<'_>, now: u64, history: &mut History) {
        if let Some(told) = &mut self.loss {
            match event {
                Event::DataLost { before, now } => {
                    *told = true;
                    self.trace.mark("client told of a declared loss");
                    self.note("told of a loss", &[before.0.into(), now.0.into()]);
                }
                // Whatever it hears of its session and requests, it has to know why.
                Event::SessionResumed(_) | Event::SessionLost { .. } | Event::Completed(_) if !*told => {
                    let what = format!("client {} hears {event:?} and of no loss", self.id);
                    self.trace.fail("clients are told of a declared loss", what);
                }
                _ => {}
            }
            return;
        }
        match event {
            Event::SignedIn { welcome, .. } => {
                self.progress_at = now;
                (self.key, self.permissions) = (welcome.key.get(), welcome.permissions.get());
            }
            Event::SessionOpened(session) => {
                self.progress_at = now;
                self.session = session.0;
                self.note("session opened", &[session.0]);
            }
            Event::SessionResumed(session) => {
                self.progress_at = now;
                self.session = session.0;
                self.note("session resumed", &[session.0]);
            }
            Event::SessionClosed(session) => self.note("session closed", &[session.0]),
            Event::SessionLost { session, code } => {
                self.note("session lost", &[session.0, code as u64]);
                if code == Code::UnknownSession {
                    self.trace.mark("session expired");
                    history.lost.push(session.0);
                } else {
                    let what = format!("client {} lost session {session}: {code}", self.id);
                    self.trace.fail("sessions end in the log only", what);
                }
            }
            Event::Completed(completion) => {
                self.progress_at = now;
                self.complete(&completion, history);
            }
            Event::Answered(QueryId(id), result) => self.answered(id, result, now, history),
            Event::Subscribed { stream, next } => {
                let known = self.streams.entry(stream.to_wire()).or_default();
                if *known != 0 && *known != next.0 {
                    let what = format!("client {} goes on at {next}, not {known}", self.id);
                    self.trace.fail("outputs are dense", what);
                }
                *known = next.0;
            }
            Event::SubscriptionRefused { stream, code, .. } => {
                self.note("subscription refused", &[stream.to_wire(), code as u64]);
                self.streams.remove(&stream.to_wire());
            }
            Event::Output { stream, number, payload, .. } => self.output(stream, number.0, payload, history),
            // A newcomer may have been to a node that had not heard of the loss yet.
            Event::DataLost { .. } if history.has_declared() => {}
            Event::DataLost { .. } => {
                self.trace.fail("nothing acknowledged is lost", "a node declares a loss of data");
            }
            Event::Receipt(..) | Event::Steered(..) | Event::Members(_) => {
                let what = format!("client {} has an answer to what it did not ask", self.id);
                self.trace.fail("client and node understand each other", what);
            }
            Event::Disconnected(ending) => self.disconnected(&ending),
        }
    }

    fn note(&self, name: &'static str, numbers: &[u64]) {
        self.trace.event(name, &[&[self.id as u64], numbers].concat());
    }

    fn complete(&mut self, completion: &Completion<'_>, history: &mut History) {
        let Completion { ticket, number, outcome } = *completion;
        let Some(open) = self.open.remove(&ticket.0) else {
            let what = format!("client {} was told twice of {ticket:?}: {outcome:?}", self.id);
            return self.trace.fail("one outcome for each request", what);
        };
        history.finished += 1;
        let place = (self.session, number.0);
        match outcome {
            Outcome::Acknowledged { seq, reply } => {
                self.note("acknowledged", &[place.0, place.1, seq.0]);
                history.claim_alone(place, &open.payload.bytes, &self.trace);
                let asked = Asked { session: SessionId(self.session), number, seq };
                history.acknowledge(asked, reply, open.after, &self.trace);
                self.replies.push(reply.to_vec());
            }
            Outcome::Unknown => {
                self.note("unknown", &[place.0, place.1]);
                self.trace.mark("outcome unknown");
                history.claim_alone(place, &open.payload.bytes, &self.trace);
            }
            Outcome::NotExecuted(code) => {
                self.note("not executed", &[place.0, place.1, code as u64]);
                let is_fair = match code {
                    Code::Malformed if open.is_new => {
                        self.trace.mark("refused: before its level");
                        true
                    }
                    Code::NotPermitted if open.is_new => true,
                    Code::Malformed | Code::NotPermitted => open.deserves == Some(code),
                    Code::Busy | Code::NoRoom | Code::NoCopies | Code::Starting => self.sees_refusals,
                    Code::UnknownSession => true,
                    _ => false,
                };
                if !is_fair {
                    let what = format!("client {} was told {code}; it deserves {:?}", self.id, open.deserves);
                    self.trace.fail("refusals have a reason", what);
                }
            }
        }
    }

    fn answered(
        &mut self,
        id: u64,
        result: Result<(Seq, &[u8]), ordain_client::QueryError>,
        now: u64,
        history: &mut History,
    ) {
        let Some(question) = self.questions.remove(&id) else {
            let what = format!("client {} was answered query {id} twice", self.id);
            return self.trace.fail("one outcome for each request", what);
        };
        history.finished += 1;
        let Ok((seq, answer)) = result else { return };
        self.progress_at = now;
        self.note("answered", &[id, seq.0]);
        self.trace.mark("query answered");
        if seq.0 < question.after {
            let what = format!(
                "client {} asked after seq {} was acknowledged; the answer knows {seq}",
                self.id, question.after
            );
            self.trace.fail("queries see what was acknowledged", what);
        }
        history.answers.push(Answered {
            seq: seq.0,
            key: self.key,
            permissions: self.permissions,
            query: question.payload.bytes,
            answer: answer.to_vec(),
        });
    }

    fn output(&mut self, stream: Stream, number: u64, payload: &[u8], history: &mut History) {
        let next = self.streams.entry(stream.to_wire()).or_default();
        if *next != number {
            let what = format!("client {} got output {number} of {stream:?}, not {next}", self.id);
            return self.trace.fail("outputs are dense", what);
        }
        *next += 1;
        self.trace.event("output heard", &[self.id as u64, stream.to_wire(), number]);
        history.output(stream.to_wire(), number, payload, &self.trace);
    }

    fn disconnected(&mut self, ending: &Ending<'_>) {
        self.trace.say(|| format!("client {}: {ending}", self.id));
        self.note("disconnected", &[]);
        let impossible = match ending {
            Ending::Handshake(_) | Ending::Protocol(_) => true,
            Ending::Goodbye { code, .. } => {
                matches!(code, Code::Unauthenticated | Code::Unsupported | Code::Malformed)
            }
            Ending::Elsewhere { .. } => {
                self.trace.mark("sent elsewhere");
                false
            }
            Ending::Silent => {
                self.trace.mark("node silent");
                false
            }
            Ending::NoSession(_) | Ending::Closed => false,
        };
        if impossible {
            let what = format!("client {}: {ending}", self.id);
            self.trace.fail("client and node understand each other", what);
        }
    }
}
