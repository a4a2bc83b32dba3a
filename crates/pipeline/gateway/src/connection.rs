//! What a gateway knows: connections, attached sessions, keys.

use ordain_agent::net::ConnId;
use ordain_keys::{PublicKey, ServerHandshake};
use ordain_types::{KeyId, Nanos, Number, OutputSeq, SessionId, Stream};
use rustc_hash::FxHashMap;

/// How far a connection has come.
#[derive(Debug)]
pub(crate) enum Phase {
    /// Nothing was said yet.
    Fresh,
    /// The challenge was sent.
    Challenged(Box<ServerHandshake>),
    /// Signed in.
    Ready,
}

/// A stream that a connection reads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subscription {
    pub stream: Stream,
    /// The next output to send.
    pub next: OutputSeq,
}

#[derive(Debug)]
pub(crate) struct Connection {
    pub id: ConnId,
    pub phase: Phase,
    pub key: KeyId,
    pub permissions: u32,
    /// When it said something last; while signing in, when it began.
    pub heard: Nanos,
    /// Correlation of the SessionOpen that is under way: one at a time.
    pub opening: Option<u64>,
    /// Sessions attached to it.
    pub sessions: Vec<SessionId>,
    pub subscriptions: Vec<Subscription>,
    /// It has bytes to look at.
    pub queued: bool,
}

impl Connection {
    pub const fn is_ready(&self) -> bool {
        matches!(self.phase, Phase::Ready)
    }
}

/// A session that a connection of this gateway holds, or is about to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attached {
    pub conn: ConnId,
    pub key: KeyId,
    /// The number that the log takes next.
    pub next: Number,
    /// A Resume is under way: nothing is admitted before its answer.
    pub resuming: bool,
}

/// A key as the log has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key {
    pub id: KeyId,
    pub permissions: u32,
}

/// All of it.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    slots: Vec<Option<Connection>>,
    free: Vec<usize>,
    by_id: FxHashMap<u64, usize>,
    pub sessions: FxHashMap<SessionId, Attached>,
    pub keys: FxHashMap<PublicKey, Key>,
    pub strangers: usize,
}

impl Tables {
    pub fn connections(&self) -> usize {
        self.by_id.len()
    }

    /// Slots ever used: what a sweep goes through.
    pub fn slots(&self) -> usize {
        self.slots.len()
    }

    pub fn insert(&mut self, id: ConnId, now: Nanos) {
        let connection = Connection {
            id,
            phase: Phase::Fresh,
            key: KeyId(0),
            permissions: 0,
            heard: now,
            opening: None,
            sessions: Vec::new(),
            subscriptions: Vec::new(),
            queued: false,
        };
        let slot = self.free.pop().unwrap_or(self.slots.len());
        if slot == self.slots.len() {
            self.slots.push(None);
        }
        self.slots[slot] = Some(connection);
        self.by_id.insert(id.0, slot);
        self.strangers += 1;
    }

    pub fn slot(&self, id: ConnId) -> Option<usize> {
        self.by_id.get(&id.0).copied()
    }

    pub fn get(&mut self, slot: usize) -> Option<&mut Connection> {
        self.slots.get_mut(slot)?.as_mut()
    }

    pub fn find(&mut self, id: ConnId) -> Option<&mut Connection> {
        let slot = self.slot(id)?;
        self.get(slot)
    }

    /// Forgets a connection. Its sessions live on in the log and can be resumed.
    pub fn remove(&mut self, id: ConnId) {
        let Some(slot) = self.by_id.remove(&id.0) else { return };
        let connection = self.slots[slot].take().expect("an indexed slot is taken");
        self.free.push(slot);
        if !connection.is_ready() {
            self.strangers -= 1;
        }
        for session in connection.sessions {
            if self.sessions.get(&session).is_some_and(|attached| attached.conn == id) {
                self.sessions.remove(&session);
            }
        }
    }

    /// Subscriptions of all connections.
    pub fn count_subscriptions(&self) -> usize {
        self.slots.iter().flatten().map(|connection| connection.subscriptions.len()).sum()
    }

    /// Lets go of a session without touching its connection otherwise.
    pub fn detach(&mut self, session: SessionId) {
        if let Some(attached) = self.sessions.remove(&session)
            && let Some(connection) = self.find(attached.conn)
        {
            connection.sessions.retain(|held| *held != session);
        }
    }
}
