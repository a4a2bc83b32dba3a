//! A node as a child process, for the commands that need one of their own.

use crate::error::{CliError, OrNext, Result};
use ordain_client::{Address, ClientConfig};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a node may take to come up before that counts as a failure: recovery of a large journal included.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running node. Dropping it kills it.
#[derive(Debug)]
pub struct Node {
    child: Child,
    data: PathBuf,
    address: String,
    metrics: String,
    log: PathBuf,
}

/// A port that was free a moment ago.
fn free_port() -> Result<u16> {
    let next = "Check that this machine has a loopback interface.";
    let listener = std::net::TcpListener::bind("127.0.0.1:0").or_next("no port can be had", next)?;
    Ok(listener.local_addr().or_next("no port can be had", next)?.port())
}

impl Node {
    /// Starts a node on `data` with further arguments, and waits until it serves.
    pub fn start(data: &Path, arguments: &[String]) -> Result<Self> {
        let (port, metrics_port) = (free_port()?, free_port()?);
        Self::start_at(data, arguments, &format!("127.0.0.1:{port}"), &format!("127.0.0.1:{metrics_port}"))
    }

    fn start_at(data: &Path, arguments: &[String], address: &str, metrics: &str) -> Result<Self> {
        let next = "Check the permissions of the directory and the free space.";
        let program = std::env::current_exe().or_next("this program's path is not known", next)?;
        std::fs::create_dir_all(data).or_next("the data directory cannot be made", next)?;
        let log = data.with_extension("log");
        let file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)
            .or_next(format!("{} cannot be written", log.display()), next)?;
        let child = Command::new(program)
            .args(["node", "--data"])
            .arg(data)
            .args(["--listen", address, "--metrics", metrics])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .or_next("the node cannot be started", next)?;
        let mut node = Self {
            child,
            data: data.to_owned(),
            address: address.to_owned(),
            metrics: metrics.to_owned(),
            log,
        };
        node.wait_ready()?;
        Ok(node)
    }

    fn wait_ready(&mut self) -> Result<()> {
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(CliError::new(
                    format!("the node ended with {status} before it served"),
                    format!("Read its log: {}", self.log.display()),
                ));
            }
            if self.get("/readyz").is_ok_and(|answer| answer.starts_with("HTTP/1.1 200")) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Err(CliError::new(
            "the node did not come up in time",
            format!("Read its log: {}", self.log.display()),
        ))
    }

    fn get(&self, path: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(&self.metrics)?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    /// A number from the node's metrics, 0 if it has none of that name.
    pub fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").unwrap_or_default();
        text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok()).unwrap_or(0.0)
    }

    /// Processor time of the node so far.
    pub fn cpu(&self) -> Duration {
        Duration::from_secs_f64(self.metric("process_cpu_seconds_total "))
    }

    /// Memory of the node, bytes.
    pub fn resident(&self) -> u64 {
        self.metric("process_resident_memory_bytes ") as u64
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn data(&self) -> &Path {
        &self.data
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    /// How to connect to it as its operator.
    pub fn client(&self) -> Result<ClientConfig> {
        let path = self.data.join(ordain_host::keys::FOLDER).join(ordain_host::keys::OPERATOR);
        let key = ordain_host::keys::load(&path)
            .or_next("no operator key", "Use the data directory of this node.")?;
        Ok(ClientConfig { timeout: PATIENCE, ..ClientConfig::new(Address::Tcp(self.address.clone()), key) })
    }

    /// Kills it at once, as kill -9 does.
    pub fn kill(&mut self) -> Result<()> {
        self.child
            .kill()
            .and_then(|()| self.child.wait())
            .map(drop)
            .or_next("the node cannot be killed", "Try again.")
    }

    /// Starts it again where it was.
    pub fn restart(&mut self, arguments: &[String]) -> Result<()> {
        *self = Self::start_at(&self.data.clone(), arguments, &self.address.clone(), &self.metrics.clone())?;
        Ok(())
    }

    /// Stops it in good order.
    pub fn stop(mut self) -> Result<()> {
        let next = format!("Read its log: {}", self.log.display());
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)
            .or_next("the node cannot be stopped", &next)?;
        let status = self.child.wait().or_next("the node cannot be waited for", &next)?;
        if status.success() {
            Ok(())
        } else {
            Err(CliError::new(format!("the node stopped with {status}"), next))
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
