//! What may be done in instruments, and how that changes: auctions end, orders end or join, a price sets others off.

use crate::day::{Ends, Pass, Walk};
use crate::engine::{Work, permitted};
use crate::instrument::{live, live_mut};
use crate::matching::Event;
use crate::uncross::Uncross;
use crate::waiting::Cascade;
use crate::{Context, Engine, Sink, Step, admin::reply_admin};
use ordain_exchange_protocol::{Audience, IntoBytes, MarketState, Schema, SetState, StateReport, permission};

/// Most instruments that a step looks at, most of which may not exist.
const STEP_INSTRUMENTS: usize = 1 << 12;

/// A command that changes states under way.
#[derive(Clone, Copy)]
pub(crate) struct Change {
    event: Event,
    state: MarketState,
    /// As the command has it; 0 for all.
    subject: u32,
    /// Instruments still to be looked at.
    next: u32,
    last: u32,
    turn: Option<Turn>,
}

/// A change of an instrument's state under way.
#[derive(Clone, Copy)]
pub(crate) struct Turn {
    instrument: u16,
    state: MarketState,
    phase: Phase,
    /// A band brings it about.
    pause: bool,
}

impl Turn {
    /// Into an auction, because a band was reached.
    pub const fn to_pause(instrument: u16) -> Self {
        Self { instrument, state: MarketState::VolatilityAuction, phase: Phase::Switch, pause: true }
    }
}

#[derive(Clone, Copy)]
enum Phase {
    Uncross(Uncross),
    /// Orders of the auction that is over end.
    EndAuction(Walk),
    Switch,
    /// Orders end or join.
    Walk(Walk),
    Tell,
    SetOff(Cascade),
}

impl Engine {
    pub(crate) fn set_state<S: Sink>(&mut self, context: &Context, message: &SetState, sink: &mut S) -> Step {
        let id = message.instrument.get();
        let checked = permitted(context, permission::ADMIN).and_then(|()| match id {
            0 => Ok(()),
            id => self.instrument(id).map(|_| ()),
        });
        if checked.is_err() {
            return reply_admin(context, id, checked, sink);
        }
        let (next, last) = if id == 0 { (1, self.limits.instruments) } else { (id, id) };
        let event = Event::new(context);
        self.change_states(Change { event, state: message.state, subject: id, next, last, turn: None }, sink)
    }

    /// One step of a change of states.
    pub(crate) fn change_states<S: Sink>(&mut self, mut change: Change, sink: &mut S) -> Step {
        let mut room = self.step_room();
        for _ in 0..STEP_INSTRUMENTS {
            if let Some(turn) = &mut change.turn {
                if self.turn(turn, &mut change.event, &mut room, sink) == Step::More {
                    break;
                }
                change.turn = None;
            } else if change.next > change.last {
                return reply_admin(&change.event.context, change.subject, Ok(()), sink);
            } else {
                if self.instrument(change.next).is_ok() {
                    change.turn = self.begin_turn(change.next as u16, change.state, &change.event);
                }
                change.next += 1;
            }
        }
        self.work = Some(Work::States(change));
        Step::More
    }

    /// `None` if the instrument is in this state already.
    pub(crate) fn begin_turn(&self, instrument: u16, state: MarketState, event: &Event) -> Option<Turn> {
        let previous = live(&self.instruments, instrument).state;
        if previous == state {
            return None;
        }
        // A halt ends no auction: nothing trades out of it but by going on to trade.
        let uncrosses = match state {
            MarketState::Continuous | MarketState::PostOnly => true,
            MarketState::Closed => previous.is_auction(),
            _ => false,
        };
        let phase = if uncrosses && self.call(instrument).under_way {
            Phase::Uncross(self.begin_uncross(instrument, event))
        } else {
            Phase::Switch
        };
        Some(Turn { instrument, state, phase, pause: false })
    }

    /// Goes on while there is room for outputs. `Done` when all is as the new state wants it.
    pub(crate) fn turn<S: Sink>(
        &mut self,
        turn: &mut Turn,
        event: &mut Event,
        room: &mut usize,
        sink: &mut S,
    ) -> Step {
        let Turn { instrument, state, .. } = *turn;
        loop {
            let next = match &mut turn.phase {
                Phase::Uncross(uncross) => {
                    if self.uncross(uncross, event, room, sink) == Step::More {
                        return Step::More;
                    }
                    Phase::EndAuction(self.walk(instrument, Ends::WithAuction, Pass::EndOfAuction))
                }
                Phase::EndAuction(walk) => {
                    if self.walk_on(walk, event, room, sink) == Step::More {
                        return Step::More;
                    }
                    Phase::Switch
                }
                Phase::Switch => {
                    if *room == 0 {
                        return Step::More;
                    }
                    *room -= 1;
                    self.switch(instrument, state, &event.context, sink);
                    match state {
                        MarketState::Closed => {
                            Phase::Walk(self.walk(instrument, Ends::WithDay, Pass::EndOfDay))
                        }
                        state if state.is_auction() => {
                            Phase::Walk(self.walk(instrument, Ends::WithAuction, Pass::Join))
                        }
                        MarketState::Continuous => {
                            let Some(cascade) = self.begin_set_off(instrument, event) else {
                                return Step::Done;
                            };
                            Phase::SetOff(cascade)
                        }
                        _ => return Step::Done,
                    }
                }
                Phase::Walk(walk) => {
                    let pass = walk.pass;
                    if self.walk_on(walk, event, room, sink) == Step::More {
                        return Step::More;
                    }
                    let rest = self.walk(instrument, Ends::WithAuction, Pass::EndOfDay);
                    match pass {
                        Pass::EndOfDay if !rest.is_done() => Phase::Walk(rest),
                        Pass::EndOfDay => return Step::Done,
                        _ => {
                            self.book_changed(instrument);
                            Phase::Tell
                        }
                    }
                }
                Phase::Tell => {
                    if self.tell_changes(&event.context, room, sink) == Step::More || *room == 0 {
                        return Step::More;
                    }
                    if turn.pause {
                        *room -= 1;
                        self.call_until(instrument, event.context.time, &event.context, sink);
                    }
                    return Step::Done;
                }
                Phase::SetOff(cascade) => {
                    let step = self.set_off(cascade, room, sink);
                    (event.trades, event.meetings) = (cascade.event.trades, cascade.event.meetings);
                    if step == Step::Done && cascade.paused {
                        let reached = cascade.event;
                        *turn = self.pause(&reached, instrument);
                        return Step::More;
                    }
                    return step;
                }
            };
            turn.phase = next;
        }
    }

    /// Sets a state and says so.
    fn switch<S: Sink>(&mut self, id: u16, state: MarketState, context: &Context, sink: &mut S) {
        let instrument = live_mut(&mut self.instruments, id);
        let previous = std::mem::replace(&mut instrument.state, state);
        let last = instrument.last;
        let call = self.call_mut(id);
        if state.gathers() {
            let begins =
                matches!(previous, MarketState::Continuous | MarketState::PostOnly | MarketState::Closed);
            if begins || !call.under_way {
                let opens = matches!(state, MarketState::PreOpen | MarketState::OpeningAuction);
                let (first, second) =
                    if opens { (call.day_reference, last) } else { (last, call.day_reference) };
                call.reference = if first == 0 { second } else { first };
            }
            call.under_way = true;
        }
        let timed = call.until != 0;
        (call.until, call.extended) = (0, 0);
        if !state.is_auction() {
            call.said = crate::auction::Indication::NONE;
        }
        if timed {
            self.set_timers();
        }
        let report = StateReport {
            tag: StateReport::TAG,
            schema: Schema::V1,
            state,
            previous,
            instrument: u32::from(id).into(),
            seq: context.seq.into(),
            time: context.time.into(),
        };
        sink.output(Audience::Instrument(id.into()), report.as_bytes());
    }

    /// What the prices of auctions set off, now that there may be trades.
    fn begin_set_off(&mut self, id: u16, event: &Event) -> Option<Cascade> {
        let call = self.call_mut(id);
        let (low, high) = (call.low, call.high);
        (call.low, call.high) = (0, 0);
        let event = Event { low, high, ..*event };
        (low > 0).then_some(Cascade { event, instrument: id, taker: None, paused: false })
    }
}
