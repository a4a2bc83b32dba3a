//! Call auctions: orders that gather, and the price at which they would trade. Rules: `docs/exchange/auctions.md`.
//!
//! In a state that gathers, orders lie in the book as always, which may then be crossed. Market orders, which are for one
//! auction, lie beside it in a queue a side. `uncross` lets them trade, `states` says when, `day` who ends when.

use crate::instrument::{Instrument, live};
use crate::levels::{Level, key};
use crate::matching::Taker;
use crate::orders::NONE;
use crate::reply::Answer;
use crate::{Context, Engine, Sink, Step, admin::reply_admin, engine::permitted};
use ordain_exchange_protocol::{
    Audience, IndicationReport, IntoBytes, Market, MarketState, OrderReply, OrderState, Reject, Schema,
    SetReference, Side, Sides, permission,
};

/// Most indications that one step works out: each looks at all prices of a book.
const STEP_INDICATIONS: usize = 16;

/// What an instrument's auctions need.
#[derive(Clone, Copy)]
pub(crate) struct Call {
    /// Orders have gathered and not yet been uncrossed.
    pub under_way: bool,
    /// Is in the engine's list of those that changed.
    pub changed: bool,
    /// Price that the auction under way goes by; 0 if there is none.
    pub reference: i64,
    /// Price of the last auction, or what an operator said since; 0 if there is none.
    pub day_reference: i64,
    /// Lowest and highest price of auctions since the instrument was last continuous; 0 if there were none.
    pub low: i64,
    pub high: i64,
    /// Market orders that take part, by side.
    pub market: [Level; 2],
    /// First and last of the orders that end with the day: those for the day, those for one auction.
    pub days: [[u32; 2]; 2],
    /// What was last said about the auction.
    pub said: Indication,
    /// When the call ends of the auction that a band brought about; 0 if there is none.
    pub until: u64,
    /// How often it was made longer.
    pub extended: u8,
}

impl Call {
    pub const NONE: Self = Self {
        under_way: false,
        changed: false,
        reference: 0,
        day_reference: 0,
        low: 0,
        high: 0,
        market: [Level::EMPTY; 2],
        days: [[NONE; 2]; 2],
        said: Indication::NONE,
        until: 0,
        extended: 0,
    };

    /// Notes a price that auctions traded at.
    pub fn trade_at(&mut self, price: i64) {
        self.low = if self.low == 0 { price } else { self.low.min(price) };
        self.high = self.high.max(price);
        self.day_reference = price;
    }
}

/// What would trade, and what could not at this price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Indication {
    /// 0 if nothing would trade.
    pub price: i64,
    pub volume: u64,
    pub side: Sides,
    pub imbalance: u64,
}

impl Indication {
    pub const NONE: Self = Self { price: 0, volume: 0, side: Sides::Any, imbalance: 0 };

    fn new(price: i64, buys: u64, sells: u64) -> Self {
        let side = match buys.cmp(&sells) {
            core::cmp::Ordering::Greater => Sides::Buy,
            core::cmp::Ordering::Less => Sides::Sell,
            core::cmp::Ordering::Equal => Sides::Any,
        };
        Self { price, volume: buys.min(sells), side, imbalance: buys.abs_diff(sells) }
    }

    /// More volume, or as much with less left over.
    fn beats(&self, other: &Self) -> bool {
        (self.volume, other.imbalance) > (other.volume, self.imbalance)
    }
}

/// The best of the prices looked at, which come from the highest down.
struct Best {
    reference: i64,
    /// The highest, the lowest and the nearest to the reference of those that are as good as each other.
    highest: Indication,
    lowest: Indication,
    nearest: Indication,
    /// The side on which all of these leave lots over.
    side: Sides,
}

impl Best {
    const fn new(reference: i64) -> Self {
        let none = Indication::NONE;
        Self { reference, highest: none, lowest: none, nearest: none, side: Sides::Any }
    }

    fn consider(&mut self, next: Indication) {
        if next.volume == 0 || self.highest.beats(&next) {
            return;
        }
        if next.beats(&self.highest) {
            *self = Self { highest: next, lowest: next, nearest: next, side: next.side, ..*self };
            return;
        }
        self.lowest = next;
        if next.side != self.side {
            self.side = Sides::Any;
        }
        let distance = |price: i64| price.abs_diff(self.reference);
        if self.reference != 0 && distance(next.price) < distance(self.nearest.price) {
            self.nearest = next;
        }
    }

    const fn chosen(&self) -> Indication {
        match self.side {
            Sides::Buy => self.highest,
            Sides::Sell => self.lowest,
            Sides::Any => self.nearest,
        }
    }
}

impl Engine {
    pub(crate) fn call(&self, instrument: u16) -> &Call {
        &self.calls[usize::from(instrument) - 1]
    }

    pub(crate) fn call_mut(&mut self, instrument: u16) -> &mut Call {
        &mut self.calls[usize::from(instrument) - 1]
    }

    pub(crate) fn market<S: Sink>(&mut self, context: &Context, market: &Market<'_>, sink: &mut S) -> Step {
        match market {
            Market::SetReference(message) => self.set_reference(context, message, sink),
            Market::SetBands(message) => self.set_bands(context, message, sink),
            Market::SetSchedule(message) => self.set_schedule(context, message, sink),
            Market::SetFeed(message) => self.set_feed(context, message, sink),
        }
    }

    fn set_reference<S: Sink>(&mut self, context: &Context, message: &SetReference, sink: &mut S) -> Step {
        let (id, price) = (message.instrument.get(), message.price.get());
        let checked = permitted(context, permission::ADMIN).and_then(|()| {
            let instrument = self.instrument(id)?;
            instrument.check_price(price)?;
            let fixed = self.call(id as u16).under_way && instrument.state != MarketState::Closed;
            if fixed { Err(Reject::ReferenceFixed) } else { Ok(()) }
        });
        if checked.is_ok() {
            self.call_mut(id as u16).day_reference = price;
        }
        reply_admin(context, id, checked, sink)
    }

    /// The price that a market order for an auction is held to.
    #[cold]
    pub(crate) fn auction_protection(&self, id: u32, side: Side) -> Result<i64, Reject> {
        let (instrument, call) = (self.instrument(id)?, self.call(id as u16));
        let reference = match (call.under_way, instrument.last) {
            (true, _) => call.reference,
            (false, 0) => call.day_reference,
            (false, last) => last,
        };
        if reference == 0 { Err(Reject::NoReference) } else { Ok(instrument.protection(side, reference)) }
    }

    /// Puts a new or amended order into the book of an instrument in which orders gather, and answers.
    #[cold]
    pub(crate) fn gather<S: Sink>(&mut self, taker: &Taker, sink: &mut S) -> Step {
        self.rest(taker);
        self.book_changed(taker.instrument);
        let context = taker.event.context;
        self.tell_change(&context, sink);
        let reply = OrderReply {
            state: OrderState::Live,
            remaining: taker.remaining.into(),
            ..self.reply(&context, self.orders.get(taker.slot), taker.order_id)
        };
        self.answer(&Answer { reply, second: taker.second, price: taker.price, prevented: 0 }, sink);
        Step::Done
    }

    pub(crate) fn enter_market(&mut self, slot: u32) {
        let order = self.orders.get(slot);
        let call = &mut self.calls[usize::from(order.instrument) - 1];
        call.market[order.side as usize - 1].append(NONE, &mut self.orders, slot);
    }

    pub(crate) fn leave_market(&mut self, slot: u32) {
        let order = self.orders.get(slot);
        let call = &mut self.calls[usize::from(order.instrument) - 1];
        call.market[order.side as usize - 1].remove(&mut self.orders, slot);
    }

    /// The level that an order stands in.
    pub(crate) fn level_mut(&mut self, slot: u32) -> &mut Level {
        let order = self.orders.get(slot);
        match order.level {
            NONE => &mut self.calls[usize::from(order.instrument) - 1].market[order.side as usize - 1],
            level => self.levels.get_mut(level),
        }
    }

    /// Market orders of a side that take part: their lots, and the price that they are held to.
    fn market_lots(&self, id: u16, side: Side) -> Option<(u64, i64)> {
        let level = &self.call(id).market[side as usize - 1];
        (level.orders > 0).then(|| (level.quantity, self.orders.get(level.head).price))
    }

    /// What would trade if the instrument were uncrossed now.
    pub(crate) fn indication(&self, id: u16) -> Indication {
        let instrument = live(&self.instruments, id);
        let market = [self.market_lots(id, Side::Buy), self.market_lots(id, Side::Sell)];
        // A market order stands for lots on its side at the price that it is held to and at worse ones.
        let with_market = |price: i64, buys: u64, sells: u64| {
            let [buy, sell] = market;
            let buys = buys + buy.filter(|(_, held)| *held >= price).map_or(0, |(lots, _)| lots);
            let sells = sells + sell.filter(|(_, held)| *held <= price).map_or(0, |(lots, _)| lots);
            Indication::new(price, buys, sells)
        };
        let reference = self.call(id).reference;
        let mut best = Best::new(reference);
        self.each_limit(instrument, market.map(|lots| lots.is_some()), |price, buys, sells| {
            best.consider(with_market(price, buys, sells));
        });
        let chosen = best.chosen();
        // Where market orders meet, they need no limit to agree on.
        if let ([Some(_), Some(_)], true) = (market, reference != 0) {
            let among = with_market(
                reference,
                self.lots_within(instrument, Side::Buy, reference),
                self.lots_within(instrument, Side::Sell, reference),
            );
            if among.volume > chosen.volume {
                return among;
            }
        }
        chosen
    }

    /// Lots of limit orders of a side that would trade at `price`.
    fn lots_within(&self, instrument: &Instrument, side: Side, price: i64) -> u64 {
        let (ladder, worst) = (instrument.ladder(side), key(side, price));
        self.levels.within(ladder, worst).map(|(_, handle)| self.lots_at(handle)).sum()
    }

    fn lots_at(&self, handle: u32) -> u64 {
        let level = self.levels.get(handle);
        level.quantity + level.hidden
    }

    /// Gives every limit at which something could trade, from the highest down, with the lots of limit orders that would
    /// buy and sell there. `market` says which sides have market orders.
    fn each_limit(&self, instrument: &Instrument, market: [bool; 2], mut give: impl FnMut(i64, u64, u64)) {
        let (bids, asks) = (instrument.ladder(Side::Buy), instrument.ladder(Side::Sell));
        let best = |side| self.levels.best_key(instrument.ladder(side)).map(i64::abs);
        // Without market orders nothing trades above the best bid or below the best ask.
        let highest = if market[0] { Some(i64::MAX) } else { best(Side::Buy) };
        let lowest = if market[1] { Some(0) } else { best(Side::Sell) };
        let (Some(highest), Some(lowest)) = (highest, lowest) else { return };
        let mut bids = self.levels.within(bids, lowest).peekable();
        let mut asks = self.levels.within(asks, key(Side::Sell, highest)).rev().peekable();
        let mut buys = 0;
        let mut sells = self.lots_within(instrument, Side::Sell, highest);
        loop {
            let price = match (bids.peek(), asks.peek()) {
                (Some(&(bid, _)), Some(&(ask, _))) => bid.max(-ask),
                (Some(&(bid, _)), None) => bid,
                (None, Some(&(ask, _))) => -ask,
                (None, None) => return,
            };
            if let Some((_, handle)) = bids.next_if(|(bid, _)| *bid == price) {
                buys += self.lots_at(handle);
            }
            give(price, buys, sells);
            if let Some((_, handle)) = asks.next_if(|(ask, _)| -*ask == price) {
                sells -= self.lots_at(handle);
            }
        }
    }

    /// Notes that an instrument's book is another than before, if somebody wants to know.
    #[inline]
    pub(crate) fn book_changed(&mut self, id: u16) {
        if live(&self.instruments, id).state.is_auction() {
            self.note_change(id);
        }
    }

    #[cold]
    fn note_change(&mut self, id: u16) {
        let call = self.call_mut(id);
        // Once uncrossed, the book is nobody's auction any more, whatever the state still says.
        if call.under_way && !std::mem::replace(&mut call.changed, true) {
            self.changed.push(id);
        }
    }

    /// Tells what an event about one order changed.
    #[inline]
    pub(crate) fn tell_change<S: Sink>(&mut self, context: &Context, sink: &mut S) {
        if !self.changed.is_empty() {
            let step = self.tell_changes(context, &mut { STEP_INDICATIONS }, sink);
            assert!(step == Step::Done, "an order is in one book");
        }
    }

    /// Tells of auctions that changed while there is room for outputs. `Done` when all is said.
    #[cold]
    pub(crate) fn tell_changes<S: Sink>(
        &mut self,
        context: &Context,
        room: &mut usize,
        sink: &mut S,
    ) -> Step {
        let count = self.changed.len().min(*room).min(STEP_INDICATIONS);
        *room -= count;
        for at in 0..count {
            let id = self.changed[at];
            let now = self.indication(id);
            let state = live(&self.instruments, id).state;
            let call = self.call_mut(id);
            call.changed = false;
            if std::mem::replace(&mut call.said, now) == now {
                continue;
            }
            let report = IndicationReport {
                tag: IndicationReport::TAG,
                schema: Schema::V1,
                side: now.side,
                state,
                instrument: u32::from(id).into(),
                price: now.price.into(),
                volume: now.volume.into(),
                imbalance: now.imbalance.into(),
                seq: context.seq.into(),
                time: context.time.into(),
            };
            sink.output(Audience::Instrument(id.into()), report.as_bytes());
        }
        self.changed.drain(..count);
        if self.changed.is_empty() { Step::Done } else { Step::More }
    }
}
