//! A node whose data directory began empty (rule R9): it may have promised, in a life that it knows nothing of, what
//! no vote and no acknowledgement of it could keep. Until it is known whole it gives no vote and counts for no copy.

use super::{Admission, Core, Following, Peer, Role};
use crate::Standing;
use crate::message::{Body, Message};
use ordain_types::{Boot, Lineage, NodeId, Term};

impl Core {
    /// Whether this node may have promised what it does not know.
    #[must_use]
    pub const fn is_blank(&self) -> bool {
        self.state.blank
    }

    /// Whether another node says this of itself, as far as this one heard.
    #[must_use]
    pub fn knows_blank(&self, id: NodeId) -> bool {
        self.peer(id).is_some_and(|at| self.peers[at].blank)
    }

    /// What each frame says of its sender. What is not on disk yet is not said.
    pub(super) fn standing(&self) -> Standing {
        let blank = self.state.blank || self.synced.is_none_or(|synced| synced.blank);
        if self.promised_nothing() {
            Standing::Empty
        } else if blank {
            Standing::Blank
        } else if self.is_unopened() {
            Standing::Unopened
        } else {
            Standing::Whole
        }
    }

    /// Whether nothing in this data directory was ever promised to anybody: before its first term a node has neither
    /// voted nor taken anything in. It may be whole or not.
    fn promised_nothing(&self) -> bool {
        self.state.term == Term::ZERO && self.log.end().term == Term::ZERO
    }

    /// Whether this log ends where a lineage was declared to begin, in a term in which nobody leads, and this node has
    /// not asked for a vote in a later one. Only who holds the beginning can be elected in the lineage, and from here
    /// alone others can have it: so nobody has promised anything in it.
    fn is_unopened(&self) -> bool {
        let end = self.log.end();
        let lineage = Lineage::of(end.term);
        // What the log has in front of its last term is of another lineage.
        lineage > Lineage::of(Term::ZERO)
            && end.term == self.state.term
            && self.role != Role::Leader
            && Lineage::of(self.log.last_within(end.index, Term(end.term.0 - 1)).term) < lineage
    }

    /// What a frame of the peer's present life says of itself.
    pub(super) fn hear_standing(&mut self, at: usize, message: &Message) {
        let for_me = message.to_boot == self.boot;
        let peer = &mut self.peers[at];
        match message.standing {
            Standing::Whole | Standing::Unopened => (peer.blank, peer.whole) = (false, true),
            // Within a life nobody becomes blank: what says so later was sent earlier.
            Standing::Blank | Standing::Empty => peer.blank = !peer.whole,
        }
        // Said to this life: so it was true after this data directory was made.
        peer.empty |= for_me && message.standing == Standing::Empty;
        let opens = message.standing == Standing::Unopened && message.term == self.state.term;
        if for_me && opens && self.state.blank {
            self.become_whole(None);
        }
    }

    /// What a blank node said may have been lost.
    pub(super) fn repeat_standing(&mut self) {
        for at in 0..self.peers.len() {
            if self.state.blank && self.peers[at].votes {
                self.send(at, Body::Hello);
            }
        }
    }

    /// Others know a later life of this node than this one: the data directory is not the one that it last ran with.
    /// It takes a later number than theirs, and whatever it finds, it may have promised more.
    pub(super) fn outgrow(&mut self, known: Boot) {
        if known <= self.state.boot {
            return;
        }
        if self.role == Role::Leader {
            self.step_down();
        }
        self.role = Role::Follower;
        self.granted = None;
        self.following = Following::default();
        self.state.boot = known.next();
        self.state.blank = true;
        self.peers.iter_mut().for_each(|peer| peer.empty = false);
    }

    /// Ends every input of a node that is blank.
    pub(super) fn recover_standing(&mut self) {
        if !self.state.blank {
            return;
        }
        // All others, since this directory was made: of whatever went before, nothing is left anywhere.
        let mut voters = self.peers.iter().filter(|peer| peer.votes);
        let is_new = self.votes && self.promised_nothing() && self.synced.is_some();
        if is_new && voters.all(|peer| peer.empty) {
            self.become_whole(None);
            return;
        }
        let Following { admits, mark: Some(mark), matched, .. } = self.following else { return };
        if admits && self.durable.min(matched) >= mark {
            self.counts.readmitted += 1;
            self.become_whole(self.leader);
        }
    }

    /// Its vote in this term may have been given; that the leader has it does no harm.
    fn become_whole(&mut self, leader: Option<NodeId>) {
        self.state.blank = false;
        if self.state.voted_for.is_none() {
            self.state.voted_for = leader;
        }
    }

    /// A leader asks on behalf of blank nodes: first every other voter, then a majority that knows what it promised.
    /// When all have confirmed this term since the blank node's life was known, it promised nothing in a later one.
    pub(super) fn admit(&mut self) {
        if !self.peers.iter().any(|peer| peer.blank && peer.listens) {
            return;
        }
        for at in 0..self.peers.len() {
            let Peer { blank: true, listens: true, admission, .. } = self.peers[at] else { continue };
            let next = match admission {
                Admission::Unasked => Admission::All(self.ask_round()),
                Admission::All(round) if self.all_confirm(at, round) => Admission::Majority(self.ask_round()),
                Admission::Majority(round) if self.majority_confirms(round) => Admission::Done,
                _ => continue,
            };
            self.peers[at].admission = next;
            if next == Admission::Done && admission != Admission::Done {
                self.send_append(at);
            }
        }
    }

    /// A round that begins after now.
    fn ask_round(&mut self) -> u64 {
        if self.round_done == self.round_sent {
            self.start_round();
        } else {
            self.round_wanted = self.round_sent + 1;
        }
        self.round_wanted
    }

    /// Whether every voter but this leader and `but` has confirmed `round`. A member that does not vote has never
    /// counted for anything, and needs no more than the majority.
    fn all_confirm(&self, but: usize, round: u64) -> bool {
        let others = |(at, peer): &(usize, &Peer)| *at != but && peer.votes;
        !self.peers[but].votes
            || self.peers.iter().enumerate().filter(others).all(|(_, peer)| peer.round >= round)
    }

    fn majority_confirms(&self, round: u64) -> bool {
        let confirms = |peer: &&Peer| peer.votes && !peer.blank && peer.round >= round;
        self.peers.iter().filter(confirms).count() + usize::from(self.votes) >= self.majority()
    }
}
