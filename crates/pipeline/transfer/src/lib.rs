//! Snapshots between nodes: what each holds, how far all may trim, and how a node that lacks what is gone comes by it.
//! See `docs/adr/0018-snapshots-between-nodes.md`.
//!
//! * [`message`]: the frames.
//! * [`exchange`]: the [`Side`](ordain_agent::side::Side) that sends and takes them, with a sending and a receiving end.
//! * [`succession`]: a snapshot that was received takes the log's place.
#![forbid(unsafe_code)]

pub mod exchange;
mod fetch;
pub mod message;
mod serve;
pub mod succession;

pub use exchange::{Exchange, ExchangeParts, SnapshotLanes};
pub use fetch::REST;
pub use succession::{Succeed, SuccessionError};
