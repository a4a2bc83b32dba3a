//! A snapshot takes the log's place: the file that says so, and what a start makes of it.
//!
//! The file is written when the incoming snapshot is whole and synced and the log is frozen, and is the last thing that
//! a life does. The next start checks the snapshot once more, and only then removes what the log was. Every step may be
//! interrupted and is repeated by the next start, until the file goes, last of all.

use crate::message::{Held, Offer};
use core::fmt;
use ordain_agent::disk::{Disk, DiskDone, DiskError, DiskOp, FileId, IoBytes};
use ordain_agent::planted::{self, Mistake};
use ordain_apply::Check;
use ordain_journal::{Mark, NODE_STATE_LEN, StateFault, succeed};
use ordain_types::batch::SEGMENT_START_LEN;
use ordain_types::{BatchIndex, BatchView, ClusterFacts, Position};
use std::collections::VecDeque;

/// Bytes of the file.
pub const SUCCESSION: usize = 256;
const MAGIC: [u8; 4] = *b"ORDI";
const VERSION: u8 = 1;
const CRC_AT: usize = SUCCESSION - 4;
/// Where the batch behind the snapshot stands in the file.
const START_AT: usize = 64;

/// Bytes read at once.
const READ: usize = 256 * 1024;

/// What the file says. Layout: `docs/format/journal.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Succession {
    /// The snapshot.
    pub held: Held,
    /// The batch behind it.
    pub start: [u8; SEGMENT_START_LEN],
}

impl From<&Offer> for Succession {
    fn from(offer: &Offer) -> Self {
        Self { held: offer.held, start: offer.start }
    }
}

impl Succession {
    /// The bytes of the file.
    #[must_use]
    pub fn encode(&self) -> [u8; SUCCESSION] {
        let mut bytes = [0; SUCCESSION];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4] = VERSION;
        let numbers = [self.held.position.0, self.held.index.0, self.held.bytes];
        for (at, number) in (8..).step_by(8).zip(numbers) {
            bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
        }
        bytes[32..64].copy_from_slice(&self.held.hash);
        bytes[START_AT..START_AT + SEGMENT_START_LEN].copy_from_slice(&self.start);
        let crc = crc32c::crc32c(&bytes[..CRC_AT]).to_le_bytes();
        bytes[CRC_AT..].copy_from_slice(&crc);
        bytes
    }

    /// From the bytes of the file; `None` if it was not written to its end.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; SUCCESSION] = bytes.try_into().ok()?;
        let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
        let held = Held {
            position: Position(number(8)),
            index: BatchIndex(number(16)),
            bytes: number(24),
            hash: bytes[32..64].try_into().expect("32 bytes"),
        };
        let start = bytes[START_AT..START_AT + SEGMENT_START_LEN].try_into().expect("its length");
        let found = Self { held, start };
        (found.encode() == *bytes).then_some(found)
    }
}

/// Why a start cannot carry a succession out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SuccessionError {
    /// An operation failed.
    Disk {
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        error: DiskError,
    },
    /// The node state cannot be used.
    State(StateFault),
    /// The snapshot was damaged after what it stands for was removed.
    Lost {
        /// Its log position.
        position: Position,
    },
}

impl fmt::Display for SuccessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk { doing, error } => write!(
                f,
                "{doing} failed while a snapshot took the log's place: {error}. Check the disk, then start again: it \
                 goes on"
            ),
            Self::State(_) => write!(
                f,
                "the node state cannot be used while a snapshot takes the log's place. Restore the data directory \
                 whole, or replace the node"
            ),
            Self::Lost { position } => write!(
                f,
                "the snapshot at position {position}, which takes the log's place, is damaged, and the log is gone. \
                 The disk is not sound: replace it and the node"
            ),
        }
    }
}

impl std::error::Error for SuccessionError {}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Start,
    List,
    ReadFile,
    /// Checks the snapshot once more.
    Check,
    ReadState,
    /// Stores that nothing behind the snapshot is synced.
    State,
    /// Removes what the log was: segments, and snapshots of it.
    Remove,
    CreateSegment,
    WriteSegment,
    Rename,
    /// The last step: from here on the directory is that of any node.
    Finish,
    /// The succession is void.
    GiveUp,
    Over,
}

/// Carries a succession out, if there is one, before anything else of a start. One operation is in flight at a time.
#[derive(Debug)]
pub struct Succeed {
    facts: ClusterFacts,
    phase: Phase,
    /// Operations of a phase that are still to be submitted.
    queue: VecDeque<DiskOp>,
    busy: bool,
    files: Vec<FileId>,
    found: Option<Succession>,
    check: Check,
    held: Vec<u8>,
    offset: u64,
}

impl Succeed {
    /// One that has not begun.
    #[must_use]
    pub fn new(facts: &ClusterFacts) -> Self {
        Self {
            facts: facts.clone(),
            phase: Phase::Start,
            queue: VecDeque::new(),
            busy: false,
            files: Vec::new(),
            found: None,
            check: Check::new(facts),
            held: Vec::new(),
            offset: 0,
        }
    }

    /// Goes on by at most one operation. `Some` when it is over: the position of the snapshot that took the log's place,
    /// if one did.
    ///
    /// # Errors
    /// [`SuccessionError`]: the node must not start.
    ///
    /// # Panics
    /// If it is over.
    pub fn step(&mut self, disk: &mut dyn Disk) -> Result<Option<Option<Position>>, SuccessionError> {
        assert!(self.phase != Phase::Over, "the succession is over");
        if self.busy {
            let Some(done) = disk.poll() else { return Ok(None) };
            self.busy = false;
            self.finished(done)?;
        }
        if self.queue.is_empty()
            && let Some(outcome) = self.next()
        {
            self.phase = Phase::Over;
            return Ok(Some(outcome));
        }
        if let Some(op) = self.queue.pop_front() {
            disk.submit(op);
            self.busy = true;
        }
        Ok(None)
    }

    fn read(&mut self, file: FileId, offset: u64, len: usize) {
        self.queue.push_back(DiskOp::Read { tag: 0, file, offset, buffer: vec![0; len] });
    }

    fn remove(&mut self, file: FileId) {
        self.queue.push_back(DiskOp::Remove { tag: 0, file });
    }

    fn write(&mut self, file: FileId, offset: u64, bytes: Vec<u8>) {
        self.queue.push_back(DiskOp::Write { tag: 0, file, offset, bytes: IoBytes::Owned(bytes) });
        self.queue.push_back(DiskOp::Sync { tag: 0, file });
    }

    fn succession(&self) -> &Succession {
        self.found.as_ref().expect("it was read")
    }

    fn segment(&self) -> FileId {
        FileId::Segment(self.succession().held.position.0 / self.facts.segment_size)
    }

    fn incoming(&self) -> FileId {
        FileId::Incoming(self.succession().held.position.0)
    }

    /// Everything of the phase is done: what the next one submits. Its outcome if that was the last.
    fn next(&mut self) -> Option<Option<Position>> {
        match self.phase {
            Phase::Start => {
                self.phase = Phase::List;
                self.queue.push_back(DiskOp::List { tag: 0, files: Vec::new() });
            }
            Phase::List if !self.files.contains(&FileId::Succession) => return Some(None),
            Phase::List => {
                self.phase = Phase::ReadFile;
                self.read(FileId::Succession, 0, SUCCESSION);
            }
            // Not written to its end: the log stands.
            Phase::ReadFile if self.found.is_none() => self.give_up(),
            Phase::ReadFile if self.files.contains(&self.incoming()) => {
                self.phase = Phase::Check;
                self.read(self.incoming(), 0, READ);
            }
            // It has its name already.
            Phase::ReadFile => self.finish(),
            Phase::Check => {
                self.phase = Phase::ReadState;
                self.read(FileId::NodeState, 0, NODE_STATE_LEN);
            }
            Phase::ReadState | Phase::State => {
                self.phase = Phase::Remove;
                let files = core::mem::take(&mut self.files);
                for file in files.iter().rev() {
                    if matches!(file, FileId::Segment(_) | FileId::Snapshot(_)) {
                        self.remove(*file);
                    }
                }
                if self.queue.is_empty() {
                    return self.next();
                }
            }
            Phase::Remove => {
                self.phase = Phase::CreateSegment;
                let (file, size) = (self.segment(), self.facts.segment_size);
                self.queue.push_back(DiskOp::Create { tag: 0, file, size });
            }
            Phase::CreateSegment => {
                self.phase = Phase::WriteSegment;
                let (file, start) = (self.segment(), self.succession().start.to_vec());
                self.write(file, 0, start);
            }
            Phase::WriteSegment => {
                self.phase = Phase::Rename;
                let (from, to) = (self.incoming(), FileId::Snapshot(self.succession().held.position.0));
                self.queue.push_back(DiskOp::Rename { tag: 0, from, to });
            }
            Phase::Rename => self.finish(),
            Phase::Finish => return Some(Some(self.succession().held.position)),
            Phase::GiveUp => return Some(None),
            Phase::Over => unreachable!("it is over"),
        }
        None
    }

    fn finish(&mut self) {
        self.phase = Phase::Finish;
        self.remove(FileId::Succession);
    }

    /// The log stands as it was.
    fn give_up(&mut self) {
        self.phase = Phase::GiveUp;
        for file in core::mem::take(&mut self.files) {
            if matches!(file, FileId::Incoming(_)) {
                self.remove(file);
            }
        }
        self.remove(FileId::Succession);
    }

    fn finished(&mut self, done: DiskDone) -> Result<(), SuccessionError> {
        let doing = match &done.op {
            DiskOp::List { .. } => "listing the data directory",
            DiskOp::Read { .. } => "reading",
            DiskOp::Remove { .. } => "removing what the log was",
            DiskOp::Create { .. } => "creating the first segment",
            DiskOp::Write { .. } => "writing",
            DiskOp::Sync { .. } => "syncing",
            DiskOp::Rename { .. } => "naming the snapshot",
        };
        let moved = done.result.map_err(|error| SuccessionError::Disk { doing, error })?;
        match (self.phase, done.op) {
            (Phase::List, DiskOp::List { files, .. }) => {
                self.files = files.into_iter().map(|(file, _)| file).collect();
            }
            (Phase::ReadFile, DiskOp::Read { buffer, .. }) => {
                self.found = Succession::decode(&buffer[..moved]);
            }
            (Phase::Check, DiskOp::Read { buffer, .. }) => self.checked(&buffer[..moved])?,
            (Phase::ReadState, DiskOp::Read { buffer, .. }) => self.lower(&buffer[..moved])?,
            _ => {}
        }
        Ok(())
    }

    /// Checks what was read of the snapshot, and reads on.
    fn checked(&mut self, bytes: &[u8]) -> Result<(), SuccessionError> {
        self.held.extend_from_slice(bytes);
        self.offset += bytes.len() as u64;
        let mut at = 0;
        let sound = loop {
            match self.check.take(&self.held[at..]) {
                Ok(0) => break true,
                Ok(taken) => at += taken,
                Err(_) => break false,
            }
        };
        self.held.drain(..at);
        let Succession { held, start } = *self.succession();
        if sound && bytes.len() == READ {
            self.read(self.incoming(), self.offset, READ);
            return Ok(());
        }
        let follows = BatchView::parse(&start).is_ok_and(|start| {
            start.header.previous() == self.check.chain() && start.header.index() == held.index.next()
        });
        let is_whole = self.check.is_whole() && self.held.is_empty();
        if sound && is_whole && follows && (self.check.hash(), self.check.bytes()) == (held.hash, held.bytes)
        {
            return Ok(());
        }
        if !self.files.iter().any(|file| matches!(file, FileId::Segment(_))) {
            return Err(SuccessionError::Lost { position: held.position });
        }
        tracing::error!(
            position = held.position.0,
            "the snapshot that was to take the log's place is damaged; the log stands. See whether the disk is sound"
        );
        self.give_up();
        Ok(())
    }

    /// What is behind the snapshot in the old log was never committed, and goes. If the node state calls it synced, it
    /// must not do so any more. Term, vote and promise floor stay: what is owed stays owed.
    fn lower(&mut self, file: &[u8]) -> Result<(), SuccessionError> {
        let held = self.succession().held;
        let mark = Mark { index: held.index, position: held.position };
        let forgets = planted::is(Mistake::SuccessionForgetsFloor);
        let slots = succeed(file, mark, forgets).map_err(SuccessionError::State)?;
        self.phase = Phase::State;
        // The newest slot may be with the kernel only, and the other one is about to be overwritten.
        self.queue.push_back(DiskOp::Sync { tag: 0, file: FileId::NodeState });
        for (offset, slot) in slots {
            self.write(FileId::NodeState, offset, slot);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_written_to_its_end_is_a_succession() {
        let held = Held { position: Position(8192), index: BatchIndex(9), bytes: 1000, hash: [4; 32] };
        let succession = Succession { held, start: [7; SEGMENT_START_LEN] };
        let bytes = succession.encode();
        assert_eq!(Succession::decode(&bytes), Some(succession));
        for len in 0..SUCCESSION {
            assert_eq!(Succession::decode(&bytes[..len]), None);
            let mut torn = [0; SUCCESSION];
            torn[..len].copy_from_slice(&bytes[..len]);
            let same = torn == bytes;
            assert_eq!(Succession::decode(&torn).is_some(), same, "torn at {len}");
        }
        for bit in 0..SUCCESSION * 8 {
            let mut other = bytes;
            other[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Succession::decode(&other), None, "bit {bit}");
        }
    }
}
