//! The gateway: all client connections, in both directions. See `docs/adr/0001-gateway.md`, and
//! `docs/format/client.md` for the protocol.
//!
//! * `connection`: what is known of a connection, of the sessions attached to it, and of keys.
//! * `ingress`: frames in, handshakes, admission; what is admitted goes to the log stage.
//! * `egress`: answers and outputs out, once the copies that they wait for exist.
#![forbid(unsafe_code)]

mod config;
mod connection;
mod egress;
mod ingress;
mod stage;

pub use config::GatewayConfig;
pub use stage::{Gateway, GatewayParts};
