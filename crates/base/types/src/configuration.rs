//! Who belongs to the cluster and which copies count, as an entry of the log says it (rules R6 and R8 of
//! `docs/relaxed-acks.md`). Each entry is whole: it stands without those before it. Layout:
//! `docs/format/journal.md`.

use crate::control::{self, CONTROL_HEADER, ControlError, ControlKind};
use crate::facts::AckPolicy;
use crate::members::Member;
use crate::{BatchView, ClusterFacts, NodeId};
use core::fmt;

/// Most voters: bounds the arrays that counting sorts, and what an election waits for.
pub const VOTERS_MAX: usize = 9;
/// Most members, learners included: a leader sends each of them the log.
pub const MEMBERS_MAX: usize = 16;
/// Longest address, bytes: a DNS name and a port.
pub const ADDRESS_MAX: usize = 261;
/// Least and largest W, batches.
pub const UNSYNCED: core::ops::RangeInclusive<u64> = 16..=1 << 20;
/// Version of the layout.
pub const CONFIGURATION_VERSION: u8 = 1;
/// Longest entry, bytes, with the header of a control entry.
pub const CONFIGURATION_MAX: usize = CONTROL_HEADER + FIXED + MEMBERS_MAX * (SEAT + 2 * ADDRESS_MAX);

const FIXED: usize = 40;
const SEAT: usize = 44;

const _: () = assert!(crate::batch::BATCH_HEADER + CONFIGURATION_MAX <= crate::batch::BATCH_MAX);

/// What a member is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum MemberRole {
    /// Its copies and its votes count, and it may lead.
    Voter = 1,
    /// It has the log and executes it, and counts for nothing.
    Learner = 2,
    /// Its copies and its votes count; it has no application and never leads.
    Witness = 3,
}

impl MemberRole {
    /// The role with this number on the wire.
    #[must_use]
    pub const fn from_wire(wire: u8) -> Option<Self> {
        Some(match wire {
            1 => Self::Voter,
            2 => Self::Learner,
            3 => Self::Witness,
            _ => return None,
        })
    }

    /// Whether its copies and votes count.
    #[must_use]
    pub const fn votes(self) -> bool {
        matches!(self, Self::Voter | Self::Witness)
    }
}

impl fmt::Display for MemberRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Voter => "voter",
            Self::Learner => "learner",
            Self::Witness => "witness",
        })
    }
}

/// A member and what it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seat {
    /// Who. A lone node's addresses may be empty.
    pub member: Member,
    /// What for.
    pub role: MemberRole,
}

/// A change of voters that is under way (rule R8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VoterChange {
    /// A learner becomes a voter.
    Promote(NodeId),
    /// A voter leaves.
    Remove(NodeId),
}

/// What follows once the configuration is committed; whoever leads then logs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Nothing.
    Settled,
    /// The same, settled: its presence says, to a node that starts without knowing what is committed, that the
    /// stronger policy counts.
    Confirm,
    /// The change of voters. Until it is settled again the policy is a synced majority.
    Raised(VoterChange),
    /// The policy that is wanted. The voters have changed.
    Changed,
}

/// What an operator may ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A new member that gets the log and counts for nothing. Its number was never used.
    AddLearner(Member),
    /// Makes a learner a voter.
    Promote(NodeId),
    /// Ends a membership.
    Remove(NodeId),
    /// Another policy.
    Policy(AckPolicy),
    /// Another W, batches.
    UnsyncedMax(u64),
    /// The application's next behaviour begins.
    Level(u16),
}

/// Why a change makes no configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangeError {
    /// Nothing would change.
    Nothing,
    /// A change of voters is not finished.
    UnderWay,
    /// No member has the number.
    Unknown(NodeId),
    /// The member votes already.
    Votes(NodeId),
    /// A member has or had the number. The field is the first that is free.
    NumberUsed(NodeId),
    /// What is wrong with the new member.
    Member(String),
    /// [`MEMBERS_MAX`].
    TooManyMembers,
    /// [`VOTERS_MAX`].
    TooManyVoters,
    /// Fewer than two voters would be left.
    TooFewVoters,
    /// The policy does not fit so many voters.
    Policy(u32),
    /// W is not within [`UNSYNCED`].
    UnsyncedMax,
    /// A lone node has no address for others and stays alone.
    Alone,
    /// This level, or a higher one, has begun: what has happened under it stays as it is.
    Level(u16),
}

impl fmt::Display for ChangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => write!(f, "the cluster is so already"),
            Self::UnderWay => write!(f, "a change of voters is under way: try again when it is finished"),
            Self::Unknown(id) => write!(f, "node {id} is no member"),
            Self::Votes(id) => write!(f, "node {id} is a voter already"),
            Self::NumberUsed(next) => {
                write!(f, "the number is or was another member's: the first that is free is {next}")
            }
            Self::Member(what) => f.write_str(what),
            Self::TooManyMembers => {
                write!(f, "a cluster has at most {MEMBERS_MAX} members: remove one first")
            }
            Self::TooManyVoters => write!(f, "a cluster has at most {VOTERS_MAX} voters: remove one first"),
            Self::TooFewVoters => write!(f, "two voters must be left: promote another member first"),
            Self::Policy(voters) => write!(
                f,
                "with {voters} voters a policy is 0 <= durable <= received <= {}, with at least one received copy",
                voters / 2 + 1
            ),
            Self::UnsyncedMax => {
                write!(f, "unsynced-max is between {} and {} batches", UNSYNCED.start(), UNSYNCED.end())
            }
            Self::Level(level) => write!(f, "level {level} is in force, and none ends"),
            Self::Alone => write!(
                f,
                "this node was made to be alone and has no address for other nodes: make a new cluster with \
                 `ordain cluster init`"
            ),
        }
    }
}

impl core::error::Error for ChangeError {}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configuration {
    /// 0 for the one that the cluster was made with; one more with each entry.
    pub version: u64,
    /// The policy that is wanted. [`Configuration::copies`] says which one counts.
    pub policy: AckPolicy,
    /// W: batches that a node may hold un-synced and still count as received.
    pub unsynced_max: u64,
    /// Members, ascending by number.
    pub members: Vec<Seat>,
    /// The first number that no member ever had: a vote or a copy of the past is never taken for another node's.
    pub next_id: NodeId,
    /// The application's behaviour from this entry's batch on (`AppFactory::level`); never less than before.
    pub level: u16,
    /// What follows.
    pub stage: Stage,
}

impl Configuration {
    /// What a cluster is made with. `members` may lack addresses if there is only one.
    #[must_use]
    pub fn initial(facts: &ClusterFacts, members: &[Member]) -> Self {
        let next_id = members.iter().map(|member| member.id.0 + 1).max().unwrap_or(0);
        let mut members: Vec<Seat> =
            members.iter().map(|member| Seat { member: member.clone(), role: MemberRole::Voter }).collect();
        members.sort_unstable_by_key(|seat| seat.member.id);
        Self {
            version: 0,
            policy: facts.policy,
            unsynced_max: facts.unsynced_max,
            members,
            next_id: NodeId(next_id),
            level: 0,
            stage: Stage::Settled,
        }
    }

    /// Those whose copies and votes count, ascending.
    pub fn voters(&self) -> impl Iterator<Item = NodeId> {
        self.members.iter().filter(|seat| seat.role.votes()).map(|seat| seat.member.id)
    }

    /// How many there are.
    #[must_use]
    pub fn voter_count(&self) -> u32 {
        self.voters().count() as u32
    }

    /// A member.
    #[must_use]
    pub fn find(&self, id: NodeId) -> Option<&Seat> {
        self.members.iter().find(|seat| seat.member.id == id)
    }

    /// What a node is in it.
    #[must_use]
    pub fn role(&self, id: NodeId) -> Option<MemberRole> {
        self.find(id).map(|seat| seat.role)
    }

    /// Whether a node's copies and votes count.
    #[must_use]
    pub fn votes(&self, id: NodeId) -> bool {
        self.role(id).is_some_and(MemberRole::votes)
    }

    /// Whether the policy is raised to a synced majority.
    #[must_use]
    pub const fn is_raised(&self) -> bool {
        matches!(self.stage, Stage::Raised(_) | Stage::Changed)
    }

    /// The policy that counts, for its own number of voters.
    #[must_use]
    pub fn copies(&self) -> AckPolicy {
        let majority = self.voter_count() / 2 + 1;
        if self.is_raised() {
            return AckPolicy { received: majority, durable: majority };
        }
        AckPolicy { received: self.policy.received.min(majority), durable: self.policy.durable.min(majority) }
    }

    /// The configuration to log for a change that is asked for.
    ///
    /// # Errors
    /// [`ChangeError`] if there is none.
    pub fn changed(&self, change: &Change) -> Result<Self, ChangeError> {
        if self.is_raised() {
            return Err(ChangeError::UnderWay);
        }
        let mut next = Self { version: self.version + 1, stage: Stage::Settled, ..self.clone() };
        match change {
            Change::AddLearner(_) if self.members.iter().any(|seat| seat.member.peer.is_empty()) => {
                return Err(ChangeError::Alone);
            }
            Change::AddLearner(member) => {
                if member.id < self.next_id {
                    return Err(ChangeError::NumberUsed(self.next_id));
                }
                if self.members.len() == MEMBERS_MAX {
                    return Err(ChangeError::TooManyMembers);
                }
                next.next_id = NodeId(member.id.0.saturating_add(1));
                next.members.push(Seat { member: member.clone(), role: MemberRole::Learner });
                check_seats(&next.members).map_err(ChangeError::Member)?;
                if member.peer.is_empty() || member.client.is_empty() {
                    return Err(ChangeError::Member("the new member lacks an address".to_owned()));
                }
            }
            Change::Promote(id) => {
                match self.role(*id) {
                    None => return Err(ChangeError::Unknown(*id)),
                    Some(MemberRole::Learner) => {}
                    Some(_) => return Err(ChangeError::Votes(*id)),
                }
                if self.voter_count() as usize == VOTERS_MAX {
                    return Err(ChangeError::TooManyVoters);
                }
                next.stage = Stage::Raised(VoterChange::Promote(*id));
            }
            Change::Remove(id) => match self.role(*id) {
                None => return Err(ChangeError::Unknown(*id)),
                Some(MemberRole::Learner) => next.members.retain(|seat| seat.member.id != *id),
                Some(_) if self.voter_count() <= 2 => return Err(ChangeError::TooFewVoters),
                Some(_) => next.stage = Stage::Raised(VoterChange::Remove(*id)),
            },
            Change::Policy(policy) => {
                let voters = self.voter_count();
                if !policy.is_valid(voters) || voters == 1 && policy.durable == 0 {
                    return Err(ChangeError::Policy(voters));
                }
                next.policy = *policy;
                let is_weaker =
                    policy.received <= self.policy.received && policy.durable <= self.policy.durable;
                next.stage = if is_weaker { Stage::Settled } else { Stage::Confirm };
            }
            Change::UnsyncedMax(window) => {
                if !UNSYNCED.contains(window) {
                    return Err(ChangeError::UnsyncedMax);
                }
                next.unsynced_max = *window;
            }
            Change::Level(level) => {
                if *level <= self.level {
                    return Err(ChangeError::Level(self.level));
                }
                next.level = *level;
            }
        }
        let same = Self { version: self.version, stage: self.stage, ..next.clone() } == *self;
        if same && !next.is_raised() { Err(ChangeError::Nothing) } else { Ok(next) }
    }

    /// What whoever leads logs once this is committed.
    #[must_use]
    pub fn follow_up(&self) -> Option<Self> {
        let mut next = Self { version: self.version + 1, ..self.clone() };
        next.stage = match self.stage {
            Stage::Settled => return None,
            Stage::Confirm | Stage::Changed => Stage::Settled,
            Stage::Raised(change) => {
                let before = self.voter_count();
                match change {
                    VoterChange::Promote(id) => {
                        next.members.iter_mut().filter(|seat| seat.member.id == id).for_each(|seat| {
                            seat.role = MemberRole::Voter;
                        });
                    }
                    VoterChange::Remove(id) => next.members.retain(|seat| seat.member.id != id),
                }
                next.policy = scaled(self.policy, before, next.voter_count());
                Stage::Changed
            }
        };
        Some(next)
    }

    /// Instead of [`Configuration::follow_up`]: gives a change of voters up that has not been made.
    #[must_use]
    pub fn given_up(&self) -> Option<Self> {
        matches!(self.stage, Stage::Raised(_)).then(|| Self {
            version: self.version + 1,
            stage: Stage::Settled,
            ..self.clone()
        })
    }

    /// What is wrong with it, in words for the operator.
    ///
    /// # Errors
    /// The first violated bound.
    pub fn check(&self) -> Result<(), String> {
        let need = |holds: bool, what: &str| if holds { Ok(()) } else { Err(what.to_owned()) };
        let voters = self.voter_count();
        need((1..=VOTERS_MAX as u32).contains(&voters), "voters: between 1 and 9")?;
        need(self.members.len() <= MEMBERS_MAX, "members: at most 16")?;
        need(
            self.members.iter().all(|seat| seat.role != MemberRole::Witness),
            "witnesses are not supported by this version",
        )?;
        let lengths = self.members.iter().flat_map(|seat| [seat.member.peer.len(), seat.member.client.len()]);
        need(lengths.max().unwrap_or(0) <= ADDRESS_MAX, "addresses: at most 261 bytes")?;
        check_seats(&self.members)?;
        let ids = self.members.iter().map(|seat| seat.member.id);
        need(ids.max() < Some(self.next_id), "next_id: above every number of a member")?;
        need(
            self.policy.is_valid(voters),
            "ack policy: 0 <= durable <= received <= floor(voters/2)+1, and at least one received copy",
        )?;
        need(UNSYNCED.contains(&self.unsynced_max), "unsynced_max: between 16 and 1048576 batches")?;
        match self.stage {
            Stage::Settled | Stage::Confirm | Stage::Changed => Ok(()),
            Stage::Raised(VoterChange::Promote(id)) => {
                need(self.role(id) == Some(MemberRole::Learner), "a promotion of one who is no learner")
            }
            Stage::Raised(VoterChange::Remove(id)) => {
                need(self.votes(id) && voters > 1, "a removal of one who is no voter")
            }
        }
    }

    /// Appends the control entry to `out`: at most [`CONFIGURATION_MAX`] bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        control::begin(ControlKind::Configuration, CONFIGURATION_VERSION, out);
        self.encode_payload(out);
    }

    /// Appends the entry's payload alone.
    pub fn encode_payload(&self, out: &mut Vec<u8>) {
        let (stage, change, id) = match self.stage {
            Stage::Settled => (0, 0, 0),
            Stage::Confirm => (1, 0, 0),
            Stage::Raised(VoterChange::Promote(id)) => (2, 1, id.0),
            Stage::Raised(VoterChange::Remove(id)) => (2, 2, id.0),
            Stage::Changed => (3, 0, 0),
        };
        out.extend_from_slice(&self.version.to_le_bytes());
        out.extend_from_slice(&self.unsynced_max.to_le_bytes());
        out.extend_from_slice(&(self.policy.received as u16).to_le_bytes());
        out.extend_from_slice(&self.level.to_le_bytes());
        out.extend_from_slice(&self.policy.durable.to_le_bytes());
        out.extend_from_slice(&self.next_id.0.to_le_bytes());
        out.extend_from_slice(&[stage, change]);
        out.extend_from_slice(&(self.members.len() as u16).to_le_bytes());
        out.extend_from_slice(&u64::from(id).to_le_bytes());
        for Seat { member, role } in &self.members {
            out.extend_from_slice(&member.id.0.to_le_bytes());
            out.extend_from_slice(&[*role as u8, 0]);
            for length in [member.peer.len() as u16, member.client.len() as u16, 0] {
                out.extend_from_slice(&length.to_le_bytes());
            }
            out.extend_from_slice(&member.key);
            out.extend_from_slice(member.peer.as_bytes());
            out.extend_from_slice(member.client.as_bytes());
        }
    }

    /// The configuration that a batch holds; `None` if it is another kind of batch or entry.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn of_batch(batch: &BatchView<'_>) -> Result<Option<Self>, ControlError> {
        match control::parse(batch) {
            Ok((ControlKind::Configuration, CONFIGURATION_VERSION, payload)) => {
                Self::decode_payload(payload).map(Some)
            }
            Ok((ControlKind::Configuration, version, _)) => Err(ControlError::Version(version)),
            Ok(_) | Err(ControlError::OtherBatch) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What [`Configuration::encode_payload`] wrote. Behind it may stand zeros.
    ///
    /// # Errors
    /// [`ControlError::Field`].
    pub fn decode_payload(bytes: &[u8]) -> Result<Self, ControlError> {
        let mut bytes = Bytes(bytes);
        let version = bytes.u64("version")?;
        let unsynced_max = bytes.u64("unsynced_max")?;
        let (received, level) = (bytes.u16("received")?.into(), bytes.u16("level")?);
        let policy = AckPolicy { received, durable: bytes.u32("durable")? };
        let next_id = NodeId(bytes.u32("next_id")?);
        let [stage, change] = bytes.array("stage")?;
        let count = bytes.u16("members")?;
        let id = NodeId(u32::try_from(bytes.u64("change")?).map_err(|_| ControlError::Field("change"))?);
        let stage = match (stage, change, id) {
            (0, 0, NodeId(0)) => Stage::Settled,
            (1, 0, NodeId(0)) => Stage::Confirm,
            (2, 1, id) => Stage::Raised(VoterChange::Promote(id)),
            (2, 2, id) => Stage::Raised(VoterChange::Remove(id)),
            (3, 0, NodeId(0)) => Stage::Changed,
            _ => return Err(ControlError::Field("stage")),
        };
        if usize::from(count) > MEMBERS_MAX {
            return Err(ControlError::Field("members"));
        }
        let mut members = Vec::with_capacity(count.into());
        for _ in 0..count {
            let id = NodeId(bytes.u32("id")?);
            let [role, zero] = bytes.array("role")?;
            let role = MemberRole::from_wire(role).ok_or(ControlError::Field("role"))?;
            let (peer, client) = (bytes.u16("peer")?, bytes.u16("client")?);
            if zero != 0 || bytes.u16("reserved")? != 0 {
                return Err(ControlError::Field("reserved"));
            }
            let key = bytes.array("key")?;
            let member =
                Member { id, peer: bytes.text(peer, "peer")?, client: bytes.text(client, "client")?, key };
            members.push(Seat { member, role });
        }
        if bytes.0.iter().any(|byte| *byte != 0) {
            return Err(ControlError::Field("padding"));
        }
        let configuration = Self { version, policy, unsynced_max, members, next_id, level, stage };
        match configuration.check() {
            Ok(()) => Ok(configuration),
            Err(_) => Err(ControlError::Field("configuration")),
        }
    }
}

/// What a policy becomes when the voters change: what was a majority is one, the rest stays as far as it can.
fn scaled(policy: AckPolicy, before: u32, after: u32) -> AckPolicy {
    let (was, is) = (before / 2 + 1, after / 2 + 1);
    let scale = |copies: u32| if copies >= was { is } else { copies.min(is) };
    AckPolicy { received: scale(policy.received), durable: scale(policy.durable) }
}

/// Numbers ascend; no address and no key stands twice.
fn check_seats(seats: &[Seat]) -> Result<(), String> {
    let mut addresses = Vec::new();
    for (at, Seat { member, .. }) in seats.iter().enumerate() {
        if at > 0 && member.id <= seats[at - 1].member.id {
            return Err(format!("member {} is out of order", member.id));
        }
        for address in [&member.peer, &member.client].into_iter().filter(|address| !address.is_empty()) {
            crate::members::check_address(address, member.id)?;
            if addresses.contains(&address) {
                return Err(format!("the address {address} stands twice"));
            }
            addresses.push(address);
        }
        if seats[..at].iter().any(|other| other.member.key == member.key) {
            return Err(format!("member {} has the key of another", member.id));
        }
    }
    Ok(())
}

/// What is left to be read.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], ControlError> {
        let (head, rest) = self.0.split_first_chunk().ok_or(ControlError::Field(field))?;
        self.0 = rest;
        Ok(*head)
    }

    fn u16(&mut self, field: &'static str) -> Result<u16, ControlError> {
        self.array(field).map(u16::from_le_bytes)
    }

    fn u32(&mut self, field: &'static str) -> Result<u32, ControlError> {
        self.array(field).map(u32::from_le_bytes)
    }

    fn u64(&mut self, field: &'static str) -> Result<u64, ControlError> {
        self.array(field).map(u64::from_le_bytes)
    }

    fn text(&mut self, length: u16, field: &'static str) -> Result<String, ControlError> {
        let (head, rest) = self.0.split_at_checked(length.into()).ok_or(ControlError::Field(field))?;
        self.0 = rest;
        core::str::from_utf8(head).map(str::to_owned).map_err(|_| ControlError::Field(field))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ClusterId, Nanos};
    use proptest::prelude::*;

    fn member(id: u32) -> Member {
        Member { id: NodeId(id), peer: format!("h{id}:1"), client: format!("h{id}:2"), key: [id as u8; 32] }
    }

    fn cluster(voters: u32, policy: AckPolicy) -> Configuration {
        let facts = ClusterFacts { policy, ..ClusterFacts::new(ClusterId([1; 16]), Nanos(2), voters) };
        Configuration::initial(&facts, &(0..voters).map(member).collect::<Vec<_>>())
    }

    const fn policy(received: u32, durable: u32) -> AckPolicy {
        AckPolicy { received, durable }
    }

    /// All configurations that a change goes through.
    fn run(from: &Configuration, change: &Change) -> Vec<Configuration> {
        let first = from.changed(change).unwrap();
        core::iter::successors(Some(first), Configuration::follow_up).collect()
    }

    #[test]
    fn voters_change_under_a_raised_policy() {
        #[track_caller]
        fn check(from: &Configuration, change: &Change, copies: [AckPolicy; 3], voters: &[u32]) {
            let steps = run(from, change);
            for step in &steps {
                step.check().unwrap();
            }
            assert_eq!(steps.iter().map(Configuration::copies).collect::<Vec<_>>(), copies);
            assert!(steps[0].voters().eq(from.voters()), "raised before the change");
            let voters = || voters.iter().map(|id| NodeId(*id));
            assert!(steps[1].voters().eq(voters()) && steps[2].voters().eq(voters()));
            assert_eq!(steps[2].version, from.version + 3);
        }
        for (wanted, four, two) in [
            (policy(2, 1), policy(3, 1), policy(2, 1)),
            (policy(2, 2), policy(3, 3), policy(2, 2)),
            (policy(2, 0), policy(3, 0), policy(2, 0)),
            (policy(1, 1), policy(1, 1), policy(1, 1)),
        ] {
            let three = cluster(3, wanted);
            let copies = [policy(2, 2), policy(2, 2), two];
            check(&three, &Change::Remove(NodeId(0)), copies, &[1, 2]);
            let with_learner = three.changed(&Change::AddLearner(member(3))).unwrap();
            assert_eq!((with_learner.copies(), with_learner.stage), (wanted, Stage::Settled));
            assert!(with_learner.voters().eq(three.voters()));
            let copies = [policy(2, 2), policy(3, 3), four];
            check(&with_learner, &Change::Promote(NodeId(3)), copies, &[0, 1, 2, 3]);
        }
    }

    #[test]
    fn a_change_that_is_given_up_leaves_the_voters() {
        let three = cluster(3, policy(2, 1));
        let raised = three.changed(&Change::Remove(NodeId(1))).unwrap();
        let left = raised.given_up().unwrap();
        assert_eq!(Configuration { version: 0, ..left.clone() }, three);
        assert_eq!(left.version, 2);
        assert_eq!(raised.follow_up().unwrap().given_up(), None, "what is changed is changed");
    }

    #[test]
    fn a_witness_is_refused_wherever_it_comes_from() {
        let mut three = cluster(3, policy(2, 1));
        three.members[2].role = MemberRole::Witness;
        assert_eq!(three.check(), Err("witnesses are not supported by this version".to_owned()));
        let mut bytes = Vec::new();
        three.encode_payload(&mut bytes);
        let refused = Configuration::decode_payload(&bytes);
        assert_eq!(refused, Err(ControlError::Field("configuration")));
    }

    #[test]
    fn a_stronger_policy_is_confirmed() {
        let three = cluster(3, policy(2, 1));
        for (wanted, entries) in [(policy(2, 2), 2), (policy(1, 1), 1), (policy(2, 0), 1), (policy(1, 0), 1)]
        {
            assert_eq!(run(&three, &Change::Policy(wanted)).len(), entries, "{wanted:?}");
        }
        // Weaker in one number, stronger in the other.
        assert_eq!(run(&cluster(3, policy(2, 0)), &Change::Policy(policy(1, 1))).len(), 2);
    }

    #[test]
    fn impossible_changes_are_named() {
        let three = cluster(3, policy(2, 1));
        let two = run(&three, &Change::Remove(NodeId(2))).pop().unwrap();
        let raised = three.changed(&Change::Remove(NodeId(2))).unwrap();
        let leveled = three.changed(&Change::Level(2)).unwrap();
        let moved = |change: fn(&mut Member)| {
            let mut member = member(3);
            change(&mut member);
            Change::AddLearner(member)
        };
        let mut full = three.clone();
        for id in 3..MEMBERS_MAX as u32 {
            full = full.changed(&Change::AddLearner(member(id))).unwrap();
        }
        let mut crowd = full.clone();
        for id in 3..VOTERS_MAX as u32 {
            crowd = run(&crowd, &Change::Promote(NodeId(id))).pop().unwrap();
        }
        for (from, change, expected) in [
            (&three, Change::Remove(NodeId(9)), ChangeError::Unknown(NodeId(9))),
            (&three, Change::Promote(NodeId(9)), ChangeError::Unknown(NodeId(9))),
            (&three, Change::Promote(NodeId(1)), ChangeError::Votes(NodeId(1))),
            (&two, Change::Remove(NodeId(1)), ChangeError::TooFewVoters),
            (&two, Change::AddLearner(member(2)), ChangeError::NumberUsed(NodeId(3))),
            (&raised, Change::UnsyncedMax(64), ChangeError::UnderWay),
            (&full, Change::AddLearner(member(16)), ChangeError::TooManyMembers),
            (&crowd, Change::Promote(NodeId(9)), ChangeError::TooManyVoters),
            (&three, Change::Policy(policy(3, 1)), ChangeError::Policy(3)),
            (&three, Change::Policy(policy(2, 1)), ChangeError::Nothing),
            (&three, Change::UnsyncedMax(three.unsynced_max), ChangeError::Nothing),
            (&three, Change::UnsyncedMax(15), ChangeError::UnsyncedMax),
            (&three, Change::UnsyncedMax(1 << 21), ChangeError::UnsyncedMax),
            (&three, Change::Level(0), ChangeError::Level(0)),
            (&leveled, Change::Level(2), ChangeError::Level(2)),
        ] {
            assert_eq!(from.changed(&change), Err(expected), "{change:?}");
        }
        for change in [
            moved(|member| member.peer = "h1:1".into()),
            moved(|member| member.client = "h".into()),
            moved(|member| member.client.clear()),
            moved(|member| member.key = [1; 32]),
        ] {
            assert!(matches!(three.changed(&change), Err(ChangeError::Member(_))), "{change:?}");
        }
        let mut alone = cluster(1, policy(1, 1));
        alone.members[0].member.peer.clear();
        alone.check().unwrap();
        assert_eq!(alone.changed(&Change::AddLearner(member(1))), Err(ChangeError::Alone));
        assert_eq!(alone.changed(&Change::Policy(policy(1, 0))), Err(ChangeError::Policy(1)));
    }

    #[test]
    fn policies_follow_the_voters() {
        for (before, wanted, after, expected) in [
            (3, policy(2, 1), 5, policy(3, 1)),
            (5, policy(3, 3), 4, policy(3, 3)),
            (5, policy(2, 1), 2, policy(2, 1)),
            (5, policy(2, 2), 3, policy(2, 2)),
            (4, policy(3, 2), 3, policy(2, 2)),
        ] {
            assert_eq!(scaled(wanted, before, after), expected);
            assert!(expected.is_valid(after));
        }
    }

    fn samples() -> Vec<Configuration> {
        let three = cluster(3, policy(2, 1));
        let learner = three.changed(&Change::AddLearner(member(4))).unwrap();
        let mut samples = run(&learner, &Change::Promote(NodeId(4)));
        samples.extend(run(&three, &Change::Remove(NodeId(1))));
        samples.extend(run(&three, &Change::Policy(policy(2, 2))));
        samples.extend([three, learner]);
        samples
    }

    fn payload(configuration: &Configuration) -> Vec<u8> {
        let mut bytes = Vec::new();
        configuration.encode_payload(&mut bytes);
        bytes
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(at in 0..10_usize, padding in 0..128_usize) {
            let samples = samples();
            let configuration = &samples[at % samples.len()];
            let mut bytes = payload(configuration);
            for cut in 0..bytes.len() {
                prop_assert!(Configuration::decode_payload(&bytes[..cut]).is_err());
            }
            bytes.resize(bytes.len() + padding, 0);
            prop_assert_eq!(&Configuration::decode_payload(&bytes).unwrap(), configuration);
        }

        /// Damage gives an error or a configuration that is written in the same bytes.
        #[test]
        fn hostile_bytes_do_no_harm(
            at in 0..10_usize, damage in prop::collection::vec((0..240_usize, any::<u8>()), 1..6),
        ) {
            let samples = samples();
            let mut bytes = payload(&samples[at % samples.len()]);
            let len = bytes.len();
            for (at, with) in damage {
                bytes[at % len] = with;
            }
            if let Ok(configuration) = Configuration::decode_payload(&bytes) {
                prop_assert_eq!(payload(&configuration), bytes);
            }
        }
    }

    /// Freezes the layout: `docs/format/journal.md` describes the same bytes.
    #[test]
    fn golden_configuration() {
        let learner = cluster(3, policy(2, 1)).changed(&Change::AddLearner(member(7))).unwrap();
        let learner = Configuration { level: 9, ..learner };
        let raised = learner.changed(&Change::Promote(NodeId(7))).unwrap();
        let mut bytes = Vec::new();
        raised.encode(&mut bytes);
        let mut expected = vec![1, 1, 0, 0, 0, 0, 0, 0];
        expected.extend_from_slice(&[2, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0]);
        expected.extend_from_slice(&[2, 0, 9, 0, 1, 0, 0, 0, 8, 0, 0, 0, 2, 1, 4, 0, 7, 0, 0, 0, 0, 0, 0, 0]);
        for (id, role) in [(0, 1), (1, 1), (2, 1), (7, 2)] {
            expected.extend_from_slice(&[id, 0, 0, 0, role, 0, 4, 0, 4, 0, 0, 0]);
            expected.extend_from_slice(&[id; 32]);
            expected.extend_from_slice(format!("h{id}:1h{id}:2").as_bytes());
        }
        assert_eq!(bytes, expected);
    }

    #[test]
    fn the_longest_fits() {
        let mut full = cluster(3, policy(2, 1));
        for id in 3..MEMBERS_MAX as u32 {
            full = full.changed(&Change::AddLearner(member(id))).unwrap();
        }
        for seat in &mut full.members {
            for (address, port) in [(&mut seat.member.peer, 10000), (&mut seat.member.client, 20000)] {
                *address = format!("{}:{}", "x".repeat(ADDRESS_MAX - 6), port + seat.member.id.0);
            }
        }
        full.check().unwrap();
        let mut bytes = Vec::new();
        full.encode(&mut bytes);
        assert_eq!(bytes.len(), CONFIGURATION_MAX);
    }
}
