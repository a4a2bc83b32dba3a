//! What the checkers know of the logs: every node's written batches as its disk holds them, the committed
//! ones, and which node ever held a copy of what.

use crate::configs::{Configs, voters, wrong_step};
use crate::disk::{Store, StoreHandle};
use crate::plan::Plan;
use crate::trace::Trace;
use ordain_agent::disk::FileId;
use ordain_node::journal::Floor;
use ordain_types::batch::{BATCH_HEADER, BatchView, chain};
use ordain_types::configuration::Stage;
use ordain_types::{
    BatchHeader, BatchIndex, BatchKind, Chain, Configuration, Nanos, Number, Seq, SessionId, Term,
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What the nodes that run take for the last configuration; `None` of one that does not run.
pub type Boards = [Option<Arc<Configuration>>];

/// Batches that every node seals for itself when a log begins: it has them whether it has written them or not.
const OPENING: u64 = 2;

/// A batch that some node has written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it starts.
    pub position: u64,
    /// Its bytes.
    pub len: usize,
    /// Its term.
    pub term: Term,
    /// Its time.
    pub time: Nanos,
    /// What it holds.
    pub kind: BatchKind,
    /// Seq of its first record.
    pub first_seq: u64,
    /// Records.
    pub count: u64,
    /// Its chain value: equal values mean equal bytes here and before.
    pub chain: Chain,
}

/// The batches of one node, from the first.
#[derive(Debug)]
struct Shadow {
    entries: Vec<Entry>,
    /// The configurations in them.
    configs: Configs,
    /// Of them, how many were compared with what is committed.
    compared: usize,
    /// Of them, how many were seen to be durable.
    durable: usize,
    /// Of them, how many may count as received.
    received: usize,
    /// The node's disk was lost, and until it is whole again what it has counts for nothing (R9).
    blank: bool,
}

impl Shadow {
    const fn empty(configs: Configs) -> Self {
        Self { entries: Vec::new(), configs, compared: 0, durable: 0, received: 0, blank: false }
    }

    /// The log ends behind so many batches.
    fn truncate(&mut self, keep: usize) {
        self.entries.truncate(keep);
        let keep = self.entries.len();
        self.configs.truncate(keep as u64);
        self.durable = self.durable.min(keep);
        self.received = self.received.min(keep);
        self.compared = self.compared.min(keep);
    }
}

/// Who ever held a batch: one bit a node.
#[derive(Clone, Copy, Debug, Default)]
struct Copies {
    /// In memory, at most W batches ahead of the node's disk (rule R1).
    received: u32,
    durable: u32,
}

/// See the module.
#[derive(Debug)]
pub struct Logs {
    segment_size: u64,
    ring_size: u64,
    trace: Trace,
    nodes: Vec<Shadow>,
    committed: Vec<Entry>,
    /// The highest term that anybody had led in when each of them was seen to be committed: what a leader of an older term
    /// need not have, since it may have been committed with a batch of a later one.
    committed_by: Vec<u64>,
    /// The configurations in it.
    settled: Configs,
    /// Bytes of the committed batches.
    bytes: Vec<u8>,
    copies: BTreeMap<(u64, [u8; 32]), Copies>,
    /// Who sealed the first batch of a term.
    pub leaders: BTreeMap<u64, usize>,
    /// How far the leader of a term has committed while it led.
    reigns: BTreeMap<u64, u64>,
    /// How far any leader has.
    reached: u64,
    /// The highest level of behaviour that the build on each node has.
    pub builds: Vec<u16>,
}

impl Logs {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(plan: &Plan, trace: Trace) -> Self {
        Self {
            segment_size: plan.facts.segment_size,
            ring_size: plan.ring as u64,
            trace,
            nodes: (0..plan.machines()).map(|_| Shadow::empty(Configs::new(plan.configuration()))).collect(),
            committed: Vec::new(),
            committed_by: Vec::new(),
            settled: Configs::new(plan.configuration()),
            bytes: Vec::new(),
            copies: BTreeMap::new(),
            leaders: BTreeMap::new(),
            reigns: BTreeMap::new(),
            reached: 0,
            builds: vec![0; plan.machines()],
        }
    }

    fn place(&self, position: u64) -> (FileId, usize) {
        (FileId::Segment(position / self.segment_size), (position % self.segment_size) as usize)
    }

    /// Only what was durable is trimmed.
    fn is_trimmed(&self, store: &Store, position: u64) -> bool {
        position / self.segment_size < store.oldest_segment()
    }

    fn read<'a>(&self, store: &'a Store, position: u64) -> Option<&'a [u8]> {
        let (file, offset) = self.place(position);
        let head = store.written(file, offset, BATCH_HEADER)?;
        store.written(file, offset, BatchHeader::parse(head).ok()?.len())
    }

    /// Takes in what `node` says it has written, up to batch `written`, from its disk.
    pub fn follow(&mut self, node: usize, store: &Store, written: u64) {
        while (self.nodes[node].entries.len() as u64) < written {
            let last = self.nodes[node].entries.last().copied();
            let position = last.map_or(0, |last| last.position + last.len as u64);
            let index = self.nodes[node].entries.len() as u64 + 1;
            let view = self.read(store, position).map(BatchView::parse);
            let Some(Ok(view)) = view else {
                let what = format!(
                    "node {node} calls batch {index} at position {position} written; its disk has no whole batch there"
                );
                return self.trace.fail("written batches are on the disk", what);
            };
            let header = view.header;
            let previous = last.map_or(Chain::default(), |last| last.chain);
            let next_seq = last.map_or(1, |last| last.first_seq + last.count);
            if header.position().0 != position
                || header.index().0 != index
                || header.previous() != previous
                || header.first_seq().0 != next_seq
            {
                let what = format!("node {node} wrote batch {index} at {position} as {header:?}");
                return self.trace.fail("batches form one chain", what);
            }
            let entry = Entry {
                position,
                len: header.len(),
                term: header.term(),
                time: header.time(),
                kind: header.kind(),
                first_seq: header.first_seq().0,
                count: u64::from(header.count.get()),
                chain: chain(previous, view.bytes()),
            };
            if last.is_some_and(|last| last.time > entry.time) {
                let what = format!("node {node} wrote batch {index} as {entry:?} behind {last:?}");
                return self.trace.fail("log time never goes back", what);
            }
            if entry.kind == BatchKind::SegmentStart && position > 0 {
                self.trace.mark("segment wrapped");
                if position.is_multiple_of(self.ring_size) {
                    self.trace.mark("ring wrapped");
                }
            }
            match Configuration::of_batch(&view) {
                Ok(None) => {}
                Ok(Some(configuration)) => {
                    let (before, known) = self.nodes[node].configs.last();
                    if let Some(wrong) = self.wrong_change(&entry, (before, known), &configuration) {
                        let what = format!(
                            "{wrong}: node {node} wrote batch {index} of term {}, {configuration:?} behind {known:?}",
                            entry.term
                        );
                        return self.trace.fail("configurations change by the rule", what);
                    }
                    if let Some(old) = self.lacks_level(known, &configuration) {
                        let what = format!(
                            "node {node} wrote batch {index}: level {} begins, and node {old}, a member, has a build without it",
                            configuration.level
                        );
                        return self.trace.fail("a level begins where every member has it", what);
                    }
                    self.nodes[node].configs.push(index, configuration);
                }
                Err(error) => {
                    let what = format!("node {node} wrote batch {index}: {error}");
                    return self.trace.fail("batches form one chain", what);
                }
            }
            self.nodes[node].entries.push(entry);
        }
        self.note_received(node);
    }

    /// What is wrong with a configuration in batch `entry`, if anything (R8): it follows from the one before, which is
    /// committed, and its leader had committed something in its own term by then.
    fn wrong_change(
        &self,
        entry: &Entry,
        (before, known): (u64, &Configuration),
        next: &Configuration,
    ) -> Option<&'static str> {
        let reign = self.reigns.get(&entry.term.0).copied().unwrap_or(0);
        match () {
            () if reign == 0 => Some("the leader had committed nothing in its term"),
            () if reign < before => Some("the configuration before is not committed"),
            () => wrong_step(known, next),
        }
    }

    /// A member whose build lacks the level that `next` begins. Builds are only ever replaced by newer ones, so this is
    /// not for want of news.
    fn lacks_level(&self, before: &Configuration, next: &Configuration) -> Option<usize> {
        let mut members = before.members.iter().map(|seat| seat.member.id.0 as usize);
        members.find(|member| next.level > before.level && self.builds[*member] < next.level)
    }

    /// Remembers which of the node's batches may count as received.
    fn note_received(&mut self, node: usize) {
        let shadow = &mut self.nodes[node];
        let window = shadow.configs.window(shadow.durable as u64) as usize;
        let reach = (shadow.durable + window).min(shadow.entries.len());
        while shadow.received < reach {
            let chain = shadow.entries[shadow.received].chain.0;
            shadow.received += 1;
            let copies = self.copies.entry((shadow.received as u64, chain)).or_default();
            copies.received |= u32::from(!shadow.blank) << node;
        }
    }

    /// Remembers which of the node's batches its device holds now.
    pub fn note_durable(&mut self, node: usize, store: &Store) {
        while let Some(entry) = self.nodes[node].entries.get(self.nodes[node].durable).copied() {
            let (file, offset) = self.place(entry.position);
            if !self.is_trimmed(store, entry.position) && !store.is_durable(file, offset, entry.len) {
                break;
            }
            let index = self.nodes[node].durable as u64 + 1;
            if self.nodes[node].configs.at(index).0 == index {
                self.note_received(node); // With the W that counted up to here.
            }
            self.nodes[node].durable += 1;
            let counts = u32::from(!self.nodes[node].blank) << node;
            self.copies.entry((index, entry.chain.0)).or_default().durable |= counts;
        }
        self.note_received(node);
    }

    /// The node cuts its log behind batch `keep`.
    pub fn cut(&mut self, node: usize, keep: u64) {
        let shadow = &mut self.nodes[node];
        if (shadow.compared as u64) > keep {
            let what = format!("node {node} cuts behind batch {keep}, {} are committed", shadow.compared);
            self.trace.fail("nothing committed is cut", what);
        }
        shadow.truncate(keep as usize);
    }

    /// The node lost power: what is known of it is what its device held for certain.
    pub fn lost_power(&mut self, node: usize) {
        let shadow = &mut self.nodes[node];
        shadow.truncate(shadow.durable);
    }

    /// The node's disk has forgotten what is behind batch `keep`.
    pub fn rob(&mut self, node: usize, keep: u64) {
        self.nodes[node].truncate(keep as usize);
    }

    /// Behind batch `keep`, where a cut or recovery ended the log, the segments hold nothing, whatever power is lost.
    pub fn nothing_behind(&self, node: usize, store: &Store, keep: u64) {
        if keep > self.nodes[node].entries.len() as u64 {
            return; // Of what it keeps, not all was written yet.
        }
        if let Some(at) = store.first_byte_behind(self.end_of(node, keep), self.segment_size) {
            let what = format!("node {node} ended its log with batch {keep} and has bytes at position {at}");
            self.trace.fail("nothing stands behind the end of the log", what);
        }
    }

    /// What recovery found counts as synced.
    pub fn all_durable(&mut self, node: usize, store: &Store) {
        self.note_durable(node, store);
        let shadow = &self.nodes[node];
        if shadow.durable < shadow.entries.len() {
            let what = format!(
                "node {node} recovered {} batches, of which the device has {}",
                shadow.entries.len(),
                shadow.durable
            );
            self.trace.fail("what recovery found is on the disk", what);
        }
    }

    /// `node` tells the leader of `term` that it has `received` and synced `durable` batches of its log.
    pub fn acknowledges(&mut self, node: usize, store: &Store, term: u64, (received, durable): (u64, u64)) {
        self.note_durable(node, store);
        let (has, synced) = self.known(node);
        if received > has.max(OPENING) || durable > synced {
            let what = format!(
                "node {node} says that it has {received} batches, {durable} of them synced; it has {has}, {synced} of them \
                 synced"
            );
            return self.trace.fail("acknowledgements are true", what);
        }
        let Some(leader) = self.leaders.get(&term).map(|leader| &self.nodes[*leader].entries) else { return };
        let own = &self.nodes[node].entries;
        let (mine, its) = (received.checked_sub(1).map(|at| at as usize), leader);
        // Of a leader that leads no more, or has not written what it sent, nothing is known.
        let differs = mine
            .is_some_and(|at| its.get(at).zip(own.get(at)).is_some_and(|(its, own)| its.chain != own.chain));
        if differs && leader.last().is_some_and(|last| last.term.0 == term) {
            let what =
                format!("node {node} acknowledges batch {received} in term {term}, whose leader has another");
            self.trace.fail("acknowledgements are true", what);
        }
    }

    /// The node has started. If it began with a snapshot of what its log did not hold, another node sent it, and it
    /// stands for the committed batches up to there.
    pub fn succeeded(&mut self, node: usize, store: &Store) {
        let position = store.newest_snapshot();
        let at = self.committed.partition_point(|entry| entry.position < position);
        let (shadow, committed) = (&mut self.nodes[node], &self.committed[..at]);
        let Some(last) = committed.last() else { return };
        if shadow.entries.get(at - 1).is_some_and(|entry| entry.chain == last.chain) {
            return;
        }
        if last.position + last.len as u64 != position {
            let what = format!("node {node} has one at {position}, where no committed batch ends");
            return self.trace.fail("equal snapshots", what);
        }
        let (configs, blank) = (self.settled.up_to(at as u64), shadow.blank);
        *shadow =
            Shadow { entries: committed.to_vec(), configs, compared: at, durable: at, received: at, blank };
        if !blank {
            self.hold(node);
        }
    }

    /// What the node has counts, as far as it has it.
    fn hold(&mut self, node: usize) {
        let shadow = &self.nodes[node];
        for (at, entry) in shadow.entries[..shadow.received.max(shadow.durable)].iter().enumerate() {
            let copies = self.copies.entry((at as u64 + 1, entry.chain.0)).or_default();
            copies.received |= u32::from(at < shadow.received) << node;
            copies.durable |= u32::from(at < shadow.durable) << node;
        }
    }

    /// The node's disk is lost: it starts over without anything, and counts for nothing.
    pub fn lose(&mut self, node: usize) {
        self.nodes[node] = Shadow { blank: true, ..Shadow::empty(self.settled.up_to(0)) };
    }

    /// The node, whose disk was lost, says that it is whole: it has on its disk what it had in an earlier life, as far as
    /// that is committed, and counts from now on (R9).
    pub fn whole_again(&mut self, node: usize, store: &Store) {
        self.note_durable(node, store);
        let shadow = &self.nodes[node];
        if let Some(at) = self.lacks(node, shadow.durable) {
            let what = format!(
                "node {node} had batch {}, which is committed, lost its disk, has {} batches, {} of them synced, and \
                 calls itself whole",
                at + 1,
                shadow.entries.len(),
                shadow.durable
            );
            return self.trace.fail("who is whole again lacks nothing", what);
        }
        self.nodes[node].blank = false;
        self.hold(node);
    }

    /// The first batch that `node` held once and that is committed, and that is not among the first `has` of its log.
    fn lacks(&self, node: usize, has: usize) -> Option<usize> {
        let shadow = &self.nodes[node];
        (shadow.compared.min(has)..self.committed.len()).find(|at| {
            let chain = self.committed[*at].chain;
            let copies = self.copies.get(&(*at as u64 + 1, chain.0)).copied().unwrap_or_default();
            copies.received & (1 << node) != 0
                && shadow.entries[..has].get(*at).is_none_or(|entry| entry.chain != chain)
        })
    }

    /// The node has recovered a journal of `written` batches.
    pub fn recovered(&mut self, node: usize, written: u64) {
        let known = self.nodes[node].entries.len() as u64;
        if written < known {
            let what = format!("node {node} had {known} batches for certain and recovered {written}");
            self.trace.fail("the journal survives every crash", what);
        }
    }

    /// The log of `node`, now of `last` batches, is what the cluster goes on with: it counts as committed, by
    /// declaration, and nothing else does. The last record of it that clients may have heard of: its last, or where
    /// what was committed is another log, the last that both have.
    pub fn declare(&mut self, node: usize, store: &Store, last: u64) -> u64 {
        self.follow(node, store, last);
        let entries = &self.nodes[node].entries;
        let same = |(known, entry): &(&Entry, &Entry)| known.chain == entry.chain;
        let shared = self.committed.iter().zip(entries).take_while(same).count();
        let parts = shared < self.committed.len();
        self.committed.truncate(shared);
        self.committed_by.truncate(shared);
        self.settled.truncate(shared as u64);
        self.reached = self.reached.min(shared as u64);
        self.bytes.truncate(self.committed.last().map_or(0, |entry| entry.position as usize + entry.len));
        for shadow in &mut self.nodes {
            shadow.compared = shadow.compared.min(shared);
        }
        self.commit(node, store, last);
        let heard = if parts { shared } else { self.committed.len() };
        let heard = heard.checked_sub(1).map(|at| self.committed[at]);
        heard.map_or(0, |entry| entry.first_seq + entry.count - 1)
    }

    /// The node starts over without a log.
    pub fn set_aside(&mut self, node: usize) {
        self.nodes[node] = Shadow::empty(self.settled.up_to(0));
    }

    /// The configurations of `node`'s log as far as it is written.
    #[must_use]
    pub fn configs(&self, node: usize) -> &Configs {
        &self.nodes[node].configs
    }

    /// The configurations that are committed.
    #[must_use]
    pub const fn settled(&self) -> &Configs {
        &self.settled
    }

    /// Batches known to be written, and to be durable.
    #[must_use]
    pub fn known(&self, node: usize) -> (u64, u64) {
        (self.nodes[node].entries.len() as u64, self.nodes[node].durable as u64)
    }

    /// The last batch that `node` was seen to have written.
    #[must_use]
    pub fn end(&self, node: usize) -> Floor {
        let entries = &self.nodes[node].entries;
        let term = entries.last().map_or(Term::ZERO, |last| last.term);
        Floor { term, index: BatchIndex(entries.len() as u64) }
    }

    /// The term of batch `index` of `node`, in numbers, if it has written it.
    #[must_use]
    pub fn term_of(&self, node: usize, index: u64) -> Option<u64> {
        let entry = self.nodes[node].entries.get(index.checked_sub(1)? as usize)?;
        Some(entry.term.0)
    }

    /// Where batch `index` of `node` ends in the log.
    #[must_use]
    pub fn end_of(&self, node: usize, index: u64) -> u64 {
        let entry = index.checked_sub(1).and_then(|at| self.nodes[node].entries.get(at as usize));
        entry.map_or(0, |entry| entry.position + entry.len as u64)
    }

    /// Compares what `node` calls committed, as far as it has written it itself, with what anybody ever did.
    pub fn commit(&mut self, node: usize, store: &Store, committed: u64) {
        loop {
            let shadow = &self.nodes[node];
            let at = shadow.compared;
            let Some(entry) = shadow.entries.get(at).copied().filter(|_| (at as u64) < committed) else {
                return;
            };
            match self.committed.get(at) {
                Some(known) if known.chain == entry.chain => {}
                Some(known) => {
                    let what = format!(
                        "batch {} is {entry:?} on node {node} and was committed as {known:?}",
                        at + 1
                    );
                    return self.trace.fail("one committed prefix", what);
                }
                None => {
                    let Some(bytes) = self.read(store, entry.position) else {
                        return self
                            .trace
                            .fail("written batches are on the disk", format!("batch {}", at + 1));
                    };
                    self.bytes.extend_from_slice(bytes);
                    self.committed.push(entry);
                    self.committed_by.push(self.leaders.last_key_value().map_or(0, |(term, _)| *term));
                    if let (index, known) = self.nodes[node].configs.at(at as u64 + 1)
                        && index == at as u64 + 1
                    {
                        self.settled.push(index, Configuration::clone(known));
                        note_change(&self.trace, &self.settled);
                    }
                }
            }
            self.nodes[node].compared += 1;
        }
    }

    /// `node`, which had lost power, says that it lacks nothing any more (rule R5).
    pub fn rejoined(&self, node: usize) {
        // What was on a lost disk is asked for when the node calls itself whole.
        let shadow = &self.nodes[node];
        if let Some(at) = self.lacks(node, shadow.entries.len()).filter(|_| !shadow.blank) {
            let what = format!("node {node} once had batch {}, which is committed, and lacks it", at + 1);
            self.trace.fail("who drops its floor lacks nothing", what);
        }
    }

    /// `node` leads in `term`, whose number its disk has if `counts_itself`, and commits what is behind batch `before`
    /// up to batch `last` (Raft 5.4.2, R1, R6).
    pub fn leader_commits(
        &mut self,
        stores: &[StoreHandle],
        boards: &Boards,
        (node, term): (usize, u64),
        (before, last): (u64, u64),
        counts_itself: bool,
    ) {
        for (node, store) in stores.iter().enumerate() {
            self.note_durable(node, &store.lock());
        }
        // A leader that has just started commits anew what others have.
        let before = before.max(self.reached);
        self.reached = self.reached.max(last);
        let reign = self.reigns.entry(term).or_default();
        *reign = last.max(*reign);
        let shadow = &self.nodes[node];
        let Some(entry) = shadow.entries.get(last as usize - 1) else { return };
        if entry.term.0 != term {
            let what = format!("node {node} of term {term} commits up to {entry:?}");
            return self.trace.fail("leaders commit batches of their own term", what);
        }
        let mask = if counts_itself { u32::MAX } else { !(1 << node) };
        // Copies are of all up to a batch, so what is needed changes only where a configuration stands.
        for at in shadow.configs.places(before, last).chain([last]) {
            let chain = shadow.entries[at as usize - 1].chain;
            if let Err(found) = self.has_copies(node, boards, at, chain, mask) {
                let what = format!(
                    "node {node} of term {term}, counting itself: {counts_itself}, commits batch {last}; \
                     {found}"
                );
                return self.trace.fail("copies exist when a batch is committed", what);
            }
        }
    }

    /// Whether batch `index` of `node`, which has this chain value, has the copies that the log names, among those in
    /// `mask`; or what it has and needs. Voters are those of the log's last configuration at the time, and the time is
    /// not known exactly: it is when one of those was the last that stand behind the batch in this log, or that some
    /// node has in memory.
    fn has_copies(
        &self,
        node: usize,
        boards: &Boards,
        index: u64,
        chain: Chain,
        mask: u32,
    ) -> Result<(), String> {
        let copies = self.copies.get(&(index, chain.0)).copied().unwrap_or_default();
        let configs = &self.nodes[node].configs;
        let mut counted = Vec::new();
        for known in configs.from(index).chain(boards.iter().flatten()) {
            let among = voters(known) & mask;
            let found = ((copies.received & among).count_ones(), (copies.durable & among).count_ones());
            let needed = configs.needed(index, known.voter_count());
            if found.0 >= needed.0 && found.1 >= needed.1 {
                return Ok(());
            }
            counted.push((known.version, found, needed));
        }
        let known: Vec<_> = (0..self.nodes.len()).map(|node| self.known(node)).collect();
        Err(format!(
            "batch {index}: (version, (received, synced) copies, those needed) are {counted:?}; nodes have (written, \
             synced) {known:?}"
        ))
    }

    /// `node` leads in `term` with a log of `last` batches, some of which it may not have written yet.
    pub fn leads(&mut self, node: usize, term: u64, last: u64) {
        let known = *self.leaders.entry(term).or_insert(node);
        if known != node {
            let what = format!("nodes {known} and {node} both lead in term {term}");
            self.trace.fail("one leader a term", what);
        }
        let shadow = &self.nodes[node];
        let older = |at: &usize| self.committed[*at].term.0.max(self.committed_by[*at]) < term;
        let lacks = (shadow.compared..self.committed.len()).filter(older).find(|at| {
            shadow
                .entries
                .get(*at)
                .map_or(*at as u64 >= last, |entry| entry.chain != self.committed[*at].chain)
        });
        if let Some(at) = lacks {
            let what = format!(
                "node {node} leads in term {term} with {last} batches and lacks batch {}, committed as {:?}",
                at + 1,
                self.committed[at]
            );
            self.trace.fail("leaders have what is committed", what);
        }
    }

    /// A reply to (session, number) with `seq` leaves: do the copies exist that the log names?
    pub fn reply_leaves(&mut self, stores: &[StoreHandle], boards: &Boards, asked: Asked) {
        let mut found = Vec::new();
        for (node, store) in stores.iter().enumerate() {
            self.note_durable(node, &store.lock());
        }
        for (node, (shadow, store)) in self.nodes.iter().zip(stores).enumerate() {
            let entries = &shadow.entries;
            let at = entries.partition_point(|entry| entry.first_seq + entry.count <= asked.seq.0);
            let Some(entry) = entries.get(at).filter(|entry| entry.first_seq <= asked.seq.0) else {
                continue;
            };
            let store = store.lock();
            let bytes = match self.is_trimmed(&store, entry.position) {
                true => self.bytes.get(entry.position as usize..entry.position as usize + entry.len),
                false => self.read(&store, entry.position),
            };
            let Some(Ok(view)) = bytes.map(BatchView::parse) else { continue };
            let matches = view.records().flatten().any(|(seq, record)| {
                seq == asked.seq
                    && record.header.session() == asked.session
                    && record.header.number() == asked.number
            });
            if !matches {
                continue;
            }
            // An older leader may have written the same request at the same place in another batch.
            match self.has_copies(node, boards, at as u64 + 1, entry.chain, u32::MAX) {
                Ok(()) => return,
                Err(what) => found.push(what),
            }
        }
        let what = format!("the reply to {asked:?} leaves with {found:?}");
        self.trace.fail("copies exist when a reply leaves", what);
    }

    /// Bytes of the committed log.
    pub fn bytes(&self, position: u64, len: u64) -> Option<&[u8]> {
        self.bytes.get(position as usize..(position + len) as usize)
    }

    /// The committed batches, in order, with their bytes.
    pub fn committed(&self) -> impl Iterator<Item = (&Entry, &[u8])> {
        let mut at = 0;
        self.committed.iter().map(move |entry| {
            at += entry.len;
            (entry, &self.bytes[at - entry.len..at])
        })
    }

    /// Where the committed log ends.
    #[must_use]
    pub fn committed_len(&self) -> usize {
        self.committed.len()
    }

    /// At the end of a run: the segments of every node hold the committed log, byte for byte.
    pub fn compare_segments(&self, node: usize, store: &Store) {
        for (entry, bytes) in self.committed() {
            let (file, offset) = self.place(entry.position);
            if self.is_trimmed(store, entry.position) {
                continue;
            }
            if store.written(file, offset, entry.len) != Some(bytes) {
                let what = format!("node {node} differs at position {}", entry.position);
                return self.trace.fail("equal segments", what);
            }
        }
        // Behind the log is nothing, in segments prepared and in those that were cut.
        let end = self.committed.last().map_or(0, |last| last.position + last.len as u64);
        if let Some(at) = store.first_byte_behind(end, self.segment_size) {
            let what = format!("node {node} has bytes at position {at}, behind the log");
            self.trace.fail("equal segments", what);
        }
    }
}

/// A request and the seq that its reply names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Session.
    pub session: SessionId,
    /// Number in it.
    pub number: Number,
    /// Seq.
    pub seq: Seq,
}

/// Takes the marks of the configuration committed last.
fn note_change(trace: &Trace, settled: &Configs) {
    let (_, now) = settled.last();
    let Some(before) = settled.before_last() else { return };
    trace.event("configuration", &[now.version]);
    trace.say(|| format!("configuration {now:?}"));
    let (weaker, stronger) = (
        now.policy.received < before.policy.received || now.policy.durable < before.policy.durable,
        now.policy.received > before.policy.received || now.policy.durable > before.policy.durable,
    );
    let marks = [
        (now.policy != before.policy && weaker, "policy weakened"),
        (now.policy != before.policy && stronger, "policy strengthened"),
        (now.unsynced_max > before.unsynced_max, "W grew"),
        (now.unsynced_max < before.unsynced_max, "W shrank"),
        (now.members.len() > before.members.len(), "learner added"),
        (now.voter_count() > before.voter_count(), "voter added"),
        (now.voter_count() < before.voter_count(), "voter removed"),
        (
            now.members.len() < before.members.len() && now.voter_count() == before.voter_count(),
            "learner removed",
        ),
        (matches!(before.stage, Stage::Raised(_)) && now.stage != Stage::Changed, "change given up"),
    ];
    marks.iter().filter(|(holds, _)| *holds).for_each(|(_, mark)| trace.mark(mark));
}
