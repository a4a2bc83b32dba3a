//! `ordain chaos`, which `cargo xtask chaos` builds and runs: real processes, real files and sockets, and faults from a
//! seed, while clients check what they are told and an auditor reads the journals.
//!
//! The simulator finds more and repeats exactly; this is about what it cannot see: the kernel, the processes, the
//! sockets, the disk. A seed repeats the plan, not the run.

mod bed;
mod clients;
mod plan;
mod proxy;
mod steer;
mod world;

use crate::error::{CliError, OrNext, Result};
use crate::{audit, cluster, journal};
use bed::{Bed, Permitted};
use clap::Args;
use clients::{History, PATIENCE};
use plan::{Fault, Plan, Planned, Round};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use steer::Operator;

/// Clients that send orders, and clients that count what they bought.
const ORDERS: usize = 2;
const LOTS: usize = 2;
/// Between two looks at the processes.
const LOOK: Duration = Duration::from_millis(20);
/// Between two audits of journals that are being written.
const AUDIT: Duration = Duration::from_secs(5);
/// All is left alone for so long before each round.
const CALM: Duration = Duration::from_millis(500);
/// What cannot be waited for for ever.
const NEXT: &str = "The nodes' logs say why.";

/// Kills, pauses, cuts off, stops and fills nodes of a cluster of its own, while clients and an auditor check that
/// nothing acknowledged is lost, doubled or changed.
#[derive(Debug, Args)]
pub struct ChaosArgs {
    /// How long, in minutes
    #[arg(long, default_value_t = 3.0)]
    minutes: f64,
    /// Where the plan comes from
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Nodes: 3 or 5
    #[arg(long, default_value_t = 3)]
    nodes: usize,
    /// A fact of the cluster other than its default; repeatable
    #[arg(long, value_name = "NAME=VALUE", value_parser = cluster::fact)]
    fact: Vec<(String, String)>,
    /// Further arguments for the nodes, as one word each
    #[arg(long, allow_hyphen_values = true)]
    node_arg: Vec<String>,
    /// Folder for the data, kept if something is wrong
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// Print so many rounds of the plan and do nothing
    #[arg(long, value_name = "ROUNDS")]
    plan: Option<usize>,
}

pub fn run(args: &ChaosArgs) -> Result<ExitCode> {
    if ![3, 5].contains(&args.nodes) {
        return Err(CliError::new(format!("{} nodes are no cluster to disturb", args.nodes), "Give 3 or 5."));
    }
    if let Some(rounds) = args.plan {
        let means = plan::Means { namespaces: true, disks: true };
        Plan::new(args.seed, args.nodes, means).take(rounds).for_each(|round| println!("{round}"));
        return Ok(ExitCode::SUCCESS);
    }
    let dir = args.dir.join(format!("ordain-chaos-{}", std::process::id()));
    std::fs::create_dir_all(&dir).or_next("the folder cannot be made", "Give another with --dir.")?;
    let result = disturb(args, &dir);
    let repeat =
        format!("cargo xtask chaos --seed {} --nodes {} --minutes {}", args.seed, args.nodes, args.minutes);
    match &result {
        Ok(wrongs) if wrongs.is_empty() => {
            let _ = std::fs::remove_dir_all(&dir);
            println!("good");
            return Ok(ExitCode::SUCCESS);
        }
        Ok(wrongs) => {
            println!("\n{} things are wrong:", wrongs.len());
            wrongs.iter().for_each(|wrong| println!("  {wrong}"));
        }
        Err(error) => println!("\n{error}"),
    }
    println!(
        "NOT GOOD. Journals, logs and acknowledgements are kept in {}\nthe same plan: {repeat}",
        dir.display()
    );
    Ok(ExitCode::FAILURE)
}

/// What was done and seen.
#[derive(Default)]
struct Tally {
    rounds: u64,
    faults: BTreeMap<&'static str, u64>,
    audits: u64,
    /// Full disks that left their nodes no room for a segment.
    no_room: u64,
    /// Transfers that the leader refused.
    refused: u64,
    /// From the end of a round's faults until every client was answered, milliseconds.
    recoveries: Vec<u64>,
}

/// Everything, from the first start to the last comparison. What is wrong, if anything is.
fn disturb(args: &ChaosArgs, dir: &Path) -> Result<Vec<String>> {
    let mut facts = vec![("segment-size".to_owned(), "512KiB".to_owned())];
    facts.extend(args.fact.iter().cloned());
    let (bed, Permitted { means, skipped }) = Bed::start(dir, args.nodes, &facts, &args.node_arg)?;
    println!("{} nodes in {}; seed {}", args.nodes, dir.display(), args.seed);
    skipped.iter().for_each(|skipped| println!("SKIPPED: {skipped}"));
    let history = History::new(ORDERS + LOTS, &dir.join("acks"))?;
    let result = with_clients(args, &bed, &history, means, dir);
    if result.as_ref().map_or(true, |wrongs: &Vec<String>| !wrongs.is_empty()) {
        bed.keep(dir);
    }
    result
}

fn with_clients(
    args: &ChaosArgs,
    bed: &Bed,
    history: &History,
    means: plan::Means,
    dir: &Path,
) -> Result<Vec<String>> {
    until_whole(bed)?;
    let config = clients::config(&bed.operator()?);
    let flow = clients::flow_settings(args.seed, 0);
    ordain_exchange_bench::load::open_exchange(&config, &flow, &mut |_, _, _, _| Ok(()))
        .or_next("the exchange cannot be opened", NEXT)?;
    let mut tally = Tally::default();
    let (operator, jobs) = steer::Operator::new();
    std::thread::scope(|scope| {
        // A client that breaks off is one of the things that must not be.
        let note = |result: Result<()>| result.unwrap_or_else(|error| history.wrong(error.to_string()));
        for number in 0..ORDERS {
            let config = &config;
            scope.spawn(move || note(clients::send_orders(number, config, history, args.seed)));
        }
        for number in ORDERS..ORDERS + LOTS {
            let config = &config;
            scope.spawn(move || note(clients::buy_lots(number, config, history)));
        }
        let auditor = scope.spawn(|| audit_on(bed, history));
        let (operator, config) = (&operator, &config);
        scope.spawn(move || note(operator.work(&jobs, bed, config, || history.ends())));
        let rounds = go_round(args, bed, operator, history, means, &mut tally);
        history.end();
        tally.audits = auditor.join().expect("the auditor does not panic");
        rounds
    })?;
    println!("the clients have all their answers; the nodes are stopped");
    settle(bed)?;
    bed.stop()?;
    history.flush()?;
    finish(bed, history, &tally, &dir.join("acks"))
}

/// Disturbs and heals until the time is over or something is wrong.
fn go_round(
    args: &ChaosArgs,
    bed: &Bed,
    operator: &Operator,
    history: &History,
    means: plan::Means,
    tally: &mut Tally,
) -> Result<()> {
    let begin = Instant::now();
    let until = begin + Duration::from_secs_f64(args.minutes * 60.0);
    until_answered(bed, history)?;
    for round in Plan::new(args.seed, args.nodes, means) {
        if Instant::now() >= until || !history.wrongs().is_empty() {
            break;
        }
        wait(bed, Instant::now() + CALM)?;
        println!("[{:5.1} s] {round}", begin.elapsed().as_secs_f64());
        disturb_once(bed, operator, &round, tally)?;
        until_steered(bed, operator, history)?;
        until_whole(bed)?;
        let recovery = until_answered(bed, history)?;
        tally.recoveries.push(recovery.as_millis() as u64);
        tally.rounds += 1;
        println!(
            "          answered {} ms after the last end; longest silence {} ms; {} acknowledgements, {} reads",
            recovery.as_millis(),
            history.silence(),
            history.counts().iter().sum::<u64>(),
            history.reads()
        );
    }
    tally.refused = operator.refused();
    Ok(())
}

/// One round's faults, each begun and ended in its time.
fn disturb_once(bed: &Bed, operator: &Operator, round: &Round, tally: &mut Tally) -> Result<()> {
    let begin = Instant::now();
    let mut open: Vec<(Planned, Option<usize>)> = Vec::new();
    let mut todo = round.faults.clone();
    let millis = || begin.elapsed().as_millis() as u64;
    while !todo.is_empty() || !open.is_empty() {
        let now = millis();
        if todo.first().is_some_and(|planned| planned.begins <= now) {
            let planned = todo.remove(0);
            let met = bed.begin(planned.fault)?;
            operator.begin(planned.fault, met);
            let whom = met.map_or("everybody".to_owned(), |node| format!("node {node}"));
            println!("          {:.2} s  {}: {whom}", millis() as f64 / 1e3, planned.fault);
            *tally.faults.entry(planned.fault.name()).or_default() += 1;
            open.push((planned, met));
        } else if let Some(at) = open.iter().position(|(planned, _)| planned.ends <= now) {
            let (planned, met) = open.remove(at);
            if let (Fault::FillDisk(_), Some(node)) = (planned.fault, met) {
                tally.no_room += u64::from(bed.has_no_room(node));
            }
            bed.end(planned.fault, met)?;
            operator.end(planned.fault, bed.policy);
        } else {
            wait(bed, Instant::now() + LOOK)?;
        }
    }
    Ok(())
}

/// Waits, with an eye on the processes.
fn wait(bed: &Bed, until: Instant) -> Result<()> {
    loop {
        bed.look()?;
        let rest = until.saturating_duration_since(Instant::now());
        if rest.is_zero() {
            return Ok(());
        }
        std::thread::sleep(rest.min(LOOK));
    }
}

/// Waits until the operator has done what was asked for.
fn until_steered(bed: &Bed, operator: &Operator, history: &History) -> Result<()> {
    // What it waits for is bounded by itself: then something is wrong.
    while !operator.is_idle() && history.wrongs().is_empty() {
        wait(bed, Instant::now() + LOOK)?;
    }
    Ok(())
}

/// Waits until every process runs.
fn until_whole(bed: &Bed) -> Result<()> {
    let until = Instant::now() + PATIENCE;
    while !bed.is_whole() {
        if Instant::now() > until {
            return Err(CliError::new("not all nodes run, a minute after all was healed", NEXT));
        }
        wait(bed, Instant::now() + LOOK)?;
    }
    Ok(())
}

/// Waits until every client has one more acknowledgement, and says how long that took.
fn until_answered(bed: &Bed, history: &History) -> Result<Duration> {
    let (begin, before) = (Instant::now(), history.counts());
    loop {
        let now = history.counts();
        if before.iter().zip(&now).all(|(before, now)| now > before) || !history.wrongs().is_empty() {
            return Ok(begin.elapsed());
        }
        if begin.elapsed() > PATIENCE {
            let why = format!("a client is not answered, a minute after all was healed: {before:?}, {now:?}");
            return Err(CliError::new(why, NEXT));
        }
        wait(bed, Instant::now() + LOOK)?;
    }
}

/// Compares the nodes' journals, as they are, with what the clients know, one node after the other, until the end.
fn audit_on(bed: &Bed, history: &History) -> u64 {
    let (mut audits, mut last) = (0, Instant::now());
    for (node, data) in bed.data().iter().enumerate().cycle() {
        while last.elapsed() < AUDIT {
            if history.ends() {
                return audits;
            }
            std::thread::sleep(LOOK);
        }
        last = Instant::now();
        let _held = bed.no_audit();
        let Some(committed) = bed.committed(node) else { continue };
        match audit::compare_until(&history.acks(), data, Some(committed)) {
            Ok((findings, examples)) => {
                audits += 1;
                examples.into_iter().for_each(|example| history.wrong(format!("node {node}: {example}")));
                if findings.missing > 0 {
                    history.wrong(format!(
                        "node {node} lacks {} of {} acknowledgements up to batch {committed}",
                        findings.missing,
                        findings.acknowledged - findings.later
                    ));
                }
            }
            Err(error) => history.wrong(format!("node {node} cannot be audited: {error}")),
        }
    }
    audits
}

/// Waits until every node has all that the leader has.
fn settle(bed: &Bed) -> Result<()> {
    let until = Instant::now() + PATIENCE;
    loop {
        let ends: Vec<_> = (0..bed.data().len())
            .map(|node| {
                let metrics = bed.metrics(node)?;
                let number = |name| metrics.get(name).map(|number| number as u64);
                Some((number("ordain_last_batch")?, number("ordain_committed_batch")?))
            })
            .collect();
        let (last, committed) = ends[0].unwrap_or_default();
        if last == committed && ends.iter().all(|end| *end == Some((last, committed))) {
            return Ok(());
        }
        if Instant::now() > until {
            return Err(CliError::new(format!("the nodes do not come to the same end: {ends:?}"), NEXT));
        }
        wait(bed, Instant::now() + 5 * LOOK)?;
    }
}

/// What the journals say when all is over.
fn finish(bed: &Bed, history: &History, tally: &Tally, acks: &Path) -> Result<Vec<String>> {
    let mut wrongs = history.wrongs();
    let acks = audit::read_acks(acks)?;
    let dirs = bed.data();
    for (node, dir) in dirs.iter().enumerate() {
        let (findings, examples) = audit::compare(&acks, dir)?;
        println!(
            "audit     node {node}: {} acknowledgements: {} found with the same reply, {} missing, {} differing; {} records",
            findings.acknowledged, findings.found, findings.missing, findings.differing, findings.records
        );
        wrongs.extend(examples.into_iter().map(|example| format!("node {node}: {example}")));
        if !findings.is_good() {
            wrongs.push(format!(
                "node {node} lacks {} acknowledgements, {} differ",
                findings.missing, findings.differing
            ));
        }
    }
    let comparison = journal::compare(&dirs)?;
    match comparison.difference {
        None => println!("journals  the same up to batch {}", comparison.shortest.index),
        Some((node, segment, offset)) => {
            wrongs
                .push(format!("the journal of node {node} differs in segment {segment} at offset {offset}"));
        }
    }
    for (node, (_, whole)) in comparison.ends.iter().enumerate() {
        if !whole {
            wrongs.push(format!("the journal of node {node} is not whole"));
        }
    }
    let faults: Vec<_> = tally.faults.iter().map(|(name, count)| format!("{name} {count}")).collect();
    let mut sorted = tally.recoveries.clone();
    sorted.sort_unstable();
    let median = sorted.get(sorted.len() / 2).copied().unwrap_or(0);
    println!(
        "faults    {} in {} rounds: {}; no room for a segment {}, transfers refused {}",
        tally.faults.values().sum::<u64>(),
        tally.rounds,
        faults.join(", "),
        tally.no_room,
        tally.refused
    );
    println!(
        "checked   {} acknowledgements, {} reads, {} audits of running nodes; answered again {median} ms after a round (median), {} ms (longest)",
        acks.len(),
        history.reads(),
        tally.audits,
        sorted.last().copied().unwrap_or(0)
    );
    Ok(wrongs)
}
