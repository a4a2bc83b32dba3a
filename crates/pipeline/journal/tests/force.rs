//! A loss is declared on a stopped node: wherever that is interrupted, the node either is as before or has the whole
//! declaration, and promises the new lineage from the first write on.

mod common;

use common::{Node, World, facts, recover};
use ordain_agent::disk::FileId;
use ordain_journal::{Declaration, Force, Forced, NodeState, OsBoot, Recovery, read_state};
use ordain_types::lineage::{LineageBreak, UNBOUNDED};
use ordain_types::{BatchIndex, BatchKind, BatchView, Lineage, Nanos, NodeId, Term};
use std::task::Poll;

/// Another control entry.
fn mark() -> Vec<u8> {
    [vec![3, 1, 0, 0, 0, 0, 0, 0], vec![1; 32]].concat()
}

fn declaration() -> Declaration {
    let text = LineageBreak {
        lineage: Lineage::ZERO,
        node: NodeId(2),
        end: (Term(0), BatchIndex(0)),
        batches: 16,
        bytes: UNBOUNDED,
        tips: Vec::new(),
    };
    Declaration { text, others: vec![mark()], seen: Lineage(3), salt: 77, wall: Nanos(5) }
}

/// Recovers and forces; `None` if the disk came to a standstill.
fn force(world: &World, declaration: &Declaration) -> Option<Forced> {
    let facts = facts(3);
    let mut recovery = Recovery::new(&facts, OsBoot::default(), world.lane(2));
    let stands = || world.lock().budget == Some(0);
    let recovered = loop {
        match recovery.step() {
            Poll::Ready(recovered) => break recovered.unwrap(),
            Poll::Pending if stands() => return None,
            Poll::Pending => {}
        }
    };
    let mut force = Force::new(&facts, &recovered, declaration, recovery.into_disk());
    loop {
        match force.step() {
            Poll::Ready(forced) => return Some(forced.unwrap()),
            Poll::Pending if stands() => return None,
            Poll::Pending => {}
        }
    }
}

/// A node that lost power with `units` of 128 bytes in its log, and one batch more that is torn.
fn lost(units: &[usize]) -> (World, ordain_types::LogEnd) {
    let (world, facts) = (World::default(), facts(3));
    let mut node = Node::start(&world, &facts);
    node.vote(4, 2);
    for units in units {
        node.data(*units);
    }
    node.rest();
    node.world.lock().budget = Some(1);
    node.data(3);
    node.settle();
    let world = world.after_power_loss(|sector| sector == 0);
    let end = recover(&world.copy(), &facts, 8).unwrap().end;
    (world, end)
}

fn state(world: &World) -> NodeState {
    read_state(&world.lock().files[&FileId::NodeState].view()).unwrap()
}

#[test]
fn the_log_goes_on_in_a_new_lineage() {
    // Where the segment has room, where it has none for the break, and where it is full.
    for units in [&[1][..], &[2, 2, 1], &[2, 2, 3]] {
        let (world, before) = lost(units);
        let forced = force(&world, &declaration()).unwrap();
        let lineage = Lineage(4);
        assert_eq!((forced.lineage, Lineage::of(forced.end.term)), (lineage, lineage));
        let recovered = recover(&world, &facts(3), 9).unwrap();
        assert_eq!((recovered.end, recovered.was_clean, recovered.state.floor), (forced.end, true, None));
        let state = recovered.state;
        assert_eq!((state.term, state.ack_term, state.voted_for), (forced.end.term, forced.end.term, None));
        let log = world.log();
        let mut rest = &log[..forced.end.position.0 as usize];
        let mut controls = Vec::new();
        while !rest.is_empty() {
            let batch = BatchView::parse(rest).unwrap();
            rest = &rest[batch.bytes().len()..];
            if batch.header.kind() == BatchKind::Control {
                controls.push(batch);
            }
            if let Some(start) = batch.segment_start() {
                assert_eq!(start.lineage.get(), Lineage::of(batch.header.term()).0);
            }
        }
        let text = LineageBreak::of_batch(&controls[0]).unwrap().unwrap();
        assert_eq!((text.lineage, text.end), (lineage, (before.term, before.index)));
        assert_eq!((controls[0].header.index(), controls[1].body()[..40].to_vec()), (forced.index, mark()));
        // Once more is one lineage more.
        assert_eq!(force(&world, &declaration()).unwrap().lineage, Lineage(5));
    }
}

#[test]
fn an_interrupted_declaration_is_not_half_believed() {
    for units in [&[1][..], &[2, 2, 1]] {
        let (world, before) = lost(units);
        let (mut as_before, mut whole) = (0, 0);
        for budget in 0.. {
            let world = world.copy();
            world.lock().budget = Some(budget);
            let done = force(&world, &declaration());
            world.lock().budget = None;
            for loss in [0, 0x5555_5555_u32, 0xFFFF_FFFF] {
                let world = world.after_power_loss(|sector| loss >> (sector % 32) & 1 == 1);
                let term = state(&world).term;
                let found = recover(&world, &facts(3), 8).unwrap();
                // Batches of the lineage never stand where the node could still vote for logs without them.
                assert!(found.end.term <= term, "budget {budget}");
                if Lineage::of(found.end.term) == Lineage::FIRST {
                    as_before += 1;
                    assert_eq!(found.end, before, "budget {budget}");
                    assert!(done.is_none());
                } else {
                    whole += u32::from(done.is_none());
                }
                // And it can be done again.
                let again = force(&world, &declaration()).unwrap();
                assert!(again.lineage > Lineage::of(term), "budget {budget}");
                assert_eq!(recover(&world, &facts(3), 8).unwrap().end, again.end);
            }
            if done.is_some() {
                break;
            }
        }
        assert!(as_before > 0 && whole > 0, "{as_before} as before, {whole} whole without its end");
    }
}

#[test]
fn a_state_without_its_log_keeps_what_was_promised() {
    let (world, _) = lost(&[1]);
    force(&world, &declaration()).unwrap();
    let state = recover(&world, &facts(3), 8).unwrap().state;
    let heard =
        NodeState { term: state.term.next(), voted_for: Some(NodeId(1)), ack_term: state.term, ..state };
    let bare = heard.without_log();
    assert_eq!(read_state(&bare.to_file()), Ok(bare.clone()));
    assert_eq!((bare.term, bare.voted_for, bare.boot), (heard.term, heard.voted_for, heard.boot));
    let empty = World::default();
    let durable = bare.to_file();
    empty.lock().files.insert(FileId::NodeState, common::File { durable, ..Default::default() });
    let found = recover(&empty, &facts(3), 8).unwrap();
    assert_eq!((found.end.index.0, found.state.boot), (0, bare.boot.next()));
    // Every log with the lineage's beginning reaches its floor, and none without.
    let floor = found.state.floor.unwrap();
    assert_eq!(Lineage::of(floor.term), Lineage::of(heard.term));
    assert!(floor.term < heard.ack_term);
}
