//! Elections.

use super::{Core, Following, Peer, Role, errs};
use crate::message::{Body, Copies, Grant};
use crate::{Effect, LogEnd};
use ordain_types::{Lineage, NodeId, Term};

#[cfg(any(test, feature = "planted"))]
use crate::Mutation;

/// Elections in a row after which a candidate that cannot win any more asks anew within a heartbeat. What so many do not
/// settle, the longer pauses do.
const QUICK: u32 = 4;

impl Core {
    pub(super) const fn majority(&self) -> usize {
        self.voters / 2 + 1
    }

    /// Whether this node may lead: it knows what it promised, and votes, or its going is not known to be committed, and until it is it may be
    /// needed.
    pub(super) fn may_lead(&self) -> bool {
        let id = self.config.id;
        !self.state.blank
            && (self.votes || self.configs.pending().is_some() && self.configs.settled().votes(id))
    }

    pub(super) fn postpone_election(&mut self) {
        let timeout = self.config.election_timeout.0;
        self.deadline = self.now.plus(timeout + self.chance(timeout));
    }

    /// A number below `bound`.
    const fn chance(&mut self, bound: u64) -> u64 {
        // SplitMix64 (Steele, Lea, Flood, 2014).
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^= mixed >> 31;
        mixed % bound
    }

    pub(super) fn enter_term(&mut self, term: Term) {
        if self.role == Role::Leader {
            self.step_down();
        }
        self.state.term = term;
        self.state.voted_for = None;
        self.role = Role::Follower;
        self.leader = None;
        self.granted = None;
        self.following = Following::default();
    }

    pub(super) fn step_down(&mut self) {
        self.effects.push_back(Effect::SteppedDown { term: self.state.term });
        self.role = Role::Follower;
        self.leader = None;
        self.due = None;
        self.transfer = None;
        self.slow_since = None;
        self.round_sent = self.round_wanted;
        self.round_done = self.round_wanted;
        self.postpone_election();
    }

    pub(super) fn hears_quorum(&self) -> bool {
        let timeout = self.config.election_timeout.0;
        let heard = |peer: &&super::Peer| peer.votes && !peer.blank && self.now.since(peer.heard) < timeout;
        self.peers.iter().filter(heard).count() + usize::from(self.votes) >= self.majority()
    }

    /// R3, for a candidate whose log is no shorter than this one.
    pub(super) fn judge(&self, end: LogEnd) -> Grant {
        #[cfg(any(test, feature = "planted"))]
        if self.config.mutation == Mutation::DirtyVotesStrong {
            return Grant::Strong;
        }
        if self.state.floor.is_none_or(|floor| end >= floor) { Grant::Strong } else { Grant::Weak }
    }

    /// R7: who has heard of a lineage votes only for logs that hold its beginning. Otherwise two nodes without it could
    /// elect each other, by policies under which weak votes suffice.
    fn is_of_lineage(&self, end: LogEnd) -> bool {
        #[cfg(any(test, feature = "planted"))]
        if self.config.mutation == Mutation::OldLineageElects {
            return true;
        }
        Lineage::of(end.term) >= Lineage::of(self.state.term)
    }

    /// Whether this node would vote for `from` in the next term.
    pub(super) fn would_elect(&self, from: NodeId, end: LogEnd) -> bool {
        let led = self.role == Role::Leader
            || self.leader.is_some() && self.now.since(self.heard) < self.config.election_timeout.0;
        // When all notice at once that the leader is gone, one of them goes ahead: the better log, then
        // the higher number. Only at the first attempt, for who goes ahead need not be able to win.
        let own = (self.log.end(), self.config.id);
        let yields = self.role != Role::PreCandidate || self.attempts > 1 || (end, from) > own;
        (!self.state.blank || errs!(self, BlankVotes))
            && !led
            && (end >= own.0 || errs!(self, ShorterLogWins))
            && yields
            && self.is_of_lineage(end)
    }

    pub(super) fn may_vote(&self, from: NodeId, end: LogEnd) -> bool {
        (!self.state.blank || errs!(self, BlankVotes))
            && matches!(self.role, Role::Follower | Role::PreCandidate)
            && (self.state.voted_for.is_none_or(|voted| voted == from) || errs!(self, VotesTwice))
            && (end >= self.log.end() || errs!(self, ShorterLogWins))
            && self.is_of_lineage(end)
    }

    /// Starts a pre-vote.
    pub(super) fn campaign(&mut self) {
        self.postpone_election();
        if !self.may_lead() {
            self.role = Role::Follower;
            self.repeat_standing();
            return;
        }
        if self.truncating.is_some() || self.synced.is_none() {
            self.deadline = self.now.plus(self.config.heartbeat.0);
            return;
        }
        if !self.is_of_lineage(self.log.end()) {
            return;
        }
        self.attempts = self.attempts.saturating_add(1);
        self.campaigns += 1;
        self.role = Role::PreCandidate;
        self.leader = None;
        self.peers.iter_mut().for_each(|peer| peer.vote = None);
        self.request_votes();
        self.tally();
    }

    /// The leader hands over: no pre-vote, for it knows that this node has the whole log.
    pub(super) fn campaign_at_once(&mut self) {
        let of_lineage = self.is_of_lineage(self.log.end());
        if !self.may_lead() || !of_lineage || self.truncating.is_some() || self.synced.is_none() {
            return;
        }
        self.attempts = self.attempts.saturating_add(1);
        self.campaigns += 1;
        self.stand();
    }

    /// A candidate of the next term.
    fn stand(&mut self) {
        self.enter_term(self.state.term.next());
        self.state.voted_for = Some(self.config.id);
        self.role = Role::Candidate;
        self.peers.iter_mut().for_each(|peer| (peer.vote, peer.denied) = (None, false));
        self.postpone_election();
    }

    pub(super) fn request_votes(&mut self) {
        self.repeat = self.now.plus(self.config.heartbeat.0);
        let end = self.log.end();
        let body = match self.role {
            Role::PreCandidate => Body::PreVote { end },
            Role::Candidate if self.own_vote_counts() => Body::Vote { end },
            _ => return,
        };
        for at in 0..self.peers.len() {
            if self.peers[at].votes && self.peers[at].vote.is_none() {
                self.send(at, body);
            }
        }
    }

    /// A candidate's vote for itself is on disk.
    pub(super) fn own_vote_counts(&self) -> bool {
        let own = (self.state.term, self.state.voted_for);
        self.synced.is_some_and(|synced| (synced.term, synced.voted_for) == own)
    }

    pub(super) fn tally(&mut self) {
        match self.role {
            Role::PreCandidate if self.wins() => self.stand(),
            Role::Candidate if self.own_vote_counts() && self.wins() => self.lead(),
            Role::Candidate if self.attempts <= QUICK && self.has_lost() => {
                // Once: what is drawn stays.
                let heartbeat = self.config.heartbeat.0;
                if self.deadline.since(self.now) >= heartbeat {
                    self.deadline = self.now.plus(self.chance(heartbeat));
                }
            }
            _ => {}
        }
    }

    /// Whether nobody who could still vote for this node in its term is enough. When several notice at once that the
    /// leader is gone, their votes may be split, and waiting for an election time-out would mend nothing.
    fn has_lost(&self) -> bool {
        let open = |peer: &&Peer| peer.votes && !peer.denied && (peer.up || peer.vote.is_some());
        self.peers.iter().filter(open).count() + usize::from(self.votes) < self.majority()
    }

    pub(super) fn take_vote(&mut self, at: usize, grant: Option<Grant>, weakest: Copies) {
        let peer = &mut self.peers[at];
        if let Some(grant) = grant {
            let (before, known) = peer.vote.unwrap_or((grant, weakest));
            peer.vote = Some((before.max(grant), known.min(weakest)));
        }
    }

    /// R4.
    fn wins(&self) -> bool {
        self.wins_by().is_some()
    }

    /// Whether strong votes alone elect this node; `None` if nothing does. Any of the votes may be left out, as if
    /// it had been lost, so that a voter who knows of a weaker policy does no harm where the others are enough.
    fn wins_by(&self) -> Option<bool> {
        #[cfg(any(test, feature = "planted"))]
        if self.config.mutation == Mutation::MajorityWins {
            let (votes, strong) = self.votes();
            let m = self.configs.weakest().of_voters(self.voters).0;
            return (votes >= self.majority()).then_some(strong + m > self.voters);
        }
        let own = self.configs.weakest();
        let known = || self.peers.iter().filter(|peer| peer.votes).filter_map(|peer| peer.vote);
        let levels = || known().map(|(_, weakest)| weakest).chain([own]);
        let mut won = None;
        for received in levels().map(|copies| copies.received) {
            for durable in levels().map(|copies| copies.durable) {
                let level = own.min(Copies { received, durable });
                let counted = |copies: &Copies| copies.min(level) == level;
                let (votes, strong) = self.votes_of(|_, copies| counted(copies));
                let n = self.voters;
                let (m, k) = level.of_voters(n);
                #[cfg(any(test, feature = "planted"))]
                let k = if self.config.mutation == Mutation::OneTooFew { k + 1 } else { k };
                if votes >= self.majority() && (strong + m > n || votes + k > n) {
                    won = won.max(Some(strong + m > n));
                }
            }
        }
        won
    }

    /// Votes for this node in the election that it asks for, and the strong ones among them.
    #[must_use]
    pub fn votes(&self) -> (usize, usize) {
        self.votes_of(|_, _| true)
    }

    fn votes_of(&self, counts: impl Fn(&Grant, &Copies) -> bool) -> (usize, usize) {
        let own = self.votes.then(|| (self.judge(self.log.end()), self.configs.weakest()));
        let others = self.peers.iter().filter(|peer| peer.votes).filter_map(|peer| peer.vote);
        let grants = others.chain(own).filter(|(grant, copies)| counts(grant, copies));
        grants.fold((0, 0), |(votes, strong), (grant, _)| {
            (votes + 1, strong + usize::from(grant == Grant::Strong))
        })
    }

    fn lead(&mut self) {
        let last = self.log.last();
        self.counts.elections_won_weak += u64::from(self.wins_by() == Some(false));
        self.role = Role::Leader;
        self.leader = Some(self.config.id);
        self.attempts = 0;
        self.led_since = self.now;
        self.state.ack_term = self.state.term;
        // Its log is the reference: the floor goes as soon as no process crash can shorten it (R4).
        self.following = Following { mark: Some(last), ..Following::default() };
        for peer in &mut self.peers {
            peer.forget(last);
            peer.heard = self.now;
        }
        self.effects.push_back(Effect::BecameLeader { term: self.state.term });
        self.heartbeat();
    }
}
