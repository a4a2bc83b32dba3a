//! A log stage over the first two batches of a log, and the far ends of what it is joined to.
#![allow(dead_code, reason = "each test binary uses its part")]

use ordain_agent::metrics::Registry;
use ordain_agent::peer::Peers;
use ordain_agent::shared::{Cursors, Shared};
use ordain_consensus::{Config, Core, Recovered, Terms, VoteState};
use ordain_ring::log::{Consumer, LogRing};
use ordain_ring::spsc::{Receiver, Sender, channel};
use ordain_sequence::stage::{Archive, Old};
use ordain_sequence::{Log, LogConfig, Writer};
use ordain_types::LogEnd;
use ordain_types::members::Member;
use ordain_types::{BatchIndex, Boot, ClusterFacts, ClusterId, Configuration, Nanos, NodeId, Position, Term};

pub struct FarEnds {
    pub shared: Shared,
    pub consumer: Consumer,
    pub requests: Sender,
    pub questions: Receiver,
    pub votes: Receiver,
}

struct NoArchive;

impl Archive for NoArchive {
    fn read(
        &mut self,
        _peer: NodeId,
        _first: BatchIndex,
        _bytes_max: usize,
    ) -> Result<Old<'_>, ordain_agent::Fatal> {
        Ok(Old::NotYet)
    }

    fn cut(&mut self, _keep: BatchIndex) {}
}

pub fn facts(voters: u32) -> ClusterFacts {
    ClusterFacts {
        segment_size: 64 * 1024,
        batch_max: 8192,
        payload_max: 4096,
        ..ClusterFacts::new(ClusterId([7; 16]), Nanos(1_000), voters)
    }
}

pub fn member(id: u32) -> Member {
    Member { id: NodeId(id), peer: format!("n{id}:1"), client: format!("n{id}:2"), key: [1 + id as u8; 32] }
}

/// Node 0 of as many as the first configuration has, with `room` bytes on its disk, which has the log up to `durable`.
pub fn log<P: Peers>(
    facts: ClusterFacts,
    configurations: Vec<(BatchIndex, Configuration)>,
    peers: P,
    (room, durable): (u64, BatchIndex),
) -> (Log<P>, FarEnds) {
    let (producer, ring) = LogRing::new(128 * 1024, Position(0));
    let consumer = ring.join_tail().unwrap();
    let mut writer = Writer::new(producer, &facts, LogEnd::EMPTY, Some(1 << 10));
    writer.open_log(facts.created, &[]);
    let mut terms = Terms::new();
    terms.push(BatchIndex(1), Term(0));
    terms.push(BatchIndex(2), Term(0));
    let config = Config { id: NodeId(0), election_timeout: Nanos(1000), heartbeat: Nanos(100), seed: 1 };
    let recovered = Recovered {
        vote: VoteState::default(),
        boot: Boot(1),
        clean: true,
        torn: false,
        log: terms,
        durable,
        watermark: durable,
        configurations,
    };
    let shared = Shared::new(Cursors::default());
    shared.room.store(room);
    let (requests, request_receiver) = channel(64 * 1024);
    let (question_sender, questions) = channel(64 * 1024);
    let (vote_sender, votes) = channel(1024);
    let config = LogConfig {
        core: Core::new(config, recovered, Nanos(0)),
        facts,
        writer,
        contacts: Vec::new(),
        peers,
        progress: [durable; 3],
        requests: request_receiver,
        questions: question_sender,
        votes: vote_sender,
        shared: shared.clone(),
        archive: Box::new(NoArchive),
        sides: Vec::new(),
    };
    let log = Log::new(config, &Registry::default());
    (log, FarEnds { shared, consumer, requests, questions, votes })
}
