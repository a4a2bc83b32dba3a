//! Who reads firms' streams, in snapshots.

use super::{AccountItem, Chunk, LoadError, ensure};
use crate::Engine;
use crate::access::FIRMS;

impl Engine {
    pub(super) fn put_readers(&self, firm: usize, chunk: &mut Chunk<'_>) {
        let keys = self.copies.readers[firm].keys();
        if !keys.is_empty() {
            let mut item = AccountItem {
                account: (firm as u32).into(),
                key_count: (keys.len() as u32).into(),
                keys: Default::default(),
            };
            for (place, key) in item.keys.iter_mut().zip(keys) {
                *place = (*key).into();
            }
            chunk.put(&item);
        }
    }

    pub(super) fn load_readers(&mut self, item: &AccountItem) -> Result<(), LoadError> {
        let (firm, count) = (item.account.get(), item.key_count.get() as usize);
        ensure((1..=FIRMS).contains(&firm), "a firm is out of range")?;
        let readers = &mut self.copies.readers[firm as usize];
        ensure(readers.keys().is_empty(), "a firm's readers come twice")?;
        ensure((1..=item.keys.len()).contains(&count), "a firm's readers are not valid")?;
        let (keys, rest) = item.keys.split_at(count);
        let sound = keys.is_sorted_by(|left, right| left.get() < right.get())
            && rest.iter().all(|key| key.get() == 0);
        ensure(sound, "a firm's readers are not valid")?;
        for key in keys {
            let has_room = readers.insert(key.get());
            ensure(has_room, "a firm has too many readers")?;
        }
        self.copies.settle();
        Ok(())
    }
}
