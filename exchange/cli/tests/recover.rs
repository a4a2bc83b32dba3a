//! Where only an operator can go on: power loss everywhere under a policy that syncs nothing, and what follows.

#[allow(dead_code, reason = "each test program uses a part of it")]
mod common;

use common::{Node, command, ordain};
use ordain_client::blocking::{Client, Outcome};
use ordain_client::{ClientConfig, CoreConfig, Member};
use ordain_host::keys;
use ordain_journal::audit::{self, SegmentSource};
use ordain_journal::{Mark, NodeState, read_state};
use ordain_keys::KeyPair;
use ordain_types::LogEnd;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

const MEMBER: [&str; 7] = ["node", "--metrics", "127.0.0.1:0", "--snapshots", "off", "--log-level", "warn"];

/// Peer and client address of each node, on a loopback address of this process's own.
fn addresses() -> Vec<String> {
    let [_, a, b, c] = std::process::id().to_be_bytes();
    let address = |port: usize| format!("127.{}.{b}.{c}:{port}", a | 0x40);
    (0..3).map(|node| format!("{},{}", address(8100 + 10 * node), address(8101 + 10 * node))).collect()
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

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}

struct Segments(PathBuf);

impl SegmentSource for Segments {
    fn segments(&self) -> Result<Vec<(u64, u64)>, String> {
        Ok(vec![(0, fs::metadata(self.path()).unwrap().len())])
    }

    fn read_at(&self, _: u64, offset: u64, buffer: &mut [u8]) -> Result<usize, String> {
        fs::File::open(self.path()).unwrap().read_at(buffer, offset).map_err(|error| error.to_string())
    }
}

impl Segments {
    fn path(&self) -> PathBuf {
        self.0.join("segment-0000000000000000.log")
    }
}

/// What a power loss does to a directory whose disk was slow: the last `lost` batches are not there, and the watermark
/// had not come so far.
fn lose(dir: &Path, lost: usize) {
    let segments = Segments(dir.to_owned());
    let mut ends = vec![LogEnd::EMPTY];
    audit::verify(&segments, None, &[], &mut |_, end| ends.push(*end)).unwrap();
    let keep = ends[ends.len() - 1 - lost];
    let path = dir.join("node-state");
    let state = read_state(&fs::read(&path).unwrap()).unwrap();
    let watermark = state.watermark.min(Mark { index: keep.index, position: keep.position });
    fs::write(&path, NodeState { watermark, ..state }.to_file()).unwrap();
    let file = fs::OpenOptions::new().write(true).open(segments.path()).unwrap();
    let rest = file.metadata().unwrap().len() - keep.position.0;
    file.write_all_at(&vec![0; rest as usize], keep.position.0).unwrap();
}

fn start(dir: &Path) -> Child {
    let _ = fs::remove_file(dir.join("address"));
    command(&MEMBER).arg("--data").arg(dir).stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn an_operator_goes_on_where_no_election_can_and_clients_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let (before, after) = (folder.path().join("before"), folder.path().join("after"));
    let members = addresses();
    let mut arguments =
        vec!["cluster", "init", "--dir", before.to_str().unwrap(), "--fact", "durability=2/0"];
    arguments.extend(["--fact", "segment-size=4MiB"]);
    members.iter().for_each(|member| arguments.extend(["--member", member.as_str()]));
    assert_eq!(ordain(&arguments).code, 0);
    let mut nodes: Vec<_> =
        (0..3).map(|node| Node::spawn(&before.join(format!("node-{node}")), &MEMBER).ready()).collect();

    let operator = keys::load(&before.join("operator.key")).unwrap();
    let clients = members.iter().map(|member| Member::at(member.split_once(',').unwrap().1)).collect();
    let mut config = ClientConfig::new(clients, CoreConfig::new(operator));
    config.timeout = Duration::from_secs(60);
    let mut client = Client::connect(&config).unwrap();
    let set = |client: &mut Client, number: u8| {
        client.set_key(KeyPair::from_seed(&[number; 32]).public(), u32::from(number) << 8)
    };
    for number in 1..=30 {
        assert!(matches!(set(&mut client, number), Ok(Outcome::Acknowledged { .. })));
    }
    assert!(!client.data_lost());
    for node in &mut nodes {
        node.child.kill().unwrap();
        node.child.wait().unwrap();
    }
    drop(nodes);

    // Elsewhere nothing remembers what was only in memory. Two lose their last batches, the third is away.
    copy(&before, &after);
    let dirs: Vec<_> = (0..3).map(|node| after.join(format!("node-{node}"))).collect();
    lose(&dirs[0], 4);
    lose(&dirs[1], 6);
    let mut lost: Vec<_> = dirs[..2].iter().map(|dir| start(dir)).collect();
    let mut said = String::new();
    let mut log = BufReader::new(lost[0].stderr.take().unwrap());
    while !said.contains("`ordain recover --plan DIR...`") {
        assert_ne!(log.read_line(&mut said).unwrap(), 0, "{said}");
    }
    assert!(said.contains("no election succeeds"), "{said}");

    let names: Vec<_> = dirs.iter().map(|dir| dir.to_str().unwrap()).collect();
    let said = ordain(&["recover", "--plan", names[0], names[1]]);
    assert!(said.code == 1 && said.error.contains("a process uses"), "{}", said.error);
    for node in &mut lost {
        node.kill().unwrap();
        node.wait().unwrap();
    }
    let content = |dir: &Path| -> Vec<Vec<u8>> {
        ["node-state", "segment-0000000000000000.log"].map(|name| fs::read(dir.join(name)).unwrap()).to_vec()
    };
    let unread = content(&dirs[0]);
    let said = ordain(&["recover", "--plan", names[0], names[1]]);
    assert!(said.code == 1 && said.out.contains("no election among these nodes can succeed"), "{}", said.out);
    assert!(said.out.contains("unmet       rule R4: of 2 votes 0 are strong; 2 strong ones"), "{}", said.out);
    assert!(said.out.contains("the best log is node 0's"), "{}", said.out);
    assert_eq!(content(&dirs[0]), unread, "a plan writes nothing");
    let force = said.out.lines().find_map(|line| line.strip_prefix("  ordain ")).unwrap().to_owned();
    assert!(force.contains("--i-accept-loss-of 1024-batches"), "{force}");

    // What is not accepted is not done.
    let too_little = force.replace("1024-batches", "10-batches");
    let said = ordain(&too_little.split(' ').collect::<Vec<_>>());
    assert!(
        said.code == 1 && said.error.contains("may lose up to 1024 acknowledged batches"),
        "{}",
        said.error
    );
    assert_eq!(content(&dirs[0]), unread);
    let said = ordain(&force.split(' ').collect::<Vec<_>>());
    assert!(
        said.code == 0 && said.out.starts_with("lineage 2 of the cluster begins with batch"),
        "{}",
        said.error
    );
    let said = ordain(&["recover", "--plan", names[0], names[1]]);
    assert!(said.code == 0 && said.out.contains("lineage 2 began by a declared loss"), "{}", said.out);
    assert!(said.out.contains("node 0 would win"), "{}", said.out);

    let mut nodes: Vec<_> = dirs[..2].iter().map(|dir| Node::spawn(dir, &MEMBER).ready()).collect();
    // Whatever became of the session, the cluster answers, and the client knows that something may be gone.
    until("the client is told", || {
        let _ = set(&mut client, 40);
        client.data_lost().then_some(())
    });
    let mut fresh = Client::connect(&config).unwrap();
    assert!(matches!(set(&mut fresh, 41), Ok(Outcome::Acknowledged { .. })));
    assert!(!fresh.data_lost(), "who comes later lost nothing");
    let keys = fresh.keys().unwrap();
    let has = |number: u8| keys.iter().any(|entry| entry.key == KeyPair::from_seed(&[number; 32]).public().0);
    assert!(has(20) && has(41) && !has(30), "the last batches are gone, the others are not");

    // The third comes back with all that was acknowledged: it is behind no more, and nothing of it is thrown away.
    let whole = content(&dirs[2]);
    let mut third = start(&dirs[2]);
    let status = third.wait().unwrap();
    let mut said = String::new();
    third.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(status.code() == Some(1) && said.contains("lineage 2 of the cluster"), "{said}");
    let kept = fs::read_dir(&dirs[2]).unwrap().map(|entry| entry.unwrap().path());
    let kept = kept
        .filter(|path| path.is_dir() && path.file_name().unwrap().to_str().unwrap().starts_with("lineage-"));
    let kept: Vec<_> = kept.collect();
    assert_eq!(kept.len(), 1);
    assert_eq!(content(&kept[0])[1], whole[1]);
    nodes.push(Node::spawn(&dirs[2], &MEMBER).ready());

    let end = |dir: &Path| {
        let said = ordain(&["journal", "inspect", dir.to_str().unwrap()]);
        said.out.lines().find(|line| line.starts_with("chain")).map(str::to_owned)
    };
    until("all have the same", || {
        let ends: Vec<_> = dirs.iter().map(|dir| end(dir)).collect();
        (ends[0].is_some() && ends[0] == ends[1] && ends[1] == ends[2]).then_some(())
    });
    for node in nodes {
        node.stop();
    }
    let said = ordain(&["journal", "compare", names[0], names[1], names[2]]);
    assert!(said.code == 0 && said.out.ends_with("good\n"), "{}", said.out);
}
