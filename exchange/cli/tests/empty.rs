//! Data directories that come back empty, in a cluster of real processes: a replaced disk, a volume that is not mounted.

#[allow(dead_code, reason = "each test program uses a part of it")]
mod common;

use common::cluster::{Cluster, until};
use common::{Node, command, ordain};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Stdio};

/// Leaves what `ordain cluster init` made.
fn empty(dir: &Path) {
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let name = entry.file_name();
        if !["keys", "members.toml", "facts"].contains(&name.to_str().unwrap()) {
            let path = entry.path();
            if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
        }
    }
}

fn metric(node: &Node, name: &str) -> Option<u64> {
    let mut stream = TcpStream::connect(node.address("ops")).ok()?;
    write!(stream, "GET /metrics HTTP/1.0\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    line.trim().parse().ok()
}

#[test]
fn a_node_whose_disk_is_replaced_comes_back_by_itself_and_nothing_acknowledged_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::new(&folder.path().join("cluster"), 3);
    let mut load = cluster.endless_load();
    load.goes_on();
    let mut victims = vec![(cluster.leader() + 1) % 3];
    for round in 0..2 {
        let victim = victims[round];
        cluster.kill(victim);
        empty(&cluster.data(victim));
        load.goes_on();
        cluster.restart(victim);
        until("a leader finds it whole", || {
            let node = cluster.nodes[victim].as_ref().unwrap();
            (metric(node, "ordain_blank")? == 0 && metric(node, "ordain_readmitted_total")? == 1)
                .then_some(())
        });
        load.goes_on();
        // The next one is whoever leads.
        victims.push(cluster.leader());
    }
    // What came back counts: with it, and without one of those that were never away, the cluster goes on.
    let other = (0..3).find(|node| !victims[..2].contains(node)).unwrap_or(victims[2]);
    cluster.kill(other);
    load.goes_on();
    cluster.restart(other);
    load.finish();
    cluster.settle();
    cluster.stop();
    cluster.audit();
}

fn start(dir: &Path) -> (Child, BufReader<std::process::ChildStderr>) {
    let _ = fs::remove_file(dir.join("address"));
    let mut command = command(&["node", "--metrics", "127.0.0.1:0", "--log-level", "warn"]);
    command.arg("--data").arg(dir);
    let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let said = BufReader::new(child.stderr.take().unwrap());
    (child, said)
}

#[test]
fn where_most_directories_are_empty_nobody_is_elected_until_an_operator_declares_the_loss() {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::new(&folder.path().join("cluster"), 4);
    let mut load = cluster.load(4);
    load.line().expect("the load runs");
    load.finish();
    cluster.settle();
    (0..3).for_each(|node| cluster.kill(node));
    [1, 2].iter().for_each(|node| empty(&cluster.data(*node)));

    let mut nodes: Vec<_> = (0..3).map(|node| start(&cluster.data(node))).collect();
    let mut said = String::new();
    while !said.contains("began with an empty data directory, and nobody leads") {
        assert_ne!(nodes[1].1.read_line(&mut said).unwrap(), 0, "{said}");
    }
    for (node, _) in &mut nodes {
        node.kill().unwrap();
        node.wait().unwrap();
    }
    let dirs: Vec<_> = (0..3).map(|node| cluster.data(node).to_str().unwrap().to_owned()).collect();
    let said = ordain(&["recover", "--plan", &dirs[0], &dirs[1], &dirs[2]]);
    assert!(said.code == 1 && said.out.contains("R9: its data directory began empty"), "{}", said.out);
    let force = said.out.lines().find_map(|line| line.strip_prefix("  ordain ")).unwrap().to_owned();
    let said = ordain(&force.split(' ').collect::<Vec<_>>());
    assert_eq!(said.code, 0, "{force}: {}", said.error);
    (0..3).for_each(|node| cluster.restart(node));
    cluster.settle();
    let mut load = cluster.load(4);
    load.line().expect("the load runs");
    load.finish();
    cluster.settle();
    cluster.stop();
    cluster.audit();
}
