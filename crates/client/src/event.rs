//! What a client is told.

use core::fmt;
use ordain_keys::{HandshakeError, Identified};
use ordain_types::codes::Code;
use ordain_types::frame::WelcomeBody;
use ordain_types::{BatchIndex, Lineage, Number, OutputSeq, Receipt, Seq, SessionId, Stream};

/// A request in the caller's hands, numbered from 1 in the order of submission. Unlike its [`Number`] it
/// never changes: a refusal in front of a request moves its number, and sessions come and go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// A query, or a receipt asked for, in the caller's hands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueryId(pub u64);

/// What became of a request. Exactly one for each that was submitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completion<'a> {
    /// Which.
    pub ticket: Ticket,
    /// The number it had last.
    pub number: Number,
    /// What became of it.
    pub outcome: Outcome<'a>,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// Executed, once.
    Acknowledged {
        /// Its record in the log.
        seq: Seq,
        /// The application's reply.
        reply: &'a [u8],
    },
    /// Not executed, and never will be.
    NotExecuted(Code),
    /// It may or may not have been executed: its session is gone, and nobody can tell any more.
    Unknown,
}

/// Why a query or a wish for a receipt has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueryError {
    /// The node refused it.
    Refused(Code),
    /// The connection ended first. Ask again.
    Disconnected,
}

/// What happened.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// The node has proved who it is and has accepted the client's key.
    SignedIn {
        /// The node.
        node: Identified,
        /// The bounds in force.
        welcome: WelcomeBody,
    },
    /// A session was opened: requests are taken.
    SessionOpened(SessionId),
    /// The session goes on, on a new connection: requests are taken.
    SessionResumed(SessionId),
    /// The session was closed as asked.
    SessionClosed(SessionId),
    /// The session is gone. What became of its open requests follows, then another is opened.
    SessionLost {
        /// Which.
        session: SessionId,
        /// UnknownSession: it expired. Fenced: somebody else resumed it. WrongKey: it was never this key's.
        /// Expected: its numbers are not those that this client used.
        code: Code,
    },
    /// What became of a request.
    Completed(Completion<'a>),
    /// What became of a query: the last record that the answer reflects, and the answer.
    Answered(QueryId, Result<(Seq, &'a [u8]), QueryError>),
    /// What became of a wish for a receipt.
    Receipt(QueryId, Result<Receipt, QueryError>),
    /// What became of a change of the cluster: the batch that holds it, 0 if it needs none; or why not, and the
    /// same in words of the node's. After [`QueryError::Disconnected`] it may have happened all the same.
    Steered(QueryId, Result<BatchIndex, (QueryError, &'a str)>),
    /// A page of the cluster's members, which the shell asked for ([`read_page`](ordain_types::roster::read_page)).
    Members(&'a [u8]),
    /// Outputs of `stream` follow, from `next` on.
    Subscribed {
        /// Which.
        stream: Stream,
        /// The first to come.
        next: OutputSeq,
    },
    /// No outputs of `stream` follow; the subscription is gone.
    SubscriptionRefused {
        /// Which.
        stream: Stream,
        /// Why.
        code: Code,
        /// If it is TooOld, the oldest output that the node has.
        oldest: OutputSeq,
    },
    /// An output.
    Output {
        /// Its stream.
        stream: Stream,
        /// Its number.
        number: OutputSeq,
        /// The record that caused it.
        seq: Seq,
        /// The application's bytes.
        payload: &'a [u8],
    },
    /// The cluster has declared a loss: something acknowledged under the old lineage may be gone.
    DataLost {
        /// The lineage before.
        before: Lineage,
        /// The lineage now.
        now: Lineage,
    },
    /// The connection is at an end: close the socket, connect again, perhaps elsewhere.
    Disconnected(Ending<'a>),
}

/// Why a connection is at an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending<'a> {
    /// The node could not prove itself, or is not the one that is meant.
    Handshake(HandshakeError),
    /// The node said goodbye.
    Goodbye {
        /// Why.
        code: Code,
        /// The same in words; from the node, so not to be trusted.
        why: &'a str,
    },
    /// This node is not the one to ask at present.
    Elsewhere {
        /// Why.
        code: Code,
        /// The leader's address as far as the node knows; a hint, not to be trusted.
        leader: &'a str,
    },
    /// No session is to be had.
    NoSession(Code),
    /// The node sent what it must not.
    Protocol(&'static str),
    /// Nothing was heard for too long.
    Silent,
    /// The socket is closed or broken, or could not be opened.
    Closed,
}

impl Ending<'_> {
    /// Whether trying again will not help until somebody changes a key, an address or a program.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        matches!(
            self,
            Self::Handshake(_) | Self::Goodbye { code: Code::Unauthenticated | Code::Unsupported, .. }
        )
    }
}

impl fmt::Display for Ending<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Handshake(error) => write!(f, "the sign-in failed: {error}"),
            Self::Goodbye { code, why } => {
                write!(f, "the node ended the connection: {code}; it says {why:?}")
            }
            Self::Elsewhere { code, leader: "" } => {
                write!(f, "the node cannot serve this now: {code}")
            }
            Self::Elsewhere { code, leader } => {
                write!(f, "the node cannot serve this now: {code}; it names {leader:?} as leader")
            }
            Self::NoSession(code) => {
                write!(f, "no session could be opened: {code}")
            }
            Self::Protocol(what) => write!(f, "the node broke the protocol ({what}): check the address"),
            Self::Silent => write!(f, "the node fell silent: check it and the network"),
            Self::Closed => write!(f, "the connection could not be made or broke: check node and address"),
        }
    }
}
