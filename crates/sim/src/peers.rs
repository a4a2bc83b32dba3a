//! The network between nodes: bytes in order while a connection stands, delays, cuts, partitions in both
//! directions or one. Frames travel and are told from each other by the production [`framing`](ordain_agent::framing).

use crate::rng::Rng;
use crate::trace::Trace;
use ordain_agent::framing::{Damage, Framing, PREFIX_MAX};
use ordain_agent::peer::{PeerEvent, Peers};
use ordain_agent::side::is_side;
use ordain_consensus::Message;
use ordain_consensus::message::Body;
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
    /// Of so many parts of snapshots and segments one is altered before it is sent, so that no checksum of the
    /// connection tells; 0: none is.
    pub alters: u64,
}

#[derive(Debug)]
enum Item {
    Up,
    /// As it arrives, with what stands in front.
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
    /// What the receiver has of a frame that is not whole yet.
    received: Vec<u8>,
}

/// A frame that is to arrive otherwise than it is sent, without the network's own checksums seeing it.
#[derive(Clone, Copy, Debug)]
struct Harm {
    victim: Victim,
    how: How,
}

/// The first such frame is it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    /// Any.
    Any,
    /// Of consensus, but none of those that pass all the time: votes, rejections, greetings.
    Rare,
    /// With batches; of these, a bit.
    Batches,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Bit,
    Cut,
    More,
}

impl Harm {
    fn draw(rng: &mut Rng) -> Self {
        let victim = rng.pick(&[Victim::Any, Victim::Rare, Victim::Batches]);
        let how = rng.pick(&[How::Bit, How::Bit, How::Cut, How::More]);
        Self { victim, how: if victim == Victim::Batches { How::Bit } else { how } }
    }

    fn is_for(self, head: &[u8], body: &[u8]) -> bool {
        let message = || Message::decode(head).map(|(message, _)| message.body);
        match self.victim {
            Victim::Any => true,
            Victim::Rare => {
                !is_side(head) && !matches!(message(), Ok(Body::Append(_) | Body::Ack { .. }) | Err(_))
            }
            Victim::Batches => !is_side(head) && !body.is_empty(),
        }
    }

    /// Does it to a frame of which the last `body` bytes are batches, and says what was done.
    fn strike(self, bytes: &mut Vec<u8>, body: usize, rng: &mut Rng) -> &'static str {
        let from = if self.victim == Victim::Batches { bytes.len() - body } else { 0 };
        let at = from + rng.below((bytes.len() - from) as u64) as usize;
        let few = rng.range(1, 9) as usize;
        match self.how {
            How::Bit => {
                bytes[at] ^= 1 << rng.below(8);
                if from > 0 { "batch damaged on its way" } else { "frame altered on its way" }
            }
            How::Cut => {
                bytes.drain(at..(at + few).min(bytes.len()));
                "frame cut on its way"
            }
            How::More => {
                bytes.splice(at..at, (0..few).map(|_| rng.below(256) as u8).collect::<Vec<_>>());
                "frame lengthened on its way"
            }
        }
    }
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
    /// What befalls a frame that a node is about to send.
    harms: Vec<Option<Harm>>,
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
            harms: vec![None; nodes],
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
            match self.links[at] {
                Link::Down { .. } if !(self.alive[a] && self.alive[b]) => {}
                Link::Down { retry } if retry <= now && self.is_open(a, b) => {
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

    /// Whether each of two nodes lets the other in.
    #[must_use]
    pub fn know_each_other(&self, a: usize, b: usize) -> bool {
        self.knows[a] & 1 << b != 0 && self.knows[b] & 1 << a != 0
    }

    /// Whether a connection can be made: both run, each lets the other in, and nothing is in the way.
    fn is_open(&self, a: usize, b: usize) -> bool {
        let blocked = self.flows[a * self.nodes + b].blocked || self.flows[b * self.nodes + a].blocked;
        self.alive[a] && self.alive[b] && self.know_each_other(a, b) && !blocked
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

    /// One of the next frames that `node` sends arrives altered, cut, or with more bytes, which checksums of the
    /// network do not see.
    pub fn damage_next(&mut self, node: usize) {
        self.harms[node] = Some(Harm::draw(&mut self.rng));
    }

    /// A node has received what nobody sent: for it the connection is over, with all that is still under way.
    fn give_up(&mut self, from: usize, by: usize, damage: Damage) {
        self.trace.mark("damaged frame refused");
        self.trace.say(|| format!("node {by} ends its connection with node {from}: {damage}"));
        // Unless it is over already, and the node has only not seen it yet.
        self.cut(from, by);
        let flow = self.flow(from, by);
        flow.received.clear();
        let is_down = |(_, item): &(u64, Item)| matches!(item, Item::Down);
        let end = flow.items.iter().position(is_down).unwrap_or(flow.items.len());
        let mut place = 0;
        flow.items.retain(|(_, item)| {
            place += 1;
            place > end || !matches!(item, Item::Frame(_))
        });
        flow.bytes = flow.items.iter().map(|(_, item)| frame_len(item)).sum();
    }

    /// Ends every partition.
    pub fn heal(&mut self) {
        self.heal_but(&[]);
    }

    /// Ends every partition, but for these ways from one node to another: what is on them stays on its way.
    pub fn heal_but(&mut self, ways: &[(usize, usize)]) {
        self.trace.event("heal", &[]);
        self.harms.fill(None);
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
            flow.received.clear();
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
                flow.received.clear();
                flow.bytes = 0;
            }
        }
    }
}

/// What stands in front of frames.
const FRAMING: Framing = Framing::Checked;

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

impl SimPeers {
    /// Whatever arrived first, from one of those from whom something has.
    fn next(&mut self) -> Option<(NodeId, Item)> {
        let mut network = self.net.lock();
        let (now, nodes, node) = (network.now, network.nodes, self.node);
        let first = network.rng.below(nodes as u64) as usize;
        let from = (0..nodes)
            .map(|step| (first + step) % nodes)
            .find(|from| network.flows[from * nodes + node].arrived(now))?;
        let flow = network.flow(from, node);
        let (_, item) = flow.items.pop_front().expect("it has arrived");
        flow.bytes -= frame_len(&item);
        match item {
            Item::Up | Item::Down => {
                flow.seen_up = matches!(item, Item::Up);
                flow.received.clear();
            }
            Item::Frame(_) | Item::Removed => {}
        }
        Some((NodeId(from as u32), item))
    }

    /// Takes bytes of a connection. Length of the frame that is whole by them; it is in `current`.
    fn receive(&mut self, from: usize, bytes: Vec<u8>) -> Option<usize> {
        let mut network = self.net.lock();
        let node = self.node;
        let received = &mut network.flow(from, node).received;
        self.current = core::mem::take(received);
        self.current.extend(bytes);
        match FRAMING.first(&self.current) {
            Ok(Some(length)) => {
                // No more than one becomes whole by what one was sent as.
                received.extend_from_slice(&self.current[PREFIX_MAX + length..]);
                Some(length)
            }
            Ok(None) => {
                *received = core::mem::take(&mut self.current);
                None
            }
            Err(damage) => {
                network.give_up(from, node, damage);
                None
            }
        }
    }
}

impl Peers for SimPeers {
    fn poll(&mut self) -> Option<PeerEvent<'_>> {
        loop {
            match self.next()? {
                (from, Item::Up) => return Some(PeerEvent::Up(from)),
                (from, Item::Down) => return Some(PeerEvent::Down(from)),
                (from, Item::Removed) => return Some(PeerEvent::Removed(from)),
                (from, Item::Frame(bytes)) => {
                    if let Some(length) = self.receive(from.0 as usize, bytes) {
                        return Some(PeerEvent::Frame(from, &self.current[PREFIX_MAX..PREFIX_MAX + length]));
                    }
                }
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
        network.roads.buffer.saturating_sub(network.flow(node, to).bytes + PREFIX_MAX)
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
        let length = PREFIX_MAX + head.len() + body.len();
        if network.flow(node, to).bytes + length > roads.buffer {
            network.trace.mark("peer buffer full");
            return false;
        }
        let up = matches!(network.links[node.min(to) * network.nodes + node.max(to)], Link::Up { .. });
        if up && network.alive[to] {
            let due = now + network.rng.spread(roads.delay.0, roads.delay.1);
            let mut body = body.to_vec();
            let is_part = is_side(head) && !body.is_empty();
            if is_part && roads.alters > 0 && network.rng.one_in(roads.alters) {
                let at = network.rng.below(body.len() as u64) as usize;
                body[at] ^= 1 << network.rng.below(8);
                network.trace.mark("snapshot part altered");
            }
            let mut bytes = Vec::with_capacity(length);
            bytes.extend_from_slice(&FRAMING.prefix(head, &body));
            bytes.extend_from_slice(head);
            bytes.extend_from_slice(&body);
            if let Some(harm) = network.harms[node].take_if(|harm| harm.is_for(head, &body)) {
                let what = harm.strike(&mut bytes, body.len(), &mut network.rng);
                network.trace.mark(what);
            }
            network.sent.push((node, to, head.to_vec()));
            let flow = network.flow(node, to);
            flow.bytes += bytes.len();
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
            buffer: 128,
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
        assert!(!a.send(NodeId(1), b"head", b""), "not connected");
        pass(&handle, 200);
        assert_eq!(a.poll(), Some(PeerEvent::Up(NodeId(1))));
        assert_eq!(b.poll(), Some(PeerEvent::Up(NodeId(0))));
        assert!(a.send(NodeId(1), b"head", b"body") && a.send(NodeId(1), b"two.", b""));
        assert!(!a.send(NodeId(1), &[0; 100], b""), "the buffer is bounded");
        pass(&handle, 200);
        assert_eq!(b.poll(), Some(PeerEvent::Frame(NodeId(0), b"headbody")));
        assert_eq!(b.poll(), Some(PeerEvent::Frame(NodeId(0), b"two.")));
        assert_eq!(b.poll(), None);
        handle.lock().cut(0, 1);
        pass(&handle, 200);
        assert_eq!(b.poll(), Some(PeerEvent::Down(NodeId(0))));
        assert!(!b.send(NodeId(0), b"head", b""));
        pass(&handle, 3_000);
        pass(&handle, 200);
        assert_eq!(a.poll(), Some(PeerEvent::Down(NodeId(1))));
        assert_eq!(a.poll(), Some(PeerEvent::Up(NodeId(1))));
    }

    #[test]
    fn what_arrives_altered_ends_the_connection_and_nothing_behind_it_is_seen() {
        for how in [How::Bit, How::Cut, How::More] {
            let (handle, mut a, mut b) = network();
            pass(&handle, 200);
            assert!(a.poll().is_some() && b.poll().is_some());
            assert!(a.send(NodeId(1), &4_u32.to_le_bytes(), b""));
            handle.lock().harms[0] = Some(Harm { victim: Victim::Any, how });
            for _ in 0..4 {
                assert!(a.send(NodeId(1), &4_u32.to_le_bytes(), b""));
            }
            pass(&handle, 200);
            assert_eq!(b.poll(), Some(PeerEvent::Frame(NodeId(0), &[4, 0, 0, 0])), "{how:?}");
            // More bytes may stand behind a frame that is whole.
            let mut more = 0;
            while let Some(event) = b.poll() {
                assert_eq!((event, how), (PeerEvent::Frame(NodeId(0), &[4, 0, 0, 0]), How::More));
                more += 1;
            }
            assert!(more <= 1);
            pass(&handle, 200);
            assert_eq!(b.poll(), Some(PeerEvent::Down(NodeId(0))), "{how:?}");
            pass(&handle, 3_000);
            pass(&handle, 200);
            assert_eq!(b.poll(), Some(PeerEvent::Up(NodeId(0))), "{how:?}");
            assert_eq!(handle.lock().flow(0, 1).bytes, 0);
        }
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
