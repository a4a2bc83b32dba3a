//! The shell around the stages: threads, the disk, sockets, the clock, configuration, operation. The only
//! place of a node with system calls and threads.
#![forbid(unsafe_code)]

pub mod clock;
pub mod disk;
pub mod doorbell;
pub mod net;
pub mod runner;
