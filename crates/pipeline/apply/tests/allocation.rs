//! In its stride the stage allocates nothing.

use ordain_agent::disk::Disk;
use ordain_agent::metrics::Registry;
use ordain_agent::shared::Shared;
use ordain_agent::{Agent, Fatal};
use ordain_apply::testkit::{CLIENT, Log, facts};
use ordain_apply::{Apply, BatchSource, Parts};
use ordain_counter::{CounterDecoder, CounterEncoder, CounterFactory, Request, SCHEMA};
use ordain_ring::spsc::channel;
use ordain_types::frame::OpenBody;
use ordain_types::{BatchIndex, BatchKind, BatchView, Now, Position, RecordHeader, RecordKind};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use zerocopy::IntoBytes;

struct Counting;

thread_local! {
    /// Of this thread: the test's harness has its own.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    ALLOCATIONS.set(ALLOCATIONS.get() + 1);
}

// SAFETY: everything is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's promise is passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

struct Batches {
    batches: Vec<Vec<u8>>,
    next: usize,
}

impl BatchSource for Batches {
    fn peek(&mut self, limit: BatchIndex) -> Result<Option<BatchView<'_>>, Fatal> {
        let batch = self.batches.get(self.next).filter(|_| self.next < limit.0 as usize);
        Ok(batch.map(|batch| BatchView::trusted(batch).unwrap()))
    }

    fn advance(&mut self) {
        self.next += 1;
    }

    fn seek(&mut self, _at: Position, next: BatchIndex) {
        self.next = next.0 as usize - 1;
    }

    fn disk(&mut self) -> Option<&mut dyn Disk> {
        None
    }

    fn let_go(&mut self) {}
}

#[test]
fn a_stage_in_its_stride_allocates_nothing() {
    const SESSIONS: u64 = 8;
    const WARM: u64 = 50;
    let facts = facts();
    let (mut log, mut batches) = Log::new(&facts, &CounterFactory);
    let open = RecordHeader { key: CLIENT.0.into(), ..Log::header(RecordKind::SessionOpen) };
    let first =
        (0..SESSIONS).map(|_| log.push(open, OpenBody { reserved: [0; 8] }.as_bytes())).min().unwrap();
    batches.push(log.seal(BatchKind::Data));
    // Additions and bursts of several steps, with sixteen replies open, repetitions among them.
    for number in 1..=200_u64 {
        for session in first.0..first.0 + SESSIONS {
            let request = if number % 7 == 0 {
                Request::Burst { counter: 3, count: 100 }
            } else {
                Request::Add { counter: session as u32, by: 1 }
            };
            let mut header = RecordHeader {
                schema: SCHEMA,
                open_span: (number - 1).min(16).try_into().map(u16::into).unwrap(),
                session: session.into(),
                number: number.into(),
                key: CLIENT.0.into(),
                ..Log::header(RecordKind::Request)
            };
            log.push(header, &request.to_wire());
            header.open_span = 0.into();
            log.push(header, &request.to_wire());
        }
        log.set_time(log.time().plus(1_000_000));
        batches.push(log.seal(BatchKind::Data));
    }
    let all = batches.len() as u64;
    let shared = Shared::default();
    shared.stint_first.store(1);
    shared.stint.store(1);
    let (_questions, question_end) = channel(4096);
    let (delivery_end, mut deliveries) = channel(1 << 20);
    let mut stage = Apply::new(Parts {
        facts: &facts,
        factory: CounterFactory,
        decoder: CounterDecoder,
        encoder: CounterEncoder,
        source: Batches { batches, next: 0 },
        restored: None,
        shared: shared.clone(),
        questions: question_end,
        deliveries: delivery_end,
        registry: &Registry::default(),
    });
    let mut before = 0;
    while shared.applied.load() < all {
        stage.do_work(Now::default(), 16).unwrap();
        while deliveries.peek().is_some() {
            deliveries.release();
        }
        if shared.applied.load() <= WARM {
            before = ALLOCATIONS.get();
        }
    }
    assert_eq!(ALLOCATIONS.get() - before, 0);
    assert_eq!(stage.replica().counts().duplicates, 200 * SESSIONS);
}
