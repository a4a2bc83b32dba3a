//! Sessions whose orders are cancelled when their clients are gone.

use crate::command::Command;
use crate::{Context, Model, ensure};
use ordain_exchange_protocol::{Flag, Reason, Reject, SetDisconnect, permission};

/// An hour, in nanoseconds: the longest grace.
const GRACE_MAX: u64 = 3_600_000_000_000;
/// A second: the shortest grace behind the beginning of a term.
const GRACE_OF_TERM: u64 = 1_000_000_000;
/// Most sessions that have it on.
const SESSIONS: usize = 4_096;

/// A session that has it on, or that ended with orders.
pub struct Absence {
    grace: u64,
    /// When its orders end, if it is gone.
    end: Option<u64>,
    /// Whether it goes with its orders.
    over: bool,
}

impl Model {
    /// A level of behaviour begins.
    pub fn begin_level(&mut self, level: u16) {
        self.level = level;
    }

    /// Whether a session has it on.
    #[must_use]
    pub fn is_on(&self, session: u64) -> bool {
        self.absences.contains_key(&session)
    }

    /// When the orders of sessions end whose clients are gone.
    pub fn ends(&self) -> impl Iterator<Item = u64> {
        self.absences.values().filter_map(|absence| absence.end)
    }

    pub(crate) fn set_disconnect(&mut self, context: &Context, it: &SetDisconnect) -> Result<(), Reject> {
        context.may(permission::TRADE)?;
        ensure(self.level >= 1, Reject::NotBegun)?;
        let (session, grace) = (context.session, it.grace.get());
        ensure(grace <= GRACE_MAX, Reject::GraceTooLong)?;
        if it.on == Flag::No {
            self.absences.remove(&session);
            self.disown(session);
        } else if let Some(absence) = self.absences.get_mut(&session) {
            absence.grace = grace;
        } else {
            ensure(self.absences.len() < SESSIONS, Reject::SessionsFull)?;
            self.absences.insert(session, Absence { grace, end: None, over: false });
        }
        Ok(())
    }

    fn disown(&mut self, session: u64) {
        self.orders.iter_mut().filter(|order| order.session == session).for_each(|order| order.session = 0);
    }

    fn has_orders(&self, session: u64) -> bool {
        self.orders.iter().any(|order| order.session == session)
    }

    fn set_end(&mut self, session: u64, end: impl FnOnce(&Absence) -> Option<u64>) {
        let has_orders = self.has_orders(session);
        if let Some(absence) = self.absences.get_mut(&session) {
            absence.end = end(absence).filter(|_| has_orders);
        }
    }

    /// The session is attached to no connection any more.
    pub fn lost(&mut self, session: u64, time: u64) {
        self.set_end(session, |absence| Some(time + absence.grace));
    }

    /// A leader begins its term.
    pub fn unproved(&mut self, session: u64, time: u64) {
        self.set_end(session, |absence| Some(time + absence.grace.max(GRACE_OF_TERM)));
    }

    /// The client is heard of again.
    pub fn back(&mut self, session: u64) {
        self.set_end(session, |_| None);
    }

    /// The session was closed or has expired.
    pub fn ended(&mut self, session: u64, time: u64) {
        self.set_end(session, |_| Some(time));
        if let Some(absence) = self.absences.get_mut(&session) {
            absence.over = true;
        }
        if !self.has_orders(session) {
            self.absences.remove(&session);
        }
    }

    /// The ends that are at this time pass.
    pub(crate) fn end_sessions(&mut self, command: &mut Command, time: u64) {
        let due = |absence: &Absence| absence.end == Some(time);
        let sessions: Vec<u64> =
            self.absences.iter().filter(|(_, absence)| due(absence)).map(|(session, _)| *session).collect();
        for session in sessions {
            while let Some(order) =
                self.orders.iter().filter(|order| order.session == session).min_by_key(|order| order.entered)
            {
                self.close_and_report(command, order.id, Reason::Disconnected);
            }
            if self.absences[&session].over {
                self.absences.remove(&session);
            } else {
                self.set_end(session, |_| None);
            }
        }
    }
}
