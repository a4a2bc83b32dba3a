//! What each fuzz target does with its bytes. Shared by the targets and by a short run among the ordinary tests
//! (`crates/node/tests/hostile.rs`).
//!
//! Each body panics if a reader of bytes from outside does anything but take or refuse them.

#[allow(dead_code)]
#[path = "../crates/pipeline/gateway/tests/gateway/rig.rs"]
mod rig;

use ordain_agent::framing::Framing;
use ordain_api::Step;
use ordain_apply::snapshot::{Loader, Place, SnapshotError, Writer};
use ordain_apply::testkit::{self, Testkit, snapshot_of};
use ordain_client::{ClientCore, CoreConfig, Event};
use ordain_consensus::Message;
use ordain_consensus::message::FRAME_MAX;
use ordain_counter::{CounterDecoder, CounterEncoder, CounterFactory, Request};
use ordain_exchange_itch as nasdaq;
use ordain_exchange_protocol as exchange;
use ordain_journal::{NodeState, SLOT_LEN, read_state};
use ordain_keys::{KeyPair, ServerHandshake};
use ordain_types::batch::{BATCH_ALIGN, BATCH_HEADER, BATCH_MAX, BatchKind, BatchView, Seal, seal};
use ordain_types::frame::{HelloBody, SERVER_HEADER, ServerFrame, ServerHeader, WelcomeBody, frame_len};
use ordain_types::record::{RECORD_HEADER, RecordView};
use ordain_types::{
    BatchIndex, Chain, ClusterId, Nanos, OutputSeq, Position, Seq, SessionId, Stream, Term, align_up,
};
use zerocopy::{FromBytes, IntoBytes};

/// A target: its name, its body, and bytes that it takes, from which a short run begins.
pub struct Target {
    /// Name of the target.
    pub name: &'static str,
    /// Takes any bytes.
    pub body: fn(&[u8]),
    /// Makes valid bytes.
    pub seed: fn() -> Vec<u8>,
}

/// Every target.
pub const TARGETS: [Target; 9] = [
    Target { name: "client_frames", body: client_frames, seed: client_frames_seed },
    Target { name: "server_frames", body: server_frames, seed: server_frames_seed },
    Target { name: "batches", body: batches, seed: batches_seed },
    Target { name: "peer_frames", body: peer_frames, seed: peer_frames_seed },
    Target { name: "peer_messages", body: peer_messages, seed: peer_messages_seed },
    Target { name: "exchange_requests", body: exchange_requests, seed: exchange_requests_seed },
    Target { name: "node_state", body: node_state, seed: node_state_seed },
    Target { name: "itch", body: itch, seed: itch_seed },
    Target { name: "snapshot", body: snapshot, seed: snapshot_seed },
];

/// A client of a gateway. The first byte: whether it has signed in, and in what pieces the rest arrives.
pub fn client_frames(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else { return };
    let piece = 1 + usize::from(first >> 1);
    let pieces: Vec<_> = rest.chunks(piece).map(<[u8]>::to_vec).collect();
    rig::hostile_client(first & 1 == 1, &pieces);
}

fn client_frames_seed() -> Vec<u8> {
    let mut bytes = vec![255];
    for frame in [rig::add(50, 1), rig::query(3), rig::resume(50), rig::subscribe(0, 0), rig::close(50, 2)] {
        bytes.extend(frame);
    }
    bytes
}

/// A node that a client has proved the key of, and that then says anything. The first byte: how many requests
/// are under way.
pub fn server_frames(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else { return };
    let mut client = ClientCore::new(CoreConfig::new(KeyPair::from_seed(&[1; 32])));
    let on = &mut |_: Event<'_>| {};
    client.subscribe(Stream::Public, OutputSeq(1)).expect("the first");
    client.connected(Nanos(1), [2; 32], None);
    let (hello, _) =
        HelloBody::read_from_prefix(&client.outgoing(Nanos(1))[RECORD_HEADER..]).expect("a Hello");
    let node = ServerHandshake::challenge(&KeyPair::from_seed(&[3; 32]), ClusterId([9; 16]), &hello, [4; 32]);
    let node = node.expect("a client's Hello");
    let welcome = WelcomeBody {
        key: 1.into(),
        permissions: 1.into(),
        window: 8.into(),
        payload_max: 64.into(),
        session_timeout: 1_000_000.into(),
        idle_timeout: 1_000_000.into(),
    };
    for greeting in [
        server_frame(ServerFrame::Challenge, 0, 0, node.body().as_bytes()),
        server_frame(ServerFrame::Welcome, 0, 0, welcome.as_bytes()),
        server_frame(ServerFrame::Opened, 7, 1, &[]),
    ] {
        assert_eq!(client.receive(Nanos(2), &greeting, on), greeting.len());
        let sent = client.outgoing(Nanos(2)).len();
        client.sent(sent);
    }
    assert_eq!(client.session(), Some(SessionId(7)));
    for _ in 0..first % 9 {
        client.submit(1, b"request").expect("the window has room");
    }
    let mut now = Nanos(4);
    for piece in rest.chunks(512) {
        now = now.plus(1_000);
        client.receive(now, piece, on);
        client.tick(now, on);
        let sent = client.outgoing(now).len();
        client.sent(sent);
        let _ = client.submit(1, b"another");
    }
    client.disconnected(on);
    client.connected(now, [5; 32], None);
}

fn server_frame(kind: ServerFrame, session: u64, number: u64, payload: &[u8]) -> Vec<u8> {
    let header = ServerHeader {
        length: (payload.len() as u32).into(),
        kind: kind as u8,
        session: session.into(),
        number: number.into(),
        seq: 1.into(),
        ..ServerHeader::default()
    };
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend_from_slice(payload);
    assert!(bytes.len() >= SERVER_HEADER);
    bytes.resize(frame_len(payload.len()), 0);
    bytes
}

fn server_frames_seed() -> Vec<u8> {
    let mut bytes = vec![4];
    for (kind, session, number) in [
        (ServerFrame::Reply, 7, 1),
        (ServerFrame::Subscribed, 0, 1),
        (ServerFrame::Output, 0, 1),
        (ServerFrame::Reply, 7, 2),
        (ServerFrame::Goodbye, 0, 0),
    ] {
        bytes.extend(server_frame(kind, session, number, b"payload"));
    }
    bytes
}

/// Bytes as a batch; as a record; and as the body of a batch whose checksums hold.
pub fn batches(data: &[u8]) {
    if let Ok(view) = BatchView::parse(data) {
        assert!(view.bytes().len() <= data.len());
        let _ = view.segment_start();
        read_records(&view);
    }
    if let Some((record, rest)) = RecordView::split(data) {
        assert_eq!(record.header.record_len() + rest.len(), data.len());
    }
    let Some((count, body)) = data.split_first() else { return };
    let body = &body[..body.len().min(BATCH_MAX - BATCH_HEADER)];
    let mut bytes = vec![0; align_up(BATCH_HEADER + body.len(), BATCH_ALIGN)];
    bytes[BATCH_HEADER..BATCH_HEADER + body.len()].copy_from_slice(body);
    let sealed = Seal {
        kind: BatchKind::Data,
        count: u16::from(*count),
        unsynced: 0,
        position: Position(0),
        index: BatchIndex(1),
        term: Term(1),
        first_seq: Seq(1),
        time: Nanos(1),
        previous: Chain([0; 32]),
    };
    seal(&mut bytes, &sealed);
    let view = BatchView::parse(&bytes).expect("its checksums hold");
    read_records(&view);
}

fn read_records(view: &BatchView<'_>) {
    let read: usize =
        view.records().map_while(Result::ok).map(|(_, record)| record.header.record_len()).sum();
    assert!(read <= view.body().len());
}

fn batches_seed() -> Vec<u8> {
    [vec![2], rig::add(50, 1), rig::open(3)].concat()
}

/// What arrives on a connection between nodes.
pub fn peer_frames(data: &[u8]) {
    for framing in [Framing::Plain, Framing::Checked] {
        let mut rest = data;
        while let Ok(Some(length)) = framing.first(rest) {
            let from = framing.prefix_len();
            peer_messages(&rest[from..from + length]);
            rest = &rest[from + length..];
        }
    }
}

fn peer_frames_seed() -> Vec<u8> {
    let frame = peer_messages_seed();
    let framed = [&Framing::Checked.prefix(&frame, &[])[..], &frame].concat();
    [&framed[..], &framed].concat()
}

/// A frame of another node: what is understood means exactly its bytes.
pub fn peer_messages(data: &[u8]) {
    if let Ok((message, used)) = Message::decode(data) {
        let mut again = [0; FRAME_MAX];
        let len = message.encode(&mut again);
        assert_eq!(&again[..len], &data[..used]);
    }
}

fn peer_messages_seed() -> Vec<u8> {
    let message = Message {
        term: Term(3),
        boot: ordain_types::Boot(1),
        to_boot: ordain_types::Boot(2),
        standing: ordain_consensus::Standing::Blank,
        body: ordain_consensus::Body::Ack {
            matched: BatchIndex(9),
            received: BatchIndex(8),
            durable: BatchIndex(7),
            round: 6,
        },
    };
    let mut bytes = [0; FRAME_MAX];
    let len = message.encode(&mut bytes);
    bytes[..len].to_vec()
}

/// Messages of the exchange, of every direction.
pub fn exchange_requests(data: &[u8]) {
    let _ = exchange::Request::decode(data);
    let _ = exchange::Query::decode(data);
    let _ = exchange::Reply::decode(data);
    let _ = exchange::Answer::decode(data);
    let _ = exchange::Output::decode(data);
}

fn exchange_requests_seed() -> Vec<u8> {
    let order = exchange::NewOrder::limit(1, 1, 7, exchange::Side::Buy, 5, 100);
    order.as_bytes().to_vec()
}

/// A node-state file.
pub fn node_state(data: &[u8]) {
    let _: Result<NodeState, _> = read_state(data);
}

fn node_state_seed() -> Vec<u8> {
    vec![0; 2 * SLOT_LEN]
}

/// A file of Nasdaq's messages, compressed or not.
pub fn itch(data: &[u8]) {
    let Ok(mut reader) = nasdaq::file::open(std::io::Cursor::new(data.to_vec())) else { return };
    let mut audit = nasdaq::audit::Audit::new(64);
    let mut read = 0;
    while let Ok(Some(frame)) = reader.next_frame() {
        assert!(frame.offset >= read);
        read = frame.offset + 2 + frame.bytes.len() as u64;
        audit.take(&frame);
    }
    assert!(audit.totals().orders <= 64);
}

fn itch_seed() -> Vec<u8> {
    let mut bytes = Vec::new();
    for kind in nasdaq::message::KINDS {
        bytes.extend([0, kind.len as u8, kind.letter]);
        bytes.resize(bytes.len() + kind.len - 1, 0);
    }
    bytes
}

/// A snapshot, in pieces of any size. What is taken writes the same snapshot again.
pub fn snapshot(data: &[u8]) {
    let mut loader = Loader::new(&testkit::facts(), &CounterFactory, CounterDecoder, CounterEncoder);
    let mut rest = data;
    loop {
        match loader.take(&CounterFactory, rest) {
            Ok(0) => break,
            Ok(taken) => rest = &rest[taken..],
            Err(error) => {
                let _: SnapshotError = error;
                return;
            }
        }
    }
    let anchor = loader.anchor();
    if let Ok(copy) = loader.finish() {
        let mut writer = Writer::new(Place { chain: anchor.end.chain, terms: anchor.terms });
        let mut bytes = Vec::new();
        while copy.snapshot(&mut writer, &mut bytes) == Step::More {}
        assert_eq!(bytes, &data[..data.len() - rest.len()]);
    }
}

fn snapshot_seed() -> Vec<u8> {
    let mut kit = Testkit::new(&testkit::facts(), CounterFactory, CounterDecoder, CounterEncoder);
    let session = kit.open(testkit::CLIENT);
    kit.request(session, ordain_counter::SCHEMA, &Request::Add { counter: 9, by: 5 }.to_wire());
    snapshot_of(kit.live())
}
