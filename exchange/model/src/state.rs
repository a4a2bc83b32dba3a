//! States of instruments, and what may be done in them.

use crate::command::Command;
use crate::instrument::at_or_better;
use crate::{Model, Order, ensure};
use ordain_exchange_protocol::{
    Amend2, MarketState, NewOrder2, OrderType, PostOnly, Reject, SetState, permission,
};

impl Model {
    /// What may be done in an instrument.
    #[must_use]
    pub fn state(&self, instrument: u32) -> MarketState {
        self.states.get(&instrument).copied().unwrap_or(MarketState::Continuous)
    }

    pub(crate) fn set_state(&mut self, command: &mut Command, request: &SetState) -> Result<(), Reject> {
        let named = request.instrument.get();
        command.context.may(permission::ADMIN)?;
        ensure(named == 0 || self.instruments.contains_key(&named), Reject::UnknownInstrument)?;
        let ids: Vec<u32> = self.instruments().filter(|id| named == 0 || *id == named).collect();
        for id in ids {
            let before = self.state(id);
            if before != request.state {
                self.change_state(command, id, before, request.state);
            }
        }
        Ok(())
    }

    pub(crate) fn state_admits(&self, request: &NewOrder2) -> Result<(), Reject> {
        match self.state(request.instrument.get()) {
            MarketState::Halted => Err(Reject::MarketHalted),
            MarketState::CancelOnly => Err(Reject::MarketCancelOnly),
            MarketState::PostOnly => ensure(
                request.post_only != PostOnly::No
                    || request.order_type.waits()
                    || request.time_in_force.is_for_auction(),
                Reject::MarketPostOnly,
            ),
            MarketState::Closed => Err(Reject::MarketClosed),
            state if state.gathers() => {
                let at_once = request.time_in_force.is_immediate()
                    || request.order_type == OrderType::MarketToLimit
                    || request.post_only != PostOnly::No;
                ensure(!at_once, Reject::AuctionGathers)
            }
            MarketState::Continuous => Ok(()),
            _ => unreachable!("no instrument has another"),
        }
    }

    /// Whether the state lets an order be amended as it is asked, before anything else of that is looked at.
    pub(crate) fn state_admits_amend(&self, order: &Order, request: &Amend2) -> Result<(), Reject> {
        match self.state(order.instrument) {
            MarketState::Halted => Err(Reject::MarketHalted),
            MarketState::Closed => Err(Reject::MarketClosed),
            MarketState::CancelOnly => ensure(order.is_only_made_smaller(request), Reject::MarketCancelOnly),
            _ => Ok(()),
        }
    }

    /// Whether the state lets an order of the book move to a price.
    pub(crate) fn state_admits_price(&self, order: &Order, price: i128) -> Result<(), Reject> {
        let best = self.best_price(order.instrument, order.side.opposite());
        let crosses = best.is_some_and(|best| at_or_better(order.side, price, best));
        ensure(!(self.state(order.instrument) == MarketState::PostOnly && crosses), Reject::MarketPostOnly)
    }
}
