//! A start that met damage in what was synced, and mends it with what other nodes have before the node is anything in its
//! cluster: it has acknowledged nothing and voted for nobody in this life, and when it does, its log is again what it was.
//! Meanwhile it lends what of its own is sound: the others may be in the same plight, after a loss of power of all.

use crate::early::{Early, Out};
use ordain_agent::Fatal;
use ordain_agent::disk::{Disk, DiskDone, DiskOp, FileId};
use ordain_agent::peer::{PeerEvent, Peers};
use ordain_agent::side::split_side;
use ordain_guard::lend::Lend;
use ordain_guard::pull::{Give, Pull, Pulled, Range, kind};
use ordain_journal::{Damage, Mend, Mended};
use ordain_types::{ClusterFacts, Nanos, Now, Position};

/// The others are asked again after this long.
const AGAIN: u64 = Nanos::SECOND;
/// So often all others say that they have nothing before the node gives up: they may be on their way up themselves.
const ROUNDS: u32 = 30;
/// Events taken in a step.
const EVENTS: usize = 64;
/// Marks reads for others.
const LENT: u64 = 1;

/// See the module.
pub struct Mending<D> {
    disk: D,
    /// Reads that recovery left in flight.
    stale: usize,
    mend: Mend,
    pull: Pull,
    lend: Lend,
    give: Give,
    damage: Damage,
    others: usize,
    ask_at: Nanos,
    rounds: u32,
    renames: bool,
    is_over: bool,
}

impl<D: Disk> Mending<D> {
    /// Mends what recovery found. `watermark`: what is synced ends there.
    pub fn new<P: Peers>(
        facts: &ClusterFacts,
        (disk, stale): (D, usize),
        damage: Damage,
        watermark: Position,
        peers: &Early<P>,
    ) -> Self {
        let end = Position((damage.segment + 1) * facts.segment_size).min(watermark);
        tracing::warn!(
            %damage,
            "what was synced is damaged: the node asks the others for it before it starts. It waits until one of them has it"
        );
        let mut pull = Pull::default();
        peers.connected().for_each(|peer| pull.up(peer));
        Self {
            disk,
            stale,
            mend: Mend::new(facts, damage.segment, end, watermark),
            pull,
            lend: Lend::new(facts),
            give: Give::default(),
            damage,
            others: facts.voters as usize - 1,
            ask_at: Nanos::ZERO,
            rounds: 0,
            renames: false,
            is_over: false,
        }
    }

    /// The segment.
    pub const fn segment(&self) -> u64 {
        self.damage.segment
    }

    /// Gives the disk back.
    pub fn into_disk(self) -> D {
        self.disk
    }

    /// Goes on by a bounded amount; `true` when the segment is whole.
    ///
    /// # Errors
    /// [`Fatal`] if it cannot be made whole.
    pub fn step<P: Peers>(&mut self, now: Now, peers: &mut Early<P>) -> Result<bool, Fatal> {
        self.listen(now, peers)?;
        if let Some(done) = self.disk.poll() {
            self.finished(done)?;
        }
        self.give.work(&mut Out(peers));
        match self.mend.outcome() {
            _ if self.is_over => return Ok(!self.lend.is_reading()),
            _ if self.disk.free() == 0 || self.renames => {}
            Mended::Working => {
                if let Some(op) = self.mend.op() {
                    self.disk.submit(op);
                }
            }
            Mended::Needs(position, len) => {
                if !self.pull.is_on() && now.mono >= self.ask_at {
                    self.pull.want(Range::new(position, len));
                }
                if let Some(answer) = self.pull.work(now, &mut Out(peers)) {
                    self.answered(answer, now)?;
                }
            }
            Mended::Ready(bytes) => {
                tracing::warn!(segment = self.segment(), bytes, "a damaged segment was made whole");
                let (from, to) = (FileId::SegmentDraft, FileId::Segment(self.segment()));
                self.disk.submit(DiskOp::Rename { tag: 0, from, to });
                self.renames = true;
            }
            // Read wrongly once, or it does not follow what is in front of it: recovery finds that once more, and then
            // the node does not start.
            Mended::Sound => {
                tracing::warn!(
                    segment = self.segment(),
                    "a second look at the damaged segment finds nothing: the log is read once more. See whether the disk \
                     and the memory are sound"
                );
                self.is_over = true;
            }
            Mended::Unproven => {
                return Err(self.refused(
                    "nothing that is left behind the damage says that what other nodes have is what was there",
                ));
            }
        }
        if !self.renames
            && self.disk.free() > 0
            && let Some(op) = self.lend.op(LENT)
        {
            self.disk.submit(op);
        }
        Ok(false)
    }

    fn listen<P: Peers>(&mut self, now: Now, peers: &mut Early<P>) -> Result<(), Fatal> {
        for _ in 0..EVENTS {
            let answer = match peers.listen() {
                None => break,
                Some(PeerEvent::Up(peer)) => {
                    self.pull.up(peer);
                    self.ask_at = now.mono;
                    None
                }
                // The log stage is told, when there is one.
                Some(PeerEvent::Removed(_)) => None,
                Some(PeerEvent::Down(peer)) => {
                    self.pull.down(peer);
                    self.give.drop_for(peer);
                    None
                }
                Some(PeerEvent::Frame(from, frame)) => match split_side(frame) {
                    Some((kind::PART, body)) => self.pull.hear(from, body, now),
                    Some((kind::ASK, body)) => {
                        if let Some(range) = Range::decode(body) {
                            self.lend.ask(from, range);
                        }
                        None
                    }
                    _ => None,
                },
            };
            if let Some(answer) = answer {
                self.answered(answer, now)?;
            }
        }
        Ok(())
    }

    fn answered(&mut self, answer: Pulled, now: Now) -> Result<(), Fatal> {
        match answer {
            Pulled::Bytes(from, bytes) => {
                if self.mend.give(&bytes) {
                    self.rounds = 0;
                } else {
                    tracing::warn!(peer = from.0, "what another node sent does not belong there");
                }
            }
            Pulled::Nobody(asked) => {
                self.ask_at = now.mono.plus(AGAIN);
                self.rounds += u32::from(asked >= self.others);
                if self.rounds >= ROUNDS {
                    return Err(self.refused("all other nodes were asked, and none has what belongs there"));
                }
            }
        }
        Ok(())
    }

    fn finished(&mut self, done: DiskDone) -> Result<(), Fatal> {
        if self.stale > 0 {
            self.stale -= 1;
            return Ok(());
        }
        if done.op.tag() == LENT {
            if let Some((to, position, bytes)) = self.lend.done(done, self.damage.watermark) {
                self.give.put(to, position, bytes);
            }
            return Ok(());
        }
        let result = match self.renames {
            true => done.result.map(|_| self.is_over = true),
            false => self.mend.done(done),
        };
        result.map_err(|error| self.refused(&format!("its whole copy cannot be written: {error}")))
    }

    fn refused(&self, why: &str) -> Fatal {
        Fatal::new(
            format!("the node cannot start from its journal: {}. It could not be mended: {why}", self.damage),
            "Keep a copy of the journal, see its extent with `ordain journal verify`, and restore the directory from a peer \
             or a backup: docs/operate/failures.md",
        )
    }
}
