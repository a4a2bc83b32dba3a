//! What a follower makes of its leader's frames.

use super::{Core, Outlived, Role, errs};
use crate::message::{Append, Body};
use crate::{Effect, Verdict};
use ordain_types::{BatchIndex, Lineage, NodeId, Term};

/// What a follower knows of the leader's log in this term.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Following {
    /// This log matches the leader's up to here.
    pub(super) matched: BatchIndex,
    /// The leader's commit.
    pub(super) commit: BatchIndex,
    /// Next batch of the frame being received.
    pub(super) expect: Option<BatchIndex>,
    /// Where the floor is dropped (rule R5). Of a leader: where its log ended when it won.
    pub(super) mark: Option<BatchIndex>,
    /// The leader vouches that this node promised nothing in a later term (R9).
    pub(super) admits: bool,
    /// Highest read round seen.
    pub(super) round: u64,
    pub(super) ack_due: bool,
    /// (received, durable) as last acknowledged.
    pub(super) acked: (BatchIndex, BatchIndex),
}

impl Core {
    /// A leader of this term speaks.
    pub(super) fn follow(&mut self, at: usize, for_me: bool, append: &Append) {
        let from = self.peers[at].id;
        if matches!(self.role, Role::Leader) || self.leader.is_some_and(|leader| leader != from) {
            return; // A term has one leader: whoever this is lies.
        }
        self.role = Role::Follower;
        self.leader = Some(from);
        self.heard = self.now;
        self.attempts = 0;
        self.postpone_election();
        self.following.round = self.following.round.max(append.round);
        self.following.expect = None;
        if !for_me {
            // R5: it means another life, or none. Its term counts, its facts do not.
            self.send(at, Body::Hello);
            return;
        }
        if self.truncating.is_some() {
            return;
        }
        self.state.ack_term = self.state.term;
        let previous = append.previous;
        if self.log.term_at(previous.index) == Some(previous.term) {
            self.following.mark = self.following.mark.max(Some(append.mark));
            self.following.admits |= append.admits;
            self.following.commit = self.following.commit.max(append.commit);
            if append.batches > 0 {
                self.following.expect = Some(previous.index.next());
            } else {
                self.following.ack_due = true;
            }
            self.match_up_to(previous.index);
        } else if previous.index > self.following.matched {
            let hint = self.log.last_within(previous.index, previous.term);
            self.send(at, Body::Reject { previous: previous.index, hint });
        }
    }

    pub(super) fn judge_batch(&mut self, from: NodeId, index: BatchIndex, term: Term) -> Verdict {
        let ready = self.role == Role::Follower
            && self.leader == Some(from)
            && self.following.expect == Some(index)
            && self.truncating.is_none()
            && self.outlived.is_none()
            && self.synced.is_some_and(|synced| synced.ack_term == self.state.term);
        if !ready {
            return Verdict::Drop;
        }
        match self.log.term_at(index) {
            Some(held) if held == term => {
                self.following.ack_due = true;
                Verdict::Skip
            }
            Some(_) if index <= self.following.matched => Verdict::Drop,
            Some(_) if Lineage::of(self.log.end().term) < Lineage::of(self.state.term) => {
                self.outlived = Some(Outlived { first: index, lineage: Lineage::of(self.state.term) });
                Verdict::Drop
            }
            Some(held) => {
                assert!(
                    index > self.commit,
                    "leader {from} of term {} contradicts committed batch {index} of term {held}",
                    self.state.term,
                );
                let to = BatchIndex(index.0 - 1);
                self.truncating = Some(to);
                self.effects.push_back(Effect::Truncate { to });
                Verdict::Drop
            }
            None if term < self.log.end().term || term > self.state.term => Verdict::Drop,
            None => {
                self.log.push(index, term);
                Verdict::Write
            }
        }
    }

    pub(super) fn match_up_to(&mut self, index: BatchIndex) {
        self.following.matched = self.following.matched.max(index);
        let matched = if errs!(self, CommitUnmatched) { self.log.last() } else { self.following.matched };
        self.commit = self.commit.max(self.following.commit.min(matched));
    }
}
