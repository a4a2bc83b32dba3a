//! `ordain flow`: the statistics of real order flow, and flow made like it.

mod sample;

use crate::error::{CliError, OrNext, Result};
use clap::{Args, Subcommand};
use ordain_exchange_bench::flow::Settings;
use ordain_exchange_bench::tape::tape;
use ordain_exchange_flow::generate::{Book, Generator, Start};
use ordain_exchange_flow::histogram::{Histogram, MILLION, mix_distance};
use ordain_exchange_flow::measure::{MIX, Marginals, Measure};
use ordain_exchange_flow::tape::{Event, Kind, Side};
use sample::Sample;
use serde_json::{Map, Value, json};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Levels of a row of the book.
const DEPTH: usize = 10;
/// Requests of the bench's own flow that are measured beside a file.
const FLOW_REQUESTS: u64 = 200_000;
/// Most events that are drawn to be measured beside a file.
const DRAWN_MAX: u64 = 200_000;

#[derive(Debug, Subcommand)]
pub enum FlowCommand {
    /// Measure a file of order flow, and beside it the flow that `ordain bench` sends and one drawn like the file
    ///
    /// Of each statistic, the distance from the file's: that of Kolmogorov and Smirnov, or for counts by kind half the
    /// sum of the differences; 0 is equal, 1 is nothing in common.
    Report(Report),
    /// Write a LOBSTER file of messages and one of ten levels, drawn from what was measured of a file
    Generate(Generate),
}

#[derive(Debug, Args)]
pub struct Report {
    /// LOBSTER message file
    #[arg(long, value_name = "MESSAGES.csv", required_unless_present = "itch", conflicts_with = "itch")]
    lobster: Option<PathBuf>,
    /// Its order book file, which says what was best before each message
    #[arg(long, value_name = "BOOK.csv", requires = "lobster")]
    book: Option<PathBuf>,
    /// Nasdaq ITCH 5.0 file
    #[arg(long, value_name = "FILE")]
    itch: Option<PathBuf>,
    /// Stock of the ITCH file [default: the one with the most orders]
    #[arg(long, value_name = "SYMBOL", requires = "itch")]
    stock: Option<String>,
    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub struct Generate {
    /// LOBSTER message file or Nasdaq ITCH 5.0 file to be like, or `defaults` for the flow that `ordain bench` sends
    #[arg(long, value_name = "FILE|defaults")]
    like: PathBuf,
    /// Order book file of a LOBSTER file
    #[arg(long, value_name = "BOOK.csv")]
    book: Option<PathBuf>,
    /// Stock of an ITCH file [default: the one with the most orders]
    #[arg(long, value_name = "SYMBOL")]
    stock: Option<String>,
    /// Where the random numbers start: the same seed and file, the same flow
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Messages
    #[arg(long, default_value_t = 10_000)]
    count: u64,
    /// Beginning of the names of the two files: ..._message_10.csv, ..._orderbook_10.csv
    #[arg(long, value_name = "PREFIX")]
    out: PathBuf,
}

pub fn run(command: &FlowCommand) -> Result<ExitCode> {
    match command {
        FlowCommand::Report(report) => run_report(report),
        FlowCommand::Generate(generate) => run_generate(generate),
    }
}

/// The bench's flow, measured in one instrument.
fn bench_flow() -> Sample {
    let settings = Settings { accounts: 1_000, instruments: 1, live_max: 4_096, ..Settings::default() };
    let mut measure = Measure::new(1);
    tape(&settings, FLOW_REQUESTS, &mut |event| measure.take(event, None));
    // As if its ticks were cents, in LOBSTER's units.
    Sample { marginals: measure.finish(), tick: 100, price: 1_000_000, time: 34_200_000_000_000 }
}

fn generator(sample: &Sample, seed: u64) -> Option<Generator> {
    let Sample { marginals, tick, price, time } = sample;
    Generator::new(marginals, Start { seed, tick: *tick, price: *price, time: *time })
}

/// A flow drawn like a sample, as long, measured.
fn drawn(sample: &Sample) -> Option<Marginals> {
    let mut generator = generator(sample, 1)?;
    let mut measure = Measure::new(sample.tick);
    let steps = sample.marginals.mix.iter().sum::<u64>().min(DRAWN_MAX);
    for _ in 0..steps {
        generator.step(&mut |event, _| measure.take(event, None));
    }
    Some(measure.finish())
}

/// The statistics of numbers, by name.
fn histograms(marginals: &Marginals) -> [(&'static str, &Histogram); 8] {
    [
        ("sizes", &marginals.sizes),
        ("executions", &marginals.executions),
        ("distances", &marginals.distances),
        ("spreads", &marginals.spreads),
        ("queues", &marginals.queues),
        ("levels", &marginals.levels),
        ("lifetimes_ns", &marginals.lifetimes),
        ("gaps_ns", &marginals.gaps),
    ]
}

/// The distances of one flow's statistics from another's, by name.
fn distances(one: &Marginals, other: &Marginals) -> Vec<(&'static str, Option<u64>)> {
    let counts =
        [("mix", mix_distance(&one.mix, &other.mix)), ("sides", mix_distance(&one.sides, &other.sides))];
    let numbers = histograms(one).into_iter().zip(histograms(other));
    counts.into_iter().chain(numbers.map(|((name, one), (_, other))| (name, one.distance(other)))).collect()
}

fn run_report(report: &Report) -> Result<ExitCode> {
    let sample = match (&report.lobster, &report.itch) {
        (Some(messages), _) => sample::lobster(messages, report.book.as_deref())?,
        (None, Some(file)) => sample::itch(file, report.stock.as_deref())?,
        (None, None) => unreachable!("one of them is required"),
    };
    let file = &sample.marginals;
    let others = [("flow", Some(bench_flow().marginals)), ("drawn", drawn(&sample))];
    if report.json {
        let mut value = json!({ "file": as_json(file), "tick": sample.tick });
        for (name, marginals) in &others {
            value[*name] = marginals.as_ref().map_or(Value::Null, |marginals| {
                let apart = distances(file, marginals).into_iter();
                let apart: Map<_, _> =
                    apart.map(|(name, far)| (name.to_owned(), fraction(far).into())).collect();
                let mut value = as_json(marginals);
                value["distance"] = apart.into();
                value
            });
        }
        println!("{value}");
        return Ok(ExitCode::SUCCESS);
    }
    print(file, &others);
    Ok(ExitCode::SUCCESS)
}

fn fraction(millionths: Option<u64>) -> Option<f64> {
    millionths.map(|millionths| millionths as f64 / MILLION as f64)
}

fn as_json(marginals: &Marginals) -> Value {
    let mix: Map<String, Value> =
        MIX.iter().zip(marginals.mix).map(|(name, count)| ((*name).to_owned(), count.into())).collect();
    let mut value = json!({
        "mix": mix,
        "sides": { "bids": marginals.sides[0], "offers": marginals.sides[1] },
        "unfinished": marginals.unfinished,
        "others": marginals.others,
    });
    for (name, histogram) in histograms(marginals) {
        value[name] = json!({
            "count": histogram.count(),
            "p10": histogram.quantile(100),
            "p50": histogram.quantile(500),
            "p90": histogram.quantile(900),
            "p99": histogram.quantile(990),
        });
    }
    value
}

fn print(file: &Marginals, others: &[(&str, Option<Marginals>)]) {
    let all = [("file", Some(file))];
    let all = all.into_iter().chain(others.iter().map(|(name, marginals)| (*name, marginals.as_ref())));
    let all: Vec<_> = all.filter_map(|(name, marginals)| Some((name, marginals?))).collect();
    println!(
        "file: what was given; flow: what `ordain bench` sends, in one instrument; drawn: drawn like the file"
    );
    println!("prices in ticks, sizes in shares or lots, times in nanoseconds\n");
    for (name, marginals) in &all {
        let total = marginals.mix.iter().sum::<u64>().max(1);
        let mix: Vec<String> = MIX
            .iter()
            .zip(marginals.mix)
            .map(|(kind, count)| format!("{:.1} % {kind}", count as f64 * 100.0 / total as f64))
            .collect();
        let [bids, offers] = marginals.sides;
        println!("{name:<6} {total} events: {}; {bids} bids, {offers} offers", mix.join(", "));
    }
    println!(
        "\n{:<13} {:<6} {:>9} {:>12} {:>12} {:>12} {:>12}",
        "", "", "count", "p10", "p50", "p90", "distance"
    );
    let far = |name: &str, marginals: &Marginals| {
        let found = distances(file, marginals).into_iter().find(|(found, _)| *found == name);
        fraction(found.and_then(|(_, far)| far)).map_or("-".to_owned(), |far| format!("{far:.3}"))
    };
    for name in ["mix", "sides"] {
        for (source, marginals) in &all[1..] {
            println!("{name:<13} {source:<6} {:>61}", far(name, marginals));
        }
    }
    for at in 0..histograms(file).len() {
        for (source, marginals) in &all {
            let (name, histogram) = histograms(marginals)[at];
            let shown = if *source == "file" { String::new() } else { far(name, marginals) };
            println!(
                "{name:<13} {source:<6} {:>9} {:>12} {:>12} {:>12} {shown:>12}",
                histogram.count(),
                histogram.quantile(100),
                histogram.quantile(500),
                histogram.quantile(900)
            );
        }
    }
}

fn run_generate(args: &Generate) -> Result<ExitCode> {
    let sample = if args.like == Path::new("defaults") {
        bench_flow()
    } else {
        sample::any(&args.like, args.book.as_deref(), args.stock.as_deref())?
    };
    let mut generator = generator(&sample, args.seed).ok_or_else(|| {
        CliError::new(
            format!("{} has too little in it to draw from", args.like.display()),
            "Give a file with orders that come into a book, or `defaults`.",
        )
    })?;
    let create = |ending: &str| {
        let mut path = args.out.clone().into_os_string();
        path.push(ending);
        let file = File::create(&path).or_next(
            format!("{} cannot be written", Path::new(&path).display()),
            "Give --out the beginning of two files' names, in a folder that is there.",
        );
        file.map(BufWriter::new)
    };
    let (mut messages, mut rows) = (create("_message_10.csv")?, create("_orderbook_10.csv")?);
    let (mut written, mut result) = (0, Ok(()));
    while written < args.count && result.is_ok() {
        generator.step(&mut |event, book| {
            // A replacement is two messages: the last one asked for may be its first.
            if written < args.count && result.is_ok() {
                result = write(&mut messages, &mut rows, event, book);
                written += 1;
            }
        });
    }
    let result = result.and_then(|()| messages.flush()).and_then(|()| rows.flush());
    result.or_next("the files cannot be written", "Make room on the disk, or give --out another folder.")?;
    println!("{written} messages, like {}, seed {}", args.like.display(), args.seed);
    Ok(ExitCode::SUCCESS)
}

/// Writes an event and the book behind it, as LOBSTER does.
fn write(messages: &mut impl Write, rows: &mut impl Write, event: &Event, book: &Book) -> io::Result<()> {
    let Event { time, kind, order, size, price, side } = event;
    let kind = match kind {
        Kind::Add => 1,
        Kind::Reduce => 2,
        Kind::Delete => 3,
        Kind::Execute => 4,
        Kind::Other => 5,
    };
    let direction = if *side == Side::Buy { 1 } else { -1 };
    let (seconds, nanos) = (time / 1_000_000_000, time % 1_000_000_000);
    writeln!(messages, "{seconds}.{nanos:09},{kind},{order},{size},{price},{direction}")?;
    let (mut offers, mut bids) = (book.levels(Side::Sell), book.levels(Side::Buy));
    for at in 0..DEPTH {
        // Levels that do not exist have size 0 and an impossible price.
        let (offer, offered) = offers.next().unwrap_or((9_999_999_999, 0));
        let (bid, wanted) = bids.next().unwrap_or((-9_999_999_999, 0));
        let comma = if at == 0 { "" } else { "," };
        write!(rows, "{comma}{offer},{offered},{bid},{wanted}")?;
    }
    writeln!(rows)
}
