//! What became of a request, as one byte on the wire.

/// Answer codes of the runtime. What an application decides (a risk rejection, say) is in its reply.
///
/// Codes below 64 answer a request that the log holds: [`Code::Executed`] once and for all, the others
/// because the session already decided. Codes from 64 on are refusals *before* sequencing: the request
/// is not in the log, was not executed, and its number is still free.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Code {
    /// Executed; the payload is the application's reply.
    Executed = 0,
    /// The number was used with other bytes. The original reply stands.
    Conflict = 1,
    /// The number is below what the client itself declared closed, or below the window.
    Forgotten = 2,
    /// Not the next number of the session; the frame's `seq` field holds the number expected. Not executed.
    Expected = 3,
    /// The session does not exist, has been closed or has expired. Not executed.
    UnknownSession = 4,
    /// The session belongs to another key. Not executed.
    WrongKey = 5,
    /// The cluster's bound on sessions, or on sessions of one key, is reached.
    TooManySessions = 6,
    /// Malformed as judged in the log (a runtime record with an impossible body). Not executed.
    Invalid = 7,

    /// Too much in flight on this connection or session: wait for answers, then try again.
    Busy = 64,
    /// The node has no room to journal: an operator must free disk space. Try again later.
    NoRoom = 65,
    /// The copies that the ack policy names cannot exist at present. Try again later.
    NoCopies = 66,
    /// This node does not lead. The payload names the leader if it is known.
    NotLeader = 67,
    /// The key lacks a permission that the request needs.
    NotPermitted = 68,
    /// The payload is no request of the application.
    Malformed = 69,
    /// Another connection resumed the session.
    Fenced = 70,
    /// The connection has not resumed this session.
    NotAttached = 71,
    /// The node is stopping.
    Stopping = 72,
    /// The node is still replaying its journal.
    Starting = 73,
    /// The node does not serve this (a frame kind or protocol version it does not know).
    Unsupported = 74,
    /// Authentication failed: unknown key, wrong signature, wrong cluster.
    Unauthenticated = 75,
    /// The peer was too slow to read its answers.
    TooSlow = 76,
    /// The output asked for is older than what this node retains; the frame's `seq` is the oldest kept.
    TooOld = 77,
    /// No message for longer than the idle bound.
    Idle = 78,
    /// A change of the cluster waits for something that will pass: another change, a copy, a commitment.
    NotYet = 79,
    /// The cluster cannot be changed like that.
    Impossible = 80,
}

impl Code {
    /// Every code, in wire order.
    pub const ALL: [Self; 25] = [
        Self::Executed,
        Self::Conflict,
        Self::Forgotten,
        Self::Expected,
        Self::UnknownSession,
        Self::WrongKey,
        Self::TooManySessions,
        Self::Invalid,
        Self::Busy,
        Self::NoRoom,
        Self::NoCopies,
        Self::NotLeader,
        Self::NotPermitted,
        Self::Malformed,
        Self::Fenced,
        Self::NotAttached,
        Self::Stopping,
        Self::Starting,
        Self::Unsupported,
        Self::Unauthenticated,
        Self::TooSlow,
        Self::TooOld,
        Self::Idle,
        Self::NotYet,
        Self::Impossible,
    ];

    /// What it means to the sender, and what to do.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Executed => "executed",
            Self::Conflict => "the number was used with other bytes; the first reply stands",
            Self::Forgotten => "the request is so old that its reply is not kept any more",
            Self::Expected => "not the number that the session expects next",
            Self::UnknownSession => "the session does not exist, was closed or has expired",
            Self::WrongKey => "the session belongs to another key",
            Self::TooManySessions => {
                "there are as many sessions as there may be; close some, or let them expire"
            }
            Self::Invalid => "the request makes no sense",
            Self::Busy => "too much is in flight; wait for answers, then try again",
            Self::NoRoom => "the node's disk is full; an operator must free space",
            Self::NoCopies => "too few nodes are there to keep the copies asked for; try again later",
            Self::NotLeader => "this node does not lead; ask another",
            Self::NotPermitted => "the key lacks a permission that this needs",
            Self::Malformed => "the payload is no request of the application",
            Self::Fenced => "another connection took the session over",
            Self::NotAttached => "the connection has not resumed this session",
            Self::Stopping => "the node is stopping; try again later",
            Self::Starting => "the node is starting; try again soon",
            Self::Unsupported => {
                "the node does not know this kind of frame or version; use a client of its version"
            }
            Self::Unauthenticated => "the key is not known to the cluster, or the signature is wrong",
            Self::TooSlow => "the answers were not read fast enough",
            Self::TooOld => "so old an output is not kept any more",
            Self::Idle => "nothing was said for too long",
            Self::NotYet => "the cluster cannot be changed like that now; try again later",
            Self::Impossible => "the cluster cannot be changed like that",
        }
    }

    /// The code with this number on the wire.
    #[must_use]
    pub fn from_wire(wire: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|code| *code as u8 == wire)
    }

    /// Whether the request was refused before it was sequenced, so that its number is still free.
    #[must_use]
    pub const fn is_refusal(self) -> bool {
        self as u8 >= 64
    }
}

impl core::fmt::Display for Code {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.text())
    }
}
