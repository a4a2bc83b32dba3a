//! Whether a batch may follow the log's end: the one check behind recovery, audit and reading back.

use ordain_types::batch::{BATCH_ALIGN, BatchError, BatchHeader, BatchKind, BatchView, SegmentStart};
use ordain_types::{BatchIndex, ClusterFacts, ClusterId, Lineage, LogEnd, Term};

/// Where a term begins in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TermStart {
    /// The term.
    pub term: Term,
    /// Its first batch.
    pub first: BatchIndex,
}

/// Why bytes are not the next batch of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// They are no batch at all.
    Bytes(BatchError),
    /// A whole batch, but not the one that follows: the field that differs, what it holds and what it should.
    Follow {
        /// The header field.
        field: &'static str,
        /// What the batch says.
        found: u64,
        /// What the log's end asks for, or the least that it allows.
        expected: u64,
    },
    /// Its header does not hold the chain value of the batch before it.
    Chain,
    /// It does not fit where it stands: it crosses the end of the segment, begins one without being a
    /// segment start, or is one elsewhere, or is a pad that does not end the segment or is not zero.
    Place,
    /// A segment start of another cluster.
    Cluster(ClusterId),
    /// A segment start that says another segment size, bytes.
    SegmentSize(u64),
}

impl core::fmt::Display for Fault {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Bytes(error) => write!(f, "{error}"),
            Self::Follow { field, found, expected } => {
                write!(f, "its `{field}` is {found}, but {expected} must follow here")
            }
            Self::Chain => write!(f, "it does not hold the chain value of the batch before it"),
            Self::Place => write!(f, "a batch of its kind and length cannot stand there"),
            Self::Cluster(cluster) => write!(f, "the segment belongs to cluster {cluster}"),
            Self::SegmentSize(size) => write!(f, "the segment says that segments have {size} bytes"),
        }
    }
}

/// Walks a log batch by batch and checks that each follows the one before.
#[derive(Clone, Debug)]
pub struct Verifier {
    cluster: ClusterId,
    segment_size: u64,
    end: LogEnd,
}

impl Verifier {
    /// A verifier of the log of the cluster with these facts, from `end` on.
    #[must_use]
    pub fn new(facts: &ClusterFacts, end: LogEnd) -> Self {
        Self::with(facts.cluster, facts.segment_size, end)
    }

    /// As [`Verifier::new`], for tools that know no more than this.
    ///
    /// # Panics
    /// If `segment_size` is no positive multiple of [`BATCH_ALIGN`].
    #[must_use]
    pub fn with(cluster: ClusterId, segment_size: u64, end: LogEnd) -> Self {
        assert!(segment_size > 0 && segment_size.is_multiple_of(BATCH_ALIGN as u64));
        Self { cluster, segment_size, end }
    }

    /// The end so far.
    #[must_use]
    pub const fn end(&self) -> &LogEnd {
        &self.end
    }

    /// Checks that `bytes` begin with the batch that follows, everything included, and moves the end
    /// behind it.
    ///
    /// # Errors
    /// [`Fault`]; the end stays.
    pub fn check<'a>(&mut self, bytes: &'a [u8]) -> Result<BatchView<'a>, Fault> {
        let batch = BatchView::parse(bytes).map_err(Fault::Bytes)?;
        self.check_place(&batch)?;
        let (end, header) = (&self.end, batch.header);
        let equal = |field, found: u64, expected: u64| match found == expected {
            true => Ok(()),
            false => Err(Fault::Follow { field, found, expected }),
        };
        let rising = |field, found: u64, expected: u64| match found >= expected {
            true => Ok(()),
            false => Err(Fault::Follow { field, found, expected }),
        };
        equal("position", header.position().0, end.position.0)?;
        equal("index", header.index().0, end.index.next().0)?;
        equal("first_seq", header.first_seq().0, end.next_seq.0)?;
        rising("term", header.term().0, end.term.0)?;
        rising("time", header.time().0, end.time.0)?;
        if let Some(start) = batch.segment_start() {
            equal("lineage", start.lineage.get().into(), Lineage::of(header.term()).0.into())?;
        }
        if header.previous() != end.chain {
            return Err(Fault::Chain);
        }
        self.end = self.end.after(&batch);
        Ok(batch)
    }

    fn check_place(&self, batch: &BatchView<'_>) -> Result<(), Fault> {
        let offset = self.end.position.0 % self.segment_size;
        let end = offset + batch.header.len() as u64;
        let kind = batch.header.kind();
        let fits = end <= self.segment_size
            && (offset == 0) == (kind == BatchKind::SegmentStart)
            && (kind != BatchKind::Pad
                || end == self.segment_size && batch.body().iter().all(|byte| *byte == 0));
        if !fits {
            return Err(Fault::Place);
        }
        if let Some(SegmentStart { cluster, segment_size, .. }) = batch.segment_start() {
            if *cluster != self.cluster.0 {
                return Err(Fault::Cluster(ClusterId(*cluster)));
            }
            if segment_size.get() != self.segment_size {
                return Err(Fault::SegmentSize(segment_size.get()));
            }
        }
        Ok(())
    }
}

/// Bytes of the whole batches at the start of `bytes`, as far as the headers tell; bodies are not looked at.
pub(crate) fn whole_batches(bytes: &[u8]) -> usize {
    let mut end = 0;
    while let Ok(header) = BatchHeader::parse(&bytes[end..]) {
        if header.len() > bytes.len() - end {
            break;
        }
        end += header.len();
    }
    end
}
