//! A short run of every fuzz target: random bytes, and valid ones with a few bytes changed. `fuzz/` runs the same
//! bodies for as long as one likes.

#[path = "../../../fuzz/bodies.rs"]
mod bodies;

use bodies::TARGETS;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

fn check(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target");
    let seed = (target.seed)();
    (target.body)(&seed);
    for cut in 0..seed.len().min(400) {
        (target.body)(&seed[..cut]);
    }
    let random = prop::collection::vec(any::<u8>(), 0..600);
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6);
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(400) });
    runner
        .run(&(random, changes), |(random, changes)| {
            (target.body)(&random);
            let mut changed = seed.clone();
            for (at, byte) in changes {
                let at = at.index(changed.len());
                changed[at] = byte;
            }
            (target.body)(&changed);
            Ok(())
        })
        .unwrap();
}

#[test]
fn itch() {
    check("itch");
}

#[test]
fn client_frames() {
    check("client_frames");
}

#[test]
fn server_frames() {
    check("server_frames");
}

#[test]
fn batches() {
    check("batches");
}

#[test]
fn peer_frames() {
    check("peer_frames");
}

#[test]
fn peer_messages() {
    check("peer_messages");
}

#[test]
fn exchange_requests() {
    check("exchange_requests");
}

#[test]
fn node_state() {
    check("node_state");
}

#[test]
fn snapshot() {
    check("snapshot");
}
