//! What leads instruments through their day, and what holds their prices.

use super::Stream;
use crate::event::Event;
use ordain_exchange_model::Model;
use ordain_exchange_protocol::{
    BandAction, IntoBytes, MarketState, NewOrder, NewOrder2, SetBands, SetReference, SetSchedule, Side,
    TimeInForce, note, permission,
};

impl Stream {
    /// Whether streams like this one have bands and schedules.
    pub(super) const fn day(&self) -> bool {
        self.profile.features.day && self.theme.day
    }

    pub(super) fn change_day(&mut self, model: &Model) -> Vec<Event> {
        match self.random.below(20) {
            0..=7 => vec![self.set_schedule(model)],
            8..=10 => self.trade_into_a_band(model).unwrap_or_else(|| vec![self.set_bands(model)]),
            _ => vec![self.set_bands(model)],
        }
    }

    /// Two prices to trade at, a band around the better one, and an order that would take both: by chance these hardly ever
    /// come together. `None` where nothing trades.
    fn trade_into_a_band(&mut self, model: &Model) -> Option<Vec<Event>> {
        let trading: Vec<u32> =
            model.instruments().filter(|id| model.state(*id) == MarketState::Continuous).collect();
        if trading.is_empty() {
            return None;
        }
        let instrument = model.instrument(self.random.pick(&trading))?.clone();
        let (id, side) = (instrument.id, self.side());
        let (makers, others) = (model.side(id, side.opposite()), model.side(id, side));
        let further = if side == Side::Buy { 1 } else { -1 };
        let beside = others.first().map_or(instrument.max_price / 2, |other| other.price + further);
        let near = makers.first().map_or(beside, |maker| maker.price) as i64;
        let far = near + further as i64;
        let mut events = Vec::new();
        let (maker, taker) = (self.account(), self.account());
        let least = instrument.min_quantity as u64;
        for price in [near, far] {
            if makers.iter().all(|maker| maker.price != price.into()) {
                let order = NewOrder::limit(maker, id, self.random.below(16), side.opposite(), price, least);
                self.enter_funded(model, &order, &mut events);
            }
        }
        let why = note("a test");
        let mut bands = SetBands::off(id, why);
        bands.action = self.random.pick(&[BandAction::Reject, BandAction::Reject, BandAction::Auction]);
        bands.fixed = 1.into();
        if bands.action == BandAction::Auction {
            bands.call = 3_000.into();
        }
        events.push(self.by_office(permission::ADMIN, SetReference::new(id, near, why).as_bytes()));
        events.push(self.by_office(permission::ADMIN, bands.as_bytes()));
        let lots = makers.iter().map(|maker| maker.remaining).sum::<i128>() as u64 + 2 * least;
        let lots = lots.min(instrument.max_quantity as u64);
        let mut order = NewOrder::limit(taker, id, self.random.below(16), side, far, lots);
        order.time_in_force = self.random.pick(&[TimeInForce::Gtc, TimeInForce::Ioc]);
        self.enter_funded(model, &order, &mut events);
        Some(events)
    }

    /// An order in either layout, and before it what its account needs for it.
    fn enter_funded(&mut self, model: &Model, order: &NewOrder, events: &mut Vec<Event>) {
        let account = order.account.get();
        let instrument = model.instrument(order.instrument.get()).expect("it trades");
        let (currency, needed) =
            instrument.hold(order.side, order.price.get().into(), order.quantity.get().into());
        events.extend(self.fund(model, account, currency, needed));
        let (key, permissions) = self.by_owner(model, account, permission::TRADE);
        let bytes = if self.random.percent(50) {
            order.as_bytes().to_vec()
        } else {
            NewOrder2::from_first(order).as_bytes().to_vec()
        };
        events.push(self.request(key, permissions, &bytes));
    }

    fn set_bands(&mut self, model: &Model) -> Event {
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

    fn set_schedule(&mut self, model: &Model) -> Event {
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
