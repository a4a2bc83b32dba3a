//! What the gateway counts.

use ordain_agent::metrics::{Gauge, Registry};

#[derive(Debug)]
pub(crate) struct Metrics {
    pub connections: Gauge,
    pub strangers: Gauge,
    pub sessions: Gauge,
    pub subscriptions: Gauge,
    pub accepted: Gauge,
    pub turned_away: Gauge,
    pub handshakes_failed: Gauge,
    pub frames: Gauge,
    pub admitted: Gauge,
    pub refused: Gauge,
    pub duplicates: Gauge,
    pub blocked: Gauge,
    pub replies: Gauge,
    pub stale: Gauge,
    pub outputs: Gauge,
    pub malformed: Gauge,
    pub too_slow: Gauge,
    pub idle: Gauge,
}

impl Metrics {
    pub fn new(registry: &Registry) -> Self {
        let counter = |name, help| registry.counter(name, help);
        let gauge = |name, help| registry.gauge(name, help);
        Self {
            connections: gauge("ordain_connections", "Client connections signed in."),
            strangers: gauge("ordain_connections_strangers", "Connections not signed in yet."),
            sessions: gauge("ordain_sessions_attached", "Sessions attached to a connection."),
            subscriptions: gauge("ordain_subscriptions", "Subscriptions to output streams."),
            accepted: counter("ordain_connections_accepted_total", "Client connections accepted."),
            turned_away: counter(
                "ordain_connections_turned_away_total",
                "Connections closed because a bound was reached.",
            ),
            handshakes_failed: counter("ordain_handshakes_failed_total", "Sign-ins that failed."),
            frames: counter("ordain_frames_received_total", "Frames received from clients."),
            admitted: counter("ordain_requests_admitted_total", "Records handed to the log."),
            refused: counter("ordain_requests_refused_total", "Requests refused before sequencing."),
            duplicates: counter("ordain_requests_repeated_total", "Requests whose number was used before."),
            blocked: counter("ordain_requests_blocked_total", "Turns that the full request ring ended."),
            replies: counter("ordain_replies_total", "Replies and answers sent."),
            stale: counter("ordain_replies_stale_total", "Replies dropped because their reign was over."),
            outputs: counter("ordain_outputs_total", "Outputs of committed batches."),
            malformed: counter(
                "ordain_connections_malformed_total",
                "Connections closed for bytes that are no frame.",
            ),
            too_slow: counter(
                "ordain_connections_too_slow_total",
                "Connections closed because they did not read.",
            ),
            idle: counter("ordain_connections_idle_total", "Connections closed for silence."),
        }
    }
}
