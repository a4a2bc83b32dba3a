//! Firms, who may do what, and operators who cancel for others.

use crate::command::Command;
use crate::message::Message;
use crate::{Context, Model, Order, admin_reply, code, ensure, mass_cancel_reply};
use ordain_exchange_protocol::{
    Access, AccessQuery, Amend2, Control, Kill, Purge, Reason, Reject, Scope, SetAccess, SetFirm, Sides,
    permission,
};

/// Highest firm id.
pub const FIRMS: u32 = 4_096;

impl Model {
    /// The firm of an account; 0 for none.
    #[must_use]
    pub fn firm(&self, account: u32) -> u32 {
        self.firms.get(&account).copied().unwrap_or(0)
    }

    /// What was set for an account, a firm, or all.
    #[must_use]
    pub fn access(&self, scope: Scope, id: u32) -> Access {
        self.access.get(&(scope as u8, id)).copied().unwrap_or(Access::Active)
    }

    /// Executes an operator's command.
    pub(crate) fn control(&mut self, command: &mut Command, control: &Control<'_>) -> Vec<u8> {
        let context = command.context;
        match control {
            Control::SetFirm(it) => admin_reply(&context, it.account.get(), &self.set_firm(&context, it)),
            Control::SetAccess(it) => admin_reply(&context, it.id.get(), &self.set_access(&context, it)),
            Control::Kill(it) => mass_cancel_reply(&context, it.id.get(), &self.kill(command, it)),
            Control::Purge(it) => mass_cancel_reply(&context, it.id.get(), &self.purge(command, it)),
            Control::SetLimits(it) => admin_reply(&context, it.id.get(), &self.set_limits(&context, it)),
            Control::SetGrossLimit(it) => {
                admin_reply(&context, it.id.get(), &self.set_gross_limit(&context, it))
            }
            Control::SetInstrumentLimits(it) => {
                admin_reply(&context, it.account.get(), &self.set_instrument_limits(&context, it))
            }
            Control::SetPosition(it) => {
                admin_reply(&context, it.account.get(), &self.set_position(&context, it))
            }
            Control::SetFees(it) => admin_reply(&context, it.class.into(), &self.set_fees(&context, it)),
            Control::SetFeeClass(it) => {
                admin_reply(&context, it.instrument.get(), &self.set_fee_class(&context, it))
            }
            Control::SetFeeTier(it) => {
                admin_reply(&context, it.account.get(), &self.set_fee_tier(&context, it))
            }
            Control::GrantFirm(it) => admin_reply(&context, it.firm.get(), &self.grant_firm(&context, it)),
        }
    }

    pub(crate) fn check_scope(&self, context: &Context, scope: Scope, id: u32) -> Result<(), Reject> {
        context.may(permission::ADMIN)?;
        match scope {
            Scope::Account => ensure(self.accounts.contains_key(&id), Reject::UnknownAccount),
            Scope::Firm => ensure((1..=FIRMS).contains(&id), Reject::FirmOutOfRange),
            Scope::All => Ok(()),
        }
    }

    fn set_firm(&mut self, context: &Context, request: &SetFirm) -> Result<(), Reject> {
        self.check_scope(context, Scope::Account, request.account.get())?;
        ensure(request.firm.get() <= FIRMS, Reject::FirmOutOfRange)?;
        self.firms.insert(request.account.get(), request.firm.get());
        Ok(())
    }

    fn set_access(&mut self, context: &Context, request: &SetAccess) -> Result<(), Reject> {
        self.check_scope(context, request.scope, request.id.get())?;
        self.access.insert((request.scope as u8, request.id.get()), request.access);
        Ok(())
    }

    fn kill(&mut self, command: &mut Command, request: &Kill) -> Result<u64, Reject> {
        let (scope, id) = (request.scope, request.id.get());
        self.check_scope(&command.context, scope, id)?;
        if self.access(scope, id) == Access::Active {
            self.access.insert((scope as u8, id), Access::Blocked);
        }
        Ok(self.sweep(command, Reason::Killed, |model, order| model.is_in_scope(order.account, scope, id)))
    }

    fn purge(&mut self, command: &mut Command, request: &Purge) -> Result<u64, Reject> {
        let (scope, id, instrument) = (request.scope, request.id.get(), request.instrument.get());
        self.check_scope(&command.context, scope, id)?;
        ensure(instrument == 0 || self.instruments.contains_key(&instrument), Reject::UnknownInstrument)?;
        let sides: Sides = request.sides;
        Ok(self.sweep(command, Reason::Purged, |model, order| {
            model.is_in_scope(order.account, scope, id)
                && (instrument == 0 || order.instrument == instrument)
                && sides.covers(order.side)
        }))
    }

    fn is_in_scope(&self, account: u32, scope: Scope, id: u32) -> bool {
        match scope {
            Scope::Account => account == id,
            Scope::Firm => self.firm(account) == id,
            Scope::All => true,
        }
    }

    /// Closes orders account by account, each account's in the order in which they were entered. Returns how many.
    fn sweep(
        &mut self,
        command: &mut Command,
        reason: Reason,
        covers: impl Fn(&Self, &Order) -> bool,
    ) -> u64 {
        let mut closed = 0;
        while let Some(id) = self
            .orders
            .iter()
            .filter(|order| covers(self, order))
            .min_by_key(|order| (order.account, order.entered))
            .map(|order| order.id)
        {
            self.close_and_report(command, id, reason);
            closed += 1;
        }
        closed
    }

    /// What everybody who has a say lets an account do, in the order in which they are asked.
    fn accesses(&self, account: u32) -> [(Access, Reject, Reject); 3] {
        let firm = match self.firm(account) {
            0 => Access::Active,
            firm => self.access(Scope::Firm, firm),
        };
        [
            (self.access(Scope::All, 0), Reject::ExchangeBlocked, Reject::ExchangeSuspended),
            (firm, Reject::FirmBlocked, Reject::FirmSuspended),
            (self.access(Scope::Account, account), Reject::AccountBlocked, Reject::AccountSuspended),
        ]
    }

    pub(crate) fn may_enter(&self, account: u32) -> Result<(), Reject> {
        self.accesses(account).into_iter().try_for_each(|(access, blocked, suspended)| match access {
            Access::Blocked => Err(blocked),
            Access::Suspended => Err(suspended),
            Access::Active | Access::None => Ok(()),
        })
    }

    fn is_not_suspended(&self, account: u32) -> Result<(), Reject> {
        self.accesses(account)
            .into_iter()
            .try_for_each(|(access, _, suspended)| ensure(access != Access::Suspended, suspended))
    }

    pub(crate) fn may_amend(&self, order: &Order, request: &Amend2) -> Result<(), Reject> {
        if order.is_only_made_smaller(request) {
            self.is_not_suspended(order.account)
        } else {
            self.may_enter(order.account)
        }
    }

    pub(crate) fn may_withdraw(&self, account: u32) -> Result<(), Reject> {
        if account == 0 { Ok(()) } else { self.is_not_suspended(account) }
    }

    pub(crate) fn access_answer(&self, context: &Context, query: &AccessQuery) -> Vec<u8> {
        let account = query.account.get();
        let result = self.may_see_trader(account, context);
        let answer = Message::new(0xAC, 32).put(2, 2, code(&result)).put(4, 4, account);
        if result.is_err() {
            return answer.bytes();
        }
        let [(of_all, ..), (of_firm, ..), (of_account, ..)] = self.accesses(account);
        answer
            .put(8, 4, self.firm(account))
            .put(12, 1, of_account as u8)
            .put(13, 1, of_firm as u8)
            .put(14, 1, of_all as u8)
            .bytes()
    }
}
