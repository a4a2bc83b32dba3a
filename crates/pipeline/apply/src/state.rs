//! What the runtime replicates beside the application, and the records that the runtime executes itself.

use crate::deliver::{Emit, MESSAGE_MAX, frame_of, message_len, payload_of, write_frame};
use crate::digest::{digest, mix};
use crate::keys::{Key, Keys};
use crate::replies::{Fingerprint, Replies};
use crate::sessions::{Session, Sessions, Verdict};
use ordain_agent::wire::{DELIVERY, Delivery, delivery};
use ordain_api::Buf;
use ordain_types::codes::Code;
use ordain_types::frame::{KeyBody, OpenBody, REPLY_MAX, ServerFrame, ServerHeader, body};
use ordain_types::record::permission;
use ordain_types::{
    BatchIndex, ClusterFacts, KeyId, Lineage, Nanos, Number, Position, RecordKind, RecordView, Seq,
    SessionId, Stint, Stream,
};
use rustc_hash::FxHashMap;
use zerocopy::IntoBytes;

/// See the module.
#[derive(Debug)]
pub(crate) struct State {
    pub facts: ClusterFacts,
    /// Name and version of the application's snapshots.
    pub identity: (&'static str, u32),
    pub sessions: Sessions,
    pub keys: Keys,
    pub streams: Streams,
    /// Last whole batch.
    pub applied: BatchIndex,
    /// Where it ends.
    pub end: Position,
    /// First record behind it.
    pub next_seq: Seq,
    /// Time of the batch at hand.
    pub time: Nanos,
    pub lineage: Lineage,
    pub hash: u64,
    /// Of the batch at hand: the reign under which replies leave, 0 if nobody is answered. Not replicated.
    pub stint: Stint,
    /// Where replies are encoded that nobody is sent.
    scratch: Box<[u8; MESSAGE_MAX]>,
}

/// Output counters of public, topic and account streams, in the order in which the streams were first used.
/// There are as many as the application names; those of sessions live and end with the session.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    pub counts: Vec<(u64, u64)>,
    places: FxHashMap<u64, u32>,
}

impl Streams {
    pub fn count(&mut self, stream: u64) -> &mut u64 {
        let place = *self.places.entry(stream).or_insert_with(|| {
            self.counts.push((stream, 0));
            self.counts.len() as u32 - 1
        });
        &mut self.counts[place as usize].1
    }
}

/// Whom a reply is for. All zero for a seed request, whose reply nobody gets.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Asker {
    pub session: SessionId,
    pub key: KeyId,
    pub number: Number,
}

impl Asker {
    pub fn of(record: &RecordView<'_>) -> Self {
        let header = record.header;
        Self { session: header.session(), key: header.key(), number: header.number() }
    }
}

/// Where the reply to an executed request is kept: the session's slot, and what was asked.
pub(crate) type Keep = (u32, Fingerprint);

impl State {
    pub fn new(facts: &ClusterFacts, identity: (&'static str, u32)) -> Self {
        Self {
            sessions: Sessions::new(facts),
            facts: facts.clone(),
            identity,
            keys: Keys::default(),
            streams: Streams::default(),
            applied: BatchIndex::ZERO,
            end: Position::ZERO,
            next_seq: Seq(1),
            time: Nanos::ZERO,
            lineage: Lineage::FIRST,
            hash: 0,
            stint: Stint::ZERO,
            scratch: Box::new([0; MESSAGE_MAX]),
        }
    }

    /// The batch at hand.
    pub fn index(&self) -> BatchIndex {
        self.applied.next()
    }

    /// Writes a reply, for the gateway if somebody is to be answered, and keeps it if `keep` says where.
    pub fn reply<O: Emit>(
        &mut self,
        out: &mut O,
        asker: &Asker,
        (code, seq): (Code, Seq),
        keep: Option<Keep>,
        fill: impl FnOnce(&mut Buf<'_>),
    ) {
        let sends = self.stint != Stint::ZERO && asker.session != SessionId::ZERO;
        let delivery = Delivery {
            kind: delivery::REPLY.into(),
            index: self.index().0.into(),
            stint: self.stint.0.into(),
            key: u64::from(asker.key.0).into(),
            ..Delivery::default()
        };
        let header = ServerHeader {
            kind: ServerFrame::Reply as u8,
            code: code as u8,
            lineage: self.lineage.0.into(),
            session: asker.session.0.into(),
            number: asker.number.0.into(),
            seq: seq.0.into(),
            ..ServerHeader::default()
        };
        let space = if sends { out.claim(MESSAGE_MAX) } else { &mut self.scratch[..] };
        let len = write_frame(space, &delivery, header, self.facts.reply_max as usize, |buf, _| fill(buf));
        self.hash = fold(self.hash, frame_of(space, len));
        if let Some((slot, request)) = keep {
            self.sessions.at_mut(slot).replies.push(seq, request, code, payload_of(space, len));
        }
        if sends {
            out.commit(message_len(len));
        }
    }

    /// Answers a request that is not executed.
    pub fn decline<O: Emit>(&mut self, out: &mut O, verdict: Verdict, seq: Seq, record: &RecordView<'_>) {
        let asker = Asker::of(record);
        match verdict {
            Verdict::Execute(_) => unreachable!("only for what is not executed"),
            Verdict::Refuse(code, field) => {
                self.reply(out, &asker, (code, Seq(field.unwrap_or(seq.0))), None, |_| {});
            }
            Verdict::Repeat(slot, kept) => {
                let mut copy = [0; REPLY_MAX];
                let (first, second) = self.sessions.at(slot).replies.payload(&kept);
                copy[..first.len()].copy_from_slice(first);
                copy[first.len()..kept.len()].copy_from_slice(second);
                let payload = &copy[..kept.len()];
                self.reply(out, &asker, (kept.code, kept.seq), None, |buf| buf.put(payload));
            }
        }
    }

    /// Writes an output and numbers it. One for a session that does not exist (any more) has no reader: it
    /// is dropped, so that counters end with their sessions.
    pub fn output<O: Emit>(
        &mut self,
        out: &mut O,
        stream: Stream,
        seq: Seq,
        fill: impl FnOnce(&mut Buf<'_>),
    ) {
        let wire = stream.to_wire();
        let count = match stream {
            Stream::Session(id) => match self.sessions.find_mut(id) {
                Some(session) => &mut session.outputs,
                None => return,
            },
            _ => self.streams.count(wire),
        };
        *count += 1;
        let header = ServerHeader {
            kind: ServerFrame::Output as u8,
            lineage: self.lineage.0.into(),
            session: wire.into(),
            number: (*count).into(),
            seq: seq.0.into(),
            ..ServerHeader::default()
        };
        let delivery =
            Delivery { kind: delivery::OUTPUT.into(), index: self.index().0.into(), ..Delivery::default() };
        let space = out.claim(MESSAGE_MAX);
        let len = write_frame(space, &delivery, header, REPLY_MAX, |buf, _| fill(buf));
        self.hash = fold(self.hash, frame_of(space, len));
        out.commit(message_len(len));
    }

    /// Opens a session, or says why not.
    pub fn open_session<O: Emit>(&mut self, out: &mut O, seq: Seq, record: &RecordView<'_>) {
        let (header, id) = (record.header, self.lineage.session(seq));
        let valid = header.session() == SessionId::ZERO
            && body::<OpenBody>(record.payload).is_some_and(|body| body.reserved == [0; 8]);
        let code = match self.keys.get_mut(header.key()) {
            Some(key) if valid => {
                if self.sessions.has_room(key.sessions) {
                    key.sessions += 1;
                    let session = Session {
                        id,
                        key: header.key(),
                        last: self.time,
                        outputs: 0,
                        replies: Replies::new(Number(1)),
                    };
                    assert!(self.sessions.insert(session), "a seq names one session");
                    Code::Executed
                } else {
                    Code::TooManySessions
                }
            }
            _ => Code::Invalid,
        };
        let opened = if code == Code::Executed { id } else { SessionId::ZERO };
        let header = ServerHeader {
            kind: ServerFrame::Opened as u8,
            code: code as u8,
            lineage: self.lineage.0.into(),
            session: opened.0.into(),
            number: header.number,
            seq: seq.0.into(),
            ..ServerHeader::default()
        };
        self.hash = fold(self.hash, header.as_bytes());
        if self.stint != Stint::ZERO {
            let delivery = Delivery {
                kind: delivery::OPENED.into(),
                conn: record.header.number,
                index: self.index().0.into(),
                stint: self.stint.0.into(),
                key: u64::from(record.header.key.get()).into(),
                ..Delivery::default()
            };
            let space = out.claim(message_len(0));
            write_frame(space, &delivery, header, 0, |_, _| {});
            out.commit(message_len(0));
        }
    }

    /// From the request at hand on, the application watches a session or does not.
    pub fn watch<O: Emit>(&mut self, out: &mut O, id: SessionId, on: bool) {
        if self.sessions.watch(id, on) {
            self.hash = mix(self.hash, id.0 ^ u64::from(on));
            self.tell_watched(out, self.index(), id, on);
        }
    }

    /// Tells the gateway whether the application watches a session since batch `index`.
    pub fn tell_watched<O: Emit>(&self, out: &mut O, index: BatchIndex, id: SessionId, on: bool) {
        let delivery = Delivery {
            kind: delivery::WATCHED.into(),
            conn: id.0.into(),
            index: index.0.into(),
            key: u64::from(on).into(),
            ..Delivery::default()
        };
        out.claim(DELIVERY).copy_from_slice(delivery.as_bytes());
        out.commit(DELIVERY);
    }

    /// Removes a session that was closed or has expired. Gives whether the application watched it.
    #[must_use]
    pub fn end_session<O: Emit>(&mut self, out: &mut O, id: SessionId) -> bool {
        let watched = self.sessions.watched(id).is_some();
        let session = self.sessions.remove(id).expect("only an open session ends");
        self.keys.get_mut(session.key).expect("the key of an open session").sessions -= 1;
        let delivery = Delivery {
            kind: delivery::CLOSED.into(),
            conn: id.0.into(),
            index: self.index().0.into(),
            key: u64::from(session.key.0).into(),
            ..Delivery::default()
        };
        self.hash = mix(self.hash, id.0);
        out.claim(DELIVERY).copy_from_slice(delivery.as_bytes());
        out.commit(DELIVERY);
        watched
    }

    /// Adds or changes a key; `None` if the body is impossible or the table is full.
    pub fn set_key<O: Emit>(&mut self, out: &mut O, payload: &[u8]) -> Option<KeyId> {
        let body = body::<KeyBody>(payload).filter(|body| body.reserved == [0; 4])?;
        let id = self.keys.set(body)?;
        self.hash = mix(self.hash, u64::from(id.0) << 32 | u64::from(crc32c::crc32c(payload)));
        self.tell_key(out, self.index(), id, self.keys.get(id).expect("just set"));
        Some(id)
    }

    /// Tells the gateway how a key is since batch `index`.
    pub fn tell_key<O: Emit>(&self, out: &mut O, index: BatchIndex, id: KeyId, key: &Key) {
        let delivery = Delivery {
            kind: delivery::KEY.into(),
            index: index.0.into(),
            key: u64::from(id.0).into(),
            ..Delivery::default()
        };
        let body = KeyBody { key: key.public, permissions: key.permissions.into(), reserved: [0; 4] };
        let len = DELIVERY + size_of::<KeyBody>();
        let space = out.claim(len);
        space[..DELIVERY].copy_from_slice(delivery.as_bytes());
        space[DELIVERY..].copy_from_slice(body.as_bytes());
        out.commit(len);
    }

    /// Tells the gateway how many outputs a stream has had that are not delivered.
    pub fn tell_stream<O: Emit>(&self, out: &mut O, stream: u64, count: u64) {
        let delivery = Delivery {
            kind: delivery::STREAM.into(),
            conn: stream.into(),
            index: self.applied.0.into(),
            key: count.into(),
            ..Delivery::default()
        };
        out.claim(DELIVERY).copy_from_slice(delivery.as_bytes());
        out.commit(DELIVERY);
    }

    /// Executes a numbered record of the runtime's own. One with an impossible body uses up its number like
    /// any other, so that requests sent behind it are not refused. Gives whether a session ended that the application
    /// watched.
    pub fn execute_own<O: Emit>(
        &mut self,
        out: &mut O,
        kind: RecordKind,
        seq: Seq,
        record: &RecordView<'_>,
        keep: Keep,
    ) -> bool {
        let asker = Asker::of(record);
        if kind == RecordKind::SessionClose && record.payload.is_empty() {
            self.reply(out, &asker, (Code::Executed, seq), Some(keep), |_| {});
            return self.end_session(out, asker.session);
        }
        let operator = record.header.permissions.get() & permission::OPERATOR != 0;
        let key =
            (kind == RecordKind::KeySet && operator).then(|| self.set_key(out, record.payload)).flatten();
        match key {
            Some(id) => self.reply(out, &asker, (Code::Executed, seq), Some(keep), |buf| {
                buf.put(&id.0.to_le_bytes());
            }),
            None => self.reply(out, &asker, (Code::Invalid, seq), Some(keep), |_| {}),
        }
        false
    }
}

/// Adds a frame, which holds its own kind, seq, stream and number.
fn fold(hash: u64, frame: &[u8]) -> u64 {
    mix(hash, digest(frame))
}
