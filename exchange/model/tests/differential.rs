//! The engine against the naive model: after every event of random streams, replies, outputs, books, balances
//! and counts must agree, byte by byte.
//!
//! `DIFFERENTIAL_ROUNDS` in the environment multiplies the number of streams (1 if not set);
//! `DIFFERENTIAL_SHRINK=no` leaves out the search for a short stream that fails.
#![forbid(unsafe_code)]

#[path = "differential/copies.rs"]
mod copies;
#[path = "differential/coverage.rs"]
mod coverage;
#[path = "differential/event.rs"]
mod event;
#[path = "differential/listener.rs"]
mod listener;
#[path = "differential/pair.rs"]
mod pair;
#[path = "differential/shrink.rs"]
mod shrink;
#[path = "differential/stream.rs"]
mod stream;
#[path = "differential/text.rs"]
mod text;

use coverage::Coverage;
use event::Event;
use ordain_exchange_engine::Limits;
use pair::Pair;
use std::panic::{AssertUnwindSafe, catch_unwind};
use stream::{Features, Profile, Stream, Theme};

/// Runs streams of a profile and returns what they reached.
fn check(name: &str, profile: impl Fn(u64) -> Profile, streams: u64, events_per_stream: usize) -> Coverage {
    let rounds: u64 = std::env::var("DIFFERENTIAL_ROUNDS").map_or(1, |text| text.parse().expect("a number"));
    let mut coverage = Coverage::default();
    for seed in 0..streams * rounds {
        let mut log: Vec<Event> = Vec::new();
        let profile = profile(seed);
        let run =
            catch_unwind(AssertUnwindSafe(|| run(seed, profile, events_per_stream, &mut log, &mut coverage)));
        let failed = match run {
            Ok(result) => result.err(),
            Err(panic) => Some(shrink::message(&*panic).to_owned()),
        };
        if let Some(how) = failed {
            if std::env::var("DIFFERENTIAL_SHRINK").is_ok_and(|text| text == "no") {
                panic!("{name}, seed {seed}, event {}: {how}", log.len());
            }
            std::panic::set_hook(Box::new(|_| {}));
            let (events, how_short) = shrink::shrink(&profile.limits, &log);
            let _ = std::panic::take_hook();
            let lines: Vec<String> = events.iter().map(text::describe).collect();
            panic!(
                "{name}, seed {seed}, event {} of {}: {how}\n\nthe shortest that fails:\n{}\n\n{how_short}",
                log.len(),
                events_per_stream,
                lines.join("\n"),
            );
        }
    }
    coverage
}

fn run(
    seed: u64,
    profile: Profile,
    events: usize,
    log: &mut Vec<Event>,
    coverage: &mut Coverage,
) -> Result<(), String> {
    let mut pair = Pair::new(&profile.limits);
    pair.listens = !(profile.features.day && Theme::of(seed).day);
    let mut stream = Stream::new(seed, profile);
    let mut waiting = stream.opening();
    while log.len() < events {
        for event in waiting {
            log.push(event);
            let event = &log[log.len() - 1];
            let said = pair.apply(event)?;
            coverage.note(event, &said);
        }
        waiting = stream.next(&pair.model);
    }
    coverage.mark(pair.listener.marks.drain(..));
    coverage.mark(pair.reader.marks.drain(..));
    coverage.mark(pair.copies.marks.drain(..));
    Ok(())
}

/// So little of everything that all limits are met.
const TINY: Profile = Profile {
    limits: Limits {
        instruments: 3,
        currencies: 3,
        accounts: 4,
        orders: 14,
        orders_per_account: 5,
        levels_per_side: 3,
        transfers: 5,
    },
    features: Features::ALL,
    opened: 2,
    stops: 30,
    creations: 10,
    mass_cancels: 8,
    cancels: 60,
    transfers: 80,
    wealth: 1,
    building: 40,
    sweeps: 8,
    lots: [9, 20, 30],
    prices: 9,
    huge: false,
    spread: false,
};

/// Deep books and many currencies: lists that take several answers, events that take several steps.
const DEEP: Profile = Profile {
    limits: Limits {
        instruments: 2,
        currencies: 45,
        accounts: 3,
        orders: 260,
        orders_per_account: 160,
        levels_per_side: 40,
        transfers: 40,
    },
    // What cancels itself or ends keeps books shallow.
    features: Features { feeds: true, copies: true, ..Features::NONE },
    opened: 2,
    stops: 30,
    creations: 4,
    mass_cancels: 2,
    cancels: 10,
    transfers: 60,
    wealth: 100,
    building: 40,
    sweeps: 40,
    lots: [60, 150, 300],
    prices: 60,
    huge: false,
    spread: false,
};

/// Instruments at the edges of what is allowed, and money up to 2^63 - 1.
const HUGE: Profile = Profile {
    limits: Limits {
        instruments: 16,
        currencies: 3,
        accounts: 3,
        orders: 20,
        orders_per_account: 10,
        levels_per_side: 4,
        transfers: 8,
    },
    features: Features::ALL,
    opened: 2,
    stops: 30,
    creations: 120,
    mass_cancels: 10,
    cancels: 60,
    transfers: 150,
    wealth: 1,
    building: 40,
    sweeps: 20,
    lots: [9, 20, 30],
    prices: 9,
    huge: true,
    spread: false,
};

/// So many instruments that a change of all takes several steps.
const WIDE: Profile = Profile {
    limits: Limits { instruments: 130, ..TINY.limits },
    opened: 130,
    features: Features { states: true, feeds: true, ..Features::NONE },
    ..TINY
};

/// Orders in so many instruments that their best prices do not fit into one step.
const BROAD: Profile = Profile {
    limits: Limits { instruments: 40, accounts: 3, orders: 250, orders_per_account: 140, ..TINY.limits },
    opened: 40,
    features: Features { feeds: true, copies: true, ..Features::NONE },
    mass_cancels: 4,
    cancels: 10,
    wealth: 10_000,
    building: 80,
    spread: true,
    ..TINY
};

#[test]
fn with_little_of_everything() {
    let profile = |seed: u64| {
        // Where there is hardly room for two prices, triggered orders find none; where there is room for few orders, that is
        // used up before each account has used up its own.
        let orders = if seed % 7 == 6 { 7 } else { TINY.limits.orders };
        let limits = Limits { levels_per_side: 2 + seed as u32 % 2, orders, ..TINY.limits };
        // Where most orders wait, triggers become scarce; where many do, halts, too, happen to those that wait.
        let stops = match seed % 12 {
            0 | 4 | 8 => 90,
            2 | 5 => 60,
            _ => TINY.stops,
        };
        Profile { limits, stops, ..TINY }
    };
    check("tiny", profile, 1_200, 700).assert_complete(&[
        coverage::TINY,
        coverage::PAGES,
        coverage::STATES,
        coverage::ACCESS,
        coverage::AUCTIONS,
        coverage::DAY,
        coverage::LIMITS,
        coverage::FEES,
        coverage::DISCONNECT,
        coverage::FEEDS,
        coverage::COPIES,
    ]);
}

#[test]
fn with_deep_books() {
    // Auctions of which feeds tell as well: an uncrossing of many orders takes several steps.
    let features = Features { orders: true, icebergs: true, states: true, auctions: true, ..DEEP.features };
    let gathering = Profile { features, ..DEEP };
    check("deep", |seed| if seed < 6 { DEEP } else { gathering }, 8, 4_000)
        .assert_complete(&[coverage::DEEP]);
}

#[test]
fn with_many_instruments() {
    check("wide", |_| WIDE, 6, 1_500).assert_complete(&[coverage::WIDE]);
}

#[test]
fn with_best_prices_of_many_instruments() {
    check("broad", |_| BROAD, 8, 3_000).assert_complete(&[coverage::BROAD]);
}

#[test]
fn with_terms_at_their_edges() {
    // Whatever closes a market or limits an order keeps out the greatest, which are what these streams are for.
    let features = Features {
        states: false,
        access: false,
        auctions: false,
        day: false,
        limits: false,
        fees: false,
        ..Features::ALL
    };
    let free = Profile { features, ..HUGE };
    check("huge", move |seed| if seed % 2 == 0 { HUGE } else { free }, 400, 700)
        .assert_complete(&[coverage::HUGE]);
}
