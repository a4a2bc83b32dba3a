//! What the engine says and keeps after a long flow, as one number: any change of a reply, an output or the
//! snapshot shows.

use ordain_exchange_bench::flow::{Flow, Settings, setup};
use ordain_exchange_engine::{Audience, Context, Engine, Limits, Sink, Step};
use ordain_exchange_protocol::Request;

/// FNV-1a (Fowler, Noll, Vo), 64 bits.
struct Digest(u64);

impl Digest {
    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

impl Sink for Digest {
    fn reply(&mut self, bytes: &[u8]) {
        self.add(bytes);
    }

    fn output(&mut self, audience: Audience, bytes: &[u8]) {
        let (kind, id) = match audience {
            Audience::Account(id) => (1, id),
            Audience::Instrument(id) => (2, id),
            Audience::Feed(id) => (3, id),
            Audience::Firm(id) => (4, id),
        };
        self.add(&[kind]);
        self.add(&id.to_le_bytes());
        self.add(bytes);
    }
}

/// Runs a long flow; before each group of so many requests the engine may fetch ahead. Gives what was said, and what
/// was said and kept.
fn digest(group: usize, warms: bool) -> [u64; 2] {
    let settings = Settings { accounts: 300, instruments: 12, live_max: 20_000, ..Settings::default() };
    let mut engine = Engine::new(Limits::DEFAULT, 7);
    let mut digest = Digest(0xcbf2_9ce4_8422_2325);
    let mut flow = Flow::new(&settings);
    let mut requests: Vec<Vec<u8>> = setup(&settings, 1).collect();
    requests.extend((0..300_000).map(|_| flow.next_request().to_vec()));
    let mut seq = 0;
    for group in requests.chunks(group) {
        let decoded = group.iter().map(|bytes| Request::decode(bytes).expect("decodes"));
        if warms {
            engine.warm(decoded.clone());
        }
        for request in decoded {
            seq += 1;
            let context = Context { seq, time: 1_000 + seq, key: 1, permissions: u32::MAX, session: 0 };
            let mut step = engine.apply(&context, &request, &mut digest);
            while step == Step::More {
                step = engine.resume(&mut digest);
            }
        }
    }
    let said = digest.0;
    digest.add(&engine.snapshot());
    [said, digest.0]
}

#[test]
fn what_was_said_and_kept_stays_the_same() {
    // What is said to messages of the first layout never changes: journals have them. What is kept may get more.
    let same = [0xbf2a_ba78_03a4_61ca, 0xbe2e_f142_84c3_2e97];
    for (group, warms) in [(1, false), (3, true), (20, true)] {
        let got = digest(group, warms);
        assert_eq!(got, same, "got {got:#x?} with groups of {group}, fetched ahead: {warms}");
    }
}
