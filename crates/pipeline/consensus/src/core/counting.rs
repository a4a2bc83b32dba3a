//! Counting copies, and what follows from it.

use super::{Core, Following, Role, errs};
use crate::message::{Body, Copies};
use crate::{Effect, VoteState};
use ordain_types::BatchIndex;
use ordain_types::configuration::VOTERS_MAX;

#[cfg(any(test, feature = "planted"))]
use crate::Mutation;

impl Core {
    /// (received, durable) of this node's log as reported to itself or a leader.
    pub(super) fn own_copies(&self) -> (BatchIndex, BatchIndex) {
        let reach = BatchIndex(self.watermark.0.saturating_add(self.configs.window_of(self.durable)));
        (self.written, self.durable.min(reach))
    }

    /// The acknowledgement of a follower.
    pub(super) fn acknowledged(&self) -> (BatchIndex, BatchIndex) {
        let (received, durable) = self.own_copies();
        (received.min(self.following.matched), durable.min(self.following.matched))
    }

    /// Ends an input that says how far this node's log is written, synced or known to be.
    pub(super) fn progressed(&mut self) {
        let own = self.own_copies();
        let moved = core::mem::replace(&mut self.counted, own) != own;
        if self.role == Role::Leader && !moved {
            return self.invariants(); // A leader draws nothing from it but from its copies.
        }
        if self.role == Role::Follower && self.acknowledged() != self.following.acked {
            self.following.ack_due = true;
        }
        self.settle();
    }

    /// R1.
    fn count(&mut self) {
        if self.commit == self.log.last() {
            return;
        }
        // Most inputs bring one copy more, and not yet enough, even if W cost none of them.
        let has_news = |peer: &&super::Peer| peer.votes && peer.received > self.commit;
        let own_news = self.votes && self.written > self.commit;
        if self.peers.iter().filter(has_news).count() + usize::from(own_news) < self.enough {
            return;
        }
        let n = self.voters;
        let mut received = [BatchIndex::ZERO; VOTERS_MAX];
        let mut durable = [BatchIndex::ZERO; VOTERS_MAX];
        let knows = self.synced.as_ref().is_some_and(|synced| synced.ack_term == self.state.term);
        let counts = self.votes && (knows || errs!(self, CountsItselfEarly));
        let own = if counts { self.own_copies() } else { Default::default() };
        let own = self.votes.then_some(own);
        let copies = |peer: &super::Peer| match peer.blank && !errs!(self, BlankCounts) {
            true => Default::default(),
            false => (peer.received, peer.durable),
        };
        let peers = self.peers.iter().filter(|peer| peer.votes).map(copies);
        for (at, (has, synced)) in peers.chain(own).enumerate() {
            #[allow(unused_mut)]
            let mut window = self.configs.window_of(synced);
            #[cfg(any(test, feature = "planted"))]
            match self.config.mutation {
                Mutation::NoWindow => window = u64::MAX,
                Mutation::WindowNotOnDisk => window = self.configs.window(),
                _ => {}
            }
            received[at] = has.min(BatchIndex(synced.0.saturating_add(window)));
            durable[at] = synced;
        }
        received[..n].sort_unstable();
        durable[..n].sort_unstable();
        let reach = |copies: Copies| {
            let (m, k) = copies.of_voters(n);
            if k > 0 { received[n - m].min(durable[n - k]) } else { received[n - m] }
        };
        // Once a configuration is committed, its policy counts for what is behind it.
        loop {
            let (settled, pending) = self.configs.counting();
            let commit = match pending {
                #[cfg(any(test, feature = "planted"))]
                Some(_) if self.config.mutation == Mutation::WeakerWhenLogged => {
                    reach(Copies::of(self.configs.latest()))
                }
                Some((at, stronger)) => {
                    let before = reach(settled).min(BatchIndex(at.0 - 1));
                    before.max(Some(reach(stronger)).filter(|commit| *commit >= at).unwrap_or_default())
                }
                None => reach(settled),
            };
            #[allow(unused_mut)]
            let mut own_term = self.log.term_at(commit) == Some(self.state.term);
            #[cfg(any(test, feature = "planted"))]
            if self.config.mutation == Mutation::NoCurrentTerm {
                own_term = true;
            }
            if commit <= self.commit || !own_term {
                return;
            }
            self.commit = commit;
            if pending.is_none_or(|(at, _)| at > commit) {
                return;
            }
            self.settle_configuration();
        }
    }

    pub(super) fn start_round(&mut self) {
        self.round_sent += 1;
        self.round_wanted = self.round_sent;
        self.heartbeat();
    }

    fn finish_round(&mut self) {
        if self.round_done == self.round_sent {
            return;
        }
        let confirmed =
            self.peers.iter().filter(|peer| peer.votes && !peer.blank && peer.round >= self.round_sent);
        let confirmed = confirmed.count() + usize::from(self.votes);
        // Before its term's first commit, a leader does not know what is committed.
        if confirmed < self.majority() || !self.has_committed() {
            return;
        }
        self.round_done = self.round_sent;
        self.effects.push_back(Effect::ReadRoundDone(self.round_done));
        if self.round_wanted > self.round_sent {
            self.start_round();
        }
    }

    /// Ends every input: draws the consequences.
    pub(super) fn settle(&mut self) {
        let leads = self.role == Role::Leader;
        if self.state.floor.is_some()
            && let Some(mark) = self.following.mark
        {
            let written = if errs!(self, MarkUnwritten) { self.log.last() } else { self.written };
            let safe = if leads { written } else { written.min(self.following.matched) };
            if safe >= mark {
                self.state.floor = None;
                self.counts.rejoins += u64::from(!leads);
            }
        }
        self.recover_standing();
        if self.persisting.is_none() && self.synced.as_ref() != Some(&self.state) {
            self.persisting = Some(self.state);
            self.effects.push_back(Effect::Persist(self.state));
        }
        if leads {
            self.count();
        } else if let Some(VoteState { term, voted_for, ack_term, .. }) = self.synced {
            if let Some((candidate, end)) = self.granted
                && (term, voted_for) == (self.state.term, Some(candidate))
            {
                self.granted = None;
                let grant = Some(self.judge(end));
                let weakest = self.configs.weakest();
                if let Some(at) = self.peer(candidate) {
                    self.send(at, Body::VoteReply { grant, weakest });
                }
            }
            if self.following.ack_due
                && (ack_term == self.state.term || errs!(self, AckTermNotAwaited))
                && let Some(at) = self.leader.and_then(|leader| self.peer(leader))
            {
                self.following.ack_due = false;
                self.following.acked = self.acknowledged();
                let (received, durable) = self.following.acked;
                let Following { matched, round, .. } = self.following;
                self.send(at, Body::Ack { matched, received, durable, round });
            }
        }
        if self.commit > self.announced {
            self.announced = self.commit;
            self.settle_configuration();
            self.effects.push_back(Effect::Committed(self.commit));
        }
        if leads {
            self.finish_round();
            self.admit();
            self.steer();
        }
        self.invariants();
    }
}
