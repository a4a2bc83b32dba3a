//! What a seed decides before the first step: limits, speeds, which faults and how often. Each run leaves
//! most faults out and overdoes the others, so that thousands of runs cover what no average run would.

use crate::client::key_pair;
use crate::disk::{Lie, Speed};
use crate::net::Weather;
use crate::peers::Roads;
use crate::rng::Rng;
use crate::workload::Workload;
use ordain_keys::KeyPair;
use ordain_node::Snapshots;
use ordain_node::gateway::GatewayConfig;
use ordain_types::facts::AckPolicy;
use ordain_types::frame::KeyBody;
use ordain_types::members::Member;
use ordain_types::record::permission;
use ordain_types::{ClusterFacts, ClusterId, Configuration, Nanos, NodeId};

const MICRO: u64 = Nanos::MICRO;
const MILLI: u64 = Nanos::MILLI;

/// Wall-clock time at which simulations begin, nanoseconds since the Unix epoch.
pub const EPOCH: u64 = 1_800_000_000 * Nanos::SECOND;

/// A connection on which a client says nothing for this long is closed.
const IDLE: Nanos = Nanos(900 * MILLI);

/// Nodes that may become members: so many that all three of the first can be replaced.
const SPARES: usize = 4;

/// Two copies, none of them on disk.
pub const RAM: AckPolicy = AckPolicy { received: 2, durable: 0 };

/// The policies of a cluster of `nodes`, those that matter most more than once.
fn policies(nodes: usize) -> &'static [AckPolicy] {
    const fn policy(received: u32, durable: u32) -> AckPolicy {
        AckPolicy { received, durable }
    }
    const THREE: &[AckPolicy] = &[
        AckPolicy::DISK_RAM,
        AckPolicy::DISK_RAM,
        AckPolicy::DISK_RAM,
        AckPolicy::DISK_RAM,
        AckPolicy::TWO_DISKS,
        AckPolicy::TWO_DISKS,
        RAM,
        AckPolicy::ONE_DISK,
    ];
    const FIVE: &[AckPolicy] = &[
        policy(3, 1),
        policy(3, 1),
        policy(3, 1),
        policy(3, 2),
        policy(3, 3),
        policy(3, 3),
        policy(2, 1),
        policy(3, 0),
        AckPolicy::ONE_DISK,
    ];
    match nodes {
        1 => &[AckPolicy::ONE_DISK],
        5 => FIVE,
        _ => THREE,
    }
}

/// What goes wrong. The numbers are odds against each other.
#[derive(Clone, Copy, Debug, Default)]
pub struct Odds {
    /// A process is killed and restarted.
    pub kill: u64,
    /// A machine loses power.
    pub power: u64,
    /// All machines lose power.
    pub blackout: u64,
    /// A process stops gracefully.
    pub stop: u64,
    /// A process is not scheduled for a while.
    pub pause: u64,
    /// A sync, write or create fails.
    pub disk: u64,
    /// A file system is full for a while.
    pub full: u64,
    /// A client's connection breaks.
    pub reset: u64,
    /// Nodes are cut off from each other.
    pub partition: u64,
    /// A connection between nodes breaks.
    pub link: u64,
    /// A wall clock jumps.
    pub clock: u64,
    /// The leader of the moment is killed, loses power, or is cut off.
    pub leader: u64,
    /// A disk does not finish syncs for a while.
    pub stall: u64,
    /// A [`crate::scheme`].
    pub scheme: u64,
    /// Batches on their way to another node arrive damaged.
    pub damage: u64,
    /// A follower computes something else, as with a bad memory.
    pub bend: u64,
    /// A sealed segment goes bad.
    pub rot: u64,
    /// A node's data directory is gone.
    pub loss: u64,
    /// While a node is down, its disk forgets something of where its log ends.
    pub rest: u64,
}

/// What an operator asks for. The numbers are odds against each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    /// Another ack policy.
    pub policy: u64,
    /// Another W.
    pub window: u64,
    /// Another leader.
    pub transfer: u64,
    /// Others as members: adding, promoting, removing, replacing.
    pub members: u64,
    /// The next level of behaviour. Nodes then begin with an older build, and some get the newer one with each start.
    pub level: u64,
    /// Time between them, nanoseconds, shortest and longest.
    pub calm: (u64, u64),
}

impl Wishes {
    /// Drawn in swarm fashion: a third of the kinds is left out, so that the others are overdone.
    fn draw(rng: &mut Rng) -> Self {
        let mut odd = |most: u64| if rng.one_in(3) { 0 } else { rng.range(1, most) };
        let (policy, window, transfer, members) = (odd(4), odd(3), odd(3), odd(6));
        let mut wishes = Self { policy, window, transfer, members, level: 0, calm: (MILLI, 0) };
        if wishes.policy + wishes.window + wishes.transfer + wishes.members == 0 {
            wishes.policy = 1;
        }
        wishes.calm.1 = rng.pick(&[10, 50, 200]) * MILLI;
        wishes.level = if rng.one_in(3) { 3 } else { 0 };
        wishes
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Nodes.
    pub nodes: usize,
    /// Cluster facts.
    pub facts: ClusterFacts,
    /// Bytes of the log ring.
    pub ring: usize,
    /// Clients.
    pub clients: usize,
    /// Clients that do what a client must not.
    pub rogues: usize,
    /// What an operator changes while the cluster runs; `None`: there is no operator.
    pub wishes: Option<Wishes>,
    /// Nodes that are no members when the cluster is made and may become some.
    pub spares: usize,
    /// Requests that all clients together finish before the faults end.
    pub operations: u64,
    /// Faults before they end.
    pub faults: u64,
    /// Simulated time after which a run that has not had its operations and faults goes on without them, and
    /// within which a healed cluster must answer everything that is outstanding, nanoseconds.
    pub patience: (u64, u64),
    /// Which.
    pub odds: Odds,
    /// Time between faults, nanoseconds.
    pub calm: (u64, u64),
    /// How long a node stays down, is paused, or a partition lasts, nanoseconds.
    pub trouble: (u64, u64),
    /// Disks, one for each node.
    pub disks: Vec<Speed>,
    /// Clients' network.
    pub weather: Weather,
    /// Network between nodes.
    pub roads: Roads,
    /// Election time-out.
    pub election_timeout: Nanos,
    /// Largest `limit` given to a stage.
    pub limit: u64,
    /// Clients let this much time pass between requests, nanoseconds, shortest and longest.
    pub think: (u64, u64),
    /// All schemes are of suspended leaders; never drawn.
    pub sleepers: bool,
    /// Clocks run fast or slow by up to this many parts in a million.
    pub drift: u64,
    /// When faults end, they first end for a majority of the nodes alone.
    pub core: bool,
    /// Whether clients go silent now and then, so that their sessions expire: 1 or 0.
    pub silence: u64,
    /// In the end power is lost everywhere, and an operator declares a loss.
    pub declares: bool,
    /// With a policy that keeps nothing on disk, power is lost even where that leaves nobody to elect: such a
    /// run may have to end early. Never drawn.
    pub reckless: bool,
    /// Bits at rest are flipped while a node is down; such a run has one node and no power loss.
    pub corrupt: bool,
    /// Whether and how often snapshots are stored.
    pub snapshots: Option<Snapshots>,
    /// Bits of the newest snapshot are flipped while a node is down.
    pub corrupt_snapshots: bool,
    /// Bytes of log kept behind snapshots.
    pub retain: u64,
    /// Time in which sealed segments are read once, if they are.
    pub scrub_every: Option<Nanos>,
    /// What the disks do wrong without saying so; never drawn.
    pub lie: Option<Lie>,
    /// The mistake that consensus makes.
    #[cfg(feature = "planted")]
    pub mutation: ordain_consensus::Mutation,
}

impl Plan {
    /// The plan that `rng` draws for a cluster of `nodes`.
    #[must_use]
    pub fn draw(rng: &mut Rng, nodes: usize) -> Self {
        let mut cluster = [0; 16];
        rng.fill(&mut cluster);
        let mut facts = ClusterFacts::new(ClusterId(cluster), Nanos(EPOCH), nodes as u32);
        if nodes > 1 {
            facts.policy = rng.pick(policies(nodes));
        }
        let in_memory = facts.policy.durable == 0;
        facts.unsynced_max = rng.pick(&[16, 24, 64]);
        facts.segment_size = rng.pick(&[16, 32, 64]) * 1024;
        facts.batch_max = 4096;
        facts.payload_max = 1024;
        facts.sessions_max = 32;
        facts.window = rng.pick(&[4, 16]) as u32;
        facts.reply_max = 256;
        let expiry = rng.one_in(3);
        // So few that a client that loses its own is refused others, but only where they expire soon.
        facts.sessions_per_key = if expiry && facts.window == 4 { 2 } else { 16 };
        facts.session_timeout = Nanos(if expiry { 2 } else { 30 } * Nanos::SECOND);
        facts.step_outputs_max = rng.range(2, 6) as u32;
        let three = u64::from(nodes > 1);
        let corrupt = nodes == 1 && rng.one_in(6);
        let mut odd = |most: u64| if rng.one_in(3) { 0 } else { rng.range(1, most) };
        let odds = Odds {
            kill: odd(6) + 1,
            power: if corrupt { 0 } else { odd(6) },
            blackout: if corrupt || in_memory { 0 } else { odd(2) * three },
            stop: odd(2),
            pause: odd(3),
            disk: if corrupt || in_memory { 0 } else { odd(2) },
            full: odd(2),
            reset: odd(8),
            partition: odd(6) * three,
            link: odd(6) * three,
            clock: odd(2),
            leader: odd(8) * three,
            stall: odd(4),
            scheme: odd(4) * three,
            damage: odd(2) * three,
            bend: odd(2) * three,
            // Told by what was drawn before.
            rot: u64::from(cluster[2] % 4) * three,
            loss: u64::from(cluster[3] % 4) * three,
            rest: u64::from(cluster[4] % 4) * three,
        };
        let slow = rng.one_in(4);
        let disks = (0..nodes)
            .map(|_| Speed {
                quick: (2 * MICRO, rng.pick(&[20, 100, 2_000]) * MICRO),
                sync: (20 * MICRO, rng.pick(&[200, 2_000, if slow { 50_000 } else { 5_000 }]) * MICRO),
                meta: (50 * MICRO, rng.pick(&[500, 5_000]) * MICRO),
            })
            .collect();
        let delay = (rng.pick(&[1, 10, 50]) * MICRO, rng.pick(&[100, 500, 5_000]) * MICRO);
        // Damage in segments that a snapshot stands for is not looked for at a start: with damaged segments there
        // are no snapshots, with damaged snapshots the segments are sound.
        let damages = rng.one_in(6) && nodes == 1;
        let snapshots =
            (!corrupt && (damages || !rng.one_in(3))).then(|| Snapshots { every: rng.pick(&[1, 2, 3]) });
        // Of those that keep nothing on disk, half end with an operator who decides; told by what was drawn before.
        let declares = nodes > 1 && in_memory && cluster[0] % 2 == 0;
        let snapshots = snapshots.filter(|_| !declares);
        // What is declared lost goes by what nodes have, and one without anything has no say.
        let odds = if declares { Odds { loss: 0, rest: 0, ..odds } } else { odds };
        // From a source of their own, so that what else a seed decides does not depend on them.
        let mut own = Rng::new(u64::from_le_bytes(cluster[8..].try_into().expect("eight bytes")));
        let mut wishes = match nodes {
            1 => own.one_in(3).then_some(Wishes { level: 1, calm: (MILLI, 50 * MILLI), ..Wishes::default() }),
            _ => own.one_in(2).then(|| Wishes::draw(&mut own)),
        };
        if let Some(wishes) = wishes.as_mut().filter(|_| declares) {
            // Who counts which logs then is an operator's own decision.
            (wishes.members, wishes.policy) = (0, wishes.policy.max(1));
        }
        let spares = if wishes.is_some_and(|wishes| wishes.members > 0) { SPARES } else { 0 };
        let mut disks: Vec<Speed> = disks;
        disks.extend((0..spares).map(|_| disks[own.below(nodes as u64) as usize]).collect::<Vec<_>>());
        Self {
            nodes,
            wishes,
            spares,
            snapshots,
            corrupt_snapshots: damages && snapshots.is_some(),
            retain: rng.pick(&[0, 0, 3]) * facts.segment_size,
            // Told by what was drawn before.
            scrub_every: (cluster[1] % 8 > 0)
                .then_some(Nanos(u64::from(cluster[1] % 4 + 1) * Nanos::SECOND / 2)),
            ring: 2 * facts.segment_size as usize,
            clients: rng.range(2, 6) as usize,
            rogues: rng.below(2) as usize,
            operations: 2_000,
            faults: 20,
            patience: (120 * Nanos::SECOND, 60 * Nanos::SECOND),
            odds,
            calm: (MILLI, rng.pick(&[30, 100]) * MILLI),
            trouble: (MILLI, rng.pick(&[20, 100, 400]) * MILLI),
            disks,
            weather: Weather {
                delay: (rng.pick(&[1, 20]) * MICRO, rng.pick(&[100, 2_000]) * MICRO),
                chunk: rng.pick(&[8, 100, 4_096, 4_096]),
                window: 8 * 1024,
                buffer: rng.pick(&[2, 8, 32]) * 1024,
            },
            roads: Roads {
                delay,
                buffer: rng.pick(&[8, 16, 64]) * 1024,
                reconnect: (MILLI, 20 * MILLI),
                give_up: (20 * MILLI, 200 * MILLI),
                alters: rng.pick(&[0, 0, 5, 20]),
            },
            election_timeout: Nanos(rng.pick(&[20, 50]) * MILLI),
            limit: rng.pick(&[1, 4, 64]),
            think: (MICRO, rng.pick(&[20, 200, 2_000]) * MICRO),
            sleepers: false,
            drift: rng.pick(&[500, 500, 20_000]),
            core: nodes > 1 && rng.one_in(2) && !declares,
            silence: if expiry { 1 } else { 0 },
            declares,
            reckless: false,
            corrupt,
            lie: None,
            #[cfg(feature = "planted")]
            mutation: ordain_consensus::Mutation::None,
            facts,
        }
    }
}

/// The key pair of a node, the same in every run.
#[must_use]
pub fn node_pair(node: usize) -> KeyPair {
    KeyPair::from_seed(&[0x80 + node as u8; 32])
}

impl Plan {
    /// Clients of all kinds.
    #[must_use]
    pub const fn parties(&self) -> usize {
        self.clients + self.rogues
    }

    /// Bytes of the delivery ring: no more than the largest step needs.
    #[must_use]
    pub fn delivery_ring<W: Workload>(&self) -> usize {
        const SLOT: usize = ordain_apply::MESSAGE_MAX + 8;
        (2 * (self.facts.step_outputs_max as usize + 4) * SLOT).next_power_of_two()
    }

    /// Nodes, members or not.
    #[must_use]
    pub const fn machines(&self) -> usize {
        self.nodes + self.spares
    }

    /// The clients' keys, and the operator's if there is one.
    #[must_use]
    pub fn keys<W: Workload>(&self) -> Vec<KeyBody> {
        let body = |client, permissions: u32| KeyBody {
            key: key_pair(client).public().0,
            permissions: permissions.into(),
            reserved: [0; 4],
        };
        let clients = (0..self.parties()).map(|client| body(client, W::permissions(client)));
        let operator = self.wishes.map(|_| body(self.parties(), permission::OPERATOR));
        clients.chain(operator).collect()
    }

    /// Policies that an operator may switch to. Where the disks count from the beginning they do so for ever, since
    /// faults strike that nothing else survives.
    #[must_use]
    pub fn policies(&self) -> Vec<AckPolicy> {
        let all = policies(self.nodes).iter().copied();
        all.filter(|policy| policy.durable > 0 || self.facts.policy.durable == 0).collect()
    }

    /// What the cluster is made with.
    #[must_use]
    pub fn configuration(&self) -> Configuration {
        Configuration::initial(&self.facts, &(0..self.nodes as u32).map(member).collect::<Vec<_>>())
    }

    /// Bounds of a node's gateway.
    #[must_use]
    pub fn gateway(&self, node: usize) -> GatewayConfig {
        GatewayConfig {
            idle_timeout: IDLE,
            connections_max: 24,
            operator_reserve: 2,
            strangers_max: 12,
            outputs_bytes: 64 * 1024,
            ..GatewayConfig::new(node_pair(node), [node as u8; 32])
        }
    }
}

/// A node as configurations name it; the simulated network goes by numbers alone.
#[must_use]
pub fn member(id: u32) -> Member {
    Member { id: NodeId(id), peer: format!("n{id}:1"), client: format!("n{id}:2"), key: [id as u8 + 1; 32] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_plan_is_valid() {
        for seed in 0..200 {
            for nodes in [1, 3, 5] {
                Plan::draw(&mut Rng::new(seed), nodes).facts.check().unwrap();
            }
        }
    }
}
