//! Price levels of all books.
//!
//! A side of a book is a run of keys in ascending order with the best price last, so that what changes most
//! moves least. A key is the price of a bid and the negated price of an ask. Beside each key stands the
//! handle of a level, which orders keep: to reach its level, an order needs no search.

use crate::orders::{NONE, Orders};
use ordain_exchange_protocol::Side;
use zerocopy::{FromZeros, Immutable, KnownLayout};

/// One side of a book: a run in [`Levels`].
#[derive(Clone, Copy, Default)]
pub(crate) struct Ladder {
    first: usize,
    pub len: usize,
}

/// A price of a side, and its level.
#[derive(Clone, Copy, FromZeros, KnownLayout, Immutable)]
#[repr(C)]
struct Rung {
    key: i64,
    handle: u32,
}

/// The orders at a price.
#[derive(Clone, Copy)]
pub(crate) struct Level {
    /// Lots shown.
    pub quantity: u64,
    /// Lots left that are not shown.
    pub hidden: u64,
    /// Oldest order. In a free level, the level freed before it.
    pub head: u32,
    /// Newest order.
    pub tail: u32,
    pub orders: u32,
}

impl Level {
    pub const EMPTY: Self = Self { quantity: 0, hidden: 0, head: NONE, tail: NONE, orders: 0 };

    /// Puts an order behind the others; `handle` is this level's.
    #[inline]
    pub fn append(&mut self, handle: u32, orders: &mut Orders, slot: u32) {
        let order = orders.get_mut(slot);
        self.quantity += order.remaining;
        self.orders += 1;
        order.level = handle;
        order.previous = self.tail;
        order.next = NONE;
        match self.tail {
            NONE => self.head = slot,
            tail => orders.get_mut(tail).next = slot,
        }
        self.tail = slot;
    }

    /// Takes an order out.
    #[inline]
    pub fn remove(&mut self, orders: &mut Orders, slot: u32) {
        let order = *orders.get(slot);
        self.quantity -= order.remaining;
        self.orders -= 1;
        match order.previous {
            NONE => self.head = order.next,
            previous => orders.get_mut(previous).next = order.next,
        }
        match order.next {
            NONE => self.tail = order.previous,
            next => orders.get_mut(next).previous = order.previous,
        }
    }
}

/// See the module.
pub(crate) struct Levels {
    rungs: Vec<Rung>,
    /// Never more than orders: every level has one.
    slab: Vec<Level>,
    free: u32,
    per_side: usize,
}

#[inline]
pub(crate) const fn key(side: Side, price: i64) -> i64 {
    match side {
        Side::Buy => price,
        Side::Sell => -price,
    }
}

impl Levels {
    pub fn new(instruments: u32, per_side: u32, orders: u32) -> Self {
        let per_side = per_side as usize;
        let total = 2 * instruments as usize * per_side;
        Self {
            rungs: Rung::new_vec_zeroed(total).expect("memory for the books at start"),
            slab: Vec::with_capacity(total.min(orders as usize)),
            free: NONE,
            per_side,
        }
    }

    /// The empty sides of instrument `id`, bids first.
    pub fn ladders(&self, id: u32) -> [Ladder; 2] {
        let first = 2 * (id as usize - 1) * self.per_side;
        [Ladder { first, len: 0 }, Ladder { first: first + self.per_side, len: 0 }]
    }

    #[inline]
    pub fn is_full(&self, ladder: &Ladder) -> bool {
        ladder.len == self.per_side
    }

    /// Key and handle of the level at `rank`, 0 being the best.
    #[inline]
    pub fn ranked(&self, ladder: &Ladder, rank: usize) -> Option<(i64, u32)> {
        let rung = &self.rungs[ladder.first + ladder.len.checked_sub(rank + 1)?];
        Some((rung.key, rung.handle))
    }

    #[inline]
    pub fn best_key(&self, ladder: &Ladder) -> Option<i64> {
        Some(self.rungs[ladder.first + ladder.len.checked_sub(1)?].key)
    }

    #[inline]
    pub fn get(&self, handle: u32) -> &Level {
        &self.slab[handle as usize]
    }

    #[inline]
    pub fn get_mut(&mut self, handle: u32) -> &mut Level {
        &mut self.slab[handle as usize]
    }

    /// The level with this key.
    #[inline]
    pub fn find(&self, ladder: &Ladder, key: i64) -> Option<u32> {
        let at = self.search(ladder, key).ok()?;
        Some(self.rungs[ladder.first + at].handle)
    }

    /// How many levels have keys at or above this: the rank of the first one below.
    pub fn rank_below(&self, ladder: &Ladder, key: i64) -> usize {
        ladder.len - self.search(ladder, key).unwrap_or_else(|at| at)
    }

    #[inline]
    fn search(&self, ladder: &Ladder, key: i64) -> Result<usize, usize> {
        // Most of what is looked for is near the best price.
        const NEAR: usize = 8;
        let rungs = &self.rungs[ladder.first..][..ladder.len];
        let near = rungs.len().saturating_sub(NEAR);
        if near > 0 && rungs[near].key > key {
            return rungs[..near].binary_search_by_key(&key, |rung| rung.key);
        }
        let mut at = rungs.len();
        while at > near && rungs[at - 1].key >= key {
            at -= 1;
        }
        if rungs.get(at).is_some_and(|rung| rung.key == key) { Ok(at) } else { Err(at) }
    }

    /// Puts an order behind the others at its price.
    #[inline]
    pub fn append(&mut self, ladder: &mut Ladder, key: i64, orders: &mut Orders, slot: u32) {
        let handle = match self.search(ladder, key) {
            Ok(at) => self.rungs[ladder.first + at].handle,
            Err(at) => self.open(ladder, at, key),
        };
        self.slab[handle as usize].append(handle, orders, slot);
    }

    /// Takes an order out of its level.
    #[inline]
    pub fn remove(&mut self, ladder: &mut Ladder, key: i64, orders: &mut Orders, slot: u32) {
        let handle = orders.get(slot).level;
        let level = &mut self.slab[handle as usize];
        if level.orders == 1 {
            return self.close(ladder, key, handle);
        }
        level.remove(orders, slot);
    }

    fn open(&mut self, ladder: &mut Ladder, at: usize, key: i64) -> u32 {
        assert!(!self.is_full(ladder), "room was checked");
        let handle = if self.free == NONE {
            self.slab.push(Level::EMPTY);
            self.slab.len() as u32 - 1
        } else {
            let handle = self.free;
            self.free = self.slab[handle as usize].head;
            self.slab[handle as usize] = Level::EMPTY;
            handle
        };
        let (from, end) = (ladder.first + at, ladder.first + ladder.len);
        self.rungs.copy_within(from..end, from + 1);
        self.rungs[from] = Rung { key, handle };
        ladder.len += 1;
        handle
    }

    fn close(&mut self, ladder: &mut Ladder, key: i64, handle: u32) {
        let at = self.search(ladder, key).expect("a level is in its ladder");
        let (gap, end) = (ladder.first + at, ladder.first + ladder.len);
        self.rungs.copy_within(gap + 1..end, gap);
        ladder.len -= 1;
        self.slab[handle as usize].head = self.free;
        self.free = handle;
    }
}
