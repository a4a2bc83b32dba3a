//! Admission: numbers, windows, owners, reigns.

use crate::cluster::cluster;
use crate::rig::*;
use ordain_agent::Agent;
use ordain_agent::wire::{Delivery, delivery, submission};
use ordain_counter::Request;
use ordain_gateway::GatewayConfig;
use ordain_types::codes::Code;
use ordain_types::frame::{ClientFrame, ServerFrame};
use ordain_types::record::PAYLOAD_MAX;
use ordain_types::{ClusterFacts, Configuration, Nanos, RecordKind};

#[test]
fn a_request_goes_to_the_log_with_what_the_node_knows_and_its_reply_comes_back() {
    let mut rig = Rig::new();
    let alice = rig.signed_in(ALICE);
    rig.session(alice, 2, 50);
    rig.send(alice, &add(50, 1));
    let [asked] = &rig.asked()[..] else { panic!("one record") };
    assert_eq!(
        (asked.kind, asked.header.key.get(), asked.header.permissions.get()),
        (submission::RECORD, 2, CLIENT)
    );
    assert_eq!((asked.header.session.get(), asked.header.number.get()), (50, 1));
    assert_eq!(asked.payload, Request::Add { counter: 1, by: 1 }.to_wire());
    assert_eq!(rig.heard(alice).len(), 0);
    rig.reply(2, 50, 1, Code::Executed);
    let got = rig.one(alice);
    assert_eq!(
        (got.kind(), got.header.number.get(), &got.payload[..]),
        (ServerFrame::Reply, 1, &b"reply"[..])
    );
}

/// What comes back at once for a frame of Alice, whose session 50 expects number 3, 1 and 2 being unanswered.
#[track_caller]
fn check(what: &str, bytes: &[u8], expected: Option<(Code, u64)>) {
    let mut rig = Rig::new();
    let alice = rig.signed_in(ALICE);
    let bob = rig.signed_in(BOB);
    rig.session(alice, 2, 50);
    rig.session(bob, 3, 60);
    rig.send(alice, &add(50, 1));
    rig.send(alice, &add_open(50, 2, 1));
    assert_eq!(rig.admitted(), [1, 2]);
    rig.send(alice, bytes);
    let got: Vec<_> = rig.heard(alice).iter().map(|got| (got.code(), got.header.seq.get())).collect();
    assert_eq!(got, expected.into_iter().collect::<Vec<_>>(), "{what}");
    assert_eq!(rig.admitted().is_empty(), expected.is_some(), "{what}");
    assert!(rig.is_open(alice), "{what}");
}

#[test]
fn refusals_have_their_codes() {
    let request = |payload: &[u8]| frame(RecordKind::Request as u8, 50, 3, payload);
    check("the next number", &add_open(50, 3, 2), None);
    check("a gap", &add_open(50, 5, 2), Some((Code::Expected, 3)));
    check("number zero", &add(50, 0), Some((Code::Expected, 3)));
    check("the highest number", &add(50, u64::MAX), Some((Code::Expected, 3)));
    check("a span beyond the window", &add_open(50, 3, 4), None);
    check("no command", &request(&[1, 2, 3]), Some((Code::Malformed, 0)));
    check(
        "a query as a command",
        &request(&ordain_counter::Query::Read { counter: 1 }.to_wire()),
        Some((Code::Malformed, 0)),
    );
    check(
        "a command as a query",
        &frame(ClientFrame::Query as u8, 0, 3, &Request::Add { counter: 1, by: 1 }.to_wire()),
        Some((Code::Malformed, 0)),
    );
    check("a key without permission", &key_set(50, 3, 9), Some((Code::NotPermitted, 0)));
    check(
        "a close with a payload",
        &frame(RecordKind::SessionClose as u8, 50, 3, &[0; 8]),
        Some((Code::Malformed, 0)),
    );
    check("a close", &close(50, 3), None);
    check("another key's session", &add(60, 1), Some((Code::NotAttached, 0)));
    check("no session", &add(77, 1), Some((Code::NotAttached, 0)));
    check("keep-alive", &keep_alive(50, 3), None);
}

#[test]
fn behind_a_refused_request_everything_is_told_what_is_expected() {
    let mut rig = Rig::new();
    let alice = rig.signed_in(ALICE);
    rig.session(alice, 2, 50);
    let mut bytes = frame(RecordKind::Request as u8, 50, 1, b"nonsense");
    for number in 2..5 {
        bytes.extend(add_open(50, number, 0));
    }
    rig.send(alice, &bytes);
    let codes: Vec<_> = rig.heard(alice).iter().map(|got| (got.code(), got.header.seq.get())).collect();
    assert_eq!(codes, [(Code::Malformed, 0), (Code::Expected, 1), (Code::Expected, 1), (Code::Expected, 1)]);
    assert_eq!(rig.admitted(), []);
}

#[test]
fn a_full_window_is_busy_until_a_reply_comes() {
    let mut rig = Rig::new();
    let alice = rig.signed_in(ALICE);
    rig.session(alice, 2, 50);
    for number in 1..=4 {
        rig.send(alice, &add_open(50, number, number as u16 - 1));
    }
    assert_eq!(rig.admitted(), [1, 2, 3, 4]);
    // Neither an honest span nor one that claims that all is answered.
    assert_eq!(rig.code(alice, &add_open(50, 5, 4)), Code::Busy);
    assert_eq!(rig.code(alice, &add(50, 5)), Code::Busy);
    rig.reply(2, 50, 1, Code::Executed);
    rig.one(alice);
    assert_eq!(rig.code(alice, &add_open(50, 5, 4)), Code::Busy, "reply 1 is not confirmed");
    rig.send(alice, &add_open(50, 5, 3));
    assert_eq!(rig.admitted(), [5]);
}

#[test]
fn a_repeated_number_is_a_question_and_not_a_record() {
    let mut rig = Rig::new();
    let alice = rig.signed_in(ALICE);
    rig.session(alice, 2, 50);
    rig.send(alice, &add(50, 1));
    rig.send(alice, &add(50, 1));
    let kinds: Vec<_> = rig.asked().iter().map(|asked| asked.kind).collect();
    assert_eq!(kinds, [submission::RECORD, submission::DUPLICATE]);
    let head = rig.head(delivery::ANSWER, alice, 2);
    rig.emit(head, header(ServerFrame::Reply, Code::Executed, 50, 1, 9), b"once");
    rig.run();
    assert_eq!(rig.one(alice).payload, b"once");
}

#[test]
fn who_resumes_a_session_gets_it_only_from_the_log() {
    let mut rig = Rig::new();
    let alice = rig.signed_in(ALICE);
    let thief = rig.signed_in(BOB);
    rig.session(alice, 2, 50);
    rig.send(thief, &resume(50));
    let [asked] = &rig.asked()[..] else { panic!("one question") };
    assert_eq!((asked.kind, asked.conn, asked.header.key.get()), (submission::RESUME, thief, 3));
    // Until the answer nothing has changed for the owner, nor after it.
    rig.send(alice, &add(50, 1));
    assert_eq!(rig.admitted(), [1]);
    rig.resumed(thief, 50, 0, 0, Code::WrongKey);
    assert_eq!(rig.one(thief).code(), Code::WrongKey);
    rig.send(alice, &add_open(50, 2, 1));
    assert_eq!(rig.admitted(), [2]);
    assert_eq!(rig.code(thief, &add(50, 3)), Code::NotAttached);
    rig.reply(2, 50, 1, Code::Executed);
    assert_eq!((rig.one(alice).header.number.get(), rig.heard(thief).len()), (1, 0));
    // An owner that lost its connection is not locked out by questions of others either.
    rig.hang_up(alice);
    rig.send(thief, &resume(50));
    let again = rig.signed_in(ALICE);
    rig.send(again, &resume(50));
    rig.resumed(thief, 50, 0, 0, Code::WrongKey);
    rig.resumed(again, 50, 3, 1, Code::Executed);
    let got = rig.one(again);
    assert_eq!((got.kind(), got.code(), got.header.number.get()), (ServerFrame::Resumed, Code::Executed, 3));
    rig.asked();
    rig.send(again, &add_open(50, 3, 2));
    assert_eq!(rig.admitted(), [3]);
}

#[test]
fn the_connection_that_had_a_resumed_session_is_fenced() {
    let mut rig = Rig::new();
    let old = rig.signed_in(ALICE);
    let new = rig.signed_in(ALICE);
    rig.session(old, 2, 50);
    rig.send(old, &add(50, 1));
    rig.send(new, &resume(50));
    // Sent before the answer: it counts.
    rig.send(old, &add_open(50, 2, 1));
    rig.asked();
    rig.resumed(new, 50, 2, 1, Code::Executed);
    assert_eq!(rig.one(new).header.number.get(), 3, "2 is in the log already");
    assert_eq!(rig.code(old, &add(50, 3)), Code::Fenced);
    rig.send(old, &keep_alive(50, 3));
    assert_eq!((rig.admitted(), rig.heard(old).len()), (vec![], 0));
    rig.reply(2, 50, 1, Code::Executed);
    rig.reply(2, 50, 2, Code::Executed);
    assert_eq!((rig.heard(new).len(), rig.heard(old).len()), (2, 0));
    rig.send(new, &add(50, 3));
    assert_eq!(rig.admitted(), [3]);
    // Closing the old connection takes nothing from the new one.
    rig.hang_up(old);
    rig.send(new, &add_open(50, 4, 1));
    assert_eq!(rig.admitted(), [4]);
}

#[test]
fn what_a_connection_submitted_before_it_ended_counts_when_its_session_is_resumed() {
    let mut rig = Rig::new();
    let old = rig.signed_in(ALICE);
    let new = rig.signed_in(ALICE);
    rig.session(old, 2, 50);
    rig.send(new, &resume(50));
    // Behind the question, so that the log does not know of them when it answers.
    rig.send(old, &[add(50, 1), add_open(50, 2, 1)].concat());
    rig.hang_up(old);
    rig.asked();
    rig.resumed(new, 50, 1, 1, Code::Executed);
    assert_eq!(rig.one(new).header.number.get(), 3, "1 and 2 are on their way into the log");
    rig.reply(2, 50, 1, Code::Executed);
    rig.reply(2, 50, 2, Code::Executed);
    assert_eq!(rig.heard(new).len(), 2);
    rig.hang_up(new);
    // Once everything is answered, the log alone decides.
    let third = rig.signed_in(ALICE);
    rig.send(third, &resume(50));
    rig.asked();
    rig.resumed(third, 50, 3, 1, Code::Executed);
    assert_eq!(rig.one(third).header.number.get(), 3);
}

#[test]
fn two_resumes_at_a_time_do_not_set_numbers_back() {
    let mut rig = Rig::new();
    let alice = rig.signed_in(ALICE);
    rig.send(alice, &[resume(50), resume(50)].concat());
    rig.resumed(alice, 50, 7, 6, Code::Executed);
    rig.asked();
    rig.send(alice, &[add_open(50, 7, 1), add_open(50, 8, 2)].concat());
    assert_eq!(rig.admitted(), [7, 8]);
    rig.resumed(alice, 50, 7, 6, Code::Executed);
    let numbers: Vec<_> = rig.heard(alice).iter().map(|got| got.header.number.get()).collect();
    assert_eq!(numbers, [7, 9]);
    rig.send(alice, &add_open(50, 9, 3));
    assert_eq!(rig.admitted(), [9]);
}

#[test]
fn another_keys_reply_does_not_reach_the_owner() {
    let mut rig = Rig::new();
    let alice = rig.signed_in(ALICE);
    rig.session(alice, 2, 50);
    rig.send(alice, &add(50, 1));
    rig.reply(3, 50, 1, Code::WrongKey);
    assert_eq!(rig.heard(alice).len(), 0);
    rig.reply(2, 50, 1, Code::Executed);
    assert_eq!(rig.one(alice).code(), Code::Executed);
}

#[test]
fn replies_behind_the_close_of_a_session_still_come() {
    let mut rig = Rig::new();
    let alice = rig.signed_in(ALICE);
    rig.session(alice, 2, 50);
    rig.send(alice, &[add(50, 1), close(50, 2), add_open(50, 3, 2)].concat());
    assert_eq!(rig.admitted(), [1, 2, 3]);
    rig.reply(2, 50, 1, Code::Executed);
    rig.session_closed(50);
    assert_eq!(rig.one(alice).header.number.get(), 1);
    assert_eq!(rig.code(alice, &add(50, 4)), Code::UnknownSession, "closed");
    rig.reply(2, 50, 2, Code::Executed);
    rig.reply(2, 50, 3, Code::UnknownSession);
    let numbers: Vec<_> = rig.heard(alice).iter().map(|got| got.header.number.get()).collect();
    assert_eq!(numbers, [2, 3]);
    assert_eq!(rig.metric("ordain_sessions_attached"), 0);
    assert_eq!(rig.code(alice, &add(50, 4)), Code::NotAttached);
}

#[test]
fn an_expired_session_is_let_go() {
    let mut rig = Rig::new();
    let alice = rig.signed_in(ALICE);
    rig.session(alice, 2, 50);
    rig.session_closed(50);
    assert_eq!(rig.code(alice, &add(50, 1)), Code::NotAttached);
}

#[test]
fn one_session_at_a_time_is_opened_and_only_so_many() {
    let mut rig = Rig::new();
    let alice = rig.signed_in(ALICE);
    rig.send(alice, &[open(5), open(6)].concat());
    let got = rig.one(alice);
    assert_eq!((got.kind(), got.code(), got.header.number.get()), (ServerFrame::Opened, Code::Busy, 6));
    rig.asked();
    rig.opened(alice, 3, 40, Code::Executed);
    assert_eq!(rig.heard(alice).len(), 0, "of another key, so of another connection with this number");
    rig.opened(alice, 2, 0, Code::TooManySessions);
    assert_eq!(rig.one(alice).code(), Code::TooManySessions);
    for id in 50..53 {
        rig.session(alice, 2, id);
    }
    assert_eq!(rig.code(alice, &open(7)), Code::Busy);
    assert_eq!(rig.code(alice, &resume(60)), Code::Busy);
}

#[test]
fn a_connection_with_too_many_open_questions_is_not_read_on() {
    let mut rig = Rig::new();
    let alice = rig.signed_in(ALICE);
    let mut bytes = Vec::new();
    for id in 1..=4 {
        bytes.extend(query(id));
    }
    bytes.extend(ping(9));
    rig.send(alice, &bytes);
    assert_eq!((rig.asked().len(), rig.heard(alice).len()), (3, 0));
    rig.send(alice, &ping(10));
    assert_eq!(rig.heard(alice).len(), 0);
    // One that waits for the node is not silent.
    rig.now = rig.now.plus(3600 * 1_000_000_000);
    rig.run();
    assert!(rig.is_open(alice));
    let head = rig.head(delivery::ANSWER, alice, 2);
    rig.emit(head, header(ServerFrame::Answer, Code::Executed, 0, 1, 9), &[]);
    rig.run();
    let [asked] = &rig.asked()[..] else { panic!("the fourth") };
    assert_eq!(asked.header.number.get(), 4);
    let kinds: Vec<_> = rig.heard(alice).iter().map(Got::kind).collect();
    assert_eq!(kinds, [ServerFrame::Answer, ServerFrame::Pong, ServerFrame::Pong]);
}

#[test]
fn operators_have_a_share_of_the_ring_that_clients_cannot_fill() {
    let mut rig = Rig::with_facts(config(), ClusterFacts { window: 60_000, ..facts() });
    rig.genesis();
    rig.lead(1);
    let alice = rig.signed_in(ALICE);
    let boss = rig.signed_in(OPERATOR);
    rig.session(alice, 2, 50);
    rig.session(boss, 1, 70);
    let mut number = 0;
    while rig.metric("ordain_requests_blocked_total") == 0 {
        number += 1;
        rig.send(alice, &add_open(50, number, (number - 1) as u16));
    }
    assert_eq!(rig.heard(alice).len(), 0, "it waits where it is");
    rig.send(alice, &query(1));
    let admitted = rig.metric("ordain_requests_admitted_total");
    for bytes in [add(70, 1), keep_alive(70, 2), key_set(70, 2, 9), query(1), resume(80), subscribe(0, 0)] {
        rig.send(boss, &bytes);
    }
    assert_eq!(rig.heard(boss).len(), 0);
    let asked = rig.asked();
    let of_boss = asked[asked.len() - 6..].iter().map(|asked| asked.header.key.get());
    assert_eq!(of_boss.collect::<Vec<_>>(), [1; 6]);
    assert_eq!(asked.len() as u64, admitted - 2 + 6, "nothing of Alice came in between");
    rig.settle();
    let kinds: Vec<_> = rig.asked().iter().map(|asked| asked.kind).collect();
    assert_eq!(kinds, [submission::RECORD, submission::QUERY], "in its order");
}

#[test]
fn with_a_full_disk_what_would_not_fit_is_refused() {
    let mut rig = Rig::new();
    let alice = rig.signed_in(ALICE);
    let boss = rig.signed_in(OPERATOR);
    rig.session(alice, 2, 50);
    rig.session(boss, 1, 70);
    rig.shared.disk_full.store(1);
    rig.send(alice, &add(50, 1));
    assert_eq!(rig.admitted(), [1], "there is room yet");
    rig.shared.room.store((1 << 19) - 1);
    assert_eq!(rig.code(alice, &add_open(50, 2, 1)), Code::NoRoom);
    assert_eq!(rig.code(alice, &open(9)), Code::NoRoom);
    rig.send(alice, &keep_alive(50, 2));
    assert_eq!((rig.heard(alice).len(), rig.asked().len()), (0, 0));
    rig.send(boss, &add(70, 1));
    assert_eq!(rig.admitted(), [1], "operators have half of what is left");
    rig.shared.room.store((1 << 18) - 1);
    assert_eq!(rig.code(boss, &add_open(70, 2, 1)), Code::NoRoom);
    rig.shared.disk_full.store(0);
    rig.send(alice, &add_open(50, 2, 1));
    assert_eq!(rig.admitted(), [2]);
}

#[test]
fn who_does_not_lead_says_so_and_gaining_the_lead_disturbs_nobody() {
    let mut rig = Rig::with(config());
    rig.shared.board.post(cluster());
    rig.genesis();
    let alice = rig.signed_in(ALICE);
    for (bytes, kind) in [
        (receipt(7, 1), ServerFrame::Receipt),
        (keys(7, 1), ServerFrame::Keys),
        (add(50, 1), ServerFrame::Reply),
        (open(1), ServerFrame::Opened),
        (resume(50), ServerFrame::Resumed),
        (query(1), ServerFrame::Answer),
    ] {
        // The leader is told where it is known: its node id plus one.
        for (leader, address) in [(0, ""), (4, ""), (2, "host-1:7400"), (3, "unix:/run/2")] {
            rig.shared.leader.store(leader);
            rig.send(alice, &bytes);
            let got = rig.one(alice);
            assert_eq!((got.kind(), got.code()), (kind, Code::NotLeader));
            assert_eq!(got.payload, address.as_bytes());
        }
    }
    rig.send(alice, &keep_alive(50, 1));
    rig.shared.stint_first.store(3);
    rig.shared.stint.store(1);
    rig.run();
    assert_eq!(rig.code(alice, &open(1)), Code::Starting, "its first batch is not applied");
    rig.apply(3);
    rig.session(alice, 2, 50);
}

/// Older builds could not read it: one that is in the log stops them.
#[test]
fn what_is_part_of_a_level_is_no_request_before_it_begins() {
    let mut rig = Rig::new();
    let alice = rig.signed_in(ALICE);
    rig.session(alice, 2, 50);
    let new = Request::Add { counter: OF_LEVEL_1, by: 1 }.to_wire();
    let new = frame(RecordKind::Request as u8, 50, 1, &new);
    assert_eq!(rig.code(alice, &new), Code::Malformed, "nothing is posted");
    rig.shared.board.post(cluster());
    rig.run();
    assert_eq!(rig.code(alice, &new), Code::Malformed);
    rig.shared.board.post(Configuration { level: 1, ..cluster() });
    rig.send(alice, &new);
    assert_eq!(rig.admitted(), [1]);
}

#[test]
fn keys_are_listed_for_operators_alone() {
    let mut rig = Rig::new();
    let (alice, boss) = (rig.signed_in(ALICE), rig.signed_in(OPERATOR));
    assert_eq!(rig.code(alice, &keys(1, 1)), Code::NotPermitted);
    rig.send(boss, &keys(2, 26));
    let asked = rig.asked();
    assert_eq!((asked.len(), asked[0].kind, asked[0].conn), (1, submission::KEYS, boss));
    assert_eq!(asked[0].payload, 26_u64.to_le_bytes());
}

#[test]
fn losing_the_lead_ends_connections_even_if_it_comes_back_at_once() {
    for stint in [2, 3] {
        let mut rig = Rig::with(config());
        rig.shared.board.post(cluster());
        rig.genesis();
        rig.lead(1);
        rig.shared.leader.store(2);
        let alice = rig.signed_in(ALICE);
        let stranger = rig.connect();
        rig.session(alice, 2, 50);
        rig.send(alice, &[add(50, 1), query(1)].concat());
        rig.shared.stint.store(stint);
        rig.run();
        let got = rig.one(alice);
        assert_eq!((got.kind(), got.code()), (ServerFrame::Goodbye, Code::NotLeader));
        assert_eq!(got.payload, b"host-1:7400");
        assert!(!rig.is_open(alice) && rig.is_open(stranger));
        assert_eq!(rig.metric("ordain_sessions_attached"), 0);
        // What was asked before reaches nobody, whenever it is answered.
        let late = Delivery { stint: 3.into(), ..rig.head(delivery::ANSWER, alice, 2) };
        rig.emit(late, header(ServerFrame::Answer, Code::Executed, 0, 1, 9), &[]);
        rig.shared.stint.store(3);
        rig.settle();
        assert!(rig.deliveries.free() == 1 << 20);
    }
}

#[test]
fn the_longest_request_passes_and_a_longer_one_ends_the_connection() {
    let mut rig = Rig::new();
    let alice = rig.signed_in(ALICE);
    rig.session(alice, 2, 50);
    let longest = frame(RecordKind::Request as u8, 50, 1, &vec![0; PAYLOAD_MAX]);
    assert_eq!(rig.code(alice, &longest), Code::Malformed, "for the application it is none");
    assert!(rig.is_open(alice));
    assert_eq!(
        rig.code(alice, &frame(RecordKind::Request as u8, 50, 1, &vec![0; PAYLOAD_MAX + 1])),
        Code::Malformed
    );
    assert!(!rig.is_open(alice));
}

/// What comes in during a sync waits for its end, or for as long as it may, and no longer.
#[test]
fn input_waits_while_the_journal_syncs() {
    const DELAY: Nanos = Nanos(10_000);
    let mut rig = Rig::with(GatewayConfig { input_delay: DELAY, ..config() });
    rig.genesis();
    rig.lead(1);
    let synced = |rig: &Rig| rig.shared.durable.store(rig.shared.applied.load());
    synced(&rig);
    let alice = rig.signed_in(ALICE);
    rig.session(alice, 2, 50);
    synced(&rig);

    rig.push(alice, &add(50, 1));
    rig.run();
    assert_eq!(rig.admitted(), [1], "nothing is syncing");

    rig.shared.applied.store(rig.shared.applied.load() + 1);
    rig.push(alice, &add(50, 2));
    rig.run();
    let until = rig.gateway.deaf_until().expect("a sync is under way");
    assert!(rig.admitted().is_empty() && until > rig.now && until <= rig.now.plus(DELAY.0));
    synced(&rig);
    rig.run();
    assert_eq!((rig.admitted(), rig.gateway.deaf_until()), (vec![2], None), "the sync is over");

    rig.shared.applied.store(rig.shared.applied.load() + 1);
    rig.push(alice, &add(50, 3));
    rig.run();
    assert!(rig.admitted().is_empty());
    rig.now = until.plus(2 * DELAY.0);
    rig.run();
    assert_eq!(rig.admitted(), [3], "a slow sync keeps nobody waiting");
}
