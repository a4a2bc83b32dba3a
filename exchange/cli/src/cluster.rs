//! `ordain cluster`: the data directories of a new cluster, and how a running one is; changing it is in `steer`.

use crate::child::{self, Metrics};
use crate::error::{CliError, OrNext, Result};
use crate::steer;
use clap::{Args, Subcommand};
use ordain_host::config::ServerConfig;
use ordain_host::members::{self, Members};
use ordain_host::{clock, keys};
use ordain_types::{ClusterFacts, ClusterId, members::Member};
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Where a node of the defaults tells its numbers.
const OPS: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 7401));

/// The settings that are facts of a cluster and may be named when it is made.
const FACTS: [&str; 11] = [
    "durability",
    "unsynced-max",
    "segment-size",
    "batch-max",
    "payload-max",
    "sessions-max",
    "sessions-per-key",
    "window",
    "reply-max",
    "session-timeout",
    "step-outputs-max",
];

#[derive(Debug, Subcommand)]
pub enum ClusterCommand {
    /// Make the data directories of a new cluster, one for each node
    Init(Init),
    /// Say how a running cluster is: with an operator's key, who its members are, who leads and who answers; with a node's
    /// operations address, how far the others are as that node sees it
    Status(Status),
    /// Make the data directory of a new node, and add it as a learner, which gets the log and counts for nothing
    Add(steer::Add),
    /// Make a learner a voter
    Promote(steer::OfNode),
    /// Remove a member, dead or alive
    Remove(steer::OfNode),
    /// Let another voter lead
    Transfer(steer::Transfer),
    /// Choose the copies that must exist before a client is answered
    AckPolicy(steer::AckPolicy),
    /// Choose W: how many batches a node may hold un-synced and still count as received
    UnsyncedMax(steer::UnsyncedMax),
    /// Let a level of the application's behaviour begin, when all nodes run a build that has it
    Level(steer::Level),
}

/// Makes DIR/node-0, DIR/node-1 and so on: the same facts and members in each, and a key for each node. Copy each to
/// its machine; `ordain node --data` then needs nothing else. DIR/operator.key may do everything; no node needs it.
#[derive(Debug, Args)]
pub struct Init {
    /// Folder for the data directories
    #[arg(long)]
    dir: PathBuf,
    /// Addresses of a node, for the other nodes and for clients: HOST:PORT,HOST:PORT; once for each of 1, 3 or 5
    /// nodes
    #[arg(long, value_name = "PEER,CLIENT", required = true, value_parser = member)]
    member: Vec<(String, String)>,
    /// A fact of the cluster other than its default, as `ordain node --help` names and explains it; repeatable
    #[arg(long, value_name = "NAME=VALUE", value_parser = fact)]
    fact: Vec<(String, String)>,
}

#[derive(Debug, Args)]
pub struct Status {
    /// Operations address of a node, as its file `address` says it; needs no key [default: 127.0.0.1:7401, unless
    /// --connect is given]
    #[arg(conflicts_with_all = ["connect", "json"])]
    node: Option<SocketAddr>,
    #[command(flatten)]
    operator: steer::Operator,
}

/// Reads the addresses of a member on the command line.
pub fn member(text: &str) -> std::result::Result<(String, String), String> {
    let (peer, client) = text.split_once(',').ok_or("two addresses are HOST:PORT,HOST:PORT")?;
    Ok((peer.trim().to_owned(), client.trim().to_owned()))
}

/// Reads a fact of a cluster on the command line.
pub fn fact(text: &str) -> std::result::Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("a fact is NAME=VALUE")?;
    let (name, value) = (name.trim(), value.trim());
    if !FACTS.contains(&name) {
        return Err(format!("facts are {}", FACTS.join(", ")));
    }
    Ok((name.to_owned(), value.to_owned()))
}

pub fn run(command: &ClusterCommand) -> Result<ExitCode> {
    match command {
        ClusterCommand::Init(init) => {
            let (facts, members) = create(&init.dir, &init.member, &init.fact)?;
            print!("{}", instructions(&init.dir, &facts, &members));
        }
        ClusterCommand::Status(status) if status.operator.is_named() => {
            return steer::status(&status.operator);
        }
        ClusterCommand::Add(add) => return steer::add(add),
        ClusterCommand::Promote(of) => return steer::promote(of),
        ClusterCommand::Remove(of) => return steer::remove(of),
        ClusterCommand::Transfer(transfer) => return steer::transfer(transfer),
        ClusterCommand::AckPolicy(policy) => return steer::ack_policy(policy),
        ClusterCommand::UnsyncedMax(of) => return steer::unsynced_max(of),
        ClusterCommand::Level(of) => return steer::level(of),
        ClusterCommand::Status(status) => {
            let node = status.node.unwrap_or(OPS);
            let next = "Give the operations address of a running node: the line `ops` of the file `address` in its \
                        data directory.";
            let metrics = child::metrics(node).or_next("the node does not answer", next)?;
            print!("{}", describe(&metrics));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Makes the data directories of a cluster with these addresses and facts.
pub fn create(
    dir: &Path,
    addresses: &[(String, String)],
    named: &[(String, String)],
) -> Result<(ClusterFacts, Members)> {
    let next = "Mend the command; `ordain cluster init --help` explains it.";
    if ![1, 3, 5].contains(&addresses.len()) {
        return Err(CliError::new(format!("a cluster of {} nodes is not made", addresses.len()), {
            "Give 1, 3 or 5 members: an even number bears no more failures than one less."
        }));
    }
    let mut settings = format!("voters = {}\n", addresses.len());
    for (name, value) in named {
        let quote = if value.parse::<u64>().is_ok() { "" } else { "\"" };
        writeln!(settings, "{name} = {quote}{value}{quote}").expect("writing to a string cannot fail");
    }
    let config = ServerConfig::from_toml(&settings).and_then(ServerConfig::validate);
    let config = config.or_next("the facts cannot be used", next)?;
    let random = keys::random().or_next("no identity can be drawn", "Check /dev/urandom.")?;
    let cluster = ClusterId(random[..16].try_into().expect("16 of 32 bytes"));
    let facts = ClusterFacts::new(cluster, clock::now().wall, addresses.len() as u32);
    let facts = config.with_given(&facts);
    let draft: Vec<_> = (0..)
        .zip(addresses)
        .map(|(id, (peer, client))| Member {
            id: ordain_types::NodeId(id),
            peer: peer.clone(),
            client: client.clone(),
            key: [id as u8; 32],
        })
        .collect();
    ordain_types::members::check(&draft).or_next("the members cannot be used", next)?;
    let members = members::create(dir, &facts, addresses).or_next("the cluster cannot be made", next)?;
    Ok((facts, members))
}

fn instructions(dir: &Path, facts: &ClusterFacts, members: &Members) -> String {
    let dir = dir.display();
    let policy = facts.policy;
    let mut text = format!(
        "cluster {}: {} nodes, answers leave with {} copies, {} of them synced\n\n",
        facts.cluster,
        members.all.len(),
        policy.received,
        policy.durable
    );
    for Member { id, peer, client, .. } in &members.all {
        writeln!(text, "node {id}    {dir}/node-{id}    nodes {peer}    clients {client}")
            .expect("writing to a string cannot fail");
    }
    let clients: Vec<_> = members.all.iter().map(|member| member.client.as_str()).collect();
    text + &format!(
        "\nnext:\n  1. Copy each folder to the machine of its node, where only its user can read it, and remove it here:\n     \
         it holds the node's secret key. Two nodes never share one.\n  \
         2. Start each node:  ordain node --data node-N\n  \
         3. Look at them:     ordain cluster status   (on a node's machine)\n  \
         4. Keep {dir}/operator.key where you administer the cluster. No node needs it.\n     \
         Clients connect to {}\n",
        clients.join(",")
    )
}

/// What a node's numbers say, for people.
fn describe(metrics: &Metrics) -> String {
    let number = |name: &str| metrics.get(name).unwrap_or(0.0) as u64;
    let term = number("ordain_term");
    let role = match (number("ordain_role"), number("ordain_leader")) {
        (3, _) => format!("leads term {term}"),
        (0, 0) => format!("knows no leader, term {term}"),
        (0, leader) => format!("follows node {} in term {term}", leader - 1),
        _ => format!("asks for an election, term {term}"),
    };
    let (last, committed) = (number("ordain_last_batch"), number("ordain_committed_batch"));
    let (damaged, lost) = (number("ordain_segments_damaged"), number("ordain_segments_lost"));
    let mut text = format!(
        "this node  {role}\nlog        last batch {last}, committed {committed}\nelections  {} asked for, {} won\n",
        number("ordain_elections_total"),
        number("ordain_elections_won_total"),
    );
    writeln!(
        text,
        "segments   {damaged} damaged, {lost} of them cannot be mended for now; {} mended, checked {} times, now up to \
         position {}",
        number("ordain_segments_mended_total"),
        number("ordain_scrub_passes_total"),
        number("ordain_scrub_position"),
    )
    .expect("writing to a string cannot fail");
    for (peer, up) in metrics.labelled("ordain_peer_up", "peer") {
        let of = |name| {
            metrics.labelled(name, "peer").find(|(other, _)| *other == peer).map_or(0, |(_, at)| at as u64)
        };
        let state = if up == 1.0 { "connected" } else { "not connected" };
        let behind = |batch: u64| last.saturating_sub(batch);
        let (received, durable) = (of("ordain_peer_received_batch"), of("ordain_peer_durable_batch"));
        // Only a leader knows how far the others are, and only of those it hears.
        if number("ordain_role") == 3 && up == 1.0 {
            writeln!(
                text,
                "node {peer}     {state}, received {received} ({} behind), synced {durable} ({} behind)",
                behind(received),
                behind(durable)
            )
        } else {
            writeln!(text, "node {peer}     {state}")
        }
        .expect("writing to a string cannot fail");
    }
    text
}
