//! Firms, and what accounts may do: each by itself, all of a firm, and all.

use crate::accounts::Account;
use crate::admin::reply_admin;
use crate::engine::permitted;
use crate::{Context, Engine, Sink, Step};
use ordain_exchange_protocol::{
    Access, AccessAnswer, AccessQuery, Control, Reject, Schema, Scope, SetAccess, U32, Zero, permission,
};
use zerocopy::{Immutable, IntoBytes, KnownLayout, TryFromBytes, Unaligned};

/// Highest firm id. A constant of the exchange; firms are few beside accounts.
pub const FIRMS: u32 = 4_096;

/// Whose access is not as at the beginning, in a snapshot.
#[derive(Clone, Copy, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct AccessItem {
    scope: Scope,
    access: Access,
    reserved: [u8; 2],
    id: U32,
    firm: U32,
}

/// What is set for firms and for all. An account's own access lies in its cache line.
pub(crate) struct Accesses {
    pub all: Access,
    /// By firm id; 0 stands for no firm and stays active.
    pub firms: Vec<Access>,
    /// How many of all, firms and accounts are not active: while none is, no command looks at any.
    restricted: u32,
    /// How many accounts are in a firm.
    members: u32,
}

impl Accesses {
    pub fn new() -> Self {
        Self {
            all: Access::Active,
            firms: vec![Access::Active; FIRMS as usize + 1],
            restricted: 0,
            members: 0,
        }
    }

    #[inline]
    pub const fn any(&self) -> bool {
        self.restricted > 0
    }

    /// Whether nothing was ever set that still stands.
    pub const fn is_unchanged(&self) -> bool {
        self.restricted == 0 && self.members == 0
    }

    /// Whether the counts are those of what is set.
    pub fn adds_up(&self, accounts: &[Account]) -> bool {
        let of_accounts = accounts.iter().map(|account| account.access);
        let all = self.firms.iter().copied().chain(of_accounts).chain([self.all]);
        let restricted = all.filter(|access| *access != Access::Active).count();
        let members = accounts.iter().filter(|account| account.firm != 0).count();
        (restricted, members) == (self.restricted as usize, self.members as usize)
    }
}

impl Engine {
    pub(crate) fn control<S: Sink>(
        &mut self,
        context: &Context,
        control: &Control<'_>,
        sink: &mut S,
    ) -> Step {
        let permitted = permitted(context, permission::ADMIN);
        match control {
            Control::SetFirm(message) => self.set_firm(context, message, permitted, sink),
            Control::SetAccess(message) => {
                let done = permitted.and_then(|()| self.change_access(message));
                reply_admin(context, message.id.get(), done, sink)
            }
            Control::Kill(message) => self.kill(context, message, permitted, sink),
            Control::Purge(message) => self.purge(context, message, permitted, sink),
            Control::SetLimits(message) => self.set_limits(context, message, permitted, sink),
            Control::SetGrossLimit(message) => self.set_gross_limit(context, message, permitted, sink),
            Control::SetInstrumentLimits(message) => {
                self.set_instrument_limits(context, message, permitted, sink)
            }
            Control::SetPosition(message) => self.set_position(context, message, permitted, sink),
            Control::SetFees(message) => self.set_fees(context, message, permitted, sink),
            Control::SetFeeClass(message) => self.set_fee_class(context, message, permitted, sink),
            Control::SetFeeTier(message) => self.set_fee_tier(context, message, permitted, sink),
            Control::GrantFirm(message) => self.grant_firm(context, message, permitted, sink),
        }
    }

    pub(crate) fn put_firm(&mut self, account: u32, firm: u32) {
        let previous = std::mem::replace(&mut self.accounts[account as usize].firm, firm);
        self.accesses.members += u32::from(firm != 0);
        self.accesses.members -= u32::from(previous != 0);
    }

    fn change_access(&mut self, message: &SetAccess) -> Result<(), Reject> {
        self.check_scope(message.scope, message.id.get())?;
        self.put_access(message.scope, message.id.get(), message.access);
        Ok(())
    }

    /// Whether there is what an operator's command is about.
    pub(crate) fn check_scope(&self, scope: Scope, id: u32) -> Result<(), Reject> {
        let exists = |account: &Account| account.exists && id != 0;
        match scope {
            Scope::Account if !self.accounts.get(id as usize).is_some_and(exists) => {
                Err(Reject::UnknownAccount)
            }
            Scope::Firm if !(1..=FIRMS).contains(&id) => Err(Reject::FirmOutOfRange),
            Scope::Account | Scope::Firm | Scope::All => Ok(()),
        }
    }

    pub(crate) fn access(&self, scope: Scope, id: u32) -> Access {
        match scope {
            Scope::Account => self.accounts[id as usize].access,
            Scope::Firm => self.accesses.firms[id as usize],
            Scope::All => self.accesses.all,
        }
    }

    /// Sets the access of what was checked to be there.
    pub(crate) fn put_access(&mut self, scope: Scope, id: u32, access: Access) {
        let place = match scope {
            Scope::Account => &mut self.accounts[id as usize].access,
            Scope::Firm => &mut self.accesses.firms[id as usize],
            Scope::All => &mut self.accesses.all,
        };
        let previous = std::mem::replace(place, access);
        self.accesses.restricted += u32::from(access != Access::Active);
        self.accesses.restricted -= u32::from(previous != Access::Active);
    }

    pub(crate) fn access_answer(
        &self,
        context: &Context,
        checked: Result<(), Reject>,
        query: &AccessQuery,
    ) -> AccessAnswer {
        let found = checked.and_then(|()| self.granted(context, query.account.get()));
        let blank = AccessAnswer {
            tag: AccessAnswer::TAG,
            schema: Schema::V1,
            code: Reject::to_wire(found.err()),
            account: query.account,
            firm: 0.into(),
            of_account: Access::None,
            of_firm: Access::None,
            of_all: Access::None,
            reserved: [Zero::Zero; 17],
        };
        found.map_or(blank, |account| AccessAnswer {
            firm: account.firm.into(),
            of_account: account.access,
            of_firm: self.accesses.firms[account.firm as usize],
            of_all: self.accesses.all,
            ..blank
        })
    }

    /// Places of a snapshot's section: all, firms, accounts.
    pub(crate) fn access_places(&self) -> usize {
        1 + FIRMS as usize + self.limits.accounts as usize
    }

    /// What a snapshot says of the `at`th of all, firms and accounts, if it is not as at the beginning.
    pub(crate) fn access_item(&self, at: usize) -> Option<AccessItem> {
        let (scope, id) = match at.checked_sub(1 + FIRMS as usize) {
            Some(account) => (Scope::Account, account as u32 + 1),
            None if at == 0 => (Scope::All, 0),
            None => (Scope::Firm, at as u32),
        };
        let firm = if scope == Scope::Account { self.accounts[id as usize].firm } else { 0 };
        let access = self.access(scope, id);
        let says = access != Access::Active || firm != 0;
        says.then(|| AccessItem { scope, access, reserved: [0; 2], id: id.into(), firm: firm.into() })
    }

    pub(crate) fn load_access(&mut self, item: &AccessItem) -> Result<(), &'static str> {
        let (scope, id, firm) = (item.scope, item.id.get(), item.firm.get());
        let valid = self.check_scope(scope, id).is_ok()
            && (scope != Scope::All || id == 0)
            && (firm == 0 || (scope == Scope::Account && firm <= FIRMS))
            && (firm != 0 || item.access != Access::Active)
            && item.access != Access::None
            && item.reserved == [0; 2];
        let first = valid && self.access(scope, id) == Access::Active;
        if !first || (scope == Scope::Account && self.accounts[id as usize].firm != 0) {
            return Err("what an account or firm may do is not valid");
        }
        self.put_access(scope, id, item.access);
        if firm != 0 {
            self.put_firm(id, firm);
        }
        Ok(())
    }

    /// Whether the account may do what only suspension forbids (`lessens`), or what blocking forbids too.
    #[cold]
    pub(crate) fn check_access(&self, account: &Account, lessens: bool) -> Result<(), Reject> {
        let levels = [
            (self.accesses.all, Reject::ExchangeBlocked, Reject::ExchangeSuspended),
            (self.accesses.firms[account.firm as usize], Reject::FirmBlocked, Reject::FirmSuspended),
            (account.access, Reject::AccountBlocked, Reject::AccountSuspended),
        ];
        for (access, blocked, suspended) in levels {
            match access {
                Access::Suspended => return Err(suspended),
                Access::Blocked if !lessens => return Err(blocked),
                _ => {}
            }
        }
        Ok(())
    }
}
