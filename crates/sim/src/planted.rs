//! Mistakes planted on purpose: each must be caught by a checker. A list that catches all of them is worth
//! more than any number of runs that find nothing.

use crate::disk::{Lie, Speed};
use crate::plan::{Odds, Plan, RAM, Wishes};
use crate::run::{Options, Outcome, run, tell};
use crate::scenario::Scenario;
use crate::workload::Workload;
use ordain_agent::planted::{Mistake, plant};
use ordain_consensus::Mutation;
use ordain_node::Snapshots;
use ordain_types::Nanos;
use ordain_types::facts::AckPolicy;

/// Where the mistake is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// In a stage.
    Stage(Mistake),
    /// In the consensus core.
    Consensus(Mutation),
    /// By the disk, which stands for a journal that does not wait for it.
    Disk(Lie),
}

/// A mistake and how it is to be caught.
#[derive(Clone, Copy, Debug)]
pub struct Planted {
    /// The mistake.
    pub plant: Plant,
    /// Nodes that show it.
    pub nodes: usize,
    /// What is changed in the plans that seeds draw, so that they show it.
    pub shape: fn(&mut Plan),
    /// The story that shows it, where chance alone would take too long.
    pub story: Option<&'static str>,
    /// Seeds after which it counts as missed.
    pub budget: u64,
    /// Checkers whose property the mistake breaks. That any other fires first is a fault of the simulator.
    pub checkers: &'static [&'static str],
}

const COPIES: &str = "copies exist when a reply leaves";
const TOLD: &str = "clients are told of a declared loss";
const LEADS: &str = "leaders have what is committed";
const LOST: &str = "nothing acknowledged is lost";
const PREFIX: &str = "one committed prefix";
const CUT: &str = "nothing committed is cut";
const PROMISES: &str = "promises are on disk when they leave";
const STOPS: &str = "no node stops without a cause";
const PANICS: &str = "no stage panics";
const PROGRESS: &str = "progress after healing";
const MODEL: &str = "the model agrees";
const WRITTEN: &str = "written batches are on the disk";
const ONCE: &str = "executed at most once";
const LIVE: &str = "live = replayed = restored";
const OUTPUTS: &str = "outputs are of committed batches";
const CHANGED: &str = "a reply never changes";
const CONFUSED: &str = "client and node understand each other";

const COMMITTED: &str = "copies exist when a batch is committed";
const ACKS: &str = "acknowledgements are true";
const BEHIND: &str = "nothing stands behind the end of the log";
const ON_DISK: &str = "what recovery found is on the disk";
const COMPLETE: &str = "leaders have what is committed";
const ONE_VOTE: &str = "one vote in a term";
const ONE_LEADER: &str = "one leader a term";
const STORY: &str = "the story goes as it is told";
const AVAILABLE: &str = "bounded unavailability";
const ANSWERS: &str = "answers are those of the log";
const SEEN: &str = "queries see what was acknowledged";
const NAMED: &str = "what gets its name is synced";
const TIME: &str = "log time never goes back";
const FENCED: &str = "who resumes a session fences the others";
const CHAIN: &str = "batches form one chain";
const OWNERS: &str = "sessions belong to their keys";

const LEVEL: &str = "a level begins where every member has it";
const RULE: &str = "configurations change by the rule";
const OWN_TERM: &str = "leaders commit batches of their own term";
const FLOOR: &str = "a promise floor covers what was acknowledged";
const HOLDERS: &str = "two nodes hold what is trimmed";
const LACKS: &str = "who drops its floor lacks nothing";

const BLANK: &str = "who lost its disk votes for nobody";
const WHOLE: &str = "who is whole again lacks nothing";
const MENDED: &str = "a mended segment is what it was";
const SERVED: &str = "what is served is sound";
const EQUAL: &str = "equal segments";

const SURVIVES: &str = "the journal survives every crash";
const REPORTED: &str = "damage at rest is reported";
const DIVERGED: &str = "a node that diverged stops";
const EVIDENCE: &str = "evidence of a divergence is kept";

/// What follows when a committed batch is lost in an election.
const ELECTION: &[&str] = &[COMPLETE, PREFIX, CUT, LOST, LACKS];

/// As drawn, but shorter.
fn short(plan: &mut Plan) {
    plan.operations = 400;
    plan.patience = (10 * Nanos::SECOND, 10 * Nanos::SECOND);
    plan.corrupt = false;
    plan.wishes = None;
}

/// Short, with sessions that end while nobody looks.
fn expires(plan: &mut Plan) {
    short(plan);
    plan.facts.session_timeout = Nanos(100 * Nanos::MILLI);
}

/// Short, with nothing but crashes, one after the other.
fn crashes(plan: &mut Plan) {
    short(plan);
    plan.faults = 30;
    plan.odds = Odds { kill: 1, power: 4, reset: 1, ..Odds::default() };
    plan.calm.1 = 20 * Nanos::MILLI;
    plan.trouble.1 = 5 * Nanos::MILLI;
    plan.snapshots = None;
}

/// Short, with nothing but graceful stops, one after the other.
fn stops(plan: &mut Plan) {
    crashes(plan);
    plan.odds = Odds { stop: 4, clock: 1, reset: 1, ..Odds::default() };
}

/// Crashes of a node whose snapshots are sound.
fn snapshots(plan: &mut Plan) {
    crashes(plan);
    plan.snapshots = Some(Snapshots { every: 1 });
    plan.corrupt_snapshots = false;
}

/// Frames that arrive altered, and disks that are behind what was written.
fn damages(plan: &mut Plan) {
    short(plan);
    plan.faults = 60;
    plan.odds = Odds { damage: 8, stall: 2, leader: 1, power: 1, ..Odds::default() };
    plan.calm.1 = 10 * Nanos::MILLI;
    plan.trouble.1 = 20 * Nanos::MILLI;
    plan.facts.policy = AckPolicy::DISK_RAM;
}

/// Nodes that find damage where their logs end.
fn rest(plan: &mut Plan) {
    short(plan);
    plan.faults = 30;
    plan.odds = Odds { rest: 4, kill: 1, ..Odds::default() };
    plan.calm.1 = 30 * Nanos::MILLI;
    plan.snapshots = None;
}

/// Followers that compute something else, and now and then a crash.
fn bends(plan: &mut Plan) {
    short(plan);
    plan.faults = 12;
    plan.odds = Odds { bend: 4, kill: 1, ..Odds::default() };
}

/// Nodes that are gone for so long that the others have trimmed what they need.
fn laggards(plan: &mut Plan) {
    short(plan);
    plan.operations = 1_500;
    plan.faults = 20;
    plan.odds = Odds { power: 4, kill: 1, partition: 2, ..Odds::default() };
    plan.calm.1 = 30 * Nanos::MILLI;
    plan.trouble = (50 * Nanos::MILLI, 400 * Nanos::MILLI);
    plan.facts.policy = AckPolicy::DISK_RAM;
    plan.facts.segment_size = 16 * 1024;
    plan.ring = 32 * 1024;
    plan.snapshots = Some(Snapshots { every: 1 });
    plan.retain = 0;
    plan.think.1 = 20 * Nanos::MICRO;
}

/// Disks that forget, in logs of many segments, and nodes that need what stands there.
fn rot(plan: &mut Plan) {
    short(plan);
    plan.operations = 1_500;
    plan.faults = 30;
    plan.odds = Odds { rot: 6, kill: 2, partition: 1, ..Odds::default() };
    plan.calm.1 = 30 * Nanos::MILLI;
    plan.trouble = (20 * Nanos::MILLI, 200 * Nanos::MILLI);
    plan.facts.segment_size = 16 * 1024;
    plan.ring = 32 * 1024;
    plan.snapshots = None;
    plan.scrub_every = Some(Nanos(200 * Nanos::MILLI));
    plan.think.1 = 20 * Nanos::MICRO;
}

/// The same, where what nodes send each other to mend it arrives altered now and then.
fn rot_altered(plan: &mut Plan) {
    rot(plan);
    plan.roads.alters = 2;
}

/// The same where the scrubber comes late, so that others read first.
fn rot_read(plan: &mut Plan) {
    rot(plan);
    plan.scrub_every = Some(Nanos(4 * Nanos::SECOND));
    plan.odds = Odds { rot: 6, kill: 2, partition: 6, ..Odds::default() };
}

/// The same, where much of what they are sent arrives altered.
fn altered(plan: &mut Plan) {
    laggards(plan);
    plan.roads.alters = 2;
}

/// Elections, crashes and partitions in quick succession.
fn elections(plan: &mut Plan) {
    short(plan);
    plan.faults = 30;
    plan.odds =
        Odds { kill: 1, power: 2, partition: 2, link: 1, leader: 4, stall: 2, scheme: 6, ..Odds::default() };
    plan.calm.1 = 20 * Nanos::MILLI;
    plan.election_timeout = Nanos(20 * Nanos::MILLI);
    plan.facts.unsynced_max = 16;
    plan.facts.policy = AckPolicy::DISK_RAM;
    plan.reckless = true;
}

/// The same with nothing kept on disk, and power losses everywhere.
fn memory(plan: &mut Plan) {
    elections(plan);
    plan.facts.policy = RAM;
    plan.odds.blackout = 4;
}

/// Power is lost everywhere in the end, and an operator decides.
fn declares(plan: &mut Plan) {
    memory(plan);
    plan.odds.blackout = 0;
    plan.reckless = false;
    plan.snapshots = None;
    plan.core = false;
    plan.clients = 6;
    plan.declares = true;
}

/// The same where two nodes that lost nothing can elect.
fn declares_disks(plan: &mut Plan) {
    declares(plan);
    plan.facts.policy = AckPolicy::TWO_DISKS;
}

/// Leaders that cannot reach the others for a while, and read rounds that take long.
fn partitions(plan: &mut Plan) {
    elections(plan);
    plan.odds = Odds { partition: 4, pause: 1, leader: 4, ..Odds::default() };
    plan.clients = 6;
    plan.think.1 = 20 * Nanos::MICRO;
    plan.roads.delay = (1_000 * Nanos::MICRO, 5 * Nanos::MILLI);
}

/// Leaders that come and go with a backlog that takes many frames to hand over.
fn backlog(plan: &mut Plan) {
    elections(plan);
    plan.odds = Odds { scheme: 1, ..Odds::default() };
    plan.clients = 6;
    plan.facts.window = 16;
    plan.think.1 = 20 * Nanos::MICRO;
    plan.limit = 1;
    plan.roads.buffer = 5 * 1024;
    plan.roads.delay = (100 * Nanos::MICRO, 3 * Nanos::MILLI);
}

/// Slow connections, slow disks, and nodes that lose power behind them.
fn memory_slow(plan: &mut Plan) {
    memory(plan);
    plan.odds = Odds { scheme: 6, power: 1, ..Odds::default() };
    plan.roads.buffer = 5 * 1024;
    plan.roads.delay = (100 * Nanos::MICRO, 3 * Nanos::MILLI);
}

/// Syncs and writes that fail while much is not synced, and nodes that come back at once.
fn failing_disks(plan: &mut Plan) {
    crashes(plan);
    plan.odds = Odds { disk: 6, kill: 1, stall: 4, ..Odds::default() };
    plan.odds.leader = u64::from(plan.nodes > 1);
    plan.facts.unsynced_max = 64;
    if plan.nodes > 1 {
        plan.facts.policy = AckPolicy::DISK_RAM;
    }
}

/// Stops in good order, and power losses after them.
fn stops_and_losses(plan: &mut Plan) {
    memory(plan);
    plan.odds = Odds { stop: 4, power: 6, leader: 1, ..Odds::default() };
}

/// Leaders whose machines are suspended and cut off while another is elected.
fn sleepers(plan: &mut Plan) {
    elections(plan);
    plan.odds = Odds { scheme: 1, ..Odds::default() };
    plan.sleepers = true;
    plan.clients = 6;
    plan.facts.window = 16;
    plan.think = (100 * Nanos::MICRO, 2 * Nanos::MILLI);
}

/// Elections and stalled disks while an operator asks for one change after another.
fn steered(plan: &mut Plan) {
    elections(plan);
    plan.odds = Odds { stall: 6, kill: 1, power: 2, leader: 2, scheme: 2, ..Odds::default() };
    plan.clients = 6;
    plan.facts.window = 16;
    plan.think.1 = 20 * Nanos::MICRO;
    plan.wishes = Some(Wishes { calm: (Nanos::MILLI, 5 * Nanos::MILLI), ..Wishes::default() });
}

/// Policies come and go, beginning with two synced copies.
fn policies(plan: &mut Plan) {
    steered(plan);
    plan.facts.policy = AckPolicy::TWO_DISKS;
    plan.wishes = plan.wishes.map(|wishes| Wishes { policy: 1, ..wishes });
}

/// W grows and shrinks.
fn windows(plan: &mut Plan) {
    steered(plan);
    plan.wishes = plan.wishes.map(|wishes| Wishes { window: 1, ..wishes });
}

/// Members come and go.
fn memberships(plan: &mut Plan) {
    steered(plan);
    plan.odds = Odds { kill: 2, power: 1, leader: 4, partition: 2, ..Odds::default() };
    plan.spares = 4;
    plan.disks.resize(plan.machines(), plan.disks[0]);
    plan.wishes = plan.wishes.map(|wishes| Wishes { members: 4, transfer: 1, ..wishes });
}

/// Nodes get a newer build, and its level begins; they begin again with snapshots.
fn levels(plan: &mut Plan) {
    steered(plan);
    plan.snapshots = Some(Snapshots { every: 1 });
    plan.wishes = plan.wishes.map(|wishes| Wishes { level: 1, ..wishes });
}

/// Disks that are lost, and leaders that vanish meanwhile.
fn losses(plan: &mut Plan) {
    elections(plan);
    plan.odds = Odds { loss: 6, kill: 1, leader: 3, partition: 1, ..Odds::default() };
    plan.reckless = false;
    plan.clients = 6;
    plan.think.1 = 20 * Nanos::MICRO;
}

/// With somebody who breaks the rules.
fn rogues(plan: &mut Plan) {
    short(plan);
    plan.rogues = 1;
}

const fn stage(
    mistake: Mistake,
    nodes: usize,
    shape: fn(&mut Plan),
    budget: u64,
    checkers: &'static [&'static str],
) -> Planted {
    Planted { plant: Plant::Stage(mistake), nodes, shape, story: None, budget, checkers }
}

const fn consensus(mutation: Mutation, shape: fn(&mut Plan), budget: u64) -> Planted {
    Planted { plant: Plant::Consensus(mutation), nodes: 3, shape, story: None, budget, checkers: ELECTION }
}

const fn disk(lie: Lie, nodes: usize, checkers: &'static [&'static str]) -> Planted {
    Planted { plant: Plant::Disk(lie), nodes, shape: short, story: None, budget: 20, checkers }
}

/// A story from `scenarios`, on disks and a network that are no slower than an election.
const fn story(
    mutation: Mutation,
    nodes: usize,
    story: &'static str,
    checkers: &'static [&'static str],
) -> Planted {
    Planted { nodes, story: Some(story), checkers, ..consensus(mutation, quick, 20) }
}

fn quick(plan: &mut Plan) {
    let speed = Speed {
        quick: (2 * Nanos::MICRO, 20 * Nanos::MICRO),
        sync: (20 * Nanos::MICRO, 200 * Nanos::MICRO),
        meta: (50 * Nanos::MICRO, 500 * Nanos::MICRO),
    };
    plan.disks.fill(speed);
    plan.roads.delay = (Nanos::MICRO, 100 * Nanos::MICRO);
}

/// Nobody who lags is sent a snapshot, and the ring is small.
fn all_kept(plan: &mut Plan) {
    quick(plan);
    plan.snapshots = None;
    plan.facts.segment_size = 16 * 1024;
    plan.ring = 2 * plan.facts.segment_size as usize;
}

/// All mistakes.
pub const ALL: [Planted; 70] = [
    story(
        Mutation::AckOtherTerm,
        5,
        include_str!("../scenarios/acknowledged-in-another-term.txt"),
        &[COMMITTED, COPIES],
    ),
    story(Mutation::BlankVotes, 3, include_str!("../scenarios/empty-gives-no-vote.txt"), &[BLANK]),
    Planted { checkers: &[COMMITTED, COPIES], ..consensus(Mutation::BlankCounts, losses, 20) },
    Planted { checkers: &[WHOLE, ONE_VOTE], ..consensus(Mutation::EmptyIsNew, losses, 20) },
    Planted {
        checkers: &[RULE, COMMITTED, COPIES, COMPLETE, PREFIX, CUT, LOST],
        ..consensus(Mutation::ChangeWithoutRaise, memberships, 50)
    },
    Planted {
        checkers: &[RULE, COMMITTED, COPIES, COMPLETE, PREFIX, CUT, LOST],
        ..consensus(Mutation::ChangeBeforeCommit, memberships, 100)
    },
    Planted {
        checkers: &[COMMITTED, COPIES, COMPLETE, PREFIX, CUT, LOST],
        ..consensus(Mutation::WeakerWhenLogged, policies, 50)
    },
    Planted {
        checkers: &[COMMITTED, COPIES, FLOOR, COMPLETE, PREFIX, CUT, LOST, LACKS],
        ..consensus(Mutation::WindowNotOnDisk, windows, 100)
    },
    stage(Mistake::AckBeforeWritten, 3, elections, 50, &[ACKS, COMMITTED, COPIES]),
    stage(Mistake::ReadsAtOnce, 3, sleepers, 200, &[SEEN, ANSWERS]),
    stage(Mistake::TimeGoesBack, 1, short, 20, &[TIME, STOPS]),
    stage(Mistake::CutInFlight, 3, backlog, 100, &[BEHIND, WRITTEN, PANICS, CHAIN]),
    stage(Mistake::CutLeavesBytes, 3, elections, 50, &[BEHIND]),
    stage(Mistake::CutNotSynced, 3, elections, 50, &[BEHIND]),
    stage(Mistake::StateNotSynced, 3, elections, 20, &[PROMISES]),
    stage(Mistake::TrimsUnasked, 1, snapshots, 50, &[STOPS]),
    stage(Mistake::DamageCut, 3, rest, 50, &[SURVIVES, REPORTED]),
    stage(Mistake::TailLeft, 1, crashes, 50, &[BEHIND]),
    stage(Mistake::CacheTrusted, 1, failing_disks, 50, &[ON_DISK]),
    stage(Mistake::WitnessIgnored, 3, failing_disks, 200, &[LACKS, FLOOR]),
    // The journal itself asserts that nothing is published behind a clean mark: what could be lost without a floor.
    stage(Mistake::CleanMarkKept, 3, stops_and_losses, 100, &[FLOOR, LACKS, PANICS]),
    // To a node that a leader thinks has the log, because its last life said so, the leader never sends what it lacks.
    stage(
        Mistake::BootNotCounted,
        3,
        memory_slow,
        100,
        &[COMMITTED, COPIES, LACKS, PREFIX, CUT, LOST, PROGRESS],
    ),
    stage(Mistake::NobodyFenced, 1, rogues, 50, &[FENCED, PANICS]),
    stage(Mistake::ExpiresEarly, 1, expires, 50, &[MODEL, LIVE]),
    stage(Mistake::KeyIgnored, 1, rogues, 50, &[OWNERS, MODEL, CONFUSED, FENCED]),
    stage(Mistake::SnapshotNotSynced, 1, snapshots, 20, &[NAMED]),
    Planted {
        story: Some(include_str!("../scenarios/two-far-behind.txt")),
        ..stage(Mistake::LaggardsInterrupt, 5, all_kept, 20, &[PROGRESS, AVAILABLE, STORY])
    },
    Planted { checkers: &[COMMITTED], ..consensus(Mutation::CountsItselfEarly, elections, 100) },
    Planted { checkers: &[PROMISES], ..consensus(Mutation::AckTermNotAwaited, elections, 50) },
    Planted { checkers: &[ONE_VOTE, ONE_LEADER, PANICS], ..consensus(Mutation::VotesTwice, elections, 50) },
    consensus(Mutation::ShorterLogWins, elections, 100),
    Planted { checkers: &[LACKS], ..consensus(Mutation::MarkUnwritten, memory, 200) },
    Planted { checkers: &[PREFIX, CUT, PANICS], ..consensus(Mutation::CommitUnmatched, elections, 200) },
    stage(Mistake::ReplyBeforeCommit, 3, short, 20, &[COPIES]),
    stage(Mistake::StaleStint, 3, partitions, 100, &[COPIES, LOST, OUTPUTS, CHANGED, PROGRESS]),
    stage(Mistake::CutKeepsApplied, 3, elections, 100, &[LIVE, LOST, STOPS, PANICS]),
    stage(Mistake::CutWaitsForRoom, 3, backlog, 200, &[PROGRESS]),
    stage(Mistake::ClosedLogGoesOn, 1, stops, 200, &[PANICS]),
    stage(Mistake::RepeatExecuted, 1, short, 20, &[ONCE, MODEL, CHANGED]),
    stage(Mistake::FloorIgnored, 1, short, 20, &[MODEL, PROGRESS, CONFUSED]),
    stage(Mistake::DurableWhenWritten, 1, short, 20, &[COPIES, COMMITTED]),
    // What the watermark covers is taken to be on the disk, and not written anew.
    stage(Mistake::WatermarkAhead, 1, crashes, 100, &[STOPS, ON_DISK]),
    stage(Mistake::VoteNotAwaited, 3, elections, 50, &[PROMISES]),
    stage(Mistake::FloorFromDisk, 3, memory, 100, &[FLOOR, COMPLETE, PREFIX, CUT, LOST]),
    stage(Mistake::LineageNotRaised, 3, declares, 20, &[TOLD, LOST, PREFIX, CUT]),
    disk(Lie::SyncsNothing, 1, &[COPIES, COMMITTED]),
    disk(Lie::WritesLater, 1, &[WRITTEN]),
    disk(Lie::ForgetsNodeState, 3, &[PROMISES]),
    consensus(Mutation::DirtyVotesStrong, memory, 100),
    consensus(Mutation::MajorityWins, elections, 100),
    consensus(Mutation::OneTooFew, elections, 100),
    Planted {
        checkers: &[OWN_TERM, COMPLETE, PREFIX, CUT, LOST],
        ..consensus(Mutation::NoCurrentTerm, backlog, 50)
    },
    Planted {
        checkers: &[LACKS, COMMITTED, COPIES, COMPLETE, PREFIX, CUT, LOST],
        ..consensus(Mutation::NoBoot, memory_slow, 100)
    },
    Planted {
        checkers: &[COPIES, COMMITTED, PREFIX, CUT, LOST],
        ..consensus(Mutation::NoWindow, memory, 100)
    },
    Planted {
        checkers: &[LEADS, PREFIX, CUT, LACKS],
        ..consensus(Mutation::OldLineageElects, declares_disks, 50)
    },
    stage(Mistake::LevelForgotten, 3, levels, 50, &[LIVE, MODEL, OUTPUTS, CHANGED, STOPS]),
    stage(Mistake::LevelUnasked, 3, levels, 20, &[LEVEL]),
    stage(Mistake::SnapshotWithoutSessions, 1, snapshots, 50, &[LIVE, LOST, ONCE, MODEL, CHANGED, PROGRESS]),
    stage(Mistake::OutputsNotCompared, 3, bends, 50, &[DIVERGED, LIVE]),
    stage(Mistake::EvidenceNotKept, 3, bends, 50, &[EVIDENCE]),
    stage(Mistake::TrimAlone, 3, laggards, 20, &[HOLDERS]),
    stage(Mistake::PartNotVerified, 3, altered, 50, &[STOPS, PANICS]),
    stage(Mistake::MendUnchecked, 3, rot_altered, 50, &[MENDED]),
    stage(Mistake::MendNotSynced, 3, rot, 50, &[NAMED]),
    stage(Mistake::ScrubBlind, 3, rot, 50, &[PROGRESS, EQUAL]),
    stage(Mistake::ReaderTrusts, 3, rot_read, 100, &[SERVED, PANICS, LIVE, STOPS]),
    Planted {
        story: Some(include_str!("../scenarios/behind-by-a-ring.txt")),
        ..stage(Mistake::ReaderKeepsTheRing, 3, all_kept, 20, &[PROGRESS, AVAILABLE, STORY])
    },
    Planted {
        story: Some(include_str!("../scenarios/unknown-leader.txt")),
        ..stage(Mistake::MembersUntold, 3, quick, 20, &[PROGRESS, AVAILABLE, STORY])
    },
    // A leader that takes an altered acknowledgement for true counts copies that do not exist, or never sends what lacks.
    stage(
        Mistake::FrameUnchecked,
        3,
        damages,
        50,
        &[COMMITTED, COPIES, LACKS, COMPLETE, PREFIX, CUT, LOST, PANICS, PROGRESS, AVAILABLE],
    ),
    stage(Mistake::SuccessionForgetsFloor, 3, laggards, 100, &[FLOOR, PREFIX, CUT, LOST]),
];

impl Planted {
    /// Name of the mistake.
    #[must_use]
    pub fn name(&self) -> String {
        match self.plant {
            Plant::Stage(mistake) => format!("{mistake:?}"),
            Plant::Consensus(mutation) => format!("{mutation:?}"),
            Plant::Disk(lie) => format!("{lie:?}"),
        }
    }

    fn options(&self, seed: u64, print: bool) -> Options {
        Options { seed, nodes: self.nodes, print }
    }

    /// One run with the mistake, with every event in print if `print`.
    #[must_use]
    pub fn run<W: Workload>(&self, seed: u64, print: bool) -> Outcome {
        plant(if let Plant::Stage(mistake) = self.plant { Some(mistake) } else { None });
        let outcome = self.simulate::<W>(self.options(seed, print), |plan| match self.plant {
            Plant::Stage(_) => {}
            Plant::Consensus(mutation) => plan.mutation = mutation,
            Plant::Disk(lie) => plan.lie = Some(lie),
        });
        plant(None);
        outcome
    }

    /// The same run without the mistake: what was found must be due to the mistake alone.
    #[must_use]
    pub fn control<W: Workload>(&self, seed: u64) -> Outcome {
        self.simulate::<W>(self.options(seed, false), |_| {})
    }

    fn simulate<W: Workload>(&self, options: Options, errs: impl FnOnce(&mut Plan)) -> Outcome {
        let change = |plan: &mut Plan| {
            (self.shape)(plan);
            errs(plan);
        };
        match self.story {
            Some(text) => {
                tell::<W>(options, &Scenario::parse(text).expect("the story is told elsewhere, too"), change)
            }
            None => run::<W>(options, change),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::counter::Counter;

    /// Those that a few seeds show; `cargo xtask sim --planted` has all.
    #[test]
    fn quick_mistakes_are_caught() {
        let quick = [
            Plant::Stage(Mistake::ReplyBeforeCommit),
            Plant::Stage(Mistake::RepeatExecuted),
            Plant::Stage(Mistake::DurableWhenWritten),
            Plant::Stage(Mistake::VoteNotAwaited),
            Plant::Disk(Lie::WritesLater),
            Plant::Consensus(Mutation::NoWindow),
            Plant::Consensus(Mutation::AckOtherTerm),
            Plant::Consensus(Mutation::BlankVotes),
        ];
        std::panic::set_hook(Box::new(|_| {}));
        for planted in ALL.iter().filter(|planted| quick.contains(&planted.plant)) {
            let seed = (1..5).find(|seed| {
                let failure = planted.run::<Counter>(*seed, false).failure;
                failure.is_some_and(|failure| planted.checkers.contains(&failure.checker))
            });
            let Some(seed) = seed else { panic!("{} was not caught", planted.name()) };
            assert_eq!(
                planted.control::<Counter>(seed).failure,
                None,
                "{} without the mistake",
                planted.name()
            );
        }
    }
}
