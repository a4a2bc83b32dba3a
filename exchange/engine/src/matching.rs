//! Matching: an order trades with the book by price, then time, and its rest goes into the book.

use crate::engine::Work;
use crate::instrument::{live, live_mut};
use crate::ledger::fee;
use crate::levels::key;
use crate::orders::Order;
use crate::{Context, Engine, Sink, Step};
use ordain_exchange_protocol::{
    Audience, FillReport, Flag, IntoBytes, OrderReply, OrderState, Reason, Reject, Schema, Side, TradeReport,
    Zero,
};

/// Trades in one step, three outputs each.
pub(crate) const STEP_TRADES: usize = 20;

/// An order that trades now.
#[derive(Clone, Copy)]
pub(crate) struct Taker {
    pub context: Context,
    pub client_order_id: u64,
    pub order_id: u64,
    pub slot: u32,
    pub account: u32,
    pub instrument: u16,
    pub side: Side,
    pub post_only: bool,
    /// Rests with what remains.
    pub rests: bool,
    /// Buys for what free funds allow.
    pub budgeted: bool,
    pub out_of_budget: bool,
    /// Is in the index and in the account's list, being amended.
    pub listed: bool,
    pub price: i64,
    /// Worst key on the other side that it takes.
    pub limit_key: i64,
    pub remaining: u64,
    pub cumulative: u64,
    pub fills: u32,
    pub notional: u64,
    pub fee: i64,
}

impl Engine {
    /// Lets an order trade; when it is done trading, finishes and answers it.
    pub(crate) fn take<S: Sink>(&mut self, mut taker: Taker, sink: &mut S) -> Step {
        if self.trade(&mut taker, sink) == Step::More {
            self.work = Some(Work::Take(taker));
            return Step::More;
        }
        let (state, reason, cancelled) = self.finish(&taker);
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
            cancelled: cancelled.into(),
            fills: taker.fills.into(),
            fee_currency: self.live_instrument(taker.instrument).quote.into(),
            notional: taker.notional.into(),
            fee: taker.fee.into(),
            seq: taker.context.seq.into(),
            time: taker.context.time.into(),
        };
        sink.reply(reply.as_bytes());
        Step::Done
    }

    /// Rests, cancels or ends what a taker is left with.
    fn finish(&mut self, taker: &Taker) -> (OrderState, Reason, u64) {
        if taker.remaining > 0 && taker.rests {
            self.rest(taker);
            return (OrderState::Live, Reason::None, 0);
        }
        if taker.listed {
            self.unlist(taker.slot);
        }
        self.orders.give_back(taker.slot);
        match taker.remaining {
            0 => (OrderState::Filled, Reason::None, 0),
            rest if taker.out_of_budget => (OrderState::Cancelled, Reason::Budget, rest),
            rest => (OrderState::Cancelled, Reason::Remainder, rest),
        }
    }

    /// Trades of one step. `Done` when the taker has nothing left to trade or to trade with.
    #[inline]
    fn trade<S: Sink>(&mut self, taker: &mut Taker, sink: &mut S) -> Step {
        for _ in 0..STEP_TRADES {
            if taker.remaining == 0 || taker.out_of_budget {
                return Step::Done;
            }
            let opposite = self.live_instrument(taker.instrument).ladder(taker.side.opposite());
            let Some((best, level)) = self.levels.ranked(opposite, 0) else { return Step::Done };
            if best < taker.limit_key {
                return Step::Done;
            }
            self.fill(taker, self.levels.get(level).head, sink);
        }
        Step::More
    }

    /// One trade of the taker with the order at `slot`.
    #[inline]
    pub(crate) fn fill<S: Sink>(&mut self, taker: &mut Taker, slot: u32, sink: &mut S) {
        let instrument = live(&self.instruments, taker.instrument);
        let maker = *self.orders.get(slot);
        let price = maker.price;
        let mut lots = taker.remaining.min(maker.remaining);
        if taker.budgeted {
            let free = self.ledger.free(self.ledger.at(taker.account, instrument.quote));
            let affordable = free / instrument.lot_cost(price);
            if affordable < lots {
                taker.out_of_budget = true;
                lots = affordable;
            }
            if lots == 0 {
                return;
            }
        }

        let notional = price as u64 * lots * instrument.scale.get();
        let base = lots * instrument.base_per_lot;
        let taker_fee = fee(notional, instrument.taker_ppm);
        let maker_fee = fee(notional, instrument.maker_ppm);
        let ledger = &mut self.ledger;
        let (taker_base, taker_quote) =
            (ledger.at(taker.account, instrument.base), ledger.at(taker.account, instrument.quote));
        let (maker_base, maker_quote) =
            (ledger.at(maker.account, instrument.base), ledger.at(maker.account, instrument.quote));
        match taker.side {
            Side::Buy => {
                ledger.pay(taker_quote, with_fee(notional, taker_fee));
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
        // Never negative: maker and taker rates add up to zero or more, and rounding favours the exchange.
        ledger.receive(ledger.at(0, instrument.quote), with_fee(0, taker_fee + maker_fee));
        let quote = instrument.quote;

        taker.remaining -= lots;
        taker.cumulative += lots;
        taker.notional += notional;
        taker.fee += taker_fee;
        let maker_id = self.orders.id(slot);
        let maker_order = self.orders.get_mut(slot);
        maker_order.remaining -= lots;
        maker_order.cumulative += lots;
        let (remaining, cumulative) = (maker_order.remaining, maker_order.cumulative);
        self.levels.get_mut(maker.level).quantity -= lots;

        let state = |remaining| if remaining == 0 { OrderState::Filled } else { OrderState::Live };
        let context = &taker.context;
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
            index: taker.fills.into(),
            fee_currency: quote.into(),
            fee: maker_fee.into(),
        };
        sink.output(Audience::Account(maker.account), report.as_bytes());
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
        sink.output(Audience::Account(taker.account), report.as_bytes());
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
            index: taker.fills.into(),
            reserved2: [Zero::Zero; 4],
        };
        sink.output(Audience::Instrument(taker.instrument.into()), trade.as_bytes());

        taker.fills += 1;
        self.trades += 1;
        if remaining == 0 {
            self.leave_level(slot);
            self.unlist(slot);
            self.orders.give_back(slot);
        }
    }

    /// Puts a taker's rest into the book, and, unless it is an amended order, on the account's list.
    pub(crate) fn rest(&mut self, taker: &Taker) {
        let instrument = live_mut(&mut self.instruments, taker.instrument);
        let (currency, hold) = instrument.hold(taker.side, taker.price, taker.remaining);
        self.ledger.hold(self.ledger.at(taker.account, currency), hold);

        let order = self.orders.get_mut(taker.slot);
        *order = Order {
            client_order_id: taker.client_order_id,
            price: taker.price,
            remaining: taker.remaining,
            cumulative: taker.cumulative,
            account: taker.account,
            instrument: taker.instrument,
            side: taker.side,
            post_only: taker.post_only,
            ..*order
        };
        let ladder = instrument.ladder_mut(taker.side);
        self.levels.append(ladder, key(taker.side, taker.price), &mut self.orders, taker.slot);
        if !taker.listed {
            self.list(taker.slot);
        }
    }

    pub(crate) fn leave_level(&mut self, slot: u32) {
        let order = self.orders.get(slot);
        let (side, price, instrument) = (order.side, order.price, order.instrument);
        let ladder = live_mut(&mut self.instruments, instrument).ladder_mut(side);
        self.levels.remove(ladder, key(side, price), &mut self.orders, slot);
    }
}

/// A notional and a fee, which is never more than the notional either way.
#[inline]
fn with_fee(notional: u64, fee: i64) -> u64 {
    notional.checked_add_signed(fee).expect("a fee is no more than the notional")
}
