//! Clusters of real processes that an operator steers while clients trade.

#[allow(dead_code, reason = "each test program uses a part of it")]
mod common;

use common::cluster::{Cluster, until};
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
