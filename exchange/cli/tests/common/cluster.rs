//! Clusters of real processes.
#![allow(dead_code, reason = "each test program uses a part of it")]

use super::{Node, Said, command, ordain};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Stdio};
use std::time::{Duration, Instant};

pub const MEMBER: [&str; 5] = ["node", "--metrics", "127.0.0.1:0", "--log-level", "error"];

/// A cluster of three on a loopback address of this test's own, where fixed ports are free.
pub struct Cluster {
    pub dir: PathBuf,
    /// Where clients reach its first members.
    pub clients: String,
    pub nodes: Vec<Option<Node>>,
    /// Which of this process's clusters it is.
    test: usize,
    /// What each node is started with.
    arguments: Vec<&'static str>,
}

/// Peer and client address of each node. `test` tells the clusters of this process apart.
pub fn addresses(test: usize) -> Vec<String> {
    (0..3).map(|node| address(test, node)).collect()
}

/// The same of any node.
pub fn address(test: usize, node: usize) -> String {
    let [_, a, b, c] = std::process::id().to_be_bytes();
    let base = 7000 + 100 * test + 10 * node;
    let address = |port: usize| format!("127.{}.{b}.{c}:{port}", a | 0x40);
    format!("{},{}", address(base), address(base + 1))
}

pub fn init(dir: &Path, members: &[String]) -> Said {
    let mut arguments =
        vec!["cluster", "init", "--dir", dir.to_str().unwrap(), "--fact", "segment-size=1MiB"];
    members.iter().for_each(|member| arguments.extend(["--member", member.as_str()]));
    ordain(&arguments)
}

impl Cluster {
    pub fn new(dir: &Path, test: usize) -> Self {
        Self::with(dir, test, &[])
    }

    /// One whose nodes are given more arguments.
    pub fn with(dir: &Path, test: usize, more: &[&'static str]) -> Self {
        let members = addresses(test);
        let said = init(dir, &members);
        assert_eq!(said.code, 0, "{}", said.error);
        assert!(said.out.contains("answers leave with 2 copies, 1 of them synced"), "{}", said.out);
        let clients: Vec<_> = members.iter().map(|member| member.split_once(',').unwrap().1).collect();
        let clients = clients.join(",");
        assert!(said.out.ends_with(&format!("Clients connect to {clients}\n")), "{}", said.out);
        let arguments = [&MEMBER, more].concat();
        let mut cluster = Self { dir: dir.to_owned(), clients, nodes: Vec::new(), test, arguments };
        let spawned: Vec<_> = (0..3).map(|node| cluster.spawn(node)).collect();
        cluster.nodes = spawned.into_iter().map(|node| Some(node.ready())).collect();
        cluster
    }

    pub fn data(&self, node: usize) -> PathBuf {
        self.dir.join(format!("node-{node}"))
    }

    /// While this file exists, the node's disk syncs nothing.
    pub fn stall(&self, node: usize) -> PathBuf {
        self.dir.join(format!("stall-{node}"))
    }

    fn log_file(&self, node: usize) -> PathBuf {
        self.dir.join(format!("log-{node}"))
    }

    /// What a node's log says, errors alone.
    pub fn log(&self, node: usize) -> String {
        std::fs::read_to_string(self.log_file(node)).unwrap()
    }

    fn spawn(&self, node: usize) -> Node {
        let log = File::options().create(true).append(true).open(self.log_file(node)).unwrap();
        let mut command = command(&self.arguments);
        command.arg("--stall-while").arg(self.stall(node)).stderr(log);
        Node::launch(&self.data(node), &mut command)
    }

    pub fn status(&self, node: usize) -> Option<String> {
        let ops = self.nodes[node].as_ref()?.address("ops");
        let said = ordain(&["cluster", "status", &ops]);
        (said.code == 0).then_some(said.out)
    }

    /// Waits until a node leads to which the other nodes that live are connected.
    pub fn leader(&self) -> usize {
        let others = self.nodes.iter().flatten().count() - 1;
        let leads = |status: String| {
            status.starts_with("this node  leads")
                && status.matches("     connected, received").count() == others
        };
        let all = 0..self.nodes.len();
        until("a node leads", || all.clone().find(|node| self.status(*node).is_some_and(leads)))
    }

    pub fn kill(&mut self, node: usize) {
        let mut node = self.nodes[node].take().unwrap();
        node.child.kill().unwrap();
        node.child.wait().unwrap();
    }

    pub fn restart(&mut self, node: usize) {
        self.nodes[node] = Some(self.spawn(node).ready());
    }

    /// Stops a node as an operator would.
    pub fn terminate(&mut self, node: usize) {
        self.nodes[node].take().unwrap().stop();
    }

    /// Waits until a node stops by itself, because it was removed.
    pub fn leaves(&mut self, node: usize) {
        let mut child = self.nodes[node].take().unwrap();
        let status = until("the node stops", || child.child.try_wait().unwrap());
        let said = self.log(node);
        assert_eq!(status.code(), Some(2), "{said}");
        let expected = format!("this node, number {node}, was removed from the cluster");
        assert!(said.contains(&expected), "{said}");
    }

    /// Makes a new node, whose number will be `id`, starts it, and waits until it has the log. `asked` is told.
    pub fn join(&mut self, asked: usize, id: usize) {
        let dir = self.data(id).to_str().unwrap().to_owned();
        let member = address(self.test, id);
        let said = self.operated(asked, &["add", "--dir", &dir, "--member", &member]);
        let role = |said: &serde_json::Value| {
            let members = said["members"].as_array().unwrap();
            members.iter().find(|member| member["id"] == id).map(|member| member["role"].clone())
        };
        assert_eq!(role(&said), Some("learner".into()), "{said}");
        // Run again it is the same, and nobody is added twice.
        let again = self.operated(asked, &["add", "--dir", &dir, "--member", &member]);
        assert_eq!((&again["members"], &again["batch"]), (&said["members"], &serde_json::Value::Null));
        while self.nodes.len() <= id {
            self.nodes.push(None);
        }
        self.restart(id);
        self.caught_up(id);
    }

    /// The numbers of the members, as a node says.
    pub fn members(&self, asked: usize) -> Vec<u64> {
        let said = self.operated(asked, &["status"]);
        said["members"].as_array().unwrap().iter().map(|member| member["id"].as_u64().unwrap()).collect()
    }

    /// Addresses for clients of these nodes.
    pub fn clients_of(&self, nodes: &[usize]) -> String {
        let client = |node: &usize| address(self.test, *node).split_once(',').unwrap().1.to_owned();
        nodes.iter().map(client).collect::<Vec<_>>().join(",")
    }

    /// What `ordain cluster` says to its operator, who knows this node alone.
    pub fn operate(&self, node: usize, arguments: &[&str]) -> Said {
        let key = self.dir.join("operator.key");
        let tcp = self.nodes[node].as_ref().unwrap().address("tcp");
        let given = ["--connect", &tcp, "--key", key.to_str().unwrap(), "--json"];
        let patient: &[&str] = if arguments.contains(&"--patience") { &[] } else { &["--patience", "60"] };
        ordain(&[&["cluster"], arguments, &given, patient].concat())
    }

    /// The same of a command that succeeds.
    #[track_caller]
    pub fn operated(&self, node: usize, arguments: &[&str]) -> serde_json::Value {
        let said = self.operate(node, arguments);
        assert_eq!(said.code, 0, "{arguments:?}: {}", said.error);
        serde_json::from_str(&said.out).unwrap()
    }

    /// Waits until every node that lives has everything, as the leader sees it.
    pub fn settle(&self) {
        let leader = self.leader();
        let others = self.nodes.iter().flatten().count() - 1;
        until("all have all", || {
            let status = self.status(leader)?;
            (status.matches("(0 behind), synced").count() == others).then_some(())
        });
    }

    /// Waits until a node has executed nearly all that was committed when this was called.
    pub fn caught_up(&self, node: usize) {
        let committed = |node: usize| -> Option<u64> {
            let status = self.status(node)?;
            status.split("committed ").nth(1)?.lines().next()?.trim().parse().ok()
        };
        let others = || (0..self.nodes.len()).filter(|other| *other != node).filter_map(committed).max();
        let goal = until("others say how far they are", others);
        until("the node has what the others had", || (committed(node)? >= goal).then_some(()));
    }

    /// Stops the nodes one by one, the leader first.
    pub fn stop(&mut self) {
        let leader = self.leader();
        let count = self.nodes.len();
        for node in (0..count).map(|node| (leader + node) % count) {
            if let Some(node) = self.nodes[node].take() {
                node.stop();
            }
        }
    }

    /// Looks for all that the load was told in each of these journals, and compares them; their directories.
    pub fn audit_of(&self, nodes: &[usize]) -> Vec<String> {
        let dirs: Vec<_> = nodes.iter().map(|node| self.data(*node).to_str().unwrap().to_owned()).collect();
        let acks = self.dir.join("acks");
        for dir in &dirs {
            let said = ordain(&["audit", "--acks", acks.to_str().unwrap(), dir]);
            assert!(said.code == 0 && said.out.contains(" 0 missing, 0 differing;"), "{}", said.out);
            assert!(!said.out.starts_with("0 acknowledgements"), "{}", said.out);
        }
        let compared = [&["journal", "compare"], &dirs.iter().map(String::as_str).collect::<Vec<_>>()[..]];
        let said = ordain(&compared.concat());
        assert!(said.code == 0 && said.out.ends_with("good\n"), "{}", said.out);
        dirs
    }

    /// The same of the first three.
    pub fn audit(&self) -> Vec<String> {
        self.audit_of(&[0, 1, 2])
    }

    /// Clients with orders, until [`Load::finish`].
    pub fn endless_load(&self) -> Load {
        let _ = std::fs::remove_file(self.dir.join("enough"));
        self.load_until(3600, Some(self.dir.join("enough")))
    }

    pub fn load(&self, seconds: u64) -> Load {
        self.load_until(seconds, None)
    }

    fn load_until(&self, seconds: u64, until: Option<PathBuf>) -> Load {
        let (key, acks) = (self.dir.join("operator.key"), self.dir.join("acks"));
        let mut load = command(&["load", "--connect", &self.clients, "--connections", "2", "--window", "16"]);
        load.args(["--accounts", "200", "--instruments", "5", "--seconds", &seconds.to_string()]);
        load.arg("--key").arg(key).arg("--acks").arg(acks);
        if let Some(until) = &until {
            load.arg("--until").arg(until);
        }
        let mut child = load.stdout(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Load { child, out, until }
    }
}

/// Clients with orders, as long as this lives.
pub struct Load {
    pub child: Child,
    out: BufReader<ChildStdout>,
    until: Option<PathBuf>,
}

impl Load {
    /// What it says next, about once a second; `None` at its end.
    pub fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        (self.out.read_line(&mut line).unwrap() > 0).then_some(line)
    }

    /// Waits until clients have been answered for a while behind this call.
    #[track_caller]
    pub fn goes_on(&mut self) {
        // What was said before lies in the pipe: of two lines, the second is about what comes after the first.
        let mut answered = 0;
        let since = Instant::now();
        while answered < 2 || since.elapsed() < Duration::from_millis(1500) {
            let line = self.line().expect("the load goes on");
            let said: serde_json::Value = serde_json::from_str(&line).unwrap();
            answered += u32::from(said["rate"].as_u64().unwrap() > 0);
            assert_eq!(said["lost"], 0, "{line}");
        }
    }

    /// Ends it, or waits for its end; nothing was refused or of unknown fate.
    #[track_caller]
    pub fn finish(&mut self) -> serde_json::Value {
        if let Some(until) = &self.until {
            std::fs::write(until, "").unwrap();
        }
        let last = std::iter::from_fn(|| self.line()).last().expect("the load says how it went");
        let last: serde_json::Value = serde_json::from_str(&last).unwrap();
        assert!(last["is_total"] == true && last["lost"] == 0, "{last}");
        assert!(self.child.wait().unwrap().success());
        last
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Generous: it ends a test that would never end, and decides nothing else.
#[track_caller]
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let patience = Instant::now() + Duration::from_secs(120);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < patience, "it never came that {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
