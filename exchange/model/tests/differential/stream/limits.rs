//! What operators send to limit what is entered, and to say what it costs.

use super::Stream;
use crate::event::Event;
use ordain_exchange_model::Model;
use ordain_exchange_protocol::{
    Flag, IntoBytes, Scope, SetFeeClass, SetFeeTier, SetFees, SetGrossLimit, SetInstrumentLimits, SetLimits,
    SetPosition, note, permission,
};

impl Stream {
    /// Whom a limit is for: an account or a firm.
    pub(super) fn limited(&mut self) -> (Scope, u32) {
        if self.random.percent(60) { (Scope::Account, self.account()) } else { (Scope::Firm, self.firm()) }
    }

    /// A limit that is hard to stay within, or none.
    fn limit(&mut self, some: &[u64]) -> u64 {
        let limit = self.random.pick(some);
        self.random.pick(&[u64::MAX, u64::MAX, limit])
    }

    pub(super) fn set_limit(&mut self, model: &Model) -> Event {
        let why = note("a test");
        let (scope, id) = self.limited();
        let lifts = self.random.percent(35);
        match self.random.below(10) {
            0..=2 => {
                let mut set = SetLimits::new(scope, id, why);
                set.orders = u32::MAX.into();
                if !lifts {
                    set.orders = self.random.pick(&[u32::MAX, u32::MAX, 0, 1, 2, 3]).into();
                    if self.random.percent(60) {
                        set.burst = self.random.id(1, 3).into();
                        set.interval = self.random.pick(&[1u64, 500, 2_000, 10_000, 1 << 40]).into();
                    }
                    if scope == Scope::Account && self.random.percent(25) {
                        set.listed_only = Flag::Yes;
                    }
                }
                self.by_office(permission::ADMIN, set.as_bytes())
            }
            3 | 4 => {
                let currency = self.currency();
                let limit = self.limit(&[0, 20, 100, 500, 5_000]);
                let limit = if lifts { u64::MAX } else { limit };
                let set = SetGrossLimit::new(scope, id, currency, limit, why);
                self.by_office(permission::ADMIN, set.as_bytes())
            }
            5..=8 => {
                let mut set = SetInstrumentLimits::new(self.account(), self.instrument_id(model), why);
                set.allowed = Flag::from(self.random.percent(70));
                if !lifts {
                    set.quantity = self.limit(&[0, 1, 3, 5]).into();
                    set.notional = self.limit(&[0, 10, 30, 300]).into();
                    set.collar = self.limit(&[0, 1, 2]).into();
                    set.open = self.limit(&[0, 3, 6, 12]).into();
                    set.long = self.limit(&[0, 2, 6, 12]).into();
                    set.short = self.limit(&[0, 2, 6, 12]).into();
                }
                self.by_office(permission::ADMIN, set.as_bytes())
            }
            _ => {
                let usual = self.random.between(-9, 9);
                let position = self.random.pick(&[usual, usual, usual, 1 << 62, -(1 << 62)]);
                let set = SetPosition::new(self.account(), self.instrument_id(model), position, why);
                self.by_office(permission::ADMIN, set.as_bytes())
            }
        }
    }

    pub(super) fn set_fee(&mut self, model: &Model) -> Event {
        let why = note("a test");
        let id = self.instrument_id(model);
        match self.random.below(10) {
            0..=4 => {
                let bound = model.instrument(id).map_or(0, |it| it.maker_ppm.max(it.taker_ppm).max(0)) as i32;
                let r = &mut self.random;
                let mut rate = || r.pick(&[0, bound, bound / 2, bound / 3, -50_000, -333_333, -1_000_000]);
                let mut set = SetFees::new(1, 0, rate(), rate(), why);
                set.auction_ppm = rate().into();
                if r.percent(10) {
                    set.taker_ppm = r.pick(&[bound + 1, 1_000_001, -1_000_001]).into();
                }
                set.class = r.pick(&[1, 1, 1, 2, 16]);
                set.tier = r.pick(&[0, 0, 1, 1, 15]);
                set.min = r.pick(&[0u64, 0, 1, 5, 40, 1_000]).into();
                set.max = r.pick(&[u64::MAX, u64::MAX, 0, 1, 10, 100, 5_000]).into();
                if set.tier == 1 && r.percent(60) {
                    // So that in an auction one pays what the other gets.
                    set.auction_ppm = r.pick(&[-50_000, -333_333]).into();
                }
                self.by_office(permission::ADMIN, set.as_bytes())
            }
            5..=7 => {
                let class = self.random.pick(&[0, 1, 1, 1, 1, 2, 16]);
                self.by_office(permission::ADMIN, SetFeeClass::new(id, class, why).as_bytes())
            }
            _ => {
                let (account, tier) = (self.account(), self.random.pick(&[0, 1, 1, 15]));
                self.by_office(permission::ADMIN, SetFeeTier::new(account, tier, why).as_bytes())
            }
        }
    }
}
