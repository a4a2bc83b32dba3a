//! The log stage of a lone node: what it says of receipts, and a graceful stop, in which everything handed over is
//! published, and then nothing more.

mod common;

use common::FarEnds;
use ordain_agent::Agent;
use ordain_agent::peer::NoPeers;
use ordain_agent::shared::Shared;
use ordain_agent::wire::{
    Found, QUESTION, Question, SUBMISSION, Steered, Submission, VoteRequest, submission,
};
use ordain_ring::log::Consumer;
use ordain_ring::spsc::{Receiver, Sender};
use ordain_sequence::Log;
use ordain_types::batch::{self, BatchView};
use ordain_types::codes::Code;
use ordain_types::frame::ClientFrame;
use ordain_types::record::RecordKind;
use ordain_types::steer::Steer;
use ordain_types::{BatchIndex, Chain, Configuration, Nanos, Now, Position, RecordHeader};
use zerocopy::{FromBytes, IntoBytes};

/// A log stage of a lone node, with a journal that stores everything at once.
struct Rig {
    log: Log<NoPeers>,
    shared: Shared,
    requests: Sender,
    questions: Receiver,
    votes: Receiver,
    consumer: Consumer,
    published: Vec<(BatchIndex, u16)>,
    /// The chain value of the last of them.
    chain: Chain,
    now: u64,
}

impl Rig {
    /// A leader.
    fn new() -> Self {
        let rig = Self::with_room(128 * 1024);
        assert!(rig.shared.leads() && rig.shared.committed.load() == 3, "genesis and the term's first batch");
        rig
    }

    /// A leader with this much room on its disk.
    fn with_room(room: u64) -> Self {
        let facts = common::facts(1);
        let configurations = vec![(BatchIndex(0), Configuration::initial(&facts, &[common::member(0)]))];
        let (log, far) = common::log(facts, configurations, NoPeers, (room, BatchIndex(0)));
        let FarEnds { shared, consumer, requests, questions, votes } = far;
        let (published, chain, now) = (Vec::new(), Chain::default(), 0);
        let mut rig = Self { log, shared, requests, questions, votes, consumer, published, chain, now };
        for _ in 0..20 {
            rig.cycle();
        }
        rig
    }

    fn cycle(&mut self) {
        self.now += 500;
        let now = Nanos(self.now);
        self.log.do_work(Now { mono: now, wall: now.plus(1_000_000) }, 100).unwrap();
        loop {
            let bytes = self.consumer.available(Position(u64::MAX >> 2));
            let Ok(batch) = BatchView::parse(bytes) else { break };
            self.published.push((batch.header.index(), batch.header.count.get()));
            self.chain = batch::chain(self.chain, batch.bytes());
            let len = batch.bytes().len();
            self.consumer.release(len);
        }
        if let Some((last, _)) = self.published.last() {
            self.shared.written.store(last.0);
            self.shared.durable.store(last.0);
            self.shared.watermark.store(last.0);
        }
        while let Some(bytes) = self.votes.peek() {
            self.shared.vote_stored.store(VoteRequest::ref_from_bytes(bytes).unwrap().number.get());
            self.votes.release();
        }
    }

    fn push(&mut self) {
        let record = RecordHeader { kind: RecordKind::SessionOpen as u8, ..RecordHeader::default() };
        self.submit(submission::RECORD, record.as_bytes());
    }

    fn submit(&mut self, kind: u64, frame: &[u8]) {
        let head = Submission { kind: kind.into(), conn: 1.into() };
        let space = self.requests.try_claim(SUBMISSION + frame.len()).unwrap();
        space[..SUBMISSION].copy_from_slice(head.as_bytes());
        space[SUBMISSION..].copy_from_slice(frame);
        self.requests.commit();
    }

    /// What apply is told of a wish for a receipt that covers `seq`.
    fn receipt(&mut self, seq: u64) -> Found {
        let kind = ClientFrame::Receipt as u8;
        let header = RecordHeader { length: 8.into(), kind, number: 5.into(), ..RecordHeader::default() };
        let frame = [header.as_bytes(), &seq.to_le_bytes()].concat();
        self.submit(submission::RECEIPT, &frame);
        self.cycle();
        let message = self.questions.peek().unwrap();
        let (question, rest) = Question::ref_from_prefix(message).unwrap();
        assert_eq!((question.kind.get(), question.conn.get()), (submission::RECEIPT, 1));
        assert_eq!((rest.len() + QUESTION, &rest[..frame.len()]), (message.len(), &frame[..]));
        let found = Found::read_from_bytes(&rest[frame.len()..]).unwrap();
        self.questions.release();
        found
    }
}

#[test]
fn a_level_begins_where_the_build_has_it() {
    let mut rig = Rig::new();
    let steer = |rig: &mut Rig, level: u16| {
        let mut payload = Vec::new();
        Steer::Level(level).encode(&mut payload);
        let kind = ClientFrame::Steer as u8;
        let header = RecordHeader { length: (payload.len() as u32).into(), kind, ..RecordHeader::default() };
        let frame = [header.as_bytes(), &payload].concat();
        rig.submit(submission::STEER, &frame);
        (0..3).for_each(|_| rig.cycle());
        let message = rig.questions.peek().expect("each is answered");
        let steered = Steered::read_from_prefix(&message[QUESTION + frame.len()..]).unwrap().0;
        rig.questions.release();
        (steered.code.get() as u8, steered.index.get())
    };
    rig.shared.level.store(2);
    assert_eq!(steer(&mut rig, 3), (Code::Impossible as u8, 0));
    let before = rig.published.last().unwrap().0.0;
    let (code, index) = steer(&mut rig, 2);
    assert_eq!((code, index), (Code::Executed as u8, before + 1));
    assert_eq!(steer(&mut rig, 2).0, Code::Impossible as u8, "it is in force");
}

#[test]
fn a_receipt_is_of_the_batch_with_the_record() {
    let mut rig = Rig::new();
    // The first record of all.
    rig.push();
    rig.cycle();
    let first = Found { seq: 1.into(), index: 4.into(), chain: rig.chain.0 };
    rig.push();
    rig.push();
    rig.cycle();
    let second = Found { seq: 3.into(), index: 5.into(), chain: rig.chain.0 };
    assert_eq!(rig.receipt(1), first);
    assert_eq!(rig.receipt(2), Found { seq: 2.into(), ..second });
    assert_eq!((rig.receipt(3), rig.receipt(0)), (second, second));
    // A record in the batch that is being filled has no receipt yet: its reply has not left either.
    rig.push();
    assert_eq!(rig.receipt(4), Found::default());
    assert_eq!(rig.receipt(4).index, 6);
    assert_eq!(rig.receipt(u64::MAX), Found::default());
}

#[test]
fn what_the_gateway_handed_over_is_published_before_the_log_closes() {
    let mut rig = Rig::new();
    rig.shared.stop();
    rig.cycle();
    assert_eq!(rig.shared.log_closed.load(), 0, "the gateway may be about to hand something over");
    rig.push();
    rig.push();
    rig.shared.requests_closed.store(1);
    rig.cycle();
    assert_eq!(rig.published.last(), Some(&(BatchIndex(4), 2)));
    assert_eq!(rig.shared.log_closed.load(), 1);
    rig.cycle();
    assert_eq!(rig.shared.committed.load(), 4, "it is committed afterwards");
}

#[test]
fn a_closed_log_publishes_nothing() {
    let mut rig = Rig::new();
    rig.shared.stop();
    rig.shared.requests_closed.store(1);
    rig.cycle();
    assert_eq!(rig.shared.log_closed.load(), 1);
    let end = rig.published.len();
    rig.push();
    rig.shared.tick_due.store(1_000_001);
    for _ in 0..10 {
        rig.cycle();
    }
    assert_eq!(rig.published.len(), end);
}

#[test]
fn a_reign_that_began_too_late_is_given_up() {
    // With the disk full the term's first batch waits.
    let mut rig = Rig::with_room(0);
    assert!(rig.shared.leads() && rig.shared.committed.load() == 0);
    rig.shared.stop();
    rig.shared.requests_closed.store(1);
    rig.cycle();
    assert_eq!((rig.shared.log_closed.load(), rig.shared.leads()), (1, false));
}

#[test]
fn an_open_log_ticks() {
    let mut rig = Rig::new();
    rig.shared.tick_due.store(1_000_001 + rig.now);
    rig.cycle();
    assert_eq!(rig.published.last(), Some(&(BatchIndex(4), 1)));
}

#[test]
fn what_came_before_a_transfer_is_sealed_before_it() {
    let mut rig = Rig::new();
    let before = rig.published.len();
    rig.push();
    let mut steer = Vec::new();
    Steer::Transfer(None).encode(&mut steer);
    let kind = ClientFrame::Steer as u8;
    let length = (steer.len() as u32).into();
    let header = RecordHeader { length, kind, number: 5.into(), ..RecordHeader::default() };
    rig.submit(submission::STEER, &[header.as_bytes(), &steer].concat());
    rig.push();
    rig.cycle();
    // A lone node has nobody to hand over to, and goes on.
    let counts: Vec<u16> = rig.published[before..].iter().map(|(_, count)| *count).collect();
    assert_eq!(counts, [1, 1]);
}
