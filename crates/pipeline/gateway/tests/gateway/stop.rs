//! A graceful stop loses nothing in silence.

use crate::rig::*;
use ordain_types::codes::Code;
use ordain_types::frame::ServerFrame;

#[test]
fn after_its_last_word_the_gateway_hands_over_nothing() {
    let mut rig = Rig::new();
    let alice = rig.signed_in(ALICE);
    rig.session(alice, 2, 50);
    rig.send(alice, &add(50, 1));
    assert_eq!(rig.shared.requests_closed.load(), 0);
    // It arrives before the stop and is looked at behind it.
    rig.push(alice, &[add_open(50, 2, 1), query(1), resume(50), open(3), subscribe(0, 0)].concat());
    rig.shared.stop();
    rig.run();
    assert_eq!((rig.shared.requests_closed.load(), rig.admitted()), (1, vec![1]));
    let codes: Vec<_> = rig.heard(alice).iter().map(Got::code).collect();
    assert_eq!(codes, [Code::Stopping; 5]);
    // A repetition is neither refused, which would say that it is not in the log, nor asked about.
    rig.send(alice, &[add(50, 1), keep_alive(50, 2)].concat());
    assert_eq!((rig.heard(alice).len(), rig.asked().len()), (0, 0));
    assert!(!rig.gateway.net().accepting);
}

#[test]
fn what_was_admitted_is_answered_before_the_gateway_closes() {
    let mut rig = Rig::new();
    let alice = rig.signed_in(ALICE);
    rig.session(alice, 2, 50);
    rig.send(alice, &add(50, 1));
    rig.shared.stop();
    rig.run();
    // The log ends with batch 4, which is journaled before it is applied and committed.
    rig.shared.log_closed.store(1);
    rig.shared.written.store(4);
    rig.shared.journal_closed.store(1);
    rig.run();
    assert_eq!(rig.shared.gateway_closed.load(), 0);
    rig.shared.applied.store(4);
    rig.reply(2, 50, 1, Code::Executed);
    assert_eq!((rig.shared.gateway_closed.load(), rig.heard(alice).len()), (0, 0), "not committed");
    rig.shared.committed.store(4);
    rig.run();
    let got = rig.heard(alice);
    assert_eq!((got[0].kind(), got[0].code()), (ServerFrame::Reply, Code::Executed));
    assert_eq!((got[1].kind(), got[1].code()), (ServerFrame::Goodbye, Code::Stopping));
    assert_eq!((got.len(), rig.is_open(alice), rig.shared.gateway_closed.load()), (2, false, 1));
    assert_eq!(rig.run(), 0);
}

#[test]
fn a_node_that_does_not_lead_owes_nothing() {
    let mut rig = Rig::with(config());
    rig.genesis();
    let alice = rig.signed_in(ALICE);
    rig.shared.stop();
    rig.shared.written.store(9);
    rig.shared.journal_closed.store(1);
    rig.run();
    assert_eq!((rig.one(alice).code(), rig.shared.gateway_closed.load()), (Code::Stopping, 1));
}

#[test]
fn a_node_that_came_to_lead_when_the_log_was_closed_owes_nothing() {
    let mut rig = Rig::with(config());
    rig.genesis();
    rig.shared.stop();
    rig.shared.log_closed.store(1);
    rig.shared.journal_closed.store(1);
    // Batches 1 and 2 are of nobody's term: without one of its own the leader does not commit them, and what they
    // have to say stays here.
    rig.shared.committed.store(0);
    rig.set_key(ALICE, 2, CLIENT, 2);
    rig.shared.stint_first.store(3);
    rig.shared.stint.store(1);
    rig.run();
    assert_eq!(rig.shared.gateway_closed.load(), 1);
}
