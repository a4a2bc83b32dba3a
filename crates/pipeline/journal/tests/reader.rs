//! Reading the log back: from segments, then from the ring, and never what is not written.

mod common;

use common::*;
use ordain_agent::disk::{Disk, DiskError, DiskOp};
use ordain_agent::shared::Holder;
use ordain_journal::{LogReader, Peek, ReadError};
use ordain_types::{BatchIndex, Position};

const ALL: BatchIndex = BatchIndex(u64::MAX);

/// Reads what there is, up to `limit`.
fn read(reader: &mut LogReader<Lane>, limit: BatchIndex) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..10_000 {
        match reader.peek(limit).unwrap() {
            Peek::Batch(batch) => {
                bytes.extend_from_slice(batch.bytes());
                reader.advance();
            }
            Peek::Pending => {}
            Peek::End => return bytes,
        }
    }
    panic!("reading does not end");
}

/// A node whose log went around the ring more than once, and a reader from the first batch on.
fn node(joins: bool) -> (Node, LogReader<Lane>) {
    let world = World::default();
    let facts = facts(3);
    let mut node = Node::start(&world, &facts);
    for units in (0..150).map(|n| n % 3 + 1) {
        node.data(units);
        node.settle();
    }
    assert!(node.maker.end.position.0 > 2 * node.ring.capacity() as u64);
    let (cursors, lane) = (node.cursors.clone(), world.lane(2));
    let (at, next) = (Position(0), BatchIndex(1));
    let reader = match joins {
        true => LogReader::new(SEGMENT, at, next, node.ring.clone(), cursors, lane),
        false => LogReader::segments_only(SEGMENT, at, next, cursors, lane),
    };
    (node, reader)
}

#[test]
fn everything_is_read_in_order_from_segments_and_then_from_the_ring() {
    for joins in [true, false] {
        let (mut node, mut reader) = node(joins);
        let end = node.maker.end;
        assert_eq!(read(&mut reader, ALL), node.world.log()[..end.position.0 as usize]);
        assert_eq!(reader.has_joined(), joins);
        assert_eq!((reader.position(), reader.next_index()), (end.position, end.index.next()));
        // And on, batch by batch.
        for units in [1, 3, 2, 3] {
            let batches = node.maker.units(units);
            node.publish(&batches);
            let early = read(&mut reader, ALL);
            node.settle();
            let late = read(&mut reader, ALL);
            assert_eq!([early.clone(), late].concat(), batches.concat());
            assert_eq!(early.is_empty(), !joins, "what is not written is in the ring only");
        }
    }
}

#[test]
fn nothing_is_read_behind_the_limit() {
    for joins in [true, false] {
        let (node, mut reader) = node(joins);
        let mut bytes = Vec::new();
        for limit in 0..=node.maker.end.index.0 {
            bytes.extend(read(&mut reader, BatchIndex(limit)));
            let end = node.maker.ends[limit as usize];
            assert_eq!((bytes.len() as u64, reader.next_index()), (end.position.0, end.index.next()));
        }
    }
}

#[test]
fn a_joined_reader_holds_the_ring_and_another_does_not() {
    for joins in [true, false] {
        let (mut node, mut reader) = node(joins);
        read(&mut reader, ALL);
        let capacity = node.ring.capacity();
        let mut published = 0;
        while published < 2 * capacity {
            let batches = node.maker.clone().units(3);
            let len: usize = batches.iter().map(Vec::len).sum();
            if node.producer.free() < len.min(node.producer.until_end()) {
                break;
            }
            node.data(3);
            node.settle();
            published += len;
        }
        assert_eq!(published < capacity, joins);
    }
}

#[test]
fn a_reader_that_may_not_go_on_makes_way_and_comes_back() {
    let (mut node, mut reader) = node(true);
    let mut bytes = read(&mut reader, ALL);
    let (start, limit) = (node.maker.end.position, node.maker.end.index);
    while node.maker.end.position.0 < start.0 + 3 * node.ring.capacity() as u64 {
        let before = node.maker.end.position;
        let held = (before.0 - start.0) as usize <= node.ring.capacity() / 2;
        assert_eq!(reader.has_joined(), held, "from {start}, at {before}");
        // Panics if there is no space.
        node.data(3);
        node.settle();
        assert_eq!(read(&mut reader, limit), [], "nothing more may be read");
    }
    bytes.extend(read(&mut reader, ALL));
    assert_eq!(bytes, node.world.log()[..node.maker.end.position.0 as usize]);
    assert!(reader.has_joined());
}

#[test]
fn a_reader_begins_anywhere_and_begins_again() {
    let (node, mut reader) = node(true);
    for start in [0, 3, 40, 100, 7] {
        let end = node.maker.ends[start];
        reader.seek(end.position, end.index.next());
        let expected = &node.world.log()[end.position.0 as usize..node.maker.end.position.0 as usize];
        assert_eq!(read(&mut reader, ALL), expected);
        assert!(reader.has_joined());
    }
}

#[test]
fn what_was_read_ahead_of_a_cut_does_not_come_back() {
    for (joins, from) in [(true, 0), (true, 10), (false, 0), (false, 10)] {
        let (mut node, mut reader) = node(joins);
        let keep = node.maker.ends[node.maker.ends.len() - 4 - from];
        // It has looked at, or read ahead, more than it was allowed to give out.
        let kept = read(&mut reader, keep.index);
        let end = node.maker.cut(keep.index.0);
        node.cursors.cut.ask(keep.index, end.position);
        reader.cut(end.position);
        node.cursors.cut.answer(Holder::Apply);
        assert_eq!(read(&mut reader, ALL), [], "the suffix is still in the ring");
        node.settle();
        assert_eq!(read(&mut reader, ALL), []);
        assert!(node.producer.rewind(end.position));
        node.cursors.cut.finish();
        node.maker.term = node.maker.term.next();
        for units in [2, 2, 1] {
            node.data(units);
        }
        node.settle();
        let log = node.world.log();
        let all = [kept, read(&mut reader, ALL)].concat();
        assert_eq!(all, log[..node.maker.end.position.0 as usize]);
    }
}

#[test]
fn damage_and_failures_are_told_with_their_place() {
    let (node, _) = node(false);
    let bad = node.maker.ends[20];
    for (offset, what) in [(0, "header"), (100, "body")] {
        let (copy, at) = (node.world.copy(), bad.position.0 as usize);
        copy.poke(at + offset, |byte| *byte ^= 1);
        let (start, cursors) = (node.maker.ends[5], node.cursors.clone());
        let mut reader =
            LogReader::segments_only(SEGMENT, start.position, start.index.next(), cursors, copy.lane(2));
        let error = loop {
            match reader.peek(ALL) {
                Ok(Peek::Batch(_)) => reader.advance(),
                Ok(Peek::Pending) => {}
                Ok(Peek::End) => panic!("a bad {what} was passed over"),
                Err(error) => break error,
            }
        };
        let ReadError::Damaged { segment, offset, index, .. } = error else { panic!("{error}") };
        assert_eq!((segment * SEGMENT + offset, index), (bad.position.0, bad.index.next()));
    }
    let copy = node.world.copy();
    copy.fail(|op| matches!(op, DiskOp::Read { .. }).then(|| DiskError::Io("unreadable sector".into())));
    let mut reader =
        LogReader::segments_only(SEGMENT, Position(0), BatchIndex(1), node.cursors.clone(), copy.lane(2));
    assert!(matches!(reader.peek(ALL), Ok(Peek::Pending)));
    let error = reader.peek(ALL).unwrap_err();
    assert!(error.to_string().contains("unreadable sector"), "{error}");
}

#[test]
fn a_batch_whose_segment_was_removed_is_told_as_such() {
    let (node, mut reader) = node(false);
    let oldest = Position(2 * SEGMENT);
    for gone in 0..2 {
        node.world.lock().files.remove(&ordain_agent::disk::FileId::Segment(gone));
    }
    // The file is gone and the cursor moved in between the reader's looks at it.
    assert!(matches!(reader.peek(ALL), Ok(Peek::Pending)));
    node.cursors.oldest.store(oldest.0);
    let told = ReadError::Trimmed { index: BatchIndex(1), oldest };
    assert_eq!(reader.peek(ALL).unwrap_err(), told);
    assert_eq!(reader.peek(ALL).unwrap_err(), told);
    let start = *node.maker.ends.iter().find(|end| end.position == oldest).unwrap();
    reader.seek(start.position, start.index.next());
    let bytes = read(&mut reader, ALL);
    assert_eq!(bytes.len() as u64, node.maker.end.position.0 - oldest.0);
}

#[test]
fn the_disk_is_lent_between_two_reads() {
    let (node, mut reader) = node(false);
    assert!(matches!(reader.peek(ALL), Ok(Peek::Pending)));
    let disk = reader.disk().expect("the read in flight has ended");
    disk.submit(DiskOp::List { tag: 9, files: Vec::new() });
    assert_eq!(disk.poll().unwrap().op.tag(), 9);
    reader.seek(Position(0), BatchIndex(1));
    assert_eq!(read(&mut reader, ALL).len() as u64, node.maker.end.position.0);
}
