//! Wire messages of the exchange: requests, queries, replies, answers and outputs.
//!
//! Every message is a block of fixed little-endian fields, described byte by byte in
//! `docs/format/exchange.md`. The structs here *are* those layouts: a message is read in place with
//! [`Request::decode`], [`Query::decode`], [`Reply::decode`], [`Answer::decode`] or [`Output::decode`], and
//! written by making the struct and taking [`zerocopy::IntoBytes::as_bytes`].
//!
//! Decoding never panics. It refuses unknown tags, other schema versions, wrong lengths, unknown
//! enumeration values, and reserved bytes that are not zero. What an engine decides about a well-formed
//! request (an unknown account, too little money) is a [`Reject`], not a [`Malformed`].
#![forbid(unsafe_code)]

mod auction;
mod control;
mod detail;
mod disconnect;
mod feed;
mod fees;
mod limits;
mod operate;
mod output;
mod query;
mod reject;
mod reply;
mod request;
mod values;

pub use auction::*;
pub use control::*;
pub use detail::*;
pub use disconnect::*;
pub use feed::*;
pub use fees::*;
pub use limits::*;
pub use operate::*;
pub use output::*;
pub use query::*;
pub use reject::Reject;
pub use reply::*;
pub use request::*;
pub use values::*;

pub use zerocopy::little_endian::{I32, I64, I128, U16, U32, U64, U128};
pub use zerocopy::{FromZeros, IntoBytes};

/// Longest reply, answer or output, bytes.
pub const MESSAGE_MAX: usize = 1024;

/// Reads a block of exactly the size of `T`.
fn block<T>(bytes: &[u8]) -> Result<&T, Malformed>
where
    T: zerocopy::TryFromBytes + zerocopy::KnownLayout + zerocopy::Immutable,
{
    match T::try_ref_from_bytes(bytes) {
        Ok(message) => Ok(message),
        Err(zerocopy::ConvertError::Size(_)) => Err(Malformed::Length),
        Err(_) => Err(Malformed::Value),
    }
}

/// The tag of a message of the schema that this build speaks.
fn tag(bytes: &[u8]) -> Result<u8, Malformed> {
    match bytes {
        [tag, 1, ..] => Ok(*tag),
        [_, _, ..] => Err(Malformed::Schema),
        _ => Err(Malformed::Length),
    }
}

/// Tag and schema version of a message.
fn head(bytes: &[u8]) -> Result<(u8, u8), Malformed> {
    match bytes {
        [tag, schema, ..] => Ok((*tag, *schema)),
        _ => Err(Malformed::Length),
    }
}

/// Why bytes are no message. The sender is at fault; nothing was executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// No message of this class has this tag.
    Tag,
    /// The message does not exist in this schema version.
    Schema,
    /// Too few bytes for the message, or bytes left over.
    Length,
    /// A field holds no value of its enumeration, a reserved byte is not zero, or a stated bound is broken.
    Value,
}

impl core::fmt::Display for Malformed {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Tag => "unknown message tag: check that the message is sent where its class belongs",
            Self::Schema => "this build knows no such schema version of the message",
            Self::Length => "wrong message length: send exactly the bytes of the layout",
            Self::Value => "a field holds an undefined value, or a reserved byte is not zero",
        })
    }
}

impl core::error::Error for Malformed {}
