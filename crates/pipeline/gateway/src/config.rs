//! Bounds of a gateway, each with its reason.

use ordain_keys::KeyPair;
use ordain_types::Nanos;

/// See the module.
#[derive(Clone, Debug)]
pub struct GatewayConfig {
    /// The node's own key, proved to every client.
    pub key: KeyPair,
    /// 32 secret random bytes from which handshake nonces are derived: randomness comes in once.
    pub nonce_secret: [u8; 32],
    /// Connections in all: bounds memory (each costs its two buffers).
    pub connections_max: usize,
    /// Of these, kept for operators: whoever floods the node cannot lock them out.
    pub operator_reserve: usize,
    /// Connections that have not signed in: bounds what strangers can hold.
    pub strangers_max: usize,
    /// A connection that has not signed in after this long is closed: half-open ones go away.
    pub handshake_timeout: Nanos,
    /// A connection without a frame for this long is closed; told to the client, which pings.
    pub idle_timeout: Nanos,
    /// Sessions that may be attached to one connection: bounds the work of closing it.
    pub sessions_per_connection: usize,
    /// Streams that one connection may read: bounds the work of serving it.
    pub subscriptions_per_connection: usize,
    /// Bytes of outputs kept for those who read late.
    pub outputs_bytes: usize,
}

impl GatewayConfig {
    /// The defaults.
    #[must_use]
    pub const fn new(key: KeyPair, nonce_secret: [u8; 32]) -> Self {
        Self {
            key,
            nonce_secret,
            connections_max: 1024,
            operator_reserve: 8,
            strangers_max: 128,
            handshake_timeout: Nanos(5 * Nanos::SECOND),
            idle_timeout: Nanos(60 * Nanos::SECOND),
            sessions_per_connection: 256,
            subscriptions_per_connection: 256,
            outputs_bytes: 16 * 1024 * 1024,
        }
    }
}
