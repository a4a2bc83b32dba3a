//! A whole cluster in one thread: the production stages over a simulated disk, network and clock, stepped
//! by a seeded scheduler, with faults, and with checkers that know what must hold.
//!
//! A seed decides everything: who runs next and how far, how long each operation takes, what fails and
//! when, what clients ask. Equal seeds give equal runs, byte for byte.
#![forbid(unsafe_code)]

pub mod audit;
pub mod bend;
pub mod client;
pub mod configs;
pub mod disk;
pub mod history;
pub mod life;
pub mod net;
pub mod operator;
pub mod partition;
pub mod peers;
pub mod plan;
#[cfg(feature = "planted")]
pub mod planted;
pub mod rng;
pub mod rogue;
pub mod run;
pub mod scenario;
pub mod scheme;
pub mod shadow;
pub mod trace;
pub mod workload;
pub mod world;
