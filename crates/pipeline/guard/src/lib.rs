//! What guards a node against itself: its state against what the other nodes computed. See
//! `docs/adr/0019-divergence.md`.
//!
//! * [`agree`]: compares, and says who is the odd one.
//! * [`watch`]: the part in the log stage, which has the connections.
//! * [`guard`]: the agent in the background, which has a lane to the disk.
#![forbid(unsafe_code)]

pub mod agree;
pub mod guard;
pub mod watch;

pub use guard::{Guard, GuardParts};
pub use watch::{Watch, WatchParts};

use zerocopy::little_endian::U64;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bytes of each of the two rings between [`Watch`] and [`Guard`].
pub const RING: usize = 1 << 20;

/// What stands in front of a message in one of the rings.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Note {
    /// A frame's kind, or [`EVIDENCE`].
    kind: U64,
    /// The other node, if it is about one.
    node: U64,
}

/// Behind the note: why this node must stop, in words.
const EVIDENCE: u64 = 1;
