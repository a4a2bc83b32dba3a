//! Why a node cannot start from its data directory, in words for the operator.

use crate::state::StateFault;
use crate::verify::Fault;
use core::fmt;
use ordain_agent::disk::DiskError;
use ordain_types::control::ControlError;
use ordain_types::{BatchIndex, ClusterId};

/// A batch that was synced and is not there any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Segment.
    pub segment: u64,
    /// Offset in the segment's file.
    pub offset: u64,
    /// Number of the batch that should be there.
    pub index: BatchIndex,
    /// What is wrong with what is there.
    pub fault: Fault,
    /// The stored watermark.
    pub watermark: BatchIndex,
    /// Above the watermark: the batch whose header says that the bad one was synced.
    pub proof: Option<BatchIndex>,
}

/// Why a node cannot start from its data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecoveryError {
    /// An operation failed.
    Disk {
        /// What was being done.
        doing: String,
        /// Why it failed.
        error: DiskError,
    },
    /// There are segments but no node state.
    StateMissing {
        /// How many segments.
        segments: u64,
    },
    /// The node-state file cannot be used.
    State(StateFault),
    /// The data directory belongs to another cluster.
    OtherCluster {
        /// Which.
        found: ClusterId,
        /// Which it should be.
        expected: ClusterId,
    },
    /// The journal was written under other cluster facts.
    OtherFacts,
    /// A segment that must exist does not.
    MissingSegment {
        /// Its number.
        number: u64,
    },
    /// Nothing of the segment behind the only snapshot that can be used is whole, and it is not known to have been synced.
    Unbound {
        /// Its number.
        number: u64,
    },
    /// A segment's file has the wrong length.
    FileSize {
        /// Segment.
        number: u64,
        /// Bytes it has.
        found: u64,
        /// Bytes it should have.
        expected: u64,
    },
    /// A segment belongs to another cluster.
    ForeignSegment {
        /// Segment.
        number: u64,
        /// The cluster it belongs to.
        found: ClusterId,
    },
    /// A segment was written with another segment size.
    SegmentSize {
        /// Segment.
        number: u64,
        /// Bytes of a segment, as it says.
        found: u64,
    },
    /// A newer build wrote the journal.
    Version {
        /// Segment.
        segment: u64,
        /// Offset in its file.
        offset: u64,
        /// The version found.
        version: u8,
    },
    /// A control batch, whole, that this build cannot read.
    Control {
        /// Its number.
        index: BatchIndex,
        /// What is wrong.
        error: ControlError,
    },
    /// A batch that was synced is damaged.
    Corrupt(Damage),
    /// In an earlier life the node computed something else than others.
    Diverged {
        /// What was noted then.
        evidence: String,
    },
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { segment, offset, index, fault, watermark, proof } = self;
        write!(f, "segment {segment}, offset {offset}: batch {index} was synced and is damaged: {fault} ")?;
        match proof {
            None => write!(f, "(the node state says that batches up to {watermark} were synced)"),
            Some(by) => write!(f, "(batch {by}, behind it, says that it was synced)"),
        }
    }
}

impl fmt::Display for RecoveryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk { doing, error } => {
                write!(
                    f,
                    "{doing} failed: {error}. Check the disk and the directory's permissions, then start again"
                )
            }
            Self::StateMissing { segments } => write!(
                f,
                "the data directory holds {segments} segments but no node-state file, so it is not known how \
                 the node voted or what it had synced. Restore the directory whole, or start with an empty one \
                 as a node that rejoins"
            ),
            Self::State(StateFault([first, second])) => write!(
                f,
                "the node-state file cannot be used: slot 0 is {first}; slot 1 is {second}. Use the build that \
                 wrote it if a version is unknown; otherwise restore the data directory whole, or start with an \
                 empty one as a node that rejoins"
            ),
            Self::OtherCluster { found, expected } => write!(
                f,
                "the data directory belongs to cluster {found}, not to {expected}. Point the node at its own \
                 directory"
            ),
            Self::OtherFacts => write!(
                f,
                "the journal was written under other cluster facts (policy, sizes or bounds). Start with the \
                 facts it was created with"
            ),
            Self::MissingSegment { number } => write!(
                f,
                "segment {number} is missing, though the log reaches it, and no snapshot that can be used stands in \
                 for it. Restore it from a backup or a peer; do not create it empty"
            ),
            Self::Unbound { number } => write!(
                f,
                "segment {number}, behind the only snapshot that can be used, does not begin with a batch, so nothing says \
                 that the snapshot is of this log. Restore the directory whole from a backup, or start with an empty \
                 one as a node that rejoins"
            ),
            Self::FileSize { number, found, expected } => write!(
                f,
                "segment {number} has {found} bytes instead of {expected}. Restore it from a backup or a peer"
            ),
            Self::ForeignSegment { number, found } => write!(
                f,
                "segment {number} belongs to cluster {found}. Put the segment of this cluster in its place"
            ),
            Self::SegmentSize { number, found } => write!(
                f,
                "segment {number} says that segments have {found} bytes, which the cluster facts deny. Start \
                 with the facts the journal was created with"
            ),
            Self::Version { segment, offset, version } => write!(
                f,
                "segment {segment}, offset {offset}: a batch of format version {version}, which this build does \
                 not know. Start the build that wrote it"
            ),
            Self::Diverged { evidence } => write!(
                f,
                "the node has diverged: {evidence}. Its state is not to be trusted, and its snapshots may hold it, so it \
                 does not start from this data directory. Keep the directory as evidence, find out what the node did \
                 otherwise, and give it a new one: docs/operate/failures.md"
            ),
            Self::Control { index, error } => {
                write!(
                    f,
                    "batch {index} is whole, but: {error}. Start the build that wrote it, or a newer one"
                )
            }
            Self::Corrupt(damage) => write!(
                f,
                "{damage}. The node must not serve from this journal: keep a copy of it, see its extent with \
                 `ordain journal verify`, and restore the directory from a peer or a backup"
            ),
        }
    }
}

impl std::error::Error for RecoveryError {}
