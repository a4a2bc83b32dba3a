//! CPU time of consensus per batch, three voters, each batch streamed alone: the leader's share and one
//! follower's, with the codec. `cargo bench -p ordain-consensus`.

#[path = "../tests/common/steady.rs"]
mod steady;

use std::time::Instant;
use steady::{Follower, Leader};

const BATCHES: u32 = 2_000_000;
const ROUNDS: usize = 5;

/// Nanoseconds a batch.
fn measure(mut batch: impl FnMut()) -> f64 {
    let start = Instant::now();
    (0..BATCHES).for_each(|_| batch());
    start.elapsed().as_nanos() as f64 / f64::from(BATCHES)
}

fn main() {
    for _ in 0..ROUNDS {
        let (mut leader, mut follower) = (Leader::new(), Follower::new());
        let (leader, follower) = (measure(|| leader.batch()), measure(|| follower.batch()));
        println!("leader {leader:>5.0} ns/batch   follower {follower:>5.0} ns/batch");
    }
}
