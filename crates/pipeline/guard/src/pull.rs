//! Ranges of the log, from one node to another that has lost them: who asks, and who sends. Layout: `docs/format/peer.md`.

use ordain_agent::side::{Outbox, SIDE_HEAD};
use ordain_journal::PULL_MAX;
use ordain_types::batch::BATCH_ALIGN;
use ordain_types::{Nanos, NodeId, Now, Position};
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Kinds of frames.
pub mod kind {
    /// [`Range`](super::Range): send me what you have of this.
    pub const ASK: u8 = 25;
    /// [`Part`](super::Part), and the bytes behind it.
    pub const PART: u8 = 26;
}

/// A node that was asked and says nothing for this long is not waited for.
const PATIENCE: u64 = 2 * Nanos::SECOND;
/// Most bytes in one frame.
const PART_MAX: usize = 64 * 1024;
/// With less room than this nothing is sent, unless that is all: its head would be the most of it.
const PART_MIN: usize = 512;

/// A range of the log.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Range {
    position: U64,
    len: U64,
}

impl Range {
    /// Of so many bytes from a position on.
    #[must_use]
    pub fn new(position: Position, len: u64) -> Self {
        Self { position: position.0.into(), len: len.into() }
    }

    /// From a body; `None` if no node asks for this.
    #[must_use]
    pub fn decode(body: &[u8]) -> Option<Self> {
        let range = Self::read_from_bytes(body).ok()?;
        let (position, len) = (range.position.get(), range.len.get());
        let is_place = position >> 63 == 0 && position.is_multiple_of(BATCH_ALIGN as u64);
        (is_place && (1..=PULL_MAX).contains(&len)).then_some(range)
    }

    /// Where it begins.
    #[must_use]
    pub fn position(&self) -> Position {
        Position(self.position.get())
    }

    /// Its bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len.get()
    }

    /// Never: [`decode`](Self::decode) refuses it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What stands in front of a piece of an answer.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Part {
    /// What was asked for.
    position: U64,
    /// Bytes of the whole answer; 0: the sender has nothing of it.
    total: U32,
    /// Where in the answer this piece begins.
    offset: U32,
}

/// What a [`Pull`] came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pulled {
    /// Bytes from the position on that was asked for. They were not looked at.
    Bytes(NodeId, Vec<u8>),
    /// Nobody that could be asked has anything, and how many were asked.
    Nobody(usize),
}

/// Asks one node after the other for a range. One range at a time.
#[derive(Debug, Default)]
pub struct Pull {
    up: Vec<NodeId>,
    wanted: Option<Range>,
    /// Where the last one began.
    last: Option<Position>,
    tried: Vec<NodeId>,
    asked: Option<Asked>,
}

#[derive(Debug)]
struct Asked {
    node: NodeId,
    got: Vec<u8>,
    until: Nanos,
}

impl Pull {
    /// Wants a range. If the last one was of the same position, what came was of no use: who sent it, and whoever was
    /// asked before, is not asked again.
    pub fn want(&mut self, range: Range) {
        if self.last.replace(range.position()) != Some(range.position()) {
            self.tried.clear();
        }
        (self.wanted, self.asked) = (Some(range), None);
    }

    /// A connection stands.
    pub fn up(&mut self, peer: NodeId) {
        if !self.up.contains(&peer) {
            self.up.push(peer);
        }
    }

    /// It broke.
    pub fn down(&mut self, peer: NodeId) {
        self.up.retain(|other| *other != peer);
        self.asked = self.asked.take().filter(|asked| asked.node != peer);
    }

    /// Whether it waits for something.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.wanted.is_some()
    }

    /// A [`kind::PART`]. Gives the answer if it is whole.
    pub fn hear(&mut self, from: NodeId, body: &[u8], now: Now) -> Option<Pulled> {
        let (Some(wanted), Some(asked)) = (&self.wanted, &mut self.asked) else { return None };
        let (part, bytes) = Part::ref_from_prefix(body).ok()?;
        let total = u64::from(part.total.get());
        let is_next = asked.node == from
            && part.position == wanted.position
            && part.offset.get() as usize == asked.got.len()
            && total <= wanted.len()
            && (asked.got.len() + bytes.len()) as u64 <= total;
        if !is_next {
            return None;
        }
        if total == 0 {
            self.asked = None;
            return None;
        }
        asked.got.extend_from_slice(bytes);
        asked.until = now.mono.plus(PATIENCE);
        if (asked.got.len() as u64) < total {
            return None;
        }
        self.wanted = None;
        self.asked.take().map(|asked| Pulled::Bytes(asked.node, asked.got))
    }

    /// Goes on. Gives the answer if there will be none.
    pub fn work(&mut self, now: Now, out: &mut dyn Outbox) -> Option<Pulled> {
        let wanted = self.wanted?;
        if self.asked.as_ref().is_some_and(|asked| now.mono < asked.until) {
            return None;
        }
        self.asked = None;
        let Some(node) = self.up.iter().copied().find(|node| !self.tried.contains(node)) else {
            (self.wanted, self.last) = (None, None);
            return Some(Pulled::Nobody(core::mem::take(&mut self.tried).len()));
        };
        if out.send(node, kind::ASK, wanted.as_bytes(), &[]) {
            self.tried.push(node);
            self.asked = Some(Asked { node, got: Vec::new(), until: now.mono.plus(PATIENCE) });
        }
        None
    }

    /// When it gives up waiting for whom it asked.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Nanos> {
        self.asked.as_ref().map(|asked| asked.until)
    }
}

/// Answers on their way to other nodes: one for each.
#[derive(Debug, Default)]
pub struct Give {
    answers: Vec<Answer>,
}

#[derive(Debug)]
struct Answer {
    to: NodeId,
    position: Position,
    bytes: Vec<u8>,
    sent: usize,
}

impl Give {
    /// Sends a node what there is from a position on, from now on; nothing, if there is none. What it was being sent is
    /// forgotten: it asks for one range at a time.
    pub fn put(&mut self, to: NodeId, position: Position, bytes: Vec<u8>) {
        self.drop_for(to);
        self.answers.push(Answer { to, position, bytes, sent: 0 });
    }

    /// The connection broke.
    pub fn drop_for(&mut self, peer: NodeId) {
        self.answers.retain(|answer| answer.to != peer);
    }

    /// Sends at most one piece to each node that waits. Says how many.
    pub fn work(&mut self, out: &mut dyn Outbox) -> usize {
        let mut sent = 0;
        self.answers.retain_mut(|answer| {
            let left = answer.bytes.len() - answer.sent;
            let room = out.room(answer.to).saturating_sub(SIDE_HEAD + size_of::<Part>());
            let len = left.min(room).min(PART_MAX);
            if len < left.min(PART_MIN) {
                return true;
            }
            let part = Part {
                position: answer.position.0.into(),
                total: (answer.bytes.len() as u32).into(),
                offset: (answer.sent as u32).into(),
            };
            let piece = &answer.bytes[answer.sent..answer.sent + len];
            if out.send(answer.to, kind::PART, part.as_bytes(), piece) {
                answer.sent += len;
                sent += 1;
                return answer.sent < answer.bytes.len();
            }
            true
        });
        sent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes frames of at most `room` bytes.
    struct Wire {
        room: usize,
        sent: Vec<(NodeId, u8, Vec<u8>)>,
    }

    impl Outbox for Wire {
        fn room(&self, _to: NodeId) -> usize {
            self.room
        }

        fn send(&mut self, to: NodeId, kind: u8, first: &[u8], second: &[u8]) -> bool {
            let fits = SIDE_HEAD + first.len() + second.len() <= self.room;
            if fits {
                self.sent.push((to, kind, [first, second].concat()));
            }
            fits
        }
    }

    fn at(mono: u64) -> Now {
        Now { mono: Nanos(mono), wall: Nanos(mono) }
    }

    fn asked(wire: &mut Wire) -> Option<NodeId> {
        wire.sent.pop().map(|(to, kind, body)| {
            assert_eq!((kind, Range::decode(&body).unwrap().position()), (kind::ASK, Position(256)));
            to
        })
    }

    #[test]
    fn one_after_the_other_is_asked_until_one_has_it() {
        let mut wire = Wire { room: 2000, sent: Vec::new() };
        let mut pull = Pull::default();
        let range = Range::new(Position(256), 4096);
        pull.want(range);
        assert_eq!(pull.work(at(1), &mut wire), Some(Pulled::Nobody(0)));
        (1..=3).for_each(|node| pull.up(NodeId(node)));
        pull.want(range);
        assert_eq!((pull.work(at(1), &mut wire), asked(&mut wire)), (None, Some(NodeId(1))));
        assert_eq!((pull.work(at(2), &mut wire), asked(&mut wire)), (None, None), "it is waited for");
        // It has nothing; the next one says nothing; the third sends.
        let mut give = Give::default();
        give.put(NodeId(0), Position(256), Vec::new());
        assert_eq!(give.work(&mut wire), 1);
        let nothing = wire.sent.pop().unwrap().2;
        assert_eq!(pull.hear(NodeId(2), &nothing, at(2)), None, "it was not asked");
        assert_eq!(pull.hear(NodeId(1), &nothing, at(2)), None);
        assert_eq!((pull.work(at(2), &mut wire), asked(&mut wire)), (None, Some(NodeId(2))));
        assert_eq!((pull.work(at(2 + PATIENCE), &mut wire), asked(&mut wire)), (None, Some(NodeId(3))));
        let bytes: Vec<u8> = (0..3000_u32).map(|at| at as u8).collect();
        give.put(NodeId(0), Position(256), bytes.clone());
        assert_eq!((give.work(&mut wire), give.work(&mut wire), give.work(&mut wire)), (1, 1, 0));
        let parts: Vec<_> = core::mem::take(&mut wire.sent).into_iter().map(|frame| frame.2).collect();
        assert_eq!(pull.hear(NodeId(3), &parts[1], at(3)), None, "not the next one");
        assert_eq!(pull.hear(NodeId(3), &parts[0], at(3)), None);
        assert_eq!(pull.hear(NodeId(3), &parts[1], at(3)), Some(Pulled::Bytes(NodeId(3), bytes)));
        assert!(!pull.is_on());
        // It was of no use.
        pull.want(range);
        assert_eq!(pull.work(at(4), &mut wire), Some(Pulled::Nobody(3)));
    }

    #[test]
    fn a_broken_connection_is_not_waited_for() {
        let mut wire = Wire { room: 2000, sent: Vec::new() };
        let mut pull = Pull::default();
        (1..=2).for_each(|node| pull.up(NodeId(node)));
        pull.want(Range::new(Position(256), 4096));
        pull.work(at(1), &mut wire);
        assert_eq!(asked(&mut wire), Some(NodeId(1)));
        pull.down(NodeId(1));
        pull.work(at(1), &mut wire);
        assert_eq!(asked(&mut wire), Some(NodeId(2)));
    }

    #[test]
    fn nobody_asks_for_nonsense() {
        for (position, len) in [(128, 0), (128, PULL_MAX + 1), (127, 1), (1 << 63, 1)] {
            assert!(Range::decode(Range::new(Position(position), len).as_bytes()).is_none());
        }
        assert!(Range::decode(&[0; 15]).is_none());
        let mut pull = Pull::default();
        pull.want(Range::new(Position(256), 10));
        pull.up(NodeId(1));
        pull.work(at(1), &mut Wire { room: 2000, sent: Vec::new() });
        let part = Part { position: 256.into(), total: 11.into(), offset: 0.into() };
        assert_eq!(pull.hear(NodeId(1), &[part.as_bytes(), &[1; 11]].concat(), at(1)), None);
        let part = Part { position: 256.into(), total: 5.into(), offset: 0.into() };
        assert_eq!(pull.hear(NodeId(1), &[part.as_bytes(), &[1; 6]].concat(), at(1)), None);
        assert_eq!(pull.hear(NodeId(1), &[1; 7], at(1)), None);
    }
}
