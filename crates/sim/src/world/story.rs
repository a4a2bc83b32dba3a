//! Lets a [`Scenario`] happen.

use super::trouble::Fault;
use super::{MILLI, Totals, World};
use crate::disk::Crash;
use crate::plan::member;
use crate::scenario::{Scenario, Step};
use crate::workload::Workload;
use ordain_types::steer::Steer;
use ordain_types::{Nanos, NodeId};
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
                let members = self.members().into_iter();
                let mut free = members.filter(|node| names.values().all(|named| named != node));
                names.insert(name.clone(), free.next().ok_or("all nodes have names")?);
            }
            Step::Ask(count) => {
                let goal = self.history.finished + count;
                self.until(|world| world.history.finished >= goal)?;
            }
            Step::Silence(silent) => {
                self.silent = *silent;
                self.client_idle = 0;
            }
            Step::Wait(time) => self.pass(*time),
            Step::Killed(who) => self.put_down(find(who)?, Crash::Kill),
            Step::PowerLost(who) => self.put_down(find(who)?, Crash::Power(0)),
            Step::DiskLost(who) => {
                let node = find(who)?;
                self.lose_disk(node);
                self.nodes[node].restart_at = None;
            }
            Step::Stopped(who) => self.inflict(Fault::Stop, find(who)?),
            Step::Blackout => (0..self.nodes.len()).for_each(|node| self.bring_down(node, Crash::Power(0))),
            Step::Back(who) => self.nodes[find(who)?].restart_at = Some(self.now + MILLI),
            Step::CutOff(who, noticed) => self.peers.lock().isolate(find(who)?, *noticed),
            Step::Deaf(from, to) => self.peers.lock().block(find(from)?, find(to)?),
            Step::CutOffTogether(one, other) => {
                let pair = [find(one)?, find(other)?];
                let mut peers = self.peers.lock();
                for node in pair {
                    for rest in (0..self.nodes.len()).filter(|rest| !pair.contains(rest)) {
                        peers.block(node, rest);
                        peers.block(rest, node);
                    }
                }
            }
            Step::Sleeps(who, time) => {
                let node = find(who)?;
                self.nodes[node].paused_until = self.now + time;
                self.suspend(node);
            }
            Step::Stalls(who, time) => {
                self.nodes[find(who)?].store.lock().faults.stalled_until = self.now + time;
            }
            Step::Full(who) => self.nodes[find(who)?].store.lock().faults.full = true,
            Step::Rots(who) => {
                let node = find(who)?;
                // It draws which one, and how; not each may.
                for _ in 0..100 {
                    if self.nodes[node].rotten.is_empty() {
                        self.rot(node);
                    }
                }
                if self.nodes[node].rotten.is_empty() {
                    return Err("no sealed segment of it that another node has".to_owned());
                }
            }
            Step::Misreads(who) => self.nodes[find(who)?].store.lock().faults.misreads = 1,
            Step::SyncFails(who) => self.nodes[find(who)?].store.lock().faults.syncs = 1,
            Step::Policy(policy) => self.order(&Steer::AckPolicy(*policy))?,
            Step::Window(window) => self.order(&Steer::UnsyncedMax(*window))?,
            Step::HandsOver(to) => {
                let to = find(to)?;
                if self.serving() != Some(to) {
                    // Its answer may go with the reign.
                    self.give(Some(&Steer::Transfer(Some(NodeId(to as u32)))))?;
                    self.until(|world| world.serving() == Some(to))?;
                    self.give(None)?;
                }
            }
            Step::TakesOver(to) => {
                let to = find(to)?;
                self.give(Some(&Steer::Transfer(Some(NodeId(to as u32)))))?;
                self.until(|world| world.leader() == Some(to))?;
                self.give(None)?;
            }
            Step::Joins(name) => {
                let node = self.join()?;
                names.insert(name.clone(), node);
            }
            Step::JoinsWithoutRoom(name, time) => {
                let next = &mut self.nodes[self.logs.settled().last().1.next_id.0 as usize];
                next.store.lock().faults.full = true;
                next.full_until = Some(self.now + time);
                let node = self.join()?;
                names.insert(name.clone(), node);
            }
            Step::Promoted(who) => self.order(&Steer::Promote(NodeId(find(who)? as u32)))?,
            Step::Removed(who) => self.order(&Steer::Remove(NodeId(find(who)? as u32)))?,
            Step::Heal => self.peers.lock().heal(),
            Step::HealBut(from, to) => self.peers.lock().heal_but(&[(find(from)?, find(to)?)]),
            Step::Patience(_) => {}
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
            Step::ExpectWhole => self.until(|world| !world.is_any_blank())?,
            Step::ExpectEqual => {
                let goal = self.logs.committed_len() as u64;
                self.until(|world| {
                    world
                        .members()
                        .into_iter()
                        .all(|node| world.metric(node, "ordain_committed_batch") >= goal)
                })?;
            }
        }
        Ok(())
    }

    /// The next spare node becomes a learner.
    fn join(&mut self) -> Result<usize, String> {
        let next = self.logs.settled().last().1.next_id;
        self.order(&Steer::AddLearner(member(next.0)))?;
        Ok(next.0 as usize)
    }

    /// The operator asks for this until it is done.
    fn order(&mut self, steer: &Steer) -> Result<(), String> {
        self.give(Some(steer))?;
        self.until(|world| !world.clients.iter().any(|party| party.owes_order()) && world.is_seated())
    }

    fn give(&mut self, steer: Option<&Steer>) -> Result<(), String> {
        self.client_idle = 0;
        let is_heard = self.clients.iter_mut().any(|party| party.order(steer));
        if is_heard { Ok(()) } else { Err("there is no operator".to_owned()) }
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
