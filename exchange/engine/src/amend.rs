//! Amends: smaller in place, or out of the book and in again.

use crate::instrument::live;
use crate::levels::key;
use crate::matching::Taker;
use crate::reply::refused;
use crate::{Context, Engine, Sink, Step};
use ordain_exchange_protocol::{Amend, IntoBytes, OrderReply, OrderState, Reason, Reject};

impl Engine {
    pub(crate) fn amend<S: Sink>(&mut self, context: &Context, message: &Amend, sink: &mut S) -> Step {
        let (price, quantity) = (message.price.get(), message.quantity.get());
        let checked = self.touch(context, message.account.get(), message.order()).and_then(|slot| {
            if quantity > self.orders.get(slot).cumulative {
                self.check_amend(slot, price, quantity)?;
            }
            Ok(slot)
        });
        let slot = match checked {
            Ok(slot) => slot,
            Err(code) => {
                let refused = OrderReply {
                    account: message.account,
                    order_id: message.order_id,
                    client_order_id: message.client_order_id,
                    ..refused(context, code)
                };
                sink.reply(refused.as_bytes());
                return Step::Done;
            }
        };
        let order = *self.orders.get(slot);
        if quantity <= order.cumulative {
            self.reply_closed(context, slot, Reason::AmendedBelowFilled, sink);
            return Step::Done;
        }
        let remaining = quantity - order.cumulative;
        self.release(slot);
        if price == order.price && remaining <= order.remaining {
            self.shrink(slot, remaining);
            let reply = OrderReply {
                state: OrderState::Live,
                remaining: remaining.into(),
                ..self.reply(context, &order, self.orders.id(slot))
            };
            sink.reply(reply.as_bytes());
            return Step::Done;
        }
        self.leave_level(slot);
        let taker = Taker {
            context: *context,
            client_order_id: order.client_order_id,
            order_id: self.orders.id(slot),
            slot,
            account: order.account,
            instrument: order.instrument,
            side: order.side,
            post_only: order.post_only,
            rests: true,
            budgeted: false,
            out_of_budget: false,
            listed: true,
            price,
            limit_key: key(order.side.opposite(), price),
            remaining,
            cumulative: order.cumulative,
            fills: 0,
            notional: 0,
            fee: 0,
        };
        self.take(taker, sink)
    }

    /// Whether the order may become one for `quantity` lots, filled ones included, at `price`.
    fn check_amend(&self, slot: u32, price: i64, quantity: u64) -> Result<(), Reject> {
        let order = self.orders.get(slot);
        let instrument = self.live_instrument(order.instrument);
        instrument.check_quantity(quantity)?;
        instrument.check_price(price)?;
        instrument.check_notional(price, quantity)?;
        if order.post_only && self.crosses(instrument, order.side, price) {
            return Err(Reject::PostOnlyWouldCross);
        }
        let ladder = instrument.ladder(order.side);
        let leaves_a_gap = self.levels.get(order.level).orders == 1;
        if self.levels.is_full(ladder)
            && !leaves_a_gap
            && self.levels.find(ladder, key(order.side, price)).is_none()
        {
            return Err(Reject::LevelsFull);
        }
        let (currency, held) = instrument.hold(order.side, order.price, order.remaining);
        let (_, hold) = instrument.hold(order.side, price, quantity - order.cumulative);
        if hold > held + self.ledger.free(self.ledger.at(order.account, currency)) {
            return Err(Reject::InsufficientFunds);
        }
        Ok(())
    }

    /// Makes an order whose hold was released smaller, where it stands.
    fn shrink(&mut self, slot: u32, remaining: u64) {
        let order = self.orders.get_mut(slot);
        let less = order.remaining - remaining;
        order.remaining = remaining;
        self.levels.get_mut(order.level).quantity -= less;
        let (currency, hold) =
            live(&self.instruments, order.instrument).hold(order.side, order.price, remaining);
        self.ledger.hold(self.ledger.at(order.account, currency), hold);
    }
}
