//! Tells the others what this node holds, works out from what they tell how much of the log nobody needs, sends
//! snapshots to those who lack what is gone, and fetches one where it is this node that does.

use crate::fetch::Fetch;
use crate::message::{Announce, Held, Offer, Range, kind, position};
use crate::serve::Serve;
use core::ops::RangeInclusive;
use ordain_agent::Fatal;
use ordain_agent::disk::Disk;
use ordain_agent::metrics::{Gauge, Registry};
use ordain_agent::planted::{self, Mistake};
use ordain_agent::shared::Shared;
use ordain_agent::side::{Outbox, Side, Successor};
use ordain_agent::states::States;
use ordain_agent::wire::Stored;
use ordain_ring::spsc;
use ordain_types::{BatchIndex, ClusterFacts, Nanos, NodeId, Now, Position};
use zerocopy::FromBytes;

/// What has not changed is announced again after this long: numbers that move all the time, and what was lost.
const ANNOUNCE_EVERY: u64 = Nanos::SECOND;
/// Nodes that must hold a snapshot before what it stands for may go: should the disk of one fail, the other still has
/// the beginning.
const HOLDERS: usize = 2;

/// The exchange's ways to the disk. Depth 1.
pub struct SnapshotLanes<D> {
    /// For reading what others are sent.
    pub send: D,
    /// For writing what others send.
    pub receive: D,
}

/// What an [`Exchange`] is made of.
pub struct ExchangeParts<'a, D> {
    /// The cluster's facts.
    pub facts: &'a ClusterFacts,
    /// The disk.
    pub lanes: SnapshotLanes<D>,
    /// The other nodes known so far; whoever connects is one, too.
    pub others: Vec<NodeId>,
    /// Snapshots as the shadow stores them; `None` if this node stores none.
    pub stored: Option<spsc::Receiver>,
    /// Where it tells of the states that snapshots hold, for others to compare.
    pub states: States,
    /// The highest level of behaviour that this build has.
    pub level: u16,
    /// The node's cursors.
    pub shared: Shared,
    /// Where it registers its metrics.
    pub registry: &'a Registry,
}

/// See the module.
pub struct Exchange<D> {
    peers: Vec<Peer>,
    stored: Option<spsc::Receiver>,
    states: States,
    level: u16,
    shared: Shared,
    /// This node's snapshots, the newest first.
    own: [Option<Held>; 2],
    /// What enough nodes hold.
    agreed: Position,
    serve: Serve<D>,
    fetch: Fetch<D>,
    registry: Registry,
    floor: Gauge,
}

#[derive(Debug)]
struct Peer {
    id: NodeId,
    up: bool,
    /// What it announced on the connection that stands, or on the last one.
    announced: Announce,
    /// When it is told next.
    due: Nanos,
    /// What it was told.
    told: Option<Announce>,
    snapshot: Gauge,
    oldest: Gauge,
    level: Gauge,
}

impl Peer {
    fn new(id: NodeId, registry: &Registry) -> Self {
        let number = id.0.to_string();
        let gauge = |name, help| registry.labelled(name, ("peer", &number), help);
        Self {
            id,
            up: false,
            announced: Announce::default(),
            due: Nanos::ZERO,
            told: None,
            snapshot: gauge(
                "ordain_peer_snapshot_position",
                "Log position of the newest snapshot that the node announced.",
            ),
            oldest: gauge(
                "ordain_peer_oldest_position",
                "Log position where the node's oldest segment begins, as it announced.",
            ),
            level: gauge("ordain_peer_level", "Highest level of behaviour that the node's build has."),
        }
    }
}

impl<D: Disk> Exchange<D> {
    /// An exchange that has heard of nobody.
    #[must_use]
    pub fn new(parts: ExchangeParts<'_, D>) -> Self {
        let ExchangeParts { facts, lanes, others, stored, states, level, shared, registry } = parts;
        Self {
            serve: Serve::new(facts.segment_size, lanes.send, registry),
            fetch: Fetch::new(facts, lanes.receive, registry),
            agreed: Position::ZERO,
            peers: others.into_iter().map(|id| Peer::new(id, registry)).collect(),
            registry: registry.clone(),
            stored,
            states,
            level,
            shared,
            own: [None; 2],
            floor: registry.gauge(
                "ordain_trim_floor_position",
                "Log position before which other nodes need nothing of this one.",
            ),
        }
    }

    /// What the shadow stored.
    fn hear_shadow(&mut self) -> usize {
        let Some(stored) = &mut self.stored else { return 0 };
        let mut heard = 0;
        while let Some(bytes) = stored.peek() {
            let told = Stored::ref_from_bytes(bytes).expect("the shadow sends these only");
            let held = Held {
                position: Position(told.position.get()),
                index: BatchIndex(told.index.get()),
                bytes: told.bytes.get(),
                hash: told.hash,
            };
            self.states.put(None, held.index, held.hash);
            self.own = [Some(held), self.own[0]];
            self.fetch.stored(held.position);
            stored.release();
            heard += 1;
        }
        heard
    }

    fn announcement(&self) -> Announce {
        Announce {
            oldest: Position(self.shared.oldest.load()),
            applied: BatchIndex(self.shared.applied.load()),
            partial: self.fetch.partial(),
            snapshots: self.own,
            level: self.level,
        }
    }

    /// The lowest level that a node which is connected has, as far as it said so. Told to the log stage.
    fn tell_level(&self) {
        let lowest = self.peers.iter().filter(|peer| peer.up).map(|peer| peer.announced.level).min();
        self.shared.level_of_others.store(lowest.unwrap_or(0).into());
    }

    /// Tells those who are due, at once if it is news what this node holds.
    fn announce(&mut self, now: Now, out: &mut dyn Outbox) -> usize {
        let announce = self.announcement();
        let mut sent = 0;
        for peer in self.peers.iter_mut().filter(|peer| peer.up) {
            let news = peer
                .told
                .is_none_or(|told| (told.oldest, told.snapshots) != (announce.oldest, announce.snapshots));
            if (news || now.mono >= peer.due) && out.send(peer.id, kind::ANNOUNCE, &announce.encode(), &[]) {
                peer.told = Some(announce);
                peer.due = now.mono.plus(ANNOUNCE_EVERY);
                sent += 1;
            }
        }
        sent
    }

    /// The newest position at or behind which enough nodes hold a snapshot, for ever from then on. Of the others only
    /// those count that are connected: what a node said that is gone since may be gone with it. A node that is down
    /// holds up nothing as long as enough others are there: it will be sent a snapshot.
    fn agree(&mut self) {
        let connected = self.peers.iter().filter(|peer| peer.up);
        let newest = connected.filter_map(|peer| peer.announced.snapshots[0]).chain(self.own[0]);
        let mut positions: Vec<Position> = newest.map(|held| held.position).collect();
        positions.sort_unstable_by(|one, other| other.cmp(one));
        let mut need = HOLDERS.min(self.peers.len() + 1);
        if planted::is(Mistake::TrimAlone) {
            need = 1;
        }
        self.agreed = self.agreed.max(positions.get(need - 1).copied().unwrap_or_default());
    }

    /// Moves the trim floor: to what was agreed, but not beyond the snapshot that a node is being sent. It needs the
    /// log behind it next.
    fn move_floor(&mut self, now: Now) {
        let pinned = self.serve.pinned(now);
        self.shared.pinned.store(pinned.map_or(0, |position| position.0));
        let floor = self.agreed.min(pinned.unwrap_or(self.agreed));
        if floor.0 != self.shared.trim_floor.load() {
            self.shared.trim_floor.store(floor.0);
            self.floor.set(floor.0);
        }
    }

    fn peer(&mut self, id: NodeId) -> Option<&mut Peer> {
        self.peers.iter_mut().find(|peer| peer.id == id)
    }
}

impl<D: Disk> Side for Exchange<D> {
    fn kinds(&self) -> RangeInclusive<u8> {
        16..=23
    }

    fn up(&mut self, peer: NodeId, now: Now) {
        if self.peer(peer).is_none() {
            self.peers.push(Peer::new(peer, &self.registry));
        }
        if let Some(peer) = self.peer(peer) {
            (peer.up, peer.told, peer.due) = (true, None, now.mono);
            peer.announced = Announce::default();
        }
        self.tell_level();
    }

    fn down(&mut self, peer: NodeId, _now: Now) {
        self.serve.down(peer);
        self.fetch.down(peer);
        if let Some(peer) = self.peer(peer) {
            peer.up = false;
        }
        self.tell_level();
    }

    fn hear(&mut self, from: NodeId, kind: u8, body: &[u8], now: Now) {
        let states = self.states.clone();
        let Some(peer) = self.peer(from) else { return };
        match kind {
            kind::ANNOUNCE => {
                let Some(announce) = Announce::decode(body) else { return };
                for held in announce.snapshots.into_iter().flatten() {
                    states.put(Some(from), held.index, held.hash);
                }
                peer.announced = announce;
                peer.oldest.set(announce.oldest.0);
                peer.snapshot.set(announce.snapshots[0].map_or(0, |held| held.position.0));
                peer.level.set(announce.level.into());
                self.agree();
                self.tell_level();
            }
            kind::OFFER => {
                if let Some(offer) = Offer::decode(body) {
                    self.fetch.offered(from, offer, now);
                }
            }
            kind::ASK => {
                if let Some((range, [])) = Range::decode(body) {
                    self.serve.asked(from, range, now);
                }
            }
            kind::PART => {
                if let Some((range, bytes)) = Range::decode(body) {
                    self.fetch.part(from, range, bytes, now);
                }
            }
            kind::GONE => {
                if let Some(position) = position(body) {
                    self.fetch.gone(from, position);
                }
            }
            kind::REFUSE => {
                if let Some(position) = position(body) {
                    self.serve.refused(from, position, now);
                }
            }
            _ => {}
        }
    }

    fn lacks(&mut self, peer: NodeId, _first: BatchIndex, _now: Now) {
        self.serve.lacks(peer);
    }

    fn work(&mut self, now: Now, out: &mut dyn Outbox) -> Result<usize, Fatal> {
        let mut work = self.hear_shadow();
        if work > 0 {
            self.agree();
        }
        let Self { peers, serve, own, .. } = self;
        let announced = |id| peers.iter().find(|peer| peer.id == id).map(|peer| peer.announced);
        work += serve.work(now, own, announced, out);
        work += self.fetch.work(now, out)?;
        self.move_floor(now);
        Ok(work + self.announce(now, out))
    }

    fn successor(&self) -> Option<Successor> {
        self.fetch.successor()
    }

    fn succeed(&mut self, frozen: bool) {
        self.fetch.succeed(frozen);
    }

    fn next_deadline(&self) -> Option<Nanos> {
        let due = self.peers.iter().filter(|peer| peer.up).map(|peer| peer.due);
        due.chain(self.fetch.next_deadline()).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::ANNOUNCE;
    use ordain_agent::disk::{DiskDone, DiskError, DiskOp};
    use ordain_types::ClusterId;
    use std::collections::VecDeque;
    use zerocopy::IntoBytes;

    /// Takes what fits into `room` bytes.
    #[derive(Default)]
    struct Wire {
        room: usize,
        sent: Vec<(NodeId, u8, Vec<u8>)>,
    }

    impl Outbox for Wire {
        fn room(&self, _to: NodeId) -> usize {
            self.room
        }

        fn send(&mut self, to: NodeId, kind: u8, first: &[u8], second: &[u8]) -> bool {
            let fits = first.len() + second.len() <= self.room;
            if fits {
                self.sent.push((to, kind, [first, second].concat()));
            }
            fits
        }
    }

    /// A disk without files.
    #[derive(Default)]
    struct NoFiles(VecDeque<DiskOp>);

    impl Disk for NoFiles {
        fn free(&self) -> usize {
            2 - self.0.len()
        }

        fn submit(&mut self, op: DiskOp) {
            self.0.push_back(op);
        }

        fn poll(&mut self) -> Option<DiskDone> {
            let op = self.0.pop_front()?;
            let result = if let DiskOp::List { .. } = op { Ok(0) } else { Err(DiskError::NotFound) };
            Some(DiskDone { op, result })
        }
    }

    struct Bench {
        exchange: Exchange<NoFiles>,
        shared: Shared,
        shadow: spsc::Sender,
        wire: Wire,
        now: u64,
    }

    fn at(mono: u64) -> Now {
        Now { mono: Nanos(mono), wall: Nanos(mono) }
    }

    fn held(position: u64) -> Held {
        Held { position: Position(position), index: BatchIndex(position / 100), bytes: 9, hash: [3; 32] }
    }

    impl Bench {
        fn new(others: &[u32]) -> Self {
            let (shadow, stored) = spsc::channel(1024);
            let shared = Shared::default();
            let exchange = Exchange::new(ExchangeParts {
                level: 0,
                facts: &ClusterFacts::new(ClusterId([1; 16]), Nanos(1), 3),
                lanes: SnapshotLanes { send: NoFiles::default(), receive: NoFiles::default() },
                others: others.iter().copied().map(NodeId).collect(),
                stored: Some(stored),
                states: States::default(),
                shared: shared.clone(),
                registry: &Registry::default(),
            });
            Self { exchange, shared, shadow, wire: Wire { room: 1024, sent: Vec::new() }, now: 0 }
        }

        fn store(&mut self, position: u64) {
            let Held { position, index, bytes, hash } = held(position);
            let told =
                Stored { position: position.0.into(), index: index.0.into(), bytes: bytes.into(), hash };
            self.shadow.try_claim(size_of::<Stored>()).unwrap().copy_from_slice(told.as_bytes());
            self.shadow.commit();
        }

        /// Works after `nanos` more; to whom what was sent.
        fn work(&mut self, nanos: u64) -> Vec<(u32, Announce)> {
            self.now += nanos;
            self.exchange.work(at(self.now), &mut self.wire).unwrap();
            let sent = core::mem::take(&mut self.wire.sent);
            let read = |(to, kind, body): (NodeId, u8, Vec<u8>)| {
                assert_eq!(kind, kind::ANNOUNCE);
                (to.0, Announce::decode(&body).unwrap())
            };
            sent.into_iter().map(read).collect()
        }

        fn hear(&mut self, from: u32, newest: u64) {
            let announce = Announce { snapshots: [Some(held(newest)), None], ..Announce::default() };
            self.exchange.hear(NodeId(from), kind::ANNOUNCE, &announce.encode(), at(self.now));
        }

        fn floor(&mut self) -> u64 {
            self.exchange.work(at(self.now), &mut self.wire).unwrap();
            self.wire.sent.clear();
            self.shared.trim_floor.load()
        }
    }

    #[test]
    fn the_lowest_level_counts_of_those_who_are_connected() {
        let mut bench = Bench::new(&[1, 2]);
        let lowest = |bench: &Bench| bench.shared.level_of_others.load();
        let hear = |bench: &mut Bench, from, level| {
            let announce = Announce { level, ..Announce::default() };
            bench.exchange.hear(NodeId(from), kind::ANNOUNCE, &announce.encode(), at(bench.now));
        };
        bench.exchange.up(NodeId(1), at(1));
        hear(&mut bench, 1, 3);
        assert_eq!(lowest(&bench), 3);
        bench.exchange.up(NodeId(2), at(1));
        assert_eq!(lowest(&bench), 0, "nothing is known of who has said nothing");
        hear(&mut bench, 2, 2);
        assert_eq!(lowest(&bench), 2);
        bench.exchange.down(NodeId(2), at(1));
        assert_eq!(lowest(&bench), 3);
        bench.exchange.up(NodeId(2), at(1));
        assert_eq!(lowest(&bench), 0, "it may have come back with another build");
    }

    #[test]
    fn news_are_told_at_once_and_the_rest_every_second() {
        let mut bench = Bench::new(&[1, 2]);
        assert_eq!(bench.work(1), []);
        bench.exchange.up(NodeId(2), at(1));
        let nothing = Announce::default();
        assert_eq!(bench.work(1), [(2, nothing)]);
        assert_eq!(bench.work(1), []);
        // Numbers that move all the time are no news.
        bench.shared.applied.store(7);
        assert_eq!(bench.work(1), []);
        bench.store(400);
        bench.store(800);
        let both = Announce {
            applied: BatchIndex(7),
            snapshots: [Some(held(800)), Some(held(400))],
            ..Announce::default()
        };
        assert_eq!(bench.work(1), [(2, both)]);
        assert_eq!(bench.work(ANNOUNCE_EVERY - 1), []);
        assert_eq!(bench.exchange.next_deadline(), Some(Nanos(bench.now + 1)));
        assert_eq!(bench.work(1), [(2, both)]);
        // What finds no room is told as soon as there is some.
        bench.shared.oldest.store(400);
        bench.wire.room = 100;
        assert_eq!(bench.work(1), []);
        bench.wire.room = 1024;
        assert_eq!(bench.work(1), [(2, Announce { oldest: Position(400), ..both })]);
        // Whoever connects anew has heard nothing.
        bench.exchange.down(NodeId(2), at(bench.now));
        assert_eq!((bench.work(ANNOUNCE_EVERY), bench.exchange.next_deadline()), (vec![], None));
        bench.exchange.up(NodeId(2), at(bench.now));
        assert_eq!(bench.work(0).len(), 1);
    }

    #[test]
    fn what_two_nodes_hold_a_snapshot_of_may_go() {
        let mut bench = Bench::new(&[1, 2]);
        bench.store(800);
        bench.work(1);
        assert_eq!(bench.floor(), 0, "nobody else is known to hold one");
        bench.exchange.up(NodeId(1), at(1));
        bench.hear(1, 400);
        assert_eq!(bench.floor(), 400);
        // Node 2 is down and holds up nothing.
        bench.hear(1, 800);
        assert_eq!(bench.floor(), 800);
        // Of two that are ahead, the second counts.
        bench.exchange.up(NodeId(2), at(1));
        bench.hear(1, 1600);
        bench.hear(2, 1200);
        assert_eq!(bench.floor(), 1200);
    }

    #[test]
    fn who_is_gone_holds_nothing() {
        let mut bench = Bench::new(&[1, 2]);
        bench.exchange.up(NodeId(1), at(1));
        bench.hear(1, 800);
        bench.exchange.down(NodeId(1), at(1));
        bench.store(800);
        bench.work(1);
        assert_eq!(bench.floor(), 0);
        // It may come back with an empty disk.
        bench.exchange.up(NodeId(1), at(1));
        bench.work(1);
        assert_eq!(bench.floor(), 0);
        bench.hear(1, 400);
        assert_eq!(bench.floor(), 400);
        bench.exchange.down(NodeId(1), at(1));
        bench.work(1);
        assert_eq!(bench.floor(), 400, "what was trimmed stays trimmed");
    }

    #[test]
    fn nonsense_is_ignored() {
        let mut bench = Bench::new(&[1]);
        bench.exchange.up(NodeId(1), at(1));
        bench.exchange.hear(NodeId(1), kind::ANNOUNCE, &[0xFF; ANNOUNCE], at(1));
        bench.exchange.hear(NodeId(1), kind::ANNOUNCE, &[0; ANNOUNCE - 1], at(1));
        bench.exchange.hear(NodeId(1), 23, &[0; ANNOUNCE], at(1));
        bench.hear(9, 400);
        bench.store(400);
        bench.work(1);
        assert_eq!(bench.floor(), 0);
    }
}
