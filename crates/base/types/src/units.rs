//! One newtype per number space. Each says which confusion it rules out.

use core::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident, $inner:ty) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl $name {
            /// The first value of the space, which no element carries where counting starts at one.
            pub const ZERO: Self = Self(0);

            /// The number as stored on the wire.
            #[must_use]
            pub const fn get(self) -> $inner {
                self.0
            }

            /// The next number.
            ///
            /// # Panics
            /// When the space is exhausted.
            #[must_use]
            pub const fn next(self) -> Self {
                match self.0.checked_add(1) {
                    Some(next) => Self(next),
                    None => panic!(concat!(stringify!($name), " exhausted")),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }
    };
}

number! {
    /// Number of a record in the log, dense from 1. Not a batch number, not a byte position.
    Seq, u64
}
number! {
    /// Number of a batch in the log, dense from 1: Raft's log index. Never counts records.
    BatchIndex, u64
}
number! {
    /// Byte position in the log, from 0, the same on every node. Never an offset in a file or ring.
    Position, u64
}
number! {
    /// Election term. Orders leaders; never compared with an index.
    Term, u64
}
number! {
    /// How often this node started, so that acknowledgements of an earlier life are not counted.
    Boot, u64
}
number! {
    /// Nanoseconds. In the log: since the Unix epoch, set by the leader. In agents: of the runner's
    /// monotonic clock. The two never meet in one expression: see [`Now`].
    Nanos, u64
}
number! {
    /// A session: the [`Seq`] of the record that opened it. 0 means none.
    SessionId, u64
}
number! {
    /// Number of a request in its session, dense from 1. Chosen by the client, consumed by the log.
    Number, u64
}
number! {
    /// Dense number of an authenticated public key, given by the log when the key was added.
    /// 0 is the node itself (ticks, genesis).
    KeyId, u32
}
number! {
    /// Number of an output in its stream, dense from 1.
    OutputSeq, u64
}
number! {
    /// A member of the cluster.
    NodeId, u32
}
number! {
    /// Counts declared losses (relaxed acknowledgements, rule R7). Within one lineage nothing
    /// acknowledged is lost. 0 on the wire: not known.
    Lineage, u16
}
number! {
    /// Counts how often this process began or ceased to lead. Ties a reply to the reign in which its
    /// batch was written, so that a reply of a vanished batch can never leave. Local to a process.
    Stint, u64
}

impl Lineage {
    /// The lineage that a new cluster begins in.
    pub const FIRST: Self = Self(1);
    /// Terms of a lineage, as a power of two: more than elections can ever use up.
    const TERMS: u32 = 32;

    /// The lineage of a term. A declared loss begins a lineage by a batch of a term that is higher than any of the
    /// lineage before, so that which lineage a log is of, and which one a node has promised to vote in, can never be
    /// at odds with its term.
    #[must_use]
    pub const fn of(term: Term) -> Self {
        let before = term.0 >> Self::TERMS;
        Self(if before < u16::MAX as u64 { before as u16 + 1 } else { u16::MAX })
    }

    /// The id of a session that a record of this lineage opens. In a later lineage numbers of records come again that
    /// were used in what was lost: a client that still believes in a lost session must not find another's.
    #[must_use]
    pub const fn session(self, seq: Seq) -> SessionId {
        SessionId(seq.0 + ((self.0.saturating_sub(1) as u64) << 48))
    }

    /// The lowest term of the lineage.
    #[must_use]
    pub const fn first_term(self) -> Term {
        Term((self.0.saturating_sub(1) as u64) << Self::TERMS)
    }
}

impl Position {
    /// `self + bytes`.
    #[must_use]
    pub const fn plus(self, bytes: u64) -> Self {
        Self(self.0 + bytes)
    }
}

impl Nanos {
    /// One microsecond.
    pub const MICRO: u64 = 1_000;
    /// One millisecond.
    pub const MILLI: u64 = 1_000_000;
    /// One second.
    pub const SECOND: u64 = 1_000_000_000;

    /// A number of milliseconds.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis * Self::MILLI)
    }

    /// `self + nanos`, at most `u64::MAX`.
    #[must_use]
    pub const fn plus(self, nanos: u64) -> Self {
        Self(self.0.saturating_add(nanos))
    }

    /// Nanoseconds from `earlier` to `self`, 0 if `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// What a runner hands to an agent instead of a clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Monotonic time of this process, for time-outs. Never leaves the process.
    pub mono: Nanos,
    /// Wall-clock time since the Unix epoch. Only the sequencer of a leader uses it, for batch time.
    pub wall: Nanos,
}

/// Identity of a cluster, drawn once when it is created.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterId(pub [u8; 16]);

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClusterId({self})")
    }
}

/// A link of the hash chain: `H(i) = blake3_keyed(key = H(i-1), batch i)`.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Chain(pub [u8; 32]);

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chain({:02x}{:02x}{:02x}{:02x}..)", self.0[0], self.0[1], self.0[2], self.0[3])
    }
}

/// Who hears an output. A stream has its own dense [`OutputSeq`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stream {
    /// Everybody who may connect.
    Public,
    /// A topic of the application's choosing (an instrument's market data, say).
    Topic(u32),
    /// An account of the application's choosing. The application decides which keys may read it.
    Account(u64),
    /// One session.
    Session(SessionId),
}

impl Stream {
    const LOW: u64 = (1 << 56) - 1;

    /// The stream as one number: the kind in the top byte, the rest below.
    ///
    /// # Panics
    /// If an account or session number needs more than 56 bits.
    #[must_use]
    pub const fn to_wire(self) -> u64 {
        match self {
            Self::Public => 0,
            Self::Topic(topic) => (1 << 56) | topic as u64,
            Self::Account(account) => {
                assert!(account <= Self::LOW);
                (2 << 56) | account
            }
            Self::Session(session) => {
                assert!(session.0 <= Self::LOW);
                (3 << 56) | session.0
            }
        }
    }

    /// The inverse of [`Stream::to_wire`]; `None` if no stream has this number.
    #[must_use]
    pub const fn from_wire(wire: u64) -> Option<Self> {
        let low = wire & Self::LOW;
        match wire >> 56 {
            0 if low == 0 => Some(Self::Public),
            1 if low <= u32::MAX as u64 => Some(Self::Topic(low as u32)),
            2 => Some(Self::Account(low)),
            3 => Some(Self::Session(SessionId(low))),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_survive_the_wire() {
        for stream in [
            Stream::Public,
            Stream::Topic(u32::MAX),
            Stream::Account(Stream::LOW),
            Stream::Session(SessionId(7)),
        ] {
            assert_eq!(Stream::from_wire(stream.to_wire()), Some(stream));
        }
        for wire in [1, (1 << 56) | (1 << 32), 4 << 56, u64::MAX] {
            assert_eq!(Stream::from_wire(wire), None, "{wire:#x}");
        }
    }

    #[test]
    #[should_panic(expected = "Seq exhausted")]
    fn a_number_space_never_wraps() {
        let _ = Seq(u64::MAX).next();
    }
}
