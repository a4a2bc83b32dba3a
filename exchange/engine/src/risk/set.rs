//! Operators who set limits, and counting what was there before the first one.

use super::{PAIRED_ACCOUNTS, PAIRS, Pair, Party};
use crate::admin::reply_admin;
use crate::engine::Work;
use crate::orders::NONE;
use crate::{Context, Engine, Sink, Step};
use ordain_exchange_protocol::{
    Flag, InstrumentLimitsAnswer, InstrumentLimitsQuery, LimitsAnswer, LimitsQuery, NO_LIMIT, Reject, Schema,
    Scope, SetFirm, SetGrossLimit, SetInstrumentLimits, SetLimits, SetPosition, Zero, permission,
};

/// Orders that one step of a count looks at.
const STEP_ORDERS: usize = 1 << 12;

/// An account's orders being counted.
#[derive(Clone, Copy)]
pub(crate) struct Count {
    context: Context,
    account: u32,
    /// The order looked at next.
    next: u32,
    /// A place in the pairs whose lots are counted; of none, the account's notional is.
    place: Option<usize>,
}

impl Engine {
    pub(crate) fn set_firm<S: Sink>(
        &mut self,
        context: &Context,
        message: &SetFirm,
        permitted: Result<(), Reject>,
        sink: &mut S,
    ) -> Step {
        let (id, firm) = (message.account.get(), message.firm.get());
        let checked =
            permitted.and_then(|()| self.check_scope(Scope::Account, id)).and_then(|()| match firm {
                0 => Ok(()),
                firm => self.check_scope(Scope::Firm, firm),
            });
        if checked.is_err() {
            return reply_admin(context, id, checked, sink);
        }
        let account = &self.accounts[id as usize];
        let (previous, orders) = (account.firm, account.orders);
        self.risk.firms[previous as usize].orders -= if previous == 0 { 0 } else { orders };
        self.risk.firms[firm as usize].orders += if firm == 0 { 0 } else { orders };
        if previous != 0 {
            self.risk.move_open(id, previous, false);
        }
        let knows = account.tracked;
        self.put_firm(id, firm);
        if firm != 0 && knows {
            self.risk.move_open(id, firm, true);
        }
        self.track(context, id, sink)
    }

    pub(crate) fn set_limits<S: Sink>(
        &mut self,
        context: &Context,
        message: &SetLimits,
        permitted: Result<(), Reject>,
        sink: &mut S,
    ) -> Step {
        let (scope, id) = (message.scope, message.id.get());
        let checked = permitted.and_then(|()| self.check_scope(scope, id));
        if checked.is_err() {
            return reply_admin(context, id, checked, sink);
        }
        let party = Party {
            max_orders: message.orders.get(),
            listed: message.listed_only == Flag::Yes,
            burst: message.burst.get(),
            interval: message.interval.get(),
            full_at: 0,
            ..*self.risk.party(scope, id)
        };
        self.put_party(scope, id, party);
        self.track_if(scope, context, id, sink)
    }

    pub(crate) fn set_gross_limit<S: Sink>(
        &mut self,
        context: &Context,
        message: &SetGrossLimit,
        permitted: Result<(), Reject>,
        sink: &mut S,
    ) -> Step {
        let (scope, id, currency) = (message.scope, message.id.get(), message.currency.get());
        let checked =
            permitted.and_then(|()| self.check_scope(scope, id)).and_then(|()| self.check_currency(currency));
        if checked.is_err() {
            return reply_admin(context, id, checked, sink);
        }
        self.risk.put_gross_limit(scope, id, currency, message.limit.get());
        self.track_if(scope, context, id, sink)
    }

    fn track_if<S: Sink>(&mut self, scope: Scope, context: &Context, id: u32, sink: &mut S) -> Step {
        match scope {
            Scope::Account => self.track(context, id, sink),
            _ => reply_admin(context, id, Ok(()), sink),
        }
    }

    pub(crate) fn put_party(&mut self, scope: Scope, id: u32, party: Party) {
        let previous = std::mem::replace(self.risk.party_mut(scope, id), party);
        self.risk.limited += u32::from(party.is_limited_by_count());
        self.risk.limited -= u32::from(previous.is_limited_by_count());
    }

    /// Begins or ends to keep what an account has open, as its limits and firm are now, and answers.
    fn track<S: Sink>(&mut self, context: &Context, id: u32, sink: &mut S) -> Step {
        let before = self.accounts[id as usize].tracked;
        self.put_tracked(id);
        match (before, self.accounts[id as usize].tracked) {
            (false, true) => {
                let next = self.accounts[id as usize].head;
                return self.count(Count { context: *context, account: id, next, place: None }, sink);
            }
            (true, false) => self.risk.forget_open(id),
            _ => {}
        }
        reply_admin(context, id, Ok(()), sink)
    }

    /// Marks an account as tracked or not.
    pub(crate) fn put_tracked(&mut self, id: u32) {
        let limited = self.risk.accounts[id as usize].is_limited();
        let account = &mut self.accounts[id as usize];
        let before = account.is_watched();
        account.tracked = account.firm != 0 || limited;
        self.risk.watched += u32::from(account.is_watched());
        self.risk.watched -= u32::from(before);
    }

    pub(crate) fn set_instrument_limits<S: Sink>(
        &mut self,
        context: &Context,
        message: &SetInstrumentLimits,
        permitted: Result<(), Reject>,
        sink: &mut S,
    ) -> Step {
        let (id, instrument) = (message.account.get(), message.instrument.get());
        self.set_pair(context, id, instrument, permitted, sink, |pair| {
            pair.allowed = message.allowed == Flag::Yes;
            pair.max_quantity = message.quantity.get();
            pair.max_notional = message.notional.get();
            pair.collar = message.collar.get();
            pair.max_open = message.open.get();
            pair.max_long = message.long.get();
            pair.max_short = message.short.get();
        })
    }

    pub(crate) fn set_position<S: Sink>(
        &mut self,
        context: &Context,
        message: &SetPosition,
        permitted: Result<(), Reject>,
        sink: &mut S,
    ) -> Step {
        let (id, instrument) = (message.account.get(), message.instrument.get());
        self.set_pair(context, id, instrument, permitted, sink, |pair| {
            pair.position = message.position.get().into();
        })
    }

    fn set_pair<S: Sink>(
        &mut self,
        context: &Context,
        id: u32,
        instrument: u32,
        permitted: Result<(), Reject>,
        sink: &mut S,
        set: impl FnOnce(&mut Pair),
    ) -> Step {
        let checked = permitted
            .and_then(|()| self.check_scope(Scope::Account, id))
            .and_then(|()| self.instrument(instrument).map(|_| ()))
            .and_then(|()| self.check_room(id, instrument as u16));
        if checked.is_err() {
            return reply_admin(context, id, checked, sink);
        }
        let known = self.risk.place(&self.accounts[id as usize], instrument as u16);
        let place = known.unwrap_or_else(|| self.add_pair(Pair::new(id, instrument as u16)));
        set(&mut self.risk.pairs[place]);
        if known.is_some() {
            return reply_admin(context, id, Ok(()), sink);
        }
        let next = self.accounts[id as usize].head;
        self.count(Count { context: *context, account: id, next, place: Some(place) }, sink)
    }

    /// Whether there are limits for the pair, or room for them.
    pub(crate) fn check_room(&self, id: u32, instrument: u16) -> Result<(), Reject> {
        let account = &self.accounts[id as usize];
        let known = self.risk.place(account, instrument).is_some();
        let has_table = account.table != NONE || (self.risk.table_count as usize) < PAIRED_ACCOUNTS;
        if known || (has_table && self.risk.pairs.len() < PAIRS) {
            Ok(())
        } else {
            Err(Reject::RiskTablesFull)
        }
    }

    /// Adds a pair that was checked to have room.
    pub(crate) fn add_pair(&mut self, pair: Pair) -> usize {
        let account = &mut self.accounts[pair.account as usize];
        if account.table == NONE {
            self.risk.watched += u32::from(!account.is_watched());
            account.table = self.risk.table_count;
            self.risk.table_count += 1;
        }
        let at = account.table as usize * self.risk.instruments + usize::from(pair.instrument) - 1;
        self.risk.pairs.push(pair);
        self.risk.tables[at] = self.risk.pairs.len() as u32;
        self.risk.pairs.len() - 1
    }

    /// One step of a count.
    pub(crate) fn count<S: Sink>(&mut self, mut count: Count, sink: &mut S) -> Step {
        for _ in 0..STEP_ORDERS {
            if count.next == NONE {
                return reply_admin(&count.context, count.account, Ok(()), sink);
            }
            let order = *self.orders.get(count.next);
            let lots = self.orders.left(count.next);
            match count.place {
                None => {
                    let terms = self.live_instrument(order.instrument);
                    let notional = u128::from(order.price.unsigned_abs() * lots * terms.scale.get());
                    let firm = self.accounts[count.account as usize].firm;
                    self.risk.change_gross(count.account, firm, terms.quote, notional, true);
                }
                Some(place) if self.risk.pairs[place].instrument == order.instrument => {
                    self.risk.pairs[place].open[order.side as usize - 1] += lots;
                }
                Some(_) => {}
            }
            count.next = order.account_next;
        }
        self.work = Some(Work::Count(count));
        Step::More
    }
}

impl super::Risk {
    pub(super) fn put_gross_limit(&mut self, scope: Scope, id: u32, currency: u32, limit: u64) {
        let gross = self.gross_mut(scope, id, currency);
        let before = gross.limit();
        gross.unlimited_less = !limit;
        let party = self.party_mut(scope, id);
        party.gross_limits += u32::from(limit != NO_LIMIT);
        party.gross_limits -= u32::from(before != NO_LIMIT);
        self.gross_limits += u32::from(limit != NO_LIMIT);
        self.gross_limits -= u32::from(before != NO_LIMIT);
    }
}

impl Engine {
    pub(crate) fn limits_answer(
        &self,
        context: &Context,
        checked: Result<(), Reject>,
        query: &LimitsQuery,
    ) -> LimitsAnswer {
        let (scope, id, currency) = (query.scope, query.id.get(), query.currency.get());
        let found = checked.and_then(|()| match scope {
            Scope::Account => self.granted(context, id).map(|_| ()),
            _ if context.permissions & permission::ADMIN == 0 => Err(Reject::NotGranted),
            _ => self.check_scope(scope, id),
        });
        let found = found.and_then(|()| self.check_currency(currency));
        let blank = LimitsAnswer {
            tag: LimitsAnswer::TAG,
            schema: Schema::V1,
            code: Reject::to_wire(found.err()),
            id: query.id,
            currency: query.currency,
            orders: 0.into(),
            max_orders: 0.into(),
            burst: 0.into(),
            interval: 0.into(),
            full_at: 0.into(),
            gross: 0.into(),
            max_gross: 0.into(),
            listed_only: Flag::No,
            reserved: [Zero::Zero; 7],
        };
        if found.is_err() {
            return blank;
        }
        let (party, gross) = (self.risk.party(scope, id), self.risk.gross(scope, id, currency));
        let orders = if scope == Scope::Account { self.accounts[id as usize].orders } else { party.orders };
        LimitsAnswer {
            orders: orders.into(),
            max_orders: party.max_orders.into(),
            burst: party.burst.into(),
            interval: party.interval.into(),
            full_at: party.full_at.into(),
            gross: gross.open.into(),
            max_gross: gross.limit().into(),
            listed_only: party.listed.into(),
            ..blank
        }
    }

    pub(crate) fn instrument_limits_answer(
        &self,
        context: &Context,
        checked: Result<(), Reject>,
        query: &InstrumentLimitsQuery,
    ) -> InstrumentLimitsAnswer {
        let (id, instrument) = (query.account.get(), query.instrument.get());
        let found = checked
            .and_then(|()| self.granted(context, id))
            .and_then(|account| self.instrument(instrument).map(|_| account))
            .map(|account| self.risk.pair(account, instrument as u16));
        let blank = InstrumentLimitsAnswer {
            tag: InstrumentLimitsAnswer::TAG,
            schema: Schema::V1,
            code: Reject::to_wire(found.err()),
            account: query.account,
            instrument: query.instrument,
            set: Flag::No,
            allowed: Flag::No,
            reserved: [Zero::Zero; 2],
            quantity: 0.into(),
            notional: 0.into(),
            collar: 0.into(),
            open: 0.into(),
            long: 0.into(),
            short: 0.into(),
            open_buys: 0.into(),
            open_sells: 0.into(),
            position: 0.into(),
        };
        let Ok(found) = found else { return blank };
        let pair = found.copied().unwrap_or(Pair::new(id, instrument as u16));
        InstrumentLimitsAnswer {
            set: found.is_some().into(),
            allowed: pair.allowed.into(),
            quantity: pair.max_quantity.into(),
            notional: pair.max_notional.into(),
            collar: pair.collar.into(),
            open: pair.max_open.into(),
            long: pair.max_long.into(),
            short: pair.max_short.into(),
            open_buys: pair.open[0].into(),
            open_sells: pair.open[1].into(),
            position: pair.position.into(),
            ..blank
        }
    }
}
