//! Many requests in flight on one connection, without waiting.

use crate::core::{ClientCore, Event, RequestId};
use crate::socket::{ClientConfig, ClientError, Clock, Inbox, Socket, nonce};
use ordain_types::codes::Code;
use ordain_types::{OutputSeq, SessionId, Stream};
use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

/// Bytes of the receive buffer: a thousand replies to a read.
const INBOX: usize = 256 * 1024;
/// Bytes submitted before they are written without being asked to.
const WRITE_AT: usize = 64 * 1024;
/// Shortest time between two attempts to connect.
const RETRY: Duration = Duration::from_millis(10);

/// A client whose calls never wait for an answer. It reconnects by itself.
#[derive(Debug)]
pub struct Client {
    config: ClientConfig,
    core: ClientCore,
    socket: Option<Socket>,
    inbox: Inbox,
    clock: Clock,
    /// The address tried next.
    turn: usize,
    try_at: Instant,
    /// Since when there is no signed-in connection, and what went wrong last.
    down: Option<(Instant, String)>,
    /// The node said so, or the session cannot be attached: the connection is given up.
    hang_up: Option<Code>,
}

impl Client {
    /// Connects, signs in and opens a session.
    ///
    /// # Errors
    /// [`ClientError`] if that does not come about within the configured time.
    pub fn connect(config: ClientConfig) -> Result<Self, ClientError> {
        let mut client = Self {
            core: ClientCore::new(config.identity()),
            config,
            socket: None,
            inbox: Inbox::new(INBOX),
            clock: Clock::new(),
            turn: 0,
            try_at: Instant::now(),
            down: Some((Instant::now(), "not tried yet".to_owned())),
            hang_up: None,
        };
        while !client.core.is_attached() {
            client.poll(|_| {})?;
            client.wait(Duration::from_millis(1));
        }
        Ok(client)
    }

    /// The session.
    #[must_use]
    pub const fn session(&self) -> Option<SessionId> {
        self.core.session()
    }

    /// Requests that are not answered.
    #[must_use]
    pub fn open_requests(&self) -> usize {
        self.core.open_requests()
    }

    /// Whether [`Client::submit`] takes another request now.
    #[must_use]
    pub fn has_window(&self) -> bool {
        self.core.has_window()
    }

    /// The protocol core, for what the shell does not wrap.
    pub const fn core(&mut self) -> &mut ClientCore {
        &mut self.core
    }

    /// Takes a request, or says `None` while as many are open as the cluster allows, or if the payload is
    /// too long for it. Nothing is written before [`Client::poll`] or [`Client::flush`], unless much has
    /// come together.
    pub fn submit(&mut self, schema: u8, payload: &[u8]) -> Option<RequestId> {
        let id = self.core.submit(schema, payload, self.clock.now());
        if self.core.outgoing().len() >= WRITE_AT {
            self.flush();
        }
        id
    }

    /// Asks a question; the id comes back with the answer.
    pub fn query(&mut self, schema: u8, payload: &[u8]) -> Option<u64> {
        self.core.query(schema, payload, self.clock.now())
    }

    /// Reads a stream from output `from` on, 0 for the next to come.
    pub fn subscribe(&mut self, stream: Stream, from: OutputSeq) {
        self.core.subscribe(stream, from);
    }

    /// Writes what was submitted, as far as the network takes it.
    pub fn flush(&mut self) {
        let Some(socket) = &mut self.socket else { return };
        while !self.core.outgoing().is_empty() {
            match socket.write(self.core.outgoing()) {
                Ok(0) => return self.hang(Code::Idle, "the connection closed"),
                Ok(bytes) => self.core.sent(bytes),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return self.hang(Code::Idle, &error.to_string()),
            }
        }
    }

    fn hang(&mut self, code: Code, why: &str) {
        self.hang_up = Some(code);
        let since = self.down.take().map_or_else(Instant::now, |(since, _)| since);
        self.down = Some((since, why.to_owned()));
    }

    /// Writes, reads, reconnects as needed, and reports what happened. Never waits, but for a new connection.
    ///
    /// # Errors
    /// [`ClientError`] if no member could be reached for the configured time, or the node turned the client
    /// away for good.
    pub fn poll(&mut self, mut on: impl FnMut(Event<'_>)) -> Result<(), ClientError> {
        if self.socket.is_none() {
            self.reconnect()?;
        }
        self.core.tick(self.clock.now());
        self.flush();
        self.receive(&mut on)?;
        self.flush();
        if self.hang_up.take().is_some() {
            self.socket = None;
            self.core.disconnected(&mut on);
        }
        Ok(())
    }

    fn receive(&mut self, on: &mut impl FnMut(Event<'_>)) -> Result<(), ClientError> {
        let Some(socket) = &mut self.socket else { return Ok(()) };
        let space = self.inbox.space();
        let room = space.len();
        let read = match socket.read(space) {
            Ok(0) => {
                self.hang(Code::Idle, "the node closed the connection");
                return Ok(());
            }
            Ok(bytes) => bytes,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => 0,
            Err(error) => {
                self.hang(Code::Idle, &error.to_string());
                return Ok(());
            }
        };
        debug_assert!(read <= room);
        self.inbox.filled(read);
        if read == 0 {
            return Ok(());
        }
        let mut goodbye = None;
        let mut attached = false;
        let now = self.clock.now();
        let used = self
            .core
            .receive(self.inbox.unread(), now, |event| {
                match event {
                    Event::Goodbye(code, why) => goodbye = Some((code, why.to_owned())),
                    Event::Attached(_) => attached = true,
                    _ => {}
                }
                on(event);
            })
            .map_err(ClientError::Protocol)?;
        self.inbox.consume(used);
        if attached {
            self.down = None;
        }
        match goodbye {
            Some((code @ (Code::Unauthenticated | Code::Unsupported | Code::Malformed), why)) => {
                Err(ClientError::Refused(code, why))
            }
            Some((code, why)) => {
                self.hang(code, &why);
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn reconnect(&mut self) -> Result<(), ClientError> {
        let now = Instant::now();
        let (since, why) = self.down.get_or_insert_with(|| (now, "the connection broke".to_owned()));
        let patience = self.config.timeout.saturating_sub(now.duration_since(*since));
        if patience.is_zero() {
            return Err(ClientError::Unreachable(why.clone()));
        }
        if now < self.try_at {
            return Ok(());
        }
        self.try_at = now + RETRY;
        let address = &self.config.addresses[self.turn % self.config.addresses.len()];
        self.turn += 1;
        match Socket::connect(address, patience)
            .and_then(|socket| socket.set_nonblocking(true).map(|()| socket))
        {
            Ok(socket) => {
                self.socket = Some(socket);
                self.inbox.clear();
                self.core.connected(nonce()?, self.clock.now());
                self.hang_up = None;
            }
            Err(error) => *why = format!("{address}: {error}"),
        }
        Ok(())
    }

    /// Waits until the node says something, or for at most `timeout`. For programs with nothing else to do.
    pub fn wait(&mut self, timeout: Duration) {
        let Some(socket) = &mut self.socket else {
            std::thread::sleep(timeout.min(RETRY));
            return;
        };
        let _ = socket.wait_readable(timeout);
    }

    /// The connection's descriptor, for a program's own poll loop; `None` while there is no connection.
    #[must_use]
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.socket.as_ref().map(AsFd::as_fd)
    }
}
