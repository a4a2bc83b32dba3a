//! The log stage: the one writer of the log ring. On a leader it puts what clients ask for into batches;
//! on a follower it takes the leader's batches as they are; in between it runs elections. See
//! `docs/adr/0002-log-stage.md`.
//!
//! * [`writer`]: records into sealed batches in ring memory, numbers, chain, segments.
//! * [`stage`]: the agent: requests, peers, consensus, commitment.
#![forbid(unsafe_code)]

mod lineage;
mod sides;
pub mod stage;
pub mod writer;

pub use stage::{Log, LogConfig};
pub use writer::{Put, Stamp, Writer};
