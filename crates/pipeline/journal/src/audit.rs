//! Checking a journal at rest, for tools: every checksum, the chain, and receipts against it.

use crate::state::Mark;
use crate::verify::{Fault, Verifier};
use core::fmt;
use ordain_types::LogEnd;
use ordain_types::batch::{BatchError, BatchView, SEGMENT_START_LEN};
use ordain_types::{BatchIndex, Chain, ClusterId, Receipt};

/// Bytes read at once.
const CHUNK: usize = 1024 * 1024;

/// The segments of a data directory, or of a copy of one.
pub trait SegmentSource {
    /// The segments with their sizes in bytes, ascending.
    ///
    /// # Errors
    /// In words for the operator.
    fn segments(&self) -> Result<Vec<(u64, u64)>, String>;

    /// Fills `buffer` from `offset` of a segment on, and says how many bytes there were.
    ///
    /// # Errors
    /// In words for the operator.
    fn read_at(&self, segment: u64, offset: u64, buffer: &mut [u8]) -> Result<usize, String>;
}

/// What the journal says to a receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Everything up to its batch is as it was when the receipt was given.
    Holds,
    /// The batch has this value instead: history was changed, or the receipt was, or belongs to another cluster.
    Differs(Chain),
    /// The batch ends before the record: the receipt was changed, or belongs to another cluster.
    NotCovered,
    /// The journal ends before the batch, or is damaged there.
    NotReached,
    /// The record's batch was trimmed.
    Trimmed,
}

/// A segment that was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentReport {
    /// Its number.
    pub number: u64,
    /// Whole batches in it.
    pub batches: u64,
    /// Records in them.
    pub records: u64,
    /// Bytes of them.
    pub bytes: u64,
}

/// What is wrong where the checked log ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// Segment.
    pub segment: u64,
    /// Offset in its file.
    pub offset: u64,
    /// What stands there instead of a batch. `Fault::Bytes(BatchError::Empty)`: nothing.
    pub fault: Fault,
}

/// What an audit found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The cluster, as the first segment says.
    pub cluster: ClusterId,
    /// Where the journal begins: [`LogEnd::EMPTY`], or behind what was trimmed. Of a trimmed journal `term`
    /// and `time` may be later ones, and nothing before this was checked.
    pub start: LogEnd,
    /// Per segment.
    pub segments: Vec<SegmentReport>,
    /// The end of the log as far as it is whole.
    pub end: LogEnd,
    /// What stands there; `None` if the last segment is full.
    pub stop: Option<End>,
    /// Batches up to this one must be whole: the watermark that the caller gave.
    pub watermark: Option<BatchIndex>,
    /// For each receipt, in the order given.
    pub verdicts: Vec<Verdict>,
}

impl Report {
    /// Whether nothing is wrong. What ends above the watermark may be torn, which recovery mends, but bytes
    /// that are no batch are reported all the same.
    #[must_use]
    pub fn is_good(&self) -> bool {
        let ends_well = self.stop.is_none_or(|end| end.fault == Fault::Bytes(BatchError::Empty));
        let reaches = self.watermark.is_none_or(|watermark| self.end.index >= watermark);
        ends_well && reaches && self.verdicts.iter().all(|verdict| *verdict == Verdict::Holds)
    }
}

/// Why an audit could not be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuditError {
    /// A segment could not be read.
    Read {
        /// Which.
        segment: u64,
        /// Why.
        cause: String,
    },
    /// The directory could not be listed.
    List(String),
    /// There is no segment, or one in between is missing.
    Missing(u64),
    /// The first segment does not begin with a segment start, so nothing is known of the journal.
    NoStart(Fault),
    /// A segment's file has another size than the first segment says.
    Size {
        /// Which.
        segment: u64,
        /// Bytes it has.
        found: u64,
        /// Bytes it should have.
        expected: u64,
    },
}

impl fmt::Display for AuditError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { segment, cause } => {
                write!(
                    f,
                    "reading segment {segment} failed: {cause}. Check the path, the disk and permissions"
                )
            }
            Self::List(cause) => write!(f, "listing the segments failed: {cause}. Check the path"),
            Self::Missing(segment) => {
                write!(
                    f,
                    "segment {segment} is missing. Audit a whole data directory, or restore the segment"
                )
            }
            Self::NoStart(fault) => write!(
                f,
                "the first segment does not begin with a segment start: {fault}. Restore it from a peer or a backup"
            ),
            Self::Size { segment, found, expected } => write!(
                f,
                "segment {segment} has {found} bytes instead of {expected}. Restore it from a peer or a backup"
            ),
        }
    }
}

impl std::error::Error for AuditError {}

/// Checks everything from the oldest batch to the last whole one, and shows each batch to `visit` with the
/// end of the log behind it. A journal that was trimmed begins with a later segment, and what its first batch says
/// of the log before it is taken for granted; [`Report::start`] tells. `watermark` is that of the node state, if at hand.
///
/// # Errors
/// [`AuditError`] if the journal cannot be read. What is wrong *in* it is in the report.
pub fn verify(
    source: &dyn SegmentSource,
    watermark: Option<Mark>,
    receipts: &[Receipt],
    visit: &mut dyn FnMut(&BatchView<'_>, &LogEnd),
) -> Result<Report, AuditError> {
    let files = source.segments().map_err(AuditError::List)?;
    let (cluster, segment_size, start) = first_start(source, &files)?;
    for (expected, (number, size)) in (files[0].0..).zip(&files) {
        if *number != expected {
            return Err(AuditError::Missing(expected));
        }
        if *size != segment_size {
            return Err(AuditError::Size { segment: *number, found: *size, expected: segment_size });
        }
    }

    let mut verifier = Verifier::with(cluster, segment_size, start);
    let unseen = |receipt: &Receipt| match receipt.index {
        index if index > start.index || start.index == BatchIndex(0) => Verdict::NotReached,
        index if index < start.index => Verdict::Trimmed,
        _ => judge(receipt, &start),
    };
    let mut verdicts: Vec<_> = receipts.iter().map(unseen).collect();
    let mut segments = Vec::with_capacity(files.len());
    let mut buffer = vec![0; CHUNK];
    let mut stop = None;
    for (number, _) in &files {
        let mut report = SegmentReport { number: *number, batches: 0, records: 0, bytes: 0 };
        while stop.is_none() && report.bytes < segment_size {
            let len = (segment_size - report.bytes).min(CHUNK as u64) as usize;
            read(source, *number, report.bytes, &mut buffer[..len])?;
            let from = report.bytes;
            loop {
                let rest = &buffer[(report.bytes - from) as usize..len];
                if rest.is_empty() {
                    break;
                }
                match verifier.check(rest).and_then(records_whole) {
                    Ok(batch) => {
                        let end = verifier.end();
                        for (receipt, verdict) in receipts.iter().zip(&mut verdicts) {
                            if receipt.index == end.index {
                                *verdict = judge(receipt, end);
                            }
                        }
                        report.batches += 1;
                        report.records += u64::from(batch.header.count.get());
                        report.bytes += batch.bytes().len() as u64;
                        visit(&batch, end);
                    }
                    // The chunk ends in the middle of the batch: read on from its start.
                    Err(Fault::Bytes(BatchError::Short)) if report.bytes > from => break,
                    Err(fault) => {
                        stop = Some(End { segment: *number, offset: report.bytes, fault });
                        break;
                    }
                }
            }
        }
        segments.push(report);
    }
    let watermark = watermark.map(|mark| mark.index);
    Ok(Report { cluster, start, segments, end: *verifier.end(), stop, watermark, verdicts })
}

/// What the log up to its batch says to a receipt.
fn judge(receipt: &Receipt, end: &LogEnd) -> Verdict {
    match receipt.chain == end.chain {
        _ if receipt.seq >= end.next_seq => Verdict::NotCovered,
        true => Verdict::Holds,
        false => Verdict::Differs(end.chain),
    }
}

fn records_whole(batch: BatchView<'_>) -> Result<BatchView<'_>, Fault> {
    match batch.records().find_map(Result::err) {
        Some(error) => Err(Fault::Bytes(error)),
        None => Ok(batch),
    }
}

/// What the first segment says of itself, and of the log before it.
fn first_start(
    source: &dyn SegmentSource,
    files: &[(u64, u64)],
) -> Result<(ClusterId, u64, LogEnd), AuditError> {
    let (first, _) = *files.first().ok_or(AuditError::Missing(0))?;
    let mut buffer = [0; SEGMENT_START_LEN];
    read(source, first, 0, &mut buffer)?;
    let batch = BatchView::parse(&buffer).map_err(|error| AuditError::NoStart(Fault::Bytes(error)))?;
    let start = batch.segment_start().ok_or(AuditError::NoStart(Fault::Place))?;
    let before = match first {
        0 => LogEnd::EMPTY,
        _ => LogEnd {
            position: batch.header.position(),
            index: BatchIndex(batch.header.index().0.saturating_sub(1)),
            term: batch.header.term(),
            next_seq: batch.header.first_seq(),
            chain: batch.header.previous(),
            time: batch.header.time(),
        },
    };
    match start.segment_size.get() {
        size if size > 0
            && size.is_multiple_of(SEGMENT_START_LEN as u64)
            && first.checked_mul(size) == Some(before.position.0) =>
        {
            Ok((start.cluster(), size, before))
        }
        size => Err(AuditError::NoStart(Fault::SegmentSize(size))),
    }
}

fn read(source: &dyn SegmentSource, segment: u64, offset: u64, buffer: &mut [u8]) -> Result<(), AuditError> {
    match source.read_at(segment, offset, buffer) {
        Ok(moved) if moved == buffer.len() => Ok(()),
        Ok(moved) => {
            let cause = format!("it ends at offset {}", offset + moved as u64);
            Err(AuditError::Read { segment, cause })
        }
        Err(cause) => Err(AuditError::Read { segment, cause }),
    }
}
