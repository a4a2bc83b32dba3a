//! Nodes of our own: this program as child processes.

use crate::cluster;
use crate::error::{CliError, OrNext, Result};
use ordain_client::{ClientConfig, CoreConfig, Member};
use ordain_host::address;
use ordain_host::keys::{self, FOLDER, OPERATOR};
use ordain_host::members::Members;
use ordain_keys::PublicKey;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long a start may take: recovery of a demonstration's journal takes a second or two.
const START_TIMEOUT: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(1);
const SEE_LOG: &str = "Its log on standard error says why.";

/// An address of this machine whose port the system chooses.
pub const ANY_PORT: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0));

/// A directory that goes when the command is done.
pub fn temporary() -> Result<tempfile::TempDir> {
    tempfile::Builder::new()
        .prefix("ordain-")
        .tempdir()
        .or_next("no temporary directory can be made", "Let TMPDIR name a folder that you may write to.")
}

/// A node that runs as long as this lives. Dropped, it is killed.
#[derive(Debug)]
pub struct OwnNode {
    child: Child,
    data: PathBuf,
    address: SocketAddr,
    ops: Option<SocketAddr>,
}

impl OwnNode {
    /// Starts a node on `data` and waits until clients can connect. `listen` is `127.0.0.1:0` for a port that
    /// the system chooses.
    pub fn start(data: &Path, listen: SocketAddr) -> Result<Self> {
        Self::start_with(data, listen, &[])
    }

    /// As [`OwnNode::start`], with further arguments for the node.
    pub fn start_with(data: &Path, listen: SocketAddr, arguments: &[String]) -> Result<Self> {
        let listen = ["--listen".to_owned(), listen.to_string()];
        Launch::of(data, &[&listen, arguments].concat()).spawn()?.ready()
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The file of its operator's key, which may do everything.
    pub fn operator_key(&self) -> PathBuf {
        self.data.join(FOLDER).join(OPERATOR)
    }

    /// How its operator connects.
    pub fn operator(&self) -> Result<ClientConfig> {
        client(&self.address.to_string(), &self.operator_key())
    }

    /// A number from the node's metrics, 0 if it has none of that name.
    pub fn metric(&self, name: &str) -> f64 {
        let metrics = self.ops.and_then(|ops| metrics(ops).ok());
        metrics.and_then(|metrics| metrics.get(name)).unwrap_or(0.0)
    }

    /// Where it says its numbers.
    pub const fn ops(&self) -> Option<SocketAddr> {
        self.ops
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).or_next("the node cannot be sent a signal", "Report this.")
    }

    /// How it ended, if it did by itself.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().or_next("the node cannot be watched", "Report this.")
    }

    /// Kills it with SIGKILL, as a crash of the process would.
    pub fn kill(mut self) {
        end(&mut self.child);
    }

    /// Asks it to stop, and waits until it has.
    pub fn stop(self) -> Result<()> {
        self.signal(Signal::TERM)?;
        self.stopped()
    }

    /// Waits until one that was asked to stop has.
    fn stopped(mut self) -> Result<()> {
        let next = "Its log on standard error says why. The journal is kept; the next start recovers.";
        let status = self.child.wait().or_next("the node's end cannot be awaited", next)?;
        if status.success() {
            Ok(())
        } else {
            Err(CliError::new(format!("the node did not stop cleanly ({status})"), next))
        }
    }
}

impl Drop for OwnNode {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// How a node is started.
#[derive(Clone, Copy, Debug)]
pub struct Launch<'a> {
    /// Its data directory.
    pub data: &'a Path,
    /// What stands behind `ordain node` besides that.
    pub arguments: &'a [String],
    /// File that its log is added to; `None`: standard error.
    pub log: Option<&'a Path>,
    /// The network namespace that it lives in; `None`: this process's.
    pub namespace: Option<&'a str>,
}

impl<'a> Launch<'a> {
    /// A node on `data` beside this process.
    pub const fn of(data: &'a Path, arguments: &'a [String]) -> Self {
        Self { data, arguments, log: None, namespace: None }
    }

    /// Starts the node and does not wait for it.
    pub fn spawn(&self) -> Result<Starting> {
        let program = std::env::current_exe()
            .or_next("this program's own file is not known", "Start it by its whole path.")?;
        // What a killed node left behind is not this one's.
        let _ = std::fs::remove_file(self.data.join(address::FILE));
        let mut command = match self.namespace {
            None => Command::new(program),
            Some(namespace) => {
                // It becomes the program, under the same number.
                let mut command = Command::new("ip");
                command.args(["netns", "exec", namespace]).arg(program);
                command
            }
        };
        command.arg("node").arg("--data").arg(self.data);
        for default in [["--metrics", "127.0.0.1:0"], ["--log-level", "warn"]] {
            if !self.arguments.iter().any(|argument| argument == default[0]) {
                command.args(default);
            }
        }
        command.args(self.arguments);
        if let Some(log) = self.log {
            let file = File::options().create(true).append(true).open(log);
            command.stderr(file.or_next("a node's log cannot be opened", "Check the directory.")?);
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .or_next("the node cannot be started", "Raise the limit of processes (ulimit -u).")?;
        Ok(Starting { child: Some(child), data: self.data.to_owned() })
    }
}

/// A node that was started and may not be ready. Dropped, it is killed.
pub struct Starting {
    child: Option<Child>,
    data: PathBuf,
}

impl Starting {
    /// Waits until clients can connect.
    pub fn ready(mut self) -> Result<OwnNode> {
        let deadline = Instant::now() + START_TIMEOUT;
        while Instant::now() < deadline {
            if let Some(node) = self.look()? {
                return Ok(node);
            }
            std::thread::sleep(LOOK);
        }
        Err(CliError::new(format!("the node was not ready within {} s", START_TIMEOUT.as_secs()), SEE_LOG))
    }

    /// The node, once clients can connect. It is an error if it ended instead.
    pub fn look(&mut self) -> Result<Option<OwnNode>> {
        let Some(child) = &mut self.child else { return Ok(None) };
        let addresses = address::read(&self.data).or_next("the node's address cannot be read", SEE_LOG)?;
        if let Some(addresses) = addresses
            && let Some(tcp) = addresses.tcp.first()
        {
            let child = self.child.take().expect("it was there a moment ago");
            let data = std::mem::take(&mut self.data);
            return Ok(Some(OwnNode { child, data, address: *tcp, ops: addresses.ops }));
        }
        match child.try_wait().or_next("the node cannot be watched", SEE_LOG)? {
            None => Ok(None),
            Some(status) => {
                Err(CliError::new(format!("the node ended while it started ({status})"), SEE_LOG))
            }
        }
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            end(child);
        }
    }
}

/// What an [`OwnCluster`] is made of.
#[derive(Clone, Debug, Default)]
pub struct ClusterSpec {
    /// Nodes.
    pub count: usize,
    /// Facts other than their defaults.
    pub facts: Vec<(String, String)>,
    /// Further arguments for each node.
    pub arguments: Vec<String>,
    /// Whether [`OwnCluster::stall_disk`] is wanted.
    pub stalls: bool,
}

/// A cluster on this machine, each node a process. Dropped, all are killed.
pub struct OwnCluster {
    dir: PathBuf,
    members: Members,
    spec: ClusterSpec,
    /// By number; `None`: it is dead.
    nodes: Vec<Option<OwnNode>>,
}

impl OwnCluster {
    /// Makes a cluster in `dir`, and starts it.
    pub fn start(dir: &Path, spec: ClusterSpec) -> Result<Self> {
        let host = own_host();
        let address = |base: usize, node: usize| format!("{host}:{}", base + 10 * node);
        let addresses: Vec<_> =
            (0..spec.count).map(|node| (address(7500, node), address(7400, node))).collect();
        let (_, members) = cluster::create(dir, &addresses, &spec.facts)?;
        let mut cluster = Self { dir: dir.to_owned(), members, spec, nodes: Vec::new() };
        let starting: Vec<_> =
            (0..cluster.spec.count).map(|node| cluster.spawn(node)).collect::<Result<_>>()?;
        cluster.nodes = starting.into_iter().map(|node| node.ready().map(Some)).collect::<Result<_>>()?;
        Ok(cluster)
    }

    fn spawn(&self, node: usize) -> Result<Starting> {
        let mut arguments = self.spec.arguments.clone();
        if self.spec.stalls {
            arguments.extend(["--stall-while".to_owned(), self.stall_file(node).display().to_string()]);
        }
        Launch::of(&self.data(node), &arguments).spawn()
    }

    fn stall_file(&self, node: usize) -> PathBuf {
        self.dir.join(format!("stall-{node}"))
    }

    /// Lets a node's disk stall: it syncs nothing until it is told otherwise.
    pub fn stall_disk(&self, node: usize, stalls: bool) -> Result<()> {
        let file = self.stall_file(node);
        let done = if stalls { std::fs::write(file, []) } else { std::fs::remove_file(file) };
        done.or_next("a disk cannot be stalled", "Check the directory.")
    }

    /// Stops a node's process where it stands, so that its machine seems to be silent, or lets it go on.
    pub fn freeze(&self, node: usize, frozen: bool) -> Result<()> {
        let node = self.nodes[node].as_ref().expect("only the living are frozen");
        node.signal(if frozen { Signal::STOP } else { Signal::CONT })
    }

    /// How its operator connects.
    pub fn operator(&self) -> Result<ClientConfig> {
        let key = keys::load(&self.operator_key()).or_next("the key cannot be used", "Report this.")?;
        let member = |member: &ordain_types::members::Member| Member {
            address: member.client.clone(),
            key: Some(PublicKey(member.key)),
        };
        Ok(ClientConfig::new(self.members.all.iter().map(member).collect(), CoreConfig::new(key)))
    }

    /// The data directory of a node.
    pub fn data(&self, node: usize) -> PathBuf {
        data_of(&self.dir, node)
    }

    /// The file of its operator's key.
    pub fn operator_key(&self) -> PathBuf {
        self.dir.join(OPERATOR)
    }

    /// The members' addresses for clients, with commas between them.
    pub fn clients(&self) -> String {
        let clients: Vec<_> = self.members.all.iter().map(|member| member.client.as_str()).collect();
        clients.join(",")
    }

    /// A node, if it lives.
    pub fn node(&self, node: usize) -> Option<&OwnNode> {
        self.nodes.get(node)?.as_ref()
    }

    /// The node that leads at this moment, if one says so; of several the one with the highest term.
    pub fn leads(&self) -> Option<usize> {
        let term = |node: &OwnNode| {
            let metrics = metrics(node.ops?).ok()?;
            (metrics.get("ordain_leads") == Some(1.0))
                .then(|| metrics.get("ordain_term").unwrap_or(0.0) as u64)
        };
        let terms = self.nodes.iter().enumerate().filter_map(|(at, node)| Some((term(node.as_ref()?)?, at)));
        terms.max().map(|(_, node)| node)
    }

    /// Waits until nobody asks for anything any more and all nodes have the same log to its end, and says who leads.
    pub fn settle(&self) -> Result<usize> {
        let deadline = Instant::now() + START_TIMEOUT;
        while Instant::now() < deadline {
            let leader = self.leader()?;
            let end = |node: &OwnNode| {
                let metrics = metrics(node.ops?).ok()?;
                let number = |name| metrics.get(name).map(|number| number as u64);
                Some((number("ordain_last_batch")?, number("ordain_committed_batch")?))
            };
            let ends: Vec<_> = self.nodes().map(end).collect();
            if ends[0].is_some_and(|(last, committed)| last == committed)
                && ends.iter().all(|end| *end == ends[0])
            {
                return Ok(leader);
            }
            std::thread::sleep(10 * LOOK);
        }
        Err(CliError::new("the nodes do not come to the same end", "Their log on standard error says why."))
    }

    /// The nodes that live.
    pub fn nodes(&self) -> impl Iterator<Item = &OwnNode> {
        self.nodes.iter().flatten()
    }

    /// Waits until a node leads and all have and have executed nearly what it has, and says which it is.
    pub fn leader(&self) -> Result<usize> {
        let deadline = Instant::now() + START_TIMEOUT;
        while Instant::now() < deadline {
            let found: Vec<_> = self
                .nodes
                .iter()
                .map(|node| node.as_ref().and_then(|node| metrics(node.ops?).ok()))
                .collect();
            let settled = |metrics: &Metrics| is_settled(metrics, self.nodes().count() - 1);
            let leader = found.iter().position(|metrics| metrics.as_ref().is_some_and(settled));
            let number = |metrics: &Metrics, name| metrics.get(name).unwrap_or(0.0);
            // The numbers of the leader are no younger than those of the others by much.
            let last = leader
                .and_then(|leader| found[leader].as_ref())
                .map_or(0.0, |metrics| number(metrics, "ordain_last_batch"));
            let ready = |metrics: &Metrics| number(metrics, "ordain_applied_batch") + NEAR >= last;
            if let Some(leader) = leader
                && found.iter().flatten().all(ready)
            {
                return Ok(leader);
            }
            std::thread::sleep(10 * LOOK);
        }
        Err(CliError::new(
            format!("no node led a whole cluster within {} s", START_TIMEOUT.as_secs()),
            "The nodes' log on standard error says why.",
        ))
    }

    /// Kills a node with SIGKILL, as a crash of its process would, and does not wait until it is gone.
    pub fn kill(&mut self, node: usize) -> Result<()> {
        let node = self.nodes[node].as_mut().expect("only the living are killed");
        node.child.kill().or_next("a node cannot be killed", "Report this.")
    }

    /// Asks a node to stop, as its operator would, and does not wait for it.
    pub fn terminate(&self, node: usize) -> Result<()> {
        self.nodes[node].as_ref().expect("only the living are asked").signal(Signal::TERM)
    }

    /// Waits until a node that was asked to stop has.
    pub fn await_stop(&mut self, node: usize) -> Result<()> {
        self.nodes[node].take().expect("only the living stop").stopped()
    }

    /// The public key of a member that the cluster was made with.
    pub fn key(&self, node: usize) -> PublicKey {
        PublicKey(self.members.all[node].key)
    }

    /// Waits until a node that was killed is gone.
    pub fn bury(&mut self, node: usize) {
        drop(self.nodes[node].take());
    }

    /// Starts a dead node again.
    pub fn restart(&mut self, node: usize) -> Result<()> {
        self.nodes[node] = Some(self.spawn(node)?.ready()?);
        Ok(())
    }

    /// Stops all nodes that live. The leader goes first, so that somebody confirms what it is stopped with, and
    /// then, one by one, the rest.
    pub fn stop(mut self) -> Result<()> {
        let mut nodes: Vec<_> = self.nodes.iter_mut().filter_map(Option::take).collect();
        nodes.sort_by_key(|node| node.metric("ordain_leads") == 0.0);
        nodes.into_iter().try_for_each(OwnNode::stop)
    }
}

fn data_of(dir: &Path, node: usize) -> PathBuf {
    dir.join(format!("node-{node}"))
}

/// Batches behind the end of a busy log that are no lag.
const NEAR: f64 = 256.0;

/// Whether the numbers are those of a leader to which `followers` are connected and have nearly what it has.
fn is_settled(metrics: &Metrics, followers: usize) -> bool {
    let last = metrics.get("ordain_last_batch").unwrap_or(0.0);
    let is_near = |batch: f64| batch > 0.0 && batch + NEAR >= last;
    let near = metrics.labelled("ordain_peer_received_batch", "peer").filter(|(_, batch)| is_near(*batch));
    metrics.get("ordain_leads") == Some(1.0)
        && is_near(metrics.get("ordain_committed_batch").unwrap_or(0.0))
        && near.count() >= followers
}

/// A loopback address that no other process of this machine uses: Linux has as many as there are processes, so
/// that fixed ports are free on it.
pub fn own_host() -> Ipv4Addr {
    let [_, a, b, c] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, a | 0x40, b, c)
}

/// A node's numbers at a moment.
pub struct Metrics(String);

impl Metrics {
    /// The value of a metric.
    pub fn get(&self, name: &str) -> Option<f64> {
        let number = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok();
        self.0.lines().find_map(number)
    }

    /// The values of a metric that has a label, with the label's.
    pub fn labelled<'a>(&'a self, name: &'a str, label: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
        self.0.lines().filter_map(move |line| {
            let rest = line.strip_prefix(name)?.strip_prefix('{')?.strip_prefix(label)?;
            let (of, value) = rest.strip_prefix("=\"")?.split_once("\"} ")?;
            Some((of, value.trim().parse().ok()?))
        })
    }
}

/// The numbers of the node with this operations address.
pub fn metrics(ops: SocketAddr) -> std::io::Result<Metrics> {
    get(ops, "/metrics").map(Metrics)
}

fn get(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn end(child: &mut Child) {
    // Both fail only if the process is gone already.
    let _ = child.kill();
    let _ = child.wait();
}

/// Checks an address on the command line.
pub fn address(text: &str) -> std::result::Result<String, String> {
    let is_tcp = |text: &str| {
        text.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
    };
    let is_one = |text: &str| text.strip_prefix("unix:").map_or(is_tcp(text), |path| !path.is_empty());
    if text.split(',').all(is_one) {
        Ok(text.to_owned())
    } else {
        Err("an address is HOST:PORT or unix:PATH; those of several nodes stand with commas between them"
            .to_owned())
    }
}

/// How to connect to the nodes at `address`, one or several with commas between them, with the key of a file.
pub fn client(address: &str, key: &Path) -> Result<ClientConfig> {
    let next = "Give --key the key file of an operator, for instance DATA/keys/operator.key of the node.";
    let key = keys::load(key).or_next("the key cannot be used", next)?;
    Ok(ClientConfig::new(address.split(',').map(Member::at).collect(), CoreConfig::new(key)))
}
