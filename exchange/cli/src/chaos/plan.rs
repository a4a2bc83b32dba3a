//! What will be done to the nodes, drawn from a seed. Who leads when a fault comes is not known here, so a plan
//! names roles; apart from that, equal seeds are equal plans.

use std::fmt;

/// Who a fault meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// The node that leads when the fault comes.
    Leader,
    /// One that does not: the n-th of them.
    Follower(usize),
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Leader => write!(f, "the leader"),
            Self::Follower(n) => write!(f, "follower {n}"),
        }
    }
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL; started again at the end.
    Kill(Who),
    /// SIGKILL for all; started again at the end.
    KillAll,
    /// SIGTERM, so that it stops in order; started again at the end.
    Stop(Who),
    /// SIGSTOP until the end.
    Pause(Who),
    /// No other node hears it, and it hears none; clients reach it.
    Isolate(Who),
    /// It hears no other node.
    Deafen(Who),
    /// No other node hears it.
    Mute(Who),
    /// It and the next node do not hear each other.
    Part(Who),
    /// Its connections with the other nodes are closed, once.
    Reset(Who),
    /// What it and the others say to each other takes so many milliseconds longer.
    Slow(Who, u64),
    /// Its machine's cable is pulled: nobody reaches it. Needs network namespaces.
    Unplug(Who),
    /// Nothing is synced to its disk.
    StallDisk(Who),
    /// Its disk is full. Needs file systems of their own.
    FillDisk(Who),
    /// An operator asks the leader to hand over, to whoever has most of the log.
    Transfer,
    /// An operator lets other copies gate answers, until the end: received copies, of these synced.
    Policy(u32, u32),
    /// An operator removes it, and puts a new node with an empty disk in its place. The nodes are whole only when that is
    /// done.
    Replace(Who),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill(who) => write!(f, "kill -9 {who}"),
            Self::KillAll => write!(f, "kill -9 all"),
            Self::Stop(who) => write!(f, "stop {who}"),
            Self::Pause(who) => write!(f, "pause {who}"),
            Self::Isolate(who) => write!(f, "isolate {who}"),
            Self::Deafen(who) => write!(f, "deafen {who}"),
            Self::Mute(who) => write!(f, "mute {who}"),
            Self::Part(who) => write!(f, "part {who} and the next"),
            Self::Reset(who) => write!(f, "reset connections of {who}"),
            Self::Slow(who, millis) => write!(f, "slow {who} by {millis} ms"),
            Self::Unplug(who) => write!(f, "unplug {who}"),
            Self::StallDisk(who) => write!(f, "stall the disk of {who}"),
            Self::FillDisk(who) => write!(f, "fill the disk of {who}"),
            Self::Transfer => write!(f, "hand over"),
            Self::Policy(received, synced) => write!(f, "ack policy {received}/{synced}"),
            Self::Replace(who) => write!(f, "replace {who}"),
        }
    }
}

impl Fault {
    /// What it is called in a count.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Kill(_) => "kill -9",
            Self::KillAll => "kill -9 all",
            Self::Stop(_) => "stop",
            Self::Pause(_) => "pause",
            Self::Isolate(_) => "isolate",
            Self::Deafen(_) => "deafen",
            Self::Mute(_) => "mute",
            Self::Part(_) => "part",
            Self::Reset(_) => "reset",
            Self::Slow(..) => "slow",
            Self::Unplug(_) => "unplug",
            Self::StallDisk(_) => "stalled disk",
            Self::FillDisk(_) => "full disk",
            Self::Transfer => "transfer",
            Self::Policy(..) => "ack policy",
            Self::Replace(_) => "replace",
        }
    }

    /// Whom it meets; `None`: all, or nobody in particular.
    pub const fn who(&self) -> Option<Who> {
        match self {
            Self::KillAll | Self::Transfer | Self::Policy(..) => None,
            Self::Kill(who)
            | Self::Stop(who)
            | Self::Pause(who)
            | Self::Isolate(who)
            | Self::Deafen(who)
            | Self::Mute(who)
            | Self::Part(who)
            | Self::Reset(who)
            | Self::Slow(who, _)
            | Self::Unplug(who)
            | Self::StallDisk(who)
            | Self::FillDisk(who)
            | Self::Replace(who) => Some(*who),
        }
    }
}

/// A fault with its time, milliseconds from the beginning of its round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    pub begins: u64,
    pub ends: u64,
    pub fault: Fault,
}

/// Faults that come together. When the last is over all must be well again: requests of every client are answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Round {
    pub number: u64,
    pub faults: Vec<Planned>,
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "round {}", self.number)?;
        for Planned { begins, ends, fault } in &self.faults {
            write!(f, "; {:.1}-{:.1} s {fault}", *begins as f64 / 1e3, *ends as f64 / 1e3)?;
        }
        Ok(())
    }
}

/// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
#[derive(Clone, Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        ((self.next() >> 32) * bound) >> 32
    }
}

/// What the machine lets us do besides what every machine does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Means {
    pub namespaces: bool,
    pub disks: bool,
}

/// Rounds without end.
#[derive(Clone, Debug)]
pub struct Plan {
    random: Random,
    nodes: usize,
    means: Means,
    round: u64,
    /// Faults to come, so that each kind comes once before any comes again.
    deck: Vec<Fault>,
}

impl Plan {
    pub const fn new(seed: u64, nodes: usize, means: Means) -> Self {
        Self { random: Random(seed), nodes, means, round: 0, deck: Vec::new() }
    }

    fn draw(&mut self) -> Fault {
        if self.deck.is_empty() {
            self.deck = self.shuffled();
        }
        self.deck.pop().expect("a deck is not empty")
    }

    fn shuffled(&mut self) -> Vec<Fault> {
        let mut follower = || Who::Follower(self.random.below(self.nodes as u64 - 1) as usize);
        let mut deck = vec![
            Fault::Kill(Who::Leader),
            Fault::Kill(Who::Leader),
            Fault::Kill(follower()),
            Fault::KillAll,
            Fault::Stop(Who::Leader),
            Fault::Stop(follower()),
            Fault::Pause(Who::Leader),
            Fault::Pause(follower()),
            Fault::Isolate(Who::Leader),
            Fault::Isolate(follower()),
            Fault::Deafen(Who::Leader),
            Fault::Deafen(follower()),
            Fault::Mute(Who::Leader),
            Fault::Mute(follower()),
            Fault::Part(Who::Leader),
            Fault::Part(follower()),
            Fault::Reset(Who::Leader),
            Fault::Slow(Who::Leader, 20),
            Fault::Slow(follower(), 60),
            Fault::StallDisk(Who::Leader),
            Fault::StallDisk(follower()),
            Fault::Transfer,
            Fault::Transfer,
            Fault::Replace(Who::Leader),
            Fault::Replace(follower()),
        ];
        let majority = self.nodes as u32 / 2 + 1;
        deck.extend([(majority, majority), (majority, 0), (1, 1)].map(|(m, k)| Fault::Policy(m, k)));
        if self.means.namespaces {
            deck.extend([Fault::Unplug(Who::Leader), Fault::Unplug(follower())]);
        }
        if self.means.disks {
            deck.extend([Fault::FillDisk(Who::Leader), Fault::FillDisk(follower())]);
        }
        // Fisher and Yates.
        for at in (1..deck.len()).rev() {
            let with = self.random.below(at as u64 + 1) as usize;
            deck.swap(at, with);
        }
        deck
    }
}

impl Iterator for Plan {
    type Item = Round;

    fn next(&mut self) -> Option<Round> {
        self.round += 1;
        let count = [1, 1, 2, 2, 3][self.random.below(5) as usize];
        let mut faults: Vec<_> = (0..count)
            .map(|_| {
                let fault = self.draw();
                let begins = self.random.below(1_500);
                // A full disk shows once the segments made ahead are used up.
                let least = if matches!(fault, Fault::FillDisk(_)) { 2_500 } else { 150 };
                let ends = begins + least + self.random.below(2_500);
                Planned { begins, ends, fault }
            })
            .collect();
        faults.sort_by_key(|planned| planned.begins);
        Some(Round { number: self.round, faults })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const ALL: Means = Means { namespaces: true, disks: true };

    #[test]
    fn a_seed_is_a_plan() {
        let plan = |seed| Plan::new(seed, 3, ALL).take(50).collect::<Vec<_>>();
        assert_eq!(plan(7), plan(7));
        assert_ne!(plan(7), plan(8));
    }

    #[test]
    fn every_kind_comes_before_any_comes_again() {
        let names = |means: Means| {
            let mut plan = Plan::new(1, 5, means);
            let count = plan.shuffled().len();
            (0..count).map(|_| plan.draw().name()).collect::<BTreeSet<_>>()
        };
        assert_eq!(names(ALL).len(), 16);
        let least = names(Means { namespaces: false, disks: false });
        assert_eq!(least.len(), 14);
        assert!(!least.contains("unplug") && !least.contains("full disk"));
    }

    #[test]
    fn a_plan_names_only_followers_that_exist() {
        for round in Plan::new(3, 3, ALL).take(200) {
            for Planned { begins, ends, fault } in round.faults {
                assert!(begins < ends && ends <= 6_500);
                assert!(fault.who().is_none_or(|who| matches!(who, Who::Leader | Who::Follower(0 | 1))));
            }
        }
    }
}
