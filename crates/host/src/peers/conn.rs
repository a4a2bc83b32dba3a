//! A connection between nodes: bytes in both directions, and the messages of its handshake.

use super::{COMPACT, DEAD_AFTER, RECV, SEND_KEPT, SEND_MAX};
use ordain_agent::framing::{Damage, Framing};
use ordain_keys::{PeerChallenge, PeerHello, PeerProof, Refusal, Versions};
use rustix::buffer::spare_capacity;
use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags, sockopt};
use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, little_endian::U16};

/// What begins every message of a handshake. Never changes its layout: versions meet here.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct ShakeHeader {
    pub(super) magic: [u8; 4],
    pub(super) version: U16,
    pub(super) kind: u8,
    /// Of a refusal; else 0.
    pub(super) code: u8,
}

pub(super) const MAGIC: [u8; 4] = *b"OrdP";
pub(super) const HEADER: usize = size_of::<ShakeHeader>();

pub(super) mod kind {
    pub const HELLO: u8 = 1;
    pub const CHALLENGE: u8 = 2;
    pub const PROOF: u8 = 3;
    pub const ACCEPTED: u8 = 4;
    pub const REFUSED: u8 = 5;
}

/// A message of a handshake.
#[derive(Debug)]
pub(super) enum Shake {
    Hello(PeerHello),
    Challenge(PeerChallenge),
    Proof(PeerProof),
    Accepted,
    /// Why, and the newest version that the other end speaks.
    Refused(u8, u16),
}

/// The first message in `bytes` and its length; `None` if it is not whole.
///
/// `Err(Some)`: a refusal is due; `Err(None)`: whoever this is, it is no node.
/// A hello is understood whatever the version in front of it: what both speak is found from what it says.
pub(super) fn parse(bytes: &[u8], versions: Versions) -> Result<Option<(Shake, usize)>, Option<Refusal>> {
    let Ok((header, rest)) = ShakeHeader::ref_from_prefix(bytes) else { return Ok(None) };
    if header.magic != MAGIC {
        return Err(None);
    }
    // A refusal is understood whatever the version.
    if header.kind == kind::REFUSED {
        return Ok(Some((Shake::Refused(header.code, header.version.get()), HEADER)));
    }
    if header.kind != kind::HELLO && !versions.has(header.version.get()) {
        return Err(Some(Refusal::Version));
    }
    pub(super) fn body<T: FromBytes + KnownLayout + Immutable + Unaligned + Copy>(
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
pub(super) struct Conn {
    pub(super) fd: OwnedFd,
    pub(super) token: u64,
    /// What this node speaks, and what it speaks here: its newest until both have agreed.
    pub(super) versions: Versions,
    pub(super) version: u16,
    pub(super) received: Vec<u8>,
    /// Bytes of `received` that are used up.
    pub(super) consumed: usize,
    pub(super) outgoing: Vec<u8>,
    /// Bytes of `outgoing` that the kernel has.
    pub(super) sent: usize,
    /// The kernel may have bytes, an end or an error for us.
    pub(super) readable: bool,
    /// The other end has ended its side: what it sent can still be read.
    pub(super) ending: bool,
    /// The kernel took everything we gave it so far.
    pub(super) writable: bool,
    /// Nothing more can be received or sent.
    pub(super) broken: bool,
}

impl Conn {
    pub(super) fn new(fd: OwnedFd, token: u64, recv: usize, versions: Versions) -> Self {
        Self {
            fd,
            token,
            versions,
            version: versions.newest.get(),
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

    pub(super) fn note(&mut self, flags: EventFlags) {
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
    pub(super) const fn is_over(&self) -> bool {
        self.broken || self.ending
    }

    pub(super) fn unread(&self) -> &[u8] {
        &self.received[self.consumed..]
    }

    /// One read, while `readable`. Says whether bytes came.
    pub(super) fn read(&mut self) -> bool {
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
    pub(super) fn room(&self) -> usize {
        if self.broken { 0 } else { SEND_MAX - (self.outgoing.len() - self.sent) }
    }

    /// Sends `parts`, in place as far as the kernel takes them; the caller has looked for room. An error shows
    /// as `broken`.
    pub(super) fn send<const N: usize>(&mut self, parts: [&[u8]; N]) {
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

    pub(super) fn flush(&mut self) {
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

    pub(super) fn shake(&mut self, kind: u8, code: u8, body: &[u8]) {
        let header = ShakeHeader { magic: MAGIC, version: self.version.into(), kind, code };
        self.send([header.as_bytes(), body]);
    }

    /// The next message of a handshake, after what can be read was read.
    pub(super) fn next_shake(&mut self) -> Result<Option<Shake>, Option<Refusal>> {
        loop {
            if let Some((message, length)) = parse(self.unread(), self.versions)? {
                self.consumed += length;
                return Ok(Some(message));
            }
            if self.broken || !self.readable {
                return Ok(None);
            }
            self.read();
        }
    }

    /// What stands in front of frames, when the handshake is done.
    pub(super) const fn framing(&self) -> Framing {
        Framing::of(self.version)
    }

    /// Length of the whole frame at the front, behind its prefix; `Err` if nobody sent it so.
    pub(super) fn frame(&self) -> Result<Option<usize>, Damage> {
        self.framing().first(self.unread())
    }

    /// Makes room for frames, when the handshake is done.
    pub(super) fn widen(&mut self) {
        let mut received = Vec::with_capacity(RECV);
        received.extend_from_slice(self.unread());
        (self.received, self.consumed) = (received, 0);
        self.readable = true;
    }
}

/// What every connection between nodes has.
pub(super) fn set_up(fd: &OwnedFd) -> io::Result<()> {
    sockopt::set_tcp_nodelay(fd, true)?;
    // Where nothing is sent, probes are; either way the other end confirms in time or is dead.
    sockopt::set_socket_keepalive(fd, true)?;
    sockopt::set_tcp_keepidle(fd, DEAD_AFTER / 2)?;
    sockopt::set_tcp_keepintvl(fd, DEAD_AFTER / 2)?;
    sockopt::set_tcp_user_timeout(fd, DEAD_AFTER.as_millis() as u32)?;
    Ok(())
}
