//! What a node must not forget: its term and vote, its watermark, whether it stopped cleanly.
//!
//! The file has two slots with a generation and a checksum each. A store writes the slot that does not hold
//! the newest state, so a torn write never costs more than the state that was being written and not yet
//! reported. What matters for safety is then mirrored into the other slot: from there on damage to either
//! slot costs nothing.

use ordain_types::{BatchIndex, Boot, ClusterFacts, ClusterId, Lineage, NodeId, Position, Term};
use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned,
    little_endian::{U16, U32, U64},
};

/// Bytes of a slot: a page, which disks write whole or not at all more often than not.
pub const SLOT_LEN: usize = 4096;
/// Bytes of the node-state file.
pub const NODE_STATE_LEN: usize = 2 * SLOT_LEN;

const MAGIC: u32 = u32::from_le_bytes(*b"ORDN");
const VERSION: u8 = 1;
const CRC_AT: usize = SLOT_LEN - 4;

const CLEAN: u8 = 1;
const CUT: u8 = 2;
const FLOOR: u8 = 4;
const BLANK: u8 = 8;

/// Identity of one run of the operating system (Linux: `boot_id`), so that a node which was killed, while
/// the system kept its written bytes, counts as clean. All zeros: unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OsBoot(pub [u8; 16]);

impl OsBoot {
    /// Whether both are known to be the same run.
    #[must_use]
    pub fn is_same(self, other: Self) -> bool {
        self == other && self != Self::default()
    }
}

/// A border between batches: the last batch before it, and where that ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    /// The last batch before it.
    pub index: BatchIndex,
    /// Where that batch ends.
    pub position: Position,
}

/// Promise floor of a node that restarted dirty (rule R2): a candidate's log must end at or behind it for
/// this node's vote to be strong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Floor {
    /// Term.
    pub term: Term,
    /// Index.
    pub index: BatchIndex,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeState {
    /// The cluster.
    pub cluster: ClusterId,
    /// [`ClusterFacts::fingerprint`].
    pub facts: [u8; 32],
    /// Highest term seen.
    pub term: Term,
    /// Who got the vote in that term.
    pub voted_for: Option<NodeId>,
    /// Highest term in which an append was accepted, or led.
    pub ack_term: Term,
    /// Number of this life: rises with each start. The first one in an empty data directory is random where there are
    /// other nodes, so that they do not take it for an earlier one.
    pub boot: Boot,
    /// The run of the operating system in which it last ran.
    pub os_boot: OsBoot,
    /// Whether it stopped with everything synced and has not been started since.
    pub clean: bool,
    /// Everything before it is synced; a bad batch before it is damage.
    pub watermark: Mark,
    /// A cut that was decided and may not be finished: nothing behind it counts.
    pub cut: Option<Mark>,
    /// The promise floor that is owed.
    pub floor: Option<Floor>,
    /// The node began with an empty data directory, and may have promised in an earlier one what is not known here
    /// (rule R9).
    pub blank: bool,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Slot {
    magic: U32,
    version: u8,
    flags: u8,
    lineage: U16,
    generation: U64,
    cluster: [u8; 16],
    facts: [u8; 32],
    os_boot: [u8; 16],
    boot: U64,
    term: U64,
    voted_for: U64,
    ack_term: U64,
    watermark_index: U64,
    watermark_position: U64,
    cut_index: U64,
    cut_position: U64,
    floor_term: U64,
    floor_index: U64,
}

/// Why a slot cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotFault {
    /// Never written: all zeros.
    Empty,
    /// Magic or checksum is wrong, or bytes are missing.
    Damaged,
    /// A version that this build does not read.
    Version(u8),
    /// Whole, but a value is impossible.
    Field(&'static str),
}

impl core::fmt::Display for SlotFault {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Empty => write!(f, "never written"),
            Self::Damaged => write!(f, "damaged (checksum or magic)"),
            Self::Version(version) => write!(f, "format version {version} is not known to this build"),
            Self::Field(field) => write!(f, "field `{field}` holds an impossible value"),
        }
    }
}

/// Why a node-state file cannot be used: what is wrong with each slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateFault(pub [SlotFault; 2]);

impl StateFault {
    /// Whether this is the file of a node whose first start did not get as far as writing both slots.
    #[must_use]
    pub fn is_unborn(self) -> bool {
        self.0.contains(&SlotFault::Empty) && !self.is_newer()
    }

    fn is_newer(self) -> bool {
        self.0.iter().any(|fault| matches!(fault, SlotFault::Version(_)))
    }
}

impl NodeState {
    /// The state of a node that never started.
    #[must_use]
    pub fn new(facts: &ClusterFacts) -> Self {
        Self {
            cluster: facts.cluster,
            facts: facts.fingerprint(),
            term: Term(0),
            voted_for: None,
            ack_term: Term(0),
            boot: Boot(0),
            os_boot: OsBoot::default(),
            clean: true,
            watermark: Mark::default(),
            cut: None,
            floor: None,
            blank: false,
        }
    }

    /// The lineage that the node has promised to vote in: that of its term.
    #[must_use]
    pub const fn lineage(&self) -> Lineage {
        Lineage::of(self.term)
    }

    /// The state of the same node without its log, which was moved aside because it goes on where the lineage of this
    /// term does not: term, vote and boot number stay. What it acknowledged is in front of the lineage's beginning, in
    /// every log that it votes for (rule R7), or was declared lost: it owes no more than that beginning.
    #[must_use]
    pub fn without_log(&self) -> Self {
        let first = self.lineage().first_term();
        Self {
            os_boot: OsBoot::default(),
            watermark: Mark::default(),
            cut: None,
            clean: false,
            ack_term: first,
            floor: Some(Floor { term: first, index: BatchIndex(0) }),
            ..self.clone()
        }
    }

    /// The bytes of a node-state file with this state in both slots.
    #[must_use]
    pub fn to_file(&self) -> Vec<u8> {
        let (mut file, mut slots) = (vec![0; NODE_STATE_LEN], Slots::default());
        let mut slot = Vec::with_capacity(SLOT_LEN);
        for mirror in [false, true] {
            let offset = match mirror {
                true => slots.mirror(self, &mut slot),
                false => slots.store(self, &mut slot),
            } as usize;
            file[offset..offset + SLOT_LEN].copy_from_slice(&slot);
        }
        file
    }

    /// Fills `slot` with [`SLOT_LEN`] bytes.
    fn encode(&self, generation: u64, slot: &mut Vec<u8>) {
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        let cut = self.cut.unwrap_or_default();
        let floor = self.floor.unwrap_or_default();
        let fixed = Slot {
            magic: MAGIC.into(),
            version: VERSION,
            flags: flag(self.clean, CLEAN)
                | flag(self.cut.is_some(), CUT)
                | flag(self.floor.is_some(), FLOOR)
                | flag(self.blank, BLANK),
            lineage: Lineage::of(self.term).0.into(),
            generation: generation.into(),
            cluster: self.cluster.0,
            facts: self.facts,
            os_boot: self.os_boot.0,
            boot: self.boot.0.into(),
            term: self.term.0.into(),
            voted_for: self.voted_for.map_or(0, |node| u64::from(node.0) + 1).into(),
            ack_term: self.ack_term.0.into(),
            watermark_index: self.watermark.index.0.into(),
            watermark_position: self.watermark.position.0.into(),
            cut_index: cut.index.0.into(),
            cut_position: cut.position.0.into(),
            floor_term: floor.term.0.into(),
            floor_index: floor.index.0.into(),
        };
        slot.clear();
        slot.extend_from_slice(fixed.as_bytes());
        slot.resize(CRC_AT, 0);
        slot.extend_from_slice(&crc32c::crc32c(slot).to_le_bytes());
    }

    fn decode(bytes: &[u8]) -> Result<(u64, Self), SlotFault> {
        let (body, crc) = bytes.split_at_checked(CRC_AT).ok_or(SlotFault::Damaged)?;
        let (slot, rest) = Slot::ref_from_prefix(body).map_err(|_| SlotFault::Damaged)?;
        if bytes.iter().all(|byte| *byte == 0) {
            return Err(SlotFault::Empty);
        }
        if slot.magic.get() != MAGIC || crc != crc32c::crc32c(body).to_le_bytes() {
            return Err(SlotFault::Damaged);
        }
        if slot.version != VERSION {
            return Err(SlotFault::Version(slot.version));
        }
        if rest.iter().any(|byte| *byte != 0) {
            return Err(SlotFault::Field("reserved"));
        }
        if slot.flags & !(CLEAN | CUT | FLOOR | BLANK) != 0 {
            return Err(SlotFault::Field("flags"));
        }
        if slot.lineage.get() != Lineage::of(Term(slot.term.get())).0 {
            return Err(SlotFault::Field("lineage"));
        }
        let voted_for = match slot.voted_for.get() {
            0 => None,
            node => Some(NodeId(u32::try_from(node - 1).map_err(|_| SlotFault::Field("voted_for"))?)),
        };
        let mark = |index: U64, position: U64| Mark {
            index: BatchIndex(index.get()),
            position: Position(position.get()),
        };
        let watermark = mark(slot.watermark_index, slot.watermark_position);
        let cut = (slot.flags & CUT != 0).then(|| mark(slot.cut_index, slot.cut_position));
        if cut.is_some_and(|cut| cut.index < watermark.index) {
            return Err(SlotFault::Field("cut"));
        }
        let state = Self {
            cluster: ClusterId(slot.cluster),
            facts: slot.facts,
            term: Term(slot.term.get()),
            voted_for,
            ack_term: Term(slot.ack_term.get()),
            boot: Boot(slot.boot.get()),
            os_boot: OsBoot(slot.os_boot),
            clean: slot.flags & CLEAN != 0,
            watermark,
            cut,
            floor: (slot.flags & FLOOR != 0).then(|| Floor {
                term: Term(slot.floor_term.get()),
                index: BatchIndex(slot.floor_index.get()),
            }),
            blank: slot.flags & BLANK != 0,
        };
        Ok((slot.generation.get(), state))
    }
}

/// Which slot holds the newest state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Slots {
    generation: u64,
    newest: usize,
}

impl Slots {
    /// Encodes `state` as the next generation, and says at which offset of the file it goes.
    pub(crate) fn store(&mut self, state: &NodeState, slot: &mut Vec<u8>) -> u64 {
        self.generation += 1;
        self.mirror(state, slot)
    }

    /// As [`Slots::store`] for the state stored last, once more, in the other slot.
    pub(crate) fn mirror(&mut self, state: &NodeState, slot: &mut Vec<u8>) -> u64 {
        self.newest ^= 1;
        state.encode(self.generation, slot);
        (self.newest * SLOT_LEN) as u64
    }
}

/// The newest state in the bytes of a node-state file.
///
/// # Errors
/// [`StateFault`] if neither slot holds one, or one was written by a newer build.
pub fn read_state(file: &[u8]) -> Result<NodeState, StateFault> {
    read_slots(file).map(|(state, _)| state)
}

/// A node-state file with this state in both slots, for whoever makes a data directory.
#[must_use]
pub fn write_state(state: &NodeState) -> Vec<u8> {
    let mut slot = Vec::new();
    state.encode(1, &mut slot);
    [&slot[..], &slot].concat()
}

/// What is to be written, at which offset, slot by slot and each synced before the next, so that a node-state file knows
/// of nothing behind `mark`, where a snapshot takes the log's place. It is written though it be the same: what is read
/// may be what the kernel holds and the disk does not. `forgets` is a planted mistake.
///
/// # Errors
/// As [`read_state`].
pub fn succeed(file: &[u8], mark: Mark, forgets: bool) -> Result<[(u64, Vec<u8>); 2], StateFault> {
    let (mut state, mut slots) = read_slots(file)?;
    state.watermark = state.watermark.min(mark);
    state.cut = None;
    if forgets {
        state.floor = None;
    }
    let (mut first, mut second) = (Vec::new(), Vec::new());
    let at = slots.store(&state, &mut first);
    let mirror = slots.mirror(&state, &mut second);
    Ok([(at, first), (mirror, second)])
}

pub(crate) fn read_slots(file: &[u8]) -> Result<(NodeState, Slots), StateFault> {
    let slot = |number: usize| {
        NodeState::decode(file.get(number * SLOT_LEN..).unwrap_or(&[]).get(..SLOT_LEN).unwrap_or(&[]))
    };
    let found = |newest: usize, (generation, state)| Ok((state, Slots { generation, newest }));
    match (slot(0), slot(1)) {
        (Err(SlotFault::Version(version)), other) | (other, Err(SlotFault::Version(version))) => {
            let fault = other.err().unwrap_or(SlotFault::Version(version));
            Err(StateFault([SlotFault::Version(version), fault]))
        }
        (Ok(first), Ok(second)) if second.0 > first.0 => found(1, second),
        (Ok(first), _) => found(0, first),
        (Err(_), Ok(second)) => found(1, second),
        (Err(first), Err(second)) => Err(StateFault([first, second])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ordain_types::Nanos;

    fn state() -> NodeState {
        let facts = ClusterFacts::new(ClusterId([3; 16]), Nanos(1), 3);
        NodeState {
            term: Term(7),
            voted_for: Some(NodeId(0)),
            ack_term: Term(6),
            boot: Boot(2),
            os_boot: OsBoot([9; 16]),
            clean: false,
            watermark: Mark { index: BatchIndex(11), position: Position(4096) },
            cut: Some(Mark { index: BatchIndex(12), position: Position(4224) }),
            floor: Some(Floor { term: Term(6), index: BatchIndex(900) }),
            blank: true,
            ..NodeState::new(&facts)
        }
    }

    fn write(file: &mut [u8], offset: u64, slot: &[u8]) {
        file[offset as usize..offset as usize + slot.len()].copy_from_slice(slot);
    }

    #[test]
    fn the_newest_state_reads_back() {
        let (mut file, mut slots, mut buffer) = (vec![0; NODE_STATE_LEN], Slots::default(), Vec::new());
        let mut state = state();
        for term in 7..12 {
            state.term = Term(term);
            let offset = slots.store(&state, &mut buffer);
            write(&mut file, offset, &buffer);
            assert_eq!(read_slots(&file), Ok((state.clone(), slots)));
        }
    }

    #[test]
    fn a_store_torn_anywhere_leaves_the_state_before_or_the_new_one() {
        for mirrored in [false, true] {
            let (mut file, mut slots, mut buffer) = (vec![0; NODE_STATE_LEN], Slots::default(), Vec::new());
            let before = state();
            let offset = slots.store(&before, &mut buffer);
            write(&mut file, offset, &buffer);
            if mirrored {
                let offset = slots.mirror(&before, &mut buffer);
                write(&mut file, offset, &buffer);
            }
            let after = NodeState { term: Term(8), voted_for: None, ..before.clone() };
            let offset = slots.store(&after, &mut buffer);
            for cut in 0..=SLOT_LEN {
                let mut torn = file.clone();
                write(&mut torn, offset, &buffer[..cut]);
                let found = read_state(&torn).unwrap();
                assert!(found == before || found == after, "cut at {cut}");
                assert!(cut < SLOT_LEN || found == after);
                // Behind the cut whatever the disk makes of it.
                torn[offset as usize + cut..offset as usize + SLOT_LEN].fill(0xA5);
                let found = read_state(&torn).unwrap();
                assert!(found == before || found == after, "cut at {cut}");
            }
        }
    }

    #[test]
    fn no_flipped_bit_of_a_mirrored_state_costs_it() {
        let (mut file, mut slots, mut buffer) = (vec![0; NODE_STATE_LEN], Slots::default(), Vec::new());
        let state = state();
        let offset = slots.store(&state, &mut buffer);
        write(&mut file, offset, &buffer);
        let offset = slots.mirror(&state, &mut buffer);
        write(&mut file, offset, &buffer);
        for bit in 0..NODE_STATE_LEN * 8 {
            file[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(read_state(&file).as_ref(), Ok(&state), "bit {bit}");
            file[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn hostile_files_are_refused() {
        let faults = |file: &[u8]| read_state(file).unwrap_err();
        assert_eq!(faults(&[]), StateFault([SlotFault::Damaged; 2]));
        assert_eq!(faults(&[0; NODE_STATE_LEN]), StateFault([SlotFault::Empty; 2]));
        assert!(faults(&[0; NODE_STATE_LEN]).is_unborn());
        assert!(!faults(&[7; NODE_STATE_LEN]).is_unborn());
        let mut slot = Vec::new();
        state().encode(1, &mut slot);
        let spoil = |at: usize, byte: u8| {
            let mut file = slot.clone();
            file[at] = byte;
            let crc = crc32c::crc32c(&file[..CRC_AT]).to_le_bytes();
            file[CRC_AT..].copy_from_slice(&crc);
            file.resize(NODE_STATE_LEN, 0);
            faults(&file).0[0]
        };
        assert_eq!(spoil(4, 2), SlotFault::Version(2));
        assert_eq!(spoil(5, 0x80), SlotFault::Field("flags"));
        assert_eq!(spoil(6, 2), SlotFault::Field("lineage"));
        assert_eq!(spoil(103, 1), SlotFault::Field("voted_for"));
        assert_eq!(spoil(4000, 1), SlotFault::Field("reserved"));
    }
}
