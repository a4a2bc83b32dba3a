//! `ordain flow`: what it writes is played back without a difference, and one tape in two forms of file is measured
//! the same.

#[allow(dead_code, reason = "each test program uses a part of it")]
mod common;

use common::{Said, ordain};
use ordain_exchange_itch::message::{AddOrder, Cancelled, Deleted, Executed, Header, Replaced, Text, Time};
use serde_json::Value;
use std::path::Path;
use zerocopy::IntoBytes;

fn good(arguments: &[&str]) -> Said {
    let said = ordain(arguments);
    assert_eq!(said.code, 0, "{arguments:?}: {}{}", said.out, said.error);
    said
}

/// The two files that `ordain flow generate` writes.
fn generate(folder: &Path, name: &str, like: &str, seed: &str, count: &str) -> [String; 2] {
    let out = folder.join(name).to_str().unwrap().to_owned();
    good(&["flow", "generate", "--like", like, "--seed", seed, "--count", count, "--out", &out]);
    [format!("{out}_message_10.csv"), format!("{out}_orderbook_10.csv")]
}

fn json(arguments: &[&str]) -> Value {
    serde_json::from_str(&good(arguments).out).unwrap()
}

#[test]
fn generated_flow_is_replayed_without_a_difference() {
    let folder = tempfile::tempdir().unwrap();
    let first = generate(folder.path(), "first", "defaults", "3", "2000");
    let second = generate(folder.path(), "second", &first[0], "4", "1500");
    for ([messages, book], rows) in [(&first, 1_999), (&second, 1_499)] {
        let json = json(&["replay", "--lobster", messages, "--book", book, "--json"]);
        assert_eq!(json["compared"]["rows"], rows, "{json}");
        assert!(json["compared"]["executions"].as_u64().unwrap() > 100, "{json}");
        assert_eq!((&json["differing"], &json["resynchronised"]["rows"]), (&0.into(), &0.into()), "{json}");
    }
    // Equal wishes, equal bytes; another seed, another flow.
    let read = |path: &str| std::fs::read(path).unwrap();
    let again = generate(folder.path(), "again", "defaults", "3", "2000");
    assert!(read(&first[0]) == read(&again[0]) && read(&first[1]) == read(&again[1]));
    let other = generate(folder.path(), "other", "defaults", "5", "2000");
    assert!(read(&first[0]) != read(&other[0]));
}

/// The messages of a LOBSTER file as those of an ITCH file, in stock 2 of two.
fn as_itch(messages: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut put = |message: &[u8]| {
        bytes.extend((message.len() as u16).to_be_bytes());
        bytes.extend(message);
    };
    let add = |header, order: u64, side: &str, shares: u32, stock: &str, price: u32| {
        let side = if side == "1" { b'B' } else { b'S' };
        let stock = Text::new(stock);
        AddOrder { header, order: order.into(), side, shares: shares.into(), stock, price: price.into() }
    };
    let rows: Vec<Vec<&str>> = messages.lines().map(|line| line.split(',').collect()).collect();
    let mut replaced = None;
    for (at, row) in rows.iter().enumerate() {
        let (seconds, nanos) = row[0].split_once('.').unwrap();
        let time = Time::new(seconds.parse::<u64>().unwrap() * 1_000_000_000 + nanos.parse::<u64>().unwrap());
        let header = |kind, locate: u16| Header { kind, locate: locate.into(), tracking: 0.into(), time };
        let order: u64 = row[2].parse().unwrap();
        let (shares, price): (u32, u32) = (row[3].parse().unwrap(), row[4].parse().unwrap());
        let next = rows.get(at + 1);
        match (row[1], replaced.take()) {
            ("1", None) => put(add(header(b'A', 2), order, row[5], shares, "MADE", price).as_bytes()),
            ("1", Some(old)) => {
                let message = Replaced {
                    header: header(b'U', 2),
                    order: u64::into(old),
                    new_order: order.into(),
                    shares: shares.into(),
                    price: price.into(),
                };
                put(message.as_bytes());
            }
            ("3", _) if next.is_some_and(|next| (next[0], next[1], next[5]) == (row[0], "1", row[5])) => {
                replaced = Some(order);
            }
            ("2", _) => {
                let message =
                    Cancelled { header: header(b'X', 2), order: order.into(), shares: shares.into() };
                put(message.as_bytes());
            }
            ("3", _) => put(Deleted { header: header(b'D', 2), order: order.into() }.as_bytes()),
            ("4", _) => {
                let header = header(b'E', 2);
                let message =
                    Executed { header, order: order.into(), shares: shares.into(), trade: 1.into() };
                put(message.as_bytes());
            }
            other => panic!("{other:?}"),
        }
        if at % 3 == 0 {
            put(add(header(b'A', 1), 1_000_000 + at as u64, row[5], 7, "OTHER", 777).as_bytes());
        }
    }
    bytes
}

#[test]
fn a_tape_is_measured_the_same_in_both_forms_of_file() {
    let folder = tempfile::tempdir().unwrap();
    let [messages, book] = generate(folder.path(), "made", "defaults", "1", "4000");
    let itch = folder.path().join("made.itch");
    std::fs::write(&itch, as_itch(&std::fs::read_to_string(&messages).unwrap())).unwrap();
    let itch = itch.to_str().unwrap();
    let lobster = json(&["flow", "report", "--lobster", &messages, "--book", &book, "--json"]);
    let nasdaq = json(&["flow", "report", "--itch", itch, "--json"]);
    // The book file knows ten levels and the tape all, so nothing that it says differs.
    assert_eq!(lobster["file"], nasdaq["file"]);
    let count =
        |pointer: &str| lobster.pointer(pointer).unwrap().as_f64().unwrap_or_else(|| panic!("{lobster}"));
    assert!(count("/file/mix/adds") > 1_000.0 && count("/file/mix/replaces") > 50.0, "{lobster}");
    assert!(count("/file/lifetimes_ns/count") > 500.0, "{lobster}");
    // Drawn like the file it is near it, and so is the flow that it was drawn from.
    for source in ["drawn", "flow"] {
        for (name, most) in [("mix", 0.1), ("sides", 0.05), ("sizes", 0.1), ("distances", 0.3)] {
            let far = count(&format!("/{source}/distance/{name}"));
            assert!(far <= most, "{source} {name}: {far}");
        }
    }
    let other = json(&["flow", "report", "--itch", itch, "--stock", "OTHER", "--json"]);
    assert_eq!((&other["file"]["sizes"]["p50"], &other["tick"]), (&7.into(), &777.into()), "{other}");
    let text = good(&["flow", "report", "--lobster", &messages]).out;
    assert!(text.contains("\nsizes         file ") && text.contains("\ngaps_ns       drawn "), "{text}");
}

#[test]
fn what_cannot_be_measured_or_drawn_from_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let out = folder.path().join("out").to_str().unwrap().to_owned();
    let (one, empty) = (path("one", "1.5,1,7,100,1000,1\n"), path("empty", ""));
    for (arguments, said) in [
        (vec!["flow", "generate", "--like", &one, "--out", &out], "has too little in it to draw from"),
        (vec!["flow", "generate", "--like", &empty, "--out", &out], "has no orders in any stock"),
        (vec!["flow", "report", "--itch", &empty, "--stock", "AAPL"], "has no orders in the stock AAPL"),
        (vec!["flow", "report", "--lobster", &one, "--book", &empty], "not have the same number of rows"),
        (vec!["flow", "report", "--itch", &one], "cannot be read: it ends inside the message at byte 0"),
        (vec!["flow", "generate", "--like", &one, "--stock", "A", "--out", &out], "of the kind that --book"),
    ] {
        let found = ordain(&arguments);
        assert_eq!(found.code, 1, "{arguments:?}: {}", found.out);
        assert!(found.error.contains(said) && found.error.contains("\n next: "), "{}", found.error);
    }
}
