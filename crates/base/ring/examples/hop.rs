//! Prints what a hop through each ring costs per event.
//!
//! `cargo run -p ordain-ring --release --example hop`
//!
//! "alone" runs both sides on one thread, a batch at a time: the processor time of a hop without its cache
//! misses. "apart" runs them on two threads, and includes those. The best of several runs is shown.

use std::hint::{black_box, spin_loop};
use std::thread;
use std::time::Instant;

use ordain_ring::log::{Consumer, LogRing, Producer};
use ordain_ring::spsc::{self, Receiver, Sender};
use ordain_types::Position;

const EVENTS: u64 = 2_000_000;
const EVENT: usize = 64;
const RUNS: usize = 5;

fn best(name: &str, run: impl Fn()) {
    let nanos = (0..RUNS).map(|_| {
        let start = Instant::now();
        run();
        start.elapsed().as_nanos()
    });
    println!("{name:<40} {:6.1} ns per event", nanos.min().unwrap_or(0) as f64 / EVENTS as f64);
}

/// Spins a while, then lets another thread run.
struct Idle(u32);

impl Idle {
    fn wait(&mut self) {
        self.0 += 1;
        if self.0.is_multiple_of(256) { thread::yield_now() } else { spin_loop() }
    }
}

fn send(sender: &mut Sender, event: u64) -> bool {
    let Some(space) = sender.try_claim(EVENT) else { return false };
    space.fill(event as u8);
    sender.commit();
    true
}

fn receive(receiver: &mut Receiver) -> bool {
    let Some(message) = receiver.peek() else { return false };
    black_box(message[0]);
    receiver.release();
    true
}

fn publish(producer: &mut Producer, batch: usize, event: u64) -> bool {
    let Some(space) = producer.try_claim(batch * EVENT) else { return false };
    space.fill(event as u8);
    producer.publish(batch * EVENT);
    true
}

fn consume(consumer: &mut Consumer) -> usize {
    let bytes = consumer.available(Position(u64::MAX));
    bytes.chunks_exact(EVENT).for_each(|event| {
        black_box(event[0]);
    });
    let len = bytes.len();
    consumer.release(len);
    len / EVENT
}

fn main() {
    best("spsc, alone, 16 messages at a time", || {
        let (mut sender, mut receiver) = spsc::channel(1 << 16);
        for event in 0..EVENTS {
            assert!(send(&mut sender, event));
            if event % 16 == 15 {
                while receive(&mut receiver) {}
            }
        }
    });
    best("spsc, apart", || {
        let (mut sender, mut receiver) = spsc::channel(1 << 16);
        thread::scope(|scope| {
            scope.spawn(move || {
                let mut idle = Idle(0);
                for _ in 0..EVENTS {
                    while !receive(&mut receiver) {
                        idle.wait();
                    }
                }
            });
            let mut idle = Idle(0);
            for event in 0..EVENTS {
                while !send(&mut sender, event) {
                    idle.wait();
                }
            }
        });
    });
    for batch in [1, 16] {
        best(&format!("log ring, alone, batches of {batch}"), || {
            let (mut producer, ring) = LogRing::new(1 << 20, Position(0));
            let mut consumer = ring.join_tail().expect("a new ring has room");
            for event in 0..EVENTS / batch {
                assert!(publish(&mut producer, batch as usize, event));
                assert_eq!(consume(&mut consumer), batch as usize);
            }
        });
        best(&format!("log ring, apart, batches of {batch}"), || {
            let (mut producer, ring) = LogRing::new(1 << 20, Position(0));
            let mut consumer = ring.join_tail().expect("a new ring has room");
            thread::scope(|scope| {
                scope.spawn(move || {
                    let mut idle = Idle(0);
                    let mut left = EVENTS as usize;
                    while left > 0 {
                        let events = consume(&mut consumer);
                        left -= events;
                        if events == 0 {
                            idle.wait();
                        }
                    }
                });
                let mut idle = Idle(0);
                for event in 0..EVENTS / batch {
                    while !publish(&mut producer, batch as usize, event) {
                        idle.wait();
                    }
                }
            });
        });
    }
}
