//! The sending end: what a node that lacks removed batches is offered, and the bytes that it asks for.

use crate::message::{Announce, Held, Offer, PART_MAX, RANGE, Range, kind};
use ordain_agent::disk::{Disk, DiskDone, DiskOp, FileId};
use ordain_agent::metrics::{Gauge, Registry};
use ordain_agent::side::Outbox;
use ordain_types::batch::SEGMENT_START_LEN;
use ordain_types::{Nanos, NodeId, Now, Position};

/// An offer is repeated after this long, should it or the answer have been lost.
const OFFER_EVERY: u64 = Nanos::SECOND;
/// What a node that asked lately may still need is kept for this long: time to begin anew and to be led on from there.
const PATIENCE: u64 = 10 * Nanos::SECOND;
/// A snapshot that a node could not use is not offered to it again for this long.
const REFUSED_REST: u64 = 60 * Nanos::SECOND;
/// With less room than this a part is not sent: its head would be the most of it.
const PART_MIN: usize = 512;

/// See the module. One read is in flight at a time.
pub(crate) struct Serve<D> {
    disk: D,
    segment_size: u64,
    clients: Vec<Client>,
    /// Whose read is in flight.
    reading: Option<NodeId>,
    /// Whose turn comes next.
    turn: usize,
    spare: Vec<u8>,
    bytes: Gauge,
    offers: Gauge,
}

#[derive(Debug)]
struct Client {
    id: NodeId,
    /// The log stage found that it lacks what is gone.
    lacks: bool,
    /// Nothing is offered before.
    offer_at: Nanos,
    /// The snapshot that it could not use, and until when that counts.
    refused: Option<(Position, Nanos)>,
    /// What it asked for.
    ask: Option<Range>,
    ready: Option<Ready>,
    /// The snapshot that it is sent, and when it last said something of it.
    sent: Option<(Position, Nanos)>,
}

impl Client {
    const fn new(id: NodeId) -> Self {
        Self { id, lacks: false, offer_at: Nanos::ZERO, refused: None, ask: None, ready: None, sent: None }
    }
}

/// What can be sent to a client.
#[derive(Debug)]
enum Ready {
    Offer(Offer),
    /// Bytes of a range, and how many of them were sent.
    Bytes(Range, Vec<u8>, usize),
    Gone(Position),
}

/// What a read in flight is for.
const START: u64 = 0;
const BYTES: u64 = 1;

impl<D: Disk> Serve<D> {
    pub(crate) fn new(segment_size: u64, disk: D, registry: &Registry) -> Self {
        Self {
            disk,
            segment_size,
            clients: Vec::new(),
            reading: None,
            turn: 0,
            spare: Vec::new(),
            bytes: registry
                .counter("ordain_snapshot_sent_bytes_total", "Bytes of snapshots sent to other nodes."),
            offers: registry.counter(
                "ordain_snapshot_offers_total",
                "Times a node was offered a snapshot for what is gone.",
            ),
        }
    }

    fn client(&mut self, id: NodeId) -> Option<&mut Client> {
        self.clients.iter_mut().find(|client| client.id == id)
    }

    /// The connection broke: what was asked on it is asked again on the next.
    pub(crate) fn down(&mut self, peer: NodeId) {
        if let Some(client) = self.client(peer) {
            (client.lacks, client.ask, client.ready) = (false, None, None);
            client.offer_at = Nanos::ZERO;
        }
    }

    pub(crate) fn lacks(&mut self, peer: NodeId) {
        self.client_or_new(peer).lacks = true;
    }

    fn client_or_new(&mut self, id: NodeId) -> &mut Client {
        let at = self.clients.iter().position(|client| client.id == id).unwrap_or_else(|| {
            self.clients.push(Client::new(id));
            self.clients.len() - 1
        });
        &mut self.clients[at]
    }

    pub(crate) fn asked(&mut self, peer: NodeId, range: Range, now: Now) {
        let client = self.client_or_new(peer);
        client.ask = Some(range);
        client.sent = Some((range.position, now.mono));
        // It is at work: no need to offer it anything.
        client.offer_at = now.mono.plus(OFFER_EVERY);
        if matches!(client.ready, Some(Ready::Bytes(..))) {
            client.ready = None;
        }
    }

    pub(crate) fn refused(&mut self, peer: NodeId, position: Position, now: Now) {
        if let Some(client) = self.client(peer) {
            tracing::error!(
                peer = peer.0,
                position = position.0,
                "the snapshot that this node sends is not what it should be: see whether its disk is sound. The other \
                 one is sent in its place"
            );
            client.refused = Some((position, now.mono.plus(REFUSED_REST)));
            (client.ask, client.ready, client.sent) = (None, None, None);
        }
    }

    /// The oldest snapshot that a node is being sent: what is behind it must stay.
    pub(crate) fn pinned(&mut self, now: Now) -> Option<Position> {
        for client in &mut self.clients {
            client.sent = client.sent.filter(|(_, heard)| now.mono.since(*heard) < PATIENCE);
        }
        self.clients.iter().filter_map(|client| client.sent).map(|(position, _)| position).min()
    }

    /// Goes on: takes a read, sends at most one frame to each client, submits the next read. `announced` is what a
    /// node said that it has.
    pub(crate) fn work(
        &mut self,
        now: Now,
        own: &[Option<Held>; 2],
        announced: impl Fn(NodeId) -> Option<Announce>,
        out: &mut dyn Outbox,
    ) -> usize {
        let mut work = 0;
        if let Some(done) = self.disk.poll() {
            self.take(done, own, now);
            work += 1;
        }
        for client in &mut self.clients {
            work += usize::from(send(client, now, out, (&self.bytes, &self.offers)));
        }
        if self.reading.is_none() && self.disk.free() > 0 {
            work += usize::from(self.read(now, own, announced));
        }
        work
    }

    /// What a client can be offered: what it has a part of, or else the newest.
    fn choose(
        client: &Client,
        own: &[Option<Held>; 2],
        announced: Option<Announce>,
        now: Now,
    ) -> Option<Held> {
        let partial = announced?.partial;
        let usable = |held: &&Held| {
            client.refused.is_none_or(|(position, until)| position != held.position || until <= now.mono)
        };
        let usable = || own.iter().flatten().filter(usable);
        usable().find(|held| held.position == partial).or_else(|| usable().next()).copied()
    }

    /// Begins the next read that a client waits for.
    fn read(
        &mut self,
        now: Now,
        own: &[Option<Held>; 2],
        announced: impl Fn(NodeId) -> Option<Announce>,
    ) -> bool {
        let clients = self.clients.len();
        for at in (self.turn..self.turn + clients).map(|at| at % clients) {
            let client = &mut self.clients[at];
            if client.ready.is_some() {
                continue;
            }
            let (tag, file, offset, len) = if let Some(range) = client.ask {
                (BYTES, FileId::Snapshot(range.position.0), range.offset, range.len as usize)
            } else if core::mem::take(&mut client.lacks) && now.mono >= client.offer_at {
                let Some(held) = Self::choose(client, own, announced(client.id), now) else { continue };
                client.offer_at = now.mono.plus(OFFER_EVERY);
                client.sent = Some((held.position, now.mono));
                (START, FileId::Segment(held.position.0 / self.segment_size), 0, SEGMENT_START_LEN)
            } else {
                continue;
            };
            let mut buffer = core::mem::take(&mut self.spare);
            buffer.clear();
            buffer.resize(len, 0);
            self.disk.submit(DiskOp::Read { tag, file, offset, buffer });
            self.reading = Some(client.id);
            self.turn = at + 1;
            return true;
        }
        false
    }

    fn take(&mut self, done: DiskDone, own: &[Option<Held>; 2], now: Now) {
        let reader = self.reading.take();
        let DiskOp::Read { tag, file, offset, mut buffer } = done.op else { unreachable!("it only reads") };
        let read = done.result.unwrap_or_else(|error| {
            tracing::debug!(%error, ?file, "what a node is to be sent cannot be read");
            0
        });
        buffer.truncate(read);
        let client = reader.and_then(|id| self.clients.iter_mut().find(|client| client.id == id));
        let Some(client) = client else { return };
        match (tag, file) {
            (START, FileId::Segment(number)) => {
                let position = Position(number * self.segment_size);
                let held = own.iter().flatten().find(|held| held.position == position);
                if let (Some(held), Ok(start)) = (held, buffer[..].try_into()) {
                    client.ready = Some(Ready::Offer(Offer { held: *held, start }));
                }
            }
            (_, FileId::Snapshot(position)) => {
                // It may have asked for something else since.
                let ask = client.ask.filter(|ask| (ask.position.0, ask.offset) == (position, offset));
                let Some(range) = ask else { return };
                client.ask = None;
                client.ready = Some(match read {
                    0 => {
                        client.sent = None;
                        client.offer_at = now.mono;
                        Ready::Gone(range.position)
                    }
                    _ => Ready::Bytes(range, buffer, 0),
                });
            }
            _ => unreachable!("nothing else is read"),
        }
    }
}

/// Sends a client the next frame of what is ready for it, if there is room.
fn send(client: &mut Client, now: Now, out: &mut dyn Outbox, (bytes, offers): (&Gauge, &Gauge)) -> bool {
    match &mut client.ready {
        None => false,
        Some(Ready::Offer(offer)) => {
            let sent = out.send(client.id, kind::OFFER, &offer.encode(), &[]);
            if sent {
                tracing::info!(
                    peer = client.id.0,
                    position = offer.held.position.0,
                    bytes = offer.held.bytes,
                    "a node that lacks removed batches is offered a snapshot"
                );
                offers.add(1);
                client.ready = None;
            }
            sent
        }
        Some(Ready::Gone(position)) => {
            let sent = out.send(client.id, kind::GONE, &position.0.to_le_bytes(), &[]);
            if sent {
                client.ready = None;
            }
            sent
        }
        Some(Ready::Bytes(range, buffer, sent)) => {
            let left = buffer.len() - *sent;
            let room = out.room(client.id).saturating_sub(ordain_agent::side::SIDE_HEAD + RANGE);
            let len = left.min(room).min(PART_MAX);
            if len < left.min(PART_MIN) {
                return false;
            }
            let part = Range { offset: range.offset + *sent as u64, len: len as u64, ..*range };
            let body = &buffer[*sent..*sent + len];
            if !out.send(client.id, kind::PART, &part.encode(), body) {
                return false;
            }
            bytes.add(len as u64);
            *sent += len;
            client.sent = Some((range.position, now.mono));
            if *sent == buffer.len() {
                client.ready = None;
            }
            true
        }
    }
}
