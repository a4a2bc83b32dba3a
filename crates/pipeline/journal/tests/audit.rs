//! Auditing a journal at rest, and the bytes of the format.

mod common;

use common::*;
use ordain_agent::disk::FileId;
use ordain_journal::audit::{self, AuditError, SegmentSource, Verdict};
use ordain_journal::{Fault, Mark};
use ordain_types::LogEnd;
use ordain_types::batch::BatchError;
use ordain_types::{BatchIndex, Chain, Receipt, Seq};
use std::fmt::Write;

impl SegmentSource for World {
    fn segments(&self) -> Result<Vec<(u64, u64)>, String> {
        let number = |(file, content): (&FileId, &File)| match file {
            FileId::Segment(number) => Some((*number, content.durable.len() as u64)),
            _ => None,
        };
        Ok(self.lock().files.iter().filter_map(number).collect())
    }

    fn read_at(&self, segment: u64, offset: u64, buffer: &mut [u8]) -> Result<usize, String> {
        let state = self.lock();
        let file = &state.files.get(&FileId::Segment(segment)).ok_or("no such file")?.durable;
        let bytes = file.get(offset as usize..).unwrap_or(&[]);
        let len = bytes.len().min(buffer.len());
        buffer[..len].copy_from_slice(&bytes[..len]);
        Ok(len)
    }
}

fn journal() -> (World, Maker) {
    let world = World::default();
    let mut node = Node::start(&world, &facts(3));
    for units in [2, 1, 3, 3, 1, 2] {
        node.data(units);
    }
    node.close();
    (world, node.maker)
}

#[test]
fn a_whole_journal_is_good_and_receipts_hold() {
    let (world, maker) = journal();
    let watermark = Mark { index: maker.end.index, position: maker.end.position };
    let at = |seq: u64| maker.ends.iter().find(|end| end.next_seq.0 > seq).unwrap();
    let receipt = |seq: u64, end: &LogEnd| Receipt { seq: Seq(seq), index: end.index, chain: end.chain };
    // The last one is of a later batch than its record's.
    let receipts = [receipt(1, at(1)), receipt(4, at(4)), receipt(6, at(6)), receipt(2, at(5))];
    let mut ends = vec![maker.ends[0]];
    let report = audit::verify(&world, Some(watermark), &receipts, &mut |_, end| ends.push(*end)).unwrap();
    assert!(report.is_good(), "{report:?}");
    assert_eq!((report.end, &ends), (maker.end, &maker.ends));
    assert_eq!(report.verdicts, [Verdict::Holds; 4]);
    assert_eq!(report.segments.iter().map(|segment| segment.records).sum::<u64>(), 6);
    assert_eq!(report.segments.iter().map(|segment| segment.bytes).sum::<u64>(), maker.end.position.0);

    let forged = Receipt { chain: Chain([1; 32]), ..receipt(4, at(4)) };
    let beyond = Receipt { index: maker.end.index.next(), ..receipt(6, at(6)) };
    let nothing = Receipt { index: BatchIndex(0), ..receipt(1, at(1)) };
    for (receipt, verdict) in [
        (forged, Verdict::Differs(at(4).chain)),
        (receipt(5, at(4)), Verdict::NotCovered),
        (beyond, Verdict::NotReached),
        (nothing, Verdict::NotReached),
    ] {
        let report = audit::verify(&world, None, &[receipt], &mut |_, _| {}).unwrap();
        assert_eq!(report.verdicts, [verdict], "{receipt}");
        assert!(!report.is_good());
    }
}

#[test]
fn every_flipped_bit_is_reported_with_its_place() {
    let (world, maker) = journal();
    let watermark = Mark { index: maker.end.index, position: maker.end.position };
    for bit in (0..maker.end.position.0 as usize * 8).step_by(5) {
        let world = world.copy();
        world.poke(bit / 8, |byte| *byte ^= 1 << (bit % 8));
        match audit::verify(&world, Some(watermark), &[], &mut |_, _| {}) {
            Ok(report) => {
                assert!(!report.is_good(), "bit {bit}");
                let stop = report.stop.unwrap();
                let at = stop.segment * SEGMENT + stop.offset;
                assert_eq!(at, report.end.position.0);
                assert!(at <= bit as u64 / 8 && bit as u64 / 8 < at + 512, "bit {bit}: {stop:?}");
            }
            Err(error) => assert!(matches!(error, AuditError::NoStart(_)) && bit < 128 * 8, "bit {bit}"),
        }
    }
}

#[test]
fn a_rewritten_batch_with_good_checksums_breaks_the_chain() {
    let (world, maker) = journal();
    // Somebody who can compute checksums writes another history from batch 4 on, one batch only.
    let mut forger = maker.clone();
    forger.cut(3);
    let forged = forger.data(&[&[0xEE; 256]]).pop().unwrap();
    let at = maker.ends[3].position.0 as usize;
    assert_eq!(maker.ends[4].position.0 as usize - at, forged.len());
    for (offset, value) in forged.iter().enumerate() {
        world.poke(at + offset, |byte| *byte = *value);
    }
    let report = audit::verify(&world, None, &[], &mut |_, _| {}).unwrap();
    assert_eq!(report.stop.unwrap().fault, Fault::Chain);
    assert_eq!(report.end.index.0, 4);
}

#[test]
fn the_end_and_a_missing_segment_are_told_apart() {
    let (world, maker) = journal();
    let report = audit::verify(&world, None, &[], &mut |_, _| {}).unwrap();
    assert_eq!(report.stop.unwrap().fault, Fault::Bytes(BatchError::Empty));
    let beyond = Mark { index: maker.end.index.next(), position: maker.end.position.plus(128) };
    let report = audit::verify(&world, Some(beyond), &[], &mut |_, _| {}).unwrap();
    assert!(!report.is_good(), "the watermark is not reached");
    let copy = world.copy();
    copy.lock().files.remove(&FileId::Segment(1));
    let error = audit::verify(&copy, None, &[], &mut |_, _| {}).unwrap_err();
    assert_eq!(error, AuditError::Missing(1));
    let error = audit::verify(&World::default(), None, &[], &mut |_, _| {}).unwrap_err();
    assert_eq!(error, AuditError::Missing(0));
}

/// The example in `docs/format/journal.md`, which says what each byte is.
#[test]
fn the_format_is_as_documented() {
    let world = World::default();
    let mut node = Node::start(&world, &facts(3));
    let batches = node.maker.data(&[b"hello"]);
    node.publish(&batches);
    node.close();
    let log = world.log();
    let state = world.lock().files[&FileId::NodeState].durable.clone();
    let mut text = String::new();
    let mut dump = |title: &str, bytes: &[u8]| {
        writeln!(text, "{title}").unwrap();
        for (row, line) in bytes.chunks(16).enumerate() {
            let hex: Vec<_> = line.iter().map(|byte| format!("{byte:02x}")).collect();
            writeln!(text, "{:04x}  {}", row * 16, hex.join(" ")).unwrap();
        }
    };
    dump("segment 0", &log[..256]);
    dump("node state, slot 0", &state[..160]);
    dump("node state, slot 0, end", &state[4080..4096]);
    writeln!(text, "chain value behind batch 1  {}", node.maker.ends[1].chain).unwrap();
    writeln!(text, "chain value behind batch 2  {}", node.maker.ends[2].chain).unwrap();
    let page = include_str!("../../../../docs/format/journal.md");
    let example = page.split("```text\n").nth(1).and_then(|rest| rest.split("```").next());
    assert_eq!(example, Some(text.as_str()), "the page's example is not what the code writes:\n{text}");
}

#[test]
fn a_trimmed_journal_says_where_it_begins() {
    let (world, maker) = journal();
    let start = *maker.ends.iter().find(|end| end.position.0 == SEGMENT).unwrap();
    world.lock().files.remove(&FileId::Segment(0));
    let receipt =
        |end: &ordain_types::LogEnd, chain| Receipt { seq: Seq(end.next_seq.0 - 1), index: end.index, chain };
    let (older, later) = (&maker.ends[2], maker.ends.last().unwrap());
    let receipts = [
        receipt(older, older.chain),
        receipt(&start, start.chain),
        receipt(&start, Chain([1; 32])),
        receipt(later, later.chain),
    ];
    let report = audit::verify(&world, None, &receipts, &mut |_, _| {}).unwrap();
    let place = |end: ordain_types::LogEnd| (end.position, end.index, end.next_seq, end.chain);
    assert_eq!((place(report.start), report.end), (place(start), maker.end));
    // The first segment still names the chain value of what was in front of it.
    let differs = Verdict::Differs(start.chain);
    assert_eq!(report.verdicts, [Verdict::Trimmed, Verdict::Holds, differs, Verdict::Holds]);
    assert_eq!(report.segments[0].number, 1);
    assert!(report.stop.is_some_and(|end| end.fault == Fault::Bytes(BatchError::Empty)));
}
