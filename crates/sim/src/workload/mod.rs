//! What clients ask for, and what an independent, naive model says of it.

pub mod counter;

use crate::rng::Rng;
use ordain_api::{AppFactory, Nanos, RequestDecoder, ResponseEncoder, Stream};

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

    /// The application's three parts.
    fn parts() -> (Self::Factory, Self::Decoder, Self::Encoder);

    /// A model to which nothing has happened.
    fn model() -> Self::Model;

    /// A command.
    fn command(rng: &mut Rng) -> Payload;

    /// A query.
    fn query(rng: &mut Rng) -> Payload;

    /// A payload that is no request.
    fn nonsense(rng: &mut Rng) -> Payload;

    /// What an output shows that was reached.
    fn mark(output: &[u8]) -> Option<&'static str>;

    /// A stream that clients may subscribe to.
    fn stream(rng: &mut Rng) -> Stream;
}

/// Independent of the application: written from its description, without its code.
pub trait Model {
    /// A command is executed at log time `time`; its reply's bytes.
    fn execute(&mut self, time: Nanos, payload: &[u8]) -> Vec<u8>;
}
