//! CPU time of consensus per batch, three voters, each batch streamed alone: the leader's share and one
//! follower's, with the codec. `cargo bench -p ordain-consensus`. Of a leader, a batch is six inputs (appended, written,
//! synced, watermark, two acknowledgements), two `Append` frames made and encoded, two `Ack` frames encoded and decoded,
//! and one effect. Of a follower it is five inputs (the frame, its batch, written, synced, watermark), one `Append`
//! encoded and decoded, and three effects (two acknowledgements, a commitment). A number behind `--` is that of batches a
//! round, as few as a tool that counts instructions can bear.

#[path = "../tests/common/steady.rs"]
mod steady;

use std::time::Instant;
use steady::{Follower, Leader};

const BATCHES: u32 = 2_000_000;
const ROUNDS: usize = 5;

/// Nanoseconds a batch.
fn measure(batches: u32, mut batch: impl FnMut()) -> f64 {
    let start = Instant::now();
    (0..batches).for_each(|_| batch());
    start.elapsed().as_nanos() as f64 / f64::from(batches)
}

fn main() {
    let batches = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(BATCHES);
    for _ in 0..ROUNDS {
        let (mut leader, mut follower) = (Leader::new(), Follower::new());
        let leader = measure(batches, || leader.batch());
        let follower = measure(batches, || follower.batch());
        println!("leader {leader:>5.0} ns/batch   follower {follower:>5.0} ns/batch");
    }
}
