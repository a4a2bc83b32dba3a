//! A node of our own: this program as a child process.

use crate::error::{CliError, OrNext, Result};
use ordain_client::{ClientConfig, CoreConfig, Member};
use ordain_host::address;
use ordain_host::keys::{self, FOLDER, OPERATOR};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a start may take: recovery of a demonstration's journal takes a second or two.
const START_TIMEOUT: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(1);

/// An address of this machine whose port the system chooses.
pub const ANY_PORT: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0));

/// A directory that goes when the command is done.
pub fn temporary() -> Result<tempfile::TempDir> {
    tempfile::Builder::new()
        .prefix("ordain-")
        .tempdir()
        .or_next("no temporary directory can be made", "Let TMPDIR name a folder that you may write to.")
}

/// A node that runs as long as this lives. Dropped, it is killed.
#[derive(Debug)]
pub struct OwnNode {
    child: Child,
    data: PathBuf,
    address: SocketAddr,
    ops: Option<SocketAddr>,
}

impl OwnNode {
    /// Starts a node on `data` and waits until clients can connect. `listen` is `127.0.0.1:0` for a port that
    /// the system chooses.
    pub fn start(data: &Path, listen: SocketAddr) -> Result<Self> {
        Self::start_with(data, listen, &[])
    }

    /// As [`OwnNode::start`], with further arguments for the node.
    pub fn start_with(data: &Path, listen: SocketAddr, arguments: &[String]) -> Result<Self> {
        let program = std::env::current_exe()
            .or_next("this program's own file is not known", "Start it by its whole path.")?;
        // What a killed node left behind is not this one's.
        let _ = std::fs::remove_file(data.join(address::FILE));
        let mut child = Command::new(program)
            .arg("node")
            .arg("--data")
            .arg(data)
            .args(["--listen", &listen.to_string(), "--metrics", "127.0.0.1:0", "--log-level", "warn"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .or_next("the node cannot be started", "Raise the limit of processes (ulimit -u).")?;
        match wait_until_ready(&mut child, data) {
            Ok((address, ops)) => Ok(Self { child, data: data.to_owned(), address, ops }),
            Err(error) => {
                end(&mut child);
                Err(error)
            }
        }
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The file of its operator's key, which may do everything.
    pub fn operator_key(&self) -> PathBuf {
        self.data.join(FOLDER).join(OPERATOR)
    }

    /// How its operator connects.
    pub fn operator(&self) -> Result<ClientConfig> {
        client(&self.address.to_string(), &self.operator_key())
    }

    /// A number from the node's metrics, 0 if it has none of that name.
    pub fn metric(&self, name: &str) -> f64 {
        let text = self.ops.and_then(|ops| get(ops, "/metrics").ok()).unwrap_or_default();
        let number = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok();
        text.lines().find_map(number).unwrap_or(0.0)
    }

    /// Kills it with SIGKILL, as a crash of the process would.
    pub fn kill(mut self) {
        end(&mut self.child);
    }

    /// Asks it to stop, and waits until it has.
    pub fn stop(mut self) -> Result<()> {
        let next = "Its log on standard error says why. The journal is kept; the next start recovers.";
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).or_next("the node cannot be told to stop", next)?;
        let status = self.child.wait().or_next("the node's end cannot be awaited", next)?;
        if status.success() {
            Ok(())
        } else {
            Err(CliError::new(format!("the node did not stop cleanly ({status})"), next))
        }
    }
}

impl Drop for OwnNode {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

fn get(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn end(child: &mut Child) {
    // Both fail only if the process is gone already.
    let _ = child.kill();
    let _ = child.wait();
}

fn wait_until_ready(child: &mut Child, data: &Path) -> Result<(SocketAddr, Option<SocketAddr>)> {
    let next = "Its log on standard error says why.";
    let deadline = Instant::now() + START_TIMEOUT;
    while Instant::now() < deadline {
        let addresses = address::read(data).or_next("the node's address cannot be read", next)?;
        if let Some(addresses) = addresses
            && let Some(tcp) = addresses.tcp.first()
        {
            return Ok((*tcp, addresses.ops));
        }
        let ended = child.try_wait().or_next("the node cannot be watched", next)?;
        if let Some(status) = ended {
            return Err(CliError::new(format!("the node ended while it started ({status})"), next));
        }
        std::thread::sleep(LOOK);
    }
    Err(CliError::new(format!("the node was not ready within {} s", START_TIMEOUT.as_secs()), next))
}

/// Checks an address on the command line.
pub fn address(text: &str) -> std::result::Result<String, String> {
    let is_tcp = |text: &str| {
        text.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
    };
    if text.strip_prefix("unix:").map_or(is_tcp(text), |path| !path.is_empty()) {
        Ok(text.to_owned())
    } else {
        Err("an address is HOST:PORT or unix:PATH".to_owned())
    }
}

/// How to connect to `address` with the key of a file.
pub fn client(address: &str, key: &Path) -> Result<ClientConfig> {
    let next = "Give --key the key file of an operator, for instance DATA/keys/operator.key of the node.";
    let key = keys::load(key).or_next("the key cannot be used", next)?;
    Ok(ClientConfig::new(vec![Member::at(address)], CoreConfig::new(key)))
}
