//! A bounded ring of byte messages from one thread to another.
//!
//! A message is a frame of 8 bytes holding its length and the bytes themselves, filled up to a multiple of 8.
//! It never crosses the end of the ring: a frame that says `PAD` fills the rest instead.
//!
//! `[head, tail)` belongs to the receiver, everything else to the sender. Each side keeps its own cursor
//! and a copy of the other's, which is refreshed only when the copy says full or empty, so that most
//! messages touch no cache line of the other side but those that carry the message.
//!
//! ```
//! let (mut sender, mut receiver) = ordain_ring::spsc::channel(1024);
//! sender.try_claim(5).unwrap().copy_from_slice(b"hello");
//! sender.commit();
//! assert_eq!(receiver.peek(), Some(&b"hello"[..]));
//! receiver.release();
//! assert_eq!(receiver.peek(), None);
//! ```
//!
//! A message cannot be used once its bytes went back to the sender:
//!
//! ```compile_fail,E0499
//! let (mut sender, mut receiver) = ordain_ring::spsc::channel(1024);
//! let message = receiver.peek();
//! receiver.release();
//! drop(message);
//! ```
//!
//! nor written once it went to the receiver:
//!
//! ```compile_fail,E0499
//! let (mut sender, mut receiver) = ordain_ring::spsc::channel(1024);
//! let space = sender.try_claim(8).unwrap();
//! sender.commit();
//! space[0] = 1;
//! ```

use std::fmt;
use std::sync::Arc;

use ordain_types::align_up;

use crate::memory::Memory;
use crate::sync::{AtomicU64, CachePadded, Ordering};

const FRAME: usize = 8;
const PAD: u64 = u64::MAX;
/// Room for a frame and at least a frame's worth of payload in each quarter.
const CAPACITY_MIN: usize = 32;

struct Shared {
    /// Where the receiver reads next. Counts bytes and never wraps.
    head: CachePadded<AtomicU64>,
    /// Where the sender writes next. Counts bytes and never wraps.
    tail: CachePadded<AtomicU64>,
    memory: Memory,
}

impl Shared {
    #[inline]
    fn offset(&self, at: u64) -> usize {
        at as usize & (self.memory.len() - 1)
    }
}

/// The sending half. See [`channel`].
pub struct Sender {
    shared: Arc<Shared>,
    tail: u64,
    /// The receiver's head when last looked at.
    head: u64,
    claim: Option<Claim>,
}

/// A message being written: its frame at `start`, behind a pad if it would have crossed the end of the ring.
#[derive(Clone, Copy)]
struct Claim {
    start: u64,
    len: usize,
}

/// The receiving half. See [`channel`].
pub struct Receiver {
    shared: Arc<Shared>,
    head: u64,
    /// The head that the sender can see.
    released: u64,
    /// The sender's tail when last looked at.
    tail: u64,
}

/// A ring of `capacity` bytes, frames and padding included.
///
/// # Panics
/// If `capacity` is no power of two, or less than 32.
#[must_use]
pub fn channel(capacity: usize) -> (Sender, Receiver) {
    assert!(
        capacity.is_power_of_two() && capacity >= CAPACITY_MIN,
        "capacity must be a power of two, at least {CAPACITY_MIN}"
    );
    let shared = Arc::new(Shared {
        head: CachePadded(AtomicU64::new(0)),
        tail: CachePadded(AtomicU64::new(0)),
        memory: Memory::new(capacity),
    });
    (
        Sender { shared: shared.clone(), tail: 0, head: 0, claim: None },
        Receiver { shared, head: 0, released: 0, tail: 0 },
    )
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("tail", &self.tail).finish_non_exhaustive()
    }
}

impl Sender {
    /// Bytes of the longest message: a quarter of the ring. A message and the pad before it then always fit
    /// into an idle ring, wherever its cursors stand.
    #[must_use]
    pub fn max_len(&self) -> usize {
        self.shared.memory.len() / 4
    }

    /// Space for a message of `len` bytes, aligned to 8 and holding whatever was there before, or `None`
    /// while the ring is too full. A claim that is not committed is forgotten at the next one.
    ///
    /// # Panics
    /// If `len` exceeds [`max_len`](Self::max_len).
    #[inline]
    pub fn try_claim(&mut self, len: usize) -> Option<&mut [u8]> {
        assert!(len <= self.max_len(), "message of {len} bytes exceeds a quarter of its ring");
        self.claim = None;
        let capacity = self.shared.memory.len();
        let size = FRAME + align_up(len, FRAME);
        let until_end = capacity - self.shared.offset(self.tail);
        let pad = if size > until_end { until_end } else { 0 };
        let end = self.tail + (pad + size) as u64;
        if end - self.head > capacity as u64 {
            self.head = self.shared.head.load(Ordering::Acquire);
            if end - self.head > capacity as u64 {
                return None;
            }
        }
        if pad > 0 {
            self.write_frame(self.tail, PAD);
        }
        let start = self.tail + pad as u64;
        self.claim = Some(Claim { start, len });
        // SAFETY: the claim ends at most one capacity beyond the receiver's head, so it does not touch
        // `[head, tail)`, all that the receiver reads. The receiver's reads of what lay here before happened
        // before its head moved past them, which the acquiring load saw. `&mut self` keeps this side to one
        // slice at a time.
        Some(unsafe { self.shared.memory.bytes_mut(self.shared.offset(start) + FRAME, len) })
    }

    /// Sends the claimed message.
    ///
    /// # Panics
    /// If nothing is claimed.
    #[inline]
    pub fn commit(&mut self) {
        let len = self.claim.expect("commit without a claim").len;
        self.commit_prefix(len);
    }

    /// Sends the first `len` bytes of the claim as the message.
    ///
    /// # Panics
    /// If no claim of at least `len` bytes is open.
    #[inline]
    pub fn commit_prefix(&mut self, len: usize) {
        let claim = self.claim.take().expect("commit without a claim");
        assert!(len <= claim.len, "commit of {len} bytes, but {} are claimed", claim.len);
        self.write_frame(claim.start, len as u64);
        self.shared.memory.mark_write(self.shared.offset(claim.start), FRAME + len);
        self.tail = claim.start + (FRAME + align_up(len, FRAME)) as u64;
        self.shared.tail.store(self.tail, Ordering::Release);
    }

    /// Bytes not in use, frames and padding counted as used. Up to an eighth of the ring less than the
    /// receiver has released, see [`Receiver::release`].
    #[must_use]
    pub fn free(&mut self) -> usize {
        self.head = self.shared.head.load(Ordering::Acquire);
        self.shared.memory.len() - (self.tail - self.head) as usize
    }

    fn write_frame(&mut self, at: u64, frame: u64) {
        // SAFETY: frames are written only inside a claim, see `try_claim`, and no slice of it is alive:
        // `&mut self`.
        let bytes = unsafe { self.shared.memory.bytes_mut(self.shared.offset(at), FRAME) };
        bytes.copy_from_slice(&frame.to_ne_bytes());
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("head", &self.head).finish_non_exhaustive()
    }
}

impl Receiver {
    /// The oldest message not released, or `None` if there is none.
    #[inline]
    pub fn peek(&mut self) -> Option<&[u8]> {
        let len = self.front()?;
        // SAFETY: the message lies in `[head, tail)`, which the sender does not write until head moves past
        // it. The sender's writes happened before its tail moved, which the acquiring load in `front` saw.
        Some(unsafe { self.shared.memory.bytes(self.shared.offset(self.head) + FRAME, len) })
    }

    /// Gives the oldest message's bytes back to the sender.
    ///
    /// The sender is told once the receiver has released all it knew of, or an eighth of the ring: writing
    /// the shared cursor per message would cost both sides a cache miss each time.
    ///
    /// # Panics
    /// If there is no message.
    #[inline]
    pub fn release(&mut self) {
        let len = self.front().expect("release without a message");
        self.shared.memory.mark_read(self.shared.offset(self.head), FRAME + len);
        self.head += (FRAME + align_up(len, FRAME)) as u64;
        if self.head == self.tail || self.head - self.released >= self.shared.memory.len() as u64 / 8 {
            self.released = self.head;
            self.shared.head.store(self.head, Ordering::Release);
        }
    }

    /// Length of the oldest message, whose frame is then at head.
    #[inline]
    fn front(&mut self) -> Option<usize> {
        if self.head == self.tail {
            self.tail = self.shared.tail.load(Ordering::Acquire);
            if self.head == self.tail {
                return None;
            }
        }
        let mut frame = self.frame();
        if frame == PAD {
            // A pad becomes visible together with the message behind it, so this is not the last frame.
            self.head += (self.shared.memory.len() - self.shared.offset(self.head)) as u64;
            frame = self.frame();
        }
        Some(frame as usize)
    }

    fn frame(&self) -> u64 {
        // SAFETY: a frame lies at head whenever head is before tail; then as in `peek`.
        let bytes = unsafe { self.shared.memory.bytes(self.shared.offset(self.head), FRAME) };
        u64::from_ne_bytes(bytes.try_into().expect("a frame is 8 bytes"))
    }
}
