//! Who gets in, at what cost, and who is shown out.

use crate::rig::*;
use ordain_agent::Agent;
use ordain_gateway::GatewayConfig;
use ordain_keys::ClientHandshake;
use ordain_types::Nanos;
use ordain_types::codes::Code;
use ordain_types::frame::{ChallengeBody, ClientFrame, ServerFrame, WelcomeBody};
use zerocopy::{FromBytes, IntoBytes};

fn hello(seed: u8) -> (ClientHandshake, Vec<u8>) {
    let client = ClientHandshake::new(pair(seed), CLUSTER, None, [seed; 32]);
    let bytes = frame(ClientFrame::Hello as u8, 0, 0, client.hello().as_bytes());
    (client, bytes)
}

#[test]
fn a_known_key_is_welcome_and_told_its_bounds() {
    let mut rig = Rig::new();
    let conn = rig.connect();
    let got = rig.sign_in(conn, ALICE);
    assert_eq!((got.kind(), got.code()), (ServerFrame::Welcome, Code::Executed));
    let welcome = WelcomeBody::read_from_bytes(&got.payload).unwrap();
    assert_eq!((welcome.key.get(), welcome.permissions.get(), welcome.window.get()), (2, CLIENT, 4));
}

#[test]
fn an_unknown_or_revoked_key_is_refused_before_anything_is_signed() {
    let mut rig = Rig::new();
    let stranger = rig.connect();
    rig.send(stranger, &hello(99).1);
    let got = rig.one(stranger);
    assert_eq!((got.kind(), got.code()), (ServerFrame::Goodbye, Code::Unauthenticated));
    assert!(!rig.is_open(stranger));
    let alice = rig.signed_in(ALICE);
    let bob = rig.signed_in(BOB);
    rig.set_key(ALICE, 2, 0, 3);
    assert_eq!(rig.one(alice).code(), Code::Unauthenticated);
    assert!(!rig.is_open(alice) && rig.is_open(bob));
    let again = rig.connect();
    assert_eq!(rig.sign_in(again, ALICE).kind(), ServerFrame::Goodbye);
}

#[test]
fn a_node_that_may_not_know_all_keys_yet_says_so() {
    let mut rig = Rig::with(config());
    rig.shared.stint.store(1);
    rig.shared.stint_first.store(3);
    let conn = rig.connect();
    assert_eq!(rig.sign_in(conn, ALICE).code(), Code::Starting);
    // Its batches are applied, but their keys are not delivered: the last of them waits for its copies.
    rig.shared.applied.store(3);
    rig.set_key(ALICE, 1, CLIENT, 2);
    let conn = rig.connect();
    assert_eq!(rig.sign_in(conn, ALICE).code(), Code::Starting);
    rig.shared.committed.store(2);
    rig.run();
    rig.signed_in(ALICE);
    let conn = rig.connect();
    assert_eq!(rig.sign_in(conn, 99).code(), Code::Unauthenticated);
}

#[test]
fn a_replayed_or_foreign_proof_is_worth_nothing() {
    let mut rig = Rig::new();
    let (client, bytes) = hello(ALICE);
    let first = rig.connect();
    rig.send(first, &bytes);
    let challenge = ChallengeBody::read_from_bytes(&rig.one(first).payload).unwrap();
    let (proof, _) = client.answer(&challenge).unwrap();
    let proof = frame(ClientFrame::Proof as u8, 0, 0, proof.as_bytes());
    let second = rig.connect();
    rig.send(second, &bytes);
    assert_ne!(ChallengeBody::read_from_bytes(&rig.one(second).payload).unwrap().nonce, challenge.nonce);
    assert_eq!(rig.code(second, &proof), Code::Unauthenticated);
    assert!(!rig.is_open(second));
    assert_eq!(rig.code(first, &proof), Code::Executed, "where it belongs it is right");
    // A signature of nothing, for Alice's key.
    let third = rig.connect();
    rig.send(third, &bytes);
    rig.heard(third);
    assert_eq!(rig.code(third, &frame(ClientFrame::Proof as u8, 0, 0, &[3; 64])), Code::Unauthenticated);
}

#[test]
fn nothing_but_the_handshake_is_heard_from_a_stranger() {
    for (what, bytes) in [
        ("a ping", ping(1)),
        ("a request", add(1, 1)),
        ("a proof without a challenge", frame(ClientFrame::Proof as u8, 0, 0, &[1; 64])),
        ("a hello that is too short", frame(ClientFrame::Hello as u8, 0, 0, &[1; 80])),
        ("a hello that is too long", frame(ClientFrame::Hello as u8, 0, 0, &[1; 96])),
    ] {
        let mut rig = Rig::new();
        let conn = rig.connect();
        rig.send(conn, &bytes);
        assert_eq!(rig.one(conn).kind(), ServerFrame::Goodbye, "{what}");
        assert!(!rig.is_open(conn) && rig.asked().is_empty(), "{what}");
    }
    let mut rig = Rig::new();
    let conn = rig.connect();
    let (_, bytes) = hello(ALICE);
    rig.send(conn, &bytes);
    rig.heard(conn);
    assert_eq!(rig.code(conn, &bytes), Code::Unauthenticated, "a second hello");
}

#[test]
fn sign_ins_take_few_turns_and_hold_up_no_request() {
    let mut rig = Rig::new();
    let alice = rig.signed_in(ALICE);
    rig.session(alice, 2, 50);
    let strangers: Vec<_> = (0..4).map(|_| rig.connect()).collect();
    for stranger in &strangers {
        rig.push(*stranger, &hello(BOB).1);
    }
    rig.push(alice, &add(50, 1));
    rig.run();
    assert_eq!(rig.admitted(), [1]);
    assert_eq!(
        strangers.iter().map(|stranger| rig.heard(*stranger).len()).sum::<usize>(),
        2,
        "as many as one cycle takes"
    );
    rig.settle();
    assert_eq!(strangers.iter().map(|stranger| rig.heard(*stranger).len()).sum::<usize>(), 2);
}

#[test]
fn half_open_connections_crowd_out_only_each_other() {
    let mut rig = Rig::new();
    let mut half_open = Vec::new();
    for _ in 0..40 {
        half_open.push(rig.connect());
        rig.run();
    }
    let kept: Vec<_> = half_open.iter().filter(|conn| rig.is_open(**conn)).collect();
    assert_eq!(kept, half_open[36..].iter().collect::<Vec<_>>(), "the youngest");
    assert_eq!(rig.one(half_open[35]).code(), Code::Busy);
    rig.signed_in(ALICE);
}

#[test]
fn clients_leave_room_for_operators_and_both_for_newcomers() {
    let mut rig = Rig::new();
    let clients: Vec<_> = (0..9).map(|_| rig.signed_in(ALICE)).collect();
    for _ in 0..10 {
        rig.connect();
    }
    rig.run();
    let conn = rig.connect();
    assert_eq!(rig.sign_in(conn, BOB).code(), Code::Busy, "16 less 4 strangers, 1 newcomer, 2 operators");
    for _ in 0..2 {
        rig.signed_in(OPERATOR);
    }
    let conn = rig.connect();
    assert_eq!(rig.sign_in(conn, OPERATOR).code(), Code::Busy);
    rig.hang_up(clients[0]);
    rig.signed_in(BOB);
}

#[test]
fn silent_connections_are_closed_when_the_deadline_says_so() {
    let timeouts =
        GatewayConfig { handshake_timeout: Nanos(500_000), idle_timeout: Nanos(900_000), ..config() };
    let mut rig = Rig::with(timeouts);
    assert_eq!(rig.gateway.next_deadline(), None);
    rig.genesis();
    rig.lead(1);
    let alice = rig.signed_in(ALICE);
    let stranger = rig.connect();
    rig.run();
    let born = rig.now;
    assert_eq!(rig.gateway.next_deadline(), Some(born.plus(500_000)));
    rig.now = Nanos(born.0 + 498_000);
    rig.run();
    assert!(rig.is_open(stranger));
    assert_eq!(rig.run(), 1);
    assert!(!rig.is_open(stranger) && rig.is_open(alice));
    assert_eq!(rig.one(stranger).code(), Code::Unauthenticated);
    // A ping moves the deadline, when it comes.
    rig.send(alice, &ping(1));
    rig.heard(alice);
    let pinged = rig.now;
    rig.now = rig.gateway.next_deadline().unwrap();
    rig.run();
    assert!(rig.is_open(alice));
    assert_eq!(rig.gateway.next_deadline(), Some(pinged.plus(900_000)));
    rig.now = pinged.plus(900_000);
    rig.run();
    assert_eq!(rig.one(alice).code(), Code::Idle);
    assert_eq!(rig.gateway.next_deadline(), None);
}
