//! Who reads firms' streams, in snapshots.

use super::{AccountItem, Chunk, LoadError, ensure};
use crate::Engine;
use crate::access::FIRMS;
use ordain_exchange_protocol::U32;

impl Engine {
    pub(super) fn put_readers(&self, firm: usize, chunk: &mut Chunk<'_>) {
        let readers = &self.copies.readers[firm];
        if !readers.is_empty() {
            let (count, keys) = readers.parts();
            chunk.put(&AccountItem {
                account: (firm as u32).into(),
                key_count: count.into(),
                keys: keys.map(U32::new),
            });
        }
    }

    pub(super) fn load_readers(&mut self, item: &AccountItem) -> Result<(), LoadError> {
        let firm = item.account.get();
        ensure((1..=FIRMS).contains(&firm), "a firm is out of range")?;
        let readers = &mut self.copies.readers[firm as usize];
        ensure(readers.is_empty(), "a firm's readers come twice")?;
        *readers =
            item.keys().filter(|keys| !keys.is_empty()).ok_or(LoadError("a firm's readers are not valid"))?;
        self.copies.settle();
        Ok(())
    }
}
