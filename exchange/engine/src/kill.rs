//! The kill switch, and the mass cancels of operators.

use crate::cancel::reply_swept;
use crate::engine::Work;
use crate::orders::NONE;
use crate::{Context, Engine, Sink, Step};
use ordain_exchange_protocol::{Access, Kill, Purge, Reason, Reject, Scope, Sides};

/// Accounts that one step looks at, most of which may have no orders.
const STEP_ACCOUNTS: u32 = 1 << 12;

/// Cancels of many accounts' orders under way: account by account, by id.
#[derive(Clone, Copy)]
pub(crate) struct Clearing {
    context: Context,
    reason: Reason,
    scope: Scope,
    id: u32,
    instrument: u32,
    sides: Sides,
    /// The account whose orders are looked at, and the last one.
    account: u32,
    last: u32,
    /// The account's next order.
    next: u32,
    cancelled: u64,
}

impl Engine {
    pub(crate) fn kill<S: Sink>(
        &mut self,
        context: &Context,
        message: &Kill,
        permitted: Result<(), Reject>,
        sink: &mut S,
    ) -> Step {
        let (scope, id) = (message.scope, message.id.get());
        if let Err(code) = permitted.and_then(|()| self.check_scope(scope, id)) {
            reply_swept(context, id, Some(code), 0, sink);
            return Step::Done;
        }
        if self.access(scope, id) == Access::Active {
            self.put_access(scope, id, Access::Blocked);
        }
        self.clear(self.clearing(context, scope, id, Reason::Killed), sink)
    }

    pub(crate) fn purge<S: Sink>(
        &mut self,
        context: &Context,
        message: &Purge,
        permitted: Result<(), Reject>,
        sink: &mut S,
    ) -> Step {
        let (scope, id, instrument) = (message.scope, message.id.get(), message.instrument.get());
        let checked = permitted.and_then(|()| self.check_scope(scope, id)).and_then(|()| match instrument {
            0 => Ok(()),
            instrument => self.instrument(instrument).map(|_| ()),
        });
        if let Err(code) = checked {
            reply_swept(context, id, Some(code), 0, sink);
            return Step::Done;
        }
        let all = self.clearing(context, scope, id, Reason::Purged);
        self.clear(Clearing { instrument, sides: message.sides, ..all }, sink)
    }

    /// Of all orders of the scope.
    fn clearing(&self, context: &Context, scope: Scope, id: u32, reason: Reason) -> Clearing {
        let (account, last) = if scope == Scope::Account { (id, id) } else { (1, self.limits.accounts) };
        let sides = Sides::Any;
        let mut clearing = Clearing {
            context: *context,
            reason,
            scope,
            id,
            instrument: 0,
            sides,
            account,
            last,
            next: NONE,
            cancelled: 0,
        };
        clearing.next = self.first_to_clear(&clearing);
        clearing
    }

    fn first_to_clear(&self, clearing: &Clearing) -> u32 {
        let account = &self.accounts[clearing.account as usize];
        let meant = clearing.scope != Scope::Firm || account.firm == clearing.id;
        if meant { account.head } else { NONE }
    }

    /// One step of such cancels.
    pub(crate) fn clear<S: Sink>(&mut self, mut clearing: Clearing, sink: &mut S) -> Step {
        let (mut room, mut accounts) = (self.step_room(), 0);
        while room > 0 && accounts < STEP_ACCOUNTS {
            if clearing.next == NONE {
                if clearing.account == clearing.last {
                    if self.tell_changes(&clearing.context, &mut room, sink) == Step::More {
                        break;
                    }
                    reply_swept(&clearing.context, clearing.id, None, clearing.cancelled, sink);
                    return Step::Done;
                }
                clearing.account += 1;
                clearing.next = self.first_to_clear(&clearing);
                accounts += 1;
                continue;
            }
            let slot = clearing.next;
            let order = self.orders.get(slot);
            clearing.next = order.account_next;
            let meant = clearing.instrument == 0 || clearing.instrument == u32::from(order.instrument);
            if meant && clearing.sides.covers(order.side) {
                let (order, id) = self.close(slot);
                clearing.cancelled += 1;
                self.report_closed(&clearing.context, &order, id, clearing.reason, sink);
            }
            room -= 1;
            self.publish(&mut room, sink);
        }
        self.work = Some(Work::Clear(clearing));
        Step::More
    }
}
