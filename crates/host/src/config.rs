//! What an operator sets: facts of this node, and, for a cluster's first start, facts of the cluster.
//!
//! Every setting is a flag and, under the same name, a key of the TOML file that `--config` names. Flags
//! win. Only a [`Validated`] configuration starts a node.

use crate::net::NetOptions;
use crate::runner::{Idle, Mode, RunnerOptions};
use clap::{Args, Parser, ValueEnum};
use ordain_types::facts::{AckPolicy, ClusterFacts};
use ordain_types::{ClusterId, Nanos};
use serde::Deserialize;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

const CLUSTER: &str = "Cluster facts: equal on every node, fixed when the cluster is created";
const RUNNING: &str = "Threads";
const KEEPING: &str = "Snapshots and segments";

/// Once a week: a disk that forgets is noticed within days, and reading its segments takes a small part of what it can do.
const SCRUB_EVERY: Duration = Duration::from_secs(7 * 86_400);

/// Settings as given; what is not given has its default. See [`ServerConfig::validate`].
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct ServerConfig {
    /// Directory of the journal, the node's state and its keys. Two nodes never share one. Losing it loses this
    /// node's copy of the log [default: ./ordain-data]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Address for clients, repeatable. Keys authenticate clients, but nothing hides their traffic: expose it
    /// to networks you trust [default: this node's client address in members.toml, else 127.0.0.1:7400]
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Vec<SocketAddr>,
    /// Unix socket for clients on this machine, replaced if nobody listens on it [default: none]
    #[arg(long, value_name = "PATH")]
    pub unix: Option<PathBuf>,
    /// Address of /metrics, /healthz and /readyz, without authentication; "off" for none
    /// [default: 127.0.0.1:7401; in a cluster 127.0.0.1 and the port behind the one for clients in members.toml]
    #[arg(long, value_name = "ADDRESS")]
    pub metrics: Option<String>,
    /// Address for the other nodes, where it is not the one that members.toml tells them
    /// [default: this node's peer address in members.toml]
    #[arg(long, value_name = "ADDRESS")]
    pub peer_listen: Option<SocketAddr>,
    /// How long a node hears nothing from a leader before it asks for an election (the death of its process is
    /// noticed at once). Shorter finds dead machines sooner, longer bears slow ones [default: 150ms]
    #[arg(long, value_name = "DURATION")]
    pub election_timeout: Option<Span>,
    /// Client connections at a time; each may use 256 KiB to receive. More are closed at once [default: 1024]
    #[arg(long, value_name = "COUNT")]
    pub connections_max: Option<usize>,
    /// Bytes that may wait for a client that reads slowly; beyond it it is disconnected [default: 4MiB]
    #[arg(long, value_name = "SIZE")]
    pub send_max: Option<Size>,
    /// Memory of the log ring: a whole number of segments. Larger lets the disk and other nodes fall further
    /// behind before clients wait [default: 64MiB, or one segment if that is more]
    #[arg(long, value_name = "SIZE")]
    pub ring_size: Option<Size>,
    /// shadow: a second copy of the state stores snapshots, at the price of its memory and of executing each event
    /// twice. off: the next start replays everything since the last snapshot, and no segment is ever removed
    /// [default: shadow]
    #[arg(long, value_enum, help_heading = KEEPING)]
    pub snapshots: Option<SnapshotMode>,
    /// Segments from one snapshot to the next. Fewer make starts shorter and write the state more often
    /// [default: 1]
    #[arg(long, value_name = "SEGMENTS", help_heading = KEEPING)]
    pub snapshot_every: Option<u64>,
    /// Bytes of journal that are kept though snapshots stand for them; "all" never removes a segment. What is
    /// removed can no longer be audited or replayed [default: 4GiB]
    #[arg(long, value_name = "SIZE", help_heading = KEEPING)]
    pub retain: Option<Retain>,
    /// Time in which all segments that are full are read and checked once, to find what a disk forgets while another node
    /// still has it; a segment every five minutes at least. Shorter finds damage sooner and reads more; 0s: never
    /// [default: 7d]
    #[arg(long, value_name = "DURATION", help_heading = KEEPING)]
    pub scrub_every: Option<Span>,
    /// Keeps all memory from being swapped out; needs the limit of locked memory raised [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub lock_memory: Option<bool>,
    /// Writes the log of a lone node by io_uring past the page cache, if the system can: each sync takes two
    /// changes of threads less [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub direct_io: Option<bool>,
    /// For experiments: as long as this file exists, nothing is synced or made by this node's disk
    #[arg(long, value_name = "FILE", hide = true)]
    pub stall_while: Option<PathBuf>,
    /// While a sync is under way, what clients send waits at most so long to be taken together, where one thread
    /// does both; 0 for not at all [default: 200us]
    #[arg(long, value_name = "DURATION")]
    pub input_delay: Option<Span>,
    /// How long a graceful stop may take before the node stops at once; nothing acknowledged is lost either
    /// way [default: 10s]
    #[arg(long, value_name = "DURATION")]
    pub stop_timeout: Option<Span>,
    /// Form of the log on standard error [default: text]
    #[arg(long, value_enum)]
    pub log_format: Option<LogFormat>,
    /// What is logged: error, warn, info, debug, trace, or filters by module [default: info]
    #[arg(long, value_name = "FILTER")]
    pub log_level: Option<String>,

    /// Which agents share a thread: auto (dedicated on more than four cores), dedicated, compact
    /// [default: auto]
    #[arg(long, value_enum, help_heading = RUNNING)]
    pub mode: Option<ModeName>,
    /// Agents that share a thread, comma-separated, repeatable; overrides the mode for those named
    /// [default: none]
    #[arg(long, value_name = "AGENTS", help_heading = RUNNING)]
    pub group: Vec<String>,
    /// Cores to pin the threads to, in order of the data's path. Whatever else runs on them delays the node
    /// [default: not pinned]
    #[arg(long, value_name = "CORES", value_delimiter = ',', help_heading = RUNNING)]
    pub cores: Vec<usize>,
    /// What a thread without work does. spin and yield use whole cores while idle [default: adaptive]
    #[arg(long, value_enum, help_heading = RUNNING)]
    pub idle: Option<IdleName>,
    /// Adaptive: empty cycles before yielding. More is faster on idle cores and slower on busy ones [default: 8]
    #[arg(long, value_name = "COUNT", help_heading = RUNNING)]
    pub spins: Option<u32>,
    /// Adaptive: yields before waiting to be woken [default: 8]
    #[arg(long, value_name = "COUNT", help_heading = RUNNING)]
    pub yields: Option<u32>,
    /// Units of work (frames, records, batches) of an agent per cycle. More costs less per unit, less gives
    /// the other agents of its thread their turn sooner [default: 1024]
    #[arg(long, value_name = "COUNT", help_heading = RUNNING)]
    pub duty_limit: Option<usize>,

    /// Identity: 32 hexadecimal digits [default: drawn at random for a lone node]
    #[arg(long, value_name = "HEX", help_heading = CLUSTER)]
    pub cluster: Option<String>,
    /// Time of creation, nanoseconds since the Unix epoch [default: now for a lone node]
    #[arg(long, value_name = "NANOS", help_heading = CLUSTER)]
    pub created: Option<u64>,
    /// Voting nodes [default: 1]
    #[arg(long, value_name = "COUNT", help_heading = CLUSTER)]
    pub voters: Option<u32>,
    /// Copies that exist before a client is answered: one-disk, disk-ram, two-disks, ram, or RECEIVED/DURABLE as two
    /// numbers. Fewer durable copies lose answered requests if that many nodes lose power together
    /// [default: one-disk for one node, else disk-ram]
    #[arg(long, value_name = "POLICY", help_heading = CLUSTER)]
    pub durability: Option<String>,
    /// Batches that a node may hold un-synced and still count as received [default: 1024]
    #[arg(long, value_name = "BATCHES", help_heading = CLUSTER)]
    pub unsynced_max: Option<u64>,
    /// Size of a segment file [default: 64MiB]
    #[arg(long, value_name = "SIZE", help_heading = CLUSTER)]
    pub segment_size: Option<Size>,
    /// Longest batch [default: 128KiB]
    #[arg(long, value_name = "SIZE", help_heading = CLUSTER)]
    pub batch_max: Option<Size>,
    /// Longest request payload [default: 64KiB]
    #[arg(long, value_name = "SIZE", help_heading = CLUSTER)]
    pub payload_max: Option<Size>,
    /// Sessions in all; each may keep `window` replies of `reply-max` bytes in memory [default: 4096]
    #[arg(long, value_name = "COUNT", help_heading = CLUSTER)]
    pub sessions_max: Option<u32>,
    /// Sessions of one key [default: 1024]
    #[arg(long, value_name = "COUNT", help_heading = CLUSTER)]
    pub sessions_per_key: Option<u32>,
    /// Open requests of one session [default: 1024]
    #[arg(long, value_name = "COUNT", help_heading = CLUSTER)]
    pub window: Option<u32>,
    /// Longest reply [default: 1KiB]
    #[arg(long, value_name = "SIZE", help_heading = CLUSTER)]
    pub reply_max: Option<Size>,
    /// A session without a record for this long expires. After it a client cannot learn what became of its
    /// open requests [default: 600s]
    #[arg(long, value_name = "DURATION", help_heading = CLUSTER)]
    pub session_timeout: Option<Span>,
    /// Outputs that one step of the application may emit [default: 64]
    #[arg(long, value_name = "COUNT", help_heading = CLUSTER)]
    pub step_outputs_max: Option<u32>,
}

/// The command line of a server that has nothing else on it.
#[derive(Parser)]
#[command(about = "Runs a node.", version)]
struct CommandLine {
    /// TOML file with settings, under the names of the flags; flags win
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    settings: ServerConfig,
}

/// A number of bytes: `65536`, `64KiB`, `64MiB`, `1GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "toml::Value")]
pub struct Size(pub u64);

/// How much is retained: a [`Size`], or `all`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "toml::Value")]
pub struct Retain(pub u64);

/// A length of time: `250ms`, `10s`, `5m`, `2h`, `7d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "toml::Value")]
pub struct Span(pub Duration);

/// A number with the first unit whose name ends the text.
fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let (digits, unit) = units.iter().find_map(|(name, unit)| Some((text.strip_suffix(name)?, unit)))?;
    digits.trim_end().parse::<u64>().ok()?.checked_mul(*unit)
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const UNITS: [(&str, u64); 5] =
            [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("B", 1), ("", 1)];
        let bytes = with_unit(text, &UNITS);
        bytes.map(Self).ok_or_else(|| format!("{text:?} is no size; write 65536, 64KiB, 64MiB or 1GiB"))
    }
}

impl FromStr for Retain {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "all" { Ok(Self(u64::MAX)) } else { text.parse().map(|Size(size)| Self(size)) }
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const UNITS: [(&str, u64); 6] = [
            ("us", 1),
            ("ms", 1_000),
            ("s", 1_000_000),
            ("m", 60_000_000),
            ("h", 3_600_000_000),
            ("d", 86_400_000_000),
        ];
        let micros = with_unit(text, &UNITS).map(Duration::from_micros);
        micros.map(Self).ok_or_else(|| format!("{text:?} is no length of time; write 250ms, 10s, 5m or 2h"))
    }
}

impl TryFrom<toml::Value> for Size {
    type Error = String;

    fn try_from(value: toml::Value) -> Result<Self, String> {
        value.as_str().map_or_else(|| value.to_string().parse(), str::parse)
    }
}

impl TryFrom<toml::Value> for Retain {
    type Error = String;

    fn try_from(value: toml::Value) -> Result<Self, String> {
        value.as_str().map_or_else(|| value.to_string().parse(), str::parse)
    }
}

impl TryFrom<toml::Value> for Span {
    type Error = String;

    fn try_from(value: toml::Value) -> Result<Self, String> {
        value.as_str().map_or_else(|| value.to_string().parse(), str::parse)
    }
}

/// Who stores snapshots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SnapshotMode {
    /// A second copy of the state.
    Shadow,
    /// Nobody.
    Off,
}

/// Form of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// Names of [`Mode`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the modes say what they are")]
pub enum ModeName {
    Auto,
    Dedicated,
    Compact,
}

/// Names of [`Idle`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the strategies say what they are")]
pub enum IdleName {
    Spin,
    Yield,
    Park,
    Adaptive,
}

/// What is wrong with a configuration: everything at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(pub Vec<String>);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the configuration cannot be used:")?;
        self.0.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl std::error::Error for ConfigError {}

/// A configuration that makes sense.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Validated {
    /// Data directory.
    pub data: PathBuf,
    /// Client connections.
    pub net: NetOptions,
    /// Whether the addresses for clients were named.
    pub listen_given: bool,
    /// Address for the other nodes, if named.
    pub peer_listen: Option<SocketAddr>,
    /// Patience with a silent leader.
    pub election_timeout: Duration,
    /// Address of the operations server, if any.
    pub metrics: Option<SocketAddr>,
    /// Whether that was said, address or none.
    pub metrics_given: bool,
    /// Bytes of the log ring, if given.
    pub ring_size: Option<u64>,
    /// Segments from one snapshot to the next; `None` if none are stored.
    pub snapshot_every: Option<u64>,
    /// Bytes of journal kept behind snapshots.
    pub retain: u64,
    /// Time in which all full segments are read once; `None`: they are not.
    pub scrub_every: Option<Nanos>,
    /// Whether to lock memory.
    pub lock_memory: bool,
    /// Whether a lone node writes its log by direct I/O.
    pub direct_io: bool,
    /// A file whose existence stalls the disk.
    pub stall_while: Option<PathBuf>,
    /// How long input may wait for a sync.
    pub input_delay: Nanos,
    /// Bound of a graceful stop.
    pub stop_timeout: Duration,
    /// Form of the log.
    pub log_format: LogFormat,
    /// What is logged.
    pub log_level: String,
    /// Threads.
    pub runner: RunnerOptions,
    given: GivenFacts,
}

/// Cluster facts that the operator named.
#[derive(Clone, Debug, Default)]
struct GivenFacts {
    cluster: Option<ClusterId>,
    policy: Option<AckPolicy>,
    config: ServerConfig,
}

impl GivenFacts {
    fn apply(&self, facts: &mut ClusterFacts) {
        fn set<T>(fact: &mut T, given: Option<T>) {
            if let Some(given) = given {
                *fact = given;
            }
        }
        // Sizes beyond 32 bits were refused.
        let small = |size: Option<Size>| size.map(|size| size.0 as u32);
        let config = &self.config;
        set(&mut facts.cluster, self.cluster);
        set(&mut facts.created, config.created.map(Nanos));
        set(&mut facts.voters, config.voters);
        set(&mut facts.policy, self.policy);
        set(&mut facts.unsynced_max, config.unsynced_max);
        set(&mut facts.segment_size, config.segment_size.map(|size| size.0));
        set(&mut facts.batch_max, small(config.batch_max));
        set(&mut facts.payload_max, small(config.payload_max));
        set(&mut facts.sessions_max, config.sessions_max);
        set(&mut facts.sessions_per_key, config.sessions_per_key);
        set(&mut facts.window, config.window);
        set(&mut facts.reply_max, small(config.reply_max));
        set(&mut facts.session_timeout, config.session_timeout.map(|span| Nanos(span.0.as_nanos() as u64)));
        set(&mut facts.step_outputs_max, config.step_outputs_max);
    }
}

impl Validated {
    /// `facts` with what the operator named put in place.
    #[must_use]
    pub fn with_given(&self, facts: &ClusterFacts) -> ClusterFacts {
        let mut facts = facts.clone();
        self.given.apply(&mut facts);
        facts
    }

    /// The facts of a new cluster.
    ///
    /// # Errors
    /// If there is more than one voter and the operator named no identity: nodes that draw their own would
    /// never form one cluster.
    pub fn new_facts(&self, drawn: ClusterId, now: Nanos) -> Result<ClusterFacts, ConfigError> {
        let voters = self.given.config.voters.unwrap_or(1);
        if voters > 1 && (self.given.cluster.is_none() || self.given.config.created.is_none()) {
            return Err(ConfigError(vec![format!(
                "there is no file `facts` in {}: a cluster of {voters} nodes is made by `ordain cluster init`, which \
                 says what to copy where",
                self.data.display()
            )]));
        }
        Ok(self.with_given(&ClusterFacts::new(drawn, now, voters)))
    }
}

impl ServerConfig {
    /// Reads the command line and the file that it names. Prints help, the version or what is wrong, and
    /// ends the process, where these are asked for or due.
    #[must_use]
    pub fn parse() -> Self {
        Self::try_parse_from(std::env::args_os()).unwrap_or_else(|error| error.exit())
    }

    /// As [`ServerConfig::parse`], from these arguments, the first of which is the program's name.
    ///
    /// # Errors
    /// What is wrong, or the help that was asked for.
    pub fn try_parse_from<I, T>(arguments: I) -> Result<Self, clap::Error>
    where
        I: IntoIterator<Item = T>,
        T: Into<std::ffi::OsString> + Clone,
    {
        let line = CommandLine::try_parse_from(arguments)?;
        line.settings
            .with_file(line.config.as_deref())
            .map_err(|error| clap::Error::raw(clap::error::ErrorKind::ValueValidation, format!("{error}\n")))
    }

    /// These settings, and those of the file where these are silent.
    ///
    /// # Errors
    /// If the file cannot be read or holds what is no setting.
    pub fn with_file(self, path: Option<&Path>) -> Result<Self, ConfigError> {
        let Some(path) = path else { return Ok(self) };
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigError(vec![format!("cannot read {}: {error}", path.display())]))?;
        let file = Self::from_toml(&text).map_err(|ConfigError(problems)| {
            let named = |problem| format!("{}: {problem}", path.display());
            ConfigError(problems.into_iter().map(named).collect())
        })?;
        Ok(self.or(file))
    }

    /// Settings from the text of a TOML file.
    ///
    /// # Errors
    /// If it is no TOML or holds what is no setting.
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        let parsed: toml::Table = text.parse().map_err(|error| ConfigError(vec![format!("{error}")]))?;
        let command = Self::augment_args(clap::Command::new("settings"));
        let known: Vec<&str> = command.get_arguments().filter_map(|argument| argument.get_long()).collect();
        let unknown = parsed.keys().filter(|key| !known.contains(&key.as_str()));
        let problems = unknown.map(|key| {
            let nearest = known.iter().min_by_key(|name| distance(key, name));
            let nearest = nearest.filter(|name| distance(key, name) <= 3);
            let hint = nearest.map_or_else(String::new, |name| format!("; did you mean `{name}`?"));
            format!("`{key}` is no setting{hint}")
        });
        let problems: Vec<String> = problems.collect();
        if !problems.is_empty() {
            return Err(ConfigError(problems));
        }
        parsed.try_into().map_err(|error| ConfigError(vec![format!("{error}").trim_end().to_owned()]))
    }

    fn or(self, other: Self) -> Self {
        macro_rules! merge {
            ($($option:ident)*; $($list:ident)*) => {
                Self {
                    $($option: self.$option.or(other.$option),)*
                    $($list: if self.$list.is_empty() { other.$list } else { self.$list },)*
                }
            };
        }
        merge!(
            data unix metrics peer_listen election_timeout connections_max send_max ring_size snapshots snapshot_every
            retain scrub_every lock_memory direct_io stall_while input_delay stop_timeout log_format
            log_level mode idle spins yields duty_limit cluster created voters durability unsynced_max
            segment_size batch_max payload_max sessions_max sessions_per_key window reply_max session_timeout
            step_outputs_max;
            listen group cores
        )
    }

    /// Checks everything that can be checked without touching the machine.
    ///
    /// # Errors
    /// All problems found.
    pub fn validate(self) -> Result<Validated, ConfigError> {
        let mut problems = Vec::new();
        let mut need = |holds: bool, problem: &str| {
            if !holds {
                problems.push(problem.to_owned());
            }
        };
        let listen = match self.listen.len() {
            0 => vec![SocketAddr::from(([127, 0, 0, 1], 7400))],
            _ => self.listen.clone(),
        };
        need(listen.len() + usize::from(self.unix.is_some()) <= 8, "listen, unix: at most eight addresses");
        let metrics = match self.metrics.as_deref() {
            None => Some(SocketAddr::from(([127, 0, 0, 1], 7401))),
            Some("off") => None,
            Some(text) => {
                let address = text.parse().ok();
                need(address.is_some(), "metrics: an address such as 127.0.0.1:7401, or off");
                address
            }
        };
        let election_timeout = self.election_timeout.map_or(Duration::from_millis(150), |span| span.0);
        let bounds = Duration::from_millis(20)..=Duration::from_secs(60);
        need(bounds.contains(&election_timeout), "election-timeout: between 20ms and 60s");
        let connections_max = self.connections_max.unwrap_or(1024);
        need((1..=1 << 20).contains(&connections_max), "connections-max: between 1 and 1,048,576");
        let send_max = self.send_max.map_or(4 << 20, |size| size.0);
        need((128 << 10..=1 << 30).contains(&send_max), "send-max: between 128KiB and 1GiB");
        let every = self.snapshot_every.unwrap_or(1);
        need((1..=1 << 20).contains(&every), "snapshot-every: between 1 and 1,048,576");
        let scrub_every = self.scrub_every.map_or(SCRUB_EVERY, |span| span.0);
        need(scrub_every <= Duration::from_secs(366 * 86_400), "scrub-every: at most 366d; 0s for never");
        let limit = self.duty_limit.unwrap_or(1024);
        need((1..=1 << 20).contains(&limit), "duty-limit: between 1 and 1,048,576");
        let (spins, yields) = (self.spins.unwrap_or(8), self.yields.unwrap_or(8));
        need(spins <= 1 << 20 && yields <= 1 << 20, "spins, yields: at most 1,048,576");
        need(
            (self.spins.is_none() && self.yields.is_none())
                || matches!(self.idle, None | Some(IdleName::Adaptive)),
            "spins, yields: only with idle = adaptive",
        );
        let log_level = self.log_level.clone().unwrap_or_else(|| "info".to_owned());
        need(
            tracing_subscriber::EnvFilter::try_new(&log_level).is_ok(),
            "log-level: error, warn, info, debug, trace, or filters such as ordain_host=debug",
        );

        let cluster = self.cluster.as_deref().map(parse_cluster);
        need(cluster != Some(None), "cluster: 32 hexadecimal digits");
        let policy = self.durability.as_deref().map(|text| parse_policy(text, self.voters.unwrap_or(1)));
        need(
            policy != Some(None),
            "durability: one-disk, disk-ram, two-disks, ram, or two numbers such as 2/1",
        );
        let small = |size: Option<Size>| size.is_none_or(|size| size.0 <= u64::from(u32::MAX));
        let sizes = small(self.batch_max) && small(self.payload_max) && small(self.reply_max);
        need(sizes, "batch-max, payload-max, reply-max: below 4GiB");
        let voters = self.voters.unwrap_or(1);
        let given = GivenFacts { cluster: cluster.flatten(), policy: policy.flatten(), config: self.clone() };
        let mut facts = ClusterFacts::new(ClusterId::default(), Nanos(1), voters);
        given.apply(&mut facts);
        if let Err(problem) = facts.check()
            && sizes
        {
            problems.push(problem.replace('_', "-"));
        }
        if !problems.is_empty() {
            return Err(ConfigError(problems));
        }
        Ok(Validated {
            data: self.data.unwrap_or_else(|| PathBuf::from("./ordain-data")),
            net: NetOptions {
                tcp: listen,
                unix: self.unix.into_iter().collect(),
                connections_max,
                send_max: send_max as usize,
            },
            listen_given: !self.listen.is_empty(),
            peer_listen: self.peer_listen,
            election_timeout,
            metrics,
            metrics_given: self.metrics.is_some(),
            ring_size: self.ring_size.map(|size| size.0),
            snapshot_every: (self.snapshots != Some(SnapshotMode::Off)).then_some(every),
            retain: self.retain.map_or(4 << 30, |retain| retain.0),
            scrub_every: Some(scrub_every)
                .filter(|every| *every > Duration::ZERO)
                .map(|every| Nanos(u64::try_from(every.as_nanos()).expect("it is a year at most"))),
            lock_memory: self.lock_memory.unwrap_or(false),
            direct_io: self.direct_io.unwrap_or(true),
            stall_while: self.stall_while,
            input_delay: Nanos(self.input_delay.map_or(200_000, |span| span.0.as_nanos() as u64)),
            stop_timeout: self.stop_timeout.map_or(Duration::from_secs(10), |span| span.0),
            log_format: self.log_format.unwrap_or_default(),
            log_level,
            runner: RunnerOptions {
                mode: match self.mode {
                    None | Some(ModeName::Auto) => Mode::Auto,
                    Some(ModeName::Dedicated) => Mode::Dedicated,
                    Some(ModeName::Compact) => Mode::Compact,
                },
                groups: self
                    .group
                    .iter()
                    .map(|group| group.split(',').map(|name| name.trim().to_owned()).collect())
                    .collect(),
                cores: self.cores,
                idle: match self.idle {
                    Some(IdleName::Spin) => Idle::Spin,
                    Some(IdleName::Yield) => Idle::Yield,
                    Some(IdleName::Park) => Idle::Park,
                    None | Some(IdleName::Adaptive) => Idle::Adaptive { spins, yields },
                },
                limit,
            },
            given,
        })
    }
}

/// 32 hexadecimal digits.
pub(crate) fn parse_cluster(text: &str) -> Option<ClusterId> {
    let plain = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = plain.then(|| u128::from_str_radix(text, 16).ok())??;
    Some(ClusterId(number.to_be_bytes()))
}

/// A policy's name, or `RECEIVED/DURABLE`.
pub fn parse_policy(text: &str, voters: u32) -> Option<AckPolicy> {
    let majority = voters.max(3) / 2 + 1;
    match text {
        "one-disk" => Some(AckPolicy::ONE_DISK),
        "disk-ram" | "disk+ram" | "hybrid" => Some(AckPolicy { received: majority, durable: 1 }),
        "two-disks" | "durably-replicated" => Some(AckPolicy { received: majority, durable: majority }),
        "ram" => Some(AckPolicy { received: majority, durable: 0 }),
        _ => {
            let (received, durable) = text.split_once('/')?;
            Some(AckPolicy { received: received.parse().ok()?, durable: durable.parse().ok()? })
        }
    }
}

/// Edit distance (Levenshtein), for suggestions.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(arguments: &[&str]) -> String {
        let config = ServerConfig::try_parse_from(["node"].iter().chain(arguments)).unwrap();
        config.validate().map(drop).unwrap_err().to_string()
    }

    #[test]
    fn defaults_are_valid() {
        let config = ServerConfig::try_parse_from(["node"]).unwrap().validate().unwrap();
        assert_eq!(config.data, Path::new("./ordain-data"));
        assert_eq!(config.net.tcp, ["127.0.0.1:7400".parse().unwrap()]);
        assert_eq!(config.metrics, Some("127.0.0.1:7401".parse().unwrap()));
        assert_eq!(config.runner, RunnerOptions::default());
        assert_eq!(config.scrub_every, Some(Nanos(7 * 86_400 * Nanos::SECOND)));
        let never =
            ServerConfig::try_parse_from(["node", "--scrub-every", "0s"]).unwrap().validate().unwrap();
        assert_eq!(never.scrub_every, None);
        let facts = config.new_facts(ClusterId([7; 16]), Nanos(9)).unwrap();
        assert_eq!(facts, ClusterFacts::new(ClusterId([7; 16]), Nanos(9), 1));
    }

    #[test]
    fn every_setting_can_stand_in_a_file_and_flags_win() {
        let text = r#"
            data = "/var/lib/ordain"
            listen = ["0.0.0.0:1", "0.0.0.0:2"]
            unix = "/run/node.sock"
            metrics = "off"
            peer-listen = "0.0.0.0:3"
            election-timeout = "300ms"
            connections-max = 10
            send-max = "1MiB"
            ring-size = 134217728
            snapshots = "shadow"
            snapshot-every = 3
            retain = "all"
            scrub-every = "1d"
            lock-memory = true
            direct-io = false
            stall-while = "/run/stall"
            input-delay = "50us"
            stop-timeout = "250ms"
            log-format = "json"
            log-level = "debug"
            mode = "dedicated"
            group = ["log, journal"]
            cores = [2, 3]
            idle = "adaptive"
            spins = 100
            yields = 0
            duty-limit = 64
            cluster = "000102030405060708090a0b0c0d0e0f"
            created = 5
            voters = 3
            durability = "two-disks"
            unsynced-max = 32
            segment-size = "1MiB"
            batch-max = "64KiB"
            payload-max = "1KiB"
            sessions-max = 8
            sessions-per-key = 4
            window = 16
            reply-max = 512
            session-timeout = "5m"
            step-outputs-max = 4
        "#;
        let file = ServerConfig::from_toml(text).unwrap();
        let names = text.lines().filter(|line| line.contains('=')).count();
        let command = ServerConfig::augment_args(clap::Command::new("settings"));
        assert_eq!(names, command.get_arguments().count(), "a setting is missing in this test");

        let flags =
            ServerConfig::try_parse_from(["node", "--lock-memory=false", "--listen", "[::1]:9"]).unwrap();
        let config = flags.or(file).validate().unwrap();
        assert!(!config.lock_memory && config.listen_given && config.metrics_given);
        assert_eq!(config.peer_listen, Some("0.0.0.0:3".parse().unwrap()));
        assert_eq!(config.election_timeout, Duration::from_millis(300));
        assert!(!config.direct_io);
        assert_eq!(config.input_delay, Nanos(50_000));
        assert_eq!(config.net.tcp, ["[::1]:9".parse().unwrap()]);
        assert_eq!((config.snapshot_every, config.retain), (Some(3), u64::MAX));
        assert_eq!(config.scrub_every, Some(Nanos(86_400 * Nanos::SECOND)));
        assert_eq!(config.net.unix, [PathBuf::from("/run/node.sock")]);
        assert_eq!((config.net.connections_max, config.net.send_max), (10, 1 << 20));
        assert_eq!((config.metrics, config.stop_timeout), (None, Duration::from_millis(250)));
        let runner = RunnerOptions {
            mode: Mode::Dedicated,
            groups: vec![vec!["log".into(), "journal".into()]],
            cores: vec![2, 3],
            idle: Idle::Adaptive { spins: 100, yields: 0 },
            limit: 64,
        };
        assert_eq!(config.runner, runner);
        let facts = config.new_facts(ClusterId::default(), Nanos(1)).unwrap();
        let expected = ClusterFacts {
            cluster: ClusterId([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]),
            created: Nanos(5),
            voters: 3,
            policy: AckPolicy::TWO_DISKS,
            unsynced_max: 32,
            segment_size: 1 << 20,
            batch_max: 64 << 10,
            payload_max: 1 << 10,
            sessions_max: 8,
            sessions_per_key: 4,
            window: 16,
            reply_max: 512,
            session_timeout: Nanos(300 * Nanos::SECOND),
            step_outputs_max: 4,
        };
        assert_eq!(facts, expected);
    }

    #[test]
    fn all_problems_are_told_at_once() {
        let text = problems(&[
            "--metrics",
            "nowhere",
            "--duty-limit",
            "0",
            "--durability",
            "3/3",
            "--idle",
            "spin",
            "--spins",
            "4",
            "--cluster",
            "12",
            "--log-level",
            "a=b=c",
            "--reply-max",
            "5GiB",
        ]);
        for part in [
            "metrics:",
            "duty-limit:",
            "spins, yields: only",
            "cluster: 32",
            "log-level:",
            "reply-max: below",
        ] {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
        assert!(problems(&["--durability", "3/3"]).contains("ack policy"));
        assert!(problems(&["--durability", "best"]).contains("durability:"));
        assert!(problems(&["--segment-size", "1000"]).contains("segment-size"));
        assert!(problems(&["--election-timeout", "5ms"]).contains("election-timeout:"));
    }

    #[test]
    fn a_cluster_of_several_needs_one_identity() {
        let config = ServerConfig::try_parse_from(["node", "--voters", "3"]).unwrap().validate().unwrap();
        let error = config.new_facts(ClusterId([1; 16]), Nanos(7)).unwrap_err().to_string();
        assert!(error.contains("ordain cluster init"), "{error}");
    }

    #[test]
    fn unknown_keys_are_refused_with_a_suggestion() {
        let error = ServerConfig::from_toml("segmentsize = 5\ncolour = 1").unwrap_err().to_string();
        assert!(error.contains("`segmentsize` is no setting; did you mean `segment-size`?"), "{error}");
        assert!(error.contains("`colour` is no setting"), "{error}");
        assert!(ServerConfig::from_toml("window = \"many\"").is_err());
        assert!(ServerConfig::from_toml("segment-size = -5").is_err());
        assert!(ServerConfig::from_toml("= =").is_err());
    }

    #[test]
    fn units_are_read() {
        let size = |text: &str| text.parse::<Size>().ok().map(|size| size.0);
        assert_eq!(size("64 MiB"), Some(64 << 20));
        assert_eq!(size("17"), Some(17));
        assert_eq!(size("17B"), Some(17));
        for text in ["", "MiB", "-1", "1.5MiB", "64MB", "99999999999GiB"] {
            assert_eq!(size(text), None, "{text}");
        }
        let span = |text: &str| text.parse::<Span>().ok().map(|span| span.0.as_millis());
        assert_eq!((span("250ms"), span("2h"), span("10")), (Some(250), Some(7_200_000), None));
    }
}
