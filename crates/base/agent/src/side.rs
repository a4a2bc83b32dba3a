//! What nodes say to each other beside consensus: announcements, snapshots, comparisons. It travels on the same
//! connections, and never in the way of batches and heartbeats: the log stage hands frames of these kinds to whoever
//! takes them ([`Side`]) and sends theirs while a connection has room to spare. Layout: `docs/format/peer.md`.

use crate::Fatal;
use core::ops::RangeInclusive;
use ordain_types::{BatchIndex, Nanos, NodeId, Now, Term};

/// Bytes in front of a frame's body.
pub const SIDE_HEAD: usize = 8;
/// The lowest kind that is not consensus' business.
pub const SIDE_KIND_MIN: u8 = 16;
/// Version of the frames that this build speaks; that of consensus' frames.
pub const SIDE_VERSION: u8 = 1;

/// Where the kind stands, as in every frame between nodes.
const KIND_AT: usize = 5;

/// The head of a frame with a body of `len` bytes.
///
/// # Panics
/// If the kind is one of consensus'.
#[must_use]
pub fn side_head(kind: u8, len: usize) -> [u8; SIDE_HEAD] {
    assert!(kind >= SIDE_KIND_MIN, "kinds below {SIDE_KIND_MIN} are consensus'");
    let length = ((SIDE_HEAD + len) as u32).to_le_bytes();
    [length[0], length[1], length[2], length[3], SIDE_VERSION, kind, 0, 0]
}

/// Whether a frame is none of consensus'.
#[must_use]
pub fn is_side(frame: &[u8]) -> bool {
    frame.get(KIND_AT).is_some_and(|kind| *kind >= SIDE_KIND_MIN)
}

/// Kind and body of a frame; `None` if it is not whole, of another version, or says what no frame says.
#[must_use]
pub fn split_side(frame: &[u8]) -> Option<(u8, &[u8])> {
    let (head, body) = frame.split_at_checked(SIDE_HEAD)?;
    let kind = head[KIND_AT];
    (kind >= SIDE_KIND_MIN && head == side_head(kind, body.len())).then_some((kind, body))
}

/// Who takes part in a conversation beside consensus. It lives in the log stage, which owns the connections, and has the
/// manners of a stage: bounded work, no waiting, no clock.
pub trait Side: Send {
    /// The kinds of frames that are for it. No two have one in common.
    fn kinds(&self) -> RangeInclusive<u8>;

    /// A connection with this node stands.
    fn up(&mut self, peer: NodeId, now: Now);

    /// It broke. What was sent on it may be lost.
    fn down(&mut self, peer: NodeId, now: Now);

    /// A frame came. What makes no sense is ignored: its sender is authenticated, and may be mistaken.
    fn hear(&mut self, from: NodeId, kind: u8, body: &[u8], now: Now);

    /// This node leads, and `peer` needs a batch that it has in no segment any more.
    fn lacks(&mut self, peer: NodeId, first: BatchIndex, now: Now) {
        let _ = (peer, first, now);
    }

    /// Goes on by a bounded amount, and sends what is due and finds room. Says how much it did.
    ///
    /// # Errors
    /// [`Fatal`] if the node must stop.
    fn work(&mut self, now: Now, out: &mut dyn Outbox) -> Result<usize, Fatal>;

    /// A snapshot that is whole, on disk, and ready to take the log's place, because the log lacks what it stands for.
    fn successor(&self) -> Option<Successor> {
        None
    }

    /// The log stage's answer. If it is `true`, the log is frozen: nothing is added to it, and nothing more is said of
    /// it. From then on [`work`](Self::work) makes the succession durable and ends with [`Fatal::anew`]. Otherwise the
    /// log holds what the snapshot stands for.
    fn succeed(&mut self, frozen: bool) {
        let _ = frozen;
    }

    /// Monotonic time at which it wants to be called though nothing happens.
    fn next_deadline(&self) -> Option<Nanos> {
        None
    }
}

/// A snapshot that may take the log's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Successor {
    /// The last batch that it stands for, which is committed.
    pub last: BatchIndex,
    /// That batch's term.
    pub term: Term,
    /// Term of the batch behind it, which is the log's end from then on.
    pub end_term: Term,
}

/// The way out for a [`Side`].
pub trait Outbox {
    /// Bytes, head and body, that a frame to this node may have now; 0 while its connection is down or busy.
    fn room(&self, to: NodeId) -> usize;

    /// Sends a frame whose body is given in two parts. `false`: it was not sent, for want of room.
    fn send(&mut self, to: NodeId, kind: u8, first: &[u8], second: &[u8]) -> bool;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_written_is_read() {
        let frame = [&side_head(17, 3)[..], b"abc"].concat();
        assert!(is_side(&frame));
        assert_eq!(split_side(&frame), Some((17, &b"abc"[..])));
        for cut in 0..frame.len() {
            assert_eq!(split_side(&frame[..cut]), None);
        }
        for at in [0, 3, 4, 6, 7] {
            let mut other = frame.clone();
            other[at] ^= 1;
            assert_eq!(split_side(&other), None, "byte {at}");
        }
        let mut low = frame;
        low[5] = 8;
        assert!(!is_side(&low) && split_side(&low).is_none());
    }
}
