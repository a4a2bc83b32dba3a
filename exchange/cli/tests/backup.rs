//! What `docs/operate/backup.md` says of back-ups, done.

#[allow(dead_code, reason = "each test program uses a part of it")]
mod common;

use common::{Node, command, copy, numbers, ordain};
use std::fs;
use std::path::Path;

/// Small segments, and a snapshot for each.
const NODE: [&str; 11] = [
    "node",
    "--listen",
    "127.0.0.1:0",
    "--metrics",
    "127.0.0.1:0",
    "--segment-size",
    "1MiB",
    "--retain",
    "all",
    "--log-level",
    "error",
];

fn load(node: &Node, acks: &Path) {
    let connect = node.address("tcp");
    let status = command(&["load", "--connections", "2", "--window", "64", "--accounts", "200"])
        .args(["--instruments", "5", "--seconds", "2", "--connect", &connect, "--key", &node.operator()])
        .arg("--acks")
        .arg(acks)
        .stdout(std::process::Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
}

#[test]
fn a_copy_of_a_stopped_node_is_a_back_up() {
    let temp = tempfile::tempdir().unwrap();
    let (data, acks) = (temp.path().join("data"), temp.path().join("acks"));
    let node = Node::spawn(&data, &NODE).ready();
    // Until both snapshots are there that a node keeps.
    while numbers(&data, "snapshot-").len() < 2 {
        load(&node, &acks);
    }
    node.stop();

    // Whole: nothing that was acknowledged is missing, and the node goes on.
    let whole = temp.path().join("whole");
    copy(&data, &whole);
    let good = |dir: &Path| {
        let said = ordain(&["journal", "verify", dir.to_str().unwrap()]);
        assert!(said.code == 0 && said.out.ends_with("good\n"), "{}{}", said.out, said.error);
    };
    good(&whole);
    let audit = ordain(&["audit", "--acks", acks.to_str().unwrap(), whole.to_str().unwrap()]);
    assert!(
        audit.code == 0 && audit.out.contains(" 0 missing, 0 differing;"),
        "{}{}",
        audit.out,
        audit.error
    );
    let restored = Node::spawn(&whole, &NODE).ready();
    load(&restored, &temp.path().join("more"));
    restored.stop();
    good(&whole);

    // Both snapshots, and the segments from the older one on.
    let least = temp.path().join("least");
    copy(&data, &least);
    let older = numbers(&least, "snapshot-")[0].0;
    let before = numbers(&least, "segment-").into_iter().filter(|(number, _)| number << 20 < older);
    let removed = before.map(|(_, path)| fs::remove_file(path).unwrap()).count();
    assert!(removed > 0, "there is history in front of the snapshot");
    good(&least);
    let restored = Node::spawn(&least, &NODE).ready();
    load(&restored, &temp.path().join("more"));
    restored.stop();
    good(&least);

    // What lacks a segment behind the snapshot is none, and nothing is served from it.
    let broken = temp.path().join("broken");
    copy(&data, &broken);
    let segments = numbers(&broken, "segment-");
    let behind = segments.iter().find(|(number, _)| number << 20 >= older).unwrap();
    fs::remove_file(&behind.1).unwrap();
    let said = command(&NODE).arg("--data").arg(&broken).output().unwrap();
    assert_eq!(said.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&said.stderr).contains("is missing"), "{said:?}");
}
