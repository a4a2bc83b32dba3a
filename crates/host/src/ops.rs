//! A small HTTP server for operators and their tools: `/metrics`, `/healthz`, `/readyz`. Not for clients, and
//! without authentication: it tells numbers and changes nothing.
//!
//! A thread accepts, and each of at most [`CONNECTIONS`] requests at a time has a thread for at most
//! [`PATIENCE`]; requests are of at most [`REQUEST`] bytes. One request per connection.

use crate::doorbell::Doorbell;
use crate::runner::Pulse;
use ordain_agent::metrics::Registry;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Requests at a time; scrapers and probes are few.
const CONNECTIONS: usize = 8;

/// Longest request, bytes: only its first line matters.
const REQUEST: usize = 4096;

/// Time for a request to arrive, and again for its answer to leave.
const PATIENCE: Duration = Duration::from_secs(2);

/// A thread of agents that has not gone round for this long is stuck: idle ones do so every second.
const STUCK: Duration = Duration::from_secs(5);

/// What the server tells about.
pub struct Subjects {
    /// The node's numbers.
    pub registry: Registry,
    /// The agents' threads.
    pub pulse: Pulse,
    /// Whether clients are served, in words; if not, why.
    pub ready: Box<dyn Fn() -> Result<String, &'static str> + Send + Sync>,
}

/// The server; ends when dropped.
#[derive(Debug)]
pub struct OpsServer {
    address: SocketAddr,
    stopped: Arc<AtomicBool>,
    bell: Arc<Doorbell>,
    thread: Option<JoinHandle<()>>,
}

impl OpsServer {
    /// Listens on `address`.
    ///
    /// # Errors
    /// The operating system's.
    pub fn start(address: SocketAddr, subjects: Subjects) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let stopped = Arc::new(AtomicBool::new(false));
        let bell = Doorbell::new()?;
        bell.watch(&listener)?;
        let (stop, wake) = (stopped.clone(), bell.clone());
        let thread = std::thread::Builder::new()
            .name("ops".to_owned())
            .spawn(move || serve(&listener, &Arc::new(subjects), &stop, &wake))?;
        Ok(Self { address, stopped, bell, thread: Some(thread) })
    }

    /// The address listened on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for OpsServer {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Release);
        self.bell.wake();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was reported by the panic hook; a drop has nobody to tell.
            let _ = thread.join();
        }
    }
}

fn serve(listener: &TcpListener, subjects: &Arc<Subjects>, stopped: &AtomicBool, bell: &Doorbell) {
    let active = Arc::new(AtomicUsize::new(0));
    while !stopped.load(Ordering::Acquire) {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                bell.wait(Duration::from_secs(60));
                continue;
            }
            Err(error) => {
                tracing::warn!(%error, "operations server cannot accept a connection for a moment");
                std::thread::sleep(Duration::from_millis(100));
                continue;
            }
        };
        if active.fetch_add(1, Ordering::AcqRel) >= CONNECTIONS {
            active.fetch_sub(1, Ordering::AcqRel);
            continue;
        }
        let place = Place(active.clone());
        let subjects = subjects.clone();
        let request = move || {
            // A client that breaks off is its own affair.
            let _ = answer(stream, &subjects);
            drop(place);
        };
        if let Err(error) = std::thread::Builder::new().name("ops-request".to_owned()).spawn(request) {
            tracing::warn!(%error, "operations server cannot start a thread");
        }
    }
}

/// One of the requests at a time.
struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

fn answer(mut stream: TcpStream, subjects: &Subjects) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut request = [0; REQUEST];
    let length = receive(&mut stream, &mut request)?;
    let (status, body) = respond(&request[..length], subjects);
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())
}

/// Reads to the end of the request's head, to the bound or to the end of patience.
fn receive(stream: &mut TcpStream, request: &mut [u8]) -> std::io::Result<usize> {
    let deadline = Instant::now() + PATIENCE;
    let mut length = 0;
    while length < request.len() && !request[..length].windows(4).any(|end| end == b"\r\n\r\n") {
        let left = deadline.saturating_duration_since(Instant::now());
        // A time-out of zero would mean none.
        stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        match stream.read(&mut request[length..])? {
            0 => break,
            bytes => length += bytes,
        }
    }
    Ok(length)
}

fn respond(request: &[u8], subjects: &Subjects) -> (&'static str, String) {
    const OK: &str = "200 OK";
    const UNAVAILABLE: &str = "503 Service Unavailable";
    let line = request.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let mut words = line.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(b"HTTP/1.0" | b"HTTP/1.1"), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return ("400 Bad Request", "this is no HTTP request\n".to_owned());
    };
    if method != b"GET" {
        return ("405 Method Not Allowed", "only GET is known here\n".to_owned());
    }
    match target.split(|byte| *byte == b'?').next().unwrap_or_default() {
        b"/metrics" => (OK, subjects.registry.render() + &process()),
        b"/healthz" => match subjects.pulse.slowest() {
            Some((thread, age)) if age > STUCK => {
                (UNAVAILABLE, format!("thread {thread} has not gone round for {} s\n", age.as_secs()))
            }
            _ => (OK, "alive\n".to_owned()),
        },
        b"/readyz" => match (subjects.ready)() {
            Ok(text) => (OK, text),
            Err(why) => (UNAVAILABLE, format!("{why}\n")),
        },
        _ => ("404 Not Found", "known are /metrics, /healthz and /readyz\n".to_owned()),
    }
}

/// What the operating system counts for this process, in the metrics format.
#[must_use]
pub fn process() -> String {
    let mut text = String::new();
    let mut metric = |name: &str, kind: &str, help: &str, value: Option<String>| {
        if let Some(value) = value {
            writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}")
                .expect("writing to a string cannot fail");
        }
    };
    let cpu = cpu_time().map(|time| format!("{:.2}", time.as_secs_f64()));
    metric("process_cpu_seconds_total", "counter", "CPU time used.", cpu);
    let rss = resident_bytes().map(|bytes| bytes.to_string());
    metric("process_resident_memory_bytes", "gauge", "Resident memory.", rss);
    let files = std::fs::read_dir("/proc/self/fd").ok().map(|files| files.count().to_string());
    metric("process_open_fds", "gauge", "Open file descriptors.", files);
    text
}

/// CPU time that this process has used, user and system together.
#[must_use]
pub fn cpu_time() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name in parentheses may hold spaces; utime and stime are fields 14 and 15 of proc(5).
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    let per_second = rustix::param::clock_ticks_per_second();
    Some(Duration::from_millis(ticks * 1000 / per_second))
}

/// Resident memory of this process, bytes.
#[must_use]
pub fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}
