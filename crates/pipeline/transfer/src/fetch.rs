//! The receiving end: a snapshot in place of what this node lacks and nobody has any more. It is asked for piece by
//! piece, each part is checked before it is written, and what is on disk is what was checked: the next connection, or
//! the next life, goes on where the last one ended.

use crate::message::{ASK_MAX, Offer, Range, kind};
use crate::succession::Succession;
use ordain_agent::Fatal;
use ordain_agent::disk::{Disk, DiskDone, DiskError, DiskOp, FileId, IoBytes};
use ordain_agent::metrics::{Gauge, Registry};
use ordain_agent::side::{Outbox, Successor};
use ordain_apply::{Check, PART_MAX as CHUNK_MAX};
use ordain_types::{BatchView, ClusterFacts, Nanos, NodeId, Now, Position};

/// Silence of the source after which it is asked once more.
const ASK_AGAIN: u64 = 500 * Nanos::MILLI;
/// Silence of the source after which another snapshot is taken.
const PATIENCE: u64 = 3 * Nanos::SECOND;
/// Checked bytes that wait for the disk before nothing more is asked for.
const WRITE_MAX: usize = 1024 * 1024;
/// Bytes written without a sync, so that the device's queue stays short for the journal's own.
const UNSYNCED: u64 = 8 * 1024 * 1024;
/// Times that the same part may fail its check before the snapshot is refused.
const STRIKES: u32 = 5;
/// After a disk that failed or was full, time until a snapshot is begun anew, or what was full is tried again.
pub const REST: u64 = 2 * Nanos::SECOND;

/// See the module. One disk operation is in flight at a time.
pub(crate) struct Fetch<D> {
    facts: ClusterFacts,
    disk: D,
    busy: bool,
    state: State,
    /// The incoming file on disk: at most one; 0 if there is none.
    partial: Position,
    rest_until: Nanos,
    metrics: Metrics,
}

struct Metrics {
    bytes: Gauge,
    refused: Gauge,
    resumed: Gauge,
    whole: Gauge,
}

enum State {
    /// Finds out what an earlier life left.
    Look,
    Idle,
    /// The incoming file goes; then the job, if any, begins.
    Clear(Option<Box<Job>>),
    /// The incoming file is created.
    Create(Box<Job>),
    Work(Box<Job>),
    /// Everything is there and checked; it is synced.
    Sync(Box<Job>),
    /// Waits for the log stage to say whether it is still needed.
    Whole(Box<Job>),
    /// The log is frozen, and the succession is stored.
    Succeed(Box<Job>, Step),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Create,
    Write,
    Sync,
    Done,
}

/// A snapshot on its way.
struct Job {
    offer: Offer,
    /// Who sends it; nobody if its connection broke.
    source: Option<NodeId>,
    check: Check,
    /// Received and not a whole part.
    held: Vec<u8>,
    /// Asked for up to here.
    asked: u64,
    /// Checked, and waiting for the disk.
    ready: Vec<u8>,
    /// Written up to here, and of it not synced.
    written: u64,
    unsynced: u64,
    /// What an earlier life wrote is read, checked and written once more: after a failed sync the kernel may hold
    /// what the disk does not have.
    rereads: bool,
    /// When the source was last heard or asked.
    heard: Nanos,
    /// When bytes last arrived.
    moved: Nanos,
    strikes: u32,
}

impl Job {
    fn new(facts: &ClusterFacts, offer: Offer, source: NodeId, now: Now, rereads: bool) -> Self {
        Self {
            offer,
            source: Some(source),
            check: Check::new(facts),
            held: Vec::new(),
            asked: 0,
            ready: Vec::new(),
            written: 0,
            unsynced: 0,
            rereads,
            heard: now.mono,
            moved: now.mono,
            strikes: 0,
        }
    }

    fn position(&self) -> Position {
        self.offer.held.position
    }

    /// Received up to here.
    fn received(&self) -> u64 {
        self.check.bytes() + self.held.len() as u64
    }

    /// Takes bytes that follow what was received. `false`: they are not what they should be, and are forgotten up
    /// to the last part that was whole.
    fn take(&mut self, bytes: &[u8]) -> bool {
        self.held.extend_from_slice(bytes);
        let mut at = 0;
        let sound = loop {
            match self.check.take(&self.held[at..]) {
                Ok(0) => break true,
                Ok(taken) => {
                    self.strikes = 0;
                    at += taken;
                }
                Err(error) => {
                    tracing::warn!(position = self.position().0, %error, "a part of an incoming snapshot is refused");
                    break false;
                }
            }
        };
        self.ready.extend_from_slice(&self.held[..at]);
        self.held.drain(..at);
        let ends = self.received() >= self.offer.held.bytes;
        let sound = sound && (!ends || self.held.is_empty() && self.check.is_whole());
        if !sound {
            self.held.clear();
            self.strikes += 1;
            self.asked = self.check.bytes();
        }
        sound
    }

    /// Whether what is whole is what was offered, and the batch behind it follows.
    fn is_as_offered(&self) -> bool {
        let (held, check) = (&self.offer.held, &self.check);
        let start = BatchView::parse(&self.offer.start);
        let follows = start.is_ok_and(|start| {
            start.header.position() == held.position
                && start.header.index() == held.index.next()
                && start.header.previous() == check.chain()
        });
        (check.position(), check.index(), check.hash(), check.bytes())
            == (held.position, held.index, held.hash, held.bytes)
            && follows
    }
}

impl<D: Disk> Fetch<D> {
    pub(crate) fn new(facts: &ClusterFacts, disk: D, registry: &Registry) -> Self {
        let counter = |name, help| registry.counter(name, help);
        let metrics = Metrics {
            bytes: counter(
                "ordain_snapshot_received_bytes_total",
                "Bytes of snapshots received from other nodes.",
            ),
            refused: counter(
                "ordain_snapshot_refused_total",
                "Received parts of snapshots that failed their check.",
            ),
            resumed: counter(
                "ordain_snapshot_resumed_total",
                "Incoming snapshots that went on after a break.",
            ),
            whole: counter("ordain_snapshot_received_total", "Snapshots received whole."),
        };
        let (busy, state, partial) = (false, State::Look, Position::ZERO);
        Self { facts: facts.clone(), disk, busy, state, partial, rest_until: Nanos::ZERO, metrics }
    }

    /// Position of the snapshot of which a part is on disk; 0 if none is.
    pub(crate) const fn partial(&self) -> Position {
        self.partial
    }

    pub(crate) fn down(&mut self, peer: NodeId) {
        if let State::Work(job) = &mut self.state
            && job.source == Some(peer)
        {
            job.source = None;
            // What was asked for may be lost.
            job.asked = job.received();
        }
    }

    /// This node stored a snapshot of its own: what lies before is not needed.
    pub(crate) fn stored(&mut self, position: Position) {
        let old = self.partial > Position::ZERO && self.partial <= position;
        if old && matches!(self.state, State::Idle | State::Work(_) | State::Whole(_)) {
            self.state = State::Clear(None);
        }
    }

    pub(crate) fn offered(&mut self, from: NodeId, offer: Offer, now: Now) {
        let position = offer.held.position;
        if !position.0.is_multiple_of(self.facts.segment_size) || now.mono < self.rest_until {
            return;
        }
        match &mut self.state {
            State::Idle => {
                let resumes = self.partial == position;
                let job = Box::new(Job::new(&self.facts, offer, from, now, resumes));
                tracing::info!(
                    peer = from.0,
                    position = position.0,
                    bytes = offer.held.bytes,
                    resumes,
                    "this node lacks \
                    removed batches and fetches a snapshot"
                );
                self.state = match resumes {
                    true => {
                        self.metrics.resumed.add(1);
                        State::Work(job)
                    }
                    false if self.partial > Position::ZERO => State::Clear(Some(job)),
                    false => State::Create(job),
                };
            }
            State::Work(job) if job.offer == offer && job.source != Some(from) => {
                self.metrics.resumed.add(1);
                job.source = Some(from);
                job.asked = job.received();
            }
            State::Work(job)
                if job.offer != offer && (job.source.is_none() || now.mono.since(job.moved) > PATIENCE) =>
            {
                // The write in flight comes to its end first: the file goes behind it.
                self.state = State::Clear(Some(Box::new(Job::new(&self.facts, offer, from, now, false))));
            }
            _ => {}
        }
    }

    pub(crate) fn part(&mut self, from: NodeId, range: Range, bytes: &[u8], now: Now) {
        let State::Work(job) = &mut self.state else { return };
        let expected = job.source == Some(from)
            && !job.rereads
            && (range.position, range.offset) == (job.position(), job.received())
            && range.len == bytes.len() as u64
            && range.offset + range.len <= job.asked;
        if !expected {
            return;
        }
        (job.heard, job.moved) = (now.mono, now.mono);
        self.metrics.bytes.add(range.len);
        if !job.take(bytes) {
            self.metrics.refused.add(1);
        }
    }

    pub(crate) fn gone(&mut self, from: NodeId, position: Position) {
        if let State::Work(job) = &self.state
            && job.source == Some(from)
            && job.position() == position
        {
            self.state = State::Clear(None);
        }
    }

    pub(crate) fn successor(&self) -> Option<Successor> {
        let State::Whole(job) = &self.state else { return None };
        let end_term = BatchView::parse(&job.offer.start).ok()?.header.term();
        Some(Successor { last: job.check.index(), term: job.check.term(), end_term })
    }

    pub(crate) fn succeed(&mut self, frozen: bool) {
        self.state = match core::mem::replace(&mut self.state, State::Idle) {
            State::Whole(job) if frozen => State::Succeed(job, Step::Create),
            State::Whole(_) => State::Clear(None),
            other => other,
        };
    }

    /// Goes on by one disk operation and one frame at most.
    pub(crate) fn work(&mut self, now: Now, out: &mut dyn Outbox) -> Result<usize, Fatal> {
        let mut work = 0;
        if self.busy
            && let Some(done) = self.disk.poll()
        {
            self.busy = false;
            work += 1;
            self.finished(done, now)?;
        }
        if let State::Work(job) = &mut self.state {
            work += usize::from(ask(job, now, out));
        }
        if !self.busy && self.disk.free() > 0 {
            work += usize::from(self.go_on(now, out)?);
        }
        Ok(work)
    }

    /// When it wants to be called though nothing arrives.
    pub(crate) fn next_deadline(&self) -> Option<Nanos> {
        match &self.state {
            State::Work(job) if job.source.is_some() && !job.rereads => Some(job.heard.plus(ASK_AGAIN)),
            State::Succeed(..) if !self.busy => Some(self.rest_until),
            _ => None,
        }
    }

    fn submit(&mut self, op: DiskOp) {
        self.disk.submit(op);
        self.busy = true;
    }

    /// Submits what comes next.
    fn go_on(&mut self, now: Now, out: &mut dyn Outbox) -> Result<bool, Fatal> {
        let file = FileId::Incoming(self.partial.0);
        match core::mem::replace(&mut self.state, State::Idle) {
            State::Look => {
                self.state = State::Look;
                self.submit(DiskOp::List { tag: 0, files: Vec::new() });
            }
            State::Idle => return Ok(false),
            State::Clear(job) => {
                self.state = State::Clear(job);
                self.submit(DiskOp::Remove { tag: 0, file });
            }
            State::Create(job) => {
                let file = FileId::Incoming(job.position().0);
                self.state = State::Create(job);
                self.submit(DiskOp::Create { tag: 0, file, size: 0 });
            }
            State::Work(mut job) => {
                let is_whole = job.check.bytes() >= job.offer.held.bytes && job.check.is_whole();
                if job.strikes >= STRIKES || is_whole && !job.is_as_offered() {
                    return Ok(self.refuse(*job, out));
                }
                let offset = job.written;
                if !job.ready.is_empty() {
                    let bytes = core::mem::take(&mut job.ready);
                    job.written += bytes.len() as u64;
                    job.unsynced += bytes.len() as u64;
                    self.submit(DiskOp::Write { tag: 0, file, offset, bytes: IoBytes::Owned(bytes) });
                } else if is_whole && !job.rereads {
                    self.submit(DiskOp::Sync { tag: 0, file });
                    self.state = State::Sync(job);
                    return Ok(true);
                } else if job.unsynced >= UNSYNCED {
                    job.unsynced = 0;
                    self.submit(DiskOp::Sync { tag: 0, file });
                } else if job.rereads {
                    let (offset, buffer) = (job.received(), vec![0; ASK_MAX as usize]);
                    self.submit(DiskOp::Read { tag: 0, file, offset, buffer });
                } else {
                    self.state = State::Work(job);
                    return Ok(false);
                }
                self.state = State::Work(job);
            }
            State::Sync(job) => self.state = State::Sync(job),
            State::Whole(job) => {
                self.state = State::Whole(job);
                return Ok(false);
            }
            State::Succeed(job, step) if now.mono < self.rest_until => {
                self.state = State::Succeed(job, step);
                return Ok(false);
            }
            State::Succeed(job, step) => {
                let file = FileId::Succession;
                match step {
                    Step::Create => self.submit(DiskOp::Create { tag: 0, file, size: 0 }),
                    Step::Write => {
                        let bytes = Succession::from(&job.offer).encode().to_vec();
                        self.submit(DiskOp::Write { tag: 0, file, offset: 0, bytes: IoBytes::Owned(bytes) });
                    }
                    Step::Sync => self.submit(DiskOp::Sync { tag: 0, file }),
                    Step::Done => {
                        return Err(Fatal::anew(format!(
                            "the snapshot at position {} takes the place of this node's log, which ends before what \
                             others still have",
                            job.position()
                        )));
                    }
                }
                self.state = State::Succeed(job, step);
            }
        }
        Ok(true)
    }

    /// What the source sends is not what it offered, or not a snapshot.
    fn refuse(&mut self, job: Job, out: &mut dyn Outbox) -> bool {
        tracing::error!(
            position = job.position().0,
            peer = job.source.map(|source| source.0),
            "an incoming snapshot is not what it should be and is thrown away"
        );
        if let Some(source) = job.source {
            let _ = out.send(source, kind::REFUSE, &job.position().0.to_le_bytes(), &[]);
        }
        self.state = State::Clear(None);
        true
    }

    fn finished(&mut self, done: DiskDone, now: Now) -> Result<(), Fatal> {
        let result = match (&done.op, done.result) {
            (DiskOp::Write { bytes, .. }, Ok(moved)) if moved != bytes.len() => {
                Err(DiskError::Io("bytes were not taken".to_owned()))
            }
            (_, result) => result,
        };
        let state = core::mem::replace(&mut self.state, State::Idle);
        let moved = match result {
            Ok(moved) => moved,
            Err(error) => {
                self.rest_until = now.mono.plus(REST);
                self.state = match state {
                    // Nothing of the file was synced, and it is made anew. After a failed sync that would not do.
                    State::Succeed(job, Step::Create | Step::Write) if error == DiskError::NoSpace => {
                        tracing::warn!(
                            position = job.position().0,
                            "the disk is full: it cannot be stored that a snapshot takes the log's place. Free space; \
                             it is tried again every two seconds"
                        );
                        State::Succeed(job, Step::Create)
                    }
                    State::Succeed(..) => {
                        return Err(Fatal::new(
                            format!("it cannot be stored that a snapshot takes the log's place: {error}"),
                            "Check the disk, then start the node again: it goes on",
                        ));
                    }
                    state => {
                        tracing::warn!(%error, "an incoming snapshot is given up; it is begun anew in a while");
                        // What the kernel holds of it may never reach the disk.
                        let clears = self.partial > Position::ZERO && !matches!(state, State::Clear(_));
                        if clears { State::Clear(None) } else { State::Idle }
                    }
                };
                return Ok(());
            }
        };
        self.state = match (state, done.op) {
            (State::Look, DiskOp::List { files, .. }) => {
                let mut incoming = files.iter().filter_map(|(file, _)| match file {
                    FileId::Incoming(position) => Some(Position(*position)),
                    _ => None,
                });
                self.partial = incoming.next_back().unwrap_or_default();
                State::Idle
            }
            (State::Clear(job), DiskOp::Remove { .. }) => {
                self.partial = Position::ZERO;
                job.map_or(State::Idle, State::Create)
            }
            (State::Create(job), _) => {
                self.partial = job.position();
                State::Work(job)
            }
            (State::Work(mut job), DiskOp::Read { buffer, .. }) => {
                let ends = moved < buffer.len();
                let left = (job.offer.held.bytes - job.received().min(job.offer.held.bytes)) as usize;
                let sound = job.take(&buffer[..moved.min(left)]);
                if ends || !sound || left <= moved {
                    // From here on it is the source's to send.
                    job.rereads = false;
                    (job.strikes, job.asked) = (0, job.received());
                    (job.heard, job.moved) = (now.mono, now.mono);
                }
                State::Work(job)
            }
            (State::Sync(job), DiskOp::Sync { .. }) => {
                self.metrics.whole.add(1);
                tracing::info!(
                    position = job.position().0,
                    bytes = job.written,
                    "an incoming snapshot is whole"
                );
                State::Whole(job)
            }
            (State::Succeed(job, step), _) => {
                let next = match step {
                    Step::Create => Step::Write,
                    Step::Write => Step::Sync,
                    Step::Sync | Step::Done => Step::Done,
                };
                State::Succeed(job, next)
            }
            // A write or sync under way; or of what is cleared since.
            (state, _) => state,
        };
        Ok(())
    }
}

/// Asks the source for what comes next, once all that was asked for is here; or once more, after silence.
fn ask(job: &mut Job, now: Now, out: &mut dyn Outbox) -> bool {
    let Some(source) = job.source.filter(|_| !job.rereads) else { return false };
    let received = job.received();
    if now.mono.since(job.heard) >= ASK_AGAIN {
        job.asked = received;
    }
    let full = job.ready.len() >= WRITE_MAX || job.held.len() > CHUNK_MAX;
    if job.asked > received || received >= job.offer.held.bytes || full {
        return false;
    }
    let len = ASK_MAX.min(job.offer.held.bytes - received);
    let range = Range { position: job.position(), offset: received, len };
    let sent = out.send(source, kind::ASK, &range.encode(), &[]);
    if sent {
        job.asked = received + len;
        job.heard = now.mono;
    }
    sent
}
