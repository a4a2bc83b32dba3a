//! Commands on orders, check by check.

use crate::command::{Command, Fills, Outcome};
use crate::instrument::at_or_better;
use crate::limits::Wish;
use crate::order::Direction;
use crate::report::{Layout, order_reply};
use crate::trade::Budget;
use crate::{Instrument, Model, Order, ensure};
use ordain_exchange_protocol::{
    Amend2, BandAction, Cancel, MassCancel, NewOrder2, OrderRef, OrderState, OrderType, PostOnly, Reason,
    Reject, Side, TimeInForce,
};

/// What the price of an order is settled from.
struct Terms {
    side: Side,
    order_type: OrderType,
    tif: TimeInForce,
    post_only: PostOnly,
    price: i128,
    trigger: i128,
}

impl Model {
    pub(crate) fn enter(&mut self, command: &mut Command, request: &NewOrder2, layout: Layout) -> Vec<u8> {
        let context = command.context;
        let named = (request.instrument.get(), request.account.get(), 0, request.client_order_id.get());
        let result = self.new_order(command, request);
        if let Ok(outcome) = &result {
            self.follow_up(command, outcome.order.instrument);
        }
        order_reply(&context, layout, named, &result)
    }

    pub(crate) fn change_order(
        &mut self,
        command: &mut Command,
        request: &Amend2,
        layout: Layout,
    ) -> Vec<u8> {
        let context = command.context;
        let named = (0, request.account.get(), request.order_id.get(), request.client_order_id.get());
        let result = self.amend(command, request);
        if let Ok(outcome) = &result {
            self.follow_up(command, outcome.order.instrument);
        }
        order_reply(&context, layout, named, &result)
    }

    /// What the trading of an order leads to.
    fn follow_up(&mut self, command: &mut Command, instrument: u32) {
        if command.stopped {
            self.call_auction(command, instrument);
        } else {
            self.cascade(command, instrument);
        }
    }

    /// Check 4: what goes with what.
    fn check_shape(request: &NewOrder2) -> Result<(), Reject> {
        use OrderType::{Limit, Market, MarketIfTouched, MarketToLimit, Stop};
        let (kind, tif) = (request.order_type, request.time_in_force);
        let immediate = matches!(tif, TimeInForce::Ioc | TimeInForce::Fok);
        let resting_limit =
            kind == Limit && matches!(tif, TimeInForce::Gtc | TimeInForce::Gtd | TimeInForce::Day);
        let brief = immediate || matches!(tif, TimeInForce::Ato | TimeInForce::Atc);
        ensure(kind != Market || brief, Reject::MarketMustNotRest)?;
        ensure(matches!(kind, Limit | Market) || !brief, Reject::TimeInForceConflict)?;
        ensure(request.post_only == PostOnly::No || resting_limit, Reject::PostOnlyConflict)?;
        ensure(
            !matches!(kind, Market | MarketToLimit | Stop | MarketIfTouched) || request.price.get() == 0,
            Reject::MarketPriceSet,
        )?;
        ensure(kind.waits() || request.trigger.get() == 0, Reject::TriggerConflict)?;
        ensure(request.display.get() == 0 || resting_limit, Reject::DisplayConflict)?;
        ensure((tif == TimeInForce::Gtd) == (request.expiry.get() != 0), Reject::ExpiryConflict)?;
        ensure(
            request.cash.get() == 0
                || (kind == Market
                    && tif == TimeInForce::Ioc
                    && request.side == Side::Buy
                    && request.quantity.get() == 0),
            Reject::CashConflict,
        )
    }

    /// Check 6: the price that the order has from here on.
    fn settle(&self, instrument: &Instrument, terms: &Terms) -> Result<i128, Reject> {
        let best_opposite = self.best_price(instrument.id, terms.side.opposite());
        if terms.order_type.has_price() {
            instrument.check_price(terms.price)?;
        }
        if terms.order_type.waits() {
            ensure((1..=instrument.max_price).contains(&terms.trigger), Reject::TriggerOutOfRange)?;
        }
        let collared = |from: i128| instrument.collared(terms.side, from);
        match terms.order_type {
            OrderType::Market if terms.tif.is_for_auction() => {
                self.entry_reference(instrument.id).map(collared).ok_or(Reject::NoReference)
            }
            OrderType::Market => best_opposite.map(collared).ok_or(Reject::NoLiquidity),
            OrderType::MarketToLimit => best_opposite.ok_or(Reject::NoLiquidity),
            OrderType::Stop | OrderType::MarketIfTouched => Ok(collared(terms.trigger)),
            OrderType::StopLimit | OrderType::LimitIfTouched => Ok(terms.price),
            OrderType::Limit => match best_opposite {
                Some(best)
                    if !self.gathers(instrument.id)
                        && terms.post_only == PostOnly::Reprice
                        && at_or_better(terms.side, terms.price, best) =>
                {
                    let beside = match terms.side {
                        Side::Buy => best - 1,
                        Side::Sell => best + 1,
                    };
                    let exists = (1..=instrument.max_price).contains(&beside);
                    ensure(exists, Reject::PostOnlyWouldCross)?;
                    Ok(beside)
                }
                _ => Ok(terms.price),
            },
        }
    }

    /// Whether an order that must not trade at once, and keeps its price, would.
    fn check_crossing(
        &self,
        instrument: u32,
        side: Side,
        post_only: PostOnly,
        price: i128,
    ) -> Result<(), Reject> {
        let best = self.best_price(instrument, side.opposite());
        let crosses = best.is_some_and(|best| at_or_better(side, price, best));
        ensure(!(post_only == PostOnly::Reject && crosses), Reject::PostOnlyWouldCross)
    }

    /// Whether an order may wait for this trigger. `except`: an order that is not counted.
    fn check_trigger(
        &self,
        instrument: u32,
        direction: Direction,
        trigger: i128,
        except: Option<u64>,
    ) -> Result<(), Reject> {
        let met = self.last(instrument).is_some_and(|last| direction.is_met(trigger, last));
        ensure(!met, Reject::TriggerMet)?;
        let queue = self.waiting(instrument).filter(|order| order.direction() == direction);
        let mut triggers: Vec<i128> =
            queue.filter(|order| Some(order.id) != except).map(|order| order.trigger).collect();
        triggers.sort_unstable();
        triggers.dedup();
        let fits = triggers.contains(&trigger) || triggers.len() < self.limits.levels_per_side;
        ensure(fits, Reject::TriggersFull)
    }

    fn new_order(&mut self, command: &mut Command, request: &NewOrder2) -> Result<Outcome, Reject> {
        let (account, side) = (request.account.get(), request.side);
        let (id, client) = (request.instrument.get(), request.client_order_id.get());
        let (kind, tif) = (request.order_type, request.time_in_force);
        let may_rest = !tif.is_immediate();
        let (cash, display) = (i128::from(request.cash.get()), i128::from(request.display.get()));
        let trigger = i128::from(request.trigger.get());

        // 1 to 4.
        self.may_trade(&command.context, account)?;
        self.may_enter(account)?;
        let instrument = self.instruments.get(&id).ok_or(Reject::UnknownInstrument)?.clone();
        Self::check_shape(request)?;
        self.state_admits(request)?;
        // 5.
        let quantity = if cash == 0 { request.quantity.get().into() } else { instrument.max_quantity };
        if cash == 0 {
            instrument.check_quantity(quantity)?;
        }
        check_display(&instrument, display, quantity)?;
        let expiry = request.expiry.get();
        ensure(expiry == 0 || expiry > command.context.time, Reject::ExpiryPassed)?;
        // 6.
        let post_only = request.post_only;
        let price = request.price.get().into();
        let terms = Terms { side, order_type: kind, tif, post_only, price, trigger };
        let price = self.settle(&instrument, &terms)?;
        // 7.
        if cash == 0 {
            instrument.check_notional(price, quantity)?;
        }
        // 8.
        ensure(self.find(account, OrderRef::Client(client)).is_err(), Reject::DuplicateClientOrderId)?;
        // 9.
        ensure(self.orders.len() < self.limits.orders, Reject::OrdersFull)?;
        let of_account = self.orders.iter().filter(|order| order.account == account).count();
        ensure(of_account < self.limits.orders_per_account, Reject::AccountOrdersFull)?;
        let notional = if cash == 0 { instrument.notional(price, quantity) } else { cash };
        let wish = Wish {
            account,
            side,
            price,
            trigger,
            quantity: (cash == 0).then_some(quantity),
            notional,
            more_lots: quantity,
            more_notional: notional,
            new: true,
        };
        self.check_limits(&instrument, &wish)?;
        self.check_rate(&command.context, account)?;
        // 10.
        self.check_crossing(id, side, post_only, price)?;
        // 11.
        if kind.waits() {
            self.check_trigger(id, Direction::of(kind, side), trigger, None)?;
        } else {
            let comes_later = tif.is_for_auction() && !self.joins_now(id, tif);
            let needs_level = may_rest && kind != OrderType::Market && !comes_later;
            ensure(!needs_level || self.has_room(id, side, price, 0), Reject::LevelsFull)?;
        }
        // 12.
        let mut order = Order {
            id: 0,
            client,
            account,
            instrument: id,
            side,
            order_type: if kind == OrderType::MarketToLimit { OrderType::Limit } else { kind },
            tif,
            post_only,
            self_trade: request.self_trade,
            price,
            trigger,
            display,
            expiry,
            awaits_auction: tif.is_for_auction() && !self.joins_now(id, tif),
            cumulative: 0,
            remaining: quantity,
            shown: 0,
            session: if self.is_on(command.context.session) { command.context.session } else { 0 },
            entered: 0,
            place: 0,
        };
        let mut reach = Vec::new();
        if tif == TimeInForce::Fok {
            reach = self.within_reach(&order, command.context.time);
            ensure(reach.iter().map(|makers| makers.1).sum::<i128>() >= quantity, Reject::NotFillable)?;
        }
        // 13.
        let market_buy = kind == OrderType::Market && tif.is_immediate() && side == Side::Buy;
        let best_cost = self.best_price(id, side.opposite()).map(|best| instrument.lot_cost(best));
        if cash != 0 {
            ensure(best_cost.expect("a market order found a price") <= cash, Reject::CashTooSmall)?;
        }
        let (currency, needed) = match (market_buy, tif) {
            (true, TimeInForce::Fok) => (instrument.quote, cost_of_taking(&instrument, &reach, quantity)),
            (true, _) => (instrument.quote, best_cost.expect("a market order found a price")),
            _ => instrument.hold(side, price, quantity),
        };
        ensure(needed <= self.free(account, currency), Reject::InsufficientFunds)?;

        self.count_rate(&command.context, account);
        self.accepted += 1;
        order.id = self.take_slot();
        order.entered = self.accepted;
        let fee_currency = instrument.quote;
        if kind.waits() || order.awaits_auction {
            order.place = self.next_place();
            self.orders.push(order.clone());
            let (state, reason) = (OrderState::Waiting, Reason::None);
            return Ok(Outcome { state, reason, order, fee_currency, cancelled: 0, fills: Fills::default() });
        }
        let budget = match (market_buy && tif == TimeInForce::Ioc, cash) {
            (true, 0) => Budget::Free,
            (true, cash) => Budget::Cash(cash),
            _ => Budget::Held,
        };
        let fills = if self.gathers(id) { Fills::default() } else { self.trade(command, &mut order, budget) };
        Ok(self.conclude(command, order, may_rest, fee_currency, fills))
    }

    /// What becomes of an order that has traded, or met its owner's, as much as it could.
    fn conclude(
        &mut self,
        command: &mut Command,
        mut order: Order,
        may_rest: bool,
        fee_currency: u32,
        fills: Fills,
    ) -> Outcome {
        let action = self.band_action(order.instrument);
        command.stopped = fills.banded && action == BandAction::Auction;
        let (state, reason) = if fills.banded && (action == BandAction::Reject || !may_rest) {
            (OrderState::Cancelled, Reason::Band)
        } else if order.remaining > 0 && may_rest {
            (OrderState::Live, Reason::None)
        } else if fills.met {
            (OrderState::Cancelled, Reason::SelfTrade)
        } else if order.remaining == 0 {
            (OrderState::Filled, Reason::None)
        } else if fills.budget {
            (OrderState::Cancelled, Reason::Budget)
        } else {
            (OrderState::Cancelled, Reason::Remainder)
        };
        let mut cancelled = fills.cancelled;
        if state == OrderState::Live {
            self.rest(order.clone());
            self.look(command, order.instrument);
        } else {
            cancelled += std::mem::take(&mut order.remaining);
            self.give_back_slot(order.id);
        }
        Outcome { state, reason, order, fee_currency, cancelled, fills }
    }

    /// Takes a live order away for good and says so.
    fn close(&mut self, command: &mut Command, at: usize, reason: Reason) -> Outcome {
        let mut order = self.orders.remove(at);
        self.look(command, order.instrument);
        self.give_back_slot(order.id);
        Outcome {
            state: OrderState::Cancelled,
            reason,
            fee_currency: self.instruments[&order.instrument].quote,
            cancelled: std::mem::take(&mut order.remaining),
            order,
            fills: Fills::default(),
        }
    }

    pub(crate) fn cancel(&mut self, command: &mut Command, request: &Cancel) -> Result<Outcome, Reject> {
        self.may_trade(&command.context, request.account.get())?;
        let at = self.find(request.account.get(), request.order())?;
        Ok(self.close(command, at, Reason::Cancelled))
    }

    fn amend(&mut self, command: &mut Command, request: &Amend2) -> Result<Outcome, Reject> {
        // 1.
        self.may_trade(&command.context, request.account.get())?;
        let at = self.find(request.account.get(), request.order())?;
        let old = self.orders[at].clone();
        let instrument = self.instruments[&old.instrument].clone();
        let quantity = i128::from(request.quantity.get());
        let (trigger, display) = (i128::from(request.trigger.get()), i128::from(request.display.get()));
        // 2.
        if quantity <= old.cumulative {
            return Ok(self.close(command, at, Reason::AmendedBelowFilled));
        }
        // 3.
        ensure(trigger == 0 || old.waits(), Reject::TriggerConflict)?;
        ensure(display == 0 || old.display != 0, Reject::DisplayConflict)?;
        ensure(!old.is_priceless() || request.price.get() == 0, Reject::MarketPriceSet)?;
        self.may_amend(&old, request)?;
        self.state_admits_amend(&old, request)?;
        // 4.
        instrument.check_quantity(quantity)?;
        check_display(&instrument, display, quantity)?;
        let terms = Terms {
            side: old.side,
            order_type: old.order_type,
            tif: old.tif,
            post_only: old.post_only,
            price: request.price.get().into(),
            trigger: if trigger == 0 { old.trigger } else { trigger },
        };
        let price = match old.order_type {
            OrderType::Market => old.price,
            _ => self.settle(&instrument, &terms)?,
        };
        instrument.check_notional(price, quantity)?;
        // 5.
        if old.waits() {
            if trigger != 0 {
                self.check_trigger(old.instrument, old.direction(), trigger, Some(old.id))?;
            }
        } else if !old.awaits_auction {
            self.state_admits_price(&old, price)?;
            if !self.gathers(old.instrument) {
                self.check_crossing(old.instrument, old.side, old.post_only, price)?;
            }
            let stays = price == old.price;
            let fits = stays || self.has_room(old.instrument, old.side, price, old.id);
            ensure(fits, Reject::LevelsFull)?;
        }
        let left = quantity - old.cumulative;
        if !old.is_only_made_smaller(request) {
            let wish = Wish {
                account: old.account,
                side: old.side,
                price,
                trigger: if old.waits() { terms.trigger } else { 0 },
                quantity: Some(quantity),
                notional: instrument.notional(price, quantity),
                more_lots: left - old.remaining,
                more_notional: instrument.notional(price, left)
                    - instrument.notional(old.price, old.remaining),
                new: false,
            };
            self.check_limits(&instrument, &wish)?;
        }
        self.check_rate(&command.context, old.account)?;
        // 6.
        let (currency, needed) = instrument.hold(old.side, price, quantity - old.cumulative);
        let (_, holds) = self.hold(&old);
        ensure(needed <= holds + self.free(old.account, currency), Reject::InsufficientFunds)?;

        self.count_rate(&command.context, old.account);
        let mut order = Order {
            price,
            remaining: left,
            trigger: terms.trigger,
            display: if display == 0 { old.display } else { display },
            ..old.clone()
        };
        let shrinks = order.remaining <= old.remaining;
        let fee_currency = instrument.quote;
        if order.waits() || order.awaits_auction {
            if !(order.awaits_auction || order.trigger == old.trigger && shrinks) {
                order.place = self.next_place();
            }
            self.orders[at] = order.clone();
            let (state, reason) = (OrderState::Waiting, Reason::None);
            return Ok(Outcome { state, reason, order, fee_currency, cancelled: 0, fills: Fills::default() });
        }
        if price == old.price && order.display == old.display && shrinks {
            order.shown = if order.display == 0 { order.remaining } else { old.shown.min(order.remaining) };
            self.orders[at] = order.clone();
            self.look(command, order.instrument);
            let (state, reason) = (OrderState::Live, Reason::None);
            return Ok(Outcome { state, reason, order, fee_currency, cancelled: 0, fills: Fills::default() });
        }
        self.orders.remove(at);
        self.look(command, order.instrument);
        let fills = if self.gathers(order.instrument) {
            Fills::default()
        } else {
            self.trade(command, &mut order, Budget::Held)
        };
        Ok(self.conclude(command, order, true, fee_currency, fills))
    }

    /// Returns how many orders it closed.
    pub(crate) fn mass_cancel(&mut self, command: &mut Command, request: &MassCancel) -> Result<u64, Reject> {
        let (account, instrument) = (request.account.get(), request.instrument.get());
        self.may_trade(&command.context, account)?;
        ensure(instrument == 0 || self.instruments.contains_key(&instrument), Reject::UnknownInstrument)?;
        let covers = |order: &Order| {
            order.account == account
                && (instrument == 0 || order.instrument == instrument)
                && request.sides.covers(order.side)
        };
        let mut closed = 0;
        while let Some(id) = self.orders.iter().find(|order| covers(order)).map(|order| order.id) {
            self.close_and_report(command, id, Reason::MassCancelled);
            closed += 1;
        }
        Ok(closed)
    }

    /// Closes a live order for others than its owner, who is told.
    pub(crate) fn close_and_report(&mut self, command: &mut Command, id: u64, reason: Reason) {
        let at = self.orders.iter().position(|order| order.id == id).expect("a live order");
        if self.orders[at].is_in_book_of(self.orders[at].instrument) {
            command.touched.push(self.orders[at].instrument);
        }
        let Outcome { order, cancelled, .. } = self.close(command, at, reason);
        command.report_cancel(&order, reason, cancelled);
    }
}

fn check_display(instrument: &Instrument, display: i128, quantity: i128) -> Result<(), Reject> {
    ensure(display == 0 || (instrument.min_quantity..=quantity).contains(&display), Reject::DisplayInvalid)
}

/// What the best `quantity` lots of those within reach cost at most, each lot charged by itself.
fn cost_of_taking(instrument: &Instrument, reach: &[(i128, i128)], mut quantity: i128) -> i128 {
    let mut cost = 0;
    for (price, available) in reach {
        let lots = quantity.min(*available);
        cost += lots * instrument.lot_cost(*price);
        quantity -= lots;
    }
    cost
}
