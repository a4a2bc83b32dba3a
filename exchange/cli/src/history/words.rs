//! Protocol values in words.

use ordain_exchange_protocol::{Reason, Reject, Side, TimeInForce};

pub const fn side(side: Side) -> &'static str {
    match side {
        Side::Buy => "buy",
        Side::Sell => "sell",
    }
}

pub const fn lasting(time_in_force: TimeInForce) -> &'static str {
    match time_in_force {
        TimeInForce::Gtc => "good till cancelled",
        TimeInForce::Ioc => "immediate or cancel",
        TimeInForce::Fok => "fill or kill",
        TimeInForce::Day => "for the day",
        TimeInForce::Gtd => "good till its time",
        TimeInForce::Ato => "at the open",
        TimeInForce::Atc => "at the close",
    }
}

pub const fn reason(reason: Reason) -> &'static str {
    match reason {
        Reason::None => "no reason",
        Reason::Fill => "it traded",
        Reason::Cancelled => "its owner cancelled it",
        Reason::Remainder => "nothing more at its price",
        Reason::Budget => "out of funds",
        Reason::AmendedBelowFilled => "amended to what was filled, or below",
        Reason::MassCancelled => "a mass cancel",
        Reason::SelfTrade => "it met an order of the same owner",
        Reason::Expired => "its time had come",
        Reason::NoLevel => "no room for its price",
        Reason::AuctionOver => "its auction was over",
        Reason::DayOver => "the day was over",
        Reason::Band => "outside the price bands",
        Reason::Purged => "an operator cancelled it",
        Reason::Killed => "a kill switch",
        Reason::Disconnected => "its session had no client for too long",
    }
}

pub fn reject(code: u16) -> String {
    Reject::from_wire(code).map_or_else(
        || format!("code {code}"),
        |reject| format!("{}: {}", reject.name(), reject.text().trim_end_matches('.')),
    )
}
