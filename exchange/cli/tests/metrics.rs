//! The page of the metrics has every one of them, and no other.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Names of metrics between `quote`s.
fn names(text: &str, quote: char) -> impl Iterator<Item = &str> {
    let parts = text.split(quote);
    let is_name = |part: &&str| {
        let rest = part.strip_prefix("ordain_").or_else(|| part.strip_prefix("process_"));
        rest.is_some_and(|rest| {
            !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        })
    };
    parts.filter(is_name)
}

/// What the sources of stages and host name, without their tests and what only reads metrics.
fn registered(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() {
            if !["tests", "examples", "sim", "benches"].contains(&name) {
                registered(&path, found);
            }
        } else if name.ends_with(".rs") && name != "tests.rs" {
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
            found.extend(names(code, '"').map(str::to_owned));
            // The text format's own, which no registry has.
            found.extend(code.split("# TYPE ").skip(1).filter_map(|rest| {
                let name = rest.split(' ').next()?;
                name.starts_with("process_").then(|| name.to_owned())
            }));
        }
    }
}

#[test]
fn every_metric_is_documented_and_nothing_else() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let page = fs::read_to_string(root.join("docs/operate/metrics.md")).unwrap();
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    let listed: Vec<String> = rows.map(|row| row.split('`').nth(1).unwrap().to_owned()).collect();
    let documented: BTreeSet<String> = listed.iter().cloned().collect();
    assert_eq!(documented.len(), listed.len(), "a metric stands twice");
    let mut found = BTreeSet::new();
    registered(&root.join("crates"), &mut found);
    let missing: Vec<_> = found.difference(&documented).collect();
    let gone: Vec<_> = documented.difference(&found).collect();
    assert!(missing.is_empty(), "add to docs/operate/metrics.md: {missing:?}");
    assert!(gone.is_empty(), "not registered any more: {gone:?}");
    // Pages that speak of single ones name such as exist.
    for page in ["running.md", "failures.md", "deployment.md", "tuning.md", "upgrade.md", "../replication.md"]
    {
        let text = fs::read_to_string(root.join("docs/operate").join(page)).unwrap();
        for name in names(&text, '`') {
            assert!(documented.contains(name), "{page} names {name}");
        }
    }
}
