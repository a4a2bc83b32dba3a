//! What nodes say to each other about snapshots. Layout: `docs/format/peer.md`.

use ordain_types::{BatchIndex, Position};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, little_endian::U64};

/// Kinds of frames.
pub mod kind {
    /// [`Announce`](super::Announce).
    pub const ANNOUNCE: u8 = 16;
}

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
    /// Its snapshots, the newest first.
    pub snapshots: [Option<Held>; 2],
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
    snapshots: [HeldBody; 2],
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
    pub fn encode(&self) -> [u8; 128] {
        let body = AnnounceBody {
            oldest: self.oldest.0.into(),
            applied: self.applied.0.into(),
            snapshots: self.snapshots.map(HeldBody::from),
        };
        let mut bytes = [0; 128];
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
        ordered.then_some(Self { oldest, applied, snapshots: [newest, older] })
    }
}

const _: () = assert!(size_of::<AnnounceBody>() == 128);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn held(position: u64, index: u64) -> Held {
        Held { position: Position(position), index: BatchIndex(index), bytes: 300, hash: [9; 32] }
    }

    #[test]
    fn what_is_announced_is_read() {
        let none = Announce { oldest: Position(4096), applied: BatchIndex(7), snapshots: [None; 2] };
        let one = Announce { snapshots: [Some(held(8192, 5)), None], ..none };
        let two = Announce { snapshots: [Some(held(12_288, 9)), Some(held(8192, 5))], ..none };
        for announce in [none, one, two] {
            assert_eq!(Announce::decode(&announce.encode()), Some(announce));
            assert_eq!(Announce::decode(&announce.encode()[..127]), None);
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
        let announce = Announce { oldest: Position(1), applied: BatchIndex(2), snapshots: [held, None] };
        let mut expected = [0; 128];
        for (at, number) in [(0, 1), (8, 2), (16, 3), (24, 4), (32, 5)] {
            expected[at] = number;
        }
        expected[40..72].fill(6);
        assert_eq!(announce.encode(), expected);
    }

    proptest! {
        #[test]
        fn hostile_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 128)) {
            if let Some(announce) = Announce::decode(&bytes) {
                prop_assert_eq!(&announce.encode()[..], &bytes[..]);
            }
        }
    }
}
