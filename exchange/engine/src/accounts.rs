//! Accounts: who may act for them, and their live orders.

use crate::keys::Keys;
use crate::orders::NONE;
use crate::{Context, Engine};
use ordain_exchange_protocol::{Access, OrderRef, Reject, permission};

/// An account: its keys and its live orders in order of entry.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Account {
    pub exists: bool,
    /// What it may do, were it not for its firm and all.
    pub access: Access,
    /// What it has open is kept in `Risk`: it has limits or a firm.
    pub tracked: bool,
    pub fee_tier: u8,
    pub orders: u32,
    pub head: u32,
    pub tail: u32,
    /// Accounts with the same group are one owner; 0 for none.
    pub group: u32,
    /// Its firm's id; 0 for none.
    pub firm: u32,
    /// Its limits in instruments, in `Risk`.
    pub table: u32,
    /// Those that may act for it.
    pub keys: Keys,
}

const _: () = assert!(size_of::<Account>() == 64);

impl Account {
    pub const ABSENT: Self = Self {
        exists: false,
        access: Access::Active,
        tracked: false,
        fee_tier: 0,
        orders: 0,
        head: NONE,
        tail: NONE,
        group: 0,
        firm: 0,
        table: NONE,
        keys: Keys::NONE,
    };

    /// Whether limits, or its firm, make it count.
    #[inline]
    pub const fn is_watched(&self) -> bool {
        self.tracked || self.table != NONE
    }

    #[inline]
    pub fn grants(&self, key: u32, permissions: u32) -> bool {
        permissions & permission::ADMIN != 0 || self.keys.contains(key)
    }
}

/// A live order, and what it holds of its account's money.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenOrder {
    /// Order id.
    pub id: u64,
    /// Currency of the hold.
    pub currency: u32,
    /// Minor units held.
    pub held: u64,
}

impl Engine {
    /// The live orders of an account in order of entry, those that wait too. An account that is not there has none.
    ///
    /// Takes time in proportion to their number: for tools, not for commands.
    pub fn open_orders(&self, account: u32) -> impl Iterator<Item = OpenOrder> {
        let listed = |slot: u32| (slot != NONE).then_some(slot);
        let first = self.accounts.get(account as usize).and_then(|account| listed(account.head));
        std::iter::successors(first, move |slot| listed(self.orders.get(*slot).account_next)).map(|slot| {
            let (currency, held) = self.hold_of(slot);
            OpenOrder { id: self.orders.id(slot), currency, held }
        })
    }

    /// An account that may trade and that the key may act for.
    #[inline]
    pub(crate) fn granted(&self, context: &Context, account: u32) -> Result<&Account, Reject> {
        if account == 0 {
            return Err(Reject::UnknownAccount);
        }
        let account = self.accounts.get(account as usize).filter(|account| account.exists);
        let account = account.ok_or(Reject::UnknownAccount)?;
        if account.grants(context.key, context.permissions) { Ok(account) } else { Err(Reject::NotGranted) }
    }

    /// The slot of a live order of the account.
    #[inline]
    pub(crate) fn find_order(&self, account: u32, order: OrderRef) -> Result<u32, Reject> {
        let slot = match order {
            OrderRef::Id(id) => self.orders.find(id).filter(|slot| self.orders.get(*slot).account == account),
            OrderRef::Client(id) => self.find_client_order(account, id),
        };
        slot.ok_or(Reject::UnknownOrder)
    }

    #[inline]
    pub(crate) fn find_client_order(&self, account: u32, client_order_id: u64) -> Option<u32> {
        self.index.find(self.index.hash(account, client_order_id), |slot| {
            let order = self.orders.get(slot);
            order.client_order_id == client_order_id && order.account == account
        })
    }

    /// Enters an order into the index and at the end of its account's list.
    pub(crate) fn list(&mut self, slot: u32) {
        let (owner, client_order_id) = (self.orders.get(slot).account, self.orders.get(slot).client_order_id);
        self.index.insert(self.index.hash(owner, client_order_id), slot);
        let account = &mut self.accounts[owner as usize];
        let tail = std::mem::replace(&mut account.tail, slot);
        account.orders += 1;
        if account.firm != 0 {
            self.risk.firms[account.firm as usize].orders += 1;
        }
        match tail {
            NONE => account.head = slot,
            tail => self.orders.get_mut(tail).account_next = slot,
        }
        let order = self.orders.get_mut(slot);
        order.account_previous = tail;
        order.account_next = NONE;
        if let Some(extra) = self.orders.extra(slot) {
            if extra.expiry != 0 {
                self.expiries.insert(&mut self.orders.extras, slot);
            } else if extra.day != 0 {
                self.join_day(slot);
            }
        }
    }

    /// Enters a new order: into the index, at the end of its account's list and, where that counts, of its session's.
    #[inline]
    pub(crate) fn list_new(&mut self, slot: u32, session: u64) {
        self.list(slot);
        if !self.disconnects.parties.is_empty() {
            self.join_session(session, slot);
        }
    }

    /// Takes an order out of the index and the lists that it is on.
    pub(crate) fn unlist(&mut self, slot: u32) {
        let order = *self.orders.get(slot);
        self.index.remove(self.index.hash(order.account, order.client_order_id), slot);
        let account = &mut self.accounts[order.account as usize];
        account.orders -= 1;
        if account.firm != 0 {
            self.risk.firms[account.firm as usize].orders -= 1;
        }
        match order.account_previous {
            NONE => account.head = order.account_next,
            previous => self.orders.get_mut(previous).account_next = order.account_next,
        }
        match order.account_next {
            NONE => account.tail = order.account_previous,
            next => self.orders.get_mut(next).account_previous = order.account_previous,
        }
        if order.traits.is_of_session() {
            self.leave_session(slot);
        }
        if let Some(extra) = self.orders.extra(slot) {
            if extra.expiry != 0 {
                self.expiries.remove(&mut self.orders.extras, slot);
            } else if extra.day != 0 {
                self.leave_day(slot);
            }
        }
    }

    /// Whether an order of account `other` is one of this owner.
    #[inline]
    pub(crate) fn is_same_owner(&self, account: u32, group: u32, other: u32) -> bool {
        account == other || (group != 0 && self.accounts[other as usize].group == group)
    }
}
