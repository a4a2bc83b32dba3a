//! What other nodes ask for, read from segments, one range at a time.

use crate::pull::Range;
use ordain_agent::disk::{DiskDone, DiskOp, FileId};
use ordain_types::{BatchIndex, BatchView, ClusterFacts, NodeId, Position};
use std::collections::VecDeque;

/// Requests that wait at most. Who gets no answer asks another node.
const ASKED_MAX: usize = 16;

/// See the module.
#[derive(Debug)]
pub struct Lend {
    segment_size: u64,
    asked: VecDeque<(NodeId, Range)>,
    reading: Option<(NodeId, Range)>,
}

/// An answer: to whom, from where on, and what there is of it.
pub type Loan = (NodeId, Position, Vec<u8>);

impl Lend {
    /// Of segments of such a cluster.
    #[must_use]
    pub const fn new(facts: &ClusterFacts) -> Self {
        Self { segment_size: facts.segment_size, asked: VecDeque::new(), reading: None }
    }

    /// A node asks for a range; what it asked for before and did not get is forgotten.
    pub fn ask(&mut self, from: NodeId, range: Range) {
        self.asked.retain(|(node, _)| *node != from);
        if self.asked.len() < ASKED_MAX {
            self.asked.push_back((from, range));
        }
    }

    /// The next read, if none is under way.
    pub fn op(&mut self, tag: u64) -> Option<DiskOp> {
        if self.reading.is_some() {
            return None;
        }
        let (node, range) = self.asked.pop_front()?;
        self.reading = Some((node, range));
        let (segment, offset) =
            (range.position().0 / self.segment_size, range.position().0 % self.segment_size);
        let len = range.len().min(self.segment_size - offset) as usize;
        Some(DiskOp::Read { tag, file: FileId::Segment(segment), offset, buffer: vec![0; len] })
    }

    /// Whether a read is under way.
    #[must_use]
    pub const fn is_reading(&self) -> bool {
        self.reading.is_some()
    }

    /// The read is done. `end`: the last batch that may be lent.
    pub fn done(&mut self, done: DiskDone, end: BatchIndex) -> Option<Loan> {
        let (node, range) = self.reading.take()?;
        let DiskOp::Read { mut buffer, .. } = done.op else { unreachable!("it only reads") };
        buffer.truncate(done.result.unwrap_or(0));
        buffer.truncate(sound(&buffer, range.position(), end));
        Some((node, range.position(), buffer))
    }
}

/// Bytes at the start of `bytes`, which were read at `position`, that are whole and sound batches of this node's log.
/// Whether they belong where they are missing is for the other node to find out.
fn sound(bytes: &[u8], position: Position, end: BatchIndex) -> usize {
    let mut len = 0;
    while let Ok(batch) = BatchView::parse(&bytes[len..]) {
        let header = batch.header;
        if header.index() > end || header.position() != position.plus(len as u64) {
            break;
        }
        len += batch.bytes().len();
    }
    len
}
