//! `cargo xtask chaos`: builds the program and lets it disturb a cluster of real processes.

use std::path::Path;
use std::process::{Command, ExitCode};

/// Builds `ordain` as the other tools are built, and hands it the arguments.
pub fn run(args: &[String]) -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace");
    let build = ["build", "--quiet", "--profile", "tools", "--package", "ordain-cli"];
    let built = Command::new(env!("CARGO")).args(build).current_dir(root).status();
    if !built.is_ok_and(|status| status.success()) {
        eprintln!("the program cannot be built");
        return ExitCode::FAILURE;
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), Into::into);
    let dir = target.join("chaos");
    if let Err(error) = std::fs::create_dir_all(&dir) {
        eprintln!("{} cannot be made: {error}", dir.display());
        return ExitCode::FAILURE;
    }
    let ran =
        Command::new(target.join("tools/ordain")).arg("chaos").arg("--dir").arg(&dir).args(args).status();
    match ran {
        Ok(status) => u8::try_from(status.code().unwrap_or(1)).unwrap_or(1).into(),
        Err(error) => {
            eprintln!("the program cannot be started: {error}");
            ExitCode::FAILURE
        }
    }
}
