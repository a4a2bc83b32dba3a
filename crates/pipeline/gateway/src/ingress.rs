//! Frames in: handshakes, admission, and the way to the log stage.

use crate::connection::{Attached, Key, Phase};
use crate::stage::Gateway;
use ordain_agent::net::{ConnId, Net};
use ordain_agent::wire::{SUBMISSION, Submission, submission};
use ordain_api::{Application, ClassKind, RequestDecoder};
use ordain_keys::ServerHandshake;
use ordain_types::codes::Code;
use ordain_types::frame::{
    ClientFrame, HelloBody, KeyBody, OpenBody, ProofBody, ServerFrame, ServerHeader, SubscribeBody,
    WelcomeBody, body,
};
use ordain_types::record::{RECORD_HEADER, RecordKind, permission, record_len};
use ordain_types::{Now, Number, Position, RecordHeader, SessionId, Stream};
use zerocopy::{FromBytes, IntoBytes};

/// Frames that a connection may have looked at before the next one has its turn.
const FRAMES_PER_TURN: usize = 64;

/// What became of a frame.
enum Taken {
    /// It was dealt with.
    Done,
    /// The request ring has no room: it stays where it is, and so does everything behind it.
    RingFull,
    /// It is no frame that this protocol knows, or one at the wrong time: the connection is at an end.
    Hopeless(Code, &'static str),
}

impl<N: Net, A: Application, D: RequestDecoder<A>> Gateway<N, A, D> {
    /// Gives connections that have bytes their turns, one after the other.
    pub(crate) fn take_turns(&mut self, now: Now, limit: usize) -> usize {
        let mut frames = 0;
        for _ in 0..self.turns.len() {
            if frames >= limit {
                break;
            }
            let slot = self.turns.pop_front().expect("counted");
            let Some(connection) = self.tables.get(slot) else { continue };
            connection.queued = false;
            let conn = connection.id;
            let (taken, more) = self.take_turn(conn, slot, now);
            frames += taken;
            if more {
                self.queue_turn(conn);
            }
        }
        self.metrics.frames.add(frames as u64);
        frames
    }

    /// Looks at a connection's frames. Says how many were taken, and whether more may be there.
    fn take_turn(&mut self, conn: ConnId, slot: usize, now: Now) -> (usize, bool) {
        for taken in 0..FRAMES_PER_TURN {
            let Some(connection) = self.tables.get(slot).filter(|connection| connection.id == conn) else {
                return (taken, false);
            };
            let received = self.net.received(conn);
            let Ok((header, _)) = RecordHeader::ref_from_prefix(received) else { return (taken, false) };
            let header = *header;
            let length = header.length.get() as usize;
            if length > self.facts.payload_max as usize {
                self.goodbye(conn, Code::Malformed, "a frame is longer than this cluster allows");
                return (taken + 1, false);
            }
            let total = record_len(length);
            if received.len() < total {
                return (taken, false);
            }
            if received[RECORD_HEADER + length..total].iter().any(|byte| *byte != 0) {
                self.goodbye(conn, Code::Malformed, "the padding of a frame is not zero");
                return (taken + 1, false);
            }
            if connection.is_ready() {
                connection.heard = now.mono;
            }
            match self.take_frame(conn, slot, &header, total, now) {
                Taken::Done => self.net.consume(conn, total),
                Taken::RingFull => return (taken, true),
                Taken::Hopeless(code, why) => {
                    self.goodbye(conn, code, why);
                    return (taken + 1, false);
                }
            }
        }
        (FRAMES_PER_TURN, true)
    }

    fn take_frame(
        &mut self,
        conn: ConnId,
        slot: usize,
        header: &RecordHeader,
        total: usize,
        now: Now,
    ) -> Taken {
        if header.key.get() != 0 || header.permissions.get() != 0 {
            return Taken::Hopeless(Code::Malformed, "a frame claims a key: those fields are the node's");
        }
        let connection = self.tables.get(slot).expect("the turn is this connection's");
        if !connection.is_ready() {
            return self.sign_in(conn, slot, header, total, now);
        }
        match RecordKind::from_wire(header.kind) {
            Some(RecordKind::Request | RecordKind::SessionClose | RecordKind::KeySet) => {
                self.take_request(conn, slot, header, total)
            }
            Some(RecordKind::SessionKeepAlive) => self.take_keep_alive(conn, slot, header, total),
            Some(RecordKind::SessionOpen) => self.take_open(conn, slot, header, total),
            Some(RecordKind::Tick | RecordKind::Genesis) => {
                Taken::Hopeless(Code::Malformed, "records of this kind are made by nodes alone")
            }
            None => self.take_other(conn, slot, header, total),
        }
    }

    /// A numbered request.
    fn take_request(&mut self, conn: ConnId, slot: usize, header: &RecordHeader, total: usize) -> Taken {
        let (session, number) = (header.session(), header.number());
        let Some(attached) = self.tables.sessions.get(&session).copied() else {
            return self.refuse(conn, header, Code::NotAttached, 0);
        };
        if attached.conn != conn {
            return self.refuse(conn, header, Code::Fenced, 0);
        }
        if attached.resuming {
            return self.refuse(conn, header, Code::NotAttached, 0);
        }
        if number > attached.next || number == Number(0) {
            return self.refuse(conn, header, Code::Expected, attached.next.0);
        }
        if u32::from(header.open_span.get()) >= self.facts.window {
            return self.refuse(conn, header, Code::Busy, 0);
        }
        let connection = self.tables.get(slot).expect("the turn is this connection's");
        let (key, permissions) = (connection.key.0, connection.permissions);
        if number < attached.next {
            let is_operator = permissions & permission::OPERATOR != 0;
            let taken =
                self.submit(conn, submission::DUPLICATE, header, total, key, permissions, is_operator);
            self.metrics.duplicates.add(u64::from(matches!(taken, Taken::Done)));
            return taken;
        }
        if let Some(code) = self.closed_to_new() {
            return self.refuse(conn, header, code, 0);
        }
        let length = header.length.get() as usize;
        let payload = &self.net.received(conn)[RECORD_HEADER..RECORD_HEADER + length];
        let needed = match RecordKind::from_wire(header.kind) {
            Some(RecordKind::Request) => match self.decoder.classify(header.schema, payload) {
                Ok(class) if class.kind == ClassKind::Command => Some(class.permissions),
                _ => None,
            },
            Some(RecordKind::KeySet) => {
                body::<KeyBody>(payload).filter(|key| key.reserved == [0; 4]).map(|_| permission::OPERATOR)
            }
            _ => (length == 0).then_some(0),
        };
        let Some(needed) = needed else { return self.refuse(conn, header, Code::Malformed, 0) };
        if permissions & needed != needed {
            return self.refuse(conn, header, Code::NotPermitted, 0);
        }
        let is_operator = permissions & permission::OPERATOR != 0;
        let taken = self.submit(conn, submission::RECORD, header, total, key, permissions, is_operator);
        if matches!(taken, Taken::Done) {
            self.metrics.admitted.add(1);
            self.tables.sessions.get_mut(&session).expect("just found").next = number.next();
        }
        taken
    }

    /// Why nothing new is taken at present, if so.
    fn closed_to_new(&self) -> Option<Code> {
        if self.shared.is_stopping() {
            return Some(Code::Stopping);
        }
        if !self.shared.leads() {
            return Some(Code::NotLeader);
        }
        if !self.is_serving() {
            return Some(Code::Starting);
        }
        // With the disk full, what was admitted must still fit into the segments that exist.
        let left = Position(self.shared.room.load()).0.saturating_sub(self.ring.published().0);
        let admitted = 8 * self.requests.max_len() as u64 + 2 * u64::from(self.facts.batch_max);
        (self.shared.disk_full.load() == 1 && left < admitted.min(self.facts.segment_size / 2))
            .then_some(Code::NoRoom)
    }

    fn take_keep_alive(&mut self, conn: ConnId, slot: usize, header: &RecordHeader, total: usize) -> Taken {
        let attached = self.tables.sessions.get(&header.session()).copied();
        if attached.is_none_or(|attached| attached.conn != conn) || self.closed_to_new().is_some() {
            // Nobody waits for an answer to it.
            return Taken::Done;
        }
        if total != RECORD_HEADER {
            return Taken::Hopeless(Code::Malformed, "a keep-alive has no payload");
        }
        let connection = self.tables.get(slot).expect("the turn is this connection's");
        let (key, permissions) = (connection.key.0, connection.permissions);
        self.submit(conn, submission::RECORD, header, total, key, permissions, false)
    }

    fn take_open(&mut self, conn: ConnId, slot: usize, header: &RecordHeader, total: usize) -> Taken {
        let length = header.length.get() as usize;
        let payload = &self.net.received(conn)[RECORD_HEADER..RECORD_HEADER + length];
        if body::<OpenBody>(payload).is_none_or(|open| open.reserved != [0; 8]) || header.session.get() != 0 {
            return Taken::Hopeless(Code::Malformed, "the body of a SessionOpen is eight zero bytes");
        }
        let full = self.config.sessions_per_connection;
        let connection = self.tables.get(slot).expect("the turn is this connection's");
        if connection.opening.is_some() || connection.sessions.len() >= full {
            return self.refuse(conn, header, Code::Busy, 0);
        }
        let (key, permissions) = (connection.key.0, connection.permissions);
        if let Some(code) = self.closed_to_new() {
            return self.refuse(conn, header, code, 0);
        }
        let record = RecordHeader { number: conn.0.into(), ..*header };
        let is_operator = permissions & permission::OPERATOR != 0;
        let taken = self.submit(conn, submission::RECORD, &record, total, key, permissions, is_operator);
        if matches!(taken, Taken::Done) {
            let correlation = header.number.get();
            self.tables.get(slot).expect("the turn is this connection's").opening = Some(correlation);
        }
        taken
    }

    /// Frames that are no records.
    fn take_other(&mut self, conn: ConnId, slot: usize, header: &RecordHeader, total: usize) -> Taken {
        let Some(kind) = ClientFrame::from_wire(header.kind) else {
            return Taken::Hopeless(Code::Unsupported, "this kind of frame is not known here");
        };
        let length = header.length.get() as usize;
        let connection = self.tables.get(slot).expect("the turn is this connection's");
        let (key, permissions) = (connection.key, connection.permissions);
        match kind {
            ClientFrame::Hello | ClientFrame::Proof => {
                Taken::Hopeless(Code::Malformed, "this connection is signed in already")
            }
            ClientFrame::Ping => {
                let pong = ServerHeader {
                    kind: ServerFrame::Pong as u8,
                    number: header.number,
                    ..ServerHeader::default()
                };
                self.send(conn, &pong, &[]);
                Taken::Done
            }
            ClientFrame::Query => {
                if !self.is_serving() {
                    return self.refuse(conn, header, Code::NotLeader, 0);
                }
                let payload = &self.net.received(conn)[RECORD_HEADER..RECORD_HEADER + length];
                match self.decoder.classify(header.schema, payload) {
                    Ok(class) if class.kind == ClassKind::Query => {
                        if permissions & class.permissions != class.permissions {
                            return self.refuse(conn, header, Code::NotPermitted, 0);
                        }
                        self.submit(conn, submission::QUERY, header, total, key.0, permissions, false)
                    }
                    _ => self.refuse(conn, header, Code::Malformed, 0),
                }
            }
            ClientFrame::Resume => self.take_resume(conn, slot, header, total),
            ClientFrame::Subscribe => {
                let wanted = body::<SubscribeBody>(&self.net.received(conn)[RECORD_HEADER..][..length]);
                if wanted.is_none_or(|wanted| Stream::from_wire(wanted.stream.get()).is_none()) {
                    return Taken::Hopeless(Code::Malformed, "a Subscribe names no stream");
                }
                if !self.is_serving() {
                    return self.refuse(conn, header, Code::NotLeader, 0);
                }
                self.submit(conn, submission::SUBSCRIBE, header, total, key.0, permissions, false)
            }
            ClientFrame::Unsubscribe => {
                let wanted = body::<SubscribeBody>(&self.net.received(conn)[RECORD_HEADER..][..length]);
                let Some(stream) = wanted.and_then(|wanted| Stream::from_wire(wanted.stream.get())) else {
                    return Taken::Hopeless(Code::Malformed, "an Unsubscribe names no stream");
                };
                let connection = self.tables.get(slot).expect("the turn is this connection's");
                let before = connection.subscriptions.len();
                connection.subscriptions.retain(|subscription| subscription.stream != stream);
                self.subscribers -= before - connection.subscriptions.len();
                Taken::Done
            }
        }
    }

    /// Attaches a session. Whoever held it is fenced from here on; what they had sent before is ahead of
    /// the question in the ring, and counts.
    fn take_resume(&mut self, conn: ConnId, slot: usize, header: &RecordHeader, total: usize) -> Taken {
        let session = header.session();
        if !self.is_serving() {
            return self.refuse(conn, header, Code::NotLeader, 0);
        }
        let full = self.config.sessions_per_connection;
        let connection = self.tables.get(slot).expect("the turn is this connection's");
        let (key, permissions, held) = (connection.key, connection.permissions, connection.sessions.len());
        if held >= full {
            return self.refuse(conn, header, Code::Busy, 0);
        }
        if self.tables.sessions.get(&session).is_some_and(|attached| attached.key != key) {
            return self.refuse(conn, header, Code::WrongKey, 0);
        }
        let taken = self.submit(conn, submission::RESUME, header, total, key.0, permissions, false);
        if matches!(taken, Taken::Done) {
            self.tables.detach(session);
            let attached = Attached { conn, key, next: Number(0), resuming: true };
            self.tables.sessions.insert(session, attached);
            self.tables.get(slot).expect("the turn is this connection's").sessions.push(session);
        }
        taken
    }

    /// Refuses a request before sequencing. `seq` is what the code says it is.
    fn refuse(&mut self, conn: ConnId, header: &RecordHeader, code: Code, seq: u64) -> Taken {
        let kind = match ClientFrame::from_wire(header.kind) {
            Some(ClientFrame::Query) => ServerFrame::Answer,
            Some(ClientFrame::Resume) => ServerFrame::Resumed,
            Some(ClientFrame::Subscribe) => ServerFrame::Subscribed,
            _ if header.kind == RecordKind::SessionOpen as u8 => ServerFrame::Opened,
            _ => ServerFrame::Reply,
        };
        let answer = ServerHeader {
            kind: kind as u8,
            code: code as u8,
            session: header.session,
            number: header.number,
            seq: seq.into(),
            ..ServerHeader::default()
        };
        self.metrics.refused.add(1);
        self.send(conn, &answer, &[]);
        Taken::Done
    }

    /// Hands a frame to the log stage: from the connection's buffer into the ring, once, with the fields
    /// that are the node's filled in.
    #[expect(clippy::too_many_arguments, reason = "one call, seven facts; a struct would be built per frame")]
    fn submit(
        &mut self,
        conn: ConnId,
        kind: u64,
        header: &RecordHeader,
        total: usize,
        key: u32,
        permissions: u32,
        is_operator: bool,
    ) -> Taken {
        if !is_operator && self.requests.free() < self.reserve {
            return Taken::RingFull;
        }
        let Some(space) = self.requests.try_claim(SUBMISSION + total) else { return Taken::RingFull };
        let head = Submission { kind: kind.into(), conn: conn.0.into() };
        let record = RecordHeader { key: key.into(), permissions: permissions.into(), ..*header };
        space[..SUBMISSION].copy_from_slice(head.as_bytes());
        space[SUBMISSION..SUBMISSION + RECORD_HEADER].copy_from_slice(record.as_bytes());
        space[SUBMISSION + RECORD_HEADER..].copy_from_slice(&self.net.received(conn)[RECORD_HEADER..total]);
        self.requests.commit();
        Taken::Done
    }

    fn sign_in(&mut self, conn: ConnId, slot: usize, header: &RecordHeader, total: usize, now: Now) -> Taken {
        let length = header.length.get() as usize;
        debug_assert_eq!(total, record_len(length));
        let payload = &self.net.received(conn)[RECORD_HEADER..RECORD_HEADER + length];
        let connection = self.tables.get(slot).expect("the turn is this connection's");
        match (&connection.phase, ClientFrame::from_wire(header.kind)) {
            (Phase::Fresh, Some(ClientFrame::Hello)) => {
                let Some(hello) = body::<HelloBody>(payload).copied() else {
                    return Taken::Hopeless(Code::Malformed, "the body of a Hello has 88 bytes");
                };
                self.challenge(conn, slot, &hello)
            }
            (Phase::Challenged(_), Some(ClientFrame::Proof)) => {
                let Some(proof) = body::<ProofBody>(payload).copied() else {
                    return Taken::Hopeless(Code::Malformed, "the body of a Proof has 64 bytes");
                };
                self.welcome(conn, slot, &proof, now)
            }
            _ => Taken::Hopeless(Code::Unauthenticated, "sign in first: Hello, then Proof"),
        }
    }

    fn challenge(&mut self, conn: ConnId, slot: usize, hello: &HelloBody) -> Taken {
        self.nonces += 1;
        let nonce = *blake3::keyed_hash(&self.config.nonce_secret, &self.nonces.to_le_bytes()).as_bytes();
        match ServerHandshake::challenge(&self.config.key, self.facts.cluster, hello, nonce) {
            Ok(handshake) => {
                let body = handshake.body().as_bytes();
                let header = ServerHeader {
                    length: (body.len() as u32).into(),
                    kind: ServerFrame::Challenge as u8,
                    ..ServerHeader::default()
                };
                let body = *handshake.body();
                self.send(conn, &header, body.as_bytes());
                if let Some(connection) = self.tables.get(slot) {
                    connection.phase = Phase::Challenged(Box::new(handshake));
                }
                Taken::Done
            }
            Err(error) => {
                self.metrics.handshakes_failed.add(1);
                let code = match error {
                    ordain_keys::HandshakeError::Version { .. } => Code::Unsupported,
                    _ => Code::Unauthenticated,
                };
                self.goodbye(conn, code, &error.to_string());
                Taken::Done
            }
        }
    }

    fn welcome(&mut self, conn: ConnId, slot: usize, proof: &ProofBody, now: Now) -> Taken {
        let connection = self.tables.get(slot).expect("the turn is this connection's");
        let Phase::Challenged(handshake) = &connection.phase else {
            unreachable!("only then is a proof looked at")
        };
        let claimed = handshake.claimed();
        let is_proved = handshake.finish(proof).is_ok();
        let known = self.tables.keys.get(&claimed).copied();
        let (true, Some(Key { id, permissions })) = (is_proved, known.filter(|key| key.permissions != 0))
        else {
            self.metrics.handshakes_failed.add(1);
            if is_proved && !self.is_serving() {
                return Taken::Hopeless(
                    Code::Starting,
                    "this node does not know your key yet: try again, or another node",
                );
            }
            return Taken::Hopeless(
                Code::Unauthenticated,
                "the key is not known to this cluster, or the signature is wrong: check the key file, \
                 or have an operator add the key with `ordain keys add`",
            );
        };
        let is_operator = permissions & permission::OPERATOR != 0;
        let reserve = if is_operator { 0 } else { self.config.operator_reserve };
        if self.tables.connections() + reserve > self.config.connections_max {
            self.metrics.turned_away.add(1);
            return Taken::Hopeless(Code::Busy, "the node has as many connections as it takes");
        }
        let connection = self.tables.get(slot).expect("the turn is this connection's");
        (connection.phase, connection.key, connection.permissions) = (Phase::Ready, id, permissions);
        connection.heard = now.mono;
        self.tables.strangers -= 1;
        let welcome = WelcomeBody {
            key: id.0.into(),
            permissions: permissions.into(),
            window: self.facts.window.into(),
            payload_max: self.facts.payload_max.into(),
            session_timeout: self.facts.session_timeout.0.into(),
            idle_timeout: self.config.idle_timeout.0.into(),
        };
        let header = ServerHeader {
            length: (size_of::<WelcomeBody>() as u32).into(),
            kind: ServerFrame::Welcome as u8,
            ..ServerHeader::default()
        };
        self.send(conn, &header, welcome.as_bytes());
        Taken::Done
    }

    /// Attaches a session that was just opened or resumed.
    pub(crate) fn attach(&mut self, conn: ConnId, session: SessionId, next: Number) {
        let Some(connection) = self.tables.find(conn) else { return };
        let key = connection.key;
        if !connection.sessions.contains(&session) {
            connection.sessions.push(session);
        }
        self.tables.sessions.insert(session, Attached { conn, key, next, resuming: false });
    }
}
