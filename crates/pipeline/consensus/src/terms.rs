//! Which term each batch of a log belongs to.

use crate::LogEnd;
use ordain_types::{BatchIndex, Term};

/// A run of batches of one term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TermSpan {
    /// The term.
    pub term: Term,
    /// Its first batch in this log.
    pub first: BatchIndex,
}

/// The shape of a log: terms never fall along it, so it is a list of runs. 16 bytes for each term that
/// wrote a batch; grows at leader changes only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Ascending in both fields. The first is (0, 0): index 0 stands for the empty log.
    spans: Vec<TermSpan>,
    last: BatchIndex,
}

impl Default for Terms {
    fn default() -> Self {
        Self { spans: vec![TermSpan { term: Term::ZERO, first: BatchIndex::ZERO }], last: BatchIndex::ZERO }
    }
}

impl Terms {
    /// The empty log.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A log that ends with batch `last`, given its runs in order; `None` if they are no log's. What
    /// [`Terms::spans`] returned is accepted, and runs whose batches were trimmed long ago may be kept in
    /// it: matching needs the list, not the batches.
    #[must_use]
    pub fn from_spans(spans: Vec<TermSpan>, last: BatchIndex) -> Option<Self> {
        let starts = spans.first() == Some(&TermSpan { term: Term::ZERO, first: BatchIndex::ZERO });
        let ascends =
            spans.windows(2).all(|pair| pair[0].term < pair[1].term && pair[0].first < pair[1].first);
        let ends = spans.last().is_some_and(|span| span.first <= last);
        (starts && ascends && ends).then_some(Self { spans, last })
    }

    /// The runs, in order; the first is (0, 0).
    #[must_use]
    pub fn spans(&self) -> &[TermSpan] {
        &self.spans
    }

    /// Appends batch `index` of `term`.
    ///
    /// # Panics
    /// If the index is not the next one or the term falls.
    pub fn push(&mut self, index: BatchIndex, term: Term) {
        assert_eq!(index, self.last.next(), "batches are appended in order");
        let tail = self.end().term;
        assert!(term >= tail, "terms never fall along a log: {term} behind {tail}");
        if term > tail {
            self.spans.push(TermSpan { term, first: index });
        }
        self.last = index;
    }

    /// Forgets all batches behind `to`.
    ///
    /// # Panics
    /// If `to` is behind the end.
    pub fn truncate(&mut self, to: BatchIndex) {
        assert!(to <= self.last);
        while self.spans.len() > 1 && self.spans[self.spans.len() - 1].first > to {
            self.spans.pop();
        }
        self.last = to;
    }

    /// Index of the last batch, 0 if there is none.
    #[must_use]
    pub const fn last(&self) -> BatchIndex {
        self.last
    }

    /// The last batch.
    #[must_use]
    pub fn end(&self) -> LogEnd {
        LogEnd { term: self.spans[self.spans.len() - 1].term, index: self.last }
    }

    /// Term of a batch, `None` behind the end. Index 0 has term 0.
    #[must_use]
    pub fn term_at(&self, index: BatchIndex) -> Option<Term> {
        if index > self.last {
            return None;
        }
        let tail = self.spans[self.spans.len() - 1];
        if index >= tail.first {
            return Some(tail.term);
        }
        Some(self.spans[self.spans.partition_point(|span| span.first <= index) - 1].term)
    }

    /// The last batch at or before `cap` whose term is at most `term`.
    #[must_use]
    pub fn last_within(&self, cap: BatchIndex, term: Term) -> LogEnd {
        let above = self.spans.partition_point(|span| span.term <= term);
        let index = match self.spans.get(above) {
            Some(span) => cap.min(BatchIndex(span.first.0 - 1)),
            None => cap.min(self.last),
        };
        LogEnd { term: self.term_at(index).expect("within the log"), index }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Against a plain list of terms, one per batch.
        #[test]
        fn agrees_with_a_plain_list(steps in prop::collection::vec((0_u64..3, 0_usize..12), 0..40)) {
            let (mut terms, mut model) = (Terms::new(), vec![0_u64]);
            for (rise, cut) in steps {
                if rise == 2 && cut < model.len() {
                    model.truncate(cut + 1);
                    terms.truncate(BatchIndex(cut as u64));
                } else {
                    model.push(model[model.len() - 1] + rise);
                    terms.push(BatchIndex(model.len() as u64 - 1), Term(model[model.len() - 1]));
                }
                for (index, term) in model.iter().enumerate() {
                    prop_assert_eq!(terms.term_at(BatchIndex(index as u64)), Some(Term(*term)));
                }
                prop_assert_eq!(terms.term_at(BatchIndex(model.len() as u64)), None);
                let again = Terms::from_spans(terms.spans().to_vec(), terms.last());
                prop_assert_eq!(again.as_ref(), Some(&terms));
                for cap in 0..model.len() + 2 {
                    for term in 0..model[model.len() - 1] + 2 {
                        let index = (0..model.len()).rev().find(|i| *i <= cap && model[*i] <= term).unwrap();
                        let expected = LogEnd { term: Term(model[index]), index: BatchIndex(index as u64) };
                        prop_assert_eq!(terms.last_within(BatchIndex(cap as u64), Term(term)), expected);
                    }
                }
            }
        }
    }

    #[test]
    fn runs_that_are_no_log_are_refused() {
        let span = |term, first| TermSpan { term: Term(term), first: BatchIndex(first) };
        for (spans, last) in [
            (vec![], 0),
            (vec![span(0, 1)], 1),
            (vec![span(0, 0), span(2, 3), span(1, 4)], 5),
            (vec![span(0, 0), span(1, 3), span(2, 3)], 5),
            (vec![span(0, 0), span(1, 3)], 2),
        ] {
            assert_eq!(Terms::from_spans(spans, BatchIndex(last)), None);
        }
    }
}
