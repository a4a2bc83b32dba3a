//! What can be checked of a file as a whole: how many messages of each type there are, and whether what they say of
//! orders fits together.
//!
//! Orders are followed from the message that adds them: who is executed, cancelled, deleted or replaced must be there,
//! with enough shares, and in the stock that the message names. Memory grows with the orders that are open at one
//! time, up to [`ORDERS_MAX`].

use crate::file::Frame;
use crate::message::{DecodeError, Header, Message, Side, Time};
use core::fmt;
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;

/// Orders followed at a time, in some 450 MiB: several times of what stood open on the busiest days.
pub const ORDERS_MAX: usize = 1 << 23;
/// Faults kept in words.
const EXAMPLES_MAX: usize = 20;

/// What may be wrong with a message that is well formed otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Of a known type, with another length.
    Length,
    /// Of no known type.
    Type,
    /// At no time of a day.
    Time,
    /// Earlier than the message before.
    Backwards,
    /// An order for neither side.
    Side,
    /// An order of no shares.
    NoShares,
    /// A number given to an order while another has it.
    Reused,
    /// About an order that is not open.
    NotOpen,
    /// About an order in another stock.
    Stock,
    /// Takes more shares from an order than it has.
    Overdrawn,
    /// More orders than are followed.
    TooMany,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Length,
        Self::Type,
        Self::Time,
        Self::Backwards,
        Self::Side,
        Self::NoShares,
        Self::Reused,
        Self::NotOpen,
        Self::Stock,
        Self::Overdrawn,
        Self::TooMany,
    ];

    /// A word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Length => "length",
            Self::Type => "type",
            Self::Time => "time",
            Self::Backwards => "backwards",
            Self::Side => "side",
            Self::NoShares => "no-shares",
            Self::Reused => "reused",
            Self::NotOpen => "not-open",
            Self::Stock => "stock",
            Self::Overdrawn => "overdrawn",
            Self::TooMany => "too-many",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Length => "it has another length than its type",
            Self::Type => "its type is unknown",
            Self::Time => "its time is behind the end of the day",
            Self::Backwards => "its time is before that of the message before it",
            Self::Side => "it neither buys nor sells",
            Self::NoShares => "it adds an order of no shares",
            Self::Reused => "its order's number is that of an open order",
            Self::NotOpen => "its order is not open",
            Self::Stock => "its order is in another stock",
            Self::Overdrawn => "its order has fewer shares open",
            Self::TooMany => "more orders are open than are followed",
        })
    }
}

/// An open order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    /// The stock's number.
    pub locate: u16,
    /// Its side.
    pub side: Side,
    /// Its price.
    pub price: u32,
    /// Shares open, above 0.
    pub shares: u32,
}

/// What stands open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Orders.
    pub orders: u64,
    /// Their shares.
    pub shares: u64,
    /// Stocks that have some.
    pub stocks: u64,
    /// Stocks whose best bid is not below the best offer.
    pub crossed: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Audit {
    counts: [u64; 256],
    faults: [u64; Fault::ALL.len()],
    examples: Vec<String>,
    orders: FxHashMap<u64, Open>,
    orders_max: usize,
    first: Option<u64>,
    last: u64,
    /// Shares executed of displayed orders.
    executed: u64,
}

impl Default for Audit {
    fn default() -> Self {
        Self::new(ORDERS_MAX)
    }
}

impl Audit {
    /// An audit that follows as many orders at a time.
    #[must_use]
    pub fn new(orders_max: usize) -> Self {
        Self {
            counts: [0; 256],
            faults: [0; Fault::ALL.len()],
            examples: Vec::new(),
            orders: FxHashMap::default(),
            orders_max,
            first: None,
            last: 0,
            executed: 0,
        }
    }

    /// Takes the next message.
    pub fn take(&mut self, frame: &Frame<'_>) {
        match Message::decode(frame.bytes) {
            Ok(message) => {
                let header = message.header();
                self.counts[usize::from(header.kind)] += 1;
                self.look_at_time(frame, header);
                if let Err(fault) = self.follow(&message) {
                    self.fault(frame, fault);
                }
            }
            Err(DecodeError::Unknown(kind)) => {
                self.counts[usize::from(kind)] += 1;
                self.fault(frame, Fault::Type);
            }
            Err(DecodeError::Length { .. } | DecodeError::Empty) => self.fault(frame, Fault::Length),
        }
    }

    fn fault(&mut self, frame: &Frame<'_>, fault: Fault) {
        self.faults[fault as usize] += 1;
        if self.examples.len() < EXAMPLES_MAX {
            let letter = frame.bytes.first().copied().unwrap_or(b' ').escape_ascii();
            self.examples.push(format!("message `{letter}` at byte {}: {fault}", frame.offset));
        }
    }

    fn look_at_time(&mut self, frame: &Frame<'_>, header: &Header) {
        let time = header.time.nanos();
        if time >= Time::DAY {
            return self.fault(frame, Fault::Time);
        }
        if self.first.is_some() && time < self.last {
            self.fault(frame, Fault::Backwards);
        }
        self.first.get_or_insert(time);
        self.last = time;
    }

    fn follow(&mut self, message: &Message<'_>) -> Result<(), Fault> {
        let locate = message.header().locate.get();
        match message {
            Message::AddOrder(m) => self.add(m.order.get(), m.side, locate, m.shares.get(), m.price.get()),
            Message::AddOrderAttributed(m) => {
                self.add(m.order.get(), m.side, locate, m.shares.get(), m.price.get())
            }
            Message::Executed(m) => self.execute(m.order.get(), locate, m.shares.get()),
            Message::ExecutedWithPrice(m) => self.execute(m.order.get(), locate, m.shares.get()),
            Message::Cancelled(m) => self.reduce(m.order.get(), locate, m.shares.get()),
            Message::Deleted(m) => self.remove(m.order.get(), locate).map(drop),
            Message::Replaced(m) => {
                let old = self.remove(m.order.get(), locate)?;
                let new = Open { price: m.price.get(), shares: m.shares.get(), ..old };
                self.insert(m.new_order.get(), new)
            }
            _ => Ok(()),
        }
    }

    fn add(&mut self, order: u64, side: u8, locate: u16, shares: u32, price: u32) -> Result<(), Fault> {
        let side = Side::from_letter(side).ok_or(Fault::Side)?;
        self.insert(order, Open { locate, side, price, shares })
    }

    fn insert(&mut self, order: u64, open: Open) -> Result<(), Fault> {
        if open.shares == 0 {
            return Err(Fault::NoShares);
        }
        if self.orders.len() >= self.orders_max {
            return Err(Fault::TooMany);
        }
        match self.orders.insert(order, open) {
            None => Ok(()),
            Some(_) => Err(Fault::Reused),
        }
    }

    fn open(&mut self, order: u64, locate: u16) -> Result<&mut Open, Fault> {
        let open = self.orders.get_mut(&order).ok_or(Fault::NotOpen)?;
        if open.locate == locate { Ok(open) } else { Err(Fault::Stock) }
    }

    fn remove(&mut self, order: u64, locate: u16) -> Result<Open, Fault> {
        let open = *self.open(order, locate)?;
        self.orders.remove(&order);
        Ok(open)
    }

    fn reduce(&mut self, order: u64, locate: u16, shares: u32) -> Result<(), Fault> {
        let open = self.open(order, locate)?;
        open.shares = open.shares.checked_sub(shares).ok_or(Fault::Overdrawn)?;
        if open.shares == 0 {
            self.orders.remove(&order);
        }
        Ok(())
    }

    fn execute(&mut self, order: u64, locate: u16, shares: u32) -> Result<(), Fault> {
        self.reduce(order, locate, shares)?;
        self.executed += u64::from(shares);
        Ok(())
    }

    /// Messages of the type with this letter, whose length was right if it is a known one.
    #[must_use]
    pub const fn count(&self, letter: u8) -> u64 {
        self.counts[letter as usize]
    }

    /// Messages of all types, known or not.
    #[must_use]
    pub fn messages(&self) -> u64 {
        self.counts.iter().sum::<u64>() + self.faults[Fault::Length as usize]
    }

    /// Messages with this fault.
    #[must_use]
    pub const fn faults(&self, fault: Fault) -> u64 {
        self.faults[fault as usize]
    }

    /// Whether no message had any fault.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.faults == [0; Fault::ALL.len()]
    }

    /// The first faults, in words.
    #[must_use]
    pub fn examples(&self) -> &[String] {
        &self.examples
    }

    /// Time of the first message and of the last one that had any, nanoseconds since midnight.
    #[must_use]
    pub fn times(&self) -> Option<(u64, u64)> {
        Some((self.first?, self.last))
    }

    /// Shares of displayed orders that were executed.
    #[must_use]
    pub const fn executed(&self) -> u64 {
        self.executed
    }

    /// The open order with this number.
    #[must_use]
    pub fn order(&self, order: u64) -> Option<&Open> {
        self.orders.get(&order)
    }

    /// What stands open now.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        // By stock: best bid, best offer.
        let mut best: BTreeMap<u16, (Option<u32>, Option<u32>)> = BTreeMap::new();
        for open in self.orders.values() {
            totals.orders += 1;
            totals.shares += u64::from(open.shares);
            let (bid, offer) = best.entry(open.locate).or_default();
            match open.side {
                Side::Buy => *bid = (*bid).max(Some(open.price)),
                Side::Sell => *offer = Some(offer.map_or(open.price, |offer| offer.min(open.price))),
            }
        }
        totals.stocks = best.len() as u64;
        let is_crossed = |(bid, offer): &&(Option<u32>, Option<u32>)| {
            bid.zip(*offer).is_some_and(|(bid, offer)| bid >= offer)
        };
        totals.crossed = best.values().filter(is_crossed).count() as u64;
        totals
    }
}
