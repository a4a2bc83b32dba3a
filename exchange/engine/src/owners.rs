//! Orders of one owner that meet: what happens instead of a trade.

use crate::feed::left_in_place;
use crate::instrument::live;
use crate::matching::{End, Taker};
use crate::{Engine, Sink};
use ordain_exchange_protocol::{Flag, OrderState, PreventReport, Schema, SelfTrade, Zero};

impl Engine {
    /// The taker meets an order of its owner, at `slot`.
    #[cold]
    pub(crate) fn meet<S: Sink>(&mut self, taker: &mut Taker, slot: u32, sink: &mut S) {
        let (maker, maker_id, left) = (*self.orders.get(slot), self.orders.id(slot), self.orders.left(slot));
        let lots = taker.remaining.min(maker.remaining);
        let (of_maker, of_taker) = match taker.mode {
            SelfTrade::CancelTaker => (0, taker.remaining),
            SelfTrade::CancelMaker => (left, 0),
            SelfTrade::CancelBoth => (left, taker.remaining),
            SelfTrade::Decrement => (lots, lots),
            SelfTrade::Default | SelfTrade::Allow => unreachable!("these trade"),
        };
        let instrument = u32::from(taker.instrument);
        let context = taker.event.context;
        let state = |left| if left == 0 { OrderState::Cancelled } else { OrderState::Live };
        let report = PreventReport {
            tag: PreventReport::TAG,
            schema: Schema::V1,
            self_trade: taker.mode,
            side: maker.side,
            aggressor: Flag::No,
            state: state(left - of_maker),
            reserved: [Zero::Zero; 2],
            account: maker.account.into(),
            instrument: instrument.into(),
            order_id: maker_id.into(),
            client_order_id: maker.client_order_id.into(),
            cumulative: maker.cumulative.into(),
            remaining: (left - of_maker).into(),
            price: maker.price.into(),
            prevented: lots.into(),
            cancelled: of_maker.into(),
            seq: context.seq.into(),
            time: context.time.into(),
            index: taker.event.meetings.into(),
            reserved2: [Zero::Zero; 4],
        };
        self.tell_account(maker.account, &report, sink);
        taker.event.meetings += 1;
        taker.prevented += lots;
        taker.remaining -= of_taker;
        taker.cancelled += of_taker;
        if taker.remaining == 0 {
            taker.end = End::SelfTrade;
        }
        let report = PreventReport {
            side: taker.side,
            aggressor: Flag::Yes,
            state: state(taker.remaining),
            account: taker.account.into(),
            order_id: taker.order_id.into(),
            client_order_id: taker.client_order_id.into(),
            cumulative: taker.cumulative.into(),
            remaining: taker.remaining.into(),
            cancelled: of_taker.into(),
            ..report
        };
        self.tell_account(taker.account, &report, sink);
        if of_maker == left {
            self.close(slot);
        } else if of_maker > 0 {
            self.decrement(slot, of_maker);
        }
    }

    /// Takes lots that it shows from an order that has more.
    fn decrement(&mut self, slot: u32, lots: u64) {
        let hidden = self.orders.hidden(slot);
        let order = self.orders.get_mut(slot);
        order.remaining -= lots;
        let (shown, level) = (order.remaining, order.level);
        let (account, side, price, instrument) = (order.account, order.side, order.price, order.instrument);
        let (currency, hold) = live(&self.instruments, instrument).hold(side, price, lots);
        self.ledger.release(self.ledger.at(account, currency), hold);
        self.lots_close(account, instrument, side, price, lots);
        self.levels.get_mut(level).quantity -= lots;
        self.note_order(slot, left_in_place(shown), 0);
        if shown == 0 {
            self.shown_up(slot, hidden);
        }
    }

    /// What `quantity` lots of the other side can cost at worst that the order may trade with, its owner's orders
    /// being among them: none if they are not there, or not before it meets one that stops it.
    pub(crate) fn cost_beside_own(&self, taker: &Taker, quantity: u64) -> Option<u64> {
        let instrument = live(&self.instruments, taker.instrument);
        let ladder = instrument.ladder(taker.side.opposite());
        let skips = taker.mode == SelfTrade::CancelMaker;
        let (mut missing, mut cost) = (quantity, 0);
        let mut levels = self.levels.all(ladder);
        while missing > 0 {
            let (best, handle) = levels.next().filter(|(best, _)| *best >= taker.limit_key)?;
            let level = self.levels.get(handle);
            let (mut slot, mut shown, mut own, mut meets) = (level.head, 0, 0, false);
            while slot != crate::orders::NONE {
                let order = self.orders.get(slot);
                if !self.is_same_owner(taker.account, taker.group, order.account) {
                    shown += order.remaining;
                } else if skips {
                    own += self.orders.left(slot);
                } else {
                    meets = true;
                    break;
                }
                slot = order.next;
            }
            let there = if meets { shown } else { level.quantity + level.hidden - own };
            let lots = missing.min(there);
            cost += lots * instrument.lot_cost(best.abs());
            missing -= lots;
            if meets && missing > 0 {
                return None;
            }
        }
        Some(cost)
    }
}
