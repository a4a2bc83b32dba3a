//! `ordain replay` on flow made here in the form of LOBSTER's files, whose own data is not ours to ship.

#[allow(dead_code, reason = "each test program uses a part of it")]
mod common;

use common::{Node, ordain};
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::path::Path;

const DEPTH: usize = 10;
const TICK: i64 = 100;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

/// A market: per side, levels by distance from the best possible price, each a queue of (order, size).
struct Market {
    sides: [BTreeMap<i64, VecDeque<(u64, u64)>>; 2],
    next: u64,
    random: Random,
    messages: String,
    rows: String,
    row_count: usize,
}

/// Sides: 0 buys, 1 sells. Levels of buys are keyed by the negative price, so that the best comes first.
const fn key(side: usize, price: i64) -> i64 {
    if side == 0 { -price } else { price }
}

impl Market {
    fn new(levels: i64) -> Self {
        let mut market = Self {
            sides: [BTreeMap::new(), BTreeMap::new()],
            next: 1_000,
            random: Random(7),
            messages: String::new(),
            rows: String::new(),
            row_count: 0,
        };
        for level in 1..=levels {
            for (side, price) in [(0, 1_000_000 - level * TICK), (1, 1_000_000 + level * TICK)] {
                market.add(side, price, 50 + market_size(level));
            }
        }
        market
    }

    fn add(&mut self, side: usize, price: i64, size: u64) -> u64 {
        self.next += 1;
        self.sides[side].entry(key(side, price)).or_default().push_back((self.next, size));
        self.next
    }

    fn best(&self, side: usize) -> i64 {
        let (best, _) = self.sides[side].first_key_value().expect("the market is never empty");
        key(side, *best)
    }

    fn say(&mut self, kind: u8, order: u64, size: u64, price: i64, direction: i8) {
        let second = 34_200 + self.row_count;
        // Some files have a seventh column.
        let seventh = if self.row_count.is_multiple_of(3) { ",MPID" } else { "" };
        writeln!(self.messages, "{second}.{:09},{kind},{order},{size},{price},{direction}{seventh}", 17)
            .unwrap();
        self.row_count += 1;
        let level = |side: usize, at: usize| {
            let (price, orders) = self.sides[side].iter().nth(at)?;
            Some((key(side, *price), orders.iter().map(|(_, size)| size).sum::<u64>()))
        };
        let columns: Vec<String> = (0..DEPTH)
            .map(|at| {
                let (ask, ask_size) = level(1, at).unwrap_or((9_999_999_999, 0));
                let (bid, bid_size) = level(0, at).unwrap_or((-9_999_999_999, 0));
                format!("{ask},{ask_size},{bid},{bid_size}")
            })
            .collect();
        writeln!(self.rows, "{}", columns.join(",")).unwrap();
    }

    /// One row more: something happens inside the window.
    fn step(&mut self) {
        let side = self.random.below(2) as usize;
        let direction = if side == 0 { 1 } else { -1 };
        let away = if side == 0 { -TICK } else { TICK };
        match self.random.below(20) {
            0 => self.say(5, 0, 10, self.best(side), direction),
            1 => self.say(7, 0, 0, -1, -1),
            2..11 => {
                let mut price = self.best(side) + away * (self.random.below(6) as i64 - 1);
                let other = self.best(1 - side);
                if key(side, price) <= key(side, other) {
                    price = other + away;
                }
                let size = 1 + self.random.below(200);
                let order = self.add(side, price, size);
                self.say(1, order, size, price, direction);
            }
            choice => {
                let at = if choice < 14 { 0 } else { self.random.below(3).min(self.levels(side) - 1) };
                let entry = self.sides[side].iter_mut().nth(at as usize);
                let (level, orders) = entry.expect("inside");
                let place = if choice < 14 { 0 } else { self.random.below(orders.len() as u64) as usize };
                let (order, open) = orders[place];
                let size = if choice % 2 == 0 { open } else { 1 + self.random.below(open) };
                let (level, is_last) = (*level, orders.len() == 1);
                if is_last && size == open && self.levels(side) == 1 {
                    return self.step();
                }
                let orders = self.sides[side].get_mut(&level).expect("just seen");
                if size == open {
                    orders.remove(place);
                    if orders.is_empty() {
                        self.sides[side].remove(&level);
                    }
                } else {
                    orders[place].1 -= size;
                }
                let kind = match choice {
                    ..14 => 4,
                    _ if size == open => 3,
                    _ => 2,
                };
                self.say(kind, order, size, key(side, level), direction);
            }
        }
    }

    fn levels(&self, side: usize) -> u64 {
        self.sides[side].len() as u64
    }
}

const fn market_size(level: i64) -> u64 {
    (level * 37 % 100) as u64
}

/// Files of a market with so many levels and rows.
fn write(folder: &Path, levels: i64, rows: usize) -> (String, String) {
    let mut market = Market::new(levels);
    let order = market.add(0, 1_000_000 - TICK, 25);
    market.say(1, order, 25, 1_000_000 - TICK, 1);
    while market.row_count < rows {
        market.step();
    }
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let (messages, book) = (path("messages.csv"), path("book.csv"));
    std::fs::write(&messages, market.messages).unwrap();
    std::fs::write(&book, market.rows).unwrap();
    (messages, book)
}

fn count(json: &serde_json::Value, path: &str) -> u64 {
    json.pointer(path).and_then(serde_json::Value::as_u64).unwrap_or_else(|| panic!("{path} in {json}"))
}

#[test]
fn a_market_is_replayed_through_a_node_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let (messages, book) = write(folder.path(), 12, 600);
    let said = ordain(&["replay", "--lobster", &messages, "--book", &book, "--json"]);
    assert_eq!(said.code, 0, "{}{}", said.out, said.error);
    let json: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((count(&json, "/compared/rows"), count(&json, "/differing")), (599, 0));
    assert!(count(&json, "/compared/executions") > 30 && count(&json, "/compared/levels") > 5_000);
    assert!(count(&json, "/skipped/hidden") > 5 && count(&json, "/skipped/halts") > 5);
}

#[test]
fn a_thin_market_is_replayed_through_a_running_node_and_a_false_row_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start(&folder.path().join("data"));
    let (messages, book) = write(folder.path(), 4, 300);
    let (address, key) = (node.address("tcp"), node.operator());
    let replay =
        || ordain(&["replay", "--lobster", &messages, "--book", &book, "--connect", &address, "--key", &key]);
    let said = replay();
    assert_eq!(said.code, 0, "{}{}", said.out, said.error);
    assert!(said.out.contains("differing       0\ngood\n"), "{}", said.out);

    // Again on the same node, with the best bid of row 200 one share larger than it was.
    let mut rows: Vec<String> = std::fs::read_to_string(&book).unwrap().lines().map(str::to_owned).collect();
    let mut columns: Vec<&str> = rows[199].split(',').collect();
    let size = (columns[3].parse::<u64>().unwrap() + 1).to_string();
    columns[3] = &size;
    rows[199] = columns.join(",");
    std::fs::write(&book, rows.join("\n")).unwrap();
    let said = replay();
    assert_eq!(said.code, 1, "{}{}", said.out, said.error);
    assert!(said.out.starts_with("row 200: bids at ") && said.out.ends_with("NOT GOOD\n"), "{}", said.out);
    node.stop();
}
