//! Frames that are none of consensus': to those whose they are, and from them to a connection that has room to spare.

use ordain_agent::Fatal;
use ordain_agent::peer::Peers;
use ordain_agent::side::{Outbox, SIDE_HEAD, Side, Successor, side_head, split_side};
use ordain_types::{BatchIndex, Nanos, NodeId, Now};

/// Bytes of a frame's fixed part that are put behind its head at once.
const FIXED_MAX: usize = 1024;

/// All of a node's [`Side`]s.
#[derive(Default)]
pub(crate) struct Sides {
    all: Vec<Box<dyn Side>>,
    /// The most room that a connection ever had: the size of its buffer.
    widest: Vec<(NodeId, usize)>,
}

impl Sides {
    pub(crate) fn new(all: Vec<Box<dyn Side>>) -> Self {
        for (at, side) in all.iter().enumerate() {
            let taken = all[..at].iter().any(|other| {
                let (one, two) = (side.kinds(), other.kinds());
                one.start() <= two.end() && two.start() <= one.end()
            });
            assert!(!taken, "two sides take the kinds {:?}", side.kinds());
        }
        Self { all, widest: Vec::new() }
    }

    pub(crate) fn up(&mut self, peer: NodeId, now: Now) {
        self.all.iter_mut().for_each(|side| side.up(peer, now));
    }

    pub(crate) fn down(&mut self, peer: NodeId, now: Now) {
        self.all.iter_mut().for_each(|side| side.down(peer, now));
    }

    pub(crate) fn lacks(&mut self, peer: NodeId, first: BatchIndex, now: Now) {
        self.all.iter_mut().for_each(|side| side.lacks(peer, first, now));
    }

    pub(crate) fn hear(&mut self, from: NodeId, frame: &[u8], now: Now) {
        let found = split_side(frame).and_then(|(kind, body)| {
            let side = self.all.iter_mut().find(|side| side.kinds().contains(&kind))?;
            side.hear(from, kind, body, now);
            Some(())
        });
        if found.is_none() {
            // A newer build says things that this one need not understand.
            tracing::debug!(peer = from.0, "a frame beside consensus was ignored");
        }
    }

    /// Behind all that consensus sends in a cycle.
    pub(crate) fn work<P: Peers>(&mut self, now: Now, peers: &mut P) -> Result<usize, Fatal> {
        let mut work = 0;
        let mut spare = Spare { peers, widest: &mut self.widest };
        for side in &mut self.all {
            work += side.work(now, &mut spare)?;
        }
        Ok(work)
    }

    /// Sends a frame of the log stage's own; `false` if there is no room to spare.
    pub(crate) fn send<P: Peers>(&mut self, peers: &mut P, to: NodeId, kind: u8, body: &[u8]) -> bool {
        Spare { peers, widest: &mut self.widest }.send(to, kind, &[], body)
    }

    /// What may take the log's place.
    pub(crate) fn successor(&self) -> Option<Successor> {
        self.all.iter().find_map(|side| side.successor())
    }

    /// Answers whoever offers it.
    pub(crate) fn succeed(&mut self, frozen: bool) {
        if let Some(side) = self.all.iter_mut().find(|side| side.successor().is_some()) {
            side.succeed(frozen);
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Nanos> {
        self.all.iter().filter_map(|side| side.next_deadline()).min()
    }
}

/// Half of each connection's buffer: the other half is there for batches and heartbeats whatever happens here.
struct Spare<'a, P> {
    peers: &'a mut P,
    widest: &'a mut Vec<(NodeId, usize)>,
}

impl<P: Peers> Outbox for Spare<'_, P> {
    fn room(&self, to: NodeId) -> usize {
        let room = self.peers.room(to);
        let widest = self.widest.iter().find(|(node, _)| *node == to).map_or(0, |(_, widest)| *widest);
        room.saturating_sub(widest.max(room) / 2)
    }

    fn send(&mut self, to: NodeId, kind: u8, first: &[u8], second: &[u8]) -> bool {
        assert!(first.len() <= FIXED_MAX, "the fixed part of a frame is short");
        let room = self.peers.room(to);
        match self.widest.iter_mut().find(|(node, _)| *node == to) {
            Some((_, widest)) => *widest = room.max(*widest),
            None => self.widest.push((to, room)),
        }
        let len = first.len() + second.len();
        if SIDE_HEAD + len > self.room(to) {
            return false;
        }
        let mut head = [0; SIDE_HEAD + FIXED_MAX];
        head[..SIDE_HEAD].copy_from_slice(&side_head(kind, len));
        head[SIDE_HEAD..SIDE_HEAD + first.len()].copy_from_slice(first);
        self.peers.send(to, &head[..SIDE_HEAD + first.len()], second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ordain_agent::peer::PeerEvent;
    use ordain_types::members::Member;
    use std::sync::{Arc, Mutex};

    struct Buffer {
        size: usize,
        sent: Vec<Vec<u8>>,
    }

    impl Peers for Buffer {
        fn poll(&mut self) -> Option<PeerEvent<'_>> {
            None
        }

        fn set_members(&mut self, _members: &[Member], _next: NodeId) {}

        fn room(&self, _to: NodeId) -> usize {
            self.size - self.sent.iter().map(Vec::len).sum::<usize>()
        }

        fn send(&mut self, to: NodeId, head: &[u8], body: &[u8]) -> bool {
            assert!(head.len() + body.len() <= self.room(to));
            self.sent.push([head, body].concat());
            true
        }
    }

    /// Sends as much as it may.
    struct Talker(RangeInclusive<u8>, Arc<Mutex<Vec<Vec<u8>>>>);

    use core::ops::RangeInclusive;

    impl Side for Talker {
        fn kinds(&self) -> RangeInclusive<u8> {
            self.0.clone()
        }

        fn up(&mut self, _peer: NodeId, _now: Now) {}

        fn down(&mut self, _peer: NodeId, _now: Now) {}

        fn hear(&mut self, _from: NodeId, kind: u8, body: &[u8], _now: Now) {
            self.1.lock().unwrap().push([&[kind], body].concat());
        }

        fn work(&mut self, _now: Now, out: &mut dyn Outbox) -> Result<usize, Fatal> {
            let mut sent = 0;
            while out.send(NodeId(1), *self.0.start(), b"fixed", &[7; 87]) {
                sent += 1;
            }
            Ok(sent)
        }
    }

    const NOW: Now = Now { mono: Nanos(1), wall: Nanos(1) };

    #[test]
    fn half_of_a_buffer_is_left_to_consensus() {
        let mut peers = Buffer { size: 1000, sent: Vec::new() };
        let heard = Arc::new(Mutex::new(Vec::new()));
        let mut sides = Sides::new(vec![Box::new(Talker(16..=23, heard.clone()))]);
        assert_eq!(sides.work(NOW, &mut peers).unwrap(), 5);
        assert_eq!(peers.sent.len(), 5);
        assert_eq!(sides.work(NOW, &mut peers).unwrap(), 0, "what is left is not for it");
        // The kernel took two frames.
        peers.sent.drain(..2);
        assert_eq!(sides.work(NOW, &mut peers).unwrap(), 2);
        let frame = peers.sent[0].clone();
        sides.hear(NodeId(1), &frame, NOW);
        assert_eq!(heard.lock().unwrap()[0], [&[16_u8][..], b"fixed", &[7; 87]].concat());
    }

    #[test]
    fn frames_go_to_whom_they_are_for() {
        let heard = [(); 2].map(|()| Arc::new(Mutex::new(Vec::new())));
        let talkers = [Talker(16..=23, heard[0].clone()), Talker(24..=31, heard[1].clone())];
        let mut sides = Sides::new(talkers.into_iter().map(|talker| Box::new(talker) as _).collect());
        for kind in [16, 23, 24, 31, 40] {
            let frame = [&side_head(kind, 1)[..], b"x"].concat();
            sides.hear(NodeId(1), &frame, NOW);
            sides.hear(NodeId(1), &frame[..8], NOW);
        }
        assert_eq!(*heard[0].lock().unwrap(), [vec![16, b'x'], vec![23, b'x']]);
        assert_eq!(*heard[1].lock().unwrap(), [vec![24, b'x'], vec![31, b'x']]);
    }

    #[test]
    #[should_panic(expected = "two sides take the kinds")]
    fn a_kind_has_one_taker() {
        let heard = Arc::new(Mutex::new(Vec::new()));
        Sides::new(vec![Box::new(Talker(16..=20, heard.clone())), Box::new(Talker(20..=31, heard))]);
    }
}
