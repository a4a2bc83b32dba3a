//! Limits on what accounts and firms may enter, have open and come to hold, and how fast.

use crate::message::Message;
use crate::order::Order;
use crate::{Context, Instrument, Model, code, ensure};
use ordain_exchange_protocol::{
    Flag, InstrumentLimitsQuery, LimitsQuery, Reject, Scope, SetGrossLimit, SetInstrumentLimits, SetLimits,
    SetPosition, Side, permission,
};

/// What limits an account or a firm as a whole.
#[derive(Clone, Copy)]
pub struct Limited {
    listed_only: bool,
    orders: u32,
    burst: u32,
    interval: u64,
    /// Log time at which the bucket is full again.
    full_at: u64,
}

impl Limited {
    const NONE: Self = Self { listed_only: false, orders: u32::MAX, burst: 0, interval: 0, full_at: 0 };

    fn admits_at(&self, time: u64) -> bool {
        let ahead = i128::from(self.burst) - 1;
        self.burst == 0 || i128::from(self.full_at) <= i128::from(time) + ahead * i128::from(self.interval)
    }
}

/// What limits an account in an instrument, and its position there.
#[derive(Clone, Copy)]
pub struct Pair {
    allowed: bool,
    quantity: u64,
    notional: u64,
    collar: u64,
    open: u64,
    long: u64,
    short: u64,
    position: i128,
}

impl Pair {
    const NONE: Self = Self {
        allowed: true,
        quantity: u64::MAX,
        notional: u64::MAX,
        collar: u64::MAX,
        open: u64::MAX,
        long: u64::MAX,
        short: u64::MAX,
        position: 0,
    };
}

/// What an order asks for.
pub struct Wish {
    pub account: u32,
    pub side: Side,
    /// Its settled price, ticks.
    pub price: i128,
    /// Its trigger; 0 if it waits for none.
    pub trigger: i128,
    /// Lots of the whole order; none if cash says how much.
    pub quantity: Option<i128>,
    /// Notional of the whole order.
    pub notional: i128,
    /// By how much what it has open grows, lots and notional; not looked at if it does not.
    pub more_lots: i128,
    pub more_notional: i128,
    /// Whether it is a new order.
    pub new: bool,
}

/// Whether a number is within a limit of which all ones are none.
fn within(number: i128, limit: u64) -> bool {
    limit == u64::MAX || number <= i128::from(limit)
}

/// The two halves of a number of 16 bytes.
fn halves(number: i128) -> (i128, i128) {
    (number & i128::from(u64::MAX), (number >> 64) & i128::from(u64::MAX))
}

impl Model {
    fn limited(&self, scope: Scope, id: u32) -> Limited {
        self.limited.get(&(scope as u8, id)).copied().unwrap_or(Limited::NONE)
    }

    fn pair(&self, account: u32, instrument: u32) -> Option<Pair> {
        self.pairs.get(&(account, instrument)).copied()
    }

    /// An account, and its firm if it is in one.
    fn itself_and_firm(&self, account: u32) -> Vec<(Scope, u32)> {
        let firm = self.firm(account);
        let both = [(Scope::Account, account), (Scope::Firm, firm)];
        both.into_iter().filter(|(scope, id)| *scope == Scope::Account || *id != 0).collect()
    }

    fn orders_of(&self, scope: Scope, id: u32) -> impl Iterator<Item = &Order> {
        self.orders.iter().filter(move |order| match scope {
            Scope::Account => order.account == id,
            _ => self.firm(order.account) == id,
        })
    }

    fn gross(&self, scope: Scope, id: u32, currency: u32) -> i128 {
        self.orders_of(scope, id)
            .map(|order| (&self.instruments[&order.instrument], order))
            .filter(|(instrument, _)| instrument.quote == currency)
            .map(|(instrument, order)| instrument.notional(order.price, order.remaining))
            .sum()
    }

    fn open_lots(&self, account: u32, instrument: u32, side: Side) -> i128 {
        let of_account = self.orders_of(Scope::Account, account);
        of_account
            .filter(|order| order.instrument == instrument && order.side == side)
            .map(|order| order.remaining)
            .sum()
    }

    /// Log times from which on rates let another command come.
    pub fn rate_edges(&self) -> impl Iterator<Item = u64> {
        let rated = self.limited.values().filter(|limited| limited.burst != 0);
        rated.map(|limited| {
            limited.full_at.saturating_sub((u64::from(limited.burst) - 1).saturating_mul(limited.interval))
        })
    }

    /// All that limits an order but the rate.
    pub(crate) fn check_limits(&self, instrument: &Instrument, wish: &Wish) -> Result<(), Reject> {
        let (account, id) = (wish.account, instrument.id);
        let pair = self.pair(account, id);
        // 1.
        let listed = pair.is_some_and(|pair| pair.allowed);
        ensure(listed || !self.limited(Scope::Account, account).listed_only, Reject::InstrumentNotAllowed)?;
        if let Some(pair) = pair {
            // 2.
            let fits = wish.quantity.is_none_or(|quantity| within(quantity, pair.quantity));
            ensure(fits, Reject::OrderQuantityLimit)?;
            ensure(within(wish.notional, pair.notional), Reject::OrderNotionalLimit)?;
            let reference = match wish.trigger {
                0 => self.shown_best(id, wish.side.opposite()).or(self.last(id)),
                trigger => Some(trigger),
            };
            if let Some(reference) = reference {
                let worse = match wish.side {
                    Side::Buy => wish.price - reference,
                    Side::Sell => reference - wish.price,
                };
                ensure(within(worse, pair.collar), Reject::OrderCollarLimit)?;
            }
            // 3.
            if wish.more_lots > 0 {
                let (buys, sells) =
                    (self.open_lots(account, id, Side::Buy), self.open_lots(account, id, Side::Sell));
                ensure(within(buys + sells + wish.more_lots, pair.open), Reject::OpenQuantityLimit)?;
                let held = match wish.side {
                    Side::Buy => within(pair.position + buys + wish.more_lots, pair.long),
                    Side::Sell => within(sells + wish.more_lots - pair.position, pair.short),
                };
                ensure(held, Reject::PositionLimit)?;
            }
        }
        let who = self.itself_and_firm(account);
        let by = |scope: Scope, of_account: Reject, of_firm: Reject| {
            if scope == Scope::Account { of_account } else { of_firm }
        };
        // 4.
        for (scope, id) in who.iter().copied().filter(|_| wish.new) {
            let most = self.limited(scope, id).orders;
            let fits = most == u32::MAX || self.orders_of(scope, id).count() < most as usize;
            ensure(fits, by(scope, Reject::AccountOrdersLimit, Reject::FirmOrdersLimit))?;
        }
        // 5.
        for (scope, id) in who.iter().copied().filter(|_| wish.more_notional > 0) {
            let most =
                self.gross_limits.get(&(scope as u8, id, instrument.quote)).copied().unwrap_or(u64::MAX);
            let fits = within(self.gross(scope, id, instrument.quote) + wish.more_notional, most);
            ensure(fits, by(scope, Reject::AccountNotionalLimit, Reject::FirmNotionalLimit))?;
        }
        Ok(())
    }

    pub(crate) fn check_rate(&self, context: &Context, account: u32) -> Result<(), Reject> {
        for (scope, id) in self.itself_and_firm(account) {
            let reject =
                if scope == Scope::Account { Reject::AccountRateLimit } else { Reject::FirmRateLimit };
            ensure(self.limited(scope, id).admits_at(context.time), reject)?;
        }
        Ok(())
    }

    /// An accepted command counts.
    pub(crate) fn count_rate(&mut self, context: &Context, account: u32) {
        for (scope, id) in self.itself_and_firm(account) {
            if let Some(limited) = self.limited.get_mut(&(scope as u8, id))
                && limited.burst != 0
            {
                limited.full_at = limited.full_at.max(context.time) + limited.interval;
            }
        }
    }

    /// Lots went from one account to another.
    pub(crate) fn move_position(&mut self, buyer: u32, seller: u32, instrument: u32, lots: i128) {
        if let Some(pair) = self.pairs.get_mut(&(buyer, instrument)) {
            pair.position += lots;
        }
        if let Some(pair) = self.pairs.get_mut(&(seller, instrument)) {
            pair.position -= lots;
        }
    }

    pub(crate) fn set_limits(&mut self, context: &Context, request: &SetLimits) -> Result<(), Reject> {
        self.check_scope(context, request.scope, request.id.get())?;
        let limited = Limited {
            listed_only: request.listed_only == Flag::Yes,
            orders: request.orders.get(),
            burst: request.burst.get(),
            interval: request.interval.get(),
            full_at: 0,
        };
        self.limited.insert((request.scope as u8, request.id.get()), limited);
        Ok(())
    }

    pub(crate) fn set_gross_limit(
        &mut self,
        context: &Context,
        request: &SetGrossLimit,
    ) -> Result<(), Reject> {
        let (scope, id, currency) = (request.scope, request.id.get(), request.currency.get());
        self.check_scope(context, scope, id)?;
        self.is_currency(currency)?;
        self.gross_limits.insert((scope as u8, id, currency), request.limit.get());
        Ok(())
    }

    fn check_pair(&self, context: &Context, account: u32, instrument: u32) -> Result<(), Reject> {
        self.check_scope(context, Scope::Account, account)?;
        ensure(self.instruments.contains_key(&instrument), Reject::UnknownInstrument)
    }

    pub(crate) fn set_instrument_limits(
        &mut self,
        context: &Context,
        request: &SetInstrumentLimits,
    ) -> Result<(), Reject> {
        let (account, instrument) = (request.account.get(), request.instrument.get());
        self.check_pair(context, account, instrument)?;
        let pair = Pair {
            allowed: request.allowed == Flag::Yes,
            quantity: request.quantity.get(),
            notional: request.notional.get(),
            collar: request.collar.get(),
            open: request.open.get(),
            long: request.long.get(),
            short: request.short.get(),
            position: self.pair(account, instrument).unwrap_or(Pair::NONE).position,
        };
        self.pairs.insert((account, instrument), pair);
        Ok(())
    }

    pub(crate) fn set_position(&mut self, context: &Context, request: &SetPosition) -> Result<(), Reject> {
        let (account, instrument) = (request.account.get(), request.instrument.get());
        self.check_pair(context, account, instrument)?;
        let pair = self.pair(account, instrument).unwrap_or(Pair::NONE);
        let pair = Pair { position: request.position.get().into(), ..pair };
        self.pairs.insert((account, instrument), pair);
        Ok(())
    }

    pub(crate) fn limits_answer(&self, context: &Context, query: &LimitsQuery) -> Vec<u8> {
        let (scope, id, currency) = (query.scope, query.id.get(), query.currency.get());
        let result = self.may_see_limits(context, scope, id).and_then(|()| self.is_currency(currency));
        let answer = Message::new(0xAD, 72).put(2, 2, code(&result)).put(4, 4, id).put(8, 4, currency);
        if result.is_err() {
            return answer.bytes();
        }
        let limited = self.limited(scope, id);
        let of_gross = self.gross_limits.iter().filter(|(key, _)| (key.0, key.1) == (scope as u8, id));
        let has_limits = limited.listed_only
            || limited.orders != u32::MAX
            || limited.burst != 0
            || of_gross.into_iter().any(|(_, limit)| *limit != u64::MAX);
        let is_kept = scope == Scope::Firm || self.firm(id) != 0 || has_limits;
        let (low, high) = halves(if is_kept { self.gross(scope, id, currency) } else { 0 });
        let most = self.gross_limits.get(&(scope as u8, id, currency)).copied().unwrap_or(u64::MAX);
        answer
            .put(12, 4, self.orders_of(scope, id).count() as u64)
            .put(16, 4, limited.orders)
            .put(20, 4, limited.burst)
            .put(24, 8, limited.interval)
            .put(32, 8, limited.full_at)
            .put(40, 8, low)
            .put(48, 8, high)
            .put(56, 8, most)
            .put(64, 1, u8::from(limited.listed_only))
            .bytes()
    }

    fn may_see_limits(&self, context: &Context, scope: Scope, id: u32) -> Result<(), Reject> {
        if scope == Scope::Account {
            return self.may_see_trader(id, context);
        }
        context.may(permission::VIEW)?;
        ensure(context.permissions & permission::ADMIN != 0, Reject::NotGranted)?;
        ensure((1..=crate::access::FIRMS).contains(&id), Reject::FirmOutOfRange)
    }

    pub(crate) fn instrument_limits_answer(
        &self,
        context: &Context,
        query: &InstrumentLimitsQuery,
    ) -> Vec<u8> {
        let (account, instrument) = (query.account.get(), query.instrument.get());
        let result = self
            .may_see_trader(account, context)
            .and_then(|()| ensure(self.instruments.contains_key(&instrument), Reject::UnknownInstrument));
        let answer = Message::new(0xAE, 96).put(2, 2, code(&result)).put(4, 4, account).put(8, 4, instrument);
        if result.is_err() {
            return answer.bytes();
        }
        let found = self.pair(account, instrument);
        let pair = found.unwrap_or(Pair::NONE);
        let open = |side| if found.is_some() { self.open_lots(account, instrument, side) } else { 0 };
        let (low, high) = halves(pair.position);
        answer
            .put(12, 1, u8::from(found.is_some()))
            .put(13, 1, u8::from(pair.allowed))
            .put(16, 8, pair.quantity)
            .put(24, 8, pair.notional)
            .put(32, 8, pair.collar)
            .put(40, 8, pair.open)
            .put(48, 8, pair.long)
            .put(56, 8, pair.short)
            .put(64, 8, open(Side::Buy))
            .put(72, 8, open(Side::Sell))
            .put(80, 8, low)
            .put(88, 8, high)
            .bytes()
    }
}
