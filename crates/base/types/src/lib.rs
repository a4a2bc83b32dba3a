//! Number spaces and byte layouts that every part of Ordain shares.
//!
//! * [`units`]: one newtype per number space, and which bug each prevents.
//! * [`record`]: what a client's request is, from its socket to the audit.
//! * [`batch`]: the unit of agreement, of journaling and of replication.
//! * [`frame`]: what a node sends to a client, and the control frames both sides exchange.
//! * [`members`]: the nodes of a cluster.
//! * [`control`], [`configuration`]: what the log says of the cluster itself.
//! * [`roster`]: what a node says of its cluster.
//! * [`steer`]: what an operator asks of a running cluster.
//! * [`lineage`]: what a declared loss leaves in the log.
//! * [`receipt`]: what a client keeps to see later whether history was changed.
//! * [`codes`]: why a request was refused, and what became of it.
//!
//! Nothing here does I/O or reads a clock; what is on the path of a request allocates nothing.
#![forbid(unsafe_code)]

pub mod batch;
pub mod codes;
pub mod configuration;
pub mod control;
pub mod facts;
pub mod frame;
pub mod lineage;
mod log_end;
pub mod members;
pub mod receipt;
pub mod record;
pub mod roster;
pub mod steer;
pub mod units;

pub use batch::{BatchHeader, BatchKind, BatchView};
pub use configuration::Configuration;
pub use facts::ClusterFacts;
pub use log_end::LogEnd;
pub use receipt::Receipt;
pub use record::{RecordHeader, RecordKind, RecordView};
pub use units::*;

/// Rounds `value` up to the next multiple of `align`, a power of two.
#[must_use]
pub const fn align_up(value: usize, align: usize) -> usize {
    debug_assert!(align.is_power_of_two());
    (value + align - 1) & !(align - 1)
}
