//! One call at a time.

use crate::driver::{ClientConfig, ConnectError, Driver, nanos};
use crate::{Event, QueryError, QueryId, SubmitError, Ticket};
use core::fmt;
use ordain_keys::PublicKey;
use ordain_types::codes::Code;
use ordain_types::configuration::Seat;
use ordain_types::frame::KeyEntry;
use ordain_types::roster::{FactsBody, RosterHead, read_page};
use ordain_types::steer::Steer;
use ordain_types::{
    BatchIndex, ClusterFacts, KeyId, Nanos, NodeId, OutputSeq, Receipt, Seq, SessionId, Stream,
};
use std::collections::VecDeque;
use std::time::Duration;
use zerocopy::FromBytes;

/// Outputs kept that came during other calls. A reader further behind is cut off, as a node would.
const OUTPUTS_MAX: usize = 4096;

/// What became of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Executed, once.
    Acknowledged {
        /// Its record in the log.
        seq: Seq,
        /// The application's reply.
        reply: Vec<u8>,
    },
    /// Not executed, and never will be.
    NotExecuted(Code),
    /// It may or may not have been executed: its session is gone, and nobody can tell any more.
    Unknown,
}

/// An output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Its stream.
    pub stream: Stream,
    /// Its number in the stream.
    pub number: OutputSeq,
    /// The record that caused it.
    pub seq: Seq,
    /// The application's bytes.
    pub payload: Vec<u8>,
}

/// Why a call came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientError {
    /// No connection.
    Connect(ConnectError),
    /// The request was not taken.
    Submit(SubmitError),
    /// Time is up; what went wrong last, if anything did. A request may have been executed or be so yet:
    /// it stays open, and counts in the window, until its outcome is known.
    Timeout(String),
    /// The query or the wish for a receipt was refused.
    Query(Code),
    /// The change of the cluster was refused; the node's words for why.
    Refused(Code, String),
    /// The connection ended before the node said what became of the change: ask for the members to see.
    Unanswered(String),
    /// The subscription was refused or has ended. If the code is TooOld, `next` is the oldest output that
    /// can be had; if TooSlow, the one that comes next for this client.
    Subscription {
        /// Which.
        stream: Stream,
        /// Why.
        code: Code,
        /// See above; else 0.
        next: OutputSeq,
    },
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(error) => error.fmt(f),
            Self::Submit(error) => error.fmt(f),
            Self::Timeout(why) if why.is_empty() => {
                write!(f, "no answer in time: the request may be executed yet; check the cluster")
            }
            Self::Timeout(why) => {
                write!(f, "no answer in time: the request may be executed yet; last: {why}")
            }
            Self::Query(code) => write!(f, "the query was refused: {code}"),
            Self::Refused(code, why) if why.is_empty() => code.fmt(f),
            Self::Refused(_, why) => f.write_str(why),
            Self::Unanswered(why) => {
                write!(f, "the connection ended before the answer ({why}): the change may have happened")
            }
            Self::Subscription { stream, code, next } => {
                write!(f, "no more outputs of {stream:?} ({code}): subscribe again, from {next} if not 0")
            }
        }
    }
}

impl std::error::Error for ClientError {}

impl From<ConnectError> for ClientError {
    fn from(error: ConnectError) -> Self {
        Self::Connect(error)
    }
}

/// What events leave behind for the calls that wait for them.
#[derive(Debug, Default)]
struct Seen {
    /// The request that is waited for.
    ticket: Option<Ticket>,
    outcome: Option<Outcome>,
    /// The query that is waited for.
    query: Option<QueryId>,
    answer: Option<Result<(Seq, Vec<u8>), QueryError>>,
    receipt: Option<Result<Receipt, QueryError>>,
    steered: Option<Result<BatchIndex, (QueryError, String)>>,
    subscribed: Option<Stream>,
    outputs: VecDeque<Output>,
    /// Subscriptions that ended: [`ClientError::Subscription`].
    ended: VecDeque<(Stream, Code, OutputSeq)>,
    /// Streams whose outputs no longer fit, with the first that was dropped.
    overrun: Vec<(Stream, OutputSeq)>,
    closed: bool,
    data_lost: bool,
}

impl Seen {
    fn take(&mut self, event: Event<'_>) {
        match event {
            Event::Completed(completion) if Some(completion.ticket) == self.ticket => {
                self.outcome = Some(match completion.outcome {
                    crate::Outcome::Acknowledged { seq, reply } => {
                        Outcome::Acknowledged { seq, reply: reply.to_vec() }
                    }
                    crate::Outcome::NotExecuted(code) => Outcome::NotExecuted(code),
                    crate::Outcome::Unknown => Outcome::Unknown,
                });
            }
            Event::Answered(query, result) if Some(query) == self.query => {
                self.answer = Some(result.map(|(seq, payload)| (seq, payload.to_vec())));
            }
            Event::Receipt(query, result) if Some(query) == self.query => self.receipt = Some(result),
            Event::Steered(query, result) if Some(query) == self.query => {
                self.steered = Some(result.map_err(|(error, why)| (error, why.to_owned())));
            }
            Event::Subscribed { stream, .. } => self.subscribed = Some(stream),
            Event::SubscriptionRefused { stream, code, oldest } => {
                self.ended.push_back((stream, code, oldest))
            }
            Event::Output { stream, number, seq, payload } => self.output(stream, number, seq, payload),
            Event::SessionClosed(_) => self.closed = true,
            Event::DataLost { .. } => self.data_lost = true,
            _ => {}
        }
    }

    fn output(&mut self, stream: Stream, number: OutputSeq, seq: Seq, payload: &[u8]) {
        if self.overrun.iter().any(|(overrun, _)| *overrun == stream) {
            return;
        }
        if self.outputs.len() >= OUTPUTS_MAX {
            self.overrun.push((stream, number));
        } else {
            self.outputs.push_back(Output { stream, number, seq, payload: payload.to_vec() });
        }
    }
}

/// A client that waits for each answer, and survives lost connections meanwhile. Between calls nothing
/// is sent or received: one that is idle for longer than the idle timeout reconnects at its next call, and
/// one that is idle for longer than the session timeout finds its session gone and opens another.
#[derive(Debug)]
pub struct Client {
    driver: Driver,
    timeout: Duration,
    seen: Seen,
}

impl Client {
    /// Connects and opens or resumes a session.
    ///
    /// # Errors
    /// [`ClientError::Connect`].
    pub fn connect(config: &ClientConfig) -> Result<Self, ClientError> {
        let mut driver = Driver::new(config)?;
        driver.connect(config.timeout)?;
        Ok(Self { driver, timeout: config.timeout, seen: Seen::default() })
    }

    /// The session, if there is one.
    #[must_use]
    pub fn session(&self) -> Option<SessionId> {
        self.driver.core.session()
    }

    /// Has a command executed, exactly once.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn call(&mut self, schema: u8, payload: &[u8]) -> Result<Outcome, ClientError> {
        self.execute(|core| core.submit(schema, payload))
    }

    /// Adds a key or changes its permissions; 0 revokes it. The reply is the key's number, 4 bytes.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn set_key(&mut self, key: PublicKey, permissions: u32) -> Result<Outcome, ClientError> {
        self.execute(|core| core.set_key(key, permissions))
    }

    fn execute(
        &mut self,
        submit: impl Fn(&mut crate::ClientCore) -> Result<Ticket, SubmitError>,
    ) -> Result<Outcome, ClientError> {
        let until = self.until(self.timeout);
        self.seen.outcome = None;
        self.seen.ticket = Some(self.insist(until, submit)?);
        self.wait(until, |seen| seen.outcome.take())
    }

    /// Asks a question: the last record that the answer reflects, and the answer. Asked again after a lost
    /// connection.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn query(&mut self, schema: u8, payload: &[u8]) -> Result<(Seq, Vec<u8>), ClientError> {
        self.ask(|core| core.query(schema, payload))
    }

    /// The keys that the cluster knows, in the order of their numbers; for operators.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn keys(&mut self) -> Result<Vec<KeyEntry>, ClientError> {
        let mut keys: Vec<KeyEntry> = Vec::new();
        loop {
            let first = keys.last().map_or(1, |last| last.number.get().saturating_add(1));
            let (_, answer) = self.ask(|core| core.keys(KeyId(first)))?;
            // Entries that do not go on where the last answer ended would never come to an end.
            let known = keys.len();
            let more = answer.chunks_exact(size_of::<KeyEntry>());
            keys.extend(more.map(|entry| KeyEntry::read_from_bytes(entry).expect("of its length")));
            if keys[known..].first().is_none_or(|next| next.number.get() < first) {
                return Ok(keys);
            }
        }
    }

    /// What the node connected to knows of its cluster.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn members(&mut self) -> Result<(RosterHead, Vec<Seat>), ClientError> {
        self.pages(false)
    }

    /// The members that the cluster was made with.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn made(&mut self) -> Result<Vec<Seat>, ClientError> {
        Ok(self.pages(true)?.1)
    }

    fn pages(&mut self, made: bool) -> Result<(RosterHead, Vec<Seat>), ClientError> {
        let mut all: Vec<Seat> = Vec::new();
        let mut version = None;
        loop {
            let first = NodeId(all.last().map_or(0, |last| last.member.id.0.saturating_add(1)));
            let (_, page) = self.ask(|core| if made { core.made(first) } else { core.members(first) })?;
            let Some((head, members)) = read_page(&page) else {
                return Err(ClientError::Query(Code::Unsupported));
            };
            if version.is_some_and(|version| version != head.version) {
                // Another connection, or a change in between: from the beginning.
                (version, all) = (None, Vec::new());
                continue;
            }
            version = Some(head.version);
            let is_over = members.is_empty();
            all.extend(members);
            if is_over || all.len() >= head.members.get() as usize {
                return Ok((head, all));
            }
        }
    }

    /// The facts that the cluster was made with, and the key that its first record trusts; for operators.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn facts(&mut self) -> Result<(ClusterFacts, PublicKey), ClientError> {
        let (_, body) = self.ask(|core| core.facts())?;
        let body = FactsBody::read_from_bytes(&body).ok();
        let known = body.and_then(|body| Some((body.facts()?, PublicKey(body.operator))));
        known.ok_or(ClientError::Query(Code::Unsupported))
    }

    /// Changes the cluster; for operators. The batch that holds the change, 0 if it needs none.
    ///
    /// # Errors
    /// [`ClientError`]; [`ClientError::Unanswered`] if it may have happened or not.
    pub fn steer(&mut self, steer: &Steer) -> Result<BatchIndex, ClientError> {
        let until = self.until(self.timeout);
        self.seen.steered = None;
        self.seen.query = Some(self.insist(until, |core| core.steer(steer))?);
        match self.wait(until, |seen| seen.steered.take())? {
            Ok(index) => Ok(index),
            Err((QueryError::Refused(code), why)) => Err(ClientError::Refused(code, why)),
            Err((QueryError::Disconnected, _)) => Err(ClientError::Unanswered(self.driver.why().to_owned())),
        }
    }

    /// The address of the node connected to, or tried next.
    #[must_use]
    pub fn address(&self) -> &str {
        self.driver.address()
    }

    fn ask(
        &mut self,
        ask: impl Fn(&mut crate::ClientCore) -> Result<QueryId, SubmitError>,
    ) -> Result<(Seq, Vec<u8>), ClientError> {
        let until = self.until(self.timeout);
        loop {
            self.seen.answer = None;
            self.seen.query = Some(self.insist(until, &ask)?);
            match self.wait(until, |seen| seen.answer.take())? {
                Ok(answer) => return Ok(answer),
                Err(QueryError::Refused(code)) => return Err(ClientError::Query(code)),
                Err(QueryError::Disconnected) => {}
            }
        }
    }

    /// Asks for a receipt that covers record `seq` and everything before it; 0 stands for the last record. Kept
    /// somewhere else, it shows later whether the journal is still the one of today. Asked again after a lost
    /// connection.
    ///
    /// # Errors
    /// [`ClientError`]; the query is refused as Malformed if the log does not reach the record.
    pub fn receipt(&mut self, seq: Seq) -> Result<Receipt, ClientError> {
        let until = self.until(self.timeout);
        loop {
            self.seen.receipt = None;
            self.seen.query = Some(self.insist(until, |core| core.receipt(seq))?);
            match self.wait(until, |seen| seen.receipt.take())? {
                Ok(receipt) => return Ok(receipt),
                Err(QueryError::Refused(code)) => return Err(ClientError::Query(code)),
                Err(QueryError::Disconnected) => {}
            }
        }
    }

    /// Reads the outputs of a stream, from `from` on, or, if that is 0, from the next one to come.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn subscribe(&mut self, stream: Stream, from: OutputSeq) -> Result<(), ClientError> {
        let until = self.until(self.timeout);
        self.seen.subscribed = None;
        self.seen.ended.retain(|(ended, ..)| *ended != stream);
        self.insist(until, |core| core.subscribe(stream, from))?;
        // What an earlier subscription of the stream has brought is not what is asked for now.
        self.seen.outputs.retain(|output| output.stream != stream);
        self.wait(until, |seen| {
            if let Some(place) = seen.ended.iter().position(|(ended, ..)| *ended == stream) {
                let (stream, code, next) = seen.ended.remove(place).expect("just found");
                return Some(Err(ClientError::Subscription { stream, code, next }));
            }
            (seen.subscribed == Some(stream)).then_some(Ok(()))
        })?
    }

    /// The next output of any stream that is read; `None` if none came within `timeout`.
    ///
    /// # Errors
    /// [`ClientError::Subscription`] once for a subscription that ended; others go on.
    pub fn next_output(&mut self, timeout: Duration) -> Result<Option<Output>, ClientError> {
        let until = self.until(timeout);
        let next = self.wait(until, |seen| {
            if let Some(output) = seen.outputs.pop_front() {
                return Some(Ok(output));
            }
            let (stream, code, next) = seen.ended.pop_front()?;
            Some(Err(ClientError::Subscription { stream, code, next }))
        });
        match next {
            Ok(output) => output.map(Some),
            Err(ClientError::Timeout(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether the cluster declared a loss of acknowledged data since the last time this was asked.
    pub fn data_lost(&mut self) -> bool {
        std::mem::take(&mut self.seen.data_lost)
    }

    /// Closes the session. Without it, the session lives on until it expires, and can be resumed.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn close(mut self) -> Result<(), ClientError> {
        let until = self.until(self.timeout);
        self.seen.outcome = None;
        self.seen.ticket = Some(self.insist(until, |core| core.close_session())?);
        self.wait(until, |seen| seen.outcome.take().map(drop).or_else(|| seen.closed.then_some(())))
    }

    fn until(&self, timeout: Duration) -> Nanos {
        self.driver.now().plus(nanos(timeout))
    }

    /// Tries until there is room.
    fn insist<T>(
        &mut self,
        until: Nanos,
        submit: impl Fn(&mut crate::ClientCore) -> Result<T, SubmitError>,
    ) -> Result<T, ClientError> {
        loop {
            match submit(&mut self.driver.core) {
                Ok(taken) => return Ok(taken),
                Err(SubmitError::Full) => self.step(until)?,
                Err(error) => return Err(ClientError::Submit(error)),
            }
        }
    }

    fn wait<T>(
        &mut self,
        until: Nanos,
        mut done: impl FnMut(&mut Seen) -> Option<T>,
    ) -> Result<T, ClientError> {
        loop {
            if let Some(done) = done(&mut self.seen) {
                return Ok(done);
            }
            self.step(until)?;
        }
    }

    fn step(&mut self, until: Nanos) -> Result<(), ClientError> {
        let now = self.driver.now();
        if self.driver.is_hopeless() {
            return Err(ConnectError::Refused(self.driver.why().to_owned()).into());
        }
        if now >= until {
            return Err(ClientError::Timeout(self.driver.why().to_owned()));
        }
        let seen = &mut self.seen;
        self.driver.step(Duration::from_nanos(until.since(now)), &mut |event| seen.take(event));
        let (core, ended) = (&mut self.driver.core, &mut self.seen.ended);
        self.seen.overrun.retain(|(stream, next)| {
            let is_jammed = core.unsubscribe(*stream).is_err();
            if !is_jammed {
                ended.push_back((*stream, Code::TooSlow, *next));
            }
            is_jammed
        });
        Ok(())
    }
}
