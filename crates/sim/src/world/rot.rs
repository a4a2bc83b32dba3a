//! Disks that forget: what stands in a sealed segment is no longer what was written. Any number of segments of any nodes
//! at once, as long as another node has everything that stood in each of them, so that each datum is somewhere.

use super::World;
use crate::disk::Crash;
use crate::workload::Workload;
use ordain_agent::disk::FileId;

/// Bytes that a disk loses together.
const SECTOR: u64 = 512;

impl<W: Workload> World<W> {
    fn segment_of_log(&self, segment: u64) -> Option<&[u8]> {
        let size = self.plan.facts.segment_size;
        self.logs.bytes(segment * size, size)
    }

    /// Whether a node's disk holds a segment as it should be.
    fn is_whole(&self, node: usize, segment: u64) -> bool {
        let store = self.nodes[node].store.lock();
        let file = store.durable(FileId::Segment(segment));
        file.is_some() && file == self.segment_of_log(segment)
    }

    /// Whether another member than these nodes has all of a segment. Who is gone is not asked any more.
    fn is_kept(&self, but: &[usize], segment: u64) -> bool {
        self.members().into_iter().any(|other| !but.contains(&other) && self.is_whole(other, segment))
    }

    /// Lets a sealed segment of a node go bad, if another node has all of it.
    pub(super) fn rot(&mut self, node: usize) {
        if self.plan.scrub_every.is_none() {
            return;
        }
        let size = self.plan.facts.segment_size;
        let Some(life) = self.nodes[node].life.as_ref().filter(|life| life.is_running()) else { return };
        // Behind what a start knows to be synced, damage looks like a torn tail, and costs a copy: see `rob`.
        let known = self.stored_state(node).map_or(0, |state| state.watermark.position.0);
        let (oldest, sealed) = (life.shared.oldest.load() / size, life.shared.sealed().0.min(known) / size);
        if oldest >= sealed {
            return;
        }
        // Laggards read the newest ones.
        let newest = self.rng.one_in(2);
        let segment = if newest { sealed - 1 } else { oldest + self.rng.below(sealed - oldest) };
        // Nor may it be the last copy of what is bad elsewhere.
        if self.nodes.iter().any(|node| node.spot.is_some()) {
            return;
        }
        let is_bad_at = |other: &usize| self.nodes[*other].rotten.contains(&segment);
        let mut bad = (0..self.nodes.len()).filter(is_bad_at);
        let is_needed = bad.any(|other| !self.is_kept(&[node, other], segment));
        if is_needed || !self.is_kept(&[node], segment) || !self.is_whole(node, segment) {
            return;
        }
        let at = self.rng.below(size);
        let (from, to) = match self.rng.below(4) {
            0 | 1 => (at, at + 1),
            2 => (at - at % SECTOR, at - at % SECTOR + SECTOR),
            _ => (at - at % SECTOR, size),
        };
        let bits = 1 << self.rng.below(8);
        let mut store = self.nodes[node].store.lock();
        for at in from..to {
            // Of more than a byte nothing is left.
            let byte = store.written(FileId::Segment(segment), at as usize, 1).map_or(0, |byte| byte[0]);
            store.flip(FileId::Segment(segment), at, if to - from == 1 { bits } else { byte ^ 0xA5 });
        }
        drop(store);
        if self.is_whole(node, segment) {
            return;
        }
        self.nodes[node].rotten.insert(segment);
        self.trace.event("rot", &[node as u64, segment, from, to]);
        self.trace.mark("segment rotten");
        if self.nodes.iter().filter(|node| !node.rotten.is_empty()).count() > 1 {
            self.trace.mark("segments of two nodes rotten");
        }
    }

    /// Looks at segments that got their name anew.
    pub(super) fn check_mended(&mut self, node: usize) {
        let named = core::mem::take(&mut self.nodes[node].store.lock().mended);
        for segment in named {
            if !self.is_whole(node, segment) && !self.is_spot_mended(node, segment) {
                let what = format!("node {node}, segment {segment}");
                return self.trace.fail("a mended segment is what it was", what);
            }
            self.trace.mark("segment mended");
            self.nodes[node].rotten.remove(&segment);
        }
    }

    /// What is bad and was removed is bad no more, and where nobody has what was there any more, an operator restores it.
    pub(super) fn note_rot(&mut self) {
        for node in 0..self.nodes.len() {
            for segment in self.nodes[node].rotten.clone() {
                if self.nodes[node].store.lock().durable(FileId::Segment(segment)).is_none() {
                    self.trace.mark("rotten segment removed");
                    self.nodes[node].rotten.remove(&segment);
                } else if !self.is_kept(&[node], segment) {
                    self.trace.mark("rot beyond help");
                    self.restore_segment(node, segment);
                }
            }
        }
    }

    /// An operator puts all segments back that are bad.
    pub(super) fn restore(&mut self, node: usize) {
        for segment in self.nodes[node].rotten.clone() {
            self.restore_segment(node, segment);
        }
        self.restore_spot(node);
    }

    fn restore_segment(&mut self, node: usize, segment: u64) {
        self.nodes[node].rotten.remove(&segment);
        let bytes = self.segment_of_log(segment).expect("it is sealed").to_vec();
        self.nodes[node].store.lock().restore(FileId::Segment(segment), &bytes);
    }

    /// A node with a bad segment stops. It may do so only where it needs what is there, at a start or to execute it, and the
    /// others could not help.
    pub(super) fn stopped_for_rot(&mut self, node: usize, stage: &str, fatal: &str) {
        let at_start = stage == "start" && fatal.contains("could not be mended");
        let executing =
            stage == "apply" && fatal.contains("no node that could be asked has what belongs there");
        if !at_start && !executing {
            return self
                .trace
                .fail("no node stops without a cause", format!("node {node}, {stage}: {fatal}"));
        }
        self.trace.mark("rot reported");
        self.restore(node);
        self.bring_down(node, Crash::Kill);
    }

    /// Whether the disk of a member holds something that is not what was written.
    pub(super) fn is_rotten(&self) -> bool {
        self.members()
            .into_iter()
            .any(|node| !self.nodes[node].rotten.is_empty() || self.nodes[node].spot.is_some())
    }
}
