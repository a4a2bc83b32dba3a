//! What guards a node against itself: its state against what the other nodes computed (`docs/adr/0019-divergence.md`), its
//! segments against a disk that forgets (`docs/adr/0025-scrubbing.md`).
//!
//! * [`agree`]: compares, and says who is the odd one.
//! * [`pull`]: ranges of the log between nodes; [`lend`]: where they are read.
//! * [`watch`]: the part in the log stage, which has the connections.
//! * [`guard`]: the agent in the background, which has a lane to the disk.
#![forbid(unsafe_code)]

pub mod agree;
pub mod guard;
mod keeper;
pub mod lend;
pub mod pull;
pub mod watch;

pub use guard::{Guard, GuardParts};
pub use watch::{Watch, WatchParts};

use zerocopy::little_endian::U64;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bytes of each of the two rings between [`Watch`] and [`Guard`]: a message is at most a quarter of a ring.
pub const RING: usize = 1 << 21;

const _: () = assert!(size_of::<Note>() + ordain_journal::PULL_MAX as usize <= RING / 4 - 64);

/// What stands in front of a message in one of the rings.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Note {
    /// One of those below.
    kind: U64,
    /// The other node, if it is about one.
    node: U64,
    /// The log position, if it is about one.
    place: U64,
}

impl Note {
    /// About nothing else.
    fn of(kind: u64) -> Self {
        Self { kind: kind.into(), node: 0.into(), place: 0.into() }
    }
}

/// To the guard. Behind the note: why this node must stop, in words.
const EVIDENCE: u64 = 1;
/// To the guard: a node asks for a range of the log, which is behind the note.
const ASKED: u64 = 2;
/// To the guard: what there is from a position on is behind the note; nothing, if nobody has anything.
const PULLED: u64 = 3;
/// To the watch: the range behind the note is to be asked for.
const PULL: u64 = 4;
/// To the watch: a node is to be sent what is behind the note.
const GIVE: u64 = 5;
