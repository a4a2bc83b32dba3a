//! In its stride the core allocates nothing, neither leading nor following.

#[path = "common/steady.rs"]
mod steady;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use steady::{Follower, Leader};

struct Counting;

thread_local! {
    /// Of this thread: the test's harness has its own.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: everything is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_batch_costs_no_allocation() {
    let (mut leader, mut follower) = (Leader::new(), Follower::new());
    // Queues have grown to what they need.
    for _ in 0..10 {
        leader.batch();
        follower.batch();
    }
    let before = ALLOCATIONS.get();
    for _ in 0..100_000 {
        leader.batch();
        follower.batch();
    }
    assert_eq!(ALLOCATIONS.get() - before, 0);
}
