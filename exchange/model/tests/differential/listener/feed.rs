//! One who reads market data: from the feeds alone it builds books again, and objects to what they cannot have told.

use super::Checked;
use ordain_exchange_engine::Context;
use ordain_exchange_protocol::{
    Audience, BookReport, FeedAction, Flag, IntoBytes, LevelReport, Market, Output, Reason, Request, SetFeed,
    Side, Sides, TopReport, topic,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// An order as a book shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    pub side: Side,
    pub price: i64,
    pub id: u64,
    pub lots: u64,
}

/// A level as a book shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    pub side: Side,
    pub price: i64,
    pub lots: u64,
    pub orders: u32,
}

/// What queries show of a book: bids, then asks, best price first, orders in their priority.
#[derive(Default)]
pub struct Book {
    pub levels: Vec<Level>,
    pub orders: Vec<Order>,
}

/// Best bid, lots there, best ask, lots there; 0 where there is none.
type Top = (i64, u64, i64, u64);

/// What is known of an instrument by each feed that is on.
#[derive(Default)]
struct Known {
    top: Option<Top>,
    levels: Option<Vec<Level>>,
    /// At a price in their priority.
    orders: Option<Vec<Order>>,
}

/// What one command told, or what one log time brought about.
pub struct Told<'a> {
    pub context: &'a Context,
    /// The command, if it was accepted.
    pub request: Option<&'a Request<'a>>,
    pub outputs: &'a [(Audience, Vec<u8>)],
}

#[derive(Default)]
pub struct Reader {
    known: BTreeMap<u32, Known>,
    /// By instrument: trades of makers in this command of which their feed has not told: order, index, lots.
    fills: BTreeMap<u32, VecDeque<(u64, u32, u64)>>,
    /// Orders that were in a book at some time of this command.
    seen: BTreeSet<u64>,
    /// The order that the last report removed for a trade.
    removed: Option<u64>,
    /// Whether the exchange was restored since a feed told something.
    restored: bool,
    /// What was reached.
    pub marks: Vec<&'static str>,
}

fn rank(side: Side, price: i64) -> (u8, i64) {
    (side as u8, if side == Side::Buy { -price } else { price })
}

fn one_side(side: Sides) -> Result<Side, String> {
    match side {
        Sides::Buy => Ok(Side::Buy),
        Sides::Sell => Ok(Side::Sell),
        Sides::Any => Err("a report of no side".into()),
    }
}

/// The levels that orders come to.
fn levels_of(orders: &[Order]) -> Vec<Level> {
    let chunks = orders.chunk_by(|a, b| (a.side, a.price) == (b.side, b.price));
    let level = |at: &[Order]| Level {
        side: at[0].side,
        price: at[0].price,
        lots: at.iter().map(|order| order.lots).sum(),
        orders: at.len() as u32,
    };
    chunks.map(level).collect()
}

fn top_of(levels: &[Level]) -> Top {
    let best = |side| levels.iter().find(|level| level.side == side).map_or((0, 0), |it| (it.price, it.lots));
    let (bid, ask) = (best(Side::Buy), best(Side::Sell));
    (bid.0, bid.1, ask.0, ask.1)
}

fn top_told(it: &TopReport) -> Top {
    (it.bid.get(), it.bid_quantity.get(), it.ask.get(), it.ask_quantity.get())
}

/// A reset or an off says nothing but that: zero from byte 8 up to the number of the command, and behind its time.
fn is_bare(bytes: &[u8], seq_at: usize) -> bool {
    bytes[3] == 0 && bytes[8..seq_at].iter().chain(&bytes[seq_at + 16..]).all(|byte| *byte == 0)
}

impl Reader {
    /// Hears what came of a command.
    pub fn hear(&mut self, told: &Told<'_>) -> Checked {
        let outputs: Vec<Output<'_>> =
            told.outputs.iter().map(|(_, bytes)| Output::decode(bytes).expect("an output")).collect();
        let feeds: Vec<Output<'_>> = outputs
            .iter()
            .filter(|it| matches!(it, Output::Book(_) | Output::Level(_) | Output::Top(_)))
            .copied()
            .collect();
        for ((audience, _), output) in told.outputs.iter().zip(&outputs) {
            check_address(*audience, output, told.context)?;
        }
        if let Some(Request::Market(Market::SetFeed(it))) = told.request {
            return self.set(it, &feeds);
        }
        self.begin(&outputs);
        let mut levels: Vec<(u32, Side, i64)> = Vec::new();
        let mut tops: BTreeSet<u32> = BTreeSet::new();
        for report in &feeds {
            match report {
                Output::Book(it) => self.book(it)?,
                Output::Level(it) => {
                    self.level(it)?;
                    levels.push((it.instrument.get(), one_side(it.side)?, it.price.get()));
                }
                Output::Top(it) => {
                    check!(tops.insert(it.instrument.get()), "best prices are told twice by a command");
                    self.top(it)?;
                }
                _ => unreachable!("feeds only"),
            }
        }
        let several = levels.iter().any(|level| level.0 != levels[0].0);
        let again = levels.windows(2).any(|two| two[0] == two[1]);
        check!(several || !again, "a level is told again, and no other changed in between");
        for (instrument, left) in &self.fills {
            let on = self.known.get(instrument).is_some_and(|known| known.orders.is_some());
            let missed = left.iter().find(|fill| on && self.seen.contains(&fill.0));
            check!(missed.is_none(), "the trade of an order in the book is not told: {missed:x?}");
        }
        self.known.iter().try_for_each(|(id, known)| known.agrees(*id))?;
        self.mark(told.request, &outputs, &feeds);
        if !feeds.is_empty() && std::mem::take(&mut self.restored) {
            self.marks.push("feed: goes on behind a restore");
        }
        Ok(())
    }

    /// The exchange goes on from a snapshot.
    pub fn restored(&mut self) {
        self.restored = self.known.values().any(Known::any);
    }

    fn begin(&mut self, outputs: &[Output<'_>]) {
        self.fills.clear();
        for output in outputs {
            if let Output::Fill(it) = output
                && it.aggressor == Flag::No
            {
                let fills = self.fills.entry(it.instrument.get()).or_default();
                fills.push_back((it.order_id.get(), it.index.get(), it.quantity.get()));
            }
        }
        self.seen =
            self.known.values().flat_map(|known| known.orders.iter().flatten()).map(|it| it.id).collect();
        self.removed = None;
    }

    /// Feeds are set: each tells the book as it is, that it is off, or nothing.
    fn set(&mut self, it: &SetFeed, feeds: &[Output<'_>]) -> Checked {
        let (mut orders, mut levels, mut tops) = (Vec::new(), Vec::new(), Vec::new());
        for report in feeds {
            match report {
                Output::Book(it) => orders.push(*it),
                Output::Level(it) => levels.push(*it),
                Output::Top(it) => tops.push(*it),
                _ => unreachable!("feeds only"),
            }
        }
        let mut known = self.known.remove(&it.instrument.get()).unwrap_or_default();
        known.orders = self.set_orders(it.orders == Flag::Yes, known.orders, &orders)?;
        known.levels = self.set_levels(it.levels == Flag::Yes, known.levels, &levels)?;
        known.top = match (it.top == Flag::Yes, known.top, &tops[..]) {
            (true, before, [top]) if top.action == FeedAction::Change => {
                check!(before.is_none_or(|it| it == top_told(top)), "best prices change while feeds are set");
                self.marks.push("top: is set");
                Some(top_told(top))
            }
            (false, Some(_), [off]) if off.action == FeedAction::Off => {
                check!(is_bare(off.as_bytes(), 40), "an off that says more");
                self.marks.push("top: off");
                None
            }
            (false, None, []) => None,
            _ => return Err(format!("best prices, as feeds are set: {tops:?}")),
        };
        known.agrees(it.instrument.get())?;
        self.known.insert(it.instrument.get(), known);
        Ok(())
    }

    fn set_orders(
        &mut self,
        on: bool,
        before: Option<Vec<Order>>,
        told: &[&BookReport],
    ) -> Result<Option<Vec<Order>>, String> {
        match (on, told) {
            (true, [reset, adds @ ..]) if reset.action == FeedAction::Reset => {
                check!(is_bare(reset.as_bytes(), 32), "a reset that says more");
                let mut orders = Vec::new();
                for add in adds {
                    check!(add.action == FeedAction::Add && add.trade == 0, "behind a reset: {add:?}");
                    let (price, lots) = (add.price.get(), add.quantity.get());
                    check!(price > 0 && lots > 0, "an order without price or lots: {add:?}");
                    orders.push(Order { side: one_side(add.side)?, price, id: add.order_id.get(), lots });
                }
                check!(
                    orders.is_sorted_by_key(|it| rank(it.side, it.price)),
                    "a reset tells no book: {orders:?}"
                );
                check!(before.as_ref().is_none_or(|it| *it == orders), "orders change while feeds are set");
                self.marks.push(match (&before, orders.len()) {
                    (Some(_), _) => "orders: are set again",
                    (None, 0) => "orders: are set, of an empty book",
                    (None, _) => "orders: are set, of a book",
                });
                Ok(Some(orders))
            }
            (false, [off]) if before.is_some() && off.action == FeedAction::Off => {
                check!(is_bare(off.as_bytes(), 32), "an off that says more");
                self.marks.push("orders: off");
                Ok(None)
            }
            (false, []) if before.is_none() => Ok(None),
            _ => Err(format!("orders, as feeds are set: {told:?}")),
        }
    }

    fn set_levels(
        &mut self,
        on: bool,
        before: Option<Vec<Level>>,
        told: &[&LevelReport],
    ) -> Result<Option<Vec<Level>>, String> {
        match (on, told) {
            (true, [reset, changes @ ..]) if reset.action == FeedAction::Reset => {
                check!(is_bare(reset.as_bytes(), 32), "a reset that says more");
                let mut levels = Vec::new();
                for it in changes {
                    check!(it.action == FeedAction::Change, "behind a reset: {it:?}");
                    levels.push(level_told(it)?);
                }
                let ranks: Vec<(u8, i64)> = levels.iter().map(|it| rank(it.side, it.price)).collect();
                check!(ranks.is_sorted_by(|a, b| a < b), "a reset tells no levels: {levels:?}");
                check!(before.as_ref().is_none_or(|it| *it == levels), "levels change while feeds are set");
                self.marks.push(if before.is_some() { "levels: are set again" } else { "levels: are set" });
                Ok(Some(levels))
            }
            (false, [off]) if before.is_some() && off.action == FeedAction::Off => {
                check!(is_bare(off.as_bytes(), 32), "an off that says more");
                self.marks.push("levels: off");
                Ok(None)
            }
            (false, []) if before.is_none() => Ok(None),
            _ => Err(format!("levels, as feeds are set: {told:?}")),
        }
    }

    fn book(&mut self, it: &BookReport) -> Checked {
        let (instrument, id, lots) = (it.instrument.get(), it.order_id.get(), it.quantity.get());
        let (side, price) = (one_side(it.side)?, it.price.get());
        let known = self.known.get_mut(&instrument).and_then(|known| known.orders.as_mut());
        let orders = known.ok_or_else(|| format!("orders of {instrument} are told while that is off"))?;
        let at = orders.iter().position(|order| order.id == id);
        if let Some(at) = at {
            let known = (orders[at].side, orders[at].price);
            check!(known == (side, price), "order {id:#x} is at {known:?}: {it:?}");
        }
        let took = match (it.action, at) {
            (FeedAction::Add, None) => {
                check!(price > 0 && lots > 0, "an order without price or lots: {it:?}");
                let behind =
                    orders.partition_point(|other| rank(other.side, other.price) <= rank(side, price));
                orders.insert(behind, Order { side, price, id, lots });
                self.seen.insert(id);
                check!(it.trade == 0, "a trade adds an order: {it:?}");
                let next_part = self.removed == Some(id);
                self.marks.push(if next_part { "orders: an iceberg's next part" } else { "orders: add" });
                return Ok(());
            }
            (FeedAction::Change, Some(at)) => {
                let before = std::mem::replace(&mut orders[at].lots, lots);
                check!(lots > 0 && lots < before, "order {id:#x} shows {before}, then {lots}");
                self.marks.push("orders: change");
                before - lots
            }
            (FeedAction::Remove, Some(at)) => {
                check!(lots == 0, "what is removed shows {lots}");
                self.marks.push("orders: remove");
                orders.remove(at).lots
            }
            _ => return Err(format!("order {id:#x} is in the book: {}; told: {it:?}", at.is_some())),
        };
        let trade = it.trade.get();
        self.removed = (it.action == FeedAction::Remove && trade != 0).then_some(id);
        if trade == 0 { Ok(()) } else { self.traded(instrument, (id, trade - 1, took)) }
    }

    /// A report says that a trade did it: that trade is the next of those that nothing was told of.
    fn traded(&mut self, instrument: u32, told: (u64, u32, u64)) -> Checked {
        let fills = self.fills.entry(instrument).or_default();
        while let Some(fill) = fills.pop_front() {
            if fill == told {
                return Ok(());
            }
            // Only what was never told of can have traded in between: market orders in an auction.
            check!(!self.seen.contains(&fill.0), "order, trade, lots: {fill:x?} is next, not {told:x?}");
            self.marks.push("orders: a market order trades that is not told of");
        }
        Err(format!("there is no such trade: {told:x?}"))
    }

    fn level(&mut self, it: &LevelReport) -> Checked {
        let instrument = it.instrument.get();
        let known = self.known.get_mut(&instrument).and_then(|known| known.levels.as_mut());
        let levels = known.ok_or_else(|| format!("levels of {instrument} are told while that is off"))?;
        let key = rank(one_side(it.side)?, it.price.get());
        let found = levels.binary_search_by_key(&key, |level| rank(level.side, level.price));
        match (it.action, found) {
            (FeedAction::Change, found) => {
                let level = level_told(it)?;
                match found {
                    Ok(at) => levels[at] = level,
                    Err(at) => levels.insert(at, level),
                }
                self.marks.push("levels: change");
            }
            (FeedAction::Remove, found) => {
                check!(it.quantity == 0 && it.orders == 0, "a level that is removed shows some: {it:?}");
                // One that came and went in a row was never told of.
                if let Ok(at) = found {
                    levels.remove(at);
                }
                self.marks.push("levels: remove");
            }
            _ => return Err(format!("a level between sets: {it:?}")),
        }
        Ok(())
    }

    fn top(&mut self, it: &TopReport) -> Checked {
        let instrument = it.instrument.get();
        let known = self.known.get_mut(&instrument).and_then(|known| known.top.as_mut());
        let top = known.ok_or_else(|| format!("best prices of {instrument} are told while that is off"))?;
        check!(it.action == FeedAction::Change, "best prices between sets: {it:?}");
        check!(*top != top_told(it), "best prices are told that are as they were");
        *top = top_told(it);
        self.marks.push(if top.0 == 0 && top.2 == 0 { "top: of an empty book" } else { "top: change" });
        Ok(())
    }

    /// Marks what a command was that told of orders.
    fn mark(&mut self, request: Option<&Request<'_>>, outputs: &[Output<'_>], feeds: &[Output<'_>]) {
        let books: Vec<&BookReport> =
            feeds.iter().filter_map(|it| if let Output::Book(it) = it { Some(*it) } else { None }).collect();
        let Some(first) = books.first() else { return };
        let instruments: BTreeSet<u32> = books.iter().map(|it| it.instrument.get()).collect();
        match request {
            None => self.marks.push("feed: by log time"),
            Some(Request::Amend(_) | Request::Amend2(_)) if first.trade == 0 => {
                let again = books[1..].iter().any(|it| it.order_id == first.order_id);
                match first.action {
                    FeedAction::Change if outputs.len() == feeds.len() => {
                        self.marks.push("feed: an amend in place");
                    }
                    FeedAction::Remove if again => self.marks.push("feed: an amend that rests anew"),
                    FeedAction::Remove if books.len() > 1 => self.marks.push("feed: an amend that trades"),
                    _ => {}
                }
            }
            Some(Request::Cancel(_)) => self.marks.push("feed: a cancel"),
            Some(Request::MassCancel(_)) if instruments.len() > 1 => {
                self.marks.push("feed: a mass cancel of several instruments");
            }
            Some(Request::Control(_)) if instruments.len() > 1 => {
                self.marks.push("feed: a kill or purge of several instruments");
            }
            _ => {}
        }
        for output in outputs {
            match output {
                Output::Cancel(it) => match it.reason {
                    Reason::Expired => self.marks.push("feed: an order expires"),
                    Reason::Disconnected => self.marks.push("feed: a session's orders end"),
                    Reason::AuctionOver => self.marks.push("feed: orders end with their auction"),
                    Reason::DayOver => self.marks.push("feed: orders end with the day"),
                    _ => {}
                },
                Output::Prevent(_) => self.marks.push("feed: orders of one owner meet"),
                Output::Trigger(it) if books.iter().any(|book| book.order_id == it.order_id) => {
                    self.marks.push("feed: a triggered order rests");
                }
                Output::State(it)
                    if it.state.is_auction() && books.iter().any(|it| it.action == FeedAction::Add) =>
                {
                    self.marks.push("feed: orders join an auction");
                }
                Output::Auction(it)
                    if books.iter().any(|book| book.trade != 0 && book.instrument == it.instrument) =>
                {
                    self.marks.push("feed: an auction trades");
                }
                Output::Call(_) => self.marks.push("feed: a band stops an order"),
                _ => {}
            }
        }
        self.mark_sweep(&books, feeds);
    }

    /// Marks that several orders at a price traded one after the other, of which levels told once.
    fn mark_sweep(&mut self, books: &[&BookReport], feeds: &[Output<'_>]) {
        for two in books.windows(2) {
            let (one, other) = (two[0], two[1]);
            let sweep = one.trade != 0
                && other.trade.get() == one.trade.get() + 1
                && one.order_id != other.order_id
                && (one.instrument, one.side, one.price) == (other.instrument, other.side, other.price);
            let told = feeds.iter().filter(|it| {
                matches!(it, Output::Level(it)
                    if (it.instrument, it.side, it.price) == (one.instrument, one.side, one.price))
            });
            if sweep && told.count() == 1 {
                self.marks.push("feed: a sweep of a level, told once");
            }
        }
    }

    /// What was heard is what queries show.
    pub fn compare(&self, shown: &BTreeMap<u32, Book>) -> Checked {
        for (id, known) in &self.known {
            let book = &shown[id];
            if let Some(orders) = &known.orders {
                check!(*orders == book.orders, "orders of {id}: heard {orders:x?}, shown {:x?}", book.orders);
            }
            if let Some(levels) = &known.levels {
                check!(*levels == book.levels, "levels of {id}: heard {levels:?}, shown {:?}", book.levels);
            }
            if let Some(top) = &known.top {
                let shown = top_of(&book.levels);
                check!(*top == shown, "best prices of {id}: heard {top:?}, shown {shown:?}");
            }
        }
        Ok(())
    }
}

impl Known {
    fn any(&self) -> bool {
        self.orders.is_some() || self.levels.is_some() || self.top.is_some()
    }

    /// Each feed is what follows from the one that tells more.
    fn agrees(&self, instrument: u32) -> Checked {
        let by_orders = self.orders.as_ref().map(|orders| levels_of(orders));
        if let (Some(levels), Some(expected)) = (&self.levels, &by_orders) {
            check!(levels == expected, "levels of {instrument}: {levels:?}, orders make {expected:?}");
        }
        if let (Some(top), Some(levels)) = (self.top, self.levels.as_ref().or(by_orders.as_ref())) {
            let expected = top_of(levels);
            check!(top == expected, "best prices of {instrument}: {top:?}, levels make {expected:?}");
        }
        Ok(())
    }
}

fn level_told(it: &LevelReport) -> Result<Level, String> {
    let (price, lots, orders) = (it.price.get(), it.quantity.get(), it.orders.get());
    check!(price > 0 && lots > 0 && orders > 0, "a level without price, lots or orders: {it:?}");
    Ok(Level { side: one_side(it.side)?, price, lots, orders })
}

/// A report of a feed goes to its topic, and is of this command.
fn check_address(audience: Audience, output: &Output<'_>, context: &Context) -> Checked {
    let (feed, instrument, seq, time) = match output {
        Output::Book(it) => (topic::ORDERS, it.instrument, it.seq, it.time),
        Output::Level(it) => (topic::LEVELS, it.instrument, it.seq, it.time),
        Output::Top(it) => (topic::TOP, it.instrument, it.seq, it.time),
        _ => {
            check!(!matches!(audience, Audience::Feed(_)), "no report of a feed: {output:?}");
            return Ok(());
        }
    };
    check!(audience == Audience::Feed(feed + instrument.get()), "{audience:?} hears {output:?}");
    check!(seq == context.seq && time == context.time, "a report of another moment: {output:?}");
    Ok(())
}
