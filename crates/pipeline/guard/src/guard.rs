//! The agent in the background. It keeps segments whole, and where this node was found to be the odd one, it keeps the
//! evidence and stops it.

use crate::keeper::{Errand, Keeper, Owner};
use crate::pull::Range;
use crate::watch::put;
use crate::{ASKED, EVIDENCE, GIVE, Note, PULL, PULLED};
use ordain_agent::disk::{Disk, DiskDone, DiskOp, FileId, IoBytes};
use ordain_agent::metrics::Registry;
use ordain_agent::planted::{self, Mistake};
use ordain_agent::shared::Shared;
use ordain_agent::{Agent, Fatal};
use ordain_ring::spsc;
use ordain_types::{ClusterFacts, Nanos, NodeId, Now, Position};
use std::collections::VecDeque;
use zerocopy::{FromBytes, IntoBytes};

/// How often it looks for messages: nobody wakes it.
const LOOK: u64 = 50 * Nanos::MILLI;

/// What a [`Guard`] is made of.
pub struct GuardParts<'a, K> {
    /// The cluster's facts.
    pub facts: &'a ClusterFacts,
    /// A lane of its own. Depth 2.
    pub disk: K,
    /// From the watch.
    pub watch: spsc::Receiver,
    /// To the watch, if there is one: then there are other nodes. [`RING`](crate::RING) bytes.
    pub errands: Option<spsc::Sender>,
    /// All sealed segments are read once in this time; `None`: they are not.
    pub scrub_every: Option<Nanos>,
    /// The node's cursors.
    pub shared: Shared,
    /// Where it registers its metrics.
    pub registry: &'a Registry,
}

/// See the module.
pub struct Guard<K> {
    disk: K,
    watch: spsc::Receiver,
    errands: Option<spsc::Sender>,
    evidence: Option<Evidence>,
    keeper: Keeper,
    /// The keeper's operations in flight, in order.
    owners: VecDeque<Owner>,
    looked_at: Nanos,
}

/// Evidence on its way to the disk.
struct Evidence {
    text: String,
    /// Operations in flight, and whether the last one is.
    in_flight: usize,
    step: Step,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Create,
    Write,
    Done,
}

impl<K: Disk> Guard<K> {
    /// A guard with nothing to do.
    #[must_use]
    pub fn new(parts: GuardParts<'_, K>) -> Self {
        let GuardParts { facts, disk, watch, errands, scrub_every, shared, registry } = parts;
        let keeper = Keeper::new(facts, shared, errands.is_some(), scrub_every, registry);
        Self { disk, watch, errands, evidence: None, keeper, owners: VecDeque::new(), looked_at: Nanos::ZERO }
    }

    fn hear(&mut self, now: Now) -> usize {
        let mut heard = 0;
        while let Some(message) = self.watch.peek() {
            let (head, body) = Note::ref_from_prefix(message).expect("the watch writes notes");
            match head.kind.get() {
                EVIDENCE => {
                    let text = String::from_utf8_lossy(body).into_owned();
                    self.evidence.get_or_insert(Evidence { text, in_flight: 0, step: Step::Create });
                }
                ASKED => {
                    if let Some(range) = Range::decode(body) {
                        self.keeper.ask(NodeId(head.node.get() as u32), range, now);
                    }
                }
                PULLED => self.keeper.pulled(Position(head.place.get()), body, now),
                other => unreachable!("the watch writes no note {other}"),
            }
            self.watch.release();
            heard += 1;
        }
        heard
    }

    /// Goes on with what keeps segments whole.
    fn look_after(&mut self, now: Now) -> usize {
        let mut work = self.settle(now) + self.keeper.work(now);
        while self.disk.free() > 0
            && let Some((owner, op)) = self.keeper.op(now)
        {
            self.disk.submit(op);
            self.owners.push_back(owner);
            work += 1;
        }
        while let Some(errand) = self.keeper.errand() {
            let Some(ring) = &mut self.errands else { break };
            let note = |kind: u64, node: u64, place: Position| Note {
                kind: kind.into(),
                node: node.into(),
                place: place.0.into(),
            };
            let taken = match &errand {
                Errand::Pull(range) => put(ring, note(PULL, 0, range.position()), range.as_bytes()),
                Errand::Give((node, position, bytes)) => {
                    put(ring, note(GIVE, u64::from(node.0), *position), bytes)
                }
            };
            if !taken {
                self.keeper.undone(errand);
                break;
            }
            work += 1;
        }
        work
    }

    /// Takes what is done of the keeper's operations.
    fn settle(&mut self, now: Now) -> usize {
        let mut work = 0;
        while !self.owners.is_empty()
            && let Some(done) = self.disk.poll()
        {
            let owner = self.owners.pop_front().expect("one is in flight");
            self.keeper.done(owner, done, now);
            work += 1;
        }
        work
    }

    /// Goes on with keeping the evidence.
    fn keep(&mut self, now: Now) -> Result<usize, Fatal> {
        let mut work = self.settle(now);
        if !self.owners.is_empty() {
            return Ok(work);
        }
        let Some(evidence) = &mut self.evidence else { return Ok(work) };
        while let Some(DiskDone { op, result }) = self.disk.poll() {
            evidence.in_flight -= 1;
            work += 1;
            if let Err(error) = result {
                // Nothing in the directory keeps it from starting again: whoever restarts nodes must leave it.
                return Err(Fatal::new(
                    format!("this node has diverged: {}. That could not be noted: {error}", evidence.text),
                    format!("Do not start it again from this data directory. {}", what_to_do()),
                )
                .for_good());
            }
            drop(op);
        }
        if evidence.in_flight > 0 || self.disk.free() < 2 {
            return Ok(work);
        }
        let file = FileId::Diverged;
        match evidence.step {
            Step::Create if planted::is(Mistake::EvidenceNotKept) => evidence.step = Step::Done,
            Step::Create => {
                self.disk.submit(DiskOp::Create { tag: 0, file, size: evidence.text.len() as u64 });
                evidence.in_flight = 1;
                evidence.step = Step::Write;
            }
            Step::Write => {
                let bytes = IoBytes::Owned(evidence.text.clone().into_bytes());
                self.disk.submit(DiskOp::Write { tag: 0, file, offset: 0, bytes });
                self.disk.submit(DiskOp::Sync { tag: 0, file });
                evidence.in_flight = 2;
                evidence.step = Step::Done;
            }
            Step::Done => {
                let cause = format!("this node has diverged: {}", evidence.text);
                return Err(Fatal::new(cause, what_to_do()));
            }
        }
        Ok(work + 1)
    }
}

/// What the operator does with a node that has diverged.
fn what_to_do() -> &'static str {
    "Keep the data directory as evidence, with the file `diverged` in it, find out what the node did otherwise (its \
     build, its memory, its machine; `ordain journal compare` shows whether the journals differ), and give it a new \
     data directory: docs/operate/failures.md"
}

impl<K: Disk> Agent for Guard<K> {
    fn name(&self) -> &'static str {
        "guard"
    }

    fn do_work(&mut self, now: Now, _limit: usize) -> Result<usize, Fatal> {
        self.looked_at = now.mono;
        let heard = self.hear(now);
        // A node that computed something else looks after nothing any more.
        let work = if self.evidence.is_some() { self.keep(now)? } else { self.look_after(now) };
        Ok(heard + work)
    }

    fn next_deadline(&self) -> Option<Nanos> {
        Some(self.keeper.next_deadline(self.looked_at, LOOK))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::put;
    use ordain_agent::disk::DiskError;
    use std::collections::VecDeque;
    use std::sync::{Arc, Mutex};

    /// Notes what it is asked, and fails on demand.
    #[derive(Default)]
    struct Notes {
        asked: Arc<Mutex<Vec<String>>>,
        done: VecDeque<DiskDone>,
        fails: bool,
    }

    impl Disk for Notes {
        fn free(&self) -> usize {
            2 - self.done.len()
        }

        fn submit(&mut self, op: DiskOp) {
            let asked = match &op {
                DiskOp::Create { file: FileId::Diverged, size, .. } => format!("create {size}"),
                DiskOp::Write { file: FileId::Diverged, offset: 0, bytes, .. } => {
                    format!("write {}", String::from_utf8_lossy(bytes))
                }
                DiskOp::Sync { file: FileId::Diverged, .. } => "sync".to_owned(),
                other => panic!("{other:?}"),
            };
            self.asked.lock().unwrap().push(asked);
            let result = if self.fails { Err(DiskError::NoSpace) } else { Ok(0) };
            self.done.push_back(DiskDone { op, result });
        }

        fn poll(&mut self) -> Option<DiskDone> {
            self.done.pop_front()
        }
    }

    fn run(fails: bool, evidence: &[&str]) -> (Option<Fatal>, Vec<String>) {
        let disk = Notes { fails, ..Notes::default() };
        let asked = disk.asked.clone();
        let (mut watch, receiver) = spsc::channel(crate::RING);
        let mut guard = Guard::new(GuardParts {
            facts: &ClusterFacts::new(ordain_types::ClusterId([1; 16]), Nanos(1), 3),
            disk,
            watch: receiver,
            errands: None,
            scrub_every: None,
            shared: Shared::default(),
            registry: &Registry::default(),
        });
        assert_eq!(guard.do_work(Now::default(), 1), Ok(0));
        for text in evidence {
            assert!(put(&mut watch, Note::of(EVIDENCE), text.as_bytes()));
        }
        let fatal = (0..10).find_map(|_| guard.do_work(Now::default(), 1).err());
        let asked = asked.lock().unwrap().clone();
        (fatal, asked)
    }

    #[test]
    fn evidence_is_on_disk_before_the_node_stops() {
        assert_eq!(run(false, &[]), (None, Vec::new()));
        let (fatal, asked) = run(false, &["batch 7", "batch 9"]);
        let fatal = fatal.expect("the node stops");
        assert!(fatal.cause.contains("has diverged: batch 7"), "{fatal}");
        assert_eq!(asked, ["create 7", "write batch 7", "sync"]);
        assert!(!fatal.is_final, "the next start says why it must not be");
    }

    #[test]
    fn a_node_that_can_keep_no_evidence_stops_too_and_says_so() {
        let fatal = run(true, &["batch 7"]).0.expect("the node stops");
        assert!(fatal.cause.contains("batch 7") && fatal.cause.contains("could not be noted"), "{fatal}");
        assert!(fatal.action.contains("Do not start it again"));
        assert!(fatal.is_final, "nothing else keeps it down");
    }
}
