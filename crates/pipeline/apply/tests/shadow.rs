//! Snapshots on disk: where they lie, what a crash or a fault leaves, and what is restored from them.

use ordain_agent::disk::{DiskOp, FileId};
use ordain_agent::metrics::Registry;
use ordain_agent::shared::Shared;
use ordain_agent::wire::Stored;
use ordain_agent::{Agent, Fatal};
use ordain_api::{AppFactory, Buf, RestoreError, Step};
use ordain_apply::testkit::files::{File, Lane, World};
use ordain_apply::testkit::{CLIENT, Log, execute, facts};
use ordain_apply::{Discard, Progress, Replica, Restore, Restored, Shadow, ShadowParts};
use ordain_counter::{CounterDecoder, CounterEncoder, CounterFactory, Counters, Request, SCHEMA};
use ordain_journal::LogReader;
use ordain_ring::spsc::{Receiver, channel};
use ordain_types::configuration::Configuration;
use ordain_types::frame::OpenBody;
use ordain_types::members::Member;
use ordain_types::{
    BatchIndex, BatchKind, BatchView, ClusterFacts, Nanos, NodeId, Now, Position, RecordHeader, RecordKind,
    RecordView, Seq, SessionId, Stint,
};
use std::collections::BTreeMap;
use zerocopy::{FromBytes, IntoBytes};

const SEGMENT: u64 = 4096;
const SEGMENTS: u64 = 9;

type Copy = Replica<Counters, CounterDecoder, CounterEncoder>;
fn snapshots(world: &World) -> BTreeMap<u64, Vec<u8>> {
    let found = world.files().into_iter().filter_map(|(file, content)| match file {
        FileId::Snapshot(position) => Some((position, content.written)),
        _ => None,
    });
    found.collect()
}

fn restore(world: &World) -> Option<Restored<Counters, CounterDecoder, CounterEncoder>> {
    let mut restore = Restore::new(&small(), CounterDecoder, CounterEncoder);
    let mut lane = world.lane();
    loop {
        if let Progress::Done(restored) = restore.step(&CounterFactory, &mut lane).unwrap() {
            return restored;
        }
    }
}

fn small() -> ClusterFacts {
    ClusterFacts { segment_size: SEGMENT, batch_max: 1024, payload_max: 256, ..facts() }
}

/// A log of nine segments, with a session, requests, outputs and replies not yet confirmed; `by` makes
/// different logs.
fn log(by: i64) -> Vec<Vec<u8>> {
    log_of(by, None)
}

/// The same, with a control batch in its first segment.
fn log_of(by: i64, control: Option<&[u8]>) -> Vec<Vec<u8>> {
    let facts = small();
    let (mut log, mut batches) = Log::new(&facts, &CounterFactory);
    batches.extend(control.map(|body| log.control(body)));
    let open = RecordHeader { key: CLIENT.0.into(), ..Log::header(RecordKind::SessionOpen) };
    let session = log.push(open, OpenBody { reserved: [0; 8] }.as_bytes());
    batches.push(log.seal(BatchKind::Data));
    let mut number = 0;
    while log.position().0 < SEGMENTS * SEGMENT - 1024 {
        if SEGMENT - log.position().0 % SEGMENT < 512 {
            batches.extend(log.next_segment(&facts));
        }
        for request in [Request::Add { counter: 3, by }, Request::Burst { counter: 1, count: 2 }] {
            number += 1;
            log.push(request_header(session, number), &request.to_wire());
        }
        batches.push(log.seal(BatchKind::Data));
    }
    batches
}

fn request_header(session: Seq, number: u64) -> RecordHeader {
    RecordHeader {
        schema: SCHEMA,
        session: session.0.into(),
        number: number.into(),
        open_span: (number - 1).min(3).try_into().map(u16::into).unwrap(),
        key: CLIENT.0.into(),
        ..Log::header(RecordKind::Request)
    }
}

/// The log as segments on a disk.
fn world(batches: &[Vec<u8>]) -> World {
    let mut bytes = batches.concat();
    bytes.resize((SEGMENTS * SEGMENT) as usize, 0);
    let segments = bytes.chunks(SEGMENT as usize).zip(0..);
    World::of(segments.map(|(bytes, number)| (FileId::Segment(number), File::of(bytes))).collect())
}

struct Bench {
    shadow: Shadow<CounterFactory, CounterDecoder, CounterEncoder, Lane>,
    shared: Shared,
    registry: Registry,
    stored: Receiver,
    now: Now,
}

/// What the shadow told of its snapshots: positions and hashes.
fn told(stored: &mut Receiver) -> Vec<(u64, u64, [u8; 32])> {
    let mut told = Vec::new();
    while let Some(bytes) = stored.peek() {
        let message = Stored::ref_from_bytes(bytes).unwrap();
        told.push((message.position.get(), message.bytes.get(), message.hash));
        stored.release();
    }
    told
}

impl Bench {
    /// A shadow of a node that has everything committed, synced and applied.
    fn new(world: &World, batches: &[Vec<u8>], every: u64) -> Self {
        let (shared, registry) = (Shared::default(), Registry::default());
        for cursor in [&shared.written, &shared.committed, &shared.watermark, &shared.applied] {
            cursor.store(batches.len() as u64);
        }
        shared.room.store((SEGMENTS + 1) * SEGMENT);
        let log = LogReader::segments_only(SEGMENT, Position(0), BatchIndex(1), shared.clone(), world.lane());
        let (sender, stored) = channel(1024);
        let shadow = Shadow::new(ShadowParts {
            facts: &small(),
            factory: CounterFactory,
            decoder: CounterDecoder,
            encoder: CounterEncoder,
            log,
            disk: world.lane(),
            shared: shared.clone(),
            every,
            stored: Some(sender),
            registry: &registry,
        });
        Self { shadow, shared, registry, stored, now: Now { mono: Nanos(1), wall: Nanos(1) } }
    }

    fn work(&mut self) -> Result<usize, Fatal> {
        self.shadow.do_work(self.now, 16)
    }

    /// Works until nothing moves any more, on a machine with nothing else to do.
    fn settle(&mut self) {
        let mut idle = 0;
        while idle < 8 {
            self.now.mono = self.now.mono.plus(20 * Nanos::MILLI);
            idle = if self.work().unwrap() == 0 { idle + 1 } else { 0 };
        }
    }

    fn metric(&self, name: &str) -> u64 {
        self.registry.value(name).unwrap()
    }
}

/// Every snapshot that the log asks for, as written by a shadow whose older ones are never removed.
fn all_snapshots(batches: &[Vec<u8>]) -> BTreeMap<u64, Vec<u8>> {
    let world = world(batches);
    world.fail(Some(|op| matches!(op, DiskOp::Remove { .. })));
    // A failed removal gives up what follows, so one shadow writes one snapshot at a time.
    for _ in 0..SEGMENTS {
        Bench::new(&world, batches, 1).settle();
    }
    snapshots(&world)
}

fn run(copy: &mut Copy, batches: &[Vec<u8>]) {
    for batch in batches {
        execute(copy, &BatchView::parse(batch).unwrap(), Stint::ZERO);
    }
}

fn full(batches: &[Vec<u8>]) -> Copy {
    let mut copy = Replica::new(&small(), &CounterFactory, CounterDecoder, CounterEncoder);
    run(&mut copy, batches);
    copy
}

#[test]
fn a_snapshot_lies_in_front_of_each_segment_that_is_due_and_two_are_kept() {
    let batches = log(5);
    for every in 1..=4 {
        let world = world(&batches);
        let mut bench = Bench::new(&world, &batches, every);
        bench.settle();
        let due: Vec<u64> = (1..SEGMENTS).filter(|n| n % every == 0).map(|n| n * SEGMENT).collect();
        let kept = &due[due.len() - 2..];
        assert_eq!(snapshots(&world).into_keys().collect::<Vec<_>>(), kept);
        assert_eq!(bench.metric("ordain_snapshots_total"), due.len() as u64);
        assert_eq!((bench.shared.needless.load(), bench.shared.snapshot.load()), (kept[0], kept[1]));
        assert!(!world.files().contains_key(&FileId::SnapshotDraft));
    }
}

#[test]
fn what_is_stored_is_told_with_the_hash_of_its_bytes() {
    let batches = log(5);
    let world = world(&batches);
    let mut bench = Bench::new(&world, &batches, 4);
    bench.settle();
    let snapshots = snapshots(&world);
    let expected = |position: &u64| {
        let bytes = &snapshots[position];
        (*position, bytes.len() as u64, bytes[bytes.len() - 32..].try_into().unwrap())
    };
    let both: Vec<_> = snapshots.keys().map(expected).collect();
    assert_eq!(told(&mut bench.stored), both);
    // A later life tells of the one that it began with.
    let mut later = Bench::new(&world, &batches, 4);
    later.settle();
    assert_eq!(told(&mut later.stored), both[1..]);
}

#[test]
fn nothing_is_needless_before_apply_is_past_it() {
    let batches = log(5);
    let world = world(&batches);
    let mut bench = Bench::new(&world, &batches, 1);
    bench.shared.applied.store(3);
    bench.settle();
    assert_eq!(bench.shared.needless.load(), 0);
    bench.shared.applied.store(batches.len() as u64);
    bench.settle();
    assert_eq!(bench.shared.needless.load(), (SEGMENTS - 2) * SEGMENT);
}

#[test]
fn nodes_that_differ_in_all_but_the_log_store_the_same_bytes() {
    let batches = log(5);
    let one = all_snapshots(&batches);
    // Restored on the way, and due less often.
    let world = world(&batches);
    Bench::new(&world, &batches[..batches.len() / 2], 1).settle();
    let mut bench = Bench::new(&world, &batches, 2);
    bench.settle();
    let other = snapshots(&world);
    assert_eq!(other.len(), 2);
    assert!(other.iter().all(|(position, bytes)| one[position] == *bytes));
}

#[test]
fn a_restored_copy_that_replays_the_rest_is_the_copy_that_replayed_everything() {
    let batches = log(5);
    let world = world(&batches);
    Bench::new(&world, &batches, 1).settle();
    let mut restored = restore(&world).unwrap();
    let from = restored.anchor.end.index.0 as usize;
    assert_eq!(restored.anchor.end.position.0, (SEGMENTS - 1) * SEGMENT);
    let previous = BatchView::parse(&batches[from]).unwrap().header.previous();
    assert_eq!(restored.anchor.end.chain, previous);
    let whole = full(&batches);
    // Duplicates of what was executed before the snapshot get the original replies.
    let (before, session) = (full(&batches[..from]), SessionId(4));
    let (next, floor) = before.resume(session, CLIENT).unwrap();
    assert_eq!(restored.replica.resume(session, CLIENT), Ok((next, floor)));
    assert!(next.0 > floor.0);
    for number in floor.0..next.0 {
        let payload = if number % 2 == 1 {
            Request::Add { counter: 3, by: 5 }.to_wire()
        } else {
            Request::Burst { counter: 1, count: 2 }.to_wire()
        };
        let header = RecordHeader { length: (payload.len() as u32).into(), ..request_header(Seq(4), number) };
        let record = RecordView { header: &header, payload: &payload };
        let ask = |copy: &Copy| {
            let mut bytes = [0; 256];
            let mut buf = Buf::new(&mut bytes);
            (copy.duplicate(&record, &mut buf), buf.written().to_vec())
        };
        assert_eq!(ask(&restored.replica), ask(&before));
        assert_eq!(ask(&before).0.0, ordain_types::codes::Code::Executed);
    }
    run(&mut restored.replica, &batches[from..]);
    assert_eq!(restored.replica.hash_after_batch(), whole.hash_after_batch());
    let bytes = ordain_apply::testkit::snapshot_of;
    assert!(bytes(&restored.replica) == bytes(&whole));
}

#[test]
fn cut_off_at_any_operation_what_has_a_name_is_whole_and_the_work_goes_on() {
    let batches = log(5);
    let expected = all_snapshots(&batches);
    let undisturbed = world(&batches);
    Bench::new(&undisturbed, &batches, 1).settle();
    let operations = undisturbed.done();
    assert!(operations > 4 * 8);
    for budget in 0..=operations {
        for keeps in [false, true] {
            let world = world(&batches);
            world.set_budget(Some(budget));
            Bench::new(&world, &batches, 1).settle();
            let crashed = world.after_crash(keeps);
            let found = snapshots(&crashed);
            assert!(found.iter().all(|(position, bytes)| expected[position] == *bytes), "after {budget}");
            let restored = restore(&crashed).map(|restored| restored.anchor.end.position.0);
            assert_eq!(restored, found.keys().last().copied());
            Bench::new(&crashed, &batches, 1).settle();
            // A third stays where the crash came before its removal and no further snapshot was due.
            let left = snapshots(&crashed);
            let newest: Vec<_> = left.keys().rev().take(2).copied().collect();
            assert_eq!(newest, [8 * SEGMENT, 7 * SEGMENT], "after {budget}");
            assert!(left.len() <= 3 && left.iter().all(|(position, bytes)| expected[position] == *bytes));
        }
    }
}

#[test]
fn a_write_that_fails_costs_one_snapshot_and_no_more() {
    let batches = log(5);
    let failures: [fn(&DiskOp) -> bool; 4] = [
        |op| matches!(op, DiskOp::Create { .. }),
        |op| matches!(op, DiskOp::Write { .. }),
        |op| matches!(op, DiskOp::Sync { .. }),
        |op| matches!(op, DiskOp::Rename { .. }),
    ];
    for fails in failures {
        let world = world(&batches);
        let half = batches.len() / 2;
        world.fail(Some(fails));
        let mut bench = Bench::new(&world, &batches, 1);
        bench.shared.committed.store(half as u64);
        bench.settle();
        assert!(bench.metric("ordain_snapshot_failures_total") >= 3);
        assert_eq!((snapshots(&world).len(), bench.shared.needless.load()), (0, 0));
        assert!(!world.files().contains_key(&FileId::SnapshotDraft), "no space is held");
        world.fail(None);
        bench.shared.committed.store(batches.len() as u64);
        bench.settle();
        assert_eq!(snapshots(&world).into_keys().collect::<Vec<_>>(), [7 * SEGMENT, 8 * SEGMENT]);
    }
}

#[test]
fn a_snapshot_changed_at_any_byte_or_cut_short_is_passed_over() {
    let batches = log(5);
    let world = world(&batches);
    Bench::new(&world, &batches, 1).settle();
    let newest = FileId::Snapshot(8 * SEGMENT);
    let bytes = world.files()[&newest].written.clone();
    let position = |bytes: Vec<u8>| {
        world.edit(|files| files.insert(newest, File::of(&bytes)));
        restore(&world).map(|restored| restored.anchor.end.position.0)
    };
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1 << (at % 8);
        assert_eq!(position(changed), Some(7 * SEGMENT), "byte {at}");
        assert_eq!(position(bytes[..at].to_vec()), Some(7 * SEGMENT), "cut at {at}");
    }
    assert_eq!(position([&bytes[..], &[0]].concat()), Some(7 * SEGMENT), "something behind it");
    assert_eq!(position(bytes), Some(8 * SEGMENT));
}

#[test]
fn a_snapshot_of_another_log_or_place_is_passed_over() {
    let (batches, others) = (log(5), log(6));
    let (world, other) = (world(&batches), world(&others));
    Bench::new(&world, &batches, 1).settle();
    Bench::new(&other, &others, 1).settle();
    let position = || restore(&world).map(|restored| restored.anchor.end.position.0);
    let (newest, older) = (FileId::Snapshot(8 * SEGMENT), FileId::Snapshot(7 * SEGMENT));
    let insert = |file, content: &File| world.edit(|files| files.insert(file, content.clone()));
    insert(newest, &other.files()[&newest]);
    assert_eq!(position(), Some(7 * SEGMENT), "its chain does not lead here");
    insert(newest, &world.files()[&older]);
    assert_eq!(position(), Some(7 * SEGMENT), "it is not where its name says");
    world.edit(|files| files.remove(&FileId::Segment(7)));
    assert_eq!(position(), None, "the segment behind it is not there");
}

#[test]
fn without_the_logs_beginning_a_snapshot_is_used_though_the_batch_behind_it_is_damaged() {
    let batches = log(5);
    let world = world(&batches);
    Bench::new(&world, &batches, 1).settle();
    let position = || restore(&world).map(|restored| restored.anchor.end.position.0);
    let flip = |segment: u64, at: usize| {
        world.edit(|files| files.get_mut(&FileId::Segment(segment)).unwrap().written[at] ^= 1);
    };
    flip(8, 120);
    assert_eq!(position(), Some(7 * SEGMENT), "another one is bound to its segment");
    flip(7, 3);
    assert_eq!(position(), None, "the log is there from its beginning on");
    world.edit(|files| files.retain(|file, _| !matches!(file, FileId::Segment(0..7))));
    assert_eq!(position(), Some(8 * SEGMENT));
    // A batch that is whole and does not follow is another log's.
    let foreign = log(6);
    let foreign = self::world(&foreign).files()[&FileId::Segment(8)].clone();
    world.edit(|files| files.insert(FileId::Segment(8), foreign));
    assert_eq!(position(), Some(7 * SEGMENT));
    flip(7, 3);
    assert_eq!(position(), Some(7 * SEGMENT), "it is whole again");
}

/// A build that lacks the counters' later behaviour.
struct Older;

impl AppFactory for Older {
    type App = Counters;

    fn identity(&self) -> (&'static str, u32) {
        CounterFactory.identity()
    }

    fn create(&self) -> Counters {
        CounterFactory.create()
    }

    fn restore(&self, version: u32) -> Result<Counters, RestoreError> {
        CounterFactory.restore(version)
    }
}

#[test]
fn a_build_that_lacks_the_level_of_a_snapshot_stops_and_asks_for_a_newer_one() {
    let member = Member { id: NodeId(0), peer: String::new(), client: String::new(), key: [0; 32] };
    let mut body = Vec::new();
    Configuration { version: 1, level: 1, ..Configuration::initial(&small(), &[member]) }.encode(&mut body);
    let batches = log_of(5, Some(&body));
    let world = world(&batches);
    Bench::new(&world, &batches, 1).settle();
    assert!(restore(&world).is_some());
    let mut restore = Restore::new(&small(), CounterDecoder, CounterEncoder);
    let mut lane = world.lane();
    let said = loop {
        match restore.step(&Older, &mut lane) {
            Ok(Progress::Done(_)) => panic!("passed over: what follows would be taken for a damaged journal"),
            Ok(_) => {}
            Err(fatal) => break fatal.to_string(),
        }
    };
    assert!(said.contains("level 1") && said.contains("Install the build"), "{said}");
}

#[test]
fn it_gives_way_to_a_busy_node_until_it_lags_by_a_segment() {
    let batches = log(5);
    let world = world(&batches);
    let mut bench = Bench::new(&world, &batches, 1);
    bench.shared.written.store(0);
    for _ in 0..3 {
        bench.work().unwrap();
    }
    bench.shared.room.store(3 * SEGMENT - 1);
    for batch in 1..=20 {
        bench.shared.written.store(batch);
        bench.now.mono = bench.now.mono.plus(Nanos::MICRO);
        assert_eq!(bench.work().unwrap(), 0, "the log grows");
    }
    // Lagging, it works all the same.
    bench.shared.room.store(3 * SEGMENT);
    bench.shared.written.store(batches.len() as u64);
    let worked: usize = (0..4).map(|_| bench.work().unwrap()).sum();
    assert!(worked > 0);
    bench.settle();
    assert_eq!(snapshots(&world).len(), 2);
}

#[test]
fn only_what_is_committed_and_below_the_watermark_is_applied() {
    let batches = log(5);
    for (committed, watermark) in [(10, 40), (40, 10)] {
        let world = world(&batches);
        let mut bench = Bench::new(&world, &batches, 1);
        bench.shared.committed.store(committed);
        bench.shared.watermark.store(watermark);
        bench.settle();
        assert_eq!(bench.metric("ordain_shadow_applied_batch"), 10);
    }
}

/// Whoever runs it would spin if it asked to be called at a time that is past.
#[test]
fn what_has_nothing_to_do_asks_for_a_later_time() {
    let batches = log(5);
    let mut bench = Bench::new(&world(&batches), &batches, 1);
    bench.shared.committed.store(10);
    bench.settle();
    let next = bench.shadow.next_deadline().expect("there is more to come");
    assert!(next > bench.now.mono);
    bench.shared.committed.store(batches.len() as u64);
    bench.settle();
    assert_eq!(bench.shadow.next_deadline(), None, "everything is applied and stored");
}

#[test]
fn the_copy_without_answers_is_the_copy_with_them() {
    let batches = log(5);
    let mut silent = Replica::new(&small(), &CounterFactory, CounterDecoder, CounterEncoder);
    for batch in &batches {
        let batch = BatchView::parse(batch).unwrap();
        silent.begin_batch(&batch, Stint::ZERO).unwrap();
        while silent.step(&batch, &mut Discard::default()).unwrap() == Step::More {}
    }
    assert_eq!(silent.hash_after_batch(), full(&batches).hash_after_batch());
}
