//! `ordain`: run a node of the exchange, drive it, measure it, audit it.
#![forbid(unsafe_code)]

mod audit;
mod bench;
mod catchup;
mod chaos;
mod child;
mod cluster;
mod demo;
mod error;
mod exchange;
mod failover;
mod flow;
mod history;
mod itch;
mod journal;
mod keys;
mod load;
mod operators;
mod pipeline;
mod recover;
mod replay;
mod stall;
mod steer;

use clap::{Parser, Subcommand};
use error::{CliError, Result};
use ordain_exchange_server::{ExchangeDecoder, ExchangeEncoder, ExchangeFactory};
use ordain_host::config::ServerConfig;
use signal_hook::consts::SIGPIPE;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Order books and accounts are tables of many megabytes, looked up all over.
#[global_allocator]
static MEMORY: ordain_sys::memory::HugePages = ordain_sys::memory::HugePages;

const FIRST_STEPS: &str = "\
First steps:
  ordain demo                          see what it promises, in twenty seconds
  ordain node                          a node on ./ordain-data, 127.0.0.1:7400; stop it with Ctrl-C
  ordain keys new me.key               a key for a client; prints its public half
  ordain keys add PUBLIC --permissions trade,view
                                       tell the running node about it
  ordain journal verify ./ordain-data  check the journal of the stopped node
  ordain cluster init --help           three nodes instead of one

Errors say what to do next. Exit codes: 0 good, 1 failed or not good, 2 wrong use or environment.";

/// A deterministic, replicated sequencer, and an exchange that runs on it.
#[derive(Debug, Parser)]
#[command(name = "ordain", version, subcommand_required = true, arg_required_else_help = true, after_help = FIRST_STEPS)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a node of the exchange; needs no configuration
    ///
    /// The first start makes the data directory, with the facts of a new cluster and its keys. DATA/keys/operator.key
    /// may do everything. While clients can connect, the file DATA/address says where. SIGINT and SIGTERM stop the node
    /// gracefully; a node that was killed recovers by itself at the next start.
    Node {
        /// TOML file with settings; flags win over it
        #[arg(long)]
        config: Option<PathBuf>,
        #[command(flatten)]
        server: Box<ServerConfig>,
    },
    /// Make a cluster of several nodes, look at it, and change it while it runs
    #[command(subcommand)]
    Cluster(cluster::ClusterCommand),
    /// Run the exchange as its operator: instruments, states, accounts, money, limits, fees, halts and kills
    Exchange(Box<exchange::ExchangeArgs>),
    /// Say what stopped nodes hold and whether they can go on; declare a loss where they cannot
    Recover(recover::RecoverArgs),
    /// See three nodes be loaded, their leader killed, and all of it audited, in about twenty seconds
    Demo(demo::DemoArgs),
    /// The load client of `demo`
    #[command(hide = true)]
    Load(load::LoadArgs),
    /// Make and show keys, and say what they may do
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// Replay real order flow through a node and compare its book row by row
    Replay(replay::ReplayArgs),
    /// Measure real order flow, and make flow like it
    #[command(subcommand)]
    Flow(flow::FlowCommand),
    /// Count and check a file of Nasdaq's ITCH
    Itch(itch::ItchArgs),
    /// Tell what happened, from the journal of a node that is stopped
    #[command(subcommand)]
    Explain(history::explain::ExplainCommand),
    /// Show the exchange as it was
    #[command(subcommand)]
    State(history::state::StateCommand),
    /// Write statements, order history or trades as CSV or Parquet
    Export(history::export::ExportArgs),
    /// Check that every acknowledgement a client wrote down is in the journal, with that reply
    Audit(audit::AuditArgs),
    /// Disturb a cluster of its own, as `cargo xtask chaos` does
    #[command(hide = true)]
    Chaos(chaos::ChaosArgs),
    /// Measure the engine, whole round trips, or the floors of this machine
    Bench(bench::BenchArgs),
    /// Read the journal of a node that is stopped
    #[command(subcommand)]
    Journal(journal::JournalCommand),
}

/// Ends quietly when nobody reads standard output any more (`ordain journal dump | head`).
fn end_with_reader() {
    let always = Arc::new(AtomicBool::new(true));
    // Without it such an end is only less quiet.
    let _ = signal_hook::flag::register_conditional_shutdown(SIGPIPE, 128 + SIGPIPE, always);
}

fn main() -> ExitCode {
    let command = Cli::parse().command;
    // The others have processes or sockets to look after, and take a broken pipe as the error that it is.
    if !matches!(command, Command::Node { .. } | Command::Demo(_) | Command::Load(_)) {
        end_with_reader();
    }
    let result = match command {
        Command::Node { config, server } => node(*server, config),
        Command::Cluster(command) => cluster::run(&command),
        Command::Exchange(args) => exchange::run(&args),
        Command::Recover(args) => recover::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Load(args) => load::run(&args),
        Command::Keys(command) => keys::run(&command),
        Command::Replay(args) => replay::run(&args),
        Command::Flow(command) => flow::run(&command),
        Command::Itch(args) => itch::run(&args),
        Command::Explain(command) => history::explain::run(&command),
        Command::State(command) => history::state::run(&command),
        Command::Export(args) => history::export::run(&args),
        Command::Audit(args) => audit::run(&args),
        Command::Chaos(args) => chaos::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Journal(command) => journal::run(&command),
    };
    result.unwrap_or_else(|error| {
        eprintln!("{error}");
        ExitCode::from(1)
    })
}

fn node(server: ServerConfig, config: Option<PathBuf>) -> Result<ExitCode> {
    let server = server.with_file(config.as_deref()).map_err(|error| {
        CliError::new(error, "Mend the configuration; `ordain node --help` explains each setting.")
    })?;
    match ordain_host::run(server, ExchangeFactory::default(), ExchangeDecoder, ExchangeEncoder, None) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => {
            eprintln!("error: {error}");
            Ok(ExitCode::from(error.exit_code()))
        }
    }
}
