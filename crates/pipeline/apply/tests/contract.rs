//! Applications are held to their contract, and a session's own stream lives as long as the session.

use ordain_agent::wire::delivery;
use ordain_api::{
    AppFactory, Application, Buf, Class, ClassKind, Context, KeyId, Malformed, Nanos, RequestDecoder,
    ResponseEncoder, RestoreError, SessionId, Sink, Step, Stream, WARM_MAX,
};
use ordain_apply::testkit::{CLIENT, Heard, Testkit, facts};
use std::cell::RefCell;

thread_local! {
    /// How many requests were shown at once.
    static SHOWN: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

/// Does what it is told, right or wrong.
#[derive(Debug, Default)]
struct Puppet {
    deadline: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Strings;

const REPLY: u8 = 251;
const OUTPUT: u8 = 252;
const SPEAK_OF: u8 = 253;
const MORE: u8 = 254;
const DEADLINE: u8 = 255;

impl Puppet {
    fn act<S: Sink<Self>>(orders: &[u8], context: &Context, sink: &mut S) {
        for order in orders {
            match *order {
                REPLY => sink.reply(&9),
                OUTPUT => sink.output(Stream::Public, &9),
                SPEAK_OF => sink.output(Stream::Session(context.session), &9),
                _ => {}
            }
        }
    }
}

impl Application for Puppet {
    type Request<'a> = &'a [u8];
    type Query<'a> = ();
    type Reply = u8;
    type Answer = ();
    type Output = u8;

    fn apply<S: Sink<Self>>(&mut self, orders: &[u8], context: &Context, sink: &mut S) -> Step {
        Self::act(orders, context, sink);
        if orders.contains(&DEADLINE) {
            self.deadline = Some(context.time.0);
        }
        if let [SPEAK_OF, of, ..] = orders {
            sink.output(Stream::Session(SessionId(u64::from(*of))), &9);
        }
        if orders.contains(&MORE) { Step::More } else { Step::Done }
    }

    fn warm<'a>(&self, requests: impl Iterator<Item = &'a [u8]>) {
        SHOWN.with_borrow_mut(|shown| shown.push(requests.count()));
    }

    fn resume<S: Sink<Self>>(&mut self, context: &Context, sink: &mut S) -> Step {
        Self::act(&[OUTPUT], context, sink);
        Step::Done
    }

    fn query(&self, (): (), _context: &Context) {}

    fn next_deadline(&self) -> Option<Nanos> {
        self.deadline.map(Nanos)
    }

    fn fire<S: Sink<Self>>(&mut self, _deadline: Nanos, context: &Context, sink: &mut S) -> Step {
        self.deadline = None;
        Self::act(&[REPLY], context, sink);
        Step::Done
    }

    fn snapshot(&self, _cursor: &mut u64, out: &mut Vec<u8>) -> Step {
        out.extend_from_slice(&self.deadline.unwrap_or(0).to_le_bytes());
        Step::Done
    }

    fn load(&mut self, chunk: &[u8]) -> Result<(), RestoreError> {
        let deadline = u64::from_le_bytes(chunk.try_into().map_err(|_| RestoreError("length".into()))?);
        self.deadline = Some(deadline).filter(|deadline| *deadline > 0);
        Ok(())
    }
}

impl AppFactory for Strings {
    type App = Puppet;

    fn identity(&self) -> (&'static str, u32) {
        ("puppet", 1)
    }

    fn create(&self) -> Puppet {
        Puppet::default()
    }
}

impl RequestDecoder<Puppet> for Strings {
    fn classify(&self, _schema: u8, _payload: &[u8]) -> Result<Class, Malformed> {
        Ok(Class { kind: ClassKind::Command, permissions: 0, level: 0 })
    }

    fn decode<'a>(&self, _schema: u8, payload: &'a [u8]) -> Result<&'a [u8], Malformed> {
        Ok(payload)
    }

    fn decode_query(&self, _schema: u8, _payload: &[u8]) -> Result<(), Malformed> {
        Err(Malformed("no queries"))
    }
}

impl ResponseEncoder<Puppet> for Strings {
    fn reply(&self, reply: &u8, out: &mut Buf<'_>) {
        out.put(&[*reply]);
    }

    fn answer(&self, (): &(), _out: &mut Buf<'_>) {}

    fn output(&self, output: &u8, out: &mut Buf<'_>) {
        out.put(&[*output]);
    }
}

fn kit() -> Testkit<Strings, Strings, Strings> {
    Testkit::new(&facts(), Strings, Strings, Strings)
}

/// Runs one request, record 5, and what follows from it.
fn run(orders: &[u8]) {
    let mut kit = kit();
    let session = kit.open(CLIENT);
    kit.request(session, 0, orders);
    kit.tick();
}

#[test]
fn a_good_puppet_is_let_be() {
    run(&[REPLY]);
    run(&[REPLY, OUTPUT, MORE]);
    run(&[[OUTPUT; 64].as_slice(), &[REPLY, MORE]].concat());
}

#[test]
#[should_panic(expected = "gave no reply while executing record 5")]
fn every_request_is_replied_to() {
    run(&[OUTPUT]);
}

#[test]
#[should_panic(expected = "gave no reply while executing record 5")]
fn in_its_last_step_at_the_latest() {
    run(&[OUTPUT, MORE]);
}

#[test]
#[should_panic(expected = "replied twice while executing record 5")]
fn and_once_only() {
    run(&[REPLY, REPLY]);
}

#[test]
#[should_panic(expected = "replied to a deadline while executing record 6")]
fn nobody_asked_for_a_deadline() {
    run(&[REPLY, DEADLINE]);
}

#[test]
#[should_panic(expected = "emitted more outputs than a step may while executing record 5")]
fn a_step_emits_no_more_than_its_bound() {
    run(&[[OUTPUT; 65].as_slice(), &[REPLY]].concat());
}

#[test]
fn a_sessions_stream_ends_with_the_session() {
    let mut kit = kit();
    let (one, two) = (kit.open(CLIENT), kit.open(CLIENT));
    let outputs = |heard: &[Heard]| -> Vec<(u64, u64)> {
        let outputs = heard.iter().filter(|heard| heard.is(delivery::OUTPUT));
        outputs.map(|output| (output.header.session.get(), output.header.number.get())).collect()
    };
    let of = |session: SessionId| Stream::Session(session).to_wire();
    // It speaks of its own session, then of the one named.
    let mut speak = |named: SessionId| {
        kit.push_request(one, 0, &[SPEAK_OF, named.0 as u8, REPLY]);
        let heard = kit.seal();
        outputs(&heard)
    };
    assert_eq!(speak(two), [(of(one), 1), (of(two), 1)]);
    assert_eq!(speak(two), [(of(one), 2), (of(two), 2)]);
    assert_eq!(speak(SessionId(200)), [(of(one), 3)], "nobody could read it");
    assert!(kit.live().may_read(Stream::Session(two), CLIENT, 0));
    assert!(!kit.live().may_read(Stream::Session(two), KeyId(3), 0));
    // Both expire; the stream of neither is spoken of again.
    kit.wait(facts().session_timeout.0);
    assert_eq!(kit.tick().len(), 2);
    assert!(!kit.live().may_read(Stream::Session(two), CLIENT, 0));
}

/// Every request is shown once before it is executed, few at a time, and showing leads to nothing.
#[test]
fn requests_are_shown_in_advance() {
    const REQUESTS: usize = 2 * WARM_MAX + 3;
    let mut kit = kit();
    let session = kit.open(CLIENT);
    SHOWN.take();
    for _ in 0..REQUESTS {
        kit.push_request(session, 0, &[REPLY]);
    }
    let replies = kit.seal().iter().filter(|heard| heard.is(delivery::REPLY)).count();
    assert_eq!(replies, REQUESTS);
    let shown = SHOWN.take();
    let once = [WARM_MAX, WARM_MAX, 3];
    assert!(!shown.is_empty() && shown.chunks(once.len()).all(|copy| copy == once), "{shown:?}");
}
