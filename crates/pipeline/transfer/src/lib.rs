//! Snapshots between nodes: what each holds, and how far all may trim. See `docs/adr/0018-snapshots-between-nodes.md`.
//!
//! * [`message`]: the frames.
//! * [`exchange`]: the [`Side`](ordain_agent::side::Side) that sends and takes them.
#![forbid(unsafe_code)]

pub mod exchange;
pub mod message;

pub use exchange::{Exchange, ExchangeParts};
