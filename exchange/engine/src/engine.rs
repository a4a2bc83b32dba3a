//! The commands.

use crate::index::Index;
use crate::ledger::{Ledger, fee};
use crate::levels::{Ladder, Levels, key};
use crate::orders::{NONE, Order, Orders};
use crate::snapshot::Loading;
use crate::transfers::{Executed, Transfers};
use crate::{Context, KEYS_PER_ACCOUNT, Limits, Sink, Step};
use core::fmt;
use ordain_exchange_protocol::{
    AdminReply, Amend, Audience, Cancel, CancelReport, CreateAccount, CreateInstrument, Definition,
    FillReport, Flag, Grant, GrantAction, IntoBytes, MassCancel, MassCancelReply, NewOrder, OrderRef,
    OrderReply, OrderState, OrderType, Reason, Reject, Request, Schema, Side, Sides, TimeInForce,
    TradeReport, Transfer, TransferReply, Zero, permission,
};

/// Trades in one step, three outputs each.
pub(crate) const STEP_TRADES: usize = 20;
/// Orders that one step of a mass cancel looks at, at most one output each.
pub(crate) const STEP_CANCELS: usize = 60;

/// Most decimals of a price or quantity in text.
const DECIMALS_MAX: u8 = 18;
/// 100 %.
const FEE_MAX: u32 = 1_000_000;
/// Most of a currency that there can be.
const SUPPLY_MAX: u64 = i64::MAX as u64;

const Z: Zero = Zero::Zero;

/// An instrument: its terms, unpacked, and the two sides of its book.
pub(crate) struct Instrument {
    pub definition: Definition,
    pub ladders: [Ladder; 2],
    base: u32,
    quote: u32,
    scale: u64,
    base_per_lot: u64,
    min_quantity: u64,
    max_quantity: u64,
    min_notional: u64,
    max_price: i64,
    collar: i64,
    maker_ppm: i32,
    taker_ppm: i32,
    /// The higher of the two, for holds; 0 if both are rebates.
    worst_ppm: i32,
}

impl Instrument {
    fn new(definition: &Definition, ladders: [Ladder; 2]) -> Self {
        let (maker_ppm, taker_ppm) = (definition.maker_ppm.get(), definition.taker_ppm.get());
        Self {
            definition: *definition,
            ladders,
            base: definition.base.get(),
            quote: definition.quote.get(),
            scale: definition.quote_per_tick_lot.get(),
            base_per_lot: definition.base_per_lot.get(),
            min_quantity: definition.min_quantity.get(),
            max_quantity: definition.max_quantity.get(),
            min_notional: definition.min_notional.get(),
            max_price: definition.max_price.get(),
            collar: definition.collar.get(),
            maker_ppm,
            taker_ppm,
            worst_ppm: maker_ppm.max(taker_ppm).max(0),
        }
    }

    #[inline]
    pub fn ladder(&self, side: Side) -> &Ladder {
        &self.ladders[side as usize - 1]
    }

    #[inline]
    pub fn ladder_mut(&mut self, side: Side) -> &mut Ladder {
        &mut self.ladders[side as usize - 1]
    }

    /// What a lot at `price` can cost at worst.
    #[inline]
    fn lot_cost(&self, price: i64) -> u64 {
        let notional = price as u64 * self.scale;
        notional + fee(notional, self.worst_ppm) as u64
    }

    /// What an order for `quantity` lots holds: currency and amount.
    #[inline]
    fn hold(&self, side: Side, price: i64, quantity: u64) -> (u32, u64) {
        match side {
            Side::Buy => (self.quote, quantity * self.lot_cost(price)),
            Side::Sell => (self.base, quantity * self.base_per_lot),
        }
    }

    fn check_quantity(&self, quantity: u64) -> Result<(), Reject> {
        if quantity < self.min_quantity {
            Err(Reject::QuantityTooSmall)
        } else if quantity > self.max_quantity {
            Err(Reject::QuantityTooLarge)
        } else {
            Ok(())
        }
    }

    fn check_price(&self, price: i64) -> Result<(), Reject> {
        if (1..=self.max_price).contains(&price) { Ok(()) } else { Err(Reject::PriceOutOfRange) }
    }

    fn check_notional(&self, price: i64, quantity: u64) -> Result<(), Reject> {
        if price as u64 * quantity * self.scale < self.min_notional {
            Err(Reject::NotionalTooSmall)
        } else {
            Ok(())
        }
    }
}

/// An account: its keys and its live orders in order of entry.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Account {
    pub exists: bool,
    pub key_count: u8,
    pub orders: u32,
    pub head: u32,
    pub tail: u32,
    /// Ascending.
    pub keys: [u32; KEYS_PER_ACCOUNT],
}

const _: () = assert!(size_of::<Account>() == 64);

impl Account {
    const ABSENT: Self =
        Self { exists: false, key_count: 0, orders: 0, head: NONE, tail: NONE, keys: [0; KEYS_PER_ACCOUNT] };

    pub fn keys(&self) -> &[u32] {
        &self.keys[..self.key_count.into()]
    }

    #[inline]
    fn grants(&self, key: u32, permissions: u32) -> bool {
        permissions & permission::ADMIN != 0 || self.keys().contains(&key)
    }
}

/// An order that trades now.
#[derive(Clone, Copy)]
struct Taker {
    context: Context,
    client_order_id: u64,
    order_id: u64,
    slot: u32,
    account: u32,
    instrument: u16,
    side: Side,
    post_only: bool,
    /// Rests with what remains.
    rests: bool,
    /// Buys for what free funds allow.
    budgeted: bool,
    out_of_budget: bool,
    /// Is in the index and in the account's list, being amended.
    listed: bool,
    price: i64,
    /// Worst key on the other side that it takes.
    limit_key: i64,
    remaining: u64,
    cumulative: u64,
    fills: u32,
    notional: u64,
    fee: i64,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("limits", &self.limits)
            .field("instruments", &self.instrument_count)
            .field("accounts", &self.account_count)
            .field("orders", &self.orders.live)
            .finish_non_exhaustive()
    }
}

/// A mass cancel under way.
#[derive(Clone, Copy)]
struct Sweep {
    context: Context,
    account: u32,
    instrument: u32,
    sides: Sides,
    next: u32,
    cancelled: u64,
}

/// An event that takes more steps.
#[derive(Clone, Copy)]
enum Work {
    Take(Taker),
    Sweep(Sweep),
}

/// The exchange.
pub struct Engine {
    pub(crate) limits: Limits,
    pub(crate) instruments: Vec<Option<Instrument>>,
    pub(crate) accounts: Vec<Account>,
    pub(crate) orders: Orders,
    pub(crate) levels: Levels,
    pub(crate) ledger: Ledger,
    pub(crate) index: Index,
    pub(crate) transfers: Transfers,
    pub(crate) instrument_count: u32,
    pub(crate) account_count: u32,
    /// Orders ever accepted.
    pub(crate) accepted: u64,
    /// Trades ever made.
    pub(crate) trades: u64,
    work: Option<Work>,
    /// Set while a snapshot is loaded.
    pub(crate) loading: Option<Loading>,
}

impl Engine {
    /// An exchange with nothing in it but account 0. Reserves all the memory that it will use.
    ///
    /// `hash_seed` spreads the entries of the indexes and reaches no output: it may and should be drawn at
    /// random by each node, so that no client can choose ids that collide.
    ///
    /// # Panics
    /// If a limit is 0 or beyond what handles can number.
    #[must_use]
    pub fn new(limits: Limits, hash_seed: u64) -> Self {
        assert!(limits.are_valid(), "limits out of range: {limits:?}");
        let mut accounts = vec![Account::ABSENT; limits.accounts as usize + 1];
        accounts[0].exists = true;
        Self {
            limits,
            instruments: std::iter::repeat_with(|| None).take(limits.instruments as usize).collect(),
            accounts,
            orders: Orders::new(limits.orders),
            levels: Levels::new(limits.instruments, limits.levels_per_side, limits.orders),
            ledger: Ledger::new(limits.accounts, limits.currencies),
            index: Index::new(limits.orders, hash_seed),
            transfers: Transfers::new(limits.transfers, hash_seed),
            instrument_count: 0,
            account_count: 0,
            accepted: 0,
            trades: 0,
            work: None,
            loading: None,
        }
    }

    /// The bounds that it was made with.
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Orders that are live now.
    #[must_use]
    pub const fn live_orders(&self) -> u32 {
        self.orders.live
    }

    /// Executes a request, or its first step.
    ///
    /// # Panics
    /// If an earlier event is not finished, or an invariant is broken.
    #[inline]
    pub fn apply<S: Sink>(&mut self, context: &Context, request: &Request<'_>, sink: &mut S) -> Step {
        assert!(self.work.is_none(), "an event follows only when the one before is done");
        let step = match request {
            Request::NewOrder(message) => self.new_order(context, message, sink),
            Request::Cancel(message) => self.cancel(context, message, sink),
            Request::Amend(message) => self.amend(context, message, sink),
            Request::MassCancel(message) => self.mass_cancel(context, message, sink),
            Request::Deposit(message) | Request::Withdraw(message) => self.transfer(context, message, sink),
            Request::CreateInstrument(message) => self.create_instrument(context, message, sink),
            Request::CreateAccount(message) => self.create_account(context, message, sink),
            Request::Grant(message) => self.grant(context, message, sink),
        };
        self.ledger.assert_balanced();
        step
    }

    /// The next step of an event that answered [`Step::More`].
    ///
    /// # Panics
    /// If there is none, or an invariant is broken.
    pub fn resume<S: Sink>(&mut self, sink: &mut S) -> Step {
        let step = match self.work.take().expect("there is an event to go on with") {
            Work::Take(taker) => self.take(taker, sink),
            Work::Sweep(sweep) => self.sweep(sweep, sink),
        };
        self.ledger.assert_balanced();
        step
    }

    /// Whether an event waits for [`Engine::resume`].
    #[must_use]
    pub const fn is_busy(&self) -> bool {
        self.work.is_some()
    }

    /// Whether a key with these permissions may read what the account's stream says.
    #[must_use]
    pub fn may_read(&self, account: u32, key: u32, permissions: u32) -> bool {
        let grants = |account: &Account| account.exists && account.grants(key, permissions);
        permissions & permission::VIEW != 0 && self.accounts.get(account as usize).is_some_and(grants)
    }

    // Look-ups.

    pub(crate) fn instrument(&self, id: u32) -> Result<&Instrument, Reject> {
        let at = (id as usize).wrapping_sub(1);
        self.instruments.get(at).and_then(Option::as_ref).ok_or(Reject::UnknownInstrument)
    }

    /// An account that may trade and that the key may act for.
    #[inline]
    pub(crate) fn granted(&self, context: &Context, account: u32) -> Result<&Account, Reject> {
        if account == 0 {
            return Err(Reject::UnknownAccount);
        }
        let account = self.accounts.get(account as usize).filter(|account| account.exists);
        let account = account.ok_or(Reject::UnknownAccount)?;
        if account.grants(context.key, context.permissions) { Ok(account) } else { Err(Reject::NotGranted) }
    }

    /// The slot of a live order of the account.
    #[inline]
    pub(crate) fn find_order(&self, account: u32, order: OrderRef) -> Result<u32, Reject> {
        let slot = match order {
            OrderRef::Id(id) => self.orders.find(id).filter(|slot| self.orders.get(*slot).account == account),
            OrderRef::Client(id) => self.find_client_order(account, id),
        };
        slot.ok_or(Reject::UnknownOrder)
    }

    #[inline]
    pub(crate) fn find_client_order(&self, account: u32, client_order_id: u64) -> Option<u32> {
        self.index.find(self.index.home(account, client_order_id), |slot| {
            let order = self.orders.get(slot);
            order.client_order_id == client_order_id && order.account == account
        })
    }

    /// Whether an order on `side` at `price` would trade at once.
    #[inline]
    fn crosses(&self, instrument: &Instrument, side: Side, price: i64) -> bool {
        let opposite = side.opposite();
        self.levels.best_key(instrument.ladder(opposite)).is_some_and(|best| best >= key(opposite, price))
    }

    // Orders.

    fn new_order<S: Sink>(&mut self, context: &Context, message: &NewOrder, sink: &mut S) -> Step {
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

    /// Lets an order trade; when it is done trading, finishes and answers it.
    fn take<S: Sink>(&mut self, mut taker: Taker, sink: &mut S) -> Step {
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
            reserved: [Z; 2],
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
    fn fill<S: Sink>(&mut self, taker: &mut Taker, slot: u32, sink: &mut S) {
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

        let notional = price as u64 * lots * instrument.scale;
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
            reserved: [Z; 2],
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
            reserved: Z,
            instrument: u32::from(taker.instrument).into(),
            price: price.into(),
            quantity: lots.into(),
            seq: context.seq.into(),
            time: context.time.into(),
            index: taker.fills.into(),
            reserved2: [Z; 4],
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
    fn rest(&mut self, taker: &Taker) {
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

    /// Enters an order into the index and at the end of its account's list.
    pub(crate) fn list(&mut self, slot: u32) {
        let (owner, client_order_id) = (self.orders.get(slot).account, self.orders.get(slot).client_order_id);
        self.index.insert(self.index.home(owner, client_order_id), slot);
        let account = &mut self.accounts[owner as usize];
        let tail = std::mem::replace(&mut account.tail, slot);
        account.orders += 1;
        match tail {
            NONE => account.head = slot,
            tail => self.orders.get_mut(tail).account_next = slot,
        }
        let order = self.orders.get_mut(slot);
        order.account_previous = tail;
        order.account_next = NONE;
    }

    /// Takes an order out of the index and its account's list.
    fn unlist(&mut self, slot: u32) {
        let order = *self.orders.get(slot);
        let orders = &self.orders;
        self.index.remove(self.index.home(order.account, order.client_order_id), slot, |index, other| {
            let other = orders.get(other);
            index.home(other.account, other.client_order_id)
        });
        let account = &mut self.accounts[order.account as usize];
        account.orders -= 1;
        match order.account_previous {
            NONE => account.head = order.account_next,
            previous => self.orders.get_mut(previous).account_next = order.account_next,
        }
        match order.account_next {
            NONE => account.tail = order.account_previous,
            next => self.orders.get_mut(next).account_previous = order.account_previous,
        }
    }

    fn leave_level(&mut self, slot: u32) {
        let order = self.orders.get(slot);
        let (side, price, instrument) = (order.side, order.price, order.instrument);
        let ladder = live_mut(&mut self.instruments, instrument).ladder_mut(side);
        self.levels.remove(ladder, key(side, price), &mut self.orders, slot);
    }

    /// Frees what a resting order holds.
    fn release(&mut self, slot: u32) {
        let order = self.orders.get(slot);
        let (currency, hold) = self.hold_of(order);
        self.ledger.release(self.ledger.at(order.account, currency), hold);
    }

    /// Ends a resting order; gives it as it was, and its id.
    fn close(&mut self, slot: u32) -> (Order, u64) {
        let (order, id) = (*self.orders.get(slot), self.orders.id(slot));
        self.release(slot);
        self.leave_level(slot);
        self.unlist(slot);
        self.orders.give_back(slot);
        (order, id)
    }

    /// What a resting order holds: currency and amount.
    pub(crate) fn hold_of(&self, order: &Order) -> (u32, u64) {
        self.live_instrument(order.instrument).hold(order.side, order.price, order.remaining)
    }

    /// Whether its instrument lets such an order rest.
    pub(crate) fn is_restable(&self, order: &Order) -> bool {
        let Ok(instrument) = self.instrument(order.instrument.into()) else { return false };
        let total = order.remaining.checked_add(order.cumulative);
        order.remaining > 0
            && instrument.check_price(order.price).is_ok()
            && total.is_some_and(|total| instrument.check_quantity(total).is_ok())
    }

    fn live_instrument(&self, id: u16) -> &Instrument {
        live(&self.instruments, id)
    }

    /// Where an order of the account stands, if the key may touch it.
    #[inline]
    fn touch(&self, context: &Context, account: u32, order: OrderRef) -> Result<u32, Reject> {
        permitted(context, permission::TRADE)?;
        self.granted(context, account)?;
        self.find_order(account, order)
    }

    fn cancel<S: Sink>(&mut self, context: &Context, message: &Cancel, sink: &mut S) -> Step {
        match self.touch(context, message.account.get(), message.order()) {
            Ok(slot) => self.reply_closed(context, slot, Reason::Cancelled, sink),
            Err(code) => {
                let refused = OrderReply {
                    account: message.account,
                    order_id: message.order_id,
                    client_order_id: message.client_order_id,
                    ..refused(context, code)
                };
                sink.reply(refused.as_bytes());
            }
        }
        Step::Done
    }

    /// Ends a resting order and says so.
    fn reply_closed<S: Sink>(&mut self, context: &Context, slot: u32, reason: Reason, sink: &mut S) {
        let (order, id) = self.close(slot);
        let reply = OrderReply {
            state: OrderState::Cancelled,
            reason,
            cancelled: order.remaining.into(),
            ..self.reply(context, &order, id)
        };
        sink.reply(reply.as_bytes());
    }

    /// The reply about an order to which nothing happened.
    fn reply(&self, context: &Context, order: &Order, id: u64) -> OrderReply {
        OrderReply {
            instrument: u32::from(order.instrument).into(),
            account: order.account.into(),
            order_id: id.into(),
            client_order_id: order.client_order_id.into(),
            cumulative: order.cumulative.into(),
            fee_currency: self.live_instrument(order.instrument).quote.into(),
            ..blank(context, None)
        }
    }

    fn amend<S: Sink>(&mut self, context: &Context, message: &Amend, sink: &mut S) -> Step {
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

    fn mass_cancel<S: Sink>(&mut self, context: &Context, message: &MassCancel, sink: &mut S) -> Step {
        let (account, instrument) = (message.account.get(), message.instrument.get());
        let checked =
            permitted(context, permission::TRADE).and_then(|()| self.granted(context, account)).and_then(
                |found| if instrument == 0 { Ok(found) } else { self.instrument(instrument).map(|_| found) },
            );
        match checked {
            Ok(found) => {
                let sweep = Sweep {
                    context: *context,
                    account,
                    instrument,
                    sides: message.sides,
                    next: found.head,
                    cancelled: 0,
                };
                self.sweep(sweep, sink)
            }
            Err(code) => {
                reply_swept(context, account, Some(code), 0, sink);
                Step::Done
            }
        }
    }

    /// One step of a mass cancel.
    fn sweep<S: Sink>(&mut self, mut sweep: Sweep, sink: &mut S) -> Step {
        for _ in 0..STEP_CANCELS {
            if sweep.next == NONE {
                reply_swept(&sweep.context, sweep.account, None, sweep.cancelled, sink);
                return Step::Done;
            }
            let slot = sweep.next;
            let order = self.orders.get(slot);
            sweep.next = order.account_next;
            let meant = sweep.instrument == 0 || sweep.instrument == u32::from(order.instrument);
            if meant && sweep.sides.covers(order.side) {
                let (order, id) = self.close(slot);
                sweep.cancelled += 1;
                let report = CancelReport {
                    tag: CancelReport::TAG,
                    schema: Schema::V1,
                    reason: Reason::MassCancelled,
                    side: order.side,
                    reserved: [Z; 4],
                    account: order.account.into(),
                    instrument: u32::from(order.instrument).into(),
                    order_id: id.into(),
                    client_order_id: order.client_order_id.into(),
                    cumulative: order.cumulative.into(),
                    cancelled: order.remaining.into(),
                    price: order.price.into(),
                    seq: sweep.context.seq.into(),
                    time: sweep.context.time.into(),
                };
                sink.output(Audience::Account(order.account), report.as_bytes());
            }
        }
        self.work = Some(Work::Sweep(sweep));
        Step::More
    }

    // Custody.

    fn transfer<S: Sink>(&mut self, context: &Context, message: &Transfer, sink: &mut S) -> Step {
        let (code, executed) = match self.execute_transfer(context, message) {
            Ok(executed) => (None, executed),
            Err(code) => {
                let nothing = Executed { free: 0, ..transfer_of(context, message) };
                (Some(code), nothing)
            }
        };
        let reply = TransferReply {
            tag: TransferReply::TAG,
            schema: Schema::V1,
            code: Reject::to_wire(code),
            account: executed.account.into(),
            currency: executed.currency.into(),
            reserved: [Z; 4],
            transaction: executed.transaction.into(),
            amount: executed.amount.into(),
            free: executed.free.into(),
            seq: executed.seq.into(),
            time: executed.time.into(),
        };
        sink.reply(reply.as_bytes());
        Step::Done
    }

    fn execute_transfer(&mut self, context: &Context, message: &Transfer) -> Result<Executed, Reject> {
        permitted(context, permission::CUSTODY)?;
        let mut transfer = transfer_of(context, message);
        if !self.accounts.get(transfer.account as usize).is_some_and(|account| account.exists) {
            return Err(Reject::UnknownAccount);
        }
        self.check_currency(transfer.currency)?;
        if !(1..=SUPPLY_MAX).contains(&transfer.amount) {
            return Err(Reject::AmountInvalid);
        }
        if let Some(first) = self.transfers.find(transfer.account, transfer.transaction) {
            let same = (first.currency, first.amount, first.withdrawal)
                == (transfer.currency, transfer.amount, transfer.withdrawal);
            return if same { Ok(*first) } else { Err(Reject::TransactionConflict) };
        }
        let at = self.ledger.at(transfer.account, transfer.currency);
        if transfer.withdrawal {
            if transfer.amount > self.ledger.free(at) {
                return Err(Reject::InsufficientFunds);
            }
            self.ledger.withdraw(at, transfer.amount);
        } else {
            if transfer.amount > SUPPLY_MAX - self.ledger.supply(transfer.currency) {
                return Err(Reject::SupplyExceeded);
            }
            self.ledger.deposit(at, transfer.amount);
        }
        transfer.free = self.ledger.free(at);
        self.transfers.push(transfer);
        Ok(transfer)
    }

    pub(crate) fn check_currency(&self, currency: u32) -> Result<(), Reject> {
        if (1..=self.limits.currencies).contains(&currency) {
            Ok(())
        } else {
            Err(Reject::CurrencyOutOfRange)
        }
    }

    // Administration.

    fn create_instrument<S: Sink>(
        &mut self,
        context: &Context,
        message: &CreateInstrument,
        sink: &mut S,
    ) -> Step {
        let definition = &message.definition;
        let id = definition.instrument.get();
        let checked = permitted(context, permission::ADMIN).and_then(|()| self.check_definition(definition));
        if checked.is_ok() {
            self.add_instrument(definition);
        }
        reply_admin(context, id, checked, sink)
    }

    /// Adds an instrument whose definition was checked.
    pub(crate) fn add_instrument(&mut self, definition: &Definition) {
        let id = definition.instrument.get();
        self.instruments[id as usize - 1] = Some(Instrument::new(definition, self.levels.ladders(id)));
        self.instrument_count += 1;
    }

    pub(crate) fn check_definition(&self, definition: &Definition) -> Result<(), Reject> {
        let id = definition.instrument.get();
        if !(1..=self.limits.instruments).contains(&id) {
            return Err(Reject::InstrumentOutOfRange);
        }
        if self.instrument(id).is_ok() {
            return Err(Reject::InstrumentExists);
        }
        if self.instruments.iter().flatten().any(|other| other.definition.symbol == definition.symbol) {
            return Err(Reject::SymbolTaken);
        }
        self.check_currency(definition.base.get())?;
        self.check_currency(definition.quote.get())?;
        if definition.base == definition.quote {
            return Err(Reject::SameCurrency);
        }
        let (scale, base_per_lot) = (definition.quote_per_tick_lot.get(), definition.base_per_lot.get());
        if scale == 0
            || base_per_lot == 0
            || definition.tick.get() == 0
            || definition.lot.get() == 0
            || definition.price_decimals.max(definition.quantity_decimals) > DECIMALS_MAX
        {
            return Err(Reject::ScaleInvalid);
        }
        let max_quantity = definition.max_quantity.get();
        if !(1..=max_quantity).contains(&definition.min_quantity.get()) {
            return Err(Reject::QuantityLimitsInvalid);
        }
        let max_price = definition.max_price.get();
        if max_price < 1 || !(0..=max_price).contains(&definition.collar.get()) {
            return Err(Reject::PriceLimitsInvalid);
        }
        let (maker, taker) = (definition.maker_ppm.get(), definition.taker_ppm.get());
        if maker.unsigned_abs().max(taker.unsigned_abs()) > FEE_MAX || maker + taker < 0 {
            return Err(Reject::FeeInvalid);
        }
        let limit = u128::from(SUPPLY_MAX);
        let lot = u128::from(max_price.unsigned_abs()) * u128::from(scale);
        let fits = lot <= limit && {
            let worst = fee(lot as u64, maker.max(taker).max(0)) as u128;
            (lot + worst) * u128::from(max_quantity) <= limit
        };
        if !fits || u128::from(max_quantity) * u128::from(base_per_lot) > limit {
            return Err(Reject::LimitsTooLarge);
        }
        Ok(())
    }

    fn create_account<S: Sink>(&mut self, context: &Context, message: &CreateAccount, sink: &mut S) -> Step {
        let id = message.account.get();
        let checked = permitted(context, permission::ADMIN).and_then(|()| {
            if !(1..=self.limits.accounts).contains(&id) {
                Err(Reject::AccountOutOfRange)
            } else if self.accounts[id as usize].exists {
                Err(Reject::AccountExists)
            } else {
                Ok(())
            }
        });
        if checked.is_ok() {
            self.accounts[id as usize].exists = true;
            self.account_count += 1;
        }
        reply_admin(context, id, checked, sink)
    }

    fn grant<S: Sink>(&mut self, context: &Context, message: &Grant, sink: &mut S) -> Step {
        let id = message.account.get();
        let done = permitted(context, permission::ADMIN).and_then(|()| self.change_grant(message));
        reply_admin(context, id, done, sink)
    }

    fn change_grant(&mut self, message: &Grant) -> Result<(), Reject> {
        let (id, key) = (message.account.get(), message.key.get());
        let account = self.accounts.get_mut(id as usize).filter(|account| account.exists && id != 0);
        let account = account.ok_or(Reject::UnknownAccount)?;
        let count = usize::from(account.key_count);
        match (message.action, account.keys().binary_search(&key)) {
            (GrantAction::Grant, Err(_)) if count == KEYS_PER_ACCOUNT => return Err(Reject::GrantsFull),
            (GrantAction::Grant, Err(at)) => {
                account.keys.copy_within(at..count, at + 1);
                account.keys[at] = key;
                account.key_count += 1;
            }
            (GrantAction::Revoke, Ok(at)) => {
                account.keys.copy_within(at + 1..count, at);
                account.keys[count - 1] = 0;
                account.key_count -= 1;
            }
            _ => {}
        }
        Ok(())
    }

    // Audit.

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

        let mut in_books = 0;
        for (at, instrument) in self.instruments.iter().enumerate() {
            let Some(instrument) = instrument else { continue };
            for side in [Side::Buy, Side::Sell] {
                in_books += self.audit_side(at + 1, instrument, side)?;
            }
            let best = |side| self.levels.best_key(instrument.ladder(side));
            if let (Some(bid), Some(ask)) = (best(Side::Buy), best(Side::Sell)) {
                ensure(bid < -ask, "a book is crossed")?;
            }
        }
        ensure(in_books == self.orders.live as usize, "not every live order is in its book")?;

        let mut listed = 0;
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
                let (currency, hold) = self.hold_of(order);
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
        let (mut total, mut rank, mut above) = (0, 0, i64::MAX);
        while let Some((level_key, handle)) = self.levels.ranked(ladder, rank) {
            ensure(level_key < above, "levels are out of order")?;
            (above, rank) = (level_key, rank + 1);
            let level = self.levels.get(handle);
            let (mut slot, mut previous, mut orders, mut quantity) = (level.head, NONE, 0, 0_u64);
            while slot != NONE {
                let order = self.orders.get(slot);
                let belongs = usize::from(order.instrument) == id
                    && order.side == side
                    && key(side, order.price) == level_key
                    && order.level == handle
                    && order.previous == previous
                    && order.account != 0
                    && order.remaining > 0;
                ensure(belongs, "an order is in the wrong queue")?;
                orders += 1;
                quantity += order.remaining;
                (previous, slot) = (slot, order.next);
            }
            let adds_up =
                orders > 0 && level.orders == orders && level.quantity == quantity && level.tail == previous;
            ensure(adds_up, "a level's totals are not those of its orders")?;
            total += orders as usize;
        }
        Ok(total)
    }
}

#[inline]
pub(crate) fn permitted(context: &Context, needed: u32) -> Result<(), Reject> {
    if context.permissions & needed == needed { Ok(()) } else { Err(Reject::NotPermitted) }
}

#[inline]
fn live(instruments: &[Option<Instrument>], id: u16) -> &Instrument {
    instruments[usize::from(id) - 1].as_ref().expect("an order's instrument exists")
}

#[inline]
pub(crate) fn live_mut(instruments: &mut [Option<Instrument>], id: u16) -> &mut Instrument {
    instruments[usize::from(id) - 1].as_mut().expect("an order's instrument exists")
}

/// A notional and a fee, which is never more than the notional either way.
#[inline]
fn with_fee(notional: u64, fee: i64) -> u64 {
    notional.checked_add_signed(fee).expect("a fee is no more than the notional")
}

fn blank(context: &Context, code: Option<Reject>) -> OrderReply {
    OrderReply {
        tag: OrderReply::TAG,
        schema: Schema::V1,
        code: Reject::to_wire(code),
        state: OrderState::None,
        reason: Reason::None,
        reserved: [Z; 2],
        instrument: 0.into(),
        account: 0.into(),
        order_id: 0.into(),
        client_order_id: 0.into(),
        cumulative: 0.into(),
        remaining: 0.into(),
        cancelled: 0.into(),
        fills: 0.into(),
        fee_currency: 0.into(),
        notional: 0.into(),
        fee: 0.into(),
        seq: context.seq.into(),
        time: context.time.into(),
    }
}

fn refused(context: &Context, code: Reject) -> OrderReply {
    blank(context, Some(code))
}

fn reply_swept<S: Sink>(context: &Context, account: u32, code: Option<Reject>, cancelled: u64, sink: &mut S) {
    let reply = MassCancelReply {
        tag: MassCancelReply::TAG,
        schema: Schema::V1,
        code: Reject::to_wire(code),
        account: account.into(),
        cancelled: cancelled.into(),
        seq: context.seq.into(),
        time: context.time.into(),
    };
    sink.reply(reply.as_bytes());
}

fn reply_admin<S: Sink>(context: &Context, subject: u32, result: Result<(), Reject>, sink: &mut S) -> Step {
    let reply = AdminReply {
        tag: AdminReply::TAG,
        schema: Schema::V1,
        code: Reject::to_wire(result.err()),
        subject: subject.into(),
        seq: context.seq.into(),
        time: context.time.into(),
    };
    sink.reply(reply.as_bytes());
    Step::Done
}

fn transfer_of(context: &Context, message: &Transfer) -> Executed {
    Executed {
        account: message.account.get(),
        currency: message.currency.get(),
        transaction: message.transaction.get(),
        amount: message.amount.get(),
        withdrawal: message.tag == Transfer::WITHDRAW,
        free: 0,
        seq: context.seq,
        time: context.time,
    }
}
