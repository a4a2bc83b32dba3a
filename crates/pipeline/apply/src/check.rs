//! Whether bytes are a whole snapshot, without an application to load it: for nodes that send them to each other.

use crate::snapshot::{
    APPLICATION, CHUNK_HEADER, CHUNK_MAX, END, HASH, HEADER, NAME_MAX, SNAPSHOT_MAGIC, SNAPSHOT_VERSION,
    SnapshotError, TERM_ITEM, TERMS,
};
use ordain_agent::planted::{self, Mistake};
use ordain_types::{BatchIndex, Chain, ClusterFacts, Position, Term};

/// Longest part of a snapshot, bytes: what must be held before it can be checked.
pub const PART_MAX: usize = CHUNK_HEADER + CHUNK_MAX + HASH;

/// Checks a snapshot part by part: the hash of each part, which is keyed with that of the part before, the order of the
/// parts, and that it is of this cluster. What the parts say is the loader's business.
#[derive(Clone, Debug)]
pub struct Check {
    facts: [u8; 32],
    hash: [u8; HASH],
    /// Kind of the chunk before, 0 in front of the first.
    last: u8,
    chunks: u64,
    bytes: u64,
    position: Position,
    index: BatchIndex,
    chain: Chain,
    term: Term,
}

impl Check {
    /// A check that has seen nothing of a snapshot of this cluster.
    #[must_use]
    pub fn new(facts: &ClusterFacts) -> Self {
        Self {
            facts: facts.fingerprint(),
            hash: [0; HASH],
            last: 0,
            chunks: 0,
            bytes: 0,
            position: Position::ZERO,
            index: BatchIndex::ZERO,
            chain: Chain::default(),
            term: Term::ZERO,
        }
    }

    /// Checks the part at the front of `bytes` and says how long it is; 0 if `bytes` does not hold all of it.
    ///
    /// # Errors
    /// [`SnapshotError`]. The check stands where it stood: it may go on with other bytes.
    pub fn take(&mut self, bytes: &[u8]) -> Result<usize, SnapshotError> {
        let taken = if self.bytes == 0 { self.header(bytes)? } else { self.chunk(bytes)? };
        self.bytes += taken as u64;
        Ok(taken)
    }

    /// Bytes of the parts that were taken.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether the last part was taken: what `bytes` counts is a whole snapshot.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.last == END
    }

    /// The hash of the last part taken; of a whole snapshot its name among nodes.
    #[must_use]
    pub const fn hash(&self) -> [u8; HASH] {
        self.hash
    }

    /// The log position of the snapshot, as its header says.
    #[must_use]
    pub const fn position(&self) -> Position {
        self.position
    }

    /// The last batch that it stands for.
    #[must_use]
    pub const fn index(&self) -> BatchIndex {
        self.index
    }

    /// The chain value of that batch.
    #[must_use]
    pub const fn chain(&self) -> Chain {
        self.chain
    }

    /// The term of that batch, once the table of terms was taken.
    #[must_use]
    pub const fn term(&self) -> Term {
        self.term
    }

    fn header(&mut self, bytes: &[u8]) -> Result<usize, SnapshotError> {
        let Some(head) = bytes.get(..HEADER) else { return Ok(0) };
        let number = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().expect("8 bytes"));
        let half = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().expect("4 bytes"));
        if half(0) != SNAPSHOT_MAGIC {
            return Err(SnapshotError::Invalid("beginning"));
        }
        let version = half(4) as u16;
        if version != SNAPSHOT_VERSION {
            return Err(SnapshotError::Version(version));
        }
        let name = half(12) as usize;
        if name > NAME_MAX {
            return Err(SnapshotError::Invalid("name"));
        }
        let signed = HEADER + name;
        let Some(hash) = bytes.get(signed..signed + HASH) else { return Ok(0) };
        if *blake3::hash(&bytes[..signed]).as_bytes() != hash {
            return Err(SnapshotError::Damaged);
        }
        if head[16..48] != self.facts {
            return Err(SnapshotError::OtherFacts);
        }
        self.hash.copy_from_slice(hash);
        (self.index, self.position) = (BatchIndex(number(48)), Position(number(56)));
        self.chain.0.copy_from_slice(&head[88..120]);
        Ok(signed + HASH)
    }

    fn chunk(&mut self, bytes: &[u8]) -> Result<usize, SnapshotError> {
        let Some(head) = bytes.get(..CHUNK_HEADER) else { return Ok(0) };
        let (kind, length) = (head[0], u32::from_le_bytes(head[4..8].try_into().expect("4 bytes")) as usize);
        if length > CHUNK_MAX {
            return Err(SnapshotError::Invalid("length"));
        }
        let signed = CHUNK_HEADER + length;
        let Some(hash) = bytes.get(signed..signed + HASH) else { return Ok(0) };
        if *blake3::keyed_hash(&self.hash, &bytes[..signed]).as_bytes() != hash
            && !planted::is(Mistake::PartNotVerified)
        {
            return Err(SnapshotError::Damaged);
        }
        if kind < self.last || kind > self.last + 1 || self.last == END || head[1..4] != [0; 3] {
            return Err(SnapshotError::Invalid("order of chunks"));
        }
        let payload = &bytes[CHUNK_HEADER..signed];
        match kind {
            TERMS => {
                if let Some((_, item)) = payload.split_last_chunk::<TERM_ITEM>() {
                    self.term = Term(u64::from_le_bytes(item[..8].try_into().expect("8 bytes")));
                }
            }
            END if payload != self.chunks.to_le_bytes() => {
                return Err(SnapshotError::Invalid("number of chunks"));
            }
            _ => {}
        }
        const { assert!(APPLICATION + 1 == END) };
        self.hash.copy_from_slice(hash);
        self.last = kind;
        self.chunks += 1;
        Ok(signed + HASH)
    }
}
