//! Orders that end with the day: those for the day, and those for one auction, which wait for it. Rules:
//! `docs/exchange/auctions.md`.
//!
//! An instrument's are in two lists in the order of their acceptance, linked through their extras.

use crate::instrument::live;
use crate::levels::key;
use crate::matching::Event;
use crate::orders::NONE;
use crate::{Engine, Sink, Step};
use ordain_exchange_protocol::{MarketState, Reason, TimeInForce};

/// Most orders that one step looks at.
const STEP_ORDERS: usize = 1 << 10;

/// Which list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ends {
    WithDay = 0,
    WithAuction = 1,
}

/// What happens to the orders of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pass {
    /// Those in the book end: their auction is over.
    EndOfAuction,
    /// Those that wait for the auction that begins join it.
    Join,
    /// All end.
    EndOfDay,
}

/// A pass through a list under way.
#[derive(Clone, Copy)]
pub(crate) struct Walk {
    pub pass: Pass,
    next: u32,
}

impl Walk {
    /// Whether the list has no more orders.
    pub const fn is_done(&self) -> bool {
        self.next == NONE
    }
}

/// The auction that an order of this state's is for.
const fn auction_of(state: MarketState) -> Option<TimeInForce> {
    match state {
        MarketState::OpeningAuction => Some(TimeInForce::Ato),
        MarketState::ClosingAuction => Some(TimeInForce::Atc),
        _ => None,
    }
}

/// Whether an order with this time in force waits for another state than this.
pub(crate) fn waits_for_auction(time_in_force: TimeInForce, state: MarketState) -> bool {
    time_in_force.is_for_auction() && auction_of(state) != Some(time_in_force)
}

impl Engine {
    /// Whether an order waits for its auction.
    #[inline]
    pub(crate) fn is_parked(&self, slot: u32) -> bool {
        let order = self.orders.get(slot);
        order.traits.waits() && !self.orders.extras[slot as usize].order_type().waits()
    }

    pub(crate) fn ends(&self, slot: u32) -> Ends {
        let for_auction = self.orders.extras[slot as usize].time_in_force().is_for_auction();
        if for_auction { Ends::WithAuction } else { Ends::WithDay }
    }

    /// Enters an order at the end of its list.
    #[cold]
    pub(crate) fn join_day(&mut self, slot: u32) {
        let (ends, id) = (self.ends(slot) as usize, self.orders.get(slot).instrument);
        let [first, last] = &mut self.calls[usize::from(id) - 1].days[ends];
        let before = std::mem::replace(last, slot);
        match before {
            NONE => *first = slot,
            before => self.orders.extras[before as usize].day_next = slot,
        }
        let extra = &mut self.orders.extras[slot as usize];
        (extra.day_previous, extra.day_next) = (before, NONE);
    }

    #[cold]
    pub(crate) fn leave_day(&mut self, slot: u32) {
        let (ends, id) = (self.ends(slot) as usize, self.orders.get(slot).instrument);
        let extra = &mut self.orders.extras[slot as usize];
        let (previous, next) = (extra.day_previous, extra.day_next);
        let [first, last] = &mut self.calls[usize::from(id) - 1].days[ends];
        match previous {
            NONE => *first = next,
            previous => self.orders.extras[previous as usize].day_next = next,
        }
        match next {
            NONE => *last = previous,
            next => self.orders.extras[next as usize].day_previous = previous,
        }
    }

    /// Puts the lists of a restored engine into the order of acceptance.
    pub(crate) fn sort_days(&mut self) {
        let mut slots: Vec<u32> = (0..self.orders.slots.len() as u32)
            .filter(|slot| {
                self.orders.get(*slot).account != 0
                    && self.orders.extra(*slot).is_some_and(|extra| extra.day != 0)
            })
            .collect();
        slots.sort_unstable_by_key(|slot| (self.orders.extras[*slot as usize].accepted, *slot));
        self.calls.iter_mut().for_each(|call| call.days = [[NONE; 2]; 2]);
        slots.into_iter().for_each(|slot| self.join_day(slot));
    }

    /// Begins a pass through an instrument's list.
    pub(crate) fn walk(&self, instrument: u16, ends: Ends, pass: Pass) -> Walk {
        Walk { pass, next: self.call(instrument).days[ends as usize][0] }
    }

    /// Goes on while there is room for outputs. `Done` at the end of the list.
    pub(crate) fn walk_on<S: Sink>(
        &mut self,
        walk: &mut Walk,
        event: &Event,
        room: &mut usize,
        sink: &mut S,
    ) -> Step {
        for _ in 0..STEP_ORDERS {
            if walk.next == NONE {
                return Step::Done;
            }
            if *room == 0 {
                break;
            }
            let slot = walk.next;
            walk.next = self.orders.extras[slot as usize].day_next;
            let ended = match walk.pass {
                Pass::EndOfDay => Some(Reason::DayOver),
                Pass::EndOfAuction => (!self.is_parked(slot)).then_some(Reason::AuctionOver),
                Pass::Join => self.join_auction(slot),
            };
            if let Some(reason) = ended {
                let (order, id) = self.close(slot);
                self.report_closed(&event.context, &order, id, reason, sink);
                *room -= 1;
            }
            self.publish(room, sink);
        }
        Step::More
    }

    /// Lets an order into the book that waited for the auction which the instrument is in now. Gives why it cannot be.
    fn join_auction(&mut self, slot: u32) -> Option<Reason> {
        let order = *self.orders.get(slot);
        let extra = self.orders.extras[slot as usize];
        let instrument = live(&self.instruments, order.instrument);
        if !self.is_parked(slot) || auction_of(instrument.state) != Some(extra.time_in_force()) {
            return None;
        }
        if extra.is_market() {
            // Its price was settled when it came. In the auction all are held to the same.
            let price = instrument.protection(order.side, self.call(order.instrument).reference);
            let (currency, held) = instrument.hold(order.side, order.price, order.remaining);
            let (_, hold) = instrument.hold(order.side, price, order.remaining);
            let at = self.ledger.at(order.account, currency);
            if hold > held + self.ledger.free(at) {
                return Some(Reason::Budget);
            }
            self.ledger.release(at, held);
            self.ledger.hold(at, hold);
            self.lots_close(order.account, order.instrument, order.side, order.price, order.remaining);
            self.lots_open(order.account, order.instrument, order.side, price, order.remaining);
            self.orders.get_mut(slot).price = price;
        } else {
            let ladder = instrument.ladder(order.side);
            let known = self.levels.find(ladder, key(order.side, order.price)).is_some();
            if self.levels.is_full(ladder) && !known {
                return Some(Reason::NoLevel);
            }
        }
        self.orders.get_mut(slot).traits = order.traits.no_longer_waiting(true);
        self.enter_level(slot);
        None
    }
}
