//! Engine and model side by side.

use crate::copies::Copies;
use crate::event::{Event, Presence, Said};
use crate::listener::Listener;
use crate::listener::feed::{Book, Level, Order, Reader, Told};
use crate::stream::KEYS;
use ordain_exchange_engine::{Context, Engine, Limits, STEP_OUTPUTS_MAX, Sink, Step};
use ordain_exchange_model::Model;
use ordain_exchange_protocol::{
    Answer, AuctionQuery, Audience, BalancesQuery, BandsQuery, BookLevelsQuery, BookOrdersQuery,
    CurrencyQuery, FeedQuery, FeesQuery, InstrumentLimitsQuery, IntoBytes, LimitsQuery, MESSAGE_MAX, Market,
    Query, Reply, Request, ScheduleQuery, Scope, Side, StatisticsQuery, TradingQuery, permission,
};
use std::collections::{BTreeMap, BTreeSet};

/// Collects what the engine says, and objects to what is out of turn.
#[derive(Default)]
struct Collector {
    reply: Option<Vec<u8>>,
    outputs: Vec<(Audience, Vec<u8>)>,
    out_of_turn: Option<&'static str>,
    /// Whether nothing at all follows the reply; else what feeds and firms are told may.
    reply_ends: bool,
    /// What was said last, if a copy may come behind it.
    copied: Option<Vec<u8>>,
}

impl Sink for Collector {
    fn reply(&mut self, bytes: &[u8]) {
        if self.reply.is_some() {
            self.out_of_turn = Some("a second reply");
        }
        self.reply = Some(bytes.to_vec());
        self.copied = self.reply.clone();
    }

    fn output(&mut self, audience: Audience, bytes: &[u8]) {
        let may_follow = line(audience).is_some() && !self.reply_ends;
        if self.reply.is_some() && !may_follow {
            self.out_of_turn = Some("something follows the reply that must not");
        }
        let copied = self.copied.take();
        match audience {
            Audience::Account(_) => self.copied = Some(bytes.to_vec()),
            Audience::Firm(_) if copied.as_deref() != Some(bytes) => {
                self.out_of_turn = Some("a copy that is not right behind what it is of");
            }
            _ => {}
        }
        self.outputs.push((audience, bytes.to_vec()));
    }
}

/// Who hears it in an order that others do not share: a topic of market data, a firm.
fn line(audience: Audience) -> Option<Audience> {
    matches!(audience, Audience::Feed(_) | Audience::Firm(_)).then_some(audience)
}

fn is_copy(output: &(Audience, Vec<u8>)) -> bool {
    matches!(output.0, Audience::Firm(_))
}

pub struct Pair {
    limits: Limits,
    engine: Engine,
    pub model: Model,
    pub listener: Listener,
    /// Whether the listener hears of it: it does not know what log time brings about.
    pub listens: bool,
    pub reader: Reader,
    pub copies: Copies,
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
            reader: Reader::default(),
            copies: Copies::default(),
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
                self.reader.restored();
                self.copies.restored();
                for key in 1..=KEYS {
                    self.compare_readers(&Context {
                        key,
                        permissions: permission::VIEW,
                        ..Context::default()
                    })?;
                }
                Said::default()
            }
        };
        if self.events.is_multiple_of(AUDIT_EVERY) || matches!(event, Event::Restore) {
            self.engine.audit().map_err(|error| format!("the audit objects: {error}"))?;
        }
        let books = self.compare_states(&mut said.pages)?;
        self.reader.compare(&books)?;
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

        let reply_ends = matches!(request, Request::Market(Market::SetFeed(_)));
        let mut sink = Collector { reply_ends, ..Collector::default() };
        let mut steps = 1;
        // Where in the outputs what one log time brought about ends.
        let mut ends = Vec::new();
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
            ends.push(sink.outputs.len());
        }
        let mut told = sink.outputs.len();
        let mut step = self.engine.apply(context, &request, &mut sink);
        loop {
            if sink.outputs.len() - told > STEP_OUTPUTS_MAX {
                return Err(format!("step {steps} makes {} outputs", sink.outputs.len() - told));
            }
            told = sink.outputs.len();
            if step == Step::More && sink.reply.is_some() {
                self.reader.marks.push("feed: steps behind the reply");
                if sink.outputs.iter().any(|output| is_copy(output) && Some(&output.1) == sink.reply.as_ref())
                {
                    self.copies.marks.push("copy: of a reply with steps behind it");
                }
            }
            if step == Step::More && steps > 1 && sink.outputs.iter().any(is_copy) {
                self.copies.marks.push("copy: in several steps");
            }
            if (step == Step::More) != self.engine.is_busy() {
                return Err(format!("step {steps} says {step:?}, which is_busy denies"));
            }
            match step {
                Step::Done => break,
                Step::More if sink.reply.is_some() && reply_ends => {
                    return Err("a reply before the last step".into());
                }
                Step::More => step = self.engine.resume(&mut sink),
            }
            steps += 1;
        }
        same("the reply", &reply, sink.reply.as_deref().unwrap_or_default())?;
        if let Some(what) = sink.out_of_turn {
            return Err(what.into());
        }
        compare_outputs(&outputs, &sink.outputs)?;
        self.copies.hear(&request, &reply, &sink.outputs);
        for end in &mut ends {
            *end -= sink.outputs[..*end].iter().filter(|output| is_copy(output)).count();
        }
        sink.outputs.retain(|output| !is_copy(output));
        self.read(context, &request, &reply, &sink.outputs, &ends)?;
        let mut outputs = outputs;
        outputs.retain(|output| line(output.0).is_none());
        if self.listens {
            self.listener.hear(context, &request, &reply, &outputs)?;
        }
        Ok(Said { reply, outputs, steps, pages: Vec::new() })
    }

    /// The reader hears command by command; `ends`: where each ends that is of log time.
    fn read(
        &mut self,
        context: &Context,
        request: &Request<'_>,
        reply: &[u8],
        outputs: &[(Audience, Vec<u8>)],
        ends: &[usize],
    ) -> Result<(), String> {
        let mut from = 0;
        for end in ends {
            self.reader.hear(&Told { context, request: None, outputs: &outputs[from..*end] })?;
            from = *end;
        }
        let accepted = Reply::decode(reply).expect("a reply").code() == 0;
        let request = accepted.then_some(request);
        self.reader.hear(&Told { context, request, outputs: &outputs[from..] })
    }

    fn query(&self, context: &Context, bytes: &[u8]) -> Result<Vec<u8>, String> {
        let query = Query::decode(bytes).map_err(|error| error.to_string())?;
        let expected = self.model.query(&for_model(context), &query);
        let mut answer = [0xEE; MESSAGE_MAX];
        let length = self.engine.query(context, &query, &mut answer);
        same("the answer", &expected, &answer[..length])?;
        Ok(expected)
    }

    fn compare_readers(&mut self, context: &Context) -> Result<(), String> {
        for firm in [0, 1, 2, 3, 4_096, 4_097, u32::MAX] {
            let expected = self.model.may_read_firm(firm, &for_model(context));
            if self.engine.may_read_firm(firm, context.key, context.permissions) != expected {
                return Err(format!("whether it may read the stream of firm {firm} should be {expected}"));
            }
            self.copies.may_read(context, expected);
        }
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

    /// Both books order by order, all balances, all counts. Gives the books and adds the answers that are lists.
    fn compare_states(&self, pages: &mut Vec<Vec<u8>>) -> Result<BTreeMap<u32, Book>, String> {
        let mut books: BTreeMap<u32, Book> = BTreeMap::new();
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
            ask(FeedQuery::new(instrument).as_bytes())?;
            let book = books.entry(instrument).or_default();
            let mut levels = BookLevelsQuery::new(instrument, 20);
            loop {
                let answer = ask(levels.as_bytes())?;
                let Ok(Answer::BookLevels(_, bids, asks)) = Answer::decode(&answer) else { unreachable!() };
                let sides = [(Side::Buy, bids), (Side::Sell, asks)];
                for (side, entry) in sides.iter().flat_map(|(side, list)| list.iter().map(|e| (*side, e))) {
                    let price = entry.price.get();
                    let (lots, orders) = (entry.quantity.get(), entry.orders.get());
                    book.levels.push(Level { side, price, lots, orders });
                    let mut after = Some(0);
                    while let Some(order) = after {
                        let query = BookOrdersQuery::new(instrument, side, price, order);
                        let answer = ask(query.as_bytes())?;
                        let Ok(Answer::BookOrders(_, orders)) = Answer::decode(&answer) else {
                            unreachable!()
                        };
                        after = orders.last().map(|order| order.order_id.get());
                        let shown = orders.iter().map(|it| (it.order_id.get(), it.remaining.get()));
                        book.orders.extend(shown.map(|(id, lots)| Order { side, price, id, lots }));
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
            // A page of bids came before each page of asks.
            book.levels.sort_by_key(|level| level.side as u8);
            book.orders.sort_by_key(|order| order.side as u8);
        }
        Ok(books)
    }
}

/// What feeds and firms are told comes in an order for each, all else in one.
fn compare_outputs(expected: &[(Audience, Vec<u8>)], got: &[(Audience, Vec<u8>)]) -> Result<(), String> {
    let lines: BTreeSet<Option<Audience>> = expected.iter().chain(got).map(|output| line(output.0)).collect();
    for of in lines {
        let of_line = |output: &&(Audience, Vec<u8>)| line(output.0) == of;
        let (mut expected, mut got) = (expected.iter().filter(of_line), got.iter().filter(of_line));
        let name = match of {
            Some(Audience::Feed(feed)) => {
                format!("topic {} of instrument {}", feed >> 24, feed % (1 << 24))
            }
            Some(other) => format!("{other:?}"),
            None => "others than feeds and firms".to_owned(),
        };
        for nth in 0.. {
            match (expected.next(), got.next()) {
                (Some(expected), Some(got)) => {
                    same(&format!("output {nth} of {name}"), &expected.1, &got.1)?;
                    if expected.0 != got.0 {
                        return Err(format!("output {nth} is for {:?}, not {:?}", expected.0, got.0));
                    }
                }
                (None, None) => break,
                (expected, got) => {
                    return Err(format!(
                        "output {nth} of {name}\n  expected {expected:02x?}\n  got      {got:02x?}"
                    ));
                }
            }
        }
    }
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    format!("query {bytes:02x?}")
}
