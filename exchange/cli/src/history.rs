//! What the journal of a node tells of the past: it is replayed through the code that served clients, event by event.

mod about;
mod account;
pub mod explain;
pub mod export;
mod money;
pub mod state;
mod words;

use crate::audit::{self, Copy};
use crate::error::{CliError, OrNext, Result};
use crate::exchange::show::Answers;
use crate::journal::{Files, read};
use ordain_agent::wire::{DELIVERY, Delivery, delivery};
use ordain_api::{Buf, Step};
use ordain_apply::{Emit, MESSAGE_MAX, Querier};
use ordain_exchange_engine::Engine;
use ordain_exchange_protocol::Answer;
use ordain_exchange_server::SCHEMA;
use ordain_types::batch::BatchView;
use ordain_types::codes::Code;
use ordain_types::frame::{SERVER_HEADER, ServerHeader};
use ordain_types::record::{RecordKind, RecordView};
use ordain_types::{BatchIndex, Stint};
use std::path::Path;
use std::process::ExitCode;
use zerocopy::FromBytes;

/// Whom the queries are from: somebody who may see everything.
const ANYBODY: Querier =
    Querier { session: ordain_types::SessionId(0), key: ordain_types::KeyId(0), permissions: u32::MAX };

/// What to do about what cannot be.
const DEFECT: &str = "This is a defect of Ordain: keep the data directory, and report it.";

/// One event: a record, or a deadline that passed before a batch's first one.
pub struct Happening<'a> {
    /// Number of the record; of a deadline, that of the next record.
    pub seq: u64,
    /// Log time, nanoseconds since the Unix epoch.
    pub time: u64,
    /// The command, if it is a record with one.
    pub command: Option<Command<'a>>,
    /// The reply, if the command was executed or refused by the exchange.
    pub reply: Option<&'a [u8]>,
    /// What others were told, in order.
    pub outputs: &'a [Vec<u8>],
}

/// A command, and who sent it.
pub struct Command<'a> {
    pub session: u64,
    pub key: u32,
    pub payload: &'a [u8],
}

/// Takes what the copy delivers.
struct Heard {
    claim: Box<[u8; MESSAGE_MAX]>,
    reply: Option<Vec<u8>>,
    outputs: Vec<Vec<u8>>,
}

impl Emit for Heard {
    fn claim(&mut self, len: usize) -> &mut [u8] {
        &mut self.claim[..len]
    }

    fn commit(&mut self, len: usize) {
        let (head, frame) = Delivery::ref_from_prefix(&self.claim[..len]).expect("apply wrote a delivery");
        debug_assert_eq!(len - DELIVERY, frame.len());
        let kind = head.kind.get();
        if kind != delivery::REPLY && kind != delivery::OUTPUT {
            return;
        }
        let (header, _) = ServerHeader::ref_from_prefix(frame).expect("apply wrote a frame");
        let payload = frame[SERVER_HEADER..SERVER_HEADER + header.length.get() as usize].to_vec();
        if kind == delivery::OUTPUT {
            self.outputs.push(payload);
        } else if header.code == Code::Executed as u8 {
            self.reply = Some(payload);
        }
    }
}

/// The exchange as it was at some place of the log.
pub struct Past {
    copy: Copy,
    /// The last record of the snapshot with which the replay began; 0 if it began with the first record.
    pub from: u64,
    /// The last record executed.
    pub seq: u64,
    /// Log time there.
    pub time: u64,
    /// The last batch that was synced, if the journal does not reach it any more.
    lost: Option<BatchIndex>,
}

/// The exchange as it was answers as one that runs.
impl Answers for &Past {
    fn answer(&mut self, question: &[u8]) -> Result<Vec<u8>> {
        let mut bytes = [0; ordain_exchange_protocol::MESSAGE_MAX];
        let mut buf = Buf::new(&mut bytes);
        self.copy
            .query(&ANYBODY, SCHEMA, question, &mut buf)
            .map_err(|error| CliError::new(format!("a question was refused: {}", error.0), DEFECT))?;
        let len = buf.len();
        Ok(bytes[..len].to_vec())
    }
}

impl Past {
    /// The answer to a question, which is read by `read`.
    pub fn ask<T>(&self, question: &[u8], read: impl FnOnce(Answer<'_>) -> T) -> Result<T> {
        let bytes = (&mut &*self).answer(question)?;
        Ok(read(Answer::decode(&bytes).or_next("an answer cannot be read", DEFECT)?))
    }

    /// The exchange's engine, between two events.
    pub fn engine(&self) -> &Engine {
        self.copy.app().engine()
    }

    /// How a command ends that told everything up to here.
    pub fn finish(&self) -> Result<ExitCode> {
        let Some(lost) = self.lost else { return Ok(ExitCode::SUCCESS) };
        Err(CliError::new(
            format!(
                "the journal is damaged: it was told up to record {}, and up to batch {lost} it was synced",
                self.seq
            ),
            "`ordain journal verify DIR` says where; give the data directory of another node, or a back-up.",
        ))
    }
}

/// Replays the journal in `dir` up to record `until`, or to its end, and shows every event. `begin` is shown the state
/// that the replay begins with.
pub fn replay(
    dir: &Path,
    until: Option<u64>,
    begin: impl FnOnce(&Past) -> Result<()>,
    visit: &mut dyn FnMut(&Past, &Happening<'_>) -> Result<()>,
) -> Result<Past> {
    let files = Files::open(dir)?;
    let (copy, notice) = audit::begin(&files, dir)?;
    if let Some(notice) = notice {
        // Not among what is asked for, which a program may read.
        eprintln!("{notice}");
    }
    let begins = copy.applied();
    let last = copy.last_seq().0;
    let mut past = Past { time: copy.time().0, copy, from: last, seq: last, lost: None };
    if until.is_some_and(|until| until < last) {
        return Err(CliError::new(
            format!("what is older than record {last} was trimmed"),
            "Name a later record, or give the data directory of a node that keeps more.",
        ));
    }
    begin(&past)?;
    let mut failure = None;
    let watermark = files.state().map(|state| state.watermark);
    let report = read(&files, watermark, &[], &mut |batch| {
        let is_over = until.is_some_and(|until| past.seq >= until);
        if failure.is_none() && !is_over && batch.header.index() > begins {
            failure = play(&mut past, batch, until, visit).err();
        }
    })?;
    if let Some(failure) = failure {
        return Err(failure);
    }
    let damage = report.stop.as_ref().filter(|_| !report.is_good()).map(|stop| {
        format!(
            "the journal ends with damage at segment {} offset {}: {}",
            stop.segment, stop.offset, stop.fault
        )
    });
    if let Some(until) = until.filter(|until| past.seq < *until) {
        let damage = damage.map_or(String::new(), |damage| format!("; {damage}"));
        return Err(CliError::new(
            format!("the journal has no record {until}: its last is {}{damage}", past.seq),
            "Name an earlier record; `ordain journal inspect DIR` says what there is.",
        ));
    }
    if until.is_none() {
        if let Some(damage) = damage {
            eprintln!("{damage}");
        }
        past.lost = report.watermark.filter(|watermark| report.end.index < *watermark);
    }
    Ok(past)
}

/// Replays a batch, or its part up to record `until`.
fn play(
    past: &mut Past,
    batch: &BatchView<'_>,
    until: Option<u64>,
    visit: &mut dyn FnMut(&Past, &Happening<'_>) -> Result<()>,
) -> Result<()> {
    let fatal = |error: ordain_agent::Fatal| CliError::new(error.cause, error.action);
    past.copy.begin_batch(batch, Stint(1)).map_err(fatal)?;
    past.time = batch.header.time().0;
    let mut heard = Heard { claim: Box::new([0; MESSAGE_MAX]), reply: None, outputs: Vec::new() };
    let mut records = batch.records().flatten();
    // The record that is being executed; none while deadlines pass.
    let mut current = None;
    loop {
        let before = past.copy.counts().records;
        let done = past.copy.step(batch, &mut heard).map_err(fatal)? == Step::Done;
        if past.copy.counts().records > before {
            current = records.next();
        }
        // An event of many steps has its reply in the last one.
        if past.copy.app().engine().is_busy() {
            continue;
        }
        let (reply, outputs) = (heard.reply.take(), std::mem::take(&mut heard.outputs));
        if let Some((seq, record)) = current.take() {
            past.seq = seq.0;
            show(past, seq.0, Some(&record), reply.as_deref(), &outputs, visit)?;
            if until.is_some_and(|until| past.seq >= until) {
                return Ok(());
            }
        } else if !outputs.is_empty() {
            show(past, batch.header.first_seq().0, None, None, &outputs, visit)?;
        }
        if done {
            return Ok(());
        }
    }
}

fn show(
    past: &Past,
    seq: u64,
    record: Option<&RecordView<'_>>,
    reply: Option<&[u8]>,
    outputs: &[Vec<u8>],
    visit: &mut dyn FnMut(&Past, &Happening<'_>) -> Result<()>,
) -> Result<()> {
    let commands = record
        .filter(|record| matches!(record.header.kind(), Some(RecordKind::Request | RecordKind::Genesis)));
    let command = commands.map(|record| Command {
        session: record.header.session().0,
        key: record.header.key().0,
        payload: record.payload,
    });
    visit(past, &Happening { seq, time: past.time, command, reply, outputs })
}
