//! Whether the exchange's tests notice mistakes that people make: those of `exchange/engine/mistakes` are made one at a
//! time, in a copy of the workspace, and the tests are run until one objects.

pub mod list;

use crate::scratch::{self, DIFFERENTIAL, Scratch, Tests, Verdict};
use list::Mistake;
use std::fs;
use std::io;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// The tests that may object, in the order in which they are asked.
const CHECKERS: [&Tests; 2] = [&DIFFERENTIAL, &ENGINE];

/// The engine's own: properties, acceptance cases, unit tests.
const ENGINE: Tests = Tests { package: "ordain-exchange-engine", folder: "exchange/engine", only: &[] };

/// How long a test program may take. A mistake that makes one go on for ever is not caught: nobody says what is wrong.
const PATIENCE: Duration = Duration::from_secs(600);

/// What came of a mistake.
enum Found {
    /// By this test.
    Caught(String),
    Hangs(String),
    Survived,
    DoesNotBuild,
}

/// `cargo xtask mistakes [NAME...]`: all mistakes, or those whose names contain one of these.
pub fn run(args: &[String]) -> ExitCode {
    match try_mistakes(args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("cannot try mistakes: {error}");
            ExitCode::from(2)
        }
    }
}

/// Says whether each is caught.
fn try_mistakes(names: &[String]) -> io::Result<bool> {
    let mut mistakes = list::read(scratch::root())?;
    mistakes.retain(|mistake| names.is_empty() || names.iter().any(|name| mistake.name.contains(name)));
    if mistakes.is_empty() {
        return Err(io::Error::other("no mistake has such a name: see exchange/engine/mistakes"));
    }
    let copy = Scratch::new("mistakes")?;
    let begun = Instant::now();
    match judge(&copy)? {
        Found::Survived => println!("the tests pass as they are, {} s", begun.elapsed().as_secs()),
        Found::Caught(by) | Found::Hangs(by) => {
            return Err(io::Error::other(format!("{by} does not pass as it is: mend that first")));
        }
        Found::DoesNotBuild => return Err(io::Error::other("the tests do not build as they are")),
    }
    let mut caught = 0;
    for mistake in &mistakes {
        let begun = Instant::now();
        let found = plant(&copy, mistake)?;
        let (word, by) = match found {
            Found::Caught(by) => ("caught", by),
            Found::Hangs(by) => ("HANGS", by),
            Found::Survived => ("SURVIVED", String::new()),
            Found::DoesNotBuild => ("DOES NOT BUILD", String::new()),
        };
        caught += usize::from(word == "caught");
        println!("{word:<10} {:<50} {:>4} s  {by}", mistake.name, begun.elapsed().as_secs());
        if word != "caught" {
            println!("    {}\n    breaks {}", mistake.wrong, mistake.page);
        }
    }
    println!("\n{} mistakes, {caught} caught, {} s", mistakes.len(), begun.elapsed().as_secs());
    Ok(caught == mistakes.len())
}

/// Makes a mistake, sees what the tests say, and undoes it.
fn plant(copy: &Scratch, mistake: &Mistake) -> io::Result<Found> {
    let mut originals = Vec::new();
    for change in &mistake.changes {
        let file = copy.root.join(&change.file);
        let text = fs::read_to_string(&file)?;
        let made =
            change.make(&text).map_err(|what| io::Error::other(format!("`{}`: {what}", mistake.name)))?;
        fs::write(&file, made)?;
        originals.push((file, text));
    }
    let found = judge(copy);
    // The other way round: a file may be changed in several places.
    for (file, text) in originals.into_iter().rev() {
        fs::write(file, text)?;
    }
    found
}

/// Asks the checkers until one objects.
fn judge(copy: &Scratch) -> io::Result<Found> {
    for tests in CHECKERS {
        let Some(programs) = copy.build(tests)? else { return Ok(Found::DoesNotBuild) };
        for program in programs {
            match program.run(PATIENCE)? {
                Verdict::Passes => {}
                Verdict::Fails(Some(test)) => return Ok(Found::Caught(format!("{}: {test}", program.name))),
                Verdict::Fails(None) => return Ok(Found::Caught(format!("{}, which dies", program.name))),
                Verdict::Hangs => return Ok(Found::Hangs(program.name)),
            }
        }
    }
    Ok(Found::Survived)
}
