//! A client of an Ordain cluster. The protocol is in `docs/format/client.md`.
//!
//! * [`ClientCore`]: the protocol without sockets, clock or randomness.
//! * [`blocking::Client`]: one call at a time.
//! * [`pipelined::Client`]: many requests under way, for gateways and load generators.
//!
//! Each has one session at a time, goes on with it over connections and nodes, and reports exactly one
//! [`Outcome`] for each request.
#![forbid(unsafe_code)]

pub mod blocking;
mod core;
mod driver;
mod event;
mod outbox;
mod pending;
pub mod pipelined;

pub use crate::core::{ClientCore, CoreConfig, QUERIES_MAX, SUBSCRIPTIONS_MAX, SessionWish, SubmitError};
pub use driver::{ClientConfig, ConnectError, Member};
pub use event::{Completion, Ending, Event, Outcome, QueryError, QueryId, Ticket};
