//! With whom a node lets itself be connected as it starts.

use ordain_agent::Fatal;
use ordain_agent::metrics::Registry;
use ordain_agent::peer::{PeerEvent, Peers};
use ordain_agent::shared::{Cursors, Shared};
use ordain_consensus::{Config, Core, Recovered, Terms, VoteState};
use ordain_ring::log::LogRing;
use ordain_ring::spsc::channel;
use ordain_sequence::stage::{Archive, Old};
use ordain_sequence::{Log, LogConfig, Writer};
use ordain_types::configuration::Stage;
use ordain_types::members::Member;
use ordain_types::{
    BatchIndex, Boot, ClusterFacts, ClusterId, Configuration, LogEnd, Nanos, NodeId, Position, Term,
};
use std::sync::{Arc, Mutex};

/// Remembers whom it was last told to let in.
#[derive(Clone, Default)]
struct Door(Arc<Mutex<Vec<u32>>>);

impl Peers for Door {
    fn poll(&mut self) -> Option<PeerEvent<'_>> {
        None
    }

    fn set_members(&mut self, members: &[Member], _next: NodeId) {
        *self.0.lock().unwrap() = members.iter().map(|member| member.id.0).collect();
    }

    fn room(&self, _to: NodeId) -> usize {
        0
    }

    fn send(&mut self, _to: NodeId, _head: &[u8], _body: &[u8]) -> bool {
        false
    }
}

struct NoArchive;

impl Archive for NoArchive {
    fn read(&mut self, _peer: NodeId, _first: BatchIndex, _bytes_max: usize) -> Result<Old<'_>, Fatal> {
        Ok(Old::Gone)
    }

    fn cut(&mut self, _keep: BatchIndex) {}
}

fn member(id: u32) -> Member {
    Member { id: NodeId(id), peer: format!("n{id}:1"), client: format!("n{id}:2"), key: [1 + id as u8; 32] }
}

/// Whom a node with these configurations in its log lets in, of which the first is known to be committed.
fn lets_in(configurations: Vec<(BatchIndex, Configuration)>) -> Vec<u32> {
    let facts = ClusterFacts {
        segment_size: 64 * 1024,
        batch_max: 8192,
        payload_max: 4096,
        ..ClusterFacts::new(ClusterId([7; 16]), Nanos(1_000), 3)
    };
    let (producer, _ring) = LogRing::new(128 * 1024, Position(0));
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
        durable: BatchIndex(2),
        watermark: BatchIndex(2),
        configurations,
    };
    let door = Door::default();
    let config = LogConfig {
        core: Core::new(config, recovered, Nanos(0)),
        facts,
        writer,
        contacts: Vec::new(),
        peers: door.clone(),
        progress: [BatchIndex(2); 3],
        requests: channel(1024).1,
        questions: channel(1024).0,
        votes: channel(1024).0,
        shared: Shared::new(Cursors::default()),
        archive: Box::new(NoArchive),
        sides: Vec::new(),
    };
    let _log = Log::new(config, &Registry::default());
    door.0.lock().unwrap().clone()
}

#[test]
fn who_leaves_is_let_in_until_that_is_committed_also_behind_a_start() {
    let facts = ClusterFacts::new(ClusterId([7; 16]), Nanos(1_000), 3);
    let first = Configuration::initial(&facts, &[member(0), member(1), member(2)]);
    let without = |id: u32| {
        let mut next = Configuration { version: first.version + 1, stage: Stage::Changed, ..first.clone() };
        next.members.retain(|seat| seat.member.id != NodeId(id));
        next
    };
    assert_eq!(lets_in(vec![(BatchIndex(0), first.clone())]), [0, 1, 2]);
    // A later leader may cut it off: who is told that it was removed stops for good.
    assert_eq!(lets_in(vec![(BatchIndex(0), first.clone()), (BatchIndex(2), without(2))]), [0, 1, 2]);
    assert_eq!(lets_in(vec![(BatchIndex(2), without(2))]), [0, 1]);
}
