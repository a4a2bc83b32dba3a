//! Connections that others begin.

use super::*;
use zerocopy::IntoBytes;

impl TcpPeers {
    pub(super) fn accept(&mut self, now: Instant) {
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

    pub(super) fn take_in(&mut self, fd: OwnedFd, from: Option<SocketAddr>, now: Instant) {
        let conn = Conn::new(fd, self.token(), SHAKE_RECV, self.me.versions);
        if let Err(error) = set_up(&conn.fd).and_then(|()| self.watch(&conn)) {
            tracing::warn!(%error, "a connection cannot be watched and is closed");
            return;
        }
        if self.strangers.len() == STRANGERS {
            self.strangers.remove(0);
        }
        self.strangers.push(Stranger { conn, from, until: now + SHAKE_TIME, hello: None, challenge: None });
    }

    pub(super) fn hear_strangers(&mut self, now: Instant) {
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
                    if let Some(PeerHello { from, software, .. }) = hello {
                        let version = conn.version;
                        tracing::info!(node = from.get(), %software, version, "a node says what it runs");
                    }
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
    pub(super) fn caller(&self, hello: &PeerHello) -> Option<usize> {
        let from = NodeId(hello.from.get());
        self.links.iter().position(|link| link.node.id == from && from > self.me.id)
    }

    pub(super) fn hear_stranger(&mut self, at: usize, now: Instant) -> Outcome {
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
                            stranger.conn.version = challenge.version.get();
                            stranger.conn.shake(kind::CHALLENGE, 0, challenge.as_bytes());
                            stranger.challenge = Some(challenge);
                        }
                        Ok(None) => return Outcome::Over,
                        Err(refusal) => return Outcome::Refused(refusal),
                    }
                }
                (Shake::Proof(proof), Some(hello), Some(challenge)) => {
                    if self.is_removed(&hello) {
                        return Outcome::Refused(Refusal::Removed);
                    }
                    // Of two that were challenged one may have come first.
                    let judged = self.me.check(&hello, &challenge, &proof).and_then(|()| self.judge(&hello));
                    return judged.map_or_else(Outcome::Refused, |_| Outcome::Done);
                }
                (Shake::Refused(code, _), Some(hello), _) => {
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

    /// Whether a hello is of a node whose removal this one knows to be committed. It is told behind the challenge, so that
    /// it knows who says so; that it proves its own key makes no difference, as it gets nothing.
    fn is_removed(&self, hello: &PeerHello) -> bool {
        let from = NodeId(hello.from.get());
        let known = self.links.iter().any(|link| link.node.id == from);
        from < self.next
            && from != self.me.id
            && !known
            && self.me.judge(hello, Some(PublicKey(hello.key))).is_ok()
    }

    /// Whether a hello is of a member that this node should dial, and asks why it does not.
    fn asks(&self, hello: &PeerHello) -> bool {
        let from = NodeId(hello.from.get());
        from < self.me.id && self.links.iter().any(|link| link.node.id == from)
    }

    /// Judges a hello by what costs no cryptography, and says which link it is for.
    pub(super) fn judge(&self, hello: &PeerHello) -> Result<usize, Refusal> {
        let link = self.caller(hello);
        self.me.judge(hello, link.map(|link| self.links[link].node.key))?;
        let link = link.expect("the judge wants it");
        let stands = matches!(&self.links[link].state, State::Up(conn, _) if !conn.is_over());
        if stands { Err(Refusal::Connected) } else { Ok(link) }
    }

    /// The challenge to a hello; `None` if it comes too soon after the one before, or needs none.
    pub(super) fn answer(
        &mut self,
        hello: &PeerHello,
        now: Instant,
    ) -> Result<Option<PeerChallenge>, Refusal> {
        if self.asks(hello) {
            // It belongs: that is all there is to know.
            return Ok(None);
        }
        let sign_after = if self.is_removed(hello) {
            &mut self.removed_sign_after
        } else {
            let at = self.judge(hello)?;
            &mut self.links[at].sign_after
        };
        let (true, Ok(nonce)) = (now >= *sign_after, keys::random()) else { return Ok(None) };
        *sign_after = now + SIGN_REST;
        Ok(Some(self.me.challenge(hello, nonce)))
    }

    pub(super) fn log_refusal(&mut self, stranger: &Stranger, refusal: Refusal, now: Instant) {
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
                tracing::error!(
                    from, claims = hello.from.get(), software = %hello.software, versions = %hello.versions,
                    ours = %self.me.versions, "a node was refused: {refusal}"
                );
            }
            None => tracing::error!(from, "a connection for nodes was refused: {refusal}"),
        }
    }
}
