//! Bounds of a gateway, each with its reason.

use ordain_keys::KeyPair;
use ordain_types::{Configuration, Nanos, NodeId};
use std::sync::Arc;

/// See the module. None of the bounds changes what is executed.
#[derive(Clone, Debug)]
pub struct GatewayConfig {
    /// The node's own key, proved to every client.
    pub key: KeyPair,
    /// 32 secret random bytes from which handshake nonces are derived: randomness comes in once.
    pub nonce_secret: [u8; 32],
    /// Connections in all: bounds memory (each costs its two buffers). The port must take as many.
    pub connections_max: usize,
    /// Of these, kept for operators: whoever floods the node cannot lock them out.
    pub operator_reserve: usize,
    /// Of these, kept for connections that have not signed in, at most a quarter. When all are taken, the
    /// oldest stranger makes room for the next: half-open connections crowd out each other, not a client
    /// that signs in at once.
    pub strangers_max: usize,
    /// A connection that has not signed in after this long is closed: half-open ones go away.
    pub handshake_timeout: Nanos,
    /// Frames of sign-ins handled per cycle. One costs up to 0.1 ms of signature arithmetic: more would let
    /// a flood of sign-ins hold up the requests of those who are signed in.
    pub sign_ins_per_cycle: usize,
    /// A connection without a frame for this long is closed; told to the client, which pings.
    pub idle_timeout: Nanos,
    /// Sessions that may be attached to one connection: bounds the work of closing it.
    pub sessions_per_connection: usize,
    /// Queries, resumes, repetitions and subscribes of one connection that may be unanswered. Beyond, the
    /// connection is not read: one client cannot fill apply's queue.
    pub questions_per_connection: usize,
    /// Streams that one connection may read: bounds the work of serving it.
    pub subscriptions_per_connection: usize,
    /// While the journal syncs, what clients send may wait this long, to be taken together: a sync could not
    /// carry it anyway, and each waking and reading costs. 0 where another thread than the journal's takes it,
    /// which has nothing better to do.
    pub input_delay: Nanos,
    /// Bytes of outputs kept for those who read late: a multiple of 8, at least
    /// [`ordain_outputs::CAPACITY_MIN`].
    pub outputs_bytes: usize,
    /// This node: told to those who ask for the members.
    pub node: NodeId,
    /// The key that the cluster's first record trusts: told to operators, who make new nodes.
    pub founder: [u8; 32],
    /// What the cluster was made with: told for the same reason.
    pub made: Option<Arc<Configuration>>,
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
            sign_ins_per_cycle: 2,
            idle_timeout: Nanos(60 * Nanos::SECOND),
            sessions_per_connection: 256,
            questions_per_connection: 64,
            subscriptions_per_connection: 256,
            input_delay: Nanos::ZERO,
            outputs_bytes: 16 * 1024 * 1024,
            node: NodeId::ZERO,
            founder: [0; 32],
            made: None,
        }
    }

    /// Strangers at a time.
    pub(crate) fn strangers(&self) -> usize {
        self.strangers_max.min(self.connections_max / 4).max(1)
    }

    /// Signed-in connections at a time. One less than the rest, so that the port always takes a newcomer.
    pub(crate) fn signed_in(&self) -> usize {
        self.connections_max.saturating_sub(self.strangers() + 1).max(1)
    }

    /// Of these, those of clients.
    pub(crate) fn clients(&self) -> usize {
        self.signed_in().saturating_sub(self.operator_reserve)
    }
}
