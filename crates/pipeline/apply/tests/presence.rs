//! What applications are told of connections: from the log alone, alike on every copy and from every snapshot.

use ordain_agent::wire::delivery;
use ordain_api::{
    AppFactory, Application, Buf, Class, ClassKind, Context, Malformed, Nanos, Presence, RequestDecoder,
    ResponseEncoder, RestoreError, Seed, SessionId, Sink, Step, Stream,
};
use ordain_apply::testkit::{CLIENT, Heard, Log, OTHER, Testkit, facts};
use ordain_types::{KeyId, RecordHeader, RecordKind};

const LOST: u8 = 1;
const UNPROVED: u8 = 2;
const BACK: u8 = 3;
const ENDED: u8 = 4;

/// Is watched or not, as it is told, and says what it hears in the next batch.
#[derive(Debug, Default)]
struct Watcher {
    /// What, of whom, when.
    heard: Vec<(u8, u64, u64)>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Parts {
    seed: bool,
}

impl Application for Watcher {
    type Request<'a> = &'a [u8];
    type Query<'a> = ();
    type Reply = ();
    type Answer = ();
    type Output = [u8; 2];

    fn apply<S: Sink<Self>>(&mut self, order: &[u8], _context: &Context, sink: &mut S) -> Step {
        match order {
            b"watch" => sink.watch(true),
            b"let be" => sink.watch(false),
            _ => {}
        }
        sink.reply(&());
        Step::Done
    }

    fn query(&self, (): (), _context: &Context) {}

    fn next_deadline(&self) -> Option<Nanos> {
        self.heard.first().map(|(_, _, time)| Nanos(*time))
    }

    fn fire<S: Sink<Self>>(&mut self, _deadline: Nanos, _context: &Context, sink: &mut S) -> Step {
        let (what, session, _) = self.heard.remove(0);
        sink.output(Stream::Public, &[what, session as u8]);
        Step::Done
    }

    fn presence(&mut self, session: SessionId, presence: Presence, context: &Context) {
        assert_eq!(context.session, session);
        let what = match presence {
            Presence::Lost => LOST,
            Presence::Unproved => UNPROVED,
            Presence::Back => BACK,
            Presence::Ended => ENDED,
        };
        self.heard.push((what, session.0, context.time.0));
    }

    fn snapshot(&self, _cursor: &mut u64, out: &mut Vec<u8>) -> Step {
        for (what, session, time) in &self.heard {
            out.push(*what);
            out.extend_from_slice(&session.to_le_bytes());
            out.extend_from_slice(&time.to_le_bytes());
        }
        Step::Done
    }

    fn load(&mut self, chunk: &[u8]) -> Result<(), RestoreError> {
        for item in chunk.chunks_exact(17) {
            let number = |at: usize| u64::from_le_bytes(item[at..at + 8].try_into().unwrap());
            self.heard.push((item[0], number(1), number(9)));
        }
        Ok(())
    }
}

impl AppFactory for Parts {
    type App = Watcher;

    fn identity(&self) -> (&'static str, u32) {
        ("watcher", 1)
    }

    fn create(&self) -> Watcher {
        Watcher::default()
    }

    fn seeds(&self) -> Vec<Seed> {
        let seed = Seed { schema: 0, payload: b"watch".to_vec() };
        if self.seed { vec![seed] } else { Vec::new() }
    }
}

impl RequestDecoder<Watcher> for Parts {
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

impl ResponseEncoder<Watcher> for Parts {
    fn reply(&self, (): &(), _out: &mut Buf<'_>) {}

    fn answer(&self, (): &(), _out: &mut Buf<'_>) {}

    fn output(&self, output: &[u8; 2], out: &mut Buf<'_>) {
        out.put(output);
    }
}

type Kit = Testkit<Parts, Parts, Parts>;

fn kit() -> Kit {
    Testkit::new(&facts(), Parts::default(), Parts::default(), Parts::default())
}

/// A session that is watched.
fn watched(kit: &mut Kit, key: KeyId) -> SessionId {
    let session = kit.open(key);
    kit.request(session, 0, b"watch");
    session
}

/// What the application says that it has heard.
fn said(heard: &[Heard]) -> Vec<(u8, u64)> {
    let outputs = heard.iter().filter(|heard| heard.is(delivery::OUTPUT));
    outputs.map(|output| (output.payload[0], output.payload[1].into())).collect()
}

/// What it says in the next batch.
fn heard(kit: &mut Kit) -> Vec<(u8, u64)> {
    said(&kit.tick())
}

fn keep_alive(kit: &mut Kit, session: SessionId, key: KeyId) -> Vec<(u8, u64)> {
    let header = RecordHeader {
        session: session.0.into(),
        number: 2.into(),
        key: key.0.into(),
        ..Log::header(RecordKind::SessionKeepAlive)
    };
    kit.log().push(header, &[]);
    said(&kit.seal())
}

fn close(kit: &mut Kit, session: SessionId) {
    let header = RecordHeader {
        session: session.0.into(),
        number: 2.into(),
        key: CLIENT.0.into(),
        ..Log::header(RecordKind::SessionClose)
    };
    kit.log().push(header, &[]);
    kit.seal();
}

/// Whom the gateway was told to watch (1) or let be (0).
fn told(heard: &[Heard]) -> Vec<(u64, u64)> {
    let watched = heard.iter().filter(|heard| heard.is(delivery::WATCHED));
    watched.map(|heard| (heard.delivery.conn.get(), heard.delivery.key.get())).collect()
}

#[test]
fn a_lost_client_is_told_once_and_comes_back_with_any_record_of_its_own() {
    let mut kit = kit();
    let one = watched(&mut kit, CLIENT);
    kit.lose(one);
    assert_eq!(heard(&mut kit), [(LOST, one.0)]);
    kit.lose(one);
    assert_eq!(heard(&mut kit), [], "it was lost already");
    kit.request(one, 0, b"");
    assert_eq!(heard(&mut kit), [(BACK, one.0)]);
    kit.request(one, 0, b"");
    assert_eq!(heard(&mut kit), [], "it was back already");
    kit.lose(one);
    assert_eq!(keep_alive(&mut kit, one, OTHER), [(LOST, one.0)]);
    assert_eq!(heard(&mut kit), [], "what others send says nothing of the owner");
    keep_alive(&mut kit, one, CLIENT);
    assert_eq!(heard(&mut kit), [(BACK, one.0)]);
}

#[test]
fn nobody_is_told_of_who_is_not_watched() {
    let mut kit = kit();
    let (one, two) = (kit.open(CLIENT), watched(&mut kit, CLIENT));
    kit.request(two, 0, b"let be");
    for session in [one, two, SessionId(999)] {
        kit.lose(session);
    }
    kit.begin_term();
    close(&mut kit, one);
    assert_eq!(heard(&mut kit), []);
}

#[test]
fn with_a_term_every_watched_client_must_prove_itself_anew() {
    let mut kit = kit();
    let (one, two, three) = (watched(&mut kit, CLIENT), watched(&mut kit, OTHER), watched(&mut kit, CLIENT));
    kit.lose(two);
    kit.tick();
    let all = [(UNPROVED, one.0), (UNPROVED, two.0), (UNPROVED, three.0)];
    assert_eq!(said(&kit.begin_term()), all);
    kit.lose(one);
    assert_eq!(heard(&mut kit), [], "it has proved nothing yet");
    kit.request(three, 0, b"");
    kit.lose(three);
    kit.request(two, 0, b"");
    // What was due before is said behind what the term's first batch says of connections: a deadline may have been put off.
    assert_eq!(said(&kit.begin_term()), [&[(BACK, two.0)], &all[..]].concat());
}

#[test]
fn a_watched_session_that_ends_is_told_and_then_forgotten() {
    let mut kit = kit();
    let (one, two) = (watched(&mut kit, CLIENT), watched(&mut kit, CLIENT));
    kit.lose(one);
    assert_eq!(heard(&mut kit), [(LOST, one.0)]);
    close(&mut kit, one);
    assert_eq!(heard(&mut kit), [(BACK, one.0), (ENDED, one.0)]);
    kit.wait(facts().session_timeout.0);
    assert_eq!(heard(&mut kit), [(ENDED, two.0)]);
    kit.lose(two);
    kit.begin_term();
    assert_eq!(heard(&mut kit), []);
}

#[test]
fn the_gateway_is_told_whom_to_watch_and_only_what_is_new() {
    let mut kit = kit();
    let one = kit.open(CLIENT);
    let mut ask = |order: &[u8]| {
        kit.push_request(one, 0, order);
        told(&kit.seal())
    };
    assert_eq!(ask(b"let be"), []);
    assert_eq!(ask(b"watch"), [(one.0, 1)]);
    assert_eq!(ask(b"watch"), []);
    assert_eq!(ask(b"let be"), [(one.0, 0)]);
}

#[test]
#[should_panic(expected = "watched a session without a request")]
fn a_seed_has_no_session() {
    let parts = Parts { seed: true };
    Testkit::new(&facts(), parts, parts, parts);
}
