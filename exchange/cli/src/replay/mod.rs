//! `ordain replay`: real order flow through a node, compared row by row with what the market showed.

pub mod lobster;
mod venue;

#[cfg(test)]
mod tests;

use crate::child::{self, OwnNode};
use crate::error::{CliError, OrNext, Result};
use clap::Args;
use lobster::{Outcome, ParseError};
use ordain_client::ClientConfig;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use venue::NodeVenue;

/// Replays a LOBSTER message file through a node and compares the node's book with the book file after every
/// message: each price and size that the file vouches for must be equal, and each execution must fill the order
/// that the file names.
///
/// A level that comes into the file's window from below it is not vouched for by the row before. Where it
/// differs it is set to what the file shows, and the row counts as resynchronised. The command succeeds if
/// nothing differs and at most 5 % of the rows were resynchronised.
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// LOBSTER message file: time, type, order, size, price, direction
    #[arg(long, value_name = "MESSAGES.csv")]
    lobster: PathBuf,
    /// LOBSTER order book file with the same number of rows
    #[arg(long, value_name = "BOOK.csv")]
    book: PathBuf,
    /// Print the counts as JSON
    #[arg(long)]
    json: bool,
    /// Node to replay through, HOST:PORT or unix:PATH [default: one of its own on temporary data]
    #[arg(long, value_name = "ADDRESS", requires = "key", value_parser = child::address)]
    connect: Option<String>,
    /// Key file with all permissions of the exchange, such as DATA/keys/operator.key
    #[arg(long, value_name = "FILE", requires = "connect")]
    key: Option<PathBuf>,
}

/// A file, parsed.
pub fn load<T>(
    path: &Path,
    parse: impl Fn(&str) -> std::result::Result<Vec<T>, ParseError>,
) -> Result<Vec<T>> {
    let text = fs::read_to_string(path)
        .or_next(format!("{} cannot be read", path.display()), "Give a LOBSTER file, which is text.")?;
    parse(&text).map_err(|ParseError { line, cause }| {
        let cause = format!("{} line {line}: {cause}", path.display());
        CliError::new(cause, "Check that --lobster is given a message file and --book an order book file.")
    })
}

pub fn run(args: &ReplayArgs) -> Result<ExitCode> {
    let messages = load(&args.lobster, lobster::messages)?;
    let rows = load(&args.book, lobster::rows)?;
    if messages.len() != rows.len() || rows.is_empty() {
        return Err(CliError::new(
            format!("there are {} messages and {} rows of the book", messages.len(), rows.len()),
            "Give two files of the same stock, day and length, with at least one row.",
        ));
    }
    let play = |client: ClientConfig| {
        let mut venue = NodeVenue::open(client)?;
        let start = Instant::now();
        let outcome = lobster::play(&mut venue, &messages, &rows, |_| {})?;
        Ok((outcome, start.elapsed()))
    };
    let (outcome, elapsed) = match (&args.connect, &args.key) {
        (Some(address), Some(key)) => play(child::client(address, key)?)?,
        _ => {
            let data = child::temporary()?;
            let node = OwnNode::start(data.path(), child::ANY_PORT)?;
            let played = play(node.operator()?)?;
            node.stop()?;
            played
        }
    };
    if args.json {
        println!("{}", json(&outcome));
    } else {
        print(&outcome, elapsed);
    }
    Ok(if outcome.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn json(outcome: &Outcome) -> serde_json::Value {
    serde_json::json!({
        "compared": {
            "rows": outcome.rows,
            "levels": outcome.levels,
            "executions": outcome.executions,
        },
        "resynchronised": {
            "rows": outcome.resynchronised_rows,
            "levels": outcome.resynchronised_levels,
            "executions": outcome.executions_touched,
        },
        "skipped": { "hidden": outcome.hidden, "crosses": outcome.crosses, "halts": outcome.halts },
        "differing": outcome.differing,
        "differences": outcome.differences,
        "good": outcome.is_good(),
    })
}

fn print(outcome: &Outcome, elapsed: Duration) {
    let Outcome { rows, levels, executions, .. } = outcome;
    for difference in &outcome.differences {
        println!("{difference}");
    }
    println!("compared        {rows} rows, {levels} levels, {executions} executions, in {elapsed:.2?}");
    println!(
        "resynchronised  {} rows, {} levels; {} executions at such levels not compared",
        outcome.resynchronised_rows, outcome.resynchronised_levels, outcome.executions_touched
    );
    println!(
        "skipped         {} hidden executions, {} crosses, {} halts",
        outcome.hidden, outcome.crosses, outcome.halts
    );
    println!("differing       {}", outcome.differing);
    println!("{}", if outcome.is_good() { "good" } else { "NOT GOOD" });
}
