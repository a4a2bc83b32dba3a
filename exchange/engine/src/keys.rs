//! A few keys: those that may act for an account, or read a firm's stream.

use crate::KEYS_PER_ACCOUNT;

/// Up to eight keys, ascending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Keys {
    count: u8,
    /// What is not used is 0.
    all: [u32; KEYS_PER_ACCOUNT],
}

impl Keys {
    pub const NONE: Self = Self { count: 0, all: [0; KEYS_PER_ACCOUNT] };

    /// What a snapshot has, if it is valid.
    pub fn from_parts(count: usize, all: [u32; KEYS_PER_ACCOUNT]) -> Option<Self> {
        let (keys, rest) = all.split_at_checked(count)?;
        let sound = keys.is_sorted_by(|left, right| left < right) && rest.iter().all(|key| *key == 0);
        sound.then_some(Self { count: count as u8, all })
    }

    /// As snapshots have it.
    pub const fn parts(&self) -> (u32, [u32; KEYS_PER_ACCOUNT]) {
        (self.count as u32, self.all)
    }

    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    #[inline]
    pub fn contains(&self, key: u32) -> bool {
        self.used().contains(&key)
    }

    #[inline]
    fn used(&self) -> &[u32] {
        &self.all[..self.count.into()]
    }

    /// Enters a key, or finds it there. Says whether there is room for it.
    pub fn insert(&mut self, key: u32) -> bool {
        let count = usize::from(self.count);
        match self.used().binary_search(&key) {
            Ok(_) => true,
            Err(_) if count == KEYS_PER_ACCOUNT => false,
            Err(at) => {
                self.all.copy_within(at..count, at + 1);
                self.all[at] = key;
                self.count += 1;
                true
            }
        }
    }

    /// Takes a key out, if it is there.
    pub fn remove(&mut self, key: u32) {
        let count = usize::from(self.count);
        if let Ok(at) = self.used().binary_search(&key) {
            self.all.copy_within(at + 1..count, at);
            self.all[count - 1] = 0;
            self.count -= 1;
        }
    }
}
