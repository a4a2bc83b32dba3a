//! The example application. Its values prove exactly-once: a request lost or executed twice shows in the
//! sum that every later reply reports.

use super::{Author, Model, Payload, Said, Workload};
use crate::rng::Rng;
use ordain_api::{Context, Nanos, Stream};
use ordain_counter::{CounterDecoder, CounterEncoder, CounterFactory, Query, Request, SCHEMA};
use std::collections::BTreeMap;

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
    type Author = Anybody;

    fn parts() -> (CounterFactory, CounterDecoder, CounterEncoder) {
        (CounterFactory, CounterDecoder, CounterEncoder)
    }

    fn model() -> Sums {
        Sums::default()
    }

    fn author(_client: usize) -> Anybody {
        Anybody
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
}

/// All clients ask alike.
#[derive(Debug)]
pub struct Anybody;

impl Author for Anybody {
    fn command(&mut self, rng: &mut Rng) -> Payload {
        let counter = rng.below(COUNTERS) as u32;
        let request = match rng.below(40) {
            0 => Request::Burst { counter, count: rng.range(0, 40) },
            1 => Request::Remind { counter, delay: rng.spread(Nanos::MICRO, 200 * Nanos::MILLI) },
            2 => Request::Add { counter, by: i64::MAX },
            _ => Request::Add { counter, by: rng.range(1, 1_000) as i64 },
        };
        Payload { schema: SCHEMA, bytes: request.to_wire().to_vec() }
    }

    fn query(&mut self, rng: &mut Rng) -> Payload {
        let query = Query::Read { counter: rng.below(COUNTERS) as u32 };
        Payload { schema: SCHEMA, bytes: query.to_wire().to_vec() }
    }

    fn stream(&mut self, rng: &mut Rng) -> Stream {
        Stream::Topic(rng.below(COUNTERS) as u32)
    }
}

/// The counters by their description.
#[derive(Debug, Default)]
pub struct Sums {
    values: BTreeMap<u32, i128>,
    /// Counters to remind, by time and seq of the request.
    reminders: BTreeMap<(u64, u64), u32>,
    level: u16,
}

fn message(kind: u8, counter: u32, value: u64) -> Vec<u8> {
    let mut bytes = vec![kind, 0, 0, 0];
    bytes.extend_from_slice(&counter.to_le_bytes());
    bytes.extend_from_slice(&value.to_le_bytes());
    bytes
}

fn fields(payload: &[u8]) -> (u32, u64) {
    let counter = u32::from_le_bytes(payload[4..8].try_into().expect("16 bytes"));
    (counter, u64::from_le_bytes(payload[8..16].try_into().expect("16 bytes")))
}

impl Model for Sums {
    fn pass(&mut self, until: Nanos, _about: &Context) -> Said {
        let mut outputs = Vec::new();
        while let Some(first) = self.reminders.first_entry().filter(|first| first.key().0 <= until.0) {
            let ((_, seq), counter) = first.remove_entry();
            outputs.push((Stream::Topic(counter), message(3, counter, seq)));
        }
        Said { outputs, ..Said::default() }
    }

    fn begin_level(&mut self, level: u16) {
        self.level = level;
    }

    fn execute(&mut self, about: &Context, payload: &[u8]) -> Said {
        let (counter, number) = fields(payload);
        let tell = |kind, value| (Stream::Topic(counter), message(kind, counter, value));
        match payload[0] {
            1 => {
                let value = self.values.entry(counter).or_default();
                let sum = *value + i128::from(number as i64);
                if i64::try_from(sum).is_err() {
                    let stays = *value as u64;
                    let outputs = if self.level > 0 { vec![tell(1, stays)] } else { Vec::new() };
                    return Said { reply: message(1, counter, stays), outputs, ..Said::default() };
                }
                *value = sum;
                Said {
                    reply: message(0, counter, sum as u64),
                    outputs: vec![tell(1, sum as u64)],
                    ..Said::default()
                }
            }
            2 => Said {
                reply: message(0, counter, number),
                outputs: (1..=number).map(|place| tell(2, place)).collect(),
                ..Said::default()
            },
            _ if self.reminders.len() == ordain_counter::REMINDERS_MAX => {
                Said { reply: message(2, counter, 0), ..Said::default() }
            }
            _ => {
                let due = about.time.0 + number;
                self.reminders.insert((due, about.seq.0), counter);
                Said { reply: message(0, counter, due), ..Said::default() }
            }
        }
    }

    fn query(&self, _about: &Context, payload: &[u8]) -> Vec<u8> {
        let (counter, _) = fields(payload);
        message(0, counter, self.values.get(&counter).copied().unwrap_or(0) as u64)
    }
}
