//! For tests of applications: a log in memory, and three copies of the state that must never differ.
//!
//! Every batch is executed by a *live* copy that answers, by one that *replays* in silence, and by one that
//! is *restored* from the snapshot of its own state before the batch. After each batch their output hashes
//! are compared, the outputs they emitted, and their snapshots byte by byte. The restored copy lives on from
//! snapshot to snapshot, so what an application forgets to store stays forgotten and shows.
//!
//! ```
//! # use ordain_counter::{CounterDecoder, CounterEncoder, CounterFactory, Request, SCHEMA};
//! # use ordain_apply::testkit::{CLIENT, Testkit, facts};
//! # use ordain_types::codes::Code;
//! let mut kit = Testkit::new(&facts(), CounterFactory, CounterDecoder, CounterEncoder);
//! let session = kit.open(CLIENT);
//! let reply = kit.request(session, SCHEMA, &Request::Add { counter: 7, by: 5 }.to_wire());
//! assert_eq!(reply.code(), Code::Executed);
//! ```

pub mod files;

use crate::snapshot::{Loader, Writer};
use crate::{Collect, Replica};
use ordain_agent::disk::{Disk, DiskDone, DiskError, DiskOp};
use ordain_agent::wire::{Delivery, delivery};
use ordain_api::{AppFactory, RequestDecoder, ResponseEncoder, Step};
use ordain_types::batch::{BATCH_ALIGN, BATCH_HEADER, SEGMENT_START_LEN, Seal, SegmentStart, chain, seal};
use ordain_types::codes::Code;
use ordain_types::configuration::Configuration;
use ordain_types::frame::{KeyBody, OpenBody, ServerHeader};
use ordain_types::members::Member;
use ordain_types::record::{permission, record_len};
use ordain_types::{
    BatchIndex, BatchKind, BatchView, Chain, ClusterFacts, ClusterId, KeyId, Lineage, Nanos, NodeId, Number,
    Position, RecordHeader, RecordKind, Seq, SessionId, Stint, Term, align_up,
};
use zerocopy::{FromBytes, IntoBytes};

/// The operator's key, set by the genesis batch.
pub const OPERATOR: KeyId = KeyId(1);
/// A client's key, set by the genesis batch; every permission bit of the application.
pub const CLIENT: KeyId = KeyId(2);
/// Another client's.
pub const OTHER: KeyId = KeyId(3);

/// Facts of a lone node, created one second after the epoch.
#[must_use]
pub fn facts() -> ClusterFacts {
    ClusterFacts::new(ClusterId([7; 16]), Nanos(Nanos::SECOND), 1)
}

fn segment_start(facts: &ClusterFacts) -> SegmentStart {
    SegmentStart {
        cluster: facts.cluster.0,
        segment_size: facts.segment_size.into(),
        lineage: Lineage::FIRST.0.into(),
        ..SegmentStart::default()
    }
}

/// Makes sealed batches, each continuing the one before.
#[derive(Clone, Debug)]
pub struct Log {
    body: Vec<u8>,
    count: u16,
    position: Position,
    index: BatchIndex,
    next_seq: Seq,
    time: Nanos,
    term: Term,
    chain: Chain,
}

impl Log {
    /// A log that begins as every log does: the segment's start, the genesis batch with three keys and
    /// `seeds`, a leader's first batch.
    #[must_use]
    pub fn new<F: AppFactory>(facts: &ClusterFacts, factory: &F) -> (Self, Vec<Vec<u8>>) {
        let mut log = Self {
            body: Vec::new(),
            count: 0,
            position: Position::ZERO,
            index: BatchIndex(1),
            next_seq: Seq(1),
            time: facts.created,
            term: Term::ZERO,
            chain: Chain::default(),
        };
        log.body.extend_from_slice(segment_start(facts).as_bytes());
        let first = log.seal(BatchKind::SegmentStart);
        debug_assert_eq!(first.len(), SEGMENT_START_LEN);
        let application = !(permission::APPLICATION - 1);
        for (key, permissions) in
            [(OPERATOR, permission::ALL & !permission::PEER), (CLIENT, application), (OTHER, application)]
        {
            let body = KeyBody { key: [key.0 as u8; 32], permissions: permissions.into(), reserved: [0; 4] };
            log.push(Self::header(RecordKind::KeySet), body.as_bytes());
        }
        for seed in factory.seeds() {
            let header = RecordHeader { schema: seed.schema, ..Self::header(RecordKind::Genesis) };
            log.push(header, &seed.payload);
        }
        let genesis = log.seal(BatchKind::Genesis);
        log.term = Term(1);
        let term = log.seal(BatchKind::TermStart);
        (log, vec![first, genesis, term])
    }

    /// Where the next batch begins.
    #[must_use]
    pub const fn position(&self) -> Position {
        self.position
    }

    /// Fills the segment with a pad, unless it is full, and begins the next one.
    ///
    /// # Panics
    /// If a batch is open.
    pub fn next_segment(&mut self, facts: &ClusterFacts) -> Vec<Vec<u8>> {
        assert!(self.body.is_empty(), "a batch is open");
        let mut batches = Vec::new();
        let used = self.position.0 % facts.segment_size;
        if used > 0 {
            self.body.resize((facts.segment_size - used) as usize - BATCH_HEADER, 0);
            batches.push(self.seal(BatchKind::Pad));
        }
        self.body.extend_from_slice(segment_start(facts).as_bytes());
        batches.push(self.seal(BatchKind::SegmentStart));
        batches
    }

    /// A record's header with a kind and nothing else.
    #[must_use]
    pub fn header(kind: RecordKind) -> RecordHeader {
        RecordHeader { kind: kind as u8, ..RecordHeader::default() }
    }

    /// Log time from the next batch on.
    pub fn set_time(&mut self, time: Nanos) {
        assert!(time >= self.time, "log time never goes back");
        self.time = time;
    }

    /// Log time.
    #[must_use]
    pub const fn time(&self) -> Nanos {
        self.time
    }

    /// Adds a record to the open batch and gives its seq. The header's length is filled in.
    pub fn push(&mut self, header: RecordHeader, payload: &[u8]) -> Seq {
        let header = RecordHeader { length: (payload.len() as u32).into(), ..header };
        let end = self.body.len() + record_len(payload.len());
        self.body.extend_from_slice(header.as_bytes());
        self.body.extend_from_slice(payload);
        self.body.resize(end, 0);
        self.count += 1;
        Seq(self.next_seq.0 + u64::from(self.count) - 1)
    }

    /// Seals a control batch with this body.
    pub fn control(&mut self, body: &[u8]) -> Vec<u8> {
        assert_eq!(self.count, 0, "a control batch holds nothing else");
        self.body = body.to_vec();
        self.seal(BatchKind::Control)
    }

    /// The first batch of a leader's next term.
    pub fn term_start(&mut self) -> Vec<u8> {
        assert_eq!(self.count, 0, "a leader's first batch holds nothing else");
        self.term = Term(self.term.0 + 1);
        self.seal(BatchKind::TermStart)
    }

    /// Seals the open batch.
    pub fn seal(&mut self, kind: BatchKind) -> Vec<u8> {
        let mut batch = vec![0; BATCH_HEADER];
        batch.append(&mut self.body);
        batch.resize(align_up(batch.len(), BATCH_ALIGN), 0);
        let count = std::mem::take(&mut self.count);
        let sealed = Seal {
            kind,
            count,
            unsynced: 0,
            position: self.position,
            index: self.index,
            term: self.term,
            first_seq: self.next_seq,
            time: self.time,
            previous: self.chain,
        };
        seal(&mut batch, &sealed);
        self.chain = chain(self.chain, &batch);
        self.position = self.position.plus(batch.len() as u64);
        self.index = self.index.next();
        self.next_seq = Seq(self.next_seq.0 + u64::from(count));
        batch
    }
}

/// A message that the live copy gave to the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Kind and gates.
    pub delivery: Delivery,
    /// The frame's header; zero where the message has no frame.
    pub header: ServerHeader,
    /// The frame's payload, or the body of a key.
    pub payload: Vec<u8>,
}

impl Heard {
    /// Reads a message.
    ///
    /// # Panics
    /// If it is none.
    #[must_use]
    pub fn read(message: &[u8]) -> Self {
        let (delivery, rest) = Delivery::read_from_prefix(message).expect("a delivery");
        match delivery.kind.get() {
            delivery::CLOSED | delivery::RESTART | delivery::KEY | delivery::STREAM | delivery::WATCHED => {
                Self { delivery, header: ServerHeader::default(), payload: rest.to_vec() }
            }
            _ => {
                let (header, rest) = ServerHeader::read_from_prefix(rest).expect("a frame");
                let (payload, padding) = rest.split_at(header.length.get() as usize);
                assert!(padding.len() < 8 && padding.iter().all(|byte| *byte == 0), "zero padding");
                Self { delivery, header, payload: payload.to_vec() }
            }
        }
    }

    /// The frame's code.
    #[must_use]
    pub fn code(&self) -> Code {
        Code::from_wire(self.header.code).expect("a known code")
    }

    /// Whether it is of this kind ([`delivery`]).
    #[must_use]
    pub fn is(&self, kind: u64) -> bool {
        self.delivery.kind.get() == kind
    }
}

/// The three copies. See the module.
#[derive(Debug)]
pub struct Testkit<F: AppFactory, D, E> {
    facts: ClusterFacts,
    factory: F,
    decoder: D,
    encoder: E,
    log: Log,
    /// The next number of each session that [`Testkit::request`] used.
    numbers: Vec<(SessionId, KeyId, Number)>,
    live: Replica<F::App, D, E>,
    replayed: Replica<F::App, D, E>,
    restored: Replica<F::App, D, E>,
}

impl<F, D, E> Testkit<F, D, E>
where
    F: AppFactory,
    D: RequestDecoder<F::App>,
    E: ResponseEncoder<F::App>,
{
    /// A cluster just created.
    ///
    /// # Panics
    /// As every call here does, if the copies differ.
    pub fn new(facts: &ClusterFacts, factory: F, decoder: D, encoder: E) -> Self {
        let (log, batches) = Log::new(facts, &factory);
        let copy = || Replica::new(facts, &factory, decoder.clone(), encoder.clone());
        let (live, replayed, restored) = (copy(), copy(), copy());
        let facts = facts.clone();
        let numbers = Vec::new();
        let mut kit = Self { facts, factory, decoder, encoder, log, numbers, live, replayed, restored };
        for batch in batches {
            kit.run(&batch);
        }
        kit
    }

    /// The log, to add records to the open batch or to set the time.
    pub const fn log(&mut self) -> &mut Log {
        &mut self.log
    }

    /// Lets log time pass. Nothing happens before the next batch.
    pub fn wait(&mut self, nanos: u64) {
        self.log.set_time(self.log.time().plus(nanos));
    }

    /// The live copy.
    pub const fn live(&self) -> &Replica<F::App, D, E> {
        &self.live
    }

    /// When a batch is wanted though no client sends one.
    pub fn next_tick(&mut self) -> Option<Nanos> {
        self.live.next_tick()
    }

    /// Seals the open batch and executes it; gives what the live copy said.
    pub fn seal(&mut self) -> Vec<Heard> {
        let batch = self.log.seal(BatchKind::Data);
        self.run(&batch)
    }

    /// Lets a level of behaviour begin, as an operator would.
    ///
    /// # Panics
    /// If a batch is open, or the application has no such level.
    pub fn begin_level(&mut self, level: u16) -> Vec<Heard> {
        assert_eq!(self.log.count, 0, "a batch is open");
        let member = Member { id: NodeId(0), peer: String::new(), client: String::new(), key: [0; 32] };
        let made = Configuration::initial(&self.facts, &[member]);
        let version = self.live.configuration.as_ref().map_or(0, |(_, before)| before.version) + 1;
        let mut body = Vec::new();
        Configuration { version, level, ..made }.encode(&mut body);
        let batch = self.log.control(&body);
        self.run(&batch)
    }

    /// Another leader begins its term.
    ///
    /// # Panics
    /// If a batch is open.
    pub fn begin_term(&mut self) -> Vec<Heard> {
        let batch = self.log.term_start();
        self.run(&batch)
    }

    /// A node's own record about a session, in a batch of its own.
    pub fn lose(&mut self, session: SessionId) -> Vec<Heard> {
        let header = RecordHeader { session: session.0.into(), ..Log::header(RecordKind::SessionLost) };
        self.log.push(header, &[]);
        self.seal()
    }

    /// Executes a tick.
    pub fn tick(&mut self) -> Vec<Heard> {
        self.log.push(Log::header(RecordKind::Tick), &[]);
        self.seal()
    }

    /// Opens a session in a batch of its own.
    ///
    /// # Panics
    /// If it is refused.
    pub fn open(&mut self, key: KeyId) -> SessionId {
        let header = RecordHeader { key: key.0.into(), ..Log::header(RecordKind::SessionOpen) };
        self.log.push(header, OpenBody { reserved: [0; 8] }.as_bytes());
        let heard = self.seal();
        let opened = heard.iter().find(|heard| heard.is(delivery::OPENED)).expect("an answer");
        assert_eq!(opened.code(), Code::Executed);
        let session = opened.header.session();
        self.numbers.push((session, key, Number(1)));
        session
    }

    /// Adds a session's next request to the open batch, which confirms every reply before it.
    ///
    /// # Panics
    /// If [`Testkit::open`] did not open the session.
    pub fn push_request(&mut self, session: SessionId, schema: u8, payload: &[u8]) -> Seq {
        let known = self.numbers.iter_mut().find(|(id, ..)| *id == session).expect("a session of this kit");
        let (_, key, number) = *known;
        known.2 = number.next();
        let header = RecordHeader {
            schema,
            session: session.0.into(),
            number: number.0.into(),
            key: key.0.into(),
            permissions: (!(permission::APPLICATION - 1)).into(),
            ..Log::header(RecordKind::Request)
        };
        self.log.push(header, payload)
    }

    /// Executes a session's next request in a batch of its own and gives the reply.
    ///
    /// # Panics
    /// If there is no reply.
    pub fn request(&mut self, session: SessionId, schema: u8, payload: &[u8]) -> Heard {
        self.push_request(session, schema, payload);
        let heard = self.seal();
        heard.into_iter().rfind(|heard| heard.is(delivery::REPLY)).expect("a reply")
    }

    fn run(&mut self, batch: &[u8]) -> Vec<Heard> {
        let batch = BatchView::parse(batch).expect("the log seals whole batches");
        let index = batch.header.index();
        let live = execute(&mut self.live, &batch, Stint(1));
        let replayed = execute(&mut self.replayed, &batch, Stint::ZERO);
        let restored = execute(&mut self.restored, &batch, Stint::ZERO);
        assert!(replayed == restored, "a restored copy emits something else in batch {index}");
        let silent = |message: &&Vec<u8>| Heard::read(message).delivery.stint.get() == 0;
        assert!(
            live.iter().filter(silent).eq(replayed.iter()),
            "a replay emits something else in batch {index}"
        );
        let hash = self.live.hash_after_batch();
        assert_eq!(hash, self.replayed.hash_after_batch(), "output hash of a replay after batch {index}");
        assert_eq!(
            hash,
            self.restored.hash_after_batch(),
            "output hash of a restored copy after batch {index}"
        );
        let snapshot = snapshot_of(&self.live);
        assert!(snapshot == snapshot_of(&self.replayed), "snapshot of a replay after batch {index}");
        assert!(snapshot == snapshot_of(&self.restored), "snapshot of a restored copy after batch {index}");
        self.restored = self.restore(&snapshot);
        assert!(snapshot == snapshot_of(&self.restored), "snapshot of a snapshot after batch {index}");
        live.iter().map(|message| Heard::read(message)).collect()
    }

    fn restore(&self, mut bytes: &[u8]) -> Replica<F::App, D, E> {
        let mut loader = Loader::new(&self.facts, &self.factory, self.decoder.clone(), self.encoder.clone());
        while !bytes.is_empty() {
            let taken = loader.take(&self.factory, bytes).expect("a snapshot just written");
            assert!(taken > 0, "a snapshot ends with a part");
            bytes = &bytes[taken..];
        }
        loader.finish().expect("a snapshot just written")
    }
}

/// Executes a whole batch and gives every message.
///
/// # Panics
/// If the copy cannot go on.
pub fn execute<A, D, E>(copy: &mut Replica<A, D, E>, batch: &BatchView<'_>, stint: Stint) -> Vec<Vec<u8>>
where
    A: ordain_api::Application,
    D: RequestDecoder<A>,
    E: ResponseEncoder<A>,
{
    let mut out = Collect::default();
    copy.begin_batch(batch, stint).unwrap_or_else(|fatal| panic!("{fatal}"));
    while copy.step(batch, &mut out).unwrap_or_else(|fatal| panic!("{fatal}")) == Step::More {}
    out.messages
}

/// The disk of a log that is in memory: there is no file on it.
#[derive(Debug, Default)]
pub struct NoFiles(Option<DiskOp>);

impl Disk for NoFiles {
    fn free(&self) -> usize {
        usize::from(self.0.is_none())
    }

    fn submit(&mut self, op: DiskOp) {
        self.0 = Some(op);
    }

    fn poll(&mut self) -> Option<DiskDone> {
        let op = self.0.take()?;
        let result = if matches!(op, DiskOp::List { .. }) { Ok(0) } else { Err(DiskError::NotFound) };
        Some(DiskDone { op, result })
    }
}

/// The whole snapshot of a copy.
pub fn snapshot_of<A, D, E>(copy: &Replica<A, D, E>) -> Vec<u8>
where
    A: ordain_api::Application,
    D: RequestDecoder<A>,
    E: ResponseEncoder<A>,
{
    let (mut writer, mut bytes) = (Writer::default(), Vec::new());
    while copy.snapshot(&mut writer, &mut bytes) == Step::More {}
    bytes
}
