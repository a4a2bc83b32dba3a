//! Sockets of the two kinds that nodes listen on, and what a connection attempt needs to know.

use crate::core::{Identity, ProtocolError};
use ordain_keys::{KeyPair, PublicKey};
use ordain_types::codes::Code;
use ordain_types::{ClusterId, Nanos};
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::{Duration, Instant};

/// Where a node listens: `HOST:PORT` or `unix:PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// TCP.
    Tcp(String),
    /// A Unix socket on this machine.
    Unix(PathBuf),
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Self::Unix(path.into()));
        }
        match text.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
                Ok(Self::Tcp(text.to_owned()))
            }
            _ => Err(format!("`{text}` is no address: write HOST:PORT or unix:PATH")),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(text) => f.write_str(text),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// How to reach a cluster, and as whom.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// Its members, tried in turn.
    pub addresses: Vec<Address>,
    /// The client's key.
    pub key: KeyPair,
    /// The cluster meant; zeros for any.
    pub cluster: ClusterId,
    /// The key that the node must have, if known.
    pub node: Option<PublicKey>,
    /// How long to go on trying to connect, and to wait for an answer, before giving up.
    pub timeout: Duration,
}

impl ClientConfig {
    /// One address, any cluster, five seconds' patience.
    #[must_use]
    pub fn new(address: Address, key: KeyPair) -> Self {
        let timeout = Duration::from_secs(5);
        Self { addresses: vec![address], key, cluster: ClusterId::default(), node: None, timeout }
    }

    pub(crate) fn identity(&self) -> Identity {
        Identity { key: self.key.clone(), cluster: self.cluster, node: self.node }
    }
}

/// Why a client cannot go on.
#[derive(Debug)]
pub enum ClientError {
    /// No member could be reached in time; the last attempt's error.
    Unreachable(String),
    /// The node does not keep to the protocol, or is not who it should be.
    Protocol(ProtocolError),
    /// The node turned the client away for good.
    Refused(Code, String),
    /// No answer came in time. The request stays open: wait again.
    TimedOut,
    /// The payload is longer than the cluster takes.
    TooLong {
        /// Bytes that it takes.
        max: usize,
    },
    /// The session ended; whether its open requests were executed cannot be learned any more.
    SessionLost(Code),
    /// A query was refused.
    QueryRefused(Code),
    /// A subscription was refused.
    NotSubscribed(Code),
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(error) => {
                write!(f, "no node could be reached: {error}. Check the addresses and that a node runs there")
            }
            Self::Protocol(error) => write!(f, "{error}"),
            Self::Refused(code, why) => write!(f, "the node refuses the connection ({code:?}): {why}"),
            Self::TimedOut => write!(f, "no answer came in time. The request stays open: wait longer"),
            Self::TooLong { max } => write!(f, "the payload is too long: this cluster takes {max} bytes"),
            Self::SessionLost(code) => write!(
                f,
                "the session ended ({code:?}): whether its open requests were executed cannot be learned any more"
            ),
            Self::QueryRefused(code) => write!(f, "the query was refused ({code:?})"),
            Self::NotSubscribed(code) => write!(f, "the subscription was refused ({code:?})"),
        }
    }
}

impl std::error::Error for ClientError {}

/// A connected socket.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    /// Connects within `timeout`, and makes reads and writes return at once where they cannot go on.
    pub fn connect(address: &Address, timeout: Duration) -> io::Result<Self> {
        match address {
            Address::Tcp(text) => {
                let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
                for address in text.to_socket_addrs()? {
                    match TcpStream::connect_timeout(&address, timeout.max(Duration::from_millis(1))) {
                        Ok(stream) => {
                            stream.set_nodelay(true)?;
                            return Ok(Self::Tcp(stream));
                        }
                        Err(error) => last = error,
                    }
                }
                Err(last)
            }
            Address::Unix(path) => Ok(Self::Unix(UnixStream::connect(path)?)),
        }
    }

    pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.set_nonblocking(nonblocking),
            Self::Unix(stream) => stream.set_nonblocking(nonblocking),
        }
    }

    /// Waits until something can be read, or for at most `timeout`.
    pub fn wait_readable(&mut self, timeout: Duration) -> io::Result<()> {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        use std::os::fd::AsFd;
        let fd = self.as_fd();
        let timeout = Timespec {
            tv_sec: timeout.as_secs().min(3600) as i64,
            tv_nsec: i64::from(timeout.subsec_nanos()),
        };
        poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&timeout))?;
        Ok(())
    }

    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
        }
    }

    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
        }
    }
}

impl std::os::fd::AsFd for Socket {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}

/// The shell's clock: nanoseconds since it was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub fn new() -> Self {
        Self(Instant::now())
    }

    pub fn now(&self) -> Nanos {
        Nanos(self.0.elapsed().as_nanos() as u64)
    }
}

pub(crate) fn nonce() -> Result<[u8; 32], ClientError> {
    let mut nonce = [0; 32];
    getrandom::fill(&mut nonce)
        .map_err(|error| ClientError::Unreachable(format!("the system gives no random bytes: {error}")))?;
    Ok(nonce)
}

/// Received bytes that are not consumed: contiguous, compacted when the end is reached.
#[derive(Debug)]
pub(crate) struct Inbox {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Inbox {
    pub fn new(size: usize) -> Self {
        Self { bytes: vec![0; size], start: 0, end: 0 }
    }

    pub fn clear(&mut self) {
        (self.start, self.end) = (0, 0);
    }

    pub fn unread(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    pub fn consume(&mut self, bytes: usize) {
        self.start += bytes;
        if self.start == self.end {
            self.clear();
        }
    }

    /// Space to read into, at least half of all.
    pub fn space(&mut self) -> &mut [u8] {
        if self.bytes.len() - self.end < self.bytes.len() / 2 {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        &mut self.bytes[self.end..]
    }

    pub fn filled(&mut self, bytes: usize) {
        self.end += bytes;
    }
}
