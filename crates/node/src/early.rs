//! The other nodes while this one is on its way up. Whoever listens then remembers who is connected, so that the log stage
//! learns of it as if the connections came up when it does.

use ordain_agent::peer::{PeerEvent, Peers};
use ordain_agent::side::{Outbox, SIDE_HEAD, side_head};
use ordain_types::NodeId;
use ordain_types::members::Member;
use std::collections::VecDeque;

/// See the module.
pub struct Early<P> {
    inner: P,
    /// Who is connected, and the log stage has not been told.
    up: VecDeque<NodeId>,
    /// Who said that this node was removed, likewise.
    removed: Option<NodeId>,
}

impl<P: Peers> Early<P> {
    pub const fn new(inner: P) -> Self {
        Self { inner, up: VecDeque::new(), removed: None }
    }

    /// Who is connected.
    pub fn connected(&self) -> impl Iterator<Item = NodeId> {
        self.up.iter().copied()
    }

    /// The next event, for somebody who is there before the log stage. Frames are lost to that one: it has said nothing
    /// yet, and what is for its life comes again.
    pub fn listen(&mut self) -> Option<PeerEvent<'_>> {
        let event = self.inner.poll()?;
        match event {
            PeerEvent::Up(node) => self.up.push_back(node),
            PeerEvent::Down(node) => self.up.retain(|other| *other != node),
            PeerEvent::Removed(by) => self.removed = Some(by),
            PeerEvent::Frame(..) => {}
        }
        Some(event)
    }
}

impl<P: Peers> Peers for Early<P> {
    fn poll(&mut self) -> Option<PeerEvent<'_>> {
        if let Some(by) = self.removed.take() {
            return Some(PeerEvent::Removed(by));
        }
        match self.up.pop_front() {
            Some(node) => Some(PeerEvent::Up(node)),
            None => self.inner.poll(),
        }
    }

    fn set_members(&mut self, members: &[Member], next: NodeId) {
        self.inner.set_members(members, next);
    }

    fn room(&self, to: NodeId) -> usize {
        self.inner.room(to)
    }

    fn send(&mut self, to: NodeId, head: &[u8], body: &[u8]) -> bool {
        self.inner.send(to, head, body)
    }
}

/// The way out before the log stage exists: nothing else is on it.
pub struct Out<'a, P>(pub &'a mut Early<P>);

impl<P: Peers> Outbox for Out<'_, P> {
    fn room(&self, to: NodeId) -> usize {
        self.0.room(to)
    }

    fn send(&mut self, to: NodeId, kind: u8, first: &[u8], second: &[u8]) -> bool {
        let len = first.len() + second.len();
        SIDE_HEAD + len <= self.0.room(to)
            && self.0.send(to, &[&side_head(kind, len)[..], first].concat(), second)
    }
}
