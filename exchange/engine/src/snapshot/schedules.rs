//! Schedules in snapshots.

use super::{Chunk, LoadError, ensure};
use crate::Engine;
use crate::schedule::Schedule;
use crate::timers::NEVER;
use ordain_exchange_protocol::{Flag, SCHEDULE_MAX, ScheduleEntry, U32, U64, Zero};
use zerocopy::{Immutable, IntoBytes, KnownLayout, TryFromBytes, Unaligned};

/// An instrument's schedule.
#[derive(Clone, Copy, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct ScheduleItem {
    instrument: U32,
    count: u8,
    next: u8,
    drawn: Flag,
    reserved: Zero,
    period: U64,
    at: U64,
    entries: [ScheduleEntry; SCHEDULE_MAX],
}

const _: () = assert!(size_of::<ScheduleItem>() == 216);

impl Engine {
    /// Whether any instrument has a schedule.
    pub(super) fn has_schedules(&self) -> bool {
        self.schedules.iter().any(|schedule| schedule.at != NEVER)
    }

    pub(super) fn put_schedule(&self, at: usize, chunk: &mut Chunk<'_>) {
        let schedule = &self.schedules[at];
        if schedule.at != NEVER {
            chunk.put(&ScheduleItem {
                instrument: (at as u32 + 1).into(),
                count: schedule.count,
                next: schedule.next,
                drawn: schedule.drawn.into(),
                reserved: Zero::Zero,
                period: schedule.period.into(),
                at: schedule.at.into(),
                entries: schedule.entries,
            });
        }
    }

    pub(super) fn load_schedule(&mut self, item: &ScheduleItem) -> Result<(), LoadError> {
        let id = item.instrument.get();
        ensure(self.instrument(id).is_ok(), "an instrument is missing")?;
        let place = &mut self.schedules[id as usize - 1];
        ensure(place.at == NEVER, "a schedule comes twice")?;
        let schedule = Schedule {
            period: item.period.get(),
            entries: item.entries,
            count: item.count,
            next: item.next,
            drawn: item.drawn == Flag::Yes,
            at: item.at.get(),
        };
        let sound = schedule.is_sound() && schedule.next < schedule.count;
        ensure(sound, "a schedule is not valid")?;
        let entry = &schedule.entries[usize::from(schedule.next)];
        let latest = entry.time.get() + if schedule.drawn { entry.random.get() } else { 0 };
        let timely = (entry.time.get()..=latest).contains(&schedule.at);
        ensure(timely, "a schedule is not valid")?;
        *place = schedule;
        Ok(())
    }
}
