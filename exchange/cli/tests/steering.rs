//! Clusters of real processes that an operator steers while clients trade.

#[allow(dead_code, reason = "each test program uses a part of it")]
mod common;

use common::cluster::{Cluster, until};
use common::reader::{read, reader};
use ordain_client::blocking::{ClientError, Output};
use ordain_client::{ClientConfig, CoreConfig, Event, Member, QueryError, SessionWish, pipelined};
use ordain_host::keys;
use ordain_types::codes::Code;
use ordain_types::steer::Steer;
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
    let said = cluster.operate(leader, &["ack-policy", "two-disks", "--patience", "1"]);
    assert_eq!(said.code, 1);
    others.into_iter().for_each(|node| cluster.restart(node));
    cluster.leader();
    load.goes_on();
    load.finish();
    let said = cluster.operated(leader, &["status"]);
    assert_eq!(said["no_copies"], false);
    assert_eq!(
        (&said["wanted_received"], &said["wanted_durable"]),
        (&2.into(), &1.into()),
        "what was refused"
    );
    cluster.settle();
    cluster.stop();
    cluster.audit();
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
        cluster.terminate(node);
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

#[test]
fn of_two_changes_at_once_one_is_refused_and_may_be_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = Cluster::new(&folder.path().join("cluster"), 6);
    let leader = cluster.leader();
    let address = cluster.nodes[leader].as_ref().unwrap().address("tcp");
    let pair = keys::load(&cluster.dir.join("operator.key")).unwrap();
    let core = CoreConfig { session: SessionWish::None, ..CoreConfig::new(pair) };
    let config = ClientConfig::new(vec![Member::at(&address)], core);
    let mut client = pipelined::Client::connect(&config).unwrap();
    // Both lie in one packet, so that the first is hardly ever committed before the second is looked at.
    let codes = until("two changes meet", || {
        let mut codes = Vec::new();
        for window in [100, 200] {
            client.core().steer(&Steer::UnsyncedMax(window)).unwrap();
        }
        client.flush();
        while codes.len() < 2 {
            let on = |event: Event<'_>| {
                if let Event::Steered(_, result) = event {
                    codes.push(result.map(|_| ()).map_err(|(error, why)| (error, why.to_owned())));
                }
            };
            client.poll_events(Duration::from_millis(5), on).unwrap();
        }
        codes.iter().any(Result::is_err).then_some(codes)
    });
    let not_yet = QueryError::Refused(Code::NotYet);
    assert_eq!(codes[0], Ok(()));
    let (error, why) = codes[1].clone().unwrap_err();
    assert!(error == not_yet && why.contains("another change is not committed yet"), "{error:?}: {why}");
    // The command tries on.
    let said = cluster.operated(leader, &["unsynced-max", "300"]);
    assert_eq!(said["unsynced_max"], 300);
    let said = cluster.operate(leader, &["unsynced-max", "3"]);
    assert!(said.code == 1 && said.error.contains("between 16 and"), "{}", said.error);
}

#[test]
fn a_leader_whose_disk_lags_hands_over() {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::new(&folder.path().join("cluster"), 7);
    let leader = cluster.leader();
    // As soon as its disk is eight batches behind what the others have.
    cluster.operated(leader, &["unsynced-max", "16"]);
    let mut load = cluster.endless_load();
    load.goes_on();
    let slow = cluster.leader();
    std::fs::write(cluster.stall(slow), "").unwrap();
    let next = until("another node leads", || {
        let leader = cluster.operated((slow + 1) % 3, &["status"])["leader"].as_u64()?;
        (leader != slow as u64).then_some(leader)
    });
    // It stays so: whoever leads has a disk.
    load.goes_on();
    let said = cluster.operated((slow + 1) % 3, &["status"]);
    assert_eq!(said["leader"], next, "{said}");
    std::fs::remove_file(cluster.stall(slow)).unwrap();
    load.goes_on();
    load.finish();
    cluster.settle();
    cluster.stop();
    cluster.audit();
}
