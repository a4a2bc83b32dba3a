//! The key table: dense numbers for public keys, in the order in which the log first names them.

use ordain_types::KeyId;
use ordain_types::frame::KeyBody;
use rustc_hash::FxHashMap;

/// Keys that a cluster can know. Operators add them one by one and none is ever removed: the bound is there
/// so that a mistaken script cannot fill the memory of every node.
pub const KEYS_MAX: usize = 65_536;

#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub public: [u8; 32],
    pub permissions: u32,
    /// Open sessions.
    pub sessions: u32,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Keys {
    keys: Vec<Key>,
    by_public: FxHashMap<[u8; 32], u32>,
}

impl Keys {
    /// Adds a key or changes its permissions; `None` if the table is full.
    pub fn set(&mut self, body: &KeyBody) -> Option<KeyId> {
        let permissions = body.permissions.get();
        if let Some(&id) = self.by_public.get(&body.key) {
            self.keys[id as usize - 1].permissions = permissions;
            return Some(KeyId(id));
        }
        if self.keys.len() == KEYS_MAX {
            return None;
        }
        self.keys.push(Key { public: body.key, permissions, sessions: 0 });
        let id = self.keys.len() as u32;
        self.by_public.insert(body.key, id);
        Some(KeyId(id))
    }

    pub fn get(&self, id: KeyId) -> Option<&Key> {
        self.keys.get((id.0 as usize).checked_sub(1)?)
    }

    pub fn get_mut(&mut self, id: KeyId) -> Option<&mut Key> {
        self.keys.get_mut((id.0 as usize).checked_sub(1)?)
    }

    pub fn all(&self) -> &[Key] {
        &self.keys
    }
}
