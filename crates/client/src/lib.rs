//! A client of an Ordain cluster, by `docs/format/client.md`.
//!
//! * [`core`]: the protocol without I/O: bytes and time in, bytes and events out.
//! * [`blocking`]: one call at a time, for programs that wait.
//! * [`pipelined`]: many requests in flight without waiting, for programs that must not.
//!
//! A request is executed exactly once while its session lives, whatever happens to connections: unanswered
//! requests are kept, and asked again under the same numbers after a reconnect.
#![forbid(unsafe_code)]

pub mod blocking;
pub mod core;
pub mod pipelined;
mod socket;

pub use crate::core::{ClientCore, Event, Outcome, ProtocolError, RequestId};
pub use crate::socket::{Address, ClientConfig, ClientError};
