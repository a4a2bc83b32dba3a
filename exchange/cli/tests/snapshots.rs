//! Three real processes that keep little of their log: a node that was gone for too long comes back by a snapshot.

#[allow(dead_code, reason = "each test program uses a part of it")]
mod common;

use common::cluster::{Cluster, until};
use ordain_agent::disk::FileId;
use std::path::Path;

/// Numbers of the segments in a data directory, ascending.
fn segments(data: &Path) -> Vec<u64> {
    let names =
        std::fs::read_dir(data).unwrap().flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let mut found: Vec<_> = names
        .filter_map(|name| match ordain_host::disk::file_id(&name) {
            Some(FileId::Segment(number)) => Some(number),
            _ => None,
        })
        .collect();
    found.sort_unstable();
    found
}

#[test]
fn a_node_that_was_gone_for_too_long_comes_back_by_a_snapshot() {
    let folder = tempfile::tempdir().unwrap();
    // The ring serves those who lag, too: a small one forgets soon.
    let retains_nothing = ["--retain", "0", "--snapshot-every", "1", "--ring-size", "2MiB"];
    let mut cluster = Cluster::with(&folder.path().join("cluster"), 0, &retains_nothing);
    let mut load = cluster.endless_load();
    load.goes_on();
    let leader = cluster.leader();
    let follower = (leader + 1) % 3;
    cluster.kill(follower);
    let had = *segments(&cluster.data(follower)).last().unwrap();
    until("the others have removed what the node needs next", || {
        let trimmed = |node: usize| segments(&cluster.data(node)).first().is_some_and(|first| *first > had);
        (0..3).filter(|node| *node != follower).all(trimmed).then_some(())
    });

    cluster.restart(follower);
    cluster.caught_up(follower);
    let has = segments(&cluster.data(follower));
    assert!(has[0] > had, "it begins with {}, and had {had}", has[0]);
    load.goes_on();

    load.finish();
    cluster.settle();
    cluster.stop();
    cluster.audit();
    // Nothing of the way is left.
    let left = |name: &str| cluster.data(follower).join(name).exists();
    assert!(!left("succession"));
    let incoming = |entry: std::fs::DirEntry| entry.file_name().to_string_lossy().starts_with("incoming-");
    assert!(!std::fs::read_dir(cluster.data(follower)).unwrap().flatten().any(incoming));
}
