//! Stories in plain words, told line by line in `scenarios/*.txt`: what happens to a cluster under load, and what is
//! expected of it. All checkers watch, and at the end everything heals and is compared as after any other run.

use crate::plan::{Odds, Plan, Wishes};
use ordain_types::Nanos;
use ordain_types::facts::AckPolicy;

/// Who a line is about: a name that a line before gave.
pub type Name = String;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// `A is the leader`: waits until one leads and commits.
    Leader(Name),
    /// `B is a follower`: of those without a name.
    Follower(Name),
    /// `clients ask 100`: until so many more operations have ended.
    Ask(u64),
    /// `clients fall silent`, and `clients go on`; an operator goes on in any case.
    Silence(bool),
    /// `wait 50 ms`.
    Wait(u64),
    /// `A is killed`, and stays down.
    Killed(Name),
    /// `A loses power`, with what was not synced, and stays down.
    PowerLost(Name),
    /// `A loses its disk`, and stays down: it comes back with nothing but its key and configuration.
    DiskLost(Name),
    /// `A is stopped`, in good order, and comes back.
    Stopped(Name),
    /// `everybody loses power`, and comes back.
    Blackout,
    /// `A comes back`.
    Back(Name),
    /// `A is cut off`: its connections break. `A is cut off unnoticed`: they carry nothing.
    CutOff(Name, bool),
    /// `A does not reach B`: one way.
    Deaf(Name, Name),
    /// `A and B are cut off together`: they reach nobody else, unnoticed.
    CutOffTogether(Name, Name),
    /// `A sleeps 80 ms`: its machine is suspended.
    Sleeps(Name, u64),
    /// `the disk of A stalls 50 ms`.
    Stalls(Name, u64),
    /// `the disk of A is full`, until everything heals.
    Full(Name),
    /// `a sync of A fails`: the next one.
    SyncFails(Name),
    /// `a segment of A rots`: a sealed one, which somebody else has.
    Rots(Name),
    /// `A misreads`: its next read of a segment gives something else than is there.
    Misreads(Name),
    /// `the policy becomes 2/2`: an operator asks for it until it is done. So with the following.
    Policy(AckPolicy),
    /// `W becomes 64`.
    Window(u64),
    /// `B is to lead`, if it does not.
    HandsOver(Name),
    /// `B takes over`: the same, and the story goes on as soon as B leads, before it has committed anything.
    TakesOver(Name),
    /// `D joins`: a new node, as a learner.
    Joins(Name),
    /// `the disk of D is full for 50 ms when it joins`: it has no place for its first file.
    JoinsWithoutRoom(Name, u64),
    /// `D is promoted`.
    Promoted(Name),
    /// `A is removed`.
    Removed(Name),
    /// `heal`: the network.
    Heal,
    /// `heal all but from C to A`: what is under way there stays under way.
    HealBut(Name, Name),
    /// `connections last 9000 ms`: of any that carries nothing, all the time.
    Patience(u64),
    /// `expect a leader`, within some election time-outs.
    ExpectLeader,
    /// `expect a leader other than A`.
    ExpectOther(Name),
    /// `expect A leads`: still, or again.
    ExpectLeads(Name),
    /// `expect no leader`: nobody leads after some election time-outs.
    ExpectNone,
    /// `expect all whole`: who lost its disk has made up for it.
    ExpectWhole,
    /// `expect all equal`: everybody has everything.
    ExpectEqual,
}

/// A story.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Nodes.
    pub nodes: usize,
    policy: AckPolicy,
    /// What happens, with the line's number.
    pub steps: Vec<(usize, Step)>,
}

fn policy(text: &str) -> Result<AckPolicy, String> {
    let number = |text: &str| text.parse().map_err(|error| format!("`{text}`: {error}"));
    match text.split_once('/') {
        _ if text == "disk-ram" => Ok(AckPolicy::DISK_RAM),
        _ if text == "two-disks" => Ok(AckPolicy::TWO_DISKS),
        Some((m, k)) => Ok(AckPolicy { received: number(m)?, durable: number(k)? }),
        None => Err(format!("no policy `{text}`")),
    }
}

fn step(words: &[&str]) -> Result<Step, String> {
    let name = |text: &str| text.to_owned();
    let number = |text: &str| text.parse::<u64>().map_err(|error| format!("`{text}`: {error}"));
    let millis = |text: &str| number(text).map(|number| number * Nanos::MILLI);
    Ok(match words {
        ["clients", "ask", count] => Step::Ask(number(count)?),
        ["clients", "fall", "silent"] => Step::Silence(true),
        ["clients", "go", "on"] => Step::Silence(false),
        ["connections", "last", time, "ms"] => Step::Patience(millis(time)?),
        ["wait", time, "ms"] => Step::Wait(millis(time)?),
        ["everybody", "loses", "power"] => Step::Blackout,
        ["heal"] => Step::Heal,
        ["heal", "all", "but", "from", from, "to", to] => Step::HealBut(name(from), name(to)),
        ["expect", "a", "leader"] => Step::ExpectLeader,
        ["expect", "a", "leader", "other", "than", who] => Step::ExpectOther(name(who)),
        ["expect", "no", "leader"] => Step::ExpectNone,
        ["expect", "all", "whole"] => Step::ExpectWhole,
        ["expect", "all", "equal"] => Step::ExpectEqual,
        ["expect", who, "leads"] => Step::ExpectLeads(name(who)),
        ["the", "disk", "of", who, "stalls", time, "ms"] => Step::Stalls(name(who), millis(time)?),
        ["the", "disk", "of", who, "is", "full"] => Step::Full(name(who)),
        [who, "misreads"] => Step::Misreads(name(who)),
        ["a", "segment", "of", who, "rots"] => Step::Rots(name(who)),
        ["a", "sync", "of", who, "fails"] => Step::SyncFails(name(who)),
        ["the", "policy", "becomes", name] => Step::Policy(policy(name)?),
        ["W", "becomes", batches] => Step::Window(number(batches)?),
        [who, "is", "to", "lead"] => Step::HandsOver(name(who)),
        ["the", "disk", "of", who, "is", "full", "for", time, "ms", "when", "it", "joins"] => {
            Step::JoinsWithoutRoom(name(who), millis(time)?)
        }
        [who, "takes", "over"] => Step::TakesOver(name(who)),
        [who, "joins"] => Step::Joins(name(who)),
        [who, "is", "promoted"] => Step::Promoted(name(who)),
        [who, "is", "removed"] => Step::Removed(name(who)),
        [who, "is", "the", "leader"] => Step::Leader(name(who)),
        [who, "is", "a", "follower"] => Step::Follower(name(who)),
        [who, "is", "killed"] => Step::Killed(name(who)),
        [who, "is", "stopped"] => Step::Stopped(name(who)),
        [who, "loses", "its", "disk"] => Step::DiskLost(name(who)),
        [who, "loses", "power"] => Step::PowerLost(name(who)),
        [who, "comes", "back"] => Step::Back(name(who)),
        [who, "is", "cut", "off"] => Step::CutOff(name(who), true),
        [who, "is", "cut", "off", "unnoticed"] => Step::CutOff(name(who), false),
        [one, "and", other, "are", "cut", "off", "together"] => Step::CutOffTogether(name(one), name(other)),
        [who, "does", "not", "reach", other] => Step::Deaf(name(who), name(other)),
        [who, "sleeps", time, "ms"] => Step::Sleeps(name(who), millis(time)?),
        _ => return Err("nobody knows what this means".to_owned()),
    })
}

impl Scenario {
    /// Reads a story. `#` begins a comment; the first line says `a cluster of 3, disk-ram`.
    ///
    /// # Errors
    /// The line that cannot be understood, and why.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut scenario = None;
        for (at, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().replace(',', "");
            let words: Vec<_> = line.split_whitespace().collect();
            let wrong = |why| format!("line {}, `{line}`: {why}", at + 1);
            match (&words[..], &mut scenario) {
                ([], _) => {}
                (["a", "cluster", "of", nodes, name], None) => {
                    let nodes = nodes.parse().map_err(|_| wrong("how many?".to_owned()))?;
                    let policy = policy(name).map_err(wrong)?;
                    if !policy.is_valid(nodes as u32) {
                        return Err(wrong("the policy does not fit".to_owned()));
                    }
                    scenario = Some(Self { nodes, policy, steps: Vec::new() });
                }
                (_, None) => return Err(wrong("`a cluster of N, POLICY` comes first".to_owned())),
                (words, Some(scenario)) => scenario.steps.push((at + 1, step(words).map_err(wrong)?)),
            }
        }
        scenario.ok_or_else(|| "no story".to_owned())
    }

    /// Leaves nothing to chance but who works when.
    pub fn shape(&self, plan: &mut Plan) {
        plan.facts.policy = self.policy;
        plan.odds = Odds::default();
        plan.core = false;
        plan.corrupt = false;
        plan.corrupt_snapshots = false;
        plan.rogues = 0;
        plan.silence = 0;
        let joins = self
            .steps
            .iter()
            .filter(|(_, step)| matches!(step, Step::Joins(_) | Step::JoinsWithoutRoom(..)))
            .count();
        let speed = plan.disks[0];
        plan.disks.resize(plan.nodes + joins, speed);
        plan.spares = joins;
        // An operator who asks for nothing but what the story says.
        plan.wishes = Some(Wishes { calm: (Nanos::MILLI, 10 * Nanos::MILLI), ..Wishes::default() });
        for (_, step) in &self.steps {
            if let Step::Patience(time) = step {
                plan.roads.give_up = (*time, *time);
            }
            if let Step::Rots(_) = step {
                // Who is asked for it is there, and the scrubber does not come first.
                plan.scrub_every = Some(Nanos(30 * Nanos::SECOND));
            }
        }
        plan.reckless = true;
        plan.facts.session_timeout = Nanos(30 * Nanos::SECOND);
    }
}
