//! One life of a node's process: the production composition over simulated ports.

use crate::bend::{Bend, Bent};
use crate::disk::{SimDisk, StoreHandle};
use crate::net::{NetHandle, SimNet};
use crate::peers::{PeersHandle, SimPeers};
use crate::plan::Plan;
use crate::trace::Trace;
use crate::workload::Workload;
use core::task::Poll;
use ordain_agent::metrics::{Gauge, Registry};
use ordain_agent::shared::{Cursors, Shared};
use ordain_agent::{Agent, Fatal};
use ordain_api::{AppFactory, Needs, RestoreError, Seed};
use ordain_node::journal::{Floor, Lanes, OsBoot};
use ordain_node::{AGENTS, App, Boot, Node, NodeConfig, Ports, ShadowLanes, SnapshotLanes};
use ordain_types::members::Member;
use ordain_types::{Nanos, NodeId, Now};

/// Stages of a node.
pub const STAGES: usize = AGENTS.len();

/// Where and when a node starts.
pub struct Site<'a> {
    /// Its number.
    pub node: usize,
    /// The run's plan.
    pub plan: &'a Plan,
    /// Its disk.
    pub store: &'a StoreHandle,
    /// The run's record.
    pub trace: &'a Trace,
    /// The clients' network.
    pub net: &'a NetHandle,
    /// The nodes' network.
    pub peers: &'a PeersHandle,
    /// The life of the operating system.
    pub os_boot: u64,
    /// The highest level of behaviour that the build installed has.
    pub build: u16,
    /// Seed of election jitter.
    pub seed: u64,
    /// Of a node that was no member when the cluster was made: the members when it first started.
    pub contacts: &'a [Member],
}

type Start = Box<dyn FnMut(Now) -> Poll<Result<Node, Fatal>>>;

/// See the module.
pub struct Life {
    /// Until the node is ready.
    start: Option<Start>,
    agents: Vec<Box<dyn Agent>>,
    /// Whether recovery found everything that the last life had written.
    pub was_clean: bool,
    /// What recovery found that the node may lack, until it has caught up.
    pub floor: Option<Floor>,
    /// The node's cursors; nobody's before it is ready.
    pub shared: Shared,
    /// Its metrics.
    pub registry: Registry,
    /// Of these, whether it may lack what it acknowledged, once it runs.
    owes_floor: Option<Gauge>,
    /// Bends a reply.
    pub bend: Bend,
    trace: Trace,
}

impl Life {
    /// Starts a node.
    #[must_use]
    pub fn new<W: Workload>(site: &Site<'_>) -> Self {
        let plan = site.plan;
        let registry = Registry::default();
        let (factory, decoder, encoder) = W::parts();
        let bend = Bend::default();
        let encoder = Bent { inner: encoder, bend: bend.clone() };
        let mut os_boot = [0; 16];
        os_boot[..8].copy_from_slice(&site.os_boot.to_le_bytes());
        let config = NodeConfig {
            facts: plan.facts.clone(),
            id: NodeId(site.node as u32),
            configuration: plan.configuration(),
            contacts: site.contacts.to_vec(),
            ring_size: plan.ring,
            request_ring: 4 * ordain_node::gateway::REQUEST_RING_MIN,
            question_ring: 16 * 1024,
            delivery_ring: plan.delivery_ring::<W>(),
            os_boot: OsBoot(os_boot),
            election_timeout: plan.election_timeout,
            heartbeat: Nanos(plan.election_timeout.0 / 5),
            seed: site.seed,
            keys: plan.keys::<W>(),
            gateway: plan.gateway(site.node),
            snapshots: plan.snapshots,
            retain: plan.retain,
            scrub_every: plan.scrub_every,
            #[cfg(feature = "planted")]
            mutation: plan.mutation,
        };
        let ports: Ports<SimNet, SimDisk, SimPeers> = Ports {
            net: site.net.listen(site.node),
            peers: site.peers.join(site.node),
            recovery: site.store.lane(2),
            journal: Lanes {
                log: site.store.lane(20),
                state: site.store.lane(2),
                prepare: site.store.lane(1),
            },
            replay: site.store.lane(2),
            guard: site.store.lane(2),
            shadow: plan
                .snapshots
                .map(|_| ShadowLanes { log: site.store.lane(2), snapshots: site.store.lane(2) }),
            snapshots: (plan.nodes > 1)
                .then(|| SnapshotLanes { send: site.store.lane(2), receive: site.store.lane(2) }),
            witness: Some(Box::new(site.store.clone())),
        };
        let factory = Build { inner: factory, level: site.build };
        let app = App { factory: std::sync::Arc::new(factory), decoder, encoder };
        let shared = Shared::new(Cursors::default());
        let mut boot = Boot::new(config, ports, app, registry.clone(), shared.clone());
        Self {
            start: Some(Box::new(move |now| boot.step(now))),
            agents: Vec::new(),
            was_clean: true,
            floor: None,
            shared,
            registry,
            owes_floor: None,
            bend,
            trace: site.trace.clone(),
        }
    }

    /// Whether the node has recovered and its stages run.
    #[must_use]
    pub const fn is_running(&self) -> bool {
        self.start.is_none()
    }

    /// Whether it runs and may lack what it acknowledged.
    #[must_use]
    pub fn owes_floor(&self) -> bool {
        self.owes_floor.as_ref().is_some_and(|owes| owes.get() > 0)
    }

    /// Whether a graceful stop has come to its end.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        let c = &self.shared;
        [&c.log_closed, &c.journal_closed, &c.gateway_closed].iter().all(|closed| closed.load() == 1)
    }

    /// Name of a stage.
    #[must_use]
    pub fn name(&self, stage: usize) -> &'static str {
        self.agents.get(stage).map_or("start", |agent| agent.name())
    }

    /// Lets a stage work. While the node starts, the first stage is the start.
    ///
    /// # Errors
    /// As the stage's.
    pub fn do_work(&mut self, stage: usize, now: Now, limit: usize) -> Result<usize, Fatal> {
        let Some(start) = &mut self.start else {
            // A node without snapshots has one stage less.
            return self.agents.get_mut(stage).map_or(Ok(0), |agent| agent.do_work(now, limit));
        };
        if stage > 0 {
            return Ok(0);
        }
        for _ in 0..limit {
            if let Poll::Ready(node) = start(now) {
                let node = node?;
                self.owes_floor = self.registry.find("ordain_promise_floor");
                if !node.recovered.was_clean {
                    self.trace.mark("dirty start");
                }
                if node.started_from.is_some() {
                    self.trace.mark("start from a snapshot");
                }
                if node.succeeded.is_some() {
                    self.trace.mark("snapshot took the log's place");
                }
                if node.recovered.tail_cut {
                    self.trace.mark("torn tail cut");
                }
                self.was_clean = node.recovered.was_clean;
                self.floor = node.recovered.state.floor;
                self.agents = node.agents;
                self.shared = node.shared;
                self.start = None;
                return Ok(1);
            }
        }
        Ok(0)
    }

    /// When a stage wants to be called next, monotonic.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Nanos> {
        self.agents.iter().filter_map(|agent| agent.next_deadline()).min()
    }
}

/// A build of an application, perhaps an older one that lacks the highest levels.
struct Build<F> {
    inner: F,
    level: u16,
}

impl<F: AppFactory> AppFactory for Build<F> {
    type App = F::App;

    fn identity(&self) -> (&'static str, u32) {
        self.inner.identity()
    }

    fn create(&self) -> F::App {
        self.inner.create()
    }

    fn needs(&self) -> Needs {
        self.inner.needs()
    }

    fn level(&self) -> u16 {
        self.inner.level().min(self.level)
    }

    fn seeds(&self) -> Vec<Seed> {
        self.inner.seeds()
    }

    fn restore(&self, version: u32) -> Result<F::App, RestoreError> {
        self.inner.restore(version)
    }
}
