//! What happens to instruments at a time: schedules, calls of auctions that end.
//!
//! The next time of all is kept, so that asking for it costs nothing; who is due is found by looking at all, which is
//! rare beside commands.

use crate::Engine;
use crate::Sink;
use crate::expiry::Ending;
use crate::matching::Event;
use crate::schedule::Due;
use ordain_exchange_protocol::MarketState;

/// No time.
pub(crate) const NEVER: u64 = u64::MAX;

impl Engine {
    /// The next time at which something happens to an instrument.
    fn timer(&self, at: usize) -> u64 {
        let call = match self.calls[at].until {
            0 => NEVER,
            until => until,
        };
        call.min(self.schedules[at].at)
    }

    /// An instrument's times changed.
    pub(crate) fn set_timers(&mut self) {
        self.next_timer = (0..self.calls.len()).map(|at| self.timer(at)).min().unwrap_or(NEVER);
    }

    /// Lets happen what is due first by `ending.until`, the instruments by id. It may take a turn. `None` if nothing is due.
    pub(crate) fn fire<S: Sink>(&mut self, ending: &mut Ending, sink: &mut S) -> Option<()> {
        let due = self.next_timer;
        if due > ending.until {
            return None;
        }
        let at = (0..self.calls.len()).find(|at| self.timer(*at) == due)?;
        let id = at as u16 + 1;
        ending.event = Event::new(&ending.context);
        if self.schedules[at].at == due {
            let next = self.schedules[at].take(&ending.context, id);
            self.set_timers();
            let halted =
                matches!(self.live_instrument(id).state, MarketState::Halted | MarketState::CancelOnly);
            match next {
                // A halt is ended by the one who called it, or with the day.
                Due::State(state) if !halted || state == MarketState::Closed => {
                    ending.turn = self.begin_turn(id, state, &ending.event);
                }
                Due::State(_) | Due::Later => {}
            }
        } else if self.extends(id, ending.context.time) {
            self.call_mut(id).extended += 1;
            self.call_until(id, due, &ending.context, sink);
        } else {
            ending.turn = self.begin_turn(id, MarketState::Continuous, &ending.event);
        }
        Some(())
    }
}
