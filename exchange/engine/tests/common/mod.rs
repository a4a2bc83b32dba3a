//! A small exchange to send requests to.
#![allow(dead_code, reason = "each test file uses its own part")]

use ordain_exchange_engine::{Audience, Context, Engine, Limits, STEP_OUTPUTS_MAX, Sink, Step};
use ordain_exchange_protocol::*;
use zerocopy::Immutable;

pub const LIMITS: Limits = Limits {
    instruments: 4,
    currencies: 4,
    accounts: 6,
    orders: 8,
    orders_per_account: 6,
    levels_per_side: 3,
    transfers: 12,
};

pub const KEY: u32 = 7;
pub const TRADER: u32 = permission::TRADE | permission::VIEW;
pub const ALL: u32 = u32::MAX;

pub const BASE: u32 = 1;
pub const QUOTE: u32 = 2;
pub const OTHER: u32 = 3;

/// What an event said.
#[derive(Default, Debug, PartialEq, Eq, Clone)]
pub struct Said {
    pub reply: Vec<u8>,
    pub outputs: Vec<(Audience, Vec<u8>)>,
    pub steps: usize,
    in_step: usize,
}

impl Sink for Said {
    fn reply(&mut self, bytes: &[u8]) {
        assert!(self.reply.is_empty(), "one reply per event");
        self.reply = bytes.to_vec();
    }

    fn output(&mut self, audience: Audience, bytes: &[u8]) {
        let late = matches!(audience, Audience::Feed(_) | Audience::Firm(_));
        assert!(late || self.reply.is_empty(), "outputs but those of feeds and firms come before the reply");
        let copied = matches!(audience, Audience::Firm(_)) && Reply::decode(bytes).is_ok();
        assert!(copied || Output::decode(bytes).is_ok(), "outputs decode");
        self.outputs.push((audience, bytes.to_vec()));
        self.in_step += 1;
        assert!(self.in_step <= STEP_OUTPUTS_MAX, "a step is bounded");
    }
}

impl Said {
    /// Begins to count a step's outputs anew.
    pub fn next_step(&mut self) {
        self.in_step = 0;
    }

    pub fn code(&self) -> Option<Reject> {
        let code = Reply::decode(&self.reply).expect("replies decode").code();
        (code != 0).then(|| Reject::from_wire(code).expect("a known code"))
    }

    pub fn order(&self) -> OrderReply {
        match Reply::decode(&self.reply) {
            Ok(Reply::Order(reply)) => *reply,
            Ok(Reply::Order2(reply)) => reply.first(),
            other => panic!("not an order's reply: {other:?}"),
        }
    }

    /// Outputs that are no firm's copies.
    pub fn told(&self) -> impl Iterator<Item = &(Audience, Vec<u8>)> {
        self.outputs.iter().filter(|(to, _)| !matches!(to, Audience::Firm(_)))
    }

    pub fn fills(&self) -> Vec<FillReport> {
        let fill = |bytes: &Vec<u8>| match Output::decode(bytes) {
            Ok(Output::Fill(fill)) => Some(*fill),
            _ => None,
        };
        self.told().filter_map(|(_, bytes)| fill(bytes)).collect()
    }
}

pub struct Exchange {
    pub engine: Engine,
    pub seq: u64,
    /// Log time of requests; unless set it goes with their numbers.
    pub time: Option<u64>,
    /// Session that requests come from.
    pub session: u64,
    /// Level of behaviour.
    pub level: u16,
}

pub fn definition() -> Definition {
    let mut symbol = [0; 16];
    symbol[..3].copy_from_slice(b"B-Q");
    Definition {
        instrument: 1.into(),
        price_decimals: 2,
        quantity_decimals: 0,
        reserved: [Zero::Zero; 2],
        symbol,
        base: BASE.into(),
        quote: QUOTE.into(),
        quote_per_tick_lot: 10.into(),
        base_per_lot: 5.into(),
        min_quantity: 2.into(),
        max_quantity: 1_000.into(),
        min_notional: 100.into(),
        max_price: 1_000.into(),
        collar: 50.into(),
        maker_ppm: (-10_000).into(),
        taker_ppm: 30_000.into(),
        tick: 1.into(),
        lot: 1.into(),
    }
}

pub fn named(instrument: u32, name: &[u8]) -> Definition {
    let mut symbol = [0; 16];
    symbol[..name.len()].copy_from_slice(name);
    Definition { instrument: instrument.into(), symbol, ..definition() }
}

impl Exchange {
    pub fn empty(limits: Limits) -> Self {
        Self { engine: Engine::new(limits, 1), seq: 0, time: None, session: 0, level: 0 }
    }

    /// Two instruments on one quote currency, accounts 1 to 3 with money and the key [`KEY`], 4 with neither.
    pub fn open() -> Self {
        Self::open_with(LIMITS)
    }

    pub fn open_with(limits: Limits) -> Self {
        let mut exchange = Self::empty(limits);
        let second = Definition {
            base: OTHER.into(),
            quote_per_tick_lot: 7.into(),
            base_per_lot: 3.into(),
            min_quantity: 1.into(),
            min_notional: 0.into(),
            maker_ppm: 1.into(),
            taker_ppm: 1.into(),
            ..named(2, b"O-Q")
        };
        exchange.must(&CreateInstrument::new(definition()));
        exchange.must(&CreateInstrument::new(second));
        for account in 1..=4 {
            exchange.must(&CreateAccount::new(account));
        }
        for account in 1..=3 {
            exchange.must(&Grant::new(GrantAction::Grant, account, KEY));
            for currency in [BASE, QUOTE, OTHER] {
                exchange.must(&Transfer::deposit(account, currency, u64::from(currency), 1_000_000));
            }
        }
        exchange
    }

    /// The same exchange come back from a snapshot, with another seed of the hash tables.
    pub fn restored(&self, seed: u64, limits: Limits) -> Self {
        let snapshot = self.engine.snapshot();
        let mut engine = Engine::new(limits, seed);
        engine.begin_level(self.level);
        engine.load(&snapshot).expect("loads");
        engine.finish_load().expect("is whole");
        assert!(engine.snapshot() == snapshot, "equal states, equal bytes");
        Self { engine, ..*self }
    }

    pub fn send_as(&mut self, key: u32, permissions: u32, bytes: &[u8]) -> Said {
        self.seq += 1;
        let time = self.time.unwrap_or(1_000 + self.seq);
        let context = Context { seq: self.seq, time, key, permissions, session: self.session };
        let request = Request::decode(bytes).expect("requests decode");
        let mut said = Said::default();
        // What an engine fetches ahead changes nothing, whatever the request.
        self.engine.warm([request]);
        let mut step = self.engine.apply(&context, &request, &mut said);
        said.steps = 1;
        while step == Step::More {
            said.in_step = 0;
            said.steps += 1;
            step = self.engine.resume(&mut said);
        }
        said.in_step = 0;
        assert!(!said.reply.is_empty(), "every request is answered");
        self.engine.audit().expect("the state adds up");
        said
    }

    pub fn begin_level(&mut self, level: u16) {
        self.level = level;
        self.engine.begin_level(level);
    }

    pub fn send(&mut self, message: &(impl IntoBytes + Immutable)) -> Said {
        let permissions = Request::decode(message.as_bytes()).expect("requests decode").required_permission();
        self.send_as(KEY, permissions, message.as_bytes())
    }

    pub fn must(&mut self, message: &(impl IntoBytes + Immutable)) -> Said {
        let said = self.send(message);
        assert_eq!(said.code(), None);
        said
    }

    pub fn ask(&self, permissions: u32, message: &(impl IntoBytes + Immutable)) -> Vec<u8> {
        let query = Query::decode(message.as_bytes()).expect("queries decode");
        let context = Context { key: KEY, permissions, ..Context::default() };
        let mut out = [0; MESSAGE_MAX];
        let len = self.engine.query(&context, &query, &mut out);
        Answer::decode(&out[..len]).expect("answers decode");
        out[..len].to_vec()
    }

    /// (free, held)
    pub fn balance(&self, account: u32, currency: u32) -> (u64, u64) {
        let bytes = self.ask(ALL, &BalancesQuery::new(account, currency - 1));
        match Answer::decode(&bytes) {
            Ok(Answer::Balances(_, entries)) => entries
                .iter()
                .find(|entry| entry.currency.get() == currency)
                .map_or((0, 0), |entry| (entry.free.get(), entry.held.get())),
            other => panic!("not balances: {other:?}"),
        }
    }

    /// (price, quantity, orders) of a side, best first.
    pub fn levels(&self, instrument: u32, side: Side) -> Vec<(i64, u64, u32)> {
        let bytes = self.ask(ALL, &BookLevelsQuery::new(instrument, DEPTH_MAX));
        let Ok(Answer::BookLevels(_, bids, asks)) = Answer::decode(&bytes) else { panic!("not levels") };
        let levels = if side == Side::Buy { bids } else { asks };
        levels.iter().map(|level| (level.price.get(), level.quantity.get(), level.orders.get())).collect()
    }

    /// Client order ids at a price, in priority order.
    pub fn queue(&self, instrument: u32, side: Side, price: i64) -> Vec<u64> {
        let bytes = self.ask(ALL, &BookOrdersQuery::new(instrument, side, price, 0));
        let Ok(Answer::BookOrders(_, orders)) = Answer::decode(&bytes) else { panic!("not orders") };
        orders.iter().map(|order| order.client_order_id.get()).collect()
    }
}
