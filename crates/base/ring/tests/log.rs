//! The log ring against a naive model, and under threads.
#![cfg(not(loom))]

use std::thread;

use ordain_ring::log::{CONSUMERS_MAX, Consumer, JoinError, LogRing, PINS_MAX, PinnedBytes, Producer};
use ordain_types::Position;
use proptest::prelude::*;

const ALL: Position = Position(u64::MAX);

fn put(producer: &mut Producer, bytes: &[u8]) -> bool {
    let Some(space) = producer.try_claim(bytes.len()) else { return false };
    space.copy_from_slice(bytes);
    producer.publish(bytes.len());
    true
}

fn check_panics(expected: &str, misuse: impl FnOnce()) {
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(misuse)).expect_err("a misuse passed");
    let message = panic.downcast_ref::<String>().map_or("", |message| message);
    assert!(message.contains(expected), "{message:?} does not say {expected:?}");
}

#[test]
fn misuse_panics() {
    let ring_with_consumer = || {
        let (mut producer, ring) = LogRing::new(64, Position(0));
        let consumer = ring.join_tail().unwrap();
        assert!(put(&mut producer, &[1; 48]));
        (producer, consumer)
    };
    let (mut producer, mut consumer) = ring_with_consumer();
    check_panics("crosses the end", || assert!(producer.try_claim(17).is_none()));
    check_panics("0 are claimed", || producer.publish(1));
    check_panics("not in the ring", || drop(producer.published_bytes(Position(40), 9).to_vec()));
    check_panics("not in the ring", || drop(producer.published_bytes(Position(49), 0).to_vec()));
    check_panics("only 48 is published", || assert!(producer.rewind(Position(49))));
    check_panics("not read", || consumer.release(1));
    check_panics("was read", || drop(consumer.pin(Position(0), 1)));
    assert_eq!(consumer.available(ALL).len(), 48);
    check_panics("was read", || drop(consumer.pin(Position(40), 9)));
    consumer.release(8);
    check_panics("is released", || drop(consumer.peek(Position(7), ALL).to_vec()));
    check_panics("was read", || drop(consumer.pin(Position(7), 1)));
    let pin = consumer.pin(Position(16), 8).unwrap();
    check_panics("from 16 on are pinned", || consumer.release(9));
    check_panics("up to 24 are pinned", || consumer.rewind(Position(23)).unwrap());
    assert!(!producer.rewind(Position(47)));
    consumer.release(8);
    drop(pin);
    consumer.release(1);
    consumer.rewind(Position(47)).unwrap();
    assert!(producer.rewind(Position(47)));
    assert_eq!(consumer.available(ALL).len(), 30);
}

#[test]
fn a_new_ring_bounds_its_arguments() {
    check_panics("out of range", || drop(LogRing::new(64, Position((1 << 62) + 1))));
    let (_producer, ring) = LogRing::new(64, Position(1 << 62));
    let beyond = Some(JoinError::Beyond { published: Position(1 << 62) });
    let gone = Some(JoinError::Gone { oldest: Position(1 << 62) });
    assert_eq!(ring.join_at(ALL).err(), beyond);
    assert_eq!(ring.join_at(Position(0)).err(), gone);
    assert!(ring.join_tail().unwrap().available(ALL).is_empty());
}

#[test]
fn slots_and_pins_are_bounded_and_come_back() {
    let (mut producer, ring) = LogRing::new(64, Position(0));
    let mut consumers: Vec<Consumer> = (0..CONSUMERS_MAX).map(|_| ring.join_tail().unwrap()).collect();
    assert_eq!(ring.join_tail().err(), Some(JoinError::Full));
    assert!(put(&mut producer, &[7; 64]));

    let mut leaver = consumers.pop().unwrap();
    assert_eq!(leaver.available(ALL).len(), 64);
    let mut pins: Vec<PinnedBytes> =
        (0..PINS_MAX).map(|i| leaver.pin(Position(i as u64), 1).unwrap()).collect();
    assert!(leaver.pin(Position(0), 1).is_none());
    drop(pins.remove(5));
    assert_eq!(leaver.first_pin(), Some(Position(0)));
    pins.push(leaver.pin(Position(60), 4).unwrap());
    drop(leaver);
    drop(consumers);
    assert!(!put(&mut producer, &[8]), "the pins hold the leaver's position");
    assert!(!producer.rewind(Position(63)), "and its reach");
    drop(producer);
    assert!(pins.iter().all(|pin| pin.iter().all(|byte| *byte == 7)), "they keep the memory alive");
    pins.clear();
    let consumers: Vec<Consumer> = (0..CONSUMERS_MAX).map(|_| ring.join_tail().unwrap()).collect();
    assert_eq!(consumers.len(), CONSUMERS_MAX);
}

#[test]
fn a_claim_grows_without_losing_what_was_written() {
    let (mut producer, ring) = LogRing::new(64, Position(0));
    producer.try_claim(2).unwrap().copy_from_slice(b"ab");
    producer.try_claim(4).unwrap()[2..].copy_from_slice(b"cd");
    assert!(ring.join_tail().unwrap().available(ALL).is_empty(), "a claim is not yet published");
    producer.prefault();
    producer.publish(3);
    assert_eq!(producer.published_bytes(Position(0), 3), b"abc");
    producer.publish(1);
    assert_eq!(producer.published_bytes(Position(2), 2), b"cd");
}

#[test]
fn a_rewind_may_go_back_behind_what_the_ring_still_holds() {
    let (mut producer, ring) = LogRing::new(64, Position(0));
    let mut consumer = ring.join_tail().unwrap();
    for round in 0..4 {
        assert!(put(&mut producer, &[round; 64]));
        assert_eq!(consumer.available(ALL), [round; 64]);
        consumer.release(64);
    }
    let oldest = ring.oldest();
    assert_eq!(consumer.rewind(Position(10)), Err(JoinError::Gone { oldest }));
    assert_eq!(consumer.position(), Position(256));
    assert!(!producer.rewind(Position(10)));
    drop(consumer);
    assert!(producer.rewind(Position(10)));
    assert_eq!((ring.oldest(), ring.published()), (Position(10), Position(10)));
    let consumer = ring.join_at(Position(10)).unwrap();
    assert!(put(&mut producer, b"again"));
    assert_eq!(consumer.available(ALL), b"again");
}

#[derive(Clone, Debug)]
enum Op {
    Claim { len: usize, publish: usize },
    ReadBack { back: u64, len: usize },
    ProducerRewind { back: u64 },
    Join { back: u64 },
    Leave { who: usize },
    Peek { who: usize, ahead: u64, limit: u64 },
    Release { who: usize, bytes: usize },
    Rewind { who: usize, back: u64 },
    Pin { who: usize, ahead: u64, len: usize },
    Unpin { which: usize },
}

fn op() -> impl Strategy<Value = Op> {
    let back = 0..40u64;
    let who = 0..3usize;
    prop_oneof![
        8 => (0..20usize, 0..20usize).prop_map(|(len, publish)| Op::Claim { len, publish }),
        2 => (back.clone(), 0..20usize).prop_map(|(back, len)| Op::ReadBack { back, len }),
        1 => (0..12u64).prop_map(|back| Op::ProducerRewind { back }),
        2 => back.clone().prop_map(|back| Op::Join { back }),
        1 => who.clone().prop_map(|who| Op::Leave { who }),
        6 => (who.clone(), 0..20u64, 0..60u64).prop_map(|(who, ahead, limit)| Op::Peek { who, ahead, limit }),
        6 => (who.clone(), 0..20usize).prop_map(|(who, bytes)| Op::Release { who, bytes }),
        1 => (who.clone(), 0..20u64).prop_map(|(who, back)| Op::Rewind { who, back }),
        2 => (who, 0..20u64, 0..9usize).prop_map(|(who, ahead, len)| Op::Pin { who, ahead, len }),
        3 => (0..4usize).prop_map(|which| Op::Unpin { which }),
    ]
}

/// What a consumer is, said naively.
struct Reader {
    consumer: Consumer,
    position: u64,
    reach: u64,
    id: usize,
}

struct Pin {
    bytes: PinnedBytes,
    start: u64,
    end: u64,
    /// The reader it came from, and that reader's cursors if it has left.
    id: usize,
    left: Option<(u64, u64)>,
}

/// Runs `ops` on a ring and on a log that is never overwritten, and compares all there is to see.
fn check(capacity: usize, start: u64, ops: Vec<Op>) {
    let (mut producer, ring) = LogRing::new(capacity, Position(start));
    let (capacity, room) = (capacity as u64, |at: u64| capacity as u64 - at % capacity as u64);
    let mut log: Vec<u8> = Vec::new(); // from `start` on
    let mut start = start;
    let mut readers: Vec<Reader> = Vec::new();
    let mut pins: Vec<Pin> = Vec::new();
    let mut claim_end = start;
    let mut highest = start;
    let mut claimed = 0usize;
    let mut next_byte = 0u8;
    let mut ids = 0..;

    for op in ops {
        let published = start + log.len() as u64;
        assert_eq!((ring.published(), producer.published()), (Position(published), Position(published)));
        assert_eq!(producer.until_end() as u64, room(published));
        let gates = readers.iter().map(|reader| reader.position);
        let gate = gates.chain(pins.iter().filter_map(|pin| Some(pin.left?.0))).min().unwrap_or(u64::MAX);
        let reaches = readers.iter().map(|reader| reader.reach);
        let reach = reaches.chain(pins.iter().filter_map(|pin| Some(pin.left?.1))).max().unwrap_or(0);
        let oldest = ring.oldest().0;
        assert!(oldest <= published && oldest <= gate);
        assert!(producer.still_has(Position(oldest)) && producer.still_has(Position(published)));
        assert!(
            !producer.still_has(Position(published + 1))
                && (oldest == 0 || !producer.still_has(Position(oldest - 1)))
        );
        highest = highest.max(published);
        let given_up = claim_end.max(highest + capacity / 16).saturating_sub(capacity);
        assert!(oldest <= given_up.max(start), "{oldest} is given up too early");
        assert!(
            pins.iter()
                .all(|pin| pin.bytes[..] == log[(pin.start - start) as usize..(pin.end - start) as usize])
        );
        let free = gate.saturating_add(capacity).saturating_sub(published).min(room(published));
        assert_eq!(producer.free() as u64, free);

        match op {
            Op::Claim { len, publish } => {
                let len = len.min(producer.until_end());
                if claimed > 0 {
                    assert_eq!(producer.try_claim(claimed).map(|space| space.len()), Some(claimed));
                }
                let space = producer.try_claim(len);
                assert_eq!(space.is_some(), len as u64 <= free);
                let Some(space) = space else { continue };
                claim_end = claim_end.max(published + len as u64);
                claimed = claimed.max(len);
                let publish = publish.min(len);
                for byte in &mut space[..publish] {
                    next_byte = next_byte.wrapping_add(1);
                    *byte = next_byte;
                }
                log.extend_from_slice(&space[..publish]);
                producer.publish(publish);
                claimed -= publish;
                let bytes = producer.published_bytes(Position(published), publish);
                assert_eq!(bytes, &log[log.len() - publish..]);
            }
            Op::ReadBack { back, len } => {
                let from = published.saturating_sub(back).max(oldest);
                let len = (len as u64).min(room(from)).min(published - from) as usize;
                let at = (from - start) as usize;
                assert_eq!(producer.published_bytes(Position(from), len), &log[at..at + len]);
            }
            Op::ProducerRewind { back } => {
                let to = published.saturating_sub(back);
                let rewound = producer.rewind(Position(to));
                assert_eq!(rewound, reach <= to);
                if rewound {
                    log.truncate(to.saturating_sub(start) as usize);
                    start = start.min(to);
                    claim_end = claim_end.max(to);
                    claimed = 0;
                }
            }
            Op::Join { back } => {
                let at = published.saturating_sub(back) + 2;
                let expected = match ring.join_at(Position(at)) {
                    Ok(consumer) => {
                        readers.push(Reader { consumer, position: at, reach: at, id: ids.next().unwrap() });
                        at >= oldest && at <= published
                    }
                    Err(JoinError::Gone { oldest: told }) => told.0 == oldest && at < oldest,
                    Err(JoinError::Beyond { published: told }) => told.0 == published && at > published,
                    Err(JoinError::Full) => readers.len() + pins.len() >= CONSUMERS_MAX,
                };
                assert!(expected);
            }
            Op::Leave { who } if who < readers.len() => {
                let left = readers.swap_remove(who);
                for pin in pins.iter_mut().filter(|pin| pin.id == left.id) {
                    pin.left = Some((left.position, left.reach));
                }
            }
            Op::Peek { who, ahead, limit } => {
                let Some(reader) = readers.get_mut(who) else { continue };
                let from = reader.position + ahead;
                let limit = reader.position + limit;
                let bytes = reader.consumer.peek(Position(from), Position(limit));
                reader.reach = reader.reach.max(limit.min(published));
                let end = limit.min(published).min(from + room(from)).max(from);
                let expected =
                    if end > from { &log[(from - start) as usize..(end - start) as usize] } else { &[] };
                assert_eq!(bytes, expected);
                if ahead == 0 {
                    assert_eq!(reader.consumer.available(Position(limit)), expected);
                }
            }
            Op::Release { who, bytes } => {
                let Some(reader) = readers.get_mut(who) else { continue };
                let own = pins.iter().filter(|pin| pin.id == reader.id).map(|pin| pin.start).min();
                assert_eq!(reader.consumer.first_pin(), own.map(Position));
                let end = reader.reach.min(own.unwrap_or(u64::MAX)).min(reader.position + bytes as u64);
                reader.consumer.release((end - reader.position) as usize);
                reader.position = end;
                assert_eq!(reader.consumer.position(), Position(end));
            }
            Op::Rewind { who, back } => {
                let Some(reader) = readers.get_mut(who) else { continue };
                let own = pins.iter().filter(|pin| pin.id == reader.id).map(|pin| pin.end).max().unwrap_or(0);
                let to = reader.reach.saturating_sub(back).max(own);
                match reader.consumer.rewind(Position(to)) {
                    Ok(()) => {
                        assert!(to >= oldest || to >= reader.position);
                        reader.position = reader.position.min(to);
                        reader.reach = reader.reach.min(to);
                    }
                    Err(error) => {
                        assert_eq!(error, JoinError::Gone { oldest: Position(oldest) });
                        assert!(to < oldest);
                        reader.reach = reader.position;
                    }
                }
            }
            Op::Pin { who, ahead, len } => {
                let Some(reader) = readers.get_mut(who) else { continue };
                let start = (reader.position + ahead).min(reader.reach);
                let len = (len as u64).min(reader.reach - start).min(room(start));
                let bytes = reader.consumer.pin(Position(start), len as usize).unwrap();
                pins.push(Pin { bytes, start, end: start + len, id: reader.id, left: None });
                if pins.len() > 6 {
                    drop(pins.remove(0));
                }
            }
            Op::Unpin { which } if which < pins.len() => drop(pins.swap_remove(which)),
            Op::Leave { .. } | Op::Unpin { .. } => (),
        }
    }
    check_panics("are claimed", || producer.publish(claimed + 1));
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 16 } else { 3000 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_ring_is_a_window_on_the_log(
        capacity in prop_oneof![Just(1usize), Just(7), Just(16), Just(24), Just(64), Just(100)],
        start in prop_oneof![Just(0u64), 0..200u64, Just(1u64 << 62)],
        ops in prop::collection::vec(op(), 0..120),
    ) {
        check(capacity, start, ops);
    }
}

/// What lies at a position in the threaded tests: two bytes that differ from round to round.
fn word_at(position: u64) -> [u8; 8] {
    position.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_ne_bytes()
}

fn verify(from: u64, bytes: &[u8]) {
    for (i, word) in bytes.chunks_exact(8).enumerate() {
        assert_eq!(word, word_at(from + 8 * i as u64), "at {from}");
    }
}

/// Reads `[position, end)`, verifying all, with `pause` deciding how much to release at a time.
fn read_to(mut consumer: Consumer, end: u64, step: usize) {
    while consumer.position().0 < end {
        let position = consumer.position();
        let bytes = consumer.available(Position(end));
        if bytes.is_empty() {
            thread::yield_now();
            continue;
        }
        verify(position.0, bytes);
        let released = bytes.len().min(step);
        consumer.release(released);
    }
}

#[test]
fn threads_read_join_pin_and_leave_while_the_producer_writes() {
    const CAPACITY: usize = 512;
    let end: u64 = if cfg!(miri) { 4096 } else { 1 << 18 };
    let (mut producer, ring) = LogRing::new(CAPACITY, Position(0));
    let resident = ring.join_tail().unwrap();
    let mut journal = ring.join_tail().unwrap();
    let (submit, submitted) = std::sync::mpsc::sync_channel::<(u64, PinnedBytes)>(8);
    thread::scope(|scope| {
        scope.spawn(|| read_to(resident, end, 64));
        scope.spawn(move || {
            for (from, pin) in submitted {
                verify(from, &pin);
            }
        });
        scope.spawn(move || {
            let mut submitted = Position(0);
            while journal.position().0 < end {
                let len = journal.peek(submitted, ALL).len();
                match journal.pin(submitted, len) {
                    Some(pin) if len > 0 => {
                        submit.send((submitted.0, pin)).unwrap();
                        submitted = submitted.plus(len as u64);
                    }
                    _ => thread::yield_now(),
                }
                let done = journal.first_pin().unwrap_or(submitted);
                journal.release((done.0 - journal.position().0) as usize);
            }
        });
        for seed in 0..2u64 {
            let ring = ring.clone();
            scope.spawn(move || {
                let mut joins = 0u64;
                while ring.published().0 < end {
                    let back = (joins + seed) * 40 % CAPACITY as u64;
                    joins += 1;
                    match ring.join_at(Position(ring.published().0.saturating_sub(back))) {
                        Ok(consumer) => {
                            let limit = Position((consumer.position().0 + 128).min(end));
                            verify(consumer.position().0, consumer.available(limit));
                            if joins.is_multiple_of(4) {
                                read_to(consumer, limit.0, 24);
                            }
                        }
                        Err(JoinError::Gone { .. }) => (),
                        Err(other) => panic!("{other}"),
                    }
                    thread::yield_now();
                }
            });
        }
        let mut len = 8;
        while producer.published().0 < end {
            let at = producer.published().0;
            len = (len * 5 + 8) % 136 / 8 * 8;
            let len = len.max(8).min(producer.until_end()).min((end - at) as usize);
            match producer.try_claim(len) {
                Some(space) => {
                    for (i, word) in space.chunks_exact_mut(8).enumerate() {
                        word.copy_from_slice(&word_at(at + 8 * i as u64));
                    }
                    producer.publish(len);
                    verify(at, producer.published_bytes(Position(at), len));
                }
                None => thread::yield_now(),
            }
        }
    });
}

#[test]
fn a_thread_reads_only_one_version_of_bytes_that_are_rewound() {
    let rounds: u32 = if cfg!(miri) { 50 } else { 20_000 };
    let (mut producer, ring) = LogRing::new(64, Position(0));
    let mut reader = ring.join_tail().unwrap();
    thread::scope(|scope| {
        let done = ring.clone();
        scope.spawn(move || {
            while done.published().0 < 64 {
                let bytes = reader.available(Position(48));
                assert!(bytes.windows(2).all(|pair| pair[0] == pair[1]), "{bytes:?}");
                // Fails only while the producer tries to go back too.
                let _ = reader.rewind(Position(0));
                thread::yield_now();
            }
        });
        for round in 0..rounds {
            assert!(put(&mut producer, &[round as u8; 48]));
            while !producer.rewind(Position(0)) {
                thread::yield_now();
            }
        }
        assert!(put(&mut producer, &[0; 64]));
    });
}
