//! Configurations, and handing leadership over.

use super::{Core, PEERS_MAX, Peer, Role, Transfer};
use crate::message::Body;
use crate::{Effect, Proposed, Refused};
use ordain_types::NodeId;
use ordain_types::configuration::{Change, Configuration, Stage, VoterChange};

#[cfg(any(test, feature = "planted"))]
use crate::Mutation;

/// Batches that a node may be behind and still be called caught up: what a link and a disk take within a few
/// milliseconds, and at most the uncommitted log that a leader admits in any case.
pub const READY: u64 = 1024;
/// Election time-outs that a change of voters waits for those it needs before it is given up, and that a leader
/// stays one before it hands over because its disk is slow.
const PATIENCE: u64 = 10;

// Inputs.
impl Core {
    /// An operator asks for a change of the configuration. If it is taken, [`Core::due`] says what to seal next;
    /// what must follow comes of itself.
    ///
    /// # Errors
    /// [`Refused`]; nothing has changed then.
    pub fn propose(&mut self, change: &Change) -> Result<Proposed, Refused> {
        if self.role != Role::Leader {
            return Err(Refused::NotLeader);
        }
        if self.transfer.is_some() {
            return Err(Refused::Transferring);
        }
        if self.due.is_some() || !self.may_log_change() {
            return Err(if self.has_committed() { Refused::UnderWay } else { Refused::NotReady });
        }
        #[allow(unused_mut)]
        let mut next = self.configs.latest().changed(change)?;
        if let Stage::Raised(change) = next.stage {
            self.may_change(change)?;
        }
        #[cfg(any(test, feature = "planted"))]
        if self.config.mutation == Mutation::ChangeWithoutRaise {
            next = without_raise(next);
        }
        let version = next.version;
        self.due = Some(next);
        self.settle();
        Ok(Proposed { version })
    }

    /// The configuration to seal in a batch of its own, as soon as the log may grow. Then [`Core::appended`] and
    /// [`Core::configured`].
    #[must_use]
    pub const fn due(&self) -> Option<&Configuration> {
        match self.transfer {
            None => self.due.as_ref(),
            Some(_) => None,
        }
    }

    /// Takes back what [`Core::propose`] took, if it has not been sealed.
    pub fn withdraw(&mut self, proposed: Proposed) {
        self.due.take_if(|due| due.version == proposed.version);
        self.settle();
    }

    /// An operator asks that another voter lead: a certain one, or whoever has most of the log. Says who. Until
    /// then, at most for an election time-out, the leader takes no request: [`Core::is_transferring`].
    ///
    /// # Errors
    /// [`Refused`]; nothing has changed then.
    pub fn transfer(&mut self, to: Option<NodeId>) -> Result<NodeId, Refused> {
        if self.role != Role::Leader {
            return Err(Refused::NotLeader);
        }
        if self.transfer.is_some() {
            return Err(Refused::Transferring);
        }
        if !self.has_committed() {
            return Err(Refused::NotReady);
        }
        let to = match to {
            Some(to) => {
                let at = self.peer(to).filter(|at| self.peers[*at].votes).ok_or(Refused::NoVoter(to))?;
                self.is_ready(&self.peers[at])?;
                to
            }
            None => self.best(|peer| self.is_ready(peer).is_ok()).ok_or(Refused::NobodyReady)?,
        };
        self.begin_transfer(to);
        self.settle();
        Ok(to)
    }
}

#[cfg(test)]
impl Core {
    /// As [`Core::propose`] for a W below what operators may set.
    pub(crate) fn propose_window(&mut self, window: u64) -> Result<Proposed, Refused> {
        let least = *ordain_types::configuration::UNSYNCED.start();
        let proposed = self.propose(&Change::UnsyncedMax(window + least))?;
        self.due.iter_mut().for_each(|due| due.unsynced_max = window);
        Ok(proposed)
    }
}

impl Core {
    /// Whether this leader has committed a batch of its term: only then does it know what is committed, and may
    /// change voters (R8).
    pub(super) fn has_committed(&self) -> bool {
        self.log.term_at(self.commit) == Some(self.state.term)
    }

    /// R8, and that one configuration is committed before the next is logged.
    fn may_log_change(&self) -> bool {
        #[cfg(any(test, feature = "planted"))]
        if self.config.mutation == Mutation::ChangeBeforeCommit {
            return true;
        }
        self.has_committed() && self.configs.pending().is_none()
    }

    fn is_present(&self, peer: &Peer) -> bool {
        peer.up && self.now.since(peer.heard) < self.config.election_timeout.0
    }

    fn is_ready(&self, peer: &Peer) -> Result<(), Refused> {
        if !self.is_present(peer) {
            return Err(Refused::NotConnected(peer.id));
        }
        let batches = self.log.last().0 - peer.received.0;
        // One that does not count yet lags by what it may have promised.
        if batches > READY || peer.blank { Err(Refused::Lags { node: peer.id, batches }) } else { Ok(()) }
    }

    /// Of the voters that will do, the one with most of the log; of several, the lowest number.
    fn best(&self, will_do: impl Fn(&Peer) -> bool) -> Option<NodeId> {
        let able = self.peers.iter().filter(|peer| peer.votes && will_do(peer));
        able.max_by_key(|peer| (peer.matched, core::cmp::Reverse(peer.id))).map(|peer| peer.id)
    }

    /// Whether a change of voters would leave the cluster able to go on.
    fn may_change(&self, change: VoterChange) -> Result<(), Refused> {
        match change {
            VoterChange::Promote(id) => {
                let at = self.peer(id).ok_or(Refused::NotConnected(id))?;
                self.is_ready(&self.peers[at])
            }
            VoterChange::Remove(id) => {
                let stays = |peer: &&Peer| peer.votes && peer.id != id;
                let ready = |peer: &&Peer| stays(peer) && self.is_ready(peer).is_ok();
                let own = usize::from(self.votes && self.config.id != id);
                let left = self.peers.iter().filter(stays).count() + own;
                let present = self.peers.iter().filter(ready).count() + own;
                let needed = left / 2 + 1;
                if present < needed { Err(Refused::NoQuorum { present, needed }) } else { Ok(()) }
            }
        }
    }

    /// The peer of that number, new if it is not known yet and there is place.
    pub(super) fn meet_peer(&mut self, id: NodeId) -> Option<usize> {
        if id == self.config.id {
            return None;
        }
        match self.peers.binary_search_by_key(&id, |peer| peer.id) {
            Ok(at) => Some(at),
            Err(_) if self.peers.len() >= PEERS_MAX => {
                let before = self.peers.len();
                self.peers.retain(|peer| peer.up || peer.listens);
                if self.peers.len() < before { self.meet_peer(id) } else { None }
            }
            Err(at) => {
                let mut peer = Peer::new(id);
                peer.forget(self.log.last());
                self.peers.insert(at, peer);
                Some(at)
            }
        }
    }

    /// Who is who, after the last configuration changed or became committed.
    pub(super) fn seat(&mut self) {
        let id = self.config.id;
        self.voters = self.configs.latest().voter_count() as usize;
        self.votes = self.configs.latest().votes(id);
        self.enough = self.configs.weakest().of_voters(self.voters).0;
        if matches!(self.configs.latest().stage, Stage::Raised(_)) && self.configs.pending().is_some() {
            self.raised_at = self.now;
        }
        let (latest, settled) = (self.configs.latest(), self.configs.settled());
        self.peers.retain(|peer| peer.up || latest.find(peer.id).or(settled.find(peer.id)).is_some());
        let members: Vec<NodeId> = latest.members.iter().map(|seat| seat.member.id).collect();
        for member in members {
            self.meet_peer(member);
        }
        let (latest, settled) = (self.configs.latest(), self.configs.settled());
        let leads = self.role == Role::Leader;
        for peer in &mut self.peers {
            peer.votes = latest.votes(peer.id);
            let listened = peer.listens;
            peer.listens = latest.find(peer.id).or(settled.find(peer.id)).is_some();
            if leads && peer.listens && !listened {
                peer.probing = true;
            }
        }
        let is_settled = self.configs.pending().is_none();
        self.effects.push_back(Effect::Configuration { is_settled });
    }

    /// The pending configuration is committed, if the log is up to it.
    pub(super) fn settle_configuration(&mut self) {
        if !self.configs.settle(self.commit) {
            return;
        }
        // Who leaves hears that it does.
        if self.role == Role::Leader {
            for at in 0..self.peers.len() {
                if self.peers[at].listens && self.configs.latest().find(self.peers[at].id).is_none() {
                    self.send_append(at);
                }
            }
        }
        self.seat();
    }

    /// What a leader does for itself, with time.
    pub(super) fn lead_on(&mut self) {
        self.transfer.take_if(|transfer| self.now >= transfer.until);
        self.watch_disk();
        if self.now >= self.repeat {
            self.heartbeat();
            if let Some(transfer) = &mut self.transfer {
                transfer.told = false; // It may have been lost.
            }
        }
    }

    /// A leader whose disk has fallen so far behind that its own copies will soon not count hands over to one whose
    /// disk has not.
    fn watch_disk(&mut self) {
        let half = self.configs.window() / 2;
        if self.durable.0 + half >= self.commit.0 {
            self.slow_since = None;
            return;
        }
        let since = *self.slow_since.get_or_insert(self.now);
        let timeout = self.config.election_timeout.0;
        let long = self.now.since(since) >= timeout && self.now.since(self.led_since) >= PATIENCE * timeout;
        if !long || self.transfer.is_some() || !self.has_committed() {
            return;
        }
        let faster = |peer: &Peer| self.is_ready(peer).is_ok() && peer.durable.0 >= self.durable.0 + half;
        if let Some(to) = self.best(faster) {
            self.slow_since = None;
            self.begin_transfer(to);
        }
    }

    fn begin_transfer(&mut self, to: NodeId) {
        let until = self.now.plus(self.config.election_timeout.0);
        self.transfer = Some(Transfer { to, until, told: false });
    }

    /// Asks a voter that has the whole log to lead, without waiting for it.
    pub(super) fn hand_over(&mut self) {
        let last = self.log.last();
        let to = self.best(|peer| peer.up && !peer.blank && peer.matched == last);
        if let Some(at) = to.and_then(|to| self.peer(to)) {
            self.send(at, Body::TimeoutNow);
        }
    }

    /// Ends an input of a leader: goes on with what is under way.
    pub(super) fn steer(&mut self) {
        let is_settled = matches!(self.configs.latest().stage, Stage::Settled);
        if is_settled && self.votes && self.transfer.is_none() {
            return; // Nothing is under way.
        }
        if let Some(Transfer { to, told: false, .. }) = self.transfer
            && let Some(at) = self.peer(to)
            && self.peers[at].matched == self.log.last()
        {
            self.transfer.iter_mut().for_each(|transfer| transfer.told = true);
            self.send(at, Body::TimeoutNow);
        }
        if self.due.is_some() || !self.may_log_change() {
            return;
        }
        if !self.votes {
            // The change that ended its membership is committed.
            self.hand_over();
            self.step_down();
            return;
        }
        if !is_settled {
            self.due = self.next_step();
        }
    }

    fn next_step(&self) -> Option<Configuration> {
        let latest = self.configs.latest();
        if let Stage::Raised(change) = latest.stage
            && self.may_change(change).is_err()
        {
            let waited = self.now.since(self.led_since.max(self.raised_at));
            let gives_up = waited >= PATIENCE * self.config.election_timeout.0;
            return if gives_up { latest.given_up() } else { None };
        }
        latest.follow_up()
    }
}

/// The mistake: the voters change at once, under the policy as it is.
#[cfg(any(test, feature = "planted"))]
fn without_raise(next: Configuration) -> Configuration {
    let Some(changed) = next.follow_up().filter(|_| next.is_raised()) else { return next };
    Configuration { version: next.version, policy: next.policy, stage: Stage::Settled, ..changed }
}
