//! One rule at a time, on single cores whose peers are played by hand.

mod blank;

use crate::message::Append;
use crate::*;
use ordain_types::facts::AckPolicy;
use ordain_types::members::Member;
use ordain_types::{ClusterFacts, ClusterId, Lineage};

const A: NodeId = NodeId(1);
const B: NodeId = NodeId(2);
const C: NodeId = NodeId(3);
const W: u64 = 4;
const LATE: Nanos = Nanos(1000);

fn end(term: u64, index: u64) -> LogEnd {
    LogEnd { term: Term(term), index: BatchIndex(index) }
}

fn at(index: u64) -> BatchIndex {
    BatchIndex(index)
}

/// A log with these terms from batch 1.
fn log(terms: &[u64]) -> Terms {
    let mut log = Terms::new();
    for (before, term) in terms.iter().enumerate() {
        log.push(at(before as u64 + 1), Term(*term));
    }
    log
}

fn config() -> Config {
    Config { id: A, election_timeout: Nanos(100), heartbeat: Nanos(20), seed: 7, mutation: Mutation::None }
}

/// The configuration that a cluster of these voters is made with.
pub(crate) fn cluster(voters: &[NodeId], policy: AckPolicy, window: u64) -> Configuration {
    let member = |id: &NodeId| Member {
        id: *id,
        peer: format!("h{id}:1"),
        client: format!("h{id}:2"),
        key: [id.0 as u8; 32],
    };
    let members: Vec<Member> = voters.iter().map(member).collect();
    let facts = ClusterFacts {
        policy,
        unsynced_max: window,
        ..ClusterFacts::new(ClusterId([1; 16]), Nanos(1), voters.len() as u32)
    };
    Configuration::initial(&facts, &members)
}

fn under(voters: &[NodeId], policy: AckPolicy, recovered: Recovered) -> Recovered {
    Recovered { configurations: vec![(at(0), cluster(voters, policy, W))], ..recovered }
}

/// What votes say that know of nothing weaker than plain Raft, and those of nodes under `DISK_RAM`.
const ANY: Copies = Copies::MAJORITY;
const KNOWN: Copies = Copies { received: 2, durable: 1 };

/// A whole log, found by a clean restart, all synced.
fn recovered(terms: &[u64]) -> Recovered {
    let log = log(terms);
    let term = log.end().term;
    Recovered {
        vote: VoteState { term, ack_term: term, ..VoteState::default() },
        boot: Boot(5),
        clean: true,
        torn: false,
        durable: log.last(),
        watermark: log.last(),
        log,
        configurations: vec![(at(0), cluster(&[A, B, C], AckPolicy::DISK_RAM, W))],
    }
}

/// A core and what it did, its disk writes done at once unless `hold`.
struct Bench {
    core: Core,
    done: Vec<Effect>,
    hold: bool,
}

impl Bench {
    fn new(policy: AckPolicy, recovered: Recovered) -> Self {
        let mut bench = Self {
            core: Core::new(config(), under(&[A, B, C], policy, recovered), Nanos(0)),
            done: Vec::new(),
            hold: false,
        };
        bench.drain();
        bench.core.peer_up(B, Nanos(0));
        bench.core.peer_up(C, Nanos(0));
        bench.drain();
        bench.done.clear();
        bench
    }

    /// Leads term 1 with its `TermStart` as batch 1 (behind an empty log), matched by nobody yet.
    fn leading(policy: AckPolicy) -> Self {
        let mut bench = Self::new(policy, recovered(&[]));
        bench.wins(1);
        bench
    }

    fn wins(&mut self, term: u64) {
        self.core.tick(LATE);
        let proposed = Term(term);
        for peer in [B, C] {
            self.hear(
                peer,
                term - 1,
                Body::PreVoteReply { proposed, grant: Some(Grant::Strong), weakest: ANY },
            );
        }
        for peer in [B, C] {
            self.hear(peer, term, Body::VoteReply { grant: Some(Grant::Strong), weakest: ANY });
        }
        assert_eq!((self.core.role(), self.core.term()), (Role::Leader, proposed));
        self.seal();
    }

    fn seal(&mut self) {
        let next = self.core.log().last().next();
        self.core.appended(next);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(effect) = self.core.pop() {
            self.done.push(effect);
            if let Effect::Persist(state) = effect
                && !self.hold
            {
                self.core.persisted(state);
            }
        }
    }

    fn hear_from_life(&mut self, from: NodeId, boot: u64, to_boot: u64, term: u64, body: Body) {
        let message = Message {
            term: Term(term),
            boot: Boot(boot),
            to_boot: Boot(to_boot),
            standing: Standing::Whole,
            body,
        };
        self.core.receive(from, message, LATE);
        self.drain();
    }

    fn hear(&mut self, from: NodeId, term: u64, body: Body) {
        self.hear_from_life(from, 1, 5, term, body);
    }

    fn ack(&mut self, from: NodeId, term: u64, received: u64, durable: u64) {
        let (received, durable) = (at(received), at(durable));
        self.hear(from, term, Body::Ack { matched: received, received, durable, round: 0 });
    }

    fn disk(&mut self, written: u64, durable: u64) {
        self.core.written(at(written));
        self.core.durable(at(durable));
        self.drain();
    }

    /// `B` leads and sends what follows `previous`.
    fn append(&mut self, term: u64, previous: LogEnd, mark: u64, terms: &[u64]) -> Vec<Verdict> {
        let batches = 128 * terms.len() as u32;
        let append = Append { previous, mark: at(mark), batches, ..Append::default() };
        self.hear(B, term, Body::Append(append));
        let mut verdicts = Vec::new();
        for (before, batch) in terms.iter().enumerate() {
            let index = at(previous.index.0 + 1 + before as u64);
            verdicts.push(self.core.accept(B, index, Term(*batch)));
            self.drain();
        }
        verdicts
    }

    fn sent(&mut self, to: NodeId) -> Vec<Body> {
        let sent = self.done.iter().filter_map(|effect| match effect {
            Effect::Send { to: peer, message } if *peer == to => Some(message.body),
            _ => None,
        });
        let sent = sent.collect();
        self.done.clear();
        sent
    }

    /// The answer to a request for a vote.
    fn asked(&mut self, term: u64, candidate: LogEnd) -> Option<Grant> {
        self.done.clear();
        self.hear(C, term, Body::Vote { end: candidate });
        // In front of it, a node that hears of another one may have said who it is.
        match self.sent(C)[..] {
            [Body::VoteReply { grant, .. }] | [Body::Hello, Body::VoteReply { grant, .. }] => grant,
            ref other => panic!("{other:?}"),
        }
    }
}

// R1.

#[test]
fn commits_what_the_policy_names() {
    #[track_caller]
    fn check(policy: AckPolicy, own: (u64, u64), peer: (u64, u64), commit: u64) {
        let mut bench = Bench::leading(policy);
        (0..9).for_each(|_| bench.seal());
        bench.disk(own.0, own.1);
        bench.ack(B, 1, peer.0, peer.1);
        assert_eq!(bench.core.committed(), at(commit), "{policy:?} {own:?} {peer:?}");
    }
    let ram = AckPolicy { received: 2, durable: 0 };
    check(AckPolicy::DISK_RAM, (3, 0), (3, 0), 0);
    check(AckPolicy::DISK_RAM, (3, 3), (2, 0), 2);
    check(AckPolicy::DISK_RAM, (3, 0), (3, 2), 2);
    check(AckPolicy::TWO_DISKS, (3, 3), (3, 2), 2);
    check(AckPolicy::TWO_DISKS, (3, 3), (3, 0), 0);
    check(ram, (3, 0), (3, 0), 3);
    // A copy counts no further than W ahead of its disk.
    check(ram, (9, 9), (9, 0), W);
    check(ram, (9, 0), (9, 9), W);
    check(ram, (9, 9), (9, 2), 2 + W);
    // Own durability is not reported further than W ahead of the watermark, here 0.
    check(AckPolicy::TWO_DISKS, (9, 9), (9, 9), W);
}

#[test]
fn the_watermark_lets_durability_on() {
    let mut bench = Bench::leading(AckPolicy::TWO_DISKS);
    (0..9).for_each(|_| bench.seal());
    bench.disk(10, 10);
    bench.ack(B, 1, 10, 10);
    assert_eq!(bench.core.committed(), at(W));
    bench.core.watermark(at(5));
    assert_eq!(bench.core.committed(), at(5 + W));
}

#[test]
fn commits_older_batches_through_one_of_its_term() {
    let mut bench = Bench::new(AckPolicy::DISK_RAM, recovered(&[1, 1, 2]));
    bench.wins(3);
    bench.ack(B, 3, 3, 3);
    assert_eq!(bench.core.committed(), at(0), "three copies of an old batch commit nothing");
    bench.disk(4, 4);
    bench.ack(B, 3, 4, 3);
    assert_eq!(bench.core.committed(), at(4));
}

#[test]
fn counts_itself_only_after_its_ack_term_is_stored() {
    let mut bench = Bench::new(AckPolicy::DISK_RAM, recovered(&[]));
    bench.core.tick(LATE);
    bench.hear(B, 0, Body::PreVoteReply { proposed: Term(1), grant: Some(Grant::Strong), weakest: ANY });
    bench.drain();
    bench.hold = true;
    bench.hear(B, 1, Body::VoteReply { grant: Some(Grant::Strong), weakest: ANY });
    bench.seal();
    bench.disk(1, 1);
    bench.ack(B, 1, 1, 0);
    assert_eq!(bench.core.committed(), at(0));
    let Some(Effect::Persist(state)) =
        bench.done.iter().find(|effect| matches!(effect, Effect::Persist(s) if s.ack_term == Term(1)))
    else {
        panic!("no write of the ack term")
    };
    bench.core.persisted(*state);
    assert_eq!(bench.core.committed(), at(1));
}

#[test]
fn ignores_acks_of_other_terms_and_lives() {
    let mut bench = Bench::leading(AckPolicy::DISK_RAM);
    bench.disk(1, 1);
    let ack = Body::Ack { matched: at(1), received: at(1), durable: at(1), round: 0 };
    bench.hear_from_life(B, 1, 4, 1, ack);
    bench.hear(B, 0, ack);
    assert_eq!(bench.core.committed(), at(0));
    bench.hear_from_life(B, 2, 5, 1, Body::Hello);
    bench.hear(B, 1, ack);
    assert_eq!(bench.core.committed(), at(0), "an ack of the life before");
    bench.hear_from_life(B, 2, 5, 1, ack);
    assert_eq!(bench.core.committed(), at(1));
}

#[test]
fn survives_impossible_acks() {
    let mut bench = Bench::leading(AckPolicy::DISK_RAM);
    bench.disk(1, 1);
    for (matched, received, durable) in [(9, 1, 1), (1, 9, 1), (1, 1, 9), (9, 9, 9)] {
        let body = Body::Ack { matched: at(matched), received: at(received), durable: at(durable), round: 9 };
        bench.hear(B, 1, body);
        assert_eq!(bench.core.committed(), at(0));
    }
    bench.hear(B, 1, Body::Reject { previous: at(0), hint: end(0, 0) });
    bench.hear(B, 1, Body::Reject { previous: at(u64::MAX >> 1), hint: end(9, u64::MAX >> 1) });
    bench.hear(C, 1, Body::Append(Append::default()));
    assert_eq!(bench.core.role(), Role::Leader);
}

#[test]
fn acknowledges_only_after_its_ack_term_is_stored() {
    let mut bench = Bench::new(AckPolicy::DISK_RAM, recovered(&[1]));
    bench.hold = true;
    assert_eq!(bench.append(2, end(1, 1), 1, &[]), []);
    assert!(!bench.sent(B).iter().any(|body| matches!(body, Body::Ack { .. })));
    assert_eq!(bench.append(2, end(1, 1), 1, &[2]), [Verdict::Drop]);
    let state = *bench.core.vote_state();
    assert_eq!((state.term, state.ack_term), (Term(2), Term(2)));
    bench.core.persisted(state);
    bench.drain();
    let ack = Body::Ack { matched: at(1), received: at(1), durable: at(1), round: 0 };
    assert_eq!(bench.sent(B), [ack]);
}

#[test]
fn acknowledges_what_matches_and_is_written() {
    let mut bench = Bench::new(AckPolicy::DISK_RAM, recovered(&[1, 1, 1]));
    // The tail (batches 2 and 3) is not yet known to match.
    bench.append(2, end(1, 1), 1, &[]);
    let ack = |matched, received, durable| Body::Ack {
        matched: at(matched),
        received: at(received),
        durable: at(durable),
        round: 0,
    };
    assert_eq!(bench.sent(B), [ack(1, 1, 1)]);
    assert_eq!(bench.append(2, end(1, 1), 1, &[1]), [Verdict::Skip]);
    assert_eq!(bench.sent(B), [ack(2, 2, 2)]);
    assert_eq!(bench.append(2, end(1, 2), 1, &[1, 2, 2]), [Verdict::Skip, Verdict::Write, Verdict::Write]);
    assert_eq!(bench.sent(B), [ack(3, 3, 3)]);
    bench.disk(5, 4);
    assert_eq!(bench.sent(B), [ack(5, 5, 3), ack(5, 5, 4)]);
}

// R2, R3.

#[test]
fn judges_candidates_by_its_floor() {
    #[track_caller]
    fn check(clean: bool, torn: bool, candidate: LogEnd, grant: Option<Grant>) {
        let mut disk = recovered(&[1, 1, 2]);
        disk.vote = VoteState { term: Term(4), ack_term: Term(3), ..disk.vote };
        (disk.clean, disk.torn, disk.watermark) = (clean, torn, at(1));
        let mut bench = Bench::new(AckPolicy::DISK_RAM, disk);
        assert_eq!(bench.asked(5, candidate), grant, "{clean} {torn} {candidate:?}");
    }
    let (weak, strong) = (Some(Grant::Weak), Some(Grant::Strong));
    check(true, false, end(1, 9), None);
    check(true, false, end(2, 2), None);
    check(true, false, end(2, 3), strong);
    // Dirty: (ack_term 3, disk end 3 + W).
    check(false, false, end(2, 2), None);
    check(false, false, end(2, 9), weak);
    check(false, false, end(3, 2 + W), weak);
    check(false, false, end(3, 3 + W), strong);
    check(false, false, end(4, 1), strong);
    // Torn: (ack_term 3, watermark 1 + 2W).
    check(false, true, end(3, 2 * W), weak);
    check(false, true, end(3, 1 + 2 * W), strong);
}

#[test]
fn a_floor_outlives_clean_restarts_and_never_falls() {
    let mut disk = recovered(&[1, 1]);
    disk.vote.floor = Some(end(1, 9));
    let core = Core::new(config(), disk.clone(), Nanos(0));
    assert_eq!(core.vote_state().floor, Some(end(1, 9)));
    disk.clean = false;
    let core = Core::new(config(), disk, Nanos(0));
    assert_eq!(core.vote_state().floor, Some(end(1, 9)), "2 + W is below what is owed already");
}

#[test]
fn one_vote_a_term_and_only_once_stored() {
    let mut bench = Bench::new(AckPolicy::DISK_RAM, recovered(&[1]));
    bench.hold = true;
    bench.hear(C, 2, Body::Vote { end: end(1, 1) });
    assert_eq!(bench.sent(C), []);
    let state = *bench.core.vote_state();
    assert_eq!((state.term, state.voted_for), (Term(2), Some(C)));
    bench.core.persisted(state);
    bench.hold = false;
    bench.drain();
    assert_eq!(bench.sent(C), [Body::VoteReply { grant: Some(Grant::Strong), weakest: KNOWN }]);
    bench.hear(B, 2, Body::Vote { end: end(1, 9) });
    assert_eq!(bench.sent(B), [Body::VoteReply { grant: None, weakest: KNOWN }]);
    assert_eq!(bench.asked(2, end(1, 1)), Some(Grant::Strong), "the same again");
}

// R4.

#[test]
fn wins_by_strong_votes_or_by_enough_of_any() {
    #[track_caller]
    fn check(policy: AckPolicy, own_dirty: bool, grants: &[Grant], wins: bool) {
        let mut disk = recovered(&[1, 1]);
        disk.clean = !own_dirty;
        let mut bench = Bench::new(policy, disk);
        bench.core.tick(LATE);
        // The pre-vote applies the same rule: a term is used up only if the election would succeed.
        for (peer, grant) in [B, C].into_iter().zip(grants) {
            bench.hear(peer, 1, Body::PreVoteReply { proposed: Term(2), grant: Some(*grant), weakest: ANY });
        }
        assert_eq!(bench.core.term(), Term(if wins { 2 } else { 1 }));
        for (peer, grant) in [B, C].into_iter().zip(grants) {
            bench.hear(peer, 2, Body::VoteReply { grant: Some(*grant), weakest: ANY });
        }
        let leads = bench.core.role() == Role::Leader;
        assert_eq!(leads, wins, "{policy:?} {own_dirty} {grants:?}");
    }
    use Grant::{Strong, Weak};
    let ram = AckPolicy { received: 2, durable: 0 };
    check(AckPolicy::DISK_RAM, false, &[Strong], true);
    check(AckPolicy::DISK_RAM, false, &[Weak], false);
    check(AckPolicy::DISK_RAM, true, &[Strong], false);
    check(AckPolicy::DISK_RAM, true, &[Strong, Strong], true);
    check(AckPolicy::DISK_RAM, true, &[Weak, Weak], true);
    check(AckPolicy::TWO_DISKS, true, &[Weak], true);
    check(ram, true, &[Weak, Weak], false);
    check(ram, true, &[Strong, Weak], false);
    check(ram, true, &[Strong, Strong], true);
    check(AckPolicy::ONE_DISK, false, &[Strong], false);
    check(AckPolicy::ONE_DISK, true, &[Weak, Weak], true);
}

#[test]
fn a_lone_voter_leads_at_once_and_commits_on_durable() {
    let config = config();
    let mut disk = under(&[A], AckPolicy::ONE_DISK, recovered(&[1]));
    disk.clean = false;
    let mut bench = Bench { core: Core::new(config, disk, Nanos(0)), done: Vec::new(), hold: false };
    bench.drain();
    assert_eq!(bench.core.next_deadline(), Nanos(0));
    bench.core.tick(Nanos(0));
    bench.drain();
    assert_eq!((bench.core.role(), bench.core.term()), (Role::Leader, Term(2)));
    bench.seal();
    bench.core.written(at(2));
    assert_eq!(bench.core.committed(), at(0));
    bench.core.durable(at(2));
    assert_eq!(bench.core.committed(), at(2));
    assert_eq!(bench.core.read_round(), Some(1));
    bench.drain();
    assert!(bench.done.contains(&Effect::ReadRoundDone(1)));
    bench.core.tick(LATE);
    assert_eq!(bench.core.role(), Role::Leader);
}

#[test]
fn a_winner_drops_its_floor_when_its_log_is_written() {
    let mut disk = recovered(&[1]);
    disk.vote.floor = Some(end(1, 9));
    let mut bench = Bench::new(AckPolicy::DISK_RAM, disk);
    bench.append(1, end(1, 1), 99, &[1]);
    assert_eq!(bench.core.log().last(), at(2));
    bench.core.peer_down(B, LATE);
    bench.core.peer_up(B, LATE);
    bench.wins(2);
    assert!(bench.core.vote_state().floor.is_some(), "batch 2 could still be lost to a process crash");
    bench.disk(2, 1);
    assert_eq!(bench.core.vote_state().floor, None);
}

#[test]
fn a_restarted_leader_does_not_resume_its_term() {
    let mut disk = recovered(&[1]);
    disk.vote = VoteState { term: Term(2), voted_for: Some(A), ack_term: Term(2), ..VoteState::default() };
    let mut bench = Bench::new(AckPolicy::DISK_RAM, disk);
    for peer in [B, C] {
        bench.hear(peer, 2, Body::VoteReply { grant: Some(Grant::Strong), weakest: ANY });
    }
    assert_eq!(bench.core.role(), Role::Follower);
    bench.wins(3);
}

// R5.

#[test]
fn a_dirty_node_is_whole_again_at_the_mark() {
    let mut disk = recovered(&[1]);
    disk.clean = false;
    let mut bench = Bench::new(AckPolicy::DISK_RAM, disk);
    bench.append(2, end(1, 1), 3, &[1, 2]);
    assert!(bench.core.vote_state().floor.is_some(), "matched, but not written");
    bench.disk(2, 1);
    assert!(bench.core.vote_state().floor.is_some(), "one short of the mark");
    bench.disk(3, 1);
    assert_eq!(bench.core.vote_state().floor, None);
}

#[test]
fn frames_for_another_life_are_answered_by_hello() {
    let mut bench = Bench::new(AckPolicy::DISK_RAM, recovered(&[1]));
    for life in [0, 4] {
        let append = Append { previous: end(1, 1), batches: 128, ..Append::default() };
        bench.hear_from_life(B, 1, life, 2, Body::Append(append));
        assert_eq!(bench.sent(B), [Body::Hello]);
        assert_eq!(bench.core.accept(B, at(2), Term(2)), Verdict::Drop);
        assert_eq!(bench.core.vote_state().ack_term, Term(1));
    }
}

#[test]
fn a_new_life_of_a_follower_starts_from_nothing() {
    let mut bench = Bench::leading(AckPolicy::DISK_RAM);
    bench.seal();
    bench.ack(B, 1, 2, 2);
    assert_eq!(bench.core.copies(B), Some((at(2), at(2))));
    bench.done.clear();
    bench.hear_from_life(B, 2, 5, 1, Body::Hello);
    assert_eq!(bench.core.copies(B), Some((at(0), at(0))));
    let probe = Append { previous: end(1, 2), mark: at(2), ..Append::default() };
    assert_eq!(bench.sent(B), [Body::Append(probe)]);
    assert_eq!(bench.core.next_batch(B), None, "nothing is streamed before a match is known");
}

// Matching and cuts.

#[test]
fn logs_meet_in_one_exchange_for_each_term() {
    // The leader's log and a follower's, which differ from batch 3 on.
    let mut leader = Bench::new(AckPolicy::DISK_RAM, recovered(&[1, 1, 4, 4, 5]));
    leader.wins(6);
    let theirs = log(&[1, 1, 2, 2, 2, 3, 3]);
    let mut previous = end(5, 5);
    leader.done.clear();
    for exchanges in 1.. {
        let hint = theirs.last_within(previous.index, previous.term);
        if hint == previous {
            assert_eq!((previous, exchanges), (end(1, 2), 2));
            break;
        }
        leader.hear(B, 6, Body::Reject { previous: previous.index, hint });
        let [Body::Append(probe)] = leader.sent(B)[..] else { panic!("no probe") };
        previous = probe.previous;
    }
    leader.ack(B, 6, 2, 2);
    assert_eq!(leader.core.next_batch(B), Some(at(3)));
    let message = leader.core.stream(B, at(6), 512);
    let Body::Append(append) = message.body else { panic!("{message:?}") };
    assert_eq!((append.previous, append.batches), (end(1, 2), 512));
    assert_eq!(leader.core.next_batch(B), None);
}

#[test]
fn a_row_of_rejections_is_answered_once() {
    let mut bench = Bench::leading(AckPolicy::DISK_RAM);
    (0..5).for_each(|_| bench.seal());
    bench.ack(B, 1, 1, 1);
    for through in 2..=6 {
        let _ = bench.core.stream(B, at(through), 128);
    }
    bench.done.clear();
    for previous in 3..=5 {
        bench.hear(B, 1, Body::Reject { previous: at(previous), hint: end(1, 2) });
    }
    let probe = Append { previous: end(1, 2), ..Append::default() };
    assert_eq!(bench.sent(B), [Body::Append(probe)]);
    bench.ack(B, 1, 2, 2);
    assert_eq!(bench.core.next_batch(B), Some(at(3)));
}

#[test]
fn a_cut_is_a_barrier() {
    let mut bench = Bench::new(AckPolicy::DISK_RAM, recovered(&[1, 1, 1]));
    assert_eq!(bench.append(3, end(1, 1), 1, &[3]), [Verdict::Drop]);
    assert!(bench.done.contains(&Effect::Truncate { to: at(1) }));
    bench.done.clear();
    assert_eq!(bench.append(3, end(1, 1), 1, &[3]), [Verdict::Drop]);
    assert_eq!(bench.sent(B), []);
    // It neither asks for an election nor forgets what it held before the cut is done.
    bench.core.tick(Nanos(5000));
    assert_eq!(bench.core.role(), Role::Follower);
    assert_eq!(bench.core.log().end(), end(1, 3));
    bench.core.truncated(at(1));
    bench.drain();
    assert_eq!(bench.sent(B), [Body::Reject { previous: at(2), hint: end(1, 1) }]);
    assert_eq!(bench.append(3, end(1, 1), 1, &[3, 3]), [Verdict::Write, Verdict::Write]);
    assert_eq!(bench.core.log().end(), end(3, 3));
}

#[test]
#[should_panic(expected = "contradicts committed batch 2")]
fn a_committed_batch_is_never_cut() {
    let mut bench = Bench::new(AckPolicy::DISK_RAM, recovered(&[1, 1]));
    let append = Append { previous: end(1, 2), commit: at(2), ..Append::default() };
    bench.hear(B, 1, Body::Append(append));
    assert_eq!(bench.core.committed(), at(2));
    bench.append(2, end(1, 1), 1, &[2]);
}

// Liveness.

#[test]
fn an_election_starts_when_the_leaders_connection_closes() {
    let mut bench = Bench::new(AckPolicy::DISK_RAM, recovered(&[1]));
    bench.append(2, end(1, 1), 1, &[]);
    bench.done.clear();
    bench.core.peer_down(C, LATE);
    bench.core.peer_up(C, LATE);
    assert_eq!(bench.core.role(), Role::Follower);
    bench.core.peer_down(B, LATE);
    bench.drain();
    assert_eq!(bench.core.role(), Role::PreCandidate);
    assert!(bench.sent(C).contains(&Body::PreVote { end: end(1, 1) }));
    assert_eq!(bench.core.term(), Term(2), "a pre-vote uses up no term");
}

#[test]
fn a_node_that_is_behind_lets_others_go_ahead_for_a_while() {
    let mut bench = Bench::new(AckPolicy::DISK_RAM, recovered(&[1]));
    bench.append(2, end(1, 1), 1, &[]);
    bench.core.set_behind(true);
    bench.core.peer_down(B, LATE);
    bench.drain();
    bench.done.clear();
    assert_eq!((bench.core.role(), bench.core.leader()), (Role::Follower, None));
    bench.hear(C, 2, Body::PreVote { end: end(1, 1) });
    assert_eq!(
        bench.sent(C),
        [Body::PreVoteReply { proposed: Term(3), grant: Some(Grant::Strong), weakest: KNOWN }]
    );
    // If nobody does, it asks itself.
    bench.core.tick(LATE.plus(2 * 100));
    bench.drain();
    assert_eq!(bench.core.role(), Role::PreCandidate);
}

#[test]
fn pre_votes_are_refused_while_a_leader_is_heard() {
    let mut bench = Bench::new(AckPolicy::DISK_RAM, recovered(&[1]));
    bench.append(2, end(1, 1), 1, &[]);
    bench.done.clear();
    let reply = |grant| [Body::PreVoteReply { proposed: Term(3), grant, weakest: KNOWN }];
    bench.hear(C, 2, Body::PreVote { end: end(1, 9) });
    assert_eq!(bench.sent(C), reply(None));
    bench.core.receive(
        C,
        Message {
            term: Term(2),
            boot: Boot(1),
            to_boot: Boot(5),
            standing: Standing::Whole,
            body: Body::PreVote { end: end(1, 9) },
        },
        LATE.plus(100),
    );
    bench.drain();
    assert_eq!(bench.sent(C), reply(Some(Grant::Strong)));
    assert_eq!(bench.core.vote_state().voted_for, None, "it promises nothing");
}

#[test]
fn of_two_that_ask_at_once_one_yields() {
    #[track_caller]
    fn check(id: NodeId, rival: NodeId, attempts: u64, grant: Option<Grant>) {
        let config = Config { id, ..config() };
        let core = Core::new(config, recovered(&[1]), Nanos(0));
        let mut bench = Bench { core, done: Vec::new(), hold: false };
        bench.core.peer_up(rival, Nanos(0));
        bench.drain();
        (1..=attempts).for_each(|attempt| bench.core.tick(Nanos(300 * attempt)));
        bench.drain();
        assert_eq!(bench.core.role(), Role::PreCandidate);
        bench.done.clear();
        bench.hear(rival, 1, Body::PreVote { end: end(1, 1) });
        let reply = Body::PreVoteReply { proposed: Term(2), grant, weakest: KNOWN };
        // Who goes ahead asks once more: the rival may have refused it while it still had a leader.
        let again = grant.is_none().then_some(Body::PreVote { end: end(1, 1) });
        assert!(bench.sent(rival).into_iter().eq([reply].into_iter().chain(again)));
    }
    check(A, C, 1, Some(Grant::Strong));
    check(C, A, 1, None);
    check(C, A, 2, Some(Grant::Strong));
}

#[test]
fn who_cannot_win_any_more_asks_anew_soon_and_not_for_ever() {
    let mut bench = Bench::new(AckPolicy::TWO_DISKS, recovered(&[1]));
    let (mut term, mut now, mut quick) = (1, LATE.0, 0);
    bench.core.tick(LATE);
    bench.drain();
    while bench.core.role() == Role::PreCandidate {
        let reply = Body::PreVoteReply { proposed: Term(term + 1), grant: Some(Grant::Strong), weakest: ANY };
        bench.hear(B, term, reply);
        term += 1;
        assert_eq!((bench.core.role(), bench.core.term()), (Role::Candidate, Term(term)));
        let no = Body::VoteReply { grant: None, weakest: ANY };
        bench.hear(B, term, no);
        now += 1;
        bench.core.tick(Nanos(now));
        assert_eq!(bench.core.role(), Role::Candidate, "C may still vote");
        // It is gone, and B has given its vote to somebody else.
        bench.core.peer_down(C, Nanos(now));
        now += 20;
        bench.core.tick(Nanos(now));
        bench.drain();
        quick += u32::from(bench.core.role() == Role::PreCandidate);
        bench.core.peer_up(C, Nanos(now));
        bench.drain();
    }
    assert_eq!(quick, 4, "then it waits for an election time-out");
}

#[test]
fn a_leader_without_a_quorum_steps_down() {
    let mut bench = Bench::leading(AckPolicy::DISK_RAM);
    bench.core.tick(LATE.plus(99));
    assert_eq!(bench.core.role(), Role::Leader);
    bench.done.clear();
    bench.core.tick(LATE.plus(100));
    bench.drain();
    assert_eq!(bench.core.role(), Role::Follower);
    assert!(bench.done.contains(&Effect::SteppedDown { term: Term(1) }));
}

#[test]
fn a_read_round_needs_a_quorum_and_a_commit_of_the_term() {
    let mut bench = Bench::leading(AckPolicy::DISK_RAM);
    assert_eq!(bench.core.read_round(), Some(1));
    assert_eq!(bench.core.read_round(), Some(2), "round 1 began before this query");
    bench.drain();
    let ack = |round| Body::Ack { matched: at(1), received: at(1), durable: at(1), round };
    bench.done.clear();
    bench.hear(B, 1, ack(1));
    assert!(!bench.done.contains(&Effect::ReadRoundDone(1)), "nothing of the term is committed");
    bench.disk(1, 1);
    assert!(bench.done.contains(&Effect::ReadRoundDone(1)));
    bench.hear(B, 1, ack(1));
    assert!(!bench.done.contains(&Effect::ReadRoundDone(2)));
    bench.hear(B, 1, ack(2));
    assert!(bench.done.contains(&Effect::ReadRoundDone(2)));
}

#[test]
fn nothing_is_sent_before_the_start_is_stored() {
    let mut core = Core::new(config(), recovered(&[1]), Nanos(0));
    core.peer_up(B, Nanos(0));
    core.tick(LATE);
    let Some(Effect::Persist(state)) = core.pop() else { panic!("the start is written first") };
    assert_eq!(core.pop(), None);
    core.persisted(state);
    assert!(matches!(core.pop(), Some(Effect::Send { to: B, message }) if message.body == Body::Hello));
}

/// A term of the second lineage.
fn later(term: u64) -> u64 {
    Lineage(2).first_term().0 + term
}

#[test]
fn who_knows_of_a_lineage_elects_only_logs_of_it() {
    let mut bench = Bench::new(AckPolicy::TWO_DISKS, recovered(&[1, 2, 2]));
    // Longer than the own log, in a term that already is of the next lineage; and a shorter one that holds its
    // beginning.
    assert_eq!(bench.asked(later(5), end(2, 9)), None);
    assert_eq!(bench.core.vote_state().term, Term(later(5)));
    assert_eq!(bench.asked(later(6), end(later(4), 2)), Some(Grant::Strong));
    // Nor does it ask for votes itself.
    bench.done.clear();
    bench.core.tick(Nanos(LATE.0 * 10));
    bench.drain();
    assert_eq!((bench.core.role(), bench.sent(B), bench.sent(C)), (Role::Follower, vec![], vec![]));
}

#[test]
fn a_promise_floor_does_not_reach_into_the_next_lineage() {
    let mut found = recovered(&[1, 2, 2]);
    (found.clean, found.torn) = (false, false);
    let mut bench = Bench::new(AckPolicy { received: 2, durable: 0 }, found);
    assert_eq!(bench.asked(3, end(2, 3)), Some(Grant::Weak));
    assert_eq!(bench.asked(later(6), end(later(4), 3)), Some(Grant::Strong));
}

#[test]
fn what_a_lineage_was_ended_without_is_kept() {
    let mut bench = Bench::new(AckPolicy::DISK_RAM, recovered(&[1, 2, 2, 2]));
    let append = bench.append(later(9), end(2, 2), 2, &[later(4), later(9)]);
    assert_eq!(append, [Verdict::Drop, Verdict::Drop]);
    assert_eq!(bench.core.outlived(), Some(Outlived { first: at(3), lineage: Lineage(2) }));
    assert_eq!((bench.core.truncating(), bench.core.log().last()), (None, at(4)));
    // So it is where the logs part before the break, whoever's batch there was the later.
    let mut bench = Bench::new(AckPolicy::DISK_RAM, recovered(&[1, 3, 3]));
    assert_eq!(bench.append(later(9), end(1, 1), 1, &[2, later(4)]), [Verdict::Drop, Verdict::Drop]);
    assert_eq!(bench.core.outlived(), Some(Outlived { first: at(2), lineage: Lineage(2) }));
    // A log that ends where the break follows goes on.
    let mut bench = Bench::new(AckPolicy::DISK_RAM, recovered(&[1, 2]));
    assert_eq!(bench.append(later(9), end(2, 2), 2, &[later(4), later(9)]), [Verdict::Write; 2]);
    assert_eq!(bench.core.outlived(), None);
}
