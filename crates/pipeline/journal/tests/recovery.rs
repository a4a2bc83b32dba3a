//! What recovery makes of journals that are whole, torn, damaged or not what they should be.

mod common;

use common::*;
use ordain_agent::disk::{Disk, DiskError, DiskOp, FileId, IoBytes};
use ordain_agent::shared::Holder;
use ordain_agent::wire::VoteRequest;
use ordain_journal::{Anchor, Fault, Mark, RecoveryError, TermStart, read_state};
use ordain_types::batch::{BATCH_HEADER, BatchError};
use ordain_types::facts::AckPolicy;
use ordain_types::{BatchHeader, BatchIndex, Boot, ClusterFacts, ClusterId};

/// A journal of three segments: everything synced, the watermark at batch `marked`, 15 batches in all.
fn journal(facts: &ClusterFacts) -> (World, Maker, usize) {
    let world = World::default();
    let mut node = Node::start(&world, facts);
    for units in [2, 1, 2, 3, 1] {
        node.data(units);
    }
    node.rest();
    let marked = node.maker.ends.len() - 1;
    for units in [1, 2, 3, 1, 2] {
        node.maker.durable = BatchIndex(node.cursors.durable.load());
        node.data(units);
        node.settle();
    }
    assert_eq!(node.cursors.durable.load(), node.maker.end.index.0);
    assert_eq!(node.journal.state().watermark.index.0 as usize, marked);
    (world.copy(), node.maker.clone(), marked)
}

/// The last of the ends up to which `log` is `original`.
fn whole(ends: &[ordain_types::LogEnd], log: &[u8], original: &[u8]) -> ordain_types::LogEnd {
    let is_whole = |end: &&ordain_types::LogEnd| {
        let at = end.position.0 as usize;
        log[..at] == original[..at]
    };
    *ends.iter().take_while(is_whole).last().unwrap()
}

#[test]
fn a_node_starts_stops_and_starts_again() {
    let (world, facts) = (World::default(), facts(3));
    let mut node = Node::start(&world, &facts);
    assert_eq!((node.recovered.state.boot.0, node.recovered.was_clean), (1, true));
    for units in [1, 2, 3, 2, 1, 3] {
        node.data(units);
    }
    node.close();
    let end = node.maker.end;

    // Even after a power loss: nothing was unsynced.
    let recovered = recover(&world.after_power_loss(|_| false), &facts, 2).unwrap();
    assert_eq!(recovered.end, end);
    assert!(recovered.was_clean && !recovered.tail_cut);
    assert_eq!((recovered.state.boot.0, recovered.state.floor), (2, None));
    assert_eq!(recovered.records, 6);
    assert!(!recovered.state.clean, "a running node is not clean");
}

#[test]
fn a_killed_node_is_clean_and_a_node_without_power_is_dirty() {
    let (world, facts) = (World::default(), facts(3));
    let mut node = Node::start(&world, &facts);
    node.data(2);
    node.rest();
    // Written, and never synced.
    node.world.lock().budget = Some(1);
    node.data(1);
    node.settle();
    assert_eq!(node.cursors.written.load(), 3);
    assert_eq!(node.cursors.durable.load(), 2);

    let killed = recover(&world.copy(), &facts, 1).unwrap();
    assert!(killed.was_clean);
    assert_eq!((killed.end, killed.state.floor), (node.maker.end, None));

    let lost = recover(&world.after_power_loss(|_| false), &facts, 2).unwrap();
    assert!(!lost.was_clean && !lost.tail_cut);
    assert_eq!(lost.end.index.0, 2);
    assert_eq!(lost.state.floor.unwrap().index.0, 2 + facts.unsynced_max);
    // What was in the page cache of a killed node is durable after recovery.
    let world = world.copy();
    recover(&world, &facts, 1).unwrap();
    assert_eq!(recover(&world.after_power_loss(|_| false), &facts, 3).unwrap().end, node.maker.end);
}

/// What a failed sync leaves when the kernel then drops the pages that it could not write.
fn drop_unsynced(world: &World) {
    for file in world.lock().files.values_mut() {
        file.unsynced.clear();
    }
}

#[test]
fn a_node_whose_kernel_dropped_what_it_took_is_dirty() {
    // Whatever the policy that its disk knows: a later one may be in what was dropped.
    for policy in [AckPolicy::DISK_RAM, AckPolicy::TWO_DISKS] {
        let facts = ClusterFacts { policy, ..facts(3) };
        let world = World::default();
        let mut node = Node::start(&world, &facts);
        node.data(2);
        node.rest();
        world.fail(|op| {
            let of_log = matches!(op, DiskOp::Sync { file: FileId::Segment(_), .. });
            of_log.then_some(DiskError::Io("EIO".to_owned()))
        });
        node.data(1);
        while node.work().is_ok() {}
        // Others have heard of batch 3, and nothing can be stored any more.
        assert_eq!((node.cursors.written.load(), node.cursors.durable.load()), (3, 2));
        world.heal();

        // The pages may still be there: then nothing is lost, and the next start makes it durable.
        let kept = recover(&world.copy(), &facts, 1).unwrap();
        assert!(kept.was_clean && kept.end.index.0 == 3 && kept.state.floor.is_none());

        drop_unsynced(&world);
        // A recovery that is cut off anywhere does not make it forget.
        for budget in 0.. {
            let world = world.copy();
            world.lock().budget = Some(budget);
            let whole = try_recover(&world, &facts, 1).is_some();
            world.lock().budget = None;
            let lost = recover(&world, &facts, 1).unwrap();
            assert_eq!((lost.end.index.0, lost.tail_cut), (2, false));
            let floor = lost.state.floor.map(|floor| floor.index.0);
            assert_eq!(floor, Some(2 + facts.unsynced_max), "{policy:?}, cut off after {budget}");
            if whole {
                break;
            }
        }
    }
}

#[test]
fn without_a_witness_only_a_stop_in_good_order_is_clean() {
    let (world, facts) = (World::default(), facts(3));
    let mut node = Node::start(&world, &facts);
    node.data(2);
    node.rest();
    let killed = world.copy();
    assert!(recover(&killed, &facts, 1).unwrap().was_clean);
    killed.lock().noted = None;
    assert!(!recover(&killed, &facts, 1).unwrap().was_clean);
    node.close();
    world.lock().noted = None;
    assert!(recover(&world, &facts, 1).unwrap().was_clean);
}

#[test]
fn nothing_counts_as_received_that_could_not_be_noted() {
    let (world, facts) = (World::default(), facts(3));
    let mut node = Node::start(&world, &facts);
    node.data(2);
    node.rest();
    world.lock().deaf = true;
    node.data(1);
    let error = loop {
        if let Err(error) = node.work() {
            break error;
        }
    };
    assert!(
        error.to_string().contains("it cannot be noted how far the journal is written: the witness is deaf")
    );
    assert_eq!(node.cursors.written.load(), 2);
}

#[test]
fn a_cut_lowers_what_the_witness_expects() {
    let (world, facts) = (World::default(), facts(3));
    let mut node = Node::start(&world, &facts);
    for _ in 0..4 {
        node.data(1);
        node.rest();
    }
    let keep = node.maker.cut(3);
    node.cursors.cut.ask(keep.index, keep.position);
    // Killed anywhere in the middle of it, the node is clean.
    loop {
        let killed = recover(&world.copy(), &facts, 1).unwrap();
        assert!(killed.was_clean && killed.end.index.0 >= 3, "{killed:?}");
        if node.cursors.cut.asked(Holder::Journal).is_none() {
            assert_eq!(killed.end, keep);
            return;
        }
        node.work().unwrap();
    }
}

#[test]
fn a_damaged_slot_does_not_make_a_dirty_node_clean() {
    let (world, facts) = (World::default(), facts(3));
    let mut node = Node::start(&world, &facts);
    node.data(2);
    node.close();
    let mut node = Node::start(&world, &facts);
    node.data(1);
    for slot in 0..2 {
        let world = world.after_power_loss(|_| false);
        world.lock().files.get_mut(&FileId::NodeState).unwrap().durable[slot * 4096] ^= 1;
        let recovered = recover(&world, &facts, 2).unwrap();
        assert_eq!((recovered.was_clean, recovered.state.boot.0), (false, 3), "slot {slot}");
    }
}

#[test]
fn a_start_behind_a_kill_may_lose_power_and_keeps_the_node_state() {
    // Killed when the newest slot was written and not synced: only the kernel has it.
    let (world, facts) = (World::default(), facts(3));
    let mut node = Node::start(&world, &facts);
    node.rest();
    world.lock().history.clear();
    node.vote(5, 1);
    while world.lock().history.is_empty() {
        world.lock().budget = Some(1);
        node.work().unwrap();
    }
    assert_eq!(world.lock().history, ["write NodeState"]);
    world.lock().budget = None;

    for budget in 0.. {
        let world = world.copy();
        world.lock().budget = Some(budget);
        let is_over = try_recover(&world, &facts, 1).is_some();
        world.lock().budget = None;
        for loss in [0, 0x5555_5555_u32, 0xAAAA_AAAA, 0xFFFF_FFFF] {
            let world = world.after_power_loss(|sector| loss >> (sector % 32) & 1 == 1);
            let second =
                recover(&world, &facts, 2).unwrap_or_else(|error| panic!("{budget} {loss:x}: {error}"));
            assert!(second.state.boot.0 > 1, "budget {budget}");
        }
        if is_over {
            assert!(budget > 5);
            return;
        }
    }
}

#[test]
fn what_a_failed_sync_left_in_the_page_cache_becomes_durable() {
    let facts = facts(1);
    let world = World::default();
    let mut node = Node::start(&world, &facts);
    node.data(2);
    node.rest();
    let batches: Vec<_> = [3, 2, 3].into_iter().flat_map(|units| node.maker.units(units)).collect();
    for batch in batches {
        let at = BatchHeader::parse(&batch).unwrap().position().0;
        let mut state = world.lock();
        let file = state.files.get_mut(&FileId::Segment(at / SEGMENT)).unwrap();
        file.forgotten.push(((at % SEGMENT) as usize, batch));
    }
    assert_eq!(recover(&world, &facts, 1).unwrap().end, node.maker.end);
    let recovered = recover(&world.after_power_loss(|_| false), &facts, 2).unwrap();
    assert_eq!(recovered.end, node.maker.end, "the watermark says that it is on disk");
}

#[test]
fn a_journal_cut_at_every_byte() {
    let facts = facts(3);
    let (world, maker, marked) = journal(&facts);
    let original = world.log();
    let watermark = maker.ends[marked];
    for cut in 0..=maker.end.position.0 as usize {
        let world = world.copy();
        for at in cut..original.len() {
            world.poke(at, |byte| *byte = 0);
        }
        let log = world.log();
        let expected = whole(&maker.ends, &log, &original);
        match recover(&world, &facts, 2) {
            Err(RecoveryError::Corrupt(damage)) => {
                assert!(expected.index < watermark.index, "cut at {cut}: {damage}");
                assert_eq!(damage.index.0, expected.index.0 + 1);
            }
            Err(other) => panic!("cut at {cut}: {other}"),
            Ok(recovered) => {
                assert!(expected.index >= watermark.index, "cut at {cut}: synced batches are gone");
                assert_eq!(recovered.end, expected, "cut at {cut}");
                let left = log[expected.position.0 as usize..].iter().any(|byte| *byte != 0);
                assert_eq!(recovered.tail_cut, left, "cut at {cut}");
                assert!(!recovered.was_clean);
                let w = facts.unsynced_max;
                let reach = if left { watermark.index.0 + 2 * w } else { expected.index.0 + w };
                assert_eq!(recovered.state.floor.unwrap().index.0, reach, "cut at {cut}");
                let behind = &world.log()[expected.position.0 as usize..];
                assert!(behind.iter().all(|byte| *byte == 0), "cut at {cut}: the tail is not zero");
                assert_eq!(world.unsynced_sectors(), 0, "cut at {cut}");
                // And so it stays, with the floor.
                let again = recover(&world, &facts, 3).unwrap();
                assert_eq!(again.end, expected);
                assert!(again.state.floor >= recovered.state.floor);
            }
        }
    }
}

#[test]
fn no_flipped_bit_loses_what_was_synced_below_the_watermark() {
    for voters in [1, 3] {
        let facts = facts(voters);
        let (world, maker, marked) = journal(&facts);
        let original = world.log();
        let (mut corrupt, mut torn, mut harmless) = (0, 0, 0);
        for bit in 0..original.len() * 8 {
            // Headers and bodies alike, and all bits of every seventh byte are enough for the debug build.
            let at = bit / 8;
            if at % 7 != 0 && at % 128 >= BATCH_HEADER {
                continue;
            }
            let world = world.copy();
            world.poke(at, |byte| *byte ^= 1 << (bit % 8));
            let expected = whole(&maker.ends, &world.log(), &original);
            match recover(&world, &facts, 2) {
                Err(RecoveryError::Corrupt(damage)) => {
                    corrupt += 1;
                    assert_eq!(damage.index.0, expected.index.0 + 1, "bit {bit}");
                    let below = damage.index.0 as usize <= marked;
                    assert!(below || damage.proof.is_some() && voters == 1, "bit {bit}");
                }
                Err(other) => panic!("bit {bit}: {other}"),
                Ok(recovered) => {
                    assert_eq!(recovered.end, expected, "bit {bit}");
                    assert!(recovered.end.index.0 as usize >= marked, "bit {bit}: silently lost");
                    match expected == maker.end {
                        true => harmless += 1,
                        // A lone node cuts only what no later batch calls synced: here, the last one.
                        false => {
                            torn += 1;
                            assert!(recovered.tail_cut && !recovered.was_clean);
                            assert!(voters > 1 || expected.index.0 + 1 == maker.end.index.0, "bit {bit}");
                        }
                    }
                }
            }
        }
        assert!(corrupt > 0 && torn > 0 && harmless > 0, "{corrupt} {torn} {harmless}");
    }
}

#[test]
fn no_flipped_bit_of_the_node_state_loses_anything() {
    let facts = facts(3);
    let (world, maker, _) = journal(&facts);
    let state = world.lock().files[&FileId::NodeState].durable.clone();
    for bit in (0..state.len() * 8).filter(|bit| bit / 8 % 4096 < 170 || bit / 8 % 4096 > 4080) {
        let world = world.copy();
        world.lock().files.get_mut(&FileId::NodeState).unwrap().durable[bit / 8] ^= 1 << (bit % 8);
        let recovered = recover(&world, &facts, 1).unwrap();
        assert_eq!(recovered.end, maker.end, "bit {bit}");
        assert_eq!(recovered.state.boot.0, 2, "bit {bit}");
    }
}

#[test]
fn an_unsynced_tail_may_be_lost_in_any_order() {
    for voters in [1, 3] {
        let facts = facts(voters);
        let world = World::default();
        let mut node = Node::start(&world, &facts);
        for units in [2, 1, 3] {
            node.data(units);
        }
        node.rest();
        let synced = node.maker.end;
        node.maker.durable = synced.index;
        // From here on nothing is synced: the second half of a segment, a pad, and a next segment.
        for batch in [1, 2, 1, 2].into_iter().flat_map(|units| node.maker.units(units)).collect::<Vec<_>>() {
            let at = BatchHeader::parse(&batch).unwrap().position().0;
            let file = FileId::Segment(at / SEGMENT);
            let mut state = node.world.lock();
            state.files.get_mut(&file).unwrap().unsynced.push(((at % SEGMENT) as usize, batch));
        }
        let sectors = node.world.unsynced_sectors();
        assert!((7..=10).contains(&sectors), "{sectors}");
        let original = world.log();
        for kept in 0..1_u32 << sectors {
            let world = world.after_power_loss(|sector| kept >> sector & 1 == 1);
            let expected = whole(&node.maker.ends, &world.log(), &original);
            let recovered =
                recover(&world, &facts, 2).unwrap_or_else(|error| panic!("kept {kept:b}: {error}"));
            assert_eq!(recovered.end, expected, "kept {kept:b}");
            assert!(recovered.end.index >= synced.index);
            let behind = &world.log()[expected.position.0 as usize..];
            assert!(behind.iter().all(|byte| *byte == 0), "kept {kept:b}");
        }
    }
}

#[test]
fn recovery_may_itself_be_cut_off_anywhere() {
    let facts = facts(3);
    let (world, maker, marked) = journal(&facts);
    // Batch `marked + 2` is bad, so three segments have a tail to be cut.
    let bad = maker.ends[marked + 1].position.0 as usize;
    world.poke(bad + 100, |byte| *byte ^= 1);
    let expected = maker.ends[marked + 1];
    for budget in 0.. {
        let world = world.copy();
        world.lock().budget = Some(budget);
        let first = try_recover(&world, &facts, 2);
        world.lock().budget = None;
        for loss in [0, 0x5555_5555_u32, 0xFFFF_FFFF] {
            let world = world.after_power_loss(|sector| loss >> (sector % 32) & 1 == 1);
            let second = recover(&world, &facts, 3).unwrap();
            assert_eq!(second.end, expected, "budget {budget}");
            let floor = second.state.floor.expect("it was dirty, once at least");
            assert!(floor.index.0 >= marked as u64 + 2 * facts.unsynced_max, "budget {budget}: {floor:?}");
        }
        if first.is_some() {
            assert!(budget > 10);
            return;
        }
    }
}

#[test]
fn a_lone_node_knows_what_was_synced() {
    let facts = facts(1);
    let (world, maker, marked) = journal(&facts);
    let bad = marked + 1;
    world.poke(maker.ends[bad - 1].position.0 as usize + 100, |byte| *byte ^= 1);
    let error = recover(&world, &facts, 2).unwrap_err();
    let RecoveryError::Corrupt(damage) = &error else { panic!("{error}") };
    assert_eq!(damage.index.0 as usize, bad);
    assert!(damage.proof.is_some());
    assert_eq!(damage.fault, Fault::Bytes(BatchError::Body));
    assert!(error.to_string().contains("ordain journal verify"), "{error}");
}

#[test]
fn what_a_client_writes_is_no_proof() {
    let facts = facts(1);
    let world = World::default();
    let mut node = Node::start(&world, &facts);
    node.data(1);
    node.rest();
    // A payload that holds, at its proper place in the log, the header of a later batch.
    let mut later = node.maker.clone();
    later.units(1);
    later.durable = later.end.index;
    let forged = later.units(1).pop().unwrap();
    let batches = node.maker.data(&[&[&forged[..], &[1; 100]].concat()]);
    assert_eq!(batches.len(), 1);
    node.publish(&batches);
    node.world.lock().budget = Some(1);
    node.settle();
    // The header of the batch survived, a sector of its body did not.
    assert_eq!(world.unsynced_sectors(), 3);
    for kept in 0..1_u32 << 3 {
        let world = world.after_power_loss(|sector| kept >> sector & 1 == 1);
        let recovered = recover(&world, &facts, 2);
        let has_header = kept & 1 == 1;
        assert!(recovered.is_ok() || !has_header, "kept {kept:b}");
    }
}

#[test]
fn directories_that_are_not_whole_are_refused_each_with_its_reason() {
    let facts = facts(3);
    let (world, maker, _) = journal(&facts);
    let check = |spoil: &dyn Fn(&World), expected: &dyn Fn(&RecoveryError) -> bool| {
        let world = world.copy();
        spoil(&world);
        let before = world.log();
        let error = recover(&world, &facts, 1).unwrap_err();
        assert!(expected(&error), "{error:?}");
        let text = error.to_string();
        assert!(text.matches(". ").count() >= 1 || text.contains("; "), "cause and action: {text}");
        assert_eq!(world.log(), before, "evidence is kept");
    };
    let remove = |file: FileId| {
        move |world: &World| {
            world.lock().files.remove(&file);
        }
    };
    check(&remove(FileId::NodeState), &|e| matches!(e, RecoveryError::StateMissing { segments: 4.. }));
    check(&remove(FileId::Segment(0)), &|e| *e == RecoveryError::MissingSegment { number: 0 });
    check(&remove(FileId::Segment(1)), &|e| *e == RecoveryError::MissingSegment { number: 1 });
    check(
        &|world| {
            world.lock().files.retain(|file, _| *file <= FileId::Segment(0) || *file == FileId::NodeState)
        },
        &|e| *e == RecoveryError::MissingSegment { number: 1 },
    );
    check(&|world| world.lock().files.get_mut(&FileId::Segment(1)).unwrap().durable.truncate(1000), &|e| {
        *e == RecoveryError::FileSize { number: 1, found: 1000, expected: SEGMENT }
    });
    check(&|world| world.lock().files.get_mut(&FileId::NodeState).unwrap().durable.fill(1), &|e| {
        matches!(e, RecoveryError::State(_))
    });
    check(&|world| world.lock().files.get_mut(&FileId::NodeState).unwrap().durable.fill(0), &|e| {
        matches!(e, RecoveryError::State(_))
    });
    // A segment of another cluster in place of the second one.
    let other = ClusterFacts { cluster: ClusterId([8; 16]), ..facts.clone() };
    let (foreign, ..) = journal(&other);
    let bytes = foreign.lock().files[&FileId::Segment(1)].clone();
    check(
        &|world| {
            world.lock().files.insert(FileId::Segment(1), bytes.clone());
        },
        &|e| *e == RecoveryError::ForeignSegment { number: 1, found: other.cluster },
    );
    // A batch of a later format where the log goes on.
    check(
        &|world| {
            let at = maker.end.position.0 as usize;
            let mut header = maker.clone().units(1).remove(0);
            header[4] = 2;
            let crc = crc32c::crc32c(&header[..92]).to_le_bytes();
            header[92..96].copy_from_slice(&crc);
            for (offset, value) in header.iter().enumerate() {
                world.poke(at + offset, |byte| *byte = *value);
            }
        },
        &|e| matches!(e, RecoveryError::Version { version: 2, .. }),
    );
    let error = recover(&world.copy(), &other, 1).unwrap_err();
    assert!(matches!(error, RecoveryError::OtherCluster { .. }));
    let error = recover(&world.copy(), &ClusterFacts { window: 7, ..facts.clone() }, 1).unwrap_err();
    assert_eq!(error, RecoveryError::OtherFacts);
}

#[test]
fn a_first_start_may_be_cut_off_anywhere() {
    let facts = facts(3);
    for budget in 0.. {
        let world = World::default();
        world.lock().budget = Some(budget);
        let first = try_recover(&world, &facts, 1);
        world.lock().budget = None;
        for loss in [0, 0x5555_5555_u32, 0xFFFF_FFFF] {
            let world = world.after_power_loss(|sector| loss >> (sector % 32) & 1 == 1);
            let second = recover(&world, &facts, 2).unwrap();
            assert_eq!(second.end, ordain_types::LogEnd::EMPTY);
            let file = world.lock().files[&FileId::NodeState].durable.clone();
            assert_eq!(read_state(&file).unwrap(), second.state);
        }
        if first.is_some() {
            return;
        }
    }
}

/// Anchors at the start of each segment behind the first.
fn anchors(maker: &Maker) -> Vec<Anchor> {
    let behind = maker.ends.iter().filter(|end| end.position.0 > 0 && end.position.0.is_multiple_of(SEGMENT));
    let terms = || vec![TermStart { term: maker.term, first: BatchIndex(1) }];
    behind
        .filter(|end| **end != maker.end)
        .map(|end| Anchor { end: *end, terms: terms(), configuration: None })
        .collect()
}

#[test]
fn behind_a_snapshot_recovery_finds_what_it_finds_from_the_first_batch_on() {
    for voters in [1, 3] {
        let facts = facts(voters);
        let (world, maker, marked) = journal(&facts);
        let full_world = world.copy();
        let full = recover(&full_world, &facts, 2).unwrap();
        let anchors = anchors(&maker);
        assert!(anchors.len() >= 2);
        let beyond = |anchor: &Anchor| anchor.end.index.0 as usize > marked;
        assert!(anchors.iter().any(beyond) && !anchors.iter().all(beyond), "the watermark is in between");
        for anchor in &anchors {
            let segment = anchor.end.position.0 / SEGMENT;
            // All segments, or none in front of the snapshot, or anything between.
            for oldest in 0..=segment {
                let world = world.copy();
                (0..oldest).for_each(|gone| drop(world.lock().files.remove(&FileId::Segment(gone))));
                let found = recover_behind(&world, &facts, 2, anchor).unwrap();
                assert_eq!((found.end, &found.state, found.room), (full.end, &full.state, full.room));
                assert_eq!(
                    (found.terms, found.batches, found.records),
                    (full.terms.clone(), full.batches, full.records)
                );
                assert_eq!((found.was_clean, found.tail_cut), (full.was_clean, full.tail_cut));
                assert_eq!((found.oldest, found.first_segment), (oldest, oldest));
                let places = |ends: &[ordain_types::LogEnd]| {
                    ends.iter().map(|end| (end.position, end.index, end.chain)).collect::<Vec<_>>()
                };
                assert_eq!(places(&found.segments), places(&full.segments[oldest as usize..]));
                assert_eq!(world.log(), full_world.log()[(oldest * SEGMENT) as usize..]);
            }
        }
    }
}

#[test]
fn damage_is_found_behind_a_snapshot_and_not_looked_for_in_front_of_it() {
    let facts = facts(1);
    let (world, maker, _) = journal(&facts);
    let anchors = anchors(&maker);
    let anchor = anchors.first().unwrap();
    let at = anchor.end.position.0 as usize;
    // Every byte of the first batch behind the snapshot counts: index, seq, term, time and chain.
    for byte in at..at + 128 {
        let copy = world.copy();
        copy.poke(byte, |byte| *byte ^= 1);
        let found = recover_behind(&copy, &facts, 2, anchor);
        assert!(found.is_err(), "byte {byte}: {found:?}");
    }
    let copy = world.copy();
    copy.poke(0, |byte| *byte ^= 1);
    let found = recover_behind(&copy, &facts, 2, anchor).unwrap();
    assert_eq!((found.end, found.oldest, found.first_segment), (maker.end, 0, 1));
    // What is not known to have been synced is damaged or torn, and nothing else binds the snapshot to this log.
    let copy = world.copy();
    copy.poke(at + 10, |byte| *byte ^= 1);
    {
        let mut state = copy.lock();
        let file = &mut state.files.get_mut(&FileId::NodeState).unwrap().durable;
        let mut node = read_state(file).unwrap();
        node.watermark = Mark { index: anchor.end.index, position: anchor.end.position };
        *file = node.to_file();
    }
    let unbound = recover_behind(&copy, &facts, 2, anchor).unwrap_err();
    assert_eq!(unbound, RecoveryError::Unbound { number: 1 });
    // Another log's snapshot: its chain value does not lead to this segment.
    let mut foreign = anchor.clone();
    foreign.end.chain.0[0] ^= 1;
    assert!(recover_behind(&world.copy(), &facts, 2, &foreign).is_err());
    let copy = world.copy();
    copy.lock().files.remove(&FileId::Segment(1));
    let missing = recover_behind(&copy, &facts, 2, anchor).unwrap_err();
    assert_eq!(missing, RecoveryError::MissingSegment { number: 1 });
}

#[test]
fn beside_the_evidence_of_a_divergence_no_node_starts() {
    let (world, facts) = (World::default(), facts(3));
    let mut node = Node::start(&world, &facts);
    node.data(2);
    node.close();
    let mut lane = world.lane(3);
    let text = b"node 1: the output hash at batch 3 differs".to_vec();
    let size = text.len() as u64;
    lane.submit(DiskOp::Create { tag: 0, file: FileId::Diverged, size });
    while lane.poll().is_some() {}
    let empty = world.copy();
    lane.submit(DiskOp::Write {
        tag: 0,
        file: FileId::Diverged,
        offset: 0,
        bytes: IoBytes::Owned(text.clone()),
    });
    while lane.poll().is_some() {}
    let before = world.log();
    for _ in 0..2 {
        let error = recover(&world.copy(), &facts, 1).unwrap_err();
        assert_eq!(error, RecoveryError::Diverged { evidence: String::from_utf8(text.clone()).unwrap() });
        assert!(error.to_string().contains("Keep the directory as evidence"));
    }
    // Nothing was changed, and half of the evidence suffices.
    assert_eq!(world.log(), before);
    let error = recover(&empty, &facts, 1).unwrap_err();
    assert_eq!(error, RecoveryError::Diverged { evidence: String::new() });
}

#[test]
fn an_empty_directory_of_a_member_is_blank_in_a_life_of_a_random_number() {
    let facts = facts(3);
    let born = |salt: u64| Boot(1 + (salt >> 24));
    // Cut off anywhere, the first start is made anew, or is over.
    let mut cut = 0;
    loop {
        let world = World::default();
        world.lock().budget = Some(cut);
        let first = recover_member(&world, &facts, 7 << 24);
        world.lock().budget = None;
        let again = recover_member(&world.after_power_loss(|_| false), &facts, 9 << 24).unwrap();
        assert!(again.state.blank, "cut off after {cut} operations");
        assert!([born(7 << 24).next(), born(9 << 24)].contains(&again.state.boot), "{:?}", again.state.boot);
        let Some(first) = first else {
            cut += 1;
            continue;
        };
        assert_eq!((first.state.blank, first.state.boot, first.was_clean), (true, born(7 << 24), true));
        assert_eq!(again.state.boot, first.state.boot.next());
        break;
    }
    assert!(cut > 3);
    // One that is alone promised nothing to anybody.
    assert!(!recover(&World::default(), &facts, 1).unwrap().state.blank);
}

#[test]
fn what_the_log_stage_says_of_blankness_and_of_a_later_life_is_stored() {
    let facts = facts(3);
    let world = World::default();
    let blank = recover_member(&world, &facts, 7 << 24).unwrap().state;
    let mut node = Node::start(&world, &facts);
    assert!(node.recovered.state.blank);
    node.vote_as(VoteRequest { term: 2.into(), blank: 1.into(), boot: 99.into(), ..VoteRequest::default() });
    node.settle();
    let stored = recover(&world.after_power_loss(|_| false), &facts, 2).unwrap().state;
    assert_eq!((stored.blank, stored.boot), (true, Boot(100)));
    assert!(stored.boot > blank.boot);
    node.vote_as(VoteRequest { term: 2.into(), ..VoteRequest::default() });
    node.settle();
    let stored = recover(&world.after_power_loss(|_| false), &facts, 2).unwrap().state;
    assert_eq!((stored.blank, stored.boot), (false, Boot(100)));
}
