//! Engine and model side by side.

use crate::event::{Event, Presence, Said};
use crate::listener::Listener;
use ordain_exchange_engine::{Context, Engine, Limits, STEP_OUTPUTS_MAX, Sink, Step};
use ordain_exchange_model::Model;
use ordain_exchange_protocol::{
    Answer, AuctionQuery, Audience, BalancesQuery, BandsQuery, BookLevelsQuery, BookOrdersQuery,
    CurrencyQuery, FeesQuery, InstrumentLimitsQuery, IntoBytes, LimitsQuery, MESSAGE_MAX, Query, Request,
    ScheduleQuery, Scope, Side, StatisticsQuery, TradingQuery, permission,
};

/// Collects what the engine says, and objects to a reply out of turn.
#[derive(Default)]
struct Collector {
    reply: Option<Vec<u8>>,
    outputs: Vec<(Audience, Vec<u8>)>,
    out_of_turn: bool,
}

impl Sink for Collector {
    fn reply(&mut self, bytes: &[u8]) {
        self.out_of_turn |= self.reply.is_some();
        self.reply = Some(bytes.to_vec());
    }

    fn output(&mut self, audience: Audience, bytes: &[u8]) {
        self.out_of_turn |= self.reply.is_some();
        self.outputs.push((audience, bytes.to_vec()));
    }
}

pub struct Pair {
    limits: Limits,
    engine: Engine,
    pub model: Model,
    pub listener: Listener,
    /// Whether the listener hears of it: it does not know what log time brings about.
    pub listens: bool,
    events: u64,
    level: u16,
}

/// How many events lie between two recounts of everything that the engine keeps twice.
const AUDIT_EVERY: u64 = 16;

fn engine(limits: &Limits, hash_seed: u64) -> Engine {
    Engine::new(Limits { ..*limits }, hash_seed)
}

/// A model with an engine's limits.
pub fn model(limits: &Limits) -> Model {
    Model::new(ordain_exchange_model::Limits {
        instruments: limits.instruments,
        currencies: limits.currencies,
        accounts: limits.accounts,
        orders: limits.orders as usize,
        orders_per_account: limits.orders_per_account as usize,
        levels_per_side: limits.levels_per_side as usize,
        transfers: limits.transfers as usize,
    })
}

/// The context of a model.
pub fn for_model(context: &Context) -> ordain_exchange_model::Context {
    let Context { seq, time, key, permissions, session } = *context;
    ordain_exchange_model::Context { seq, time, key, permissions, session }
}

fn same(what: &str, model: &[u8], engine: &[u8]) -> Result<(), String> {
    if model == engine {
        return Ok(());
    }
    let at = model.iter().zip(engine).position(|(a, b)| a != b).unwrap_or(model.len().min(engine.len()));
    Err(format!("{what} differs from byte {at} on\n  expected {model:02x?}\n  got      {engine:02x?}"))
}

impl Pair {
    pub fn new(limits: &Limits) -> Self {
        let model = model(limits);
        Self {
            limits: Limits { ..*limits },
            engine: engine(limits, 1),
            model,
            listener: Listener::default(),
            listens: true,
            events: 0,
            level: 0,
        }
    }

    /// Has both do it and compares all that can be seen from outside.
    pub fn apply(&mut self, event: &Event) -> Result<Said, String> {
        self.events += 1;
        let mut said = match event {
            Event::Request(context, bytes) => self.request(context, bytes)?,
            Event::Query(context, bytes) => {
                self.compare_readers(context)?;
                Said { reply: self.query(context, bytes)?, steps: 1, ..Said::default() }
            }
            Event::Presence(session, what, time) => {
                self.presence(*session, *what, *time);
                Said::default()
            }
            Event::Level(level) => {
                self.level = *level;
                self.engine.begin_level(*level);
                self.model.begin_level(*level);
                Said::default()
            }
            Event::Restore => {
                self.restore()?;
                Said::default()
            }
        };
        if self.events.is_multiple_of(AUDIT_EVERY) || matches!(event, Event::Restore) {
            self.engine.audit().map_err(|error| format!("the audit objects: {error}"))?;
        }
        said.pages = self.compare_states()?;
        if self.listens && self.events.is_multiple_of(AUDIT_EVERY) {
            let all = Context { permissions: permission::VIEW | permission::ADMIN, ..Context::default() };
            let ask =
                |query: &[u8]| self.model.query(&for_model(&all), &Query::decode(query).expect("a query"));
            self.listener.compare(ask)?;
            self.compare_limits(&all)?;
        }
        Ok(said)
    }

    fn presence(&mut self, session: u64, what: Presence, time: u64) {
        match what {
            Presence::Lost => {
                self.engine.lost(session, time);
                self.model.lost(session, time);
            }
            Presence::Unproved => {
                self.engine.unproved(session, time);
                self.model.unproved(session, time);
            }
            Presence::Back => {
                self.engine.back(session);
                self.model.back(session);
            }
            Presence::Ended => {
                self.engine.ended(session, time);
                self.model.ended(session, time);
            }
        }
    }

    fn request(&mut self, context: &Context, bytes: &[u8]) -> Result<Said, String> {
        let request = Request::decode(bytes).map_err(|error| error.to_string())?;
        let (reply, outputs) = self.model.apply(&for_model(context), &request);

        let mut sink = Collector::default();
        let mut steps = 1;
        // What is due by now ends before the request is executed.
        while let Some(deadline) = self.engine.next_deadline().filter(|deadline| *deadline <= context.time) {
            let mut before = sink.outputs.len();
            let mut step = self.engine.expire(context, deadline, &mut sink);
            loop {
                if sink.outputs.len() - before > STEP_OUTPUTS_MAX {
                    return Err(format!("an expiry makes {} outputs in a step", sink.outputs.len() - before));
                }
                before = sink.outputs.len();
                match step {
                    Step::Done => break,
                    Step::More => step = self.engine.resume(&mut sink),
                }
            }
        }
        let mut told = sink.outputs.len();
        let mut step = self.engine.apply(context, &request, &mut sink);
        loop {
            if sink.outputs.len() - told > STEP_OUTPUTS_MAX {
                return Err(format!("step {steps} makes {} outputs", sink.outputs.len() - told));
            }
            told = sink.outputs.len();
            if (step == Step::More) != self.engine.is_busy() {
                return Err(format!("step {steps} says {step:?}, which is_busy denies"));
            }
            match step {
                Step::Done => break,
                Step::More if sink.reply.is_some() => return Err("a reply before the last step".into()),
                Step::More => step = self.engine.resume(&mut sink),
            }
            steps += 1;
        }
        same("the reply", &reply, sink.reply.as_deref().unwrap_or_default())?;
        if sink.out_of_turn {
            return Err("the reply is not the last message".into());
        }
        for (nth, (expected, got)) in outputs.iter().zip(&sink.outputs).enumerate() {
            same(&format!("output {nth}"), &expected.1, &got.1)?;
            if expected.0 != got.0 {
                return Err(format!("output {nth} is for {:?}, not {:?}", expected.0, got.0));
            }
        }
        if outputs.len() != sink.outputs.len() {
            return Err(format!("{} outputs expected, got {}", outputs.len(), sink.outputs.len()));
        }
        if self.listens {
            self.listener.hear(context, &request, &reply, &outputs)?;
        }
        Ok(Said { reply, outputs, steps, pages: Vec::new() })
    }

    fn query(&self, context: &Context, bytes: &[u8]) -> Result<Vec<u8>, String> {
        let query = Query::decode(bytes).map_err(|error| error.to_string())?;
        let expected = self.model.query(&for_model(context), &query);
        let mut answer = [0xEE; MESSAGE_MAX];
        let length = self.engine.query(context, &query, &mut answer);
        same("the answer", &expected, &answer[..length])?;
        Ok(expected)
    }

    fn compare_readers(&self, context: &Context) -> Result<(), String> {
        for account in 0..=self.limits.accounts + 1 {
            let expected = self.model.may_read(account, &for_model(context));
            if self.engine.may_read(account, context.key, context.permissions) != expected {
                return Err(format!(
                    "whether it may read the stream of account {account} should be {expected}"
                ));
            }
        }
        Ok(())
    }

    fn restore(&mut self) -> Result<(), String> {
        let saved = self.engine.snapshot();
        let mut restored = engine(&self.limits, self.events);
        restored.begin_level(self.level);
        restored.load(&saved).map_err(|error| format!("the snapshot is refused: {error}"))?;
        restored.finish_load().map_err(|error| format!("the snapshot is refused: {error}"))?;
        same("the snapshot of the restored engine", &saved, &restored.snapshot())?;
        self.engine = restored;
        Ok(())
    }

    /// What limits everybody, how much of it is used, and what everybody pays.
    fn compare_limits(&self, all: &Context) -> Result<(), String> {
        let ask = |query: &[u8]| {
            self.query(all, query).map_err(|error| format!("afterwards, {}: {error}", hex(query)))
        };
        for currency in 1..=self.limits.currencies.min(3) {
            for firm in 1..=2 {
                ask(LimitsQuery::new(Scope::Firm, firm, currency).as_bytes())?;
            }
            for account in 1..=self.limits.accounts {
                ask(LimitsQuery::new(Scope::Account, account, currency).as_bytes())?;
            }
        }
        for account in 1..=self.limits.accounts {
            for instrument in 1..=self.limits.instruments {
                ask(InstrumentLimitsQuery::new(account, instrument).as_bytes())?;
                ask(FeesQuery::new(account, instrument).as_bytes())?;
            }
        }
        Ok(())
    }

    /// Both books order by order, all balances, all counts.
    fn compare_states(&self) -> Result<Vec<Vec<u8>>, String> {
        let mut pages = Vec::new();
        let all = permission::VIEW | permission::ADMIN;
        let context = Context { permissions: all, ..Context::default() };
        let ask = |query: &[u8]| {
            self.query(&context, query).map_err(|error| format!("afterwards, {}: {error}", hex(query)))
        };
        ask(StatisticsQuery::new().as_bytes())?;
        for currency in 1..=self.limits.currencies {
            ask(CurrencyQuery::new(currency).as_bytes())?;
        }
        for account in 0..=self.limits.accounts {
            let mut after = Some(0);
            while let Some(currency) = after {
                let answer = ask(BalancesQuery::new(account, currency).as_bytes())?;
                let Ok(Answer::Balances(_, entries)) = Answer::decode(&answer) else { unreachable!() };
                after = entries.last().map(|entry| entry.currency.get());
                pages.push(answer);
            }
        }
        for instrument in 1..=self.limits.instruments {
            ask(TradingQuery::new(instrument).as_bytes())?;
            ask(AuctionQuery::new(instrument).as_bytes())?;
            ask(BandsQuery::new(instrument).as_bytes())?;
            ask(ScheduleQuery::new(instrument).as_bytes())?;
            let mut levels = BookLevelsQuery::new(instrument, 20);
            loop {
                let answer = ask(levels.as_bytes())?;
                let Ok(Answer::BookLevels(_, bids, asks)) = Answer::decode(&answer) else { unreachable!() };
                let sides = [(Side::Buy, bids), (Side::Sell, asks)];
                for (side, entry) in sides.iter().flat_map(|(side, list)| list.iter().map(|e| (*side, e))) {
                    let mut after = Some(0);
                    while let Some(order) = after {
                        let query = BookOrdersQuery::new(instrument, side, entry.price.get(), order);
                        let answer = ask(query.as_bytes())?;
                        let Ok(Answer::BookOrders(_, orders)) = Answer::decode(&answer) else {
                            unreachable!()
                        };
                        after = orders.last().map(|order| order.order_id.get());
                        pages.push(answer);
                    }
                }
                if bids.is_empty() && asks.is_empty() {
                    break;
                }
                // A side that has come to its end stays there: nothing is beyond these prices.
                levels.after_bid = bids.last().map_or(1.into(), |entry| entry.price);
                levels.after_ask = asks.last().map_or(i64::MAX.into(), |entry| entry.price);
                pages.push(answer);
            }
        }
        Ok(pages)
    }
}

fn hex(bytes: &[u8]) -> String {
    format!("query {bytes:02x?}")
}
