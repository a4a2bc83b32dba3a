//! A socket, a clock and random bytes for the core: what both shells share.

use crate::{ClientCore, CoreConfig, Ending, Event, SessionWish};
use core::fmt;
use ordain_keys::PublicKey;
use ordain_types::configuration::{MEMBERS_MAX, Seat};
use ordain_types::members::Member as Told;
use ordain_types::roster::RosterHead;
use ordain_types::{Nanos, NodeId, roster};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// Bytes read at once: large enough that one system call brings hundreds of replies.
const INBOX: usize = 256 * 1024;
/// Members that are tried beside those that the caller named: as a cluster has them, and as many again that it had.
const TOLD_MAX: usize = 2 * MEMBERS_MAX;
/// Shortest wait that a socket's time-out can express.
const SHORTEST: Duration = Duration::from_millis(1);

/// A node that can be connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// `host:port` or `unix:PATH`.
    pub address: String,
    /// The key that the node must have. Without it, whoever answers at the address is believed.
    pub key: Option<PublicKey>,
}

impl Member {
    /// A node whose key is not known.
    #[must_use]
    pub fn at(address: &str) -> Self {
        Self { address: address.to_owned(), key: None }
    }
}

/// Where and how to connect.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// Members of the cluster, at least one. They are tried in turn, but the leader that a node names
    /// is tried next, if it is a member that is known.
    pub members: Vec<Member>,
    /// Whether to ask each node that this client signs in to for the members, and to try those as well from then on.
    pub discover: bool,
    /// After how long to ask again on a connection that stands. Nobody is told of a change, and after weeks on one
    /// connection all others may be new. A member that is replaced should stay for longer than this beside the next.
    pub discover_again: Duration,
    /// What the protocol needs to know.
    pub core: CoreConfig,
    /// How long to wait for a TCP connection to one member.
    pub connect_timeout: Duration,
    /// How long to pause when all members were tried without success.
    pub pause: Duration,
    /// How long `connect` and the calls of [`blocking::Client`](crate::blocking::Client) may take in all,
    /// whatever number of connections that needs.
    pub timeout: Duration,
}

impl ClientConfig {
    /// The defaults: the members are asked for every 10 s; 2 s to connect, 50 ms between rounds, 10 s for a call.
    #[must_use]
    pub const fn new(members: Vec<Member>, core: CoreConfig) -> Self {
        Self {
            members,
            discover: true,
            discover_again: Duration::from_secs(10),
            core,
            connect_timeout: Duration::from_secs(2),
            pause: Duration::from_millis(50),
            timeout: Duration::from_secs(10),
        }
    }
}

/// Why a client cannot go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectError {
    /// No member was named.
    NoMembers,
    /// Every member refused for a reason that trying again will not change; the last one.
    Refused(String),
    /// Time is up; what went wrong last.
    Timeout(String),
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoMembers => write!(f, "no address to connect to: name at least one member"),
            Self::Refused(why) => write!(f, "no member will have this client; {why}"),
            Self::Timeout(why) => write!(f, "no connection in time; {why}"),
        }
    }
}

impl std::error::Error for ConnectError {}

#[derive(Debug)]
enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    fn open(address: &str, timeout: Duration) -> io::Result<Self> {
        if let Some(path) = address.strip_prefix("unix:") {
            let socket = UnixStream::connect(path)?;
            socket.set_write_timeout(Some(timeout))?;
            return Ok(Self::Unix(socket));
        }
        let mut last = io::Error::new(ErrorKind::NotFound, "the name has no address");
        for address in address.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, timeout) {
                Ok(socket) => {
                    socket.set_nodelay(true)?;
                    socket.set_write_timeout(Some(timeout))?;
                    return Ok(Self::Tcp(socket));
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => socket.set_nonblocking(nonblocking),
            Self::Unix(socket) => socket.set_nonblocking(nonblocking),
        }
    }

    fn set_read_timeout(&self, timeout: Duration) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => socket.set_read_timeout(Some(timeout)),
            Self::Unix(socket) => socket.set_read_timeout(Some(timeout)),
        }
    }

    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.read(bytes),
            Self::Unix(socket) => socket.read(bytes),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.write(bytes),
            Self::Unix(socket) => socket.write(bytes),
        }
    }
}

/// A socket and how it waits; system calls that would change nothing are not made.
#[derive(Debug)]
struct Link {
    socket: Socket,
    /// How long a read waits; zero: not at all.
    wait: Duration,
}

impl Link {
    fn set_wait(&mut self, wait: Duration) -> io::Result<()> {
        let wait = if wait.is_zero() { wait } else { wait.max(SHORTEST) };
        // A read that ends early is only repeated; a time-out set anew each time costs a system call.
        let is_near = self.wait <= wait && self.wait * 2 >= wait;
        if is_near && wait.is_zero() == self.wait.is_zero() {
            return Ok(());
        }
        if wait.is_zero() != self.wait.is_zero() {
            self.socket.set_nonblocking(wait.is_zero())?;
        }
        if !wait.is_zero() {
            self.socket.set_read_timeout(wait)?;
        }
        self.wait = wait;
        Ok(())
    }
}

/// Moves bytes between a core and whichever member can be had.
#[derive(Debug)]
pub(crate) struct Driver {
    pub core: ClientCore,
    /// As named by the caller, then as told by the cluster.
    members: Vec<Member>,
    /// How many of them the caller named.
    named: usize,
    /// The roster that is being read, page by page.
    roster: Roster,
    discover: bool,
    discover_again: u64,
    /// When the members were asked for last.
    asked: Nanos,
    connect_timeout: Duration,
    pause: Duration,
    needs_session: bool,
    link: Option<Link>,
    inbox: Box<[u8]>,
    filled: usize,
    began: Instant,
    /// The member connected to, or tried next.
    member: usize,
    /// Connections that came to nothing since the last that served.
    failed: usize,
    /// Of these, the last in a row after which trying again is useless.
    refused: usize,
    not_before: Nanos,
    why: String,
}

impl Driver {
    pub fn new(config: &ClientConfig) -> Result<Self, ConnectError> {
        if config.members.is_empty() {
            return Err(ConnectError::NoMembers);
        }
        let mut core = ClientCore::new(config.core.clone());
        core.set_discovers(config.discover);
        Ok(Self {
            core,
            members: config.members.clone(),
            named: config.members.len(),
            roster: Roster::default(),
            discover: config.discover,
            discover_again: nanos(config.discover_again),
            asked: Nanos::ZERO,
            connect_timeout: config.connect_timeout.max(SHORTEST),
            pause: config.pause,
            needs_session: config.core.session != SessionWish::None,
            link: None,
            inbox: vec![0; INBOX].into_boxed_slice(),
            filled: 0,
            began: Instant::now(),
            member: 0,
            failed: 0,
            refused: 0,
            not_before: Nanos::ZERO,
            why: String::new(),
        })
    }

    pub fn now(&self) -> Nanos {
        // Nanoseconds of a process's life fit into 64 bits for 584 years.
        Nanos(self.began.elapsed().as_nanos() as u64)
    }

    /// The socket, for waiting for several clients at once.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.link.as_ref().map(|link| match &link.socket {
            Socket::Tcp(socket) => socket.as_fd(),
            Socket::Unix(socket) => socket.as_fd(),
        })
    }

    /// The member connected to, or tried next.
    pub fn address(&self) -> &str {
        &self.members[self.member].address
    }

    /// What went wrong last, in words.
    pub fn why(&self) -> &str {
        &self.why
    }

    /// Whether every member refused for good.
    pub fn is_hopeless(&self) -> bool {
        self.refused >= self.members.len()
    }

    /// Steps until the client is served.
    pub fn connect(&mut self, timeout: Duration) -> Result<(), ConnectError> {
        let until = self.now().plus(nanos(timeout));
        loop {
            let served = if self.needs_session { self.core.is_ready() } else { self.core.is_signed_in() };
            let now = self.now();
            if served {
                return Ok(());
            } else if self.is_hopeless() {
                return Err(ConnectError::Refused(self.why.clone()));
            } else if now >= until {
                return Err(ConnectError::Timeout(self.why.clone()));
            }
            self.step(Duration::from_nanos(until.since(now)), &mut |_| {});
        }
    }

    /// Connects if need be, sends what waits, waits at most `wait` for bytes from the node, and hands on
    /// what they say.
    pub fn step(&mut self, wait: Duration, on: &mut impl FnMut(Event<'_>)) {
        if !self.core.is_connected() && !self.reconnect(wait) {
            return;
        }
        let mut on = |event: Event<'_>, ends: &mut Ends| {
            ends.watch(&event);
            on(event);
        };
        let mut ends = Ends { needs_session: self.needs_session, ..Ends::default() };
        let now = self.now();
        self.core.tick(now, &mut |event| on(event, &mut ends));
        let moved = self.core.is_connected().then(|| self.write().and_then(|()| self.read(wait)));
        if self.filled > 0 && self.core.is_connected() {
            let now = self.now();
            let taken = self.core.receive(now, &self.inbox[..self.filled], &mut |event| on(event, &mut ends));
            self.inbox.copy_within(taken..self.filled, 0);
            self.filled -= taken;
        }
        if let Some(Err(error)) = moved {
            self.core.disconnected(&mut |event| on(event, &mut ends));
            self.why = format!("{}: {error}", self.members[self.member].address);
        }
        self.settle(ends);
    }

    /// Sends what waits.
    pub fn flush(&mut self) {
        if self.core.is_connected() {
            // The next read meets the same error.
            let _ = self.write();
        }
    }

    /// Draws consequences from what happened.
    fn settle(&mut self, ends: Ends) {
        if ends.served {
            (self.failed, self.refused) = (0, 0);
        }
        let now = self.now();
        if ends.signed_in {
            self.asked = now;
        }
        if let Some(page) = ends.page {
            self.take_page(page);
        } else if self.discover && self.core.is_signed_in() && now.since(self.asked) >= self.discover_again {
            (self.asked, self.roster) = (now, Roster::default());
            self.ask_members(NodeId(0));
        }
        let Some((why, leader, is_final)) = ends.ending else { return };
        if !why.is_empty() {
            self.why = format!("{}: {why}", self.members[self.member].address);
        }
        // In a row: where one of them may serve later, there is hope.
        self.refused = if is_final { self.refused + 1 } else { 0 };
        self.give_up(leader);
    }

    /// With no room for the question, the next connection asks it.
    fn ask_members(&mut self, first: NodeId) {
        let _ = self.core.discover(first);
    }

    /// Learns who is new at once, since the connection may end before the next page, and who is gone once all are told.
    fn take_page(&mut self, page: Page) {
        page.1.iter().for_each(|seat| self.know(&seat.member));
        if let Some(first) = self.roster.take(page) {
            self.ask_members(first);
        } else if self.roster.is_whole() {
            self.learn();
        }
    }

    /// The same address with another key is another node: one that was replaced in its place.
    fn know(&mut self, Told { client, key, .. }: &Told) {
        let is_same = |known: &Member| {
            known.address == *client && known.key.is_none_or(|known| known == PublicKey(*key))
        };
        let is_known = self.members.iter().any(is_same);
        if !is_known && !client.is_empty() && self.members.len() < self.named + TOLD_MAX {
            self.members.push(Member { address: client.clone(), key: Some(PublicKey(*key)) });
        }
    }

    /// Replaces what the cluster told before. Who was named stays: it may be behind another address. So does whoever
    /// says so, though it may not count itself among them.
    fn learn(&mut self) {
        let current = self.members[self.member].clone();
        self.members.truncate(self.named);
        for Seat { member, .. } in std::mem::take(&mut self.roster).members {
            self.know(&member);
        }
        let place = self.members.iter().position(|member| *member == current);
        self.member = place.unwrap_or_else(|| {
            self.members.push(current);
            self.members.len() - 1
        });
    }

    /// Turns to the next member, or to the leader if it is known.
    fn give_up(&mut self, leader: Option<String>) {
        (self.link, self.filled) = (None, 0);
        self.roster = Roster::default();
        let named =
            leader.and_then(|leader| self.members.iter().rposition(|member| member.address == leader));
        self.member = named.unwrap_or((self.member + 1) % self.members.len());
        self.failed += 1;
        if self.failed.is_multiple_of(self.members.len()) {
            self.not_before = self.now().plus(nanos(self.pause));
        }
    }

    fn reconnect(&mut self, wait: Duration) -> bool {
        let rest = Duration::from_nanos(self.not_before.since(self.now()));
        if !rest.is_zero() {
            std::thread::sleep(rest.min(wait));
            return false;
        }
        let Member { address, key } = &self.members[self.member];
        let mut nonce = [0; 32];
        let opened = match getrandom::fill(&mut nonce) {
            Ok(()) => Socket::open(address, self.connect_timeout),
            Err(error) => Err(io::Error::other(format!("the system gives no random bytes: {error}"))),
        };
        let link = opened.and_then(|socket| {
            socket.set_nonblocking(true)?;
            Ok(Link { socket, wait: Duration::ZERO })
        });
        match link {
            Ok(link) => {
                self.link = Some(link);
                let (now, key) = (self.now(), *key);
                self.core.connected(now, nonce, key);
                true
            }
            Err(error) => {
                self.why = format!("{address}: {error}");
                self.refused = 0;
                self.give_up(None);
                false
            }
        }
    }

    fn write(&mut self) -> io::Result<()> {
        let link = self.link.as_mut().expect("the core is connected");
        let now = Nanos(self.began.elapsed().as_nanos() as u64);
        loop {
            let bytes = self.core.outgoing(now);
            if bytes.is_empty() {
                return Ok(());
            }
            match link.socket.write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => self.core.sent(written),
                Err(error) if waits(&error) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    fn read(&mut self, wait: Duration) -> io::Result<()> {
        let now = self.now();
        let link = self.link.as_mut().expect("the core is connected");
        let deadline = self
            .core
            .next_deadline()
            .map_or(wait, |deadline| wait.min(Duration::from_nanos(deadline.since(now)).max(SHORTEST)));
        link.set_wait(deadline)?;
        match link.socket.read(&mut self.inbox[self.filled..]) {
            Ok(0) => Err(io::Error::new(ErrorKind::UnexpectedEof, "the node closed the connection")),
            Ok(read) => {
                self.filled += read;
                Ok(())
            }
            Err(error) if waits(&error) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// What a node tells of the members at once.
type Page = (RosterHead, Vec<Seat>);

/// The members as a node tells them, in pages.
#[derive(Debug, Default)]
struct Roster {
    version: u64,
    /// Members in all, 0 before the first page.
    all: usize,
    members: Vec<Seat>,
}

impl Roster {
    /// Takes a page; says from which number on to ask for the next, if there is one. Pages that contradict each
    /// other are forgotten: the next connection asks again.
    fn take(&mut self, page: Page) -> Option<NodeId> {
        let (head, members) = page;
        let last = members.last().map(|seat| seat.member.id)?;
        if self.all > 0 && self.version != head.version.get() {
            *self = Self::default();
            return None;
        }
        (self.version, self.all) = (head.version.get(), head.members.get() as usize);
        self.members.extend(members);
        (self.members.len() < self.all).then_some(NodeId(last.0.saturating_add(1)))
    }

    fn is_whole(&self) -> bool {
        self.all > 0 && self.members.len() == self.all
    }
}

/// What a step's events mean for the connection.
#[derive(Default)]
struct Ends {
    needs_session: bool,
    served: bool,
    signed_in: bool,
    page: Option<Page>,
    /// Why it ended, which leader was named, and whether trying again is useless.
    ending: Option<(String, Option<String>, bool)>,
}

impl Ends {
    fn watch(&mut self, event: &Event<'_>) {
        match event {
            Event::SessionOpened(_) | Event::SessionResumed(_) => self.served = true,
            Event::SignedIn { .. } => {
                self.signed_in = true;
                self.served |= !self.needs_session;
            }
            Event::Members(page) => self.page = roster::read_page(page),
            Event::Disconnected(ending) => {
                // The shell itself knows better why a socket closed.
                let why = if *ending == Ending::Closed { String::new() } else { ending.to_string() };
                let leader = match ending {
                    Ending::Elsewhere { leader, .. } => Some((*leader).to_owned()),
                    _ => None,
                };
                self.ending = Some((why, leader, ending.is_final()));
            }
            _ => {}
        }
    }
}

fn waits(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
