//! The real program, run as a user runs it.

pub mod cluster;
pub mod reader;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

/// What `ordain` with these arguments said, and its exit code.
pub struct Said {
    pub code: i32,
    pub out: String,
    pub error: String,
}

pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ordain"));
    command.args(arguments);
    command
}

pub fn ordain(arguments: &[&str]) -> Said {
    let Output { status, stdout, stderr } = command(arguments).output().expect("the program starts");
    Said {
        code: status.code().expect("it was not killed"),
        out: String::from_utf8(stdout).expect("text"),
        error: String::from_utf8(stderr).expect("text"),
    }
}

/// A node with small segments, on ports that the system chose.
pub struct Node {
    pub child: Child,
    data: PathBuf,
}

/// What every node of these tests is started with; without snapshots, so that a start looks at the whole journal.
pub const NODE: [&str; 11] = [
    "node",
    "--listen",
    "127.0.0.1:0",
    "--metrics",
    "127.0.0.1:0",
    "--segment-size",
    "1MiB",
    "--snapshots",
    "off",
    "--log-level",
    "error",
];

impl Node {
    pub fn start(data: &Path) -> Self {
        Self::spawn(data, &NODE).ready()
    }

    /// Starts a node with these arguments, and does not wait for it.
    pub fn spawn(data: &Path, arguments: &[&str]) -> Self {
        Self::launch(data, &mut command(arguments))
    }

    /// The same of a command that may say where its log goes.
    pub fn launch(data: &Path, command: &mut Command) -> Self {
        // What a killed node left behind is not this one's.
        let _ = std::fs::remove_file(data.join("address"));
        let child = command.arg("--data").arg(data).stdin(Stdio::null()).spawn().unwrap();
        Self { child, data: data.to_owned() }
    }

    /// Waits until clients can connect.
    pub fn ready(mut self) -> Self {
        while !self.data.join("address").exists() {
            assert_eq!(self.child.try_wait().unwrap(), None, "the node ended while it started");
            std::thread::sleep(Duration::from_millis(2));
        }
        self
    }

    /// Its address of this kind: tcp, ops. A node that begins anew has none for a moment.
    pub fn address(&self, kind: &str) -> String {
        let text = loop {
            match std::fs::read_to_string(self.data.join("address")) {
                Ok(text) => break text,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    assert!(Path::new(&format!("/proc/{}", self.child.id())).exists(), "the node ended");
                    std::thread::sleep(Duration::from_millis(2));
                }
                Err(error) => panic!("{error}"),
            }
        };
        let mut lines = text.lines().filter_map(|line| line.split_once(' '));
        lines.find(|(found, _)| *found == kind).expect("the node has such an address").1.to_owned()
    }

    pub fn operator(&self) -> String {
        self.data.join("keys/operator.key").to_str().unwrap().to_owned()
    }

    /// Stops it as an operator would.
    pub fn stop(mut self) {
        let status = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(status.success());
        assert!(self.child.wait().unwrap().success(), "the node stopped cleanly");
        assert!(!self.data.join("address").exists(), "the address goes with the node");
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Copies a folder and all that is in it.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}

/// The numbers in the names of files, ascending.
pub fn numbers(dir: &Path, prefix: &str) -> Vec<(u64, PathBuf)> {
    let files = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let number = |path: PathBuf| {
        let digits = path.file_name()?.to_str()?.strip_prefix(prefix)?.get(..16)?.to_owned();
        Some((u64::from_str_radix(&digits, 16).ok()?, path))
    };
    let mut found: Vec<_> = files.filter_map(number).collect();
    found.sort();
    found
}
