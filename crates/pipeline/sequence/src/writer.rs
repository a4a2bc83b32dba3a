//! The one writer of the log: turns records into sealed batches in ring memory, or takes batches that a
//! leader sealed, and keeps the numbers and the chain.

use ordain_agent::planted::{self, Mistake};
use ordain_ring::log::Producer;
use ordain_types::batch::{
    self, BATCH_ALIGN, BATCH_HEADER, BatchKind, BatchView, SEGMENT_START_LEN, Seal, SegmentStart,
};
use ordain_types::{BatchIndex, ClusterFacts, Lineage, LogEnd, Nanos, Position, Seq, Term, align_up};
use zerocopy::IntoBytes;

/// The ends of recent batches, by index, so that a suffix can be matched, served or cut without reading.
#[derive(Debug)]
pub struct Ends {
    slots: Box<[LogEnd]>,
    first: u64,
    last: u64,
}

impl Ends {
    fn new(capacity: usize, tail: LogEnd) -> Self {
        assert!(capacity.is_power_of_two());
        let mut ends =
            Self { slots: vec![LogEnd::EMPTY; capacity].into(), first: tail.index.0, last: tail.index.0 };
        let slot = ends.slot(tail.index);
        ends.slots[slot] = tail;
        ends
    }

    fn slot(&self, index: BatchIndex) -> usize {
        (index.0 as usize) & (self.slots.len() - 1)
    }

    fn push(&mut self, tail: LogEnd) {
        assert_eq!(tail.index.0, self.last + 1);
        self.last = tail.index.0;
        self.first = self.first.max((self.last + 1).saturating_sub(self.slots.len() as u64));
        let slot = self.slot(tail.index);
        self.slots[slot] = tail;
    }

    /// The end of batch `index`, if it is recent enough and in the log.
    #[must_use]
    pub fn get(&self, index: BatchIndex) -> Option<&LogEnd> {
        (self.first..=self.last).contains(&index.0).then(|| &self.slots[self.slot(index)])
    }

    /// The oldest end known that lies behind record `seq`; `None` if no batch that is sealed holds it.
    #[must_use]
    pub fn behind(&self, seq: Seq) -> Option<&LogEnd> {
        let (mut low, mut high) = (self.first, self.last + 1);
        while low < high {
            let middle = low.midpoint(high);
            if self.slots[self.slot(BatchIndex(middle))].next_seq > seq {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        self.get(BatchIndex(low))
    }

    fn cut(&mut self, keep: LogEnd) {
        assert!(keep.index.0 <= self.last);
        self.last = keep.index.0;
        self.first = self.first.min(self.last);
        let slot = self.slot(keep.index);
        self.slots[slot] = keep;
    }
}

/// A batch that is being filled.
#[derive(Clone, Copy, Debug)]
struct Open {
    /// Bytes so far, header included.
    len: usize,
    /// Most bytes that it may get: the batch bound or the end of the segment.
    limit: usize,
    count: u16,
}

/// Whether something could be put into the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Put {
    /// It was.
    Done,
    /// The ring has no free space: a consumer must move first.
    RingFull,
    /// No segment is prepared there: the disk is full or slow.
    NoRoom,
}

/// See the module.
pub struct Writer {
    ring: Producer,
    tail: LogEnd,
    ends: Ends,
    open: Option<Open>,
    segment_size: u64,
    batch_max: usize,
    segment_start: SegmentStart,
    /// Under which terms and with what clock the next batch is sealed.
    stamp: Stamp,
}

/// What a leader stamps on the batches it seals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// Its term.
    pub term: Term,
    /// Its wall clock.
    pub wall: Nanos,
    /// Last batch that its own disk has.
    pub durable: BatchIndex,
    /// Position up to which segments are prepared.
    pub room: Position,
}

/// The ring no longer has a batch that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotInRing;

/// Ends kept of recent batches: 64 Ki x 72 bytes. Peers behind that are served from segments.
pub(crate) const ENDS: usize = 1 << 16;

impl Writer {
    /// A writer that goes on at `tail`, where the ring starts.
    ///
    /// # Panics
    /// If the ring does not start at `tail`.
    #[must_use]
    pub fn new(ring: Producer, facts: &ClusterFacts, tail: LogEnd, ends: Option<usize>) -> Self {
        assert_eq!(ring.published(), tail.position, "the ring must start at the log's end");
        Self {
            ring,
            tail,
            ends: Ends::new(ends.unwrap_or(ENDS), tail),
            open: None,
            segment_size: facts.segment_size,
            batch_max: facts.batch_max as usize,
            segment_start: SegmentStart {
                cluster: facts.cluster.0,
                segment_size: facts.segment_size.into(),
                lineage: Lineage::FIRST.0.into(),
                reserved: [0; 6],
            },
            stamp: Stamp::default(),
        }
    }

    /// Writes the two batches that open every log, where they are missing: the same bytes on every node.
    /// `genesis` are whole records.
    ///
    /// # Panics
    /// If they do not fit into one batch.
    pub fn open_log(&mut self, created: Nanos, genesis: &[Vec<u8>]) {
        if self.tail.index >= BatchIndex(2) {
            return;
        }
        // The journal waits for its segment; nothing else can be in the ring yet.
        let room = Position(self.segment_size);
        self.set_stamp(Stamp { term: Term(0), wall: created, durable: BatchIndex(0), room });
        if genesis.is_empty() {
            assert_eq!(self.seal_empty(BatchKind::Genesis), Put::Done);
        } else {
            for record in genesis {
                assert_eq!(self.push(record), Put::Done);
            }
            self.seal(BatchKind::Genesis);
        }
        assert_eq!(self.tail.index, BatchIndex(2), "the genesis records must fit into one batch");
    }

    /// The end of the log. A batch that is being filled does not count.
    #[must_use]
    pub const fn tail(&self) -> &LogEnd {
        &self.tail
    }

    /// Ends of recent batches.
    #[must_use]
    pub const fn ends(&self) -> &Ends {
        &self.ends
    }

    /// Index that the batch being filled, or else the last sealed one, has or will have.
    #[must_use]
    pub fn current_index(&self) -> BatchIndex {
        if self.open.is_some() { self.tail.index.next() } else { self.tail.index }
    }

    /// What the following batches are stamped with.
    pub fn set_stamp(&mut self, stamp: Stamp) {
        assert!(stamp.term >= self.tail.term);
        self.stamp = stamp;
    }

    /// Puts a record into the batch being filled, opening one as needed (and ending a segment, if the
    /// record no longer fits there). `record` is a whole record with header and padding.
    pub fn push(&mut self, record: &[u8]) -> Put {
        if let Some(open) = self.open
            && (open.len + record.len() > open.limit || open.count == u16::MAX)
        {
            self.seal(BatchKind::Data);
        }
        if self.open.is_none() {
            match self.begin(BATCH_HEADER + record.len()) {
                Put::Done => {}
                blocked => return blocked,
            }
        }
        let open = self.open.as_mut().expect("a batch was just opened");
        let end = open.len + record.len();
        let Some(bytes) = self.ring.try_claim(align_up(end, BATCH_ALIGN)) else {
            if open.count == 0 {
                self.open = None;
                return Put::RingFull;
            }
            self.seal(BatchKind::Data);
            return self.push(record);
        };
        bytes[open.len..end].copy_from_slice(record);
        open.len = end;
        open.count += 1;
        Put::Done
    }

    /// Opens a batch for at least `need` bytes.
    fn begin(&mut self, need: usize) -> Put {
        assert!(need <= self.batch_max, "a record that fits no batch was admitted");
        match self.segment_left(align_up(need, BATCH_ALIGN)) {
            Ok(left) => {
                self.open = Some(Open { len: BATCH_HEADER, limit: left.min(self.batch_max), count: 0 });
                Put::Done
            }
            Err(blocked) => blocked,
        }
    }

    /// Bytes left in the segment for a batch of `need` bytes, after ending the present segment and
    /// starting the next one where that is necessary.
    fn segment_left(&mut self, need: usize) -> Result<usize, Put> {
        loop {
            let offset = self.tail.position.0 % self.segment_size;
            let left = (self.segment_size - offset) as usize;
            let fill = if offset == 0 {
                SEGMENT_START_LEN
            } else if left < need {
                left
            } else if self.tail.position.0 + need as u64 > self.stamp.room.0 {
                return Err(Put::NoRoom);
            } else {
                return Ok(left);
            };
            if self.tail.position.0 + fill as u64 > self.stamp.room.0 {
                return Err(Put::NoRoom);
            }
            let Some(bytes) = self.ring.try_claim(fill) else { return Err(Put::RingFull) };
            bytes[BATCH_HEADER..].fill(0);
            let kind = if offset == 0 {
                self.segment_start.lineage = Lineage::of(self.stamp.term).0.into();
                let end = BATCH_HEADER + size_of::<SegmentStart>();
                bytes[BATCH_HEADER..end].copy_from_slice(self.segment_start.as_bytes());
                BatchKind::SegmentStart
            } else {
                BatchKind::Pad
            };
            self.publish(kind, fill, 0);
        }
    }

    /// Seals the batch being filled, if there is one. `kind` is what it holds.
    pub fn seal(&mut self, kind: BatchKind) {
        let Some(open) = self.open.take() else { return };
        let len = align_up(open.len, BATCH_ALIGN);
        let bytes = self.ring.try_claim(len).expect("claimed when its last record was put");
        bytes[open.len..].fill(0);
        self.publish(kind, len, open.count);
    }

    /// Seals a batch without records.
    pub fn seal_empty(&mut self, kind: BatchKind) -> Put {
        self.seal_body(kind, &[])
    }

    /// Seals a batch without records and with this body.
    ///
    /// # Panics
    /// If a batch is being filled, or the body fits into none.
    pub fn seal_body(&mut self, kind: BatchKind, body: &[u8]) -> Put {
        assert!(self.open.is_none());
        let end = BATCH_HEADER + body.len();
        let len = align_up(end, BATCH_ALIGN);
        assert!(len <= self.batch_max, "a body of {} bytes fits into no batch", body.len());
        if let Err(blocked) = self.segment_left(len) {
            return blocked;
        }
        let Some(bytes) = self.ring.try_claim(len) else { return Put::RingFull };
        bytes[BATCH_HEADER..end].copy_from_slice(body);
        bytes[end..].fill(0);
        self.publish(kind, len, 0);
        Put::Done
    }

    /// Longest body that [`Writer::seal_body`] takes, bytes.
    #[must_use]
    pub const fn body_max(&self) -> usize {
        self.batch_max - BATCH_HEADER
    }

    /// Writes the header of the `len` claimed bytes, publishes them, and only then computes their chain
    /// value: journal and apply are at work meanwhile.
    fn publish(&mut self, kind: BatchKind, len: usize, count: u16) {
        let LogEnd { position, index, next_seq, time, chain, .. } = self.tail;
        let bytes = self.ring.try_claim(len).expect("claimed before");
        let unsynced = index.0.saturating_sub(self.stamp.durable.0);
        batch::seal(
            bytes,
            &Seal {
                kind,
                count,
                // The first two batches are sealed by every node for itself and must not differ.
                unsynced: if self.stamp.term == Term(0) {
                    0
                } else {
                    unsynced.min(u64::from(u16::MAX)) as u16
                },
                position,
                index: index.next(),
                term: self.stamp.term,
                first_seq: next_seq,
                time: if planted::is(Mistake::TimeGoesBack) {
                    self.stamp.wall
                } else {
                    time.max(self.stamp.wall)
                },
                previous: chain,
            },
        );
        self.ring.publish(len);
        self.advance(position, len);
    }

    /// Takes a batch that a leader sealed, as it is. The caller has checked its checksums.
    ///
    /// # Panics
    /// If it does not follow the log's end.
    pub fn append(&mut self, view: &BatchView<'_>) -> Put {
        assert!(self.open.is_none());
        assert!(self.follows(view), "the caller matched the batch with the log's end");
        let len = view.bytes().len();
        let position = self.tail.position;
        let Some(bytes) = self.ring.try_claim(len) else { return Put::RingFull };
        bytes.copy_from_slice(view.bytes());
        self.ring.publish(len);
        self.advance(position, len);
        Put::Done
    }

    /// Whether a batch follows the log's end: position, number, seq, chain, and no term or time before.
    #[must_use]
    pub fn follows(&self, view: &BatchView<'_>) -> bool {
        let (tail, header) = (&self.tail, view.header);
        let offset = tail.position.0 % self.segment_size;
        header.position() == tail.position
            && header.index() == tail.index.next()
            && header.first_seq() == tail.next_seq
            && header.previous() == tail.chain
            && header.term() >= tail.term
            && header.time() >= tail.time
            && header.len() <= self.batch_max
            && offset + header.len() as u64 <= self.segment_size
            && (offset == 0) == (header.kind() == BatchKind::SegmentStart)
            && view.segment_start().is_none_or(|start| {
                let lineage = Lineage::of(header.term()).0.into();
                *start == SegmentStart { lineage, ..self.segment_start }
            })
    }

    fn advance(&mut self, position: Position, len: usize) {
        let bytes = self.ring.published_bytes(position, len);
        let view = BatchView::trusted(bytes).expect("this node just wrote it");
        self.tail = self.tail.after(&view);
        self.ends.push(self.tail);
    }

    /// Whole consecutive batches from `first` on, in place and at most `bytes_max` bytes, with the index of
    /// the last; `None` if not even one fits.
    ///
    /// # Errors
    /// [`NotInRing`] if the ring no longer has the first.
    pub fn batches_from(
        &self,
        first: BatchIndex,
        bytes_max: usize,
    ) -> Result<Option<(&[u8], BatchIndex)>, NotInRing> {
        let start = self.ends.get(BatchIndex(first.0 - 1)).ok_or(NotInRing)?.position;
        if !self.ring.still_has(start) {
            return Err(NotInRing);
        }
        // The end of a segment may be the end of the ring, which no slice crosses.
        let reach = start.0 + (bytes_max as u64).min(self.segment_size - start.0 % self.segment_size);
        let (mut through, mut end) = (None, start);
        let mut index = first;
        while let Some(next) = self.ends.get(index)
            && next.position.0 <= reach
        {
            (through, end) = (Some(index), next.position);
            index = index.next();
        }
        Ok(through.map(|last| (self.ring.published_bytes(start, (end.0 - start.0) as usize), last)))
    }

    /// Whether [`Writer::append`] would find space for `len` bytes.
    #[must_use]
    pub fn has_space(&self, len: usize) -> bool {
        self.ring.free() >= len
    }

    /// Cuts everything behind `keep` off; `false` while a consumer has not let go of it.
    pub fn cut(&mut self, keep: LogEnd) -> bool {
        assert!(self.open.is_none() && keep.index <= self.tail.index);
        let done = self.ring.rewind(keep.position);
        if done {
            self.ends.cut(keep);
            self.tail = keep;
        }
        done
    }
}
