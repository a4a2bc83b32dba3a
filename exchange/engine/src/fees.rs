//! Fee schedules: what accounts of a tier pay in instruments of a class.
//!
//! Orders hold for the highest rate of their instrument's own terms, which no schedule may exceed. So a schedule can change
//! while orders live, and no hold with it.

use crate::admin::{FEE_MAX, reply_admin};
use crate::instrument::{Instrument, live_mut};
use crate::ledger::fee;
use crate::{Context, Engine, Sink, Step};
use ordain_exchange_protocol::{
    FEE_CLASS_MAX, FEE_TIER_MAX, FeesAnswer, FeesQuery, I32, NO_LIMIT, Reject, Schema, Scope, SetFeeClass,
    SetFeeTier, SetFees, U16, U32, U64, Zero,
};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

const CLASSES: usize = FEE_CLASS_MAX as usize;
const TIERS: usize = FEE_TIER_MAX as usize + 1;

/// Rates in parts per million, negative for rebates, and bounds of a charge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rates {
    pub maker_ppm: i32,
    pub taker_ppm: i32,
    pub auction_ppm: i32,
    pub min: u64,
    pub max: u64,
}

impl Rates {
    /// An instrument's own terms.
    const fn of(instrument: &Instrument) -> Self {
        let (maker_ppm, taker_ppm) = (instrument.maker_ppm, instrument.taker_ppm);
        Self { maker_ppm, taker_ppm, auction_ppm: instrument.worst_ppm, min: 0, max: NO_LIMIT }
    }

    fn highest(&self) -> i32 {
        self.maker_ppm.max(self.taker_ppm).max(self.auction_ppm)
    }

    /// The fee at a rate; a charge is no more than what `covered` says that orders hold for.
    fn fee(&self, notional: u64, ppm: i32, covered: u64) -> i64 {
        let fee = fee(notional, ppm);
        if ppm < 0 { fee } else { fee.unsigned_abs().max(self.min).min(self.max).min(covered) as i64 }
    }

    fn is_valid(&self) -> bool {
        [self.maker_ppm, self.taker_ppm, self.auction_ppm].iter().all(|ppm| ppm.unsigned_abs() <= FEE_MAX)
            && self.min <= self.max
    }
}

/// All schedules.
pub(crate) struct Fees {
    /// By class from 1 and tier.
    schedules: [[Option<Rates>; TIERS]; CLASSES],
    /// Instruments in a class and accounts in a tier.
    assigned: u32,
}

impl Fees {
    pub const fn new() -> Self {
        Self { schedules: [[None; TIERS]; CLASSES], assigned: 0 }
    }

    /// What a tier pays in an instrument: by its class, or its own terms.
    fn rates(&self, instrument: &Instrument, tier: u8) -> Rates {
        let Some(class) = usize::from(instrument.fee_class).checked_sub(1) else {
            return Rates::of(instrument);
        };
        let tiers = &self.schedules[class];
        tiers[usize::from(tier)].or(tiers[0]).unwrap_or(Rates::of(instrument))
    }

    /// The fees of a fill, maker's and taker's, in an instrument that has a class. They never add up to less than 0.
    #[cold]
    pub fn of_fill(
        &self,
        instrument: &Instrument,
        [maker_tier, taker_tier]: [u8; 2],
        price: i64,
        lots: u64,
    ) -> [i64; 2] {
        let [maker, taker] = [maker_tier, taker_tier].map(|tier| self.rates(instrument, tier));
        fees(instrument, price, lots, [(maker, maker.maker_ppm), (taker, taker.taker_ppm)])
    }

    /// The fees of a trade in an auction, the buyer's and the seller's, likewise.
    #[cold]
    pub fn of_auction(&self, instrument: &Instrument, tiers: [u8; 2], price: i64, lots: u64) -> [i64; 2] {
        let rates = tiers.map(|tier| self.rates(instrument, tier));
        fees(instrument, price, lots, rates.map(|rates| (rates, rates.auction_ppm)))
    }

    pub fn schedule_places() -> usize {
        CLASSES * TIERS
    }

    pub fn has_schedules(&self) -> bool {
        self.schedules.iter().flatten().any(Option::is_some)
    }

    pub const fn has_assigned(&self) -> bool {
        self.assigned > 0
    }

    pub fn schedule_item(&self, at: usize) -> Option<ScheduleItem> {
        let (class, tier) = (at / TIERS, at % TIERS);
        self.schedules[class][tier].map(|rates| ScheduleItem {
            class: class as u8 + 1,
            tier: tier as u8,
            reserved: U16::ZERO,
            maker_ppm: rates.maker_ppm.into(),
            taker_ppm: rates.taker_ppm.into(),
            auction_ppm: rates.auction_ppm.into(),
            min: rates.min.into(),
            max: rates.max.into(),
        })
    }
}

/// What two sides pay at their rates; a rebate is no more than what the other pays.
fn fees(instrument: &Instrument, price: i64, lots: u64, sides: [(Rates, i32); 2]) -> [i64; 2] {
    let notional = instrument.notional(price, lots);
    let covered = lots * (instrument.lot_cost(price) - instrument.notional(price, 1));
    let [one, other] = sides.map(|(rates, ppm)| rates.fee(notional, ppm, covered));
    [one.max(-other.max(0)), other.max(-one.max(0))]
}

/// A schedule in a snapshot.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct ScheduleItem {
    class: u8,
    tier: u8,
    reserved: U16,
    maker_ppm: I32,
    taker_ppm: I32,
    auction_ppm: I32,
    min: U64,
    max: U64,
}

/// An instrument's class or an account's tier in a snapshot.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct FeeItem {
    /// 1 an instrument's class, 2 an account's tier.
    kind: u8,
    value: u8,
    reserved: U16,
    id: U32,
}

const _: () = assert!(size_of::<ScheduleItem>() == 32);
const _: () = assert!(size_of::<FeeItem>() == 8);

impl Engine {
    pub(crate) fn set_fees<S: Sink>(
        &mut self,
        context: &Context,
        message: &SetFees,
        permitted: Result<(), Reject>,
        sink: &mut S,
    ) -> Step {
        let rates = Rates {
            maker_ppm: message.maker_ppm.get(),
            taker_ppm: message.taker_ppm.get(),
            auction_ppm: message.auction_ppm.get(),
            min: message.min.get(),
            max: message.max.get(),
        };
        let done = permitted.and_then(|()| self.put_fees(message.class, message.tier, rates));
        reply_admin(context, message.class.into(), done, sink)
    }

    fn put_fees(&mut self, class: u8, tier: u8, rates: Rates) -> Result<(), Reject> {
        if !rates.is_valid() {
            return Err(Reject::FeeInvalid);
        }
        let mut concerned = self.instruments.iter().flatten().filter(|it| it.fee_class == class);
        if concerned.any(|instrument| rates.highest() > instrument.worst_ppm) {
            return Err(Reject::FeeAboveTerms);
        }
        self.fees.schedules[usize::from(class) - 1][usize::from(tier)] = Some(rates);
        Ok(())
    }

    pub(crate) fn set_fee_class<S: Sink>(
        &mut self,
        context: &Context,
        message: &SetFeeClass,
        permitted: Result<(), Reject>,
        sink: &mut S,
    ) -> Step {
        let id = message.instrument.get();
        let done = permitted.and_then(|()| self.put_fee_class(id, message.class));
        reply_admin(context, id, done, sink)
    }

    fn put_fee_class(&mut self, id: u32, class: u8) -> Result<(), Reject> {
        let instrument = self.instrument(id)?;
        if let Some(at) = usize::from(class).checked_sub(1) {
            let mut schedules = self.fees.schedules[at].iter().flatten();
            if schedules.any(|rates| rates.highest() > instrument.worst_ppm) {
                return Err(Reject::FeeAboveTerms);
            }
        }
        let place = &mut live_mut(&mut self.instruments, id as u16).fee_class;
        let previous = std::mem::replace(place, class);
        self.fees.assigned += u32::from(class != 0);
        self.fees.assigned -= u32::from(previous != 0);
        Ok(())
    }

    pub(crate) fn set_fee_tier<S: Sink>(
        &mut self,
        context: &Context,
        message: &SetFeeTier,
        permitted: Result<(), Reject>,
        sink: &mut S,
    ) -> Step {
        let id = message.account.get();
        let done = permitted.and_then(|()| self.check_scope(Scope::Account, id));
        if done.is_ok() {
            self.put_fee_tier(id, message.tier);
        }
        reply_admin(context, id, done, sink)
    }

    fn put_fee_tier(&mut self, id: u32, tier: u8) {
        let previous = std::mem::replace(&mut self.accounts[id as usize].fee_tier, tier);
        self.fees.assigned += u32::from(tier != 0);
        self.fees.assigned -= u32::from(previous != 0);
    }

    pub(crate) fn fees_answer(
        &self,
        context: &Context,
        checked: Result<(), Reject>,
        query: &FeesQuery,
    ) -> FeesAnswer {
        let found = checked
            .and_then(|()| self.granted(context, query.account.get()))
            .and_then(|account| Ok((account, self.instrument(query.instrument.get())?)));
        let blank = FeesAnswer {
            tag: FeesAnswer::TAG,
            schema: Schema::V1,
            code: Reject::to_wire(found.err()),
            account: query.account,
            instrument: query.instrument,
            class: 0,
            tier: 0,
            reserved: [Zero::Zero; 2],
            maker_ppm: 0.into(),
            taker_ppm: 0.into(),
            auction_ppm: 0.into(),
            reserved2: [Zero::Zero; 4],
            min: 0.into(),
            max: 0.into(),
        };
        found.map_or(blank, |(account, instrument)| {
            let rates = self.fees.rates(instrument, account.fee_tier);
            FeesAnswer {
                class: instrument.fee_class,
                tier: account.fee_tier,
                maker_ppm: rates.maker_ppm.into(),
                taker_ppm: rates.taker_ppm.into(),
                auction_ppm: rates.auction_ppm.into(),
                min: rates.min.into(),
                max: rates.max.into(),
                ..blank
            }
        })
    }

    /// Instruments, then accounts.
    pub(crate) fn fee_places(&self) -> usize {
        self.instruments.len() + self.accounts.len()
    }

    pub(crate) fn fee_item(&self, at: usize) -> Option<FeeItem> {
        let (kind, id, value) = match at.checked_sub(self.instruments.len()) {
            None => (1, at as u32 + 1, self.instruments[at].as_ref().map_or(0, |it| it.fee_class)),
            Some(account) => (2, account as u32, self.accounts[account].fee_tier),
        };
        (value != 0).then(|| FeeItem { kind, value, reserved: U16::ZERO, id: id.into() })
    }

    pub(crate) fn load_fee_schedule(&mut self, item: &ScheduleItem) -> Result<(), &'static str> {
        let (class, tier) = (item.class, item.tier);
        let rates = Rates {
            maker_ppm: item.maker_ppm.get(),
            taker_ppm: item.taker_ppm.get(),
            auction_ppm: item.auction_ppm.get(),
            min: item.min.get(),
            max: item.max.get(),
        };
        let named = (1..=FEE_CLASS_MAX).contains(&class) && tier <= FEE_TIER_MAX;
        let new = named
            && item.reserved == U16::ZERO
            && self.fees.schedules[usize::from(class) - 1][usize::from(tier)].is_none();
        if new && self.put_fees(class, tier, rates).is_ok() {
            Ok(())
        } else {
            Err("a fee schedule is not valid")
        }
    }

    pub(crate) fn load_fee(&mut self, item: &FeeItem) -> Result<(), &'static str> {
        let (id, value) = (item.id.get(), item.value);
        let loaded = value != 0
            && item.reserved == U16::ZERO
            && match item.kind {
                1 => {
                    let new = self.instrument(id).is_ok_and(|instrument| instrument.fee_class == 0);
                    new && value <= FEE_CLASS_MAX && self.put_fee_class(id, value).is_ok()
                }
                2 => {
                    let known = self.check_scope(Scope::Account, id).is_ok() && value <= FEE_TIER_MAX;
                    let new = known && self.accounts[id as usize].fee_tier == 0;
                    if new {
                        self.put_fee_tier(id, value);
                    }
                    new
                }
                _ => false,
            };
        if loaded { Ok(()) } else { Err("a fee class or tier is not valid") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Rates = Rates { maker_ppm: 0, taker_ppm: 0, auction_ppm: 0, min: 0, max: NO_LIMIT };

    #[test]
    fn a_charge_has_bounds() {
        let bounded = Rates { min: 5, max: 20, ..NONE };
        let check = |notional: u64, ppm: i32, covered: u64, expected: i64| {
            assert_eq!(bounded.fee(notional, ppm, covered), expected, "{notional} at {ppm}");
        };
        check(1, 0, 1_000, 5);
        check(1_000, 1, 1_000, 5);
        check(1_000_000, 6, 1_000, 6);
        check(1_000_001, 6, 1_000, 7);
        check(1_000_000, 21, 1_000, 20);
        check(1, 1, 3, 3);
        // A rebate has none, and rounds towards zero.
        check(1_999_999, -1, 0, -1);
        check(1_000_000, -21, 0, -21);
    }
}
