//! The comparison itself, against a naive book: what it must accept, and what it must notice.

use super::lobster::{Fill, Message, Outcome, Row, Side, Venue, messages, play, rows};
use std::collections::BTreeMap;
use std::convert::Infallible;

#[derive(Clone, Copy)]
struct Order {
    number: u64,
    open: u64,
    filled: u64,
}

/// A book as plain as can be: a list of orders per price.
#[derive(Default)]
struct Book {
    sides: [BTreeMap<i64, Vec<Order>>; 2],
    number: u64,
    /// Serves the newest order of a level first, as a broken venue would.
    last_first: bool,
}

impl Book {
    fn find(&mut self, number: u64) -> (&mut Vec<Order>, usize) {
        let levels = self.sides.iter_mut().flat_map(BTreeMap::values_mut);
        levels
            .filter_map(|orders| {
                orders.iter().position(|order| order.number == number).map(|at| (orders, at))
            })
            .next()
            .expect("only live orders are named")
    }
}

impl Venue for Book {
    type Error = Infallible;

    fn add(&mut self, side: Side, price: i64, quantity: u64) -> Result<u64, Infallible> {
        self.number += 1;
        let order = Order { number: self.number, open: quantity, filled: 0 };
        self.sides[side as usize].entry(price).or_default().push(order);
        Ok(self.number)
    }

    fn reduce(&mut self, number: u64, _price: i64, total: u64) -> Result<(), Infallible> {
        let (orders, at) = self.find(number);
        orders[at].open = total - orders[at].filled;
        Ok(())
    }

    fn cancel(&mut self, number: u64) -> Result<(), Infallible> {
        let (orders, at) = self.find(number);
        orders.remove(at);
        Ok(())
    }

    fn take(&mut self, side: Side, price: i64, mut quantity: u64) -> Result<Vec<Fill>, Infallible> {
        let mut fills = Vec::new();
        let resting = side.opposite();
        let levels = &mut self.sides[resting as usize];
        let mut prices: Vec<i64> = levels.keys().copied().filter(|p| !resting.is_worse(*p, price)).collect();
        if resting == Side::Buy {
            prices.reverse();
        }
        for at in prices {
            let orders = levels.get_mut(&at).unwrap();
            while quantity > 0 && !orders.is_empty() {
                let next = if self.last_first { orders.len() - 1 } else { 0 };
                let order = &mut orders[next];
                let filled = order.open.min(quantity);
                order.open -= filled;
                order.filled += filled;
                quantity -= filled;
                fills.push(Fill { maker: order.number, price: at, quantity: filled });
                if order.open == 0 {
                    orders.remove(next);
                }
            }
        }
        Ok(fills)
    }

    fn levels(&mut self, side: Side, worst: i64) -> Result<Vec<(i64, u64)>, Infallible> {
        let mut levels: Vec<(i64, u64)> = self.sides[side as usize]
            .iter()
            .map(|(price, orders)| (*price, orders.iter().map(|order| order.open).sum()))
            .filter(|(price, size)| *size > 0 && !side.is_worse(*price, worst))
            .collect();
        if side == Side::Buy {
            levels.reverse();
        }
        Ok(levels)
    }
}

/// A market of one bid and one offer level, a message behind it, and the book after it.
fn two(book_after: &str, message: &str) -> (Vec<Message>, Vec<Row>) {
    let text = format!("1.0,1,7,40,990000,1\n{message}\n");
    let book = format!("1000000,50,990000,100\n{book_after}\n");
    (messages(&text).unwrap(), rows(&book).unwrap())
}

fn outcome(messages: &[Message], rows: &[Row]) -> Outcome {
    play(&mut Book::default(), messages, rows, |_| {}).unwrap()
}

#[test]
fn what_agrees_is_accepted() {
    for (message, book) in [
        ("2.0,1,8,10,990000,1", "1000000,50,990000,110"),
        ("2.0,2,7,15,990000,1", "1000000,50,990000,85"),
        ("2.0,3,7,40,990000,1", "1000000,50,990000,60"),
        ("2.0,3,99,60,990000,1", "1000000,50,990000,40"),
        ("2.0,4,99,60,990000,1", "1000000,50,990000,40"),
        ("2.0,4,55,50,1000000,-1", "9999999999,0,990000,100"),
        ("2.0,5,0,10,995000,1", "1000000,50,990000,100"),
        ("2.0,6,-1,10,995000,1", "1000000,50,990000,100"),
        ("2.0,7,0,0,-1,-1", "1000000,50,990000,100"),
        ("2.0,1,8,10,995000,1,extra", "1000000,50,995000,10,9999999999,0,990000,100"),
    ] {
        let (messages, rows) = two(book, message);
        let outcome = outcome(&messages, &rows);
        assert!(outcome.is_good() && outcome.rows == 1, "{message}: {outcome:?}");
    }
}

#[test]
fn what_differs_is_noticed() {
    for (message, book) in [
        ("2.0,1,8,10,990000,1", "1000000,50,990000,111"),
        ("2.0,1,8,10,990000,1", "1000000,50,990000,100"),
        ("2.0,2,7,15,990000,1", "1000000,50,990000,86"),
        ("2.0,3,7,39,990000,1", "1000000,50,990000,60"),
        ("2.0,3,99,61,990000,1", "1000000,50,990000,39"),
        ("2.0,4,7,40,990000,1", "1000000,50,990000,60"),
        ("2.0,4,99,10,980000,1", "1000000,50,990000,100"),
        ("2.0,3,5,10,970000,1", "1000000,50,990000,100"),
        ("2.0,5,0,10,995000,1", "1000000,40,990000,100"),
    ] {
        let (messages, rows) = two(book, message);
        assert!(outcome(&messages, &rows).differing > 0, "{message} -> {book}");
    }
}

#[test]
fn a_venue_without_time_priority_is_noticed() {
    let (messages, rows) = two("1000000,50,990000,40", "2.0,4,99,60,990000,1");
    let mut book = Book { last_first: true, ..Book::default() };
    assert!(play(&mut book, &messages, &rows, |_| {}).unwrap().differing > 0);
}

#[test]
fn a_level_from_below_the_window_is_resynchronised_and_counted() {
    let level = |n: i64, size: i64| format!("{},5,{},{size}", 1_000_000 + n, 990_000 - n);
    let row = |first: i64, last_size: i64| {
        let levels: Vec<String> =
            (first..first + 10).map(|n| level(n, if n == first + 9 { last_size } else { 5 })).collect();
        levels.join(",")
    };
    // The best level is cancelled on both sides in turn, and unknown eleventh levels come up.
    let text = "1.0,1,7,5,990000,1\n2.0,3,7,5,990000,1\n";
    let asks_stay: Vec<String> = (0..10)
        .map(|n| format!("{},5,{},{}", 1_000_000 + n, 989_999 - n, if n == 9 { 77 } else { 5 }))
        .collect();
    let book = format!("{}\n{}\n", row(0, 5), asks_stay.join(","));
    let outcome = outcome(&messages(text).unwrap(), &rows(&book).unwrap());
    assert_eq!((outcome.differing, outcome.resynchronised_rows, outcome.resynchronised_levels), (0, 1, 1));
    assert!(!outcome.is_good(), "one row of one is more than 5 %");
}

#[test]
fn broken_files_are_refused_with_their_line() {
    for (text, line) in [
        ("1.0,1,7,5,990000,1\nx,1,7,5,990000,1", 2),
        ("1.0,9,7,5,990000,1", 1),
        ("1.0,1,7,5,990000,2", 1),
        ("1.0,1,7,-5,990000,1", 1),
        ("1.0,1,7", 1),
    ] {
        assert_eq!(messages(text).unwrap_err().line, line, "{text}");
    }
    assert_eq!(rows("1,2,3,4\n1,2,3\n").unwrap_err().line, 2);
    assert_eq!(rows("1,2,x,4\n").unwrap_err().line, 1);
}

/// Real flow is not ours to ship: `ORDAIN_LOBSTER` names a folder that has some.
#[test]
fn a_real_file_agrees_with_a_naive_book() {
    let Some(folder) = std::env::var_os("ORDAIN_LOBSTER").map(std::path::PathBuf::from) else {
        eprintln!("SKIPPED: ORDAIN_LOBSTER names no folder with LOBSTER files");
        return;
    };
    let read = |kind: &str| std::fs::read_to_string(folder.join(format!("AAPL_2012-06-21_{kind}_10.csv")));
    let (Ok(message_text), Ok(book_text)) = (read("message"), read("orderbook")) else {
        eprintln!("SKIPPED: no AAPL_2012-06-21 file in that folder");
        return;
    };
    let outcome = outcome(&messages(&message_text).unwrap(), &rows(&book_text).unwrap());
    assert!(outcome.is_good(), "{outcome:?}");
    println!("{outcome:?}");
}
