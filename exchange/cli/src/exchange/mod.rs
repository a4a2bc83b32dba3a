//! `ordain exchange`: what an operator does to the exchange and asks of it, through any node of the cluster.

mod commands;
pub mod show;
pub mod words;

use crate::error::{CliError, OrNext, Result};
use crate::steer::{CHECK, Operator};
use clap::Args;
use commands::ExchangeCommand;
use ordain_client::blocking::{Client, Outcome};
use ordain_exchange_protocol::{IntoBytes, Note, REMARK_MAX, Reject, Remark, Reply, Request};
use ordain_exchange_server::SCHEMA;
use ordain_types::codes::Code;
use serde_json::{Value, json};
use std::process::ExitCode;
use std::time::Duration;

/// Does something to the exchange as its operator, or asks how something is. The command is logged with the key, the log
/// time and --why: `ordain journal operators DIR` lists them.
#[derive(Debug, Args)]
pub struct ExchangeArgs {
    #[command(flatten)]
    operator: Operator,
    /// Why, for those who read the journal: printable ASCII, up to 120 characters
    #[arg(long, global = true, value_name = "TEXT", value_parser = reason)]
    why: Option<String>,
    #[command(subcommand)]
    command: ExchangeCommand,
}

fn reason(text: &str) -> std::result::Result<String, String> {
    match Remark::new(text) {
        Some(_) => Ok(text.to_owned()),
        None => Err(format!("it is 1 to {REMARK_MAX} printable ASCII characters")),
    }
}

/// What to do about an answer that may have been lost.
const AGAIN: &str = "Run the command again: to set something twice is the same as once, and a transfer with the same \
                     --transaction is answered with its first result.";

pub fn run(args: &ExchangeArgs) -> Result<ExitCode> {
    let mut config = args.operator.client()?;
    config.timeout = Duration::from_secs(args.operator.patience());
    if let ExchangeCommand::Show(show) = &args.command {
        config.core.session = ordain_client::SessionWish::None;
        let mut client = Client::connect(&config).or_next("the cluster cannot be asked", CHECK)?;
        let value = show.ask(&mut client)?;
        print(args.operator.json(), &value)?;
        return Ok(ExitCode::SUCCESS);
    }
    let why = args.why.as_deref().unwrap_or("");
    let short: Option<Note> = short(why);
    let unsaid = "Mend the arguments: `ordain exchange --help` explains them.";
    let message =
        args.command.message(short.unwrap_or_default()).or_next("the command cannot be said", unsaid)?;
    // What no node would take is not sent: the node could only say that it is malformed.
    let request = Request::decode(&message.bytes).or_next("the command cannot be said", unsaid)?;
    let (words, _) = words::describe(&request).expect("an operator's command");
    let mut client = Client::connect(&config).or_next("the cluster cannot be told", CHECK)?;
    let fits = message.noted && short.is_some();
    if !why.is_empty() && !fits {
        remark(&mut client, why)?;
    }
    let told = told(&words, &execute(&mut client, &message.bytes)?)?;
    // Closing the session frees its place; if that fails, it expires by itself.
    let _ = client.close();
    if let Some(reject) = told.reject.filter(|_| !args.operator.json()) {
        return Err(CliError::new(
            format!("the exchange refused `{words}`: {}", reject.name()),
            format!("{} `ordain exchange show` tells how things are.", reject.text()),
        ));
    }
    print(args.operator.json(), &told.value)?;
    Ok(if told.reject.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The reason as a note, if it is short enough.
fn short(why: &str) -> Option<Note> {
    let mut note = Note::default();
    note.get_mut(..why.len())?.copy_from_slice(why.as_bytes());
    Some(note)
}

/// Says why, in front of the command.
fn remark(client: &mut Client, why: &str) -> Result<()> {
    let remark = Remark::new(why).expect("looked at when it was read");
    let next = "Give a reason of up to 32 characters to a command that has a note, or none; longer ones begin with level 1: \
                `ordain cluster level 1`.";
    match client.call(SCHEMA, remark.as_bytes()).or_next("the cluster did not answer", AGAIN)? {
        Outcome::Acknowledged { reply, .. } => match told("remark", &reply)?.reject {
            None => Ok(()),
            Some(reject) => {
                Err(CliError::new(format!("the exchange does not take the reason: {}", reject.name()), next))
            }
        },
        Outcome::NotExecuted(code) => {
            Err(CliError::new(format!("the cluster does not take the reason: {code}"), next))
        }
        Outcome::Unknown => Err(CliError::new("the session ended before the answer", AGAIN)),
    }
}

fn execute(client: &mut Client, payload: &[u8]) -> Result<Vec<u8>> {
    match client.call(SCHEMA, payload).or_next("the cluster did not answer", AGAIN)? {
        Outcome::Acknowledged { reply, .. } => Ok(reply),
        Outcome::NotExecuted(code) => {
            let next = match code {
                Code::NotPermitted => "Give --key the key file of an operator, or of a key that may do this.",
                Code::Malformed => "Run the same build on all nodes and here.",
                _ => "Look at `ordain cluster status`, then run the command again: nothing was done.",
            };
            Err(CliError::new(format!("the cluster refused: {code}"), next))
        }
        Outcome::Unknown => Err(CliError::new("the session ended before the answer", AGAIN)),
    }
}

/// What the exchange said to a command.
struct Told {
    reject: Option<Reject>,
    value: Value,
}

fn told(words: &str, reply: &[u8]) -> Result<Told> {
    let newer = "Run the same build on all nodes and here.";
    let reply = Reply::decode(reply).or_next("the answer cannot be read", newer)?;
    let code = reply.code();
    let reject = Reject::from_wire(code);
    if code != 0 && reject.is_none() {
        return Err(CliError::new(
            format!("the exchange refused for a reason ({code}) that is not known here"),
            newer,
        ));
    }
    let (seq, time) = match &reply {
        Reply::Admin(it) => (it.seq, it.time),
        Reply::MassCancel(it) => (it.seq, it.time),
        Reply::Transfer(it) => (it.seq, it.time),
        Reply::Order(_) | Reply::Order2(_) => {
            return Err(CliError::new("the answer is to another command", newer));
        }
    };
    let mut value = json!({ "command": words, "seq": seq.get(), "time": time.get(), "code": code });
    match &reply {
        Reply::MassCancel(it) => value["cancelled"] = it.cancelled.get().into(),
        Reply::Transfer(it) => value["free"] = it.free.get().into(),
        _ => {}
    }
    if let Some(reject) = reject {
        value["refused"] = reject.name().into();
    }
    Ok(Told { reject, value })
}

/// One JSON object, or a line for each of its fields.
fn print(as_json: bool, value: &Value) -> Result<()> {
    if as_json {
        println!("{}", serde_json::to_string(value).or_next("the answer is no JSON", "Report this.")?);
    } else {
        lines("", value);
    }
    Ok(())
}

fn lines(name: &str, value: &Value) {
    match value {
        Value::Object(fields) => {
            for (field, value) in fields {
                let name = if name.is_empty() { field.clone() } else { format!("{name}.{field}") };
                lines(&name, value);
            }
        }
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                lines(&format!("{name}[{at}]"), item);
            }
        }
        Value::String(text) => println!("{name:<28} {text}"),
        other => println!("{name:<28} {other}"),
    }
}
