//! Commands by which operators control who trades, and how much; questions about that.

use crate::{
    Access, FEE_CLASS_MAX, FEE_TIER_MAX, FeesAnswer, FeesQuery, GrantAction, InstrumentLimitsAnswer,
    InstrumentLimitsQuery, LimitsAnswer, LimitsQuery, Scope, SetFeeClass, SetFeeTier, SetFees, SetGrossLimit,
    SetInstrumentLimits, SetLimits, SetPosition,
};
use crate::{Malformed, Note, Schema, Sides, U16, U32, Zero, block, permission, request::note_is_valid};
use zerocopy::{Immutable, IntoBytes, KnownLayout, TryFromBytes, Unaligned};

const Z: Zero = Zero::Zero;

/// Puts an account into a firm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct SetFirm {
    /// [`SetFirm::TAG`].
    pub tag: u8,
    /// Layout version.
    pub schema: Schema,
    /// Zero.
    pub reserved: [Zero; 2],
    /// Account id.
    pub account: U32,
    /// Firm id; 0 for none.
    pub firm: U32,
    /// Zero.
    pub reserved2: [Zero; 4],
    /// Why.
    pub note: Note,
}

/// Sets what an account, the accounts of a firm, or all may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct SetAccess {
    /// [`SetAccess::TAG`].
    pub tag: u8,
    /// Layout version.
    pub schema: Schema,
    /// Whose.
    pub scope: Scope,
    /// What they may do, not [`Access::None`].
    pub access: Access,
    /// Account or firm id; 0 if all.
    pub id: U32,
    /// Why.
    pub note: Note,
}

/// Cancels all orders of an account, of a firm, or of all, and lets no new ones come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Kill {
    /// [`Kill::TAG`].
    pub tag: u8,
    /// Layout version.
    pub schema: Schema,
    /// Whose.
    pub scope: Scope,
    /// Zero.
    pub reserved: Zero,
    /// Account or firm id; 0 if all.
    pub id: U32,
    /// Why.
    pub note: Note,
}

/// Cancels orders of an account, of a firm, or of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Purge {
    /// [`Purge::TAG`].
    pub tag: u8,
    /// Layout version.
    pub schema: Schema,
    /// Whose.
    pub scope: Scope,
    /// Which side.
    pub sides: Sides,
    /// Account or firm id; 0 if all.
    pub id: U32,
    /// Instrument id, or 0 for all.
    pub instrument: U32,
    /// Zero.
    pub reserved: [Zero; 4],
    /// Why.
    pub note: Note,
}

/// Asks what an account may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct AccessQuery {
    /// [`AccessQuery::TAG`].
    pub tag: u8,
    /// Layout version.
    pub schema: Schema,
    /// Zero.
    pub reserved: [Zero; 2],
    /// Account id.
    pub account: U32,
}

/// What an account may do: the least of what it, its firm and all may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct AccessAnswer {
    /// [`AccessAnswer::TAG`].
    pub tag: u8,
    /// Layout version.
    pub schema: Schema,
    /// 0, or a [`Reject`](crate::Reject): then all but the account is 0.
    pub code: U16,
    /// Account id.
    pub account: U32,
    /// Firm id; 0 for none.
    pub firm: U32,
    /// The account's own.
    pub of_account: Access,
    /// Its firm's; active if it has none.
    pub of_firm: Access,
    /// That of all.
    pub of_all: Access,
    /// Zero.
    pub reserved: [Zero; 17],
}

impl SetFirm {
    /// Tag of the message.
    pub const TAG: u8 = 0x18;

    /// The message.
    #[must_use]
    pub fn new(account: u32, firm: u32, note: Note) -> Self {
        Self {
            tag: Self::TAG,
            schema: Schema::V1,
            reserved: [Z; 2],
            account: account.into(),
            firm: firm.into(),
            reserved2: [Z; 4],
            note,
        }
    }
}

impl SetAccess {
    /// Tag of the message.
    pub const TAG: u8 = 0x19;

    /// The message.
    #[must_use]
    pub fn new(scope: Scope, id: u32, access: Access, note: Note) -> Self {
        Self { tag: Self::TAG, schema: Schema::V1, scope, access, id: id.into(), note }
    }
}

impl Kill {
    /// Tag of the message.
    pub const TAG: u8 = 0x1A;

    /// The message.
    #[must_use]
    pub fn new(scope: Scope, id: u32, note: Note) -> Self {
        Self { tag: Self::TAG, schema: Schema::V1, scope, reserved: Z, id: id.into(), note }
    }
}

impl Purge {
    /// Tag of the message.
    pub const TAG: u8 = 0x1B;

    /// The message; `instrument` 0 means all.
    #[must_use]
    pub fn new(scope: Scope, id: u32, instrument: u32, sides: Sides, note: Note) -> Self {
        Self {
            tag: Self::TAG,
            schema: Schema::V1,
            scope,
            sides,
            id: id.into(),
            instrument: instrument.into(),
            reserved: [Z; 4],
            note,
        }
    }
}

impl AccessQuery {
    /// Tag of the message.
    pub const TAG: u8 = 0x4C;

    /// The message.
    #[must_use]
    pub fn new(account: u32) -> Self {
        Self { tag: Self::TAG, schema: Schema::V1, reserved: [Z; 2], account: account.into() }
    }
}

impl AccessAnswer {
    /// Tag of the message.
    pub const TAG: u8 = 0xAC;
}

/// Lets a key read a firm's stream, or ends that. Either may be repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct GrantFirm {
    /// [`GrantFirm::TAG`].
    pub tag: u8,
    /// Layout version.
    pub schema: Schema,
    /// Grant or revoke.
    pub action: GrantAction,
    /// Zero.
    pub reserved: Zero,
    /// Firm id.
    pub firm: U32,
    /// Key id.
    pub key: U32,
    /// Zero.
    pub reserved2: [Zero; 4],
    /// Why.
    pub note: Note,
}

impl GrantFirm {
    /// Tag of the message.
    pub const TAG: u8 = 0x25;

    /// The message.
    #[must_use]
    pub fn new(action: GrantAction, firm: u32, key: u32, note: Note) -> Self {
        Self {
            tag: Self::TAG,
            schema: Schema::V1,
            action,
            reserved: Zero::Zero,
            firm: firm.into(),
            key: key.into(),
            reserved2: [Zero::Zero; 4],
            note,
        }
    }
}

/// A command of an operator in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control<'a> {
    /// Puts an account into a firm.
    SetFirm(&'a SetFirm),
    /// Sets what may be done.
    SetAccess(&'a SetAccess),
    /// Cancels all and lets no new orders come.
    Kill(&'a Kill),
    /// Cancels orders.
    Purge(&'a Purge),
    /// Limits an account or a firm.
    SetLimits(&'a SetLimits),
    /// Limits what an account or a firm may have open in a currency.
    SetGrossLimit(&'a SetGrossLimit),
    /// Limits an account in an instrument.
    SetInstrumentLimits(&'a SetInstrumentLimits),
    /// Sets a position.
    SetPosition(&'a SetPosition),
    /// Sets a fee schedule.
    SetFees(&'a SetFees),
    /// Puts an instrument into a fee class.
    SetFeeClass(&'a SetFeeClass),
    /// Puts an account into a fee tier.
    SetFeeTier(&'a SetFeeTier),
    /// Lets a key read a firm's stream.
    GrantFirm(&'a GrantFirm),
}

impl<'a> Control<'a> {
    /// Tags of these commands.
    pub(crate) const TAGS: core::ops::RangeInclusive<u8> = 0x18..=0x2F;

    /// Reads a command of the first layout whose tag is `tag`.
    #[cold]
    pub(crate) fn decode(tag: u8, bytes: &'a [u8]) -> Result<Self, Malformed> {
        let valid = |ok: bool, request: Self| if ok { Ok(request) } else { Err(Malformed::Value) };
        match tag {
            SetFirm::TAG => {
                let message: &SetFirm = block(bytes)?;
                valid(note_is_valid(&message.note), Self::SetFirm(message))
            }
            SetAccess::TAG => {
                let message: &SetAccess = block(bytes)?;
                let sets = message.access != Access::None && message.scope.goes_with(message.id);
                valid(sets && note_is_valid(&message.note), Self::SetAccess(message))
            }
            Kill::TAG => {
                let message: &Kill = block(bytes)?;
                let names = message.scope.goes_with(message.id);
                valid(names && note_is_valid(&message.note), Self::Kill(message))
            }
            Purge::TAG => {
                let message: &Purge = block(bytes)?;
                let names = message.scope.goes_with(message.id);
                valid(names && note_is_valid(&message.note), Self::Purge(message))
            }
            SetLimits::TAG => {
                let message: &SetLimits = block(bytes)?;
                valid(message.is_valid() && note_is_valid(&message.note), Self::SetLimits(message))
            }
            SetGrossLimit::TAG => {
                let message: &SetGrossLimit = block(bytes)?;
                let names = message.scope != Scope::All;
                valid(names && note_is_valid(&message.note), Self::SetGrossLimit(message))
            }
            SetInstrumentLimits::TAG => {
                let message: &SetInstrumentLimits = block(bytes)?;
                valid(note_is_valid(&message.note), Self::SetInstrumentLimits(message))
            }
            SetPosition::TAG => {
                let message: &SetPosition = block(bytes)?;
                valid(message.is_valid() && note_is_valid(&message.note), Self::SetPosition(message))
            }
            SetFees::TAG => {
                let message: &SetFees = block(bytes)?;
                valid(message.is_valid() && note_is_valid(&message.note), Self::SetFees(message))
            }
            SetFeeClass::TAG => {
                let message: &SetFeeClass = block(bytes)?;
                let exists = message.class <= FEE_CLASS_MAX;
                valid(exists && note_is_valid(&message.note), Self::SetFeeClass(message))
            }
            SetFeeTier::TAG => {
                let message: &SetFeeTier = block(bytes)?;
                let exists = message.tier <= FEE_TIER_MAX;
                valid(exists && note_is_valid(&message.note), Self::SetFeeTier(message))
            }
            GrantFirm::TAG => {
                let message: &GrantFirm = block(bytes)?;
                valid(note_is_valid(&message.note), Self::GrantFirm(message))
            }
            _ => Err(Malformed::Tag),
        }
    }

    /// Permission bits that the key needs, all of them.
    #[must_use]
    pub const fn required_permission(&self) -> u32 {
        permission::ADMIN
    }
}

/// A question about controls in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlQuery<'a> {
    /// What an account may do.
    Access(&'a AccessQuery),
    /// Limits and use of an account or a firm.
    Limits(&'a LimitsQuery),
    /// Limits and use of an account in an instrument.
    InstrumentLimits(&'a InstrumentLimitsQuery),
    /// What an account pays in an instrument.
    Fees(&'a FeesQuery),
}

impl<'a> ControlQuery<'a> {
    pub(crate) fn decode(tag: u8, bytes: &'a [u8]) -> Result<Self, Malformed> {
        match tag {
            AccessQuery::TAG => block(bytes).map(Self::Access),
            LimitsQuery::TAG => {
                let message: &LimitsQuery = block(bytes)?;
                if message.scope == Scope::All { Err(Malformed::Value) } else { Ok(Self::Limits(message)) }
            }
            InstrumentLimitsQuery::TAG => block(bytes).map(Self::InstrumentLimits),
            FeesQuery::TAG => block(bytes).map(Self::Fees),
            _ => Err(Malformed::Tag),
        }
    }
}

/// An answer about controls in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlAnswer<'a> {
    /// What an account may do.
    Access(&'a AccessAnswer),
    /// Limits and use of an account or a firm.
    Limits(&'a LimitsAnswer),
    /// Limits and use of an account in an instrument.
    InstrumentLimits(&'a InstrumentLimitsAnswer),
    /// What an account pays in an instrument.
    Fees(&'a FeesAnswer),
}

impl<'a> ControlAnswer<'a> {
    pub(crate) fn decode(tag: u8, bytes: &'a [u8]) -> Result<Self, Malformed> {
        match tag {
            AccessAnswer::TAG => block(bytes).map(Self::Access),
            LimitsAnswer::TAG => block(bytes).map(Self::Limits),
            InstrumentLimitsAnswer::TAG => block(bytes).map(Self::InstrumentLimits),
            FeesAnswer::TAG => block(bytes).map(Self::Fees),
            _ => Err(Malformed::Tag),
        }
    }
}

impl Scope {
    /// The name of one where one is meant, and none where all are.
    fn goes_with(self, id: U32) -> bool {
        self != Self::All || id == U32::ZERO
    }
}

const _: () = assert!(size_of::<SetFirm>() == 48);
const _: () = assert!(size_of::<SetAccess>() == 40);
const _: () = assert!(size_of::<Kill>() == 40);
const _: () = assert!(size_of::<Purge>() == 48);
const _: () = assert!(size_of::<AccessQuery>() == 8);
const _: () = assert!(size_of::<AccessAnswer>() == 32);
