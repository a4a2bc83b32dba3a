//! Fee schedules: commands of operators, and the question what an account pays.

use crate::{I32, Note, Schema, U16, U32, U64, Zero};
use zerocopy::{Immutable, IntoBytes, KnownLayout, TryFromBytes, Unaligned};

const Z: Zero = Zero::Zero;

/// Highest fee class of an instrument; 0 stands for its own terms.
pub const FEE_CLASS_MAX: u8 = 16;
/// Highest fee tier of an account.
pub const FEE_TIER_MAX: u8 = 15;

/// Sets what accounts of a tier pay in instruments of a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct SetFees {
    /// [`SetFees::TAG`].
    pub tag: u8,
    /// Layout version.
    pub schema: Schema,
    /// Fee class, from 1.
    pub class: u8,
    /// Fee tier, from 0.
    pub tier: u8,
    /// Of the notional of a fill as maker, parts per million; negative is a rebate.
    pub maker_ppm: I32,
    /// As taker.
    pub taker_ppm: I32,
    /// In an auction.
    pub auction_ppm: I32,
    /// Least charge of a fill, minor units of quote currency.
    pub min: U64,
    /// Highest charge of a fill; [`NO_LIMIT`](crate::NO_LIMIT) for none.
    pub max: U64,
    /// Why.
    pub note: Note,
}

/// Puts an instrument into a fee class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct SetFeeClass {
    /// [`SetFeeClass::TAG`].
    pub tag: u8,
    /// Layout version.
    pub schema: Schema,
    /// Fee class; 0 for the instrument's own terms.
    pub class: u8,
    /// Zero.
    pub reserved: Zero,
    /// Instrument id.
    pub instrument: U32,
    /// Why.
    pub note: Note,
}

/// Puts an account into a fee tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct SetFeeTier {
    /// [`SetFeeTier::TAG`].
    pub tag: u8,
    /// Layout version.
    pub schema: Schema,
    /// Fee tier.
    pub tier: u8,
    /// Zero.
    pub reserved: Zero,
    /// Account id.
    pub account: U32,
    /// Why.
    pub note: Note,
}

/// Asks what an account pays in an instrument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct FeesQuery {
    /// [`FeesQuery::TAG`].
    pub tag: u8,
    /// Layout version.
    pub schema: Schema,
    /// Zero.
    pub reserved: [Zero; 2],
    /// Account id.
    pub account: U32,
    /// Instrument id.
    pub instrument: U32,
    /// Zero.
    pub reserved2: [Zero; 4],
}

/// What an account pays in an instrument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct FeesAnswer {
    /// [`FeesAnswer::TAG`].
    pub tag: u8,
    /// Layout version.
    pub schema: Schema,
    /// 0, or a [`Reject`](crate::Reject): then all but account and instrument is 0.
    pub code: U16,
    /// Account id.
    pub account: U32,
    /// Instrument id.
    pub instrument: U32,
    /// The instrument's fee class.
    pub class: u8,
    /// The account's fee tier.
    pub tier: u8,
    /// Zero.
    pub reserved: [Zero; 2],
    /// As maker, parts per million.
    pub maker_ppm: I32,
    /// As taker.
    pub taker_ppm: I32,
    /// In an auction.
    pub auction_ppm: I32,
    /// Zero.
    pub reserved2: [Zero; 4],
    /// Least charge of a fill.
    pub min: U64,
    /// Highest charge of a fill.
    pub max: U64,
}

impl SetFees {
    /// Tag of the message.
    pub const TAG: u8 = 0x20;

    /// The message, with no least and no highest charge, and the taker's rate in auctions.
    #[must_use]
    pub fn new(class: u8, tier: u8, maker_ppm: i32, taker_ppm: i32, note: Note) -> Self {
        Self {
            tag: Self::TAG,
            schema: Schema::V1,
            class,
            tier,
            maker_ppm: maker_ppm.into(),
            taker_ppm: taker_ppm.into(),
            auction_ppm: taker_ppm.into(),
            min: 0.into(),
            max: crate::NO_LIMIT.into(),
            note,
        }
    }

    pub(crate) fn is_valid(&self) -> bool {
        (1..=FEE_CLASS_MAX).contains(&self.class) && self.tier <= FEE_TIER_MAX
    }
}

impl SetFeeClass {
    /// Tag of the message.
    pub const TAG: u8 = 0x21;

    /// The message.
    #[must_use]
    pub fn new(instrument: u32, class: u8, note: Note) -> Self {
        Self { tag: Self::TAG, schema: Schema::V1, class, reserved: Z, instrument: instrument.into(), note }
    }
}

impl SetFeeTier {
    /// Tag of the message.
    pub const TAG: u8 = 0x22;

    /// The message.
    #[must_use]
    pub fn new(account: u32, tier: u8, note: Note) -> Self {
        Self { tag: Self::TAG, schema: Schema::V1, tier, reserved: Z, account: account.into(), note }
    }
}

impl FeesQuery {
    /// Tag of the message.
    pub const TAG: u8 = 0x4F;

    /// The message.
    #[must_use]
    pub fn new(account: u32, instrument: u32) -> Self {
        Self {
            tag: Self::TAG,
            schema: Schema::V1,
            reserved: [Z; 2],
            account: account.into(),
            instrument: instrument.into(),
            reserved2: [Z; 4],
        }
    }
}

impl FeesAnswer {
    /// Tag of the message.
    pub const TAG: u8 = 0xAF;
}

const _: () = assert!(size_of::<SetFees>() == 64);
const _: () = assert!(size_of::<SetFeeClass>() == 40);
const _: () = assert!(size_of::<SetFeeTier>() == 40);
const _: () = assert!(size_of::<FeesQuery>() == 16);
const _: () = assert!(size_of::<FeesAnswer>() == 48);
