//! Files made here, whole and spoilt, against a reader that is told what it must find.

use flate2::Compression;
use flate2::write::GzEncoder;
use ordain_exchange_itch::audit::{Audit, Fault, Totals};
use ordain_exchange_itch::file::{FileError, Framing, Reader, open};
use ordain_exchange_itch::message::{
    AddOrder, AddOrderAttributed, Cancelled, Deleted, Executed, ExecutedWithPrice, Header, KINDS, Message,
    Replaced, SystemEvent, Text, Time, len_of,
};
use proptest::prelude::*;
use std::io::{self, Read, Write};
use zerocopy::IntoBytes;

const NINE: u64 = 9 * 3_600 * 1_000_000_000;

fn header(kind: u8, locate: u16, time: u64) -> Header {
    Header { kind, locate: locate.into(), tracking: 0.into(), time: Time::new(time) }
}

fn event(time: u64) -> Vec<u8> {
    SystemEvent { header: header(b'S', 0, time), event: b'O' }.as_bytes().to_vec()
}

fn add(locate: u16, order: u64, side: u8, shares: u32, price: u32) -> Vec<u8> {
    let stock = Text::new("MADE");
    let header = header(b'A', locate, NINE);
    let message =
        AddOrder { header, order: order.into(), side, shares: shares.into(), stock, price: price.into() };
    message.as_bytes().to_vec()
}

fn executed(locate: u16, order: u64, shares: u32) -> Vec<u8> {
    let header = header(b'E', locate, NINE);
    Executed { header, order: order.into(), shares: shares.into(), trade: 1.into() }.as_bytes().to_vec()
}

fn cancelled(order: u64, shares: u32) -> Vec<u8> {
    Cancelled { header: header(b'X', 1, NINE), order: order.into(), shares: shares.into() }
        .as_bytes()
        .to_vec()
}

fn deleted(order: u64) -> Vec<u8> {
    Deleted { header: header(b'D', 1, NINE), order: order.into() }.as_bytes().to_vec()
}

fn replaced(order: u64, new_order: u64, shares: u32, price: u32) -> Vec<u8> {
    let header = header(b'U', 1, NINE);
    let message = Replaced {
        header,
        order: order.into(),
        new_order: new_order.into(),
        shares: shares.into(),
        price: price.into(),
    };
    message.as_bytes().to_vec()
}

/// An ordinary little day: of order 1 remain 30 shares, of 2 nothing, 3 became 4 with 70.
fn day() -> Vec<Vec<u8>> {
    let attributed = AddOrderAttributed {
        header: header(b'F', 1, NINE),
        order: 2.into(),
        side: b'S',
        shares: 50.into(),
        stock: Text::new("MADE"),
        price: 10_100.into(),
        attribution: Text::new("MPID"),
    };
    let with_price = ExecutedWithPrice {
        header: header(b'C', 1, NINE),
        order: 2.into(),
        shares: 20.into(),
        trade: 2.into(),
        printable: b'Y',
        price: 10_090.into(),
    };
    vec![
        event(1),
        add(1, 1, b'B', 100, 10_000),
        attributed.as_bytes().to_vec(),
        add(1, 3, b'S', 60, 10_200),
        executed(1, 1, 40),
        cancelled(1, 30),
        with_price.as_bytes().to_vec(),
        executed(1, 2, 30),
        replaced(3, 4, 70, 10_300),
        event(NINE),
    ]
}

fn framed(messages: &[Vec<u8>], framing: Framing) -> Vec<u8> {
    let prefix = |message: &[u8]| match framing {
        Framing::Length => (message.len() as u16).to_be_bytes(),
        Framing::Zeros => [0; 2],
    };
    messages.iter().flat_map(|message| [&prefix(message)[..], message].concat()).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Audits a file's bytes.
fn audit(bytes: Vec<u8>) -> (Audit, Result<(), FileError>) {
    let mut reader = open(io::Cursor::new(bytes)).unwrap();
    let mut audit = Audit::default();
    let result = loop {
        match reader.next_frame() {
            Ok(Some(frame)) => audit.take(&frame),
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    (audit, result)
}

#[test]
fn a_day_is_read_in_every_form_of_file() {
    let lengths = framed(&day(), Framing::Length);
    let (first, second) = lengths.split_at(100);
    let forms = [
        lengths.clone(),
        [lengths.clone(), vec![0; 2]].concat(),
        framed(&day(), Framing::Zeros),
        gzip(&lengths),
        [gzip(first), gzip(second)].concat(),
        gzip(&framed(&day(), Framing::Zeros)),
    ];
    for form in forms {
        let (audit, result) = audit(form);
        result.unwrap();
        assert!(audit.is_good(), "{:?}", audit.examples());
        for (letter, count) in [(b'S', 2), (b'A', 2), (b'F', 1), (b'E', 2), (b'C', 1), (b'X', 1), (b'U', 1)] {
            assert_eq!(audit.count(letter), count, "{}", letter as char);
        }
        assert_eq!((audit.messages(), audit.executed(), audit.times()), (10, 90, Some((1, NINE))));
        assert_eq!(audit.totals(), Totals { orders: 2, shares: 100, stocks: 1, crossed: 0 });
        let four = audit.order(4).unwrap();
        assert_eq!((four.shares, four.price), (70, 10_300));
    }
}

#[test]
fn a_message_about_an_order_must_fit_what_is_open() {
    let base = [add(1, 1, b'B', 100, 10_000), add(1, 2, b'S', 100, 10_100)];
    let mut late = event(NINE - 1);
    let mut no_time = event(Time::DAY);
    late[0] = b'S';
    no_time[0] = b'S';
    let mut unknown = event(NINE);
    unknown[0] = b'z';
    let rows: [(Vec<Vec<u8>>, Fault); 14] = [
        (vec![executed(1, 7, 1)], Fault::NotOpen),
        (vec![cancelled(7, 1)], Fault::NotOpen),
        (vec![deleted(7)], Fault::NotOpen),
        (vec![replaced(7, 8, 1, 1)], Fault::NotOpen),
        (vec![deleted(1), deleted(1)], Fault::NotOpen),
        (vec![executed(1, 1, 100), cancelled(1, 1)], Fault::NotOpen),
        (vec![executed(1, 1, 101)], Fault::Overdrawn),
        (vec![cancelled(1, 60), executed(1, 1, 41)], Fault::Overdrawn),
        (vec![executed(2, 1, 1)], Fault::Stock),
        (vec![replaced(1, 2, 5, 5)], Fault::Reused),
        (vec![add(1, 3, b'X', 1, 1)], Fault::Side),
        (vec![add(1, 3, b'B', 0, 1)], Fault::NoShares),
        (vec![late], Fault::Backwards),
        (vec![unknown], Fault::Type),
    ];
    for (messages, fault) in rows {
        let (audit, result) = audit(framed(&[&base[..], &messages].concat(), Framing::Length));
        result.unwrap();
        let found: Vec<_> = Fault::ALL.into_iter().filter(|fault| audit.faults(*fault) > 0).collect();
        assert_eq!((found, audit.faults(fault)), (vec![fault], 1), "{:?}", audit.examples());
        assert_eq!(audit.examples().len(), 1);
    }
    let (audit, _) = audit(framed(&[no_time, vec![b'S'; 13]], Framing::Length));
    assert_eq!((audit.faults(Fault::Time), audit.faults(Fault::Length), audit.messages()), (1, 1, 2));
}

#[test]
fn orders_beyond_the_bound_are_not_followed_and_said() {
    let mut audit = Audit::new(2);
    let bytes = framed(
        &[1, 2, 3].map(|order| add(1, order, b'B', 1, 10_000)).into_iter().collect::<Vec<_>>(),
        Framing::Length,
    );
    let mut reader = Reader::new(&bytes[..]);
    while let Some(frame) = reader.next_frame().unwrap() {
        audit.take(&frame);
    }
    assert_eq!((audit.faults(Fault::TooMany), audit.totals().orders), (1, 2));
}

#[test]
fn a_crossed_book_is_counted() {
    let messages =
        [add(1, 1, b'B', 1, 100), add(1, 2, b'S', 1, 100), add(2, 3, b'B', 1, 99), add(2, 4, b'S', 1, 100)];
    let (audit, _) = audit(framed(&messages, Framing::Length));
    assert_eq!(audit.totals(), Totals { orders: 4, shares: 4, stocks: 2, crossed: 1 });
}

#[test]
fn a_file_that_is_cut_or_spoilt_says_where() {
    for framing in [Framing::Length, Framing::Zeros] {
        let whole = framed(&day(), framing);
        let mut ends = vec![0];
        for message in day() {
            ends.push(ends.last().unwrap() + 2 + message.len());
        }
        for len in 0..whole.len() {
            let (audit, result) = audit(whole[..len].to_vec());
            let before = ends.iter().rposition(|end| *end <= len).unwrap();
            assert_eq!(audit.messages(), before as u64);
            match result {
                Ok(()) => assert!(ends.contains(&len)),
                Err(FileError::Cut(at)) => assert_eq!(at, ends[before] as u64),
                Err(other) => panic!("{other}"),
            }
        }
    }
    let end = [framed(&day(), Framing::Length), vec![0, 0, 9]].concat();
    assert!(matches!(audit(end).1, Err(FileError::BehindEnd(_))));
    let other = [framed(&day(), Framing::Zeros), framed(&[event(NINE)], Framing::Length)].concat();
    assert!(matches!(audit(other).1, Err(FileError::NotZero(_))));
    assert!(matches!(audit(vec![0, 0, b'z', 0]).1, Err(FileError::NoLength(0, b'z'))));
    let packed = gzip(&framed(&day(), Framing::Length));
    assert!(matches!(audit(packed[..packed.len() - 9].to_vec()).1, Err(FileError::Read(_))));
}

/// Gives its bytes one at a time.
struct Drip<'a>(&'a [u8]);

impl Read for Drip<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let len = self.0.len().min(into.len()).min(1);
        into[..len].copy_from_slice(&self.0[..len]);
        self.0 = &self.0[len..];
        Ok(len)
    }
}

fn any_message() -> impl Strategy<Value = Vec<u8>> {
    let known = (0..KINDS.len(), any::<[u8; 50]>()).prop_map(|(kind, mut bytes)| {
        bytes[0] = KINDS[kind].letter;
        bytes[..KINDS[kind].len].to_vec()
    });
    prop_oneof![4 => known, 1 => prop::collection::vec(any::<u8>(), 1..300)]
}

proptest! {
    /// What was framed comes out again, in order and at its place, however the source deals it out.
    #[test]
    fn frames_come_out_as_they_went_in(messages in prop::collection::vec(any_message(), 1..40)) {
        let bytes = framed(&messages, Framing::Length);
        let mut reader = Reader::new(Drip(&bytes));
        let mut offset = 0;
        for message in &messages {
            let frame = reader.next_frame().unwrap().unwrap();
            prop_assert_eq!((frame.offset, frame.bytes), (offset, &message[..]));
            offset += 2 + message.len() as u64;
        }
        prop_assert!(reader.next_frame().unwrap().is_none());
    }

    /// Any bytes are read or refused; what is decoded has its type's length.
    #[test]
    fn no_bytes_do_harm(bytes in prop::collection::vec(any::<u8>(), 0..2_000), packed: bool) {
        let mut reader = open(io::Cursor::new(if packed { gzip(&bytes) } else { bytes })).unwrap();
        let mut audit = Audit::new(8);
        while let Ok(Some(frame)) = reader.next_frame() {
            audit.take(&frame);
            if let Ok(message) = Message::decode(frame.bytes) {
                prop_assert_eq!(len_of(message.header().kind), Some(frame.bytes.len()));
            }
        }
        prop_assert!(audit.totals().orders <= 8);
    }
}

/// A conformance file of one's own: `ORDAIN_ITCH_FILE` names it, `ORDAIN_ITCH_COUNTS` what must be in it, for
/// instance `A=4997,F=3,E=198`.
#[test]
fn a_file_given_has_the_counts_given() {
    let (Ok(file), Ok(counts)) = (std::env::var("ORDAIN_ITCH_FILE"), std::env::var("ORDAIN_ITCH_COUNTS"))
    else {
        eprintln!("skipped: ORDAIN_ITCH_FILE and ORDAIN_ITCH_COUNTS name no file and its counts");
        return;
    };
    let (audit, result) = audit(std::fs::read(file).unwrap());
    result.unwrap();
    let mut sum = 0;
    for pair in counts.split(',') {
        let (letter, count) = pair.split_once('=').expect("LETTER=COUNT");
        let count: u64 = count.parse().expect("a count");
        assert_eq!(audit.count(letter.as_bytes()[0]), count, "{letter}");
        sum += count;
    }
    assert_eq!(audit.messages(), sum, "types without a count given");
}
