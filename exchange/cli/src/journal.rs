//! `ordain journal verify|inspect|dump|compare`: data directories read at rest.

use crate::error::{CliError, OrNext, Result};
use crate::operators::{self, Operators};
use clap::{Args, Subcommand};
use ordain_journal::audit::{self, Report, SegmentSource, Verdict};
use ordain_journal::{Mark, NodeState, read_state};
use ordain_types::LogEnd;
use ordain_types::Receipt;
use ordain_types::batch::BatchView;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Debug, Subcommand)]
pub enum JournalCommand {
    /// Check every checksum and the hash chain, and receipts against it
    Verify(Verify),
    /// Summarise segments, node state and the end of the log
    Inspect(Directory),
    /// Print batches and records, one a line
    Dump(Dump),
    /// Check that the journals of several nodes of a cluster are the same, byte for byte, as far as the shortest goes
    ///
    /// A node that died with batches that were never committed has them until it joins its cluster again: let it, before
    /// its journal is compared.
    Compare(Compare),
    /// List what operators did to the exchange and to the keys: who, when, why, and what came of it
    ///
    /// The journal is executed for this, from its beginning or from the oldest snapshot of a trimmed one; what came of
    /// commands before that snapshot is unknown. Changes of the cluster itself carry no key, and are not listed.
    Operators(Operators),
}

#[derive(Debug, Args)]
pub struct Compare {
    /// Data directories of nodes that are stopped
    #[arg(required = true, num_args = 2..)]
    dirs: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub struct Directory {
    /// Data directory of a node
    dir: PathBuf,
}

#[derive(Debug, Args)]
pub struct Verify {
    /// Data directory of a node
    dir: PathBuf,
    /// A receipt that a node gave to a client, ordain-receipt-...; may be repeated
    #[arg(long, value_name = "TEXT")]
    receipt: Vec<Receipt>,
}

#[derive(Debug, Args)]
pub struct Dump {
    /// Data directory of a node
    dir: PathBuf,
    /// First record to print
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Last record to print
    #[arg(long, default_value_t = u64::MAX)]
    to: u64,
}

/// The segments of a directory on this machine.
pub struct Files {
    dir: PathBuf,
}

impl Files {
    pub fn open(dir: &Path) -> Result<Self> {
        if dir.is_dir() {
            Ok(Self { dir: dir.to_owned() })
        } else {
            Err(CliError::new(
                format!("{} is no directory", dir.display()),
                "Give the data directory of a node: the one that `ordain node --data` names, ./ordain-data by default.",
            ))
        }
    }

    fn path(&self, segment: u64) -> PathBuf {
        self.dir.join(ordain_host::disk::file_name(ordain_agent::disk::FileId::Segment(segment)))
    }

    /// Positions and sizes of the snapshots, ascending.
    pub fn snapshots(&self) -> Vec<(u64, u64)> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            if let Some(ordain_agent::disk::FileId::Snapshot(position)) =
                entry.file_name().to_str().and_then(ordain_host::disk::file_id)
            {
                found.push((position, entry.metadata().map_or(0, |data| data.len())));
            }
        }
        found.sort_unstable();
        found
    }

    /// The bytes of the snapshot at a log position.
    pub fn snapshot(&self, position: u64) -> std::io::Result<Vec<u8>> {
        let name = ordain_host::disk::file_name(ordain_agent::disk::FileId::Snapshot(position));
        std::fs::read(self.dir.join(name))
    }

    /// The node state, if the directory has a whole one.
    pub fn state(&self) -> Option<NodeState> {
        let name = ordain_host::disk::file_name(ordain_agent::disk::FileId::NodeState);
        read_state(&std::fs::read(self.dir.join(name)).ok()?).ok()
    }
}

impl SegmentSource for Files {
    fn segments(&self) -> std::result::Result<Vec<(u64, u64)>, String> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.dir).map_err(|error| error.to_string())? {
            let entry = entry.map_err(|error| error.to_string())?;
            let name = entry.file_name();
            if let Some(ordain_agent::disk::FileId::Segment(number)) =
                name.to_str().and_then(ordain_host::disk::file_id)
            {
                found.push((number, entry.metadata().map_err(|error| error.to_string())?.len()));
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    fn read_at(&self, segment: u64, offset: u64, buffer: &mut [u8]) -> std::result::Result<usize, String> {
        let file = File::open(self.path(segment)).map_err(|error| error.to_string())?;
        let mut done = 0;
        while done < buffer.len() {
            match file.read_at(&mut buffer[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(moved) => done += moved,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        Ok(done)
    }
}

/// Reads a whole journal, showing each batch to `visit`.
pub fn read(
    files: &Files,
    watermark: Option<Mark>,
    receipts: &[Receipt],
    visit: &mut dyn FnMut(&BatchView<'_>),
) -> Result<Report> {
    audit::verify(files, watermark, receipts, &mut |batch, _| visit(batch)).or_next(
        "the journal cannot be read",
        "Check the directory; restore what is missing from a peer or a backup.",
    )
}

pub fn run(command: &JournalCommand) -> Result<ExitCode> {
    match command {
        JournalCommand::Verify(verify) => run_verify(verify),
        JournalCommand::Inspect(directory) => inspect(&directory.dir),
        JournalCommand::Dump(dump) => run_dump(dump),
        JournalCommand::Compare(compare) => run_compare(&compare.dirs),
        JournalCommand::Operators(args) => operators::run(args),
    }
}

fn run_verify(verify: &Verify) -> Result<ExitCode> {
    let files = Files::open(&verify.dir)?;
    let watermark = files.state().map(|state| state.watermark);
    let report = read(&files, watermark, &verify.receipt, &mut |_| {})?;
    tell_start(&report);
    println!(
        "{} batches, {} records in {} segments are whole; the chain ends with {}",
        report.end.index.0 - report.start.index.0,
        report.end.next_seq.0 - report.start.next_seq.0,
        report.segments.len(),
        report.end.chain
    );
    for (receipt, verdict) in verify.receipt.iter().zip(&report.verdicts) {
        let (seq, index) = (receipt.seq, receipt.index);
        print!("receipt of record {seq}: ");
        match verdict {
            Verdict::Holds => println!("holds, everything up to batch {index} is as it was"),
            Verdict::Differs(found) => println!(
                "DIFFERS, batch {index} has the chain value {found}: the journal was changed, or the receipt was, \
                 or it is of another cluster"
            ),
            Verdict::NotCovered => println!(
                "DIFFERS, batch {index} ends before the record: the receipt was changed, or is of another cluster"
            ),
            Verdict::Trimmed => println!("TRIMMED, older than what this journal begins with"),
            Verdict::NotReached => println!(
                "NOT REACHED, this journal is whole up to batch {} only, not {index}",
                report.end.index
            ),
        }
    }
    if report.is_good() {
        println!("good");
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(stop) = report.stop {
        println!("segment {} offset {}: {}", stop.segment, stop.offset, stop.fault);
    }
    if let Some(watermark) = report.watermark.filter(|watermark| report.end.index < *watermark) {
        println!("the node state says that batch {watermark} was synced, and it is not there");
    }
    println!("NOT GOOD");
    Ok(ExitCode::FAILURE)
}

/// Says where a trimmed journal begins.
pub fn tell_start(report: &Report) {
    let start = &report.start;
    if start.index.0 > 0 {
        println!(
            "the journal begins with batch {}, record {}, at position {}: what is older was trimmed; the chain begins \
             with {}",
            start.index.next(),
            start.next_seq,
            start.position,
            start.chain
        );
    }
}

fn inspect(dir: &Path) -> Result<ExitCode> {
    let files = Files::open(dir)?;
    let state = files.state();
    let report = read(&files, state.as_ref().map(|state| state.watermark), &[], &mut |_| {})?;
    println!("cluster    {}", report.cluster);
    match &state {
        Some(state) => {
            println!(
                "node       term {}, acknowledged term {}, start {}, {}",
                state.term,
                state.ack_term,
                state.boot,
                if state.clean { "stopped clean" } else { "running or not stopped clean" }
            );
            println!("watermark  batch {}, position {}", state.watermark.index, state.watermark.position);
        }
        None => println!("node       no readable node state"),
    }
    println!(
        "log        {} batches, {} records, {} bytes, last term {}",
        report.end.index,
        report.end.next_seq.0 - 1,
        report.end.position,
        report.end.term
    );
    println!("chain      {}", report.end.chain);
    tell_start(&report);
    for (position, bytes) in files.snapshots() {
        println!("snapshot   position {position}, {bytes} bytes");
    }
    for segment in &report.segments {
        println!(
            "segment {:>4}  {:>9} batches {:>11} records {:>12} bytes",
            segment.number, segment.batches, segment.records, segment.bytes
        );
    }
    Ok(if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn run_dump(dump: &Dump) -> Result<ExitCode> {
    let files = Files::open(&dump.dir)?;
    let mut begins = true;
    let report = read(&files, None, &[], &mut |batch| {
        let header = batch.header;
        if std::mem::take(&mut begins) && header.index().0 > 1 {
            eprintln!("the journal begins with batch {}: what is older was trimmed", header.index());
        }
        if header.next_seq().0 <= dump.from || header.first_seq().0 > dump.to {
            return;
        }
        println!(
            "batch {} {:?} term {} position {} length {} records {} time {} unsynced {}",
            header.index(),
            header.kind(),
            header.term(),
            header.position(),
            header.len(),
            header.count.get(),
            header.time(),
            header.unsynced.get(),
        );
        for (seq, record) in
            batch.records().flatten().filter(|(seq, _)| (dump.from..=dump.to).contains(&seq.0))
        {
            let kind = record.header.kind().expect("a whole record has a kind");
            let payload: String = record.payload.iter().map(|byte| format!("{byte:02x}")).collect();
            println!(
                "  record {seq} {kind:?} session {} number {} open-span {} key {} permissions {:#x} schema {} {payload}",
                record.header.session(),
                record.header.number(),
                record.header.open_span.get(),
                record.header.key(),
                record.header.permissions.get(),
                record.header.schema,
            );
        }
    })?;
    Ok(if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What a comparison of journals found.
pub struct Comparison {
    /// The end of each, as far as it is whole, and whether it is.
    pub ends: Vec<(LogEnd, bool)>,
    /// Up to where they were compared.
    pub shortest: LogEnd,
    /// The first that differs from the first of all: which, and in what segment and at what offset.
    pub difference: Option<(usize, u64, u64)>,
}

/// Compares the journals of several nodes as far as the shortest goes.
pub fn compare(dirs: &[PathBuf]) -> Result<Comparison> {
    let mut files = Vec::new();
    let mut ends = Vec::new();
    for dir in dirs {
        let node = Files::open(dir)?;
        let report = read(&node, node.state().map(|state| state.watermark), &[], &mut |_| {})?;
        ends.push((report.end, report.is_good()));
        files.push(node);
    }
    let shortest = ends.iter().map(|(end, _)| *end).min_by_key(|end| end.position);
    let shortest = shortest.ok_or_else(|| CliError::new("there is no journal", "Name data directories."))?;
    let mut difference = None;
    for (at, other) in files.iter().enumerate().skip(1) {
        if difference.is_none() {
            let found = find_difference(&files[0], other, shortest.position.0)?;
            difference = found.map(|(segment, offset)| (at, segment, offset));
        }
    }
    Ok(Comparison { ends, shortest, difference })
}

fn run_compare(dirs: &[PathBuf]) -> Result<ExitCode> {
    let Comparison { ends, shortest, difference } = compare(dirs)?;
    for (dir, (end, whole)) in dirs.iter().zip(&ends) {
        let state = if *whole { "" } else { ", NOT WHOLE (see `ordain journal verify`)" };
        println!("{}: batch {}, {} bytes{state}", dir.display(), end.index, end.position);
    }
    if let Some((at, segment, offset)) = difference {
        let (dir, first) = (dirs[at].display(), dirs[0].display());
        println!("{dir} differs from {first} in segment {segment} at offset {offset}");
    } else {
        println!(
            "the same up to batch {}, record {}, {} bytes; the chain there is {}",
            shortest.index,
            shortest.next_seq.0 - 1,
            shortest.position,
            shortest.chain
        );
    }
    let good = difference.is_none() && ends.iter().all(|(_, whole)| *whole);
    println!("{}", if good { "good" } else { "NOT GOOD" });
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Where the first `length` bytes of two journals differ first: segment and offset.
fn find_difference(one: &Files, other: &Files, length: u64) -> Result<Option<(u64, u64)>> {
    const CHUNK: u64 = 1 << 20;
    let next = "Check the directories; restore what is missing from a peer or a backup.";
    let unreadable = "a journal cannot be read";
    let segments = |files: &Files| files.segments().or_next(unreadable, next);
    let mut buffers = [vec![0; CHUNK as usize], vec![0; CHUNK as usize]];
    let (ours, theirs) = (segments(one)?, segments(other)?);
    // What either has removed cannot be compared.
    let oldest = |segments: &[(u64, u64)]| segments.first().map_or(0, |(number, _)| *number);
    let common = oldest(&ours).max(oldest(&theirs));
    let both = |segments: Vec<(u64, u64)>| segments.into_iter().filter(move |(number, _)| *number >= common);
    let mut start = ours.first().map_or(0, |(_, size)| common * size);
    for (ours, theirs) in both(ours).zip(both(theirs)) {
        if ours != theirs {
            return Ok(Some((ours.0, 0)));
        }
        let (segment, size) = ours;
        let end = size.min(length.saturating_sub(start));
        for offset in (0..end).step_by(CHUNK as usize) {
            let len = CHUNK.min(end - offset) as usize;
            for (files, buffer) in [one, other].into_iter().zip(&mut buffers) {
                let read = files.read_at(segment, offset, &mut buffer[..len]).or_next(unreadable, next)?;
                if read < len {
                    return Ok(Some((segment, offset + read as u64)));
                }
            }
            let differs =
                buffers[0][..len].iter().zip(&buffers[1][..len]).position(|(ours, theirs)| ours != theirs);
            if let Some(at) = differs {
                return Ok(Some((segment, offset + at as u64)));
            }
        }
        start += size;
    }
    Ok((start < length).then_some((start, 0)))
}
