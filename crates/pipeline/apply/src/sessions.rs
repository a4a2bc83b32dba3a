//! The session table: who may send which number next, which replies are kept, and when a session ends.
//! Replicated state, driven only by the log.

use crate::replies::{Fingerprint, Kept, Replies};
use core::cmp::Reverse;
use core::ops::Bound::{Excluded, Unbounded};
use ordain_agent::planted::{self, Mistake};
use ordain_types::codes::Code;
use ordain_types::{ClusterFacts, KeyId, Nanos, Number, RecordView, SessionId};
use rustc_hash::FxHashMap;
use std::collections::binary_heap::PeekMut;
use std::collections::{BTreeMap, BinaryHeap};

/// One open session.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub id: SessionId,
    pub key: KeyId,
    /// Log time of its last record.
    pub last: Nanos,
    /// Outputs emitted to its own stream.
    pub outputs: u64,
    pub replies: Replies,
}

/// What the session rules say about a numbered request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is the next number: execute it in the session with this slot.
    Execute(u32),
    /// It was executed: this is what was answered.
    Repeat(u32, Kept),
    /// It is not executed. The frame's `seq` field is given where the code defines one.
    Refuse(Code, Option<u64>),
}

/// All sessions. A slot is a place in a slab: local to a process, never visible in a reply or snapshot.
#[derive(Clone, Debug)]
pub(crate) struct Sessions {
    max: usize,
    per_key: u32,
    window: usize,
    timeout: u64,
    slots: Vec<Option<Session>>,
    free: Vec<u32>,
    by_id: FxHashMap<u64, u32>,
    /// Each open session exactly once, with a deadline at or before its real one; an entry is brought up
    /// to date when it comes to the top, so a request costs this queue nothing. Entries of closed sessions
    /// stay until they surface or outnumber the open ones.
    deadlines: BinaryHeap<Reverse<(Nanos, SessionId, u32)>>,
    /// Sessions that the application watches, and whether it was told that the client is gone.
    watched: BTreeMap<SessionId, bool>,
    /// How many of them are gone: while none is, a request costs no look at who is back.
    lost: usize,
}

/// Out-of-date entries brought up to date by one call: bounds a step.
const REFRESH_MAX: usize = 64;

impl Sessions {
    pub fn new(facts: &ClusterFacts) -> Self {
        Self {
            max: facts.sessions_max as usize,
            per_key: facts.sessions_per_key,
            window: facts.window as usize,
            timeout: facts.session_timeout.0,
            slots: Vec::new(),
            free: Vec::new(),
            by_id: FxHashMap::default(),
            deadlines: BinaryHeap::new(),
            watched: BTreeMap::new(),
            lost: 0,
        }
    }

    /// Whether the application watches a session, and if so, whether it was told that the client is gone.
    pub fn watched(&self, id: SessionId) -> Option<bool> {
        self.watched.get(&id).copied()
    }

    /// The first watched session behind `id`.
    pub fn watched_behind(&self, id: SessionId) -> Option<SessionId> {
        self.watched.range((Excluded(id), Unbounded)).next().map(|(id, _)| *id)
    }

    /// The application watches an open session, or does so no more. Gives whether that is new.
    pub fn watch(&mut self, id: SessionId, on: bool) -> bool {
        let was = if on { self.watched.insert(id, false) } else { self.watched.remove(&id) };
        self.lost -= usize::from(was == Some(true));
        was.is_some() != on
    }

    /// The client of a watched session is gone. Gives whether that is new.
    pub fn lose(&mut self, id: SessionId) -> bool {
        let Some(lost) = self.watched.get_mut(&id) else { return false };
        let was = std::mem::replace(lost, true);
        self.lost += usize::from(!was);
        !was
    }

    /// The owner of a session is heard of. Gives whether it was gone.
    #[inline]
    pub fn find_again(&mut self, record: &RecordView<'_>) -> bool {
        if self.lost == 0 || self.owned(record).is_err() {
            return false;
        }
        let Some(lost) = self.watched.get_mut(&record.header.session()) else { return false };
        let was = std::mem::take(lost);
        self.lost -= usize::from(was);
        was
    }

    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether a key that has `held` sessions may open another.
    pub fn has_room(&self, held: u32) -> bool {
        self.len() < self.max && held < self.per_key
    }

    /// Adds a session; one with the same id is the caller's error and gives `false`.
    pub fn insert(&mut self, session: Session) -> bool {
        if self.by_id.contains_key(&session.id.0) {
            return false;
        }
        let slot = self.free.pop().unwrap_or(self.slots.len() as u32);
        self.by_id.insert(session.id.0, slot);
        self.deadlines.push(Reverse((session.last.plus(self.timeout), session.id, slot)));
        if slot as usize == self.slots.len() {
            self.slots.push(Some(session));
        } else {
            self.slots[slot as usize] = Some(session);
        }
        true
    }

    pub fn remove(&mut self, id: SessionId) -> Option<Session> {
        let slot = self.by_id.remove(&id.0)?;
        let session = self.slots[slot as usize].take();
        self.free.push(slot);
        self.watch(id, false);
        // Compacting at half keeps the queue at most twice the table, at constant cost per removal.
        if self.deadlines.len() > 2 * self.by_id.len() + REFRESH_MAX {
            let slots = &self.slots;
            self.deadlines.retain(|Reverse((_, id, slot))| holds(slots, *slot, *id).is_some());
        }
        session
    }

    pub fn find(&self, id: SessionId) -> Option<&Session> {
        self.by_id.get(&id.0).map(|slot| self.at(*slot))
    }

    pub fn find_mut(&mut self, id: SessionId) -> Option<&mut Session> {
        let slot = *self.by_id.get(&id.0)?;
        Some(self.at_mut(slot))
    }

    pub fn at(&self, slot: u32) -> &Session {
        self.slots[slot as usize].as_ref().expect("a slot in use")
    }

    pub fn at_mut(&mut self, slot: u32) -> &mut Session {
        self.slots[slot as usize].as_mut().expect("a slot in use")
    }

    /// Ids in order, for snapshots.
    pub fn sorted(&self) -> Vec<SessionId> {
        let mut ids: Vec<_> = self.slots.iter().flatten().map(|session| session.id).collect();
        ids.sort_unstable();
        ids
    }

    /// The session of a record, if it exists and the record's key owns it.
    fn owned(&self, record: &RecordView<'_>) -> Result<u32, Code> {
        let slot = *self.by_id.get(&record.header.session.get()).ok_or(Code::UnknownSession)?;
        let is_owner = self.at(slot).key == record.header.key() || planted::is(Mistake::KeyIgnored);
        if is_owner { Ok(slot) } else { Err(Code::WrongKey) }
    }

    /// A record of a session is in the log: the session lives on, and replies that the client has
    /// confirmed are dropped. Gives its slot.
    pub fn touch(&mut self, record: &RecordView<'_>, time: Nanos) -> Result<u32, Code> {
        let slot = self.owned(record)?;
        let session = self.at_mut(slot);
        session.last = time;
        if !planted::is(Mistake::FloorIgnored) {
            session.replies.confirm(record.header.lowest_open());
        }
        Ok(slot)
    }

    /// Judges a numbered request that is in the log.
    pub fn admit(&mut self, record: &RecordView<'_>, time: Nanos) -> Verdict {
        match self.touch(record, time) {
            Ok(slot) => self.verdict(slot, record),
            Err(code) => Verdict::Refuse(code, None),
        }
    }

    /// Judges a numbered request without changing anything.
    pub fn judge(&self, record: &RecordView<'_>) -> Verdict {
        match self.owned(record) {
            Ok(slot) => self.verdict(slot, record),
            Err(code) => Verdict::Refuse(code, None),
        }
    }

    fn verdict(&self, slot: u32, record: &RecordView<'_>) -> Verdict {
        let replies = &self.at(slot).replies;
        let (number, next) = (record.header.number(), replies.next());
        let expected = Verdict::Refuse(Code::Expected, Some(next.0));
        if number == next {
            return if replies.len() < self.window { Verdict::Execute(slot) } else { expected };
        }
        if number > next {
            return expected;
        }
        match replies.get(number) {
            _ if planted::is(Mistake::RepeatExecuted) => Verdict::Execute(slot),
            None => Verdict::Refuse(Code::Forgotten, None),
            Some(kept) if kept.request == Fingerprint::of(record) => Verdict::Repeat(slot, kept),
            Some(kept) => Verdict::Refuse(Code::Conflict, Some(kept.seq.0)),
        }
    }

    /// What a client that resumes a session is told: the next number and the lowest one whose reply is kept.
    pub fn resume(&self, id: SessionId, key: KeyId) -> Result<(Number, Number), Code> {
        let session = self.find(id).ok_or(Code::UnknownSession)?;
        if session.key == key || planted::is(Mistake::KeyIgnored) {
            Ok((session.replies.next(), session.replies.floor()))
        } else {
            Err(Code::WrongKey)
        }
    }

    /// The earliest deadline in the queue, at or before the earliest real one.
    pub fn earliest(&self) -> Option<Nanos> {
        self.deadlines.peek().map(|Reverse((deadline, ..))| *deadline)
    }

    /// Brings the top of the queue up to date and gives the session that expires first; [`Unsettled`] if a bounded
    /// number of entries was not enough.
    pub fn refresh(&mut self) -> Result<Option<(Nanos, SessionId)>, Unsettled> {
        for _ in 0..REFRESH_MAX {
            let Some(mut top) = self.deadlines.peek_mut() else { return Ok(None) };
            let Reverse((queued, id, slot)) = *top;
            match holds(&self.slots, slot, id) {
                None => {
                    PeekMut::pop(top);
                }
                Some(session) => {
                    let early = u64::from(planted::is(Mistake::ExpiresEarly)) * Nanos::MILLI;
                    let deadline = session.last.plus(self.timeout - early);
                    if deadline == queued {
                        return Ok(Some((queued, id)));
                    }
                    top.0.0 = deadline;
                }
            }
        }
        Err(Unsettled)
    }
}

fn holds(slots: &[Option<Session>], slot: u32, id: SessionId) -> Option<&Session> {
    slots[slot as usize].as_ref().filter(|session| session.id == id)
}

/// More entries of the deadline queue are out of date than one call looks at. The next call goes on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unsettled;
