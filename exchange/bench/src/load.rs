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
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::fmt;
use std::io;
use std::ops::ControlFlow;
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
/// far, and may end the load.
///
/// # Errors
/// [`LoadError`].
pub fn run(
    options: &Options,
    on_ack: &mut OnAck<'_>,
    mut progress: impl FnMut(&Report) -> ControlFlow<()>,
) -> Result<Report, LoadError> {
    let mut lanes = connect(options)?;
    let begin = Instant::now();
    let clock = || begin.elapsed().as_nanos() as u64;
    let measure_from = options.warm_up.as_nanos() as u64;
    let until = measure_from + options.duration.as_nanos() as u64;
    let interval = options.rate.map(|rate| 1e9 / rate.max(1) as f64);
    let mut report = Report::new();
    let mut next_progress = measure_from + 1_000_000_000;
    let mut started = 0_u64;
    let mut failure = None;
    loop {
        let now = clock();
        if now >= until {
            break;
        }
        let mut busy = false;
        // Open loop: as many as are due by now, dealt out in turn.
        let due = interval.map(|interval| (now as f64 / interval) as u64);
        let lane_count = lanes.len();
        for (at, lane) in lanes.iter_mut().enumerate() {
            match (due, interval) {
                (Some(due), Some(interval)) => {
                    while started < due
                        && started as usize % lane_count == at
                        && lane.client.open_requests() < options.window
                    {
                        if !lane.start((started as f64 * interval) as u64) {
                            break;
                        }
                        started += 1;
                        busy = true;
                    }
                }
                _ => {
                    while lane.client.open_requests() < options.window && lane.start(now) {
                        busy = true;
                    }
                }
            }
            let session = lane.session;
            let starts = &lane.starts;
            // One reading of the clock for all answers of a poll: they came in one read.
            let now = clock();
            let result = lane.client.poll(|Completion { ticket, number, outcome }| {
                busy = true;
                if let Outcome::Acknowledged { seq, reply } = outcome
                    && let Err(error) = on_ack(session, number.0, seq.0, reply)
                {
                    failure = Some(LoadError::Acknowledgements(error));
                }
                if now >= measure_from {
                    let latency = now.saturating_sub(starts[ticket.0 as usize % starts.len()]);
                    failure = failure.take().or_else(|| report.count(outcome, latency).err());
                }
            });
            result?;
        }
        if let Some(failure) = failure.take() {
            return Err(failure);
        }
        let now = clock();
        if now >= next_progress {
            report.elapsed = Duration::from_nanos(now - measure_from);
            if progress(&report).is_break() {
                return Ok(report);
            }
            next_progress += 1_000_000_000;
        }
        if !busy {
            let next = interval.map_or(1_000_000, |interval| {
                (((started + 1) as f64 * interval) as u64).saturating_sub(clock()).min(1_000_000)
            });
            wait(&lanes, Duration::from_nanos(next))?;
        }
    }
    report.elapsed = options.duration;
    Ok(report)
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
        true
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

/// Waits until any connection has something to read.
fn wait(lanes: &[Lane], timeout: Duration) -> Result<(), LoadError> {
    let fds: Vec<_> = lanes.iter().filter_map(|lane| lane.client.fd()).collect();
    let mut fds: Vec<_> = fds.iter().map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
    let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(timeout.subsec_nanos()) };
    match poll(&mut fds, Some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(LoadError::Wait(error.into())),
    }
}
