//! What a state is: nodes, reigns, and the smallest of the states that differ in the nodes' names only.

use crate::rule::{End, Grant};
use std::hash::{Hash, Hasher};

/// Most batches in a log.
pub const LONGEST: usize = 6;
/// Most terms, from 1.
pub const TERMS: usize = 4;

/// What a batch changes besides the application's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing.
    None,
    /// The ack policy, by its place in the list of policies (R6).
    Policy(u8),
    /// The voters, as a set of bits (R8).
    Voters(u8),
}

/// A batch: its term, and in the upper five bits what it changes. A term has one leader, so term and index name
/// a batch.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Batch(u8);

impl Batch {
    /// A batch of a term from 1 to [`TERMS`].
    #[must_use]
    pub const fn new(term: u8, change: Change) -> Self {
        Self(match change {
            Change::None => term,
            Change::Policy(place) => term | (place + 1) << 3,
            Change::Voters(set) => term | 0x80 | set << 3,
        })
    }

    /// Its term.
    #[must_use]
    pub const fn term(self) -> u8 {
        self.0 & 7
    }

    /// What it changes.
    #[must_use]
    pub const fn change(self) -> Change {
        match (self.0 >> 7, self.0 >> 3 & 15) {
            (0, 0) => Change::None,
            (0, place) => Change::Policy(place - 1),
            (_, set) => Change::Voters(set),
        }
    }
}

/// Batches, numbered from 1.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Log {
    len: u8,
    batches: [Batch; LONGEST],
}

impl Log {
    /// How many batches it has.
    #[must_use]
    pub const fn len(&self) -> u8 {
        self.len
    }

    /// Whether it has none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Its batches.
    #[must_use]
    pub fn batches(&self) -> &[Batch] {
        &self.batches[..usize::from(self.len)]
    }

    /// The batch with an index from 1.
    #[must_use]
    pub fn get(&self, index: u8) -> Option<Batch> {
        self.batches().get(usize::from(index).checked_sub(1)?).copied()
    }

    /// The term of a batch; index 0 has term 0.
    #[must_use]
    pub fn term_at(&self, index: u8) -> Option<u8> {
        if index == 0 { Some(0) } else { self.get(index).map(Batch::term) }
    }

    /// Term and index of the last batch.
    #[must_use]
    pub fn end(&self) -> End {
        (self.batches().last().map_or(0, |batch| batch.term()), self.len)
    }

    /// Adds a batch.
    pub fn push(&mut self, batch: Batch) {
        self.batches[usize::from(self.len)] = batch;
        self.len += 1;
    }

    /// Keeps the first batches.
    pub fn truncate(&mut self, len: u8) {
        if len < self.len {
            self.batches[usize::from(len)..].fill(Batch::default());
            self.len = len;
        }
    }

    /// Whether this log begins with the first `len` batches of `other`.
    #[must_use]
    pub fn has(&self, other: &Self, len: u8) -> bool {
        len <= self.len && self.batches()[..usize::from(len)] == other.batches()[..usize::from(len)]
    }

    fn map_voters(&mut self, map: impl Fn(u8) -> u8) {
        for batch in &mut self.batches[..usize::from(self.len)] {
            if let Change::Voters(set) = batch.change() {
                *batch = Batch::new(batch.term(), Change::Voters(map(set)));
            }
        }
    }
}

/// What a node is in its term.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Follows, or waits.
    #[default]
    Follower,
    /// Asks for votes.
    Candidate,
    /// Leads.
    Leader,
}

/// A vote that a candidate has: its worth, and the weakest policy that the voter knew (R6).
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ballot {
    /// Its worth.
    pub grant: Grant,
    /// The policy's place in the list.
    pub policy: u8,
}

/// A node: what is on its disk, then what is in its memory.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Node<const N: usize> {
    /// Latest term it knows.
    pub term: u8,
    /// It voted in this term. For whom does not matter: a repeated answer is possible while the candidate has one.
    pub voted: bool,
    /// Highest term in which it took a batch, or led.
    pub ack_term: u8,
    /// What it owes (R2); zero if nothing.
    pub floor: End,
    /// It lost batches that it had synced, and is not repaired.
    pub suspect: bool,
    /// It lost its disk, and no leader has found it whole (R9).
    pub blank: bool,
    /// Batches that survive whatever comes, but for a disk that breaks its word.
    pub durable: u8,
    /// How far `durable` is known to be on disk after a restart.
    pub watermark: u8,
    /// Batches that survive the process: the kernel has them.
    pub written: u8,
    /// Batches that it has in any form.
    pub log: Log,
    /// How far it knows its log to be that of its term's leader. Of a leader: where its log ended when it won.
    pub matched: u8,
    /// How far it knows the log to be committed.
    pub commit: u8,
    /// What it is.
    pub role: Role,
    /// Votes, if it is a candidate.
    pub ballots: [Ballot; N],
}

/// What the leader of a term believes of a node, and what its frames for the node's present life say.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Peer {
    /// The leader heard of the present life: frames for it may be under way.
    pub met: bool,
    /// Where the leader's log ended when it heard.
    pub mark: u8,
    /// All others confirmed the term since it heard (R9).
    pub admits: bool,
    /// Acknowledged in the latest life that the leader heard of.
    pub received: u8,
    /// As `received`.
    pub durable: u8,
}

/// A term that had a leader. It outlives the leader: its frames may still be under way.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reign<const N: usize> {
    /// Who leads or led; `None` if the term had no leader, or nothing of it is under way any more.
    pub leader: Option<u8>,
    /// The leader's log as it was last.
    pub log: Log,
    /// How many batches of it were committed in this term.
    pub commit: u8,
    /// It was won by votes in all, not by strong ones.
    pub weak: bool,
    /// By node.
    pub peers: [Peer; N],
}

/// A state of the whole cluster and its network.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cluster<const N: usize> {
    /// Nodes, in no particular order.
    pub nodes: [Node<N>; N],
    /// By term, from 1.
    pub reigns: [Reign<N>; TERMS],
    /// Voters at the beginning, as a set of bits.
    pub voters: u8,
    /// Faults that may still happen: power losses, ends of processes, disks that break their word, disks that are lost.
    pub faults: [u8; 4],
    /// Two nodes won the same term.
    pub two_leaders: bool,
}

impl<const N: usize> Cluster<N> {
    /// New nodes.
    #[must_use]
    pub fn new(voters: u8, faults: [u8; 4]) -> Self {
        let node = Node {
            term: 0,
            voted: false,
            ack_term: 0,
            floor: (0, 0),
            suspect: false,
            blank: false,
            durable: 0,
            watermark: 0,
            written: 0,
            log: Log::default(),
            matched: 0,
            commit: 0,
            role: Role::Follower,
            ballots: [Ballot::default(); N],
        };
        let reign =
            Reign { leader: None, log: Log::default(), commit: 0, weak: false, peers: [Peer::default(); N] };
        Self { nodes: [node; N], reigns: [reign; TERMS], voters, faults, two_leaders: false }
    }

    /// The reign of a term from 1.
    #[must_use]
    pub const fn reign(&self, term: u8) -> &Reign<N> {
        &self.reigns[term as usize - 1]
    }

    /// As [`Cluster::reign`].
    pub const fn reign_mut(&mut self, term: u8) -> &mut Reign<N> {
        &mut self.reigns[term as usize - 1]
    }

    /// The node that leads this term now.
    #[must_use]
    pub fn leads(&self, term: u8) -> Option<usize> {
        let node = usize::from(self.reign(term).leader?);
        (self.nodes[node].role == Role::Leader && self.nodes[node].term == term).then_some(node)
    }

    /// The state in which node `order[i]` of this one is node `i`.
    #[must_use]
    pub fn renamed(&self, order: &[u8; N]) -> Self {
        let place = |node: u8| order.iter().position(|&was| was == node).expect("a permutation") as u8;
        let map = |set: u8| {
            (0..N as u8).filter(|node| set >> node & 1 == 1).fold(0, |to, node| to | 1 << place(node))
        };
        let moved = |i: usize| usize::from(order[i]);
        let mut to = *self;
        to.voters = map(self.voters);
        for i in 0..N {
            to.nodes[i] = self.nodes[moved(i)];
            to.nodes[i].ballots = std::array::from_fn(|j| self.nodes[moved(i)].ballots[moved(j)]);
            to.nodes[i].log.map_voters(map);
        }
        for (reign, was) in to.reigns.iter_mut().zip(&self.reigns) {
            reign.leader = was.leader.map(place);
            reign.peers = std::array::from_fn(|j| was.peers[moved(j)]);
            reign.log.map_voters(map);
        }
        to
    }

    /// The least of the states that differ in the nodes' names only, and which node took which place.
    #[must_use]
    pub fn canonical(&self) -> (Self, [u8; N]) {
        // Names in logs and ballots are left out of the first comparison, for they change with the names.
        let mut keys = [(0, 0, Role::Follower, 0, 0, 0, (0, 0)); N];
        for (key, node) in keys.iter_mut().zip(&self.nodes) {
            let local = u8::from(node.voted) | u8::from(node.suspect) << 1 | u8::from(node.blank) << 2;
            *key = (node.term, local, node.role, node.log.end().0, node.log.len(), node.durable, node.floor);
        }
        let mut least: Option<(Self, [u8; N])> = None;
        let mut order: [u8; N] = std::array::from_fn(|i| i as u8);
        permutations(&mut order, 0, &mut |order| {
            if order.windows(2).all(|pair| keys[usize::from(pair[0])] <= keys[usize::from(pair[1])]) {
                let renamed = self.renamed(order);
                if least.as_ref().is_none_or(|(least, _)| renamed < *least) {
                    least = Some((renamed, *order));
                }
            }
        });
        least.expect("one order is sorted")
    }
}

/// Searches live by this: one write of few bytes.
impl<const N: usize> Hash for Cluster<N> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let mut bytes = [0; 384];
        let mut len = 0;
        let mut put = |more: &[u8]| {
            bytes[len..len + more.len()].copy_from_slice(more);
            len += more.len();
        };
        for node in &self.nodes {
            let flags = node.role as u8 | u8::from(node.voted) << 2 | u8::from(node.suspect) << 3;
            let flags = flags | u8::from(node.blank) << 4;
            put(&[node.term, flags, node.ack_term, node.floor.0, node.floor.1]);
            put(&[node.durable, node.watermark, node.written, node.matched, node.commit, node.log.len]);
            put(&node.log.batches.map(|batch| batch.0));
            // Only candidates have votes.
            if node.role == Role::Candidate {
                put(&node.ballots.map(|ballot| ballot.grant as u8 | ballot.policy << 2));
            }
        }
        for reign in &self.reigns {
            put(&[reign.leader.unwrap_or(u8::MAX), reign.commit << 1 | u8::from(reign.weak), reign.log.len]);
            put(&reign.log.batches.map(|batch| batch.0));
            // Without a leader nothing is known of peers.
            if reign.leader.is_some() {
                put(&reign
                    .peers
                    .map(|peer| u8::from(peer.met) | peer.mark << 1 | u8::from(peer.admits) << 5));
                put(&reign.peers.map(|peer| peer.received << 4 | peer.durable));
            }
        }
        put(&[self.voters, u8::from(self.two_leaders)]);
        put(&self.faults);
        state.write(&bytes[..len]);
    }
}

fn permutations<const N: usize>(order: &mut [u8; N], at: usize, visit: &mut impl FnMut(&[u8; N])) {
    if at == N {
        visit(order);
    }
    for other in at..N {
        order.swap(at, other);
        permutations(order, at + 1, visit);
        order.swap(at, other);
    }
}
