//! The exchange once more, as plainly as it can be written: what `docs/format/exchange.md` and the pages of
//! `docs/exchange/` say, rule by rule.
//!
//! It exists to be compared with the engine, and was written from those pages alone. So it shares nothing with the
//! engine but the structs that requests are read with; it even puts its messages together byte by byte, as the
//! page lists their fields. There are no indexes and no running totals: whatever can be worked out from the live
//! orders and from what each account owns is worked out anew each time it is asked for.
#![forbid(unsafe_code)]

mod access;
mod auction;
mod bands;
mod command;
mod copies;
mod disconnect;
mod entry;
mod feed;
mod fees;
mod instrument;
mod limits;
mod message;
mod order;
mod query;
mod report;
mod schedule;
mod state;
mod trade;

pub use feed::Feeds;
pub use instrument::Instrument;
pub use order::Order;

use auction::Auction;
use bands::{Bands, Call};
use command::Command;
use disconnect::Absence;
use fees::Schedule;
use instrument::AMOUNT_MAX;
use limits::{Limited, Pair};
use message::Message;
use ordain_exchange_protocol::{
    Access, Amend2, Audience, Definition, Grant, GrantAction, Market, MarketState, NewOrder2, OrderRef,
    Reject, Request, SelfTrade, Side, Transfer, permission,
};
use schedule::Timetable;
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
    /// Session that sent it; 0 if none did.
    pub session: u64,
}

impl Context {
    fn may(&self, bits: u32) -> Result<(), Reject> {
        ensure(self.permissions & bits == bits, Reject::NotPermitted)
    }
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

/// An exchange.
pub struct Model {
    limits: Limits,
    instruments: BTreeMap<u32, Instrument>,
    /// Accounts and the keys granted.
    accounts: BTreeMap<u32, BTreeSet<u32>>,
    /// By account and currency: what the account has, free or held.
    owned: BTreeMap<(u32, u32), i128>,
    /// Groups of accounts that are in one.
    groups: BTreeMap<u32, u32>,
    /// Firms of accounts that are in one.
    firms: BTreeMap<u32, u32>,
    /// By firm: the keys granted its stream.
    readers: BTreeMap<u32, BTreeSet<u32>>,
    /// By scope and id: what accounts may do, if that was ever set.
    access: BTreeMap<(u8, u32), Access>,
    /// By scope and id: what limits an account or a firm, if that was ever set.
    limited: BTreeMap<(u8, u32), Limited>,
    /// By scope, id and currency: the most notional of live orders, if that was ever set.
    gross_limits: BTreeMap<(u8, u32, u32), u64>,
    /// By account and instrument: limits and positions.
    pairs: BTreeMap<(u32, u32), Pair>,
    /// Classes of instruments and tiers of accounts, where they were set.
    fee_classes: BTreeMap<u32, u8>,
    fee_tiers: BTreeMap<u32, u8>,
    /// By class and tier.
    schedules: BTreeMap<(u8, u8), Schedule>,
    /// By instrument: what happens where orders of one owner meet, if that was ever set.
    modes: BTreeMap<u32, SelfTrade>,
    /// By instrument: what may be done, if that was ever set.
    states: BTreeMap<u32, MarketState>,
    auctions: BTreeMap<u32, Auction>,
    bands: BTreeMap<u32, Bands>,
    /// Auctions that a band called, until when.
    calls: BTreeMap<u32, Call>,
    timetables: BTreeMap<u32, Timetable>,
    /// By instrument: what is published of it, if that was ever set.
    feeds: BTreeMap<u32, Feeds>,
    /// Sessions whose orders are cancelled when their clients are gone.
    absences: BTreeMap<u64, Absence>,
    /// Level of behaviour.
    level: u16,
    /// By instrument: the reference price of the day, if there is one.
    day_references: BTreeMap<u32, i128>,
    /// By instrument: the price of the last trade.
    last: BTreeMap<u32, i128>,
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
            groups: BTreeMap::new(),
            firms: BTreeMap::new(),
            readers: BTreeMap::new(),
            access: BTreeMap::new(),
            limited: BTreeMap::new(),
            gross_limits: BTreeMap::new(),
            pairs: BTreeMap::new(),
            fee_classes: BTreeMap::new(),
            fee_tiers: BTreeMap::new(),
            schedules: BTreeMap::new(),
            modes: BTreeMap::new(),
            states: BTreeMap::new(),
            auctions: BTreeMap::new(),
            bands: BTreeMap::new(),
            calls: BTreeMap::new(),
            timetables: BTreeMap::new(),
            feeds: BTreeMap::new(),
            absences: BTreeMap::new(),
            level: 0,
            day_references: BTreeMap::new(),
            last: BTreeMap::new(),
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

    /// The ids of the instruments that there are.
    pub fn instruments(&self) -> impl Iterator<Item = u32> {
        self.instruments.keys().copied()
    }

    /// The keys granted an account, if there is such an account.
    #[must_use]
    pub fn keys(&self, account: u32) -> Option<&BTreeSet<u32>> {
        self.accounts.get(&account)
    }

    /// The orders of one side of a book, best price first, market orders before others at a price, oldest first.
    #[must_use]
    pub fn side(&self, instrument: u32, side: Side) -> Vec<&Order> {
        let mut orders: Vec<&Order> = self
            .orders
            .iter()
            .filter(|order| order.is_in_book_of(instrument) && order.side == side)
            .collect();
        orders.sort_by_key(|order| match side {
            Side::Buy => (-order.price, order.is_at_a_level(), order.place),
            Side::Sell => (order.price, order.is_at_a_level(), order.place),
        });
        orders
    }

    /// Orders of an instrument that wait for a trigger, in the order in which they were entered.
    pub fn waiting(&self, instrument: u32) -> impl Iterator<Item = &Order> {
        self.orders.iter().filter(move |order| order.instrument == instrument && order.waits())
    }

    /// Price of the last trade in an instrument, ticks.
    #[must_use]
    pub fn last(&self, instrument: u32) -> Option<i128> {
        self.last.get(&instrument).copied()
    }

    /// An instrument's mode of self-trade prevention.
    #[must_use]
    pub fn mode(&self, instrument: u32) -> SelfTrade {
        self.modes.get(&instrument).copied().unwrap_or(SelfTrade::Allow)
    }

    /// Group of an account; 0 for none.
    #[must_use]
    pub fn group(&self, account: u32) -> u32 {
        self.groups.get(&account).copied().unwrap_or(0)
    }

    /// Whether two accounts are one owner.
    #[must_use]
    pub fn same_owner(&self, one: u32, other: u32) -> bool {
        one == other || (self.group(one) != 0 && self.group(one) == self.group(other))
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

    /// Lets pass what is due by the time of a request, then executes it; returns its reply and what others are told.
    ///
    /// # Panics
    /// As [`Model::execute`].
    pub fn apply(&mut self, context: &Context, request: &Request<'_>) -> (Vec<u8>, Outputs) {
        let mut outputs = self.pass(context, context.time);
        let (reply, told) = self.execute(context, request);
        outputs.extend(told);
        (reply, outputs)
    }

    /// Lets pass what is due by `until`; returns what others are told.
    pub fn pass(&mut self, context: &Context, until: u64) -> Outputs {
        let mut command = Command::new(*context);
        self.pass_time(&mut command, until);
        self.indicate_all(&mut command);
        self.assert_sound();
        self.with_copies(command.outputs)
    }

    /// Executes a request; returns its reply and what others are told.
    ///
    /// # Panics
    /// If the rules contradict each other: if a balance becomes negative, or money appears or vanishes.
    pub fn execute(&mut self, context: &Context, request: &Request<'_>) -> (Vec<u8>, Outputs) {
        let mut command = Command::new(*context);
        self.begin_feeds(&mut command);
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
            Request::SetSelfTrade(request) => {
                let instrument = request.instrument.get();
                admin_reply(
                    context,
                    instrument,
                    &self.set_self_trade(context, instrument, request.self_trade),
                )
            }
            Request::SetGroup(request) => {
                let account = request.account.get();
                admin_reply(context, account, &self.set_group(context, account, request.group.get()))
            }
            Request::Deposit(request) => self.transfer(context, request, true),
            Request::Withdraw(request) => self.transfer(context, request, false),
            Request::NewOrder(request) => {
                self.enter(&mut command, &NewOrder2::from_first(request), report::Layout::First)
            }
            Request::NewOrder2(request) => self.enter(&mut command, request, report::Layout::Second),
            Request::Cancel(request) => {
                let named = (0, request.account.get(), request.order_id.get(), request.client_order_id.get());
                let result = self.cancel(&mut command, request);
                report::order_reply(context, report::Layout::First, named, &result)
            }
            Request::Amend(request) => {
                let second = Amend2 {
                    order_id: request.order_id,
                    client_order_id: request.client_order_id,
                    ..Amend2::new(
                        request.account.get(),
                        request.order(),
                        request.price.get(),
                        request.quantity.get(),
                    )
                };
                self.change_order(&mut command, &second, report::Layout::First)
            }
            Request::Amend2(request) => self.change_order(&mut command, request, report::Layout::Second),
            Request::MassCancel(request) => {
                let result = self.mass_cancel(&mut command, request);
                mass_cancel_reply(context, request.account.get(), &result)
            }
            Request::SetState(request) => {
                admin_reply(context, request.instrument.get(), &self.set_state(&mut command, request))
            }
            Request::Remark(_) => admin_reply(context, 0, &self.remark(context)),
            Request::SetDisconnect(request) => {
                admin_reply(context, 0, &self.set_disconnect(context, request))
            }
            Request::Control(control) => self.control(&mut command, control),
            Request::Market(Market::SetReference(request)) => {
                admin_reply(context, request.instrument.get(), &self.set_reference(context, request))
            }
            Request::Market(Market::SetBands(request)) => {
                admin_reply(context, request.instrument.get(), &self.set_bands(context, request))
            }
            Request::Market(Market::SetSchedule(request)) => {
                admin_reply(context, request.instrument.get(), &self.set_schedule(context, request))
            }
            Request::Market(Market::SetFeed(request)) => {
                admin_reply(context, request.instrument.get(), &self.set_feed(&mut command, request))
            }
        };
        self.indicate_all(&mut command);
        self.end_feeds(&mut command);
        self.assert_sound();
        let mut outputs = self.with_copies(command.outputs);
        outputs.extend(self.copy_of_reply(request, &reply));
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

    fn set_self_trade(&mut self, context: &Context, instrument: u32, mode: SelfTrade) -> Result<(), Reject> {
        context.may(permission::ADMIN)?;
        ensure(self.instruments.contains_key(&instrument), Reject::UnknownInstrument)?;
        self.modes.insert(instrument, mode);
        Ok(())
    }

    fn remark(&self, context: &Context) -> Result<(), Reject> {
        let may = context.may(permission::ADMIN).or(context.may(permission::CUSTODY));
        may.and(ensure(self.level >= 1, Reject::NotBegun))
    }

    fn set_group(&mut self, context: &Context, account: u32, group: u32) -> Result<(), Reject> {
        context.may(permission::ADMIN)?;
        ensure(self.accounts.contains_key(&account), Reject::UnknownAccount)?;
        self.groups.insert(account, group);
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
            self.may_withdraw(account)?;
            ensure(amount <= self.free(account, currency), Reject::InsufficientFunds)?;
            -amount
        };
        self.change(account, currency, change);
        *self.supply.entry(currency).or_default() += change;
        Ok(self.free(account, currency))
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
}

fn admin_reply(context: &Context, subject: u32, result: &Result<(), Reject>) -> Vec<u8> {
    Message::new(0x83, 24)
        .put(2, 2, code(result))
        .put(4, 4, subject)
        .put(8, 8, context.seq)
        .put(16, 8, context.time)
        .bytes()
}

/// `subject`: whose orders were to be cancelled.
fn mass_cancel_reply(context: &Context, subject: u32, result: &Result<u64, Reject>) -> Vec<u8> {
    Message::new(0x82, 32)
        .put(2, 2, code(result))
        .put(4, 4, subject)
        .put(8, 8, result.unwrap_or(0))
        .put(16, 8, context.seq)
        .put(24, 8, context.time)
        .bytes()
}
