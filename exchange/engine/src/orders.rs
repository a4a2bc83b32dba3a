//! The slab of orders.

use ordain_exchange_protocol::Side;

/// No slot, no level.
pub(crate) const NONE: u32 = u32::MAX;

/// An order, one cache line.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(crate) struct Order {
    pub client_order_id: u64,
    pub price: i64,
    pub remaining: u64,
    pub cumulative: u64,
    /// 0 if the slot is not a listed order.
    pub account: u32,
    /// How often the slot was taken; 0 never.
    pub generation: u32,
    /// Neighbours in the queue of the level. In a free slot `next` is the slot freed before it.
    pub previous: u32,
    pub next: u32,
    /// Neighbours among the account's orders, in order of entry.
    pub account_previous: u32,
    pub account_next: u32,
    pub level: u32,
    pub instrument: u16,
    pub side: Side,
    pub post_only: bool,
}

const _: () = assert!(size_of::<Order>() == 64);

impl Order {
    pub const EMPTY: Self = Self {
        client_order_id: 0,
        price: 0,
        remaining: 0,
        cumulative: 0,
        account: 0,
        generation: 0,
        previous: NONE,
        next: NONE,
        account_previous: NONE,
        account_next: NONE,
        level: NONE,
        instrument: 0,
        side: Side::Buy,
        post_only: false,
    };
}

/// All orders. Which slot comes next is part of the state, since clients see it in order ids.
pub(crate) struct Orders {
    pub slots: Vec<Order>,
    /// The slot freed last.
    pub free: u32,
    pub live: u32,
    limit: u32,
}

impl Orders {
    pub fn new(limit: u32) -> Self {
        Self { slots: Vec::with_capacity(limit as usize), free: NONE, live: 0, limit }
    }

    #[inline]
    pub fn is_full(&self) -> bool {
        self.live == self.limit
    }

    /// Takes a slot: the one freed last, else the lowest that was never taken.
    #[inline]
    pub fn take(&mut self) -> u32 {
        assert!(!self.is_full(), "room was checked");
        self.live += 1;
        let slot = if self.free == NONE {
            self.slots.push(Order::EMPTY);
            self.slots.len() as u32 - 1
        } else {
            let slot = self.free;
            self.free = self.slots[slot as usize].next;
            slot
        };
        let order = &mut self.slots[slot as usize];
        order.generation = order.generation.checked_add(1).unwrap_or(1);
        slot
    }

    /// Gives a slot back.
    #[inline]
    pub fn give_back(&mut self, slot: u32) {
        let free = self.free;
        let order = &mut self.slots[slot as usize];
        order.account = 0;
        order.next = free;
        self.free = slot;
        self.live -= 1;
    }

    #[inline]
    pub fn id(&self, slot: u32) -> u64 {
        u64::from(self.slots[slot as usize].generation) << 32 | u64::from(slot)
    }

    /// The slot of a listed order.
    #[inline]
    pub fn find(&self, id: u64) -> Option<u32> {
        let order = self.slots.get(id as u32 as usize)?;
        (order.account != 0 && u64::from(order.generation) == id >> 32).then_some(id as u32)
    }

    #[inline]
    pub fn get(&self, slot: u32) -> &Order {
        &self.slots[slot as usize]
    }

    #[inline]
    pub fn get_mut(&mut self, slot: u32) -> &mut Order {
        &mut self.slots[slot as usize]
    }
}
