//! Every story in `scenarios` is told, from several seeds each.

use ordain_sim::run::{Options, tell};
use ordain_sim::scenario::Scenario;
use ordain_sim::workload::counter::Counter;

const SEEDS: u64 = 3;

#[test]
fn stories_go_as_they_are_told() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 10, "{files:?}");
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let scenario = Scenario::parse(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        for seed in 1..=SEEDS {
            let options = Options { seed, nodes: scenario.nodes, print: false };
            let outcome = tell::<Counter>(options, &scenario, |_| {});
            assert_eq!(outcome.failure, None, "{}, seed {seed}", file.display());
            assert!(outcome.totals.acknowledged > 50, "{}, seed {seed}", file.display());
        }
    }
}

#[test]
fn a_story_that_does_not_hold_is_a_failure() {
    let text = "a cluster of 3, disk-ram\nA is the leader\nclients ask 10\nexpect no leader\n";
    let outcome =
        tell::<Counter>(Options { seed: 1, nodes: 3, print: false }, &Scenario::parse(text).unwrap(), |_| {});
    assert_eq!(outcome.failure.map(|failure| failure.checker), Some("the story goes as it is told"));
    assert!(Scenario::parse("a cluster of 3, disk-ram\nA is hungry\n").unwrap_err().starts_with("line 2"));
    assert!(Scenario::parse("A is the leader\n").is_err());
}
