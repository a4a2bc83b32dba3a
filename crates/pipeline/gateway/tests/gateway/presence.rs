//! What the gateway has the log say of connections.

use crate::rig::{ALICE, Rig, add, resume};
use ordain_agent::wire::{Delivery, delivery, submission};
use ordain_types::codes::Code;
use ordain_types::{KeyId, Number, RecordKind};

/// A node with one watched session, 50, on a connection.
fn watching() -> (Rig, u64) {
    let mut rig = Rig::new();
    let alice = rig.signed_in(ALICE);
    rig.session(alice, 2, 50);
    rig.watched(50, true);
    assert_eq!(rig.presence(), [], "it has a connection");
    (rig, alice)
}

/// Resumes session 50 on a new connection.
fn come_back(rig: &mut Rig) -> u64 {
    let again = rig.signed_in(ALICE);
    rig.send(again, &resume(50));
    rig.asked();
    rig.resumed(again, 50, 3, 1, Code::Executed);
    again
}

#[test]
fn a_connection_that_ends_is_told_behind_what_it_had_submitted() {
    let (mut rig, alice) = watching();
    rig.push(alice, &add(50, 1));
    rig.run();
    rig.hang_up(alice);
    let asked = rig.asked();
    let kinds: Vec<_> = asked.iter().map(|asked| asked.header.kind().unwrap()).collect();
    assert_eq!(kinds, [RecordKind::Request, RecordKind::SessionLost]);
    assert_eq!(
        (asked[1].kind, asked[1].header.session.get(), asked[1].header.key.get()),
        (submission::RECORD, 50, 0)
    );
    rig.settle();
    assert_eq!(rig.presence(), [], "once is enough");
}

#[test]
fn who_resumes_is_told_with_what_the_log_knows_of_the_session_already() {
    let (mut rig, alice) = watching();
    rig.hang_up(alice);
    assert_eq!(rig.presence(), [(50, false)]);
    come_back(&mut rig);
    let [back] = &rig.asked()[..] else { panic!("one record") };
    assert_eq!(back.header.kind(), Some(RecordKind::SessionKeepAlive));
    assert_eq!((back.header.key(), back.header.number()), (KeyId(2), Number(3)));
    assert_eq!(back.header.lowest_open(), Number(1), "nothing is forgotten by this");
}

#[test]
fn who_moves_to_another_connection_was_not_lost() {
    let (mut rig, old) = watching();
    come_back(&mut rig);
    assert_eq!(rig.presence(), [(50, true)]);
    rig.hang_up(old);
    assert_eq!(rig.presence(), [], "the session is not there any more");
}

#[test]
fn a_connection_that_ended_before_its_session_was_watched_is_told() {
    let mut rig = Rig::new();
    let alice = rig.signed_in(ALICE);
    rig.session(alice, 2, 50);
    rig.hang_up(alice);
    assert_eq!(rig.presence(), []);
    rig.watched(50, true);
    assert_eq!(rig.presence(), [(50, false)]);
}

#[test]
fn of_who_is_not_watched_or_has_ended_nothing_is_told() {
    for how in 0..3 {
        let (mut rig, alice) = watching();
        match how {
            0 => rig.watched(50, false),
            1 => rig.session_closed(50),
            _ => {
                rig.shared.restarts.store(1);
                let head = Delivery { kind: delivery::RESTART.into(), ..Delivery::default() };
                rig.put(head, &[]);
                rig.run();
            }
        }
        rig.hang_up(alice);
        assert_eq!(rig.presence(), [], "{how}");
    }
}

#[test]
fn what_has_no_place_waits_and_is_then_told_as_it_is() {
    let (mut rig, alice) = watching();
    rig.shared.no_copies.store(1);
    rig.hang_up(alice);
    assert_eq!(rig.presence(), []);
    come_back(&mut rig);
    assert_eq!(rig.presence(), []);
    rig.shared.no_copies.store(0);
    rig.run();
    assert_eq!(rig.presence(), [(50, true)]);
}

#[test]
fn another_leader_says_it_of_all_by_its_first_batch() {
    let (mut rig, alice) = watching();
    rig.shared.stint.store(2);
    rig.run();
    assert!(!rig.is_open(alice));
    assert_eq!(rig.presence(), []);
    rig.lead(3);
    rig.settle();
    assert_eq!(rig.presence(), []);
    come_back(&mut rig);
    assert_eq!(rig.presence(), [(50, true)]);
}
