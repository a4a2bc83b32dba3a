//! `ordain explain order ID DIR`: all that ever happened to an order, in words.

use super::{Happening, Past, about, account, replay, words};
use crate::error::{CliError, Result};
use crate::exchange::words::kebab;
use crate::operators::utc;
use clap::{Args, Subcommand};
use ordain_exchange_protocol::{FillReport, Flag, NewOrder2, OrderReply, OrderState, Output, Request};
use ordain_types::Nanos;
use serde_json::Value;
use std::cell::Cell;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, Subcommand)]
pub enum ExplainCommand {
    /// Everything that ever happened to an order, from the journal of a stopped node
    Order(Order),
}

#[derive(Debug, Args)]
pub struct Order {
    /// The exchange's order id; with --account, the client's
    id: u64,
    /// Data directory of a node that is stopped
    dir: PathBuf,
    /// The id is what this account called the order; all of its orders that had the name are told of
    #[arg(long)]
    account: Option<u32>,
}

pub fn run(command: &ExplainCommand) -> Result<ExitCode> {
    let ExplainCommand::Order(args) = command;
    let told = Cell::new(false);
    let name = Cell::new(args.account.map(|account| (account, args.id)));
    let wanted = args.account.is_none().then_some(args.id);
    let tell = |heading: &str, lines: &[String]| {
        told.set(true);
        println!("{heading}");
        lines.iter().for_each(|line| println!("  {line}"));
    };
    let begin = |past: &Past| {
        if past.from > 0
            && let Some((line, called)) = from_snapshot(past, wanted, name.get())?
        {
            name.set(Some(called));
            let date = utc(Nanos(past.time));
            tell(
                &format!("up to record {}  {date}  the snapshot with which the journal begins", past.from),
                &[line],
            );
        }
        Ok(())
    };
    let past = replay(&args.dir, None, begin, &mut |_, event| {
        let mut called = name.get();
        let lines = lines(event, wanted, &mut called);
        name.set(called);
        if !lines.is_empty() {
            tell(&heading(event), &lines);
        }
        Ok(())
    })?;
    if !told.get() {
        let whose = args.account.map_or(String::new(), |account| format!(" of account {account}"));
        return Err(CliError::new(
            format!("nothing is known of the order {}{whose}", args.id),
            "Give the exchange's order id, or --account and the client's; what was trimmed cannot be told.",
        ));
    }
    past.finish()
}

/// What a snapshot says of an order that lives in it, and what its account called it.
fn from_snapshot(
    past: &Past,
    wanted: Option<u64>,
    name: Option<(u32, u64)>,
) -> Result<Option<(String, (u32, u64))>> {
    let accounts = name.map_or(0..=past.engine().limits().accounts, |(account, _)| account..=account);
    for account in accounts {
        for open in account::open(past, account)? {
            let called = (account, open.client_order_id);
            if wanted.map_or(Some(called) == name, |wanted| wanted == open.order_id) {
                let text = |field: &str| match &open.value[field] {
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                let line = format!(
                    "order {}, called {}: {} {} order of account {account} in instrument {}, {} at {}; {} lots filled, {} open",
                    open.order_id,
                    open.client_order_id,
                    text("state"),
                    text("type"),
                    text("instrument"),
                    text("side"),
                    text("price"),
                    text("filled"),
                    text("open")
                );
                return Ok(Some((line, called)));
            }
        }
    }
    Ok(None)
}

fn heading(event: &Happening<'_>) -> String {
    let date = utc(Nanos(event.time));
    match &event.command {
        Some(command) => {
            format!("record {}  {date}  session {}, key {}", event.seq, command.session, command.key)
        }
        None => format!("before record {}  {date}  a deadline", event.seq),
    }
}

/// What an event means for the order with the id `wanted`, or that is called `name`: account and client order id. An
/// order's name is learnt when its id is met, so that commands that are refused by name are told too.
fn lines(event: &Happening<'_>, wanted: Option<u64>, name: &mut Option<(u32, u64)>) -> Vec<String> {
    let mut lines = Vec::new();
    let is_it = |id: u64, called: (u32, u64)| wanted.map_or(Some(called) == *name, |wanted| wanted == id);
    let reply = event.reply.and_then(about::reply);
    let mut outputs = Vec::new();
    for bytes in event.outputs {
        let Ok(output) = Output::decode(bytes) else { continue };
        if about::of_output(&output).is_some_and(|it| is_it(it.order_id, (it.account, it.client_order_id))) {
            outputs.push(output);
        }
    }
    if let Some(reply) = &reply {
        let called = (reply.account.get(), reply.client_order_id.get());
        let refused_by_name = reply.code.get() != 0 && reply.order_id.get() == 0 && Some(called) == *name;
        if is_it(reply.order_id.get(), called) || refused_by_name {
            if wanted.is_some() && reply.order_id.get() != 0 && called.1 != 0 {
                *name = Some(called);
            }
            lines.extend(event.command.as_ref().and_then(|command| command_line(command.payload)));
            lines.extend(outputs.iter().map(|output| output_line(output, event)));
            lines.push(reply_line(reply));
            return lines;
        }
    }
    lines.extend(outputs.iter().map(|output| output_line(output, event)));
    lines
}

/// A command about one order, in words.
fn command_line(payload: &[u8]) -> Option<String> {
    let amend = |order: u64, client: u64, price: i64, quantity: u64| {
        let which = if order == 0 { format!("client order {client}") } else { format!("order {order}") };
        format!("amend {which}: {quantity} lots in all at {price}")
    };
    Some(match Request::decode(payload).ok()? {
        Request::NewOrder(order) => order_line(&NewOrder2::from_first(order)),
        Request::NewOrder2(order) => order_line(order),
        Request::Amend(m) => {
            amend(m.order_id.get(), m.client_order_id.get(), m.price.get(), m.quantity.get())
        }
        Request::Amend2(m) => {
            let mut line = amend(m.order_id.get(), m.client_order_id.get(), m.price.get(), m.quantity.get());
            if m.trigger.get() != 0 {
                line += &format!(", trigger {}", m.trigger);
            }
            if m.display.get() != 0 {
                line += &format!(", shows {}", m.display);
            }
            line
        }
        Request::Cancel(m) if m.order_id.get() == 0 => format!("cancel client order {}", m.client_order_id),
        Request::Cancel(m) => format!("cancel order {}", m.order_id),
        _ => return None,
    })
}

fn order_line(order: &NewOrder2) -> String {
    let mut line = format!(
        "new {} order of account {} in instrument {}, called {}: {}",
        kebab(order.order_type),
        order.account,
        order.instrument,
        order.client_order_id,
        words::side(order.side)
    );
    if order.cash.get() == 0 {
        line += &format!(" {} lots", order.quantity);
    } else {
        line += &format!(" for at most {} minor units", order.cash);
    }
    if order.order_type.has_price() {
        line += &format!(" at {}", order.price);
    }
    if order.trigger.get() != 0 {
        line += &format!(", trigger {}", order.trigger);
    }
    if order.display.get() != 0 {
        line += &format!(", shows {}", order.display);
    }
    line += &format!(", {}", words::lasting(order.time_in_force));
    if order.expiry.get() != 0 {
        line += &format!(" ({})", utc(Nanos(order.expiry.get())));
    }
    line
}

fn reply_line(reply: &OrderReply) -> String {
    if reply.code.get() != 0 {
        return format!("refused, {}", words::reject(reply.code.get()));
    }
    let mut line = format!(
        "order {}, called {}: {}; {} lots filled, {} open",
        reply.order_id,
        reply.client_order_id,
        kebab(reply.state),
        reply.cumulative,
        reply.remaining
    );
    if reply.fills.get() > 0 {
        line += &format!(
            "; {} fills now, {} traded, fee {} of currency {}",
            reply.fills, reply.notional, reply.fee, reply.fee_currency
        );
    }
    if reply.cancelled.get() > 0 || reply.state == OrderState::Cancelled {
        line += &format!("; {} cancelled: {}", reply.cancelled, words::reason(reply.reason));
    }
    line
}

fn output_line(output: &Output<'_>, event: &Happening<'_>) -> String {
    match output {
        Output::Fill(fill) => fill_line(fill, event),
        Output::Cancel(cancel) => format!(
            "cancelled: {} lots at {}, {} were filled; {}",
            cancel.cancelled,
            cancel.price,
            cancel.cumulative,
            words::reason(cancel.reason)
        ),
        Output::Prevent(prevent) => format!(
            "would have traded {} lots at {} with an order of the same owner; {} cancelled for it, {} open",
            prevent.prevented, prevent.price, prevent.cancelled, prevent.remaining
        ),
        Output::Trigger(trigger) => format!(
            "triggered at {}: {} lots trade from now on, {} at {}",
            trigger.trigger,
            trigger.remaining,
            words::side(trigger.side),
            trigger.price
        ),
        _ => unreachable!("these are about no order"),
    }
}

fn fill_line(fill: &FillReport, event: &Happening<'_>) -> String {
    let other = about::counterpart(fill, event.outputs).map_or(String::new(), |other| {
        format!(" with order {} of account {}", other.order_id, other.account)
    });
    format!(
        "filled: {} lots at {} as {}{other}, trade {}.{}, fee {} of currency {}; {} filled, {} open",
        fill.quantity,
        fill.price,
        if fill.aggressor == Flag::Yes { "taker" } else { "maker" },
        fill.seq,
        fill.index,
        fill.fee,
        fill.fee_currency,
        fill.cumulative,
        fill.remaining
    )
}
