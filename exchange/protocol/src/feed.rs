//! Market data: what is published of books, and how. Layouts: `docs/exchange/market-data.md`.

use crate::{Flag, I64, Note, Schema, Sides, U32, U64, Zero};
use zerocopy::{Immutable, IntoBytes, KnownLayout, TryFromBytes, Unaligned};

/// Numbers of the topics of market data: these plus the instrument's id.
pub mod topic {
    /// Best prices.
    pub const TOP: u32 = 1 << 24;
    /// Prices and what is open there.
    pub const LEVELS: u32 = 2 << 24;
    /// Orders.
    pub const ORDERS: u32 = 3 << 24;
}

/// Sets what is published of an instrument's book.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct SetFeed {
    /// [`SetFeed::TAG`].
    pub tag: u8,
    /// Layout version.
    pub schema: Schema,
    /// Its best prices.
    pub top: Flag,
    /// Its levels.
    pub levels: Flag,
    /// Instrument id.
    pub instrument: U32,
    /// Its orders.
    pub orders: Flag,
    /// Zero.
    pub reserved: [Zero; 7],
    /// Why.
    pub note: Note,
}

impl SetFeed {
    /// Tag of the message.
    pub const TAG: u8 = 0x13;

    /// Nothing is published.
    #[must_use]
    pub fn off(instrument: u32, note: Note) -> Self {
        Self {
            tag: Self::TAG,
            schema: Schema::V1,
            top: Flag::No,
            levels: Flag::No,
            instrument: instrument.into(),
            orders: Flag::No,
            reserved: [Zero::Zero; 7],
            note,
        }
    }
}

/// What a report of a feed says.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    TryFromBytes,
    IntoBytes,
    KnownLayout,
    Immutable,
    Unaligned,
)]
#[repr(u8)]
pub enum FeedAction {
    /// What was said before holds no more: the book follows.
    Reset = 1,
    /// An order stands behind the others at its price.
    Add = 2,
    /// An order where it stands, or a level, is now as said.
    Change = 3,
    /// An order or a level is not there any more.
    Remove = 4,
    /// Nothing follows until the feed is set again.
    Off = 5,
}

/// The best prices of a book, as everybody hears it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct TopReport {
    /// [`TopReport::TAG`].
    pub tag: u8,
    /// Layout version.
    pub schema: Schema,
    /// Change, or off: then all prices and lots are 0.
    pub action: FeedAction,
    /// Zero.
    pub reserved: Zero,
    /// Instrument id.
    pub instrument: U32,
    /// Best bid, ticks; 0 if there is none.
    pub bid: I64,
    /// Lots shown there.
    pub bid_quantity: U64,
    /// Best ask, ticks; 0 if there is none.
    pub ask: I64,
    /// Lots shown there.
    pub ask_quantity: U64,
    /// Number of the command in the log.
    pub seq: U64,
    /// Log time, nanoseconds since the Unix epoch.
    pub time: U64,
}

impl TopReport {
    /// Tag of the message.
    pub const TAG: u8 = 0xCB;
}

/// A level of a book, as everybody hears it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct LevelReport {
    /// [`LevelReport::TAG`].
    pub tag: u8,
    /// Layout version.
    pub schema: Schema,
    /// Reset or off: then the rest up to the number is 0 but for the instrument; else change or remove.
    pub action: FeedAction,
    /// Side of the book; any for reset and off.
    pub side: Sides,
    /// Instrument id.
    pub instrument: U32,
    /// Ticks.
    pub price: I64,
    /// Lots shown; 0 if the level was removed.
    pub quantity: U64,
    /// Orders; 0 if the level was removed.
    pub orders: U32,
    /// Zero.
    pub reserved: [Zero; 4],
    /// Number of the command in the log.
    pub seq: U64,
    /// Log time, nanoseconds since the Unix epoch.
    pub time: U64,
}

impl LevelReport {
    /// Tag of the message.
    pub const TAG: u8 = 0xCC;
}

/// An order of a book, as everybody hears it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct BookReport {
    /// [`BookReport::TAG`].
    pub tag: u8,
    /// Layout version.
    pub schema: Schema,
    /// Reset or off: then the rest up to the number is 0 but for the instrument; else add, change or remove.
    pub action: FeedAction,
    /// Side of the book; any for reset and off.
    pub side: Sides,
    /// Instrument id.
    pub instrument: U32,
    /// Order id.
    pub order_id: U64,
    /// Ticks.
    pub price: I64,
    /// Lots that it shows; 0 if it was removed.
    pub quantity: U64,
    /// Number of the command in the log.
    pub seq: U64,
    /// Log time, nanoseconds since the Unix epoch.
    pub time: U64,
    /// One more than the index of the trade that did it; 0 if none did.
    pub trade: U32,
    /// Zero.
    pub reserved: [Zero; 4],
}

impl BookReport {
    /// Tag of the message.
    pub const TAG: u8 = 0xCD;
}

const _: () = assert!(size_of::<SetFeed>() == 48);
const _: () = assert!(size_of::<TopReport>() == 56);
const _: () = assert!(size_of::<LevelReport>() == 48);
const _: () = assert!(size_of::<BookReport>() == 56);
