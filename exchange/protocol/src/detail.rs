//! Queries about what the first form of the exchange did not have, and their answers.

use crate::{
    Flag, I64, MarketState, OrderRef, OrderState, OrderType, PostOnly, Schema, SelfTrade, Sides, TimeInForce,
    U16, U32, U64, Zero,
};
use zerocopy::{Immutable, IntoBytes, KnownLayout, TryFromBytes, Unaligned};

const Z: Zero = Zero::Zero;

/// Asks for everything about a live order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct OrderDetailQuery {
    /// [`OrderDetailQuery::TAG`].
    pub tag: u8,
    /// Layout version.
    pub schema: Schema,
    /// Zero.
    pub reserved: [Zero; 2],
    /// Account id.
    pub account: U32,
    /// Order id, or 0 to go by the client's.
    pub order_id: U64,
    /// Client order id; 0 if `order_id` is given.
    pub client_order_id: U64,
}

/// Asks how an instrument trades now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct TradingQuery {
    /// [`TradingQuery::TAG`].
    pub tag: u8,
    /// Layout version.
    pub schema: Schema,
    /// Zero.
    pub reserved: [Zero; 2],
    /// Instrument id.
    pub instrument: U32,
}

/// Asks who an account's owner is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct OwnerQuery {
    /// [`OwnerQuery::TAG`].
    pub tag: u8,
    /// Layout version.
    pub schema: Schema,
    /// Zero.
    pub reserved: [Zero; 2],
    /// Account id.
    pub account: U32,
}

/// A live order, whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct OrderDetailAnswer {
    /// [`OrderDetailAnswer::TAG`].
    pub tag: u8,
    /// Layout version.
    pub schema: Schema,
    /// 0, or a [`Reject`](crate::Reject).
    pub code: U16,
    /// Instrument id.
    pub instrument: U32,
    /// Account id.
    pub account: U32,
    /// Buy or sell; any if refused.
    pub side: Sides,
    /// What it is now: an order that was triggered, or was market-to-limit, is a limit order.
    pub order_type: OrderType,
    /// How long it lives.
    pub time_in_force: TimeInForce,
    /// What it does if it would trade at once.
    pub post_only: PostOnly,
    /// Order id.
    pub order_id: U64,
    /// Client order id.
    pub client_order_id: U64,
    /// Limit price, ticks.
    pub price: I64,
    /// Lots filled.
    pub cumulative: U64,
    /// Lots open.
    pub remaining: U64,
    /// Those of them that the book shows.
    pub visible: U64,
    /// Lots that the book shows at a time; 0 for all.
    pub display: U64,
    /// Price of the trade that it waits for, ticks; 0 if it waits for none.
    pub trigger: I64,
    /// When it ends; 0 for never.
    pub expiry: U64,
    /// Its mode of self-trade prevention.
    pub self_trade: SelfTrade,
    /// Live or waiting; none if refused.
    pub state: OrderState,
    /// Zero.
    pub reserved: [Zero; 6],
}

/// How an instrument trades now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct TradingAnswer {
    /// [`TradingAnswer::TAG`].
    pub tag: u8,
    /// Layout version.
    pub schema: Schema,
    /// 0, or a [`Reject`](crate::Reject): then all but the instrument is 0.
    pub code: U16,
    /// Instrument id.
    pub instrument: U32,
    /// Price of the last trade, ticks; 0 before the first.
    pub last: I64,
    /// Orders that wait for a trigger.
    pub waiting: U32,
    /// Mode of orders that leave it to the instrument.
    pub self_trade: SelfTrade,
    /// Whether the code is 0.
    pub exists: Flag,
    /// What may be done.
    pub state: MarketState,
    /// Zero.
    pub reserved: [Zero; 9],
}

/// An account's owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct OwnerAnswer {
    /// [`OwnerAnswer::TAG`].
    pub tag: u8,
    /// Layout version.
    pub schema: Schema,
    /// 0, or a [`Reject`](crate::Reject): then the group is 0.
    pub code: U16,
    /// Account id.
    pub account: U32,
    /// Group of accounts that are one owner; 0 for none.
    pub group: U32,
    /// Zero.
    pub reserved: [Zero; 20],
}

impl OrderDetailQuery {
    /// Tag of the message.
    pub const TAG: u8 = 0x48;

    /// The message.
    #[must_use]
    pub fn new(account: u32, order: OrderRef) -> Self {
        let (order_id, client_order_id) = order.fields();
        Self {
            tag: Self::TAG,
            schema: Schema::V1,
            reserved: [Z; 2],
            account: account.into(),
            order_id,
            client_order_id,
        }
    }

    /// Which order; the order id where both are given.
    #[must_use]
    pub fn order(&self) -> OrderRef {
        OrderRef::from_fields(self.order_id, self.client_order_id)
    }
}

impl TradingQuery {
    /// Tag of the message.
    pub const TAG: u8 = 0x49;

    /// The message.
    #[must_use]
    pub fn new(instrument: u32) -> Self {
        Self { tag: Self::TAG, schema: Schema::V1, reserved: [Z; 2], instrument: instrument.into() }
    }
}

impl OwnerQuery {
    /// Tag of the message.
    pub const TAG: u8 = 0x4A;

    /// The message.
    #[must_use]
    pub fn new(account: u32) -> Self {
        Self { tag: Self::TAG, schema: Schema::V1, reserved: [Z; 2], account: account.into() }
    }
}

impl OrderDetailAnswer {
    /// Tag of the message.
    pub const TAG: u8 = 0xA8;
}

impl TradingAnswer {
    /// Tag of the message.
    pub const TAG: u8 = 0xA9;
}

impl OwnerAnswer {
    /// Tag of the message.
    pub const TAG: u8 = 0xAA;
}

const _: () = assert!(size_of::<OrderDetailQuery>() == 24);
const _: () = assert!(size_of::<TradingQuery>() == 8);
const _: () = assert!(size_of::<OwnerQuery>() == 8);
const _: () = assert!(size_of::<OrderDetailAnswer>() == 96);
const _: () = assert!(size_of::<TradingAnswer>() == 32);
const _: () = assert!(size_of::<OwnerAnswer>() == 32);
