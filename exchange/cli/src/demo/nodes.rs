//! The nodes of the demonstration: one, or a cluster.

use super::{SHOWN, say};
use crate::child::{ANY_PORT, ClusterSpec, OwnCluster, OwnNode};
use crate::error::{CliError, OrNext, Result};
use ordain_client::ClientConfig;
use ordain_client::blocking::Client;
use ordain_exchange_protocol::{BookLevelsQuery, IntoBytes};
use ordain_exchange_server::SCHEMA;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a follower may take to lead, on a machine that has much else to do.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(1);

/// See the module.
pub enum Nodes {
    One { node: Option<OwnNode>, data: PathBuf },
    Several { cluster: OwnCluster, dead: Option<usize> },
}

/// Per record of the log, since the node that leads started.
pub struct Costs {
    pub bytes: f64,
    pub syncs: f64,
}

impl Costs {
    fn of(node: &OwnNode) -> Self {
        let records = node.metric("ordain_log_records_total").max(1.0);
        Self {
            bytes: node.metric("ordain_journal_bytes_total") / records,
            syncs: node.metric("ordain_journal_syncs_total") / records,
        }
    }
}

/// The data directories below the demonstration's folder.
pub fn data(folder: &Path, count: usize) -> Vec<PathBuf> {
    let data = folder.join("data");
    if count == 1 { vec![data] } else { (0..count).map(|node| data.join(format!("node-{node}"))).collect() }
}

impl Nodes {
    /// Starts them, and says which they are.
    pub fn start(folder: &Path, count: usize) -> Result<Self> {
        let folder = folder.join("data");
        if count == 1 {
            let node = OwnNode::start(&folder, ANY_PORT)?;
            say(&format!(
                "node      process {} on {}, data in {}",
                node.pid(),
                node.address(),
                folder.display()
            ));
            return Ok(Self::One { node: Some(node), data: folder });
        }
        // That a node cannot be reached is what is to be seen; the table says it.
        let arguments = ["--log-level", "error"].map(str::to_owned).to_vec();
        let cluster = OwnCluster::start(&folder, ClusterSpec { count, arguments, ..ClusterSpec::default() })?;
        let leader = cluster.leader()?;
        for number in 0..count {
            let node = cluster.node(number).expect("all were started");
            let role = if number == leader { "leads" } else { "follows" };
            say(&format!(
                "node {number}    process {} on {}, data in {}, {role}",
                node.pid(),
                node.address(),
                cluster.data(number).display()
            ));
        }
        Ok(Self::Several { cluster, dead: None })
    }

    /// Addresses for clients, and the key that may do everything.
    pub fn connect(&self) -> (String, PathBuf) {
        match self {
            Self::One { node, .. } => {
                let node = node.as_ref().expect("it is away within `strike` only");
                (node.address().to_string(), node.operator_key())
            }
            Self::Several { cluster, .. } => (cluster.clients(), cluster.operator_key()),
        }
    }

    /// How the operator connects.
    pub fn operator(&self) -> Result<ClientConfig> {
        match self {
            Self::One { node, .. } => node.as_ref().expect("it is away within `strike` only").operator(),
            Self::Several { cluster, .. } => cluster.operator(),
        }
    }

    /// Who leads, if anybody does.
    pub fn leader(&self) -> Option<usize> {
        match self {
            Self::One { .. } => Some(0),
            Self::Several { cluster, .. } => cluster.leads(),
        }
    }

    /// Kills the node that leads. A lone one is started again; in a cluster, another one takes over.
    pub fn strike(&mut self) -> Result<()> {
        match self {
            Self::One { node, data } => {
                let restarted = kill_and_restart(node.take().expect("put back below"), data)?;
                *node = Some(restarted);
                Ok(())
            }
            Self::Several { cluster, dead } => {
                let leader = cluster.leader()?;
                let pid = cluster.node(leader).map_or(0, OwnNode::pid);
                let begin = Instant::now();
                cluster.kill(leader)?;
                *dead = Some(leader);
                say(&format!(
                    "  ---- node {leader}, which leads, process {pid}, killed with SIGKILL under load ----"
                ));
                cluster.bury(leader);
                let next = loop {
                    match cluster.leads() {
                        Some(next) => break next,
                        None if begin.elapsed() < PATIENCE => std::thread::sleep(LOOK),
                        None => return Err(CliError::new("nobody takes over", "The nodes' log says why.")),
                    }
                };
                say(&format!(
                    "  ---- node {next} has taken over, {} ms after the kill ----",
                    begin.elapsed().as_millis()
                ));
                Ok(())
            }
        }
    }

    /// Starts a dead node of a cluster again, and waits until it has what the others have.
    pub fn revive(&mut self) -> Result<()> {
        let Self::Several { cluster, dead } = self else { return Ok(()) };
        let Some(node) = dead.take() else { return Ok(()) };
        let begin = Instant::now();
        cluster.restart(node)?;
        let pid = cluster.node(node).map_or(0, OwnNode::pid);
        say(&format!("  ---- node {node} is started again, process {pid} ----"));
        cluster.leader()?;
        say(&format!(
            "  ---- node {node} is connected and has caught up, {} ms after its start ----",
            begin.elapsed().as_millis()
        ));
        Ok(())
    }

    /// Stops them in order, when all have everything.
    pub fn stop(self) -> Result<Costs> {
        match self {
            Self::One { node, .. } => {
                let node = node.expect("it is away within `strike` only");
                let costs = Costs::of(&node);
                node.stop().map(|()| costs)
            }
            Self::Several { cluster, .. } => {
                let leader = cluster.settle()?;
                let costs = Costs::of(cluster.node(leader).expect("it leads"));
                cluster.stop().map(|()| costs)
            }
        }
    }

    /// Stops them at once, however they are.
    pub fn stop_anyhow(self) {
        // They may have heard the interrupt too, and then this cuts their graceful stop short.
        let _ = match self {
            Self::One { node, .. } => node.map_or(Ok(()), OwnNode::stop),
            Self::Several { cluster, .. } => cluster.stop(),
        };
    }
}

fn kill_and_restart(node: OwnNode, data: &Path) -> Result<OwnNode> {
    let (address, pid) = (node.address(), node.pid());
    let start = Instant::now();
    node.kill();
    say(&format!("  ---- process {pid} killed with SIGKILL under load; starting the node again ----"));
    let node = OwnNode::start(data, address)?;
    let mut client = Client::connect(&node.operator()?)
        .or_next("the node does not serve after its restart", "Its log on standard error says why.")?;
    let _ = client.query(SCHEMA, BookLevelsQuery::new(SHOWN, 1).as_bytes());
    say(&format!(
        "  ---- process {} has recovered and answers, {} ms after the kill ----",
        node.pid(),
        start.elapsed().as_millis()
    ));
    Ok(node)
}
