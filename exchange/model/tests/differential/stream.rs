//! Random streams in which everything collides: few accounts, few prices, little money, small limits.
//!
//! The generator looks at the model's state to aim at the edges of the rules: the last affordable minor unit, the
//! first unaffordable one, the last free level, the best price and the one beside it.

use crate::event::Event;
use ordain_exchange_engine::{Context, Limits};
use ordain_exchange_model::{Instrument, Model, Order};
use ordain_exchange_protocol::{
    Amend, Amend2, BalancesQuery, BookLevelsQuery, BookOrdersQuery, Cancel, CreateAccount, CreateInstrument,
    CurrencyQuery, Definition, Flag, FromZeros, Grant, GrantAction, InstrumentQuery, IntoBytes, MassCancel,
    NewOrder, NewOrder2, OrderDetailQuery, OrderQuery, OrderRef, OrderType, OwnerQuery, PostOnly, SelfTrade,
    SetGroup, SetSelfTrade, Side, Sides, StatisticsQuery, TimeInForce, TradingQuery, Transfer, note,
    permission,
};
use std::collections::VecDeque;

/// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// From 0 to `bound` - 1.
    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Both ends included.
    fn between(&mut self, low: i64, high: i64) -> i64 {
        low + (i128::from(self.next()) % (i128::from(high) - i128::from(low) + 1)) as i64
    }

    fn id(&mut self, low: u32, high: u32) -> u32 {
        self.between(low.into(), high.into()) as u32
    }

    fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }

    fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize].clone()
    }
}

/// What the streams may use beyond the first form, page by page of `docs/exchange/`.
#[derive(Clone, Copy)]
pub struct Features {
    /// The second layouts, market-to-limit, repricing, cash.
    pub orders: bool,
    pub self_trade: bool,
    pub stops: bool,
    pub icebergs: bool,
    pub expiry: bool,
}

impl Features {
    pub const NONE: Self =
        Self { orders: false, self_trade: false, stops: false, icebergs: false, expiry: false };
    pub const ALL: Self = Self { orders: true, self_trade: true, stops: true, icebergs: true, expiry: true };
}

/// What kind of stream.
#[derive(Clone, Copy)]
pub struct Profile {
    pub limits: Limits,
    pub features: Features,
    /// How often, of 100, an order that may rest waits for a trigger, if streams have stops.
    pub stops: u64,
    /// How often, of 1,000: instruments and accounts are created.
    pub creations: u64,
    /// How often, of 1,000: mass cancels.
    pub mass_cancels: u64,
    /// How often, of 1,000: cancels.
    pub cancels: u64,
    /// How often, of 1,000: money moves for its own sake.
    pub transfers: u64,
    /// How rich the accounts are.
    pub wealth: u64,
    /// How often, of 100, a stretch of time is one in which books grow.
    pub building: u64,
    /// How often, of 100, an order takes in all there is when books do not grow.
    pub sweeps: u64,
    /// Highest quantities.
    pub lots: [u64; 3],
    /// Prices that orders are entered at, from 1.
    pub prices: i64,
    /// Instruments with values of which only 64 bits are the bound.
    pub huge: bool,
}

const AMOUNT_MAX: i128 = i64::MAX as i128;
/// Keys that are granted and revoked; more than an account can have.
const KEYS: u32 = 10;

pub struct Stream {
    pub random: Random,
    profile: Profile,
    seq: u64,
    time: u64,
    /// Whether this is a time in which orders are entered that do not trade, so that books grow.
    building: bool,
    /// Ids of orders that were live once.
    past_orders: VecDeque<u64>,
    /// Transfers that were sent.
    past_transfers: VecDeque<Transfer>,
}

impl Stream {
    pub fn new(seed: u64, profile: Profile) -> Self {
        Self {
            random: Random::new(seed),
            profile,
            seq: 0,
            time: 1_700_000_000_000_000_000,
            building: true,
            past_orders: VecDeque::new(),
            past_transfers: VecDeque::new(),
        }
    }

    fn context(&mut self, key: u32, permissions: u32) -> Context {
        self.seq += 1 + self.random.below(3);
        self.time += self.random.below(1_000);
        Context { seq: self.seq, time: self.time, key, permissions }
    }

    fn request(&mut self, key: u32, permissions: u32, message: &[u8]) -> Event {
        Event::Request(self.context(key, permissions), message.to_vec())
    }

    /// Sent by a key that may, now and then by one that may not.
    fn by_office(&mut self, permission: u32, message: &[u8]) -> Event {
        let others = (permission::TRADE | permission::ADMIN | permission::CUSTODY) & !permission;
        let permissions = if self.random.percent(2) { others } else { permission };
        let key = self.random.id(1, KEYS);
        self.request(key, permissions, message)
    }

    /// Sent by a key of the account, now and then by another, by an administrator's or without permission.
    fn by_owner(&mut self, model: &Model, account: u32, permission: u32) -> (u32, u32) {
        let keys: Vec<u32> = model.keys(account).into_iter().flatten().copied().collect();
        let any = self.random.id(1, KEYS);
        match self.random.below(50) {
            0 => (any, permission),
            1 => (any, permission | permission::ADMIN),
            2 => (any, permission::ADMIN | permission::CUSTODY),
            _ if keys.is_empty() => (any, permission | permission::ADMIN),
            _ => (self.random.pick(&keys), permission),
        }
    }

    /// What makes an empty exchange one that trades.
    pub fn opening(&mut self) -> Vec<Event> {
        let limits = self.profile.limits;
        let mut events = Vec::new();
        for account in 1..limits.accounts {
            events.push(self.request(1, permission::ADMIN, CreateAccount::new(account).as_bytes()));
            events.push(self.request(
                1,
                permission::ADMIN,
                Grant::new(GrantAction::Grant, account, account).as_bytes(),
            ));
            // Account 1 has nearly as many keys as it can.
            for key in 4..=10 {
                if account == 1 {
                    let grant = Grant::new(GrantAction::Grant, account, key);
                    events.push(self.request(1, permission::ADMIN, grant.as_bytes()));
                }
            }
            // It also has so many balances that they do not fit into one answer.
            for currency in 1..=if account == 1 { limits.currencies } else { limits.currencies.min(4) } {
                let amount = self.much();
                let transaction = self.random.below(1 << 40);
                let deposit = Transfer::deposit(account, currency, transaction, amount);
                events.push(self.request(1, permission::CUSTODY, deposit.as_bytes()));
            }
        }
        for instrument in 1..=limits.instruments.min(2) {
            let definition = self.definition(instrument);
            events.push(self.request(1, permission::ADMIN, CreateInstrument::new(definition).as_bytes()));
        }
        events
    }

    /// Amounts of every size that matters, up to what the dearest orders need.
    fn much(&mut self) -> u64 {
        let top = self.random.pick(&[100, 1_000, 20_000, 300_000, 2_000_000]);
        1 + self.random.below(top * self.profile.wealth)
    }

    /// The next event, or a few that belong together.
    pub fn next(&mut self, model: &Model) -> Vec<Event> {
        for order in model.orders() {
            if self.past_orders.len() < 64 || self.random.percent(1) {
                self.past_orders.truncate(63);
                self.past_orders.push_front(order.id);
            }
        }
        // As long as it may take to fill a book and to clear it.
        if self.random.below(2 * u64::from(self.profile.limits.orders)) == 0 {
            self.building = self.random.percent(self.profile.building);
        }
        let mut dice = self.random.below(1_000);
        let mut falls = |weight: u64| {
            let hit = dice < weight;
            dice = dice.wrapping_sub(weight);
            hit
        };
        let Profile { creations, mass_cancels, cancels, transfers, .. } = self.profile;
        if falls(creations) {
            vec![if self.random.percent(70) { self.create_instrument(model) } else { self.create_account() }]
        } else if falls(mass_cancels) {
            vec![self.mass_cancel(model)]
        } else if falls(transfers) {
            vec![self.transfer(model)]
        } else if falls(15) {
            vec![self.grant()]
        } else if falls(4) {
            vec![Event::Restore]
        } else if falls(60) {
            vec![self.query(model)]
        } else if self.profile.features.self_trade && falls(30) {
            vec![self.ownership(model)]
        } else if falls(cancels) {
            vec![self.cancel(model)]
        } else if falls(220) {
            self.amend(model)
        } else {
            self.new_order(model)
        }
    }

    fn account(&mut self) -> u32 {
        let highest = self.profile.limits.accounts;
        match self.random.below(60) {
            0 => 0,
            1 => highest + 1,
            2 => u32::MAX,
            3..=12 => self.random.id(1, highest),
            // The last one is created late.
            _ => self.random.id(1, highest - 1),
        }
    }

    fn instrument_id(&mut self, model: &Model) -> u32 {
        let highest = self.profile.limits.instruments;
        match self.random.below(60) {
            0 => 0,
            1 => highest + 1,
            2 => u32::MAX,
            // Where something rests already, so that books grow.
            3..=30 if !model.orders().is_empty() => self.random.pick(model.orders()).instrument,
            // A number that has an instrument, if few tries find one.
            _ => (0..8)
                .map(|_| self.random.id(1, highest))
                .find(|id| model.instrument(*id).is_some())
                .unwrap_or(1),
        }
    }

    fn currency(&mut self) -> u32 {
        let highest = self.profile.limits.currencies;
        match self.random.below(40) {
            0 => 0,
            1 => highest + 1,
            2 => u32::MAX,
            _ => self.random.id(1, highest),
        }
    }

    fn side(&mut self) -> Side {
        self.random.pick(&[Side::Buy, Side::Sell])
    }

    /// Terms under which few prices and quantities do, and fees have to be rounded.
    fn definition(&mut self, instrument: u32) -> Definition {
        let r = &mut self.random;
        // 1 and 2 share a quote currency, which is the base currency of 3, and so on.
        let (base, quote) = [(1, 3), (2, 3), (3, 1)][(instrument as usize + 2) % 3];
        let scale: u64 = r.pick(&[1, 1, 7, 10, 1_000]);
        let max_price = r.between(self.profile.prices - 2, self.profile.prices);
        let (maker, taker) = r.pick(&[
            (0, 0),
            (100_000, 200_000),
            (200_000, 100_000),
            (-50_000, 100_000),
            (-99_999, 100_001),
            (150_000, -150_000),
            (-1, 1),
            (1, 0),
            (1_000_000, 1_000_000),
            (1_000_000, -1_000_000),
            (-1_000_000, 1_000_000),
            (333_333, 0),
        ]);
        let max_quantity = r.pick(&self.profile.lots);
        let (mut quote_per_tick_lot, mut base_per_lot) = (scale, r.pick(&[1u64, 3, 100]));
        if self.profile.huge && r.percent(50) {
            // The largest orders move a good part of all the money that there may be.
            let part = r.pick(&[1u64 << 60, 1 << 61, 1 << 62]);
            quote_per_tick_lot = part / max_price as u64 / max_quantity;
            base_per_lot = part / max_quantity;
        }
        let mut symbol = [0; 16];
        let text = format!("I{}", instrument);
        symbol[..text.len()].copy_from_slice(text.as_bytes());
        if r.percent(20) {
            symbol = *b"SIXTEEN-LETTERS0";
            symbol[15] = b'0' + (instrument % 10) as u8;
        }
        Definition {
            instrument: instrument.into(),
            price_decimals: r.below(19) as u8,
            quantity_decimals: r.below(19) as u8,
            symbol,
            base: base.into(),
            quote: quote.into(),
            quote_per_tick_lot: quote_per_tick_lot.into(),
            base_per_lot: base_per_lot.into(),
            min_quantity: r.pick(&[1u64, 1, 2, 3]).into(),
            max_quantity: max_quantity.into(),
            min_notional: r.pick(&[0, 0, 1, 5 * scale, 9 * scale, 9 * scale + 1]).into(),
            max_price: max_price.into(),
            collar: r.pick(&[0, 0, 1, 2, 3, max_price]).into(),
            maker_ppm: maker.into(),
            taker_ppm: taker.into(),
            tick: r.pick(&[1u32, 5, u32::MAX]).into(),
            lot: r.pick(&[1u32, 10, u32::MAX]).into(),
            ..Definition::new_zeroed()
        }
    }

    /// Terms at the edge of one rule: on either side of it.
    fn create_instrument(&mut self, model: &Model) -> Event {
        let limits = self.profile.limits;
        let id = match self.random.below(30) {
            0 => 0,
            1 => limits.instruments + 1,
            2 => u32::MAX,
            3 => limits.instruments,
            _ => self.random.id(1, limits.instruments),
        };
        let mut it = self.definition(id);
        let r = &mut self.random;
        let currencies = [0, 1, 2, 3, limits.currencies, limits.currencies + 1, u32::MAX];
        let extremes = [0, 1, 2, u64::from(u32::MAX), 1 << 62, i64::MAX as u64, 1 << 63, u64::MAX];
        match r.below(if self.profile.huge { 17 } else { 12 }) {
            0 => it.price_decimals = r.pick(&[18, 19, 255]),
            1 => it.quantity_decimals = r.pick(&[18, 19, 255]),
            2 => it.base = r.pick(&currencies).into(),
            3 => it.quote = r.pick(&currencies).into(),
            4 => it.quote_per_tick_lot = 0.into(),
            5 => it.base_per_lot = 0.into(),
            6 => it.tick = r.pick(&[0, 1]).into(),
            7 => it.lot = r.pick(&[0, 1]).into(),
            8 => {
                it.min_quantity =
                    r.pick(&[0, it.max_quantity.get(), it.max_quantity.get() + 1, u64::MAX]).into();
            }
            9 => {
                it.max_price = r.pick(&[1, 0, -1, i64::MIN]).into();
                it.collar = r.pick(&[0, 1]).into();
            }
            10 => it.collar = r.pick(&[it.max_price.get(), it.max_price.get() + 1, -1, i64::MIN]).into(),
            11 => {
                let rates = [0, 1, -1, 1_000_000, 1_000_001, -1_000_000, -1_000_001, i32::MIN, i32::MAX];
                it.maker_ppm = r.pick(&rates).into();
                it.taker_ppm = r.pick(&rates).into();
            }
            12 => {
                // The symbol of another.
                let other = model.instrument(r.id(1, limits.instruments));
                it.symbol = other.map_or(it.symbol, |other| other.definition.symbol);
            }
            13 => {
                it.quote_per_tick_lot = r.pick(&extremes).into();
                it.base_per_lot = r.pick(&extremes).into();
                it.max_quantity = r.pick(&extremes).into();
                it.max_price = (r.pick(&extremes) as i64).into();
                it.collar = 0.into();
            }
            14 => {
                // The largest order costs the most that there may be, or one lot more.
                let fees = it.maker_ppm.get().max(it.taker_ppm.get()).max(0);
                let lot_cost = it.quote_per_tick_lot.get() as i128 * i128::from(it.max_price.get());
                let lot_cost = lot_cost + (lot_cost * i128::from(fees) + 999_999) / 1_000_000;
                it.max_quantity = ((AMOUNT_MAX / lot_cost) as u64 + r.below(2)).into();
                it.base_per_lot = 1.into();
            }
            15 => {
                let lots = it.max_quantity.get();
                it.base_per_lot = (i64::MAX as u64 / lots + r.below(2)).into();
            }
            _ => {
                // One lot at the highest price is the most that there may be, or a minor unit more.
                it.max_quantity = it.min_quantity;
                it.max_price = 1.into();
                it.collar = 0.into();
                it.min_quantity = 1.into();
                it.max_quantity = r.pick(&[1u64, 1, 2]).into();
                it.quote_per_tick_lot = (i64::MAX as u64 - r.below(2) + r.below(3)).into();
                if r.percent(70) {
                    it.maker_ppm = 0.into();
                    it.taker_ppm = 0.into();
                }
            }
        }
        self.by_office(permission::ADMIN, CreateInstrument::new(it).as_bytes())
    }

    fn create_account(&mut self) -> Event {
        let account = self.account();
        self.by_office(permission::ADMIN, CreateAccount::new(account).as_bytes())
    }

    fn grant(&mut self) -> Event {
        let action = self.random.pick(&[GrantAction::Grant, GrantAction::Grant, GrantAction::Revoke]);
        let (account, key) = (self.account(), self.random.id(1, KEYS));
        // Account 1 tends to have as many keys as it can.
        let account = if self.random.percent(40) { 1 } else { account };
        let action = if account == 1 && self.random.percent(60) { GrantAction::Grant } else { action };
        self.by_office(permission::ADMIN, Grant::new(action, account, key).as_bytes())
    }

    fn transfer(&mut self, model: &Model) -> Event {
        let transfer = if !self.past_transfers.is_empty() && self.random.percent(35) {
            self.repeat()
        } else {
            let account = if self.random.percent(15) { 0 } else { self.account() };
            let currency = self.currency();
            let transaction = self.random.below(12);
            let (free, supply) = (model.free(account, currency), model.supply(currency));
            if self.random.percent(65) {
                let room = (AMOUNT_MAX - supply) as u64;
                let usual = self.much();
                let top = self.random.percent(if self.profile.huge { 5 } else { 2 });
                let amount = match self.random.below(40) {
                    0 => self.random.pick(&[0, i64::MAX as u64, 1 << 63, u64::MAX]),
                    _ if top => room + self.random.below(2),
                    _ => usual,
                };
                Transfer::deposit(account, currency, transaction, amount)
            } else {
                let free = free as u64;
                // Back to little money after much.
                let much = free.saturating_sub(self.much());
                let some = self.random.below(2_000);
                let amount =
                    self.random.pick(&[free, free + 1, free / 2, some, some, some, some, 0, u64::MAX]);
                let amount = if free > 10_000_000 && self.random.percent(70) { much } else { amount };
                Transfer::withdraw(account, currency, transaction, amount)
            }
        };
        self.past_transfers.truncate(2 * self.profile.limits.transfers as usize);
        self.past_transfers.push_front(transfer);
        self.by_office(permission::CUSTODY, transfer.as_bytes())
    }

    /// A transfer once more, sometimes with something changed.
    fn repeat(&mut self) -> Transfer {
        let past: Vec<Transfer> = self.past_transfers.iter().copied().collect();
        let first = self.random.pick(&past);
        match self.random.below(8) {
            0 => Transfer { amount: (first.amount.get() ^ 1).into(), ..first },
            1 => Transfer { currency: self.currency().into(), ..first },
            2 => Transfer { account: self.account().into(), ..first },
            3 if first.tag == Transfer::DEPOSIT => Transfer { tag: Transfer::WITHDRAW, ..first },
            3 => Transfer { tag: Transfer::DEPOSIT, ..first },
            _ => first,
        }
    }

    /// Gives the account exactly what it needs, a little more, or one minor unit less.
    fn fund(&mut self, model: &Model, account: u32, currency: u32, needed: i128) -> Option<Event> {
        let target = needed + i128::from(self.random.pick(&[0, 0, -1, 1]));
        let change = target - model.free(account, currency);
        let transaction = self.random.next() | 1 << 50;
        let amount = u64::try_from(change.unsigned_abs()).ok()?;
        let transfer = match change {
            0 => return None,
            // Not often, or all would be poor.
            ..0 if self.random.percent(60) => return None,
            1.. => Transfer::deposit(account, currency, transaction, amount),
            _ => Transfer::withdraw(account, currency, transaction, amount),
        };
        Some(self.request(1, permission::CUSTODY, transfer.as_bytes()))
    }

    /// Near the best prices, at the edges, or anywhere.
    fn price(&mut self, model: &Model, instrument: &Instrument, side: Side) -> i64 {
        let best = |side: Side| model.side(instrument.id, side).first().map_or(5, |order| order.price as i64);
        let (same, opposite) = (best(side), best(side.opposite()));
        let highest = instrument.max_price as i64;
        let middle = highest.min(self.profile.prices) / 2;
        let r = &mut self.random;
        match r.below(24) {
            0 => r.pick(&[1, 0, -1, i64::MIN]),
            1 => r.pick(&[highest, highest.saturating_add(1), i64::MAX]),
            2..=11 if self.building => same,
            _ if self.building => match side {
                Side::Buy => r.between(1, middle.max(1)),
                Side::Sell => r.between(middle + 1, 2 * middle + 1),
            },
            2..=6 => opposite.saturating_add(r.between(-1, 1)),
            7..=11 => same.saturating_add(r.between(-2, 1)),
            _ => r.between(1, highest.min(self.profile.prices)),
        }
    }

    /// Within the limits or just beyond them.
    fn quantity(&mut self, instrument: &Instrument) -> u64 {
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

    fn new_order(&mut self, model: &Model) -> Vec<Event> {
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
    fn widened(&mut self, model: &Model, order: &NewOrder) -> Vec<u8> {
        let features = self.profile.features;
        if !features.orders || self.random.percent(20) {
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
            it.cash = r.pick(&[lot - 1, lot, lot.saturating_mul(lots), lot.saturating_mul(lots) + 1]).into();
        }
        if r.percent(4) {
            self.spoil(&mut it);
        }
        it.as_bytes().to_vec()
    }

    /// Something that does not go with the rest, perhaps.
    fn spoil(&mut self, it: &mut NewOrder2) {
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
    fn trigger(&mut self, model: &Model, instrument: u32) -> i64 {
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

    /// Instruments' modes and accounts' groups.
    fn ownership(&mut self, model: &Model) -> Event {
        let why = note("a test");
        if self.random.percent(40) {
            let (instrument, mode) = (self.instrument_id(model), any_mode(&mut self.random));
            self.by_office(permission::ADMIN, SetSelfTrade::new(instrument, mode, why).as_bytes())
        } else {
            let (account, group) = (self.account(), self.random.pick(&[0, 1, 1, 2]));
            self.by_office(permission::ADMIN, SetGroup::new(account, group, why).as_bytes())
        }
    }

    /// The same amend, often in the second layout.
    fn widened_amend(&mut self, model: &Model, amend: &Amend, found: Option<&Order>) -> Vec<u8> {
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
            if order.waits() && !order.order_type.has_price() && !r.percent(5) {
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
    fn order(&mut self, model: &Model) -> (u32, OrderRef) {
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

    fn cancel(&mut self, model: &Model) -> Event {
        let (account, order) = self.order(model);
        let (key, permissions) = self.by_owner(model, account, permission::TRADE);
        self.request(key, permissions, Cancel::new(account, order).as_bytes())
    }

    fn amend(&mut self, model: &Model) -> Vec<Event> {
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
            let sweeps = !makers.is_empty() && !self.building && self.random.percent(self.profile.sweeps);
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

    fn mass_cancel(&mut self, model: &Model) -> Event {
        let account = self.account();
        let instrument = if self.random.percent(30) { 0 } else { self.instrument_id(model) };
        let sides = self.random.pick(&[Sides::Any, Sides::Buy, Sides::Sell]);
        let (key, permissions) = self.by_owner(model, account, permission::TRADE);
        self.request(key, permissions, MassCancel::new(account, instrument, sides).as_bytes())
    }

    fn query(&mut self, model: &Model) -> Event {
        let account = self.account();
        let (key, mut permissions) = self.by_owner(model, account, permission::VIEW);
        if self.random.percent(30) {
            permissions |= permission::ADMIN;
        }
        let instrument = self.instrument_id(model);
        let bytes = match self.random.below(if self.profile.features.orders { 11 } else { 8 }) {
            8 => {
                let (account, order) = self.order(model);
                OrderDetailQuery::new(account, order).as_bytes().to_vec()
            }
            9 => TradingQuery::new(instrument).as_bytes().to_vec(),
            10 => OwnerQuery::new(account).as_bytes().to_vec(),
            0 => {
                let mut query = BookLevelsQuery::new(instrument, self.random.id(1, 20) as u8);
                query.after_bid = self.random.pick(&[0, 1, 4, 5, i64::MIN, i64::MAX]).into();
                query.after_ask = self.random.pick(&[0, 1, 4, 5, i64::MIN, i64::MAX]).into();
                query.as_bytes().to_vec()
            }
            1 | 2 => {
                let (side, price) = (self.side(), self.random.between(-1, self.profile.prices + 1));
                let query = if model.orders().is_empty() || self.random.percent(30) {
                    BookOrdersQuery::new(instrument, side, price, 0)
                } else {
                    let order = self.random.pick(model.orders());
                    let after = if self.random.percent(80) { order.id } else { order.id ^ (1 << 32) };
                    let price = if self.random.percent(80) { order.price as i64 } else { price };
                    let side = if self.random.percent(90) { order.side } else { side };
                    let instrument = if self.random.percent(90) { order.instrument } else { instrument };
                    BookOrdersQuery::new(instrument, side, price, after)
                };
                query.as_bytes().to_vec()
            }
            3 => BalancesQuery::new(account, self.currency()).as_bytes().to_vec(),
            4 => {
                let (account, order) = self.order(model);
                OrderQuery::new(account, order).as_bytes().to_vec()
            }
            5 => StatisticsQuery::new().as_bytes().to_vec(),
            6 => {
                let id = self.random.id(0, self.profile.limits.instruments + 1);
                InstrumentQuery::new(id).as_bytes().to_vec()
            }
            _ => CurrencyQuery::new(self.currency()).as_bytes().to_vec(),
        };
        Event::Query(self.context(key, permissions), bytes)
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

fn any_mode(random: &mut Random) -> SelfTrade {
    use SelfTrade::{Allow, CancelBoth, CancelMaker, CancelTaker, Decrement};
    random.pick(&[Allow, CancelTaker, CancelMaker, CancelBoth, Decrement])
}

/// The smallest quantity of an instrument.
fn least(model: &Model, instrument: u32) -> u64 {
    model.instrument(instrument).map_or(1, |it| it.min_quantity as u64)
}
