//! What operators publish.

use super::Stream;
use crate::event::Event;
use ordain_exchange_model::{Feeds, Model};
use ordain_exchange_protocol::{Flag, IntoBytes, SetFeed, note, permission};

impl Stream {
    /// Whether streams like this one publish anything.
    pub(super) const fn feeds(&self) -> bool {
        self.profile.features.feeds && self.theme.feeds
    }

    /// How often, of 1,000, feeds are set: soon, so that much is told.
    pub(super) fn feed_changes(&self, model: &Model) -> u64 {
        let unpublished = model.instruments().any(|id| model.feeds(id) == Feeds::default());
        if unpublished { 40 } else { 6 }
    }

    pub(super) fn set_feed(&mut self, model: &Model) -> Event {
        // Until then nothing may be.
        if !self.levelled && self.random.percent(50) {
            self.levelled = true;
            return Event::Level(1);
        }
        let unpublished: Vec<u32> =
            model.instruments().filter(|id| model.feeds(*id) == Feeds::default()).collect();
        let mut instrument = self.instrument_id(model);
        if !unpublished.is_empty() && self.random.percent(50) {
            instrument = self.random.pick(&unpublished);
        }
        let mut set = SetFeed::off(instrument, note("a test"));
        let mut often = |percent| Flag::from(self.random.percent(percent));
        (set.top, set.levels, set.orders) = (often(80), often(85), often(85));
        self.by_office(permission::ADMIN, set.as_bytes())
    }
}
