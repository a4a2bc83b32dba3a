//! What is known of a command while it is executed.

use crate::feed::Seen;
use crate::{Context, Order, Outputs};
use ordain_exchange_protocol::{OrderState, Reason};

/// A command that is executed.
pub struct Command {
    pub context: Context,
    pub outputs: Outputs,
    /// How many trades it made.
    pub trades: u32,
    /// Prices of trades that may trigger orders.
    pub prices: Vec<i128>,
    /// Instruments in the order in which it changed their books, as far as that is more than one.
    pub touched: Vec<u32>,
    /// Whether a band stopped it, so that trading stops for an auction.
    pub stopped: bool,
    /// How often orders of one owner met.
    pub meetings: u32,
    /// What feeds tell of.
    pub seen: Seen,
}

impl Command {
    pub fn new(context: Context) -> Self {
        Self {
            context,
            outputs: Outputs::new(),
            trades: 0,
            prices: Vec::new(),
            touched: Vec::new(),
            stopped: false,
            meetings: 0,
            seen: Seen::default(),
        }
    }
}

/// What one command did to one order.
pub struct Outcome {
    pub state: OrderState,
    pub reason: Reason,
    pub order: Order,
    pub fee_currency: u32,
    pub cancelled: i128,
    pub fills: Fills,
}

/// What came of an order's trading.
#[derive(Default)]
pub struct Fills {
    pub count: u32,
    pub notional: i128,
    pub fee: i128,
    /// Lots that would have traded with orders of its owner.
    pub prevented: i128,
    /// Lots of its own that it lost for that.
    pub cancelled: i128,
    /// Whether free funds or cash ended it.
    pub budget: bool,
    /// Whether a band ended it.
    pub banded: bool,
    /// Whether a meeting with an order of its owner took its last lots.
    pub met: bool,
}
