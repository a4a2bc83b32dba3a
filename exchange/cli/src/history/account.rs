//! An account as it was: its money, its orders, its limits and positions.

use super::Past;
use crate::error::Result;
use crate::exchange::show;
use crate::exchange::words::{Whose, kebab};
use ordain_exchange_engine::OpenOrder;
use ordain_exchange_protocol::{
    Answer, ControlAnswer, Flag, InstrumentLimitsQuery, IntoBytes, OrderDetailQuery, OrderRef, Scope,
};
use serde_json::{Value, json};

/// A live order, whole, and what it holds.
pub struct Open {
    pub order_id: u64,
    pub client_order_id: u64,
    pub value: Value,
}

/// Everything about an account, as JSON.
pub fn of(past: &Past, account: u32) -> Result<Value> {
    let mut from = past;
    // The exchange's own account has money and nothing else.
    if account == 0 {
        return Ok(json!({ "account": account, "balances": show::balances(&mut from, account)? }));
    }
    let mut value = show::of_account(&mut from, account)?;
    let firm = value["access"]["firm"].as_u64().unwrap_or(0) as u32;
    value["orders"] = open(past, account)?.into_iter().map(|open| open.value).collect();
    value["limits"] = limits(past, Whose { scope: Scope::Account, id: account })?;
    if firm != 0 {
        value["firm_limits"] = limits(past, Whose { scope: Scope::Firm, id: firm })?;
    }
    let instruments = 1..=past.engine().limits().instruments;
    let mut pairs = Vec::new();
    for instrument in instruments {
        let query = InstrumentLimitsQuery::new(account, instrument);
        if past.ask(query.as_bytes(), is_set)? {
            pairs.push(show::instrument_limits(&mut from, account, instrument)?);
        }
    }
    value["instruments"] = pairs.into();
    Ok(value)
}

fn is_set(answer: Answer<'_>) -> bool {
    matches!(answer, Answer::Control(ControlAnswer::InstrumentLimits(it)) if it.set == Flag::Yes)
}

/// The live orders of an account in order of entry.
pub fn open(past: &Past, account: u32) -> Result<Vec<Open>> {
    past.engine().open_orders(account).map(|open| order(past, account, open)).collect()
}

fn order(past: &Past, account: u32, open: OpenOrder) -> Result<Open> {
    let OpenOrder { id, currency, held } = open;
    let query = OrderDetailQuery::new(account, OrderRef::Id(id));
    show::ask(&mut &*past, &query, |answer| match answer {
        Answer::OrderDetail(it) => {
            let value = json!({
                "order_id": id,
                "client_order_id": it.client_order_id.get(),
                "instrument": it.instrument.get(),
                "side": kebab(it.side),
                "type": kebab(it.order_type),
                "time_in_force": kebab(it.time_in_force),
                "post_only": kebab(it.post_only),
                "self_trade": kebab(it.self_trade),
                "state": kebab(it.state),
                "price": it.price.get(),
                "trigger": it.trigger.get(),
                "display": it.display.get(),
                "expiry": it.expiry.get(),
                "filled": it.cumulative.get(),
                "open": it.remaining.get(),
                "visible": it.visible.get(),
                "currency": currency,
                "held": held,
            });
            let open = Open { order_id: id, client_order_id: it.client_order_id.get(), value };
            Some((it.code.get(), open))
        }
        _ => None,
    })
}

/// Limits of an account or a firm and how much of them is used, with the currencies in which something is limited or open.
fn limits(past: &Past, whose: Whose) -> Result<Value> {
    let (mut value, mut gross) = (Value::Null, Vec::new());
    for currency in 1..=past.engine().limits().currencies {
        let all = show::limits(&mut &*past, whose, currency)?;
        if all["gross"] != "0" || all["max_gross"] != "none" {
            gross.push(some(&all, &["currency", "gross", "max_gross"]));
        }
        value = some(&all, &LIMITS);
    }
    value["gross"] = gross.into();
    Ok(value)
}

const LIMITS: [&str; 6] = ["orders", "max_orders", "burst", "interval", "full_at", "listed_only"];

/// Some fields of an object.
fn some(value: &Value, fields: &[&str]) -> Value {
    fields.iter().map(|field| ((*field).to_owned(), value[*field].clone())).collect()
}

/// Prints it as text.
pub fn print(account: &Value) {
    println!("account {}", account["account"]);
    table("balances", &account["balances"], &["currency", "free", "held"]);
    if account["orders"].is_null() {
        return;
    }
    let one = |value: &Value| Value::Array(vec![value.clone()]);
    let mut access = account["access"].clone();
    access["group"] = account["group"].clone();
    table("access", &one(&access), &["firm", "group", "of_account", "of_firm", "of_all"]);
    let order = [
        "order_id",
        "client_order_id",
        "instrument",
        "side",
        "type",
        "state",
        "price",
        "trigger",
        "filled",
        "open",
        "currency",
        "held",
    ];
    table("open orders", &account["orders"], &order);
    for (name, limits) in [("limits", &account["limits"]), ("limits of its firm", &account["firm_limits"])] {
        if !limits.is_null() {
            table(name, &one(limits), &LIMITS);
            table("  gross", &limits["gross"], &["currency", "gross", "max_gross"]);
        }
    }
    let pair = [
        "instrument",
        "position",
        "open_buys",
        "open_sells",
        "allowed",
        "quantity",
        "notional",
        "collar",
        "open",
        "long",
        "short",
    ];
    table("positions and limits in instruments", &account["instruments"], &pair);
}

/// Prints these fields of objects below each other.
fn table(name: &str, rows: &Value, fields: &[&str]) {
    let rows: Vec<&Value> = rows.as_array().into_iter().flatten().collect();
    if rows.is_empty() {
        println!("{name}: none");
        return;
    }
    println!("{name}: {}", fields.join(", "));
    let shown = |row: &Value, field: &str| match &row[field] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let width = |field: &&str| rows.iter().map(|row| shown(row, field).len()).max().unwrap_or(0);
    let widths: Vec<usize> = fields.iter().map(width).collect();
    for row in &rows {
        let cell = |(field, width): (&&str, &usize)| format!("{:>width$}", shown(row, field));
        let cells: Vec<String> = fields.iter().zip(&widths).map(cell).collect();
        println!("  {}", cells.join("  "));
    }
}
