//! `ordain bench --mode catch-up`: how fast a follower that was away gets what it missed, while the cluster serves.
//!
//! A follower is killed, the others take orders until it lacks as many events as were asked for, and then serve at a
//! moderate rate. It is started again. Two times count from when it is ready: until its log is at the end of the leader's,
//! and until its application has executed that.

use crate::bench::PATIENCE;
use crate::child::{ClusterSpec, OwnCluster, OwnNode};
use crate::error::{CliError, OrNext, Result};
use ordain_client::ClientConfig;
use ordain_exchange_bench::flow::Settings;
use ordain_exchange_bench::load;
use serde::Serialize;
use std::fmt;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Between two looks at how far the follower is.
const LOOK: Duration = Duration::from_millis(5);
/// Behind the end of a log that goes on, this is no lag.
const NEAR: f64 = 256.0;
/// Seconds for which the load is measured before the follower returns.
const BEFORE: usize = 2;
const NEXT: &str = "The nodes' log on standard error says why.";

pub struct Options {
    pub spec: ClusterSpec,
    /// Events that the follower is to lack.
    pub events: u64,
    pub connections: usize,
    pub window: usize,
    /// Requests per second while it catches up.
    pub rate: u64,
    pub flow: Settings,
}

/// What was measured.
#[derive(Debug, Serialize)]
pub struct CatchUp {
    /// Events that the follower lacked when it was started.
    events: u64,
    /// From its start until it was ready: recovery of what it had.
    start_ms: f64,
    /// From then until its log was at the end, and events per second.
    received_ms: f64,
    received_per_second: u64,
    /// From then until it had executed that, and events per second.
    executed_ms: f64,
    executed_per_second: u64,
    /// What clients saw before, and while it caught up.
    before_p50_us: f64,
    before_p99_us: f64,
    during_p50_us: f64,
    during_p99_us: f64,
    lost: u64,
}

impl CatchUp {
    pub const fn is_good(&self) -> bool {
        self.lost == 0
    }
}

impl fmt::Display for CatchUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "a follower {} events behind: ready after {:.0} ms; received after {:.0} ms more, {} events/s; executed after \
             {:.0} ms, {} events/s",
            self.events,
            self.start_ms,
            self.received_ms,
            self.received_per_second,
            self.executed_ms,
            self.executed_per_second
        )?;
        write!(
            f,
            "clients: p50 {:.0} us, p99 {:.0} us before; p50 {:.0} us, p99 {:.0} us meanwhile; {} lost",
            self.before_p50_us, self.before_p99_us, self.during_p50_us, self.during_p99_us, self.lost
        )
    }
}

pub fn measure(options: &Options, data: &Path) -> Result<CatchUp> {
    let mut cluster = OwnCluster::start(data, options.spec.clone())?;
    let leader = cluster.leader()?;
    let client = ClientConfig { timeout: PATIENCE, ..cluster.operator()? };
    load::open_exchange(&client, &options.flow, &mut |_, _, _, _| Ok(()))
        .or_next("the load cannot begin", NEXT)?;
    let follower = (leader + 1) % cluster.nodes().count();
    let events = |cluster: &OwnCluster| {
        cluster.node(leader).map_or(0, |node| node.metric("ordain_log_records_total") as u64)
    };
    let had = events(&cluster);
    cluster.kill(follower)?;
    cluster.bury(follower);
    let mut lost = run(options, &client, None, |_| events(&cluster) < had + options.events)?.lost;

    let ends = AtomicBool::new(false);
    let (tell, told) = mpsc::channel();
    let result: Result<CatchUp> = std::thread::scope(|scope| {
        let served = scope.spawn(|| {
            run(options, &client, Some(options.rate), |report| {
                // Nobody listens any more when the follower is there.
                let _ = tell.send(report.clone());
                !ends.load(Ordering::Relaxed)
            })
        });
        let next = || told.recv_timeout(PATIENCE).or_next("the load does not begin", NEXT);
        // The last of these seconds says what all were like.
        let before = (1..BEFORE).try_for_each(|_| next().map(drop)).and_then(|()| next());
        let lacks = events(&cluster) - had;
        let times = before.and_then(|before| Ok((before, come_back(&mut cluster, leader, follower)?)));
        ends.store(true, Ordering::Relaxed);
        let mut during = served.join().expect("the load does not panic")?;
        let (before, (start, received, executed)) = times?;
        lost += during.lost;
        during.latency.subtract(&before.latency).expect("counts only grow");
        let per_second = |time: Duration| (lacks as f64 / time.as_secs_f64().max(1e-3)) as u64;
        let millis = |time: Duration| time.as_secs_f64() * 1e3;
        Ok(CatchUp {
            events: lacks,
            start_ms: millis(start),
            received_ms: millis(received),
            received_per_second: per_second(received),
            executed_ms: millis(executed),
            executed_per_second: per_second(executed),
            before_p50_us: before.percentile(50.0),
            before_p99_us: before.percentile(99.0),
            during_p50_us: during.percentile(50.0),
            during_p99_us: during.percentile(99.0),
            lost,
        })
    });
    let result = result?;
    cluster.stop()?;
    Ok(result)
}

/// Loads the cluster for as long as `goes_on`, which is asked once a second.
fn run(
    options: &Options,
    client: &ClientConfig,
    rate: Option<u64>,
    mut goes_on: impl FnMut(&load::Report) -> bool,
) -> Result<load::Report> {
    let load = load::Options {
        client: client.clone(),
        connections: options.connections,
        window: options.window,
        rate,
        warm_up: Duration::ZERO,
        duration: Duration::from_secs(3600),
        flow: options.flow,
    };
    let progress = |report: &load::Report| {
        if goes_on(report) { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    load::run(&load, &mut |_, _, _, _| Ok(()), progress).or_next("the load broke off", NEXT)
}

/// Starts the follower again. The time until it is ready, and from then until it has, and has executed, everything.
fn come_back(
    cluster: &mut OwnCluster,
    leader: usize,
    follower: usize,
) -> Result<(Duration, Duration, Duration)> {
    let begin = Instant::now();
    cluster.restart(follower)?;
    let start = begin.elapsed();
    let (begin, mut received) = (Instant::now(), None);
    while begin.elapsed() < PATIENCE {
        let number = |node: usize, name| cluster.node(node).map_or(0.0, |node: &OwnNode| node.metric(name));
        let last = number(leader, "ordain_last_batch");
        if last > 0.0 && number(follower, "ordain_last_batch") + NEAR >= last {
            let received = *received.get_or_insert_with(|| begin.elapsed());
            if number(follower, "ordain_applied_batch") + NEAR >= last {
                return Ok((start, received, begin.elapsed()));
            }
        }
        std::thread::sleep(LOOK);
    }
    Err(CliError::new("the follower does not catch up", NEXT))
}
