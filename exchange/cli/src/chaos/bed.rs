//! The nodes, and everything that can be done to them.

use super::plan::{Fault, Means, Who};
use super::proxy::Network;
use super::world::{Namespaces, SmallDisk};
use crate::child::{Launch, Metrics, OwnNode, Starting, own_host};
use crate::cluster;
use crate::error::{CliError, OrNext, Result};
use ordain_client::{ClientConfig, CoreConfig, Member};
use ordain_host::keys::{self, OPERATOR};
use ordain_host::members::Members;
use ordain_keys::PublicKey;
use ordain_types::BatchIndex;
use ordain_types::facts::AckPolicy;
use rustix::process::Signal;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Port for clients; each node has its own number of the address, or its own ten.
const CLIENTS: u16 = 7400;
const PEERS: u16 = 7500;
/// Space of a small disk: the segments made ahead, snapshots, and the log of some minutes.
const DISK: u64 = 512 << 20;

/// A node as a process.
enum Process {
    Down,
    Starting(Starting),
    Up(OwnNode),
    /// It was told to stop.
    Stopping(OwnNode),
    /// It was removed, and has stopped.
    Left,
}

struct Node {
    data: PathBuf,
    log: PathBuf,
    arguments: Vec<String>,
    process: Process,
    /// It is to run: whenever it is down, it is started.
    wanted: bool,
    paused: bool,
    unplugged: bool,
    /// The file whose existence stalls its disk.
    stall: PathBuf,
    disk: Option<SmallDisk>,
    full: bool,
    /// An operator removes it: it stops by itself.
    leaves: bool,
    /// Its number in the cluster.
    number: u32,
}

/// See the module. Dropped, everything that runs is killed, and what was made of networks and file systems goes.
pub struct Bed {
    // In this order: the processes end before what they stand on.
    nodes: Mutex<Vec<Node>>,
    network: Network,
    namespaces: Option<Namespaces>,
    members: Members,
    operator: PathBuf,
    /// The node that was seen to lead last.
    led: AtomicUsize,
    /// Held while a journal is audited, or goes.
    audit: Mutex<()>,
    /// The ack policy that the cluster was made with.
    pub policy: AckPolicy,
}

/// What the machine was asked to permit, and what it did not.
pub struct Permitted {
    pub means: Means,
    /// Why something is left out.
    pub skipped: Vec<String>,
}

impl Bed {
    /// Makes a cluster in `dir` and starts it.
    pub fn start(
        dir: &Path,
        count: usize,
        facts: &[(String, String)],
        more: &[String],
    ) -> Result<(Self, Permitted)> {
        let mut skipped = Vec::new();
        let mut keep = |what: &str, error: CliError| skipped.push(format!("{what}: {error}"));
        let namespaces = Namespaces::new(count).map_err(|error| keep("network namespaces", error)).ok();
        let disks: Result<Vec<_>> =
            (0..count).map(|node| SmallDisk::new(&dir.join(format!("disk-{node}")), DISK)).collect();
        let disks = disks.map_err(|error| keep("file systems of their own", error)).ok();
        let means = Means { namespaces: namespaces.is_some(), disks: disks.is_some() };

        let address = |node: usize, port: u16| match &namespaces {
            Some(namespaces) => SocketAddr::from((namespaces.address(node), port)),
            None => SocketAddr::from((own_host(), port + 10 * node as u16)),
        };
        let targets: Vec<_> = (0..count).map(|node| address(node, PEERS)).collect();
        let host = namespaces.as_ref().map_or(Ipv4Addr::LOCALHOST, Namespaces::host);
        let (network, proxies) = Network::new(host, &targets)?;
        let addresses: Vec<_> =
            (0..count).map(|node| (proxies[node].to_string(), address(node, CLIENTS).to_string())).collect();
        let made = dir.join("cluster");
        let (made_with, members) = cluster::create(&made, &addresses, facts)?;
        let mut disks = disks.into_iter().flatten();
        let nodes = (0..count)
            .map(|node| {
                let mut data = made.join(format!("node-{node}"));
                let disk = disks.next();
                if disk.is_some() {
                    let at = dir.join(format!("disk-{node}/data"));
                    copy(&data, &at)?;
                    data = at;
                }
                // Numbers are asked for where clients are served.
                let ops = SocketAddr::new(address(node, CLIENTS).ip(), 0);
                let mut arguments =
                    vec!["--peer-listen".to_owned(), targets[node].to_string(), "--metrics".to_owned()];
                arguments.push(ops.to_string());
                let stall = dir.join(format!("stall-{node}"));
                arguments.extend(["--stall-while".to_owned(), stall.display().to_string()]);
                arguments.extend_from_slice(more);
                let log = dir.join(format!("node-{node}.log"));
                Ok(Node {
                    data,
                    log,
                    arguments,
                    process: Process::Down,
                    wanted: true,
                    paused: false,
                    unplugged: false,
                    stall,
                    disk,
                    full: false,
                    leaves: false,
                    number: node as u32,
                })
            })
            .collect::<Result<Vec<_>>>()?;
        let operator = made.join(OPERATOR);
        let bed = Self {
            nodes: Mutex::new(nodes),
            network,
            namespaces,
            members,
            operator,
            led: AtomicUsize::new(0),
            audit: Mutex::new(()),
            policy: made_with.policy,
        };
        bed.look()?;
        Ok((bed, Permitted { means, skipped }))
    }

    fn count(&self) -> usize {
        self.members.all.len()
    }

    fn with<T>(&self, node: usize, on: impl FnOnce(&mut Node) -> T) -> T {
        on(&mut self.nodes.lock().expect("no holder of this lock panics")[node])
    }

    /// How its operator connects.
    pub fn operator(&self) -> Result<ClientConfig> {
        let key = keys::load(&self.operator).or_next("the key cannot be used", "Report this.")?;
        let member = |member: &ordain_types::members::Member| Member {
            address: member.client.clone(),
            key: Some(PublicKey(member.key)),
        };
        Ok(ClientConfig::new(self.members.all.iter().map(member).collect(), CoreConfig::new(key)))
    }

    /// The data directories.
    pub fn data(&self) -> Vec<PathBuf> {
        (0..self.count()).map(|node| self.with(node, |node| node.data.clone())).collect()
    }

    /// Looks after the processes: starts those that are to run. Fails if one has ended that nobody ended.
    pub fn look(&self) -> Result<()> {
        (0..self.count()).try_for_each(|number| {
            let namespace = self.namespaces.as_ref().map(|namespaces| namespaces.name(number));
            let looked = self.with(number, |node| node.look(namespace));
            looked.map_err(|error| {
                let log = self.with(number, |node| node.log.clone());
                CliError::new(
                    format!("node {number}: {error}"),
                    format!("Its log {} says why.", log.display()),
                )
            })
        })
    }

    /// The node's numbers, if it can say them.
    pub fn metrics(&self, node: usize) -> Option<Metrics> {
        let ops = self.with(node, |node| match &node.process {
            Process::Up(up) if !node.paused && !node.unplugged => up.ops(),
            _ => None,
        });
        crate::child::metrics(ops?).ok()
    }

    /// What a node says is committed.
    pub fn committed(&self, node: usize) -> Option<BatchIndex> {
        Some(BatchIndex(self.metrics(node)?.get("ordain_committed_batch")? as u64))
    }

    /// The node that leads, of several that think so the one with the highest term.
    pub fn leader(&self) -> Option<usize> {
        let term = |node: usize| {
            let metrics = self.metrics(node)?;
            let leads = metrics.get("ordain_leads") == Some(1.0);
            leads.then(|| metrics.get("ordain_term").unwrap_or(0.0) as u64)
        };
        (0..self.count()).filter_map(|node| Some((term(node)?, node))).max().map(|(_, node)| node)
    }

    /// Who is meant. While nobody leads, that is the one that led last.
    fn find(&self, who: Who) -> usize {
        let leader = self.leader().unwrap_or_else(|| self.led.load(Ordering::Relaxed));
        self.led.store(leader, Ordering::Relaxed);
        match who {
            Who::Leader => leader,
            Who::Follower(n) => self.others(leader).nth(n).expect("plans name followers that exist"),
        }
    }

    /// Whether a node says that its disk has no room for a segment.
    pub fn has_no_room(&self, node: usize) -> bool {
        self.metrics(node).and_then(|metrics| metrics.get("ordain_journal_no_room")) == Some(1.0)
    }

    /// Does what is planned. The node that it met; `None`: it met all.
    pub fn begin(&self, fault: Fault) -> Result<Option<usize>> {
        let Some(who) = fault.who() else {
            if fault != Fault::KillAll {
                return Ok(None);
            }
            (0..self.count()).for_each(|node| self.with(node, Node::kill));
            return Ok(None);
        };
        let node = self.find(who);
        match fault {
            Fault::KillAll | Fault::Transfer | Fault::Policy(..) => {
                unreachable!("it meets nobody in particular")
            }
            // The operator's part.
            Fault::Replace(_) => {}
            Fault::Kill(_) => self.with(node, Node::kill),
            Fault::Stop(_) => self.with(node, Node::stop)?,
            Fault::Pause(_) => self.with(node, |node| node.pause(true))?,
            Fault::Isolate(_) => self.links(node, true, true, true),
            Fault::Deafen(_) => self.links(node, true, true, false),
            Fault::Mute(_) => self.links(node, true, false, true),
            Fault::Part(_) => self.part(node, true),
            Fault::Reset(_) => self.others(node).for_each(|other| {
                self.network.link(node, other).reset();
                self.network.link(other, node).reset();
            }),
            Fault::Slow(_, millis) => self.slow(node, millis, true),
            Fault::Unplug(_) => self.plug(node, false)?,
            Fault::StallDisk(_) => self.with(node, |node| node.stall_disk(true))?,
            Fault::FillDisk(_) => self.with(node, Node::fill_disk)?,
        }
        Ok(Some(node))
    }

    /// Takes back what was done to a node.
    pub fn end(&self, fault: Fault, met: Option<usize>) -> Result<()> {
        if fault == Fault::KillAll {
            (0..self.count()).for_each(|node| self.with(node, |node| node.wanted = true));
            return Ok(());
        }
        let Some(node) = met else { return Ok(()) };
        match fault {
            Fault::Kill(_) | Fault::KillAll | Fault::Stop(_) => self.with(node, |node| node.wanted = true),
            Fault::Pause(_) => return self.with(node, |node| node.pause(false)),
            Fault::Isolate(_) => self.links(node, false, true, true),
            Fault::Deafen(_) => self.links(node, false, true, false),
            Fault::Mute(_) => self.links(node, false, false, true),
            Fault::Part(_) => self.part(node, false),
            Fault::Reset(_) | Fault::Transfer | Fault::Policy(..) | Fault::Replace(_) => {}
            Fault::Slow(_, millis) => self.slow(node, millis, false),
            Fault::Unplug(_) => return self.plug(node, true),
            Fault::StallDisk(_) => return self.with(node, |node| node.stall_disk(false)),
            Fault::FillDisk(_) => self.with(node, Node::free_disk),
        }
        Ok(())
    }

    /// The number of the node at a place.
    pub fn number(&self, place: usize) -> u32 {
        self.with(place, |node| node.number)
    }

    /// The node at a place will be removed: its end is no mistake.
    pub fn leaves(&self, place: usize) {
        self.with(place, |node| node.leaves = true);
    }

    /// Whether it has stopped because it was removed.
    pub fn has_left(&self, place: usize) -> bool {
        self.with(place, |node| matches!(node.process, Process::Left))
    }

    /// Nobody audits a journal while this is held.
    pub fn no_audit(&self) -> std::sync::MutexGuard<'_, ()> {
        self.audit.lock().expect("no holder of this lock panics")
    }

    /// Removes what the node at a place has stored, and says where that was.
    pub fn empty(&self, place: usize) -> Result<PathBuf> {
        let data = self.with(place, |node| node.data.clone());
        let emptied = std::fs::remove_dir_all(&data).and_then(|()| std::fs::create_dir(&data));
        emptied.or_next("a node's data cannot be removed", "Check the directory.")?;
        Ok(data)
    }

    /// Where the node at a place is reached by nodes and by clients.
    pub fn addresses(&self, place: usize) -> (String, String) {
        let member = &self.members.all[place];
        (member.peer.clone(), member.client.clone())
    }

    /// A new node stands at a place, and is to run.
    pub fn joins(&self, place: usize, number: u32) {
        self.network.renumber(place, number);
        self.with(place, |node| {
            (node.number, node.leaves, node.wanted) = (number, false, true);
            node.process = Process::Down;
        });
    }

    /// Copies what lies on small disks, which go, to `dir`.
    pub fn keep(&self, dir: &Path) {
        for number in 0..self.count() {
            self.with(number, |node| {
                node.kill();
                if node.disk.is_some()
                    && let Err(error) = copy(&node.data, &dir.join(format!("node-{number}")))
                {
                    eprintln!("node {number} cannot be kept: {error}");
                }
            });
        }
    }

    /// Whether every node runs.
    pub fn is_whole(&self) -> bool {
        (0..self.count()).all(|node| self.with(node, |node| matches!(node.process, Process::Up(_))))
    }

    /// Stops all nodes, the leader first, so that somebody confirms what it is stopped with.
    pub fn stop(&self) -> Result<()> {
        let leader = self.leader();
        let mut all: Vec<_> = (0..self.count()).collect();
        all.sort_by_key(|node| Some(*node) != leader);
        for node in all {
            self.with(node, Node::stop)?;
            let until = Instant::now() + super::clients::PATIENCE;
            while !self.with(node, |node| matches!(node.process, Process::Down)) {
                if Instant::now() > until {
                    return Err(CliError::new(format!("node {node} does not stop"), "Its log says why."));
                }
                std::thread::sleep(Duration::from_millis(10));
                self.look()?;
            }
        }
        Ok(())
    }

    fn others(&self, node: usize) -> impl Iterator<Item = usize> {
        (0..self.count()).filter(move |other| *other != node)
    }

    fn links(&self, node: usize, cut: bool, hears: bool, is_heard: bool) {
        for other in self.others(node) {
            if hears {
                self.network.link(other, node).cut(cut);
            }
            if is_heard {
                self.network.link(node, other).cut(cut);
            }
        }
    }

    fn part(&self, node: usize, cut: bool) {
        let other = (node + 1) % self.count();
        self.network.link(node, other).cut(cut);
        self.network.link(other, node).cut(cut);
    }

    fn slow(&self, node: usize, millis: u64, more: bool) {
        for other in self.others(node) {
            self.network.link(node, other).slow(millis, more);
            self.network.link(other, node).slow(millis, more);
        }
    }

    fn plug(&self, number: usize, plugged: bool) -> Result<()> {
        self.with(number, |node| node.unplugged = !plugged);
        self.namespaces.as_ref().map_or(Ok(()), |namespaces| namespaces.plug(number, plugged))
    }
}

impl Node {
    fn look(&mut self, namespace: Option<&str>) -> Result<()> {
        let ended = |status| Err(CliError::new(format!("the node ended ({status})"), "See its log."));
        match &mut self.process {
            // A start needs space, and says so.
            Process::Down if self.wanted && !self.full => {
                let launch =
                    Launch { log: Some(&self.log), namespace, ..Launch::of(&self.data, &self.arguments) };
                self.process = Process::Starting(launch.spawn()?);
            }
            Process::Down | Process::Left => {}
            Process::Starting(starting) => match starting.look() {
                Ok(None) => {}
                Ok(Some(up)) => self.process = Process::Up(up),
                Err(_) if self.full => self.process = Process::Down,
                // It may hear that it was removed before it is ready.
                Err(_) if self.leaves => self.process = Process::Left,
                Err(error) => return Err(error),
            },
            Process::Up(up) => {
                if let Some(status) = up.ended()? {
                    if self.leaves && status.code() == Some(2) {
                        self.process = Process::Left;
                        return Ok(());
                    }
                    return ended(status);
                }
            }
            Process::Stopping(stopping) => match stopping.ended()? {
                None => {}
                // The second is a stop that was cut short: what it waited for may not come while others are away.
                Some(status) if matches!(status.code(), Some(0 | 3)) => self.process = Process::Down,
                Some(status) if self.leaves && status.code() == Some(2) => self.process = Process::Left,
                Some(status) => return ended(status),
            },
        }
        Ok(())
    }

    fn kill(&mut self) {
        (self.wanted, self.paused) = (false, false);
        if !matches!(self.process, Process::Left) {
            // Dropped, it is killed and waited for.
            self.process = Process::Down;
        }
    }

    /// Tells it to stop, and to go on so that it can.
    fn stop(&mut self) -> Result<()> {
        self.wanted = false;
        match std::mem::replace(&mut self.process, Process::Down) {
            Process::Up(up) => {
                up.signal(Signal::TERM)?;
                self.process = Process::Stopping(up);
            }
            // Not ready, it is not stopped in order: it is killed.
            Process::Starting(_) | Process::Down => {}
            Process::Stopping(stopping) => self.process = Process::Stopping(stopping),
            Process::Left => self.process = Process::Left,
        }
        Ok(())
    }

    fn pause(&mut self, paused: bool) -> Result<()> {
        let (Process::Up(node) | Process::Stopping(node)) = &self.process else { return Ok(()) };
        self.paused = paused;
        node.signal(if paused { Signal::STOP } else { Signal::CONT })
    }

    fn stall_disk(&self, stalled: bool) -> Result<()> {
        let done = match (stalled, self.stall.exists()) {
            (true, _) => std::fs::write(&self.stall, []),
            (false, true) => std::fs::remove_file(&self.stall),
            (false, false) => Ok(()),
        };
        done.or_next("a disk cannot be stalled", "Check --dir.")
    }

    fn fill_disk(&mut self) -> Result<()> {
        self.full = true;
        self.disk.as_ref().map_or(Ok(()), SmallDisk::fill)
    }

    fn free_disk(&mut self) {
        if let Some(disk) = &self.disk {
            disk.free();
        }
        self.full = false;
    }
}

/// Copies a folder, keys and all.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let failed = |error: std::io::Error| {
        CliError::new(format!("{} cannot be copied: {error}", from.display()), "Check the disk.")
    };
    std::fs::create_dir_all(to).map_err(failed)?;
    for entry in std::fs::read_dir(from).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to)?;
        } else {
            std::fs::copy(entry.path(), &to).map_err(failed)?;
        }
    }
    Ok(())
}
