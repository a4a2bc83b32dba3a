//! Administration: instruments, accounts, grants.

use crate::custody::SUPPLY_MAX;
use crate::engine::permitted;
use crate::instrument::{Instrument, live_mut};
use crate::ledger::fee;
use crate::{Context, Engine, Sink, Step};
use ordain_exchange_protocol::{
    AdminReply, CreateAccount, CreateInstrument, Definition, Grant, GrantAction, IntoBytes, Reject, Schema,
    SetGroup, SetSelfTrade, permission,
};

/// Most decimals of a price or quantity in text.
const DECIMALS_MAX: u8 = 18;
/// 100 %.
pub(crate) const FEE_MAX: u32 = 1_000_000;

impl Engine {
    pub(crate) fn create_instrument<S: Sink>(
        &mut self,
        context: &Context,
        message: &CreateInstrument,
        sink: &mut S,
    ) -> Step {
        let definition = &message.definition;
        let id = definition.instrument.get();
        let checked = permitted(context, permission::ADMIN).and_then(|()| self.check_definition(definition));
        if checked.is_ok() {
            self.add_instrument(definition);
        }
        reply_admin(context, id, checked, sink)
    }

    /// Adds an instrument whose definition was checked.
    pub(crate) fn add_instrument(&mut self, definition: &Definition) {
        let id = definition.instrument.get();
        self.definitions[id as usize - 1] = *definition;
        self.instruments[id as usize - 1] = Some(Instrument::new(definition, self.levels.ladders(id)));
        self.instrument_count += 1;
    }

    pub(crate) fn check_definition(&self, definition: &Definition) -> Result<(), Reject> {
        let id = definition.instrument.get();
        if !(1..=self.limits.instruments).contains(&id) {
            return Err(Reject::InstrumentOutOfRange);
        }
        if self.instrument(id).is_ok() {
            return Err(Reject::InstrumentExists);
        }
        if self.definitions.iter().any(|other| other.symbol == definition.symbol) {
            return Err(Reject::SymbolTaken);
        }
        self.check_currency(definition.base.get())?;
        self.check_currency(definition.quote.get())?;
        if definition.base == definition.quote {
            return Err(Reject::SameCurrency);
        }
        let (scale, base_per_lot) = (definition.quote_per_tick_lot.get(), definition.base_per_lot.get());
        if scale == 0
            || base_per_lot == 0
            || definition.tick.get() == 0
            || definition.lot.get() == 0
            || definition.price_decimals.max(definition.quantity_decimals) > DECIMALS_MAX
        {
            return Err(Reject::ScaleInvalid);
        }
        let max_quantity = definition.max_quantity.get();
        if !(1..=max_quantity).contains(&definition.min_quantity.get()) {
            return Err(Reject::QuantityLimitsInvalid);
        }
        let max_price = definition.max_price.get();
        if max_price < 1 || !(0..=max_price).contains(&definition.collar.get()) {
            return Err(Reject::PriceLimitsInvalid);
        }
        let (maker, taker) = (definition.maker_ppm.get(), definition.taker_ppm.get());
        if maker.unsigned_abs().max(taker.unsigned_abs()) > FEE_MAX || maker + taker < 0 {
            return Err(Reject::FeeInvalid);
        }
        let limit = u128::from(SUPPLY_MAX);
        let lot = u128::from(max_price.unsigned_abs()) * u128::from(scale);
        let fits = lot <= limit && {
            let worst = fee(lot as u64, maker.max(taker).max(0)) as u128;
            (lot + worst) * u128::from(max_quantity) <= limit
        };
        if !fits || u128::from(max_quantity) * u128::from(base_per_lot) > limit {
            return Err(Reject::LimitsTooLarge);
        }
        Ok(())
    }

    pub(crate) fn create_account<S: Sink>(
        &mut self,
        context: &Context,
        message: &CreateAccount,
        sink: &mut S,
    ) -> Step {
        let id = message.account.get();
        let checked = permitted(context, permission::ADMIN).and_then(|()| {
            if !(1..=self.limits.accounts).contains(&id) {
                Err(Reject::AccountOutOfRange)
            } else if self.accounts[id as usize].exists {
                Err(Reject::AccountExists)
            } else {
                Ok(())
            }
        });
        if checked.is_ok() {
            self.accounts[id as usize].exists = true;
            self.account_count += 1;
        }
        reply_admin(context, id, checked, sink)
    }

    pub(crate) fn grant<S: Sink>(&mut self, context: &Context, message: &Grant, sink: &mut S) -> Step {
        let id = message.account.get();
        let done = permitted(context, permission::ADMIN).and_then(|()| self.change_grant(message));
        reply_admin(context, id, done, sink)
    }

    pub(crate) fn set_self_trade<S: Sink>(
        &mut self,
        context: &Context,
        message: &SetSelfTrade,
        sink: &mut S,
    ) -> Step {
        let id = message.instrument.get();
        let checked = permitted(context, permission::ADMIN).and_then(|()| self.instrument(id).map(|_| ()));
        if checked.is_ok() {
            live_mut(&mut self.instruments, id as u16).self_trade = message.self_trade;
        }
        reply_admin(context, id, checked, sink)
    }

    pub(crate) fn set_group<S: Sink>(&mut self, context: &Context, message: &SetGroup, sink: &mut S) -> Step {
        let id = message.account.get();
        let done = permitted(context, permission::ADMIN).and_then(|()| {
            let account = self.accounts.get_mut(id as usize).filter(|account| account.exists && id != 0);
            account.ok_or(Reject::UnknownAccount)?.group = message.group.get();
            Ok(())
        });
        reply_admin(context, id, done, sink)
    }

    fn change_grant(&mut self, message: &Grant) -> Result<(), Reject> {
        let (id, key) = (message.account.get(), message.key.get());
        let account = self.accounts.get_mut(id as usize).filter(|account| account.exists && id != 0);
        let account = account.ok_or(Reject::UnknownAccount)?;
        match message.action {
            GrantAction::Grant if !account.keys.insert(key) => return Err(Reject::GrantsFull),
            GrantAction::Grant => {}
            GrantAction::Revoke => account.keys.remove(key),
        }
        Ok(())
    }
}

impl Engine {
    /// What an operator says beside the next command is for those who read the log.
    pub(crate) fn remark<S: Sink>(&mut self, context: &Context, sink: &mut S) -> Step {
        let may = context.permissions & (permission::ADMIN | permission::CUSTODY) != 0;
        let result = match (may, self.level) {
            (false, _) => Err(Reject::NotPermitted),
            (true, 0) => Err(Reject::NotBegun),
            (true, _) => Ok(()),
        };
        reply_admin(context, 0, result, sink)
    }
}

pub(crate) fn reply_admin<S: Sink>(
    context: &Context,
    subject: u32,
    result: Result<(), Reject>,
    sink: &mut S,
) -> Step {
    let reply = AdminReply {
        tag: AdminReply::TAG,
        schema: Schema::V1,
        code: Reject::to_wire(result.err()),
        subject: subject.into(),
        seq: context.seq.into(),
        time: context.time.into(),
    };
    sink.reply(reply.as_bytes());
    Step::Done
}
