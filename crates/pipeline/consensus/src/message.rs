//! What nodes say to each other about elections and the log. Layout: `docs/format/peer.md`.
//!
//! A frame is a 32-byte [`Header`] and a body whose length its kind fixes. Behind an `Append` frame
//! follow `batches` bytes of batches, verbatim as the leader's log holds them.

use crate::LogEnd;
use ordain_types::configuration::Configuration;
use ordain_types::facts::AckPolicy;
use ordain_types::{BatchIndex, Boot, Term};
use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned,
    little_endian::{U32, U64},
};

/// Version of the peer protocol that this build speaks.
pub const PEER_VERSION: u8 = 1;
/// Bytes of a [`Header`].
pub const HEADER: usize = 32;
/// Longest frame, bytes, without the batches that follow an `Append`.
pub const FRAME_MAX: usize = HEADER + size_of::<AppendBody>();
/// Most bytes of batches behind one `Append`: bounds what a receiver must be ready to buffer.
pub const BATCHES_MAX: u32 = 1024 * 1024;

const _: () = assert!(size_of::<Header>() == HEADER);
const _: () = assert!(BATCHES_MAX as usize >= ordain_types::batch::BATCH_MAX);

/// How a voter judged a candidate (rules R2 and R3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grant {
    /// The candidate holds what the voter's log holds.
    Weak,
    /// The candidate holds all that the voter ever acknowledged.
    Strong,
}

/// How many copies commit a batch: received, and of these synced. [`Copies::MAJORITY`] stands for a majority of
/// whatever voters it is applied to, and no number counts beyond that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copies {
    /// m.
    pub received: u8,
    /// k.
    pub durable: u8,
}

impl Copies {
    /// Plain Raft.
    pub const MAJORITY: Self = Self { received: u8::MAX, durable: u8::MAX };

    /// What a configuration asks for.
    pub(crate) fn of(configuration: &Configuration) -> Self {
        if configuration.is_raised() {
            return Self::MAJORITY;
        }
        let AckPolicy { received, durable } = configuration.policy;
        Self { received: received as u8, durable: durable as u8 }
    }

    /// The weaker of both numbers each.
    pub(crate) fn min(self, other: Self) -> Self {
        Self { received: self.received.min(other.received), durable: self.durable.min(other.durable) }
    }

    /// The stronger of both numbers each.
    pub(crate) fn max(self, other: Self) -> Self {
        Self { received: self.received.max(other.received), durable: self.durable.max(other.durable) }
    }

    /// (m, k) for `n` voters.
    pub(crate) fn of_voters(self, n: usize) -> (usize, usize) {
        let majority = n / 2 + 1;
        (usize::from(self.received).min(majority), usize::from(self.durable).min(majority))
    }
}

/// What the sender of a frame may be counted for (rule R9).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// It knows what it promised.
    #[default]
    Whole,
    /// Its data directory began empty, so that it may have promised what it does not know: it gives no vote and
    /// counts for no copy.
    Blank,
    /// As `Blank`, and it has taken in nothing of any leader either.
    Empty,
    /// It knows what it promised, its log ends where a declared loss began a lineage (rule R7), and nobody has been
    /// asked for a vote in that lineage yet: before that, nobody can have promised anything in it.
    Unopened,
}

/// A frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// The sender's term.
    pub term: Term,
    /// The sender's life.
    pub boot: Boot,
    /// The life of the receiver that the sender means, 0 if it knows none.
    pub to_boot: Boot,
    /// What the sender may be counted for.
    pub standing: Standing,
    /// The rest.
    pub body: Body,
}

/// What a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// I live, and this is my number (rule R5).
    Hello,
    /// Would you vote for me in the term after mine? Promises nothing and changes nothing.
    PreVote {
        /// The end of my log.
        end: LogEnd,
    },
    /// Answer to `PreVote`.
    PreVoteReply {
        /// The term that was asked about.
        proposed: Term,
        /// `None`: no.
        grant: Option<Grant>,
        /// The weakest policy that may be in use as far as the voter knows (rule R6).
        weakest: Copies,
    },
    /// Vote for me in this term.
    Vote {
        /// The end of my log.
        end: LogEnd,
    },
    /// Answer to `Vote`; a grant is synced before it leaves.
    VoteReply {
        /// `None`: no.
        grant: Option<Grant>,
        /// The weakest policy that may be in use as far as the voter knows (rule R6).
        weakest: Copies,
    },
    /// I lead this term.
    Append(Append),
    /// Answer of a follower whose log matches.
    Ack {
        /// Its log matches the leader's up to here.
        matched: BatchIndex,
        /// Of these, its kernel has up to here.
        received: BatchIndex,
        /// Of these, its disk has up to here.
        durable: BatchIndex,
        /// Highest read round seen in this term.
        round: u64,
    },
    /// Answer to an `Append` whose previous batch the follower does not hold, or to one of a past term.
    Reject {
        /// Index of that previous batch.
        previous: BatchIndex,
        /// The follower's last batch at or before it with a term no higher than was asked about.
        hint: LogEnd,
    },
    /// I lead, you have my whole log: ask for votes now, without asking first whether you would get them.
    TimeoutNow,
}

/// Body of `Append`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Append {
    /// The batch before the first that follows; the end of what was sent, if none does.
    pub previous: LogEnd,
    /// Committed up to here.
    pub commit: BatchIndex,
    /// A receiver in the life named by `to_boot` whose log matches and is written up to here owes no
    /// floor any more (rule R5).
    pub mark: BatchIndex,
    /// Latest read round.
    pub round: u64,
    /// Bytes of batches that follow, at most [`BATCHES_MAX`].
    pub batches: u32,
    /// All other voters have confirmed this term since the sender heard of the receiver's life (rule R9).
    pub admits: bool,
}

/// Why received bytes are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// More bytes are needed.
    Incomplete,
    /// A version that this build does not speak.
    Version(u8),
    /// No frame holds this.
    Malformed(&'static str),
}

impl core::fmt::Display for DecodeError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Incomplete => write!(f, "the frame is cut short: read more bytes"),
            Self::Version(version) => {
                write!(
                    f,
                    "the peer speaks version {version}, this node {PEER_VERSION}: upgrade the older one"
                )
            }
            Self::Malformed(field) => {
                write!(f, "the frame's `{field}` holds an impossible value: close the connection")
            }
        }
    }
}

impl core::error::Error for DecodeError {}

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Header {
    length: U32,
    version: u8,
    kind: u8,
    standing: u8,
    reserved: u8,
    term: U64,
    boot: U64,
    to_boot: U64,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct EndBody {
    term: U64,
    index: U64,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct GrantBody {
    proposed: U64,
    grant: u8,
    received: u8,
    durable: u8,
    reserved: [u8; 5],
}

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct AppendBody {
    previous: EndBody,
    commit: U64,
    mark: U64,
    round: U64,
    batches: U32,
    admits: u8,
    reserved: [u8; 3],
}

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct AckBody {
    matched: U64,
    received: U64,
    durable: U64,
    round: U64,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RejectBody {
    previous: U64,
    hint: EndBody,
}

mod kind {
    pub const HELLO: u8 = 1;
    pub const PRE_VOTE: u8 = 2;
    pub const PRE_VOTE_REPLY: u8 = 3;
    pub const VOTE: u8 = 4;
    pub const VOTE_REPLY: u8 = 5;
    pub const APPEND: u8 = 6;
    pub const ACK: u8 = 7;
    pub const REJECT: u8 = 8;
    pub const TIMEOUT_NOW: u8 = 9;
}

impl From<LogEnd> for EndBody {
    fn from(end: LogEnd) -> Self {
        Self { term: end.term.0.into(), index: end.index.0.into() }
    }
}

impl From<EndBody> for LogEnd {
    fn from(end: EndBody) -> Self {
        Self { term: Term(end.term.get()), index: BatchIndex(end.index.get()) }
    }
}

impl GrantBody {
    fn new(proposed: Term, grant: Option<Grant>, weakest: Copies) -> Self {
        let grant = match grant {
            None => 0,
            Some(Grant::Weak) => 1,
            Some(Grant::Strong) => 2,
        };
        let Copies { received, durable } = weakest;
        Self { proposed: proposed.0.into(), grant, received, durable, reserved: [0; 5] }
    }

    fn grant(&self) -> Result<Option<Grant>, DecodeError> {
        if self.reserved != [0; 5] {
            return Err(DecodeError::Malformed("reserved"));
        }
        match self.grant {
            0 => Ok(None),
            1 => Ok(Some(Grant::Weak)),
            2 => Ok(Some(Grant::Strong)),
            _ => Err(DecodeError::Malformed("grant")),
        }
    }

    fn weakest(&self) -> Copies {
        Copies { received: self.received, durable: self.durable }
    }
}

fn read<T: FromBytes + KnownLayout + Immutable + Unaligned + Copy>(body: &[u8]) -> Result<T, DecodeError> {
    T::read_from_bytes(body).map_err(|_| DecodeError::Malformed("length"))
}

impl Message {
    /// Writes the frame to the start of `out` and returns its length, at most [`FRAME_MAX`].
    ///
    /// # Panics
    /// If `out` is shorter than [`FRAME_MAX`].
    #[inline]
    pub fn encode(&self, out: &mut [u8]) -> usize {
        fn write<T: IntoBytes + Immutable>(out: &mut [u8; FRAME_MAX], body: T) -> usize {
            body.write_to_prefix(&mut out[HEADER..]).expect("room for the longest frame");
            HEADER + size_of::<T>()
        }
        // Of known length, so that no write is checked again.
        let out = out.first_chunk_mut::<FRAME_MAX>().expect("room for the longest frame");
        let (kind, length) = match self.body {
            Body::Hello => (kind::HELLO, HEADER),
            Body::PreVote { end } => (kind::PRE_VOTE, write(out, EndBody::from(end))),
            Body::PreVoteReply { proposed, grant, weakest } => {
                (kind::PRE_VOTE_REPLY, write(out, GrantBody::new(proposed, grant, weakest)))
            }
            Body::Vote { end } => (kind::VOTE, write(out, EndBody::from(end))),
            Body::VoteReply { grant, weakest } => {
                (kind::VOTE_REPLY, write(out, GrantBody::new(Term::ZERO, grant, weakest)))
            }
            Body::Append(append) => (kind::APPEND, write(out, append.to_wire())),
            Body::Ack { matched, received, durable, round } => {
                let body = AckBody {
                    matched: matched.0.into(),
                    received: received.0.into(),
                    durable: durable.0.into(),
                    round: round.into(),
                };
                (kind::ACK, write(out, body))
            }
            Body::Reject { previous, hint } => {
                (kind::REJECT, write(out, RejectBody { previous: previous.0.into(), hint: hint.into() }))
            }
            Body::TimeoutNow => (kind::TIMEOUT_NOW, HEADER),
        };
        let header = Header {
            length: (length as u32).into(),
            version: PEER_VERSION,
            kind,
            standing: self.standing as u8,
            reserved: 0,
            term: self.term.0.into(),
            boot: self.boot.0.into(),
            to_boot: self.to_boot.0.into(),
        };
        header.write_to_prefix(&mut out[..]).expect("room for the longest frame");
        length
    }

    /// The frame at the start of `bytes`, and how many bytes it takes (without batches that follow).
    ///
    /// # Errors
    /// [`DecodeError`]; only after `Incomplete` does it make sense to read on.
    #[inline] // Else the message is copied as a whole right after its fields were written, which stalls.
    pub fn decode(bytes: &[u8]) -> Result<(Self, usize), DecodeError> {
        let (header, _) = Header::ref_from_prefix(bytes).map_err(|_| DecodeError::Incomplete)?;
        if header.version != PEER_VERSION {
            return Err(DecodeError::Version(header.version));
        }
        if header.reserved != 0 {
            return Err(DecodeError::Malformed("reserved"));
        }
        let standing = match header.standing {
            0 => Standing::Whole,
            1 => Standing::Blank,
            2 => Standing::Empty,
            3 => Standing::Unopened,
            _ => return Err(DecodeError::Malformed("standing")),
        };
        let length = header.length.get() as usize;
        if !(HEADER..=FRAME_MAX).contains(&length) {
            return Err(DecodeError::Malformed("length"));
        }
        let body = bytes.get(HEADER..length).ok_or(DecodeError::Incomplete)?;
        // Half the number space is enough for everybody, and no sum of two numbers overflows.
        let (numbers, _) = bytes[8..length].as_chunks::<8>();
        if numbers.iter().fold(0, |all, number| all | u64::from_le_bytes(*number)) >> 63 != 0 {
            return Err(DecodeError::Malformed("number"));
        }
        let body = match header.kind {
            kind::HELLO if body.is_empty() => Body::Hello,
            kind::TIMEOUT_NOW if body.is_empty() => Body::TimeoutNow,
            kind::HELLO | kind::TIMEOUT_NOW => return Err(DecodeError::Malformed("length")),
            kind::PRE_VOTE => Body::PreVote { end: read::<EndBody>(body)?.into() },
            kind::PRE_VOTE_REPLY => {
                let body: GrantBody = read(body)?;
                let (grant, weakest) = (body.grant()?, body.weakest());
                Body::PreVoteReply { proposed: Term(body.proposed.get()), grant, weakest }
            }
            kind::VOTE => Body::Vote { end: read::<EndBody>(body)?.into() },
            kind::VOTE_REPLY => {
                let body: GrantBody = read(body)?;
                if body.proposed.get() != 0 {
                    return Err(DecodeError::Malformed("reserved"));
                }
                Body::VoteReply { grant: body.grant()?, weakest: body.weakest() }
            }
            kind::APPEND => Body::Append(Append::from_wire(&read(body)?)?),
            kind::ACK => {
                let body: AckBody = read(body)?;
                Body::Ack {
                    matched: BatchIndex(body.matched.get()),
                    received: BatchIndex(body.received.get()),
                    durable: BatchIndex(body.durable.get()),
                    round: body.round.get(),
                }
            }
            kind::REJECT => {
                let body: RejectBody = read(body)?;
                Body::Reject { previous: BatchIndex(body.previous.get()), hint: body.hint.into() }
            }
            _ => return Err(DecodeError::Malformed("kind")),
        };
        let message = Self {
            term: Term(header.term.get()),
            boot: Boot(header.boot.get()),
            to_boot: Boot(header.to_boot.get()),
            standing,
            body,
        };
        Ok((message, length))
    }
}

impl Append {
    fn to_wire(self) -> AppendBody {
        AppendBody {
            previous: self.previous.into(),
            commit: self.commit.0.into(),
            mark: self.mark.0.into(),
            round: self.round.into(),
            batches: self.batches.into(),
            admits: self.admits.into(),
            reserved: [0; 3],
        }
    }

    fn from_wire(body: &AppendBody) -> Result<Self, DecodeError> {
        if body.batches.get() > BATCHES_MAX {
            return Err(DecodeError::Malformed("batches"));
        }
        if body.reserved != [0; 3] || body.admits > 1 {
            return Err(DecodeError::Malformed("reserved"));
        }
        Ok(Self {
            previous: body.previous.into(),
            commit: BatchIndex(body.commit.get()),
            mark: BatchIndex(body.mark.get()),
            round: body.round.get(),
            batches: body.batches.get(),
            admits: body.admits == 1,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(kind: u8, a: u64, b: u64, c: u64, d: u64) -> Message {
        let end = LogEnd { term: Term(a), index: BatchIndex(b) };
        let grant = [None, Some(Grant::Weak), Some(Grant::Strong)][(a % 3) as usize];
        let weakest = Copies { received: a as u8, durable: c as u8 };
        let body = match kind {
            0 => Body::Hello,
            8 => Body::TimeoutNow,
            1 => Body::PreVote { end },
            2 => Body::PreVoteReply { proposed: Term(b), grant, weakest },
            3 => Body::Vote { end },
            4 => Body::VoteReply { grant, weakest },
            5 => Body::Append(Append {
                previous: end,
                commit: BatchIndex(c),
                mark: BatchIndex(d),
                round: b,
                batches: (c % u64::from(BATCHES_MAX)) as u32,
                admits: a % 2 == 1,
            }),
            6 => Body::Ack {
                matched: BatchIndex(a),
                received: BatchIndex(b),
                durable: BatchIndex(c),
                round: d,
            },
            _ => Body::Reject { previous: BatchIndex(c), hint: end },
        };
        let standing =
            [Standing::Whole, Standing::Blank, Standing::Empty, Standing::Unopened][(b % 4) as usize];
        Message { term: Term(d), boot: Boot(c), to_boot: Boot(b), standing, body }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(kind in 0_u8..9, numbers in prop::array::uniform4(0..1_u64 << 63)) {
            let [a, b, c, d] = numbers;
            let message = message(kind, a, b, c, d);
            let mut bytes = [0xEE; FRAME_MAX];
            let length = message.encode(&mut bytes);
            prop_assert_eq!(Message::decode(&bytes), Ok((message, length)));
            for cut in 0..length {
                prop_assert_eq!(Message::decode(&bytes[..cut]), Err(DecodeError::Incomplete));
            }
        }

        /// Damage anywhere gives an error or a frame that encodes to the same bytes: nothing is read
        /// that was not written.
        #[test]
        fn hostile_bytes_do_no_harm(
            kind in 0_u8..9, a in 0..1_u64 << 63, b in 0..1_u64 << 63,
            damage in prop::collection::vec((0..FRAME_MAX, any::<u8>()), 1..6),
        ) {
            let mut bytes = [0; FRAME_MAX];
            message(kind, a, b, a, b).encode(&mut bytes);
            for (at, with) in damage {
                bytes[at] = with;
            }
            if let Ok((message, length)) = Message::decode(&bytes) {
                let mut again = [0; FRAME_MAX];
                prop_assert_eq!(message.encode(&mut again), length);
                prop_assert_eq!(&bytes[..length], &again[..length]);
            }
        }

        #[test]
        fn noise_does_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Message::decode(&bytes);
        }
    }

    /// Freezes the layout: `docs/format/peer.md` shows the same bytes.
    #[test]
    fn golden_append() {
        let append = Append {
            previous: LogEnd { term: Term(2), index: BatchIndex(3) },
            commit: BatchIndex(4),
            mark: BatchIndex(5),
            round: 6,
            batches: 0x80,
            admits: true,
        };
        let message = Message {
            term: Term(7),
            boot: Boot(8),
            to_boot: Boot(9),
            standing: Standing::Unopened,
            body: Body::Append(append),
        };
        let mut bytes = [0; FRAME_MAX];
        assert_eq!(message.encode(&mut bytes), 80);
        let words: Vec<u64> =
            bytes.chunks(8).map(|word| u64::from_le_bytes(word.try_into().unwrap())).collect();
        assert_eq!(words, [80 | 1 << 32 | 6 << 40 | 3 << 48, 7, 8, 9, 2, 3, 4, 5, 6, 0x80 | 1 << 32]);
    }
}
