//! Finds slots by (account, number): open addressing with linear probing, at most half full.
//!
//! Holds slot numbers only; whoever owns the slots compares keys. Derived state: not in snapshots, never
//! iterated. Where an entry lies depends on the seed, which therefore may differ from node to node, so that
//! nobody can choose ids that collide.

/// Both halves of the product, added without carry.
#[inline]
fn fold(left: u64, right: u64) -> u64 {
    let product = u128::from(left) * u128::from(right);
    (product >> 64) as u64 ^ product as u64
}

/// See the module.
pub(crate) struct Index {
    /// Slot + 1, or 0.
    table: Vec<u32>,
    seed: u64,
}

impl Index {
    pub fn new(capacity: u32, seed: u64) -> Self {
        let size = (2 * capacity as usize).next_power_of_two();
        Self { table: vec![0; size], seed }
    }

    /// Where the search for (account, number) begins. Two rounds of folded multiplication: one leaves small
    /// numbers in patterns.
    #[inline]
    pub fn home(&self, account: u32, number: u64) -> usize {
        let once = fold(number ^ self.seed, 0x9e37_79b9_7f4a_7c15);
        let twice = fold(once ^ u64::from(account), 0xd6e8_feb8_6659_fd93 ^ (self.seed << 1));
        twice as usize & self.mask()
    }

    /// The slot for which `is_it` holds.
    #[inline]
    pub fn find(&self, home: usize, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let mut at = home;
        while let Some(slot) = self.table[at].checked_sub(1) {
            if is_it(slot) {
                return Some(slot);
            }
            at = (at + 1) & self.mask();
        }
        None
    }

    /// Enters a slot that is not in.
    #[inline]
    pub fn insert(&mut self, home: usize, slot: u32) {
        let mut at = home;
        while self.table[at] != 0 {
            at = (at + 1) & self.mask();
        }
        self.table[at] = slot + 1;
    }

    /// Takes out a slot that is in, and closes the gap. `home_of` gives the home of other slots.
    #[inline]
    pub fn remove(&mut self, home: usize, slot: u32, home_of: impl Fn(&Self, u32) -> usize) {
        let mask = self.mask();
        let mut gap = home;
        while self.table[gap] != slot + 1 {
            assert!(self.table[gap] != 0, "slot {slot} is not in the index");
            gap = (gap + 1) & mask;
        }
        let mut at = (gap + 1) & mask;
        while let Some(other) = self.table[at].checked_sub(1) {
            // An entry may move into the gap unless its home lies behind the gap.
            let distance = at.wrapping_sub(home_of(self, other)) & mask;
            if distance >= (at.wrapping_sub(gap) & mask) {
                self.table[gap] = other + 1;
                gap = at;
            }
            at = (at + 1) & mask;
        }
        self.table[gap] = 0;
    }

    fn mask(&self) -> usize {
        self.table.len() - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Numbers and accounts that come in sequence spread as if drawn at random, whatever the seed.
    #[test]
    fn sequences_spread() {
        for seed in [0, 1, 0x6f72_6461_696e_0001, u64::MAX] {
            let mut index = Index::new(1 << 15, seed);
            let mut distance = 0;
            for slot in 0..1 << 15 {
                let home = index.home(1 + slot / 16, u64::from(slot % 16));
                index.insert(home, slot);
                let at = index.table.iter().skip(home).position(|entry| *entry == slot + 1);
                distance += at.unwrap_or(0);
            }
            // Half full, half an entry passed on average is what chance gives.
            assert!(distance < 1 << 15, "{distance} entries passed with seed {seed:#x}");
        }
    }

    proptest! {
        #[test]
        fn holds_what_was_entered(steps in prop::collection::vec((0_u32..16, any::<bool>()), 1..200), seed: u64) {
            let key = |slot: u32| (slot % 3, u64::from(slot));
            let mut index = Index::new(16, seed);
            let mut held = [false; 16];
            for (slot, enter) in steps {
                let home = index.home(key(slot).0, key(slot).1);
                if enter && !held[slot as usize] {
                    index.insert(home, slot);
                    held[slot as usize] = true;
                } else if !enter && held[slot as usize] {
                    index.remove(home, slot, |index, other| index.home(key(other).0, key(other).1));
                    held[slot as usize] = false;
                }
                for slot in 0..16 {
                    let home = index.home(key(slot).0, key(slot).1);
                    let found = index.find(home, |candidate| candidate == slot);
                    prop_assert_eq!(found, held[slot as usize].then_some(slot));
                }
            }
        }
    }
}
