//! The disk as a stage sees it: operations go in with the buffers they own and come out finished.

use core::fmt;
use core::ops::Deref;
use ordain_ring::log::PinnedBytes;

/// A file of a node's data directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileId {
    /// Segment number `n`: log positions `n * segment_size ..`.
    Segment(u64),
    /// The two-slot node-state file.
    NodeState,
    /// What the cluster agreed on when it was created.
    Facts,
    /// A snapshot of the state before this log position.
    Snapshot(u64),
    /// The snapshot under construction. Writes behind its end make it longer.
    SnapshotDraft,
    /// The mended copy of a segment, under construction.
    SegmentDraft,
    /// A snapshot of this log position that another node sends, as far as it has come. Writes behind its end make it
    /// longer.
    Incoming(u64),
    /// Says that this node computed something else than others: no node starts beside it.
    Diverged,
    /// Says that an incoming snapshot takes the log's place. Writes behind its end make it longer.
    Succession,
}

/// Bytes that an operation writes.
#[derive(Debug)]
pub enum IoBytes {
    /// A range of the log ring, in place; pinned until the operation is done.
    Ring(PinnedBytes),
    /// A buffer, handed back when done.
    Owned(Vec<u8>),
}

impl Deref for IoBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Ring(pinned) => pinned,
            Self::Owned(bytes) => bytes,
        }
    }
}

/// One operation. `tag` comes back with the completion and means nothing to the port.
#[derive(Debug)]
pub enum DiskOp {
    /// Writes `bytes` at `offset`. Done when the operating system has them.
    Write {
        /// Echoed.
        tag: u64,
        /// Where.
        file: FileId,
        /// Where in the file.
        offset: u64,
        /// What.
        bytes: IoBytes,
    },
    /// Makes every write to `file` submitted before it durable.
    Sync {
        /// Echoed.
        tag: u64,
        /// Which file.
        file: FileId,
    },
    /// Fills `buffer` from `offset` on; the result says how many bytes the file had.
    Read {
        /// Echoed.
        tag: u64,
        /// Where.
        file: FileId,
        /// Where in the file.
        offset: u64,
        /// Filled up to its length.
        buffer: Vec<u8>,
    },
    /// Creates `file` of `size` zero bytes that are allocated and durable, directory entry included,
    /// replacing an older file of that name. On failure no file is left behind.
    Create {
        /// Echoed.
        tag: u64,
        /// Which.
        file: FileId,
        /// Bytes.
        size: u64,
    },
    /// Removes `file`, durably. Removing what is not there succeeds.
    Remove {
        /// Echoed.
        tag: u64,
        /// Which.
        file: FileId,
    },
    /// Gives `from` the name `to`, durably, replacing an older file of that name.
    Rename {
        /// Echoed.
        tag: u64,
        /// Which; what was written to it is synced.
        from: FileId,
        /// Its new name.
        to: FileId,
    },
    /// Lists the files with their sizes, in the order of [`FileId`].
    List {
        /// Echoed.
        tag: u64,
        /// Filled.
        files: Vec<(FileId, u64)>,
    },
}

impl DiskOp {
    /// The tag.
    #[must_use]
    pub const fn tag(&self) -> u64 {
        match self {
            Self::Write { tag, .. }
            | Self::Sync { tag, .. }
            | Self::Read { tag, .. }
            | Self::Create { tag, .. }
            | Self::Remove { tag, .. }
            | Self::Rename { tag, .. }
            | Self::List { tag, .. } => *tag,
        }
    }
}

/// Why an operation failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskError {
    /// The file system is full, or a quota is.
    NoSpace,
    /// No such file.
    NotFound,
    /// The process may not.
    Denied(String),
    /// Anything else; the device or the operating system said so.
    Io(String),
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSpace => write!(f, "no space left on the file system"),
            Self::NotFound => write!(f, "no such file"),
            Self::Denied(what) => write!(f, "permission denied: {what}"),
            Self::Io(what) => write!(f, "{what}"),
        }
    }
}

/// A finished operation with its buffers.
#[derive(Debug)]
pub struct DiskDone {
    /// The operation as submitted; reads and lists are filled.
    pub op: DiskOp,
    /// Bytes moved (0 for operations that move none).
    pub result: Result<usize, DiskError>,
}

/// A lane to the disk. Operations of one lane take effect in the order of submission, so that a sync
/// covers the writes submitted before it. Different lanes are independent. Completions come in order.
pub trait Disk: Send {
    /// Operations that may be submitted before one is done.
    fn free(&self) -> usize;

    /// Submits an operation.
    ///
    /// # Panics
    /// If [`Disk::free`] is 0.
    fn submit(&mut self, op: DiskOp);

    /// The next finished operation, if any.
    fn poll(&mut self) -> Option<DiskDone>;
}

impl<D: Disk + ?Sized> Disk for Box<D> {
    fn free(&self) -> usize {
        (**self).free()
    }

    fn submit(&mut self, op: DiskOp) {
        (**self).submit(op);
    }

    fn poll(&mut self) -> Option<DiskDone> {
        (**self).poll()
    }
}
