//! `docs/format/client.md` says what the code does.

mod common;

use common::{Pair, core_config};
use ordain_types::RecordKind;
use ordain_types::codes::Code;
use ordain_types::frame::{ClientFrame, SERVER_HEADER, ServerFrame, frame_len};

const PAGE: &str = include_str!("../../../docs/format/client.md");

/// Rows of the table below `heading` that begin with a number: it, and the name behind it.
fn rows(heading: &str) -> Vec<(u8, String)> {
    let section = PAGE.split(heading).nth(1).unwrap().split("\n## ").next().unwrap();
    let table = section.split("| Name |").nth(1).unwrap();
    table
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix('|')?.split('|').map(str::trim);
            Some((cells.next()?.parse().ok()?, cells.next()?.to_owned()))
        })
        .collect()
}

#[test]
fn the_tables_are_complete() {
    let client = (0..=255).filter_map(|wire| {
        let record = RecordKind::from_wire(wire)
            .filter(|kind| !matches!(kind, RecordKind::Tick | RecordKind::Genesis | RecordKind::SessionLost))
            .map(|kind| format!("{kind:?}"));
        Some((wire, record.or_else(|| ClientFrame::from_wire(wire).map(|kind| format!("{kind:?}")))?))
    });
    assert_eq!(rows("\n## Frames from a client"), client.collect::<Vec<_>>());
    let node = (0..=255).filter_map(|wire| Some((wire, format!("{:?}", ServerFrame::from_wire(wire)?))));
    assert_eq!(rows("\n## Frames from a node"), node.collect::<Vec<_>>());
    let codes = Code::ALL.map(|code| (code as u8, format!("{code:?}")));
    assert_eq!(rows("\n## Codes"), codes);
}

#[test]
fn the_example_is_what_is_said() {
    let mut pair = Pair::ready(core_config());
    pair.submit(b"hello");
    pair.run();
    let mut text = String::new();
    for (who, bytes) in &pair.trace {
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let length = u32::from_le_bytes(rest[..4].try_into().unwrap()) as usize;
            let (frame, behind) = rest.split_at(frame_len(length));
            assert!(frame.len() >= SERVER_HEADER);
            rest = behind;
            let kind = match *who {
                "node" => format!("{:?}", ServerFrame::from_wire(frame[4]).unwrap()),
                _ => ClientFrame::from_wire(frame[4]).map_or_else(
                    || format!("{:?}", RecordKind::from_wire(frame[4]).unwrap()),
                    |kind| format!("{kind:?}"),
                ),
            };
            text += &format!("{who}: {kind}\n");
            for line in frame.chunks(32) {
                let words =
                    line.chunks(4).map(|word| word.iter().map(|byte| format!("{byte:02x}")).collect());
                text += &format!("    {}\n", words.collect::<Vec<String>>().join(" "));
            }
        }
    }
    let example = PAGE.split("```text\n").nth(1).unwrap().split("```").next().unwrap();
    assert_eq!(example, text, "\n{text}");
}
