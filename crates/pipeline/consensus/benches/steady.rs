//! CPU time of consensus per batch, three voters, each batch streamed alone: the leader's share and one
//! follower's, with the codec. `cargo bench -p ordain-consensus`.

use ordain_consensus::message::FRAME_MAX;
use ordain_consensus::{
    Body, Config, Core, Effect, Grant, Message, Recovered, Role, Terms, Verdict, VoteState,
};
use ordain_types::facts::AckPolicy;
use ordain_types::{BatchIndex, Boot, Nanos, NodeId, Term};
use std::hint::black_box;
use std::time::Instant;

const BATCHES: u64 = 2_000_000;
const ROUNDS: usize = 5;

fn core(id: u32) -> Core {
    let config = Config {
        id: NodeId(id),
        voters: vec![NodeId(1), NodeId(2), NodeId(3)],
        policy: AckPolicy::DISK_RAM,
        unsynced_max: 1024,
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
    };
    let mut core = Core::new(config, recovered, Nanos(0));
    drain(&mut core);
    for peer in (1..=3).filter(|peer| *peer != id) {
        core.peer_up(NodeId(peer), Nanos(0));
    }
    drain(&mut core);
    core
}

/// Carries effects out; returns the last frame sent.
fn drain(core: &mut Core) -> Option<Message> {
    let mut sent = None;
    while let Some(effect) = core.pop() {
        match effect {
            Effect::Persist(state) => core.persisted(state),
            Effect::Send { message, .. } => sent = Some(message),
            other => {
                black_box(other);
            }
        }
    }
    sent
}

fn over_the_wire(message: &Message) -> Message {
    let mut bytes = [0; FRAME_MAX];
    let length = message.encode(&mut bytes);
    Message::decode(black_box(&bytes[..length])).expect("what was written").0
}

fn leader() -> f64 {
    let mut core = core(1);
    let message = |term, body| Message { term: Term(term), boot: Boot(1), to_boot: Boot(1), body };
    let now = Nanos::from_millis(1000);
    core.tick(now);
    let grant = Some(Grant::Strong);
    core.receive(NodeId(2), message(0, Body::PreVoteReply { proposed: Term(1), grant }), now);
    drain(&mut core);
    core.receive(NodeId(2), message(1, Body::VoteReply { grant }), now);
    drain(&mut core);
    assert_eq!(core.role(), Role::Leader);
    let ack = |index: u64| {
        let index = BatchIndex(index);
        message(1, Body::Ack { matched: index, received: index, durable: index, round: 0 })
    };
    for peer in [2, 3] {
        core.receive(NodeId(peer), ack(0), now);
    }
    drain(&mut core);
    let start = Instant::now();
    for batch in 1..=BATCHES {
        let index = BatchIndex(batch);
        core.appended(index);
        for peer in [2, 3] {
            let peer = NodeId(peer);
            assert_eq!(core.next_batch(peer), Some(index));
            let mut frame = [0; FRAME_MAX];
            core.stream(peer, index, 512).encode(&mut frame);
            black_box(frame);
        }
        core.written(index);
        core.durable(index);
        core.watermark(index);
        drain(&mut core);
        for peer in [2, 3] {
            core.receive(NodeId(peer), over_the_wire(&ack(batch)), now);
            drain(&mut core);
        }
    }
    let nanos = start.elapsed().as_nanos() as f64 / BATCHES as f64;
    assert_eq!(core.committed(), BatchIndex(BATCHES));
    nanos
}

fn follower() -> f64 {
    let mut core = core(2);
    let now = Nanos::from_millis(1);
    let append = |last: u64, batches| {
        let term = Term(u64::from(last > 0));
        let append = ordain_consensus::message::Append {
            previous: ordain_consensus::LogEnd { term, index: BatchIndex(last) },
            commit: BatchIndex(last),
            batches,
            ..Default::default()
        };
        Message { term: Term(1), boot: Boot(1), to_boot: Boot(1), body: Body::Append(append) }
    };
    core.receive(NodeId(1), append(0, 0), now);
    drain(&mut core);
    let start = Instant::now();
    for batch in 1..=BATCHES {
        let index = BatchIndex(batch);
        core.receive(NodeId(1), over_the_wire(&append(batch - 1, 512)), now);
        assert_eq!(core.accept(NodeId(1), index, Term(1)), Verdict::Write);
        core.written(index);
        core.durable(index);
        core.watermark(index);
        black_box(drain(&mut core));
    }
    let nanos = start.elapsed().as_nanos() as f64 / BATCHES as f64;
    assert_eq!(core.committed(), BatchIndex(BATCHES - 1));
    nanos
}

fn main() {
    for _ in 0..ROUNDS {
        println!("leader {:>5.0} ns/batch   follower {:>5.0} ns/batch", leader(), follower());
    }
}
