//! Connections, and which sessions are attached to which.

use crate::subscriptions::Subscriptions;
use ordain_agent::net::ConnId;
use ordain_keys::ServerHandshake;
use ordain_types::{KeyId, Nanos, SessionId};
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::{BTreeSet, VecDeque};

/// How far a connection has come.
#[derive(Debug)]
pub(crate) enum Phase {
    /// Hello is awaited.
    Fresh,
    /// Proof is awaited.
    Challenged(Box<ServerHandshake>),
    /// Signed in.
    Ready,
}

#[derive(Debug)]
pub(crate) struct Conn {
    pub id: ConnId,
    pub phase: Phase,
    pub key: KeyId,
    pub permissions: u32,
    pub operator: bool,
    /// When something was last received.
    pub heard: Nanos,
    /// When to look whether it timed out: its entry in one of [`Table`]'s two sets.
    pub deadline: Nanos,
    /// In the queue of its class.
    pub queued: bool,
    /// Not read on until a question is answered.
    pub held: bool,
    /// Questions that apply has not answered yet.
    pub questions: usize,
    /// The client's correlation of the SessionOpen that is unanswered.
    pub opening: Option<u64>,
    pub sessions: Vec<SessionId>,
    pub subscriptions: Vec<u32>,
}

/// Classes of connection that take turns among themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Operator = 0,
    Stranger = 1,
    Client = 2,
}

impl Conn {
    fn class(&self) -> Class {
        match self.phase {
            Phase::Ready if self.operator => Class::Operator,
            Phase::Ready => Class::Client,
            _ => Class::Stranger,
        }
    }
}

/// A session attached to a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attached {
    /// Slot of the connection.
    pub slot: u32,
    /// Key that owns the session, and that the connection signed in with.
    pub key: KeyId,
    /// Number that the session expects next.
    pub next: u64,
    /// Lowest number that the client holds open, as far as the log will know it before `next`.
    pub floor: u64,
    /// Highest number answered.
    pub answered: u64,
    /// Ended in the log; requests admitted before are still to be answered.
    pub ended: bool,
}

impl Attached {
    /// Whether everything that was submitted has been answered.
    pub const fn is_answered(&self) -> bool {
        self.answered + 1 >= self.next
    }
}

#[derive(Debug, Default)]
pub(crate) struct Table {
    slots: Vec<Option<Conn>>,
    free: Vec<u32>,
    by_id: FxHashMap<u64, u32>,
    queues: [VecDeque<u32>; 3],
    strangers: BTreeSet<(Nanos, u32)>,
    signed_in: BTreeSet<(Nanos, u32)>,
    operators: usize,
    pub sessions: FxHashMap<u64, Attached>,
    /// Sessions whose connection ended before all that it had submitted was answered: until then, what the log
    /// said of a session before it came to those requests is not the last word on its numbers. As many as the
    /// log's sessions at most.
    left: FxHashMap<u64, Attached>,
    /// Sessions whose connections the application wants to know of. As many as the log's sessions at most.
    watched: FxHashSet<u64>,
    /// Those of them of which the log does not say yet what became of their connection.
    untold: BTreeSet<u64>,
    pub subscriptions: Subscriptions,
}

impl Table {
    pub fn add(&mut self, id: ConnId, now: Nanos, deadline: Nanos) -> u32 {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() as u32 - 1
        });
        self.slots[slot as usize] = Some(Conn {
            id,
            phase: Phase::Fresh,
            key: KeyId::ZERO,
            permissions: 0,
            operator: false,
            heard: now,
            deadline,
            queued: false,
            held: false,
            questions: 0,
            opening: None,
            sessions: Vec::new(),
            subscriptions: Vec::new(),
        });
        self.by_id.insert(id.0, slot);
        self.strangers.insert((deadline, slot));
        slot
    }

    pub fn slot(&self, id: ConnId) -> Option<u32> {
        self.by_id.get(&id.0).copied()
    }

    pub fn get(&self, slot: u32) -> &Conn {
        self.slots[slot as usize].as_ref().expect("a connection in use")
    }

    pub fn get_mut(&mut self, slot: u32) -> &mut Conn {
        self.slots[slot as usize].as_mut().expect("a connection in use")
    }

    /// Slots in use, in order.
    pub fn used(&self) -> Vec<u32> {
        (0..self.slots.len() as u32).filter(|slot| self.slots[*slot as usize].is_some()).collect()
    }

    /// The connection is signed in: it leaves the strangers.
    pub fn signed(&mut self, slot: u32, deadline: Nanos, operator: bool) {
        let conn = self.slots[slot as usize].as_mut().expect("a connection in use");
        self.strangers.remove(&(conn.deadline, slot));
        self.signed_in.insert((deadline, slot));
        conn.phase = Phase::Ready;
        conn.deadline = deadline;
        conn.operator = operator;
        self.operators += usize::from(operator);
    }

    /// Moves the time at which a signed-in connection is looked at.
    pub fn postpone(&mut self, slot: u32, deadline: Nanos) {
        let conn = self.slots[slot as usize].as_mut().expect("a connection in use");
        self.signed_in.remove(&(conn.deadline, slot));
        self.signed_in.insert((deadline, slot));
        conn.deadline = deadline;
    }

    /// Forgets a connection; its sessions are attached to nobody.
    pub fn remove(&mut self, slot: u32) {
        let conn = self.slots[slot as usize].take().expect("a connection in use");
        if conn.queued {
            self.queues[conn.class() as usize].retain(|other| *other != slot);
        }
        for session in &conn.sessions {
            let attached = self.sessions.remove(&session.0).expect("listed with its connection");
            if !attached.ended && !attached.is_answered() {
                self.left.insert(session.0, attached);
            }
            self.is_untold(*session);
        }
        for subscription in &conn.subscriptions {
            self.subscriptions.remove(*subscription);
        }
        self.strangers.remove(&(conn.deadline, slot));
        if self.signed_in.remove(&(conn.deadline, slot)) {
            self.operators -= usize::from(conn.operator);
        }
        self.by_id.remove(&conn.id.0);
        self.free.push(slot);
    }

    /// Gives the connection a turn.
    pub fn enqueue(&mut self, slot: u32) {
        let conn = self.slots[slot as usize].as_mut().expect("a connection in use");
        if !conn.queued && !conn.held {
            conn.queued = true;
            self.queues[conn.class() as usize].push_back(slot);
        }
    }

    pub fn queued(&self, class: Class) -> usize {
        self.queues[class as usize].len()
    }

    pub fn dequeue(&mut self, class: Class) -> Option<u32> {
        let slot = self.queues[class as usize].pop_front()?;
        self.get_mut(slot).queued = false;
        Some(slot)
    }

    /// Puts a connection that had no room at the front again.
    pub fn first_again(&mut self, slot: u32) {
        let conn = self.slots[slot as usize].as_mut().expect("a connection in use");
        conn.queued = true;
        self.queues[conn.class() as usize].push_front(slot);
    }

    pub fn attach(&mut self, session: SessionId, attached: Attached) {
        self.sessions.insert(session.0, attached);
        self.get_mut(attached.slot).sessions.push(session);
        self.is_untold(session);
    }

    /// The application wants to know of the session's connections from now on, or not.
    pub fn watch(&mut self, session: SessionId, on: bool) {
        if on {
            self.watched.insert(session.0);
            // A connection that broke before this was known was not said to.
            if !self.sessions.contains_key(&session.0) {
                self.untold.insert(session.0);
            }
        } else {
            self.watched.remove(&session.0);
            self.untold.remove(&session.0);
        }
    }

    /// Apply says anew who is watched.
    pub fn forget_watched(&mut self) {
        self.watched.clear();
        self.untold.clear();
    }

    /// A leader's first batch says of all sessions that their connections are gone.
    pub fn all_told(&mut self) {
        self.untold.clear();
    }

    fn is_untold(&mut self, session: SessionId) {
        if self.watched.contains(&session.0) {
            self.untold.insert(session.0);
        }
    }

    /// A session of whose connection the log does not know, and what it is attached to now.
    pub fn first_untold(&self) -> Option<(SessionId, Option<Attached>)> {
        let session = self.untold.first()?;
        Some((SessionId(*session), self.sessions.get(session).copied()))
    }

    pub fn told(&mut self, session: SessionId) {
        self.untold.remove(&session.0);
    }

    /// A reply to a session that is attached to nobody.
    pub fn answered(&mut self, session: SessionId, key: u64, number: u64) {
        if let Some(left) = self.left.get_mut(&session.0).filter(|left| u64::from(left.key.0) == key) {
            left.answered = left.answered.max(number);
            if left.is_answered() {
                self.left.remove(&session.0);
            }
        }
    }

    /// What the connection that had the session last knew of it, if anything of that is still under way.
    pub fn take_left(&mut self, session: SessionId) -> Option<Attached> {
        self.left.remove(&session.0)
    }

    /// Nothing that was submitted will be answered here.
    pub fn forget_left(&mut self) {
        self.left.clear();
    }

    pub fn detach(&mut self, session: SessionId) -> Option<Attached> {
        let attached = self.sessions.remove(&session.0)?;
        let sessions = &mut self.get_mut(attached.slot).sessions;
        let place = sessions.iter().position(|other| *other == session).expect("listed with its connection");
        sessions.swap_remove(place);
        Some(attached)
    }

    pub fn unsubscribe(&mut self, slot: u32, stream: u64) {
        let mine = &self.get(slot).subscriptions;
        if let Some(place) = mine.iter().position(|id| self.subscriptions.stream(*id) == stream) {
            let id = self.get_mut(slot).subscriptions.swap_remove(place);
            self.subscriptions.remove(id);
        }
    }

    pub fn strangers(&self) -> usize {
        self.strangers.len()
    }

    pub fn signed_in(&self) -> usize {
        self.signed_in.len()
    }

    pub fn operators(&self) -> usize {
        self.operators
    }

    pub fn oldest_stranger(&self) -> Option<u32> {
        self.strangers.first().map(|(_, slot)| *slot)
    }

    /// The connection to be looked at first, and when.
    pub fn first_deadline(&self) -> Option<(Nanos, u32)> {
        [self.strangers.first(), self.signed_in.first()].into_iter().flatten().min().copied()
    }
}
