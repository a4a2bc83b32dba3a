//! What clients ask for, and what an independent, naive model says of it.

pub mod counter;

use crate::rng::Rng;
use ordain_api::{
    AppFactory, Context, Nanos, Presence, RequestDecoder, ResponseEncoder, SessionId, Stream, permission,
};

/// A payload with its schema version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// Schema version.
    pub schema: u8,
    /// Bytes.
    pub bytes: Vec<u8>,
}

/// An application under simulation.
pub trait Workload: 'static {
    /// Makes the application.
    type Factory: AppFactory + Clone;
    /// Reads its requests.
    type Decoder: RequestDecoder<<Self::Factory as AppFactory>::App>;
    /// Writes its replies.
    type Encoder: ResponseEncoder<<Self::Factory as AppFactory>::App>;
    /// Knows what must come out.
    type Model: Model;
    /// Makes up what one client asks.
    type Author: Author;

    /// The application's three parts.
    fn parts() -> (Self::Factory, Self::Decoder, Self::Encoder);

    /// A model to which nothing has happened.
    fn model() -> Self::Model;

    /// The author of client number `client`, whose key is number `client + 1` in the log.
    fn author(client: usize) -> Self::Author;

    /// What the key of client number `client` is permitted.
    fn permissions(client: usize) -> u32 {
        let _ = client;
        permission::APPLICATION
    }

    /// A payload that is no request.
    fn nonsense(rng: &mut Rng) -> Payload;

    /// What is wrong with the application at the end of the log, by its own audit and by the model's.
    ///
    /// # Errors
    /// The first thing.
    fn check_end(app: &<Self::Factory as AppFactory>::App, model: &Self::Model) -> Result<(), String> {
        let _ = (app, model);
        Ok(())
    }
}

/// Makes up what one client asks.
pub trait Author {
    /// A command.
    fn command(&mut self, rng: &mut Rng) -> Payload;

    /// A query.
    fn query(&mut self, rng: &mut Rng) -> Payload;

    /// A stream to subscribe to.
    fn stream(&mut self, rng: &mut Rng) -> Stream;

    /// A command was answered.
    fn hear(&mut self, reply: &[u8]) {
        let _ = reply;
    }
}

/// What comes of an event, byte for byte.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// The reply; empty if the event is a deadline.
    pub reply: Vec<u8>,
    /// Outputs with their streams, in order.
    pub outputs: Vec<(Stream, Vec<u8>)>,
    /// Whether the session that asked is watched from here on, if the event decides that.
    pub watch: Option<bool>,
    /// What a series of runs should reach and the event did.
    pub reached: Vec<&'static str>,
}

/// Independent of the application: written from its description, without its code.
pub trait Model {
    /// A batch begins, the first record of which would have the number `about.seq`: deadlines up to `until`, which is no
    /// later than its time, pass.
    fn pass(&mut self, until: Nanos, about: &Context) -> Said {
        let _ = (until, about);
        Said::default()
    }

    /// A level of behaviour begins.
    fn begin_level(&mut self, level: u16) {
        let _ = level;
    }

    /// What became of a watched session's connection.
    fn presence(&mut self, session: SessionId, presence: Presence, time: Nanos) {
        let _ = (session, presence, time);
    }

    /// A command is executed.
    fn execute(&mut self, about: &Context, payload: &[u8]) -> Said;

    /// Answers a query.
    fn query(&self, about: &Context, payload: &[u8]) -> Vec<u8>;
}
