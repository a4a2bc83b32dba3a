//! Messages on the rings between stages. They never leave the process; layouts may change at will.

use ordain_types::{BatchIndex, Stint};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, little_endian::U64};

/// Bytes of a [`Submission`].
pub const SUBMISSION: usize = 16;

/// What the gateway hands to the log stage, followed by a whole record or client frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Submission {
    /// [`submission`].
    pub kind: U64,
    /// The connection ([`crate::net::ConnId`]) that asks, for what is no record.
    pub conn: U64,
}

/// Bytes of a [`Question`].
pub const QUESTION: usize = 32;

/// What the log stage passes on to apply, followed by a whole client frame: it is answered from the state
/// after batch `after`, and the answer leaves when that is committed and read round `round` is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Question {
    /// [`submission`], never `RECORD`.
    pub kind: U64,
    /// The connection that asks.
    pub conn: U64,
    /// Batch after which it is answered.
    pub after: U64,
    /// Read round that the answer waits for.
    pub round: U64,
}

/// Kinds of [`Submission`].
pub mod submission {
    /// A record to be sequenced as it stands.
    pub const RECORD: u64 = 1;
    /// A query frame: passed on to apply, behind everything sequenced before it.
    pub const QUERY: u64 = 2;
    /// A Resume frame: apply tells what it knows of the session.
    pub const RESUME: u64 = 3;
    /// A request whose number was used before: apply looks for the original reply. Never sequenced.
    pub const DUPLICATE: u64 = 4;
    /// A Subscribe frame: apply decides whether the key may read the stream.
    pub const SUBSCRIBE: u64 = 5;
    /// A Receipt frame. As a [`Question`](super::Question) it is followed by [`Found`](super::Found).
    pub const RECEIPT: u64 = 6;
    /// A Keys frame of an operator.
    pub const KEYS: u64 = 7;
    /// A Steer frame of an operator. As a [`Question`](super::Question) it is followed by
    /// [`Steered`](super::Steered) and a sentence.
    pub const STEER: u64 = 8;
}

/// What the log stage made of a Steer frame; a sentence of at most
/// [`REASON_MAX`](ordain_types::steer::REASON_MAX) bytes follows if it was refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Steered {
    /// [`Code`](ordain_types::codes::Code).
    pub code: U64,
    /// The batch that holds the change, 0 if none does.
    pub index: U64,
}

/// What the log stage, which keeps the ends of recent batches, knows of a receipt that is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Found {
    /// The record.
    pub seq: U64,
    /// A batch at or behind it; 0 if the log does not reach it.
    pub index: U64,
    /// The chain value of that batch.
    pub chain: [u8; 32],
}

/// Bytes of a [`Delivery`].
pub const DELIVERY: usize = 48;

/// What apply hands to the gateway, followed by a whole server frame (or a body, for keys). It leaves when
/// `index` is committed in `stint` and read round `round` is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Delivery {
    /// [`delivery`].
    pub kind: U64,
    /// The connection, where the submission named one, or the correlation of a SessionOpen.
    pub conn: U64,
    /// Batch whose commitment is waited for.
    pub index: U64,
    /// Stint in which it was written. Outputs and keys carry 0: they wait for commitment alone.
    pub stint: U64,
    /// Read round that must be over; 0 for none.
    pub round: U64,
    /// For keys and sessions: the [`KeyId`](ordain_types::KeyId) concerned. For a stream: outputs so far.
    pub key: U64,
}

/// Kinds of [`Delivery`].
pub mod delivery {
    /// A Reply frame for whoever holds its session.
    pub const REPLY: u64 = 1;
    /// An Opened frame for connection `conn`; `key` owns the session.
    pub const OPENED: u64 = 2;
    /// An answer to a query, resume, duplicate or subscribe of connection `conn`.
    pub const ANSWER: u64 = 3;
    /// An output frame of a committed batch.
    pub const OUTPUT: u64 = 4;
    /// A [`KeyBody`](ordain_types::frame::KeyBody): key number `key` is as it says from now on.
    pub const KEY: u64 = 5;
    /// No frame: the session whose id is in `conn` was closed or has expired.
    pub const CLOSED: u64 = 6;
    /// No frame: apply starts over from an empty state; outputs and keys come anew from the first.
    pub const RESTART: u64 = 7;
    /// No frame: after a start from a snapshot, the stream in `conn` has had `key` outputs, which are not
    /// delivered.
    pub const STREAM: u64 = 8;
    /// No frame: from batch `index` on the application watches the session in `conn` (`key` 1), or does not (0).
    pub const WATCHED: u64 = 9;
}

/// What the shadow tells of a snapshot that it stored or began with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Stored {
    /// Its log position.
    pub position: U64,
    /// The last batch that it stands for.
    pub index: U64,
    /// Bytes of its file.
    pub bytes: U64,
    /// The hash of its last chunk.
    pub hash: [u8; 32],
}

const _: () = assert!(size_of::<Submission>() == SUBMISSION);
const _: () = assert!(size_of::<Question>() == QUESTION);
const _: () = assert!(size_of::<Delivery>() == DELIVERY);

impl Delivery {
    /// The batch whose commitment is waited for.
    #[must_use]
    pub fn index(&self) -> BatchIndex {
        BatchIndex(self.index.get())
    }

    /// The stint in which it was written.
    #[must_use]
    pub fn stint(&self) -> Stint {
        Stint(self.stint.get())
    }
}

/// What the log stage asks the journal to store before a vote or acknowledgement leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct VoteRequest {
    /// Number of the request, dense from 1; [`Cursors::vote_stored`](crate::shared::Cursors) answers it.
    pub number: U64,
    /// Term.
    pub term: U64,
    /// Node voted for plus one; 0 for none.
    pub voted_for: U64,
    /// Highest term in which an append was accepted, or led.
    pub ack_term: U64,
    /// Promise floor that is owed (rule R2): term and index; zeros for none.
    pub floor_term: U64,
    /// See `floor_term`.
    pub floor_index: U64,
    /// 1 if the node may have promised what it does not know (rule R9).
    pub blank: U64,
    /// Number of this life, if it rose; what is lower changes nothing.
    pub boot: U64,
}
