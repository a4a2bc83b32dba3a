//! What becomes of a session's orders when its client is gone. Rules: `docs/exchange/disconnect.md`.

use crate::{Flag, Malformed, Schema, U64, Zero, block};
use zerocopy::{Immutable, IntoBytes, KnownLayout, TryFromBytes, Unaligned};

const Z: Zero = Zero::Zero;

/// The longest grace: an hour of log time. What is to live longer without its client needs no such setting.
pub const GRACE_MAX: u64 = 3_600_000_000_000;
/// The shortest grace behind the beginning of a leader's term: its clients need that long to find it.
pub const GRACE_OF_TERM: u64 = 1_000_000_000;
/// Sessions whose orders are cancelled with their clients' connections, at most.
pub const DISCONNECTS_MAX: usize = 4_096;

/// Sets whether the orders that the session enters from here on are cancelled when its client is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct SetDisconnect {
    /// [`SetDisconnect::TAG`].
    pub tag: u8,
    /// Layout version.
    pub schema: Schema,
    /// Whether they are.
    pub on: Flag,
    /// Zero.
    pub reserved: [Zero; 5],
    /// How long the client may be gone, nanoseconds of log time; 0 with off.
    pub grace: U64,
}

impl SetDisconnect {
    /// Tag of the message.
    pub const TAG: u8 = 0x23;

    /// Orders are cancelled when the client has been gone for so long.
    #[must_use]
    pub fn after(grace: u64) -> Self {
        Self { tag: Self::TAG, schema: Schema::V1, on: Flag::Yes, reserved: [Z; 5], grace: grace.into() }
    }

    /// They stay.
    #[must_use]
    pub fn off() -> Self {
        Self { on: Flag::No, ..Self::after(0) }
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<&Self, Malformed> {
        let message: &Self = block(bytes)?;
        let says_one_thing = message.on == Flag::Yes || message.grace == U64::ZERO;
        if says_one_thing { Ok(message) } else { Err(Malformed::Value) }
    }
}

const _: () = assert!(size_of::<SetDisconnect>() == 16);
