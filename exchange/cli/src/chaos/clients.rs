//! Clients that know what they were told. Each checks every answer against all it had before; what they were told is
//! also written down, for the audit of the journals.

use crate::audit::{Ack, Acks, ack_line, reply_hash};
use crate::error::{OrNext, Result};
use ordain_client::pipelined::Client;
use ordain_client::{ClientConfig, Completion, Event, Outcome};
use ordain_exchange_bench::flow::{Flow, Settings};
use ordain_exchange_protocol::{
    Answer, BalancesQuery, CreateAccount, CreateInstrument, Definition, Grant, GrantAction, IntoBytes,
    NewOrder, Reply, Side, TimeInForce, Transfer, Zero,
};
use ordain_exchange_server::SCHEMA;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What all clients know.
pub struct History {
    acks: Mutex<Acks>,
    file: Mutex<BufWriter<File>>,
    /// Acknowledgements of each client.
    counts: Vec<AtomicU64>,
    /// What must not be.
    wrongs: Mutex<Vec<String>>,
    /// No new requests.
    ends: AtomicBool,
    began: Instant,
    /// Of the last acknowledgement, and the longest time without one, milliseconds.
    last: AtomicU64,
    silence: AtomicU64,
    reads: AtomicU64,
}

/// More would say the same.
const WRONGS_MAX: usize = 20;

impl History {
    pub fn new(clients: usize, file: &Path) -> Result<Self> {
        let made =
            File::create(file).or_next("the file of acknowledgements cannot be made", "Check --dir.")?;
        Ok(Self {
            acks: Mutex::default(),
            file: Mutex::new(BufWriter::new(made)),
            counts: (0..clients).map(|_| AtomicU64::new(0)).collect(),
            wrongs: Mutex::default(),
            ends: AtomicBool::new(false),
            began: Instant::now(),
            last: AtomicU64::new(0),
            silence: AtomicU64::new(0),
            reads: AtomicU64::new(0),
        })
    }

    pub fn acks(&self) -> Acks {
        self.acks.lock().expect("no holder of this lock panics").clone()
    }

    /// Acknowledgements of each client so far.
    pub fn counts(&self) -> Vec<u64> {
        self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect()
    }

    /// Reads that were checked.
    pub fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// The longest time in which no client got an acknowledgement since this was asked last, milliseconds.
    pub fn silence(&self) -> u64 {
        let lasts = self.millis().saturating_sub(self.last.load(Ordering::Relaxed));
        self.silence.swap(0, Ordering::Relaxed).max(lasts)
    }

    pub fn wrong(&self, what: String) {
        let mut wrongs = self.wrongs.lock().expect("no holder of this lock panics");
        if wrongs.len() < WRONGS_MAX {
            eprintln!("WRONG: {what}");
            wrongs.push(what);
        }
    }

    pub fn wrongs(&self) -> Vec<String> {
        self.wrongs.lock().expect("no holder of this lock panics").clone()
    }

    pub fn end(&self) {
        self.ends.store(true, Ordering::Relaxed);
    }

    pub fn ends(&self) -> bool {
        self.ends.load(Ordering::Relaxed)
    }

    /// What was acknowledged is in the file.
    pub fn flush(&self) -> Result<()> {
        let mut file = self.file.lock().expect("no holder of this lock panics");
        file.flush().or_next("acknowledgements cannot be written", "Check that there is space.")
    }

    fn millis(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }

    fn acknowledge(&self, client: usize, session: u64, number: u64, seq: u64, reply: &[u8]) {
        let ack = Ack { seq, hash: reply_hash(reply) };
        let line = ack_line(session, number, ack);
        let written = self.file.lock().expect("no holder of this lock panics").write_all(line.as_bytes());
        if let Err(error) = written {
            self.wrong(format!("acknowledgements cannot be written: {error}"));
        }
        let before = self.acks.lock().expect("no holder of this lock panics").insert((session, number), ack);
        if let Some(before) = before {
            self.wrong(format!(
                "request {number} of session {session} was answered twice: {before:?}, {ack:?}"
            ));
        }
        self.counts[client].fetch_add(1, Ordering::Relaxed);
        let now = self.millis();
        let silent = now.saturating_sub(self.last.swap(now, Ordering::Relaxed));
        self.silence.fetch_max(silent, Ordering::Relaxed);
    }
}

/// How every client connects: it turns away soon from a node that does not answer.
pub fn config(operator: &ClientConfig) -> ClientConfig {
    let mut config = operator.clone();
    config.core.silence = 1_000_000_000;
    ClientConfig {
        connect_timeout: Duration::from_millis(300),
        pause: Duration::from_millis(20),
        timeout: Duration::from_secs(60),
        ..config
    }
}

/// One client's requests and what it makes of the answers.
trait Part {
    /// The next request, and whether it is one; it is sent once the client takes it.
    fn next(&mut self) -> Option<&[u8]>;
    /// A reply to one of its requests. What is wrong with it, if anything.
    fn judge(&mut self, reply: Reply<'_>) -> std::result::Result<(), String>;
    /// A question, if one is due.
    fn ask(&mut self) -> Option<Vec<u8>>;
    /// The answer to the question.
    fn answered(&mut self, answer: Answer<'_>) -> std::result::Result<(), String>;
}

/// A client and what it checks of every answer, whatever it is about.
struct Shell<'a> {
    number: usize,
    history: &'a History,
    client: Client,
    session: u64,
    /// The highest number that was answered, and its record.
    highest: (u64, u64),
    /// A question is open, and this record was the highest known when it was asked.
    asked: Option<u64>,
}

impl<'a> Shell<'a> {
    fn connect(number: usize, config: &ClientConfig, history: &'a History) -> Result<Self> {
        let next = "The nodes' logs say why.";
        let mut client = Client::connect(config).or_next("a client cannot connect", next)?;
        let session = client.core().session().map_or(0, |session| session.0);
        Ok(Self { number, history, client, session, highest: (0, 0), asked: None })
    }

    fn open(&self) -> usize {
        self.client.open_requests()
    }

    /// Sends, receives and judges for at most `wait`.
    fn step(&mut self, part: &mut impl Part, wait: Duration) -> Result<()> {
        if self.asked.is_none()
            && let Some(question) = part.ask()
            && self.client.query(SCHEMA, &question).is_ok()
        {
            self.asked = Some(self.highest.1);
        }
        let Self { number: me, history, session, highest, asked, .. } = self;
        let wrong = |what: String| history.wrong(format!("client {me}: {what}"));
        let polled = self.client.poll_events(wait, |event| match event {
            Event::Completed(Completion { number, outcome, .. }) => match outcome {
                Outcome::Acknowledged { seq, reply } => {
                    history.acknowledge(*me, *session, number.0, seq.0, reply);
                    // Requests of a session are executed in the order of their numbers.
                    if (number.0 > highest.0) != (seq.0 > highest.1) {
                        wrong(format!("request {number} is record {seq}, after {highest:?}"));
                    }
                    *highest = (*highest).max((number.0, seq.0));
                    let judged = Reply::decode(reply).map_err(|error| error.to_string());
                    if let Err(what) = judged.and_then(|reply| part.judge(reply)) {
                        wrong(format!("request {number}: {what}"));
                    }
                }
                Outcome::NotExecuted(code) => wrong(format!("request {number} was not executed: {code}")),
                Outcome::Unknown => wrong(format!("what became of request {number} is unknown")),
            },
            Event::Answered(_, answer) => {
                let since = asked.take().unwrap_or(0);
                // A question may be refused or lost with its connection; it is asked again.
                if let Ok((seq, bytes)) = answer {
                    history.reads.fetch_add(1, Ordering::Relaxed);
                    if seq.0 < since {
                        wrong(format!("an answer as of record {seq}, though {since} was known"));
                    }
                    let judged = Answer::decode(bytes).map_err(|error| error.to_string());
                    if let Err(what) = judged.and_then(|answer| part.answered(answer)) {
                        wrong(what);
                    }
                }
            }
            Event::SessionLost { code, .. } => wrong(format!("its session is lost: {code}")),
            Event::DataLost { .. } => wrong("a loss was declared".to_owned()),
            _ => {}
        });
        polled.or_next(format!("client {me} broke off"), "The nodes' logs say why.")
    }
}

/// Runs a client until the end, and then until everything it asked is answered.
fn run(shell: &mut Shell<'_>, part: &mut impl Part, window: usize, rate: u64) -> Result<()> {
    let began = Instant::now();
    let (mut sent, mut ended) = (0_u64, None);
    loop {
        let ends = shell.history.ends();
        if ends && shell.open() == 0 && shell.asked.is_none() {
            return Ok(());
        }
        if ends && ended.get_or_insert_with(Instant::now).elapsed() > PATIENCE {
            shell.history.wrong(format!(
                "client {}: {} requests are not answered {} s after the end",
                shell.number,
                shell.open(),
                PATIENCE.as_secs()
            ));
            return Ok(());
        }
        let due = (began.elapsed().as_secs_f64() * rate as f64) as u64;
        while !ends && sent < due && shell.open() < window {
            let Some(request) = part.next() else { break };
            shell
                .client
                .submit(SCHEMA, request)
                .or_next("a request is not taken", "Report this: the window is not full.")?;
            sent += 1;
        }
        // What could not be sent in its time is not made up for.
        sent = sent.max(due.saturating_sub(window as u64));
        shell.step(part, Duration::from_millis(2))?;
    }
}

/// How long an answer may take when all is well.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Orders, as in a load.
struct Orders {
    flow: Flow,
}

impl Part for Orders {
    fn next(&mut self) -> Option<&[u8]> {
        Some(self.flow.next_request())
    }

    fn judge(&mut self, reply: Reply<'_>) -> std::result::Result<(), String> {
        match reply {
            Reply::Order(_) => Ok(()),
            other => Err(format!("an answer to another kind of command: {other:?}")),
        }
    }

    fn ask(&mut self) -> Option<Vec<u8>> {
        None
    }

    fn answered(&mut self, _: Answer<'_>) -> std::result::Result<(), String> {
        Ok(())
    }
}

/// Buys one lot with each request, in a market of its own where nothing else happens, so that its holdings say how
/// often its requests were executed. Client order ids of orders that are done may come again: the exchange would not
/// notice an order that is executed twice, and this does.
struct Lots {
    seller: u32,
    buyer: u32,
    instrument: u32,
    base: u32,
    order: NewOrder,
    acknowledged: u64,
    submitted: u64,
    /// Acknowledged when the question was asked.
    at_least: u64,
    asked: Instant,
}

/// Base units in a lot.
const LOT: u64 = 10;
const PRICE: i64 = 100;
/// What the seller offers.
const OFFERED: u64 = 1 << 40;
/// Between questions.
const ASK: Duration = Duration::from_millis(50);

impl Lots {
    fn new(number: usize) -> Self {
        let id = number as u32;
        let (seller, buyer, instrument) = (50_001 + 2 * id, 50_002 + 2 * id, 200 + id);
        let order = NewOrder::limit(buyer, instrument, 1, Side::Buy, PRICE, 1).lasting(TimeInForce::Ioc);
        Self {
            seller,
            buyer,
            instrument,
            base: 20 + 2 * id,
            order,
            acknowledged: 0,
            submitted: 0,
            at_least: 0,
            asked: Instant::now(),
        }
    }

    /// What makes the market.
    fn setup(&self) -> Vec<Vec<u8>> {
        let Self { seller, buyer, instrument, base, .. } = *self;
        let quote = base + 1;
        let mut symbol = [0; 16];
        symbol[..6].copy_from_slice(format!("LOT{instrument}").as_bytes());
        let definition = Definition {
            instrument: instrument.into(),
            price_decimals: 0,
            quantity_decimals: 0,
            reserved: [Zero::Zero; 2],
            symbol,
            base: base.into(),
            quote: quote.into(),
            quote_per_tick_lot: 1.into(),
            base_per_lot: LOT.into(),
            min_quantity: 1.into(),
            max_quantity: OFFERED.into(),
            min_notional: 1.into(),
            max_price: 1_000.into(),
            collar: 1_000.into(),
            maker_ppm: 0.into(),
            taker_ppm: 0.into(),
            tick: 1.into(),
            lot: 1.into(),
        };
        // Key 1 is the operator's: the first in every genesis.
        let open = |account: u32| {
            let grant = Grant::new(GrantAction::Grant, account, 1);
            [CreateAccount::new(account).as_bytes().to_vec(), grant.as_bytes().to_vec()]
        };
        let mut requests = vec![CreateInstrument::new(definition).as_bytes().to_vec()];
        requests.extend(open(seller));
        requests.extend(open(buyer));
        requests.push(Transfer::deposit(seller, base, 1, OFFERED * LOT).as_bytes().to_vec());
        requests.push(Transfer::deposit(buyer, quote, 1, 1 << 50).as_bytes().to_vec());
        let offer = NewOrder::limit(seller, instrument, 1, Side::Sell, PRICE, OFFERED);
        requests.push(offer.as_bytes().to_vec());
        requests
    }
}

impl Part for Lots {
    fn next(&mut self) -> Option<&[u8]> {
        self.submitted += 1;
        Some(self.order.as_bytes())
    }

    fn judge(&mut self, reply: Reply<'_>) -> std::result::Result<(), String> {
        self.acknowledged += 1;
        match reply {
            Reply::Order(order) if order.code.get() == 0 && order.cumulative.get() == 1 => Ok(()),
            other => Err(format!("one lot was to be bought: {other:?}")),
        }
    }

    fn ask(&mut self) -> Option<Vec<u8>> {
        if self.asked.elapsed() < ASK {
            return None;
        }
        self.asked = Instant::now();
        self.at_least = self.acknowledged;
        Some(BalancesQuery::new(self.buyer, self.base - 1).as_bytes().to_vec())
    }

    fn answered(&mut self, answer: Answer<'_>) -> std::result::Result<(), String> {
        let Answer::Balances(_, entries) = answer else { return Err(format!("no balances: {answer:?}")) };
        let held = entries.iter().find(|entry| entry.currency.get() == self.base);
        let lots = held.map_or(0, |entry| entry.free.get()) / LOT;
        if (self.at_least..=self.submitted).contains(&lots) {
            return Ok(());
        }
        let (acknowledged, submitted) = (self.at_least, self.submitted);
        Err(format!("holds {lots} lots with {acknowledged} acknowledged and {submitted} submitted"))
    }
}

/// Sends orders until the end.
pub fn send_orders(number: usize, config: &ClientConfig, history: &History, seed: u64) -> Result<()> {
    let flow = Flow::new(&flow_settings(seed, number));
    let mut shell = Shell::connect(number, config, history)?;
    run(&mut shell, &mut Orders { flow }, 64, 1_000)
}

/// The flow of a client; its accounts and instruments are those that the load opens.
pub fn flow_settings(seed: u64, number: usize) -> Settings {
    let stream = number as u16;
    Settings { seed: seed + number as u64, stream, accounts: 200, instruments: 10, live_max: 1 << 12 }
}

/// Buys lots until the end, and at last asks how many it has.
pub fn buy_lots(number: usize, config: &ClientConfig, history: &History) -> Result<()> {
    let mut lots = Lots::new(number);
    let mut shell = Shell::connect(number, config, history)?;
    for request in lots.setup() {
        shell.client.submit(SCHEMA, &request).or_next("a market cannot be made", "Report this.")?;
    }
    let mut refused = Vec::new();
    while shell.open() > 0 {
        shell.step(&mut Opening(&mut refused), Duration::from_millis(5))?;
    }
    refused.into_iter().for_each(|what| history.wrong(what));
    run(&mut shell, &mut lots, 8, 300)?;
    // Nothing is under way: both bounds of the answer are the same.
    lots.submitted = lots.acknowledged;
    lots.asked = Instant::now() - ASK;
    let reads = history.reads();
    let until = Instant::now() + PATIENCE;
    let mut last = Last(&mut lots, false);
    while !last.1 && Instant::now() < until {
        shell.step(&mut last, Duration::from_millis(5))?;
    }
    if !last.1 {
        history.wrong(format!("client {number}: no read is answered at the end ({reads} were)"));
    }
    Ok(())
}

/// Whether a market could be opened.
struct Opening<'a>(&'a mut Vec<String>);

impl Part for Opening<'_> {
    fn next(&mut self) -> Option<&[u8]> {
        None
    }

    fn judge(&mut self, reply: Reply<'_>) -> std::result::Result<(), String> {
        let code = reply.code();
        if code != 0 {
            self.0.push(format!("a market cannot be made: {reply:?}"));
        }
        Ok(())
    }

    fn ask(&mut self) -> Option<Vec<u8>> {
        None
    }

    fn answered(&mut self, _: Answer<'_>) -> std::result::Result<(), String> {
        Ok(())
    }
}

/// The last question of all, and whether it was answered.
struct Last<'a>(&'a mut Lots, bool);

impl Part for Last<'_> {
    fn next(&mut self) -> Option<&[u8]> {
        None
    }

    fn judge(&mut self, reply: Reply<'_>) -> std::result::Result<(), String> {
        Err(format!("a reply to nothing: {reply:?}"))
    }

    fn ask(&mut self) -> Option<Vec<u8>> {
        self.0.ask()
    }

    fn answered(&mut self, answer: Answer<'_>) -> std::result::Result<(), String> {
        self.1 = true;
        self.0.answered(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ordain_exchange_protocol::{BalanceEntry, ListHead};

    #[test]
    fn holdings_must_lie_between_what_was_acknowledged_and_what_was_submitted() {
        let mut lots = Lots::new(0);
        (lots.at_least, lots.submitted) = (5, 7);
        for (held, is_good) in [(4, false), (5, true), (7, true), (8, false)] {
            let entry = BalanceEntry {
                currency: lots.base.into(),
                reserved: [0; 4],
                free: (held * LOT).into(),
                held: 0.into(),
            };
            let head = ListHead::new(0xA3, None, lots.buyer, 1, 0);
            assert_eq!(lots.answered(Answer::Balances(&head, &[entry])).is_ok(), is_good, "{held}");
        }
    }
}
