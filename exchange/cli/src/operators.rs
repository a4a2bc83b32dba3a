//! `ordain journal operators`: who did what to the exchange and to the cluster's keys, when and why, and what came of it.

use crate::audit;
use crate::error::{CliError, OrNext, Result};
use crate::exchange::words;
use crate::journal::{Files, read};
use clap::Args;
use ordain_agent::wire::{DELIVERY, Delivery, delivery};
use ordain_api::Step;
use ordain_apply::Collect;
use ordain_exchange_protocol::{Reject, Reply, Request};
use ordain_keys::PublicKey;
use ordain_types::codes::Code;
use ordain_types::frame::{KeyBody, ServerView, body};
use ordain_types::{Nanos, RecordKind, RecordView, Seq, Stint};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use zerocopy::FromBytes;

#[derive(Debug, Args)]
pub struct Operators {
    /// Data directory of a node
    dir: PathBuf,
    /// Print JSON, one object a line, instead of text
    #[arg(long)]
    json: bool,
}

/// A command of an operator's in the log.
struct Act {
    seq: Seq,
    time: Nanos,
    session: u64,
    number: u64,
    key: u32,
    what: String,
    why: String,
    /// What came of it, if the log from here on tells.
    result: Option<String>,
}

/// What is read off a journal.
#[derive(Default)]
struct Reading {
    acts: Vec<Act>,
    /// By session: the number and text of its last remark, which belongs to the next command.
    remarks: BTreeMap<u64, (u64, String)>,
    /// By session and number: the act.
    places: BTreeMap<(u64, u64), usize>,
}

impl Reading {
    /// Notes a record, if it is an operator's. One that was sent twice is one act.
    fn record(&mut self, seq: Seq, time: Nanos, record: &RecordView<'_>) {
        let header = record.header;
        let (session, number) = (header.session().0, header.number().0);
        let Some((what, note)) = said(record) else { return };
        if session != 0 && self.places.contains_key(&(session, number)) {
            return;
        }
        if what == "remark" {
            self.remarks.insert(session, (number, note.clone()));
        }
        let before =
            self.remarks.get(&session).filter(|(at, _)| at + 1 == number).map(|(_, text)| text.clone());
        let why = if note.is_empty() { before.unwrap_or_default() } else { note };
        self.places.insert((session, number), self.acts.len());
        let key = header.key().0;
        self.acts.push(Act { seq, time, session, number, key, what, why, result: None });
    }

    /// Takes what executing a batch said of the acts in it.
    fn hear(&mut self, messages: &[Vec<u8>]) {
        for message in messages {
            let Ok((head, frame)) = Delivery::ref_from_prefix(message) else { continue };
            if head.kind.get() != delivery::REPLY {
                continue;
            }
            let Ok((view, _)) = ServerView::split(frame) else { continue };
            debug_assert_eq!(frame.len() + DELIVERY, message.len());
            let key = (view.header.session().0, view.header.number.get());
            let Some(act) = self.places.get(&key).map(|at| &mut self.acts[*at]) else { continue };
            // A repeated record gets its answer again.
            if act.result.is_none() {
                act.result = Some(result(view.header.code, view.payload));
            }
        }
    }
}

/// What a record says, if it is an operator's: in words, and its note.
fn said(record: &RecordView<'_>) -> Option<(String, String)> {
    match record.header.kind()? {
        RecordKind::Request => words::describe(&Request::decode(record.payload).ok()?),
        RecordKind::KeySet => {
            let set = body::<KeyBody>(record.payload)?;
            let words = format!("key {} permissions {:#x}", PublicKey(set.key), set.permissions);
            Some((words, String::new()))
        }
        _ => None,
    }
}

fn result(code: u8, payload: &[u8]) -> String {
    if code != Code::Executed as u8 {
        return Code::from_wire(code).map_or_else(|| format!("code {code}"), |code| format!("{code:?}"));
    }
    match Reply::decode(payload).ok().map(|reply| reply.code()) {
        None | Some(0) => "done".to_owned(),
        Some(code) => Reject::from_wire(code)
            .map_or_else(|| format!("reject {code}"), |reject| reject.name().to_owned()),
    }
}

pub fn run(args: &Operators) -> Result<ExitCode> {
    let files = Files::open(&args.dir)?;
    let (mut replica, notice) = audit::begin(&files, &args.dir)?;
    if let Some(notice) = notice {
        eprintln!("{notice}");
    }
    let begin = replica.applied();
    let mut reading = Reading::default();
    let mut failure = None;
    let mut out = Collect::default();
    let report = read(&files, None, &[], &mut |batch| {
        let time = batch.header.time();
        for (seq, record) in batch.records().flatten() {
            reading.record(seq, time, &record);
        }
        if failure.is_some() || batch.header.index() <= begin {
            return;
        }
        // Any reign will do: it makes the copy write the replies that a leader would.
        let result = replica.begin_batch(batch, Stint(1)).and_then(|()| {
            while replica.step(batch, &mut out)? == Step::More {}
            Ok(())
        });
        reading.hear(&out.messages);
        out.messages.clear();
        failure = result.err();
    })?;
    for act in &reading.acts {
        let public = replica.key(ordain_types::KeyId(act.key)).map(|(key, _)| PublicKey(key).to_string());
        tell(args.json, act, public)?;
    }
    match failure {
        Some(failure) => Err(CliError::new(failure.cause, failure.action)),
        None if report.is_good() => Ok(ExitCode::SUCCESS),
        None => Err(CliError::new(
            "the journal is damaged, and what stands behind the damage is not listed",
            "Look at `ordain journal verify`; read the journal of another node.",
        )),
    }
}

fn tell(as_json: bool, act: &Act, public: Option<String>) -> Result<()> {
    let result = act.result.as_deref().unwrap_or("unknown");
    if as_json {
        let line = json!({
            "seq": act.seq.0,
            "time": act.time.0,
            "utc": utc(act.time),
            "session": act.session,
            "number": act.number,
            "key": act.key,
            "public": public,
            "command": act.what,
            "why": act.why,
            "result": result,
        });
        println!("{}", serde_json::to_string(&line).or_next("the line is no JSON", "Report this.")?);
    } else {
        let who = public.unwrap_or_else(|| "the cluster itself".to_owned());
        let why = if act.why.is_empty() { String::new() } else { format!(" -- {}", act.why) };
        println!(
            "{} {} session {} key {} {who}: {} [{result}]{why}",
            act.seq,
            utc(act.time),
            act.session,
            act.key,
            act.what
        );
    }
    Ok(())
}

/// A log time as a date. Days are turned into dates by counting eras of 400 years, from the first of March on.
pub fn utc(time: Nanos) -> String {
    let (seconds, nanos) = (time.0 / 1_000_000_000, time.0 % 1_000_000_000);
    let (days, second) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (day, month) = (day - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    let year = 400 * era + year + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_dates() {
        let check = |seconds: u64, text: &str| assert_eq!(utc(Nanos(seconds * Nanos::SECOND + 7)), text);
        check(0, "1970-01-01T00:00:00.000000007Z");
        check(951_782_400, "2000-02-29T00:00:00.000000007Z");
        check(1_709_251_199, "2024-02-29T23:59:59.000000007Z");
        check(4_107_542_400, "2100-03-01T00:00:00.000000007Z");
    }
}
