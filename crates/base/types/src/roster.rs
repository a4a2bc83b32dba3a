//! What a node knows of its cluster, as it tells those who are signed in. Layout: `docs/format/client.md`.

use crate::configuration::{ADDRESS_MAX, Configuration, MemberRole, Seat, Stage};
use crate::facts::{AckPolicy, ClusterFacts};
use crate::frame::REPLY_MAX;
use crate::members::Member;
use crate::{ClusterId, Nanos, NodeId, Term, align_up};
use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned,
    little_endian::{U16, U32, U64},
};

/// Begins each page of the members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct RosterHead {
    /// [`Configuration::version`] of the latest configuration in the node's log, committed or not.
    pub version: U64,
    /// Highest election term that the node has seen.
    pub term: U64,
    /// The node that answers.
    pub node: U32,
    /// Number of the leader plus one; 0 if the node knows none.
    pub leader: U32,
    /// Copies that gate an answer: received, of these synced.
    pub copies: [u8; 2],
    /// The same as the operator wants them: they differ while voters change.
    pub wanted: [u8; 2],
    /// [`flag`].
    pub flags: U16,
    /// Level of the application's behaviour.
    pub level: U16,
    /// W.
    pub unsynced_max: U64,
    /// Members in all.
    pub members: U32,
    /// Number of the next new member.
    pub next_id: U32,
}

/// Bits of [`RosterHead::flags`].
pub mod flag {
    /// The configuration is a step on the way to another.
    pub const CHANGING: u16 = 1;
    /// The copies that the policy names cannot exist at present.
    pub const NO_COPIES: u16 = 2;
}

/// Begins a member; its two addresses follow, and zeros to a multiple of 8 bytes.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct EntryHead {
    id: U32,
    role: u8,
    zero: u8,
    peer: U16,
    client: U16,
    zeros: [u8; 6],
    key: [u8; 32],
}

const _: () = assert!(size_of::<RosterHead>() + size_of::<EntryHead>() + 2 * ADDRESS_MAX + 8 <= REPLY_MAX);

impl RosterHead {
    /// What stands in front of a page of `configuration`, as node `node` sees it.
    #[must_use]
    pub fn new(
        configuration: &Configuration,
        node: NodeId,
        term: Term,
        leader: Option<NodeId>,
        no_copies: bool,
    ) -> Self {
        let changing = if configuration.stage == Stage::Settled { 0 } else { flag::CHANGING };
        // There are nine voters at most.
        let copies = |policy: AckPolicy| [policy.received as u8, policy.durable as u8];
        Self {
            version: configuration.version.into(),
            term: term.0.into(),
            node: node.0.into(),
            leader: leader.map_or(0, |leader| leader.0 + 1).into(),
            copies: copies(configuration.copies()),
            wanted: copies(configuration.policy),
            flags: (changing | if no_copies { flag::NO_COPIES } else { 0 }).into(),
            level: configuration.level.into(),
            unsynced_max: configuration.unsynced_max.into(),
            members: (configuration.members.len() as u32).into(),
            next_id: configuration.next_id.0.into(),
        }
    }

    /// The leader, if the node knows one.
    #[must_use]
    pub fn leader(&self) -> Option<NodeId> {
        self.leader.get().checked_sub(1).map(NodeId)
    }

    /// Whether a flag is set.
    #[must_use]
    pub fn has(&self, flag: u16) -> bool {
        self.flags.get() & flag != 0
    }
}

/// Writes a page behind `out`: the head, and as many members from number `first` on as fit into a node's
/// frame. At least one does.
pub fn write_page(out: &mut Vec<u8>, head: &RosterHead, members: &[Seat], first: u64) {
    let begin = out.len();
    out.extend_from_slice(head.as_bytes());
    for Seat { member, role } in members.iter().filter(|seat| u64::from(seat.member.id.0) >= first) {
        let Member { id, peer, client, key } = member;
        let len = align_up(size_of::<EntryHead>() + peer.len() + client.len(), 8);
        if out.len() - begin + len > REPLY_MAX {
            return;
        }
        let entry = EntryHead {
            id: id.0.into(),
            role: *role as u8,
            peer: (peer.len() as u16).into(),
            client: (client.len() as u16).into(),
            key: *key,
            ..EntryHead::default()
        };
        let end = out.len() + len;
        out.extend_from_slice(entry.as_bytes());
        out.extend_from_slice(peer.as_bytes());
        out.extend_from_slice(client.as_bytes());
        out.resize(end, 0);
    }
}

/// The inverse of [`write_page`]; `None` if the bytes are no page.
#[must_use]
pub fn read_page(bytes: &[u8]) -> Option<(RosterHead, Vec<Seat>)> {
    let (head, mut rest) = RosterHead::read_from_prefix(bytes).ok()?;
    let mut members = Vec::new();
    while !rest.is_empty() {
        let (entry, behind) = EntryHead::read_from_prefix(rest).ok()?;
        let (peer, client) = (usize::from(entry.peer.get()), usize::from(entry.client.get()));
        if peer.max(client) > ADDRESS_MAX {
            return None;
        }
        let text = |from: usize, to: usize| core::str::from_utf8(behind.get(from..to)?).ok();
        let member = Member {
            id: NodeId(entry.id.get()),
            peer: text(0, peer)?.to_owned(),
            client: text(peer, peer + client)?.to_owned(),
            key: entry.key,
        };
        members.push(Seat { member, role: MemberRole::from_wire(entry.role)? });
        rest = rest.get(align_up(size_of::<EntryHead>() + peer + client, 8)..)?;
    }
    Some((head, members))
}

/// The facts of a cluster as it was created, and whom its first records trust: what a new node needs besides
/// the members to write the same log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct FactsBody {
    /// [`ClusterFacts::cluster`].
    pub cluster: [u8; 16],
    /// The first operator's key.
    pub operator: [u8; 32],
    /// The other facts, in the order of [`ClusterFacts`].
    pub numbers: [U64; 14],
}

impl FactsBody {
    /// From the facts.
    #[must_use]
    pub fn new(facts: &ClusterFacts, operator: [u8; 32]) -> Self {
        Self { cluster: facts.cluster.0, operator, numbers: facts.numbers().map(U64::new) }
    }

    /// The facts; `None` if a number is none that its fact can have.
    #[must_use]
    pub fn facts(&self) -> Option<ClusterFacts> {
        let [created, voters, received, durable, unsynced, segment, rest @ ..] = self.numbers.map(U64::get);
        let [batch, payload, sessions, per_key, window, reply, timeout, outputs] = rest;
        let small = |number: u64| u32::try_from(number).ok();
        let facts = ClusterFacts {
            cluster: ClusterId(self.cluster),
            created: Nanos(created),
            voters: small(voters)?,
            policy: AckPolicy { received: small(received)?, durable: small(durable)? },
            unsynced_max: unsynced,
            segment_size: segment,
            batch_max: small(batch)?,
            payload_max: small(payload)?,
            sessions_max: small(sessions)?,
            sessions_per_key: small(per_key)?,
            window: small(window)?,
            reply_max: small(reply)?,
            session_timeout: Nanos(timeout),
            step_outputs_max: small(outputs)?,
        };
        facts.check().is_ok().then_some(facts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(members: u32, address: usize) -> Configuration {
        let facts = ClusterFacts::new(ClusterId([1; 16]), Nanos(1), 3);
        let member = |id: u32| {
            let text = |kind: char| format!("{kind}{}:{id}", "x".repeat(address));
            Member { id: NodeId(id), peer: text('p'), client: text('c'), key: [id as u8; 32] }
        };
        Configuration::initial(&facts, &(0..members).map(member).collect::<Vec<_>>())
    }

    /// All members, page by page, and how many pages that took.
    fn read_all(cluster: &Configuration) -> (Vec<Seat>, usize) {
        let head = RosterHead::new(cluster, NodeId(1), Term(9), Some(NodeId(0)), false);
        assert_eq!((head.leader(), head.copies, head.wanted), (Some(NodeId(0)), [2, 1], [2, 1]));
        let (mut all, mut pages) = (Vec::new(), 0);
        while all.len() < cluster.members.len() {
            let mut bytes = Vec::new();
            let first = all.last().map_or(0, |last: &Seat| u64::from(last.member.id.0) + 1);
            write_page(&mut bytes, &head, &cluster.members, first);
            assert!(bytes.len() <= REPLY_MAX);
            let (read, members) = read_page(&bytes).unwrap();
            assert_eq!(read, head);
            assert!(!members.is_empty(), "each page brings somebody");
            all.extend(members);
            pages += 1;
        }
        (all, pages)
    }

    #[test]
    fn every_member_is_on_some_page() {
        let short = cluster(3, 10);
        assert_eq!(read_all(&short), (short.members.clone(), 1));
        let long = cluster(16, ADDRESS_MAX - 5);
        assert_eq!(read_all(&long), (long.members.clone(), 16));
    }

    #[test]
    fn what_is_cut_is_no_page() {
        let cluster = cluster(2, 9);
        let mut bytes = Vec::new();
        let head = RosterHead::new(&cluster, NodeId(0), Term(1), None, true);
        write_page(&mut bytes, &head, &cluster.members, 0);
        assert_eq!(read_page(&bytes).unwrap().1.len(), 2);
        for len in 0..bytes.len() {
            assert!(read_page(&bytes[..len]).is_none_or(|(_, members)| members.len() < 2), "{len}");
        }
        bytes[size_of::<RosterHead>() + 4] = 9;
        assert_eq!(read_page(&bytes), None, "an unknown role");
    }

    #[test]
    fn facts_survive_and_impossible_ones_do_not() {
        let facts = ClusterFacts { window: 77, ..ClusterFacts::new(ClusterId([3; 16]), Nanos(5), 3) };
        let body = FactsBody::new(&facts, [9; 32]);
        assert_eq!(body.facts(), Some(facts));
        for at in 1..14 {
            let mut bad = body;
            bad.numbers[at] = u64::MAX.into();
            assert_eq!(bad.facts().is_some(), at == 4 || at == 12, "number {at}");
        }
    }
}
