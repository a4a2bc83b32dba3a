//! Orders that end at a time: a heap of slots, the one that ends first on top, and what happens when its time comes.

use crate::engine::Work;
use crate::matching::Event;
use crate::orders::Extra;
use crate::states::Turn;
use crate::timers::NEVER;
use crate::{Context, Engine, Sink, Step};
use ordain_exchange_protocol::Reason;

/// Slots by (expiry, order of acceptance). Derived state: not in snapshots.
pub(crate) struct Expiries {
    heap: Vec<u32>,
}

/// Orders ending under way.
#[derive(Clone, Copy)]
pub(crate) struct Ending {
    pub context: Context,
    /// What is due at this time or before.
    pub until: u64,
    /// What an instrument does whose time has come.
    pub event: Event,
    pub turn: Option<Turn>,
}

#[inline]
fn rank(extras: &[Extra], slot: u32) -> (u64, u64) {
    let extra = &extras[slot as usize];
    (extra.expiry, extra.accepted)
}

impl Expiries {
    pub fn new(orders: u32) -> Self {
        Self { heap: Vec::with_capacity(orders as usize) }
    }

    pub fn first(&self) -> Option<u32> {
        self.heap.first().copied()
    }

    pub fn len(&self) -> usize {
        self.heap.len()
    }

    pub fn at(&self, place: usize) -> Option<u32> {
        self.heap.get(place).copied()
    }

    /// Enters a slot whose extra says when it ends.
    pub fn insert(&mut self, extras: &mut [Extra], slot: u32) {
        self.heap.push(slot);
        self.rise(extras, self.heap.len() - 1);
    }

    /// Takes out a slot that is in.
    pub fn remove(&mut self, extras: &mut [Extra], slot: u32) {
        let place = extras[slot as usize].place as usize - 1;
        extras[slot as usize].place = 0;
        let last = self.heap.pop().expect("the slot is in the heap");
        if last != slot {
            self.heap[place] = last;
            extras[last as usize].place = place as u32 + 1;
            self.rise(extras, place);
            self.sink(extras, extras[last as usize].place as usize - 1);
        }
    }

    fn put(&mut self, extras: &mut [Extra], place: usize, slot: u32) {
        self.heap[place] = slot;
        extras[slot as usize].place = place as u32 + 1;
    }

    fn rise(&mut self, extras: &mut [Extra], mut place: usize) {
        let slot = self.heap[place];
        while place > 0 {
            let above = (place - 1) / 2;
            if rank(extras, self.heap[above]) <= rank(extras, slot) {
                break;
            }
            self.put(extras, place, self.heap[above]);
            place = above;
        }
        self.put(extras, place, slot);
    }

    fn sink(&mut self, extras: &mut [Extra], mut place: usize) {
        let slot = self.heap[place];
        loop {
            let below = [2 * place + 1, 2 * place + 2];
            let child = below
                .into_iter()
                .filter(|child| *child < self.heap.len())
                .min_by_key(|child| rank(extras, self.heap[*child]));
            let Some(child) = child.filter(|child| rank(extras, self.heap[*child]) < rank(extras, slot))
            else {
                break;
            };
            self.put(extras, place, self.heap[child]);
            place = child;
        }
        self.put(extras, place, slot);
    }
}

impl Engine {
    /// Log time at which the next order ends, by itself or with its session, or the next thing happens to an instrument, if
    /// any does.
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        let order = self.expiries.first().map_or(NEVER, |slot| self.orders.extras[slot as usize].expiry);
        let next = order.min(self.next_timer).min(self.disconnects.next);
        (next != NEVER).then_some(next)
    }

    /// Ends the orders whose time is at or before `until`, then those of sessions, then lets happen to instruments what is due, or the first part
    /// of this. There is no reply.
    ///
    /// # Panics
    /// If an earlier event is not finished.
    pub fn expire<S: Sink>(&mut self, context: &Context, until: u64, sink: &mut S) -> Step {
        assert!(!self.is_busy(), "an event follows only when the one before is done");
        self.feed.begin(context);
        let ending = Ending { context: *context, until, event: Event::new(context), turn: None };
        let step = self.end_orders(ending, sink);
        if self.feed.on { self.end_step(step, sink) } else { step }
    }

    pub(crate) fn end_orders<S: Sink>(&mut self, mut ending: Ending, sink: &mut S) -> Step {
        let mut room = self.step_room();
        while room > 0 {
            if let Some(turn) = &mut ending.turn {
                if self.turn(turn, &mut ending.event, &mut room, sink) == Step::More {
                    break;
                }
                ending.turn = None;
                continue;
            }
            let due = self.expiries.first();
            let due = due.filter(|slot| self.orders.extras[*slot as usize].expiry <= ending.until);
            let reason = if due.is_some() { Reason::Expired } else { Reason::Disconnected };
            let Some(slot) = due.or_else(|| self.next_disconnected(ending.until)) else {
                // What ended is said before anything happens to an instrument.
                if self.tell_changes(&ending.context, &mut room, sink) == Step::More {
                    break;
                }
                if room == 0 {
                    break;
                }
                if self.fire(&mut ending, sink).is_some() {
                    room -= 1;
                    continue;
                }
                return Step::Done;
            };
            room -= 1;
            let (order, id) = self.close(slot);
            self.report_closed(&ending.context, &order, id, reason, sink);
            self.publish(&mut room, sink);
        }
        self.work = Some(Work::End(ending));
        Step::More
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_first_is_on_top(steps in prop::collection::vec((0_u32..40, 0_u64..12), 1..300)) {
            let mut extras = vec![Extra::NONE; 40];
            let mut heap = Expiries::new(40);
            for (number, (slot, expiry)) in steps.into_iter().enumerate() {
                if extras[slot as usize].place == 0 {
                    extras[slot as usize].expiry = expiry;
                    extras[slot as usize].accepted = number as u64;
                    heap.insert(&mut extras, slot);
                } else {
                    heap.remove(&mut extras, slot);
                }
                let inside = |slot: &u32| extras[*slot as usize].place != 0;
                let first = (0..40).filter(inside).min_by_key(|slot| rank(&extras, *slot));
                prop_assert_eq!(heap.first(), first);
                prop_assert_eq!(heap.len(), (0..40).filter(inside).count());
                for place in 0..heap.len() {
                    let slot = heap.at(place).expect("inside");
                    prop_assert_eq!(extras[slot as usize].place as usize, place + 1);
                }
            }
        }
    }
}
