//! The other nodes over TCP: one connection with each, for one thread, by edge-triggered epoll.
//!
//! Of two nodes the one with the higher number dials. Both prove their keys before a frame passes; what is
//! refused, and how, is in `docs/format/peer.md`. A connection that stands is never replaced by another: it
//! ends when the other process ends, or when the other machine has not confirmed anything for
//! [`DEAD_AFTER`].
//!
//! Whom it is connected with, the log decides, and may change while the node runs: [`change`].
//!
//! A frame is a prefix, with its length and checksums ([`ordain_agent::framing`]), and what the log stage gives. It goes
//! from where it lies to the kernel in one gathering write as long as nothing waits; what the kernel does not take is
//! copied and waits for room. What arrives altered ends the connection.

mod accept;
mod change;
mod conn;
mod dial;

use crate::doorbell::Doorbell;
use crate::keys;
use conn::{Conn, Shake, kind, set_up};
use ordain_agent::framing::{Framing, PREFIX_MAX};
use ordain_agent::metrics::{Gauge, Registry};
use ordain_agent::peer::{PEER_FRAME_MAX, PeerEvent, Peers};
use ordain_keys::{PeerChallenge, PeerHello, PeerSelf, PublicKey, Refusal};
use ordain_types::NodeId;
use ordain_types::members::Member;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags};
use std::collections::VecDeque;
use std::io;
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::time::{Duration, Instant};

/// Receive buffer of a node, bytes of address space; memory follows use. A whole frame fits behind as much
/// that is used up, so a byte that was received moves once at most.
const RECV: usize = 2 * (PREFIX_MAX + PEER_FRAME_MAX);
/// With less room than this behind the received bytes, they move to the front.
const COMPACT: usize = 64 * 1024;
/// Bytes that may wait for a node, besides what its connection's kernels hold: four of the largest frames, so
/// that bulk never keeps a heartbeat out for want of room.
const SEND_MAX: usize = 4 * (PREFIX_MAX + PEER_FRAME_MAX);
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
/// A node that was not dialled by one with a higher number for this long asks it: were it removed, nobody would dial it
/// ever again.
const ASK_AFTER: Duration = Duration::from_secs(5);
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

impl From<&Member> for OtherNode {
    fn from(member: &Member) -> Self {
        Self { id: member.id, address: member.peer.clone(), key: PublicKey(member.key) }
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
    /// The other one dials. If it has not until then, it is asked whether this node still belongs.
    Awaited(Instant),
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

impl Link {
    fn new(node: OtherNode, me: NodeId, now: Instant) -> Self {
        Self {
            state: if node.id < me {
                State::Dialling(Dial::Pause(now))
            } else {
                State::Awaited(now + ASK_AFTER)
            },
            node,
            attempts: 0,
            sign_after: now,
            log_after: now,
            told: false,
            doubled: None,
        }
    }
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
    Removed(NodeId),
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
    /// Numbers below this that no link has are of nodes that were removed; and when the next of these may cost a
    /// signature.
    next: NodeId,
    removed_sign_after: Instant,
    next_token: u64,
    /// At most two per connection that began or ended within one look, and one per link that was refused.
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
    damaged: Gauge,
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
        Ok(Self {
            epoll,
            timer,
            armed: None,
            bell: bell.clone(),
            listener,
            waiting: true,
            accept_after: None,
            links: others.into_iter().map(|node| Link::new(node, me.id, now)).collect(),
            me,
            strangers: Vec::with_capacity(STRANGERS),
            strangers_log_after: now,
            next: NodeId(0),
            removed_sign_after: now,
            next_token: FIRST_TOKEN,
            changes: VecDeque::new(),
            lent: None,
            turn: 0,
            handed: 0,
            started: false,
            random: u64::from_le_bytes(seed[..8].try_into().expect("eight of 32 bytes")),
            refusals: registry
                .counter("ordain_peer_refusals_total", "Connections between nodes that one of them refused."),
            damaged: registry.counter(
                "ordain_peer_damaged_total",
                "Connections between nodes that ended because what arrived was not what was sent.",
            ),
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
            State::Awaited(_) | State::Dialling(_) => None,
        });
        links.chain(strangers).find(|conn| conn.token == token)
    }

    /// Sets the timer to the first thing that is due.
    fn arm(&mut self, now: Instant) {
        let links = self.links.iter().filter_map(|link| match &link.state {
            State::Dialling(Dial::Pause(until) | Dial::Shake(_, _, until, _)) | State::Awaited(until) => {
                Some(*until)
            }
            // The thread that looks the name up wakes this one.
            State::Dialling(Dial::Lookup(_)) | State::Up(..) => None,
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
                    Err(damage) => {
                        tracing::error!(
                            node = node.id.0, %damage,
                            "what arrived from a node is not what a node sends: the connection ends and is made \
                             anew. If this repeats, look at the network between the two and at their memory"
                        );
                        self.damaged.add(1);
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
        self.take_back();
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
            let Link { node, state: State::Up(conn, _), .. } = &self.links[at] else {
                unreachable!("it has a frame");
            };
            let from = conn.framing().prefix_len();
            self.lent = Some((at, from + length));
            return Some(PeerEvent::Frame(node.id, &conn.unread()[from..from + length]));
        }
        self.changes.pop_front().map(|change| match change {
            Change::Up(node) => PeerEvent::Up(node),
            Change::Down(node) => PeerEvent::Down(node),
            Change::Removed(node) => PeerEvent::Removed(node),
        })
    }

    fn set_members(&mut self, members: &[Member], next: NodeId) {
        self.change(members, next);
    }

    fn room(&self, to: NodeId) -> usize {
        let link = self.links.iter().find(|link| link.node.id == to);
        match link.map(|link| &link.state) {
            Some(State::Up(conn, _)) => conn.room().saturating_sub(PREFIX_MAX),
            _ => 0,
        }
    }

    fn send(&mut self, to: NodeId, head: &[u8], body: &[u8]) -> bool {
        let link = self.links.iter_mut().find(|link| link.node.id == to);
        let Some(State::Up(conn, _)) = link.map(|link| &mut link.state) else { return false };
        if conn.room() < PREFIX_MAX + head.len() + body.len() {
            return false;
        }
        let framing = conn.framing();
        let prefix = framing.prefix(head, body);
        conn.send([&prefix[..framing.prefix_len()], head, body]);
        if conn.broken {
            // Its end is reported by the next poll: no reason to sleep.
            self.bell.ring();
        }
        !conn.broken
    }
}

#[cfg(test)]
mod tests;
