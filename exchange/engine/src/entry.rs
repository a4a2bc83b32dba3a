//! New orders: what is checked before one may trade.

use crate::day::waits_for_auction;
use crate::engine::permitted;
use crate::instrument::Instrument;
use crate::levels::key;
use crate::matching::{End, Event, Taker};
use crate::orders::{Extra, NONE, Traits};
use crate::reply::{Answer, refused};
use crate::risk::Exposure;
use crate::waiting::Direction;
use crate::{Context, Engine, Sink, Step};
use ordain_exchange_protocol::{
    Flag, MarketState, NewOrder, NewOrder2, OrderReply, OrderState, OrderType, PostOnly, Reject, SelfTrade,
    Side, TimeInForce, permission,
};

/// What either layout asks for.
#[derive(Clone, Copy)]
struct Wanted {
    side: Side,
    order_type: OrderType,
    time_in_force: TimeInForce,
    post_only: PostOnly,
    self_trade: SelfTrade,
    account: u32,
    instrument: u32,
    client_order_id: u64,
    price: i64,
    quantity: u64,
    trigger: i64,
    display: u64,
    expiry: u64,
    cash: u64,
    second: bool,
}

impl Wanted {
    #[inline(always)]
    fn first(message: &NewOrder) -> Self {
        Self {
            side: message.side,
            order_type: message.order_type,
            time_in_force: message.time_in_force,
            post_only: if message.post_only == Flag::Yes { PostOnly::Reject } else { PostOnly::No },
            self_trade: SelfTrade::Default,
            account: message.account.get(),
            instrument: message.instrument.get(),
            client_order_id: message.client_order_id.get(),
            price: message.price.get(),
            quantity: message.quantity.get(),
            trigger: 0,
            display: 0,
            expiry: 0,
            cash: 0,
            second: false,
        }
    }

    fn second(message: &NewOrder2) -> Self {
        Self {
            side: message.side,
            order_type: message.order_type,
            time_in_force: message.time_in_force,
            post_only: message.post_only,
            self_trade: message.self_trade,
            account: message.account.get(),
            instrument: message.instrument.get(),
            client_order_id: message.client_order_id.get(),
            price: message.price.get(),
            quantity: message.quantity.get(),
            trigger: message.trigger.get(),
            display: message.display.get(),
            expiry: message.expiry.get(),
            cash: message.cash.get(),
            second: true,
        }
    }

    /// What it is to begin with, once accepted.
    fn kind(&self) -> OrderType {
        match self.order_type {
            OrderType::MarketToLimit => OrderType::Limit,
            order_type => order_type,
        }
    }

    /// Whether it may come to stand at a price of the book now: market orders have none, others wait for their auction.
    #[inline(always)]
    fn takes_a_level(&self, state: MarketState) -> bool {
        !self.second
            || (self.order_type != OrderType::Market && !waits_for_auction(self.time_in_force, state))
    }

    /// Whether its parts go together.
    #[inline(always)]
    fn check_shape(&self) -> Result<(), Reject> {
        use OrderType::{Limit, Market};
        let ensure = |holds: bool, code| if holds { Ok(()) } else { Err(code) };
        let (order_type, tif) = (self.order_type, self.time_in_force);
        let rests = !tif.is_immediate();
        let for_auction = self.second && tif.is_for_auction();
        ensure(order_type != Market || !rests || for_auction, Reject::MarketMustNotRest)?;
        ensure((rests && !for_auction) || matches!(order_type, Limit | Market), Reject::TimeInForceConflict)?;
        let may_rest = order_type == Limit && rests && !for_auction;
        ensure(self.post_only == PostOnly::No || may_rest, Reject::PostOnlyConflict)?;
        ensure(order_type.has_price() || self.price == 0, Reject::MarketPriceSet)?;
        if self.second {
            ensure(order_type.waits() || self.trigger == 0, Reject::TriggerConflict)?;
            ensure(self.display == 0 || may_rest, Reject::DisplayConflict)?;
            ensure((tif == TimeInForce::Gtd) == (self.expiry != 0), Reject::ExpiryConflict)?;
            let by_cash = order_type == Market
                && tif == TimeInForce::Ioc
                && self.side == Side::Buy
                && self.quantity == 0;
            ensure(self.cash == 0 || by_cash, Reject::CashConflict)?;
        }
        Ok(())
    }

    /// It as a taker, but for what its account and its instrument say.
    #[inline(always)]
    fn taker(&self, context: &Context) -> Taker {
        let market = self.order_type == OrderType::Market;
        let mut traits = Traits::new(self.post_only, self.self_trade);
        let has_extra = self.second
            && (self.display != 0
                || self.expiry != 0
                || self.order_type.waits()
                || self.time_in_force.ends_with_day());
        if has_extra {
            traits = traits.with_extra();
        }
        Taker {
            event: Event::new(context),
            client_order_id: self.client_order_id,
            order_id: 0,
            slot: NONE,
            account: self.account,
            group: 0,
            instrument: 0,
            side: self.side,
            traits,
            mode: SelfTrade::Default,
            rests: !self.time_in_force.is_immediate(),
            budgeted: market && self.side == Side::Buy && self.time_in_force == TimeInForce::Ioc,
            gathers: false,
            banded: false,
            end: End::Open,
            listed: false,
            second: self.second,
            price: 0,
            limit_key: 0,
            remaining: 0,
            cumulative: 0,
            cancelled: 0,
            prevented: 0,
            cash: if self.second && self.cash > 0 { self.cash } else { u64::MAX },
            fills: 0,
            notional: 0,
            fee: 0,
        }
    }
}

/// Whether such an order may come where not everything may be done.
#[cold]
fn may_enter(state: MarketState, wanted: &Wanted) -> Result<(), Reject> {
    match state {
        MarketState::Halted | MarketState::None => Err(Reject::MarketHalted),
        MarketState::CancelOnly => Err(Reject::MarketCancelOnly),
        MarketState::Closed => Err(Reject::MarketClosed),
        MarketState::PostOnly
            if wanted.post_only == PostOnly::No
                && !wanted.order_type.waits()
                && !wanted.time_in_force.is_for_auction() =>
        {
            Err(Reject::MarketPostOnly)
        }
        state if state.gathers() => {
            let at_once = wanted.time_in_force.is_immediate()
                || wanted.post_only != PostOnly::No
                || wanted.order_type == OrderType::MarketToLimit;
            if at_once { Err(Reject::AuctionGathers) } else { Ok(()) }
        }
        _ => Ok(()),
    }
}

impl Engine {
    pub(crate) fn new_order<S: Sink>(&mut self, context: &Context, message: &NewOrder, sink: &mut S) -> Step {
        self.enter(context, &Wanted::first(message), sink)
    }

    pub(crate) fn new_order_second<S: Sink>(
        &mut self,
        context: &Context,
        message: &NewOrder2,
        sink: &mut S,
    ) -> Step {
        self.enter(context, &Wanted::second(message), sink)
    }

    #[inline(always)]
    fn enter<S: Sink>(&mut self, context: &Context, wanted: &Wanted, sink: &mut S) -> Step {
        // Made here and not where it is checked, so that it is not copied.
        let mut taker = wanted.taker(context);
        match self.check_new(context, wanted, &mut taker) {
            Ok(()) => {
                taker.slot = self.orders.take();
                taker.order_id = self.orders.id(taker.slot);
                self.accepted += 1;
                if self.is_watched(taker.account) {
                    self.take_tokens(taker.account, context.time);
                }
                if wanted.second && taker.traits.has_extra() {
                    let tif = wanted.time_in_force;
                    self.orders.extras[taker.slot as usize] = Extra {
                        hidden: 0,
                        display: wanted.display,
                        trigger: wanted.trigger,
                        expiry: wanted.expiry,
                        accepted: self.accepted,
                        place: 0,
                        day_previous: NONE,
                        day_next: NONE,
                        kind: wanted.kind() as u8,
                        day: if tif.ends_with_day() { tif as u8 } else { 0 },
                        reserved: [0; 2],
                    };
                    let state = self.live_instrument(taker.instrument).state;
                    if wanted.order_type.waits() || waits_for_auction(tif, state) {
                        return self.begin_to_wait(&taker, sink);
                    }
                }
                if taker.gathers {
                    return self.gather(&taker, sink);
                }
                self.take(&mut taker, sink)
            }
            Err(code) => {
                let reply = OrderReply {
                    instrument: wanted.instrument.into(),
                    account: wanted.account.into(),
                    client_order_id: wanted.client_order_id.into(),
                    ..refused(context, code)
                };
                self.answer(&Answer { reply, second: wanted.second, price: 0, prevented: 0 }, sink);
                Step::Done
            }
        }
    }

    fn begin_to_wait<S: Sink>(&mut self, taker: &Taker, sink: &mut S) -> Step {
        self.wait(taker);
        let order = self.orders.get(taker.slot);
        let reply = OrderReply {
            state: OrderState::Waiting,
            remaining: taker.remaining.into(),
            ..self.reply(&taker.event.context, order, taker.order_id)
        };
        self.answer(&Answer { reply, second: true, price: taker.price, prevented: 0 }, sink);
        Step::Done
    }

    #[inline(always)]
    fn check_new(&self, context: &Context, wanted: &Wanted, taker: &mut Taker) -> Result<(), Reject> {
        permitted(context, permission::TRADE)?;
        let account = self.granted(context, wanted.account)?;
        if self.accesses.any() {
            self.check_access(account, false)?;
        }
        let instrument = self.instrument(wanted.instrument)?;
        wanted.check_shape()?;
        if instrument.state != MarketState::Continuous {
            may_enter(instrument.state, wanted)?;
        }
        let side = wanted.side;
        let market = wanted.order_type == OrderType::Market;
        let rests = !wanted.time_in_force.is_immediate();
        let by_cash = wanted.second && wanted.cash > 0;
        let quantity = if by_cash { instrument.max_quantity } else { wanted.quantity };
        if !by_cash {
            instrument.check_quantity(quantity)?;
        }
        if wanted.second {
            if wanted.display != 0 && !(instrument.min_quantity..=quantity).contains(&wanted.display) {
                return Err(Reject::DisplayInvalid);
            }
            if wanted.time_in_force == TimeInForce::Gtd && wanted.expiry <= context.time {
                return Err(Reject::ExpiryPassed);
            }
        }
        let price = match wanted.order_type {
            OrderType::Market if rests => self.auction_protection(wanted.instrument, side)?,
            OrderType::Market => self.protection_price(instrument, side)?,
            OrderType::Limit => {
                instrument.check_price(wanted.price)?;
                match wanted.post_only {
                    PostOnly::Reprice => self.next_to_best(instrument, side, wanted.price)?,
                    _ => wanted.price,
                }
            }
            _ => self.settle(instrument, wanted)?,
        };
        if !by_cash {
            instrument.check_notional(price, quantity)?;
        }
        if self.find_client_order(wanted.account, wanted.client_order_id).is_some() {
            return Err(Reject::DuplicateClientOrderId);
        }
        if self.orders.is_full() {
            return Err(Reject::OrdersFull);
        }
        if account.orders >= self.limits.orders_per_account {
            return Err(Reject::AccountOrdersFull);
        }
        if self.risk.is_on() && account.is_watched() {
            let notional = if by_cash { wanted.cash } else { instrument.notional(price, quantity) };
            let order = Exposure {
                account: wanted.account,
                instrument: wanted.instrument as u16,
                side,
                price,
                trigger: wanted.trigger,
                quantity,
                notional,
                open: quantity,
                open_notional: notional,
                open_before: 0,
                notional_before: 0,
                is_by_cash: by_cash,
                is_new: true,
                lessens: false,
                time: context.time,
            };
            self.check_risk(account, instrument, &order)?;
        }
        if wanted.post_only == PostOnly::Reject && self.crosses(instrument, side, price) {
            return Err(Reject::PostOnlyWouldCross);
        }
        if wanted.second && wanted.order_type.waits() {
            let direction = Direction::of(wanted.order_type, side);
            self.check_wait(wanted.instrument, direction, wanted.trigger, false)?;
        } else if rests && wanted.takes_a_level(instrument.state) {
            let ladder = instrument.ladder(side);
            if self.levels.is_full(ladder) && self.levels.find(ladder, key(side, price)).is_none() {
                return Err(Reject::LevelsFull);
            }
        }
        let fill_or_kill = wanted.time_in_force == TimeInForce::Fok;
        taker.group = account.group;
        taker.instrument = wanted.instrument as u16;
        taker.mode = instrument.mode(wanted.self_trade);
        taker.gathers = instrument.state.gathers();
        taker.banded = instrument.banded;
        taker.price = price;
        taker.limit_key = key(side.opposite(), price);
        taker.remaining = quantity;
        if taker.banded {
            self.bind(taker);
        }
        let worst = if fill_or_kill {
            let owns = taker.mode != SelfTrade::Allow && (account.orders > 0 || account.group != 0);
            let cost = if owns {
                self.cost_beside_own(taker, quantity)
            } else {
                self.cost_of_all(instrument, side, taker.limit_key, quantity)
            };
            Some(cost.ok_or(Reject::NotFillable)?)
        } else {
            None
        };
        let (currency, hold) = match (market && !rests, side) {
            (true, Side::Buy) => {
                // The check on liquidity saw a best ask.
                let first = self
                    .levels
                    .best_key(instrument.ladder(Side::Sell))
                    .map_or(0, |best| instrument.lot_cost(-best));
                if by_cash && first > wanted.cash {
                    return Err(Reject::CashTooSmall);
                }
                (instrument.quote, worst.unwrap_or(first))
            }
            _ => instrument.hold(side, price, quantity),
        };
        if hold > self.ledger.free(self.ledger.at(wanted.account, currency)) {
            return Err(Reject::InsufficientFunds);
        }
        Ok(())
    }

    /// The price of an order that is neither market nor plain limit.
    #[cold]
    fn settle(&self, instrument: &Instrument, wanted: &Wanted) -> Result<i64, Reject> {
        if wanted.order_type == OrderType::MarketToLimit {
            let best = self.levels.best_key(instrument.ladder(wanted.side.opposite()));
            return best.map(i64::abs).ok_or(Reject::NoLiquidity);
        }
        if wanted.order_type.has_price() {
            instrument.check_price(wanted.price)?;
        }
        instrument.check_trigger(wanted.trigger)?;
        if wanted.order_type.has_price() {
            Ok(wanted.price)
        } else {
            Ok(instrument.protection(wanted.side, wanted.trigger))
        }
    }

    /// `price`, or if an order there would trade at once the next at which it does not.
    #[cold]
    pub(crate) fn next_to_best(
        &self,
        instrument: &Instrument,
        side: Side,
        price: i64,
    ) -> Result<i64, Reject> {
        if !self.crosses(instrument, side, price) {
            return Ok(price);
        }
        let best = self.levels.best_key(instrument.ladder(side.opposite())).map_or(0, i64::abs);
        let next = match side {
            Side::Buy => best - 1,
            Side::Sell => best + 1,
        };
        instrument.check_price(next).map_err(|_| Reject::PostOnlyWouldCross)?;
        Ok(next)
    }

    /// The worst price that a market order may trade at.
    fn protection_price(&self, instrument: &Instrument, side: Side) -> Result<i64, Reject> {
        let best = self.levels.best_key(instrument.ladder(side.opposite())).ok_or(Reject::NoLiquidity)?;
        Ok(instrument.protection(side, best.abs()))
    }

    /// What `quantity` lots of the other side can cost at worst, best price first, if there are so many down
    /// to `limit_key`.
    fn cost_of_all(&self, instrument: &Instrument, side: Side, limit_key: i64, quantity: u64) -> Option<u64> {
        let (mut missing, mut cost) = (quantity, 0);
        let ladder = instrument.ladder(side.opposite());
        let mut levels = self.levels.all(ladder);
        while missing > 0 {
            let (best, handle) = levels.next().filter(|(best, _)| *best >= limit_key)?;
            let level = self.levels.get(handle);
            let lots = missing.min(level.quantity + level.hidden);
            cost += lots * instrument.lot_cost(best.abs());
            missing -= lots;
        }
        Some(cost)
    }
}
