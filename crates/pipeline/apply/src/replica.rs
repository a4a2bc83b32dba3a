//! One copy of the replicated state and the one way it changes.

use crate::deliver::Emit;
use crate::digest::mix;
use crate::replies::Fingerprint;
use crate::sessions::Verdict;
use crate::state::{Asker, Keep, State};
use core::fmt;
use ordain_agent::Fatal;
use ordain_api::{
    AppFactory, Application, Buf, Context, Malformed, Presence, RequestDecoder, ResponseEncoder, Sink, Step,
    WARM_MAX,
};
use ordain_types::codes::Code;
use ordain_types::configuration::Configuration;
use ordain_types::record::permission;
use ordain_types::{
    BatchIndex, BatchKind, BatchView, ClusterFacts, KeyId, Lineage, Nanos, Number, Position, RecordKind,
    RecordView, Seq, SessionId, Stint, Stream,
};

/// An application with everything that the runtime replicates beside it.
///
/// Live, on a follower, in recovery and in an audit the same calls are made: [`Replica::begin_batch`], then
/// [`Replica::step`] until it says [`Step::Done`], batch by batch from the first.
#[derive(Debug)]
pub struct Replica<A, D, E> {
    pub(crate) app: A,
    decoder: D,
    encoder: E,
    pub(crate) state: State,
    batch: Option<Progress>,
    event: Option<Event>,
    counts: Counts,
    /// The log's last configuration applied, and its batch; `None`: the one that the cluster was made with.
    pub(crate) configuration: Option<(BatchIndex, Configuration)>,
    /// The highest level of behaviour that this build has.
    known: u16,
}

/// Local numbers since this copy was made. Not replicated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records executed.
    pub records: u64,
    /// Requests answered with the reply they had got before.
    pub duplicates: u64,
}

/// How far the batch at hand is.
#[derive(Clone, Copy, Debug)]
struct Progress {
    /// Deadlines may still be due.
    timers: bool,
    /// Where the next record begins in the body.
    offset: usize,
    left: u16,
    /// Records from there on for which the application has warmed up.
    warm: u16,
}

/// An event that the application executes.
#[derive(Clone, Copy, Debug)]
struct Event {
    context: Context,
    cause: Cause,
    replied: bool,
    /// The rule of its contract that the application broke.
    fault: Option<&'static str>,
}

#[derive(Clone, Copy, Debug)]
enum Cause {
    Timer,
    Seed,
    Request(Asker, Keep),
}

/// Most messages that one step emits: the outputs, a reply, and what the runtime says of a session or key.
pub(crate) const fn step_messages(facts: &ClusterFacts) -> usize {
    facts.step_outputs_max as usize + 2
}

impl<A, D, E> Replica<A, D, E>
where
    A: Application,
    D: RequestDecoder<A>,
    E: ResponseEncoder<A>,
{
    /// A copy to which nothing has happened.
    pub fn new<F: AppFactory<App = A>>(facts: &ClusterFacts, factory: &F, decoder: D, encoder: E) -> Self {
        let state = State::new(facts, factory.identity());
        Self::with(state, factory.create(), factory.level(), decoder, encoder)
    }

    /// `known`: the highest level of behaviour that this build has.
    pub(crate) fn with(state: State, app: A, known: u16, decoder: D, encoder: E) -> Self {
        Self {
            app,
            decoder,
            encoder,
            state,
            batch: None,
            event: None,
            counts: Counts::default(),
            configuration: None,
            known,
        }
    }

    /// Begins the batch behind the one applied last. `stint`: the reign under which the gateway may release
    /// replies, 0 if nobody is to be answered.
    ///
    /// # Errors
    /// [`Fatal`] if the batch does not continue the log that was applied.
    ///
    /// # Panics
    /// If the batch before is unfinished.
    pub fn begin_batch(&mut self, batch: &BatchView<'_>, stint: Stint) -> Result<(), Fatal> {
        assert!(self.batch.is_none(), "a batch ends before the next begins");
        let (state, header) = (&mut self.state, batch.header);
        let continues = header.index() == state.index()
            && header.position() == state.end
            && header.first_seq() == state.next_seq
            && header.time() >= state.time;
        if !continues {
            return Err(broken(format!(
                "batch {} at position {} with first seq {} and time {} does not continue the log, \
                 applied up to batch {}, position {}, seq {}, time {}",
                header.index(),
                header.position(),
                header.first_seq(),
                header.time(),
                state.applied,
                state.end,
                state.next_seq,
                state.time,
            )));
        }
        if let Some(configuration) = understand(batch, self.known)? {
            let level = self.configuration.as_ref().map_or(0, |(_, before)| before.level);
            if configuration.level > level {
                self.app.begin_level(configuration.level);
            }
            self.configuration = Some((header.index(), configuration));
        }
        state.time = header.time();
        state.stint = stint;
        state.lineage = Lineage::of(header.term());
        if header.kind() == BatchKind::TermStart {
            self.prove_anew(header.first_seq());
        }
        let holds_records = matches!(header.kind(), BatchKind::Data | BatchKind::Genesis);
        let left = if holds_records { header.count.get() } else { 0 };
        self.batch = Some(Progress { timers: true, offset: 0, left, warm: 0 });
        Ok(())
    }

    /// Whether a batch has begun and is not done.
    #[must_use]
    pub const fn in_batch(&self) -> bool {
        self.batch.is_some()
    }

    /// Does the next bounded piece of the batch that was begun: one step of one event, one deadline.
    /// [`Step::Done`]: the batch is applied.
    ///
    /// # Errors
    /// [`Fatal`], naming the record, if the log holds what cannot be executed or the application broke its
    /// contract. The copy must not be used any more.
    ///
    /// # Panics
    /// If no batch was begun or `batch` is another one; whatever panics in the application.
    pub fn step<O: Emit>(&mut self, batch: &BatchView<'_>, out: &mut O) -> Result<Step, Fatal> {
        let mut progress = self.batch.expect("begin_batch comes first");
        assert!(batch.header.index() == self.state.index(), "the batch that was begun");
        if let Some(event) = self.event.take() {
            self.run(event, out, |app, context, sink| app.resume(context, sink))?;
        } else {
            if progress.timers {
                progress.timers = self.timer(batch.header.first_seq(), out)?;
            }
            if !progress.timers && progress.left > 0 {
                self.record(batch, &mut progress, out)?;
            }
        }
        if progress.timers || progress.left > 0 || self.event.is_some() {
            self.batch = Some(progress);
            return Ok(Step::More);
        }
        self.batch = None;
        let state = &mut self.state;
        state.applied = batch.header.index();
        state.end = batch.header.end();
        state.next_seq = batch.header.next_seq();
        state.hash = mix(state.hash, state.applied.0);
        Ok(Step::Done)
    }

    /// Lets the earliest deadline pass that has come, the application's before the runtime's at equal times.
    /// Says whether there may be another.
    fn timer<O: Emit>(&mut self, seq: Seq, out: &mut O) -> Result<bool, Fatal> {
        let state = &mut self.state;
        let time = state.time;
        let due = self.app.next_deadline().filter(|deadline| *deadline <= time);
        let mut expiry = None;
        if state.sessions.earliest().is_some_and(|deadline| deadline <= time) {
            let Ok(earliest) = state.sessions.refresh() else { return Ok(true) };
            expiry = earliest.filter(|(deadline, _)| *deadline <= time);
        }
        match (due, expiry) {
            (None, None) => return Ok(false),
            (None, Some((_, id))) => self.end_session(seq, id, out),
            (Some(due), Some((deadline, id))) if deadline < due => self.end_session(seq, id, out),
            (Some(due), _) => {
                let event = Event::new(self.context(seq, SessionId::ZERO), Cause::Timer);
                self.run(event, out, |app, context, sink| app.fire(due, context, sink))?;
            }
        }
        Ok(true)
    }

    /// A leader begins its term: whoever is watched has lost its connection, and no deadline passes before that is said.
    fn prove_anew(&mut self, seq: Seq) {
        let mut last = SessionId::ZERO;
        while let Some(id) = self.state.sessions.watched_behind(last) {
            self.state.sessions.lose(id);
            self.tell_presence(seq, id, Presence::Unproved);
            last = id;
        }
    }

    fn tell_presence(&mut self, seq: Seq, id: SessionId, presence: Presence) {
        let context = self.context(seq, id);
        self.app.presence(id, presence, &context);
    }

    /// Removes a session that has expired.
    fn end_session<O: Emit>(&mut self, seq: Seq, id: SessionId, out: &mut O) {
        if self.state.end_session(out, id) {
            self.tell_presence(seq, id, Presence::Ended);
        }
    }

    fn record<O: Emit>(
        &mut self,
        batch: &BatchView<'_>,
        progress: &mut Progress,
        out: &mut O,
    ) -> Result<(), Fatal> {
        let body = batch.body();
        if progress.warm == 0 {
            progress.warm = WARM_MAX as u16;
            self.warm(&body[progress.offset..]);
        }
        progress.warm -= 1;
        let seq = Seq(batch.header.next_seq().0 - u64::from(progress.left));
        let (record, rest) = RecordView::split(&body[progress.offset..])
            .ok_or_else(|| broken(format!("record {seq} in batch {} is malformed", batch.header.index())))?;
        progress.offset = body.len() - rest.len();
        progress.left -= 1;
        self.counts.records += 1;
        let genesis = batch.header.kind() == BatchKind::Genesis;
        let kind = record.header.kind().expect("split checked the kind");
        if self.state.sessions.find_again(&record) {
            self.tell_presence(seq, record.header.session(), Presence::Back);
        }
        match kind {
            RecordKind::Request => {
                if let Some(keep) = self.admit(seq, &record, out) {
                    let context = Context {
                        key: record.header.key(),
                        permissions: record.header.permissions.get(),
                        ..self.context(seq, record.header.session())
                    };
                    self.execute(context, Cause::Request(Asker::of(&record), keep), &record, out)?;
                }
            }
            RecordKind::Genesis if genesis => {
                self.execute(self.context(seq, SessionId::ZERO), Cause::Seed, &record, out)?;
            }
            RecordKind::KeySet if genesis => {
                self.state
                    .set_key(out, record.payload)
                    .ok_or_else(|| broken(format!("record {seq} of the genesis batch is no key")))?;
            }
            RecordKind::SessionClose | RecordKind::KeySet => {
                if let Some(keep) = self.admit(seq, &record, out)
                    && self.state.execute_own(out, kind, seq, &record, keep)
                {
                    self.tell_presence(seq, record.header.session(), Presence::Ended);
                }
            }
            RecordKind::SessionOpen => self.state.open_session(out, seq, &record),
            RecordKind::SessionKeepAlive => {
                // Nobody waits for an answer.
                let _ = self.state.sessions.touch(&record, self.state.time);
            }
            RecordKind::SessionLost => {
                // It may have been closed, or given up being watched, since the gateway wrote this.
                if self.state.sessions.lose(record.header.session()) {
                    self.tell_presence(seq, record.header.session(), Presence::Lost);
                }
            }
            RecordKind::Tick => {}
            RecordKind::Genesis => {
                return Err(broken(format!("record {seq} is a seed request outside the genesis batch")));
            }
        }
        Ok(())
    }

    /// Shows the application the requests among the first records in `rest`. One that cannot be read is left out here:
    /// it stops the node when its turn comes.
    fn warm(&self, mut rest: &[u8]) {
        let requests = std::iter::from_fn(|| {
            let (record, behind) = RecordView::split(rest)?;
            rest = behind;
            Some(record)
        })
        .take(WARM_MAX)
        .filter(|record| record.header.kind() == Some(RecordKind::Request))
        .filter_map(|record| self.decoder.decode(record.header.schema, record.payload).ok());
        self.app.warm(requests);
    }

    /// Applies the session rules to a numbered request: where its reply is to be kept if it is executed;
    /// otherwise it has been answered.
    fn admit<O: Emit>(&mut self, seq: Seq, record: &RecordView<'_>, out: &mut O) -> Option<Keep> {
        let state = &mut self.state;
        match state.sessions.admit(record, state.time) {
            Verdict::Execute(slot) => Some((slot, Fingerprint::of(record))),
            verdict => {
                self.counts.duplicates += u64::from(matches!(verdict, Verdict::Repeat(..)));
                state.decline(out, verdict, seq, record);
                None
            }
        }
    }

    fn execute<O: Emit>(
        &mut self,
        context: Context,
        cause: Cause,
        record: &RecordView<'_>,
        out: &mut O,
    ) -> Result<(), Fatal> {
        let request =
            self.decoder.decode(record.header.schema, record.payload).map_err(|Malformed(why)| {
                broken(format!("record {} is no request of this application: {why}", context.seq))
            })?;
        self.run(Event::new(context, cause), out, |app, context, sink| app.apply(request, context, sink))
    }

    /// What the runtime itself acts under.
    fn context(&self, seq: Seq, session: SessionId) -> Context {
        Context {
            seq,
            batch: self.state.index(),
            time: self.state.time,
            session,
            key: KeyId::ZERO,
            permissions: permission::ALL,
        }
    }

    /// Lets the application do one step of an event and holds it to its contract.
    fn run<O: Emit>(
        &mut self,
        mut event: Event,
        out: &mut O,
        call: impl FnOnce(&mut A, &Context, &mut EventSink<'_, E, O>) -> Step,
    ) -> Result<(), Fatal> {
        let context = event.context;
        let left = self.state.facts.step_outputs_max as usize;
        let mut sink =
            EventSink { state: &mut self.state, encoder: &self.encoder, event: &mut event, out, left };
        let step = call(&mut self.app, &context, &mut sink);
        let unanswered = step == Step::Done && !event.replied && !matches!(event.cause, Cause::Timer);
        let fault = event.fault.or(unanswered.then_some("gave no reply"));
        if let Some(fault) = fault {
            return Err(broken(format!("the application {fault} while executing record {}", context.seq)));
        }
        if step == Step::More {
            self.event = Some(event);
        }
        Ok(())
    }

    /// Says the next thing that outlives the batch in which it was said: a key, how many outputs a stream has had, that
    /// a session is watched. `false` when everything was said.
    pub(crate) fn introduce<O: Emit>(&self, told: &mut Introduction, out: &mut O) -> bool {
        let state = &self.state;
        if let Some(key) = state.keys.get(KeyId(told.keys + 1)) {
            told.keys += 1;
            state.tell_key(out, state.applied, KeyId(told.keys), key);
            return true;
        }
        if let Some((stream, count)) = state.streams.counts.get(told.streams) {
            told.streams += 1;
            state.tell_stream(out, *stream, *count);
            return true;
        }
        let (sessions, at) = told.sessions.get_or_insert_with(|| (state.sessions.sorted(), 0));
        while let Some(id) = sessions.get(*at) {
            *at += 1;
            let outputs = state.sessions.find(*id).map_or(0, |session| session.outputs);
            if outputs > 0 {
                state.tell_stream(out, Stream::Session(*id).to_wire(), outputs);
                return true;
            }
        }
        let Some(id) = state.sessions.watched_behind(told.watched) else { return false };
        told.watched = id;
        state.tell_watched(out, state.applied, id, true);
        true
    }

    /// The application.
    pub const fn app(&self) -> &A {
        &self.app
    }

    /// The batch applied last.
    #[must_use]
    pub const fn applied(&self) -> BatchIndex {
        self.state.applied
    }

    /// Where the batch applied last ends in the log.
    #[must_use]
    pub const fn end(&self) -> Position {
        self.state.end
    }

    /// Seq of the first record behind the batch applied last.
    #[must_use]
    pub const fn next_seq(&self) -> Seq {
        self.state.next_seq
    }

    /// Log time.
    #[must_use]
    pub const fn time(&self) -> Nanos {
        self.state.time
    }

    /// A number over every reply and output since the first batch. Equal on all copies that have applied the
    /// same batches: two that differ have diverged. It finds faults, not forgers.
    #[must_use]
    pub const fn hash_after_batch(&self) -> u64 {
        self.state.hash
    }

    /// Log time at which the application or a session's expiry wants a batch, should nothing else bring one.
    /// With very many sessions in use it may be early, never late.
    #[must_use]
    pub fn next_tick(&mut self) -> Option<Nanos> {
        let expiry = match self.state.sessions.refresh() {
            Ok(earliest) => earliest.map(|(deadline, _)| deadline),
            Err(_) => self.state.sessions.earliest(),
        };
        [self.app.next_deadline(), expiry].into_iter().flatten().min()
    }

    /// Sessions open.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.state.sessions.len()
    }

    /// Local numbers, for metrics.
    #[must_use]
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// The public key and the permissions of a key.
    #[must_use]
    pub fn key(&self, id: KeyId) -> Option<([u8; 32], u32)> {
        self.state.keys.get(id).map(|key| (key.public, key.permissions))
    }

    /// Lineage in force.
    #[must_use]
    pub const fn lineage(&self) -> Lineage {
        self.state.lineage
    }

    /// Answers the query in a frame from the state between two batches, in at most 1 KiB.
    ///
    /// # Errors
    /// [`Malformed`] if the payload is no query of the application.
    pub fn query(
        &self,
        asker: &Querier,
        schema: u8,
        payload: &[u8],
        out: &mut Buf<'_>,
    ) -> Result<(), Malformed> {
        let query = self.decoder.decode_query(schema, payload)?;
        let context = Context {
            seq: self.last_seq(),
            batch: self.state.applied,
            time: self.state.time,
            session: asker.session,
            key: asker.key,
            permissions: asker.permissions,
        };
        self.encoder.answer(&self.app.query(query, &context), out);
        Ok(())
    }

    /// Seq of the last record applied; 0 if there was none.
    #[must_use]
    pub const fn last_seq(&self) -> Seq {
        Seq(self.state.next_seq.0 - 1)
    }

    /// What a client that resumes a session is told: the number that the session expects, and the lowest
    /// one whose reply is kept.
    ///
    /// # Errors
    /// [`Code::UnknownSession`], [`Code::WrongKey`].
    pub fn resume(&self, session: SessionId, key: KeyId) -> Result<(Number, Number), Code> {
        self.state.sessions.resume(session, key)
    }

    /// What a request that is thought to be a repetition is answered: the frame's code and `seq` field; the
    /// payload of the original reply is put into `out`. Nothing is executed.
    pub fn duplicate(&self, record: &RecordView<'_>, out: &mut Buf<'_>) -> (Code, Seq) {
        let sessions = &self.state.sessions;
        match sessions.judge(record) {
            Verdict::Execute(slot) => (Code::Expected, Seq(sessions.at(slot).replies.next().0)),
            Verdict::Refuse(code, field) => (code, Seq(field.unwrap_or(0))),
            Verdict::Repeat(slot, kept) => {
                let (first, second) = sessions.at(slot).replies.payload(&kept);
                out.put(first);
                out.put(second);
                (kept.code, kept.seq)
            }
        }
    }

    /// Whether a key may read a stream: those of its own sessions always, others if the application agrees.
    pub fn may_read(&self, stream: Stream, key: KeyId, permissions: u32) -> bool {
        let own = |id| self.state.sessions.find(id).is_some_and(|session| session.key == key);
        matches!(stream, Stream::Session(id) if own(id)) || self.app.may_read(stream, key, permissions)
    }
}

/// How far the gateway of a node that began with a snapshot was told what it missed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Introduction {
    keys: u32,
    streams: usize,
    /// Sessions in order and the next of them, once keys and streams are told.
    sessions: Option<(Vec<SessionId>, usize)>,
    /// The last watched session told, once those are.
    watched: SessionId,
}

/// Who asks a query.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Querier {
    /// Session named in the frame, 0 if none.
    pub session: SessionId,
    /// The connection's key.
    pub key: KeyId,
    /// What the key is permitted.
    pub permissions: u32,
}

impl Event {
    const fn new(context: Context, cause: Cause) -> Self {
        Self { context, cause, replied: false, fault: None }
    }
}

/// The [`Sink`] of one step.
struct EventSink<'a, E, O> {
    state: &'a mut State,
    encoder: &'a E,
    event: &'a mut Event,
    out: &'a mut O,
    left: usize,
}

impl<A: Application, E: ResponseEncoder<A>, O: Emit> Sink<A> for EventSink<'_, E, O> {
    fn reply(&mut self, reply: &A::Reply) {
        let (asker, keep) = match self.event.cause {
            Cause::Timer => {
                self.event.fault = Some("replied to a deadline");
                return;
            }
            Cause::Seed => (Asker::default(), None),
            Cause::Request(asker, keep) => (asker, Some(keep)),
        };
        if std::mem::replace(&mut self.event.replied, true) {
            self.event.fault = Some("replied twice");
            return;
        }
        let seq = self.event.context.seq;
        self.state.reply(self.out, &asker, (Code::Executed, seq), keep, |buf| self.encoder.reply(reply, buf));
    }

    fn output(&mut self, stream: Stream, output: &A::Output) {
        let Some(left) = self.left.checked_sub(1) else {
            self.event.fault = Some("emitted more outputs than a step may");
            return;
        };
        self.left = left;
        let seq = self.event.context.seq;
        self.state.output(self.out, stream, seq, |buf| self.encoder.output(output, buf));
    }

    fn outputs_left(&self) -> usize {
        self.left
    }

    fn watch(&mut self, on: bool) {
        match self.event.cause {
            Cause::Request(asker, _) => self.state.watch(self.out, asker.session, on),
            Cause::Timer | Cause::Seed => self.event.fault = Some("watched a session without a request"),
        }
    }
}

/// The configuration in a control batch, if it holds one; `known` is the highest level that this build has. What the build
/// does not know changes what follows, so that a node which passed over it would go its own way.
fn understand(batch: &BatchView<'_>, known: u16) -> Result<Option<Configuration>, Fatal> {
    if batch.header.kind() != BatchKind::Control {
        return Ok(None);
    }
    let index = batch.header.index();
    let holds = |what: String| newer(format_args!("batch {index} holds {what}"));
    match Configuration::of_batch(batch) {
        Ok(Some(Configuration { level, .. })) if level > known => {
            Err(holds(format!("the beginning of level {level}, and this build has {known} at most")))
        }
        Ok(configuration) => Ok(configuration),
        Err(error) => Err(holds(error.to_string())),
    }
}

/// What this build cannot go on from, since others went on with one that can.
pub(crate) fn newer(found: fmt::Arguments<'_>) -> Fatal {
    Fatal::new(
        format!("{found}: the cluster went on with a newer build"),
        "Install the build that the other nodes run, and start the node again: it goes on where it stopped.",
    )
}

/// A log that cannot be executed: the node stops, and the evidence is kept.
fn broken(cause: String) -> Fatal {
    Fatal::new(
        cause,
        "Keep this node's data directory as evidence, verify its journal against another node's, and start \
         with a build that can execute the record",
    )
}
