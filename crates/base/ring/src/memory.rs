//! A fixed block of bytes that several threads use at once, each in its own ranges.
//!
//! The rule: while somebody may read a range, nobody writes it; while somebody writes one, nobody else
//! touches it. Bounds are always checked here; the rule is what the callers' cursors must keep.
//!
//! Under loom every eight bytes have a checked cell. Making a slice counts as an access, and `mark_read` and
//! `mark_write` count one more where a ring gives a range away, which is the latest moment at which a slice
//! of it can have been used. So a race anywhere in the life of a slice shows.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;

/// Page size: lets the kernel write straight from a ring to a file opened for direct I/O.
const ALIGN: usize = 4096;

/// Bytes per checked cell.
#[cfg(loom)]
const CELL: usize = 8;

pub(crate) struct Memory {
    base: NonNull<u8>,
    len: usize,
    allocation: NonNull<u8>,
    layout: Layout,
    #[cfg(loom)]
    cells: Box<[loom::cell::UnsafeCell<()>]>,
}

// SAFETY: the block is plain bytes, owned by this value alone. Sharing it adds nothing but `bytes` and
// `bytes_mut`, whose callers promise that no two threads conflict.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    /// `len` zero bytes, aligned to a page. Pages cost nothing until they are touched.
    pub(crate) fn new(len: usize) -> Self {
        assert!(len > 0, "a ring needs bytes");
        // Aligned by hand: for a stricter alignment than malloc's own the standard allocator clears the
        // block itself, which would touch every page.
        let size = len.checked_add(ALIGN - 1).expect("ring capacity exceeds the address space");
        let layout = Layout::from_size_align(size, 8).expect("ring capacity exceeds the address space");
        // SAFETY: the size is not zero.
        let raw = unsafe { alloc_zeroed(layout) };
        let Some(allocation) = NonNull::new(raw) else { handle_alloc_error(layout) };
        let skip = raw.addr().wrapping_neg() & (ALIGN - 1);
        // SAFETY: `skip` is less than ALIGN, so `skip + len` does not exceed `size`.
        let base = unsafe { allocation.add(skip) };
        Self {
            base,
            len,
            allocation,
            layout,
            #[cfg(loom)]
            cells: (0..len.div_ceil(CELL)).map(|_| loom::cell::UnsafeCell::new(())).collect(),
        }
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// The bytes `[offset, offset + len)`.
    ///
    /// # Safety
    /// Nobody writes them while the slice lives.
    #[inline]
    pub(crate) unsafe fn bytes(&self, offset: usize, len: usize) -> &[u8] {
        self.check(offset, len);
        self.mark_read(offset, len);
        // SAFETY: in bounds of the block, which lives as long as `self` and was initialised with zeros;
        // the caller keeps writers out.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr().add(offset), len) }
    }

    /// The bytes `[offset, offset + len)` for writing.
    ///
    /// # Safety
    /// Nobody else reads or writes them while the slice lives.
    #[inline]
    #[expect(clippy::mut_from_ref, reason = "the caller promises exclusive use of the range")]
    pub(crate) unsafe fn bytes_mut(&self, offset: usize, len: usize) -> &mut [u8] {
        self.check(offset, len);
        self.mark_write(offset, len);
        // SAFETY: as in `bytes`, and the caller keeps everybody else out.
        unsafe { std::slice::from_raw_parts_mut(self.base.as_ptr().add(offset), len) }
    }

    #[inline]
    fn check(&self, offset: usize, len: usize) {
        assert!(offset <= self.len && len <= self.len - offset, "range crosses the end of the ring");
    }

    #[cfg(not(loom))]
    #[inline]
    pub(crate) fn mark_read(&self, _offset: usize, _len: usize) {}

    #[cfg(not(loom))]
    #[inline]
    pub(crate) fn mark_write(&self, _offset: usize, _len: usize) {}

    #[cfg(loom)]
    pub(crate) fn mark_read(&self, offset: usize, len: usize) {
        self.cells[offset / CELL..(offset + len).div_ceil(CELL)].iter().for_each(|cell| cell.with(|_| ()));
    }

    #[cfg(loom)]
    pub(crate) fn mark_write(&self, offset: usize, len: usize) {
        self.cells[offset / CELL..(offset + len).div_ceil(CELL)]
            .iter()
            .for_each(|cell| cell.with_mut(|_| ()));
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout, and freed only here.
        unsafe { dealloc(self.allocation.as_ptr(), self.layout) }
    }
}
