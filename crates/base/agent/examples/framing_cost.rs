//! What it costs to put a prefix in front of a frame and to check it: nanoseconds a frame, with and without checksums.
//!
//!     cargo run --release -p ordain-agent --example framing_cost

use ordain_agent::framing::Framing;
use std::hint::black_box;
use std::time::Instant;

const ROUNDS: u32 = 5_000_000;

fn main() {
    println!("{:<28} {:>8} {:>8}", "frame", "plain", "checked");
    for (name, covered, batches) in
        [("acknowledgement", 64, 0), ("append of 16 KiB", 80, 16 * 1024), ("part of a snapshot", 65_568, 0)]
    {
        // In turns, so that both see the same machine.
        let mut best = [f64::MAX; 2];
        for _ in 0..5 {
            for (best, framing) in best.iter_mut().zip([Framing::Plain, Framing::Checked]) {
                *best = best.min(measure(framing, covered, batches));
            }
        }
        println!("{name:<28} {:>5.1} ns {:>5.1} ns", best[0], best[1]);
    }
}

/// Nanoseconds for a prefix and its check.
fn measure(framing: Framing, covered: usize, batches: usize) -> f64 {
    let mut head = vec![7; covered];
    head[..4].copy_from_slice(&(covered as u32).to_le_bytes());
    let body = vec![9; batches];
    let mut bytes = vec![0; framing.prefix_len()];
    bytes.extend_from_slice(&head);
    bytes.extend_from_slice(&body);
    let rounds = ROUNDS / (1 + covered as u32 / 1024);
    let began = Instant::now();
    for _ in 0..rounds {
        let prefix = framing.prefix(black_box(&head), black_box(&body));
        let len = framing.prefix_len();
        bytes[..len].copy_from_slice(&prefix[..len]);
        assert!(matches!(framing.first(black_box(&bytes)), Ok(Some(_))));
    }
    began.elapsed().as_nanos() as f64 / f64::from(rounds)
}
