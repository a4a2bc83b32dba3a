//! What a stopped node's data directory says, without a byte of it being changed.

use crate::error::{CliError, OrNext, Result};
use crate::journal::Files;
use ordain_host::{clock, facts, members, witness};
use ordain_journal::audit::{self, SegmentSource};
use ordain_journal::{Fault, Floor, NodeState, OsBoot, judge, read_state};
use ordain_types::batch::{BatchError, BatchView};
use ordain_types::configuration::Configuration;
use ordain_types::lineage::LineageBreak;
use ordain_types::{BatchIndex, ClusterFacts, LogEnd, Term};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::path::Path;

/// Version of the JSON form.
const VERSION: u32 = 1;

/// A term and a batch: where a log ends, or a promise floor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    pub term: u64,
    pub batch: u64,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "batch {} of term {}", self.batch, self.term)
    }
}

/// A member as the node's log names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seat {
    pub node: u32,
    pub votes: bool,
    pub peer: String,
    pub client: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    pub position: u64,
    pub bytes: u64,
}

/// What a node holds, and what it promised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    pub version: u32,
    /// Where this was read.
    pub source: String,
    pub cluster: String,
    /// Its number.
    pub node: u32,
    /// Why it cannot start, if it cannot.
    pub fault: Option<String>,
    /// The last batch that is whole.
    pub end: Place,
    /// The oldest batch that it holds.
    pub first_batch: u64,
    /// Every batch up to this one is known to be synced.
    pub watermark: u64,
    /// Known to be committed at least: what its newest snapshot stands for.
    pub committed_at_least: u64,
    /// Bytes of the log.
    pub bytes: u64,
    pub term: u64,
    pub voted_for: Option<u32>,
    pub ack_term: u64,
    /// How often it started.
    pub starts: u64,
    /// The lineage of its term, and of its log.
    pub lineage: u16,
    pub log_lineage: u16,
    /// It has everything that it ever acknowledged.
    pub clean: bool,
    /// It may have acknowledged up to here (rule R2), if it does not have everything.
    pub floor: Option<Place>,
    /// It began empty, and may have promised what nothing here says (rule R9).
    pub blank: bool,
    pub snapshots: Vec<Snapshot>,
    /// Losses that were declared before: the lineage that began, and with which batch.
    pub breaks: Vec<(u16, u64)>,
    /// First batch of each term, as far as the log is there.
    pub terms: Vec<Place>,
    pub configuration: u64,
    pub members: Vec<Seat>,
    /// Copies that an answer waits for, and how many of them are synced.
    pub received: u32,
    pub durable: u32,
    /// W.
    pub unsynced_max: u64,
    pub batch_max: u64,
    /// The configuration in its log, if there is one.
    #[serde(skip)]
    pub held: Option<Configuration>,
}

impl Evidence {
    /// Reads a data directory, or what `ordain recover --plan --json` said of one.
    pub fn read(path: &Path) -> Result<Vec<Self>> {
        if path.is_dir() {
            return of_directory(path).map(|evidence| vec![evidence]);
        }
        let next = "Name data directories of stopped nodes, or files with what `ordain recover --plan --json` printed.";
        let text = std::fs::read_to_string(path).or_next(path.display(), next)?;
        #[derive(Deserialize)]
        struct Plan {
            nodes: Vec<Evidence>,
        }
        let plan: Plan = serde_json::from_str(&text).or_next(path.display(), next)?;
        match plan.nodes.iter().find(|node| node.version != VERSION) {
            Some(node) => Err(CliError::new(
                format!("{} is of version {}", path.display(), node.version),
                "Use one build for all nodes.",
            )),
            None => Ok(plan.nodes),
        }
    }

    /// Its log ends where a lineage was declared to begin, and it has asked for no vote in that lineage.
    pub fn is_unopened(&self) -> bool {
        let lineage = |place: &Place| ordain_types::Lineage::of(Term(place.term));
        let before = self.terms.iter().rev().nth(1).map_or(ordain_types::Lineage::FIRST, lineage);
        self.end.term == self.term && lineage(&self.end) > before
    }

    /// What it may have acknowledged ends here.
    pub fn reach(&self) -> Place {
        self.floor.map_or(self.end, |floor| floor.max(self.end))
    }

    /// The term of a batch; `None` if it does not hold it, or no longer.
    fn term_of(&self, batch: u64) -> Option<u64> {
        let held = (self.first_batch..=self.end.batch).contains(&batch);
        let at = self.terms.partition_point(|start| start.batch <= batch);
        held.then(|| self.terms.get(at.checked_sub(1)?).map(|start| start.term)).flatten()
    }

    /// The last batch that both logs hold, as far as that can be seen; what was trimmed was committed, and is in both.
    pub fn shared(&self, other: &Self) -> u64 {
        let shortest = self.end.batch.min(other.end.batch);
        let oldest = self.first_batch.max(other.first_batch);
        let found = (oldest..=shortest).rev().find(|batch| self.term_of(*batch) == other.term_of(*batch));
        found.unwrap_or_else(|| oldest.saturating_sub(1).min(shortest))
    }
}

fn of_directory(dir: &Path) -> Result<Evidence> {
    let next = "Name the data directory of a node, whole.";
    if let Ok(lock) = File::open(dir.join("LOCK"))
        && flock(&lock, FlockOperation::NonBlockingLockShared).is_err()
    {
        return Err(CliError::new(
            format!("a process uses {}", dir.display()),
            "Stop the node first: what it holds changes while it runs.",
        ));
    }
    let files = Files::open(dir)?;
    let facts = facts::read(dir).or_next("the cluster facts cannot be read", next)?;
    let members = members::read(dir, &facts).or_next("the members cannot be read", next)?;
    let node = match &members {
        Some(members) => members.own(dir).or_next("it is not known which node this is", next)?.id.0,
        None => 0,
    };
    let all = members.as_ref().map_or(&[][..], |members| &members.all);
    let mut evidence = bare(dir, &facts, node, &Configuration::initial(&facts, all));
    let state = match std::fs::read(dir.join("node-state")) {
        Ok(bytes) => read_state(&bytes).map_err(|fault| format!("the node state: slots {:?}", fault.0)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(NodeState::new(&facts)),
        Err(error) => Err(format!("the node state: {error}")),
    };
    let state = match state {
        Ok(state) => state,
        Err(fault) => {
            evidence.fault = Some(fault);
            return Ok(evidence);
        }
    };
    evidence.term = state.term.0;
    evidence.voted_for = state.voted_for.map(|node| node.0);
    evidence.ack_term = state.ack_term.0;
    evidence.starts = state.boot.0;
    evidence.lineage = state.lineage().0;
    evidence.blank = state.blank || !dir.join("node-state").exists() && evidence.members.len() > 1;
    evidence.watermark = state.watermark.index.0;
    for (position, bytes) in files.snapshots() {
        evidence.snapshots.push(Snapshot { position, bytes });
    }
    if state.cluster != facts.cluster || state.facts != facts.fingerprint() {
        evidence.fault = Some("the node state is of other cluster facts".to_owned());
        return Ok(evidence);
    }
    read_log(&mut evidence, &files, &facts, &state, dir)?;
    Ok(evidence)
}

fn bare(dir: &Path, facts: &ClusterFacts, node: u32, configuration: &Configuration) -> Evidence {
    let mut evidence = Evidence {
        version: VERSION,
        source: dir.display().to_string(),
        cluster: facts.cluster.to_string(),
        node,
        fault: None,
        end: Place { term: 0, batch: 0 },
        first_batch: 1,
        watermark: 0,
        committed_at_least: 0,
        bytes: 0,
        term: 0,
        voted_for: None,
        ack_term: 0,
        starts: 0,
        lineage: 1,
        log_lineage: 1,
        clean: false,
        floor: None,
        blank: false,
        snapshots: Vec::new(),
        breaks: Vec::new(),
        terms: Vec::new(),
        configuration: 0,
        members: Vec::new(),
        received: 0,
        durable: 0,
        unsynced_max: facts.unsynced_max,
        batch_max: facts.batch_max.into(),
        held: None,
    };
    configured(&mut evidence, configuration);
    evidence
}

fn configured(evidence: &mut Evidence, configuration: &Configuration) {
    let seat = |seat: &ordain_types::configuration::Seat| Seat {
        node: seat.member.id.0,
        votes: seat.role.votes(),
        peer: seat.member.peer.clone(),
        client: seat.member.client.clone(),
    };
    evidence.configuration = configuration.version;
    evidence.members = configuration.members.iter().map(seat).collect();
    let copies = configuration.copies();
    (evidence.received, evidence.durable) = (copies.received, copies.durable);
    evidence.unsynced_max = evidence.unsynced_max.max(configuration.unsynced_max);
}

/// The log, and what a start would make of its end.
fn read_log(
    evidence: &mut Evidence,
    files: &Files,
    facts: &ClusterFacts,
    state: &NodeState,
    dir: &Path,
) -> Result<()> {
    let none = files.segments().map_or(true, |segments| segments.is_empty());
    if none {
        if state.watermark.index > BatchIndex(0) {
            evidence.fault = Some("its segments are gone".to_owned());
        }
        let judged = judge(facts, state, &LogEnd::EMPTY, false, (OsBoot::default(), None));
        (evidence.clean, evidence.floor) = (judged.was_clean, judged.floor.map(place_of));
        return Ok(());
    }
    let newest = evidence.snapshots.last().map_or(0, |snapshot| snapshot.position);
    // A cut that was decided ends the log, whatever stands behind it.
    let mut is_over = false;
    let mut end = LogEnd::EMPTY;
    let mut visit = |batch: &BatchView<'_>, behind: &LogEnd| {
        if is_over {
            return;
        }
        if evidence.terms.last().is_none_or(|start| start.term != behind.term.0) {
            evidence.terms.push(Place { term: behind.term.0, batch: behind.index.0 });
        }
        if behind.position.0 <= newest {
            evidence.committed_at_least = behind.index.0;
        }
        match (Configuration::of_batch(batch), LineageBreak::of_batch(batch)) {
            (Ok(Some(configuration)), _) => {
                configured(evidence, &configuration);
                evidence.held = Some(configuration);
            }
            (_, Ok(Some(found))) => evidence.breaks.push((found.lineage.0, behind.index.0)),
            _ => {}
        }
        end = *behind;
        is_over = state.cut.is_some_and(|cut| cut.index == behind.index);
    };
    let report = match audit::verify(files, Some(state.watermark), &[], &mut visit) {
        Ok(report) => report,
        Err(error) => {
            evidence.fault = Some(error.to_string());
            return Ok(());
        }
    };
    if end == LogEnd::EMPTY {
        end = report.start;
    }
    evidence.first_batch = report.start.index.0 + 1;
    evidence.end = Place { term: end.term.0, batch: end.index.0 };
    evidence.bytes = end.position.0;
    evidence.log_lineage = ordain_types::Lineage::of(end.term).0;
    if end.index < state.watermark.index {
        let what = report.stop.map_or_else(|| "it is missing".to_owned(), |stop| stop.fault.to_string());
        evidence.fault = Some(format!("batch {} was synced and is damaged: {what}", end.index.next()));
        return Ok(());
    }
    let torn = report.stop.is_some_and(|stop| stop.fault != Fault::Bytes(BatchError::Empty));
    let has_tail = torn || has_bytes_behind(files, facts, end.position.0)?;
    let witnessed = witness::recall(dir);
    let judged = judge(facts, state, &end, has_tail, (OsBoot(clock::os_boot()), witnessed));
    (evidence.clean, evidence.floor) = (judged.was_clean, judged.floor.map(place_of));
    Ok(())
}

fn place_of(Floor { term: Term(term), index: BatchIndex(batch) }: Floor) -> Place {
    Place { term, batch }
}

/// Whether anything stands behind the log's end.
fn has_bytes_behind(files: &Files, facts: &ClusterFacts, end: u64) -> Result<bool> {
    let next = "Check the directory and its disk.";
    let mut buffer = vec![0; 1 << 20];
    for (number, size) in files.segments().or_next("the segments cannot be listed", next)? {
        let start = number * facts.segment_size;
        let mut offset = end.saturating_sub(start).min(size);
        while offset < size {
            let len = (size - offset).min(buffer.len() as u64) as usize;
            let read = files
                .read_at(number, offset, &mut buffer[..len])
                .or_next("a segment cannot be read", next)?;
            if buffer[..read].iter().any(|byte| *byte != 0) {
                return Ok(true);
            }
            if read == 0 {
                break;
            }
            offset += read as u64;
        }
    }
    Ok(false)
}
