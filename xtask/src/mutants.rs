//! Whether the differential test would notice: one operator of the engine is changed at a time, in a copy of the
//! workspace, and the test is run. A mutant that survives shows a rule that no stream meets, or one that makes no
//! difference.

use crate::scratch::{self, DIFFERENTIAL, Scratch};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// Files and folders of the engine that are left as they are; every other is mutated, so a new one is as soon as it is there. The
/// recount is a checker itself; of snapshots the test sees only sound ones, so their checks are for the engine's own
/// tests; what fetches into the cache changes nothing.
const LEFT_OUT: &[&str] =
    &["audit.rs", "lib.rs", "limits.rs", "saved.rs", "snapshot", "snapshot.rs", "warm.rs"];

/// Operators as rustfmt sets them, and what takes their place. Where one contains another, the longer is first.
const CHANGES: &[(&str, &str)] = &[
    (" <= ", " < "),
    (" >= ", " > "),
    (" < ", " <= "),
    (" > ", " >= "),
    (" == ", " != "),
    (" != ", " == "),
    (" && ", " || "),
    (" || ", " && "),
    (" += ", " -= "),
    (" -= ", " += "),
    (" + ", " - "),
    (" - ", " + "),
    (" * ", " + "),
    (" / ", " * "),
    (".min(", ".max("),
    (".max(", ".min("),
];

/// How long a mutant may take. One that loops for ever is noticed too.
const PATIENCE: Duration = Duration::from_secs(90);

/// One change of one line.
struct Site {
    file: PathBuf,
    line: usize,
    column: usize,
    change: (&'static str, &'static str),
}

enum Verdict {
    Caught,
    Hangs,
    Survived,
    DoesNotBuild,
}

/// `cargo xtask mutants [COUNT [SKIP [FILE...]]]`: tries every so manieth site, beginning with that numbered SKIP, of
/// all files or of those named (`expiry.rs`).
pub fn run(args: &[String]) -> ExitCode {
    let number = |nth: usize, otherwise: usize| match args.get(nth) {
        Some(text) => text.parse().map_err(|_| format!("`{text}` is not a number")),
        None => Ok(otherwise),
    };
    match number(0, 24).and_then(|count| Ok((count, number(1, 0)?))).and_then(|(count, skip)| {
        try_mutants(count, skip, args.get(2..).unwrap_or_default())
            .map_err(|error| format!("cannot try mutants: {error}"))
    }) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

/// Returns how many survived.
fn try_mutants(count: usize, skip: usize, files: &[String]) -> io::Result<usize> {
    try_in(&Scratch::new("mutants")?, count, skip, files)
}

fn try_in(copy: &Scratch, count: usize, skip: usize, files: &[String]) -> io::Result<usize> {
    if !matches!(judge(copy)?, Verdict::Survived) {
        return Err(io::Error::other("the test does not pass as it is: mend that first"));
    }
    let mut sites = Vec::new();
    for source in sources(&copy.root.join("exchange/engine/src"))? {
        if files.is_empty() || files.iter().any(|file| source.ends_with(file)) {
            find_sites(&source, &mut sites)?;
        }
    }
    if sites.is_empty() {
        return Err(io::Error::other("no site to change in these files: name files of exchange/engine/src"));
    }
    let step = (sites.len() / count.max(1)).max(1);
    let mut tally = [0usize; 4];
    for site in sites.iter().skip(skip).step_by(step).take(count) {
        let original = fs::read_to_string(&site.file)?;
        let (before, after) = mutate(&original, site);
        fs::write(&site.file, after.0)?;
        let verdict = judge(copy)?;
        fs::write(&site.file, &original)?;
        let text = match verdict {
            Verdict::Caught => "caught",
            Verdict::Hangs => "hangs",
            Verdict::Survived => "SURVIVED",
            Verdict::DoesNotBuild => "does not build",
        };
        tally[verdict as usize] += 1;
        let file = site.file.file_name().unwrap_or_default().to_string_lossy();
        println!("{text:<14} {file}:{}:{}\n    {before}\n    {}", site.line + 1, site.column + 1, after.1);
    }
    let [caught, hangs, survived, unbuilt] = tally;
    println!(
        "\n{} sites; caught {caught}, hang {hangs}, survived {survived}, do not build {unbuilt}",
        sites.len()
    );
    Ok(survived)
}

/// The files that are mutated, in the order of their names.
fn sources(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if LEFT_OUT.iter().any(|left_out| name == *left_out) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            files.extend(sources(&entry.path())?);
        } else {
            files.push(entry.path());
        }
    }
    files.sort_unstable();
    Ok(files)
}

/// The line before; the whole text and the line after.
fn mutate(text: &str, site: &Site) -> (String, (String, String)) {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let before = lines[site.line].clone();
    let (from, to) = site.change;
    lines[site.line].replace_range(site.column..site.column + from.len(), to);
    let after = lines[site.line].trim().to_owned();
    (before.trim().to_owned(), (lines.join("\n") + "\n", after))
}

/// Operators in code that runs: not in comments, attributes, assertions, signatures and unit tests.
fn find_sites(file: &Path, sites: &mut Vec<Site>) -> io::Result<()> {
    for (line, text) in fs::read_to_string(file)?.lines().enumerate() {
        let code = text.split("//").next().unwrap_or_default();
        let start = code.trim_start();
        if start.starts_with("#[cfg(test)]") {
            break;
        }
        if ["#", "impl", "const _", "where"].iter().any(|skip| start.starts_with(skip))
            || ["assert", "fn ", "impl "].iter().any(|skip| code.contains(skip))
        {
            continue;
        }
        let mut column = 0;
        while column < code.len() {
            let found = code
                .is_char_boundary(column)
                .then(|| CHANGES.iter().find(|(from, _)| code[column..].starts_with(from)).copied());
            column += match found.flatten() {
                Some(change) => {
                    sites.push(Site { file: file.to_owned(), line, column, change });
                    change.0.len() - 1
                }
                None => 1,
            };
        }
    }
    Ok(())
}

fn judge(copy: &Scratch) -> io::Result<Verdict> {
    let Some(programs) = copy.build(&DIFFERENTIAL)? else { return Ok(Verdict::DoesNotBuild) };
    for program in programs {
        match program.run(PATIENCE)? {
            scratch::Verdict::Passes => {}
            scratch::Verdict::Fails(_) => return Ok(Verdict::Caught),
            scratch::Verdict::Hangs => return Ok(Verdict::Hangs),
        }
    }
    Ok(Verdict::Survived)
}
