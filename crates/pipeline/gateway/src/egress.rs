//! Answers and outputs out, once the copies that they wait for exist.

use crate::connection::{Key, Subscription};
use crate::stage::Gateway;
use ordain_agent::net::{ConnId, Net};
use ordain_agent::wire::{DELIVERY, Delivery, delivery};
use ordain_api::{Application, RequestDecoder};
use ordain_keys::PublicKey;
use ordain_outputs::Read;
use ordain_types::codes::Code;
use ordain_types::frame::{KeyBody, SERVER_HEADER, ServerFrame, ServerHeader, body, frame_len};
use ordain_types::{KeyId, OutputSeq, SessionId, Stream};
use zerocopy::FromBytes;

/// Outputs sent to one subscription before the next has its turn.
const OUTPUTS_PER_TURN: usize = 32;

impl<N: Net, A: Application, D: RequestDecoder<A>> Gateway<N, A, D> {
    /// Sends what may leave, in order, up to the first message that must still wait.
    pub(crate) fn deliver(&mut self, limit: usize) -> usize {
        // In this order: whoever sees what a later leader committed also sees that the stint is over.
        let committed = self.shared.committed.load();
        let rounds = self.shared.read_rounds.load();
        let stint = self.shared.stint();
        for delivered in 0..limit {
            let Some(message) = self.deliveries.peek() else { return delivered };
            let (head, _) = Delivery::ref_from_prefix(message).expect("apply wrote a delivery");
            let head = *head;
            let is_bound = head.stint.get() != 0;
            if is_bound && head.stint() != stint {
                self.deliveries.release();
                continue;
            }
            if head.index.get() > committed || head.round.get() > rounds {
                return delivered;
            }
            match head.kind.get() {
                delivery::REPLY => self.deliver_reply(),
                delivery::ANSWER => self.deliver_answer(&head),
                delivery::OPENED => self.deliver_opened(&head),
                delivery::OUTPUT => self.keep_output(),
                delivery::KEY => self.learn_key(&head),
                delivery::CLOSED => self.tables.detach(SessionId(head.conn.get())),
                delivery::RESTART => self.restart(),
                other => unreachable!("apply delivers nothing of kind {other}"),
            }
            self.deliveries.release();
        }
        limit
    }

    /// The frame of the message at hand.
    fn frame(&mut self) -> &[u8] {
        &self.deliveries.peek().expect("a message is at hand")[DELIVERY..]
    }

    fn header(&mut self) -> ServerHeader {
        let (header, _) = ServerHeader::read_from_prefix(self.frame()).expect("apply wrote a frame");
        header
    }

    fn deliver_reply(&mut self) {
        let session = self.header().session();
        let Some(conn) = self.tables.sessions.get(&session).map(|attached| attached.conn) else { return };
        self.forward(conn);
    }

    /// Sends the frame at hand to a connection.
    fn forward(&mut self, conn: ConnId) {
        let frame = &self.deliveries.peek().expect("a message is at hand")[DELIVERY..];
        if self.net.send(conn, frame) {
            self.metrics.replies.add(1);
        } else if self.tables.slot(conn).is_some() {
            self.metrics.too_slow.add(1);
            tracing::info!(conn = conn.0, "a client does not read its answers and is disconnected");
            self.drop_connection(conn);
        }
    }

    fn deliver_answer(&mut self, head: &Delivery) {
        let conn = ConnId(head.conn.get());
        if self.tables.slot(conn).is_none() {
            return;
        }
        let header = self.header();
        match ServerFrame::from_wire(header.kind) {
            Some(ServerFrame::Resumed) => {
                let session = header.session();
                // Another connection may have taken the session over meanwhile.
                if self.tables.sessions.get(&session).is_none_or(|attached| attached.conn != conn) {
                    return;
                }
                if header.code == Code::Executed as u8 {
                    self.attach(conn, session, header.number());
                } else {
                    self.tables.detach(session);
                }
                self.forward(conn);
            }
            Some(ServerFrame::Subscribed) => self.subscribe(conn, header),
            _ => self.forward(conn),
        }
    }

    fn deliver_opened(&mut self, head: &Delivery) {
        let conn = ConnId(head.conn.get());
        let Some(connection) = self.tables.find(conn) else { return };
        // The connection's key is compared as well: numbers of connections begin anew when a node does.
        let is_its_own = connection.key == KeyId(head.key.get() as u32);
        let Some(correlation) = connection.opening.take().filter(|_| is_its_own) else { return };
        let mut header = self.header();
        if header.code == Code::Executed as u8 {
            self.attach(conn, header.session(), ordain_types::Number(1));
        }
        header.number = correlation.into();
        self.metrics.replies.add(1);
        self.send(conn, &header, &[]);
    }

    fn keep_output(&mut self) {
        let message = self.deliveries.peek().expect("a message is at hand");
        let frame = &message[DELIVERY..];
        let (header, _) = ServerHeader::ref_from_prefix(frame).expect("apply wrote a frame");
        let stream = Stream::from_wire(header.session.get()).expect("apply names streams that exist");
        self.outputs.append(stream, OutputSeq(header.number.get()), frame);
        self.metrics.outputs.add(1);
    }

    fn learn_key(&mut self, head: &Delivery) {
        let key = *body::<KeyBody>(self.frame()).expect("apply delivers whole keys");
        let known = Key { id: KeyId(head.key.get() as u32), permissions: key.permissions.get() };
        self.tables.keys.insert(PublicKey(key.key), known);
        // What is signed in with it follows at once; a revoked key is shown out.
        for slot in 0..self.tables.slots() {
            let Some(connection) = self.tables.get(slot) else { continue };
            if connection.is_ready() && connection.key == known.id {
                connection.permissions = known.permissions;
                let id = connection.id;
                if known.permissions == 0 {
                    self.goodbye(id, Code::Unauthenticated, "the key was revoked");
                }
            }
        }
    }

    fn restart(&mut self) {
        self.outputs.clear();
        self.tables.keys.clear();
    }

    fn subscribe(&mut self, conn: ConnId, mut header: ServerHeader) {
        let full = self.config.subscriptions_per_connection;
        if header.code != Code::Executed as u8 {
            self.send(conn, &header, &[]);
            return;
        }
        let stream = Stream::from_wire(header.session.get()).expect("apply was asked about a stream");
        let next = match header.number.get() {
            0 => self.outputs.next(stream),
            wanted => OutputSeq(wanted),
        };
        let connection = self.tables.find(conn).expect("the caller looked");
        connection.subscriptions.retain(|subscription| subscription.stream != stream);
        let before = connection.subscriptions.len();
        if let Read::TooOld(oldest) = self.outputs.read(stream, next) {
            header.code = Code::TooOld as u8;
            header.seq = oldest.0.into();
        } else if before >= full {
            header.code = Code::Busy as u8;
        } else {
            header.number = next.0.into();
            self.tables.find(conn).expect("just found").subscriptions.push(Subscription { stream, next });
        }
        self.subscribers = self.tables.count_subscriptions();
        self.send(conn, &header, &[]);
    }

    /// Sends outputs to those who read them, each in its turn and as far as its buffer takes them.
    pub(crate) fn serve_subscriptions(&mut self, limit: usize) -> usize {
        if self.subscribers == 0 {
            return 0;
        }
        let mut sent = 0;
        for _ in 0..self.tables.slots() {
            if sent >= limit {
                break;
            }
            self.serve = (self.serve + 1) % self.tables.slots();
            let slot = self.serve;
            let mut nth = 0;
            while let Some(connection) = self.tables.get(slot)
                && let Some(subscription) = connection.subscriptions.get(nth).copied()
            {
                let conn = connection.id;
                sent += self.serve_one(conn, slot, nth, subscription);
                nth += 1;
            }
        }
        sent
    }

    fn serve_one(&mut self, conn: ConnId, slot: usize, nth: usize, subscription: Subscription) -> usize {
        let Subscription { stream, mut next } = subscription;
        let mut sent = 0;
        while sent < OUTPUTS_PER_TURN {
            match self.outputs.read(stream, next) {
                Read::NotYet => break,
                Read::TooOld(_) => {
                    self.metrics.too_slow.add(1);
                    let why = "outputs were dropped before you read them: subscribe from a snapshot or a later number";
                    self.goodbye(conn, Code::TooSlow, why);
                    return sent + 1;
                }
                Read::Frame(frame) => {
                    // Replies have the right of way: outputs leave room for them.
                    if self.net.send_room(conn) < 2 * frame_len(SERVER_HEADER + frame.len()) + (64 << 10)
                        || !self.net.send(conn, frame)
                    {
                        break;
                    }
                    next = next.next();
                    sent += 1;
                }
            }
        }
        if sent > 0
            && let Some(connection) = self.tables.get(slot)
            && let Some(subscription) = connection.subscriptions.get_mut(nth)
        {
            subscription.next = next;
        }
        sent
    }
}
