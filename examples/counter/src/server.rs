//! A node of the counters: `counter-server --data DIR`; `--help` tells every setting.
#![forbid(unsafe_code)]

use ordain::{ServerConfig, server};
use ordain_counter::{CounterDecoder, CounterEncoder, CounterFactory};
use std::process::ExitCode;

fn main() -> ExitCode {
    match server::run(ServerConfig::parse(), CounterFactory, CounterDecoder, CounterEncoder, None) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
