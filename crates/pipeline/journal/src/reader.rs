//! The log's batches in order: from segments while the ring has moved on, from the ring otherwise.

use crate::recovery::name;
use crate::verify::Fault;
use ordain_agent::damage::Plight;
use ordain_agent::disk::{Disk, DiskError, DiskOp, FileId};
use ordain_agent::planted::{self, Mistake};
use ordain_agent::shared::Shared;
use ordain_ring::log::{Consumer, LogRing};
use ordain_types::batch::{BatchHeader, BatchView};
use ordain_types::{BatchIndex, Position};

/// Bytes read at once; two such buffers are in use.
const CHUNK: u64 = 1024 * 1024;

/// What a reader has next.
#[derive(Clone, Copy, Debug)]
pub enum Peek<'a> {
    /// The next batch, in place.
    Batch(BatchView<'a>),
    /// It is being read from disk: ask again later.
    Pending,
    /// There is none up to the limit.
    End,
}

/// Why a batch could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// Its segment was removed: snapshots stand for it.
    Trimmed {
        /// The batch.
        index: BatchIndex,
        /// Where the oldest segment begins.
        oldest: Position,
    },
    /// The disk failed.
    Disk {
        /// Segment.
        segment: u64,
        /// Offset in its file.
        offset: u64,
        /// Why.
        error: DiskError,
    },
    /// Its segment is damaged, and no node that could be asked has what belongs there.
    Lost {
        /// Segment.
        segment: u64,
        /// The batch.
        index: BatchIndex,
    },
    /// The journal has written the batch, and it is not there.
    Damaged {
        /// Segment.
        segment: u64,
        /// Offset in its file.
        offset: u64,
        /// The batch.
        index: BatchIndex,
        /// What is wrong with what is there.
        fault: Fault,
    },
}

impl core::fmt::Display for ReadError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Trimmed { index, oldest } => write!(
                f,
                "batch {index} lies in front of position {oldest}, where the journal begins since older segments \
                 were removed. Start from a snapshot, or raise `retain` to keep more"
            ),
            Self::Disk { segment, offset, error } => write!(
                f,
                "reading {} at offset {offset} failed: {error}. Check the disk, then start the node again",
                name(FileId::Segment(*segment))
            ),
            Self::Lost { segment, index } => write!(
                f,
                "batch {index} cannot be read: {} is damaged, and no node that could be asked has what belongs there. See \
                 the extent with `ordain journal verify`, and restore the data directory from a peer or a backup",
                name(FileId::Segment(*segment))
            ),
            Self::Damaged { segment, offset, index, fault } => write!(
                f,
                "batch {index} in {} at offset {offset} is damaged: {fault}. See the extent with `ordain journal \
                 verify`, and restore the data directory from a peer or a backup",
                name(FileId::Segment(*segment))
            ),
        }
    }
}

impl std::error::Error for ReadError {}

/// Whole batches that were read from a segment.
#[derive(Debug, Default)]
struct Chunk {
    at: Position,
    /// Bytes of `buffer` that are, by their headers, whole batches which were written when the read was
    /// submitted. One at least was, so 0 means damage.
    len: usize,
    buffer: Vec<u8>,
}

impl Chunk {
    fn end(&self) -> Position {
        self.at.plus(self.len as u64)
    }
}

/// See the module. Reads only what the journal has written: a batch up to the `written` cursor is whole.
pub struct LogReader<D> {
    segment_size: u64,
    cursors: Shared,
    disk: D,
    /// The ring to join, if at all.
    ring: Option<LogRing>,
    consumer: Option<Consumer>,
    /// Where the next batch is, and its number.
    at: Position,
    next: BatchIndex,
    /// Length of the batch at `at` once it was checked, 0 before.
    len: usize,
    chunk: Chunk,
    ahead: Option<Chunk>,
    /// A read in flight: where, and the `written` cursor when it was submitted.
    reading: Option<(Position, BatchIndex)>,
    /// The read in flight is of no use any more.
    stale: bool,
    spare: Vec<u8>,
    /// Somebody mends damaged segments.
    patient: bool,
}

impl<D: Disk> LogReader<D> {
    /// A reader from batch `next` on, which begins at `at`. Reads segments until it can join `ring`, which
    /// it then gates.
    #[must_use]
    pub fn new(
        segment_size: u64,
        at: Position,
        next: BatchIndex,
        ring: LogRing,
        cursors: Shared,
        disk: D,
    ) -> Self {
        Self { ring: Some(ring), ..Self::segments_only(segment_size, at, next, cursors, disk) }
    }

    /// A reader that never joins the ring, so that it holds nobody up.
    #[must_use]
    pub fn segments_only(
        segment_size: u64,
        at: Position,
        next: BatchIndex,
        cursors: Shared,
        disk: D,
    ) -> Self {
        Self {
            segment_size,
            cursors,
            disk,
            ring: None,
            consumer: None,
            at,
            next,
            len: 0,
            chunk: Chunk::default(),
            ahead: None,
            reading: None,
            stale: false,
            spare: Vec::new(),
            patient: false,
        }
    }

    /// A reader that reports damage, and waits while the segment is being mended: it says that the batch is
    /// [pending](Peek::Pending), and [`ReadError::Lost`] once nobody has what belongs there.
    #[must_use]
    pub fn patient(mut self) -> Self {
        self.patient = true;
        self
    }

    /// Gives the disk back.
    pub fn into_disk(self) -> D {
        self.disk
    }

    /// The disk, for something else between two batches; `None` while a read is in flight. What was read ahead
    /// is forgotten: the reader must [`seek`](Self::seek) before it goes on.
    pub fn disk(&mut self) -> Option<&mut D> {
        self.seek(self.at, self.next);
        if self.reading.is_some() && self.disk.poll().is_some() {
            (self.reading, self.stale) = (None, false);
        }
        self.reading.is_none().then_some(&mut self.disk)
    }

    /// Where the next batch begins.
    #[must_use]
    pub const fn position(&self) -> Position {
        self.at
    }

    /// The number of the next batch.
    #[must_use]
    pub const fn next_index(&self) -> BatchIndex {
        self.next
    }

    /// Whether it has caught up and reads from the ring, which it gates.
    #[must_use]
    pub const fn has_joined(&self) -> bool {
        self.consumer.is_some()
    }

    /// The next batch, if its number is at most `limit` and the log is not being cut. Never blocks. What comes from segments was checked
    /// against its checksums, position and number.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn peek(&mut self, limit: BatchIndex) -> Result<Peek<'_>, ReadError> {
        self.collect()?;
        if self.next > limit {
            self.make_way();
            return Ok(Peek::End);
        }
        if self.cursors.cut.is_on() {
            return Ok(Peek::End);
        }
        if self.consumer.is_none() && !self.join() {
            self.check_trimmed()?;
        }
        if self.consumer.is_none() {
            let segment = self.at.0 / self.segment_size;
            match self.cursors.damage.plight(segment).filter(|_| self.patient && self.len == 0) {
                Some(Plight::Lost) => return Err(ReadError::Lost { segment, index: self.next }),
                Some(Plight::Damaged | Plight::Reported) => return Ok(Peek::Pending),
                None => {}
            }
            match self.load() {
                Ok(true) => {}
                Ok(false) => {
                    return Ok(match self.reading {
                        Some(_) => Peek::Pending,
                        None => Peek::End,
                    });
                }
                Err(ReadError::Damaged { segment, .. }) if self.patient => {
                    self.cursors.damage.report(segment);
                    // What was read is of no use: it is read anew when the segment is whole.
                    self.seek(self.at, self.next);
                    return Ok(Peek::Pending);
                }
                Err(error) => return Err(error),
            }
        }
        let bytes = match &self.consumer {
            Some(consumer) => consumer.available(Position(u64::MAX)),
            None => &self.chunk.buffer[(self.at.0 - self.chunk.at.0) as usize..self.chunk.len],
        };
        if bytes.is_empty() {
            return Ok(Peek::End);
        }
        let batch = BatchView::trusted(bytes).expect("the ring holds batches, and so does a chunk");
        assert!(batch.header.index() == self.next, "batches follow one another");
        self.len = batch.bytes().len();
        Ok(Peek::Batch(batch))
    }

    /// Goes behind the batch that was peeked.
    ///
    /// # Panics
    /// If none was.
    pub fn advance(&mut self) {
        assert!(self.len > 0, "advance without a batch");
        if let Some(consumer) = &mut self.consumer {
            consumer.release(self.len);
        }
        self.at = self.at.plus(self.len as u64);
        self.next = self.next.next();
        self.len = 0;
    }

    /// Lets go of everything behind `end`, where the log is about to be cut.
    ///
    /// # Panics
    /// If the reader is behind `end` itself: then it must [`seek`](Self::seek).
    pub fn cut(&mut self, end: Position) {
        assert!(self.at <= end, "the reader is at {}, behind a cut at {end}", self.at);
        match &mut self.consumer {
            Some(consumer) => consumer.rewind(end).expect("it only forgets having looked further"),
            None => self.seek(self.at, self.next),
        }
    }

    /// Goes on from another place, to begin again, say. Leaves the ring; it joins again when it can. What
    /// was read ahead is forgotten.
    pub fn seek(&mut self, at: Position, next: BatchIndex) {
        (self.at, self.next, self.len) = (at, next, 0);
        self.consumer = None;
        self.chunk.len = 0;
        self.ahead = None;
        self.stale = self.reading.is_some();
    }

    /// Leaves the ring once half of it lies behind what may not be read yet: what lifts the limit may have to come
    /// through the ring first.
    fn make_way(&mut self) {
        let Some(ring) = self.ring.as_ref().filter(|_| self.consumer.is_some()) else { return };
        let waits = ring.published().0.saturating_sub(self.at.0);
        if waits > ring.capacity() as u64 / 2 && !planted::is(Mistake::ReaderKeepsTheRing) {
            self.seek(self.at, self.next);
        }
    }

    fn check_trimmed(&self) -> Result<(), ReadError> {
        let oldest = Position(self.cursors.oldest.load());
        match self.at < oldest {
            true => Err(ReadError::Trimmed { index: self.next, oldest }),
            false => Ok(()),
        }
    }

    fn join(&mut self) -> bool {
        let Some(ring) = &self.ring else { return false };
        if ring.oldest() <= self.at && ring.published() >= self.at {
            self.consumer = ring.join_at(self.at).ok();
        }
        if self.consumer.is_some() {
            self.len = 0;
            self.chunk = Chunk::default();
            self.ahead = None;
            self.spare = Vec::new();
            self.stale = self.reading.is_some();
        }
        self.consumer.is_some()
    }

    /// Whether the chunk holds the next batch. Otherwise sees to it that it will.
    fn load(&mut self) -> Result<bool, ReadError> {
        if !(self.chunk.at..self.chunk.end()).contains(&self.at) {
            match self.ahead.take() {
                Some(ahead) if ahead.at == self.at => {
                    if ahead.len == 0 {
                        let fault = match BatchView::parse(&ahead.buffer) {
                            Err(error) => Fault::Bytes(error),
                            Ok(batch) => Fault::Follow {
                                field: "index",
                                found: batch.header.index().0,
                                expected: self.next.0,
                            },
                        };
                        return Err(self.damaged(fault));
                    }
                    self.spare = core::mem::replace(&mut self.chunk, ahead).buffer;
                    self.read(self.chunk.end(), self.after(&self.chunk));
                }
                ahead => {
                    self.spare = ahead.map_or_else(|| core::mem::take(&mut self.spare), |chunk| chunk.buffer);
                    self.read(self.at, self.next);
                    return Ok(false);
                }
            }
        }
        if self.len == 0 {
            let bytes = &self.chunk.buffer[(self.at.0 - self.chunk.at.0) as usize..self.chunk.len];
            let batch = match planted::is(Mistake::ReaderTrusts) {
                true => BatchView::trusted(bytes),
                false => BatchView::parse(bytes),
            };
            let batch = batch.map_err(|error| self.damaged(Fault::Bytes(error)))?;
            for (field, found, expected) in [
                ("position", batch.header.position().0, self.at.0),
                ("index", batch.header.index().0, self.next.0),
            ] {
                if found != expected {
                    return Err(self.damaged(Fault::Follow { field, found, expected }));
                }
            }
            self.len = batch.bytes().len();
        }
        Ok(true)
    }

    /// The number of the batch behind a chunk.
    fn after(&self, chunk: &Chunk) -> BatchIndex {
        let mut index = self.next;
        let mut at = 0;
        while at < chunk.len {
            let header = BatchHeader::parse(&chunk.buffer[at..]).expect("a chunk holds whole batches");
            at += header.len();
            index = index.next();
        }
        index
    }

    /// Begins to read at `at`, where batch `index` stands, if that is written and no read is in flight.
    fn read(&mut self, at: Position, index: BatchIndex) {
        let written = BatchIndex(self.cursors.written.load());
        if self.reading.is_some() || index > written || self.disk.free() == 0 {
            return;
        }
        let (segment, offset) = (at.0 / self.segment_size, at.0 % self.segment_size);
        let mut buffer = core::mem::take(&mut self.spare);
        buffer.resize((self.segment_size - offset).min(CHUNK) as usize, 0);
        self.disk.submit(DiskOp::Read { tag: 0, file: FileId::Segment(segment), offset, buffer });
        self.reading = Some((at, written));
    }

    /// Takes a finished read.
    fn collect(&mut self) -> Result<(), ReadError> {
        if self.reading.is_none() {
            return Ok(());
        }
        let Some(done) = self.disk.poll() else { return Ok(()) };
        let (at, written) = self.reading.take().expect("a read is in flight");
        let DiskOp::Read { mut buffer, .. } = done.op else { unreachable!("only reads are submitted") };
        if core::mem::take(&mut self.stale) {
            self.spare = buffer;
            return Ok(());
        }
        let (segment, offset) = (at.0 / self.segment_size, at.0 % self.segment_size);
        if matches!(done.result, Err(DiskError::NotFound)) {
            self.check_trimmed()?;
        }
        let moved = done.result.map_err(|error| ReadError::Disk { segment, offset, error })?;
        buffer.truncate(moved);
        let mut len = 0;
        // Behind what was written then, a batch may be half there.
        while let Ok(header) = BatchHeader::parse(&buffer[len..]) {
            if header.index() > written || header.len() > moved - len {
                break;
            }
            len += header.len();
        }
        self.ahead = Some(Chunk { at, len, buffer });
        Ok(())
    }

    fn damaged(&self, fault: Fault) -> ReadError {
        let (segment, offset) = (self.at.0 / self.segment_size, self.at.0 % self.segment_size);
        ReadError::Damaged { segment, offset, index: self.next, fault }
    }
}
