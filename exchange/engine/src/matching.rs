//! Matching: an order trades with the book by price, then time, and its rest goes into the book.

use crate::engine::Work;
use crate::feed::left_in_place;
use crate::instrument::{live, live_mut};
use crate::ledger::fee;
use crate::levels::key;
use crate::orders::{Order, Traits};
use crate::reply::Answer;
use crate::{Context, Engine, Sink, Step};
use ordain_exchange_protocol::{
    Audience, FeedAction, FillReport, Flag, IntoBytes, OrderReply, OrderState, Reason, Reject, Schema,
    SelfTrade, Side, TradeReport, Zero,
};

/// Outputs of a trade, the most that one meeting of two orders makes.
pub(crate) const MATCH_OUTPUTS: usize = 3;

/// What a command has done so far, whichever of its orders did it.
#[derive(Clone, Copy)]
pub(crate) struct Event {
    pub context: Context,
    /// Trades.
    pub trades: u32,
    /// Meetings of orders of one owner.
    pub meetings: u32,
    /// Lowest and highest price of its trades.
    pub low: i64,
    pub high: i64,
}

impl Event {
    pub const fn new(context: &Context) -> Self {
        Self { context: *context, trades: 0, meetings: 0, low: i64::MAX, high: 0 }
    }
}

/// Why a taker stops with lots left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It has not been stopped.
    Open,
    Budget,
    SelfTrade,
    /// What is next would trade outside the bands.
    Band,
}

/// An order that trades now.
#[derive(Clone, Copy)]
pub(crate) struct Taker {
    pub event: Event,
    pub client_order_id: u64,
    pub order_id: u64,
    pub slot: u32,
    pub account: u32,
    /// Group of the account.
    pub group: u32,
    pub instrument: u16,
    pub side: Side,
    pub traits: Traits,
    /// What happens where it meets orders of its owner; not default.
    pub mode: SelfTrade,
    /// Rests with what remains.
    pub rests: bool,
    /// Is entered where orders gather, and so does not trade.
    pub gathers: bool,
    /// The instrument has price bands.
    pub banded: bool,
    /// Buys for what free funds and cash allow.
    pub budgeted: bool,
    pub end: End,
    /// Is in the index and in the account's list: it was amended or triggered.
    pub listed: bool,
    /// The command came in the second layout.
    pub second: bool,
    pub price: i64,
    /// Worst key on the other side that it takes.
    pub limit_key: i64,
    pub remaining: u64,
    pub cumulative: u64,
    /// Lots cancelled so far.
    pub cancelled: u64,
    pub prevented: u64,
    /// What a cash order may still cost.
    pub cash: u64,
    pub fills: u32,
    pub notional: u64,
    pub fee: i64,
}

/// How an order ended, or not.
pub(crate) struct Outcome {
    pub state: OrderState,
    pub reason: Reason,
    /// Lots that were left and are cancelled.
    pub cancelled: u64,
}

impl Engine {
    /// Lets an order trade; when it is done trading, finishes it, lets those trade that it triggered, and answers.
    pub(crate) fn take<S: Sink>(&mut self, taker: &mut Taker, sink: &mut S) -> Step {
        let mut room = self.step_room();
        if self.trade(taker, &mut room, sink) == Step::More {
            self.work = Some(Work::Take(*taker));
            return Step::More;
        }
        if taker.banded {
            self.after_bands(taker);
        }
        let Outcome { state, reason, cancelled } = self.finish(taker);
        let reply = OrderReply {
            tag: OrderReply::TAG,
            schema: Schema::V1,
            code: Reject::to_wire(None),
            state,
            reason,
            reserved: [Zero::Zero; 2],
            instrument: u32::from(taker.instrument).into(),
            account: taker.account.into(),
            order_id: taker.order_id.into(),
            client_order_id: taker.client_order_id.into(),
            cumulative: taker.cumulative.into(),
            remaining: (taker.remaining - cancelled).into(),
            cancelled: (taker.cancelled + cancelled).into(),
            fills: taker.fills.into(),
            fee_currency: self.live_instrument(taker.instrument).quote.into(),
            notional: taker.notional.into(),
            fee: taker.fee.into(),
            seq: taker.event.context.seq.into(),
            time: taker.event.context.time.into(),
        };
        let answer = Answer { reply, second: taker.second, price: taker.price, prevented: taker.prevented };
        if taker.end == End::Band && self.pauses(taker.instrument) {
            return self.begin_pause(taker.event, taker.instrument, answer);
        }
        if taker.fills > 0 && self.live_instrument(taker.instrument).waiting > 0 {
            return self.begin_cascade(taker, answer);
        }
        self.answer(&answer, sink);
        Step::Done
    }

    /// Rests, cancels or ends what a taker is left with.
    pub(crate) fn finish(&mut self, taker: &Taker) -> Outcome {
        let outcome = |state, reason, cancelled| Outcome { state, reason, cancelled };
        let may_rest = taker.end == End::Open || (taker.end == End::Band && self.pauses(taker.instrument));
        if taker.remaining > 0 && taker.rests && may_rest {
            self.rest(taker);
            return outcome(OrderState::Live, Reason::None, 0);
        }
        if taker.listed {
            self.unlist(taker.slot);
        }
        self.orders.give_back(taker.slot);
        match (taker.remaining, taker.end) {
            (rest, End::SelfTrade) => outcome(OrderState::Cancelled, Reason::SelfTrade, rest),
            (0, _) => outcome(OrderState::Filled, Reason::None, 0),
            (rest, End::Budget) => outcome(OrderState::Cancelled, Reason::Budget, rest),
            (rest, End::Band) => outcome(OrderState::Cancelled, Reason::Band, rest),
            (rest, End::Open) => outcome(OrderState::Cancelled, Reason::Remainder, rest),
        }
    }

    /// Trades while there is room for outputs. `Done` when the taker has nothing left to trade or to trade with.
    #[inline]
    pub(crate) fn trade<S: Sink>(&mut self, taker: &mut Taker, room: &mut usize, sink: &mut S) -> Step {
        while *room >= MATCH_OUTPUTS {
            if taker.remaining == 0 || taker.end != End::Open {
                return Step::Done;
            }
            let opposite = self.live_instrument(taker.instrument).ladder(taker.side.opposite());
            let Some((best, level)) = self.levels.best(opposite) else { return Step::Done };
            if best < taker.limit_key {
                return Step::Done;
            }
            let slot = self.levels.get(level).head;
            if taker.mode != SelfTrade::Allow
                && self.is_same_owner(taker.account, taker.group, self.orders.get(slot).account)
            {
                self.meet(taker, slot, sink);
            } else {
                self.fill(taker, slot, sink);
            }
            *room -= MATCH_OUTPUTS;
            self.publish(room, sink);
        }
        Step::More
    }

    /// One trade of the taker with the order at `slot`.
    #[inline]
    pub(crate) fn fill<S: Sink>(&mut self, taker: &mut Taker, slot: u32, sink: &mut S) {
        let instrument = live_mut(&mut self.instruments, taker.instrument);
        let maker = *self.orders.get(slot);
        let price = maker.price;
        let mut lots = taker.remaining.min(maker.remaining);
        if taker.budgeted {
            let free = self.ledger.free(self.ledger.at(taker.account, instrument.quote)).min(taker.cash);
            let affordable = free / instrument.lot_cost(price);
            if affordable < lots {
                taker.end = End::Budget;
                lots = affordable;
            }
            if lots == 0 {
                return;
            }
        }
        instrument.last = price;

        let notional = price as u64 * lots * instrument.scale.get();
        let base = lots * instrument.base_per_lot;
        let [maker_fee, taker_fee] = if instrument.fee_class == 0 {
            [fee(notional, instrument.maker_ppm), fee(notional, instrument.taker_ppm)]
        } else {
            let tiers = [maker.account, taker.account].map(|id| self.accounts[id as usize].fee_tier);
            self.fees.of_fill(instrument, tiers, price, lots)
        };
        let ledger = &mut self.ledger;
        let (taker_base, taker_quote) =
            (ledger.at(taker.account, instrument.base), ledger.at(taker.account, instrument.quote));
        let (maker_base, maker_quote) =
            (ledger.at(maker.account, instrument.base), ledger.at(maker.account, instrument.quote));
        match taker.side {
            Side::Buy => {
                let cost = with_fee(notional, taker_fee);
                ledger.pay(taker_quote, cost);
                if taker.budgeted {
                    taker.cash -= cost;
                }
                ledger.pay_held(maker_base, base, base);
                ledger.receive(taker_base, base);
                ledger.receive(maker_quote, with_fee(notional, -maker_fee));
            }
            Side::Sell => {
                ledger.pay(taker_base, base);
                ledger.pay_held(
                    maker_quote,
                    lots * instrument.lot_cost(price),
                    with_fee(notional, maker_fee),
                );
                ledger.receive(maker_base, base);
                ledger.receive(taker_quote, with_fee(notional, -taker_fee));
            }
        }
        // Never negative: an instrument's own rates add up to zero or more, and rounding favours the exchange; schedules
        // see to it fill by fill.
        ledger.receive(ledger.at(0, instrument.quote), with_fee(0, taker_fee + maker_fee));
        let quote = instrument.quote;

        self.lots_close(maker.account, taker.instrument, maker.side, price, lots);
        self.count_trade(maker.account, taker.instrument, maker.side, lots);
        self.count_trade(taker.account, taker.instrument, taker.side, lots);
        taker.remaining -= lots;
        taker.cumulative += lots;
        taker.notional += notional;
        taker.fee += taker_fee;
        let maker_id = self.orders.id(slot);
        let hidden = self.orders.hidden(slot);
        let maker_order = self.orders.get_mut(slot);
        maker_order.remaining -= lots;
        maker_order.cumulative += lots;
        let (shown, cumulative) = (maker_order.remaining, maker_order.cumulative);
        let remaining = shown + hidden;
        self.levels.get_mut(maker.level).quantity -= lots;
        self.note_order(slot, left_in_place(shown), taker.event.trades + 1);

        let state = |remaining| if remaining == 0 { OrderState::Filled } else { OrderState::Live };
        let event = &mut taker.event;
        let context = &event.context;
        let report = FillReport {
            tag: FillReport::TAG,
            schema: Schema::V1,
            reason: Reason::Fill,
            side: maker.side,
            aggressor: Flag::No,
            state: state(remaining),
            reserved: [Zero::Zero; 2],
            account: maker.account.into(),
            instrument: u32::from(taker.instrument).into(),
            order_id: maker_id.into(),
            client_order_id: maker.client_order_id.into(),
            cumulative: cumulative.into(),
            remaining: remaining.into(),
            price: price.into(),
            quantity: lots.into(),
            seq: context.seq.into(),
            time: context.time.into(),
            index: event.trades.into(),
            fee_currency: quote.into(),
            fee: maker_fee.into(),
        };
        self.tell_account(maker.account, &report, sink);
        let report = FillReport {
            side: taker.side,
            aggressor: Flag::Yes,
            state: state(taker.remaining),
            account: taker.account.into(),
            order_id: taker.order_id.into(),
            client_order_id: taker.client_order_id.into(),
            cumulative: taker.cumulative.into(),
            remaining: taker.remaining.into(),
            fee: taker_fee.into(),
            ..report
        };
        self.tell_account(taker.account, &report, sink);
        let trade = TradeReport {
            tag: TradeReport::TAG,
            schema: Schema::V1,
            side: taker.side,
            reserved: Zero::Zero,
            instrument: u32::from(taker.instrument).into(),
            price: price.into(),
            quantity: lots.into(),
            seq: context.seq.into(),
            time: context.time.into(),
            index: event.trades.into(),
            reserved2: [Zero::Zero; 4],
        };
        sink.output(Audience::Instrument(taker.instrument.into()), trade.as_bytes());

        event.trades += 1;
        event.low = event.low.min(price);
        event.high = event.high.max(price);
        taker.fills += 1;
        self.trades += 1;
        if shown == 0 {
            self.shown_up(slot, hidden);
        }
    }

    /// A maker shows nothing any more: it shows its next part, or is done.
    pub(crate) fn shown_up(&mut self, slot: u32, hidden: u64) {
        if hidden > 0 {
            return self.show_next(slot);
        }
        self.leave_level(slot);
        self.unlist(slot);
        self.orders.give_back(slot);
    }

    /// Shows the next part of an iceberg, behind the others at its price.
    fn show_next(&mut self, slot: u32) {
        self.leave_level(slot);
        let extra = &mut self.orders.extras[slot as usize];
        let shown = extra.display.min(extra.hidden);
        extra.hidden -= shown;
        self.orders.get_mut(slot).remaining = shown;
        self.enter_level(slot);
    }

    /// Puts a taker's rest into the book, and, unless it is an amended order, on the account's list.
    pub(crate) fn rest(&mut self, taker: &Taker) {
        let instrument = live(&self.instruments, taker.instrument);
        let (currency, hold) = instrument.hold(taker.side, taker.price, taker.remaining);
        self.ledger.hold(self.ledger.at(taker.account, currency), hold);
        self.lots_open(taker.account, taker.instrument, taker.side, taker.price, taker.remaining);
        let mut shown = taker.remaining;
        if taker.traits.has_extra() {
            let extra = &mut self.orders.extras[taker.slot as usize];
            if extra.display > 0 {
                shown = shown.min(extra.display);
            }
            extra.hidden = taker.remaining - shown;
        }
        self.place(taker, shown);
        self.enter_level(taker.slot);
        if !taker.listed {
            self.list_new(taker.slot, taker.event.context.session);
        }
    }

    /// Writes a taker into its slot, as an order that has `remaining` lots to trade with.
    pub(crate) fn place(&mut self, taker: &Taker, remaining: u64) {
        let order = self.orders.get_mut(taker.slot);
        *order = Order {
            client_order_id: taker.client_order_id,
            price: taker.price,
            remaining,
            cumulative: taker.cumulative,
            account: taker.account,
            instrument: taker.instrument,
            side: taker.side,
            traits: taker.traits,
            ..*order
        };
    }

    /// Puts an order behind the others at its price.
    #[inline]
    pub(crate) fn enter_level(&mut self, slot: u32) {
        let order = self.orders.get(slot);
        let (side, price, instrument) = (order.side, order.price, order.instrument);
        let mut hidden = 0;
        if let Some(extra) = self.orders.extra(slot) {
            if extra.is_market() {
                return self.enter_market(slot);
            }
            hidden = extra.hidden;
        }
        let ladder = live_mut(&mut self.instruments, instrument).ladder_mut(side);
        self.levels.append(ladder, key(side, price), &mut self.orders, slot);
        if hidden > 0 {
            let level = self.orders.get(slot).level;
            self.levels.get_mut(level).hidden += hidden;
        }
        self.note_order(slot, FeedAction::Add, 0);
    }

    pub(crate) fn leave_level(&mut self, slot: u32) {
        let order = self.orders.get(slot);
        let (side, price, instrument) = (order.side, order.price, order.instrument);
        // What went lot by lot was noted lot by lot.
        let leaves = order.remaining > 0;
        if let Some(extra) = self.orders.extra(slot) {
            if extra.is_market() {
                return self.leave_market(slot);
            }
            self.levels.get_mut(order.level).hidden -= extra.hidden;
        }
        if leaves {
            self.note_order(slot, FeedAction::Remove, 0);
        }
        let ladder = live_mut(&mut self.instruments, instrument).ladder_mut(side);
        self.levels.remove(ladder, key(side, price), &mut self.orders, slot);
    }
}

/// A notional and a fee, which is never more than the notional either way.
#[inline]
pub(crate) fn with_fee(notional: u64, fee: i64) -> u64 {
    notional.checked_add_signed(fee).expect("a fee is no more than the notional")
}
