//! The exchange once more, as plainly as it can be written: what `docs/format/exchange.md` says, rule by rule.
//!
//! It exists to be compared with the engine, and was written from that page alone. So it shares nothing with the
//! engine but the structs that requests are read with; it even puts its messages together byte by byte, as the
//! page lists their fields. There are no indexes and no running totals: whatever can be worked out from the live
//! orders and from what each account owns is worked out anew each time it is asked for.
#![forbid(unsafe_code)]

mod instrument;
mod message;
mod query;

pub use instrument::Instrument;

use instrument::{AMOUNT_MAX, at_or_better};
use message::Message;
use ordain_exchange_protocol::{
    Amend, Audience, Cancel, Definition, Flag, Grant, GrantAction, MassCancel, NewOrder, OrderRef,
    OrderState, OrderType, Reason, Reject, Request, Side, TimeInForce, Transfer, permission,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Most keys that may act for an account.
const KEYS_PER_ACCOUNT: usize = 8;

/// The constants of an exchange.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Highest instrument id.
    pub instruments: u32,
    /// Highest currency id.
    pub currencies: u32,
    /// Highest account id.
    pub accounts: u32,
    /// Live orders.
    pub orders: usize,
    /// Live orders of an account.
    pub orders_per_account: usize,
    /// Prices on a side of a book.
    pub levels_per_side: usize,
    /// Transfers remembered.
    pub transfers: usize,
}

/// What the log says about a request.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// Number of the request in the log.
    pub seq: u64,
    /// Log time, nanoseconds since the Unix epoch.
    pub time: u64,
    /// Key that sent it.
    pub key: u32,
    /// Permission bits of that key.
    pub permissions: u32,
}

impl Context {
    fn may(&self, bits: u32) -> Result<(), Reject> {
        ensure(self.permissions & bits == bits, Reject::NotPermitted)
    }
}

/// A live order.
#[derive(Clone, Debug)]
pub struct Order {
    /// Order id.
    pub id: u64,
    /// Client order id.
    pub client: u64,
    /// Account id.
    pub account: u32,
    /// Instrument id.
    pub instrument: u32,
    /// Side.
    pub side: Side,
    /// Limit price, ticks.
    pub price: i128,
    /// Lots filled.
    pub cumulative: i128,
    /// Lots open.
    pub remaining: i128,
    /// Whether it may only rest.
    pub post_only: bool,
    /// Of two orders at a price, that with the lower place came first.
    place: u64,
}

/// Messages to others than the sender, in order.
pub type Outputs = Vec<(Audience, Vec<u8>)>;

/// A transfer that was executed.
struct Executed {
    transaction: u64,
    account: u32,
    contents: (bool, u32, u64),
    reply: Vec<u8>,
}

/// What one command did to one order.
struct Outcome {
    state: OrderState,
    reason: Reason,
    order: Order,
    fee_currency: u32,
    cancelled: i128,
    fills: Fills,
}

/// What an order traded in one command.
#[derive(Default)]
struct Fills {
    count: u32,
    notional: i128,
    fee: i128,
    /// Whether free funds ended it.
    budget: bool,
}

/// An exchange.
pub struct Model {
    limits: Limits,
    instruments: BTreeMap<u32, Instrument>,
    /// Accounts and the keys granted.
    accounts: BTreeMap<u32, BTreeSet<u32>>,
    /// By account and currency: what the account has, free or held.
    owned: BTreeMap<(u32, u32), i128>,
    /// Live orders in the order in which they were entered.
    orders: Vec<Order>,
    /// By slot: how many times it was taken.
    generations: Vec<u32>,
    /// Slots given back, the last one at the end.
    spare_slots: Vec<u32>,
    places: u64,
    /// By currency: deposits less withdrawals.
    supply: BTreeMap<u32, i128>,
    transfers: VecDeque<Executed>,
    accepted: u64,
    trades: u64,
}

fn ensure(holds: bool, otherwise: Reject) -> Result<(), Reject> {
    if holds { Ok(()) } else { Err(otherwise) }
}

fn code<T>(result: &Result<T, Reject>) -> u16 {
    result.as_ref().err().map_or(0, |reject| *reject as u16)
}

impl Model {
    /// An exchange with nothing in it but account 0.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            instruments: BTreeMap::new(),
            accounts: BTreeMap::new(),
            owned: BTreeMap::new(),
            orders: Vec::new(),
            generations: Vec::new(),
            spare_slots: Vec::new(),
            places: 0,
            supply: BTreeMap::new(),
            transfers: VecDeque::new(),
            accepted: 0,
            trades: 0,
        }
    }

    /// Live orders in the order in which they were entered.
    #[must_use]
    pub fn orders(&self) -> &[Order] {
        &self.orders
    }

    /// An instrument.
    #[must_use]
    pub fn instrument(&self, id: u32) -> Option<&Instrument> {
        self.instruments.get(&id)
    }

    /// The keys granted an account, if there is such an account.
    #[must_use]
    pub fn keys(&self, account: u32) -> Option<&BTreeSet<u32>> {
        self.accounts.get(&account)
    }

    /// The orders of one side of a book, best price first, oldest first.
    #[must_use]
    pub fn side(&self, instrument: u32, side: Side) -> Vec<&Order> {
        let mut orders: Vec<&Order> =
            self.orders.iter().filter(|order| order.instrument == instrument && order.side == side).collect();
        orders.sort_by_key(|order| match side {
            Side::Buy => (-order.price, order.place),
            Side::Sell => (order.price, order.place),
        });
        orders
    }

    fn best_price(&self, instrument: u32, side: Side) -> Option<i128> {
        self.side(instrument, side).first().map(|order| order.price)
    }

    /// What a live order holds, of which currency.
    fn hold(&self, order: &Order) -> (u32, i128) {
        self.instruments[&order.instrument].hold(order.side, order.price, order.remaining)
    }

    fn owned(&self, account: u32, currency: u32) -> i128 {
        self.owned.get(&(account, currency)).copied().unwrap_or(0)
    }

    /// What the live orders of an account hold of a currency, minor units.
    #[must_use]
    pub fn held(&self, account: u32, currency: u32) -> i128 {
        let of_account = self.orders.iter().filter(|order| order.account == account);
        of_account.map(|order| self.hold(order)).filter(|hold| hold.0 == currency).map(|hold| hold.1).sum()
    }

    /// What an account has of a currency and no live order holds, minor units.
    #[must_use]
    pub fn free(&self, account: u32, currency: u32) -> i128 {
        self.owned(account, currency) - self.held(account, currency)
    }

    /// Deposits less withdrawals of a currency, minor units.
    #[must_use]
    pub fn supply(&self, currency: u32) -> i128 {
        self.supply.get(&currency).copied().unwrap_or(0)
    }

    fn change(&mut self, account: u32, currency: u32, amount: i128) {
        *self.owned.entry((account, currency)).or_default() += amount;
    }

    fn is_currency(&self, id: u32) -> Result<(), Reject> {
        ensure((1..=self.limits.currencies).contains(&id), Reject::CurrencyOutOfRange)
    }

    /// Account 0 included.
    fn is_account(&self, id: u32) -> Result<(), Reject> {
        ensure(id == 0 || self.accounts.contains_key(&id), Reject::UnknownAccount)
    }

    fn is_granted(&self, context: &Context, account: u32) -> Result<(), Reject> {
        let granted = self.accounts.get(&account).is_some_and(|keys| keys.contains(&context.key));
        ensure(granted || context.permissions & permission::ADMIN != 0, Reject::NotGranted)
    }

    /// The checks at the head of every command on orders.
    fn may_trade(&self, context: &Context, account: u32) -> Result<(), Reject> {
        context.may(permission::TRADE)?;
        ensure(self.accounts.contains_key(&account), Reject::UnknownAccount)?;
        self.is_granted(context, account)
    }

    /// Where in `orders` an order of the account is.
    fn find(&self, account: u32, order: OrderRef) -> Result<usize, Reject> {
        let found = self.orders.iter().position(|live| {
            live.account == account
                && match order {
                    OrderRef::Id(id) => live.id == id,
                    OrderRef::Client(client) => live.client == client,
                }
        });
        found.ok_or(Reject::UnknownOrder)
    }

    /// Executes a request; returns its reply and what others are told.
    ///
    /// # Panics
    /// If the rules contradict each other: if a balance becomes negative, or money appears or vanishes.
    pub fn apply(&mut self, context: &Context, request: &Request<'_>) -> (Vec<u8>, Outputs) {
        let mut outputs = Outputs::new();
        let reply = match request {
            Request::CreateInstrument(request) => {
                let result = self.create_instrument(context, &request.definition);
                admin_reply(context, request.definition.instrument.get(), &result)
            }
            Request::CreateAccount(request) => {
                let account = request.account.get();
                admin_reply(context, account, &self.create_account(context, account))
            }
            Request::Grant(request) => {
                admin_reply(context, request.account.get(), &self.grant(context, request))
            }
            Request::Deposit(request) => self.transfer(context, request, true),
            Request::Withdraw(request) => self.transfer(context, request, false),
            Request::NewOrder(request) => {
                let named =
                    (request.instrument.get(), request.account.get(), 0, request.client_order_id.get());
                order_reply(context, named, &self.new_order(context, request, &mut outputs))
            }
            Request::Cancel(request) => {
                let named = (0, request.account.get(), request.order_id.get(), request.client_order_id.get());
                order_reply(context, named, &self.cancel(context, request))
            }
            Request::Amend(request) => {
                let named = (0, request.account.get(), request.order_id.get(), request.client_order_id.get());
                order_reply(context, named, &self.amend(context, request, &mut outputs))
            }
            Request::MassCancel(request) => {
                let result = self.mass_cancel(context, request, &mut outputs);
                Message::new(0x82, 32)
                    .put(2, 2, code(&result))
                    .put(4, 4, request.account.get())
                    .put(8, 8, result.unwrap_or(0))
                    .put(16, 8, context.seq)
                    .put(24, 8, context.time)
                    .bytes()
            }
            // Not yet in the model.
            Request::NewOrder2(request) => Message::new(0x81, 112)
                .put(1, 1, 2)
                .put(2, 2, Reject::NotSupported as u16)
                .put(8, 4, request.instrument.get())
                .put(12, 4, request.account.get())
                .put(24, 8, request.client_order_id.get())
                .put(80, 8, context.seq)
                .put(88, 8, context.time)
                .bytes(),
            Request::Amend2(request) => Message::new(0x81, 112)
                .put(1, 1, 2)
                .put(2, 2, Reject::NotSupported as u16)
                .put(12, 4, request.account.get())
                .put(16, 8, request.order_id.get())
                .put(24, 8, request.client_order_id.get())
                .put(80, 8, context.seq)
                .put(88, 8, context.time)
                .bytes(),
            Request::SetSelfTrade(request) => {
                admin_reply(context, request.instrument.get(), &Err(Reject::NotSupported))
            }
            Request::SetGroup(request) => {
                admin_reply(context, request.account.get(), &Err(Reject::NotSupported))
            }
        };
        self.assert_sound();
        (reply, outputs)
    }

    /// What the page promises of all balances.
    fn assert_sound(&self) {
        let mut total: BTreeMap<u32, i128> = BTreeMap::new();
        for (&(account, currency), owned) in &self.owned {
            assert!(self.free(account, currency) >= 0, "account {account} owes currency {currency}");
            *total.entry(currency).or_default() += owned;
        }
        for (currency, total) in total {
            assert_eq!(total, self.supply(currency), "currency {currency} is not conserved");
        }
    }

    fn create_instrument(&mut self, context: &Context, definition: &Definition) -> Result<(), Reject> {
        context.may(permission::ADMIN)?;
        let new = Instrument::new(definition);
        ensure((1..=self.limits.instruments).contains(&new.id), Reject::InstrumentOutOfRange)?;
        ensure(!self.instruments.contains_key(&new.id), Reject::InstrumentExists)?;
        let symbol = new.definition.symbol;
        ensure(self.instruments.values().all(|old| old.definition.symbol != symbol), Reject::SymbolTaken)?;
        self.is_currency(new.base)?;
        self.is_currency(new.quote)?;
        ensure(new.base != new.quote, Reject::SameCurrency)?;
        new.check_terms()?;
        self.instruments.insert(new.id, new);
        Ok(())
    }

    fn create_account(&mut self, context: &Context, account: u32) -> Result<(), Reject> {
        context.may(permission::ADMIN)?;
        ensure((1..=self.limits.accounts).contains(&account), Reject::AccountOutOfRange)?;
        ensure(!self.accounts.contains_key(&account), Reject::AccountExists)?;
        self.accounts.insert(account, BTreeSet::new());
        Ok(())
    }

    fn grant(&mut self, context: &Context, request: &Grant) -> Result<(), Reject> {
        context.may(permission::ADMIN)?;
        let keys = self.accounts.get_mut(&request.account.get()).ok_or(Reject::UnknownAccount)?;
        let key = request.key.get();
        match request.action {
            GrantAction::Grant => {
                ensure(keys.contains(&key) || keys.len() < KEYS_PER_ACCOUNT, Reject::GrantsFull)?;
                keys.insert(key);
            }
            GrantAction::Revoke => {
                keys.remove(&key);
            }
        }
        Ok(())
    }

    fn transfer(&mut self, context: &Context, request: &Transfer, deposit: bool) -> Vec<u8> {
        let (account, transaction) = (request.account.get(), request.transaction.get());
        let contents = (deposit, request.currency.get(), request.amount.get());
        let executed = match self.check_transfer(context, account, contents) {
            Ok(()) => {
                let repeated = self
                    .transfers
                    .iter()
                    .find(|old| old.account == account && old.transaction == transaction);
                match repeated {
                    Some(first) if first.contents == contents => return first.reply.clone(),
                    Some(_) => Err(Reject::TransactionConflict),
                    None => self.move_money(account, contents),
                }
            }
            Err(reject) => Err(reject),
        };
        let reply = Message::new(0x84, 56)
            .put(2, 2, code(&executed))
            .put(4, 4, account)
            .put(8, 4, contents.1)
            .put(16, 8, transaction)
            .put(24, 8, contents.2)
            .put(32, 8, executed.unwrap_or(0))
            .put(40, 8, context.seq)
            .put(48, 8, context.time)
            .bytes();
        if executed.is_ok() {
            if self.transfers.len() == self.limits.transfers {
                self.transfers.pop_front();
            }
            self.transfers.push_back(Executed { transaction, account, contents, reply: reply.clone() });
        }
        reply
    }

    fn check_transfer(
        &self,
        context: &Context,
        account: u32,
        (_, currency, amount): (bool, u32, u64),
    ) -> Result<(), Reject> {
        context.may(permission::CUSTODY)?;
        self.is_account(account)?;
        self.is_currency(currency)?;
        ensure((1..=AMOUNT_MAX).contains(&amount.into()), Reject::AmountInvalid)
    }

    /// Returns the free balance afterwards.
    fn move_money(
        &mut self,
        account: u32,
        (deposit, currency, amount): (bool, u32, u64),
    ) -> Result<i128, Reject> {
        let amount = i128::from(amount);
        let change = if deposit {
            ensure(self.supply(currency) + amount <= AMOUNT_MAX, Reject::SupplyExceeded)?;
            amount
        } else {
            ensure(amount <= self.free(account, currency), Reject::InsufficientFunds)?;
            -amount
        };
        self.change(account, currency, change);
        *self.supply.entry(currency).or_default() += change;
        Ok(self.free(account, currency))
    }

    fn new_order(
        &mut self,
        context: &Context,
        request: &NewOrder,
        outputs: &mut Outputs,
    ) -> Result<Outcome, Reject> {
        let (account, side) = (request.account.get(), request.side);
        let (id, client) = (request.instrument.get(), request.client_order_id.get());
        let (market, tif) = (request.order_type == OrderType::Market, request.time_in_force);
        let post_only = request.post_only == Flag::Yes;
        let quantity = i128::from(request.quantity.get());

        // 1 to 4.
        self.may_trade(context, account)?;
        let instrument = self.instruments.get(&id).ok_or(Reject::UnknownInstrument)?.clone();
        let gtc = tif == TimeInForce::Gtc;
        ensure(!(market && gtc), Reject::MarketMustNotRest)?;
        ensure(!(post_only && (market || !gtc)), Reject::PostOnlyConflict)?;
        ensure(!(market && request.price.get() != 0), Reject::MarketPriceSet)?;
        // 5.
        instrument.check_quantity(quantity)?;
        // 6.
        let best_opposite = self.best_price(id, side.opposite());
        let price = if market {
            let best = best_opposite.ok_or(Reject::NoLiquidity)?;
            match side {
                Side::Buy => (best + instrument.collar).min(instrument.max_price),
                Side::Sell => (best - instrument.collar).max(1),
            }
        } else {
            let price = request.price.get().into();
            instrument.check_price(price)?;
            price
        };
        // 7.
        instrument.check_notional(price, quantity)?;
        // 8.
        ensure(self.find(account, OrderRef::Client(client)).is_err(), Reject::DuplicateClientOrderId)?;
        // 9.
        ensure(self.orders.len() < self.limits.orders, Reject::OrdersFull)?;
        let of_account = self.orders.iter().filter(|order| order.account == account).count();
        ensure(of_account < self.limits.orders_per_account, Reject::AccountOrdersFull)?;
        // 10.
        let crosses = best_opposite.is_some_and(|best| at_or_better(side, price, best));
        ensure(!(post_only && crosses), Reject::PostOnlyWouldCross)?;
        // 11.
        let prices: BTreeSet<i128> = self.side(id, side).iter().map(|order| order.price).collect();
        let fits = prices.contains(&price) || prices.len() < self.limits.levels_per_side;
        ensure(!gtc || fits, Reject::LevelsFull)?;
        // 12.
        if tif == TimeInForce::Fok {
            let within = self.side(id, side.opposite());
            let within = within.iter().filter(|maker| at_or_better(side, price, maker.price));
            ensure(within.map(|maker| maker.remaining).sum::<i128>() >= quantity, Reject::NotFillable)?;
        }
        // 13.
        let (currency, needed) = match (side, market, tif) {
            (Side::Buy, true, TimeInForce::Fok) => {
                (instrument.quote, self.cost_of_taking(&instrument, quantity))
            }
            (Side::Buy, true, _) => {
                let best = best_opposite.expect("a market order found a price");
                (instrument.quote, instrument.lot_cost(best))
            }
            _ => instrument.hold(side, price, quantity),
        };
        ensure(needed <= self.free(account, currency), Reject::InsufficientFunds)?;

        self.accepted += 1;
        let mut order = Order {
            id: self.take_slot(),
            client,
            account,
            instrument: id,
            side,
            price,
            cumulative: 0,
            remaining: quantity,
            post_only,
            place: 0,
        };
        let on_budget = market && side == Side::Buy && tif == TimeInForce::Ioc;
        let fills = self.trade(context, &mut order, on_budget, outputs);
        let (state, reason) = if order.remaining == 0 {
            (OrderState::Filled, Reason::None)
        } else if gtc {
            (OrderState::Live, Reason::None)
        } else if fills.budget {
            (OrderState::Cancelled, Reason::Budget)
        } else {
            (OrderState::Cancelled, Reason::Remainder)
        };
        let mut cancelled = 0;
        if state == OrderState::Live {
            order.place = self.next_place();
            self.orders.push(order.clone());
        } else {
            cancelled = std::mem::take(&mut order.remaining);
            self.give_back_slot(order.id);
        }
        Ok(Outcome { state, reason, order, fee_currency: instrument.quote, cancelled, fills })
    }

    /// What the best `quantity` asks cost at most, each lot charged by itself.
    fn cost_of_taking(&self, instrument: &Instrument, mut quantity: i128) -> i128 {
        let mut cost = 0;
        for maker in self.side(instrument.id, Side::Sell) {
            let lots = quantity.min(maker.remaining);
            cost += lots * instrument.lot_cost(maker.price);
            quantity -= lots;
        }
        cost
    }

    /// Trades an order that is not in the book with the opposite side, as far as its price allows.
    ///
    /// With `on_budget` it may spend the free funds of its account and no more.
    fn trade(
        &mut self,
        context: &Context,
        taker: &mut Order,
        on_budget: bool,
        outputs: &mut Outputs,
    ) -> Fills {
        let instrument = self.instruments[&taker.instrument].clone();
        let mut fills = Fills::default();
        while taker.remaining > 0 && !fills.budget {
            let Some(maker) = self.side(taker.instrument, taker.side.opposite()).first().copied().cloned()
            else {
                break;
            };
            if !at_or_better(taker.side, taker.price, maker.price) {
                break;
            }
            let mut lots = taker.remaining.min(maker.remaining);
            if on_budget {
                let affordable =
                    self.free(taker.account, instrument.quote) / instrument.lot_cost(maker.price);
                fills.budget = affordable < lots;
                lots = lots.min(affordable);
            }
            if lots > 0 {
                self.fill(context, &instrument, taker, maker, lots, &mut fills, outputs);
            }
        }
        fills
    }

    /// One trade, at the maker's price.
    #[expect(clippy::too_many_arguments, reason = "a trade has two sides, an index and hearers")]
    fn fill(
        &mut self,
        context: &Context,
        instrument: &Instrument,
        taker: &mut Order,
        mut maker: Order,
        lots: i128,
        fills: &mut Fills,
        outputs: &mut Outputs,
    ) {
        let price = maker.price;
        let notional = instrument.notional(price, lots);
        let maker_fee = instrument::fee(notional, instrument.maker_ppm);
        let taker_fee = instrument::fee(notional, instrument.taker_ppm);
        let (buyer, buyer_fee, seller, seller_fee) = match taker.side {
            Side::Buy => (taker.account, taker_fee, maker.account, maker_fee),
            Side::Sell => (maker.account, maker_fee, taker.account, taker_fee),
        };
        self.change(buyer, instrument.quote, -(notional + buyer_fee));
        self.change(seller, instrument.quote, notional - seller_fee);
        self.change(0, instrument.quote, buyer_fee + seller_fee);
        self.change(seller, instrument.base, -lots * instrument.base_per_lot);
        self.change(buyer, instrument.base, lots * instrument.base_per_lot);

        for order in [&mut maker, &mut *taker] {
            order.cumulative += lots;
            order.remaining -= lots;
        }
        for (order, aggressor, fee) in [(&maker, false, maker_fee), (&*taker, true, taker_fee)] {
            let state = if order.remaining == 0 { OrderState::Filled } else { OrderState::Live };
            let report = Message::new(0xC1, 96)
                .put(2, 1, Reason::Fill as u8)
                .put(3, 1, order.side as u8)
                .put(4, 1, u8::from(aggressor))
                .put(5, 1, state as u8)
                .put(8, 4, order.account)
                .put(12, 4, order.instrument)
                .put(16, 8, order.id)
                .put(24, 8, order.client)
                .put(32, 8, order.cumulative)
                .put(40, 8, order.remaining)
                .put(48, 8, price)
                .put(56, 8, lots)
                .put(64, 8, context.seq)
                .put(72, 8, context.time)
                .put(80, 4, fills.count)
                .put(84, 4, instrument.quote)
                .put(88, 8, fee)
                .bytes();
            outputs.push((Audience::Account(order.account), report));
        }
        let report = Message::new(0xC3, 48)
            .put(2, 1, taker.side as u8)
            .put(4, 4, instrument.id)
            .put(8, 8, price)
            .put(16, 8, lots)
            .put(24, 8, context.seq)
            .put(32, 8, context.time)
            .put(40, 4, fills.count)
            .bytes();
        outputs.push((Audience::Instrument(instrument.id), report));

        let at = self.orders.iter().position(|order| order.id == maker.id).expect("the maker is live");
        if maker.remaining == 0 {
            self.orders.remove(at);
            self.give_back_slot(maker.id);
        } else {
            self.orders[at] = maker;
        }
        fills.count += 1;
        fills.notional += notional;
        fills.fee += taker_fee;
        self.trades += 1;
    }

    fn next_place(&mut self) -> u64 {
        self.places += 1;
        self.places
    }

    /// Takes a slot; returns the order id that it makes.
    fn take_slot(&mut self) -> u64 {
        let slot = self.spare_slots.pop().unwrap_or_else(|| {
            self.generations.push(0);
            u32::try_from(self.generations.len() - 1).expect("few slots")
        });
        let generation = &mut self.generations[slot as usize];
        *generation = if *generation == u32::MAX { 1 } else { *generation + 1 };
        (u64::from(*generation) << 32) + u64::from(slot)
    }

    fn give_back_slot(&mut self, order_id: u64) {
        self.spare_slots.push((order_id % (1 << 32)) as u32);
    }

    /// Takes an order from the book for good and says so.
    fn close(&mut self, at: usize, reason: Reason) -> Outcome {
        let mut order = self.orders.remove(at);
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

    fn cancel(&mut self, context: &Context, request: &Cancel) -> Result<Outcome, Reject> {
        self.may_trade(context, request.account.get())?;
        let at = self.find(request.account.get(), request.order())?;
        Ok(self.close(at, Reason::Cancelled))
    }

    fn amend(
        &mut self,
        context: &Context,
        request: &Amend,
        outputs: &mut Outputs,
    ) -> Result<Outcome, Reject> {
        // 1.
        self.may_trade(context, request.account.get())?;
        let at = self.find(request.account.get(), request.order())?;
        let old = self.orders[at].clone();
        let instrument = self.instruments[&old.instrument].clone();
        let (price, quantity) = (i128::from(request.price.get()), i128::from(request.quantity.get()));
        // 2.
        if quantity <= old.cumulative {
            return Ok(self.close(at, Reason::AmendedBelowFilled));
        }
        // 3.
        instrument.check_quantity(quantity)?;
        instrument.check_price(price)?;
        instrument.check_notional(price, quantity)?;
        // 4.
        let crosses = self
            .best_price(instrument.id, old.side.opposite())
            .is_some_and(|best| at_or_better(old.side, price, best));
        ensure(!(old.post_only && crosses), Reject::PostOnlyWouldCross)?;
        // 5.
        let others = self.side(instrument.id, old.side);
        let others: BTreeSet<i128> =
            others.iter().filter(|order| order.id != old.id).map(|order| order.price).collect();
        let fits =
            price == old.price || others.contains(&price) || others.len() < self.limits.levels_per_side;
        ensure(fits, Reject::LevelsFull)?;
        // 6.
        let (currency, needed) = instrument.hold(old.side, price, quantity - old.cumulative);
        let (_, holds) = self.hold(&old);
        ensure(needed <= holds + self.free(old.account, currency), Reject::InsufficientFunds)?;

        let mut order = Order { price, remaining: quantity - old.cumulative, ..old.clone() };
        let mut fills = Fills::default();
        if price == old.price && order.remaining <= old.remaining {
            self.orders[at] = order.clone();
        } else {
            // Among the live orders it keeps its position, which says when it was entered.
            let entered_after: Vec<u64> = self.orders[at + 1..].iter().map(|order| order.id).collect();
            self.orders.remove(at);
            fills = self.trade(context, &mut order, false, outputs);
            if order.remaining > 0 {
                order.place = self.next_place();
                let at = self.orders.iter().position(|order| entered_after.contains(&order.id));
                self.orders.insert(at.unwrap_or(self.orders.len()), order.clone());
            } else {
                self.give_back_slot(order.id);
            }
        }
        let state = if order.remaining > 0 { OrderState::Live } else { OrderState::Filled };
        let fee_currency = instrument.quote;
        Ok(Outcome { state, reason: Reason::None, order, fee_currency, cancelled: 0, fills })
    }

    /// Returns how many orders it closed.
    fn mass_cancel(
        &mut self,
        context: &Context,
        request: &MassCancel,
        outputs: &mut Outputs,
    ) -> Result<u64, Reject> {
        let (account, instrument) = (request.account.get(), request.instrument.get());
        self.may_trade(context, account)?;
        ensure(instrument == 0 || self.instruments.contains_key(&instrument), Reject::UnknownInstrument)?;
        let covers = |order: &Order| {
            order.account == account
                && (instrument == 0 || order.instrument == instrument)
                && request.sides.covers(order.side)
        };
        let mut closed = 0;
        while let Some(at) = self.orders.iter().position(covers) {
            let Outcome { order, cancelled, .. } = self.close(at, Reason::MassCancelled);
            let report = Message::new(0xC2, 72)
                .put(2, 1, Reason::MassCancelled as u8)
                .put(3, 1, order.side as u8)
                .put(8, 4, account)
                .put(12, 4, order.instrument)
                .put(16, 8, order.id)
                .put(24, 8, order.client)
                .put(32, 8, order.cumulative)
                .put(40, 8, cancelled)
                .put(48, 8, order.price)
                .put(56, 8, context.seq)
                .put(64, 8, context.time)
                .bytes();
            outputs.push((Audience::Account(account), report));
            closed += 1;
        }
        Ok(closed)
    }
}

fn admin_reply(context: &Context, subject: u32, result: &Result<(), Reject>) -> Vec<u8> {
    Message::new(0x83, 24)
        .put(2, 2, code(result))
        .put(4, 4, subject)
        .put(8, 8, context.seq)
        .put(16, 8, context.time)
        .bytes()
}

/// `named`: instrument, account, order id and client order id as the command has them.
fn order_reply(context: &Context, named: (u32, u32, u64, u64), result: &Result<Outcome, Reject>) -> Vec<u8> {
    let reply =
        Message::new(0x81, 96).put(2, 2, code(result)).put(80, 8, context.seq).put(88, 8, context.time);
    match result {
        Ok(outcome) => reply
            .put(4, 1, outcome.state as u8)
            .put(5, 1, outcome.reason as u8)
            .put(8, 4, outcome.order.instrument)
            .put(12, 4, outcome.order.account)
            .put(16, 8, outcome.order.id)
            .put(24, 8, outcome.order.client)
            .put(32, 8, outcome.order.cumulative)
            .put(40, 8, outcome.order.remaining)
            .put(48, 8, outcome.cancelled)
            .put(56, 4, outcome.fills.count)
            .put(60, 4, outcome.fee_currency)
            .put(64, 8, outcome.fills.notional)
            .put(72, 8, outcome.fills.fee),
        Err(_) => reply.put(8, 4, named.0).put(12, 4, named.1).put(16, 8, named.2).put(24, 8, named.3),
    }
    .bytes()
}
