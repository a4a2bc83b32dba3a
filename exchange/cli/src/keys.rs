//! `ordain keys`: who may connect.

use crate::child;
use crate::error::{CliError, OrNext, Result};
use clap::{Args, Subcommand};
use ordain_api::permission::{ALL, OPERATOR};
use ordain_client::blocking::{Client, Outcome};
use ordain_exchange_protocol::permission::{ADMIN, CUSTODY, TRADE, VIEW};
use ordain_host::keys;
use ordain_keys::PublicKey;
use std::path::PathBuf;
use std::process::ExitCode;

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
    /// Node that leads the cluster, HOST:PORT or unix:PATH
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7400", value_parser = child::address)]
    connect: String,
    /// Key file of an operator
    #[arg(long, value_name = "FILE", default_value = "ordain-data/keys/operator.key")]
    key: PathBuf,
}

fn permissions(text: &str) -> std::result::Result<u32, String> {
    text.split(',').try_fold(0, |bits, name| {
        let bit = match name.trim() {
            "trade" => TRADE,
            "admin" => ADMIN,
            "custody" => CUSTODY,
            "view" => VIEW,
            "operator" => OPERATOR,
            "all" => ALL,
            "none" => 0,
            _ => {
                return Err(format!(
                    "`{name}` is no permission: trade, admin, custody, view, operator, all or none"
                ));
            }
        };
        Ok(bits | bit)
    })
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
    };
    println!("{}", pair.public());
    Ok(ExitCode::SUCCESS)
}

fn run_add(add: &Add) -> Result<ExitCode> {
    let next = "Check --connect and that --key is an operator's key file of this cluster.";
    let mut config = child::client(&add.connect, &add.key)?;
    config.timeout = PATIENCE;
    let mut client = Client::connect(&config).or_next("the cluster cannot be told", next)?;
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
        Outcome::NotExecuted(code) => Err(CliError::new(format!("the cluster refused: {code}"), next)),
        Outcome::Unknown => Err(CliError::new(
            "the session ended before the answer",
            "Run the command again: setting a key twice is the same as once.",
        )),
    }
}
