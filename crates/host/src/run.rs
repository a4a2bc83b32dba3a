//! A node of an application: [`run`] is what an author calls.

use crate::clock;
use crate::config::{ServerConfig, Validated};
use crate::keys;
use crate::peers::{OtherNode, TcpPeers};
use crate::server::{Addresses, Hooks, Ports, ServerError, StopHandle, serve};
use crate::witness::{SHARED_MEMORY, SharedMemory};
use core::task::Poll;
use ordain_agent::disk::Disk;
use ordain_agent::peer::{NoPeers, Peers};
use ordain_agent::witness::Witness;
use ordain_agent::{Agent, Fatal};
use ordain_api::{AppFactory, RequestDecoder, ResponseEncoder, permission};
use ordain_keys::{KeyPair, PeerSelf, PublicKey, Software, Versions};
use ordain_node::gateway::GatewayConfig;
use ordain_node::journal::{Lanes, OsBoot};
use ordain_node::{AGENTS, App, Boot, GUARD, NodeConfig, SHADOW, ShadowLanes, SnapshotLanes, Snapshots};
use ordain_types::frame::KeyBody;
use ordain_types::members::Member;
use ordain_types::{Configuration, Nanos, members};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

/// Operations in flight on the log's lane: a write and a sync each, and writes that arrive meanwhile.
const LOG_LANE: usize = 32;
/// Bytes between gateway and log: about 8,000 orders, a few milliseconds at full rate.
const REQUEST_RING: usize = 1 << 20;
/// Bytes between log and apply for questions.
const QUESTION_RING: usize = 1 << 18;
/// Bytes between apply and gateway: what may wait for its copies, some 80,000 answers, a tenth of a second at full
/// rate. While the gateway waits, apply may as well: each byte of this ring is touched in turn, so a larger one costs
/// cold memory with every answer.
const DELIVERY_RING: usize = 1 << 24;

/// Runs a node of an application until it is stopped or fails. `hooks` tell a program around it where the
/// node listens and let it stop the node; most pass `None`.
///
/// # Errors
/// [`ServerError`], whose text says what happened and what to do. The journal is kept in every case.
pub fn run<F, D, E>(
    config: ServerConfig,
    factory: F,
    decoder: D,
    encoder: E,
    hooks: Option<Hooks>,
) -> Result<(), ServerError>
where
    F: AppFactory,
    D: RequestDecoder<F::App>,
    E: ResponseEncoder<F::App>,
{
    let mut config = config.validate().map_err(ServerError::Config)?;
    let factory = Arc::new(factory);
    let shadow = usize::from(config.snapshot_every.is_some());
    let agents = &AGENTS[..AGENTS.len() - 1 + shadow];
    let (stop, mut on_ready) = match hooks {
        Some(hooks) => (hooks.stop, Some(hooks.on_ready)),
        None => {
            let failed = |error| ServerError::System { what: "make a doorbell", error };
            (StopHandle::new().map_err(failed)?, None)
        }
    };
    loop {
        let app = App { factory: factory.clone(), decoder: decoder.clone(), encoder: encoder.clone() };
        let (sender, listens) = channel();
        let tell = on_ready.take();
        let on_ready = Box::new(move |addresses: Addresses| {
            let _ = sender.send(addresses.tcp.clone());
            if let Some(tell) = tell {
                tell(addresses);
            }
        });
        let hooks = Hooks { on_ready, stop: stop.clone() };
        match serve(&config, agents, |ports| build(&config, ports, app), Some(hooks)) {
            Err(ServerError::Failed(failure)) if failure.fatal.begins_anew => {
                // Clients find it where it was, whatever ports the system chose.
                if let Ok(tcp) = listens.try_recv() {
                    (config.net.tcp, config.listen_given) = (tcp, true);
                }
            }
            outcome => return outcome,
        }
    }
}

fn build<F, D, E>(config: &Validated, host: Ports, app: App<F, D, E>) -> Result<Vec<Box<dyn Agent>>, Fatal>
where
    F: AppFactory,
    D: RequestDecoder<F::App>,
    E: ResponseEncoder<F::App>,
{
    let facts = host.facts.clone();
    let (node, operator) = keys::of_directory(host.dir().path())
        .map_err(|error| Fatal::new("the node has no keys", error.to_string()))?;
    let operator = host.members.as_ref().map(|members| members.operator).or_else(|| Some(operator?.public()));
    if operator.is_none() {
        tracing::warn!(
            "the operator's key file is not in the data directory: only keys added before can sign in"
        );
    }
    let peers = peers(&host, &node)?;
    let random = || keys::random().map_err(|error| Fatal::new("the node cannot start", error.to_string()));
    let seed = u64::from_le_bytes(random()?[..8].try_into().expect("eight of 32 bytes"));
    let made = configuration(&host, &node);
    host.cursors.board.post(made.clone());
    let gateway = GatewayConfig {
        made: Some(Arc::new(made.clone())),
        node: host.node,
        founder: operator.map_or([0; 32], |operator| operator.0),
        connections_max: config.net.connections_max,
        input_delay: if host.gateway_journals { config.input_delay } else { Nanos::ZERO },
        ..GatewayConfig::new(node, random()?)
    };
    let policy = facts.policy;
    let node_config = NodeConfig {
        id: host.node,
        configuration: made,
        contacts: host.members.iter().flat_map(|members| members.joined.iter().cloned()).collect(),
        ring_size: host.ring_size as usize,
        request_ring: REQUEST_RING,
        question_ring: QUESTION_RING,
        delivery_ring: DELIVERY_RING,
        os_boot: OsBoot(host.os_boot),
        election_timeout: Nanos(host.election_timeout.as_nanos() as u64),
        heartbeat: Nanos(host.election_timeout.as_nanos() as u64 / 5),
        seed,
        keys: operator.map(operator_key).into_iter().collect(),
        gateway,
        snapshots: config.snapshot_every.map(|every| Snapshots { every }),
        retain: config.retain,
        scrub_every: config.scrub_every,
        facts: facts.clone(),
    };
    // Before the threads run, nobody but this one waits for it.
    let bell = host.bell("log").clone();
    let ports = ordain_node::Ports::<_, Box<dyn Disk>, _> {
        journal: Lanes {
            // With peers, a copy counts once it is written: before it is synced.
            log: host.log_lane("journal", LOG_LANE, config.direct_io && facts.voters == 1)?,
            state: Box::new(host.lane("journal", "state", 2)?),
            prepare: Box::new(host.lane("journal", "prepare", 1)?),
        },
        replay: Box::new(host.lane("apply", "replay", 2)?),
        guard: Box::new(host.cold_lane(GUARD, "guard", 2)?),
        shadow: match config.snapshot_every {
            Some(_) => Some(ShadowLanes {
                log: Box::new(host.lane(SHADOW, "shadow-log", 2)?),
                snapshots: Box::new(host.lane(SHADOW, "snapshots", 2)?),
            }),
            None => None,
        },
        snapshots: match host.peer_listen {
            Some(_) => Some(SnapshotLanes {
                send: Box::new(host.lane("log", "snapshot-send", 2)?),
                receive: Box::new(host.lane("log", "snapshot-recv", 2)?),
            }),
            None => None,
        },
        witness: (policy.counts_memory() || facts.voters > 1).then(|| witness(host.dir().path())).flatten(),
        recovery: Box::new(host.lane("log", "recovery", 2)?),
        peers,
        net: host.net,
    };
    let mut boot = Boot::new(node_config, ports, app, host.registry, host.cursors);
    loop {
        // What a lane finishes from here on ends the wait below.
        bell.announce();
        match boot.step(clock::now()) {
            Poll::Ready(Ok(node)) => {
                let found = &node.recovered;
                tracing::info!(
                    batches = found.batches,
                    records = found.records,
                    clean = found.was_clean,
                    cut_bytes = found.cut_bytes,
                    snapshot = node.started_from.map(|position| position.0),
                    oldest = found.oldest,
                    "journal recovered"
                );
                return Ok(node.agents);
            }
            Poll::Ready(Err(fatal)) => return Err(fatal),
            Poll::Pending if host.stop.asked() > 0 => {
                return Err(Fatal::new("the node was stopped while it recovered", "Start it again"));
            }
            Poll::Pending => {
                bell.wait(Duration::from_micros(100));
            }
        }
    }
}

/// What the cluster was made with.
fn configuration(host: &Ports, pair: &KeyPair) -> Configuration {
    let alone = || {
        let (peer, client) = (String::new(), String::new());
        vec![Member { id: host.node, peer, client, key: pair.public().0 }]
    };
    let members = host.members.as_ref().map_or_else(alone, |members| members.all.clone());
    Configuration::initial(&host.facts, &members)
}

fn witness(data: &Path) -> Option<Box<dyn Witness>> {
    match SharedMemory::open(Path::new(SHARED_MEMORY), data) {
        Ok(witness) => Some(Box::new(witness)),
        Err(error) => {
            tracing::warn!(
                %error,
                "no memory outlives this process: if it is killed, the next start counts as one after a power \
                 loss; see that {SHARED_MEMORY} is a tmpfs that the node may write to"
            );
            None
        }
    }
}

/// The way to the other nodes.
fn peers(host: &Ports, pair: &KeyPair) -> Result<Box<dyn Peers>, Fatal> {
    let (Some(members), Some(listen)) = (&host.members, host.peer_listen) else {
        return Ok(Box::new(NoPeers));
    };
    let fingerprint = members::fingerprint(&host.facts, &members.operator.0);
    let me = PeerSelf {
        pair: pair.clone(),
        cluster: host.facts.cluster,
        id: host.node,
        fingerprint,
        versions: Versions::OURS,
        software: Software::ours(),
    };
    let others = members.all.iter().chain(&members.joined).filter(|member| member.id != host.node);
    match TcpPeers::new(me, others.map(OtherNode::from).collect(), listen, host.bell("log"), &host.registry) {
        Ok(peers) => Ok(Box::new(peers)),
        Err(error) => Err(Fatal::new(
            format!("cannot listen for the other nodes on {listen}: {error}"),
            "Stop who uses the address, or name another one of this machine with peer-listen",
        )),
    }
}

fn operator_key(operator: PublicKey) -> KeyBody {
    KeyBody { key: operator.0, permissions: permission::ALL.into(), reserved: [0; 4] }
}
