//! A network between nodes that can be cut: in front of the peer address of each node stands a listener, and each
//! connection through it is two threads that pass bytes on, or do not.
//!
//! Who dials is read from the first message of the handshake, so that each direction between two nodes is a link of
//! its own. A cut link holds back what is on its way; after [`GIVES_UP`], as with a network that is really cut, the
//! connection is closed.

use crate::error::{OrNext, Result};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Bytes of the handshake's first message up to the number of who sends it, and that number: `docs/format/peer.md`.
const HELLO_NUMBER: usize = 8 + 16;
const HELLO: usize = HELLO_NUMBER + 4;
/// What nodes themselves bear before they call a connection dead.
const GIVES_UP: Duration = Duration::from_secs(2);
/// How often a link that waits is looked at.
const LOOK: Duration = Duration::from_millis(2);
const CHUNK: usize = 64 * 1024;

/// One direction between two nodes.
#[derive(Debug, Default)]
pub struct Link {
    /// Faults that cut it: they may overlap.
    cuts: AtomicU32,
    delay_millis: AtomicU64,
    /// Moves when connections are to be closed.
    resets: AtomicU64,
}

impl Link {
    /// Cuts it once more, or takes one cut back.
    pub fn cut(&self, cut: bool) {
        if cut {
            self.cuts.fetch_add(1, Ordering::Relaxed);
        } else {
            self.cuts.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Delays what comes by so much more, or by so much less.
    pub fn slow(&self, millis: u64, more: bool) {
        if more {
            self.delay_millis.fetch_add(millis, Ordering::Relaxed);
        } else {
            self.delay_millis.fetch_sub(millis, Ordering::Relaxed);
        }
    }

    pub fn reset(&self) {
        self.resets.fetch_add(1, Ordering::Relaxed);
    }

    fn is_cut(&self) -> bool {
        self.cuts.load(Ordering::Relaxed) > 0
    }
}

struct Shared {
    nodes: usize,
    /// The number that the node at each place has: another one once it was replaced.
    numbers: Vec<AtomicU32>,
    /// By from times nodes plus to.
    links: Vec<Link>,
    ends: AtomicBool,
}

/// See the module. Dropped, it closes everything.
pub struct Network(Arc<Shared>);

impl Network {
    /// Listens on `host` for each node, and says where: connections there are passed on to the node's address,
    /// which need not exist yet.
    pub fn new(host: Ipv4Addr, targets: &[SocketAddr]) -> Result<(Self, Vec<SocketAddr>)> {
        let nodes = targets.len();
        let links = (0..nodes * nodes).map(|_| Link::default()).collect();
        let numbers = (0..nodes as u32).map(AtomicU32::new).collect();
        let network = Self(Arc::new(Shared { nodes, numbers, links, ends: AtomicBool::new(false) }));
        let mut addresses = Vec::new();
        for (node, target) in targets.iter().enumerate() {
            let next = "Report this.";
            let listener = TcpListener::bind((host, 0)).or_next("a proxy cannot listen", next)?;
            addresses.push(listener.local_addr().or_next("a proxy has no address", next)?);
            listener.set_nonblocking(true).or_next("a proxy cannot listen", next)?;
            let (shared, target) = (network.0.clone(), *target);
            std::thread::spawn(move || listen(&shared, &listener, node, target));
        }
        Ok((network, addresses))
    }

    /// What `from` says to `to`.
    pub fn link(&self, from: usize, to: usize) -> &Link {
        self.0.link(from, to)
    }

    /// Another node stands at this place now.
    pub fn renumber(&self, place: usize, number: u32) {
        self.0.numbers[place].store(number, Ordering::Relaxed);
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.0.ends.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    fn link(&self, from: usize, to: usize) -> &Link {
        &self.links[from * self.nodes + to]
    }

    fn ends(&self) -> bool {
        self.ends.load(Ordering::Relaxed)
    }
}

fn listen(shared: &Arc<Shared>, listener: &TcpListener, node: usize, target: SocketAddr) {
    while !shared.ends() {
        if let Ok((stream, _)) = listener.accept() {
            let shared = shared.clone();
            std::thread::spawn(move || {
                // What breaks off is closed, as by a network; nodes dial again.
                let _ = connect(&shared, stream, node, target);
            });
        } else {
            std::thread::sleep(LOOK);
        }
    }
}

/// Finds out who dials, connects it through, and passes on until the end.
fn connect(shared: &Arc<Shared>, mut dialler: TcpStream, to: usize, target: SocketAddr) -> io::Result<()> {
    dialler.set_nonblocking(false)?;
    dialler.set_read_timeout(Some(GIVES_UP))?;
    let mut hello = [0; HELLO];
    dialler.read_exact(&mut hello)?;
    let number: [u8; 4] = hello[HELLO_NUMBER..].try_into().expect("four bytes");
    let number = u32::from_le_bytes(number);
    let Some(from) = shared.numbers.iter().position(|known| known.load(Ordering::Relaxed) == number) else {
        return Err(ErrorKind::InvalidData.into());
    };
    shared.wait(shared.link(from, to))?;
    let mut acceptor = TcpStream::connect_timeout(&target, GIVES_UP)?;
    acceptor.set_nodelay(true)?;
    dialler.set_nodelay(true)?;
    acceptor.write_all(&hello)?;
    let (back_from, back_to) = (acceptor.try_clone()?, dialler.try_clone()?);
    let other = shared.clone();
    std::thread::spawn(move || other.pass_on(back_from, back_to, other.link(to, from)));
    shared.pass_on(dialler, acceptor, shared.link(from, to));
    Ok(())
}

impl Shared {
    /// Returns once the link is not cut; fails if the connection is given up before.
    fn wait(&self, link: &Link) -> io::Result<()> {
        let since = Instant::now();
        let resets = link.resets.load(Ordering::Relaxed);
        while link.is_cut() {
            let is_reset = link.resets.load(Ordering::Relaxed) != resets;
            if since.elapsed() > GIVES_UP || self.ends() || is_reset {
                return Err(ErrorKind::TimedOut.into());
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    fn pass_on(&self, mut from: TcpStream, mut to: TcpStream, link: &Link) {
        // A failure of either side, or of the network, is the end of both.
        let _ = self.pump(&mut from, &mut to, link);
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    }

    fn pump(&self, from: &mut TcpStream, to: &mut TcpStream, link: &Link) -> io::Result<()> {
        let resets = link.resets.load(Ordering::Relaxed);
        from.set_read_timeout(Some(20 * LOOK))?;
        // A node that takes nothing for so long is as good as gone.
        to.set_write_timeout(Some(4 * GIVES_UP))?;
        let mut chunk = vec![0; CHUNK];
        while !self.ends() && link.resets.load(Ordering::Relaxed) == resets {
            let read = match from.read(&mut chunk) {
                Ok(read) => read,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
                // The end of a connection travels as what was said in it does.
                Err(_) => 0,
            };
            self.wait(link)?;
            match link.delay_millis.load(Ordering::Relaxed) {
                0 => {}
                millis => std::thread::sleep(Duration::from_millis(millis)),
            }
            if read == 0 {
                break;
            }
            to.write_all(&chunk[..read])?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Bed {
        network: Network,
        dialler: TcpStream,
        acceptor: TcpStream,
    }

    /// Node 1 has dialled node 0 through the proxy.
    fn bed() -> Bed {
        let node = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = node.local_addr().unwrap();
        let (network, addresses) = Network::new(Ipv4Addr::LOCALHOST, &[target, target]).unwrap();
        let mut dialler = TcpStream::connect(addresses[0]).unwrap();
        let mut hello = [0; HELLO];
        hello[HELLO_NUMBER] = 1;
        dialler.write_all(&hello).unwrap();
        let (mut acceptor, _) = node.accept().unwrap();
        let mut got = [9; HELLO];
        acceptor.read_exact(&mut got).unwrap();
        assert_eq!(got, hello);
        for side in [&dialler, &acceptor] {
            side.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        }
        Bed { network, dialler, acceptor }
    }

    fn byte(stream: &mut TcpStream) -> io::Result<u8> {
        let mut byte = [0];
        stream.read_exact(&mut byte).map(|()| byte[0])
    }

    #[test]
    fn each_direction_is_cut_by_itself_and_holds_back_what_is_said() {
        let Bed { network, mut dialler, mut acceptor } = bed();
        network.link(1, 0).cut(true);
        dialler.write_all(b"a").unwrap();
        acceptor.write_all(b"b").unwrap();
        assert_eq!(byte(&mut dialler).unwrap(), b'b');
        acceptor.set_nonblocking(true).unwrap();
        assert_eq!(byte(&mut acceptor).unwrap_err().kind(), ErrorKind::WouldBlock);
        acceptor.set_nonblocking(false).unwrap();
        network.link(1, 0).cut(false);
        assert_eq!(byte(&mut acceptor).unwrap(), b'a');
    }

    #[test]
    fn a_connection_that_is_cut_for_long_or_reset_ends_on_both_sides() {
        for reset in [false, true] {
            let Bed { network, mut dialler, mut acceptor } = bed();
            let link = network.link(0, 1);
            if reset {
                link.reset();
            } else {
                link.cut(true);
                acceptor.write_all(b"x").unwrap();
            }
            assert!(byte(&mut dialler).is_err(), "nothing came through, and the connection ended");
            assert!(byte(&mut acceptor).is_err());
        }
    }
}
