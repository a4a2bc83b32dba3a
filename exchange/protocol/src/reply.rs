//! Replies: what a command's sender is told.

use crate::{I64, Malformed, OrderState, Reason, Reject, Schema, Schema2, U16, U32, U64, Zero, block, head};
use zerocopy::{Immutable, IntoBytes, KnownLayout, TryFromBytes, Unaligned};

/// Reply to new, cancel and amend.
///
/// Refused: `account`, `instrument` and the order ids are those of the command (0 where it has none), and
/// everything else but `seq` and `time` is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct OrderReply {
    /// [`OrderReply::TAG`].
    pub tag: u8,
    /// Layout version.
    pub schema: Schema,
    /// 0, or a [`Reject`].
    pub code: U16,
    /// What became of the order.
    pub state: OrderState,
    /// Why its rest was cancelled.
    pub reason: Reason,
    /// Zero.
    pub reserved: [Zero; 2],
    /// Instrument id.
    pub instrument: U32,
    /// Account id.
    pub account: U32,
    /// Order id.
    pub order_id: U64,
    /// Client order id.
    pub client_order_id: U64,
    /// Lots filled since the order was entered.
    pub cumulative: U64,
    /// Lots open now.
    pub remaining: U64,
    /// Lots that this command cancelled.
    pub cancelled: U64,
    /// Fills that this command caused the order.
    pub fills: U32,
    /// Currency of `notional` and `fee`.
    pub fee_currency: U32,
    /// What those fills traded, minor units of quote currency, without fees.
    pub notional: U64,
    /// What the order's owner paid in fees for those fills; negative is a rebate.
    pub fee: I64,
    /// Number of the command in the log.
    pub seq: U64,
    /// Log time, nanoseconds since the Unix epoch.
    pub time: U64,
}

/// Reply to new and amend in their second layouts: the first reply, then what came of the price and of meetings
/// with orders of the same owner. Refused: both are 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct OrderReply2 {
    /// [`OrderReply::TAG`].
    pub tag: u8,
    /// Layout version.
    pub schema: Schema2,
    /// 0, or a [`Reject`].
    pub code: U16,
    /// What became of the order.
    pub state: OrderState,
    /// Why its rest was cancelled.
    pub reason: Reason,
    /// Zero.
    pub reserved: [Zero; 2],
    /// Instrument id.
    pub instrument: U32,
    /// Account id.
    pub account: U32,
    /// Order id.
    pub order_id: U64,
    /// Client order id.
    pub client_order_id: U64,
    /// Lots filled since the order was entered.
    pub cumulative: U64,
    /// Lots open now.
    pub remaining: U64,
    /// Lots that this command cancelled.
    pub cancelled: U64,
    /// Fills that this command caused the order.
    pub fills: U32,
    /// Currency of `notional` and `fee`.
    pub fee_currency: U32,
    /// What those fills traded, minor units of quote currency, without fees.
    pub notional: U64,
    /// What the order's owner paid in fees for those fills; negative is a rebate.
    pub fee: I64,
    /// Number of the command in the log.
    pub seq: U64,
    /// Log time, nanoseconds since the Unix epoch.
    pub time: U64,
    /// Limit price that the order has, or had at its end, ticks.
    pub price: I64,
    /// Lots that would have traded with orders of the same owner in this command.
    pub prevented: U64,
}

impl OrderReply2 {
    /// What the first layout says in the second.
    #[must_use]
    pub fn new(reply: &OrderReply, price: i64, prevented: u64) -> Self {
        Self {
            tag: OrderReply::TAG,
            schema: Schema2::V2,
            code: reply.code,
            state: reply.state,
            reason: reply.reason,
            reserved: reply.reserved,
            instrument: reply.instrument,
            account: reply.account,
            order_id: reply.order_id,
            client_order_id: reply.client_order_id,
            cumulative: reply.cumulative,
            remaining: reply.remaining,
            cancelled: reply.cancelled,
            fills: reply.fills,
            fee_currency: reply.fee_currency,
            notional: reply.notional,
            fee: reply.fee,
            seq: reply.seq,
            time: reply.time,
            price: price.into(),
            prevented: prevented.into(),
        }
    }

    /// What the first layout has of it.
    #[must_use]
    pub fn first(&self) -> OrderReply {
        OrderReply {
            tag: OrderReply::TAG,
            schema: Schema::V1,
            code: self.code,
            state: self.state,
            reason: self.reason,
            reserved: self.reserved,
            instrument: self.instrument,
            account: self.account,
            order_id: self.order_id,
            client_order_id: self.client_order_id,
            cumulative: self.cumulative,
            remaining: self.remaining,
            cancelled: self.cancelled,
            fills: self.fills,
            fee_currency: self.fee_currency,
            notional: self.notional,
            fee: self.fee,
            seq: self.seq,
            time: self.time,
        }
    }
}

/// Reply to a mass cancel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct MassCancelReply {
    /// [`MassCancelReply::TAG`].
    pub tag: u8,
    /// Layout version.
    pub schema: Schema,
    /// 0, or a [`Reject`].
    pub code: U16,
    /// Account id.
    pub account: U32,
    /// Orders cancelled.
    pub cancelled: U64,
    /// Number of the command in the log.
    pub seq: U64,
    /// Log time, nanoseconds since the Unix epoch.
    pub time: U64,
}

/// Reply to what operators do: create instrument, create account, grant, set self-trade, set group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct AdminReply {
    /// [`AdminReply::TAG`].
    pub tag: u8,
    /// Layout version.
    pub schema: Schema,
    /// 0, or a [`Reject`].
    pub code: U16,
    /// The instrument or account of the command.
    pub subject: U32,
    /// Number of the command in the log.
    pub seq: U64,
    /// Log time, nanoseconds since the Unix epoch.
    pub time: U64,
}

/// Reply to deposit and withdraw. A repeat of an executed transfer is given the first reply, byte by byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct TransferReply {
    /// [`TransferReply::TAG`].
    pub tag: u8,
    /// Layout version.
    pub schema: Schema,
    /// 0, or a [`Reject`]: then `free` is 0.
    pub code: U16,
    /// Account id.
    pub account: U32,
    /// Currency id.
    pub currency: U32,
    /// Zero.
    pub reserved: [Zero; 4],
    /// Transaction id.
    pub transaction: U64,
    /// Minor units moved.
    pub amount: U64,
    /// Free balance afterwards, minor units.
    pub free: U64,
    /// Number of the command in the log.
    pub seq: U64,
    /// Log time, nanoseconds since the Unix epoch.
    pub time: U64,
}

impl OrderReply {
    /// Tag of the message.
    pub const TAG: u8 = 0x81;
}

impl MassCancelReply {
    /// Tag of the message.
    pub const TAG: u8 = 0x82;
}

impl AdminReply {
    /// Tag of the message.
    pub const TAG: u8 = 0x83;
}

impl TransferReply {
    /// Tag of the message.
    pub const TAG: u8 = 0x84;
}

impl Reject {
    /// The code field of a reply: 0 for accepted.
    #[must_use]
    pub fn to_wire(code: Option<Self>) -> U16 {
        code.map_or(0, |code| code as u16).into()
    }
}

/// A reply in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply<'a> {
    /// To new, cancel and amend.
    Order(&'a OrderReply),
    /// To new and amend in their second layouts.
    Order2(&'a OrderReply2),
    /// To mass cancel.
    MassCancel(&'a MassCancelReply),
    /// To what operators do.
    Admin(&'a AdminReply),
    /// To deposit and withdraw.
    Transfer(&'a TransferReply),
}

impl<'a> Reply<'a> {
    /// Reads a reply in place.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn decode(bytes: &'a [u8]) -> Result<Self, Malformed> {
        match head(bytes)? {
            (OrderReply::TAG, 1) => block(bytes).map(Self::Order),
            (OrderReply::TAG, 2) => block(bytes).map(Self::Order2),
            (MassCancelReply::TAG, 1) => block(bytes).map(Self::MassCancel),
            (AdminReply::TAG, 1) => block(bytes).map(Self::Admin),
            (TransferReply::TAG, 1) => block(bytes).map(Self::Transfer),
            (_, 1) => Err(Malformed::Tag),
            _ => Err(Malformed::Schema),
        }
    }

    /// The code: 0 if the command was accepted, else that of a [`Reject`].
    #[must_use]
    pub fn code(&self) -> u16 {
        match self {
            Self::Order(reply) => reply.code,
            Self::Order2(reply) => reply.code,
            Self::MassCancel(reply) => reply.code,
            Self::Admin(reply) => reply.code,
            Self::Transfer(reply) => reply.code,
        }
        .get()
    }
}

const _: () = assert!(size_of::<OrderReply>() == 96);
const _: () = assert!(size_of::<MassCancelReply>() == 32);
const _: () = assert!(size_of::<AdminReply>() == 24);
const _: () = assert!(size_of::<TransferReply>() == 56);
const _: () = assert!(size_of::<OrderReply2>() == 112);
