//! Three real processes: what they survive, and what cannot join them.

#[allow(dead_code, reason = "each test program uses a part of it")]
mod common;

use common::{Node, command, ordain};
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

const MEMBER: [&str; 5] = ["node", "--metrics", "127.0.0.1:0", "--log-level", "error"];

/// A cluster of three on a loopback address of this test's own, where fixed ports are free.
struct Cluster {
    dir: PathBuf,
    clients: String,
    nodes: Vec<Option<Node>>,
}

/// Peer and client address of each node. `test` tells the clusters of this process apart.
fn addresses(test: usize) -> Vec<String> {
    let [_, a, b, c] = std::process::id().to_be_bytes();
    let base = 7000 + 100 * test;
    let address = |port: usize| format!("127.{}.{b}.{c}:{port}", a | 0x40);
    (0..3).map(|node| format!("{},{}", address(base + 10 * node), address(base + 10 * node + 1))).collect()
}

fn init(dir: &Path, members: &[String]) -> common::Said {
    let mut arguments =
        vec!["cluster", "init", "--dir", dir.to_str().unwrap(), "--fact", "segment-size=1MiB"];
    members.iter().for_each(|member| arguments.extend(["--member", member.as_str()]));
    ordain(&arguments)
}

impl Cluster {
    fn new(dir: &Path, test: usize) -> Self {
        let members = addresses(test);
        let said = init(dir, &members);
        assert_eq!(said.code, 0, "{}", said.error);
        assert!(said.out.contains("answers leave with 2 copies, 1 of them synced"), "{}", said.out);
        let clients: Vec<_> = members.iter().map(|member| member.split_once(',').unwrap().1).collect();
        let clients = clients.join(",");
        assert!(said.out.ends_with(&format!("Clients connect to {clients}\n")), "{}", said.out);
        let mut cluster = Self { dir: dir.to_owned(), clients, nodes: Vec::new() };
        let spawned: Vec<_> = (0..3).map(|node| Node::spawn(&cluster.data(node), &MEMBER)).collect();
        cluster.nodes = spawned.into_iter().map(|node| Some(node.ready())).collect();
        cluster
    }

    fn data(&self, node: usize) -> PathBuf {
        self.dir.join(format!("node-{node}"))
    }

    fn status(&self, node: usize) -> Option<String> {
        let ops = self.nodes[node].as_ref()?.address("ops");
        let said = ordain(&["cluster", "status", &ops]);
        (said.code == 0).then_some(said.out)
    }

    /// Waits until a node leads to which the other nodes that live are connected.
    fn leader(&self) -> usize {
        let others = self.nodes.iter().flatten().count() - 1;
        let leads = |status: String| {
            status.starts_with("this node  leads")
                && status.matches("     connected, received").count() == others
        };
        until("a node leads", || (0..3).find(|node| self.status(*node).is_some_and(leads)))
    }

    fn kill(&mut self, node: usize) {
        let mut node = self.nodes[node].take().unwrap();
        node.child.kill().unwrap();
        node.child.wait().unwrap();
    }

    fn restart(&mut self, node: usize) {
        self.nodes[node] = Some(Node::spawn(&self.data(node), &MEMBER).ready());
    }

    fn load(&self, seconds: u64) -> Load {
        let (key, acks) = (self.dir.join("operator.key"), self.dir.join("acks"));
        let child = command(&["load", "--connect", &self.clients, "--connections", "2", "--window", "16"])
            .args(["--accounts", "200", "--instruments", "5", "--seconds", &seconds.to_string()])
            .arg("--key")
            .arg(key)
            .arg("--acks")
            .arg(acks)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Load(child)
    }
}

struct Load(Child);

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Generous: it ends a test that would never end, and decides nothing else.
#[track_caller]
fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let patience = Instant::now() + Duration::from_secs(120);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < patience, "it never came that {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn nothing_acknowledged_is_lost_when_leaders_and_followers_die() {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::new(&folder.path().join("cluster"), 0);
    let mut load = cluster.load(5);
    let mut lines = BufReader::new(load.0.stdout.take().unwrap()).lines();
    let mut line = || lines.next().map(|line| line.unwrap());
    line().expect("the load runs");

    let dead = cluster.leader();
    cluster.kill(dead);
    line().expect("the load goes on");
    let leader = cluster.leader();
    assert_ne!(leader, dead);
    cluster.restart(dead);
    cluster.leader();
    let follower = 3 - leader - dead;
    cluster.kill(follower);
    line().expect("the load goes on");
    cluster.restart(follower);

    let last = std::iter::from_fn(line).last().expect("the load says how it went");
    assert!(last.contains("\"is_total\":true") && last.contains("\"lost\":0"), "{last}");
    assert!(load.0.wait().unwrap().success());
    let leader = cluster.leader();
    // Everything has reached everybody before the nodes stop, one by one.
    until("all have all", || {
        let status = cluster.status(leader)?;
        (status.matches("(0 behind), synced").count() == 2).then_some(())
    });
    for node in [leader, (leader + 1) % 3, (leader + 2) % 3] {
        cluster.nodes[node].take().unwrap().stop();
    }

    let dirs: Vec<_> = (0..3).map(|node| cluster.data(node).to_str().unwrap().to_owned()).collect();
    let acks = cluster.dir.join("acks");
    for dir in &dirs {
        let said = ordain(&["audit", "--acks", acks.to_str().unwrap(), dir]);
        assert!(said.code == 0 && said.out.contains(" 0 missing, 0 differing;"), "{}", said.out);
        assert!(!said.out.starts_with("0 acknowledgements"), "{}", said.out);
    }
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
