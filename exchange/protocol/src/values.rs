//! Enumerations and permission bits.

use zerocopy::{FromZeros, Immutable, IntoBytes, KnownLayout, TryFromBytes, Unaligned};

macro_rules! value {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $wire:literal,)* }) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash,
            TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
        )]
        #[repr(u8)]
        pub enum $name {
            $($(#[$vdoc])* $variant = $wire,)*
        }
    };
}

value! {
    /// Version of a message's layout.
    Schema {
        /// The only version so far.
        V1 = 1,
    }
}
/// A reserved byte.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    FromZeros,
    IntoBytes,
    KnownLayout,
    Immutable,
    Unaligned,
)]
#[repr(u8)]
pub enum Zero {
    /// What a reserved byte holds.
    Zero = 0,
}

value! {
    /// Which way an order trades.
    Side {
        /// Pays quote currency, receives base currency.
        Buy = 1,
        /// Pays base currency, receives quote currency.
        Sell = 2,
    }
}
value! {
    /// What a mass cancel covers; what a report says where there may be no order.
    Sides {
        /// Both sides, or no order.
        Any = 0,
        /// Buy orders.
        Buy = 1,
        /// Sell orders.
        Sell = 2,
    }
}
value! {
    /// How an order is priced.
    OrderType {
        /// At the price given or better.
        Limit = 1,
        /// At the best prices there are, no worse than the instrument's collar allows.
        Market = 2,
    }
}
value! {
    /// How long an order lives.
    TimeInForce {
        /// Until filled or cancelled.
        Gtc = 1,
        /// What cannot trade at once is cancelled.
        Ioc = 2,
        /// Trades whole at once, or is refused.
        Fok = 3,
    }
}
value! {
    /// A yes or no.
    Flag {
        /// No.
        No = 0,
        /// Yes.
        Yes = 1,
    }
}
value! {
    /// What a grant command does.
    GrantAction {
        /// The key may act for the account from now on.
        Grant = 1,
        /// The key may no longer act for the account.
        Revoke = 2,
    }
}
value! {
    /// What became of the order that a reply speaks of.
    OrderState {
        /// There is no order: the command was refused.
        None = 0,
        /// The order rests in the book.
        Live = 1,
        /// The order is filled whole.
        Filled = 2,
        /// The order is closed and its rest, if any, was cancelled.
        Cancelled = 3,
    }
}
value! {
    /// Why a report was made.
    Reason {
        /// Nothing to report.
        None = 0,
        /// The order traded.
        Fill = 1,
        /// Its owner cancelled it.
        Cancelled = 2,
        /// An immediate order found nothing (more) at its price.
        Remainder = 3,
        /// A market buy ran out of free funds.
        Budget = 4,
        /// It was amended to a quantity at or below what was filled.
        AmendedBelowFilled = 5,
        /// A mass cancel covered it.
        MassCancelled = 6,
    }
}

impl Side {
    /// The other side.
    #[must_use]
    pub const fn opposite(self) -> Self {
        match self {
            Self::Buy => Self::Sell,
            Self::Sell => Self::Buy,
        }
    }
}

impl Sides {
    /// Whether orders of `side` are covered.
    #[must_use]
    pub const fn covers(self, side: Side) -> bool {
        matches!(self, Self::Any) || self as u8 == side as u8
    }
}

impl From<Side> for Sides {
    fn from(side: Side) -> Self {
        match side {
            Side::Buy => Self::Buy,
            Side::Sell => Self::Sell,
        }
    }
}

impl From<bool> for Flag {
    fn from(yes: bool) -> Self {
        if yes { Self::Yes } else { Self::No }
    }
}

/// Permission bits of a key that the exchange defines.
pub mod permission {
    /// May enter, amend and cancel orders of accounts granted to it.
    pub const TRADE: u32 = 1 << 8;
    /// May create instruments and accounts and grant keys; acts for every account.
    pub const ADMIN: u32 = 1 << 9;
    /// May deposit and withdraw, for every account.
    pub const CUSTODY: u32 = 1 << 10;
    /// May ask queries.
    pub const VIEW: u32 = 1 << 11;
}
