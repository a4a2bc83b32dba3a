//! The stage between its rings: limits, gates, questions, cuts, back-pressure.

use ordain_agent::disk::Disk;
use ordain_agent::metrics::Registry;
use ordain_agent::shared::Shared;
use ordain_agent::wire::{Found, QUESTION, Question, delivery, submission};
use ordain_agent::{Agent, Fatal};
use ordain_api::{Step, Stream};
use ordain_apply::snapshot::Loader;
use ordain_apply::testkit::{CLIENT, Heard, Log, NoFiles, OPERATOR, OTHER, execute, facts, snapshot_of};
use ordain_apply::{Apply, BatchSource, Discard, Parts, Replica, Restored, delivery_ring_min};
use ordain_counter::{CounterDecoder, CounterEncoder, CounterFactory, Counters, Query, Request, SCHEMA};
use ordain_ring::spsc::{Receiver, Sender, channel};
use ordain_types::codes::Code;
use ordain_types::frame::{
    ClientFrame, KeyBody, KeyEntry, OpenBody, ReceiptBody, ServerFrame, SubscribeBody,
};
use ordain_types::record::permission;
use ordain_types::{
    BatchIndex, BatchKind, BatchView, ClusterFacts, KeyId, Nanos, Now, Position, RecordHeader, RecordKind,
    SessionId, Stint,
};
use proptest::prelude::*;
use std::sync::{Arc, Mutex};
use zerocopy::{FromBytes, IntoBytes};

/// A log in memory that grows and is cut from outside.
#[derive(Clone, Default)]
struct Memory {
    batches: Arc<Mutex<Vec<Vec<u8>>>>,
}

struct Reader {
    log: Memory,
    next: usize,
    held: Vec<u8>,
    disk: NoFiles,
}

impl BatchSource for Reader {
    fn peek(&mut self, limit: BatchIndex) -> Result<Option<BatchView<'_>>, Fatal> {
        match self.log.batches.lock().unwrap().get(self.next) {
            Some(batch) if (self.next as u64) < limit.0 => self.held.clone_from(batch),
            _ => return Ok(None),
        }
        Ok(Some(BatchView::trusted(&self.held).unwrap()))
    }

    fn advance(&mut self) {
        self.next += 1;
    }

    fn seek(&mut self, _at: Position, next: BatchIndex) {
        self.next = next.0 as usize - 1;
    }

    fn disk(&mut self) -> Option<&mut dyn Disk> {
        Some(&mut self.disk)
    }

    fn let_go(&mut self) {
        self.held.clear();
    }
}

type Copy = Restored<Counters, CounterDecoder, CounterEncoder>;
type Stage = Apply<CounterFactory, CounterDecoder, CounterEncoder, Reader>;

struct Bench {
    stage: Stage,
    log: Log,
    memory: Memory,
    shared: Shared,
    questions: Sender,
    deliveries: Receiver,
    registry: Registry,
}

fn small() -> ClusterFacts {
    ClusterFacts { step_outputs_max: 4, ..facts() }
}

impl Bench {
    fn new() -> Self {
        let (log, batches) = Log::new(&small(), &CounterFactory);
        Self::with(log, Memory { batches: Arc::new(Mutex::new(batches)) }, None)
    }

    fn with(log: Log, memory: Memory, restored: Option<Copy>) -> Self {
        let facts = small();
        let next = restored.as_ref().map_or(0, |copy| copy.replica.applied().0 as usize);
        let shared = Shared::default();
        let (questions, question_end) = channel(4096);
        let (delivery_end, deliveries) = channel(delivery_ring_min(&facts));
        let registry = Registry::default();
        let stage = Apply::new(Parts {
            facts: &facts,
            factory: CounterFactory,
            decoder: CounterDecoder,
            encoder: CounterEncoder,
            source: Reader { log: memory.clone(), next, held: Vec::new(), disk: NoFiles::default() },
            restored,
            shared: shared.clone(),
            questions: question_end,
            deliveries: delivery_end,
            registry: &registry,
        });
        Self { stage, log, memory, shared, questions, deliveries, registry }
    }

    /// A leader since the batch behind the genesis, with a session of `CLIENT` opened and answered.
    fn leading() -> (Self, SessionId) {
        let mut bench = Self::new();
        bench.lead(3);
        let session = bench.open();
        bench.work();
        bench.heard();
        (bench, session)
    }

    fn lead(&mut self, first: u64) {
        self.shared.stint_first.store(first);
        self.shared.stint.store(self.shared.stint.load() + 1);
    }

    fn open(&mut self) -> SessionId {
        let header = RecordHeader { key: CLIENT.0.into(), ..Log::header(RecordKind::SessionOpen) };
        let seq = self.log.push(header, OpenBody { reserved: [0; 8] }.as_bytes());
        self.seal();
        SessionId(seq.0)
    }

    fn request(&mut self, session: SessionId, number: u64, request: Request) {
        let header = RecordHeader {
            session: session.0.into(),
            number: number.into(),
            open_span: 4.into(),
            ..head(RecordKind::Request as u8, CLIENT)
        };
        self.log.push(header, &request.to_wire());
    }

    fn add(&mut self, session: SessionId, number: u64) {
        self.request(session, number, Request::Add { counter: 1, by: 1 });
        self.seal();
    }

    fn seal(&mut self) {
        let batch = self.log.seal(BatchKind::Data);
        self.memory.batches.lock().unwrap().push(batch);
    }

    fn last(&self) -> u64 {
        self.memory.batches.lock().unwrap().len() as u64
    }

    fn work(&mut self) {
        while self.stage.do_work(Now::default(), 1000).unwrap() > 0 {}
    }

    fn ask(&mut self, kind: u64, after: u64, header: RecordHeader, payload: &[u8]) {
        let header = RecordHeader { length: (payload.len() as u32).into(), ..header };
        self.ask_bytes(kind, after, &[header.as_bytes(), payload].concat());
    }

    fn ask_bytes(&mut self, kind: u64, after: u64, frame: &[u8]) {
        let question = Question { kind: kind.into(), conn: 88.into(), after: after.into(), round: 9.into() };
        let space = self.questions.try_claim(QUESTION + frame.len()).unwrap();
        space[..QUESTION].copy_from_slice(question.as_bytes());
        space[QUESTION..].copy_from_slice(frame);
        self.questions.commit();
    }

    fn heard(&mut self) -> Vec<Heard> {
        let mut heard = Vec::new();
        while let Some(message) = self.deliveries.peek() {
            heard.push(Heard::read(message));
            self.deliveries.release();
        }
        heard
    }
}

fn head(kind: u8, key: KeyId) -> RecordHeader {
    RecordHeader { kind, schema: SCHEMA, key: key.0.into(), ..RecordHeader::default() }
}

fn kinds(heard: &[Heard]) -> Vec<u64> {
    heard.iter().map(|heard| heard.delivery.kind.get()).collect()
}

#[test]
fn a_follower_executes_what_is_committed_and_answers_nobody() {
    let mut bench = Bench::new();
    let session = bench.open();
    bench.add(session, 1);
    bench.work();
    assert_eq!(bench.shared.applied.load(), 0);
    bench.shared.committed.store(4);
    bench.work();
    assert_eq!(bench.shared.applied.load(), 4);
    bench.shared.committed.store(100);
    bench.work();
    assert_eq!(bench.shared.applied.load(), 5);
    let heard = bench.heard();
    assert_eq!(kinds(&heard), [delivery::KEY, delivery::KEY, delivery::KEY, delivery::OUTPUT]);
    assert!(heard.iter().all(|heard| heard.delivery.stint.get() == 0));
    assert_eq!(heard[3].delivery.index.get(), 5);
}

#[test]
fn a_leader_runs_ahead_and_answers_what_it_wrote_itself() {
    let mut bench = Bench::new();
    let session = bench.open();
    bench.add(session, 1);
    // Batches up to 5 are inherited: their clients ask again.
    bench.lead(6);
    bench.add(session, 2);
    bench.work();
    assert_eq!(bench.shared.applied.load(), 6);
    let replies: Vec<_> = bench.heard().into_iter().filter(|heard| heard.is(delivery::REPLY)).collect();
    assert_eq!(replies.len(), 1);
    let gates = &replies[0].delivery;
    assert_eq!((gates.index.get(), gates.stint.get(), gates.key.get()), (6, 1, u64::from(CLIENT.0)));
    assert_eq!(bench.registry.value("ordain_apply_records_total"), Some(3 + 3));
    assert_eq!(bench.registry.value("ordain_apply_sessions"), Some(1));
}

#[test]
fn questions_are_answered_from_the_state_they_asked_for() {
    let (mut bench, session) = Bench::leading();
    bench.add(session, 1);
    let after = bench.last() + 1;
    let query = RecordHeader { number: 41.into(), ..head(ClientFrame::Query as u8, CLIENT) };
    bench.ask(submission::QUERY, after, query, &Query::Read { counter: 1 }.to_wire());
    bench.work();
    assert_eq!(kinds(&bench.heard()), [delivery::OUTPUT, delivery::REPLY], "the question waits");
    bench.add(session, 2);
    bench.work();
    let heard = bench.heard();
    assert_eq!(kinds(&heard), [delivery::OUTPUT, delivery::REPLY, delivery::ANSWER]);
    let answer = &heard[2];
    let gates = &answer.delivery;
    assert_eq!(
        (gates.conn.get(), gates.index.get(), gates.stint.get(), gates.round.get()),
        (88, after, 1, 9)
    );
    assert_eq!((answer.header.kind, answer.code()), (ServerFrame::Answer as u8, Code::Executed));
    assert_eq!((answer.header.number.get(), answer.payload[8]), (41, 2));
    assert_eq!(answer.header.seq.get(), bench.stage.replica().last_seq().0);
}

#[test]
fn an_answer_waits_for_everything_that_it_reflects() {
    let (mut bench, session) = Bench::leading();
    let after = bench.last();
    bench.add(session, 1);
    bench.work();
    bench.heard();
    bench.ask(
        submission::QUERY,
        after,
        head(ClientFrame::Query as u8, CLIENT),
        &Query::Read { counter: 1 }.to_wire(),
    );
    bench.work();
    let heard = bench.heard();
    assert_eq!((heard[0].payload[8], heard[0].delivery.index.get()), (1, after + 1));
}

#[test]
fn questions_of_an_earlier_reign_see_nothing_old() {
    let (mut bench, session) = Bench::leading();
    let query = |bench: &mut Bench| {
        let payload = Query::Read { counter: 1 }.to_wire();
        bench.ask(submission::QUERY, 4, head(ClientFrame::Query as u8, CLIENT), &payload);
    };
    query(&mut bench);
    bench.shared.stint.store(2);
    bench.work();
    assert!(bench.heard().is_empty(), "dropped with the reign");
    query(&mut bench);
    bench.lead(6);
    bench.work();
    assert!(bench.heard().is_empty(), "the new reign's first batch is not applied yet");
    bench.add(session, 1);
    bench.add(session, 2);
    bench.work();
    let answers: Vec<_> = bench.heard().into_iter().filter(|heard| heard.is(delivery::ANSWER)).collect();
    assert_eq!((answers.len(), answers[0].delivery.index.get(), answers[0].delivery.stint.get()), (1, 6, 3));
}

#[test]
fn a_subscription_of_an_earlier_reign_waits_for_no_round() {
    let (mut bench, _) = Bench::leading();
    let subscribe = SubscribeBody { stream: Stream::Topic(1).to_wire().into(), from: 0.into() };
    bench.ask(submission::SUBSCRIBE, 4, head(ClientFrame::Subscribe as u8, CLIENT), subscribe.as_bytes());
    bench.shared.stint.store(2);
    bench.work();
    let heard = bench.heard();
    assert_eq!(kinds(&heard), [delivery::ANSWER]);
    let gates = &heard[0].delivery;
    assert_eq!((gates.stint.get(), gates.round.get()), (0, 0), "what waits for ever blocks all behind it");
}

#[test]
fn every_kind_of_question() {
    let (mut bench, session) = Bench::leading();
    bench.add(session, 1);
    bench.add(session, 2);
    bench.work();
    bench.heard();
    let original = bench.stage.replica().last_seq().0;
    let one = Request::Add { counter: 1, by: 1 }.to_wire();
    let subscribe = |stream: u64, from: u64| SubscribeBody { stream: stream.into(), from: from.into() };
    let topic = Stream::Topic(1).to_wire();
    let own = Stream::Session(session).to_wire();
    let account = Stream::Account(1).to_wire();
    let of = |kind, key, session: SessionId, number: u64| RecordHeader {
        session: session.0.into(),
        number: number.into(),
        ..head(kind, key)
    };
    let (resume, repeat) = (ClientFrame::Resume as u8, RecordKind::Request as u8);
    let hear = ClientFrame::Subscribe as u8;
    let s = session.0;
    let stranger = SessionId(4444);
    use submission::{DUPLICATE, QUERY, RESUME, SUBSCRIBE};
    for (kind, header, payload, expected) in [
        // Expected: frame, code, session, number, seq, bytes of payload.
        (RESUME, of(resume, CLIENT, session, 0), &[][..], (ServerFrame::Resumed, Code::Executed, s, 3, 1, 0)),
        (RESUME, of(resume, OTHER, session, 0), &[], (ServerFrame::Resumed, Code::WrongKey, s, 0, 0, 0)),
        (
            RESUME,
            of(resume, CLIENT, stranger, 7),
            &[],
            (ServerFrame::Resumed, Code::UnknownSession, 4444, 7, 0, 0),
        ),
        (
            DUPLICATE,
            of(repeat, CLIENT, session, 2),
            &one,
            (ServerFrame::Reply, Code::Executed, s, 2, original, 16),
        ),
        (
            DUPLICATE,
            of(repeat, CLIENT, session, 2),
            &[],
            (ServerFrame::Reply, Code::Conflict, s, 2, original, 0),
        ),
        (DUPLICATE, of(repeat, CLIENT, session, 3), &one, (ServerFrame::Reply, Code::Expected, s, 3, 3, 0)),
        (DUPLICATE, of(repeat, CLIENT, session, 99), &one, (ServerFrame::Reply, Code::Expected, s, 99, 3, 0)),
        (DUPLICATE, of(repeat, CLIENT, session, 0), &one, (ServerFrame::Reply, Code::Forgotten, s, 0, 0, 0)),
        (DUPLICATE, of(repeat, OTHER, session, 1), &one, (ServerFrame::Reply, Code::WrongKey, s, 1, 0, 0)),
        (
            DUPLICATE,
            of(repeat, OTHER, stranger, 1),
            &one,
            (ServerFrame::Reply, Code::UnknownSession, 4444, 1, 0, 0),
        ),
        (
            SUBSCRIBE,
            head(hear, CLIENT),
            subscribe(topic, 5).as_bytes(),
            (ServerFrame::Subscribed, Code::Executed, topic, 5, 0, 0),
        ),
        (
            SUBSCRIBE,
            head(hear, CLIENT),
            subscribe(own, 0).as_bytes(),
            (ServerFrame::Subscribed, Code::Executed, own, 0, 0, 0),
        ),
        (
            SUBSCRIBE,
            head(hear, OTHER),
            subscribe(own, 0).as_bytes(),
            (ServerFrame::Subscribed, Code::NotPermitted, own, 0, 0, 0),
        ),
        (
            SUBSCRIBE,
            head(hear, CLIENT),
            subscribe(account, 1).as_bytes(),
            (ServerFrame::Subscribed, Code::NotPermitted, account, 1, 0, 0),
        ),
        (
            SUBSCRIBE,
            head(hear, CLIENT),
            subscribe(u64::MAX, 1).as_bytes(),
            (ServerFrame::Subscribed, Code::Malformed, u64::MAX, 1, 0, 0),
        ),
        (SUBSCRIBE, head(hear, CLIENT), &[1, 2, 3], (ServerFrame::Subscribed, Code::Malformed, 0, 0, 0, 0)),
        (
            QUERY,
            of(hear, CLIENT, SessionId(0), 6),
            &one,
            (ServerFrame::Answer, Code::Malformed, 0, 6, original, 0),
        ),
    ] {
        let hash = bench.stage.replica().hash_after_batch();
        bench.ask(kind, 0, header, payload);
        bench.work();
        let heard = bench.heard();
        assert_eq!(kinds(&heard), [delivery::ANSWER], "{expected:?}");
        let head = &heard[0].header;
        let (frame, code, session, number, seq, len) = expected;
        assert_eq!((head.kind, heard[0].code()), (frame as u8, code), "{expected:?}");
        assert_eq!((head.session.get(), head.number.get()), (session, number), "{expected:?}");
        assert_eq!((head.seq.get(), heard[0].payload.len()), (seq, len), "{expected:?}");
        assert_eq!(bench.stage.replica().hash_after_batch(), hash, "a question changes nothing");
    }
    assert_eq!(bench.stage.replica().resume(session, CLIENT).unwrap().0.0, 3, "nor does a repetition");
}

#[test]
fn a_receipt_says_what_the_log_stage_found() {
    let (mut bench, _) = Bench::leading();
    bench.work();
    bench.heard();
    let body = ReceiptBody { index: 4.into(), chain: [5; 32] };
    for (index, code, seq, payload) in [(4, Code::Executed, 3, body.as_bytes()), (0, Code::Malformed, 0, &[])]
    {
        let header =
            RecordHeader { length: 8.into(), number: 77.into(), ..head(ClientFrame::Receipt as u8, CLIENT) };
        let found = Found { seq: seq.into(), index: index.into(), chain: [5; 32] };
        let frame = [header.as_bytes(), &3_u64.to_le_bytes(), found.as_bytes()].concat();
        bench.ask_bytes(submission::RECEIPT, 0, &frame);
        bench.work();
        let heard = bench.heard().remove(0);
        assert!(heard.is(delivery::ANSWER));
        assert_eq!((heard.header.kind, heard.code()), (ServerFrame::Receipt as u8, code));
        assert_eq!((heard.header.number.get(), heard.header.seq.get()), (77, seq));
        assert_eq!(heard.payload, payload);
    }
}

#[test]
fn keys_are_listed_by_number_as_many_as_an_answer_holds() {
    let (mut bench, session) = Bench::leading();
    let known = 3;
    for number in 1..=60_u64 {
        let header = RecordHeader {
            session: session.0.into(),
            number: number.into(),
            permissions: permission::OPERATOR.into(),
            ..head(RecordKind::KeySet as u8, CLIENT)
        };
        let key = KeyBody { key: [number as u8 + 100; 32], permissions: 1.into(), reserved: [0; 4] };
        bench.log.push(RecordHeader { schema: 0, ..header }, key.as_bytes());
        bench.seal();
    }
    bench.work();
    bench.heard();
    let all = known + 60;
    for (first, count) in [(0, 25), (1, 25), (26, 25), (all - 4, 5), (all, 1), (all + 1, 0), (u64::MAX, 0)] {
        bench.ask(submission::KEYS, 0, head(ClientFrame::Keys as u8, OPERATOR), &first.to_le_bytes());
        bench.work();
        let heard = bench.heard().remove(0);
        assert_eq!((heard.header.kind, heard.code()), (ServerFrame::Keys as u8, Code::Executed));
        let numbers: Vec<_> = heard
            .payload
            .chunks(40)
            .map(|entry| {
                let entry = KeyEntry::read_from_bytes(entry).unwrap();
                let number = u64::from(entry.number.get());
                if number > known {
                    assert_eq!(entry.key, [(number - known) as u8 + 100; 32]);
                }
                number
            })
            .collect();
        assert_eq!(numbers, (first.max(1)..).take(count).collect::<Vec<_>>(), "from {first}");
    }
}

proptest! {
    /// Whatever a client wrote into its frame, the stage goes on.
    #[test]
    fn hostile_questions_do_no_harm(
        frames in prop::collection::vec((2_u64..8, prop::collection::vec(any::<u8>(), 0..80)), 1..20),
    ) {
        let (mut bench, session) = Bench::leading();
        for (kind, frame) in frames {
            bench.ask_bytes(kind, 0, &frame);
            bench.work();
            for heard in bench.heard() {
                prop_assert!(heard.is(delivery::ANSWER));
                prop_assert!(ServerFrame::from_wire(heard.header.kind).is_some());
            }
        }
        bench.add(session, 1);
        bench.work();
        prop_assert_eq!(kinds(&bench.heard()), [delivery::OUTPUT, delivery::REPLY]);
    }
}

#[test]
fn a_full_ring_ends_the_step_and_loses_nothing() {
    let (mut bench, session) = Bench::leading();
    let count = 5000;
    bench.request(session, 1, Request::Burst { counter: 1, count });
    bench.request(session, 2, Request::Add { counter: 2, by: 1 });
    bench.seal();
    let mut places = Vec::new();
    let mut stalls = 0;
    let last = bench.last();
    while bench.shared.applied.load() < last {
        bench.work();
        stalls += 1;
        let heard = bench.heard();
        assert!(!heard.is_empty(), "it makes progress whenever the ring is empty");
        places.extend(
            heard.iter().filter(|heard| heard.is(delivery::OUTPUT)).map(|heard| heard.header.number.get()),
        );
        assert!(stalls < 100_000);
    }
    assert!(stalls > 10, "the ring was full many times");
    assert_eq!(places.len() as u64, count + 1);
    assert_eq!(places[..count as usize], (1..=count).collect::<Vec<_>>());
}

#[test]
fn work_is_bounded_by_the_limit() {
    let (mut bench, session) = Bench::leading();
    for number in 1..=20 {
        bench.request(session, number, Request::Add { counter: 1, by: 1 });
    }
    bench.seal();
    let before = bench.registry.value("ordain_apply_records_total").unwrap();
    assert_eq!(bench.stage.do_work(Now::default(), 3).unwrap(), 3);
    assert!(bench.registry.value("ordain_apply_records_total").unwrap() <= before + 3);
    assert_eq!(bench.stage.replica().applied().0 + 1, bench.last());
}

#[test]
fn neither_questions_nor_records_starve_the_other() {
    let (mut bench, session) = Bench::leading();
    for number in 1..=3 {
        bench.add(session, number);
    }
    for _ in 0..40 {
        bench.ask(submission::RESUME, 0, head(ClientFrame::Resume as u8, CLIENT), &[]);
    }
    bench.stage.do_work(Now::default(), 30).unwrap();
    let heard = bench.heard();
    let answers = heard.iter().filter(|heard| heard.is(delivery::ANSWER)).count();
    assert!(answers >= 16 && heard.len() > answers, "{answers} answers of {} messages", heard.len());
}

#[test]
fn a_cut_behind_the_state_costs_nothing() {
    let (mut bench, session) = Bench::leading();
    bench.add(session, 1);
    bench.work();
    bench.heard();
    let (kept, hash) = (bench.last(), bench.stage.replica().hash_after_batch());
    bench.shared.stint.store(2);
    bench.shared.cut.ask(BatchIndex(kept), bench.stage.replica().end());
    bench.work();
    assert!(bench.heard().is_empty());
    assert_eq!((bench.shared.applied.load(), bench.stage.replica().hash_after_batch()), (kept, hash));
    assert_eq!(bench.shared.cut.asked(ordain_agent::shared::Holder::Apply), None);
}

/// A deposed leader ran ahead; the batches it ran over vanish, others take their place.
#[test]
fn a_cut_through_the_state_rebuilds_it() {
    for within_a_batch in [false, true] {
        let (mut bench, session) = Bench::leading();
        bench.add(session, 1);
        let (kept, mut fork) = (bench.last(), bench.log.clone());
        bench.request(session, 2, Request::Add { counter: 1, by: 100 });
        bench.request(session, 3, Request::Add { counter: 1, by: 100 });
        bench.seal();
        if within_a_batch {
            bench.stage.do_work(Now::default(), 2).unwrap();
            assert!(bench.stage.replica().in_batch(), "one record of two is executed");
            assert_eq!(bench.shared.applied.load(), kept);
        } else {
            bench.work();
        }
        bench.heard();
        let before = bench.registry.value("ordain_apply_records_total").unwrap();
        bench.shared.stint.store(2);
        let end = {
            let batches = bench.memory.batches.lock().unwrap();
            BatchView::parse(&batches[kept as usize - 1]).unwrap().header.end()
        };
        bench.shared.cut.ask(BatchIndex(kept), end);
        bench.work();
        assert_eq!(bench.shared.cut.asked(ordain_agent::shared::Holder::Apply), None, "let go");
        assert_eq!((bench.shared.applied.load(), bench.stage.replica().applied().0), (0, 0));
        // The log goes on otherwise.
        bench.memory.batches.lock().unwrap().truncate(kept as usize);
        std::mem::swap(&mut bench.log, &mut fork);
        bench.request(session, 2, Request::Add { counter: 1, by: 7 });
        bench.seal();
        bench.shared.committed.store(kept + 1);
        bench.work();
        assert_eq!(bench.shared.applied.load(), kept + 1);
        let heard = bench.heard();
        assert!(heard[0].is(delivery::RESTART));
        let outputs: Vec<_> = heard.iter().filter(|heard| heard.is(delivery::OUTPUT)).collect();
        assert_eq!((outputs.len(), outputs[1].header.number.get(), outputs[1].payload[8]), (2, 2, 8));
        assert!(heard.iter().all(|heard| heard.delivery.stint.get() == 0), "nobody is answered");
        // As if it had never been otherwise.
        let mut fresh = Replica::new(&small(), &CounterFactory, CounterDecoder, CounterEncoder);
        for batch in bench.memory.batches.lock().unwrap().iter() {
            execute(&mut fresh, &BatchView::parse(batch).unwrap(), Stint::ZERO);
        }
        assert_eq!(fresh.hash_after_batch(), bench.stage.replica().hash_after_batch());
        assert!(
            bench.registry.value("ordain_apply_records_total").unwrap() > before,
            "a counter never falls"
        );
        assert_eq!(bench.registry.value("ordain_apply_rebuilds_total"), Some(1));
    }
}

#[test]
fn the_next_deadline_is_published() {
    let (mut bench, session) = Bench::leading();
    let opened = bench.log.time();
    let expiry = opened.plus(small().session_timeout.0).0;
    assert_eq!(bench.shared.tick_due.load(), expiry);
    bench.request(session, 1, Request::Remind { counter: 1, delay: 50 });
    bench.seal();
    bench.work();
    assert_eq!(bench.shared.tick_due.load(), opened.plus(50).0);
    bench.log.set_time(opened.plus(60));
    bench.add(session, 2);
    bench.work();
    assert_eq!(bench.shared.tick_due.load(), expiry + 60, "the session was used since");
}

/// What no correct node writes stops the node, with the record named.
#[test]
fn a_log_that_cannot_be_executed_is_fatal() {
    let undecodable = |bench: &mut Bench, session: SessionId| {
        let header = RecordHeader {
            session: session.0.into(),
            number: 1.into(),
            ..head(RecordKind::Request as u8, CLIENT)
        };
        bench.log.push(header, b"no request");
    };
    let seed = |bench: &mut Bench, _: SessionId| {
        bench.log.push(Log::header(RecordKind::Genesis), &Request::Add { counter: 0, by: 1 }.to_wire());
    };
    for (expected, spoil) in [
        ("record 5 is no request", undecodable as fn(&mut Bench, SessionId)),
        ("record 5 is a seed request", seed),
    ] {
        let (mut bench, session) = Bench::leading();
        spoil(&mut bench, session);
        bench.seal();
        let fatal = bench.stage.do_work(Now::default(), 10).unwrap_err();
        assert!(fatal.cause.contains(expected), "{fatal}");
    }
    // A batch that is not the next one.
    let (mut bench, session) = Bench::leading();
    let mut copy = bench.log.clone();
    bench.add(session, 1);
    std::mem::swap(&mut bench.log, &mut copy);
    bench.add(session, 1);
    bench.add(session, 2);
    let fatal = bench.stage.do_work(Now::default(), 10).unwrap_err();
    assert!(fatal.cause.contains("does not continue the log"), "{fatal}");
}

#[test]
fn a_malformed_record_is_fatal() {
    let facts = facts();
    let (mut log, batches) = Log::new(&facts, &CounterFactory);
    let mut copy = Replica::new(&facts, &CounterFactory, CounterDecoder, CounterEncoder);
    for batch in batches {
        execute(&mut copy, &BatchView::parse(&batch).unwrap(), Stint::ZERO);
    }
    log.set_time(Nanos(Nanos::SECOND * 2));
    log.push(RecordHeader { kind: 99, ..RecordHeader::default() }, &[]);
    let batch = log.seal(BatchKind::Data);
    let batch = BatchView::parse(&batch).unwrap();
    copy.begin_batch(&batch, Stint::ZERO).unwrap();
    let mut out = Discard::default();
    let fatal = loop {
        match copy.step(&batch, &mut out) {
            Ok(Step::More) => {}
            Ok(Step::Done) => panic!("executed"),
            Err(fatal) => break fatal,
        }
    };
    assert!(fatal.cause.contains("record 4 in batch 4 is malformed"), "{fatal}");
}

fn restore(bytes: &[u8]) -> Copy {
    let mut loader = Loader::new(&small(), &CounterFactory, CounterDecoder, CounterEncoder);
    let mut rest = bytes;
    while !rest.is_empty() {
        rest = &rest[loader.take(&CounterFactory, rest).unwrap()..];
    }
    let (anchor, hash) = (loader.anchor(), loader.hash());
    Restored { replica: loader.finish().unwrap(), anchor, hash, bytes: bytes.len() as u64 }
}

/// What the gateway would know had it heard the log from the beginning comes before anything else.
#[test]
fn a_restored_stage_first_tells_keys_and_where_streams_stand() {
    let (mut bench, session) = Bench::leading();
    bench.add(session, 1);
    bench.add(session, 2);
    bench.work();
    let heard = bench.heard();
    let last = |heard: &[Heard], stream: u64| {
        let of_stream = |heard: &&Heard| heard.is(delivery::OUTPUT) && heard.header.session.get() == stream;
        heard.iter().rfind(of_stream).map(|heard| heard.header.number.get())
    };
    let outputs: Vec<_> = heard.iter().filter(|heard| heard.is(delivery::OUTPUT)).collect();
    assert!(!outputs.is_empty());

    let at = bench.last();
    let copy = restore(&snapshot_of(bench.stage.replica()));
    let mut restored = Bench::with(bench.log.clone(), bench.memory.clone(), Some(copy));
    assert_eq!(restored.shared.applied.load(), at);
    restored.lead(at + 1);
    restored.work();
    let told = restored.heard();
    let keys: Vec<_> = told.iter().filter(|heard| heard.is(delivery::KEY)).collect();
    assert_eq!(keys.iter().map(|key| key.delivery.key.get()).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(keys.iter().all(|key| key.payload.len() == 40));
    let streams: Vec<_> = told.iter().filter(|heard| heard.is(delivery::STREAM)).collect();
    assert_eq!(keys.len() + streams.len(), told.len(), "nothing else");
    for stream in &streams {
        let name = stream.delivery.conn.get();
        assert_eq!(last(&heard, name), Some(stream.delivery.key.get()));
    }
    assert!(outputs.iter().all(|output| {
        streams.iter().any(|stream| stream.delivery.conn.get() == output.header.session.get())
    }));
    assert!(told.iter().all(|heard| heard.delivery.index.get() == at && heard.delivery.stint.get() == 0));
    // And then on as if nothing had happened.
    bench.add(session, 3);
    for bench in [&mut bench, &mut restored] {
        bench.work();
    }
    let (one, other) = (bench.heard(), restored.heard());
    assert!(one.iter().any(|heard| heard.is(delivery::REPLY)));
    let said =
        |heard: &[Heard]| heard.iter().map(|heard| (heard.header, heard.payload.clone())).collect::<Vec<_>>();
    assert_eq!(said(&one), said(&other));
    assert_eq!(bench.stage.replica().hash_after_batch(), restored.stage.replica().hash_after_batch());
}
