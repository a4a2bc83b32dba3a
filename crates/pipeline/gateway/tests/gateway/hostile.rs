//! Bytes from outside.

use crate::rig::*;
use ordain_types::codes::Code;
use ordain_types::frame::{ClientFrame, ServerFrame};
use ordain_types::record::RECORD_HEADER;
use ordain_types::{RecordHeader, RecordKind};
use proptest::prelude::*;
use zerocopy::IntoBytes;

/// One of every frame that a signed-in client may send, to session 50 which expects 1.
fn every_frame() -> Vec<Vec<u8>> {
    vec![
        add(50, 1),
        key_set(50, 1, 9),
        close(50, 1),
        keep_alive(50, 1),
        open(9),
        resume(50),
        query(3),
        receipt(3, 1),
        keys(3, 1),
        subscribe(0, 0),
        frame(ClientFrame::Unsubscribe as u8, 0, 0, &[0; 16]),
        ping(4),
    ]
}

#[test]
fn a_frame_may_come_in_any_pieces() {
    for (nth, bytes) in every_frame().into_iter().enumerate() {
        for cut in 0..bytes.len() {
            let mut rig = Rig::new();
            let alice = rig.signed_in(ALICE);
            rig.session(alice, 2, 50);
            rig.send(alice, &bytes[..cut]);
            assert_eq!((rig.heard(alice).len(), rig.asked().len()), (0, 0), "frame {nth} cut at {cut}");
            rig.send(alice, &bytes[cut..]);
            let (heard, asked) = (rig.heard(alice).len(), rig.asked().len());
            assert_eq!(heard + asked, usize::from(nth != 10), "frame {nth} cut at {cut}");
            assert!(rig.is_open(alice));
        }
    }
}

#[test]
fn a_handshake_may_come_in_any_pieces_too() {
    let mut whole = Rig::new();
    let conn = whole.connect();
    let client = ordain_keys::ClientHandshake::new(pair(ALICE), CLUSTER, None, [1; 32]);
    let hello = frame(ClientFrame::Hello as u8, 0, 0, client.hello().as_bytes());
    whole.send(conn, &hello);
    assert_eq!(whole.one(conn).kind(), ServerFrame::Challenge);
    for cut in 0..hello.len() {
        let mut rig = Rig::new();
        let conn = rig.connect();
        rig.send(conn, &hello[..cut]);
        assert_eq!(rig.heard(conn).len(), 0, "cut at {cut}");
        rig.send(conn, &hello[cut..]);
        assert_eq!(rig.one(conn).kind(), ServerFrame::Challenge, "cut at {cut}");
    }
}

/// A frame that ends the connection with this code and hands nothing over.
#[track_caller]
fn check(what: &str, bytes: &[u8], code: Code) {
    let mut rig = Rig::new();
    let alice = rig.signed_in(ALICE);
    rig.session(alice, 2, 50);
    rig.send(alice, bytes);
    let got = rig.one(alice);
    assert_eq!((got.kind(), got.code()), (ServerFrame::Goodbye, code), "{what}");
    assert!(!rig.is_open(alice) && rig.asked().is_empty(), "{what}");
}

#[test]
fn what_is_no_frame_ends_the_connection() {
    let spoilt = |at: usize, byte: u8| {
        let mut bytes = frame(RecordKind::Request as u8, 50, 1, &[1; 13]);
        bytes[at] = byte;
        bytes
    };
    let header = RECORD_HEADER;
    check("padding", &spoilt(header + 13, 1), Code::Malformed);
    check("the last byte of padding", &spoilt(header + 15, 1), Code::Malformed);
    for at in 24..32 {
        check("a key or permissions", &spoilt(at, 1), Code::Malformed);
    }
    check("a length of 4 GiB", &spoilt(3, 255), Code::Malformed);
    for kind in 0..=255 {
        let known = RecordKind::from_wire(kind).is_some() || ClientFrame::from_wire(kind).is_some();
        if !known {
            check("an unknown kind", &frame(kind, 50, 1, &[]), Code::Unsupported);
        }
    }
    check("a tick", &frame(RecordKind::Tick as u8, 0, 0, &[]), Code::Malformed);
    check("a lost session", &frame(RecordKind::SessionLost as u8, 50, 1, &[]), Code::Malformed);
    check("a genesis", &frame(RecordKind::Genesis as u8, 0, 0, &[]), Code::Malformed);
    check("a second hello", &frame(ClientFrame::Hello as u8, 0, 0, &[0; 88]), Code::Malformed);
    check("a second proof", &frame(ClientFrame::Proof as u8, 0, 0, &[0; 64]), Code::Malformed);
    check("a stream that cannot be", &subscribe(u64::MAX, 0), Code::Malformed);
    check("a subscribe cut short", &frame(ClientFrame::Subscribe as u8, 0, 0, &[0; 8]), Code::Malformed);
    check("an unsubscribe cut short", &frame(ClientFrame::Unsubscribe as u8, 0, 0, &[0; 8]), Code::Malformed);
    check("a receipt of nothing", &frame(ClientFrame::Receipt as u8, 0, 0, &[0; 7]), Code::Malformed);
    check("a list of keys from nowhere", &frame(ClientFrame::Keys as u8, 0, 0, &[]), Code::Malformed);
    check("a resume with a payload", &frame(ClientFrame::Resume as u8, 50, 0, &[0; 8]), Code::Malformed);
    check("a ping with a payload", &frame(ClientFrame::Ping as u8, 0, 0, &[0; 8]), Code::Malformed);
    check(
        "a keep-alive with a payload",
        &frame(RecordKind::SessionKeepAlive as u8, 50, 1, &[0; 8]),
        Code::Malformed,
    );
    check("an open with a session", &frame(RecordKind::SessionOpen as u8, 1, 1, &[0; 8]), Code::Malformed);
    check(
        "an open with a body of ones",
        &frame(RecordKind::SessionOpen as u8, 0, 1, &[1; 8]),
        Code::Malformed,
    );
}

/// Headers that are nearly right, so that random bytes get past the first check.
fn nearly() -> impl Strategy<Value = Vec<u8>> {
    let kinds = prop::sample::select(vec![1_u8, 2, 3, 4, 6, 64, 65, 66, 67, 68, 69, 70, 71, 72, 99]);
    let small = prop_oneof![Just(0_u64), Just(1), Just(50), Just(60), 0..9_u64, any::<u64>()];
    let span = prop_oneof![0..6_u16, any::<u16>()];
    (kinds, span, small.clone(), small, prop::collection::vec(any::<u8>(), 0..48)).prop_map(
        |(kind, span, session, number, payload)| {
            let header = RecordHeader {
                length: (payload.len() as u32).into(),
                kind,
                schema: SCHEMA,
                open_span: span.into(),
                session: session.into(),
                number: number.into(),
                ..RecordHeader::default()
            };
            raw(header, &payload)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_bytes_hurt_anybody_else(
        signed in any::<bool>(),
        frames in prop::collection::vec(prop_oneof![nearly(), prop::collection::vec(any::<u8>(), 0..80)], 1..12),
    ) {
        hostile_client(signed, &frames);
    }
}
