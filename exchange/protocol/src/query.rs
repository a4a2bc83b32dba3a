//! Queries: read-only questions, and their answers.

use crate::{
    AuctionAnswer, AuctionQuery, BandsAnswer, BandsQuery, ControlAnswer, ControlQuery, FeedAnswer, FeedQuery,
    Flag, I64, MESSAGE_MAX, Malformed, MarketQuery, OrderDetailAnswer, OrderDetailQuery, OrderRef,
    OwnerAnswer, OwnerQuery, Reject, ScheduleAnswer, ScheduleQuery, Schema, Side, Sides, TradingAnswer,
    TradingQuery, U16, U32, U64, Zero, block, permission,
    request::{Definition, order_ref},
    tag,
};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, TryFromBytes, Unaligned};

const Z: Zero = Zero::Zero;

/// Most levels per side in one answer.
pub const DEPTH_MAX: u8 = 20;
/// Most orders in one answer.
pub const ORDERS_MAX: usize = 25;
/// Most balances in one answer.
pub const BALANCES_MAX: usize = 42;

/// Asks for aggregated price levels, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct BookLevelsQuery {
    /// [`BookLevelsQuery::TAG`].
    pub tag: u8,
    /// Layout version.
    pub schema: Schema,
    /// Levels wanted per side, 1 to [`DEPTH_MAX`].
    pub depth: u8,
    /// Zero.
    pub reserved: Zero,
    /// Instrument id.
    pub instrument: U32,
    /// Only bids below this price; 0 for all.
    pub after_bid: I64,
    /// Only asks above this price; 0 for all.
    pub after_ask: I64,
}

/// Asks for the orders at one price, in priority order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct BookOrdersQuery {
    /// [`BookOrdersQuery::TAG`].
    pub tag: u8,
    /// Layout version.
    pub schema: Schema,
    /// Which side.
    pub side: Side,
    /// Zero.
    pub reserved: Zero,
    /// Instrument id.
    pub instrument: U32,
    /// The price, ticks.
    pub price: I64,
    /// Only orders behind this one; 0 for all.
    pub after: U64,
}

/// Asks for an account's balances that are not zero, by currency id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct BalancesQuery {
    /// [`BalancesQuery::TAG`].
    pub tag: u8,
    /// Layout version.
    pub schema: Schema,
    /// Zero.
    pub reserved: [Zero; 2],
    /// Account id; 0 is the exchange's own.
    pub account: U32,
    /// Only currencies above this id; 0 for all.
    pub after: U32,
    /// Zero.
    pub reserved2: [Zero; 4],
}

/// Asks for a live order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct OrderQuery {
    /// [`OrderQuery::TAG`].
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

/// Asks for counts over the whole exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct StatisticsQuery {
    /// [`StatisticsQuery::TAG`].
    pub tag: u8,
    /// Layout version.
    pub schema: Schema,
    /// Zero.
    pub reserved: [Zero; 6],
}

/// Asks for an instrument's terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct InstrumentQuery {
    /// [`InstrumentQuery::TAG`].
    pub tag: u8,
    /// Layout version.
    pub schema: Schema,
    /// Zero.
    pub reserved: [Zero; 2],
    /// Instrument id.
    pub instrument: U32,
}

/// Asks for a currency's totals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct CurrencyQuery {
    /// [`CurrencyQuery::TAG`].
    pub tag: u8,
    /// Layout version.
    pub schema: Schema,
    /// Zero.
    pub reserved: [Zero; 2],
    /// Currency id.
    pub currency: U32,
}

impl BookLevelsQuery {
    /// Tag of the message.
    pub const TAG: u8 = 0x41;

    /// The best `depth` levels of both sides.
    #[must_use]
    pub fn new(instrument: u32, depth: u8) -> Self {
        Self {
            tag: Self::TAG,
            schema: Schema::V1,
            depth,
            reserved: Z,
            instrument: instrument.into(),
            after_bid: I64::ZERO,
            after_ask: I64::ZERO,
        }
    }
}

impl BookOrdersQuery {
    /// Tag of the message.
    pub const TAG: u8 = 0x42;

    /// The orders at a price behind the order `after` (0: all).
    #[must_use]
    pub fn new(instrument: u32, side: Side, price: i64, after: u64) -> Self {
        Self {
            tag: Self::TAG,
            schema: Schema::V1,
            side,
            reserved: Z,
            instrument: instrument.into(),
            price: price.into(),
            after: after.into(),
        }
    }
}

impl BalancesQuery {
    /// Tag of the message.
    pub const TAG: u8 = 0x43;

    /// Balances in currencies above `after`.
    #[must_use]
    pub fn new(account: u32, after: u32) -> Self {
        Self {
            tag: Self::TAG,
            schema: Schema::V1,
            reserved: [Z; 2],
            account: account.into(),
            after: after.into(),
            reserved2: [Z; 4],
        }
    }
}

impl OrderQuery {
    /// Tag of the message.
    pub const TAG: u8 = 0x44;

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

impl StatisticsQuery {
    /// Tag of the message.
    pub const TAG: u8 = 0x45;

    /// The message.
    #[must_use]
    pub const fn new() -> Self {
        Self { tag: Self::TAG, schema: Schema::V1, reserved: [Z; 6] }
    }
}

impl Default for StatisticsQuery {
    fn default() -> Self {
        Self::new()
    }
}

impl InstrumentQuery {
    /// Tag of the message.
    pub const TAG: u8 = 0x46;

    /// The message.
    #[must_use]
    pub fn new(instrument: u32) -> Self {
        Self { tag: Self::TAG, schema: Schema::V1, reserved: [Z; 2], instrument: instrument.into() }
    }
}

impl CurrencyQuery {
    /// Tag of the message.
    pub const TAG: u8 = 0x47;

    /// The message.
    #[must_use]
    pub fn new(currency: u32) -> Self {
        Self { tag: Self::TAG, schema: Schema::V1, reserved: [Z; 2], currency: currency.into() }
    }
}

/// A query in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Query<'a> {
    /// Price levels.
    BookLevels(&'a BookLevelsQuery),
    /// Orders at a price.
    BookOrders(&'a BookOrdersQuery),
    /// An account's balances.
    Balances(&'a BalancesQuery),
    /// A live order.
    Order(&'a OrderQuery),
    /// Counts.
    Statistics(&'a StatisticsQuery),
    /// An instrument's terms.
    Instrument(&'a InstrumentQuery),
    /// A currency's totals.
    Currency(&'a CurrencyQuery),
    /// A live order, whole.
    OrderDetail(&'a OrderDetailQuery),
    /// How an instrument trades.
    Trading(&'a TradingQuery),
    /// An account's owner.
    Owner(&'a OwnerQuery),
    /// About controls.
    Control(ControlQuery<'a>),
    /// An instrument's auction.
    Auction(&'a AuctionQuery),
    /// How an instrument is led and held.
    Market(MarketQuery<'a>),
}

impl<'a> Query<'a> {
    /// Reads a query in place.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn decode(bytes: &'a [u8]) -> Result<Self, Malformed> {
        match tag(bytes)? {
            BookLevelsQuery::TAG => {
                let message: &BookLevelsQuery = block(bytes)?;
                match message.depth {
                    1..=DEPTH_MAX => Ok(Self::BookLevels(message)),
                    _ => Err(Malformed::Value),
                }
            }
            BookOrdersQuery::TAG => block(bytes).map(Self::BookOrders),
            BalancesQuery::TAG => block(bytes).map(Self::Balances),
            OrderQuery::TAG => {
                let message: &OrderQuery = block(bytes)?;
                match order_ref(message.order_id, message.client_order_id) {
                    Some(_) => Ok(Self::Order(message)),
                    None => Err(Malformed::Value),
                }
            }
            StatisticsQuery::TAG => block(bytes).map(Self::Statistics),
            InstrumentQuery::TAG => block(bytes).map(Self::Instrument),
            CurrencyQuery::TAG => block(bytes).map(Self::Currency),
            OrderDetailQuery::TAG => {
                let message: &OrderDetailQuery = block(bytes)?;
                match order_ref(message.order_id, message.client_order_id) {
                    Some(_) => Ok(Self::OrderDetail(message)),
                    None => Err(Malformed::Value),
                }
            }
            TradingQuery::TAG => block(bytes).map(Self::Trading),
            OwnerQuery::TAG => block(bytes).map(Self::Owner),
            AuctionQuery::TAG => block(bytes).map(Self::Auction),
            BandsQuery::TAG => block(bytes).map(|query| Self::Market(MarketQuery::Bands(query))),
            ScheduleQuery::TAG => block(bytes).map(|query| Self::Market(MarketQuery::Schedule(query))),
            FeedQuery::TAG => block(bytes).map(|query| Self::Market(MarketQuery::Feed(query))),
            tag => ControlQuery::decode(tag, bytes).map(Self::Control),
        }
    }

    /// Permission bits that the key needs, all of them.
    #[must_use]
    pub const fn required_permission(&self) -> u32 {
        match self {
            Self::BookOrders(_) | Self::Currency(_) => permission::VIEW | permission::ADMIN,
            _ => permission::VIEW,
        }
    }
}

/// Head of an answer with entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct ListHead {
    /// Tag of the answer.
    pub tag: u8,
    /// Layout version.
    pub schema: Schema,
    /// 0, or a [`Reject`]: then there are no entries.
    pub code: U16,
    /// The instrument or account asked about.
    pub subject: U32,
    /// Entries that follow; of levels, the bids.
    pub count: U16,
    /// Of levels, the asks, which follow the bids; otherwise 0.
    pub asks: U16,
    /// Zero.
    pub reserved: [Zero; 4],
}

/// A price level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct LevelEntry {
    /// Ticks.
    pub price: I64,
    /// Lots open.
    pub quantity: U64,
    /// Orders.
    pub orders: U32,
    /// Zero.
    pub reserved: [u8; 4],
}

/// An order at a price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct OrderEntry {
    /// Order id.
    pub order_id: U64,
    /// Client order id.
    pub client_order_id: U64,
    /// Account id.
    pub account: U32,
    /// Zero.
    pub reserved: [u8; 4],
    /// Lots filled.
    pub cumulative: U64,
    /// Lots open.
    pub remaining: U64,
}

/// A balance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct BalanceEntry {
    /// Currency id.
    pub currency: U32,
    /// Zero.
    pub reserved: [u8; 4],
    /// Minor units free.
    pub free: U64,
    /// Minor units held by live orders.
    pub held: U64,
}

/// A live order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct OrderAnswer {
    /// [`OrderAnswer::TAG`].
    pub tag: u8,
    /// Layout version.
    pub schema: Schema,
    /// 0, or a [`Reject`]: then account and the ids are those asked for and the rest is zero.
    pub code: U16,
    /// Instrument id.
    pub instrument: U32,
    /// Account id.
    pub account: U32,
    /// Buy or sell; none if refused.
    pub side: Sides,
    /// Whether it is post-only.
    pub post_only: Flag,
    /// Zero.
    pub reserved: [Zero; 2],
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
}

/// Counts over the whole exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct StatisticsAnswer {
    /// [`StatisticsAnswer::TAG`].
    pub tag: u8,
    /// Layout version.
    pub schema: Schema,
    /// 0, or a [`Reject`].
    pub code: U16,
    /// Instruments.
    pub instruments: U32,
    /// Accounts, without the exchange's own.
    pub accounts: U32,
    /// Live orders.
    pub orders: U32,
    /// Orders ever accepted.
    pub accepted: U64,
    /// Trades ever made.
    pub trades: U64,
}

/// An instrument's terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct InstrumentAnswer {
    /// [`InstrumentAnswer::TAG`].
    pub tag: u8,
    /// Layout version.
    pub schema: Schema,
    /// 0, or a [`Reject`]: then only the id in `definition` is set.
    pub code: U16,
    /// Zero.
    pub reserved: [Zero; 4],
    /// The terms.
    pub definition: Definition,
}

/// A currency's totals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct CurrencyAnswer {
    /// [`CurrencyAnswer::TAG`].
    pub tag: u8,
    /// Layout version.
    pub schema: Schema,
    /// 0, or a [`Reject`].
    pub code: U16,
    /// Currency id.
    pub currency: U32,
    /// Deposits less withdrawals, minor units: what all balances and holds add up to.
    pub supply: U64,
    /// The exchange's own free balance, minor units.
    pub fees: U64,
}

impl ListHead {
    /// Tag of a [`Answer::BookLevels`].
    pub const LEVELS: u8 = 0xA1;
    /// Tag of a [`Answer::BookOrders`].
    pub const ORDERS: u8 = 0xA2;
    /// Tag of a [`Answer::Balances`].
    pub const BALANCES: u8 = 0xA3;

    /// A head.
    #[must_use]
    pub fn new(tag: u8, code: Option<Reject>, subject: u32, count: u16, asks: u16) -> Self {
        Self {
            tag,
            schema: Schema::V1,
            code: Reject::to_wire(code),
            subject: subject.into(),
            count: count.into(),
            asks: asks.into(),
            reserved: [Z; 4],
        }
    }
}

impl OrderAnswer {
    /// Tag of the message.
    pub const TAG: u8 = 0xA4;
}

impl StatisticsAnswer {
    /// Tag of the message.
    pub const TAG: u8 = 0xA5;
}

impl InstrumentAnswer {
    /// Tag of the message.
    pub const TAG: u8 = 0xA6;
}

impl CurrencyAnswer {
    /// Tag of the message.
    pub const TAG: u8 = 0xA7;
}

/// An answer in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// Price levels of both sides, best first.
    BookLevels(&'a ListHead, &'a [LevelEntry], &'a [LevelEntry]),
    /// Orders at a price, in priority order.
    BookOrders(&'a ListHead, &'a [OrderEntry]),
    /// Balances, by currency id.
    Balances(&'a ListHead, &'a [BalanceEntry]),
    /// A live order.
    Order(&'a OrderAnswer),
    /// Counts.
    Statistics(&'a StatisticsAnswer),
    /// An instrument's terms.
    Instrument(&'a InstrumentAnswer),
    /// A currency's totals.
    Currency(&'a CurrencyAnswer),
    /// A live order, whole.
    OrderDetail(&'a OrderDetailAnswer),
    /// How an instrument trades.
    Trading(&'a TradingAnswer),
    /// An account's owner.
    Owner(&'a OwnerAnswer),
    /// About controls.
    Control(ControlAnswer<'a>),
    /// An instrument's auction.
    Auction(&'a AuctionAnswer),
    /// An instrument's bands.
    Bands(&'a BandsAnswer),
    /// An instrument's schedule.
    Schedule(&'a ScheduleAnswer),
    /// What is published of an instrument's book.
    Feed(&'a FeedAnswer),
}

impl<'a> Answer<'a> {
    /// Reads an answer in place.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn decode(bytes: &'a [u8]) -> Result<Self, Malformed> {
        match tag(bytes)? {
            ListHead::LEVELS => {
                let (head, levels) = list::<LevelEntry>(bytes)?;
                if levels.iter().any(|entry| entry.reserved != [0; 4]) {
                    return Err(Malformed::Value);
                }
                let (bids, asks) = levels.split_at(head.count.get().into());
                Ok(Self::BookLevels(head, bids, asks))
            }
            ListHead::ORDERS => {
                let (head, orders) = list::<OrderEntry>(bytes)?;
                if head.asks != U16::ZERO || orders.iter().any(|entry| entry.reserved != [0; 4]) {
                    return Err(Malformed::Value);
                }
                Ok(Self::BookOrders(head, orders))
            }
            ListHead::BALANCES => {
                let (head, balances) = list::<BalanceEntry>(bytes)?;
                if head.asks != U16::ZERO || balances.iter().any(|entry| entry.reserved != [0; 4]) {
                    return Err(Malformed::Value);
                }
                Ok(Self::Balances(head, balances))
            }
            OrderAnswer::TAG => block(bytes).map(Self::Order),
            StatisticsAnswer::TAG => block(bytes).map(Self::Statistics),
            InstrumentAnswer::TAG => block(bytes).map(Self::Instrument),
            CurrencyAnswer::TAG => block(bytes).map(Self::Currency),
            OrderDetailAnswer::TAG => block(bytes).map(Self::OrderDetail),
            TradingAnswer::TAG => block(bytes).map(Self::Trading),
            OwnerAnswer::TAG => block(bytes).map(Self::Owner),
            AuctionAnswer::TAG => block(bytes).map(Self::Auction),
            BandsAnswer::TAG => block(bytes).map(Self::Bands),
            ScheduleAnswer::TAG => block(bytes).map(Self::Schedule),
            FeedAnswer::TAG => block(bytes).map(Self::Feed),
            tag => ControlAnswer::decode(tag, bytes).map(Self::Control),
        }
    }
}

/// A head and exactly the entries that it counts.
fn list<T: FromBytes + Immutable + KnownLayout + Unaligned>(
    bytes: &[u8],
) -> Result<(&ListHead, &[T]), Malformed> {
    let (head, rest) = bytes.split_at_checked(size_of::<ListHead>()).ok_or(Malformed::Length)?;
    let head: &ListHead = block(head)?;
    let entries = <[T]>::ref_from_bytes(rest).map_err(|_| Malformed::Length)?;
    if bytes.len() > MESSAGE_MAX
        || entries.len() != usize::from(head.count.get()) + usize::from(head.asks.get())
    {
        return Err(Malformed::Length);
    }
    Ok((head, entries))
}

const HEAD: usize = size_of::<ListHead>();
const _: () = assert!(HEAD == 16);
const _: () = assert!(HEAD + 2 * DEPTH_MAX as usize * size_of::<LevelEntry>() <= MESSAGE_MAX);
const _: () = assert!(HEAD + ORDERS_MAX * size_of::<OrderEntry>() <= MESSAGE_MAX);
const _: () = assert!(HEAD + BALANCES_MAX * size_of::<BalanceEntry>() <= MESSAGE_MAX);
const _: () = assert!(size_of::<OrderAnswer>() == 56);
const _: () = assert!(size_of::<StatisticsAnswer>() == 32);
const _: () = assert!(size_of::<InstrumentAnswer>() == 112);
const _: () = assert!(size_of::<CurrencyAnswer>() == 24);
