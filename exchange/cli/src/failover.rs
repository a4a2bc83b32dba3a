//! `ordain bench --mode failover`: a cluster under load whose leader is killed, frozen, stopped or asked to hand over
//! again and again.
//!
//! A prober sends one order after the other and notes when each was sent and answered, and by whom. What is reported of a
//! run is the time from just before that to the first answer of another node. Beside it a load keeps the log busy. At the end every acknowledgement that either got is
//! looked for in the journals of all nodes, with its reply, and the journals are compared byte for byte.

use crate::audit::{self, Ack, Acks, reply_hash};
use crate::bench::PATIENCE;
use crate::child::{ClusterSpec, OwnCluster};
use crate::error::{CliError, OrNext, Result};
use crate::journal;
use clap::ValueEnum;
use ordain_client::blocking::{Client as Operator, ClientError};
use ordain_client::pipelined::Client;
use ordain_client::{ClientConfig, Completion, Event, Outcome, SessionWish};
use ordain_exchange_bench::flow::{Flow, Settings};
use ordain_exchange_bench::load;
use ordain_exchange_server::SCHEMA;
use ordain_keys::PublicKey;
use ordain_types::steer::Steer;
use serde::Serialize;
use std::fmt;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

/// Between two rounds of the members: somebody will lead in a moment.
const PAUSE: Duration = Duration::from_millis(2);
/// How long the cluster is left alone before its leader is killed.
const CALM: Duration = Duration::from_millis(300);

/// What happens to the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum How {
    /// Its process is killed; its connections close
    Kill,
    /// Its process is frozen; its connections stay, and nothing comes over them, as if its machine had died
    Silence,
    /// An operator asks it to hand over; it goes on as a follower
    Transfer,
    /// Its process is asked to stop (SIGTERM)
    Stop,
}

pub struct Options {
    pub how: How,
    pub nodes: usize,
    pub runs: usize,
    pub facts: Vec<(String, String)>,
    pub node_args: Vec<String>,
    pub connections: usize,
    pub window: usize,
    /// Requests per second of the load.
    pub rate: u64,
    pub flow: Settings,
}

/// What was measured and found.
#[derive(Debug, Serialize)]
pub struct Failover {
    how: How,
    median_ms: f64,
    max_ms: f64,
    /// Of every run, in order.
    all_ms: Vec<f64>,
    acknowledged: u64,
    /// Acknowledgements that a node lacks or has with another reply, over all nodes.
    missing: u64,
    differing: u64,
    /// Requests not executed, or of unknown fate.
    lost: u64,
    /// The nodes' journals are the same as far as the shortest goes.
    same: bool,
}

impl Failover {
    pub const fn is_good(&self) -> bool {
        self.missing == 0 && self.differing == 0 && self.lost == 0 && self.same
    }
}

impl fmt::Display for Failover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "leader {} {} times; first new acknowledgement after {:.0} ms (median), {:.0} ms (longest)\n{} \
             acknowledgements: {} missing, {} differing, {} lost; journals {}",
            match self.how {
                How::Kill => "killed",
                How::Silence => "silenced",
                How::Transfer => "asked to hand over",
                How::Stop => "stopped",
            },
            self.all_ms.len(),
            self.median_ms,
            self.max_ms,
            self.acknowledged,
            self.missing,
            self.differing,
            self.lost,
            if self.same { "the same" } else { "DIFFERENT" }
        )
    }
}

/// An order of the prober that was answered.
struct Probe {
    answered: Instant,
    /// Who answered, if it is known.
    by: Option<PublicKey>,
}

/// What the clients share.
struct Shared {
    acks: Mutex<Acks>,
    lost: AtomicU64,
    ends: AtomicBool,
}

impl Shared {
    fn acknowledge(&self, session: u64, number: u64, seq: u64, reply: &[u8]) {
        let ack = Ack { seq, hash: reply_hash(reply) };
        self.acks.lock().expect("no holder of this lock panics").insert((session, number), ack);
    }

    fn ends(&self) -> bool {
        self.ends.load(Ordering::Relaxed)
    }
}

const NEXT: &str = "The nodes' log on standard error says why.";

pub fn measure(options: &Options, data: &Path) -> Result<Failover> {
    let spec = ClusterSpec {
        count: options.nodes,
        facts: options.facts.clone(),
        arguments: options.node_args.clone(),
        stalls: false,
    };
    let mut cluster = OwnCluster::start(data, spec)?;
    cluster.leader()?;
    let client = ClientConfig { timeout: PATIENCE, pause: PAUSE, ..cluster.operator()? };
    let shared = Shared { acks: Mutex::default(), lost: AtomicU64::new(0), ends: AtomicBool::new(false) };
    let mut on_ack = |session, number, seq, reply: &[u8]| {
        shared.acknowledge(session, number, seq, reply);
        Ok(())
    };
    load::open_exchange(&client, &options.flow, &mut on_ack).or_next("the load cannot begin", NEXT)?;
    let times = std::thread::scope(|scope| {
        let (tell, probes) = mpsc::channel();
        let prober = scope.spawn(|| probe(&client, &options.flow, &shared, tell));
        let loader = scope.spawn(|| keep_busy(options, &client, &shared));
        let times = (0..options.runs)
            .map(|_| fail_over(options.how, &mut cluster, &probes))
            .collect::<Result<Vec<_>>>();
        shared.ends.store(true, Ordering::Relaxed);
        let prober = prober.join().expect("the prober does not panic");
        let loader = loader.join().expect("the load does not panic");
        // If the clients failed, that is why no answer came.
        prober.and(loader).and(times)
    })?;
    cluster.leader()?;
    let dirs: Vec<_> = (0..options.nodes).map(|node| cluster.data(node)).collect();
    cluster.stop()?;

    let acks = shared.acks.into_inner().expect("no holder of this lock panics");
    let (mut missing, mut differing) = (0, 0);
    for dir in &dirs {
        let (findings, examples) = audit::compare(&acks, dir)?;
        examples.iter().for_each(|example| eprintln!("{example}"));
        missing += findings.missing;
        differing += findings.differing;
    }
    let mut sorted = times.clone();
    sorted.sort_unstable();
    let millis = |time: &Duration| time.as_secs_f64() * 1e3;
    Ok(Failover {
        how: options.how,
        median_ms: millis(&sorted[sorted.len() / 2]),
        max_ms: millis(&sorted[sorted.len() - 1]),
        all_ms: times.iter().map(millis).collect(),
        acknowledged: acks.len() as u64,
        missing,
        differing,
        lost: shared.lost.load(Ordering::Relaxed),
        same: journal::compare(&dirs)?.difference.is_none(),
    })
}

/// One run: until somebody is answered again. What was done to the leader is undone behind it.
fn fail_over(how: How, cluster: &mut OwnCluster, probes: &mpsc::Receiver<Probe>) -> Result<Duration> {
    let leader = cluster.leader()?;
    std::thread::sleep(CALM);
    let mut operator = match how {
        How::Transfer => Some(operator_at(leader, cluster)?),
        How::Kill | How::Silence | How::Stop => None,
    };
    while probes.try_recv().is_ok() {}
    let before = Instant::now();
    match how {
        How::Kill => cluster.kill(leader)?,
        How::Silence => cluster.freeze(leader, true)?,
        How::Transfer => match operator.as_mut().expect("it was made").steer(&Steer::Transfer(None)) {
            // The reign in which it was asked for may be over before the answer.
            Ok(_) | Err(ClientError::Unanswered(_)) => {}
            Err(error) => return Err(CliError::new(format!("the leader does not hand over: {error}"), NEXT)),
        },
        How::Stop => cluster.terminate(leader)?,
    }
    let old = cluster.key(leader);
    let answered = loop {
        let probe = probes.recv_timeout(PATIENCE).or_next("nobody is answered any more", NEXT)?;
        if probe.by.is_some_and(|by| by != old) {
            break probe.answered;
        }
        if before.elapsed() > PATIENCE {
            return Err(CliError::new("the lead stays where it was", NEXT));
        }
    };
    match how {
        How::Transfer => {}
        How::Stop => {
            cluster.await_stop(leader)?;
            cluster.restart(leader)?;
        }
        How::Kill => {
            cluster.bury(leader);
            cluster.restart(leader)?;
        }
        How::Silence => cluster.freeze(leader, false)?,
    }
    Ok(answered - before)
}

/// An operator's connection with the leader.
fn operator_at(leader: usize, cluster: &OwnCluster) -> Result<Operator> {
    let mut config = cluster.operator()?;
    config.members.swap(0, leader);
    config.members.truncate(1);
    (config.discover, config.core.session, config.timeout) = (false, SessionWish::None, PATIENCE);
    Operator::connect(&config).or_next("the operator cannot connect", NEXT)
}

/// Sends one order after the other.
fn probe(client: &ClientConfig, flow: &Settings, shared: &Shared, tell: mpsc::Sender<Probe>) -> Result<()> {
    let mut client = Client::connect(client).or_next("the prober cannot connect", NEXT)?;
    let session = client.core().session().map_or(0, |session| session.0);
    // The node that the first connection is with is not known, and is the leader before the first run.
    let mut by = None;
    let mut flow = Flow::new(&Settings { seed: flow.seed + 1_000, stream: flow.stream + 1_000, ..*flow });
    while !shared.ends() {
        client.submit(SCHEMA, flow.next_request()).or_next("the prober is not taken", "Report this.")?;
        while client.open_requests() > 0 && !shared.ends() {
            let on = |event: Event<'_>| {
                if let Event::SignedIn { node, .. } = event {
                    by = Some(node.key);
                } else if let Event::Completed(Completion { number, outcome, .. }) = event {
                    match outcome {
                        Outcome::Acknowledged { seq, reply } => {
                            shared.acknowledge(session, number.0, seq.0, reply);
                            // Nobody listens any more at the very end.
                            let _ = tell.send(Probe { answered: Instant::now(), by });
                        }
                        Outcome::NotExecuted(_) | Outcome::Unknown => {
                            shared.lost.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                }
            };
            client.poll_events(Duration::from_millis(5), on).or_next("the prober broke off", NEXT)?;
        }
    }
    Ok(())
}

/// Keeps the log busy until the end.
fn keep_busy(options: &Options, client: &ClientConfig, shared: &Shared) -> Result<()> {
    let load = load::Options {
        client: client.clone(),
        connections: options.connections,
        window: options.window,
        rate: Some(options.rate),
        warm_up: Duration::ZERO,
        duration: Duration::from_secs(3600),
        flow: options.flow,
    };
    let mut on_ack = |session, number, seq, reply: &[u8]| {
        shared.acknowledge(session, number, seq, reply);
        Ok(())
    };
    let goes_on =
        |_: &load::Report| if shared.ends() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
    let report = load::run(&load, &mut on_ack, goes_on).or_next("the load broke off", NEXT)?;
    shared.lost.fetch_add(report.lost, Ordering::Relaxed);
    Ok(())
}
