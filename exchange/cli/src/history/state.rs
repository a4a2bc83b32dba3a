//! `ordain state at SEQ DIR`: the exchange as it was behind a record.

use super::{Past, account, replay};
use crate::error::{CliError, Result};
use crate::operators::utc;
use clap::{Args, Subcommand};
use ordain_exchange_protocol::{
    Answer, BookLevelsQuery, DEPTH_MAX, InstrumentQuery, IntoBytes, Reject, StatisticsQuery,
};
use ordain_types::Nanos;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, Subcommand)]
pub enum StateCommand {
    /// The exchange as it was behind a record of the log, from the journal of a stopped node
    At(At),
}

#[derive(Debug, Args)]
pub struct At {
    /// Number of the record
    seq: u64,
    /// Data directory of a node that is stopped
    dir: PathBuf,
    /// Print this instrument's book, level by level
    #[arg(long, value_name = "INSTRUMENT")]
    book: Option<u32>,
    /// Print this account: balances, open orders and what they hold, limits, positions
    #[arg(long)]
    account: Option<u32>,
    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// Price, lots and orders.
type Level = (i64, u64, u32);

pub fn run(command: &StateCommand) -> Result<ExitCode> {
    let StateCommand::At(args) = command;
    let past = replay(&args.dir, Some(args.seq), |_| Ok(()), &mut |_, _| Ok(()))?;
    let totals = past.ask(StatisticsQuery::new().as_bytes(), |answer| match answer {
        Answer::Statistics(answer) => Some((
            answer.instruments.get(),
            answer.accounts.get(),
            answer.orders.get(),
            answer.accepted.get(),
            answer.trades.get(),
        )),
        _ => None,
    })?;
    let (instruments, accounts, orders, accepted, trades) = totals.unwrap_or_default();
    let book = args.book.map(|instrument| book(&past, instrument)).transpose()?;
    let account = args.account.map(|account| account::of(&past, account)).transpose()?;
    if args.json {
        let mut value = json!({
            "seq": past.seq, "time_ns": past.time, "instruments": instruments, "accounts": accounts,
            "orders": orders, "accepted": accepted, "trades": trades,
        });
        if let (Some((bids, offers)), Some(instrument)) = (&book, args.book) {
            value["book"] =
                json!({ "instrument": instrument, "bids": levels(bids), "offers": levels(offers) });
        }
        if let Some(account) = account {
            value["account"] = account;
        }
        println!("{value}");
        return Ok(ExitCode::SUCCESS);
    }
    println!("record {}, {}", past.seq, utc(Nanos(past.time)));
    println!(
        "{instruments} instruments, {accounts} accounts, {orders} live orders; {accepted} orders accepted and {trades} \
         trades until then"
    );
    if let (Some((bids, offers)), Some(instrument)) = (&book, args.book) {
        println!("book of instrument {instrument}: price, lots, orders");
        for (price, lots, orders) in offers.iter().rev() {
            println!("  offer {price:>12} {lots:>12} {orders:>6}");
        }
        for (price, lots, orders) in bids {
            println!("  bid   {price:>12} {lots:>12} {orders:>6}");
        }
    }
    if let Some(account) = &account {
        account::print(account);
    }
    Ok(ExitCode::SUCCESS)
}

fn levels(side: &[Level]) -> Vec<Value> {
    side.iter()
        .map(|(price, lots, orders)| json!({ "price": price, "lots": lots, "orders": orders }))
        .collect()
}

/// A book, both sides best first.
fn book(past: &Past, instrument: u32) -> Result<(Vec<Level>, Vec<Level>)> {
    let code = past.ask(InstrumentQuery::new(instrument).as_bytes(), |answer| match answer {
        Answer::Instrument(answer) => answer.code.get(),
        _ => 0,
    })?;
    if code != 0 {
        let name = Reject::from_wire(code).map_or("refused", Reject::name);
        return Err(CliError::new(
            format!("there is no book of instrument {instrument} behind that record ({name})"),
            "Name an instrument that had been created by then.",
        ));
    }
    let (mut bids, mut offers): (Vec<Level>, Vec<Level>) = (Vec::new(), Vec::new());
    loop {
        let after = |side: &[Level]| side.last().map_or(0, |level| level.0).into();
        let query = BookLevelsQuery {
            after_bid: after(&bids),
            after_ask: after(&offers),
            ..BookLevelsQuery::new(instrument, DEPTH_MAX)
        };
        let found = past.ask(query.as_bytes(), |answer| match answer {
            Answer::BookLevels(_, more_bids, more_offers) => {
                let level = |entry: &ordain_exchange_protocol::LevelEntry| {
                    (entry.price.get(), entry.quantity.get(), entry.orders.get())
                };
                bids.extend(more_bids.iter().map(level));
                offers.extend(more_offers.iter().map(level));
                more_bids.len() + more_offers.len()
            }
            _ => 0,
        })?;
        if found == 0 {
            return Ok((bids, offers));
        }
    }
}
