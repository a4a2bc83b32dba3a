//! What one client asks of the exchange. The first one also opens it and runs it.

use crate::LIMITS;
use ordain_api::Stream;
use ordain_exchange_protocol::{
    Amend, BalancesQuery, BookLevelsQuery, BookOrdersQuery, Cancel, CreateAccount, CreateInstrument,
    CurrencyQuery, Definition, Flag, FromZeros, GRACE_MAX, Grant, GrantAction, InstrumentQuery, IntoBytes,
    MassCancel, NewOrder, OrderQuery, OrderRef, OrderState, OrderType, Reply, SetDisconnect, Side, Sides,
    StatisticsQuery, TimeInForce, Transfer,
};
use ordain_exchange_server::SCHEMA;
use ordain_sim::rng::Rng;
use ordain_sim::workload::{Author, Payload};
use std::collections::VecDeque;

/// Prices at which orders are entered, from 1.
const PRICES: u64 = 12;
/// Names that an account's orders may have: so few that some are taken.
const NAMES: u64 = 150;
/// Keys that are granted and revoked: more than an account can have.
const KEYS: u64 = 10;
/// Orders that a trader remembers.
const REMEMBERED: usize = 24;

/// See the module.
#[derive(Debug)]
pub struct Trader {
    account: u32,
    /// Whether it runs the exchange.
    office: bool,
    /// What opens the exchange and was not said yet, the first at the end.
    opening: Vec<Vec<u8>>,
    /// Whether it enters orders that do not trade, so that books grow.
    building: bool,
    /// Orders that rested: account and id.
    orders: VecDeque<(u32, u64)>,
    last_transfer: Option<Transfer>,
    /// What an account was said to have free of a currency.
    free: Option<(u32, u32, u64)>,
}

impl Trader {
    pub(crate) fn new(client: usize) -> Self {
        let mut opening = if client == 0 { opening() } else { Vec::new() };
        opening.reverse();
        Self {
            account: 1 + client as u32 % 4,
            office: client == 0,
            opening,
            building: true,
            orders: VecDeque::new(),
            last_transfer: None,
            free: None,
        }
    }

    fn any_account(&self, rng: &mut Rng) -> u32 {
        match rng.below(24) {
            0 => rng.pick(&[0, LIMITS.accounts + 1, u32::MAX]),
            1..=3 => rng.range(1, LIMITS.accounts.into()) as u32,
            _ => self.account,
        }
    }

    /// An order that was live, mostly the trader's own.
    fn any_order(&mut self, rng: &mut Rng) -> (u32, OrderRef) {
        if self.orders.is_empty() || rng.one_in(4) {
            return (self.any_account(rng), OrderRef::Client(rng.range(1, NAMES)));
        }
        let at = rng.below(self.orders.len() as u64) as usize;
        let (account, id) = self.orders[at];
        (account, OrderRef::Id(id))
    }

    fn new_order(&mut self, rng: &mut Rng) -> Vec<u8> {
        if rng.one_in(if self.building { 120 } else { 20 }) {
            self.building = !self.building;
        }
        let (account, instrument) = (self.any_account(rng), instrument(rng));
        let side = rng.pick(&[Side::Buy, Side::Sell]);
        let middle = PRICES / 2;
        let price = match (rng.below(30), side) {
            (0, _) => rng.pick(&[0, -1, PRICES as i64 + 1, i64::MAX, i64::MIN]),
            (_, Side::Buy) if self.building => rng.range(1, middle) as i64,
            (_, Side::Sell) if self.building => rng.range(middle + 1, PRICES) as i64,
            _ => rng.range(1, PRICES) as i64,
        };
        let quantity = match rng.below(30) {
            0 => rng.pick(&[0, LOTS + 1, u64::MAX]),
            1..=3 if !self.building => LOTS,
            _ if self.building => rng.range(1, 2),
            _ => rng.range(1, 20),
        };
        let order = NewOrder::limit(account, instrument, rng.range(1, NAMES), side, price, quantity);
        let market = NewOrder { order_type: OrderType::Market, price: 0.into(), ..order };
        let order = match rng.below(if self.building { 80 } else { 24 }) {
            0 => market.lasting(TimeInForce::Ioc),
            1 => market.lasting(TimeInForce::Fok),
            2..=3 => order.lasting(TimeInForce::Ioc),
            4..=5 => order.lasting(TimeInForce::Fok),
            6..=8 => order.post_only(),
            9 if rng.one_in(2) => market,
            9 => NewOrder { price: 1.into(), ..market.lasting(TimeInForce::Ioc) },
            10 if rng.one_in(2) => NewOrder { post_only: Flag::Yes, ..order.lasting(TimeInForce::Ioc) },
            _ => order,
        };
        order.as_bytes().to_vec()
    }

    fn amend(&mut self, rng: &mut Rng) -> Vec<u8> {
        let (account, order) = self.any_order(rng);
        let price = if rng.one_in(20) { 0 } else { rng.range(1, PRICES) as i64 };
        let quantity = if rng.one_in(20) { LOTS + 1 } else { rng.range(1, 8) };
        Amend::new(account, order, price, quantity).as_bytes().to_vec()
    }

    fn transfer(&mut self, rng: &mut Rng) -> Vec<u8> {
        let transfer = match self.last_transfer {
            Some(last) if rng.one_in(6) => last,
            Some(last) if rng.one_in(12) => Transfer { amount: (last.amount.get() ^ 1).into(), ..last },
            _ => {
                let account = if rng.one_in(8) { 0 } else { self.any_account(rng) };
                let currency = if rng.one_in(20) { 0 } else { rng.range(1, LIMITS.currencies.into()) as u32 };
                let amount = match rng.below(24) {
                    0 => 0,
                    1 => i64::MAX as u64,
                    _ => rng.spread(1, 200_000),
                };
                let transaction = rng.below(1 << 20);
                match (rng.below(4), self.free.take()) {
                    // Little is left.
                    (0, Some((account, currency, free))) => {
                        let amount = free.saturating_sub(rng.below(600));
                        Transfer::withdraw(account, currency, transaction, amount)
                    }
                    (0 | 1, _) => Transfer::deposit(account, currency, transaction, amount),
                    _ => Transfer::withdraw(account, currency, transaction, amount),
                }
            }
        };
        self.last_transfer = Some(transfer);
        transfer.as_bytes().to_vec()
    }

    fn command_bytes(&mut self, rng: &mut Rng) -> Vec<u8> {
        if let Some(bytes) = self.opening.pop() {
            return bytes;
        }
        // Who may not is refused.
        let (office, custody) = if self.office { (12, 20) } else { (1, 4) };
        match rng.below(100) {
            choice if choice < office => manage(rng),
            choice if choice < office + custody => self.transfer(rng),
            80 => {
                let instrument = if rng.one_in(2) { 0 } else { instrument(rng) };
                let sides = rng.pick(&[Sides::Any, Sides::Buy, Sides::Sell]);
                MassCancel::new(self.any_account(rng), instrument, sides).as_bytes().to_vec()
            }
            86 => on_disconnect(rng).as_bytes().to_vec(),
            81..=85 => {
                let (account, order) = self.any_order(rng);
                Cancel::new(account, order).as_bytes().to_vec()
            }
            90.. => self.amend(rng),
            _ => self.new_order(rng),
        }
    }
}

impl Author for Trader {
    fn command(&mut self, rng: &mut Rng) -> Payload {
        Payload { schema: SCHEMA, bytes: self.command_bytes(rng) }
    }

    fn query(&mut self, rng: &mut Rng) -> Payload {
        let bytes = match rng.below(8) {
            0 | 1 => BookLevelsQuery::new(instrument(rng), rng.range(1, 20) as u8).as_bytes().to_vec(),
            2 => {
                let side = rng.pick(&[Side::Buy, Side::Sell]);
                BookOrdersQuery::new(instrument(rng), side, rng.range(1, PRICES) as i64, 0)
                    .as_bytes()
                    .to_vec()
            }
            3 | 4 => BalancesQuery::new(self.any_account(rng), 0).as_bytes().to_vec(),
            5 => {
                let (account, order) = self.any_order(rng);
                OrderQuery::new(account, order).as_bytes().to_vec()
            }
            6 => match rng.below(2) {
                0 => InstrumentQuery::new(instrument(rng)).as_bytes().to_vec(),
                _ => CurrencyQuery::new(rng.below(5) as u32).as_bytes().to_vec(),
            },
            _ => StatisticsQuery::new().as_bytes().to_vec(),
        };
        Payload { schema: SCHEMA, bytes }
    }

    fn stream(&mut self, rng: &mut Rng) -> Stream {
        if rng.one_in(2) {
            Stream::Topic(instrument(rng))
        } else {
            Stream::Account(self.any_account(rng).into())
        }
    }

    fn hear(&mut self, reply: &[u8]) {
        match Reply::decode(reply) {
            Ok(Reply::Order(order)) if order.state == OrderState::Live => {
                self.orders.truncate(REMEMBERED - 1);
                self.orders.push_front((order.account.get(), order.order_id.get()));
            }
            Ok(Reply::Transfer(transfer)) if transfer.code.get() == 0 => {
                self.free = Some((transfer.account.get(), transfer.currency.get(), transfer.free.get()));
            }
            _ => {}
        }
    }
}

/// Graces from none to longer than most faults last.
fn on_disconnect(rng: &mut Rng) -> SetDisconnect {
    match rng.below(12) {
        0 => SetDisconnect::off(),
        1 => SetDisconnect::after(GRACE_MAX + 1),
        2..=4 => SetDisconnect::after(0),
        _ => SetDisconnect::after(rng.spread(1, 2_000_000_000)),
    }
}

fn instrument(rng: &mut Rng) -> u32 {
    match rng.below(30) {
        0 => rng.pick(&[0, LIMITS.instruments + 1]),
        1..=9 => 2,
        10 => 3,
        _ => 1,
    }
}

/// Most lots of an order: enough to take a whole side in several steps.
const LOTS: u64 = 60;

fn definition(instrument: u32) -> Definition {
    let (base, quote, maker, taker) =
        [(1, 3, 100_000, 200_000), (2, 3, -50_000, 100_000), (3, 1, 0, 0)][(instrument as usize + 2) % 3];
    let mut symbol = [0; 16];
    symbol[..2].copy_from_slice(&[b'I', b'0' + (instrument % 10) as u8]);
    Definition {
        instrument: instrument.into(),
        symbol,
        base: base.into(),
        quote: quote.into(),
        quote_per_tick_lot: 7.into(),
        base_per_lot: 3.into(),
        min_quantity: 1.into(),
        max_quantity: LOTS.into(),
        min_notional: 14.into(),
        max_price: (PRICES as i64).into(),
        collar: 4.into(),
        maker_ppm: maker.into(),
        taker_ppm: taker.into(),
        tick: 1.into(),
        lot: 1.into(),
        ..Definition::new_zeroed()
    }
}

/// What makes an empty exchange one that trades. The third instrument and the last account come later.
fn opening() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for instrument in 1..=2 {
        all.push(CreateInstrument::new(definition(instrument)).as_bytes().to_vec());
    }
    for account in 1..LIMITS.accounts {
        all.push(CreateAccount::new(account).as_bytes().to_vec());
        // Client c has key c + 1 and trades for account 1 + c % 4.
        for key in [account, account + 4] {
            all.push(Grant::new(GrantAction::Grant, account, key).as_bytes().to_vec());
        }
        for currency in 1..=LIMITS.currencies {
            let deposit = Transfer::deposit(account, currency, u64::from(currency) << 32, 60_000);
            all.push(deposit.as_bytes().to_vec());
        }
    }
    all
}

/// Instruments, accounts and grants, at the edges of the rules.
fn manage(rng: &mut Rng) -> Vec<u8> {
    match rng.below(10) {
        0..=3 => {
            let mut new = definition(rng.range(0, u64::from(LIMITS.instruments) + 1) as u32);
            match rng.below(10) {
                0 => new.base = 0.into(),
                1 => new.base = new.quote,
                2 => new.tick = 0.into(),
                3 => new.min_quantity = 0.into(),
                4 => new.collar = (-1).into(),
                5 => new.taker_ppm = (-1_000_000).into(),
                6 => new.base_per_lot = u64::MAX.into(),
                7 => new.symbol = definition(1).symbol,
                _ => {}
            }
            CreateInstrument::new(new).as_bytes().to_vec()
        }
        4..=5 => CreateAccount::new(rng.range(0, u64::from(LIMITS.accounts) + 1) as u32).as_bytes().to_vec(),
        choice => {
            let action = if choice == 6 { GrantAction::Revoke } else { GrantAction::Grant };
            let account = if rng.one_in(2) { 4 } else { rng.range(1, LIMITS.accounts.into()) as u32 };
            Grant::new(action, account, rng.range(1, KEYS) as u32).as_bytes().to_vec()
        }
    }
}
