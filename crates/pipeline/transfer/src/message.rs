//! What nodes say to each other about snapshots. Layout: `docs/format/peer.md`.

use ordain_types::batch::SEGMENT_START_LEN;
use ordain_types::{BatchIndex, Position};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, little_endian::U64};

/// Kinds of frames.
pub mod kind {
    /// [`Announce`](super::Announce).
    pub const ANNOUNCE: u8 = 16;
    /// [`Offer`](super::Offer).
    pub const OFFER: u8 = 17;
    /// [`Range`](super::Range): send me these bytes.
    pub const ASK: u8 = 18;
    /// [`Range`](super::Range), and the bytes behind it.
    pub const PART: u8 = 19;
    /// A position (8): the sender does not have that snapshot any more.
    pub const GONE: u8 = 20;
    /// A position (8): what the receiver sent of that snapshot is not what it should be, again and again.
    pub const REFUSE: u8 = 21;
}

/// Most bytes of a snapshot that are asked for at once, and so are on the way to a node.
pub const ASK_MAX: u64 = 256 * 1024;
/// Most bytes of a snapshot in one frame.
pub const PART_MAX: usize = 64 * 1024;

/// A snapshot that a node holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Its log position.
    pub position: Position,
    /// The last batch that it stands for.
    pub index: BatchIndex,
    /// Bytes of its file.
    pub bytes: u64,
    /// The hash of its last chunk: nodes that agree have equal ones at equal positions.
    pub hash: [u8; 32],
}

/// What a node holds, as it tells the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Announce {
    /// Where its oldest segment begins.
    pub oldest: Position,
    /// The last batch that it applied.
    pub applied: BatchIndex,
    /// Position of a snapshot that it has a part of; 0 if there is none.
    pub partial: Position,
    /// Its snapshots, the newest first.
    pub snapshots: [Option<Held>; 2],
    /// The highest level of behaviour that its build has.
    pub level: u16,
}

/// A leader tells a node, which needs what it has removed, what it could begin with instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The snapshot.
    pub held: Held,
    /// The batch behind it, with which its segment begins.
    pub start: [u8; SEGMENT_START_LEN],
}

/// Bytes of a snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// Which.
    pub position: Position,
    /// Offset of the first byte.
    pub offset: u64,
    /// How many.
    pub len: u64,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RangeBody {
    position: U64,
    offset: U64,
    len: U64,
}

/// Bytes of an announcement's body.
pub const ANNOUNCE: usize = size_of::<AnnounceBody>();
/// Bytes of a range.
pub const RANGE: usize = size_of::<RangeBody>();
/// Bytes of an offer's body.
pub const OFFER: usize = size_of::<HeldBody>() + SEGMENT_START_LEN;

impl Offer {
    /// Its body.
    #[must_use]
    pub fn encode(&self) -> [u8; OFFER] {
        let mut bytes = [0; OFFER];
        let (held, start) = bytes.split_at_mut(size_of::<HeldBody>());
        held.copy_from_slice(HeldBody::from(Some(self.held)).as_bytes());
        start.copy_from_slice(&self.start);
        bytes
    }

    /// From a body; `None` if no node offers this.
    #[must_use]
    pub fn decode(body: &[u8]) -> Option<Self> {
        let (held, start) = HeldBody::ref_from_prefix(body).ok()?;
        Some(Self { held: held.held().ok()??, start: start.try_into().ok()? })
    }
}

impl Range {
    /// Its body, or the front of it.
    #[must_use]
    pub fn encode(&self) -> [u8; RANGE] {
        let body =
            RangeBody { position: self.position.0.into(), offset: self.offset.into(), len: self.len.into() };
        let mut bytes = [0; RANGE];
        bytes.copy_from_slice(body.as_bytes());
        bytes
    }

    /// From the front of a body, and what follows it; `None` if no node says this.
    #[must_use]
    pub fn decode(body: &[u8]) -> Option<(Self, &[u8])> {
        let (body, rest) = RangeBody::ref_from_prefix(body).ok()?;
        let range = Self {
            position: Position(number(body.position).ok()?),
            offset: number(body.offset).ok()?,
            len: number(body.len).ok()?,
        };
        (range.len > 0 && range.len <= ASK_MAX).then_some((range, rest))
    }
}

/// A body that is a position.
#[must_use]
pub fn position(body: &[u8]) -> Option<Position> {
    Some(Position(u64::from_le_bytes(body.try_into().ok()?)))
}

#[derive(Clone, Copy, Debug, Default, PartialEq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct HeldBody {
    position: U64,
    index: U64,
    bytes: U64,
    hash: [u8; 32],
}

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct AnnounceBody {
    oldest: U64,
    applied: U64,
    partial: U64,
    snapshots: [HeldBody; 2],
    level: U64,
}

impl From<Option<Held>> for HeldBody {
    fn from(held: Option<Held>) -> Self {
        let held = held.unwrap_or_default();
        Self {
            position: held.position.0.into(),
            index: held.index.0.into(),
            bytes: held.bytes.into(),
            hash: held.hash,
        }
    }
}

impl HeldBody {
    /// `Err` if no node holds such a snapshot.
    fn held(&self) -> Result<Option<Held>, ()> {
        if *self == Self::default() {
            return Ok(None);
        }
        let held = Held {
            position: Position(number(self.position)?),
            index: BatchIndex(number(self.index)?),
            bytes: number(self.bytes)?,
            hash: self.hash,
        };
        if held.position.0 == 0 || held.index.0 == 0 || held.bytes == 0 { Err(()) } else { Ok(Some(held)) }
    }
}

/// Half the number space is enough for everybody, and no sum of two numbers overflows.
fn number(wire: U64) -> Result<u64, ()> {
    Some(wire.get()).filter(|number| number >> 63 == 0).ok_or(())
}

impl Announce {
    /// Its body.
    #[must_use]
    pub fn encode(&self) -> [u8; ANNOUNCE] {
        let body = AnnounceBody {
            oldest: self.oldest.0.into(),
            applied: self.applied.0.into(),
            partial: self.partial.0.into(),
            snapshots: self.snapshots.map(HeldBody::from),
            level: u64::from(self.level).into(),
        };
        let mut bytes = [0; ANNOUNCE];
        body.write_to_prefix(&mut bytes).expect("that is its length");
        bytes
    }

    /// From a body; `None` if no node announces this.
    #[must_use]
    pub fn decode(body: &[u8]) -> Option<Self> {
        let body = AnnounceBody::ref_from_bytes(body).ok()?;
        let [newest, older] = body.snapshots.map(|held| held.held());
        let (newest, older) = (newest.ok()?, older.ok()?);
        let ordered = match (newest, older) {
            (Some(newest), Some(older)) => newest.position > older.position,
            (None, Some(_)) => false,
            _ => true,
        };
        let oldest = Position(number(body.oldest).ok()?);
        let applied = BatchIndex(number(body.applied).ok()?);
        let partial = Position(number(body.partial).ok()?);
        let level = u16::try_from(body.level.get()).ok()?;
        ordered.then_some(Self { oldest, applied, partial, snapshots: [newest, older], level })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn held(position: u64, index: u64) -> Held {
        Held { position: Position(position), index: BatchIndex(index), bytes: 300, hash: [9; 32] }
    }

    #[test]
    fn what_is_announced_is_read() {
        let none = Announce { oldest: Position(4096), applied: BatchIndex(7), ..Announce::default() };
        let one = Announce { snapshots: [Some(held(8192, 5)), None], ..none };
        let two = Announce { snapshots: [Some(held(12_288, 9)), Some(held(8192, 5))], ..none };
        for announce in [none, one, two] {
            assert_eq!(Announce::decode(&announce.encode()), Some(announce));
            assert_eq!(Announce::decode(&announce.encode()[..ANNOUNCE - 1]), None);
        }
        let swapped = Announce { snapshots: [two.snapshots[1], two.snapshots[0]], ..two };
        let late = Announce { snapshots: [None, one.snapshots[0]], ..one };
        for impossible in [swapped, late] {
            assert_eq!(Announce::decode(&impossible.encode()), None);
        }
    }

    /// Freezes the layout: `docs/format/peer.md` describes the same bytes.
    #[test]
    fn golden_announce() {
        let held = Some(Held { position: Position(3), index: BatchIndex(4), bytes: 5, hash: [6; 32] });
        let announce = Announce {
            oldest: Position(1),
            applied: BatchIndex(2),
            partial: Position(7),
            snapshots: [held, None],
            level: 8,
        };
        let mut expected = [0; 144];
        for (at, number) in [(0, 1), (8, 2), (16, 7), (24, 3), (32, 4), (40, 5), (136, 8)] {
            expected[at] = number;
        }
        expected[48..80].fill(6);
        assert_eq!(announce.encode(), expected);
    }

    #[test]
    fn golden_offer_and_range() {
        let offer = Offer { held: held(256, 3), start: [5; SEGMENT_START_LEN] };
        let bytes = offer.encode();
        assert_eq!((bytes.len(), bytes[1], bytes[8], bytes[24..56].to_vec()), (184, 1, 3, vec![9; 32]));
        assert_eq!(bytes[56..], [5; SEGMENT_START_LEN]);
        assert_eq!(Offer::decode(&bytes), Some(offer));
        assert_eq!((Offer::decode(&bytes[..183]), Offer::decode(&[0; OFFER])), (None, None));
        let range = Range { position: Position(1), offset: 2, len: 3 };
        let bytes = range.encode();
        assert_eq!((bytes[0], bytes[8], bytes[16], bytes.len()), (1, 2, 3, 24));
        assert_eq!(Range::decode(&[&bytes[..], b"rest"].concat()), Some((range, &b"rest"[..])));
        for len in [0, ASK_MAX + 1] {
            assert_eq!(Range::decode(&Range { len, ..range }.encode()), None);
        }
    }

    proptest! {
        #[test]
        fn hostile_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Some(announce) = Announce::decode(&bytes) {
                prop_assert_eq!(&announce.encode()[..], &bytes[..]);
            }
            if let Some(offer) = Offer::decode(&bytes) {
                prop_assert_eq!(&offer.encode()[..], &bytes[..]);
            }
            if let Some((range, rest)) = Range::decode(&bytes) {
                prop_assert_eq!([&range.encode()[..], rest].concat(), bytes);
            }
        }
    }
}
