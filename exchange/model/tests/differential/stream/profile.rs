//! What kind of stream.

use ordain_exchange_engine::Limits;

/// What the streams may use beyond the first form, page by page of `docs/exchange/`.
#[derive(Clone, Copy)]
pub struct Features {
    /// The second layouts, market-to-limit, repricing, cash.
    pub orders: bool,
    pub self_trade: bool,
    pub stops: bool,
    pub icebergs: bool,
    pub expiry: bool,
    pub states: bool,
    pub access: bool,
    /// Auctions, and orders that end with them or with the day.
    pub auctions: bool,
    /// Price bands and schedules.
    pub day: bool,
    pub limits: bool,
    pub fees: bool,
    /// Sessions whose orders are cancelled on disconnect.
    pub disconnect: bool,
    /// Market data.
    pub feeds: bool,
    /// Drop copies.
    pub copies: bool,
}

impl Features {
    pub const NONE: Self = Self {
        orders: false,
        self_trade: false,
        stops: false,
        icebergs: false,
        expiry: false,
        states: false,
        access: false,
        auctions: false,
        day: false,
        limits: false,
        fees: false,
        disconnect: false,
        feeds: false,
        copies: false,
    };
    pub const ALL: Self = Self {
        orders: true,
        self_trade: true,
        stops: true,
        icebergs: true,
        expiry: true,
        states: true,
        access: true,
        auctions: true,
        day: true,
        limits: true,
        fees: true,
        disconnect: true,
        feeds: true,
        copies: true,
    };
}

/// What a stream has more of than others, if its features have it at all: were there as much of everything in each,
/// hardly anything would go on long enough to meet something else.
#[derive(Clone, Copy)]
pub struct Theme {
    pub states: bool,
    pub access: bool,
    pub auctions: bool,
    pub day: bool,
    pub limits: bool,
    pub fees: bool,
    pub disconnect: bool,
    pub feeds: bool,
    pub copies: bool,
}

impl Theme {
    pub const fn of(seed: u64) -> Self {
        let nth = seed % 12;
        Self {
            states: nth == 2,
            access: matches!(nth, 3 | 5),
            auctions: matches!(nth, 4..=7 | 10),
            // With auctions too: what they trade counts for positions.
            limits: matches!(nth, 8..=10),
            fees: matches!(nth, 1 | 4 | 6 | 8),
            day: matches!(nth, 0 | 6),
            disconnect: matches!(nth, 2 | 7 | 11),
            // Beside each of the others, but for limits, and in half of all.
            feeds: matches!(nth, 1 | 2 | 3 | 6 | 7 | 10),
            // With the day in few: bands end few orders as it is.
            copies: matches!(nth, 1 | 3 | 5 | 7 | 11) || seed % 48 == 24,
        }
    }
}

/// What kind of stream.
#[derive(Clone, Copy)]
pub struct Profile {
    pub limits: Limits,
    /// Instruments that a stream begins with.
    pub opened: u32,
    pub features: Features,
    /// How often, of 100, an order that may rest waits for a trigger, if streams have stops.
    pub stops: u64,
    /// How often, of 1,000: instruments and accounts are created.
    pub creations: u64,
    /// How often, of 1,000: mass cancels.
    pub mass_cancels: u64,
    /// How often, of 1,000: cancels.
    pub cancels: u64,
    /// How often, of 1,000: money moves for its own sake.
    pub transfers: u64,
    /// How rich the accounts are.
    pub wealth: u64,
    /// How often, of 100, a stretch of time is one in which books grow.
    pub building: u64,
    /// How often, of 100, an order takes in all there is when books do not grow.
    pub sweeps: u64,
    /// Highest quantities.
    pub lots: [u64; 3],
    /// Prices that orders are entered at, from 1.
    pub prices: i64,
    /// Instruments with values of which only 64 bits are the bound.
    pub huge: bool,
    /// Orders, and cancels of many, are in all instruments instead of few.
    pub spread: bool,
}
