//! A client of the counters: adds, reads and watches.
#![forbid(unsafe_code)]

use ordain::client::blocking::{Client, Outcome};
use ordain::client::{ClientConfig, CoreConfig, Member};
use ordain::types::{OutputSeq, Stream};
use ordain_counter::{COUNTERS, Query, Request, SCHEMA};
use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

const USAGE: &str = "usage: counter-client ADDRESS KEYFILE add COUNTER NUMBER
       counter-client ADDRESS KEYFILE read COUNTER
       counter-client ADDRESS KEYFILE watch COUNTER

ADDRESS is HOST:PORT or unix:PATH, 127.0.0.1:7400 unless the server was told otherwise; KEYFILE is
DATA/keys/operator.key of the server, or the file of a key that an operator added.";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[&str]) -> Result<(), Box<dyn Error>> {
    let [address, key, command, counter, rest @ ..] = arguments else { return Err(USAGE.into()) };
    let counter = counter.parse::<u32>().ok().filter(|counter| *counter < COUNTERS);
    let counter = counter.ok_or_else(|| format!("there are counters 0 to {}", COUNTERS - 1))?;
    let key = ordain::key_files::load(Path::new(key))?;
    let config = ClientConfig::new(vec![Member::at(address)], CoreConfig::new(key));
    let mut client = Client::connect(&config)?;
    match (*command, rest) {
        ("add", [by]) => {
            let by = by.parse().map_err(|_| "NUMBER is a whole number of 64 bits")?;
            let request = Request::Add { counter, by };
            match client.call(SCHEMA, &request.to_wire())? {
                // Whatever happened on the way, it was added once, and the sum is on disk.
                Outcome::Acknowledged { seq, reply } => {
                    let (code, value) = read(&reply)?;
                    let remark = if code == 0 { "" } else { ", unchanged: the sum would overflow" };
                    println!("counter {counter} is {value}{remark} (record {seq})");
                }
                Outcome::NotExecuted(code) => return Err(format!("not added: {code}").into()),
                Outcome::Unknown => {
                    return Err("the session expired: whether it was added is not known".into());
                }
            }
        }
        ("read", []) => {
            let (seq, answer) = client.query(SCHEMA, &Query::Read { counter }.to_wire())?;
            println!("counter {counter} is {} (as of record {seq})", read(&answer)?.1);
        }
        ("watch", []) => {
            client.subscribe(Stream::Topic(counter), OutputSeq(0))?;
            println!("watching counter {counter}; Ctrl-C ends");
            loop {
                if let Some(output) = client.next_output(Duration::from_secs(60))? {
                    println!("output {}: {}", output.number, read(&output.payload)?.1);
                }
            }
        }
        _ => return Err(USAGE.into()),
    }
    // Without it the session would keep its place until it expires.
    Ok(client.close()?)
}

/// First byte and value of a message from the counters.
fn read(message: &[u8]) -> Result<(u8, i64), Box<dyn Error>> {
    let message = <&[u8; 16]>::try_from(message).map_err(|_| "the server sent no message of the counters")?;
    Ok((message[0], i64::from_le_bytes(message[8..].try_into()?)))
}
