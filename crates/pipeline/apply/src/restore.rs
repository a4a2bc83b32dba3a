//! Coming back from the newest snapshot on disk that is whole and that the journal follows. Where the log in front of
//! the snapshots is gone, and of the segments behind them only what they begin with is damaged, the newest of these: recovery
//! then finds the damage behind it, and knows whether it may be mended.

use crate::replica::{Replica, newer};
use crate::snapshot::{Loader, SnapshotError};
use ordain_agent::Fatal;
use ordain_agent::disk::{Disk, DiskDone, DiskError, DiskOp, FileId};
use ordain_api::{AppFactory, Application, RequestDecoder, ResponseEncoder};
use ordain_journal::{Anchor, Fault, Verifier};
use ordain_types::ClusterFacts;
use ordain_types::batch::{BatchError, SEGMENT_START_LEN};

/// Bytes read at once: a step checks, decodes and loads no more.
const READ: usize = 256 * 1024;

/// A copy that was restored, and where its snapshot lies in the log.
#[derive(Debug)]
pub struct Restored<A, D, E> {
    /// The copy.
    pub replica: Replica<A, D, E>,
    /// Its place.
    pub anchor: Anchor,
    /// The hash of the snapshot's last chunk.
    pub hash: [u8; 32],
    /// Bytes of the snapshot.
    pub bytes: u64,
}

/// What a step came to.
#[derive(Debug)]
pub enum Progress<T> {
    /// The disk is at work.
    Waiting,
    /// It goes on.
    Working,
    /// It is over; the restore must not be stepped again.
    Done(T),
}

/// Tries the snapshots of a data directory, the newest first. One operation is in flight at a time; it must
/// be stepped to its end before the disk is used for anything else.
#[derive(Debug)]
pub struct Restore<A, D, E> {
    facts: ClusterFacts,
    decoder: D,
    encoder: E,
    phase: Phase<A, D, E>,
    /// Positions of snapshots still to be tried, ascending.
    left: Vec<u64>,
    /// A snapshot was removed meanwhile: there may be newer ones.
    stale: bool,
    /// The log is there from its first batch on.
    has_all: bool,
    /// The newest snapshot with a segment behind it whose first batch is damaged.
    unbound: Option<u64>,
    /// That one is used for want of another.
    is_last_resort: bool,
    buffer: Vec<u8>,
}

#[derive(Debug)]
enum Phase<A, D, E> {
    Start,
    Listing,
    Reading(Reading<A, D, E>),
    Checking { position: u64, restored: Box<Restored<A, D, E>> },
    Over,
}

/// A snapshot that is being read.
#[derive(Debug)]
struct Reading<A, D, E> {
    position: u64,
    loader: Box<Loader<A, D, E>>,
    /// Read, and not a whole part.
    held: Vec<u8>,
    /// Where the read in flight begins.
    offset: u64,
}

/// A step of a [`Restore`].
type Stepped<A, D, E> = Progress<Option<Restored<A, D, E>>>;

/// Why a snapshot is passed over.
enum Unusable {
    Disk(DiskError),
    Contents(SnapshotError),
    Foreign(String),
    /// What the segment behind it begins with is no batch any more.
    Unbound(BatchError),
}

impl core::fmt::Display for Unusable {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Disk(error) => write!(f, "it cannot be read: {error}"),
            Self::Contents(error) => write!(f, "{error}"),
            Self::Foreign(why) => write!(f, "it is not of this journal: {why}"),
            Self::Unbound(fault) => write!(f, "the first batch of the segment behind it is damaged: {fault}"),
        }
    }
}

impl<A, D, E> Restore<A, D, E>
where
    A: Application,
    D: RequestDecoder<A>,
    E: ResponseEncoder<A>,
{
    /// A restore that has not begun.
    pub fn new(facts: &ClusterFacts, decoder: D, encoder: E) -> Self {
        let facts = facts.clone();
        Self {
            facts,
            decoder,
            encoder,
            phase: Phase::Start,
            left: Vec::new(),
            stale: false,
            has_all: false,
            unbound: None,
            is_last_resort: false,
            buffer: Vec::new(),
        }
    }

    /// Goes on by at most one finished operation. Done with `None`: no snapshot can be used.
    ///
    /// # Errors
    /// [`Fatal`] if the data directory cannot be listed, or a snapshot was taken under a level of behaviour that this
    /// build lacks. What else is wrong with a snapshot is logged, and the next older one is tried.
    ///
    /// # Panics
    /// If it is over.
    pub fn step<F: AppFactory<App = A>>(
        &mut self,
        factory: &F,
        disk: &mut dyn Disk,
    ) -> Result<Stepped<A, D, E>, Fatal> {
        if matches!(self.phase, Phase::Start) {
            if disk.free() == 0 {
                return Ok(Progress::Waiting);
            }
            disk.submit(DiskOp::List { tag: 0, files: Vec::new() });
            self.phase = Phase::Listing;
            return Ok(Progress::Working);
        }
        let Some(done) = disk.poll() else { return Ok(Progress::Waiting) };
        match core::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Start | Phase::Over => panic!("the restore is over"),
            Phase::Listing => {
                self.listed(done)?;
                Ok(self.next(factory, disk))
            }
            Phase::Reading(reading) => {
                let position = reading.position;
                match self.read(factory, disk, done, reading) {
                    Ok(phase) => {
                        self.phase = phase;
                        Ok(Progress::Working)
                    }
                    Err(why) => self.pass_over(position, &why, factory, disk),
                }
            }
            Phase::Checking { position, restored } => match self.check(done, &restored.anchor) {
                Ok(()) => Ok(Progress::Done(Some(*restored))),
                Err(why) => self.pass_over(position, &why, factory, disk),
            },
        }
    }

    fn listed(&mut self, done: DiskDone) -> Result<(), Fatal> {
        if let Err(error) = done.result {
            return Err(Fatal::new(
                format!("the data directory cannot be listed for snapshots: {error}"),
                "Check the disk and the permissions of the directory, then start the node again",
            ));
        }
        let DiskOp::List { files, .. } = done.op else { unreachable!("a list was submitted") };
        self.has_all = files.iter().any(|(file, _)| *file == FileId::Segment(0));
        self.unbound = None;
        self.left = files
            .iter()
            .filter_map(|(file, _)| match file {
                FileId::Snapshot(position) => Some(*position),
                _ => None,
            })
            .collect();
        Ok(())
    }

    fn pass_over<F: AppFactory<App = A>>(
        &mut self,
        position: u64,
        why: &Unusable,
        factory: &F,
        disk: &mut dyn Disk,
    ) -> Result<Stepped<A, D, E>, Fatal> {
        match why {
            Unusable::Disk(DiskError::NotFound) => self.stale = true,
            // Behind an older one the log holds the beginning of that level, if it still is there.
            Unusable::Contents(SnapshotError::Level(level)) => {
                return Err(newer(format_args!("the snapshot at {position} was taken under level {level}")));
            }
            why => {
                if matches!(why, Unusable::Unbound(_)) {
                    self.unbound = self.unbound.or(Some(position));
                }
                tracing::warn!(position, why = %why, "a snapshot is passed over for an older one, or for a full replay");
            }
        }
        Ok(self.next(factory, disk))
    }

    /// Begins with the newest snapshot that is left.
    fn next<F: AppFactory<App = A>>(&mut self, factory: &F, disk: &mut dyn Disk) -> Stepped<A, D, E> {
        let Some(position) = self.left.pop().or_else(|| self.last_resort()) else {
            if core::mem::take(&mut self.stale) {
                self.phase = Phase::Start;
                return Progress::Working;
            }
            return Progress::Done(None);
        };
        let loader = Loader::new(&self.facts, factory, self.decoder.clone(), self.encoder.clone());
        self.submit_read(disk, FileId::Snapshot(position), 0, READ);
        self.phase =
            Phase::Reading(Reading { position, loader: Box::new(loader), held: Vec::new(), offset: 0 });
        Progress::Working
    }

    /// The snapshot to begin with when none is bound to its segment, and without one there is no log.
    fn last_resort(&mut self) -> Option<u64> {
        let position = self.unbound.take().filter(|_| !self.stale && !self.has_all)?;
        self.is_last_resort = true;
        Some(position)
    }

    fn submit_read(&mut self, disk: &mut dyn Disk, file: FileId, offset: u64, len: usize) {
        let mut buffer = core::mem::take(&mut self.buffer);
        buffer.resize(len, 0);
        disk.submit(DiskOp::Read { tag: 0, file, offset, buffer });
    }

    /// Takes what was read, and reads on or goes on to the check against the journal.
    fn read<F: AppFactory<App = A>>(
        &mut self,
        factory: &F,
        disk: &mut dyn Disk,
        done: DiskDone,
        reading: Reading<A, D, E>,
    ) -> Result<Phase<A, D, E>, Unusable> {
        let Reading { position, mut loader, mut held, offset } = reading;
        let bytes = self.take_read(done)?;
        held.extend_from_slice(&self.buffer[..bytes]);
        let mut at = 0;
        loop {
            match loader.take(factory, &held[at..]).map_err(Unusable::Contents)? {
                0 => break,
                taken => at += taken,
            }
        }
        held.drain(..at);
        if bytes == READ {
            let offset = offset + bytes as u64;
            self.submit_read(disk, FileId::Snapshot(position), offset, READ);
            return Ok(Phase::Reading(Reading { position, loader, held, offset }));
        }
        if !held.is_empty() {
            return Err(Unusable::Contents(SnapshotError::Damaged));
        }
        let (anchor, hash) = (loader.anchor(), loader.hash());
        let bytes = offset + bytes as u64;
        let replica = loader.finish().map_err(Unusable::Contents)?;
        let segment = position / self.facts.segment_size;
        if anchor.end.position.0 != position || !position.is_multiple_of(self.facts.segment_size) {
            return Err(Unusable::Contents(SnapshotError::Invalid("position")));
        }
        self.submit_read(disk, FileId::Segment(segment), 0, SEGMENT_START_LEN);
        Ok(Phase::Checking { position, restored: Box::new(Restored { replica, anchor, hash, bytes }) })
    }

    fn take_read(&mut self, done: DiskDone) -> Result<usize, Unusable> {
        let DiskOp::Read { buffer, .. } = done.op else { unreachable!("a read was submitted") };
        self.buffer = buffer;
        done.result.map_err(Unusable::Disk)
    }

    /// The segment behind the snapshot must exist and follow it.
    fn check(&mut self, done: DiskDone, anchor: &Anchor) -> Result<(), Unusable> {
        let bytes = match self.take_read(done) {
            Err(Unusable::Disk(error)) => {
                Err(Unusable::Foreign(format!("its segment cannot be read: {error}")))
            }
            other => other,
        }?;
        let mut verifier = Verifier::new(&self.facts, anchor.end);
        match verifier.check(&self.buffer[..bytes]) {
            Ok(_) => Ok(()),
            Err(Fault::Bytes(_)) if self.is_last_resort => Ok(()),
            Err(Fault::Bytes(fault)) => Err(Unusable::Unbound(fault)),
            Err(fault) => Err(Unusable::Foreign(format!("the segment behind it does not follow: {fault}"))),
        }
    }
}
