//! The list of mistakes: `exchange/engine/mistakes/`, one file a subject. What a file looks like says its README.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The list, and the code that the mistakes are made in.
const LIST: &str = "exchange/engine/mistakes";
const CODE: &str = "exchange/engine/src";

/// Lines of a file, and those that take their place. Indentation says nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub file: PathBuf,
    before: Vec<String>,
    after: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    pub name: String,
    /// What goes wrong, and for whom.
    pub wrong: String,
    /// The page whose rule it breaks.
    pub page: String,
    /// Of the situations in the README, those that it is about.
    situations: Vec<u32>,
    pub changes: Vec<Change>,
}

/// All mistakes, by file and in its order.
pub fn read(root: &Path) -> io::Result<Vec<Mistake>> {
    let mut files: Vec<PathBuf> = fs::read_dir(root.join(LIST))?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<_>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "txt"));
    files.sort_unstable();
    let mut mistakes = Vec::new();
    for file in files {
        let found = parse(&fs::read_to_string(&file)?)
            .map_err(|fault| io::Error::other(format!("{}:{fault}", file.display())))?;
        mistakes.extend(found);
    }
    Ok(mistakes)
}

/// Mistakes from a file's text, or the line and what is wrong with it.
fn parse(text: &str) -> Result<Vec<Mistake>, String> {
    let mut mistakes: Vec<Mistake> = Vec::new();
    let mut lines = text.lines().enumerate().peekable();
    while let Some((number, line)) = lines.next() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let fault = |what: &str| format!("{}: {what}", number + 1);
        let (key, value) = line.split_once(':').ok_or_else(|| fault("a line is `what: ...`, or indented"))?;
        let value = value.trim().to_owned();
        let mut block = Vec::new();
        while let Some((_, line)) = lines.next_if(|(_, line)| line.starts_with(' ')) {
            block.push(line.trim().to_owned());
        }
        let words = || block.iter().fold(value.clone(), |words, line| format!("{words} {line}"));
        if key == "mistake" {
            let (name, wrong, page) = (words(), String::new(), String::new());
            mistakes.push(Mistake { name, wrong, page, situations: Vec::new(), changes: Vec::new() });
            continue;
        }
        let Some(mistake) = mistakes.last_mut() else { return Err(fault("a mistake begins with its name")) };
        match key {
            "goes wrong" => mistake.wrong = words(),
            "breaks" => mistake.page = words(),
            "situations" => {
                let numbers = value.split(',').map(|number| number.trim().parse());
                mistake.situations = numbers.collect::<Result<_, _>>().map_err(|_| fault("no numbers"))?;
            }
            "file" => {
                let file = Path::new(CODE).join(value);
                mistake.changes.push(Change { file, before: Vec::new(), after: Vec::new() });
            }
            "before" | "after" => {
                let Some(change) = mistake.changes.last_mut() else { return Err(fault("of which file?")) };
                *(if key == "before" { &mut change.before } else { &mut change.after }) = block;
            }
            _ => return Err(fault("no such word")),
        }
    }
    Ok(mistakes)
}

impl Change {
    /// The text with the mistake in it.
    pub fn make(&self, text: &str) -> Result<String, String> {
        let lines: Vec<&str> = text.lines().collect();
        let is_here = |found: &[&str]| found.iter().map(|line| line.trim()).eq(self.before.iter());
        let length = self.before.len().max(1);
        let places: Vec<usize> =
            lines.windows(length).enumerate().filter(|(_, found)| is_here(found)).map(|(at, _)| at).collect();
        let [at] = places[..] else {
            return Err(format!(
                "what is to be replaced is {} times in {}, not once",
                places.len(),
                self.file.display()
            ));
        };
        let after = self.after.iter().map(String::as_str);
        let text = lines[..at].iter().copied().chain(after).chain(lines[at + length..].iter().copied());
        Ok(text.flat_map(|line| [line, "\n"]).collect())
    }
}

/// What keeps the list from being what it says, the situations being those of the README.
pub fn faults(root: &Path) -> Vec<String> {
    let mistakes = match read(root) {
        Ok(mistakes) => mistakes,
        Err(error) => return vec![error.to_string()],
    };
    let readme = fs::read_to_string(root.join(LIST).join("README.md")).unwrap_or_default();
    let known = situations(&readme);
    let mut faults = faults_of(&mistakes, &known);
    for mistake in &mistakes {
        let mut fault = |what: String| faults.push(format!("{LIST}: `{}`: {what}", mistake.name));
        let page = mistake.page.split(':').next().unwrap_or_default();
        if !root.join(page).is_file() {
            fault(format!("there is no page `{page}`"));
        }
        for change in &mistake.changes {
            let made = fs::read_to_string(root.join(&change.file))
                .map_err(|error| format!("{}: {error}", change.file.display()))
                .and_then(|text| change.make(&text));
            if let Err(what) = made {
                fault(what);
            }
        }
    }
    faults
}

/// The numbers of a text's list.
fn situations(readme: &str) -> Vec<u32> {
    let numbers = readme.lines().filter_map(|line| line.split_once(". ")?.0.parse().ok());
    numbers.collect()
}

fn faults_of(mistakes: &[Mistake], situations: &[u32]) -> Vec<String> {
    let mut faults = Vec::new();
    for (at, mistake) in mistakes.iter().enumerate() {
        let mut fault = |what: &str| faults.push(format!("{LIST}: `{}`: {what}", mistake.name));
        if mistakes[..at].iter().any(|other| other.name == mistake.name) {
            fault("another has this name");
        }
        if mistake.wrong.is_empty() || mistake.page.is_empty() {
            fault("what goes wrong, or what it breaks, is not said");
        }
        if mistake.changes.is_empty() || mistake.changes.iter().any(|change| change.before == change.after) {
            fault("it changes nothing");
        }
        if mistake.situations.iter().any(|number| !situations.contains(number)) {
            fault("it is about a situation that the README does not have");
        }
    }
    for number in situations {
        if !mistakes.iter().any(|mistake| mistake.situations.contains(number)) {
            faults.push(format!("{LIST}: no mistake is about situation {number}"));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# A comment.

mistake: the-first
goes wrong: A trader
    loses.
breaks: docs/a.md: \"a rule\"
situations: 1, 3
file: a.rs
before:
    let a = 1;
    let b = 2;
after:
    let a = 2;
    let b = 1;
file: b.rs
before:
    c();
after:

mistake: second
";

    #[test]
    fn a_file_is_read() {
        let [first, second] = &parse(TEXT).expect("a list")[..] else { panic!("two mistakes") };
        assert_eq!(first.name, "the-first");
        assert_eq!(first.wrong, "A trader loses.");
        assert_eq!(first.page, "docs/a.md: \"a rule\"");
        assert_eq!(first.situations, [1, 3]);
        assert_eq!(first.changes.len(), 2);
        assert_eq!(
            first.changes[0].make("x\n  let a = 1;\nlet b = 2;\ny\n").as_deref(),
            Ok("x\nlet a = 2;\nlet b = 1;\ny\n")
        );
        assert_eq!(first.changes[1].make("c();\nd();").as_deref(), Ok("d();\n"));
        assert_eq!(second.name, "second");
        for (text, line) in
            [("file: a\n", "1:"), ("mistake: a\nbefore:\n", "2:"), ("mistake: a\nodd\n", "2:")]
        {
            assert!(parse(text).expect_err("it is not sound").starts_with(line), "{text}");
        }
    }

    #[test]
    fn what_is_not_there_once_is_not_changed() {
        let change = &parse(TEXT).expect("a list")[0].changes[0];
        assert!(change.make("let a = 1;\nlet b = 3;\n").is_err());
        assert!(change.make("let a = 1;\nlet b = 2;\nlet a = 1;\nlet b = 2;\n").is_err());
    }

    #[test]
    fn each_fault_of_a_list_is_found() {
        let good = parse(TEXT).expect("a list").swap_remove(0);
        assert_eq!(faults_of(std::slice::from_ref(&good), &[1, 3]), Vec::<String>::new());
        assert_eq!(faults_of(std::slice::from_ref(&good), &[1]).len(), 1, "an unknown situation");
        assert_eq!(
            faults_of(std::slice::from_ref(&good), &[1, 2, 3]).len(),
            1,
            "a situation that none is about"
        );
        assert_eq!(faults_of(&[good.clone(), good.clone()], &[1, 3]).len(), 1, "a name twice");
        let spoilt = |spoil: fn(&mut Mistake)| {
            let mut mistake = good.clone();
            spoil(&mut mistake);
            faults_of(&[mistake], &[1, 3]).len()
        };
        assert_eq!(spoilt(|mistake| mistake.wrong.clear()), 1);
        assert_eq!(spoilt(|mistake| mistake.page.clear()), 1);
        assert_eq!(spoilt(|mistake| mistake.changes.clear()), 1);
        assert_eq!(spoilt(|mistake| mistake.changes[0].after = mistake.changes[0].before.clone()), 1);
        assert_eq!(situations("1. One.\nNo. 2\n 3. three\n19. Last.\n"), [1, 19]);
    }

    /// So that the list does not fall behind the engine.
    #[test]
    fn the_list_fits_the_engine() {
        assert_eq!(faults(crate::scratch::root()), Vec::<String>::new());
    }
}
