//! The agent. One duty cycle: what the disk and the peers report, what consensus makes of it, what clients
//! ask for, what peers are owed.

mod blank;
mod copies;
mod members;
mod roster;
mod steer;
mod waits;

use crate::lineage::{self, Plight};
use crate::sides::Sides;
use crate::writer::{ENDS, Put, Stamp, Writer};
use ordain_agent::metrics::{Gauge, Registry};
use ordain_agent::peer::{PeerEvent, Peers};
use ordain_agent::planted::{self, Mistake};
use ordain_agent::shared::Shared;
use ordain_agent::side::{Side, is_side};
use ordain_agent::wire::{Found, QUESTION, Question, SUBMISSION, Submission, VoteRequest, submission};
use ordain_agent::{Agent, Fatal};
use ordain_consensus::message::FRAME_MAX;
use ordain_consensus::{Body, Core, Effect, Message, Role, Verdict, VoteState};
use ordain_ring::spsc;
use ordain_types::LogEnd;
use ordain_types::batch::{BatchKind, BatchView};
use ordain_types::frame::{ReceiptAskBody, body};
use ordain_types::members::Member;
use ordain_types::record::{RECORD_HEADER, RecordKind};
use ordain_types::{
    BatchIndex, ClusterFacts, Configuration, Lineage, Nanos, NodeId, Now, Position, RecordHeader, Seq, Term,
};
use std::collections::VecDeque;
use zerocopy::{FromBytes, IntoBytes};

/// Uncommitted batches at most: the ends of a suffix that may be cut are all still at hand.
const UNCOMMITTED_BATCHES: u64 = ENDS as u64 / 2;
/// Bytes of batches sent to a peer in one frame: a quarter of the frame bound keeps a heartbeat from
/// queueing behind more than about a quarter of a millisecond of bulk on a 10 Gbit/s link.
const FRAME_BATCHES: usize = 256 * 1024;

/// Bytes of batches on their way to a peer whose kernel has not reported them: a few times what a link of
/// 10 Gbit/s holds at a round trip of 1 ms, and a bound to what a follower without room has to throw away.
const WAY_BYTES: u64 = 8 * 1024 * 1024;
/// Frames on their way to a peer: with the frames' bound this bounds bytes of a fast stream, alone it bounds the
/// memory for counting them when batches are small.
const WAY_FRAMES: usize = 1024;

/// Batches that a node may have to execute before it could answer as a leader, and still not be called behind.
const BEHIND: u64 = 64;

/// What the stage is made of.
pub struct LogConfig<P> {
    /// The cluster's facts.
    pub facts: ClusterFacts,
    /// The log's writer, at the log's end.
    pub writer: Writer,
    /// The consensus core, fresh from recovery.
    pub core: Core,
    /// Nodes that an operator named, whatever the log says of them.
    pub contacts: Vec<Member>,
    /// The way to the other nodes.
    pub peers: P,
    /// Batches that the kernel, the disk and the watermark are known to have: what the core was made with.
    pub progress: [BatchIndex; 3],
    /// Requests from the gateway.
    pub requests: spsc::Receiver,
    /// Questions to apply.
    pub questions: spsc::Sender,
    /// Vote states to the journal.
    pub votes: spsc::Sender,
    /// Cursors.
    pub shared: Shared,
    /// Where old batches are found for those who lag.
    pub archive: Box<dyn Archive>,
    /// Conversations beside consensus.
    pub sides: Vec<Box<dyn Side>>,
}

/// What an [`Archive`] has for a peer.
#[derive(Debug)]
pub enum Old<'a> {
    /// Whole consecutive batches, and the index of the last.
    Batches(&'a [u8], BatchIndex),
    /// They are not at hand yet: ask again in a later cycle.
    NotYet,
    /// Their segments were removed.
    Gone,
}

/// Batches that the ring no longer has, for peers that lag behind it.
pub trait Archive: Send {
    /// Batches from `first` on, at most `bytes_max` bytes. One peer's reading at a time.
    ///
    /// # Errors
    /// [`Fatal`] if the journal is damaged.
    fn read(&mut self, peer: NodeId, first: BatchIndex, bytes_max: usize) -> Result<Old<'_>, Fatal>;

    /// Everything behind batch `keep` was cut off the log.
    fn cut(&mut self, keep: BatchIndex);
}

#[derive(Debug)]
struct Metrics {
    batches: Gauge,
    records: Gauge,
    bytes: Gauge,
    ticks: Gauge,
    term: Gauge,
    leads: Gauge,
    committed: Gauge,
    elections: Gauge,
    weak_elections: Gauge,
    rejoins: Gauge,
    owes_floor: Gauge,
    blank: Gauge,
    readmitted: Gauge,
    cuts: Gauge,
    waits: waits::Waits,
    lineage: Gauge,
    old_batches: Gauge,
    role: Gauge,
    leader: Gauge,
    last: Gauge,
    applied: Gauge,
    campaigns: Gauge,
    no_copies: Gauge,
    configuration: Gauge,
}

/// Another node as the stage sees it: a member, one that leaves, or one that is connected.
#[derive(Debug)]
struct Other {
    id: NodeId,
    votes: bool,
    way: Way,
    is_up: bool,
    /// Version of the configuration that it was told on its connection.
    told: u64,
    up: Gauge,
    received: Gauge,
    durable: Gauge,
}

/// What was sent to a peer and its kernel has not reported: the last batch of each frame, and its bytes.
#[derive(Debug, Default)]
struct Way {
    frames: VecDeque<(BatchIndex, u32)>,
    bytes: u64,
}

impl Way {
    fn sent(&mut self, through: BatchIndex, bytes: u32) {
        self.frames.push_back((through, bytes));
        self.bytes += u64::from(bytes);
    }

    /// The peer has everything up to `received`, and will be sent `next` next: what does not lie between them
    /// is no longer on its way.
    fn settle(&mut self, received: BatchIndex, next: BatchIndex) {
        while self.frames.front().is_some_and(|(through, _)| *through <= received) {
            self.bytes -= self.frames.pop_front().map_or(0, |(_, bytes)| u64::from(bytes));
        }
        while self.frames.back().is_some_and(|(through, _)| *through >= next) {
            self.bytes -= self.frames.pop_back().map_or(0, |(_, bytes)| u64::from(bytes));
        }
    }

    /// Bytes that may still be sent.
    fn room(&self) -> u64 {
        if self.frames.len() == WAY_FRAMES { 0 } else { WAY_BYTES.saturating_sub(self.bytes) }
    }
}

/// The log stage.
pub struct Log<P> {
    facts: ClusterFacts,
    writer: Writer,
    core: Core,
    others: Vec<Other>,
    contacts: Vec<Member>,
    roster: roster::Roster,
    peers: P,
    requests: spsc::Receiver,
    questions: spsc::Sender,
    votes: spsc::Sender,
    shared: Shared,
    archive: Box<dyn Archive>,
    sides: Sides,
    /// A snapshot takes the log's place: nothing is added to it any more, and nothing said of it.
    frozen: bool,
    /// Term in which this node leads.
    leads: Option<Term>,
    /// The term's first batch is not sealed yet.
    owes_term_start: bool,
    /// Last batch that consensus was told of.
    told: BatchIndex,
    /// The vote state on its way to the disk, and its number.
    persisting: Option<(u64, VoteState)>,
    persists: u64,
    /// A cut that the stages have not answered yet.
    cutting: Option<LogEnd>,
    /// Local progress that consensus was told of: written, durable, watermark.
    progress: [u64; 3],
    /// How long what is sequenced has waited for its copies.
    wait: copies::Wait,
    /// Whether nobody is elected.
    plight: Plight,
    /// Whether this node was removed.
    leaving: members::Leaving,
    /// Whether this node may have promised what it does not know.
    blank: blank::Told,
    /// What this cycle did that others may be waiting for.
    worked: usize,
    registry: Registry,
    /// W as it was told last.
    window: u64,
    metrics: Metrics,
}

impl<P: Peers> Log<P> {
    /// The stage.
    #[must_use]
    pub fn new(config: LogConfig<P>, registry: &Registry) -> Self {
        let told = config.writer.tail().index;
        let metrics = Metrics {
            batches: registry.counter("ordain_log_batches_total", "Batches sealed or taken from a leader."),
            records: registry.counter("ordain_log_records_total", "Records sequenced."),
            bytes: registry.counter("ordain_log_bytes_total", "Bytes of log written, padding included."),
            ticks: registry.counter("ordain_log_ticks_total", "Batches sealed only to let time pass."),
            term: registry.gauge("ordain_term", "Highest election term seen."),
            leads: registry.gauge("ordain_leads", "1 while this node leads."),
            committed: registry.gauge("ordain_committed_batch", "Last committed batch."),
            elections: registry.counter("ordain_elections_won_total", "Times this node became leader."),
            weak_elections: registry.counter(
                "ordain_elections_won_weak_total",
                "Of these, elections that weak votes decided (rule R4's second arm).",
            ),
            rejoins: registry.counter(
                "ordain_rejoins_total",
                "Times this node caught up with all it may have lost, and its votes were whole again (rule R5).",
            ),
            owes_floor: registry
                .gauge("ordain_promise_floor", "1 while this node may lack what it acknowledged (rule R2)."),
            blank: registry.gauge(
                "ordain_blank",
                "1 while this node gives no vote and counts for no copy, because its data directory began empty (R9).",
            ),
            readmitted: registry.counter(
                "ordain_readmitted_total",
                "Times this node, having begun empty, was found whole by a leader (rule R9).",
            ),
            cuts: registry.counter("ordain_log_cuts_total", "Uncommitted suffixes cut off the log."),
            waits: waits::Waits::new(registry),
            lineage: registry.gauge("ordain_lineage", "Lineage of the term: declared losses and one (rule R7)."),
            old_batches: registry.counter(
                "ordain_catchup_frames_total",
                "Frames of batches from segments, sent to nodes that lag behind the ring.",
            ),
            role: registry.gauge("ordain_role", "0 follows, 1 and 2 ask for election, 3 leads."),
            leader: registry.gauge("ordain_leader", "Number of the leader plus one; 0 if none is known."),
            last: registry.gauge("ordain_last_batch", "Last batch of the log, committed or not."),
            applied: registry.gauge("ordain_applied_batch", "Last batch that the application executed."),
            campaigns: registry.counter("ordain_elections_total", "Elections that this node asked for."),
            configuration: registry
                .gauge("ordain_configuration", "Version of the last configuration in the log, committed or not."),
            no_copies: registry.gauge(
                "ordain_no_copies",
                "1 while the copies that the ack policy names cannot exist, as far as this node sees.",
            ),
        };
        let mut log = Self {
            registry: registry.clone(),
            window: 0,
            facts: config.facts,
            writer: config.writer,
            core: config.core,
            others: Vec::new(),
            contacts: config.contacts,
            roster: roster::Roster::default(),
            peers: config.peers,
            requests: config.requests,
            questions: config.questions,
            votes: config.votes,
            shared: config.shared,
            archive: config.archive,
            sides: Sides::new(config.sides),
            frozen: false,
            leads: None,
            owes_term_start: false,
            told,
            persisting: None,
            persists: 0,
            cutting: None,
            progress: config.progress.map(BatchIndex::get),
            wait: copies::Wait::default(),
            plight: Plight::default(),
            leaving: members::Leaving::default(),
            blank: blank::Told::default(),
            worked: 0,
            metrics,
        };
        log.seat(true);
        log
    }

    /// What this node's own disk reports. Loaded in the opposite order of their stores.
    fn hear_journal(&mut self) {
        let watermark = self.shared.watermark.load();
        let durable = self.shared.durable.load();
        let written = self.shared.written.load();
        let told = self.told.0;
        let [ref mut told_written, ref mut told_durable, ref mut told_watermark] = self.progress;
        let written = if planted::is(Mistake::AckBeforeWritten) { told } else { written.min(told) };
        if written > *told_written {
            *told_written = written;
            self.core.written(BatchIndex(written));
        }
        let durable = durable.min(written);
        if durable > *told_durable {
            *told_durable = durable;
            self.core.durable(BatchIndex(durable));
        }
        let watermark = watermark.min(durable);
        if watermark > *told_watermark {
            *told_watermark = watermark;
            self.core.watermark(BatchIndex(watermark));
        }
        let window = self.core.window();
        if window != self.window {
            self.window = window;
            self.shared.window.store(window);
        }
        if let Some((number, state)) = self.persisting
            && self.shared.vote_stored.load() >= number
        {
            self.persisting = None;
            self.core.persisted(state);
        }
    }

    fn hear_peers(&mut self, now: Now, limit: usize) -> Result<usize, Fatal> {
        let closed = self.is_closed();
        for done in 0..limit {
            match self.peers.poll() {
                None => return Ok(done),
                Some(PeerEvent::Up(node)) => {
                    self.meet(node);
                    self.note_up(node, true);
                    self.core.peer_up(node, now.mono);
                    self.sides.up(node, now);
                    self.effects()?;
                    continue;
                }
                Some(PeerEvent::Down(node)) => {
                    self.note_up(node, false);
                    self.core.peer_down(node, now.mono);
                    self.sides.down(node, now);
                    self.effects()?;
                    continue;
                }
                Some(PeerEvent::Removed(by)) => {
                    self.removed_by(by);
                    continue;
                }
                Some(PeerEvent::Frame(from, bytes)) if is_side(bytes) => {
                    let news = match roster::told(bytes) {
                        Some(payload) => self.roster.hear(payload),
                        None => {
                            self.sides.hear(from, bytes, now);
                            false
                        }
                    };
                    if news {
                        self.know_members();
                    }
                    continue;
                }
                Some(PeerEvent::Frame(..)) if self.frozen => continue,
                Some(PeerEvent::Frame(from, bytes)) => match Message::decode(bytes) {
                    // What is closed stays as it is: a leader would make it grow, or be cut.
                    Ok((Message { body: Body::Append(_), .. }, _)) if closed => continue,
                    Ok((message, used)) => {
                        self.core.receive(from, message, now.mono);
                        let batches = &bytes[used..];
                        if let Body::Append(append) = message.body
                            && append.batches as usize == batches.len()
                        {
                            let taken =
                                take_batches(&mut self.core, &mut self.writer, &self.shared, from, batches);
                            self.metrics.batches.add(taken as u64);
                            self.told = self.writer.tail().index;
                            lineage::check(&self.core)?;
                        }
                    }
                    Err(error) => {
                        tracing::warn!(peer = from.0, %error, "a peer's frame was ignored");
                        continue;
                    }
                },
            }
            self.effects()?;
        }
        Ok(limit)
    }

    fn note_up(&mut self, node: NodeId, up: bool) {
        if let Some(other) = self.others.iter_mut().find(|other| other.id == node) {
            other.is_up = up;
            other.up.set(up.into());
            // What was on its way is lost with the connection.
            (other.way, other.told) = (Way::default(), 0);
        }
    }

    /// Lets a snapshot take the log's place if the log lacks the last batch that it stands for: that one is committed,
    /// so of what this log has instead nothing ever will be. Whatever this node acknowledged is in the snapshot, behind
    /// it and then covered by its promise floor, or void; the floor, vote and term outlive the log. What is stored of
    /// the term must be no less than the new log's, as for any log.
    fn look_for_successor(&mut self) {
        let Some(successor) = self.sides.successor() else { return };
        let log = self.core.log();
        if log.term_at(successor.last) == Some(successor.term) {
            self.sides.succeed(false);
            return;
        }
        let at_rest = self.leads.is_none() && self.cutting.is_none() && self.persisting.is_none();
        if at_rest && self.core.vote_state().term >= successor.end_term && !self.is_closed() {
            self.frozen = true;
            self.sides.succeed(true);
        }
    }

    /// A graceful stop: nothing is published any more.
    fn is_closed(&self) -> bool {
        self.shared.log_closed.load() == 1 && !planted::is(Mistake::ClosedLogGoesOn)
    }

    /// Says who leads and how far everybody is.
    fn show(&self) {
        let leader = self.core.leader().map_or(0, |leader| u64::from(leader.0) + 1);
        if self.shared.leader.load() != leader {
            self.shared.leader.store(leader);
        }
        self.metrics.leader.set(leader);
        self.metrics.role.set(match self.core.role() {
            Role::Follower => 0,
            Role::PreCandidate => 1,
            Role::Candidate => 2,
            Role::Leader => 3,
        });
        self.metrics.last.set(self.writer.tail().index.0);
        self.metrics.applied.set(self.shared.applied.load());
        self.metrics.campaigns.set(self.core.campaigns());
        for other in &self.others {
            let (received, durable) = self.core.copies(other.id).unwrap_or_default();
            other.received.set(received.0);
            other.durable.set(durable.0);
        }
    }

    /// Carries out what consensus decided.
    fn effects(&mut self) -> Result<(), Fatal> {
        while let Some(effect) = self.core.pop() {
            self.worked += 1;
            match effect {
                Effect::Persist(state) => self.persist(state)?,
                Effect::Send { to, message } => self.send(to, &message, &[]),
                Effect::Truncate { to } => self.begin_cut(to)?,
                Effect::BecameLeader { term } => {
                    self.leads = Some(term);
                    self.owes_term_start = true;
                    self.shared.stint_first.store(self.writer.tail().index.next().0);
                    self.shared.stint.store(self.shared.stint.load() + 1);
                    self.metrics.elections.add(1);
                    self.metrics.weak_elections.set(self.core.counts().elections_won_weak);
                    self.metrics.leads.set(1);
                    self.note_term(term);
                    tracing::info!(term = term.0, "this node leads");
                }
                Effect::SteppedDown { term } => {
                    assert_eq!(self.leads.take(), Some(term));
                    self.owes_term_start = false;
                    self.shared.stint.store(self.shared.stint.load() + 1);
                    self.metrics.leads.set(0);
                    tracing::info!(term = term.0, "this node leads no more");
                }
                Effect::Committed(index) => {
                    self.shared.committed.store(index.0);
                    self.metrics.committed.set(index.0);
                }
                Effect::Configuration { is_settled } => self.seat(is_settled),
                Effect::ReadRoundDone(round) => self.shared.read_rounds.store(round),
            }
        }
        Ok(())
    }

    fn note_term(&self, term: Term) {
        self.shared.term.store(term.0);
        self.metrics.term.set(term.0);
        self.metrics.lineage.set(Lineage::of(term).0.into());
    }

    fn persist(&mut self, state: VoteState) -> Result<(), Fatal> {
        assert!(self.persisting.is_none(), "consensus stores one vote state at a time");
        self.persists += 1;
        let floor = state.floor.unwrap_or_default();
        let request = VoteRequest {
            number: self.persists.into(),
            term: state.term.0.into(),
            voted_for: state.voted_for.map_or(0, |node| u64::from(node.0) + 1).into(),
            ack_term: state.ack_term.0.into(),
            floor_term: floor.term.0.into(),
            floor_index: floor.index.0.into(),
            blank: u64::from(state.blank).into(),
            boot: state.boot.0.into(),
        };
        let Some(bytes) = self.votes.try_claim(size_of::<VoteRequest>()) else {
            return Err(Fatal::new(
                "the journal stage no longer takes vote states",
                "This is a defect of Ordain: report it with the log of this node.",
            ));
        };
        bytes.copy_from_slice(request.as_bytes());
        self.votes.commit();
        self.persisting = Some((self.persists, state));
        self.note_term(state.term);
        self.metrics.owes_floor.set(u64::from(state.floor.is_some()));
        self.metrics.rejoins.set(self.core.counts().rejoins);
        self.metrics.readmitted.set(self.core.counts().readmitted);
        Ok(())
    }

    fn send(&mut self, to: NodeId, message: &Message, body: &[u8]) {
        let mut head = [0; FRAME_MAX];
        let len = message.encode(&mut head);
        // A message that does not fit is lost, as one on a broken connection is; consensus repeats it.
        let _ = self.peers.send(to, &head[..len], body);
    }

    fn begin_cut(&mut self, to: BatchIndex) -> Result<(), Fatal> {
        let Some(keep) = self.writer.ends().get(to).copied() else {
            return Err(Fatal::new(
                format!("the log must be cut behind batch {to}, which is further back than this node can go"),
                "Move this node's data directory away and let it join again empty.",
            ));
        };
        self.shared.cut.ask(keep.index, keep.position);
        self.cutting = Some(keep);
        self.metrics.cuts.add(1);
        tracing::info!(keep = to.0, "an uncommitted suffix is cut off the log");
        Ok(())
    }

    /// Ends a cut once every stage has let go.
    fn end_cut(&mut self) -> Result<(), Fatal> {
        let Some(keep) = self.cutting else { return Ok(()) };
        if self.shared.cut.is_done() && self.writer.cut(keep) {
            self.shared.cut.finish();
            self.cutting = None;
            self.archive.cut(keep.index);
            self.told = keep.index;
            for progress in &mut self.progress {
                *progress = (*progress).min(keep.index.0);
            }
            self.core.truncated(keep.index);
            self.effects()?;
        }
        Ok(())
    }

    /// Puts what clients ask for into batches. Returns the submissions taken.
    fn take_requests(&mut self, now: Now, limit: usize) -> Result<usize, Fatal> {
        let Some(term) = self.leads else {
            return Ok(self.pass_by(limit));
        };
        self.writer.set_stamp(Stamp {
            term,
            wall: now.wall,
            durable: BatchIndex(self.shared.durable.load()),
            room: Position(self.shared.room.load()),
        });
        if self.owes_term_start {
            if self.writer.seal_empty(BatchKind::TermStart) == Put::Done {
                self.owes_term_start = false;
            }
            self.tell_sealed();
            self.effects()?;
            return Ok(1);
        }
        if !self.may_grow() {
            self.metrics.waits.copies.add(u64::from(self.requests.peek().is_some()));
            return Ok(0);
        }
        if self.core.is_transferring() {
            return Ok(0);
        }
        if self.core.due().is_some() {
            let _ = self.seal_due(); // If it must wait, it is due in the next turn.
            self.effects()?;
        }
        let (taken, records) = self.drain(limit);
        self.seal_tick(now, records);
        self.writer.seal(BatchKind::Data);
        self.metrics.records.add(records as u64);
        self.tell_sealed();
        self.effects()?;
        Ok(taken)
    }

    /// Whether the uncommitted suffix is within its bounds: it must fit into what a restarted node finds
    /// again in memory, and a leader that cannot commit must not pile up what it may have to forget.
    fn may_grow(&self) -> bool {
        let committed = BatchIndex(self.shared.committed.load());
        let tail = self.writer.tail();
        tail.index.0 - committed.0 < UNCOMMITTED_BATCHES
            && self
                .writer
                .ends()
                .get(committed)
                .is_some_and(|end| tail.position.0 - end.position.0 < self.facts.segment_size / 2)
    }

    fn drain(&mut self, limit: usize) -> (usize, usize) {
        let mut records = 0;
        for taken in 0..limit {
            let Some(bytes) = self.requests.peek() else { return (taken, records) };
            let (head, frame) = Submission::ref_from_prefix(bytes).expect("the gateway wrote a submission");
            if self.core.is_transferring() {
                return (taken, records);
            }
            if head.kind.get() == submission::RECORD {
                let put = self.writer.push(frame);
                if put != Put::Done {
                    self.metrics.waits.note(put);
                    return (taken, records);
                }
                records += 1;
            } else if head.kind.get() == submission::STEER {
                if !self.take_steer() {
                    self.metrics.waits.questions.add(1);
                    return (taken, records);
                }
            } else {
                let found = (head.kind.get() == submission::RECEIPT).then(|| find(&self.writer, frame));
                let found = found.as_ref().map_or(&[][..], IntoBytes::as_bytes);
                let Some(space) = self.questions.try_claim(QUESTION + frame.len() + found.len()) else {
                    self.metrics.waits.questions.add(1);
                    return (taken, records);
                };
                let Some(round) = self.core.read_round() else {
                    unreachable!("a leader reads in rounds");
                };
                let round = if planted::is(Mistake::ReadsAtOnce) { 0 } else { round };
                let question = Question {
                    kind: head.kind,
                    conn: head.conn,
                    after: self.writer.current_index().0.into(),
                    round: round.into(),
                };
                let (asked, behind) = space[QUESTION..].split_at_mut(frame.len());
                asked.copy_from_slice(frame);
                behind.copy_from_slice(found);
                space[..QUESTION].copy_from_slice(question.as_bytes());
                self.questions.commit();
            }
            self.requests.release();
        }
        (limit, records)
    }

    /// Lets time pass in the log if a deadline is due and no record carries the time anyway.
    fn seal_tick(&mut self, now: Now, records: usize) {
        let due = self.shared.tick_due.load();
        if records > 0 || due == 0 || now.wall.0 < due || self.writer.tail().time.0 >= due {
            return;
        }
        let tick = RecordHeader { kind: RecordKind::Tick as u8, ..RecordHeader::default() };
        if self.writer.push(tick.as_bytes()) == Put::Done {
            self.metrics.ticks.add(1);
        }
    }

    /// Tells consensus of every batch sealed since the last time.
    fn tell_sealed(&mut self) {
        let last = self.writer.tail().index;
        self.metrics.batches.add(last.0 - self.told.0);
        self.metrics.bytes.set(self.writer.tail().position.0);
        while self.told < last {
            self.told = self.told.next();
            self.core.appended(self.told);
        }
    }

    /// Sends peers what they lack: from the ring, or from the archive if they lag behind it.
    fn stream(&mut self, now: Now) -> Result<usize, Fatal> {
        let mut sent = 0;
        for other in &mut self.others {
            let peer = other.id;
            while let Some(first) = self.core.next_batch(peer) {
                let (received, _) = self.core.copies(peer).unwrap_or_default();
                other.way.settle(received, first);
                let room = self.peers.room(peer).saturating_sub(FRAME_MAX).min(FRAME_BATCHES);
                let room = room.min(other.way.room() as usize);
                let mut head = [0; FRAME_MAX];
                let (body, through) = match self.writer.batches_from(first, room) {
                    Ok(Some(found)) => found,
                    Ok(None) => break,
                    Err(_not_in_ring) => match self.archive.read(peer, first, room)? {
                        Old::Batches(bytes, through) => {
                            self.metrics.old_batches.add(1);
                            (bytes, through)
                        }
                        Old::NotYet => break,
                        Old::Gone => {
                            self.sides.lacks(peer, first, now);
                            break;
                        }
                    },
                };
                let message = self.core.stream(peer, through, body.len() as u32);
                let len = message.encode(&mut head);
                let _ = self.peers.send(peer, &head[..len], body);
                other.way.sent(through, body.len() as u32);
                sent += 1;
            }
        }
        self.effects()?;
        Ok(sent)
    }
}

/// The chain value behind the record that a Receipt frame names.
fn find(writer: &Writer, frame: &[u8]) -> Found {
    let (_, payload) = frame.split_at(RECORD_HEADER);
    let asked = body::<ReceiptAskBody>(payload).expect("the gateway has looked").seq;
    let seq = if asked == 0 { writer.tail().next_seq.0 - 1 } else { asked.get() };
    let end = writer.ends().behind(Seq(seq));
    end.map_or(Found::default(), |end| Found {
        seq: seq.into(),
        index: end.index.0.into(),
        chain: end.chain.0,
    })
}

/// Offers the batches of an append frame to consensus and writes those that it wants. Returns how many.
fn take_batches(
    core: &mut Core,
    writer: &mut Writer,
    shared: &Shared,
    from: NodeId,
    mut bytes: &[u8],
) -> usize {
    let mut taken = 0;
    while !bytes.is_empty() {
        let Ok(view) = BatchView::parse(bytes) else {
            tracing::warn!(peer = from.0, "a peer's batch failed its checksum and was ignored");
            break;
        };
        let configuration = match Configuration::of_batch(&view) {
            Ok(configuration) => configuration,
            Err(error) => {
                tracing::warn!(peer = from.0, %error, "a peer's batch was ignored");
                break;
            }
        };
        bytes = &bytes[view.bytes().len()..];
        let (index, term) = (view.header.index(), view.header.term());
        if index > writer.tail().index {
            let room = Position(shared.room.load());
            if !writer.follows(&view) || view.header.end() > room || !writer.has_space(view.bytes().len()) {
                break;
            }
        }
        match core.accept(from, index, term) {
            Verdict::Write => {
                assert_eq!(writer.append(&view), Put::Done, "space was checked");
                if let Some(configuration) = configuration {
                    core.configured(index, configuration);
                }
                taken += 1;
            }
            Verdict::Skip => {}
            Verdict::Drop => break,
        }
    }
    taken
}

impl<P: Peers> Agent for Log<P> {
    fn name(&self) -> &'static str {
        "log"
    }

    fn do_work(&mut self, now: Now, limit: usize) -> Result<usize, Fatal> {
        self.worked = 0;
        if self.shared.has_diverged() {
            // Whoever leads next must not wait for this node, nor anybody be answered by it.
            if self.leads.is_some() {
                self.core.resign();
                self.effects()?;
            }
            return self.sides.work(now, &mut self.peers);
        }
        if self.frozen {
            return Ok(self.hear_peers(now, limit)? + self.sides.work(now, &mut self.peers)?);
        }
        self.end_cut()?;
        self.hear_journal();
        self.effects()?;
        let behind = self.shared.applied.load() + BEHIND < self.shared.committed.load();
        self.core.set_behind(behind);
        let mut work = self.hear_peers(now, limit)?;
        self.core.tick(now.mono);
        self.effects()?;
        self.look_for_successor();
        if self.cutting.is_none() {
            if !self.is_closed() {
                work += self.take_requests(now, limit)?;
            }
            work += self.stream(now)?;
            // In this order: behind the gateway's last word there is no request that this does not see.
            if self.shared.requests_closed.load() == 1 && self.requests.peek().is_none() {
                self.shared.log_closed.store(1);
            }
        }
        // Everything that was owed is done, or a reign began that can never commit, since a closed log takes no
        // batch of it: whoever leads next can begin.
        let is_over = self.shared.gateway_closed.load() == 1 || self.owes_term_start && self.is_closed();
        if is_over && self.leads.is_some() {
            self.core.resign();
            self.effects()?;
        }
        work += self.sides.work(now, &mut self.peers)?;
        self.tell_members();
        self.leaving.look(self.core.id(), now.mono)?;
        self.judge_copies(now.mono);
        self.tell_of_blank(now.mono);
        if work + self.worked > 0 {
            let connected = self.others.iter().filter(|other| other.is_up).count();
            self.plight.look(&self.core, connected);
            self.show();
        }
        Ok(work + self.worked)
    }

    fn next_deadline(&self) -> Option<Nanos> {
        let core = self.core.next_deadline();
        let core = self.leaving.due().map_or(core, |due| due.min(core));
        Some(self.sides.next_deadline().map_or(core, |side| side.min(core)))
    }
}

const _: () = assert!(SUBMISSION == size_of::<Submission>());

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_its_way_is_what_was_sent_and_not_reported() {
        let mut way = Way::default();
        for batch in 1..=10 {
            way.sent(BatchIndex(2 * batch), 100);
        }
        assert_eq!(way.room(), WAY_BYTES - 1000);
        // Two frames are whole, the third half.
        way.settle(BatchIndex(5), BatchIndex(21));
        assert_eq!(way.room(), WAY_BYTES - 800);
        // The peer lost what was behind batch 11.
        way.settle(BatchIndex(5), BatchIndex(12));
        assert_eq!(way.room(), WAY_BYTES - 300);
        way.settle(BatchIndex(5), BatchIndex(6));
        assert_eq!(way.room(), WAY_BYTES);
    }

    #[test]
    fn what_is_on_its_way_is_bounded_in_bytes_and_frames() {
        let mut way = Way::default();
        (0..8).for_each(|at| way.sent(BatchIndex(at), 1024 * 1024));
        assert_eq!(way.room(), 0);
        let mut way = Way::default();
        (0..WAY_FRAMES as u64).for_each(|at| way.sent(BatchIndex(at), 1));
        assert_eq!(way.room(), 0);
    }
}
