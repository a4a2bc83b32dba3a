//! Threads for agents: who shares one, on which core, how it waits, and what happens when one fails.
//!
//! A [`Plan`] knows the threads before the agents exist, because an agent's ports need the doorbell of the
//! thread that it will live on. [`Plan::start`] makes a [`Running`] of it.

use crate::clock;
use crate::doorbell::Doorbell;
use ordain_agent::{Agent, Fatal};
use ordain_types::Nanos;
use rustix::thread::{CpuSet, sched_setaffinity};
use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Longest wait of an idle thread: what it must notice without being woken is noticed this late.
const PARK_MAX: Duration = Duration::from_secs(1);

/// Agents that give way to all others: each has a thread of its own whatever the mode, unless a group names it, at
/// a lower priority, and no other thread wakes it. It wakes by its own deadlines.
const BACKGROUND: [&str; 2] = ["guard", "shadow"];

/// Niceness of such a thread: about a tenth of what another gets where there are more threads than cores.
const BACKGROUND_NICE: i32 = 10;

/// Which agents share a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// [`Mode::Dedicated`] on more than four cores, else [`Mode::Compact`].
    Auto,
    /// A thread for each agent.
    Dedicated,
    /// All agents on one thread.
    Compact,
}

/// What a thread does whose agents have no work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// Asks again at once. Needs a core for itself; wastes it.
    Spin,
    /// Lets others run and asks again. Wastes what nobody else needs.
    Yield,
    /// Waits until woken.
    Park,
    /// Asks again so many times, yields so many times, then waits until woken.
    Adaptive {
        /// Empty cycles before yielding.
        spins: u32,
        /// Empty cycles with a yield before waiting.
        yields: u32,
    },
}

impl Idle {
    /// A few empty cycles, some yields, then waiting: right for any number of cores.
    pub const ADAPTIVE: Self = Self::Adaptive { spins: 8, yields: 8 };
}

/// How agents are run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunnerOptions {
    /// Which agents share a thread, where `groups` does not say.
    pub mode: Mode,
    /// Names of agents that share a thread, per thread; overrides `mode` for those named.
    pub groups: Vec<Vec<String>>,
    /// Cores to pin threads to, in order of the data's path; threads beyond the list are not pinned.
    pub cores: Vec<usize>,
    /// What a thread without work does.
    pub idle: Idle,
    /// Units of work an agent may do per cycle. Less gives the other agents of its thread their turn
    /// sooner, more costs less per unit.
    pub limit: usize,
}

impl Default for RunnerOptions {
    fn default() -> Self {
        Self { mode: Mode::Auto, groups: Vec::new(), cores: Vec::new(), idle: Idle::ADAPTIVE, limit: 1024 }
    }
}

#[derive(Debug)]
struct ThreadPlan {
    agents: Vec<&'static str>,
    bell: Arc<Doorbell>,
    core: Option<usize>,
    background: bool,
}

/// Which threads there will be.
#[derive(Debug)]
pub struct Plan {
    threads: Vec<ThreadPlan>,
    idle: Idle,
    limit: usize,
}

impl Plan {
    /// Plans threads for agents of these names, given in order of the data's path.
    ///
    /// # Errors
    /// If a group names an agent that does not exist or that another group named, or the process has no
    /// file descriptor left; in words for the operator.
    pub fn new(options: &RunnerOptions, agents: &[&'static str]) -> Result<Self, String> {
        let mut groups: Vec<Vec<&'static str>> = Vec::new();
        for group in &options.groups {
            let mut known = Vec::new();
            for name in group {
                let agent = agents.iter().find(|agent| *agent == name);
                let agent = agent.ok_or_else(|| {
                    format!("groups: no agent is called {name:?}; agents are {}", agents.join(", "))
                })?;
                if groups.iter().flatten().chain(&known).any(|taken| taken == agent) {
                    return Err(format!("groups: agent {name:?} is named twice"));
                }
                known.push(*agent);
            }
            if !known.is_empty() {
                groups.push(known);
            }
        }
        let left = agents.iter().filter(|agent| !groups.iter().flatten().any(|taken| taken == *agent));
        let (background, left): (Vec<_>, Vec<_>) =
            left.copied().partition(|agent| BACKGROUND.contains(agent));
        groups.extend(background.iter().map(|agent| vec![*agent]));
        let is_background = |group: &[&str]| background.iter().any(|agent| group == [*agent]);
        match options.mode {
            Mode::Compact => groups.push(left),
            Mode::Auto if cores() <= 4 => groups.push(left),
            Mode::Auto | Mode::Dedicated => groups.extend(left.into_iter().map(|agent| vec![agent])),
        }
        groups.retain(|group| !group.is_empty());
        let place = |agent: &str| agents.iter().position(|name| *name == agent);
        groups.sort_by_key(|group| group.iter().map(|agent| place(agent)).min());
        let mut cores = options.cores.iter().copied();
        let threads = groups.into_iter().map(|mut agents| {
            agents.sort_by_key(|agent| place(agent));
            let bell = Doorbell::new().map_err(|error| {
                format!("cannot make a doorbell: {error}; raise the limit of open files (ulimit -n)")
            })?;
            let background = is_background(&agents);
            Ok(ThreadPlan { agents, bell, core: cores.next(), background })
        });
        Ok(Self {
            threads: threads.collect::<Result<_, String>>()?,
            idle: options.idle,
            limit: options.limit,
        })
    }

    /// The doorbell of the thread that this agent will live on.
    ///
    /// # Panics
    /// If the plan has no agent of that name.
    #[must_use]
    pub fn bell(&self, agent: &str) -> Arc<Doorbell> {
        let thread = self.threads.iter().find(|thread| thread.agents.contains(&agent));
        thread.unwrap_or_else(|| panic!("no agent is called {agent}")).bell.clone()
    }

    /// Whether two agents share a thread.
    #[must_use]
    pub fn share(&self, one: &str, other: &str) -> bool {
        self.threads.iter().any(|thread| thread.agents.contains(&one) && thread.agents.contains(&other))
    }

    /// Agents per thread, for the operator.
    #[must_use]
    pub fn describe(&self) -> String {
        let threads = self.threads.iter().map(|thread| match thread.core {
            Some(core) => format!("[{}] on core {core}", thread.agents.join(" ")),
            None => format!("[{}]", thread.agents.join(" ")),
        });
        threads.collect::<Vec<_>>().join(", ")
    }

    /// Starts the threads. `notify` is woken whenever a thread has ended.
    ///
    /// # Errors
    /// If a thread cannot be started.
    ///
    /// # Panics
    /// If the agents are not those of the plan.
    pub fn start(self, agents: Vec<Box<dyn Agent>>, notify: Arc<Doorbell>) -> std::io::Result<Running> {
        let mut agents: Vec<Option<Box<dyn Agent>>> = agents.into_iter().map(Some).collect();
        let mut take = |name: &str| {
            let found =
                agents.iter_mut().find(|agent| agent.as_ref().is_some_and(|agent| agent.name() == name));
            found.and_then(Option::take).unwrap_or_else(|| panic!("agent {name} was planned and not made"))
        };
        let stacks: Vec<Vec<_>> =
            self.threads.iter().map(|thread| thread.agents.iter().map(|name| take(name)).collect()).collect();
        assert!(agents.iter().all(Option::is_none), "an agent was made and not planned");

        let bells: Vec<_> = self.threads.iter().map(|thread| thread.bell.clone()).collect();
        let background = self.threads.iter().map(|thread| thread.background).collect();
        let shared = Arc::new(Shared {
            halted: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            failure: Mutex::new(None),
            bells,
            background,
            notify,
        });
        let mut running = Running { shared: shared.clone(), threads: Vec::new(), last_cycles: Vec::new() };
        for (at, (plan, agents)) in self.threads.into_iter().zip(stacks).enumerate() {
            let last_cycle = Arc::new(AtomicU64::new(clock::mono().0));
            running.last_cycles.push((plan.agents.join("+"), last_cycle.clone()));
            let (idle, limit, shared) = (Waiting::new(self.idle), self.limit, shared.clone());
            let (core, background) = (plan.core, plan.background);
            let mut thread = Thread { at, agents, current: "", idle, limit, last_cycle, shared };
            let handle = std::thread::Builder::new().name(plan.agents.join("+")).spawn(move || {
                if let Some(core) = core {
                    pin(core);
                }
                if background && let Err(error) = rustix::process::nice(BACKGROUND_NICE) {
                    tracing::warn!(%error, "a thread in the background has the priority of all others");
                }
                thread.run_caught();
            });
            match handle {
                Ok(handle) => running.threads.push(handle),
                Err(error) => {
                    running.halt();
                    let _ = running.join();
                    return Err(error);
                }
            }
        }
        Ok(running)
    }
}

/// Cores that this process may use.
#[must_use]
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn pin(core: usize) {
    let mut set = CpuSet::new();
    if core < CpuSet::MAX_CPU {
        set.set(core);
    }
    if let Err(error) = sched_setaffinity(None, &set) {
        tracing::warn!(core, %error, "cannot pin a thread; check the list of cores");
    }
}

/// Stands for an agent where a node fails before it has any.
pub const START: &str = "start";

/// Why the threads ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The agent in which it happened.
    pub agent: &'static str,
    /// What happened and what to do.
    pub fatal: Fatal,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.agent {
            START => write!(f, "{}", self.fatal),
            agent => write!(f, "{agent} stopped the node: {}", self.fatal),
        }
    }
}

impl std::error::Error for Failure {}

#[derive(Debug)]
struct Shared {
    halted: AtomicBool,
    /// A thread has ended, save for its last words to `notify`.
    ended: AtomicBool,
    failure: Mutex<Option<Failure>>,
    bells: Vec<Arc<Doorbell>>,
    /// Which threads are in the background.
    background: Vec<bool>,
    notify: Arc<Doorbell>,
}

impl Shared {
    fn failure(&self) -> MutexGuard<'_, Option<Failure>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Halting comes before waking: a thread that wakes sees it.
    fn halt(&self) {
        self.halted.store(true, Ordering::SeqCst);
        self.bells.iter().for_each(|bell| bell.wake());
    }
}

/// Threads at work.
#[derive(Debug)]
pub struct Running {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    /// Per thread its name and the monotonic time of its last cycle.
    last_cycles: Vec<(String, Arc<AtomicU64>)>,
}

impl Running {
    /// Tells every thread to end after its present cycle.
    pub fn halt(&self) {
        self.shared.halt();
    }

    /// Makes every waiting thread look at its work.
    pub fn wake(&self) {
        self.shared.bells.iter().for_each(|bell| bell.wake());
    }

    /// Whether a thread has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.shared.ended.load(Ordering::Acquire)
    }

    /// What watches the threads from outside.
    #[must_use]
    pub fn pulse(&self) -> Pulse {
        Pulse(self.last_cycles.clone())
    }

    /// Waits until all threads have ended. An agent's resources are given back by its thread.
    ///
    /// # Errors
    /// The first [`Failure`].
    pub fn join(self) -> Result<(), Failure> {
        for thread in self.threads {
            thread.join().expect("panics of agents are caught");
        }
        self.shared.failure().take().map_or(Ok(()), Err)
    }
}

/// Tells whether threads go round.
#[derive(Clone, Debug)]
pub struct Pulse(Vec<(String, Arc<AtomicU64>)>);

impl Pulse {
    /// The thread whose last cycle is longest ago, and how long.
    #[must_use]
    pub fn slowest(&self) -> Option<(&str, Duration)> {
        let now = clock::mono();
        let age = |last: &AtomicU64| Duration::from_nanos(now.since(Nanos(last.load(Ordering::Relaxed))));
        self.0.iter().map(|(name, last)| (name.as_str(), age(last))).max_by_key(|(_, age)| *age)
    }
}

/// Where a thread is on its way from working to waiting.
#[derive(Debug)]
struct Waiting {
    spins: u32,
    /// Empty cycles until it parks, if it ever does.
    parks: Option<u32>,
    empty: u32,
}

impl Waiting {
    const fn new(idle: Idle) -> Self {
        let (spins, parks) = match idle {
            Idle::Spin => (u32::MAX, None),
            Idle::Yield => (0, None),
            Idle::Park => (0, Some(0)),
            Idle::Adaptive { spins, yields } => (spins, Some(spins.saturating_add(yields))),
        };
        Self { spins, parks, empty: 0 }
    }
}

struct Thread {
    at: usize,
    agents: Vec<Box<dyn Agent>>,
    /// The agent at work, for the report if it panics.
    current: &'static str,
    idle: Waiting,
    limit: usize,
    last_cycle: Arc<AtomicU64>,
    shared: Arc<Shared>,
}

impl Thread {
    fn run_caught(&mut self) {
        let outcome = catch_unwind(AssertUnwindSafe(|| self.run()));
        let fatal = match outcome {
            Ok(Ok(())) => None,
            Ok(Err(fatal)) => Some(fatal),
            Err(panic) => Some(Fatal::new(
                format!("a defect or an event that it cannot process made it panic: {}", message(&*panic)),
                "The journal is kept as evidence. Report it with the log; restarting repeats it if an event in \
                 the journal is the cause",
            )),
        };
        if let Some(fatal) = fatal {
            let failure = Failure { agent: self.current, fatal };
            match failure.fatal.begins_anew {
                true => tracing::info!(cause = %failure.fatal.cause, "node ends to begin anew"),
                false => {
                    tracing::error!(agent = failure.agent, cause = %failure.fatal.cause, action = %failure.fatal.action, "node stops")
                }
            }
            self.shared.failure().get_or_insert(failure);
            self.shared.halt();
        }
        // Agents let go of their resources here, on their own thread, and before the end is told.
        let dropped = catch_unwind(AssertUnwindSafe(|| self.agents.clear()));
        if dropped.is_err() {
            tracing::error!("an agent panicked while it was taken down");
        }
        self.shared.ended.store(true, Ordering::Release);
        self.shared.notify.wake();
    }

    fn run(&mut self) -> Result<(), Fatal> {
        let bell = self.shared.bells[self.at].clone();
        let mut announced = false;
        while !self.shared.halted.load(Ordering::Acquire) {
            let now = clock::now();
            let mut work = 0;
            for agent in &mut self.agents {
                self.current = agent.name();
                work += agent.do_work(now, self.limit)?;
            }
            self.last_cycle.store(now.mono.0, Ordering::Relaxed);
            if work > 0 {
                self.idle.empty = 0;
                if std::mem::take(&mut announced) {
                    bell.withdraw();
                }
                self.ring_others();
            } else if announced {
                // The cycle since the announcement found nothing.
                let patience = self.patience(now.mono);
                match self.deaf(now.mono) {
                    Some(deaf) => bell.wait_deaf(deaf.min(patience)),
                    None => bell.wait(patience),
                };
                announced = false;
                self.idle.empty = 0;
            } else if self.idle.parks.is_some_and(|parks| self.idle.empty >= parks) {
                bell.announce();
                announced = true;
            } else {
                if self.idle.empty < self.idle.spins {
                    std::hint::spin_loop();
                } else {
                    std::thread::yield_now();
                }
                self.idle.empty = self.idle.empty.saturating_add(1);
            }
        }
        Ok(())
    }

    /// Tells the threads that wait that there may be work for them. One fence for all of them together
    /// would do; they are few, and a fence costs nothing beside the cycle.
    fn ring_others(&self) {
        let background = &self.shared.background;
        if background[self.at] {
            return;
        }
        for (at, bell) in self.shared.bells.iter().enumerate() {
            if at != self.at && !background[at] {
                bell.ring();
            }
        }
    }

    /// How long news of clients need not wake the thread, if at all.
    fn deaf(&self, now: Nanos) -> Option<Duration> {
        let until = self.agents.iter().filter_map(|agent| agent.deaf_until()).min()?;
        Some(Duration::from_nanos(until.since(now))).filter(|deaf| !deaf.is_zero())
    }

    fn patience(&self, now: Nanos) -> Duration {
        let deadline = self.agents.iter().filter_map(|agent| agent.next_deadline()).min();
        deadline.map_or(PARK_MAX, |deadline| Duration::from_nanos(deadline.since(now)).min(PARK_MAX))
    }
}

fn message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}
