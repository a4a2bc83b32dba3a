//! A copy of the workspace in which code is changed for the worse, to see which test objects.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

/// The workspace that this program was built in.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is in the workspace")
}

/// The copy, with a build folder of its own. It goes when this does.
pub struct Scratch {
    pub root: PathBuf,
}

/// Tests that are built and run together: a package, and what of it; all of it if nothing is said.
pub struct Tests {
    pub package: &'static str,
    /// The package's folder, in which its tests expect to run.
    pub folder: &'static str,
    pub only: &'static [&'static str],
}

/// The comparison of the exchange's engine with its model.
pub const DIFFERENTIAL: Tests =
    Tests { package: "ordain-exchange-model", folder: "exchange/model", only: &["--test", "differential"] };

/// A built test program.
pub struct Program {
    /// As cargo names it, without folder and ending.
    pub name: String,
    path: PathBuf,
    folder: PathBuf,
}

/// What came of a test program.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    Passes,
    /// By name, the first test that failed; none if the program died before it could name one.
    Fails(Option<String>),
    Hangs,
}

impl Scratch {
    pub fn new(name: &str) -> io::Result<Self> {
        let scratch =
            Self { root: std::env::temp_dir().join(format!("ordain-{name}-{}", std::process::id())) };
        copy_tree(root(), &scratch.root)?;
        Ok(scratch)
    }

    /// Builds tests; `None` if the code does not build.
    pub fn build(&self, tests: &Tests) -> io::Result<Option<Vec<Program>>> {
        let built = Command::new(env!("CARGO"))
            .args(["test", "-p", tests.package, "--no-run"])
            .args(tests.only)
            .current_dir(&self.root)
            .env("CARGO_TARGET_DIR", self.root.join("target"))
            // Nobody looks at what these programs say; without it they are linked sooner.
            .env("CARGO_PROFILE_DEV_DEBUG", "false")
            .output()?;
        if !built.status.success() {
            return Ok(None);
        }
        let said = String::from_utf8_lossy(&built.stderr);
        let programs: Vec<Program> = said.lines().filter_map(|line| self.program(tests, line)).collect();
        if programs.is_empty() {
            return Err(io::Error::other(format!("cargo named no test program:\n{said}")));
        }
        Ok(Some(programs))
    }

    /// From a line like `Executable tests/cases.rs (target/debug/deps/cases-0123)`.
    fn program(&self, tests: &Tests, line: &str) -> Option<Program> {
        let (source, rest) = line.trim().strip_prefix("Executable ")?.split_once('(')?;
        let name = Path::new(source.trim()).file_stem()?.to_string_lossy().into_owned();
        let path = self.root.join(rest.strip_suffix(')')?);
        Some(Program { name, path, folder: self.root.join(tests.folder) })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.root) {
            eprintln!("{} cannot be removed: {error}", self.root.display());
        }
    }
}

impl Program {
    /// Runs it, without cargo between so that it can be stopped: when it takes too long, or as soon as a test fails.
    pub fn run(&self, patience: Duration) -> io::Result<Verdict> {
        let mut child = Command::new(&self.path)
            .current_dir(&self.folder)
            .env("DIFFERENTIAL_SHRINK", "no")
            .env("PROPTEST_MAX_SHRINK_ITERS", "0")
            // What one change breaks would be tried first on the next.
            .env("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "true")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let said = BufReader::new(child.stdout.take().expect("it was asked for"));
        let (failed, heard) = mpsc::channel();
        std::thread::spawn(move || {
            let lines = said.lines().map_while(Result::ok);
            // Whoever listens may have gone.
            let _ = lines.filter_map(|line| failed_test(&line)).try_for_each(|test| failed.send(test));
        });
        let end = Instant::now() + patience;
        let verdict = match heard.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(test) => Verdict::Fails(Some(test)),
            Err(RecvTimeoutError::Timeout) => Verdict::Hangs,
            // It has closed its output, so it ends.
            Err(RecvTimeoutError::Disconnected) => {
                let passes = child.wait()?.success();
                return Ok(if passes { Verdict::Passes } else { Verdict::Fails(None) });
            }
        };
        child.kill()?;
        child.wait()?;
        Ok(verdict)
    }
}

/// From a line like `test a::b ... FAILED`.
fn failed_test(line: &str) -> Option<String> {
    let name = line.strip_prefix("test ")?.strip_suffix(" ... FAILED")?;
    Some(name.trim_end_matches(" - should panic").to_owned())
}

/// Copies what a build needs.
fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (name, kind) = (entry.file_name(), entry.file_type()?);
        if name == "target" || name == ".git" {
            continue;
        }
        if kind.is_dir() {
            copy_tree(&entry.path(), &to.join(name))?;
        } else if kind.is_file() {
            fs::copy(entry.path(), to.join(name))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_tests_are_told_from_others() {
        assert_eq!(failed_test("test a::b ... FAILED").as_deref(), Some("a::b"));
        assert_eq!(failed_test("test a::b ... ok"), None);
        assert_eq!(failed_test("test result: FAILED. 1 passed; 1 failed"), None);
    }

    /// A program that fails is stopped at once, one that passes is waited for, one that goes on for ever is not.
    #[test]
    fn programs_are_judged() {
        let shell = |script: &str| {
            let folder = std::env::temp_dir();
            let path = folder.join(format!("ordain-judged-{}-{}", std::process::id(), script.len()));
            fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("a script");
            let mut may = fs::metadata(&path).expect("it is there").permissions();
            std::os::unix::fs::PermissionsExt::set_mode(&mut may, 0o700);
            fs::set_permissions(&path, may).expect("its owner's");
            let program = Program { name: "script".into(), path: path.clone(), folder };
            let begun = Instant::now();
            let verdict = program.run(Duration::from_millis(700)).expect("it runs");
            fs::remove_file(path).expect("it was there");
            assert!(begun.elapsed() < Duration::from_secs(20));
            verdict
        };
        assert_eq!(shell("echo 'test a ... ok'"), Verdict::Passes);
        assert_eq!(shell("echo 'test a ... FAILED'; exec sleep 30"), Verdict::Fails(Some("a".into())));
        assert_eq!(shell("echo 'thread panicked'; exit 101"), Verdict::Fails(None));
        assert_eq!(shell("exec sleep 31"), Verdict::Hangs);
    }
}
