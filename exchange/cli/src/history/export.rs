//! `ordain export DIR`: statements, order history or trades as CSV.

use super::explain::{about_order, counterpart};
use super::money::Money;
use super::{Happening, replay, words};
use crate::error::{CliError, OrNext, Result};
use clap::{Args, ValueEnum};
use ordain_exchange_protocol::{Flag, Output, Request, Side};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// Forms of output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Comma-separated values with a line of names
    Csv,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["statements", "orders", "trades"]))]
pub struct ExportArgs {
    /// Data directory of a node that is stopped
    dir: PathBuf,
    /// Every movement of every account's money, with the balance behind it
    #[arg(long)]
    statements: bool,
    /// Every event of every order
    #[arg(long)]
    orders: bool,
    /// Every trade, with both sides
    #[arg(long)]
    trades: bool,
    /// Form of the output
    #[arg(long, value_enum, default_value = "csv")]
    format: Format,
    /// File to write [default: standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

const STATEMENTS: &str = "seq,time_ns,account,currency,kind,amount,reference,balance";
const ORDERS: &str = "seq,time_ns,event,code,account,instrument,order_id,client_order_id,side,price,quantity,filled,open,reason";
const TRADES: &str = "seq,index,time_ns,instrument,price,quantity,aggressor,buy_account,buy_order,buy_fee,\
                      sell_account,sell_order,sell_fee,fee_currency";

pub fn run(args: &ExportArgs) -> Result<ExitCode> {
    let Format::Csv = args.format;
    let next = "Give --out a file in a folder that is there, with room on the disk.";
    let mut out: BufWriter<Box<dyn Write>> = BufWriter::new(match &args.out {
        Some(path) => {
            Box::new(File::create(path).or_next(format!("{} cannot be written", path.display()), next)?)
        }
        None => Box::new(io::stdout().lock()),
    });
    let write =
        |out: &mut dyn Write, line: &str| writeln!(out, "{line}").or_next("the rows cannot be written", next);
    let names = if args.statements {
        STATEMENTS
    } else if args.orders {
        ORDERS
    } else {
        TRADES
    };
    write(&mut out, names)?;
    let mut money = std::cell::RefCell::new(Money::default());
    let begin = |past: &super::Past| {
        if args.statements { money.borrow_mut().begin(past) } else { Ok(()) }
    };
    let past = replay(&args.dir, None, begin, &mut |past, event| {
        let rows = if args.statements {
            statements(event, &money.borrow_mut().take(past, event)?)
        } else if args.orders {
            orders(event)
        } else {
            trades(event)
        };
        rows.iter().try_for_each(|row| write(&mut out, row))
    })?;
    out.flush().or_next("the rows cannot be written", next)?;
    let differing = money.get_mut().differing(&past)?;
    if let Some(first) = differing.first() {
        return Err(CliError::new(
            format!("the statements do not add up in {} places: {first}", differing.len()),
            "This is a defect of Ordain: keep the data directory, and report it.",
        ));
    }
    Ok(ExitCode::SUCCESS)
}

fn statements(event: &Happening<'_>, flows: &[super::money::Flow]) -> Vec<String> {
    let row = |flow: &super::money::Flow| {
        let super::money::Flow { account, currency, why, amount, reference, balance } = flow;
        let (seq, time) = (event.seq, event.time);
        format!("{seq},{time},{account},{currency},{},{amount},{reference},{balance}", why.name())
    };
    flows.iter().map(row).collect()
}

fn trades(event: &Happening<'_>) -> Vec<String> {
    let mut rows = Vec::new();
    for bytes in event.outputs {
        let Ok(Output::Fill(buyer)) = Output::decode(bytes) else { continue };
        if buyer.side != Side::Buy {
            continue;
        }
        let Some(seller) = counterpart(buyer, event.outputs) else { continue };
        // In an auction nobody is.
        let aggressor = match (buyer.aggressor, seller.aggressor) {
            (Flag::Yes, _) => "buy",
            (_, Flag::Yes) => "sell",
            _ => "",
        };
        rows.push(format!(
            "{},{},{},{},{},{},{aggressor},{},{},{},{},{},{},{}",
            buyer.seq,
            buyer.index,
            buyer.time,
            buyer.instrument,
            buyer.price,
            buyer.quantity,
            buyer.account,
            buyer.order_id,
            buyer.fee,
            seller.account,
            seller.order_id,
            seller.fee,
            buyer.fee_currency
        ));
    }
    rows
}

/// A row of an order's history; fields that an event does not have are empty.
#[derive(Default)]
struct Row {
    event: &'static str,
    code: u16,
    account: u32,
    instrument: u32,
    order_id: u64,
    client_order_id: u64,
    side: &'static str,
    price: Option<i64>,
    quantity: Option<u64>,
    filled: u64,
    open: Option<u64>,
    reason: &'static str,
}

fn orders(event: &Happening<'_>) -> Vec<String> {
    let mut rows: Vec<Row> = event.outputs.iter().filter_map(|bytes| of_output(bytes)).collect();
    rows.extend(of_command(event));
    let shown = |number: Option<String>| number.unwrap_or_default();
    rows.iter()
        .map(|row| {
            format!(
                "{},{},{},{},{},{},{},{},{},{},{},{},{},{}",
                event.seq,
                event.time,
                row.event,
                row.code,
                row.account,
                row.instrument,
                row.order_id,
                row.client_order_id,
                row.side,
                shown(row.price.map(|price| price.to_string())),
                shown(row.quantity.map(|quantity| quantity.to_string())),
                row.filled,
                shown(row.open.map(|open| open.to_string())),
                row.reason
            )
        })
        .collect()
}

fn of_output(bytes: &[u8]) -> Option<Row> {
    Some(match Output::decode(bytes).ok()? {
        Output::Fill(m) => Row {
            event: "fill",
            account: m.account.get(),
            instrument: m.instrument.get(),
            order_id: m.order_id.get(),
            client_order_id: m.client_order_id.get(),
            side: words::side(m.side),
            price: Some(m.price.get()),
            quantity: Some(m.quantity.get()),
            filled: m.cumulative.get(),
            open: Some(m.remaining.get()),
            ..Row::default()
        },
        Output::Cancel(m) => Row {
            event: "cancelled",
            account: m.account.get(),
            instrument: m.instrument.get(),
            order_id: m.order_id.get(),
            client_order_id: m.client_order_id.get(),
            side: words::side(m.side),
            price: Some(m.price.get()),
            quantity: Some(m.cancelled.get()),
            filled: m.cumulative.get(),
            open: Some(0),
            reason: words::reason(m.reason),
            ..Row::default()
        },
        Output::Prevent(m) => Row {
            event: "prevented",
            account: m.account.get(),
            instrument: m.instrument.get(),
            order_id: m.order_id.get(),
            client_order_id: m.client_order_id.get(),
            side: words::side(m.side),
            price: Some(m.price.get()),
            quantity: Some(m.prevented.get()),
            filled: m.cumulative.get(),
            open: Some(m.remaining.get()),
            ..Row::default()
        },
        Output::Trigger(m) => Row {
            event: "triggered",
            account: m.account.get(),
            instrument: m.instrument.get(),
            order_id: m.order_id.get(),
            client_order_id: m.client_order_id.get(),
            side: words::side(m.side),
            price: Some(m.price.get()),
            quantity: Some(m.remaining.get()),
            open: Some(m.remaining.get()),
            ..Row::default()
        },
        _ => return None,
    })
}

/// The command itself, as its reply says it ended.
fn of_command(event: &Happening<'_>) -> Option<Row> {
    let reply = event.reply.and_then(about_order)?;
    let (name, side, price, quantity) = match Request::decode(event.command.as_ref()?.payload).ok()? {
        Request::NewOrder(m) => ("new", words::side(m.side), Some(m.price.get()), Some(m.quantity.get())),
        Request::NewOrder2(m) => ("new", words::side(m.side), Some(m.price.get()), Some(m.quantity.get())),
        Request::Amend(m) => ("amend", "", Some(m.price.get()), Some(m.quantity.get())),
        Request::Amend2(m) => ("amend", "", Some(m.price.get()), Some(m.quantity.get())),
        Request::Cancel(_) => ("cancel", "", None, None),
        _ => return None,
    };
    let closed = reply.code.get() == 0 && reply.cancelled.get() > 0;
    Some(Row {
        event: name,
        code: reply.code.get(),
        account: reply.account.get(),
        instrument: reply.instrument.get(),
        order_id: reply.order_id.get(),
        client_order_id: reply.client_order_id.get(),
        side,
        price,
        quantity,
        filled: reply.cumulative.get(),
        open: Some(reply.remaining.get()),
        reason: if closed { words::reason(reply.reason) } else { "" },
    })
}
