//! `check small`, `check large`, `check huge`, `check mistakes` or `check not-covered`; then words, if any, of which a case's name
//! must have one.

use ordain_rules::cases;
use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (cases, wanted) = match args.first().map(String::as_str) {
        Some("small") => (cases::small(), false),
        Some("large") => (cases::large(), false),
        Some("huge") => (cases::huge(), false),
        Some("mistakes") => ([cases::mistakes(), cases::hidden_mistakes()].concat(), true),
        Some("not-covered") => (cases::not_covered(), true),
        _ => {
            eprintln!("check small|large|huge|mistakes|not-covered [WORD]...");
            return ExitCode::from(2);
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut failed = false;
    println!("{:<56} {:>10} {:>6} {:>8}", "case", "states", "steps", "seconds");
    for case in cases {
        let name = if wanted { format!("{:?}", case.variant) } else { case.name.to_owned() };
        if args.len() > 1 && !args[1..].iter().any(|word| name.contains(word.as_str())) {
            continue;
        }
        let began = Instant::now();
        let report = case.search(threads);
        let seconds = began.elapsed().as_secs_f64();
        println!("{name:<56} {:>10} {:>6} {seconds:>8.1}", report.states, report.depth);
        let missed = case.missed(&report);
        if !missed.is_empty() {
            println!("    NOT MET: {missed:?}");
        }
        match &report.broken {
            Some((property, trace)) => println!("\nbroken: {property}\n{trace}"),
            None if wanted => println!("    NOT CAUGHT"),
            None => {}
        }
        failed |= report.broken.is_some() != wanted || !missed.is_empty();
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
