//! What may be done in instruments, and operators who change that.

use crate::engine::{Work, permitted};
use crate::{Context, Engine, STEP_OUTPUTS_MAX, Sink, Step, admin::reply_admin};
use ordain_exchange_protocol::{Audience, IntoBytes, MarketState, Schema, SetState, StateReport, permission};

/// Most instruments that a step looks at, most of which may not exist.
const STEP_INSTRUMENTS: usize = 1 << 12;

/// A change of the state of all instruments under way.
#[derive(Clone, Copy)]
pub(crate) struct Change {
    context: Context,
    state: MarketState,
    /// How many instruments were looked at.
    next: usize,
}

impl Engine {
    pub(crate) fn set_state<S: Sink>(&mut self, context: &Context, message: &SetState, sink: &mut S) -> Step {
        let id = message.instrument.get();
        let checked = permitted(context, permission::ADMIN).and_then(|()| match id {
            0 => Ok(()),
            id => self.instrument(id).map(|_| ()),
        });
        if checked.is_ok() && id == 0 {
            return self.change_states(Change { context: *context, state: message.state, next: 0 }, sink);
        }
        if checked.is_ok() {
            self.change_state(context, id as usize - 1, message.state, sink);
        }
        reply_admin(context, id, checked, sink)
    }

    /// One step of a change of all.
    pub(crate) fn change_states<S: Sink>(&mut self, mut change: Change, sink: &mut S) -> Step {
        let (mut room, end) = (STEP_OUTPUTS_MAX, change.next + STEP_INSTRUMENTS);
        while room > 0 && change.next < self.instruments.len().min(end) {
            let changed = self.change_state(&change.context, change.next, change.state, sink);
            room -= usize::from(changed);
            change.next += 1;
        }
        if change.next == self.instruments.len() {
            return reply_admin(&change.context, 0, Ok(()), sink);
        }
        self.work = Some(Work::States(change));
        Step::More
    }

    /// Says whether that changed anything.
    fn change_state<S: Sink>(
        &mut self,
        context: &Context,
        at: usize,
        state: MarketState,
        sink: &mut S,
    ) -> bool {
        let Some(instrument) = &mut self.instruments[at] else { return false };
        let previous = std::mem::replace(&mut instrument.state, state);
        if previous == state {
            return false;
        }
        let id = at as u32 + 1;
        let report = StateReport {
            tag: StateReport::TAG,
            schema: Schema::V1,
            state,
            previous,
            instrument: id.into(),
            seq: context.seq.into(),
            time: context.time.into(),
        };
        sink.output(Audience::Instrument(id), report.as_bytes());
        true
    }
}
