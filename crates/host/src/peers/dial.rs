//! Connections that this node begins: to all with lower numbers.

use super::*;
use zerocopy::IntoBytes;

impl TcpPeers {
    pub(super) fn dial(&mut self, at: usize, now: Instant) {
        loop {
            if matches!(self.links[at].state, State::Awaited(ask_at) if ask_at <= now) {
                self.links[at].state = State::Dialling(Dial::Pause(now));
            }
            let asks = self.links[at].node.id > self.me.id;
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
                    if !asks && !std::mem::replace(&mut link.told, true) {
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

    pub(super) fn why_over(&self, at: usize) -> io::Error {
        let State::Dialling(Dial::Shake(conn, ..)) = &self.links[at].state else {
            unreachable!("a handshake was under way");
        };
        match sockopt::socket_error(&conn.fd) {
            Ok(Err(error)) | Err(error) => error.into(),
            Ok(Ok(())) => io::Error::other("the other end closed the connection in the handshake"),
        }
    }

    /// Lets a pause pass before the next attempt.
    pub(super) fn rest(&mut self, at: usize, now: Instant, pause: Option<Duration>) {
        if self.links[at].node.id > self.me.id {
            self.links[at].state = State::Awaited(now + ASK_AFTER);
            return;
        }
        let attempts = self.links[at].attempts;
        self.links[at].attempts = attempts.saturating_add(1);
        let pause = pause.unwrap_or_else(|| self.pause(attempts));
        self.links[at].state = State::Dialling(Dial::Pause(now + pause));
    }

    pub(super) fn begin(&mut self, at: usize, now: Instant) -> io::Result<Dial> {
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

    pub(super) fn connect(&mut self, at: usize, addresses: &[SocketAddr], now: Instant) -> io::Result<Dial> {
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
        let mut conn = Conn::new(fd, self.token(), SHAKE_RECV, self.me.versions);
        // The kernel says when it is connected.
        (conn.readable, conn.writable) = (false, false);
        conn.shake(kind::HELLO, 0, hello.as_bytes());
        self.watch(&conn)?;
        Ok(Dial::Shake(conn, hello, now + SHAKE_TIME, false))
    }

    pub(super) fn shake(&mut self, at: usize) -> Outcome {
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
                        Ok(proof) => {
                            conn.version = challenge.version.get();
                            conn.shake(kind::PROOF, 0, proof.as_bytes());
                            tracing::info!(
                                node = node.id.0, software = %challenge.software, version = conn.version,
                                "a node says what it runs"
                            );
                        }
                        Err(refusal) => {
                            conn.shake(kind::REFUSED, refusal as u8, &[]);
                            return Outcome::Refused(refusal);
                        }
                    }
                    *proved = true;
                }
                Shake::Accepted if *proved => return Outcome::Done,
                Shake::Refused(code, theirs) => {
                    conn.version = theirs;
                    return Refusal::from_wire(code).map_or(Outcome::Over, Outcome::Refused);
                }
                _ => return Outcome::Over,
            }
        }
    }

    /// This node and the one it dialled will not be connected.
    pub(super) fn refused(&mut self, at: usize, refusal: Refusal, now: Instant) {
        let link = &mut self.links[at];
        self.refusals.add(1);
        if refusal == Refusal::Removed && matches!(link.state, State::Dialling(Dial::Shake(.., true))) {
            self.changes.push_back(Change::Removed(link.node.id));
        }
        let doubled = refusal == Refusal::Connected;
        let since = *link.doubled.get_or_insert(now);
        if !doubled {
            link.doubled = None;
        }
        // A restart may be faster than the news of the death before it.
        let is_news = !doubled || now - since > DEAD_AFTER;
        if is_news && now >= link.log_after {
            link.log_after = now + LOG_REST;
            let versions = match &link.state {
                State::Dialling(Dial::Shake(conn, ..)) if refusal == Refusal::Version => {
                    Some((conn.versions, conn.version))
                }
                _ => None,
            };
            tracing::error!(
                node = link.node.id.0,
                address = link.node.address,
                ours = versions.map(|(ours, _)| display(ours)),
                their_newest = versions.map(|(_, theirs)| theirs),
                "no connection with another node: {refusal}"
            );
        }
        self.rest(at, now, (!doubled).then_some(REFUSED_REST));
    }

    /// The connection that this node dialled stands.
    pub(super) fn rise(&mut self, at: usize, now: Instant) {
        let state = std::mem::replace(&mut self.links[at].state, State::Awaited(now + ASK_AFTER));
        let State::Dialling(Dial::Shake(conn, ..)) = state else {
            unreachable!("a handshake that is done was under way");
        };
        self.stand(at, conn, now);
    }

    pub(super) fn stand(&mut self, at: usize, mut conn: Conn, now: Instant) {
        conn.widen();
        let is_plain = conn.framing() == Framing::Plain;
        let link = &mut self.links[at];
        (link.told, link.doubled) = (false, None);
        link.state = State::Up(conn, now);
        tracing::info!(node = link.node.id.0, address = link.node.address, "connected with a node");
        if is_plain {
            tracing::warn!(
                node = link.node.id.0,
                "the other node's build is older and sends no checksums with frames: one that is altered on its way \
                 is believed. Upgrade that node"
            );
        }
        self.changes.push_back(Change::Up(link.node.id));
    }

    /// The connection of a link is over.
    pub(super) fn fall(&mut self, at: usize, now: Instant) {
        let link = &mut self.links[at];
        let State::Up(_, since) = &link.state else { unreachable!("only what stands falls") };
        if now - *since >= GOOD_AFTER {
            link.attempts = 0;
        }
        tracing::info!(node = link.node.id.0, "the connection with a node is over");
        self.changes.push_back(Change::Down(link.node.id));
        self.rest(at, now, None);
        self.arm(now);
    }
}
