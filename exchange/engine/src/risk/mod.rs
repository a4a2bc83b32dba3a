//! Risk limits, and what of them is used. Checked before an order reaches the book; kept up to date where holds are.
//!
//! Nothing is kept for accounts without limits: whoever has none costs a look at a byte of its account. What was there
//! when the first limit came is counted then, in steps.

mod saved;
mod set;

pub(crate) use set::Count;

use crate::access::FIRMS;
use crate::accounts::Account;
use crate::instrument::{Instrument, live};
use crate::orders::NONE;
use crate::{Engine, Limits};
use ordain_exchange_protocol::{NO_LIMIT, NO_LIMIT_32, Reject, Scope, Side};
use std::collections::BTreeMap;
use zerocopy::{FromZeros, Immutable, KnownLayout};

/// Most pairs of account and instrument that have limits.
pub const PAIRS: usize = 1 << 16;
/// Most accounts that have limits in instruments.
pub const PAIRED_ACCOUNTS: usize = 1 << 12;

/// Limits of an account or a firm, whatever it trades.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Party {
    /// Live orders of a firm's accounts; not kept for accounts, which count their own.
    pub orders: u32,
    /// Most live orders.
    pub max_orders: u32,
    /// Only instruments that are allowed by name.
    pub listed: bool,
    /// Currencies with a limit on gross open notional.
    pub gross_limits: u32,
    /// Commands that may come at once; 0 for no limit.
    pub burst: u32,
    /// Time in which the rate allows one more, nanoseconds.
    pub interval: u64,
    /// Log time at which all that was taken from the bucket is back.
    pub full_at: u64,
}

impl Party {
    const FREE: Self = Self {
        orders: 0,
        max_orders: NO_LIMIT_32,
        listed: false,
        gross_limits: 0,
        burst: 0,
        interval: 0,
        full_at: 0,
    };

    /// Whether any limit is set.
    const fn is_limited(&self) -> bool {
        self.is_limited_by_count() || self.gross_limits > 0
    }

    /// Whether any is set that is not in a currency.
    const fn is_limited_by_count(&self) -> bool {
        self.max_orders != NO_LIMIT_32 || self.listed || self.burst > 0
    }

    /// Whether the bucket has something at `time`.
    const fn may_come(&self, time: u64) -> bool {
        self.burst == 0 || self.full_at <= time.saturating_add((self.burst as u64 - 1) * self.interval)
    }

    fn take(&mut self, time: u64) {
        if self.burst > 0 {
            self.full_at = self.full_at.max(time).saturating_add(self.interval);
        }
    }
}

/// Gross open notional of a party in a currency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromZeros, KnownLayout, Immutable)]
#[repr(C)]
pub(crate) struct Gross {
    /// Sum over live orders, both sides. Wide, since sells may ask for more than there is.
    pub open: u128,
    /// The limit's complement, so that zeroed memory means none.
    unlimited_less: u64,
    reserved: u64,
}

impl Gross {
    pub const fn limit(&self) -> u64 {
        !self.unlimited_less
    }
}

/// What an account may do in an instrument, and what it has there. A limit of all ones is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pair {
    pub account: u32,
    pub instrument: u16,
    /// On the account's list.
    pub allowed: bool,
    pub max_quantity: u64,
    pub max_notional: u64,
    pub collar: u64,
    pub max_open: u64,
    pub max_long: u64,
    pub max_short: u64,
    /// Lots of live orders, bought and sold.
    pub open: [u64; 2],
    /// Lots bought less lots sold. Wide, since money may go round.
    pub position: i128,
}

/// See the module.
pub(crate) struct Risk {
    /// Accounts that are watched: while there are none, no command looks at any of this.
    watched: u32,
    /// Accounts and firms with limits that are not in a currency.
    limited: u32,
    /// Limits on gross open notional.
    gross_limits: u32,
    /// By account id, then by firm id.
    pub accounts: Vec<Party>,
    pub firms: Vec<Party>,
    /// By account or firm and currency.
    gross: [Vec<Gross>; 2],
    currencies: usize,
    /// In order of their first limit.
    pub pairs: Vec<Pair>,
    /// By table and instrument, one more than the place in `pairs`; 0 for none.
    tables: Vec<u32>,
    table_count: u32,
    instruments: usize,
}

/// What an order would be, or be changed to.
#[derive(Clone, Copy)]
pub(crate) struct Exposure {
    pub account: u32,
    pub instrument: u16,
    pub side: Side,
    pub price: i64,
    /// Trigger of an order that waits, else 0.
    pub trigger: i64,
    /// The order's total.
    pub quantity: u64,
    /// Price times `quantity`, or the cash of a cash order.
    pub notional: u64,
    /// Of the total, what would be open, and its notional.
    pub open: u64,
    pub open_notional: u64,
    /// What is open of it until now; 0 of a new order.
    pub open_before: u64,
    pub notional_before: u64,
    pub is_by_cash: bool,
    pub is_new: bool,
    /// It only becomes smaller, so nothing but the rate is looked at.
    pub lessens: bool,
    pub time: u64,
}

impl Risk {
    pub fn new(limits: &Limits) -> Self {
        let currencies = limits.currencies as usize;
        let instruments = limits.instruments as usize;
        let accounts = limits.accounts as usize + 1;
        let firms = FIRMS as usize + 1;
        let zeroed = |rows| Gross::new_vec_zeroed(rows * currencies).expect("memory for the limits at start");
        Self {
            watched: 0,
            limited: 0,
            gross_limits: 0,
            accounts: vec![Party::FREE; accounts],
            firms: vec![Party::FREE; firms],
            gross: [zeroed(accounts), zeroed(firms)],
            currencies,
            pairs: Vec::with_capacity(PAIRS),
            tables: u32::new_vec_zeroed(PAIRED_ACCOUNTS * instruments)
                .expect("memory for the limits at start"),
            table_count: 0,
            instruments,
        }
    }

    /// Whether any account is watched.
    #[inline]
    pub const fn is_on(&self) -> bool {
        self.watched > 0
    }

    pub fn party(&self, scope: Scope, id: u32) -> &Party {
        match scope {
            Scope::Account => &self.accounts[id as usize],
            _ => &self.firms[id as usize],
        }
    }

    fn party_mut(&mut self, scope: Scope, id: u32) -> &mut Party {
        match scope {
            Scope::Account => &mut self.accounts[id as usize],
            _ => &mut self.firms[id as usize],
        }
    }

    pub fn gross(&self, scope: Scope, id: u32, currency: u32) -> &Gross {
        &self.gross[scope as usize - 1][id as usize * self.currencies + currency as usize - 1]
    }

    fn gross_mut(&mut self, scope: Scope, id: u32, currency: u32) -> &mut Gross {
        &mut self.gross[scope as usize - 1][id as usize * self.currencies + currency as usize - 1]
    }

    /// What lies in a row of currencies is forgotten.
    fn forget_open(&mut self, account: u32) {
        let first = account as usize * self.currencies;
        self.gross[0][first..][..self.currencies].iter_mut().for_each(|gross| gross.open = 0);
    }

    /// Adds what an account has open to its firm's, or takes it away.
    fn move_open(&mut self, account: u32, firm: u32, joins: bool) {
        let [accounts, firms] = &mut self.gross;
        let of_account = &accounts[account as usize * self.currencies..][..self.currencies];
        let of_firm = &mut firms[firm as usize * self.currencies..][..self.currencies];
        for (total, own) in of_firm.iter_mut().zip(of_account) {
            if joins {
                total.open += own.open;
            } else {
                total.open -= own.open;
            }
        }
    }

    fn change_gross(&mut self, account: u32, firm: u32, currency: u32, notional: u128, opens: bool) {
        let change = |total: &mut u128| if opens { *total += notional } else { *total -= notional };
        change(&mut self.gross_mut(Scope::Account, account, currency).open);
        if firm != 0 {
            change(&mut self.gross_mut(Scope::Firm, firm, currency).open);
        }
    }

    fn place(&self, account: &Account, instrument: u16) -> Option<usize> {
        if account.table == NONE {
            return None;
        }
        let at = account.table as usize * self.instruments + usize::from(instrument) - 1;
        (self.tables[at] as usize).checked_sub(1)
    }

    pub fn pair(&self, account: &Account, instrument: u16) -> Option<&Pair> {
        self.place(account, instrument).map(|place| &self.pairs[place])
    }

    fn pair_mut(&mut self, account: &Account, instrument: u16) -> Option<&mut Pair> {
        self.place(account, instrument).map(|place| &mut self.pairs[place])
    }
}

impl Pair {
    const fn new(account: u32, instrument: u16) -> Self {
        Self {
            account,
            instrument,
            allowed: true,
            max_quantity: NO_LIMIT,
            max_notional: NO_LIMIT,
            collar: NO_LIMIT,
            max_open: NO_LIMIT,
            max_long: NO_LIMIT,
            max_short: NO_LIMIT,
            open: [0; 2],
            position: 0,
        }
    }

    fn check(&self, order: &Exposure, reference: Option<i64>) -> Result<(), Reject> {
        let ensure = |holds: bool, code| if holds { Ok(()) } else { Err(code) };
        ensure(order.quantity <= self.max_quantity || order.is_by_cash, Reject::OrderQuantityLimit)?;
        ensure(order.notional <= self.max_notional, Reject::OrderNotionalLimit)?;
        if self.collar != NO_LIMIT
            && let Some(reference) = reference
        {
            let worse = match order.side {
                Side::Buy => i128::from(order.price) - i128::from(reference),
                Side::Sell => i128::from(reference) - i128::from(order.price),
            };
            ensure(worse <= i128::from(self.collar), Reject::OrderCollarLimit)?;
        }
        let more = i128::from(order.open) - i128::from(order.open_before);
        if more <= 0 {
            return Ok(());
        }
        let [buys, sells] = self.open.map(i128::from);
        let fits = |lots: i128, limit: u64| limit == NO_LIMIT || lots <= i128::from(limit);
        ensure(fits(buys + sells + more, self.max_open), Reject::OpenQuantityLimit)?;
        match order.side {
            Side::Buy => ensure(fits(buys + more + self.position, self.max_long), Reject::PositionLimit),
            Side::Sell => ensure(fits(sells + more - self.position, self.max_short), Reject::PositionLimit),
        }
    }
}

impl Engine {
    /// Whether an order, new or changed, keeps within the limits of an account that is watched.
    #[cold]
    pub(crate) fn check_risk(
        &self,
        account: &Account,
        instrument: &Instrument,
        order: &Exposure,
    ) -> Result<(), Reject> {
        let ensure = |holds: bool, code| if holds { Ok(()) } else { Err(code) };
        let (own, firm) =
            (&self.risk.accounts[order.account as usize], &self.risk.firms[account.firm as usize]);
        if !order.lessens {
            let pair = self.risk.pair(account, order.instrument);
            ensure(!own.listed || pair.is_some_and(|pair| pair.allowed), Reject::InstrumentNotAllowed)?;
            if let Some(pair) = pair {
                pair.check(order, self.reference(instrument, order))?;
            }
            if order.is_new {
                ensure(account.orders < own.max_orders, Reject::AccountOrdersLimit)?;
                ensure(account.firm == 0 || firm.orders < firm.max_orders, Reject::FirmOrdersLimit)?;
            }
            if order.open_notional > order.notional_before {
                let more = u128::from(order.open_notional - order.notional_before);
                let fits = |scope, id| {
                    let gross = self.risk.gross(scope, id, instrument.quote);
                    gross.limit() == NO_LIMIT || gross.open + more <= u128::from(gross.limit())
                };
                ensure(fits(Scope::Account, order.account), Reject::AccountNotionalLimit)?;
                ensure(account.firm == 0 || fits(Scope::Firm, account.firm), Reject::FirmNotionalLimit)?;
            }
        }
        ensure(own.may_come(order.time), Reject::AccountRateLimit)?;
        ensure(account.firm == 0 || firm.may_come(order.time), Reject::FirmRateLimit)
    }

    /// What an order's price is compared with: its trigger, the best price that it could trade at, or the last trade's.
    fn reference(&self, instrument: &Instrument, order: &Exposure) -> Option<i64> {
        if order.trigger != 0 {
            return Some(order.trigger);
        }
        let best = self.levels.best_key(instrument.ladder(order.side.opposite()));
        best.map(i64::abs).or((instrument.last != 0).then_some(instrument.last))
    }

    /// A command of the account that counts for its rate was accepted.
    #[cold]
    pub(crate) fn take_tokens(&mut self, account: u32, time: u64) {
        self.risk.accounts[account as usize].take(time);
        let firm = self.accounts[account as usize].firm;
        if firm != 0 {
            self.risk.firms[firm as usize].take(time);
        }
    }

    /// Whether limits of the account, or of its firm, make it count.
    #[inline]
    pub(crate) fn is_watched(&self, account: u32) -> bool {
        self.risk.is_on() && self.accounts[account as usize].is_watched()
    }

    /// Lots of a live order are open from here on.
    #[inline]
    pub(crate) fn lots_open(&mut self, account: u32, instrument: u16, side: Side, price: i64, lots: u64) {
        if self.is_watched(account) {
            self.count_open(account, instrument, side, price, lots, true);
        }
    }

    /// Lots of a live order are open no more: filled, cancelled, or out of the book for the moment.
    #[inline]
    pub(crate) fn lots_close(&mut self, account: u32, instrument: u16, side: Side, price: i64, lots: u64) {
        if self.is_watched(account) {
            self.count_open(account, instrument, side, price, lots, false);
        }
    }

    #[cold]
    fn count_open(&mut self, account: u32, instrument: u16, side: Side, price: i64, lots: u64, opens: bool) {
        let terms = live(&self.instruments, instrument);
        let notional = u128::from(price.unsigned_abs() * lots * terms.scale.get());
        let owner = &self.accounts[account as usize];
        if owner.tracked {
            self.risk.change_gross(account, owner.firm, terms.quote, notional, opens);
        }
        if let Some(pair) = self.risk.pair_mut(owner, instrument) {
            let total = &mut pair.open[side as usize - 1];
            if opens {
                *total += lots;
            } else {
                *total -= lots;
            }
        }
    }

    /// The account has bought or sold lots.
    #[inline]
    pub(crate) fn count_trade(&mut self, account: u32, instrument: u16, side: Side, lots: u64) {
        if self.is_watched(account)
            && let Some(pair) = self.risk.pair_mut(&self.accounts[account as usize], instrument)
        {
            match side {
                Side::Buy => pair.position += i128::from(lots),
                Side::Sell => pair.position -= i128::from(lots),
            }
        }
    }

    /// What is kept beside the orders is what they add up to.
    pub(crate) fn audit_risk(&self) -> Result<(), &'static str> {
        let ensure = |holds: bool, what| if holds { Ok(()) } else { Err(what) };
        let currencies = self.limits.currencies as usize;
        let mut of_firms = BTreeMap::new();
        let mut open = vec![[0_u64; 2]; self.risk.pairs.len()];
        let mut watched = 0;
        for (id, account) in self.accounts.iter().enumerate() {
            let mut gross = vec![0_u128; currencies];
            let mut slot = account.head;
            while slot != NONE {
                let order = self.orders.get(slot);
                let terms = self.live_instrument(order.instrument);
                let lots = self.orders.left(slot);
                gross[terms.quote as usize - 1] += u128::from(order.price as u64 * lots * terms.scale.get());
                if let Some(place) = self.risk.place(account, order.instrument) {
                    open[place][order.side as usize - 1] += lots;
                }
                slot = order.account_next;
            }
            let tracked = account.firm != 0 || self.risk.accounts[id].is_limited();
            ensure(account.tracked == tracked, "an account is not tracked as it should be")?;
            watched += u32::from(account.is_watched());
            let kept = self.risk.gross[0][id * currencies..][..currencies].iter().map(|gross| gross.open);
            let right = kept.eq(gross.iter().map(|sum| if tracked { *sum } else { 0 }));
            ensure(right, "an account's open notional is wrong")?;
            if account.firm == 0 && gross.iter().all(|sum| *sum == 0) {
                continue;
            }
            let (orders, of_firm) =
                of_firms.entry(account.firm).or_insert_with(|| (0, vec![0_u128; currencies]));
            *orders += account.orders;
            of_firm.iter_mut().zip(&gross).for_each(|(total, sum)| *total += sum);
        }
        ensure(watched == self.risk.watched, "a count of accounts that are watched is wrong")?;
        let none = (0, vec![0; currencies]);
        for (id, firm) in self.risk.firms.iter().enumerate().skip(1) {
            let (orders, gross) = of_firms.get(&(id as u32)).unwrap_or(&none);
            ensure(firm.orders == *orders, "a firm's count of orders is wrong")?;
            let first = id * currencies;
            let kept = self.risk.gross[1][first..][..currencies].iter().map(|gross| gross.open);
            ensure(kept.eq(gross.iter().copied()), "a firm's open notional is wrong")?;
        }
        let kept = self.risk.pairs.iter().map(|pair| pair.open);
        ensure(kept.eq(open), "an account's open lots in an instrument are wrong")
    }
}
