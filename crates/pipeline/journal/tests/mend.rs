//! Scrubbing and mending: damage in sealed segments is found, wherever it is, and what is put in its place is what was
//! there, or nothing.

mod common;

use common::*;
use ordain_agent::disk::{Disk, DiskDone, DiskOp, FileId};
use ordain_journal::{Mend, Mended, PULL_MAX, Scrub, Scrubbed};
use ordain_types::{BatchIndex, LogEnd, Position};
use std::collections::BTreeSet;

const DRAFT: FileId = FileId::SegmentDraft;

/// A node of a cluster with some full segments, and where the one begins that is not.
fn node() -> (World, Position) {
    let world = World::default();
    let mut node = Node::start(&world, &facts(3));
    for units in (0..24).map(|n| n % 3 + 1) {
        node.data(units);
    }
    node.rest();
    let sealed = Position(node.cursors.sealed[0].load());
    assert_eq!(sealed.0, node.maker.end.position.0 / SEGMENT * SEGMENT);
    assert!(sealed.0 >= 4 * SEGMENT && node.maker.end.position > sealed);
    let [_, index] = node.cursors.sealed.each_ref();
    assert_eq!(index.load(), node.maker.ends.iter().find(|end| end.position == sealed).unwrap().index.0);
    (world, sealed)
}

fn perform(world: &World, op: DiskOp) -> DiskDone {
    let mut lane = world.lane(1);
    lane.submit(op);
    lane.poll().expect("the disk works at once")
}

/// Reads everything that is sealed once.
fn scrub(world: &World, oldest: Position, sealed: Position) -> Vec<(u64, u64, BatchIndex)> {
    let mut scrub = Scrub::new(&facts(3));
    scrub.begin(oldest);
    let mut found = Vec::new();
    while let Some(op) = scrub.read(sealed) {
        let done = perform(world, op);
        let DiskOp::Read { buffer, .. } = done.op else { panic!("it only reads") };
        match scrub.take(buffer, done.result) {
            Scrubbed::Sound(bytes) => assert!(bytes > 0, "it goes on"),
            Scrubbed::Damaged(rot) => found.push((rot.segment, rot.offset, rot.index)),
            Scrubbed::Unread(segment, _) => found.push((segment, 0, BatchIndex(0))),
        }
    }
    assert_eq!(scrub.position(), sealed);
    found
}

/// What another node has from a position on, as it is sent.
fn sent(peer: &World, at: Position, len: u64) -> Vec<u8> {
    let log = peer.log();
    let from = (at.0 as usize).min(log.len());
    log[from..(from + len as usize).min(log.len())].to_vec()
}

/// Mends a segment with what `peer` has. Says what came of it, and how often the peer was asked.
fn mend(
    world: &World,
    peer: Option<&World>,
    segment: u64,
    end: Position,
    limit: Position,
) -> (Mended, usize) {
    let mut mend = Mend::new(&facts(3), segment, end, limit);
    let mut asked = 0;
    loop {
        match mend.outcome() {
            Mended::Working => {
                let op = mend.op().expect("it works on something");
                let done = perform(world, op);
                mend.done(done).unwrap();
            }
            Mended::Needs(at, len) => {
                assert!(len > 0 && len <= PULL_MAX && mend.op().is_none());
                asked += 1;
                let bytes = peer.map(|peer| sent(peer, at, len)).unwrap_or_default();
                if !mend.give(&bytes) {
                    return (mend.outcome(), asked);
                }
            }
            over => return (over, asked),
        }
    }
}

fn mend_sealed(world: &World, peer: Option<&World>, segment: u64, sealed: Position) -> (Mended, usize) {
    mend(world, peer, segment, Position((segment + 1) * SEGMENT), sealed)
}

fn draft(world: &World) -> Option<Vec<u8>> {
    let state = world.lock();
    let file = state.files.get(&DRAFT)?;
    assert!(file.unsynced.is_empty(), "the copy is synced");
    Some(file.durable.clone())
}

fn segment(world: &World, segment: u64) -> Vec<u8> {
    let (from, to) = ((segment * SEGMENT) as usize, ((segment + 1) * SEGMENT) as usize);
    world.log()[from..to].to_vec()
}

/// Gives the copy its name, as the journal does.
fn take_name(world: &World, segment: u64) {
    perform(world, DiskOp::Rename { tag: 0, from: DRAFT, to: FileId::Segment(segment) }).result.unwrap();
}

#[test]
fn every_bit_that_is_not_what_it_was_is_found_and_mended() {
    let (sound, sealed) = node();
    assert_eq!(scrub(&sound, Position::ZERO, sealed), []);
    for at in (0..sealed.0 as usize).step_by(7) {
        let world = sound.copy();
        world.poke(at, |byte| *byte ^= 1 << (at % 8));
        let number = at as u64 / SEGMENT;
        let found = scrub(&world, Position::ZERO, sealed);
        assert!(found.len() == 1 && found[0].0 == number, "{at}: {found:?}");
        assert!(found[0].1 <= at as u64 % SEGMENT, "{at}: {found:?}");
        // From the segment itself on, what is in front of it is not known.
        assert_eq!(scrub(&world, Position(number * SEGMENT), sealed).len(), 1, "{at}");
        let (outcome, asked) = mend_sealed(&world, Some(&sound), number, sealed);
        assert!(matches!(outcome, Mended::Ready(1..)) && asked == 1, "{at}: {outcome:?}, {asked}");
        assert_eq!(draft(&world).unwrap(), segment(&sound, number), "{at}");
        take_name(&world, number);
        assert_eq!(scrub(&world, Position::ZERO, sealed), []);
    }
}

#[test]
fn holes_of_any_size_are_filled() {
    let (sound, sealed) = node();
    let segments = sealed.0 / SEGMENT;
    let holes = [
        // A whole segment, the end of one and the start of the next, two whole ones, the last ones.
        (SEGMENT, 2 * SEGMENT),
        (SEGMENT + 512, 2 * SEGMENT + 300),
        (SEGMENT, 3 * SEGMENT),
        (0, 2 * SEGMENT),
        ((segments - 2) * SEGMENT + 700, sealed.0),
    ];
    for (from, to) in holes {
        let world = sound.copy();
        (from..to).for_each(|at| world.poke(at as usize, |byte| *byte = 0xAA));
        let mut damaged: BTreeSet<u64> = (from / SEGMENT..to.div_ceil(SEGMENT)).collect();
        let found = scrub(&world, Position::ZERO, sealed);
        assert_eq!(found.iter().map(|found| found.0).collect::<BTreeSet<_>>(), damaged);
        while let Some(number) = damaged.pop_first() {
            let (outcome, _) = mend_sealed(&world, Some(&sound), number, sealed);
            assert!(matches!(outcome, Mended::Ready(_)), "{from} to {to}, segment {number}: {outcome:?}");
            assert_eq!(draft(&world).unwrap(), segment(&sound, number), "{from} to {to}, segment {number}");
            take_name(&world, number);
        }
        assert_eq!(world.log(), sound.log());
    }
}

#[test]
fn a_missing_or_short_file_is_mended_too() {
    let (sound, sealed) = node();
    let world = sound.copy();
    world.lock().files.remove(&FileId::Segment(2));
    assert_eq!(scrub(&world, Position::ZERO, sealed), [(2, 0, BatchIndex(0))]);
    assert!(matches!(mend_sealed(&world, Some(&sound), 2, sealed).0, Mended::Ready(_)));
    take_name(&world, 2);
    assert_eq!(world.log(), sound.log());
    world.lock().files.get_mut(&FileId::Segment(1)).unwrap().durable.truncate(300);
    assert_eq!(scrub(&world, Position::ZERO, sealed).len(), 1);
    assert!(matches!(mend_sealed(&world, Some(&sound), 1, sealed).0, Mended::Ready(_)));
    take_name(&world, 1);
    assert_eq!(world.log(), sound.log());
}

#[test]
fn nothing_is_written_for_a_segment_that_is_whole() {
    let (world, sealed) = node();
    for number in 0..sealed.0 / SEGMENT {
        assert_eq!(mend_sealed(&world, None, number, sealed), (Mended::Sound, 0));
    }
    assert_eq!(draft(&world), None);
}

/// A log of the same shape in which other records stand from batch `from` on.
fn other(from: u64) -> World {
    let world = World::default();
    let mut node = Node::start(&world, &facts(3));
    for units in (0..24).map(|n| n % 3 + 1) {
        let batches = match node.maker.end.index.0 < from {
            true => node.maker.units(units),
            false => {
                let payload = vec![0x55; units * 128 - 128];
                node.maker.data(&[&payload])
            }
        };
        node.publish(&batches);
    }
    node.rest();
    world
}

#[test]
fn what_was_never_there_is_not_put_there() {
    let (sound, sealed) = node();
    let log = sound.log();
    for from in [0, 2, 6, 12] {
        let peer = other(from);
        assert_eq!(peer.log().len(), log.len());
        for at in (0..sealed.0 as usize).step_by(64) {
            let world = sound.copy();
            world.poke(at, |byte| *byte ^= 1);
            let number = at as u64 / SEGMENT;
            let (outcome, _) = mend_sealed(&world, Some(&peer), number, sealed);
            match outcome {
                Mended::Ready(_) => assert_eq!(draft(&world).unwrap(), segment(&sound, number), "{at}"),
                Mended::Needs(..) | Mended::Unproven => {}
                other => panic!("{at}: {other:?}"),
            }
            // The damaged file is as it was.
            let mut expected = log.clone();
            expected[at] ^= 1;
            assert_eq!(world.log(), expected);
        }
    }
}

#[test]
fn without_a_batch_behind_a_hole_there_is_no_proof() {
    let (sound, sealed) = node();
    let world = sound.copy();
    let last = sealed.0 / SEGMENT - 1;
    // All that the node has behind the damage is gone as well.
    (sealed.0 as usize - 200..world.log().len()).for_each(|at| world.poke(at, |byte| *byte = 0));
    assert_eq!(mend_sealed(&world, Some(&sound), last, sealed).0, Mended::Unproven);
    assert_eq!(segment(&world, last)[SEGMENT as usize - 200..], [0; 200]);
}

#[test]
fn of_a_segment_that_is_not_full_what_counts_is_mended_and_the_rest_kept() {
    let (sound, sealed) = node();
    let ends: Vec<LogEnd> = recover(&sound.copy(), &facts(3), 1).unwrap().segments;
    assert_eq!(ends.last().unwrap().position, sealed);
    let end = recover(&sound.copy(), &facts(3), 1).unwrap().end.position;
    let number = sealed.0 / SEGMENT;
    let torn = 40;
    for at in sealed.0 as usize..end.0 as usize {
        let world = sound.copy();
        world.poke(at, |byte| *byte ^= 4);
        (0..torn).for_each(|n| world.poke(end.0 as usize + n, |byte| *byte = 9));
        let (outcome, _) = mend(&world, Some(&sound), number, end, end);
        let behind = |at: usize| recover(&sound.copy(), &facts(3), 1).unwrap().end.position.0 as usize > at;
        assert!(behind(at));
        match outcome {
            Mended::Ready(_) => {
                let mut expected = segment(&sound, number);
                let offset = (end.0 % SEGMENT) as usize;
                expected[offset..offset + torn].fill(9);
                assert_eq!(draft(&world).unwrap(), expected, "{at}");
            }
            // Nothing stands behind the last batch that could prove anything.
            Mended::Unproven => {}
            other => panic!("{at}: {other:?}"),
        }
    }
    let first = sound.copy();
    first.poke(sealed.0 as usize, |byte| *byte ^= 4);
    assert!(matches!(mend(&first, Some(&sound), number, end, end).0, Mended::Ready(_)));
}

#[test]
fn a_crash_at_any_operation_leaves_the_old_file_or_the_whole_one() {
    let (sound, sealed) = node();
    let damaged = sound.copy();
    damaged.poke(SEGMENT as usize + 400, |byte| *byte ^= 1);
    let mut outcomes = BTreeSet::new();
    for budget in 0.. {
        for keep in [0, 1, 2] {
            let world = damaged.copy();
            world.lock().budget = Some(budget);
            let mut lane = world.lane(1);
            let mut mend = Mend::new(&facts(3), 1, Position(2 * SEGMENT), sealed);
            let mut renamed = false;
            loop {
                let op = match mend.outcome() {
                    Mended::Working => mend.op().unwrap(),
                    Mended::Needs(at, len) => {
                        assert!(mend.give(&sent(&sound, at, len)));
                        continue;
                    }
                    Mended::Ready(_) => DiskOp::Rename { tag: 0, from: DRAFT, to: FileId::Segment(1) },
                    other => panic!("{other:?}"),
                };
                let renames = matches!(op, DiskOp::Rename { .. });
                lane.submit(op);
                let Some(done) = lane.poll() else { break };
                if renames {
                    renamed = true;
                    break;
                }
                mend.done(done).unwrap();
            }
            let after = world.after_power_loss(|sector| match keep {
                0 => false,
                1 => true,
                _ => sector % 2 == 0,
            });
            let is_whole = segment(&after, 1) == segment(&sound, 1);
            assert!(is_whole || segment(&after, 1) == segment(&damaged, 1), "budget {budget}");
            assert_eq!(is_whole, renamed, "budget {budget}");
            outcomes.insert(is_whole);
            // The next start is what it was, and what is left over does not disturb it.
            let start = recover(&after, &facts(3), 1);
            assert_eq!(start.is_ok(), is_whole, "budget {budget}: {start:?}");
        }
        if outcomes.len() == 2 {
            return;
        }
    }
}
