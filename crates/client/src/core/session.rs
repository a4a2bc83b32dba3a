//! The session: opened, resumed, lost, and what it answers.

use super::*;

impl ClientCore {
    pub(super) fn want_session(&mut self) {
        if self.session != SessionId::ZERO {
            self.phase = Phase::Detached(Detached::Resuming);
            self.control(ClientFrame::Resume as u8, self.session.0, 0, &[]);
        } else if self.closing || self.config.session == SessionWish::None {
            self.phase = Phase::Detached(Detached::Content);
        } else {
            self.open();
        }
    }

    pub(super) fn open(&mut self) {
        self.phase = Phase::Detached(Detached::Opening);
        self.opens += 1;
        let body = OpenBody { reserved: [0; 8] };
        self.control(RecordKind::SessionOpen as u8, 0, self.opens, body.as_bytes());
    }

    pub(super) fn opened<'a>(
        &mut self,
        frame: ServerView<'a>,
        code: Code,
        on: &mut impl FnMut(Event<'_>),
    ) -> Result<(), Ending<'a>> {
        let waited_for = matches!(self.phase, Phase::Detached(Detached::Opening))
            && frame.header.number.get() == self.opens;
        if !waited_for {
            return Ok(());
        }
        if code != Code::Executed {
            let Some(pause) = self.config.retry_after.filter(|_| is_passing(code)) else {
                return Err(Ending::NoSession(code));
            };
            self.phase = Phase::Detached(Detached::Until(self.now.plus(pause)));
            return Ok(());
        }
        let session = frame.header.session();
        if session == SessionId::ZERO {
            return Err(Ending::Protocol("session 0 was opened"));
        }
        self.session = session;
        self.attach(1, 1);
        on(Event::SessionOpened(session));
        Ok(())
    }

    pub(super) fn attach(&mut self, first: u64, logged: u64) {
        if self.pending.is_empty() {
            self.pending.start(first);
        }
        self.logged = logged;
        self.hold = Nanos::ZERO;
        self.recorded = self.now;
        self.phase = Phase::Attached;
    }

    pub(super) fn resumed<'a>(
        &mut self,
        frame: ServerView<'a>,
        code: Code,
        on: &mut impl FnMut(Event<'_>),
    ) -> Result<(), Ending<'a>> {
        let waited_for = matches!(self.phase, Phase::Detached(Detached::Resuming))
            && frame.header.session() == self.session;
        if !waited_for {
            return Ok(());
        }
        match code {
            Code::Executed => {}
            Code::UnknownSession | Code::WrongKey => {
                self.lose(code, on);
                return Ok(());
            }
            _ => return Err(Ending::Elsewhere { code, leader: "" }),
        }
        let expected = frame.header.number.get();
        if std::mem::take(&mut self.adopting) {
            if expected == 0 {
                return Err(Ending::Protocol("number 0 is expected"));
            }
            self.pending.start(expected);
        }
        if !self.agrees(expected) {
            self.lose(Code::Expected, on);
            return Ok(());
        }
        self.pending.renumber(expected);
        self.attach(expected, expected);
        on(Event::SessionResumed(self.session));
        Ok(())
    }

    /// Whether a session that expects `expected` can be the one that this client knows: what is below is
    /// in the log, what is not is free.
    pub(super) fn agrees(&self, expected: u64) -> bool {
        if !(self.pending.lowest()..=self.pending.next()).contains(&expected) {
            return false;
        }
        (self.pending.lowest()..self.pending.next()).all(|number| {
            let state = self.pending.get(number).expect("an open request").state;
            if number < expected { matches!(state, State::Sent | State::Done) } else { state != State::Done }
        })
    }

    /// The session is gone: says what is known of its requests and opens another.
    pub(super) fn lose(&mut self, code: Code, on: &mut impl FnMut(Event<'_>)) {
        let session = std::mem::take(&mut self.session);
        on(Event::SessionLost { session, code });
        self.abandon(code, on);
    }

    pub(super) fn abandon(&mut self, code: Code, on: &mut impl FnMut(Event<'_>)) {
        (self.adopting, self.stall) = (false, None);
        while let Some((number, entry)) = self.pending.take_oldest() {
            let outcome = match entry.state {
                State::Done | State::Dropped => continue,
                State::Fresh | State::Bounced => Outcome::NotExecuted(code),
                State::Sent => Outcome::Unknown,
            };
            complete(entry.ticket, number, outcome, on);
        }
        self.want_session();
    }

    pub(super) fn reply<'a>(
        &mut self,
        frame: ServerView<'a>,
        code: Code,
        on: &mut impl FnMut(Event<'_>),
    ) -> Result<(), Ending<'a>> {
        let header = frame.header;
        if !matches!(self.phase, Phase::Attached) || header.session() != self.session {
            return Ok(());
        }
        let number = header.number.get();
        let Some(entry) = self.pending.get(number).filter(|entry| entry.state == State::Sent).copied() else {
            return Ok(());
        };
        let outcome = match code {
            Code::Executed => Outcome::Acknowledged { seq: header.seq(), reply: frame.payload },
            Code::Conflict | Code::Invalid => Outcome::NotExecuted(code),
            Code::Forgotten => Outcome::Unknown,
            Code::UnknownSession | Code::WrongKey | Code::Fenced => {
                if number >= self.logged && number < self.pending.unsent() {
                    self.pending.set(number, State::Bounced);
                }
                self.lose(code, on);
                return Ok(());
            }
            _ => return self.refused(number, code, header.seq.get(), on),
        };
        if self.stall.is_some_and(|stall| number > stall.from) {
            return Err(Ending::Protocol("a number above a free one was used"));
        }
        complete(entry.ticket, number, outcome, on);
        self.pending.done(number);
        if entry.kind == RecordKind::SessionClose {
            self.closing = code == Code::Executed;
            if self.closing {
                on(Event::SessionClosed(std::mem::take(&mut self.session)));
                self.abandon(Code::UnknownSession, on);
            }
        }
        Ok(())
    }

    pub(super) fn refused<'a>(
        &mut self,
        number: u64,
        code: Code,
        expected: u64,
        on: &mut impl FnMut(Event<'_>),
    ) -> Result<(), Ending<'a>> {
        if number < self.logged || number >= self.pending.unsent() {
            return Err(Ending::Protocol("a refusal of what is in the log or was not sent"));
        }
        match &mut self.stall {
            Some(stall) if number > stall.from && (code != Code::Expected || expected == stall.from) => {
                stall.unanswered -= 1;
            }
            None if code != Code::Expected && code != Code::TooManySessions => {
                let above = number + 1..self.pending.unsent();
                let state = |number| self.pending.get(number).expect("an open request").state;
                if above.clone().any(|above| state(above) != State::Sent) {
                    return Err(Ending::Protocol("a number above a free one was used"));
                }
                self.stall = Some(Stall { from: number, unanswered: above.count() });
            }
            _ => return Err(Ending::Protocol("another number is expected than the one refused")),
        }
        let again = code == Code::Expected || (is_passing(code) && self.config.retry_after.is_some());
        if again {
            self.pending.set(number, State::Bounced);
            if let (true, Some(pause)) = (is_passing(code), self.config.retry_after) {
                self.hold = self.now.plus(pause);
            }
        } else {
            let entry = *self.pending.get(number).expect("an open request");
            self.pending.set(number, State::Dropped);
            // Nothing can have been submitted behind a SessionClose.
            self.closing &= entry.kind != RecordKind::SessionClose;
            complete(entry.ticket, number, Outcome::NotExecuted(code), on);
        }
        if let Some(Stall { from, unanswered: 0 }) = self.stall {
            self.stall = None;
            self.pending.renumber(from);
        }
        Ok(())
    }
}
