//! How a thread that waits for work is woken without a lost wake-up and without a system call while it is
//! awake.
//!
//! The waiting thread announces that it is about to park, looks at all its work once more, and only then
//! waits. Whoever makes work publishes it first and looks at the announcement second. Both put a
//! sequentially consistent fence between their store and their load, so at least one of them sees the
//! other's store: either the last look finds the work, or the ringer finds the announcement and writes to
//! the eventfd. That write is not lost if it comes before the wait begins, because an eventfd stays
//! readable until it is read.

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::time::Duration;

/// Marks of what woke.
const RUNG: u64 = 0;
const WATCHED: u64 = 1;

/// What wakes one thread: rung by any number of others, or by the descriptors it watches.
#[derive(Debug)]
pub struct Doorbell {
    /// Everything that wakes.
    epoll: OwnedFd,
    /// The same without what clients send.
    deaf: OwnedFd,
    eventfd: OwnedFd,
    parked: AtomicBool,
}

impl Doorbell {
    /// A doorbell that nobody has rung.
    ///
    /// # Errors
    /// If the process has no file descriptor left.
    pub fn new() -> std::io::Result<Arc<Self>> {
        let (epoll, deaf) = (epoll::create(CreateFlags::CLOEXEC)?, epoll::create(CreateFlags::CLOEXEC)?);
        let eventfd = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        for epoll in [&epoll, &deaf] {
            epoll::add(epoll, &eventfd, EventData::new_u64(RUNG), EventFlags::IN)?;
        }
        Ok(Arc::new(Self { epoll, deaf, eventfd, parked: AtomicBool::new(false) }))
    }

    /// From now on the owner is also woken while `fd` is readable; an epoll descriptor is while one of its
    /// own is ready.
    ///
    /// # Errors
    /// If the operating system refuses.
    pub fn watch(&self, fd: impl AsFd) -> std::io::Result<()> {
        epoll::add(&self.deaf, fd.as_fd(), EventData::new_u64(WATCHED), EventFlags::IN)?;
        self.watch_clients(fd)
    }

    /// The same, but the owner may wait without being woken by it: see [`Doorbell::wait_deaf`].
    ///
    /// # Errors
    /// If the operating system refuses.
    pub fn watch_clients(&self, fd: impl AsFd) -> std::io::Result<()> {
        Ok(epoll::add(&self.epoll, fd, EventData::new_u64(WATCHED), EventFlags::IN)?)
    }

    /// Wakes the owner if it waits or is about to. What the caller published before is seen by the owner
    /// at the latest when it wakes. Costs a fence and a load while the owner is awake.
    pub fn ring(&self) {
        fence(Ordering::SeqCst);
        if self.parked.load(Ordering::Relaxed) && self.parked.swap(false, Ordering::SeqCst) {
            self.wake();
        }
    }

    /// Makes the owner's present or next wait end.
    pub fn wake(&self) {
        // Fails only when the counter is at its limit: then it is readable, which is all that is wanted.
        let _ = rustix::io::write(&self.eventfd, &1_u64.to_ne_bytes());
    }

    /// Owner: announces that it will wait unless the look at its work that follows finds some.
    pub fn announce(&self) {
        self.parked.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Owner: it is awake.
    pub fn withdraw(&self) {
        self.parked.store(false, Ordering::Relaxed);
    }

    /// Owner: waits until woken, at most for `timeout`, and withdraws. Says whether anything but time ended
    /// the wait.
    pub fn wait(&self, timeout: Duration) -> bool {
        self.wait_on(&self.epoll, timeout)
    }

    /// Owner: as [`Doorbell::wait`], whatever clients send.
    pub fn wait_deaf(&self, timeout: Duration) -> bool {
        self.wait_on(&self.deaf, timeout)
    }

    fn wait_on(&self, epoll: &OwnedFd, timeout: Duration) -> bool {
        let timeout = Timespec {
            tv_sec: timeout.as_secs().min(u64::from(u32::MAX)) as i64,
            tv_nsec: i64::from(timeout.subsec_nanos()),
        };
        let mut events = [MaybeUninit::<epoll::Event>::uninit(); 4];
        // An interrupting signal ends the wait like a ring: the owner looks at its work and comes back.
        let (woken, rung) = match epoll::wait(epoll, &mut events, Some(&timeout)) {
            Ok((ready, _)) => (!ready.is_empty(), ready.iter().any(|event| event.data.u64() == RUNG)),
            Err(_) => (true, true),
        };
        self.withdraw();
        if rung {
            // Non-blocking, and nobody else reads it.
            let _ = rustix::io::read(&self.eventfd, &mut [0_u8; 8]);
        }
        woken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;

    /// Two threads hand a number back and forth and park while it is not their turn. A lost wake-up shows
    /// as a wait that lasts until its time-out.
    #[test]
    fn no_wake_up_is_lost() {
        const ROUNDS: u64 = 50_000;
        let turn = AtomicU64::new(0);
        let bells = [Doorbell::new().unwrap(), Doorbell::new().unwrap()];
        let play = |me: u64| {
            let (mine, other) = (&bells[me as usize], &bells[1 - me as usize]);
            let mut looks = 0_u64;
            loop {
                let at = turn.load(Ordering::Relaxed);
                if at >= ROUNDS {
                    return;
                }
                if at % 2 == me {
                    turn.store(at + 1, Ordering::Relaxed);
                    other.ring();
                    continue;
                }
                // Sometimes awake when the turn comes, sometimes about to park, sometimes parked.
                looks += 1;
                for _ in 0..looks % 97 {
                    std::hint::spin_loop();
                }
                mine.announce();
                if turn.load(Ordering::Relaxed) != at {
                    mine.withdraw();
                    continue;
                }
                assert!(mine.wait(Duration::from_secs(20)), "a wake-up was lost at {at}");
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(|| play(1));
            play(0);
        });
        assert_eq!(turn.into_inner(), ROUNDS);
    }

    #[test]
    fn a_ring_before_the_wait_is_kept() {
        let bell = Doorbell::new().unwrap();
        bell.announce();
        bell.ring();
        assert!(bell.wait(Duration::from_secs(20)));
        assert!(!bell.wait(Duration::ZERO), "a ring wakes once");
        bell.ring();
        assert!(!bell.wait(Duration::ZERO), "an owner that announced nothing is awake");
    }

    #[test]
    fn clients_do_not_wake_the_deaf() {
        let bell = Doorbell::new().unwrap();
        let inner = Doorbell::new().unwrap();
        bell.watch_clients(&inner.epoll).unwrap();
        inner.wake();
        assert!(!bell.wait_deaf(Duration::ZERO));
        assert!(bell.wait(Duration::from_secs(20)));
        bell.wake();
        assert!(bell.wait_deaf(Duration::from_secs(20)));
        assert!(!bell.wait_deaf(Duration::ZERO), "a ring wakes once");
    }

    #[test]
    fn a_watched_descriptor_wakes() {
        let bell = Doorbell::new().unwrap();
        let inner = Doorbell::new().unwrap();
        bell.watch(&inner.epoll).unwrap();
        assert!(!bell.wait(Duration::ZERO));
        inner.wake();
        assert!(bell.wait(Duration::from_secs(20)));
    }
}
