//! What happens to a book, event by event.

/// Side of a resting order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// Bids.
    Buy,
    /// Offers.
    Sell,
}

impl Side {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Buy, Self::Sell];

    /// The other side.
    #[must_use]
    pub const fn opposite(self) -> Self {
        match self {
            Self::Buy => Self::Sell,
            Self::Sell => Self::Buy,
        }
    }

    /// The higher, the better a price is on this side.
    #[must_use]
    pub const fn rank(self, price: i64) -> i64 {
        match self {
            Self::Buy => price,
            Self::Sell => price.saturating_neg(),
        }
    }
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An order came to rest.
    Add,
    /// A part of it was cancelled.
    Reduce,
    /// What was left of it was cancelled.
    Delete,
    /// It, or a part of it, was executed.
    Execute,
    /// Something that the visible book does not show: a hidden execution, a cross, a halt.
    Other,
}

/// An event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// Nanoseconds from any beginning.
    pub time: u64,
    /// What happened.
    pub kind: Kind,
    /// The order's number.
    pub order: u64,
    /// Shares added, cancelled or executed.
    pub size: u64,
    /// The order's price.
    pub price: i64,
    /// The order's side.
    pub side: Side,
}
