//! Commands by which operators limit what accounts and firms may have open, and how fast; questions about that.

use crate::{Flag, I64, I128, Note, Schema, Scope, U16, U32, U64, U128, Zero};
use zerocopy::{Immutable, IntoBytes, KnownLayout, TryFromBytes, Unaligned};

const Z: Zero = Zero::Zero;

/// Stands for no limit where a limit has 8 bytes.
pub const NO_LIMIT: u64 = u64::MAX;
/// Stands for no limit where a limit has 4 bytes.
pub const NO_LIMIT_32: u32 = u32::MAX;
/// Most commands that a rate lets come at once.
pub const BURST_MAX: u32 = 1 << 20;
/// Longest interval of a rate, nanoseconds.
pub const INTERVAL_MAX: u64 = 1 << 40;
/// A position that an operator sets is at most this, either way.
pub const POSITION_MAX: i64 = 1 << 62;

/// Limits of an account, or of all accounts of a firm together, whatever they trade.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct SetLimits {
    /// [`SetLimits::TAG`].
    pub tag: u8,
    /// Layout version.
    pub schema: Schema,
    /// An account or a firm.
    pub scope: Scope,
    /// Whether an account may trade only instruments that are allowed by name.
    pub listed_only: Flag,
    /// Account or firm id.
    pub id: U32,
    /// Most live orders; [`NO_LIMIT_32`] for no limit.
    pub orders: U32,
    /// Commands that may come at once; 0 for no limit.
    pub burst: U32,
    /// Nanoseconds in which one more may come; 0 for no limit.
    pub interval: U64,
    /// Zero.
    pub reserved: [Zero; 8],
    /// Why.
    pub note: Note,
}

/// Limits what an account, or all accounts of a firm together, may have open in a currency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct SetGrossLimit {
    /// [`SetGrossLimit::TAG`].
    pub tag: u8,
    /// Layout version.
    pub schema: Schema,
    /// An account or a firm.
    pub scope: Scope,
    /// Zero.
    pub reserved: Zero,
    /// Account or firm id.
    pub id: U32,
    /// Quote currency of the instruments meant.
    pub currency: U32,
    /// Zero.
    pub reserved2: [Zero; 4],
    /// Most notional of live orders of both sides, minor units; [`NO_LIMIT`] for no limit.
    pub limit: U64,
    /// Why.
    pub note: Note,
}

/// Limits of an account in an instrument; [`NO_LIMIT`] for no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct SetInstrumentLimits {
    /// [`SetInstrumentLimits::TAG`].
    pub tag: u8,
    /// Layout version.
    pub schema: Schema,
    /// Whether the account may trade it even if it may only trade what is allowed by name.
    pub allowed: Flag,
    /// Zero.
    pub reserved: Zero,
    /// Account id.
    pub account: U32,
    /// Instrument id.
    pub instrument: U32,
    /// Zero.
    pub reserved2: [Zero; 4],
    /// Largest quantity of an order, lots.
    pub quantity: U64,
    /// Largest notional of an order, minor units of quote currency.
    pub notional: U64,
    /// Most ticks by which an order's price may be worse than the market.
    pub collar: U64,
    /// Most lots of live orders, both sides together.
    pub open: U64,
    /// Most lots bought net, all open buys counted as filled.
    pub long: U64,
    /// Most lots sold net, all open sells counted as filled.
    pub short: U64,
    /// Why.
    pub note: Note,
}

/// Says what an account has bought net in an instrument so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct SetPosition {
    /// [`SetPosition::TAG`].
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
    /// Lots bought less lots sold, at most [`POSITION_MAX`] either way.
    pub position: I64,
    /// Why.
    pub note: Note,
}

/// Asks for limits and use of an account or a firm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct LimitsQuery {
    /// [`LimitsQuery::TAG`].
    pub tag: u8,
    /// Layout version.
    pub schema: Schema,
    /// An account or a firm.
    pub scope: Scope,
    /// Zero.
    pub reserved: Zero,
    /// Account or firm id.
    pub id: U32,
    /// Currency of the gross open notional asked for.
    pub currency: U32,
    /// Zero.
    pub reserved2: [Zero; 4],
}

/// Asks for limits and use of an account in an instrument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct InstrumentLimitsQuery {
    /// [`InstrumentLimitsQuery::TAG`].
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

/// Limits and use of an account or a firm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct LimitsAnswer {
    /// [`LimitsAnswer::TAG`].
    pub tag: u8,
    /// Layout version.
    pub schema: Schema,
    /// 0, or a [`Reject`](crate::Reject): then all but the id and the currency is 0.
    pub code: U16,
    /// Account or firm id.
    pub id: U32,
    /// Currency.
    pub currency: U32,
    /// Live orders.
    pub orders: U32,
    /// Most live orders.
    pub max_orders: U32,
    /// Commands that may come at once.
    pub burst: U32,
    /// Nanoseconds in which one more may come.
    pub interval: U64,
    /// Log time at which `burst` commands may come at once again.
    pub full_at: U64,
    /// Notional of live orders of both sides; 0 if neither limits nor a firm make it count.
    pub gross: U128,
    /// The most that it may be.
    pub max_gross: U64,
    /// Whether an account may trade only instruments that are allowed by name.
    pub listed_only: Flag,
    /// Zero.
    pub reserved: [Zero; 7],
}

/// Limits and use of an account in an instrument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct InstrumentLimitsAnswer {
    /// [`InstrumentLimitsAnswer::TAG`].
    pub tag: u8,
    /// Layout version.
    pub schema: Schema,
    /// 0, or a [`Reject`](crate::Reject): then all but account and instrument is 0.
    pub code: U16,
    /// Account id.
    pub account: U32,
    /// Instrument id.
    pub instrument: U32,
    /// Whether limits were ever set; without, the rest says that there are none.
    pub set: Flag,
    /// Whether the account may trade it even if it may only trade what is allowed by name.
    pub allowed: Flag,
    /// Zero.
    pub reserved: [Zero; 2],
    /// Largest quantity of an order, lots.
    pub quantity: U64,
    /// Largest notional of an order, minor units of quote currency.
    pub notional: U64,
    /// Most ticks by which an order's price may be worse than the market.
    pub collar: U64,
    /// Most lots of live orders, both sides together.
    pub open: U64,
    /// Most lots bought net, all open buys counted as filled.
    pub long: U64,
    /// Most lots sold net, all open sells counted as filled.
    pub short: U64,
    /// Lots of live buys.
    pub open_buys: U64,
    /// Lots of live sells.
    pub open_sells: U64,
    /// Lots bought less lots sold.
    pub position: I128,
}

impl SetLimits {
    /// Tag of the message.
    pub const TAG: u8 = 0x1C;

    /// The message, with no limits.
    #[must_use]
    pub fn new(scope: Scope, id: u32, note: Note) -> Self {
        Self {
            tag: Self::TAG,
            schema: Schema::V1,
            scope,
            listed_only: Flag::No,
            id: id.into(),
            orders: NO_LIMIT_32.into(),
            burst: 0.into(),
            interval: 0.into(),
            reserved: [Z; 8],
            note,
        }
    }

    pub(crate) fn is_valid(&self) -> bool {
        let (burst, interval) = (self.burst.get(), self.interval.get());
        let rate = burst <= BURST_MAX && interval <= INTERVAL_MAX && (burst == 0) == (interval == 0);
        let lists = self.listed_only == Flag::No || self.scope == Scope::Account;
        self.scope != Scope::All && rate && lists
    }
}

impl SetGrossLimit {
    /// Tag of the message.
    pub const TAG: u8 = 0x1D;

    /// The message.
    #[must_use]
    pub fn new(scope: Scope, id: u32, currency: u32, limit: u64, note: Note) -> Self {
        Self {
            tag: Self::TAG,
            schema: Schema::V1,
            scope,
            reserved: Z,
            id: id.into(),
            currency: currency.into(),
            reserved2: [Z; 4],
            limit: limit.into(),
            note,
        }
    }
}

impl SetInstrumentLimits {
    /// Tag of the message.
    pub const TAG: u8 = 0x1E;

    /// The message, with no limits, allowed.
    #[must_use]
    pub fn new(account: u32, instrument: u32, note: Note) -> Self {
        let none = NO_LIMIT.into();
        Self {
            tag: Self::TAG,
            schema: Schema::V1,
            allowed: Flag::Yes,
            reserved: Z,
            account: account.into(),
            instrument: instrument.into(),
            reserved2: [Z; 4],
            quantity: none,
            notional: none,
            collar: none,
            open: none,
            long: none,
            short: none,
            note,
        }
    }
}

impl SetPosition {
    /// Tag of the message.
    pub const TAG: u8 = 0x1F;

    /// The message.
    #[must_use]
    pub fn new(account: u32, instrument: u32, position: i64, note: Note) -> Self {
        Self {
            tag: Self::TAG,
            schema: Schema::V1,
            reserved: [Z; 2],
            account: account.into(),
            instrument: instrument.into(),
            reserved2: [Z; 4],
            position: position.into(),
            note,
        }
    }

    pub(crate) fn is_valid(&self) -> bool {
        (-POSITION_MAX..=POSITION_MAX).contains(&self.position.get())
    }
}

impl LimitsQuery {
    /// Tag of the message.
    pub const TAG: u8 = 0x4D;

    /// The message.
    #[must_use]
    pub fn new(scope: Scope, id: u32, currency: u32) -> Self {
        Self {
            tag: Self::TAG,
            schema: Schema::V1,
            scope,
            reserved: Z,
            id: id.into(),
            currency: currency.into(),
            reserved2: [Z; 4],
        }
    }
}

impl InstrumentLimitsQuery {
    /// Tag of the message.
    pub const TAG: u8 = 0x4E;

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

impl LimitsAnswer {
    /// Tag of the message.
    pub const TAG: u8 = 0xAD;
}

impl InstrumentLimitsAnswer {
    /// Tag of the message.
    pub const TAG: u8 = 0xAE;
}

const _: () = assert!(size_of::<SetLimits>() == 64);
const _: () = assert!(size_of::<SetGrossLimit>() == 56);
const _: () = assert!(size_of::<SetInstrumentLimits>() == 96);
const _: () = assert!(size_of::<SetPosition>() == 56);
const _: () = assert!(size_of::<LimitsQuery>() == 16);
const _: () = assert!(size_of::<InstrumentLimitsQuery>() == 16);
const _: () = assert!(size_of::<LimitsAnswer>() == 72);
const _: () = assert!(size_of::<InstrumentLimitsAnswer>() == 80 + 16);
