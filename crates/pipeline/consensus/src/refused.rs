//! What comes of an operator's wish.

use core::fmt;
use ordain_types::NodeId;
use ordain_types::configuration::ChangeError;

/// A change was taken: its first configuration is the next batch that the shell seals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proposed {
    /// Version of that configuration.
    pub version: u64,
}

/// Why a leader does not do what an operator asks for. Nothing has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// This node does not lead.
    NotLeader,
    /// The leader has not committed anything in its term yet.
    NotReady,
    /// A change is not finished.
    UnderWay,
    /// Leadership is being handed over.
    Transferring,
    /// The node is not connected, or has not been heard of for an election time-out.
    NotConnected(NodeId),
    /// The node is so many batches behind.
    Lags {
        /// Who.
        node: NodeId,
        /// How many.
        batches: u64,
    },
    /// Too few of the voters that would be left are connected and caught up.
    NoQuorum {
        /// How many are.
        present: usize,
        /// How many must be.
        needed: usize,
    },
    /// No member of that number may lead.
    NoVoter(NodeId),
    /// No other voter has all that this one has.
    NobodyReady,
    /// The log cannot grow at present: a full ring or disk, or copies are missing.
    Blocked,
    /// The change makes no configuration.
    Change(ChangeError),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLeader => write!(f, "this node does not lead: ask the leader"),
            Self::NotReady => write!(f, "the leader was just elected: try again in a moment"),
            Self::UnderWay => write!(f, "another change is not committed yet: try again when it is"),
            Self::Transferring => write!(f, "leadership is being handed over: ask the next leader"),
            Self::NotConnected(node) => {
                write!(f, "node {node} is not connected to the leader: start it, or look at its log")
            }
            Self::Lags { node, batches } => {
                write!(f, "node {node} is {batches} batches behind: try again when it has caught up")
            }
            Self::NoQuorum { present, needed } => write!(
                f,
                "of the voters that would be left, {present} are connected and caught up and {needed} are needed: \
                 bring them back first, or promote another member"
            ),
            Self::NoVoter(node) => write!(f, "node {node} is no voter other than the leader"),
            Self::NobodyReady => {
                write!(f, "no other voter has caught up: try again when one has, or name one")
            }
            Self::Blocked => write!(f, "the log cannot grow at present: see the leader's log and metrics"),
            Self::Change(error) => write!(f, "{error}"),
        }
    }
}

impl core::error::Error for Refused {}

impl From<ChangeError> for Refused {
    fn from(error: ChangeError) -> Self {
        Self::Change(error)
    }
}
