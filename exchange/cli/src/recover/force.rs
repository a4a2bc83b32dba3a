//! Declares a loss on a stopped node.

use super::evidence::Evidence;
use super::verdict::{self, Loss};
use crate::error::{CliError, OrNext, Result};
use core::task::Poll;
use ordain_apply::{Progress, Restore};
use ordain_exchange_server::{ExchangeDecoder, ExchangeEncoder, ExchangeFactory};
use ordain_host::disk::{DataDir, FileDisk};
use ordain_host::doorbell::Doorbell;
use ordain_host::{aside, clock, facts, keys, members};
use ordain_journal::{Declaration, Force, Forced, OsBoot, Recovered, Recovery};
use ordain_types::configuration::{Configuration, Stage};
use ordain_types::facts::AckPolicy;
use ordain_types::lineage::{LineageBreak, Tip, UNBOUNDED};
use ordain_types::{BatchIndex, ClusterFacts, Lineage, NodeId, Term};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

const AGAIN: &str = "Mend that, and run the same command again: what was begun is finished or done anew.";

pub fn run(dir: &Path, accepted: &str, lost: &[u32], nodes: &[Evidence]) -> Result<ExitCode> {
    // The first is that of --node.
    let node = &nodes[0];
    if let Some(fault) = &node.fault {
        return Err(CliError::new(
            format!("node {} cannot start, so its log cannot go on: {fault}", node.node),
            "Choose another node: `ordain recover --plan` names the best.",
        ));
    }
    let verdict = verdict::judge(node, nodes);
    if let Some(winner) = super::plan(nodes).verdicts.iter().find(|verdict| verdict.wins) {
        return Err(CliError::new(
            format!("an election among these nodes can succeed: node {} would win", winner.node),
            "Start the nodes. Nothing needs to be declared lost.",
        ));
    }
    if !verdict.loss.is_within(accepted) {
        let said = match verdict.loss {
            Loss::AtMost { batches, bytes } => {
                format!(
                    "going on with node {} may lose up to {batches} acknowledged batches ({bytes} bytes)",
                    node.node
                )
            }
            Loss::Unbounded { missing } => format!(
                "{missing} voters are not here, and they alone may hold what was acknowledged: there is no bound to what \
                 is lost"
            ),
        };
        let next = format!("If that is to be so, say --i-accept-loss-of {}", verdict.loss.name());
        return Err(CliError::new(format!("{said}, and {accepted} was accepted"), next));
    }
    let held = DataDir::open(dir).or_next("the data directory cannot be used", AGAIN)?;
    aside::finish(&held).or_next("an earlier move of the log cannot be finished", AGAIN)?;
    let facts = facts::read(dir).or_next("the cluster facts cannot be read", AGAIN)?;
    let declaration = declaration(dir, &facts, lost, verdict.loss, nodes)?;
    let forced = write(&held, &facts, &declaration)?;
    let end = declaration.text.tips.first().map_or(0, |tip| tip.index.get());
    println!(
        "lineage {} of the cluster begins with batch {} on node {}, behind batch {end}",
        forced.lineage, forced.index, node.node
    );
    println!("accepted: {accepted} may be lost");
    println!(
        "next: start this node and the others. Clients are told that the lineage changed; a node whose log goes on where \
         this one does not keeps its files in a folder lineage-* and joins empty."
    );
    Ok(ExitCode::SUCCESS)
}

fn declaration(
    dir: &Path,
    facts: &ClusterFacts,
    lost: &[u32],
    loss: Loss,
    nodes: &[Evidence],
) -> Result<Declaration> {
    let random = keys::random().or_next("no random number can be drawn", "Check /dev/urandom.")?;
    let tip = |node: &Evidence| {
        let floor = node.floor.map_or((0, 0), |floor| (floor.term, floor.batch));
        Tip {
            node: node.node.into(),
            owes: u32::from(node.floor.is_some()).into(),
            term: node.end.term.into(),
            index: node.end.batch.into(),
            floor_term: floor.0.into(),
            floor_index: floor.1.into(),
        }
    };
    let (batches, bytes) = match loss {
        Loss::AtMost { batches, bytes } => (batches, bytes),
        Loss::Unbounded { .. } => (UNBOUNDED, UNBOUNDED),
    };
    let text = LineageBreak {
        lineage: Lineage::ZERO,
        node: NodeId(nodes[0].node),
        end: (Term(nodes[0].end.term), BatchIndex(nodes[0].end.batch)),
        batches,
        bytes,
        tips: nodes.iter().map(tip).collect(),
    };
    let others = match lost.is_empty() {
        true => Vec::new(),
        false => vec![without(dir, facts, lost, nodes)?],
    };
    let seen = nodes.iter().map(|node| Lineage(node.lineage.max(node.log_lineage))).max();
    Ok(Declaration {
        text,
        others,
        seen: seen.unwrap_or(Lineage::FIRST),
        salt: u64::from_le_bytes(random[..8].try_into().expect("eight of 32 bytes")),
        wall: clock::now().wall,
    })
}

/// The configuration of those that are left.
fn without(dir: &Path, facts: &ClusterFacts, lost: &[u32], nodes: &[Evidence]) -> Result<Vec<u8>> {
    let next = "See `ordain recover --plan` for the members.";
    let members = members::read(dir, facts).or_next("the members cannot be read", AGAIN)?;
    let all = members.map(|members| members.all).unwrap_or_default();
    let mut last = nodes[0].held.clone().unwrap_or_else(|| Configuration::initial(facts, &all));
    for id in lost {
        if last.find(NodeId(*id)).is_none() {
            return Err(CliError::new(format!("node {id} is no member"), next));
        }
        if *id == nodes[0].node {
            return Err(CliError::new(format!("node {id} is the one whose log is to go on"), next));
        }
        last.members.retain(|seat| seat.member.id.0 != *id);
    }
    let voters = last.voter_count();
    let most = voters / 2 + 1;
    let received = last.policy.received.min(most);
    // A lone voter that did not sync could not come back.
    let durable = if voters == 1 { 1 } else { last.policy.durable.min(received) };
    last.policy = AckPolicy { received, durable };
    last.version += 1;
    last.stage = Stage::Settled;
    last.check().or_next("those that are left are no cluster", next)?;
    let mut body = Vec::new();
    last.encode(&mut body);
    Ok(body)
}

/// Recovers the journal as a start does, and writes the declaration behind it.
fn write(dir: &DataDir, facts: &ClusterFacts, declaration: &Declaration) -> Result<Forced> {
    let bell = Doorbell::new().or_next("a doorbell cannot be made", AGAIN)?;
    let mut lane = dir.lane("recovery", 2, bell.clone()).or_next("a disk lane cannot be made", AGAIN)?;
    let wait = || {
        bell.announce();
        bell.wait(Duration::from_micros(200));
    };
    let factory = ExchangeFactory::default();
    let mut restore = Restore::new(facts, ExchangeDecoder, ExchangeEncoder);
    let restored = loop {
        match restore.step(&factory, &mut lane).or_next("the snapshots cannot be read", AGAIN)? {
            Progress::Done(restored) => break restored,
            Progress::Waiting => wait(),
            Progress::Working => {}
        }
    };
    let recovery = Recovery::new(facts, OsBoot::default(), lane);
    let mut recovery = match restored {
        Some(restored) => recovery.behind(restored.anchor),
        None => recovery,
    };
    let recovered: Recovered = loop {
        match recovery.step() {
            Poll::Ready(recovered) => break recovered.or_next("the journal cannot be used", AGAIN)?,
            Poll::Pending => wait(),
        }
    };
    let lane: FileDisk = recovery.into_disk();
    let mut force = Force::new(facts, &recovered, declaration, lane);
    loop {
        match force.step() {
            Poll::Ready(forced) => return forced.or_next("the declaration cannot be written", AGAIN),
            Poll::Pending => wait(),
        }
    }
}
