//! Instruments: their terms, and what prices and quantities come to in money.

use crate::ensure;
use ordain_exchange_protocol::{Definition, Reject, Side};

/// The most that a transfer, a supply or an order's worth may be, minor units.
pub const AMOUNT_MAX: i128 = (1 << 63) - 1;

/// An instrument.
#[derive(Clone, Debug)]
pub struct Instrument {
    /// Instrument id.
    pub id: u32,
    /// Base currency.
    pub base: u32,
    /// Quote currency.
    pub quote: u32,
    /// Minor units of quote for one lot at one tick.
    pub quote_per_tick_lot: i128,
    /// Minor units of base in a lot.
    pub base_per_lot: i128,
    /// Smallest quantity, lots.
    pub min_quantity: i128,
    /// Largest quantity, lots.
    pub max_quantity: i128,
    /// Smallest notional, minor units of quote.
    pub min_notional: i128,
    /// Highest price, ticks.
    pub max_price: i128,
    /// How far beyond the best price a market order goes, ticks.
    pub collar: i128,
    /// Rate of the maker, parts per million.
    pub maker_ppm: i128,
    /// Rate of the taker, parts per million.
    pub taker_ppm: i128,
    /// As it was given.
    pub definition: Definition,
}

/// The fee on a notional at a rate.
pub fn fee(notional: i128, ppm: i128) -> i128 {
    if ppm >= 0 { (notional * ppm + 999_999) / 1_000_000 } else { -(notional * -ppm / 1_000_000) }
}

/// Whether an order of `side` with this limit would trade at `price`.
pub fn at_or_better(side: Side, limit: i128, price: i128) -> bool {
    match side {
        Side::Buy => price <= limit,
        Side::Sell => price >= limit,
    }
}

impl Instrument {
    pub(crate) fn new(definition: &Definition) -> Self {
        Self {
            id: definition.instrument.get(),
            base: definition.base.get(),
            quote: definition.quote.get(),
            quote_per_tick_lot: definition.quote_per_tick_lot.get().into(),
            base_per_lot: definition.base_per_lot.get().into(),
            min_quantity: definition.min_quantity.get().into(),
            max_quantity: definition.max_quantity.get().into(),
            min_notional: definition.min_notional.get().into(),
            max_price: definition.max_price.get().into(),
            collar: definition.collar.get().into(),
            maker_ppm: definition.maker_ppm.get().into(),
            taker_ppm: definition.taker_ppm.get().into(),
            definition: *definition,
        }
    }

    /// The terms that stand for themselves.
    pub(crate) fn check_terms(&self) -> Result<(), Reject> {
        let texts = &self.definition;
        ensure(
            self.quote_per_tick_lot != 0
                && self.base_per_lot != 0
                && texts.tick.get() != 0
                && texts.lot.get() != 0
                && texts.price_decimals <= 18
                && texts.quantity_decimals <= 18,
            Reject::ScaleInvalid,
        )?;
        ensure(
            self.min_quantity > 0 && self.min_quantity <= self.max_quantity,
            Reject::QuantityLimitsInvalid,
        )?;
        ensure(
            self.max_price >= 1 && self.collar >= 0 && self.collar <= self.max_price,
            Reject::PriceLimitsInvalid,
        )?;
        ensure(
            self.maker_ppm.abs() <= 1_000_000
                && self.taker_ppm.abs() <= 1_000_000
                && self.maker_ppm + self.taker_ppm >= 0,
            Reject::FeeInvalid,
        )?;
        // One lot at the maximum price is below 2^127, but what follows from it may not be.
        let fits = |per_lot: i128| {
            per_lot <= AMOUNT_MAX
                && per_lot.checked_mul(self.max_quantity).is_some_and(|all| all <= AMOUNT_MAX)
        };
        ensure(
            self.notional(self.max_price, 1) <= AMOUNT_MAX
                && fits(self.lot_cost(self.max_price))
                && fits(self.base_per_lot),
            Reject::LimitsTooLarge,
        )
    }

    pub(crate) fn check_quantity(&self, quantity: i128) -> Result<(), Reject> {
        ensure(quantity >= self.min_quantity, Reject::QuantityTooSmall)?;
        ensure(quantity <= self.max_quantity, Reject::QuantityTooLarge)
    }

    pub(crate) fn check_price(&self, price: i128) -> Result<(), Reject> {
        ensure((1..=self.max_price).contains(&price), Reject::PriceOutOfRange)
    }

    /// The protection price of an order, as far from a price as the collar.
    pub(crate) fn collared(&self, side: Side, from: i128) -> i128 {
        match side {
            Side::Buy => (from + self.collar).min(self.max_price),
            Side::Sell => (from - self.collar).max(1),
        }
    }

    pub(crate) fn check_notional(&self, price: i128, quantity: i128) -> Result<(), Reject> {
        ensure(self.notional(price, quantity) >= self.min_notional, Reject::NotionalTooSmall)
    }

    /// Minor units of quote currency that lots are worth at a price.
    #[must_use]
    pub fn notional(&self, price: i128, lots: i128) -> i128 {
        price * lots * self.quote_per_tick_lot
    }

    /// The most that a lot bought at a price can cost.
    #[must_use]
    pub fn lot_cost(&self, price: i128) -> i128 {
        let notional = self.notional(price, 1);
        notional + fee(notional, self.maker_ppm.max(self.taker_ppm).max(0))
    }

    /// What open lots hold: which currency, how many minor units.
    #[must_use]
    pub fn hold(&self, side: Side, price: i128, lots: i128) -> (u32, i128) {
        match side {
            Side::Buy => (self.quote, lots * self.lot_cost(price)),
            Side::Sell => (self.base, lots * self.base_per_lot),
        }
    }
}
