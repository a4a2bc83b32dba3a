//! The rule holds in every state within small bounds, and every mistake is found. `cargo xtask model` goes farther.

use ordain_rules::cases::{self, Case};
use ordain_rules::rule::Variant;

fn holds(case: &Case) {
    let report = case.search(1);
    if let Some((property, trace)) = &report.broken {
        panic!("{}: broken: {property}\n{trace}", case.name);
    }
    assert_eq!(case.missed(&report), [""; 0], "{}: the search says too little", case.name);
    println!("{}: {} states, {} steps", case.name, report.states, report.depth);
}

fn is_caught(case: &Case) -> String {
    let report = case.search(1);
    let Some((property, trace)) = report.broken else {
        panic!("{:?} is not caught in {} states", case.variant, report.states);
    };
    println!("{:?}, {} states: broken: {property}\n{trace}", case.variant, report.states);
    trace
}

#[test]
fn the_rule_holds() {
    cases::small().iter().for_each(holds);
}

#[test]
fn mistakes_are_caught() {
    for case in cases::mistakes() {
        is_caught(&case);
        // What breaks is the mistake and not the bounds.
        if case.bounds.faults == [1, 0, 0, 0] && case.variant == Variant::DirtyVotesStrong {
            holds(&Case { variant: Variant::Rule, ..case });
        }
    }
}

#[test]
#[ignore = "takes a minute; run by `cargo xtask model mistakes`"]
fn hidden_mistakes_are_caught() {
    cases::hidden_mistakes().iter().for_each(|case| drop(is_caught(case)));
}

/// See the page: the rule trusts disks with what they synced, but for what is not beyond the watermark.
#[test]
fn a_lost_synced_batch_beyond_the_watermark_is_not_covered() {
    for case in cases::not_covered() {
        let trace = is_caught(&case);
        assert!(trace.contains("cuts what is torn"), "{trace}");
    }
    holds(&cases::covered_by_received());
}
