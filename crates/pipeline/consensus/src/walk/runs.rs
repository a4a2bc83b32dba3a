//! What is walked, and what must be met on the way.

use super::*;

/// Drawn for each run, so that runs differ in kind.
pub(super) struct Odds {
    pub(super) crash: usize,
    pub(super) seal: usize,
    pub(super) reconnect: usize,
    pub(super) clean: usize,
    pub(super) restart: usize,
    pub(super) sync: usize,
    pub(super) stream: usize,
    pub(super) deliver: usize,
    pub(super) pace: usize,
}

fn run(plan: Plan, seed: u64, marks: &mut Marks) -> Check {
    let mut cluster = Cluster::new(plan, seed, marks);
    let mut pick = |choices: [usize; 4]| choices[cluster.random.below(4)];
    let calm = plan.changes > 0;
    let odds = Odds {
        crash: pick(if calm { [0, 0, 1, 2] } else { [0, 1, 2, 4] }),
        seal: pick(if calm { [50, 50, 100, 100] } else { [0, 20, 50, 100] }),
        reconnect: pick(if calm { [1, 2, 5, 20] } else { [5, 20, 50, 100] }),
        clean: pick([0, 20, 50, 90]),
        restart: pick(if calm { [20, 50, 100, 100] } else { [5, 20, 50, 100] }),
        sync: pick([1, 5, 30, 100]),
        stream: pick(if calm { [40, 100, 100, 100] } else { [15, 40, 100, 100] }),
        deliver: pick(if calm { [4, 8, 8, 8] } else { [2, 4, 8, 8] }),
        pace: pick([2, 3, 4, 5]),
    };
    cluster.start()?;
    for _ in 0..if calm { 2 * STEPS } else { STEPS } {
        cluster.step(&odds)?;
    }
    // A mistake must be seen by what it breaks, not by a cluster that hangs.
    if plan.mutation == Mutation::None { cluster.heal() } else { Ok(()) }
}

const RAM: AckPolicy = AckPolicy { received: 2, durable: 0 };
const ONE_OF_FIVE: AckPolicy = AckPolicy { received: 3, durable: 1 };
const NONE_OF_FIVE: AckPolicy = AckPolicy { received: 3, durable: 0 };
const ALL_OF_FIVE: AckPolicy = AckPolicy { received: 3, durable: 3 };

fn runs(plan: Plan, seeds: u64) -> Marks {
    let mut marks = Marks::default();
    for seed in 0..seeds {
        if let Err(violation) = run(plan, seed, &mut marks) {
            panic!("{plan:?}, seed {seed}: {violation}");
        }
    }
    println!("{plan:?}, {seeds} seeds: {marks:?}");
    marks
}

fn check(voters: usize, policy: AckPolicy, seeds: u64) -> Marks {
    let marks = runs(Plan::fixed(voters, policy, Mutation::None), seeds);
    // With one copy, an entry that a leader holds alone may be committed: nothing to cut.
    assert!(marks.truncations > 0 || policy == AckPolicy::ONE_DISK);
    assert!(marks.commits > 0 && marks.elections > 0 && marks.step_downs > 0);
    assert!(marks.dirty_restarts > 0 && marks.torn_tails > 0 && marks.floors_dropped > 0);
    assert!(marks.read_rounds > 0 && marks.old_term_batches > 0 && marks.healed > 0);
    marks
}

#[test]
fn three_disk_ram() {
    assert!(check(3, AckPolicy::DISK_RAM, 2000).weak_elections > 0);
}

#[test]
fn three_two_disks() {
    assert!(check(3, AckPolicy::TWO_DISKS, 1000).weak_elections > 0);
}

#[test]
fn three_ram() {
    assert_eq!(check(3, RAM, 1000).weak_elections, 0);
}

#[test]
fn three_one_disk() {
    check(3, AckPolicy::ONE_DISK, 500);
}

#[test]
fn five_voters() {
    for policy in [ONE_OF_FIVE, NONE_OF_FIVE, ALL_OF_FIVE] {
        check(5, policy, 500);
    }
}

fn check_losses(voters: usize, policy: AckPolicy, seeds: u64) {
    let marks = runs(Plan { losses: 30, ..Plan::fixed(voters, policy, Mutation::None) }, seeds);
    assert!(marks.disks_lost > 0 && marks.readmitted > 0 && marks.founded > 0 && marks.outgrown > 0);
    assert!(marks.commits > 0 && marks.healed > 0 && marks.stuck_by_policy > 0);
}

#[test]
fn lost_disks() {
    check_losses(3, AckPolicy::DISK_RAM, 2000);
    check_losses(3, AckPolicy::TWO_DISKS, 1000);
    check_losses(3, RAM, 1000);
    check_losses(5, ONE_OF_FIVE, 1000);
}

/// As the tests above, for longer. In release, some ten seconds on two cores.
#[test]
#[ignore = "long; run it after a change of the rules"]
fn long() {
    for policy in [AckPolicy::DISK_RAM, AckPolicy::TWO_DISKS, RAM, AckPolicy::ONE_DISK] {
        check(3, policy, 20_000);
    }
    for policy in [ONE_OF_FIVE, NONE_OF_FIVE, ALL_OF_FIVE] {
        check(5, policy, 20_000);
    }
}

/// Each planted mistake is seen by a checker, under the policy that rests most on what it breaks.
#[test]
fn mutations_are_caught() {
    for mutation in Mutation::ALL {
        let (voters, policy) = match mutation {
            Mutation::OneTooFew | Mutation::NoCurrentTerm => (3, AckPolicy::DISK_RAM),
            _ => (3, RAM),
        };
        let caught = (0..200_000).find_map(|seed| {
            let walk = || run(Plan::fixed(voters, policy, mutation), seed, &mut Marks::default());
            let end = catch_unwind(AssertUnwindSafe(walk));
            end.unwrap_or_else(|_| Err("an assertion of the core".into())).err().map(|what| (seed + 1, what))
        });
        let Some((seeds, what)) = caught else { panic!("{mutation:?} was not caught") };
        let AckPolicy { received: m, durable: k } = policy;
        println!("{:<18}{seeds:>6} seeds, n={voters} m={m} k={k}: {what}", format!("{mutation:?}"));
    }
}

#[test]
fn an_empty_node_that_takes_itself_for_a_new_one_is_caught() {
    let plan = Plan { losses: 30, ..Plan::fixed(3, RAM, Mutation::EmptyIsNew) };
    let caught = (0..200_000).find_map(|seed| {
        let end = catch_unwind(AssertUnwindSafe(|| run(plan, seed, &mut Marks::default())));
        end.unwrap_or_else(|_| Err("an assertion of the core".into())).err().map(|what| (seed + 1, what))
    });
    let Some((seeds, what)) = caught else { panic!("it was not caught") };
    println!("{seeds} seeds, {plan:?}: {what}");
}

const fn changing(voters: usize, spares: usize, policy: AckPolicy, mutation: Mutation) -> Plan {
    Plan { voters, spares, policy, changes: 6, losses: 0, mutation }
}

fn check_changes(plan: Plan, seeds: u64) {
    let marks = runs(plan, seeds);
    assert!(marks.policies > 0 && marks.windows > 0 && marks.voter_changes > 0 && marks.transfers > 0);
    assert!(
        marks.truncations > 0 && marks.dirty_restarts > 0 && marks.floors_dropped > 0 && marks.healed > 0
    );
}

#[test]
fn changes_of_three() {
    for policy in [AckPolicy::DISK_RAM, AckPolicy::TWO_DISKS, AckPolicy::ONE_DISK] {
        check_changes(changing(3, 2, policy, Mutation::None), 1000);
    }
}

#[test]
fn changes_of_five() {
    check_changes(changing(5, 1, ONE_OF_FIVE, Mutation::None), 500);
}

#[test]
#[ignore = "long; run it after a change of the rules"]
fn long_changes() {
    for policy in [AckPolicy::DISK_RAM, AckPolicy::TWO_DISKS, AckPolicy::ONE_DISK, RAM] {
        check_changes(changing(3, 2, policy, Mutation::None), 20_000);
    }
    check_changes(changing(5, 2, ONE_OF_FIVE, Mutation::None), 20_000);
}

#[test]
fn mutations_of_changes_are_caught() {
    for mutation in Mutation::OF_CHANGES {
        let plan = match mutation {
            Mutation::WeakerWhenLogged => changing(3, 0, AckPolicy::TWO_DISKS, mutation),
            Mutation::ChangeBeforeCommit => changing(4, 0, AckPolicy { received: 3, durable: 3 }, mutation),
            _ => changing(3, 1, AckPolicy::DISK_RAM, mutation),
        };
        let caught = (0..200_000).find_map(|seed| {
            let end = catch_unwind(AssertUnwindSafe(|| run(plan, seed, &mut Marks::default())));
            end.unwrap_or_else(|_| Err("an assertion of the core".into())).err().map(|what| (seed + 1, what))
        });
        let Some((seeds, what)) = caught else { panic!("{mutation:?} was not caught") };
        println!("{:<18}{seeds:>6} seeds, {plan:?}: {what}", format!("{mutation:?}"));
    }
}
