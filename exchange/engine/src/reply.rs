//! Replies about orders.

use crate::{Context, Sink};
use ordain_exchange_protocol::{
    IntoBytes, OrderReply, OrderReply2, OrderState, Reason, Reject, Schema, Zero,
};

pub(crate) fn blank(context: &Context, code: Option<Reject>) -> OrderReply {
    OrderReply {
        tag: OrderReply::TAG,
        schema: Schema::V1,
        code: Reject::to_wire(code),
        state: OrderState::None,
        reason: Reason::None,
        reserved: [Zero::Zero; 2],
        instrument: 0.into(),
        account: 0.into(),
        order_id: 0.into(),
        client_order_id: 0.into(),
        cumulative: 0.into(),
        remaining: 0.into(),
        cancelled: 0.into(),
        fills: 0.into(),
        fee_currency: 0.into(),
        notional: 0.into(),
        fee: 0.into(),
        seq: context.seq.into(),
        time: context.time.into(),
    }
}

pub(crate) fn refused(context: &Context, code: Reject) -> OrderReply {
    blank(context, Some(code))
}

/// A reply, and what the second layout says beside it.
#[derive(Clone, Copy)]
pub(crate) struct Answer {
    pub reply: OrderReply,
    /// The command came in the second layout.
    pub second: bool,
    pub price: i64,
    pub prevented: u64,
}

impl Answer {
    #[inline]
    pub fn send<S: Sink>(&self, sink: &mut S) {
        if self.second {
            sink.reply(OrderReply2::new(&self.reply, self.price, self.prevented).as_bytes());
        } else {
            sink.reply(self.reply.as_bytes());
        }
    }
}
