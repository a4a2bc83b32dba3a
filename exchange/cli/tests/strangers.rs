//! Nodes that do not belong where they knock: each is told why, and no other node is concerned.

#[allow(dead_code, reason = "each test program uses a part of it")]
mod common;

use common::cluster::{Cluster, MEMBER, address, addresses, init, until};
use common::{command, ordain};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Child;

/// A process that may be a node, and what it says.
struct Guest {
    child: Child,
    log: PathBuf,
}

impl Guest {
    fn start(data: &Path, arguments: &[&str]) -> Self {
        let log = data.with_extension("guest");
        let file = File::create(&log).unwrap();
        let child = command(&MEMBER).args(arguments).arg("--data").arg(data).stderr(file).spawn().unwrap();
        Self { child, log }
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Waits until it has said this.
    #[track_caller]
    fn says(&self, expected: &str) {
        until("the node says why", || self.said().contains(expected).then_some(()));
    }

    /// It ends by itself, with an exit code and a sentence.
    #[track_caller]
    fn ends(mut self, code: i32, expected: &str) {
        let status = self.child.wait().unwrap();
        let said = self.said();
        assert!(status.code() == Some(code) && said.contains(expected), "{status}: {said}");
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), &to).unwrap();
        }
    }
}

#[test]
fn a_node_of_another_cluster_or_with_another_key_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::new(&folder.path().join("cluster"), 0);
    cluster.leader();
    cluster.terminate(2);
    let refusals = |cluster: &Cluster, text: &str| cluster.log(0).matches(text).count();

    // Another cluster, made for the same addresses.
    let other = folder.path().join("other");
    assert_eq!(init(&other, &addresses(0)).code, 0);
    let text = "they belong to different clusters";
    let guest = Guest::start(&other.join("node-2"), &[]);
    guest.says(text);
    until("the other end says it too", || (refusals(&cluster, text) > 0).then_some(()));
    drop(guest);

    // Another key under the number.
    let forged = folder.path().join("forged");
    copy(&cluster.data(2), &forged);
    let key = forged.join("keys/node.key");
    fs::remove_file(&key).unwrap();
    assert_eq!(ordain(&["keys", "new", key.to_str().unwrap()]).code, 0);
    let public = ordain(&["keys", "show", key.to_str().unwrap()]).out;
    let public = public.split_whitespace().find(|word| word.starts_with("ordain-public-")).unwrap();
    let members = fs::read_to_string(forged.join("members.toml")).unwrap();
    let known = members.lines().rfind(|line| line.starts_with("key")).unwrap();
    let members = members.replace(known, &format!("key = \"{public}\""));
    fs::write(forged.join("members.toml"), members).unwrap();
    let text = "the key is not that of the member with this number";
    let guest = Guest::start(&forged, &[]);
    guest.says(text);
    until("the other end says it too", || (refusals(&cluster, text) > 0).then_some(()));
    drop(guest);

    // A build of another time, as it would say so: `docs/format/peer.md`.
    let peer = address(0, 0).split_once(',').unwrap().0.to_owned();
    let mut stream = TcpStream::connect(peer).unwrap();
    let mut hello = [0; 8 + 144];
    hello[..7].copy_from_slice(b"OrdP\x09\x00\x01");
    let versions = 8 + 16 + 4 + 4 + 32 + 32 + 32;
    hello[versions..versions + 4].copy_from_slice(&[9, 0, 9, 0]);
    stream.write_all(&hello).unwrap();
    let mut answer = [0; 8];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!((&answer[..4], &answer[6..]), (&b"OrdP"[..], &[5, 1][..]), "Refused: version");

    // All that while the others led and followed, and the right one is welcome.
    let mut load = cluster.endless_load();
    load.goes_on();
    cluster.restart(2);
    load.goes_on();
    load.finish();
    cluster.settle();
    cluster.stop();
    cluster.audit();
}

#[test]
fn data_of_another_cluster_is_not_served() {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::new(&folder.path().join("cluster"), 1);
    let mut other = Cluster::new(&folder.path().join("other"), 2);
    cluster.leader();
    other.leader();
    cluster.terminate(2);
    other.terminate(2);
    // The members of one with the facts of the other.
    let mixed = folder.path().join("mixed");
    copy(&cluster.data(2), &mixed);
    fs::copy(other.data(2).join("members.toml"), mixed.join("members.toml")).unwrap();
    Guest::start(&mixed, &[]).ends(2, "it is of cluster");
    fs::remove_dir_all(&mixed).unwrap();
    // The log of one with facts, members and key of the other.
    copy(&cluster.data(2), &mixed);
    for entry in fs::read_dir(&mixed).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_str().unwrap().starts_with("segment-") {
            fs::remove_file(path).unwrap();
        }
    }
    for entry in fs::read_dir(other.data(2)).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_str().unwrap().starts_with("segment-") {
            fs::copy(&path, mixed.join(path.file_name().unwrap())).unwrap();
        }
    }
    Guest::start(&mixed, &[]).ends(1, "cluster");
    cluster.restart(2);
    cluster.leader();
}

#[test]
fn of_two_nodes_with_one_number_the_second_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::new(&folder.path().join("cluster"), 3);
    cluster.leader();
    Guest::start(&cluster.data(2), &[]).ends(2, "is in use by process");
    // A copy, on a machine of its own.
    let copied = folder.path().join("copied");
    cluster.terminate(2);
    copy(&cluster.data(2), &copied);
    cluster.restart(2);
    cluster.leader();
    let mut load = cluster.endless_load();
    load.goes_on();
    let elsewhere = ["--listen", "127.0.0.1:0", "--peer-listen", "127.0.0.1:0"];
    let guest = Guest::start(&copied, &elsewhere);
    guest.says("a node of that number is connected already");
    load.goes_on();
    load.finish();
    drop(guest);
    cluster.settle();
    cluster.stop();
    cluster.audit();
}
