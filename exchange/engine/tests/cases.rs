//! Acceptance cases in plain text: `tests/cases/*.case`, described in `tests/cases/README.md`.

mod common;
#[path = "common/controls.rs"]
mod controls;

use common::*;
use ordain_exchange_engine::{Context, Limits, Step};
use ordain_exchange_protocol::*;
use std::collections::BTreeMap;
use std::fmt::Write;

const CASE_LIMITS: Limits =
    Limits { orders: 64, orders_per_account: 32, levels_per_side: 4, transfers: 16, ..LIMITS };

/// A case under way.
struct Case {
    exchange: Exchange,
    /// Client order ids by name.
    names: Vec<String>,
    /// The same by order id, of those that were accepted.
    accepted: BTreeMap<u64, String>,
    time: u64,
    said: Vec<String>,
}

fn terms() -> Definition {
    Definition {
        min_quantity: 1.into(),
        min_notional: 0.into(),
        maker_ppm: 0.into(),
        taker_ppm: 0.into(),
        ..definition()
    }
}

impl Case {
    fn new() -> Self {
        let mut exchange = Exchange::empty(CASE_LIMITS);
        exchange.must(&CreateInstrument::new(terms()));
        for account in 1..=4 {
            exchange.must(&CreateAccount::new(account));
            exchange.must(&Grant::new(GrantAction::Grant, account, KEY));
            for currency in [BASE, QUOTE] {
                exchange.must(&Transfer::deposit(account, currency, currency.into(), 10_000_000));
            }
        }
        Self { exchange, names: Vec::new(), accepted: BTreeMap::new(), time: 1_000, said: Vec::new() }
    }

    fn id(&mut self, name: &str) -> u64 {
        let known = self.names.iter().position(|known| known == name);
        known.unwrap_or_else(|| {
            self.names.push(name.to_owned());
            self.names.len() - 1
        }) as u64
    }

    fn name(&self, id: u64) -> &str {
        &self.names[id as usize]
    }

    /// Executes a line.
    fn command(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let Some(bytes) = controls::command(&words) {
            return self.send(&bytes);
        }
        match words[..] {
            ["as", session, ..] => {
                self.exchange.session = number(session);
                let rest = line.splitn(3, ' ').nth(2).expect("as whom what?");
                self.command(rest);
                self.exchange.session = 0;
            }
            ["level", level] => self.exchange.begin_level(number(level)),
            ["on-disconnect", "stay"] => self.send(SetDisconnect::off().as_bytes()),
            ["on-disconnect", grace] => self.send(SetDisconnect::after(number(grace)).as_bytes()),
            [what @ ("lost" | "unproved" | "back" | "ended"), session] => {
                self.pass_time();
                let (engine, session, time) = (&mut self.exchange.engine, number(session), self.time);
                match what {
                    "lost" => engine.lost(session, time),
                    "unproved" => engine.unproved(session, time),
                    "back" => engine.back(session),
                    _ => engine.ended(session, time),
                }
            }
            ["at", time] => {
                self.time = number(time);
                self.pass_time();
            }
            ["feed", ref feeds @ ..] => {
                let flag = |feed| Flag::from(feeds.contains(&feed));
                let off = SetFeed::off(1, note("case"));
                let (top, levels, orders) = (flag("top"), flag("levels"), flag("orders"));
                self.send(SetFeed { top, levels, orders, ..off }.as_bytes());
            }
            ["self-trade", mode] => {
                self.send(SetSelfTrade::new(1, mode_of(mode), note("case")).as_bytes());
            }
            ["state", state] => self.send(SetState::new(1, state_of(state), note("case")).as_bytes()),
            ["state-all", state] => self.send(SetState::new(0, state_of(state), note("case")).as_bytes()),
            ["bands", ref words @ ..] => self.send(bands_of(words, line).as_bytes()),
            ["schedule", period, ref words @ ..] => {
                let entry = |words: &[&str]| (number(words[0]), number(words[1]), state_of(words[2]));
                let entries: Vec<_> = words.chunks(3).map(entry).collect();
                self.send(SetSchedule::new(1, number(period), &entries, note("case")).as_bytes());
            }
            ["reference", price] => {
                self.send(SetReference::new(1, number(price), note("case")).as_bytes());
            }
            ["group", account, group] => {
                self.send(SetGroup::new(number(account), number(group), note("case")).as_bytes());
            }
            [account, "cancel", name] => {
                let id = self.id(name);
                self.send(Cancel::new(number(account), OrderRef::Client(id)).as_bytes());
            }
            ["withdraw", account, transaction, amount] => {
                let transfer =
                    Transfer::withdraw(number(account), QUOTE, number(transaction), number(amount));
                self.send(transfer.as_bytes());
            }
            [account, "cancel-all"] => {
                self.send(MassCancel::new(number(account), 0, Sides::Any).as_bytes());
            }
            [account, "amend", name, quantity, "@", price, ref rest @ ..] => {
                let id = self.id(name);
                let order = OrderRef::Client(id);
                let mut amend = Amend2::new(number(account), order, number(price), number(quantity));
                for pair in rest.chunks(2) {
                    match *pair {
                        ["trigger", at] => amend.trigger = number::<i64>(at).into(),
                        ["display", lots] => amend.display = number::<u64>(lots).into(),
                        _ => panic!("no such amend: {line}"),
                    }
                }
                self.send(amend.as_bytes());
            }
            [account, side @ ("buy" | "sell"), ref rest @ ..] => {
                self.enter(number(account), side, rest, line)
            }
            _ => panic!("no such command: {line}"),
        }
    }

    fn enter(&mut self, account: u32, side: &str, words: &[&str], line: &str) {
        let side = if side == "buy" { Side::Buy } else { Side::Sell };
        let mut order = NewOrder2::limit(account, 1, 0, side, 0, 0);
        let mut words = words.iter().copied().peekable();
        order.quantity = number::<u64>(words.next().expect("a quantity")).into();
        if words.next_if_eq(&"@").is_some() {
            order.price = number::<i64>(words.next().expect("a price")).into();
        }
        let name = words.next().expect("a name");
        order.client_order_id = self.id(name).into();
        while let Some(word) = words.next() {
            let mut value = || words.next().unwrap_or_else(|| panic!("{word} of what? {line}"));
            match word {
                "market" => (order.order_type, order.time_in_force) = (OrderType::Market, TimeInForce::Ioc),
                "to-limit" => order.order_type = OrderType::MarketToLimit,
                "stop" => order.order_type = OrderType::Stop,
                "stop-limit" => order.order_type = OrderType::StopLimit,
                "touched" => order.order_type = OrderType::MarketIfTouched,
                "limit-touched" => order.order_type = OrderType::LimitIfTouched,
                "day" => order.time_in_force = TimeInForce::Day,
                "ato" => order.time_in_force = TimeInForce::Ato,
                "atc" => order.time_in_force = TimeInForce::Atc,
                "ioc" => order.time_in_force = TimeInForce::Ioc,
                "fok" => order.time_in_force = TimeInForce::Fok,
                "gtd" => {
                    order.time_in_force = TimeInForce::Gtd;
                    order.expiry = number::<u64>(value()).into();
                }
                "post-only" => order.post_only = PostOnly::Reject,
                "reprice" => order.post_only = PostOnly::Reprice,
                "own" => order.self_trade = mode_of(value()),
                "trigger" => order.trigger = number::<i64>(value()).into(),
                "display" => order.display = number::<u64>(value()).into(),
                "cash" => order.cash = number::<u64>(value()).into(),
                _ => panic!("no such word: {word} in {line}"),
            }
        }
        self.send(order.as_bytes());
    }

    /// What is due before a request with this time.
    fn pass_time(&mut self) {
        let context = Context { seq: self.exchange.seq + 1, time: self.time, ..Context::default() };
        while let Some(due) = self.exchange.engine.next_deadline().filter(|due| *due <= self.time) {
            let mut said = Said::default();
            let mut step = self.exchange.engine.expire(&context, due, &mut said);
            while step == Step::More {
                step = self.exchange.engine.resume(&mut said);
            }
            self.note(&said);
        }
        self.exchange.engine.audit().expect("the state adds up");
    }

    fn send(&mut self, bytes: &[u8]) {
        self.exchange.time = Some(self.time);
        let said = self.exchange.send_as(KEY, ALL, bytes);
        let reply = Reply::decode(&said.reply).expect("decodes");
        if matches!(reply, Reply::Order(_) | Reply::Order2(_)) && reply.code() == 0 {
            let order = said.order();
            let name = self.name(order.client_order_id.get()).to_owned();
            self.accepted.insert(order.order_id.get(), name);
        }
        self.note(&said);
        let line = match reply {
            reply if reply.code() != 0 => {
                format!("refused {}", Reject::from_wire(reply.code()).expect("known").name())
            }
            Reply::Order(reply) => self.reply(reply, None),
            Reply::Order2(reply) => self.reply(&reply.first(), Some(reply)),
            Reply::MassCancel(reply) => format!("done {}", reply.cancelled),
            _ => "done".to_owned(),
        };
        self.said.push(line);
    }

    fn reply(&self, reply: &OrderReply, second: Option<&OrderReply2>) -> String {
        let mut line = format!("{} {}", self.name(reply.client_order_id.get()), lower(reply.state));
        if reply.reason != Reason::None {
            write!(line, " {}", lower(reply.reason)).expect("writes");
        }
        write!(line, ", filled {} left {}", reply.cumulative, reply.remaining).expect("writes");
        let cancelled = reply.cancelled.get();
        if cancelled > 0 {
            write!(line, " cancelled {cancelled}").expect("writes");
        }
        if let Some(second) = second {
            write!(line, " price {}", second.price).expect("writes");
        }
        line
    }

    fn note(&mut self, said: &Said) {
        for (_, bytes) in &said.outputs {
            let role = |aggressor| if aggressor == Flag::Yes { "taker" } else { "maker" };
            let line = match Output::decode(bytes).expect("decodes") {
                Output::Fill(fill) => format!(
                    "{} fills {} @ {} as {}, left {}",
                    self.name(fill.client_order_id.get()),
                    fill.quantity,
                    fill.price,
                    role(fill.aggressor),
                    fill.remaining
                ),
                Output::Cancel(cancel) => format!(
                    "{} ends {}, cancelled {}",
                    self.name(cancel.client_order_id.get()),
                    lower(cancel.reason),
                    cancel.cancelled
                ),
                Output::Trade(trade) => format!("trade {} @ {}", trade.quantity, trade.price),
                Output::Prevent(report) => format!(
                    "{} meets its owner as {}, {} prevented, loses {}, left {}",
                    self.name(report.client_order_id.get()),
                    role(report.aggressor),
                    report.prevented,
                    report.cancelled,
                    report.remaining
                ),
                Output::Indication(report) => format!(
                    "indicates {}",
                    auction(report.price, report.volume, report.imbalance, report.side)
                ),
                Output::Auction(report) => format!(
                    "auction over, {} trades, {}",
                    report.trades,
                    auction(report.price, report.volume, report.imbalance, report.side)
                ),
                Output::Call(report) => {
                    format!("call until {}, made longer {} times", report.until, report.extensions)
                }
                Output::Top(report) => {
                    let side = |price: I64, lots: U64| match price.get() {
                        0 => "nothing".to_owned(),
                        price => format!("{lots} @ {price}"),
                    };
                    let (bid, ask) =
                        (side(report.bid, report.bid_quantity), side(report.ask, report.ask_quantity));
                    format!("top {}: bid {bid}, ask {ask}", lower(report.action))
                }
                Output::Level(report) => {
                    let (side, lots) = (lower(report.side), report.quantity);
                    format!(
                        "level {} {side} {}: {lots} in {}",
                        lower(report.action),
                        report.price,
                        report.orders
                    )
                }
                Output::Book(report) => {
                    let name = match report.order_id.get() {
                        0 => "nothing",
                        id => &self.accepted[&id],
                    };
                    let by = match report.trade.get() {
                        0 => String::new(),
                        trade => format!(" by trade {trade}"),
                    };
                    let (action, side) = (lower(report.action), lower(report.side));
                    format!("order {action} {side} {name}: {} @ {}{by}", report.quantity, report.price)
                }
                Output::State(report) => {
                    format!("state {}, was {}", lower(report.state), lower(report.previous))
                }
                Output::Trigger(report) => format!(
                    "{} is triggered, price {}, left {}",
                    self.name(report.client_order_id.get()),
                    report.price,
                    report.remaining
                ),
            };
            self.said.push(line);
        }
    }

    /// The book, and who waits.
    fn book(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (side, name) in [(Side::Sell, "ask"), (Side::Buy, "bid")] {
            let mut levels = self.exchange.levels(1, side);
            if side == Side::Sell {
                levels.reverse();
            }
            for (price, ..) in levels {
                let mut line = format!("{name} {price}:");
                for (place, id) in self.exchange.queue(1, side, price).into_iter().enumerate() {
                    let order = self.detail(id);
                    let hidden = order.remaining.get() - order.visible.get();
                    let comma = if place > 0 { "," } else { "" };
                    write!(line, "{comma} {} {}", self.name(id), order.visible).expect("writes");
                    if hidden > 0 {
                        write!(line, "+{hidden}").expect("writes");
                    }
                }
                lines.push(line);
            }
        }
        let live: Vec<_> = (0..self.names.len() as u64).filter_map(|id| Some((id, self.find(id)?))).collect();
        for (id, order) in &live {
            if (order.order_type, order.state) == (OrderType::Market, OrderState::Live) {
                let side = if order.side == Sides::Buy { "buy" } else { "sell" };
                lines.push(format!("market {side}: {} {}", self.name(*id), order.remaining));
            }
        }
        for (id, order) in &live {
            if order.state == OrderState::Waiting {
                let what = match order.time_in_force {
                    TimeInForce::Ato => "the opening".to_owned(),
                    TimeInForce::Atc => "the close".to_owned(),
                    _ => order.trigger.to_string(),
                };
                lines.push(format!("waits: {} {} for {what}", self.name(*id), order.remaining));
            }
        }
        lines
    }

    fn find(&self, id: u64) -> Option<OrderDetailAnswer> {
        (1..=4).find_map(|account| {
            let bytes = self.exchange.ask(ALL, &OrderDetailQuery::new(account, OrderRef::Client(id)));
            match Answer::decode(&bytes) {
                Ok(Answer::OrderDetail(answer)) if answer.code == U16::ZERO => Some(*answer),
                _ => None,
            }
        })
    }

    fn detail(&self, id: u64) -> OrderDetailAnswer {
        self.find(id).expect("the order is live")
    }
}

pub fn number<T: std::str::FromStr>(text: &str) -> T {
    text.parse().unwrap_or_else(|_| panic!("not a number: {text}"))
}

fn state_of(text: &str) -> MarketState {
    match text {
        "continuous" => MarketState::Continuous,
        "halted" => MarketState::Halted,
        "cancel-only" => MarketState::CancelOnly,
        "post-only" => MarketState::PostOnly,
        "pre-open" => MarketState::PreOpen,
        "opening" => MarketState::OpeningAuction,
        "volatility" => MarketState::VolatilityAuction,
        "closing" => MarketState::ClosingAuction,
        "closed" => MarketState::Closed,
        _ => panic!("no such state: {text}"),
    }
}

fn auction(price: I64, volume: U64, imbalance: U64, side: Sides) -> String {
    if price == I64::ZERO {
        return "nothing".to_owned();
    }
    let over = match side {
        Sides::Buy => format!(", {imbalance} to buy left over"),
        Sides::Sell => format!(", {imbalance} to sell left over"),
        Sides::Any => String::new(),
    };
    format!("{volume} @ {price}{over}")
}

fn bands_of(words: &[&str], line: &str) -> SetBands {
    let mut bands = SetBands::off(1, note("case"));
    let mut words = words.iter().copied();
    while let Some(word) = words.next() {
        let mut value = || words.next().unwrap_or_else(|| panic!("{word} of what? {line}"));
        match word {
            "off" => {}
            "reject" => bands.action = BandAction::Reject,
            "auction" => bands.action = BandAction::Auction,
            "static" => bands.fixed = number::<u32>(value()).into(),
            "dynamic" => bands.moving = number::<u32>(value()).into(),
            "bucket" => bands.width = number::<u64>(value()).into(),
            "buckets" => bands.buckets = number(value()),
            "call" => bands.call = number::<u64>(value()).into(),
            "extensions" => bands.extensions = number(value()),
            _ => panic!("no such word: {word} in {line}"),
        }
    }
    bands
}

fn mode_of(text: &str) -> SelfTrade {
    match text {
        "allow" => SelfTrade::Allow,
        "cancel-taker" => SelfTrade::CancelTaker,
        "cancel-maker" => SelfTrade::CancelMaker,
        "cancel-both" => SelfTrade::CancelBoth,
        "decrement" => SelfTrade::Decrement,
        _ => panic!("no such mode: {text}"),
    }
}

/// A value's name as words: `SelfTrade` is "self trade".
fn lower(value: impl std::fmt::Debug) -> String {
    let mut words = String::new();
    for letter in format!("{value:?}").chars() {
        if letter.is_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.extend(letter.to_lowercase());
    }
    words
}

/// Runs the cases of a file; gives what differs.
fn run(file: &str, text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut cases = 0;
    let text = format!("\n{text}");
    for part in text.split("\ncase ").skip(1) {
        cases += 1;
        let mut lines = part.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
        let title = lines.next().expect("a title").trim();
        let mut case = Case::new();
        let (mut section, mut expected, mut book) = ("", Vec::new(), Vec::new());
        for line in lines {
            match (section, line.trim()) {
                (_, head @ ("before" | "commands" | "reports" | "after")) if !line.starts_with(' ') => {
                    section = head
                }
                ("before", command) => {
                    case.command(command);
                    case.said.clear();
                }
                ("commands", command) => case.command(command),
                ("reports", report) => expected.push(report.to_owned()),
                ("after", line) => book.push(line.to_owned()),
                (_, line) => panic!("{file}: {title}: a line of no section: {line}"),
            }
        }
        let got = [("reports", &expected, &case.said), ("after", &book, &case.book())].map(
            |(what, expected, got)| {
                (expected != got).then(|| {
                    format!(
                        "{file}: {title}: {what}\n  expected\n    {}\n  got\n    {}",
                        expected.join("\n    "),
                        got.join("\n    ")
                    )
                })
            },
        );
        wrong.extend(got.into_iter().flatten());
    }
    assert!(cases > 0, "{file} has no cases");
    wrong
}

#[test]
fn cases() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cases");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("the folder is there")
        .map(|entry| entry.expect("readable").path())
        .filter(|path| path.extension().is_some_and(|end| end == "case"))
        .collect();
    files.sort();
    assert!(!files.is_empty());
    let mut wrong = Vec::new();
    for path in files {
        let text = std::fs::read_to_string(&path).expect("readable");
        wrong.extend(run(&path.file_name().expect("a file").to_string_lossy(), &text));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
