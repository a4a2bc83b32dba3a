//! The output log: what committed batches said to others, kept for those who read late.
//!
//! It is derived from the journal and not synced: a node that starts replays the journal and fills it
//! again. It holds the latest outputs up to a bound in bytes, and drops the oldest first, so that what is
//! kept depends on the outputs alone and not on who reads.
#![forbid(unsafe_code)]

use ordain_types::{OutputSeq, Stream};
use rustc_hash::FxHashMap;
use std::collections::VecDeque;

/// What a reader finds at a number of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read<'a> {
    /// The output's frame.
    Frame(&'a [u8]),
    /// It has not happened yet.
    NotYet,
    /// It was dropped. Holds the oldest number still kept, or the next to come if none is.
    TooOld(OutputSeq),
}

/// Outputs of one stream: their places in the arena, dense from `first`.
#[derive(Debug)]
struct Kept {
    first: OutputSeq,
    places: VecDeque<u64>,
}

/// See the module.
#[derive(Debug)]
pub struct OutputLog {
    /// A ring of bytes. A frame never crosses its end.
    arena: Vec<u8>,
    /// Everything in the arena, oldest first: where, how long, whose.
    entries: VecDeque<(u64, u32, u64)>,
    /// Where the next frame goes; grows for ever, modulo the arena's length.
    end: u64,
    streams: FxHashMap<u64, Kept>,
}

impl OutputLog {
    /// An empty log that keeps at most `bytes` of frames.
    ///
    /// # Panics
    /// If `bytes` is 0.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        assert!(bytes > 0);
        // Zeroed memory costs nothing until it is used.
        let arena = vec![0; bytes];
        Self { arena, entries: VecDeque::new(), end: 0, streams: FxHashMap::default() }
    }

    /// Appends output `seq` of a stream.
    ///
    /// # Panics
    /// If the frame is empty or longer than the log, or the number does not follow the stream's last.
    pub fn append(&mut self, stream: Stream, seq: OutputSeq, frame: &[u8]) {
        let size = self.arena.len() as u64;
        let len = frame.len() as u64;
        assert!(0 < len && len <= size, "an output of {len} bytes in a log of {size}");
        let left = size - self.end % size;
        let start = if left < len { self.end + left } else { self.end };
        while let Some(&(oldest, _, whose)) = self.entries.front()
            && oldest + size < start + len
        {
            self.drop_oldest(whose);
        }
        let at = (start % size) as usize;
        self.arena[at..at + frame.len()].copy_from_slice(frame);
        self.end = start + len;
        let wire = stream.to_wire();
        let kept = self.streams.entry(wire).or_insert_with(|| Kept { first: seq, places: VecDeque::new() });
        assert_eq!(kept.first.0 + kept.places.len() as u64, seq.0, "outputs of a stream are dense");
        kept.places.push_back(start);
        self.entries.push_back((start, frame.len() as u32, wire));
    }

    fn drop_oldest(&mut self, stream: u64) {
        self.entries.pop_front();
        let kept = self.streams.get_mut(&stream).expect("an entry has its stream");
        kept.places.pop_front();
        kept.first = kept.first.next();
    }

    /// What is at number `seq` of a stream.
    #[must_use]
    pub fn read(&self, stream: Stream, seq: OutputSeq) -> Read<'_> {
        let Some(kept) = self.streams.get(&stream.to_wire()) else { return Read::NotYet };
        let Some(nth) = seq.0.checked_sub(kept.first.0) else { return Read::TooOld(kept.first) };
        let Some(&start) = kept.places.get(nth as usize) else { return Read::NotYet };
        let entry =
            self.entries.binary_search_by_key(&start, |entry| entry.0).expect("a place has its entry");
        let at = (start % self.arena.len() as u64) as usize;
        Read::Frame(&self.arena[at..at + self.entries[entry].1 as usize])
    }

    /// The number that the stream's next output will have.
    #[must_use]
    pub fn next(&self, stream: Stream) -> OutputSeq {
        self.streams
            .get(&stream.to_wire())
            .map_or(OutputSeq(1), |kept| OutputSeq(kept.first.0 + kept.places.len() as u64))
    }

    /// Outputs kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Forgets everything: the outputs come anew from the first.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.streams.clear();
        self.end = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_oldest_go_first_and_asking_for_them_is_answered() {
        let mut log = OutputLog::new(100);
        for n in 1..=10 {
            log.append(Stream::Public, OutputSeq(n), &[n as u8; 30]);
        }
        assert_eq!(log.len(), 3);
        assert_eq!(log.read(Stream::Public, OutputSeq(7)), Read::TooOld(OutputSeq(8)));
        assert_eq!(log.read(Stream::Public, OutputSeq(8)), Read::Frame(&[8; 30]));
        assert_eq!(log.read(Stream::Public, OutputSeq(11)), Read::NotYet);
        assert_eq!(log.next(Stream::Public), OutputSeq(11));
        assert_eq!(log.read(Stream::Topic(1), OutputSeq(1)), Read::NotYet);
    }

    #[test]
    #[should_panic(expected = "dense")]
    fn a_gap_in_a_stream_is_a_defect() {
        let mut log = OutputLog::new(100);
        log.append(Stream::Public, OutputSeq(1), b"a");
        log.append(Stream::Public, OutputSeq(3), b"b");
    }

    proptest! {
        /// Against a plain list of everything: whatever is kept is right, and what is kept is the newest.
        #[test]
        fn agrees_with_a_plain_list(
            outputs in prop::collection::vec((0_u32..4, 1_usize..40), 0..200),
            bytes in 40_usize..300,
        ) {
            let mut log = OutputLog::new(bytes);
            let mut all: Vec<Vec<Vec<u8>>> = vec![Vec::new(); 4];
            for (nth, (topic, len)) in outputs.iter().enumerate() {
                let frame = vec![nth as u8; *len];
                all[*topic as usize].push(frame.clone());
                log.append(Stream::Topic(*topic), OutputSeq(all[*topic as usize].len() as u64), &frame);
                for (topic, frames) in all.iter().enumerate() {
                    let mut seen = false;
                    for (at, frame) in frames.iter().enumerate() {
                        match log.read(Stream::Topic(topic as u32), OutputSeq(at as u64 + 1)) {
                            Read::Frame(found) => {
                                seen = true;
                                prop_assert_eq!(found, &frame[..]);
                            }
                            other => prop_assert!(!seen, "{:?} behind what is kept", other),
                        }
                    }
                }
            }
        }
    }
}
