//! Orders that were loaded find each other: chains, levels, queues, accounts' lists.

use super::{LoadError, ensure};
use crate::Engine;
use crate::levels::key;
use crate::orders::{Extra, NONE, Order};

impl Engine {
    /// Sets the forward links from the backward ones.
    pub(super) fn link_forward(&mut self) -> Result<(), LoadError> {
        for slot in 0..self.orders.slots.len() {
            let order = self.orders.slots[slot];
            if order.account == 0 {
                continue;
            }
            if order.previous != NONE {
                let before = self.live_slot(order.previous)?;
                ensure(before.next == NONE, "two orders stand behind the same one")?;
                before.next = slot as u32;
            }
            if order.account_previous != NONE {
                let before = self.live_slot(order.account_previous)?;
                ensure(before.account_next == NONE, "two orders were entered after the same one")?;
                before.account_next = slot as u32;
            }
        }
        Ok(())
    }

    fn live_slot(&mut self, slot: u32) -> Result<&mut Order, LoadError> {
        let order = self.orders.slots.get_mut(slot as usize).filter(|order| order.account != 0);
        order.ok_or(LoadError("an order stands behind none"))
    }

    /// Builds the levels. Chains begin at orders without one before them, so a ring of orders is left out
    /// and found by the audit.
    pub(super) fn queue_orders(&mut self) -> Result<(), LoadError> {
        for first in 0..self.orders.slots.len() {
            let head = self.orders.slots[first];
            if head.account == 0 || head.previous != NONE || head.level != NONE {
                continue;
            }
            let mut slot = first as u32;
            if self.is_parked(slot) {
                ensure(head.next == NONE, "an order stands behind one that waits")?;
            } else if head.traits.waits() {
                self.has_room_to_wait(slot)?;
            } else if self.orders.extra(slot).is_some_and(Extra::is_market) {
                let level = &self.call(head.instrument).market[head.side as usize - 1];
                ensure(level.orders == 0, "market orders have two queues")?;
            } else {
                self.has_room_to_rest(&head)?;
            }
            while slot != NONE {
                let next = self.orders.get(slot).next;
                let order = self.orders.get(slot);
                let is_market = |slot: u32| self.orders.extra(slot).is_some_and(Extra::is_market);
                let alike = (order.instrument, order.side, order.price, order.traits.waits())
                    == (head.instrument, head.side, head.price, false)
                    && is_market(slot) == is_market(first as u32);
                if self.is_parked(slot) && slot == first as u32 {
                    // It is in no queue.
                } else if order.traits.waits() && head.traits.waits() {
                    let same = self.orders.extras[slot as usize].trigger == self.orders.extras[first].trigger
                        && order.instrument == head.instrument
                        && self.direction(slot) == self.direction(first as u32);
                    ensure(same, "an order is in the wrong queue")?;
                    self.enter_queue(slot);
                } else {
                    ensure(alike, "an order is in the wrong queue")?;
                    self.enter_level(slot);
                }
                slot = next;
            }
        }
        Ok(())
    }

    fn has_room_to_rest(&self, head: &Order) -> Result<(), LoadError> {
        let ladder = self.live_instrument(head.instrument).ladder(head.side);
        ensure(self.levels.find(ladder, key(head.side, head.price)).is_none(), "a price has two queues")?;
        ensure(!self.levels.is_full(ladder), "a book has more prices than the limit")
    }

    fn has_room_to_wait(&self, slot: u32) -> Result<(), LoadError> {
        let direction = self.direction(slot);
        let at = usize::from(self.orders.get(slot).instrument) - 1;
        let queue = &self.queues[at][direction as usize];
        let trigger = self.orders.extras[slot as usize].trigger;
        ensure(self.triggers.find(queue, direction.key(trigger)).is_none(), "a trigger has two queues")?;
        ensure(!self.triggers.is_full(queue), "a queue has more triggers than the limit")
    }

    /// Builds the accounts' lists and the index.
    pub(super) fn list_orders(&mut self) -> Result<(), LoadError> {
        for first in 0..self.orders.slots.len() {
            let head = self.orders.slots[first];
            if head.account == 0 || head.account_previous != NONE {
                continue;
            }
            ensure(self.accounts[head.account as usize].orders == 0, "an account has two lists")?;
            let mut slot = first as u32;
            while slot != NONE {
                let order = *self.orders.get(slot);
                let duplicate = self.find_client_order(order.account, order.client_order_id).is_some();
                ensure(order.account == head.account && !duplicate, "an account's list is broken")?;
                self.list(slot);
                slot = order.account_next;
            }
        }
        Ok(())
    }
}
