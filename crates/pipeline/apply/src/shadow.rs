//! The shadow: a second copy of the state that applies only what is committed and known to be synced, writes
//! snapshots of itself, and gives way to everything else. See `docs/adr/0012-snapshots.md`.

use crate::deliver::Discard;
use crate::replica::Replica;
use crate::restore::{Progress, Restore};
use crate::snapshot::{Place, Writer};
use core::cmp::min;
use ordain_agent::disk::{Disk, DiskError, DiskOp, FileId, IoBytes};
use ordain_agent::metrics::{Gauge, Registry};
use ordain_agent::planted::{self, Mistake};
use ordain_agent::shared::Shared;
use ordain_agent::wire::Stored;
use ordain_agent::{Agent, Fatal};
use ordain_api::{AppFactory, RequestDecoder, ResponseEncoder, Step};
use ordain_journal::{LogReader, Peek, ReadError, TermStart};
use ordain_ring::spsc;
use ordain_types::batch::BatchHeader;
use ordain_types::{BatchIndex, BatchKind, ClusterFacts, Nanos, Now, Position, Stint};
use zerocopy::IntoBytes;

/// Steps of events in one slice: some tens of microseconds, which is what a request may wait for it where the
/// shadow shares a thread.
const SLICE: usize = 64;
/// A log that grew within this time counts as busy.
const BUSY: u64 = 10 * Nanos::MILLI;
/// Bytes written at once.
const WRITE: usize = 1024 * 1024;
/// Bytes written without a sync, so that the device's queue stays short for the journal's own.
const UNSYNCED: u64 = 8 * 1024 * 1024;
/// Snapshots kept: should the newest be damaged, the other starts the node.
const KEPT: usize = 2;

/// What a [`Shadow`] is made of.
pub struct ShadowParts<'a, F, D, E, K> {
    /// The cluster's facts.
    pub facts: &'a ClusterFacts,
    /// Makes the application.
    pub factory: F,
    /// Reads its requests.
    pub decoder: D,
    /// Writes its replies, which nobody hears.
    pub encoder: E,
    /// The log, from segments only.
    pub log: LogReader<K>,
    /// For writing snapshots. Depth 2.
    pub disk: K,
    /// The node's cursors.
    pub shared: Shared,
    /// A snapshot is due where a segment begins whose number is a multiple of this.
    pub every: u64,
    /// To whoever tells other nodes what this one holds. Room for two messages at least.
    pub stored: Option<spsc::Sender>,
    /// Where the stage registers its metrics.
    pub registry: &'a Registry,
}

/// See the module.
pub struct Shadow<F: AppFactory, D, E, K> {
    facts: ClusterFacts,
    factory: F,
    log: LogReader<K>,
    disk: K,
    shared: Shared,
    every: u64,
    replica: Replica<F::App, D, E>,
    /// Where each term begins, as far as applied.
    terms: Vec<TermStart>,
    job: Job<F::App, D, E>,
    /// Snapshots that this life restored or wrote, oldest first.
    kept: Vec<(Position, BatchIndex)>,
    /// Where it is told what was stored, and what could not be told yet.
    stored: Option<spsc::Sender>,
    untold: Option<Stored>,
    /// The position at which a snapshot was last begun: one that failed is not tried again.
    begun: Position,
    /// Cuts known, the `written` cursor as last seen, and when it was seen to move.
    cuts: u64,
    written: u64,
    grew_at: Nanos,
    looked_at: Nanos,
    nowhere: Discard,
    buffer: Vec<u8>,
    metrics: Metrics,
}

enum Job<A, D, E> {
    Restore(Box<Restore<A, D, E>>),
    Follow,
    Write(Box<Draft>),
}

/// A snapshot under construction.
struct Draft {
    writer: Writer,
    position: Position,
    phase: Phase,
    /// Operations in flight.
    in_flight: usize,
    /// Bytes written, and of them not synced.
    offset: u64,
    unsynced: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Create,
    /// Parts are appended to the buffer, which is written when it is full.
    Parts,
    Sync,
    Rename,
    List,
    /// Snapshots that are not kept go.
    Remove,
    /// It failed: the file under construction goes.
    GiveUp,
}

struct Metrics {
    snapshots: Gauge,
    failures: Gauge,
    position: Gauge,
    applied: Gauge,
    lag: Gauge,
}

impl<F, D, E, K> Shadow<F, D, E, K>
where
    F: AppFactory,
    D: RequestDecoder<F::App>,
    E: ResponseEncoder<F::App>,
    K: Disk,
{
    /// A shadow that first restores itself.
    ///
    /// # Panics
    /// If `every` is 0.
    #[must_use]
    pub fn new(parts: ShadowParts<'_, F, D, E, K>) -> Self {
        assert!(parts.every > 0, "a snapshot every so many segments");
        let ShadowParts { facts, factory, decoder, encoder, log, disk, shared, every, stored, registry } =
            parts;
        let restore = Restore::new(facts, decoder.clone(), encoder.clone());
        let metrics = Metrics {
            snapshots: registry.counter("ordain_snapshots_total", "Snapshots stored."),
            failures: registry.counter("ordain_snapshot_failures_total", "Snapshots given up."),
            position: registry.gauge("ordain_snapshot_position", "Log position of the newest snapshot."),
            applied: registry.gauge("ordain_shadow_applied_batch", "Last batch that the shadow applied."),
            lag: registry.gauge("ordain_shadow_lag_bytes", "Log that the shadow has to apply, at least."),
        };
        Self {
            facts: facts.clone(),
            replica: Replica::new(facts, &factory, decoder, encoder),
            factory,
            cuts: shared.cut.generation(),
            written: 0,
            grew_at: Nanos::ZERO,
            looked_at: Nanos::ZERO,
            log,
            disk,
            shared,
            every,
            terms: Vec::new(),
            job: Job::Restore(Box::new(restore)),
            kept: Vec::new(),
            stored,
            untold: None,
            begun: Position::ZERO,
            nowhere: Discard::default(),
            buffer: Vec::new(),
            metrics,
        }
    }

    /// Log that the shadow has not applied, at least: `room` lies up to two segments ahead of the log's end.
    fn lag(&self) -> u64 {
        self.shared.room.load().saturating_sub(self.log.position().0 + 2 * self.facts.segment_size)
    }

    /// Whether it should leave the machine to others.
    fn gives_way(&mut self, now: Now) -> bool {
        let written = self.shared.written.load();
        if written != self.written {
            self.written = written;
            self.grew_at = now.mono;
        }
        self.is_busy(now.mono) && self.lag() < self.facts.segment_size
    }

    fn is_busy(&self, mono: Nanos) -> bool {
        self.written > 0 && mono.since(self.grew_at) < BUSY
    }

    fn restore(&mut self) -> Result<usize, Fatal> {
        let Job::Restore(restore) = &mut self.job else { unreachable!("called while it restores") };
        let Some(disk) = self.log.disk() else { return Ok(0) };
        match restore.step(&self.factory, disk)? {
            Progress::Waiting => return Ok(0),
            Progress::Working => return Ok(1),
            Progress::Done(None) => self.log.seek(Position::ZERO, BatchIndex(1)),
            Progress::Done(Some(restored)) => {
                let end = restored.anchor.end;
                self.replica = restored.replica;
                self.terms = restored.anchor.terms;
                self.log.seek(end.position, end.index.next());
                self.kept.push((end.position, end.index));
                self.untold = Some(Stored {
                    position: end.position.0.into(),
                    index: end.index.0.into(),
                    bytes: restored.bytes.into(),
                    hash: restored.hash,
                });
                self.begun = end.position;
                self.shared.snapshot.store(end.position.0);
                self.metrics.position.set(end.position.0);
            }
        }
        self.job = Job::Follow;
        Ok(1)
    }

    /// Applies a slice of the log, or begins a snapshot.
    fn follow(&mut self, limit: usize) -> Result<usize, Fatal> {
        let cuts = self.shared.cut.generation();
        if cuts != self.cuts {
            // What was read ahead may be void. What was applied is not: it is committed.
            self.cuts = cuts;
            self.log.seek(self.log.position(), self.log.next_index());
        }
        let last = BatchIndex(min(self.shared.committed.load(), self.shared.watermark.load()));
        let limit = limit.min(SLICE);
        let mut steps = 0;
        while steps < limit {
            let batch = match self.log.peek(last) {
                Ok(Peek::Batch(batch)) => batch,
                // Whoever mends segments goes on trying, and the node needs no snapshot to serve.
                Ok(_) | Err(ReadError::Lost { .. }) => break,
                Err(error) => {
                    return Err(Fatal::new(
                        format!("the shadow cannot read the log any further: {error}"),
                        "Verify the journal with `ordain journal verify`",
                    ));
                }
            };
            steps += 1;
            if !self.replica.in_batch() {
                if is_due(batch.header, self.facts.segment_size * self.every, self.begun) {
                    let position = batch.header.position();
                    let place = Place { chain: batch.header.previous(), terms: self.terms.clone() };
                    self.begin(position, place);
                    break;
                }
                self.replica.begin_batch(&batch, Stint::ZERO)?;
            }
            while self.replica.step(&batch, &mut self.nowhere)? == Step::More && steps < limit {
                steps += 1;
            }
            if self.replica.in_batch() {
                break;
            }
            let (term, first) = (batch.header.term(), batch.header.index());
            if self.terms.last().is_none_or(|known| known.term != term) {
                self.terms.push(TermStart { term, first });
            }
            self.log.advance();
        }
        self.metrics.applied.set(self.replica.applied().0);
        self.metrics.lag.set(self.lag());
        Ok(steps)
    }

    fn begin(&mut self, position: Position, place: Place) {
        self.begun = position;
        self.buffer.clear();
        let mut draft = Draft {
            writer: Writer::new(place),
            position,
            phase: Phase::Create,
            in_flight: 0,
            offset: 0,
            unsynced: 0,
        };
        self.disk.submit(DiskOp::Create { tag: 0, file: FileId::SnapshotDraft, size: 0 });
        draft.in_flight = 1;
        self.job = Job::Write(Box::new(draft));
    }

    /// Goes on with the snapshot under construction.
    fn write(&mut self, gives_way: bool) -> usize {
        let Job::Write(draft) = &mut self.job else { unreachable!("called while it writes") };
        let mut work = 0;
        while let Some(done) = self.disk.poll() {
            draft.in_flight -= 1;
            work += 1;
            match (done.result, done.op) {
                (Err(error), _) if draft.phase != Phase::GiveUp => {
                    give_up(draft, &error);
                    self.metrics.failures.add(1);
                }
                (Ok(moved), DiskOp::Write { bytes, .. }) if moved != bytes.len() => {
                    give_up(draft, &DiskError::Io("bytes were not taken".to_owned()));
                    self.metrics.failures.add(1);
                }
                (Ok(_), DiskOp::Write { bytes: IoBytes::Owned(bytes), .. }) => {
                    self.buffer = bytes;
                    self.buffer.clear();
                }
                (Ok(_), DiskOp::List { files, .. }) if draft.phase == Phase::List => {
                    draft.phase = Phase::Remove;
                    // They fit beside each other, or the next list finds them. What another node is being sent
                    // stays until then.
                    let pinned = self.shared.pinned.load();
                    for (file, _) in files {
                        let FileId::Snapshot(position) = file else { continue };
                        let is_kept =
                            position == pinned || self.kept.iter().any(|(kept, _)| kept.0 == position);
                        if !is_kept && self.disk.free() > 0 {
                            self.disk.submit(DiskOp::Remove { tag: 0, file });
                            draft.in_flight += 1;
                        }
                    }
                }
                _ => {}
            }
        }
        if draft.in_flight > 0 || gives_way {
            return work;
        }
        let file = FileId::SnapshotDraft;
        match draft.phase {
            Phase::Create => draft.phase = Phase::Parts,
            Phase::Parts => {
                let step = self.replica.snapshot(&mut draft.writer, &mut self.buffer);
                if step == Step::Done || self.buffer.len() >= WRITE {
                    let bytes = core::mem::take(&mut self.buffer);
                    let (offset, len) = (draft.offset, bytes.len() as u64);
                    draft.offset += len;
                    draft.unsynced += len;
                    self.disk.submit(DiskOp::Write { tag: 0, file, offset, bytes: IoBytes::Owned(bytes) });
                    draft.in_flight += 1;
                }
                let is_due = step == Step::Done || draft.unsynced >= UNSYNCED;
                if is_due && !planted::is(Mistake::SnapshotNotSynced) {
                    draft.unsynced = 0;
                    self.disk.submit(DiskOp::Sync { tag: 0, file });
                    draft.in_flight += 1;
                }
                if step == Step::Done {
                    draft.phase = Phase::Sync;
                }
            }
            Phase::Sync => {
                let to = FileId::Snapshot(draft.position.0);
                self.disk.submit(DiskOp::Rename { tag: 0, from: file, to });
                draft.in_flight += 1;
                draft.phase = Phase::Rename;
            }
            Phase::Rename => {
                let position = draft.position;
                self.kept.push((position, self.replica.applied()));
                if self.kept.len() > KEPT {
                    self.kept.remove(0);
                }
                self.shared.snapshot.store(position.0);
                self.metrics.position.set(position.0);
                self.metrics.snapshots.add(1);
                let hash = blake3::Hash::from_bytes(draft.writer.hash());
                let batch = self.replica.applied().0;
                self.untold = Some(Stored {
                    position: position.0.into(),
                    index: batch.into(),
                    bytes: draft.offset.into(),
                    hash: draft.writer.hash(),
                });
                tracing::info!(position = position.0, batch, bytes = draft.offset, %hash, "snapshot stored");
                if self.kept.len() == KEPT {
                    draft.phase = Phase::List;
                    self.disk.submit(DiskOp::List { tag: 0, files: Vec::new() });
                    draft.in_flight += 1;
                } else {
                    draft.phase = Phase::Remove;
                }
            }
            Phase::List | Phase::Remove => self.job = Job::Follow,
            Phase::GiveUp if draft.offset == u64::MAX => self.job = Job::Follow,
            Phase::GiveUp => {
                draft.offset = u64::MAX;
                self.disk.submit(DiskOp::Remove { tag: 0, file });
                draft.in_flight += 1;
            }
        }
        work + 1
    }

    /// Tells what was stored last. Nobody waits for it: what cannot be told now is told later, or is out of date then.
    fn tell(&mut self) {
        let Some(sender) = &mut self.stored else { return };
        if let Some(stored) = self.untold
            && let Some(space) = sender.try_claim(size_of::<Stored>())
        {
            space.copy_from_slice(stored.as_bytes());
            sender.commit();
            self.untold = None;
        }
    }

    /// What no start needs any more. Apply itself counts as one that may need it.
    fn release(&self) {
        if let [(position, index), _] = self.kept[..]
            && self.shared.applied.load() >= index.0
            && self.shared.needless.load() < position.0
        {
            self.shared.needless.store(position.0);
        }
    }
}

/// Whether a snapshot belongs in front of this batch.
fn is_due(header: &BatchHeader, interval: u64, begun: Position) -> bool {
    let position = header.position();
    header.kind() == BatchKind::SegmentStart && position > begun && position.0.is_multiple_of(interval)
}

fn give_up(draft: &mut Draft, error: &DiskError) {
    draft.phase = Phase::GiveUp;
    draft.offset = 0;
    tracing::warn!(
        position = draft.position.0, %error,
        "a snapshot is given up; the next one is tried at its place. Older segments stay until then"
    );
}

impl<F, D, E, K> Agent for Shadow<F, D, E, K>
where
    F: AppFactory,
    D: RequestDecoder<F::App>,
    E: ResponseEncoder<F::App>,
    K: Disk,
{
    fn name(&self) -> &'static str {
        "shadow"
    }

    fn do_work(&mut self, now: Now, limit: usize) -> Result<usize, Fatal> {
        self.looked_at = now.mono;
        let gives_way = self.gives_way(now);
        self.release();
        self.tell();
        match self.job {
            Job::Restore(_) => self.restore(),
            Job::Write(_) => Ok(self.write(gives_way)),
            Job::Follow if gives_way => Ok(0),
            Job::Follow => self.follow(limit),
        }
    }

    fn next_deadline(&self) -> Option<Nanos> {
        let untold = self.untold.is_some() && self.stored.is_some();
        let waits = self.replica.applied().0 < self.written || matches!(self.job, Job::Write(_)) || untold;
        // Nobody rings for what it waits for: a log at rest, a commitment, a watermark. Disks do.
        waits.then(|| self.looked_at.plus(BUSY))
    }
}
