//! A declared loss (rule R7): the control batch with which an operator ends a lineage and begins the next.

use crate::configuration::MEMBERS_MAX;
use crate::control::{self, ControlError, ControlKind};
use crate::{BatchIndex, BatchView, Lineage, NodeId, Term};
use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned,
    little_endian::{U16, U32, U64},
};

/// Version of the layout.
pub const LINEAGE_BREAK_VERSION: u8 = 1;
/// Stands for a loss that has no bound.
pub const UNBOUNDED: u64 = u64::MAX;

/// Fixed part of the payload, 40 bytes; [`Tip`]s follow.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
struct Head {
    lineage: U16,
    tips: U16,
    node: U32,
    term: U64,
    index: U64,
    batches: U64,
    bytes: U64,
}

/// What a node held when the loss was declared.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct Tip {
    /// The node.
    pub node: U32,
    /// 1: it owed a promise floor. Else 0.
    pub owes: U32,
    /// Term of its last batch.
    pub term: U64,
    /// Its last batch.
    pub index: U64,
    /// The floor's term, or 0.
    pub floor_term: U64,
    /// The floor's index, or 0.
    pub floor_index: U64,
}

const _: () = assert!(size_of::<Head>() == 40 && size_of::<Tip>() == 40);

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineageBreak {
    /// The lineage that begins with this batch.
    pub lineage: Lineage,
    /// The node whose log goes on.
    pub node: NodeId,
    /// Term and number of its last batch before the break.
    pub end: (Term, BatchIndex),
    /// Acknowledged batches that may be lost at most, or [`UNBOUNDED`].
    pub batches: u64,
    /// Their bytes at most, or [`UNBOUNDED`].
    pub bytes: u64,
    /// What the nodes held that were at hand, the one whose log goes on included; at most [`MEMBERS_MAX`].
    pub tips: Vec<Tip>,
}

impl LineageBreak {
    /// The body of the control batch.
    ///
    /// # Panics
    /// If there are too many tips.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        assert!(self.tips.len() <= MEMBERS_MAX, "a break tells of the nodes of one cluster");
        let head = Head {
            lineage: self.lineage.0.into(),
            tips: (self.tips.len() as u16).into(),
            node: self.node.0.into(),
            term: self.end.0.0.into(),
            index: self.end.1.0.into(),
            batches: self.batches.into(),
            bytes: self.bytes.into(),
        };
        let mut body = Vec::new();
        control::begin(ControlKind::LineageBreak, LINEAGE_BREAK_VERSION, &mut body);
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(self.tips.as_bytes());
        body
    }

    /// The break that a batch holds; `None` if it is another kind of batch or entry.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn of_batch(batch: &BatchView<'_>) -> Result<Option<Self>, ControlError> {
        match control::parse(batch) {
            Ok((ControlKind::LineageBreak, LINEAGE_BREAK_VERSION, payload)) => {
                Self::decode(payload).map(Some)
            }
            Ok((ControlKind::LineageBreak, version, _)) => Err(ControlError::Version(version)),
            Ok(_) | Err(ControlError::OtherBatch) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn decode(payload: &[u8]) -> Result<Self, ControlError> {
        let short = ControlError::Field("length");
        let (head, rest) = Head::ref_from_prefix(payload).map_err(|_| short)?;
        let tips = usize::from(head.tips.get());
        if tips > MEMBERS_MAX {
            return Err(ControlError::Field("tips"));
        }
        let (tips, _) = <[Tip]>::ref_from_prefix_with_elems(rest, tips).map_err(|_| short)?;
        Ok(Self {
            lineage: Lineage(head.lineage.get()),
            node: NodeId(head.node.get()),
            end: (Term(head.term.get()), BatchIndex(head.index.get())),
            batches: head.batches.get(),
            bytes: head.bytes.get(),
            tips: tips.to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> LineageBreak {
        let tip = Tip { node: 2.into(), owes: 1.into(), term: 7.into(), index: 90.into(), ..Tip::default() };
        LineageBreak {
            lineage: Lineage(2),
            node: NodeId(1),
            end: (Term(7), BatchIndex(100)),
            batches: 1024,
            bytes: UNBOUNDED,
            tips: vec![tip, Tip { floor_term: 7.into(), floor_index: 1124.into(), ..tip }],
        }
    }

    #[test]
    fn a_break_reads_back() {
        let mut body = example().encode();
        assert_eq!((body.len(), &body[..8]), (128, &[3, 1, 0, 0, 0, 0, 0, 0][..]));
        body.resize(160, 0);
        assert_eq!(LineageBreak::decode(&body[8..]), Ok(example()));
    }

    #[test]
    fn what_is_no_break_is_refused() {
        let mut payload = example().encode().split_off(8);
        for cut in 0..payload.len() {
            assert!(LineageBreak::decode(&payload[..cut]).is_err(), "cut at {cut}");
        }
        payload[2] = 17;
        assert_eq!(LineageBreak::decode(&payload), Err(ControlError::Field("tips")));
    }

    #[test]
    fn a_lineage_is_its_terms() {
        assert_eq!(Lineage::of(Term(0)), Lineage::FIRST);
        assert_eq!(Lineage::FIRST.first_term(), Term(0));
        for lineage in [1, 2, 3, 1000, u16::MAX - 1] {
            let first = Lineage(lineage).first_term();
            assert_eq!(Lineage::of(first), Lineage(lineage));
            assert_eq!(Lineage::of(Term(first.0 + u64::from(u32::MAX))), Lineage(lineage));
        }
        assert_eq!(Lineage::of(Term(u64::MAX >> 1)), Lineage(u16::MAX));
    }
}
