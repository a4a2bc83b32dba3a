//! Hashes of the state at snapshots, from those who announce snapshots to whoever compares states.

use ordain_types::{BatchIndex, NodeId};
use std::sync::{Arc, Mutex, PoisonError};

/// Hashes that wait at most: a few snapshots of each node. Later ones are forgotten; the next snapshot tells.
const WAITING: usize = 64;

/// A node, or none for this one; the last batch that the snapshot stands for; the hash.
type State = (Option<NodeId>, BatchIndex, [u8; 32]);

/// See the module. Both ends work in one stage; a snapshot comes every few seconds at most.
#[derive(Clone, Debug, Default)]
pub struct States(Arc<Mutex<Vec<State>>>);

impl States {
    /// A snapshot of a node, or of this one, holds the state behind `batch` with this hash.
    pub fn put(&self, node: Option<NodeId>, batch: BatchIndex, hash: [u8; 32]) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() < WAITING {
            waiting.push((node, batch, hash));
        }
    }

    /// Gives everything that was put since the last time.
    pub fn take(&self, mut give: impl FnMut(Option<NodeId>, BatchIndex, &[u8; 32])) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (node, batch, hash) in waiting.drain(..) {
            give(node, batch, &hash);
        }
    }
}
