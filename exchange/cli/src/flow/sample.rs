//! What is measured of a file.

use crate::error::{CliError, Result};
use crate::itch;
use crate::replay::{self, lobster};
use ordain_exchange_flow::measure::{Marginals, Measure, common_tick};
use ordain_exchange_flow::tape::{Event, Kind, Side};
use ordain_exchange_itch::audit::{Audit, Open};
use ordain_exchange_itch::file::Frame;
use ordain_exchange_itch::message::{self, Message};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

/// Statistics, and where a flow like it begins.
pub struct Sample {
    pub marginals: Marginals,
    pub tick: i64,
    /// Price of the first order.
    pub price: i64,
    /// Time of the first event, nanoseconds since midnight.
    pub time: u64,
}

/// A file of either kind: text is LOBSTER's.
pub fn any(path: &Path, book: Option<&Path>, stock: Option<&str>) -> Result<Sample> {
    let mut first = [0];
    let is_text = std::fs::File::open(path).is_ok_and(|mut file| file.read_exact(&mut first).is_ok())
        && first[0].is_ascii_digit();
    match (is_text, book, stock) {
        (true, _, None) => lobster(path, book),
        (false, None, _) => itch(path, stock),
        _ => Err(CliError::new(
            format!("{} is no file of the kind that --book or --stock belongs to", path.display()),
            "Give --book with a LOBSTER message file, and --stock with an ITCH file.",
        )),
    }
}

pub fn lobster(path: &Path, book: Option<&Path>) -> Result<Sample> {
    let messages = replay::load(path, lobster::messages)?;
    let rows = book.map(|book| replay::load(book, lobster::rows)).transpose()?;
    if rows.as_ref().is_some_and(|rows| rows.len() != messages.len()) {
        return Err(CliError::new(
            "the two files do not have the same number of rows",
            "Give --book the order book file of the same stock and day.",
        ));
    }
    let adds = || messages.iter().filter(|message| message.event == lobster::Event::Add);
    let tick = adds().fold(0, |tick, message| common_tick(tick, message.price));
    let mut measure = Measure::new(tick);
    for (at, message) in messages.iter().enumerate() {
        // A row is the book behind its message: before it there is the row before.
        let row = rows.as_ref().and_then(|rows| at.checked_sub(1).and_then(|before| rows.get(before)));
        let best = row.map(|row| [lobster::Side::Buy, lobster::Side::Sell].map(|side| row.best(side)));
        measure.take(&event(message), best);
    }
    Ok(Sample {
        marginals: measure.finish(),
        tick,
        price: adds().next().map_or(0, |message| message.price),
        time: messages.first().map_or(0, |message| message.time),
    })
}

const fn event(message: &lobster::Message) -> Event {
    let lobster::Message { event, order, size, price, time, side } = *message;
    let kind = match event {
        lobster::Event::Add => Kind::Add,
        lobster::Event::Reduce => Kind::Reduce,
        lobster::Event::Delete => Kind::Delete,
        lobster::Event::Execute => Kind::Execute,
        lobster::Event::Hidden | lobster::Event::Cross | lobster::Event::Halt => Kind::Other,
    };
    let side = match side {
        lobster::Side::Buy => Side::Buy,
        lobster::Side::Sell => Side::Sell,
    };
    Event { time, kind, order, size, price, side }
}

/// What is found out of each stock in a first pass.
#[derive(Default)]
struct Stock {
    symbol: String,
    adds: u64,
    tick: i64,
    price: i64,
    time: u64,
}

/// Every message of a file that can be read, as far as the file goes.
fn each(path: &Path, mut take: impl FnMut(&Frame<'_>, &Message<'_>)) -> Result<()> {
    let mut reader = itch::open(path)?;
    loop {
        match reader.next_frame() {
            Ok(Some(frame)) => {
                if let Ok(message) = Message::decode(frame.bytes) {
                    take(&frame, &message);
                }
            }
            Ok(None) => return Ok(()),
            Err(error) => {
                let cause = format!("{} cannot be read: {error}", path.display());
                return Err(CliError::new(cause, "`ordain itch FILE` says what is in it."));
            }
        }
    }
}

pub fn itch(path: &Path, symbol: Option<&str>) -> Result<Sample> {
    let mut stocks: BTreeMap<u16, Stock> = BTreeMap::new();
    each(path, |_, message| {
        let header = message.header();
        let (stock, price) = match message {
            Message::AddOrder(add) => (&add.stock, add.price.get()),
            Message::AddOrderAttributed(add) => (&add.stock, add.price.get()),
            Message::Replaced(new) => {
                let found = stocks.entry(header.locate.get()).or_default();
                found.tick = common_tick(found.tick, new.price.get().into());
                return;
            }
            _ => return,
        };
        let found = stocks.entry(header.locate.get()).or_default();
        if found.adds == 0 {
            (found.price, found.time) = (price.into(), header.time.nanos());
            found.symbol = stock.to_string();
        }
        found.adds += 1;
        found.tick = common_tick(found.tick, price.into());
    })?;
    let named = stocks.iter().filter(|(_, stock)| symbol.is_none_or(|symbol| stock.symbol == symbol));
    let Some((locate, stock)) = named.max_by_key(|(_, stock)| stock.adds) else {
        let what = symbol.map_or("any stock".to_owned(), |symbol| format!("the stock {symbol}"));
        return Err(CliError::new(
            format!("{} has no orders in {what}", path.display()),
            "`ordain itch FILE` says what is in it.",
        ));
    };
    let mut measure = Measure::new(stock.tick);
    let mut audit = Audit::default();
    each(path, |frame, message| {
        if message.header().locate.get() == *locate {
            events(message, &audit, |event| measure.take(&event, None));
            audit.take(frame);
        }
    })?;
    Ok(Sample { marginals: measure.finish(), tick: stock.tick, price: stock.price, time: stock.time })
}

/// The events of a message: two of a replacement, none of what is not about orders or of an order that is not open.
fn events(message: &Message<'_>, audit: &Audit, mut take: impl FnMut(Event)) {
    let time = message.header().time.nanos();
    let mut say = |kind, order: u64, open: &Open, size: u32| {
        let side = match open.side {
            message::Side::Buy => Side::Buy,
            message::Side::Sell => Side::Sell,
        };
        take(Event { time, kind, order, size: size.into(), price: open.price.into(), side });
    };
    let added = |side, shares, price| {
        let side = message::Side::from_letter(side)?;
        Some(Open { locate: 0, side, price, shares })
    };
    match message {
        Message::AddOrder(m) => {
            if let Some(open) = added(m.side, m.shares.get(), m.price.get()) {
                say(Kind::Add, m.order.get(), &open, open.shares);
            }
        }
        Message::AddOrderAttributed(m) => {
            if let Some(open) = added(m.side, m.shares.get(), m.price.get()) {
                say(Kind::Add, m.order.get(), &open, open.shares);
            }
        }
        Message::Trade(_) | Message::CrossTrade(_) => {
            let nothing = Open { locate: 0, side: message::Side::Buy, price: 0, shares: 0 };
            say(Kind::Other, 0, &nothing, 0);
        }
        Message::Executed(m) => about(audit, Kind::Execute, m.order.get(), m.shares.get(), &mut say),
        Message::ExecutedWithPrice(m) => about(audit, Kind::Execute, m.order.get(), m.shares.get(), &mut say),
        Message::Cancelled(m) => {
            let order = audit.order(m.order.get());
            // Some feeds cancel all that is left in parts.
            let whole = order.is_some_and(|open| open.shares == m.shares.get());
            let kind = if whole { Kind::Delete } else { Kind::Reduce };
            about(audit, kind, m.order.get(), m.shares.get(), &mut say);
        }
        Message::Deleted(m) => about(audit, Kind::Delete, m.order.get(), u32::MAX, &mut say),
        Message::Replaced(m) => {
            if let Some(old) = audit.order(m.order.get()) {
                say(Kind::Delete, m.order.get(), old, old.shares);
                let new = Open { price: m.price.get(), ..*old };
                say(Kind::Add, m.new_order.get(), &new, m.shares.get());
            }
        }
        _ => {}
    }
}

fn about(audit: &Audit, kind: Kind, order: u64, shares: u32, say: &mut impl FnMut(Kind, u64, &Open, u32)) {
    if let Some(open) = audit.order(order) {
        say(kind, order, open, shares.min(open.shares));
    }
}
