//! Clusters of real processes that an operator steers while clients trade.

#[allow(dead_code, reason = "each test program uses a part of it")]
mod common;

use common::cluster::{Cluster, address, until};
use ordain_client::blocking::{Client, ClientError, Output};
use ordain_client::{ClientConfig, CoreConfig, Member, SessionWish};
use ordain_host::keys;
use ordain_types::{OutputSeq, Stream};
use std::time::Duration;

#[test]
fn any_node_says_how_the_cluster_is() {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::new(&folder.path().join("cluster"), 0);
    let leader = cluster.leader();
    for node in 0..3 {
        let said = until("the node knows the leader", || {
            let said = cluster.operated(node, &["status"]);
            (said["leader"] == leader).then_some(said)
        });
        assert_eq!(
            (&said["version"], &said["received"], &said["durable"]),
            (&0.into(), &2.into(), &1.into())
        );
        let members = said["members"].as_array().unwrap();
        assert_eq!(members.len(), 3);
        assert!(
            members.iter().all(|member| member["role"] == "voter" && member["answers"] == true),
            "{said}"
        );
    }
    cluster.kill((leader + 1) % 3);
    let said = cluster.operated(leader, &["status"]);
    let silent = said["members"].as_array().unwrap().iter().filter(|member| member["answers"] == false);
    assert_eq!(silent.count(), 1, "{said}");
}

#[test]
fn without_copies_nothing_is_taken_and_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::new(&folder.path().join("cluster"), 1);
    let leader = cluster.leader();
    let mut load = cluster.endless_load();
    load.goes_on();
    let others = [(leader + 1) % 3, (leader + 2) % 3];
    others.into_iter().for_each(|node| cluster.kill(node));
    // It leads no more, and says why nothing goes.
    until("the node says that copies cannot exist", || {
        let said = cluster.operated(leader, &["status"]);
        (said["no_copies"] == true && said["leader"].is_null()).then_some(())
    });
    let said = cluster.operate(leader, &["snapshot", "--patience", "1"]);
    assert_eq!(said.code, 1);
    others.into_iter().for_each(|node| cluster.restart(node));
    cluster.leader();
    load.goes_on();
    load.finish();
    let said = cluster.operated(leader, &["status"]);
    assert_eq!(said["no_copies"], false);
    cluster.settle();
    cluster.stop();
    cluster.audit();
}

/// Outputs of a topic as one node alone serves them.
fn reader(cluster: &Cluster, node: usize) -> Client {
    let address = cluster.nodes[node].as_ref().unwrap().address("tcp");
    let pair = keys::load(&cluster.dir.join("operator.key")).unwrap();
    let core = CoreConfig { session: SessionWish::None, ..CoreConfig::new(pair) };
    let mut config = ClientConfig { discover: false, ..ClientConfig::new(vec![Member::at(&address)], core) };
    config.timeout = Duration::from_secs(60);
    Client::connect(&config).unwrap()
}

fn read(client: &mut Client, count: usize) -> Vec<Output> {
    (0..count).map(|_| client.next_output(Duration::from_secs(60)).unwrap().unwrap()).collect()
}

#[test]
fn every_node_serves_the_same_outputs_and_a_reader_goes_on_at_another() {
    const TRADES: Stream = Stream::Topic(1);
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::new(&folder.path().join("cluster"), 2);
    let leader = cluster.leader();
    let mut load = cluster.endless_load();
    load.goes_on();
    load.finish();
    cluster.settle();
    let mut whole = reader(&cluster, leader);
    // The oldest may be gone already.
    let first = match whole.subscribe(TRADES, OutputSeq(1)) {
        Ok(()) => OutputSeq(1),
        Err(ClientError::Subscription { next, .. }) => OutputSeq(next.0 + 100),
        Err(error) => panic!("{error}"),
    };
    whole.subscribe(TRADES, first).unwrap();
    let expected = read(&mut whole, 300);
    let from = |found: &[Output]| OutputSeq(first.0 + found.len() as u64);

    let (one, two) = ((leader + 1) % 3, (leader + 2) % 3);
    let mut client = reader(&cluster, one);
    client.subscribe(TRADES, first).unwrap();
    let mut found = read(&mut client, 100);
    cluster.kill(one);
    let mut client = reader(&cluster, two);
    client.subscribe(TRADES, from(&found)).unwrap();
    found.extend(read(&mut client, 100));
    // It takes no leader to read what is committed.
    cluster.kill(leader);
    let mut client = reader(&cluster, two);
    client.subscribe(TRADES, from(&found)).unwrap();
    found.extend(read(&mut client, 100));
    assert_eq!(found, expected);
}

#[test]
fn all_nodes_are_restarted_one_by_one_and_no_client_notices() {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::new(&folder.path().join("cluster"), 3);
    cluster.leader();
    let mut load = cluster.endless_load();
    load.goes_on();
    for node in 0..3 {
        cluster.nodes[node].take().unwrap().stop();
        cluster.restart(node);
        // The next one only when this one has what it missed.
        cluster.caught_up(node);
        load.goes_on();
    }
    let last = load.finish();
    assert!(last["requests"].as_u64().unwrap() > 0, "{last}");
    cluster.settle();
    cluster.stop();
    cluster.audit();
}

#[test]
fn the_lead_is_handed_over_under_load() {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::new(&folder.path().join("cluster"), 4);
    let first = cluster.leader();
    let mut load = cluster.endless_load();
    load.goes_on();
    let others = [(first + 1) % 3, (first + 2) % 3];
    for to in [others[0], others[1], first] {
        // Asked at a node that may not lead.
        let said = cluster.operated(others[0], &["transfer", &to.to_string()]);
        assert_eq!(said["leader"], to, "{said}");
        cluster.caught_up(to);
    }
    // Nobody in particular. Who led before the command may be another by now, if the machine is slow.
    let before = cluster.operated(first, &["status"]);
    let said = cluster.operated(others[0], &["transfer"]);
    assert!(said["term"].as_u64() > before["term"].as_u64() && said["leader"].is_u64(), "{said}");
    // Who cannot lead is named as such.
    let said = cluster.operate(others[0], &["transfer", "7"]);
    assert!(said.code == 1 && said.error.contains("node 7 is no voter"), "{}", said.error);
    load.goes_on();
    load.finish();
    cluster.settle();
    cluster.stop();
    cluster.audit();
}

#[test]
fn the_ack_policy_changes_under_load() {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::new(&folder.path().join("cluster"), 5);
    cluster.leader();
    let mut load = cluster.endless_load();
    load.goes_on();
    for (name, copies) in [("two-disks", (2, 2)), ("ram", (2, 0)), ("1/1", (1, 1)), ("disk-ram", (2, 1))] {
        let said = cluster.operated(0, &["ack-policy", name]);
        assert_eq!((&said["received"], &said["durable"]), (&copies.0.into(), &copies.1.into()), "{said}");
        load.goes_on();
    }
    let said = cluster.operated(1, &["unsynced-max", "64"]);
    assert_eq!(said["unsynced_max"], 64);
    // What cannot be is said, and nothing changes.
    let said = cluster.operate(2, &["ack-policy", "3/1"]);
    assert!(said.code == 1 && said.error.contains("with 3 voters a policy is"), "{}", said.error);
    load.finish();
    cluster.settle();
    cluster.stop();
    // It is in the log: a start knows.
    (0..3).for_each(|node| cluster.restart(node));
    cluster.leader();
    let said = cluster.operated(0, &["status"]);
    assert_eq!(
        (&said["received"], &said["durable"], &said["unsynced_max"]),
        (&2.into(), &1.into(), &64.into())
    );
    cluster.stop();
    cluster.audit();
}

/// Makes node `id` at the addresses of place `id`, starts it, and waits until it has the log.
fn join(cluster: &mut Cluster, asked: usize, test: usize, id: usize) {
    let dir = cluster.data(id).to_str().unwrap().to_owned();
    let member = address(test, id);
    let said = cluster.operated(asked, &["add", "--dir", &dir, "--member", &member]);
    let learner = said["members"].as_array().unwrap().iter().find(|member| member["id"] == id).unwrap();
    assert_eq!(learner["role"], "learner", "{said}");
    // Run again it is the same, and nobody is added twice.
    let again = cluster.operated(asked, &["add", "--dir", &dir, "--member", &member]);
    assert_eq!(again["members"].as_array().unwrap().len(), said["members"].as_array().unwrap().len());
    cluster.nodes.push(None);
    assert_eq!(cluster.nodes.len(), id + 1);
    cluster.restart(id);
    cluster.caught_up(id);
}

#[test]
fn a_dead_node_is_replaced_under_load() {
    const TEST: usize = 6;
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::new(&folder.path().join("cluster"), TEST);
    let leader = cluster.leader();
    let mut load = cluster.endless_load();
    load.goes_on();
    let dead = (leader + 1) % 3;
    let asked = (leader + 2) % 3;
    cluster.kill(dead);
    join(&mut cluster, asked, TEST, 3);
    // A learner serves outputs, and counts for nothing.
    let mut client = reader(&cluster, 3);
    client.subscribe(Stream::Topic(1), OutputSeq(0)).unwrap();
    read(&mut client, 10);
    let said = cluster.operated(asked, &["promote", "3"]);
    assert_eq!(
        (&said["changing"], &said["received"], &said["durable"]),
        (&false.into(), &3.into(), &1.into()),
        "what was a majority is one: {said}"
    );
    let said = cluster.operated(asked, &["remove", &dead.to_string()]);
    let ids: Vec<_> =
        said["members"].as_array().unwrap().iter().map(|member| member["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), 3);
    assert!(!ids.contains(&(dead as u64)) && ids.contains(&3), "{said}");
    load.goes_on();
    // The new one counts: with it and one of the old ones the cluster goes on.
    cluster.kill(leader);
    load.goes_on();
    load.finish();
    let said = until("somebody leads", || {
        let said = cluster.operated(asked, &["status"]);
        (!said["leader"].is_null()).then_some(said)
    });
    assert_eq!(said["members"].as_array().unwrap().len(), 3);
    cluster.restart(leader);
    cluster.settle();
    // Who was removed is refused when it comes back, and disturbs nobody.
    cluster.restart(dead);
    let mut load = cluster.endless_load();
    load.goes_on();
    load.finish();
}
