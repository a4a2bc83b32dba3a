//! The stage: batches and questions in, messages for the gateway out.

use crate::deliver::{Emit, MESSAGE_MAX, message_len, write_frame};
use crate::replica::{Introduction, Querier, Replica, step_messages};
use crate::restore::{Progress, Restore, Restored};
use crate::source::BatchSource;
use ordain_agent::digests::Digest;
use ordain_agent::metrics::{Gauge, Registry};
use ordain_agent::planted::{self, Mistake};
use ordain_agent::shared::{Holder, Shared};
use ordain_agent::wire::{DELIVERY, Delivery, Found, Question, Steered, delivery, submission};
use ordain_agent::{Agent, Fatal};
use ordain_api::{AppFactory, Buf, RequestDecoder, ResponseEncoder, Step};
use ordain_ring::spsc::{Receiver, Sender};
use ordain_types::codes::Code;
use ordain_types::frame::{
    KEYS_PER_ANSWER, KeyEntry, KeysBody, REPLY_MAX, ReceiptBody, ServerFrame, ServerHeader, SubscribeBody,
    body,
};
use ordain_types::{
    BatchIndex, Chain, ClusterFacts, KeyId, Now, Position, RecordHeader, RecordView, Seq, Stint, Stream,
};
use zerocopy::{FromBytes, IntoBytes};

/// What an [`Apply`] stage is put together from.
pub struct Parts<'a, F: AppFactory, D, E, S> {
    /// What the cluster agrees on.
    pub facts: &'a ClusterFacts,
    /// Makes the application.
    pub factory: F,
    /// Reads its requests.
    pub decoder: D,
    /// Writes its replies.
    pub encoder: E,
    /// The log, at the batch behind what was restored, or at the first.
    pub source: S,
    /// The copy to begin with, if a snapshot was restored.
    pub restored: Option<Restored<F::App, D, E>>,
    /// The node's cursors.
    pub shared: Shared,
    /// Questions from the log stage.
    pub questions: Receiver,
    /// Messages to the gateway.
    pub deliveries: Sender,
    /// Where the stage registers its metrics.
    pub registry: &'a Registry,
}

/// The apply stage. One unit of work is a step of a record, a deadline or a question.
#[derive(Debug)]
pub struct Apply<F: AppFactory, D, E, S> {
    facts: ClusterFacts,
    factory: F,
    decoder: D,
    encoder: E,
    source: S,
    shared: Shared,
    questions: Receiver,
    out: Outbox,
    replica: Replica<F::App, D, E>,
    /// The state was given up, and comes back from a snapshot.
    restoring: Option<Box<Restore<F::App, D, E>>>,
    /// The state was given up, and the gateway has not been told.
    owes_restart: bool,
    /// How far the gateway was told what a restored state holds.
    introduction: Option<Introduction>,
    /// Bytes of the delivery ring that one step can need.
    step_room: usize,
    metrics: Metrics,
}

#[derive(Debug)]
struct Metrics {
    records: Gauge,
    duplicates: Gauge,
    sessions: Gauge,
    questions: Gauge,
    rebuilds: Gauge,
    hash: Gauge,
    /// Counts of replicas that were given up.
    records_before: u64,
    duplicates_before: u64,
}

/// Questions answered between two batches: neither may starve the other.
const QUESTIONS_PER_BATCH: usize = 16;

impl<F, D, E, S> Apply<F, D, E, S>
where
    F: AppFactory,
    D: RequestDecoder<F::App>,
    E: ResponseEncoder<F::App>,
    S: BatchSource,
{
    /// A stage that has applied nothing, or what the restored copy has.
    ///
    /// # Panics
    /// If the delivery ring is too small for the most that one step can emit ([`delivery_ring_min`]).
    #[must_use]
    pub fn new(parts: Parts<'_, F, D, E, S>) -> Self {
        let Parts {
            facts,
            factory,
            decoder,
            encoder,
            source,
            restored,
            shared,
            questions,
            deliveries,
            registry,
        } = parts;
        let introduction = restored.as_ref().map(|_| Introduction::default());
        let replica = restored.map_or_else(
            || Replica::new(facts, &factory, decoder.clone(), encoder.clone()),
            |restored| restored.replica,
        );
        shared.digests.put(replica.applied(), digest(&replica, &Chain([0; 32])));
        shared.applied.store(replica.applied().0);
        assert!(
            deliveries.max_len() * 4 >= delivery_ring_min(facts),
            "the delivery ring must have {} bytes",
            delivery_ring_min(facts)
        );
        Self {
            facts: facts.clone(),
            factory,
            decoder,
            encoder,
            source,
            shared,
            questions,
            out: Outbox { sender: deliveries, room: 0 },
            replica,
            restoring: None,
            owes_restart: false,
            introduction,
            step_room: step_room(facts),
            metrics: Metrics::new(registry),
        }
    }

    /// The state, for snapshots and comparisons.
    pub const fn replica(&self) -> &Replica<F::App, D, E> {
        &self.replica
    }

    /// Lets go of what is behind batch `keep`. Waits for nothing: what the gateway waits for may vanish with
    /// the cut.
    fn let_go(&mut self, keep: BatchIndex) {
        let at = self.replica.applied();
        let touched = if self.replica.in_batch() { at.next() } else { at };
        if touched <= keep || planted::is(Mistake::CutKeepsApplied) {
            self.source.let_go();
            return;
        }
        self.metrics.forget(self.replica.counts());
        self.replica = Replica::new(&self.facts, &self.factory, self.decoder.clone(), self.encoder.clone());
        let restore = Restore::new(&self.facts, self.decoder.clone(), self.encoder.clone());
        self.restoring = Some(Box::new(restore));
        self.introduction = None;
        self.shared.applied.store(0);
        self.shared.tick_due.store(0);
        self.shared.restarts.store(self.shared.restarts.load() + 1);
        self.owes_restart = true;
    }

    /// Goes on with coming back from a snapshot; `None` when that is done.
    fn restore(&mut self) -> Result<Option<usize>, Fatal> {
        let Some(restore) = &mut self.restoring else { return Ok(None) };
        let Some(disk) = self.source.disk() else { return Ok(Some(0)) };
        match restore.step(&self.factory, disk)? {
            Progress::Waiting => return Ok(Some(0)),
            Progress::Working => return Ok(Some(1)),
            Progress::Done(None) => self.source.seek(Position::ZERO, BatchIndex(1)),
            Progress::Done(Some(restored)) => {
                let end = restored.anchor.end;
                assert!(end.index == restored.replica.applied(), "a snapshot stands where its log ends");
                self.source.seek(end.position, end.index.next());
                self.replica = restored.replica;
                self.introduction = Some(Introduction::default());
                self.tell_applied(&Chain([0; 32]));
            }
        }
        self.restoring = None;
        Ok(None)
    }

    /// Tells the gateway what it would know had it heard the log from the beginning; says how many messages
    /// were sent.
    fn introduce(&mut self, limit: usize) -> usize {
        let Some(introduction) = &mut self.introduction else { return 0 };
        for sent in 0..limit {
            if !self.out.has_room(self.step_room) {
                return sent;
            }
            if !self.replica.introduce(introduction, &mut self.out) {
                self.introduction = None;
                return sent;
            }
        }
        limit
    }

    /// Tells the gateway that everything comes anew; `false` if there is no room for that yet.
    fn announce_restart(&mut self) -> bool {
        if self.owes_restart && self.out.has_room(self.step_room) {
            let restart = Delivery { kind: delivery::RESTART.into(), ..Delivery::default() };
            self.out.claim(DELIVERY).copy_from_slice(restart.as_bytes());
            self.out.commit(DELIVERY);
            self.owes_restart = false;
        }
        !self.owes_restart
    }

    /// Works on the next batch for at most `limit` steps; says how many were made.
    fn apply(&mut self, limit: usize) -> Result<usize, Fatal> {
        let stint = self.shared.stint();
        // A leader runs ahead of commitment; everybody else executes only what is final.
        let last = if leads(stint) { BatchIndex(u64::MAX) } else { BatchIndex(self.shared.committed.load()) };
        let Some(batch) = self.source.peek(last)? else { return Ok(0) };
        if !self.replica.in_batch() {
            let own = leads(stint) && batch.header.index().0 >= self.shared.stint_first.load();
            self.replica.begin_batch(&batch, if own { stint } else { Stint::ZERO })?;
        }
        let mut steps = 0;
        while steps < limit && self.out.has_room(self.step_room) {
            steps += 1;
            if self.replica.step(&batch, &mut self.out)? == Step::Done {
                let chain = batch.header.previous();
                self.source.advance();
                self.tell_applied(&chain);
                break;
            }
        }
        Ok(steps)
    }

    /// Tells how far the log is applied, and first what came of it.
    fn tell_applied(&self, chain: &Chain) {
        let applied = self.replica.applied();
        self.shared.digests.put(applied, digest(&self.replica, chain));
        self.shared.applied.store(applied.0);
    }

    /// Answers questions whose turn has come, at most `limit`; says how many were taken.
    fn answer(&mut self, limit: usize) -> usize {
        for taken in 0..limit {
            if !self.out.has_room(self.step_room) {
                return taken;
            }
            let Some(message) = self.questions.peek() else { return taken };
            let stint = self.shared.stint();
            if let Ok((question, frame)) = Question::ref_from_prefix(message) {
                let leads = leads(stint);
                let after = question.after.get();
                // A question put in an earlier reign is dropped with it. Should it be answered in a later one of
                // this node, then not from a state older than that reign: `after` named another log's batch.
                let (after, stint) = if leads {
                    (after.max(self.shared.stint_first.load()), stint)
                } else {
                    (after.min(self.shared.committed.load()), Stint::ZERO)
                };
                // A follower knows nothing but what is committed, which is all that outputs are of.
                if leads || question.kind.get() == submission::SUBSCRIBE {
                    if self.replica.applied().0 < after {
                        return taken;
                    }
                    answer(&self.replica, question, frame, stint, &mut self.out);
                    self.metrics.questions.add(1);
                }
            }
            self.questions.release();
        }
        limit
    }

    /// Lets others see what has changed.
    fn publish(&mut self) {
        self.shared.tick_due.store(self.replica.next_tick().map_or(0, |due| due.0.max(1)));
        self.metrics.show(&self.replica);
    }
}

impl<F, D, E, S> Agent for Apply<F, D, E, S>
where
    F: AppFactory,
    D: RequestDecoder<F::App>,
    E: ResponseEncoder<F::App>,
    S: BatchSource,
{
    fn name(&self) -> &'static str {
        "apply"
    }

    fn do_work(&mut self, _now: Now, limit: usize) -> Result<usize, Fatal> {
        if let Some((keep, _)) = self.shared.cut.asked(Holder::Apply) {
            if planted::is(Mistake::CutWaitsForRoom) && !self.out.has_room(self.step_room) {
                return Ok(0);
            }
            self.let_go(keep);
            self.shared.cut.answer(Holder::Apply);
        }
        if !self.announce_restart() {
            return Ok(0);
        }
        if let Some(work) = self.restore()? {
            return Ok(work);
        }
        let mut work = self.introduce(limit);
        if self.introduction.is_some() {
            return Ok(work);
        }
        let mut steps = 0;
        while work < limit {
            let mut done = 0;
            if !self.replica.in_batch() {
                done += self.answer(QUESTIONS_PER_BATCH.min(limit - work));
            }
            let applied = self.apply(limit - work - done)?;
            done += applied;
            steps += applied;
            if done == 0 {
                break;
            }
            work += done;
        }
        if steps > 0 {
            self.publish();
        }
        Ok(work)
    }
}

/// What others can compare: `chain` is the log's chain value in front of the batch applied last, 0 if it is not known.
fn digest<A, D, E>(replica: &Replica<A, D, E>, chain: &Chain) -> Digest
where
    A: ordain_api::Application,
    D: RequestDecoder<A>,
    E: ResponseEncoder<A>,
{
    let (chain, _) = chain.0.split_first_chunk().expect("a chain value has 32 bytes");
    Digest {
        output: replica.hash_after_batch(),
        chain: u64::from_le_bytes(*chain),
        next_seq: replica.next_seq().0,
    }
}

const fn leads(stint: Stint) -> bool {
    stint.0 % 2 == 1
}

/// Answers a question from a connection: a frame as the client wrote it, so hostile input, with the key and
/// permissions that the gateway filled in.
fn answer<A, D, E>(
    replica: &Replica<A, D, E>,
    question: &Question,
    frame: &[u8],
    stint: Stint,
    out: &mut impl Emit,
) where
    A: ordain_api::Application,
    D: RequestDecoder<A>,
    E: ResponseEncoder<A>,
{
    let Ok((asked, rest)) = RecordHeader::ref_from_prefix(frame) else { return };
    let Some(payload) = rest.get(..asked.length.get() as usize) else { return };
    let delivery = Delivery {
        kind: delivery::ANSWER.into(),
        conn: question.conn,
        // Not `after`: the answer reflects everything applied by now.
        index: replica.applied().0.into(),
        stint: stint.0.into(),
        // A follower reads in no rounds: one of its own past reign would never be over.
        round: if leads(stint) { question.round } else { 0.into() },
        key: u64::from(asked.key.get()).into(),
    };
    let header = ServerHeader {
        lineage: replica.lineage().0.into(),
        session: asked.session,
        number: asked.number,
        ..ServerHeader::default()
    };
    let reply = |buf: &mut Buf<'_>, header: &mut ServerHeader| {
        let set = |header: &mut ServerHeader, kind: ServerFrame, code: Code, seq: Seq| {
            header.kind = kind as u8;
            header.code = code as u8;
            header.seq = seq.0.into();
        };
        match question.kind.get() {
            submission::QUERY => {
                let by = Querier {
                    session: asked.session(),
                    key: asked.key(),
                    permissions: asked.permissions.get(),
                };
                let code = match replica.query(&by, asked.schema, payload, buf) {
                    Ok(()) => Code::Executed,
                    Err(_) => Code::Malformed,
                };
                set(header, ServerFrame::Answer, code, replica.last_seq());
            }
            submission::RESUME => match replica.resume(asked.session(), asked.key()) {
                Ok((next, floor)) => {
                    header.number = next.0.into();
                    set(header, ServerFrame::Resumed, Code::Executed, Seq(floor.0));
                }
                Err(code) => set(header, ServerFrame::Resumed, code, Seq(0)),
            },
            submission::DUPLICATE => {
                let (code, seq) = replica.duplicate(&RecordView { header: asked, payload }, buf);
                set(header, ServerFrame::Reply, code, seq);
            }
            submission::SUBSCRIBE => {
                let wanted = body::<SubscribeBody>(payload);
                let stream = wanted.and_then(|wanted| Stream::from_wire(wanted.stream.get()));
                header.session = wanted.map_or(0.into(), |wanted| wanted.stream);
                header.number = wanted.map_or(0.into(), |wanted| wanted.from);
                let code = match stream {
                    Some(stream) if replica.may_read(stream, asked.key(), asked.permissions.get()) => {
                        Code::Executed
                    }
                    Some(_) => Code::NotPermitted,
                    None => Code::Malformed,
                };
                set(header, ServerFrame::Subscribed, code, Seq(0));
            }
            submission::KEYS => {
                let first = body::<KeysBody>(payload).map_or(1, |wanted| wanted.first.get().max(1));
                for number in (first..=u64::from(u32::MAX)).take(KEYS_PER_ANSWER) {
                    let Some((key, permissions)) = replica.key(KeyId(number as u32)) else { break };
                    let (permissions, number) = (permissions.into(), (number as u32).into());
                    buf.put(KeyEntry { key, permissions, number }.as_bytes());
                }
                set(header, ServerFrame::Keys, Code::Executed, replica.last_seq());
            }
            submission::STEER => {
                let (code, index) = match Steered::ref_from_prefix(&rest[payload.len().next_multiple_of(8)..])
                {
                    Ok((steered, why)) => {
                        buf.put(why);
                        let code = Code::from_wire(steered.code.get() as u8);
                        (code.unwrap_or(Code::Unsupported), steered.index.get())
                    }
                    Err(_) => (Code::Unsupported, 0),
                };
                set(header, ServerFrame::Steered, code, Seq(index));
            }
            submission::RECEIPT => {
                let found = Found::read_from_bytes(&rest[payload.len()..]);
                match found.ok().filter(|found| found.index != 0) {
                    Some(Found { seq, index, chain }) => {
                        buf.put(ReceiptBody { index, chain }.as_bytes());
                        set(header, ServerFrame::Receipt, Code::Executed, Seq(seq.get()));
                    }
                    None => set(header, ServerFrame::Receipt, Code::Malformed, Seq(0)),
                }
            }
            other => unreachable!("the log stage passes on no question of kind {other}"),
        }
    };
    let len = write_frame(out.claim(MESSAGE_MAX), &delivery, header, REPLY_MAX, reply);
    out.commit(message_len(len));
}

/// What a message takes of the ring at most: with the ring's own eight bytes.
const SLOT: usize = MESSAGE_MAX + 8;

/// Bytes that the delivery ring must have: twice what a step can need, since an eighth of the ring may be free without
/// the sender knowing.
#[must_use]
pub const fn delivery_ring_min(facts: &ClusterFacts) -> usize {
    (2 * step_room(facts)).next_power_of_two()
}

/// Bytes of the ring that one step can need. Two slots more than messages: since [`Outbox::room`] was last
/// asked the ring's end may have been passed twice, at the cost of a message's length each.
const fn step_room(facts: &ClusterFacts) -> usize {
    (step_messages(facts) + 2) * SLOT
}

/// The delivery ring with a lower bound of its room, so that the receiver's cursor is read rarely.
#[derive(Debug)]
struct Outbox {
    sender: Sender,
    room: usize,
}

impl Outbox {
    fn has_room(&mut self, bytes: usize) -> bool {
        if self.room < bytes {
            self.room = self.sender.free();
        }
        self.room >= bytes
    }
}

impl Emit for Outbox {
    fn claim(&mut self, len: usize) -> &mut [u8] {
        self.sender.try_claim(len).expect("a step begins only with room for all of it")
    }

    fn commit(&mut self, len: usize) {
        self.sender.commit_prefix(len);
        self.room = self.room.saturating_sub(len.next_multiple_of(8) + 8);
    }
}

impl Metrics {
    fn new(registry: &Registry) -> Self {
        Self {
            records: registry.counter("ordain_apply_records_total", "Records executed."),
            duplicates: registry.counter(
                "ordain_apply_duplicates_total",
                "Requests in the log answered with an earlier reply.",
            ),
            sessions: registry.gauge("ordain_apply_sessions", "Sessions open."),
            questions: registry.counter(
                "ordain_apply_questions_total",
                "Queries, resumes, repeats and subscriptions answered.",
            ),
            rebuilds: registry.counter(
                "ordain_apply_rebuilds_total",
                "Times the state was built anew because a suffix was cut.",
            ),
            hash: registry.gauge(
                "ordain_apply_output_hash",
                "Hash of all replies and outputs up to the applied batch.",
            ),
            records_before: 0,
            duplicates_before: 0,
        }
    }

    fn show<A, D, E>(&self, replica: &Replica<A, D, E>)
    where
        A: ordain_api::Application,
        D: RequestDecoder<A>,
        E: ResponseEncoder<A>,
    {
        let counts = replica.counts();
        self.records.set(self.records_before + counts.records);
        self.duplicates.set(self.duplicates_before + counts.duplicates);
        self.sessions.set(replica.sessions() as u64);
        if !replica.in_batch() {
            self.hash.set(replica.hash_after_batch());
        }
    }

    fn forget(&mut self, counts: crate::Counts) {
        self.records_before += counts.records;
        self.duplicates_before += counts.duplicates;
        self.rebuilds.add(1);
    }
}
