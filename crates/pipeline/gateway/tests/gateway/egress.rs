//! What leaves, when, and what becomes of those who do not read.

use crate::rig::*;
use ordain_agent::wire::{Delivery, delivery};
use ordain_types::codes::Code;
use ordain_types::frame::ServerFrame;
use ordain_types::{SessionId, Stream};

/// Whether a reply with this index, stint and round leaves when batch 5 is committed in stint 3 and round 7
/// is over; if not, whether it waits.
#[track_caller]
fn check(index: u64, stint: u64, round: u64, leaves: bool, waits: bool) {
    let mut rig = Rig::with(config());
    rig.genesis();
    rig.shared.stint.store(2);
    rig.lead(3);
    rig.apply(5);
    rig.shared.read_rounds.store(7);
    let alice = rig.signed_in(ALICE);
    rig.session(alice, 2, 50);
    let head = Delivery {
        index: index.into(),
        stint: stint.into(),
        round: round.into(),
        ..rig.head(delivery::ANSWER, alice, 2)
    };
    rig.send(alice, &query(1));
    rig.emit(head, header(ServerFrame::Answer, Code::Executed, 0, 1, 9), &[]);
    rig.run();
    assert_eq!(rig.heard(alice).len(), usize::from(leaves), "index {index} stint {stint} round {round}");
    assert_eq!(rig.deliveries.free() < 1 << 20, waits, "index {index} stint {stint} round {round}");
}

#[test]
fn a_reply_leaves_in_its_reign_when_its_copies_and_round_exist() {
    check(5, 3, 7, true, false);
    check(5, 3, 0, true, false);
    check(6, 3, 0, false, true);
    check(5, 3, 8, false, true);
    // Of a reign that is over; of one that the gateway has not seen yet.
    check(5, 1, 0, false, false);
    check(5, 5, 0, false, true);
}

#[test]
fn what_waits_holds_up_what_is_behind_it() {
    let mut rig = Rig::new();
    let alice = rig.signed_in(ALICE);
    rig.session(alice, 2, 50);
    rig.send(alice, &[add(50, 1), add_open(50, 2, 1)].concat());
    rig.shared.applied.store(4);
    rig.reply(2, 50, 1, Code::Executed);
    rig.shared.applied.store(5);
    rig.reply(2, 50, 2, Code::Executed);
    assert_eq!(rig.heard(alice).len(), 0);
    rig.shared.committed.store(4);
    rig.run();
    assert_eq!(rig.one(alice).header.number.get(), 1);
    rig.shared.committed.store(5);
    rig.run();
    assert_eq!(rig.one(alice).header.number.get(), 2);
}

#[test]
fn a_follower_keeps_committed_outputs_and_keys() {
    let mut rig = Rig::with(config());
    rig.genesis();
    rig.output(0, 1, 8);
    rig.lead(1);
    let alice = rig.signed_in(ALICE);
    rig.send(alice, &subscribe(0, 1));
    rig.subscribed(alice, 0, 1, Code::Executed);
    let got = rig.heard(alice);
    assert_eq!(got.iter().map(Got::kind).collect::<Vec<_>>(), [ServerFrame::Subscribed, ServerFrame::Output]);
}

#[test]
fn subscribers_read_from_where_they_ask() {
    let mut rig = Rig::new();
    let alice = rig.signed_in(ALICE);
    for number in 1..=3 {
        rig.output(0, number, 8);
    }
    let read = |rig: &mut Rig, from: u64| -> Vec<u64> {
        rig.send(alice, &subscribe(0, from));
        rig.subscribed(alice, 0, from, Code::Executed);
        rig.settle();
        rig.heard(alice).iter().map(|got| got.header.number.get()).collect()
    };
    // The first is the Subscribed itself. A second subscription replaces the first.
    assert_eq!(read(&mut rig, 2), [2, 2, 3]);
    assert_eq!(read(&mut rig, 0), [4]);
    rig.output(0, 4, 8);
    assert_eq!(rig.one(alice).header.number.get(), 4);
    let unsubscribe = frame(ordain_types::frame::ClientFrame::Unsubscribe as u8, 0, 0, &[0; 16]);
    rig.send(alice, &unsubscribe);
    rig.output(0, 5, 8);
    assert_eq!((rig.heard(alice).len(), rig.metric("ordain_subscriptions")), (0, 0));
}

#[test]
fn subscriptions_are_bounded_and_refusals_are_passed_on() {
    let mut rig = Rig::new();
    let alice = rig.signed_in(ALICE);
    let mut codes = Vec::new();
    for topic in 0..3 {
        let stream = Stream::Topic(topic).to_wire();
        rig.send(alice, &subscribe(stream, 0));
        rig.subscribed(alice, stream, 0, Code::Executed);
        codes.push(rig.one(alice).code());
    }
    assert_eq!(codes, [Code::Executed, Code::Executed, Code::Busy]);
    rig.send(alice, &subscribe(0, 0));
    rig.subscribed(alice, 0, 0, Code::NotPermitted);
    assert_eq!(rig.one(alice).code(), Code::NotPermitted);
    assert_eq!(rig.metric("ordain_subscriptions"), 2);
}

#[test]
fn outputs_that_are_gone_are_too_old() {
    let mut rig = Rig::new();
    let alice = rig.signed_in(ALICE);
    rig.send(alice, &subscribe(0, 1));
    rig.subscribed(alice, 0, 1, Code::Executed);
    rig.heard(alice);
    rig.stick(alice, true);
    for number in 1..=400 {
        rig.output(0, number, 1000);
    }
    let got = rig.heard(alice);
    let last = got.last().unwrap();
    assert_eq!((last.kind(), last.code()), (ServerFrame::Goodbye, Code::TooSlow));
    assert!(!rig.is_open(alice));
    let bob = rig.signed_in(BOB);
    rig.send(bob, &subscribe(0, 1));
    rig.subscribed(bob, 0, 1, Code::Executed);
    let got = rig.one(bob);
    assert_eq!((got.code(), got.header.seq.get()), (Code::TooOld, 394), "8 KiB hold seven");
}

#[test]
fn who_does_not_read_its_answers_is_told_so_and_closed() {
    let mut rig = Rig::new();
    let alice = rig.signed_in(ALICE);
    let bob = rig.signed_in(BOB);
    rig.stick(alice, true);
    let mut pings = 0;
    while rig.is_open(alice) {
        rig.send(alice, &ping(1));
        pings += 1;
        assert!(pings < 10_000);
    }
    let got = rig.heard(alice);
    assert!(got[..got.len() - 1].iter().all(|got| got.kind() == ServerFrame::Pong));
    assert_eq!(got.last().unwrap().code(), Code::TooSlow);
    assert_eq!(rig.metric("ordain_connections_too_slow_total"), 1);
    assert_eq!(rig.code(bob, &ping(1)), Code::Executed);
}

#[test]
fn outputs_leave_room_for_answers() {
    let mut rig = Rig::with(ordain_gateway::GatewayConfig { outputs_bytes: 1 << 20, ..config() });
    rig.genesis();
    rig.lead(1);
    let alice = rig.signed_in(ALICE);
    rig.session(alice, 2, 50);
    rig.send(alice, &subscribe(0, 1));
    rig.subscribed(alice, 0, 1, Code::Executed);
    rig.heard(alice);
    rig.stick(alice, true);
    for number in 1..=500 {
        rig.output(0, number, 1000);
    }
    rig.settle();
    rig.send(alice, &add(50, 1));
    rig.reply(2, 50, 1, Code::Executed);
    assert!(rig.is_open(alice));
    let got = rig.heard(alice);
    assert!(got.len() > 100 && got.len() < 400);
    assert_eq!(got.last().unwrap().kind(), ServerFrame::Reply);
    rig.settle();
    assert_eq!(rig.heard(alice).last().unwrap().kind(), ServerFrame::Output, "it goes on");
}

#[test]
fn a_key_that_loses_permissions_loses_its_connections() {
    let mut rig = Rig::new();
    let alice = rig.signed_in(ALICE);
    rig.send(alice, &subscribe(0, 0));
    rig.subscribed(alice, 0, 0, Code::Executed);
    rig.heard(alice);
    rig.asked();
    rig.set_key(ALICE, 2, CLIENT | 1 << 9, 3);
    assert!(rig.is_open(alice));
    rig.session(alice, 2, 50);
    rig.send(alice, &add(50, 1));
    assert_eq!(rig.asked()[0].header.permissions.get(), CLIENT | 1 << 9, "what it gained holds at once");
    rig.set_key(ALICE, 2, 1 << 9, 3);
    assert_eq!(rig.one(alice).code(), Code::Unauthenticated);
    rig.output(0, 1, 8);
    assert_eq!((rig.heard(alice).len(), rig.metric("ordain_subscriptions")), (0, 0));
}

#[test]
fn the_outputs_of_a_session_end_with_it() {
    let mut rig = Rig::new();
    let alice = rig.signed_in(ALICE);
    let stream = Stream::Session(SessionId(50)).to_wire();
    rig.output(stream, 1, 8);
    rig.session_closed(50);
    rig.send(alice, &subscribe(stream, 1));
    rig.subscribed(alice, stream, 1, Code::Executed);
    assert_eq!(rig.heard(alice).len(), 1, "nothing is kept");
}

#[test]
fn after_a_restart_keys_and_outputs_come_anew() {
    let mut rig = Rig::new();
    let alice = rig.signed_in(ALICE);
    rig.send(alice, &subscribe(0, 0));
    rig.subscribed(alice, 0, 0, Code::Executed);
    rig.output(0, 1, 8);
    assert_eq!(rig.heard(alice).len(), 2);
    rig.shared.stint.store(2);
    rig.put(Delivery { kind: delivery::RESTART.into(), ..Delivery::default() }, &[]);
    rig.run();
    let conn = rig.connect();
    assert_eq!(rig.sign_in(conn, ALICE).code(), Code::Starting);
    rig.genesis();
    rig.output(0, 1, 8);
    rig.output(0, 2, 8);
    rig.lead(3);
    let alice = rig.signed_in(ALICE);
    rig.send(alice, &subscribe(0, 1));
    rig.subscribed(alice, 0, 1, Code::Executed);
    let numbers: Vec<_> = rig.heard(alice).iter().map(|got| got.header.number.get()).collect();
    assert_eq!(numbers, [1, 1, 2]);
}

#[test]
fn answers_to_those_who_left_go_nowhere() {
    let mut rig = Rig::new();
    let alice = rig.signed_in(ALICE);
    rig.session(alice, 2, 50);
    rig.send(alice, &[add(50, 1), query(1), open(8)].concat());
    rig.hang_up(alice);
    rig.reply(2, 50, 1, Code::Executed);
    let head = rig.head(delivery::ANSWER, alice, 2);
    rig.emit(head, header(ServerFrame::Answer, Code::Executed, 0, 1, 9), &[]);
    rig.opened(alice, 2, 51, Code::Executed);
    assert_eq!((rig.metric("ordain_sessions_attached"), rig.metric("ordain_connections")), (0, 0));
}
