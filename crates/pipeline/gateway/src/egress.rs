//! From the delivery ring to the clients, and from the output log to its subscribers.

use crate::stage::{Core, goodbye};
use crate::subscriptions::Subscription;
use crate::table::Attached;
use ordain_agent::net::{ConnId, Net};
use ordain_agent::planted::{self, Mistake};
use ordain_agent::wire::{Delivery, delivery};
use ordain_api::{Application, RequestDecoder};
use ordain_keys::PublicKey;
use ordain_outputs::Read;
use ordain_ring::spsc::Receiver;
use ordain_types::codes::Code;
use ordain_types::frame::{KeyBody, REPLY_MAX, ServerFrame, ServerHeader, body, frame_len};
use ordain_types::{KeyId, Lineage, OutputSeq, SessionId, Stream};
use zerocopy::{FromBytes, IntoBytes};

/// Outputs sent to one subscription before the next has its turn.
const OUTPUTS_PER_TURN: usize = 32;
/// Send room that outputs leave to answers.
const ANSWER_ROOM: usize = 64 * frame_len(REPLY_MAX);

impl<A: Application, D: RequestDecoder<A>> Core<A, D> {
    /// Sends what may leave, in order, up to the first message that must still wait.
    pub(crate) fn deliver<N: Net>(&mut self, net: &mut N, deliveries: &mut Receiver, limit: usize) -> usize {
        let applied = self.shared.applied.load();
        // In this order: whoever sees what a later leader committed also sees that the stint is over.
        let committed = self.shared.committed.load();
        let rounds = self.shared.read_rounds.load();
        if self.shared.stint() != self.stint {
            // The next cycle first does what the change asks for.
            return 0;
        }
        let stint = self.stint;
        let restarts = self.shared.restarts.load();
        for taken in 0..limit {
            let Some(message) = deliveries.peek() else {
                self.note_ready(applied);
                return taken;
            };
            let (head, frame) = Delivery::ref_from_prefix(message).expect("apply wrote a delivery");
            let is_bound = head.stint.get() != 0 && !planted::is(Mistake::StaleStint);
            let is_void = self.restarts < restarts && head.kind.get() != delivery::RESTART;
            let is_early = head.index.get() > committed && !planted::is(Mistake::ReplyBeforeCommit);
            if is_void || is_bound && head.stint() < stint {
                self.metrics.stale.add(1);
                self.unanswered(net, head);
            } else if is_early || head.round.get() > rounds || (is_bound && head.stint() != stint) {
                self.note_ready(head.index.get());
                return taken;
            } else {
                self.tell(net, head, frame);
            }
            deliveries.release();
        }
        limit
    }

    /// An answer is dropped. Of a reign that is over nobody waits for it: all connections went with it. Otherwise
    /// somebody asked a follower that has to begin anew.
    fn unanswered<N: Net>(&mut self, net: &mut N, head: &Delivery) {
        if head.kind.get() == delivery::ANSWER
            && head.stint.get() == 0
            && let Some(slot) = self.table.slot(ConnId(head.conn.get()))
        {
            self.end(net, slot, &goodbye(Code::Starting, "the node builds its state anew: ask again"));
        }
    }

    /// Everything that the batches before `index` had to say was delivered.
    fn note_ready(&mut self, index: u64) {
        if index >= self.shared.stint_first.load() {
            self.ready_in = self.stint;
        }
    }

    fn tell<N: Net>(&mut self, net: &mut N, head: &Delivery, frame: &[u8]) {
        match head.kind.get() {
            delivery::REPLY => self.reply(net, head, frame),
            delivery::OPENED => self.opened(net, head, frame),
            delivery::ANSWER => self.answer(net, head, frame),
            delivery::OUTPUT => {
                let stream = self.outputs.append(frame);
                self.metrics.outputs.add(1);
                self.table.subscriptions.wake(stream);
            }
            delivery::KEY => {
                let set = body::<KeyBody>(frame).expect("apply wrote a key");
                self.key_set(net, set, KeyId(head.key.get() as u32));
            }
            delivery::STREAM => self.outputs.begin(head.conn.get(), head.key.get()),
            delivery::CLOSED => self.session_ended(SessionId(head.conn.get())),
            delivery::WATCHED => self.table.watch(SessionId(head.conn.get()), head.key.get() == 1),
            delivery::RESTART => {
                self.restarts += 1;
                self.keys.clear();
                self.outputs.clear();
                self.table.forget_watched();
            }
            kind => unreachable!("apply delivers nothing of kind {kind}"),
        }
    }

    fn header_of(&mut self, frame: &[u8]) -> ServerHeader {
        let header = ServerHeader::read_from_prefix(frame).expect("apply wrote a frame").0;
        self.lineage = Lineage(header.lineage.get());
        header
    }

    fn reply<N: Net>(&mut self, net: &mut N, head: &Delivery, frame: &[u8]) {
        let header = self.header_of(frame);
        let Some(attached) = self.table.sessions.get_mut(&header.session.get()) else {
            self.table.answered(header.session(), head.key.get(), header.number.get());
            return;
        };
        // What became of another key's request is none of the owner's business.
        if u64::from(attached.key.0) != head.key.get() {
            return;
        }
        attached.answered = attached.answered.max(header.number.get());
        let (slot, is_done) = (attached.slot, attached.ended && attached.is_answered());
        if is_done {
            self.table.detach(header.session());
        }
        self.metrics.replies.add(1);
        self.send(net, slot, frame);
    }

    fn opened<N: Net>(&mut self, net: &mut N, head: &Delivery, frame: &[u8]) {
        let mut header = self.header_of(frame);
        let Some(slot) = self.table.slot(ConnId(head.conn.get())) else { return };
        let conn = self.table.get_mut(slot);
        let key = conn.key;
        // The key is compared as well: numbers of connections begin anew when a node does.
        if u64::from(key.0) != head.key.get() {
            return;
        }
        let Some(correlation) = conn.opening.take() else { return };
        if header.code == Code::Executed as u8 {
            let attached = Attached { slot, key, next: 1, floor: 1, answered: 0, ended: false };
            self.table.attach(header.session(), attached);
        }
        header.number = correlation.into();
        self.metrics.replies.add(1);
        self.send_header(net, slot, &header);
    }

    fn answer<N: Net>(&mut self, net: &mut N, head: &Delivery, frame: &[u8]) {
        let header = self.header_of(frame);
        let Some(slot) = self.table.slot(ConnId(head.conn.get())) else { return };
        let conn = self.table.get_mut(slot);
        conn.questions -= 1;
        if std::mem::take(&mut conn.held) {
            self.table.enqueue(slot);
        }
        self.metrics.replies.add(1);
        let is_executed = header.code == Code::Executed as u8;
        match ServerFrame::from_wire(header.kind) {
            Some(ServerFrame::Resumed) if is_executed => self.resumed(net, slot, header),
            Some(ServerFrame::Subscribed) if is_executed => self.subscribed(net, slot, header),
            _ => {
                self.send(net, slot, frame);
            }
        }
    }

    /// Attaches a session whose owner was checked in the log, and fences the connection that had it.
    fn resumed<N: Net>(&mut self, net: &mut N, slot: u32, mut header: ServerHeader) {
        let key = self.table.get(slot).key;
        let next = header.number.get();
        let mut attached =
            Attached { slot, key, next, floor: header.seq.get(), answered: next - 1, ended: false };
        let session = header.session();
        let had = if planted::is(Mistake::NobodyFenced) { None } else { self.table.detach(session) };
        if let Some(old) = had.or_else(|| self.table.take_left(session)) {
            // What was admitted since the log was asked comes first.
            attached.next = attached.next.max(old.next);
            attached.floor = attached.floor.max(old.floor);
            attached.answered = attached.answered.max(old.answered);
        }
        header.number = attached.next.into();
        self.table.attach(header.session(), attached);
        self.send_header(net, slot, &header);
    }

    fn subscribed<N: Net>(&mut self, net: &mut N, slot: u32, mut header: ServerHeader) {
        let stream = header.session.get();
        self.table.unsubscribe(slot, stream);
        let next = match header.number.get() {
            0 => self.outputs.next(stream),
            wanted => OutputSeq(wanted),
        };
        let full = self.config.subscriptions_per_connection;
        header.number = next.0.into();
        if let Read::TooOld(oldest) = self.outputs.read(stream, next) {
            (header.code, header.seq) = (Code::TooOld as u8, oldest.0.into());
        } else if self.table.get(slot).subscriptions.len() >= full {
            header.code = Code::Busy as u8;
        }
        if self.send_header(net, slot, &header) && header.code == Code::Executed as u8 {
            let id = self.table.subscriptions.add(Subscription { slot, stream, next });
            self.table.get_mut(slot).subscriptions.push(id);
        }
    }

    fn send_header<N: Net>(&mut self, net: &mut N, slot: u32, header: &ServerHeader) -> bool {
        debug_assert_eq!(header.length.get(), 0);
        self.send(net, slot, header.as_bytes())
    }

    /// A key is as the log says from now on, also for those who signed in with it before.
    fn key_set<N: Net>(&mut self, net: &mut N, set: &KeyBody, key: KeyId) {
        let permissions = set.permissions.get();
        self.keys.insert(PublicKey(set.key), (key, permissions));
        for slot in self.table.used() {
            let conn = self.table.get_mut(slot);
            if conn.key != key {
                continue;
            }
            // What a lost permission had opened (a subscription, say) must not stay open.
            if permissions == 0 || conn.permissions & !permissions != 0 {
                let why = "the key has lost permissions: sign in again if it has any left";
                self.end(net, slot, &goodbye(Code::Unauthenticated, why));
            } else {
                conn.permissions = permissions;
            }
        }
    }

    fn session_ended(&mut self, session: SessionId) {
        self.outputs.forget(Stream::Session(session).to_wire());
        self.table.take_left(session);
        self.table.watch(session, false);
        if let Some(attached) = self.table.sessions.get_mut(&session.0) {
            // Replies to what was admitted are still to come.
            attached.ended = !attached.is_answered();
            if !attached.ended {
                self.table.detach(session);
            }
        }
    }

    /// Sends subscribers what they have not had, each a few at a time.
    pub(crate) fn serve_subscriptions<N: Net>(&mut self, net: &mut N, limit: usize) -> usize {
        let mut sent = 0;
        for _ in 0..self.table.subscriptions.active() {
            if sent >= limit {
                break;
            }
            let Some((id, subscription)) = self.table.subscriptions.turn() else { break };
            let conn = self.table.get(subscription.slot).id;
            let mut next = subscription.next;
            let end = sent + OUTPUTS_PER_TURN.min(limit - sent);
            loop {
                match self.outputs.read(subscription.stream, next) {
                    Read::NotYet => {
                        self.table.subscriptions.wait(id, next);
                        break;
                    }
                    Read::TooOld(_) => {
                        self.table.subscriptions.again(id, next);
                        let why = "outputs were dropped before you read them: subscribe from a later number";
                        self.end(net, subscription.slot, &goodbye(Code::TooSlow, why));
                        sent += 1;
                        break;
                    }
                    Read::Output(frame) => {
                        let has_room = net.send_room(conn) >= frame.len() + ANSWER_ROOM;
                        if sent == end || !has_room || !net.send(conn, frame) {
                            self.table.subscriptions.again(id, next);
                            break;
                        }
                        next = next.next();
                        sent += 1;
                    }
                }
            }
        }
        sent
    }
}
