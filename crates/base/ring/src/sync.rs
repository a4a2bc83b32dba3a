//! The atomics of the rings: those of `core`, or loom's under `--cfg loom`.

use core::ops::Deref;

#[cfg(not(loom))]
pub(crate) use core::sync::atomic::{AtomicU64, Ordering, fence};
#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU64, Ordering, fence};

/// A value alone on its cache lines. Two lines of 64 bytes, because the adjacent-line prefetcher of x86
/// pulls pairs, and because some ARM cores have lines of 128.
#[repr(align(128))]
pub(crate) struct CachePadded<T>(pub(crate) T);

impl<T> Deref for CachePadded<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}
