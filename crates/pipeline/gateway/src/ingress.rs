//! From a client's bytes to the request ring.

use crate::stage::{Core, Goodbye, goodbye};
use crate::table::{Attached, Class, Phase};
use ordain_agent::net::Net;
use ordain_agent::planted::{self, Mistake};
use ordain_agent::wire::{SUBMISSION, Submission, submission};
use ordain_api::{Application, ClassKind, RequestDecoder};
use ordain_types::codes::Code;
use ordain_types::frame::{
    ClientFrame, HelloBody, KeyBody, KeysBody, OpenBody, ReceiptAskBody, ServerFrame, SubscribeBody, body,
};
use ordain_types::record::{RECORD_HEADER, permission};
use ordain_types::{RecordHeader, RecordKind, Stream};
use zerocopy::{FromBytes, IntoBytes};

/// Frames that one connection may have handled in one turn: what it has more waits until the others had their
/// turn. Enough that turns cost little.
const FRAMES_PER_TURN: usize = 64;

/// What became of the bytes at the front of a connection's buffer.
pub(crate) enum Taken {
    /// They are no whole frame yet.
    Partial,
    /// The request ring has no room: they stay where they are.
    Full,
    /// Too many questions are unanswered: they stay where they are until one is.
    Held,
    /// A frame of this many bytes was taken.
    Frame(usize),
    /// The same, and `frame` of the core is the answer.
    Answered(usize),
    /// They are no frame, or one that ends the connection.
    End(Goodbye),
}

/// How a connection's turn ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// It has nothing more, or must not be read on, or is gone.
    Over,
    /// It has more, but others come first.
    More,
    /// The request ring has no room.
    Full,
}

/// A client's frame in place.
#[derive(Clone, Copy)]
pub(crate) struct Frame<'a> {
    pub header: &'a RecordHeader,
    pub payload: &'a [u8],
    /// All of it, with padding.
    pub bytes: &'a [u8],
}

pub(crate) const fn malformed(why: &'static str) -> Taken {
    Taken::End(goodbye(Code::Malformed, why))
}

impl<A: Application, D: RequestDecoder<A>> Core<A, D> {
    /// Gives turns: operators first, then a few sign-ins, then clients.
    pub(crate) fn take_turns<N: Net>(&mut self, net: &mut N, limit: usize) -> usize {
        let mut taken = 0;
        for (class, budget) in [
            (Class::Operator, limit),
            (Class::Stranger, self.config.sign_ins_per_cycle),
            (Class::Client, limit),
        ] {
            let end = taken + budget;
            for _ in 0..self.table.queued(class) {
                if taken >= end {
                    break;
                }
                let Some(slot) = self.table.dequeue(class) else { break };
                let (frames, turn) = self.turn(net, slot, FRAMES_PER_TURN.min(end - taken));
                taken += frames;
                match turn {
                    Turn::Over => {}
                    Turn::More => self.table.enqueue(slot),
                    // Whoever comes next finds no room either.
                    Turn::Full => {
                        self.metrics.blocked.add(1);
                        self.table.first_again(slot);
                        break;
                    }
                }
            }
        }
        self.metrics.frames.add(taken as u64);
        taken
    }

    fn turn<N: Net>(&mut self, net: &mut N, slot: u32, budget: usize) -> (usize, Turn) {
        let id = self.table.get(slot).id;
        let mut frames = 0;
        loop {
            let received = net.received(id);
            let mut at = 0;
            let taken = loop {
                if frames == budget {
                    break None;
                }
                match self.take(slot, &received[at..]) {
                    Taken::Frame(bytes) => {
                        at += bytes;
                        frames += 1;
                    }
                    other => break Some(other),
                }
            };
            if let Some(Taken::Answered(bytes)) = taken {
                at += bytes;
            }
            net.consume(id, at);
            let turn = match taken {
                None => Turn::More,
                Some(Taken::Answered(_)) => {
                    frames += 1;
                    if self.send_own(net, slot) {
                        continue;
                    }
                    Turn::Over
                }
                Some(Taken::Full) => Turn::Full,
                Some(Taken::Held) => {
                    self.table.get_mut(slot).held = true;
                    Turn::Over
                }
                Some(Taken::End(goodbye)) => {
                    self.end(net, slot, &goodbye);
                    frames += 1;
                    Turn::Over
                }
                Some(Taken::Partial | Taken::Frame(_)) => Turn::Over,
            };
            return (frames, turn);
        }
    }

    /// Judges what is at the front of a connection's bytes. Everything in it is hostile until proved not.
    fn take(&mut self, slot: u32, bytes: &[u8]) -> Taken {
        let Ok((header, rest)) = RecordHeader::ref_from_prefix(bytes) else { return Taken::Partial };
        let is_ready = matches!(self.table.get(slot).phase, Phase::Ready);
        let length = header.length.get() as usize;
        let bound = if is_ready { self.facts.payload_max as usize } else { size_of::<HelloBody>() };
        if length > bound {
            return malformed("a frame is longer than this cluster allows");
        }
        if header.key.get() != 0 || header.permissions.get() != 0 {
            return malformed("a frame claims a key: those fields are the node's");
        }
        let total = header.record_len();
        let Some(body) = rest.get(..total - RECORD_HEADER) else { return Taken::Partial };
        let (payload, padding) = body.split_at(length);
        if padding.iter().any(|byte| *byte != 0) {
            return malformed("the padding of a frame is not zero");
        }
        let frame = Frame { header, payload, bytes: &bytes[..total] };
        if !is_ready {
            return self.sign_in(slot, frame);
        }
        match RecordKind::from_wire(header.kind) {
            Some(RecordKind::Request | RecordKind::SessionClose | RecordKind::KeySet) => {
                return self.request(slot, frame);
            }
            Some(RecordKind::SessionOpen) => return self.open(slot, frame),
            Some(RecordKind::SessionKeepAlive) => return self.keep_alive(slot, frame),
            Some(RecordKind::Tick | RecordKind::Genesis | RecordKind::SessionLost) => {
                return malformed("records of this kind are made by nodes alone");
            }
            None => {}
        }
        match ClientFrame::from_wire(header.kind) {
            Some(ClientFrame::Query) => self.query(slot, frame),
            Some(ClientFrame::Resume) => self.resume(slot, frame),
            Some(ClientFrame::Subscribe) => self.subscribe(slot, frame),
            Some(ClientFrame::Unsubscribe) => self.unsubscribe(slot, frame),
            Some(ClientFrame::Receipt) => self.receipt(slot, frame),
            Some(ClientFrame::Keys) => self.list_keys(slot, frame),
            Some(ClientFrame::Steer) => self.steer(slot, frame),
            Some(ClientFrame::Members) => self.members(frame),
            Some(ClientFrame::Facts) => self.cluster_facts(slot, frame),
            Some(ClientFrame::Ping) if length == 0 => {
                self.own_frame(ServerFrame::Pong, Code::Executed, (0, header.number.get(), 0), &[]);
                Taken::Answered(total)
            }
            Some(ClientFrame::Ping) => malformed("a Ping has no payload"),
            Some(ClientFrame::Hello | ClientFrame::Proof) => malformed("the connection is signed in already"),
            None => Taken::End(goodbye(Code::Unsupported, "this kind of frame is not known here")),
        }
    }

    /// A numbered request. A number other than the next one is never refused for a reason that the next one
    /// was not: behind a refused request, everything is told which number is expected.
    fn request(&mut self, slot: u32, frame: Frame<'_>) -> Taken {
        let (session, number) = (frame.header.session.get(), frame.header.number.get());
        let closed = self.cycle.closed;
        let attached = match self.table.sessions.get(&session) {
            Some(attached) if attached.slot == slot => *attached,
            Some(attached) if attached.key == self.table.get(slot).key => {
                return self.refuse(frame, closed.unwrap_or(Code::Fenced), 0);
            }
            _ => return self.refuse(frame, closed.unwrap_or(Code::NotAttached), 0),
        };
        if attached.ended {
            return self.refuse(frame, Code::UnknownSession, 0);
        }
        if number > attached.next || number == 0 {
            return self.refuse(frame, Code::Expected, attached.next);
        }
        if number < attached.next && !planted::is(Mistake::RepeatExecuted) {
            // A refusal would say that it is not in the log. Unanswered, it may be repeated elsewhere.
            return match closed {
                Some(_) => Taken::Frame(frame.bytes.len()),
                None => {
                    let taken = self.ask(slot, frame, submission::DUPLICATE);
                    self.metrics.duplicates.add(u64::from(matches!(taken, Taken::Frame(_))));
                    taken
                }
            };
        }
        if let Some(code) = closed {
            return self.refuse(frame, code, 0);
        }
        let floor = attached.floor.max(frame.header.lowest_open().0);
        let window = u64::from(self.facts.window);
        if number - floor >= window || (number - 1).saturating_sub(attached.answered) >= window {
            return self.refuse(frame, Code::Busy, 0);
        }
        if let Err(code) = self.classify(slot, frame) {
            return self.refuse(frame, code, 0);
        }
        if let Some(code) = self.no_place(slot) {
            return self.refuse(frame, code, 0);
        }
        if !self.submit(slot, frame, submission::RECORD, number) {
            return Taken::Full;
        }
        self.metrics.admitted.add(1);
        self.table.sessions.insert(session, Attached { next: number + 1, floor, ..attached });
        Taken::Frame(frame.bytes.len())
    }

    /// Whether the key may ask this, and whether it is anything that can be asked.
    fn classify(&self, slot: u32, frame: Frame<'_>) -> Result<(), Code> {
        let permissions = self.table.get(slot).permissions;
        let needed = match RecordKind::from_wire(frame.header.kind) {
            Some(RecordKind::Request) => {
                let class =
                    self.decoder.classify(frame.header.schema, frame.payload).map_err(|_| Code::Malformed)?;
                let level = self.cluster.as_ref().map_or(0, |cluster| cluster.level);
                // Nothing is sequenced before the level that was posted, so what is admitted by it lies behind it.
                if class.kind != ClassKind::Command || class.level > level {
                    return Err(Code::Malformed);
                }
                class.permissions
            }
            Some(RecordKind::KeySet) => {
                let set = body::<KeyBody>(frame.payload).ok_or(Code::Malformed)?;
                if set.reserved != [0; 4] {
                    return Err(Code::Malformed);
                }
                permission::OPERATOR
            }
            _ if frame.payload.is_empty() => 0,
            _ => return Err(Code::Malformed),
        };
        if permissions & needed == needed { Ok(()) } else { Err(Code::NotPermitted) }
    }

    /// Why nothing new can be sequenced, though this node leads.
    fn no_place(&self, slot: u32) -> Option<Code> {
        let is_operator = self.table.get(slot).operator;
        let no_room = if is_operator { self.cycle.no_operator_room } else { self.cycle.no_room };
        if self.cycle.no_copies { Some(Code::NoCopies) } else { no_room.then_some(Code::NoRoom) }
    }

    fn open(&mut self, slot: u32, frame: Frame<'_>) -> Taken {
        let is_valid = frame.header.session.get() == 0
            && body::<OpenBody>(frame.payload).is_some_and(|body| body.reserved == [0; 8]);
        if !is_valid {
            return malformed("a SessionOpen has session 0 and a body of eight zeros");
        }
        let conn = self.table.get(slot);
        let (id, is_full) = (conn.id.0, conn.sessions.len() >= self.config.sessions_per_connection);
        let refusal = match self.cycle.closed {
            Some(code) => Some(code),
            None if is_full || conn.opening.is_some() => Some(Code::Busy),
            None => self.no_place(slot),
        };
        if let Some(code) = refusal {
            return self.refuse(frame, code, 0);
        }
        if !self.submit(slot, frame, submission::RECORD, id) {
            return Taken::Full;
        }
        self.metrics.admitted.add(1);
        self.table.get_mut(slot).opening = Some(frame.header.number.get());
        Taken::Frame(frame.bytes.len())
    }

    /// One that cannot be taken is dropped: nobody waits for an answer to it.
    fn keep_alive(&mut self, slot: u32, frame: Frame<'_>) -> Taken {
        if !frame.payload.is_empty() {
            return malformed("a SessionKeepAlive has no payload");
        }
        let (session, number) = (frame.header.session.get(), frame.header.number.get());
        let attached = self.table.sessions.get(&session).copied();
        let attached = attached.filter(|attached| attached.slot == slot && attached.next == number);
        if let Some(attached) = attached
            && !attached.ended
            && self.cycle.closed.is_none()
            && self.no_place(slot).is_none()
        {
            if !self.submit(slot, frame, submission::RECORD, number) {
                return Taken::Full;
            }
            let floor = attached.floor.max(frame.header.lowest_open().0);
            self.table.sessions.insert(session, Attached { floor, ..attached });
        }
        Taken::Frame(frame.bytes.len())
    }

    fn query(&mut self, slot: u32, frame: Frame<'_>) -> Taken {
        let permissions = self.table.get(slot).permissions;
        let class = self.decoder.classify(frame.header.schema, frame.payload);
        let refusal = match (self.cycle.closed, class) {
            (Some(code), _) => Some(code),
            (None, Ok(class)) if class.kind == ClassKind::Query => {
                (permissions & class.permissions != class.permissions).then_some(Code::NotPermitted)
            }
            _ => Some(Code::Malformed),
        };
        match refusal {
            Some(code) => self.refuse(frame, code, 0),
            None => self.ask(slot, frame, submission::QUERY),
        }
    }

    /// Nothing is attached, and nobody fenced, before the log has said whose the session is: ids of sessions
    /// can be guessed.
    fn resume(&mut self, slot: u32, frame: Frame<'_>) -> Taken {
        if !frame.payload.is_empty() {
            return malformed("a Resume has no payload");
        }
        let is_full = self.table.get(slot).sessions.len() >= self.config.sessions_per_connection;
        match self.cycle.closed.or(is_full.then_some(Code::Busy)) {
            Some(code) => self.refuse(frame, code, 0),
            None => self.ask(slot, frame, submission::RESUME),
        }
    }

    fn receipt(&mut self, slot: u32, frame: Frame<'_>) -> Taken {
        if body::<ReceiptAskBody>(frame.payload).is_none() {
            return malformed("a Receipt names no record");
        }
        match self.cycle.closed {
            Some(code) => self.refuse(frame, code, 0),
            None => self.ask(slot, frame, submission::RECEIPT),
        }
    }

    fn list_keys(&mut self, slot: u32, frame: Frame<'_>) -> Taken {
        if body::<KeysBody>(frame.payload).is_none() {
            return malformed("a Keys names no number to begin with");
        }
        match self.cycle.closed.or((!self.is_operator(slot)).then_some(Code::NotPermitted)) {
            Some(code) => self.refuse(frame, code, 0),
            None => self.ask(slot, frame, submission::KEYS),
        }
    }

    fn subscribe(&mut self, slot: u32, frame: Frame<'_>) -> Taken {
        let wanted = body::<SubscribeBody>(frame.payload).map(|wanted| wanted.stream.get());
        let Some(stream) = wanted.filter(|stream| Stream::from_wire(*stream).is_some()) else {
            return malformed("a Subscribe names no stream");
        };
        if let Some(code) = self.cycle.outputs_closed {
            self.metrics.refused.add(1);
            self.own_frame(ServerFrame::Subscribed, code, (stream, 0, 0), &[]);
            return Taken::Answered(frame.bytes.len());
        }
        self.ask(slot, frame, submission::SUBSCRIBE)
    }

    fn unsubscribe(&mut self, slot: u32, frame: Frame<'_>) -> Taken {
        let Some(wanted) = body::<SubscribeBody>(frame.payload) else {
            return malformed("an Unsubscribe names no stream");
        };
        self.table.unsubscribe(slot, wanted.stream.get());
        Taken::Frame(frame.bytes.len())
    }

    /// Answers a frame with a refusal. `seq` is what the code says it is.
    pub(crate) fn refuse(&mut self, frame: Frame<'_>, code: Code, seq: u64) -> Taken {
        let header = frame.header;
        let kind = match ClientFrame::from_wire(header.kind) {
            Some(ClientFrame::Query) => ServerFrame::Answer,
            Some(ClientFrame::Resume) => ServerFrame::Resumed,
            Some(ClientFrame::Receipt) => ServerFrame::Receipt,
            Some(ClientFrame::Keys) => ServerFrame::Keys,
            Some(ClientFrame::Steer) => ServerFrame::Steered,
            Some(ClientFrame::Members) => ServerFrame::Members,
            Some(ClientFrame::Facts) => ServerFrame::Facts,
            _ if header.kind == RecordKind::SessionOpen as u8 => ServerFrame::Opened,
            _ => ServerFrame::Reply,
        };
        self.metrics.refused.add(1);
        self.own_frame(kind, code, (header.session.get(), header.number.get(), seq), &[]);
        Taken::Answered(frame.bytes.len())
    }

    /// Passes a question on to apply.
    pub(crate) fn ask(&mut self, slot: u32, frame: Frame<'_>, kind: u64) -> Taken {
        if self.table.get(slot).questions >= self.config.questions_per_connection {
            return Taken::Held;
        }
        if !self.submit(slot, frame, kind, frame.header.number.get()) {
            return Taken::Full;
        }
        self.table.get_mut(slot).questions += 1;
        Taken::Frame(frame.bytes.len())
    }

    /// Has the log say of watched sessions that their connections are gone, or that they have one again: any record of a
    /// session's owner says that. Behind the requests that the session has submitted, since the ring is in order. What has no
    /// place waits, and then it is what holds at that time that is said.
    pub(crate) fn tell_presence(&mut self) -> usize {
        if self.cycle.closed.is_some() || self.cycle.no_copies || self.cycle.no_operator_room {
            return 0;
        }
        let mut told = 0;
        while let Some((session, attached)) = self.table.first_untold() {
            let Some(space) = self.requests.try_claim(SUBMISSION + RECORD_HEADER) else { break };
            let lost = RecordHeader {
                kind: RecordKind::SessionLost as u8,
                session: session.0.into(),
                ..RecordHeader::default()
            };
            let header = attached.map_or(lost, |attached| RecordHeader {
                kind: RecordKind::SessionKeepAlive as u8,
                open_span: ((attached.next - attached.floor) as u16).into(),
                number: attached.next.into(),
                key: attached.key.0.into(),
                ..lost
            });
            let head = Submission { kind: submission::RECORD.into(), ..Submission::default() };
            space[..SUBMISSION].copy_from_slice(head.as_bytes());
            space[SUBMISSION..].copy_from_slice(header.as_bytes());
            self.requests.commit();
            self.table.told(session);
            told += 1;
        }
        told
    }

    /// Copies a frame into the request ring, with the fields that are the node's filled in.
    fn submit(&mut self, slot: u32, frame: Frame<'_>, kind: u64, number: u64) -> bool {
        let conn = self.table.get(slot);
        let len = SUBMISSION + frame.bytes.len();
        // 8: what the ring itself puts in front of a message.
        if !conn.operator && self.cycle.client_requests < len + 8 {
            return false;
        }
        let Some(space) = self.requests.try_claim(len) else { return false };
        let head = Submission { kind: kind.into(), conn: conn.id.0.into() };
        let header = RecordHeader {
            number: number.into(),
            key: conn.key.0.into(),
            permissions: conn.permissions.into(),
            ..*frame.header
        };
        space[..SUBMISSION].copy_from_slice(head.as_bytes());
        space[SUBMISSION..SUBMISSION + RECORD_HEADER].copy_from_slice(header.as_bytes());
        space[SUBMISSION + RECORD_HEADER..].copy_from_slice(&frame.bytes[RECORD_HEADER..]);
        self.requests.commit();
        self.cycle.client_requests = self.cycle.client_requests.saturating_sub(len + 8);
        true
    }
}
