//! What is checked when a run is over: the committed log is executed anew by production code, from a
//! snapshot, and by a naive model, and all must agree with what clients were told.

use crate::rng::Rng;
use crate::shadow::{Asked, Logs};
use crate::trace::Trace;
use crate::workload::{Model, Workload};
use crate::world::History;
use ordain_agent::wire::{DELIVERY, Delivery, delivery};
use ordain_api::{AppFactory, Step};
use ordain_apply::snapshot::Place;
use ordain_apply::{Collect, Discard, Emit, Replica, snapshot};
use ordain_node::journal::TermStart;
use ordain_types::codes::Code;
use ordain_types::frame::ServerView;
use ordain_types::{BatchIndex, BatchView, ClusterFacts, RecordKind, RecordView, Seq, SessionId, Stint};
use std::collections::BTreeMap;
use zerocopy::FromBytes;

/// A reply that a client holds.
#[derive(Clone, Debug)]
pub struct Ack {
    /// Which request, and its seq.
    pub asked: Asked,
    /// The reply.
    pub reply: Vec<u8>,
}

/// What became of a request according to the log.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Outcome {
    seq: Seq,
    reply: Vec<u8>,
}

type Outcomes = BTreeMap<(u64, u64), Outcome>;

/// What was said on each stream, by number.
type Outputs = BTreeMap<(u64, u64), Vec<u8>>;

type Copy<W> = Replica<
    <<W as Workload>::Factory as AppFactory>::App,
    <W as Workload>::Decoder,
    <W as Workload>::Encoder,
>;

/// Snapshots that nodes stored, by their log position.
pub type Snapshots = BTreeMap<u64, Vec<Vec<u8>>>;

fn execute<W: Workload>(
    copy: &mut Copy<W>,
    batch: &BatchView<'_>,
    out: &mut impl Emit,
) -> Result<(), String> {
    copy.begin_batch(batch, Stint(1)).map_err(|fatal| fatal.to_string())?;
    while copy.step(batch, out).map_err(|fatal| fatal.to_string())? == Step::More {}
    Ok(())
}

fn restore<W: Workload>(facts: &ClusterFacts, copy: &Copy<W>) -> Result<Copy<W>, String> {
    let (factory, decoder, encoder) = W::parts();
    let (mut writer, mut bytes) = (snapshot::Writer::default(), Vec::new());
    while copy.snapshot(&mut writer, &mut bytes) == Step::More {}
    let mut loader = snapshot::Loader::new(facts, &factory, decoder, encoder);
    let mut at = 0;
    while at < bytes.len() {
        at += match loader.take(&factory, &bytes[at..]).map_err(|error| error.to_string())? {
            0 => return Err("the snapshot ends within a part".to_owned()),
            taken => taken,
        };
    }
    let restored = loader.finish().map_err(|error| error.to_string())?;
    let (mut writer, mut again) = (snapshot::Writer::default(), Vec::new());
    while restored.snapshot(&mut writer, &mut again) == Step::More {}
    if bytes == again { Ok(restored) } else { Err("a restored copy writes another snapshot".to_owned()) }
}

/// What nodes stored at a place of the log must be what the replayed copy stores there.
fn compare<W: Workload>(stored: &[Vec<u8>], copy: &Copy<W>, place: Place, trace: &Trace) {
    let (mut writer, mut bytes) = (snapshot::Writer::new(place), Vec::new());
    while copy.snapshot(&mut writer, &mut bytes) == Step::More {}
    trace.mark("snapshots compared");
    if stored.iter().any(|stored| *stored != bytes) {
        trace.fail("equal snapshots", format!("of {} at batch {}", stored.len(), copy.applied()));
    }
}

/// Executes the committed log and compares. Returns the output hash after each batch.
pub fn audit<W: Workload>(
    facts: &ClusterFacts,
    logs: &Logs,
    stored: &Snapshots,
    history: &History,
    rng: &mut Rng,
    trace: &Trace,
) -> Vec<u64> {
    let (factory, decoder, encoder) = W::parts();
    let mut replayed = Copy::<W>::new(facts, &factory, decoder, encoder);
    let mut restored: Option<Copy<W>> = None;
    let restore_at = rng.below(logs.committed_len().max(1) as u64) as usize;
    let (mut hashes, mut outcomes, mut outputs) = (Vec::new(), Outcomes::new(), Outputs::new());
    let mut naive = Naive::<W>::new(facts);
    let mut out = Collect::default();
    let mut nowhere = Discard::default();
    let mut place = Place::default();
    for (at, (entry, bytes)) in logs.committed().enumerate() {
        if let Some(stored) = stored.get(&entry.position) {
            compare::<W>(stored, &replayed, place.clone(), trace);
        }
        place.chain = entry.chain;
        if place.terms.last().is_none_or(|last| last.term != entry.term) {
            place.terms.push(TermStart { term: entry.term, first: BatchIndex(at as u64 + 1) });
        }
        let Ok(batch) = BatchView::parse(bytes) else {
            trace.fail("batches form one chain", format!("batch {} does not parse", at + 1));
            return hashes;
        };
        if let Err(what) = execute::<W>(&mut replayed, &batch, &mut out) {
            trace.fail("the log can be replayed", what);
            return hashes;
        }
        hashes.push(replayed.hash_after_batch());
        collect::<W>(&mut out, &mut outcomes, &mut outputs, trace);
        if let Some(copy) = &mut restored {
            let result = execute::<W>(copy, &batch, &mut nowhere);
            if result.is_err() || copy.hash_after_batch() != replayed.hash_after_batch() {
                trace.fail(
                    "live = replayed = restored",
                    format!("restored copy at batch {}: {result:?}", at + 1),
                );
                return hashes;
            }
        }
        if at == restore_at {
            match restore::<W>(facts, &replayed) {
                Ok(copy) => restored = Some(copy),
                Err(what) => trace.fail("live = replayed = restored", what),
            }
        }
        naive.batch(&batch);
    }
    if naive.outcomes != outcomes {
        let differs = naive.outcomes.iter().find(|(key, outcome)| outcomes.get(*key) != Some(*outcome));
        let other = outcomes.iter().find(|(key, _)| !naive.outcomes.contains_key(*key));
        trace.fail("the model agrees", format!("model {differs:?}, application {other:?}"));
    }
    for (key, heard) in &history.outputs {
        if outputs.get(key) != Some(heard) {
            let what = format!("{key:?} was heard as {heard:?}; the log says {:?}", outputs.get(key));
            trace.fail("outputs are of committed batches", what);
        }
    }
    for ack in &history.acks {
        let key = (ack.asked.session.0, ack.asked.number.0);
        match outcomes.get(&key) {
            Some(outcome) if outcome.seq == ack.asked.seq && outcome.reply == ack.reply => {}
            other => {
                let what =
                    format!("{:?} was acknowledged with {:?}; the log says {other:?}", ack.asked, ack.reply);
                trace.fail("nothing acknowledged is lost", what);
            }
        }
    }
    hashes
}

/// Takes the first reply to each request.
fn collect<W: Workload>(out: &mut Collect, outcomes: &mut Outcomes, outputs: &mut Outputs, trace: &Trace) {
    for message in out.messages.drain(..) {
        let Ok((head, _)) = Delivery::ref_from_prefix(&message) else { continue };
        if !matches!(head.kind.get(), delivery::REPLY | delivery::OUTPUT) {
            continue;
        }
        let Ok((view, _)) = ServerView::split(&message[DELIVERY..]) else {
            trace.fail("the log can be replayed", "a reply is no frame");
            continue;
        };
        if head.kind.get() == delivery::OUTPUT {
            if let Some(mark) = W::mark(view.payload) {
                trace.mark(mark);
            }
            outputs.insert((view.header.session.get(), view.header.number.get()), view.payload.to_vec());
            continue;
        }
        if view.header.code == Code::Executed as u8 {
            let outcome = Outcome { seq: view.header.seq(), reply: view.payload.to_vec() };
            let key = (view.header.session().0, view.header.number().0);
            let first = outcomes.entry(key).or_insert_with(|| outcome.clone());
            if *first != outcome {
                let what = format!("{key:?} was answered with {first:?} and with {outcome:?}");
                trace.fail("executed at most once", what);
            }
        }
    }
}

/// The session rules and the application, by their description.
struct Naive<W: Workload> {
    timeout: u64,
    max: usize,
    per_key: usize,
    window: u64,
    model: W::Model,
    sessions: BTreeMap<u64, Session>,
    keys: BTreeMap<Vec<u8>, u32>,
    outcomes: Outcomes,
}

struct Session {
    key: u32,
    next: u64,
    /// Lowest number whose reply is kept.
    floor: u64,
    last: u64,
}

impl<W: Workload> Naive<W> {
    fn new(facts: &ClusterFacts) -> Self {
        Self {
            timeout: facts.session_timeout.0,
            max: facts.sessions_max as usize,
            per_key: facts.sessions_per_key as usize,
            window: u64::from(facts.window),
            model: W::model(),
            sessions: BTreeMap::new(),
            keys: BTreeMap::new(),
            outcomes: Outcomes::new(),
        }
    }

    fn batch(&mut self, batch: &BatchView<'_>) {
        let time = batch.header.time();
        if batch.header.count.get() > 0 {
            self.sessions.retain(|_, session| session.last + self.timeout > time.0);
        }
        for (seq, record) in batch.records().flatten() {
            self.record(time.0, seq, &record);
        }
    }

    fn record(&mut self, time: u64, seq: Seq, record: &RecordView<'_>) {
        let header = record.header;
        let kind = header.kind().expect("records checks the kind");
        let genesis = header.session() == SessionId::ZERO;
        match kind {
            RecordKind::SessionOpen => {
                let held = self.sessions.values().filter(|session| session.key == header.key().0).count();
                if self.sessions.len() < self.max && held < self.per_key {
                    let session = Session { key: header.key().0, next: 1, floor: 1, last: time };
                    self.sessions.insert(seq.0, session);
                }
            }
            RecordKind::KeySet if genesis => {
                self.key(record.payload);
            }
            RecordKind::Request
            | RecordKind::SessionClose
            | RecordKind::KeySet
            | RecordKind::SessionKeepAlive => {
                let Some(session) = self.sessions.get_mut(&header.session().0) else { return };
                if session.key != header.key().0 {
                    return;
                }
                session.last = time;
                session.floor = session.floor.max(header.lowest_open().0.min(session.next));
                if kind == RecordKind::SessionKeepAlive
                    || header.number().0 != session.next
                    || session.next - session.floor >= self.window
                {
                    return;
                }
                session.next += 1;
                let reply = match kind {
                    RecordKind::Request => self.model.execute(ordain_types::Nanos(time), record.payload),
                    RecordKind::KeySet => self.key(record.payload).to_le_bytes().to_vec(),
                    _ => {
                        self.sessions.remove(&header.session().0);
                        Vec::new()
                    }
                };
                let key = (header.session().0, header.number().0);
                self.outcomes.insert(key, Outcome { seq, reply });
            }
            RecordKind::Tick | RecordKind::Genesis => {}
        }
    }

    fn key(&mut self, payload: &[u8]) -> u32 {
        let next = self.keys.len() as u32 + 1;
        *self.keys.entry(payload[..32].to_vec()).or_insert(next)
    }
}
