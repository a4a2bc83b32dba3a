//! Schedules, and what log time brings about by itself.

use crate::bands::DAY;
use crate::command::Command;
use crate::message::Message;
use crate::{Context, Model, code, ensure};
use ordain_exchange_protocol::{MarketState, Reason, Reject, SetSchedule, permission};

const TIME_MAX: u64 = (1 << 63) - 1;

/// The schedule of an instrument.
#[derive(Clone)]
pub struct Timetable {
    /// Time, random, state.
    entries: Vec<(u64, u64, MarketState)>,
    period: u64,
    /// Which entry is next, and when something happens with it.
    next: usize,
    due: u64,
    /// Whether its end was drawn.
    drawn: bool,
}

impl Model {
    pub(crate) fn set_schedule(&mut self, context: &Context, it: &SetSchedule) -> Result<(), Reject> {
        context.may(permission::ADMIN)?;
        let id = it.instrument.get();
        ensure(self.instruments.contains_key(&id), Reject::UnknownInstrument)?;
        let raw: Vec<(u64, u64, MarketState)> =
            it.entries.iter().map(|entry| (entry.time.get(), entry.random.get(), entry.state)).collect();
        let count = usize::from(it.count);
        ensure(count <= raw.len(), Reject::ScheduleInvalid)?;
        let (entries, unused) = raw.split_at(count);
        let sound = |entry: &(u64, u64, MarketState)| {
            entry.2 != MarketState::None && entry.0 <= TIME_MAX && entry.1 <= DAY
        };
        ensure(entries.iter().all(sound), Reject::ScheduleInvalid)?;
        let follows = entries.windows(2).all(|pair| pair[0].0 + pair[0].1 < pair[1].0);
        let period = it.period.get();
        let fits = match (entries.first(), entries.last()) {
            (Some(first), Some(last)) => {
                first.0 > context.time
                    && (period == 0
                        || (period <= 366 * DAY
                            && i128::from(period) > i128::from(last.0 + last.1) - i128::from(first.0)))
            }
            _ => period == 0,
        };
        let unused = unused.iter().all(|entry| *entry == (0, 0, MarketState::None));
        ensure(follows && fits && unused, Reject::ScheduleInvalid)?;
        self.timetables.remove(&id);
        if let Some(first) = entries.first() {
            let due = first.0;
            let schedule = Timetable { entries: entries.to_vec(), period, next: 0, due, drawn: false };
            self.timetables.insert(id, schedule);
        }
        Ok(())
    }

    /// Log times at which something happens by itself, but for orders that end.
    pub fn edges(&self) -> impl Iterator<Item = u64> {
        let calls = self.calls.values().map(|call| call.until);
        calls.chain(self.timetables.values().map(|timetable| timetable.due))
    }

    /// What is due by `until` happens.
    pub(crate) fn pass_time(&mut self, command: &mut Command, until: u64) {
        loop {
            let expiries = self.orders.iter().map(|order| order.expiry).filter(|expiry| *expiry != 0);
            let calls = self.calls.values().map(|call| call.until);
            let schedules = self.timetables.values().map(|schedule| schedule.due);
            let next = expiries.chain(self.ends()).chain(calls).chain(schedules).min();
            let Some(time) = next.filter(|time| *time <= until) else { return };
            self.begin_feeds(command);
            while let Some(id) = self.orders.iter().find(|order| order.expiry == time).map(|order| order.id) {
                self.close_and_report(command, id, Reason::Expired);
            }
            self.end_sessions(command, time);
            self.indicate_all(command);
            for id in self.instruments().collect::<Vec<u32>>() {
                (command.trades, command.meetings) = (0, 0);
                if self.timetables.get(&id).is_some_and(|schedule| schedule.due == time) {
                    self.follow_schedule(command, id);
                } else if self.calls.get(&id).is_some_and(|call| call.until == time) {
                    self.end_call(command, id);
                }
            }
            (command.trades, command.meetings) = (0, 0);
            self.end_feeds(command);
        }
    }

    fn follow_schedule(&mut self, command: &mut Command, id: u32) {
        let schedule = self.timetables.get_mut(&id).expect("it is due");
        let (_, random, state) = schedule.entries[schedule.next];
        if random != 0 && !schedule.drawn {
            schedule.drawn = true;
            let r = draw(&command.context, id, random);
            if r != 0 {
                schedule.due += r;
                return;
            }
        }
        schedule.drawn = false;
        schedule.next += 1;
        if schedule.next == schedule.entries.len() {
            schedule.next = 0;
            let again = schedule.entries[0].0.checked_add(schedule.period);
            if schedule.period == 0 || again.is_none_or(|time| time > TIME_MAX) {
                self.timetables.remove(&id);
            } else {
                for entry in &mut schedule.entries {
                    entry.0 += schedule.period;
                }
            }
        }
        if let Some(schedule) = self.timetables.get_mut(&id) {
            schedule.due = schedule.entries[schedule.next].0;
        }
        let before = self.state(id);
        let stands = matches!(before, MarketState::Halted | MarketState::CancelOnly);
        if before != state && (!stands || state == MarketState::Closed) {
            self.change_state(command, id, before, state);
        }
    }
}

impl Model {
    pub(crate) fn schedule_answer(&self, context: &Context, id: u32) -> Vec<u8> {
        let result = self.may_see_instrument(context, id);
        let mut answer = Message::new(0xB1, 224).put(2, 2, code(&result)).put(4, 4, id);
        if let (Ok(()), Some(timetable)) = (&result, self.timetables.get(&id)) {
            answer = answer
                .put(8, 1, timetable.entries.len() as u64)
                .put(9, 1, timetable.next as u64)
                .put(10, 1, u8::from(timetable.drawn))
                .put(16, 8, timetable.period)
                .put(24, 8, timetable.due);
            for (nth, (time, random, state)) in timetable.entries.iter().enumerate() {
                let at = 32 + 24 * nth;
                answer = answer.put(at, 8, *time).put(at + 8, 8, *random).put(at + 16, 1, *state as u8);
            }
        }
        answer.bytes()
    }
}

/// From 0 to `random`.
fn draw(context: &Context, instrument: u32, random: u64) -> u64 {
    let mut z = context
        .time
        .wrapping_add(u64::from(instrument).wrapping_mul(1 << 48))
        .wrapping_add(context.seq.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    ((u128::from(z) * (u128::from(random) + 1)) >> 64) as u64
}
