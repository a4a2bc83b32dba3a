//! `ordain bench --mode engine --flow NAME`: flows that ask of the engine what costs most, and beside each the flow that
//! it is to be compared with.

use super::{describe, machine, print};
use crate::error::Result;
use ordain_exchange_bench::adverse::Adverse;
use ordain_exchange_bench::engine::Report;
use std::process::ExitCode;

/// A flow, or all.
pub type Which = Option<Adverse>;

/// Requests measured in a second, of a flow as fast as ordinary ones.
const PER_SECOND: f64 = 500_000.0;

/// Reads the name of a flow.
pub fn flow(text: &str) -> std::result::Result<Which, String> {
    let found = Adverse::ALL.into_iter().find(|flow| flow.name() == text);
    if found.is_some() || text == "all" {
        return Ok(found);
    }
    let names: Vec<&str> = Adverse::ALL.into_iter().map(Adverse::name).collect();
    Err(format!("no such flow: all, {}", names.join(", ")))
}

const fn ordinary(flow: Adverse) -> Adverse {
    match flow {
        Adverse::Wide | Adverse::Narrow => Adverse::Narrow,
        _ => Adverse::Book,
    }
}

fn measure(flow: Adverse, seconds: f64) -> Report {
    let requests = ((seconds * PER_SECOND) as u64).max(1);
    let mut bench = flow.bench(1);
    bench.warm_up(requests / 4);
    bench.measure(requests)
}

pub fn run(which: Which, seconds: f64, json: bool) -> Result<ExitCode> {
    let flows = which.map_or_else(|| Adverse::ALL.to_vec(), |flow| vec![flow]);
    let mut known: Vec<(Adverse, Report)> = Vec::new();
    for flow in flows.iter().flat_map(|flow| [ordinary(*flow), *flow]) {
        if known.iter().all(|(known, _)| *known != flow) {
            known.push((flow, measure(flow, seconds)));
        }
    }
    if json {
        let flows: serde_json::Map<_, _> =
            known.iter().map(|(flow, report)| (flow.name().to_owned(), as_json(report))).collect();
        print(&serde_json::json!({ "mode": "engine", "machine": machine(), "flows": flows }))?;
        return Ok(ExitCode::SUCCESS);
    }
    describe(&machine());
    for (flow, report) in &known {
        let base = known.iter().find(|(found, _)| *found == ordinary(*flow)).expect("it was measured first");
        let times = base.1.rate() as f64 / report.rate().max(1) as f64;
        println!("{}: {times:.2} x the time of {}; {report}", flow.name(), base.0.name());
        for times in &report.operations {
            let [p50, p99, p999, max] = times.latency;
            println!(
                "  {:<11} {:>9}  p50 {p50:>7} ns  p99 {p99:>7} ns  p99.9 {p999:>7} ns  max {max:>9} ns",
                times.operation.name(),
                times.count
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn as_json(report: &Report) -> serde_json::Value {
    let latency = |[p50, p99, p999, max]: [u32; 4]| serde_json::json!({ "p50_ns": p50, "p99_ns": p99, "p999_ns": p999, "max_ns": max });
    let operations: serde_json::Map<_, _> = report
        .operations
        .iter()
        .map(|times| {
            let mut value = latency(times.latency);
            value["count"] = times.count.into();
            (times.operation.name().to_owned(), value)
        })
        .collect();
    let mut value = latency(report.latency);
    value["throughput"] = report.rate().into();
    value["requests"] = report.requests.into();
    value["refused"] = report.refused.into();
    value["trades"] = report.trades.into();
    value["live"] = report.live.into();
    value["operations"] = operations.into();
    value
}
