//! How many instructions the exchange's engine executes for a request, flow by flow: the same on a busy machine.

use std::path::Path;
use std::process::{Command, ExitCode};

/// `mix` is the bench's own flow.
const FLOWS: &[&str] = &[
    "mix",
    "book",
    "one-price",
    "levels",
    "quotes",
    "best",
    "crossing",
    "mass-cancel-10",
    "mass-cancel-1000",
    "collisions",
    "limits",
    "narrow",
    "wide",
];
/// Whole blocks of the bench.
const REQUESTS: &str = "131072";
/// Only what runs within this counts: not the requests' making, and not what fills the book before.
const COUNTED: &str = "--toggle-collect=flow_run::counted*";

/// `cargo xtask instructions [FLOW...]`.
pub fn run(args: &[String]) -> ExitCode {
    match count(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cannot count: {error}");
            ExitCode::from(2)
        }
    }
}

fn count(args: &[String]) -> Result<(), String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is in the workspace");
    let program = build(root)?;
    println!("{:<18}instructions a request, of {REQUESTS}", "flow");
    let asked: Vec<&str> = args.iter().map(String::as_str).collect();
    for flow in if asked.is_empty() { FLOWS } else { &asked } {
        let output = Command::new("valgrind")
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--collect-atstart=no", COUNTED])
            .args([&program, *flow, REQUESTS])
            .output()
            .map_err(|error| format!("valgrind does not start, is it installed? {error}"))?;
        let said = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            return Err(format!("{flow}: {said}"));
        }
        let requests: u64 = String::from_utf8_lossy(&output.stdout)
            .trim()
            .parse()
            .map_err(|_| format!("{flow}: the program does not say how many requests it ran"))?;
        let collected = said
            .lines()
            .find_map(|line| line.split_once("Collected :")?.1.trim().parse::<u64>().ok())
            .filter(|collected| *collected > 0)
            .ok_or_else(|| format!("{flow}: callgrind collected nothing:\n{said}"))?;
        println!("{flow:<18}{}", collected / requests);
    }
    Ok(())
}

/// The release build of `flow_run`, with its symbols.
fn build(root: &Path) -> Result<String, String> {
    let built = Command::new(env!("CARGO"))
        .args(["build", "--release", "-p", "ordain-exchange-bench", "--example", "flow_run"])
        .args(["--message-format=json-render-diagnostics"])
        .current_dir(root)
        .output()
        .map_err(|error| format!("cargo does not start: {error}"))?;
    if !built.status.success() {
        return Err(String::from_utf8_lossy(&built.stderr).into_owned());
    }
    String::from_utf8_lossy(&built.stdout)
        .lines()
        .filter(|line| line.contains("\"flow_run\""))
        .find_map(|line| {
            let (path, _) = line.split_once("\"executable\":\"")?.1.split_once('"')?;
            Some(path.to_owned())
        })
        .ok_or_else(|| "cargo names no program".to_owned())
}
