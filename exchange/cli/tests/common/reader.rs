//! Who reads outputs at one node.
#![allow(dead_code, reason = "each test program uses a part of it")]

use super::cluster::Cluster;
use ordain_client::blocking::{Client, Output};
use ordain_client::{ClientConfig, CoreConfig, Member, SessionWish};
use ordain_host::keys;
use std::time::Duration;

/// Outputs of a topic as one node alone serves them.
pub fn reader(cluster: &Cluster, node: usize) -> Client {
    let address = cluster.nodes[node].as_ref().unwrap().address("tcp");
    let pair = keys::load(&cluster.dir.join("operator.key")).unwrap();
    let core = CoreConfig { session: SessionWish::None, ..CoreConfig::new(pair) };
    let mut config = ClientConfig { discover: false, ..ClientConfig::new(vec![Member::at(&address)], core) };
    config.timeout = Duration::from_secs(60);
    Client::connect(&config).unwrap()
}

pub fn read(client: &mut Client, count: usize) -> Vec<Output> {
    (0..count).map(|_| client.next_output(Duration::from_secs(60)).unwrap().unwrap()).collect()
}
