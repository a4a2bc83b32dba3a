//! Lets a [`Scenario`] happen.

use super::trouble::Fault;
use super::{MILLI, Totals, World};
use crate::disk::Crash;
use crate::scenario::{Scenario, Step};
use crate::workload::Workload;
use ordain_types::Nanos;
use std::collections::BTreeMap;

/// What is waited for happens within this time.
const PATIENCE: u64 = 20 * Nanos::SECOND;
/// Election time-outs after which nobody is expected to be elected any more.
const TIMEOUTS: u64 = 20;

impl<W: Workload> World<W> {
    /// Runs a story to its end, then heals everything and makes the final checks.
    pub fn play(&mut self, scenario: &Scenario) -> Totals {
        let mut names = BTreeMap::new();
        for (line, step) in &scenario.steps {
            self.trace.say(|| format!("line {line}: {step:?}"));
            if let Err(what) = self.tell(step, &mut names) {
                self.trace.fail("the story goes as it is told", format!("line {line}, {step:?}: {what}"));
            }
            if self.trace.failure().is_some() {
                break;
            }
        }
        self.finish()
    }

    fn tell(&mut self, step: &Step, names: &mut BTreeMap<String, usize>) -> Result<(), String> {
        let find = |name: &String| names.get(name).copied().ok_or_else(|| format!("nobody is called {name}"));
        match step {
            Step::Leader(name) => {
                self.until(|world| world.serving().is_some())?;
                names.insert(name.clone(), self.serving().expect("one was awaited"));
            }
            Step::Follower(name) => {
                let mut free = (0..self.nodes.len()).filter(|node| names.values().all(|named| named != node));
                names.insert(name.clone(), free.next().ok_or("all nodes have names")?);
            }
            Step::Ask(count) => {
                let goal = self.history.finished + count;
                self.until(|world| world.history.finished >= goal)?;
            }
            Step::Wait(time) => self.pass(*time),
            Step::Killed(who) => self.put_down(find(who)?, Crash::Kill),
            Step::PowerLost(who) => self.put_down(find(who)?, Crash::Power(0)),
            Step::Stopped(who) => self.inflict(Fault::Stop, find(who)?),
            Step::Blackout => (0..self.nodes.len()).for_each(|node| self.bring_down(node, Crash::Power(0))),
            Step::Back(who) => self.nodes[find(who)?].restart_at = Some(self.now + MILLI),
            Step::CutOff(who, noticed) => self.peers.lock().isolate(find(who)?, *noticed),
            Step::Deaf(from, to) => self.peers.lock().block(find(from)?, find(to)?),
            Step::Sleeps(who, time) => {
                let node = find(who)?;
                self.nodes[node].paused_until = self.now + time;
                self.suspend(node);
            }
            Step::Stalls(who, time) => {
                self.nodes[find(who)?].store.lock().faults.stalled_until = self.now + time;
            }
            Step::Full(who) => self.nodes[find(who)?].store.lock().faults.full = true,
            Step::SyncFails(who) => self.nodes[find(who)?].store.lock().faults.syncs = 1,
            Step::Heal => self.peers.lock().heal(),
            Step::ExpectLeader => self.until(|world| world.serving().is_some())?,
            Step::ExpectOther(who) => {
                let node = find(who)?;
                self.until(|world| world.serving().is_some_and(|leader| leader != node))?;
            }
            Step::ExpectLeads(who) => {
                let node = find(who)?;
                self.until(|world| world.serving() == Some(node))?;
            }
            Step::ExpectNone => {
                self.pass(TIMEOUTS * self.plan.election_timeout.0);
                if let Some(leader) = self.leader() {
                    return Err(format!("node {leader} leads"));
                }
            }
            Step::ExpectEqual => {
                let goal = self.logs.committed_len() as u64;
                self.until(|world| {
                    (0..world.nodes.len()).all(|node| world.metric(node, "ordain_committed_batch") >= goal)
                })?;
            }
        }
        Ok(())
    }

    /// The node that leads and commits, of those that think so the one with the highest term.
    fn serving(&self) -> Option<usize> {
        self.leader().filter(|leader| self.commits(*leader))
    }

    fn put_down(&mut self, node: usize, how: Crash) {
        self.bring_down(node, how);
        self.nodes[node].restart_at = None;
    }

    fn pass(&mut self, time: u64) {
        let end = self.now + time;
        while self.now < end && self.trace.failure().is_none() {
            self.step(false);
        }
    }

    fn until(&mut self, holds: impl Fn(&Self) -> bool) -> Result<(), String> {
        let end = self.now + PATIENCE;
        while !holds(self) && self.trace.failure().is_none() {
            if self.now > end {
                return Err(self.describe());
            }
            self.step(false);
        }
        Ok(())
    }
}
