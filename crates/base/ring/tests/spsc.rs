//! The message ring against a naive queue, and under threads.
#![cfg(not(loom))]

use std::collections::VecDeque;
use std::thread;

use ordain_ring::spsc;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Op {
    /// Claims `claim` bytes, of which `keep` are sent, or none.
    Send {
        claim: usize,
        keep: Option<usize>,
    },
    Receive {
        messages: usize,
    },
}

fn op(max: usize) -> impl Strategy<Value = Op> {
    prop_oneof![
        2 => (0..=max, prop::option::weighted(0.8, 0..=max)).prop_map(|(claim, keep)| Op::Send { claim, keep }),
        1 => (0..4usize).prop_map(|messages| Op::Receive { messages }),
    ]
}

fn check(capacity: usize, ops: Vec<Op>) {
    let (mut sender, mut receiver) = spsc::channel(capacity);
    let mut queue: VecDeque<Vec<u8>> = VecDeque::new();
    let mut next = 0u8;
    for op in ops {
        match op {
            Op::Send { claim, keep } => {
                let claim = claim.min(sender.max_len());
                let free = sender.free();
                let Some(space) = sender.try_claim(claim) else {
                    assert!(free < 2 * (8 + claim.next_multiple_of(8)), "refused {claim} of {free} bytes");
                    continue;
                };
                assert_eq!((space.len(), space.as_ptr().addr() % 8), (claim, 0));
                space.fill_with(|| {
                    next = next.wrapping_add(1);
                    next
                });
                let Some(keep) = keep else { continue };
                if keep >= claim {
                    queue.push_back(space.to_vec());
                    sender.commit();
                } else {
                    queue.push_back(space[..keep].to_vec());
                    sender.commit_prefix(keep);
                }
            }
            Op::Receive { messages } => {
                for _ in 0..messages {
                    assert_eq!(receiver.peek(), queue.front().map(|message| &message[..]));
                    if queue.pop_front().is_some() {
                        receiver.release();
                    }
                }
            }
        }
        let used: usize = queue.iter().map(|message| 8 + message.len().next_multiple_of(8)).sum();
        assert!(sender.free() <= capacity - used);
    }
    for message in queue {
        assert_eq!(receiver.peek(), Some(&message[..]));
        receiver.release();
    }
    assert_eq!(receiver.peek(), None);
    assert_eq!(sender.free(), capacity, "a drained ring is free");
    assert!(sender.try_claim(sender.max_len()).is_some(), "and takes the longest message");
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 16 } else { 3000 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_ring_is_a_queue(
        (capacity, ops) in (5..9u32).prop_flat_map(|log| {
            let capacity = 1usize << log;
            (Just(capacity), prop::collection::vec(op(capacity / 4), 0..150))
        }),
    ) {
        check(capacity, ops);
    }
}

#[test]
fn messages_cross_threads_in_order() {
    let messages: u64 = if cfg!(miri) { 200 } else { 100_000 };
    let len = |i: u64| (i * 7 % 60) as usize;
    for capacity in [256, 4096] {
        let (mut sender, mut receiver) = spsc::channel(capacity);
        thread::scope(|scope| {
            scope.spawn(move || {
                for i in 0..messages {
                    loop {
                        if let Some(message) = receiver.peek() {
                            assert_eq!(message.len(), len(i));
                            assert!(message.iter().all(|byte| *byte == i as u8), "message {i}");
                            break receiver.release();
                        }
                        thread::yield_now();
                    }
                }
                assert_eq!(receiver.peek(), None);
            });
            for i in 0..messages {
                loop {
                    if let Some(space) = sender.try_claim(len(i)) {
                        space.fill(i as u8);
                        break sender.commit();
                    }
                    thread::yield_now();
                }
            }
        });
    }
}

fn check_panics(misuse: impl FnOnce()) {
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(misuse)).is_err());
}

#[test]
fn misuse_panics() {
    let (mut sender, mut receiver) = spsc::channel(64);
    check_panics(|| drop(spsc::channel(48)));
    check_panics(|| drop(spsc::channel(16)));
    check_panics(|| assert!(sender.try_claim(17).is_none()));
    check_panics(|| sender.commit());
    check_panics(|| receiver.release());
    assert!(sender.try_claim(4).is_some());
    check_panics(|| sender.commit_prefix(5));
}
