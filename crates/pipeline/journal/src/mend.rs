//! Makes a whole copy of a damaged segment: of what is sound in it, and of what another node has where it is not.
//!
//! The segment is read once from its start, each batch checked against the one before. Where a batch does not follow,
//! other nodes are asked for the bytes from there on, and what follows of those goes into the copy, batch by batch, until
//! the segment's own bytes follow again. That is the proof: the header of an own batch holds the chain value of everything
//! in front of it, so what was put there is what was there. Where a hole reaches to the segment's end, the proof is in the
//! next one.
//!
//! The damaged file stays as it is until the copy is whole and synced; then the copy takes its name.

use crate::scrub::{anchor, first};
use crate::verify::{Fault, Verifier};
use ordain_agent::disk::{DiskDone, DiskError, DiskOp, FileId, IoBytes};
use ordain_agent::planted::{self, Mistake};
use ordain_types::batch::BatchHeader;
use ordain_types::{ClusterFacts, Position};

/// Most bytes of log that another node is asked for at once; twice the longest batch at least.
pub const PULL_MAX: u64 = 256 * 1024;
/// Bytes of the segment read, or of its copy written, at once.
const CHUNK: u64 = 1024 * 1024;

const _: () = assert!(PULL_MAX as usize >= 2 * ordain_types::batch::BATCH_MAX);
const _: () = assert!(CHUNK >= PULL_MAX);

/// What a [`Mend`] has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mended {
    /// It goes on: with an operation, or when one is done.
    Working,
    /// It needs what follows at this position, at most so many bytes.
    Needs(Position, u64),
    /// There is nothing wrong with the segment.
    Sound,
    /// The copy is whole and synced, and differs from the segment by so many bytes at most.
    Ready(u64),
    /// What was put into a hole follows what is in front of it, and nothing behind it says that it is what was there.
    Unproven,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Looks for the first batch that does not follow.
    Look,
    Create,
    /// Copies.
    Copy,
    /// Copies what stands behind the last batch that counts, whatever it is.
    Tail,
    /// Looks behind the segment for a batch that follows.
    Prove,
    Sync,
    Over(Mended),
}

/// See the module. One operation at a time; it never waits.
#[derive(Debug)]
pub struct Mend {
    facts: ClusterFacts,
    segment: u64,
    /// Where the segment, or what counts of it, ends.
    end: Position,
    /// Batches that begin at or in front of this may serve as proof.
    limit: Position,
    phase: Phase,
    at: Position,
    /// None in front of the first batch.
    verifier: Option<Verifier>,
    /// What stands in the segment from where something was missed on.
    own: Vec<u8>,
    busy: bool,
    /// Batches to be written at their place in the copy.
    ready: Option<(Position, Vec<u8>)>,
    /// Bytes that came from other nodes.
    fetched: u64,
    /// The last batch is this segment's own, or nothing was fetched.
    proven: bool,
    needs: bool,
}

impl Mend {
    /// Mends a segment of which everything in front of `end` counts. Batches in front of `limit`, and one that begins
    /// there, are this node's own and may serve as proof.
    ///
    /// # Panics
    /// If `end` does not lie in the segment or `limit` in front of it.
    #[must_use]
    pub fn new(facts: &ClusterFacts, segment: u64, end: Position, limit: Position) -> Self {
        let start = Position(segment * facts.segment_size);
        let most = start.plus(facts.segment_size);
        assert!(start < end && end <= most && end <= limit, "segment {segment} up to {end} of {limit}");
        Self {
            facts: facts.clone(),
            segment,
            end,
            limit,
            phase: Phase::Look,
            at: start,
            verifier: None,
            own: Vec::new(),
            busy: false,
            ready: None,
            fetched: 0,
            proven: true,
            needs: false,
        }
    }

    /// The segment.
    #[must_use]
    pub const fn segment(&self) -> u64 {
        self.segment
    }

    /// What it has come to.
    #[must_use]
    pub const fn outcome(&self) -> Mended {
        match self.phase {
            Phase::Over(outcome) => outcome,
            _ if self.needs => {
                let left = (self.at.0 / self.facts.segment_size + 1) * self.facts.segment_size - self.at.0;
                Mended::Needs(self.at, if left < PULL_MAX { left } else { PULL_MAX })
            }
            _ => Mended::Working,
        }
    }

    /// The next operation, if none is under way and one is needed.
    pub fn op(&mut self) -> Option<DiskOp> {
        if self.busy || self.needs {
            return None;
        }
        let op = match self.phase {
            Phase::Over(_) => return None,
            Phase::Create => {
                DiskOp::Create { tag: 0, file: FileId::SegmentDraft, size: self.facts.segment_size }
            }
            Phase::Sync => DiskOp::Sync { tag: 0, file: FileId::SegmentDraft },
            Phase::Look | Phase::Copy | Phase::Tail | Phase::Prove => match self.ready.take() {
                Some((at, bytes)) => {
                    let (_, offset) = self.place(at);
                    let bytes = IoBytes::Owned(bytes);
                    DiskOp::Write { tag: 0, file: FileId::SegmentDraft, offset, bytes }
                }
                None => {
                    let (segment, offset) = self.place(self.at);
                    let len = (self.facts.segment_size - offset).min(CHUNK) as usize;
                    DiskOp::Read { tag: 0, file: FileId::Segment(segment), offset, buffer: vec![0; len] }
                }
            },
        };
        self.busy = true;
        Some(op)
    }

    /// Takes what came of the operation.
    ///
    /// # Errors
    /// The disk's: the copy is not made.
    pub fn done(&mut self, done: DiskDone) -> Result<(), DiskError> {
        self.busy = false;
        let result = match done.op {
            // What cannot be read is not there: other nodes have it.
            DiskOp::Read { .. } => Ok(done.result.unwrap_or(0)),
            _ => done.result,
        };
        let moved = result?;
        match (self.phase, done.op) {
            (Phase::Create, _) => {
                self.phase = Phase::Copy;
                self.restart();
            }
            (Phase::Sync, _) => self.phase = Phase::Over(Mended::Ready(self.fetched)),
            (Phase::Tail, DiskOp::Read { mut buffer, .. }) => {
                buffer.truncate(moved);
                let from = self.at;
                self.at = from.plus(buffer.len() as u64);
                if !buffer.is_empty() {
                    self.ready = Some((from, buffer));
                }
            }
            (_, DiskOp::Read { mut buffer, .. }) => {
                buffer.truncate(moved);
                self.take_own(buffer);
            }
            _ => {}
        }
        self.go_on();
        Ok(())
    }

    /// Another node's bytes from where it [needs](Mended::Needs) them. Says whether there was anything in them that
    /// follows.
    pub fn give(&mut self, bytes: &[u8]) -> bool {
        if !self.needs {
            return false;
        }
        let from = self.at;
        let mut len = 0;
        while !bytes[len..].is_empty() && self.in_reach() {
            let taken = match planted::is(Mistake::MendUnchecked) {
                true => self.trust(&bytes[len..]),
                false => self.check(&bytes[len..]),
            };
            let Ok(taken) = taken else { break };
            len += taken;
            if self.own_follows(len) {
                break;
            }
        }
        if len == 0 {
            return false;
        }
        self.needs = false;
        if self.phase == Phase::Copy {
            self.fetched += len as u64;
            self.ready = Some((from, bytes[..len].to_vec()));
        }
        self.proven = false;
        self.go_on();
        true
    }

    fn restart(&mut self) {
        self.at = Position(self.segment * self.facts.segment_size);
        self.verifier = None;
    }

    /// Whether a batch may begin here that is still of use.
    fn in_reach(&self) -> bool {
        match self.phase {
            Phase::Prove => self.at <= self.limit,
            _ => self.at < self.end,
        }
    }

    /// Checks that `bytes` begin with what follows, and goes behind it. Says how long it is.
    fn check(&mut self, bytes: &[u8]) -> Result<usize, Fault> {
        let mut verifier = match self.verifier.take() {
            Some(verifier) => verifier,
            None if planted::is(Mistake::MendUnchecked) => anchor(&self.facts, bytes, self.at)?,
            None => first(&self.facts, bytes, self.at)?,
        };
        let taken = verifier.check(bytes).map(|batch| batch.bytes().len());
        // In front of the first batch nothing is known yet.
        if taken.is_ok() || self.at.0 != self.segment * self.facts.segment_size {
            self.at = verifier.end().position;
            self.verifier = Some(verifier);
        }
        taken
    }

    /// What a careless engineer writes: whatever looks like a batch is one.
    fn trust(&mut self, bytes: &[u8]) -> Result<usize, Fault> {
        let header = BatchHeader::parse(bytes).map_err(Fault::Bytes)?;
        let len = header.len().min(bytes.len());
        (self.at, self.verifier) = (self.at.plus(len as u64), None);
        Ok(len)
    }

    /// Whether the segment's own bytes go on so far behind where they were missed.
    fn own_follows(&self, behind: usize) -> bool {
        let own = self.own.get(behind..).filter(|own| !own.is_empty());
        own.zip(self.verifier.clone()).is_some_and(|(own, mut verifier)| verifier.check(own).is_ok())
    }

    /// Takes own batches as far as they follow.
    fn take_own(&mut self, own: Vec<u8>) {
        let from = self.at;
        let mut len = 0;
        while len < own.len() && self.in_reach() {
            match self.check(&own[len..]) {
                Ok(taken) => {
                    len += taken;
                    self.proven = true;
                    if self.phase == Phase::Prove {
                        return;
                    }
                }
                // It may be cut off by the end of what was read: then it is read anew from its start.
                Err(_) if len > 0 => break,
                Err(_) => return self.miss(own),
            }
        }
        if own.is_empty() {
            return self.miss(own);
        }
        if self.phase == Phase::Copy {
            self.ready = Some((from, own[..len].to_vec()));
        }
    }

    /// What should be here is not.
    fn miss(&mut self, own: Vec<u8>) {
        self.own = own;
        match self.phase {
            Phase::Look => self.phase = Phase::Create,
            Phase::Prove if self.at >= self.limit => self.phase = Phase::Over(Mended::Unproven),
            _ => self.needs = true,
        }
    }

    /// Whether a phase is over.
    fn go_on(&mut self) {
        if self.needs || self.ready.is_some() {
            return;
        }
        let segment_end = (self.segment + 1) * self.facts.segment_size;
        match self.phase {
            Phase::Look if self.at >= self.end => self.phase = Phase::Over(Mended::Sound),
            Phase::Copy if self.at >= self.end => {
                self.phase = if self.at.0 < segment_end { Phase::Tail } else { Phase::Prove };
                self.go_on();
            }
            // Of a segment that is not full the proof must lie in front of its end.
            Phase::Tail if !self.proven => self.phase = Phase::Over(Mended::Unproven),
            Phase::Tail if self.at.0 >= segment_end => self.phase = Phase::Sync,
            Phase::Prove if self.proven => {
                self.phase = if planted::is(Mistake::MendNotSynced) {
                    Phase::Over(Mended::Ready(self.fetched))
                } else {
                    Phase::Sync
                };
            }
            Phase::Prove if self.at > self.limit => self.phase = Phase::Over(Mended::Unproven),
            _ => {}
        }
    }

    fn place(&self, at: Position) -> (u64, u64) {
        (at.0 / self.facts.segment_size, at.0 % self.facts.segment_size)
    }
}
