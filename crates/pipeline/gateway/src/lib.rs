//! The gateway: all client connections, in both directions. See `docs/adr/0001-gateway.md`, and
//! `docs/format/client.md` for the protocol.
//!
//! * [`stage`]: the agent and its duty cycle.
//! * [`table`]: connections, and the sessions attached to them; [`subscriptions`]: who reads which outputs.
//! * [`sign_in`]: the handshake.
//! * [`ingress`]: frames are judged where the port received them; what is admitted is copied once, into the
//!   request ring.
//! * [`cluster`]: who the members are, and an operator's changes.
//! * [`egress`]: what apply delivers waits until the copies that it needs exist, and is copied once, into the
//!   connection's send buffer.
//!
//! The log is the authority on numbers and sessions. What the gateway keeps of them is a copy, right while
//! this node leads and one gateway serves a session: it filters, and is thrown away when the lead ends.
#![forbid(unsafe_code)]

mod cluster;
mod config;
mod egress;
mod ingress;
mod metrics;
mod sign_in;
mod stage;
mod subscriptions;
mod table;

pub use config::GatewayConfig;
pub use stage::{Gateway, GatewayParts, REQUEST_RING_MIN};
