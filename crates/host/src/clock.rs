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

/// Identity of this run of the operating system, zeros if unknown: Linux draws this number when it starts.
#[must_use]
pub fn os_boot() -> [u8; 16] {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits = text.trim().replace('-', "");
    u128::from_str_radix(&digits, 16).map_or([0; 16], u128::to_be_bytes)
}
