//! Remembers executed transfers, so that a repeat gets the first reply.

use crate::index::Index;

/// An executed transfer: what was asked and what was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Executed {
    pub account: u32,
    pub currency: u32,
    pub transaction: u64,
    pub amount: u64,
    pub withdrawal: bool,
    pub free: u64,
    pub seq: u64,
    pub time: u64,
}

/// The newest transfers, a ring.
pub(crate) struct Transfers {
    ring: Vec<Executed>,
    /// Where the oldest lies, once the ring is full.
    oldest: usize,
    index: Index,
    limit: usize,
}

impl Transfers {
    pub fn new(limit: u32, seed: u64) -> Self {
        let index = Index::new(limit, seed);
        Self { ring: Vec::with_capacity(limit as usize), oldest: 0, index, limit: limit as usize }
    }

    pub fn find(&self, account: u32, transaction: u64) -> Option<&Executed> {
        let hash = self.index.hash(account, transaction);
        let is_it = |slot: u32| {
            let transfer = &self.ring[slot as usize];
            transfer.account == account && transfer.transaction == transaction
        };
        self.index.find(hash, is_it).map(|slot| &self.ring[slot as usize])
    }

    /// Remembers a transfer that is not in, forgetting the oldest if there is no room.
    pub fn push(&mut self, transfer: Executed) {
        let hash = self.index.hash(transfer.account, transfer.transaction);
        if self.ring.len() < self.limit {
            self.index.insert(hash, self.ring.len() as u32);
            self.ring.push(transfer);
            return;
        }
        let slot = self.oldest;
        let old = self.ring[slot];
        self.index.remove(self.index.hash(old.account, old.transaction), slot as u32);
        self.index.insert(hash, slot as u32);
        self.ring[slot] = transfer;
        self.oldest = (slot + 1) % self.limit;
    }

    pub fn len(&self) -> usize {
        self.ring.len()
    }

    /// The transfers in order of execution, counted from 0.
    pub fn nth_oldest(&self, nth: usize) -> &Executed {
        &self.ring[(self.oldest + nth) % self.ring.len()]
    }
}
