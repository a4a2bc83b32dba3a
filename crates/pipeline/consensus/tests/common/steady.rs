//! A leader and a follower of three in their stride, each batch streamed alone, with the codec: for the bench that
//! measures a batch and for the test that it allocates nothing.

use ordain_consensus::message::{Append, FRAME_MAX};
use ordain_consensus::{
    Body, Config, Copies, Core, Effect, Grant, LogEnd, Message, Recovered, Role, Terms, Verdict, VoteState,
};
use ordain_types::members::Member;
use ordain_types::{BatchIndex, Boot, ClusterFacts, ClusterId, Configuration, Nanos, NodeId, Term};
use std::hint::black_box;

fn configuration() -> Configuration {
    let member = |id: u32| Member {
        id: NodeId(id),
        peer: format!("h{id}:1"),
        client: format!("h{id}:2"),
        key: [id as u8; 32],
    };
    let members: Vec<Member> = (1..=3).map(member).collect();
    Configuration::initial(&ClusterFacts::new(ClusterId([1; 16]), Nanos(1), 3), &members)
}

fn core(id: u32) -> Core {
    let config = Config {
        id: NodeId(id),
        election_timeout: Nanos::from_millis(200),
        heartbeat: Nanos::from_millis(40),
        seed: u64::from(id),
        #[cfg(feature = "planted")]
        mutation: ordain_consensus::Mutation::None,
    };
    let recovered = Recovered {
        vote: VoteState::default(),
        boot: Boot(1),
        clean: true,
        torn: false,
        log: Terms::new(),
        durable: BatchIndex(0),
        watermark: BatchIndex(0),
        configurations: vec![(BatchIndex(0), configuration())],
    };
    let mut core = Core::new(config, recovered, Nanos(0));
    drain(&mut core);
    for peer in (1..=3).filter(|peer| *peer != id) {
        core.peer_up(NodeId(peer), Nanos(0));
    }
    drain(&mut core);
    core
}

/// Carries effects out.
fn drain(core: &mut Core) {
    while let Some(effect) = core.pop() {
        match effect {
            Effect::Persist(state) => core.persisted(state),
            other => {
                black_box(other);
            }
        }
    }
}

fn over_the_wire(message: &Message) -> Message {
    let mut bytes = [0; FRAME_MAX];
    let length = message.encode(&mut bytes);
    Message::decode(black_box(&bytes[..length])).expect("what was written").0
}

fn message(term: u64, body: Body) -> Message {
    Message {
        term: Term(term),
        boot: Boot(1),
        to_boot: Boot(1),
        standing: ordain_consensus::Standing::Whole,
        body,
    }
}

/// Leads two followers that have everything.
pub struct Leader {
    core: Core,
    last: u64,
    now: Nanos,
}

impl Leader {
    pub fn new() -> Self {
        let now = Nanos::from_millis(1000);
        let mut leader = Self { core: core(1), last: 0, now };
        leader.core.tick(now);
        let (grant, weakest) = (Some(Grant::Strong), Copies { received: 2, durable: 1 });
        leader.hear(2, message(0, Body::PreVoteReply { proposed: Term(1), grant, weakest }));
        leader.hear(2, message(1, Body::VoteReply { grant, weakest }));
        assert_eq!(leader.core.role(), Role::Leader);
        leader.acknowledge();
        leader
    }

    fn hear(&mut self, from: u32, message: Message) {
        self.core.receive(NodeId(from), message, self.now);
        drain(&mut self.core);
    }

    fn acknowledge(&mut self) {
        let index = BatchIndex(self.last);
        let ack = message(1, Body::Ack { matched: index, received: index, durable: index, round: 0 });
        for peer in [2, 3] {
            self.hear(peer, over_the_wire(&ack));
        }
    }

    /// One batch, from its place in the log to its commitment. A function of its own, for tools that count by function.
    #[inline(never)]
    pub fn batch(&mut self) {
        self.last += 1;
        let index = BatchIndex(self.last);
        self.core.appended(index);
        for peer in [2, 3] {
            let peer = NodeId(peer);
            assert_eq!(self.core.next_batch(peer), Some(index));
            let mut frame = [0; FRAME_MAX];
            self.core.stream(peer, index, 512).encode(&mut frame);
            black_box(frame);
        }
        self.core.written(index);
        self.core.durable(index);
        self.core.watermark(index);
        drain(&mut self.core);
        self.acknowledge();
        assert_eq!(self.core.committed(), index);
    }
}

/// Follows one that sends what it has at once.
pub struct Follower {
    core: Core,
    last: u64,
    now: Nanos,
}

impl Follower {
    pub fn new() -> Self {
        let mut follower = Self { core: core(2), last: 0, now: Nanos::from_millis(1) };
        follower.append(0);
        drain(&mut follower.core);
        follower
    }

    fn append(&mut self, batches: u32) {
        let index = BatchIndex(self.last);
        let term = Term(u64::from(self.last > 0));
        let append = Append { previous: LogEnd { term, index }, commit: index, batches, ..Append::default() };
        let message = over_the_wire(&message(1, Body::Append(append)));
        self.core.receive(NodeId(1), message, self.now);
    }

    /// One batch, from its arrival to its acknowledgement.
    #[inline(never)]
    pub fn batch(&mut self) {
        self.append(512);
        self.last += 1;
        let index = BatchIndex(self.last);
        assert_eq!(self.core.accept(NodeId(1), index, Term(1)), Verdict::Write);
        self.core.written(index);
        self.core.durable(index);
        self.core.watermark(index);
        drain(&mut self.core);
        assert_eq!(self.core.committed(), BatchIndex(self.last - 1));
    }
}
