//! A process around small stages: start, operation, stop.

use ordain_agent::disk::{Disk, DiskOp, FileId};
use ordain_agent::net::{Net, NetEvent};
use ordain_agent::shared::Shared;
use ordain_agent::{Agent, Fatal};
use ordain_host::config::ServerConfig;
use ordain_host::disk::FileDisk;
use ordain_host::net::EpollNet;
use ordain_host::server::{Addresses, Hooks, Ports, ServerError, StopHandle, serve};
use ordain_types::Now;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// Sends back what it receives. Closes when the journal has closed.
struct Echo {
    net: EpollNet,
    events: Vec<NetEvent>,
    cursors: Shared,
}

impl Agent for Echo {
    fn name(&self) -> &'static str {
        "gateway"
    }

    fn do_work(&mut self, _now: Now, limit: usize) -> Result<usize, Fatal> {
        let work = self.net.poll(&mut self.events, limit);
        for event in self.events.drain(..) {
            if let NetEvent::Received(conn) = event {
                let bytes = self.net.received(conn).to_vec();
                if bytes.starts_with(b"die") {
                    return Err(Fatal::new("a client asked for it", "Ask it not to"));
                }
                self.net.consume(conn, bytes.len());
                self.net.send(conn, &bytes);
            }
        }
        self.net.flush();
        self.cursors.gateway_closed.store(self.cursors.journal_closed.load());
        Ok(work)
    }
}

/// Stores something durably when it is told to stop, unless it hangs.
struct Keeper {
    lane: FileDisk,
    cursors: Shared,
    submitted: bool,
    hangs: bool,
}

impl Agent for Keeper {
    fn name(&self) -> &'static str {
        "journal"
    }

    fn do_work(&mut self, _now: Now, _limit: usize) -> Result<usize, Fatal> {
        if let Some(done) = self.lane.poll() {
            done.result.map_err(|error| Fatal::new(error.to_string(), "none"))?;
            self.cursors.journal_closed.store(1);
            return Ok(1);
        }
        if self.cursors.is_stopping() && !self.submitted && !self.hangs {
            self.lane.submit(DiskOp::Create { tag: 0, file: FileId::NodeState, size: 64 });
            self.submitted = true;
            return Ok(1);
        }
        Ok(0)
    }
}

struct Node {
    stop: StopHandle,
    ready: Receiver<Addresses>,
    thread: JoinHandle<Result<(), ServerError>>,
}

fn start(data: &Path, hangs: bool, arguments: &[&str]) -> Node {
    let fixed =
        ["node", "--data", data.to_str().unwrap(), "--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0"];
    let config = ServerConfig::try_parse_from(fixed.iter().chain(arguments)).unwrap().validate().unwrap();
    let stop = StopHandle::new().unwrap();
    let (tell, ready) = channel();
    let on_ready = Box::new(move |addresses| tell.send(addresses).unwrap());
    let hooks = Hooks { on_ready, stop: stop.clone() };
    let build = move |ports: Ports| -> Result<Vec<Box<dyn Agent>>, Fatal> {
        let lane = ports.lane("journal", "journal-io", 4)?;
        ports.registry.counter("ordain_tests_total", "Tests.").set(7);
        ports.cursors.leader.store(1);
        let cursors = ports.cursors.clone();
        Ok(vec![
            Box::new(Echo { net: ports.net, events: Vec::new(), cursors: cursors.clone() }),
            Box::new(Keeper { lane, cursors, submitted: false, hangs }),
        ])
    };
    let thread = std::thread::spawn(move || serve(&config, &["gateway", "journal"], build, Some(hooks)));
    Node { stop, ready, thread }
}

impl Node {
    fn ready(&self) -> Addresses {
        self.ready.recv_timeout(Duration::from_secs(60)).expect("the node did not become ready")
    }

    fn end(self) -> Result<(), ServerError> {
        self.thread.join().unwrap()
    }
}

fn echo(address: SocketAddr, bytes: &[u8]) {
    let mut client = TcpStream::connect(address).unwrap();
    client.write_all(bytes).unwrap();
    let mut back = vec![0; bytes.len()];
    client.read_exact(&mut back).unwrap();
    assert_eq!(back, bytes);
}

fn http(address: SocketAddr, request: &[u8]) -> String {
    let mut client = TcpStream::connect(address).unwrap();
    client.write_all(request).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_node_serves_and_stops_gracefully() {
    for mode in ["compact", "dedicated"] {
        let temp = tempfile::tempdir().unwrap();
        let node = start(temp.path(), false, &["--mode", mode]);
        let addresses = node.ready();
        echo(addresses.tcp[0], b"hello");
        assert!(temp.path().join("facts").exists());
        node.stop.stop();
        node.end().unwrap();
        assert!(temp.path().join("node-state").exists(), "stopped before the journal had closed");
        // Nothing is held any more.
        let node = start(temp.path(), false, &["--mode", mode]);
        node.ready();
        node.stop.stop();
        node.end().unwrap();
    }
}

#[test]
fn operators_see_numbers_health_and_readiness() {
    let temp = tempfile::tempdir().unwrap();
    let node = start(temp.path(), true, &[]);
    let ops = node.ready().ops.unwrap();
    let check = |request: &str, status: &str, part: &str| {
        let answer = http(ops, request.as_bytes());
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.contains(part),
            "{request}: {answer}"
        );
    };
    check("GET /metrics HTTP/1.1\r\n\r\n", "200", "\nordain_tests_total 7\n");
    check("GET /metrics HTTP/1.1\r\n\r\n", "200", "\nprocess_resident_memory_bytes ");
    check("GET /healthz?verbose HTTP/1.0\r\nHost: x\r\n\r\n", "200", "alive");
    check("GET /readyz HTTP/1.1\r\n\r\n", "200", "serving");
    check("POST /readyz HTTP/1.1\r\n\r\n", "405", "GET");
    check("GET /etc/passwd HTTP/1.1\r\n\r\n", "404", "known are");
    check("\u{16}\u{3}\u{1}\r\n\r\n", "400", "no HTTP");
    // Longer than any request may be: answered or cut off, and the server lives.
    let mut flood = TcpStream::connect(ops).unwrap();
    let _ = flood.write_all(&[b'x'; 1 << 16]);
    let _idle: Vec<_> = (0..3).map(|_| TcpStream::connect(ops).unwrap()).collect();
    check("GET /healthz HTTP/1.1\r\n\r\n", "200", "alive");
    node.stop.stop();
    let stopping = || http(ops, b"GET /readyz HTTP/1.1\r\n\r\n").contains("503");
    while !stopping() {}
    node.stop.stop();
    assert!(matches!(node.end(), Err(ServerError::StoppedAtOnce)));
}

#[test]
fn a_second_request_stops_at_once_and_time_does_too() {
    let temp = tempfile::tempdir().unwrap();
    let node = start(temp.path(), true, &["--stop-timeout", "1h"]);
    node.ready();
    node.stop.stop();
    node.stop.stop();
    assert!(matches!(node.end(), Err(ServerError::StoppedAtOnce)));
    let node = start(temp.path(), true, &["--stop-timeout", "1ms"]);
    node.ready();
    node.stop.stop();
    let error = node.end().unwrap_err();
    assert!(matches!(error, ServerError::StopTimeout(_)));
    assert_eq!(error.exit_code(), 3);
}

#[test]
fn a_fatal_stage_ends_the_node_with_its_reason() {
    let temp = tempfile::tempdir().unwrap();
    let node = start(temp.path(), false, &["--mode", "dedicated"]);
    TcpStream::connect(node.ready().tcp[0]).unwrap().write_all(b"die").unwrap();
    let error = node.end().unwrap_err();
    assert_eq!(error.to_string(), "gateway stopped the node: a client asked for it. Ask it not to");
    assert_eq!(error.exit_code(), 1);
}

#[test]
fn a_start_that_cannot_succeed_says_why() {
    let temp = tempfile::tempdir().unwrap();
    let node = start(temp.path(), false, &["--segment-size", "1MiB"]);
    let addresses = node.ready();
    let check = |data: &Path, arguments: &[&str], part: &str| {
        let error = start(data, false, arguments).end().unwrap_err();
        assert!(error.to_string().contains(part), "{error}");
        assert_eq!(error.exit_code(), 2);
    };
    check(temp.path(), &[], "is in use by process");
    let other = tempfile::tempdir().unwrap();
    let taken = addresses.tcp[0].to_string();
    check(other.path(), &["--listen", &taken], "cannot listen on");
    check(other.path(), &["--group", "egress"], "no agent is called \"egress\"");
    check(other.path(), &["--ring-size", "1MiB"], "ring-size: a multiple");
    check(other.path(), &["--window", "9"], "is window = 1024, configured window = 9");
    node.stop.stop();
    node.end().unwrap();
}

#[test]
fn signals_stop_a_node() {
    use rustix::process::{Signal, getpid, kill_process};
    // Signals are the process's: this test needs one for itself.
    if std::env::var_os("ORDAIN_TEST_ALONE").is_none() {
        let mut alone = std::process::Command::new(std::env::current_exe().unwrap());
        alone.env("ORDAIN_TEST_ALONE", "1").args(["--exact", "signals_stop_a_node"]);
        let output = alone.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let node = start(temp.path(), false, &[]);
    node.ready();
    kill_process(getpid(), Signal::TERM).unwrap();
    node.end().unwrap();

    let node = start(temp.path(), true, &["--stop-timeout", "1h"]);
    node.ready();
    kill_process(getpid(), Signal::INT).unwrap();
    kill_process(getpid(), Signal::TERM).unwrap();
    assert!(matches!(node.end(), Err(ServerError::StoppedAtOnce)));
}
