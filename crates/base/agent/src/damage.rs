//! Segments in which damage was found: from those who read them to the guard, who mends them, and from it to those
//! who wait for that; and the handshake by which a mended segment gets its name.

use crate::shared::Cursor;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How a segment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plight {
    /// Somebody could not read it. The guard has not looked yet.
    Reported,
    /// It is damaged, and the guard is at work on it.
    Damaged,
    /// It is damaged, and at present nobody has what belongs there.
    Lost,
}

/// What is known of damaged segments. Who reads segments looks at one number as long as there are none; the lock is
/// taken only where something is broken. At most one entry for each segment on the disk.
#[derive(Debug, Default)]
pub struct Damage {
    count: AtomicU64,
    found: Mutex<BTreeMap<u64, Plight>>,
    /// A mended segment on its way to its name.
    pub swap: Swap,
}

impl Damage {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Plight>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<u64, Plight>)) {
        let mut found = self.lock();
        change(&mut found);
        self.count.store(found.len() as u64, Ordering::Release);
    }

    /// A segment could not be read as it should.
    pub fn report(&self, segment: u64) {
        self.change(|found| {
            found.entry(segment).or_insert(Plight::Reported);
        });
    }

    /// The guard found out how a segment is.
    pub fn set(&self, segment: u64, plight: Plight) {
        self.change(|found| {
            found.insert(segment, plight);
        });
    }

    /// A segment is whole, or gone.
    pub fn clear(&self, segment: u64) {
        self.change(|found| {
            found.remove(&segment);
        });
    }

    /// How a segment is, if anything is known against it.
    #[must_use]
    pub fn plight(&self, segment: u64) -> Option<Plight> {
        if self.count.load(Ordering::Acquire) == 0 {
            return None;
        }
        self.lock().get(&segment).copied()
    }

    /// All of them, ascending.
    #[must_use]
    pub fn all(&self) -> Vec<(u64, Plight)> {
        if self.count.load(Ordering::Acquire) == 0 {
            return Vec::new();
        }
        self.lock().iter().map(|(segment, plight)| (*segment, *plight)).collect()
    }
}

/// The guard has a segment's mended copy whole and synced, and asks the journal to give it the segment's name: only the
/// journal gives and takes names of segments, one after the other, so that one that is removed does not come back.
#[derive(Debug, Default)]
pub struct Swap {
    segment: Cursor,
    asked: Cursor,
    took: Cursor,
    answered: Cursor,
}

impl Swap {
    /// The guard: the copy of this segment is whole.
    ///
    /// # Panics
    /// If the last one is not answered.
    pub fn ask(&self, segment: u64) {
        assert!(self.answer_of_last().is_some(), "one at a time");
        self.segment.store(segment);
        self.asked.store(self.asked.load() + 1);
    }

    /// The journal: the segment whose copy waits.
    #[must_use]
    pub fn asked(&self) -> Option<u64> {
        (self.asked.load() != self.answered.load()).then(|| self.segment.load())
    }

    /// The journal: the copy has its name; `false`: the segment was removed, or is about to be, or it failed.
    pub fn answer(&self, took: bool) {
        self.took.store(u64::from(took));
        self.answered.store(self.asked.load());
    }

    /// The guard: what became of the last one; `None` while it waits. That of none is `false`.
    #[must_use]
    pub fn answer_of_last(&self) -> Option<bool> {
        (self.asked.load() == self.answered.load()).then(|| self.took.load() == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_does_not_undo_what_is_known() {
        let damage = Damage::default();
        assert_eq!((damage.plight(3), damage.all()), (None, vec![]));
        damage.report(3);
        damage.report(1);
        damage.set(3, Plight::Lost);
        damage.report(3);
        assert_eq!(damage.all(), [(1, Plight::Reported), (3, Plight::Lost)]);
        damage.clear(3);
        damage.clear(1);
        assert_eq!(damage.plight(3), None);
    }

    #[test]
    fn a_swap_is_answered_once() {
        let swap = Swap::default();
        assert_eq!((swap.asked(), swap.answer_of_last()), (None, Some(false)));
        for (segment, took) in [(0, true), (7, false)] {
            swap.ask(segment);
            assert_eq!((swap.asked(), swap.answer_of_last()), (Some(segment), None));
            swap.answer(took);
            assert_eq!((swap.asked(), swap.answer_of_last()), (None, Some(took)));
        }
    }
}
