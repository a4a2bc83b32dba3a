//! Batches that left the ring, read from segments for peers that lag.

use ordain_agent::Fatal;
use ordain_agent::disk::{Disk, DiskOp, FileId};
use ordain_agent::planted::{self, Mistake};
use ordain_agent::shared::Shared;
use ordain_journal::{LogReader, Peek, ReadError};
use ordain_sequence::stage::{Archive, Old};
use ordain_types::LogEnd;
use ordain_types::batch::BATCH_HEADER;
use ordain_types::{BatchHeader, BatchIndex, NodeId, Position};

/// Cycles in which a peer that is being served may ask for nothing before another takes its turn: all peers ask once
/// in a cycle, so that it is gone, caught up, or has no room.
const PATIENCE: u32 = 32;

/// Reads for one peer at a time. Laggards take turns: each is handed one piece, and nobody interrupts the reading of
/// that piece as long as it is asked for.
pub struct Segments<D> {
    reader: LogReader<D>,
    shared: Shared,
    segment_size: u64,
    /// The first segment whose start is known.
    first: u64,
    /// Number of the last batch before the first of that segment and of each behind it.
    starts: Vec<BatchIndex>,
    serving: Option<NodeId>,
    /// It has been handed nothing since its turn began.
    owed: bool,
    /// Others that asked since it did.
    waited: u32,
    /// Where each peer's next batch begins, so that a turn begins there and not at the start of a segment. One entry
    /// a peer.
    places: Vec<(NodeId, BatchIndex, Position)>,
    /// The batch that the reader is on its way to, from the start of a segment.
    sought: BatchIndex,
    /// Whole batches found and not yet handed out.
    found: Vec<u8>,
    /// The first and last of them.
    range: Option<(BatchIndex, BatchIndex)>,
    /// The start of the oldest segment is being read.
    probing: bool,
    /// The peer that was last found to need what is gone.
    unreachable: Option<NodeId>,
}

impl<D: Disk> Segments<D> {
    /// An archive over the segments that recovery found, of which `first` is the first.
    pub fn new(segment_size: u64, first: u64, segments: &[LogEnd], shared: Shared, disk: D) -> Self {
        let reader = LogReader::segments_only(segment_size, Position(0), BatchIndex(1), shared.clone(), disk);
        // Of a damaged segment a peer is sent nothing before it is whole.
        let reader = reader.patient();
        let starts = segments.iter().map(|end| end.index).collect();
        Self {
            reader,
            shared,
            segment_size,
            first,
            starts,
            serving: None,
            owed: false,
            waited: 0,
            places: Vec::new(),
            sought: BatchIndex(0),
            found: Vec::new(),
            range: None,
            probing: false,
            unreachable: None,
        }
    }

    /// Goes to `first` if `peer` was led up to there, else to the segment that holds it, as far as the starts of
    /// segments are known.
    fn seek(&mut self, peer: NodeId, first: BatchIndex) {
        self.range = None;
        self.found.clear();
        self.sought = first;
        let mut places = self.places.iter().filter(|_| !planted::is(Mistake::LaggardsInterrupt));
        let place = places.find(|place| place.0 == peer && place.1 == first);
        if let Some((_, index, position)) = place {
            return self.reader.seek(*position, *index);
        }
        let segment = self.starts.partition_point(|before| *before < first).saturating_sub(1);
        let before = self.starts.get(segment).copied().unwrap_or_default();
        self.reader.seek(self.position(segment), before.next());
    }

    /// Remembers how far `peer` was led.
    fn keep_place(&mut self, peer: NodeId) {
        let place = (peer, self.reader.next_index(), self.reader.position());
        match self.places.iter_mut().find(|known| known.0 == peer) {
            Some(known) => *known = place,
            None => self.places.push(place),
        }
    }

    fn position(&self, segment: usize) -> Position {
        Position((self.first + segment as u64) * self.segment_size)
    }

    /// Whether the segment that holds `first` is there to be read; `None` until that is known.
    fn reaches(&mut self, first: BatchIndex) -> Option<bool> {
        let oldest = self.shared.oldest.load() / self.segment_size;
        let known = oldest.saturating_sub(self.first) as usize;
        if !self.probing
            && let Some(before) = self.starts.get(known)
        {
            return Some(*before < first);
        }
        if oldest == 0 && self.first == 0 && self.starts.is_empty() {
            return Some(true);
        }
        self.probe(oldest);
        None
    }

    /// Learns with which batch the oldest segment begins: it was not there at the start, and no peer was led
    /// past it since.
    fn probe(&mut self, oldest: u64) {
        let Some(disk) = self.reader.disk() else { return };
        if !core::mem::replace(&mut self.probing, true) {
            let (file, buffer) = (FileId::Segment(oldest), vec![0; BATCH_HEADER]);
            return disk.submit(DiskOp::Read { tag: oldest, file, offset: 0, buffer });
        }
        let Some(done) = disk.poll() else { return };
        self.probing = false;
        self.serving = None;
        let DiskOp::Read { tag, buffer, .. } = done.op else { return };
        // It may be gone again, and then the next one is asked for.
        if done.result == Ok(BATCH_HEADER)
            && let Ok(header) = BatchHeader::parse(&buffer)
        {
            self.first = tag;
            self.starts = vec![BatchIndex(header.index().0.saturating_sub(1))];
        }
    }

    /// Remembers where segments start as they are passed.
    fn note(&mut self) {
        let position = self.reader.position().0;
        if position.is_multiple_of(self.segment_size) && position == self.position(self.starts.len()).0 {
            self.starts.push(BatchIndex(self.reader.next_index().0 - 1));
        }
    }
}

impl<D: Disk> Archive for Segments<D> {
    fn read(&mut self, peer: NodeId, first: BatchIndex, bytes_max: usize) -> Result<Old<'_>, Fatal> {
        let Some(reaches) = self.reaches(first) else { return Ok(Old::NotYet) };
        if !reaches {
            if self.unreachable.replace(peer) != Some(peer) {
                tracing::info!(
                    peer = peer.0,
                    batch = first.0,
                    "a peer needs batches from before this node's oldest segment"
                );
            }
            return Ok(Old::Gone);
        }
        if self.serving == Some(peer) {
            self.waited = 0;
        } else if self.serving.is_some()
            && self.owed
            && self.waited < PATIENCE
            && !planted::is(Mistake::LaggardsInterrupt)
        {
            self.waited += 1;
            return Ok(Old::NotYet);
        }
        let next = self.reader.next_index();
        let on_its_way = next == first || self.sought == first && next < first;
        let goes_on =
            self.serving == Some(peer) && (on_its_way || self.range.is_some_and(|range| range.0 == first));
        if !goes_on {
            self.seek(peer, first);
            (self.serving, self.owed, self.waited) = (Some(peer), true, 0);
        }
        if self.range.is_some_and(|range| range.0 != first) {
            self.range = None;
            self.found.clear();
        }
        let limit = BatchIndex(self.shared.written.load());
        loop {
            self.note();
            let batch = match self.reader.peek(limit) {
                Ok(Peek::Batch(batch)) => batch,
                Ok(_) => break,
                Err(ReadError::Trimmed { .. }) => {
                    // On its way from a segment that has gone meanwhile: the next time it begins behind it.
                    self.serving = None;
                    return Ok(Old::NotYet);
                }
                // What belongs there may lie in a snapshot.
                Err(ReadError::Lost { .. }) if self.range.is_none() => {
                    self.serving = None;
                    return Ok(Old::Gone);
                }
                Err(ReadError::Lost { .. }) => break,
                Err(error) => {
                    return Err(Fatal::new(
                        format!("a peer cannot be served from the journal: {error}"),
                        "Verify the journal with `ordain journal verify`.",
                    ));
                }
            };
            let index = batch.header.index();
            if index >= first {
                if self.found.len() + batch.bytes().len() > bytes_max {
                    break;
                }
                self.found.extend_from_slice(batch.bytes());
                self.range = Some((self.range.map_or(index, |range| range.0), index));
            }
            self.reader.advance();
        }
        let Some((_, last)) = self.range else { return Ok(Old::NotYet) };
        self.owed = false;
        self.keep_place(peer);
        Ok(Old::Batches(&self.found, last))
    }

    fn cut(&mut self, keep: BatchIndex) {
        self.serving = None;
        self.places.retain(|place| place.1.0 <= keep.0 + 1);
        self.starts.retain(|before| *before <= keep);
    }
}
