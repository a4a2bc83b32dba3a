//! The output log: numbered outputs of committed batches, kept in a bounded number of bytes.
//!
//! It is derived from the journal and rebuilt by replaying it, so nothing of it is stored. Outputs are
//! appended in the order of the log and leave in the same order when room is needed: what it holds depends
//! on its size and on what was appended, on nothing else.
#![forbid(unsafe_code)]

use ordain_types::OutputSeq;
use ordain_types::frame::{REPLY_MAX, SERVER_HEADER, ServerHeader, frame_len};
use rustc_hash::FxHashMap;
use std::collections::VecDeque;
use zerocopy::FromBytes;

/// Bytes of the smallest log: a few of the longest frames, so that dropping the oldest always makes room.
pub const CAPACITY_MIN: usize = 4 * frame_len(REPLY_MAX);

/// What is found at a place in a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read<'a> {
    /// The output's whole frame.
    Output(&'a [u8]),
    /// It has not been emitted yet.
    NotYet,
    /// It was dropped; this is the oldest that is kept, or the next to come if none is.
    TooOld(OutputSeq),
}

/// See the module.
///
/// Memory: `capacity` bytes of frames, 8 bytes of index per frame kept (so at most a quarter as much), and a
/// few words for each stream that ever had an output and was not forgotten: as many as the application names,
/// and one per open session.
#[derive(Debug)]
pub struct OutputLog {
    bytes: Box<[u8]>,
    /// Offsets of the oldest byte kept and of the next to be written. They count on for ever; the place of an
    /// offset is its remainder by the capacity. No frame crosses the end of `bytes`.
    head: u64,
    tail: u64,
    /// Where the unused bytes begin before an end of `bytes` that a frame did not fit in front of.
    gap: Option<u64>,
    streams: FxHashMap<u64, Index>,
}

#[derive(Debug, Default)]
struct Index {
    /// Number of the output that comes next.
    next: u64,
    /// Offsets of the outputs before it that are kept.
    kept: VecDeque<u64>,
}

impl Index {
    fn oldest(&self) -> u64 {
        self.next - self.kept.len() as u64
    }
}

impl OutputLog {
    /// An empty log.
    ///
    /// # Panics
    /// If `capacity` is below [`CAPACITY_MIN`] or no multiple of 8.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        assert!(capacity >= CAPACITY_MIN, "an output log needs at least {CAPACITY_MIN} bytes");
        assert!(capacity.is_multiple_of(8), "frames are multiples of 8 bytes");
        Self {
            bytes: vec![0; capacity].into_boxed_slice(),
            head: 0,
            tail: 0,
            gap: None,
            streams: FxHashMap::default(),
        }
    }

    /// Appends an output's whole frame and drops the oldest ones as far as it needs their room. Says which
    /// stream it belongs to.
    ///
    /// # Panics
    /// If `frame` is no frame of at most [`REPLY_MAX`] bytes of payload, or is not the next of its stream.
    pub fn append(&mut self, frame: &[u8]) -> u64 {
        let header = ServerHeader::ref_from_prefix(frame).expect("a whole frame").0;
        assert!(header.frame_len() == frame.len() && frame.len() <= frame_len(REPLY_MAX), "a whole frame");
        let (stream, number) = (header.session.get(), header.number.get());
        let capacity = self.bytes.len() as u64;
        let until_end = capacity - self.tail % capacity;
        let size = frame.len() as u64;
        let start = if size > until_end { self.tail + until_end } else { self.tail };
        while start + size - self.head > capacity {
            self.drop_oldest();
        }
        if start != self.tail {
            self.gap = Some(self.tail);
        }
        self.tail = start + size;
        let place = (start % capacity) as usize;
        self.bytes[place..place + frame.len()].copy_from_slice(frame);
        // A stream may be met in its middle: those of forgotten sessions are not, all others begin with 1.
        let index = self.streams.entry(stream).or_insert_with(|| Index { next: number, ..Index::default() });
        assert!(index.next == number, "output {number} of stream {stream:#x} instead of {}", index.next);
        index.next += 1;
        index.kept.push_back(start);
        stream
    }

    fn drop_oldest(&mut self) {
        let capacity = self.bytes.len() as u64;
        if self.gap == Some(self.head) {
            self.head = self.head.next_multiple_of(capacity);
            self.gap = None;
            return;
        }
        assert!(self.head < self.tail, "an empty log holds any frame");
        let header = self.header(self.head);
        let (stream, size) = (header.session.get(), header.frame_len() as u64);
        // The stream of a session that was forgotten has no index any more.
        if let Some(index) = self.streams.get_mut(&stream)
            && index.kept.front() == Some(&self.head)
        {
            index.kept.pop_front();
        }
        self.head += size;
    }

    fn header(&self, at: u64) -> &ServerHeader {
        let place = (at % self.bytes.len() as u64) as usize;
        ServerHeader::ref_from_bytes(&self.bytes[place..place + SERVER_HEADER]).expect("32 bytes")
    }

    /// `stream` had `count` outputs before this log began: none of them is kept.
    ///
    /// # Panics
    /// If the log knows the stream.
    pub fn begin(&mut self, stream: u64, count: u64) {
        let known = self.streams.insert(stream, Index { next: count + 1, ..Index::default() });
        assert!(known.is_none(), "stream {stream:#x} begins once");
    }

    /// The output of `stream` with this number.
    #[must_use]
    pub fn read(&self, stream: u64, number: OutputSeq) -> Read<'_> {
        let Some(index) = self.streams.get(&stream).filter(|index| number.0 < index.next) else {
            return Read::NotYet;
        };
        let Some(nth) = number.0.checked_sub(index.oldest()) else {
            return Read::TooOld(OutputSeq(index.oldest()));
        };
        let at = index.kept[nth as usize];
        let place = (at % self.bytes.len() as u64) as usize;
        Read::Output(&self.bytes[place..place + self.header(at).frame_len()])
    }

    /// Number of the next output to come.
    #[must_use]
    pub fn next(&self, stream: u64) -> OutputSeq {
        OutputSeq(self.streams.get(&stream).map_or(1, |index| index.next))
    }

    /// Forgets a stream that will have no more outputs: that of a session that ended.
    pub fn forget(&mut self, stream: u64) {
        self.streams.remove(&stream);
    }

    /// Forgets everything: the outputs come again from the first.
    pub fn clear(&mut self) {
        self.streams.clear();
        (self.head, self.tail, self.gap) = (0, 0, None);
    }

    /// Bytes in use.
    #[must_use]
    pub const fn used(&self) -> u64 {
        self.tail - self.head
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ordain_types::frame::ServerFrame;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use zerocopy::IntoBytes;

    fn frame(stream: u64, number: u64, payload: usize) -> Vec<u8> {
        let header = ServerHeader {
            length: (payload as u32).into(),
            kind: ServerFrame::Output as u8,
            session: stream.into(),
            number: number.into(),
            ..ServerHeader::default()
        };
        let mut frame = header.as_bytes().to_vec();
        frame.resize(SERVER_HEADER + payload, (stream * 31 + number) as u8);
        frame.resize(frame_len(payload), 0);
        frame
    }

    #[test]
    fn what_is_appended_is_read_until_it_is_too_old() {
        let mut log = OutputLog::new(CAPACITY_MIN);
        assert_eq!((log.read(5, OutputSeq(1)), log.next(5)), (Read::NotYet, OutputSeq(1)));
        for number in 1..=4 {
            assert_eq!(log.append(&frame(5, number, REPLY_MAX)), 5);
        }
        assert_eq!(log.read(5, OutputSeq(1)), Read::Output(&frame(5, 1, REPLY_MAX)));
        log.append(&frame(6, 1, 0));
        assert_eq!(log.read(5, OutputSeq(1)), Read::TooOld(OutputSeq(2)));
        assert_eq!(log.read(5, OutputSeq(5)), Read::NotYet);
        for number in 2..=150 {
            log.append(&frame(6, number, 0));
        }
        assert_eq!(log.read(5, OutputSeq(4)), Read::TooOld(OutputSeq(5)), "none is kept, the next is 5");
        assert_eq!(log.next(5), OutputSeq(5));
    }

    #[test]
    fn a_forgotten_stream_leaves_nothing_behind() {
        let mut log = OutputLog::new(CAPACITY_MIN);
        log.append(&frame(5, 1, 100));
        log.forget(5);
        assert_eq!(log.read(5, OutputSeq(1)), Read::NotYet);
        for number in 1..=1000 {
            log.append(&frame(6, number, 100));
        }
        log.clear();
        assert_eq!(log.append(&frame(6, 1, 8)), 6);
        assert_eq!(log.read(6, OutputSeq(1)), Read::Output(&frame(6, 1, 8)));
    }

    #[test]
    fn a_stream_may_begin_with_a_gap() {
        let mut log = OutputLog::new(CAPACITY_MIN);
        log.begin(5, 7);
        assert_eq!(log.next(5), OutputSeq(8));
        assert_eq!(log.read(5, OutputSeq(7)), Read::TooOld(OutputSeq(8)));
        assert_eq!(log.read(5, OutputSeq(8)), Read::NotYet);
        log.append(&frame(5, 8, 8));
        assert_eq!(log.read(5, OutputSeq(8)), Read::Output(&frame(5, 8, 8)));
        assert_eq!(log.read(5, OutputSeq(1)), Read::TooOld(OutputSeq(8)));
    }

    #[test]
    #[should_panic(expected = "output 3 of stream 0x5 instead of 2")]
    fn a_gap_is_a_broken_invariant() {
        let mut log = OutputLog::new(CAPACITY_MIN);
        log.append(&frame(5, 1, 0));
        log.append(&frame(5, 3, 0));
    }

    proptest! {
        /// A model that keeps every frame: what the log gives is right, is a suffix of the stream, and the
        /// suffixes together are a suffix of everything appended that fills the log but for one frame and a gap.
        #[test]
        fn it_agrees_with_a_log_that_keeps_everything(
            capacity in CAPACITY_MIN / 8..CAPACITY_MIN / 4,
            appended in prop::collection::vec((0..4_u64, 0..=REPLY_MAX), 0..200),
        ) {
            let capacity = capacity * 8;
            let mut log = OutputLog::new(capacity);
            let mut streams = BTreeMap::<u64, Vec<Vec<u8>>>::new();
            let mut all = Vec::new();
            for (stream, payload) in appended {
                let frames = streams.entry(stream).or_default();
                frames.push(frame(stream, frames.len() as u64 + 1, payload));
                all.push((stream, frames.len() as u64, frame_len(payload)));
                log.append(frames.last().unwrap());
                prop_assert!(log.used() <= capacity as u64);
                let mut kept = 0;
                for (stream, frames) in &streams {
                    prop_assert_eq!(log.next(*stream).0, frames.len() as u64 + 1);
                    let mut oldest = None;
                    for (at, frame) in frames.iter().enumerate() {
                        let number = at as u64 + 1;
                        match log.read(*stream, OutputSeq(number)) {
                            Read::Output(read) => {
                                prop_assert_eq!(read, &frame[..]);
                                oldest.get_or_insert(number);
                                kept += 1;
                            }
                            Read::TooOld(first) => {
                                prop_assert!(oldest.is_none() && first.0 > number);
                            }
                            Read::NotYet => prop_assert!(false, "it was appended"),
                        }
                    }
                }
                let (gone, held) = all.split_at(all.len() - kept);
                let bytes: usize = held.iter().map(|(.., size)| size).sum();
                for (stream, number, _) in held {
                    prop_assert!(matches!(log.read(*stream, OutputSeq(*number)), Read::Output(_)));
                }
                let slack = 2 * frame_len(REPLY_MAX);
                prop_assert!(gone.is_empty() || bytes + slack >= capacity, "no more is dropped than needed");
            }
        }
    }
}
