//! `ordain bench`: the engine alone, whole round trips, and the floors of the machine beside them.

mod adverse;

use crate::child::{ANY_PORT, ClusterSpec, OwnCluster, OwnNode};
use crate::error::{CliError, OrNext, Result};
use crate::stall::{self, Stall};
use crate::{catchup, cluster, failover, pipeline};
use clap::{Args, ValueEnum};
use ordain_client::ClientConfig;
use ordain_exchange_bench::flow::Settings;
use ordain_exchange_bench::{engine, load};
use ordain_host::floors;
use serde::Serialize;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long the load goes on trying to connect.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// The engine alone, on one thread
    Engine,
    /// All stages and the clients on one thread, journal on disk, no sockets: the cost of each stage
    Pipeline,
    /// Orders over loopback TCP to a node of its own, journal synced, every answer read and checked
    Roundtrip,
    /// A cluster of its own under load, whose leader is killed or silenced again and again: how long nobody is answered
    Failover,
    /// A cluster of its own, one of whose followers was away: how fast it gets what it missed, while the others serve
    CatchUp,
    /// What the disk, the network and a core of this machine can do at best
    Floors,
}

#[derive(Debug, Args)]
pub struct BenchArgs {
    /// What to measure
    #[arg(long, value_enum, default_value = "roundtrip")]
    mode: Mode,
    /// Nodes of roundtrip, failover and catch-up, each a process: 1, 3 or 5 [default: 1, the others 3]
    #[arg(long)]
    nodes: Option<usize>,
    /// Failover: how often the leader is killed
    #[arg(long, default_value_t = 20)]
    runs: usize,
    /// Failover: what happens to the leader
    #[arg(long, value_enum, default_value = "kill")]
    how: failover::How,
    /// Engine: an adversarial flow, with the figures of `book`, or for `wide` of `narrow`, beside it; `all` for each
    #[arg(long, value_name = "NAME", value_parser = adverse::flow)]
    flow: Option<adverse::Which>,
    /// Catch-up: how many events the follower lacks at least
    #[arg(long, default_value_t = 1_000_000)]
    events: u64,
    /// Roundtrip with several nodes: what stalls for a part of each second while it is measured
    #[arg(long, value_enum)]
    stall: Option<Stall>,
    /// How long each stall lasts, milliseconds
    #[arg(long, default_value_t = 500)]
    stall_millis: u64,
    /// Several nodes: a fact of the cluster other than its default, as for `ordain cluster init`; repeatable
    #[arg(long, value_name = "NAME=VALUE", value_parser = cluster::fact)]
    fact: Vec<(String, String)>,
    /// Connections, each with a session [default: 16, failover 2]
    #[arg(long)]
    connections: Option<usize>,
    /// Requests in flight per connection [default: 256, failover 16]
    #[arg(long)]
    window: Option<usize>,
    /// Requests per second in all (open loop, latency from the intended start); none: closed loop, failover 2,000
    #[arg(long)]
    rate: Option<u64>,
    /// Seconds measured
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Seconds before
    #[arg(long, default_value_t = 1.0)]
    warm_up: f64,
    /// Accounts
    #[arg(long, default_value_t = 10_000)]
    accounts: u32,
    /// Instruments
    #[arg(long, default_value_t = 100)]
    instruments: u32,
    /// Folder for the node's data, emptied afterwards; choose the disk to be measured
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// Further arguments for the node, as one word each
    #[arg(long, allow_hyphen_values = true)]
    node_arg: Vec<String>,
    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
}

impl BenchArgs {
    /// Connections, and requests in flight on each.
    fn load(&self) -> (usize, usize) {
        let (connections, window) = if self.mode == Mode::Failover { (2, 16) } else { (16, 256) };
        (self.connections.unwrap_or(connections), self.window.unwrap_or(window))
    }

    fn settings(&self) -> Settings {
        Settings { accounts: self.accounts, instruments: self.instruments, ..Settings::default() }
    }

    fn cluster(&self, count: usize) -> ClusterSpec {
        ClusterSpec {
            count,
            facts: self.fact.clone(),
            arguments: self.node_arg.clone(),
            stalls: self.stall.is_some(),
        }
    }

    /// The folder for the nodes' data.
    fn data(&self) -> PathBuf {
        self.dir.join(format!("ordain-bench-{}", std::process::id()))
    }
}

#[derive(Debug, Serialize)]
struct Machine {
    processor: String,
    cores: usize,
    kernel: String,
    memory_mib: u64,
}

fn machine() -> Machine {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let value = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let memory = value(&read("/proc/meminfo"), "MemTotal").unwrap_or_default();
    Machine {
        processor: value(&read("/proc/cpuinfo"), "model name").unwrap_or_default(),
        cores: ordain_host::runner::cores(),
        kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        memory_mib: memory.split(' ').next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) / 1024,
    }
}

#[derive(Debug, Serialize)]
struct RoundTrip {
    mode: &'static str,
    machine: Machine,
    nodes: usize,
    facts: Vec<String>,
    connections: usize,
    window: usize,
    rate: Option<u64>,
    stall: Option<Stall>,
    stall_millis: Option<u64>,
    stalls: u64,
    accounts: u32,
    instruments: u32,
    node_args: Vec<String>,
    seconds: f64,
    throughput: u64,
    p50_us: f64,
    p99_us: f64,
    p999_us: f64,
    max_us: f64,
    accepted: u64,
    rejected: u64,
    fills: u64,
    lost: u64,
    server_cpu_us_per_request: f64,
    journal_bytes_per_request: f64,
    requests_per_sync: f64,
    resident_mib: u64,
}

pub fn run(args: &BenchArgs) -> Result<ExitCode> {
    match args.mode {
        Mode::Engine => run_engine(args),
        Mode::Pipeline => run_pipeline(args),
        Mode::Roundtrip => run_roundtrip(args),
        Mode::Failover => run_failover(args),
        Mode::CatchUp => run_catch_up(args),
        Mode::Floors => run_floors(args),
    }
}

fn print<T: Serialize>(value: &T) -> Result<()> {
    let text =
        serde_json::to_string(value).or_next("the result cannot be written as JSON", "Report this.")?;
    println!("{text}");
    Ok(())
}

fn run_engine(args: &BenchArgs) -> Result<ExitCode> {
    if let Some(which) = args.flow {
        return adverse::run(which, args.seconds, args.json);
    }
    let requests = (args.seconds * 2_000_000.0) as u64;
    let report = engine::bench_engine(requests.max(1));
    if args.json {
        let [p50, p99, p999, max] = report.latency;
        let value = serde_json::json!({
            "mode": "engine", "machine": machine(), "throughput": report.rate(), "requests": report.requests,
            "orders": report.orders, "refused": report.refused, "trades": report.trades,
            "p50_ns": p50, "p99_ns": p99, "p999_ns": p999, "max_ns": max,
        });
        print(&value)?;
    } else {
        describe(&machine());
        println!("{report}");
    }
    Ok(ExitCode::SUCCESS)
}

fn run_pipeline(args: &BenchArgs) -> Result<ExitCode> {
    let duration = Duration::from_secs_f64(args.seconds);
    let (connections, window) = args.load();
    let report = pipeline::run(&args.dir, connections, window, duration, &args.settings())?;
    let rate = report.requests as f64 / report.elapsed.as_secs_f64();
    let per_request = |time: &Duration| time.as_nanos() as f64 / report.requests.max(1) as f64;
    if args.json {
        let stages: serde_json::Map<String, serde_json::Value> =
            report.stages.iter().map(|(name, time)| ((*name).to_owned(), per_request(time).into())).collect();
        print(&serde_json::json!({
            "mode": "pipeline", "machine": machine(), "connections": connections, "window": window,
            "throughput": rate as u64, "requests": report.requests, "ns_per_request": stages,
        }))?;
    } else {
        describe(&machine());
        println!("{connections} x {window}, one thread: {rate:.0} requests/s");
        for (name, time) in &report.stages {
            println!("  {name:<8} {:7.1} ns per request", per_request(time));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn describe(machine: &Machine) {
    println!(
        "{}, {} cores, Linux {}, {} MiB",
        machine.processor, machine.cores, machine.kernel, machine.memory_mib
    );
}

fn run_floors(args: &BenchArgs) -> Result<ExitCode> {
    let next = "Give a folder on the disk to be measured with --dir.";
    let measured = "the floors cannot be measured";
    let sync = floors::sync(&args.dir, floors::FileKind::Zeroed, 2_000).or_next(measured, next)?;
    let ping = floors::ping(false, 5_000).or_next(measured, next)?;
    let busy = floors::ping(true, 5_000).or_next(measured, next)?;
    let calibration = floors::calibrate();
    let micros = |nanos: u64| nanos as f64 / 1e3;
    if args.json {
        print(&serde_json::json!({
            "mode": "floors", "machine": machine(),
            "sync_p50_us": micros(sync.p50), "sync_p99_us": micros(sync.p99),
            "ping_p50_us": micros(ping.p50), "ping_p99_us": micros(ping.p99),
            "busy_ping_p50_us": micros(busy.p50), "busy_ping_p99_us": micros(busy.p99),
            "calibration_ms": calibration.as_secs_f64() * 1e3,
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    describe(&machine());
    println!(
        "sync  S  p50 {:7.1} us  p99 {:7.1} us   4 KiB write + fdatasync, pre-zeroed file",
        micros(sync.p50),
        micros(sync.p99)
    );
    println!(
        "ping  P  p50 {:7.1} us  p99 {:7.1} us   64 B over loopback TCP, blocking",
        micros(ping.p50),
        micros(ping.p99)
    );
    println!(
        "         p50 {:7.1} us  p99 {:7.1} us   the same, busy polling",
        micros(busy.p50),
        micros(busy.p99)
    );
    println!("core  C  {:.2} ms", calibration.as_secs_f64() * 1e3);
    Ok(ExitCode::SUCCESS)
}

fn run_roundtrip(args: &BenchArgs) -> Result<ExitCode> {
    let (connections, window) = args.load();
    if connections == 0 || window == 0 || args.seconds <= 0.0 || args.rate == Some(0) {
        return Err(CliError::new(
            "there is nothing to measure",
            "Give connections, window, seconds and rate above 0.",
        ));
    }
    if args.stall.is_some() && (args.nodes.unwrap_or(1) == 1 || !(1..=900).contains(&args.stall_millis)) {
        return Err(CliError::new(
            "a stall is of one of several nodes and lasts a part of a second",
            "Give --nodes 3 or 5, and --stall-millis from 1 to 900.",
        ));
    }
    let data = args.data();
    let result = roundtrip(args, &data);
    let _ = std::fs::remove_dir_all(&data);
    let result = result?;
    if args.json {
        print(&result)?;
    } else {
        describe(&result.machine);
        println!(
            "{} nodes, {} x {}{}{}: {} requests/s, p50 {:.0} us, p99 {:.0} us, p99.9 {:.0} us, max {:.0} us",
            result.nodes,
            result.connections,
            result.window,
            result.rate.map_or(String::new(), |rate| format!(", open loop {rate}/s")),
            args.stall.map_or(String::new(), |what| {
                format!(", {} stalls of {} ms ({what:?})", result.stalls, args.stall_millis)
            }),
            result.throughput,
            result.p50_us,
            result.p99_us,
            result.p999_us,
            result.max_us
        );
        println!(
            "{} accepted, {} refused by the exchange, {} fills, {} lost",
            result.accepted, result.rejected, result.fills, result.lost
        );
        println!(
            "servers: {:.2} us of processor time in all, {:.0} bytes of journal per request, {:.1} requests per sync, {} MiB resident in all",
            result.server_cpu_us_per_request,
            result.journal_bytes_per_request,
            result.requests_per_sync,
            result.resident_mib
        );
    }
    Ok(if result.lost == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn roundtrip(args: &BenchArgs, data: &std::path::Path) -> Result<RoundTrip> {
    let nodes = args.nodes.unwrap_or(1);
    let bed = Bed::start(args, data, nodes)?;
    let flow = args.settings();
    let client = ClientConfig { timeout: PATIENCE, ..bed.operator()? };
    let failed = "The node's log on standard error says why.";
    load::open_exchange(&client, &flow, &mut |_, _, _, _| Ok(())).or_next("the load cannot begin", failed)?;
    let options = load::Options {
        client,
        connections: args.load().0,
        window: args.load().1,
        rate: args.rate,
        warm_up: Duration::from_secs_f64(args.warm_up),
        duration: Duration::from_secs_f64(args.seconds),
        flow,
    };
    let before = Server::of(&bed);
    let ends = AtomicBool::new(false);
    let (report, stalls) = std::thread::scope(|scope| {
        let stalling = args.stall.zip(bed.cluster()).map(|(what, cluster)| {
            let lasts = Duration::from_millis(args.stall_millis);
            let ends = &ends;
            scope.spawn(move || stall::keep_stalling(cluster, what, lasts, ends))
        });
        let report = load::run(&options, &mut |_, _, _, _| Ok(()), |_| ControlFlow::Continue(()));
        ends.store(true, Ordering::Relaxed);
        let stalls = stalling.map_or(Ok(0), |stalling| stalling.join().expect("it does not panic"))?;
        Ok((report.or_next("the load broke off", failed)?, stalls))
    })?;
    let after = Server::of(&bed);
    let resident = bed.sum("process_resident_memory_bytes") as u64;
    bed.stop()?;
    let per_request = |now: f64, then: f64| (now - then) / (after.requests - before.requests).max(1.0);
    Ok(RoundTrip {
        mode: "roundtrip",
        machine: machine(),
        nodes,
        facts: args.fact.iter().map(|(name, value)| format!("{name}={value}")).collect(),
        connections: args.load().0,
        window: args.load().1,
        rate: args.rate,
        stall: args.stall,
        stall_millis: args.stall.map(|_| args.stall_millis),
        stalls,
        accounts: args.accounts,
        instruments: args.instruments,
        node_args: args.node_arg.clone(),
        seconds: args.seconds,
        throughput: report.rate(),
        p50_us: report.percentile(50.0),
        p99_us: report.percentile(99.0),
        p999_us: report.percentile(99.9),
        max_us: report.percentile(100.0),
        accepted: report.accepted,
        rejected: report.rejected,
        fills: report.fills,
        lost: report.lost,
        server_cpu_us_per_request: per_request(after.cpu, before.cpu) * 1e6,
        journal_bytes_per_request: per_request(after.bytes, before.bytes),
        requests_per_sync: 1.0 / per_request(after.syncs, before.syncs).max(1e-9),
        resident_mib: resident >> 20,
    })
}

/// What is measured.
enum Bed {
    Node(OwnNode),
    Cluster(OwnCluster),
}

impl Bed {
    fn start(args: &BenchArgs, data: &std::path::Path, nodes: usize) -> Result<Self> {
        if nodes == 1 {
            return OwnNode::start_with(data, ANY_PORT, &args.node_arg).map(Self::Node);
        }
        let cluster = OwnCluster::start(data, args.cluster(nodes))?;
        cluster.leader()?;
        Ok(Self::Cluster(cluster))
    }

    fn operator(&self) -> Result<ClientConfig> {
        match self {
            Self::Node(node) => node.operator(),
            Self::Cluster(cluster) => cluster.operator(),
        }
    }

    const fn cluster(&self) -> Option<&OwnCluster> {
        match self {
            Self::Node(_) => None,
            Self::Cluster(cluster) => Some(cluster),
        }
    }

    fn nodes(&self) -> Vec<&OwnNode> {
        match self {
            Self::Node(node) => vec![node],
            Self::Cluster(cluster) => cluster.nodes().collect(),
        }
    }

    fn sum(&self, name: &str) -> f64 {
        self.nodes().iter().map(|node| node.metric(name)).sum()
    }

    fn stop(self) -> Result<()> {
        match self {
            Self::Node(node) => node.stop(),
            Self::Cluster(cluster) => cluster.stop(),
        }
    }
}

/// The nodes' own numbers: processor time of all, the rest of the leader.
struct Server {
    cpu: f64,
    requests: f64,
    bytes: f64,
    syncs: f64,
}

impl Server {
    fn of(bed: &Bed) -> Self {
        let leader = bed.nodes().into_iter().find(|node| node.metric("ordain_leads") == 1.0);
        let leader = |name| leader.map_or(0.0, |leader| leader.metric(name));
        Self {
            cpu: bed.sum("process_cpu_seconds_total"),
            requests: leader("ordain_log_records_total"),
            bytes: leader("ordain_journal_bytes_total"),
            syncs: leader("ordain_journal_syncs_total"),
        }
    }
}

fn run_catch_up(args: &BenchArgs) -> Result<ExitCode> {
    let (connections, window) = args.load();
    let nodes = args.nodes.unwrap_or(3);
    let options = catchup::Options {
        spec: args.cluster(nodes),
        events: args.events,
        connections,
        window,
        rate: args.rate.unwrap_or(2_000),
        flow: args.settings(),
    };
    if nodes == 1 || connections == 0 || window == 0 {
        return Err(CliError::new(
            "nobody can catch up",
            "Give 3 or 5 nodes, and connections and window above 0.",
        ));
    }
    let data = args.data();
    let result = catchup::measure(&options, &data);
    let _ = std::fs::remove_dir_all(&data);
    let result = result?;
    if args.json {
        let settings = serde_json::json!({
            "mode": "catch-up", "machine": machine(), "nodes": nodes, "connections": connections,
            "window": window, "rate": options.rate,
        });
        print_with(settings, &result)?;
    } else {
        describe(&machine());
        println!("{nodes} nodes, load of {}/s: {result}", options.rate);
    }
    Ok(if result.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prints one object made of both.
fn print_with<T: Serialize>(mut settings: serde_json::Value, result: &T) -> Result<()> {
    let rest =
        serde_json::to_value(result).or_next("the result cannot be written as JSON", "Report this.")?;
    if let (Some(settings), serde_json::Value::Object(rest)) = (settings.as_object_mut(), rest) {
        settings.extend(rest);
    }
    print(&settings)
}

fn run_failover(args: &BenchArgs) -> Result<ExitCode> {
    let (connections, window) = args.load();
    let options = failover::Options {
        how: args.how,
        nodes: args.nodes.unwrap_or(3),
        runs: args.runs,
        facts: args.fact.clone(),
        node_args: args.node_arg.clone(),
        connections,
        window,
        rate: args.rate.unwrap_or(2_000),
        flow: args.settings(),
    };
    if options.nodes == 1 || options.runs == 0 || connections == 0 || window == 0 {
        return Err(CliError::new(
            "there is nothing to measure",
            "Give 3 or 5 nodes, and runs, connections and window above 0.",
        ));
    }
    let data = args.data();
    let result = failover::measure(&options, &data);
    let _ = std::fs::remove_dir_all(&data);
    let result = result?;
    if args.json {
        let settings = serde_json::json!({
            "mode": "failover", "machine": machine(), "nodes": options.nodes, "runs": options.runs,
            "connections": connections, "window": window, "rate": options.rate,
        });
        print_with(settings, &result)?;
    } else {
        describe(&machine());
        println!("{} nodes, load of {}/s: {result}", options.nodes, options.rate);
    }
    Ok(if result.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
