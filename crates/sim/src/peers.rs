//! The network between nodes: frames in order while a connection stands, delays, cuts, partitions in both
//! directions or one.

use crate::rng::Rng;
use crate::trace::Trace;
use ordain_agent::peer::{PeerEvent, Peers};
use ordain_agent::side::is_side;
use ordain_types::NodeId;
use ordain_types::batch::{BatchError, BatchView};
use ordain_types::members::Member;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

/// How the network between nodes behaves.
#[derive(Clone, Copy, Debug)]
pub struct Roads {
    /// Delay of a frame, nanoseconds.
    pub delay: (u64, u64),
    /// Bytes under way to one node before `send` refuses.
    pub buffer: usize,
    /// Until a broken connection stands again, nanoseconds.
    pub reconnect: (u64, u64),
    /// Until a connection that carries nothing is given up, nanoseconds.
    pub give_up: (u64, u64),
    /// Of so many parts of snapshots one arrives altered; 0: none does.
    pub alters: u64,
}

#[derive(Debug)]
enum Item {
    Up,
    Frame(Vec<u8>),
    Down,
    Removed,
}

/// What is under way from one node to another.
#[derive(Debug, Default)]
struct Flow {
    items: VecDeque<(u64, Item)>,
    bytes: usize,
    blocked: bool,
    /// The receiver has seen `Up` and not yet `Down`.
    seen_up: bool,
}

impl Flow {
    fn push(&mut self, due: u64, item: Item) {
        let due = self.items.back().map_or(due, |last| last.0.max(due));
        self.items.push_back((due, item));
    }

    fn arrived(&self, now: u64) -> bool {
        self.items
            .front()
            .is_some_and(|(due, item)| *due <= now && (!self.blocked || !matches!(item, Item::Frame(_))))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    Up { give_up: u64 },
    Down { retry: u64 },
}

/// All connections between nodes.
#[derive(Debug)]
pub struct Network {
    now: u64,
    nodes: usize,
    rng: Rng,
    roads: Roads,
    trace: Trace,
    alive: Vec<bool>,
    /// Whom each node lets in, one bit each: everybody before it has said whom.
    knows: Vec<u32>,
    /// Numbers below it that a node does not let in were removed, by its log.
    next: Vec<usize>,
    flows: Vec<Flow>,
    links: Vec<Link>,
    /// Of which nodes the next batches sent arrive with another bit.
    damaged: Vec<bool>,
    /// What left a node since somebody last looked: from, to, and the frame without its batches.
    pub sent: Vec<(usize, usize, Vec<u8>)>,
}

/// Handle of the network between nodes.
#[derive(Clone, Debug)]
pub struct PeersHandle(Arc<Mutex<Network>>);

impl PeersHandle {
    /// A network of `nodes` nodes, none of them running.
    #[must_use]
    pub fn new(nodes: usize, roads: Roads, rng: Rng, trace: Trace) -> Self {
        Self(Arc::new(Mutex::new(Network {
            now: 0,
            nodes,
            rng,
            roads,
            trace,
            alive: vec![false; nodes],
            knows: vec![u32::MAX; nodes],
            next: vec![0; nodes],
            flows: (0..nodes * nodes).map(|_| Flow::default()).collect(),
            links: vec![Link::Down { retry: 0 }; nodes * nodes],
            damaged: vec![false; nodes],
            sent: Vec::new(),
        })))
    }

    /// The network itself.
    pub fn lock(&self) -> MutexGuard<'_, Network> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// A node's port, for one life of its process.
    #[must_use]
    pub fn join(&self, node: usize) -> SimPeers {
        self.lock().node_up(node);
        SimPeers { net: self.clone(), node, current: Vec::new() }
    }
}

impl Network {
    fn flow(&mut self, from: usize, to: usize) -> &mut Flow {
        &mut self.flows[from * self.nodes + to]
    }

    fn pairs(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let nodes = self.nodes;
        (0..nodes).flat_map(move |a| (a + 1..nodes).map(move |b| (a, b)))
    }

    /// Time moves on: connections are made and given up.
    pub fn advance(&mut self, now: u64) {
        self.now = now;
        for (a, b) in self.pairs() {
            let at = a * self.nodes + b;
            let open = self.is_open(a, b);
            match self.links[at] {
                Link::Down { retry } if retry <= now && open => {
                    self.trace.event("link up", &[a as u64, b as u64]);
                    self.links[at] = Link::Up { give_up: u64::MAX };
                    let delay = self.roads.delay;
                    for (from, to) in [(a, b), (b, a)] {
                        let due = now + self.rng.spread(delay.0, delay.1);
                        self.flow(from, to).push(due, Item::Up);
                    }
                }
                Link::Down { retry } if retry <= now => {
                    let told = [(a, b), (b, a)].into_iter().any(|(by, who)| self.tell_removed(by, who));
                    if told {
                        let again =
                            now + self.rng.spread(self.roads.reconnect.0, 50 * self.roads.reconnect.1);
                        self.links[at] = Link::Down { retry: again };
                    }
                }
                Link::Up { give_up } if give_up <= now => self.cut(a, b),
                _ => {}
            }
        }
    }

    /// Node `who` dials `by`, by whose log it was removed, and is told; whether it is so.
    fn tell_removed(&mut self, by: usize, who: usize) -> bool {
        let blocked = self.flow(by, who).blocked || self.flow(who, by).blocked;
        let removed = self.knows[by] & 1 << who == 0 && who < self.next[by] && self.knows[who] & 1 << by != 0;
        let tells = removed && !blocked && self.alive[by] && self.alive[who];
        if tells {
            self.trace.event("told that it was removed", &[by as u64, who as u64]);
            let due = self.now + self.rng.spread(self.roads.delay.0, self.roads.delay.1);
            self.flow(by, who).push(due, Item::Removed);
        }
        tells
    }

    /// Whether a connection can be made: both run, each lets the other in, and nothing is in the way.
    fn is_open(&self, a: usize, b: usize) -> bool {
        let blocked = self.flows[a * self.nodes + b].blocked || self.flows[b * self.nodes + a].blocked;
        let knows = self.knows[a] & 1 << b != 0 && self.knows[b] & 1 << a != 0;
        self.alive[a] && self.alive[b] && knows && !blocked
    }

    /// When something arrives or a connection changes next.
    #[must_use]
    pub fn next_due(&self) -> Option<u64> {
        let links = self.pairs().filter_map(|(a, b)| match self.links[a * self.nodes + b] {
            Link::Down { retry } => self.is_open(a, b).then_some(retry),
            Link::Up { give_up } => (give_up != u64::MAX).then_some(give_up),
        });
        let frames = self.flows.iter().filter_map(|flow| {
            let (due, item) = flow.items.front()?;
            (!flow.blocked || !matches!(item, Item::Frame(_))).then_some(*due)
        });
        links.chain(frames).filter(|due| *due > self.now).min()
    }

    /// Whether something waits for `node`.
    #[must_use]
    pub fn has_arrived(&self, node: usize) -> bool {
        (0..self.nodes).any(|from| self.flows[from * self.nodes + node].arrived(self.now))
    }

    /// Breaks the connection between two nodes; the last frames of either direction are lost.
    pub fn cut(&mut self, a: usize, b: usize) {
        let (a, b) = (a.min(b), a.max(b));
        let at = a * self.nodes + b;
        if matches!(self.links[at], Link::Down { .. }) {
            return;
        }
        self.trace.event("link down", &[a as u64, b as u64]);
        let (now, roads) = (self.now, self.roads);
        self.links[at] = Link::Down { retry: now + self.rng.spread(roads.reconnect.0, roads.reconnect.1) };
        for (from, to) in [(a, b), (b, a)] {
            let due = now + self.rng.spread(roads.delay.0, roads.delay.1);
            let index = from * self.nodes + to;
            let keep = if self.flows[index].blocked {
                0
            } else {
                self.rng.below(self.flows[index].items.len() as u64 + 1) as usize
            };
            let flow = &mut self.flows[index];
            let mut place = 0;
            flow.items.retain(|(_, item)| {
                place += 1;
                place <= keep || !matches!(item, Item::Frame(_))
            });
            flow.bytes = flow.items.iter().map(|(_, item)| frame_len(item)).sum();
            flow.push(due, Item::Down);
        }
    }

    /// Lets nothing pass from one node to another until [`Network::heal`]. Nobody is told; a connection
    /// that carries nothing is given up after a while.
    pub fn block(&mut self, from: usize, to: usize) {
        self.trace.event("block", &[from as u64, to as u64]);
        self.flow(from, to).blocked = true;
        let (low, high) = self.roads.give_up;
        let give_up_at = self.now + self.rng.spread(low, high);
        if let Link::Up { give_up } = &mut self.links[from.min(to) * self.nodes + from.max(to)] {
            *give_up = give_up_at.min(*give_up);
        }
    }

    /// Cuts `node` off from all others: at once and to their knowledge, or as [`Network::block`] does.
    pub fn isolate(&mut self, node: usize, noticed: bool) {
        for other in (0..self.nodes).filter(|other| *other != node) {
            if noticed {
                self.cut(node, other);
            }
            self.block(node, other);
            self.block(other, node);
        }
    }

    /// The next batches that `node` sends arrive with one bit changed, which checksums of the network do not see.
    pub fn damage_next(&mut self, node: usize) {
        self.damaged[node] = true;
    }

    /// Ends every partition.
    pub fn heal(&mut self) {
        self.heal_but(&[]);
    }

    /// Ends every partition, but for these ways from one node to another: what is on them stays on its way.
    pub fn heal_but(&mut self, ways: &[(usize, usize)]) {
        self.trace.event("heal", &[]);
        self.damaged.fill(false);
        for from in 0..self.nodes {
            for to in (0..self.nodes).filter(|to| !ways.contains(&(from, *to))) {
                self.flow(from, to).blocked = false;
            }
        }
        for (a, b) in self.pairs().collect::<Vec<_>>() {
            let stays = self.flow(a, b).blocked || self.flow(b, a).blocked;
            if let Link::Up { give_up } = &mut self.links[a * self.nodes + b]
                && !stays
            {
                *give_up = u64::MAX;
            }
        }
    }

    /// The process of `node` is gone. The others notice at once, or when they give up.
    pub fn node_down(&mut self, node: usize, silent: bool) {
        self.alive[node] = false;
        for other in 0..self.nodes {
            if other == node {
                continue;
            }
            if silent {
                // The connection stays up as the other sees it; what it sends goes nowhere.
                let (low, high) = self.roads.give_up;
                let at = self.now + self.rng.spread(low, high);
                if let Link::Up { give_up } = &mut self.links[node.min(other) * self.nodes + node.max(other)]
                {
                    *give_up = at.min(*give_up);
                }
            } else {
                self.cut(node, other);
            }
            let flow = self.flow(other, node);
            flow.items.clear();
            flow.bytes = 0;
            flow.seen_up = false;
        }
    }

    /// The process of `node` starts: whatever connections its last life had are broken by now.
    fn node_up(&mut self, node: usize) {
        self.alive[node] = true;
        (self.knows[node], self.next[node]) = (u32::MAX, 0);
        for other in 0..self.nodes {
            if other != node {
                self.cut(node, other);
                let flow = self.flow(other, node);
                flow.items.clear();
                flow.bytes = 0;
            }
        }
    }
}

fn frame_len(item: &Item) -> usize {
    if let Item::Frame(bytes) = item { bytes.len() } else { 0 }
}

/// A node's port to the others.
#[derive(Debug)]
pub struct SimPeers {
    net: PeersHandle,
    node: usize,
    current: Vec<u8>,
}

impl Peers for SimPeers {
    fn poll(&mut self) -> Option<PeerEvent<'_>> {
        let mut network = self.net.lock();
        let (now, nodes, node) = (network.now, network.nodes, self.node);
        let first = network.rng.below(nodes as u64) as usize;
        let from = (0..nodes)
            .map(|step| (first + step) % nodes)
            .find(|from| network.flows[from * nodes + node].arrived(now))?;
        let id = NodeId(from as u32);
        let flow = network.flow(from, node);
        let (_, item) = flow.items.pop_front().expect("it has arrived");
        flow.bytes -= frame_len(&item);
        match item {
            Item::Up => {
                flow.seen_up = true;
                Some(PeerEvent::Up(id))
            }
            Item::Down => {
                flow.seen_up = false;
                Some(PeerEvent::Down(id))
            }
            Item::Removed => Some(PeerEvent::Removed(id)),
            Item::Frame(bytes) => {
                drop(network);
                self.current = bytes;
                Some(PeerEvent::Frame(id, &self.current))
            }
        }
    }

    fn set_members(&mut self, members: &[Member], next: NodeId) {
        let mut network = self.net.lock();
        let (node, nodes) = (self.node, network.nodes);
        network.knows[node] = members.iter().fold(0, |set, member| set | 1 << member.id.0);
        network.next[node] = next.0 as usize;
        for other in (0..nodes).filter(|other| *other != node) {
            if network.knows[node] & 1 << other == 0 {
                network.cut(node, other);
            }
        }
    }

    fn room(&self, to: NodeId) -> usize {
        let mut network = self.net.lock();
        let (node, to) = (self.node, to.0 as usize);
        if !network.flow(to, node).seen_up {
            return 0;
        }
        network.roads.buffer - network.flow(node, to).bytes
    }

    fn send(&mut self, to: NodeId, head: &[u8], body: &[u8]) -> bool {
        let mut network = self.net.lock();
        let (node, to, now) = (self.node, to.0 as usize, network.now);
        if !network.flow(to, node).seen_up {
            return false;
        }
        let roads = network.roads;
        if !is_side(head)
            && let Err(what) = whole(body)
        {
            let what = format!("node {node} sends node {to} a batch: {what}");
            network.trace.fail("what is served is sound", what);
        }
        let length = head.len() + body.len();
        if network.flow(node, to).bytes + length > roads.buffer {
            network.trace.mark("peer buffer full");
            return false;
        }
        let up = matches!(network.links[node.min(to) * network.nodes + node.max(to)], Link::Up { .. });
        if up && network.alive[to] {
            let due = now + network.rng.spread(roads.delay.0, roads.delay.1);
            let mut bytes = Vec::with_capacity(length);
            bytes.extend_from_slice(head);
            bytes.extend_from_slice(body);
            if !body.is_empty() && core::mem::take(&mut network.damaged[node]) {
                let at = head.len() + network.rng.below(body.len() as u64) as usize;
                bytes[at] ^= 1 << network.rng.below(8);
                network.trace.mark("batch damaged on its way");
            }
            let is_part = is_side(head) && !body.is_empty();
            if is_part && roads.alters > 0 && network.rng.one_in(roads.alters) {
                let at = head.len() + network.rng.below(body.len() as u64) as usize;
                bytes[at] ^= 1 << network.rng.below(8);
                network.trace.mark("snapshot part altered");
            }
            network.sent.push((node, to, head.to_vec()));
            let flow = network.flow(node, to);
            flow.bytes += length;
            flow.push(due, Item::Frame(bytes));
        }
        // A connection that broke without this node having noticed takes frames and loses them.
        true
    }
}

/// Whether these bytes are whole batches and nothing else.
fn whole(mut bytes: &[u8]) -> Result<(), BatchError> {
    while !bytes.is_empty() {
        bytes = &bytes[BatchView::parse(bytes)?.bytes().len()..];
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network() -> (PeersHandle, SimPeers, SimPeers) {
        let roads = Roads {
            delay: (10, 100),
            buffer: 64,
            reconnect: (1_000, 2_000),
            give_up: (5_000, 9_000),
            alters: 0,
        };
        let handle = PeersHandle::new(2, roads, Rng::new(5), Trace::default());
        let (a, b) = (handle.join(0), handle.join(1));
        (handle, a, b)
    }

    fn pass(handle: &PeersHandle, nanos: u64) {
        let now = handle.lock().now;
        handle.lock().advance(now + 1);
        handle.lock().advance(now + nanos);
    }

    #[test]
    fn frames_pass_in_order_between_up_and_down() {
        let (handle, mut a, mut b) = network();
        assert!(!a.send(NodeId(1), b"x", b""), "not connected");
        pass(&handle, 200);
        assert_eq!(a.poll(), Some(PeerEvent::Up(NodeId(1))));
        assert_eq!(b.poll(), Some(PeerEvent::Up(NodeId(0))));
        assert!(a.send(NodeId(1), b"he", b"ad") && a.send(NodeId(1), b"two", b""));
        assert!(!a.send(NodeId(1), &[0; 60], b""), "the buffer is bounded");
        pass(&handle, 200);
        assert_eq!(b.poll(), Some(PeerEvent::Frame(NodeId(0), b"head")));
        assert_eq!(b.poll(), Some(PeerEvent::Frame(NodeId(0), b"two")));
        assert_eq!(b.poll(), None);
        handle.lock().cut(0, 1);
        pass(&handle, 200);
        assert_eq!(b.poll(), Some(PeerEvent::Down(NodeId(0))));
        assert!(!b.send(NodeId(0), b"x", b""));
        pass(&handle, 3_000);
        pass(&handle, 200);
        assert_eq!(a.poll(), Some(PeerEvent::Down(NodeId(1))));
        assert_eq!(a.poll(), Some(PeerEvent::Up(NodeId(1))));
    }

    #[test]
    fn a_one_way_block_stops_one_direction_and_is_given_up_in_the_end() {
        let (handle, mut a, mut b) = network();
        pass(&handle, 200);
        assert!(a.poll().is_some() && b.poll().is_some());
        handle.lock().block(0, 1);
        assert!(a.send(NodeId(1), b"lost", b"") && b.send(NodeId(0), b"kept", b""));
        pass(&handle, 200);
        assert_eq!(b.poll(), None);
        assert_eq!(a.poll(), Some(PeerEvent::Frame(NodeId(1), b"kept")));
        pass(&handle, 10_000);
        pass(&handle, 200);
        assert_eq!(b.poll(), Some(PeerEvent::Down(NodeId(0))));
        pass(&handle, 10_000);
        assert_eq!(b.poll(), None, "no connection while blocked");
        handle.lock().heal();
        pass(&handle, 3_000);
        assert_eq!(b.poll(), Some(PeerEvent::Up(NodeId(0))));
    }
}
