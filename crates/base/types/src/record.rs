//! A record: one entry of the log. A client's request is laid out as a record already on its socket
//! ([`crate::frame`]); the node fills in `key` and `permissions` and from then on nobody re-encodes it.
//!
//! A record is a [`RecordHeader`] and `length` payload bytes, zero-padded to a multiple of 8.

use crate::{KeyId, Number, SessionId, align_up};
use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned,
    little_endian::{U16, U32, U64},
};

/// Bytes of a [`RecordHeader`].
pub const RECORD_HEADER: usize = 32;
/// Records start at multiples of this within a batch.
pub const RECORD_ALIGN: usize = 8;
/// Longest payload of a record, bytes. Half of the batch bound, so that a batch always holds one.
pub const PAYLOAD_MAX: usize = 64 * 1024;

/// What a record asks for. Kinds from [`RecordKind::Request`] on are sequenced as they stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RecordKind {
    /// A command of the application, exactly once per (session, number).
    Request = 1,
    /// Opens a session. `number` is a correlation that the gateway chose and the reply echoes.
    /// Payload: [`crate::frame::OpenBody`].
    SessionOpen = 2,
    /// Closes the session; its replies are forgotten.
    SessionClose = 3,
    /// Keeps an idle session from expiring; confirms replies through `open_span`. Not answered.
    SessionKeepAlive = 4,
    /// Lets timers fire when nothing else is sequenced. Made by the node; empty.
    Tick = 5,
    /// Adds or replaces a key. Payload: [`crate::frame::KeyBody`]. Needs `OPERATOR`, or genesis.
    KeySet = 6,
    /// A seed request of the application, in the genesis batch only; key 0, all permissions.
    Genesis = 7,
    /// The session, which the application watches, is attached to no connection. Made by the node; empty.
    SessionLost = 8,
}

impl RecordKind {
    /// The kind with this number on the wire.
    #[must_use]
    pub const fn from_wire(wire: u8) -> Option<Self> {
        Some(match wire {
            1 => Self::Request,
            2 => Self::SessionOpen,
            3 => Self::SessionClose,
            4 => Self::SessionKeepAlive,
            5 => Self::Tick,
            6 => Self::KeySet,
            7 => Self::Genesis,
            8 => Self::SessionLost,
            _ => return None,
        })
    }
}

/// Fixed part of a record, 32 bytes, little-endian.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct RecordHeader {
    /// Payload bytes, without header and padding.
    pub length: U32,
    /// [`RecordKind`].
    pub kind: u8,
    /// Schema version of the payload; the application's own.
    pub schema: u8,
    /// `number` minus the lowest number of the session that the client still holds open (0: none
    /// older). Replies below are forgotten.
    pub open_span: U16,
    /// Session, 0 if none.
    pub session: U64,
    /// Number in the session.
    pub number: U64,
    /// Key that signed in on the connection. Zero on a client's wire.
    pub key: U32,
    /// Permissions of that key when the request was admitted. Zero on a client's wire.
    pub permissions: U32,
}

const _: () = assert!(size_of::<RecordHeader>() == RECORD_HEADER);
const _: () = assert!(RECORD_HEADER.is_multiple_of(RECORD_ALIGN));

impl RecordHeader {
    /// The kind, if known.
    #[must_use]
    pub const fn kind(&self) -> Option<RecordKind> {
        RecordKind::from_wire(self.kind)
    }

    /// The session.
    #[must_use]
    pub fn session(&self) -> SessionId {
        SessionId(self.session.get())
    }

    /// The number in the session.
    #[must_use]
    pub fn number(&self) -> Number {
        Number(self.number.get())
    }

    /// The lowest number that the client still holds open.
    #[must_use]
    pub fn lowest_open(&self) -> Number {
        Number(self.number.get().saturating_sub(u64::from(self.open_span.get())))
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> KeyId {
        KeyId(self.key.get())
    }

    /// Bytes of the whole record with header and padding.
    #[must_use]
    pub const fn record_len(&self) -> usize {
        record_len(self.length.get() as usize)
    }
}

/// Bytes of a record with `payload` bytes of payload.
#[must_use]
pub const fn record_len(payload: usize) -> usize {
    align_up(RECORD_HEADER + payload, RECORD_ALIGN)
}

/// A record in place.
#[derive(Clone, Copy, Debug)]
pub struct RecordView<'a> {
    /// The header, in place.
    pub header: &'a RecordHeader,
    /// The payload, without padding.
    pub payload: &'a [u8],
}

impl<'a> RecordView<'a> {
    /// The record at the start of `bytes`, and the bytes behind its padding.
    ///
    /// `None` if `bytes` ends before the record does, the length is over [`PAYLOAD_MAX`], the kind is
    /// unknown, or padding is not zero.
    #[must_use]
    pub fn split(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (header, rest) = RecordHeader::ref_from_prefix(bytes).ok()?;
        let length = header.length.get() as usize;
        header.kind()?;
        if length > PAYLOAD_MAX {
            return None;
        }
        let padded = record_len(length) - RECORD_HEADER;
        let (body, rest) = rest.split_at_checked(padded)?;
        let (payload, padding) = body.split_at(length);
        if padding.iter().any(|byte| *byte != 0) {
            return None;
        }
        Some((Self { header, payload }, rest))
    }
}

/// Permission bits that the runtime knows; bits from [`permission::APPLICATION`] on are the application's.
pub mod permission {
    /// May add keys, stop and steer the node. Has a reserved share of admission.
    pub const OPERATOR: u32 = 1;
    /// Another node of the cluster.
    pub const PEER: u32 = 2;
    /// First bit that an application may define.
    pub const APPLICATION: u32 = 1 << 8;
    /// Everything: what the genesis batch acts with.
    pub const ALL: u32 = u32::MAX;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(payload: &[u8]) -> Vec<u8> {
        let header = RecordHeader {
            length: (payload.len() as u32).into(),
            kind: RecordKind::Request as u8,
            session: 9.into(),
            number: 4.into(),
            open_span: 3.into(),
            ..Default::default()
        };
        let mut bytes = header.as_bytes().to_vec();
        bytes.extend_from_slice(payload);
        bytes.resize(record_len(payload.len()), 0);
        bytes
    }

    #[test]
    fn a_record_is_read_in_place() {
        let mut bytes = record(b"hello");
        bytes.extend_from_slice(b"next");
        let (view, rest) = RecordView::split(&bytes).unwrap();
        assert_eq!(view.payload, b"hello");
        assert_eq!(view.header.lowest_open(), Number(1));
        assert_eq!(rest, b"next");
    }

    #[test]
    fn a_record_cut_anywhere_is_no_record() {
        let bytes = record(b"hello");
        for cut in 0..bytes.len() {
            assert!(RecordView::split(&bytes[..cut]).is_none(), "cut at {cut}");
        }
    }

    #[test]
    fn hostile_headers_are_refused() {
        let good = record(b"hello");
        let spoil = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            RecordView::split(&bytes).is_none()
        };
        assert!(spoil(2, 2), "length over the bound");
        assert!(spoil(4, 0) && spoil(4, 99), "unknown kind");
        assert!(spoil(good.len() - 1, 1), "padding");
    }
}
