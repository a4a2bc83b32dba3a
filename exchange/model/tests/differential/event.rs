//! What a stream is made of, and what comes of it.

use ordain_exchange_engine::Context;
use ordain_exchange_protocol::Audience;

/// Something done to both.
#[derive(Clone)]
pub enum Event {
    Request(Context, Vec<u8>),
    Query(Context, Vec<u8>),
    /// What the log says of a session's client, at a time.
    Presence(u64, Presence, u64),
    /// A level of behaviour begins.
    Level(u16),
    /// The engine is saved, and one with another hash seed goes on in its place.
    Restore,
}

/// What became of a session's client.
#[derive(Clone, Copy, Debug)]
pub enum Presence {
    Lost,
    Unproved,
    Back,
    Ended,
}

/// What both said to an event.
#[derive(Default)]
pub struct Said {
    /// The reply to a request, the answer to a query.
    pub reply: Vec<u8>,
    pub outputs: Vec<(Audience, Vec<u8>)>,
    pub steps: u32,
    /// The answers to the queries that compared the states, as far as they are lists.
    pub pages: Vec<Vec<u8>>,
}
