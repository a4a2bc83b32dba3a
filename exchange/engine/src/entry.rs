//! New orders: what is checked before one may trade.

use crate::engine::permitted;
use crate::instrument::Instrument;
use crate::levels::key;
use crate::matching::Taker;
use crate::orders::NONE;
use crate::reply::refused;
use crate::{Context, Engine, Sink, Step};
use ordain_exchange_protocol::{
    Flag, IntoBytes, NewOrder, OrderReply, OrderType, Reject, Side, TimeInForce, permission,
};

impl Engine {
    pub(crate) fn new_order<S: Sink>(&mut self, context: &Context, message: &NewOrder, sink: &mut S) -> Step {
        match self.check_new(context, message) {
            Ok(mut taker) => {
                taker.slot = self.orders.take();
                taker.order_id = self.orders.id(taker.slot);
                self.accepted += 1;
                self.take(taker, sink)
            }
            Err(code) => {
                let refused = OrderReply {
                    instrument: message.instrument,
                    account: message.account,
                    client_order_id: message.client_order_id,
                    ..refused(context, code)
                };
                sink.reply(refused.as_bytes());
                Step::Done
            }
        }
    }

    #[inline]
    fn check_new(&self, context: &Context, message: &NewOrder) -> Result<Taker, Reject> {
        permitted(context, permission::TRADE)?;
        let account = self.granted(context, message.account.get())?;
        let instrument = self.instrument(message.instrument.get())?;
        let (side, quantity) = (message.side, message.quantity.get());
        let market = message.order_type == OrderType::Market;
        let rests = message.time_in_force == TimeInForce::Gtc;
        let post_only = message.post_only == Flag::Yes;
        if market && rests {
            return Err(Reject::MarketMustNotRest);
        }
        if post_only && (market || !rests) {
            return Err(Reject::PostOnlyConflict);
        }
        if market && message.price.get() != 0 {
            return Err(Reject::MarketPriceSet);
        }
        instrument.check_quantity(quantity)?;
        let price = if market {
            self.protection_price(instrument, side)?
        } else {
            instrument.check_price(message.price.get())?;
            message.price.get()
        };
        instrument.check_notional(price, quantity)?;
        if self.find_client_order(message.account.get(), message.client_order_id.get()).is_some() {
            return Err(Reject::DuplicateClientOrderId);
        }
        if self.orders.is_full() {
            return Err(Reject::OrdersFull);
        }
        if account.orders >= self.limits.orders_per_account {
            return Err(Reject::AccountOrdersFull);
        }
        if post_only && self.crosses(instrument, side, price) {
            return Err(Reject::PostOnlyWouldCross);
        }
        if rests {
            let ladder = instrument.ladder(side);
            if self.levels.is_full(ladder) && self.levels.find(ladder, key(side, price)).is_none() {
                return Err(Reject::LevelsFull);
            }
        }
        let limit_key = key(side.opposite(), price);
        let fill_or_kill = message.time_in_force == TimeInForce::Fok;
        let worst = if fill_or_kill {
            Some(self.cost_of_all(instrument, side, limit_key, quantity).ok_or(Reject::NotFillable)?)
        } else {
            None
        };
        let (currency, hold) = match (market, side) {
            (true, Side::Buy) => {
                // The check on liquidity saw a best ask.
                let first = self
                    .levels
                    .best_key(instrument.ladder(Side::Sell))
                    .map_or(0, |best| instrument.lot_cost(-best));
                (instrument.quote, worst.unwrap_or(first))
            }
            _ => instrument.hold(side, price, quantity),
        };
        if hold > self.ledger.free(self.ledger.at(message.account.get(), currency)) {
            return Err(Reject::InsufficientFunds);
        }
        Ok(Taker {
            context: *context,
            client_order_id: message.client_order_id.get(),
            order_id: 0,
            slot: NONE,
            account: message.account.get(),
            instrument: message.instrument.get() as u16,
            side,
            post_only,
            rests,
            budgeted: market && side == Side::Buy && !fill_or_kill,
            out_of_budget: false,
            listed: false,
            price,
            limit_key,
            remaining: quantity,
            cumulative: 0,
            fills: 0,
            notional: 0,
            fee: 0,
        })
    }

    /// The worst price that a market order may trade at.
    fn protection_price(&self, instrument: &Instrument, side: Side) -> Result<i64, Reject> {
        let best = self.levels.best_key(instrument.ladder(side.opposite())).ok_or(Reject::NoLiquidity)?;
        Ok(match side {
            // Sums of a price and the collar, both up to the highest price, could overflow.
            Side::Buy => -best + instrument.collar.min(instrument.max_price + best),
            Side::Sell => (best - instrument.collar).max(1),
        })
    }

    /// What `quantity` lots of the other side can cost at worst, best price first, if there are so many down
    /// to `limit_key`.
    fn cost_of_all(&self, instrument: &Instrument, side: Side, limit_key: i64, quantity: u64) -> Option<u64> {
        let (mut missing, mut cost) = (quantity, 0);
        let ladder = instrument.ladder(side.opposite());
        let mut rank = 0;
        while missing > 0 {
            let (best, handle) = self.levels.ranked(ladder, rank).filter(|(best, _)| *best >= limit_key)?;
            let lots = missing.min(self.levels.get(handle).quantity);
            cost += lots * instrument.lot_cost(best.abs());
            missing -= lots;
            rank += 1;
        }
        Some(cost)
    }
}
