//! Cluster facts: what must be equal on every node, because the log's bytes or the application's outputs
//! depend on it. A node refuses to join, or to open a journal, whose fingerprint differs. Everything
//! else (addresses, threads, ring size) is a fact of one node.

use crate::{ClusterId, Nanos};

/// How many copies must exist before a response leaves (`docs/guarantees.md`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct AckPolicy {
    /// Nodes that hold the batch in memory or on disk.
    pub received: u32,
    /// Of these, nodes that have synced it.
    pub durable: u32,
}

impl AckPolicy {
    /// One synced copy: the only policy of a lone node.
    pub const ONE_DISK: Self = Self { received: 1, durable: 1 };
    /// The default for three nodes: two copies, one of them synced.
    pub const DISK_RAM: Self = Self { received: 2, durable: 1 };
    /// Two synced copies.
    pub const TWO_DISKS: Self = Self { received: 2, durable: 2 };

    /// The default: copies on a majority, one of them synced. With three voters [`AckPolicy::DISK_RAM`].
    #[must_use]
    pub const fn majority(voters: u32) -> Self {
        Self { received: voters / 2 + 1, durable: 1 }
    }

    /// Whether copies count that are not synced: only then can a node lose, with its memory, what counted.
    #[must_use]
    pub const fn counts_memory(self) -> bool {
        self.received > self.durable
    }

    /// Whether `0 <= durable <= received <= floor(n/2)+1` and `1 <= received <= n`.
    #[must_use]
    pub const fn is_valid(self, voters: u32) -> bool {
        self.durable <= self.received
            && self.received >= 1
            && self.received <= voters / 2 + 1
            && self.received <= voters
    }
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterFacts {
    /// Identity.
    pub cluster: ClusterId,
    /// When the cluster was created, nanoseconds since the Unix epoch: batch time of the genesis.
    pub created: Nanos,
    /// Voters.
    pub voters: u32,
    /// Copies that gate a response.
    pub policy: AckPolicy,
    /// W of the relaxed-acknowledgement rule: batches that a node may hold un-synced and still count as
    /// received, and by which reported durability may run ahead of the stored watermark.
    pub unsynced_max: u64,
    /// Bytes of a segment: a multiple of [`crate::batch::BATCH_ALIGN`], at least twice `batch_max`.
    pub segment_size: u64,
    /// Longest batch, bytes, at most [`crate::batch::BATCH_MAX`].
    pub batch_max: u32,
    /// Longest request payload, bytes, at most [`crate::record::PAYLOAD_MAX`].
    pub payload_max: u32,
    /// Sessions in all: bounds the replicated table.
    pub sessions_max: u32,
    /// Sessions of one key: one client cannot take the whole table.
    pub sessions_per_key: u32,
    /// Requests of one session that may be open, so replies kept.
    pub window: u32,
    /// Longest reply, bytes, at most [`crate::frame::REPLY_MAX`].
    pub reply_max: u32,
    /// A session without a record for this long, in log time, expires.
    pub session_timeout: Nanos,
    /// Outputs that one step of the application may emit.
    pub step_outputs_max: u32,
}

impl ClusterFacts {
    /// The defaults for a cluster of `voters` nodes.
    #[must_use]
    pub const fn new(cluster: ClusterId, created: Nanos, voters: u32) -> Self {
        Self {
            cluster,
            created,
            voters,
            policy: AckPolicy::majority(voters),
            unsynced_max: 1024,
            segment_size: 64 * 1024 * 1024,
            batch_max: crate::batch::BATCH_MAX as u32,
            payload_max: crate::record::PAYLOAD_MAX as u32,
            sessions_max: 4096,
            sessions_per_key: 1024,
            window: 1024,
            reply_max: crate::frame::REPLY_MAX as u32,
            session_timeout: Nanos(600 * Nanos::SECOND),
            step_outputs_max: 64,
        }
    }

    /// What is wrong with the facts, in words for the operator.
    ///
    /// # Errors
    /// The first violated bound.
    pub fn check(&self) -> Result<(), String> {
        let need = |holds: bool, what: &str| if holds { Ok(()) } else { Err(what.to_owned()) };
        let align = crate::batch::BATCH_ALIGN as u64;
        let record = crate::record::record_len(self.payload_max as usize) + crate::batch::BATCH_HEADER;
        need(self.voters >= 1 && self.voters <= 9, "voters: between 1 and 9")?;
        need(
            self.policy.is_valid(self.voters),
            "ack policy: 0 <= durable <= received <= floor(voters/2)+1, and at least one received copy",
        )?;
        need(
            self.voters > 1 || self.policy.durable == 1,
            "ack policy: a lone node must sync, or it could not lead again after a power loss",
        )?;
        need(self.unsynced_max >= 16, "unsynced_max: at least 16 batches")?;
        need(self.batch_max as usize <= crate::batch::BATCH_MAX, "batch_max: at most 128 KiB")?;
        need(u64::from(self.batch_max).is_multiple_of(align), "batch_max: a multiple of 128 bytes")?;
        need(record <= self.batch_max as usize, "batch_max: must hold one record of payload_max")?;
        need(self.segment_size.is_multiple_of(align), "segment_size: a multiple of 128 bytes")?;
        need(self.segment_size >= 2 * u64::from(self.batch_max), "segment_size: at least two batches")?;
        need(self.payload_max as usize <= crate::record::PAYLOAD_MAX, "payload_max: at most 64 KiB")?;
        need(self.reply_max as usize <= crate::frame::REPLY_MAX, "reply_max: at most 1 KiB")?;
        need(self.window >= 1 && self.window <= 65_535, "window: between 1 and 65,535 requests")?;
        need(self.sessions_max >= 1 && self.sessions_per_key >= 1, "sessions: at least one")?;
        need((1..=4096).contains(&self.step_outputs_max), "step_outputs_max: between 1 and 4096")
    }

    /// All facts but the identity, in the order of the fields.
    #[must_use]
    pub fn numbers(&self) -> [u64; 14] {
        [
            self.created.0,
            u64::from(self.voters),
            u64::from(self.policy.received),
            u64::from(self.policy.durable),
            self.unsynced_max,
            self.segment_size,
            u64::from(self.batch_max),
            u64::from(self.payload_max),
            u64::from(self.sessions_max),
            u64::from(self.sessions_per_key),
            u64::from(self.window),
            u64::from(self.reply_max),
            self.session_timeout.0,
            u64::from(self.step_outputs_max),
        ]
    }

    /// 32 bytes that differ whenever a fact differs; exchanged in handshakes and kept with the journal.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 32] {
        let mut hash = blake3::Hasher::new_derive_key("ordain cluster facts v1");
        hash.update(&self.cluster.0);
        for number in self.numbers() {
            hash.update(&number.to_le_bytes());
        }
        *hash.finalize().as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid() {
        for voters in [1, 3, 5] {
            ClusterFacts::new(ClusterId::default(), Nanos(1), voters).check().unwrap();
        }
    }

    #[test]
    fn a_policy_beyond_a_majority_is_refused() {
        assert!(!AckPolicy { received: 3, durable: 1 }.is_valid(3));
        assert!(!AckPolicy { received: 1, durable: 2 }.is_valid(3));
        assert!(AckPolicy::TWO_DISKS.is_valid(3));
        assert_eq!(AckPolicy::majority(1), AckPolicy::ONE_DISK);
        assert_eq!(AckPolicy::majority(3), AckPolicy::DISK_RAM);
    }
}
