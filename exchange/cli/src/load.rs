//! `ordain load`: orders at a node until the time is over, every acknowledgement written to a file. A process of
//! its own, so that what a client knows does not die with a node.

use crate::audit::{Ack, ack_line, reply_hash};
use crate::child;
use crate::error::{OrNext, Result};
use clap::Args;
use hdrhistogram::Histogram;
use ordain_exchange_bench::flow::Settings;
use ordain_exchange_bench::load::{self, Options, Report};
use serde::{Deserialize, Serialize};
use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// A node may be away for this long, restarts included.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, Args)]
pub struct LoadArgs {
    /// Node, HOST:PORT or unix:PATH, or several with commas between them
    #[arg(long, value_parser = child::address)]
    pub connect: String,
    /// Key file with all permissions of the exchange
    #[arg(long)]
    pub key: PathBuf,
    /// File of acknowledgements to make
    #[arg(long)]
    pub acks: PathBuf,
    /// Seconds
    #[arg(long)]
    pub seconds: u64,
    /// End before that, at the next report, if this file exists
    #[arg(long)]
    pub until: Option<PathBuf>,
    /// Connections, each with a session
    #[arg(long)]
    pub connections: usize,
    /// Requests in flight per connection
    #[arg(long)]
    pub window: usize,
    /// Accounts
    #[arg(long)]
    pub accounts: u32,
    /// Instruments
    #[arg(long)]
    pub instruments: u32,
}

/// What the load says about once a second, one JSON object a line; the last line is about all of it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Line {
    /// Whether this is the last line.
    pub is_total: bool,
    /// Since the load began.
    pub seconds: f64,
    /// Answers per second.
    pub rate: u64,
    /// Answers.
    pub requests: u64,
    pub p50_us: f64,
    pub p99_us: f64,
    pub p999_us: f64,
    /// Fills of the senders' own orders.
    pub fills: u64,
    /// Not executed, or of unknown fate.
    pub lost: u64,
    /// Longest time without an acknowledgement, milliseconds.
    pub silence_ms: u64,
}

/// What was reported last.
struct Reported {
    requests: u64,
    fills: u64,
    elapsed: Duration,
    latency: Histogram<u64>,
}

impl Reported {
    fn of(report: &Report) -> Self {
        let Report { requests, fills, elapsed, .. } = *report;
        Self { requests, fills, elapsed, latency: report.latency.clone() }
    }

    /// What happened since, or in all if that is `None`.
    fn line(since: Option<&Self>, report: &Report, silence: Duration) -> Line {
        let mut latency = report.latency.clone();
        let (mut requests, mut fills, mut elapsed) = (report.requests, report.fills, report.elapsed);
        if let Some(since) = since {
            latency.subtract(&since.latency).expect("counts only grow");
            (requests, fills) = (requests - since.requests, fills - since.fills);
            elapsed -= since.elapsed;
        }
        let micros = |percent| latency.value_at_percentile(percent) as f64 / 1e3;
        Line {
            is_total: since.is_none(),
            seconds: report.elapsed.as_secs_f64(),
            rate: (requests as f64 / elapsed.as_secs_f64().max(1e-9)) as u64,
            requests,
            p50_us: micros(50.0),
            p99_us: micros(99.0),
            p999_us: micros(99.9),
            fills,
            lost: report.lost,
            silence_ms: silence.as_millis() as u64,
        }
    }
}

/// The time between acknowledgements.
struct Silence {
    last: Cell<Instant>,
    longest: Cell<Duration>,
}

impl Silence {
    fn ends(&self) {
        let now = Instant::now();
        self.longest.set(self.longest.get().max(now - self.last.replace(now)));
    }

    /// The longest one, that which lasts included.
    fn longest(&self) -> Duration {
        self.longest.get().max(self.last.get().elapsed())
    }
}

pub fn run(args: &LoadArgs) -> Result<ExitCode> {
    let mut client = child::client(&args.connect, &args.key)?;
    client.timeout = PATIENCE;
    let flow = Settings { accounts: args.accounts, instruments: args.instruments, ..Settings::default() };
    let options = Options {
        client,
        connections: args.connections,
        window: args.window,
        rate: None,
        warm_up: Duration::ZERO,
        duration: Duration::from_secs(args.seconds),
        flow,
    };
    let check_disk = "Check that there is space left for the file of acknowledgements.";
    let file =
        File::create(&args.acks).or_next(format!("{} cannot be made", args.acks.display()), check_disk)?;
    let file = RefCell::new(BufWriter::new(file));
    let silence = Silence { last: Cell::new(Instant::now()), longest: Cell::new(Duration::ZERO) };
    // Nobody reads what is said: whoever started this is gone.
    let is_alone = Cell::new(false);
    let say = |line: &Line| {
        let text = serde_json::to_string(line).map_err(io::Error::from);
        let said = text.and_then(|text| {
            let mut out = io::stdout().lock();
            writeln!(out, "{text}")?;
            out.flush()
        });
        is_alone.set(is_alone.get() || said.is_err());
    };
    let mut on_ack = |session, number, seq, reply: &[u8]| {
        silence.ends();
        if is_alone.get() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let ack = Ack { seq, hash: reply_hash(reply) };
        file.borrow_mut().write_all(ack_line(session, number, ack).as_bytes())
    };
    let failed = "The node's log says why; `ordain audit` checks what was acknowledged.";
    load::open_exchange(&options.client, &flow, &mut on_ack).or_next("the load cannot begin", failed)?;
    silence.longest.set(Duration::ZERO);
    let mut before: Option<Reported> = None;
    let mut whole = Duration::ZERO;
    let report = load::run(&options, &mut on_ack, |report| {
        whole = whole.max(silence.longest());
        let line = Reported::line(before.as_ref(), report, silence.longest());
        silence.longest.set(Duration::ZERO);
        say(&Line { is_total: false, ..line });
        before = Some(Reported::of(report));
        is_alone.set(is_alone.get() || file.borrow_mut().flush().is_err());
        let is_over = args.until.as_ref().is_some_and(|file| file.exists());
        if is_over { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    let report = report.or_next("the load broke off", failed)?;
    whole = whole.max(silence.longest.get());
    say(&Reported::line(None, &report, whole));
    file.into_inner().flush().or_next(format!("{} cannot be written", args.acks.display()), check_disk)?;
    Ok(ExitCode::SUCCESS)
}
