//! Sessions whose orders end when their clients are gone. Rules: `docs/exchange/disconnect.md`.
//!
//! A session's orders are a list in order of entry, linked beside the slab: no memory of it becomes resident for orders of
//! other sessions. Who ends first is found by looking at all when one of them changes, which is rare beside commands.

use crate::admin::reply_admin;
use crate::engine::{Work, permitted};
use crate::orders::NONE;
use crate::timers::NEVER;
use crate::{Context, Engine, Sink, Step};
use ordain_exchange_protocol::{
    DISCONNECTS_MAX, Flag, GRACE_MAX, GRACE_OF_TERM, Reject, SetDisconnect, permission,
};
use zerocopy::{FromZeros, Immutable, KnownLayout};

/// Level of behaviour with which all of this begins.
const LEVEL: u16 = 1;

/// Orders that one step takes off a list.
const STEP_ORDERS: usize = 1 << 10;

/// A session that has it on, or has ended and still has orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Party {
    pub session: u64,
    pub grace: u64,
    /// When its orders end, if its client does not come back.
    pub end: u64,
    /// Whether the session has ended, and goes with its orders.
    pub over: bool,
    pub head: u32,
    pub tail: u32,
}

/// Neighbours among the orders of a session.
#[derive(Clone, Copy, FromZeros, KnownLayout, Immutable)]
#[repr(C)]
pub(crate) struct Link {
    /// 0 if the order is on no list.
    pub session: u64,
    pub previous: u32,
    pub next: u32,
}

impl Link {
    pub const NONE: Self = Self { session: 0, previous: 0, next: 0 };
}

/// See the module.
pub(crate) struct Disconnects {
    /// By session.
    pub parties: Vec<Party>,
    /// By slot.
    pub links: Vec<Link>,
    /// Orders on the lists.
    pub listed: u32,
    /// Place of the one that ends first, and when: the lower session of those that end at one time.
    first: usize,
    pub next: u64,
}

/// A session's orders on their way off its list.
#[derive(Clone, Copy)]
pub(crate) struct Parting {
    context: Context,
}

impl Disconnects {
    pub fn new(orders: u32) -> Self {
        let links = Link::new_vec_zeroed(orders as usize).expect("memory for the orders at start");
        Self { parties: Vec::with_capacity(DISCONNECTS_MAX), links, listed: 0, first: 0, next: NEVER }
    }

    /// Where a session is, or where it would be.
    pub fn place(&self, session: u64) -> Result<usize, usize> {
        self.parties.binary_search_by_key(&session, |party| party.session)
    }

    fn find(&mut self, session: u64) -> Option<&mut Party> {
        let at = self.place(session).ok()?;
        Some(&mut self.parties[at])
    }

    /// Who ends first may have changed.
    pub fn settle(&mut self) {
        let ends = self.parties.iter().enumerate().map(|(at, party)| (party.end, at));
        (self.next, self.first) = ends.min().unwrap_or((NEVER, 0));
    }

    /// Sets when a session's orders end, where it has any.
    fn set_end(&mut self, session: u64, end: impl FnOnce(&Party) -> u64) {
        let (first, next) = (self.first, self.next);
        let Ok(at) = self.place(session) else { return };
        let party = &mut self.parties[at];
        // Who has ended does not come back.
        if party.over {
            return;
        }
        party.end = if party.head == NONE { NEVER } else { end(party) };
        // Only if the first one moves back are the others looked at.
        if at == first && party.end > next {
            self.settle();
        } else if (party.end, at) < (next, first) {
            (self.next, self.first) = (party.end, at);
        }
    }

    fn remove(&mut self, at: usize) {
        self.parties.remove(at);
        self.settle();
    }
}

impl Engine {
    /// A level of behaviour begins.
    pub const fn begin_level(&mut self, level: u16) {
        self.level = level;
    }

    /// The client of a session that is watched ([`Sink::watch`]) has no connection any more.
    pub fn lost(&mut self, session: u64, time: u64) {
        self.disconnects.set_end(session, |party| time.saturating_add(party.grace));
    }

    /// A leader begins its term: the client of a session that is watched must prove anew that it is there.
    pub fn unproved(&mut self, session: u64, time: u64) {
        self.disconnects.set_end(session, |party| time.saturating_add(party.grace.max(GRACE_OF_TERM)));
    }

    /// The client of a session that is watched is heard of again.
    pub fn back(&mut self, session: u64) {
        self.disconnects.set_end(session, |_| NEVER);
    }

    /// A session that is watched has ended.
    pub fn ended(&mut self, session: u64, time: u64) {
        self.disconnects.set_end(session, |_| time);
        let Ok(at) = self.disconnects.place(session) else { return };
        let party = &mut self.disconnects.parties[at];
        party.over = true;
        if party.head == NONE {
            self.disconnects.remove(at);
        }
    }

    pub(crate) fn set_disconnect<S: Sink>(
        &mut self,
        context: &Context,
        message: &SetDisconnect,
        sink: &mut S,
    ) -> Step {
        let (on, grace) = (message.on == Flag::Yes, message.grace.get());
        let place = self.disconnects.place(context.session);
        if let Err(code) = self.check_disconnect(context, on, grace, place) {
            return reply_admin(context, 0, Err(code), sink);
        }
        match (on, place) {
            (true, Ok(at)) => self.disconnects.parties[at].grace = grace,
            (true, Err(at)) => {
                let (session, head, tail) = (context.session, NONE, NONE);
                let party = Party { session, grace, end: NEVER, over: false, head, tail };
                self.disconnects.parties.insert(at, party);
                self.disconnects.settle();
            }
            (false, Ok(_)) => return self.part(Parting { context: *context }, sink),
            (false, Err(_)) => {}
        }
        self.reply_disconnect(context, on, sink)
    }

    fn check_disconnect(
        &self,
        context: &Context,
        on: bool,
        grace: u64,
        place: Result<usize, usize>,
    ) -> Result<(), Reject> {
        let ensure = |holds: bool, code| if holds { Ok(()) } else { Err(code) };
        permitted(context, permission::TRADE)?;
        ensure(self.level >= LEVEL, Reject::NotBegun)?;
        ensure(grace <= GRACE_MAX, Reject::GraceTooLong)?;
        let has_room = place.is_ok() || self.disconnects.parties.len() < DISCONNECTS_MAX;
        ensure(!on || has_room, Reject::SessionsFull)
    }

    fn reply_disconnect<S: Sink>(&mut self, context: &Context, on: bool, sink: &mut S) -> Step {
        sink.watch(on);
        reply_admin(context, 0, Ok(()), sink)
    }

    /// One step of letting a session's orders be nobody's.
    pub(crate) fn part<S: Sink>(&mut self, parting: Parting, sink: &mut S) -> Step {
        let context = parting.context;
        let at = self.disconnects.place(context.session).expect("a session that has it on");
        for _ in 0..STEP_ORDERS {
            let slot = self.disconnects.parties[at].head;
            if slot == NONE {
                self.disconnects.remove(at);
                return self.reply_disconnect(&context, false, sink);
            }
            self.leave_session(slot);
        }
        self.work = Some(Work::Part(parting));
        Step::More
    }

    /// A live order of a session goes to the end of its list.
    #[cold]
    pub(crate) fn join_session(&mut self, session: u64, slot: u32) {
        let Some(party) = self.disconnects.find(session) else { return };
        let tail = std::mem::replace(&mut party.tail, slot);
        match tail {
            NONE => party.head = slot,
            tail => self.disconnects.links[tail as usize].next = slot,
        }
        self.disconnects.links[slot as usize] = Link { session, previous: tail, next: NONE };
        self.disconnects.listed += 1;
        let order = self.orders.get_mut(slot);
        order.traits = order.traits.of_session(true);
    }

    /// An order of a session leaves its list.
    #[cold]
    pub(crate) fn leave_session(&mut self, slot: u32) {
        let order = self.orders.get_mut(slot);
        order.traits = order.traits.of_session(false);
        let link = std::mem::replace(&mut self.disconnects.links[slot as usize], Link::NONE);
        let disconnects = &mut self.disconnects;
        disconnects.listed -= 1;
        match (link.previous, link.next) {
            (NONE, next) => disconnects.find(link.session).expect("the list's session").head = next,
            (previous, next) => disconnects.links[previous as usize].next = next,
        }
        match (link.next, link.previous) {
            (NONE, previous) => disconnects.find(link.session).expect("the list's session").tail = previous,
            (next, previous) => disconnects.links[next as usize].previous = previous,
        }
    }

    /// The next order that ends because its session does, by `until`.
    pub(crate) fn next_disconnected(&mut self, until: u64) -> Option<u32> {
        while self.disconnects.next <= until {
            let at = self.disconnects.first;
            let party = &mut self.disconnects.parties[at];
            if party.head != NONE {
                return Some(party.head);
            }
            if party.over {
                self.disconnects.remove(at);
            } else {
                party.end = NEVER;
                self.disconnects.settle();
            }
        }
        None
    }

    /// Whether the lists of sessions hold together, and hold all orders that say so.
    pub(crate) fn audit_sessions(&self) -> Result<(), &'static str> {
        let ensure = |holds: bool, what| if holds { Ok(()) } else { Err(what) };
        let disconnects = &self.disconnects;
        let ordered = disconnects.parties.is_sorted_by(|left, right| left.session < right.session);
        ensure(ordered && disconnects.parties.len() <= DISCONNECTS_MAX, "sessions are out of order")?;
        let mut listed = 0;
        for party in &disconnects.parties {
            let (mut slot, mut previous) = (party.head, NONE);
            while slot != NONE && listed <= self.orders.live {
                let order = self.orders.slots.get(slot as usize).ok_or("a session's order does not exist")?;
                let link = disconnects.links[slot as usize];
                let belongs = order.account != 0
                    && order.traits.is_of_session()
                    && (link.session, link.previous) == (party.session, previous);
                ensure(belongs, "a session's list is broken")?;
                (previous, slot) = (slot, link.next);
                listed += 1;
            }
            ensure(slot == NONE && party.tail == previous, "a session's list is broken")?;
        }
        let marked =
            self.orders.slots.iter().filter(|order| order.account != 0 && order.traits.is_of_session());
        let counts = marked.count() == listed as usize && disconnects.listed == listed;
        ensure(counts, "an order's session is lost")?;
        let ends = disconnects.parties.iter().enumerate().map(|(at, party)| (party.end, at)).min();
        let first =
            ends.is_none_or(|(end, at)| end == disconnects.next && (end == NEVER || at == disconnects.first));
        ensure(first, "a session's end is lost")
    }
}
