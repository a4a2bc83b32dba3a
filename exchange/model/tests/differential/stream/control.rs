//! What operators send to control who trades.

use super::{Stream, Theme};
use crate::event::Event;
use ordain_exchange_model::Model;
use ordain_exchange_protocol::{
    Access, IntoBytes, Kill, Purge, Scope, SetAccess, SetFirm, Sides, note, permission,
};

/// Firms that accounts come to be in.
pub(super) const FIRMS: u32 = 2;

impl Stream {
    /// Who may not do everything.
    fn restricted(&self, model: &Model) -> Vec<(Scope, u32)> {
        let accounts = (1..=self.profile.limits.accounts).map(|id| (Scope::Account, id));
        let firms = (1..=FIRMS).map(|id| (Scope::Firm, id));
        let all = accounts.chain(firms).chain([(Scope::All, 0)]);
        all.filter(|(scope, id)| model.access(*scope, *id) != Access::Active).collect()
    }

    /// How often, of 1,000, operators act: more often where not all may trade, since trades are what streams are for.
    pub(super) fn controls(&self, model: &Model) -> u64 {
        match (self.theme, self.restricted(model).is_empty()) {
            (Theme { access: true, .. }, _) => 60,
            // Firms have to come from somewhere.
            (Theme { limits: true, .. }, true) => 12,
            (_, true) => 4,
            (_, false) => 60,
        }
    }

    pub(super) fn firm(&mut self) -> u32 {
        match self.random.below(30) {
            0 => 0,
            1 => 4_096,
            2 => 4_097,
            3 => u32::MAX,
            _ => self.random.id(1, FIRMS),
        }
    }

    pub(super) fn control(&mut self, model: &Model) -> Event {
        let why = note("a test");
        let restricted = self.restricted(model);
        let scope = self.random.pick(&[Scope::Account, Scope::Account, Scope::Firm, Scope::Firm, Scope::All]);
        let id = match scope {
            Scope::Account => self.account(),
            Scope::Firm => self.firm(),
            Scope::All => 0,
        };
        if !restricted.is_empty() && self.random.percent(if self.theme.access { 35 } else { 70 }) {
            // Where nobody may trade, nothing else is worth while.
            let all = restricted.iter().copied().find(|(scope, _)| *scope == Scope::All);
            let any = self.random.pick(&restricted);
            let (scope, id) = all.unwrap_or(any);
            let access = SetAccess::new(scope, id, Access::Active, why);
            return self.by_office(permission::ADMIN, access.as_bytes());
        }
        let often = if self.theme.auctions { 60 } else { 30 };
        if !model.orders().is_empty() && self.random.percent(often) {
            // Whose orders stay, those that wait above all.
            let waiting: Vec<u32> =
                model.orders().iter().filter(|order| order.waits()).map(|order| order.account).collect();
            let account = if waiting.is_empty() || self.random.percent(40) {
                self.random.pick(model.orders()).account
            } else {
                self.random.pick(&waiting)
            };
            let access = self.random.pick(&[Access::Blocked, Access::Suspended]);
            let set = SetAccess::new(Scope::Account, account, access, why);
            return self.by_office(permission::ADMIN, set.as_bytes());
        }
        match self.random.below(10) {
            0..=2 => {
                let (account, firm) = (self.account(), self.firm());
                let firm = if self.random.percent(15) { 0 } else { firm };
                self.by_office(permission::ADMIN, SetFirm::new(account, firm, why).as_bytes())
            }
            3..=5 => {
                let access = self.random.pick(&[Access::Blocked, Access::Suspended]);
                self.by_office(permission::ADMIN, SetAccess::new(scope, id, access, why).as_bytes())
            }
            6 | 7 => self.by_office(permission::ADMIN, Kill::new(scope, id, why).as_bytes()),
            _ => {
                let instrument = if self.random.percent(50) { 0 } else { self.instrument_id(model) };
                let sides = self.random.pick(&[Sides::Any, Sides::Buy, Sides::Sell]);
                let purge = Purge::new(scope, id, instrument, sides, why);
                self.by_office(permission::ADMIN, purge.as_bytes())
            }
        }
    }
}
