//! The network as the gateway sees it: connections with buffers that the port owns, and a poll.

/// A connection: a slot of the port with a generation, so that a late event never reaches a successor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// What happened on the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetEvent {
    /// Somebody connected.
    Opened(ConnId),
    /// [`Net::received`] has more bytes than before.
    Received(ConnId),
    /// The connection is gone: the peer closed it, it broke, or the port gave it up. Its buffers are gone.
    Closed(ConnId),
}

/// Byte-stream connections that others open. Buffers belong to the port, are bounded, and are lent.
pub trait Net: Send {
    /// Takes and sends what the network will take and give, appends at most `limit` events, and says how
    /// many. A connection whose receive buffer is full is not read, so that its sender waits.
    fn poll(&mut self, events: &mut Vec<NetEvent>, limit: usize) -> usize;

    /// Bytes received and not consumed; contiguous. At least one frame of the largest size fits.
    fn received(&self, conn: ConnId) -> &[u8];

    /// Forgets the first `bytes` received bytes.
    fn consume(&mut self, conn: ConnId, bytes: usize);

    /// Bytes that [`Net::send`] would take now.
    fn send_room(&self, conn: ConnId) -> usize;

    /// Buffers `bytes` for sending, all or nothing; `false` if they exceed [`Net::send_room`] or the
    /// connection is gone. They leave at the next `flush` or `poll`.
    fn send(&mut self, conn: ConnId, bytes: &[u8]) -> bool;

    /// Hands buffered bytes to the network as far as it takes them without waiting.
    fn flush(&mut self);

    /// Closes the connection after what is buffered has been offered to the network once.
    /// No further event of it is reported.
    fn close(&mut self, conn: ConnId);

    /// Stops or resumes accepting connections.
    fn accept(&mut self, accepting: bool);
}

impl<N: Net + ?Sized> Net for Box<N> {
    fn poll(&mut self, events: &mut Vec<NetEvent>, limit: usize) -> usize {
        (**self).poll(events, limit)
    }

    fn received(&self, conn: ConnId) -> &[u8] {
        (**self).received(conn)
    }

    fn consume(&mut self, conn: ConnId, bytes: usize) {
        (**self).consume(conn, bytes);
    }

    fn send_room(&self, conn: ConnId) -> usize {
        (**self).send_room(conn)
    }

    fn send(&mut self, conn: ConnId, bytes: &[u8]) -> bool {
        (**self).send(conn, bytes)
    }

    fn flush(&mut self) {
        (**self).flush();
    }

    fn close(&mut self, conn: ConnId) {
        (**self).close(conn);
    }

    fn accept(&mut self, accepting: bool) {
        (**self).accept(accepting);
    }
}
