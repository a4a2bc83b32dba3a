//! Nodes tell each other the members of their cluster. A node that was away follows configurations of the past, in which
//! whoever leads now may be unknown, and so be refused; those that it does know tell it. What it is told lets it connect,
//! and nothing else: who votes and what counts is said by its own log.

use super::{Log, Peers};
use ordain_agent::planted::{self, Mistake};
use ordain_agent::side::split_side;
use ordain_types::Configuration;
use ordain_types::NodeId;
use ordain_types::members::Member;

/// Kind of the frame: the payload of a configuration that the sender knows to be committed.
const MEMBERS: u8 = 27;

/// What others told of the members.
#[derive(Debug, Default)]
pub(super) struct Roster {
    /// Version of the newest configuration that was told, and its members.
    version: u64,
    members: Vec<Member>,
    /// What this node tells: the version of a configuration, and its payload.
    own: (u64, Vec<u8>),
}

impl Roster {
    /// Members that others told of and whose numbers a log that would give out `next` next does not know yet.
    pub(super) fn unknown(&self, next: NodeId) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(move |member| member.id >= next)
    }

    /// Takes what another node tells; `false` if it is no news.
    pub(super) fn hear(&mut self, payload: &[u8]) -> bool {
        let told = Configuration::decode_payload(payload).ok().filter(|told| told.check().is_ok());
        let Some(told) = told.filter(|told| told.version > self.version) else { return false };
        self.version = told.version;
        self.members = told.members.into_iter().map(|seat| seat.member).collect();
        true
    }
}

/// What a frame says of the members, if it is about them.
pub(super) fn told(frame: &[u8]) -> Option<&[u8]> {
    let (kind, payload) = split_side(frame)?;
    (kind == MEMBERS).then_some(payload)
}

impl<P: Peers> Log<P> {
    /// Tells each connected node of the last configuration that is committed, if that has not been done yet.
    pub(super) fn tell_members(&mut self) {
        let settled = self.core.settled_configuration();
        if planted::is(Mistake::MembersUntold) {
            return;
        }
        if self.others.iter().all(|other| !other.is_up || other.told >= settled.version) {
            return;
        }
        let (version, payload) = &mut self.roster.own;
        if *version != settled.version {
            *version = settled.version;
            payload.clear();
            settled.encode_payload(payload);
        }
        for other in self.others.iter_mut().filter(|other| other.is_up && other.told < settled.version) {
            if self.sides.send(&mut self.peers, other.id, MEMBERS, payload) {
                other.told = settled.version;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ordain_types::{ClusterFacts, ClusterId, Nanos};

    fn told(version: u64, ids: &[u32]) -> Vec<u8> {
        let facts = ClusterFacts::new(ClusterId([1; 16]), Nanos(1), 3);
        let member = |id: &u32| Member {
            id: NodeId(*id),
            peer: format!("n{id}:1"),
            client: format!("n{id}:2"),
            key: [1 + *id as u8; 32],
        };
        let members: Vec<_> = ids.iter().map(member).collect();
        let mut payload = Vec::new();
        Configuration { version, ..Configuration::initial(&facts, &members) }.encode_payload(&mut payload);
        payload
    }

    fn unknown(roster: &Roster, next: u32) -> Vec<u32> {
        roster.unknown(NodeId(next)).map(|member| member.id.0).collect()
    }

    #[test]
    fn the_newest_members_count_of_which_the_log_has_not_heard() {
        let mut roster = Roster::default();
        assert_eq!(unknown(&roster, 0), []);
        assert!(roster.hear(&told(4, &[0, 1, 4])));
        assert_eq!(unknown(&roster, 3), [4]);
        assert!(!roster.hear(&told(3, &[0, 1, 3])), "older");
        assert!(!roster.hear(&told(4, &[0, 1, 3])), "the same");
        assert!(roster.hear(&told(6, &[0, 4, 5])));
        assert_eq!(unknown(&roster, 3), [4, 5]);
        assert_eq!(unknown(&roster, 5), [5]);
        assert_eq!(unknown(&roster, 6), [], "its log says who they are");
    }

    #[test]
    fn nonsense_is_no_news() {
        let mut roster = Roster::default();
        let whole = told(2, &[0, 1, 2]);
        for cut in 0..whole.len() {
            roster.hear(&whole[..cut]);
        }
        assert_eq!(unknown(&roster, 0), [], "a part of a configuration is none");
        assert!(!roster.hear(&[0xFF; 64]));
        assert!(!roster.hear(&told(2, &[0, 0, 1])), "one number twice");
    }
}
