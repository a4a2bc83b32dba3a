//! Fee schedules, and what a fill costs.

use crate::instrument::fee;
use crate::message::Message;
use crate::{Context, Instrument, Model, code, ensure};
use ordain_exchange_protocol::{FeesQuery, Reject, SetFeeClass, SetFeeTier, SetFees, permission};

/// Rates in parts per million, and the least and highest charge of a fill.
#[derive(Clone, Copy)]
pub struct Schedule {
    maker: i128,
    taker: i128,
    auction: i128,
    min: i128,
    /// 2^64 - 1 for none.
    max: i128,
}

/// As what an account trades.
#[derive(Clone, Copy)]
pub enum Role {
    Maker,
    Taker,
    Auction,
}

impl Schedule {
    fn of_terms(instrument: &Instrument) -> Self {
        Self {
            maker: instrument.maker_ppm,
            taker: instrument.taker_ppm,
            auction: instrument.maker_ppm.max(instrument.taker_ppm),
            min: 0,
            max: u64::MAX.into(),
        }
    }

    fn highest(&self) -> i128 {
        self.maker.max(self.taker).max(self.auction)
    }
}

/// No rate may be above this.
fn bound(instrument: &Instrument) -> i128 {
    instrument.maker_ppm.max(instrument.taker_ppm).max(0)
}

impl Model {
    fn class(&self, instrument: u32) -> u8 {
        self.fee_classes.get(&instrument).copied().unwrap_or(0)
    }

    fn tier(&self, account: u32) -> u8 {
        self.fee_tiers.get(&account).copied().unwrap_or(0)
    }

    fn schedule(&self, account: u32, instrument: &Instrument) -> Schedule {
        let class = self.class(instrument.id);
        let of_tier = |tier: u8| self.schedules.get(&(class, tier)).copied();
        of_tier(self.tier(account)).or(of_tier(0)).unwrap_or(Schedule::of_terms(instrument))
    }

    fn fee_of_one(
        &self,
        instrument: &Instrument,
        (account, role): (u32, Role),
        price: i128,
        lots: i128,
    ) -> i128 {
        let schedule = self.schedule(account, instrument);
        let rate = match role {
            Role::Maker => schedule.maker,
            Role::Taker => schedule.taker,
            Role::Auction => schedule.auction,
        };
        let charge = fee(instrument.notional(price, lots), rate);
        if rate < 0 {
            return charge;
        }
        let charge = charge.max(schedule.min);
        let charge = if schedule.max == u64::MAX.into() { charge } else { charge.min(schedule.max) };
        charge.min(lots * (instrument.lot_cost(price) - instrument.notional(price, 1)))
    }

    /// What a fill costs the two who trade; negative is a rebate.
    pub(crate) fn fees(
        &self,
        instrument: &Instrument,
        one: (u32, Role),
        other: (u32, Role),
        price: i128,
        lots: i128,
    ) -> (i128, i128) {
        let (one, other) =
            (self.fee_of_one(instrument, one, price, lots), self.fee_of_one(instrument, other, price, lots));
        if one + other >= 0 { (one, other) } else { (one.max(-other.max(0)), other.max(-one.max(0))) }
    }

    pub(crate) fn set_fees(&mut self, context: &Context, request: &SetFees) -> Result<(), Reject> {
        context.may(permission::ADMIN)?;
        let schedule = Schedule {
            maker: request.maker_ppm.get().into(),
            taker: request.taker_ppm.get().into(),
            auction: request.auction_ppm.get().into(),
            min: request.min.get().into(),
            max: request.max.get().into(),
        };
        let rates = [schedule.maker, schedule.taker, schedule.auction];
        let sound = rates.iter().all(|rate| rate.abs() <= 1_000_000) && schedule.min <= schedule.max;
        ensure(sound, Reject::FeeInvalid)?;
        let in_class = self.instruments.values().filter(|it| self.class(it.id) == request.class);
        let fits = in_class.map(bound).all(|bound| schedule.highest() <= bound);
        ensure(fits, Reject::FeeAboveTerms)?;
        self.schedules.insert((request.class, request.tier), schedule);
        Ok(())
    }

    pub(crate) fn set_fee_class(&mut self, context: &Context, request: &SetFeeClass) -> Result<(), Reject> {
        context.may(permission::ADMIN)?;
        let id = request.instrument.get();
        let instrument = self.instruments.get(&id).ok_or(Reject::UnknownInstrument)?;
        let of_class = self.schedules.iter().filter(|(key, _)| key.0 == request.class);
        let fits = of_class.map(|(_, schedule)| schedule.highest()).all(|rate| rate <= bound(instrument));
        ensure(fits, Reject::FeeAboveTerms)?;
        self.fee_classes.insert(id, request.class);
        Ok(())
    }

    pub(crate) fn set_fee_tier(&mut self, context: &Context, request: &SetFeeTier) -> Result<(), Reject> {
        context.may(permission::ADMIN)?;
        let account = request.account.get();
        ensure(self.accounts.contains_key(&account), Reject::UnknownAccount)?;
        self.fee_tiers.insert(account, request.tier);
        Ok(())
    }

    pub(crate) fn fees_answer(&self, context: &Context, query: &FeesQuery) -> Vec<u8> {
        let (account, id) = (query.account.get(), query.instrument.get());
        let result = self
            .may_see_trader(account, context)
            .and_then(|()| self.instruments.get(&id).ok_or(Reject::UnknownInstrument));
        let answer = Message::new(0xAF, 48).put(2, 2, code(&result)).put(4, 4, account).put(8, 4, id);
        let Ok(instrument) = result else { return answer.bytes() };
        let schedule = self.schedule(account, instrument);
        answer
            .put(12, 1, self.class(id))
            .put(13, 1, self.tier(account))
            .put(16, 4, schedule.maker)
            .put(20, 4, schedule.taker)
            .put(24, 4, schedule.auction)
            .put(32, 8, schedule.min)
            .put(40, 8, schedule.max)
            .bytes()
    }
}
