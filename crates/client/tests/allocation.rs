//! In its stride the core allocates nothing.

use ordain_client::{ClientCore, CoreConfig, Event};
use ordain_keys::{KeyPair, ServerHandshake};
use ordain_types::codes::Code;
use ordain_types::frame::{HelloBody, ServerFrame, ServerHeader, WelcomeBody, body, frame_len};
use ordain_types::record::{RECORD_HEADER, record_len};
use ordain_types::{ClusterId, Nanos, RecordHeader, RecordKind};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use zerocopy::{FromBytes, IntoBytes};

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

fn put(out: &mut Vec<u8>, kind: ServerFrame, (session, number): (u64, u64), payload: &[u8]) {
    let header = ServerHeader {
        length: (payload.len() as u32).into(),
        kind: kind as u8,
        code: Code::Executed as u8,
        session: session.into(),
        number: number.into(),
        ..ServerHeader::default()
    };
    let end = out.len() + frame_len(payload.len());
    out.extend_from_slice(header.as_bytes());
    out.extend_from_slice(payload);
    out.resize(end, 0);
}

/// Answers every request among `bytes`.
fn answer(bytes: &[u8], out: &mut Vec<u8>) -> u64 {
    let (mut at, mut answered) = (0, 0);
    while at < bytes.len() {
        let (header, _) = RecordHeader::ref_from_prefix(&bytes[at..]).unwrap();
        at += record_len(header.length.get() as usize);
        if header.kind == RecordKind::Request as u8 {
            put(out, ServerFrame::Reply, (header.session.get(), header.number.get()), &[5; 96]);
            answered += 1;
        }
    }
    answered
}

#[test]
fn a_request_costs_no_allocation() {
    let mut core = ClientCore::new(CoreConfig::new(KeyPair::from_seed(&[1; 32])));
    let now = Nanos(1);
    core.connected(now, [3; 32], None);
    let mut out = Vec::with_capacity(1 << 20);
    let hello = core.outgoing(now);
    let hello: HelloBody = *body(&hello[RECORD_HEADER..]).unwrap();
    let handshake =
        ServerHandshake::challenge(&KeyPair::from_seed(&[2; 32]), ClusterId([9; 16]), &hello, [4; 32])
            .unwrap();
    put(&mut out, ServerFrame::Challenge, (0, 0), handshake.body().as_bytes());
    let welcome = WelcomeBody {
        key: 1.into(),
        permissions: 0.into(),
        window: 1024.into(),
        payload_max: 65_536.into(),
        session_timeout: (600 * Nanos::SECOND).into(),
        idle_timeout: (30 * Nanos::SECOND).into(),
    };
    put(&mut out, ServerFrame::Welcome, (0, 0), welcome.as_bytes());
    put(&mut out, ServerFrame::Opened, (9, 1), &[]);
    assert_eq!(core.receive(now, &out, &mut |_| {}), out.len());
    assert!(core.is_ready());

    let rounds = 2_000;
    let before = ALLOCATIONS.get();
    let began = std::time::Instant::now();
    let (mut submitted, mut completed) = (0_u64, 0);
    for round in 0..rounds {
        let now = Nanos(1 + round);
        while core.submit(1, &[7; 64]).is_ok() {
            submitted += 1;
        }
        out.clear();
        let bytes = core.outgoing(now);
        let (len, answered) = (bytes.len(), answer(bytes, &mut out));
        core.sent(len);
        assert!(answered > 0);
        core.receive(now, &out, &mut |event| completed += u64::from(matches!(event, Event::Completed(_))));
        core.tick(now, &mut |_| {});
    }
    let took = began.elapsed();
    assert_eq!(ALLOCATIONS.get() - before, 0);
    assert_eq!((submitted, completed), (rounds * 1024, rounds * 1024));
    println!("{:?} per request, with the answering end", took / u32::try_from(submitted).unwrap());
}
