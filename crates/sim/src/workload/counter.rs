//! The example application. Its values prove exactly-once: a request lost or executed twice shows in the
//! sum that every later reply reports.

use super::{Model, Payload, Workload};
use crate::rng::Rng;
use ordain_api::{Nanos, Stream};
use ordain_counter::{CounterDecoder, CounterEncoder, CounterFactory, Query, Request, SCHEMA};
use std::collections::{BTreeMap, BTreeSet};

/// Counters in use: few, so that clients meet.
const COUNTERS: u64 = 4;

/// See the module.
#[derive(Debug)]
pub struct Counter;

impl Workload for Counter {
    type Factory = CounterFactory;
    type Decoder = CounterDecoder;
    type Encoder = CounterEncoder;
    type Model = Sums;

    fn parts() -> (CounterFactory, CounterDecoder, CounterEncoder) {
        (CounterFactory, CounterDecoder, CounterEncoder)
    }

    fn model() -> Sums {
        Sums::default()
    }

    fn command(rng: &mut Rng) -> Payload {
        let counter = rng.below(COUNTERS) as u32;
        let request = match rng.below(40) {
            0 => Request::Burst { counter, count: rng.range(0, 40) },
            1 => Request::Remind { counter, delay: rng.spread(Nanos::MICRO, 200 * Nanos::MILLI) },
            2 => Request::Add { counter, by: i64::MAX },
            _ => Request::Add { counter, by: rng.range(1, 1_000) as i64 },
        };
        Payload { schema: SCHEMA, bytes: request.to_wire().to_vec() }
    }

    fn query(rng: &mut Rng) -> Payload {
        let query = Query::Read { counter: rng.below(COUNTERS) as u32 };
        Payload { schema: SCHEMA, bytes: query.to_wire().to_vec() }
    }

    fn nonsense(rng: &mut Rng) -> Payload {
        let mut bytes = vec![0; rng.range(0, 64) as usize];
        rng.fill(&mut bytes);
        // No message of the application has this kind.
        if let Some(kind) = bytes.first_mut() {
            *kind |= 0x80;
        }
        Payload { schema: SCHEMA, bytes }
    }

    fn mark(output: &[u8]) -> Option<&'static str> {
        let place = u64::from_le_bytes(*output.get(8..16)?.first_chunk()?);
        match output[0] {
            2 if place > 6 => Some("event of several steps"),
            3 => Some("timer fired"),
            _ => None,
        }
    }

    fn stream(rng: &mut Rng) -> Stream {
        Stream::Topic(rng.below(COUNTERS) as u32)
    }
}

/// The counters by their description.
#[derive(Debug, Default)]
pub struct Sums {
    values: BTreeMap<u32, i128>,
    reminders: BTreeSet<(u64, u64)>,
    asked: u64,
}

fn message(kind: u8, counter: u32, value: u64) -> Vec<u8> {
    let mut bytes = vec![kind, 0, 0, 0];
    bytes.extend_from_slice(&counter.to_le_bytes());
    bytes.extend_from_slice(&value.to_le_bytes());
    bytes
}

impl Model for Sums {
    fn execute(&mut self, time: Nanos, payload: &[u8]) -> Vec<u8> {
        let counter = u32::from_le_bytes(payload[4..8].try_into().expect("16 bytes"));
        let number = u64::from_le_bytes(payload[8..16].try_into().expect("16 bytes"));
        self.reminders.retain(|(due, _)| *due > time.0);
        match payload[0] {
            1 => {
                let value = self.values.entry(counter).or_default();
                let sum = *value + i128::from(number as i64);
                let fits = i64::try_from(sum).is_ok();
                if fits {
                    *value = sum;
                }
                message(u8::from(!fits), counter, *value as u64)
            }
            3 if self.reminders.len() == ordain_counter::REMINDERS_MAX => message(2, counter, 0),
            3 => {
                self.asked += 1;
                self.reminders.insert((time.0 + number, self.asked));
                message(0, counter, time.0 + number)
            }
            _ => message(0, counter, number),
        }
    }
}
