//! What leads instruments through their day, and what holds their prices.

use super::Stream;
use crate::event::Event;
use ordain_exchange_model::Model;
use ordain_exchange_protocol::{BandAction, IntoBytes, MarketState, SetBands, SetSchedule, note, permission};

impl Stream {
    pub(super) fn set_bands(&mut self, model: &Model) -> Event {
        let mut set = SetBands::off(self.instrument_id(model), note("a test"));
        let r = &mut self.random;
        let widths = [0, 120_000, 250_000, 400_000, 1_000_000];
        set.action = r.pick(&[BandAction::Off, BandAction::Reject, BandAction::Reject, BandAction::Auction]);
        if set.action == BandAction::Off {
            return self.by_office(permission::ADMIN, set.as_bytes());
        }
        (set.fixed, set.moving) = (r.pick(&widths).into(), r.pick(&widths).into());
        if set.moving != 0 {
            set.width = r.pick(&[1u64, 3_000, 20_000]).into();
            set.buckets = r.pick(&[1, 2, 16]);
        }
        if set.action == BandAction::Auction {
            set.call = r.pick(&[1u64, 3_000, 10_000]).into();
            set.extensions = r.pick(&[0, 1, 3]);
        }
        if r.percent(10) {
            match r.below(4) {
                0 => set.fixed = 1_000_001.into(),
                1 => set.buckets = r.pick(&[0, 17]),
                2 => set.call = r.pick(&[0u64, 1, 86_400_000_000_001]).into(),
                _ => set.width = r.pick(&[0u64, 1, 86_400_000_000_001]).into(),
            }
        }
        self.by_office(permission::ADMIN, set.as_bytes())
    }

    pub(super) fn set_schedule(&mut self, model: &Model) -> Event {
        use MarketState::{
            Closed, ClosingAuction, Continuous, Halted, OpeningAuction, PostOnly, PreOpen, VolatilityAuction,
        };
        let instrument = self.instrument_id(model);
        let now = self.time;
        let r = &mut self.random;
        let mut entries: Vec<(u64, u64, MarketState)> = Vec::new();
        let mut time = now + r.below(4_000);
        for _ in 0..r.below(7) {
            let random = r.pick(&[0, 0, 400, 3_000]);
            let auctions = [PreOpen, OpeningAuction, VolatilityAuction, ClosingAuction, Closed];
            let any = r.pick(&auctions);
            let state = r.pick(&[Continuous, Continuous, Continuous, any, any, Halted, PostOnly]);
            entries.push((time, random, state));
            time += random + 1 + r.below(12_000);
        }
        let period = match entries.first() {
            Some(first) if r.percent(50) => time - first.0 + 1,
            _ => 0,
        };
        let mut set = SetSchedule::new(instrument, period, &entries, note("a test"));
        if r.percent(10) {
            match r.below(4) {
                0 => set.count = r.pick(&[set.count.saturating_sub(1), 9]),
                1 => set.period = r.pick(&[1u64, 366 * 86_400_000_000_000 + 1]).into(),
                2 => set.entries[0].random = r.pick(&[86_400_000_000_001u64, 20_000]).into(),
                _ => set.entries[1].time = r.pick(&[set.entries[0].time.get(), 1 << 63]).into(),
            }
        }
        self.by_office(permission::ADMIN, set.as_bytes())
    }
}
