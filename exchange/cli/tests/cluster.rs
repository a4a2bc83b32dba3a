//! Three real processes: what they survive, and what cannot join them.

#[allow(dead_code, reason = "each test program uses a part of it")]
mod common;

use common::cluster::{Cluster, MEMBER, addresses, init};
use common::{command, ordain};
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Stdio;

#[test]
fn nothing_acknowledged_is_lost_when_leaders_and_followers_die() {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::new(&folder.path().join("cluster"), 0);
    let mut load = cluster.load(5);
    load.line().expect("the load runs");

    let dead = cluster.leader();
    cluster.kill(dead);
    load.line().expect("the load goes on");
    let leader = cluster.leader();
    assert_ne!(leader, dead);
    cluster.restart(dead);
    cluster.leader();
    let follower = 3 - leader - dead;
    cluster.kill(follower);
    load.line().expect("the load goes on");
    cluster.restart(follower);

    load.finish();
    cluster.settle();
    cluster.stop();
    let dirs = cluster.audit();
    let compare = || ordain(&["journal", "compare", &dirs[0], &dirs[1], &dirs[2]]);
    let said = compare();
    assert!(said.code == 0 && said.out.ends_with("good\n"), "{}", said.out);

    // A batch of one journal that differs is found; where, the other checks say too.
    let segment = cluster.data(1).join("segment-0000000000000000.log");
    let file = fs::OpenOptions::new().write(true).read(true).open(&segment).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, 300).unwrap();
    file.write_all_at(&[byte[0] ^ 1], 300).unwrap();
    let said = compare();
    assert!(said.code == 1 && said.out.ends_with("NOT GOOD\n"), "{}", said.out);
    assert!(said.out.contains("NOT WHOLE"), "{}", said.out);
}

#[test]
fn who_does_not_belong_is_told_why_and_disturbs_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("cluster");
    let mut cluster = Cluster::new(&dir, 1);
    cluster.leader();
    cluster.kill(2);
    // Made for another operator: its first batches would be others.
    let path = cluster.data(2).join("members.toml");
    let good = fs::read_to_string(&path).unwrap();
    let operator = good.lines().find(|line| line.starts_with("operator")).unwrap();
    let key = good.lines().rfind(|line| line.starts_with("key")).unwrap();
    fs::write(&path, good.replace(operator, &key.replace("key", "operator"))).unwrap();
    let mut child =
        command(&MEMBER).arg("--data").arg(cluster.data(2)).stderr(Stdio::piped()).spawn().unwrap();
    // The log is on standard error or standard output, as the program says it.
    let mut said = String::new();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    while !said.contains("or the operator in `members.toml`, differ") {
        assert_ne!(stderr.read_line(&mut said).unwrap(), 0, "{said}");
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // The others are served all the same.
    cluster.leader();
    fs::write(&path, good).unwrap();
    cluster.restart(2);
    cluster.leader();
    for node in 0..3 {
        cluster.nodes[node].take().unwrap().stop();
    }

    let start = |data: &Path| {
        let mut child = command(&MEMBER).arg("--data").arg(data).stderr(Stdio::piped()).spawn().unwrap();
        let code = child.wait().unwrap().code();
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        (code, said)
    };
    fs::remove_file(&path).unwrap();
    let (code, said) = start(&cluster.data(2));
    assert!(code == Some(2) && said.contains("a cluster of 3 nodes, and there is no"), "{said}");
    fs::copy(cluster.data(1).join("members.toml"), &path).unwrap();
    fs::remove_file(cluster.data(2).join("keys/node.key")).unwrap();
    ordain(&["keys", "new", cluster.data(2).join("keys/node.key").to_str().unwrap()]);
    let (code, said) = start(&cluster.data(2));
    assert!(code == Some(2) && said.contains("has this node's key"), "{said}");
}

#[test]
fn a_cluster_that_makes_no_sense_is_not_made() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("cluster");
    let members = addresses(2);
    #[track_caller]
    fn check(said: &common::Said, expected: &str) {
        assert!(said.code != 0 && said.error.contains(expected), "{}", said.error);
    }
    check(&init(&dir, &members[..2]), "a cluster of 2 nodes is not made");
    check(&init(&dir, &["a:1".to_owned()]), "two addresses are HOST:PORT,HOST:PORT");
    check(&init(&dir, &["a:1,a:0".to_owned()]), "`a:0` of member 0 is no HOST:PORT");
    check(&init(&dir, &["a:1,a:1".to_owned()]), "the address a:1 stands twice");
    let with = |fact: &str| {
        let member = &members[0];
        ordain(&["cluster", "init", "--dir", dir.to_str().unwrap(), "--member", member, "--fact", fact])
    };
    check(&with("colour=1"), "facts are durability");
    check(&with("durability=two-disks"), "ack policy");
    check(&with("segment-size=1000"), "segment-size");
    assert!(!dir.exists());
    assert_eq!(init(&dir, &members).code, 0);
    check(&init(&dir, &members), "exists");
}
