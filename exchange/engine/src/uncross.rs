//! The trades of an auction: one price, the best orders of both sides first.

use crate::auction::Indication;
use crate::bands::Bands;
use crate::feed::left_in_place;
use crate::instrument::{live, live_mut};
use crate::ledger::fee;
use crate::levels::key;
use crate::matching::{Event, with_fee};
use crate::{Engine, Sink, Step};
use ordain_exchange_protocol::{
    AuctionReport, Audience, FillReport, Flag, IntoBytes, OrderState, Reason, Schema, Side, Zero,
};

/// Outputs of a trade in an auction.
const CROSS_OUTPUTS: usize = 2;

/// An auction's trades under way.
#[derive(Clone, Copy)]
pub(crate) struct Uncross {
    instrument: u16,
    /// What was to be traded.
    found: Indication,
    /// Trades of the command before the first of these.
    first: u32,
}

impl Engine {
    /// Settles the price at which an instrument is uncrossed.
    pub(crate) fn begin_uncross(&self, instrument: u16, event: &Event) -> Uncross {
        Uncross { instrument, found: self.indication(instrument), first: event.trades }
    }

    /// Lets orders trade while there is room for outputs. `Done` when the auction is over and that is said.
    pub(crate) fn uncross<S: Sink>(
        &mut self,
        uncross: &Uncross,
        event: &mut Event,
        room: &mut usize,
        sink: &mut S,
    ) -> Step {
        let Uncross { instrument, found, first } = *uncross;
        while found.price > 0 && *room >= CROSS_OUTPUTS {
            let next = |side| self.next_in_turn(instrument, side, found.price);
            let (Some(buy), Some(sell)) = (next(Side::Buy), next(Side::Sell)) else { break };
            self.cross(buy, sell, found.price, event, sink);
            *room -= CROSS_OUTPUTS;
            self.publish(room, sink);
        }
        if *room < CROSS_OUTPUTS {
            return Step::More;
        }
        let call = self.call_mut(instrument);
        call.under_way = false;
        if found.price > 0 {
            call.trade_at(found.price);
            let volume = u128::from(found.volume);
            let bands = &mut self.bands[usize::from(instrument) - 1];
            // Trades at prices from before the auction say nothing about those after it.
            bands.buckets = Bands::NONE.buckets;
            bands.note(event.context.time, found.price as u128 * volume, volume);
        }
        let report = AuctionReport {
            tag: AuctionReport::TAG,
            schema: Schema::V1,
            side: found.side,
            state: live(&self.instruments, instrument).state,
            instrument: u32::from(instrument).into(),
            price: found.price.into(),
            volume: found.volume.into(),
            imbalance: found.imbalance.into(),
            seq: event.context.seq.into(),
            time: event.context.time.into(),
            trades: (event.trades - first).into(),
            reserved: [Zero::Zero; 4],
        };
        sink.output(Audience::Instrument(instrument.into()), report.as_bytes());
        *room -= 1;
        Step::Done
    }

    /// The order of a side that trades next at `price`: by its price, at the same price market orders first.
    fn next_in_turn(&self, instrument: u16, side: Side, price: i64) -> Option<u32> {
        let worst = key(side, price);
        let level = &self.call(instrument).market[side as usize - 1];
        let market = (level.orders > 0).then(|| (key(side, self.orders.get(level.head).price), level.head));
        let limit = self.levels.best(live(&self.instruments, instrument).ladder(side));
        let limit = limit.map(|(key, handle)| (key, self.levels.get(handle).head));
        let best = match (market, limit) {
            (Some(market), Some(limit)) if market.0 < limit.0 => limit,
            (Some(market), _) => market,
            (None, limit) => limit?,
        };
        (best.0 >= worst).then_some(best.1)
    }

    /// One trade between two orders in the book. Neither made the other wait, so both pay the same rate: the
    /// auction's of a schedule, or the higher of the instrument's own.
    fn cross<S: Sink>(&mut self, buy: u32, sell: u32, price: i64, event: &mut Event, sink: &mut S) {
        let (buyer, seller) = (*self.orders.get(buy), *self.orders.get(sell));
        let lots = buyer.remaining.min(seller.remaining);
        let instrument = live_mut(&mut self.instruments, buyer.instrument);
        instrument.last = price;
        let notional = price as u64 * lots * instrument.scale.get();
        let base = lots * instrument.base_per_lot;
        let fees @ [buyers, sellers] = if instrument.fee_class == 0 {
            [fee(notional, instrument.worst_ppm); 2]
        } else {
            let tiers = [buyer.account, seller.account].map(|id| self.accounts[id as usize].fee_tier);
            self.fees.of_auction(instrument, tiers, price, lots)
        };
        let (base_currency, quote) = (instrument.base, instrument.quote);
        let hold = lots * instrument.lot_cost(buyer.price);
        let ledger = &mut self.ledger;
        ledger.pay_held(ledger.at(buyer.account, quote), hold, with_fee(notional, buyers));
        ledger.pay_held(ledger.at(seller.account, base_currency), base, base);
        ledger.receive(ledger.at(buyer.account, base_currency), base);
        ledger.receive(ledger.at(seller.account, quote), with_fee(notional, -sellers));
        ledger.receive(ledger.at(0, quote), with_fee(0, buyers + sellers));
        for ((slot, order), charge) in [(buy, &buyer), (sell, &seller)].into_iter().zip(fees) {
            self.lots_close(order.account, order.instrument, order.side, order.price, lots);
            self.count_trade(order.account, order.instrument, order.side, lots);
            let (id, hidden) = (self.orders.id(slot), self.orders.hidden(slot));
            self.level_mut(slot).quantity -= lots;
            let now = self.orders.get_mut(slot);
            now.remaining -= lots;
            now.cumulative += lots;
            let (shown, cumulative) = (now.remaining, now.cumulative);
            self.note_order(slot, left_in_place(shown), event.trades + 1);
            let report = FillReport {
                tag: FillReport::TAG,
                schema: Schema::V1,
                reason: Reason::Fill,
                side: order.side,
                aggressor: Flag::No,
                state: if shown + hidden == 0 { OrderState::Filled } else { OrderState::Live },
                reserved: [Zero::Zero; 2],
                account: order.account.into(),
                instrument: u32::from(order.instrument).into(),
                order_id: id.into(),
                client_order_id: order.client_order_id.into(),
                cumulative: cumulative.into(),
                remaining: (shown + hidden).into(),
                price: price.into(),
                quantity: lots.into(),
                seq: event.context.seq.into(),
                time: event.context.time.into(),
                index: event.trades.into(),
                fee_currency: quote.into(),
                fee: charge.into(),
            };
            self.tell_account(order.account, &report, sink);
            if shown == 0 {
                self.shown_up(slot, hidden);
            }
        }
        event.trades += 1;
        self.trades += 1;
    }
}
