//! What operators say beside their commands, and what they ask of how instruments trade. Layouts: `docs/exchange/operate.md`.

use crate::{
    BandAction, Flag, Malformed, SCHEDULE_MAX, ScheduleEntry, Schema, U16, U32, U64, Zero, block,
    request::text_is_valid,
};
use zerocopy::{Immutable, IntoBytes, KnownLayout, TryFromBytes, Unaligned};

const Z: Zero = Zero::Zero;

/// Longest text of a remark, bytes.
pub const REMARK_MAX: usize = 120;

/// Says why the next command of the session is given, where that has no room for it. Does nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Remark {
    /// [`Remark::TAG`].
    pub tag: u8,
    /// Layout version.
    pub schema: Schema,
    /// Zero.
    pub reserved: [Zero; 6],
    /// Printable ASCII, spaces included, padded with zero bytes; not empty.
    pub text: [u8; REMARK_MAX],
}

/// Asks for an instrument's price bands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct BandsQuery {
    /// [`BandsQuery::TAG`].
    pub tag: u8,
    /// Layout version.
    pub schema: Schema,
    /// Zero.
    pub reserved: [Zero; 2],
    /// Instrument id.
    pub instrument: U32,
}

/// Asks for an instrument's schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct ScheduleQuery {
    /// [`ScheduleQuery::TAG`].
    pub tag: u8,
    /// Layout version.
    pub schema: Schema,
    /// Zero.
    pub reserved: [Zero; 2],
    /// Instrument id.
    pub instrument: U32,
}

/// Asks what is published of an instrument's book.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct FeedQuery {
    /// [`FeedQuery::TAG`].
    pub tag: u8,
    /// Layout version.
    pub schema: Schema,
    /// Zero.
    pub reserved: [Zero; 2],
    /// Instrument id.
    pub instrument: U32,
}

/// Questions about how instruments trade that operators ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MarketQuery<'a> {
    /// Its price bands.
    Bands(&'a BandsQuery),
    /// Its schedule.
    Schedule(&'a ScheduleQuery),
    /// What is published of its book.
    Feed(&'a FeedQuery),
}

/// An instrument's price bands, and the call of an auction that they brought about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct BandsAnswer {
    /// [`BandsAnswer::TAG`].
    pub tag: u8,
    /// Layout version.
    pub schema: Schema,
    /// 0, or a [`Reject`](crate::Reject): then all but the instrument is 0.
    pub code: U16,
    /// Instrument id.
    pub instrument: U32,
    /// What happens at them.
    pub action: BandAction,
    /// How many buckets the average goes over.
    pub buckets: u8,
    /// How often a call may be made longer.
    pub extensions: u8,
    /// How often the call under way was made longer.
    pub extended: u8,
    /// Static band: width either way of the reference of the day, parts per million; 0 for none.
    pub fixed: U32,
    /// Dynamic band: width either way of the average, parts per million; 0 for none.
    pub moving: U32,
    /// Zero.
    pub reserved: [Zero; 4],
    /// Time that a bucket covers, nanoseconds.
    pub width: U64,
    /// How long a call is, nanoseconds.
    pub call: U64,
    /// Log time at which the call under way ends or is made longer; 0 if there is none.
    pub until: U64,
}

/// An instrument's schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct ScheduleAnswer {
    /// [`ScheduleAnswer::TAG`].
    pub tag: u8,
    /// Layout version.
    pub schema: Schema,
    /// 0, or a [`Reject`](crate::Reject): then all but the instrument is 0.
    pub code: U16,
    /// Instrument id.
    pub instrument: U32,
    /// Entries used; 0: there is none, or it is over, and all that follows is 0.
    pub count: u8,
    /// The entry that comes next, from 0.
    pub next: u8,
    /// Whether what is random of its time was drawn.
    pub drawn: Flag,
    /// Zero.
    pub reserved: [Zero; 5],
    /// After how long all entries come again, nanoseconds; 0 if they do not.
    pub period: U64,
    /// Log time at which the next entry is looked at.
    pub due: U64,
    /// With the times of the period under way.
    pub entries: [ScheduleEntry; SCHEDULE_MAX],
}

/// What is published of an instrument's book.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct FeedAnswer {
    /// [`FeedAnswer::TAG`].
    pub tag: u8,
    /// Layout version.
    pub schema: Schema,
    /// 0, or a [`Reject`](crate::Reject): then all but the instrument is 0.
    pub code: U16,
    /// Instrument id.
    pub instrument: U32,
    /// Its best prices.
    pub top: Flag,
    /// Its levels.
    pub levels: Flag,
    /// Its orders.
    pub orders: Flag,
    /// Zero.
    pub reserved: [Zero; 5],
}

impl Remark {
    /// Tag of the message.
    pub const TAG: u8 = 0x24;

    /// The message; `None` if the text is empty, longer than [`REMARK_MAX`] or holds other than printable ASCII.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let mut padded = [0; REMARK_MAX];
        padded.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
        let remark = Self { tag: Self::TAG, schema: Schema::V1, reserved: [Z; 6], text: padded };
        remark.is_valid().then_some(remark)
    }

    fn is_valid(&self) -> bool {
        self.text[0] != 0 && text_is_valid(&self.text)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<&Self, Malformed> {
        let message: &Self = block(bytes)?;
        if message.is_valid() { Ok(message) } else { Err(Malformed::Value) }
    }
}

impl BandsQuery {
    /// Tag of the message.
    pub const TAG: u8 = 0x50;

    /// The message.
    #[must_use]
    pub fn new(instrument: u32) -> Self {
        Self { tag: Self::TAG, schema: Schema::V1, reserved: [Z; 2], instrument: instrument.into() }
    }
}

impl ScheduleQuery {
    /// Tag of the message.
    pub const TAG: u8 = 0x51;

    /// The message.
    #[must_use]
    pub fn new(instrument: u32) -> Self {
        Self { tag: Self::TAG, schema: Schema::V1, reserved: [Z; 2], instrument: instrument.into() }
    }
}

impl FeedQuery {
    /// Tag of the message.
    pub const TAG: u8 = 0x52;

    /// The message.
    #[must_use]
    pub fn new(instrument: u32) -> Self {
        Self { tag: Self::TAG, schema: Schema::V1, reserved: [Z; 2], instrument: instrument.into() }
    }
}

impl BandsAnswer {
    /// Tag of the message.
    pub const TAG: u8 = 0xB0;
}

impl ScheduleAnswer {
    /// Tag of the message.
    pub const TAG: u8 = 0xB1;
}

impl FeedAnswer {
    /// Tag of the message.
    pub const TAG: u8 = 0xB2;
}

const _: () = assert!(size_of::<Remark>() == 128);
const _: () = assert!(size_of::<BandsQuery>() == 8);
const _: () = assert!(size_of::<ScheduleQuery>() == 8);
const _: () = assert!(size_of::<BandsAnswer>() == 48);
const _: () = assert!(size_of::<ScheduleAnswer>() == 224);
const _: () = assert!(size_of::<FeedQuery>() == 8);
const _: () = assert!(size_of::<FeedAnswer>() == 16);
