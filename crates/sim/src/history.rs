//! What the clients of a run know, and what can be checked of it as it is heard.

use crate::shadow::Asked;
use crate::trace::Trace;
use ordain_types::codes::Code;
use std::collections::BTreeMap;

/// A reply that a client holds.
#[derive(Clone, Debug)]
pub struct Ack {
    /// Which request, and its seq.
    pub asked: Asked,
    /// The reply.
    pub reply: Vec<u8>,
}

/// An answer that a client holds.
#[derive(Clone, Debug)]
pub struct Answered {
    /// The last record that it reflects.
    pub seq: u64,
    /// Who asked.
    pub key: u32,
    /// What that key is permitted.
    pub permissions: u32,
    /// The query.
    pub query: Vec<u8>,
    /// The answer.
    pub answer: Vec<u8>,
}

/// A number within a session.
pub type Place = (u64, u64);

/// See the module.
#[derive(Debug, Default)]
pub struct History {
    /// Replies that clients hold.
    pub acks: Vec<Ack>,
    /// Answers that clients hold.
    pub answers: Vec<Answered>,
    /// Outputs that clients heard, by stream and number.
    pub outputs: BTreeMap<(u64, u64), Vec<u8>>,
    /// Sessions that clients were told are gone.
    pub lost: Vec<u64>,
    /// Highest seq that any client was told.
    pub highest: u64,
    /// Operations that came to an end: acknowledged, refused or unknown for good.
    pub finished: u64,
    /// Replies that left a node.
    replies: BTreeMap<Place, (u64, Vec<u8>)>,
    /// What may be in the log under a number.
    claims: BTreeMap<Place, Vec<Vec<u8>>>,
    /// What processes that ended sent in a session, under numbers that nobody remembers.
    orphans: BTreeMap<u64, Vec<Vec<u8>>>,
    declared: bool,
}

impl History {
    /// A client was told of an execution. `after`: what [`History::highest`] was when it was asked for.
    pub fn acknowledge(&mut self, asked: Asked, reply: &[u8], after: u64, trace: &Trace) {
        if asked.seq.0 <= after {
            let what = format!("{asked:?} was asked after seq {after} was acknowledged");
            trace.fail("real-time order", what);
        }
        self.highest = self.highest.max(asked.seq.0);
        self.acks.push(Ack { asked, reply: reply.to_vec() });
    }

    /// The client says that its request has this number if any, and no other request of its has.
    pub fn claim_alone(&mut self, place: Place, request: &[u8], trace: &Trace) {
        if let Some(other) = self.claims.get(&place) {
            let what = format!("two requests were told that they are {place:?}: {other:?} and {request:?}");
            trace.fail("one outcome for each request", what);
        }
        self.claim(place, request);
    }

    /// These bytes were sent under this number, perhaps others, too.
    pub fn claim(&mut self, place: Place, request: &[u8]) {
        self.claims.entry(place).or_default().push(request.to_vec());
    }

    /// The process that sent this in `session` ended without knowing what became of it.
    pub fn orphan(&mut self, session: u64, request: &[u8]) {
        self.orphans.entry(session).or_default().push(request.to_vec());
    }

    /// Whether somebody asked for what the log holds at `place`. What a process left is found once.
    pub fn was_asked(&mut self, place: Place, request: &[u8]) -> bool {
        if self.claims.get(&place).is_some_and(|claims| claims.iter().any(|claim| claim == request)) {
            return true;
        }
        let orphans = self.orphans.entry(place.0).or_default();
        let found = orphans.iter().position(|orphan| orphan == request);
        found.map(|at| orphans.swap_remove(at)).is_some()
    }

    /// An output was heard.
    pub fn output(&mut self, stream: u64, number: u64, payload: &[u8], trace: &Trace) {
        let known = self.outputs.entry((stream, number)).or_insert_with(|| payload.to_vec());
        if known.as_slice() != payload {
            let what = format!("output {number} of stream {stream:#x} is {known:?} and {payload:?}");
            trace.fail("an output never changes", what);
        }
        trace.mark("output heard");
    }

    /// What is behind record `last` was declared lost: what clients hold of it proves nothing any more.
    pub fn declare(&mut self, last: u64) {
        self.declared = true;
        self.acks.retain(|ack| ack.asked.seq.0 <= last);
        self.answers.retain(|answer| answer.seq <= last);
        self.outputs.clear();
        self.replies.retain(|_, (seq, _)| *seq <= last);
        // What ended them may be behind it.
        self.lost.clear();
        self.highest = self.highest.min(last);
    }

    /// Whether a loss was declared.
    #[must_use]
    pub const fn has_declared(&self) -> bool {
        self.declared
    }

    /// The reply to a request leaves a node.
    pub fn reply_leaves(&mut self, asked: Asked, reply: &[u8], trace: &Trace) {
        let place = (asked.session.0, asked.number.0);
        match self.replies.get(&place) {
            None => {
                self.replies.insert(place, (asked.seq.0, reply.to_vec()));
            }
            Some((seq, first)) if *seq == asked.seq.0 && first == reply => {
                trace.mark("duplicate answered alike");
            }
            Some(first) => {
                let what = format!("{asked:?} is answered with {reply:?} and was with {first:?}");
                trace.fail("a reply never changes", what);
            }
        }
    }
}

/// Name of what a refusal shows to have been reached.
#[must_use]
pub const fn refusal(code: Code) -> &'static str {
    match code {
        Code::Expected => "refused: expected",
        Code::NoRoom => "refused: no room",
        Code::NoCopies => "refused: no copies",
        Code::Busy => "refused: busy",
        Code::NotLeader => "refused: not leader",
        Code::Malformed => "refused: malformed",
        Code::NotPermitted => "refused: not permitted",
        Code::Conflict => "refused: conflict",
        Code::Forgotten => "refused: forgotten",
        Code::Fenced => "refused: fenced",
        Code::NotAttached => "refused: not attached",
        Code::UnknownSession => "refused: unknown session",
        Code::WrongKey => "refused: wrong key",
        Code::TooManySessions => "refused: too many sessions",
        Code::TooOld => "refused: too old",
        _ => "refused: otherwise",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ordain_types::{Number, Seq, SessionId};

    fn asked(number: u64, seq: u64) -> Asked {
        Asked { session: SessionId(7), number: Number(number), seq: Seq(seq) }
    }

    /// What the checker objects to, if it does.
    fn check(hear: impl FnOnce(&mut History, &Trace)) -> Option<&'static str> {
        let (mut history, trace) = (History::default(), Trace::default());
        hear(&mut history, &trace);
        trace.failure().map(|failure| failure.checker)
    }

    #[test]
    fn what_contradicts_itself_is_objected_to() {
        let same = |other: (u64, &'static [u8])| {
            check(|history, trace| {
                history.reply_leaves(asked(1, 10), b"reply", trace);
                history.reply_leaves(asked(1, other.0), other.1, trace);
            })
        };
        assert_eq!(same((10, b"reply")), None);
        assert_eq!(same((11, b"reply")), Some("a reply never changes"));
        assert_eq!(same((10, b"other")), Some("a reply never changes"));

        let after = |after| check(|history, trace| history.acknowledge(asked(1, 10), b"", after, trace));
        assert_eq!((after(9), after(10)), (None, Some("real-time order")));

        let twice = |number| {
            check(|history, trace| {
                history.claim_alone((7, 1), b"a", trace);
                history.claim_alone((7, number), b"a", trace);
            })
        };
        assert_eq!((twice(2), twice(1)), (None, Some("one outcome for each request")));

        let output = |payload: &'static [u8]| {
            check(|history, trace| {
                history.output(3, 1, b"a", trace);
                history.output(3, 1, payload, trace);
            })
        };
        assert_eq!((output(b"a"), output(b"b")), (None, Some("an output never changes")));
    }

    #[test]
    fn what_a_process_left_behind_is_found_once() {
        let mut history = History::default();
        history.claim((7, 1), b"a");
        history.orphan(7, b"b");
        assert!(history.was_asked((7, 1), b"a") && !history.was_asked((7, 1), b"c"));
        assert!(history.was_asked((7, 2), b"b"));
        assert!(!history.was_asked((7, 3), b"b") && !history.was_asked((8, 1), b"a"));
    }
}
