//! Ordain: a deterministic, replicated sequencer for applications whose every event must be ordered,
//! persisted and replayed exactly.
//!
//! An application is four traits ([`api`]); [`server::run`] makes a node of it:
//!
//! ```no_run
//! use ordain::{ServerConfig, server};
//! use ordain_counter::{CounterDecoder, CounterEncoder, CounterFactory};
//!
//! fn main() -> Result<(), server::ServerError> {
//!     server::run(ServerConfig::parse(), CounterFactory, CounterDecoder, CounterEncoder, None)
//! }
//! ```
//!
//! [`client`] is how a program talks to it. `examples/counter` is a whole server and client.
#![forbid(unsafe_code)]

pub use ordain_api as api;
pub use ordain_client as client;
pub use ordain_host::config::ServerConfig;
pub use ordain_keys as keys;
pub use ordain_types as types;

/// Running a node.
pub mod server {
    pub use ordain_host::run;
    pub use ordain_host::server::{Addresses, Hooks, ServerError, StopHandle};
}

/// Reading and making key files.
pub mod key_files {
    pub use ordain_host::keys::{FOLDER, KeyFileError, NODE, OPERATOR, create, load};
}

/// Compiles the code of the tutorial.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/tutorial.md")]
struct Tutorial;
