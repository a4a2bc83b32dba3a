//! Snapshots: whole or refused, whatever is done to their bytes.

use ordain_api::{AppFactory, Step, Stream};
use ordain_apply::snapshot::{Loader, SnapshotError, Writer};
use ordain_apply::testkit::{CLIENT, OTHER, Testkit, facts, snapshot_of};
use ordain_apply::{Discard, Replica};
use ordain_counter::{CounterDecoder, CounterEncoder, CounterFactory, Counters, Request, SCHEMA};
use ordain_types::{BatchKind, BatchView, ClusterFacts, Nanos, RecordHeader, RecordKind, Stint};
use proptest::prelude::*;

type Copy = Replica<Counters, CounterDecoder, CounterEncoder>;

/// A state with something of everything: replies open, sessions of two keys, streams, a reminder.
fn state() -> Testkit<CounterFactory, CounterDecoder, CounterEncoder> {
    let mut kit = Testkit::new(&facts(), CounterFactory, CounterDecoder, CounterEncoder);
    let (one, two) = (kit.open(CLIENT), kit.open(OTHER));
    kit.request(one, SCHEMA, &Request::Add { counter: 9, by: 5 }.to_wire());
    kit.request(two, SCHEMA, &Request::Burst { counter: 4, count: 100 }.to_wire());
    kit.request(one, SCHEMA, &Request::Remind { counter: 2, delay: 1 << 50 }.to_wire());
    for number in 3..7 {
        let header = RecordHeader {
            schema: SCHEMA,
            session: one.0.into(),
            number: number.into(),
            open_span: 3.into(),
            key: CLIENT.0.into(),
            kind: RecordKind::Request as u8,
            ..RecordHeader::default()
        };
        kit.wait(10);
        kit.log().push(header, &Request::Add { counter: 1, by: 1 }.to_wire());
        kit.seal();
    }
    kit
}

fn load<F: AppFactory<App = Counters>>(
    facts: &ClusterFacts,
    factory: &F,
    mut bytes: &[u8],
) -> Result<Copy, SnapshotError> {
    let mut loader = Loader::new(facts, factory, CounterDecoder, CounterEncoder);
    loop {
        match loader.take(factory, bytes)? {
            0 => return loader.finish(),
            taken => bytes = &bytes[taken..],
        }
    }
}

#[test]
fn a_restored_copy_writes_the_same_snapshot() {
    let kit = state();
    let bytes = snapshot_of(kit.live());
    let copy = load(&facts(), &CounterFactory, &bytes).unwrap();
    assert!(snapshot_of(&copy) == bytes);
    assert_eq!(
        (copy.applied(), copy.end(), copy.time()),
        (kit.live().applied(), kit.live().end(), kit.live().time())
    );
    assert_eq!(
        copy.resume(ordain_types::SessionId(4), CLIENT),
        kit.live().resume(ordain_types::SessionId(4), CLIENT)
    );
    assert!(copy.may_read(Stream::Session(ordain_types::SessionId(4)), CLIENT, 0));
}

#[test]
fn every_step_is_bounded_and_every_part_is_taken_whole() {
    let kit = state();
    let (mut writer, mut loader) =
        (Writer::default(), Loader::new(&facts(), &CounterFactory, CounterDecoder, CounterEncoder));
    let mut all = Vec::new();
    loop {
        let mut part = Vec::new();
        let step = kit.live().snapshot(&mut writer, &mut part);
        assert!(part.len() < 80 * 1024);
        for cut in [0, 1, 8, part.len() / 2, part.len() - 1] {
            assert_eq!(
                loader.take(&CounterFactory, &part[..cut.min(part.len() - 1)]),
                Ok(0),
                "a part cut short"
            );
        }
        assert_eq!(loader.take(&CounterFactory, &part), Ok(part.len()));
        all.extend_from_slice(&part);
        if step == Step::Done {
            break;
        }
    }
    assert_eq!(&all[all.len() - 32..], writer.hash(), "the last hash is the snapshot's");
    assert!(snapshot_of(&loader.finish().unwrap()) == all);
}

/// Many keys' worth of sessions with large windows: tables that need several chunks.
#[test]
fn large_tables_take_several_chunks() {
    let facts = ClusterFacts { reply_max: 1024, ..facts() };
    let (mut log, batches) = ordain_apply::testkit::Log::new(&facts, &CounterFactory);
    let mut copy = Replica::new(&facts, &CounterFactory, CounterDecoder, CounterEncoder);
    let mut run = |batch: &[u8]| {
        let batch = BatchView::parse(batch).unwrap();
        copy.begin_batch(&batch, Stint::ZERO).unwrap();
        while copy.step(&batch, &mut Discard::default()).unwrap() == Step::More {}
    };
    batches.iter().for_each(|batch| run(batch));
    let open =
        RecordHeader { kind: RecordKind::SessionOpen as u8, key: CLIENT.0.into(), ..RecordHeader::default() };
    let sessions: Vec<_> = (0..20).map(|_| log.push(open, &[0; 8])).collect();
    run(&log.seal(BatchKind::Data));
    for session in sessions {
        for number in 1..=300_u64 {
            let header = RecordHeader {
                kind: RecordKind::Request as u8,
                schema: SCHEMA,
                session: session.0.into(),
                number: number.into(),
                open_span: (number as u16 - 1).into(),
                key: CLIENT.0.into(),
                ..RecordHeader::default()
            };
            log.push(header, &Request::Add { counter: number as u32, by: 1 }.to_wire());
        }
        log.set_time(log.time().plus(1));
        run(&log.seal(BatchKind::Data));
    }
    let bytes = snapshot_of(&copy);
    assert!(bytes.len() > 3 * 64 * 1024, "{} bytes", bytes.len());
    let restored = load(&facts, &CounterFactory, &bytes).unwrap();
    assert!(snapshot_of(&restored) == bytes);
    assert_eq!(restored.sessions(), 20);
}

#[test]
fn what_does_not_belong_here_is_refused_by_name() {
    struct Renamed(&'static str, u32);
    impl AppFactory for Renamed {
        type App = Counters;
        fn identity(&self) -> (&'static str, u32) {
            (self.0, self.1)
        }
        fn create(&self) -> Counters {
            CounterFactory.create()
        }
    }
    let bytes = snapshot_of(state().live());
    let error =
        |facts: &ClusterFacts, name, version| load(facts, &Renamed(name, version), &bytes).unwrap_err();
    assert_eq!(error(&facts(), "exchange", 1), SnapshotError::OtherApplication("counter".into()));
    assert!(matches!(error(&facts(), "counter", 2), SnapshotError::Application(_)));
    let other = ClusterFacts { created: Nanos(5), ..facts() };
    assert_eq!(error(&other, "counter", 1), SnapshotError::OtherFacts);
    let mut newer = bytes.clone();
    newer[4] = 3;
    assert_eq!(load(&facts(), &CounterFactory, &newer).unwrap_err(), SnapshotError::Version(3));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]
    #[test]
    fn damage_is_noticed(place in any::<prop::sample::Index>(), flip in 1_u8.., cut in any::<bool>()) {
        let mut bytes = snapshot_of(state().live());
        let place = place.index(bytes.len());
        if cut {
            bytes.truncate(place);
        } else {
            bytes[place] ^= flip;
        }
        prop_assert!(load(&facts(), &CounterFactory, &bytes).is_err());
    }

    /// Bytes that verify but were not written by us: sealed anew behind every change.
    #[test]
    fn hostile_contents_never_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let bytes = snapshot_of(state().live());
        let mut parts = parts(&bytes);
        for (place, byte) in changes {
            // Of the first parts: the header's numbers and the runtime's tables.
            let part = place.index(4);
            let within = place.index(parts[part].len() - 32);
            parts[part][within] = byte;
        }
        if let Ok(copy) = load(&facts(), &CounterFactory, &reseal(parts)) {
            snapshot_of(&copy);
        }
    }

    #[test]
    fn arbitrary_bytes_are_no_snapshot(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(load(&facts(), &CounterFactory, &bytes).is_err());
    }
}

/// The parts of a good snapshot.
fn parts(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut loader = Loader::new(&facts(), &CounterFactory, CounterDecoder, CounterEncoder);
    let mut parts = Vec::new();
    while !bytes.is_empty() {
        let (part, rest) = bytes.split_at(loader.take(&CounterFactory, bytes).unwrap());
        parts.push(part.to_vec());
        bytes = rest;
    }
    parts
}

fn reseal(parts: Vec<Vec<u8>>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut hash: Option<[u8; 32]> = None;
    for part in parts {
        let signed = &part[..part.len() - 32];
        let next = match hash {
            None => blake3::hash(signed),
            Some(key) => blake3::keyed_hash(&key, signed),
        };
        hash = Some(*next.as_bytes());
        out.extend_from_slice(signed);
        out.extend_from_slice(next.as_bytes());
    }
    out
}
