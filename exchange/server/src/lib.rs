//! The exchange as an Ordain application: the engine behind the four traits.
//!
//! There is little here on purpose. Messages are read where they lie in the log and written where they
//! leave; the engine knows nothing of Ordain, and Ordain nothing of orders.
#![forbid(unsafe_code)]

use ordain_api::{
    AppFactory, Application, Buf, Class, ClassKind, Context, KeyId, Malformed, Nanos, Needs, Presence,
    RequestDecoder, ResponseEncoder, RestoreError, SessionId, Sink, Step, Stream,
};
use ordain_exchange_engine::{self as engine, Audience, Engine, Limits};
use ordain_exchange_protocol::{self as protocol, Control, MESSAGE_MAX, Market, Query, Request};

const _: () = assert!(permission_bits_fit());

const fn permission_bits_fit() -> bool {
    let bits = protocol::permission::TRADE
        | protocol::permission::ADMIN
        | protocol::permission::CUSTODY
        | protocol::permission::VIEW;
    bits & (ordain_api::permission::APPLICATION - 1) == 0
}

/// The exchange.
#[derive(Debug)]
pub struct Exchange {
    engine: Engine,
}

impl Exchange {
    /// The engine, for tests and tools.
    #[must_use]
    pub const fn engine(&self) -> &Engine {
        &self.engine
    }
}

/// Hands the engine's messages to the runtime's sink.
struct Forward<'a, S>(&'a mut S);

impl<S: Sink<Exchange>> engine::Sink for Forward<'_, S> {
    fn reply(&mut self, bytes: &[u8]) {
        self.0.reply(bytes);
    }

    fn output(&mut self, audience: Audience, bytes: &[u8]) {
        let stream = match audience {
            Audience::Account(account) => Stream::Account(u64::from(account)),
            Audience::Firm(firm) => Stream::Account(Audience::firm_stream(firm)),
            Audience::Instrument(topic) | Audience::Feed(topic) => Stream::Topic(topic),
        };
        self.0.output(stream, bytes);
    }

    fn watch(&mut self, on: bool) {
        self.0.watch(on);
    }
}

fn step(step: engine::Step) -> Step {
    match step {
        engine::Step::Done => Step::Done,
        engine::Step::More => Step::More,
    }
}

fn context(context: &Context) -> engine::Context {
    engine::Context {
        seq: context.seq.0,
        time: context.time.0,
        key: context.key.0,
        permissions: context.permissions,
        session: context.session.0,
    }
}

impl Application for Exchange {
    type Request<'a> = Request<'a>;
    type Query<'a> = Query<'a>;
    type Reply = [u8];
    type Answer = Answer;
    type Output = [u8];

    fn apply<S: Sink<Self>>(&mut self, request: Request<'_>, about: &Context, sink: &mut S) -> Step {
        step(self.engine.apply(&context(about), &request, &mut Forward(sink)))
    }

    fn warm<'a>(&self, requests: impl Iterator<Item = Request<'a>>) {
        self.engine.warm(requests);
    }

    fn resume<S: Sink<Self>>(&mut self, _about: &Context, sink: &mut S) -> Step {
        step(self.engine.resume(&mut Forward(sink)))
    }

    fn query(&self, query: Query<'_>, about: &Context) -> Answer {
        let mut answer = Answer { bytes: [0; MESSAGE_MAX], len: 0 };
        answer.len = self.engine.query(&context(about), &query, &mut answer.bytes);
        answer
    }

    fn next_deadline(&self) -> Option<Nanos> {
        self.engine.next_deadline().map(Nanos)
    }

    fn fire<S: Sink<Self>>(&mut self, deadline: Nanos, about: &Context, sink: &mut S) -> Step {
        step(self.engine.expire(&context(about), deadline.0, &mut Forward(sink)))
    }

    fn begin_level(&mut self, level: u16) {
        self.engine.begin_level(level);
    }

    fn presence(&mut self, session: SessionId, presence: Presence, about: &Context) {
        let (session, time) = (session.0, about.time.0);
        match presence {
            Presence::Lost => self.engine.lost(session, time),
            Presence::Unproved => self.engine.unproved(session, time),
            Presence::Back => self.engine.back(session),
            Presence::Ended => self.engine.ended(session, time),
        }
    }

    fn may_read(&self, stream: Stream, key: KeyId, permissions: u32) -> bool {
        match stream {
            Stream::Public | Stream::Topic(_) => permissions & protocol::permission::VIEW != 0,
            Stream::Account(account) => {
                let firm = account.checked_sub(Audience::firm_stream(0)).map(u32::try_from);
                match (u32::try_from(account), firm) {
                    (Ok(account), _) => self.engine.may_read(account, key.0, permissions),
                    (_, Some(Ok(firm))) => self.engine.may_read_firm(firm, key.0, permissions),
                    _ => false,
                }
            }
            Stream::Session(_) => false,
        }
    }

    fn snapshot(&self, cursor: &mut u64, out: &mut Vec<u8>) -> Step {
        step(self.engine.snapshot_step(cursor, out))
    }

    fn load(&mut self, chunk: &[u8]) -> Result<(), RestoreError> {
        self.engine.load(chunk).map_err(|error| RestoreError(error.to_string()))
    }

    fn finish_load(&mut self) -> Result<(), RestoreError> {
        self.engine.finish_load().map_err(|error| RestoreError(error.to_string()))
    }
}

/// An answer's bytes, at most [`MESSAGE_MAX`].
#[derive(Clone, Debug)]
pub struct Answer {
    bytes: [u8; MESSAGE_MAX],
    len: usize,
}

/// Makes exchanges. The limits are constants: a setting that changed what the engine decides would make
/// two nodes differ.
#[derive(Clone, Copy, Debug)]
pub struct ExchangeFactory {
    limits: Limits,
}

impl Default for ExchangeFactory {
    fn default() -> Self {
        Self { limits: Limits::DEFAULT }
    }
}

impl ExchangeFactory {
    /// A factory with other limits, for tests whose journals never meet a server's.
    #[must_use]
    pub const fn with_limits(limits: Limits) -> Self {
        Self { limits }
    }
}

/// Spreads the engine's hash tables. Fixed, since nothing that depends on it reaches an output; a table
/// under attack is bounded by its limit.
const HASH_SEED: u64 = 0x6f72_6461_696e_0001;

impl AppFactory for ExchangeFactory {
    type App = Exchange;

    fn identity(&self) -> (&'static str, u32) {
        ("ordain-exchange", 1)
    }

    /// 1: cancel on disconnect, remarks, market data, drop copies.
    fn level(&self) -> u16 {
        1
    }

    fn needs(&self) -> Needs {
        // The longest of the replies.
        Needs { reply: size_of::<protocol::OrderReply2>(), step_outputs: engine::STEP_OUTPUTS_MAX }
    }

    fn create(&self) -> Exchange {
        Exchange { engine: Engine::new(self.limits, HASH_SEED) }
    }
}

fn malformed(error: protocol::Malformed) -> Malformed {
    Malformed(match error {
        protocol::Malformed::Tag => "unknown message tag",
        protocol::Malformed::Schema => "this build knows no such schema version of the message",
        protocol::Malformed::Length => "wrong message length",
        protocol::Malformed::Value => "a field holds an undefined value",
    })
}

/// Schema version that the frame's header must carry.
pub const SCHEMA: u8 = 1;

fn check_schema(schema: u8) -> Result<(), Malformed> {
    if schema == SCHEMA {
        Ok(())
    } else {
        Err(Malformed("unknown schema version: this build speaks version 1"))
    }
}

/// The level that a command is part of: builds below it cannot read its bytes.
const fn level_of(request: &Request<'_>) -> u16 {
    match request {
        Request::SetDisconnect(_)
        | Request::Remark(_)
        | Request::Market(Market::SetFeed(_))
        | Request::Control(Control::GrantFirm(_)) => 1,
        _ => 0,
    }
}

/// Reads the exchange's messages.
#[derive(Clone, Copy, Debug, Default)]
pub struct ExchangeDecoder;

impl RequestDecoder<Exchange> for ExchangeDecoder {
    fn classify(&self, schema: u8, payload: &[u8]) -> Result<Class, Malformed> {
        check_schema(schema)?;
        // Requests and queries have tags of their own, so one of the two readings fails at its first byte.
        match Request::decode(payload) {
            Ok(request) => {
                let permissions = request.required_permission();
                Ok(Class { kind: ClassKind::Command, permissions, level: level_of(&request) })
            }
            Err(protocol::Malformed::Tag) => match Query::decode(payload) {
                Ok(query) => {
                    Ok(Class { kind: ClassKind::Query, permissions: query.required_permission(), level: 0 })
                }
                Err(error) => Err(malformed(error)),
            },
            Err(error) => Err(malformed(error)),
        }
    }

    fn decode<'a>(&self, schema: u8, payload: &'a [u8]) -> Result<Request<'a>, Malformed> {
        check_schema(schema)?;
        Request::decode(payload).map_err(malformed)
    }

    fn decode_query<'a>(&self, schema: u8, payload: &'a [u8]) -> Result<Query<'a>, Malformed> {
        check_schema(schema)?;
        Query::decode(payload).map_err(malformed)
    }
}

/// Writes the exchange's messages, which the engine has laid out already.
#[derive(Clone, Copy, Debug, Default)]
pub struct ExchangeEncoder;

impl ResponseEncoder<Exchange> for ExchangeEncoder {
    fn reply(&self, reply: &[u8], out: &mut Buf<'_>) {
        out.put(reply);
    }

    fn answer(&self, answer: &Answer, out: &mut Buf<'_>) {
        out.put(&answer.bytes[..answer.len]);
    }

    fn output(&self, output: &[u8], out: &mut Buf<'_>) {
        out.put(output);
    }
}
