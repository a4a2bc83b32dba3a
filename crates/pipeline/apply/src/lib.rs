//! Apply: the one path by which the log becomes state, replies and outputs.
//!
//! * [`Replica`]: an application, the session and key tables and the output counters; pure, and the same for
//!   a leader, a follower, recovery and audit.
//! * [`Apply`]: the stage that steps it, between the log and the gateway.
//! * [`snapshot`]: the whole of it as bytes, equal for equal states; [`Restore`] finds the newest on disk.
//! * [`Shadow`]: the stage that keeps a second copy and stores its snapshots.
//! * [`testkit`]: runs an application live, replayed and restored side by side.
#![forbid(unsafe_code)]

mod agent;
mod check;
mod deliver;
mod digest;
mod keys;
mod replica;
mod replies;
mod restore;
mod sessions;
mod shadow;
pub mod snapshot;
mod source;
mod state;
pub mod testkit;

pub use agent::{Apply, Parts, delivery_ring_min};
pub use check::{Check, PART_MAX};
pub use deliver::{Collect, Discard, Emit, MESSAGE_MAX};
pub use keys::KEYS_MAX;
pub use replica::{Counts, Querier, Replica};
pub use restore::{Progress, Restore, Restored};
pub use shadow::{Shadow, ShadowParts};
pub use source::BatchSource;
