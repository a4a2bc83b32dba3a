//! Disks that forget: what real processes find in their segments, and mend.

#[allow(dead_code, reason = "each test program uses a part of it")]
mod common;

use common::cluster::{Cluster, until};
use common::{NODE, Node, ordain};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const OFTEN: [&str; 2] = ["--scrub-every", "500ms"];

fn segment(data: &Path, number: u64) -> PathBuf {
    data.join(format!("segment-{number:016x}.log"))
}

fn open(path: &Path) -> File {
    File::options().read(true).write(true).open(path).unwrap()
}

/// Changes bits of a byte.
fn flip(path: &Path, at: u64, bits: u8) {
    let (file, mut byte) = (open(path), [0]);
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ bits], at).unwrap();
}

/// Waits until each node has at least so many segments, the last of which are not full.
fn grow(cluster: &Cluster, count: u64) {
    until("the log grows", || (0..3).all(|node| segment(&cluster.data(node), count).exists()).then_some(()));
}

/// What a node says of its segments.
fn segments(cluster: &Cluster, node: usize) -> Option<String> {
    let status = cluster.status(node)?;
    Some(status.lines().find(|line| line.starts_with("segments"))?.to_owned())
}

fn mended(cluster: &Cluster, node: usize, count: usize) {
    let whole = format!("0 damaged, 0 of them cannot be mended for now; {count} mended");
    let mut said = String::new();
    until(&whole, || {
        let says = segments(cluster, node)?;
        let is_so = says.contains(&whole);
        let head = says.split(", checked").next().unwrap_or_default().to_owned();
        if said != head {
            println!("node {node}: {says}\n{}", cluster.log(node));
            said = head;
        }
        is_so.then_some(())
    });
}

fn good(dirs: &[String]) {
    for dir in dirs {
        let said = ordain(&["journal", "verify", dir]);
        assert!(said.code == 0, "{}{}", said.out, said.error);
    }
}

#[test]
fn what_a_disk_forgets_is_mended_from_another_node() {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::with(&folder.path().join("cluster"), 0, &OFTEN);
    let mut load = cluster.endless_load();
    grow(&cluster, 4);
    let leader = cluster.leader();
    let follower = (leader + 1) % 3;
    // A bit here, a long stretch there, and both have something that the other has lost.
    flip(&segment(&cluster.data(follower), 0), 5000, 0x10);
    open(&segment(&cluster.data(leader), 0)).write_all_at(&vec![0; 300_000], 400_000).unwrap();
    mended(&cluster, follower, 1);
    mended(&cluster, leader, 1);
    open(&segment(&cluster.data(follower), 1)).write_all_at(&vec![0xFF; 1 << 20], 0).unwrap();
    mended(&cluster, follower, 2);
    load.goes_on();
    load.finish();
    cluster.settle();
    cluster.stop();
    good(&cluster.audit());
}

#[test]
fn what_all_have_forgotten_is_told_and_mended_when_one_has_it_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::with(&folder.path().join("cluster"), 1, &OFTEN);
    let mut load = cluster.endless_load();
    grow(&cluster, 3);
    for node in 0..3 {
        flip(&segment(&cluster.data(node), 0), 70_000, 1);
    }
    for node in 0..3 {
        let lost = "1 damaged, 1 of them cannot be mended for now; 0 mended";
        until("the damage is told", || segments(&cluster, node)?.contains(lost).then_some(()));
    }
    // They serve all the same.
    load.goes_on();
    flip(&segment(&cluster.data(0), 0), 70_000, 1);
    mended(&cluster, 0, 0);
    mended(&cluster, 1, 1);
    mended(&cluster, 2, 1);
    load.finish();
    cluster.settle();
    cluster.stop();
    good(&cluster.audit());
}

#[test]
fn a_node_alone_tells_damage_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("node");
    let node = Node::spawn(&data, &[&NODE[..], &OFTEN].concat()).ready();
    let (tcp, key, acks) = (node.address("tcp"), node.operator(), folder.path().join("acks"));
    let load = |seconds: &str| {
        let said = ordain(&[
            "load",
            "--connect",
            &tcp,
            "--connections",
            "2",
            "--window",
            "16",
            "--accounts",
            "200",
            "--instruments",
            "5",
            "--seconds",
            seconds,
            "--key",
            &key,
            "--acks",
            acks.to_str().unwrap(),
        ]);
        assert_eq!(said.code, 0, "{}", said.error);
    };
    while !segment(&data, 2).exists() {
        load("1");
    }
    flip(&segment(&data, 0), 9000, 2);
    let ops = node.address("ops");
    until("the damage is told", || {
        let said = ordain(&["cluster", "status", &ops]).out;
        said.contains("1 damaged, 1 of them cannot be mended for now").then_some(())
    });
    load("1");
    node.stop();
    let said = ordain(&["journal", "verify", data.to_str().unwrap()]);
    assert_ne!(said.code, 0, "{}", said.out);
}

#[test]
fn a_node_that_finds_damage_at_its_start_mends_it_and_joins() {
    let folder = tempfile::tempdir().unwrap();
    // Without snapshots a start reads everything.
    let mut cluster = Cluster::with(&folder.path().join("cluster"), 2, &["--snapshots", "off"]);
    let mut load = cluster.endless_load();
    grow(&cluster, 3);
    let follower = (cluster.leader() + 1) % 3;
    cluster.nodes[follower].take().unwrap().stop();
    let data = cluster.data(follower);
    flip(&segment(&data, 0), 90_000, 0x40);
    open(&segment(&data, 1)).write_all_at(&vec![7; 200_000], 500_000).unwrap();
    let dir = data.to_str().unwrap().to_owned();
    assert_ne!(ordain(&["journal", "verify", &dir]).code, 0);

    cluster.restart(follower);
    cluster.caught_up(follower);
    load.goes_on();
    load.finish();
    cluster.settle();
    cluster.stop();
    good(&cluster.audit());
}
