//! The whole replicated state as bytes: what recovery starts from instead of the first batch. Layout:
//! `docs/format/snapshot.md`. Written and read in bounded steps; equal states at equal places of one log give equal
//! bytes.

use crate::replica::Replica;
use crate::replies::{Fingerprint, Replies};
use crate::sessions::Session;
use crate::state::State;
use core::fmt;
use ordain_agent::planted::{self, Mistake};
use ordain_api::{AppFactory, Application, RequestDecoder, ResponseEncoder, RestoreError, Step};
use ordain_journal::{Anchor, TermStart};
use ordain_types::LogEnd;
use ordain_types::codes::Code;
use ordain_types::frame::KeyBody;
use ordain_types::{
    BatchIndex, Chain, ClusterFacts, Configuration, KeyId, Lineage, Nanos, Number, Position, RecordKind, Seq,
    SessionId, Stream, Term,
};

/// `"ORDS"` read as a little-endian number.
pub const SNAPSHOT_MAGIC: u32 = u32::from_le_bytes(*b"ORDS");
/// Version of the layout.
pub const SNAPSHOT_VERSION: u16 = 2;
/// Longest payload of a chunk, bytes: what a reader is ready to hold at once.
pub const CHUNK_MAX: usize = 1024 * 1024;
/// A chunk of the runtime is full when it holds this much.
const CHUNK_FULL: usize = 64 * 1024;
pub(crate) const CHUNK_HEADER: usize = 8;
pub(crate) const HASH: usize = 32;
/// Bytes of the header before the application's name.
pub(crate) const HEADER: usize = 120;
pub(crate) const NAME_MAX: usize = 255;

pub(crate) const TERMS: u8 = 1;
const CONFIGURATION: u8 = 2;
const KEYS: u8 = 3;
const SESSIONS: u8 = 4;
const STREAMS: u8 = 5;
pub(crate) const APPLICATION: u8 = 6;
pub(crate) const END: u8 = 7;

pub(crate) const TERM_ITEM: usize = 16;
const KEY_ITEM: usize = 36;
const STREAM_ITEM: usize = 16;
const SESSION_ITEM: u8 = 1;
const REPLY_ITEM: u8 = 2;
/// As [`SESSION_ITEM`], of a session that the application watches.
const WATCHED_ITEM: u8 = 3;
/// As [`WATCHED_ITEM`], of one whose client is gone as far as the application was told.
const LOST_ITEM: u8 = 4;

/// What a snapshot says of the log that the state itself does not know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Chain value of the batch applied last.
    pub chain: Chain,
    /// Where each term up to that batch begins, ascending.
    pub terms: Vec<TermStart>,
}

/// How far a snapshot is written.
#[derive(Debug, Default)]
pub struct Writer {
    place: Place,
    at: Part,
    hash: [u8; HASH],
    chunks: u64,
    sessions: Vec<SessionId>,
    applied: BatchIndex,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Part {
    #[default]
    Header,
    Terms(usize),
    Configuration,
    Keys(usize),
    /// Place among the sorted sessions, and the first reply of that session still to be written; `None`
    /// before the session itself.
    Sessions(usize, Option<u64>),
    Streams(usize),
    Application(u64),
    End,
    Done,
}

impl Writer {
    /// A writer that has written nothing of the snapshot at this place of the log.
    #[must_use]
    pub fn new(place: Place) -> Self {
        Self { place, ..Self::default() }
    }

    /// The hash of the last part written. After the last one: of the whole snapshot, to be compared among
    /// nodes.
    #[must_use]
    pub const fn hash(&self) -> [u8; HASH] {
        self.hash
    }

    fn chunk(&mut self, kind: u8, out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
        let start = out.len();
        out.extend_from_slice(&[kind, 0, 0, 0, 0, 0, 0, 0]);
        fill(out);
        let length = out.len() - start - CHUNK_HEADER;
        assert!(length <= CHUNK_MAX, "a snapshot chunk of {length} bytes, {CHUNK_MAX} are allowed");
        out[start + 4..start + CHUNK_HEADER].copy_from_slice(&(length as u32).to_le_bytes());
        self.hash = *blake3::keyed_hash(&self.hash, &out[start..]).as_bytes();
        out.extend_from_slice(&self.hash);
        self.chunks += 1;
    }
}

impl<A, D, E> Replica<A, D, E>
where
    A: Application,
    D: RequestDecoder<A>,
    E: ResponseEncoder<A>,
{
    /// Appends the next part of a snapshot to `out`, about 64 KiB at most. Nothing may be applied until it
    /// says [`Step::Done`].
    ///
    /// # Panics
    /// Within a batch, or if something was applied since the writer's first step.
    pub fn snapshot(&self, writer: &mut Writer, out: &mut Vec<u8>) -> Step {
        assert!(!self.in_batch(), "a snapshot lies between two batches");
        let state = &self.state;
        if writer.at == Part::Header {
            writer.applied = state.applied;
        }
        assert!(writer.applied == state.applied, "nothing is applied while a snapshot is written");
        writer.at = match writer.at {
            Part::Header => {
                let start = out.len();
                write_header(state, writer.place.chain, out);
                writer.hash = *blake3::hash(&out[start..]).as_bytes();
                out.extend_from_slice(&writer.hash);
                writer.sessions = match planted::is(Mistake::SnapshotWithoutSessions) {
                    true => Vec::new(),
                    false => state.sessions.sorted(),
                };
                Part::Terms(0)
            }
            Part::Terms(from) => {
                let terms = std::mem::take(&mut writer.place.terms);
                let next = terms.len().min(from + CHUNK_FULL / TERM_ITEM);
                writer.chunk(TERMS, out, |out| {
                    for start in &terms[from..next] {
                        out.extend_from_slice(&start.term.0.to_le_bytes());
                        out.extend_from_slice(&start.first.0.to_le_bytes());
                    }
                });
                writer.place.terms = terms;
                if next < writer.place.terms.len() { Part::Terms(next) } else { Part::Configuration }
            }
            Part::Configuration => {
                writer.chunk(CONFIGURATION, out, |out| {
                    if let Some((index, configuration)) = &self.configuration {
                        out.extend_from_slice(&index.0.to_le_bytes());
                        configuration.encode_payload(out);
                    }
                });
                Part::Keys(0)
            }
            Part::Keys(from) => {
                let keys = &state.keys.all()[from..];
                let keys = &keys[..keys.len().min(CHUNK_FULL / KEY_ITEM)];
                writer.chunk(KEYS, out, |out| {
                    for key in keys {
                        out.extend_from_slice(&key.public);
                        out.extend_from_slice(&key.permissions.to_le_bytes());
                    }
                });
                let next = from + keys.len();
                if next < state.keys.all().len() { Part::Keys(next) } else { Part::Sessions(0, None) }
            }
            Part::Sessions(mut place, mut reply) => {
                let sessions = std::mem::take(&mut writer.sessions);
                writer.chunk(SESSIONS, out, |out| {
                    let end = out.len() + CHUNK_FULL;
                    while out.len() < end && place < sessions.len() {
                        let session = state.sessions.find(sessions[place]).expect("nothing was applied");
                        let watched = state.sessions.watched(session.id);
                        reply = write_session(session, watched, reply, out);
                        place += usize::from(reply.is_none());
                    }
                });
                writer.sessions = sessions;
                if place < writer.sessions.len() { Part::Sessions(place, reply) } else { Part::Streams(0) }
            }
            Part::Streams(from) => {
                let streams = &state.streams.counts[from..];
                let streams = &streams[..streams.len().min(CHUNK_FULL / STREAM_ITEM)];
                writer.chunk(STREAMS, out, |out| {
                    for (stream, count) in streams {
                        out.extend_from_slice(&stream.to_le_bytes());
                        out.extend_from_slice(&count.to_le_bytes());
                    }
                });
                let next = from + streams.len();
                if next < state.streams.counts.len() { Part::Streams(next) } else { Part::Application(0) }
            }
            Part::Application(mut cursor) => {
                let mut step = Step::Done;
                writer.chunk(APPLICATION, out, |out| step = self.app.snapshot(&mut cursor, out));
                if step == Step::More { Part::Application(cursor) } else { Part::End }
            }
            Part::End => {
                let chunks = writer.chunks;
                writer.chunk(END, out, |out| out.extend_from_slice(&chunks.to_le_bytes()));
                Part::Done
            }
            Part::Done => Part::Done,
        };
        if writer.at == Part::Done { Step::Done } else { Step::More }
    }
}

fn write_header(state: &State, chain: Chain, out: &mut Vec<u8>) {
    let (name, version) = state.identity;
    assert!(name.len() <= NAME_MAX, "an application's name has at most 255 bytes");
    out.extend_from_slice(&SNAPSHOT_MAGIC.to_le_bytes());
    out.extend_from_slice(&SNAPSHOT_VERSION.to_le_bytes());
    out.extend_from_slice(&state.lineage.0.to_le_bytes());
    out.extend_from_slice(&version.to_le_bytes());
    out.extend_from_slice(&(name.len() as u32).to_le_bytes());
    out.extend_from_slice(&state.facts.fingerprint());
    for number in [state.applied.0, state.end.0, state.next_seq.0, state.time.0, state.hash] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.extend_from_slice(&chain.0);
    out.extend_from_slice(name.as_bytes());
}

/// Writes a session, or one reply of it; gives the reply that comes next.
fn write_session(
    session: &Session,
    watched: Option<bool>,
    reply: Option<u64>,
    out: &mut Vec<u8>,
) -> Option<u64> {
    let replies = &session.replies;
    let next = if let Some(number) = reply {
        let kept = replies.get(Number(number)).expect("nothing was applied");
        out.push(REPLY_ITEM);
        out.extend_from_slice(&kept.seq.0.to_le_bytes());
        out.extend_from_slice(&kept.request.crc.to_le_bytes());
        out.extend_from_slice(&kept.request.length.to_le_bytes());
        out.extend_from_slice(&[kept.request.kind, kept.request.schema, kept.code as u8]);
        out.extend_from_slice(&(kept.len() as u16).to_le_bytes());
        let (first, second) = replies.payload(&kept);
        out.extend_from_slice(first);
        out.extend_from_slice(second);
        number + 1
    } else {
        out.push(match watched {
            None => SESSION_ITEM,
            Some(false) => WATCHED_ITEM,
            Some(true) => LOST_ITEM,
        });
        out.extend_from_slice(&session.key.0.to_le_bytes());
        for number in [session.id.0, session.last.0, session.outputs, replies.floor().0] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        replies.floor().0
    };
    (next < replies.next().0).then_some(next)
}

/// Why bytes are no snapshot that this node can start from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotError {
    /// A hash does not match: bytes were changed, lost or put out of order.
    Damaged,
    /// The hashes match, but the contents are impossible.
    Invalid(&'static str),
    /// Written in a layout that this build does not read.
    Version(u16),
    /// Of a cluster with other facts.
    OtherFacts,
    /// Of another application.
    OtherApplication(String),
    /// Taken under a level of behaviour that this build does not have.
    Level(u16),
    /// The application refuses its part.
    Application(RestoreError),
}

impl fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged => f.write_str("the snapshot is damaged: fetch it again from another node"),
            Self::Invalid(what) => {
                write!(f, "the snapshot holds an impossible {what}: use an older one or replay the journal")
            }
            Self::Version(version) => {
                write!(f, "the snapshot has format version {version}: start a build that reads it")
            }
            Self::OtherFacts => {
                f.write_str("the snapshot is of a cluster with other facts: check the data directory")
            }
            Self::OtherApplication(name) => {
                write!(f, "the snapshot is of application `{name}`: check the data directory")
            }
            Self::Level(level) => {
                write!(
                    f,
                    "the snapshot was taken under level {level}: start the build that the other nodes run"
                )
            }
            Self::Application(error) => write!(f, "the application cannot restore the snapshot: {error}"),
        }
    }
}

impl std::error::Error for SnapshotError {}

/// A copy on its way back from a snapshot.
#[derive(Debug)]
pub struct Loader<A, D, E> {
    place: Place,
    state: State,
    app: Option<A>,
    decoder: D,
    encoder: E,
    hash: [u8; HASH],
    chunks: u64,
    /// Kind of the chunk before.
    last: u8,
    reading: Option<(Session, Option<bool>)>,
    configuration: Option<(BatchIndex, Configuration)>,
    /// The highest level of behaviour that this build has.
    known: u16,
}

impl<A, D, E> Loader<A, D, E>
where
    A: Application,
    D: RequestDecoder<A>,
    E: ResponseEncoder<A>,
{
    /// Nothing loaded yet.
    pub fn new<F: AppFactory<App = A>>(facts: &ClusterFacts, factory: &F, decoder: D, encoder: E) -> Self {
        Self {
            place: Place::default(),
            state: State::new(facts, factory.identity()),
            app: None,
            decoder,
            encoder,
            hash: [0; HASH],
            chunks: 0,
            last: 0,
            reading: None,
            configuration: None,
            known: factory.level(),
        }
    }

    /// Takes the next part from the front of `bytes` and says how long it was; 0 if `bytes` does not hold
    /// the whole part.
    ///
    /// # Errors
    /// [`SnapshotError`]; the loader must then be dropped.
    pub fn take<F: AppFactory<App = A>>(
        &mut self,
        factory: &F,
        bytes: &[u8],
    ) -> Result<usize, SnapshotError> {
        if self.app.is_none() { self.header(factory, bytes) } else { self.chunk(bytes) }
    }

    /// Where the snapshot lies in the log, once every part was taken.
    #[must_use]
    pub fn anchor(&self) -> Anchor {
        let (state, place) = (&self.state, &self.place);
        let end = LogEnd {
            position: state.end,
            index: state.applied,
            term: place.terms.last().map_or(Term::ZERO, |last| last.term),
            next_seq: state.next_seq,
            chain: place.chain,
            time: state.time,
        };
        Anchor { end, terms: place.terms.clone(), configuration: self.configuration.clone() }
    }

    /// The hash of the last part taken; once every part was taken, of the whole snapshot.
    #[must_use]
    pub const fn hash(&self) -> [u8; HASH] {
        self.hash
    }

    /// The copy, once every part was taken.
    ///
    /// # Errors
    /// [`SnapshotError`] if parts are missing or the application finds its state incomplete.
    pub fn finish(self) -> Result<Replica<A, D, E>, SnapshotError> {
        let Some(mut app) = self.app.filter(|_| self.last == END) else {
            return Err(SnapshotError::Invalid("end: parts are missing"));
        };
        app.finish_load().map_err(SnapshotError::Application)?;
        let mut replica = Replica::with(self.state, app, self.known, self.decoder, self.encoder);
        replica.configuration = self.configuration;
        Ok(replica)
    }

    fn header<F: AppFactory<App = A>>(&mut self, factory: &F, bytes: &[u8]) -> Result<usize, SnapshotError> {
        let mut fields = Fields(bytes);
        let Some([magic]) = fields.numbers32() else { return Ok(0) };
        if magic != SNAPSHOT_MAGIC {
            return Err(SnapshotError::Invalid("beginning"));
        }
        let (Some(layout), Some(lineage)) = (fields.take::<2>(), fields.take::<2>()) else { return Ok(0) };
        let layout = u16::from_le_bytes(layout);
        if layout != SNAPSHOT_VERSION {
            return Err(SnapshotError::Version(layout));
        }
        let (Some([version, name]), Some(facts), Some(numbers)) =
            (fields.numbers32(), fields.take::<32>(), fields.numbers())
        else {
            return Ok(0);
        };
        let Some(chain) = fields.take::<32>() else { return Ok(0) };
        let name = name as usize;
        if name > NAME_MAX {
            return Err(SnapshotError::Invalid("name"));
        }
        let Some(name) = fields.bytes(name) else { return Ok(0) };
        let signed = HEADER + name.len();
        let Some(hash) = fields.take::<HASH>() else { return Ok(0) };
        if hash != *blake3::hash(&bytes[..signed]).as_bytes() {
            return Err(SnapshotError::Damaged);
        }
        if name != self.state.identity.0.as_bytes() {
            return Err(SnapshotError::OtherApplication(String::from_utf8_lossy(name).into_owned()));
        }
        if facts != self.state.facts.fingerprint() {
            return Err(SnapshotError::OtherFacts);
        }
        let [applied, end, next_seq, time, output_hash] = numbers;
        // Numbers count up one by one; half the space can never be used up.
        if next_seq == 0 || [applied, end, next_seq].iter().any(|number| *number > u64::MAX / 2) {
            return Err(SnapshotError::Invalid("number"));
        }
        let state = &mut self.state;
        state.lineage = Lineage(u16::from_le_bytes(lineage));
        state.applied = BatchIndex(applied);
        state.end = Position(end);
        state.next_seq = Seq(next_seq);
        state.time = Nanos(time);
        state.hash = output_hash;
        self.place.chain = Chain(chain);
        self.hash = hash;
        self.app = Some(factory.restore(version).map_err(SnapshotError::Application)?);
        Ok(signed + HASH)
    }

    fn chunk(&mut self, bytes: &[u8]) -> Result<usize, SnapshotError> {
        let mut fields = Fields(bytes);
        let (Some([kind, ..]), Some([length])) = (fields.take::<4>(), fields.numbers32()) else {
            return Ok(0);
        };
        let length = length as usize;
        if length > CHUNK_MAX {
            return Err(SnapshotError::Invalid("length"));
        }
        let (Some(payload), Some(hash)) = (fields.bytes(length), fields.take::<HASH>()) else { return Ok(0) };
        if hash != *blake3::keyed_hash(&self.hash, &bytes[..CHUNK_HEADER + length]).as_bytes() {
            return Err(SnapshotError::Damaged);
        }
        if kind < self.last || kind > self.last + 1 || self.last == END {
            return Err(SnapshotError::Invalid("order of chunks"));
        }
        if kind > SESSIONS {
            self.end_session()?;
        }
        self.hash = hash;
        self.last = kind;
        let mut fields = Fields(payload);
        match kind {
            TERMS => self.terms(fields)?,
            CONFIGURATION => self.configuration(payload)?,
            KEYS => self.keys(fields)?,
            SESSIONS => self.sessions(fields)?,
            STREAMS => {
                while let Some([stream, count]) = fields.numbers() {
                    let place = self.state.streams.count(stream);
                    let of_session = matches!(Stream::from_wire(stream), None | Some(Stream::Session(_)));
                    if *place != 0 || count == 0 || count > u64::MAX / 2 || of_session {
                        return Err(SnapshotError::Invalid("stream"));
                    }
                    *place = count;
                }
                fields.end("stream")?;
            }
            APPLICATION => {
                let app = self.app.as_mut().expect("made with the header");
                app.load(payload).map_err(SnapshotError::Application)?;
            }
            END => {
                if fields.numbers() != Some([self.chunks]) {
                    return Err(SnapshotError::Invalid("number of chunks"));
                }
            }
            _ => return Err(SnapshotError::Invalid("kind of chunk")),
        }
        self.chunks += 1;
        Ok(CHUNK_HEADER + length + HASH)
    }

    fn terms(&mut self, mut fields: Fields<'_>) -> Result<(), SnapshotError> {
        let invalid = SnapshotError::Invalid("term");
        while let Some([term, first]) = fields.numbers() {
            let start = TermStart { term: Term(term), first: BatchIndex(first) };
            let ascends =
                self.place.terms.last().is_none_or(|last| last.term < start.term && last.first < start.first);
            let begins = !self.place.terms.is_empty() || first == 1;
            if !ascends || !begins || start.first > self.state.applied {
                return Err(invalid);
            }
            self.place.terms.push(start);
        }
        fields.end("term")
    }

    fn configuration(&mut self, payload: &[u8]) -> Result<(), SnapshotError> {
        let invalid = SnapshotError::Invalid("configuration");
        if payload.is_empty() {
            return Ok(());
        }
        let Some((index, payload)) = payload.split_first_chunk() else { return Err(invalid) };
        let index = BatchIndex(u64::from_le_bytes(*index));
        match Configuration::decode_payload(payload) {
            Ok(configuration) if self.configuration.is_none() && index <= self.state.applied => {
                let level = configuration.level;
                if level > self.known {
                    return Err(SnapshotError::Level(level));
                }
                if level > 0 && !planted::is(Mistake::LevelForgotten) {
                    self.app.as_mut().expect("made with the header").begin_level(level);
                }
                self.configuration = Some((index, configuration));
                Ok(())
            }
            _ => Err(invalid),
        }
    }

    fn keys(&mut self, mut fields: Fields<'_>) -> Result<(), SnapshotError> {
        let invalid = SnapshotError::Invalid("key");
        while let Some(key) = fields.take() {
            let Some([permissions]) = fields.numbers32() else { return Err(invalid) };
            let known = self.state.keys.all().len();
            let body = KeyBody { key, permissions: permissions.into(), reserved: [0; 4] };
            if self.state.keys.set(&body) != Some(KeyId(known as u32 + 1)) {
                return Err(invalid);
            }
        }
        fields.end("key")
    }

    fn sessions(&mut self, mut fields: Fields<'_>) -> Result<(), SnapshotError> {
        while let Some([tag]) = fields.take() {
            let read = match tag {
                SESSION_ITEM | WATCHED_ITEM | LOST_ITEM => {
                    self.end_session()?;
                    let watched = (tag != SESSION_ITEM).then_some(tag == LOST_ITEM);
                    self.reading = read_session(&mut fields).map(|session| (session, watched));
                    self.reading.is_some()
                }
                REPLY_ITEM => {
                    self.reading.as_mut().and_then(|(session, _)| read_reply(&mut fields, session)).is_some()
                }
                _ => false,
            };
            if !read {
                return Err(SnapshotError::Invalid("session"));
            }
        }
        Ok(())
    }

    /// The session at hand is complete.
    fn end_session(&mut self) -> Result<(), SnapshotError> {
        let Some((session, watched)) = self.reading.take() else { return Ok(()) };
        let state = &mut self.state;
        let invalid = SnapshotError::Invalid("session");
        let Some(key) = state.keys.get_mut(session.key) else { return Err(invalid) };
        if !state.sessions.has_room(key.sessions) || session.replies.len() > state.facts.window as usize {
            return Err(invalid);
        }
        key.sessions += 1;
        let id = session.id;
        if !state.sessions.insert(session) {
            return Err(invalid);
        }
        if let Some(lost) = watched {
            state.sessions.watch(id, true);
            if lost {
                state.sessions.lose(id);
            }
        }
        Ok(())
    }
}

fn read_session(fields: &mut Fields<'_>) -> Option<Session> {
    let [key] = fields.numbers32()?;
    let [id, last, outputs, floor] = fields.numbers()?;
    // Numbers count up from here one by one; half the space can never be used up.
    let sane = (1..u64::MAX / 2).contains(&floor) && outputs < u64::MAX / 2;
    sane.then(|| Session {
        id: SessionId(id),
        key: KeyId(key),
        last: Nanos(last),
        outputs,
        replies: Replies::new(Number(floor)),
    })
}

fn read_reply(fields: &mut Fields<'_>, session: &mut Session) -> Option<()> {
    let [seq] = fields.numbers()?;
    let [crc, length] = fields.numbers32()?;
    let [kind, schema, code] = fields.take()?;
    let payload = u16::from_le_bytes(fields.take()?);
    let payload = fields.bytes(payload as usize)?;
    RecordKind::from_wire(kind)?;
    let code = Code::from_wire(code)?;
    session.replies.push(Seq(seq), Fingerprint { crc, length, kind, schema }, code, payload);
    Some(())
}

/// Reads fields off the front of bytes; `None` where they end.
#[derive(Clone, Copy)]
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (front, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(front)
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    fn numbers<const N: usize>(&mut self) -> Option<[u64; N]> {
        let mut numbers = [0; N];
        let bytes = self.bytes(8 * N)?;
        for (number, bytes) in numbers.iter_mut().zip(bytes.chunks_exact(8)) {
            *number = u64::from_le_bytes(bytes.try_into().ok()?);
        }
        Some(numbers)
    }

    fn numbers32<const N: usize>(&mut self) -> Option<[u32; N]> {
        let mut numbers = [0; N];
        let bytes = self.bytes(4 * N)?;
        for (number, bytes) in numbers.iter_mut().zip(bytes.chunks_exact(4)) {
            *number = u32::from_le_bytes(bytes.try_into().ok()?);
        }
        Some(numbers)
    }

    fn end(&self, what: &'static str) -> Result<(), SnapshotError> {
        if self.0.is_empty() { Ok(()) } else { Err(SnapshotError::Invalid(what)) }
    }
}
