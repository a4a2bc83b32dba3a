use super::*;
use ordain_agent::digests::Digest;

/// A cluster of nodes whose numbers are given by hand, and who tell each other everything at once.
struct Bench {
    nodes: Vec<Node>,
    voters: Vec<NodeId>,
    leader: usize,
    now: Nanos,
}

struct Node {
    agree: Agree,
    digests: Digests,
    limit: u64,
    up: bool,
}

impl Bench {
    fn new(nodes: usize) -> Self {
        let voters: Vec<NodeId> = (0..nodes as u32).map(NodeId).collect();
        let mut nodes: Vec<Node> = voters
            .iter()
            .map(|id| Node { agree: Agree::new(*id), digests: Digests::default(), limit: 0, up: true })
            .collect();
        for (id, node) in voters.iter().zip(&mut nodes) {
            voters.iter().filter(|other| *other != id).for_each(|other| node.agree.up(*other));
        }
        Self { nodes, voters, leader: 0, now: Nanos(Nanos::SECOND) }
    }

    /// Lets a node come to batch `to`, with numbers that are changed from batch `wrong` on.
    fn run(&mut self, node: usize, to: u64, wrong: Option<(What, u64, u64)>) {
        let node = &mut self.nodes[node];
        for batch in node.limit + 1..=to {
            let (mut output, mut chain) = (batch * 3, batch * 5);
            match wrong {
                Some((What::Output, from, by)) if batch >= from => output += by,
                Some((What::Chain, from, by)) if batch >= from => chain ^= by << 60,
                _ => {}
            }
            node.digests.put(BatchIndex(batch), Digest { output, chain, next_seq: 10 * batch + 1 });
        }
        node.limit = to;
    }

    fn run_all(&mut self, to: u64) {
        (0..self.nodes.len()).for_each(|node| self.run(node, to, None));
    }

    fn fall(&mut self, node: usize) {
        self.nodes[node].up = false;
        for other in (0..self.nodes.len()).filter(|other| *other != node) {
            self.nodes[other].agree.down(NodeId(node as u32));
        }
    }

    /// Everybody tells everybody what is new.
    fn tell(&mut self) {
        self.now = self.now.plus(INTERVAL.0);
        let mut body = Vec::new();
        for from in 0..self.nodes.len() {
            for to in (0..self.nodes.len()).filter(|to| *to != from) {
                if !(self.nodes[from].up && self.nodes[to].up) {
                    continue;
                }
                loop {
                    let node = &mut self.nodes[from];
                    let own = Own {
                        digests: &node.digests,
                        limit: BatchIndex(node.limit),
                        voters: &self.voters,
                        leader: None,
                    };
                    if !node.agree.tell(NodeId(to as u32), &own, BODY_MAX, &mut body) {
                        break;
                    }
                    assert!(body.len() <= BODY_MAX);
                    self.nodes[to].agree.hear(NodeId(from as u32), &body).unwrap();
                }
            }
        }
    }

    fn judge(&mut self, node: usize) -> Option<Verdict> {
        let node = &mut self.nodes[node];
        let own = Own {
            digests: &node.digests,
            limit: BatchIndex(node.limit),
            voters: &self.voters,
            leader: Some(NodeId(self.leader as u32)),
        };
        node.agree.judge(self.now, &own)
    }

    fn odd(&mut self, node: usize) -> Evidence {
        match self.judge(node) {
            Some(Verdict::Odd(evidence)) => evidence,
            other => panic!("node {node} says {other:?}"),
        }
    }
}

#[test]
fn nodes_that_have_the_same_agree() {
    let mut bench = Bench::new(3);
    for to in [1, 2, 700, 5_000] {
        bench.run_all(to);
        bench.tell();
        for node in 0..3 {
            assert_eq!(bench.judge(node), None);
            let others = (0..3).filter(|other| *other != node);
            for other in others {
                assert_eq!(bench.nodes[node].agree.agreed(NodeId(other as u32)), BatchIndex(to));
            }
        }
    }
}

#[test]
fn the_odd_one_is_named_by_itself_and_by_the_others() {
    for what in [What::Output, What::Chain] {
        for leader in 0..3 {
            let mut bench = Bench::new(3);
            bench.leader = leader;
            bench.run_all(10);
            bench.tell();
            (0..3).for_each(|node| assert_eq!(bench.judge(node), None));
            bench.run(0, 20, None);
            bench.run(1, 20, None);
            bench.run(2, 20, Some((what, 13, 1)));
            bench.tell();
            let evidence = bench.odd(2);
            assert_eq!(
                (evidence.what, evidence.batch, evidence.after),
                (what, BatchIndex(13), BatchIndex(12))
            );
            assert_eq!(evidence.records, Some((121, 130)));
            assert!(evidence.majority);
            assert_eq!(evidence.theirs.iter().map(|other| other.0.0).collect::<Vec<_>>(), [0, 1]);
            for node in 0..2 {
                let Some(Verdict::Others(evidence)) = bench.judge(node) else { panic!("node 2 differs") };
                assert_eq!((evidence.batch, evidence.theirs[0].0), (BatchIndex(13), NodeId(2)));
                assert_eq!(bench.judge(node), None, "said once");
            }
        }
    }
}

#[test]
fn who_is_ahead_is_remembered_until_one_comes_there() {
    let mut bench = Bench::new(3);
    bench.run(0, 2_000, None);
    bench.run(1, 2_000, None);
    bench.tell();
    assert_eq!(bench.judge(2), None);
    bench.run(2, 1_500, Some((What::Output, 1_300, 9)));
    let evidence = bench.odd(2);
    assert_eq!((evidence.batch, evidence.after), (BatchIndex(1_300), BatchIndex(1_299)));
}

#[test]
fn of_two_the_follower_stops_but_not_before_a_third_could_speak() {
    let mut bench = Bench::new(3);
    bench.run(0, 5, None);
    bench.run(1, 5, Some((What::Output, 4, 1)));
    bench.tell();
    assert_eq!(bench.judge(1), None, "node 2 is up and may decide");
    assert_eq!(bench.judge(0), None);
    bench.now = bench.now.plus(PATIENCE + 1);
    let evidence = bench.odd(1);
    assert!(!evidence.majority);
    assert!(evidence.to_string().contains("which of them is right"));
    assert!(matches!(bench.judge(0), Some(Verdict::Others(_))), "the leader goes on, and says it");
    // Had node 2 fallen, nobody would have waited.
    let mut bench = Bench::new(3);
    bench.fall(2);
    bench.run(0, 5, None);
    bench.run(1, 5, Some((What::Output, 4, 1)));
    bench.tell();
    bench.judge(0);
    bench.odd(1);
}

#[test]
fn a_leader_that_two_contradict_stops_even_if_one_of_them_is_gone_by_then() {
    let mut bench = Bench::new(3);
    bench.run(0, 5, Some((What::Output, 4, 1)));
    bench.run(1, 5, None);
    bench.tell();
    bench.judge(0);
    bench.fall(1);
    bench.run(2, 5, None);
    bench.tell();
    let evidence = bench.odd(0);
    assert!(evidence.majority);
    assert!(matches!(bench.judge(2), Some(Verdict::Others(_))), "node 1 had told it the same");
}

#[test]
fn five_are_judged_by_three_also_after_another_was_odd() {
    let mut bench = Bench::new(5);
    bench.run_all(3);
    bench.run(4, 30, Some((What::Output, 10, 1)));
    (1..4).for_each(|node| bench.run(node, 30, None));
    bench.run(0, 30, Some((What::Output, 20, 5)));
    bench.tell();
    assert_eq!(bench.odd(4).batch, BatchIndex(10));
    assert_eq!(bench.odd(0).batch, BatchIndex(20));
    for node in 1..4 {
        let mut named = Vec::new();
        while let Some(verdict) = bench.judge(node) {
            let Verdict::Others(evidence) = verdict else { panic!("node {node} is whole") };
            named.extend(evidence.theirs.iter().map(|other| other.0.0));
        }
        named.sort_unstable();
        assert_eq!(named, [0, 4]);
    }
}

#[test]
fn states_of_snapshots_are_compared() {
    let mut bench = Bench::new(3);
    bench.run_all(10);
    bench.tell();
    for node in 0..3usize {
        let hash = if node == 1 { [7; 32] } else { [5; 32] };
        bench.nodes[node].agree.note_state(BatchIndex(8), &hash);
        for other in (0..3).filter(|other| *other != node) {
            for _ in 0..2 {
                bench.nodes[other].agree.hear_state(NodeId(node as u32), BatchIndex(8), &hash);
            }
        }
    }
    let evidence = bench.odd(1);
    assert_eq!((evidence.what, evidence.batch, evidence.majority), (What::State, BatchIndex(8), true));
    assert!(matches!(bench.judge(0), Some(Verdict::Others(_))));
    // One that stores no snapshot there does not keep the others from comparing.
    let mut bench = Bench::new(3);
    bench.nodes[1].agree.note_state(BatchIndex(8), &[7; 32]);
    bench.nodes[1].agree.hear_state(NodeId(0), BatchIndex(8), &[5; 32]);
    bench.nodes[1].agree.hear_state(NodeId(0), BatchIndex(8), &[6; 32]);
    assert_eq!(bench.judge(1), None);
    bench.now = bench.now.plus(PATIENCE + 1);
    assert_eq!(bench.judge(1), None, "told differently, it was damaged on its way");
    bench.nodes[1].agree.hear_state(NodeId(0), BatchIndex(8), &[6; 32]);
    assert_eq!(bench.judge(1), None);
    bench.now = bench.now.plus(PATIENCE + 1);
    bench.odd(1);
}

#[test]
fn a_node_that_comes_back_is_judged_anew() {
    let mut bench = Bench::new(3);
    bench.run(0, 5, None);
    bench.run(1, 5, None);
    bench.run(2, 5, Some((What::Output, 4, 1)));
    bench.tell();
    assert!(bench.judge(0).is_some());
    assert_eq!(bench.nodes[0].agree.differing(), 1);
    bench.fall(2);
    bench.nodes[0].agree.up(NodeId(2));
    assert_eq!(bench.judge(0), None);
    assert_eq!(bench.nodes[0].agree.differing(), 0);
}

#[test]
fn those_who_told_different_batches_are_found_to_be_of_one_mind() {
    let mut bench = Bench::new(3);
    bench.run(1, 20, None);
    bench.run(2, 20, None);
    bench.tell();
    // Node 0 came to batch 18 alike, gave its state up, and comes there again otherwise. What node 2 told last it
    // has not heard.
    bench.run(0, 18, None);
    assert_eq!(bench.judge(0), None);
    let node = &mut bench.nodes[0];
    node.agree.rebuilt();
    node.agree.peer(NodeId(2)).heard.pop_front();
    node.limit = 0;
    bench.run(0, 30, Some((What::Output, 3, 1)));
    bench.run(1, 30, None);
    bench.run(2, 30, None);
    bench.tell();
    let evidence = bench.odd(0);
    assert_eq!((evidence.batch, evidence.majority, evidence.theirs.len()), (BatchIndex(19), true, 2));
}

#[test]
fn what_could_not_be_sent_is_told_again() {
    let mut bench = Bench::new(3);
    bench.run(0, 5, None);
    let node = &mut bench.nodes[0];
    let own = Own { digests: &node.digests, limit: BatchIndex(5), voters: &bench.voters, leader: None };
    let (mut first, mut second) = (Vec::new(), Vec::new());
    assert!(node.agree.tell(NodeId(1), &own, BODY_MAX, &mut first));
    node.agree.untold(NodeId(1), &first);
    assert!(node.agree.tell(NodeId(1), &own, BODY_MAX, &mut second));
    assert_eq!(first, second);
    assert!(!node.agree.tell(NodeId(1), &own, BODY_MAX, &mut second));
}

#[test]
fn a_frame_is_no_longer_than_there_is_room() {
    let mut bench = Bench::new(2);
    bench.run(0, 5, None);
    let node = &mut bench.nodes[0];
    let own = Own { digests: &node.digests, limit: BatchIndex(5), voters: &bench.voters, leader: None };
    let mut body = Vec::new();
    assert!(!node.agree.tell(NodeId(1), &own, 31, &mut body));
    let told = core::iter::from_fn(|| {
        let more = node.agree.tell(NodeId(1), &own, 16 + 2 * 16 + 15, &mut body);
        more.then(|| (body[0], body[8], body.len()))
    });
    assert_eq!(told.collect::<Vec<_>>(), [(1, 2, 48), (3, 2, 48), (5, 1, 32)]);
}

#[test]
fn a_body_that_is_none_is_refused() {
    let mut bench = Bench::new(2);
    bench.run(0, 2, None);
    let node = &mut bench.nodes[0];
    let own = Own { digests: &node.digests, limit: BatchIndex(2), voters: &bench.voters, leader: None };
    let mut body = Vec::new();
    assert!(node.agree.tell(NodeId(1), &own, BODY_MAX, &mut body));
    assert_eq!(bench.nodes[1].agree.hear(NodeId(0), &body), Ok(()));
    for at in 0..body.len() * 8 {
        let mut changed = body.clone();
        changed[at / 8] ^= 1 << (at % 8);
        assert_eq!(bench.nodes[1].agree.hear(NodeId(0), &changed), Err(Malformed), "bit {at}");
    }
    for len in 0..body.len() {
        assert_eq!(bench.nodes[1].agree.hear(NodeId(0), &body[..len]), Err(Malformed));
    }
    // Whole, and impossible.
    for change in [
        |body: &mut Vec<u8>| body[8] = 3,
        |body: &mut Vec<u8>| body[0] = 0,
        |body: &mut Vec<u8>| body[7] = 0x80,
        |body: &mut Vec<u8>| body.push(0),
    ] {
        let mut changed = body.clone();
        change(&mut changed);
        let sum = checksum(&changed).to_le_bytes();
        changed[12..16].copy_from_slice(&sum);
        assert_eq!(bench.nodes[1].agree.hear(NodeId(0), &changed), Err(Malformed));
    }
}

#[test]
fn golden_body() {
    let mut bench = Bench::new(2);
    bench.run(0, 2, None);
    let node = &mut bench.nodes[0];
    let own = Own { digests: &node.digests, limit: BatchIndex(2), voters: &bench.voters, leader: None };
    let mut body = Vec::new();
    assert!(node.agree.tell(NodeId(1), &own, BODY_MAX, &mut body));
    let sum = checksum(&body).to_le_bytes();
    let mut golden = vec![1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0];
    golden.extend(sum);
    golden.extend([3, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0]);
    golden.extend([6, 0, 0, 0, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(body, golden);
}
