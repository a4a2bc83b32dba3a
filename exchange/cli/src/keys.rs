//! `ordain keys`: who may connect.

use crate::child;
use crate::error::{CliError, OrNext, Result};
use clap::{Args, Subcommand};
use ordain_api::permission::{ALL, OPERATOR};
use ordain_client::SessionWish;
use ordain_client::blocking::{Client, Outcome};
use ordain_exchange_protocol::permission::{ADMIN, CUSTODY, TRADE, VIEW};
use ordain_host::keys;
use ordain_keys::PublicKey;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// How long to look for the cluster: somebody waits at the terminal.
const PATIENCE: Duration = Duration::from_secs(3);

#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Make a new key pair in a file that does not exist yet, and print its public key
    New {
        /// File to make, readable by its owner alone
        file: PathBuf,
    },
    /// Print the public key of a key file
    Show {
        /// Key file
        file: PathBuf,
    },
    /// Tell a cluster what a key may do; `none` revokes it
    Add(Add),
    /// Print the keys that a cluster knows: number, key, and what it may do
    List(Cluster),
}

/// Which cluster, and as whom.
#[derive(Debug, Args)]
pub struct Cluster {
    /// Node that leads the cluster, HOST:PORT or unix:PATH
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7400", value_parser = child::address)]
    connect: String,
    /// Key file of an operator
    #[arg(long, value_name = "FILE", default_value = "ordain-data/keys/operator.key")]
    key: PathBuf,
}

/// Tells a cluster what a key may do, from now on. The log keeps it, so every node knows, and a restart changes
/// nothing. The command prints the key's number, which `Grant` commands of the exchange name.
#[derive(Debug, Args)]
pub struct Add {
    /// The key, as `ordain keys new` and `ordain keys show` print it: ordain-public-...
    public: PublicKey,
    /// What it may do, comma-separated: trade, admin, custody, view, operator; or all; or none
    #[arg(long, value_name = "LIST", value_parser = permissions)]
    permissions: u32,
    #[command(flatten)]
    cluster: Cluster,
}

const NAMES: [(&str, u32); 5] =
    [("trade", TRADE), ("admin", ADMIN), ("custody", CUSTODY), ("view", VIEW), ("operator", OPERATOR)];

fn permissions(text: &str) -> std::result::Result<u32, String> {
    text.split(',').try_fold(0, |bits, name| {
        let mut named = NAMES.into_iter().chain([("all", ALL), ("none", 0)]);
        match named.find(|(known, _)| *known == name.trim()) {
            Some((_, bit)) => Ok(bits | bit),
            None => {
                Err(format!("`{name}` is no permission: trade, admin, custody, view, operator, all or none"))
            }
        }
    })
}

/// The inverse; bits without a name are given in hexadecimal.
fn words(permissions: u32) -> String {
    match permissions {
        0 => return "none".to_owned(),
        ALL => return "all".to_owned(),
        _ => {}
    }
    let named = NAMES.iter().filter(|(_, bit)| permissions & bit != 0);
    let nameless = permissions & !NAMES.iter().fold(0, |bits, (_, bit)| bits | bit);
    let nameless = (nameless != 0).then(|| format!("{nameless:#x}"));
    named.map(|(name, _)| (*name).to_owned()).chain(nameless).collect::<Vec<_>>().join(",")
}

pub fn run(command: &KeysCommand) -> Result<ExitCode> {
    let pair = match command {
        KeysCommand::New { file } => {
            keys::create(file).or_next("no key was made", "Then run the command again.")?
        }
        KeysCommand::Show { file } => {
            keys::load(file).or_next("the key cannot be shown", "Then run the command again.")?
        }
        KeysCommand::Add(add) => return run_add(add),
        KeysCommand::List(cluster) => return list(cluster),
    };
    println!("{}", pair.public());
    Ok(ExitCode::SUCCESS)
}

const NEXT: &str = "Check --connect and that --key is an operator's key file of this cluster.";

fn list(cluster: &Cluster) -> Result<ExitCode> {
    let mut config = child::client(&cluster.connect, &cluster.key)?;
    (config.timeout, config.core.session) = (PATIENCE, SessionWish::None);
    let mut client = Client::connect(&config).or_next("the cluster cannot be asked", NEXT)?;
    for entry in client.keys().or_next("the cluster does not say", NEXT)? {
        println!("{:>5}  {}  {}", entry.number, PublicKey(entry.key), words(entry.permissions.get()));
    }
    Ok(ExitCode::SUCCESS)
}

fn run_add(add: &Add) -> Result<ExitCode> {
    let mut config = child::client(&add.cluster.connect, &add.cluster.key)?;
    config.timeout = PATIENCE;
    let mut client = Client::connect(&config).or_next("the cluster cannot be told", NEXT)?;
    let outcome = client.set_key(add.public, add.permissions).or_next(
        "the cluster did not answer",
        "Run the command again: setting a key twice is the same as once.",
    )?;
    // Closing the session frees its place; if that fails, it expires by itself.
    let _ = client.close();
    match outcome {
        Outcome::Acknowledged { reply, .. } => {
            let number = <[u8; 4]>::try_from(reply.as_slice()).map(u32::from_le_bytes);
            let number =
                number.or_next("the answer names no key", "Run client and node of the same version.")?;
            println!("key {number} of the cluster: {}", add.public);
            Ok(ExitCode::SUCCESS)
        }
        Outcome::NotExecuted(code) => Err(CliError::new(format!("the cluster refused: {code}"), NEXT)),
        Outcome::Unknown => Err(CliError::new(
            "the session ended before the answer",
            "Run the command again: setting a key twice is the same as once.",
        )),
    }
}
