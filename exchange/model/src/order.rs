//! Live orders.

use ordain_exchange_protocol::{Amend2, OrderType, PostOnly, SelfTrade, Side, TimeInForce};

/// A live order.
#[derive(Clone, Debug)]
pub struct Order {
    /// Order id.
    pub id: u64,
    /// Client order id.
    pub client: u64,
    /// Account id.
    pub account: u32,
    /// Instrument id.
    pub instrument: u32,
    /// Side.
    pub side: Side,
    /// What it is now: triggered, or once market-to-limit, it is a limit order.
    pub order_type: OrderType,
    /// How long it lives.
    pub tif: TimeInForce,
    /// What it does if it would trade at once.
    pub post_only: PostOnly,
    /// Its mode of self-trade prevention, as it was entered.
    pub self_trade: SelfTrade,
    /// Limit price, ticks.
    pub price: i128,
    /// Price of the trade that it waits for, ticks; 0 if it waits for none.
    pub trigger: i128,
    /// Lots that the book shows at a time; 0 for all.
    pub display: i128,
    /// When it ends, log time; 0 for never.
    pub expiry: u64,
    /// Whether it waits for the auction that it is for.
    pub awaits_auction: bool,
    /// Lots filled.
    pub cumulative: i128,
    /// Lots open, shown or not.
    pub remaining: i128,
    /// Lots that the book shows.
    pub shown: i128,
    /// The session that entered it, if its orders are cancelled when its client is gone; else 0.
    pub session: u64,
    /// Of two orders, that with the lower number was entered first.
    pub(crate) entered: u64,
    /// Of two orders at a price or trigger, that with the lower place came there first.
    pub(crate) place: u64,
}

/// Which trades an order waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// At its trigger or above.
    Up,
    /// At its trigger or below.
    Down,
}

impl Direction {
    pub fn of(order_type: OrderType, side: Side) -> Self {
        match (order_type, side) {
            (OrderType::Stop | OrderType::StopLimit, Side::Buy)
            | (OrderType::MarketIfTouched | OrderType::LimitIfTouched, Side::Sell) => Self::Up,
            (OrderType::Stop | OrderType::StopLimit, Side::Sell)
            | (OrderType::MarketIfTouched | OrderType::LimitIfTouched, Side::Buy) => Self::Down,
            _ => unreachable!("{order_type:?} waits for nothing"),
        }
    }

    /// Whether a trade at `price` is what an order with this trigger waits for.
    pub fn is_met(self, trigger: i128, price: i128) -> bool {
        match self {
            Self::Up => price >= trigger,
            Self::Down => price <= trigger,
        }
    }
}

impl Order {
    /// Whether it waits for a trigger, and so is not in the book.
    #[must_use]
    pub fn waits(&self) -> bool {
        self.order_type.waits()
    }

    /// Whether an amend leaves price, trigger and display and does not raise the total.
    pub(crate) fn is_only_made_smaller(&self, request: &Amend2) -> bool {
        let price = if self.is_priceless() { 0 } else { self.price };
        i128::from(request.price.get()) == price
            && request.trigger.get() == 0
            && request.display.get() == 0
            && i128::from(request.quantity.get()) <= self.cumulative + self.remaining
    }

    pub(crate) fn is_in_book_of(&self, instrument: u32) -> bool {
        self.instrument == instrument && !self.waits() && !self.awaits_auction
    }

    /// Whether its price is not its owner's to say.
    pub(crate) fn is_priceless(&self) -> bool {
        self.order_type == OrderType::Market || (self.waits() && !self.order_type.has_price())
    }

    /// Whether in the book it stands among others at its price: a market order does not.
    pub(crate) fn is_at_a_level(&self) -> bool {
        self.order_type != OrderType::Market
    }

    pub(crate) fn direction(&self) -> Direction {
        Direction::of(self.order_type, self.side)
    }

    /// What the order shows when it comes to rest, or when all that it showed is gone.
    pub(crate) fn next_part(&self) -> i128 {
        if self.display == 0 { self.remaining } else { self.display.min(self.remaining) }
    }
}
