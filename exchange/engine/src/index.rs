//! Finds slots by (account, number): open addressing with linear probing, at most half full.
//!
//! An entry is one word, the slot and half of the hash of its key, so that a search touches the owner of a slot only
//! if that half agrees, and moving entries touches no owner at all. Whoever owns the slots compares keys.
//!
//! Small tables stay in the cache, hence the table grows with what it holds, up to twice its capacity. Growing is
//! spread over the insertions that follow: each moves one run of entries, so that none takes long. All tables that
//! there can ever be lie one behind the other in memory reserved at the start.
//!
//! Derived state: not in snapshots, never iterated. Where an entry lies depends on the seed, which therefore may
//! differ from node to node, so that nobody can choose ids that collide.

/// Both halves of the product, added without carry.
#[inline]
fn fold(left: u64, right: u64) -> u64 {
    let product = u128::from(left) * u128::from(right);
    (product >> 64) as u64 ^ product as u64
}

/// Hash of a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hash(u32);

/// A slot + 1 in the upper half, the hash of its key in the lower; 0 if there is none.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Entry(u64);

impl Entry {
    const NONE: Self = Self(0);

    #[inline]
    const fn new(hash: Hash, slot: u32) -> Self {
        Self((slot as u64 + 1) << 32 | hash.0 as u64)
    }

    #[inline]
    const fn hash(self) -> Hash {
        Hash(self.0 as u32)
    }

    #[inline]
    const fn slot(self) -> u32 {
        (self.0 >> 32) as u32 - 1
    }
}

/// A table of `size` places, a power of two, lying at `size..2 * size`.
#[derive(Clone, Copy)]
struct Table {
    size: usize,
}

impl Table {
    /// The place for which the hash of its key makes an entry wish.
    #[inline]
    const fn home(self, hash: Hash) -> usize {
        self.size + (hash.0 as usize & (self.size - 1))
    }

    #[inline]
    const fn after(self, at: usize) -> usize {
        self.size + ((at + 1) & (self.size - 1))
    }

    /// From a place forward to another.
    #[inline]
    const fn distance(self, from: usize, to: usize) -> usize {
        to.wrapping_sub(from) & (self.size - 1)
    }
}

/// A table that entries move out of.
#[derive(Clone, Copy)]
struct Outgoing {
    table: Table,
    /// Empty, or where a run of entries begins.
    next: usize,
    /// Places from there on that were not passed.
    left: usize,
}

/// See the module.
pub(crate) struct Index {
    places: Vec<u64>,
    table: Table,
    /// The table half as large, until it is empty.
    old: Option<Outgoing>,
    len: usize,
    seed: u64,
}

/// Places of the first table: a page of memory.
const SIZE_MIN: usize = if cfg!(test) { 4 } else { 512 };

/// Places that an insertion passes at least while the table grows. Growing begins with a quarter of the new places taken
/// and must end before half of them are: two would do.
const MOVE_MIN: usize = 8;

impl Index {
    pub fn new(capacity: u32, seed: u64) -> Self {
        let largest = (2 * capacity as usize).next_power_of_two();
        let table = Table { size: SIZE_MIN.min(largest) };
        Self { places: vec![0; 2 * largest], table, old: None, len: 0, seed }
    }

    /// Two rounds of folded multiplication: one leaves small numbers in patterns.
    #[inline]
    pub fn hash(&self, account: u32, number: u64) -> Hash {
        let once = fold(number ^ self.seed, 0x9e37_79b9_7f4a_7c15);
        Hash(fold(once ^ u64::from(account), 0xd6e8_feb8_6659_fd93 ^ (self.seed << 1)) as u32)
    }

    /// The slot for which `is_it` holds. Asks only about slots whose keys have this hash.
    #[inline]
    pub fn find(&self, hash: Hash, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let wanted = |entry: Entry| entry.hash() == hash && is_it(entry.slot());
        self.find_place(hash, wanted).map(|(_, place)| Entry(self.places[place]).slot())
    }

    /// The slot in the first entry with this hash, if any: most probably the one looked for.
    #[inline]
    pub fn guess(&self, hash: Hash) -> Option<u32> {
        self.find(hash, |_| true)
    }

    /// Loads the place where a search for this hash begins. What it gives means nothing.
    #[inline]
    pub fn fetch(&self, hash: Hash) -> u64 {
        self.places[self.table.home(hash)]
    }

    /// Where the entry lies for which `is_it` holds, looked for where one with this hash may lie.
    #[inline]
    fn find_place(&self, hash: Hash, is_it: impl Fn(Entry) -> bool) -> Option<(Table, usize)> {
        match (self.find_in(self.table, hash, &is_it), self.old) {
            (None, Some(old)) => self.find_in_old(old.table, hash, &is_it),
            (found, _) => found,
        }
    }

    /// Apart, since tables grow rarely.
    #[cold]
    #[inline(never)]
    fn find_in_old(&self, old: Table, hash: Hash, is_it: &impl Fn(Entry) -> bool) -> Option<(Table, usize)> {
        self.find_in(old, hash, is_it)
    }

    #[inline]
    fn find_in(&self, table: Table, hash: Hash, is_it: &impl Fn(Entry) -> bool) -> Option<(Table, usize)> {
        let mut at = table.home(hash);
        loop {
            match Entry(self.places[at]) {
                Entry::NONE => return None,
                entry if is_it(entry) => return Some((table, at)),
                _ => at = table.after(at),
            }
        }
    }

    /// Enters a slot that is not in.
    #[inline]
    pub fn insert(&mut self, hash: Hash, slot: u32) {
        self.make_room();
        self.len += 1;
        self.put(Entry::new(hash, slot));
    }

    #[inline]
    fn put(&mut self, entry: Entry) {
        let mut at = self.table.home(entry.hash());
        while self.places[at] != Entry::NONE.0 {
            at = self.table.after(at);
        }
        self.places[at] = entry.0;
    }

    /// Begins to grow if the table is half full and there is a larger one; goes on growing.
    #[inline]
    fn make_room(&mut self) {
        if let Some(old) = self.old {
            self.old = self.move_run(old);
        } else if 2 * self.len >= self.table.size && 4 * self.table.size <= self.places.len() {
            let table = self.table;
            let is_gap = |place: &usize| self.places[*place] == Entry::NONE.0;
            let next = (table.size..).find(is_gap).expect("half of the places are empty");
            self.old = Some(Outgoing { table, next, left: table.size });
            self.table = Table { size: 2 * table.size };
        }
    }

    /// Moves entries up to the end of a run, so that no search in the old table ends at a place that an entry before
    /// the one looked for has left. Gives what is then left.
    #[cold]
    fn move_run(&mut self, old: Outgoing) -> Option<Outgoing> {
        let Outgoing { table, mut next, left } = old;
        for passed in 0..left {
            let entry = Entry(std::mem::take(&mut self.places[next]));
            if entry != Entry::NONE {
                self.put(entry);
            } else if passed >= MOVE_MIN {
                return Some(Outgoing { table, next, left: left - passed });
            }
            next = table.after(next);
        }
        None
    }

    /// Takes out a slot that is in, and closes the gap.
    #[inline]
    pub fn remove(&mut self, hash: Hash, slot: u32) {
        let entry = Entry::new(hash, slot);
        let found = self.find_place(hash, |other| other == entry);
        let (table, mut gap) = found.expect("the slot is in the index");
        self.len -= 1;
        let mut at = table.after(gap);
        loop {
            let other = Entry(self.places[at]);
            if other == Entry::NONE {
                break;
            }
            // An entry may move into the gap unless its home lies behind the gap.
            if table.distance(table.home(other.hash()), at) >= table.distance(gap, at) {
                self.places[gap] = other.0;
                gap = at;
            }
            at = table.after(at);
        }
        self.places[gap] = Entry::NONE.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    impl Index {
        fn find_slot(&self, hash: Hash, slot: u32) -> Option<u32> {
            self.find(hash, |candidate| candidate == slot)
        }
    }

    /// Numbers and accounts that come in sequence spread as if drawn at random, whatever the seed.
    #[test]
    fn sequences_spread() {
        for seed in [0, 1, 0x6f72_6461_696e_0001, u64::MAX] {
            let mut index = Index::new(1 << 15, seed);
            let hash = |index: &Index, slot: u32| index.hash(1 + slot / 16, u64::from(slot % 16));
            for slot in 0..1 << 15 {
                let hash = hash(&index, slot);
                index.insert(hash, slot);
            }
            assert_eq!((index.table.size, index.old.is_none()), (1 << 16, true));
            let mut distance = 0;
            for slot in 0..1 << 15 {
                let hash = hash(&index, slot);
                let place = index.find_place(hash, |entry| entry == Entry::new(hash, slot));
                distance += place.map_or(0, |(table, place)| table.distance(table.home(hash), place));
            }
            // Half full, half an entry passed on average is what chance gives.
            assert!(distance < 1 << 15, "{distance} entries passed with seed {seed:#x}");
        }
    }

    /// What is looked for is found at every stage of growing, and no insertion moves many entries.
    #[test]
    fn grows_a_little_at_a_time() {
        const COUNT: u32 = 1 << 12;
        let mut index = Index::new(COUNT, 3);
        let mut sizes = vec![];
        for slot in 0..COUNT {
            let left = index.old.map(|old| old.left);
            index.insert(index.hash(1, slot.into()), slot);
            if let (Some(before), Some(old)) = (left, index.old) {
                assert!((MOVE_MIN..100).contains(&(before - old.left)), "{before} to {}", old.left);
            }
            if sizes.last() != Some(&index.table.size) {
                assert!(index.old.is_none() || 4 * index.len <= index.table.size + 4);
                sizes.push(index.table.size);
            }
            // One in sixteen for time's sake, and all of the last.
            for other in (slot % 16..=slot).step_by(16) {
                assert_eq!(index.find_slot(index.hash(1, other.into()), other), Some(other));
            }
        }
        assert_eq!(sizes, (2..14).map(|bits| 1 << bits).collect::<Vec<usize>>());
    }

    proptest! {
        #[test]
        fn holds_what_was_entered(steps in prop::collection::vec((0_u32..200, 0_u8..5), 1..800), seed: u64) {
            let mut index = Index::new(200, seed);
            // Few hashes, so that runs are long and hashes equal.
            let hash = |index: &Index, slot: u32| Hash(index.hash(slot % 3, u64::from(slot)).0 % 61 * 7);
            let mut held = [false; 200];
            for (slot, what) in steps {
                let its = hash(&index, slot);
                if what > 0 && !held[slot as usize] {
                    index.insert(its, slot);
                    held[slot as usize] = true;
                } else if what == 0 && held[slot as usize] {
                    index.remove(its, slot);
                    held[slot as usize] = false;
                }
                prop_assert_eq!(index.len, held.iter().filter(|held| **held).count());
                for slot in 0..200 {
                    let found = index.find_slot(hash(&index, slot), slot);
                    prop_assert_eq!(found, held[slot as usize].then_some(slot));
                }
            }
        }
    }
}
