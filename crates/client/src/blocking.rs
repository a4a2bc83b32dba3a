//! One call at a time.

use crate::core::{Event, Outcome, RequestId};
use crate::pipelined;
use crate::socket::{ClientConfig, ClientError};
use ordain_types::codes::Code;
use ordain_types::record::RecordKind;
use ordain_types::{Nanos, Number, OutputSeq, Seq, SessionId, Stream};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Outputs kept for [`Client::next_output`] while other calls run; more are an error of the program, which
/// must read what it subscribed to.
const OUTPUTS_MAX: usize = 65_536;

/// What a call came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Executed once; the copies that the ack policy names exist.
    Acknowledged {
        /// Its number in the session.
        number: Number,
        /// Its record in the log.
        seq: Seq,
        /// What the application replied.
        payload: Vec<u8>,
    },
    /// Not executed, and never will be.
    NotExecuted(Code),
}

/// An output of a stream that was subscribed to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The stream.
    pub stream: Stream,
    /// Its number there.
    pub number: OutputSeq,
    /// The record that caused it.
    pub seq: Seq,
    /// What it says.
    pub payload: Vec<u8>,
}

/// A client whose calls wait for their answers. It reconnects by itself, and a call that was under way is
/// answered all the same, executed once.
#[derive(Debug)]
pub struct Client {
    inner: pipelined::Client,
    timeout: Duration,
    outputs: VecDeque<Output>,
}

/// What a wait looks for.
#[derive(Debug, Default)]
struct Found {
    reply: Option<Result<Reply, ClientError>>,
    answer: Option<Result<(Seq, Vec<u8>), Option<Code>>>,
    subscribed: Option<Result<OutputSeq, Code>>,
}

/// What a wait is for.
#[derive(Clone, Copy, Debug)]
enum Wanted {
    Reply(RequestId),
    Answer(u64),
    Subscribed(Stream),
    Output,
}

impl Client {
    /// Connects, signs in and opens a session.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn connect(config: ClientConfig) -> Result<Self, ClientError> {
        let timeout = config.timeout;
        Ok(Self { inner: pipelined::Client::connect(config)?, timeout, outputs: VecDeque::new() })
    }

    /// The session.
    #[must_use]
    pub fn session(&self) -> Option<SessionId> {
        self.inner.session()
    }

    /// Has a command executed.
    ///
    /// # Errors
    /// [`ClientError`]; after `TimedOut` the command may yet be executed.
    pub fn call(&mut self, schema: u8, payload: &[u8]) -> Result<Reply, ClientError> {
        self.call_as(RecordKind::Request, schema, payload)
    }

    /// As [`Client::call`] for the runtime's own records: `KeySet` and `SessionClose`.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn call_as(&mut self, kind: RecordKind, schema: u8, payload: &[u8]) -> Result<Reply, ClientError> {
        self.check_len(payload)?;
        let deadline = Instant::now() + self.timeout;
        let id = loop {
            // The window is full only of calls that timed out before: their answers are still awaited.
            if let Some(id) = self.inner.core().submit_as(kind, schema, payload, Nanos(0)) {
                break id;
            }
            self.step(Wanted::Output, deadline)?;
        };
        loop {
            if let Some(reply) = self.step(Wanted::Reply(id), deadline)?.reply {
                return reply;
            }
        }
    }

    /// Asks a question about committed state.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn query(&mut self, schema: u8, payload: &[u8]) -> Result<(Seq, Vec<u8>), ClientError> {
        self.check_len(payload)?;
        let deadline = Instant::now() + self.timeout;
        loop {
            let Some(id) = self.inner.query(schema, payload) else {
                self.step(Wanted::Output, deadline)?;
                continue;
            };
            loop {
                match self.step(Wanted::Answer(id), deadline)?.answer {
                    None => {}
                    Some(Ok(answer)) => return Ok(answer),
                    Some(Err(Some(code @ (Code::Starting | Code::NotLeader | Code::Busy)))) => {
                        self.pause(deadline, code)?;
                        break;
                    }
                    Some(Err(Some(code))) => return Err(ClientError::QueryRefused(code)),
                    // The connection broke: questions may be asked again at will.
                    Some(Err(None)) => break,
                }
            }
        }
    }

    /// Reads a stream from output `from` on, 0 for the next to come; says which that is.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn subscribe(&mut self, stream: Stream, from: OutputSeq) -> Result<OutputSeq, ClientError> {
        let deadline = Instant::now() + self.timeout;
        self.inner.subscribe(stream, from);
        loop {
            if let Some(subscribed) = self.step(Wanted::Subscribed(stream), deadline)?.subscribed {
                return subscribed.map_err(ClientError::NotSubscribed);
            }
        }
    }

    /// The next output of any stream subscribed to; `None` if none came within `timeout`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn next_output(&mut self, timeout: Duration) -> Result<Option<Output>, ClientError> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(output) = self.outputs.pop_front() {
                return Ok(Some(output));
            }
            match self.step(Wanted::Output, deadline) {
                Err(ClientError::TimedOut) => return Ok(None),
                other => other.map(drop)?,
            }
        }
    }

    fn check_len(&mut self, payload: &[u8]) -> Result<(), ClientError> {
        let max = self.inner.core().payload_max();
        if payload.len() > max { Err(ClientError::TooLong { max }) } else { Ok(()) }
    }

    fn pause(&mut self, deadline: Instant, _code: Code) -> Result<(), ClientError> {
        if Instant::now() >= deadline {
            return Err(ClientError::TimedOut);
        }
        std::thread::sleep(Duration::from_millis(5));
        Ok(())
    }

    fn step(&mut self, wanted: Wanted, deadline: Instant) -> Result<Found, ClientError> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ClientError::TimedOut);
        }
        let mut found = Found::default();
        let outputs = &mut self.outputs;
        let mut happened = false;
        self.inner.poll(|event| {
            happened = true;
            found.see(wanted, event, outputs);
        })?;
        if !happened {
            self.inner.wait(left.min(Duration::from_millis(5)));
        }
        Ok(found)
    }
}

impl Found {
    fn see(&mut self, wanted: Wanted, event: Event<'_>, outputs: &mut VecDeque<Output>) {
        match (event, wanted) {
            (Event::Completed(id, outcome), Wanted::Reply(wanted)) if id == wanted => {
                self.reply = Some(match outcome {
                    Outcome::Acknowledged { number, seq, reply } => {
                        Ok(Reply::Acknowledged { number, seq, payload: reply.to_vec() })
                    }
                    Outcome::NotExecuted(code) => Ok(Reply::NotExecuted(code)),
                    Outcome::Unknown => Err(ClientError::SessionLost(Code::UnknownSession)),
                });
            }
            (Event::Answer(id, answer), Wanted::Answer(wanted)) if id == wanted => {
                self.answer = Some(answer.map(|(seq, bytes)| (seq, bytes.to_vec())).map_err(Some));
            }
            (Event::AnswerLost(id), Wanted::Answer(wanted)) if id == wanted => self.answer = Some(Err(None)),
            (Event::Subscribed(stream, next), Wanted::Subscribed(wanted)) if stream == wanted => {
                self.subscribed = Some(Ok(next));
            }
            (Event::NotSubscribed(stream, code, _), Wanted::Subscribed(wanted)) if stream == wanted => {
                self.subscribed = Some(Err(code));
            }
            (Event::Output(stream, number, seq, payload), _) => {
                assert!(outputs.len() < OUTPUTS_MAX, "read the outputs that you subscribed to");
                outputs.push_back(Output { stream, number, seq, payload: payload.to_vec() });
            }
            _ => {}
        }
    }
}
