//! What the offices of the exchange send: instruments, accounts, grants, money, and what holds for whom.

use super::{KEYS, Stream, Theme, any_mode};
use crate::event::Event;
use ordain_exchange_model::{Model, Order};
use ordain_exchange_protocol::{
    CreateAccount, CreateInstrument, Definition, FromZeros, Grant, GrantAction, IntoBytes, MarketState,
    OrderType, SetGroup, SetReference, SetSelfTrade, SetState, Side, TimeInForce, Transfer, note, permission,
};

const AMOUNT_MAX: i128 = i64::MAX as i128;

impl Stream {
    /// Terms under which few prices and quantities do, and fees have to be rounded.
    pub(super) fn definition(&mut self, instrument: u32) -> Definition {
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
    pub(super) fn create_instrument(&mut self, model: &Model) -> Event {
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

    pub(super) fn create_account(&mut self) -> Event {
        let account = self.account();
        self.by_office(permission::ADMIN, CreateAccount::new(account).as_bytes())
    }

    pub(super) fn grant(&mut self) -> Event {
        let action = self.random.pick(&[GrantAction::Grant, GrantAction::Grant, GrantAction::Revoke]);
        let (account, key) = (self.account(), self.random.id(1, KEYS));
        // Account 1 tends to have as many keys as it can.
        let account = if self.random.percent(40) { 1 } else { account };
        let action = if account == 1 && self.random.percent(60) { GrantAction::Grant } else { action };
        self.by_office(permission::ADMIN, Grant::new(action, account, key).as_bytes())
    }

    pub(super) fn transfer(&mut self, model: &Model) -> Event {
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
    pub(super) fn repeat(&mut self) -> Transfer {
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
    pub(super) fn fund(&mut self, model: &Model, account: u32, currency: u32, needed: i128) -> Option<Event> {
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

    /// How often, of 1,000, the state of an instrument is set: more often where trading has stopped, since trades are
    /// what streams are for.
    pub(super) fn state_changes(&self, model: &Model) -> u64 {
        let trading = model.instruments().all(|id| model.state(id) == MarketState::Continuous);
        match (self.theme, trading) {
            // Books take time to cross.
            (Theme { auctions: true, .. }, _) => 22,
            (Theme { states: true, .. }, true) => 30,
            (Theme { states: true, .. }, false) => 60,
            (_, true) => 4,
            (_, false) => 80,
        }
    }

    pub(super) fn set_state(&mut self, model: &Model) -> Event {
        use MarketState::{
            CancelOnly, Closed, ClosingAuction, Continuous, Halted, OpeningAuction, PostOnly, PreOpen,
            VolatilityAuction,
        };
        let stopped: Vec<u32> = model.instruments().filter(|id| model.state(*id) != Continuous).collect();
        let usual = self.instrument_id(model);
        let r = &mut self.random;
        if self.profile.features.auctions && self.theme.auctions {
            let of_auction = |order: &&Order| order.tif.is_for_auction() && !order.awaits_auction;
            if let Some(order) = model.orders().iter().find(of_auction)
                && r.percent(25)
            {
                // The day ends, but not out of the auction.
                let auction = model.state(order.instrument).is_auction();
                let state = if auction { r.pick(&[PreOpen, Halted]) } else { Closed };
                let set = SetState::new(order.instrument, state, note("a test"));
                return self.by_office(permission::ADMIN, set.as_bytes());
            }
            let mut instrument = if r.percent(12) { 0 } else { usual };
            let state = if !stopped.is_empty() && r.percent(30) {
                instrument = r.pick(&stopped);
                r.pick(&[Continuous, Continuous, Continuous, PostOnly])
            } else {
                let auctions = [PreOpen, OpeningAuction, VolatilityAuction, ClosingAuction, Closed];
                let any = r.pick(&auctions);
                r.pick(&[any, any, any, any, OpeningAuction, ClosingAuction, Halted, CancelOnly])
            };
            let set = SetState::new(instrument, state, note("a test"));
            return self.by_office(permission::ADMIN, set.as_bytes());
        }
        let (mut instrument, state) = if stopped.is_empty() || r.percent(40) {
            (usual, r.pick(&[Continuous, Halted, CancelOnly, CancelOnly, PostOnly, PostOnly]))
        } else {
            (r.pick(&stopped), Continuous)
        };
        if r.percent(15) {
            instrument = 0;
        }
        self.by_office(permission::ADMIN, SetState::new(instrument, state, note("a test")).as_bytes())
    }

    pub(super) fn set_reference(&mut self, model: &Model) -> Vec<Event> {
        let joins = |order: &&Order| {
            let most = model.instrument(order.instrument).map_or(0, |it| it.max_price);
            order.awaits_auction
                && order.tif == TimeInForce::Ato
                && order.order_type == OrderType::Market
                && order.side == Side::Buy
                && order.price < most
                && !model.state(order.instrument).gathers()
        };
        if let Some(order) = model.orders().iter().find(joins)
            && self.random.percent(60)
        {
            // It will have to hold more than there is.
            let instrument = model.instrument(order.instrument).expect("the order's");
            let set = SetReference::new(instrument.id, instrument.max_price as i64, note("a test"));
            let free = model.free(order.account, instrument.quote) as u64;
            let transaction = self.random.next() | 1 << 50;
            let withdraw = Transfer::withdraw(order.account, instrument.quote, transaction, free);
            let open = SetState::new(instrument.id, MarketState::OpeningAuction, note("a test"));
            return vec![
                self.by_office(permission::ADMIN, set.as_bytes()),
                self.by_office(permission::CUSTODY, withdraw.as_bytes()),
                self.by_office(permission::ADMIN, open.as_bytes()),
            ];
        }
        let instrument = self.instrument_id(model);
        let price = self.trigger(model, instrument);
        let set = SetReference::new(instrument, price, note("a test"));
        vec![self.by_office(permission::ADMIN, set.as_bytes())]
    }

    /// Instruments' modes and accounts' groups.
    pub(super) fn ownership(&mut self, model: &Model) -> Event {
        let why = note("a test");
        if self.random.percent(40) {
            let (instrument, mode) = (self.instrument_id(model), any_mode(&mut self.random));
            self.by_office(permission::ADMIN, SetSelfTrade::new(instrument, mode, why).as_bytes())
        } else {
            let (account, group) = (self.account(), self.random.pick(&[0, 1, 1, 2]));
            self.by_office(permission::ADMIN, SetGroup::new(account, group, why).as_bytes())
        }
    }
}
