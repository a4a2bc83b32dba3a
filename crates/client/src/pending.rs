//! Requests that are open: their bytes, kept so that they can be sent again, and what is known of each.

use ordain_types::record::{RECORD_HEADER, record_len};
use ordain_types::{RecordHeader, RecordKind, SessionId};
use std::collections::VecDeque;
use zerocopy::{FromBytes, IntoBytes};

/// What is known of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Under its present number it is not in the log.
    Fresh,
    /// It was sent: it may be in the log.
    Sent,
    /// Its outcome was reported, and it used up its number.
    Done,
    /// Refused or passed over, to be sent again under a number that is found later. Not in the log.
    Bounced,
    /// Refused for good, which was reported. Its number is free.
    Dropped,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub ticket: u64,
    pub kind: RecordKind,
    pub state: State,
    at: u64,
    len: u32,
}

/// Open requests in the order of their numbers, which are dense. Bounded twice: by how many there are, and
/// by the bytes of a ring in which each frame lies in one piece. Allocates when it is made and never again.
#[derive(Debug)]
pub(crate) struct Pending {
    bytes: Box<[u8]>,
    tail: u64,
    entries: VecDeque<Entry>,
    lowest: u64,
    /// First number that was not sent on this connection.
    unsent: u64,
}

impl Pending {
    /// Room for `requests` open requests of `bytes` bytes, a power of two, in all.
    pub fn new(requests: usize, bytes: usize) -> Self {
        assert!(bytes.is_power_of_two());
        Self {
            bytes: vec![0; bytes].into_boxed_slice(),
            tail: 0,
            entries: VecDeque::with_capacity(requests),
            lowest: 1,
            unsent: 1,
        }
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Number of the oldest open request, or of the next one.
    pub const fn lowest(&self) -> u64 {
        self.lowest
    }

    /// Number of the next new request.
    pub fn next(&self) -> u64 {
        self.lowest + self.entries.len() as u64
    }

    pub const fn unsent(&self) -> u64 {
        self.unsent
    }

    pub fn get(&self, number: u64) -> Option<&Entry> {
        self.entries.get(usize::try_from(number.checked_sub(self.lowest)?).ok()?)
    }

    pub fn set(&mut self, number: u64, state: State) {
        let place = (number - self.lowest) as usize;
        self.entries[place].state = state;
    }

    /// Begins to number at `number`.
    pub fn start(&mut self, number: u64) {
        assert!(self.entries.is_empty(), "no request is open");
        (self.lowest, self.unsent, self.tail) = (number, number, 0);
    }

    /// Numbers a request and keeps it. `false`: there is no room for its bytes.
    pub fn push(
        &mut self,
        (ticket, session, kind): (u64, SessionId, RecordKind),
        schema: u8,
        payload: &[u8],
    ) -> bool {
        let len = record_len(payload.len());
        let Some(at) = self.place(len) else { return false };
        let number = self.next();
        let header = RecordHeader {
            length: (payload.len() as u32).into(),
            kind: kind as u8,
            schema,
            open_span: span(number, self.lowest).into(),
            session: session.0.into(),
            number: number.into(),
            ..RecordHeader::default()
        };
        let offset = at as usize & (self.bytes.len() - 1);
        let frame = &mut self.bytes[offset..offset + len];
        frame[..RECORD_HEADER].copy_from_slice(header.as_bytes());
        let (body, padding) = frame[RECORD_HEADER..].split_at_mut(payload.len());
        body.copy_from_slice(payload);
        padding.fill(0);
        self.tail = at + len as u64;
        self.entries.push_back(Entry { ticket, kind, state: State::Fresh, at, len: len as u32 });
        true
    }

    fn place(&mut self, len: usize) -> Option<u64> {
        let (size, len) = (self.bytes.len() as u64, len as u64);
        let Some(oldest) = self.entries.front() else {
            self.tail = 0;
            return (len <= size).then_some(0);
        };
        let offset = self.tail & (size - 1);
        let at = if offset + len > size { self.tail + (size - offset) } else { self.tail };
        (at + len <= oldest.at + size).then_some(at)
    }

    /// The request to be sent next, if any.
    pub fn to_send(&self) -> Option<&[u8]> {
        Some(self.frame(self.get(self.unsent)?))
    }

    fn frame(&self, entry: &Entry) -> &[u8] {
        let offset = entry.at as usize & (self.bytes.len() - 1);
        &self.bytes[offset..offset + entry.len as usize]
    }

    /// The one that [`Pending::to_send`] gave is on its way. One that is done already is sent again with
    /// those around it: the node answers as before, and nobody listens.
    pub fn mark_sent(&mut self) {
        let place = (self.unsent - self.lowest) as usize;
        let state = &mut self.entries[place].state;
        if *state == State::Fresh {
            *state = State::Sent;
        }
        self.unsent += 1;
    }

    /// A new connection: everything is to be sent again.
    pub fn rewind(&mut self) {
        self.unsent = self.lowest;
    }

    /// The outcome of `number` was reported and its number is used up.
    pub fn done(&mut self, number: u64) {
        self.set(number, State::Done);
        while self.entries.front().is_some_and(|entry| entry.state == State::Done) {
            self.entries.pop_front();
            self.lowest += 1;
        }
        self.unsent = self.unsent.max(self.lowest);
    }

    /// Numbers what is left of the requests from `from` on anew, without gaps. None of them is in the log.
    pub fn renumber(&mut self, from: u64) {
        let keep = (from - self.lowest) as usize;
        let mut place = 0;
        self.entries.retain(|entry| {
            place += 1;
            place <= keep || entry.state != State::Dropped
        });
        for place in keep..self.entries.len() {
            let entry = &mut self.entries[place];
            entry.state = State::Fresh;
            let number = self.lowest + place as u64;
            let offset = entry.at as usize & (self.bytes.len() - 1);
            let (header, _) =
                RecordHeader::mut_from_prefix(&mut self.bytes[offset..]).expect("a whole frame");
            header.number = number.into();
            header.open_span = span(number, self.lowest).into();
        }
        self.unsent = self.unsent.min(from);
    }

    /// Takes the oldest request out, whatever is known of it, with its number.
    pub fn take_oldest(&mut self) -> Option<(u64, Entry)> {
        let entry = self.entries.pop_front()?;
        let number = self.lowest;
        self.lowest += 1;
        self.unsent = self.unsent.max(self.lowest);
        Some((number, entry))
    }
}

fn span(number: u64, lowest: u64) -> u16 {
    u16::try_from(number - lowest).expect("the window is at most 65,535")
}

#[cfg(test)]
mod tests {
    use super::*;
    use ordain_types::RecordView;

    fn push(pending: &mut Pending, ticket: u64, payload: &[u8]) -> bool {
        pending.push((ticket, SessionId(9), RecordKind::Request), 1, payload)
    }

    #[test]
    fn frames_survive_wrapping_and_are_never_overwritten() {
        let mut pending = Pending::new(64, 512);
        let payload = |ticket: u64| vec![ticket as u8; (ticket as usize * 37) % 120];
        let (mut ticket, mut full) = (0, 0);
        for round in 0..500_u64 {
            while push(&mut pending, ticket, &payload(ticket)) {
                ticket += 1;
            }
            full += 1;
            pending.rewind();
            while let Some(frame) = pending.to_send() {
                let (view, rest) = RecordView::split(frame).unwrap();
                assert!(rest.is_empty());
                let entry = pending.get(view.header.number().0).unwrap();
                assert_eq!(view.payload, payload(entry.ticket));
                pending.mark_sent();
            }
            for _ in 0..=round % 3 {
                pending.done(pending.lowest());
            }
        }
        assert!(full == 500 && ticket > 500);
    }

    #[test]
    fn an_empty_ring_takes_one_request_of_its_size() {
        let mut pending = Pending::new(4, 256);
        assert!(push(&mut pending, 0, &[1; 100]));
        pending.done(1);
        assert!(push(&mut pending, 1, &[1; 224]));
        assert!(!push(&mut pending, 2, &[]));
    }

    #[test]
    fn renumbering_closes_gaps_and_patches_frames() {
        let mut pending = Pending::new(8, 1024);
        for ticket in 0..5 {
            assert!(push(&mut pending, ticket, &[ticket as u8]));
            pending.mark_sent();
        }
        pending.set(2, State::Dropped);
        pending.set(4, State::Dropped);
        pending.renumber(2);
        assert_eq!((pending.lowest(), pending.unsent(), pending.next()), (1, 2, 4));
        let mut seen = Vec::new();
        while let Some(frame) = pending.to_send() {
            let (view, _) = RecordView::split(frame).unwrap();
            seen.push((view.header.number().0, view.header.open_span.get(), view.payload[0]));
            pending.mark_sent();
        }
        assert_eq!(seen, [(2, 1, 2), (3, 2, 4)]);
    }
}
