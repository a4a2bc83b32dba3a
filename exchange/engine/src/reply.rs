//! Replies about orders.

use crate::{Context, Sink, Step};
use ordain_exchange_protocol::{
    AdminReply, IntoBytes, OrderReply, OrderReply2, OrderState, Reason, Reject, Request, Schema, Zero,
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

/// Refuses a command that this build does not execute.
#[cold]
pub(crate) fn not_supported<S: Sink>(context: &Context, request: &Request<'_>, sink: &mut S) -> Step {
    let blank = refused(context, Reject::NotSupported);
    let reply = match request {
        Request::NewOrder2(message) => OrderReply {
            instrument: message.instrument,
            account: message.account,
            client_order_id: message.client_order_id,
            ..blank
        },
        Request::Amend2(message) => OrderReply {
            account: message.account,
            order_id: message.order_id,
            client_order_id: message.client_order_id,
            ..blank
        },
        Request::SetSelfTrade(message) => return refused_admin(context, message.instrument.get(), sink),
        Request::SetGroup(message) => return refused_admin(context, message.account.get(), sink),
        _ => unreachable!("every other command is executed"),
    };
    sink.reply(OrderReply2::new(&reply, 0, 0).as_bytes());
    Step::Done
}

fn refused_admin<S: Sink>(context: &Context, subject: u32, sink: &mut S) -> Step {
    let reply = AdminReply {
        tag: AdminReply::TAG,
        schema: Schema::V1,
        code: Reject::to_wire(Some(Reject::NotSupported)),
        subject: subject.into(),
        seq: context.seq.into(),
        time: context.time.into(),
    };
    sink.reply(reply.as_bytes());
    Step::Done
}
