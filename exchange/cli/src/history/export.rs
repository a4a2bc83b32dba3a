//! `ordain export DIR`: statements, order history or trades as CSV or Parquet.

use super::about::{self, About};
use super::money::{Flow, Money};
use super::{Happening, Past, replay, words};
use crate::error::{CliError, OrNext, Result};
use clap::{Args, ValueEnum};
use ordain_exchange_export::{Column, ExportError, Table};
use ordain_exchange_protocol::{FillReport, Output, Request, Side};
use std::cell::RefCell;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// Forms of output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Comma-separated values with a line of names
    Csv,
    /// Apache Parquet, compressed with Snappy; needs --out
    Parquet,
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
    /// Form of the output [default: parquet if FILE ends with .parquet, else csv]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// File to write [default: standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// A movement of money.
struct Statement {
    seq: u64,
    time: u64,
    flow: Flow,
}

const STATEMENTS: &[Column<Statement>] = &[
    Column::u64("seq", |row| row.seq),
    Column::time("time_ns", |row| row.time),
    Column::u32("account", |row| row.flow.account),
    Column::u32("currency", |row| row.flow.currency),
    Column::text("kind", |row| row.flow.why.name()),
    Column::money("amount", |row| row.flow.amount),
    Column::u64("reference", |row| row.flow.reference),
    Column::money("balance", |row| row.flow.balance),
];

/// An event of an order; what an event does not have is none or empty.
struct Order {
    seq: u64,
    time: u64,
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
    open: u64,
    reason: &'static str,
}

const ORDERS: &[Column<Order>] = &[
    Column::u64("seq", |row| row.seq),
    Column::time("time_ns", |row| row.time),
    Column::text("event", |row| row.event),
    Column::u16("code", |row| row.code),
    Column::u32("account", |row| row.account),
    Column::u32("instrument", |row| row.instrument),
    Column::u64("order_id", |row| row.order_id),
    Column::u64("client_order_id", |row| row.client_order_id),
    Column::text_or_none("side", |row| row.side),
    Column::i64_or_none("price", |row| row.price),
    Column::u64_or_none("quantity", |row| row.quantity),
    Column::u64("filled", |row| row.filled),
    Column::u64("open", |row| row.open),
    Column::text_or_none("reason", |row| row.reason),
];

/// A trade.
struct Trade {
    buyer: FillReport,
    seller: FillReport,
}

const TRADES: &[Column<Trade>] = &[
    Column::u64("seq", |row| row.buyer.seq.get()),
    Column::u32("index", |row| row.buyer.index.get()),
    Column::time("time_ns", |row| row.buyer.time.get()),
    Column::u32("instrument", |row| row.buyer.instrument.get()),
    Column::i64("price", |row| row.buyer.price.get()),
    Column::u64("quantity", |row| row.buyer.quantity.get()),
    Column::text_or_none("aggressor", |row| {
        about::aggressor(&row.buyer, &row.seller).map_or("", words::side)
    }),
    Column::u32("buy_account", |row| row.buyer.account.get()),
    Column::u64("buy_order", |row| row.buyer.order_id.get()),
    Column::i64("buy_fee", |row| row.buyer.fee.get()),
    Column::u32("sell_account", |row| row.seller.account.get()),
    Column::u64("sell_order", |row| row.seller.order_id.get()),
    Column::i64("sell_fee", |row| row.seller.fee.get()),
    Column::u32("fee_currency", |row| row.buyer.fee_currency.get()),
];

pub fn run(args: &ExportArgs) -> Result<ExitCode> {
    let past = if args.statements {
        let money = RefCell::new(Money::default());
        let begin = |past: &Past| money.borrow_mut().begin(past);
        let rows = |past: &Past, event: &Happening<'_>| statements(past, event, &mut money.borrow_mut());
        let past = export(args, STATEMENTS, begin, rows)?;
        money.borrow().check(&past)?;
        past
    } else if args.orders {
        export(args, ORDERS, |_| Ok(()), |_, event| Ok(orders(event)))?
    } else {
        export(args, TRADES, |_| Ok(()), |_, event| Ok(trades(event)))?
    };
    past.finish()
}

/// Replays the journal and writes the rows that its events have.
fn export<R>(
    args: &ExportArgs,
    columns: &'static [Column<R>],
    begin: impl FnOnce(&Past) -> Result<()>,
    rows: impl Fn(&Past, &Happening<'_>) -> Result<Vec<R>>,
) -> Result<Past> {
    let next = "Give --out a file in a folder that is there, with room on the disk.";
    let failed = |error: ExportError| CliError::new(format!("the rows cannot be written: {error}"), next);
    let ends_so =
        args.out.as_ref().and_then(|path| path.extension()).is_some_and(|ending| ending == "parquet");
    let format = match args.format {
        Some(Format::Parquet) => ordain_exchange_export::Format::Parquet,
        None if ends_so => ordain_exchange_export::Format::Parquet,
        _ => ordain_exchange_export::Format::Csv,
    };
    let out: Box<dyn Write + Send> = match &args.out {
        Some(path) => {
            Box::new(File::create(path).or_next(format!("{} cannot be written", path.display()), next)?)
        }
        None if format == ordain_exchange_export::Format::Parquet => {
            return Err(CliError::new(
                "Parquet is not written to standard output: programs read it from its end",
                "Name a file with --out.",
            ));
        }
        None => Box::new(io::stdout()),
    };
    let mut table = Table::begin(format, columns, BufWriter::new(out)).map_err(failed)?;
    let past = replay(&args.dir, None, begin, &mut |past, event| {
        rows(past, event)?.into_iter().try_for_each(|row| table.put(row).map_err(failed))
    })?;
    table.finish().map_err(failed)?;
    Ok(past)
}

fn statements(past: &Past, event: &Happening<'_>, money: &mut Money) -> Result<Vec<Statement>> {
    let row = |flow| Statement { seq: event.seq, time: event.time, flow };
    Ok(money.take(past, event)?.into_iter().map(row).collect())
}

fn trades(event: &Happening<'_>) -> Vec<Trade> {
    let trade = |bytes: &Vec<u8>| match Output::decode(bytes) {
        Ok(Output::Fill(buyer)) if buyer.side == Side::Buy => {
            let seller = about::counterpart(buyer, event.outputs)?;
            Some(Trade { buyer: *buyer, seller: *seller })
        }
        _ => None,
    };
    event.outputs.iter().filter_map(trade).collect()
}

fn orders(event: &Happening<'_>) -> Vec<Order> {
    let told = event.outputs.iter().filter_map(|bytes| of_output(event, &Output::decode(bytes).ok()?));
    told.chain(of_command(event)).collect()
}

fn of_output(event: &Happening<'_>, output: &Output<'_>) -> Option<Order> {
    let About { account, instrument, order_id, client_order_id, side, price } = about::of_output(output)?;
    let (name, quantity, filled, open, reason) = match output {
        Output::Fill(m) => ("fill", m.quantity, m.cumulative.get(), m.remaining.get(), ""),
        Output::Cancel(m) => ("cancelled", m.cancelled, m.cumulative.get(), 0, words::reason(m.reason)),
        Output::Prevent(m) => ("prevented", m.prevented, m.cumulative.get(), m.remaining.get(), ""),
        Output::Trigger(m) => ("triggered", m.remaining, 0, m.remaining.get(), ""),
        _ => return None,
    };
    Some(Order {
        seq: event.seq,
        time: event.time,
        event: name,
        code: 0,
        account,
        instrument,
        order_id,
        client_order_id,
        side: words::side(side),
        price: Some(price),
        quantity: Some(quantity.get()),
        filled,
        open,
        reason,
    })
}

/// The command itself, as its reply says it ended.
fn of_command(event: &Happening<'_>) -> Option<Order> {
    let reply = event.reply.and_then(about::reply)?;
    let (name, side, asked) = match Request::decode(event.command.as_ref()?.payload).ok()? {
        Request::NewOrder(m) => ("new", words::side(m.side), Some((m.price, m.quantity))),
        Request::NewOrder2(m) => ("new", words::side(m.side), Some((m.price, m.quantity))),
        Request::Amend(m) => ("amend", "", Some((m.price, m.quantity))),
        Request::Amend2(m) => ("amend", "", Some((m.price, m.quantity))),
        Request::Cancel(_) => ("cancel", "", None),
        _ => return None,
    };
    let closed = reply.code.get() == 0 && reply.cancelled.get() > 0;
    Some(Order {
        seq: event.seq,
        time: event.time,
        event: name,
        code: reply.code.get(),
        account: reply.account.get(),
        instrument: reply.instrument.get(),
        order_id: reply.order_id.get(),
        client_order_id: reply.client_order_id.get(),
        side,
        price: asked.map(|(price, _)| price.get()),
        quantity: asked.map(|(_, quantity)| quantity.get()),
        filled: reply.cumulative.get(),
        open: reply.remaining.get(),
        reason: if closed { words::reason(reply.reason) } else { "" },
    })
}
