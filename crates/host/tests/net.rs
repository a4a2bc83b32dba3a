//! The network port on real loopback sockets.

use ordain_agent::net::{ConnId, Net, NetEvent};
use ordain_host::doorbell::Doorbell;
use ordain_host::net::{EpollNet, NetOptions};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

struct Server {
    net: EpollNet,
    bell: Arc<Doorbell>,
    events: Vec<NetEvent>,
}

impl Server {
    fn start(change: impl FnOnce(&mut NetOptions)) -> Self {
        let mut options = NetOptions { tcp: vec!["127.0.0.1:0".parse().unwrap()], ..NetOptions::default() };
        change(&mut options);
        let bell = Doorbell::new().unwrap();
        Self { net: EpollNet::new(options, &bell).unwrap(), bell, events: Vec::new() }
    }

    fn connect(&self) -> TcpStream {
        TcpStream::connect(self.net.tcp_addresses()[0]).unwrap()
    }

    /// The next event, waiting as a runner does: an event that rings nobody is lost.
    fn next(&mut self) -> NetEvent {
        loop {
            self.bell.announce();
            if self.net.poll(&mut self.events, 1) == 1 {
                self.bell.withdraw();
                return self.events.pop().unwrap();
            }
            assert!(self.bell.wait(Duration::from_secs(60)), "an event did not wake the thread");
        }
    }

    fn opened(&mut self) -> ConnId {
        match self.next() {
            NetEvent::Opened(conn) => conn,
            other => panic!("{other:?} instead of a connection"),
        }
    }

    /// Receives until `length` bytes are there, without consuming any.
    fn receive(&mut self, conn: ConnId, length: usize) {
        while self.net.received(conn).len() < length {
            assert_eq!(self.next(), NetEvent::Received(conn));
        }
    }

    /// Polls a while without an event.
    fn nothing(&mut self) {
        for _ in 0..3 {
            assert_eq!(self.net.poll(&mut self.events, 8), 0, "{:?}", self.events);
            self.bell.wait(Duration::from_millis(5));
        }
    }
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8).collect()
}

#[test]
fn bytes_go_both_ways() {
    let mut server = Server::start(|_| ());
    let mut client = server.connect();
    let conn = server.opened();
    client.write_all(b"hello").unwrap();
    server.receive(conn, 5);
    assert_eq!(server.net.received(conn), b"hello");
    server.net.consume(conn, 2);
    assert_eq!(server.net.received(conn), b"llo");
    client.write_all(b"!").unwrap();
    server.receive(conn, 4);
    assert_eq!(server.net.received(conn), b"llo!");
    assert!(server.net.send(conn, b"to ") && server.net.send(conn, b"you"));
    server.net.flush();
    let mut answer = [0; 6];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"to you");
    server.nothing();
}

#[test]
fn unix_sockets_work_and_leave_no_file() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("node.sock");
    let stale = || drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    stale();
    let mut server = Server::start(|options| options.unix = vec![path.clone()]);
    let mut client = UnixStream::connect(&path).unwrap();
    let conn = server.opened();
    client.write_all(b"hello").unwrap();
    drop(client);
    server.receive(conn, 5);
    assert_eq!(server.net.received(conn), b"hello", "what was sent before the end is not lost");
    assert_eq!(server.next(), NetEvent::Closed(conn));
    drop(server);
    assert!(!path.exists());
}

#[test]
fn a_socket_in_use_is_not_taken_over() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("node.sock");
    let _used = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let options = NetOptions { unix: vec![path.clone()], ..NetOptions::default() };
    let error = EpollNet::new(options, &Doorbell::new().unwrap()).unwrap_err().to_string();
    assert!(error.contains("node.sock") && error.contains("in use"), "{error}");
}

#[test]
fn a_full_receive_buffer_makes_the_sender_wait() {
    let mut server = Server::start(|_| ());
    let client = server.connect();
    let conn = server.opened();
    let sent = pattern(8 << 20);
    let sender = {
        let (mut client, sent) = (client.try_clone().unwrap(), sent.clone());
        std::thread::spawn(move || client.write_all(&sent).unwrap())
    };
    // Until nothing more is taken in.
    let full = 256 * 1024;
    server.receive(conn, full);
    assert_eq!(server.net.received(conn).len(), full);
    server.nothing();

    let mut taken = 0;
    let mut step = 1;
    while taken < sent.len() {
        let ready = server.net.received(conn);
        if ready.is_empty() {
            assert_eq!(server.next(), NetEvent::Received(conn));
            continue;
        }
        // Uneven steps, so that the buffer's front moves in every way.
        step = (step * 7 + 13) % 90_001;
        let bytes = ready.len().min(step.max(1));
        assert!(ready[..bytes] == sent[taken..taken + bytes], "bytes differ near {taken}");
        server.net.consume(conn, bytes);
        taken += bytes;
        server.net.poll(&mut server.events, 8);
    }
    sender.join().unwrap();
    server.events.clear();
    server.nothing();
}

#[test]
fn a_slow_reader_fills_its_bound_and_loses_nothing() {
    let bound = 1 << 20;
    let mut server = Server::start(|options| options.send_max = bound);
    let mut client = server.connect();
    let conn = server.opened();
    let chunk = pattern(10_000);
    // The kernel takes some, then the port's buffer fills, then there is no room.
    let mut chunks = 0;
    while server.net.send(conn, &chunk) {
        server.net.flush();
        chunks += 1;
        assert!(chunks < 10_000, "unbounded");
    }
    let room = server.net.send_room(conn);
    assert!(room < chunk.len());
    assert!(server.net.send(conn, &chunk[..room]), "what fits is taken");
    assert!(!server.net.send(conn, b"x"));
    server.nothing();

    let reader = std::thread::spawn(move || {
        let mut got = vec![0; chunks * 10_000 + room];
        client.read_exact(&mut got).unwrap();
        (client, got)
    });
    while server.net.send_room(conn) < bound {
        server.bell.announce();
        if server.net.poll(&mut server.events, 8) == 0 && server.net.send_room(conn) < bound {
            assert!(server.bell.wait(Duration::from_secs(60)), "room for sending did not wake the thread");
        }
    }
    let (_client, got) = reader.join().unwrap();
    let expected: Vec<u8> =
        chunk.iter().copied().cycle().take(chunks * 10_000).chain(chunk[..room].iter().copied()).collect();
    assert!(got == expected);
}

#[test]
fn a_half_closed_connection_is_reported_after_its_bytes() {
    let mut server = Server::start(|_| ());
    let mut client = server.connect();
    let conn = server.opened();
    client.write_all(b"last words").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    server.receive(conn, 10);
    assert_eq!(server.net.received(conn), b"last words");
    assert!(server.net.send(conn, b"bye"));
    assert_eq!(server.next(), NetEvent::Closed(conn));
    assert_eq!((server.net.received(conn), server.net.send_room(conn)), (&b""[..], 0));
    assert!(!server.net.send(conn, b"x"));
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "bye", "what was buffered was offered");
}

#[test]
fn a_reset_closes_even_a_full_connection() {
    let mut server = Server::start(|_| ());
    let mut client = server.connect();
    let conn = server.opened();
    client.set_nonblocking(true).unwrap();
    let chunk = pattern(1 << 16);
    let error = loop {
        if let Err(error) = client.write(&chunk) {
            break error;
        }
        server.net.poll(&mut server.events, 8);
    };
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    rustix::net::sockopt::set_socket_linger(&client, Some(Duration::ZERO)).unwrap();
    drop(client);
    while server.next() != NetEvent::Closed(conn) {}
}

#[test]
fn a_closed_connection_is_never_heard_of_again() {
    let mut server = Server::start(|_| ());
    let mut first = server.connect();
    let old = server.opened();
    first.write_all(b"unread").unwrap();
    server.receive(old, 6);
    assert!(server.net.send(old, b"refused"));
    server.net.close(old);
    let mut answer = String::new();
    first.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "refused");
    server.nothing();

    // The next connection takes the slot, not the identity.
    let mut second = server.connect();
    let new = server.opened();
    assert_eq!(new.0 as u32, old.0 as u32);
    assert_ne!(new, old);
    second.write_all(b"mine").unwrap();
    server.receive(new, 4);
    assert_eq!(server.net.received(old), b"");
    server.net.consume(old, 4);
    server.net.close(old);
    assert!(!server.net.send(old, b"x"));
    assert_eq!(server.net.received(new), b"mine");
}

#[test]
fn connections_beyond_the_bound_are_closed_and_places_come_back() {
    let mut server = Server::start(|options| options.connections_max = 200);
    let mut clients: Vec<_> = (0..200).map(|_| server.connect()).collect();
    let conns: Vec<_> = (0..200).map(|_| server.opened()).collect();
    let mut refused = server.connect();
    server.nothing();
    assert_eq!(refused.read(&mut [0]).unwrap(), 0);

    for (at, client) in clients.iter_mut().enumerate() {
        client.write_all(&[at as u8; 3]).unwrap();
    }
    let mut heard = 0;
    while heard < 200 {
        let NetEvent::Received(conn) = server.next() else { panic!("only bytes were sent") };
        let bytes = server.net.received(conn).to_vec();
        server.net.consume(conn, bytes.len());
        assert!(server.net.send(conn, &bytes));
        heard += bytes.len() / 3;
    }
    server.net.flush();
    for (at, client) in clients.iter_mut().enumerate() {
        let mut echo = [0; 3];
        client.read_exact(&mut echo).unwrap();
        assert_eq!(echo, [at as u8; 3]);
    }
    server.net.close(conns[17]);
    let _again = server.connect();
    server.opened();
}

#[test]
fn accepting_stops_and_resumes() {
    let mut server = Server::start(|_| ());
    server.net.accept(false);
    let _waiting = server.connect();
    server.nothing();
    server.net.accept(true);
    server.opened();
}

#[test]
fn running_out_of_descriptors_is_survived() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    // The limit is the process's: this test needs one for itself.
    if std::env::var_os("ORDAIN_TEST_ALONE").is_none() {
        let mut alone = std::process::Command::new(std::env::current_exe().unwrap());
        alone.env("ORDAIN_TEST_ALONE", "1").args(["--exact", "running_out_of_descriptors_is_survived"]);
        let output = alone.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        return;
    }
    let mut server = Server::start(|_| ());
    let _client = server.connect();
    let next = rustix::io::dup(std::io::stdin()).unwrap();
    let used = std::os::fd::AsRawFd::as_raw_fd(&next) as u64;
    drop(next);
    let before = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(used), maximum: before.maximum }).unwrap();
    server.nothing();
    setrlimit(Resource::Nofile, before).unwrap();
    std::thread::sleep(Duration::from_millis(150));
    server.opened();
}
