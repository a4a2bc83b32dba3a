//! The log in memory: bytes in place, one producer, consumers that join and leave at run time.
//!
//! The byte at log position `p` lies at `p % capacity`. Capacity is a whole number of segments and no batch
//! crosses a segment border, so no claim crosses the end of the ring.
//!
//! Four cursors keep readers and writer apart:
//!
//! * `published`, the producer's: bytes below it may be read.
//! * `floor`, the producer's: bytes below it may be gone. It writes below `floor + capacity` only.
//! * `gate`, one per consumer: its position. `floor` does not pass it.
//! * `reach`, one per consumer: the end of what it has looked at. `published` does not go back behind it.
//!
//! So a consumer reads in `[gate, reach)`, which lies in `[floor, published)`, and the producer writes outside
//! of that. The two cursors of a pair are moved by different threads, so each side announces its move, makes
//! a sequentially consistent fence and only then looks at the other's, as in Dekker's mutual exclusion: of
//! two moves that conflict at least one sees the other, and is taken back.
//!
//! | Moves | Announces | Then checks |
//! |---|---|---|
//! | producer claims | `floor` up | every `gate` at or above it |
//! | producer rewinds | `published` down | every `reach` at or below it |
//! | consumer joins, or rewinds | `gate` and `reach` | `floor` not above, and `published` not below |
//! | consumer looks at more | `reach` up | `published` not below |
//!
//! A consumer that releases bytes, and a producer that publishes them, move away from each other and need
//! no fence. To pay for its fence rarely, the producer raises the floor a sixteenth of the ring at a time.
//!
//! ```
//! use ordain_ring::log::LogRing;
//! use ordain_types::Position;
//!
//! let (mut producer, ring) = LogRing::new(4096, Position(0));
//! let mut consumer = ring.join_tail().unwrap();
//! producer.try_claim(5).unwrap().copy_from_slice(b"batch");
//! producer.publish(5);
//! assert_eq!(consumer.available(ring.published()), b"batch");
//! consumer.release(5);
//! assert_eq!(consumer.position(), Position(5));
//! ```
//!
//! Bytes cannot be written once they are published:
//!
//! ```compile_fail,E0499
//! # use {ordain_ring::log::LogRing, ordain_types::Position};
//! let (mut producer, _ring) = LogRing::new(4096, Position(0));
//! let space = producer.try_claim(8).unwrap();
//! producer.publish(8);
//! space[0] = 1;
//! ```
//!
//! nor read once they are released:
//!
//! ```compile_fail,E0502
//! # use {ordain_ring::log::LogRing, ordain_types::Position};
//! let (_producer, ring) = LogRing::new(4096, Position(0));
//! let mut consumer = ring.join_tail().unwrap();
//! let bytes = consumer.available(Position(8));
//! consumer.release(8);
//! drop(bytes.to_vec());
//! ```
//!
//! A consumer belongs to one thread at a time:
//!
//! ```compile_fail,E0277
//! fn shared<T: Sync>() {}
//! shared::<ordain_ring::log::Consumer>();
//! ```
//!
//! and published bytes that the producer reads back are gone at its next claim:
//!
//! ```compile_fail,E0502
//! # use {ordain_ring::log::LogRing, ordain_types::Position};
//! let (mut producer, _ring) = LogRing::new(4096, Position(0));
//! let bytes = producer.published_bytes(Position(0), 0);
//! producer.try_claim(8);
//! drop(bytes.to_vec());
//! ```

use std::cell::Cell;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use ordain_types::Position;

use crate::memory::Memory;
use crate::sync::{AtomicU64, CachePadded, Ordering, fence};

/// Consumers at one time. A node has a handful of stages and one reader per peer. The producer looks at all
/// of their gates whenever it raises the floor. (Two under loom, whose search grows with every cursor.)
pub const CONSUMERS_MAX: usize = if cfg!(loom) { 2 } else { 16 };

/// Pins of one consumer at one time: as many disk writes as a journal usefully has in flight.
pub const PINS_MAX: usize = 32;

/// Gate of a slot without a consumer.
const ABSENT: u64 = u64::MAX;

// Bits of `Slot::holders`; those from 0 to PINS_MAX are its pins.
const TAKEN: u64 = 1 << 63;
const CONSUMER: u64 = 1 << 62;
const PINS: u64 = (1 << PINS_MAX) - 1;

/// Positions stay far from the end of the number space, so that sums of them cannot wrap.
const START_MAX: u64 = 1 << 62;

struct Slot {
    gate: AtomicU64,
    reach: AtomicU64,
    /// Who keeps the slot: 0 when it is free.
    holders: AtomicU64,
}

impl Slot {
    fn free() -> Self {
        Self { gate: AtomicU64::new(ABSENT), reach: AtomicU64::new(0), holders: AtomicU64::new(0) }
    }

    fn take(&self) -> bool {
        self.holders.compare_exchange(0, TAKEN | CONSUMER, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// Gives up one hold. The last one frees the slot.
    fn let_go(&self, holder: u64) {
        // Releases this holder's reads, and as the last acquires those of the others, for the store to the gate.
        let left = self.holders.fetch_and(!holder, Ordering::AcqRel) & !holder;
        if left == TAKEN {
            self.gate.store(ABSENT, Ordering::Release);
            self.reach.store(0, Ordering::Release);
            self.holders.store(0, Ordering::Release);
        }
    }
}

struct Shared {
    published: CachePadded<AtomicU64>,
    floor: CachePadded<AtomicU64>,
    slots: [CachePadded<Slot>; CONSUMERS_MAX],
    memory: Memory,
}

impl Shared {
    fn capacity(&self) -> u64 {
        self.memory.len() as u64
    }

    #[inline]
    fn offset(&self, position: u64) -> usize {
        (position % self.capacity()) as usize
    }

    fn until_end(&self, position: u64) -> u64 {
        self.capacity() - position % self.capacity()
    }

    fn lowest_gate(&self) -> u64 {
        self.slots.iter().map(|slot| slot.gate.load(Ordering::Acquire)).min().unwrap_or(ABSENT)
    }

    fn highest_reach(&self) -> u64 {
        self.slots.iter().map(|slot| slot.reach.load(Ordering::Acquire)).max().unwrap_or(0)
    }

    /// Tells loom that `[from, to)` could be read until now.
    fn mark_read(&self, from: u64, to: u64) {
        if cfg!(loom) && from < to {
            let first = (to - from).min(self.until_end(from)) as usize;
            self.memory.mark_read(self.offset(from), first);
            self.memory.mark_read(0, (to - from) as usize - first);
        }
    }
}

/// A handle to a log ring: tells how far it is published, and lets consumers join.
#[derive(Clone)]
pub struct LogRing {
    shared: Arc<Shared>,
}

impl fmt::Debug for LogRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogRing")
            .field("oldest", &self.oldest())
            .field("published", &self.published())
            .finish()
    }
}

/// Why a consumer cannot join a ring, or go back in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinError {
    /// The bytes at the position have left the ring.
    Gone {
        /// The oldest position in the ring.
        oldest: Position,
    },
    /// The position is not published.
    Beyond {
        /// The end of what is published.
        published: Position,
    },
    /// The ring has [`CONSUMERS_MAX`] consumers, or they left pins behind.
    Full,
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone { oldest } => {
                write!(f, "the log ring begins at {oldest}; read what lies before from segments")
            }
            Self::Beyond { published } => write!(f, "the log ring ends at {published}; join there or wait"),
            Self::Full => {
                write!(f, "the log ring has all its {CONSUMERS_MAX} consumers; try again when one has left")
            }
        }
    }
}

impl std::error::Error for JoinError {}

impl LogRing {
    /// A ring of `capacity` bytes whose log begins at `start`. Its pages cost nothing until they are written.
    ///
    /// # Panics
    /// If `capacity` is 0 or exceeds the address space, or `start` exceeds 2^62.
    #[must_use]
    pub fn new(capacity: usize, start: Position) -> (Producer, Self) {
        assert!(start.0 <= START_MAX, "log position {start} out of range");
        let shared = Arc::new(Shared {
            published: CachePadded(AtomicU64::new(start.0)),
            floor: CachePadded(AtomicU64::new(start.0)),
            slots: std::array::from_fn(|_| CachePadded(Slot::free())),
            memory: Memory::new(capacity),
        });
        let producer = Producer { shared: shared.clone(), published: start.0, floor: start.0, claimed: 0 };
        (producer, Self { shared })
    }

    /// Bytes of the ring.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.shared.memory.len()
    }

    /// The end of what is published.
    #[must_use]
    pub fn published(&self) -> Position {
        Position(self.shared.published.load(Ordering::Acquire))
    }

    /// The lowest position at which a consumer may join at this moment. At most a sixteenth of the ring, or
    /// the last claim if that is longer, is given up ahead of what is published.
    #[must_use]
    pub fn oldest(&self) -> Position {
        Position(self.shared.floor.load(Ordering::Acquire))
    }

    /// Joins at the end of what is published.
    ///
    /// # Errors
    /// As [`join_at`](Self::join_at); other than `Full` only if the producer overtook this call, by a whole
    /// ring or by rewinding. Try again then.
    pub fn join_tail(&self) -> Result<Consumer, JoinError> {
        self.join_at(self.published())
    }

    /// Joins at `position`, from where everything published is in the ring and will stay until released.
    ///
    /// # Errors
    /// `Gone` or `Beyond` if `position` is not between what is oldest and what is published (or a claim or a
    /// rewind at this moment would make it so), `Full` if the table of consumers is.
    pub fn join_at(&self, position: Position) -> Result<Consumer, JoinError> {
        let index = self.shared.slots.iter().position(|slot| slot.take()).ok_or(JoinError::Full)?;
        // From here on dropping the consumer frees the slot.
        let consumer = Consumer {
            shared: self.shared.clone(),
            slot: index,
            position: position.0,
            reach: Cell::new(position.0),
            pins: [(0, 0); PINS_MAX],
        };
        consumer.announce(position.0)?;
        Ok(consumer)
    }
}

/// The only writer of a log ring.
pub struct Producer {
    shared: Arc<Shared>,
    published: u64,
    floor: u64,
    /// Bytes behind `published` that were handed out for writing.
    claimed: usize,
}

impl Producer {
    /// The end of what is published.
    #[must_use]
    pub const fn published(&self) -> Position {
        Position(self.published)
    }

    /// Bytes from the end of what is published to the end of the ring, the bound of a claim. Never 0.
    #[must_use]
    pub fn until_end(&self) -> usize {
        self.shared.until_end(self.published) as usize
    }

    /// The longest claim that would succeed now. A consumer that joins further back can make it shorter.
    #[must_use]
    pub fn free(&self) -> usize {
        let end = self.shared.lowest_gate().saturating_add(self.shared.capacity());
        end.saturating_sub(self.published).min(self.until_end() as u64) as usize
    }

    /// The `len` bytes behind what is published, for writing; `None` while a consumer still needs what lies
    /// there. May be called again with another length before publishing: what was written stays, and a
    /// length that was granted once is granted again. The rest holds whatever the ring held there before.
    ///
    /// # Panics
    /// If `len` exceeds [`until_end`](Self::until_end).
    #[inline]
    pub fn try_claim(&mut self, len: usize) -> Option<&mut [u8]> {
        assert!(
            len <= self.until_end(),
            "claim of {len} bytes at {} crosses the end of the ring",
            self.published
        );
        let end = self.published + len as u64;
        if end > self.floor + self.shared.capacity() && !self.raise_floor(end) {
            return None;
        }
        self.claimed = self.claimed.max(len);
        // SAFETY: the range lies in `[published, floor + capacity)`. Consumers read below `published` and not
        // below `floor`, so none of them reads these bytes of the ring, nor what they held one round before.
        // Their earlier reads happened before they moved their gates, which `raise_floor` acquired.
        // `&mut self` keeps the producer itself to one slice at a time.
        Some(unsafe { self.shared.memory.bytes_mut(self.shared.offset(self.published), len) })
    }

    /// Makes room up to the position `end`, at most a ring beyond what is published.
    #[cold]
    fn raise_floor(&mut self, end: u64) -> bool {
        let capacity = self.shared.capacity();
        let needed = end - capacity;
        // Asking first spares joiners a floor that is taken back at once.
        let gate = self.shared.lowest_gate();
        if gate < needed {
            return false;
        }
        let ahead = (self.published + capacity / 16).saturating_sub(capacity);
        let floor = gate.min(ahead).max(needed);
        self.shared.floor.store(floor, Ordering::Release);
        fence(Ordering::SeqCst);
        if self.shared.lowest_gate() < floor {
            self.shared.floor.store(self.floor, Ordering::Release);
            return false;
        }
        self.floor = floor;
        true
    }

    /// Publishes the first `len` claimed bytes.
    ///
    /// # Panics
    /// If fewer are claimed.
    #[inline]
    pub fn publish(&mut self, len: usize) {
        assert!(len <= self.claimed, "publish of {len} bytes, but {} are claimed", self.claimed);
        self.shared.memory.mark_write(self.shared.offset(self.published), len);
        self.claimed -= len;
        self.published += len as u64;
        self.shared.published.store(self.published, Ordering::Release);
    }

    /// Whether everything published from `position` on is still in the ring.
    #[must_use]
    pub fn still_has(&self, position: Position) -> bool {
        (self.floor..=self.published).contains(&position.0)
    }

    /// The `len` bytes at `position`, published earlier and still in the ring. What was published since the
    /// last claim always is.
    ///
    /// # Panics
    /// If they are not all in the ring and published, or cross its end.
    #[must_use]
    pub fn published_bytes(&self, position: Position, len: usize) -> &[u8] {
        assert!(
            self.still_has(position) && len as u64 <= self.published - position.0,
            "{len} bytes at {position} are not in the ring, which holds {}..{}",
            self.floor,
            self.published
        );
        // SAFETY: only the producer writes, and never in `[floor, published)`; `&self` keeps it from moving
        // either while the slice lives.
        unsafe { self.shared.memory.bytes(self.shared.offset(position.0), len) }
    }

    /// Takes back everything from `to` on, and claims with it. Refused, with `false` and without effect, while
    /// a consumer has looked at bytes beyond `to`, or joins there: it must [`Consumer::rewind`] or leave first.
    ///
    /// # Panics
    /// If `to` is not published.
    #[must_use = "a refused rewind changes nothing"]
    pub fn rewind(&mut self, to: Position) -> bool {
        let to = to.0;
        assert!(to <= self.published, "rewind to {to}, but only {} is published", self.published);
        // Asking first spares readers an end that is taken back at once.
        if self.shared.highest_reach() > to {
            return false;
        }
        self.shared.published.store(to, Ordering::Release);
        fence(Ordering::SeqCst);
        if self.shared.highest_reach() > to {
            self.shared.published.store(self.published, Ordering::Release);
            return false;
        }
        self.published = to;
        self.claimed = 0;
        if self.floor > to {
            // Then nobody is left in the ring, and nothing in it: it begins anew.
            self.floor = to;
            self.shared.floor.store(to, Ordering::Release);
        }
        true
    }

    /// Touches every page that can be claimed, so that the first round of a new ring takes no page faults.
    pub fn prefault(&mut self) {
        const PAGE: usize = 4096;
        let end = self.floor + self.shared.capacity();
        for position in (self.published + self.claimed as u64..end).step_by(PAGE) {
            // SAFETY: as in `try_claim`; beyond the claimed bytes nothing is worth keeping.
            let byte = unsafe { self.shared.memory.bytes_mut(self.shared.offset(position), 1) };
            // Hidden from an optimiser that knows new memory to be zero.
            byte[0] = std::hint::black_box(0);
        }
    }
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer").field("published", &self.published).finish_non_exhaustive()
    }
}

/// A reader that keeps the bytes from its position on in the ring until it releases them. Dropping it leaves
/// the ring; its pins stay valid, and what lies from its position on stays until they are dropped too.
pub struct Consumer {
    shared: Arc<Shared>,
    slot: usize,
    position: u64,
    /// A copy of the slot's `reach`; at least `position`.
    reach: Cell<u64>,
    /// Where the pins whose bit is set in the slot's `holders` start and end.
    pins: [(u64, u64); PINS_MAX],
}

impl Consumer {
    fn slot(&self) -> &Slot {
        &self.shared.slots[self.slot]
    }

    /// Moves gate and reach to `position`, and tells whether that is in the ring.
    fn announce(&self, position: u64) -> Result<(), JoinError> {
        let slot = self.slot();
        slot.gate.store(position, Ordering::Release);
        slot.reach.store(position, Ordering::Release);
        fence(Ordering::SeqCst);
        let floor = self.shared.floor.load(Ordering::Acquire);
        let published = self.shared.published.load(Ordering::Acquire);
        if position < floor {
            return Err(JoinError::Gone { oldest: Position(floor) });
        }
        if position > published {
            return Err(JoinError::Beyond { published: Position(published) });
        }
        Ok(())
    }

    /// The position behind what is released.
    #[must_use]
    pub const fn position(&self) -> Position {
        Position(self.position)
    }

    /// The published bytes from the own position up to `limit` or the end of the ring.
    #[inline]
    #[must_use]
    pub fn available(&self, limit: Position) -> &[u8] {
        self.peek(self.position(), limit)
    }

    /// The published bytes from `from` on, up to `limit` or the end of the ring, to read ahead of what is
    /// released. The producer can rewind behind what was looked at only after this consumer did.
    ///
    /// # Panics
    /// If `from` was released.
    #[inline]
    #[must_use]
    pub fn peek(&self, from: Position, limit: Position) -> &[u8] {
        let from = from.0;
        assert!(from >= self.position, "peek at {from}, but everything before {} is released", self.position);
        let end = self.extend_reach(limit.0).min(limit.0);
        let len = end.saturating_sub(from).min(self.shared.until_end(from));
        // SAFETY: the range lies in `[position, reach)`, or is empty. The producer does not write there: its
        // floor stays at or below the gate, which is at `position`, and what it publishes at or above the
        // reach. Its writes happened before it published, which `extend_reach` acquired. Whatever moves
        // either cursor here needs `&mut self`, or extends the range.
        unsafe { self.shared.memory.bytes(self.shared.offset(from), len as usize) }
    }

    /// Extends the reach to what is published, at most to `limit`.
    #[inline]
    fn extend_reach(&self, limit: u64) -> u64 {
        let reach = self.reach.get();
        let wanted = self.shared.published.load(Ordering::Relaxed).min(limit);
        if wanted <= reach {
            return reach;
        }
        self.slot().reach.store(wanted, Ordering::Release);
        fence(Ordering::SeqCst);
        let published = self.shared.published.load(Ordering::Acquire);
        let reached = if published < wanted {
            // The producer is rewinding.
            let reached = published.max(reach);
            self.slot().reach.store(reached, Ordering::Release);
            reached
        } else {
            wanted
        };
        self.reach.set(reached);
        reached
    }

    /// Gives `bytes` back to the producer.
    ///
    /// # Panics
    /// If they have not been looked at, or some of them are pinned.
    #[inline]
    pub fn release(&mut self, bytes: usize) {
        assert!(
            bytes as u64 <= self.reach.get() - self.position,
            "release of {bytes} bytes that were not read"
        );
        let position = self.position + bytes as u64;
        if let Some(pin) = self.first_pin() {
            assert!(position <= pin.0, "release to {position}, but bytes from {pin} on are pinned");
        }
        self.shared.mark_read(self.position, position);
        self.position = position;
        self.slot().gate.store(position, Ordering::Release);
    }

    /// Goes back to `to`, or if the position is there already, forgets having looked further, so that the
    /// producer can rewind. Reading on before it did undoes that.
    ///
    /// # Errors
    /// `Gone` if `to` was released and has left the ring: leave, and join again once the producer has gone
    /// back. `Beyond` if the producer is trying at this moment to go back further: try again. The position
    /// is unchanged.
    ///
    /// # Panics
    /// If bytes beyond `to` are pinned.
    pub fn rewind(&mut self, to: Position) -> Result<(), JoinError> {
        let to = to.0;
        if to >= self.reach.get() {
            return Ok(());
        }
        let pinned = self.live_pins().map(|(_, end)| end).max().unwrap_or(0);
        assert!(pinned <= to, "rewind to {to}, but bytes up to {pinned} are pinned");
        self.shared.mark_read(self.position, self.reach.get());
        if to < self.position {
            if let Err(error) = self.announce(to) {
                self.reach.set(self.position);
                self.slot().reach.store(self.position, Ordering::Release);
                self.slot().gate.store(self.position, Ordering::Release);
                return Err(error);
            }
            self.position = to;
        } else {
            self.slot().reach.store(to, Ordering::Release);
        }
        self.reach.set(to);
        Ok(())
    }

    /// Keeps the `len` bytes at `from` readable, from any thread, until the returned handle is dropped;
    /// `None` while [`PINS_MAX`] pins are alive. [`release`](Self::release) must not pass a pin.
    ///
    /// # Panics
    /// If the bytes were not looked at with [`peek`](Self::peek) or [`available`](Self::available), are
    /// released, or cross the end of the ring.
    #[must_use]
    pub fn pin(&mut self, from: Position, len: usize) -> Option<PinnedBytes> {
        let (from, reach) = (from.0, self.reach.get());
        assert!(
            (self.position..=reach).contains(&from)
                && len as u64 <= (reach - from).min(self.shared.until_end(from)),
            "pin of {len} bytes at {from}, but only {}..{reach} was read",
            self.position
        );
        let pin = (!self.slot().holders.load(Ordering::Relaxed) & PINS).trailing_zeros() as usize;
        let entry = self.pins.get_mut(pin)?;
        *entry = (from, from + len as u64);
        // No order needed: only this thread sets bits, and being a read-modify-write it keeps the releases
        // of earlier pins visible to `live_pins`.
        self.slot().holders.fetch_or(1 << pin, Ordering::Relaxed);
        let offset = self.shared.offset(from);
        Some(PinnedBytes { shared: self.shared.clone(), slot: self.slot, holder: 1 << pin, offset, len })
    }

    /// Start of the first pinned byte: how far [`release`](Self::release) may go.
    #[must_use]
    pub fn first_pin(&self) -> Option<Position> {
        self.live_pins().map(|(start, _)| Position(start)).min()
    }

    fn live_pins(&self) -> impl Iterator<Item = (u64, u64)> {
        // Acquires the reads through pins that were dropped, for the producer to see with the gate.
        let mut live = self.slot().holders.load(Ordering::Acquire) & PINS;
        std::iter::from_fn(move || {
            let pin = live.trailing_zeros() as usize;
            live &= live.wrapping_sub(1);
            self.pins.get(pin).copied()
        })
    }
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer").field("position", &self.position).finish_non_exhaustive()
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.shared.mark_read(self.position, self.reach.get());
        self.slot().let_go(CONSUMER);
    }
}

/// Bytes of the ring that stay as they are while this handle lives, for I/O in flight.
///
/// Drop it before the completion is reported: until then the consumer must not release the range.
#[must_use = "dropping the pin frees its bytes"]
pub struct PinnedBytes {
    shared: Arc<Shared>,
    slot: usize,
    holder: u64,
    offset: usize,
    len: usize,
}

impl Deref for PinnedBytes {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: the range was in the consumer's `[gate, reach)` when it was pinned. While the pin's bit is
        // set, `release` keeps the gate at or below its start, `rewind` keeps the reach at or above its end,
        // and the slot keeps both cursors if the consumer leaves. So the producer does not write it.
        unsafe { self.shared.memory.bytes(self.offset, self.len) }
    }
}

impl fmt::Debug for PinnedBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PinnedBytes").field("len", &self.len).finish_non_exhaustive()
    }
}

impl Drop for PinnedBytes {
    fn drop(&mut self) {
        self.shared.memory.mark_read(self.offset, self.len);
        self.shared.slots[self.slot].let_go(self.holder);
    }
}
