//! The journal: the log on a disk, and what a node remembers beside it.
//!
//! * [`Journal`]: the stage that writes the log ring to segments and syncs it, keeps the node state, prepares
//!   segments ahead of the log and takes part in cutting it.
//! * [`Recovery`]: finds the end of the log at start, and tells torn from corrupt.
//! * [`Force`]: goes on with a log where only an operator can decide to (rule R7).
//! * [`LogReader`]: the log's batches in order, from segments first and from the ring where it has caught up.
//! * [`Scrub`]: reads sealed segments again and again; [`Mend`]: makes a whole copy of a damaged one.
//! * [`audit`]: the same checks over a data directory at rest, for tools.
//!
//! Everything goes through the [`Disk`](ordain_agent::disk::Disk) port; nothing here opens a file or reads a
//! clock. The bytes are in `docs/format/journal.md`.
#![forbid(unsafe_code)]

pub mod audit;
mod force;
mod journal;
mod mend;
mod reader;
mod recovery;
mod scrub;
mod state;
mod verify;

pub use force::{Declaration, Force, Forced};
pub use journal::{Journal, Lanes, Metrics};
pub use mend::{Mend, Mended, PULL_MAX};
pub use reader::{LogReader, Peek, ReadError};
pub use recovery::{Anchor, Damage, Judgement, Recovered, Recovery, RecoveryError, judge};
pub use scrub::{Rot, Scrub, Scrubbed};
pub use state::{
    Floor, Mark, NODE_STATE_LEN, NodeState, OsBoot, SLOT_LEN, SlotFault, StateFault, read_state, succeed,
    write_state,
};
pub use verify::{Fault, TermStart, Verifier};
