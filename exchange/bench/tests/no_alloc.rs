//! In steady state no command allocates.
//!
//! Counting needs a global allocator, hence the unsafe code; it passes everything on to the system's.

use ordain_exchange_bench::adverse::Adverse;
use ordain_exchange_bench::engine::{Bench, Requests};
use ordain_exchange_bench::flow::Settings;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every method hands its arguments unchanged to `System`, which keeps the contract; counting
// touches no memory of the allocation.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on, and `alloc` gave the pointer from `System`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static GLOBAL: Counting = Counting;

#[test]
fn commands_allocate_nothing() {
    let settings = Settings { accounts: 1_000, instruments: 20, ..Settings::default() };
    none_allocates(&mut Bench::new(&settings, 20_000));
    // So many prices that their blocks are cut and joined all the time.
    let mut levels = Adverse::Levels.bench(10);
    levels.warm_up(20_000);
    none_allocates(&mut levels);
    assert!(ALLOCATIONS.load(Ordering::Relaxed) > 0, "allocations are counted");
}

fn none_allocates<R: Requests>(bench: &mut Bench<R>) {
    for _ in 0..50 {
        bench.fill();
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        bench.run();
        assert_eq!(ALLOCATIONS.load(Ordering::Relaxed), before, "a command allocated");
    }
}
