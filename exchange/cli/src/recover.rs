//! `ordain recover --plan|--force`: where only an operator can go on (rule R7 of `docs/relaxed-acks.md`).

mod evidence;
mod force;
#[cfg(test)]
mod tests;
mod verdict;

use crate::error::{CliError, Result};
use clap::Args;
use evidence::Evidence;
use serde::Serialize;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use verdict::{Grant, Loss, Verdict};

/// With --plan: says what stopped nodes hold, whether an election among them can succeed, and if not, which rule forbids
/// it, which log is the best to go on with and what might be lost. Changes nothing.
///
/// With --force: declares a loss on one stopped node. Its log goes on in a new lineage, without an election that would
/// have to prove that nothing is lost; clients that hold acknowledgements of the old one are told. Every other node must
/// be stopped until that is done.
#[derive(Debug, Args)]
pub struct RecoverArgs {
    /// Say what there is and what can be done; nothing is written
    #[arg(long, conflicts_with = "force", required_unless_present = "force")]
    plan: bool,
    /// Declare a loss, on the node of --node
    #[arg(long, requires_all = ["node", "i_accept_loss_of"])]
    force: bool,
    /// Data directory of the node whose log goes on
    #[arg(long, value_name = "DIR", requires = "force")]
    node: Option<PathBuf>,
    /// Acknowledged batches that may be lost, as --plan says it: 1024-batches, or unknown
    #[arg(long, value_name = "LOSS", requires = "force")]
    i_accept_loss_of: Option<String>,
    /// A member that will never come back; once for each. The members that are left go on without it
    #[arg(long, value_name = "NUMBER", requires = "force")]
    lost_for_good: Vec<u32>,
    /// For --plan: print JSON, which --plan and --force on another machine read in place of a data directory
    #[arg(long, conflicts_with = "force")]
    json: bool,
    /// Data directories of stopped nodes, or files that --plan --json wrote; as many as there are
    #[arg(value_name = "DIR")]
    nodes: Vec<PathBuf>,
}

/// What `--plan --json` prints.
#[derive(Debug, Serialize)]
struct Plan<'a> {
    nodes: &'a [Evidence],
    best: Option<u32>,
    /// For each node that can start.
    verdicts: Vec<Verdict>,
    /// What to type where no election can succeed.
    force: Option<String>,
}

pub fn run(args: &RecoverArgs) -> Result<ExitCode> {
    let mut nodes = Vec::new();
    for path in args.node.iter().chain(&args.nodes) {
        nodes.append(&mut Evidence::read(path)?);
    }
    check(&nodes)?;
    if let (Some(dir), Some(accepted)) = (&args.node, &args.i_accept_loss_of) {
        return force::run(dir, accepted, &args.lost_for_good, &nodes);
    }
    let plan = plan(&nodes);
    if args.json {
        println!("{}", serde_json::to_string(&plan).expect("numbers and text are JSON"));
    } else {
        print!("{}", describe(&plan));
    }
    let can_go_on = plan.verdicts.iter().any(|verdict| verdict.wins);
    Ok(if can_go_on { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn check(nodes: &[Evidence]) -> Result<()> {
    let next = "Name each node of one cluster once.";
    let Some(first) = nodes.first() else {
        return Err(CliError::new("there is nothing to look at", "Name data directories of stopped nodes."));
    };
    for (at, node) in nodes.iter().enumerate() {
        if node.cluster != first.cluster {
            let (one, other) = (&first.source, &node.source);
            return Err(CliError::new(format!("{one} and {other} are of different clusters"), next));
        }
        if let Some(same) = nodes[..at].iter().find(|other| other.node == node.node) {
            let (one, other) = (&same.source, &node.source);
            return Err(CliError::new(format!("{one} and {other} are both of node {}", node.node), next));
        }
    }
    Ok(())
}

fn plan(nodes: &[Evidence]) -> Plan<'_> {
    let able = nodes.iter().filter(|node| node.fault.is_none());
    let verdicts: Vec<_> = able.map(|node| verdict::judge(node, nodes)).collect();
    let best = verdict::best(nodes);
    let can_go_on = verdicts.iter().any(|verdict| verdict.wins);
    let force = best.filter(|_| !can_go_on).map(|best| {
        let verdict = verdicts.iter().find(|verdict| verdict.node == best.node).expect("it can start");
        let mut command = format!(
            "ordain recover --force --node {} --i-accept-loss-of {}",
            best.source,
            verdict.loss.name()
        );
        let absent: Vec<_> = verdict.votes.iter().filter(|vote| vote.grant == Grant::Absent).collect();
        if verdict.votes.len() - absent.len() < verdict.votes.len() / 2 + 1 {
            absent.iter().for_each(|vote| write!(command, " --lost-for-good {}", vote.node).expect("text"));
        }
        nodes
            .iter()
            .filter(|node| node.node != best.node)
            .for_each(|node| write!(command, " {}", node.source).expect("text"));
        command
    });
    Plan { nodes, best: best.map(|best| best.node), verdicts, force }
}

fn describe(plan: &Plan<'_>) -> String {
    let mut text = String::new();
    macro_rules! say {
        ($($part:tt)*) => { writeln!(text, $($part)*).expect("writing to a string cannot fail") };
    }
    for node in plan.nodes {
        say!("node {}     {}", node.node, node.source);
        if let Some(fault) = &node.fault {
            say!("  cannot start: {fault}");
        }
        say!(
            "  log         {}, {} bytes, from batch {}; synced up to {} at least; committed up to {} at least",
            node.end,
            node.bytes,
            node.first_batch,
            node.watermark,
            node.committed_at_least
        );
        let voted = node.voted_for.map_or_else(|| "nobody".to_owned(), |node| format!("node {node}"));
        say!(
            "  promised    term {}, voted for {voted}, acknowledged in term {}; started {} times",
            node.term,
            node.ack_term,
            node.starts
        );
        match node.floor {
            None => say!("  whole       it has everything that it acknowledged"),
            Some(floor) => say!("  dirty       it may have acknowledged up to {floor} (rule R2)"),
        }
        let snapshots: Vec<_> = node.snapshots.iter().map(|snapshot| snapshot.position.to_string()).collect();
        say!(
            "  lineage     {}, its log's {}; snapshots at {}",
            node.lineage,
            node.log_lineage,
            if snapshots.is_empty() { "none".to_owned() } else { snapshots.join(", ") }
        );
        for (lineage, batch) in &node.breaks {
            say!("  declared    lineage {lineage} began by a declared loss with batch {batch}");
        }
        let voters: Vec<_> =
            node.members.iter().filter(|seat| seat.votes).map(|seat| seat.node.to_string()).collect();
        say!(
            "  cluster     configuration {}, voters {}; an answer waits for {} copies, {} of them synced; W = {}",
            node.configuration,
            voters.join(" "),
            node.received,
            node.durable,
            node.unsynced_max
        );
    }
    if let Some(verdict) = plan.verdicts.iter().find(|verdict| verdict.wins) {
        say!(
            "\nan election can succeed: node {} would win. Start all nodes; nothing needs to be declared lost, and nothing \
             that was acknowledged is.",
            verdict.node
        );
        return text;
    }
    say!("\nno election among these nodes can succeed.");
    let Some(best) = plan.best else {
        say!("None of them can start. Restore one from a back-up (docs/operate/backup.md).");
        return text;
    };
    let verdict = plan.verdicts.iter().find(|verdict| verdict.node == best).expect("the best can start");
    say!("  unmet       {}", verdict.unmet.as_deref().unwrap_or_default());
    for vote in &verdict.votes {
        let grant = match vote.grant {
            Grant::Strong => "strong",
            Grant::Weak => "weak",
            Grant::No => "no",
            Grant::Absent => "absent",
        };
        say!("  node {} for node {best}: {grant:7} {}", vote.node, vote.why);
    }
    if verdict.votes.iter().any(|vote| vote.grant == Grant::Absent) {
        say!("If a node that is absent can be brought back, do that first, and make this plan again.");
    }
    match verdict.loss {
        Loss::AtMost { batches: 0, .. } => {
            say!(
                "\nthe best log is node {best}'s. By what is here, it holds everything that was acknowledged."
            );
        }
        Loss::AtMost { batches, bytes } => say!(
            "\nthe best log is node {best}'s. By what is here, at most {batches} acknowledged batches ({bytes} bytes) are \
             not in it."
        ),
        Loss::Unbounded { missing } => say!(
            "\nthe best log is node {best}'s. {missing} voters are not here, and they alone may hold what was \
             acknowledged: there is no bound to what is lost."
        ),
    }
    if let Some(force) = &plan.force {
        say!(
            "With every other node stopped, this goes on with it, in a new lineage:\n\n  {force}\n\nThen start the nodes. \
             Clients are told that the lineage changed. A node whose log goes on where this one does not keeps its files \
             aside and joins empty."
        );
    }
    text
}
