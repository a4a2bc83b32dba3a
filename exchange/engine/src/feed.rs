//! Market data: what is told of books. Rules: `docs/exchange/market-data.md`.
//!
//! Whatever changes a book notes it here, and whoever has a sink publishes what was noted: after each meeting of orders, after each
//! cancel of many, at the end of a step. Instruments of which nothing is published cost a test of a flag.

use crate::admin::reply_admin;
use crate::engine::{Work, permitted};
use crate::instrument::{live, live_mut};
use crate::levels::key;
use crate::orders::{Extra, NONE};
use crate::{Context, Engine, STEP_OUTPUTS_MAX, Sink, Step};
use ordain_exchange_protocol::{
    Audience, BookReport, FeedAction, FeedAnswer, FeedQuery, Flag, IntoBytes, LevelReport, Reject, Schema,
    SetFeed, Side, Sides, TopReport, Zero, permission, topic,
};

/// Level of behaviour with which this begins.
const LEVEL: u16 = 1;

/// Best prices that the end of a step tells of, at most.
const STEP_TOPS: usize = 20;

/// Outputs that a step leaves to the last change of its command and the copy of its reply, and to best prices. A change makes
/// two outputs; whatever takes the room of a step may make eight more than it asked room for: the two sides of a trade in an
/// auction, both of which are icebergs, each at another level than the one before, and a firm's copies of both.
const STEP_RESERVE: usize = STEP_TOPS + 14;

const _: () = assert!(STEP_RESERVE < STEP_OUTPUTS_MAX);

/// What is published of an instrument's book.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Feeds(u8);

impl Feeds {
    pub const NONE: Self = Self(0);
    const TOP: u8 = 1;
    const LEVELS: u8 = 1 << 1;
    const ORDERS: u8 = 1 << 2;

    fn new(top: Flag, levels: Flag, orders: Flag) -> Self {
        let bit = |flag, bit| if flag == Flag::Yes { bit } else { 0 };
        Self(bit(top, Self::TOP) | bit(levels, Self::LEVELS) | bit(orders, Self::ORDERS))
    }

    const fn has(self, feed: u8) -> bool {
        self.0 & feed != 0
    }

    /// The byte, as snapshots have it.
    pub const fn to_byte(self) -> u8 {
        self.0
    }

    /// What a snapshot has, if it is valid.
    pub const fn from_byte(byte: u8) -> Option<Self> {
        if byte <= Self::TOP | Self::LEVELS | Self::ORDERS { Some(Self(byte)) } else { None }
    }
}

/// Best bid and best ask, with the lots shown there.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
struct Top {
    bid: (i64, u64),
    ask: (i64, u64),
}

/// A price of a book.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Place {
    instrument: u16,
    side: Side,
    price: i64,
}

/// What is to be published.
#[derive(Clone, Copy)]
enum Note {
    Order { place: Place, action: FeedAction, id: u64, quantity: u64, trade: u32 },
    Level { place: Place, quantity: u64, orders: u32 },
}

/// What there is to publish. Nothing of it outlives a command but what follows from the books, so none is in snapshots.
pub(crate) struct Feed {
    /// Some instrument has one.
    pub on: bool,
    /// The command has been worked, and best prices are still to be told.
    pub ending: bool,
    /// Of the command.
    context: Context,
    notes: Vec<Note>,
    /// The level that was changed last: what is told of it is how it is when another one changes.
    level: Option<Place>,
    /// Instruments whose books the command changed, each once, in the order of the first change.
    touched: Vec<u16>,
    /// By instrument.
    told: Vec<Told>,
}

#[derive(Clone, Copy, Default)]
struct Told {
    /// What was told last, which between commands is how it is.
    top: Top,
    touched: bool,
}

impl Feed {
    pub fn new(instruments: u32) -> Self {
        Self {
            on: false,
            ending: false,
            context: Context::default(),
            notes: Vec::with_capacity(STEP_OUTPUTS_MAX),
            level: None,
            touched: Vec::with_capacity(instruments as usize),
            told: vec![Told::default(); instruments as usize],
        }
    }

    /// A command begins.
    #[inline]
    pub fn begin(&mut self, context: &Context) {
        if self.on {
            self.context = *context;
        }
    }
}

/// An instrument's book being told as it is, under way.
#[derive(Clone, Copy)]
pub(crate) struct Showing {
    context: Context,
    instrument: u16,
    /// What was published before.
    before: Feeds,
    part: Part,
}

#[derive(Clone, Copy)]
enum Part {
    /// From this order on, or from the level on that comes behind this key; from the best on without a key.
    Orders(Option<Side>, Option<i64>, u32),
    /// From the level on that comes behind this key.
    Levels(Option<Side>, Option<i64>),
    Top,
}

impl Engine {
    /// Room for outputs that a step begins with.
    pub(crate) const fn step_room(&mut self) -> usize {
        self.copies.take_made();
        if self.feed.on || self.copies.on { STEP_OUTPUTS_MAX - STEP_RESERVE } else { STEP_OUTPUTS_MAX }
    }

    /// Notes what became of an order in the book: the lots that it shows now are its own, the trade is one more than its
    /// index, or 0.
    #[inline]
    pub(crate) fn note_order(&mut self, slot: u32, action: FeedAction, trade: u32) {
        if self.feed.on {
            self.note(slot, action, trade);
        }
    }

    #[cold]
    fn note(&mut self, slot: u32, action: FeedAction, trade: u32) {
        let (order, id) = (*self.orders.get(slot), self.orders.id(slot));
        let feeds = live(&self.instruments, order.instrument).feeds;
        if feeds == Feeds::NONE || self.orders.extra(slot).is_some_and(Extra::is_market) {
            return;
        }
        let place = Place { instrument: order.instrument, side: order.side, price: order.price };
        if feeds.has(Feeds::LEVELS) && self.feed.level != Some(place) {
            self.note_level();
            self.feed.level = Some(place);
        }
        if feeds.has(Feeds::ORDERS) {
            let quantity = if action == FeedAction::Remove { 0 } else { order.remaining };
            self.feed.notes.push(Note::Order { place, action, id, quantity, trade });
        }
        let told = &mut self.feed.told[usize::from(order.instrument) - 1];
        if feeds.has(Feeds::TOP) && !std::mem::replace(&mut told.touched, true) {
            self.feed.touched.push(order.instrument);
        }
    }

    /// Notes how the level is that was changed last.
    fn note_level(&mut self) {
        let Some(place) = self.feed.level.take() else { return };
        let ladder = live(&self.instruments, place.instrument).ladder(place.side);
        let level = self.levels.find(ladder, key(place.side, place.price));
        let (quantity, orders) = level.map_or((0, 0), |handle| {
            let level = self.levels.get(handle);
            (level.quantity, level.orders)
        });
        self.feed.notes.push(Note::Level { place, quantity, orders });
    }

    /// Tells what was noted, and takes room for it and for what firms were told.
    #[inline]
    pub(crate) fn publish<S: Sink>(&mut self, room: &mut usize, sink: &mut S) {
        if self.feed.on || self.copies.on {
            *room = room.saturating_sub(self.feed.notes.len() + self.copies.take_made());
            self.tell_notes(sink);
        }
    }

    #[cold]
    fn tell_notes<S: Sink>(&mut self, sink: &mut S) {
        let context = self.feed.context;
        for note in self.feed.notes.drain(..) {
            match note {
                Note::Order { place, action, id, quantity, trade } => {
                    let report = BookReport {
                        action,
                        side: place.side.into(),
                        order_id: id.into(),
                        price: place.price.into(),
                        quantity: quantity.into(),
                        trade: trade.into(),
                        ..book_report(&context, place.instrument, action)
                    };
                    say(topic::ORDERS, place.instrument, report.as_bytes(), sink);
                }
                Note::Level { place, quantity, orders } => {
                    let action = if orders == 0 { FeedAction::Remove } else { FeedAction::Change };
                    let report = LevelReport {
                        side: place.side.into(),
                        price: place.price.into(),
                        quantity: quantity.into(),
                        orders: orders.into(),
                        ..level_report(&context, place.instrument, action)
                    };
                    say(topic::LEVELS, place.instrument, report.as_bytes(), sink);
                }
            }
        }
    }

    /// The end of a step: tells what is left to be told, and behind the command's last step which best prices it changed.
    #[cold]
    pub(crate) fn end_step<S: Sink>(&mut self, step: Step, sink: &mut S) -> Step {
        if step == Step::Done {
            self.note_level();
        }
        self.tell_notes(sink);
        if step == Step::More {
            return Step::More;
        }
        let count = self.feed.touched.len().min(STEP_TOPS);
        for at in 0..count {
            let id = self.feed.touched[at];
            let top = self.top(id);
            let now = Told { top, touched: false };
            if std::mem::replace(&mut self.feed.told[usize::from(id) - 1], now).top != top {
                tell_top(&self.feed.context, id, top, sink);
            }
        }
        self.feed.touched.drain(..count);
        self.feed.ending = !self.feed.touched.is_empty();
        if self.feed.ending { Step::More } else { Step::Done }
    }

    fn top(&self, id: u16) -> Top {
        let best = |side: Side| {
            let found = self.levels.best(live(&self.instruments, id).ladder(side));
            found.map_or((0, 0), |(key, handle)| (key.abs(), self.levels.get(handle).quantity))
        };
        Top { bid: best(Side::Buy), ask: best(Side::Sell) }
    }

    pub(crate) fn set_feed<S: Sink>(&mut self, context: &Context, message: &SetFeed, sink: &mut S) -> Step {
        let id = message.instrument.get();
        let begun = if self.level >= LEVEL { Ok(()) } else { Err(Reject::NotBegun) };
        let checked = permitted(context, permission::ADMIN).and(begun);
        let before = match checked.and_then(|()| self.instrument(id)).map(|found| found.feeds) {
            Ok(before) => before,
            Err(code) => return reply_admin(context, id, Err(code), sink),
        };
        let instrument = id as u16;
        live_mut(&mut self.instruments, instrument).feeds =
            Feeds::new(message.top, message.levels, message.orders);
        self.find_feeds();
        self.feed.begin(context);
        let part = Part::Orders(None, None, NONE);
        self.show(Showing { context: *context, instrument, before, part }, sink)
    }

    pub(crate) fn feed_answer(&self, checked: Result<(), Reject>, query: &FeedQuery) -> FeedAnswer {
        let id = query.instrument.get();
        let found = checked.and_then(|()| self.instrument(id));
        let feeds = found.map_or(Feeds::NONE, |found| found.feeds);
        FeedAnswer {
            tag: FeedAnswer::TAG,
            schema: Schema::V1,
            code: Reject::to_wire(found.err()),
            instrument: id.into(),
            top: feeds.has(Feeds::TOP).into(),
            levels: feeds.has(Feeds::LEVELS).into(),
            orders: feeds.has(Feeds::ORDERS).into(),
            reserved: [Zero::Zero; 5],
        }
    }

    /// Finds out what is published, and how it is.
    pub(crate) fn find_feeds(&mut self) {
        let has = |at: &usize| self.instruments[*at].as_ref().is_some_and(|found| found.feeds != Feeds::NONE);
        let found: Vec<usize> = (0..self.instruments.len()).filter(has).collect();
        self.feed.on = !found.is_empty();
        for at in found {
            self.feed.told[at].top = self.top(at as u16 + 1);
        }
    }

    /// One step of telling a book.
    pub(crate) fn show<S: Sink>(&mut self, mut showing: Showing, sink: &mut S) -> Step {
        let Showing { context, instrument, before, .. } = showing;
        let feeds = live(&self.instruments, instrument).feeds;
        let first = |feed: u8| match (feeds.has(feed), before.has(feed)) {
            (true, _) => Some(FeedAction::Reset),
            (false, true) => Some(FeedAction::Off),
            (false, false) => None,
        };
        for _ in 0..self.step_room() {
            showing.part = match showing.part {
                Part::Orders(None, ..) => {
                    if let Some(action) = first(Feeds::ORDERS) {
                        let report = book_report(&context, instrument, action);
                        say(topic::ORDERS, instrument, report.as_bytes(), sink);
                    }
                    let on = feeds.has(Feeds::ORDERS);
                    if on { Part::Orders(Some(Side::Buy), None, NONE) } else { Part::Levels(None, None) }
                }
                Part::Orders(Some(side), behind, next) => {
                    match self.order_from(instrument, side, behind, next) {
                        Some(slot) => {
                            self.show_order(&context, slot, sink);
                            let order = self.orders.get(slot);
                            Part::Orders(Some(side), Some(key(side, order.price)), order.next)
                        }
                        None if side == Side::Buy => Part::Orders(Some(Side::Sell), None, NONE),
                        None => Part::Levels(None, None),
                    }
                }
                Part::Levels(None, _) => {
                    if let Some(action) = first(Feeds::LEVELS) {
                        let report = level_report(&context, instrument, action);
                        say(topic::LEVELS, instrument, report.as_bytes(), sink);
                    }
                    if feeds.has(Feeds::LEVELS) { Part::Levels(Some(Side::Buy), None) } else { Part::Top }
                }
                Part::Levels(Some(side), behind) => match self.level_behind(instrument, side, behind) {
                    Some((key, handle)) => {
                        self.show_level(&context, instrument, side, (key, handle), sink);
                        Part::Levels(Some(side), Some(key))
                    }
                    None if side == Side::Buy => Part::Levels(Some(Side::Sell), None),
                    None => Part::Top,
                },
                Part::Top => {
                    match first(Feeds::TOP) {
                        Some(FeedAction::Off) => {
                            let report = top_report(&context, instrument, FeedAction::Off, Top::default());
                            say(topic::TOP, instrument, report.as_bytes(), sink);
                        }
                        Some(_) => tell_top(&context, instrument, self.top(instrument), sink),
                        None => {}
                    }
                    return reply_admin(&context, instrument.into(), Ok(()), sink);
                }
            };
        }
        self.work = Some(Work::Show(showing));
        Step::More
    }

    /// The level behind this key; the best if there is no key.
    fn level_behind(&self, instrument: u16, side: Side, key: Option<i64>) -> Option<(i64, u32)> {
        self.levels.behind(live(&self.instruments, instrument).ladder(side), key).next()
    }

    /// The order `next`, or the first one at the level behind this key.
    fn order_from(&self, instrument: u16, side: Side, behind: Option<i64>, next: u32) -> Option<u32> {
        if next != NONE {
            return Some(next);
        }
        let (_, handle) = self.level_behind(instrument, side, behind)?;
        Some(self.levels.get(handle).head)
    }

    fn show_order<S: Sink>(&self, context: &Context, slot: u32, sink: &mut S) {
        let order = self.orders.get(slot);
        let report = BookReport {
            side: order.side.into(),
            order_id: self.orders.id(slot).into(),
            price: order.price.into(),
            quantity: order.remaining.into(),
            ..book_report(context, order.instrument, FeedAction::Add)
        };
        say(topic::ORDERS, order.instrument, report.as_bytes(), sink);
    }

    fn show_level<S: Sink>(
        &self,
        context: &Context,
        instrument: u16,
        side: Side,
        (key, handle): (i64, u32),
        sink: &mut S,
    ) {
        let level = self.levels.get(handle);
        let report = LevelReport {
            side: side.into(),
            price: key.abs().into(),
            quantity: level.quantity.into(),
            orders: level.orders.into(),
            ..level_report(context, instrument, FeedAction::Change)
        };
        say(topic::LEVELS, instrument, report.as_bytes(), sink);
    }
}

/// What becomes of an order that shows so many lots now, where it stands.
#[inline]
pub(crate) const fn left_in_place(shown: u64) -> FeedAction {
    if shown == 0 { FeedAction::Remove } else { FeedAction::Change }
}

fn say<S: Sink>(topic: u32, instrument: u16, bytes: &[u8], sink: &mut S) {
    sink.output(Audience::Feed(topic + u32::from(instrument)), bytes);
}

fn tell_top<S: Sink>(context: &Context, instrument: u16, top: Top, sink: &mut S) {
    say(topic::TOP, instrument, top_report(context, instrument, FeedAction::Change, top).as_bytes(), sink);
}

fn top_report(context: &Context, instrument: u16, action: FeedAction, top: Top) -> TopReport {
    TopReport {
        tag: TopReport::TAG,
        schema: Schema::V1,
        action,
        reserved: Zero::Zero,
        instrument: u32::from(instrument).into(),
        bid: top.bid.0.into(),
        bid_quantity: top.bid.1.into(),
        ask: top.ask.0.into(),
        ask_quantity: top.ask.1.into(),
        seq: context.seq.into(),
        time: context.time.into(),
    }
}

/// One that says nothing of a level.
fn level_report(context: &Context, instrument: u16, action: FeedAction) -> LevelReport {
    LevelReport {
        tag: LevelReport::TAG,
        schema: Schema::V1,
        action,
        side: Sides::Any,
        instrument: u32::from(instrument).into(),
        price: 0.into(),
        quantity: 0.into(),
        orders: 0.into(),
        reserved: [Zero::Zero; 4],
        seq: context.seq.into(),
        time: context.time.into(),
    }
}

/// One that says nothing of an order.
fn book_report(context: &Context, instrument: u16, action: FeedAction) -> BookReport {
    BookReport {
        tag: BookReport::TAG,
        schema: Schema::V1,
        action,
        side: Sides::Any,
        instrument: u32::from(instrument).into(),
        order_id: 0.into(),
        price: 0.into(),
        quantity: 0.into(),
        seq: context.seq.into(),
        time: context.time.into(),
        trade: 0.into(),
        reserved: [Zero::Zero; 4],
    }
}
