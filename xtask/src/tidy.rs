//! Folders are rules: this proves them.
//!
//! Each group of crates may depend on the groups named beside it and on no other of ours; crates outside
//! the shells may not touch the world; only the ring and `sys` may contain `unsafe`; documents may not
//! link to what is not there; each mistake on the engine's list still fits the engine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// A group of crates: a folder, and the groups that it may depend on.
struct Group {
    folder: &'static str,
    may_use: &'static [&'static str],
    /// Whether it may use clocks, threads, sockets and files.
    touches_world: bool,
}

/// In the order the data travels. Development dependencies are free, but for the model's independence.
const GROUPS: &[Group] = &[
    Group { folder: "crates/base", may_use: &["crates/base"], touches_world: false },
    Group { folder: "crates/app", may_use: &["crates/base", "crates/app"], touches_world: false },
    Group { folder: "crates/client", may_use: &["crates/base"], touches_world: true },
    Group {
        folder: "crates/pipeline",
        may_use: &["crates/base", "crates/app/api", "crates/pipeline"],
        touches_world: false,
    },
    Group {
        folder: "crates/node",
        may_use: &["crates/base", "crates/app/api", "crates/pipeline"],
        touches_world: false,
    },
    Group { folder: "crates/sys", may_use: &[], touches_world: true },
    Group {
        folder: "crates/host",
        may_use: &["crates/base", "crates/app/api", "crates/pipeline", "crates/node", "crates/sys"],
        touches_world: true,
    },
    Group {
        folder: "crates/sim",
        may_use: &["crates/base", "crates/app", "crates/client", "crates/pipeline", "crates/node"],
        touches_world: false,
    },
    // The rule, independent of the code that implements it.
    Group { folder: "crates/rules", may_use: &[], touches_world: false },
    Group { folder: "exchange/protocol", may_use: &[], touches_world: false },
    Group { folder: "exchange/engine", may_use: &["exchange/protocol"], touches_world: false },
    Group { folder: "exchange/model", may_use: &["exchange/protocol"], touches_world: false },
    Group {
        folder: "exchange/server",
        may_use: &["crates/app/api", "exchange/protocol", "exchange/engine"],
        touches_world: false,
    },
    // Reads what it is given: whoever calls it opens the file.
    Group { folder: "exchange/itch", may_use: &[], touches_world: false },
    Group { folder: "exchange/flow", may_use: &[], touches_world: false },
    Group { folder: "exchange/export", may_use: &[], touches_world: false },
    Group {
        folder: "exchange/sim",
        may_use: &[
            "crates/base",
            "crates/app/api",
            "crates/sim",
            "exchange/protocol",
            "exchange/engine",
            "exchange/model",
            "exchange/server",
        ],
        touches_world: false,
    },
];

/// Packages that one crate alone may depend on: what is heavy stays away from nodes and libraries.
const ONLY: &[(&str, &str)] = &[("parquet", "exchange/export"), ("ordain-exchange-export", "exchange/cli")];

/// What only shells may name. Each names the rule it breaks.
const WORLD: &[(&str, &str)] = &[
    ("std::time::Instant", "time comes in as an argument"),
    ("Instant::now", "time comes in as an argument"),
    ("SystemTime", "time comes in as an argument"),
    ("std::thread", "runners own threads"),
    ("std::net", "sockets are behind ports"),
    ("std::fs", "files are behind ports"),
    ("std::env", "configuration comes in as an argument"),
    ("getrandom", "randomness comes in as an argument"),
];

/// Crates that may contain `unsafe`: in-place sharing of memory, and system calls.
const MAY_BE_UNSAFE: &[&str] = &["crates/base/ring", "crates/sys"];

/// Words that have no place in what a reader gets.
const UNFINISHED: &[&str] = &["FIXME", "XXX", "TODO"];

pub fn run() -> ExitCode {
    let root =
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace").to_owned();
    let mut faults = Vec::new();
    for member in members(&root) {
        check_crate(&root, &member, &mut faults);
    }
    check_documents(&root, &mut faults);
    faults.extend(crate::mistakes::list::faults(&root));
    for fault in &faults {
        println!("tidy: {fault}");
    }
    println!("tidy: {} faults", faults.len());
    if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn members(root: &Path) -> Vec<String> {
    let manifest = parse(&root.join("Cargo.toml"));
    manifest["workspace"]["members"]
        .as_array()
        .expect("the workspace lists its members")
        .iter()
        .map(|member| member.as_str().expect("a member is a path").to_owned())
        .collect()
}

fn parse(path: &Path) -> toml::Value {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The folder of one of our crates by its name, from the workspace's dependency table.
fn folder_of(root: &Path, name: &str) -> Option<String> {
    let manifest = parse(&root.join("Cargo.toml"));
    manifest["workspace"]["dependencies"].get(name)?.get("path")?.as_str().map(str::to_owned)
}

fn group_of(folder: &str) -> Option<&'static Group> {
    GROUPS.iter().find(|group| is_in(folder, group.folder))
}

fn is_in(folder: &str, parent: &str) -> bool {
    folder == parent || folder.strip_prefix(parent).is_some_and(|rest| rest.starts_with('/'))
}

fn check_crate(root: &Path, member: &str, faults: &mut Vec<String>) {
    let manifest = parse(&root.join(member).join("Cargo.toml"));
    let names = |table: &str| -> Vec<String> {
        manifest
            .get(table)
            .and_then(toml::Value::as_table)
            .map(|t| t.keys().cloned().collect())
            .unwrap_or_default()
    };
    for name in names("dependencies") {
        faults.extend(check_only(member, &name));
        let Some(target) = folder_of(root, &name) else { continue };
        if let Some(fault) = check_dependency(member, &target) {
            faults.push(fault);
        }
    }
    if member == "exchange/model" && names("dev-dependencies").iter().any(|name| name.contains("engine")) {
        // Tests that compare the two may see both; the crate itself may not, which the table above says.
        let sources = files(&root.join(member).join("src"), "rs");
        for path in sources {
            if read(&path).contains("ordain_exchange_engine") {
                faults.push(format!("{}: the model may not know the engine", path.display()));
            }
        }
    }
    for path in files(&root.join(member), "rs") {
        let text = read(&path);
        let shown = path.strip_prefix(root).unwrap_or(&path).display().to_string();
        let is_test =
            shown.contains("/tests/") || shown.contains("/examples/") || shown.contains("/benches/");
        check_source(member, &shown, is_test, &text, faults);
    }
    let lib = root.join(member).join("src/lib.rs");
    if lib.exists() && !MAY_BE_UNSAFE.iter().any(|may| is_in(member, may)) {
        let text = read(&lib);
        if !text.contains("#![forbid(unsafe_code)]") {
            faults.push(format!("{member}/src/lib.rs: lacks #![forbid(unsafe_code)]"));
        }
    }
}

fn check_dependency(member: &str, target: &str) -> Option<String> {
    let group = group_of(member)?;
    let allowed = group.may_use.iter().any(|may| is_in(target, may));
    (!allowed).then(|| {
        format!("{member}: may not depend on {target} ({} may use {:?})", group.folder, group.may_use)
    })
}

fn check_only(member: &str, name: &str) -> Option<String> {
    let (_, only) = ONLY.iter().find(|(package, only)| *package == name && *only != member)?;
    Some(format!("{member}: may not depend on {name} (only {only} may)"))
}

fn check_source(member: &str, shown: &str, is_test: bool, text: &str, faults: &mut Vec<String>) {
    let pure = group_of(member).is_some_and(|group| !group.touches_world);
    let mut in_tests = is_test;
    for (number, line) in text.lines().enumerate() {
        in_tests |=
            line.trim_start().starts_with("#[cfg(test)]") || line.trim_start().starts_with("#![cfg(test)]");
        let code = line.split("//").next().unwrap_or("");
        if pure && !in_tests {
            for (word, rule) in WORLD {
                if code.contains(word) {
                    faults.push(format!("{shown}:{}: `{word}`: {rule}", number + 1));
                }
            }
        }
        if member != "xtask" {
            for word in UNFINISHED {
                if line.contains(word) {
                    faults.push(format!("{shown}:{}: `{word}`: finish it or say what it is", number + 1));
                }
            }
        }
    }
}

fn check_documents(root: &Path, faults: &mut Vec<String>) {
    for path in files(root, "md") {
        let text = read(&path);
        let shown = path.strip_prefix(root).unwrap_or(&path).display().to_string();
        for (number, line) in text.lines().enumerate() {
            for target in links(line) {
                let file = target.split('#').next().unwrap_or("");
                let is_local = !file.is_empty() && !file.contains("://");
                if is_local && !path.parent().expect("a file has a folder").join(file).exists() {
                    faults.push(format!("{shown}:{}: links to `{file}`, which is not there", number + 1));
                }
            }
        }
    }
}

/// Targets of `[text](target)` in a line.
fn links(line: &str) -> Vec<&str> {
    line.match_indices("](")
        .filter_map(|(at, _)| {
            let rest = &line[at + 2..];
            rest.find(')').map(|end| &rest[..end])
        })
        .collect()
}

/// Files below `folder` with an extension, without build output, hidden folders and vendored fuzz corpora.
fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let path = entry.path();
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if path.is_dir() {
                if name != "target" && !name.starts_with('.') && name != "ordain-data" {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every rule, with a violation planted against it.
    #[test]
    fn each_rule_objects_to_a_violation() {
        for (member, target, allowed) in [
            ("crates/base/ring", "crates/base/types", true),
            ("crates/base/ring", "crates/pipeline/journal", false),
            ("crates/pipeline/journal", "crates/host", false),
            ("crates/pipeline/apply", "crates/app/counter", false),
            ("crates/sim", "crates/host", false),
            ("crates/sim", "exchange/server", false),
            ("crates/app/counter", "crates/pipeline/apply", false),
            ("crates/client", "crates/pipeline/gateway", false),
            ("exchange/engine", "crates/base/types", false),
            ("exchange/model", "exchange/engine", false),
            ("exchange/server", "exchange/engine", true),
            ("exchange/sim", "crates/sim", true),
            ("exchange/sim", "crates/host", false),
            ("exchange/cli", "crates/host", true),
            ("crates/rules", "crates/pipeline/consensus", false),
        ] {
            assert_eq!(check_dependency(member, target).is_none(), allowed, "{member} -> {target}");
        }
    }

    #[test]
    fn what_is_heavy_stays_in_one_crate() {
        for (member, name, allowed) in [
            ("exchange/export", "parquet", true),
            ("exchange/cli", "parquet", false),
            ("exchange/cli", "ordain-exchange-export", true),
            ("crates/ordain", "ordain-exchange-export", false),
            ("crates/node", "blake3", true),
        ] {
            assert_eq!(check_only(member, name).is_none(), allowed, "{member} -> {name}");
        }
    }

    #[test]
    fn a_core_may_not_touch_the_world() {
        let check = |member: &str, text: &str| {
            let mut faults = Vec::new();
            check_source(member, "src/lib.rs", false, text, &mut faults);
            faults.len()
        };
        for (word, _) in WORLD {
            let line = format!("use {word};");
            assert!(check("crates/pipeline/apply", &line) >= 1, "{word}");
            assert_eq!(check("crates/host", &line), 0, "{word}");
        }
        assert_eq!(check("crates/pipeline/apply", "// about std::net"), 0);
        assert_eq!(check("crates/pipeline/apply", "#[cfg(test)]\nuse std::thread;"), 0);
        assert_eq!(check("crates/host", "// FIXME"), 1);
    }

    #[test]
    fn links_are_found() {
        assert_eq!(links("see [a](b.md) and [c](d/e.md#f)"), ["b.md", "d/e.md#f"]);
    }
}
