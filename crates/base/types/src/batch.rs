//! A batch: what the sequencer found waiting in one duty cycle, and the unit in which Ordain journals,
//! replicates, agrees, recovers and audits. Layout: `docs/format/journal.md`.

use crate::record::{PAYLOAD_MAX, RecordView, record_len};
use crate::{BatchIndex, Chain, ClusterId, Nanos, Position, Seq, Term, align_up};
use zerocopy::{
    FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned,
    little_endian::{U16, U32, U64},
};

/// Bytes of a [`BatchHeader`].
pub const BATCH_HEADER: usize = 96;
/// Batches start at multiples of this and are padded to it: whatever a segment has left can always
/// hold a pad batch.
pub const BATCH_ALIGN: usize = 128;
/// Longest batch, bytes, with header: bounds the wait for the chain value of the batch before.
pub const BATCH_MAX: usize = 128 * 1024;
/// `"ORDB"` read as a little-endian number.
pub const BATCH_MAGIC: u32 = u32::from_le_bytes(*b"ORDB");
/// Version of the batch layout.
pub const BATCH_VERSION: u8 = 1;

const _: () = assert!(size_of::<BatchHeader>() == BATCH_HEADER);
const _: () = assert!(BATCH_HEADER <= BATCH_ALIGN);
const _: () = assert!(BATCH_HEADER + record_len(PAYLOAD_MAX) <= BATCH_MAX);
const _: () = assert!(BATCH_MAX.is_multiple_of(BATCH_ALIGN));
const _: () = assert!(size_of::<SegmentStart>().is_multiple_of(8));

/// What a batch holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum BatchKind {
    /// Records.
    Data = 1,
    /// Zeros to the end of the segment.
    Pad = 2,
    /// [`SegmentStart`]: first batch of each segment.
    SegmentStart = 3,
    /// The cluster's first records: keys and the application's seed requests. Index 2, term 0.
    Genesis = 4,
    /// A leader's first batch in its term; empty. Committing it commits all before it (Raft 5.4.2).
    TermStart = 5,
    /// One entry about the cluster itself ([`control`](crate::control)).
    Control = 6,
}

impl BatchKind {
    /// The kind with this number on the wire.
    #[must_use]
    pub const fn from_wire(wire: u8) -> Option<Self> {
        Some(match wire {
            1 => Self::Data,
            2 => Self::Pad,
            3 => Self::SegmentStart,
            4 => Self::Genesis,
            5 => Self::TermStart,
            6 => Self::Control,
            _ => return None,
        })
    }
}

/// Fixed part of a batch, 96 bytes, little-endian.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct BatchHeader {
    /// [`BATCH_MAGIC`].
    pub magic: U32,
    /// [`BATCH_VERSION`].
    pub version: u8,
    /// [`BatchKind`].
    pub kind: u8,
    /// Zero.
    pub reserved: U16,
    /// Bytes of the batch with header and padding, a multiple of [`BATCH_ALIGN`].
    pub length: U32,
    /// Records in it.
    pub count: U16,
    /// How many batches before this one were not yet synced by the leader when it sealed this one, at
    /// most 65,535. A lone node's recovery uses it: a bad batch that a later one calls synced was
    /// damaged at rest and must not be cut off as torn.
    pub unsynced: U16,
    /// Where it starts in the log.
    pub position: U64,
    /// Its number.
    pub index: U64,
    /// Term of the leader that sealed it.
    pub term: U64,
    /// Seq of its first record; with no records, of the next one to come.
    pub first_seq: U64,
    /// Leader's time, nanoseconds since the Unix epoch; never less than that of the batch before.
    pub time: U64,
    /// Chain value of the batch before.
    pub previous: [u8; 32],
    /// CRC32C of everything behind the header, padding included.
    pub body_crc: U32,
    /// CRC32C of the 92 bytes before this field.
    pub header_crc: U32,
}

/// Body of a [`BatchKind::SegmentStart`] batch. What else a reader needs to begin here (term, index,
/// seq, chain value) is in the header.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct SegmentStart {
    /// The cluster.
    pub cluster: [u8; 16],
    /// Bytes of a segment.
    pub segment_size: U64,
    /// Lineage in force.
    pub lineage: U16,
    /// Zero.
    pub reserved: [u8; 6],
}

/// Bytes of a segment-start batch.
pub const SEGMENT_START_LEN: usize = align_up(BATCH_HEADER + size_of::<SegmentStart>(), BATCH_ALIGN);

impl SegmentStart {
    /// The cluster that the segment belongs to.
    #[must_use]
    pub const fn cluster(&self) -> ClusterId {
        ClusterId(self.cluster)
    }
}

/// Everything of a header that the body does not determine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seal {
    /// What the batch holds.
    pub kind: BatchKind,
    /// Records in it.
    pub count: u16,
    /// See [`BatchHeader::unsynced`].
    pub unsynced: u16,
    /// Where it starts.
    pub position: Position,
    /// Its number.
    pub index: BatchIndex,
    /// Term.
    pub term: Term,
    /// Seq of its first record.
    pub first_seq: Seq,
    /// Batch time.
    pub time: Nanos,
    /// Chain value of the batch before.
    pub previous: Chain,
}

/// Why bytes are no batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchError {
    /// Fewer bytes than the header says, or than a header has.
    Short,
    /// Nothing was ever written here: all header bytes are zero.
    Empty,
    /// The header's own checksum, or magic, is wrong.
    Header,
    /// A version that this build does not read.
    Version(u8),
    /// The header is whole but holds an impossible value.
    Field(&'static str),
    /// The body's checksum is wrong.
    Body,
}

impl core::fmt::Display for BatchError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Short => write!(f, "it is cut short"),
            Self::Empty => write!(f, "nothing was written there"),
            Self::Header => write!(f, "the header's checksum does not match"),
            Self::Version(version) => write!(f, "its format version {version} is not known to this build"),
            Self::Field(field) => write!(f, "the header field `{field}` holds an impossible value"),
            Self::Body => write!(f, "the body's checksum does not match"),
        }
    }
}

impl BatchHeader {
    /// The header at the start of `bytes`, checked by itself; the body is not looked at.
    ///
    /// # Errors
    /// [`BatchError`], never `Body`.
    pub fn parse(bytes: &[u8]) -> Result<&Self, BatchError> {
        let (header, _) = Self::ref_from_prefix(bytes).map_err(|_| BatchError::Short)?;
        if header.as_bytes().iter().all(|byte| *byte == 0) {
            return Err(BatchError::Empty);
        }
        if header.magic.get() != BATCH_MAGIC || header.header_crc.get() != header.compute_crc() {
            return Err(BatchError::Header);
        }
        if header.version != BATCH_VERSION {
            return Err(BatchError::Version(header.version));
        }
        let length = header.length.get() as usize;
        if !(BATCH_ALIGN..=BATCH_MAX).contains(&length) || !length.is_multiple_of(BATCH_ALIGN) {
            return Err(BatchError::Field("length"));
        }
        if !header.position.get().is_multiple_of(BATCH_ALIGN as u64) {
            return Err(BatchError::Field("position"));
        }
        if BatchKind::from_wire(header.kind).is_none() {
            return Err(BatchError::Field("kind"));
        }
        if header.reserved.get() != 0 {
            return Err(BatchError::Field("reserved"));
        }
        Ok(header)
    }

    fn compute_crc(&self) -> u32 {
        let bytes = self.as_bytes();
        crc32c::crc32c(&bytes[..BATCH_HEADER - 4])
    }

    /// What the batch holds.
    ///
    /// # Panics
    /// On a header that [`BatchHeader::parse`] would refuse.
    #[must_use]
    pub fn kind(&self) -> BatchKind {
        BatchKind::from_wire(self.kind).expect("parse checked the kind")
    }

    /// Bytes of the batch.
    #[must_use]
    pub fn len(&self) -> usize {
        self.length.get() as usize
    }

    /// A batch is never empty: it has a header.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        false
    }

    /// Where it starts.
    #[must_use]
    pub fn position(&self) -> Position {
        Position(self.position.get())
    }

    /// Where the next batch starts.
    #[must_use]
    pub fn end(&self) -> Position {
        self.position().plus(self.len() as u64)
    }

    /// Its number.
    #[must_use]
    pub fn index(&self) -> BatchIndex {
        BatchIndex(self.index.get())
    }

    /// Its term.
    #[must_use]
    pub fn term(&self) -> Term {
        Term(self.term.get())
    }

    /// Seq of its first record.
    #[must_use]
    pub fn first_seq(&self) -> Seq {
        Seq(self.first_seq.get())
    }

    /// Seq of the first record behind it.
    #[must_use]
    pub fn next_seq(&self) -> Seq {
        Seq(self.first_seq.get() + u64::from(self.count.get()))
    }

    /// Batch time.
    #[must_use]
    pub fn time(&self) -> Nanos {
        Nanos(self.time.get())
    }

    /// Chain value of the batch before.
    #[must_use]
    pub const fn previous(&self) -> Chain {
        Chain(self.previous)
    }
}

/// Writes the header into the first [`BATCH_HEADER`] bytes of `batch`, whose body is complete and zero
/// behind its last record.
///
/// # Panics
/// If the length is no multiple of [`BATCH_ALIGN`] or over [`BATCH_MAX`].
pub fn seal(batch: &mut [u8], seal: &Seal) {
    assert!(batch.len().is_multiple_of(BATCH_ALIGN) && (BATCH_ALIGN..=BATCH_MAX).contains(&batch.len()));
    let mut header = BatchHeader {
        magic: BATCH_MAGIC.into(),
        version: BATCH_VERSION,
        kind: seal.kind as u8,
        reserved: 0.into(),
        length: (batch.len() as u32).into(),
        count: seal.count.into(),
        unsynced: seal.unsynced.into(),
        position: seal.position.0.into(),
        index: seal.index.0.into(),
        term: seal.term.0.into(),
        first_seq: seal.first_seq.0.into(),
        time: seal.time.0.into(),
        previous: seal.previous.0,
        body_crc: crc32c::crc32c(&batch[BATCH_HEADER..]).into(),
        header_crc: U32::new_zeroed(),
    };
    header.header_crc = header.compute_crc().into();
    batch[..BATCH_HEADER].copy_from_slice(header.as_bytes());
}

/// The chain value of a sealed batch: BLAKE3 of all its bytes, keyed with the value of the batch before.
#[must_use]
pub fn chain(previous: Chain, batch: &[u8]) -> Chain {
    Chain(*blake3::keyed_hash(&previous.0, batch).as_bytes())
}

/// A batch in place whose header and body checksums hold.
#[derive(Clone, Copy, Debug)]
pub struct BatchView<'a> {
    /// The header, in place.
    pub header: &'a BatchHeader,
    bytes: &'a [u8],
}

impl<'a> BatchView<'a> {
    /// The batch at the start of `bytes`, header and body checked.
    ///
    /// # Errors
    /// [`BatchError`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BatchError> {
        let view = Self::trusted(bytes)?;
        if crc32c::crc32c(&view.bytes[BATCH_HEADER..]) != view.header.body_crc.get() {
            return Err(BatchError::Body);
        }
        Ok(view)
    }

    /// As [`BatchView::parse`] for bytes that this process wrote or has checked: the body's checksum is
    /// not computed again.
    ///
    /// # Errors
    /// [`BatchError`], never `Body`.
    pub fn trusted(bytes: &'a [u8]) -> Result<Self, BatchError> {
        let header = BatchHeader::parse(bytes)?;
        let bytes = bytes.get(..header.len()).ok_or(BatchError::Short)?;
        Ok(Self { header, bytes })
    }

    /// All bytes of the batch.
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The body with its padding.
    #[must_use]
    pub fn body(&self) -> &'a [u8] {
        &self.bytes[BATCH_HEADER..]
    }

    /// The body of a segment-start batch.
    #[must_use]
    pub fn segment_start(&self) -> Option<&'a SegmentStart> {
        (self.header.kind() == BatchKind::SegmentStart)
            .then(|| SegmentStart::ref_from_prefix(self.body()).ok().map(|(start, _)| start))
            .flatten()
    }

    /// The records with their seqs, in order. Yields an error and ends where a record is malformed.
    #[must_use]
    pub fn records(&self) -> Records<'a> {
        let holds_records = matches!(self.header.kind(), BatchKind::Data | BatchKind::Genesis);
        Records {
            rest: self.body(),
            left: if holds_records { self.header.count.get() } else { 0 },
            seq: self.header.first_seq(),
        }
    }
}

/// Iterator of [`BatchView::records`].
#[derive(Clone, Debug)]
pub struct Records<'a> {
    rest: &'a [u8],
    left: u16,
    seq: Seq,
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<(Seq, RecordView<'a>), BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let Some((view, rest)) = RecordView::split(self.rest) else {
            self.left = 0;
            return Some(Err(BatchError::Field("record")));
        };
        let seq = self.seq;
        self.rest = rest;
        self.seq = seq.next();
        Some(Ok((seq, view)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{RecordHeader, RecordKind};

    fn batch() -> Vec<u8> {
        let mut bytes = vec![0; 256];
        let header = RecordHeader { length: 5.into(), kind: RecordKind::Request as u8, ..Default::default() };
        bytes[96..128].copy_from_slice(header.as_bytes());
        bytes[128..133].copy_from_slice(b"hello");
        seal(
            &mut bytes,
            &Seal {
                kind: BatchKind::Data,
                count: 1,
                unsynced: 2,
                position: Position(128),
                index: BatchIndex(3),
                term: Term(1),
                first_seq: Seq(10),
                time: Nanos(77),
                previous: Chain([5; 32]),
            },
        );
        bytes
    }

    #[test]
    fn a_sealed_batch_reads_back() {
        let bytes = batch();
        let view = BatchView::parse(&bytes).unwrap();
        assert_eq!(view.header.end(), Position(384));
        let records: Vec<_> = view.records().map(Result::unwrap).collect();
        assert_eq!(records.len(), 1);
        assert_eq!(records[0].0, Seq(10));
        assert_eq!(records[0].1.payload, b"hello");
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let good = batch();
        for bit in 0..good.len() * 8 {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(BatchView::parse(&bytes).is_err(), "bit {bit}");
        }
        for cut in 0..good.len() {
            assert!(BatchView::parse(&good[..cut]).is_err(), "cut {cut}");
        }
    }

    #[test]
    fn the_chain_depends_on_the_batch_before() {
        let bytes = batch();
        assert_ne!(chain(Chain([0; 32]), &bytes), chain(Chain([1; 32]), &bytes));
    }
}
