//! What an application author writes: four traits, and nothing about sockets, disks, threads or copies.
//!
//! | Trait | Role |
//! |---|---|
//! | [`Application`] | single-threaded, deterministic business logic |
//! | [`AppFactory`] | makes an empty application, names its seed requests |
//! | [`RequestDecoder`] | classifies a request where it arrives, decodes it where it is applied |
//! | [`ResponseEncoder`] | turns replies, answers and outputs into wire bytes |
//!
//! The runtime journals and replicates the request's own bytes, applies every event in the one order
//! that the log gives, and lets a reply leave when the copies that the ack policy names exist.
//!
//! # Determinism
//!
//! Two nodes, or one node today and its auditor in ten years, run the same log through the same code and
//! must come to the same state, replies and outputs, byte for byte. An application therefore reads no
//! clock, file or environment, draws no random numbers, computes no floating point, iterates no hash
//! map, and starts no thread. Everything it may know of the world is in [`Context`].
//!
//! A panic in an application stops the node and keeps the journal: an event that cannot be applied must
//! not be skipped silently.
#![forbid(unsafe_code)]

pub use ordain_types::record::permission;
pub use ordain_types::{BatchIndex, KeyId, Nanos, Number, OutputSeq, Seq, SessionId, Stream};

/// What an application may know about the event at hand. All of it is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// The event's number in the log.
    pub seq: Seq,
    /// Its batch.
    pub batch: BatchIndex,
    /// Log time, nanoseconds since the Unix epoch; never goes back.
    pub time: Nanos,
    /// The session that asks; 0 in genesis and timers.
    pub session: SessionId,
    /// The key that asks; 0 is the runtime itself.
    pub key: KeyId,
    /// What that key was permitted when the request was admitted ([`permission`]).
    pub permissions: u32,
}

/// Whether an event is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Step {
    /// It is.
    Done,
    /// [`Application::resume`] must be called before the next event. Everything else that runs on the
    /// thread gets its turn in between, so a long event (a mass cancel) delays nobody's heartbeat.
    More,
}

/// Most commands that [`Application::warm`] is shown at once: about as many as a core can wait for side by side.
pub const WARM_MAX: usize = 8;

/// Takes what an event produces. Encodes at once; nothing is kept.
pub trait Sink<A: Application> {
    /// The one reply to the request, at most the cluster's `reply_max` bytes when encoded. Must be given
    /// exactly once per request, in any of its steps.
    fn reply(&mut self, reply: &A::Reply);

    /// An output for everybody who reads `stream`. Outputs of a stream are numbered in this order.
    fn output(&mut self, stream: Stream, output: &A::Output);

    /// Outputs that this step may still emit. A step that needs more returns [`Step::More`].
    fn outputs_left(&self) -> usize;

    /// From this request on, whether [`Application::presence`] is told about the session that asks. Only requests have one.
    ///
    /// It costs a record in the log whenever the session's connection ends or is replaced, and nodes whose build is older
    /// than this call cannot read that record: an application that comes to use it does so from a new level of behaviour on
    /// ([`AppFactory::level`]).
    fn watch(&mut self, on: bool);
}

/// What the log says of a client's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// The session is attached to no connection any more.
    Lost,
    /// A leader begins its term: whatever connection the session had is gone, and that is not the client's doing. May come
    /// for a session that was lost before, and then again.
    Unproved,
    /// After either of these: the client is heard of again.
    Back,
    /// The session was closed, or has expired. Nothing more is told of it.
    Ended,
}

/// Deterministic business logic.
pub trait Application: Sized + Send + 'static {
    /// A command, borrowed from the log.
    type Request<'a>;
    /// A question, borrowed from the connection's buffer.
    type Query<'a>;
    /// What a command is answered with.
    type Reply: ?Sized;
    /// What a question is answered with.
    type Answer;
    /// What others hear.
    type Output: ?Sized;

    /// Executes a command.
    fn apply<S: Sink<Self>>(&mut self, request: Self::Request<'_>, context: &Context, sink: &mut S) -> Step;

    /// The commands that come next, at most [`WARM_MAX`]: a chance to bring what they will touch into the cache, all of
    /// them at once, where executing them waits for one line of memory after the other. Does nothing by default.
    ///
    /// Which commands are shown, if any, is not in the log: it differs between nodes and runs. Hence the shared
    /// reference, and an application must not get round it: no counter, no cell, nothing that an output depends on. A
    /// command that is shown may still be refused by the runtime; what it looks like proves nothing.
    fn warm<'a>(&self, requests: impl Iterator<Item = Self::Request<'a>>) {
        let _ = requests;
    }

    /// Goes on with the event that returned [`Step::More`], under the same context.
    ///
    /// # Panics
    /// May panic if no event is unfinished: the runtime never does that.
    fn resume<S: Sink<Self>>(&mut self, context: &Context, sink: &mut S) -> Step {
        let _ = (context, sink);
        unreachable!("this application never returns Step::More")
    }

    /// Answers a question without changing anything. `time` in `context` is that of the last batch.
    fn query(&self, query: Self::Query<'_>, context: &Context) -> Self::Answer;

    /// Log time at which [`Application::fire`] wants to be called next, if any.
    fn next_deadline(&self) -> Option<Nanos> {
        None
    }

    /// A deadline has come. Called in order of deadlines, before the first record of the first batch whose
    /// time is at or past it; must move [`Application::next_deadline`] on. May not reply.
    fn fire<S: Sink<Self>>(&mut self, deadline: Nanos, context: &Context, sink: &mut S) -> Step {
        let _ = (deadline, context, sink);
        unreachable!("this application has no deadlines")
    }

    /// Whether `key` may read the outputs of `stream`.
    fn may_read(&self, stream: Stream, key: KeyId, permissions: u32) -> bool {
        let _ = (key, permissions);
        matches!(stream, Stream::Public | Stream::Topic(_))
    }

    /// A level of behaviour begins ([`AppFactory::level`]): from the next event on, all nodes alike. After a restore it is
    /// called once, before the first chunk is loaded, with the level that the snapshot was taken under; without a call
    /// the level is 0.
    fn begin_level(&mut self, level: u16) {
        let _ = level;
    }

    /// What became of the connection of a session that is watched ([`Sink::watch`]). All nodes are told at the same place of
    /// the log; there is no reply and no output: what it sets off, a deadline does ([`Application::next_deadline`]), which
    /// may be at the very time of `context`.
    ///
    /// A connection that died without a word is noticed when the node's idle time-out is over. Between two terms nobody can
    /// say who is there: at the beginning of each, all watched sessions are [`Presence::Unproved`], before any deadline
    /// passes.
    fn presence(&mut self, session: SessionId, presence: Presence, context: &Context) {
        let _ = (session, presence, context);
    }

    /// Appends the next chunk of a snapshot to `out`, at most about 64 KiB, and moves `cursor`, which is 0
    /// at first and otherwise the application's to interpret. The state does not change between the steps
    /// of one snapshot. Equal states must give equal bytes.
    fn snapshot(&self, cursor: &mut u64, out: &mut Vec<u8>) -> Step;

    /// Takes a chunk that [`Application::snapshot`] appended in one step; chunks come whole and in order,
    /// into an application fresh from [`AppFactory::restore`].
    ///
    /// # Errors
    /// [`RestoreError`] if the bytes are no chunk of a snapshot.
    fn load(&mut self, chunk: &[u8]) -> Result<(), RestoreError>;

    /// All chunks were given.
    ///
    /// # Errors
    /// [`RestoreError`] if they do not make a whole state.
    fn finish_load(&mut self) -> Result<(), RestoreError> {
        Ok(())
    }
}

/// A request that the application's first events consist of, the same on every node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seed {
    /// Schema version of the payload.
    pub schema: u8,
    /// The request's bytes.
    pub payload: Vec<u8>,
}

/// What an application needs of the facts of its cluster: with less, its first long event or reply would be
/// one that no node can execute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// Bytes of the longest reply.
    pub reply: usize,
    /// Outputs of the largest step that does not ask [`Sink::outputs_left`].
    pub step_outputs: usize,
}

/// Makes applications.
pub trait AppFactory: Send + Sync + 'static {
    /// What it makes.
    type App: Application;

    /// Name and version of the snapshot format, for instance `("counter", 1)`. A journal or snapshot
    /// of another application is refused by name.
    fn identity(&self) -> (&'static str, u32);

    /// An application to which nothing has happened.
    fn create(&self) -> Self::App;

    /// What the cluster's facts must allow. A node does not start with less.
    fn needs(&self) -> Needs {
        Needs { reply: 0, step_outputs: 0 }
    }

    /// The highest level of behaviour that this build has. A build that executes any event otherwise than the one
    /// before it raises its level, and does so only from [`Application::begin_level`] on: until then it behaves as the
    /// old one. An operator lets the level begin, at one place in the log, when all nodes run the new build; what is in
    /// the log before stays as it was.
    fn level(&self) -> u16 {
        0
    }

    /// Requests that open a new cluster's log, executed with all permissions.
    fn seeds(&self) -> Vec<Seed> {
        Vec::new()
    }

    /// An application that is about to [`Application::load`] a snapshot written by `version`.
    ///
    /// # Errors
    /// [`RestoreError`] if this build cannot read that version.
    fn restore(&self, version: u32) -> Result<Self::App, RestoreError> {
        if version == self.identity().1 {
            Ok(self.create())
        } else {
            Err(RestoreError(format!(
                "this build reads snapshot version {}, not {version}",
                self.identity().1
            )))
        }
    }
}

impl<F: AppFactory> AppFactory for std::sync::Arc<F> {
    type App = F::App;

    fn identity(&self) -> (&'static str, u32) {
        (**self).identity()
    }

    fn create(&self) -> F::App {
        (**self).create()
    }

    fn needs(&self) -> Needs {
        (**self).needs()
    }

    fn level(&self) -> u16 {
        (**self).level()
    }

    fn seeds(&self) -> Vec<Seed> {
        (**self).seeds()
    }

    fn restore(&self, version: u32) -> Result<F::App, RestoreError> {
        (**self).restore(version)
    }
}

/// Why a snapshot cannot be restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoreError(pub String);

impl core::fmt::Display for RestoreError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for RestoreError {}

/// What a payload is, as far as admission must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Class {
    /// Command or query.
    pub kind: ClassKind,
    /// Permission bits that the key must have, all of them.
    pub permissions: u32,
    /// Of a command: the level of behaviour that it is part of ([`AppFactory::level`]), 0 if it always was there. Before that level
    /// begins the command is refused as no request of the application, as a build without the level refuses it: in the
    /// log, it would stop that build for good.
    pub level: u16,
}

/// Command or query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClassKind {
    /// Changes state: sequenced, journaled, replicated, executed exactly once.
    Command,
    /// Reads state: answered from what is committed, never in the log.
    Query,
}

/// The payload is no request of this application. Says what is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

/// Reads wire bytes. Cloned into the stages that need it; holds no state.
pub trait RequestDecoder<A: Application>: Clone + Send + Sync + 'static {
    /// Judges a payload as it arrives from a client: hostile input. Whatever passes here as a command is
    /// sequenced, so it must do everything that [`RequestDecoder::decode`] relies on.
    ///
    /// # Errors
    /// [`Malformed`]: answered to the client; the request's number stays free.
    fn classify(&self, schema: u8, payload: &[u8]) -> Result<Class, Malformed>;

    /// The command in a payload that passed [`RequestDecoder::classify`] when it was admitted, perhaps
    /// years ago and by an older build.
    ///
    /// # Errors
    /// [`Malformed`]: the node stops, since a logged event must not be skipped.
    fn decode<'a>(&self, schema: u8, payload: &'a [u8]) -> Result<A::Request<'a>, Malformed>;

    /// The query in a payload that passed [`RequestDecoder::classify`].
    ///
    /// # Errors
    /// [`Malformed`]: answered to the client.
    fn decode_query<'a>(&self, schema: u8, payload: &'a [u8]) -> Result<A::Query<'a>, Malformed>;
}

/// Writes wire bytes. Cloned into the stages that need it; holds no state.
pub trait ResponseEncoder<A: Application>: Clone + Send + Sync + 'static {
    /// Encodes a reply, at most `reply_max` bytes.
    fn reply(&self, reply: &A::Reply, out: &mut Buf<'_>);

    /// Encodes an answer, at most 1 KiB.
    fn answer(&self, answer: &A::Answer, out: &mut Buf<'_>);

    /// Encodes an output, at most 1 KiB.
    fn output(&self, output: &A::Output, out: &mut Buf<'_>);
}

/// A bounded place to encode into: bytes of a ring, in place.
#[derive(Debug)]
pub struct Buf<'a> {
    bytes: &'a mut [u8],
    len: usize,
}

impl<'a> Buf<'a> {
    /// An empty buffer over `bytes`.
    pub fn new(bytes: &'a mut [u8]) -> Self {
        Self { bytes, len: 0 }
    }

    /// Appends `bytes`.
    ///
    /// # Panics
    /// If they do not fit: a message over its stated bound is the application's bug.
    pub fn put(&mut self, bytes: &[u8]) {
        let room = self.bytes.len() - self.len;
        assert!(
            bytes.len() <= room,
            "an application message exceeds its bound: {} bytes more, {room} bytes left",
            bytes.len()
        );
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    /// Bytes written.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing was written.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What was written.
    #[must_use]
    pub fn written(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "exceeds its bound: 2 bytes more, 1 bytes left")]
    fn a_message_over_its_bound_is_a_bug() {
        let mut bytes = [0; 3];
        let mut buf = Buf::new(&mut bytes);
        buf.put(b"ab");
        buf.put(b"cd");
    }
}
