//! Cancels, of one order and of many.

use crate::engine::{Work, permitted};
use crate::orders::{NONE, Order};
use crate::reply::{Answer, blank, refused};
use crate::{Context, Engine, Sink, Step};
use ordain_exchange_protocol::{
    Cancel, CancelReport, IntoBytes, MassCancel, MassCancelReply, OrderRef, OrderReply, OrderState, Reason,
    Reject, Schema, Sides, Zero, permission,
};

/// A mass cancel under way.
#[derive(Clone, Copy)]
pub(crate) struct Sweep {
    context: Context,
    account: u32,
    instrument: u32,
    sides: Sides,
    next: u32,
    cancelled: u64,
}

impl Engine {
    /// Where an order of the account stands, if the key may touch it.
    #[inline]
    pub(crate) fn touch(&self, context: &Context, account: u32, order: OrderRef) -> Result<u32, Reject> {
        permitted(context, permission::TRADE)?;
        self.granted(context, account)?;
        self.find_order(account, order)
    }

    pub(crate) fn cancel<S: Sink>(&mut self, context: &Context, message: &Cancel, sink: &mut S) -> Step {
        match self.touch(context, message.account.get(), message.order()) {
            Ok(slot) => self.reply_closed(context, slot, Reason::Cancelled, false, sink),
            Err(code) => {
                let refused = OrderReply {
                    account: message.account,
                    order_id: message.order_id,
                    client_order_id: message.client_order_id,
                    ..refused(context, code)
                };
                sink.reply(refused.as_bytes());
            }
        }
        Step::Done
    }

    /// Ends a resting order and says so.
    pub(crate) fn reply_closed<S: Sink>(
        &mut self,
        context: &Context,
        slot: u32,
        reason: Reason,
        second: bool,
        sink: &mut S,
    ) {
        let (order, id) = self.close(slot);
        self.tell_change(context, sink);
        let reply = OrderReply {
            state: OrderState::Cancelled,
            reason,
            cancelled: order.remaining.into(),
            ..self.reply(context, &order, id)
        };
        self.answer(&Answer { reply, second, price: order.price, prevented: 0 }, sink);
    }

    /// The reply about an order to which nothing happened.
    pub(crate) fn reply(&self, context: &Context, order: &Order, id: u64) -> OrderReply {
        OrderReply {
            instrument: u32::from(order.instrument).into(),
            account: order.account.into(),
            order_id: id.into(),
            client_order_id: order.client_order_id.into(),
            cumulative: order.cumulative.into(),
            fee_currency: self.live_instrument(order.instrument).quote.into(),
            ..blank(context, None)
        }
    }

    /// Ends a live order; gives it as it was, with all lots left as remaining, and its id.
    pub(crate) fn close(&mut self, slot: u32) -> (Order, u64) {
        let (order, id) = (*self.orders.get(slot), self.orders.id(slot));
        let order = Order { remaining: self.orders.left(slot), ..order };
        self.release(slot);
        if order.traits.waits() {
            self.leave_queue(slot);
        } else {
            self.leave_level(slot);
            self.book_changed(order.instrument);
        }
        self.unlist(slot);
        self.orders.give_back(slot);
        (order, id)
    }

    /// Frees what a live order holds.
    pub(crate) fn release(&mut self, slot: u32) {
        let (currency, hold) = self.hold_of(slot);
        let Order { account, instrument, side, price, .. } = *self.orders.get(slot);
        self.ledger.release(self.ledger.at(account, currency), hold);
        if self.is_watched(account) {
            self.lots_close(account, instrument, side, price, self.orders.left(slot));
        }
    }

    pub(crate) fn mass_cancel<S: Sink>(
        &mut self,
        context: &Context,
        message: &MassCancel,
        sink: &mut S,
    ) -> Step {
        let (account, instrument) = (message.account.get(), message.instrument.get());
        let checked =
            permitted(context, permission::TRADE).and_then(|()| self.granted(context, account)).and_then(
                |found| if instrument == 0 { Ok(found) } else { self.instrument(instrument).map(|_| found) },
            );
        match checked {
            Ok(found) => {
                let sweep = Sweep {
                    context: *context,
                    account,
                    instrument,
                    sides: message.sides,
                    next: found.head,
                    cancelled: 0,
                };
                self.sweep(sweep, sink)
            }
            Err(code) => {
                reply_swept(context, account, Some(code), 0, sink);
                Step::Done
            }
        }
    }

    /// One step of a mass cancel.
    pub(crate) fn sweep<S: Sink>(&mut self, mut sweep: Sweep, sink: &mut S) -> Step {
        let mut room = self.step_room();
        while room > 0 {
            if sweep.next == NONE {
                if self.tell_changes(&sweep.context, &mut room, sink) == Step::More {
                    break;
                }
                let reply = swept(&sweep.context, sweep.account, None, sweep.cancelled);
                self.answer_swept(&reply, sink);
                return Step::Done;
            }
            room -= 1;
            let slot = sweep.next;
            let order = self.orders.get(slot);
            sweep.next = order.account_next;
            let meant = sweep.instrument == 0 || sweep.instrument == u32::from(order.instrument);
            if meant && sweep.sides.covers(order.side) {
                let (order, id) = self.close(slot);
                sweep.cancelled += 1;
                self.report_closed(&sweep.context, &order, id, Reason::MassCancelled, sink);
                self.publish(&mut room, sink);
            }
        }
        self.work = Some(Work::Sweep(sweep));
        Step::More
    }

    /// Tells an account of the end of its order, of which `remaining` was left.
    pub(crate) fn report_closed<S: Sink>(
        &mut self,
        context: &Context,
        order: &Order,
        id: u64,
        reason: Reason,
        sink: &mut S,
    ) {
        let report = CancelReport {
            tag: CancelReport::TAG,
            schema: Schema::V1,
            reason,
            side: order.side,
            reserved: [Zero::Zero; 4],
            account: order.account.into(),
            instrument: u32::from(order.instrument).into(),
            order_id: id.into(),
            client_order_id: order.client_order_id.into(),
            cumulative: order.cumulative.into(),
            cancelled: order.remaining.into(),
            price: order.price.into(),
            seq: context.seq.into(),
            time: context.time.into(),
        };
        self.tell_account(order.account, &report, sink);
    }
}

pub(crate) fn reply_swept<S: Sink>(
    context: &Context,
    account: u32,
    code: Option<Reject>,
    cancelled: u64,
    sink: &mut S,
) {
    sink.reply(swept(context, account, code, cancelled).as_bytes());
}

fn swept(context: &Context, account: u32, code: Option<Reject>, cancelled: u64) -> MassCancelReply {
    MassCancelReply {
        tag: MassCancelReply::TAG,
        schema: Schema::V1,
        code: Reject::to_wire(code),
        account: account.into(),
        cancelled: cancelled.into(),
        seq: context.seq.into(),
        time: context.time.into(),
    }
}
