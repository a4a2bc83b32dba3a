//! The journal stage: group commit, room, node state, cuts, and the errors it stops at.

mod common;

use common::*;
use ordain_agent::Agent;
use ordain_agent::disk::{DiskError, DiskOp, FileId};
use ordain_agent::shared::Holder;
use ordain_journal::RecoveryError;
use ordain_types::{BatchIndex, Nanos};
use proptest::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

#[test]
fn a_write_and_its_sync_are_submitted_together_and_what_came_meanwhile_is_one_write() {
    let world = World::default();
    let mut node = Node::start(&world, &facts(3));
    node.data(1);
    node.rest();
    world.lock().history.clear();

    world.lock().budget = Some(0);
    node.data(1);
    node.settle();
    // While that write and sync are in flight, three more batches come in, one at a time.
    for _ in 0..3 {
        node.data(1);
        node.settle();
    }
    world.lock().budget = None;
    node.settle();
    assert_eq!(node.cursors.durable.load(), node.maker.end.index.0);
    let expected = ["write 0", "sync 0", "write 0", "sync 0"];
    assert_eq!(world.lock().history, expected);
}

#[test]
fn what_is_found_waiting_is_written_at_once_up_to_the_end_of_the_segment() {
    let world = World::default();
    let mut node = Node::start(&world, &facts(3));
    // Seven units fill the first segment behind its start; the last one goes to the second.
    let batches: Vec<_> = (0..8).flat_map(|_| node.maker.units(1)).collect();
    node.settle();
    world.lock().history.clear();
    node.publish(&batches);
    node.settle();
    let history = world.lock().history.clone();
    let log: Vec<_> =
        history.iter().filter(|line| !line.contains("create") && !line.contains("State")).collect();
    assert_eq!(log, ["write 0", "sync 0", "write 1", "sync 1"]);
    assert_eq!(node.cursors.written.load(), node.maker.end.index.0);
    assert_eq!(node.cursors.durable.load(), node.maker.end.index.0);
    assert_eq!(node.ring.published(), node.maker.end.position);
    assert_eq!(&world.log()[..node.maker.end.position.0 as usize], batches.concat());
}

#[test]
fn the_ring_is_free_once_written_and_not_before() {
    let world = World::default();
    let facts = facts(3);
    let mut node = Node::start(&world, &facts);
    node.settle();
    let capacity = node.ring.capacity() as u64;
    // Many times around the ring, with room always one segment ahead.
    for _ in 0..400 {
        node.data(2);
        node.settle();
        assert_eq!(node.cursors.written.load(), node.maker.end.index.0);
    }
    assert!(node.maker.end.position.0 > 5 * capacity);
    node.close();
    assert_eq!(recover(&world, &facts, 2).unwrap().end, node.maker.end);
}

#[test]
fn segments_are_prepared_ahead() {
    let world = World::default();
    let mut node = Node::start(&world, &facts(3));
    assert_eq!(node.cursors.room.load(), 0);
    node.settle();
    assert_eq!(node.cursors.room.load(), 2 * SEGMENT);
    while node.maker.end.position.0 < SEGMENT {
        node.data(1);
    }
    node.settle();
    assert_eq!(node.cursors.room.load(), 3 * SEGMENT);
}

#[test]
fn a_full_disk_stops_the_log_and_not_the_node() {
    let world = World::default();
    let mut node = Node::start(&world, &facts(3));
    let tries = Arc::new(AtomicUsize::new(0));
    let counter = tries.clone();
    world.fail(move |op| {
        matches!(op, DiskOp::Create { .. }).then(|| {
            counter.fetch_add(1, Ordering::Relaxed);
            DiskError::NoSpace
        })
    });
    node.settle();
    assert_eq!((node.cursors.room.load(), tries.load(Ordering::Relaxed)), (0, 1));
    assert_eq!(node.metrics.value("ordain_journal_no_room"), Some(1));
    // Not in a loop, but when it said it would.
    node.settle();
    let due = node.journal.next_deadline().unwrap();
    assert_eq!((tries.load(Ordering::Relaxed), due), (1, node.now.mono.plus(200 * Nanos::MILLI)));
    node.now.mono = due;
    node.settle();
    assert_eq!(tries.load(Ordering::Relaxed), 2);
    // Votes are stored all the same.
    node.vote(1, 1);
    node.settle();
    assert_eq!(node.cursors.vote_stored.load(), 1);
    world.heal();
    node.now.mono = node.journal.next_deadline().unwrap();
    node.settle();
    assert_eq!(node.cursors.room.load(), 2 * SEGMENT);
    assert_eq!(node.metrics.value("ordain_journal_no_room"), Some(0));
    node.data(2);
    node.settle();
    assert_eq!(node.cursors.durable.load(), 2);
}

#[test]
fn errors_of_the_disk_stop_the_node_and_a_sync_is_not_tried_again() {
    type Op = fn(&DiskOp) -> bool;
    let table: [(&str, Op); 5] = [
        ("writing segment 0", |op| matches!(op, DiskOp::Write { file: FileId::Segment(_), .. })),
        ("syncing segment 0", |op| matches!(op, DiskOp::Sync { file: FileId::Segment(_), .. })),
        ("writing the node-state file", |op| matches!(op, DiskOp::Write { file: FileId::NodeState, .. })),
        ("syncing the node-state file", |op| matches!(op, DiskOp::Sync { file: FileId::NodeState, .. })),
        ("preparing segment 2", |op| matches!(op, DiskOp::Create { .. })),
    ];
    for (expected, is_bad) in table {
        let world = World::default();
        let mut node = Node::start(&world, &facts(3));
        node.settle();
        let failures = Arc::new(AtomicUsize::new(0));
        let counter = failures.clone();
        world.fail(move |op| {
            is_bad(op).then(|| {
                counter.fetch_add(1, Ordering::Relaxed);
                DiskError::Io("the platter is scratched".into())
            })
        });
        let fatal = loop {
            node.data(1);
            node.vote(node.vote + 1, 1);
            if let Err(fatal) = node.work() {
                break fatal;
            }
            if let Err(fatal) = node.work() {
                break fatal;
            }
        };
        assert!(fatal.cause.contains(expected) && fatal.cause.contains("scratched"), "{fatal}");
        assert!(fatal.action.contains("start"), "{fatal}");
        assert_eq!(failures.load(Ordering::Relaxed), 1, "{expected}");
        assert!(node.cursors.vote_stored.load() == 0 || !expected.contains("node-state"), "{expected}");
    }
}

#[test]
fn durability_is_reported_at_most_w_beyond_the_stored_watermark() {
    let world = World::default();
    let facts = facts(3);
    let mut node = Node::start(&world, &facts);
    node.settle();
    for _ in 0..3 * facts.unsynced_max {
        node.data(1);
        node.settle();
        let state = world.lock().files[&FileId::NodeState].durable.clone();
        let stored = ordain_journal::read_state(&state).unwrap().watermark.index.0;
        assert!(node.cursors.durable.load() <= stored + facts.unsynced_max);
        // It follows at half of W, and sooner when the log is quiet.
        assert!(node.maker.end.index.0 - stored < facts.unsynced_max / 2);
    }
    let end = node.maker.end;
    assert!(node.journal.state().watermark.index < end.index);
    assert_eq!(node.journal.next_deadline(), Some(node.now.mono.plus(20 * Nanos::MILLI)));
    node.rest();
    assert_eq!(node.journal.state().watermark.index, end.index);
    assert_eq!(node.journal.next_deadline(), None, "nothing is left to do");
    // The node state's disk hangs: the log is synced on, and reported up to W.
    world.lock().stalled = true;
    for _ in 0..2 * facts.unsynced_max {
        node.data(1);
        node.settle();
    }
    assert_eq!(node.cursors.written.load(), node.maker.end.index.0);
    assert_eq!(node.cursors.durable.load(), end.index.0 + facts.unsynced_max);
    world.lock().stalled = false;
    node.rest();
    assert_eq!(node.cursors.durable.load(), node.maker.end.index.0);
    assert_eq!(node.cursors.watermark.load(), node.maker.end.index.0);
}

#[test]
fn a_stored_vote_survives_any_crash() {
    let facts = facts(3);
    for budget in 0..40 {
        let world = World::default();
        let mut node = Node::start(&world, &facts);
        node.settle();
        world.lock().budget = Some(budget);
        for term in 1..6 {
            node.vote(term, term % 3 + 1);
            node.settle();
        }
        let stored = node.cursors.vote_stored.load();
        for loss in [0, 0x5555_5555_u32, 0xFFFF_FFFF] {
            let world = world.after_power_loss(|sector| loss >> (sector % 32) & 1 == 1);
            let state = recover(&world, &facts, 2).unwrap().state;
            assert!(state.term.0 >= stored, "budget {budget}: vote {stored} was stored and is gone");
            let voted_for = state.voted_for.map(|node| u64::from(node.0));
            assert!(state.term.0 == 0 || voted_for == Some(state.term.0 % 3), "budget {budget}");
        }
    }
}

#[test]
fn a_closed_journal_is_clean_whenever_the_mark_is_set_and_only_then() {
    let facts = facts(3);
    let mut closed = false;
    for budget in 0.. {
        let world = World::default();
        let mut node = Node::start(&world, &facts);
        node.data(3);
        node.settle();
        world.lock().budget = Some(budget);
        node.data(2);
        node.cursors.log_closed.store(1);
        for _ in 0..100 {
            node.work().unwrap();
        }
        closed = node.cursors.journal_closed.load() == 1;
        let recovered = recover(&world.after_power_loss(|_| false), &facts, 2).unwrap();
        assert!(recovered.was_clean || !closed, "budget {budget}");
        assert!(!recovered.was_clean || recovered.end == node.maker.end, "budget {budget}");
        if closed {
            return;
        }
    }
    assert!(closed);
}

/// Asks for a cut behind batch `keep` and works until the journal has answered, or the disk stands still.
fn cut(node: &mut Node, keep: u64) -> bool {
    let end = node.maker.cut(keep);
    node.cursors.cut.ask(BatchIndex(keep), end.position);
    node.cursors.cut.answer(Holder::Apply);
    node.settle();
    let answered = node.cursors.cut.is_done();
    if answered {
        assert!(node.producer.rewind(end.position), "the journal let go of the ring");
        node.cursors.cut.finish();
    }
    answered
}

#[test]
fn a_cut_over_a_segment_border_may_be_cut_off_anywhere() {
    let facts = facts(3);
    let mut answered = false;
    for budget in 0.. {
        let world = World::default();
        let mut node = Node::start(&world, &facts);
        for units in [2, 1, 2] {
            node.data(units);
        }
        node.rest();
        let keep = node.maker.end;
        for units in [1, 2, 3, 3, 2, 2] {
            node.data(units);
        }
        node.rest();
        assert!(node.maker.end.position.0 > 2 * SEGMENT, "three segments are touched");
        assert_eq!(node.journal.state().watermark.index, node.maker.end.index);
        let original = world.log();
        let ends = node.maker.ends.clone();

        world.lock().budget = Some(budget);
        answered = cut(&mut node, keep.index.0);
        let marked = world.lock().history.len();
        for loss in [0, 0x5555_5555_u32, 0xAAAA_AAAA, 0xFFFF_FFFF] {
            let world = world.after_power_loss(|sector| loss >> (sector % 32) & 1 == 1);
            let recovered = recover(&world, &facts, 2)
                .unwrap_or_else(|error| panic!("budget {budget}, {marked} done: {error}"));
            assert!(recovered.end.index >= keep.index, "budget {budget}");
            assert!(ends.contains(&recovered.end), "budget {budget}");
            assert!(!answered || recovered.end == keep, "budget {budget}: a cut suffix came back");
            let at = recovered.end.position.0 as usize;
            assert_eq!(world.log()[..at], original[..at], "budget {budget}");
            assert!(world.log()[at..].iter().all(|byte| *byte == 0), "budget {budget}");
        }
        if answered {
            // And on it goes, over what was cut.
            world.lock().budget = None;
            node.maker.term = ordain_types::Term(2);
            for units in [3, 3, 3] {
                node.data(units);
            }
            node.close();
            assert_eq!(recover(&world.after_power_loss(|_| false), &facts, 2).unwrap().end, node.maker.end);
            break;
        }
    }
    assert!(answered);
}

#[test]
fn a_cut_waits_for_what_is_in_flight_and_takes_cursors_back() {
    let world = World::default();
    let mut node = Node::start(&world, &facts(3));
    for _ in 0..3 {
        node.data(1);
    }
    node.rest();
    let keep = node.maker.end.index.0;
    world.lock().budget = Some(0);
    node.data(2);
    node.settle();
    assert!(!cut(&mut node, keep), "a write is in flight");
    world.lock().budget = None;
    node.settle();
    assert!(node.cursors.cut.is_done());
    assert_eq!((node.cursors.written.load(), node.cursors.durable.load()), (keep, keep));
    assert!(node.producer.rewind(node.maker.end.position));
    node.cursors.cut.finish();
    node.data(1);
    node.settle();
    assert_eq!(node.cursors.durable.load(), keep + 1);
}

#[test]
fn a_cut_of_what_the_journal_never_saw_changes_nothing_on_disk() {
    let world = World::default();
    let mut node = Node::start(&world, &facts(3));
    node.data(1);
    node.rest();
    let keep = node.maker.end.index.0;
    let batches = node.maker.units(1);
    node.publish(&batches);
    let before = world.lock().history.len();
    assert!(cut(&mut node, keep));
    assert_eq!(world.lock().history.len(), before);
    node.data(2);
    node.settle();
    assert_eq!(node.cursors.durable.load(), keep + 1);
}

#[derive(Clone, Debug)]
enum Act {
    Data(usize),
    Work,
    Rest,
    Vote,
    Cut(u64),
    Kill,
    PowerLoss(u64),
    Close,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (1..=3_usize).prop_map(Act::Data),
        3 => Just(Act::Work),
        1 => Just(Act::Rest),
        1 => Just(Act::Vote),
        1 => (0..6_u64).prop_map(Act::Cut),
        1 => Just(Act::Kill),
        2 => any::<u64>().prop_map(Act::PowerLoss),
        1 => Just(Act::Close),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever happens in whatever order: what was reported written survives a kill, what was reported
    /// durable survives a power loss, a stored vote survives both, and a node that lost something knows it.
    #[test]
    fn nothing_reported_is_lost(acts in prop::collection::vec((act(), 0..12_usize), 1..40)) {
        let facts = facts(3);
        let mut world = World::default();
        let mut node = Node::start(&world, &facts);
        let mut os = 1;
        for (act, budget) in acts {
            match act {
                Act::Data(units) => {
                    let batches = node.maker.units(units);
                    node.maker.durable = BatchIndex(node.cursors.durable.load());
                    node.publish(&batches);
                    world.lock().budget = Some(budget);
                    node.settle();
                    world.lock().budget = None;
                }
                Act::Work => node.settle(),
                Act::Rest => node.rest(),
                Act::Vote => {
                    node.settle();
                    node.vote(node.journal.state().term.0 + 1, 1);
                }
                Act::Cut(back) => {
                    let first = node.maker.ends[0].index.0;
                    let keep = node.maker.end.index.0.saturating_sub(back).max(first);
                    prop_assert!(cut(&mut node, keep));
                    let term = node.journal.state().term.next();
                    node.vote(term.0, 1);
                    node.settle();
                    node.maker.term = term;
                }
                Act::Kill | Act::PowerLoss(_) | Act::Close => {
                    let (written, durable) = (node.cursors.written.load(), node.cursors.durable.load());
                    let (term, stored) = (node.journal.state().term, node.cursors.vote_stored.load());
                    let is_stored = stored == node.vote;
                    if let Act::Close = act {
                        node.settle();
                        node.close();
                    }
                    let last = node.maker.end;
                    let ends = node.maker.ends.clone();
                    world = match act {
                        Act::Kill => world.copy(),
                        Act::PowerLoss(kept) => {
                            os += 1;
                            world.after_power_loss(|sector| kept >> (sector % 64) & 1 == 1)
                        }
                        _ => {
                            os += 1;
                            world.after_power_loss(|_| false)
                        }
                    };
                    node = match Node::try_start(&world, &facts, os) {
                        Ok(node) => node,
                        Err(error) => return Err(TestCaseError::fail(format!("{error}"))),
                    };
                    let found = node.recovered.clone();
                    prop_assert!(found.end.index.0 >= durable);
                    prop_assert!(found.end.index.0 >= written || !found.was_clean);
                    prop_assert!(ends.contains(&found.end) || found.end.index < ends[0].index);
                    prop_assert!(!is_stored || found.state.term == term);
                    if let Act::Close = act {
                        prop_assert!(found.was_clean && found.end == last);
                    }
                    if !found.was_clean {
                        let floor = found.state.floor.unwrap().index.0;
                        // What counted as received: at most W beyond what was reported durable.
                        prop_assert!(floor >= written.min(durable + facts.unsynced_max));
                    }
                    let behind = &world.log()[found.end.position.0 as usize..];
                    prop_assert!(behind.iter().all(|byte| *byte == 0));
                }
            }
        }
    }
}

#[test]
fn damage_below_the_watermark_is_no_tail() {
    let facts = facts(3);
    let world = World::default();
    let mut node = Node::start(&world, &facts);
    node.data(1);
    node.data(1);
    node.close();
    world.poke(node.maker.ends[1].position.0 as usize + 96, |byte| *byte ^= 1);
    assert!(matches!(recover(&world, &facts, 2), Err(RecoveryError::Corrupt(_))));
}

/// The segments that exist.
fn segments(world: &World) -> Vec<u64> {
    let state = world.lock();
    let numbers = state.files.keys().filter_map(|file| match file {
        FileId::Segment(number) => Some(*number),
        _ => None,
    });
    numbers.collect()
}

#[test]
fn segments_go_one_by_one_when_nobody_needs_them() {
    let (world, facts) = (World::default(), facts(1));
    let recovered = recover(&world, &facts, 1).unwrap();
    let mut node = Node::of(&world, &facts, recovered, 3 * SEGMENT);
    while node.maker.end.position.0 < 7 * SEGMENT {
        node.data(2);
        node.settle();
    }
    node.rest();
    let all = segments(&world);
    let mut check = |needless: u64, floor: u64, oldest: u64| {
        node.cursors.needless.store(needless);
        node.cursors.trim_floor.store(floor);
        node.rest();
        assert_eq!(segments(&world), all[oldest as usize..], "{needless} {floor}");
        assert_eq!(node.cursors.oldest.load(), oldest * SEGMENT);
    };
    // Both this node and the others must be able to do without; parts of a segment are not removed.
    check(0, u64::MAX, 0);
    check(u64::MAX, 0, 0);
    check(2 * SEGMENT - 1, u64::MAX, 1);
    check(u64::MAX, 2 * SEGMENT, 2);
    // What is retained stays.
    check(u64::MAX, u64::MAX, 4);
    let removed: Vec<_> =
        world.lock().history.iter().filter(|what| what.starts_with("remove")).cloned().collect();
    assert_eq!(removed, ["remove 0", "remove 1", "remove 2", "remove 3"]);
}

#[test]
fn a_segment_that_cannot_be_removed_stops_nobody() {
    let world = World::default();
    let mut node = Node::start(&world, &facts(1));
    while node.maker.end.position.0 < 4 * SEGMENT {
        node.data(2);
        node.settle();
    }
    let tries = Arc::new(AtomicUsize::new(0));
    let counter = tries.clone();
    world.fail(move |op| {
        matches!(op, DiskOp::Remove { .. }).then(|| {
            counter.fetch_add(1, Ordering::Relaxed);
            DiskError::Io("read-only".into())
        })
    });
    node.cursors.needless.store(u64::MAX);
    node.cursors.trim_floor.store(u64::MAX);
    node.rest();
    node.data(2);
    node.rest();
    assert_eq!((tries.load(Ordering::Relaxed), segments(&world)[0]), (1, 0));
    node.close();
}

#[test]
fn a_new_log_that_is_closed_at_once_is_written_first() {
    let (world, facts) = (World::default(), facts(1));
    let mut node = Node::start(&world, &facts);
    // As when a stop comes before the first cycle: no segment exists, and the log is open for what begins it.
    for batch in node.maker.data(&[b"genesis"]) {
        node.producer.try_claim(batch.len()).unwrap().copy_from_slice(&batch);
        node.producer.publish(batch.len());
    }
    node.close();
    let again = recover(&world, &facts, 1).unwrap();
    assert!(again.was_clean);
    assert_eq!(again.end, node.maker.end);
}
