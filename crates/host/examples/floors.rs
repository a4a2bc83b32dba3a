//! Prints what this machine needs at least, and what the host adds to it: a write and sync through a disk lane
//! beside the bare calls, and what idle threads cost.

use ordain_agent::disk::{Disk, DiskOp, FileId, IoBytes};
use ordain_agent::{Agent, Fatal};
use ordain_host::disk::DataDir;
use ordain_host::doorbell::Doorbell;
use ordain_host::floors::{FileKind, calibrate, ping, sync};
use ordain_host::runner::{Mode, Plan, RunnerOptions};
use ordain_types::Now;
use std::path::Path;
use std::time::{Duration, Instant};

const ROUNDS: usize = 1000;

fn lane(dir: &Path, parks: bool) -> [u64; 2] {
    let bell = Doorbell::new().unwrap();
    let mut lane = DataDir::open(dir).unwrap().lane("lane", 4, bell.clone()).unwrap();
    let finish = |lane: &mut ordain_host::disk::FileDisk, operations| {
        for _ in 0..operations {
            loop {
                if parks {
                    bell.announce();
                }
                if let Some(done) = lane.poll() {
                    done.result.unwrap();
                    break;
                }
                if parks {
                    bell.wait(Duration::from_secs(1));
                } else {
                    std::hint::spin_loop();
                }
            }
        }
    };
    let file = FileId::Segment(0);
    lane.submit(DiskOp::Create { tag: 0, file, size: 4 << 20 });
    finish(&mut lane, 1);
    let mut times: Vec<u64> = (0..ROUNDS as u64)
        .map(|round| {
            let bytes = IoBytes::Owned(vec![0x5a; 4096]);
            let start = Instant::now();
            lane.submit(DiskOp::Write { tag: 0, file, offset: round % 1024 * 4096, bytes });
            lane.submit(DiskOp::Sync { tag: 0, file });
            finish(&mut lane, 2);
            start.elapsed().as_nanos() as u64
        })
        .collect();
    times.sort_unstable();
    [times[ROUNDS / 2], times[ROUNDS * 99 / 100]]
}

struct Nothing(&'static str);

impl Agent for Nothing {
    fn name(&self) -> &'static str {
        self.0
    }

    fn do_work(&mut self, _now: Now, _limit: usize) -> Result<usize, Fatal> {
        Ok(0)
    }
}

fn idle(mode: Mode) -> f64 {
    let names = ["gateway", "log", "journal", "apply"];
    let plan = Plan::new(&RunnerOptions { mode, ..RunnerOptions::default() }, &names).unwrap();
    let agents = names.map(|name| Box::new(Nothing(name)) as Box<dyn Agent>);
    let running = plan.start(agents.into(), Doorbell::new().unwrap()).unwrap();
    let before = ordain_host::ops::cpu_time().unwrap();
    std::thread::sleep(Duration::from_secs(3));
    let used = ordain_host::ops::cpu_time().unwrap() - before;
    running.halt();
    running.join().unwrap();
    used.as_secs_f64() / 3.0 * 100.0
}

fn main() {
    let dir = std::env::args().nth(1).unwrap_or_else(|| ".".to_owned());
    let dir = Path::new(&dir).join(format!("floors-{}", std::process::id()));
    std::fs::create_dir(&dir).unwrap();
    let micros = |nanos: u64| nanos as f64 / 1000.0;
    for _ in 0..3 {
        for kind in [FileKind::Zeroed, FileKind::Appended, FileKind::Direct] {
            match sync(&dir, kind, ROUNDS) {
                Ok(floor) => println!(
                    "sync {kind:?}: p50 {:.0} us, p99 {:.0} us",
                    micros(floor.p50),
                    micros(floor.p99)
                ),
                Err(error) => println!("sync {kind:?}: {error}"),
            }
        }
        for parks in [false, true] {
            let [p50, p99] = lane(&dir, parks);
            let owner = if parks { "parks" } else { "spins" };
            println!(
                "write + sync through a lane, owner {owner}: p50 {:.0} us, p99 {:.0} us",
                micros(p50),
                micros(p99)
            );
        }
    }
    for busy in [false, true] {
        let floor = ping(busy, 5000).unwrap();
        println!("ping, busy {busy}: p50 {:.1} us, p99 {:.1} us", micros(floor.p50), micros(floor.p99));
    }
    println!("calibration: {:.1} ms", calibrate().as_secs_f64() * 1000.0);
    for mode in [Mode::Compact, Mode::Dedicated] {
        println!("idle, {mode:?}: {:.2} % of a core", idle(mode));
    }
    std::fs::remove_dir_all(&dir).unwrap();
}
