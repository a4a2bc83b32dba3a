//! `ordain itch`: a Nasdaq ITCH file counted and checked.

use crate::error::{OrNext, Result};
use clap::Args;
use ordain_exchange_itch::audit::{Audit, Fault};
use ordain_exchange_itch::file::{Framing, Reader};
use ordain_exchange_itch::message::KINDS;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Reads a file of Nasdaq TotalView-ITCH 5.0, raw or compressed by gzip, counts its messages by type, and checks that
/// every message about an order finds that order open, with enough shares, in its stock.
///
/// Messages stand behind their lengths in two bytes, big-endian, or, in some files, behind two zero bytes. Succeeds if
/// the file is whole, every type is known, and nothing is amiss with any message.
#[derive(Debug, Args)]
pub struct ItchArgs {
    /// The file
    file: PathBuf,
    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// A reader of the file at `path`.
pub fn open(path: &Path) -> Result<Reader<Box<dyn Read>>> {
    let cannot = format!("{} cannot be read", path.display());
    let next = "Give a file of Nasdaq TotalView-ITCH 5.0, as it is or compressed by gzip.";
    let file = std::fs::File::open(path).or_next(&cannot, next)?;
    ordain_exchange_itch::file::open(file).or_next(cannot, next)
}

pub fn run(args: &ItchArgs) -> Result<ExitCode> {
    let mut reader = open(&args.file)?;
    let mut audit = Audit::default();
    // What was read up to where a file breaks off is worth saying.
    let end = loop {
        match reader.next_frame() {
            Ok(Some(frame)) => audit.take(&frame),
            Ok(None) => break None,
            Err(error) => break Some(error.to_string()),
        }
    };
    let good = end.is_none() && audit.is_good();
    if args.json {
        println!("{}", json(&audit, reader.framing(), end.as_deref(), good));
    } else {
        print(&audit, reader.framing(), end.as_deref(), good);
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

const fn framing_name(framing: Option<Framing>) -> &'static str {
    match framing {
        None => "empty",
        Some(Framing::Length) => "length",
        Some(Framing::Zeros) => "zeros",
    }
}

/// Letters and counts of types that are not in the document.
fn unknown(audit: &Audit) -> impl Iterator<Item = (String, u64)> + '_ {
    let is_known = |letter: &u8| KINDS.iter().any(|kind| kind.letter == *letter);
    (0..=u8::MAX)
        .filter(move |letter| !is_known(letter))
        .map(|letter| (letter.escape_ascii().to_string(), audit.count(letter)))
        .filter(|(_, count)| *count > 0)
}

fn json(audit: &Audit, framing: Option<Framing>, end: Option<&str>, good: bool) -> serde_json::Value {
    let counts: serde_json::Map<String, serde_json::Value> = KINDS
        .iter()
        .map(|kind| (char::from(kind.letter).to_string(), audit.count(kind.letter)))
        .chain(unknown(audit))
        .map(|(letter, count)| (letter, count.into()))
        .collect();
    let faults: serde_json::Map<String, serde_json::Value> =
        Fault::ALL.into_iter().map(|fault| (fault.name().to_owned(), audit.faults(fault).into())).collect();
    let totals = audit.totals();
    serde_json::json!({
        "framing": framing_name(framing),
        "messages": audit.messages(),
        "counts": counts,
        "first_ns": audit.times().map(|times| times.0),
        "last_ns": audit.times().map(|times| times.1),
        "executed_shares": audit.executed(),
        "open": {
            "orders": totals.orders, "shares": totals.shares,
            "stocks": totals.stocks, "crossed_stocks": totals.crossed,
        },
        "faults": faults,
        "examples": audit.examples(),
        "broken_off": end,
        "good": good,
    })
}

/// Nanoseconds since midnight as a time of the day.
fn clock(nanos: u64) -> String {
    let seconds = nanos / 1_000_000_000;
    let (hours, minutes) = (seconds / 3_600, seconds / 60 % 60);
    format!("{hours:02}:{minutes:02}:{:02}.{:09}", seconds % 60, nanos % 1_000_000_000)
}

fn print(audit: &Audit, framing: Option<Framing>, end: Option<&str>, good: bool) {
    for kind in KINDS {
        println!("{}  {:<22} {:>12}", char::from(kind.letter), kind.name, audit.count(kind.letter));
    }
    for (letter, count) in unknown(audit) {
        println!("{letter}  {:<22} {count:>12}", "UNKNOWN");
    }
    println!("   {:<22} {:>12}", "all", audit.messages());
    println!("framing     {}", framing_name(framing));
    if let Some((first, last)) = audit.times() {
        println!("times       {} to {}", clock(first), clock(last));
    }
    let totals = audit.totals();
    println!(
        "orders      {} open at the end with {} shares in {} stocks, {} of them crossed; {} shares executed",
        totals.orders,
        totals.shares,
        totals.stocks,
        totals.crossed,
        audit.executed()
    );
    for example in audit.examples() {
        println!("{example}");
    }
    for fault in Fault::ALL.into_iter().filter(|fault| audit.faults(*fault) > 0) {
        println!("fault       {} messages: {fault}", audit.faults(fault));
    }
    if let Some(end) = end {
        println!("broken off  {end}");
    }
    println!("{}", if good { "good" } else { "NOT GOOD" });
}
