//! A load of real orders over the network: many connections, each with many requests in flight, on one
//! thread. Every answer is read and checked.
//!
//! Closed loop: each connection keeps its window full. Open loop: requests start at a fixed rate whatever
//! the answers do, and a request's latency counts from the time at which it *should* have started, so that a
//! stall is charged to every request that it delayed.

use crate::flow::{Flow, REQUEST_MAX, Settings, setup};
use hdrhistogram::Histogram;
use ordain_client::pipelined::Client;
use ordain_client::{ClientConfig, Completion, ConnectError, Event, Outcome, SubmitError};
use ordain_exchange_protocol::{Reject, Reply};
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event as Ready, EventData, EventFlags};
use std::fmt;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// Schema version of the exchange's messages.
const SCHEMA: u8 = 1;

/// How to load.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where and as whom. The key needs all permissions of the exchange.
    pub client: ClientConfig,
    /// Connections, each with a session of its own.
    pub connections: usize,
    /// Requests in flight per connection.
    pub window: usize,
    /// Requests per second in all; `None`: closed loop.
    pub rate: Option<u64>,
    /// Not measured.
    pub warm_up: Duration,
    /// Measured.
    pub duration: Duration,
    /// The flow. Each connection has its own, from the seed and its number.
    pub flow: Settings,
}

/// What a load saw.
#[derive(Clone, Debug)]
pub struct Report {
    /// Requests answered while measuring.
    pub requests: u64,
    /// New orders among them that were accepted, filled or not.
    pub accepted: u64,
    /// Requests that the exchange refused: mostly cancels and amends that came after a fill.
    pub rejected: u64,
    /// Fills of the sender's own orders, as replies say.
    pub fills: u64,
    /// Requests not executed, or whose fate is unknown: none, unless the node was killed.
    pub lost: u64,
    /// Time measured.
    pub elapsed: Duration,
    /// Latencies, nanoseconds.
    pub latency: Histogram<u64>,
}

impl Report {
    fn new() -> Self {
        Self {
            requests: 0,
            accepted: 0,
            rejected: 0,
            fills: 0,
            lost: 0,
            elapsed: Duration::ZERO,
            latency: Histogram::new_with_bounds(1, 3_600_000_000_000, 3).expect("constant bounds"),
        }
    }

    /// Requests per second.
    #[must_use]
    pub fn rate(&self) -> u64 {
        (self.requests as f64 / self.elapsed.as_secs_f64().max(1e-9)) as u64
    }

    /// A latency percentile, microseconds.
    #[must_use]
    pub fn percentile(&self, percent: f64) -> f64 {
        self.latency.value_at_percentile(percent) as f64 / 1_000.0
    }
}

/// Why a load ended early.
#[derive(Debug)]
pub enum LoadError {
    /// The client.
    Client(ConnectError),
    /// The exchange could not be opened for the flow.
    Setup(String),
    /// An answer is no reply of the exchange, or not to what was asked.
    Answer(String),
    /// Waiting for the network failed.
    Wait(io::Error),
    /// Whoever takes acknowledgements could not.
    Acknowledgements(io::Error),
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(error) => write!(f, "{error}"),
            Self::Setup(what) => {
                write!(f, "the exchange cannot be opened for the load: {what}. Use a fresh data directory")
            }
            Self::Answer(what) => write!(f, "the node answers nonsense: {what}. Report this"),
            Self::Wait(error) => write!(f, "waiting for the network failed: {error}"),
            Self::Acknowledgements(error) => {
                write!(f, "acknowledgements cannot be written: {error}. Check the disk")
            }
        }
    }
}

impl std::error::Error for LoadError {}

impl From<ConnectError> for LoadError {
    fn from(error: ConnectError) -> Self {
        Self::Client(error)
    }
}

/// An acknowledgement: session, number, record, reply.
pub type OnAck<'a> = dyn FnMut(u64, u64, u64, &[u8]) -> io::Result<()> + 'a;

/// Opens the exchange: instruments, accounts, deposits. Done once for a data directory; what exists already
/// is refused by the exchange and left as it is.
///
/// # Errors
/// [`LoadError`].
pub fn open_exchange(
    client: &ClientConfig,
    flow: &Settings,
    on_ack: &mut OnAck<'_>,
) -> Result<(), LoadError> {
    let mut connection = Client::connect(client)?;
    let session = connection.core().session().map_or(0, |session| session.0);
    let mut failure = None;
    // Key 1 is the operator's: the first in every genesis.
    let mut requests = setup(flow, 1).peekable();
    while failure.is_none() && (requests.peek().is_some() || connection.open_requests() > 0) {
        while let Some(request) = requests.peek() {
            match connection.submit(SCHEMA, request) {
                Ok(_) => requests.next(),
                Err(SubmitError::Full) => break,
                Err(error) => return Err(LoadError::Setup(error.to_string())),
            };
        }
        connection.poll_events(Duration::from_millis(5), |event| {
            if let Event::Completed(completion) = event {
                failure = failure.take().or_else(|| check_setup(completion, session, on_ack).err());
            }
        })?;
    }
    failure.map_or(Ok(()), Err)
}

fn check_setup(done: Completion<'_>, session: u64, on_ack: &mut OnAck<'_>) -> Result<(), LoadError> {
    let Outcome::Acknowledged { seq, reply } = done.outcome else {
        return Err(LoadError::Setup(format!("a setup command was not executed: {:?}", done.outcome)));
    };
    on_ack(session, done.number.0, seq.0, reply).map_err(LoadError::Acknowledgements)?;
    let decoded = Reply::decode(reply).map_err(|error| LoadError::Answer(error.to_string()))?;
    match Reject::from_wire(decoded.code()) {
        None | Some(Reject::InstrumentExists | Reject::AccountExists) => Ok(()),
        Some(reject) => Err(LoadError::Setup(reject.text().to_owned())),
    }
}

/// A connection under load.
struct Lane {
    client: Client,
    flow: Flow,
    /// When each open request started, or should have: by its id, modulo the length.
    starts: Vec<u64>,
    session: u64,
    /// Made and not taken yet.
    held: Option<Request>,
    /// Requests were submitted and not sent.
    has_news: bool,
    /// The present connection is watched.
    is_watched: bool,
}

/// A request of the flow.
#[derive(Clone, Copy)]
struct Request {
    bytes: [u8; REQUEST_MAX],
    len: usize,
}

impl Request {
    fn copy(request: &[u8]) -> Self {
        let mut bytes = [0; REQUEST_MAX];
        bytes[..request.len()].copy_from_slice(request);
        Self { bytes, len: request.len() }
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Loads a node and says what came of it. `progress` is called about once a second with what was measured so
/// far.
///
/// # Errors
/// [`LoadError`].
pub fn run(
    options: &Options,
    on_ack: &mut OnAck<'_>,
    mut progress: impl FnMut(&Report),
) -> Result<Report, LoadError> {
    let mut lanes = connect(options)?;
    let watch = Watch::new()?;
    let begin = Instant::now();
    let clock = || begin.elapsed().as_nanos() as u64;
    let measure_from = options.warm_up.as_nanos() as u64;
    let until = measure_from + options.duration.as_nanos() as u64;
    let interval = options.rate.map(|rate| 1e9 / rate.max(1) as f64);
    let mut report = Report::new();
    let mut next_progress = measure_from + 1_000_000_000;
    let mut next_look = LOOK;
    let mut started = 0_u64;
    let mut readable: Vec<usize> = (0..lanes.len()).collect();
    loop {
        let now = clock();
        if now >= until {
            break;
        }
        match interval {
            Some(interval) => started = start_due(&mut lanes, options.window, started, now, interval),
            None => lanes.iter_mut().for_each(|lane| lane.fill(options.window, now)),
        }
        for lane in &mut lanes {
            if std::mem::take(&mut lane.has_news) {
                lane.client.flush();
            }
        }
        // Time-outs, and what a lost connection left, are seen to by a look at everything.
        if now >= next_look {
            next_look = now + LOOK;
            readable.clear();
            readable.extend(0..lanes.len());
        }
        for at in readable.drain(..) {
            take_answers(&mut lanes[at], &mut report, &clock, measure_from, on_ack)?;
            watch.follow(at, &mut lanes[at])?;
        }
        let now = clock();
        if now >= next_progress {
            report.elapsed = Duration::from_nanos(now - measure_from);
            progress(&report);
            next_progress += 1_000_000_000;
        }
        let is_full = |lane: &Lane| lane.held.is_some() || lane.client.open_requests() >= options.window;
        let wait = match interval {
            // A lane that is behind waits for answers, not for its time.
            Some(_) if lanes.iter().any(is_full) => LOOK,
            Some(interval) => (((started + 1) as f64 * interval) as u64).saturating_sub(now),
            None if lanes.iter().all(is_full) => LOOK,
            None => 0,
        };
        watch.wait(wait.min(next_look.saturating_sub(now)), &mut readable)?;
    }
    report.elapsed = options.duration;
    Ok(report)
}

/// Every connection is looked at this often, nanoseconds, whether its socket is readable or not.
const LOOK: u64 = 10_000_000;

/// Open loop: starts as many requests as are due by now, dealt out in turn. Returns how many were started ever.
fn start_due(lanes: &mut [Lane], window: usize, mut started: u64, now: u64, interval: f64) -> u64 {
    let due = (now as f64 / interval) as u64;
    while started < due {
        let lane_count = lanes.len();
        let lane = &mut lanes[started as usize % lane_count];
        if lane.client.open_requests() >= window || !lane.start((started as f64 * interval) as u64) {
            break;
        }
        started += 1;
    }
    started
}

fn take_answers(
    lane: &mut Lane,
    report: &mut Report,
    clock: &impl Fn() -> u64,
    measure_from: u64,
    on_ack: &mut OnAck<'_>,
) -> Result<(), LoadError> {
    let Lane { client, starts, session, is_watched, .. } = lane;
    let mut failure = None;
    // One reading of the clock for all answers of a poll: they came in one read.
    let mut now = None;
    client.poll_events(Duration::ZERO, |event| {
        let Completion { ticket, number, outcome } = match event {
            Event::Completed(completion) => completion,
            Event::Disconnected(_) => return *is_watched = false,
            _ => return,
        };
        let now = *now.get_or_insert_with(clock);
        if let Outcome::Acknowledged { seq, reply } = outcome
            && let Err(error) = on_ack(*session, number.0, seq.0, reply)
        {
            failure = Some(LoadError::Acknowledgements(error));
        }
        if now >= measure_from {
            let latency = now.saturating_sub(starts[ticket.0 as usize % starts.len()]);
            failure = failure.take().or_else(|| report.count(outcome, latency).err());
        }
    })?;
    failure.map_or(Ok(()), Err)
}

fn connect(options: &Options) -> Result<Vec<Lane>, LoadError> {
    (0..options.connections)
        .map(|number| {
            let mut client = Client::connect(&options.client)?;
            let flow = Flow::new(&Settings {
                seed: options.flow.seed + number as u64,
                stream: options.flow.stream + number as u16,
                live_max: (options.flow.live_max / options.connections).max(16),
                ..options.flow
            });
            let session = client.core().session().map_or(0, |session| session.0);
            Ok(Lane {
                client,
                flow,
                starts: vec![0; options.window.next_power_of_two()],
                session,
                held: None,
                has_news: false,
                is_watched: false,
            })
        })
        .collect()
}

impl Lane {
    /// Submits the next request; `false` if the client takes none at present.
    fn start(&mut self, at: u64) -> bool {
        let request = match self.held.take() {
            Some(request) => request,
            None => Request::copy(self.flow.next_request()),
        };
        let Ok(ticket) = self.client.submit(SCHEMA, request.bytes()) else {
            self.held = Some(request);
            return false;
        };
        let places = self.starts.len();
        self.starts[ticket.0 as usize % places] = at;
        self.has_news = true;
        true
    }

    /// Closed loop: submits until the window is full.
    fn fill(&mut self, window: usize, now: u64) {
        while self.client.open_requests() < window && self.start(now) {}
    }
}

impl Report {
    fn count(&mut self, outcome: Outcome<'_>, latency: u64) -> Result<(), LoadError> {
        self.requests += 1;
        self.latency.saturating_record(latency);
        let Outcome::Acknowledged { reply, .. } = outcome else {
            self.lost += 1;
            return Ok(());
        };
        match Reply::decode(reply) {
            Ok(Reply::Order(order)) if order.code.get() == 0 => {
                self.accepted += 1;
                self.fills += u64::from(order.fills.get());
            }
            Ok(Reply::Order(_)) => self.rejected += 1,
            Ok(_) => return Err(LoadError::Answer("an answer to another kind of command".to_owned())),
            Err(error) => return Err(LoadError::Answer(error.to_string())),
        }
        Ok(())
    }
}

/// Tells which connections have something to read.
struct Watch(OwnedFd);

impl Watch {
    fn new() -> Result<Self, LoadError> {
        epoll::create(CreateFlags::CLOEXEC).map(Self).map_err(|error| LoadError::Wait(error.into()))
    }

    /// Watches the connection of lane `at` if it is a new one. The kernel forgets those that are closed.
    fn follow(&self, at: usize, lane: &mut Lane) -> Result<(), LoadError> {
        let Some(fd) = lane.client.fd().filter(|_| !lane.is_watched) else { return Ok(()) };
        epoll::add(&self.0, fd, EventData::new_u64(at as u64), EventFlags::IN)
            .map_err(|error| LoadError::Wait(error.into()))?;
        lane.is_watched = true;
        Ok(())
    }

    /// Waits at most so many nanoseconds.
    fn wait(&self, timeout: u64, readable: &mut Vec<usize>) -> Result<(), LoadError> {
        let timeout = Timespec { tv_sec: 0, tv_nsec: timeout.min(999_999_999) as i64 };
        let mut events = [MaybeUninit::<Ready>::uninit(); 64];
        match epoll::wait(&self.0, &mut events, Some(&timeout)) {
            Ok((ready, _)) => readable.extend(ready.iter().map(|event| event.data.u64() as usize)),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(LoadError::Wait(error.into())),
        }
        Ok(())
    }
}
