//! The core against a small node in memory.

mod common;

use common::{Node, Pair, Seen, core_config, reply, server_header};
use ordain_client::{CoreConfig, QueryError, SessionWish, SubmitError};
use ordain_types::codes::Code;
use ordain_types::frame::ServerFrame;
use ordain_types::{
    BatchIndex, Chain, Lineage, Nanos, OutputSeq, Receipt, RecordKind, Seq, SessionId, Stream,
};

fn acknowledged(ticket: u64, number: u64, seq: u64, payload: &[u8]) -> Seen {
    Seen::Acknowledged { ticket, number, seq, reply: reply(payload) }
}

#[test]
fn requests_are_numbered_and_answered() {
    let mut pair = Pair::ready(core_config());
    assert_eq!(pair.take_seen(), [Seen::SignedIn, Seen::Opened(12)]);
    for (ticket, payload) in [(1, b"one"), (2, b"two")] {
        assert_eq!(pair.submit(payload), ticket);
    }
    pair.run();
    assert_eq!(pair.take_seen(), [acknowledged(1, 1, 13, b"one"), acknowledged(2, 2, 14, b"two")]);
    assert_eq!(pair.core.open_requests(), 0);
}

/// Bytes that sign-in, session and five requests take in both directions.
fn whole_length() -> usize {
    let mut pair = Pair::new(core_config());
    exchange(&mut pair, &mut 0);
    pair.trace.iter().map(|(_, bytes)| bytes.len()).sum()
}

/// Goes on with five requests from wherever the pair is.
fn exchange(pair: &mut Pair, submitted: &mut u8) {
    if !pair.core.is_connected() {
        pair.connect();
    }
    pair.run();
    while pair.core.is_ready() && *submitted < 5 {
        *submitted += 1;
        pair.submit(&[*submitted; 21]);
        // Two and three: some leave together, some alone.
        if *submitted % 3 == 2 || *submitted == 5 {
            pair.run();
        }
    }
}

#[test]
fn a_cut_at_any_byte_costs_nothing() {
    let whole = whole_length();
    assert!(whole > 800);
    for cut in 1..whole {
        for second in [usize::MAX, 520] {
            let mut pair = Pair::new(core_config());
            let mut submitted = 0;
            pair.budget = cut;
            exchange(&mut pair, &mut submitted);
            assert!(!pair.core.is_connected(), "cut at {cut}");
            pair.budget = second;
            exchange(&mut pair, &mut submitted);
            exchange(&mut pair, &mut submitted);
            let expected: Vec<_> = (1..=5_u8).map(|byte| vec![byte; 21]).collect();
            assert_eq!(pair.node.executed, expected, "cut at {cut}, then {second}");
            let mut done: Vec<_> = pair
                .seen
                .iter()
                .filter_map(|seen| match seen {
                    Seen::Acknowledged { ticket, number, reply, .. } => {
                        Some((*ticket, *number, reply.clone()))
                    }
                    Seen::NotExecuted { .. } | Seen::Unknown { .. } | Seen::Lost(..) => panic!("{seen:?}"),
                    _ => None,
                })
                .collect();
            done.sort();
            let all: Vec<_> = (1..=5).map(|n| (n, n, reply(&[n as u8; 21]))).collect();
            assert_eq!(done, all, "cut at {cut}, then {second}");
        }
    }
}

#[test]
fn answers_twice_or_out_of_order_count_once() {
    let mut pair = Pair::ready(core_config());
    (pair.node.stutter, pair.node.hold_back) = (true, true);
    for payload in [b"a", b"b", b"c"] {
        pair.submit(payload);
    }
    pair.run();
    pair.take_seen();
    pair.node.release();
    pair.run();
    let expected = [acknowledged(3, 3, 15, b"c"), acknowledged(2, 2, 14, b"b"), acknowledged(1, 1, 13, b"a")];
    assert_eq!(pair.take_seen(), expected);
    assert_eq!(pair.core.open_requests(), 0);
    // What was confirmed or never sent is nobody's answer.
    for number in [0, 3, 4, u64::MAX] {
        pair.inject(server_header(ServerFrame::Reply, Code::Executed, 12, number, 99), b"x");
    }
    assert_eq!(pair.take_seen(), []);
}

#[test]
fn the_window_bounds_what_is_open() {
    let mut pair = Pair::new(CoreConfig { window: 8, ..core_config() });
    assert_eq!(pair.core.submit(1, b"early"), Err(SubmitError::Full));
    pair.node.window = 3;
    pair.connect();
    pair.run();
    pair.node.hold_back = true;
    for _ in 0..3 {
        pair.submit(b"x");
    }
    assert_eq!(pair.core.submit(1, b"x"), Err(SubmitError::Full));
    pair.run();
    assert_eq!(pair.core.submit(1, b"x"), Err(SubmitError::Full));
    pair.node.release();
    pair.run();
    assert_eq!(pair.submit(b"x"), 4);
    assert_eq!(pair.core.submit(1, &vec![0; 65_537]), Err(SubmitError::TooLong { max: 65_536 }));
}

#[test]
fn bytes_bound_what_is_open_too() {
    let mut pair = Pair::ready(CoreConfig { buffer: 1, ..core_config() });
    pair.submit(&[7; 65_536]);
    pair.submit(&[8; 60_000]);
    assert_eq!(pair.core.submit(1, &[9; 60_000]), Err(SubmitError::Full));
    pair.run();
    pair.submit(&[9; 65_536]);
    pair.run();
    assert_eq!(pair.node.executed.iter().map(Vec::len).collect::<Vec<_>>(), [65_536, 60_000, 65_536]);
}

#[test]
fn a_refusal_moves_up_what_is_behind_it() {
    let mut pair = Pair::ready(core_config());
    for code in [Code::Malformed, Code::NotPermitted] {
        pair.node.executed.clear();
        pair.take_seen();
        pair.node.refusals.push((b"bad".to_vec(), code));
        let first = pair.submit(b"a");
        for payload in [&b"bad"[..], b"b", b"c"] {
            pair.submit(payload);
        }
        pair.run();
        assert_eq!(pair.node.executed, [b"a", b"b", b"c"]);
        let seq = pair.node.seq;
        let base = first - u64::from(code == Code::NotPermitted);
        assert_eq!(
            pair.take_seen(),
            [
                acknowledged(first, base, seq - 2, b"a"),
                Seen::NotExecuted { ticket: first + 1, number: base + 1, code },
                acknowledged(first + 2, base + 1, seq - 1, b"b"),
                acknowledged(first + 3, base + 2, seq, b"c"),
            ]
        );
    }
}

#[test]
fn several_refusals_one_after_the_other() {
    let mut pair = Pair::ready(core_config());
    pair.take_seen();
    for payload in [b"1", b"3"] {
        pair.node.refusals.push((payload.to_vec(), Code::Malformed));
    }
    for payload in [b"1", b"2", b"3", b"4"] {
        pair.submit(payload);
    }
    pair.run();
    assert_eq!(pair.node.executed, [b"2", b"4"]);
    assert_eq!(
        pair.take_seen(),
        [
            Seen::NotExecuted { ticket: 1, number: 1, code: Code::Malformed },
            acknowledged(2, 1, 13, b"2"),
            Seen::NotExecuted { ticket: 3, number: 2, code: Code::Malformed },
            acknowledged(4, 2, 14, b"4"),
        ]
    );
}

#[test]
fn a_refusal_that_may_pass_is_tried_again_in_order() {
    for code in [Code::Busy, Code::NoRoom, Code::NoCopies, Code::Starting] {
        let mut pair = Pair::ready(core_config());
        pair.take_seen();
        pair.node.refusals = vec![(b"b".to_vec(), code), (b"b".to_vec(), code)];
        for payload in [b"a", b"b", b"c"] {
            pair.submit(payload);
        }
        pair.run();
        assert_eq!(pair.node.executed, [b"a"], "{code:?}: not before the pause is over");
        assert_eq!(pair.core.next_deadline(), Some(pair.now.plus(20 * Nanos::MILLI)));
        pair.pass(20 * Nanos::MILLI);
        pair.pass(20 * Nanos::MILLI);
        assert_eq!(pair.node.executed, [b"a", b"b", b"c"]);
        let expected =
            [acknowledged(1, 1, 13, b"a"), acknowledged(2, 2, 14, b"b"), acknowledged(3, 3, 15, b"c")];
        assert_eq!(pair.take_seen(), expected);

        let mut pair = Pair::ready(CoreConfig { retry_after: None, ..core_config() });
        pair.take_seen();
        pair.node.refusals = vec![(b"b".to_vec(), code)];
        pair.submit(b"b");
        pair.run();
        assert_eq!(pair.take_seen(), [Seen::NotExecuted { ticket: 1, number: 1, code }]);
    }
}

#[test]
fn a_cut_amid_refusals_costs_nothing() {
    for cut in 1..900 {
        let mut pair = Pair::ready(core_config());
        pair.take_seen();
        pair.node.refusals = vec![(b"bad".to_vec(), Code::Malformed), (b"c".to_vec(), Code::Busy)];
        pair.budget = cut;
        for payload in [&b"a"[..], b"bad", b"b", b"c", b"d"] {
            pair.submit(payload);
        }
        pair.run();
        if !pair.core.is_connected() {
            pair.connect();
            pair.run();
        }
        pair.budget = usize::MAX;
        pair.pass(20 * Nanos::MILLI);
        pair.pass(20 * Nanos::MILLI);
        if !pair.core.is_connected() {
            pair.connect();
            pair.run();
        }
        // The refusal may be lost with the connection; then the request passes the second time.
        let good: Vec<_> = pair.node.executed.iter().filter(|payload| **payload != b"bad").cloned().collect();
        assert_eq!(good, [b"a", b"b", b"c", b"d"], "cut at {cut}");
        let mut tickets = Vec::new();
        for seen in &pair.seen {
            match seen {
                Seen::Acknowledged { ticket, .. } => tickets.push(*ticket),
                Seen::NotExecuted { ticket, .. } => {
                    assert_eq!(*ticket, 2);
                    assert!(!pair.node.executed.contains(&b"bad".to_vec()), "cut at {cut}");
                    tickets.push(*ticket);
                }
                Seen::Unknown { .. } | Seen::Lost(..) => panic!("cut at {cut}: {seen:?}"),
                _ => {}
            }
        }
        tickets.sort_unstable();
        assert_eq!(tickets, [1, 2, 3, 4, 5], "cut at {cut}");
    }
}

#[test]
fn only_a_lost_session_leaves_doubt() {
    let mut pair = Pair::ready(core_config());
    pair.node.hold_back = true;
    pair.submit(b"sent");
    pair.run();
    pair.cut();
    pair.submit(b"kept back");
    pair.node.sessions.clear();
    pair.take_seen();
    pair.connect();
    pair.run();
    assert_eq!(
        pair.take_seen(),
        [
            Seen::SignedIn,
            Seen::Lost(12, Code::UnknownSession),
            Seen::Unknown { ticket: 1, number: 1 },
            Seen::NotExecuted { ticket: 2, number: 2, code: Code::UnknownSession },
            Seen::Opened(14),
        ]
    );
    pair.node.hold_back = false;
    assert_eq!(pair.submit(b"on"), 3);
    pair.run();
    assert_eq!(pair.take_seen(), [acknowledged(3, 1, 15, b"on")]);
}

#[test]
fn a_session_that_ends_on_the_connection_is_lost_at_once() {
    for code in [Code::UnknownSession, Code::WrongKey, Code::Fenced] {
        let mut pair = Pair::ready(core_config());
        pair.node.hold_back = true;
        pair.submit(b"a");
        pair.submit(b"b");
        pair.run();
        pair.take_seen();
        pair.inject(server_header(ServerFrame::Reply, code, 12, 1, 0), &[]);
        assert_eq!(
            pair.take_seen(),
            [
                Seen::Lost(12, code),
                Seen::NotExecuted { ticket: 1, number: 1, code },
                Seen::Unknown { ticket: 2, number: 2 },
                Seen::Opened(15),
            ]
        );
    }
}

#[test]
fn a_session_with_other_numbers_is_not_trusted() {
    for (next, is_trusted) in [(0, false), (1, false), (2, false), (3, true), (4, true), (5, false)] {
        let mut pair = Pair::ready(core_config());
        pair.submit(b"a");
        pair.submit(b"b");
        pair.run();
        pair.submit(b"c");
        let sent = pair.core.outgoing(pair.now).len();
        pair.core.sent(sent);
        pair.cut();
        let session = pair.node.sessions.get_mut(&12).unwrap();
        session.next = next;
        session.used.insert(3, (RecordKind::Request as u8, b"c".to_vec(), 99));
        pair.take_seen();
        pair.connect();
        pair.run();
        let seen = pair.take_seen();
        assert_eq!(seen.contains(&Seen::Resumed(12)), is_trusted, "{next}: {seen:?}");
        assert_eq!(seen.contains(&Seen::Lost(12, Code::Expected)), !is_trusted, "{next}: {seen:?}");
        assert_eq!(seen.contains(&Seen::Unknown { ticket: 3, number: 3 }), !is_trusted, "{next}: {seen:?}");
    }
}

#[test]
fn a_session_that_used_a_number_before_this_client_did_is_not_trusted() {
    let mut pair = Pair::ready(core_config());
    pair.cut();
    pair.submit(b"never sent");
    pair.node.sessions.get_mut(&12).unwrap().next = 2;
    pair.take_seen();
    pair.connect();
    pair.run();
    let seen = pair.take_seen();
    assert_eq!(seen[1], Seen::Lost(12, Code::Expected));
    assert_eq!(seen[2], Seen::NotExecuted { ticket: 1, number: 1, code: Code::Expected });
}

#[test]
fn a_session_that_forgot_what_it_answered_is_not_trusted() {
    let mut pair = Pair::ready(core_config());
    pair.node.hold_back = true;
    pair.submit(b"a");
    pair.submit(b"b");
    pair.run();
    pair.inject(server_header(ServerFrame::Reply, Code::Executed, 12, 2, 14), b"b");
    pair.cut();
    pair.node.sessions.get_mut(&12).unwrap().next = 2;
    pair.take_seen();
    pair.connect();
    pair.run();
    let seen = pair.take_seen();
    assert_eq!(seen[1..3], [Seen::Lost(12, Code::Expected), Seen::Unknown { ticket: 1, number: 1 }]);
}

#[test]
fn nothing_is_sent_between_a_refusal_and_the_last_answer_above_it() {
    let mut pair = Pair::ready(core_config());
    pair.node.hold_back = true;
    for payload in [b"a", b"b", b"c"] {
        pair.submit(payload);
    }
    pair.run();
    pair.take_seen();
    // The node's own log has them all; what it says from here on is scripted.
    for (number, code) in [(1, Code::Malformed), (2, Code::Expected)] {
        pair.inject(server_header(ServerFrame::Reply, code, 12, number, 1), &[]);
        pair.submit(b"d");
        assert!(pair.core.outgoing(pair.now).is_empty(), "{code:?}");
    }
    let seen = &mut pair.seen;
    let last = common::server_frame(server_header(ServerFrame::Reply, Code::Expected, 12, 3, 1), &[]);
    pair.core.receive(pair.now, &last, &mut |event| seen.push(common::own(event)));
    // Two, three and the two behind them, under the numbers from one on.
    let frames = pair.core.outgoing(pair.now);
    let numbers: Vec<_> = frames.chunks(40).map(|frame| (frame[16], frame[32])).collect();
    assert_eq!(numbers, [(1, b'b'), (2, b'c'), (3, b'd'), (4, b'd')]);
}

#[test]
fn another_process_goes_on_with_a_session() {
    let mut pair = Pair::ready(core_config());
    pair.submit(b"a");
    pair.run();
    let mut node = std::mem::replace(&mut pair.node, Node::new());
    node.hang_up();
    let mut pair = Pair::new(CoreConfig { session: SessionWish::Resume(SessionId(12)), ..core_config() });
    pair.node = node;
    pair.connect();
    assert_eq!(pair.core.submit(1, b"early"), Err(SubmitError::Full));
    pair.run();
    pair.submit(b"b");
    pair.run();
    assert_eq!(pair.take_seen(), [Seen::SignedIn, Seen::Resumed(12), acknowledged(1, 2, 14, b"b")]);
    assert_eq!(pair.node.sessions[&12].floor, 2);
}

#[test]
fn a_conflict_is_not_executed_and_what_was_forgotten_is_unknown() {
    let mut pair = Pair::ready(core_config());
    pair.node.hold_back = true;
    for payload in [b"a", b"b", b"c"] {
        pair.submit(payload);
    }
    pair.run();
    pair.take_seen();
    for (number, code) in [(1, Code::Conflict), (2, Code::Forgotten), (3, Code::Invalid)] {
        pair.inject(server_header(ServerFrame::Reply, code, 12, number, 99), &[]);
    }
    assert_eq!(
        pair.take_seen(),
        [
            Seen::NotExecuted { ticket: 1, number: 1, code: Code::Conflict },
            Seen::Unknown { ticket: 2, number: 2 },
            Seen::NotExecuted { ticket: 3, number: 3, code: Code::Invalid },
        ]
    );
}

#[test]
fn a_refusal_of_what_is_in_the_log_is_no_outcome() {
    let mut pair = Pair::ready(core_config());
    pair.node.hold_back = true;
    pair.submit(b"a");
    pair.run();
    pair.cut();
    pair.connect();
    pair.run();
    pair.take_seen();
    pair.inject(server_header(ServerFrame::Reply, Code::Malformed, 12, 1, 0), &[]);
    assert!(matches!(&pair.take_seen()[..], [Seen::Disconnected(_)]));
    pair.node.hang_up();
    pair.node.hold_back = false;
    pair.connect();
    pair.run();
    assert!(pair.take_seen().contains(&acknowledged(1, 1, 13, b"a")));
}

#[test]
fn a_node_that_is_not_the_one_to_ask_is_left_and_the_request_kept() {
    for code in [Code::NotLeader, Code::Stopping, Code::NotAttached] {
        let mut pair = Pair::ready(core_config());
        pair.node.refusals = vec![(b"a".to_vec(), code)];
        pair.submit(b"a");
        pair.run();
        assert!(!pair.core.is_connected(), "{code:?}");
        pair.take_seen();
        pair.node.hang_up();
        pair.connect();
        pair.run();
        assert_eq!(pair.take_seen(), [Seen::SignedIn, Seen::Resumed(12), acknowledged(1, 1, 13, b"a")]);
    }
    let mut pair = Pair::ready(core_config());
    pair.take_seen();
    pair.inject(server_header(ServerFrame::Goodbye, Code::Stopping, 0, 0, 0), b"going down");
    assert_eq!(
        pair.take_seen(),
        [Seen::Disconnected(
            "the node ended the connection: the node is stopping; try again later; it says \"going down\""
                .to_owned()
        )]
    );
}

#[test]
fn a_session_is_opened_when_there_is_room_or_not_at_all() {
    let mut pair = Pair::new(core_config());
    pair.node.open_refusals = vec![Code::NoRoom, Code::Busy];
    pair.connect();
    pair.run();
    assert!(!pair.core.is_ready());
    pair.pass(20 * Nanos::MILLI);
    pair.pass(20 * Nanos::MILLI);
    assert!(pair.core.is_ready());

    let mut pair = Pair::new(core_config());
    pair.node.open_refusals = vec![Code::TooManySessions];
    pair.connect();
    pair.run();
    assert!(
        matches!(pair.seen.last(), Some(Seen::Disconnected(why)) if why.contains("as many sessions as there may be"))
    );
}

#[test]
fn closing_comes_behind_what_was_submitted() {
    let mut pair = Pair::ready(core_config());
    pair.take_seen();
    pair.submit(b"last");
    pair.core.close_session().unwrap();
    assert_eq!(pair.core.submit(1, b"late"), Err(SubmitError::Closed));
    pair.run();
    let seen = pair.take_seen();
    assert_eq!(seen[0], acknowledged(1, 1, 13, b"last"));
    assert_eq!(seen.last(), Some(&Seen::Closed(12)));
    assert!(pair.node.sessions.is_empty() && pair.core.session().is_none());
}

#[test]
fn a_refused_close_leaves_the_session_open() {
    let mut pair = Pair::ready(CoreConfig { retry_after: None, ..core_config() });
    pair.node.refusals = vec![(Vec::new(), Code::NoRoom)];
    pair.core.close_session().unwrap();
    pair.run();
    pair.take_seen();
    pair.submit(b"still here");
    pair.run();
    assert_eq!(pair.take_seen(), [acknowledged(2, 1, 13, b"still here")]);
}

#[test]
fn queries_need_no_session_and_end_with_the_connection() {
    let mut pair = Pair::new(CoreConfig { session: SessionWish::None, ..core_config() });
    assert_eq!(pair.core.query(1, b"q"), Err(SubmitError::Full));
    pair.connect();
    pair.run();
    assert_eq!(pair.core.submit(1, b"x"), Err(SubmitError::Closed));
    pair.core.query(1, b"abc").unwrap();
    pair.run();
    pair.core.query(1, b"lost").unwrap();
    pair.cut();
    let seen = pair.take_seen();
    assert_eq!(
        seen[..3],
        [Seen::SignedIn, Seen::Answered(1, Some(b"cba".to_vec())), Seen::Answered(2, None)]
    );
    assert!(pair.node.sessions.is_empty());
}

#[test]
fn a_query_leaves_behind_what_was_submitted_before_it() {
    let mut pair = Pair::ready(core_config());
    pair.take_seen();
    pair.submit(b"first");
    pair.core.query(1, b"abc").unwrap();
    pair.run();
    let seen = pair.take_seen();
    let answered = seen.iter().position(|seen| matches!(seen, Seen::Answered(..)));
    let completed = seen.iter().position(|seen| matches!(seen, Seen::Acknowledged { .. }));
    assert!(completed.is_some() && completed < answered, "{seen:?}");
}

#[test]
fn receipts_are_given_for_what_is_in_the_log() {
    let mut pair = Pair::ready(core_config());
    pair.submit(b"a");
    pair.run();
    pair.take_seen();
    // The answers of a query and of a receipt with the same number are not taken for one another.
    pair.core.receipt(Seq(13)).unwrap();
    pair.inject(server_header(ServerFrame::Answer, Code::Executed, 0, 1, 9), b"x");
    pair.core.query(1, b"abc").unwrap();
    pair.core.receipt(Seq(0)).unwrap();
    pair.core.receipt(Seq(14)).unwrap();
    pair.run();
    let receipt = Receipt { seq: Seq(13), index: BatchIndex(14), chain: Chain([13; 32]) };
    assert_eq!(
        pair.take_seen(),
        [
            Seen::Receipt(1, Ok(receipt)),
            Seen::Answered(2, Some(b"cba".to_vec())),
            Seen::Receipt(3, Ok(receipt)),
            Seen::Receipt(4, Err(QueryError::Refused(Code::Malformed))),
        ]
    );
    pair.core.receipt(Seq(13)).unwrap();
    pair.cut();
    assert_eq!(pair.take_seen()[0], Seen::Receipt(5, Err(QueryError::Disconnected)));
}

#[test]
fn a_leader_is_named_in_any_answer_and_in_a_goodbye() {
    for kind in [
        ServerFrame::Reply,
        ServerFrame::Opened,
        ServerFrame::Resumed,
        ServerFrame::Answer,
        ServerFrame::Subscribed,
        ServerFrame::Receipt,
        ServerFrame::Keys,
        ServerFrame::Goodbye,
    ] {
        for (payload, named) in [
            (&b"node-2:7400"[..], "; it names \"node-2:7400\" as leader"),
            (b"", ""),
            // Hostile: no text, or far longer than an address.
            (&[0xff; 9], ""),
            (&[b'x'; 1024], &format!("; it names {:?} as leader", "x".repeat(1024))),
        ] {
            let mut pair = Pair::ready(core_config());
            pair.take_seen();
            pair.inject(server_header(kind, Code::NotLeader, 12, 1, 0), payload);
            let text = format!("the node cannot serve this now: {}{named}", Code::NotLeader);
            assert_eq!(pair.take_seen(), [Seen::Disconnected(text)], "{kind:?}");
        }
    }
}

#[test]
fn subscriptions_go_on_behind_the_last_output_seen() {
    let mut pair = Pair::ready(core_config());
    pair.take_seen();
    let (stream, wire) = (Stream::Topic(7), Stream::Topic(7).to_wire());
    pair.core.subscribe(stream, OutputSeq(0)).unwrap();
    pair.run();
    for number in [1, 2, 2, 1] {
        pair.node.publish(wire, number);
    }
    pair.run();
    assert_eq!(pair.take_seen(), [Seen::Subscribed(1), Seen::Output(1), Seen::Output(2)]);
    pair.cut();
    pair.node.outputs = 4;
    pair.connect();
    pair.run();
    let seen = pair.take_seen();
    assert_eq!(seen[1..5], [Seen::SignedIn, Seen::Subscribed(3), Seen::Output(3), Seen::Output(4)]);
    pair.node.publish(wire, 6);
    pair.run();
    assert!(matches!(&pair.take_seen()[..], [Seen::Disconnected(_)]), "a gap");
    pair.node.hang_up();
    pair.connect();
    pair.run();
    assert!(pair.take_seen().contains(&Seen::Output(5)));
    pair.inject(server_header(ServerFrame::Subscribed, Code::TooOld, wire, 0, 40), &[]);
    pair.node.publish(wire, 7);
    pair.run();
    assert_eq!(pair.take_seen(), [Seen::SubscriptionRefused(Code::TooOld, 40)]);
}

#[test]
fn a_node_that_falls_silent_while_something_is_open_is_left_soon() {
    let mut pair = Pair::ready(core_config());
    let mut patience = core_config().impatience;
    // It was idle for long: that is no silence.
    pair.pass(Nanos::SECOND);
    pair.node.kinds.clear();
    // A node that has no answer yet is not left.
    pair.node.hold_back = true;
    pair.submit(b"a");
    pair.pass(0);
    for _ in 0..10 {
        pair.pass(patience);
    }
    assert_eq!(pair.node.kinds.iter().filter(|kind| **kind == 70).count(), 10, "{:?}", pair.node.kinds);
    // From now on nothing reaches anybody. Each node that is left for it gets twice the time of the one before.
    for _ in 0..3 {
        pair.core.tick(pair.now.plus(patience - 1), &mut |_| {});
        let quiet = pair.core.outgoing(pair.now).len();
        pair.core.sent(quiet);
        pair.core.tick(pair.now.plus(patience), &mut |_| {});
        assert!(!pair.core.outgoing(pair.now).is_empty(), "a Ping");
        pair.core.tick(pair.now.plus(2 * patience - 1), &mut |_| {});
        assert!(pair.core.is_connected());
        pair.now = pair.now.plus(2 * patience);
        pair.core.tick(pair.now, &mut |_| {});
        assert!(!pair.core.is_connected(), "given up");
        pair.node.hang_up();
        pair.connect();
        pair.run();
        assert!(pair.core.is_ready());
        patience *= 2;
    }
}

#[test]
fn silence_is_broken_and_noticed() {
    let mut pair = Pair::ready(core_config());
    pair.take_seen();
    pair.node.kinds.clear();
    assert_eq!(pair.core.next_deadline(), Some(pair.now.plus(10 * Nanos::SECOND)));
    pair.pass(10 * Nanos::SECOND - 1);
    assert!(pair.node.kinds.is_empty());
    pair.pass(1);
    assert_eq!(pair.node.kinds, [70], "a Ping");
    assert!(pair.core.is_connected());
    // This one is not answered.
    pair.now = pair.now.plus(10 * Nanos::SECOND);
    pair.core.tick(pair.now, &mut |_| {});
    let mut ended = false;
    let end = |event: ordain_client::Event<'_>| matches!(event, ordain_client::Event::Disconnected(_));
    pair.core.tick(pair.now.plus(10 * Nanos::SECOND - 1), &mut |event| ended |= end(event));
    assert!(!ended);
    pair.core.tick(pair.now.plus(10 * Nanos::SECOND), &mut |event| ended |= end(event));
    assert!(ended && !pair.core.is_connected());
}

#[test]
fn an_idle_session_is_kept_alive_under_its_next_number() {
    let mut pair = Pair::ready(core_config());
    pair.node.idle = 3_000_000 * Nanos::SECOND;
    pair.submit(b"a");
    pair.run();
    pair.node.hold_back = true;
    pair.submit(b"b");
    pair.run();
    for _ in 0..20 {
        pair.pass(10 * Nanos::SECOND);
    }
    assert_eq!(pair.node.keep_alives, [(3, 1)], "once in 200 s, with what is open");
}

#[test]
fn a_declared_loss_is_told() {
    let mut pair = Pair::ready(core_config());
    pair.take_seen();
    for (lineage, code) in [
        (1, Code::Executed),
        (0, Code::Executed),
        (3, Code::Executed),
        (0, Code::Executed),
        (3, Code::Executed),
    ] {
        let mut header = server_header(ServerFrame::Reply, code, 12, 9, 0);
        header.lineage = Lineage(lineage).0.into();
        pair.inject(header, &[]);
    }
    assert_eq!(pair.take_seen(), [Seen::DataLost(1, 3)]);
}

#[test]
fn impossible_frames_end_the_connection() {
    let frames = [
        server_header(ServerFrame::Welcome, Code::Executed, 0, 0, 0),
        server_header(ServerFrame::Challenge, Code::Executed, 0, 0, 0),
        server_header(ServerFrame::Reply, Code::Expected, 12, 1, 1),
        server_header(ServerFrame::Reply, Code::TooManySessions, 12, 1, 1),
    ];
    for frame in frames {
        let mut pair = Pair::ready(core_config());
        pair.node.hold_back = true;
        pair.submit(b"a");
        pair.run();
        pair.inject(frame, &[]);
        assert!(!pair.core.is_connected(), "{frame:?}");
        assert_eq!(pair.core.open_requests(), 1);
    }
    // Above a refused number nothing can have been executed.
    let mut pair = Pair::ready(core_config());
    pair.node.hold_back = true;
    pair.submit(b"a");
    pair.submit(b"b");
    pair.run();
    pair.inject(server_header(ServerFrame::Reply, Code::Malformed, 12, 1, 0), &[]);
    pair.inject(server_header(ServerFrame::Reply, Code::Executed, 12, 2, 13), &[]);
    assert!(!pair.core.is_connected());
}
