//! The shell around the stages: threads, the disk, sockets, the clock, configuration, operation. The only
//! place of a node with system calls and threads.
#![forbid(unsafe_code)]

pub mod address;
pub mod aside;
pub mod clock;
pub mod config;
pub mod direct;
pub mod disk;
pub mod doorbell;
pub mod facts;
pub mod floors;
pub mod keys;
pub mod members;
pub mod memory;
pub mod net;
pub mod ops;
pub mod peers;
mod run;
pub mod runner;
pub mod server;
pub mod witness;

pub use run::run;
