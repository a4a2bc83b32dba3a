//! Lock-free rings between the stages of one node.
//!
//! * [`log`]: the log itself, bytes in place. One producer; consumers that gate it join and leave at run time.
//! * [`spsc`]: bounded byte messages from one thread to another.
//!
//! Every operation is a try: it takes a bounded number of steps, and never spins, blocks, allocates or makes
//! a system call (joining a ring and making one apart). This is the only crate of `base` with `unsafe` in it,
//! and all of it stands on one rule: nobody writes a byte that somebody else may read.
//! `memory` states the rule, each ring says how its cursors keep it, and the loom models in `tests/loom.rs`
//! search the interleavings and the weak orderings for a way to break it:
//!
//! ```text
//! RUSTFLAGS="--cfg loom" cargo test -p ordain-ring --release --target-dir target/loom --test loom
//! ```
#![deny(missing_docs)]

pub mod log;
mod memory;
pub mod spsc;
mod sync;
