//! What operators change: market states, who may do what, and orders that they cancel.

use super::{Checked, Listener, Live};
use ordain_exchange_engine::Context;
use ordain_exchange_protocol::{Access, Control, MarketState, Output, Reason, Reply, Request, Scope, Sides};

impl Listener {
    pub(super) fn state(&self, instrument: u32) -> MarketState {
        self.states.get(&instrument).copied().unwrap_or(MarketState::Continuous)
    }

    /// Marks what was done to an order where nothing trades.
    pub(super) fn mark_state(&mut self, live: &Live, marks: [&'static str; 3]) {
        match self.state(live.request.instrument.get()) {
            MarketState::Halted => self.marks.push(marks[0]),
            MarketState::CancelOnly => self.marks.push(marks[1]),
            MarketState::PostOnly => self.marks.push(marks[2]),
            _ => {}
        }
    }

    pub(super) fn access_of(&self, scope: Scope, id: u32) -> Access {
        self.access.get(&(scope as u8, id)).copied().unwrap_or(Access::Active)
    }

    /// What an account may do: what it, its firm and all may.
    pub(super) fn least_access(&self, account: u32) -> Access {
        let firm = self.firms.get(&account).copied().unwrap_or(0);
        let firm = if firm == 0 { Access::Active } else { self.access_of(Scope::Firm, firm) };
        let three = [self.access_of(Scope::All, 0), firm, self.access_of(Scope::Account, account)];
        three.into_iter().max_by_key(|access| *access as u8).expect("there are three")
    }

    /// Marks what happened although an account may not do everything.
    pub(super) fn mark_access(&mut self, live: &Live, marks: [&'static str; 2]) {
        match self.least_access(live.request.account.get()) {
            Access::Blocked => self.marks.push(marks[0]),
            Access::Suspended => self.marks.push(marks[1]),
            _ => {}
        }
    }

    pub(super) fn is_in_scope(&self, live: &Live, scope: Scope, id: u32) -> bool {
        let account = live.request.account.get();
        match scope {
            Scope::Account => account == id,
            Scope::Firm => self.firms.get(&account) == Some(&id),
            Scope::All => true,
        }
    }

    /// Commands of operators, and mass cancels: nothing but what they cover is cancelled, all of that, in its order.
    pub(super) fn control(
        &mut self,
        context: &Context,
        request: &Request<'_>,
        reply: &Reply<'_>,
        outputs: &[Output<'_>],
    ) -> Checked {
        let covers = |live: &Live, instrument: u32, sides: Sides| {
            (instrument == 0 || live.request.instrument == instrument) && sides.covers(live.request.side)
        };
        let (reason, covered): (Reason, Vec<u64>) = match request {
            Request::Control(Control::SetFirm(it)) => {
                self.firms.insert(it.account.get(), it.firm.get());
                (Reason::None, Vec::new())
            }
            Request::Control(
                Control::SetLimits(_)
                | Control::SetGrossLimit(_)
                | Control::SetInstrumentLimits(_)
                | Control::SetPosition(_)
                | Control::SetFees(_)
                | Control::SetFeeClass(_)
                | Control::SetFeeTier(_)
                | Control::GrantFirm(_),
            ) => (Reason::None, Vec::new()),
            Request::Control(Control::SetAccess(it)) => {
                self.access.insert((it.scope as u8, it.id.get()), it.access);
                (Reason::None, Vec::new())
            }
            Request::Control(Control::Kill(it)) => {
                let (scope, id) = (it.scope, it.id.get());
                match self.access_of(scope, id) {
                    Access::Suspended => self.marks.push("kill: suspended already"),
                    Access::Blocked => self.marks.push("kill: blocked already"),
                    _ => {
                        self.access.insert((scope as u8, id), Access::Blocked);
                    }
                }
                (Reason::Killed, self.ids(|live| self.is_in_scope(live, scope, id)))
            }
            Request::Control(Control::Purge(it)) => {
                let (scope, id) = (it.scope, it.id.get());
                let ids = self.ids(|live| {
                    self.is_in_scope(live, scope, id) && covers(live, it.instrument.get(), it.sides)
                });
                (Reason::Purged, ids)
            }
            Request::MassCancel(it) => {
                let ids = self.ids(|live| {
                    live.request.account == it.account && covers(live, it.instrument.get(), it.sides)
                });
                (Reason::MassCancelled, ids)
            }
            _ => unreachable!("commands of operators and mass cancels only"),
        };
        check!(
            outputs.len() == covered.len(),
            "{} orders are covered, {} told",
            covered.len(),
            outputs.len()
        );
        if let Reply::MassCancel(reply) = reply {
            check!(reply.cancelled == covered.len() as u64, "{} orders are covered", covered.len());
        }
        let mut accounts: Vec<u32> = Vec::new();
        for (&id, output) in covered.iter().zip(outputs) {
            let Output::Cancel(it) = output else { return Err(format!("a sweep makes {output:?}")) };
            check!(it.order_id == id && it.reason == reason, "order {id:#x} is next, {reason:?}: {it:?}");
            accounts.push(it.account.get());
            self.cancelled(context, output)?;
        }
        let scope = match request {
            Request::Control(Control::Kill(it)) => it.scope,
            Request::Control(Control::Purge(it)) => it.scope,
            _ => return Ok(()),
        };
        accounts.dedup();
        if !accounts.is_empty() {
            self.marks.push(match (reason, scope) {
                (Reason::Killed, Scope::Account) => "kill: an account",
                (Reason::Killed, Scope::Firm) => "kill: a firm",
                (Reason::Killed, Scope::All) => "kill: all",
                (_, Scope::Account) => "purge: an account",
                (_, Scope::Firm) => "purge: a firm",
                (_, Scope::All) => "purge: all",
            });
        }
        if accounts.len() > 1 {
            self.marks.push(match reason {
                Reason::Killed => "kill: of several accounts",
                _ => "purge: of several accounts",
            });
        }
        Ok(())
    }

    /// Live orders, account by account, each account's in the order in which they were entered.
    pub(super) fn ids(&self, covered: impl Fn(&Live) -> bool) -> Vec<u64> {
        let mut ids: Vec<(u32, u64, u64)> = self
            .orders
            .iter()
            .filter(|(_, live)| covered(live))
            .map(|(id, live)| (live.request.account.get(), live.entered, *id))
            .collect();
        ids.sort_unstable();
        ids.into_iter().map(|entry| entry.2).collect()
    }
}
