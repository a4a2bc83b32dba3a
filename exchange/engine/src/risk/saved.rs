//! Limits and positions in snapshots. What is open of them is counted anew from the orders.

use super::{Pair, Party};
use crate::{Engine, orders::NONE};
use ordain_exchange_protocol::{BURST_MAX, Flag, I128, INTERVAL_MAX, NO_LIMIT, Scope, U32, U64};
use zerocopy::{Immutable, IntoBytes, KnownLayout, TryFromBytes, Unaligned};

/// Limits of an account or a firm.
#[derive(Clone, Copy, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct PartyItem {
    scope: Scope,
    listed: Flag,
    reserved: [u8; 2],
    id: U32,
    orders: U32,
    burst: U32,
    interval: U64,
    full_at: U64,
}

/// A limit on gross open notional.
#[derive(Clone, Copy, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct GrossItem {
    scope: Scope,
    reserved: [u8; 3],
    id: U32,
    currency: U32,
    reserved2: U32,
    limit: U64,
}

/// Limits and position of an account in an instrument.
#[derive(Clone, Copy, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct PairItem {
    account: U32,
    instrument: U32,
    allowed: Flag,
    reserved: [u8; 7],
    quantity: U64,
    notional: U64,
    collar: U64,
    open: U64,
    long: U64,
    short: U64,
    position: I128,
}

const _: () = assert!(size_of::<PartyItem>() == 32);
const _: () = assert!(size_of::<GrossItem>() == 24);
const _: () = assert!(size_of::<PairItem>() == 80);

impl super::Risk {
    /// Which of the three sections would have items: parties, gross limits, pairs.
    pub const fn is_kept(&self) -> [bool; 3] {
        [self.limited > 0, self.gross_limits > 0, !self.pairs.is_empty()]
    }

    /// Accounts and firms in their order in snapshots.
    fn nth_party(&self, at: usize) -> (Scope, u32) {
        match at.checked_sub(self.accounts.len()) {
            None => (Scope::Account, at as u32),
            Some(firm) => (Scope::Firm, firm as u32),
        }
    }

    pub fn party_places(&self) -> usize {
        self.accounts.len() + self.firms.len()
    }

    pub fn gross_places(&self) -> usize {
        self.party_places() * self.currencies
    }

    pub fn party_item(&self, at: usize) -> Option<PartyItem> {
        let (scope, id) = self.nth_party(at);
        let party = self.party(scope, id);
        party.is_limited_by_count().then(|| PartyItem {
            scope,
            listed: party.listed.into(),
            reserved: [0; 2],
            id: id.into(),
            orders: party.max_orders.into(),
            burst: party.burst.into(),
            interval: party.interval.into(),
            full_at: party.full_at.into(),
        })
    }

    pub fn gross_item(&self, at: usize) -> Option<GrossItem> {
        let (scope, id) = self.nth_party(at / self.currencies);
        let currency = (at % self.currencies) as u32 + 1;
        let limit = self.gross(scope, id, currency).limit();
        (limit != NO_LIMIT).then(|| GrossItem {
            scope,
            reserved: [0; 3],
            id: id.into(),
            currency: currency.into(),
            reserved2: U32::ZERO,
            limit: limit.into(),
        })
    }

    pub fn pair_item(&self, at: usize) -> PairItem {
        let pair = &self.pairs[at];
        PairItem {
            account: pair.account.into(),
            instrument: u32::from(pair.instrument).into(),
            allowed: pair.allowed.into(),
            reserved: [0; 7],
            quantity: pair.max_quantity.into(),
            notional: pair.max_notional.into(),
            collar: pair.collar.into(),
            open: pair.max_open.into(),
            long: pair.max_long.into(),
            short: pair.max_short.into(),
            position: pair.position.into(),
        }
    }
}

impl Engine {
    pub(crate) fn load_party(&mut self, item: &PartyItem) -> Result<(), &'static str> {
        let (scope, id) = (item.scope, item.id.get());
        let known = scope != Scope::All && self.check_scope(scope, id).is_ok();
        if !known || self.risk.party(scope, id).is_limited_by_count() {
            return Err("limits are nobody's, or come twice");
        }
        let (burst, interval) = (item.burst.get(), item.interval.get());
        let party = Party {
            max_orders: item.orders.get(),
            listed: item.listed == Flag::Yes,
            burst,
            interval,
            full_at: item.full_at.get(),
            ..*self.risk.party(scope, id)
        };
        let valid = burst <= BURST_MAX
            && interval <= INTERVAL_MAX
            && (burst == 0) == (interval == 0)
            && (burst > 0 || party.full_at == 0)
            && (scope == Scope::Account || !party.listed)
            && item.reserved == [0; 2]
            && party.is_limited_by_count();
        if !valid {
            return Err("limits are not valid");
        }
        self.put_party(scope, id, party);
        Ok(())
    }

    pub(crate) fn load_gross(&mut self, item: &GrossItem) -> Result<(), &'static str> {
        let (scope, id, currency) = (item.scope, item.id.get(), item.currency.get());
        let valid = scope != Scope::All
            && self.check_scope(scope, id).is_ok()
            && self.check_currency(currency).is_ok()
            && self.risk.gross(scope, id, currency).limit() == NO_LIMIT
            && item.limit.get() != NO_LIMIT
            && (item.reserved, item.reserved2) == ([0; 3], U32::ZERO);
        if !valid {
            return Err("a limit on notional is not valid");
        }
        self.risk.put_gross_limit(scope, id, currency, item.limit.get());
        Ok(())
    }

    pub(crate) fn load_pair(&mut self, item: &PairItem) -> Result<(), &'static str> {
        let (id, instrument) = (item.account.get(), item.instrument.get());
        let valid = self.check_scope(Scope::Account, id).is_ok()
            && self.instrument(instrument).is_ok()
            && self.risk.pair(&self.accounts[id as usize], instrument as u16).is_none()
            && self.check_room(id, instrument as u16).is_ok()
            && item.reserved == [0; 7];
        if !valid {
            return Err("limits in an instrument are not valid");
        }
        self.add_pair(Pair {
            account: id,
            instrument: instrument as u16,
            allowed: item.allowed == Flag::Yes,
            max_quantity: item.quantity.get(),
            max_notional: item.notional.get(),
            collar: item.collar.get(),
            max_open: item.open.get(),
            max_long: item.long.get(),
            max_short: item.short.get(),
            open: [0; 2],
            position: item.position.get(),
        });
        Ok(())
    }

    /// All was loaded and the accounts' lists are built: counts what is open.
    pub(crate) fn count_loaded(&mut self) {
        for id in 0..self.accounts.len() as u32 {
            self.put_tracked(id);
            if !self.accounts[id as usize].is_watched() {
                continue;
            }
            let mut slot = self.accounts[id as usize].head;
            while slot != NONE {
                let order = *self.orders.get(slot);
                let lots = self.orders.left(slot);
                self.lots_open(id, order.instrument, order.side, order.price, lots);
                slot = order.account_next;
            }
        }
    }
}
