//! What an operator asks of a running cluster, as a client's frame carries it. Layout: `docs/format/client.md`.

use crate::NodeId;
use crate::configuration::ADDRESS_MAX;
use crate::facts::AckPolicy;
use crate::members::Member;
use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned,
    little_endian::{U16, U64},
};

/// Longest encoded [`Steer`], bytes.
pub const STEER_MAX: usize = size_of::<SteerHead>() + size_of::<MemberHead>() + 2 * ADDRESS_MAX;
/// Longest sentence, bytes, in the answer to one that was refused.
pub const REASON_MAX: usize = 256;

/// A change of the cluster, or of who leads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Steer {
    /// A new node gets the log; it counts for nothing yet.
    AddLearner(Member),
    /// A learner becomes a voter.
    Promote(NodeId),
    /// A member goes, whatever it was.
    Remove(NodeId),
    /// Other copies gate an answer.
    AckPolicy(AckPolicy),
    /// Another W: batches that a node may hold un-synced and still count as received.
    UnsyncedMax(u64),
    /// Another voter leads; with `None`, the one that has the most of the log.
    Transfer(Option<NodeId>),
    /// The application's behaviour changes, for all nodes at the same record.
    Level(u16),
}

/// What begins an encoded [`Steer`].
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct SteerHead {
    kind: u8,
    received: u8,
    durable: u8,
    zero: [u8; 5],
    value: U64,
}

/// What begins an encoded member, in front of its two addresses.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct MemberHead {
    key: [u8; 32],
    peer: U16,
    client: U16,
    zero: [u8; 4],
}

mod kind {
    pub const ADD_LEARNER: u8 = 1;
    pub const PROMOTE: u8 = 2;
    pub const REMOVE: u8 = 3;
    pub const ACK_POLICY: u8 = 4;
    pub const UNSYNCED_MAX: u8 = 5;
    pub const TRANSFER: u8 = 6;
    pub const LEVEL: u8 = 8;
}

impl Steer {
    /// Appends the bytes to `out`.
    ///
    /// # Panics
    /// If an address is longer than [`ADDRESS_MAX`], or a policy names more than 255 copies.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let copies = |count: u32| u8::try_from(count).expect("a policy names few copies");
        let mut head = SteerHead::default();
        (head.kind, head.value) = match self {
            Self::AddLearner(member) => (kind::ADD_LEARNER, u64::from(member.id.0).into()),
            Self::Promote(id) => (kind::PROMOTE, u64::from(id.0).into()),
            Self::Remove(id) => (kind::REMOVE, u64::from(id.0).into()),
            Self::AckPolicy(policy) => {
                (head.received, head.durable) = (copies(policy.received), copies(policy.durable));
                (kind::ACK_POLICY, 0.into())
            }
            Self::UnsyncedMax(batches) => (kind::UNSYNCED_MAX, (*batches).into()),
            Self::Transfer(to) => (kind::TRANSFER, to.map_or(0, |id| u64::from(id.0) + 1).into()),
            Self::Level(level) => (kind::LEVEL, u64::from(*level).into()),
        };
        out.extend_from_slice(head.as_bytes());
        if let Self::AddLearner(Member { peer, client, key, .. }) = self {
            let length = |text: &str| {
                assert!(text.len() <= ADDRESS_MAX, "an address is too long");
                U16::new(text.len() as u16)
            };
            let head = MemberHead { key: *key, peer: length(peer), client: length(client), zero: [0; 4] };
            out.extend_from_slice(head.as_bytes());
            out.extend_from_slice(peer.as_bytes());
            out.extend_from_slice(client.as_bytes());
        }
    }

    /// The inverse; `None` if the bytes are no such thing.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (head, rest) = SteerHead::read_from_prefix(bytes).ok()?;
        let id = || u32::try_from(head.value.get()).ok().map(NodeId);
        let is_policy = head.kind == kind::ACK_POLICY;
        if head.zero != [0; 5] || (!is_policy && (head.received, head.durable) != (0, 0)) {
            return None;
        }
        let steer = match head.kind {
            kind::ADD_LEARNER => return member(id()?, rest).map(Self::AddLearner),
            kind::PROMOTE => Self::Promote(id()?),
            kind::REMOVE => Self::Remove(id()?),
            kind::ACK_POLICY if head.value.get() == 0 => {
                Self::AckPolicy(AckPolicy { received: head.received.into(), durable: head.durable.into() })
            }
            kind::UNSYNCED_MAX => Self::UnsyncedMax(head.value.get()),
            kind::TRANSFER => Self::Transfer(match head.value.get() {
                0 => None,
                to => Some(NodeId(u32::try_from(to - 1).ok()?)),
            }),
            kind::LEVEL => Self::Level(u16::try_from(head.value.get()).ok()?),
            _ => return None,
        };
        rest.is_empty().then_some(steer)
    }
}

fn member(id: NodeId, bytes: &[u8]) -> Option<Member> {
    let (head, rest) = MemberHead::read_from_prefix(bytes).ok()?;
    let (peer, client) = rest.split_at_checked(head.peer.get().into())?;
    let is_sound = head.zero == [0; 4]
        && client.len() == usize::from(head.client.get())
        && peer.len().max(client.len()) <= ADDRESS_MAX;
    let text = |bytes: &[u8]| core::str::from_utf8(bytes).ok().map(str::to_owned);
    is_sound.then_some(())?;
    Some(Member { id, peer: text(peer)?, client: text(client)?, key: head.key })
}

const _: () = assert!(STEER_MAX <= 1024);

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Steer> {
        let member = Member {
            id: NodeId(3),
            peer: "host-3:7500".to_owned(),
            client: "host-3:7400".to_owned(),
            key: [7; 32],
        };
        vec![
            Steer::AddLearner(member),
            Steer::Promote(NodeId(3)),
            Steer::Remove(NodeId(0)),
            Steer::AckPolicy(AckPolicy { received: 2, durable: 1 }),
            Steer::UnsyncedMax(1 << 40),
            Steer::Transfer(None),
            Steer::Transfer(Some(NodeId(0))),
            Steer::Level(2),
        ]
    }

    fn bytes(steer: &Steer) -> Vec<u8> {
        let mut bytes = Vec::new();
        steer.encode(&mut bytes);
        bytes
    }

    #[test]
    fn what_is_written_is_read() {
        for steer in all() {
            assert_eq!(Steer::decode(&bytes(&steer)), Some(steer));
        }
    }

    #[test]
    fn what_is_cut_or_longer_is_nothing() {
        for steer in all() {
            let mut whole = bytes(&steer);
            (0..whole.len())
                .for_each(|len| assert_eq!(Steer::decode(&whole[..len]), None, "{steer:?} {len}"));
            whole.push(0);
            assert_eq!(Steer::decode(&whole), None, "{steer:?}");
        }
    }

    #[test]
    fn what_must_be_zero_is() {
        for at in 1..8 {
            let mut bad = bytes(&Steer::Promote(NodeId(3)));
            bad[at] = 1;
            assert_eq!(Steer::decode(&bad), None, "byte {at}");
        }
        assert_eq!(Steer::decode(&[9; 16]), None);
        assert_eq!(Steer::decode(&[0; 16]), None);
    }

    #[test]
    fn the_layout_stays() {
        let policy = Steer::AckPolicy(AckPolicy { received: 2, durable: 1 });
        assert_eq!(bytes(&policy), [4, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        let add = &bytes(&all()[0]);
        assert_eq!(add[..16], [1, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(add[16..48], [7; 32]);
        assert_eq!(add[48..56], [11, 0, 11, 0, 0, 0, 0, 0]);
        assert_eq!(&add[56..], b"host-3:7500host-3:7400");
    }
}
