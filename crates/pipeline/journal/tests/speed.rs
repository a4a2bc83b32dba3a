//! How fast, without a disk in the way. `cargo test -p ordain-journal --release --test speed -- --ignored
//! --nocapture`

mod common;

use common::*;
use ordain_agent::Agent;
use ordain_agent::disk::{Disk, DiskDone, DiskOp};
use ordain_agent::shared::Shared;
use ordain_journal::{Journal, Lanes, LogReader, Metrics, OsBoot, Peek, Recovery};
use ordain_ring::log::LogRing;
use ordain_ring::spsc;
use ordain_types::{BatchIndex, ClusterFacts, ClusterId, Nanos, Now, Position};
use std::collections::VecDeque;
use std::task::Poll;
use std::time::Instant;

const LARGE: u64 = 64 << 20;

fn large() -> ClusterFacts {
    ClusterFacts::new(ClusterId([7; 16]), Nanos(1), 3)
}

/// A log of nearly two segments, in batches of `records` records of 100 bytes.
fn log(records: usize) -> (Vec<u8>, Maker) {
    let payload = [1; 100];
    let mut maker = Maker::new(&large(), ordain_types::LogEnd::EMPTY);
    let mut bytes = Vec::with_capacity(2 * LARGE as usize);
    while bytes.len() < (2 * LARGE as usize) - (4 << 20) {
        bytes.extend(maker.data(&vec![&payload[..]; records]).concat());
    }
    (bytes, maker)
}

/// Finishes everything at once.
#[derive(Default)]
struct Nothing(VecDeque<DiskOp>);

impl Disk for Nothing {
    fn free(&self) -> usize {
        20 - self.0.len()
    }

    fn submit(&mut self, op: DiskOp) {
        self.0.push_back(op);
    }

    fn poll(&mut self) -> Option<DiskDone> {
        let op = self.0.pop_front()?;
        let moved = if let DiskOp::Write { bytes, .. } = &op { bytes.len() } else { 0 };
        Some(DiskDone { op, result: Ok(moved) })
    }
}

#[test]
#[ignore = "a measurement"]
fn recovery_and_reading() {
    for records in [1, 10, 100, 900] {
        let (bytes, maker) = log(records);
        let facts = large();
        let world = World::default();
        // A first start, then the segments in place.
        recover(&world, &facts, 1).unwrap();
        for (number, segment) in bytes.chunks(LARGE as usize).enumerate() {
            let mut durable = segment.to_vec();
            durable.resize(LARGE as usize, 0);
            let file = ordain_agent::disk::FileId::Segment(number as u64);
            world.lock().files.insert(file, File { durable, ..File::default() });
        }
        // Once to move the watermark to the end, once to measure.
        recover(&world, &facts, 1).unwrap();
        let begin = Instant::now();
        let mut recovery = Recovery::new(&facts, OsBoot([1; 16]), world.lane(4));
        let recovered = loop {
            if let Poll::Ready(result) = recovery.step() {
                break result.unwrap();
            }
        };
        let recovering = begin.elapsed();
        assert_eq!(recovered.end, maker.end);

        let cursors = Shared::default();
        cursors.written.store(maker.end.index.0);
        let mut reader = LogReader::segments_only(LARGE, Position(0), BatchIndex(1), cursors, world.lane(4));
        let begin = Instant::now();
        while let Ok(peek) = reader.peek(maker.end.index) {
            match peek {
                Peek::Batch(_) => reader.advance(),
                Peek::Pending => {}
                Peek::End => break,
            }
        }
        let reading = begin.elapsed();
        let size = bytes.len() as f64;
        println!(
            "{records} records a batch ({} bytes): recovery {:.2} GB/s, reading {:.2} GB/s",
            bytes.len() as u64 / maker.end.index.0,
            size / recovering.as_nanos() as f64,
            size / reading.as_nanos() as f64
        );
    }
}

#[test]
#[ignore = "a measurement"]
fn the_agent() {
    for (records, burst) in [(1, 1), (1, 8), (1, 64), (10, 1), (10, 64), (900, 1)] {
        let (bytes, maker) = log(records);
        let facts = large();
        let recovered = recover(&World::default(), &facts, 1).unwrap();
        let (mut producer, ring) = LogRing::new(LARGE as usize, Position(0));
        producer.prefault();
        let (_votes, receiver) = spsc::channel(4096);
        let cursors = Shared::default();
        let lanes = Lanes { log: Nothing::default(), state: Nothing::default(), prepare: Nothing::default() };
        let metrics = Metrics::default();
        let mut journal = Journal::new(&facts, &recovered, lanes, ring, receiver, cursors.clone(), metrics);
        let now = Now::default();
        while journal.do_work(now, 64).unwrap() > 0 {}
        let (mut time, mut at) = (std::time::Duration::ZERO, 0);
        for ends in maker.ends[1..].chunks(burst) {
            let end = ends[ends.len() - 1].position.0;
            for end in ends {
                let len = end.position.0 as usize - at;
                producer.try_claim(len).unwrap().copy_from_slice(&bytes[at..at + len]);
                producer.publish(len);
                at += len;
            }
            let begin = Instant::now();
            while cursors.durable.load() < ends[ends.len() - 1].index.0
                || cursors.room.load() < end + (1 << 20)
            {
                journal.do_work(now, 64).unwrap();
            }
            time += begin.elapsed();
        }
        let batches = maker.end.index.0;
        println!(
            "{records} records a batch, {burst} batches at a time: {:.0} ns a batch",
            time.as_nanos() as f64 / batches as f64
        );
    }
}
