//! `ordain demo`: the whole promise in twenty seconds. Of three nodes under load the one that leads is killed; another
//! takes over, and the dead one returns and catches up. At the end every acknowledgement that the clients wrote down is
//! looked for in every journal, and the journals are compared.

mod nodes;

use crate::child;
use crate::error::{CliError, OrNext, Result};
use crate::load::Line;
use crate::{audit, journal};
use clap::Args;
use nodes::Nodes;
use ordain_client::blocking::Client;
use ordain_exchange_protocol::{Answer, BookLevelsQuery, IntoBytes, LevelEntry};
use ordain_exchange_server::SCHEMA;
use signal_hook::consts::{SIGINT, SIGTERM};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const ACCOUNTS: u32 = 1_000;
const INSTRUMENTS: u32 = 20;
/// The instrument whose book is shown: the busiest.
const SHOWN: u32 = 1;

/// Shows what Ordain promises, on this machine, in about twenty seconds.
///
/// Starts three nodes on temporary data and a load client, each a process of its own. The client writes down every
/// acknowledgement that it gets. Meanwhile the node that leads is killed with SIGKILL: another one takes over, the client
/// goes on there by itself, and the dead node is started again and catches up. At the end the journals are replayed, and
/// every acknowledgement must be found in each of them, with the very reply that the client got; and the journals must be
/// the same, byte for byte. The command fails if anything is missing.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Nodes: 1, 3 or 5. A lone node is killed and started again
    #[arg(long, default_value_t = 3, value_parser = node_count)]
    nodes: usize,
    /// Seconds of load
    #[arg(long, default_value_t = 14, value_parser = clap::value_parser!(u64).range(2..=3600))]
    seconds: u64,
    /// How often the node that leads is killed, at equal intervals
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(0..=100))]
    kills: u64,
    /// Connections of the load client
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=256))]
    connections: u64,
    /// Requests in flight per connection
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=1024))]
    window: u64,
    /// Keep data directories and acknowledgements, and say how to check them by hand
    #[arg(long)]
    keep: bool,
}

fn node_count(text: &str) -> std::result::Result<usize, String> {
    match text {
        "1" => Ok(1),
        "3" => Ok(3),
        "5" => Ok(5),
        _ => Err("a demonstration has 1, 3 or 5 nodes".to_owned()),
    }
}

pub fn run(args: &DemoArgs) -> Result<ExitCode> {
    let folder = child::temporary()?;
    let result = show(args, folder.path());
    if args.keep {
        let folder = folder.keep();
        let acks = folder.join("acks");
        say(&format!("\nkept in {}; check by hand:", folder.display()));
        let dirs = nodes::data(&folder, args.nodes);
        for data in &dirs {
            say(&format!("  ordain audit --acks {} {}", acks.display(), data.display()));
        }
        let all: Vec<_> = dirs.iter().map(|data| data.display().to_string()).collect();
        match all.as_slice() {
            [one] => say(&format!("  ordain journal verify {one}\n  ordain journal inspect {one}")),
            several => say(&format!("  ordain journal compare {}", several.join(" "))),
        }
    }
    result
}

/// What is done to the nodes, and when.
struct Strikes {
    /// Seconds between two.
    interval: f64,
    left: u64,
    next: f64,
    /// When the dead node of a cluster is started again.
    revival: Option<f64>,
}

impl Strikes {
    fn new(args: &DemoArgs) -> Self {
        let interval = args.seconds as f64 / (args.kills + 1) as f64;
        Self { interval, left: args.kills, next: interval, revival: None }
    }

    /// Does what is due `now`, seconds from the beginning.
    fn advance(&mut self, nodes: &mut Nodes, now: f64) -> Result<()> {
        if self.revival.is_some_and(|due| now >= due) {
            self.revival = None;
            nodes.revive()?;
        }
        if self.left > 0 && now >= self.next && self.revival.is_none() {
            self.left -= 1;
            self.next += self.interval;
            self.revival = Some(now + (self.interval / 3.0).min(3.0));
            nodes.strike()?;
        }
        Ok(())
    }
}

fn show(args: &DemoArgs, folder: &Path) -> Result<ExitCode> {
    let (dirs, acks) = (nodes::data(folder, args.nodes), folder.join("acks"));
    // With these caught, an interrupted load ends the demonstration in order.
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, interrupted.clone())
            .or_next("signals cannot be caught", "Report this.")?;
    }
    let is_interrupted = || interrupted.load(Ordering::Relaxed);
    let mut nodes = Nodes::start(folder, args.nodes)?;
    let mut load = Load(start_load(args, &nodes, &acks)?);
    let load_client = format!("{} connections x {} requests in flight", args.connections, args.window);
    say(&format!(
        "load      process {}, {load_client}, {ACCOUNTS} accounts, {INSTRUMENTS} instruments",
        load.0.id()
    ));
    let mut watcher = nodes.operator()?;
    watcher.timeout = Duration::from_secs(2);
    let mut book = Client::connect(&watcher)
        .or_next("the book cannot be watched", "The nodes' log on standard error says why.")?;
    say(&format!(
        "\n{:>6} {:>6} {:>9} {:>8} {:>8} {:>8} {:>8} {:>5}  {}",
        "second",
        "leader",
        "orders/s",
        "p50 us",
        "p99 us",
        "p99.9 us",
        "fills/s",
        "lost",
        "best bid / ask of SYM001"
    ));
    let out = load.0.stdout.take().expect("its output is piped");
    let (mut total, mut strikes, mut before, mut led) = (None, Strikes::new(args), 0.0, 0);
    for line in BufReader::new(out).lines() {
        let line = line.or_next("the load client cannot be heard", "Report this.")?;
        let line: Line =
            serde_json::from_str(&line).or_next("the load client makes no sense", "Report this.")?;
        if line.is_total {
            total = Some(line);
            continue;
        }
        let leader = nodes.leader();
        let shown = leader.map_or("-".to_owned(), |leader| leader.to_string());
        say(&row(&line, line.seconds - before, &shown, &top(&mut book)));
        led = leader.unwrap_or(led);
        before = line.seconds;
        match strikes.advance(&mut nodes, line.seconds) {
            Ok(()) => {}
            // A terminal's Ctrl-C reaches the nodes too.
            Err(_) if is_interrupted() => break,
            Err(error) => return Err(error),
        }
        if is_interrupted() {
            break;
        }
    }
    if is_interrupted() {
        say("  ---- interrupted ----");
        drop(load);
        nodes.stop_anyhow();
        // Others may lack what they would have got: the journal of who led has everything.
        return check(&acks, &dirs[led..=led]).map(exit_code);
    }
    let status = load.0.wait().or_next("the load client's end cannot be awaited", "Report this.")?;
    if !status.success() {
        return Err(CliError::new(
            format!("the load client failed ({status})"),
            "Its message is above; --keep leaves the data to look at.",
        ));
    }
    drop(book);
    nodes.revive()?;
    let stop = Instant::now();
    let costs = nodes.stop()?;
    say(&format!("\nstopped   gracefully, in {} ms", stop.elapsed().as_millis()));
    let lost = total.as_ref().map_or(0, |total| total.lost);
    if let Some(total) = &total {
        say(&format!(
            "load      {} orders in {:.1} s; p50 {:.0} us, p99 {:.0} us, p99.9 {:.0} us; {} fills, {lost} lost",
            total.requests, total.seconds, total.p50_us, total.p99_us, total.p999_us, total.fills
        ));
        say(&format!("          longest time without an acknowledgement: {} ms", total.silence_ms));
    }
    say(&format!(
        "cost      {:.1} bytes of journal and {:.4} syncs per order since the last start",
        costs.bytes, costs.syncs
    ));
    let is_good = check(&acks, &dirs)?;
    Ok(exit_code(is_good && lost == 0))
}

const fn exit_code(is_good: bool) -> ExitCode {
    if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Standard output may have gone (`ordain demo | head`): that is no reason to leave processes behind.
fn say(text: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

fn row(line: &Line, seconds: f64, leader: &str, top: &str) -> String {
    let fills = (line.fills as f64 / seconds.max(1e-9)) as u64;
    let silence = match line.silence_ms {
        0..100 => String::new(),
        silence => format!("  ({silence} ms without an answer)"),
    };
    format!(
        "{:>6.1} {leader:>6} {:>9} {:>8.0} {:>8.0} {:>8.0} {fills:>8} {:>5}  {top}{silence}",
        line.seconds, line.rate, line.p50_us, line.p99_us, line.p999_us, line.lost
    )
}

fn top(client: &mut Client) -> String {
    let query = BookLevelsQuery::new(SHOWN, 1);
    let Ok((_, bytes)) = client.query(SCHEMA, query.as_bytes()) else { return "not known".to_owned() };
    let Ok(Answer::BookLevels(_, bids, asks)) = Answer::decode(&bytes) else {
        return "not known".to_owned();
    };
    let level = |levels: &[LevelEntry]| {
        let level = levels.first();
        level.map_or("none".to_owned(), |level| format!("{} x {}", level.quantity.get(), level.price.get()))
    };
    format!("{} / {}", level(bids), level(asks))
}

/// Killed when dropped, so that no failure leaves it running.
struct Load(Child);

impl Drop for Load {
    fn drop(&mut self) {
        // Both fail only if it is gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start_load(args: &DemoArgs, nodes: &Nodes, acks: &Path) -> Result<Child> {
    let (connect, key) = nodes.connect();
    let program = std::env::current_exe()
        .or_next("this program's own file is not known", "Start it by its whole path.")?;
    Command::new(program)
        .arg("load")
        .args(["--connect", &connect])
        .arg("--key")
        .arg(key)
        .arg("--acks")
        .arg(acks)
        .args(["--seconds", &args.seconds.to_string()])
        .args(["--connections", &args.connections.to_string()])
        .args(["--window", &args.window.to_string()])
        .args(["--accounts", &ACCOUNTS.to_string(), "--instruments", &INSTRUMENTS.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .or_next("the load client cannot be started", "Raise the limit of processes (ulimit -u).")
}

/// Looks for every acknowledgement in every journal, and compares the journals.
fn check(acks: &Path, dirs: &[PathBuf]) -> Result<bool> {
    let acks = audit::read_acks(acks)?;
    let mut is_good = true;
    for (node, data) in dirs.iter().enumerate() {
        let start = Instant::now();
        let (findings, examples) = audit::compare(&acks, data)?;
        examples.iter().for_each(|example| say(example));
        let whose = if dirs.len() == 1 { String::new() } else { format!("node {node}: ") };
        say(&format!(
            "audit     {whose}{} acknowledgements: {} found with the same reply, {} missing, {} differing; \
             {} records replayed in {:.1} s",
            findings.acknowledged,
            findings.found,
            findings.missing,
            findings.differing,
            findings.records,
            start.elapsed().as_secs_f64()
        ));
        is_good &= findings.is_good();
    }
    if dirs.len() > 1 {
        let comparison = journal::compare(dirs)?;
        let is_same = comparison.difference.is_none();
        say(&format!(
            "journals  {} up to batch {}, {} bytes",
            if is_same { "the same" } else { "DIFFERENT" },
            comparison.shortest.index,
            comparison.shortest.position
        ));
        is_good &= is_same;
    }
    Ok(is_good)
}
