//! Sessions whose orders end on disconnect, in snapshots.

use super::{Chunk, LoadError, ensure};
use crate::Engine;
use crate::disconnect::{Link, Party};
use crate::orders::NONE;
use crate::timers::NEVER;
use ordain_exchange_protocol::{DISCONNECTS_MAX, Flag, GRACE_MAX, U32, U64, Zero};
use zerocopy::{Immutable, IntoBytes, KnownLayout, TryFromBytes, Unaligned};

/// A session.
#[derive(Clone, Copy, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct SessionItem {
    session: U64,
    grace: U64,
    end: U64,
    over: Flag,
    reserved: [Zero; 7],
}

/// An order of a session.
#[derive(Clone, Copy, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct OwnItem {
    session: U64,
    slot: U32,
    previous: U32,
}

const _: () = assert!(size_of::<SessionItem>() == 32);
const _: () = assert!(size_of::<OwnItem>() == 16);

impl Engine {
    /// Whether any session has it on.
    pub(super) fn has_sessions(&self) -> bool {
        !self.disconnects.parties.is_empty()
    }

    /// Whether any order is on the list of its session.
    pub(super) fn has_orders_of_sessions(&self) -> bool {
        self.disconnects.listed > 0
    }

    pub(super) fn put_session(&self, at: usize, chunk: &mut Chunk<'_>) {
        let party = &self.disconnects.parties[at];
        chunk.put(&SessionItem {
            session: party.session.into(),
            grace: party.grace.into(),
            end: party.end.into(),
            over: party.over.into(),
            reserved: [Zero::Zero; 7],
        });
    }

    pub(super) fn put_order_of_session(&self, at: usize, chunk: &mut Chunk<'_>) {
        let (order, link) = (self.orders.get(at as u32), self.disconnects.links[at]);
        if order.account != 0 && order.traits.is_of_session() {
            chunk.put(&OwnItem {
                session: link.session.into(),
                slot: (at as u32).into(),
                previous: link.previous.into(),
            });
        }
    }

    pub(super) fn load_session(&mut self, item: &SessionItem) -> Result<(), LoadError> {
        let (session, grace, end) = (item.session.get(), item.grace.get(), item.end.get());
        let parties = &mut self.disconnects.parties;
        let ascends = parties.last().map_or(session > 0, |last| last.session < session);
        ensure(ascends && parties.len() < DISCONNECTS_MAX, "sessions are out of order")?;
        let over = item.over == Flag::Yes;
        ensure(grace <= GRACE_MAX && !(over && end == NEVER), "a session is not valid")?;
        parties.push(Party { session, grace, end, over, head: NONE, tail: NONE });
        Ok(())
    }

    pub(super) fn load_order_of_session(&mut self, item: &OwnItem) -> Result<(), LoadError> {
        let (session, slot) = (item.session.get(), item.slot.get());
        ensure(self.disconnects.place(session).is_ok(), "an order's session is missing")?;
        let order = self.orders.slots.get_mut(slot as usize).filter(|order| order.account != 0);
        let order = order.ok_or(LoadError("an order is missing"))?;
        ensure(!order.traits.is_of_session(), "an order comes twice")?;
        order.traits = order.traits.of_session(true);
        let link = Link { session, previous: item.previous.get(), next: NONE };
        self.disconnects.links[slot as usize] = link;
        self.disconnects.listed += 1;
        Ok(())
    }

    /// Sets the forward links from the backward ones. What is left out (a ring of orders) the audit finds.
    pub(super) fn link_sessions(&mut self) -> Result<(), LoadError> {
        let of_session = |engine: &Self, slot: usize| {
            let order = engine.orders.slots.get(slot).filter(|order| order.account != 0);
            order.is_some_and(|order| order.traits.is_of_session())
        };
        for slot in 0..self.orders.slots.len() {
            if !of_session(self, slot) {
                continue;
            }
            let Link { session, previous, .. } = self.disconnects.links[slot];
            if previous == NONE {
                let at = self.disconnects.place(session).expect("looked for when it was loaded");
                let head = &mut self.disconnects.parties[at].head;
                ensure(*head == NONE, "a session has two lists")?;
                *head = slot as u32;
            } else {
                ensure(of_session(self, previous as usize), "an order of a session stands behind none")?;
                let before = &mut self.disconnects.links[previous as usize];
                ensure(before.session == session && before.next == NONE, "a session's list is broken")?;
                before.next = slot as u32;
            }
        }
        for slot in 0..self.orders.slots.len() {
            let Link { session, next, .. } = self.disconnects.links[slot];
            if of_session(self, slot) && next == NONE {
                let at = self.disconnects.place(session).expect("looked for when it was loaded");
                self.disconnects.parties[at].tail = slot as u32;
            }
        }
        self.disconnects.settle();
        Ok(())
    }
}
