//! `ordain audit --acks FILE DIR`: whether every acknowledgement that a client wrote down is in the journal,
//! with the reply that the client got.
//!
//! The journal is replayed through the same code that served the client, so a reply that differs by one bit
//! shows. One line of the file is one acknowledgement: `session number seq hash`, the hash being the first
//! 16 hexadecimal digits of the BLAKE3 hash of the reply's payload.

use crate::error::{CliError, OrNext, Result};
use crate::journal::{Files, read};
use clap::Args;
use ordain_agent::wire::{DELIVERY, Delivery, delivery};
use ordain_api::Step;
use ordain_apply::snapshot::{Loader, SnapshotError};
use ordain_apply::{Emit, MESSAGE_MAX, Replica};
use ordain_exchange_server::Exchange;
use ordain_exchange_server::{ExchangeDecoder, ExchangeEncoder, ExchangeFactory};
use ordain_journal::audit::SegmentSource;
use ordain_types::codes::Code;
use ordain_types::frame::{SERVER_HEADER, ServerHeader};
use ordain_types::{BatchIndex, ClusterFacts, Stint};
use std::collections::BTreeMap;
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use zerocopy::FromBytes;

#[derive(Debug, Args)]
pub struct AuditArgs {
    /// File of acknowledgements, as `ordain demo --keep` leaves it
    #[arg(long)]
    acks: PathBuf,
    /// Data directory of a node that is stopped
    dir: PathBuf,
}

pub type Copy = Replica<Exchange, ExchangeDecoder, ExchangeEncoder>;

/// What a client wrote down about a request: the record's number and the reply's hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    pub seq: u64,
    pub hash: u64,
}

/// Acknowledgements by (session, number).
pub type Acks = BTreeMap<(u64, u64), Ack>;

/// The hash of a reply in a file of acknowledgements.
#[must_use]
pub fn reply_hash(payload: &[u8]) -> u64 {
    let hash = blake3::hash(payload);
    u64::from_be_bytes(hash.as_bytes()[..8].try_into().expect("eight of 32 bytes"))
}

/// A line of the file.
#[must_use]
pub fn ack_line(session: u64, number: u64, ack: Ack) -> String {
    format!("{session} {number} {} {:016x}\n", ack.seq, ack.hash)
}

/// What an audit found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    pub acknowledged: u64,
    pub found: u64,
    pub missing: u64,
    pub differing: u64,
    /// From before the snapshot with which a trimmed journal begins: nothing can be said of them.
    pub older: u64,
    /// From behind the batch up to which was compared.
    pub later: u64,
    pub records: u64,
}

impl Findings {
    pub const fn is_good(&self) -> bool {
        self.missing == 0 && self.differing == 0
    }
}

fn parse(line: &str) -> Option<((u64, u64), Ack)> {
    let mut columns = line.split_ascii_whitespace();
    let mut number = || columns.next()?.parse().ok();
    let (session, request, seq) = (number()?, number()?, number()?);
    let hash = u64::from_str_radix(columns.next()?, 16).ok()?;
    columns.next().is_none().then_some(((session, request), Ack { seq, hash }))
}

/// Reads a file of acknowledgements. A last line without its end was being written when the writer died,
/// and is ignored.
pub fn read_acks(path: &Path) -> Result<Acks> {
    let next = "Give the file that the load client wrote.";
    let file = std::fs::File::open(path).or_next(format!("{} cannot be opened", path.display()), next)?;
    let mut acks = Acks::new();
    let mut reader = std::io::BufReader::new(file);
    let mut line = String::new();
    for at in 1.. {
        line.clear();
        let read = reader.read_line(&mut line).or_next(format!("{} cannot be read", path.display()), next)?;
        if read == 0 || !line.ends_with('\n') {
            break;
        }
        let Some((key, ack)) = parse(&line) else {
            return Err(CliError::new(format!("{} line {at} is no acknowledgement", path.display()), next));
        };
        if acks.insert(key, ack).is_some_and(|before| before != ack) {
            return Err(CliError::new(
                format!(
                    "{} line {at}: request {} of session {} was answered twice, differently",
                    path.display(),
                    key.1,
                    key.0
                ),
                "This is a defect of Ordain: keep the file and the data directory, and report it.",
            ));
        }
    }
    Ok(acks)
}

/// Looks at what the replayed stage would deliver.
struct Compare<'a> {
    acks: &'a Acks,
    findings: Findings,
    examples: Vec<String>,
    claim: Box<[u8; MESSAGE_MAX]>,
}

impl Emit for Compare<'_> {
    fn claim(&mut self, len: usize) -> &mut [u8] {
        &mut self.claim[..len]
    }

    fn commit(&mut self, len: usize) {
        let (head, frame) = Delivery::ref_from_prefix(&self.claim[..len]).expect("apply wrote a delivery");
        debug_assert_eq!(len - DELIVERY, frame.len());
        if head.kind.get() != delivery::REPLY {
            return;
        }
        let (header, _) = ServerHeader::ref_from_prefix(frame).expect("apply wrote a frame");
        // A repeated record gets its answer again; what was acknowledged is the first.
        if header.code != Code::Executed as u8 {
            return;
        }
        let key = (header.session.get(), header.number.get());
        let Some(acknowledged) = self.acks.get(&key) else { return };
        let payload = &frame[SERVER_HEADER..SERVER_HEADER + header.length.get() as usize];
        let found = Ack { seq: header.seq.get(), hash: reply_hash(payload) };
        if found == *acknowledged {
            self.findings.found += 1;
        } else {
            self.findings.differing += 1;
            if self.examples.len() < 10 {
                self.examples.push(format!(
                    "request {} of session {}: acknowledged as record {} with reply {:016x}, the journal gives record {} with {:016x}",
                    key.1, key.0, acknowledged.seq, acknowledged.hash, found.seq, found.hash
                ));
            }
        }
    }
}

/// The state at which the replay of a data directory's journal begins, and what is to be said of that.
pub fn begin(files: &Files, dir: &Path) -> Result<(Copy, Option<String>)> {
    let facts = ordain_host::facts::read(dir)
        .or_next("the cluster facts cannot be read", "Give the whole data directory of a node.")?;
    start(files, &facts, &ExchangeFactory::default())
}

/// Empty, or of a trimmed journal the state of its oldest snapshot, and which that is.
fn start(files: &Files, facts: &ClusterFacts, factory: &ExchangeFactory) -> Result<(Copy, Option<String>)> {
    let next = "Give the whole data directory of a node, snapshots included.";
    let first = files.segments().or_next("the segments cannot be listed", next)?;
    let Some(oldest) = first.first().map(|(number, _)| number * facts.segment_size).filter(|at| *at > 0)
    else {
        return Ok((Replica::new(facts, factory, ExchangeDecoder, ExchangeEncoder), None));
    };
    for (position, _) in files.snapshots().into_iter().filter(|(position, _)| *position >= oldest) {
        let bytes = files.snapshot(position).or_next("a snapshot cannot be read", next)?;
        match restore(facts, factory, &bytes) {
            Ok(copy) => {
                let notice = format!(
                    "the journal is trimmed: it is replayed from the snapshot at position {position}, record {}",
                    copy.next_seq()
                );
                return Ok((copy, Some(notice)));
            }
            Err(error) => eprintln!("the snapshot at position {position} is passed over: {error}"),
        }
    }
    Err(CliError::new(
        format!("the journal begins at position {oldest}, and no snapshot there can be used"),
        next,
    ))
}

fn restore(
    facts: &ClusterFacts,
    factory: &ExchangeFactory,
    mut bytes: &[u8],
) -> std::result::Result<Copy, SnapshotError> {
    let mut loader = Loader::new(facts, factory, ExchangeDecoder, ExchangeEncoder);
    loop {
        match loader.take(factory, bytes)? {
            0 if bytes.is_empty() => return loader.finish(),
            0 => return Err(SnapshotError::Damaged),
            taken => bytes = &bytes[taken..],
        }
    }
}

/// Replays a journal and compares.
pub fn compare(acks: &Acks, dir: &Path) -> Result<(Findings, Vec<String>)> {
    compare_until(acks, dir, None)
}

/// As [`compare`], but replays nothing behind the batch `until`, and says of acknowledgements behind it nothing.
/// The node may be running, if it has said that this batch is committed: what is, does not change any more.
pub fn compare_until(acks: &Acks, dir: &Path, until: Option<BatchIndex>) -> Result<(Findings, Vec<String>)> {
    let files = Files::open(dir)?;
    let (mut replica, notice) = begin(&files, dir)?;
    if let Some(notice) = notice {
        println!("{notice}");
    }
    let applied = replica.applied();
    let older = replica.next_seq().0;
    let findings = Findings {
        acknowledged: acks.len() as u64,
        older: acks.values().filter(|ack| ack.seq < older).count() as u64,
        ..Findings::default()
    };
    let mut out = Compare { acks, findings, examples: Vec::new(), claim: Box::new([0; MESSAGE_MAX]) };
    let mut failure = None;
    let watermark = files.state().map(|state| state.watermark).filter(|_| until.is_none());
    let report = read(&files, watermark, &[], &mut |batch| {
        let index = batch.header.index();
        if failure.is_some() || index <= applied || until.is_some_and(|until| index > until) {
            return;
        }
        // Any reign will do: it makes the copy write the replies that a leader would.
        let result = replica.begin_batch(batch, Stint(1)).and_then(|()| {
            while replica.step(batch, &mut out)? == Step::More {}
            Ok(())
        });
        failure = result.err();
    })?;
    if let Some(failure) = failure {
        return Err(CliError::new(failure.cause, failure.action));
    }
    if let Some(end) = report.stop.filter(|_| until.is_none() && !report.is_good()) {
        out.examples.push(format!(
            "the journal ends with damage at segment {} offset {}: {}",
            end.segment, end.offset, end.fault
        ));
    }
    let mut findings = out.findings;
    let end = replica.next_seq().0;
    findings.records = end - older;
    if until.is_some() {
        findings.later = acks.values().filter(|ack| ack.seq >= end).count() as u64;
    }
    let judged = findings.acknowledged - findings.older - findings.later;
    findings.missing = judged.saturating_sub(findings.found + findings.differing);
    Ok((findings, out.examples))
}

pub fn run(args: &AuditArgs) -> Result<ExitCode> {
    let acks = read_acks(&args.acks)?;
    let (findings, examples) = compare(&acks, &args.dir)?;
    for example in &examples {
        println!("{example}");
    }
    println!(
        "{} acknowledgements: {} in the journal with that reply, {} missing, {} differing; {} records replayed",
        findings.acknowledged, findings.found, findings.missing, findings.differing, findings.records
    );
    if findings.older > 0 {
        println!("{} more are older than the snapshot and were not checked", findings.older);
    }
    Ok(if findings.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
