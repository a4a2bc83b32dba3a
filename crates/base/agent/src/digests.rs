//! What apply computed, batch by batch, for whoever compares it with what other nodes computed.

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering, fence};
use ordain_types::BatchIndex;

/// Batches that are remembered: as many as may be uncommitted, twice, so that one is still there when it is
/// committed and those who compare get round to it. 2 MiB.
pub const DIGESTS: usize = 1 << 16;

/// No batch: batch numbers have a zero top bit.
const NONE: u64 = u64::MAX;

/// What a node had when it had applied a batch. Hash and chain value are over everything before, so that two
/// nodes that have the same at a batch had the same at all before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest {
    /// Hash of every reply and output up to the batch.
    pub output: u64,
    /// Beginning of the log's chain value in front of the batch; 0 if it is not known.
    pub chain: u64,
    /// Number of the first record behind the batch.
    pub next_seq: u64,
}

/// The digests of recent batches, by index. One writer, apply; any number of readers. A batch that is cut and
/// written anew gets another digest: readers ask for batches that are committed and applied.
pub struct Digests {
    slots: Box<[Slot]>,
}

struct Slot {
    batch: AtomicU64,
    digest: [AtomicU64; 3],
}

impl Default for Digests {
    fn default() -> Self {
        let slot = || Slot { batch: AtomicU64::new(NONE), digest: [const { AtomicU64::new(0) }; 3] };
        Self { slots: (0..DIGESTS).map(|_| slot()).collect() }
    }
}

impl fmt::Debug for Digests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Digests").finish_non_exhaustive()
    }
}

impl Digests {
    fn slot(&self, index: BatchIndex) -> &Slot {
        &self.slots[index.0 as usize & (DIGESTS - 1)]
    }

    /// Notes what there was when batch `index` was applied. Apply only.
    pub fn put(&self, index: BatchIndex, digest: Digest) {
        let slot = self.slot(index);
        // A reader that sees something of the new digest sees that the old number is void.
        slot.batch.store(NONE, Ordering::Relaxed);
        fence(Ordering::Release);
        for (place, value) in slot.digest.iter().zip([digest.output, digest.chain, digest.next_seq]) {
            place.store(value, Ordering::Relaxed);
        }
        slot.batch.store(index.0, Ordering::Release);
    }

    /// What there was when batch `index` was applied, if it is remembered.
    #[must_use]
    pub fn get(&self, index: BatchIndex) -> Option<Digest> {
        let slot = self.slot(index);
        let before = slot.batch.load(Ordering::Acquire);
        let [output, chain, next_seq] = slot.digest.each_ref().map(|value| value.load(Ordering::Relaxed));
        fence(Ordering::Acquire);
        let is_whole = before == index.0 && slot.batch.load(Ordering::Relaxed) == index.0;
        is_whole.then_some(Digest { output, chain, next_seq })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::sync::atomic::AtomicBool;

    fn digest(index: u64) -> Digest {
        Digest { output: index * 7, chain: index * 11, next_seq: index * 13 }
    }

    #[test]
    fn recent_batches_are_remembered_and_older_ones_give_way() {
        let digests = Digests::default();
        let last = 3 * DIGESTS as u64 / 2;
        for index in 0..=last {
            assert_eq!(digests.get(BatchIndex(index)), None);
            digests.put(BatchIndex(index), digest(index));
        }
        for index in 0..=last {
            let known = (index + DIGESTS as u64 > last).then_some(digest(index));
            assert_eq!(digests.get(BatchIndex(index)), known);
        }
    }

    #[test]
    fn a_reader_never_gets_a_mixture() {
        let digests = Digests::default();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // Always the same slot.
                for lap in 0..200_000 {
                    digests.put(BatchIndex(lap * DIGESTS as u64), digest(lap * DIGESTS as u64));
                }
                done.store(true, Ordering::Release);
            });
            let mut lap = 0;
            while !done.load(Ordering::Acquire) {
                for index in [lap, lap + 1, lap + 2].map(|lap| lap * DIGESTS as u64) {
                    if let Some(found) = digests.get(BatchIndex(index)) {
                        assert_eq!(found, digest(index));
                        lap = index / DIGESTS as u64;
                    }
                }
                lap += 1;
            }
        });
    }
}
