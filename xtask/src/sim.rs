//! `cargo xtask sim`: many runs, what they reached, and how to repeat the one that failed.

use ordain_exchange_sim::ExchangeWorkload;
use ordain_sim::run::{Options, Outcome, run as simulate_run};
use ordain_sim::workload::counter::Counter;
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

const HELP: &str = "\
cargo xtask sim [OPTIONS]

  --seed S     first seed (default 1)
  --runs N     runs, with seeds S, S+1, ... (default 100)
  --nodes N    nodes: 1, 3 or 5 (default 3)
  --app NAME   application: counter or exchange (default counter)
  --jobs N     runs at the same time (default: one a processor)
  --go-on      do not stop at the first failure
  --trace      print every event
  --planted    plant mistakes one by one; each must be caught
  --only NAME  of these, one
";

/// Runs after which everything in [`wanted`] must have been reached.
const COVERAGE_RUNS: u64 = 100;

/// What a series of runs must reach.
fn wanted(nodes: usize, app: &str) -> impl Iterator<Item = &'static str> {
    const ALWAYS: [&str; 35] = [
        "clock drifts",
        "clock steps",
        "client goes silent",
        "dirty start",
        "duplicate answered alike",
        "duplicate recognised",
        "event of several steps",
        "fault: connection half open",
        "fault: disk stalls",
        "fault: create failed",
        "fault: no space",
        "fault: sync failed",
        "fault: write failed",
        "graceful stop",
        "node silent",
        "outcome unknown",
        "query answered",
        "refused: busy",
        "refused: conflict",
        "refused: expected",
        "refused: fenced",
        "refused: forgotten",
        "refused: malformed",
        "refused: no room",
        "refused: not attached",
        "refused: too many sessions",
        "refused: too old",
        "refused: wrong key",
        "ring wrapped",
        "rogue writes where it is fenced",
        "session abandoned",
        "segment wrapped",
        "session expired",
        "session taken over",
        "tick sealed",
    ];
    const LONE: [&str; 2] = ["damage reported", "torn tail cut"];
    const CLUSTER: [&str; 43] = [
        "a stall that the rule asks for",
        "all clocks step",
        "batch damaged on its way",
        "cluster trimmed",
        "damaged frame refused",
        "dirty node rejoined",
        "disk of a follower lost",
        "disk of a leader lost",
        "diverged node does not start",
        "divergence named",
        "election won by weak votes",
        "election won",
        "fault: power loss everywhere",
        "fault: scheme",
        "frame altered on its way",
        "frame cut on its way",
        "frame lengthened on its way",
        "learner added",
        "lost disk made up for",
        "machine suspended",
        "only a core is healed",
        "open segment damaged",
        "open segment mended",
        "partition: a bridge",
        "partition: a pair",
        "partition: flapping",
        "partition: one alone",
        "partition: one alone, one way",
        "peer buffer full",
        "policy strengthened",
        "policy weakened",
        "removed node stops",
        "segments of two nodes rotten",
        "snapshot offered",
        "snapshot part refused",
        "snapshot took the log's place",
        "steered: transfer",
        "synced batch robbed",
        "uncommitted suffix cut",
        "voter added",
        "voter removed",
        "W grew",
        "W shrank",
    ];
    const FIVE: [&str; 30] = [
        "a stall that the rule asks for",
        "all clocks step",
        "batch damaged on its way",
        "damaged frame refused",
        "dirty node rejoined",
        "disk of a follower lost",
        "disk of a leader lost",
        "election won by weak votes",
        "election won",
        "fault: power loss everywhere",
        "fault: scheme",
        "frame altered on its way",
        "frame cut on its way",
        "frame lengthened on its way",
        "lost disk made up for",
        "machine suspended",
        "only a core is healed",
        "partition: a bridge",
        "partition: a pair",
        "partition: flapping",
        "partition: minority and majority",
        "partition: one alone",
        "partition: one alone, one way",
        "peer buffer full",
        "policy strengthened",
        "policy weakened",
        "steered: transfer",
        "uncommitted suffix cut",
        "W grew",
        "W shrank",
    ];
    let more: &[&str] = match nodes {
        1 => &LONE,
        3 => &CLUSTER,
        _ => &FIVE,
    };
    let own: &[&str] = if app == "exchange" { ordain_exchange_sim::WANTED } else { &["timer fired"] };
    ALWAYS.into_iter().chain(more.iter().copied()).chain(own.iter().copied())
}

struct Args {
    seed: u64,
    runs: u64,
    nodes: usize,
    app: String,
    jobs: usize,
    go_on: bool,
    trace: bool,
    planted: bool,
    only: Option<String>,
}

fn parse(args: &[String]) -> Result<Args, String> {
    let mut parsed = Args {
        seed: 1,
        runs: 100,
        nodes: 3,
        app: "counter".to_owned(),
        jobs: std::thread::available_parallelism().map_or(1, usize::from),
        go_on: false,
        trace: false,
        planted: false,
        only: None,
    };
    let mut args = args.iter();
    while let Some(flag) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{flag} needs a value"));
        let number = |text: &String| text.parse::<u64>().map_err(|error| format!("{flag} {text}: {error}"));
        match flag.as_str() {
            "--seed" => parsed.seed = number(value()?)?,
            "--runs" => parsed.runs = number(value()?)?,
            "--nodes" => parsed.nodes = number(value()?)? as usize,
            "--app" => parsed.app.clone_from(value()?),
            "--jobs" => parsed.jobs = (number(value()?)? as usize).max(1),
            "--go-on" => parsed.go_on = true,
            "--trace" => parsed.trace = true,
            "--planted" => parsed.planted = true,
            "--only" => parsed.only = Some(value()?.clone()),
            other => return Err(format!("unknown option {other}")),
        }
    }
    if !matches!(parsed.nodes, 1 | 3 | 5) {
        return Err("--nodes is 1, 3 or 5".to_owned());
    }
    Ok(parsed)
}

pub fn run_command(args: &[String]) -> Result<bool, String> {
    let args = parse(args)?;
    if args.planted {
        return planted(&args);
    }
    // A stage that panics is a finding, reported with its seed; the default hook would only repeat it.
    if !args.trace {
        std::panic::set_hook(Box::new(|_| {}));
    }
    let simulate = match args.app.as_str() {
        "counter" => |options| simulate_run::<Counter>(options, |_| {}),
        "exchange" => |options| simulate_run::<ExchangeWorkload>(options, |_| {}),
        other => return Err(format!("no application `{other}`")),
    };
    let began = Instant::now();
    let outcomes = series(&args, simulate);
    let mut marks = BTreeMap::new();
    for outcome in &outcomes {
        for (mark, count) in &outcome.marks {
            let (runs, sum) = marks.entry(*mark).or_insert((0_u64, 0_u64));
            *runs += 1;
            *sum += count;
        }
    }
    summary(&outcomes, &marks, began.elapsed().as_secs_f64());
    // A short series cannot reach everything; a long one that does not is no evidence.
    let missing: Vec<_> = wanted(args.nodes, &args.app).filter(|mark| !marks.contains_key(mark)).collect();
    if args.runs >= COVERAGE_RUNS && !missing.is_empty() {
        println!("NOT REACHED: {missing:?}");
        return Ok(false);
    }
    Ok(outcomes.iter().all(|outcome| outcome.failure.is_none()))
}

/// Simulates all seeds, several at a time, in order up to the first failure at least.
fn series(args: &Args, simulate: impl Fn(Options) -> Outcome + Sync) -> Vec<Outcome> {
    let began = Instant::now();
    let next = AtomicU64::new(args.seed);
    let outcomes = Mutex::new(BTreeMap::new());
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= args.seed + args.runs {
                return;
            }
            let outcome = simulate(Options { seed, nodes: args.nodes, print: args.trace });
            if report(&outcome, args) && !args.go_on {
                next.fetch_max(args.seed + args.runs, Ordering::Relaxed);
            }
            let mut outcomes = outcomes.lock().unwrap_or_else(PoisonError::into_inner);
            outcomes.insert(seed, outcome);
            if outcomes.len().is_multiple_of(100) {
                println!("{} runs, {:.0} s", outcomes.len(), began.elapsed().as_secs_f64());
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..args.jobs.min(args.runs as usize) {
            scope.spawn(work);
        }
    });
    outcomes.into_inner().unwrap_or_else(PoisonError::into_inner).into_values().collect()
}

/// Processor time of this process, seconds; not known everywhere.
fn processor_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    let ticks: Vec<f64> =
        fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse().ok()).collect();
    // The kernel reports in hundredths whatever its own clock does.
    (ticks.len() == 2).then(|| ticks.iter().sum::<f64>() / 100.0)
}

/// Runs each planted mistake until a checker finds it, on all cores. Fails if nobody does within the mistake's
/// budget of seeds, if the checker is none of those whose property the mistake breaks, or if the same run
/// without the mistake fails too.
#[cfg(feature = "planted")]
fn planted(args: &Args) -> Result<bool, String> {
    use ordain_sim::planted::ALL;
    use std::sync::atomic::AtomicUsize;
    std::panic::set_hook(Box::new(|_| {}));
    let (first, only) = (args.seed, args.only.as_deref());
    let wanted: Vec<_> =
        ALL.iter().filter(|planted| only.is_none_or(|name| planted.name() == name)).collect();
    if wanted.is_empty() {
        return Err("no such mistake".to_owned());
    }
    println!("{:<20} {:>5} {:>6} {:>6}  {:<8} caught by", "mistake", "nodes", "seed", "seeds", "time");
    let began = Instant::now();
    let (next, missed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let work = || {
        while let Some(planted) = wanted.get(next.fetch_add(1, Ordering::Relaxed)) {
            let began = Instant::now();
            let found = (first..first + planted.budget).find_map(|seed| {
                planted.run::<Counter>(seed, args.trace).failure.map(|failure| (seed, failure))
            });
            let (seed, seeds, verdict, caught) = match &found {
                None => ("-".to_owned(), planted.budget, "NOBODY".to_owned(), false),
                Some((seed, failure)) => {
                    let control = planted.control::<Counter>(*seed).failure;
                    let legitimate = planted.checkers.contains(&failure.checker);
                    let verdict = match control {
                        Some(failure) => format!("{}, BUT WITHOUT THE MISTAKE TOO", failure.checker),
                        None if !legitimate => format!("THE WRONG CHECKER: {failure}"),
                        None => failure.checker.to_owned(),
                    };
                    (seed.to_string(), seed - first + 1, verdict.clone(), verdict == failure.checker)
                }
            };
            missed.fetch_add(usize::from(!caught), Ordering::Relaxed);
            let seconds = format!("{:.1} s", began.elapsed().as_secs_f64());
            println!(
                "{:<20} {:>5} {seed:>6} {seeds:>6}  {seconds:<8} {verdict}",
                planted.name(),
                planted.nodes
            );
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    let missed = missed.into_inner();
    println!("{} of {} caught, {:.0} s", wanted.len() - missed, wanted.len(), began.elapsed().as_secs_f64());
    Ok(missed == 0)
}

/// Builds anew with the mistakes compiled in.
#[cfg(not(feature = "planted"))]
fn planted(args: &Args) -> Result<bool, String> {
    std::process::Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["run", "--quiet", "--profile", "tools", "--package", "xtask", "--features", "planted", "--"])
        .args(["sim", "--planted", "--seed", &args.seed.to_string()])
        .args(args.only.iter().flat_map(|name| ["--only", name]))
        .args(args.trace.then_some("--trace"))
        .status()
        .map(|status| status.success())
        .map_err(|error| format!("cargo does not start: {error}"))
}

fn report(outcome: &Outcome, args: &Args) -> bool {
    let Some(failure) = &outcome.failure else { return false };
    println!("seed {} FAILED {failure}", outcome.seed);
    println!(
        "repeat: cargo xtask sim --seed {} --runs 1 --nodes {} --app {} --trace",
        outcome.seed, args.nodes, args.app
    );
    true
}

fn summary(outcomes: &[Outcome], marks: &BTreeMap<&'static str, (u64, u64)>, seconds: f64) {
    let sum = |of: fn(&Outcome) -> u64| outcomes.iter().map(of).sum::<u64>();
    println!(
        "{} runs in {seconds:.1} s ({:.0} ms each): {} operations, {} acknowledged, {} faults, {} batches, {} steps, \
         {:.0} s simulated",
        outcomes.len(),
        seconds * 1e3 / outcomes.len().max(1) as f64,
        sum(|o| o.totals.operations),
        sum(|o| o.totals.acknowledged),
        sum(|o| o.totals.faults),
        sum(|o| o.totals.batches),
        sum(|o| o.totals.steps),
        sum(|o| o.totals.nanos) as f64 / 1e9,
    );
    if let Some(busy) = processor_seconds() {
        println!(
            "{busy:.0} s of processor time, {:.0} committed batches in each",
            sum(|o| o.totals.batches) as f64 / busy.max(0.01)
        );
    }
    let mut outages: Vec<_> = outcomes.iter().map(|o| (o.totals.outage_timeouts, o.totals.outage)).collect();
    outages.sort_unstable();
    if let (Some(middle), Some(last)) = (outages.get(outages.len() / 2), outages.last()) {
        println!(
            "healed, a cluster commits again after {} election time-outs (median), {} at most ({:.0} ms)",
            middle.0,
            last.0,
            last.1 as f64 / 1e6
        );
    }
    let fewest = |of: fn(&Outcome) -> u64| outcomes.iter().map(of).min().unwrap_or(0);
    println!(
        "fewest in a run: {} operations, {} faults",
        fewest(|o| o.totals.operations),
        fewest(|o| o.totals.faults)
    );
    println!("{:<40} {:>8} {:>12}", "reached", "runs", "times");
    for (mark, (runs, times)) in marks {
        println!("{mark:<40} {runs:>8} {times:>12}");
    }
}

pub fn run(args: &[String]) -> ExitCode {
    if args.iter().any(|arg| arg == "--help") {
        print!("{HELP}");
        return ExitCode::SUCCESS;
    }
    match run_command(args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(what) => {
            eprintln!("{what}\n\n{HELP}");
            ExitCode::from(2)
        }
    }
}
