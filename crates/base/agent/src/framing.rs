//! How frames between nodes travel on a connection: each behind a prefix that says how long it is, and by which its
//! receiver sees whether it arrived as it left. Layout: `docs/format/peer.md`.
//!
//! A length is believed only when its own checksum is right: an altered one would otherwise make a receiver wait for
//! bytes that never come, deaf to everything else.

use crate::peer::PEER_FRAME_MAX;
use crate::planted::{self, Mistake};
use core::fmt;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, little_endian::U32};

/// Most bytes in front of a frame.
pub const PREFIX_MAX: usize = size_of::<Prefix>();

/// Bytes of a frame's own length, with which it begins.
const OWN_LENGTH: usize = size_of::<U32>();

#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Prefix {
    /// Bytes of the frame.
    length: U32,
    /// Of the frame, see [`checksum`].
    frame_crc: U32,
    /// Of the two before.
    crc: U32,
}

/// What stands in front of frames, by the version that both ends of a connection speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Version 1: a length and nothing else.
    Plain,
    /// From version 2 on: length and checksums.
    Checked,
}

/// Why what came is no frame that anybody sent. Nothing behind it can be believed: the connection must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// The prefix fails its checksum.
    Prefix,
    /// No frame has this length.
    Length(u32),
    /// The frame fails its checksum.
    Frame,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prefix => f.write_str("what stands in front of a frame fails its checksum"),
            Self::Length(length) => write!(f, "no frame has {length} bytes"),
            Self::Frame => f.write_str("a frame fails its checksum"),
        }
    }
}

impl std::error::Error for Damage {}

impl Framing {
    /// That of a version of the protocol between nodes.
    #[must_use]
    pub const fn of(version: u16) -> Self {
        if version < 2 { Self::Plain } else { Self::Checked }
    }

    /// Bytes in front of each frame.
    #[must_use]
    pub const fn prefix_len(self) -> usize {
        match self {
            Self::Plain => size_of::<U32>(),
            Self::Checked => PREFIX_MAX,
        }
    }

    /// What goes in front of a frame that is given in two parts: the first [`prefix_len`](Self::prefix_len) bytes.
    ///
    /// # Panics
    /// If the frame is longer than [`PEER_FRAME_MAX`], or `head` does not hold the length with which every frame begins.
    #[must_use]
    pub fn prefix(self, head: &[u8], body: &[u8]) -> [u8; PREFIX_MAX] {
        let length = head.len() + body.len();
        assert!(length <= PEER_FRAME_MAX, "a frame has at most PEER_FRAME_MAX bytes");
        assert!(head.len() >= OWN_LENGTH, "a frame begins with its own length");
        let mut prefix = Prefix { length: (length as u32).into(), frame_crc: 0.into(), crc: 0.into() };
        if self == Self::Checked {
            prefix.frame_crc = checksum(head, body).into();
            prefix.crc = prefix.checksum().into();
        }
        zerocopy::transmute!(prefix)
    }

    /// Length of the whole frame that begins behind the first [`prefix_len`](Self::prefix_len) bytes of `bytes`;
    /// `None` if more must come first.
    ///
    /// # Errors
    /// [`Damage`].
    pub fn first(self, bytes: &[u8]) -> Result<Option<usize>, Damage> {
        let Some((prefix, rest)) = bytes.split_at_checked(self.prefix_len()) else { return Ok(None) };
        // That of version 1 is shorter.
        let checked = Prefix::ref_from_bytes(prefix).ok();
        if checked.is_some_and(|prefix| prefix.crc.get() != prefix.checksum()) {
            return Err(Damage::Prefix);
        }
        let (length, _) = U32::ref_from_prefix(prefix).expect("both kinds begin with it");
        let (wire, length) = (length.get(), length.get() as usize);
        if !(1..=PEER_FRAME_MAX).contains(&length) {
            return Err(Damage::Length(wire));
        }
        let Some(frame) = rest.get(..length) else { return Ok(None) };
        let is_as_sent = checked.is_none_or(|prefix| prefix.frame_crc.get() == checksum(frame, &[]));
        if !is_as_sent && !planted::is(Mistake::FrameUnchecked) {
            return Err(Damage::Frame);
        }
        Ok(Some(length))
    }
}

impl Prefix {
    fn checksum(&self) -> u32 {
        crc32c::crc32c(&self.as_bytes()[..size_of::<Self>() - size_of::<U32>()])
    }
}

/// CRC32C of as much of a frame as it says at its front that header and body are. What follows, batches, has checksums
/// of its own, which the receiver looks at in any case: nothing is hashed twice.
fn checksum(head: &[u8], body: &[u8]) -> u32 {
    let all = head.len() + body.len();
    let own = U32::read_from_prefix(head).map_or(all, |(length, _)| length.get() as usize);
    // Whatever it says, its own length is covered.
    let covered = own.max(OWN_LENGTH).min(all);
    let first = covered.min(head.len());
    crc32c::crc32c_append(crc32c::crc32c(&head[..first]), &body[..covered - first])
}

#[cfg(test)]
mod tests;
