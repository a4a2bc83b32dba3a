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
        /// The first.
        V1 = 1,
    }
}
value! {
    /// Version of a message's layout where there is an older one.
    Schema2 {
        /// The second.
        V2 = 2,
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
    /// How an order is priced, and whether it waits for a trade before it may trade itself.
    OrderType {
        /// At the price given or better.
        Limit = 1,
        /// At the best prices there are, no worse than the instrument's collar allows.
        Market = 2,
        /// A limit order at the best opposite price of the moment in which it comes.
        MarketToLimit = 3,
        /// Waits for the market to move against it, then trades like a market order.
        Stop = 4,
        /// Waits for the market to move against it, then is a limit order.
        StopLimit = 5,
        /// Waits for the market to move its way, then trades like a market order.
        MarketIfTouched = 6,
        /// Waits for the market to move its way, then is a limit order.
        LimitIfTouched = 7,
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
        /// Until the end of the trading day.
        Day = 4,
        /// Until the time given.
        Gtd = 5,
        /// Takes part in the opening auction only.
        Ato = 6,
        /// Takes part in the closing auction only.
        Atc = 7,
    }
}
value! {
    /// What an order does that must not trade at once, but would.
    PostOnly {
        /// It may trade at once.
        No = 0,
        /// It is refused.
        Reject = 1,
        /// Its price becomes the best at which it does not trade.
        Reprice = 2,
    }
}
value! {
    /// What may be done in an instrument.
    MarketState {
        /// There is no such instrument.
        None = 0,
        /// Everything.
        Continuous = 1,
        /// Orders may be cancelled.
        Halted = 2,
        /// Orders may be cancelled, and made smaller where they stand.
        CancelOnly = 3,
        /// Nothing trades: orders may come that do not.
        PostOnly = 4,
        /// Orders gather for the day's first auction, and nothing is said about a price.
        PreOpen = 5,
        /// Orders gather for the auction that opens the day.
        OpeningAuction = 6,
        /// Orders gather for an auction that interrupts the day.
        VolatilityAuction = 7,
        /// Orders gather for the auction that ends the day.
        ClosingAuction = 8,
        /// The day is over: orders may be cancelled.
        Closed = 9,
    }
}
value! {
    /// What happens where an order would trade at a price outside the bands.
    BandAction {
        /// There are no bands.
        Off = 0,
        /// What is left of it is cancelled.
        Reject = 1,
        /// Trading stops for an auction.
        Auction = 2,
    }
}
value! {
    /// What happens where an order would trade with one of the same owner. The taker's mode rules.
    SelfTrade {
        /// What the instrument says.
        Default = 0,
        /// They trade.
        Allow = 1,
        /// The rest of the taker is cancelled.
        CancelTaker = 2,
        /// The maker is cancelled, and the taker goes on.
        CancelMaker = 3,
        /// Both are cancelled.
        CancelBoth = 4,
        /// Both lose what they would have traded; what is left with nothing is cancelled.
        Decrement = 5,
    }
}
value! {
    /// Whom a command of an operator is about.
    Scope {
        /// An account.
        Account = 1,
        /// All accounts of a firm.
        Firm = 2,
        /// All accounts.
        All = 3,
    }
}
value! {
    /// What an account may do; the least of its own, its firm's and that of all.
    Access {
        /// There is no such account.
        None = 0,
        /// Everything.
        Active = 1,
        /// Orders may be made smaller and be cancelled; money may be withdrawn.
        Blocked = 2,
        /// Orders may be cancelled.
        Suspended = 3,
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
        /// The order waits for its trigger.
        Waiting = 4,
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
        /// It would have traded with an order of the same owner.
        SelfTrade = 7,
        /// Its time has come.
        Expired = 8,
        /// It was triggered or joined an auction, and its side of the book had no room for its price.
        NoLevel = 9,
        /// It was for one auction, which is over.
        AuctionOver = 10,
        /// The day is over.
        DayOver = 11,
        /// It would have traded at a price outside the bands.
        Band = 12,
        /// An operator cancelled it.
        Purged = 16,
        /// An operator cancelled it and lets no new ones come.
        Killed = 17,
        /// Its session had no client for too long.
        Disconnected = 18,
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

impl MarketState {
    /// Whether orders gather without trading, so that a book may be crossed.
    #[must_use]
    pub const fn gathers(self) -> bool {
        matches!(self, Self::PreOpen) || self.is_auction()
    }

    /// Whether this is the call of an auction, in which everybody is told the price that it would have now.
    #[must_use]
    pub const fn is_auction(self) -> bool {
        matches!(self, Self::OpeningAuction | Self::VolatilityAuction | Self::ClosingAuction)
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

impl OrderType {
    /// Whether it waits for a trigger.
    #[must_use]
    pub const fn waits(self) -> bool {
        matches!(self, Self::Stop | Self::StopLimit | Self::MarketIfTouched | Self::LimitIfTouched)
    }

    /// Whether its sender names a limit price.
    #[must_use]
    pub const fn has_price(self) -> bool {
        matches!(self, Self::Limit | Self::StopLimit | Self::LimitIfTouched)
    }
}

impl TimeInForce {
    /// Whether what does not trade at once is cancelled.
    #[must_use]
    pub const fn is_immediate(self) -> bool {
        matches!(self, Self::Ioc | Self::Fok)
    }

    /// Whether it is for one auction of the day.
    #[must_use]
    pub const fn is_for_auction(self) -> bool {
        matches!(self, Self::Ato | Self::Atc)
    }

    /// Whether it ends with the day at the latest.
    #[must_use]
    pub const fn ends_with_day(self) -> bool {
        matches!(self, Self::Day | Self::Ato | Self::Atc)
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
