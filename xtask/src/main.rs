//! Everything about this repository that is not plain cargo: `cargo xtask help`.
#![forbid(unsafe_code)]

mod chaos;
mod instructions;
mod mistakes;
mod model;
mod mutants;
mod scratch;
mod sim;
mod tidy;

use std::process::ExitCode;

const HELP: &str = "\
cargo xtask COMMAND

  tidy    check the rules that the compiler does not: which folder may depend on
          which, where clocks, threads and files may be used, links in documents
  sim     simulate whole clusters from seeds: `cargo xtask sim --help`
  chaos --minutes N [--seed S] [--nodes 3|5]
          disturb a cluster of real processes, its network and its disks, while
          clients and an auditor check it: `cargo xtask chaos --help`
  model small|large|huge|mistakes|not-covered [WORD]...
          visit every state of the model of the rule of relaxed acknowledgements,
          within bounds; `mistakes` shows how each mistake breaks it
  mutants [COUNT [SKIP [FILE...]]]
          change one operator of the exchange's engine at a time, in a copy, and
          say which changes the comparison with the model does not notice
  mistakes [NAME...]
          make the mistakes of exchange/engine/mistakes one at a time, in a copy, and say
          which test notices each
  instructions [FLOW...]
          count the instructions that the exchange's engine takes for a request, flow by
          flow, under valgrind
  help    this text
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.first().map(String::as_str) {
        Some("sim") => sim::run(&args[1..]),
        Some("chaos") => chaos::run(&args[1..]),
        Some("tidy") => tidy::run(),
        Some("model") => model::run(&args[1..]),
        Some("mutants") => mutants::run(&args[1..]),
        Some("mistakes") => mistakes::run(&args[1..]),
        Some("instructions") => instructions::run(&args[1..]),
        Some("help") | None => {
            print!("{HELP}");
            ExitCode::SUCCESS
        }
        Some(other) => {
            eprintln!("unknown command `{other}`\n\n{HELP}");
            ExitCode::from(2)
        }
    }
}
