//! The counters under the test kit: live, replayed and restored copies in step.

use ordain_agent::wire::delivery;
use ordain_api::{ClassKind, RequestDecoder, Stream};
use ordain_apply::Querier;
use ordain_apply::testkit::{CLIENT, Heard, OTHER, Testkit, facts};
use ordain_counter::{
    BURST_MAX, COUNTERS, CounterDecoder, CounterEncoder, CounterFactory, Query, REMINDERS_MAX, Request,
    SCHEMA,
};
use ordain_types::SessionId;
use proptest::prelude::*;

type Kit = Testkit<CounterFactory, CounterDecoder, CounterEncoder>;

fn kit() -> Kit {
    Testkit::new(&facts(), CounterFactory, CounterDecoder, CounterEncoder)
}

fn ask(kit: &mut Kit, session: SessionId, request: Request) -> (u8, u64) {
    let reply = kit.request(session, SCHEMA, &request.to_wire());
    (reply.payload[0], value(&reply))
}

fn value(heard: &Heard) -> u64 {
    u64::from_le_bytes(heard.payload[8..].try_into().unwrap())
}

fn outputs(heard: &[Heard]) -> Vec<(u64, u64)> {
    let outputs = heard.iter().filter(|heard| heard.is(delivery::OUTPUT));
    outputs.map(|output| (output.header.number.get(), value(output))).collect()
}

#[test]
fn counters_add_up() {
    let mut kit = kit();
    let (one, two) = (kit.open(CLIENT), kit.open(OTHER));
    assert_eq!(ask(&mut kit, one, Request::Add { counter: 3, by: 5 }), (0, 5));
    assert_eq!(ask(&mut kit, two, Request::Add { counter: 3, by: -7 }), (0, -2_i64 as u64));
    let mut bytes = [0; 1024];
    let mut buf = ordain_api::Buf::new(&mut bytes);
    kit.live().query(&Querier::default(), SCHEMA, &Query::Read { counter: 3 }.to_wire(), &mut buf).unwrap();
    assert_eq!(buf.written()[8..], (-2_i64).to_le_bytes());
}

#[test]
fn overflow_is_answered_and_changes_nothing() {
    let mut kit = kit();
    let session = kit.open(CLIENT);
    for (by, status, value) in [(i64::MAX, 0, i64::MAX), (1, 1, i64::MAX), (-1, 0, i64::MAX - 1)] {
        assert_eq!(ask(&mut kit, session, Request::Add { counter: 0, by }), (status, value as u64));
    }
}

#[test]
fn a_level_begins_at_one_place_in_the_log() {
    let mut kit = kit();
    let session = kit.open(CLIENT);
    let too_much = Request::Add { counter: 0, by: i64::MAX };
    ask(&mut kit, session, too_much);
    let told = |kit: &mut Kit| {
        kit.push_request(session, SCHEMA, &too_much.to_wire());
        outputs(&kit.seal())
    };
    assert_eq!(told(&mut kit), []);
    kit.begin_level(1);
    // The kit restores a copy after every batch: that one must have it from the snapshot.
    for place in 2..5 {
        assert_eq!(told(&mut kit), [(place, i64::MAX as u64)]);
    }
}

#[test]
fn a_burst_of_many_steps_is_one_event() {
    let mut kit = kit();
    let session = kit.open(CLIENT);
    for count in [0, 1, 63, 64, 65, 1000] {
        kit.push_request(session, SCHEMA, &Request::Burst { counter: 1, count }.to_wire());
        kit.push_request(session, SCHEMA, &Request::Add { counter: 2, by: 1 }.to_wire());
        let heard = kit.seal();
        let burst: Vec<_> = outputs(&heard).into_iter().map(|(_, place)| place).collect();
        assert_eq!(burst[..burst.len() - 1], (1..=count).collect::<Vec<_>>(), "the addition comes behind");
        let replies: Vec<_> = heard.iter().filter(|heard| heard.is(delivery::REPLY)).map(value).collect();
        assert_eq!(replies[0], count);
    }
    let stream = Stream::Topic(1).to_wire();
    let heard = {
        kit.push_request(session, SCHEMA, &Request::Burst { counter: 1, count: 1 }.to_wire());
        kit.seal()
    };
    let last = heard.iter().find(|heard| heard.header.session.get() == stream).unwrap();
    assert_eq!(last.header.number.get(), 1 + 63 + 64 + 65 + 1000 + 1, "one stream, numbered without gaps");
}

#[test]
fn reminders_come_in_order_when_they_are_due() {
    let mut kit = kit();
    let session = kit.open(CLIENT);
    let start = kit.log().time();
    let mut seqs = Vec::new();
    for delay in [20, 10, 10] {
        seqs.push(kit.push_request(session, SCHEMA, &Request::Remind { counter: 9, delay }.to_wire()).0);
    }
    kit.seal();
    assert_eq!(kit.next_tick(), Some(start.plus(10)));
    kit.wait(9);
    assert_eq!(outputs(&kit.tick()), []);
    kit.wait(1);
    assert_eq!(outputs(&kit.tick()), [(1, seqs[1]), (2, seqs[2])]);
    assert_eq!(kit.next_tick(), Some(start.plus(20)));
    kit.wait(1000);
    assert_eq!(outputs(&kit.tick()), [(3, seqs[0])]);
}

#[test]
fn reminders_have_a_bound() {
    let mut kit = kit();
    let session = kit.open(CLIENT);
    let remind = Request::Remind { counter: 0, delay: 1 << 40 };
    for _ in 0..4 {
        for _ in 0..REMINDERS_MAX / 4 {
            kit.push_request(session, SCHEMA, &remind.to_wire());
        }
        kit.seal();
    }
    assert_eq!(ask(&mut kit, session, remind), (2, 0));
}

#[test]
fn hostile_bytes_are_refused_where_they_arrive() {
    let decoder = CounterDecoder;
    let refused = |schema, payload: &[u8]| decoder.classify(schema, payload).is_err();
    let good = Request::Add { counter: 0, by: 1 }.to_wire();
    assert_eq!(decoder.classify(SCHEMA, &good).unwrap().kind, ClassKind::Command);
    assert_eq!(
        decoder.classify(SCHEMA, &Query::Read { counter: 0 }.to_wire()).unwrap().kind,
        ClassKind::Query
    );
    assert!(
        refused(0, &good) && refused(SCHEMA, &good[..15]) && refused(SCHEMA, &[&good[..], &[0]].concat())
    );
    assert!(refused(SCHEMA, &Request::Add { counter: COUNTERS, by: 1 }.to_wire()));
    assert!(refused(SCHEMA, &Request::Burst { counter: 0, count: BURST_MAX + 1 }.to_wire()));
    for place in 0..4 {
        let mut bytes = good;
        bytes[place] = 77;
        assert!(refused(SCHEMA, &bytes), "byte {place}");
    }
}

proptest! {
    /// What is admitted can be executed, whatever it is, on all three copies.
    #[test]
    fn whatever_is_admitted_is_executed(payloads in prop::collection::vec(any_message(), 1..30)) {
        let mut kit = kit();
        let session = kit.open(CLIENT);
        for payload in payloads {
            match CounterDecoder.classify(SCHEMA, &payload) {
                Ok(class) if class.kind == ClassKind::Command => {
                    kit.push_request(session, SCHEMA, &payload);
                    kit.wait(50);
                    kit.seal();
                }
                _ => {}
            }
        }
    }
}

/// Messages that are mostly valid.
fn any_message() -> impl Strategy<Value = Vec<u8>> {
    (0_u8..6, 0_u32..4, prop_oneof![0_u64..200, any::<u64>()]).prop_map(|(kind, counter, value)| {
        [&[kind, 0, 0, 0][..], &counter.to_le_bytes(), &value.to_le_bytes()].concat()
    })
}
