//! `ordain keys`: who may connect.

use crate::error::{OrNext, Result};
use clap::Subcommand;
use ordain_host::keys;
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
}

pub fn run(command: &KeysCommand) -> Result<ExitCode> {
    let pair = match command {
        KeysCommand::New { file } => keys::create(file),
        KeysCommand::Show { file } => keys::load(file),
    };
    let pair = pair.or_next("no key", "See above; `ordain keys --help` explains the commands.")?;
    println!("{}", pair.public());
    Ok(ExitCode::SUCCESS)
}
