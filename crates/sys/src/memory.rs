//! Memory aligned for direct I/O, and an allocator that puts large blocks into huge pages.

use core::ptr::NonNull;
use rustix::mm::{Advice, MapFlags, ProtFlags};
use std::alloc::{GlobalAlloc, Layout, System, handle_alloc_error};

/// Blocks of at least this size are put into huge pages; it is the size of one on x86-64 and on aarch64
/// with 4 KiB pages.
const HUGE: usize = 2 << 20;

/// The system's allocator, except that blocks of 2 MiB and more are mapped on their own, aligned for huge
/// pages, and the kernel is asked to use these. An application that looks up entries all over tables of many
/// megabytes spends much of its time on missing translations otherwise.
///
/// Memory is still given on first touch, but 2 MiB at a time. Where the kernel has no huge page it gives
/// small ones. A program opts in:
///
/// ```
/// #[global_allocator]
/// static MEMORY: ordain_sys::memory::HugePages = ordain_sys::memory::HugePages;
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct HugePages;

// SAFETY: small blocks are System's in every method, as the size alone decides and a block's layout never
// changes between its allocation and its release. Large ones are mappings of their own: `map` returns a fresh,
// zeroed, readable and writable range of at least `size` bytes aligned to HUGE, of which `align` is a divisor
// (larger alignments go to System), and `unmap` is given the same size. No method unwinds.
unsafe impl GlobalAlloc for HugePages {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if is_small(layout) {
            // SAFETY: the caller's promise on the layout is passed on.
            return unsafe { System.alloc(layout) };
        }
        map(layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if is_small(layout) {
            // SAFETY: the caller's promise on the layout is passed on.
            return unsafe { System.alloc_zeroed(layout) };
        }
        map(layout.size())
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if is_small(layout) {
            // SAFETY: a small block came from System, with this layout.
            return unsafe { System.dealloc(block, layout) };
        }
        // SAFETY: a large block is a mapping of `mapped_len` bytes that the caller gives up.
        unsafe { unmap(block, mapped_len(layout.size())) };
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller promises that `new_size`, rounded up to the alignment, does not overflow.
        let new_layout = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
        if is_small(layout) && is_small(new_layout) {
            // SAFETY: a small block came from System, with this layout.
            return unsafe { System.realloc(block, layout, new_size) };
        }
        // SAFETY: the caller promises a new size above zero.
        let moved = unsafe { self.alloc(new_layout) };
        if !moved.is_null() {
            // SAFETY: both blocks hold that many bytes, and a new block overlaps no live one.
            unsafe { core::ptr::copy_nonoverlapping(block, moved, layout.size().min(new_size)) };
            // SAFETY: the caller gives the old block up, which has the old layout.
            unsafe { self.dealloc(block, layout) };
        }
        moved
    }
}

const fn is_small(layout: Layout) -> bool {
    layout.size() < HUGE || layout.align() > HUGE
}

const fn mapped_len(size: usize) -> usize {
    size.next_multiple_of(HUGE)
}

/// A new zeroed mapping for `size` bytes, aligned to HUGE; null if there is no memory.
fn map(size: usize) -> *mut u8 {
    let len = mapped_len(size);
    // The kernel aligns to small pages only: take one huge page more, and give back what is not needed.
    // SAFETY: a private anonymous mapping at an address of the kernel's choice touches no memory in use.
    let mapped = unsafe {
        let (protection, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
        rustix::mm::mmap_anonymous(core::ptr::null_mut(), len + HUGE, protection, flags)
    };
    let Ok(mapped) = mapped else { return core::ptr::null_mut() };
    let mapped = mapped.cast::<u8>();
    let before = mapped.align_offset(HUGE);
    let after = HUGE - before;
    // SAFETY: the three parts make up the mapping above, and nobody knows of the two that go.
    unsafe {
        let block = mapped.add(before);
        if before > 0 {
            unmap(mapped, before);
        }
        if after > 0 {
            unmap(block.add(len), after);
        }
        // A kernel without huge pages refuses, and small ones do.
        let _ = rustix::mm::madvise(block.cast(), len, Advice::LinuxHugepage);
        block
    }
}

/// Gives a mapping back.
///
/// # Safety
/// The range is mapped, a whole number of pages, and used by nobody.
unsafe fn unmap(block: *mut u8, len: usize) {
    // SAFETY: as this function's. It fails only if the process may not split another mapping, and then the
    // range stays unused.
    let _ = unsafe { rustix::mm::munmap(block.cast(), len) };
}

/// A zeroed buffer at an address that direct I/O accepts.
#[derive(Debug)]
pub struct AlignedBuffer {
    start: NonNull<u8>,
    layout: Layout,
}

// SAFETY: the buffer is its only owner's, like a Box of bytes.
unsafe impl Send for AlignedBuffer {}

impl AlignedBuffer {
    /// A buffer of `len` bytes, its address a multiple of `align`.
    ///
    /// # Panics
    /// If `len` is 0 or `align` no power of two.
    #[must_use]
    pub fn new(len: usize, align: usize) -> Self {
        let layout = Layout::from_size_align(len, align).expect("a power of two, and a size that exists");
        assert!(len > 0, "a buffer has bytes");
        // SAFETY: the size is not zero.
        let start = unsafe { std::alloc::alloc_zeroed(layout) };
        let Some(start) = NonNull::new(start) else { handle_alloc_error(layout) };
        Self { start, layout }
    }
}

impl core::ops::Deref for AlignedBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `layout.size()` bytes are allocated and initialised, and this borrows their only owner.
        unsafe { core::slice::from_raw_parts(self.start.as_ptr(), self.layout.size()) }
    }
}

impl core::ops::DerefMut for AlignedBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and borrowed mutably.
        unsafe { core::slice::from_raw_parts_mut(self.start.as_ptr(), self.layout.size()) }
    }
}

impl Drop for AlignedBuffer {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout, and nobody has it any more.
        unsafe { std::alloc::dealloc(self.start.as_ptr(), self.layout) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[global_allocator]
    static MEMORY: HugePages = HugePages;

    /// Fills, grows and shrinks across the border between small and large blocks.
    #[test]
    fn contents_survive_growing_and_shrinking() {
        let mut bytes: Vec<u8> = Vec::new();
        for at in 0..5 * HUGE {
            bytes.push((at % 251) as u8);
        }
        for keep in [4 * HUGE + 1, 2 * HUGE, HUGE, HUGE - 1, 100, 1] {
            bytes.truncate(keep);
            bytes.shrink_to_fit();
            assert!(bytes.iter().enumerate().all(|(at, byte)| *byte == (at % 251) as u8), "{keep} bytes");
        }
    }

    #[test]
    fn large_blocks_are_aligned_zeroed_and_given_back() {
        let resident = || {
            let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
            statm.split(' ').next().unwrap().parse::<usize>().unwrap() * 4096
        };
        let before = resident();
        for round in 0..64_usize {
            let mut block = vec![0_u8; 8 * HUGE + round];
            assert_eq!(block.as_ptr() as usize % HUGE, 0);
            assert!(block[..100].iter().chain(&block[8 * HUGE..]).all(|byte| *byte == 0));
            block.fill(7);
        }
        let grown = resident().saturating_sub(before);
        assert!(grown < 64 * HUGE, "address space grew by {grown} bytes for blocks that are gone");
    }

    #[test]
    fn buffers_are_aligned() {
        for align in [512, 4096, 1 << 21] {
            let mut buffer = AlignedBuffer::new(4096, align);
            assert_eq!(buffer.as_ptr() as usize % align, 0);
            assert!(buffer.iter().all(|byte| *byte == 0));
            buffer[4095] = 1;
        }
    }
}
