//! Client connections over TCP and Unix sockets, for one thread, by edge-triggered epoll.
//!
//! A connection is registered once. What the kernel reported and has not been used up is kept as flags, so
//! a busy connection costs one read per poll and one write per flush, and an idle one nothing.
//!
//! A peer that ends its sending side is gone for the port: what it sent is reported first, `Closed` at a
//! later poll. A client that wants its answers keeps its side open.

use crate::doorbell::Doorbell;
use ordain_agent::net::{ConnId, Net, NetEvent};
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{SendFlags, SocketFlags};
use std::collections::VecDeque;
use std::fmt;
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Receive buffer of a connection, bytes of address space; memory follows use. Several reads' worth, and
/// more than [`COMPACT`] and the longest frame together.
const RECV: usize = 256 * 1024;

/// Less room than this behind the received bytes, and they move to the front, once as much lies unused
/// there: each byte received moves at most (RECV - COMPACT) / COMPACT = 3 times.
const COMPACT: usize = 64 * 1024;

const _: () =
    assert!(RECV - 2 * COMPACT >= ordain_types::record::record_len(ordain_types::record::PAYLOAD_MAX));

/// A send buffer that grew beyond this for a slow reader is given back when it is empty.
const SEND_KEPT: usize = 64 * 1024;

/// Kernel events taken per poll; the others wait in the kernel for the next.
const EVENTS: usize = 128;

/// Connections accepted per poll, so that a flood of them does not keep the thread from its work.
const ACCEPTS: usize = 64;

/// Rest from accepting after the process or the system ran out of descriptors or memory.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// Connections waiting in the kernel to be accepted.
const BACKLOG: i32 = 1024;

const INPUT: EventFlags = EventFlags::IN.union(EventFlags::RDHUP);

/// Token of listener `n` is `LISTENER + n`; slots never get this high.
const LISTENER: u64 = u64::MAX - 0xff;

/// What an [`EpollNet`] listens on and how much it takes.
#[derive(Clone, Debug)]
pub struct NetOptions {
    /// TCP addresses to listen on.
    pub tcp: Vec<SocketAddr>,
    /// Paths of Unix sockets to listen on. A socket file that nobody listens on any more is replaced.
    pub unix: Vec<PathBuf>,
    /// Connections at a time; more are accepted and closed at once.
    pub connections_max: usize,
    /// Bytes that may wait for a slow reader, per connection.
    pub send_max: usize,
}

impl Default for NetOptions {
    fn default() -> Self {
        Self { tcp: Vec::new(), unix: Vec::new(), connections_max: 1024, send_max: 4 << 20 }
    }
}

/// Why the network is not available.
#[derive(Debug)]
pub struct ListenError {
    address: String,
    error: std::io::Error,
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, error } = self;
        write!(f, "cannot listen on {address}: {error}. Choose another address, or stop who uses it")
    }
}

impl std::error::Error for ListenError {}

#[derive(Debug)]
enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, PathBuf),
}

impl Listener {
    fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Unix(listener, _) => listener.as_fd(),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Self::Unix(_, path) = self {
            // Left behind it does no harm: the next start replaces it.
            let _ = std::fs::remove_file(path);
        }
    }
}

#[derive(Debug)]
struct Conn {
    fd: OwnedFd,
    received: Vec<u8>,
    /// Bytes of `received` that are consumed.
    consumed: usize,
    outgoing: Vec<u8>,
    /// Bytes of `outgoing` that the kernel has.
    sent: usize,
    /// The kernel may have bytes, an end or an error for us.
    readable: bool,
    /// The peer has ended its side; the end comes when its bytes are read.
    ending: bool,
    /// The kernel took everything we gave it so far.
    writable: bool,
    /// Room for sending is reported by the kernel. Asked for when a reader is first found to be slow,
    /// because a Unix socket reports it with every read of its peer.
    watches_room: bool,
    /// Nothing more can be received or sent: `Closed` is due.
    broken: bool,
    /// In the list of connections to look at.
    listed: bool,
    /// In the list of connections to flush.
    dirty: bool,
}

impl Conn {
    fn new(fd: OwnedFd) -> Self {
        Self {
            fd,
            received: Vec::with_capacity(RECV),
            consumed: 0,
            outgoing: Vec::new(),
            sent: 0,
            readable: false,
            ending: false,
            writable: true,
            watches_room: false,
            broken: false,
            listed: false,
            dirty: false,
        }
    }

    /// Moves received bytes to the front where that is worth it, and says how many can be read.
    fn room(&mut self) -> usize {
        if self.consumed == self.received.len() {
            self.received.clear();
            self.consumed = 0;
        } else if self.received.capacity() - self.received.len() < COMPACT && self.consumed >= COMPACT {
            self.received.drain(..self.consumed);
            self.consumed = 0;
        }
        self.received.capacity() - self.received.len()
    }

    /// One read. Says whether bytes came.
    fn read(&mut self) -> bool {
        let room = self.room();
        if room == 0 {
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

    /// Gives the kernel what it takes. Says whether it would take no more.
    fn write(&mut self) -> bool {
        while self.sent < self.outgoing.len() {
            match rustix::net::send(&self.fd, &self.outgoing[self.sent..], SendFlags::NOSIGNAL) {
                Ok(bytes) => self.sent += bytes,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    self.writable = false;
                    return true;
                }
                Err(_) => {
                    self.broken = true;
                    return false;
                }
            }
        }
        self.sent = 0;
        self.outgoing.clear();
        if self.outgoing.capacity() > SEND_KEPT {
            self.outgoing = Vec::new();
        }
        false
    }
}

#[derive(Debug, Default)]
struct Slot {
    generation: u32,
    conn: Option<Conn>,
}

/// Client connections; see the module.
#[derive(Debug)]
pub struct EpollNet {
    epoll: OwnedFd,
    bell: Arc<Doorbell>,
    listeners: Vec<Listener>,
    /// Bit `n`: listener `n` may have connections waiting.
    waiting: u8,
    accepting: bool,
    resting_until: Option<Instant>,
    /// Whether the refusal of connections beyond the bound was logged since it was last below.
    full: bool,
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Slots to look at; each live connection at most once.
    ready: VecDeque<u32>,
    /// Slots to flush; each live connection at most once.
    dirty: Vec<u32>,
    options: NetOptions,
}

impl EpollNet {
    /// Listens. `bell` is that of the thread on which the port will be polled.
    ///
    /// # Errors
    /// [`ListenError`].
    ///
    /// # Panics
    /// With more than eight addresses.
    pub fn new(options: NetOptions, bell: &Arc<Doorbell>) -> Result<Self, ListenError> {
        let at = |address: String| move |error: std::io::Error| ListenError { address, error };
        let epoll = epoll::create(CreateFlags::CLOEXEC).map_err(|error| at("epoll".into())(error.into()))?;
        bell.watch_clients(&epoll).map_err(at("epoll".into()))?;
        let mut listeners = Vec::new();
        for address in &options.tcp {
            listeners.push(listen_tcp(*address).map_err(at(address.to_string()))?);
        }
        for path in &options.unix {
            listeners.push(listen_unix(path.clone()).map_err(at(path.display().to_string()))?);
        }
        assert!(listeners.len() <= 8, "at most eight addresses");
        for (token, listener) in (LISTENER..).zip(&listeners) {
            epoll::add(&epoll, listener.fd(), EventData::new_u64(token), EventFlags::IN | EventFlags::ET)
                .map_err(|error| at("epoll".into())(error.into()))?;
        }
        Ok(Self {
            epoll,
            bell: bell.clone(),
            listeners,
            waiting: 0,
            accepting: true,
            resting_until: None,
            full: false,
            slots: Vec::new(),
            free: Vec::new(),
            ready: VecDeque::new(),
            dirty: Vec::new(),
            options,
        })
    }

    /// The TCP addresses listened on, with the ports that the system chose where 0 was asked for.
    #[must_use]
    pub fn tcp_addresses(&self) -> Vec<SocketAddr> {
        let address = |listener: &Listener| match listener {
            Listener::Tcp(listener) => listener.local_addr().ok(),
            Listener::Unix(..) => None,
        };
        self.listeners.iter().filter_map(address).collect()
    }

    fn conn(&self, id: ConnId) -> Option<&Conn> {
        let (slot, generation) = (id.0 as u32, (id.0 >> 32) as u32);
        self.slots.get(slot as usize).filter(|held| held.generation == generation)?.conn.as_ref()
    }

    fn conn_mut(&mut self, id: ConnId) -> Option<(u32, &mut Conn)> {
        let (slot, generation) = (id.0 as u32, (id.0 >> 32) as u32);
        let held = self.slots.get_mut(slot as usize).filter(|held| held.generation == generation)?;
        Some((slot, held.conn.as_mut()?))
    }

    fn id(&self, slot: u32) -> ConnId {
        ConnId(u64::from(self.slots[slot as usize].generation) << 32 | u64::from(slot))
    }

    fn open_count(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Drops the connection in `slot`; its id comes back after 2^32 others. Its places in the lists stay
    /// and are found empty, or taken by a successor, which is then looked at once for nothing.
    fn release(&mut self, slot: u32) {
        let held = &mut self.slots[slot as usize];
        held.conn = None;
        held.generation = held.generation.wrapping_add(1);
        self.free.push(slot);
        self.resting_until = None;
    }

    fn take_kernel_events(&mut self) {
        let mut events = [MaybeUninit::uninit(); EVENTS];
        let no_wait = Timespec { tv_sec: 0, tv_nsec: 0 };
        // An interrupted wait is repeated by the next poll.
        let Ok((events, _)) = epoll::wait(&self.epoll, &mut events, Some(&no_wait)) else { return };
        for event in events {
            let (flags, token) = (event.flags, event.data.u64());
            if token >= LISTENER {
                self.waiting |= 1 << (token - LISTENER);
                continue;
            }
            let Some((slot, conn)) = self.conn_mut(ConnId(token)) else { continue };
            let (mut list, mut flush) = (false, false);
            conn.broken |= flags.contains(EventFlags::ERR);
            let look = flags.intersects(INPUT | EventFlags::HUP | EventFlags::ERR);
            conn.readable |= look;
            conn.ending |= flags.intersects(EventFlags::RDHUP | EventFlags::HUP);
            if look {
                list = !std::mem::replace(&mut conn.listed, true);
            }
            if flags.contains(EventFlags::OUT) {
                conn.writable = true;
                flush = !conn.outgoing.is_empty() && !std::mem::replace(&mut conn.dirty, true);
            }
            if list {
                self.ready.push_back(slot);
            }
            if flush {
                self.dirty.push(slot);
            }
        }
    }

    fn accept_waiting(&mut self, events: &mut Vec<NetEvent>, limit: usize) -> usize {
        if self.waiting == 0 || !self.accepting {
            return 0;
        }
        if let Some(until) = self.resting_until {
            if Instant::now() < until {
                return 0;
            }
            self.resting_until = None;
        }
        let mut opened = 0;
        for _ in 0..ACCEPTS {
            if self.waiting == 0 || opened == limit {
                return opened;
            }
            let at = self.waiting.trailing_zeros() as usize;
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            match rustix::net::accept_with(self.listeners[at].fd(), flags) {
                Ok(fd) => {
                    let tcp = matches!(self.listeners[at], Listener::Tcp(_));
                    if let Some(id) = self.take_in(fd, tcp) {
                        events.push(NetEvent::Opened(id));
                        opened += 1;
                    }
                }
                Err(Errno::AGAIN) => self.waiting &= !(1 << at),
                Err(error @ (Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS)) => {
                    tracing::warn!(
                        %error, connections = self.open_count(),
                        "cannot accept connections for a moment; raise the limit of open files (ulimit -n)"
                    );
                    self.resting_until = Some(Instant::now() + ACCEPT_REST);
                    return opened;
                }
                // The connection broke before it was accepted (ECONNABORTED and the network's errors).
                Err(_) => {}
            }
        }
        // More may wait, though all of these may have been refused: no reason to sleep.
        self.bell.ring();
        opened
    }

    fn take_in(&mut self, fd: OwnedFd, tcp: bool) -> Option<ConnId> {
        if self.open_count() >= self.options.connections_max {
            if !std::mem::replace(&mut self.full, true) {
                let bound = self.options.connections_max;
                tracing::warn!(bound, "connections beyond the bound are closed; raise connections-max");
            }
            return None;
        }
        self.full = false;
        if tcp {
            // Refused only where the peer is gone already, which the first read shows.
            let _ = rustix::net::sockopt::set_tcp_nodelay(&fd, true);
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            self.slots.len() as u32 - 1
        });
        let id = self.id(slot);
        if let Err(error) = epoll::add(&self.epoll, &fd, EventData::new_u64(id.0), INPUT | EventFlags::ET) {
            tracing::warn!(%error, "a connection cannot be watched and is closed");
            self.free.push(slot);
            return None;
        }
        self.slots[slot as usize].conn = Some(Conn::new(fd));
        Some(id)
    }

    /// Looks at listed connections, each at most once.
    fn look(&mut self, events: &mut Vec<NetEvent>, limit: usize) -> usize {
        let mut found = 0;
        for _ in 0..self.ready.len() {
            if found == limit {
                break;
            }
            let Some(slot) = self.ready.pop_front() else { break };
            let id = self.id(slot);
            let Some(conn) = self.slots[slot as usize].conn.as_mut() else { continue };
            conn.listed = false;
            let received = !conn.broken && conn.readable && conn.read();
            if conn.broken {
                events.push(NetEvent::Closed(id));
                found += 1;
                self.release(slot);
                continue;
            }
            // A connection without room is listed again when bytes are consumed.
            if conn.readable && conn.room() > 0 {
                conn.listed = true;
                self.ready.push_back(slot);
            }
            if received {
                events.push(NetEvent::Received(id));
                found += 1;
            }
        }
        found
    }

    /// Lists a connection from outside a poll. The thread must then not sleep until the next one.
    fn list(&mut self, slot: u32) {
        if let Some(conn) = self.slots[slot as usize].conn.as_mut()
            && !std::mem::replace(&mut conn.listed, true)
        {
            self.ready.push_back(slot);
            self.bell.ring();
        }
    }
}

impl Net for EpollNet {
    fn poll(&mut self, events: &mut Vec<NetEvent>, limit: usize) -> usize {
        self.take_kernel_events();
        self.flush();
        let opened = self.accept_waiting(events, limit);
        opened + self.look(events, limit - opened)
    }

    fn received(&self, conn: ConnId) -> &[u8] {
        self.conn(conn).map_or(&[], |conn| &conn.received[conn.consumed..])
    }

    fn consume(&mut self, conn: ConnId, bytes: usize) {
        let Some((slot, conn)) = self.conn_mut(conn) else { return };
        assert!(bytes <= conn.received.len() - conn.consumed, "consumed more than was received");
        conn.consumed += bytes;
        if conn.readable && !conn.listed && conn.room() > 0 {
            self.list(slot);
        }
    }

    fn send_room(&self, conn: ConnId) -> usize {
        let room = |conn: &Conn| self.options.send_max - (conn.outgoing.len() - conn.sent);
        self.conn(conn).filter(|conn| !conn.broken).map_or(0, room)
    }

    fn send(&mut self, conn: ConnId, bytes: &[u8]) -> bool {
        if bytes.len() > self.send_room(conn) {
            return false;
        }
        let Some((slot, conn)) = self.conn_mut(conn) else { return false };
        if conn.broken {
            return false;
        }
        // Half of the buffer is sent: forget it, at most one move per byte.
        if conn.sent > conn.outgoing.len() / 2 {
            conn.outgoing.drain(..conn.sent);
            conn.sent = 0;
        }
        conn.outgoing.extend_from_slice(bytes);
        if conn.writable && !std::mem::replace(&mut conn.dirty, true) {
            self.dirty.push(slot);
        }
        true
    }

    fn flush(&mut self) {
        while let Some(slot) = self.dirty.pop() {
            let held = &mut self.slots[slot as usize];
            let Some(conn) = held.conn.as_mut() else { continue };
            conn.dirty = false;
            let slow = !conn.broken && conn.write();
            if slow && !std::mem::replace(&mut conn.watches_room, true) {
                let interest = INPUT | EventFlags::OUT | EventFlags::ET;
                let id = ConnId(u64::from(held.generation) << 32 | u64::from(slot));
                conn.broken |=
                    epoll::modify(&self.epoll, &conn.fd, EventData::new_u64(id.0), interest).is_err();
            }
            if conn.broken {
                self.list(slot);
            }
        }
    }

    fn close(&mut self, conn: ConnId) {
        if let Some((slot, conn)) = self.conn_mut(conn) {
            if !conn.broken {
                conn.write();
                // Unread bytes would make the kernel reset the connection and drop what we just sent.
                conn.received.clear();
                let _ = rustix::io::read(&conn.fd, spare_capacity(&mut conn.received));
            }
            self.release(slot);
        }
    }

    fn accept(&mut self, accepting: bool) {
        self.accepting = accepting;
        if accepting {
            self.bell.ring();
        }
    }
}

fn listen_tcp(address: SocketAddr) -> std::io::Result<Listener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    // Listening again sets the backlog, which the standard library chooses smaller.
    rustix::net::listen(&listener, BACKLOG)?;
    Ok(Listener::Tcp(listener))
}

fn listen_unix(path: PathBuf) -> std::io::Result<Listener> {
    use std::os::unix::fs::FileTypeExt;
    let is_socket = std::fs::symlink_metadata(&path).is_ok_and(|found| found.file_type().is_socket());
    if is_socket && UnixStream::connect(&path).is_err() {
        std::fs::remove_file(&path)?;
    }
    let listener = UnixListener::bind(&path)?;
    listener.set_nonblocking(true)?;
    rustix::net::listen(&listener, BACKLOG)?;
    Ok(Listener::Unix(listener, path))
}
