//! The other nodes over TCP: one connection with each, for one thread, by edge-triggered epoll.
//!
//! Of two nodes the one with the higher number dials. Both prove their keys before a frame passes; what is
//! refused, and how, is in `docs/format/peer.md`. A connection that stands is never replaced by another: it
//! ends when the other process ends, or when the other machine has not confirmed anything for
//! [`DEAD_AFTER`].
//!
//! A frame is four bytes of length and what the log stage gives. It goes from where it lies to the kernel in
//! one gathering write as long as nothing waits; what the kernel does not take is copied and waits for room.

use crate::doorbell::Doorbell;
use crate::keys;
use ordain_agent::metrics::{Gauge, Registry};
use ordain_agent::peer::{PEER_FRAME_MAX, PeerEvent, Peers};
use ordain_keys::{PEER_PROTOCOL, PeerChallenge, PeerHello, PeerProof, PeerSelf, PublicKey, Refusal};
use ordain_types::NodeId;
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SendAncillaryBuffer, SendFlags, SocketFlags, SocketType, sockopt};
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::time::{Duration, Instant};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, little_endian::U16};

/// Bytes in front of a frame: its length.
const PREFIX: usize = size_of::<u32>();
/// Receive buffer of a node, bytes of address space; memory follows use. A whole frame fits behind as much
/// that is used up, so a byte that was received moves once at most.
const RECV: usize = 2 * (PREFIX + PEER_FRAME_MAX);
/// With less room than this behind the received bytes, they move to the front.
const COMPACT: usize = 64 * 1024;
/// Bytes that may wait for a node, besides what its connection's kernels hold: four of the largest frames, so
/// that bulk never keeps a heartbeat out for want of room.
const SEND_MAX: usize = 4 * (PREFIX + PEER_FRAME_MAX);
/// A send buffer that grew beyond this is given back when it is empty.
const SEND_KEPT: usize = 64 * 1024;
/// Bytes of a handshake that can be waiting in one direction: a Hello, the longest but one, and more.
const SHAKE_RECV: usize = 512;

/// Connections in a handshake that others began; the oldest makes room for the next.
const STRANGERS: usize = 16;
/// Connections accepted per look, so that a flood of them does not keep the thread from its work.
const ACCEPTS: usize = 8;
/// Kernel events taken per look; the others wait in the kernel.
const EVENTS: usize = 32;
/// Frames handed out before the kernel is asked again.
const FRAMES: u32 = 64;
/// Time for a handshake, looking up a name and connecting included.
const SHAKE_TIME: Duration = Duration::from_secs(2);
/// A connection whose other end has confirmed nothing for this long is dead.
const DEAD_AFTER: Duration = Duration::from_secs(2);
/// After a handshake that came to a signature, time until the next of the same member is looked at.
const SIGN_REST: Duration = Duration::from_millis(2);
/// First pause before dialling again, and the longest; it doubles in between. Half of it is chance.
const REDIAL: (Duration, Duration) = (Duration::from_millis(8), Duration::from_millis(250));
/// Pause after a refusal, which only an operator can mend.
const REFUSED_REST: Duration = Duration::from_secs(2);
/// A connection that stood for this long was good: the next pause is the first again.
const GOOD_AFTER: Duration = Duration::from_secs(1);
/// Between two log lines about the refusals of one member, or of all strangers.
const LOG_REST: Duration = Duration::from_secs(5);
/// Rest from accepting after the process or the system ran out of descriptors or memory.
const ACCEPT_REST: Duration = Duration::from_millis(100);

const WATCHED: EventFlags =
    EventFlags::IN.union(EventFlags::OUT).union(EventFlags::RDHUP).union(EventFlags::ET);
const LISTENER: u64 = 0;
const TIMER: u64 = 1;
const FIRST_TOKEN: u64 = 2;

/// A node to be connected with.
#[derive(Clone, Debug)]
pub struct OtherNode {
    /// Its number.
    pub id: NodeId,
    /// Where it listens for nodes, `HOST:PORT`.
    pub address: String,
    /// The key that it must have.
    pub key: PublicKey,
}

/// What begins every message of a handshake. Never changes its layout: versions meet here.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct ShakeHeader {
    magic: [u8; 4],
    version: U16,
    kind: u8,
    /// Of a refusal; else 0.
    code: u8,
}

const MAGIC: [u8; 4] = *b"OrdP";
const HEADER: usize = size_of::<ShakeHeader>();

mod kind {
    pub const HELLO: u8 = 1;
    pub const CHALLENGE: u8 = 2;
    pub const PROOF: u8 = 3;
    pub const ACCEPTED: u8 = 4;
    pub const REFUSED: u8 = 5;
}

/// A message of a handshake.
#[derive(Debug)]
enum Shake {
    Hello(PeerHello),
    Challenge(PeerChallenge),
    Proof(PeerProof),
    Accepted,
    Refused(u8),
}

/// The first message in `bytes` and its length; `None` if it is not whole.
///
/// `Err(Some)`: a refusal is due; `Err(None)`: whoever this is, it is no node.
fn parse(bytes: &[u8]) -> Result<Option<(Shake, usize)>, Option<Refusal>> {
    let Ok((header, rest)) = ShakeHeader::ref_from_prefix(bytes) else { return Ok(None) };
    if header.magic != MAGIC {
        return Err(None);
    }
    // A refusal is understood whatever the version.
    if header.kind == kind::REFUSED {
        return Ok(Some((Shake::Refused(header.code), HEADER)));
    }
    if header.version.get() != PEER_PROTOCOL {
        return Err(Some(Refusal::Version));
    }
    fn body<T: FromBytes + KnownLayout + Immutable + Unaligned + Copy>(
        rest: &[u8],
        message: fn(T) -> Shake,
    ) -> Option<(Shake, usize)> {
        let (body, _) = T::read_from_prefix(rest).ok()?;
        Some((message(body), HEADER + size_of::<T>()))
    }
    Ok(match header.kind {
        kind::HELLO => body(rest, Shake::Hello),
        kind::CHALLENGE => body(rest, Shake::Challenge),
        kind::PROOF => body(rest, Shake::Proof),
        kind::ACCEPTED => Some((Shake::Accepted, HEADER)),
        _ => return Err(None),
    })
}

#[derive(Debug)]
struct Conn {
    fd: OwnedFd,
    token: u64,
    received: Vec<u8>,
    /// Bytes of `received` that are used up.
    consumed: usize,
    outgoing: Vec<u8>,
    /// Bytes of `outgoing` that the kernel has.
    sent: usize,
    /// The kernel may have bytes, an end or an error for us.
    readable: bool,
    /// The other end has ended its side: what it sent can still be read.
    ending: bool,
    /// The kernel took everything we gave it so far.
    writable: bool,
    /// Nothing more can be received or sent.
    broken: bool,
}

impl Conn {
    fn new(fd: OwnedFd, token: u64, recv: usize) -> Self {
        Self {
            fd,
            token,
            received: Vec::with_capacity(recv),
            consumed: 0,
            outgoing: Vec::new(),
            sent: 0,
            readable: true,
            ending: false,
            writable: true,
            broken: false,
        }
    }

    fn note(&mut self, flags: EventFlags) {
        self.readable |=
            flags.intersects(EventFlags::IN | EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
        self.ending |= flags.intersects(EventFlags::RDHUP | EventFlags::HUP);
        self.broken |= flags.contains(EventFlags::ERR);
        if flags.contains(EventFlags::OUT) {
            self.writable = true;
            self.flush();
        }
    }

    /// Whether its process or machine is known to be gone.
    const fn is_over(&self) -> bool {
        self.broken || self.ending
    }

    fn unread(&self) -> &[u8] {
        &self.received[self.consumed..]
    }

    /// One read, while `readable`. Says whether bytes came.
    fn read(&mut self) -> bool {
        if self.consumed == self.received.len() {
            self.received.clear();
            self.consumed = 0;
        } else if self.received.capacity() - self.received.len() < COMPACT && self.consumed > 0 {
            self.received.drain(..self.consumed);
            self.consumed = 0;
        }
        let room = self.received.capacity() - self.received.len();
        if room == 0 {
            // Only a handshake can be so full without a whole message.
            self.broken = true;
            return false;
        }
        match rustix::io::read(&self.fd, spare_capacity(&mut self.received)) {
            Ok(0) => self.broken = true,
            // A short read leaves nothing behind but an end that was reported already.
            Ok(bytes) => {
                self.readable = bytes >= room || self.ending;
                return true;
            }
            Err(Errno::AGAIN) => self.readable = false,
            Err(Errno::INTR) => {}
            Err(_) => self.broken = true,
        }
        false
    }

    /// Bytes that may be queued now.
    fn room(&self) -> usize {
        if self.broken { 0 } else { SEND_MAX - (self.outgoing.len() - self.sent) }
    }

    /// Sends `parts`, in place as far as the kernel takes them; the caller has looked for room. An error shows
    /// as `broken`.
    fn send<const N: usize>(&mut self, parts: [&[u8]; N]) {
        let mut skip = 0;
        if self.outgoing.is_empty() && self.writable {
            let slices = parts.map(IoSlice::new);
            let all: usize = parts.iter().map(|part| part.len()).sum();
            match rustix::net::sendmsg(
                &self.fd,
                &slices,
                &mut SendAncillaryBuffer::default(),
                SendFlags::NOSIGNAL,
            ) {
                Ok(bytes) => skip = bytes,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => self.writable = false,
                Err(_) => self.broken = true,
            }
            if skip == all {
                return;
            }
        } else if self.sent > self.outgoing.len() / 2 {
            // Half of the buffer is sent: forget it, at most one move per byte.
            self.outgoing.drain(..self.sent);
            self.sent = 0;
        }
        for part in parts {
            let from = skip.min(part.len());
            skip -= from;
            self.outgoing.extend_from_slice(&part[from..]);
        }
        // A part was taken: the kernel is asked once more, so that it reports when it has room again.
        self.flush();
    }

    fn flush(&mut self) {
        while self.writable && !self.broken && self.sent < self.outgoing.len() {
            match rustix::net::send(&self.fd, &self.outgoing[self.sent..], SendFlags::NOSIGNAL) {
                Ok(bytes) => self.sent += bytes,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => self.writable = false,
                Err(_) => self.broken = true,
            }
        }
        if self.sent == self.outgoing.len() {
            self.sent = 0;
            self.outgoing.clear();
            if self.outgoing.capacity() > SEND_KEPT {
                self.outgoing = Vec::new();
            }
        }
    }

    fn shake(&mut self, kind: u8, code: u8, body: &[u8]) {
        let header = ShakeHeader { magic: MAGIC, version: PEER_PROTOCOL.into(), kind, code };
        self.send([header.as_bytes(), body]);
    }

    /// The next message of a handshake, after what can be read was read.
    fn next_shake(&mut self) -> Result<Option<Shake>, Option<Refusal>> {
        loop {
            if let Some((message, length)) = parse(self.unread())? {
                self.consumed += length;
                return Ok(Some(message));
            }
            if self.broken || !self.readable {
                return Ok(None);
            }
            self.read();
        }
    }

    /// Length of the whole frame at the front; `Err` if no frame can begin so.
    fn frame(&self) -> Result<Option<usize>, ()> {
        let Some((length, rest)) = self.unread().split_first_chunk::<PREFIX>() else { return Ok(None) };
        let length = u32::from_le_bytes(*length) as usize;
        if length == 0 || length > PEER_FRAME_MAX {
            return Err(());
        }
        Ok((rest.len() >= length).then_some(length))
    }

    /// Makes room for frames, when the handshake is done.
    fn widen(&mut self) {
        let mut received = Vec::with_capacity(RECV);
        received.extend_from_slice(self.unread());
        (self.received, self.consumed) = (received, 0);
        self.readable = true;
    }
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one for each other node, eight at most")]
enum Dial {
    /// Not before this time.
    Pause(Instant),
    /// The name is being looked up.
    Lookup(Receiver<io::Result<Vec<SocketAddr>>>),
    /// The handshake is under way; the proof was sent if it is `true`.
    Shake(Conn, PeerHello, Instant, bool),
}

#[derive(Debug)]
enum State {
    /// The other one dials.
    Awaited,
    Dialling(Dial),
    Up(Conn, Instant),
}

/// One of the other nodes.
#[derive(Debug)]
struct Link {
    node: OtherNode,
    state: State,
    /// Attempts since a connection was good.
    attempts: u32,
    /// Nothing of this member that costs a signature is looked at before.
    sign_after: Instant,
    /// Nothing is logged of its refusals before.
    log_after: Instant,
    /// That it cannot be reached was logged since it last could.
    told: bool,
    /// Since when it calls this node connected already.
    doubled: Option<Instant>,
}

/// Somebody who connected.
#[derive(Debug)]
struct Stranger {
    conn: Conn,
    from: Option<SocketAddr>,
    until: Instant,
    hello: Option<PeerHello>,
    /// What the hello, which was judged good, was answered with.
    challenge: Option<PeerChallenge>,
}

#[derive(Clone, Copy, Debug)]
enum Change {
    Up(NodeId),
    Down(NodeId),
}

/// What became of a look at a connection.
enum Outcome {
    /// It waits for more.
    Waits,
    /// It is over, without a word.
    Over,
    /// It is refused.
    Refused(Refusal),
    /// The handshake is done.
    Done,
}

/// Connections to the other nodes; see the module.
#[derive(Debug)]
pub struct TcpPeers {
    epoll: OwnedFd,
    timer: OwnedFd,
    /// When the timer rings, if it is set.
    armed: Option<Instant>,
    bell: Arc<Doorbell>,
    listener: TcpListener,
    waiting: bool,
    accept_after: Option<Instant>,
    me: PeerSelf,
    links: Vec<Link>,
    strangers: Vec<Stranger>,
    strangers_log_after: Instant,
    next_token: u64,
    /// At most two per connection that began or ended within one look.
    changes: VecDeque<Change>,
    /// The link whose frame is lent, and the bytes to forget at the next poll.
    lent: Option<(usize, usize)>,
    /// The link that is looked at first.
    turn: usize,
    /// Frames handed out since the kernel was asked.
    handed: u32,
    started: bool,
    random: u64,
    refusals: Gauge,
}

impl TcpPeers {
    /// Listens on `listen` for the nodes with higher numbers. `bell` is that of the thread on which the port
    /// will be polled. Nobody is dialled before the first poll.
    ///
    /// # Errors
    /// The operating system's.
    pub fn new(
        me: PeerSelf,
        mut others: Vec<OtherNode>,
        listen: SocketAddr,
        bell: &Arc<Doorbell>,
        registry: &Registry,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(listen)?;
        listener.set_nonblocking(true)?;
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let timer = rustix::time::timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK,
        )?;
        let edge = EventFlags::IN | EventFlags::ET;
        epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), edge)?;
        epoll::add(&epoll, &timer, EventData::new_u64(TIMER), edge)?;
        bell.watch(&epoll)?;
        let now = Instant::now();
        others.sort_by_key(|node| node.id);
        let seed = keys::random().map_err(io::Error::other)?;
        let link = |node: OtherNode| Link {
            state: if node.id < me.id { State::Dialling(Dial::Pause(now)) } else { State::Awaited },
            node,
            attempts: 0,
            sign_after: now,
            log_after: now,
            told: false,
            doubled: None,
        };
        Ok(Self {
            epoll,
            timer,
            armed: None,
            bell: bell.clone(),
            listener,
            waiting: true,
            accept_after: None,
            links: others.into_iter().map(link).collect(),
            me,
            strangers: Vec::with_capacity(STRANGERS),
            strangers_log_after: now,
            next_token: FIRST_TOKEN,
            changes: VecDeque::new(),
            lent: None,
            turn: 0,
            handed: 0,
            started: false,
            random: u64::from_le_bytes(seed[..8].try_into().expect("eight of 32 bytes")),
            refusals: registry
                .counter("ordain_peer_refusals_total", "Connections between nodes that one of them refused."),
        })
    }

    /// The address listened on.
    ///
    /// # Errors
    /// The operating system's.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    fn token(&mut self) -> u64 {
        self.next_token += 1;
        self.next_token
    }

    /// A pause before dialling for the `attempts`-th time again.
    fn pause(&mut self, attempts: u32) -> Duration {
        // SplitMix64 (Steele, Lea, Flood, 2014).
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed ^= mixed >> 27;
        let whole = (REDIAL.0 * (1 << attempts.min(8))).min(REDIAL.1).as_nanos() as u64;
        Duration::from_nanos(whole / 2 + mixed % (whole / 2))
    }

    /// Takes what the kernel has to say, and does what is due. Called when no frame is left.
    fn look(&mut self) {
        let mut events = [MaybeUninit::uninit(); EVENTS];
        let no_wait = Timespec { tv_sec: 0, tv_nsec: 0 };
        let mut busy = !self.started;
        // An interrupted wait is repeated by the next look.
        if let Ok((events, _)) = epoll::wait(&self.epoll, &mut events, Some(&no_wait)) {
            busy |= !events.is_empty();
            for event in events {
                match event.data.u64() {
                    LISTENER => self.waiting = true,
                    TIMER => self.armed = None,
                    token => {
                        if let Some(conn) = self.conn(token) {
                            conn.note(event.flags);
                        }
                    }
                }
            }
        }
        let looks_up = |link: &Link| matches!(link.state, State::Dialling(Dial::Lookup(_)));
        if busy || self.links.iter().any(looks_up) {
            self.started = true;
            let now = Instant::now();
            for at in 0..self.links.len() {
                self.dial(at, now);
            }
            self.hear_strangers(now);
            self.accept(now);
            self.arm(now);
        }
    }

    fn conn(&mut self, token: u64) -> Option<&mut Conn> {
        let strangers = self.strangers.iter_mut().map(|stranger| &mut stranger.conn);
        let links = self.links.iter_mut().filter_map(|link| match &mut link.state {
            State::Up(conn, _) | State::Dialling(Dial::Shake(conn, ..)) => Some(conn),
            State::Awaited | State::Dialling(_) => None,
        });
        links.chain(strangers).find(|conn| conn.token == token)
    }

    /// Sets the timer to the first thing that is due.
    fn arm(&mut self, now: Instant) {
        let links = self.links.iter().filter_map(|link| match &link.state {
            State::Dialling(Dial::Pause(until) | Dial::Shake(_, _, until, _)) => Some(*until),
            // The thread that looks the name up wakes this one.
            State::Dialling(Dial::Lookup(_)) | State::Awaited | State::Up(..) => None,
        });
        let strangers = self.strangers.iter().map(|stranger| stranger.until);
        let Some(first) = links.chain(strangers).chain(self.accept_after).min() else { return };
        if self.armed.is_some_and(|armed| armed <= first) {
            return;
        }
        // A time of zero would switch it off.
        let rest = first.saturating_duration_since(now).max(Duration::from_micros(1));
        let value = Itimerspec {
            it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
            it_value: Timespec { tv_sec: rest.as_secs() as i64, tv_nsec: i64::from(rest.subsec_nanos()) },
        };
        rustix::time::timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &value)
            .expect("a timer takes any time that is no absurdity");
        self.armed = Some(first);
    }

    fn watch(&self, conn: &Conn) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, &conn.fd, EventData::new_u64(conn.token), WATCHED)?)
    }
}

// Dialling.
impl TcpPeers {
    fn dial(&mut self, at: usize, now: Instant) {
        loop {
            let State::Dialling(dial) = &mut self.links[at].state else { return };
            let next = match dial {
                Dial::Pause(until) if *until > now => return,
                Dial::Pause(_) => self.begin(at, now),
                Dial::Lookup(found) => match found.try_recv() {
                    Err(TryRecvError::Empty) => return,
                    Ok(Ok(addresses)) => self.connect(at, &addresses, now),
                    Ok(Err(error)) => Err(error),
                    Err(TryRecvError::Disconnected) => Err(io::Error::other("the name's look-up ended")),
                },
                Dial::Shake(..) => match self.shake(at) {
                    Outcome::Waits => {
                        let State::Dialling(Dial::Shake(_, _, until, _)) = &self.links[at].state else {
                            unreachable!("a handshake that waits goes on");
                        };
                        if *until > now {
                            return;
                        }
                        Err(io::ErrorKind::TimedOut.into())
                    }
                    Outcome::Over => Err(self.why_over(at)),
                    Outcome::Refused(refusal) => {
                        self.refused(at, refusal, now);
                        return;
                    }
                    Outcome::Done => {
                        self.rise(at, now);
                        return;
                    }
                },
            };
            match next {
                Ok(dial) => self.links[at].state = State::Dialling(dial),
                Err(error) => {
                    let link = &mut self.links[at];
                    if !std::mem::replace(&mut link.told, true) {
                        tracing::warn!(
                            node = link.node.id.0, address = link.node.address, %error,
                            "a node cannot be reached; it is tried again and again"
                        );
                    }
                    link.doubled = None;
                    self.rest(at, now, None);
                    return;
                }
            }
        }
    }

    fn why_over(&self, at: usize) -> io::Error {
        let State::Dialling(Dial::Shake(conn, ..)) = &self.links[at].state else {
            unreachable!("a handshake was under way");
        };
        match sockopt::socket_error(&conn.fd) {
            Ok(Err(error)) | Err(error) => error.into(),
            Ok(Ok(())) => io::Error::other("the other end closed the connection in the handshake"),
        }
    }

    /// Lets a pause pass before the next attempt.
    fn rest(&mut self, at: usize, now: Instant, pause: Option<Duration>) {
        let attempts = self.links[at].attempts;
        self.links[at].attempts = attempts.saturating_add(1);
        let pause = pause.unwrap_or_else(|| self.pause(attempts));
        self.links[at].state = State::Dialling(Dial::Pause(now + pause));
    }

    fn begin(&mut self, at: usize, now: Instant) -> io::Result<Dial> {
        let address = self.links[at].node.address.clone();
        if let Ok(address) = address.parse::<SocketAddr>() {
            return self.connect(at, &[address], now);
        }
        let (found, receiver) = mpsc::channel();
        let bell = self.bell.clone();
        std::thread::Builder::new().name("peer-lookup".to_owned()).spawn(move || {
            // Whoever asked may be gone.
            let _ = found.send(address.to_socket_addrs().map(Iterator::collect));
            bell.wake();
        })?;
        Ok(Dial::Lookup(receiver))
    }

    fn connect(&mut self, at: usize, addresses: &[SocketAddr], now: Instant) -> io::Result<Dial> {
        let link = &self.links[at];
        let Some(address) = addresses.get(link.attempts as usize % addresses.len().max(1)) else {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
        };
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let fd = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
        set_up(&fd)?;
        let hello = self.me.hello(link.node.id, keys::random().map_err(io::Error::other)?);
        match rustix::net::connect(&fd, address) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        let mut conn = Conn::new(fd, self.token(), SHAKE_RECV);
        // The kernel says when it is connected.
        (conn.readable, conn.writable) = (false, false);
        conn.shake(kind::HELLO, 0, hello.as_bytes());
        self.watch(&conn)?;
        Ok(Dial::Shake(conn, hello, now + SHAKE_TIME, false))
    }

    fn shake(&mut self, at: usize) -> Outcome {
        let Link { node, state, .. } = &mut self.links[at];
        let State::Dialling(Dial::Shake(conn, hello, _, proved)) = state else { return Outcome::Over };
        loop {
            let message = match conn.next_shake() {
                Ok(Some(message)) => message,
                Ok(None) if conn.is_over() => return Outcome::Over,
                Ok(None) => return Outcome::Waits,
                Err(refusal) => return refusal.map_or(Outcome::Over, Outcome::Refused),
            };
            match message {
                Shake::Challenge(challenge) if !*proved => {
                    match self.me.prove(hello, &challenge, node.key) {
                        Ok(proof) => conn.shake(kind::PROOF, 0, proof.as_bytes()),
                        Err(refusal) => {
                            conn.shake(kind::REFUSED, refusal as u8, &[]);
                            return Outcome::Refused(refusal);
                        }
                    }
                    *proved = true;
                }
                Shake::Accepted if *proved => return Outcome::Done,
                Shake::Refused(code) => {
                    return Refusal::from_wire(code).map_or(Outcome::Over, Outcome::Refused);
                }
                _ => return Outcome::Over,
            }
        }
    }

    /// This node and the one it dialled will not be connected.
    fn refused(&mut self, at: usize, refusal: Refusal, now: Instant) {
        let link = &mut self.links[at];
        self.refusals.add(1);
        let doubled = refusal == Refusal::Connected;
        let since = *link.doubled.get_or_insert(now);
        if !doubled {
            link.doubled = None;
        }
        // A restart may be faster than the news of the death before it.
        let is_news = !doubled || now - since > DEAD_AFTER;
        if is_news && now >= link.log_after {
            link.log_after = now + LOG_REST;
            tracing::error!(
                node = link.node.id.0,
                address = link.node.address,
                "no connection with another node: {refusal}"
            );
        }
        self.rest(at, now, (!doubled).then_some(REFUSED_REST));
    }

    /// The connection that this node dialled stands.
    fn rise(&mut self, at: usize, now: Instant) {
        let state = std::mem::replace(&mut self.links[at].state, State::Awaited);
        let State::Dialling(Dial::Shake(conn, ..)) = state else {
            unreachable!("a handshake that is done was under way");
        };
        self.stand(at, conn, now);
    }

    fn stand(&mut self, at: usize, mut conn: Conn, now: Instant) {
        conn.widen();
        let link = &mut self.links[at];
        (link.told, link.doubled) = (false, None);
        link.state = State::Up(conn, now);
        tracing::info!(node = link.node.id.0, address = link.node.address, "connected with a node");
        self.changes.push_back(Change::Up(link.node.id));
    }

    /// The connection of a link is over.
    fn fall(&mut self, at: usize, now: Instant) {
        let link = &mut self.links[at];
        let State::Up(_, since) = &link.state else { unreachable!("only what stands falls") };
        if now - *since >= GOOD_AFTER {
            link.attempts = 0;
        }
        tracing::info!(node = link.node.id.0, "the connection with a node is over");
        self.changes.push_back(Change::Down(link.node.id));
        if link.node.id < self.me.id {
            self.rest(at, now, None);
            self.arm(now);
        } else {
            link.state = State::Awaited;
        }
    }
}

// Accepting.
impl TcpPeers {
    fn accept(&mut self, now: Instant) {
        if self.accept_after.is_some_and(|after| now < after) {
            return;
        }
        self.accept_after = None;
        for _ in 0..ACCEPTS {
            if !self.waiting {
                return;
            }
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            match rustix::net::acceptfrom_with(&self.listener, flags) {
                Ok((fd, from)) => {
                    let from = from.and_then(|from| SocketAddr::try_from(from).ok());
                    self.take_in(fd, from, now);
                }
                Err(Errno::AGAIN) => self.waiting = false,
                Err(error @ (Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS)) => {
                    tracing::warn!(
                        %error,
                        "cannot accept connections of nodes for a moment; raise the limit of open files (ulimit -n)"
                    );
                    self.accept_after = Some(now + ACCEPT_REST);
                    return;
                }
                // The connection broke before it was accepted (ECONNABORTED and the network's errors).
                Err(_) => {}
            }
        }
        // More may wait: no reason to sleep.
        self.accept_after = Some(now);
    }

    fn take_in(&mut self, fd: OwnedFd, from: Option<SocketAddr>, now: Instant) {
        let conn = Conn::new(fd, self.token(), SHAKE_RECV);
        if let Err(error) = set_up(&conn.fd).and_then(|()| self.watch(&conn)) {
            tracing::warn!(%error, "a connection cannot be watched and is closed");
            return;
        }
        if self.strangers.len() == STRANGERS {
            self.strangers.remove(0);
        }
        self.strangers.push(Stranger { conn, from, until: now + SHAKE_TIME, hello: None, challenge: None });
    }

    fn hear_strangers(&mut self, now: Instant) {
        let mut at = 0;
        while at < self.strangers.len() {
            match self.hear_stranger(at, now) {
                Outcome::Waits if self.strangers[at].until > now => at += 1,
                Outcome::Waits | Outcome::Over => drop(self.strangers.remove(at)),
                Outcome::Refused(refusal) => {
                    let mut stranger = self.strangers.remove(at);
                    stranger.conn.shake(kind::REFUSED, refusal as u8, &[]);
                    self.log_refusal(&stranger, refusal, now);
                }
                Outcome::Done => {
                    let Stranger { mut conn, hello, .. } = self.strangers.remove(at);
                    let link = hello.and_then(|hello| self.caller(&hello)).expect("it was judged");
                    conn.shake(kind::ACCEPTED, 0, &[]);
                    if matches!(self.links[link].state, State::Up(..)) {
                        // Its process is gone; the news of both comes in order.
                        self.fall(link, now);
                    }
                    self.stand(link, conn, now);
                }
            }
        }
    }

    /// The link of the member that a hello claims to be from, if that one dials this node.
    fn caller(&self, hello: &PeerHello) -> Option<usize> {
        let from = NodeId(hello.from.get());
        self.links.iter().position(|link| link.node.id == from && from > self.me.id)
    }

    fn hear_stranger(&mut self, at: usize, now: Instant) -> Outcome {
        loop {
            let Stranger { conn, hello, challenge, .. } = &mut self.strangers[at];
            let message = match conn.next_shake() {
                Ok(Some(message)) => message,
                Ok(None) if conn.is_over() => return Outcome::Over,
                Ok(None) => return Outcome::Waits,
                Err(refusal) => return refusal.map_or(Outcome::Over, Outcome::Refused),
            };
            match (message, *hello, *challenge) {
                (Shake::Hello(said), None, _) => {
                    *hello = Some(said);
                    match self.answer(&said, now) {
                        Ok(Some(challenge)) => {
                            let stranger = &mut self.strangers[at];
                            stranger.conn.shake(kind::CHALLENGE, 0, challenge.as_bytes());
                            stranger.challenge = Some(challenge);
                        }
                        Ok(None) => return Outcome::Over,
                        Err(refusal) => return Outcome::Refused(refusal),
                    }
                }
                (Shake::Proof(proof), Some(hello), Some(challenge)) => {
                    // Of two that were challenged one may have come first.
                    let judged = self.me.check(&hello, &challenge, &proof).and_then(|()| self.judge(&hello));
                    return judged.map_or_else(Outcome::Refused, |_| Outcome::Done);
                }
                (Shake::Refused(code), Some(hello), _) => {
                    if let (Some(link), Some(refusal)) = (self.caller(&hello), Refusal::from_wire(code))
                        && now >= self.links[link].log_after
                    {
                        self.links[link].log_after = now + LOG_REST;
                        tracing::error!(node = hello.from.get(), "another node refused this one: {refusal}");
                    }
                    self.refusals.add(1);
                    return Outcome::Over;
                }
                _ => return Outcome::Over,
            }
        }
    }

    /// Judges a hello by what costs no cryptography, and says which link it is for.
    fn judge(&self, hello: &PeerHello) -> Result<usize, Refusal> {
        let link = self.caller(hello);
        self.me.judge(hello, link.map(|link| self.links[link].node.key))?;
        let link = link.expect("the judge wants it");
        let stands = matches!(&self.links[link].state, State::Up(conn, _) if !conn.is_over());
        if stands { Err(Refusal::Connected) } else { Ok(link) }
    }

    /// The challenge to a hello; `None` if it comes too soon after the one before.
    fn answer(&mut self, hello: &PeerHello, now: Instant) -> Result<Option<PeerChallenge>, Refusal> {
        let at = self.judge(hello)?;
        let (true, Ok(nonce)) = (now >= self.links[at].sign_after, keys::random()) else { return Ok(None) };
        self.links[at].sign_after = now + SIGN_REST;
        Ok(Some(self.me.challenge(hello, nonce)))
    }

    fn log_refusal(&mut self, stranger: &Stranger, refusal: Refusal, now: Instant) {
        self.refusals.add(1);
        let link = stranger.hello.and_then(|hello| self.caller(&hello));
        let after = match link {
            Some(link) => &mut self.links[link].log_after,
            None => &mut self.strangers_log_after,
        };
        if now < *after {
            return;
        }
        *after = now + LOG_REST;
        let from = stranger.from.map_or_else(|| "an unknown address".to_owned(), |from| from.to_string());
        match stranger.hello {
            Some(hello) => {
                tracing::error!(from, claims = hello.from.get(), "a node was refused: {refusal}");
            }
            None => tracing::error!(from, "a connection for nodes was refused: {refusal}"),
        }
    }
}

/// What every connection between nodes has.
fn set_up(fd: &OwnedFd) -> io::Result<()> {
    sockopt::set_tcp_nodelay(fd, true)?;
    // Where nothing is sent, probes are; either way the other end confirms in time or is dead.
    sockopt::set_socket_keepalive(fd, true)?;
    sockopt::set_tcp_keepidle(fd, DEAD_AFTER / 2)?;
    sockopt::set_tcp_keepintvl(fd, DEAD_AFTER / 2)?;
    sockopt::set_tcp_user_timeout(fd, DEAD_AFTER.as_millis() as u32)?;
    Ok(())
}

impl TcpPeers {
    /// The link that has a whole frame, and the frame's length; reads where nothing is left.
    fn find_frame(&mut self) -> Option<(usize, usize)> {
        for step in 0..self.links.len() {
            let at = (self.turn + step) % self.links.len();
            loop {
                let Link { node, state, .. } = &mut self.links[at];
                let State::Up(conn, _) = state else { break };
                match conn.frame() {
                    Ok(Some(length)) => {
                        self.turn = at + 1;
                        return Some((at, length));
                    }
                    Ok(None) => {}
                    Err(()) => {
                        tracing::error!(
                            node = node.id.0,
                            "a node sent what begins no frame: the connection ends"
                        );
                        conn.broken = true;
                    }
                }
                if conn.broken {
                    self.fall(at, Instant::now());
                    break;
                }
                if !conn.readable {
                    break;
                }
                conn.read();
            }
        }
        None
    }
}

impl Peers for TcpPeers {
    fn poll(&mut self) -> Option<PeerEvent<'_>> {
        if let Some((at, bytes)) = self.lent.take()
            && let State::Up(conn, _) = &mut self.links[at].state
        {
            conn.consumed += bytes;
        }
        // First what is at hand, then what the kernel has; a busy node does not keep the others waiting.
        let mut frame = None;
        if self.handed < FRAMES && self.changes.is_empty() {
            frame = self.find_frame();
        }
        if frame.is_none() && self.changes.is_empty() {
            self.handed = 0;
            self.look();
            if self.changes.is_empty() {
                frame = self.find_frame();
            }
        }
        if let Some((at, length)) = frame {
            self.handed += 1;
            self.lent = Some((at, PREFIX + length));
            let Link { node, state: State::Up(conn, _), .. } = &self.links[at] else {
                unreachable!("it has a frame");
            };
            return Some(PeerEvent::Frame(node.id, &conn.unread()[PREFIX..PREFIX + length]));
        }
        self.changes.pop_front().map(|change| match change {
            Change::Up(node) => PeerEvent::Up(node),
            Change::Down(node) => PeerEvent::Down(node),
        })
    }

    fn room(&self, to: NodeId) -> usize {
        let link = self.links.iter().find(|link| link.node.id == to);
        match link.map(|link| &link.state) {
            Some(State::Up(conn, _)) => conn.room().saturating_sub(PREFIX),
            _ => 0,
        }
    }

    fn send(&mut self, to: NodeId, head: &[u8], body: &[u8]) -> bool {
        let length = head.len() + body.len();
        assert!((1..=PEER_FRAME_MAX).contains(&length), "a frame is between 1 and PEER_FRAME_MAX bytes");
        let link = self.links.iter_mut().find(|link| link.node.id == to);
        let Some(State::Up(conn, _)) = link.map(|link| &mut link.state) else { return false };
        if conn.room() < PREFIX + length {
            return false;
        }
        conn.send([&(length as u32).to_le_bytes(), head, body]);
        if conn.broken {
            // Its end is reported by the next poll: no reason to sleep.
            self.bell.ring();
        }
        !conn.broken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ordain_keys::KeyPair;
    use ordain_types::ClusterId;
    use std::io::{Read, Write};
    use std::net::TcpStream;

    /// What happened at a node, frames as their first word and length.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Seen {
        Up(u32),
        Down(u32),
        Frame(u32, u32, usize),
    }

    struct Node {
        peers: TcpPeers,
        bell: Arc<Doorbell>,
        registry: Registry,
        seen: Vec<Seen>,
    }

    fn pair(id: u32) -> KeyPair {
        KeyPair::from_seed(&[id as u8 + 1; 32])
    }

    fn me(id: u32) -> PeerSelf {
        PeerSelf { pair: pair(id), cluster: ClusterId([7; 16]), id: NodeId(id), fingerprint: [8; 32] }
    }

    fn other(id: u32, address: &str) -> OtherNode {
        OtherNode { id: NodeId(id), address: address.to_owned(), key: pair(id).public() }
    }

    impl Node {
        fn new(me: PeerSelf, others: Vec<OtherNode>) -> Self {
            Self::at(me, others, "127.0.0.1:0".parse().unwrap())
        }

        fn at(me: PeerSelf, others: Vec<OtherNode>, listen: SocketAddr) -> Self {
            let (bell, registry) = (Doorbell::new().unwrap(), Registry::default());
            let peers = TcpPeers::new(me, others, listen, &bell, &registry).unwrap();
            Self { peers, bell, registry, seen: Vec::new() }
        }

        fn address(&self) -> String {
            self.peers.address().unwrap().to_string()
        }

        fn poll(&mut self) -> bool {
            let seen = match self.peers.poll() {
                None => return false,
                Some(PeerEvent::Up(node)) => Seen::Up(node.0),
                Some(PeerEvent::Down(node)) => Seen::Down(node.0),
                Some(PeerEvent::Frame(node, bytes)) => {
                    let first = u32::from_le_bytes(bytes[..4].try_into().unwrap());
                    assert!(bytes[4..].iter().all(|byte| *byte == first as u8), "frame {first} is damaged");
                    Seen::Frame(node.0, first, bytes.len())
                }
            };
            self.seen.push(seen);
            true
        }

        fn send(&mut self, to: u32, first: u32, length: usize) -> bool {
            let body = vec![first as u8; length - 4];
            self.peers.send(NodeId(to), &first.to_le_bytes(), &body)
        }

        fn refusals(&self) -> u64 {
            self.registry.value("ordain_peer_refusals_total").unwrap()
        }
    }

    /// Lets the nodes work until `done`. The last node is woken by its doorbell alone.
    #[track_caller]
    fn until(nodes: &mut [&mut Node], mut done: impl FnMut(&mut [&mut Node]) -> bool) {
        let patience = Instant::now() + Duration::from_secs(60);
        while !done(nodes) {
            assert!(Instant::now() < patience, "it never happened: {:?}", nodes[0].seen);
            let mut busy = false;
            for node in nodes.iter_mut() {
                while node.poll() {
                    busy = true;
                }
            }
            if !busy {
                nodes.last().unwrap().bell.wait(Duration::from_millis(1));
            }
        }
    }

    /// Node 0 and node 1, connected.
    fn two() -> (Node, Node) {
        let mut low = Node::new(me(0), vec![other(1, "127.0.0.1:1")]);
        let mut high = Node::new(me(1), vec![other(0, &low.address())]);
        until(&mut [&mut low, &mut high], |nodes| nodes.iter().all(|node| !node.seen.is_empty()));
        assert_eq!((&low.seen[..], &high.seen[..]), (&[Seen::Up(1)][..], &[Seen::Up(0)][..]));
        (low, high)
    }

    #[test]
    fn frames_arrive_whole_and_in_order_in_both_directions() {
        let (mut low, mut high) = two();
        let lengths = [4, 5, 4096, PEER_FRAME_MAX, 80, 300_000, PEER_FRAME_MAX, PEER_FRAME_MAX, 4];
        let mut sent = [0; 2];
        let count = 4 * lengths.len();
        until(&mut [&mut low, &mut high], |nodes| {
            for (at, node) in nodes.iter_mut().enumerate() {
                // As many as are taken: what is refused is offered again later.
                while sent[at] < count
                    && node.send(1 - at as u32, sent[at] as u32, lengths[sent[at] % lengths.len()])
                {
                    sent[at] += 1;
                }
            }
            nodes.iter().all(|node| node.seen.len() == 1 + count)
        });
        for (from, node) in [(1, &low), (0, &high)] {
            let expected = (0..count).map(|at| Seen::Frame(from, at as u32, lengths[at % lengths.len()]));
            assert!(node.seen[1..].iter().copied().eq(expected));
        }
    }

    #[test]
    fn what_a_node_does_not_read_is_bounded() {
        let (mut low, mut high) = two();
        let mut taken = 0;
        // Neither kernel buffers without bound.
        while low.send(1, taken, PEER_FRAME_MAX) {
            taken += 1;
            assert!(taken < 1000, "nothing bounds what waits");
        }
        assert!(low.peers.room(NodeId(1)) < PREFIX + PEER_FRAME_MAX);
        until(&mut [&mut low, &mut high], |nodes| nodes[1].seen.len() == 1 + taken as usize);
        assert_eq!(low.peers.room(NodeId(1)), SEND_MAX - PREFIX);
        assert_eq!(low.peers.room(NodeId(9)), 0);
    }

    #[test]
    fn a_death_is_known_at_once_and_the_dead_may_come_back() {
        let (mut low, high) = two();
        drop(high);
        until(&mut [&mut low], |nodes| nodes[0].seen.last() == Some(&Seen::Down(1)));
        assert!(!low.send(1, 0, 4));
        let mut high = Node::new(me(1), vec![other(0, &low.address())]);
        until(&mut [&mut low, &mut high], |nodes| nodes[0].seen.last() == Some(&Seen::Up(1)));

        let listen = low.peers.address().unwrap();
        drop(low);
        until(&mut [&mut high], |nodes| nodes[0].seen.last() == Some(&Seen::Down(0)));
        let mut low = Node::at(me(0), vec![other(1, "127.0.0.1:1")], listen);
        until(&mut [&mut low, &mut high], |nodes| nodes[1].seen.last() == Some(&Seen::Up(0)));
    }

    #[test]
    fn who_does_not_belong_is_refused_and_nobody_else_is_concerned() {
        let mut low = Node::new(me(0), vec![other(1, "127.0.0.1:1"), other(2, "127.0.0.1:1")]);
        let address = low.address();
        let mut high = Node::new(me(1), vec![other(0, &address)]);
        until(&mut [&mut low, &mut high], |nodes| nodes.iter().all(|node| !node.seen.is_empty()));
        let cases: [(PeerSelf, OtherNode); 5] = [
            (PeerSelf { cluster: ClusterId([1; 16]), ..me(2) }, other(0, &address)),
            (PeerSelf { fingerprint: [1; 32], ..me(2) }, other(0, &address)),
            (PeerSelf { pair: pair(5), ..me(2) }, other(0, &address)),
            // No member.
            (me(3), other(0, &address)),
            // Node 0 answers where another node is expected.
            (me(2), OtherNode { key: pair(9).public(), ..other(0, &address) }),
        ];
        for (number, (stranger, expected)) in cases.into_iter().enumerate() {
            let mut stranger = Node::new(stranger, vec![expected]);
            until(&mut [&mut low, &mut high, &mut stranger], |nodes| {
                nodes[0].refusals() > number as u64 && nodes[2].refusals() > 0
            });
            assert_eq!(stranger.seen, []);
        }
        assert_eq!((low.seen.len(), high.seen.len()), (1, 1));
        assert!(high.send(0, 5, 100));
        until(&mut [&mut low, &mut high], |nodes| nodes[0].seen.last() == Some(&Seen::Frame(1, 5, 100)));
    }

    #[test]
    fn of_two_with_one_number_the_first_stays_until_it_dies() {
        let (mut low, mut high) = two();
        let mut double = Node::new(me(1), vec![other(0, &low.address())]);
        until(&mut [&mut low, &mut high, &mut double], |nodes| nodes[2].refusals() > 2);
        assert_eq!((low.seen.len(), high.seen.len(), double.seen.len()), (1, 1, 0));
        drop(high);
        until(&mut [&mut low, &mut double], |nodes| nodes[1].seen == [Seen::Up(0)]);
        assert_eq!(low.seen, [Seen::Up(1), Seen::Down(1), Seen::Up(1)]);
    }

    #[test]
    fn noise_and_idle_strangers_do_no_harm() {
        let mut low = Node::new(me(0), vec![other(1, "127.0.0.1:1")]);
        let address = low.address();
        let noise: Vec<TcpStream> = (0..4 * STRANGERS)
            .map(|number| {
                let mut stream = TcpStream::connect(&address).unwrap();
                let bytes: &[u8] = match number % 4 {
                    0 => b"GET / HTTP/1.1\r\n\r\n",
                    1 => &[0xff; 4096],
                    2 => b"OrdP",
                    _ => b"",
                };
                stream.write_all(bytes).unwrap();
                stream
            })
            .collect();
        let mut old = TcpStream::connect(&address).unwrap();
        let other_version = ShakeHeader { magic: MAGIC, version: 99.into(), kind: kind::HELLO, code: 0 };
        old.write_all(other_version.as_bytes()).unwrap();
        let mut high = Node::new(me(1), vec![other(0, &address)]);
        until(&mut [&mut low, &mut high], |nodes| nodes.iter().all(|node| node.seen.len() == 1));
        until(&mut [&mut low, &mut high], |nodes| nodes[0].refusals() > 0);
        let mut answer = [0; HEADER];
        old.read_exact(&mut answer).unwrap();
        assert!(matches!(parse(&answer), Ok(Some((Shake::Refused(1), HEADER)))));
        drop(noise);
        assert!(low.peers.strangers.len() <= STRANGERS);
    }

    /// A handshake made by hand, for what no good node does behind it.
    fn by_hand(low: &mut Node, id: u32) -> TcpStream {
        let mut stream = TcpStream::connect(low.address()).unwrap();
        let hello = me(id).hello(NodeId(0), [1; 32]);
        let header = |kind| ShakeHeader { magic: MAGIC, version: PEER_PROTOCOL.into(), kind, code: 0 };
        stream.write_all(header(kind::HELLO).as_bytes()).unwrap();
        stream.write_all(hello.as_bytes()).unwrap();
        stream.set_nonblocking(true).unwrap();
        let mut bytes = [0; HEADER + size_of::<PeerChallenge>()];
        let mut filled = 0;
        until(&mut [low], |_| {
            filled += stream.read(&mut bytes[filled..]).unwrap_or(0);
            filled == bytes.len()
        });
        let Ok(Some((Shake::Challenge(challenge), _))) = parse(&bytes) else { panic!("no challenge") };
        let proof = me(id).prove(&hello, &challenge, pair(0).public()).unwrap();
        stream.set_nonblocking(false).unwrap();
        stream.write_all(header(kind::PROOF).as_bytes()).unwrap();
        stream.write_all(proof.as_bytes()).unwrap();
        until(&mut [low], |nodes| nodes[0].seen == [Seen::Up(id)]);
        stream
    }

    #[test]
    fn what_begins_no_frame_ends_the_connection() {
        for length in [0, PEER_FRAME_MAX as u32 + 1, u32::MAX] {
            let mut low = Node::new(me(0), vec![other(1, "127.0.0.1:1")]);
            let mut stream = by_hand(&mut low, 1);
            stream.write_all(&length.to_le_bytes()).unwrap();
            until(&mut [&mut low], |nodes| nodes[0].seen == [Seen::Up(1), Seen::Down(1)]);
        }
    }

    #[test]
    fn a_frame_that_comes_in_pieces_is_whole_before_it_is_seen() {
        let mut low = Node::new(me(0), vec![other(1, "127.0.0.1:1")]);
        let mut stream = by_hand(&mut low, 1);
        let mut frame = 8_u32.to_le_bytes().to_vec();
        frame.extend([3, 0, 0, 0, 3, 3, 3, 3]);
        for byte in &frame[..frame.len() - 1] {
            stream.write_all(&[*byte]).unwrap();
            while low.poll() {}
            assert_eq!(low.seen.len(), 1);
        }
        stream.write_all(&frame[frame.len() - 1..]).unwrap();
        until(&mut [&mut low], |nodes| nodes[0].seen.last() == Some(&Seen::Frame(1, 3, 8)));
        // Half a frame before the end is no frame.
        stream.write_all(&frame[..7]).unwrap();
        drop(stream);
        until(&mut [&mut low], |nodes| nodes[0].seen.last() == Some(&Seen::Down(1)));
        assert_eq!(low.seen.len(), 3);
    }

    #[test]
    fn a_name_is_looked_up() {
        let mut low = Node::new(me(0), vec![other(1, "127.0.0.1:1")]);
        let address = low.address().replace("127.0.0.1", "localhost");
        let mut high = Node::new(me(1), vec![other(0, &address)]);
        until(&mut [&mut low, &mut high], |nodes| nodes.iter().all(|node| !node.seen.is_empty()));
    }
}
