//! An operator's changes of the cluster, and what a node does with requests while it does not lead.

use super::{Log, Peers, Put};
use ordain_agent::planted::{self, Mistake};
use ordain_agent::wire::{QUESTION, Question, Steered, Submission, submission};
use ordain_consensus as consensus;
use ordain_types::batch::BatchKind;
use ordain_types::codes::Code;
use ordain_types::configuration::{Change, ChangeError};
use ordain_types::record::RECORD_HEADER;
use ordain_types::steer::{REASON_MAX, Steer};
use ordain_types::{BatchIndex, NodeId, RecordHeader};
use zerocopy::{FromBytes, IntoBytes};

/// Why a change is refused: for programs, and for people.
type Refused = (Code, String);

impl<P: Peers> Log<P> {
    /// Carries out what an operator asks, and passes the answer on behind it. `false`: there is no room for the
    /// answer; nothing was done.
    pub(super) fn take_steer(&mut self) -> bool {
        let bytes = self.requests.peek().expect("the caller looked");
        let (head, frame) = Submission::ref_from_prefix(bytes).expect("the gateway wrote a submission");
        let (head, frame) = (*head, frame.to_vec());
        // A claim that is given back costs nothing, and a change that was made is always answered.
        if self.questions.try_claim(QUESTION + frame.len() + size_of::<Steered>() + REASON_MAX).is_none() {
            return false;
        }
        let (header, payload) = RecordHeader::ref_from_prefix(&frame).expect("the gateway wrote a frame");
        let payload = &payload[..header.length.get() as usize];
        let result = match Steer::decode(payload) {
            Some(steer) => self.steer(&steer),
            None => Err((Code::Malformed, String::new())),
        };
        let (code, index, why) = match result {
            Ok(index) => (Code::Executed, index, String::new()),
            Err((code, why)) => (code, BatchIndex::ZERO, why),
        };
        tracing::info!(
            key = header.key.get(),
            ?code,
            batch = index.0,
            why,
            "an operator steers: {:?}",
            Steer::decode(payload)
        );
        let why = cut(&why);
        let len = QUESTION + frame.len() + size_of::<Steered>() + why.len();
        let space = self.questions.try_claim(len).expect("there was room for more");
        // The answer leaves when the change is committed.
        let after = index.max(self.writer.tail().index);
        let question = Question { kind: head.kind, conn: head.conn, after: after.0.into(), round: 0.into() };
        let steered = Steered { code: (code as u64).into(), index: index.0.into() };
        let (asked, behind) = space[QUESTION..].split_at_mut(frame.len());
        asked.copy_from_slice(&frame);
        behind[..size_of::<Steered>()].copy_from_slice(steered.as_bytes());
        behind[size_of::<Steered>()..].copy_from_slice(why.as_bytes());
        space[..QUESTION].copy_from_slice(question.as_bytes());
        self.questions.commit();
        true
    }

    fn steer(&mut self, steer: &Steer) -> Result<BatchIndex, Refused> {
        let change = match steer {
            Steer::AddLearner(member) => Change::AddLearner(member.clone()),
            Steer::Promote(id) => Change::Promote(*id),
            Steer::Remove(id) => Change::Remove(*id),
            Steer::AckPolicy(policy) => Change::Policy(*policy),
            Steer::UnsyncedMax(window) => Change::UnsyncedMax(*window),
            Steer::Level(level) => {
                self.may_begin(*level)?;
                Change::Level(*level)
            }
            Steer::Transfer(to) => {
                // The target is told once it has the whole log: what came before this in the same turn belongs to it.
                self.writer.seal(BatchKind::Data);
                self.tell_sealed();
                self.core.transfer(*to).map_err(refused)?;
                return Ok(self.writer.tail().index);
            }
        };
        let proposed = self.core.propose(&change).map_err(refused)?;
        let fits = self.core.due().is_some_and(|due| {
            let mut body = Vec::new();
            due.encode(&mut body);
            body.len() <= self.writer.body_max()
        });
        if !fits {
            self.core.withdraw(proposed);
            return Err((Code::Impossible, "the members and their addresses fit into no batch".to_owned()));
        }
        match self.seal_due() {
            Put::Done => Ok(self.writer.tail().index),
            Put::RingFull | Put::NoRoom => {
                self.core.withdraw(proposed);
                Err(refused(consensus::Refused::Blocked))
            }
        }
    }

    /// Whether all members run a build that has the level: one that does not would stop where it begins.
    fn may_begin(&self, level: u16) -> Result<(), Refused> {
        if planted::is(Mistake::LevelUnasked) {
            return Ok(());
        }
        let members = &self.core.configuration().members;
        let is_away = |id| self.others.iter().any(|other| other.id == id && !other.is_up);
        let away = members.iter().map(|seat| seat.member.id).find(|id| is_away(*id));
        let others = (members.len() > 1).then(|| self.shared.level_of_others.load());
        lacks(level, self.shared.level.load(), away, others).map_or(Ok(()), Err)
    }

    /// Takes submissions while this node does not lead. Outputs can be read here as well, since they are of
    /// committed batches alone. Whoever asked for anything else is told by the gateway that this node does not
    /// lead.
    pub(super) fn pass_by(&mut self, limit: usize) -> usize {
        for taken in 0..limit {
            let Some(bytes) = self.requests.peek() else { return taken };
            let (head, frame) = Submission::ref_from_prefix(bytes).expect("the gateway wrote a submission");
            if head.kind.get() == submission::SUBSCRIBE {
                let Some(space) = self.questions.try_claim(QUESTION + frame.len()) else { return taken };
                let question = Question {
                    kind: head.kind,
                    conn: head.conn,
                    after: self.shared.committed.load().into(),
                    round: 0.into(),
                };
                space[..QUESTION].copy_from_slice(question.as_bytes());
                space[QUESTION..].copy_from_slice(frame);
                self.questions.commit();
            }
            self.requests.release();
        }
        limit
    }
}

/// What stands against a level: of this node's build, of a member that is away, of the lowest that the others have.
fn lacks(level: u16, own: u64, away: Option<NodeId>, others: Option<u64>) -> Option<Refused> {
    let has_not = |has: &u64| *has < level.into();
    if has_not(&own) {
        let why = format!("this build has level {own} at most: install a newer one on all nodes");
        return Some((Code::Impossible, why));
    }
    if let Some(id) = away {
        let why = format!("node {id} is not connected: which levels its build has is not known");
        return Some((Code::NotYet, why));
    }
    let has = others.filter(has_not)?;
    let why = format!("a node runs a build that has level {has} at most: see ordain_peer_level");
    Some((Code::NotYet, why))
}

/// The code of a refusal, and its sentence.
fn refused(why: consensus::Refused) -> Refused {
    use consensus::Refused as Why;
    let code = match why {
        Why::NotLeader => Code::NotLeader,
        Why::Change(ChangeError::UnderWay) => Code::NotYet,
        Why::Change(_) | Why::NoVoter(_) => Code::Impossible,
        _ => Code::NotYet,
    };
    (code, why.to_string())
}

/// As much of a sentence as an answer holds, in whole characters.
fn cut(why: &str) -> &str {
    let end = (0..=REASON_MAX.min(why.len())).rfind(|end| why.is_char_boundary(*end));
    &why[..end.unwrap_or(0)]
}

const _: () = assert!(RECORD_HEADER == size_of::<RecordHeader>());

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_waits_for_every_member() {
        let why = |own, away, others| lacks(3, own, away, others).unwrap().1;
        assert_eq!(lacks(3, 3, None, Some(3)).or(lacks(3, 4, None, None)), None);
        assert!(why(2, None, Some(3)).starts_with("this build has level 2"));
        assert!(why(3, Some(NodeId(4)), Some(3)).starts_with("node 4 is not connected"));
        assert!(why(3, None, Some(2)).starts_with("a node runs a build that has level 2"));
    }

    #[test]
    fn long_reasons_are_cut_between_characters() {
        let why = "x".repeat(REASON_MAX - 1) + "ä and more";
        assert_eq!(cut(&why).len(), REASON_MAX - 1);
        assert_eq!(cut("short"), "short");
    }
}
