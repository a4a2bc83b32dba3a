//! The network between clients and nodes: byte streams with delays, odd fragments, small buffers, cuts that
//! one side or both notice, sooner or later.

use crate::rng::Rng;
use crate::trace::Trace;
use ordain_agent::net::{ConnId, Net, NetEvent};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

/// How the network behaves.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// Delay of a chunk, nanoseconds.
    pub delay: (u64, u64),
    /// Longest chunk, bytes; each is shorter by chance.
    pub chunk: u64,
    /// Bytes under way in one direction before the sender must wait.
    pub window: usize,
    /// Bytes of a node's receive and send buffers of one connection. A largest frame fits.
    pub buffer: usize,
}

#[derive(Debug, Default)]
struct Pipe {
    flight: VecDeque<(u64, Vec<u8>)>,
    bytes: usize,
    /// When the receiver learns that nothing more comes.
    end: Option<u64>,
    /// Nothing passes and nobody is told.
    silent: bool,
}

impl Pipe {
    fn push(&mut self, now: u64, mut bytes: &[u8], weather: &Weather, rng: &mut Rng) {
        if self.silent || self.end.is_some() {
            return;
        }
        while !bytes.is_empty() {
            let length = (rng.range(1, weather.chunk) as usize).min(bytes.len());
            let due = now + rng.spread(weather.delay.0, weather.delay.1);
            let due = self.flight.back().map_or(due, |last| last.0.max(due));
            self.flight.push_back((due, bytes[..length].to_vec()));
            self.bytes += length;
            bytes = &bytes[length..];
        }
    }

    /// Appends what has arrived to `to`, at most up to `limit` bytes in it.
    fn take(&mut self, now: u64, to: &mut Vec<u8>, limit: usize) -> usize {
        let before = to.len();
        while let Some((due, chunk)) = self.flight.front_mut() {
            let room = limit.saturating_sub(to.len());
            if *due > now || room == 0 {
                break;
            }
            if chunk.len() > room {
                to.extend(chunk.drain(..room));
                break;
            }
            to.extend_from_slice(chunk);
            self.flight.pop_front();
        }
        self.bytes -= to.len() - before;
        to.len() - before
    }

    fn ended(&self, now: u64) -> bool {
        self.end.is_some_and(|end| end <= now) && self.flight.front().is_none_or(|(due, _)| *due > now)
    }

    /// Loses everything behind a random chunk, and ends.
    fn cut(&mut self, at: u64, rng: &mut Rng) {
        let keep = rng.below(self.flight.len() as u64 + 1) as usize;
        self.flight.truncate(keep);
        self.bytes = self.flight.iter().map(|(_, chunk)| chunk.len()).sum();
        let last = self.flight.back().map_or(at, |(due, _)| (*due).max(at));
        self.end = Some(last);
    }

    fn next_due(&self) -> Option<u64> {
        let chunk = self.flight.front().map(|(due, _)| *due);
        [chunk, self.end].into_iter().flatten().min()
    }
}

#[derive(Debug)]
struct Conn {
    node: usize,
    client: usize,
    to_node: Pipe,
    to_client: Pipe,
    accepted: bool,
    node_gone: bool,
    client_gone: bool,
}

/// All connections between clients and nodes.
#[derive(Debug)]
pub struct Network {
    now: u64,
    rng: Rng,
    weather: Weather,
    trace: Trace,
    conns: BTreeMap<u64, Conn>,
    next: u64,
    listening: Vec<bool>,
    /// Frames' bytes that nodes sent since somebody last looked: (node, connection, bytes).
    pub sent: Vec<(usize, u64, Vec<u8>)>,
}

/// Handle of the network.
#[derive(Clone, Debug)]
pub struct NetHandle(Arc<Mutex<Network>>);

impl NetHandle {
    /// A network between clients and `nodes` nodes.
    #[must_use]
    pub fn new(nodes: usize, weather: Weather, rng: Rng, trace: Trace) -> Self {
        Self(Arc::new(Mutex::new(Network {
            now: 0,
            rng,
            weather,
            trace,
            conns: BTreeMap::new(),
            next: 1,
            listening: vec![false; nodes],
            sent: Vec::new(),
        })))
    }

    /// The network itself.
    pub fn lock(&self) -> MutexGuard<'_, Network> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// A node's port, for one life of its process.
    #[must_use]
    pub fn listen(&self, node: usize) -> SimNet {
        let mut network = self.lock();
        network.listening[node] = true;
        let buffer = network.weather.buffer;
        drop(network);
        SimNet {
            net: self.clone(),
            node,
            buffer,
            locals: BTreeMap::new(),
            events: VecDeque::new(),
            accepting: true,
        }
    }
}

impl Network {
    /// Time moves on.
    pub fn advance(&mut self, now: u64) {
        self.now = now;
    }

    /// When a chunk or an end arrives next, at a node or a client.
    #[must_use]
    pub fn next_due(&self) -> Option<u64> {
        let now = self.now;
        let dues = self.conns.values().flat_map(|conn| [conn.to_node.next_due(), conn.to_client.next_due()]);
        dues.flatten().filter(|due| *due > now).min()
    }

    /// A client connects; `None` if nobody listens there.
    pub fn connect(&mut self, client: usize, node: usize) -> Option<u64> {
        if !self.listening[node] {
            return None;
        }
        let id = self.next;
        self.next += 1;
        self.trace.event("connect", &[client as u64, node as u64, id]);
        self.conns.insert(
            id,
            Conn {
                node,
                client,
                to_node: Pipe::default(),
                to_client: Pipe::default(),
                accepted: false,
                node_gone: false,
                client_gone: false,
            },
        );
        Some(id)
    }

    /// Bytes that a client may send now.
    #[must_use]
    pub fn client_room(&self, conn: u64) -> usize {
        self.conns.get(&conn).map_or(0, |c| self.weather.window.saturating_sub(c.to_node.bytes))
    }

    /// A client sends.
    pub fn client_send(&mut self, conn: u64, bytes: &[u8]) {
        let Self { now, rng, weather, conns, .. } = self;
        if let Some(conn) = conns.get_mut(&conn) {
            conn.to_node.push(*now, bytes, weather, rng);
        }
    }

    /// Appends what a client has received to `to`; `false` if the connection is over.
    pub fn client_take(&mut self, conn: u64, to: &mut Vec<u8>) -> bool {
        let now = self.now;
        let Some(c) = self.conns.get_mut(&conn) else { return false };
        c.to_client.take(now, to, usize::MAX);
        !c.to_client.ended(now)
    }

    /// A client closes.
    pub fn client_close(&mut self, conn: u64) {
        let Self { now, rng, weather, conns, .. } = self;
        if let Some(c) = conns.get_mut(&conn) {
            let at = *now + rng.spread(weather.delay.0, weather.delay.1);
            c.to_node.cut(at, rng);
            c.client_gone = true;
        }
        self.forget(conn);
    }

    fn node_close(&mut self, conn: u64) {
        let Self { now, rng, weather, conns, .. } = self;
        if let Some(c) = conns.get_mut(&conn) {
            let at = *now + rng.spread(weather.delay.0, weather.delay.1);
            let at = c.to_client.flight.back().map_or(at, |(due, _)| (*due).max(at));
            c.to_client.end.get_or_insert(at);
            c.node_gone = true;
        }
        self.forget(conn);
    }

    fn forget(&mut self, conn: u64) {
        if self.conns.get(&conn).is_some_and(|c| c.node_gone && c.client_gone) {
            self.conns.remove(&conn);
        }
    }

    /// The node's process is gone: its connections break, without a word if the machine went with it.
    pub fn node_down(&mut self, node: usize, silent: bool) {
        self.listening[node] = false;
        let Self { now, rng, weather, conns, .. } = self;
        for conn in conns.values_mut().filter(|conn| conn.node == node) {
            conn.node_gone = true;
            if silent {
                conn.to_client.silent = true;
                conn.to_client.flight.clear();
                conn.to_client.bytes = 0;
            } else {
                let at = *now + rng.spread(weather.delay.0, weather.delay.1);
                conn.to_client.cut(at, rng);
            }
        }
        conns.retain(|_, conn| !(conn.node_gone && conn.client_gone));
    }

    /// Breaks a connection chosen by chance. Each side notices after a time of its own, or never.
    pub fn reset_one(&mut self) {
        let Self { now, rng, conns, trace, .. } = self;
        let open: Vec<u64> =
            conns.iter().filter(|(_, c)| !c.node_gone && !c.client_gone).map(|(id, _)| *id).collect();
        let Some(id) = open.get(rng.below(open.len().max(1) as u64) as usize) else { return };
        let conn = conns.get_mut(id).expect("listed");
        let kind = rng.below(4);
        trace.event("reset", &[*id, conn.client as u64, kind]);
        for (pipe, half_open) in [(&mut conn.to_node, kind == 1), (&mut conn.to_client, kind == 2)] {
            if half_open {
                trace.mark("fault: connection half open");
                pipe.silent = true;
                pipe.flight.clear();
                pipe.bytes = 0;
            } else {
                let at = *now + rng.spread(1_000, 50_000_000);
                pipe.cut(at, rng);
                // What the sender still sends is lost: `push` refuses behind an end.
            }
        }
    }

    /// From now on everything works: half-open connections are noticed, too.
    pub fn heal(&mut self) {
        let Self { now, rng, conns, .. } = self;
        for conn in conns.values_mut() {
            for pipe in [&mut conn.to_node, &mut conn.to_client] {
                if pipe.silent {
                    pipe.silent = false;
                    pipe.end = Some(*now + rng.spread(1_000, 1_000_000));
                }
            }
        }
    }
}

#[derive(Debug, Default)]
struct Local {
    received: Vec<u8>,
    start: usize,
    outgoing: Vec<u8>,
    told_closed: bool,
}

/// A node's port to its clients.
#[derive(Debug)]
pub struct SimNet {
    net: NetHandle,
    node: usize,
    buffer: usize,
    locals: BTreeMap<u64, Local>,
    events: VecDeque<NetEvent>,
    accepting: bool,
}

impl SimNet {
    fn exchange(&mut self) {
        let mut network = self.net.lock();
        let Network { now, rng, weather, conns, sent, .. } = &mut *network;
        let now = *now;
        for (id, conn) in conns.iter_mut().filter(|(_, conn)| conn.node == self.node && !conn.node_gone) {
            if !conn.accepted {
                if !self.accepting {
                    continue;
                }
                conn.accepted = true;
                self.locals.insert(*id, Local::default());
                self.events.push_back(NetEvent::Opened(ConnId(*id)));
            }
            let Some(local) = self.locals.get_mut(id) else { continue };
            if local.start > 0 {
                local.received.drain(..local.start);
                local.start = 0;
            }
            if conn.to_node.take(now, &mut local.received, self.buffer) > 0 {
                self.events.push_back(NetEvent::Received(ConnId(*id)));
            } else if conn.to_node.ended(now) && !local.told_closed {
                local.told_closed = true;
                self.events.push_back(NetEvent::Closed(ConnId(*id)));
            }
            let room = weather.window.saturating_sub(conn.to_client.bytes).min(local.outgoing.len());
            if room > 0 {
                conn.to_client.push(now, &local.outgoing[..room], weather, rng);
                sent.push((self.node, *id, local.outgoing.drain(..room).collect()));
            }
        }
    }

    fn drop_conn(&mut self, conn: ConnId) {
        self.locals.remove(&conn.0);
        self.events.retain(|event| {
            !matches!(event, NetEvent::Opened(id) | NetEvent::Received(id) | NetEvent::Closed(id) if *id == conn)
        });
        self.net.lock().node_close(conn.0);
    }
}

impl Net for SimNet {
    fn poll(&mut self, events: &mut Vec<NetEvent>, limit: usize) -> usize {
        self.exchange();
        let count = self.events.len().min(limit);
        for event in self.events.drain(..count).collect::<Vec<_>>() {
            events.push(event);
            if let NetEvent::Closed(conn) = event {
                self.locals.remove(&conn.0);
                self.net.lock().node_close(conn.0);
            }
        }
        count
    }

    fn received(&self, conn: ConnId) -> &[u8] {
        self.locals.get(&conn.0).map_or(&[], |local| &local.received[local.start..])
    }

    fn consume(&mut self, conn: ConnId, bytes: usize) {
        if let Some(local) = self.locals.get_mut(&conn.0) {
            local.start += bytes;
            assert!(local.start <= local.received.len(), "consumed more than was received");
        }
    }

    fn send_room(&self, conn: ConnId) -> usize {
        self.locals.get(&conn.0).map_or(0, |local| self.buffer.saturating_sub(local.outgoing.len()))
    }

    fn send(&mut self, conn: ConnId, bytes: &[u8]) -> bool {
        let room = self.send_room(conn);
        let Some(local) = self.locals.get_mut(&conn.0) else { return false };
        if bytes.len() > room {
            return false;
        }
        local.outgoing.extend_from_slice(bytes);
        true
    }

    fn flush(&mut self) {
        self.exchange();
    }

    fn close(&mut self, conn: ConnId) {
        self.exchange();
        self.drop_conn(conn);
    }

    fn accept(&mut self, accepting: bool) {
        self.accepting = accepting;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(chunk: u64) -> NetHandle {
        let weather = Weather { delay: (10, 1_000), chunk, window: 64, buffer: 48 };
        NetHandle::new(1, weather, Rng::new(3), Trace::default())
    }

    /// Lets time pass and collects what the port reports.
    fn poll(handle: &NetHandle, port: &mut SimNet, events: &mut Vec<NetEvent>) {
        let now = handle.lock().now;
        handle.lock().advance(now + 2_000);
        port.poll(events, 100);
    }

    #[test]
    fn bytes_arrive_in_order_whatever_the_fragments() {
        for chunk in [1, 7, 1_000] {
            let handle = network(chunk);
            let mut port = handle.listen(0);
            let conn = handle.lock().connect(0, 0).unwrap();
            let data: Vec<u8> = (0..=255).collect();
            let (mut at, mut events, mut got) = (0, Vec::new(), Vec::new());
            while got.len() < data.len() {
                let room = handle.lock().client_room(conn).min(data.len() - at);
                handle.lock().client_send(conn, &data[at..at + room]);
                at += room;
                poll(&handle, &mut port, &mut events);
                let received = port.received(ConnId(conn)).to_vec();
                assert!(received.len() <= 48, "the buffer is bounded");
                port.consume(ConnId(conn), received.len());
                got.extend(received);
            }
            assert_eq!(got, data);
            assert_eq!(events[0], NetEvent::Opened(ConnId(conn)));
        }
    }

    #[test]
    fn a_closed_connection_says_so_once_on_either_side() {
        let handle = network(1_000);
        let mut port = handle.listen(0);
        let (one, two) = {
            let mut network = handle.lock();
            (network.connect(0, 0).unwrap(), network.connect(1, 0).unwrap())
        };
        let mut events = Vec::new();
        poll(&handle, &mut port, &mut events);
        handle.lock().client_close(one);
        assert!(port.send(ConnId(two), b"goodbye"));
        port.close(ConnId(two));
        for _ in 0..3 {
            poll(&handle, &mut port, &mut events);
        }
        assert_eq!(events.iter().filter(|event| **event == NetEvent::Closed(ConnId(one))).count(), 1);
        assert!(!events.contains(&NetEvent::Closed(ConnId(two))));
        let mut got = Vec::new();
        assert!(!handle.lock().client_take(two, &mut got));
        assert_eq!(got, b"goodbye");
    }
}
