//! A leader's writer and a follower's: what one seals, the other takes, and both end up with the same log.

use ordain_ring::log::{Consumer, LogRing};
use ordain_sequence::{Put, Stamp, Writer};
use ordain_types::LogEnd;
use ordain_types::batch::{BATCH_HEADER, BatchKind, BatchView};
use ordain_types::record::{RecordKind, record_len};
use ordain_types::{BatchIndex, ClusterFacts, ClusterId, Nanos, Position, RecordHeader, Seq, Term};
use zerocopy::IntoBytes;

const SEGMENT: u64 = 16 * 1024;

fn facts() -> ClusterFacts {
    ClusterFacts {
        segment_size: SEGMENT,
        batch_max: 4096,
        payload_max: 2048,
        ..ClusterFacts::new(ClusterId([7; 16]), Nanos(1_000), 3)
    }
}

fn node() -> (Writer, Consumer) {
    let (producer, ring) = LogRing::new(2 * SEGMENT as usize, Position(0));
    let consumer = ring.join_tail().unwrap();
    let mut writer = Writer::new(producer, &facts(), LogEnd::EMPTY, Some(1 << 10));
    writer.open_log(Nanos(1_000), &[record(b"seed", RecordKind::Genesis)]);
    (writer, consumer)
}

fn record(payload: &[u8], kind: RecordKind) -> Vec<u8> {
    let header =
        RecordHeader { length: (payload.len() as u32).into(), kind: kind as u8, ..RecordHeader::default() };
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend_from_slice(payload);
    bytes.resize(record_len(payload.len()), 0);
    bytes
}

fn lead(writer: &mut Writer, room: u64) {
    writer.set_stamp(Stamp {
        term: Term(1),
        wall: Nanos(2_000),
        durable: BatchIndex(0),
        room: Position(room),
    });
}

/// Everything unread as whole batches.
fn take(consumer: &mut Consumer) -> Vec<Vec<u8>> {
    let mut batches = Vec::new();
    loop {
        let bytes = consumer.available(Position(u64::MAX >> 2));
        if bytes.is_empty() {
            return batches;
        }
        let view = BatchView::parse(bytes).unwrap();
        batches.push(view.bytes().to_vec());
        let len = view.bytes().len();
        consumer.release(len);
    }
}

#[test]
fn a_follower_that_takes_every_batch_has_the_leaders_log() {
    let (mut leader, mut seen) = node();
    let (mut follower, mut copied) = node();
    assert_eq!(take(&mut seen), take(&mut copied), "every node opens the log with the same bytes");
    lead(&mut leader, u64::MAX);
    let mut kinds = Vec::new();
    for round in 0..200 {
        for n in 0..round % 7 {
            let payload = vec![n as u8; (round * 37 + n * 501) % 2049];
            assert_eq!(leader.push(&record(&payload, RecordKind::Request)), Put::Done);
        }
        leader.seal(BatchKind::Data);
        for batch in take(&mut seen) {
            let view = BatchView::parse(&batch).unwrap();
            kinds.push(view.header.kind());
            assert!(follower.follows(&view));
            assert_eq!(follower.append(&view), Put::Done);
            assert!(!follower.follows(&view), "a batch follows itself nowhere");
        }
        take(&mut copied);
        assert_eq!(leader.tail(), follower.tail());
    }
    assert!(kinds.contains(&BatchKind::Pad) && kinds.contains(&BatchKind::SegmentStart));
    assert!(leader.tail().position.0 > 4 * SEGMENT, "the ring wrapped");
}

#[test]
fn records_are_numbered_densely_and_arrive_whole() {
    let (mut writer, mut consumer) = node();
    take(&mut consumer);
    lead(&mut writer, u64::MAX);
    let mut expected = Vec::new();
    let mut found = Vec::new();
    for n in 0..2_000_u64 {
        let payload = n.to_le_bytes().repeat(1 + n as usize % 9);
        assert_eq!(writer.push(&record(&payload, RecordKind::Request)), Put::Done);
        expected.push(payload);
        if n % 11 == 0 {
            writer.seal(BatchKind::Data);
        }
        for batch in take(&mut consumer) {
            for entry in BatchView::parse(&batch).unwrap().records() {
                let (seq, view) = entry.unwrap();
                found.push(view.payload.to_vec());
                assert_eq!(seq.0, 1 + found.len() as u64, "the seed is record 1");
            }
        }
    }
    assert_eq!(found, expected[..found.len()]);
    assert!(found.len() > 1_900);
}

#[test]
fn nothing_is_sealed_where_no_segment_is_prepared() {
    let (mut writer, mut consumer) = node();
    lead(&mut writer, SEGMENT);
    let full = record(&[1; 2048], RecordKind::Request);
    let mut put = 0;
    while writer.push(&full) == Put::Done {
        writer.seal(BatchKind::Data);
        take(&mut consumer);
        put += 1;
        assert!(put < 100);
    }
    assert_eq!(writer.push(&full), Put::NoRoom);
    assert!(writer.tail().position.0 <= SEGMENT);
    lead(&mut writer, 2 * SEGMENT);
    assert_eq!(writer.push(&full), Put::Done);
}

#[test]
fn a_full_ring_blocks_until_a_consumer_moves() {
    let (mut writer, mut consumer) = node();
    lead(&mut writer, u64::MAX);
    let full = record(&[1; 2048], RecordKind::Request);
    let mut put = 0;
    while writer.push(&full) == Put::Done {
        writer.seal(BatchKind::Data);
        put += 1;
        assert!(put < 100);
    }
    assert_eq!(writer.push(&full), Put::RingFull);
    take(&mut consumer);
    assert_eq!(writer.push(&full), Put::Done);
}

#[test]
fn after_a_cut_the_log_goes_on_from_what_was_kept() {
    let (mut writer, mut consumer) = node();
    take(&mut consumer);
    lead(&mut writer, u64::MAX);
    let mut ends = vec![*writer.tail()];
    for n in 0..40_u8 {
        assert_eq!(writer.push(&record(&[n; 700], RecordKind::Request)), Put::Done);
        writer.seal(BatchKind::Data);
        ends.push(*writer.tail());
        take(&mut consumer);
    }
    let keep = ends[30];
    assert!(!writer.cut(keep), "the consumer has looked further");
    consumer.rewind(keep.position).unwrap();
    assert!(writer.cut(keep));
    assert_eq!(*writer.tail(), keep);
    assert_eq!(writer.push(&record(b"other", RecordKind::Request)), Put::Done);
    writer.seal(BatchKind::Data);
    let batches = take(&mut consumer);
    let view = BatchView::parse(&batches[0]).unwrap();
    assert_eq!(view.header.previous(), keep.chain);
    assert_eq!(view.header.position(), keep.position);
    let (bytes, through) = writer.batches_from(keep.index.next(), 4096).unwrap().unwrap();
    assert_eq!((bytes, through), (&batches[0][..], keep.index.next()));
}

#[test]
fn the_end_behind_a_record_is_found_also_when_its_own_is_forgotten() {
    let (mut writer, mut consumer) = node();
    lead(&mut writer, u64::MAX);
    let mut ends = vec![*writer.tail()];
    let check = |writer: &Writer, ends: &[LogEnd]| {
        for seq in 1..writer.tail().next_seq.0 + 2 {
            let known = |end: &&LogEnd| end.next_seq.0 > seq && writer.ends().get(end.index).is_some();
            assert_eq!(writer.ends().behind(Seq(seq)), ends.iter().find(known), "record {seq}");
        }
    };
    check(&writer, &ends);
    // Twice as many batches as ends are kept, some of them with no record of their own.
    for n in 0..1_500_u32 {
        for _ in 0..n % 4 {
            assert_eq!(writer.push(&record(&[7; 300], RecordKind::Request)), Put::Done);
        }
        if n % 4 == 0 {
            assert_eq!(writer.seal_empty(BatchKind::TermStart), Put::Done);
        }
        writer.seal(BatchKind::Data);
        for batch in take(&mut consumer) {
            let index = BatchView::parse(&batch).unwrap().header.index();
            ends.extend(writer.ends().get(index).filter(|end| end.index > ends.last().unwrap().index));
        }
    }
    assert!(ends.len() > 1_500 && writer.ends().get(BatchIndex(300)).is_none());
    check(&writer, &ends);
    let keep = ends[ends.len() - 50];
    consumer.rewind(keep.position).unwrap();
    assert!(writer.cut(keep));
    ends.truncate(ends.len() - 49);
    check(&writer, &ends);
}

#[test]
fn a_batch_that_does_not_follow_is_seen_at_once() {
    let (mut leader, mut seen) = node();
    let (follower, _held) = node();
    take(&mut seen);
    lead(&mut leader, u64::MAX);
    assert_eq!(leader.push(&record(b"payload", RecordKind::Request)), Put::Done);
    leader.seal(BatchKind::Data);
    let batch = take(&mut seen).remove(0);
    assert!(follower.follows(&BatchView::parse(&batch).unwrap()));
    for (field, at) in [("position", 16), ("index", 24), ("seq", 40), ("previous", 60)] {
        let mut other = batch.clone();
        other[at] ^= 0x80;
        let crc = crc32c(&other[..BATCH_HEADER - 4]);
        other[BATCH_HEADER - 4..BATCH_HEADER].copy_from_slice(&crc.to_le_bytes());
        assert!(!BatchView::parse(&other).is_ok_and(|view| follower.follows(&view)), "{field}");
    }
}

fn crc32c(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
}
