//! Exhaustive models of the rings under weak memory. See the crate's documentation for the command.
#![cfg(loom)]

use loom::thread;
use ordain_ring::log::{Consumer, JoinError, LogRing, Producer};
use ordain_ring::spsc;
use ordain_types::Position;

/// All models move words: loom's checked cells are eight bytes.
const WORD: usize = 8;
const ALL: Position = Position(u64::MAX);

fn put(producer: &mut Producer, word: u64) -> bool {
    let Some(space) = producer.try_claim(WORD) else { return false };
    space.copy_from_slice(&word.to_ne_bytes());
    producer.publish(WORD);
    true
}

fn put_all(producer: &mut Producer, words: impl IntoIterator<Item = u64>) {
    words.into_iter().for_each(|word| assert!(put(producer, word)));
}

fn words(bytes: &[u8]) -> Vec<u64> {
    bytes.chunks_exact(WORD).map(|word| u64::from_ne_bytes(word.try_into().unwrap())).collect()
}

fn at(word: u64) -> Position {
    Position(word * WORD as u64)
}

/// A ring of two words.
fn ring() -> (Producer, LogRing) {
    LogRing::new(2 * WORD, Position(0))
}

/// Reads and releases one word, if there is one.
fn take(consumer: &mut Consumer) -> Option<u64> {
    let word = *words(consumer.available(ALL)).first()?;
    consumer.release(WORD);
    Some(word)
}

#[test]
fn a_consumer_reads_the_log_in_order_round_the_ring() {
    loom::model(|| {
        let (mut producer, ring) = ring();
        let mut consumer = ring.join_tail().unwrap();
        let reader = thread::spawn(move || {
            for expected in 0..3 {
                loop {
                    match take(&mut consumer) {
                        Some(word) => break assert_eq!(word, expected),
                        None => thread::yield_now(),
                    }
                }
            }
        });
        for word in 0..3 {
            while !put(&mut producer, word) {
                thread::yield_now();
            }
        }
        reader.join().unwrap();
    });
}

#[test]
fn the_slowest_of_two_consumers_gates() {
    loom::model(|| {
        let (mut producer, ring) = ring();
        let mut first = ring.join_tail().unwrap();
        let mut second = ring.join_tail().unwrap();
        put_all(&mut producer, [0, 1]);
        let reader = thread::spawn(move || {
            assert_eq!(take(&mut first), Some(0));
            first
        });
        assert_eq!(take(&mut second), Some(0));
        let overwritten = put(&mut producer, 2);
        let first = reader.join().unwrap();
        assert_eq!(words(first.available(ALL)), [1]);
        assert!(overwritten || put(&mut producer, 2), "both have released");
    });
}

#[test]
fn a_joiner_gets_the_bytes_or_is_refused() {
    loom::model(|| {
        let (mut producer, ring) = ring();
        put_all(&mut producer, [10, 11]);
        let joiner = thread::spawn(move || match ring.join_at(at(0)) {
            Ok(consumer) => {
                let read = words(consumer.available(ALL));
                assert_eq!(read, [10, 11]);
                true
            }
            Err(JoinError::Gone { .. }) => false,
            Err(other) => panic!("{other}"),
        });
        // Overwrites word 0, then word 1.
        let overwritten = put(&mut producer, 12) && put(&mut producer, 13);
        let joined = joiner.join().unwrap();
        assert!(joined || overwritten || put(&mut producer, 12), "a refused joiner holds nothing back");
    });
}

#[test]
fn a_joiner_at_the_tail_reads_on_from_there() {
    loom::model(|| {
        let (mut producer, ring) = ring();
        let joiner = thread::spawn(move || match ring.join_tail() {
            Ok(consumer) => {
                let first = consumer.position().0 / WORD as u64;
                for (i, word) in words(consumer.available(ALL)).into_iter().enumerate() {
                    assert_eq!(word, first + i as u64);
                }
            }
            Err(JoinError::Gone { .. }) => (),
            Err(other) => panic!("{other}"),
        });
        for word in 0..3 {
            put(&mut producer, word);
        }
        joiner.join().unwrap();
    });
}

#[test]
fn a_leaving_consumer_has_read_before_its_bytes_are_overwritten() {
    loom::model(|| {
        let (mut producer, ring) = ring();
        let consumer = ring.join_tail().unwrap();
        put_all(&mut producer, [0, 1]);
        let reader = thread::spawn(move || assert_eq!(words(consumer.available(ALL)), [0, 1]));
        let overwritten = put(&mut producer, 2);
        reader.join().unwrap();
        assert!(overwritten || put(&mut producer, 2));
    });
}

#[test]
fn a_slot_passes_from_one_consumer_to_the_next() {
    loom::model(|| {
        let (mut producer, ring) = ring();
        let first = ring.join_tail().unwrap();
        let second = ring.join_tail().unwrap();
        let leaver = thread::spawn(move || drop(first));
        let third = ring.join_tail();
        leaver.join().unwrap();
        assert!(matches!(third, Ok(_) | Err(JoinError::Full)));
        drop(second);
        put_all(&mut producer, [0, 1]);
        assert_eq!(put(&mut producer, 2), third.is_err(), "only the third can hold the producer back");
    });
}

#[test]
fn a_rewind_takes_back_nothing_that_was_looked_at() {
    loom::model(|| {
        let (mut producer, ring) = ring();
        let consumer = ring.join_tail().unwrap();
        put_all(&mut producer, [0, 1]);
        let reader = thread::spawn(move || {
            // The slice lives while the producer may be writing the word anew.
            let read = words(consumer.available(ALL));
            assert!([&[0, 1][..], &[0], &[0, 21]].contains(&&read[..]), "{read:?}");
            consumer
        });
        let rewound = producer.rewind(at(1));
        if rewound {
            put_all(&mut producer, [21]);
        }
        let mut consumer = reader.join().unwrap();
        if !rewound {
            consumer.rewind(at(1)).unwrap();
            assert!(producer.rewind(at(1)));
            put_all(&mut producer, [21]);
        }
        assert_eq!(words(consumer.available(ALL)), [0, 21]);
    });
}

#[test]
fn a_consumer_that_rewinds_has_read_before_its_bytes_are_overwritten() {
    loom::model(|| {
        let (mut producer, ring) = ring();
        let mut consumer = ring.join_tail().unwrap();
        put_all(&mut producer, [0, 1]);
        let reader = thread::spawn(move || {
            let read = words(consumer.available(ALL));
            assert!([&[0, 1][..], &[0], &[0, 21]].contains(&&read[..]), "{read:?}");
            consumer.rewind(at(0)).unwrap();
            // Looking again, at less, must not hide the earlier look from the producer.
            assert_eq!(words(consumer.available(at(1))), [0]);
            consumer
        });
        if producer.rewind(at(1)) {
            put_all(&mut producer, [21]);
        }
        drop(reader.join().unwrap());
    });
}

#[test]
fn a_joiner_and_a_rewind_never_both_succeed() {
    loom::model(|| {
        let (mut producer, ring) = ring();
        put_all(&mut producer, [0, 1]);
        let joiner = thread::spawn(move || ring.join_at(at(2)).ok());
        let rewound = producer.rewind(at(1));
        let consumer = joiner.join().unwrap();
        assert!(!(rewound && consumer.is_some()));
    });
}

#[test]
fn a_rewind_below_the_floor_lets_nobody_in_beyond_the_end() {
    loom::model(|| {
        let (mut producer, ring) = ring();
        put_all(&mut producer, [0, 1, 2, 3]);
        let joiner = thread::spawn(move || {
            if let Ok(consumer) = ring.join_at(at(1)) {
                assert_eq!(words(consumer.available(ALL)), [] as [u64; 0]);
            }
        });
        if producer.rewind(at(0)) {
            assert_eq!(producer.published(), at(0));
        }
        joiner.join().unwrap();
    });
}

#[test]
fn a_consumer_goes_back_to_its_bytes_or_is_refused() {
    loom::model(|| {
        let (mut producer, ring) = ring();
        let mut consumer = ring.join_tail().unwrap();
        put_all(&mut producer, [0, 1]);
        assert_eq!(take(&mut consumer), Some(0));
        let reader = thread::spawn(move || {
            match consumer.rewind(at(0)) {
                Ok(()) => assert_eq!(words(consumer.available(ALL)), [0, 1]),
                Err(JoinError::Gone { .. }) => assert_eq!(words(consumer.available(at(2))), [1]),
                Err(other) => panic!("{other}"),
            }
            consumer
        });
        let overwritten = put(&mut producer, 2);
        let consumer = reader.join().unwrap();
        assert!(!(overwritten && consumer.position() == at(0)));
    });
}

#[test]
fn a_pin_is_read_before_its_bytes_are_overwritten() {
    loom::model(|| {
        let (mut producer, ring) = ring();
        let mut consumer = ring.join_tail().unwrap();
        put_all(&mut producer, [0, 1]);
        assert_eq!(consumer.available(ALL).len(), 2 * WORD);
        let pin = consumer.pin(at(0), WORD).unwrap();
        let io = thread::spawn(move || {
            assert_eq!(words(&pin), [0]);
            drop(pin);
        });
        match consumer.first_pin() {
            Some(pinned) => assert_eq!(pinned, at(0)),
            None => consumer.release(WORD),
        }
        let overwritten = put(&mut producer, 2);
        assert_eq!(overwritten, consumer.position() == at(1));
        io.join().unwrap();
        assert_eq!(consumer.first_pin(), None);
    });
}

#[test]
fn a_reused_pin_does_not_hide_the_read_through_the_first() {
    loom::model(|| {
        let (mut producer, ring) = ring();
        let mut consumer = ring.join_tail().unwrap();
        put_all(&mut producer, [0, 1]);
        assert_eq!(consumer.available(ALL).len(), 2 * WORD);
        let pin = consumer.pin(at(0), WORD).unwrap();
        let io = thread::spawn(move || assert_eq!(words(&pin), [0]));
        let again = consumer.pin(at(1), WORD).unwrap();
        match consumer.first_pin() {
            Some(pinned) if pinned == at(0) => (),
            _ => consumer.release(WORD),
        }
        put(&mut producer, 2);
        io.join().unwrap();
        assert_eq!(words(&again), [1]);
    });
}

#[test]
fn pins_outlive_their_consumer() {
    loom::model(|| {
        let (mut producer, ring) = ring();
        let mut consumer = ring.join_tail().unwrap();
        put_all(&mut producer, [0, 1]);
        assert_eq!(consumer.available(ALL).len(), 2 * WORD);
        let pin = consumer.pin(at(0), WORD).unwrap();
        let io = thread::spawn(move || assert_eq!(words(&pin), [0]));
        drop(consumer);
        let overwritten = put(&mut producer, 2);
        io.join().unwrap();
        assert!(overwritten || put(&mut producer, 2), "the last to go frees the slot");
    });
}

#[test]
fn a_pin_and_its_consumer_leave_on_different_threads() {
    loom::model(|| {
        let (mut producer, ring) = ring();
        let mut consumer = ring.join_tail().unwrap();
        put_all(&mut producer, [0, 1]);
        assert_eq!(consumer.available(ALL).len(), 2 * WORD);
        let pin = consumer.pin(at(0), WORD).unwrap();
        let io = thread::spawn(move || assert_eq!(words(&pin), [0]));
        let reader = thread::spawn(move || {
            assert_eq!(words(consumer.available(ALL)), [0, 1]);
            drop(consumer);
        });
        put(&mut producer, 2);
        io.join().unwrap();
        reader.join().unwrap();
    });
}

#[test]
fn a_release_passes_on_what_was_read_through_a_pin() {
    loom::model(|| {
        let (mut producer, ring) = ring();
        let mut consumer = ring.join_tail().unwrap();
        put_all(&mut producer, [0, 1]);
        assert_eq!(consumer.available(ALL).len(), 2 * WORD);
        let pin = consumer.pin(at(0), WORD).unwrap();
        let io = thread::spawn(move || assert_eq!(words(&pin), [0]));
        let reader = thread::spawn(move || {
            if consumer.first_pin().is_none() {
                consumer.release(WORD);
            }
            consumer
        });
        put(&mut producer, 2);
        io.join().unwrap();
        drop(reader.join().unwrap());
    });
}

#[test]
fn two_joiners_share_no_slot() {
    loom::model(|| {
        let (mut producer, ring) = ring();
        let _resident = ring.join_tail().unwrap();
        put_all(&mut producer, [0, 1]);
        let other = ring.clone();
        let joiner = thread::spawn(move || other.join_tail());
        let here = ring.join_tail();
        let there = joiner.join().unwrap();
        assert!(here.is_ok() != there.is_ok());
    });
}

/// 32 bytes hold two messages of at most 8 bytes with their frames.
#[test]
fn spsc_delivers_in_order_round_the_ring() {
    loom::model(|| {
        let (mut sender, mut receiver) = spsc::channel(32);
        let reader = thread::spawn(move || {
            for expected in 0..3u64 {
                loop {
                    if let Some(message) = receiver.peek() {
                        assert_eq!(message, expected.to_ne_bytes());
                        break receiver.release();
                    }
                    thread::yield_now();
                }
            }
        });
        for word in 0..3u64 {
            loop {
                if let Some(space) = sender.try_claim(WORD) {
                    space.copy_from_slice(&word.to_ne_bytes());
                    break sender.commit();
                }
                thread::yield_now();
            }
        }
        reader.join().unwrap();
    });
}

#[test]
fn spsc_pads_at_the_end_of_the_ring() {
    loom::model(|| {
        let (mut sender, mut receiver) = spsc::channel(32);
        // Leaves eight bytes before the end, too few for the frame and word of the last message.
        for len in [0, 8] {
            sender.try_claim(len).unwrap().fill(1);
            sender.commit();
        }
        let reader = thread::spawn(move || {
            assert_eq!(receiver.peek(), Some(&[][..]));
            receiver.release();
            assert_eq!(receiver.peek(), Some(&[1; 8][..]));
            receiver.release();
            receiver
        });
        let sent = match sender.try_claim(WORD) {
            Some(space) => {
                space.fill(2);
                sender.commit();
                true
            }
            None => false,
        };
        let mut receiver = reader.join().unwrap();
        assert_eq!(receiver.peek(), sent.then_some(&[2; 8][..]));
    });
}
