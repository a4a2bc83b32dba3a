//! What a [`Control`](crate::BatchKind::Control) batch holds: one entry about the cluster itself. Layout:
//! `docs/format/journal.md`.

use crate::BatchView;
use crate::batch::BATCH_HEADER;

/// Bytes in front of an entry's payload: kind, version of the payload's layout, six zeros.
pub const CONTROL_HEADER: usize = 8;

/// What an entry says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ControlKind {
    /// A [`Configuration`](crate::configuration::Configuration), whole.
    Configuration = 1,
    /// The log goes on though batches were lost (rule R7).
    LineageBreak = 3,
}

impl ControlKind {
    /// The kind with this number on the wire.
    #[must_use]
    pub const fn from_wire(wire: u8) -> Option<Self> {
        Some(match wire {
            1 => Self::Configuration,
            3 => Self::LineageBreak,
            _ => return None,
        })
    }
}

/// Why the body of a control batch is no entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlError {
    /// The batch is no control batch.
    OtherBatch,
    /// A kind that this build does not know.
    Kind(u8),
    /// A layout that this build does not read.
    Version(u8),
    /// A field holds an impossible value.
    Field(&'static str),
}

impl core::fmt::Display for ControlError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::OtherBatch => write!(f, "the batch is no control batch"),
            Self::Kind(kind) => write!(f, "a control entry of kind {kind}, which this build does not know"),
            Self::Version(version) => {
                write!(f, "a control entry of layout {version}, which this build does not read")
            }
            Self::Field(field) => write!(f, "the control entry's `{field}` holds an impossible value"),
        }
    }
}

impl core::error::Error for ControlError {}

/// The kind of a control batch's entry, the version of its layout, and its payload with the batch's padding.
///
/// # Errors
/// [`ControlError`].
pub fn parse<'a>(batch: &BatchView<'a>) -> Result<(ControlKind, u8, &'a [u8]), ControlError> {
    if batch.header.kind() != crate::BatchKind::Control {
        return Err(ControlError::OtherBatch);
    }
    let (head, payload) =
        batch.body().split_at_checked(CONTROL_HEADER).ok_or(ControlError::Field("length"))?;
    let kind = ControlKind::from_wire(head[0]).ok_or(ControlError::Kind(head[0]))?;
    if head[2..] != [0; CONTROL_HEADER - 2] {
        return Err(ControlError::Field("reserved"));
    }
    Ok((kind, head[1], payload))
}

/// Appends an entry's header to `out`: what a control batch's body begins with.
pub fn begin(kind: ControlKind, version: u8, out: &mut Vec<u8>) {
    out.extend_from_slice(&[kind as u8, version, 0, 0, 0, 0, 0, 0]);
}

const _: () = assert!(BATCH_HEADER + CONTROL_HEADER <= crate::batch::BATCH_ALIGN);
