//! The engine alone: no log, no network, one thread.

use crate::flow::{Flow, REQUEST_MAX, Settings, setup};
use core::fmt;
use ordain_exchange_engine::{Audience, Context, Engine, Limits, Sink, Step};
use ordain_exchange_protocol::{Flag, IntoBytes, NewOrder, OrderReply, Request, SetFeed, TimeInForce, note};
use std::time::{Duration, Instant};

/// Requests made ahead of the engine, so that making them is not measured.
pub const BLOCK: usize = 4_096;
/// Requests that the engine is shown before the first of them is executed, as apply does. The time that this takes is
/// that of the first.
const GROUP: usize = 8;

/// Kinds of requests that are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// An order that may rest.
    Order,
    /// An order that does not rest.
    Take,
    /// A cancel.
    Cancel,
    /// An amend.
    Amend,
    /// A mass cancel.
    MassCancel,
}

impl Operation {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Order => "order",
            Self::Take => "take",
            Self::Cancel => "cancel",
            Self::Amend => "amend",
            Self::MassCancel => "mass-cancel",
        }
    }

    fn of(bytes: &[u8]) -> Self {
        match Request::decode(bytes).expect("the flow's requests are well formed") {
            Request::NewOrder(order) if order.time_in_force == TimeInForce::Gtc => Self::Order,
            Request::NewOrder(_) => Self::Take,
            Request::Cancel(_) => Self::Cancel,
            Request::Amend(_) => Self::Amend,
            Request::MassCancel(_) => Self::MassCancel,
            other => unreachable!("no flow has {other:?}"),
        }
    }
}

/// What single requests of a kind took.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// The kind.
    pub operation: Operation,
    /// Requests of the kind that were timed one by one.
    pub count: u64,
    /// Nanoseconds, as [`Report::latency`].
    pub latency: [u32; 4],
}

/// What the engine did.
#[derive(Clone, Debug)]
pub struct Report {
    /// Requests measured: orders, cancels and amends.
    pub requests: u64,
    /// Orders entered among them.
    pub orders: u64,
    /// Refusals among them: mostly cancels and amends that came after a fill.
    pub refused: u64,
    /// Trades.
    pub trades: u64,
    /// Live orders at the end.
    pub live: u64,
    /// Time that the requests took, without making them, measured by the block.
    pub elapsed: Duration,
    /// Time of single requests, nanoseconds, the clock's reading included: median, 99 %, 99.9 %, longest.
    pub latency: [u32; 4],
    /// The same by kind of request, for those kinds that there were.
    pub operations: Vec<Times>,
}

impl Report {
    /// Requests per second.
    #[must_use]
    pub fn rate(&self) -> u64 {
        (u128::from(self.requests) * 1_000_000_000 / self.elapsed.as_nanos().max(1)) as u64
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [median, p99, p999, longest] = self.latency;
        write!(
            f,
            "{} requests/s ({} requests, {} of them new orders, {} refused, {} trades, {} live orders), \
             p50 {median} ns, p99 {p99} ns, p99.9 {p999} ns, max {longest} ns",
            self.rate(),
            self.requests,
            self.orders,
            self.refused,
            self.trades,
            self.live
        )
    }
}

/// Copies what the engine says into a ring that is never read, as an output stage would.
#[derive(Debug)]
pub struct RingSink {
    ring: Vec<u8>,
    at: usize,
    refused: u64,
    trades: u64,
}

impl RingSink {
    const SIZE: usize = 1 << 18;

    fn put(&mut self, bytes: &[u8]) {
        if self.at + bytes.len() > Self::SIZE {
            self.at = 0;
        }
        self.ring[self.at..][..bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
    }
}

impl Default for RingSink {
    fn default() -> Self {
        Self { ring: vec![0; Self::SIZE], at: 0, refused: 0, trades: 0 }
    }
}

impl Sink for RingSink {
    fn reply(&mut self, bytes: &[u8]) {
        self.put(bytes);
        self.refused += u64::from(bytes[2..4] != [0; 2]);
    }

    fn output(&mut self, audience: Audience, bytes: &[u8]) {
        self.put(bytes);
        self.trades += u64::from(matches!(audience, Audience::Instrument(_)));
    }
}

/// Where a bench's requests come from: orders, cancels, amends and mass cancels of at most [`REQUEST_MAX`] bytes.
pub trait Requests {
    /// The next one.
    fn next_request(&mut self) -> &[u8];
}

impl Requests for Flow {
    fn next_request(&mut self) -> &[u8] {
        Self::next_request(self)
    }
}

impl<R: Requests + ?Sized> Requests for Box<R> {
    fn next_request(&mut self) -> &[u8] {
        (**self).next_request()
    }
}

/// An engine with a flow running into it.
#[derive(Debug)]
pub struct Bench<R = Flow> {
    engine: Engine,
    flow: R,
    sink: RingSink,
    seq: u64,
    block: Vec<([u8; REQUEST_MAX], usize)>,
}

impl Bench {
    /// An exchange that is set up and has taken `warm_up` requests.
    #[must_use]
    pub fn new(settings: &Settings, warm_up: u64) -> Self {
        let mut bench = Self::with(Limits::DEFAULT, setup(settings, 1), Flow::new(settings));
        bench.warm_up(warm_up);
        bench
    }
}

impl<R: Requests> Bench<R> {
    /// An exchange with these limits that has taken `setup`.
    pub fn with(limits: Limits, setup: impl IntoIterator<Item = Vec<u8>>, flow: R) -> Self {
        let mut bench = Self {
            engine: Engine::new(limits, 1),
            flow,
            sink: RingSink::default(),
            seq: 0,
            block: Vec::with_capacity(BLOCK),
        };
        for request in setup {
            bench.apply(&request);
        }
        assert_eq!(bench.sink.refused, 0, "the setup is accepted");
        bench
    }

    /// Takes so many requests, rounded up to whole blocks.
    pub fn warm_up(&mut self, requests: u64) {
        for _ in 0..requests.div_ceil(BLOCK as u64) {
            self.fill();
            self.run();
        }
    }

    /// From here on all feeds of these many instruments are published.
    pub fn publish(&mut self, instruments: u32) {
        self.engine.begin_level(1);
        for instrument in 1..=instruments {
            let off = SetFeed::off(instrument, note("bench"));
            let all = SetFeed { top: Flag::Yes, levels: Flag::Yes, orders: Flag::Yes, ..off };
            self.apply(all.as_bytes());
        }
    }

    /// Makes the next block of requests.
    pub fn fill(&mut self) {
        self.block.clear();
        for _ in 0..BLOCK {
            let request = self.flow.next_request();
            let mut bytes = [0; REQUEST_MAX];
            bytes[..request.len()].copy_from_slice(request);
            self.block.push((bytes, request.len()));
        }
    }

    /// Executes the block.
    pub fn run(&mut self) {
        let block = std::mem::take(&mut self.block);
        for group in block.chunks(GROUP) {
            self.warm(group);
            for (bytes, len) in group {
                self.apply(&bytes[..*len]);
            }
        }
        self.block = block;
    }

    #[inline]
    fn warm(&self, group: &[([u8; REQUEST_MAX], usize)]) {
        self.engine.warm(group.iter().filter_map(|(bytes, len)| Request::decode(&bytes[..*len]).ok()));
    }

    #[inline]
    fn apply(&mut self, bytes: &[u8]) {
        self.seq += 1;
        let context = Context { seq: self.seq, time: self.seq, key: 1, permissions: u32::MAX, session: 0 };
        let request = Request::decode(bytes).expect("the flow's requests are well formed");
        let mut step = self.engine.apply(&context, &request, &mut self.sink);
        while step == Step::More {
            step = self.engine.resume(&mut self.sink);
        }
    }

    /// Measures `requests` requests, rounded up to whole blocks: one half by the block, the other one by one.
    #[must_use]
    pub fn measure(&mut self, requests: u64) -> Report {
        let blocks = requests.div_ceil(2 * BLOCK as u64).max(1);
        let (refused, trades) = (self.sink.refused, self.sink.trades);
        let mut elapsed = Duration::ZERO;
        let mut orders = 0;
        for _ in 0..blocks {
            self.fill();
            orders += self.orders_in_block();
            let start = Instant::now();
            self.run();
            elapsed += start.elapsed();
        }
        let (refused, trades) = (self.sink.refused - refused, self.sink.trades - trades);
        let mut times = Vec::with_capacity(blocks as usize * BLOCK);
        for _ in 0..blocks {
            self.fill();
            let block = std::mem::take(&mut self.block);
            let mut before = Instant::now();
            for group in block.chunks(GROUP) {
                self.warm(group);
                for (bytes, len) in group {
                    self.apply(&bytes[..*len]);
                    let now = Instant::now();
                    let time = u32::try_from((now - before).as_nanos()).unwrap_or(u32::MAX);
                    times.push((Operation::of(&bytes[..*len]), time));
                    // What the kind of request takes to find out is not the engine's.
                    before = Instant::now();
                }
            }
            self.block = block;
        }
        times.sort_unstable();
        let operations = times.chunk_by(|one, other| one.0 == other.0).map(|same| Times {
            operation: same[0].0,
            count: same.len() as u64,
            latency: quantiles(same),
        });
        let operations = operations.collect();
        times.sort_unstable_by_key(|(_, time)| *time);
        Report {
            requests: blocks * BLOCK as u64,
            orders,
            refused,
            trades,
            live: self.engine.live_orders().into(),
            elapsed,
            latency: quantiles(&times),
            operations,
        }
    }

    fn orders_in_block(&self) -> u64 {
        let is_order = |(bytes, _): &&([u8; REQUEST_MAX], usize)| bytes[0] == NewOrder::TAG;
        self.block.iter().filter(is_order).count() as u64
    }

    /// The engine.
    #[must_use]
    pub const fn engine(&self) -> &Engine {
        &self.engine
    }
}

/// Median, 99 %, 99.9 % and longest of times that ascend.
fn quantiles(times: &[(Operation, u32)]) -> [u32; 4] {
    [500, 990, 999, 1_000].map(|per_mille| times[(times.len() - 1) * per_mille / 1_000].1)
}

/// Measures the engine alone with `requests` requests of the default flow, after as many for warming up.
#[must_use]
pub fn bench_engine(requests: u64) -> Report {
    Bench::new(&Settings::default(), requests).measure(2 * requests)
}

// The sink reads the code where every reply has it.
const _: () = assert!(core::mem::offset_of!(OrderReply, code) == 2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flow_meets_a_living_exchange() {
        let settings = Settings { accounts: 500, instruments: 20, live_max: 4_096, ..Settings::default() };
        let mut bench = Bench::new(&settings, 50_000);
        let report = bench.measure(50_000);
        assert_eq!(bench.engine().audit(), Ok(()));
        assert!(report.trades * 20 > report.requests, "{report}");
        assert!(report.refused * 4 < report.requests, "{report}");
        assert!(report.live > 500 && report.live <= 4_096, "{report}");
    }
}
