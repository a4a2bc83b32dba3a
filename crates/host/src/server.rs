//! A node as a process: everything around its stages, from the first look at the data directory to the exit
//! code.

use crate::address::AddressFile;
use crate::aside;
use crate::clock;
use crate::config::{ConfigError, LogFormat, Validated};
use crate::direct::DirectDisk;
use crate::disk::{DataDir, FileDisk, OpenError};
use crate::doorbell::Doorbell;
use crate::facts::{self, FactsError};
use crate::members::{self, Members, MembersError};
use crate::memory;
use crate::net::{EpollNet, ListenError, NetOptions};
use crate::ops::{OpsServer, Subjects};
use crate::runner::{Failure, Plan, Running, START};
use ordain_agent::damage::Plight;
use ordain_agent::disk::Disk;
use ordain_agent::metrics::Registry;
use ordain_agent::shared::{Cursors, Shared};
use ordain_agent::{Agent, Fatal};
use ordain_types::facts::ClusterFacts;
use ordain_types::{ClusterId, NodeId};
use signal_hook::consts::{SIGINT, SIGTERM};
use std::fmt;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The agent whose thread owns the client connections.
pub const GATEWAY: &str = "gateway";

/// The agent that writes the journal.
pub const JOURNAL: &str = "journal";

/// How often a graceful stop looks whether it is done.
const STOP_LOOK: Duration = Duration::from_millis(2);

/// Why a node did not start or did not stop as it should.
#[derive(Debug)]
pub enum ServerError {
    /// The configuration.
    Config(ConfigError),
    /// The data directory.
    Data(OpenError),
    /// The cluster facts.
    Facts(FactsError),
    /// The members of the cluster.
    Members(MembersError),
    /// An address of this node in the members file is none of this machine.
    Address {
        /// Which.
        address: String,
        /// What the operating system says.
        error: std::io::Error,
    },
    /// The network.
    Listen(ListenError),
    /// The operating system refused something else.
    System {
        /// What was tried.
        what: &'static str,
        /// Its answer.
        error: std::io::Error,
    },
    /// A stage could not be made, or failed later on.
    Failed(Failure),
    /// A graceful stop took longer than it may; it was cut short.
    StopTimeout(Duration),
    /// A second request to stop cut the graceful stop short.
    StoppedAtOnce,
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => write!(f, "{error}"),
            Self::Data(error) => write!(f, "{error}"),
            Self::Facts(error) => write!(f, "{error}"),
            Self::Members(error) => write!(f, "{error}"),
            Self::Address { address, error } => write!(
                f,
                "this node cannot use its address {address}: {error}. Stop who uses it, or name another address of \
                 this machine with listen or peer-listen"
            ),
            Self::Listen(error) => write!(f, "{error}"),
            Self::System { what, error } => write!(f, "cannot {what}: {error}"),
            Self::Failed(failure) => write!(f, "{failure}"),
            Self::StopTimeout(limit) => write!(
                f,
                "the graceful stop was cut short after {} ms. Nothing acknowledged is lost; the next start recovers. \
                 Raise stop-timeout if that is too soon",
                limit.as_millis()
            ),
            Self::StoppedAtOnce => write!(
                f,
                "the graceful stop was cut short by a second request. Nothing acknowledged is lost; the next start \
                 recovers"
            ),
        }
    }
}

impl std::error::Error for ServerError {}

impl ServerError {
    /// What the process should exit with: 2 where the operator has to change something before a start can
    /// succeed, 3 for a stop that was cut short, 1 for a node that failed.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_)
            | Self::Data(_)
            | Self::Facts(_)
            | Self::Members(_)
            | Self::Address { .. }
            | Self::Listen(_)
            | Self::System { .. } => 2,
            Self::StopTimeout(_) | Self::StoppedAtOnce => 3,
            Self::Failed(failure) => 1 + u8::from(failure.fatal.is_final),
        }
    }
}

/// Asks a node to stop, from any thread: once gracefully, twice at once.
#[derive(Clone, Debug)]
pub struct StopHandle {
    asked: Arc<AtomicU32>,
    bell: Arc<Doorbell>,
}

impl StopHandle {
    /// A handle that nobody has used.
    ///
    /// # Errors
    /// If the process has no file descriptor left.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self { asked: Arc::new(AtomicU32::new(0)), bell: Doorbell::new()? })
    }

    /// Asks.
    pub fn stop(&self) {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.bell.wake();
    }

    /// How often it was asked, by whomever.
    #[must_use]
    pub fn asked(&self) -> u32 {
        self.asked.load(Ordering::SeqCst)
    }
}

/// What a program or test around a node wants to know and do.
pub struct Hooks {
    /// Called once when clients can connect.
    pub on_ready: Box<dyn FnOnce(Addresses) + Send>,
    /// Stops the node.
    pub stop: StopHandle,
}

/// Where a node is reached, with the ports that the system chose where 0 was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// Clients, TCP.
    pub tcp: Vec<SocketAddr>,
    /// Clients, Unix sockets.
    pub unix: Vec<PathBuf>,
    /// Operations.
    pub ops: Option<SocketAddr>,
}

/// What the stages of a node are made from.
pub struct Ports {
    /// What the cluster agreed on.
    pub facts: ClusterFacts,
    /// Number of this node.
    pub node: NodeId,
    /// The nodes of the cluster, if it has several.
    pub members: Option<Members>,
    /// Where other nodes are waited for, if there are any.
    pub peer_listen: Option<SocketAddr>,
    /// Patience with a silent leader.
    pub election_timeout: Duration,
    /// Bytes of the log ring.
    pub ring_size: u64,
    /// Client connections, listening; accepting is the gateway's decision.
    pub net: EpollNet,
    /// Whether one thread takes what clients send and writes the journal.
    pub gateway_journals: bool,
    /// Where the stages meet.
    pub cursors: Shared,
    /// Numbers for `/metrics`.
    pub registry: Registry,
    /// Identity of this run of the operating system; zeros if unknown.
    pub os_boot: [u8; 16],
    /// Whether somebody asked to stop: a long recovery should give up then.
    pub stop: StopHandle,
    dir: DataDir,
    bells: Vec<(&'static str, Arc<Doorbell>)>,
}

impl Ports {
    /// The doorbell of `agent`'s thread.
    ///
    /// # Panics
    /// If the node has no such agent.
    #[must_use]
    pub fn bell(&self, agent: &str) -> &Arc<Doorbell> {
        let bell = self.bells.iter().find(|(known, _)| *known == agent);
        &bell.unwrap_or_else(|| panic!("no agent is called {agent}")).1
    }

    /// A lane to the disk for up to `capacity` operations, which wakes `agent`'s thread. `name` is its
    /// thread's, at most 15 bytes.
    ///
    /// # Errors
    /// If its thread cannot be started.
    ///
    /// # Panics
    /// If the node has no such agent.
    pub fn lane(&self, agent: &str, name: &str, capacity: usize) -> Result<FileDisk, Fatal> {
        self.dir.lane(name, capacity, self.bell(agent).clone()).map_err(no_thread)
    }

    /// As [`Ports::lane`], for one that reads what the disk holds and not what the kernel remembers of it.
    ///
    /// # Errors
    /// If its thread cannot be started.
    ///
    /// # Panics
    /// If the node has no such agent.
    pub fn cold_lane(&self, agent: &str, name: &str, capacity: usize) -> Result<FileDisk, Fatal> {
        self.dir.cold_lane(name, capacity, self.bell(agent).clone()).map_err(no_thread)
    }

    /// The lane for the log itself, which wakes `agent`'s thread: without a thread of its own if `direct` is
    /// asked for and the system can, and with one otherwise. See [`DirectDisk`] for what it is fit for.
    ///
    /// # Errors
    /// If its thread cannot be started.
    ///
    /// # Panics
    /// If the node has no such agent.
    pub fn log_lane(&self, agent: &str, capacity: usize, direct: bool) -> Result<Box<dyn Disk>, Fatal> {
        if direct {
            match DirectDisk::new(&self.dir, capacity, self.bell(agent)) {
                Ok(disk) => return Ok(Box::new(disk)),
                Err(error) => tracing::info!(
                    %error, "no direct I/O by io_uring here: the log is written by a thread, which is slower"
                ),
            }
        }
        Ok(Box::new(self.lane(agent, "log", capacity)?))
    }

    /// The data directory, whose lock this process holds.
    #[must_use]
    pub fn dir(&self) -> &DataDir {
        &self.dir
    }
}

fn no_thread(error: std::io::Error) -> Fatal {
    let cause = format!("cannot start a disk lane: {error}");
    Fatal::new(cause, "Raise the limits of threads and open files (ulimit -u, ulimit -n)")
}

/// Runs a node until it is stopped or fails. `names` are those of the agents that `build` will make, in order of
/// the data's path; [`GATEWAY`] is among them.
///
/// The first SIGINT or SIGTERM, like the first [`StopHandle::stop`], lets what was admitted be synced and answered
/// and marks the journal clean; the second stops the threads at once; the third has the signal's default effect.
///
/// # Errors
/// [`ServerError`]. The journal is kept in every case.
pub fn serve(
    config: &Validated,
    names: &[&'static str],
    build: impl FnOnce(Ports) -> Result<Vec<Box<dyn Agent>>, Fatal>,
    hooks: Option<Hooks>,
) -> Result<(), ServerError> {
    start_log(config.log_format, &config.log_level);
    let system = |what| move |error| ServerError::System { what, error };
    let (stop, on_ready) = match hooks {
        Some(hooks) => (hooks.stop, Some(hooks.on_ready)),
        None => (StopHandle::new().map_err(system("make a doorbell"))?, None),
    };
    let signals = Signals::catch(&stop).map_err(system("catch signals"))?;

    let dir = DataDir::open(&config.data).map_err(ServerError::Data)?;
    let dir = dir.stalling_while(config.stall_while.clone());
    let finished = aside::finish(&dir).map_err(system("finish moving a log of an ended lineage aside"))?;
    if let Some(folder) = finished {
        tracing::warn!(folder, "a log of an ended lineage was moved aside; the node joins empty");
    }
    let address_file = AddressFile::clear(dir.path()).map_err(system("remove the address file"))?;
    let drawn = draw_cluster().map_err(system("draw random numbers"))?;
    let facts = facts::open(config, drawn, clock::now().wall).map_err(ServerError::Facts)?;
    let ring_size = ring_size(config, &facts).map_err(ServerError::Config)?;
    let plan = Plan::new(&config.runner, names)
        .map_err(|problem| ServerError::Config(ConfigError(vec![problem])))?;
    let Places { node, members, net: net_options, metrics, peer_listen } =
        places(config, dir.path(), &facts)?;
    let net = EpollNet::new(net_options, &plan.bell(GATEWAY)).map_err(ServerError::Listen)?;
    if config.lock_memory
        && let Err(error) = memory::lock()
    {
        tracing::warn!(%error, "memory is not locked");
    }
    tracing::info!(
        data = %dir.path().display(), cluster = %facts.cluster, node = node.0, voters = facts.voters,
        threads = plan.describe(), ring_mib = ring_size >> 20, segment_mib = facts.segment_size >> 20,
        connections = config.net.connections_max, "node starts"
    );

    let tcp = net.tcp_addresses();
    let cursors = Shared::default();
    let registry = Registry::default();
    let ports = Ports {
        facts,
        node,
        members,
        peer_listen,
        election_timeout: config.election_timeout,
        ring_size,
        net,
        gateway_journals: names.contains(&JOURNAL) && plan.share(GATEWAY, JOURNAL),
        cursors: cursors.clone(),
        registry: registry.clone(),
        os_boot: clock::os_boot(),
        stop: stop.clone(),
        dir,
        bells: names.iter().map(|name| (*name, plan.bell(name))).collect(),
    };
    let held = ports.dir.clone();
    let agents = build(ports).map_err(|fatal| ServerError::Failed(Failure { agent: START, fatal }))?;
    let running = plan.start(agents, stop.bell.clone()).map_err(system("start threads"))?;

    let subjects = Subjects { registry, pulse: running.pulse(), ready: readiness(cursors.clone()) };
    let ops = match metrics.map(|address| OpsServer::start(address, subjects)).transpose() {
        Ok(ops) => ops,
        Err(error) => {
            running.halt();
            let _ = running.join();
            return Err(ServerError::System { what: "listen for operations (metrics)", error });
        }
    };
    let addresses =
        Addresses { tcp, unix: config.net.unix.clone(), ops: ops.as_ref().map(OpsServer::address) };
    tracing::info!(tcp = ?addresses.tcp, unix = ?addresses.unix, ops = ?addresses.ops, "node runs");
    if let Err(error) = address_file.write(&addresses) {
        running.halt();
        let _ = running.join();
        return Err(ServerError::System { what: "write the address file", error });
    }
    if let Some(on_ready) = on_ready {
        on_ready(addresses);
    }
    let outcome = supervise(running, &cursors, &stop, &signals, config.stop_timeout);
    match &outcome {
        Ok(()) => tracing::info!("node stopped; the journal is clean"),
        Err(ServerError::Failed(failure)) if failure.fatal.begins_anew => tracing::info!("node begins anew"),
        Err(error) => tracing::error!(%error, "node stopped"),
    }
    if let Err(ServerError::Failed(failure)) = &outcome
        && failure.fatal.outlived
    {
        let folder = aside::set_aside(&held).map_err(system("move the log of an ended lineage aside"))?;
        tracing::warn!(folder, "the log was moved aside; the next start joins empty");
    }
    outcome
}

/// Who this node is, and where it is reached.
struct Places {
    node: NodeId,
    members: Option<Members>,
    net: NetOptions,
    metrics: Option<SocketAddr>,
    peer_listen: Option<SocketAddr>,
}

/// What the configuration leaves open is as the members file says.
fn places(config: &Validated, data: &Path, facts: &ClusterFacts) -> Result<Places, ServerError> {
    let members = members::read(data, facts).map_err(ServerError::Members)?;
    let (mut net, mut metrics) = (config.net.clone(), config.metrics);
    let Some(found) = &members else {
        return Ok(Places { node: NodeId(0), members, net, metrics, peer_listen: None });
    };
    let own = found.own(data).map_err(ServerError::Members)?;
    let client = resolve(&own.client)?;
    if !config.listen_given {
        net.tcp = vec![client];
    }
    if !config.metrics_given {
        metrics = client.port().checked_add(1).map(|port| (Ipv4Addr::LOCALHOST, port).into());
    }
    let peer_listen = config.peer_listen.map_or_else(|| resolve(&own.peer), Ok)?;
    let node = own.id;
    Ok(Places { node, members, net, metrics, peer_listen: (facts.voters > 1).then_some(peer_listen) })
}

fn resolve(address: &str) -> Result<SocketAddr, ServerError> {
    let failed = |error| ServerError::Address { address: address.to_owned(), error };
    let mut found = address.to_socket_addrs().map_err(failed)?;
    found.next().ok_or_else(|| failed(std::io::Error::other("the name has no address")))
}

/// Waits for the end, and brings it about where it was asked for.
fn supervise(
    running: Running,
    cursors: &Cursors,
    stop: &StopHandle,
    signals: &Signals,
    limit: Duration,
) -> Result<(), ServerError> {
    let mut stopping_since: Option<Instant> = None;
    let cut_short = loop {
        signals.count(stop);
        if running.has_ended() {
            break None;
        }
        let Some(since) = stopping_since else {
            if stop.asked() > 0 {
                tracing::info!("node stops: what was admitted is synced and answered first");
                cursors.stop();
                stopping_since = Some(Instant::now());
            } else {
                stop.bell.wait(Duration::from_secs(3600));
            }
            continue;
        };
        if cursors.journal_closed.load() == 1 && cursors.gateway_closed.load() == 1 {
            break None;
        }
        if stop.asked() > 1 {
            break Some(ServerError::StoppedAtOnce);
        }
        if since.elapsed() >= limit {
            break Some(ServerError::StopTimeout(limit));
        }
        // Stages look at the request to stop when they look at anything.
        running.wake();
        stop.bell.wait(STOP_LOOK);
    };
    if cut_short.is_some() {
        signals.let_through();
    }
    running.halt();
    running.join().map_err(ServerError::Failed)?;
    cut_short.map_or(Ok(()), Err)
}

/// SIGINT and SIGTERM while this lives.
struct Signals {
    pipe: UnixStream,
    defaulted: Arc<AtomicBool>,
    registered: Vec<signal_hook::SigId>,
}

impl Signals {
    fn catch(stop: &StopHandle) -> std::io::Result<Self> {
        let (pipe, write) = UnixStream::pair()?;
        pipe.set_nonblocking(true)?;
        write.set_nonblocking(true)?;
        stop.bell.watch(&pipe)?;
        let mut signals = Self { pipe, defaulted: Arc::new(AtomicBool::new(false)), registered: Vec::new() };
        for signal in [SIGINT, SIGTERM] {
            let default = signal_hook::flag::register_conditional_default(signal, signals.defaulted.clone())?;
            signals.registered.push(default);
            signals.registered.push(signal_hook::low_level::pipe::register(signal, write.try_clone()?)?);
        }
        Ok(signals)
    }

    /// Tells `stop` of the signals that came.
    fn count(&self, stop: &StopHandle) {
        let mut bytes = [0; 16];
        while let Ok(count @ 1..) = (&self.pipe).read(&mut bytes) {
            stop.asked.fetch_add(count as u32, Ordering::SeqCst);
        }
    }

    /// From now on a signal ends the process.
    fn let_through(&self) {
        self.defaulted.store(true, Ordering::SeqCst);
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        for id in self.registered.drain(..) {
            signal_hook::low_level::unregister(id);
        }
    }
}

/// A lone segment's worth at least, with other nodes two, and whole segments only, so that no batch crosses the
/// ring's end.
fn ring_size(config: &Validated, facts: &ClusterFacts) -> Result<u64, ConfigError> {
    let segment = facts.segment_size;
    let least = if facts.voters > 1 { 2 * segment } else { segment };
    let size = config.ring_size.unwrap_or_else(|| (64_u64 << 20).max(least).next_multiple_of(segment));
    if size < least || !size.is_multiple_of(segment) {
        return Err(ConfigError(vec![format!(
            "ring-size: a multiple of the cluster's segment size, {segment} bytes, and at least {least}"
        )]));
    }
    Ok(size)
}

fn readiness(cursors: Shared) -> Box<dyn Fn() -> Result<String, &'static str> + Send + Sync> {
    Box::new(move || match () {
        () if cursors.is_stopping() => Err("stopping"),
        () if cursors.leader.load() == 0 => Err("no leader is known"),
        () if cursors.leads() && cursors.applied.load() < cursors.stint_first.load() => {
            Err("the journal is being replayed")
        }
        () => Ok(serving(&cursors)),
    })
}

/// That clients are served, and what is wrong nevertheless.
fn serving(cursors: &Cursors) -> String {
    let damaged = cursors.damage.all();
    let mut text = "serving\n".to_owned();
    if !damaged.is_empty() {
        let lost = damaged.iter().filter(|(_, plight)| *plight == Plight::Lost).count();
        text += &format!("damaged segments: {}, of which {lost} cannot be mended for now\n", damaged.len());
    }
    text
}

fn draw_cluster() -> std::io::Result<ClusterId> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
    Ok(ClusterId(bytes))
}

/// Logs to standard error, unless the program has set up something else.
fn start_log(format: LogFormat, level: &str) {
    let filter = tracing_subscriber::EnvFilter::try_new(level).expect("validated");
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // Fails where a subscriber is set, which then is what the program wants.
    let _ = match format {
        LogFormat::Text => log.try_init(),
        LogFormat::Json => log.json().try_init(),
    };
}
