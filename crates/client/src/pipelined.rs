//! Many requests under way on one connection, polled.

use crate::driver::{ClientConfig, ConnectError, Driver};
use crate::{ClientCore, Completion, Event, QueryId, SubmitError, Ticket};
use ordain_types::{OutputSeq, Stream};
use std::os::fd::BorrowedFd;
use std::time::Duration;

/// A client that never waits unless it is told to. Requests that were submitted since the last
/// [`poll`](Client::poll) leave in one write; answers come in one read. A request costs no allocation and
/// no system call of its own.
///
/// A lost connection is replaced within `poll`, which blocks for that for at most the configured time to
/// connect.
#[derive(Debug)]
pub struct Client {
    driver: Driver,
}

impl Client {
    /// Connects and opens or resumes a session.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub fn connect(config: &ClientConfig) -> Result<Self, ConnectError> {
        let mut driver = Driver::new(config)?;
        driver.connect(config.timeout)?;
        Ok(Self { driver })
    }

    /// Takes a command; its outcome comes with a later poll.
    ///
    /// # Errors
    /// [`SubmitError::Full`] when the window is full: poll, then try again. Others as in [`SubmitError`].
    pub fn submit(&mut self, schema: u8, payload: &[u8]) -> Result<Ticket, SubmitError> {
        self.driver.core.submit(schema, payload)
    }

    /// Takes a query; [`Event::Answered`] comes with a later poll.
    ///
    /// # Errors
    /// [`SubmitError`].
    pub fn query(&mut self, schema: u8, payload: &[u8]) -> Result<QueryId, SubmitError> {
        self.driver.core.query(schema, payload)
    }

    /// Reads a stream; see [`ClientCore::subscribe`].
    ///
    /// # Errors
    /// [`SubmitError`].
    pub fn subscribe(&mut self, stream: Stream, from: OutputSeq) -> Result<(), SubmitError> {
        self.driver.core.subscribe(stream, from)
    }

    /// Sends what was submitted, without looking for answers. For a program that waits for several clients at
    /// once and calls [`poll`](Client::poll) when a socket is readable, and now and then for time-outs. A
    /// connection that turns out to be lost is replaced by the next poll.
    pub fn flush(&mut self) {
        self.driver.flush();
    }

    /// Sends and receives what can be at once, hands on outcomes, and says how many there were.
    ///
    /// # Errors
    /// [`ConnectError::Refused`] if no member will ever serve this client again.
    pub fn poll(&mut self, mut on: impl FnMut(Completion<'_>)) -> Result<usize, ConnectError> {
        let mut completed = 0;
        self.poll_events(Duration::ZERO, |event| {
            if let Event::Completed(completion) = event {
                completed += 1;
                on(completion);
            }
        })?;
        Ok(completed)
    }

    /// As [`Client::poll`], but hands on every event, and waits at most `wait` for the node to say something.
    ///
    /// # Errors
    /// As [`Client::poll`].
    pub fn poll_events(&mut self, wait: Duration, mut on: impl FnMut(Event<'_>)) -> Result<(), ConnectError> {
        if self.driver.is_hopeless() {
            return Err(ConnectError::Refused(self.driver.why().to_owned()));
        }
        self.driver.step(wait, &mut on);
        Ok(())
    }

    /// Requests that have no outcome yet.
    #[must_use]
    pub fn open_requests(&self) -> usize {
        self.driver.core.open_requests()
    }

    /// The socket, for a program that waits for several clients at once; `None` while there is no connection.
    #[must_use]
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.driver.fd()
    }

    /// The protocol's side, for what this shell does not offer.
    pub const fn core(&mut self) -> &mut ClientCore {
        &mut self.driver.core
    }
}
