//! Reads sealed segments again and again, a piece at a time, and checks that they are what they were.

use crate::verify::{Fault, Verifier, whole_batches};
use ordain_agent::disk::{DiskError, DiskOp, FileId};
use ordain_agent::planted::{self, Mistake};
use ordain_types::batch::{BatchKind, BatchView};
use ordain_types::{BatchIndex, ClusterFacts, LogEnd, Position};

/// Bytes read at once: a disk is busy with it for a moment, and no batch is longer.
const CHUNK: u64 = 256 * 1024;

const _: () = assert!(CHUNK as usize >= ordain_types::batch::BATCH_MAX);

/// What a piece of a segment came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scrubbed {
    /// Bytes that are sound.
    Sound(u64),
    /// A segment is not what it was. The next read begins behind it.
    Damaged(Rot),
    /// The segment is not there any more, or could not be read: the next read begins behind it.
    Unread(u64, DiskError),
}

/// Where a sealed segment is not what it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rot {
    /// The segment.
    pub segment: u64,
    /// Offset in its file.
    pub offset: u64,
    /// The batch that should be there; 0 if that is not known.
    pub index: BatchIndex,
    /// What is wrong with what is there.
    pub fault: Fault,
}

/// See the module. One read at a time; it never waits.
#[derive(Debug)]
pub struct Scrub {
    facts: ClusterFacts,
    at: Position,
    /// None where the log in front of `at` was not read.
    verifier: Option<Verifier>,
    buffer: Vec<u8>,
}

impl Scrub {
    /// A scrub of the log of the cluster with these facts that has read nothing.
    #[must_use]
    pub fn new(facts: &ClusterFacts) -> Self {
        Self { facts: facts.clone(), at: Position::ZERO, verifier: None, buffer: Vec::new() }
    }

    /// How far it has come.
    #[must_use]
    pub const fn position(&self) -> Position {
        self.at
    }

    /// The next read, of what lies in front of `sealed`, where a segment begins. `None` when it has come to there;
    /// [`begin`](Self::begin) begins anew.
    pub fn read(&mut self, sealed: Position) -> Option<DiskOp> {
        if self.at >= sealed {
            return None;
        }
        let (segment, offset) = self.place();
        let mut buffer = core::mem::take(&mut self.buffer);
        buffer.resize((self.facts.segment_size - offset).min(CHUNK) as usize, 0);
        Some(DiskOp::Read { tag: 0, file: FileId::Segment(segment), offset, buffer })
    }

    /// Goes on at the start of a segment.
    ///
    /// # Panics
    /// If there is none.
    pub fn begin(&mut self, oldest: Position) {
        assert!(oldest.0.is_multiple_of(self.facts.segment_size), "a segment begins there");
        (self.at, self.verifier) = (oldest, None);
    }

    /// Takes what was read.
    pub fn take(&mut self, buffer: Vec<u8>, result: Result<usize, DiskError>) -> Scrubbed {
        let from = self.at;
        let outcome = match result {
            Ok(_) if planted::is(Mistake::ScrubBlind) => {
                self.begin(Position((self.place().0 + 1) * self.facts.segment_size));
                Ok(())
            }
            Ok(moved) => self.check(&buffer[..moved]),
            Err(error) => {
                let (segment, _) = self.skip();
                self.buffer = buffer;
                return Scrubbed::Unread(segment, error);
            }
        };
        self.buffer = buffer;
        match outcome {
            Ok(()) => Scrubbed::Sound(self.at.0 - from.0),
            Err(fault) => {
                let index =
                    self.verifier.as_ref().map_or(BatchIndex::ZERO, |verifier| verifier.end().index.next());
                let (segment, offset) = self.skip();
                Scrubbed::Damaged(Rot { segment, offset, index, fault })
            }
        }
    }

    fn check(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        // A batch that the chunk cuts off is read anew, unless its length makes no sense.
        let whole = whole_batches(bytes);
        let mut rest = if whole > 0 { &bytes[..whole] } else { bytes };
        while !rest.is_empty() {
            if self.verifier.is_none() {
                self.verifier = Some(first(&self.facts, rest, self.at)?);
            }
            let verifier = self.verifier.as_mut().expect("it was just made");
            let batch = verifier.check(rest)?;
            rest = &rest[batch.bytes().len()..];
            self.at = verifier.end().position;
        }
        // Nothing was read: the file is shorter than it was.
        if bytes.is_empty() { Err(Fault::Bytes(ordain_types::batch::BatchError::Short)) } else { Ok(()) }
    }

    fn place(&self) -> (u64, u64) {
        (self.at.0 / self.facts.segment_size, self.at.0 % self.facts.segment_size)
    }

    /// Goes on behind the segment; says where it was.
    fn skip(&mut self) -> (u64, u64) {
        let place = self.place();
        self.begin(Position((place.0 + 1) * self.facts.segment_size));
        place
    }
}

/// A verifier of a log that is read from the start of a segment on, which `bytes` are: what is in front of it is
/// whatever that batch says.
pub(crate) fn first(facts: &ClusterFacts, bytes: &[u8], at: Position) -> Result<Verifier, Fault> {
    if at == Position::ZERO {
        return Ok(Verifier::new(facts, LogEnd::EMPTY));
    }
    match BatchView::parse(bytes).map_err(Fault::Bytes)?.header.kind() {
        BatchKind::SegmentStart => anchor(facts, bytes, at),
        _ => Err(Fault::Place),
    }
}

/// A verifier of a log that goes on with the batch that `bytes` begin with, as that batch says.
pub(crate) fn anchor(facts: &ClusterFacts, bytes: &[u8], at: Position) -> Result<Verifier, Fault> {
    let header = BatchView::parse(bytes).map_err(Fault::Bytes)?.header;
    if header.index() == BatchIndex::ZERO {
        return Err(Fault::Place);
    }
    let end = LogEnd {
        position: at,
        index: BatchIndex(header.index().0 - 1),
        term: header.term(),
        next_seq: header.first_seq(),
        time: header.time(),
        chain: header.previous(),
    };
    Ok(Verifier::new(facts, end))
}
