//! Operators' commands of the acceptance cases.

use crate::{common::QUOTE, number};
use ordain_exchange_protocol::*;

/// The bytes of such a command, if it is one.
pub fn command(words: &[&str]) -> Option<Vec<u8>> {
    let why = note("case");
    Some(match *words {
        ["firm", account, firm] => SetFirm::new(number(account), number(firm), why).as_bytes().to_vec(),
        ["access", ref whose @ .., access] => {
            let (scope, id) = scope_of(whose);
            SetAccess::new(scope, id, access_of(access), why).as_bytes().to_vec()
        }
        ["kill", ref whose @ ..] => {
            let (scope, id) = scope_of(whose);
            Kill::new(scope, id, why).as_bytes().to_vec()
        }
        ["purge", ref whose @ .., sides] => {
            let (scope, id) = scope_of(whose);
            let sides = match sides {
                "buys" => Sides::Buy,
                "sells" => Sides::Sell,
                "both" => Sides::Any,
                _ => panic!("no such sides: {sides}"),
            };
            Purge::new(scope, id, 0, sides, why).as_bytes().to_vec()
        }
        ["limit", "account", id, ref limits @ ..] => set_limits(Scope::Account, id, limits, why),
        ["limit", "firm", id, ref limits @ ..] => set_limits(Scope::Firm, id, limits, why),
        ["gross", scope, id, limit] => {
            let (scope, id) = scope_of(&[scope, id]);
            SetGrossLimit::new(scope, id, QUOTE, number(limit), why).as_bytes().to_vec()
        }
        ["limits", account, instrument, ref limits @ ..] => {
            let mut set = SetInstrumentLimits::new(number(account), number(instrument), why);
            let mut words = limits.iter();
            while let Some(word) = words.next() {
                let place = match *word {
                    "disallowed" => {
                        set.allowed = Flag::No;
                        continue;
                    }
                    "quantity" => &mut set.quantity,
                    "notional" => &mut set.notional,
                    "collar" => &mut set.collar,
                    "open" => &mut set.open,
                    "long" => &mut set.long,
                    "short" => &mut set.short,
                    _ => panic!("no such limit: {word}"),
                };
                *place = number::<u64>(words.next().expect("a limit")).into();
            }
            set.as_bytes().to_vec()
        }
        ["position", account, instrument, position] => {
            let set = SetPosition::new(number(account), number(instrument), number(position), why);
            set.as_bytes().to_vec()
        }
        _ => return None,
    })
}

fn set_limits(scope: Scope, id: &str, limits: &[&str], why: Note) -> Vec<u8> {
    let mut set = SetLimits::new(scope, number(id), why);
    match *limits {
        ["none"] => {}
        ["orders", orders] => set.orders = number::<u32>(orders).into(),
        ["listed"] => set.listed_only = Flag::Yes,
        ["rate", burst, interval] => {
            set.burst = number::<u32>(burst).into();
            set.interval = number::<u64>(interval).into();
        }
        _ => panic!("no such limits: {limits:?}"),
    }
    set.as_bytes().to_vec()
}

fn scope_of(words: &[&str]) -> (Scope, u32) {
    match *words {
        ["account", id] => (Scope::Account, number(id)),
        ["firm", id] => (Scope::Firm, number(id)),
        ["all"] => (Scope::All, 0),
        _ => panic!("no such scope: {words:?}"),
    }
}

fn access_of(text: &str) -> Access {
    match text {
        "active" => Access::Active,
        "blocked" => Access::Blocked,
        "suspended" => Access::Suspended,
        _ => panic!("no such access: {text}"),
    }
}
