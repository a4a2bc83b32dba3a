//! The example application: counters that add up, and every thing that the runtime offers in one small file.
//!
//! | Request | Does | Shows |
//! |---|---|---|
//! | [`Request::Add`] | adds to a counter, replies the new value, tells the counter's topic | a command, checked arithmetic |
//! | [`Request::Burst`] | tells the counter's topic `n` things | an event of many steps ([`Step::More`]) |
//! | [`Request::Remind`] | tells the counter's topic something later | deadlines ([`Application::fire`]) |
//! | [`Query::Read`] | answers a counter's value | a query |
//!
//! Level 1 of its behaviour: an addition that does not fit tells the topic the value that stays. At level 0 nobody but the
//! asker hears of it.
//!
//! # Wire format
//!
//! Every message is 16 bytes, little-endian, schema version 1:
//!
//! | Bytes | Requests and queries | Replies and answers | Outputs |
//! |---|---|---|---|
//! | 0 | 1 Add, 2 Burst, 3 Remind, 4 Read | 0 done, 1 overflow, 2 too many reminders | 1 changed, 2 burst, 3 reminder |
//! | 1..4 | zero | zero | zero |
//! | 4..8 | counter | counter | counter |
//! | 8..16 | what to add (signed); outputs; nanoseconds; zero | value (signed); outputs; the reminder's time | value (signed); place in the burst from 1; seq of the request |
#![forbid(unsafe_code)]

use ordain_api::{
    AppFactory, Application, Buf, Class, ClassKind, Context, Malformed, Nanos, Needs, RequestDecoder,
    ResponseEncoder, RestoreError, Seq, Sink, Step, Stream,
};
use std::collections::BTreeMap;
use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned,
    little_endian::{U32, U64},
};

/// Counters. A bound, so that no client can grow the state.
pub const COUNTERS: u32 = 1024;
/// Outputs of one burst.
pub const BURST_MAX: u64 = 100_000;
/// Reminders that may wait at a time.
pub const REMINDERS_MAX: usize = 4096;
/// The highest level of behaviour.
pub const LEVEL: u16 = 1;
/// The one schema version.
pub const SCHEMA: u8 = 1;

/// A command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Adds `by` to a counter.
    Add {
        /// Which.
        counter: u32,
        /// How much.
        by: i64,
    },
    /// Emits `count` outputs to the counter's topic.
    Burst {
        /// Which.
        counter: u32,
        /// How many.
        count: u64,
    },
    /// Emits an output to the counter's topic after `delay`.
    Remind {
        /// Which.
        counter: u32,
        /// In how many nanoseconds of log time.
        delay: u64,
    },
}

/// A question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Query {
    /// What is a counter's value?
    Read {
        /// Which.
        counter: u32,
    },
}

/// What became of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The counter has this value now.
    Value(u32, i64),
    /// The sum does not fit into 64 bits; the counter is unchanged and has this value.
    Overflow(u32, i64),
    /// So many outputs were emitted.
    Burst(u32, u64),
    /// The reminder will be emitted at this time.
    Reminder(u32, Nanos),
    /// [`REMINDERS_MAX`] reminders are waiting.
    TooManyReminders(u32),
}

/// A counter and its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer(pub u32, pub i64);

/// What others hear, on the counter's topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// The counter has a new value.
    Changed(u32, i64),
    /// One output of a burst, numbered from 1.
    Burst(u32, u64),
    /// The reminder that this request asked for.
    Reminder(u32, Seq),
}

/// The counters.
#[derive(Debug)]
pub struct Counters {
    values: Vec<i64>,
    /// Waiting reminders in the order in which they are due, then asked for.
    reminders: BTreeMap<(Nanos, Seq), u32>,
    /// The burst at hand: its counter, how many outputs are out, and how many there will be.
    burst: Option<(u32, u64, u64)>,
    level: u16,
}

impl Application for Counters {
    type Request<'a> = Request;
    type Query<'a> = Query;
    type Reply = Reply;
    type Answer = Answer;
    type Output = Output;

    fn apply<S: Sink<Self>>(&mut self, request: Request, context: &Context, sink: &mut S) -> Step {
        match request {
            Request::Add { counter, by } => {
                let value = &mut self.values[counter as usize];
                match value.checked_add(by) {
                    Some(sum) => {
                        *value = sum;
                        sink.output(Stream::Topic(counter), &Output::Changed(counter, sum));
                        sink.reply(&Reply::Value(counter, sum));
                    }
                    None => {
                        let value = *value;
                        if self.level >= 1 {
                            sink.output(Stream::Topic(counter), &Output::Changed(counter, value));
                        }
                        sink.reply(&Reply::Overflow(counter, value));
                    }
                }
                Step::Done
            }
            Request::Burst { counter, count } => {
                self.burst = Some((counter, 0, count));
                self.resume(context, sink)
            }
            Request::Remind { counter, .. } if self.reminders.len() == REMINDERS_MAX => {
                sink.reply(&Reply::TooManyReminders(counter));
                Step::Done
            }
            Request::Remind { counter, delay } => {
                let due = context.time.plus(delay);
                self.reminders.insert((due, context.seq), counter);
                sink.reply(&Reply::Reminder(counter, due));
                Step::Done
            }
        }
    }

    fn resume<S: Sink<Self>>(&mut self, _context: &Context, sink: &mut S) -> Step {
        let (counter, mut done, count) = self.burst.take().expect("the runtime resumes only what goes on");
        while done < count && sink.outputs_left() > 0 {
            done += 1;
            sink.output(Stream::Topic(counter), &Output::Burst(counter, done));
        }
        if done < count {
            self.burst = Some((counter, done, count));
            return Step::More;
        }
        sink.reply(&Reply::Burst(counter, count));
        Step::Done
    }

    fn query(&self, Query::Read { counter }: Query, _context: &Context) -> Answer {
        Answer(counter, self.values[counter as usize])
    }

    fn next_deadline(&self) -> Option<Nanos> {
        self.reminders.first_key_value().map(|((due, _), _)| *due)
    }

    fn fire<S: Sink<Self>>(&mut self, _deadline: Nanos, _context: &Context, sink: &mut S) -> Step {
        let ((_, seq), counter) = self.reminders.pop_first().expect("a deadline was named");
        sink.output(Stream::Topic(counter), &Output::Reminder(counter, seq));
        Step::Done
    }

    fn begin_level(&mut self, level: u16) {
        self.level = level;
    }

    /// First chunk: all values. Then the reminders, from the `cursor - 1`st on.
    fn snapshot(&self, cursor: &mut u64, out: &mut Vec<u8>) -> Step {
        if *cursor == 0 {
            self.values.iter().for_each(|value| out.extend_from_slice(&value.to_le_bytes()));
            *cursor = 1;
            return if self.reminders.is_empty() { Step::Done } else { Step::More };
        }
        let from = *cursor as usize - 1;
        for ((due, seq), counter) in self.reminders.iter().skip(from).take(CHUNK) {
            out.extend_from_slice(Reminder::new(*due, *seq, *counter).as_bytes());
        }
        *cursor += CHUNK as u64;
        if from + CHUNK < self.reminders.len() { Step::More } else { Step::Done }
    }

    fn load(&mut self, chunk: &[u8]) -> Result<(), RestoreError> {
        let invalid = |what: &str| RestoreError(format!("a chunk of the counters holds {what}"));
        if self.values.is_empty() {
            let values = <[[u8; 8]]>::ref_from_bytes(chunk).map_err(|_| invalid("half a value"))?;
            if values.len() != COUNTERS as usize {
                return Err(invalid("too few or too many values"));
            }
            self.values = values.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect();
            return Ok(());
        }
        let reminders = <[Reminder]>::ref_from_bytes(chunk).map_err(|_| invalid("half a reminder"))?;
        for reminder in reminders {
            let counter = reminder.counter.get();
            let key = (Nanos(reminder.due.get()), Seq(reminder.seq.get()));
            if counter >= COUNTERS || self.reminders.insert(key, counter).is_some() {
                return Err(invalid("an impossible reminder"));
            }
        }
        Ok(())
    }

    fn finish_load(&mut self) -> Result<(), RestoreError> {
        if self.values.is_empty() || self.reminders.len() > REMINDERS_MAX {
            return Err(RestoreError("the counters are incomplete or hold too many reminders".to_owned()));
        }
        Ok(())
    }
}

/// Reminders per chunk of a snapshot: 40 KiB.
const CHUNK: usize = 2048;

/// A reminder in a snapshot.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Reminder {
    due: U64,
    seq: U64,
    counter: U32,
}

impl Reminder {
    fn new(due: Nanos, seq: Seq, counter: u32) -> Self {
        Self { due: due.0.into(), seq: seq.0.into(), counter: counter.into() }
    }
}

/// Makes [`Counters`], all zero.
#[derive(Clone, Copy, Debug, Default)]
pub struct CounterFactory;

impl AppFactory for CounterFactory {
    type App = Counters;

    fn identity(&self) -> (&'static str, u32) {
        ("counter", 1)
    }

    fn needs(&self) -> Needs {
        Needs { reply: size_of::<Wire>(), step_outputs: 1 }
    }

    fn level(&self) -> u16 {
        LEVEL
    }

    fn create(&self) -> Counters {
        Counters { values: vec![0; COUNTERS as usize], reminders: BTreeMap::new(), burst: None, level: 0 }
    }

    fn restore(&self, version: u32) -> Result<Counters, RestoreError> {
        if version != self.identity().1 {
            return Err(RestoreError(format!("this build reads counters of version 1, not {version}")));
        }
        Ok(Counters { values: Vec::new(), ..self.create() })
    }
}

/// Every message on the wire.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Wire {
    kind: u8,
    zero: [u8; 3],
    counter: U32,
    value: U64,
}

impl Wire {
    fn new(kind: u8, counter: u32, value: u64) -> Self {
        Self { kind, zero: [0; 3], counter: counter.into(), value: value.into() }
    }

    fn read(payload: &[u8]) -> Option<Self> {
        Self::read_from_bytes(payload).ok().filter(|wire| wire.zero == [0; 3])
    }
}

/// Reads requests and queries, and writes them for clients.
#[derive(Clone, Copy, Debug, Default)]
pub struct CounterDecoder;

/// A command or a query.
enum Message {
    Command(Request),
    Query(Query),
}

fn message(schema: u8, payload: &[u8]) -> Result<Message, Malformed> {
    if schema != SCHEMA {
        return Err(Malformed("unknown schema version"));
    }
    let wire = Wire::read(payload).ok_or(Malformed("a message is 16 bytes"))?;
    let (counter, value) = (wire.counter.get(), wire.value.get());
    if counter >= COUNTERS {
        return Err(Malformed("no such counter"));
    }
    Ok(match wire.kind {
        1 => Message::Command(Request::Add { counter, by: value as i64 }),
        2 if value <= BURST_MAX => Message::Command(Request::Burst { counter, count: value }),
        2 => return Err(Malformed("burst too long")),
        3 => Message::Command(Request::Remind { counter, delay: value }),
        4 if value == 0 => Message::Query(Query::Read { counter }),
        _ => return Err(Malformed("unknown kind of message")),
    })
}

impl RequestDecoder<Counters> for CounterDecoder {
    fn classify(&self, schema: u8, payload: &[u8]) -> Result<Class, Malformed> {
        let kind = match message(schema, payload)? {
            Message::Command(_) => ClassKind::Command,
            Message::Query(_) => ClassKind::Query,
        };
        Ok(Class { kind, permissions: 0, level: 0 })
    }

    fn decode(&self, schema: u8, payload: &[u8]) -> Result<Request, Malformed> {
        match message(schema, payload)? {
            Message::Command(request) => Ok(request),
            Message::Query(_) => Err(Malformed("a query where a command was expected")),
        }
    }

    fn decode_query(&self, schema: u8, payload: &[u8]) -> Result<Query, Malformed> {
        match message(schema, payload)? {
            Message::Query(query) => Ok(query),
            Message::Command(_) => Err(Malformed("a command where a query was expected")),
        }
    }
}

/// Writes replies, answers and outputs.
#[derive(Clone, Copy, Debug, Default)]
pub struct CounterEncoder;

impl ResponseEncoder<Counters> for CounterEncoder {
    fn reply(&self, reply: &Reply, out: &mut Buf<'_>) {
        let wire = match *reply {
            Reply::Value(counter, value) => Wire::new(0, counter, value as u64),
            Reply::Burst(counter, count) => Wire::new(0, counter, count),
            Reply::Reminder(counter, due) => Wire::new(0, counter, due.0),
            Reply::Overflow(counter, value) => Wire::new(1, counter, value as u64),
            Reply::TooManyReminders(counter) => Wire::new(2, counter, 0),
        };
        out.put(wire.as_bytes());
    }

    fn answer(&self, Answer(counter, value): &Answer, out: &mut Buf<'_>) {
        out.put(Wire::new(0, *counter, *value as u64).as_bytes());
    }

    fn output(&self, output: &Output, out: &mut Buf<'_>) {
        let wire = match *output {
            Output::Changed(counter, value) => Wire::new(1, counter, value as u64),
            Output::Burst(counter, place) => Wire::new(2, counter, place),
            Output::Reminder(counter, seq) => Wire::new(3, counter, seq.0),
        };
        out.put(wire.as_bytes());
    }
}

impl Request {
    /// The request on the wire.
    #[must_use]
    pub fn to_wire(self) -> [u8; 16] {
        let wire = match self {
            Self::Add { counter, by } => Wire::new(1, counter, by as u64),
            Self::Burst { counter, count } => Wire::new(2, counter, count),
            Self::Remind { counter, delay } => Wire::new(3, counter, delay),
        };
        zerocopy::transmute!(wire)
    }
}

impl Query {
    /// The query on the wire.
    #[must_use]
    pub fn to_wire(self) -> [u8; 16] {
        let Self::Read { counter } = self;
        zerocopy::transmute!(Wire::new(4, counter, 0))
    }
}
