//! The session rules: a table of cases, and any sequence of records against a naive model.

use ordain_agent::wire::delivery;
use ordain_api::Stream;
use ordain_apply::testkit::{CLIENT, Heard, Log, OPERATOR, OTHER, Testkit, facts};
use ordain_counter::{CounterDecoder, CounterEncoder, CounterFactory, Request, SCHEMA};
use ordain_types::codes::Code;
use ordain_types::frame::{KeyBody, OpenBody, ServerFrame};
use ordain_types::record::permission;
use ordain_types::{ClusterFacts, KeyId, Nanos, RecordHeader, RecordKind, Seq, SessionId};
use proptest::prelude::*;
use std::collections::BTreeMap;
use zerocopy::IntoBytes;

type Kit = Testkit<CounterFactory, CounterDecoder, CounterEncoder>;

fn kit(facts: &ClusterFacts) -> Kit {
    Testkit::new(facts, CounterFactory, CounterDecoder, CounterEncoder)
}

/// Small bounds, so that they are met.
fn tight() -> ClusterFacts {
    ClusterFacts { window: 4, sessions_max: 3, sessions_per_key: 2, session_timeout: Nanos(1000), ..facts() }
}

fn header(kind: RecordKind, session: SessionId, number: u64, span: u16) -> RecordHeader {
    RecordHeader {
        schema: SCHEMA,
        session: session.0.into(),
        number: number.into(),
        open_span: span.into(),
        key: CLIENT.0.into(),
        ..Log::header(kind)
    }
}

fn add(by: i64) -> [u8; 16] {
    Request::Add { counter: 0, by }.to_wire()
}

fn send(kit: &mut Kit, header: RecordHeader, payload: &[u8]) -> Vec<Heard> {
    kit.log().push(header, payload);
    kit.seal()
}

/// The reply to a record: its code, seq field and the value in its payload.
fn reply(heard: &[Heard]) -> Option<(Code, u64, Option<i64>)> {
    let replies: Vec<_> = heard.iter().filter(|heard| heard.is(delivery::REPLY)).collect();
    assert!(replies.len() <= 1, "one record, one reply");
    let reply = replies.first()?;
    assert_eq!(reply.header.kind, ServerFrame::Reply as u8);
    let value = reply.payload.get(8..).map(|bytes| i64::from_le_bytes(bytes.try_into().unwrap()));
    Some((reply.code(), reply.header.seq.get(), value))
}

fn open(kit: &mut Kit, key: KeyId, body: &[u8]) -> (Code, Heard) {
    let mut heard = send(
        kit,
        RecordHeader { key: key.0.into(), number: 55.into(), ..Log::header(RecordKind::SessionOpen) },
        body,
    );
    let opened = heard.pop().unwrap();
    assert!(opened.is(delivery::OPENED));
    assert_eq!((opened.header.number.get(), opened.delivery.conn.get()), (55, 55));
    (opened.code(), opened)
}

/// Sends additions of 1 under the numbers given, each confirming everything up to `span` before it, to a
/// session of `CLIENT`, and then `last`; checks what `last` is answered.
#[track_caller]
fn check(numbers: &[(u64, u16)], last: (RecordHeader, &[u8]), expected: (Code, Expect, Option<i64>)) {
    let mut kit = kit(&tight());
    let session = kit.open(CLIENT);
    let mut seqs = vec![0];
    for (number, span) in numbers {
        seqs.push(kit.log().push(header(RecordKind::Request, session, *number, *span), &add(1)).0);
        kit.seal();
    }
    let (mut header, payload) = last;
    if header.session.get() == 0 {
        header.session = session.0.into();
    }
    let own = kit.log().push(header, payload).0;
    let heard = kit.seal();
    let seq = match expected.1 {
        Expect::Own => own,
        Expect::Original(place) => seqs[place],
        Expect::Number(number) => number,
    };
    assert_eq!(reply(&heard), Some((expected.0, seq, expected.2)));
}

/// What the `seq` field holds.
enum Expect {
    /// The seq of the record that is answered.
    Own,
    /// The seq of the n-th addition.
    Original(usize),
    /// This number of the session.
    Number(u64),
}

const NONE: SessionId = SessionId::ZERO;

#[test]
fn every_session_rule() {
    use Code::*;
    use Expect::{Number as At, Original, Own};
    use RecordKind::Request;
    let request = |number, span| header(Request, NONE, number, span);
    let one = &add(1)[..];

    // The next number is executed, whatever it confirms.
    check(&[], (request(1, 0), one), (Executed, Own, Some(1)));
    check(&[(1, 0)], (request(2, 0), one), (Executed, Own, Some(2)));
    check(&[(1, 0)], (request(2, 1), one), (Executed, Own, Some(2)));
    check(&[(1, 0)], (request(2, u16::MAX), one), (Executed, Own, Some(2)));

    // A repetition gets the original reply with the original seq, as long as it is open.
    check(&[(1, 0)], (request(1, 0), one), (Executed, Original(1), Some(1)));
    check(&[(1, 0), (2, 1), (3, 2)], (request(2, 1), one), (Executed, Original(2), Some(2)));
    check(&[(1, 0), (2, 1), (3, 2)], (request(1, 0), one), (Executed, Original(1), Some(1)));
    check(&[(1, 0), (2, 1), (1, 0), (2, 0)], (request(2, 0), one), (Executed, Original(2), Some(2)));

    // What the client confirmed is forgotten; the floor never goes down.
    check(&[(1, 0), (2, 0)], (request(1, 0), one), (Forgotten, Own, None));
    check(&[(1, 0), (2, 0)], (request(2, 1), one), (Executed, Original(2), Some(2)));
    check(&[(1, 0), (2, 1), (3, 1)], (request(1, 0), one), (Forgotten, Own, None));
    check(&[(1, 0), (2, 1), (3, 1)], (request(2, 0), one), (Executed, Original(2), Some(2)));
    check(&[(1, 0)], (request(0, 0), one), (Forgotten, Own, None));

    // The same number with anything else in it is a conflict: payload, length, schema, kind.
    check(&[(1, 0)], (request(1, 0), &add(2)), (Conflict, Original(1), None));
    check(&[(1, 0)], (request(1, 0), &one[..15]), (Conflict, Original(1), None));
    check(&[(1, 0)], (RecordHeader { schema: 9, ..request(1, 0) }, one), (Conflict, Original(1), None));
    check(&[(1, 0)], (header(RecordKind::KeySet, NONE, 1, 0), one), (Conflict, Original(1), None));
    check(&[(1, 0)], (header(RecordKind::SessionClose, NONE, 1, 0), &[]), (Conflict, Original(1), None));

    // Beyond the next number nothing is executed, and the client learns which number is free.
    check(&[], (request(2, 0), one), (Expected, At(1), None));
    check(&[(1, 0)], (request(3, 0), one), (Expected, At(2), None));
    check(&[(1, 0)], (request(u64::MAX, 0), one), (Expected, At(2), None));

    // Nor beyond the window of 4: with 1 to 4 open, 5 is not taken, unless it confirms one.
    let full = [(1, 0), (2, 1), (3, 2), (4, 3)];
    check(&full, (request(5, 4), one), (Expected, At(5), None));
    check(&full, (request(5, u16::MAX), one), (Expected, At(5), None));
    check(&full, (request(5, 3), one), (Executed, Own, Some(5)));
    check(&full, (request(1, 0), one), (Executed, Original(1), Some(1)));

    // Sessions that do not exist, and those of others.
    let elsewhere =
        |session, key: KeyId| RecordHeader { key: key.0.into(), ..header(Request, session, 1, 0) };
    check(&[], (elsewhere(SessionId(999), CLIENT), one), (UnknownSession, Own, None));
    check(&[], (elsewhere(SessionId(1), CLIENT), one), (UnknownSession, Own, None));
    check(&[(1, 0)], (elsewhere(NONE, OTHER), one), (WrongKey, Own, None));
    check(&[(1, 0)], (elsewhere(NONE, KeyId(0)), one), (WrongKey, Own, None));

    // The runtime's own records are numbered like requests, and use their number up when they are invalid.
    check(&[(1, 0)], (header(RecordKind::SessionClose, NONE, 2, 0), &[]), (Executed, Own, None));
    check(&[(1, 0)], (header(RecordKind::SessionClose, NONE, 3, 0), &[]), (Expected, At(2), None));
    check(&[], (header(RecordKind::SessionClose, NONE, 1, 0), one), (Invalid, Own, None));
    check(&[], (header(RecordKind::KeySet, NONE, 1, 0), one), (Invalid, Own, None));
}

#[test]
fn a_refused_request_confirms_no_more_than_was_answered() {
    let mut kit = kit(&tight());
    let session = kit.open(CLIENT);
    send(&mut kit, header(RecordKind::Request, session, 1, 0), &add(1));
    // Number 9 claims that everything below is closed: true of 1, while 2 is still free.
    send(&mut kit, header(RecordKind::Request, session, 9, 0), &add(1));
    let heard = send(&mut kit, header(RecordKind::Request, session, 1, 0), &add(1));
    assert_eq!(reply(&heard).unwrap().0, Code::Forgotten);
    let heard = send(&mut kit, header(RecordKind::Request, session, 2, 0), &add(1));
    assert_eq!(reply(&heard).unwrap().2, Some(2));
}

#[test]
fn another_key_changes_nothing_in_a_session() {
    let mut kit = kit(&tight());
    let session = kit.open(CLIENT);
    send(&mut kit, header(RecordKind::Request, session, 1, 0), &add(1));
    kit.wait(900);
    let hostile = |kind| RecordHeader { key: OTHER.0.into(), ..header(kind, session, 2, 0) };
    for (kind, payload) in [
        (RecordKind::Request, &add(1)[..]),
        (RecordKind::SessionKeepAlive, &[]),
        (RecordKind::SessionClose, &[]),
    ] {
        let heard = send(&mut kit, hostile(kind), payload);
        for heard in heard {
            assert_eq!((heard.code(), heard.delivery.key.get()), (Code::WrongKey, u64::from(OTHER.0)));
        }
    }
    // Neither confirmed nor kept alive.
    let heard = send(&mut kit, header(RecordKind::Request, session, 1, 0), &add(1));
    assert_eq!(reply(&heard).unwrap().0, Code::Executed);
    kit.wait(1000);
    assert_eq!(kit.tick().len(), 1, "closed");
}

#[test]
fn sessions_are_bounded_per_key_and_in_all() {
    let mut kit = kit(&tight());
    let (first, _) = (kit.open(CLIENT), kit.open(CLIENT));
    let body = &[0; 8];
    let (code, refused) = open(&mut kit, CLIENT, body);
    assert_eq!((code, refused.header.session.get()), (Code::TooManySessions, 0));
    kit.open(OTHER);
    assert_eq!(open(&mut kit, OTHER, body).0, Code::TooManySessions);
    let heard = send(&mut kit, header(RecordKind::SessionClose, first, 1, 0), &[]);
    let closed = heard.last().unwrap();
    assert!(closed.is(delivery::CLOSED));
    assert_eq!((closed.delivery.conn.get(), closed.delivery.stint.get()), (first.0, 0));
    assert_eq!(open(&mut kit, CLIENT, body).0, Code::Executed);
    assert_eq!(open(&mut kit, CLIENT, body).0, Code::TooManySessions);
}

#[test]
fn impossible_opens_are_refused() {
    let mut kit = kit(&tight());
    for (key, body) in [
        (CLIENT, &[0; 7][..]),
        (CLIENT, &[0, 0, 0, 0, 0, 0, 0, 1]),
        (CLIENT, &[]),
        (KeyId(0), &[0; 8]),
        (KeyId(4), &[0; 8]),
        (KeyId(u32::MAX), &[0; 8]),
    ] {
        assert_eq!(open(&mut kit, key, body).0, Code::Invalid);
    }
    assert_eq!(kit.live().sessions(), 0);
}

#[test]
fn sessions_expire_in_order_of_deadline_then_id() {
    let mut kit = kit(&ClusterFacts { sessions_per_key: 3, ..tight() });
    let start = kit.log().time();
    let (one, two, three) = (kit.open(CLIENT), kit.open(CLIENT), kit.open(CLIENT));
    assert_eq!(kit.next_tick(), Some(start.plus(1000)));
    kit.wait(10);
    // Of the same age from here on, but the later one spoke first.
    kit.log().push(header(RecordKind::SessionKeepAlive, three, 1, 0), &[]);
    kit.log().push(header(RecordKind::SessionKeepAlive, one, 1, 0), &[]);
    assert!(kit.seal().is_empty(), "a keep-alive is not answered");
    kit.wait(989);
    assert!(kit.tick().is_empty());
    kit.wait(1000);
    let closed: Vec<_> = kit.tick().iter().map(|heard| heard.delivery.conn.get()).collect();
    assert_eq!(closed, [two.0, one.0, three.0]);
    assert_eq!((kit.next_tick(), kit.live().sessions()), (None, 0));
}

#[test]
fn a_session_lives_exactly_as_long_as_its_timeout() {
    for (idle, lives) in [(999, true), (1000, false), (1001, false)] {
        let mut kit = kit(&tight());
        let session = kit.open(CLIENT);
        kit.wait(idle);
        // The deadline passes before the records of the batch that brings its time.
        let heard = send(&mut kit, header(RecordKind::Request, session, 1, 0), &add(1));
        assert_eq!(reply(&heard).unwrap().0 == Code::Executed, lives, "after {idle}");
    }
}

#[test]
fn the_applications_deadline_comes_before_the_runtimes() {
    let mut kit = kit(&tight());
    let session = kit.open(CLIENT);
    let stream = Stream::Topic(5);
    let remind = Request::Remind { counter: 5, delay: 1000 }.to_wire();
    send(&mut kit, header(RecordKind::Request, session, 1, 0), &remind);
    assert!(kit.live().may_read(stream, OTHER, 0));
    kit.wait(5000);
    let heard = kit.tick();
    assert!(heard[0].is(delivery::OUTPUT) && heard[1].is(delivery::CLOSED));
}

#[test]
fn keys_are_numbered_in_order_and_keep_their_number() {
    let mut kit = kit(&tight());
    let session = kit.open(OPERATOR);
    let set = |kit: &mut Kit, number, byte, permissions: u32| {
        let header = RecordHeader {
            key: OPERATOR.0.into(),
            permissions: permission::OPERATOR.into(),
            ..header(RecordKind::KeySet, session, number, 0)
        };
        let body = KeyBody { key: [byte; 32], permissions: permissions.into(), reserved: [0; 4] };
        let heard = send(kit, header, body.as_bytes());
        assert!(heard[0].is(delivery::KEY) && heard[0].payload == body.as_bytes());
        assert_eq!(heard[0].delivery.stint.get(), 0);
        assert_eq!(heard[1].payload, (heard[0].delivery.key.get() as u32).to_le_bytes());
        heard[0].delivery.key.get()
    };
    assert_eq!(set(&mut kit, 1, 77, 256), 4);
    assert_eq!(set(&mut kit, 2, 78, 512), 5);
    assert_eq!(set(&mut kit, 3, 77, 0), 4, "revoked, not removed");
    assert_eq!(kit.live().key(KeyId(4)), Some(([77; 32], 0)));
    assert_eq!(set(&mut kit, 4, 79, 1), 6);
    // Without the operator's permission, and with a body that is none.
    let header = RecordHeader { key: OPERATOR.0.into(), ..header(RecordKind::KeySet, session, 5, 0) };
    let body = KeyBody { key: [80; 32], permissions: 1.into(), reserved: [0; 4] };
    assert_eq!(reply(&send(&mut kit, header, body.as_bytes())).unwrap().0, Code::Invalid);
    assert_eq!(kit.live().key(KeyId(7)), None);
}

/// What the model keeps of a session: everything.
#[derive(Clone, Debug)]
struct Model {
    key: KeyId,
    last: u64,
    floor: u64,
    /// By number: seq, payload, reply value.
    done: Vec<(u64, Vec<u8>, i64)>,
}

#[derive(Clone, Debug)]
enum Op {
    Open(u32),
    Add { session: usize, key: u32, ahead: i64, span: u16, by: i64 },
    KeepAlive { session: usize, span: u16 },
    Close { session: usize },
    Wait(u64),
    Seal,
}

fn any_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        1 => (2_u32..4).prop_map(Op::Open),
        12 => (0_usize..4, 2_u32..4, prop_oneof![4 => Just(0_i64), 3 => -5_i64..0, 1 => 1_i64..3], 0_u16..6, 1_i64..3)
            .prop_map(|(session, key, ahead, span, by)| Op::Add { session, key, ahead, span, by }),
        1 => (0_usize..4, 0_u16..6).prop_map(|(session, span)| Op::KeepAlive { session, span }),
        1 => (0_usize..4).prop_map(|session| Op::Close { session }),
        2 => (0_u64..700).prop_map(Op::Wait),
        4 => Just(Op::Seal),
    ]
}

/// The rules once more, as plainly as they can be said.
#[derive(Default)]
struct Naive {
    sessions: BTreeMap<u64, Model>,
    ids: Vec<u64>,
    sum: i64,
    expected: Vec<(u8, u8, u64, u64, u64, Option<i64>)>,
}

impl Naive {
    fn expire(&mut self, time: u64) {
        let mut due: Vec<_> =
            self.sessions.iter().map(|(id, s)| (s.last + 1000, *id)).filter(|(at, _)| *at <= time).collect();
        due.sort_unstable();
        for (_, id) in due {
            self.sessions.remove(&id);
            self.say(delivery::CLOSED, Code::Executed, id, 0, 0, None);
        }
    }

    fn say(&mut self, kind: u64, code: Code, session: u64, number: u64, seq: u64, value: Option<i64>) {
        self.expected.push((kind as u8, code as u8, session, number, seq, value));
    }

    fn open(&mut self, key: KeyId, seq: u64, time: u64) {
        let held = self.sessions.values().filter(|session| session.key == key).count();
        if self.sessions.len() < 3 && held < 2 {
            self.sessions.insert(seq, Model { key, last: time, floor: 1, done: Vec::new() });
            self.ids.push(seq);
            self.say(delivery::OPENED, Code::Executed, seq, 0, seq, None);
        } else {
            self.say(delivery::OPENED, Code::TooManySessions, 0, 0, seq, None);
        }
    }

    fn next(&self, id: u64) -> u64 {
        self.sessions.get(&id).map_or(1, |session| session.done.len() as u64 + 1)
    }

    /// A numbered record; `by` is `None` for a close.
    fn ask(&mut self, head: &RecordHeader, payload: &[u8], by: Option<i64>, seq: u64, time: u64) {
        let (id, number) = (head.session.get(), head.number.get());
        let kind = delivery::REPLY;
        let Some(session) = self.sessions.get_mut(&id) else {
            return self.say(kind, Code::UnknownSession, id, number, seq, None);
        };
        if session.key != head.key() {
            return self.say(kind, Code::WrongKey, id, number, seq, None);
        }
        let next = session.done.len() as u64 + 1;
        session.last = time;
        session.floor = session.floor.max(head.lowest_open().0.min(next));
        if number > next || (number == next && next >= session.floor + 4) {
            return self.say(kind, Code::Expected, id, number, next, None);
        }
        if number < session.floor {
            return self.say(kind, Code::Forgotten, id, number, seq, None);
        }
        if let Some((original, asked, value)) = session.done.get(number as usize - 1).cloned() {
            return if asked == payload {
                self.say(kind, Code::Executed, id, number, original, Some(value));
            } else {
                self.say(kind, Code::Conflict, id, number, original, None);
            };
        }
        match by {
            Some(by) => {
                self.sum += by;
                session.done.push((seq, payload.to_vec(), self.sum));
                self.say(kind, Code::Executed, id, number, seq, Some(self.sum));
            }
            None => {
                self.sessions.remove(&id);
                self.say(kind, Code::Executed, id, number, seq, None);
                self.say(delivery::CLOSED, Code::Executed, id, 0, 0, None);
            }
        }
    }
}

/// What the kit said, in the model's words. Outputs are the application's.
fn said(heard: &[Heard]) -> impl Iterator<Item = (u8, u8, u64, u64, u64, Option<i64>)> + '_ {
    heard.iter().filter(|heard| !heard.is(delivery::OUTPUT)).map(|heard| {
        let head = &heard.header;
        if heard.is(delivery::CLOSED) {
            return (delivery::CLOSED as u8, 0, heard.delivery.conn.get(), 0, 0, None);
        }
        let value = heard.payload.get(8..).map(|bytes| i64::from_le_bytes(bytes.try_into().unwrap()));
        let kind = heard.delivery.kind.get() as u8;
        (kind, head.code, head.session.get(), head.number.get(), head.seq.get(), value)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
    #[test]
    fn sessions_do_what_the_naive_model_says(ops in prop::collection::vec(any_op(), 1..120)) {
        let mut kit = kit(&tight());
        let mut model = Naive::default();
        let mut heard = Vec::new();
        // A batch's time is known when it is sealed: what it holds is judged then.
        let mut open: Vec<(Seq, RecordHeader, Vec<u8>, Option<i64>)> = Vec::new();
        let mut seal = |kit: &mut Kit, model: &mut Naive, open: &mut Vec<(Seq, RecordHeader, Vec<u8>, Option<i64>)>| {
            let time = kit.log().time().0;
            model.expire(time);
            for (seq, head, payload, by) in open.drain(..) {
                match head.kind().unwrap() {
                    RecordKind::SessionOpen => model.open(head.key(), seq.0, time),
                    RecordKind::SessionKeepAlive => {
                        if let Some(session) = model.sessions.get_mut(&head.session.get())
                            && session.key == head.key()
                        {
                            session.last = time;
                            let next = session.done.len() as u64 + 1;
                            session.floor = session.floor.max(head.lowest_open().0.min(next));
                        }
                    }
                    _ => model.ask(&head, &payload, by, seq.0, time),
                }
            }
            heard.extend(said(&kit.seal()));
            assert_eq!(heard, model.expected);
        };
        for op in ops.into_iter().chain([Op::Seal]) {
            let id = |session: usize, model: &Naive| {
                model.ids.len().checked_sub(1 + session).map_or(999, |place| model.ids[place])
            };
            match op {
                Op::Wait(nanos) => {
                    // Between batches only, so that a record's batch time is that of its seal.
                    seal(&mut kit, &mut model, &mut open);
                    kit.wait(nanos);
                }
                Op::Seal => seal(&mut kit, &mut model, &mut open),
                Op::Open(key) => {
                    let head = RecordHeader { key: key.into(), ..Log::header(RecordKind::SessionOpen) };
                    let seq = kit.log().push(head, OpenBody { reserved: [0; 8] }.as_bytes());
                    open.push((seq, head, Vec::new(), None));
                }
                Op::Add { session, key, ahead, span, by } => {
                    let id = id(session, &model);
                    let queued = open.iter().filter(|(_, head, ..)| head.session.get() == id).count() as u64;
                    let number = (model.next(id) + queued).saturating_add_signed(ahead);
                    // Mostly the session's own key.
                    let own = model.sessions.get(&id).map_or(key, |session| session.key.0);
                    let key = if by == 2 && span == 5 { key } else { own };
                    let head = RecordHeader { key: key.into(), ..header(RecordKind::Request, SessionId(id), number, span) };
                    let payload = add(by);
                    open.push((kit.log().push(head, &payload), head, payload.to_vec(), Some(by)));
                }
                Op::KeepAlive { session, span } => {
                    let id = id(session, &model);
                    let head = header(RecordKind::SessionKeepAlive, SessionId(id), model.next(id), span);
                    open.push((kit.log().push(head, &[]), head, Vec::new(), None));
                }
                Op::Close { session } => {
                    let id = id(session, &model);
                    let head = header(RecordKind::SessionClose, SessionId(id), model.next(id), 0);
                    open.push((kit.log().push(head, &[]), head, Vec::new(), None));
                }
            }
        }
    }
}
