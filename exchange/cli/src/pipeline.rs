//! `ordain bench --mode pipeline`: every stage of a node and its clients on one thread, the journal on the
//! real disk, without sockets: what the stages themselves cost, one by one.

use crate::error::{CliError, OrNext, Result};
use ordain_agent::Agent;
use ordain_agent::metrics::Registry;
use ordain_agent::net::{ConnId, Net, NetEvent};
use ordain_agent::peer::NoPeers;
use ordain_agent::shared::Shared;
use ordain_api::permission;
use ordain_client::{ClientCore, CoreConfig, Ending, Event, Outcome};
use ordain_exchange_bench::flow::{Flow, Settings, setup};
use ordain_exchange_server::{ExchangeDecoder, ExchangeEncoder, ExchangeFactory, SCHEMA};
use ordain_host::{clock, disk::DataDir, doorbell::Doorbell};
use ordain_keys::KeyPair;
use ordain_node::gateway::GatewayConfig;
use ordain_node::journal::{Lanes, OsBoot};
use ordain_node::{AGENTS, App, Boot, Node, NodeConfig, Ports};
use ordain_types::frame::KeyBody;
use ordain_types::members::Member;
use ordain_types::{ClusterFacts, ClusterId, Configuration, Nanos, NodeId};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

/// Bytes that a connection's buffers hold in each direction.
const BUFFER: usize = 4 << 20;
/// Units of work of a stage in one cycle, as the runner's default.
const LIMIT: usize = 1024;

/// What goes to and from the node between two of its polls.
#[derive(Default)]
struct Wires {
    to_node: Vec<Vec<u8>>,
    from_node: Vec<Vec<u8>>,
}

/// Connections in memory, all open from the start.
struct MemoryNet {
    wires: Arc<Mutex<Wires>>,
    received: Vec<Vec<u8>>,
    consumed: Vec<usize>,
    sending: Vec<Vec<u8>>,
    opened: bool,
}

fn lock(wires: &Mutex<Wires>) -> std::sync::MutexGuard<'_, Wires> {
    wires.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Net for MemoryNet {
    fn poll(&mut self, events: &mut Vec<NetEvent>, _limit: usize) -> usize {
        let before = events.len();
        if !std::mem::replace(&mut self.opened, true) {
            events.extend((0..self.received.len()).map(|conn| NetEvent::Opened(ConnId(conn as u64))));
        }
        let mut wires = lock(&self.wires);
        for (conn, arrived) in wires.to_node.iter_mut().enumerate() {
            if !arrived.is_empty() {
                let received = &mut self.received[conn];
                received.drain(..std::mem::take(&mut self.consumed[conn]));
                received.append(arrived);
                events.push(NetEvent::Received(ConnId(conn as u64)));
            }
        }
        drop(wires);
        self.flush();
        events.len() - before
    }

    fn received(&self, conn: ConnId) -> &[u8] {
        &self.received[conn.0 as usize][self.consumed[conn.0 as usize]..]
    }

    fn consume(&mut self, conn: ConnId, bytes: usize) {
        self.consumed[conn.0 as usize] += bytes;
    }

    fn send_room(&self, conn: ConnId) -> usize {
        BUFFER - self.sending[conn.0 as usize].len()
    }

    fn send(&mut self, conn: ConnId, bytes: &[u8]) -> bool {
        self.sending[conn.0 as usize].extend_from_slice(bytes);
        true
    }

    fn flush(&mut self) {
        let mut wires = lock(&self.wires);
        for (sending, out) in self.sending.iter_mut().zip(&mut wires.from_node) {
            out.append(sending);
        }
    }

    fn close(&mut self, _conn: ConnId) {}

    fn accept(&mut self, _accepting: bool) {}
}

/// A client of the pipeline.
struct Client {
    core: ClientCore,
    flow: Flow,
    inbox: Vec<u8>,
}

/// What a run of the pipeline came to.
pub struct Report {
    pub requests: u64,
    pub elapsed: Duration,
    /// Time per stage, in the order of [`AGENTS`], and of the clients.
    pub stages: Vec<(&'static str, Duration)>,
}

/// Runs the pipeline.
pub fn run(
    dir: &Path,
    connections: usize,
    window: usize,
    duration: Duration,
    flow: &Settings,
) -> Result<Report> {
    let data = dir.join(format!("ordain-pipeline-{}", std::process::id()));
    let result = run_in(&data, connections, window, duration, flow);
    let _ = std::fs::remove_dir_all(&data);
    result
}

fn run_in(
    data: &Path,
    connections: usize,
    window: usize,
    duration: Duration,
    settings: &Settings,
) -> Result<Report> {
    let key = KeyPair::from_seed(&[1; 32]);
    let wires = Arc::new(Mutex::new(Wires {
        to_node: vec![Vec::new(); connections],
        from_node: vec![Vec::new(); connections],
    }));
    let mut node = boot(data, connections, &key, wires.clone())?;
    serve(&mut node)?;
    let mut clients: Vec<Client> = (0..connections)
        .map(|number| {
            let mut core = ClientCore::new(CoreConfig::new(key.clone()));
            core.connected(clock::now().mono, [number as u8; 32], None);
            let flow = Flow::new(&Settings {
                seed: settings.seed + number as u64,
                stream: settings.stream + number as u16,
                live_max: (settings.live_max / connections).max(16),
                ..*settings
            });
            Client { core, flow, inbox: Vec::new() }
        })
        .collect();
    let mut spent = vec![Duration::ZERO; AGENTS.len() + 1];
    let mut opening = setup(settings, 1).peekable();
    let (mut requests, mut begun): (u64, Option<Instant>) = (0, None);
    loop {
        if begun.is_some_and(|begun| begun.elapsed() >= duration) {
            break;
        }
        let mut at = Instant::now();
        let now = clock::now();
        for (agent, spent) in node.agents.iter_mut().zip(&mut spent) {
            agent.do_work(now, LIMIT).map_err(|fatal| CliError::new(&fatal.cause, &fatal.action))?;
            let then = Instant::now();
            *spent += then - at;
            at = then;
        }
        for (number, client) in clients.iter_mut().enumerate() {
            requests += client.answered(number, &wires, now.mono)?;
            if begun.is_none() && number == 0 {
                while let Some(request) = opening.peek() {
                    if client.core.submit(SCHEMA, request).is_err() {
                        break;
                    }
                    opening.next();
                }
            } else if begun.is_some() {
                while client.core.open_requests() < window
                    && client.core.submit(SCHEMA, client.flow.next_request()).is_ok()
                {}
            }
            client.send(number, &wires, now.mono);
        }
        *spent.last_mut().expect("never empty") += at.elapsed();
        if begun.is_none() && opening.peek().is_none() && clients[0].core.open_requests() == 0 {
            (requests, begun) = (0, Some(Instant::now()));
            spent.fill(Duration::ZERO);
        }
    }
    let names = AGENTS.iter().copied().chain(["clients"]);
    Ok(Report {
        requests,
        elapsed: begun.expect("the loop ends after it began").elapsed(),
        stages: names.zip(spent).collect(),
    })
}

/// Steps the stages until the node serves clients: its first batches are on disk, applied and delivered.
fn serve(node: &mut Node) -> Result<()> {
    let mut quiet = 0;
    while quiet < 100 {
        let mut work = 0;
        for agent in &mut node.agents {
            let done = agent.do_work(clock::now(), LIMIT);
            work += done.map_err(|fatal| CliError::new(&fatal.cause, &fatal.action))?;
        }
        let is_led = node.shared.leads() && node.shared.committed.load() >= node.shared.stint_first.load();
        quiet = if work == 0 && is_led { quiet + 1 } else { 0 };
    }
    Ok(())
}

impl Client {
    fn answered(&mut self, number: usize, wires: &Mutex<Wires>, now: Nanos) -> Result<u64> {
        self.inbox.append(&mut lock(wires).from_node[number]);
        let mut answered = 0;
        let mut failure = None;
        let mut on = |event: Event<'_>| match event {
            Event::Completed(completion) => {
                answered += 1;
                if !matches!(completion.outcome, Outcome::Acknowledged { .. }) {
                    failure = Some("a request was not executed".to_owned());
                }
            }
            Event::Disconnected(Ending::Elsewhere { .. }) => {}
            Event::Disconnected(ending) => failure = Some(ending.to_string()),
            _ => {}
        };
        self.core.tick(now, &mut on);
        let used = self.core.receive(now, &self.inbox, &mut on);
        self.inbox.drain(..used);
        failure.map_or(Ok(answered), |failure| Err(CliError::new(failure, "Report this.")))
    }

    fn send(&mut self, number: usize, wires: &Mutex<Wires>, now: Nanos) {
        let bytes = self.core.outgoing(now);
        lock(wires).to_node[number].extend_from_slice(bytes);
        let len = bytes.len();
        self.core.sent(len);
    }
}

fn boot(data: &Path, connections: usize, key: &KeyPair, wires: Arc<Mutex<Wires>>) -> Result<Node> {
    let next = "Give a folder that you may write with --dir.";
    let dir = DataDir::open(data).or_next("no data directory", next)?;
    let bell = Doorbell::new().or_next("no doorbell", "Raise the limit of open files.")?;
    let lane = |name: &str, depth| {
        dir.lane(name, depth, bell.clone()).or_next("no disk lane", "Raise the limit of threads.")
    };
    let ports = Ports {
        net: MemoryNet {
            wires,
            received: vec![Vec::new(); connections],
            consumed: vec![0; connections],
            sending: vec![Vec::new(); connections],
            opened: false,
        },
        peers: NoPeers,
        recovery: lane("recovery", 2)?,
        journal: Lanes { log: lane("log", 32)?, state: lane("state", 2)?, prepare: lane("prepare", 1)? },
        replay: lane("replay", 2)?,
        guard: lane("guard", 2)?,
        shadow: None,
        snapshots: None,
        witness: None,
    };
    let facts = ClusterFacts::new(ClusterId([7; 16]), clock::now().wall, 1);
    let config = NodeConfig {
        id: NodeId(0),
        configuration: Configuration::initial(
            &facts,
            &[Member { id: NodeId(0), peer: String::new(), client: String::new(), key: key.public().0 }],
        ),
        contacts: Vec::new(),
        ring_size: facts.segment_size as usize,
        request_ring: 1 << 20,
        question_ring: 1 << 18,
        delivery_ring: 1 << 26,
        os_boot: OsBoot::default(),
        election_timeout: Nanos::from_millis(150),
        heartbeat: Nanos::from_millis(30),
        seed: 1,
        keys: vec![KeyBody { key: key.public().0, permissions: permission::ALL.into(), reserved: [0; 4] }],
        gateway: GatewayConfig::new(KeyPair::from_seed(&[2; 32]), [3; 32]),
        snapshots: None,
        retain: 0,
        scrub_every: None,
        facts,
    };
    let app = App {
        factory: Arc::new(ExchangeFactory::default()),
        decoder: ExchangeDecoder,
        encoder: ExchangeEncoder,
    };
    let mut boot = Boot::new(config, ports, app, Registry::default(), Shared::default());
    loop {
        match boot.step(clock::now()) {
            Poll::Ready(node) => return node.map_err(|fatal| CliError::new(fatal.cause, fatal.action)),
            Poll::Pending => {
                bell.wait(Duration::from_micros(100));
            }
        }
    }
}
