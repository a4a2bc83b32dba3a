//! Operators' commands of the acceptance cases.

use crate::number;
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
        _ => return None,
    })
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
