//! The clock that runners read once per duty cycle.

use ordain_types::{Nanos, Now};
use rustix::time::{ClockId, Timespec, clock_gettime};

/// The time: two reads of the kernel's shared page, no system call.
#[must_use]
pub fn now() -> Now {
    Now { mono: nanos(clock_gettime(ClockId::Monotonic)), wall: nanos(clock_gettime(ClockId::Realtime)) }
}

/// Monotonic time alone.
#[must_use]
pub fn mono() -> Nanos {
    nanos(clock_gettime(ClockId::Monotonic))
}

/// A wall clock set before 1970 reads as 1970.
fn nanos(time: Timespec) -> Nanos {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Nanos(seconds * Nanos::SECOND + u64::try_from(time.tv_nsec).unwrap_or(0))
}
