//! Tapes drawn here, followed by a book that knows nothing of the generator's.

use ordain_exchange_flow::generate::{Generator, LEVELS_MAX, LIVE_MAX, Start};
use ordain_exchange_flow::histogram::{Histogram, mix_distance};
use ordain_exchange_flow::measure::{Marginals, Measure};
use ordain_exchange_flow::tape::{Event, Kind, Side};
use proptest::prelude::*;
use std::collections::BTreeMap;

const TICK: i64 = 25;

fn start(seed: u64) -> Start {
    Start { seed, tick: TICK, price: 100_000, time: 7 }
}

/// Numbers up to `most`, small ones more often.
fn falling(most: i64) -> Histogram {
    let mut histogram = Histogram::default();
    for number in 1..=most {
        (0..1 + 1_000 / (number * number)).for_each(|_| histogram.add(number));
    }
    histogram
}

fn market() -> Marginals {
    Marginals {
        mix: [100, 5, 70, 15, 20],
        sides: [60, 40],
        sizes: falling(500),
        executions: falling(100),
        distances: {
            let mut distances = falling(30);
            (0..400).for_each(|at| distances.add(-(at % 3)));
            distances
        },
        lifetimes: falling(1_000_000),
        gaps: falling(5_000),
        ..Marginals::default()
    }
}

fn tape(marginals: &Marginals, seed: u64, steps: usize) -> Vec<Event> {
    let mut generator = Generator::new(marginals, start(seed)).unwrap();
    let mut events = Vec::new();
    (0..steps).for_each(|_| generator.step(&mut |event, _| events.push(*event)));
    events
}

fn measured(events: &[Event]) -> Marginals {
    let mut measure = Measure::new(TICK);
    events.iter().for_each(|event| measure.take(event, None));
    measure.finish()
}

#[test]
fn a_tape_is_its_marginals_and_seed() {
    let record = |seed| tape(&market(), seed, 3_000);
    assert!(record(1) == record(1));
    assert!(record(1) != record(2));
}

#[test]
fn a_tape_is_like_what_it_was_drawn_from() {
    let (drawn, like) = (measured(&tape(&market(), 3, 60_000)), market());
    let near = |name: &str, distance: Option<u64>, most: u64| {
        let distance = distance.expect("both have numbers");
        assert!(distance <= most, "{name}: {distance} millionths");
    };
    near("mix", mix_distance(&drawn.mix, &like.mix), 20_000);
    near("sides", mix_distance(&drawn.sides, &like.sides), 20_000);
    near("sizes", drawn.sizes.distance(&like.sizes), 60_000);
    near("gaps", drawn.gaps.distance(&like.gaps), 20_000);
    near("distances", drawn.distances.distance(&like.distances), 250_000);
    near("executions", drawn.executions.distance(&like.executions), 250_000);
}

#[test]
fn what_was_measured_of_nothing_gives_no_tape() {
    assert!(Generator::new(&Marginals::default(), start(1)).is_none());
}

/// A book of the tape alone: every event must be possible in it, and its levels those that the generator shows.
#[derive(Default)]
struct Judge {
    orders: BTreeMap<u64, Event>,
}

impl Judge {
    fn levels(&self, side: Side) -> BTreeMap<i64, u64> {
        let mut levels = BTreeMap::new();
        for order in self.orders.values().filter(|order| order.side == side) {
            *levels.entry(order.price).or_default() += order.size;
        }
        levels
    }

    fn best(&self, side: Side) -> Option<i64> {
        let levels = self.levels(side);
        if side == Side::Buy { levels.keys().next_back().copied() } else { levels.keys().next().copied() }
    }

    fn take(&mut self, event: &Event) {
        let Event { kind, order, size, price, side, .. } = *event;
        assert!(size > 0 && price > 0 && price % TICK == 0, "{event:?}");
        if kind == Kind::Add {
            match (side, self.best(side.opposite())) {
                (Side::Buy, Some(offer)) => assert!(price < offer, "{event:?}"),
                (Side::Sell, Some(bid)) => assert!(price > bid, "{event:?}"),
                _ => {}
            }
            assert!(self.orders.insert(order, *event).is_none(), "{event:?}");
            return;
        }
        let best = self.best(side);
        let first = self.orders.values().find(|found| (found.side, Some(found.price)) == (side, best));
        let first = first.map(|found| found.order);
        let open = self.orders.get_mut(&order).expect("it is there");
        assert_eq!((open.price, open.side), (price, side), "{event:?}");
        match kind {
            Kind::Reduce => assert!(size < open.size),
            Kind::Delete => assert_eq!(size, open.size),
            Kind::Execute => assert!(size <= open.size && first == Some(order), "{event:?}"),
            Kind::Add | Kind::Other => panic!("{event:?}"),
        }
        open.size -= size;
        if open.size == 0 {
            self.orders.remove(&order);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Whatever the marginals, the tape is possible.
    #[test]
    fn every_event_is_possible(
        seed: u64,
        mix in prop::array::uniform5(0..50u64),
        sides in prop::array::uniform2(0..3u64),
        distances in prop::collection::vec(any::<i64>().prop_flat_map(|wide| prop_oneof![Just(wide), -9..9i64]), 1..9),
        sizes in prop::collection::vec(-5..2_000_000i64, 1..9),
    ) {
        let mut marginals = Marginals { mix, sides, gaps: falling(9), ..Marginals::default() };
        distances.into_iter().for_each(|distance| marginals.distances.add(distance));
        sizes.into_iter().for_each(|size| marginals.sizes.add(size));
        let mut generator = Generator::new(&marginals, start(seed)).unwrap();
        let mut judge = Judge::default();
        for _ in 0..300 {
            generator.step(&mut |event, book| {
                judge.take(event);
                for side in Side::ALL {
                    assert_eq!(book.levels(side).collect::<BTreeMap<_, _>>(), judge.levels(side));
                }
            });
        }
    }
}

#[test]
fn a_tape_of_adds_alone_keeps_its_bounds() {
    let mut marginals = Marginals { mix: [1, 0, 0, 0, 0], sides: [1, 1], ..market() };
    (0..5_000).for_each(|distance| marginals.distances.add(distance));
    let mut generator = Generator::new(&marginals, start(1)).unwrap();
    let (mut live, mut levels) = (0_usize, 0);
    for _ in 0..LIVE_MAX + 2_000 {
        generator.step(&mut |event, book| {
            if event.kind == Kind::Add {
                live += 1
            } else {
                live -= 1
            }
            levels = levels.max(book.levels(Side::Buy).count());
            assert!(live <= LIVE_MAX);
        });
    }
    assert_eq!((live, levels), (LIVE_MAX, LEVELS_MAX));
}
