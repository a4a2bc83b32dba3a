//! Price levels of all books.
//!
//! A side of a book is a run of keys in ascending order with the best price last, so that what changes most
//! moves least. A key is the price of a bid and the negated price of an ask. Beside each key stands the
//! handle of a level, which orders keep: to reach its level, an order needs no search.
//!
//! A run is cut into blocks, so that a price that comes or goes far from the best one moves no more than a block. Nearly
//! all runs fit in one. Those that do not have their blocks listed in a directory; the ladder itself says where the best
//! block ends, so what happens there needs no directory either.

use crate::orders::{NONE, Orders};
use core::ops::Range;
use ordain_exchange_protocol::Side;
use zerocopy::{FromZeros, Immutable, KnownLayout};

/// Rungs that a block has room for: 2 KiB of them. Most books then need one.
const BLOCK: usize = 128;
/// Where a full block is cut in two.
const HALF: usize = BLOCK / 2;
/// A block that has neighbours has at least so many rungs, so that blocks are never many more than they have to be.
const BLOCK_MIN: usize = BLOCK / 4;
/// Neighbours of which one has too few become one block if they have no more than this together. The room left is what
/// makes a split come some steps after a merge.
const MERGED_MAX: usize = BLOCK - BLOCK_MIN;

const _: () =
    assert!(BLOCK.is_power_of_two() && BLOCK_MIN > 1 && HALF >= BLOCK_MIN && MERGED_MAX >= 2 * BLOCK_MIN);

/// One side of a book: a run in [`Levels`].
#[derive(Clone, Copy)]
pub(crate) struct Ladder {
    /// Which of all ladders it is.
    number: u32,
    /// Its levels.
    len: u32,
    /// Behind its best rung; where its only block begins if it has none.
    end: usize,
}

impl Ladder {
    /// Rungs of the best block. Blocks begin at multiples of their room.
    #[inline]
    const fn best_block(&self) -> Range<usize> {
        let last = self.end - (self.len > 0) as usize;
        last & !(BLOCK - 1)..self.end
    }

    #[inline]
    const fn is_one_block(&self) -> bool {
        let Range { start, end } = self.best_block();
        end - start == self.len as usize
    }
}

/// A price of a side, and its level.
#[derive(Clone, Copy, FromZeros, KnownLayout, Immutable)]
#[repr(C)]
struct Rung {
    key: i64,
    /// In the first rung of a free block, the block freed before it.
    handle: u32,
}

/// A block in the directory of a ladder that has several.
#[derive(Clone, Copy, FromZeros, KnownLayout, Immutable)]
#[repr(C)]
struct Block {
    /// Its keys are at or above this one, those of blocks before it below. Of the first block it means nothing.
    floor: i64,
    number: u32,
    /// Its rungs. Of the best block the ladder knows better.
    len: u32,
}

/// Where a key is or would be.
#[derive(Clone, Copy)]
struct Place {
    /// In the ladder's directory, or [`Place::BEST`].
    block: usize,
    rung: usize,
}

impl Place {
    /// The block with the best price, whatever its place in the directory.
    const BEST: usize = usize::MAX;
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
    /// Blocks, one behind the other.
    rungs: Vec<Rung>,
    /// The block freed last.
    free_block: u32,
    /// Blocks from here on were never used.
    blocks: u32,
    /// By ladder, its blocks from the worst to the best, if it has several.
    directories: Vec<Block>,
    /// By ladder, how many blocks it has, if it has several.
    counts: Vec<u32>,
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
        let (ladders, per_side) = (2 * instruments as usize, per_side as usize);
        let levels = (ladders * per_side).min(orders as usize);
        // A ladder has one block, or one for each `BLOCK_MIN` levels at most.
        let blocks = ladders + levels / BLOCK_MIN;
        let directories = ladders * (per_side / BLOCK_MIN);
        Self {
            rungs: Rung::new_vec_zeroed(blocks * BLOCK).expect("memory for the books at start"),
            free_block: NONE,
            blocks: ladders as u32,
            directories: Block::new_vec_zeroed(directories).expect("memory for the books at start"),
            counts: vec![0; ladders],
            slab: Vec::with_capacity(levels),
            free: NONE,
            per_side,
        }
    }

    /// The empty sides of instrument `id`, bids first. To be taken once.
    pub const fn ladders(&self, id: u32) -> [Ladder; 2] {
        let number = 2 * (id - 1);
        [Self::ladder(number), Self::ladder(number + 1)]
    }

    const fn ladder(number: u32) -> Ladder {
        Ladder { number, len: 0, end: number as usize * BLOCK }
    }

    #[inline]
    pub const fn is_full(&self, ladder: &Ladder) -> bool {
        ladder.len as usize == self.per_side
    }

    /// Key and handle of the best level.
    #[inline]
    pub fn best(&self, ladder: &Ladder) -> Option<(i64, u32)> {
        if ladder.len == 0 {
            return None;
        }
        let Rung { key, handle } = self.rungs[ladder.end - 1];
        Some((key, handle))
    }

    #[inline]
    pub fn best_key(&self, ladder: &Ladder) -> Option<i64> {
        Some(self.best(ladder)?.0)
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
        let place = self.search(ladder, key).ok()?;
        Some(self.rungs[place.rung].handle)
    }

    /// All levels, from the best on.
    pub fn all(&self, ladder: &Ladder) -> Rungs<'_> {
        let best = (self.count(ladder) - 1, ladder.best_block().len());
        Rungs { levels: self, ladder: *ladder, worst: (0, 0), best }
    }

    /// Levels whose keys are at or above this one, from the best on.
    pub fn within(&self, ladder: &Ladder, worst: i64) -> Rungs<'_> {
        Rungs { worst: self.spot(ladder, worst), ..self.all(ladder) }
    }

    /// Levels whose keys are below this one, from the best of them on; all if there is no key.
    pub fn behind(&self, ladder: &Ladder, key: Option<i64>) -> Rungs<'_> {
        let all = self.all(ladder);
        key.map_or_else(|| all.clone(), |key| Rungs { best: self.spot(ladder, key), ..all.clone() })
    }

    /// Block and rung in it of the worst level whose key is at or above this one.
    fn spot(&self, ladder: &Ladder, key: i64) -> (usize, usize) {
        let place = self.search(ladder, key).unwrap_or_else(|place| place);
        let block = self.in_directory(ladder, place.block);
        let range = self.range(ladder, block);
        if place.rung == range.end && block + 1 < self.count(ladder) {
            (block + 1, 0)
        } else {
            (block, place.rung - range.start)
        }
    }

    #[inline]
    fn search(&self, ladder: &Ladder, key: i64) -> Result<Place, Place> {
        // Most of what is looked for is near the best price.
        const NEAR: usize = 8;
        let Range { start, end } = ladder.best_block();
        let rungs = &self.rungs[start..end];
        let near = rungs.len().saturating_sub(NEAR);
        if rungs.get(near).is_some_and(|rung| rung.key > key) {
            return self.search_far(ladder, near, key);
        }
        let mut at = rungs.len();
        while at > near && rungs[at - 1].key >= key {
            at -= 1;
        }
        let place = Place { block: Place::BEST, rung: start + at };
        if rungs.get(at).is_some_and(|rung| rung.key == key) { Ok(place) } else { Err(place) }
    }

    /// Where a key is that is below that of rung `near` of the best block.
    #[inline(never)]
    fn search_far(&self, ladder: &Ladder, near: usize, key: i64) -> Result<Place, Place> {
        let (block, range) = if ladder.is_one_block() {
            let Range { start, .. } = ladder.best_block();
            (Place::BEST, start..start + near)
        } else {
            let blocks = self.directory(ladder);
            let block = blocks[1..].partition_point(|block| block.floor <= key);
            let range = self.range(ladder, block);
            (if block + 1 == blocks.len() { Place::BEST } else { block }, range)
        };
        let place = |at| Place { block, rung: range.start + at };
        let rungs = &self.rungs[range.clone()];
        let at = lower_bound(rungs, key);
        if rungs.get(at).is_some_and(|rung| rung.key == key) { Ok(place(at)) } else { Err(place(at)) }
    }

    /// The blocks of a ladder that has several.
    #[inline]
    fn directory(&self, ladder: &Ladder) -> &[Block] {
        let count = self.counts[ladder.number as usize] as usize;
        &self.directories[self.directory_of(ladder)..][..count]
    }

    #[inline]
    const fn directory_of(&self, ladder: &Ladder) -> usize {
        ladder.number as usize * (self.per_side / BLOCK_MIN)
    }

    /// How many blocks a ladder has.
    fn count(&self, ladder: &Ladder) -> usize {
        if ladder.is_one_block() { 1 } else { self.counts[ladder.number as usize] as usize }
    }

    fn in_directory(&self, ladder: &Ladder, block: usize) -> usize {
        if block == Place::BEST { self.count(ladder) - 1 } else { block }
    }

    /// The rungs of a block.
    #[inline]
    fn range(&self, ladder: &Ladder, block: usize) -> Range<usize> {
        if block + 1 == self.count(ladder) {
            return ladder.best_block();
        }
        let Block { number, len, .. } = self.directories[self.directory_of(ladder) + block];
        let start = number as usize * BLOCK;
        start..start + len as usize
    }

    /// Puts an order behind the others at its price.
    #[inline]
    pub fn append(&mut self, ladder: &mut Ladder, key: i64, orders: &mut Orders, slot: u32) {
        let handle = match self.search(ladder, key) {
            Ok(place) => self.rungs[place.rung].handle,
            Err(place) => self.open(ladder, place, key),
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

    fn open(&mut self, ladder: &mut Ladder, place: Place, key: i64) -> u32 {
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
        let rung = Rung { key, handle };
        if place.block == Place::BEST && ladder.best_block().len() < BLOCK {
            self.rungs.copy_within(place.rung..ladder.end, place.rung + 1);
            self.rungs[place.rung] = rung;
            ladder.end += 1;
        } else {
            self.insert_far(ladder, place, rung);
        }
        ladder.len += 1;
        handle
    }

    fn close(&mut self, ladder: &mut Ladder, key: i64, handle: u32) {
        let Ok(Place { block, rung }) = self.search(ladder, key) else { panic!("a level is in its ladder") };
        if block == Place::BEST {
            self.rungs.copy_within(rung + 1..ladder.end, rung);
            ladder.end -= 1;
            ladder.len -= 1;
            // The best block was not empty before, so its end still tells where it begins, unless it was the only one.
            if ladder.len > 0 && ladder.best_block().len() < BLOCK_MIN && !ladder.is_one_block() {
                self.refill(ladder, Place::BEST);
            }
        } else {
            self.remove_far(ladder, block, rung);
        }
        self.slab[handle as usize].head = self.free;
        self.free = handle;
    }

    /// Puts a rung into a block that is not the best, or that is full.
    #[inline(never)]
    fn insert_far(&mut self, ladder: &mut Ladder, place: Place, rung: Rung) {
        let mut block = self.in_directory(ladder, place.block);
        let mut range = self.range(ladder, block);
        let mut at = place.rung - range.start;
        if range.len() == BLOCK {
            self.split(ladder, block);
            if at > HALF {
                (block, at) = (block + 1, at - HALF);
            }
            range = self.range(ladder, block);
        }
        let at = range.start + at;
        self.rungs.copy_within(at..range.end, at + 1);
        self.rungs[at] = rung;
        self.set_len(ladder, block, range.start, range.len() + 1);
    }

    /// Takes a rung out of a block that is not the best.
    #[inline(never)]
    fn remove_far(&mut self, ladder: &mut Ladder, block: usize, rung: usize) {
        let range = self.range(ladder, block);
        self.rungs.copy_within(rung + 1..range.end, rung);
        self.set_len(ladder, block, range.start, range.len() - 1);
        ladder.len -= 1;
        if range.len() - 1 < BLOCK_MIN {
            self.refill(ladder, block);
        }
    }

    /// Notes how many rungs a block of a ladder with several has, which begins at rung `start`.
    fn set_len(&mut self, ladder: &mut Ladder, block: usize, start: usize, len: usize) {
        let first = self.directory_of(ladder);
        self.directories[first + block].len = len as u32;
        if block + 1 == self.counts[ladder.number as usize] as usize {
            ladder.end = start + len;
        }
    }

    /// Cuts a full block in two.
    fn split(&mut self, ladder: &mut Ladder, block: usize) {
        let count = self.count(ladder);
        let range = self.range(ladder, block);
        let number = self.take_block();
        let (middle, start) = (range.start + HALF, number as usize * BLOCK);
        self.rungs.copy_within(middle..range.end, start);
        let first = self.directory_of(ladder);
        if count == 1 {
            self.directories[first] = Block { floor: i64::MIN, number: (range.start / BLOCK) as u32, len: 0 };
        }
        let behind = first + block + 1;
        self.directories.copy_within(behind..first + count, behind + 1);
        self.directories[behind] = Block { floor: self.rungs[start].key, number, len: 0 };
        self.counts[ladder.number as usize] = count as u32 + 1;
        self.set_len(ladder, block, range.start, HALF);
        self.set_len(ladder, block + 1, start, BLOCK - HALF);
    }

    /// Joins a block that has too few rungs with a neighbour, or lets the neighbour give it some.
    #[inline(never)]
    fn refill(&mut self, ladder: &mut Ladder, block: usize) {
        let count = self.counts[ladder.number as usize] as usize;
        let left = if block == Place::BEST { count - 2 } else { block.min(count - 2) };
        let (low, high) = (self.range(ladder, left), self.range(ladder, left + 1));
        let total = low.len() + high.len();
        let behind = self.directory_of(ladder) + left + 1;
        if total <= MERGED_MAX {
            self.rungs.copy_within(high.clone(), low.end);
            self.give_back_block(high.start / BLOCK);
            self.directories.copy_within(behind + 1..behind + count - left - 1, behind);
            self.counts[ladder.number as usize] = count as u32 - 1;
            return self.set_len(ladder, left, low.start, total);
        }
        let half = total / 2;
        if low.len() < half {
            let given = high.start + (half - low.len());
            self.rungs.copy_within(high.start..given, low.end);
            self.rungs.copy_within(given..high.end, high.start);
        } else {
            let given = low.start + half;
            self.rungs.copy_within(high.clone(), high.start + (low.end - given));
            self.rungs.copy_within(given..low.end, high.start);
        }
        self.directories[behind].floor = self.rungs[high.start].key;
        self.set_len(ladder, left, low.start, half);
        self.set_len(ladder, left + 1, high.start, total - half);
    }

    /// Checks that a ladder's keys ascend and its blocks are as they should be.
    pub fn audit(&self, ladder: &Ladder) -> Result<(), &'static str> {
        let ensure = |holds: bool, what| if holds { Ok(()) } else { Err(what) };
        let count = self.count(ladder);
        let (mut len, mut below) = (0, None);
        for block in 0..count {
            let range = self.range(ladder, block);
            let rungs = &self.rungs[range.clone()];
            ensure(
                range.start.is_multiple_of(BLOCK) && rungs.len() <= BLOCK,
                "a block is not where one may be",
            )?;
            ensure(count == 1 || rungs.len() >= BLOCK_MIN, "a block has too few levels")?;
            let floor = if block == 0 { None } else { Some(self.directory(ladder)[block].floor) };
            ensure(floor.is_none_or(|floor| below < Some(floor)), "a block begins too low")?;
            ensure(floor.is_none_or(|floor| floor <= rungs[0].key), "a block has too low a key")?;
            for rung in rungs {
                ensure(below < Some(rung.key), "levels are out of order")?;
                below = Some(rung.key);
            }
            len += rungs.len();
        }
        ensure(len == ladder.len as usize && len <= self.per_side, "a ladder's count of levels is wrong")
    }

    fn take_block(&mut self) -> u32 {
        if self.free_block == NONE {
            self.blocks += 1;
            return self.blocks - 1;
        }
        let number = self.free_block;
        self.free_block = self.rungs[number as usize * BLOCK].handle;
        number
    }

    fn give_back_block(&mut self, number: usize) {
        self.rungs[number * BLOCK].handle = self.free_block;
        self.free_block = number as u32;
    }
}

/// How many rungs have keys below this one. The rungs lie far from the processor: what is compared first is loaded at
/// once, where a binary search would wait for each before it knows the next.
#[inline]
fn lower_bound(rungs: &[Rung], key: i64) -> usize {
    const GROUP: usize = 8;
    let groups = rungs.chunks_exact(GROUP).filter(|group| group[GROUP - 1].key < key).count();
    let rest = &rungs[groups * GROUP..];
    groups * GROUP + rest[..rest.len().min(GROUP)].iter().filter(|rung| rung.key < key).count()
}

/// Levels of a ladder, key and handle, from the best to the worst.
#[derive(Clone)]
pub(crate) struct Rungs<'a> {
    levels: &'a Levels,
    ladder: Ladder,
    /// Block and rung of the worst that is to come, which is in no block's end but the best one's.
    worst: (usize, usize),
    /// Block and rung behind the best that is to come.
    best: (usize, usize),
}

impl Rungs<'_> {
    fn get(&self, block: usize, at: usize) -> (i64, u32) {
        let Rung { key, handle } = self.levels.rungs[self.levels.range(&self.ladder, block).start + at];
        (key, handle)
    }
}

impl Iterator for Rungs<'_> {
    type Item = (i64, u32);

    #[inline]
    fn next(&mut self) -> Option<(i64, u32)> {
        if self.worst >= self.best {
            return None;
        }
        if self.best.1 == 0 {
            let block = self.best.0 - 1;
            self.best = (block, self.levels.range(&self.ladder, block).len());
        }
        self.best.1 -= 1;
        Some(self.get(self.best.0, self.best.1))
    }
}

impl DoubleEndedIterator for Rungs<'_> {
    fn next_back(&mut self) -> Option<(i64, u32)> {
        if self.worst >= self.best {
            return None;
        }
        let (block, at) = self.worst;
        let last = at + 1 == self.levels.range(&self.ladder, block).len();
        self.worst = if last && block + 1 < self.levels.count(&self.ladder) {
            (block + 1, 0)
        } else {
            (block, at + 1)
        };
        Some(self.get(block, at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orders::Order;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// Ladders beside maps from keys to the orders there.
    struct Pair {
        levels: Levels,
        ladders: [Ladder; 2],
        orders: Orders,
        maps: [BTreeMap<i64, Vec<u32>>; 2],
    }

    impl Pair {
        fn new(per_side: u32, orders: u32) -> Self {
            let levels = Levels::new(1, per_side, orders);
            let ladders = levels.ladders(1);
            Self { levels, ladders, orders: Orders::new(orders), maps: Default::default() }
        }

        fn may_add(&self, side: usize, key: i64) -> bool {
            let known = self.maps[side].contains_key(&key);
            !self.orders.is_full() && (known || !self.levels.is_full(&self.ladders[side]))
        }

        fn add(&mut self, side: usize, key: i64) {
            let slot = self.orders.take();
            *self.orders.get_mut(slot) = Order { remaining: 2, ..Order::EMPTY };
            self.levels.append(&mut self.ladders[side], key, &mut self.orders, slot);
            self.maps[side].entry(key).or_default().push(slot);
        }

        /// Takes out the oldest order with this key.
        fn remove(&mut self, side: usize, key: i64) {
            let slots = self.maps[side].get_mut(&key).expect("there is one");
            let slot = slots.remove(0);
            if slots.is_empty() {
                self.maps[side].remove(&key);
            }
            self.levels.remove(&mut self.ladders[side], key, &mut self.orders, slot);
            self.orders.give_back(slot);
        }

        fn blocks(&self, side: usize) -> Vec<usize> {
            let ladder = &self.ladders[side];
            (0..self.levels.count(ladder)).map(|block| self.levels.range(ladder, block).len()).collect()
        }

        fn check(&self, side: usize) {
            let (ladder, map) = (&self.ladders[side], &self.maps[side]);
            assert_eq!(self.levels.audit(ladder), Ok(()));
            assert_eq!(self.levels.best_key(ladder), map.last_key_value().map(|(key, _)| *key));
            assert_eq!(self.levels.is_full(ladder), map.len() == self.levels.per_side);
            let all: Vec<(i64, u32)> = self.levels.all(ladder).collect();
            assert!(all.iter().map(|(key, _)| key).eq(map.keys().rev()));
            assert!(self.levels.all(ladder).rev().eq(all.iter().rev().copied()));
            for ((_, handle), slots) in all.iter().zip(map.values().rev()) {
                let level = self.levels.get(*handle);
                let ends = (slots[0], slots[slots.len() - 1]);
                assert_eq!((level.head, level.tail), ends);
                assert_eq!((level.orders as usize, level.quantity as usize), (slots.len(), 2 * slots.len()));
            }
        }

        /// Each block that was taken is a ladder's or free.
        fn check_blocks(&self) {
            let (mut free, mut block) = (0, self.levels.free_block);
            while block != NONE {
                free += 1;
                block = self.levels.rungs[block as usize * BLOCK].handle;
            }
            assert_eq!(self.blocks(0).len() + self.blocks(1).len() + free, self.levels.blocks as usize);
        }

        /// What is asked for by this key, which may be none of a level.
        fn check_around(&self, side: usize, wanted: i64) {
            let (ladder, map) = (&self.ladders[side], &self.maps[side]);
            let found = self.levels.find(ladder, wanted).map(|handle| self.levels.get(handle).head);
            assert_eq!(found, map.get(&wanted).map(|slots| slots[0]));
            let within = self.levels.within(ladder, wanted);
            assert!(within.clone().map(|(key, _)| key).eq(map.range(wanted..).rev().map(|(key, _)| *key)));
            assert!(within.rev().map(|(key, _)| key).eq(map.range(wanted..).map(|(key, _)| *key)));
            let behind = self.levels.behind(ladder, Some(wanted));
            assert!(behind.clone().map(|(key, _)| key).eq(map.range(..wanted).rev().map(|(key, _)| *key)));
            assert!(behind.rev().map(|(key, _)| key).eq(map.range(..wanted).map(|(key, _)| *key)));
            // From both ends until they meet.
            let (mut walk, mut left) = (self.levels.within(ladder, wanted), map.range(wanted..).count());
            while left > 0 {
                assert!(if left % 3 == 0 { walk.next_back() } else { walk.next() }.is_some());
                left -= 1;
            }
            assert!(walk.next().is_none() && walk.next_back().is_none());
        }
    }

    /// What happens for a while: where keys come from and go to, and how many of a hundred steps add one.
    #[derive(Clone, Copy, Debug)]
    struct Phase {
        place: u8,
        adds: u64,
        steps: usize,
    }

    fn phase() -> impl Strategy<Value = Phase> {
        let steps = prop_oneof![1_usize..40, 100_usize..900];
        let adds = prop_oneof![Just(0_u64), Just(100), 5_u64..95];
        (0_u8..4, adds, steps).prop_map(|(place, adds, steps)| Phase { place, adds, steps })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn a_ladder_is_an_ordered_map(phases in prop::collection::vec(phase(), 1..16), seed: u64) {
            const KEYS: u64 = 3_000;
            // Fewer orders than both sides have room for levels.
            let mut pair = Pair::new(1_000, 1_500);
            let mut state = seed;
            let mut below = |bound: u64| {
                state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
                ((u128::from(state) * u128::from(bound)) >> 64) as u64
            };
            for Phase { place, adds, steps } in phases {
                for step in 0..steps {
                    let side = usize::from(below(4) == 0);
                    let (low, high) = {
                        let keys = &pair.maps[side];
                        (keys.keys().next().copied().unwrap_or(0), keys.keys().last().copied().unwrap_or(0))
                    };
                    let any = below(KEYS) as i64 - KEYS as i64 / 2;
                    if below(100) < adds {
                        let near = below(4) as i64;
                        let key = [any, high + near, low - near, high - 4 * near][usize::from(place)];
                        if pair.may_add(side, key) {
                            pair.add(side, key);
                        }
                    } else if !pair.maps[side].is_empty() {
                        let nearest = pair.maps[side].range(any..).next().map_or(high, |(key, _)| *key);
                        pair.remove(side, [nearest, high, low, nearest][usize::from(place)]);
                    }
                    prop_assert_eq!(pair.levels.audit(&pair.ladders[side]), Ok(()));
                    if step % 64 == 0 {
                        pair.check(side);
                        pair.check_around(side, any);
                        pair.check_around(side, high);
                        pair.check_around(side, low);
                    }
                }
                pair.check(0);
                pair.check(1);
                pair.check_blocks();
            }
        }
    }

    #[test]
    fn blocks_are_cut_and_joined_at_their_bounds() {
        let mut pair = Pair::new(1_000, 1_000);
        for key in 1..=BLOCK as i64 {
            pair.add(0, 2 * key);
        }
        assert_eq!(pair.blocks(0), [BLOCK]);
        let middle = BLOCK as i64;
        // Right where the block is cut.
        pair.add(0, middle + 1);
        assert_eq!(pair.blocks(0), [HALF + 1, HALF]);
        pair.check(0);
        // As many as both may have to be joined, once the lower one has too few.
        pair.add(0, 2 * BLOCK as i64 - 1);
        let mut key = 2;
        while pair.blocks(0)[0] > BLOCK_MIN {
            pair.remove(0, key);
            key += 2;
        }
        assert_eq!(pair.blocks(0), [BLOCK_MIN, HALF + 1]);
        pair.remove(0, key);
        assert_eq!(pair.blocks(0), [MERGED_MAX]);
        pair.check(0);
        // Cut once more, the upper one full: it gives until both have the same.
        let upper = 2 * BLOCK as i64;
        for more in 1..=(BLOCK - pair.blocks(0)[0] + 1) as i64 {
            pair.add(0, upper + more);
        }
        while pair.blocks(0)[1] < BLOCK {
            let more = upper + 1_000 + pair.maps[0].len() as i64;
            pair.add(0, more);
        }
        assert_eq!(pair.blocks(0), [HALF, BLOCK]);
        while pair.blocks(0)[0] >= BLOCK_MIN && pair.blocks(0)[1] == BLOCK {
            let worst = *pair.maps[0].keys().next().expect("there are many");
            pair.remove(0, worst);
        }
        let both = BLOCK_MIN - 1 + BLOCK;
        assert_eq!(pair.blocks(0), [both / 2, both - both / 2]);
        pair.check(0);
        // And the other way round.
        while pair.blocks(0).len() == 2 {
            let best = *pair.maps[0].keys().last().expect("there are many");
            pair.remove(0, best);
        }
        assert_eq!(pair.blocks(0).len(), 1);
        pair.check(0);
    }

    #[test]
    fn a_full_block_takes_a_level_anywhere() {
        for at in 0..=BLOCK as i64 {
            let mut pair = Pair::new(1_000, 1_000);
            for key in 1..=BLOCK as i64 {
                pair.add(0, 2 * key);
            }
            pair.add(0, 2 * at + 1);
            pair.check(0);
            pair.check_around(0, 2 * at + 1);
        }
    }

    /// Of all ways to come to many blocks the worst: each with as few levels as it may have, in all ladders, and as many
    /// levels as there can be orders.
    #[test]
    fn the_blocks_reserved_are_enough() {
        let (per_side, orders) = (40 * BLOCK as u32, 50 * BLOCK as u32);
        let mut pair = Pair::new(per_side, orders);
        for side in [0, 1, 0, 1] {
            // Ascending leaves half-full blocks, which are thinned out.
            let mut key = *pair.maps[side].keys().last().unwrap_or(&0);
            while pair.may_add(side, key + 1) {
                key += 1;
                pair.add(side, key);
            }
            let mut block = 0;
            while block < pair.levels.count(&pair.ladders[side]) {
                let range = pair.levels.range(&pair.ladders[side], block);
                for at in (BLOCK_MIN..range.len()).rev() {
                    let key = pair.levels.rungs[range.start + at].key;
                    pair.remove(side, key);
                }
                block += 1;
            }
            pair.check(side);
        }
        let used = pair.blocks(0).len() + pair.blocks(1).len();
        let thin = |side: usize| pair.blocks(side).iter().filter(|len| **len == BLOCK_MIN).count();
        assert!(thin(0) + thin(1) > 80, "{used} blocks");
        assert!(pair.levels.blocks as usize * BLOCK <= pair.levels.rungs.len());
    }
}
