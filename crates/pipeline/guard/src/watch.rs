//! The part of the guard that lives in the log stage: tells other nodes what this one computed, and hears them.

use crate::agree::{Agree, Own, Verdict};
use crate::pull::{Give, Pull, Pulled, Range, kind as pull_kind};
use crate::{ASKED, EVIDENCE, GIVE, Note, PULL, PULLED};
use core::ops::RangeInclusive;
use ordain_agent::Fatal;
use ordain_agent::metrics::{Gauge, Registry};
use ordain_agent::shared::Shared;
use ordain_agent::side::{Outbox, SIDE_HEAD, Side};
use ordain_agent::states::States;
use ordain_ring::spsc;
use ordain_types::{BatchIndex, Nanos, NodeId, Now, Position};
use zerocopy::{FromBytes, IntoBytes};

/// Kinds of frames.
pub mod kind {
    /// What a node has at each of some batches.
    pub const DIGESTS: u8 = 24;
    /// The last kind that is the guard's.
    pub const LAST: u8 = 31;
}

/// Frames to one node in a turn.
const FRAMES: usize = 4;
/// While the guard reads something for another node, its answer is looked for this often: it wakes nobody.
const LOOK: u64 = 5 * Nanos::MILLI;
/// It is not waited for longer than this.
const LOOK_MAX: u64 = Nanos::SECOND;

/// What a [`Watch`] is made of.
pub struct WatchParts<'a> {
    /// This node.
    pub id: NodeId,
    /// Those who vote, until the log stage posts a later configuration.
    pub voters: Vec<NodeId>,
    /// The node's cursors.
    pub shared: Shared,
    /// Hashes of states, of this node's snapshots and the others'.
    pub states: States,
    /// To the guard. [`RING`](crate::RING) bytes.
    pub guard: spsc::Sender,
    /// From the guard. [`RING`](crate::RING) bytes.
    pub errands: spsc::Receiver,
    /// Where it registers its metrics.
    pub registry: &'a Registry,
}

/// See the module.
pub struct Watch {
    voters: Vec<NodeId>,
    /// See [`Board::news`](ordain_agent::board::Board::news).
    board_seen: u64,
    shared: Shared,
    states: States,
    guard: spsc::Sender,
    errands: spsc::Receiver,
    pull: Pull,
    give: Give,
    /// What came of a pull and finds no room in the ring to the guard.
    pulled: Option<(Position, Vec<u8>)>,
    pulls: Position,
    /// The guard has something to read for another node: when that is looked for next, and no more.
    look_at: Option<(Nanos, Nanos)>,
    agree: Agree,
    body: Vec<u8>,
    /// Why this node stops, until the guard was told.
    evidence: Option<String>,
    /// How often the state was built anew.
    restarts: u64,
    compared: Gauge,
    differing: Gauge,
}

impl Watch {
    /// A watch that has heard nothing.
    #[must_use]
    pub fn new(parts: WatchParts<'_>) -> Self {
        let WatchParts { id, voters, shared, states, guard, errands, registry } = parts;
        Self {
            voters,
            board_seen: 0,
            shared,
            states,
            guard,
            errands,
            pull: Pull::default(),
            give: Give::default(),
            pulled: None,
            pulls: Position::ZERO,
            look_at: None,
            agree: Agree::new(id),
            body: Vec::new(),
            evidence: None,
            restarts: 0,
            compared: registry.gauge(
                "ordain_compared_batch",
                "Last batch at which another node is known to have computed the same.",
            ),
            differing: registry
                .gauge("ordain_diverged_peers", "Nodes that were found to have computed something else."),
        }
    }

    fn tell(&mut self, out: &mut dyn Outbox) -> usize {
        let mut sent = 0;
        let own = own(&self.shared, &self.voters);
        for at in 0.. {
            let Some((node, up)) = self.agree.node(at) else { break };
            for _ in 0..FRAMES {
                let room = out.room(node).saturating_sub(SIDE_HEAD);
                if !up || !self.agree.tell(node, &own, room, &mut self.body) {
                    break;
                }
                if !out.send(node, kind::DIGESTS, &[], &self.body) {
                    self.agree.untold(node, &self.body);
                    break;
                }
                sent += 1;
            }
        }
        sent
    }

    fn judge(&mut self, now: Now) {
        self.states.take(|from, batch, hash| match from {
            Some(node) => self.agree.hear_state(node, batch, hash),
            None => self.agree.note_state(batch, hash),
        });
        let own = own(&self.shared, &self.voters);
        match self.agree.judge(now.mono, &own) {
            None => {}
            Some(Verdict::Odd(evidence)) => {
                tracing::error!(%evidence, "this node computed something else than others and stops serving");
                self.evidence = Some(evidence.to_string());
                self.shared.diverge();
            }
            Some(Verdict::Others(evidence)) if evidence.majority => tracing::error!(
                %evidence, "another node computed something else; it stops by itself, and this one goes on"
            ),
            Some(Verdict::Others(evidence)) => tracing::error!(
                %evidence, "another node computed something else, and no third one could be asked: this one goes on \
                because it leads"
            ),
        }
        let compared = (0..).map_while(|at| self.agree.node(at)).map(|(node, _)| self.agree.agreed(node));
        self.compared.set(compared.max().unwrap_or_default().0);
        self.differing.set(self.agree.differing() as u64);
    }

    /// Ranges of the log, from others and to others.
    fn exchange(&mut self, now: Now, out: &mut dyn Outbox) -> usize {
        let mut work = 0;
        while let Some(message) = self.errands.peek() {
            let (head, body) = Note::ref_from_prefix(message).expect("the guard writes notes");
            match head.kind.get() {
                PULL => {
                    self.pulls = Position(head.place.get());
                    self.pull.want(Range::decode(body).expect("the guard asks for ranges"));
                }
                GIVE => {
                    let to = NodeId(head.node.get() as u32);
                    self.give.put(to, Position(head.place.get()), body.to_vec());
                    self.look_at = None;
                }
                other => unreachable!("the guard writes no note {other}"),
            }
            self.errands.release();
            work += 1;
        }
        if let Some(pulled) = self.pull.work(now, out) {
            self.take(pulled);
        }
        if let Some((position, bytes)) = self.pulled.take() {
            let head = Note { place: position.0.into(), ..Note::of(PULLED) };
            if put(&mut self.guard, head, &bytes) {
                work += 1;
            } else {
                self.pulled = Some((position, bytes));
            }
        }
        if let Some((at, until)) = self.look_at
            && now.mono >= at
        {
            self.look_at = (now.mono < until).then(|| (now.mono.plus(LOOK), until));
        }
        work + self.give.work(out)
    }

    fn take(&mut self, pulled: Pulled) {
        let bytes = match pulled {
            Pulled::Bytes(_, bytes) => bytes,
            Pulled::Nobody(_) => Vec::new(),
        };
        self.pulled = Some((self.pulls, bytes));
    }

    /// Hands the evidence to the guard, who keeps it and stops the node.
    fn hand_over(&mut self) {
        let Some(evidence) = &self.evidence else { return };
        if put(&mut self.guard, Note::of(EVIDENCE), evidence.as_bytes()) {
            self.evidence = None;
        }
    }
}

/// Puts a message into a ring; `false` if there is no room for it.
pub(crate) fn put(ring: &mut spsc::Sender, head: Note, body: &[u8]) -> bool {
    let Some(space) = ring.try_claim(size_of::<Note>() + body.len()) else { return false };
    let (front, behind) = space.split_at_mut(size_of::<Note>());
    front.copy_from_slice(head.as_bytes());
    behind.copy_from_slice(body);
    ring.commit();
    true
}

fn own<'a>(shared: &'a Shared, voters: &'a [NodeId]) -> Own<'a> {
    // Applied last: what it says is of batches that are committed by then.
    let committed = shared.committed.load();
    let limit = BatchIndex(committed.min(shared.applied.load()));
    let leader = shared.leader.load().checked_sub(1).map(|node| NodeId(node as u32));
    Own { digests: &shared.digests, limit, voters, leader }
}

impl Side for Watch {
    fn kinds(&self) -> RangeInclusive<u8> {
        kind::DIGESTS..=kind::LAST
    }

    fn up(&mut self, peer: NodeId, _now: Now) {
        self.agree.up(peer);
        self.pull.up(peer);
    }

    fn down(&mut self, peer: NodeId, _now: Now) {
        self.agree.down(peer);
        self.pull.down(peer);
        self.give.drop_for(peer);
    }

    fn hear(&mut self, from: NodeId, kind: u8, body: &[u8], now: Now) {
        match kind {
            kind::DIGESTS if self.agree.hear(from, body).is_err() => {
                tracing::debug!(peer = from.0, "digests that are none were ignored");
            }
            pull_kind::ASK if Range::decode(body).is_some() => {
                let head = Note { node: u64::from(from.0).into(), ..Note::of(ASKED) };
                // Without room in the ring it asks another node.
                if put(&mut self.guard, head, body) {
                    self.look_at = Some((now.mono.plus(LOOK), now.mono.plus(LOOK_MAX)));
                }
            }
            pull_kind::PART => {
                if let Some(pulled) = self.pull.hear(from, body, now) {
                    self.take(pulled);
                }
            }
            _ => {}
        }
    }

    fn work(&mut self, now: Now, out: &mut dyn Outbox) -> Result<usize, Fatal> {
        if self.shared.has_diverged() {
            self.hand_over();
            return Ok(0);
        }
        let work = self.exchange(now, out);
        if !self.agree.is_due(now.mono) {
            return Ok(work);
        }
        let restarts = self.shared.restarts.load();
        if core::mem::replace(&mut self.restarts, restarts) != restarts {
            self.agree.rebuilt();
        }
        if let Some(configuration) = self.shared.board.news(&mut self.board_seen) {
            self.voters = configuration.voters().collect();
        }
        let sent = self.tell(out);
        self.judge(now);
        Ok(work + sent)
    }

    fn next_deadline(&self) -> Option<Nanos> {
        if self.evidence.is_some() {
            return Some(Nanos::ZERO);
        }
        if self.shared.has_diverged() {
            return None;
        }
        let own = self.agree.next_deadline(own(&self.shared, &self.voters).limit);
        let look = self.look_at.map(|(at, _)| at);
        own.into_iter().chain(self.pull.next_deadline()).chain(look).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ordain_agent::digests::Digest;
    use ordain_types::members::Member;
    use ordain_types::{ClusterFacts, ClusterId, Configuration};

    /// Takes everything.
    #[derive(Default)]
    struct Wire(Vec<(NodeId, u8, Vec<u8>)>);

    impl Outbox for Wire {
        fn room(&self, _to: NodeId) -> usize {
            1 << 16
        }

        fn send(&mut self, to: NodeId, kind: u8, first: &[u8], second: &[u8]) -> bool {
            self.0.push((to, kind, [first, second].concat()));
            true
        }
    }

    /// A node that came to batch `last` and computed `by` too much from batch 3 on.
    fn node(id: u32, last: u64, by: u64) -> (Watch, Shared, spsc::Receiver) {
        let shared = Shared::default();
        for batch in 1..=last {
            let output = batch * 3 + if batch >= 3 { by } else { 0 };
            shared.digests.put(BatchIndex(batch), Digest { output, chain: batch, next_seq: batch + 1 });
        }
        shared.applied.store(last);
        shared.committed.store(last);
        shared.leader.store(1);
        let (guard, notes) = spsc::channel(crate::RING);
        let (_, errands) = spsc::channel(crate::RING);
        let mut watch = Watch::new(WatchParts {
            id: NodeId(id),
            voters: (0..3).map(NodeId).collect(),
            shared: shared.clone(),
            states: States::default(),
            guard,
            errands,
            registry: &Registry::default(),
        });
        (0..3).filter(|other| *other != id).for_each(|other| watch.up(NodeId(other), Now::default()));
        (watch, shared, notes)
    }

    #[test]
    fn a_majority_is_one_of_those_who_vote_now() {
        let (mut watch, shared, _notes) = node(0, 5, 0);
        let facts = ClusterFacts::new(ClusterId([1; 16]), Nanos(1), 3);
        let member =
            |id| Member { id: NodeId(id), peer: String::new(), client: String::new(), key: [id as u8; 32] };
        shared.board.post(Configuration::initial(&facts, &[0, 2, 7].map(member)));
        watch.work(Now::default(), &mut Wire::default()).unwrap();
        assert_eq!(watch.voters, [0, 2, 7].map(NodeId));
    }

    #[test]
    fn the_odd_node_diverges_and_hands_the_evidence_over() {
        let mut nodes = [node(0, 5, 0), node(1, 5, 0), node(2, 5, 1)];
        let at = |millis| Now { mono: Nanos::from_millis(millis), wall: Nanos::ZERO };
        for millis in [100, 200] {
            for from in 0..3 {
                let mut wire = Wire::default();
                nodes[from].0.work(at(millis), &mut wire).unwrap();
                for (to, kind, body) in wire.0 {
                    assert_eq!(kind, kind::DIGESTS);
                    nodes[to.0 as usize].0.hear(NodeId(from as u32), kind, &body, at(millis));
                }
            }
        }
        assert_eq!(nodes.each_ref().map(|node| node.1.has_diverged()), [false, false, true]);
        let mut wire = Wire::default();
        let (odd, _, notes) = &mut nodes[2];
        odd.work(at(201), &mut wire).unwrap();
        assert!(wire.0.is_empty(), "it tells nobody anything any more");
        assert_eq!(odd.next_deadline(), None);
        let (head, text) = Note::ref_from_prefix(notes.peek().expect("the evidence")).unwrap();
        assert_eq!(head.kind.get(), EVIDENCE);
        let text = String::from_utf8_lossy(text);
        assert!(
            text.starts_with("node 2: the output hash at batch 3 is") && text.contains("records 3 to 3"),
            "{text}"
        );
    }

    /// As much as another node may send fits into the ring to the guard, and back.
    #[test]
    fn the_longest_range_goes_through() {
        let (mut sender, mut receiver) = spsc::channel(crate::RING);
        for kind in [GIVE, PULLED] {
            let longest = vec![7; ordain_journal::PULL_MAX as usize];
            assert!(put(&mut sender, Note::of(kind), &longest));
            assert_eq!(receiver.peek().map(<[u8]>::len), Some(size_of::<Note>() + longest.len()));
            receiver.release();
        }
    }

    #[test]
    fn what_is_not_committed_is_told_to_nobody() {
        let (mut watch, shared, _notes) = node(0, 5, 0);
        shared.committed.store(2);
        let mut wire = Wire::default();
        let now = Now { mono: Nanos::from_millis(100), wall: Nanos::ZERO };
        watch.work(now, &mut wire).unwrap();
        let (_, _, body) = &wire.0[0];
        assert_eq!((body[0], body[8]), (1, 2));
        assert_eq!(watch.next_deadline(), None);
        shared.committed.store(5);
        assert_eq!(watch.next_deadline(), Some(now.mono.plus(crate::agree::INTERVAL.0)));
    }
}
