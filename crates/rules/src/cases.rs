//! What is searched: bounds for the rule, and for each mistake the least that shows it.

use crate::model::{Bounds, Disk, Rules, SOMETIMES};
use crate::rule::{Policy, Variant};
use crate::search::{Report, search};

const DISK_RAM: Policy = Policy::new(2, 1);
const TWO_DISKS: Policy = Policy::new(2, 2);
const RAM: Policy = Policy::new(2, 0);
const ONE_DISK: Policy = Policy::new(1, 1);

/// A search.
#[derive(Clone, Debug)]
pub struct Case {
    /// What it is about.
    pub name: &'static str,
    /// Nodes, from 3 to 5.
    pub nodes: usize,
    /// How far.
    pub bounds: Bounds,
    /// Of what.
    pub variant: Variant,
    /// Which of [`SOMETIMES`] it must meet, so that it says something.
    pub meets: &'static [usize],
}

impl Case {
    /// Searches it.
    ///
    /// # Panics
    /// On a number of nodes other than 3, 4 or 5.
    #[must_use]
    pub fn search(&self, threads: usize) -> Report {
        match self.nodes {
            3 => search(&Rules::<3>::new(self.bounds.clone(), self.variant), threads),
            4 => search(&Rules::<4>::new(self.bounds.clone(), self.variant), threads),
            5 => search(&Rules::<5>::new(self.bounds.clone(), self.variant), threads),
            nodes => panic!("{nodes} nodes"),
        }
    }

    /// What it had to meet and did not.
    #[must_use]
    pub fn missed(&self, report: &Report) -> Vec<&'static str> {
        self.meets.iter().map(|&at| SOMETIMES[at]).filter(|name| !report.met.contains(name)).collect()
    }

    fn named(self, name: &'static str) -> Self {
        Self { name, ..self }
    }

    fn of(self, variant: Variant) -> Self {
        Self { variant, ..self }
    }

    fn meets(self, meets: &'static [usize]) -> Self {
        Self { meets, ..self }
    }

    fn with(mut self, change: impl Fn(&mut Bounds)) -> Self {
        change(&mut self.bounds);
        self
    }
}

/// `n` voters under one policy: terms, batches, power losses and ends of processes.
fn fixed(n: usize, policy: Policy, [terms, batches, losses, kills]: [u8; 4]) -> Case {
    let bounds = Bounds {
        voters: (1 << n) - 1,
        policies: vec![policy],
        policy: 0,
        terms,
        batches: [batches, batches, 0, 0],
        faults: [losses, kills, 0, 0],
        disk: Disk::Sound,
        rivals: false,
        led: false,
        ring: false,
        lineage: 0,
    };
    Case { name: "", nodes: n, bounds, variant: Variant::Rule, meets: &[] }
}

/// Three voters and a change of policy: terms, batches that change nothing, switches, power losses.
fn switch(from: Policy, to: Policy, [terms, data, switches, losses]: [u8; 4]) -> Case {
    let stronger = to.received >= from.received && to.durable >= from.durable && to.window <= from.window;
    fixed(3, from, [terms, data, losses, 0]).with(|bounds| {
        bounds.policies = if stronger { vec![from, to] } else { vec![to, from] };
        bounds.policy = u8::from(!stronger);
        bounds.batches = [data + switches, data, switches, 0];
    })
}

/// Changes of voters of `n` among four nodes; the policy may be raised to a majority and lowered again.
fn members(n: u8, policy: Policy, batches: [u8; 4], [terms, losses]: [u8; 2]) -> Case {
    fixed(4, policy, [terms, batches[0], losses, 0]).with(|bounds| {
        bounds.voters = (1 << n) - 1;
        bounds.policies =
            if policy == Policy::MAJORITY { vec![policy] } else { vec![policy, Policy::MAJORITY] };
        bounds.batches = batches;
    })
}

/// One power loss is a disk that breaks its word.
fn broken(case: Case, disk: Disk) -> Case {
    case.with(|bounds| {
        bounds.disk = disk;
        bounds.faults[2] = u8::from(disk > Disk::Torn);
    })
}

/// A disk is lost.
fn disk_loss(bounds: &mut Bounds) {
    bounds.faults[3] = 1;
}

fn two_disk_losses(bounds: &mut Bounds) {
    bounds.faults[3] = 2;
}

fn rivals(bounds: &mut Bounds) {
    bounds.rivals = true;
}

/// The operator may declare a loss: the second lineage begins with term 2, the first has term 1 alone.
fn forced(bounds: &mut Bounds) {
    bounds.lineage = 2;
}

fn led(bounds: &mut Bounds) {
    bounds.led = true;
}

fn ring(bounds: &mut Bounds) {
    bounds.ring = true;
}

const WIDE: Policy = Policy { received: 2, durable: 1, window: 2 };

/// Searches that find nothing, of the size of a test.
#[must_use]
pub fn small() -> Vec<Case> {
    vec![
        fixed(3, DISK_RAM, [2, 1, 2, 0]).with(rivals).named("disk+ram, rivals").meets(&[0, 1, 3, 4]),
        fixed(3, DISK_RAM, [2, 2, 1, 0]).named("disk+ram, two batches").meets(&[1, 3, 4]),
        fixed(3, DISK_RAM, [3, 1, 1, 0]).named("disk+ram, three terms").meets(&[1, 3, 4]),
        fixed(3, TWO_DISKS, [2, 1, 2, 0]).named("two-disks").meets(&[3, 4]),
        fixed(3, RAM, [2, 1, 2, 0]).named("ram").meets(&[1, 3, 4]),
        fixed(3, ONE_DISK, [2, 1, 2, 0]).named("one-disk").meets(&[0, 1, 3]),
        fixed(3, DISK_RAM, [2, 1, 1, 1]).with(ring).named("disk+ram, ring").meets(&[3, 4]),
        broken(fixed(3, DISK_RAM, [2, 1, 2, 0]), Disk::Torn).named("torn tails").meets(&[0, 3]),
        switch(TWO_DISKS, ONE_DISK, [2, 1, 1, 0]).named("R6, two-disks to one-disk").meets(&[5]),
        fixed(3, RAM, [3, 2, 1, 0]).with(forced).with(led).named("R7, ram").meets(&[7, 8, 9]),
        fixed(3, DISK_RAM, [2, 2, 0, 0]).with(disk_loss).with(rivals).named("R9, disk+ram").meets(&[4, 10]),
    ]
}

/// Searches that find nothing, of the size of a coffee.
#[must_use]
pub fn large() -> Vec<Case> {
    let two_batches = |policy| fixed(3, policy, [2, 2, 1, 1]).with(rivals);
    let three_terms = |policy| fixed(3, policy, [3, 1, 2, 0]);
    vec![
        two_batches(DISK_RAM).named("disk+ram, two batches, rivals").meets(&[1, 3, 4]),
        three_terms(DISK_RAM).named("disk+ram, three terms").meets(&[0, 1, 2, 3, 4]),
        fixed(3, DISK_RAM, [2, 2, 2, 0]).named("disk+ram, two losses").meets(&[0, 1, 2, 3, 4]),
        fixed(3, DISK_RAM, [4, 1, 1, 0]).named("disk+ram, four terms").meets(&[1, 3, 4]),
        two_batches(TWO_DISKS).named("two-disks, two batches, rivals").meets(&[3, 4]),
        three_terms(TWO_DISKS).named("two-disks, three terms").meets(&[3, 4]),
        two_batches(RAM).named("ram, two batches, rivals").meets(&[1, 3, 4]),
        three_terms(RAM).named("ram, three terms").meets(&[1, 3, 4]),
        two_batches(ONE_DISK).named("one-disk, two batches, rivals").meets(&[1, 3]),
        three_terms(ONE_DISK).named("one-disk, three terms").meets(&[0, 1, 3]),
        broken(fixed(3, DISK_RAM, [2, 2, 1, 0]), Disk::Torn).named("torn tails, two batches").meets(&[3]),
        broken(fixed(3, DISK_RAM, [2, 1, 3, 0]), Disk::Corrupt).named("corrupt tails").meets(&[0, 3]),
        broken(fixed(3, DISK_RAM, [2, 1, 2, 0]), Disk::Liar)
            .of(Variant::CutVotesBlank)
            .named("lying disks, cut nodes have no disk vote")
            .meets(&[0, 3]),
        fixed(3, RAM, [4, 3, 2, 0]).with(forced).with(led).named("R7, ram, four terms").meets(&[7, 8, 9]),
        fixed(3, DISK_RAM, [4, 3, 2, 0]).with(forced).with(led).named("R7, disk+ram").meets(&[7, 8, 9]),
        fixed(3, TWO_DISKS, [4, 3, 1, 0]).with(forced).with(led).named("R7, two-disks").meets(&[7, 8, 9]),
        fixed(3, DISK_RAM, [2, 1, 2, 0])
            .with(disk_loss)
            .named("R9, disk+ram, two power losses")
            .meets(&[0, 10, 11]),
        fixed(3, DISK_RAM, [3, 1, 1, 0]).with(disk_loss).named("R9, disk+ram, three terms").meets(&[10]),
        fixed(3, DISK_RAM, [2, 1, 0, 1])
            .with(two_disk_losses)
            .with(rivals)
            .named("R9, two disks")
            .meets(&[10]),
        fixed(3, TWO_DISKS, [3, 1, 1, 0]).with(disk_loss).named("R9, two-disks").meets(&[10]),
        fixed(3, RAM, [3, 1, 1, 0]).with(disk_loss).named("R9, ram").meets(&[10]),
        fixed(3, ONE_DISK, [3, 1, 1, 0]).with(disk_loss).named("R9, one-disk").meets(&[10]),
        switch(DISK_RAM, ONE_DISK, [2, 1, 1, 1]).named("R6, disk+ram to one-disk").meets(&[0, 5]),
        switch(ONE_DISK, TWO_DISKS, [2, 1, 1, 1]).named("R6, one-disk to two-disks").meets(&[5]),
        switch(DISK_RAM, WIDE, [2, 1, 1, 1]).named("R6, W from 1 to 2").meets(&[3, 5]),
        switch(DISK_RAM, TWO_DISKS, [2, 1, 1, 1])
            .of(Variant::StrongerAtOnce)
            .named("R6, disk+ram to two-disks, stronger when logged")
            .meets(&[0, 5]),
        switch(DISK_RAM, RAM, [2, 1, 1, 2])
            .of(Variant::SwitchNotOnDisks)
            .named("R6, disk+ram to ram, without disks")
            .meets(&[0, 5]),
        members(4, Policy::MAJORITY, [2, 1, 0, 1], [2, 0]).named("R8, one of four leaves").meets(&[6]),
    ]
}

/// Searches that find nothing for as long as they were given; for a machine with time and memory.
#[must_use]
pub fn huge() -> Vec<Case> {
    vec![
        fixed(3, DISK_RAM, [3, 2, 1, 0]).named("disk+ram, three terms, two batches").meets(&[1, 3, 4]),
        fixed(3, DISK_RAM, [2, 3, 2, 0]).named("disk+ram, three batches").meets(&[0, 1, 2, 3, 4]),
        fixed(3, DISK_RAM, [3, 1, 1, 1]).with(ring).named("disk+ram, ring, three terms").meets(&[1, 3, 4]),
        fixed(5, Policy::new(3, 1), [2, 1, 1, 0]).named("five voters, 3/1").meets(&[3, 4]),
        broken(fixed(3, DISK_RAM, [2, 2, 2, 0]), Disk::Corrupt)
            .named("corrupt tails, two batches")
            .meets(&[0, 3]),
        switch(DISK_RAM, TWO_DISKS, [2, 1, 2, 1]).named("R6, disk+ram to two-disks and back").meets(&[0, 5]),
        members(4, Policy::MAJORITY, [2, 1, 0, 1], [3, 0]).named("R8, one of four leaves").meets(&[6]),
        members(3, DISK_RAM, [4, 1, 2, 1], [2, 0])
            .named("R8, a fourth joins, raised and lowered")
            .meets(&[5, 6]),
    ]
}

/// Mistakes, each within the least bounds that show it.
#[must_use]
pub fn mistakes() -> Vec<Case> {
    let dirty = || fixed(3, DISK_RAM, [2, 1, 1, 0]);
    vec![
        dirty().of(Variant::DirtyVotesStrong),
        fixed(3, DISK_RAM, [2, 2, 1, 0]).of(Variant::NoWindow),
        fixed(3, DISK_RAM, [3, 1, 1, 0]).with(led).of(Variant::FloorTermFromDisk),
        dirty().of(Variant::NoBoot),
        dirty().of(Variant::MajorityWins),
        dirty().of(Variant::OneTooFew),
        fixed(3, DISK_RAM, [4, 1, 0, 0]).with(led).of(Variant::NoCurrentTerm),
        fixed(3, DISK_RAM, [1, 1, 0, 0]).with(rivals).of(Variant::VotesTwice),
        fixed(3, DISK_RAM, [2, 1, 1, 1]).with(ring).of(Variant::DropsUnwritten),
        broken(fixed(3, DISK_RAM, [2, 2, 1, 0]), Disk::Torn).with(led).of(Variant::CutOwesOneWindow),
        broken(fixed(3, DISK_RAM, [2, 1, 2, 0]), Disk::Corrupt).with(led).of(Variant::CorruptVotesWeak),
        fixed(3, DISK_RAM, [2, 1, 0, 0]).with(disk_loss).with(led).of(Variant::EmptyIsNew),
        fixed(3, DISK_RAM, [2, 1, 0, 0]).with(disk_loss).with(led).of(Variant::BlankCounts),
        fixed(3, DISK_RAM, [2, 1, 0, 0]).with(disk_loss).with(led).of(Variant::AdmittedUnasked),
        switch(TWO_DISKS, ONE_DISK, [2, 1, 1, 0]).of(Variant::SwitchAtOnce),
        members(3, DISK_RAM, [2, 1, 0, 1], [2, 0]).with(led).of(Variant::ChangeWithoutRaise),
        fixed(3, RAM, [3, 2, 0, 0]).with(forced).with(led).of(Variant::LineageNotRaised),
        fixed(3, TWO_DISKS, [4, 2, 0, 0]).with(forced).with(led).of(Variant::OldLineageElects),
    ]
}

/// Mistakes that take longer to find.
#[must_use]
pub fn hidden_mistakes() -> Vec<Case> {
    vec![
        fixed(3, DISK_RAM, [3, 1, 1, 1]).with(led).with(ring).of(Variant::WinnerDropsUnwritten),
        broken(fixed(3, DISK_RAM, [2, 1, 3, 0]), Disk::Corrupt).with(led).of(Variant::RepairNotSynced),
        fixed(3, DISK_RAM, [2, 1, 2, 0]).with(disk_loss).with(led).of(Variant::WholeUnsynced),
        switch(DISK_RAM, WIDE, [2, 1, 1, 1]).with(led).of(Variant::WindowNotOnDisk),
        members(4, Policy::MAJORITY, [1, 0, 0, 1], [3, 0]).with(led).of(Variant::ChangeBeforeCommit),
    ]
}

/// The rule with disks that lose what they synced beyond the watermark, which it does not cover: where another node must lose
/// power as well, and where nobody must.
#[must_use]
pub fn not_covered() -> Vec<Case> {
    vec![
        broken(fixed(3, DISK_RAM, [2, 1, 2, 0]), Disk::Liar),
        broken(fixed(3, TWO_DISKS, [2, 1, 1, 0]), Disk::Liar),
    ]
}

/// The same where more received copies are asked for than synced ones, and nobody else loses power.
#[must_use]
pub fn covered_by_received() -> Case {
    broken(fixed(3, DISK_RAM, [2, 1, 1, 0]), Disk::Liar).named("disk+ram, one synced batch bad")
}
