//! Instruments: their terms, unpacked, and the two sides of their books.

use crate::feed::Feeds;
use crate::ledger::fee;
use crate::levels::Ladder;
use core::num::NonZeroU64;
use ordain_exchange_protocol::{Definition, MarketState, Reject, SelfTrade, Side};

/// An instrument: of its terms what trading needs, unpacked, and the two sides of its book. Two cache lines.
#[repr(align(64))]
pub(crate) struct Instrument {
    pub ladders: [Ladder; 2],
    pub base: u32,
    pub quote: u32,
    /// Minor units of quote currency for a lot at a tick.
    pub scale: NonZeroU64,
    pub base_per_lot: u64,
    pub min_quantity: u64,
    pub max_quantity: u64,
    pub min_notional: u64,
    pub max_price: i64,
    pub collar: i64,
    pub maker_ppm: i32,
    pub taker_ppm: i32,
    /// The higher of the two, for holds; 0 if both are rebates.
    pub worst_ppm: i32,
    /// Orders that wait for a trigger.
    pub waiting: u32,
    /// Price of the last trade; 0 before the first.
    pub last: i64,
    /// What happens where orders of one owner meet that leave it to the instrument.
    pub self_trade: SelfTrade,
    /// What may be done.
    pub state: MarketState,
    /// Has price bands.
    pub banded: bool,
    /// 0 for its own terms.
    pub fee_class: u8,
    pub feeds: Feeds,
}

const _: () = assert!(size_of::<Option<Instrument>>() == 128);

impl Instrument {
    pub fn new(definition: &Definition, ladders: [Ladder; 2]) -> Self {
        let (maker_ppm, taker_ppm) = (definition.maker_ppm.get(), definition.taker_ppm.get());
        Self {
            ladders,
            base: definition.base.get(),
            quote: definition.quote.get(),
            scale: NonZeroU64::new(definition.quote_per_tick_lot.get()).expect("the definition was checked"),
            base_per_lot: definition.base_per_lot.get(),
            min_quantity: definition.min_quantity.get(),
            max_quantity: definition.max_quantity.get(),
            min_notional: definition.min_notional.get(),
            max_price: definition.max_price.get(),
            collar: definition.collar.get(),
            maker_ppm,
            taker_ppm,
            worst_ppm: maker_ppm.max(taker_ppm).max(0),
            waiting: 0,
            last: 0,
            self_trade: SelfTrade::Allow,
            state: MarketState::Continuous,
            banded: false,
            fee_class: 0,
            feeds: Feeds::NONE,
        }
    }

    #[inline]
    pub fn ladder(&self, side: Side) -> &Ladder {
        &self.ladders[side as usize - 1]
    }

    #[inline]
    pub fn ladder_mut(&mut self, side: Side) -> &mut Ladder {
        &mut self.ladders[side as usize - 1]
    }

    /// What a lot at `price` can cost at worst.
    #[inline]
    pub fn lot_cost(&self, price: i64) -> u64 {
        let notional = price as u64 * self.scale.get();
        notional + fee(notional, self.worst_ppm) as u64
    }

    /// What lots are worth at a price.
    #[inline]
    pub fn notional(&self, price: i64, quantity: u64) -> u64 {
        price as u64 * quantity * self.scale.get()
    }

    /// The currency that an order on `side` pays in.
    #[inline]
    pub fn paid_in(&self, side: Side) -> u32 {
        match side {
            Side::Buy => self.quote,
            Side::Sell => self.base,
        }
    }

    /// What an order for `quantity` lots holds: currency and amount.
    #[inline]
    pub fn hold(&self, side: Side, price: i64, quantity: u64) -> (u32, u64) {
        match side {
            Side::Buy => (self.quote, quantity * self.lot_cost(price)),
            Side::Sell => (self.base, quantity * self.base_per_lot),
        }
    }

    /// The mode that an order's own comes to.
    #[inline]
    pub fn mode(&self, own: SelfTrade) -> SelfTrade {
        if own == SelfTrade::Default { self.self_trade } else { own }
    }

    /// The price that an order has which is triggered at `trigger` and names none.
    pub fn protection(&self, side: Side, trigger: i64) -> i64 {
        match side {
            // The sum of a price and the collar, both up to the highest price, could overflow.
            Side::Buy => trigger + self.collar.min(self.max_price - trigger),
            Side::Sell => (trigger - self.collar).max(1),
        }
    }

    pub fn check_trigger(&self, trigger: i64) -> Result<(), Reject> {
        if (1..=self.max_price).contains(&trigger) { Ok(()) } else { Err(Reject::TriggerOutOfRange) }
    }

    pub fn check_quantity(&self, quantity: u64) -> Result<(), Reject> {
        if quantity < self.min_quantity {
            Err(Reject::QuantityTooSmall)
        } else if quantity > self.max_quantity {
            Err(Reject::QuantityTooLarge)
        } else {
            Ok(())
        }
    }

    pub fn check_price(&self, price: i64) -> Result<(), Reject> {
        if (1..=self.max_price).contains(&price) { Ok(()) } else { Err(Reject::PriceOutOfRange) }
    }

    pub fn check_notional(&self, price: i64, quantity: u64) -> Result<(), Reject> {
        if self.notional(price, quantity) < self.min_notional {
            Err(Reject::NotionalTooSmall)
        } else {
            Ok(())
        }
    }
}

#[inline]
pub(crate) fn live(instruments: &[Option<Instrument>], id: u16) -> &Instrument {
    instruments[usize::from(id) - 1].as_ref().expect("an order's instrument exists")
}

#[inline]
pub(crate) fn live_mut(instruments: &mut [Option<Instrument>], id: u16) -> &mut Instrument {
    instruments[usize::from(id) - 1].as_mut().expect("an order's instrument exists")
}
