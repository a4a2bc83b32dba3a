//! What the program says to its users: each error names its cause and what to do.

#[allow(dead_code, reason = "each test program uses a part of it")]
mod common;

use common::{NODE, Node, command, ordain};
use ordain_client::blocking::{Client, Outcome};
use ordain_client::{ClientConfig, CoreConfig, Member, SessionWish};
use ordain_types::{BatchIndex, Receipt};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::process::Stdio;

/// What `ordain` says on standard error and its exit code, with `folder` written as `DIR`.
fn failure(folder: &Path, arguments: &[&str]) -> (i32, String) {
    let said = ordain(arguments);
    (said.code, said.error.replace(folder.to_str().unwrap(), "DIR"))
}

fn path(folder: &Path, name: &str) -> String {
    folder.join(name).to_str().unwrap().to_owned()
}

/// Arguments that start a node on `data`.
fn node_on(data: &str) -> Vec<&str> {
    NODE.into_iter().chain(["--data", data]).collect()
}

#[test]
fn files_and_flags_that_are_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let absent = path(dir, "absent");
    let check = |arguments: &[&str], code: i32, text: &str| {
        assert_eq!(failure(dir, arguments), (code, text.to_owned()), "{arguments:?}");
    };
    check(
        &["replay", "--lobster", &absent, "--book", &absent],
        1,
        "error: DIR/absent cannot be read: No such file or directory (os error 2)\n \
         next: Give a LOBSTER file, which is text.\n",
    );
    check(
        &["audit", "--acks", &absent, &absent],
        1,
        "error: DIR/absent cannot be opened: No such file or directory (os error 2)\n \
         next: Give the file that the load client wrote.\n",
    );
    check(
        &["journal", "verify", &absent],
        1,
        "error: DIR/absent is no directory\n next: Give the data directory of a node: the one that \
         `ordain node --data` names, ./ordain-data by default.\n",
    );
    check(
        &["keys", "show", &absent],
        1,
        "error: the key cannot be shown: cannot read the key file DIR/absent: No such file or directory \
         (os error 2). Check the path; `ordain keys new FILE` makes a key\n \
         next: Then run the command again.\n",
    );
    check(
        &["node", "--dta", "x"],
        2,
        "error: unexpected argument '--dta' found\n\n  tip: a similar argument exists: '--data'\n\n\
         Usage: ordain node --data <DIR>\n\nFor more information, try '--help'.\n",
    );
    let (messages, book) = (path(dir, "messages"), path(dir, "book"));
    fs::write(&messages, "34200.1,1,7,100,1000000,1\n34200.2,8,7,100,1000000,1\n").unwrap();
    fs::write(&book, "1000100,5,1000000,100\n1000100,5,1000000\n").unwrap();
    check(
        &["replay", "--lobster", &messages, "--book", &book],
        1,
        "error: DIR/messages line 2: 8 is no event type from 1 to 7\n \
         next: Check that --lobster is given a message file and --book an order book file.\n",
    );
    fs::write(&messages, "34200.1,1,7,100,1000000,1\n").unwrap();
    check(
        &["replay", "--lobster", &messages, "--book", &book],
        1,
        "error: DIR/book line 2: 3 columns make no whole levels of four\n \
         next: Check that --lobster is given a message file and --book an order book file.\n",
    );
    fs::write(&book, "1000100,5,1000000,100\n1000100,5,1000000,90\n").unwrap();
    check(
        &["replay", "--lobster", &messages, "--book", &book],
        1,
        "error: there are 1 messages and 2 rows of the book\n \
         next: Give two files of the same stock, day and length, with at least one row.\n",
    );
    fs::write(&messages, "1 2 3\n").unwrap();
    check(
        &["audit", "--acks", &messages, dir.to_str().unwrap()],
        1,
        "error: DIR/messages line 1 is no acknowledgement\n next: Give the file that the load client wrote.\n",
    );
}

#[test]
fn keys_that_are_wrong_and_one_that_is_right() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let node = Node::start(&dir.join("data"));
    let (address, operator) = (node.address("tcp"), node.operator());
    let key = path(dir, "some.key");
    let public = ordain(&["keys", "new", &key]).out.trim().to_owned();
    let add = |address: &str, key: &str, permissions: &str| {
        let arguments = ["keys", "add", &public, "--permissions", permissions, "--connect", address];
        let (code, error) = failure(dir, &[&arguments[..], &["--key", key]].concat());
        (code, error.replace(address, "ADDRESS"))
    };
    let next = " next: Check --connect and that --key is an operator's key file of this cluster.\n";

    let (code, error) = add(&address, &key, "view");
    assert_eq!(code, 1);
    assert!(error.starts_with("error: the cluster cannot be told: no member will have this client; ADDRESS"));
    assert!(error.contains("have an operator add the key with `ordain keys add`"), "{error}");
    assert!(error.ends_with(next), "{error}");

    assert_eq!(add(&address, &operator, "view,trade"), (0, String::new()));
    let refused = format!("error: the cluster refused: the key lacks a permission that this needs\n{next}");
    assert_eq!(add(&address, &key, "all"), (1, refused));
    let list = |key: &str| {
        let said = ordain(&["keys", "list", "--connect", &address, "--key", key]);
        (said.code, said.out, said.error)
    };
    let own = ordain(&["keys", "show", &operator]).out;
    let both = |now: &str| format!("    1  {}  all\n    2  {public}  {now}\n", own.trim());
    assert_eq!(list(&operator), (0, both("trade,view"), String::new()));
    let refused = "error: the cluster does not say: the query was refused: the key lacks a permission that this needs\n";
    assert_eq!(list(&key), (1, String::new(), format!("{refused}{next}")));
    assert_eq!(add(&address, &operator, "none").0, 0);
    assert_eq!(list(&operator).1, both("none"));

    let (code, error) = add(&address, &operator, "trad");
    assert!(
        code == 2
            && error.contains("`trad` is no permission: trade, admin, custody, view, operator, all or none")
    );

    // Nobody listens on port 1.
    let nobody = "error: the cluster cannot be told: no connection in time; ADDRESS: Connection refused (os error 111)\n";
    assert_eq!(add("127.0.0.1:1", &operator, "view"), (1, format!("{nobody}{next}")));

    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let open = "error: the key cannot be used: others may read the key file DIR/some.key (mode 644). \
                Make it yours alone: chmod 600 DIR/some.key\n next: Give --key the key file of an operator, \
                for instance DATA/keys/operator.key of the node.\n";
    assert_eq!(add(&address, &key, "view"), (1, open.to_owned()));
    node.stop();
}

#[test]
fn what_a_node_shares_with_another() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let data = path(dir, "data");
    let node = Node::start(Path::new(&data));
    let in_use = format!(
        "error: data directory DIR/data is in use by process {}. Stop it first, or name another directory with --data\n",
        node.child.id()
    );
    assert_eq!(failure(dir, &node_on(&data)), (2, in_use));
    let address = node.address("tcp");
    let port = format!(
        "error: cannot listen on {address}: Address already in use (os error 98). Choose another address, or stop who uses it\n"
    );
    let other = path(dir, "other");
    let arguments =
        ["node", "--data", &other, "--listen", &address, "--metrics", "off", "--log-level", "error"];
    assert_eq!(failure(dir, &arguments), (2, port));

    let get = |target: &str| {
        let mut stream = TcpStream::connect(node.address("ops")).unwrap();
        write!(stream, "GET {target} HTTP/1.1\r\nHost: node\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    assert!(
        get("/healthz").starts_with("HTTP/1.1 200 OK\r\n") && get("/healthz").ends_with("\r\n\r\nalive\n")
    );
    while !get("/readyz").starts_with("HTTP/1.1 200 OK\r\n") {
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    let metrics = get("/metrics");
    for name in ["ordain_log_records_total", "ordain_journal_syncs_total", "process_cpu_seconds_total"] {
        assert!(metrics.contains(&format!("# TYPE {name} counter\n{name} ")), "{name} in {metrics}");
    }
    assert!(get("/nothing").starts_with("HTTP/1.1 404 "));
    node.stop();
}

/// A data directory with half a MiB of log and more, and what a client wrote down about it.
fn filled(data: &str) {
    let node = Node::start(Path::new(data));
    let acks = format!("{data}.acks");
    let (address, operator) = (node.address("tcp"), node.operator());
    let load = [
        "load",
        "--connect",
        &address,
        "--key",
        &operator,
        "--acks",
        &acks,
        "--seconds",
        "1",
        "--connections",
        "1",
        "--window",
        "64",
        "--accounts",
        "800",
        "--instruments",
        "10",
    ];
    let status = command(&load).stdout(Stdio::null()).status().unwrap();
    assert!(status.success());
    node.stop();
}

#[test]
fn journals_that_are_not_whole() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let (data, foreign) = (path(dir, "data"), path(dir, "foreign"));
    filled(&data);
    Node::start(Path::new(&foreign)).stop();
    let first = path(dir, "data/segment-0000000000000000.log");
    let whole = fs::read(&first).unwrap();

    let acks = path(dir, "data.acks");
    let said = ordain(&["audit", "--acks", &acks, &data]);
    assert!(said.code == 0 && said.out.contains(" 0 missing, 0 differing;"), "{}", said.out);

    // A reader that has seen enough is no error worth a word.
    let mut dump =
        command(&["journal", "dump", &data]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut start = [0; 6];
    dump.stdout.take().unwrap().read_exact(&mut start).unwrap();
    assert_eq!((&start, dump.wait_with_output().unwrap().stderr.as_slice()), (b"batch ", &b""[..]));

    let file = fs::OpenOptions::new().write(true).open(&first).unwrap();
    file.write_all_at(&[0xff; 64], 60_000).unwrap();
    let (code, error) = failure(dir, &node_on(&data));
    assert_eq!(code, 1);
    assert!(
        error.starts_with("error: the node cannot start from its journal. segment 0, offset "),
        "{error}"
    );
    assert!(error.contains("was synced and is damaged"), "{error}");
    assert!(error.ends_with("and restore the directory from a peer or a backup\n"), "{error}");
    let said = ordain(&["journal", "verify", &data]);
    assert!(said.code == 1 && said.out.ends_with("NOT GOOD\n"), "{}", said.out);
    let said = ordain(&["audit", "--acks", &acks, &data]);
    assert!(said.code == 1 && !said.out.contains(" 0 missing"), "{}", said.out);

    fs::remove_file(&first).unwrap();
    let missing = "error: the node cannot start from its journal. segment 0 is missing, though the log reaches \
                   it, and no snapshot that can be used stands in for it. Restore it from a backup or a peer; do \
                   not create it empty\n";
    assert_eq!(failure(dir, &node_on(&data)), (1, missing.to_owned()));

    fs::copy(path(dir, "foreign/segment-0000000000000000.log"), &first).unwrap();
    let (code, error) = failure(dir, &node_on(&data));
    assert_eq!(code, 1);
    assert!(
        error.starts_with("error: the node cannot start from its journal. segment 0 belongs to cluster "),
        "{error}"
    );
    assert!(error.ends_with("Put the segment of this cluster in its place\n"), "{error}");

    fs::write(&first, whole).unwrap();
    Node::start(Path::new(&data)).stop();
}

#[test]
fn receipts_hold_until_history_is_changed() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let (data, foreign) = (path(dir, "data"), path(dir, "foreign"));
    Node::start(Path::new(&foreign)).stop();
    let node = Node::start(Path::new(&data));
    let pair = ordain_host::keys::load(Path::new(&node.operator())).unwrap();
    let key = pair.public();
    let members = vec![Member::at(&node.address("tcp"))];
    let mut client = Client::connect(&ClientConfig::new(members, CoreConfig::new(pair))).unwrap();
    let mut receipts = Vec::new();
    for _ in 0..3 {
        let Outcome::Acknowledged { seq, .. } = client.set_key(key, u32::MAX).unwrap() else { panic!() };
        receipts.push(client.receipt(seq).unwrap());
    }
    let first = receipts[0].seq;
    client.close().unwrap();
    node.stop();

    let verify = |data: &str, receipts: &[Receipt]| {
        let texts: Vec<_> = receipts.iter().map(Receipt::to_string).collect();
        let flags = texts.iter().flat_map(|text| ["--receipt", text]);
        let said = ordain(&["journal", "verify", data].into_iter().chain(flags).collect::<Vec<_>>());
        let lines = said.out.lines().filter_map(|line| line.strip_prefix("receipt of record "));
        (said.code, lines.map(str::to_owned).collect::<Vec<_>>())
    };
    let (code, lines) = verify(&data, &receipts);
    assert_eq!((code, lines.len()), (0, 3));
    let index = receipts[0].index;
    assert_eq!(lines[0], format!("{first}: holds, everything up to batch {index} is as it was"));
    // The first life of a node knows no chain value of an older batch, and need not: a later one covers the record.
    let node = Node::start(Path::new(&data));
    let pair = ordain_host::keys::load(Path::new(&node.operator())).unwrap();
    let members = vec![Member::at(&node.address("tcp"))];
    let core = CoreConfig { session: SessionWish::None, ..CoreConfig::new(pair) };
    let mut client = Client::connect(&ClientConfig::new(members, core)).unwrap();
    let late = client.receipt(first).unwrap();
    node.stop();
    assert!(late.seq == first && late.index > index);
    assert_eq!(verify(&data, &[late, receipts[2]]).0, 0);

    let other = Receipt { chain: late.chain, ..receipts[0] };
    let (code, lines) = verify(&data, &[other]);
    assert_eq!(code, 1);
    assert_eq!(
        lines,
        [format!(
            "{first}: DIFFERS, batch {index} has the chain value {}: the journal was changed, or the receipt was, \
             or it is of another cluster",
            receipts[0].chain
        )]
    );
    let early = Receipt { index: BatchIndex(1), ..receipts[0] };
    let (code, lines) = verify(&data, &[early]);
    assert!(code == 1 && lines[0].contains("DIFFERS, batch 1 ends before the record"), "{lines:?}");
    let (code, lines) = verify(&foreign, &[Receipt { index: BatchIndex(1_000), ..late }]);
    assert!(code == 1 && lines[0].contains("NOT REACHED, this journal is whole up to batch "), "{lines:?}");
    let said = ordain(&["journal", "verify", &data, "--receipt", "13:00"]);
    assert!(
        said.code == 2 && said.error.contains("a receipt is `ordain-receipt-SEQ-INDEX-CHAIN`"),
        "{}",
        said.error
    );
}

#[test]
fn the_demonstration_kills_who_leads_and_loses_nothing() {
    for nodes in ["1", "3"] {
        let load = ["--seconds", "3", "--connections", "2", "--window", "16"];
        let said = ordain(&[&["demo", "--nodes", nodes], load.as_slice()].concat());
        let out = &said.out;
        assert_eq!(said.code, 0, "{out}{}", said.error);
        assert!(out.contains("killed with SIGKILL under load"), "{out}");
        assert!(out.contains(" 0 lost\n"), "{out}");
        let audits = out.matches(" 0 missing, 0 differing;").count();
        assert_eq!(audits.to_string(), nodes, "{out}");
        if nodes == "3" {
            assert!(out.contains("has taken over") && out.contains("has caught up"), "{out}");
            assert!(out.contains("journals  the same up to batch"), "{out}");
        }
    }
}
