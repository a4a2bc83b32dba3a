//! One run, from its seed.

use crate::plan::Plan;
use crate::rng::Rng;
use crate::scenario::Scenario;
use crate::trace::{Failure, Trace};
use crate::workload::Workload;
use crate::world::{Totals, World};
use ordain_api::AppFactory;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What to simulate.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The seed: decides everything else.
    pub seed: u64,
    /// Nodes.
    pub nodes: usize,
    /// Prints every event.
    pub print: bool,
}

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Its seed.
    pub seed: u64,
    /// Sums.
    pub totals: Totals,
    /// What was reached, and how often.
    pub marks: BTreeMap<&'static str, u64>,
    /// Digest of all events: equal for equal seeds.
    pub digest: u64,
    /// The first finding of a checker.
    pub failure: Option<Failure>,
}

/// Simulates. `change` may alter the plan that the seed drew.
pub fn run<W: Workload>(options: Options, change: impl FnOnce(&mut Plan)) -> Outcome {
    simulate::<W>(options, change, World::run)
}

/// Lets a story happen. `change` may alter the plan that seed and story come to.
pub fn tell<W: Workload>(options: Options, scenario: &Scenario, change: impl FnOnce(&mut Plan)) -> Outcome {
    let shape = |plan: &mut Plan| {
        scenario.shape(plan);
        change(plan);
    };
    simulate::<W>(options, shape, |world| world.play(scenario))
}

fn simulate<W: Workload>(
    options: Options,
    change: impl FnOnce(&mut Plan),
    go: impl FnOnce(&mut World<W>) -> Totals,
) -> Outcome {
    let mut rng = Rng::new(options.seed);
    let mut plan = Plan::draw(&mut rng, options.nodes);
    let needs = W::parts().0.needs();
    plan.facts.reply_max = plan.facts.reply_max.max(needs.reply as u32);
    plan.facts.step_outputs_max = plan.facts.step_outputs_max.max(needs.step_outputs as u32);
    change(&mut plan);
    let trace = Trace::new(options.print);
    trace.say(|| format!("{plan:#?}"));
    let mut world = World::<W>::new(plan, rng, trace.clone());
    let totals = catch_unwind(AssertUnwindSafe(|| go(&mut world)));
    let totals = totals.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        trace.fail("the simulator itself", text.unwrap_or_default());
        Totals::default()
    });
    Outcome {
        seed: options.seed,
        totals,
        marks: trace.marks(),
        digest: trace.digest(),
        failure: trace.failure(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::counter::Counter;

    fn short(seed: u64, nodes: usize) -> Outcome {
        run::<Counter>(Options { seed, nodes, print: false }, |plan| {
            plan.operations = 300;
            plan.faults = 6;
        })
    }

    #[test]
    fn equal_seeds_give_equal_runs() {
        for nodes in [1, 3] {
            let (one, two, other) = (short(5, nodes), short(5, nodes), short(6, nodes));
            assert_eq!((one.digest, one.totals, &one.marks), (two.digest, two.totals, &two.marks));
            assert_ne!(one.digest, other.digest);
        }
    }

    #[test]
    fn short_runs_find_nothing() {
        for (seed, nodes) in [(1, 1), (2, 1), (3, 1), (1, 3), (2, 3), (3, 3)] {
            let outcome = short(seed, nodes);
            assert_eq!(outcome.failure, None, "seed {seed}, {nodes} nodes");
            assert!(outcome.totals.acknowledged > 100, "seed {seed}, {nodes} nodes");
        }
    }
}
