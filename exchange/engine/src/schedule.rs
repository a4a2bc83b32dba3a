//! Schedules: states that instruments go into at log times. Rules: `docs/exchange/schedules.md`.

use crate::timers::NEVER;
use crate::{Context, Engine, Sink, Step, admin::reply_admin, engine::permitted};
use ordain_exchange_protocol::{
    Flag, MarketState, Reject, SCHEDULE_MAX, ScheduleAnswer, ScheduleEntry, ScheduleQuery, Schema,
    SetSchedule, Zero, permission,
};

/// Longest period, and longest random part of a time.
const PERIOD_MAX: u64 = 366 * 86_400_000_000_000;
const RANDOM_MAX: u64 = 86_400_000_000_000;
/// Latest time, so that a period on top of it is a time still.
const TIME_MAX: u64 = u64::MAX >> 1;

/// An instrument's schedule.
#[derive(Clone, Copy)]
pub(crate) struct Schedule {
    pub period: u64,
    pub entries: [ScheduleEntry; SCHEDULE_MAX],
    pub count: u8,
    /// The entry that is next.
    pub next: u8,
    /// What is random of its time was drawn.
    pub drawn: bool,
    /// When it is looked at next; `NEVER` if no more.
    pub at: u64,
}

/// What the next entry of a schedule comes to when its time has come.
pub(crate) enum Due {
    /// It waits for what was drawn.
    Later,
    State(MarketState),
}

impl Schedule {
    pub const fn none() -> Self {
        Self {
            period: 0,
            entries: [ScheduleEntry::UNUSED; SCHEDULE_MAX],
            count: 0,
            next: 0,
            drawn: false,
            at: NEVER,
        }
    }

    fn from_message(message: &SetSchedule, time: u64) -> Option<Self> {
        let first = message.entries[0].time.get();
        let count = message.count;
        let empty = count == 0 && message.period.get() == 0;
        let schedule = Self {
            period: message.period.get(),
            entries: message.entries,
            count,
            at: if empty { NEVER } else { first },
            ..Self::none()
        };
        (schedule.is_sound() && (empty || first > time)).then_some(schedule)
    }

    /// Whether its entries follow each other, in a period too.
    pub fn is_sound(&self) -> bool {
        let count = usize::from(self.count);
        if count > SCHEDULE_MAX {
            return false;
        }
        let (entries, rest) = self.entries.split_at(count);
        let each = entries.iter().all(|entry| {
            entry.state != MarketState::None
                && entry.time.get() <= TIME_MAX
                && entry.random.get() <= RANDOM_MAX
        });
        let end = |entry: &ScheduleEntry| entry.time.get() + entry.random.get();
        let follow = each && entries.is_sorted_by(|before, after| end(before) < after.time.get());
        let unused = rest.iter().all(|entry| *entry == ScheduleEntry::UNUSED);
        let repeats = match (self.period, entries) {
            (0, _) => true,
            (_, []) => false,
            (period, [first, ..]) => {
                follow && period <= PERIOD_MAX && end(&entries[count - 1]) - first.time.get() < period
            }
        };
        follow && unused && repeats
    }

    /// The time of the next entry has come: draws what is random of it, or takes it.
    pub fn take(&mut self, context: &Context, instrument: u16) -> Due {
        let entry = self.entries[usize::from(self.next)];
        if entry.random.get() > 0 && !self.drawn {
            self.drawn = true;
            let by = draw(context, instrument, entry.random.get());
            if by > 0 {
                self.at += by;
                return Due::Later;
            }
        }
        self.drawn = false;
        self.next += 1;
        if self.next == self.count {
            self.next = 0;
            let period = self.period;
            for entry in &mut self.entries[..usize::from(self.count)] {
                entry.time = (entry.time.get() + period).into();
            }
        }
        let following = self.entries[usize::from(self.next)].time.get();
        let over = (self.next == 0 && self.period == 0) || following > TIME_MAX;
        if over {
            *self = Self::none();
        } else {
            self.at = following;
        }
        Due::State(entry.state)
    }
}

/// A number from 0 to `most`, from what the log says of this moment, which nobody knows before. The mixing is that of SplitMix64.
fn draw(context: &Context, instrument: u16, most: u64) -> u64 {
    let mut z = context.time.wrapping_add(u64::from(instrument) << 48);
    z = z.wrapping_add(context.seq.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    ((u128::from(z) * (u128::from(most) + 1)) >> 64) as u64
}

impl Engine {
    pub(crate) fn set_schedule<S: Sink>(
        &mut self,
        context: &Context,
        message: &SetSchedule,
        sink: &mut S,
    ) -> Step {
        let id = message.instrument.get();
        let checked = permitted(context, permission::ADMIN).and_then(|()| {
            self.instrument(id)?;
            Schedule::from_message(message, context.time).ok_or(Reject::ScheduleInvalid)
        });
        let done = checked.map(|schedule| {
            self.schedules[id as usize - 1] = schedule;
            self.set_timers();
        });
        reply_admin(context, id, done, sink)
    }
}

impl Engine {
    pub(crate) fn schedule_answer(
        &self,
        checked: Result<(), Reject>,
        query: &ScheduleQuery,
    ) -> ScheduleAnswer {
        let id = query.instrument.get();
        let found = checked.and_then(|()| self.instrument(id));
        let none = Schedule::none();
        let schedule = match &found {
            Ok(_) => Some(&self.schedules[id as usize - 1]).filter(|schedule| schedule.at != NEVER),
            Err(_) => None,
        };
        let (schedule, due) = schedule.map_or((&none, 0), |schedule| (schedule, schedule.at));
        ScheduleAnswer {
            tag: ScheduleAnswer::TAG,
            schema: Schema::V1,
            code: Reject::to_wire(found.err()),
            instrument: id.into(),
            count: schedule.count,
            next: schedule.next,
            drawn: Flag::from(schedule.drawn),
            reserved: [Zero::Zero; 5],
            period: schedule.period.into(),
            due: due.into(),
            entries: schedule.entries,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draw_is_the_log_s_and_within() {
        let context = |seq, time| Context { seq, time, ..Context::default() };
        // Worked out apart from this code: any change of it would make nodes differ.
        assert_eq!(draw(&context(1, 1_000), 1, u64::MAX), 0x237f7107497a8ac6);
        assert_eq!(draw(&context(1, 1_000), 1, 0), 0);
        let drawn: Vec<u64> = (0..400).map(|seq| draw(&context(seq, 7), 3, 9)).collect();
        for by in 0..=9 {
            let count = drawn.iter().filter(|drawn| **drawn == by).count();
            assert!((15..=70).contains(&count), "{by} was drawn {count} times of 400");
        }
    }
}
