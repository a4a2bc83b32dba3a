//! Tapes drawn from measured marginals.
//!
//! A book is kept of what the tape says, so that every event is possible: adds never cross, executions take the oldest
//! order at the best price, no side becomes empty again. Within that, kinds of events, sides, sizes, distances from the
//! best price, lifetimes and times between events are drawn from what was measured. Where the book does not allow what
//! was drawn, the nearest that it does allow happens instead: the marginals of the tape are near those drawn from, not
//! equal. Marginals know nothing of how one event depends on those before it; neither does the tape.

use crate::histogram::{Sampler, draw_kind};
use crate::measure::{MIX, Marginals};
use crate::random::Random;
use crate::tape::{Event, Kind, Side};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Most orders that stand in the book: a delete comes instead of an add from there on. Within what one account of the
/// exchange may have.
pub const LIVE_MAX: usize = 40_000;
/// Most prices of a side: an add beyond goes to the worst of them. Within what a side of the exchange may have.
pub const LEVELS_MAX: usize = 1_000;
/// Highest price: that of LOBSTER's units which one replay's instrument takes.
pub const PRICE_MAX: i64 = 10_000_000_000;
/// Orders of each side that come first, so that what follows meets a book.
const OPENING: usize = 20;
/// Farthest that an add is from the best price, ticks.
const DISTANCE_MAX: i64 = 1_000_000;

/// Where a tape begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// Where the random numbers start.
    pub seed: u64,
    /// What prices are multiples of, above 0.
    pub tick: i64,
    /// Where the first prices are around, above 0.
    pub price: i64,
    /// Time of the first event, nanoseconds.
    pub time: u64,
}

#[derive(Clone, Copy, Debug)]
struct Order {
    side: Side,
    price: i64,
    open: u64,
    /// When it is to end.
    ends: u64,
    /// Its place in the list of all.
    at: usize,
}

#[derive(Debug, Default)]
struct Level {
    queue: VecDeque<u64>,
    size: u64,
}

/// The book of a tape.
#[derive(Debug, Default)]
pub struct Book {
    orders: BTreeMap<u64, Order>,
    /// Numbers of all orders, in no order that means anything: to draw one.
    all: Vec<u64>,
    ends: BTreeSet<(u64, u64)>,
    /// By side; the best price is last.
    levels: [BTreeMap<i64, Level>; 2],
    /// Orders by side.
    counts: [usize; 2],
}

impl Book {
    /// Prices and their shares, best first.
    pub fn levels(&self, side: Side) -> impl Iterator<Item = (i64, u64)> + '_ {
        self.levels[side as usize].iter().rev().map(move |(rank, level)| (side.rank(*rank), level.size))
    }

    fn best(&self, side: Side) -> Option<i64> {
        self.levels[side as usize].keys().next_back().map(|rank| side.rank(*rank))
    }

    fn add(&mut self, number: u64, side: Side, price: i64, size: u64, ends: u64) {
        let level = self.levels[side as usize].entry(side.rank(price)).or_default();
        level.queue.push_back(number);
        level.size += size;
        self.orders.insert(number, Order { side, price, open: size, ends, at: self.all.len() });
        self.all.push(number);
        self.ends.insert((ends, number));
        self.counts[side as usize] += 1;
    }

    /// Takes shares off an order, the last ones with the order itself.
    fn take_off(&mut self, number: u64, size: u64) {
        let order = self.orders.get_mut(&number).expect("it was found in the book");
        order.open -= size;
        let order = *order;
        let levels = &mut self.levels[order.side as usize];
        let level = levels.get_mut(&order.side.rank(order.price)).expect("an order has its level");
        level.size -= size;
        if order.open > 0 {
            return;
        }
        let place = level.queue.iter().position(|queued| *queued == number).expect("it is in its queue");
        level.queue.remove(place);
        if level.queue.is_empty() {
            levels.remove(&order.side.rank(order.price));
        }
        self.orders.remove(&number);
        self.ends.remove(&(order.ends, number));
        self.counts[order.side as usize] -= 1;
        self.all.swap_remove(order.at);
        if let Some(moved) = self.all.get(order.at) {
            self.orders.get_mut(moved).expect("all are in the book").at = order.at;
        }
    }
}

/// Draws a tape. See the module.
#[derive(Debug)]
pub struct Generator {
    random: Random,
    start: Start,
    mix: [u64; MIX.len()],
    sides: [u64; 2],
    sizes: Sampler,
    executions: Option<Sampler>,
    distances: Sampler,
    spreads: Option<Sampler>,
    lifetimes: Option<Sampler>,
    gaps: Sampler,
    book: Book,
    time: u64,
    next: u64,
}

impl Generator {
    /// A tape like what was measured; none if that has no adds with a best price before them, or no two events, or if
    /// prices have no room: a tick, or a first price, near 0 or near [`PRICE_MAX`].
    #[must_use]
    pub fn new(marginals: &Marginals, start: Start) -> Option<Self> {
        let has_room = start.tick >= 1
            && start.price >= start.tick
            && start.price <= PRICE_MAX - 4 * start.tick.min(PRICE_MAX);
        has_room.then_some(())?;
        Some(Self {
            random: Random::new(start.seed),
            start,
            mix: marginals.mix,
            sides: marginals.sides,
            sizes: marginals.sizes.sampler()?,
            executions: marginals.executions.sampler(),
            distances: marginals.distances.sampler()?,
            spreads: marginals.spreads.sampler(),
            lifetimes: marginals.lifetimes.sampler(),
            gaps: marginals.gaps.sampler()?,
            book: Book::default(),
            time: start.time,
            next: 1,
        })
    }

    /// One step more: shows `each` the one event that happens, or the two of a replacement, with the book behind it.
    pub fn step(&mut self, each: &mut dyn FnMut(&Event, &Book)) {
        if self.next > 1 {
            self.time = self.time.saturating_add(self.gaps.draw(&mut self.random).unsigned_abs());
        }
        // Until both sides have some orders, they get them in turn.
        if let Some(side) = Side::ALL.into_iter().min_by_key(|side| self.book.counts[*side as usize])
            && self.book.counts[side as usize] < OPENING
            && self.next <= 2 * OPENING as u64
        {
            return self.add(side, each);
        }
        let kind = draw_kind(&self.mix, &mut self.random).map_or(MIX[0], |at| MIX[at]);
        let is_full = self.book.all.len() >= LIVE_MAX;
        match kind {
            "partial cancels" => self.reduce(each),
            "executions" => self.execute(each),
            "deletes" => self.delete(each),
            "replaces" => self.replace(each),
            _ if is_full => self.delete(each),
            _ => self.add_somewhere(each),
        }
    }

    fn add_somewhere(&mut self, each: &mut dyn FnMut(&Event, &Book)) {
        let at = draw_kind(&self.sides, &mut self.random).unwrap_or(0);
        self.add(Side::ALL[at], each);
    }

    fn add(&mut self, side: Side, each: &mut dyn FnMut(&Event, &Book)) {
        let size = self.sizes.draw(&mut self.random).max(1).unsigned_abs();
        self.enter(side, size, each);
    }

    fn enter(&mut self, side: Side, size: u64, each: &mut dyn FnMut(&Event, &Book)) {
        let price = self.price(side);
        let life = match &self.lifetimes {
            Some(lifetimes) => lifetimes.draw(&mut self.random).unsigned_abs(),
            None => self.random.number() >> 16,
        };
        let order = self.next;
        self.next += 1;
        self.book.add(order, side, price, size, self.time.saturating_add(life));
        each(&Event { time: self.time, kind: Kind::Add, order, size, price, side }, &self.book);
    }

    /// A price for an add: as far from the best one as is drawn, if the book allows that.
    fn price(&mut self, side: Side) -> i64 {
        let tick = self.start.tick;
        // Neither overflows: both factors and all prices are within 34 bits.
        let distance = self.distances.draw(&mut self.random).clamp(-DISTANCE_MAX, DISTANCE_MAX) * tick;
        let other = self.book.best(side.opposite()).map(|price| side.rank(price) - tick);
        // Who comes in front of the best price leaves a spread like those that were measured.
        let spread =
            self.spreads.as_ref().map_or(1, |spreads| spreads.draw(&mut self.random)).clamp(1, DISTANCE_MAX);
        let middle = self.start.price / tick * tick;
        // An empty side begins half a spread from the middle, and never in front of the other one.
        let half = (spread + 1) / 2 * tick;
        let best = self.book.best(side).map_or_else(|| side.rank(middle) - half, |price| side.rank(price));
        let mut rank = best - distance;
        if let Some(other) = other {
            rank = rank.min(best.max(other - (spread - 1) * tick)).min(other);
        }
        // Offers are above bids and bids above 0, so that there is a price between the bounds and the other side.
        let worst = match side {
            Side::Buy => tick,
            Side::Sell => PRICE_MAX / tick * tick,
        };
        rank = rank.max(side.rank(worst));
        let levels = &self.book.levels[side as usize];
        if levels.len() >= LEVELS_MAX && !levels.contains_key(&rank) {
            rank = *levels.keys().next().expect("there are many");
        }
        side.rank(rank)
    }

    /// Whether the order is the only one of its side.
    fn is_last(&self, number: u64) -> bool {
        self.book.counts[self.book.orders[&number].side as usize] == 1
    }

    fn take(&mut self, kind: Kind, number: u64, size: u64, each: &mut dyn FnMut(&Event, &Book)) {
        let Order { side, price, .. } = self.book.orders[&number];
        self.book.take_off(number, size);
        each(&Event { time: self.time, kind, order: number, size, price, side }, &self.book);
    }

    fn any(&mut self) -> Option<u64> {
        let count = self.book.all.len() as u64;
        (count > 0).then(|| self.book.all[self.random.below(count) as usize])
    }

    fn reduce(&mut self, each: &mut dyn FnMut(&Event, &Book)) {
        const TRIES: usize = 8;
        for _ in 0..TRIES {
            if let Some(number) = self.any()
                && let open = self.book.orders[&number].open
                && open > 1
            {
                let size = 1 + self.random.below(open - 1);
                return self.take(Kind::Reduce, number, size, each);
            }
        }
        self.add_somewhere(each);
    }

    /// Deletes the order whose time is over since the shortest while, or will be first: others have missed their time,
    /// and to make up for that would make all orders old.
    fn delete(&mut self, each: &mut dyn FnMut(&Event, &Book)) {
        let ends = &self.book.ends;
        let due = ends.range(..=(self.time, u64::MAX)).next_back().or_else(|| ends.first());
        match due.map(|(_, number)| *number).filter(|number| !self.is_last(*number)) {
            Some(number) => self.take(Kind::Delete, number, self.book.orders[&number].open, each),
            None => self.add_somewhere(each),
        }
    }

    fn replace(&mut self, each: &mut dyn FnMut(&Event, &Book)) {
        let Some(number) = self.any().filter(|number| !self.is_last(*number)) else {
            return self.add_somewhere(each);
        };
        let Order { side, open, .. } = self.book.orders[&number];
        self.take(Kind::Delete, number, open, each);
        self.enter(side, open, each);
    }

    fn execute(&mut self, each: &mut dyn FnMut(&Event, &Book)) {
        let side = Side::ALL[self.random.below(2) as usize];
        let front =
            self.book.levels[side as usize].values().next_back().and_then(|level| level.queue.front());
        let Some(number) = front.copied().filter(|number| !self.is_last(*number)) else {
            return self.add_somewhere(each);
        };
        let open = self.book.orders[&number].open;
        let drawn = self.executions.as_ref().map_or(i64::MAX, |sizes| sizes.draw(&mut self.random));
        self.take(Kind::Execute, number, drawn.max(1).unsigned_abs().min(open), each);
    }
}
