//! What is checked when a run is over: the committed log is executed anew by production code, from a
//! snapshot, and by a naive model, and all must agree with what clients were told.

use crate::history::{Answered, History, Place};
use crate::rng::Rng;
use crate::shadow::Logs;
use crate::trace::Trace;
use crate::workload::{Model, Workload};
use ordain_agent::wire::{DELIVERY, Delivery, delivery};
use ordain_api::{AppFactory, Context, Presence, Step, Stream};
use ordain_apply::snapshot::Place as LogPlace;
use ordain_apply::{Collect, Discard, Emit, Replica, snapshot};
use ordain_node::journal::TermStart;
use ordain_types::codes::Code;
use ordain_types::frame::ServerView;
use ordain_types::record::permission;
use ordain_types::{
    BatchIndex, BatchKind, BatchView, ClusterFacts, Configuration, KeyId, Lineage, Nanos, RecordKind,
    RecordView, Seq, SessionId, Stint,
};
use std::collections::BTreeMap;
use zerocopy::FromBytes;

/// What became of a request according to the log.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Outcome {
    seq: Seq,
    reply: Vec<u8>,
}

type Outcomes = BTreeMap<Place, Outcome>;

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
fn compare<W: Workload>(stored: &[Vec<u8>], copy: &Copy<W>, place: LogPlace, trace: &Trace) {
    let (mut writer, mut bytes) = (snapshot::Writer::new(place), Vec::new());
    while copy.snapshot(&mut writer, &mut bytes) == Step::More {}
    trace.mark("snapshots compared");
    if stored.iter().any(|stored| *stored != bytes) {
        trace.fail("equal snapshots", format!("of {} at batch {}", stored.len(), copy.applied()));
    }
}

/// Executes the committed log and compares. Returns the output hash after each batch. If the run has not
/// `settled`, clients have open requests, which the log may hold.
pub fn audit<W: Workload>(
    facts: &ClusterFacts,
    logs: &Logs,
    stored: &Snapshots,
    settled: bool,
    history: &mut History,
    rng: &mut Rng,
    trace: &Trace,
) -> Vec<u64> {
    let (factory, decoder, encoder) = W::parts();
    let mut replayed = Copy::<W>::new(facts, &factory, decoder, encoder);
    let mut restored: Option<Copy<W>> = None;
    let restore_at = rng.below(logs.committed_len().max(1) as u64) as usize;
    let (mut hashes, mut outcomes, mut outputs) = (Vec::new(), Outcomes::new(), Outputs::new());
    let mut naive = Naive::<W>::new(facts, core::mem::take(&mut history.answers), trace);
    let mut out = Collect::default();
    let mut nowhere = Discard::default();
    let mut place = LogPlace::default();
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
        collect(&mut out, &mut outcomes, &mut outputs, trace);
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
        if replayed.sessions() != naive.sessions.len() {
            let what = format!(
                "behind batch {} the model has {} sessions, the application {}",
                at + 1,
                naive.sessions.len(),
                replayed.sessions()
            );
            trace.fail("the model agrees", what);
            return hashes;
        }
    }
    // All of them lie where a batch of the committed log begins.
    let met = |position: &u64| logs.committed().any(|(entry, _)| entry.position == *position);
    if let Some(position) = stored.keys().find(|position| settled && !met(position)) {
        trace.fail("equal snapshots", format!("one at position {position}, where no batch begins"));
    }
    naive.answer(u64::MAX);
    if naive.outcomes != outcomes {
        let differs = naive.outcomes.iter().find(|(key, outcome)| outcomes.get(*key) != Some(*outcome));
        let other = outcomes.iter().find(|(key, _)| !naive.outcomes.contains_key(*key));
        trace.fail("the model agrees", format!("model {differs:?}, application {other:?}"));
    }
    if naive.outputs != outputs {
        let differs = naive.outputs.iter().find(|(key, output)| outputs.get(*key) != Some(*output));
        let other = outputs.iter().find(|(key, _)| !naive.outputs.contains_key(*key));
        trace.fail("the model agrees", format!("outputs: model {differs:?}, application {other:?}"));
    }
    if let Err(what) = W::check_end(replayed.app(), &naive.model) {
        trace.fail("the application's books are in order", what);
    }
    for (place, request) in &naive.requests {
        if settled && !history.was_asked(*place, request) {
            let what = format!("{place:?} is in the log and was executed as {request:?}");
            trace.fail("everything executed was asked for once", what);
        }
    }
    for session in history.lost.iter().filter(|session| naive.sessions.contains_key(*session)) {
        trace.fail("sessions end in the log only", format!("session {session} goes on"));
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
fn collect(out: &mut Collect, outcomes: &mut Outcomes, outputs: &mut Outputs, trace: &Trace) {
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
    step_outputs: usize,
    model: W::Model,
    sessions: BTreeMap<u64, Session>,
    /// Whom the application watches, and who of them is gone.
    watched: BTreeMap<u64, bool>,
    keys: BTreeMap<Vec<u8>, u32>,
    outcomes: Outcomes,
    requests: BTreeMap<Place, Vec<u8>>,
    outputs: Outputs,
    /// Outputs of each stream so far.
    counts: BTreeMap<u64, u64>,
    /// What clients were answered, the last first.
    answers: Vec<Answered>,
    last: Context,
    trace: Trace,
    lineage: Lineage,
}

struct Session {
    key: u32,
    next: u64,
    /// Lowest number whose reply is kept.
    floor: u64,
    last: u64,
}

impl<W: Workload> Naive<W> {
    fn new(facts: &ClusterFacts, mut answers: Vec<Answered>, trace: &Trace) -> Self {
        answers.sort_by_key(|answer| core::cmp::Reverse(answer.seq));
        Self {
            timeout: facts.session_timeout.0,
            max: facts.sessions_max as usize,
            per_key: facts.sessions_per_key as usize,
            window: u64::from(facts.window),
            step_outputs: facts.step_outputs_max as usize,
            model: W::model(),
            sessions: BTreeMap::new(),
            watched: BTreeMap::new(),
            keys: BTreeMap::new(),
            outcomes: Outcomes::new(),
            requests: BTreeMap::new(),
            outputs: Outputs::new(),
            counts: BTreeMap::new(),
            answers,
            last: Context {
                seq: Seq(0),
                batch: BatchIndex(0),
                time: Nanos(0),
                session: SessionId::ZERO,
                key: KeyId::ZERO,
                permissions: permission::ALL,
            },
            lineage: Lineage::FIRST,
            trace: trace.clone(),
        }
    }

    fn batch(&mut self, batch: &BatchView<'_>) {
        let header = batch.header;
        let time = header.time();
        self.answer(header.next_seq().0 - 1);
        self.last = Context { seq: header.first_seq(), batch: header.index(), time, ..self.last };
        self.lineage = Lineage::of(header.term());
        if header.kind() == BatchKind::TermStart {
            for session in self.watched.keys().copied().collect::<Vec<_>>() {
                self.watched.insert(session, true);
                self.presence(session, Presence::Unproved);
            }
        }
        if let Ok(Some(Configuration { level, .. })) = Configuration::of_batch(batch)
            && level > 0
        {
            self.trace.mark("level begun");
            self.model.begin_level(level);
        }
        self.pass();
        for (seq, record) in batch.records().flatten() {
            self.record(seq, &record);
        }
        self.last.seq = Seq(header.next_seq().0 - 1);
    }

    /// Deadlines pass that have come, and sessions end whose time is over, in order of their times: the application's
    /// before the runtime's where these are equal.
    fn pass(&mut self) {
        let time = self.last.time;
        let ends = self.sessions.iter().map(|(id, session)| (session.last + self.timeout, *id));
        let mut over: Vec<_> = ends.filter(|(end, _)| *end <= time.0).collect();
        over.sort_unstable();
        for (end, id) in over {
            self.pass_until(Nanos(end));
            self.sessions.remove(&id);
            self.end(id);
        }
        self.pass_until(time);
    }

    fn pass_until(&mut self, until: Nanos) {
        let passed = self.model.pass(until, &self.last);
        passed.reached.iter().for_each(|mark| self.trace.mark(mark));
        if !passed.outputs.is_empty() {
            self.trace.mark("timer fired");
        }
        self.tell(passed.outputs);
    }

    /// A session has ended.
    fn end(&mut self, session: u64) {
        if self.watched.remove(&session).is_some() {
            self.presence(session, Presence::Ended);
        }
    }

    fn presence(&mut self, session: u64, presence: Presence) {
        self.trace.mark(match presence {
            Presence::Lost => "presence: lost",
            Presence::Unproved => "presence: unproved",
            Presence::Back => "presence: back",
            Presence::Ended => "presence: ended",
        });
        self.model.presence(SessionId(session), presence, self.last.time);
    }

    /// Checks what was answered before the log went on to `seq`.
    fn answer(&mut self, seq: u64) {
        while self.answers.last().is_some_and(|answer| answer.seq < seq) {
            let Answered { seq, key, permissions, query, answer } = self.answers.pop().expect("looked");
            let about = Context { key: KeyId(key), permissions, ..self.last };
            let expected = self.model.query(&about, &query);
            if seq != self.last.seq.0 || expected != answer {
                let what = format!(
                    "key {key} asked {query:?} and was answered {answer:?} as of seq {seq}; \
                     as of seq {} the model says {expected:?}",
                    self.last.seq
                );
                self.trace.fail("answers are those of the log", what);
            }
        }
    }

    fn tell(&mut self, outputs: Vec<(Stream, Vec<u8>)>) {
        for (stream, output) in outputs {
            let number = self.counts.entry(stream.to_wire()).or_default();
            *number += 1;
            self.outputs.insert((stream.to_wire(), *number), output);
        }
    }

    fn record(&mut self, seq: Seq, record: &RecordView<'_>) {
        let header = record.header;
        let time = self.last.time.0;
        self.last.seq = seq;
        let kind = header.kind().expect("records checks the kind");
        let genesis = header.session() == SessionId::ZERO;
        match kind {
            RecordKind::SessionOpen => {
                let held = self.sessions.values().filter(|session| session.key == header.key().0).count();
                if self.sessions.len() < self.max && held < self.per_key {
                    let session = Session { key: header.key().0, next: 1, floor: 1, last: time };
                    self.sessions.insert(self.lineage.session(seq).0, session);
                }
            }
            RecordKind::KeySet if genesis => {
                self.key(record.payload);
            }
            RecordKind::Genesis => {
                let said = self.model.execute(&self.last, record.payload);
                self.tell(said.outputs);
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
                if let Some(gone) = self.watched.get_mut(&header.session().0)
                    && std::mem::take(gone)
                {
                    self.presence(header.session().0, Presence::Back);
                }
                let session = self.sessions.get_mut(&header.session().0).expect("looked");
                session.floor = session.floor.max(header.lowest_open().0.min(session.next));
                if kind == RecordKind::SessionKeepAlive
                    || header.number().0 != session.next
                    || session.next - session.floor >= self.window
                {
                    return;
                }
                session.next += 1;
                let place = (header.session().0, header.number().0);
                let reply = match kind {
                    RecordKind::Request => self.execute(record),
                    RecordKind::KeySet => self.key(record.payload).to_le_bytes().to_vec(),
                    _ => {
                        self.sessions.remove(&header.session().0);
                        self.end(header.session().0);
                        Vec::new()
                    }
                };
                self.outcomes.insert(place, Outcome { seq, reply });
                self.requests.insert(place, record.payload.to_vec());
            }
            RecordKind::SessionLost => {
                if let Some(gone) = self.watched.get_mut(&header.session().0)
                    && !std::mem::replace(gone, true)
                {
                    self.presence(header.session().0, Presence::Lost);
                }
            }
            RecordKind::Tick => {}
        }
    }

    fn execute(&mut self, record: &RecordView<'_>) -> Vec<u8> {
        let about = Context {
            session: record.header.session(),
            key: record.header.key(),
            permissions: record.header.permissions.get(),
            ..self.last
        };
        let said = self.model.execute(&about, record.payload);
        said.reached.iter().for_each(|mark| self.trace.mark(mark));
        if said.outputs.len() > self.step_outputs {
            self.trace.mark("event of several steps");
        }
        self.tell(said.outputs);
        match said.watch {
            Some(true) => drop(self.watched.insert(about.session.0, false)),
            Some(false) => drop(self.watched.remove(&about.session.0)),
            None => {}
        }
        said.reply
    }

    fn key(&mut self, payload: &[u8]) -> u32 {
        let next = self.keys.len() as u32 + 1;
        *self.keys.entry(payload[..32].to_vec()).or_insert(next)
    }
}
