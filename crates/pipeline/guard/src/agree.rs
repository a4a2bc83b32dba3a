//! Whether the nodes of a cluster computed the same: what each of them has at each batch, exchanged and compared.
//!
//! Of each batch that is committed and applied a node tells the others two numbers: the output hash, which is
//! over every reply and output since the first batch, and the beginning of the log's chain value in front of the
//! batch. Both are chains, so that two nodes that have the same at a batch had the same at all before. Where two differ the voters decide:
//! a node whose number is not the majority's is the odd one, stops, and leaves evidence. Pure: no peer, no disk.

use core::fmt;
use ordain_agent::digests::Digests;
use ordain_agent::planted::{self, Mistake};
use ordain_types::{BatchIndex, Nanos, NodeId};
use std::collections::VecDeque;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// How often a node tells the others: often enough for a fault to be found while it matters little, and rarely
/// enough to cost nothing beside a heartbeat.
pub const INTERVAL: Nanos = Nanos(20 * Nanos::MILLI);
/// Batches in one frame: 16 KiB. At four frames in a turn a node keeps up with 200,000 batches a second.
pub const ENTRIES_MAX: usize = 1024;
/// Batches told first on a new connection, so that where two differ already the first one can be named.
const REACH: u64 = ENTRIES_MAX as u64;
/// Batches told by a node that are remembered until this one has come to them: 384 KiB a node. Later ones are
/// not remembered, and the first one that differs is named less exactly.
const HEARD: usize = 16 * ENTRIES_MAX;
/// Batches of a node that differs which are remembered, to find out who is of one mind with it.
const MINDED: usize = 256;
/// How long those are waited for that could decide between two nodes, before the follower of the two gives way.
const PATIENCE: u64 = Nanos::SECOND;

/// What stands in front of the entries of a frame. Layout: `docs/format/peer.md`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Head {
    first: U64,
    count: U32,
    /// CRC32C of the two numbers and the entries: a bit that flips on the way must not stop a node.
    crc: U32,
}

/// What a node has at a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Entry {
    output: U64,
    /// 0 if it is not at hand.
    chain: U64,
}

/// Bytes of the longest frame's body.
pub const BODY_MAX: usize = size_of::<Head>() + ENTRIES_MAX * size_of::<Entry>();

/// What of two nodes differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The log itself.
    Chain,
    /// What came of it.
    Output,
    /// The state that a snapshot holds.
    State,
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Chain => "chain value of the log",
            Self::Output => "output hash",
            Self::State => "hash of the state",
        })
    }
}

/// The first batch at which a node was seen to have something else than this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Difference {
    batch: BatchIndex,
    /// The last one at which they had the same.
    after: BatchIndex,
    what: What,
    own: u64,
    theirs: u64,
}

/// Another node.
#[derive(Debug)]
struct Peer {
    id: NodeId,
    up: bool,
    /// What it told and this node has not come to; once it differs, what it told last.
    heard: VecDeque<(BatchIndex, Entry)>,
    /// Hashes of states that it told: last batch and hash.
    states: VecDeque<(BatchIndex, u64)>,
    /// The same as it told them only once: what announces them has no checksum.
    unsure: VecDeque<(BatchIndex, u64)>,
    /// Last batch at which both had the same.
    agreed: BatchIndex,
    /// Last batch behind which both had the same state.
    same_state: BatchIndex,
    /// Last batch that it was told of.
    told: BatchIndex,
    differs: Option<Difference>,
    warned: bool,
}

/// States of each node that are remembered: snapshots are kept in pairs.
const STATES: usize = 4;

/// What this node has.
pub struct Own<'a> {
    /// Of each recent batch.
    pub digests: &'a Digests,
    /// Up to here everything is committed and applied.
    pub limit: BatchIndex,
    /// Those who vote.
    pub voters: &'a [NodeId],
    /// Who leads, as far as is known.
    pub leader: Option<NodeId>,
}

impl Own<'_> {
    fn entry(&self, batch: BatchIndex) -> Option<Entry> {
        let digest = self.digests.get(batch)?;
        Some(Entry { output: digest.output.into(), chain: digest.chain.into() })
    }
}

/// The beginning of a hash: enough to find faults, and it does not find forgers anyway.
fn short(hash: &[u8; 32]) -> u64 {
    u64::from_le_bytes(hash[..8].try_into().expect("eight bytes"))
}

/// Why a node must not serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// This node.
    pub node: NodeId,
    /// What differs.
    pub what: What,
    /// The first batch at which it was seen to differ.
    pub batch: BatchIndex,
    /// The last batch at which it did not. The fault lies behind it.
    pub after: BatchIndex,
    /// First and last record of the batches between, if they are at hand.
    pub records: Option<(u64, u64)>,
    /// What this node has at the batch.
    pub own: u64,
    /// What others have there.
    pub theirs: Vec<(NodeId, u64)>,
    /// Whether those others are a majority. If not, it is not known which of them is right.
    pub majority: bool,
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { node, what, batch, after, records, own, theirs, majority } = self;
        write!(f, "node {node}: the {what} at batch {batch} is {own:016x}, but ")?;
        for (at, (other, hash)) in theirs.iter().enumerate() {
            let and = if at > 0 { " and " } else { "" };
            write!(f, "{and}{hash:016x} on node {other}")?;
        }
        write!(f, "; they had the same at batch {after}")?;
        if let Some((first, last)) = records {
            write!(f, "; the batches between hold records {first} to {last}")?;
        }
        f.write_str(match majority {
            true => "; the others are the majority",
            false => "; no third node could be asked, so it is not known which of them is right",
        })
    }
}

/// What has come of comparing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// This node is the odd one.
    Odd(Evidence),
    /// Others are, or this node leads and it is not known who is: said once for each of them.
    Others(Evidence),
}

/// See the module.
#[derive(Debug)]
pub struct Agree {
    id: NodeId,
    peers: Vec<Peer>,
    /// Last batch and hash of this node's snapshots.
    states: VecDeque<(BatchIndex, u64)>,
    /// When the others are told next.
    due: Nanos,
    /// Since when somebody is known to differ.
    since: Option<Nanos>,
}

/// A frame that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl Agree {
    /// A node that was told nothing.
    #[must_use]
    pub const fn new(id: NodeId) -> Self {
        Self { id, peers: Vec::new(), states: VecDeque::new(), due: Nanos::ZERO, since: None }
    }

    fn peer(&mut self, id: NodeId) -> &mut Peer {
        let at = self.peers.iter().position(|peer| peer.id == id).unwrap_or_else(|| {
            self.peers.push(Peer {
                id,
                up: false,
                heard: VecDeque::new(),
                states: VecDeque::new(),
                unsure: VecDeque::new(),
                agreed: BatchIndex::ZERO,
                same_state: BatchIndex::ZERO,
                told: BatchIndex::ZERO,
                differs: None,
                warned: false,
            });
            self.peers.len() - 1
        });
        &mut self.peers[at]
    }

    /// A connection stands: whatever the node was in an earlier life, it may be another now.
    pub fn up(&mut self, id: NodeId) {
        let peer = self.peer(id);
        peer.up = true;
        if peer.differs.is_some() {
            (peer.agreed, peer.same_state) = (BatchIndex::ZERO, BatchIndex::ZERO);
        }
        peer.heard.clear();
        peer.states.clear();
        peer.unsure.clear();
        peer.differs = None;
        peer.warned = false;
        peer.told = BatchIndex::ZERO;
    }

    /// The state was given up and built anew: what it agreed with before says nothing of what it is now.
    pub fn rebuilt(&mut self) {
        for peer in &mut self.peers {
            (peer.agreed, peer.same_state) = (BatchIndex::ZERO, BatchIndex::ZERO);
            peer.differs = None;
        }
    }

    /// The connection broke. What the node had told stays: it counts where others are to be judged.
    pub fn down(&mut self, id: NodeId) {
        self.peer(id).up = false;
    }

    /// Takes the body of a frame from another node.
    ///
    /// # Errors
    /// [`Malformed`]; nothing is taken.
    pub fn hear(&mut self, from: NodeId, body: &[u8]) -> Result<(), Malformed> {
        let (head, rest) = Head::ref_from_prefix(body).map_err(|_| Malformed)?;
        let count = head.count.get() as usize;
        let entries = <[Entry]>::ref_from_bytes(rest).map_err(|_| Malformed)?;
        let first = head.first.get();
        let sum = checksum(body);
        let in_range = first > 0 && first.checked_add(count as u64).is_some_and(|end| end < 1 << 63);
        if count != entries.len() || count > ENTRIES_MAX || head.crc.get() != sum || !in_range {
            return Err(Malformed);
        }
        let peer = self.peer(from);
        for (batch, entry) in (first..).map(BatchIndex).zip(entries) {
            if peer.differs.is_some() && peer.heard.len() >= MINDED {
                peer.heard.pop_front();
            }
            let is_next = peer.heard.back().is_none_or(|last| last.0 < batch);
            if is_next && batch > peer.agreed && peer.heard.len() < HEARD {
                peer.heard.push_back((batch, *entry));
            }
        }
        Ok(())
    }

    /// Takes the hash of the state that another node's snapshot behind `batch` holds. It counts once it was told
    /// twice.
    pub fn hear_state(&mut self, from: NodeId, batch: BatchIndex, hash: &[u8; 32]) {
        let (peer, told) = (self.peer(from), (batch, short(hash)));
        if batch <= peer.same_state {
            return;
        }
        match peer.unsure.contains(&told) {
            true => note(&mut peer.states, told.0, told.1),
            false => {
                peer.unsure.retain(|known| known.0 != batch);
                note(&mut peer.unsure, told.0, told.1);
            }
        }
    }

    /// Takes the hash of the state that this node's snapshot behind `batch` holds.
    pub fn note_state(&mut self, batch: BatchIndex, hash: &[u8; 32]) {
        note(&mut self.states, batch, short(hash));
    }

    /// Whether it is time to tell the others; at most once in [`INTERVAL`].
    pub fn is_due(&mut self, now: Nanos) -> bool {
        let due = self.due <= now;
        if due {
            self.due = now.plus(INTERVAL.0);
        }
        due
    }

    /// When it is time to tell somebody something, or to judge.
    #[must_use]
    pub fn next_deadline(&self, limit: BatchIndex) -> Option<Nanos> {
        let owes = self.peers.iter().any(|peer| peer.up && peer.told < limit);
        (owes || self.since.is_some()).then_some(self.due)
    }

    /// The `at`th node that was ever connected, and whether it is.
    #[must_use]
    pub fn node(&self, at: usize) -> Option<(NodeId, bool)> {
        self.peers.get(at).map(|peer| (peer.id, peer.up))
    }

    /// Writes what node `to` is to be told next into `body`, at most `room` bytes; `false` if it knows everything, or
    /// if that is not even room for one batch.
    pub fn tell(&mut self, to: NodeId, own: &Own<'_>, room: usize, body: &mut Vec<u8>) -> bool {
        let most = (room.saturating_sub(size_of::<Head>()) / size_of::<Entry>()).min(ENTRIES_MAX);
        if most == 0 {
            return false;
        }
        let peer = self.peer(to);
        let first = peer.told.max(peer.agreed).max(BatchIndex(own.limit.0.saturating_sub(REACH))).next();
        body.clear();
        body.extend_from_slice(&[0; size_of::<Head>()]);
        let mut count = 0u32;
        let mut begin = first;
        for batch in (first.0..=own.limit.0).map(BatchIndex) {
            match own.entry(batch) {
                Some(entry) => body.extend_from_slice(entry.as_bytes()),
                // Before what this life has applied.
                None if count == 0 => {
                    begin = batch.next();
                    continue;
                }
                None => break,
            }
            count += 1;
            if count as usize == most {
                break;
            }
        }
        if count == 0 {
            peer.told = peer.told.max(own.limit);
            return false;
        }
        peer.told = BatchIndex(begin.0 + u64::from(count) - 1);
        let mut head = Head { first: begin.0.into(), count: count.into(), crc: 0.into() };
        body[..size_of::<Head>()].copy_from_slice(head.as_bytes());
        head.crc = checksum(body).into();
        body[..size_of::<Head>()].copy_from_slice(head.as_bytes());
        true
    }

    /// The node could not be sent what [`Agree::tell`] wrote: it is told again.
    pub fn untold(&mut self, to: NodeId, body: &[u8]) {
        let (head, _) = Head::ref_from_prefix(body).expect("what tell wrote");
        self.peer(to).told = BatchIndex(head.first.get() - 1);
    }

    /// Compares what was heard with what this node has come to, and says what follows from it.
    pub fn judge(&mut self, now: Nanos, own: &Own<'_>) -> Option<Verdict> {
        for peer in &mut self.peers {
            peer.compare(own, &self.states);
        }
        if self.peers.iter().all(|peer| peer.differs.is_none()) {
            self.since = None;
            return None;
        }
        let waited = now.since(*self.since.get_or_insert(now)) > PATIENCE;
        let votes = |id: NodeId| own.voters.contains(&id);
        let majority = own.voters.len() / 2 + 1;
        for at in 0..self.peers.len() {
            let peer = &self.peers[at];
            let Some(difference) = peer.differs else { continue };
            let voters = || self.peers.iter().filter(|other| votes(other.id));
            let theirs = voters().filter(|other| peer.is_of_one_mind(other) == Some(true)).count();
            if theirs >= majority {
                return Some(Verdict::Odd(self.evidence(peer, &difference, own, true)));
            }
            let reached = |other: &Peer| match difference.what {
                What::State => other.same_state >= difference.batch,
                What::Chain | What::Output => other.agreed >= difference.batch,
            };
            let is_ours = |other: &Peer| match other.differs {
                Some(_) => peer.is_of_one_mind(other) == Some(false) && reached(other),
                None => reached(other),
            };
            let ours = usize::from(votes(self.id)) + voters().filter(|other| is_ours(other)).count();
            let settled = ours >= majority;
            let undecided = voters().any(|other| {
                let is_with_us = other.differs.is_none() && reached(other);
                other.up && peer.is_of_one_mind(other).is_none() && !is_with_us
            });
            if !settled && undecided && !waited {
                continue;
            }
            if !settled && own.leader == Some(peer.id) {
                return Some(Verdict::Odd(self.evidence(peer, &difference, own, false)));
            }
            if (settled || own.leader == Some(self.id)) && !peer.warned {
                let evidence = self.evidence(peer, &difference, own, settled);
                self.peers[at].warned = true;
                return Some(Verdict::Others(evidence));
            }
        }
        None
    }

    /// Nodes that were found to have something else.
    #[must_use]
    pub fn differing(&self) -> usize {
        self.peers.iter().filter(|peer| peer.differs.is_some()).count()
    }

    /// Last batch at which a node had what this one has.
    #[must_use]
    pub fn agreed(&self, id: NodeId) -> BatchIndex {
        self.peers.iter().find(|peer| peer.id == id).map_or(BatchIndex::ZERO, |peer| peer.agreed)
    }

    fn evidence(&self, peer: &Peer, difference: &Difference, own: &Own<'_>, majority: bool) -> Evidence {
        let Difference { batch, after, what, own: own_hash, .. } = *difference;
        let same = |other: &&Peer| peer.is_of_one_mind(other) == Some(true);
        let theirs = self.peers.iter().filter(same).map(|other| (other.id, difference.theirs)).collect();
        let records = (own.digests.get(after).zip(own.digests.get(batch)))
            .map(|(before, behind)| (before.next_seq, behind.next_seq.saturating_sub(1)));
        Evidence { node: self.id, what, batch, after, records, own: own_hash, theirs, majority }
    }
}

/// Over a body without its checksum.
fn checksum(body: &[u8]) -> u32 {
    let (numbers, rest) = body.split_at(size_of::<Head>());
    crc32c::crc32c_append(crc32c::crc32c(&numbers[..size_of::<Head>() - size_of::<U32>()]), rest)
}

fn note(states: &mut VecDeque<(BatchIndex, u64)>, batch: BatchIndex, hash: u64) {
    if states.iter().any(|known| known.0 == batch) {
        return;
    }
    if states.len() == STATES {
        states.pop_front();
    }
    states.push_back((batch, hash));
}

impl Peer {
    fn compare(&mut self, own: &Own<'_>, states: &VecDeque<(BatchIndex, u64)>) {
        if self.differs.is_some() {
            return;
        }
        while let Some((batch, theirs)) = self.heard.front().copied() {
            if batch > own.limit {
                break;
            }
            self.heard.pop_front();
            // Too old to be remembered: a later one will tell.
            let Some(mine) = own.entry(batch) else { continue };
            let known = mine.chain.get() != 0 && theirs.chain.get() != 0;
            let differs = if known && mine.chain != theirs.chain {
                Some((What::Chain, mine.chain, theirs.chain))
            } else if mine.output != theirs.output && !planted::is(Mistake::OutputsNotCompared) {
                Some((What::Output, mine.output, theirs.output))
            } else {
                None
            };
            if let Some((what, mine, theirs)) = differs {
                self.found(batch, self.agreed, what, mine.get(), theirs.get());
                return;
            }
            self.agreed = batch;
        }
        for (batch, theirs) in core::mem::take(&mut self.states) {
            match states.iter().find(|state| state.0 == batch) {
                Some((_, mine)) if *mine != theirs => {
                    // Nothing that was compared before says anything about a state.
                    self.found(batch, BatchIndex::ZERO, What::State, *mine, theirs);
                    return;
                }
                Some(_) => self.same_state = self.same_state.max(batch),
                None => self.states.push_back((batch, theirs)),
            }
        }
    }

    /// Whether another node that differs from this one has the same as this node that does; `None` while that
    /// cannot be told.
    fn is_of_one_mind(&self, other: &Self) -> Option<bool> {
        if self.id == other.id {
            return Some(true);
        }
        let (one, two) = (self.differs?, other.differs?);
        if (one.batch, one.what) == (two.batch, two.what) {
            return Some(one.theirs == two.theirs);
        }
        if one.what == What::State || two.what == What::State {
            return Some(false);
        }
        // Found at different batches, be it that they told different ones: what have they told since?
        self.heard.iter().rev().find_map(|(batch, entry)| {
            let at = other.heard.binary_search_by_key(batch, |known| known.0).ok()?;
            Some(*entry == other.heard[at].1)
        })
    }

    fn found(&mut self, batch: BatchIndex, after: BatchIndex, what: What, own: u64, theirs: u64) {
        self.differs = Some(Difference { batch, after, what, own, theirs });
        let beyond = self.heard.len().saturating_sub(MINDED);
        self.heard.drain(..beyond);
    }
}

#[cfg(test)]
mod tests;
