//! What the runtime costs per record, beyond the application: the counters through the whole stage, with the
//! delivery ring drained on the same thread, against the same additions called directly.
//!
//! ```text
//! cargo run --release -p ordain-apply --example cost
//! ```

use ordain_agent::disk::Disk;
use ordain_agent::metrics::Registry;
use ordain_agent::shared::Shared;
use ordain_agent::{Agent, Fatal};
use ordain_api::{
    AppFactory, Application, Buf, Context, RequestDecoder, ResponseEncoder, Sink, Step, Stream,
};
use ordain_apply::testkit::{CLIENT, Log, facts};
use ordain_apply::{Apply, BatchSource, Parts};
use ordain_counter::{
    CounterDecoder, CounterEncoder, CounterFactory, Counters, Output, Reply, Request, SCHEMA,
};
use ordain_ring::spsc::{Receiver, channel};
use ordain_types::frame::OpenBody;
use ordain_types::{
    BatchIndex, BatchKind, BatchView, KeyId, Now, Position, RecordHeader, RecordKind, Seq, SessionId, Stint,
};
use rustix::time::{ClockId, clock_gettime};
use std::hint::black_box;
use std::sync::Arc;
use zerocopy::IntoBytes;

const SESSIONS: u64 = 64;
const RECORDS: u64 = 1_000_000;
const PER_BATCH: u64 = 128;
const ROUNDS: usize = 5;

struct Batches {
    batches: Arc<Vec<Vec<u8>>>,
    next: usize,
}

impl BatchSource for Batches {
    fn peek(&mut self, _limit: BatchIndex) -> Result<Option<BatchView<'_>>, Fatal> {
        Ok(self.batches.get(self.next).map(|batch| BatchView::trusted(batch).unwrap()))
    }

    fn advance(&mut self) {
        self.next += 1;
    }

    fn seek(&mut self, _at: Position, next: BatchIndex) {
        self.next = next.0 as usize - 1;
    }

    fn disk(&mut self) -> Option<&mut dyn Disk> {
        None
    }

    fn let_go(&mut self) {}
}

/// The application's own part: encodes, and throws away.
struct Nowhere([u8; 64]);

impl Sink<Counters> for Nowhere {
    fn reply(&mut self, reply: &Reply) {
        CounterEncoder.reply(reply, &mut Buf::new(&mut self.0));
    }

    fn output(&mut self, stream: Stream, output: &Output) {
        black_box(stream);
        CounterEncoder.output(output, &mut Buf::new(&mut self.0));
    }

    fn watch(&mut self, _on: bool) {}

    fn outputs_left(&self) -> usize {
        64
    }
}

fn main() {
    compare("one reply", |_| Request::Burst { counter: 0, count: 0 });
    compare("one reply and one output", |record| Request::Add { counter: (record % 1000) as u32, by: 1 });
}

fn compare(what: &str, request: impl Fn(u64) -> Request) {
    let batches = Arc::new(log(request));
    let (mut alone, mut follower, mut leader) = (f64::MAX, f64::MAX, f64::MAX);
    for _ in 0..ROUNDS {
        alone = alone.min(application(&batches));
        follower = follower.min(stage(&batches, Stint(2)));
        leader = leader.min(stage(&batches, Stint(1)));
    }
    println!("{what} a record, processor time, best of {ROUNDS} rounds of {RECORDS} records");
    println!("application alone  {alone:6.1} ns a record");
    println!("follower           {follower:6.1} ns a record: {:.1} beyond the application", follower - alone);
    println!("leader             {leader:6.1} ns a record: {:.1} beyond the application", leader - alone);
}

fn log(request: impl Fn(u64) -> Request) -> Vec<Vec<u8>> {
    let (mut log, mut batches) = Log::new(&facts(), &CounterFactory);
    let open = RecordHeader { key: CLIENT.0.into(), ..Log::header(RecordKind::SessionOpen) };
    let first =
        (0..SESSIONS).map(|_| log.push(open, OpenBody { reserved: [0; 8] }.as_bytes())).min().unwrap();
    batches.push(log.seal(BatchKind::Data));
    for record in 0..RECORDS {
        let number = record / SESSIONS + 1;
        let header = RecordHeader {
            schema: SCHEMA,
            open_span: ((number - 1).min(16) as u16).into(),
            session: (first.0 + record % SESSIONS).into(),
            number: number.into(),
            key: CLIENT.0.into(),
            ..Log::header(RecordKind::Request)
        };
        log.push(header, &request(record).to_wire());
        if (record + 1) % PER_BATCH == 0 {
            batches.push(log.seal(BatchKind::Data));
        }
    }
    batches.push(log.seal(BatchKind::Data));
    batches
}

fn application(batches: &[Vec<u8>]) -> f64 {
    let mut app = CounterFactory.create();
    let mut sink = Nowhere([0; 64]);
    let start = cpu_time();
    for batch in batches {
        let batch = BatchView::trusted(batch).unwrap();
        for record in batch.records() {
            let (seq, record) = record.unwrap();
            if record.header.kind() != Some(RecordKind::Request) {
                continue;
            }
            let request = CounterDecoder.decode(record.header.schema, record.payload).unwrap();
            let context = Context {
                seq: Seq(seq.0),
                batch: batch.header.index(),
                time: batch.header.time(),
                session: SessionId(1),
                key: KeyId(1),
                permissions: 0,
            };
            assert_eq!(black_box(app.apply(request, &context, &mut sink)), Step::Done);
        }
    }
    (cpu_time() - start) as f64 / RECORDS as f64
}

fn stage(batches: &Arc<Vec<Vec<u8>>>, stint: Stint) -> f64 {
    let facts = facts();
    let shared = Shared::default();
    shared.committed.store(u64::MAX);
    shared.stint_first.store(1);
    shared.stint.store(stint.0);
    let (_questions, question_end) = channel(4096);
    let (delivery_end, mut deliveries) = channel(1 << 20);
    let mut stage = Apply::new(Parts {
        facts: &facts,
        factory: CounterFactory,
        decoder: CounterDecoder,
        encoder: CounterEncoder,
        source: Batches { batches: batches.clone(), next: 0 },
        restored: None,
        shared: shared.clone(),
        questions: question_end,
        deliveries: delivery_end,
        registry: &Registry::default(),
    });
    let mut spent = 0;
    while shared.applied.load() < batches.len() as u64 {
        let start = cpu_time();
        stage.do_work(Now::default(), 512).unwrap();
        spent += cpu_time() - start;
        drain(&mut deliveries);
    }
    spent as f64 / RECORDS as f64
}

/// Processor time of this thread, nanoseconds: what others take of the machine does not count.
fn cpu_time() -> i64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}

fn drain(deliveries: &mut Receiver) {
    while let Some(message) = deliveries.peek() {
        black_box(message);
        deliveries.release();
    }
}
