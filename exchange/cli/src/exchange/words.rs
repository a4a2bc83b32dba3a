//! The exchange's commands and values in the words of the command line, both ways.

use ordain_exchange_protocol::{
    Access, BandAction, Control, Flag, GrantAction, Market, MarketState, NO_LIMIT, NO_LIMIT_32, Request,
    Scope, SelfTrade, SetFeed, SetInstrumentLimits, SetSchedule, Sides, Transfer,
};
use std::fmt::{Debug, Display, Write as _};

pub const STATES: [MarketState; 9] = [
    MarketState::Continuous,
    MarketState::Halted,
    MarketState::CancelOnly,
    MarketState::PostOnly,
    MarketState::PreOpen,
    MarketState::OpeningAuction,
    MarketState::VolatilityAuction,
    MarketState::ClosingAuction,
    MarketState::Closed,
];
const MODES: [SelfTrade; 5] = [
    SelfTrade::Allow,
    SelfTrade::CancelTaker,
    SelfTrade::CancelMaker,
    SelfTrade::CancelBoth,
    SelfTrade::Decrement,
];
const ACCESSES: [Access; 3] = [Access::Active, Access::Blocked, Access::Suspended];
const ACTIONS: [BandAction; 3] = [BandAction::Off, BandAction::Reject, BandAction::Auction];
const SIDES: [Sides; 3] = [Sides::Any, Sides::Buy, Sides::Sell];

/// A value's name as the command line has it: `CancelOnly` is `cancel-only`.
pub fn kebab(value: impl Debug) -> String {
    let mut text = String::new();
    for letter in format!("{value:?}").chars() {
        if letter.is_uppercase() && !text.is_empty() {
            text.push('-');
        }
        text.extend(letter.to_lowercase());
    }
    text
}

fn named<T: Copy + Debug>(all: &[T], text: &str) -> Result<T, String> {
    all.iter().copied().find(|value| kebab(value) == text).ok_or_else(|| {
        let names: Vec<_> = all.iter().map(kebab).collect();
        format!("it is one of {}", names.join(", "))
    })
}

pub fn state(text: &str) -> Result<MarketState, String> {
    named(&STATES, text)
}

pub fn mode(text: &str) -> Result<SelfTrade, String> {
    named(&MODES, text)
}

pub fn access(text: &str) -> Result<Access, String> {
    named(&ACCESSES, text)
}

pub fn action(text: &str) -> Result<BandAction, String> {
    named(&ACTIONS, text)
}

pub fn sides(text: &str) -> Result<Sides, String> {
    named(&SIDES, text)
}

/// Whose: `account:7`, `firm:2` or `all`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whose {
    pub scope: Scope,
    pub id: u32,
}

pub fn whose(text: &str) -> Result<Whose, String> {
    let expected = "it is account:N, firm:N or all";
    match text.split_once(':') {
        None if text == "all" => Ok(Whose { scope: Scope::All, id: 0 }),
        Some((scope @ ("account" | "firm"), id)) => {
            let id = id.parse().map_err(|_| expected.to_owned())?;
            Ok(Whose { scope: if scope == "account" { Scope::Account } else { Scope::Firm }, id })
        }
        _ => Err(expected.to_owned()),
    }
}

/// The same of limits, which are nobody's who is all.
pub fn party(text: &str) -> Result<Whose, String> {
    whose(text)
        .ok()
        .filter(|whose| whose.scope != Scope::All)
        .ok_or_else(|| "it is account:N or firm:N".to_owned())
}

/// An instrument, or 0 for all.
pub fn instrument(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(id) if id > 0 => Ok(id),
        _ if text == "all" => Ok(0),
        _ => Err("it is an instrument's number or all".to_owned()),
    }
}

/// Nanoseconds, bare or with a unit.
pub fn nanos(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit: u64 = match &text[digits.len()..] {
        "" | "ns" => 1,
        "us" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        "d" => 86_400_000_000_000,
        _ => return Err("it is a number of ns, us, ms, s, m, h or d".to_owned()),
    };
    let number: u64 =
        digits.parse().map_err(|_| "it is a number and perhaps a unit: 1500, 250ms, 8h".to_owned())?;
    number.checked_mul(unit).ok_or_else(|| "it is too long".to_owned())
}

/// `TIME=STATE` or `TIME~RANDOM=STATE`.
pub fn entry(text: &str) -> Result<(u64, u64, MarketState), String> {
    let (time, name) = text.split_once('=').ok_or("it is TIME=STATE or TIME~RANDOM=STATE")?;
    let (time, random) = time.split_once('~').unwrap_or((time, "0"));
    let time = time.parse().map_err(|_| "TIME is nanoseconds of log time since the Unix epoch".to_owned())?;
    Ok((time, nanos(random)?, state(name)?))
}

/// A limit, of which the greatest number is none.
pub fn limit(limit: u64) -> String {
    if limit == NO_LIMIT { "none".to_owned() } else { limit.to_string() }
}

fn of(scope: Scope, id: impl Display) -> String {
    match scope {
        Scope::All => "all".to_owned(),
        scope => format!("{}:{id}", kebab(scope)),
    }
}

fn in_instrument(id: u32) -> String {
    if id == 0 { "all".to_owned() } else { id.to_string() }
}

/// The text of a note or remark without its padding.
pub fn text(note: &[u8]) -> String {
    let end = note.iter().position(|byte| *byte == 0).unwrap_or(note.len());
    String::from_utf8_lossy(&note[..end]).into_owned()
}

fn transfer(verb: &str, it: &Transfer) -> String {
    format!(
        "{verb} account {} currency {} amount {} transaction {}",
        it.account, it.currency, it.amount, it.transaction
    )
}

fn feed(it: &SetFeed) -> String {
    let feeds = [("top", it.top), ("levels", it.levels), ("orders", it.orders)];
    let on: Vec<&str> = feeds.into_iter().filter(|feed| feed.1 == Flag::Yes).map(|feed| feed.0).collect();
    let on = if on.is_empty() { "off".to_owned() } else { on.join(" ") };
    format!("feed {} {on}", it.instrument)
}

fn schedule(it: &SetSchedule) -> String {
    let mut words = format!("schedule {} period {}", it.instrument, it.period);
    for entry in &it.entries[..usize::from(it.count).min(it.entries.len())] {
        // Writing to a string cannot fail.
        let _ = write!(words, " {}~{}={}", entry.time, entry.random, kebab(entry.state));
    }
    words
}

fn instrument_limits(it: &SetInstrumentLimits) -> String {
    let limits = [
        ("quantity", it.quantity),
        ("notional", it.notional),
        ("collar", it.collar),
        ("open", it.open),
        ("long", it.long),
        ("short", it.short),
    ];
    let mut words = format!(
        "instrument-limits account {} instrument {} allowed {}",
        it.account,
        it.instrument,
        kebab(it.allowed)
    );
    for (name, value) in limits {
        // Writing to a string cannot fail.
        let _ = write!(words, " {name} {}", limit(value.get()));
    }
    words
}

/// An operator's command in words, and its note. `None` of what traders send.
pub fn describe(request: &Request<'_>) -> Option<(String, String)> {
    let without = |words: String| Some((words, String::new()));
    match request {
        Request::CreateInstrument(it) => {
            let it = &it.definition;
            without(format!(
                "create-instrument {} {} base {} quote {} quote-per-tick-lot {} base-per-lot {} quantity {}..{} \
                 min-notional {} max-price {} collar {} maker-ppm {} taker-ppm {}",
                it.instrument,
                String::from_utf8_lossy(it.symbol()),
                it.base,
                it.quote,
                it.quote_per_tick_lot,
                it.base_per_lot,
                it.min_quantity,
                it.max_quantity,
                it.min_notional,
                it.max_price,
                it.collar,
                it.maker_ppm,
                it.taker_ppm,
            ))
        }
        Request::CreateAccount(it) => without(format!("create-account {}", it.account)),
        Request::Grant(it) => {
            let verb = if it.action == GrantAction::Grant { "grant" } else { "revoke" };
            without(format!("{verb} account {} key {}", it.account, it.key))
        }
        Request::Deposit(it) => without(transfer("deposit", it)),
        Request::Withdraw(it) => without(transfer("withdraw", it)),
        Request::SetSelfTrade(it) => {
            Some((format!("self-trade {} {}", it.instrument, kebab(it.self_trade)), text(&it.note)))
        }
        Request::SetGroup(it) => {
            Some((format!("group account {} group {}", it.account, it.group), text(&it.note)))
        }
        Request::SetState(it) => {
            let words = format!("state {} {}", in_instrument(it.instrument.get()), kebab(it.state));
            Some((words, text(&it.note)))
        }
        Request::Market(market) => Some(of_market(market)),
        Request::Control(control) => Some(of_control(control)),
        Request::Remark(it) => Some(("remark".to_owned(), text(&it.text))),
        Request::NewOrder(_)
        | Request::Cancel(_)
        | Request::Amend(_)
        | Request::MassCancel(_)
        | Request::NewOrder2(_)
        | Request::Amend2(_)
        | Request::SetDisconnect(_) => None,
    }
}

fn of_market(market: &Market<'_>) -> (String, String) {
    match market {
        Market::SetReference(it) => (format!("reference {} {}", it.instrument, it.price), text(&it.note)),
        Market::SetBands(it) => (
            format!(
                "bands {} {} static {} dynamic {} bucket {} buckets {} call {} extensions {}",
                it.instrument,
                kebab(it.action),
                it.fixed,
                it.moving,
                it.width,
                it.buckets,
                it.call,
                it.extensions
            ),
            text(&it.note),
        ),
        Market::SetSchedule(it) => (schedule(it), text(&it.note)),
        Market::SetFeed(it) => (feed(it), text(&it.note)),
    }
}

fn of_control(control: &Control<'_>) -> (String, String) {
    let (words, note) = match control {
        Control::SetFirm(it) => (format!("firm account {} firm {}", it.account, it.firm), &it.note),
        Control::GrantFirm(it) => {
            let what = if it.action == GrantAction::Grant { "grant" } else { "revoke" };
            (format!("{what}-firm {} key {}", it.firm, it.key), &it.note)
        }
        Control::SetAccess(it) => (format!("access {} {}", of(it.scope, it.id), kebab(it.access)), &it.note),
        Control::Kill(it) => (format!("kill {}", of(it.scope, it.id)), &it.note),
        Control::Purge(it) => {
            let instrument = in_instrument(it.instrument.get());
            let words =
                format!("purge {} instrument {instrument} sides {}", of(it.scope, it.id), kebab(it.sides));
            (words, &it.note)
        }
        Control::SetLimits(it) => {
            let orders = match it.orders.get() {
                NO_LIMIT_32 => "none".to_owned(),
                orders => orders.to_string(),
            };
            let words = format!(
                "limits {} orders {orders} burst {} interval {} listed-only {}",
                of(it.scope, it.id),
                it.burst,
                it.interval,
                kebab(it.listed_only)
            );
            (words, &it.note)
        }
        Control::SetGrossLimit(it) => {
            let limit = limit(it.limit.get());
            (format!("gross-limit {} currency {} limit {limit}", of(it.scope, it.id), it.currency), &it.note)
        }
        Control::SetInstrumentLimits(it) => (instrument_limits(it), &it.note),
        Control::SetPosition(it) => {
            let words =
                format!("position account {} instrument {} lots {}", it.account, it.instrument, it.position);
            (words, &it.note)
        }
        Control::SetFees(it) => {
            let words = format!(
                "fees class {} tier {} maker {} taker {} auction {} min {} max {}",
                it.class,
                it.tier,
                it.maker_ppm,
                it.taker_ppm,
                it.auction_ppm,
                it.min,
                limit(it.max.get())
            );
            (words, &it.note)
        }
        Control::SetFeeClass(it) => {
            (format!("fee-class instrument {} class {}", it.instrument, it.class), &it.note)
        }
        Control::SetFeeTier(it) => (format!("fee-tier account {} tier {}", it.account, it.tier), &it.note),
    };
    (words, text(note))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ordain_exchange_protocol::{IntoBytes, Kill, NewOrder, SetBands, Side, note};

    #[test]
    fn values_are_read_as_they_are_written() {
        for value in STATES {
            assert_eq!(state(&kebab(value)), Ok(value));
        }
        assert_eq!(
            state("open"),
            Err("it is one of continuous, halted, cancel-only, post-only, pre-open, \
             opening-auction, volatility-auction, closing-auction, closed"
                .to_owned())
        );
        assert_eq!(whose("firm:9"), Ok(Whose { scope: Scope::Firm, id: 9 }));
        assert!(["firm", "firm:", "all:1", "account:x"].iter().all(|text| whose(text).is_err()));
        assert!(party("all").is_err());
        assert_eq!((instrument("all"), instrument("7")), (Ok(0), Ok(7)));
        assert!(instrument("0").is_err());
        assert_eq!(nanos("250ms"), Ok(250_000_000));
        assert!(["", "ms", "1w", "-1s", "99999999999d"].iter().all(|text| nanos(text).is_err()));
        assert_eq!(entry("5~2us=closed"), Ok((5, 2_000, MarketState::Closed)));
        assert!(["5", "5=open", "x=closed"].iter().all(|text| entry(text).is_err()));
    }

    #[test]
    fn commands_are_told_with_their_notes() {
        let told = |bytes: &[u8]| describe(&Request::decode(bytes).unwrap());
        let kill = Kill::new(Scope::All, 0, note("ticket 9"));
        assert_eq!(told(kill.as_bytes()), Some(("kill all".to_owned(), "ticket 9".to_owned())));
        let bands = SetBands { action: BandAction::Reject, fixed: 5.into(), ..SetBands::off(3, [0; 32]) };
        let words = "bands 3 reject static 5 dynamic 0 bucket 0 buckets 0 call 0 extensions 0";
        assert_eq!(told(bands.as_bytes()), Some((words.to_owned(), String::new())));
        let order = NewOrder::limit(1, 1, 1, Side::Buy, 1, 1);
        assert_eq!(told(order.as_bytes()), None);
    }
}
