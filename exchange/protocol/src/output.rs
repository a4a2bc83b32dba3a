//! Outputs: what others than the sender are told, and the sender's fills one by one.

use crate::{
    AuctionReport, BookReport, CallReport, Flag, I64, IndicationReport, LevelReport, Malformed, MarketState,
    OrderState, OrderType, Reason, Schema, SelfTrade, Side, TopReport, U32, U64, Zero, block, tag,
};
use zerocopy::{Immutable, IntoBytes, KnownLayout, TryFromBytes, Unaligned};

/// Who hears an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Audience {
    /// The stream of an account.
    Account(u32),
    /// The stream of a firm.
    Firm(u32),
    /// The topic of an instrument, which anybody may read.
    Instrument(u32),
    /// A topic of market data, which anybody may read, by its number ([`crate::topic`]).
    Feed(u32),
}

impl Audience {
    /// Number of a firm's stream among those of accounts.
    #[must_use]
    pub const fn firm_stream(firm: u32) -> u64 {
        1 << 32 | firm as u64
    }
}

/// A fill, as the stream of one side's account hears it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct FillReport {
    /// [`FillReport::TAG`].
    pub tag: u8,
    /// Layout version.
    pub schema: Schema,
    /// [`Reason::Fill`].
    pub reason: Reason,
    /// Side of the order.
    pub side: Side,
    /// Whether the order was the aggressor.
    pub aggressor: Flag,
    /// Filled if nothing is left of it, else live.
    pub state: OrderState,
    /// Zero.
    pub reserved: [Zero; 2],
    /// Account id.
    pub account: U32,
    /// Instrument id.
    pub instrument: U32,
    /// Order id.
    pub order_id: U64,
    /// Client order id.
    pub client_order_id: U64,
    /// Lots filled since the order was entered, this fill included.
    pub cumulative: U64,
    /// Lots still to be filled.
    pub remaining: U64,
    /// Price of this fill, ticks.
    pub price: I64,
    /// Lots of this fill.
    pub quantity: U64,
    /// Number of the command in the log. With `index`, the trade id.
    pub seq: U64,
    /// Log time, nanoseconds since the Unix epoch.
    pub time: U64,
    /// Which trade of the command this is, from 0.
    pub index: U32,
    /// Currency of the fee.
    pub fee_currency: U32,
    /// What the order's owner paid for this fill, minor units; negative is a rebate.
    pub fee: I64,
}

/// The end of an order that its owner did not cancel by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct CancelReport {
    /// [`CancelReport::TAG`].
    pub tag: u8,
    /// Layout version.
    pub schema: Schema,
    /// Why.
    pub reason: Reason,
    /// Side of the order.
    pub side: Side,
    /// Zero.
    pub reserved: [Zero; 4],
    /// Account id.
    pub account: U32,
    /// Instrument id.
    pub instrument: U32,
    /// Order id.
    pub order_id: U64,
    /// Client order id.
    pub client_order_id: U64,
    /// Lots filled since the order was entered.
    pub cumulative: U64,
    /// Lots that were open and are cancelled.
    pub cancelled: U64,
    /// Limit price, ticks.
    pub price: I64,
    /// Number of the command in the log.
    pub seq: U64,
    /// Log time, nanoseconds since the Unix epoch.
    pub time: U64,
}

/// A trade, as everybody hears it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct TradeReport {
    /// [`TradeReport::TAG`].
    pub tag: u8,
    /// Layout version.
    pub schema: Schema,
    /// Side of the aggressor.
    pub side: Side,
    /// Zero.
    pub reserved: Zero,
    /// Instrument id.
    pub instrument: U32,
    /// Ticks.
    pub price: I64,
    /// Lots.
    pub quantity: U64,
    /// Number of the command in the log. With `index`, the trade id.
    pub seq: U64,
    /// Log time, nanoseconds since the Unix epoch.
    pub time: U64,
    /// Which trade of the command this is, from 0.
    pub index: U32,
    /// Zero.
    pub reserved2: [Zero; 4],
}

/// Two orders of one owner met and did not trade, as the stream of one order's account hears it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct PreventReport {
    /// [`PreventReport::TAG`].
    pub tag: u8,
    /// Layout version.
    pub schema: Schema,
    /// The taker's mode, neither default nor allow.
    pub self_trade: SelfTrade,
    /// Side of the order.
    pub side: Side,
    /// Whether the order was the aggressor.
    pub aggressor: Flag,
    /// Cancelled if nothing is left of it, else live.
    pub state: OrderState,
    /// Zero.
    pub reserved: [Zero; 2],
    /// Account id.
    pub account: U32,
    /// Instrument id.
    pub instrument: U32,
    /// Order id.
    pub order_id: U64,
    /// Client order id.
    pub client_order_id: U64,
    /// Lots filled since the order was entered.
    pub cumulative: U64,
    /// Lots still to be filled.
    pub remaining: U64,
    /// The maker's price, ticks.
    pub price: I64,
    /// Lots that would have traded.
    pub prevented: U64,
    /// Lots of this order that were cancelled for it.
    pub cancelled: U64,
    /// Number of the command in the log.
    pub seq: U64,
    /// Log time, nanoseconds since the Unix epoch.
    pub time: U64,
    /// Which meeting of the command this is, from 0.
    pub index: U32,
    /// Zero.
    pub reserved2: [Zero; 4],
}

/// An order was triggered and trades from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct TriggerReport {
    /// [`TriggerReport::TAG`].
    pub tag: u8,
    /// Layout version.
    pub schema: Schema,
    /// What it was while it waited.
    pub order_type: OrderType,
    /// Side of the order.
    pub side: Side,
    /// Zero.
    pub reserved: [Zero; 4],
    /// Account id.
    pub account: U32,
    /// Instrument id.
    pub instrument: U32,
    /// Order id.
    pub order_id: U64,
    /// Client order id.
    pub client_order_id: U64,
    /// Limit price that it trades with, ticks.
    pub price: I64,
    /// Lots to be filled.
    pub remaining: U64,
    /// Its trigger price, ticks.
    pub trigger: I64,
    /// Number of the command in the log.
    pub seq: U64,
    /// Log time, nanoseconds since the Unix epoch.
    pub time: U64,
}

/// What may be done in an instrument has changed, as everybody hears it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct StateReport {
    /// [`StateReport::TAG`].
    pub tag: u8,
    /// Layout version.
    pub schema: Schema,
    /// What may be done from now on.
    pub state: MarketState,
    /// What could be done until now.
    pub previous: MarketState,
    /// Instrument id.
    pub instrument: U32,
    /// Number of the command in the log.
    pub seq: U64,
    /// Log time, nanoseconds since the Unix epoch.
    pub time: U64,
}

impl StateReport {
    /// Tag of the message.
    pub const TAG: u8 = 0xC6;
}

impl FillReport {
    /// Tag of the message.
    pub const TAG: u8 = 0xC1;
}

impl CancelReport {
    /// Tag of the message.
    pub const TAG: u8 = 0xC2;
}

impl TradeReport {
    /// Tag of the message.
    pub const TAG: u8 = 0xC3;
}

impl PreventReport {
    /// Tag of the message.
    pub const TAG: u8 = 0xC4;
}

impl TriggerReport {
    /// Tag of the message.
    pub const TAG: u8 = 0xC5;
}

/// An output in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output<'a> {
    /// A fill.
    Fill(&'a FillReport),
    /// A cancel.
    Cancel(&'a CancelReport),
    /// A trade.
    Trade(&'a TradeReport),
    /// A meeting of orders of one owner.
    Prevent(&'a PreventReport),
    /// An order was triggered.
    Trigger(&'a TriggerReport),
    /// An instrument's state changed.
    State(&'a StateReport),
    /// The price that an auction would have now.
    Indication(&'a IndicationReport),
    /// An auction is over.
    Auction(&'a AuctionReport),
    /// Until when an auction goes that a band brought about.
    Call(&'a CallReport),
    /// The best prices of a book.
    Top(&'a TopReport),
    /// A level of a book.
    Level(&'a LevelReport),
    /// An order of a book.
    Book(&'a BookReport),
}

impl<'a> Output<'a> {
    /// Reads an output in place.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn decode(bytes: &'a [u8]) -> Result<Self, Malformed> {
        match tag(bytes)? {
            FillReport::TAG => block(bytes).map(Self::Fill),
            CancelReport::TAG => block(bytes).map(Self::Cancel),
            TradeReport::TAG => block(bytes).map(Self::Trade),
            PreventReport::TAG => block(bytes).map(Self::Prevent),
            TriggerReport::TAG => block(bytes).map(Self::Trigger),
            StateReport::TAG => block(bytes).map(Self::State),
            IndicationReport::TAG => block(bytes).map(Self::Indication),
            AuctionReport::TAG => block(bytes).map(Self::Auction),
            CallReport::TAG => block(bytes).map(Self::Call),
            TopReport::TAG => block(bytes).map(Self::Top),
            LevelReport::TAG => block(bytes).map(Self::Level),
            BookReport::TAG => block(bytes).map(Self::Book),
            _ => Err(Malformed::Tag),
        }
    }
}

const _: () = assert!(size_of::<FillReport>() == 96);
const _: () = assert!(size_of::<CancelReport>() == 72);
const _: () = assert!(size_of::<TradeReport>() == 48);
const _: () = assert!(size_of::<PreventReport>() == 96);
const _: () = assert!(size_of::<TriggerReport>() == 72);
const _: () = assert!(size_of::<StateReport>() == 24);
