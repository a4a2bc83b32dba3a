//! What a tape looks like: its marginals.
//!
//! The measure follows the orders that the tape adds, in a book of its own. What stood before the tape began is
//! unknown to it and counts only in the mix. A delete that an add of the same side follows at the same time is a
//! replacement: files that know only adds and deletes write them so.

use crate::histogram::Histogram;
use crate::tape::{Event, Kind, Side};
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;

/// Orders followed at a time, in some 100 MiB: further ones count in the mix, the sizes and distances alone.
pub const ORDERS_MAX: usize = 1 << 20;

/// Names of [`Marginals::mix`].
pub const MIX: [&str; 5] = ["adds", "partial cancels", "deletes", "executions", "replaces"];
const ADD: usize = 0;
const REDUCE: usize = 1;
const DELETE: usize = 2;
const EXECUTE: usize = 3;
const REPLACE: usize = 4;

/// The statistics of a tape. Prices are in ticks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marginals {
    /// Events by [`MIX`].
    pub mix: [u64; MIX.len()],
    /// Adds, replacements included: bids and offers.
    pub sides: [u64; 2],
    /// Shares of an add.
    pub sizes: Histogram,
    /// Shares of an execution.
    pub executions: Histogram,
    /// How far an add is behind the best price of its side; below 0, in front of it.
    pub distances: Histogram,
    /// From the best bid to the best offer, at each add.
    pub spreads: Histogram,
    /// Orders ahead of an add at its price.
    pub queues: Histogram,
    /// Prices of the side that an add meets.
    pub levels: Histogram,
    /// Nanoseconds from an add to the order's end.
    pub lifetimes: Histogram,
    /// Nanoseconds from an event to the next; a replacement is one event.
    pub gaps: Histogram,
    /// Orders that were open at the end of the tape.
    pub unfinished: u64,
    /// Events that the visible book does not show.
    pub others: u64,
}

/// An order that is followed.
#[derive(Clone, Copy, Debug)]
struct Followed {
    side: Side,
    price: i64,
    open: u64,
    since: u64,
}

/// Best bid and offer, as far as somebody knows them.
pub type Best = [Option<i64>; 2];

/// Takes a tape event by event.
#[derive(Debug)]
pub struct Measure {
    tick: i64,
    marginals: Marginals,
    orders: FxHashMap<u64, Followed>,
    /// Orders at each price, by side and rank.
    book: [BTreeMap<i64, u64>; 2],
    last: Option<u64>,
    /// Side and time of a delete that may turn out to be the first half of a replacement.
    deleted: Option<(Side, u64)>,
}

impl Measure {
    /// A measure of a tape whose prices are multiples of `tick`, which is above 0.
    #[must_use]
    pub fn new(tick: i64) -> Self {
        Self {
            tick: tick.max(1),
            marginals: Marginals::default(),
            orders: FxHashMap::default(),
            book: [BTreeMap::new(), BTreeMap::new()],
            last: None,
            deleted: None,
        }
    }

    /// Best bid and offer among the orders that are followed.
    #[must_use]
    pub fn best(&self) -> Best {
        Side::ALL.map(|side| self.book[side as usize].keys().next_back().map(|rank| side.rank(*rank)))
    }

    /// Takes an event. `best` is what is known from elsewhere of the book before it.
    pub fn take(&mut self, event: &Event, best: Option<Best>) {
        let deleted = self.deleted.take();
        let replaces = event.kind == Kind::Add && deleted == Some((event.side, event.time));
        if !replaces {
            let gap = self.last.map_or(0, |last| event.time.saturating_sub(last));
            if self.last.replace(event.time).is_some() {
                self.marginals.gaps.add(nanos(gap));
            }
        }
        match event.kind {
            Kind::Add => self.add(event, replaces, best.unwrap_or_else(|| self.best())),
            Kind::Reduce => {
                self.marginals.mix[REDUCE] += 1;
                self.take_off(event);
            }
            Kind::Delete => {
                self.marginals.mix[DELETE] += 1;
                self.deleted = Some((event.side, event.time));
                self.end(event.order, event.time);
            }
            Kind::Execute => {
                self.marginals.mix[EXECUTE] += 1;
                self.marginals.executions.add(nanos(event.size));
                self.take_off(event);
            }
            Kind::Other => self.marginals.others += 1,
        }
    }

    fn add(&mut self, event: &Event, replaces: bool, best: Best) {
        let Event { side, price, .. } = *event;
        let marginals = &mut self.marginals;
        if replaces {
            marginals.mix[DELETE] -= 1;
            marginals.mix[REPLACE] += 1;
        } else {
            marginals.mix[ADD] += 1;
        }
        marginals.sides[side as usize] += 1;
        marginals.sizes.add(nanos(event.size));
        if let Some(best) = best[side as usize] {
            marginals.distances.add(side.rank(best).saturating_sub(side.rank(price)) / self.tick);
        }
        if let [Some(bid), Some(offer)] = best {
            marginals.spreads.add(offer.saturating_sub(bid) / self.tick);
        }
        let book = &mut self.book[side as usize];
        marginals.levels.add(book.len() as i64);
        marginals.queues.add(book.get(&side.rank(price)).map_or(0, |orders| nanos(*orders)));
        if self.orders.len() >= ORDERS_MAX || event.size == 0 {
            return;
        }
        // A number given twice: the order that had it is gone, as far as the tape says.
        self.end(event.order, event.time);
        self.orders.insert(event.order, Followed { side, price, open: event.size, since: event.time });
        *self.book[side as usize].entry(side.rank(price)).or_default() += 1;
    }

    fn take_off(&mut self, event: &Event) {
        let Some(order) = self.orders.get_mut(&event.order) else { return };
        order.open = order.open.saturating_sub(event.size);
        if order.open == 0 {
            self.end(event.order, event.time);
        }
    }

    fn end(&mut self, order: u64, time: u64) {
        let Some(order) = self.orders.remove(&order) else { return };
        self.marginals.lifetimes.add(nanos(time.saturating_sub(order.since)));
        let (book, rank) = (&mut self.book[order.side as usize], order.side.rank(order.price));
        match book.get_mut(&rank) {
            Some(orders) if *orders > 1 => *orders -= 1,
            _ => drop(book.remove(&rank)),
        }
    }

    /// What was measured.
    #[must_use]
    pub fn finish(mut self) -> Marginals {
        self.marginals.unfinished = self.orders.len() as u64;
        self.marginals
    }
}

fn nanos(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The greatest common divisor of `tick`, which is 0 at first, and a price: what a tape's tick is found with.
#[must_use]
pub const fn common_tick(tick: i64, price: i64) -> i64 {
    let (mut one, mut other) = (tick.unsigned_abs(), price.unsigned_abs());
    while other != 0 {
        (one, other) = (other, one % other);
    }
    // Only of the smallest number of all is there no positive one.
    if one > i64::MAX as u64 { i64::MAX } else { one as i64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(time: u64, kind: Kind, order: u64, size: u64, price: i64, side: Side) -> Event {
        Event { time, kind, order, size, price, side }
    }

    #[test]
    fn a_small_tape_is_measured_as_by_hand() {
        use Side::{Buy, Sell};
        let mut measure = Measure::new(100);
        for (time, kind, order, size, price, side) in [
            (10, Kind::Add, 1, 50, 1_000, Buy),
            (20, Kind::Add, 2, 60, 1_300, Sell),
            (30, Kind::Add, 3, 70, 1_000, Buy),
            (40, Kind::Add, 4, 10, 1_100, Buy),
            (50, Kind::Execute, 4, 4, 1_100, Buy),
            (60, Kind::Reduce, 3, 20, 1_000, Buy),
            (70, Kind::Execute, 4, 6, 1_100, Buy),
            (80, Kind::Delete, 1, 50, 1_000, Buy),
            (80, Kind::Add, 5, 50, 900, Buy),
            (95, Kind::Delete, 9, 5, 700, Buy),
            (95, Kind::Add, 6, 7, 1_400, Sell),
            (96, Kind::Other, 0, 0, 0, Sell),
        ] {
            measure.take(&event(time, kind, order, size, price, side), None);
        }
        assert_eq!(measure.best(), [Some(1_000), Some(1_300)]);
        let marginals = measure.finish();
        assert_eq!(marginals.mix, [5, 1, 1, 2, 1]);
        assert_eq!((marginals.sides, marginals.unfinished, marginals.others), ([4, 2], 4, 1));
        let of = |numbers: &[i64]| {
            let mut histogram = Histogram::default();
            numbers.iter().for_each(|number| histogram.add(*number));
            histogram
        };
        assert_eq!(marginals.sizes, of(&[50, 60, 70, 10, 50, 7]));
        assert_eq!(marginals.executions, of(&[4, 6]));
        assert_eq!(marginals.distances, of(&[0, -1, 1, 1]));
        assert_eq!(marginals.spreads, of(&[3, 3, 3, 3]));
        assert_eq!(marginals.queues, of(&[0, 0, 1, 0, 0, 0]));
        assert_eq!(marginals.levels, of(&[0, 0, 1, 1, 1, 1]));
        assert_eq!(marginals.lifetimes, of(&[30, 70]));
        assert_eq!(marginals.gaps, of(&[10, 10, 10, 10, 10, 10, 10, 15, 0, 1]));
    }

    #[test]
    fn what_is_known_from_elsewhere_of_the_book_counts() {
        let mut measure = Measure::new(1);
        measure.take(&event(1, Kind::Add, 1, 1, 95, Side::Buy), Some([Some(100), Some(107)]));
        let marginals = measure.finish();
        assert_eq!((marginals.distances.quantile(500), marginals.spreads.quantile(500)), (5, 7));
    }

    #[test]
    fn the_tick_is_what_all_prices_are_multiples_of() {
        assert_eq!([300, 0, -450, 1_200].into_iter().fold(0, common_tick), 150);
        assert_eq!(common_tick(0, i64::MIN), i64::MAX);
    }
}
