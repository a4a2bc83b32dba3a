//! Replies that a session keeps because its client has not confirmed them.

use ordain_types::codes::Code;
use ordain_types::{Number, RecordView, Seq};
use std::collections::VecDeque;

/// What tells a repeated request from another one under the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fingerprint {
    pub crc: u32,
    pub length: u32,
    pub kind: u8,
    pub schema: u8,
}

impl Fingerprint {
    pub fn of(record: &RecordView<'_>) -> Self {
        Self {
            crc: crc32c::crc32c(record.payload),
            length: record.header.length.get(),
            kind: record.header.kind,
            schema: record.header.schema,
        }
    }
}

/// A reply that is kept; its payload lies in the session's byte ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    /// Of the record that was executed.
    pub seq: Seq,
    pub request: Fingerprint,
    pub code: Code,
    at: u64,
    len: u16,
}

impl Kept {
    pub const fn len(&self) -> usize {
        self.len as usize
    }
}

/// The replies to `floor..next`, one for each number.
#[derive(Clone, Debug)]
pub(crate) struct Replies {
    floor: u64,
    kept: VecDeque<Kept>,
    bytes: ByteRing,
}

impl Replies {
    /// No replies; `next` is the first number to come.
    pub fn new(next: Number) -> Self {
        Self { floor: next.0, kept: VecDeque::new(), bytes: ByteRing::default() }
    }

    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// The lowest number whose reply is kept.
    pub const fn floor(&self) -> Number {
        Number(self.floor)
    }

    /// The number that the session expects.
    pub fn next(&self) -> Number {
        Number(self.floor + self.kept.len() as u64)
    }

    pub fn get(&self, number: Number) -> Option<Kept> {
        let place = number.0.checked_sub(self.floor)?;
        self.kept.get(usize::try_from(place).ok()?).copied()
    }

    /// The payload in two parts: it may cross the end of the ring.
    pub fn payload(&self, kept: &Kept) -> (&[u8], &[u8]) {
        self.bytes.read(kept.at, kept.len())
    }

    /// Keeps the reply to the next number.
    pub fn push(&mut self, seq: Seq, request: Fingerprint, code: Code, payload: &[u8]) {
        let len = u16::try_from(payload.len()).expect("a reply is at most 1 KiB");
        let at = self.bytes.push(payload);
        self.kept.push_back(Kept { seq, request, code, at, len });
    }

    /// Forgets the replies below `lowest`, which a client may name without knowing what has been answered.
    pub fn confirm(&mut self, lowest: Number) {
        let gone = lowest.min(self.next()).0.saturating_sub(self.floor);
        for _ in 0..gone {
            let kept = self.kept.pop_front().expect("one for each number");
            self.bytes.drop_front(kept.len());
        }
        self.floor += gone;
    }
}

/// Bytes in first-in, first-out order. Grows to the next power of two that holds what is kept at one time,
/// so to at most twice `window * reply_max`, and never shrinks: a session in its stride allocates nothing.
#[derive(Clone, Debug, Default)]
struct ByteRing {
    bytes: Vec<u8>,
    head: u64,
    tail: u64,
}

impl ByteRing {
    fn push(&mut self, data: &[u8]) -> u64 {
        let at = self.tail;
        if data.is_empty() {
            return at;
        }
        self.reserve(data.len());
        self.tail += data.len() as u64;
        let start = self.offset(at);
        let first = data.len().min(self.bytes.len() - start);
        self.bytes[start..start + first].copy_from_slice(&data[..first]);
        self.bytes[..data.len() - first].copy_from_slice(&data[first..]);
        at
    }

    fn reserve(&mut self, more: usize) {
        let used = (self.tail - self.head) as usize;
        if used + more <= self.bytes.len() {
            return;
        }
        let mut larger = vec![0; (used + more).next_power_of_two().max(64)];
        let mask = larger.len() - 1;
        // A position keeps its value, so that what refers to it stays true; only its place changes.
        for at in self.head..self.tail {
            larger[at as usize & mask] = self.bytes[self.offset(at)];
        }
        self.bytes = larger;
    }

    fn read(&self, at: u64, len: usize) -> (&[u8], &[u8]) {
        if len == 0 {
            return (&[], &[]);
        }
        let start = self.offset(at);
        let first = len.min(self.bytes.len() - start);
        (&self.bytes[start..start + first], &self.bytes[..len - first])
    }

    fn drop_front(&mut self, len: usize) {
        self.head += len as u64;
        debug_assert!(self.head <= self.tail);
    }

    fn offset(&self, at: u64) -> usize {
        at as usize & (self.bytes.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_survive_wrapping_and_growing() {
        let mut replies = Replies::new(Number(1));
        let request = Fingerprint { crc: 0, length: 0, kind: 1, schema: 0 };
        for number in 1..500_u64 {
            let payload = vec![number as u8; (number as usize * 7) % 100];
            replies.push(Seq(number), request, Code::Executed, &payload);
            replies.confirm(Number(number.saturating_sub(number % 9)));
            for number in replies.floor().0..replies.next().0 {
                let kept = replies.get(Number(number)).unwrap();
                let (first, second) = replies.payload(&kept);
                assert_eq!([first, second].concat(), vec![number as u8; (number as usize * 7) % 100]);
            }
        }
        assert!(replies.bytes.bytes.len() <= 1024, "nine replies of under 100 bytes");
    }

    #[test]
    fn a_client_cannot_confirm_what_is_to_come() {
        let mut replies = Replies::new(Number(1));
        replies.confirm(Number(u64::MAX));
        assert_eq!((replies.floor(), replies.next()), (Number(1), Number(1)));
    }
}
