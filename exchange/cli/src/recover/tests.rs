//! The rules, by nodes that are made up.

use super::evidence::{Evidence, Place, Seat};
use super::verdict::{Grant, Loss, best, judge};
use super::*;

const W: u64 = 1024;

fn place(term: u64, batch: u64) -> Place {
    Place { term, batch }
}

/// A node of three whose log ends there; dirty, if it may have acknowledged W more.
fn node(id: u32, (m, k): (u32, u32), terms: &[(u64, u64)], end: u64, dirty: bool) -> Evidence {
    let terms: Vec<_> = terms.iter().map(|(term, first)| place(*term, *first)).collect();
    let term = terms.last().map_or(0, |last| last.term);
    let seat = |node| Seat { node, votes: true, peer: String::new(), client: String::new() };
    Evidence {
        version: 1,
        source: format!("node-{id}"),
        cluster: "07".to_owned(),
        node: id,
        fault: None,
        end: place(term, end),
        first_batch: 1,
        watermark: 0,
        committed_at_least: 0,
        bytes: 0,
        term,
        voted_for: None,
        ack_term: term,
        starts: 1,
        lineage: ordain_types::Lineage::of(ordain_types::Term(term)).0,
        log_lineage: ordain_types::Lineage::of(ordain_types::Term(term)).0,
        clean: !dirty,
        floor: dirty.then(|| place(term, end + W)),
        blank: false,
        snapshots: Vec::new(),
        breaks: Vec::new(),
        terms,
        configuration: 0,
        members: (0..3).map(seat).collect(),
        received: m,
        durable: k,
        unsynced_max: W,
        batch_max: 100,
        held: None,
    }
}

const DISK_RAM: (u32, u32) = (2, 1);
const TWO_DISKS: (u32, u32) = (2, 2);
const RAM: (u32, u32) = (2, 0);
const ONE: &[(u64, u64)] = &[(0, 1), (5, 3)];

#[track_caller]
fn check(nodes: &[Evidence], wins: bool, loss: Loss) {
    let best = best(nodes).unwrap();
    let verdict = judge(best, nodes);
    assert_eq!((verdict.wins, verdict.loss), (wins, loss), "{verdict:?}");
    assert_eq!(verdict.unmet.is_some(), !wins);
}

fn at_most(batches: u64) -> Loss {
    Loss::AtMost { batches, bytes: 100 * batches }
}

#[test]
fn who_can_be_elected_and_what_is_lost_otherwise() {
    let dirty = |id, policy, end| node(id, policy, ONE, end, true);
    // After power loss everywhere all three are needed, or two where both copies are synced.
    check(&[dirty(0, DISK_RAM, 50), dirty(1, DISK_RAM, 60), dirty(2, DISK_RAM, 55)], true, at_most(W - 5));
    check(&[dirty(0, DISK_RAM, 50), dirty(1, DISK_RAM, 60)], false, at_most(W));
    check(&[dirty(0, TWO_DISKS, 50), dirty(1, TWO_DISKS, 60)], true, at_most(W));
    check(&[dirty(0, RAM, 50), dirty(1, RAM, 60), dirty(2, RAM, 55)], false, at_most(W - 5));
    // One that lost nothing had half of what was received.
    let clean = node(0, RAM, ONE, 60, false);
    check(&[clean.clone(), dirty(1, RAM, 50), dirty(2, RAM, 55)], false, at_most(W - 10));
    check(&[clean, node(1, RAM, ONE, 50, false), dirty(2, RAM, 55)], true, at_most(0));
    // Two that are not here may have acknowledged anything.
    check(&[dirty(0, DISK_RAM, 50)], false, Loss::Unbounded { missing: 2 });
    let mut damaged = dirty(1, DISK_RAM, 90);
    damaged.fault = Some("batch 9 was synced and is damaged".to_owned());
    check(&[dirty(0, DISK_RAM, 50), damaged.clone()], false, Loss::Unbounded { missing: 2 });
    check(&[dirty(0, DISK_RAM, 50), damaged, node(2, DISK_RAM, ONE, 50, false)], false, at_most(W));
}

#[test]
fn logs_that_part_are_counted_from_where_they_do() {
    // Node 0 was left alone with batches of term 5; node 1 went on in term 7 and lost power.
    let old = node(0, RAM, &[(0, 1), (5, 3)], 80, false);
    let new = node(1, RAM, &[(0, 1), (5, 3), (7, 21)], 30, true);
    let verdict = judge(&old, &[old.clone(), new.clone()]);
    assert_eq!(verdict.loss, at_most(30 + W - 20));
    assert_eq!(verdict.votes[1].grant, Grant::No);
    assert!(verdict.votes[1].why.contains("R3"), "{:?}", verdict.votes);
    assert_eq!(best(&[old, new]).unwrap().node, 1);
}

#[test]
fn a_lineage_that_is_known_must_be_in_the_log() {
    let broken = (2 << 32) + 7;
    let with = node(0, TWO_DISKS, &[(0, 1), (5, 3), (broken, 21)], 30, false);
    let mut heard = node(1, TWO_DISKS, ONE, 50, false);
    (heard.term, heard.lineage) = (broken + 1, 3);
    let verdict = judge(&heard, &[heard.clone(), node(2, TWO_DISKS, ONE, 20, false)]);
    assert!(!verdict.wins && verdict.unmet.as_ref().unwrap().contains("R7"), "{verdict:?}");
    assert!(judge(&with, &[with.clone(), heard]).wins);
}

#[test]
fn the_plan_says_what_to_type() {
    let dirty = |id, end| node(id, RAM, ONE, end, true);
    let nodes = [dirty(0, 50), dirty(2, 55)];
    let said = plan(&nodes);
    assert_eq!(
        said.force.as_deref(),
        Some("ordain recover --force --node node-2 --i-accept-loss-of 1024-batches node-0")
    );
    let text = describe(&said);
    assert!(
        text.contains("rule R4: of 2 votes 0 are strong; 2 strong ones are needed, or no number in all"),
        "{text}"
    );
    assert!(text.contains("node 1 for node 2: absent  its data are not at hand"), "{text}");
    let alone = plan(&nodes[..1]);
    assert_eq!(
        alone.force.as_deref(),
        Some(
            "ordain recover --force --node node-0 --i-accept-loss-of unknown --lost-for-good 1 --lost-for-good 2"
        )
    );
    // What one machine prints another reads.
    let json = serde_json::to_string(&said).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), json).unwrap();
    assert_eq!(Evidence::read(file.path()).unwrap(), nodes);
}

#[test]
fn a_loss_is_accepted_by_its_name() {
    let accepts = |loss: Loss, text: &str| loss.is_within(text);
    assert!(
        accepts(at_most(10), "10-batches")
            && accepts(at_most(10), "11-batches")
            && accepts(at_most(10), "unknown")
    );
    assert!(
        !accepts(at_most(10), "9-batches") && !accepts(at_most(10), "10") && !accepts(at_most(10), "all")
    );
    let unbounded = Loss::Unbounded { missing: 2 };
    assert!(accepts(unbounded, "unknown") && !accepts(unbounded, "999999999-batches"));
}
