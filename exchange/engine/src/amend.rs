//! Amends: smaller in place, or out of the book and in again.

use crate::instrument::live;
use crate::levels::key;
use crate::matching::{Event, Taker};
use crate::orders::{Extra, Order};
use crate::reply::{Answer, refused};
use crate::risk::Exposure;
use crate::{Context, Engine, Sink, Step};
use ordain_exchange_protocol::{
    Amend, Amend2, FeedAction, MarketState, OrderRef, OrderReply, OrderState, PostOnly, Reason, Reject,
};

/// What either layout asks for.
#[derive(Clone, Copy)]
struct Change {
    account: u32,
    order: OrderRef,
    /// As the command names the order.
    names: (u64, u64),
    price: i64,
    quantity: u64,
    /// 0 to leave it.
    trigger: i64,
    /// 0 to leave it.
    display: u64,
    second: bool,
}

impl Engine {
    pub(crate) fn amend<S: Sink>(&mut self, context: &Context, message: &Amend, sink: &mut S) -> Step {
        let change = Change {
            account: message.account.get(),
            order: message.order(),
            names: (message.order_id.get(), message.client_order_id.get()),
            price: message.price.get(),
            quantity: message.quantity.get(),
            trigger: 0,
            display: 0,
            second: false,
        };
        self.change(context, change, sink)
    }

    pub(crate) fn amend_second<S: Sink>(
        &mut self,
        context: &Context,
        message: &Amend2,
        sink: &mut S,
    ) -> Step {
        let change = Change {
            account: message.account.get(),
            order: message.order(),
            names: (message.order_id.get(), message.client_order_id.get()),
            price: message.price.get(),
            quantity: message.quantity.get(),
            trigger: message.trigger.get(),
            display: message.display.get(),
            second: true,
        };
        self.change(context, change, sink)
    }

    #[inline(always)]
    fn change<S: Sink>(&mut self, context: &Context, mut change: Change, sink: &mut S) -> Step {
        let checked = self.touch(context, change.account, change.order).and_then(|slot| {
            if change.quantity > self.orders.get(slot).cumulative {
                change.price = self.check_change(context, slot, &change)?;
                if self.is_watched(change.account) {
                    self.take_tokens(change.account, context.time);
                }
            }
            Ok(slot)
        });
        let slot = match checked {
            Ok(slot) => slot,
            Err(code) => {
                let reply = OrderReply {
                    account: change.account.into(),
                    order_id: change.names.0.into(),
                    client_order_id: change.names.1.into(),
                    ..refused(context, code)
                };
                self.answer(&Answer { reply, second: change.second, price: 0, prevented: 0 }, sink);
                return Step::Done;
            }
        };
        let order = *self.orders.get(slot);
        if change.quantity <= order.cumulative {
            self.reply_closed(context, slot, Reason::AmendedBelowFilled, change.second, sink);
            return Step::Done;
        }
        if order.traits.has_extra() {
            return self.change_extra(context, slot, &change, sink);
        }
        let remaining = change.quantity - order.cumulative;
        self.release(slot);
        if change.price == order.price && remaining <= order.remaining {
            self.shrink(slot, remaining, 0);
            self.tell_change(context, sink);
            self.reply_kept(context, slot, OrderState::Live, change.second, sink);
            return Step::Done;
        }
        self.leave_level(slot);
        self.retake(context, slot, &order, remaining, &change, sink)
    }

    /// An iceberg, an order with an expiry, or one that waits.
    #[cold]
    fn change_extra<S: Sink>(&mut self, context: &Context, slot: u32, change: &Change, sink: &mut S) -> Step {
        let order = *self.orders.get(slot);
        let (left, remaining) = (self.orders.left(slot), change.quantity - order.cumulative);
        self.release(slot);
        if order.traits.waits() {
            let extra = self.orders.extras[slot as usize];
            let moves = (change.trigger != 0 && change.trigger != extra.trigger) || remaining > left;
            if moves {
                self.leave_queue(slot);
            } else if !self.is_parked(slot) {
                self.triggers.get_mut(order.level).quantity -= left - remaining;
            }
            if change.trigger != 0 {
                self.orders.extras[slot as usize].trigger = change.trigger;
            }
            let waiting = self.orders.get_mut(slot);
            (waiting.price, waiting.remaining) = (change.price, remaining);
            if moves {
                self.enter_queue(slot);
            }
            let (currency, hold) = self.hold_of(slot);
            self.ledger.hold(self.ledger.at(order.account, currency), hold);
            self.lots_open(order.account, order.instrument, order.side, change.price, remaining);
            self.reply_kept(context, slot, OrderState::Waiting, change.second, sink);
            return Step::Done;
        }
        let extra = &mut self.orders.extras[slot as usize];
        let same_display = change.display == 0 || change.display == extra.display;
        if change.price == order.price && remaining <= left && same_display {
            let shown = order.remaining.min(remaining);
            self.shrink(slot, shown, remaining - shown);
            self.tell_change(context, sink);
            self.reply_kept(context, slot, OrderState::Live, change.second, sink);
            return Step::Done;
        }
        self.leave_level(slot);
        let extra = &mut self.orders.extras[slot as usize];
        extra.hidden = 0;
        if change.display != 0 {
            extra.display = change.display;
        }
        self.retake(context, slot, &order, remaining, change, sink)
    }

    /// Lets an order trade anew that is out of its level and holds nothing.
    fn retake<S: Sink>(
        &mut self,
        context: &Context,
        slot: u32,
        order: &Order,
        remaining: u64,
        change: &Change,
        sink: &mut S,
    ) -> Step {
        let mut taker = Taker {
            event: Event::new(context),
            second: change.second,
            price: change.price,
            limit_key: key(order.side.opposite(), change.price),
            remaining,
            ..self.taker_of(order, self.orders.id(slot), slot)
        };
        if self.live_instrument(order.instrument).state.gathers() {
            return self.gather(&taker, sink);
        }
        if taker.banded {
            self.bind(&mut taker);
        }
        self.take(&mut taker, sink)
    }

    /// The reply about an order that stays where it is.
    fn reply_kept<S: Sink>(
        &mut self,
        context: &Context,
        slot: u32,
        state: OrderState,
        second: bool,
        sink: &mut S,
    ) {
        let order = self.orders.get(slot);
        let reply = OrderReply {
            state,
            remaining: self.orders.left(slot).into(),
            ..self.reply(context, order, self.orders.id(slot))
        };
        let answer = Answer { reply, second, price: order.price, prevented: 0 };
        self.answer(&answer, sink);
    }

    /// Whether the order may become what is asked for; gives the price that it then has.
    #[inline(always)]
    fn check_change(&self, context: &Context, slot: u32, change: &Change) -> Result<i64, Reject> {
        let order = self.orders.get(slot);
        let instrument = self.live_instrument(order.instrument);
        if order.traits.has_extra() || change.second {
            self.check_change_extra(slot, change)?;
        }
        let waits = order.traits.waits();
        if self.accesses.any() {
            let lessens = self.lessens(slot, change);
            self.check_access(&self.accounts[order.account as usize], lessens)?;
        }
        let gathers = instrument.state.gathers();
        if instrument.state != MarketState::Continuous {
            self.may_change(slot, change)?;
        }
        instrument.check_quantity(change.quantity)?;
        let mut price = change.price;
        if change.second && change.display != 0 {
            let bounds = instrument.min_quantity..=change.quantity;
            if !bounds.contains(&change.display) {
                return Err(Reject::DisplayInvalid);
            }
        }
        if waits || self.is_at_market(slot) {
            price = self.check_waiting_price(slot, change)?;
        } else {
            instrument.check_price(price)?;
            if order.traits.post_only() == PostOnly::Reprice && !gathers {
                price = self.next_to_best(instrument, order.side, price)?;
            }
        }
        instrument.check_notional(price, change.quantity)?;
        if waits {
            if change.trigger != 0 {
                let gap = self.triggers.get(order.level).orders == 1;
                self.check_wait(order.instrument.into(), self.direction(slot), change.trigger, gap)?;
            }
        } else if !self.is_at_market(slot) {
            if instrument.state == MarketState::PostOnly && self.crosses(instrument, order.side, price) {
                return Err(Reject::MarketPostOnly);
            }
            let stays_passive = order.traits.post_only() == PostOnly::Reject && !gathers;
            if stays_passive && self.crosses(instrument, order.side, price) {
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
        }
        if self.is_watched(order.account) {
            self.check_changed_risk(context, slot, change, price)?;
        }
        let (currency, held) = instrument.hold(order.side, order.price, self.orders.left(slot));
        let (_, hold) = instrument.hold(order.side, price, change.quantity - order.cumulative);
        if hold > held + self.ledger.free(self.ledger.at(order.account, currency)) {
            return Err(Reject::InsufficientFunds);
        }
        Ok(price)
    }

    /// Whether what the order becomes keeps within limits.
    #[cold]
    fn check_changed_risk(
        &self,
        context: &Context,
        slot: u32,
        change: &Change,
        price: i64,
    ) -> Result<(), Reject> {
        let order = self.orders.get(slot);
        let instrument = self.live_instrument(order.instrument);
        let (left, open) = (self.orders.left(slot), change.quantity - order.cumulative);
        let trigger = match self.orders.extra(slot) {
            Some(extra) if order.traits.waits() && change.trigger == 0 => extra.trigger,
            _ => change.trigger,
        };
        let changed = Exposure {
            account: order.account,
            instrument: order.instrument,
            side: order.side,
            price,
            trigger,
            quantity: change.quantity,
            notional: instrument.notional(price, change.quantity),
            open,
            open_notional: instrument.notional(price, open),
            open_before: left,
            notional_before: instrument.notional(order.price, left),
            is_by_cash: false,
            is_new: false,
            lessens: self.lessens(slot, change),
            time: context.time,
        };
        self.check_risk(&self.accounts[order.account as usize], instrument, &changed)
    }

    /// Whether the order may be changed so where not everything may be done.
    #[cold]
    fn may_change(&self, slot: u32, change: &Change) -> Result<(), Reject> {
        let order = self.orders.get(slot);
        match self.live_instrument(order.instrument).state {
            MarketState::Halted | MarketState::None => Err(Reject::MarketHalted),
            MarketState::CancelOnly if !self.lessens(slot, change) => Err(Reject::MarketCancelOnly),
            MarketState::CancelOnly => Ok(()),
            MarketState::Closed => Err(Reject::MarketClosed),
            _ => Ok(()),
        }
    }

    /// Whether it leaves the order as it is but for a total that is not above the old one.
    #[cold]
    fn lessens(&self, slot: u32, change: &Change) -> bool {
        let order = self.orders.get(slot);
        let names_a_price = self.orders.extra(slot).is_none_or(|extra| extra.order_type().has_price());
        let price = if names_a_price { order.price } else { 0 };
        change.quantity - order.cumulative <= self.orders.left(slot)
            && (change.price, change.trigger, change.display) == (price, 0, 0)
    }

    /// Whether an order in the book has no limit price of its own.
    #[inline]
    fn is_at_market(&self, slot: u32) -> bool {
        self.orders.extra(slot).is_some_and(Extra::is_market)
    }

    /// Whether what is to change is there.
    #[cold]
    fn check_change_extra(&self, slot: u32, change: &Change) -> Result<(), Reject> {
        let order = self.orders.get(slot);
        let extra = self.orders.extra(slot);
        if change.trigger != 0 && (!order.traits.waits() || self.is_parked(slot)) {
            return Err(Reject::TriggerConflict);
        }
        if change.display != 0 && extra.is_none_or(|extra| extra.display == 0) {
            return Err(Reject::DisplayConflict);
        }
        let names_a_price = extra.is_none_or(|extra| extra.order_type().has_price());
        if !names_a_price && change.price != 0 {
            return Err(Reject::MarketPriceSet);
        }
        Ok(())
    }

    #[cold]
    fn check_waiting_price(&self, slot: u32, change: &Change) -> Result<i64, Reject> {
        let order = self.orders.get(slot);
        let instrument = self.live_instrument(order.instrument);
        let extra = &self.orders.extras[slot as usize];
        let has_price = extra.order_type().has_price();
        if has_price {
            instrument.check_price(change.price)?;
        }
        if change.trigger != 0 {
            instrument.check_trigger(change.trigger)?;
        }
        let trigger = if change.trigger == 0 { extra.trigger } else { change.trigger };
        Ok(if has_price {
            change.price
        } else if extra.is_market() {
            order.price
        } else {
            instrument.protection(order.side, trigger)
        })
    }

    /// Makes an order whose hold was released smaller, where it stands.
    fn shrink(&mut self, slot: u32, shown: u64, hidden: u64) {
        let less_hidden = self.orders.hidden(slot) - hidden;
        let order = self.orders.get_mut(slot);
        let less = order.remaining - shown;
        order.remaining = shown;
        let order = *order;
        let level = self.level_mut(slot);
        level.quantity -= less;
        level.hidden -= less_hidden;
        if less > 0 {
            self.note_order(slot, FeedAction::Change, 0);
        }
        let (currency, hold) =
            live(&self.instruments, order.instrument).hold(order.side, order.price, shown + hidden);
        self.ledger.hold(self.ledger.at(order.account, currency), hold);
        let Order { account, instrument, side, price, traits, .. } = order;
        self.book_changed(instrument);
        self.lots_open(account, instrument, side, price, shown + hidden);
        if traits.has_extra() {
            self.orders.extras[slot as usize].hidden = hidden;
        }
    }
}
