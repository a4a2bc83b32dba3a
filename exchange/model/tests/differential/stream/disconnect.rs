//! Sessions that ask for their orders to be cancelled, and what becomes of their clients.

use super::Stream;
use crate::event::{Event, Presence};
use ordain_exchange_model::Model;
use ordain_exchange_protocol::{IntoBytes, Remark, SetDisconnect, permission};

/// Sessions that requests come from: few, so that each has orders of several accounts.
const SESSIONS: u32 = 4;

impl Stream {
    /// Whether streams like this one have sessions.
    pub(super) const fn disconnects(&self) -> bool {
        self.profile.features.disconnect && self.theme.disconnect
    }

    /// Who sends the next request.
    pub(super) fn session(&mut self) -> u64 {
        if self.disconnects() { self.random.id(1, SESSIONS).into() } else { 0 }
    }

    pub(super) fn presence(&mut self, model: &Model) -> Event {
        let session = self.session();
        // Until then nobody may have it on.
        if !self.levelled && self.random.percent(20) {
            self.levelled = true;
            return Event::Level(1);
        }
        if self.random.percent(10) {
            let remark = Remark::new("a test").expect("it is short");
            let permission = self.random.pick(&[permission::ADMIN, permission::CUSTODY, permission::TRADE]);
            return self.by_office(permission, remark.as_bytes());
        }
        if !model.is_on(session) {
            self.ended.remove(&session);
        } else if self.ended.contains(&session) {
            // The log says no more of it.
            return self.query(model);
        }
        if !model.is_on(session) || self.random.percent(15) {
            let grace = match self.random.below(20) {
                0 => 3_600_000_000_001,
                1 => 3_600_000_000_000,
                2 => u64::MAX,
                3..=6 => 0,
                _ => self.random.below(6_000),
            };
            let set =
                if self.random.percent(15) { SetDisconnect::off() } else { SetDisconnect::after(grace) };
            return self.by_office(permission::TRADE, set.as_bytes());
        }
        self.time += self.random.below(500);
        // When an order ends too, if that is near: it goes first.
        if (self.time..self.time + 5_000).contains(&self.next_edge) && self.random.percent(30) {
            self.time = self.next_edge;
        }
        let what = match self.random.below(20) {
            0..=9 => Presence::Lost,
            10..=14 => Presence::Back,
            15..=17 => Presence::Unproved,
            _ => {
                self.ended.insert(session);
                Presence::Ended
            }
        };
        Event::Presence(session, what, self.time)
    }
}
