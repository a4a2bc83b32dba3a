//! Frames about the cluster itself, and what a node serves that does not lead.

use crate::rig::*;
use ordain_agent::wire::{Delivery, delivery, submission};
use ordain_gateway::GatewayConfig;
use ordain_types::codes::Code;
use ordain_types::configuration::Configuration;
use ordain_types::facts::AckPolicy;
use ordain_types::frame::{ClientFrame, ServerFrame, body};
use ordain_types::members::Member;
use ordain_types::roster::{FactsBody, flag, read_page};
use ordain_types::steer::Steer;
use ordain_types::{ClusterFacts, NodeId};
use std::sync::Arc;

/// A cluster whose clients reach node N at `host-N:7400`, but for node 2.
pub fn cluster() -> Configuration {
    let member = |id: u32| Member {
        id: NodeId(id),
        peer: format!("host-{id}:7500"),
        client: if id == 2 { "unix:/run/2".to_owned() } else { format!("host-{id}:7400") },
        key: [id as u8; 32],
    };
    Configuration::initial(
        &ClusterFacts { policy: AckPolicy::DISK_RAM, ..facts() },
        &(0..3).map(member).collect::<Vec<_>>(),
    )
}

fn members(number: u64, first: u64) -> Vec<u8> {
    frame(ClientFrame::Members as u8, 0, number, &[first.to_le_bytes(), [0; 8]].concat())
}

fn steer(number: u64, steer: &Steer) -> Vec<u8> {
    let mut payload = Vec::new();
    steer.encode(&mut payload);
    frame(ClientFrame::Steer as u8, 0, number, &payload)
}

#[test]
fn any_node_tells_who_the_members_are_and_who_leads() {
    let made = Some(Arc::new(Configuration { version: 0, members: vec![], ..cluster() }));
    let mut rig = Rig::with(GatewayConfig { node: NodeId(2), made, ..config() });
    rig.genesis();
    let alice = rig.signed_in(ALICE);
    assert_eq!(rig.code(alice, &members(7, 0)), Code::Starting, "nothing is posted");
    rig.send(alice, &frame(ClientFrame::Members as u8, 0, 7, &[[0; 8], 1_u64.to_le_bytes()].concat()));
    assert_eq!(
        read_page(&rig.one(alice).payload).unwrap().0.members.get(),
        0,
        "what it was made with is known"
    );
    rig.shared.board.post(cluster());
    rig.shared.leader.store(2);
    rig.shared.term.store(9);
    for leads in [false, true] {
        if leads {
            rig.lead(1);
        }
        rig.send(alice, &members(7, 1));
        let got = rig.one(alice);
        assert_eq!(
            (got.kind(), got.code(), got.header.number.get()),
            (ServerFrame::Members, Code::Executed, 7)
        );
        let (head, members) = read_page(&got.payload).unwrap();
        assert_eq!((head.node.get(), head.leader(), head.term.get()), (2, Some(NodeId(1)), 9));
        assert_eq!((head.members.get(), head.flags.get(), head.copies), (3, 0, [2, 1]));
        assert_eq!(members, cluster().members[1..]);
    }
    // What changes shows, without another sign-in.
    let next = Configuration { version: 5, ..cluster() };
    rig.shared.board.post(next);
    rig.shared.no_copies.store(1);
    rig.run();
    rig.send(alice, &members(8, 3));
    let (head, members) = read_page(&rig.one(alice).payload).unwrap();
    assert_eq!((head.version.get(), head.flags.get(), members.len()), (5, flag::NO_COPIES, 0));
}

#[test]
fn only_operators_steer_and_only_the_leader_is_steered() {
    let mut rig = Rig::new();
    let (alice, boss) = (rig.signed_in(ALICE), rig.signed_in(OPERATOR));
    let add = steer(3, &Steer::AddLearner(cluster().members[1].member.clone()));
    rig.send(alice, &add);
    let got = rig.one(alice);
    assert_eq!((got.kind(), got.code()), (ServerFrame::Steered, Code::NotPermitted));
    let mut nonsense = add.clone();
    nonsense[32] = 99;
    assert_eq!(rig.code(boss, &nonsense), Code::Malformed);
    assert_eq!(rig.asked().len(), 0);
    rig.send(boss, &add);
    let asked = rig.asked();
    assert_eq!((asked.len(), asked[0].kind, asked[0].conn), (1, submission::STEER, boss));
    assert!(matches!(Steer::decode(&asked[0].payload), Some(Steer::AddLearner(_))));
    // Its answer comes the way of the answers to queries, sentence and all.
    let head = rig.head(delivery::ANSWER, boss, 1);
    rig.emit(head, header(ServerFrame::Steered, Code::NotYet, 0, 3, 0), b"because");
    rig.run();
    let got = rig.one(boss);
    assert_eq!(
        (got.kind(), got.code(), &got.payload[..]),
        (ServerFrame::Steered, Code::NotYet, &b"because"[..])
    );

    let mut rig = Rig::with(config());
    rig.genesis();
    let boss = rig.signed_in(OPERATOR);
    assert_eq!(rig.code(boss, &add), Code::NotLeader);
    assert_eq!(rig.asked().len(), 0);
}

#[test]
fn operators_are_told_the_facts_and_nobody_else() {
    let mut rig = Rig::with(GatewayConfig { founder: [5; 32], ..config() });
    rig.genesis();
    let (alice, boss) = (rig.signed_in(ALICE), rig.signed_in(OPERATOR));
    let ask = frame(ClientFrame::Facts as u8, 0, 4, &[]);
    assert_eq!(rig.code(alice, &ask), Code::NotPermitted);
    rig.send(boss, &ask);
    let got = rig.one(boss);
    assert_eq!((got.kind(), got.code(), got.header.number.get()), (ServerFrame::Facts, Code::Executed, 4));
    let told = body::<FactsBody>(&got.payload).unwrap();
    assert_eq!((told.operator, told.facts()), ([5; 32], Some(facts())));
}

#[test]
fn without_copies_nothing_new_is_taken_and_what_was_taken_is_answered() {
    let mut rig = Rig::new();
    let (alice, boss) = (rig.signed_in(ALICE), rig.signed_in(OPERATOR));
    rig.session(alice, 2, 50);
    rig.session(boss, 1, 70);
    rig.send(alice, &add(50, 1));
    assert_eq!(rig.admitted(), [1]);
    rig.shared.no_copies.store(1);
    assert_eq!(rig.code(alice, &add_open(50, 2, 1)), Code::NoCopies);
    assert_eq!(rig.code(alice, &open(9)), Code::NoCopies);
    assert_eq!(
        rig.code(boss, &add(70, 1)),
        Code::NoCopies,
        "operators' requests are committed no more than others"
    );
    rig.send(alice, &keep_alive(50, 2));
    assert_eq!((rig.heard(alice).len(), rig.asked().len()), (0, 0));
    // Questions, and an operator's changes, which may mend it, go on.
    rig.send(alice, &query(1));
    rig.send(boss, &steer(1, &Steer::Remove(NodeId(2))));
    assert_eq!(rig.asked().len(), 2);
    rig.shared.applied.store(4);
    rig.reply(2, 50, 1, Code::Executed);
    assert_eq!(rig.heard(alice).len(), 0);
    rig.shared.committed.store(4);
    rig.run();
    assert_eq!(rig.one(alice).code(), Code::Executed);
    rig.shared.no_copies.store(0);
    rig.send(alice, &add(50, 2));
    assert_eq!(rig.admitted(), [2]);
}

#[test]
fn outputs_are_served_without_the_lead_and_a_new_lead_changes_nothing() {
    let mut rig = Rig::with(config());
    rig.genesis();
    let alice = rig.signed_in(ALICE);
    rig.send(alice, &subscribe(0, 1));
    let asked = rig.asked();
    assert_eq!((asked.len(), asked[0].kind), (1, submission::SUBSCRIBE));
    // A follower's answer belongs to no reign.
    let head = Delivery { stint: 0.into(), ..rig.head(delivery::ANSWER, alice, 2) };
    rig.emit(head, header(ServerFrame::Subscribed, Code::Executed, 0, 1, 0), &[]);
    rig.settle();
    let got = rig.one(alice);
    assert_eq!(
        (got.kind(), got.code(), got.header.number.get()),
        (ServerFrame::Subscribed, Code::Executed, 1)
    );
    let output =
        Delivery { kind: delivery::OUTPUT.into(), stint: 0.into(), index: 2.into(), ..Delivery::default() };
    rig.emit(output, header(ServerFrame::Output, Code::Executed, 0, 1, 5), b"x");
    rig.settle();
    assert_eq!(rig.one(alice).kind(), ServerFrame::Output);
    rig.lead(1);
    rig.emit(output, header(ServerFrame::Output, Code::Executed, 0, 2, 6), b"y");
    rig.settle();
    assert_eq!(rig.one(alice).header.number.get(), 2);
}

#[test]
fn a_follower_that_knows_nothing_serves_no_outputs_and_one_that_begins_anew_says_so() {
    let mut rig = Rig::with(config());
    rig.genesis();
    let alice = rig.signed_in(ALICE);
    rig.shared.committed.store(0);
    assert_eq!(rig.code(alice, &subscribe(0, 1)), Code::Starting);
    rig.shared.committed.store(2);
    rig.send(alice, &subscribe(0, 1));
    assert_eq!(rig.asked().len(), 1);
    // What apply had answered is void: it starts over.
    rig.shared.restarts.store(1);
    let head = Delivery { stint: 0.into(), ..rig.head(delivery::ANSWER, alice, 2) };
    rig.emit(head, header(ServerFrame::Subscribed, Code::Executed, 0, 1, 0), &[]);
    rig.settle();
    let got = rig.one(alice);
    assert_eq!((got.kind(), got.code()), (ServerFrame::Goodbye, Code::Starting));
    assert!(!rig.is_open(alice));
}
