//! A snapshot on its way from one node to another, whatever happens to either or to the wire.

mod common;

use common::{File, Files, Node, Pair, SEGMENT, World, log, segments, small, snapshot};
use ordain_agent::disk::{DiskOp, FileId};
use ordain_agent::side::Side;
use ordain_journal::{Floor, Mark, NodeState, read_state, write_state};
use ordain_transfer::message::{Held, kind};
use ordain_transfer::{Succeed, SuccessionError};
use ordain_types::{BatchIndex, BatchView, Boot, NodeId, Position, Term};

/// The segment in front of which the newer of two snapshots lies.
const NEWER: u64 = 5;
const OLDER: u64 = 4;

/// The files of a node that has trimmed, and its snapshots, the newer last.
fn leader() -> (World, [Held; 2]) {
    let batches = log(7);
    let mut files = segments(&batches);
    files.retain(|file, _| !matches!(file, FileId::Segment(number) if *number < OLDER));
    let held = [OLDER, NEWER].map(|number| {
        let (held, bytes) = snapshot(&batches, number);
        files.insert(FileId::Snapshot(number * SEGMENT), File::of(&bytes));
        held
    });
    (World::of(files), held)
}

/// The state of a node that lost power: it owes a floor. The watermark is behind the end of its log's second segment.
fn state() -> NodeState {
    NodeState {
        term: Term(7),
        voted_for: Some(NodeId(2)),
        ack_term: Term(6),
        boot: Boot(3),
        clean: false,
        watermark: Mark { index: BatchIndex(10), position: Position(SEGMENT) },
        floor: Some(Floor { term: Term(6), index: BatchIndex(900) }),
        ..NodeState::new(&small())
    }
}

/// The files of a node that stopped two segments after the log began.
fn laggard() -> Files {
    let mut files = segments(&log(7));
    files.retain(|file, _| !matches!(file, FileId::Segment(number) if *number > 1));
    files.insert(FileId::NodeState, File::of(&write_state(&state())));
    files.insert(FileId::Snapshot(SEGMENT), File::of(&snapshot(&log(7), 1).1));
    files
}

fn pair(leader: &(World, [Held; 2]), laggard: &World) -> Pair {
    let mut node = Node::new(0, &leader.0);
    leader.1.iter().for_each(|held| node.stored(*held));
    Pair::new(node, Node::new(1, laggard))
}

fn incoming(world: &World) -> Vec<u8> {
    world.files()[&FileId::Incoming(NEWER * SEGMENT)].durable.clone()
}

fn original() -> Vec<u8> {
    snapshot(&log(7), NEWER).1
}

#[test]
fn the_newest_snapshot_comes_whole() {
    let (leader, laggard) = (leader(), World::of(laggard()));
    let mut pair = pair(&leader, &laggard);
    pair.fetch();
    assert!(incoming(&laggard) == original());
    let successor = pair.laggard.exchange.successor().unwrap();
    assert_eq!(successor.last, leader.1[1].index);
    assert_eq!(pair.laggard.metric("ordain_snapshot_received_bytes_total"), original().len() as u64);
    assert_eq!(pair.laggard.metric("ordain_snapshot_refused_total"), 0);
    // Nothing of the log has changed, and nothing does before the log stage says so.
    for _ in 0..100 {
        pair.step().unwrap();
    }
    let mut files = laggard.files();
    files.remove(&FileId::Incoming(NEWER * SEGMENT));
    assert!(files == self::laggard());
    // The log has caught up by other ways.
    pair.laggard.exchange.succeed(false);
    pair.step().unwrap();
    pair.step().unwrap();
    assert!(laggard.files() == self::laggard(), "what came is thrown away");
}

#[test]
fn what_a_node_is_being_sent_stays() {
    let (leader, laggard) = (leader(), World::of(laggard()));
    let mut pair = pair(&leader, &laggard);
    while pair.laggard.exchange.successor().is_none() {
        pair.step().unwrap();
        if pair.leader.metric("ordain_snapshot_offers_total") > 0 {
            assert_eq!(pair.leader.shared.pinned.load(), NEWER * SEGMENT);
            assert!(pair.leader.shared.trim_floor.load() <= NEWER * SEGMENT);
        }
    }
    // The laggard is quiet: it has what it asked for, and is not waited for without end.
    pair.disconnect();
    pair.now += 11_000_000_000;
    let now = common::at(pair.now);
    pair.leader.work(now).unwrap();
    assert_eq!(pair.leader.shared.pinned.load(), 0);
}

#[test]
fn each_altered_part_is_refused_and_asked_for_anew() {
    let (leader, laggard) = (leader(), World::of(laggard()));
    let mut pair = pair(&leader, &laggard);
    let mut parts = 0;
    pair.tamper = Box::new(move |kind, body| {
        parts += usize::from(kind == kind::PART);
        if kind == kind::PART && parts % 2 == 1 && parts < 9 {
            let at = 24 + (parts * 997) % (body.len() - 24);
            body[at] ^= 0x10;
        }
        true
    });
    pair.leader.wire.room = 1200;
    pair.fetch();
    assert!(incoming(&laggard) == original());
    assert!(pair.laggard.metric("ordain_snapshot_refused_total") > 0);
}

#[test]
fn lost_frames_are_asked_for_anew() {
    let (leader, laggard) = (leader(), World::of(laggard()));
    let mut pair = pair(&leader, &laggard);
    let mut frames = 0;
    pair.tamper = Box::new(move |_, _| {
        frames += 1;
        frames % 3 != 0
    });
    pair.leader.wire.room = 1200;
    pair.fetch();
    assert!(incoming(&laggard) == original());
}

#[test]
fn a_broken_connection_and_a_restart_of_either_end_go_on_where_they_were() {
    let (leader, laggard) = (leader(), World::of(laggard()));
    let mut pair = pair(&leader, &laggard);
    pair.leader.wire.room = 600;
    for round in 0..6 {
        let before = pair.laggard.metric("ordain_snapshot_received_bytes_total");
        while pair.laggard.metric("ordain_snapshot_received_bytes_total") == before {
            pair.step().unwrap();
        }
        // What is checked comes to the disk.
        (0..5).for_each(|_| pair.laggard.work(common::at(pair.now)).map(drop).unwrap());
        pair.disconnect();
        match round % 3 {
            0 => {}
            1 => pair.laggard = Node::new(1, &laggard),
            _ => {
                pair.leader = Node::new(0, &leader.0);
                pair.leader.wire.room = 600;
                leader.1.iter().for_each(|held| pair.leader.stored(*held));
            }
        }
        pair.connect();
    }
    let before = pair.laggard.metric("ordain_snapshot_received_bytes_total");
    pair.fetch();
    let last = pair.laggard.metric("ordain_snapshot_received_bytes_total") - before;
    assert!(incoming(&laggard) == original());
    assert!(pair.laggard.metric("ordain_snapshot_resumed_total") > 0);
    assert!(last < original().len() as u64, "the parts that were whole did not come again");
}

#[test]
fn a_snapshot_that_is_damaged_at_its_source_is_replaced_by_the_other() {
    let (leader, laggard) = (leader(), World::of(laggard()));
    leader.0.edit(|files| {
        let file = files.get_mut(&FileId::Snapshot(NEWER * SEGMENT)).unwrap();
        let middle = file.written.len() / 2;
        file.written[middle] ^= 1;
    });
    let mut pair = pair(&leader, &laggard);
    pair.fetch();
    assert_eq!(pair.laggard.exchange.successor().unwrap().last, leader.1[0].index);
    let files = laggard.files();
    assert!(!files.contains_key(&FileId::Incoming(NEWER * SEGMENT)));
    assert!(files[&FileId::Incoming(OLDER * SEGMENT)].durable == snapshot(&log(7), OLDER).1);
}

#[test]
fn a_sound_snapshot_that_is_not_the_one_offered_is_refused() {
    let mut leader = leader();
    // Its hashes are in order, but it is another one than was announced.
    leader.1[1].hash[0] ^= 1;
    let laggard = World::of(laggard());
    let mut pair = pair(&leader, &laggard);
    pair.fetch();
    assert_eq!(pair.laggard.exchange.successor().unwrap().last, leader.1[0].index);
}

#[test]
fn a_full_disk_is_waited_for() {
    let (leader, laggard) = (leader(), World::of(laggard()));
    laggard.fail(Some(|op| matches!(op, DiskOp::Write { file: FileId::Incoming(_), .. })));
    let mut pair = pair(&leader, &laggard);
    for _ in 0..3000 {
        pair.step().unwrap();
    }
    assert!(pair.laggard.exchange.successor().is_none());
    assert!(laggard.files() == self::laggard(), "no space is held");
    laggard.fail(None);
    pair.fetch();
    assert!(incoming(&laggard) == original());
}

#[test]
fn a_disk_that_is_full_when_the_log_is_to_be_replaced_is_waited_for() {
    let fills: [fn(&DiskOp) -> bool; 2] = [
        |op| matches!(op, DiskOp::Create { file: FileId::Succession, .. }),
        |op| matches!(op, DiskOp::Write { file: FileId::Succession, .. }),
    ];
    for fills in fills {
        let (leader, laggard) = (leader(), World::of(laggard()));
        let mut pair = pair(&leader, &laggard);
        pair.fetch();
        laggard.fail(Some(fills));
        for _ in 0..20 {
            assert!(!freeze(&mut pair), "it goes on without having stored that");
        }
        laggard.fail(None);
        assert!((0..100).any(|_| freeze(&mut pair)), "it goes on when there is room");
        assert_eq!(succeed(&laggard), Some(Ok(Some(Position(NEWER * SEGMENT)))));
        check_succeeded(&laggard);
    }
}

/// Steps until the life ends to begin anew.
fn freeze(pair: &mut Pair) -> bool {
    pair.laggard.exchange.succeed(true);
    for _ in 0..100 {
        if let Err(fatal) = pair.step() {
            assert!(fatal.begins_anew, "{fatal}");
            return true;
        }
    }
    false
}

fn succeed(world: &World) -> Option<Result<Option<Position>, SuccessionError>> {
    let (mut succeed, mut lane) = (Succeed::new(&small()), world.lane());
    for _ in 0..1000 {
        match succeed.step(&mut lane) {
            Ok(None) => {}
            Ok(Some(outcome)) => return Some(Ok(outcome)),
            Err(error) => return Some(Err(error)),
        }
    }
    None
}

/// The directory of a node whose log a snapshot has replaced.
#[track_caller]
fn check_succeeded(world: &World) {
    let files = world.files();
    let names: Vec<_> = files.keys().copied().collect();
    let expected = [FileId::Segment(NEWER), FileId::NodeState, FileId::Snapshot(NEWER * SEGMENT)];
    assert_eq!(names, expected);
    assert!(files[&FileId::Snapshot(NEWER * SEGMENT)].durable == original());
    let segment = &files[&FileId::Segment(NEWER)].durable;
    let start = BatchView::parse(segment).unwrap();
    assert!(start.segment_start().is_some() && segment[start.bytes().len()..].iter().all(|byte| *byte == 0));
    assert_eq!(segment.len() as u64, SEGMENT);
    let found = read_state(&files[&FileId::NodeState].durable).unwrap();
    // What was owed is owed, and what was promised holds.
    let NodeState { term, voted_for, ack_term, boot, floor, .. } = state();
    assert_eq!(
        (found.term, found.voted_for, found.ack_term, found.boot, found.floor),
        (term, voted_for, ack_term, boot, floor)
    );
}

/// A node whose next start lets a snapshot take the log's place.
fn decided() -> World {
    let (leader, laggard) = (leader(), World::of(laggard()));
    let mut pair = pair(&leader, &laggard);
    pair.fetch();
    assert!(freeze(&mut pair));
    laggard
}

#[test]
fn a_snapshot_takes_the_logs_place_at_the_next_start() {
    let world = decided();
    assert_eq!(succeed(&world), Some(Ok(Some(Position(NEWER * SEGMENT)))));
    check_succeeded(&world);
    assert_eq!(succeed(&world), Some(Ok(None)), "the next start has nothing to do");
    check_succeeded(&world);
}

#[test]
fn a_crash_at_any_step_of_the_decision_leaves_the_log_or_the_succession() {
    for budget in 0..3 {
        for keeps in [false, true] {
            let (leader, laggard) = (leader(), World::of(laggard()));
            let mut pair = pair(&leader, &laggard);
            pair.fetch();
            laggard.set_budget(Some(budget));
            assert!(!freeze(&mut pair));
            let after = laggard.after_crash(keeps);
            assert_eq!(succeed(&after), Some(Ok(None)), "{budget} {keeps}");
            let mut files = after.files();
            files.remove(&FileId::Incoming(NEWER * SEGMENT));
            assert!(files == self::laggard(), "the log stands as it was");
        }
    }
}

#[test]
fn a_crash_at_any_step_of_the_succession_is_gone_on_from() {
    let world = decided();
    world.set_budget(None);
    succeed(&world).unwrap().unwrap();
    let steps = world.done();
    assert!(steps >= 12, "{steps}");
    for first in 0..steps {
        for keeps in [false, true] {
            let world = decided();
            world.set_budget(Some(first));
            assert_eq!(succeed(&world), None);
            let again = world.after_crash(keeps);
            // And once more, a step later.
            again.set_budget(Some(1));
            let outcome = succeed(&again);
            let last = again.after_crash(keeps);
            if outcome.is_none() {
                assert_eq!(succeed(&last), Some(Ok(Some(Position(NEWER * SEGMENT)))), "{first} {keeps}");
            }
            check_succeeded(&last);
        }
    }
}

#[test]
fn a_watermark_of_what_never_was_committed_does_not_outlive_it() {
    let world = decided();
    let beyond = Mark { index: BatchIndex(5000), position: Position(100 * SEGMENT) };
    let cut = Some(Mark { index: BatchIndex(5001), position: Position(100 * SEGMENT + 128) });
    let ahead = NodeState { watermark: beyond, cut, ..state() };
    world.edit(|files| {
        files.insert(FileId::NodeState, File::of(&write_state(&ahead)));
    });
    for budget in [Some(0), Some(1), Some(2), Some(3), None] {
        world.set_budget(budget);
        let _ = succeed(&world);
    }
    check_succeeded(&world);
    let file = &world.files()[&FileId::NodeState].durable;
    let held = snapshot(&log(7), NEWER).0;
    for slot in file.chunks(file.len() / 2) {
        // Each slot alone.
        let mut alone = slot.to_vec();
        alone.resize(file.len(), 0);
        let found = read_state(&alone).unwrap();
        assert_eq!(found.watermark, Mark { index: held.index, position: held.position });
        assert_eq!(found.cut, None);
    }
}

#[test]
fn one_slot_of_the_node_state_is_on_the_device_at_every_step() {
    let whole = write_state(&state());
    let half = whole.len() / 2;
    for unsynced in [0, half] {
        let world = decided();
        world.edit(|files| {
            // The process was killed before the sync.
            let mut file = File::of(&whole);
            file.durable[unsynced..unsynced + half].fill(0);
            files.insert(FileId::NodeState, file);
        });
        for budget in 1.. {
            world.set_budget(Some(budget));
            let is_over = succeed(&world).is_some();
            let File { durable, written } = &world.files()[&FileId::NodeState];
            let is_safe = |at: usize| durable[at..at + half] == written[at..at + half];
            assert!(is_safe(0) || is_safe(half), "power would cost both");
            if is_over {
                break;
            }
        }
        check_succeeded(&world);
    }
}

#[test]
fn a_snapshot_that_is_damaged_when_it_should_succeed_leaves_the_log() {
    let world = decided();
    world.edit(|files| {
        let file = files.get_mut(&FileId::Incoming(NEWER * SEGMENT)).unwrap();
        *file.written.last_mut().unwrap() ^= 1;
    });
    assert_eq!(succeed(&world), Some(Ok(None)));
    assert!(world.files() == laggard(), "the log stands as it was");
}

#[test]
fn a_snapshot_that_is_damaged_once_the_log_is_gone_is_told() {
    let world = decided();
    world.edit(|files| {
        files.retain(|file, _| !matches!(file, FileId::Segment(_)));
        let file = files.get_mut(&FileId::Incoming(NEWER * SEGMENT)).unwrap();
        file.written.pop();
    });
    let lost = SuccessionError::Lost { position: Position(NEWER * SEGMENT) };
    assert_eq!(succeed(&world), Some(Err(lost)));
}
