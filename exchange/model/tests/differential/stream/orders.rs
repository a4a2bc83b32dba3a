//! What traders send: orders, amends, cancels.

use super::random::Random;
use super::{Stream, any_mode};
use crate::event::Event;
use ordain_exchange_model::{Instrument, Model, Order};
use ordain_exchange_protocol::{
    Amend, Amend2, Cancel, Flag, IntoBytes, MarketState, MassCancel, NewOrder, NewOrder2, OrderRef,
    OrderType, PostOnly, SelfTrade, Side, Sides, TimeInForce, permission,
};

impl Stream {
    /// Near the best prices, at the edges, or anywhere.
    pub(super) fn price(&mut self, model: &Model, instrument: &Instrument, side: Side) -> i64 {
        let best = |side: Side| model.side(instrument.id, side).first().map_or(5, |order| order.price as i64);
        let (same, opposite) = (best(side), best(side.opposite()));
        let highest = instrument.max_price as i64;
        let middle = highest.min(self.profile.prices) / 2;
        let r = &mut self.random;
        match r.below(24) {
            0 => r.pick(&[1, 0, -1, i64::MIN]),
            1 => r.pick(&[highest, highest.saturating_add(1), i64::MAX]),
            2..=11 if self.building => same,
            // Where orders gather, books cross.
            _ if self.building && !model.state(instrument.id).gathers() => match side {
                Side::Buy => r.between(1, middle.max(1)),
                Side::Sell => r.between(middle + 1, 2 * middle + 1),
            },
            2..=6 => opposite.saturating_add(r.between(-1, 1)),
            7..=11 => same.saturating_add(r.between(-2, 1)),
            _ => r.between(1, highest.min(self.profile.prices)),
        }
    }

    /// Within the limits or just beyond them.
    pub(super) fn quantity(&mut self, instrument: &Instrument) -> u64 {
        let (low, high) = (instrument.min_quantity as u64, instrument.max_quantity as u64);
        let r = &mut self.random;
        match r.below(24) {
            0 => low - 1,
            1 => high + 1,
            2 => high,
            3 => r.pick(&[0, u64::MAX, high / 2]).max(low - 1),
            _ if self.building => low,
            4..=15 => r.between(low as i64, high.min(low + 3) as i64) as u64,
            _ => r.between(low as i64, high.min(12.max(low)) as i64) as u64,
        }
    }

    pub(super) fn new_order(&mut self, model: &Model) -> Vec<Event> {
        let account = self.account();
        let side = self.side();
        let id = self.instrument_id(model);
        let names = self.profile.limits.orders_per_account.pow(2) / 2;
        let client = self.random.below(names.into());
        let kind = if self.building { 5 + self.random.below(80) } else { self.random.below(20) };
        let mut order = NewOrder::limit(account, id, client, side, 1, 1);
        if kind < 5 {
            order.order_type = OrderType::Market;
        }
        order.time_in_force = match kind {
            0..=2 | 5 | 6 => TimeInForce::Ioc,
            3 | 4 | 7 | 8 => TimeInForce::Fok,
            _ => TimeInForce::Gtc,
        };
        order.post_only = Flag::from((9..=11).contains(&kind));
        if self.random.percent(2) {
            let (tif, post_only) = (self.random.pick(&[TimeInForce::Gtc, TimeInForce::Fok]), Flag::Yes);
            order = NewOrder { time_in_force: tif, ..order };
            order.post_only = if self.random.percent(50) { post_only } else { order.post_only };
        }
        let mut events = Vec::new();
        if let Some(instrument) = model.instrument(id).cloned() {
            let price = self.price(model, &instrument, side);
            let market = order.order_type == OrderType::Market && !self.random.percent(3);
            order.price = if market { 0 } else { price }.into();
            order.quantity = self.quantity(&instrument).into();
            let makers = model.side(id, side.opposite());
            let all = makers.iter().map(|maker| maker.remaining).sum::<i128>() as u64;
            let sweeps = all > 1 && !self.building && self.random.percent(self.profile.sweeps);
            if sweeps {
                let worst = makers.last().map_or(1, |maker| maker.price as i64);
                order.price = if market { 0 } else { worst }.into();
                order.quantity = (1 + self.random.below(all.min(instrument.max_quantity as u64))).into();
            }
            if order.time_in_force == TimeInForce::Fok && self.random.percent(50) {
                // All that there is within the price, or one lot more.
                let within = makers.iter().filter(|maker| match (market, side) {
                    (true, _) => true,
                    (_, Side::Buy) => maker.price <= price.into(),
                    (_, Side::Sell) => maker.price >= price.into(),
                });
                let lots = within.map(|maker| maker.remaining).sum::<i128>() as u64;
                order.quantity = (lots + self.random.below(2)).into();
            }
            if valid(&instrument, order.price.get(), order.quantity.get())
                && (sweeps || self.random.percent(25))
            {
                let (currency, needed) = needs(&instrument, &order, &makers, &mut self.random);
                events.extend(self.fund(model, account, currency, needed));
            }
        }
        let (key, permissions) = self.by_owner(model, account, permission::TRADE);
        let bytes = self.widened(model, &order);
        events.push(self.request(key, permissions, &bytes));
        events
    }

    /// The same order, often in the second layout with what that alone can say.
    pub(super) fn widened(&mut self, model: &Model, order: &NewOrder) -> Vec<u8> {
        let features = self.profile.features;
        // There is seldom no room for another order, which both layouts have to meet.
        let full = model.orders().len() == self.profile.limits.orders as usize;
        if !features.orders || self.random.percent(if full { 50 } else { 20 }) {
            return order.as_bytes().to_vec();
        }
        let mut it = NewOrder2::from_first(order);
        let id = order.instrument.get();
        let near = self.trigger(model, id);
        let time = self.time;
        let r = &mut self.random;
        let resting = it.order_type == OrderType::Limit && it.time_in_force == TimeInForce::Gtc;
        if features.self_trade {
            let mode = any_mode(r);
            it.self_trade = r.pick(&[SelfTrade::Default, SelfTrade::Default, mode]);
            // The only mode in which one that has to be filled whole can meet its owner's.
            if it.time_in_force == TimeInForce::Fok && r.percent(40) {
                it.self_trade = SelfTrade::CancelMaker;
            }
        }
        if it.post_only == PostOnly::Reject && r.percent(60) {
            it.post_only = PostOnly::Reprice;
        }
        if resting && it.post_only == PostOnly::No {
            if r.percent(if self.building { 4 } else { 15 }) {
                it.order_type = OrderType::MarketToLimit;
                it.price = 0.into();
            } else if features.stops && r.percent(self.profile.stops) {
                it.order_type = r.pick(&[
                    OrderType::Stop,
                    OrderType::StopLimit,
                    OrderType::MarketIfTouched,
                    OrderType::LimitIfTouched,
                ]);
                it.trigger = near.into();
                if !it.order_type.has_price() {
                    it.price = 0.into();
                }
            }
        }
        if resting && it.order_type == OrderType::Limit && features.icebergs && r.percent(35) {
            let (all, least) = (order.quantity.get(), least(model, id));
            it.display =
                r.pick(&[least, least, least, least + 1, all, all.saturating_add(1), least - 1]).into();
            // Something has to be hidden.
            if r.percent(70) {
                it.quantity = all.saturating_add(r.below(6)).into();
            }
        }
        if resting && features.expiry && r.percent(30) {
            it.time_in_force = TimeInForce::Gtd;
            it.expiry = (time + r.pick(&[0, 1, 400, 2_000, 20_000, 200_000]) + r.below(1_000)).into();
        }
        if it.order_type == OrderType::Market && it.time_in_force == TimeInForce::Ioc && r.percent(40) {
            it.side = Side::Buy;
            it.quantity = 0.into();
            let asks = model.side(id, Side::Sell);
            let lot = match (model.instrument(id), asks.first()) {
                (Some(instrument), Some(best)) => instrument.lot_cost(best.price) as u64,
                _ => 1,
            };
            let lots = 1 + r.below(12);
            it.cash = r
                .pick(&[lot - 1, lot, lot.saturating_mul(lots), lot.saturating_mul(lots).saturating_add(1)])
                .into();
        }
        if features.auctions {
            self.for_auctions(model, &mut it);
        }
        if self.random.percent(4) {
            self.spoil(&mut it);
        }
        it.as_bytes().to_vec()
    }

    /// Orders that end with an auction or the day, and those that may gather.
    fn for_auctions(&mut self, model: &Model, it: &mut NewOrder2) {
        let id = it.instrument.get();
        let near = self.trigger(model, id).max(1);
        let state = model.state(id);
        let often = self.theme.auctions;
        let r = &mut self.random;
        if state.gathers() && r.percent(90) {
            it.post_only = PostOnly::No;
            it.cash = 0.into();
            it.quantity = it.quantity.get().max(1).into();
            if it.time_in_force.is_immediate() {
                it.time_in_force = TimeInForce::Gtc;
            }
            if matches!(it.order_type, OrderType::Market | OrderType::MarketToLimit) {
                it.order_type = OrderType::Limit;
                it.price = near.into();
            }
        }
        let resting = it.time_in_force == TimeInForce::Gtc && it.order_type != OrderType::Market;
        if resting && r.percent(if often { 20 } else { 5 }) {
            it.time_in_force = TimeInForce::Day;
        } else if it.order_type == OrderType::Limit && resting && r.percent(if often { 40 } else { 4 }) {
            let now = match state {
                MarketState::ClosingAuction => TimeInForce::Atc,
                _ => TimeInForce::Ato,
            };
            it.time_in_force = r.pick(&[now, now, TimeInForce::Ato, TimeInForce::Atc]);
            it.display = 0.into();
            it.post_only = PostOnly::No;
            if r.percent(60) {
                it.order_type = OrderType::Market;
                it.price = 0.into();
            }
        }
    }

    /// Something that does not go with the rest, perhaps.
    pub(super) fn spoil(&mut self, it: &mut NewOrder2) {
        let (time, r) = (self.time, &mut self.random);
        match r.below(9) {
            0 => {
                use TimeInForce::{Atc, Ato, Day, Fok, Gtc, Gtd, Ioc};
                it.time_in_force = r.pick(&[Atc, Ato, Day, Fok, Gtc, Gtd, Ioc]);
            }
            1 => it.post_only = PostOnly::Reprice,
            2 => it.trigger = 3.into(),
            3 => it.display = 1.into(),
            4 => it.expiry = r.pick(&[0, time, time + 2_000]).into(),
            5 => it.cash = 1.into(),
            6 => it.price = r.pick(&[0, 1]).into(),
            7 => it.trigger = 0.into(),
            _ => it.quantity = r.pick(&[0, 1, u64::MAX]).into(),
        }
    }

    /// Near the last trade, at the edges, or where others wait.
    pub(super) fn trigger(&mut self, model: &Model, instrument: u32) -> i64 {
        let highest = model.instrument(instrument).map_or(1, |it| it.max_price as i64);
        let last = model.last(instrument).map_or(highest / 2, |last| last as i64);
        let others: Vec<i64> = model.waiting(instrument).map(|order| order.trigger as i64).collect();
        let r = &mut self.random;
        match r.below(20) {
            0 => r.pick(&[0, -1, 1, i64::MIN]),
            1 => r.pick(&[highest, highest.saturating_add(1), i64::MAX]),
            2..=5 if !others.is_empty() => r.pick(&others),
            _ => last.saturating_add(r.between(-5, 5)),
        }
    }

    /// The same amend, often in the second layout.
    pub(super) fn widened_amend(&mut self, model: &Model, amend: &Amend, found: Option<&Order>) -> Vec<u8> {
        if !self.profile.features.orders || self.random.percent(20) {
            return amend.as_bytes().to_vec();
        }
        let mut it = Amend2 {
            order_id: amend.order_id,
            client_order_id: amend.client_order_id,
            ..Amend2::new(amend.account.get(), amend.order(), amend.price.get(), amend.quantity.get())
        };
        if let Some(order) = found {
            let near = self.trigger(model, order.instrument);
            let r = &mut self.random;
            if order.waits() || r.percent(3) {
                it.trigger = r.pick(&[0, order.trigger as i64, near, near]).into();
            }
            let priceless =
                order.order_type == OrderType::Market || (order.waits() && !order.order_type.has_price());
            if priceless && !r.percent(5) {
                it.price = 0.into();
            }
            if order.display != 0 || r.percent(3) {
                let display = order.display as u64;
                it.display = r.pick(&[0, 0, display, display + 1, display.saturating_sub(1)]).into();
            }
        }
        it.as_bytes().to_vec()
    }

    /// An order and who asks for it: mostly a live one and its owner.
    pub(super) fn order(&mut self, model: &Model) -> (u32, OrderRef) {
        if model.orders().is_empty() || self.random.percent(8) {
            let past: Vec<u64> = self.past_orders.iter().copied().collect();
            let beyond = u64::from(self.profile.limits.orders);
            let odd = [1 << 32, beyond | 1 << 32, u64::MAX, 1, u64::from(u32::MAX) | 1 << 32];
            let id = if past.is_empty() || self.random.percent(20) {
                self.random.pick(&odd)
            } else {
                let id = self.random.pick(&past);
                self.random.pick(&[id, id, id ^ (1 << 32), id + (1 << 32)])
            };
            let order = if self.random.percent(70) { OrderRef::Id(id) } else { OrderRef::Client(id % 16) };
            return (self.account(), order);
        }
        let order = self.random.pick(model.orders());
        let account = if self.random.percent(4) { self.account() } else { order.account };
        let named = [OrderRef::Id(order.id), OrderRef::Client(order.client)];
        (account, self.random.pick(&named))
    }

    pub(super) fn cancel(&mut self, model: &Model) -> Event {
        let (account, order) = self.order(model);
        let (key, permissions) = self.by_owner(model, account, permission::TRADE);
        self.request(key, permissions, Cancel::new(account, order).as_bytes())
    }

    pub(super) fn amend(&mut self, model: &Model) -> Vec<Event> {
        let (account, named) = self.order(model);
        let found = model.orders().iter().find(|order| {
            order.account == account
                && (named == OrderRef::Id(order.id) || named == OrderRef::Client(order.client))
        });
        let mut amend = Amend::new(account, named, 1, 1);
        let mut events = Vec::new();
        if let Some(order) = found {
            let instrument = model.instrument(order.instrument).expect("the order's").clone();
            let filled = order.cumulative as u64;
            let total = filled + order.remaining as u64;
            let usual = self.quantity(&instrument);
            let closing = if self.random.percent(30) { filled } else { total };
            let quantity = self.random.pick(&[
                total,
                total,
                total,
                total + 1,
                total.saturating_sub(1),
                closing,
                filled + 1,
                usual,
                usual,
                filled.saturating_add(usual),
            ]);
            let other = self.price(model, &instrument, order.side);
            let mut price = if self.random.percent(40) { order.price as i64 } else { other };
            let mut quantity = quantity;
            let makers = model.side(order.instrument, order.side.opposite());
            // Those of its owner are met on the way.
            let meets = self.profile.features.self_trade
                && makers.iter().any(|maker| model.same_owner(maker.account, account));
            let chance = if meets { 4 * self.profile.sweeps } else { self.profile.sweeps };
            let sweeps = !makers.is_empty() && !self.building && self.random.percent(chance);
            if sweeps {
                let all = makers.iter().map(|maker| maker.remaining).sum::<i128>() as u64;
                price = makers.last().map_or(1, |maker| maker.price as i64);
                quantity = (total + self.random.below(all)).min(instrument.max_quantity as u64);
            }
            amend.price = price.into();
            amend.quantity = quantity.into();
            if valid(&instrument, price, quantity) && (sweeps || self.random.percent(25)) {
                let left = i128::from(quantity) - order.cumulative;
                let (currency, needed) = instrument.hold(order.side, price.into(), left);
                let (_, holds) = instrument.hold(order.side, order.price, order.remaining);
                if needed >= holds {
                    events.extend(self.fund(model, account, currency, needed - holds));
                }
            }
        }
        let (key, permissions) = self.by_owner(model, account, permission::TRADE);
        let bytes = self.widened_amend(model, &amend, found);
        events.push(self.request(key, permissions, &bytes));
        events
    }

    pub(super) fn mass_cancel(&mut self, model: &Model) -> Event {
        let mut account = self.account();
        if !model.orders().is_empty() && self.random.percent(50) {
            account = self.random.pick(model.orders()).account;
        }
        let often = if self.profile.spread { 80 } else { 30 };
        let instrument = if self.random.percent(often) { 0 } else { self.instrument_id(model) };
        let any = self.random.pick(&[Sides::Any, Sides::Buy, Sides::Sell]);
        let sides = if self.profile.spread && self.random.percent(80) { Sides::Any } else { any };
        let (key, permissions) = self.by_owner(model, account, permission::TRADE);
        self.request(key, permissions, MassCancel::new(account, instrument, sides).as_bytes())
    }
}

/// What the order needs to be accepted or, of an immediate buy, to buy a part of what it could.
fn needs(instrument: &Instrument, order: &NewOrder, makers: &[&Order], random: &mut Random) -> (u32, i128) {
    let quantity = i128::from(order.quantity.get());
    if order.order_type == OrderType::Limit || order.side == Side::Sell {
        return instrument.hold(order.side, order.price.get().into(), quantity);
    }
    let mut left = match (order.time_in_force, quantity) {
        (TimeInForce::Ioc, 1..) => i128::from(random.below(quantity.min(100) as u64)) + 1,
        _ => quantity,
    };
    let mut cost = 0;
    for maker in makers {
        let lots = left.min(maker.remaining);
        cost += lots * instrument.lot_cost(maker.price);
        left -= lots;
    }
    (instrument.quote, cost)
}

/// Whether price (0: none) and quantity are such that their product is bounded.
fn valid(instrument: &Instrument, price: i64, quantity: u64) -> bool {
    (0..=instrument.max_price).contains(&price.into()) && i128::from(quantity) <= instrument.max_quantity
}

/// The smallest quantity of an instrument.
fn least(model: &Model, instrument: u32) -> u64 {
    model.instrument(instrument).map_or(1, |it| it.min_quantity as u64)
}
