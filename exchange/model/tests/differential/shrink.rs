//! From a long stream that fails to a short one.

use crate::event::Event;
use crate::pair::Pair;
use ordain_exchange_engine::Limits;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Most replays that finding a shorter stream may take.
const REPLAYS_MAX: usize = 2_000;

/// The number of the first event at which engine and model part, and how.
pub fn first_failure(limits: &Limits, events: &[Event]) -> Option<(usize, String)> {
    let mut pair = Pair::new(limits);
    events.iter().enumerate().find_map(|(nth, event)| failure(&mut pair, event).map(|how| (nth, how)))
}

fn failure(pair: &mut Pair, event: &Event) -> Option<String> {
    match catch_unwind(AssertUnwindSafe(|| pair.apply(event))) {
        Ok(result) => result.err(),
        Err(panic) => Some(format!("panic: {}", message(&*panic))),
    }
}

/// What a panic said.
pub fn message(panic: &(dyn std::any::Any + Send)) -> &str {
    let owned = panic.downcast_ref::<String>().map(String::as_str);
    owned.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("of unknown kind")
}

/// Leaves out whatever the failure does not need: halves first, then smaller and smaller parts.
pub fn shrink(limits: &Limits, events: &[Event]) -> (Vec<Event>, String) {
    let (nth, mut how) = first_failure(limits, events).expect("the stream fails");
    let mut events = events[..=nth].to_vec();
    let mut part = events.len().div_ceil(2);
    let mut replays = 0;
    loop {
        let before = events.len();
        let mut from = 0;
        while from < events.len() && replays < REPLAYS_MAX {
            replays += 1;
            let to = (from + part).min(events.len());
            let without = [&events[..from], &events[to..]].concat();
            match first_failure(limits, &without) {
                Some((nth, now)) => {
                    how = now;
                    events = without[..=nth].to_vec();
                }
                None => from = to,
            }
        }
        if part == 1 && (events.len() == before || replays == REPLAYS_MAX) {
            return (events, how);
        }
        part = part.div_ceil(2).min(events.len()).max(1);
    }
}
