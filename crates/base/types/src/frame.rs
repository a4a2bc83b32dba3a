//! Frames between a client and a node. Layout: `docs/format/client.md`.
//!
//! What a client sends is laid out as a record ([`crate::record`]): a 32-byte header, the payload, zero
//! padding to a multiple of 8. Frames whose kind is a [`RecordKind`](crate::RecordKind) become records
//! as they stand; the others ([`ClientFrame`]) end in the gateway. What a node sends has a header of
//! the same size, [`ServerHeader`], and the same padding.

use crate::{Number, Seq, SessionId, align_up};
use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned,
    little_endian::{U16, U32, U64},
};

/// Version of the client protocol that this build speaks.
pub const PROTOCOL_VERSION: u16 = 1;
/// Bytes of a [`ServerHeader`].
pub const SERVER_HEADER: usize = 32;
/// Longest reply, output or answer body, bytes, that a node ever sends.
pub const REPLY_MAX: usize = 1024;

/// Kinds of frame that a client sends and that are not records. The numbers of the header fields differ
/// in meaning per kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ClientFrame {
    /// First frame. Payload: [`HelloBody`].
    Hello = 64,
    /// Second frame, answering the challenge. Payload: [`ProofBody`].
    Proof = 65,
    /// Attaches a session to this connection, fencing the connection that had it. `session`: which.
    Resume = 66,
    /// A query. `number`: an id of the client's choosing, echoed. Payload: the application's.
    Query = 67,
    /// Reads outputs. Payload: [`SubscribeBody`].
    Subscribe = 68,
    /// Ends a subscription. Payload: [`SubscribeBody`] (`from` ignored).
    Unsubscribe = 69,
    /// Answered with [`ServerFrame::Pong`]; `number` is echoed. Keeps a connection from idling out.
    Ping = 70,
    /// Asks for a [`Receipt`](crate::Receipt). `number`: an id of the client's choosing, echoed. Payload:
    /// [`ReceiptAskBody`].
    Receipt = 71,
    /// Asks which keys the cluster knows. `number`: an id of the client's choosing, echoed. Payload: [`KeysBody`].
    Keys = 72,
    /// An operator changes the cluster. `number`: an id of the client's choosing, echoed. Payload:
    /// [`Steer`](crate::steer::Steer).
    Steer = 73,
    /// Asks any node who the members are and who leads. `number`: an id of the client's choosing, echoed. Payload:
    /// [`MembersBody`].
    Members = 74,
    /// Asks any node for the cluster's facts. `number`: an id of the client's choosing, echoed. No payload.
    Facts = 75,
}

impl ClientFrame {
    /// The kind with this number on the wire.
    #[must_use]
    pub const fn from_wire(wire: u8) -> Option<Self> {
        Some(match wire {
            64 => Self::Hello,
            65 => Self::Proof,
            66 => Self::Resume,
            67 => Self::Query,
            68 => Self::Subscribe,
            69 => Self::Unsubscribe,
            70 => Self::Ping,
            71 => Self::Receipt,
            72 => Self::Keys,
            73 => Self::Steer,
            74 => Self::Members,
            75 => Self::Facts,
            _ => return None,
        })
    }
}

/// Kinds of frame that a node sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ServerFrame {
    /// Answer to a Request, SessionClose or KeySet: `session`, `number` echoed; `code`; `seq` of the
    /// record in the log where there is one. Payload: the application's reply if executed.
    Reply = 1,
    /// A session was opened: `session` is new, `number` echoes the client's correlation, `seq` that of
    /// the opening record.
    Opened = 2,
    /// Answer to Resume: `number` is the next number that the session expects, `seq` the lowest number
    /// whose reply is still kept. `code` is Executed, UnknownSession or WrongKey.
    Resumed = 3,
    /// Answer to a Query: `number` echoed; `seq`: last record that the answer reflects. Payload: the
    /// application's answer.
    Answer = 4,
    /// An output: `number` is its [`OutputSeq`](crate::OutputSeq), `session` its stream
    /// ([`Stream::to_wire`](crate::Stream::to_wire)), `seq` the record that caused it.
    Output = 5,
    /// Answer to Subscribe: `session` the stream, `number` the first output that follows.
    /// `code` Executed, TooOld (`seq`: the oldest kept) or NotPermitted.
    Subscribed = 6,
    /// Answer to Hello. Payload: [`ChallengeBody`].
    Challenge = 7,
    /// The connection is authenticated. Payload: [`WelcomeBody`].
    Welcome = 8,
    /// Answer to Ping.
    Pong = 9,
    /// The node closes the connection: `code` says why, the payload is a sentence in UTF-8, or, if it is
    /// NotLeader, the leader's address.
    Goodbye = 10,
    /// Answer to [`ClientFrame::Receipt`]: `number` echoed; `seq` the record. Payload: [`ReceiptBody`] if
    /// executed.
    Receipt = 11,
    /// Answer to [`ClientFrame::Keys`]: `number` echoed; `seq`: last record that it reflects. Payload:
    /// [`KeyEntry`]s in the order of their numbers if executed; none if there are no more.
    Keys = 12,
    /// Answer to [`ClientFrame::Steer`]: `number` echoed; `seq`: index of the batch that holds the change, 0 if
    /// none does. Payload: why not, a sentence in UTF-8, if refused.
    Steered = 13,
    /// Answer to [`ClientFrame::Members`]: `number` echoed. Payload: a page ([`crate::roster`]).
    Members = 14,
    /// Answer to [`ClientFrame::Facts`]: `number` echoed. Payload: [`FactsBody`](crate::roster::FactsBody).
    Facts = 15,
}

impl ServerFrame {
    /// The kind with this number on the wire.
    #[must_use]
    pub const fn from_wire(wire: u8) -> Option<Self> {
        Some(match wire {
            1 => Self::Reply,
            2 => Self::Opened,
            3 => Self::Resumed,
            4 => Self::Answer,
            5 => Self::Output,
            6 => Self::Subscribed,
            7 => Self::Challenge,
            8 => Self::Welcome,
            9 => Self::Pong,
            10 => Self::Goodbye,
            11 => Self::Receipt,
            12 => Self::Keys,
            13 => Self::Steered,
            14 => Self::Members,
            15 => Self::Facts,
            _ => return None,
        })
    }
}

/// Fixed part of a frame from a node, 32 bytes, little-endian.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct ServerHeader {
    /// Payload bytes, without header and padding.
    pub length: U32,
    /// [`ServerFrame`].
    pub kind: u8,
    /// [`Code`](crate::codes::Code).
    pub code: u8,
    /// [`Lineage`](crate::Lineage) in force.
    pub lineage: U16,
    /// Session; for outputs, the stream.
    pub session: U64,
    /// Number in the session, query id or [`OutputSeq`](crate::OutputSeq).
    pub number: U64,
    /// Seq in the log.
    pub seq: U64,
}

const _: () = assert!(size_of::<ServerHeader>() == SERVER_HEADER);
const _: () = assert!(SERVER_HEADER == crate::record::RECORD_HEADER);

impl ServerHeader {
    /// Bytes of the whole frame.
    #[must_use]
    pub const fn frame_len(&self) -> usize {
        frame_len(self.length.get() as usize)
    }

    /// The session.
    #[must_use]
    pub fn session(&self) -> SessionId {
        SessionId(self.session.get())
    }

    /// The number.
    #[must_use]
    pub fn number(&self) -> Number {
        Number(self.number.get())
    }

    /// The seq.
    #[must_use]
    pub fn seq(&self) -> Seq {
        Seq(self.seq.get())
    }
}

/// Bytes of a node's frame with `payload` bytes of payload.
#[must_use]
pub const fn frame_len(payload: usize) -> usize {
    align_up(SERVER_HEADER + payload, 8)
}

/// Body of [`ClientFrame::Hello`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct HelloBody {
    /// [`PROTOCOL_VERSION`] of the client.
    pub version: U16,
    /// [`role`](crate::frame::role).
    pub role: u8,
    /// Zero.
    pub reserved: [u8; 5],
    /// Cluster that the client means; zeros if it will take any.
    pub cluster: [u8; 16],
    /// The client's Ed25519 public key.
    pub key: [u8; 32],
    /// Fresh random bytes of the client.
    pub nonce: [u8; 32],
}

/// As what somebody connects.
pub mod role {
    /// A client.
    pub const CLIENT: u8 = 1;
    /// Another node.
    pub const PEER: u8 = 2;
}

/// Body of [`ServerFrame::Challenge`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct ChallengeBody {
    /// Version that the node chose.
    pub version: U16,
    /// Zero.
    pub reserved: [u8; 6],
    /// The node's cluster.
    pub cluster: [u8; 16],
    /// The node's Ed25519 public key.
    pub key: [u8; 32],
    /// Fresh random bytes of the node.
    pub nonce: [u8; 32],
    /// The node's signature of the transcript.
    pub signature: [u8; 64],
}

/// Body of [`ClientFrame::Proof`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct ProofBody {
    /// The client's signature of the transcript.
    pub signature: [u8; 64],
}

/// Body of [`ServerFrame::Welcome`]: the bounds that the client must keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct WelcomeBody {
    /// The key's number in the log.
    pub key: U32,
    /// The key's permissions.
    pub permissions: U32,
    /// Requests of one session that may be open at a time.
    pub window: U32,
    /// Longest request payload, bytes.
    pub payload_max: U32,
    /// A session without records for this long expires, nanoseconds of log time.
    pub session_timeout: U64,
    /// A connection without a frame for this long is closed, nanoseconds.
    pub idle_timeout: U64,
}

/// Body of a [`RecordKind::SessionOpen`](crate::RecordKind::SessionOpen) record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct OpenBody {
    /// Zero; room for what a session may ask for.
    pub reserved: [u8; 8],
}

/// Body of a [`RecordKind::KeySet`](crate::RecordKind::KeySet) record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct KeyBody {
    /// The Ed25519 public key.
    pub key: [u8; 32],
    /// Its permissions from now on; 0 revokes it.
    pub permissions: U32,
    /// Zero.
    pub reserved: [u8; 4],
}

/// Body of Subscribe and Unsubscribe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct SubscribeBody {
    /// [`Stream::to_wire`](crate::Stream::to_wire).
    pub stream: U64,
    /// First output wanted, from 1; 0 for the next one to come.
    pub from: U64,
}

/// Body of [`ClientFrame::Receipt`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct ReceiptAskBody {
    /// Record that the receipt must cover; 0 for the last one.
    pub seq: U64,
}

/// Body of [`ServerFrame::Receipt`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct ReceiptBody {
    /// [`Receipt::index`](crate::Receipt::index).
    pub index: U64,
    /// [`Receipt::chain`](crate::Receipt::chain).
    pub chain: [u8; 32],
}

/// Body of [`ClientFrame::Keys`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct KeysBody {
    /// Number of the first key wanted, from 1.
    pub first: U64,
}

/// Body of [`ClientFrame::Members`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct MembersBody {
    /// Lowest number of a member wanted.
    pub first: U64,
    /// 0: as they are; 1: as the cluster was made.
    pub made: U64,
}

/// A key that the cluster knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct KeyEntry {
    /// The Ed25519 public key.
    pub key: [u8; 32],
    /// Its permissions; 0 if it was revoked.
    pub permissions: U32,
    /// Its number in the log.
    pub number: U32,
}

/// Entries in one answer.
pub const KEYS_PER_ANSWER: usize = REPLY_MAX / size_of::<KeyEntry>();

/// Reads a body of fixed size; `None` if the payload has another length.
#[must_use]
pub fn body<T: FromBytes + KnownLayout + Immutable + Unaligned>(payload: &[u8]) -> Option<&T> {
    T::ref_from_bytes(payload).ok()
}

/// A frame of a node, in place.
#[derive(Clone, Copy, Debug)]
pub struct ServerView<'a> {
    /// The header, in place.
    pub header: &'a ServerHeader,
    /// The payload.
    pub payload: &'a [u8],
}

/// Why received bytes are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// More bytes are needed.
    Incomplete,
    /// No frame can begin like this.
    Malformed(&'static str),
}

impl<'a> ServerView<'a> {
    /// The frame at the start of `bytes`, and how many bytes it takes.
    ///
    /// # Errors
    /// [`FrameError`].
    pub fn split(bytes: &'a [u8]) -> Result<(Self, usize), FrameError> {
        let (header, _) = ServerHeader::ref_from_prefix(bytes).map_err(|_| FrameError::Incomplete)?;
        if ServerFrame::from_wire(header.kind).is_none() {
            return Err(FrameError::Malformed("unknown kind of frame"));
        }
        let length = header.length.get() as usize;
        if length > REPLY_MAX {
            return Err(FrameError::Malformed("length over the bound"));
        }
        let total = header.frame_len();
        let frame = bytes.get(..total).ok_or(FrameError::Incomplete)?;
        Ok((Self { header, payload: &frame[SERVER_HEADER..SERVER_HEADER + length] }, total))
    }
}
