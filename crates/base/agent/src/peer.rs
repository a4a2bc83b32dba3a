//! The other nodes as a node sees them: whole frames, which may be lost when a connection breaks but
//! arrive in order while it stands, header and body as they left ([`crate::framing`]).

use ordain_types::NodeId;
use ordain_types::members::Member;

/// Longest peer frame, bytes: a header and 1 MiB of whole batches, so that a laggard catches up in few
/// frames while a receiver's buffer stays small.
pub const PEER_FRAME_MAX: usize = 1024 * 1024 + 1024;

/// What happened between nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerEvent<'a> {
    /// A connection to this node stands.
    Up(NodeId),
    /// A frame from this node.
    Frame(NodeId, &'a [u8]),
    /// The connection broke; frames sent on it may be lost.
    Down(NodeId),
    /// This member, which has proved its key, says that this node was removed from the cluster.
    Removed(NodeId),
}

/// Connections to the other nodes.
pub trait Peers: Send {
    /// The next event, if any. The frame is lent until the next call.
    fn poll(&mut self) -> Option<PeerEvent<'_>>;

    /// Who belongs to the cluster from now on; this node may be among them. Connections with others end, each
    /// with a [`PeerEvent::Down`] if it stood, and ones with whoever is new are made. What stands with whoever
    /// stays goes on. Numbers below `next` that are not among them were removed: who comes with one of them is told.
    fn set_members(&mut self, members: &[Member], next: NodeId);

    /// Bytes that [`Peers::send`] would take for this node now; 0 while its connection is down.
    fn room(&self, to: NodeId) -> usize;

    /// Sends a frame given in two parts (a header and a batch in place, say), all or nothing; `false` if
    /// the connection is down or its bounded buffer is full.
    fn send(&mut self, to: NodeId, head: &[u8], body: &[u8]) -> bool;
}

/// The peers of a lone node: none.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoPeers;

impl Peers for NoPeers {
    fn poll(&mut self) -> Option<PeerEvent<'_>> {
        None
    }

    fn set_members(&mut self, _members: &[Member], _next: NodeId) {}

    fn room(&self, _to: NodeId) -> usize {
        0
    }

    fn send(&mut self, _to: NodeId, _head: &[u8], _body: &[u8]) -> bool {
        false
    }
}

impl<P: Peers + ?Sized> Peers for Box<P> {
    fn poll(&mut self) -> Option<PeerEvent<'_>> {
        (**self).poll()
    }

    fn set_members(&mut self, members: &[Member], next: NodeId) {
        (**self).set_members(members, next);
    }

    fn room(&self, to: NodeId) -> usize {
        (**self).room(to)
    }

    fn send(&mut self, to: NodeId, head: &[u8], body: &[u8]) -> bool {
        (**self).send(to, head, body)
    }
}
