//! The shells over real sockets, with the small node behind them.

mod common;

use common::{CLUSTER, Node, client_pair, cluster, core_config, node_pair, reply, server_header};
use ordain_client::blocking::{Client, ClientError, Outcome};
use ordain_client::{ClientConfig, ConnectError, CoreConfig, Event, Member, SubmitError, pipelined};
use ordain_keys::KeyPair;
use ordain_types::codes::Code;
use ordain_types::frame::{ClientFrame, ServerFrame};
use ordain_types::steer::Steer;
use ordain_types::{BatchIndex, ClusterFacts, Nanos, NodeId, OutputSeq, Seq, Stream};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// Serves connections one after the other; the n-th is cut after as many received bytes as `cuts[n]` says.
fn serve<S: Read + Write + 'static>(
    accept: impl Fn() -> Option<S> + Send + 'static,
    node: Arc<Mutex<Node>>,
    cuts: Vec<usize>,
) {
    thread::spawn(move || {
        let mut cuts = cuts.into_iter();
        while let Some(mut socket) = accept() {
            let mut left = cuts.next().unwrap_or(usize::MAX);
            let mut bytes = [0; 4096];
            while left > 0 {
                let part = bytes.len().min(left);
                let Ok(read @ 1..) = socket.read(&mut bytes[..part]) else { break };
                left -= read;
                let mut node = node.lock().unwrap();
                node.receive(&bytes[..read]);
                let out = std::mem::take(&mut node.outbox);
                drop(node);
                if left == 0 || socket.write_all(&out).is_err() {
                    break;
                }
            }
            node.lock().unwrap().hang_up();
        }
    });
}

fn tcp(cuts: Vec<usize>) -> (Arc<Mutex<Node>>, Member) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let node = Arc::new(Mutex::new(Node::new()));
    serve(move || Some(listener.accept().ok()?.0), node.clone(), cuts);
    (node, Member { address, key: Some(node_pair().public()) })
}

/// Generous: only a failing test waits for it.
fn config(members: Vec<Member>) -> ClientConfig {
    let timeout = Duration::from_secs(60);
    ClientConfig { timeout, discover: false, ..ClientConfig::new(members, core_config()) }
}

fn acknowledged(seq: u64, payload: &[u8]) -> Outcome {
    Outcome::Acknowledged { seq: Seq(seq), reply: reply(payload) }
}

#[test]
fn calls_queries_and_outputs_over_tcp() {
    let (node, member) = tcp(vec![]);
    let mut client = Client::connect(&config(vec![member])).unwrap();
    assert_eq!(client.call(1, b"abc").unwrap(), acknowledged(13, b"abc"));
    node.lock().unwrap().refusals.push((b"bad".to_vec(), Code::Malformed));
    assert_eq!(client.call(1, b"bad").unwrap(), Outcome::NotExecuted(Code::Malformed));
    assert_eq!(client.query(1, b"xyz").unwrap(), (Seq(13), b"zyx".to_vec()));
    let keys = client.keys().unwrap();
    assert_eq!(keys.iter().map(|key| key.number.get()).collect::<Vec<_>>(), (1..=60).collect::<Vec<_>>());
    assert!(keys.iter().all(|key| key.permissions == key.number && key.key == [key.number.get() as u8; 32]));
    assert_eq!(client.receipt(Seq(0)), client.receipt(Seq(13)));
    assert_eq!(client.receipt(Seq(14)), Err(ClientError::Query(Code::Malformed)));
    client.subscribe(Stream::Topic(3), OutputSeq(0)).unwrap();
    let wire = Stream::Topic(3).to_wire();
    node.lock().unwrap().publish(wire, 1);
    node.lock().unwrap().put(server_header(ServerFrame::Subscribed, Code::TooOld, wire, 0, 9), &[]);
    assert_eq!(client.call(1, b"d").unwrap(), acknowledged(15, b"d"));
    assert_eq!(client.next_output(Duration::from_secs(60)).unwrap().unwrap().number, OutputSeq(1));
    assert_eq!(
        client.next_output(Duration::from_secs(60)),
        Err(ClientError::Subscription { stream: Stream::Topic(3), code: Code::TooOld, next: OutputSeq(9) })
    );
    assert_eq!(client.next_output(Duration::ZERO).unwrap(), None);
    assert_eq!(client.call(1, &[0; 65_537]), Err(ClientError::Submit(SubmitError::TooLong { max: 65_536 })));
    client.close().unwrap();
    assert!(node.lock().unwrap().sessions.is_empty());
}

#[test]
fn a_reader_of_outputs_who_does_not_read_is_cut_off_and_told_where() {
    let (node, member) = tcp(vec![]);
    let mut client = Client::connect(&config(vec![member])).unwrap();
    client.subscribe(Stream::Public, OutputSeq(0)).unwrap();
    for number in 1..=5000 {
        node.lock().unwrap().publish(0, number);
    }
    client.call(1, b"brings the outputs along").unwrap();
    for number in 1..=4096 {
        let output = client.next_output(Duration::from_secs(60)).unwrap().unwrap();
        assert_eq!(output.number, OutputSeq(number));
    }
    let expected =
        ClientError::Subscription { stream: Stream::Public, code: Code::TooSlow, next: OutputSeq(4097) };
    assert_eq!(client.next_output(Duration::from_secs(60)), Err(expected));
}

#[test]
fn calls_outlive_connections() {
    // Sign-in takes 216 bytes, a Resume 32, a request 40.
    for cut in [100, 130, 240, 260, 290, 310] {
        let (node, member) = tcp(vec![cut, 260, 270, 100]);
        let mut client = Client::connect(&config(vec![member])).unwrap();
        for byte in 0..4_u8 {
            assert!(matches!(client.call(1, &[byte; 3]).unwrap(), Outcome::Acknowledged { .. }));
            client.query(1, b"q").unwrap();
            client.receipt(Seq(0)).unwrap();
        }
        let expected: Vec<_> = (0..4_u8).map(|byte| vec![byte; 3]).collect();
        assert_eq!(node.lock().unwrap().executed, expected, "cut at {cut}");
    }
}

#[test]
fn many_requests_over_a_unix_socket_and_its_end() {
    let path = std::env::temp_dir().join(format!("ordain-client-{}.sock", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).unwrap();
    let node = Arc::new(Mutex::new(Node::new()));
    serve(move || Some(listener.accept().ok()?.0), node.clone(), vec![50_000, 70_001, 90_007]);
    let member = Member::at(&format!("unix:{}", path.display()));
    let mut client = pipelined::Client::connect(&config(vec![member])).unwrap();
    let (mut submitted, mut completed) = (0_u32, Vec::new());
    while completed.len() < 5000 {
        while submitted < 5000 && client.submit(1, &submitted.to_le_bytes()).is_ok() {
            submitted += 1;
        }
        client
            .poll_events(Duration::from_millis(100), |event| match event {
                Event::Completed(completion) => {
                    assert!(matches!(completion.outcome, ordain_client::Outcome::Acknowledged { .. }));
                    completed.push(completion.ticket.0);
                }
                Event::SessionLost { .. } => panic!("{event:?}"),
                _ => {}
            })
            .unwrap();
    }
    assert_eq!(client.poll(|_| panic!("nothing is open")), Ok(0));
    completed.sort_unstable();
    assert_eq!(completed, (1..=5000).collect::<Vec<_>>());
    let expected: Vec<_> = (0..5000_u32).map(|number| number.to_le_bytes().to_vec()).collect();
    assert_eq!(node.lock().unwrap().executed, expected);
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn members_are_tried_in_turn_and_the_leader_first() {
    let (_, good) = tcp(vec![]);
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = Member::at(&closed.local_addr().unwrap().to_string());
    drop(closed);
    let mut client = Client::connect(&config(vec![nobody, good.clone()])).unwrap();
    assert!(client.call(1, b"x").is_ok());
    // The node serves one connection at a time.
    drop(client);

    // One that does not lead names the leader; the third would never answer.
    let (follower, first) = tcp(vec![]);
    follower.lock().unwrap().open_refusals = vec![Code::NotLeader; 100];
    follower.lock().unwrap().leader = good.address.clone();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = Member::at(&silent.local_addr().unwrap().to_string());
    let mut client = Client::connect(&config(vec![first, silent, good])).unwrap();
    assert!(client.call(1, b"x").is_ok());
}

#[test]
fn members_that_a_node_tells_are_tried_when_it_is_gone() {
    // The first knows more members than the client was given, on several pages, and then goes for good.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let first = Member::at(&listener.local_addr().unwrap().to_string());
    let (node, second) = tcp(vec![]);
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = closed.local_addr().unwrap().to_string();
    drop(closed);
    let told =
        cluster(&[&first.address, &nobody, &nobody.replace("127.0.0.1", "127.0.0.2"), &second.address]);
    node.lock().unwrap().cluster = told.clone();
    let mut one = Node::new();
    one.cluster = told;
    let once = Mutex::new(Some(listener));
    // It takes one connection, and has answered one call when that ends.
    let accept = move || Some(once.lock().unwrap().take()?.accept().ok()?.0);
    serve(accept, Arc::new(Mutex::new(one)), vec![500]);
    let mut client =
        Client::connect(&ClientConfig { discover: true, ..config(vec![first.clone()]) }).unwrap();
    assert_eq!(client.address(), first.address);
    while client.address() != second.address {
        client.query(1, b"q").unwrap();
    }
    assert!(matches!(client.call(1, b"x").unwrap(), Outcome::Acknowledged { .. }));
    assert_eq!(node.lock().unwrap().executed, [b"x"]);
}

#[test]
fn who_leads_is_found_through_one_that_does_not_though_nobody_knew_it() {
    let (_, leader) = tcp(vec![]);
    let (follower, known) = tcp(vec![]);
    {
        let mut follower = follower.lock().unwrap();
        follower.open_refusals = vec![Code::NotLeader; 100];
        follower.leader.clone_from(&leader.address);
        follower.cluster = cluster(&[&known.address, &leader.address]);
    }
    let mut client = Client::connect(&ClientConfig { discover: true, ..config(vec![known]) }).unwrap();
    assert!(client.call(1, b"x").is_ok());
    assert_eq!(client.address(), leader.address);
}

#[test]
fn a_node_in_the_place_of_another_is_known_by_the_key_that_was_told() {
    let (_, leader) = tcp(vec![]);
    let (follower, known) = tcp(vec![]);
    {
        let mut follower = follower.lock().unwrap();
        follower.open_refusals = vec![Code::NotLeader; 100];
        follower.leader.clone_from(&leader.address);
        follower.cluster = cluster(&[&known.address, &leader.address]);
    }
    let before = Member { key: Some(client_pair().public()), ..leader };
    let mut client =
        Client::connect(&ClientConfig { discover: true, ..config(vec![known, before]) }).unwrap();
    assert!(client.call(1, b"x").is_ok());
}

#[test]
fn one_that_refuses_for_good_does_not_end_the_search_for_another() {
    let (_, good) = tcp(vec![]);
    let (follower, known) = tcp(vec![]);
    // It leads after a while only, and who stands at the third address has another key than is asked for.
    follower.lock().unwrap().open_refusals = vec![Code::NotLeader; 10];
    let stranger = Member { key: Some(client_pair().public()), ..good };
    let mut client = Client::connect(&config(vec![stranger, known.clone()])).unwrap();
    assert!(client.call(1, b"x").is_ok());
    assert_eq!(client.address(), known.address);
}

#[test]
fn members_that_join_while_a_connection_stands_are_tried_when_it_ends() {
    // It takes one connection.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let first = Member::at(&listener.local_addr().unwrap().to_string());
    let once = Mutex::new(Some(listener));
    let node = Arc::new(Mutex::new(Node::new()));
    node.lock().unwrap().cluster = cluster(&[&first.address]);
    serve(move || Some(once.lock().unwrap().take()?.accept().ok()?.0), node.clone(), vec![]);
    let (second, joined) = tcp(vec![]);
    let discover_again = Duration::from_millis(1);
    let config = ClientConfig { discover: true, discover_again, ..config(vec![first.clone()]) };
    let mut client = Client::connect(&config).unwrap();
    client.call(1, b"x").unwrap();
    node.lock().unwrap().cluster = cluster(&[&first.address, &joined.address]);
    let asked = || {
        let node = node.lock().unwrap();
        node.kinds.iter().filter(|kind| **kind == ClientFrame::Members as u8).count()
    };
    let before = asked();
    while asked() < before + 3 {
        client.query(1, b"q").unwrap();
    }
    {
        let (mut from, mut to) = (node.lock().unwrap(), second.lock().unwrap());
        to.sessions = std::mem::take(&mut from.sessions);
        from.put(server_header(ServerFrame::Goodbye, Code::Stopping, 0, 0, 0), b"");
    }
    assert!(matches!(client.call(1, b"y").unwrap(), Outcome::Acknowledged { .. }));
    assert_eq!(client.address(), joined.address);
}

#[test]
fn an_operator_learns_of_the_cluster_and_changes_it() {
    let (node, member) = tcp(vec![]);
    let told = cluster(&["a:1", "b:1", "c:1", "d:1", "e:1"]);
    node.lock().unwrap().cluster = told.clone();
    let mut client = Client::connect(&config(vec![member])).unwrap();
    let (head, members) = client.members().unwrap();
    assert_eq!((head.members.get(), head.leader(), &members), (5, None, &told.members));
    assert_eq!(client.made().unwrap(), members[1..], "as this node pretends");
    let (facts, operator) = client.facts().unwrap();
    assert_eq!((facts, operator.0), (ClusterFacts::new(CLUSTER, Nanos(1), 3), [7; 32]));
    assert_eq!(client.steer(&Steer::Level(1)), Ok(BatchIndex(77)));
    let refused = ClientError::Refused(Code::NotYet, "because".to_owned());
    assert_eq!(client.steer(&Steer::Promote(NodeId(1))), Err(refused));
}

#[test]
fn a_change_whose_answer_is_lost_is_not_repeated() {
    // Sign-in, SessionOpen, and 20 bytes of the change.
    let (_, member) = tcp(vec![216 + 40 + 20]);
    let mut client = Client::connect(&config(vec![member])).unwrap();
    assert!(matches!(client.steer(&Steer::Level(1)), Err(ClientError::Unanswered(_))));
    assert_eq!(client.steer(&Steer::Level(1)), Ok(BatchIndex(77)));
}

#[test]
fn what_will_not_pass_is_told_at_once() {
    let (_, mut member) = tcp(vec![]);
    assert_eq!(Client::connect(&config(vec![])).unwrap_err(), ClientError::Connect(ConnectError::NoMembers));
    member.key = Some(client_pair().public());
    let error = Client::connect(&config(vec![member.clone()])).unwrap_err();
    assert!(
        matches!(&error, ClientError::Connect(ConnectError::Refused(why)) if why.contains("another key"))
    );
    let (_, member) = tcp(vec![]);
    let core = CoreConfig {
        cluster: ordain_types::ClusterId([1; 16]),
        ..CoreConfig::new(KeyPair::from_seed(&[1; 32]))
    };
    let error = Client::connect(&ClientConfig { core, ..config(vec![member]) }).unwrap_err();
    assert!(matches!(error, ClientError::Connect(ConnectError::Refused(_))), "{error}");
}

#[test]
fn nobody_there_is_a_timeout() {
    let member = Member::at("unix:/nonexistent/socket");
    let config = ClientConfig { timeout: Duration::from_millis(120), ..config(vec![member]) };
    let error = Client::connect(&config).unwrap_err();
    assert!(
        matches!(&error, ClientError::Connect(ConnectError::Timeout(why)) if why.contains("/nonexistent/socket"))
    );
}
