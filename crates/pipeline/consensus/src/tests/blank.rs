//! R9: nodes whose data directory began empty.

use super::*;

fn blank(terms: &[u64]) -> Recovered {
    let mut found = recovered(terms);
    found.vote.blank = true;
    found
}

fn says(bench: &mut Bench, from: NodeId, to_boot: u64, term: u64, standing: Standing, body: Body) {
    says_in(bench, (from, 1), to_boot, term, standing, body);
}

fn says_in(
    bench: &mut Bench,
    (from, boot): (NodeId, u64),
    to_boot: u64,
    term: u64,
    standing: Standing,
    body: Body,
) {
    let message = Message { term: Term(term), boot: Boot(boot), to_boot: Boot(to_boot), standing, body };
    bench.core.receive(from, message, LATE);
    bench.drain();
}

fn standing_of(effect: &Effect) -> Option<Standing> {
    match effect {
        Effect::Send { message, .. } => Some(message.standing),
        _ => None,
    }
}

/// As [`Bench::ack`], of a node that says what it is and which round it has seen. B has lost its disk and lives again.
fn acks(bench: &mut Bench, from: NodeId, standing: Standing, batch: u64, round: u64) {
    let (matched, received, durable) = (at(batch), at(batch), at(batch));
    let boot = if from == B { 2 } else { 1 };
    says_in(bench, (from, boot), 5, 1, standing, Body::Ack { matched, received, durable, round });
}

#[test]
fn a_blank_node_gives_no_vote_and_asks_for_none() {
    let mut bench = Bench::new(AckPolicy::DISK_RAM, blank(&[1]));
    let answer = bench.asked(2, end(1, 9));
    assert_eq!(answer, None);
    bench.hear(C, 2, Body::PreVote { end: end(1, 9) });
    assert!(matches!(bench.sent(C)[..], [Body::PreVoteReply { grant: None, .. }]));
    bench.core.tick(Nanos(10_000));
    bench.hear(B, 3, Body::TimeoutNow);
    bench.drain();
    assert_eq!((bench.core.role(), bench.core.campaigns()), (Role::Follower, 0));
    bench.hear(B, 3, Body::Hello);
    bench.core.peer_up(B, LATE);
    bench.drain();
    let said: Vec<_> = bench.done.iter().filter_map(standing_of).collect();
    assert!(!said.is_empty() && said.iter().all(|said| *said == Standing::Blank), "{said:?}");
}

#[test]
fn a_new_cluster_begins_when_all_others_have_told_this_life_that_they_are_empty() {
    let mut bench = Bench::new(AckPolicy::DISK_RAM, blank(&[]));
    says(&mut bench, B, 5, 0, Standing::Empty, Body::Hello);
    assert!(bench.core.is_blank(), "one of two");
    says(&mut bench, C, 0, 0, Standing::Empty, Body::Hello);
    assert!(bench.core.is_blank(), "to nobody in particular, and perhaps long ago");
    says(&mut bench, C, 4, 0, Standing::Empty, Body::Hello);
    assert!(bench.core.is_blank(), "to an earlier life");
    says(&mut bench, C, 5, 0, Standing::Blank, Body::Hello);
    assert!(bench.core.is_blank(), "it has taken something in");
    bench.done.clear();
    says(&mut bench, C, 5, 0, Standing::Empty, Body::Hello);
    assert!(!bench.core.is_blank());
    assert!(bench.done.iter().any(|effect| matches!(effect, Effect::Persist(state) if !state.blank)));
    bench.core.tick(Nanos(10_000));
    assert_eq!(bench.core.role(), Role::PreCandidate);
}

#[test]
fn a_life_that_it_hears_of_is_told_that_this_node_is_empty() {
    let mut bench = Bench::new(AckPolicy::DISK_RAM, blank(&[]));
    says(&mut bench, B, 0, 0, Standing::Empty, Body::Hello);
    let told = bench.done.iter().any(|effect| {
        matches!(effect, Effect::Send { to: B, message } if message.standing == Standing::Empty && message.to_boot == Boot(1))
    });
    assert!(told, "{:?}", bench.done);
    // Once it has taken part in a term, it is not.
    let mut bench = Bench::new(AckPolicy::DISK_RAM, blank(&[]));
    bench.hear(B, 1, Body::Append(Append::default()));
    says(&mut bench, B, 5, 0, Standing::Empty, Body::Hello);
    says(&mut bench, C, 5, 0, Standing::Empty, Body::Hello);
    assert!(bench.core.is_blank());
}

#[test]
fn a_blank_node_is_whole_when_it_is_admitted_and_has_the_log_synced_up_to_the_mark() {
    let mut bench = Bench::new(AckPolicy::DISK_RAM, blank(&[1]));
    bench.append(2, end(1, 1), 3, &[1, 2]);
    bench.disk(3, 3);
    assert!(bench.core.is_blank(), "not admitted");
    let append = Append { previous: end(2, 3), mark: at(3), admits: true, ..Append::default() };
    let mut early = Bench::new(AckPolicy::DISK_RAM, blank(&[1]));
    early.append(2, end(1, 1), 3, &[1, 2]);
    early.hear(B, 2, Body::Append(append));
    early.disk(3, 2);
    assert!(early.core.is_blank(), "written up to the mark, and not synced");
    early.disk(3, 3);
    assert!(!early.core.is_blank());
    bench.done.clear();
    bench.hear(B, 2, Body::Append(append));
    let state = *bench.core.vote_state();
    assert!(!state.blank);
    assert_eq!(state.voted_for, Some(B), "it may have voted in this term");
    assert_eq!(bench.core.counts().readmitted, 1);
    assert_eq!(bench.asked(2, end(9, 9)), None);
    assert_eq!(bench.asked(3, end(9, 9)), Some(Grant::Strong));
}

#[test]
fn nothing_that_a_blank_node_says_counts() {
    let mut bench = Bench::leading(AckPolicy::TWO_DISKS);
    bench.disk(1, 1);
    acks(&mut bench, B, Standing::Blank, 1, 0);
    assert_eq!((bench.core.committed(), bench.core.knows_blank(B)), (at(0), true));
    acks(&mut bench, C, Standing::Whole, 1, 0);
    assert_eq!(bench.core.committed(), at(1));
    let round = bench.core.read_round().unwrap();
    bench.drain();
    let done =
        |bench: &Bench| bench.done.iter().any(|e| matches!(e, Effect::ReadRoundDone(r) if *r >= round));
    acks(&mut bench, B, Standing::Blank, 1, round + 9);
    assert!(!done(&bench));
    // The first ends the round that was asked for B's sake.
    acks(&mut bench, C, Standing::Whole, 1, round + 9);
    acks(&mut bench, C, Standing::Whole, 1, round + 9);
    assert!(done(&bench));
    // Nor does it keep a leader in office.
    bench.core.tick(Nanos(1050));
    assert_eq!(bench.core.role(), Role::Leader);
    acks(&mut bench, B, Standing::Blank, 1, round);
    let mut later = Nanos(1100);
    while bench.core.role() == Role::Leader && later < Nanos(2000) {
        later = later.plus(20);
        let body = Body::Ack { matched: at(1), received: at(1), durable: at(1), round };
        let message =
            Message { term: Term(1), boot: Boot(2), to_boot: Boot(5), standing: Standing::Blank, body };
        bench.core.receive(B, message, later);
        bench.core.tick(later);
        bench.drain();
    }
    assert_eq!(bench.core.role(), Role::Follower);
}

#[test]
fn a_leader_admits_a_blank_node_when_all_others_have_confirmed_its_term_since() {
    let mut bench = Bench::leading(AckPolicy::TWO_DISKS);
    bench.disk(1, 1);
    acks(&mut bench, C, Standing::Whole, 1, 0);
    let admits = |bench: &mut Bench| {
        bench.sent(B).iter().any(|body| matches!(body, Body::Append(append) if append.admits))
    };
    bench.done.clear();
    acks(&mut bench, B, Standing::Blank, 1, 0);
    let asked = bench.sent(C);
    let Some(Body::Append(Append { round: first, .. })) = asked.last() else { panic!("{asked:?}") };
    acks(&mut bench, C, Standing::Whole, 1, first - 1);
    acks(&mut bench, B, Standing::Blank, 1, *first);
    assert!(!admits(&mut bench), "what C said before is worth nothing");
    acks(&mut bench, C, Standing::Whole, 1, *first);
    let asked = bench.sent(C);
    let Some(Body::Append(Append { round: second, .. })) = asked.last() else { panic!("{asked:?}") };
    assert!(second > first, "and a second time, for what those did that have lost their disks meanwhile");
    acks(&mut bench, C, Standing::Whole, 1, *second);
    assert!(admits(&mut bench));
    acks(&mut bench, B, Standing::Whole, 1, *second);
    assert!(!bench.core.knows_blank(B));
    acks(&mut bench, B, Standing::Blank, 1, *second);
    assert!(!bench.core.knows_blank(B), "what was sent earlier arrives later");
}

#[test]
fn a_leader_does_not_admit_on_the_word_of_blank_nodes() {
    let mut bench = Bench::leading(AckPolicy::TWO_DISKS);
    bench.disk(1, 1);
    acks(&mut bench, C, Standing::Whole, 1, 0);
    let message = |standing, round| Message {
        term: Term(1),
        boot: Boot(2),
        to_boot: Boot(5),
        standing,
        body: Body::Ack { matched: at(1), received: at(1), durable: at(1), round },
    };
    for round in 0..9 {
        for from in [B, C] {
            bench.core.receive(from, message(Standing::Blank, round), LATE);
            bench.drain();
        }
    }
    let admitted = |e: &Effect| matches!(e, Effect::Send { message: Message { body: Body::Append(a), .. }, .. } if a.admits);
    assert!(!bench.done.iter().any(admitted), "of three nodes two do not know what they promised");
}

#[test]
fn who_is_known_in_a_later_life_is_blank_and_takes_a_later_number() {
    let mut bench = Bench::new(AckPolicy::DISK_RAM, recovered(&[1]));
    bench.hold = true;
    bench.hear_from_life(B, 1, 9, 1, Body::Hello);
    assert!(bench.core.is_blank());
    assert_eq!(bench.core.boot(), Boot(5), "not before it is on disk");
    let state = *bench.core.vote_state();
    assert_eq!(state.boot, Boot(10));
    bench.done.clear();
    bench.core.persisted(state);
    bench.drain();
    assert_eq!((bench.core.boot(), bench.sent(B)), (Boot(10), vec![Body::Hello]));
}

#[test]
fn a_blank_node_is_whole_in_a_lineage_in_which_nobody_can_have_been_promised_anything() {
    let first = Lineage(2).first_term().0 + 7;
    // The forced node.
    let mut forced = recovered(&[1, 1, first]);
    forced.vote.ack_term = Term(first);
    let mut bench = Bench::new(AckPolicy::DISK_RAM, forced);
    says(&mut bench, B, 5, 0, Standing::Blank, Body::Hello);
    bench.core.tick(Nanos(10_000));
    bench.drain();
    assert_eq!(bench.done.iter().rev().find_map(standing_of), Some(Standing::Unopened));
    bench.hear(B, first + 1, Body::Hello);
    bench.core.peer_up(B, LATE);
    bench.drain();
    assert_eq!(bench.done.iter().rev().find_map(standing_of), Some(Standing::Whole), "a later term");
    // A node that lost its disk.
    let mut bench = Bench::new(AckPolicy::DISK_RAM, blank(&[]));
    let asks = Body::PreVote { end: end(first, 3) };
    says(&mut bench, C, 4, first, Standing::Unopened, asks);
    assert!(bench.core.is_blank(), "said to an earlier life");
    says(&mut bench, C, 5, first, Standing::Unopened, asks);
    assert!(!bench.core.is_blank());
    assert_eq!(bench.asked(first + 1, end(first, 3)), Some(Grant::Strong));
}
