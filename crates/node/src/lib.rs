//! A node put together from its stages, over whatever ports it is given: files and sockets by `host`,
//! memory and chance by `sim`. Nothing here knows which.
//!
//! [`Boot`] recovers the journal, refills the log ring with what may still have to be cut or served, writes
//! the first batches of a new log, and gives the stages, ready to be run.
#![forbid(unsafe_code)]

mod archive;
mod early;
mod mending;
mod source;

use archive::Segments;
use core::task::Poll;
use early::Early;
use mending::Mending;
use ordain_agent::disk::Disk;
use ordain_agent::metrics::Registry;
use ordain_agent::net::Net;
use ordain_agent::peer::Peers;
use ordain_agent::shared::Shared;
use ordain_agent::side::Side;
use ordain_agent::states::States;
use ordain_agent::witness::Witness;
use ordain_agent::{Agent, Fatal};
use ordain_api::{AppFactory, RequestDecoder, ResponseEncoder};
use ordain_apply::{Apply, Parts, Progress, Restore, Restored, Shadow, ShadowParts};
use ordain_consensus::{Config as ConsensusConfig, Core, LogEnd as ConsensusEnd, TermSpan, Terms, VoteState};
use ordain_gateway::{Gateway, GatewayConfig, GatewayParts};
use ordain_guard::{Guard, GuardParts, Watch, WatchParts};
use ordain_journal::{Journal, Lanes, LogReader, OsBoot, Peek, Recovered, Recovery, RecoveryError};
use ordain_ring::{log::LogRing, spsc};
use ordain_sequence::{Log, LogConfig, Writer};
use ordain_transfer::{Exchange, ExchangeParts, Succeed};
use ordain_types::LogEnd;
use ordain_types::frame::KeyBody;
use ordain_types::members::Member;
use ordain_types::record::{RecordKind, record_len};
use ordain_types::{
    BatchIndex, ClusterFacts, Configuration, Nanos, NodeId, Now, Position, RecordHeader, Term,
};
use source::Source;
use std::sync::Arc;
use zerocopy::IntoBytes;

pub use ordain_gateway as gateway;
pub use ordain_journal as journal;
pub use ordain_transfer::{REST as SNAPSHOT_REST, SnapshotLanes};

/// Names of the stages, in the order in which [`Node::agents`] has them.
pub const AGENTS: [&str; 6] = ["gateway", "log", "journal", "apply", GUARD, SHADOW];
/// The one in the background that stops a node that has diverged.
pub const GUARD: &str = "guard";
/// The last of them, which exists only where snapshots are stored ([`NodeConfig::snapshots`]).
pub const SHADOW: &str = "shadow";

/// Bytes of the ring from the shadow to who tells other nodes what it stored: a few messages.
const STORED_RING: usize = 1024;

/// Batches that a step of the start takes into the ring.
const REFILL: usize = 1024;

/// Facts of this node; those of the cluster are in `facts`.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// The cluster's facts.
    pub facts: ClusterFacts,
    /// This node.
    pub id: NodeId,
    /// What the cluster was made with. The log says what became of it.
    pub configuration: Configuration,
    /// Nodes that the operator named: known whatever the log says of them.
    pub contacts: Vec<Member>,
    /// Bytes of the log ring: a whole number of segments; with peers at least two.
    pub ring_size: usize,
    /// Bytes of the ring between gateway and log: a power of two. What is admitted and not sequenced yet.
    pub request_ring: usize,
    /// Bytes of the ring between log and apply for questions: a power of two.
    pub question_ring: usize,
    /// Bytes of the ring between apply and gateway: a power of two. Answers that wait for their copies. More if one
    /// step of the application may need more.
    pub delivery_ring: usize,
    /// The present run of the operating system.
    pub os_boot: OsBoot,
    /// Follower's patience, see [`ConsensusConfig`].
    pub election_timeout: Nanos,
    /// Leader's interval.
    pub heartbeat: Nanos,
    /// Seed of election jitter, different on each node.
    pub seed: u64,
    /// Keys of a new cluster, in the order in which they are numbered.
    pub keys: Vec<KeyBody>,
    /// Bounds of the gateway.
    pub gateway: GatewayConfig,
    /// Whether and how snapshots are stored.
    pub snapshots: Option<Snapshots>,
    /// Bytes of log kept though snapshots would let them go.
    pub retain: u64,
    /// All sealed segments are read and checked once in this time; `None`: they are not.
    pub scrub_every: Option<Nanos>,
    /// The consensus mistake to make.
    #[cfg(feature = "planted")]
    pub mutation: ordain_consensus::Mutation,
}

/// How a node stores snapshots. It changes nothing that the application computes and need not be the same on
/// every node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshots {
    /// One is due at the start of each segment whose number is a multiple of this.
    pub every: u64,
}

/// The lanes of the shadow.
pub struct ShadowLanes<D> {
    /// For reading the log. Depth 2.
    pub log: D,
    /// For writing snapshots. Depth 2.
    pub snapshots: D,
}

/// The node's ways to the world.
pub struct Ports<N, D, P> {
    /// Clients.
    pub net: N,
    /// Other nodes.
    pub peers: P,
    /// For recovery, and afterwards for peers that lag. Depth 2.
    pub recovery: D,
    /// The journal's.
    pub journal: Lanes<D>,
    /// For replaying what is on disk. Depth 2.
    pub replay: D,
    /// The guard's. Depth 2.
    pub guard: D,
    /// The shadow's; there if and only if [`NodeConfig::snapshots`] is.
    pub shadow: Option<ShadowLanes<D>>,
    /// For snapshots that other nodes are sent, or send. Without it nothing is sent, and nothing trimmed where there are
    /// other nodes.
    pub snapshots: Option<SnapshotLanes<D>>,
    /// Remembers how far the journal is written. Without one the node, where copies in memory count, is clean
    /// only after a stop in good order.
    pub witness: Option<Box<dyn Witness>>,
}

/// How the application reads and writes.
pub struct App<F, D, E> {
    /// Makes it.
    pub factory: Arc<F>,
    /// Reads requests.
    pub decoder: D,
    /// Writes answers.
    pub encoder: E,
}

/// A node ready to run.
pub struct Node {
    /// The stages, in the order of [`AGENTS`]; without snapshots, all but the last.
    pub agents: Vec<Box<dyn Agent>>,
    /// Their cursors.
    pub shared: Shared,
    /// What recovery found.
    pub recovered: Recovered,
    /// Log position of the snapshot that the node starts from.
    pub started_from: Option<Position>,
    /// Log position of the snapshot that has just taken the log's place, if one has.
    pub succeeded: Option<Position>,
}

/// A node on its way up: step it until it is ready.
pub struct Boot<N, D, P, F: AppFactory, Q, E> {
    config: NodeConfig,
    registry: Registry,
    shared: Shared,
    app: App<F, Q, E>,
    restored: Option<Restored<F::App, Q, E>>,
    succeeded: Option<Position>,
    /// The segment that was mended last.
    mended: Option<u64>,
    state: State<N, D, P, F, Q, E>,
}

/// What is needed once the log is recovered.
struct Rest<N, D, P> {
    net: N,
    peers: Early<P>,
    journal: Lanes<D>,
    replay: D,
    guard: D,
    shadow: Option<ShadowLanes<D>>,
    snapshots: Option<SnapshotLanes<D>>,
    witness: Option<Box<dyn Witness>>,
}

enum State<N, D, P, F: AppFactory, Q, E> {
    Succeed(Box<Succeed>, D, Rest<N, D, P>),
    Restore(Box<Restore<F::App, Q, E>>, D, Rest<N, D, P>),
    Recover(Box<Recovery<D>>, Rest<N, D, P>),
    Mend(Box<Mending<D>>, Rest<N, D, P>),
    Refill(Box<Refill<D>>, Rest<N, D, P>),
    Done,
}

/// Refilling the ring from segments.
struct Refill<D> {
    recovered: Recovered,
    reader: LogReader<D>,
    writer: Writer,
    ring: LogRing,
    shared: Shared,
}

impl<N, D, P, F, Q, E> Boot<N, D, P, F, Q, E>
where
    N: Net + 'static,
    D: Disk + 'static,
    P: Peers + 'static,
    F: AppFactory,
    Q: RequestDecoder<F::App>,
    E: ResponseEncoder<F::App>,
{
    /// A node that has not started; `shared` are fresh.
    ///
    /// # Panics
    /// If the configuration contradicts itself; the host validates it before.
    #[must_use]
    pub fn new(
        config: NodeConfig,
        ports: Ports<N, D, P>,
        app: App<F, Q, E>,
        registry: Registry,
        shared: Shared,
    ) -> Self {
        let segment = config.facts.segment_size as usize;
        assert!(config.ring_size.is_multiple_of(segment), "the ring is a whole number of segments");
        assert!(
            config.facts.voters == 1 || config.ring_size >= 2 * segment,
            "with peers, at least two segments"
        );
        assert!(config.snapshots.is_some() == ports.shadow.is_some(), "the shadow has lanes if it exists");
        let Ports { net, peers, recovery, journal, replay, guard, shadow, snapshots, witness } = ports;
        let peers = Early::new(peers);
        let rest = Rest { net, peers, journal, replay, guard, shadow, snapshots, witness };
        let succeed = Succeed::new(&config.facts);
        let state = State::Succeed(Box::new(succeed), recovery, rest);
        Self { config, registry, shared, app, restored: None, succeeded: None, mended: None, state }
    }

    /// Bytes of log checked so far, and to check.
    #[must_use]
    pub fn progress(&self) -> (u64, u64) {
        match &self.state {
            State::Succeed(..) | State::Restore(..) => (0, 0),
            State::Recover(recovery, _) => recovery.progress(),
            State::Refill(refill, _) => (refill.reader.position().0, refill.recovered.end.position.0),
            State::Mend(..) | State::Done => (0, 0),
        }
    }

    /// Goes on by a bounded amount of work.
    ///
    /// # Errors
    /// Why the node cannot start, with what the operator can do.
    ///
    /// # Panics
    /// If called again after it was ready or failed.
    pub fn step(&mut self, now: Now) -> Poll<Result<Node, Fatal>> {
        match core::mem::replace(&mut self.state, State::Done) {
            State::Succeed(mut succeed, mut disk, rest) => match succeed.step(&mut disk) {
                Ok(None) => self.state = State::Succeed(succeed, disk, rest),
                Ok(Some(succeeded)) => {
                    self.succeeded = succeeded;
                    let app = &self.app;
                    let restore = Restore::new(&self.config.facts, app.decoder.clone(), app.encoder.clone());
                    self.state = State::Restore(Box::new(restore), disk, rest);
                }
                Err(error) => {
                    return Poll::Ready(Err(Fatal::new("the node cannot start", error.to_string())));
                }
            },
            State::Restore(mut restore, mut disk, rest) => match restore.step(&self.app.factory, &mut disk) {
                Ok(Progress::Done(restored)) => {
                    self.restored = restored;
                    self.recover(disk, rest);
                }
                Ok(_) => self.state = State::Restore(restore, disk, rest),
                Err(fatal) => return Poll::Ready(Err(fatal)),
            },
            State::Recover(mut recovery, rest) => match recovery.step() {
                Poll::Pending => self.state = State::Recover(recovery, rest),
                Poll::Ready(Ok(recovered)) => {
                    self.check_facts()?;
                    let refill = self.begin_refill(recovered, recovery.into_disk());
                    self.state = State::Refill(Box::new(refill), rest);
                }
                // What comes back though it was mended is not mended again.
                Poll::Ready(Err(RecoveryError::Corrupt(damage)))
                    if rest.snapshots.is_some() && self.mended != Some(damage.segment) =>
                {
                    let (disk, stale, watermark) = recovery.abandon();
                    let facts = &self.config.facts;
                    let mending = Mending::new(facts, (disk, stale), damage, watermark, &rest.peers);
                    self.state = State::Mend(Box::new(mending), rest);
                }
                Poll::Ready(Err(error)) => {
                    return Poll::Ready(Err(Fatal::new(
                        "the node cannot start from its journal",
                        error.to_string(),
                    )));
                }
            },
            State::Mend(mut mending, mut rest) => match mending.step(now, &mut rest.peers) {
                Ok(false) => self.state = State::Mend(mending, rest),
                Ok(true) => {
                    self.mended = Some(mending.segment());
                    self.recover(mending.into_disk(), rest);
                }
                Err(fatal) => return Poll::Ready(Err(fatal)),
            },
            State::Refill(mut refill, rest) => match refill.step() {
                Ok(false) => self.state = State::Refill(refill, rest),
                Ok(true) => return self.build(*refill, rest, now),
                Err(error) => return Poll::Ready(Err(error)),
            },
            State::Done => panic!("the node was started already"),
        }
        Poll::Pending
    }

    /// Whether the cluster was made of this node alone.
    fn is_alone(&self) -> bool {
        let configuration = &self.config.configuration;
        configuration.votes(self.config.id) && configuration.voter_count() == 1
    }

    /// Begins to look for the log's end, behind the snapshot if there is one.
    fn recover(&mut self, disk: D, rest: Rest<N, D, P>) {
        let witness = rest.witness.as_ref();
        // A life without a witness leaves word that is out of date: the next one must not take it for true.
        let is_watched = witness.is_some() || self.config.facts.voters == 1;
        let os_boot = if is_watched { self.config.os_boot } else { OsBoot::default() };
        let recovery = Recovery::new(&self.config.facts, os_boot, disk)
            .with_witnessed(witness.and_then(|witness| witness.recall()));
        let recovery = match self.is_alone() {
            true => recovery,
            false => recovery.among_others(self.config.seed),
        };
        let recovery = match &self.restored {
            Some(restored) => recovery.behind(restored.anchor.clone()),
            None => recovery,
        };
        self.state = State::Recover(Box::new(recovery), rest);
    }

    /// Whether the application can live with the facts.
    fn check_facts(&self) -> Result<(), Fatal> {
        let (facts, needs) = (&self.config.facts, self.app.factory.needs());
        let given = [
            ("reply-max", facts.reply_max as usize, needs.reply),
            ("step-outputs-max", facts.step_outputs_max as usize, needs.step_outputs),
        ];
        let Some((name, given, needed)) = given.into_iter().find(|(_, given, needed)| given < needed) else {
            return Ok(());
        };
        Err(Fatal::new(
            format!(
                "this application needs {name} to be at least {needed}; the cluster was made with {given}"
            ),
            format!("Make a new cluster, in an empty data directory, with {name} = {needed} or more"),
        ))
    }

    /// A node with peers may have to cut what it found, and serve what others lack: its ring begins up to a
    /// segment and a half before the log's end, but not in front of a snapshot, which is final. A lone node's
    /// whole log is.
    fn begin_refill(&self, recovered: Recovered, disk: D) -> Refill<D> {
        let facts = &self.config.facts;
        let end = recovered.end;
        let start = if facts.voters == 1 {
            end
        } else {
            let reach = end.position.0.saturating_sub(facts.segment_size / 2);
            let anchor = self.restored.as_ref().map_or(0, |restored| restored.anchor.end.position.0);
            let segment = reach.max(anchor) / facts.segment_size - recovered.first_segment;
            recovered.segments.get(segment as usize).copied().unwrap_or(end)
        };
        let shared = self.shared.clone();
        shared.written.store(end.index.0);
        let (producer, ring) = LogRing::new(self.config.ring_size, start.position);
        let writer = Writer::new(producer, facts, start, None);
        let reader = LogReader::segments_only(
            facts.segment_size,
            start.position,
            start.index.next(),
            shared.clone(),
            disk,
        );
        Refill { recovered, reader, writer, ring, shared }
    }

    fn build(&mut self, refill: Refill<D>, rest: Rest<N, D, P>, now: Now) -> Poll<Result<Node, Fatal>> {
        let Refill { recovered, reader, mut writer, ring, shared } = refill;
        let config = &self.config;
        let facts = &config.facts;
        let (vote_sender, vote_receiver) = spsc::channel(1024);
        let (request_sender, request_receiver) = spsc::channel(config.request_ring);
        let (question_sender, question_receiver) = spsc::channel(config.question_ring);
        shared.level.store(self.app.factory.level().into());
        let delivery_ring = config.delivery_ring.max(ordain_apply::delivery_ring_min(facts));
        let (delivery_sender, delivery_receiver) = spsc::channel(delivery_ring);
        let started_from = self.restored.as_ref().map(|restored| restored.anchor.end.position);
        let begin = self.restored.as_ref().map_or(LogEnd::EMPTY, |restored| restored.anchor.end);
        let configurations = configurations(&config.configuration, &recovered, begin.index);
        let others = others(config, &configurations);
        let (stored_sender, stored) = spsc::channel(STORED_RING);
        let mut sides: Vec<Box<dyn Side>> = Vec::new();
        let (guard_sender, guard_receiver) = spsc::channel(ordain_guard::RING);
        let (errand_sender, errand_receiver) = spsc::channel(ordain_guard::RING);
        let has_watch = rest.snapshots.is_some();
        if others.is_empty() {
            // Nobody else can need what this node does not.
            shared.trim_floor.store(u64::MAX);
        }
        let states = States::default();
        if let Some(lanes) = rest.snapshots {
            sides.push(Box::new(Exchange::new(ExchangeParts {
                level: self.app.factory.level(),
                facts,
                lanes,
                states: states.clone(),
                others: others.clone(),
                stored: config.snapshots.map(|_| stored),
                shared: shared.clone(),
                registry: &self.registry,
            })));
            sides.push(Box::new(Watch::new(WatchParts {
                id: config.id,
                voters: configurations.last().map_or_else(Vec::new, |(_, last)| last.voters().collect()),
                shared: shared.clone(),
                states,
                guard: guard_sender,
                errands: errand_receiver,
                registry: &self.registry,
            })));
        }
        let shadow = rest.shadow.zip(config.snapshots).map(|(lanes, snapshots)| {
            Shadow::new(ShadowParts {
                facts,
                factory: self.app.factory.clone(),
                decoder: self.app.decoder.clone(),
                encoder: self.app.encoder.clone(),
                log: LogReader::segments_only(
                    facts.segment_size,
                    Position(0),
                    BatchIndex(1),
                    shared.clone(),
                    lanes.log,
                )
                .patient(),
                disk: lanes.snapshots,
                shared: shared.clone(),
                every: snapshots.every,
                stored: (!others.is_empty()).then_some(stored_sender),
                registry: &self.registry,
            })
        });
        let apply = Apply::new(Parts {
            facts,
            factory: self.app.factory.clone(),
            decoder: self.app.decoder.clone(),
            encoder: self.app.encoder.clone(),
            source: Source::new(
                LogReader::new(
                    facts.segment_size,
                    begin.position,
                    begin.index.next(),
                    ring.clone(),
                    shared.clone(),
                    rest.replay,
                )
                .patient(),
            ),
            restored: self.restored.take(),
            shared: shared.clone(),
            questions: question_receiver,
            deliveries: delivery_sender,
            registry: &self.registry,
        });
        let journal = Journal::new(
            facts,
            &recovered,
            rest.journal,
            ring.clone(),
            vote_receiver,
            shared.clone(),
            ordain_journal::Metrics::register(&self.registry),
        )
        .retaining(config.retain);
        let journal = match journal.with_witness(rest.witness) {
            Ok(journal) => journal,
            Err(fatal) => return Poll::Ready(Err(fatal)),
        };
        let mut terms = terms(&recovered);
        let found = recovered.end.index;
        writer.open_log(facts.created, &self.genesis());
        for index in found.0 + 1..=writer.tail().index.0 {
            terms.push(BatchIndex(index), Term(0));
        }
        let core = Core::new(
            self.consensus_config(),
            consensus_recovered(&recovered, terms, configurations),
            now.mono,
        );
        let log = Log::new(
            LogConfig {
                facts: facts.clone(),
                progress: [found, found, recovered.state.watermark.index],
                writer,
                core,
                contacts: config.contacts.clone(),
                peers: rest.peers,
                requests: request_receiver,
                questions: question_sender,
                votes: vote_sender,
                shared: shared.clone(),
                archive: Box::new(Segments::new(
                    facts.segment_size,
                    recovered.first_segment,
                    &recovered.segments,
                    shared.clone(),
                    reader.into_disk(),
                )),
                sides,
            },
            &self.registry,
        );
        let gateway = Gateway::new(
            GatewayParts {
                facts: facts.clone(),
                config: config.gateway.clone(),
                net: rest.net,
                decoder: self.app.decoder.clone(),
                requests: request_sender,
                deliveries: delivery_receiver,
                ring,
                shared: shared.clone(),
            },
            &self.registry,
        );
        let guard = Guard::new(GuardParts {
            facts,
            disk: rest.guard,
            watch: guard_receiver,
            errands: has_watch.then_some(errand_sender),
            scrub_every: config.scrub_every,
            shared: shared.clone(),
            registry: &self.registry,
        });
        let mut agents: Vec<Box<dyn Agent>> =
            vec![Box::new(gateway), Box::new(log), Box::new(journal), Box::new(apply), Box::new(guard)];
        if let Some(shadow) = shadow {
            agents.push(Box::new(shadow));
        }
        Poll::Ready(Ok(Node { agents, shared, recovered, started_from, succeeded: self.succeeded }))
    }

    fn consensus_config(&self) -> ConsensusConfig {
        let config = &self.config;
        ConsensusConfig {
            id: config.id,
            election_timeout: config.election_timeout,
            heartbeat: config.heartbeat,
            seed: config.seed,
            #[cfg(feature = "planted")]
            mutation: config.mutation,
        }
    }

    /// The records of the genesis batch: keys first, so that they have the lowest numbers.
    fn genesis(&self) -> Vec<Vec<u8>> {
        let keys = self.config.keys.iter().map(|key| genesis_record(RecordKind::KeySet, 0, key.as_bytes()));
        let seeds = self.app.factory.seeds();
        let seeds = seeds.iter().map(|seed| genesis_record(RecordKind::Genesis, seed.schema, &seed.payload));
        keys.chain(seeds).collect()
    }
}

impl<D: Disk> Refill<D> {
    /// Takes what is at hand, at most [`REFILL`] batches; `true` when the ring reaches the log's end.
    fn step(&mut self) -> Result<bool, Fatal> {
        let end = self.recovered.end.index;
        for _ in 0..REFILL {
            match self.reader.peek(end) {
                Ok(Peek::Batch(batch)) => {
                    let put = self.writer.append(&batch);
                    assert_eq!(put, ordain_sequence::Put::Done, "the ring holds what it is refilled with");
                    self.reader.advance();
                }
                Ok(Peek::Pending) => return Ok(false),
                Ok(Peek::End) => {}
                Err(error) => {
                    return Err(Fatal::new(
                        "the journal changed while the node was starting",
                        error.to_string(),
                    ));
                }
            }
            if self.writer.tail().index == end {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn genesis_record(kind: RecordKind, schema: u8, payload: &[u8]) -> Vec<u8> {
    let header = RecordHeader {
        length: (payload.len() as u32).into(),
        kind: kind as u8,
        schema,
        permissions: ordain_types::record::permission::ALL.into(),
        ..RecordHeader::default()
    };
    let mut record = header.as_bytes().to_vec();
    record.extend_from_slice(payload);
    record.resize(record_len(payload.len()), 0);
    record
}

fn terms(recovered: &Recovered) -> Terms {
    let empty = TermSpan { term: Term::ZERO, first: BatchIndex::ZERO };
    let later = recovered.terms.iter().filter(|start| start.term > Term::ZERO);
    let spans = later.map(|start| TermSpan { term: start.term, first: start.first });
    Terms::from_spans([empty].into_iter().chain(spans).collect(), recovered.end.index)
        .expect("recovery gives the terms of a log")
}

/// The last configuration that is known to be committed, and those behind it: what a snapshot holds is committed.
fn configurations(
    made: &Configuration,
    recovered: &Recovered,
    begin: BatchIndex,
) -> Vec<(BatchIndex, Configuration)> {
    let found = &recovered.configurations;
    let is_anchored = found.first().is_some_and(|(index, _)| *index <= begin);
    let made = (!is_anchored).then(|| (BatchIndex::ZERO, made.clone()));
    made.into_iter().chain(found.iter().cloned()).collect()
}

/// The other nodes that this one may have to do with when it starts.
fn others(config: &NodeConfig, configurations: &[(BatchIndex, Configuration)]) -> Vec<NodeId> {
    let known = configurations.iter().flat_map(|(_, known)| known.members.iter().map(|seat| seat.member.id));
    let mut others: Vec<NodeId> = known.chain(config.contacts.iter().map(|member| member.id)).collect();
    others.sort_unstable();
    others.dedup();
    others.retain(|id| *id != config.id);
    others
}

fn consensus_recovered(
    recovered: &Recovered,
    log: Terms,
    configurations: Vec<(BatchIndex, Configuration)>,
) -> ordain_consensus::Recovered {
    let state = &recovered.state;
    ordain_consensus::Recovered {
        vote: VoteState {
            term: state.term,
            voted_for: state.voted_for,
            ack_term: state.ack_term,
            floor: state.floor.map(|floor| ConsensusEnd { term: floor.term, index: floor.index }),
            blank: state.blank,
            boot: state.boot,
        },
        boot: state.boot,
        // Recovery found out what a dirty stop cost and has stored the floor with the new boot number:
        // everything that is left is synced.
        clean: true,
        torn: false,
        log,
        durable: recovered.end.index,
        watermark: state.watermark.index,
        configurations,
    }
}
