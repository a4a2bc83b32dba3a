//! Bytes on their way to the node.

use ordain_types::RecordHeader;
use ordain_types::record::{PAYLOAD_MAX, RECORD_HEADER, record_len};
use zerocopy::IntoBytes;

/// Bytes that wait to be sent at most. Holds the longest frame beside [`CONTROL`]; large enough that one
/// write carries many requests, small enough that a Ping behind it is not late.
const SIZE: usize = 256 * 1024;
/// Of these, kept free of requests and queries, so that what keeps a connection alive always fits:
/// all subscriptions at once, and a few small frames.
const CONTROL: usize = 16 * 1024;
const _: () = assert!(record_len(PAYLOAD_MAX) + CONTROL <= SIZE);

/// Frames that wait to be sent, in order. Allocates when it is made and never again.
#[derive(Debug)]
pub(crate) struct Outbox {
    bytes: Vec<u8>,
    sent: usize,
}

impl Outbox {
    pub fn new() -> Self {
        Self { bytes: Vec::with_capacity(SIZE), sent: 0 }
    }

    pub fn clear(&mut self) {
        self.bytes.clear();
        self.sent = 0;
    }

    pub fn waiting(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    pub fn sent(&mut self, bytes: usize) {
        assert!(bytes <= self.waiting().len(), "more was sent than there is");
        self.sent += bytes;
        if self.sent == self.bytes.len() {
            self.clear();
        }
    }

    /// Whether `len` bytes fit beside what is kept for control frames.
    pub fn has_room(&self, len: usize) -> bool {
        self.waiting().len() + len + CONTROL <= SIZE
    }

    fn has_control_room(&self, len: usize) -> bool {
        self.waiting().len() + len <= SIZE
    }

    /// Appends a whole frame. `false`: there is no room.
    pub fn put(&mut self, frame: &[u8]) -> bool {
        if !self.has_room(frame.len()) {
            return false;
        }
        self.make_room(frame.len());
        self.bytes.extend_from_slice(frame);
        true
    }

    /// Appends a frame made of its parts; of a request's or query's size only if [`Outbox::has_room`].
    pub fn put_parts(&mut self, header: RecordHeader, payload: &[u8]) -> bool {
        let len = record_len(payload.len());
        if !self.has_control_room(len) {
            return false;
        }
        self.make_room(len);
        let header = RecordHeader { length: (payload.len() as u32).into(), ..header };
        self.bytes.extend_from_slice(header.as_bytes());
        self.bytes.extend_from_slice(payload);
        self.bytes.resize(self.bytes.len() + len - RECORD_HEADER - payload.len(), 0);
        true
    }

    fn make_room(&mut self, len: usize) {
        if self.bytes.len() + len > SIZE {
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_leave_in_order_however_few_at_a_time() {
        let mut outbox = Outbox::new();
        let capacity = outbox.bytes.capacity();
        let (mut put, mut sent, mut refused) = (0_usize, 0_usize, 0);
        for round in 0..20_000 {
            let frame: [u8; 96] = core::array::from_fn(|at| (put + at) as u8);
            if outbox.put(&frame) {
                put += frame.len();
            } else {
                refused += 1;
            }
            // On average fewer than come in, so that it fills up.
            let part = (round * 13 % 150).min(outbox.waiting().len());
            let expected: Vec<u8> = (sent..sent + part).map(|at| at as u8).collect();
            assert_eq!(outbox.waiting()[..part], expected, "round {round}");
            outbox.sent(part);
            sent += part;
        }
        assert!(refused > 0 && put - sent == outbox.waiting().len());
        assert_eq!(outbox.bytes.capacity(), capacity);
    }

    #[test]
    fn a_full_outbox_still_takes_what_keeps_a_connection_alive() {
        let mut outbox = Outbox::new();
        while outbox.put(&[0; 8]) {}
        assert_eq!(outbox.waiting().len(), SIZE - CONTROL);
        assert!(outbox.put_parts(RecordHeader::default(), &[0; 16]));
        for _ in 0..2 * CONTROL / 1000 {
            outbox.put_parts(RecordHeader::default(), &[0; 968]);
        }
        assert!(!outbox.put_parts(RecordHeader::default(), &[0; 968]), "bounded all the same");
        assert!(outbox.waiting().len() <= SIZE);
    }
}
