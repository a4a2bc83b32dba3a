//! Auctions: what they are told, and what they tell. Layouts: `docs/exchange/auctions.md`.

use crate::{
    BandAction, Flag, I64, Malformed, MarketState, Note, Schema, SetFeed, Sides, U16, U32, U64, Zero, block,
    request::note_is_valid,
};
use zerocopy::{Immutable, IntoBytes, KnownLayout, TryFromBytes, Unaligned};

/// Sets the price that an instrument's next auction starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct SetReference {
    /// [`SetReference::TAG`].
    pub tag: u8,
    /// Layout version.
    pub schema: Schema,
    /// Zero.
    pub reserved: [Zero; 2],
    /// Instrument id.
    pub instrument: U32,
    /// Ticks.
    pub price: I64,
    /// Why.
    pub note: Note,
}

/// The price that an auction would have now, as everybody hears it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct IndicationReport {
    /// [`IndicationReport::TAG`].
    pub tag: u8,
    /// Layout version.
    pub schema: Schema,
    /// Side that could not trade whole at this price; any if there is none.
    pub side: Sides,
    /// State of the instrument.
    pub state: MarketState,
    /// Instrument id.
    pub instrument: U32,
    /// Ticks; 0 if nothing would trade: then volume and imbalance are 0 too.
    pub price: I64,
    /// Lots that would trade.
    pub volume: U64,
    /// Lots that could not trade at this price.
    pub imbalance: U64,
    /// Number of the command in the log.
    pub seq: U64,
    /// Log time, nanoseconds since the Unix epoch.
    pub time: U64,
}

/// An auction is over, as everybody hears it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct AuctionReport {
    /// [`AuctionReport::TAG`].
    pub tag: u8,
    /// Layout version.
    pub schema: Schema,
    /// Side that did not trade whole at the price; any if there is none.
    pub side: Sides,
    /// State in which the instrument was.
    pub state: MarketState,
    /// Instrument id.
    pub instrument: U32,
    /// The price of all its trades, ticks; 0 if nothing traded: then what follows up to the trades is 0 too.
    pub price: I64,
    /// Lots traded.
    pub volume: U64,
    /// Lots that could not trade at the price.
    pub imbalance: U64,
    /// Number of the command in the log.
    pub seq: U64,
    /// Log time, nanoseconds since the Unix epoch.
    pub time: U64,
    /// Trades that it made.
    pub trades: U32,
    /// Zero.
    pub reserved: [Zero; 4],
}

/// Asks for an instrument's auction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct AuctionQuery {
    /// [`AuctionQuery::TAG`].
    pub tag: u8,
    /// Layout version.
    pub schema: Schema,
    /// Zero.
    pub reserved: [Zero; 2],
    /// Instrument id.
    pub instrument: U32,
}

/// An instrument's auction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct AuctionAnswer {
    /// [`AuctionAnswer::TAG`].
    pub tag: u8,
    /// Layout version.
    pub schema: Schema,
    /// 0, or a [`Reject`](crate::Reject): then all but the instrument is 0.
    pub code: U16,
    /// Instrument id.
    pub instrument: U32,
    /// Whether an auction is under way.
    pub under_way: Flag,
    /// State of the instrument.
    pub state: MarketState,
    /// Side that could not trade whole at the indicative price; any if there is none.
    pub side: Sides,
    /// Zero.
    pub reserved: [Zero; 5],
    /// The reference price of the auction under way, ticks; 0 if there is none.
    pub reference: I64,
    /// The reference price of the day, ticks; 0 if there is none.
    pub day_reference: I64,
    /// The price that the auction would have now, ticks; 0 if nothing would trade.
    pub price: I64,
    /// Lots that would trade.
    pub volume: U64,
    /// Lots that could not trade at this price.
    pub imbalance: U64,
    /// Lots of market orders to buy that take part.
    pub market_buys: U64,
    /// Lots of market orders to sell that take part.
    pub market_sells: U64,
}

/// Sets an instrument's price bands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct SetBands {
    /// [`SetBands::TAG`].
    pub tag: u8,
    /// Layout version.
    pub schema: Schema,
    /// What happens at them.
    pub action: BandAction,
    /// How many buckets the average goes over.
    pub buckets: u8,
    /// Instrument id.
    pub instrument: U32,
    /// Static band: width either way of the reference of the day, parts per million; 0 for none.
    pub fixed: U32,
    /// Dynamic band: width either way of the average, parts per million; 0 for none.
    pub moving: U32,
    /// Time that a bucket covers, nanoseconds.
    pub width: U64,
    /// How long the call of an auction is, nanoseconds.
    pub call: U64,
    /// How often it may be made longer by as much.
    pub extensions: u8,
    /// Zero.
    pub reserved: [Zero; 7],
    /// Why.
    pub note: Note,
}

/// Most entries of a schedule: the states of a day, with a break.
pub const SCHEDULE_MAX: usize = 8;

/// A state that an instrument goes into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct ScheduleEntry {
    /// Log time, nanoseconds since the Unix epoch.
    pub time: U64,
    /// How much later it is at most; drawn when the time has come.
    pub random: U64,
    /// The state; none in entries that are not used.
    pub state: MarketState,
    /// Zero.
    pub reserved: [Zero; 7],
}

/// Sets the states that an instrument goes into by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct SetSchedule {
    /// [`SetSchedule::TAG`].
    pub tag: u8,
    /// Layout version.
    pub schema: Schema,
    /// How many entries are used; none ends the schedule.
    pub count: u8,
    /// Zero.
    pub reserved: Zero,
    /// Instrument id.
    pub instrument: U32,
    /// After how long all entries come again, nanoseconds; 0 if they do not.
    pub period: U64,
    /// What is not used is zero.
    pub entries: [ScheduleEntry; SCHEDULE_MAX],
    /// Why.
    pub note: Note,
}

/// Until when the call of an auction goes that a band brought about, as everybody hears it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct CallReport {
    /// [`CallReport::TAG`].
    pub tag: u8,
    /// Layout version.
    pub schema: Schema,
    /// How often it was made longer.
    pub extensions: u8,
    /// State of the instrument.
    pub state: MarketState,
    /// Instrument id.
    pub instrument: U32,
    /// Log time at which it ends or is made longer, nanoseconds since the Unix epoch.
    pub until: U64,
    /// Number of the command in the log.
    pub seq: U64,
    /// Log time, nanoseconds since the Unix epoch.
    pub time: U64,
}

/// Operators' commands on how instruments trade.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Market<'a> {
    /// Sets the price that an instrument's next auction starts from.
    SetReference(&'a SetReference),
    /// Sets an instrument's price bands.
    SetBands(&'a SetBands),
    /// Sets the states that an instrument goes into by itself.
    SetSchedule(&'a SetSchedule),
    /// Sets what is published of an instrument's book.
    SetFeed(&'a SetFeed),
}

impl<'a> Market<'a> {
    /// Tags that are theirs.
    pub const TAGS: core::ops::RangeInclusive<u8> = 0x10..=0x17;

    pub(crate) fn decode(tag: u8, bytes: &'a [u8]) -> Result<Self, Malformed> {
        let valid = |ok: bool, market: Self| if ok { Ok(market) } else { Err(Malformed::Value) };
        match tag {
            SetReference::TAG => {
                let message: &SetReference = block(bytes)?;
                valid(note_is_valid(&message.note), Self::SetReference(message))
            }
            SetBands::TAG => {
                let message: &SetBands = block(bytes)?;
                valid(note_is_valid(&message.note), Self::SetBands(message))
            }
            SetSchedule::TAG => {
                let message: &SetSchedule = block(bytes)?;
                valid(note_is_valid(&message.note), Self::SetSchedule(message))
            }
            SetFeed::TAG => {
                let message: &SetFeed = block(bytes)?;
                valid(note_is_valid(&message.note), Self::SetFeed(message))
            }
            _ => Err(Malformed::Tag),
        }
    }
}

impl SetReference {
    /// Tag of the message.
    pub const TAG: u8 = 0x10;

    /// The message.
    #[must_use]
    pub fn new(instrument: u32, price: i64, note: Note) -> Self {
        Self {
            tag: Self::TAG,
            schema: Schema::V1,
            reserved: [Zero::Zero; 2],
            instrument: instrument.into(),
            price: price.into(),
            note,
        }
    }
}

impl SetBands {
    /// Tag of the message.
    pub const TAG: u8 = 0x11;

    /// No bands.
    #[must_use]
    pub fn off(instrument: u32, note: Note) -> Self {
        Self {
            tag: Self::TAG,
            schema: Schema::V1,
            action: BandAction::Off,
            buckets: 0,
            instrument: instrument.into(),
            fixed: U32::ZERO,
            moving: U32::ZERO,
            width: U64::ZERO,
            call: U64::ZERO,
            extensions: 0,
            reserved: [Zero::Zero; 7],
            note,
        }
    }
}

impl ScheduleEntry {
    /// One that says nothing.
    pub const UNUSED: Self =
        Self { time: U64::ZERO, random: U64::ZERO, state: MarketState::None, reserved: [Zero::Zero; 7] };
}

impl SetSchedule {
    /// Tag of the message.
    pub const TAG: u8 = 0x12;

    /// The message.
    ///
    /// # Panics
    /// If there are more entries than a schedule has.
    #[must_use]
    pub fn new(instrument: u32, period: u64, entries: &[(u64, u64, MarketState)], note: Note) -> Self {
        let mut all = [ScheduleEntry::UNUSED; SCHEDULE_MAX];
        for (place, &(time, random, state)) in all[..entries.len()].iter_mut().zip(entries) {
            (place.time, place.random, place.state) = (time.into(), random.into(), state);
        }
        Self {
            tag: Self::TAG,
            schema: Schema::V1,
            count: entries.len() as u8,
            reserved: Zero::Zero,
            instrument: instrument.into(),
            period: period.into(),
            entries: all,
            note,
        }
    }
}

impl CallReport {
    /// Tag of the message.
    pub const TAG: u8 = 0xCA;
}

impl AuctionQuery {
    /// Tag of the message.
    pub const TAG: u8 = 0x4B;

    /// The message.
    #[must_use]
    pub fn new(instrument: u32) -> Self {
        Self { tag: Self::TAG, schema: Schema::V1, reserved: [Zero::Zero; 2], instrument: instrument.into() }
    }
}

impl IndicationReport {
    /// Tag of the message.
    pub const TAG: u8 = 0xC8;
}

impl AuctionReport {
    /// Tag of the message.
    pub const TAG: u8 = 0xC9;
}

impl AuctionAnswer {
    /// Tag of the message.
    pub const TAG: u8 = 0xAB;
}

const _: () = assert!(size_of::<SetReference>() == 48);
const _: () = assert!(size_of::<SetBands>() == 72);
const _: () = assert!(size_of::<ScheduleEntry>() == 24);
const _: () = assert!(size_of::<SetSchedule>() == 240);
const _: () = assert!(size_of::<CallReport>() == 32);
const _: () = assert!(size_of::<IndicationReport>() == 48);
const _: () = assert!(size_of::<AuctionReport>() == 56);
const _: () = assert!(size_of::<AuctionQuery>() == 8);
const _: () = assert!(size_of::<AuctionAnswer>() == 72);
