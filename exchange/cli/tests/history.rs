//! `ordain explain`, `state` and `export` on the journal of a node that has traded.

#[allow(dead_code, reason = "each test program uses a part of it")]
mod common;
#[path = "../../export/tests/common/mod.rs"]
mod tables;

use common::{Node, copy, numbers, ordain};
use ordain_client::blocking::{Client, Outcome};
use ordain_client::{ClientConfig, CoreConfig, Member};
use ordain_exchange_protocol::{
    Amend, Cancel, CreateAccount, CreateInstrument, Definition, FromZeros, IntoBytes, MassCancel, NewOrder,
    NewOrder2, OrderRef, OrderType, Reply, Scope, SelfTrade, SetFirm, SetGrossLimit, SetInstrumentLimits,
    Side, Sides, TimeInForce, Transfer, note,
};
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Sends commands one after another.
struct Desk(Client);

impl Desk {
    fn open(node: &Node) -> Self {
        let members = vec![Member::at(&node.address("tcp"))];
        let pair = ordain_host::keys::load(Path::new(&node.operator())).unwrap();
        Self(Client::connect(&ClientConfig::new(members, CoreConfig::new(pair))).unwrap())
    }

    /// Number of the record, the code and, of an order, its id.
    fn send(&mut self, message: &[u8]) -> (u64, u16, u64) {
        let Outcome::Acknowledged { seq, reply, .. } = self.0.call(1, message).unwrap() else { panic!() };
        let reply = Reply::decode(&reply).unwrap();
        let order = if let Reply::Order(reply) = reply { reply.order_id.get() } else { 0 };
        (seq.0, reply.code(), order)
    }

    fn good(&mut self, message: &[u8]) -> (u64, u64) {
        let (seq, code, order) = self.send(message);
        assert_eq!(code, 0);
        (seq, order)
    }
}

fn definition() -> Definition {
    let mut definition = Definition::new_zeroed();
    definition.instrument = 1.into();
    definition.symbol[0] = b'X';
    (definition.base, definition.quote) = (1.into(), 2.into());
    (definition.quote_per_tick_lot, definition.base_per_lot) = (10.into(), 3.into());
    (definition.min_quantity, definition.max_quantity) = (1.into(), 1_000.into());
    (definition.max_price, definition.collar) = (1_000.into(), 1_000.into());
    (definition.maker_ppm, definition.taker_ppm) = ((-1_000).into(), 2_000.into());
    (definition.tick, definition.lot) = (1.into(), 1.into());
    definition
}

/// A line with its date and its session left out.
fn plain(text: &str) -> String {
    let line = |line: &str| match line.split_once("  20") {
        Some((record, rest)) => {
            let rest = rest.split_once("  session").map_or("", |(_, rest)| rest);
            let key = rest.split_once(", ").map_or("", |(_, key)| key);
            format!("{record}, {key}\n")
        }
        None => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

fn rows(arguments: &[&str]) -> Vec<Vec<String>> {
    let said = ordain(arguments);
    assert_eq!(said.code, 0, "{arguments:?}: {}{}", said.out, said.error);
    tables::csv_rows(&said.out)
}

/// An instrument, and two accounts with money.
fn open_market(desk: &mut Desk) {
    desk.good(CreateInstrument::new(definition()).as_bytes());
    for account in [1, 2] {
        desk.good(CreateAccount::new(account).as_bytes());
        for currency in [1, 2] {
            desk.good(Transfer::deposit(account, currency, u64::from(currency) + 3, 1_000_000).as_bytes());
        }
    }
}

#[test]
fn the_past_is_told_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let node = Node::start(&data);
    let mut desk = Desk::open(&node);
    open_market(&mut desk);
    // Repeated and refused transfers move nothing.
    desk.send(Transfer::deposit(1, 2, 5, 1_000_000).as_bytes());
    assert_ne!(desk.send(Transfer::withdraw(1, 2, 6, 2_000_000).as_bytes()).1, 0);
    let (entered, order) = desk.good(NewOrder::limit(1, 1, 7, Side::Buy, 100, 10).as_bytes());
    let taker = NewOrder::limit(2, 1, 9, Side::Sell, 100, 4).lasting(TimeInForce::Ioc);
    let (traded, other) = desk.good(taker.as_bytes());
    let (amended, _) = desk.good(Amend::new(1, OrderRef::Client(7), 100, 9).as_bytes());
    let (again, code, _) = desk.send(NewOrder::limit(1, 1, 7, Side::Buy, 90, 1).as_bytes());
    assert_ne!(code, 0);
    let (swept, _) = desk.good(MassCancel::new(1, 0, Sides::Any).as_bytes());
    let (late, code, _) = desk.send(Cancel::new(1, OrderRef::Id(order)).as_bytes());
    assert_ne!(code, 0);
    // A mass cancel of so many takes more than one step.
    for id in 100..200 {
        desk.good(NewOrder::limit(2, 1, id, Side::Buy, 50, 1).as_bytes());
    }
    let (cleared, _) = desk.good(MassCancel::new(2, 0, Sides::Any).as_bytes());
    desk.good(Transfer::withdraw(2, 1, 8, 1).as_bytes());
    desk.good(Transfer::withdraw(0, 2, 9, 3).as_bytes());
    drop(desk);
    node.stop();
    let data = data.to_str().unwrap();

    let text = plain(&ordain(&["explain", "order", &order.to_string(), data]).out);
    let expected = format!(
        "record {entered}, key 1\n\
         \x20 new limit order of account 1 in instrument 1, called 7: buy 10 lots at 100, good till cancelled\n\
         \x20 order {order}, called 7: live; 0 lots filled, 10 open\n\
         record {traded}, key 1\n\
         \x20 filled: 4 lots at 100 as maker with order {other} of account 2, trade {traded}.0, fee -4 of currency 2; 4 \
         filled, 6 open\n\
         record {amended}, key 1\n\
         \x20 amend client order 7: 9 lots in all at 100\n\
         \x20 order {order}, called 7: live; 4 lots filled, 5 open\n\
         record {again}, key 1\n\
         \x20 new limit order of account 1 in instrument 1, called 7: buy 1 lots at 90, good till cancelled\n\
         \x20 refused, DuplicateClientOrderId: A live order of the account has this client order id\n\
         record {swept}, key 1\n\
         \x20 cancelled: 5 lots at 100, 4 were filled; a mass cancel\n\
         record {late}, key 1\n\
         \x20 cancel order {order}\n\
         \x20 refused, UnknownOrder: The account has no such live order: it was filled, was cancelled, or never was\n"
    );
    assert_eq!(text, expected);
    let by_name = plain(&ordain(&["explain", "order", "7", "--account", "1", data]).out);
    // The last command named the order by its id.
    assert_eq!(by_name, expected[..expected.rfind("record").unwrap()]);
    let unknown = ordain(&["explain", "order", "1", "--account", "9", data]);
    assert_eq!(unknown.code, 1, "{}", unknown.out);
    assert!(unknown.error.starts_with("error: nothing is known of the order 1 of account 9\n next: "));

    let state = |seq: u64| -> Value {
        let arguments = ["state", "at", &seq.to_string(), data, "--book", "1", "--account", "1", "--json"];
        let said = ordain(&arguments);
        assert_eq!(said.code, 0, "{}", said.error);
        serde_json::from_str(&said.out).unwrap()
    };
    let level = |lots: u64| json!([{ "price": 100, "lots": lots, "orders": 1 }]);
    // An order holds what it costs with the worse of the two fees, 2 in a thousand.
    for (seq, bids, trades, free, held) in [
        (entered, level(10), 0, 989_980, 10_020),
        (traded, level(6), 1, 989_992, 6_012),
        (amended, level(5), 1, 990_994, 5_010),
        (swept, json!([]), 1, 996_004, 0),
    ] {
        let state = state(seq);
        assert_eq!(
            (&state["seq"], &state["trades"], &state["book"]["bids"]),
            (&seq.into(), &trades.into(), &bids)
        );
        assert_eq!(
            state["account"]["balances"][1],
            json!({ "currency": 2, "free": free, "held": held }),
            "{state}"
        );
    }
    for (seq, orders) in [(entered - 1, 0), (cleared - 1, 100), (cleared, 0), (cleared + 1, 0)] {
        assert_eq!(state(seq)["orders"], orders);
    }
    let said = ordain(&["state", "at", &traded.to_string(), data, "--book", "1"]);
    assert!(said.out.contains("\n1 instruments, 2 accounts, 1 live orders; "), "{}", said.out);
    assert!(said.out.contains("\n  bid            100            6      1\n"), "{}", said.out);
    for (arguments, says) in [
        (["state", "at", "999999", data, "--book", "1"], "the journal has no record 999999"),
        (["state", "at", &traded.to_string(), data, "--book", "9"], "there is no book of instrument 9"),
    ] {
        let said = ordain(&arguments);
        assert!(said.code == 1 && said.error.contains(says), "{}", said.error);
    }

    let trades = rows(&["export", data, "--trades"]);
    assert_eq!(
        trades[0].join(","),
        "seq,index,time_ns,instrument,price,quantity,aggressor,buy_account,buy_order,buy_fee,sell_account,sell_order,sell_fee,fee_currency"
    );
    assert_eq!(trades.len(), 2);
    let (traded, order, other) = (traded.to_string(), order.to_string(), other.to_string());
    let fields: Vec<&str> = trades[1].iter().map(String::as_str).collect();
    assert_eq!(fields[..2], [&traded, "0"]);
    assert_eq!(fields[3..], ["1", "100", "4", "sell", "1", &order, "-4", "2", &other, "8", "2"]);

    let statements = rows(&["export", data, "--statements", "--format", "csv"]);
    let of = |seq: &str| -> Vec<String> {
        statements.iter().filter(|row| row[0] == *seq).map(|row| row[2..].join(",")).collect()
    };
    assert_eq!(
        of(&traded),
        [
            "1,1,trade,12,0,1000012",
            "1,2,trade,-4000,0,996000",
            "1,2,fee,4,0,996004",
            "0,2,fee,-4,0,-4",
            "2,1,trade,-12,0,999988",
            "2,2,trade,4000,0,1004000",
            "2,2,fee,-8,0,1003992",
            "0,2,fee,8,0,4",
        ]
    );
    // Four deposits, a trade of eight movements, two withdrawals, one of them of fees.
    assert_eq!(statements.len(), 1 + 4 + 8 + 2);
    assert_eq!(statements[13][2..].join(","), "2,1,withdrawal,-1,8,999987");
    assert_eq!(statements[14][2..].join(","), "0,2,withdrawal,-3,9,1");

    let out = folder.path().join("orders.csv");
    let said = ordain(&["export", data, "--orders", "--out", out.to_str().unwrap()]);
    assert_eq!((said.code, said.out.as_str()), (0, ""), "{}", said.error);
    let history = std::fs::read_to_string(out).unwrap();
    let events: Vec<&str> = history.lines().skip(1).map(|row| row.split(',').nth(2).unwrap()).collect();
    assert_eq!(events[..8], ["new", "fill", "fill", "new", "amend", "new", "cancelled", "cancel"]);
    assert!(events.len() == 8 + 200 && events[108..].iter().all(|event| *event == "cancelled"));
}

#[test]
fn what_a_deadline_brought_about_is_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let node = Node::start(&data);
    let mut desk = Desk::open(&node);
    desk.good(CreateInstrument::new(definition()).as_bytes());
    desk.good(CreateAccount::new(1).as_bytes());
    desk.good(Transfer::deposit(1, 2, 5, 1_000_000).as_bytes());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let order = NewOrder2 {
        time_in_force: TimeInForce::Gtd,
        expiry: (now + 200_000_000).into(),
        ..NewOrder2::limit(1, 1, 7, Side::Buy, 100, 10)
    };
    desk.good(order.as_bytes());
    std::thread::sleep(Duration::from_millis(500));
    let (last, code, _) = desk.send(Cancel::new(1, OrderRef::Client(7)).as_bytes());
    assert_ne!(code, 0);
    drop(desk);
    node.stop();
    let data = data.to_str().unwrap();
    let said = ordain(&["explain", "order", "7", "--account", "1", data]).out;
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[2].ends_with(", called 7: live; 0 lots filled, 10 open"), "{said}");
    assert!(lines[3].starts_with("before record ") && lines[3].ends_with("  a deadline"), "{said}");
    assert_eq!(lines[4], "  cancelled: 10 lots at 100, 0 were filled; its time had come");
    assert!(lines[5].starts_with(&format!("record {last}  ")) && lines.len() == 8, "{said}");
}

#[test]
fn parquet_has_the_same_cells_as_csv() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let node = Node::start(&data);
    let mut desk = Desk::open(&node);
    open_market(&mut desk);
    // A fill, and an amend of what it left to what it filled.
    desk.good(NewOrder::limit(1, 1, u64::MAX, Side::Buy, 100, 10).as_bytes());
    desk.good(NewOrder::limit(2, 1, 9, Side::Sell, 100, 4).lasting(TimeInForce::Ioc).as_bytes());
    desk.good(Amend::new(1, OrderRef::Client(u64::MAX), 100, 4).as_bytes());
    // A stop that the next trade sets off, and an order that meets one of the same owner.
    let stop = NewOrder2 {
        order_type: OrderType::StopLimit,
        trigger: 120.into(),
        ..NewOrder2::limit(1, 1, 10, Side::Buy, 130, 5)
    };
    desk.good(stop.as_bytes());
    desk.good(NewOrder::limit(1, 1, 11, Side::Sell, 120, 3).as_bytes());
    desk.good(NewOrder::limit(2, 1, 12, Side::Buy, 120, 2).as_bytes());
    let own =
        NewOrder2 { self_trade: SelfTrade::Decrement, ..NewOrder2::limit(2, 1, 13, Side::Sell, 110, 1) };
    desk.good(NewOrder::limit(2, 1, 14, Side::Buy, 140, 3).as_bytes());
    desk.good(own.as_bytes());
    assert_ne!(desk.send(Cancel::new(1, OrderRef::Client(99)).as_bytes()).1, 0);
    drop(desk);
    node.stop();
    let data = data.to_str().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();

    for (what, least, texts) in [
        ("--statements", 1 + 4 + 16, vec!["deposit", "trade", "fee"]),
        ("--trades", 1 + 2, vec!["buy", "sell"]),
        ("--orders", 1 + 15, vec!["new", "amend", "cancel", "fill", "triggered", "prevented"]),
    ] {
        let out = file("rows.parquet");
        for arguments in [
            ["export", data, what, "--out", &out].as_slice(),
            &["export", data, what, "--out", &file("rows"), "--format", "parquet"],
        ] {
            let said = ordain(arguments);
            assert_eq!((said.code, said.out.as_str()), (0, ""), "{}", said.error);
        }
        let csv = rows(&["export", data, what]);
        assert!(csv.len() >= least, "{csv:?}");
        for text in texts {
            assert!(csv.iter().flatten().any(|cell| cell == text), "{what}: no {text} in {csv:?}");
        }
        assert_eq!(tables::parquet_rows(std::fs::File::open(out).unwrap()), csv, "{what}");
        assert_eq!(std::fs::read(file("rows")).unwrap(), std::fs::read(file("rows.parquet")).unwrap());
    }
    let said = ordain(&["export", data, "--orders", "--format", "csv", "--out", &file("rows.parquet")]);
    assert_eq!(said.code, 0);
    let text = std::fs::read_to_string(file("rows.parquet")).unwrap();
    assert!(text.contains(",\"amended to what was filled, or below\"\n"), "{text}");
    let said = ordain(&["export", data, "--orders", "--format", "parquet"]);
    assert!(said.code == 1 && said.error.contains("standard output"), "{}", said.error);
}

/// Small segments, which are all kept, and a snapshot for each.
const SMALL: [&str; 15] = [
    "node",
    "--listen",
    "127.0.0.1:0",
    "--metrics",
    "127.0.0.1:0",
    "--payload-max",
    "1KiB",
    "--batch-max",
    "16KiB",
    "--segment-size",
    "64KiB",
    "--retain",
    "all",
    "--log-level",
    "error",
];

/// What is told of a whole journal and of the same one without its older segments.
#[test]
fn a_trimmed_journal_is_told_from_its_oldest_snapshot() {
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole");
    let node = Node::spawn(&whole, &SMALL).ready();
    let mut desk = Desk::open(&node);
    open_market(&mut desk);
    let (_, over) = desk.good(NewOrder::limit(1, 1, 6, Side::Buy, 100, 1).as_bytes());
    desk.good(Cancel::new(1, OrderRef::Id(over)).as_bytes());
    let (_, order) = desk.good(NewOrder::limit(1, 1, 7, Side::Buy, 100, 10).as_bytes());
    let sell = |id: u64| NewOrder::limit(2, 1, id, Side::Sell, 100, 3).lasting(TimeInForce::Ioc);
    desk.good(sell(1).as_bytes());
    for id in 100.. {
        let (_, other) = desk.good(NewOrder::limit(2, 1, id, Side::Buy, 50, 1).as_bytes());
        desk.good(Cancel::new(2, OrderRef::Id(other)).as_bytes());
        if numbers(&whole, "snapshot-").len() == 2 {
            break;
        }
    }
    assert_ne!(desk.send(NewOrder::limit(1, 1, 7, Side::Buy, 90, 1).as_bytes()).1, 0);
    desk.good(sell(2).as_bytes());
    let (last, _) = desk.good(Transfer::deposit(1, 2, 9, 5).as_bytes());
    drop(desk);
    node.stop();

    let trimmed = folder.path().join("trimmed");
    copy(&whole, &trimmed);
    let oldest = numbers(&trimmed, "snapshot-")[0].0;
    for (number, path) in numbers(&trimmed, "segment-") {
        if number * (64 << 10) < oldest {
            std::fs::remove_file(path).unwrap();
        }
    }
    let (whole, trimmed) = (whole.to_str().unwrap(), trimmed.to_str().unwrap());

    // Exports: the rows of the whole journal from there on, balances included.
    let said = ordain(&["export", trimmed, "--trades"]);
    let notice =
        format!("the journal is trimmed: it is replayed from the snapshot at position {oldest}, record ");
    let begins = said.error.trim_end().strip_prefix(&notice).unwrap_or_else(|| panic!("{}", said.error));
    let begins: u64 = begins.parse().unwrap();
    for (what, least) in [("--statements", 5), ("--orders", 4), ("--trades", 1)] {
        let mut expected = rows(&["export", whole, what]);
        let all = expected.len();
        let names = expected.remove(0);
        expected.retain(|row| row[0].parse::<u64>().unwrap() >= begins);
        expected.insert(0, names);
        assert!(expected.len() > least && expected.len() < all, "{what}: {} of {all}", expected.len());
        assert_eq!(rows(&["export", trimmed, what]), expected, "{what}");
        let out = folder.path().join("rows.parquet");
        assert_eq!(ordain(&["export", trimmed, what, "--out", out.to_str().unwrap()]).code, 0);
        assert_eq!(tables::parquet_rows(std::fs::File::open(out).unwrap()), expected, "{what}");
    }

    // States: the same from the snapshot on, and none before.
    let state = |data: &str, seq: u64| {
        let seq = seq.to_string();
        let said = ordain(&["state", "at", &seq, data, "--book", "1", "--account", "1", "--json"]);
        (said.code, said.out, said.error)
    };
    for seq in [begins - 1, begins, last] {
        let (of_whole, of_trimmed) = (state(whole, seq), state(trimmed, seq));
        assert_eq!((of_whole.0, &of_whole.1), (0, &of_trimmed.1), "{}{}", of_whole.2, of_trimmed.2);
        assert!(of_trimmed.2.starts_with(&notice) && of_whole.2.is_empty());
    }
    let (code, out, error) = state(trimmed, begins - 2);
    assert!(code == 1 && out.is_empty(), "{out}");
    assert!(
        error.contains(&format!("error: what is older than record {} was trimmed", begins - 1)),
        "{error}"
    );

    // Orders: what the snapshot says of one that lives in it, then the same lines; of what was over, nothing.
    for ask in [vec![order.to_string()], vec!["7".to_owned(), "--account".to_owned(), "1".to_owned()]] {
        let explain = |data: &str| {
            let mut arguments = vec!["explain", "order"];
            arguments.extend(ask.iter().map(String::as_str));
            arguments.push(data);
            let said = ordain(&arguments);
            assert_eq!(said.code, 0, "{}", said.error);
            said.out
        };
        let (of_whole, of_trimmed) = (explain(whole), explain(trimmed));
        let (head, rest) = of_trimmed.split_at(of_trimmed.find("\nrecord ").unwrap() + 1);
        let lines: Vec<&str> = head.lines().collect();
        assert!(lines[0].starts_with(&format!("up to record {}  20", begins - 1)), "{head}");
        assert!(lines[0].ends_with("  the snapshot with which the journal begins"), "{head}");
        let known = format!(
            "  order {order}, called 7: live limit order of account 1 in instrument 1, buy at 100; 3 lots filled, 7 open"
        );
        assert_eq!(lines[1..], [known]);
        assert!(
            rest.contains("refused, DuplicateClientOrderId") && rest.contains("filled: 3 lots"),
            "{rest}"
        );
        assert!(of_whole.ends_with(rest) && of_whole.len() > rest.len(), "{of_whole}");
    }
    assert_eq!(ordain(&["explain", "order", &over.to_string(), whole]).code, 0);
    let said = ordain(&["explain", "order", &over.to_string(), trimmed]);
    assert!(said.code == 1 && said.error.contains("what was trimmed cannot be told"), "{}", said.error);

    // Without the snapshot that stands for what was removed, the next one serves; without any, none does.
    let snapshots = numbers(Path::new(trimmed), "snapshot-");
    std::fs::remove_file(&snapshots[0].1).unwrap();
    let said = ordain(&["export", trimmed, "--statements"]);
    assert!(
        said.code == 0 && said.error.contains(&format!("position {}, ", snapshots[1].0)),
        "{}",
        said.error
    );
    std::fs::remove_file(&snapshots[1].1).unwrap();
    for arguments in [
        vec!["export", trimmed, "--statements"],
        vec!["state", "at", "1", trimmed],
        vec!["explain", "order", "1", trimmed],
    ] {
        let said = ordain(&arguments);
        assert!(said.code == 1 && said.error.contains("no snapshot there can be used"), "{}", said.error);
    }
}

#[test]
fn a_damaged_journal_is_told_as_far_as_it_goes_and_called_so() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let node = Node::start(&data);
    let mut desk = Desk::open(&node);
    open_market(&mut desk);
    let (entered, order) = desk.good(NewOrder::limit(1, 1, 7, Side::Buy, 100, 10).as_bytes());
    let (damaged, _) = desk.good(Transfer::deposit(1, 2, 9, 0x1234_5678_9abc).as_bytes());
    desk.good(Cancel::new(1, OrderRef::Id(order)).as_bytes());
    drop(desk);
    node.stop();
    let segment = &numbers(&data, "segment-")[0].1;
    let mut bytes = std::fs::read(segment).unwrap();
    let amount = 0x1234_5678_9abc_u64.to_le_bytes();
    let at = bytes.windows(8).position(|window| window == amount).unwrap();
    bytes[at] ^= 1;
    std::fs::write(segment, bytes).unwrap();

    let data = data.to_str().unwrap();
    let out = folder.path().join("orders.parquet");
    let said = ordain(&["export", data, "--orders", "--out", out.to_str().unwrap()]);
    assert_eq!(said.code, 1);
    for part in
        ["the journal ends with damage at segment 0", "error: the journal is damaged: it was told up to"]
    {
        assert!(said.error.contains(part), "{}", said.error);
    }
    let found = tables::parquet_rows(std::fs::File::open(out).unwrap());
    assert_eq!((found.len(), found[1][2].as_str()), (2, "new"));
    let said = ordain(&["explain", "order", &order.to_string(), data]);
    assert!(said.code == 1 && said.out.contains("new limit order"), "{}{}", said.out, said.error);
    assert_eq!(ordain(&["state", "at", &entered.to_string(), data]).code, 0);
    let said = ordain(&["state", "at", &damaged.to_string(), data]);
    assert!(said.code == 1 && said.error.contains("; the journal ends with damage at"), "{}", said.error);
}

#[test]
fn an_account_is_told_whole() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let node = Node::start(&data);
    let mut desk = Desk::open(&node);
    open_market(&mut desk);
    let why = note("a test");
    desk.good(SetFirm::new(1, 3, why).as_bytes());
    let limits = SetInstrumentLimits { long: 50.into(), ..SetInstrumentLimits::new(1, 1, why) };
    desk.good(limits.as_bytes());
    desk.good(SetGrossLimit::new(Scope::Account, 1, 2, 60_000, why).as_bytes());
    let (_, first) = desk.good(NewOrder::limit(1, 1, 7, Side::Buy, 100, 10).as_bytes());
    desk.good(NewOrder::limit(2, 1, 9, Side::Sell, 100, 4).lasting(TimeInForce::Ioc).as_bytes());
    let stop = NewOrder2 {
        order_type: OrderType::StopLimit,
        trigger: 120.into(),
        ..NewOrder2::limit(1, 1, 10, Side::Buy, 130, 5)
    };
    desk.good(stop.as_bytes());
    let (last, _) = desk.good(NewOrder::limit(1, 1, 11, Side::Sell, 150, 8).as_bytes());
    drop(desk);
    node.stop();
    let data = data.to_str().unwrap();
    let last = last.to_string();
    let said = ordain(&["state", "at", &last, data, "--account", "1", "--json"]);
    let account = &serde_json::from_str::<Value>(&said.out).unwrap()["account"];
    let orders = account["orders"].as_array().unwrap();
    let order = |at: usize, field: &str| orders[at][field].clone();
    assert_eq!(orders.len(), 3, "{account}");
    // A buy holds what it costs with a fee of 2 in a thousand, a sell 3 of base for a lot.
    for (at, called, side, kind, state, filled, open, currency, held) in [
        (0, 7, "buy", "limit", "live", 4, 6, 2, 6_012),
        (1, 10, "buy", "stop-limit", "waiting", 0, 5, 2, 6_515),
        (2, 11, "sell", "limit", "live", 0, 8, 1, 24),
    ] {
        assert_eq!(
            ["client_order_id", "filled", "open", "currency", "held"].map(|field| order(at, field)),
            [called, filled, open, currency, held].map(Value::from)
        );
        assert_eq!(
            ["side", "type", "state"].map(|field| order(at, field)),
            [side, kind, state].map(Value::from)
        );
    }
    assert_eq!(order(0, "order_id"), first);
    let held = |at: usize| account["balances"][at]["held"].clone();
    assert_eq!([held(0), held(1)], [24, 6_012 + 6_515]);
    assert_eq!(account["access"]["firm"], 3);
    assert_eq!(account["limits"]["orders"], 3);
    let gross =
        json!([{ "currency": 2, "gross": (6_000 + 6_500 + 12_000).to_string(), "max_gross": "60000" }]);
    assert_eq!(account["limits"]["gross"], gross);
    assert_eq!(account["firm_limits"]["orders"], 3);
    let pair = &account["instruments"][0];
    assert_eq!(["position", "long", "short"].map(|field| pair[field].clone()), ["4", "50", "none"]);
    assert_eq!([&pair["open_buys"], &pair["open_sells"]], [&json!(11), &json!(8)]);

    let text = ordain(&["state", "at", &last, data, "--account", "1"]).out;
    for line in [
        "balances: currency, free, held\n",
        &format!("\n  {first}   7  1   buy       limit     live  100    0  4  6  2  6012\n"),
        "\nlimits of its firm: orders, max_orders, ",
        "\npositions and limits in instruments: instrument, position, open_buys, open_sells, ",
    ] {
        assert!(text.contains(line), "{line:?} is not in {text}");
    }
    // The exchange's own account has the fees; an account that is not there is an error.
    let own = ordain(&["state", "at", &last, data, "--account", "0"]);
    assert!(
        own.code == 0 && own.out.ends_with("account 0\nbalances: currency, free, held\n  2  4  0\n"),
        "{}",
        own.out
    );
    let nobody = ordain(&["state", "at", &last, data, "--account", "9"]);
    assert!(nobody.code == 1 && nobody.error.contains("UnknownAccount"), "{}", nobody.error);
}
