//! What keeps requests from being sequenced.

use crate::writer::Put;
use ordain_agent::metrics::{Gauge, Registry};

/// Cycles in which requests waited, by what they waited for.
#[derive(Debug)]
pub(super) struct Waits {
    pub(super) ring: Gauge,
    pub(super) room: Gauge,
    pub(super) copies: Gauge,
    pub(super) questions: Gauge,
}

impl Waits {
    pub(super) fn new(registry: &Registry) -> Self {
        let count = |cause| {
            let help = "Cycles in which requests waited, by cause.";
            registry.labelled_counter("ordain_log_blocked_total", ("cause", cause), help)
        };
        Self {
            ring: count("ring"),
            room: count("room"),
            copies: count("copies"),
            questions: count("questions"),
        }
    }

    /// What was to be put into the log was not.
    pub(super) fn note(&self, put: Put) {
        match put {
            Put::Done => {}
            Put::RingFull => self.ring.add(1),
            Put::NoRoom => self.room.add(1),
        }
    }
}
