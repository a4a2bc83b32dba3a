//! Real sockets on loopback.

use super::conn::{HEADER, MAGIC, ShakeHeader, parse};
use super::*;
use ordain_keys::KeyPair;
use ordain_keys::{Software, Versions};
use ordain_types::ClusterId;
use std::io::{Read, Write};
use std::net::TcpStream;
use zerocopy::IntoBytes;

/// What happened at a node, frames as their first word and length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Up(u32),
    Down(u32),
    Removed(u32),
    Frame(u32, u32, usize),
}

struct Node {
    peers: TcpPeers,
    bell: Arc<Doorbell>,
    registry: Registry,
    seen: Vec<Seen>,
}

fn pair(id: u32) -> KeyPair {
    KeyPair::from_seed(&[id as u8 + 1; 32])
}

fn me(id: u32) -> PeerSelf {
    PeerSelf {
        pair: pair(id),
        cluster: ClusterId([7; 16]),
        id: NodeId(id),
        fingerprint: [8; 32],
        versions: Versions::OURS,
        software: Software::ours(),
    }
}

fn other(id: u32, address: &str) -> OtherNode {
    OtherNode { id: NodeId(id), address: address.to_owned(), key: pair(id).public() }
}

impl Node {
    fn new(me: PeerSelf, others: Vec<OtherNode>) -> Self {
        Self::at(me, others, "127.0.0.1:0".parse().unwrap())
    }

    fn at(me: PeerSelf, others: Vec<OtherNode>, listen: SocketAddr) -> Self {
        let (bell, registry) = (Doorbell::new().unwrap(), Registry::default());
        let peers = TcpPeers::new(me, others, listen, &bell, &registry).unwrap();
        Self { peers, bell, registry, seen: Vec::new() }
    }

    fn address(&self) -> String {
        self.peers.address().unwrap().to_string()
    }

    fn poll(&mut self) -> bool {
        let seen = match self.peers.poll() {
            None => return false,
            Some(PeerEvent::Up(node)) => Seen::Up(node.0),
            Some(PeerEvent::Down(node)) => Seen::Down(node.0),
            Some(PeerEvent::Removed(by)) => Seen::Removed(by.0),
            Some(PeerEvent::Frame(node, bytes)) => {
                let first = u32::from_le_bytes(bytes[..4].try_into().unwrap());
                assert!(bytes[4..].iter().all(|byte| *byte == first as u8), "frame {first} is damaged");
                Seen::Frame(node.0, first, bytes.len())
            }
        };
        self.seen.push(seen);
        true
    }

    fn send(&mut self, to: u32, first: u32, length: usize) -> bool {
        let body = vec![first as u8; length - 4];
        self.peers.send(NodeId(to), &first.to_le_bytes(), &body)
    }

    fn refusals(&self) -> u64 {
        self.registry.value("ordain_peer_refusals_total").unwrap()
    }
}

/// Lets the nodes work until `done`. The last node is woken by its doorbell alone.
#[track_caller]
fn until(nodes: &mut [&mut Node], mut done: impl FnMut(&mut [&mut Node]) -> bool) {
    let patience = Instant::now() + Duration::from_secs(60);
    while !done(nodes) {
        assert!(Instant::now() < patience, "it never happened: {:?}", nodes[0].seen);
        let mut busy = false;
        for node in nodes.iter_mut() {
            while node.poll() {
                busy = true;
            }
        }
        if !busy {
            nodes.last().unwrap().bell.wait(Duration::from_millis(1));
        }
    }
}

/// Node 0 and node 1, connected.
fn two() -> (Node, Node) {
    let mut low = Node::new(me(0), vec![other(1, "127.0.0.1:1")]);
    let mut high = Node::new(me(1), vec![other(0, &low.address())]);
    until(&mut [&mut low, &mut high], |nodes| nodes.iter().all(|node| !node.seen.is_empty()));
    assert_eq!((&low.seen[..], &high.seen[..]), (&[Seen::Up(1)][..], &[Seen::Up(0)][..]));
    (low, high)
}

#[test]
fn frames_arrive_whole_and_in_order_in_both_directions() {
    let (mut low, mut high) = two();
    let lengths = [4, 5, 4096, PEER_FRAME_MAX, 80, 300_000, PEER_FRAME_MAX, PEER_FRAME_MAX, 4];
    let mut sent = [0; 2];
    let count = 4 * lengths.len();
    until(&mut [&mut low, &mut high], |nodes| {
        for (at, node) in nodes.iter_mut().enumerate() {
            // As many as are taken: what is refused is offered again later.
            while sent[at] < count
                && node.send(1 - at as u32, sent[at] as u32, lengths[sent[at] % lengths.len()])
            {
                sent[at] += 1;
            }
        }
        nodes.iter().all(|node| node.seen.len() == 1 + count)
    });
    for (from, node) in [(1, &low), (0, &high)] {
        let expected = (0..count).map(|at| Seen::Frame(from, at as u32, lengths[at % lengths.len()]));
        assert!(node.seen[1..].iter().copied().eq(expected));
    }
}

#[test]
fn what_a_node_does_not_read_is_bounded() {
    let (mut low, mut high) = two();
    let mut taken = 0;
    // Neither kernel buffers without bound.
    while low.send(1, taken, PEER_FRAME_MAX) {
        taken += 1;
        assert!(taken < 1000, "nothing bounds what waits");
    }
    assert!(low.peers.room(NodeId(1)) < PREFIX_MAX + PEER_FRAME_MAX);
    until(&mut [&mut low, &mut high], |nodes| nodes[1].seen.len() == 1 + taken as usize);
    assert_eq!(low.peers.room(NodeId(1)), SEND_MAX - PREFIX_MAX);
    assert_eq!(low.peers.room(NodeId(9)), 0);
}

#[test]
fn a_death_is_known_at_once_and_the_dead_may_come_back() {
    let (mut low, high) = two();
    drop(high);
    until(&mut [&mut low], |nodes| nodes[0].seen.last() == Some(&Seen::Down(1)));
    assert!(!low.send(1, 0, 4));
    let mut high = Node::new(me(1), vec![other(0, &low.address())]);
    until(&mut [&mut low, &mut high], |nodes| nodes[0].seen.last() == Some(&Seen::Up(1)));

    let listen = low.peers.address().unwrap();
    drop(low);
    until(&mut [&mut high], |nodes| nodes[0].seen.last() == Some(&Seen::Down(0)));
    let mut low = Node::at(me(0), vec![other(1, "127.0.0.1:1")], listen);
    until(&mut [&mut low, &mut high], |nodes| nodes[1].seen.last() == Some(&Seen::Up(0)));
}

#[test]
fn who_does_not_belong_is_refused_and_nobody_else_is_concerned() {
    let mut low = Node::new(me(0), vec![other(1, "127.0.0.1:1"), other(2, "127.0.0.1:1")]);
    let address = low.address();
    let mut high = Node::new(me(1), vec![other(0, &address)]);
    until(&mut [&mut low, &mut high], |nodes| nodes.iter().all(|node| !node.seen.is_empty()));
    let cases: [(PeerSelf, OtherNode); 5] = [
        (PeerSelf { cluster: ClusterId([1; 16]), ..me(2) }, other(0, &address)),
        (PeerSelf { fingerprint: [1; 32], ..me(2) }, other(0, &address)),
        (PeerSelf { pair: pair(5), ..me(2) }, other(0, &address)),
        // No member.
        (me(3), other(0, &address)),
        // Node 0 answers where another node is expected.
        (me(2), OtherNode { key: pair(9).public(), ..other(0, &address) }),
    ];
    for (number, (stranger, expected)) in cases.into_iter().enumerate() {
        let mut stranger = Node::new(stranger, vec![expected]);
        until(&mut [&mut low, &mut high, &mut stranger], |nodes| {
            nodes[0].refusals() > number as u64 && nodes[2].refusals() > 0
        });
        assert_eq!(stranger.seen, []);
    }
    assert_eq!((low.seen.len(), high.seen.len()), (1, 1));
    assert!(high.send(0, 5, 100));
    until(&mut [&mut low, &mut high], |nodes| nodes[0].seen.last() == Some(&Seen::Frame(1, 5, 100)));
}

#[test]
fn of_two_with_one_number_the_first_stays_until_it_dies() {
    let (mut low, mut high) = two();
    let mut double = Node::new(me(1), vec![other(0, &low.address())]);
    until(&mut [&mut low, &mut high, &mut double], |nodes| nodes[2].refusals() > 2);
    assert_eq!((low.seen.len(), high.seen.len(), double.seen.len()), (1, 1, 0));
    drop(high);
    until(&mut [&mut low, &mut double], |nodes| nodes[1].seen == [Seen::Up(0)]);
    assert_eq!(low.seen, [Seen::Up(1), Seen::Down(1), Seen::Up(1)]);
}

#[test]
fn noise_and_idle_strangers_do_no_harm() {
    let mut low = Node::new(me(0), vec![other(1, "127.0.0.1:1")]);
    let address = low.address();
    let noise: Vec<TcpStream> = (0..4 * STRANGERS)
        .map(|number| {
            let mut stream = TcpStream::connect(&address).unwrap();
            let bytes: &[u8] = match number % 4 {
                0 => b"GET / HTTP/1.1\r\n\r\n",
                1 => &[0xff; 4096],
                2 => b"OrdP",
                _ => b"",
            };
            stream.write_all(bytes).unwrap();
            stream
        })
        .collect();
    let mut old = TcpStream::connect(&address).unwrap();
    let other_version = ShakeHeader { magic: MAGIC, version: 99.into(), kind: kind::PROOF, code: 0 };
    old.write_all(other_version.as_bytes()).unwrap();
    let mut high = Node::new(me(1), vec![other(0, &address)]);
    until(&mut [&mut low, &mut high], |nodes| nodes.iter().all(|node| node.seen.len() == 1));
    until(&mut [&mut low, &mut high], |nodes| nodes[0].refusals() > 0);
    let mut answer = [0; HEADER];
    old.read_exact(&mut answer).unwrap();
    assert!(matches!(parse(&answer, Versions::OURS), Ok(Some((Shake::Refused(1, 2), HEADER)))));
    drop(noise);
    assert!(low.peers.strangers.len() <= STRANGERS);
}

/// A handshake made by hand, for what no good node does behind it.
fn by_hand(low: &mut Node, id: u32) -> TcpStream {
    let mut stream = TcpStream::connect(low.address()).unwrap();
    let hello = me(id).hello(NodeId(0), [1; 32]);
    let header = |kind| ShakeHeader { magic: MAGIC, version: Versions::OURS.newest, kind, code: 0 };
    stream.write_all(header(kind::HELLO).as_bytes()).unwrap();
    stream.write_all(hello.as_bytes()).unwrap();
    stream.set_nonblocking(true).unwrap();
    let mut bytes = [0; HEADER + size_of::<PeerChallenge>()];
    let mut filled = 0;
    until(&mut [low], |_| {
        filled += stream.read(&mut bytes[filled..]).unwrap_or(0);
        filled == bytes.len()
    });
    let Ok(Some((Shake::Challenge(challenge), _))) = parse(&bytes, Versions::OURS) else {
        panic!("no challenge")
    };
    let proof = me(id).prove(&hello, &challenge, pair(0).public()).unwrap();
    stream.set_nonblocking(false).unwrap();
    stream.write_all(header(kind::PROOF).as_bytes()).unwrap();
    stream.write_all(proof.as_bytes()).unwrap();
    until(&mut [low], |nodes| nodes[0].seen == [Seen::Up(id)]);
    stream
}

/// A frame as it travels.
fn framed(first: u32, length: usize) -> Vec<u8> {
    let (head, body) = (first.to_le_bytes(), vec![first as u8; length - 4]);
    [&Framing::Checked.prefix(&head, &body)[..], &head, &body].concat()
}

#[test]
fn what_arrives_altered_ends_the_connection_and_nothing_behind_it_is_believed() {
    // All that is covered: the frame says at its front how much that is.
    let good = framed(20, 100);
    let mut damaged: Vec<Vec<u8>> = (0..PREFIX_MAX + 20).map(|at| flipped(&good, at)).collect();
    damaged.push([&good[..15], &good[16..]].concat());
    damaged.push([&good[..30], b"!", &good[30..]].concat());
    damaged.push([&[0], &good[..]].concat());
    // A whole one in front is taken; of what follows the damage, nothing.
    for bad in damaged {
        let mut low = Node::new(me(0), vec![other(1, "127.0.0.1:1")]);
        let mut stream = by_hand(&mut low, 1);
        stream.write_all(&[&good[..], &bad, &good, &good].concat()).unwrap();
        until(&mut [&mut low], |nodes| nodes[0].seen.len() == 3);
        assert_eq!(low.seen, [Seen::Up(1), Seen::Frame(1, 20, 100), Seen::Down(1)]);
        assert_eq!(low.registry.value("ordain_peer_damaged_total"), Some(1));
    }
}

fn flipped(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 1;
    bytes
}

#[test]
fn who_sent_what_arrived_altered_connects_anew() {
    let (mut low, mut high) = two();
    let State::Up(conn, _) = &mut high.peers.links[0].state else { panic!("it stands") };
    conn.send([&flipped(&framed(20, 100), 30)]);
    until(&mut [&mut low, &mut high], |nodes| {
        nodes[0].seen == [Seen::Up(1), Seen::Down(1), Seen::Up(1)]
            && nodes[1].seen == [Seen::Up(0), Seen::Down(0), Seen::Up(0)]
    });
    assert!(high.send(0, 5, 100));
    until(&mut [&mut low, &mut high], |nodes| nodes[0].seen.last() == Some(&Seen::Frame(1, 5, 100)));
}

#[test]
fn a_frame_that_comes_in_pieces_is_whole_before_it_is_seen() {
    let mut low = Node::new(me(0), vec![other(1, "127.0.0.1:1")]);
    let mut stream = by_hand(&mut low, 1);
    let frame = framed(3, 8);
    for byte in &frame[..frame.len() - 1] {
        stream.write_all(&[*byte]).unwrap();
        while low.poll() {}
        assert_eq!(low.seen.len(), 1);
    }
    stream.write_all(&frame[frame.len() - 1..]).unwrap();
    until(&mut [&mut low], |nodes| nodes[0].seen.last() == Some(&Seen::Frame(1, 3, 8)));
    // Half a frame before the end is no frame.
    stream.write_all(&frame[..7]).unwrap();
    drop(stream);
    until(&mut [&mut low], |nodes| nodes[0].seen.last() == Some(&Seen::Down(1)));
    assert_eq!(low.seen.len(), 3);
}

fn member(id: u32, address: &str) -> Member {
    Member { id: NodeId(id), peer: address.to_owned(), client: String::new(), key: pair(id).public().0 }
}

#[test]
fn who_joins_is_connected_with_and_who_leaves_is_refused() {
    let (mut low, mut high) = two();
    let (a, b) = (low.address(), high.address());
    // Node 3 knows whom it joins; nobody knows it yet.
    let mut third = Node::new(me(3), vec![other(0, &a), other(1, &b)]);
    until(&mut [&mut low, &mut high, &mut third], |nodes| nodes[2].refusals() > 1);
    assert_eq!((low.seen.len(), high.seen.len(), third.seen.len()), (1, 1, 0));
    let all = [member(0, &a), member(1, &b), member(3, "127.0.0.1:1")];
    low.peers.set_members(&all, NodeId(4));
    high.peers.set_members(&all, NodeId(4));
    until(&mut [&mut low, &mut high, &mut third], |nodes| nodes[2].seen.len() == 2);
    until(&mut [&mut low, &mut high], |nodes| nodes.iter().all(|node| node.seen.len() == 2));
    assert_eq!((low.seen[1], high.seen[1]), (Seen::Up(3), Seen::Up(3)));
    assert!(low.send(1, 7, 100) && low.send(3, 8, 100), "what stood stands");
    until(&mut [&mut low, &mut high, &mut third], |nodes| {
        nodes[1].seen.contains(&Seen::Frame(0, 7, 100)) && nodes[2].seen.contains(&Seen::Frame(0, 8, 100))
    });

    // Node 1 leaves, as node 0 sees it; it dials on, and is refused.
    let refusals = low.refusals();
    low.peers.set_members(&[member(0, &a), member(3, "127.0.0.1:1")], NodeId(4));
    assert!(!low.send(1, 9, 4));
    until(&mut [&mut low, &mut high], |nodes| {
        nodes[0].seen.contains(&Seen::Down(1)) && nodes[1].seen.contains(&Seen::Down(0))
    });
    until(&mut [&mut low, &mut high, &mut third], |nodes| nodes[0].refusals() > refusals);
    assert!(low.send(3, 10, 4));
    until(&mut [&mut low, &mut third], |nodes| nodes[1].seen.contains(&Seen::Frame(0, 10, 4)));
}

#[test]
fn who_was_removed_is_told_by_whom_it_dials_and_by_whom_it_waits_for() {
    let mut middle = Node::new(me(1), vec![]);
    let address = middle.address();
    // Numbers 0 to 2 were given out, and 1 alone is left.
    middle.peers.set_members(&[member(1, &address)], NodeId(3));
    let mut high = Node::new(me(2), vec![other(1, &address)]);
    until(&mut [&mut middle, &mut high], |nodes| nodes[1].seen.contains(&Seen::Removed(1)));
    let mut low = Node::new(me(0), vec![other(1, &address)]);
    low.peers.links[0].state = State::Awaited(Instant::now());
    until(&mut [&mut middle, &mut low], |nodes| nodes[1].seen.contains(&Seen::Removed(1)));
    // What was never given out is no member's yet.
    let mut new = Node::new(me(3), vec![other(1, &address)]);
    until(&mut [&mut middle, &mut new], |nodes| nodes[1].refusals() > 0);
    assert_eq!((new.seen, middle.seen), (vec![], vec![]));
}

#[test]
fn a_member_that_asks_why_it_is_not_dialled_is_no_news() {
    let mut low = Node::new(me(0), vec![other(1, "127.0.0.1:1")]);
    // It dials where nobody is.
    let mut high = Node::new(me(1), vec![other(0, "127.0.0.1:1")]);
    low.peers.links[0].node.address = high.address();
    low.peers.links[0].state = State::Awaited(Instant::now());
    until(&mut [&mut low, &mut high], |nodes| {
        let has_asked = nodes[0].peers.next_token > FIRST_TOKEN;
        has_asked && matches!(nodes[0].peers.links[0].state, State::Awaited(_))
    });
    assert_eq!((low.refusals(), high.refusals(), &low.seen[..], &high.seen[..]), (0, 0, &[][..], &[][..]));
}

#[test]
fn who_has_not_proved_its_key_cannot_say_that_a_node_was_removed() {
    let liar = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut high = Node::new(me(1), vec![other(0, &liar.local_addr().unwrap().to_string())]);
    let lies = std::thread::spawn(move || {
        let (mut stream, _) = liar.accept().unwrap();
        let version = Versions::OURS.newest;
        let code = Refusal::Removed as u8;
        let refused = ShakeHeader { magic: MAGIC, version, kind: kind::REFUSED, code };
        // A connection that is closed unread takes the answer with it.
        let mut hello = [0; HEADER + size_of::<PeerHello>()];
        stream.read_exact(&mut hello).unwrap();
        stream.write_all(refused.as_bytes()).unwrap();
    });
    until(&mut [&mut high], |nodes| nodes[0].refusals() > 0);
    lies.join().unwrap();
    assert_eq!(high.seen, []);
}

#[test]
fn another_key_under_a_number_is_another_node() {
    let (mut low, mut high) = two();
    low.peers.set_members(&[Member { key: pair(9).public().0, ..member(1, "127.0.0.1:1") }], NodeId(4));
    until(&mut [&mut low, &mut high], |nodes| nodes[0].refusals() > 0);
    assert_eq!(low.seen, [Seen::Up(1), Seen::Down(1)]);
    let mut new = Node::new(PeerSelf { pair: pair(9), ..me(1) }, vec![other(0, &low.address())]);
    until(&mut [&mut low, &mut high, &mut new], |nodes| nodes[2].seen == [Seen::Up(0)]);
}

#[test]
fn members_may_change_while_a_frame_is_lent() {
    let (mut low, mut high) = two();
    assert!(high.send(0, 1, 50) && high.send(0, 2, 60));
    until(&mut [&mut low], |nodes| {
        let lent = matches!(nodes[0].peers.poll(), Some(PeerEvent::Frame(_, bytes)) if bytes.len() == 50);
        if lent {
            // One more in front of the link whose frame is lent.
            let all = [member(1, "127.0.0.1:1"), member(2, "127.0.0.1:1")];
            nodes[0].peers.set_members(&all, NodeId(4));
        }
        lent
    });
    until(&mut [&mut low], |nodes| nodes[0].seen.last() == Some(&Seen::Frame(1, 2, 60)));
}

#[test]
fn a_name_is_looked_up() {
    let mut low = Node::new(me(0), vec![other(1, "127.0.0.1:1")]);
    let address = low.address().replace("127.0.0.1", "localhost");
    let mut high = Node::new(me(1), vec![other(0, &address)]);
    until(&mut [&mut low, &mut high], |nodes| nodes.iter().all(|node| !node.seen.is_empty()));
}

/// Builds that speak other versions, older and newer ones.
#[test]
fn nodes_of_different_builds_speak_what_both_know() {
    let of = |id, oldest, newest| PeerSelf { versions: Versions::new(oldest, newest), ..me(id) };
    let mut low = Node::new(of(0, 2, 3), vec![other(1, "127.0.0.1:1"), other(2, "127.0.0.1:1")]);
    let address = low.address();
    let mut old = Node::new(of(1, 1, 2), vec![other(0, &address)]);
    let mut older = Node::new(of(2, 1, 1), vec![other(0, &address)]);
    until(&mut [&mut low, &mut old, &mut older], |nodes| {
        nodes[0].seen == [Seen::Up(1)] && nodes[1].seen == [Seen::Up(0)] && nodes[2].refusals() > 0
    });
    assert!(low.send(1, 7, 100), "frames follow");
    until(&mut [&mut low, &mut old], |nodes| nodes[1].seen.contains(&Seen::Frame(0, 7, 100)));
    assert!(older.seen.is_empty() && low.refusals() > 0);
}

/// Builds before version 2 send frames with a length and no checksum.
#[test]
fn an_older_build_is_spoken_with_as_it_speaks() {
    let mut low = Node::new(me(0), vec![other(1, "127.0.0.1:1"), other(2, "127.0.0.1:1")]);
    let address = low.address();
    let mut old = Node::new(PeerSelf { versions: Versions::new(1, 1), ..me(1) }, vec![other(0, &address)]);
    let mut new = Node::new(me(2), vec![other(0, &address)]);
    until(&mut [&mut low, &mut old, &mut new], |nodes| {
        nodes[0].seen.len() == 2 && nodes[1].seen.len() == 1 && nodes[2].seen.len() == 1
    });
    for link in &low.peers.links {
        let State::Up(conn, _) = &link.state else { panic!("it stands") };
        assert_eq!(conn.framing(), if link.node.id == NodeId(1) { Framing::Plain } else { Framing::Checked });
    }
    assert!(low.send(1, 7, 100) && low.send(2, 8, 100) && old.send(0, 9, 100) && new.send(0, 10, 100));
    until(&mut [&mut low, &mut old, &mut new], |nodes| {
        nodes[1].seen.contains(&Seen::Frame(0, 7, 100))
            && nodes[2].seen.contains(&Seen::Frame(0, 8, 100))
            && nodes[0].seen.contains(&Seen::Frame(1, 9, 100))
            && nodes[0].seen.contains(&Seen::Frame(2, 10, 100))
    });
}

#[test]
fn who_shares_no_version_hears_what_the_other_speaks() {
    let versions = Versions::new(3, 5);
    let mut low = Node::new(PeerSelf { versions, ..me(0) }, vec![other(1, "127.0.0.1:1")]);
    let mut stream = TcpStream::connect(low.address()).unwrap();
    let old = PeerSelf { versions: Versions::new(1, 2), ..me(1) };
    let header = ShakeHeader { magic: MAGIC, version: 2.into(), kind: kind::HELLO, code: 0 };
    stream.write_all(header.as_bytes()).unwrap();
    stream.write_all(old.hello(NodeId(0), [1; 32]).as_bytes()).unwrap();
    until(&mut [&mut low], |nodes| nodes[0].refusals() > 0);
    let mut answer = [0; HEADER];
    stream.read_exact(&mut answer).unwrap();
    assert!(matches!(parse(&answer, old.versions), Ok(Some((Shake::Refused(1, 5), HEADER)))));
}
