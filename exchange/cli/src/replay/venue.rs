//! A node of the exchange as a [`Venue`]: an instrument and two accounts of its own, one for the orders that
//! rest and one for those that take.
//!
//! Orders are named by client order ids, so commands need not wait for one another: a command's reply is
//! looked at when it comes, and a book asked for is the one after every command before.

use super::lobster::{Fill, Side, Venue};
use crate::error::{CliError, Result};
use ordain_client::pipelined::Client;
use ordain_client::{ClientConfig, Completion, Event, Outcome, QueryError, SubmitError, Ticket};
use ordain_exchange_protocol::{
    Amend, Answer, BookLevelsQuery, Cancel, CreateAccount, CreateInstrument, DEPTH_MAX, Definition,
    IntoBytes, NewOrder, OrderRef, Output, Reject, Reply, Side as WireSide, TimeInForce, Transfer, Zero,
};
use ordain_types::codes::Code;
use ordain_types::{OutputSeq, Stream};
use std::time::{Duration, Instant};

/// Schema version of the exchange's messages.
const SCHEMA: u8 = 1;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longest pause between two looks at the connection.
const PAUSE: Duration = Duration::from_millis(5);

/// Instruments and accounts are taken from the top of what the exchange allows: low numbers are people's.
const INSTRUMENT_TOP: u32 = 1_024;
const ACCOUNT_TOP: u32 = 65_536;
const BASE: u32 = 63;
const QUOTE: u32 = 64;
/// Given to each account in each currency. Hundreds of replays fit into a currency's supply.
const FUNDS: u64 = 1 << 54;

/// An instrument of a node. See the module.
pub struct NodeVenue {
    client: Client,
    instrument: u32,
    maker: u32,
    taker: u32,
    last_order: u64,
    /// Levels as far as they were asked for, until the next command.
    book: Option<Book>,
    inbox: Inbox,
}

#[derive(Default)]
struct Book {
    bids: Vec<(i64, u64)>,
    asks: Vec<(i64, u64)>,
    bids_whole: bool,
    asks_whole: bool,
}

/// What came and was not looked at yet.
#[derive(Default)]
struct Inbox {
    /// The request whose reply is kept; others must only be accepted.
    wanted: Option<Ticket>,
    reply: Option<Vec<u8>>,
    answer: Option<std::result::Result<Vec<u8>, Option<Code>>>,
    subscribed: bool,
    fills: Vec<Fill>,
    failure: Option<CliError>,
}

impl NodeVenue {
    /// Connects and makes the instrument and the accounts. The key needs all permissions of the exchange.
    pub fn open(config: ClientConfig) -> Result<Self> {
        let client = Client::connect(&config).map_err(unreachable)?;
        let mut venue = Self {
            client,
            instrument: 0,
            maker: 0,
            taker: 0,
            last_order: 0,
            book: None,
            inbox: Inbox::default(),
        };
        venue.instrument = venue.first_free(INSTRUMENT_TOP, Reject::InstrumentExists, |id| {
            CreateInstrument::new(definition(id)).as_bytes().to_vec()
        })?;
        let account = |id| CreateAccount::new(id).as_bytes().to_vec();
        venue.maker = venue.first_free(ACCOUNT_TOP, Reject::AccountExists, account)?;
        venue.taker = venue.first_free(venue.maker - 1, Reject::AccountExists, account)?;
        for account in [venue.maker, venue.taker] {
            for currency in [BASE, QUOTE] {
                venue.send(Transfer::deposit(account, currency, currency.into(), FUNDS).as_bytes())?;
            }
        }
        let reports = Stream::Account(venue.maker.into());
        venue.client.subscribe(reports, OutputSeq(0)).map_err(unreachable)?;
        venue.wait_until(|inbox| inbox.subscribed.then_some(()))?;
        Ok(venue)
    }

    /// Creates what is not there yet, from number `top` downwards, and says which number that was.
    fn first_free(&mut self, top: u32, exists: Reject, create: impl Fn(u32) -> Vec<u8>) -> Result<u32> {
        for id in (1..=top).rev() {
            match code(&self.call(&create(id))?)? {
                None => return Ok(id),
                Some(reject) if reject == exists => {}
                Some(reject) => return Err(refused(reject)),
            }
        }
        Err(refused(exists))
    }

    /// Sends a command, whose reply must only be an acceptance.
    fn send(&mut self, message: &[u8]) -> Result<Ticket> {
        self.book = None;
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.client.submit(SCHEMA, message) {
                Ok(ticket) => return Ok(ticket),
                Err(SubmitError::Full) => self.step(deadline)?,
                Err(error) => return Err(unreachable(error)),
            }
        }
    }

    /// Sends a command and gives its reply.
    fn call(&mut self, message: &[u8]) -> Result<Vec<u8>> {
        self.inbox.reply = None;
        self.inbox.wanted = Some(self.send(message)?);
        self.wait_until(|inbox| inbox.reply.take())
    }

    fn query(&mut self, message: &[u8]) -> Result<Vec<u8>> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.inbox.answer = None;
            match self.client.query(SCHEMA, message) {
                Ok(_) => {}
                Err(SubmitError::Full) => {
                    self.step(deadline)?;
                    continue;
                }
                Err(error) => return Err(unreachable(error)),
            }
            match self.wait_until(|inbox| inbox.answer.take())? {
                Ok(answer) => return Ok(answer),
                // Lost with its connection, or no leader just then: questions may be asked again at will.
                Err(None | Some(Code::Busy | Code::NotLeader | Code::Starting)) => self.step(deadline)?,
                Err(Some(code)) => return Err(turned_down("a query", code)),
            }
        }
    }

    fn wait_until<T>(&mut self, mut found: impl FnMut(&mut Inbox) -> Option<T>) -> Result<T> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = found(&mut self.inbox) {
                return Ok(found);
            }
            self.step(deadline)?;
        }
    }

    fn step(&mut self, deadline: Instant) -> Result<()> {
        if Instant::now() >= deadline {
            return Err(unreachable("no answer came in time"));
        }
        let (inbox, maker) = (&mut self.inbox, self.maker);
        let polled = self.client.poll_events(PAUSE, |event| {
            if let Err(error) = inbox.take(event, maker) {
                inbox.failure.get_or_insert(error);
            }
        });
        polled.map_err(unreachable)?;
        if let Some(failure) = self.inbox.failure.take() {
            return Err(failure);
        }
        Ok(())
    }

    /// Asks for the levels behind those that `book` has.
    fn extend(&mut self, book: &mut Book) -> Result<()> {
        let after = |levels: &[(i64, u64)]| levels.last().map_or(0, |(price, _)| *price).into();
        let query = BookLevelsQuery {
            after_bid: after(&book.bids),
            after_ask: after(&book.asks),
            ..BookLevelsQuery::new(self.instrument, DEPTH_MAX)
        };
        let bytes = self.query(query.as_bytes())?;
        let Ok(Answer::BookLevels(head, bids, asks)) = Answer::decode(&bytes) else {
            return Err(nonsense("an answer that is no book"));
        };
        if let Some(reject) = Reject::from_wire(head.code.get()) {
            return Err(refused(reject));
        }
        book.bids.extend(bids.iter().map(|level| (level.price.get(), level.quantity.get())));
        book.asks.extend(asks.iter().map(|level| (level.price.get(), level.quantity.get())));
        book.bids_whole = bids.len() < DEPTH_MAX.into();
        book.asks_whole = asks.len() < DEPTH_MAX.into();
        Ok(())
    }
}

impl Inbox {
    fn take(&mut self, event: Event<'_>, maker: u32) -> Result<()> {
        match event {
            Event::Completed(Completion { ticket, outcome, .. }) => match outcome {
                Outcome::Acknowledged { reply, .. } if self.wanted == Some(ticket) => {
                    self.reply = Some(reply.to_vec());
                }
                Outcome::Acknowledged { reply, .. } => {
                    return code(reply)?.map_or(Ok(()), |reject| Err(refused(reject)));
                }
                Outcome::NotExecuted(code) => return Err(turned_down("a command", code)),
                Outcome::Unknown => return Err(unreachable("the session ended")),
            },
            Event::Answered(_, answer) => {
                let answer = answer.map(|(_, bytes)| bytes.to_vec());
                self.answer = Some(answer.map_err(|error| match error {
                    QueryError::Refused(code) => Some(code),
                    QueryError::Disconnected => None,
                }));
            }
            Event::Subscribed { .. } => self.subscribed = true,
            Event::SubscriptionRefused { code, .. } => {
                return Err(turned_down("the maker's reports", code));
            }
            Event::Output { stream, payload, .. } if stream == Stream::Account(maker.into()) => {
                let Ok(Output::Fill(fill)) = Output::decode(payload) else {
                    return Err(nonsense("a report that is no fill"));
                };
                self.fills.push(Fill {
                    maker: fill.client_order_id.get(),
                    price: fill.price.get(),
                    quantity: fill.quantity.get(),
                });
            }
            _ => {}
        }
        Ok(())
    }
}

impl Venue for NodeVenue {
    type Error = CliError;

    fn add(&mut self, side: Side, price: i64, quantity: u64) -> Result<u64> {
        self.last_order += 1;
        let id = self.last_order;
        let order = NewOrder::limit(self.maker, self.instrument, id, wire(side), price, quantity);
        self.send(order.as_bytes())?;
        Ok(id)
    }

    fn reduce(&mut self, order: u64, price: i64, total: u64) -> Result<()> {
        let amend = Amend::new(self.maker, OrderRef::Client(order), price, total);
        self.send(amend.as_bytes()).map(drop)
    }

    fn cancel(&mut self, order: u64) -> Result<()> {
        self.send(Cancel::new(self.maker, OrderRef::Client(order)).as_bytes()).map(drop)
    }

    fn take(&mut self, side: Side, price: i64, quantity: u64) -> Result<Vec<Fill>> {
        self.last_order += 1;
        let id = self.last_order;
        let order = NewOrder::limit(self.taker, self.instrument, id, wire(side), price, quantity);
        let bytes = self.call(order.lasting(TimeInForce::Ioc).as_bytes())?;
        if let Some(reject) = code(&bytes)? {
            return Err(refused(reject));
        }
        let Ok(Reply::Order(reply)) = Reply::decode(&bytes) else {
            return Err(nonsense("a reply to another kind of command"));
        };
        let count = reply.fills.get() as usize;
        self.wait_until(|inbox| (inbox.fills.len() >= count).then(|| std::mem::take(&mut inbox.fills)))
    }

    fn levels(&mut self, side: Side, worst: i64) -> Result<Vec<(i64, u64)>> {
        let mut book = self.book.take().unwrap_or_default();
        loop {
            let (levels, whole) = match side {
                Side::Buy => (&book.bids, book.bids_whole),
                Side::Sell => (&book.asks, book.asks_whole),
            };
            if whole || levels.last().is_some_and(|(price, _)| side.is_worse(*price, worst)) {
                let wanted = levels.iter().filter(|(price, _)| !side.is_worse(*price, worst));
                let wanted = wanted.copied().collect();
                self.book = Some(book);
                return Ok(wanted);
            }
            self.extend(&mut book)?;
        }
    }
}

const fn wire(side: Side) -> WireSide {
    match side {
        Side::Buy => WireSide::Buy,
        Side::Sell => WireSide::Sell,
    }
}

/// LOBSTER's prices and shares as ticks and lots, without fees: bounds are as wide as the exchange lets them be.
fn definition(id: u32) -> Definition {
    let mut symbol = [0; 16];
    let text = format!("REPLAY-{id}");
    symbol[..text.len()].copy_from_slice(text.as_bytes());
    Definition {
        instrument: id.into(),
        price_decimals: 4,
        quantity_decimals: 0,
        reserved: [Zero::Zero; 2],
        symbol,
        base: BASE.into(),
        quote: QUOTE.into(),
        quote_per_tick_lot: 1.into(),
        base_per_lot: 1.into(),
        min_quantity: 1.into(),
        max_quantity: 100_000_000.into(),
        min_notional: 0.into(),
        max_price: 10_000_000_000.into(),
        collar: 0.into(),
        maker_ppm: 0.into(),
        taker_ppm: 0.into(),
        tick: 1.into(),
        lot: 1.into(),
    }
}

fn code(reply: &[u8]) -> Result<Option<Reject>> {
    let reply = Reply::decode(reply).map_err(|_| nonsense("a reply that is none"))?;
    match reply.code() {
        0 => Ok(None),
        code => Reject::from_wire(code).map(Some).ok_or_else(|| nonsense("an unknown reject code")),
    }
}

fn unreachable(error: impl std::fmt::Display) -> CliError {
    CliError::new(error, "Check that the node runs, and the address and key given.")
}

fn refused(reject: Reject) -> CliError {
    let cause = format!("the exchange refuses ({}): {}", reject.name(), reject.text());
    CliError::new(cause, "Give --key a key with all permissions, and replay on a node with room for it.")
}

fn turned_down(what: &str, code: Code) -> CliError {
    let next =
        "Give --key a key with all permissions, for instance the operator's; `ordain keys add` makes one.";
    CliError::new(format!("the node turned down {what} ({code})"), next)
}

fn nonsense(what: &str) -> CliError {
    CliError::new(format!("the node sent {what}"), "Run client and node of the same version.")
}
