//! Clusters of real processes whose members change while clients trade.

#[allow(dead_code, reason = "each test program uses a part of it")]
mod common;

use common::cluster::{Cluster, until};
use common::ordain;
use common::reader::{read, reader};
use ordain_types::{OutputSeq, Stream};

#[test]
fn a_dead_node_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::new(&folder.path().join("cluster"), 0);
    let leader = cluster.leader();
    let mut load = cluster.endless_load();
    load.goes_on();
    let dead = (leader + 1) % 3;
    let asked = (leader + 2) % 3;
    cluster.kill(dead);
    cluster.join(asked, 3);
    // A learner serves outputs, and counts for nothing.
    let mut client = reader(&cluster, 3);
    client.subscribe(Stream::Topic(1), OutputSeq(0)).unwrap();
    read(&mut client, 10);
    let said = cluster.operated(asked, &["promote", "3"]);
    // What was a majority of received copies still is one.
    let numbers = [&said["received"], &said["durable"], &said["members"][3]["id"]];
    assert_eq!(numbers, [3, 1, 3], "{said}");
    assert_eq!((&said["changing"], &said["members"][3]["role"]), (&false.into(), &"voter".into()), "{said}");
    let said = cluster.operated(asked, &["remove", &dead.to_string()]);
    assert_eq!([&said["received"], &said["durable"]], [2, 1], "{said}");
    assert!(!cluster.members(asked).contains(&(dead as u64)));
    load.goes_on();
    // The new one counts: with it and one of the old ones the cluster goes on. Clients find it though nobody told them.
    cluster.kill(leader);
    load.goes_on();
    load.finish();
    until("somebody leads", || cluster.operated(asked, &["status"])["leader"].as_u64());
    assert_eq!(cluster.members(asked).len(), 3);
    cluster.restart(leader);
    cluster.settle();
    // Who was removed comes back, disturbs nobody, is told and stops.
    cluster.restart(dead);
    let mut load = cluster.endless_load();
    load.goes_on();
    cluster.leaves(dead);
    load.goes_on();
    load.finish();
    cluster.settle();
    cluster.stop();
    cluster.audit_of(&[leader, asked, 3]);
}

#[test]
fn the_leader_is_removed_and_so_is_a_follower() {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::new(&folder.path().join("cluster"), 1);
    cluster.leader();
    let mut load = cluster.endless_load();
    load.goes_on();
    cluster.join(0, 3);
    cluster.join(1, 4);
    // Who has not been started cannot vote: the cluster would be the weaker for it.
    cluster.terminate(4);
    let said = cluster.operate(0, &["promote", "4", "--patience", "1"]);
    assert!(said.code == 1 && said.error.contains("node 4 is not connected"), "{}", said.error);
    cluster.restart(4);
    cluster.operated(0, &["promote", "3"]);
    let said = cluster.operated(0, &["promote", "4"]);
    assert_eq!([&said["received"], &said["durable"]], [3, 1], "{said}");
    load.goes_on();

    let leader = cluster.leader();
    let asked = (leader + 1) % 3;
    let said = cluster.operated(asked, &["remove", &leader.to_string()]);
    assert_ne!(said["leader"], leader, "{said}");
    cluster.leaves(leader);
    load.goes_on();
    let said = cluster.operate(asked, &["remove", &leader.to_string()]);
    assert_eq!(said.code, 0, "done is done: {}", said.error);
    let said = cluster.operate(asked, &["promote", &leader.to_string()]);
    assert!(said.code == 1 && said.error.contains("is no member"), "{}", said.error);

    let leader = cluster.leader();
    let follower = (0..3).find(|node| *node != leader && cluster.nodes[*node].is_some()).unwrap();
    let asked = leader;
    cluster.operated(asked, &["remove", &follower.to_string()]);
    cluster.leaves(follower);
    load.goes_on();
    load.finish();
    let left: Vec<usize> = cluster.members(asked).into_iter().map(|id| id as usize).collect();
    assert_eq!(left.len(), 3);
    cluster.settle();
    cluster.stop();
    cluster.audit_of(&left);
}

#[test]
fn all_that_a_cluster_was_made_of_are_replaced_and_then_all_are_restarted() {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::new(&folder.path().join("cluster"), 2);
    cluster.leader();
    let mut load = cluster.endless_load();
    load.goes_on();
    for old in 0..3 {
        let new = old + 3;
        cluster.join(old, new);
        cluster.operated(old, &["promote", &new.to_string()]);
        cluster.operated(new, &["remove", &old.to_string()]);
        cluster.leaves(old);
        load.goes_on();
    }
    assert_eq!(cluster.members(3), [3, 4, 5]);
    // Files and log say different things of who belongs: starts go by the log.
    for node in 3..6 {
        cluster.terminate(node);
        cluster.restart(node);
        cluster.caught_up(node);
        load.goes_on();
    }
    // One that was removed has nobody left whom it knows.
    cluster.restart(0);
    assert_eq!(cluster.members(4), [3, 4, 5]);
    cluster.kill(0);
    // A new node finds them, and so does whoever knows one of them.
    cluster.join(5, 6);
    cluster.operated(6, &["promote", "6"]);
    cluster.operated(3, &["remove", "3"]);
    cluster.leaves(3);
    let last = load.finish();
    assert!(last["requests"].as_u64().unwrap() > 0, "{last}");
    let key = cluster.dir.join("operator.key");
    let status = |nodes: &[usize]| {
        let connect = cluster.clients_of(nodes);
        let key = key.to_str().unwrap();
        let said = ["cluster", "status", "--json", "--connect", &connect, "--key", key, "--patience", "3"];
        ordain(&said)
    };
    assert_eq!(status(&[0, 5]).code, 0);
    let lost = status(&[0, 1, 2]);
    assert!(lost.code == 1 && lost.error.contains("the cluster cannot be asked"), "{}", lost.error);
    cluster.settle();
    cluster.stop();
    cluster.audit_of(&[4, 5, 6]);
}
