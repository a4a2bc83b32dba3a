//! `cargo xtask model`: the searches of `crates/rules`, optimised.

use std::process::{Command, ExitCode};

/// Passes its arguments on to the crate's example `check`.
pub fn run(args: &[String]) -> ExitCode {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args([
            "run",
            "--quiet",
            "--profile",
            "tools",
            "--package",
            "ordain-rules",
            "--example",
            "check",
            "--",
        ])
        .args(args)
        .status();
    match status {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("cannot start cargo: {error}");
            ExitCode::from(2)
        }
    }
}
