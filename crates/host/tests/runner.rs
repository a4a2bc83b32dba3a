//! Threads for agents.

use ordain_agent::{Agent, Fatal};
use ordain_host::doorbell::Doorbell;
use ordain_host::runner::{Idle, Mode, Plan, RunnerOptions, Running};
use ordain_types::{Nanos, Now};
use rustix::thread::{CpuSet, sched_getaffinity};
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

type Work = Box<dyn FnMut(Now) -> Result<usize, Fatal> + Send>;

struct Stage {
    name: &'static str,
    work: Work,
    deadline: Option<Nanos>,
    dropped: Arc<AtomicU64>,
}

impl Agent for Stage {
    fn name(&self) -> &'static str {
        self.name
    }

    fn do_work(&mut self, now: Now, _limit: usize) -> Result<usize, Fatal> {
        (self.work)(now)
    }

    fn next_deadline(&self) -> Option<Nanos> {
        self.deadline
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

fn stage(name: &'static str, work: impl FnMut(Now) -> Result<usize, Fatal> + Send + 'static) -> Stage {
    Stage { name, work: Box::new(work), deadline: None, dropped: Arc::default() }
}

fn start(mode: Mode, idle: Idle, stages: Vec<Stage>) -> (Running, Arc<Doorbell>) {
    let names: Vec<_> = stages.iter().map(|stage| stage.name).collect();
    let plan = Plan::new(&RunnerOptions { mode, idle, ..RunnerOptions::default() }, &names).unwrap();
    let notify = Doorbell::new().unwrap();
    let agents = stages.into_iter().map(|stage| Box::new(stage) as Box<dyn Agent>).collect();
    (plan.start(agents, notify.clone()).unwrap(), notify)
}

fn wait_for_end(running: &Running, notify: &Doorbell) {
    while !running.has_ended() {
        assert!(notify.wait(Duration::from_secs(60)), "the end of a thread was not told");
    }
}

const EVERY_IDLE: [Idle; 5] =
    [Idle::Spin, Idle::Yield, Idle::Park, Idle::ADAPTIVE, Idle::Adaptive { spins: 0, yields: 1 }];

/// A number goes round through agents on different threads; each only adds one when it is its turn.
#[test]
fn work_wakes_the_next_thread() {
    for mode in [Mode::Dedicated, Mode::Compact] {
        for idle in EVERY_IDLE {
            // More busy threads than cores get their turn only when a time slice ends.
            let end = if matches!(idle, Idle::Spin | Idle::Yield) { 60 } else { 3_000 };
            let number = Arc::new(AtomicU64::new(0));
            let waited = Arc::new(AtomicU64::new(0));
            let stages = ["a", "b", "c"].into_iter().zip(0..).map(|(name, turn)| {
                let (number, waited) = (number.clone(), waited.clone());
                let mut last = None;
                stage(name, move |now| {
                    let at = number.load(Ordering::Acquire);
                    let before = last.replace(now.mono);
                    if at >= end {
                        return Err(Fatal::new("the end", "none"));
                    }
                    if at % 3 != turn {
                        return Ok(0);
                    }
                    // A lost wake-up shows as a wait until the time-out of one second.
                    if before.is_some_and(|before| now.mono.since(before) > 900 * Nanos::MILLI) {
                        waited.fetch_add(1, Ordering::Relaxed);
                    }
                    number.store(at + 1, Ordering::Release);
                    Ok(1)
                })
            });
            let (running, notify) = start(mode, idle, stages.collect());
            wait_for_end(&running, &notify);
            assert_eq!(running.join().unwrap_err().fatal.cause, "the end");
            assert_eq!(number.load(Ordering::Relaxed), end, "{mode:?} {idle:?}");
            // A machine may hold a thread up once for so long; a defect does it again and again.
            assert!(waited.load(Ordering::Relaxed) < 3, "{mode:?} {idle:?}: wake-ups were lost");
        }
    }
}

#[test]
fn a_fatal_agent_stops_all_and_is_reported() {
    for mode in [Mode::Dedicated, Mode::Compact] {
        let mut cycles = 0;
        let others = [stage("gateway", |_| Ok(0)), stage("apply", |_| Ok(1))];
        let dropped: Vec<_> = others.iter().map(|stage| stage.dropped.clone()).collect();
        let failing = stage("journal", move |_| {
            cycles += 1;
            if cycles < 10 { Ok(1) } else { Err(Fatal::new("the disk is gone", "Replace it")) }
        });
        let (running, notify) = start(mode, Idle::Park, others.into_iter().chain([failing]).collect());
        wait_for_end(&running, &notify);
        let failure = running.join().unwrap_err();
        assert_eq!(failure.to_string(), "journal stopped the node: the disk is gone. Replace it");
        assert!(dropped.iter().all(|dropped| dropped.load(Ordering::SeqCst) == 1));
    }
}

#[test]
fn a_panic_stops_all_and_names_the_agent() {
    let stages = vec![stage("log", |_| Ok(0)), stage("apply", |_| panic!("event {} is impossible", 7))];
    let (running, notify) = start(Mode::Compact, Idle::ADAPTIVE, stages);
    wait_for_end(&running, &notify);
    let failure = running.join().unwrap_err();
    assert_eq!(failure.agent, "apply");
    assert!(failure.to_string().contains("event 7 is impossible"), "{failure}");
}

#[test]
fn halting_ends_threads_that_wait() {
    for idle in EVERY_IDLE {
        let (running, _notify) =
            start(Mode::Dedicated, idle, vec![stage("a", |_| Ok(0)), stage("b", |_| Ok(0))]);
        // So that waiting threads wait.
        std::thread::sleep(Duration::from_millis(5));
        assert!(!running.has_ended());
        running.halt();
        running.join().unwrap();
    }
}

#[test]
fn a_deadline_ends_a_wait() {
    let first = ordain_host::clock::mono();
    let fired = Arc::new(AtomicU64::new(0));
    let seen = fired.clone();
    let due = first.plus(30 * Nanos::MILLI);
    let mut timer = stage("timer", move |now| {
        if now.mono >= due {
            seen.store(now.mono.since(due), Ordering::SeqCst);
            return Err(Fatal::new("fired", "none"));
        }
        Ok(0)
    });
    timer.deadline = Some(due);
    let (running, notify) = start(Mode::Compact, Idle::Park, vec![timer]);
    wait_for_end(&running, &notify);
    assert_eq!(running.join().unwrap_err().fatal.cause, "fired");
    assert!(fired.load(Ordering::SeqCst) < 500 * Nanos::MILLI, "fired at the time-out, not the deadline");
}

#[test]
fn threads_are_planned_as_asked() {
    const AGENTS: [&str; 4] = ["gateway", "log", "journal", "apply"];
    let check = |mode, groups: &[&[&str]], cores: &[usize], expected: Result<&str, &str>| {
        let groups =
            groups.iter().map(|group| group.iter().map(|name| (*name).to_owned()).collect()).collect();
        let options = RunnerOptions { mode, groups, cores: cores.to_vec(), ..RunnerOptions::default() };
        let plan = Plan::new(&options, &AGENTS);
        let plan = plan.as_ref().map(Plan::describe);
        assert_eq!(plan.as_ref().map(String::as_str).map_err(|error| error.as_str()), expected);
    };
    check(Mode::Compact, &[], &[3], Ok("[gateway log journal apply] on core 3"));
    check(Mode::Dedicated, &[], &[2, 4], Ok("[gateway] on core 2, [log] on core 4, [journal], [apply]"));
    check(Mode::Dedicated, &[&["journal", "log"]], &[], Ok("[gateway], [log journal], [apply]"));
    check(Mode::Compact, &[&["apply"], &[]], &[], Ok("[gateway log journal], [apply]"));
    check(
        Mode::Compact,
        &[&["aply"]],
        &[],
        Err("groups: no agent is called \"aply\"; agents are gateway, log, journal, apply"),
    );
    check(Mode::Compact, &[&["log"], &["log"]], &[], Err("groups: agent \"log\" is named twice"));
    check(Mode::Compact, &[&["log", "log"]], &[], Err("groups: agent \"log\" is named twice"));
}

#[test]
fn a_pinned_thread_runs_on_its_core_and_a_core_that_does_not_exist_costs_nothing() {
    let allowed = sched_getaffinity(None).unwrap();
    let Some(core) = (0..CpuSet::MAX_CPU).rfind(|core| allowed.is_set(*core)) else {
        unreachable!("a process has a core")
    };
    if allowed.count() == 1 {
        // Past the capture of the test harness, which would hide it.
        let _ =
            writeln!(std::io::stderr(), "SKIPPED: pinning cannot be told from the one core that there is");
        return;
    }
    for (wanted, expected) in [(core, vec![core]), (CpuSet::MAX_CPU, vec![])] {
        let seen = Arc::new(Mutex::new(None));
        let note = seen.clone();
        let pinned = stage("pinned", move |_| {
            let set = sched_getaffinity(None).unwrap();
            *note.lock().unwrap() =
                Some((0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect::<Vec<_>>());
            Err(Fatal::new("enough", "nothing"))
        });
        let options =
            RunnerOptions { mode: Mode::Dedicated, cores: vec![wanted], ..RunnerOptions::default() };
        let plan = Plan::new(&options, &["pinned"]).unwrap();
        let notify = Doorbell::new().unwrap();
        let running = plan.start(vec![Box::new(pinned)], notify.clone()).unwrap();
        wait_for_end(&running, &notify);
        let _ = running.join();
        let all = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).collect::<Vec<_>>();
        let expected = if expected.is_empty() { all } else { expected };
        assert_eq!(*seen.lock().unwrap(), Some(expected), "core {wanted}");
    }
}
