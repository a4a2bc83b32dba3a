//! Three real processes, one of which computes something else: it stops, says where, and does not start again, and the
//! others go on (`docs/adr/0019-divergence.md`).

#[allow(dead_code, reason = "each test program uses a part of it")]
mod common;

use common::cluster::{Cluster, MEMBER, until};
use common::{Node, command, ordain};
use ordain_api::{Application, Buf, ResponseEncoder};
use ordain_exchange_server::{ExchangeDecoder, ExchangeEncoder, ExchangeFactory};
use ordain_host::config::ServerConfig;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// Names the data directory of the odd node to the process that runs it.
const DATA: &str = "ORDAIN_TEST_ODD_DATA";

/// Looks for the file every so many replies.
const LOOK: u32 = 64;

/// The exchange's encoder on a machine that flips a bit of each reply as long as a file exists.
#[derive(Clone)]
struct Odd {
    while_exists: PathBuf,
    replies: &'static AtomicU32,
    is_odd: &'static AtomicU32,
}

impl<A: Application> ResponseEncoder<A> for Odd
where
    ExchangeEncoder: ResponseEncoder<A>,
{
    fn reply(&self, reply: &A::Reply, out: &mut Buf<'_>) {
        if self.replies.fetch_add(1, Ordering::Relaxed).is_multiple_of(LOOK) {
            self.is_odd.store(u32::from(self.while_exists.exists()), Ordering::Relaxed);
        }
        let mut space = [0; 1024];
        let mut sound = Buf::new(&mut space);
        ExchangeEncoder.reply(reply, &mut sound);
        let mut bytes = sound.written().to_vec();
        if let Some(last) = bytes.last_mut().filter(|_| self.is_odd.load(Ordering::Relaxed) == 1) {
            *last ^= 1;
        }
        out.put(&bytes);
    }

    fn answer(&self, answer: &A::Answer, out: &mut Buf<'_>) {
        ExchangeEncoder.answer(answer, out);
    }

    fn output(&self, output: &A::Output, out: &mut Buf<'_>) {
        ExchangeEncoder.output(output, out);
    }
}

/// No test: a node, for the process that the test starts.
#[test]
#[ignore = "it is the odd node of the test below"]
fn the_odd_node() {
    static REPLIES: AtomicU32 = AtomicU32::new(0);
    static IS_ODD: AtomicU32 = AtomicU32::new(0);
    let Ok(data) = std::env::var(DATA) else { return };
    let config = format!("data = {data:?}\nmetrics = \"127.0.0.1:0\"\nlog-level = \"error\"\n");
    let config = ServerConfig::from_toml(&config).unwrap();
    let odd = Odd { while_exists: Path::new(&data).join("odd"), replies: &REPLIES, is_odd: &IS_ODD };
    let code = match ordain_host::run(config, ExchangeFactory::default(), ExchangeDecoder, odd, None) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("{error}");
            error.exit_code()
        }
    };
    std::process::exit(code.into());
}

#[test]
fn a_node_that_computes_something_else_stops_and_the_others_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::new(&folder.path().join("cluster"), 0);
    let mut load = cluster.endless_load();
    load.goes_on();
    let leader = cluster.leader();
    let odd = (leader + 1) % 3;
    cluster.nodes[odd].take().unwrap().stop();
    let data = cluster.data(odd);
    // The arguments behind the two dashes are no business of whoever runs tests.
    let mut run = Command::new(std::env::current_exe().unwrap());
    run.args(["--exact", "the_odd_node", "--ignored", "--nocapture", "--"]).env(DATA, &data);
    run.stdout(Stdio::null()).stderr(std::fs::File::create(folder.path().join("said")).unwrap());
    cluster.nodes[odd] = Some(Node::launch(&data, &mut run).ready());
    cluster.caught_up(odd);
    load.goes_on();

    std::fs::write(data.join("odd"), "").unwrap();
    let mut node = cluster.nodes[odd].take().unwrap();
    let code = until("the odd node stops", || node.child.try_wait().unwrap()).code();
    drop(node);
    let said = std::fs::read_to_string(folder.path().join("said")).unwrap();
    assert_eq!(code, Some(1), "{said}");
    let (is_named, at) = (said.contains("this node has diverged"), "the output hash at batch ");
    assert!(is_named && said.contains(at) && said.contains("records "), "{said}");
    let evidence = std::fs::read_to_string(data.join("diverged")).unwrap();
    let text = evidence.trim_matches('\0');
    assert!(said.contains(text) && text.starts_with(&format!("node {odd}: {at}")), "{said}\n{text}");
    load.goes_on();

    // The cause is gone, and all the same it does not start beside the evidence.
    std::fs::remove_file(data.join("odd")).unwrap();
    let again = command(&MEMBER).arg("--data").arg(&data).output().unwrap();
    let again = (again.status.code(), String::from_utf8_lossy(&again.stderr).into_owned());
    assert!(again.0 == Some(1) && again.1.contains(text), "{again:?}");
    // The journal was never wrong: what the operator finds out with the command that the text names.
    let mut dirs = vec![data.to_str().unwrap().to_owned()];
    load.finish();
    cluster.settle();
    for node in (0..3).filter(|node| *node != odd) {
        cluster.nodes[node].take().unwrap().stop();
        dirs.push(cluster.data(node).to_str().unwrap().to_owned());
    }
    let compare: Vec<_> = ["journal", "compare"].into_iter().chain(dirs.iter().map(String::as_str)).collect();
    let said = ordain(&compare);
    assert!(said.code == 0 && said.out.ends_with("good\n"), "{}", said.out);
}
