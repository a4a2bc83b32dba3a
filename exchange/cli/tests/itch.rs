//! `ordain itch` on files made here.

#[allow(dead_code, reason = "each test program uses a part of it")]
mod common;

use common::ordain;
use flate2::{Compression, write::GzEncoder};
use ordain_exchange_itch::message::{AddOrder, Deleted, Executed, Header, SystemEvent, Text, Time};
use std::io::Write;
use zerocopy::IntoBytes;

fn header(kind: u8) -> Header {
    Header { kind, locate: 1.into(), tracking: 0.into(), time: Time::new(34_200_000_000_007) }
}

fn file() -> Vec<u8> {
    let order = 7.into();
    let add = AddOrder {
        header: header(b'A'),
        order,
        side: b'B',
        shares: 100.into(),
        stock: Text::new("MADE"),
        price: 10_000.into(),
    };
    let executed = Executed { header: header(b'E'), order, shares: 40.into(), trade: 1.into() };
    let event = SystemEvent { header: header(b'S'), event: b'Q' };
    [event.as_bytes(), add.as_bytes(), executed.as_bytes()]
        .into_iter()
        .flat_map(|message| [&(message.len() as u16).to_be_bytes()[..], message].concat())
        .collect()
}

#[test]
fn a_file_is_counted_and_checked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("made.gz");
    let name = path.to_str().unwrap();
    let write = |bytes: &[u8]| {
        let mut encoder = GzEncoder::new(std::fs::File::create(&path).unwrap(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap();
    };
    write(&file());
    let said = ordain(&["itch", name]);
    assert_eq!(said.code, 0, "{}{}", said.out, said.error);
    let counts = "   all                               3\nframing     length\n\
        times       09:30:00.000000007 to 09:30:00.000000007\n\
        orders      1 open at the end with 60 shares in 1 stocks, 0 of them crossed; 40 shares executed\ngood\n";
    assert!(said.out.ends_with(counts), "{}", said.out);

    // The order goes twice, a type is new, and the last message is cut off.
    let deleted = Deleted { header: header(b'D'), order: 7.into() };
    let deleted = [&[0, 19], deleted.as_bytes()].concat();
    write(&[&file()[..], &deleted, &deleted, &[0, 2, b'z', 0], &[0, 9, b'S']].concat());
    let said = ordain(&["itch", name, "--json"]);
    assert_eq!(said.code, 1, "{}{}", said.out, said.error);
    let json: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((&json["counts"]["D"], &json["counts"]["z"]), (&2.into(), &1.into()), "{json}");
    assert_eq!((&json["faults"]["not-open"], &json["faults"]["type"]), (&1.into(), &1.into()), "{json}");
    assert_eq!(json["broken_off"], "it ends inside the message at byte 131");
    assert_eq!((&json["good"], &json["open"]["orders"]), (&false.into(), &0.into()), "{json}");

    let absent = folder.path().join("absent");
    let said = ordain(&["itch", absent.to_str().unwrap()]);
    assert!(said.code == 1 && said.error.contains("\n next: Give a file of Nasdaq"), "{}", said.error);
}
