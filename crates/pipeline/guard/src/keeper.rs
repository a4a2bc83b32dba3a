//! Keeps segments whole: scrubs those that are sealed, mends what is damaged with the help of other nodes, and reads for
//! other nodes what they lost. Part of the agent in the background; it has no lane and no ring of its own.

use crate::lend::{Lend, Loan};
use crate::pull::Range;
use ordain_agent::damage::Plight;
use ordain_agent::disk::{DiskDone, DiskOp};
use ordain_agent::metrics::{Gauge, Registry};
use ordain_agent::shared::Shared;
use ordain_journal::{Fault, Mend, Mended, Rot, Scrub, Scrubbed};
use ordain_types::{BatchIndex, ClusterFacts, Nanos, NodeId, Now, Position};
use std::collections::VecDeque;

/// A segment that could not be mended is tried again after this long: a node that has what belongs there may be back.
const RETRY: u64 = 5 * Nanos::SECOND;
/// A sealed segment is read in this time at least, however few there are.
const SEGMENT_TIME: u64 = 300 * Nanos::SECOND;
/// After there was something to do with other nodes, it looks for messages more often for this long: a range follows the
/// other.
const LIVELY: u64 = 200 * Nanos::MILLI;

/// What it wants the log stage's part to do.
#[derive(Debug)]
pub(crate) enum Errand {
    /// Ask other nodes for a range.
    Pull(Range),
    /// Send a node what there is from a position on.
    Give(Loan),
}

/// Whose operation is in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    Scrub,
    Mend,
    Lend,
}

#[derive(Debug)]
struct Metrics {
    bytes: Gauge,
    position: Gauge,
    passes: Gauge,
    found: Gauge,
    damaged: Gauge,
    lost: Gauge,
    mended: Gauge,
    given: Gauge,
}

impl Metrics {
    fn register(registry: &Registry) -> Self {
        Self {
            bytes: registry.counter("ordain_scrub_bytes_total", "Bytes of sealed segments read and checked."),
            position: registry.gauge(
                "ordain_scrub_position",
                "Log position up to which sealed segments were checked in this pass.",
            ),
            passes: registry.counter("ordain_scrub_passes_total", "Times all sealed segments were checked."),
            found: registry
                .counter("ordain_damage_found_total", "Times a segment was found to be damaged at run time."),
            damaged: registry
                .gauge("ordain_segments_damaged", "Segments that are damaged and not mended yet."),
            lost: registry.gauge(
                "ordain_segments_lost",
                "Damaged segments for which no node that could be asked has what belongs there.",
            ),
            mended: registry
                .counter("ordain_segments_mended_total", "Damaged segments that were made whole."),
            given: registry.counter(
                "ordain_mend_sent_bytes_total",
                "Bytes of log sent to other nodes for damaged segments.",
            ),
        }
    }
}

/// A segment that is being mended.
#[derive(Debug)]
struct Job {
    mend: Mend,
    /// A range was asked for.
    asks: bool,
    /// The copy waits for its name.
    swaps: bool,
    /// The scrubber found that it does not follow the segment in front of it.
    suspect: bool,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Keeper {
    facts: ClusterFacts,
    shared: Shared,
    /// There are other nodes.
    has_peers: bool,
    /// All segments are read once in this time; `None`: they are not.
    every: Option<Nanos>,
    scrub: Scrub,
    /// A pass is under way.
    scrubs: bool,
    read_at: Nanos,
    reading: bool,
    job: Option<Job>,
    /// When segments that could not be mended are tried again.
    retries: Vec<(u64, Nanos)>,
    /// Segments that do not follow the one in front of them.
    suspects: Vec<u64>,
    lend: Lend,
    errands: VecDeque<Errand>,
    lively_until: Nanos,
    metrics: Metrics,
}

impl Keeper {
    pub(crate) fn new(
        facts: &ClusterFacts,
        shared: Shared,
        has_peers: bool,
        every: Option<Nanos>,
        registry: &Registry,
    ) -> Self {
        Self {
            scrub: Scrub::new(facts),
            facts: facts.clone(),
            shared,
            has_peers,
            every,
            scrubs: false,
            read_at: Nanos::ZERO,
            reading: false,
            job: None,
            retries: Vec::new(),
            suspects: Vec::new(),
            lend: Lend::new(facts),
            errands: VecDeque::new(),
            lively_until: Nanos::ZERO,
            metrics: Metrics::register(registry),
        }
    }

    /// Another node asks for a range.
    pub(crate) fn ask(&mut self, from: NodeId, range: Range, now: Now) {
        self.lend.ask(from, range);
        self.lively_until = now.mono.plus(LIVELY);
    }

    /// Another node's bytes; of none, if nobody has any.
    pub(crate) fn pulled(&mut self, position: Position, bytes: &[u8], now: Now) {
        self.lively_until = now.mono.plus(LIVELY);
        let Some(job) = self.job.as_mut().filter(|job| job.asks) else { return };
        let Mended::Needs(needed, _) = job.mend.outcome() else { return };
        if needed != position {
            return;
        }
        job.asks = false;
        if bytes.is_empty() {
            self.give_up(now, "no other node that could be asked has what belongs there");
        } else if !job.mend.give(bytes) {
            tracing::warn!(
                segment = job.mend.segment(),
                position = position.0,
                "what another node sent for a damaged segment does not belong there; the next one is asked"
            );
        }
    }

    /// The next errand for the log stage's part.
    pub(crate) fn errand(&mut self) -> Option<Errand> {
        self.errands.pop_front()
    }

    /// It could not be taken: it comes again.
    pub(crate) fn undone(&mut self, errand: Errand) {
        self.errands.push_front(errand);
    }

    /// The next operation, and whose it is.
    pub(crate) fn op(&mut self, now: Now) -> Option<(Owner, DiskOp)> {
        if let Some(job) = &mut self.job
            && let Some(op) = job.mend.op()
        {
            return Some((Owner::Mend, op));
        }
        if let Some(op) = self.lend.op(0) {
            return Some((Owner::Lend, op));
        }
        if self.reading || now.mono < self.read_at {
            return None;
        }
        self.every?;
        let sealed = self.shared.sealed();
        let oldest = Position(self.shared.oldest.load());
        if !self.scrubs {
            if oldest >= sealed {
                return None;
            }
            self.scrub.begin(oldest);
            self.scrubs = true;
        } else if self.scrub.position() < oldest {
            self.scrub.begin(oldest);
        }
        let Some(op) = self.scrub.read(sealed) else {
            self.scrubs = false;
            self.metrics.passes.add(1);
            return None;
        };
        self.reading = true;
        Some((Owner::Scrub, op))
    }

    /// An operation is done.
    pub(crate) fn done(&mut self, owner: Owner, done: DiskDone, now: Now) {
        match (owner, done.op) {
            (Owner::Mend, op) => {
                let Some(job) = &mut self.job else { return };
                if let Err(error) = job.mend.done(DiskDone { op, result: done.result }) {
                    let what = format!("its whole copy cannot be written: {error}");
                    self.give_up(now, &what);
                }
            }
            (Owner::Lend, op) => {
                let done = DiskDone { op, result: done.result };
                let Some(loan) = self.lend.done(done, BatchIndex(self.shared.written.load())) else { return };
                self.metrics.given.add(loan.2.len() as u64);
                self.errands.push_back(Errand::Give(loan));
                self.lively_until = now.mono.plus(LIVELY);
            }
            (Owner::Scrub, DiskOp::Read { buffer, .. }) => {
                self.reading = false;
                let outcome = self.scrub.take(buffer, done.result);
                self.scrubbed(outcome, now);
            }
            _ => unreachable!("it submits nothing else"),
        }
    }

    /// Looks at what others reported, and goes on with what is being mended. Says whether there was anything to do.
    pub(crate) fn work(&mut self, now: Now) -> usize {
        let all = self.shared.damage.all();
        self.metrics.damaged.set(all.len() as u64);
        let lost = all.iter().filter(|(_, plight)| *plight == Plight::Lost).count();
        self.metrics.lost.set(lost as u64);
        if self.job.is_some() {
            return self.go_on(now);
        }
        let (oldest, sealed) = (self.shared.oldest.load(), self.shared.sealed());
        for (segment, plight) in all {
            let (start, end) = (segment * self.facts.segment_size, (segment + 1) * self.facts.segment_size);
            if start < oldest {
                self.settle(segment);
                continue;
            }
            let retry = self.retries.iter().find(|retry| retry.0 == segment).copied();
            if Position(end) > sealed || retry.is_some_and(|(_, at)| now.mono < at) {
                continue;
            }
            if plight == Plight::Reported {
                tracing::error!(segment, "a segment could not be read as it should; it is being looked at");
            }
            let mend = Mend::new(&self.facts, segment, Position(end), sealed);
            let suspect = self.suspects.contains(&segment);
            self.job = Some(Job { mend, asks: false, swaps: false, suspect });
            return 1;
        }
        0
    }

    fn go_on(&mut self, now: Now) -> usize {
        let Some(job) = &mut self.job else { return 0 };
        let segment = job.mend.segment();
        match job.mend.outcome() {
            Mended::Working => 0,
            Mended::Needs(..) if job.asks => 0,
            Mended::Needs(..) if !self.has_peers => {
                self.give_up(now, "this node is alone, and nobody else has what belongs there");
                1
            }
            Mended::Needs(position, len) => {
                job.asks = true;
                self.errands.push_back(Errand::Pull(Range::new(position, len)));
                1
            }
            Mended::Sound if job.suspect => {
                self.give_up(now, "it is whole and does not follow the segment in front of it");
                1
            }
            Mended::Sound => {
                tracing::info!(segment, "the segment is whole");
                self.settle(segment);
                1
            }
            Mended::Unproven => {
                self.give_up(now, "nothing behind the damage says that what other nodes have belongs there");
                1
            }
            Mended::Ready(fetched) => {
                if !core::mem::replace(&mut job.swaps, true) {
                    self.shared.damage.swap.ask(segment);
                    return 1;
                }
                match self.shared.damage.swap.answer_of_last() {
                    None => 0,
                    Some(true) => {
                        tracing::info!(segment, bytes = fetched, "a damaged segment was made whole");
                        self.metrics.mended.add(1);
                        self.settle(segment);
                        1
                    }
                    Some(false) => {
                        self.give_up(now, "its whole copy did not take its place");
                        1
                    }
                }
            }
        }
    }

    /// Nothing is known against the segment any more.
    fn settle(&mut self, segment: u64) {
        self.job = None;
        self.retries.retain(|retry| retry.0 != segment);
        self.suspects.retain(|suspect| *suspect != segment);
        self.shared.damage.clear(segment);
    }

    /// A segment stays damaged for now.
    fn give_up(&mut self, now: Now, why: &str) {
        let Some(job) = self.job.take() else { return };
        let segment = job.mend.segment();
        let known = self.retries.iter().position(|retry| retry.0 == segment);
        if known.is_none() {
            tracing::error!(
                segment,
                why,
                "a damaged segment cannot be mended for now; it is tried again. This node goes on from memory, but it may \
                 not be able to start again: keep other nodes or a backup that have the segment (`ordain journal verify` \
                 shows the extent; docs/operate/failures.md)"
            );
        }
        let retry = (segment, now.mono.plus(RETRY));
        match known {
            Some(at) => self.retries[at] = retry,
            None => self.retries.push(retry),
        }
        self.shared.damage.set(segment, Plight::Lost);
    }

    fn scrubbed(&mut self, outcome: Scrubbed, now: Now) {
        match outcome {
            Scrubbed::Sound(bytes) => {
                self.metrics.bytes.add(bytes);
                self.read_at = now.mono.plus(self.pause(bytes));
            }
            Scrubbed::Damaged(rot) => self.found(rot),
            // It was removed meanwhile, or the disk fails: those who read it find out.
            Scrubbed::Unread(segment, error) => {
                if segment * self.facts.segment_size >= self.shared.oldest.load() {
                    tracing::error!(segment, %error, "a segment cannot be read");
                    self.shared.damage.report(segment);
                }
            }
        }
        self.metrics.position.set(self.scrub.position().0);
    }

    fn found(&mut self, rot: Rot) {
        // It may have been removed, or mended, while it was being read.
        if rot.segment * self.facts.segment_size < self.shared.oldest.load()
            || self.shared.damage.plight(rot.segment).is_some_and(|plight| plight != Plight::Reported)
        {
            return;
        }
        self.metrics.found.add(1);
        tracing::error!(
            segment = rot.segment,
            offset = rot.offset,
            batch = rot.index.0,
            fault = %rot.fault,
            "a sealed segment is not what it was"
        );
        // That it does not follow what is in front of it, a look at the segment alone does not show.
        if rot.offset == 0 && !matches!(rot.fault, Fault::Bytes(_)) {
            self.suspects.push(rot.segment);
        }
        self.shared.damage.set(rot.segment, Plight::Damaged);
    }

    /// How long the scrubber rests when it has read so much.
    fn pause(&self, bytes: u64) -> u64 {
        let every = self.every.map_or(0, |every| every.0);
        // Right after a start or a cut nothing may count as sealed that was read just now.
        let sealed = self.shared.sealed().0.saturating_sub(self.shared.oldest.load());
        let total = sealed.max(self.facts.segment_size);
        let by_time = (u128::from(bytes) * u128::from(every) / u128::from(total)) as u64;
        let by_segment =
            (u128::from(bytes) * u128::from(SEGMENT_TIME) / u128::from(self.facts.segment_size)) as u64;
        by_time.min(by_segment)
    }

    /// When it wants to be called next.
    pub(crate) fn next_deadline(&self, looked_at: Nanos, look: u64) -> Nanos {
        let lively = self.job.is_some() || looked_at < self.lively_until;
        let look = looked_at.plus(if lively { look / 20 } else { look });
        // Nothing to read: a segment is sealed now and then.
        if self.every.is_some() && self.scrubs && !self.reading { look.min(self.read_at) } else { look }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Right after a start or a cut nothing counts as sealed; what was read meanwhile is a share of a segment, not of nothing.
    #[test]
    fn a_segment_takes_no_longer_than_a_pass_though_nothing_is_sealed() {
        let facts = ClusterFacts::new(ordain_types::ClusterId([1; 16]), Nanos(1), 3);
        let every = Nanos(200 * Nanos::MILLI);
        let keeper = Keeper::new(&facts, Shared::default(), true, Some(every), &Registry::default());
        assert_eq!(keeper.shared.sealed(), Position::ZERO);
        assert_eq!(keeper.pause(facts.segment_size), every.0);
        assert_eq!(keeper.pause(facts.segment_size / 4), every.0 / 4);
    }
}
