//! Orders that wait for a trade, and what a trade sets off.
//!
//! Those of an instrument that wait for a price to be reached from below (*up*) are one run of [`Levels`](crate::levels), by trigger,
//! those that wait for it from above (*down*) the other. Which side they trade on plays no part.

use crate::engine::Work;
use crate::instrument::{live, live_mut};
use crate::levels::key;
use crate::matching::{End, Event, MATCH_OUTPUTS, Outcome, Taker};
use crate::orders::{NONE, Order};
use crate::reply::Answer;
use crate::{Engine, Sink, Step};
use ordain_exchange_protocol::{OrderState, OrderType, Reason, Reject, Schema, Side, TriggerReport, Zero};

/// What a trade does to a price that an order waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// The order waits for a trade at its trigger or above.
    Up = 0,
    /// The order waits for a trade at its trigger or below.
    Down = 1,
}

impl Direction {
    pub const fn of(order_type: OrderType, side: Side) -> Self {
        let stop = matches!(order_type, OrderType::Stop | OrderType::StopLimit);
        match (stop, side) {
            (true, Side::Buy) | (false, Side::Sell) => Self::Up,
            _ => Self::Down,
        }
    }

    /// Key of a trigger: the best one is reached first.
    pub const fn key(self, trigger: i64) -> i64 {
        match self {
            Self::Up => -trigger,
            Self::Down => trigger,
        }
    }

    /// Whether a trade at `price` reaches the trigger.
    pub const fn is_met(self, trigger: i64, price: i64) -> bool {
        match self {
            Self::Up => price >= trigger,
            Self::Down => price <= trigger,
        }
    }
}

/// What trades set off, under way.
#[derive(Clone, Copy)]
pub(crate) struct Cascade {
    pub event: Event,
    pub instrument: u16,
    /// The order that trades now.
    pub taker: Option<Taker>,
    /// An order reached a band that brings about an auction: nothing more trades now.
    pub paused: bool,
}

impl Engine {
    /// Whether an order may begin to wait for `trigger`.
    pub(crate) fn check_wait(
        &self,
        instrument: u32,
        direction: Direction,
        trigger: i64,
        leaves_a_gap: bool,
    ) -> Result<(), Reject> {
        let last = self.instrument(instrument)?.last;
        if last != 0 && direction.is_met(trigger, last) {
            return Err(Reject::TriggerMet);
        }
        let queue = &self.queues[instrument as usize - 1][direction as usize];
        let known = self.triggers.find(queue, direction.key(trigger)).is_some();
        if self.triggers.is_full(queue) && !known && !leaves_a_gap {
            return Err(Reject::TriggersFull);
        }
        Ok(())
    }

    /// Lets an order wait that was just accepted, and whose extra says for what.
    pub(crate) fn wait(&mut self, taker: &Taker) {
        self.place(taker, taker.remaining);
        self.orders.get_mut(taker.slot).traits = taker.traits.waiting();
        let (currency, hold) = self.hold_of(taker.slot);
        self.ledger.hold(self.ledger.at(taker.account, currency), hold);
        self.lots_open(taker.account, taker.instrument, taker.side, taker.price, taker.remaining);
        self.enter_queue(taker.slot);
        self.list_new(taker.slot, taker.event.context.session);
    }

    pub(crate) fn direction(&self, slot: u32) -> Direction {
        Direction::of(self.orders.extras[slot as usize].order_type(), self.orders.get(slot).side)
    }

    pub(crate) fn enter_queue(&mut self, slot: u32) {
        if self.is_parked(slot) {
            let order = self.orders.get_mut(slot);
            (order.previous, order.next, order.level) = (NONE, NONE, NONE);
            return;
        }
        let direction = self.direction(slot);
        let at = usize::from(self.orders.get(slot).instrument) - 1;
        let queue = &mut self.queues[at][direction as usize];
        let key = direction.key(self.orders.extras[slot as usize].trigger);
        self.triggers.append(queue, key, &mut self.orders, slot);
        live_mut(&mut self.instruments, at as u16 + 1).waiting += 1;
    }

    pub(crate) fn leave_queue(&mut self, slot: u32) {
        if self.is_parked(slot) {
            return;
        }
        let direction = self.direction(slot);
        let at = usize::from(self.orders.get(slot).instrument) - 1;
        let queue = &mut self.queues[at][direction as usize];
        let key = direction.key(self.orders.extras[slot as usize].trigger);
        self.triggers.remove(queue, key, &mut self.orders, slot);
        live_mut(&mut self.instruments, at as u16 + 1).waiting -= 1;
    }

    /// What a taker's trades set off comes in the next step: this one may have made as many outputs as it may.
    #[cold]
    pub(crate) fn begin_cascade(&mut self, taker: &Taker, answer: Answer) -> Step {
        let cascade =
            Cascade { event: taker.event, instrument: taker.instrument, taker: None, paused: false };
        self.work = Some(Work::Cascade(cascade, answer));
        Step::More
    }

    /// One step of what a command's trades set off.
    pub(crate) fn cascade<S: Sink>(&mut self, mut cascade: Cascade, answer: Answer, sink: &mut S) -> Step {
        let mut room = self.step_room();
        if self.set_off(&mut cascade, &mut room, sink) == Step::More {
            self.work = Some(Work::Cascade(cascade, answer));
            return Step::More;
        }
        if cascade.paused {
            return self.begin_pause(cascade.event, cascade.instrument, answer);
        }
        self.answer(&answer, sink);
        Step::Done
    }

    /// Lets triggered orders trade while there is room for outputs. `Done` when there is none any more.
    pub(crate) fn set_off<S: Sink>(&mut self, cascade: &mut Cascade, room: &mut usize, sink: &mut S) -> Step {
        while *room >= MATCH_OUTPUTS {
            if let Some(taker) = &mut cascade.taker {
                if self.trade(taker, room, sink) == Step::More {
                    break;
                }
                cascade.event = taker.event;
                let mut taker = cascade.taker.take().expect("it is there");
                if taker.banded {
                    self.after_bands(&mut taker);
                }
                *room -= usize::from(self.finish_triggered(&taker, sink));
                self.publish(room, sink);
                if taker.end == End::Band && self.pauses(taker.instrument) {
                    cascade.paused = true;
                    return Step::Done;
                }
            } else if let Some(slot) = self.next_triggered(cascade.instrument, &cascade.event) {
                cascade.taker = Some(self.trigger(slot, cascade.event, sink));
                *room -= 1;
            } else {
                return Step::Done;
            }
        }
        Step::More
    }

    /// The order that is triggered next by trades between the event's lowest and highest price.
    fn next_triggered(&self, instrument: u16, event: &Event) -> Option<u32> {
        let queues = &self.queues[usize::from(instrument) - 1];
        let reached = |direction: Direction, price: i64| {
            let (key, level) = self.triggers.best(&queues[direction as usize])?;
            (key >= direction.key(price)).then(|| self.triggers.get(level).head)
        };
        reached(Direction::Up, event.high).or_else(|| reached(Direction::Down, event.low))
    }

    /// Takes an order out of its queue, and makes it the one that trades.
    fn trigger<S: Sink>(&mut self, slot: u32, event: Event, sink: &mut S) -> Taker {
        let (order, order_id) = (*self.orders.get(slot), self.orders.id(slot));
        self.release(slot);
        self.leave_queue(slot);
        let extra = &mut self.orders.extras[slot as usize];
        let (order_type, trigger) = (extra.order_type(), extra.trigger);
        extra.trigger = 0;
        extra.kind = OrderType::Limit as u8;
        let traits = order.traits.no_longer_waiting(extra.expiry != 0 || extra.day != 0);
        self.orders.get_mut(slot).traits = traits;
        let report = TriggerReport {
            tag: TriggerReport::TAG,
            schema: Schema::V1,
            order_type,
            side: order.side,
            reserved: [Zero::Zero; 4],
            account: order.account.into(),
            instrument: u32::from(order.instrument).into(),
            order_id: order_id.into(),
            client_order_id: order.client_order_id.into(),
            price: order.price.into(),
            remaining: order.remaining.into(),
            trigger: trigger.into(),
            seq: event.context.seq.into(),
            time: event.context.time.into(),
        };
        self.tell_account(order.account, &report, sink);
        let rests = order_type.has_price();
        let mut taker = Taker { event, traits, rests, ..self.taker_of(&order, order_id, slot) };
        if taker.banded {
            self.bind(&mut taker);
        }
        taker
    }

    /// An order that is out of its queue and holds nothing, as the one that trades.
    pub(crate) fn taker_of(&self, order: &Order, order_id: u64, slot: u32) -> Taker {
        Taker {
            event: Event::new(&crate::Context::default()),
            client_order_id: order.client_order_id,
            order_id,
            slot,
            account: order.account,
            group: self.accounts[order.account as usize].group,
            instrument: order.instrument,
            side: order.side,
            traits: order.traits,
            mode: live(&self.instruments, order.instrument).mode(order.traits.self_trade()),
            rests: true,
            budgeted: false,
            gathers: false,
            banded: live(&self.instruments, order.instrument).banded,
            end: End::Open,
            listed: true,
            second: false,
            price: order.price,
            limit_key: key(order.side.opposite(), order.price),
            remaining: order.remaining,
            cumulative: order.cumulative,
            cancelled: 0,
            prevented: 0,
            cash: 0,
            fills: 0,
            notional: 0,
            fee: 0,
        }
    }

    /// Rests or ends a triggered order; says whether that made a report.
    fn finish_triggered<S: Sink>(&mut self, taker: &Taker, sink: &mut S) -> bool {
        let ladder = live(&self.instruments, taker.instrument).ladder(taker.side);
        let has_room =
            !self.levels.is_full(ladder) || self.levels.find(ladder, key(taker.side, taker.price)).is_some();
        let turned_away = taker.rests && !has_room;
        let taker = &Taker { rests: taker.rests && has_room, ..*taker };
        let Outcome { state, reason, cancelled } = self.finish(taker);
        if state != OrderState::Cancelled || reason == Reason::SelfTrade {
            return false;
        }
        let order = Order {
            client_order_id: taker.client_order_id,
            price: taker.price,
            remaining: cancelled,
            cumulative: taker.cumulative,
            account: taker.account,
            instrument: taker.instrument,
            side: taker.side,
            ..Order::EMPTY
        };
        // One that a band stopped for good would not have come to stand anywhere.
        let stopped = taker.end == End::Band && !self.pauses(taker.instrument);
        let reason = if turned_away && !stopped { Reason::NoLevel } else { reason };
        self.report_closed(&taker.event.context, &order, taker.order_id, reason, sink);
        true
    }
}
