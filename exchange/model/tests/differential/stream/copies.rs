//! Firms that hear of their accounts.

use super::control::FIRMS;
use super::{KEYS, Stream};
use crate::event::Event;
use ordain_exchange_model::Model;
use ordain_exchange_protocol::{GrantAction, GrantFirm, IntoBytes, SetFirm, note, permission};

impl Stream {
    /// Whether firms hear anything in streams like this one.
    pub(super) const fn copies(&self) -> bool {
        self.profile.features.copies && self.theme.copies
    }

    /// How often, of 1,000, it changes what firms hear: soon, so that much is told.
    pub(super) fn copy_changes(&self, model: &Model) -> u64 {
        if (1..=FIRMS).any(|firm| model.readers(firm).is_empty()) { 40 } else { 8 }
    }

    pub(super) fn change_copies(&mut self, model: &Model) -> Vec<Event> {
        // Until then nobody may be granted a firm.
        if !self.levelled && self.random.percent(50) {
            self.levelled = true;
            return vec![Event::Level(1)];
        }
        let why = note("a test");
        let accounts = 1..=self.profile.limits.accounts;
        let apart: Vec<u32> = accounts.filter(|account| model.firm(*account) == 0).collect();
        if self.random.percent(30) {
            let account = if apart.is_empty() { self.account() } else { self.random.pick(&apart) };
            let set = SetFirm::new(account, self.random.id(1, FIRMS), why);
            return vec![self.by_office(permission::ADMIN, set.as_bytes())];
        }
        let unread: Vec<u32> = (1..=FIRMS).filter(|firm| model.readers(*firm).is_empty()).collect();
        let firm = if unread.is_empty() || self.random.percent(30) {
            self.firm()
        } else {
            self.random.pick(&unread)
        };
        let readers: Vec<u32> = model.readers(firm).into_iter().collect();
        let action = if !readers.is_empty() && self.random.percent(45) {
            GrantAction::Revoke
        } else {
            GrantAction::Grant
        };
        let any = vec![self.random.id(1, KEYS)];
        let keys = match (action, self.random.below(10)) {
            // All: more than there is room for, or until nobody is left.
            (GrantAction::Grant, 0) => (1..=KEYS).collect(),
            (GrantAction::Revoke, 0..=2) => readers,
            (GrantAction::Revoke, 3..=7) => vec![self.random.pick(&readers)],
            _ => any,
        };
        let change = |key| GrantFirm::new(action, firm, key, why);
        keys.into_iter().map(|key| self.by_office(permission::ADMIN, change(key).as_bytes())).collect()
    }
}
