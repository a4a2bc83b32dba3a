//! The audit.

use crate::Engine;
use crate::auction::Indication;
use crate::day::Ends;
use crate::instrument::{Instrument, live};
use crate::levels::key;
use crate::orders::NONE;
use crate::waiting::Direction;
use ordain_exchange_protocol::{MarketState, OrderRef, Side};

/// Orders that end with the day, and how many of them wait for their auction.
struct Days {
    orders: usize,
    parked: usize,
}

impl Engine {
    /// Recounts everything that is kept twice: supplies, holds, levels, lists, the index, the free slots.
    ///
    /// Takes time in proportion to the whole state: for tests, and after restoring.
    ///
    /// # Errors
    /// What does not add up.
    ///
    /// # Panics
    /// If an event is not finished.
    pub fn audit(&self) -> Result<(), &'static str> {
        assert!(self.work.is_none(), "an audit is between events");
        let ensure = |holds: bool, what| if holds { Ok(()) } else { Err(what) };
        ensure(self.ledger.is_conserved(), "balances do not add up to the supply")?;

        ensure(self.accesses.adds_up(&self.accounts), "a count of who is restricted is wrong")?;
        self.audit_risk()?;
        self.audit_sessions()?;
        let (mut in_books, mut waiting, mut parked, mut with_day) = (0, 0, 0, 0);
        for (at, instrument) in self.instruments.iter().enumerate() {
            let Some(instrument) = instrument else { continue };
            for side in [Side::Buy, Side::Sell] {
                in_books += self.audit_side(at + 1, instrument, side)?;
            }
            let best = |side| self.levels.best_key(instrument.ladder(side));
            if let (Some(bid), Some(ask), false) =
                (best(Side::Buy), best(Side::Sell), self.calls[at].under_way)
            {
                ensure(bid < -ask, "a book is crossed")?;
            }
            in_books += self.audit_call(at as u16 + 1)?;
            let days = self.audit_days(at as u16 + 1)?;
            parked += days.parked;
            with_day += days.orders;
            let waits = self.audit_queue(at, Direction::Up)? + self.audit_queue(at, Direction::Down)?;
            ensure(instrument.waiting as usize == waits, "a count of waiting orders is wrong")?;
            waiting += waits;
        }
        ensure(
            in_books + waiting + parked == self.orders.live as usize,
            "not every live order is in its book",
        )?;

        ensure(self.changed.is_empty(), "a change was not told")?;

        let (mut listed, mut ending, mut days) = (0, 0, 0);
        let mut held = vec![0_u128; self.limits.currencies as usize];
        for (id, account) in self.accounts.iter().enumerate() {
            let id = id as u32;
            held.fill(0);
            let (mut slot, mut previous, mut orders) = (account.head, NONE, 0);
            while slot != NONE {
                let order = self.orders.get(slot);
                let found = self.find_order(id, OrderRef::Client(order.client_order_id));
                ensure(found == Ok(slot), "a listed order is not in the index")?;
                ensure(order.account_previous == previous, "an account's list is broken")?;
                if self.orders.extra(slot).is_some_and(|extra| extra.expiry != 0) {
                    let place = self.orders.extras[slot as usize].place as usize;
                    ensure(place > 0 && self.expiries.at(place - 1) == Some(slot), "an expiry is lost")?;
                    ending += 1;
                }
                days += usize::from(self.orders.extra(slot).is_some_and(|extra| extra.day != 0));
                let (currency, hold) = self.hold_of(slot);
                held[currency as usize - 1] += u128::from(hold);
                (previous, slot) = (slot, order.account_next);
                orders += 1;
            }
            ensure(account.tail == previous && account.orders == orders, "an account's list is broken")?;
            listed += orders;
            for (at, held) in held.iter().enumerate() {
                let balance = self.ledger.get(self.ledger.at(id, at as u32 + 1));
                ensure(u128::from(balance.held) == *held, "an account's holds are not those of its orders")?;
            }
        }
        ensure(listed == self.orders.live, "not every live order is on its account's list")?;
        ensure(ending == self.expiries.len(), "an expiry is nobody's")?;
        ensure(days == with_day, "an order that ends with the day is in no list")?;
        let ends = |place: usize| {
            let slot = self.expiries.at(place)?;
            let extra = &self.orders.extras[slot as usize];
            Some((extra.expiry, extra.accepted))
        };
        let ordered = (1..self.expiries.len()).all(|place| ends((place - 1) / 2) <= ends(place));
        ensure(ordered, "expiries are out of order")?;

        let (mut slot, mut free) = (self.orders.free, 0);
        while slot != NONE && free < self.orders.slots.len() {
            let order = self.orders.slots.get(slot as usize).ok_or("a free slot does not exist")?;
            ensure(order.account == 0, "a live order is among the free slots")?;
            slot = order.next;
            free += 1;
        }
        ensure(self.orders.slots.len() == free + self.orders.live as usize, "a slot is neither free nor live")
    }

    /// Orders on one side of a book.
    fn audit_side(&self, id: usize, instrument: &Instrument, side: Side) -> Result<usize, &'static str> {
        let ensure = |holds: bool, what| if holds { Ok(()) } else { Err(what) };
        let ladder = instrument.ladder(side);
        let mut total = 0;
        self.levels.audit(ladder)?;
        for (level_key, handle) in self.levels.all(ladder) {
            let level = self.levels.get(handle);
            let (mut slot, mut previous, mut orders) = (level.head, NONE, 0);
            let (mut quantity, mut hidden) = (0_u64, 0_u64);
            while slot != NONE {
                let order = self.orders.get(slot);
                let belongs = usize::from(order.instrument) == id
                    && order.side == side
                    && key(side, order.price) == level_key
                    && order.level == handle
                    && order.previous == previous
                    && order.account != 0
                    && order.remaining > 0
                    && !order.traits.waits();
                ensure(belongs, "an order is in the wrong queue")?;
                if let Some(extra) = self.orders.extra(slot) {
                    let shows = extra.hidden == 0 || (1..=extra.display).contains(&order.remaining);
                    ensure(shows && extra.trigger == 0 && !extra.is_market(), "an order shows too much")?;
                }
                orders += 1;
                quantity += order.remaining;
                hidden += self.orders.hidden(slot);
                (previous, slot) = (slot, order.next);
            }
            let adds_up =
                orders > 0 && level.orders == orders && level.quantity == quantity && level.tail == previous;
            ensure(adds_up && level.hidden == hidden, "a level's totals are not those of its orders")?;
            total += orders as usize;
        }
        Ok(total)
    }

    /// Market orders that take part in an instrument's auction, and the auction itself.
    fn audit_call(&self, id: u16) -> Result<usize, &'static str> {
        let ensure = |holds: bool, what| if holds { Ok(()) } else { Err(what) };
        let (instrument, call) = (live(&self.instruments, id), self.call(id));
        let state = instrument.state;
        ensure(call.under_way || !state.gathers(), "orders gather for no auction")?;
        let trades = matches!(state, MarketState::Continuous | MarketState::PostOnly);
        ensure(!(call.under_way && trades), "an auction is under way beside trading")?;
        ensure(!(call.low > 0 && state == MarketState::Continuous), "a price set nothing off")?;
        let said = if state.is_auction() { self.indication(id) } else { Indication::NONE };
        ensure(call.said == said, "an indication is old")?;
        let mut total = 0;
        for side in [Side::Buy, Side::Sell] {
            let level = &call.market[side as usize - 1];
            let (mut slot, mut previous, mut orders, mut quantity) = (level.head, NONE, 0, 0_u64);
            while orders < level.orders {
                let order = self.orders.get(slot);
                let belongs = (order.instrument, order.side) == (id, side)
                    && order.level == NONE
                    && order.previous == previous
                    && order.account != 0
                    && order.remaining > 0
                    && order.traits.has_extra()
                    && !order.traits.waits()
                    && self.orders.extras[slot as usize].is_market()
                    && order.price == instrument.protection(side, call.reference);
                ensure(belongs && call.under_way, "a market order is in the wrong queue")?;
                orders += 1;
                quantity += order.remaining;
                (previous, slot) = (slot, order.next);
            }
            let adds_up = level.quantity == quantity && level.hidden == 0;
            ensure(adds_up, "totals of market orders are not those of the orders")?;
            total += orders as usize;
        }
        Ok(total)
    }

    /// Orders of an instrument that end with the day.
    fn audit_days(&self, id: u16) -> Result<Days, &'static str> {
        let ensure = |holds: bool, what| if holds { Ok(()) } else { Err(what) };
        let call = self.call(id);
        let (mut orders, mut parked) = (0, 0);
        for (ends, [first, last]) in [Ends::WithDay, Ends::WithAuction].into_iter().zip(call.days) {
            let (mut slot, mut previous, mut accepted) = (first, NONE, 0);
            while slot != NONE {
                let (order, extra) = (self.orders.get(slot), &self.orders.extras[slot as usize]);
                let belongs = order.instrument == id
                    && order.account != 0
                    && order.traits.has_extra()
                    && self.ends(slot) == ends
                    && extra.day_previous == previous
                    && extra.accepted > accepted;
                ensure(belongs, "an order ends in the wrong place")?;
                if self.is_parked(slot) {
                    parked += 1;
                    let reference = match call.under_way {
                        true => call.reference,
                        false => call.day_reference.max(live(&self.instruments, id).last),
                    };
                    let held_to = !extra.is_market() || reference > 0;
                    ensure(ends == Ends::WithAuction && held_to, "an order waits for no auction")?;
                }
                orders += 1;
                accepted = extra.accepted;
                (previous, slot) = (slot, extra.day_next);
            }
            ensure(last == previous, "a list of orders that end with the day is broken")?;
        }
        Ok(Days { orders, parked })
    }

    /// Orders of an instrument that wait for a trade in one direction.
    fn audit_queue(&self, at: usize, direction: Direction) -> Result<usize, &'static str> {
        let ensure = |holds: bool, what| if holds { Ok(()) } else { Err(what) };
        let queue = &self.queues[at][direction as usize];
        let last = self.instruments[at].as_ref().map_or(0, |instrument| instrument.last);
        let mut total = 0;
        self.triggers.audit(queue)?;
        for (trigger_key, handle) in self.triggers.all(queue) {
            let level = self.triggers.get(handle);
            let (mut slot, mut previous, mut orders, mut quantity) = (level.head, NONE, 0, 0_u64);
            while slot != NONE {
                let order = self.orders.get(slot);
                let extra = &self.orders.extras[slot as usize];
                let belongs = usize::from(order.instrument) == at + 1
                    && order.traits.waits()
                    && self.direction(slot) == direction
                    && direction.key(extra.trigger) == trigger_key
                    && order.level == handle
                    && order.previous == previous
                    && order.account != 0
                    && order.remaining > 0
                    && (extra.hidden, extra.display) == (0, 0);
                ensure(belongs, "an order waits in the wrong queue")?;
                let call = &self.calls[at];
                // What an auction's price sets off waits until the instrument is continuous.
                let later = call.low > 0
                    && match direction {
                        Direction::Up => extra.trigger <= call.high,
                        Direction::Down => extra.trigger >= call.low,
                    };
                let due = last != 0 && direction.is_met(extra.trigger, last);
                ensure(!due || later, "an order waits in vain")?;
                orders += 1;
                quantity += order.remaining;
                (previous, slot) = (slot, order.next);
            }
            let adds_up =
                orders > 0 && level.orders == orders && level.quantity == quantity && level.tail == previous;
            ensure(adds_up, "a trigger's totals are not those of its orders")?;
            total += orders as usize;
        }
        Ok(total)
    }
}
