//! Whatever a node sends, nothing panics, and no request has two outcomes.

mod common;

use common::{Pair, Seen, core_config, server_frame, server_header};
use ordain_client::{CoreConfig, SubmitError};
use ordain_types::codes::Code;
use ordain_types::frame::ServerFrame;
use ordain_types::{KeyId, OutputSeq, Seq, Stream};
use proptest::prelude::*;
use std::collections::BTreeSet;

/// Replies that are possible one by one, for sessions and numbers near those in use.
fn frame() -> impl Strategy<Value = Vec<u8>> {
    let kind = prop_oneof![6 => Just(1_u8), 1 => 2..=12_u8];
    let code = prop::sample::select(Code::ALL.to_vec());
    let code = prop_oneof![3 => Just(Code::Executed), 4 => Just(Code::Expected), 8 => code];
    let session = prop_oneof![8 => Just(12_u64), 1 => Just(0), 1 => 13..16_u64];
    (kind, code, session, 0..12_u64, 0..12_u64, prop::collection::vec(any::<u8>(), 0..42)).prop_map(
        |(kind, code, session, number, seq, payload)| {
            let kind = ServerFrame::from_wire(kind).unwrap();
            server_frame(server_header(kind, code, session, number, seq), &payload)
        },
    )
}

#[derive(Clone, Debug)]
enum Act {
    Frame(Vec<u8>),
    Bytes(Vec<u8>),
    Submit(u8),
    Close,
    Query,
    Receipt(u64),
    Keys,
    Subscribe,
    Run,
    Cut,
    Pass(u64),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        12 => frame().prop_map(Act::Frame),
        1 => prop::collection::vec(any::<u8>(), 0..100).prop_map(Act::Bytes),
        8 => any::<u8>().prop_map(Act::Submit),
        1 => Just(Act::Close),
        1 => Just(Act::Query),
        1 => (0..12_u64).prop_map(Act::Receipt),
        1 => Just(Act::Keys),
        1 => Just(Act::Subscribe),
        4 => Just(Act::Run),
        2 => Just(Act::Cut),
        3 => (0..300_000_000_000_u64).prop_map(Act::Pass),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn frames_out_of_place_never_panic(acts in prop::collection::vec(act(), 1..120)) {
        let mut pair = Pair::ready(CoreConfig { window: 9, ..core_config() });
        let mut taken = 0;
        for act in acts {
            match act {
                Act::Frame(bytes) | Act::Bytes(bytes) => {
                    let seen = &mut pair.seen;
                    // The core takes whole frames only: what is left over would be given again.
                    pair.core.receive(pair.now, &bytes, &mut |event| seen.push(common::own(event)));
                }
                Act::Submit(byte) => taken += u64::from(pair.core.submit(1, &[byte]).is_ok()),
                Act::Close => taken += u64::from(pair.core.close_session().is_ok()),
                Act::Query => drop(pair.core.query(1, b"q")),
                Act::Receipt(seq) => drop(pair.core.receipt(Seq(seq))),
                Act::Keys => drop(pair.core.keys(KeyId(1))),
                Act::Subscribe => prop_assert_ne!(
                    pair.core.subscribe(Stream::Public, OutputSeq(0)),
                    Err(SubmitError::Closed)
                ),
                Act::Run => {
                    let sent = pair.core.outgoing(pair.now).len();
                    pair.core.sent(sent);
                }
                Act::Cut => pair.cut(),
                Act::Pass(nanos) => {
                    pair.now = pair.now.plus(nanos);
                    let seen = &mut pair.seen;
                    pair.core.tick(pair.now, &mut |event| seen.push(common::own(event)));
                }
            }
            if !pair.core.is_connected() {
                // A node that has forgotten everything, or the whole truth: either way sign in anew.
                pair.node = common::Node::new();
                pair.connect();
                for _ in 0..2 {
                    let bytes = pair.core.outgoing(pair.now).to_vec();
                    pair.core.sent(bytes.len());
                    pair.node.receive(&bytes);
                    let answer = std::mem::take(&mut pair.node.outbox);
                    let seen = &mut pair.seen;
                    pair.core.receive(pair.now, &answer, &mut |event| seen.push(common::own(event)));
                }
            }
        }
        let mut tickets = BTreeSet::new();
        for seen in &pair.seen {
            if let Seen::Acknowledged { ticket, .. }
            | Seen::NotExecuted { ticket, .. }
            | Seen::Unknown { ticket, .. } = seen
            {
                prop_assert!(tickets.insert(*ticket), "two outcomes of {}", ticket);
                prop_assert!((1..=taken).contains(ticket));
            }
        }
        prop_assert!(tickets.len() as u64 + pair.core.open_requests() as u64 >= taken);
    }

    #[test]
    fn bytes_during_the_sign_in_never_panic(
        at in 0..600_usize, bit in 0..8_u32, noise in prop::collection::vec(any::<u8>(), 0..200)
    ) {
        let mut pair = Pair::new(core_config());
        pair.connect();
        let hello = pair.core.outgoing(pair.now).to_vec();
        pair.core.sent(hello.len());
        pair.node.receive(&hello);
        let mut challenge = std::mem::take(&mut pair.node.outbox);
        // Fields of the header that a Challenge does not use, and reserved bytes, are nobody's loss.
        let counts = (0..5).contains(&at) || (32..34).contains(&at) || (40..184).contains(&at);
        if let Some(byte) = challenge.get_mut(at) {
            *byte ^= 1 << bit;
        }
        challenge.extend_from_slice(&noise);
        pair.core.receive(pair.now, &challenge, &mut |_| {});
        let proof = pair.core.outgoing(pair.now).len();
        prop_assert!(!counts || proof == 0, "a forged challenge was answered");
        pair.core.receive(pair.now, &noise, &mut |_| {});
    }
}
