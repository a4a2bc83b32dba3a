//! Stalls during a measurement: whether one slow disk or one slow node shows in what clients see.

use crate::child::OwnCluster;
use crate::error::Result;
use clap::ValueEnum;
use serde::Serialize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What stalls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Stall {
    /// The leader's disk: it syncs nothing
    LeaderDisk,
    /// A follower's disk
    FollowerDisk,
    /// A follower's process: it is frozen
    Follower,
}

/// From one stall to the next.
const EVERY: Duration = Duration::from_secs(1);
/// Between two looks at whether it is over.
const LOOK: Duration = Duration::from_millis(5);

/// Stalls for `lasts` in each second until `ends`, and says how often.
pub fn keep_stalling(cluster: &OwnCluster, what: Stall, lasts: Duration, ends: &AtomicBool) -> Result<u64> {
    let mut count = 0;
    let pause = |time: Duration| {
        let mut rest = time;
        while !rest.is_zero() && !ends.load(Ordering::Relaxed) {
            std::thread::sleep(rest.min(LOOK));
            rest = rest.saturating_sub(LOOK);
        }
    };
    while !ends.load(Ordering::Relaxed) {
        pause(EVERY.saturating_sub(lasts));
        let Some(leader) = cluster.leads() else { continue };
        let follower = (leader + 1) % cluster.nodes().count();
        let stall = |stalled: bool| match what {
            Stall::LeaderDisk => cluster.stall_disk(leader, stalled),
            Stall::FollowerDisk => cluster.stall_disk(follower, stalled),
            Stall::Follower => cluster.freeze(follower, stalled),
        };
        stall(true)?;
        count += 1;
        pause(lasts);
        stall(false)?;
    }
    Ok(count)
}
