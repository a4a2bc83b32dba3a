//! `ordain demo`: the whole promise in twenty seconds. A node under load is killed and started again; at the end
//! every acknowledgement that the clients wrote down is looked for in the journal.

use crate::audit;
use crate::child::{self, ANY_PORT, OwnNode};
use crate::error::{CliError, OrNext, Result};
use crate::load::Line;
use clap::Args;
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
/// Starts a node on temporary data and a load client, each a process of its own. The client writes down
/// every acknowledgement that it gets. Meanwhile the node is killed with SIGKILL and started again; the client
/// reconnects and goes on by itself. At the end the journal is replayed, and every acknowledgement must be found
/// in it, with the very reply that the client got. The command fails if one is missing.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Seconds of load
    #[arg(long, default_value_t = 14, value_parser = clap::value_parser!(u64).range(2..=3600))]
    seconds: u64,
    /// How often the node is killed, at equal intervals
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(0..=100))]
    kills: u64,
    /// Connections of the load client
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=256))]
    connections: u64,
    /// Requests in flight per connection
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=1024))]
    window: u64,
    /// Keep data directory and acknowledgements, and say how to check them by hand
    #[arg(long)]
    keep: bool,
}

pub fn run(args: &DemoArgs) -> Result<ExitCode> {
    let folder = child::temporary()?;
    let result = show(args, folder.path());
    if args.keep {
        let folder = folder.keep();
        let (data, acks) = places(&folder);
        let (data, acks) = (data.display(), acks.display());
        say(&format!(
            "\nkept in {}; check by hand:\n  ordain audit --acks {acks} {data}\n  ordain journal verify {data}\n  \
             ordain journal inspect {data}",
            folder.display()
        ));
    }
    result
}

fn places(folder: &Path) -> (PathBuf, PathBuf) {
    (folder.join("data"), folder.join("acks"))
}

fn show(args: &DemoArgs, folder: &Path) -> Result<ExitCode> {
    let (data, acks) = places(folder);
    // With these caught, an interrupted load ends the demonstration in order.
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, interrupted.clone())
            .or_next("signals cannot be caught", "Report this.")?;
    }
    let is_interrupted = || interrupted.load(Ordering::Relaxed);
    let mut node = OwnNode::start(&data, ANY_PORT)?;
    say(&format!("node      process {} on {}, data in {}", node.pid(), node.address(), data.display()));
    let mut load = Load(start_load(args, &node, &acks)?);
    let load_client = format!("{} connections x {} requests in flight", args.connections, args.window);
    say(&format!(
        "load      process {}, {load_client}, {ACCOUNTS} accounts, {INSTRUMENTS} instruments",
        load.0.id()
    ));
    let mut watcher = node.operator()?;
    watcher.timeout = Duration::from_secs(2);
    let mut book = Client::connect(&watcher)
        .or_next("the book cannot be watched", "The node's log on standard error says why.")?;
    say(&format!(
        "\n{:>6} {:>9} {:>8} {:>8} {:>8} {:>8} {:>5}  {}",
        "second", "orders/s", "p50 us", "p99 us", "p99.9 us", "fills/s", "lost", "best bid / ask of SYM001"
    ));
    let out = load.0.stdout.take().expect("its output is piped");
    let (mut total, mut killed, mut before) = (None, 0, 0.0);
    for line in BufReader::new(out).lines() {
        let line = line.or_next("the load client cannot be heard", "Report this.")?;
        let line: Line =
            serde_json::from_str(&line).or_next("the load client makes no sense", "Report this.")?;
        if line.is_total {
            total = Some(line);
            continue;
        }
        say(&row(&line, line.seconds - before, &top(&mut book)));
        before = line.seconds;
        let due = (killed + 1) as f64 * args.seconds as f64 / (args.kills + 1) as f64;
        if killed < args.kills && line.seconds >= due {
            killed += 1;
            match kill_and_restart(node, &data) {
                Ok(restarted) => node = restarted,
                // A terminal's Ctrl-C reaches the node too.
                Err(_) if is_interrupted() => return check(&acks, &data).map(exit_code),
                Err(error) => return Err(error),
            }
        }
        if is_interrupted() {
            break;
        }
    }
    if is_interrupted() {
        say("  ---- interrupted ----");
        drop(load);
        // It may have heard the interrupt too, and then this cuts its graceful stop short.
        let _ = node.stop();
        return check(&acks, &data).map(exit_code);
    }
    let status = load.0.wait().or_next("the load client's end cannot be awaited", "Report this.")?;
    if !status.success() {
        return Err(CliError::new(
            format!("the load client failed ({status})"),
            "Its message is above; --keep leaves the data to look at.",
        ));
    }
    let costs = Costs::of(&node);
    drop(book);
    let stop = Instant::now();
    node.stop()?;
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
    let is_good = check(&acks, &data)?;
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

fn row(line: &Line, seconds: f64, top: &str) -> String {
    let fills = (line.fills as f64 / seconds.max(1e-9)) as u64;
    let silence = match line.silence_ms {
        0..100 => String::new(),
        silence => format!("  ({silence} ms without an answer)"),
    };
    format!(
        "{:>6.1} {:>9} {:>8.0} {:>8.0} {:>8.0} {fills:>8} {:>5}  {top}{silence}",
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

fn kill_and_restart(node: OwnNode, data: &Path) -> Result<OwnNode> {
    let (address, pid) = (node.address(), node.pid());
    let start = Instant::now();
    node.kill();
    say(&format!("  ---- process {pid} killed with SIGKILL under load; starting the node again ----"));
    let node = OwnNode::start(data, address)?;
    let mut client = Client::connect(&node.operator()?)
        .or_next("the node does not serve after its restart", "Its log on standard error says why.")?;
    let _ = client.query(SCHEMA, BookLevelsQuery::new(SHOWN, 1).as_bytes());
    say(&format!(
        "  ---- process {} has recovered and answers, {} ms after the kill ----",
        node.pid(),
        start.elapsed().as_millis()
    ));
    Ok(node)
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

fn start_load(args: &DemoArgs, node: &OwnNode, acks: &Path) -> Result<Child> {
    let program = std::env::current_exe()
        .or_next("this program's own file is not known", "Start it by its whole path.")?;
    Command::new(program)
        .arg("load")
        .args(["--connect", &node.address().to_string()])
        .arg("--key")
        .arg(node.operator_key())
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

/// Per record of the log, since the node started last.
struct Costs {
    bytes: f64,
    syncs: f64,
}

impl Costs {
    fn of(node: &OwnNode) -> Self {
        let records = node.metric("ordain_log_records_total").max(1.0);
        Self {
            bytes: node.metric("ordain_journal_bytes_total") / records,
            syncs: node.metric("ordain_journal_syncs_total") / records,
        }
    }
}

fn check(acks: &Path, data: &Path) -> Result<bool> {
    let start = Instant::now();
    let (findings, examples) = audit::compare(&audit::read_acks(acks)?, data)?;
    examples.iter().for_each(|example| say(example));
    say(&format!(
        "audit     {} acknowledgements: {} found with the same reply, {} missing, {} differing; \
         {} records replayed in {:.1} s",
        findings.acknowledged,
        findings.found,
        findings.missing,
        findings.differing,
        findings.records,
        start.elapsed().as_secs_f64()
    ));
    Ok(findings.is_good())
}
