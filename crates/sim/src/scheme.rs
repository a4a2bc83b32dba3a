//! Troubles of several steps, each waiting for the one before: the ways in which replicated logs are known to lose
//! what they acknowledged. Chance alone would line them up once in thousands of runs.

use crate::rng::Rng;
use ordain_types::Nanos;

/// A scheme that gets nowhere is given up after this long, nanoseconds.
const PATIENCE: u64 = 1_000 * Nanos::MILLI;

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Cut a node off from the others; whether they notice at once.
    Isolate(usize, bool),
    /// Connect everybody.
    Heal,
    /// A node loses power and comes back soon.
    Power(usize),
    /// A node's machine is suspended for this long, nanoseconds: its monotonic clock stands still.
    Suspend(usize, u64),
    /// The syncs of a node's log do not finish for this long, nanoseconds.
    Stall(usize, u64),
}

/// What a scheme goes by.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// Simulated time.
    pub now: u64,
    /// Which nodes have recovered and run.
    pub running: &'a [bool],
    /// Which nodes lead, as they see it.
    pub leads: &'a [bool],
}

#[derive(Clone, Debug)]
enum Plot {
    /// Half of the followers fall behind, the others lose power, and when they are back the leader vanishes: the
    /// followers alone must not elect if that would lose something.
    Behind { leader: usize, behind: Vec<usize>, dirty: Vec<usize>, stage: u32 },
    /// Whoever comes to lead is cut off soon after, and the one before comes back (figure 8 of Ongaro and
    /// Ousterhout, *In Search of an Understandable Consensus Algorithm*, 2014).
    Carousel { alone: usize, next: Option<usize>, rounds: u32 },
    /// The leader's machine sleeps, cut off, until another leads, and wakes believing that no time has passed.
    Sleeper { leader: usize, length: u64, stage: u32 },
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Scheme {
    plot: Plot,
    /// Whether connections break at once when a node is cut off.
    noticed: bool,
    /// Earliest time of the next step.
    at: u64,
    give_up: u64,
}

impl Scheme {
    /// Draws a scheme against `leader`, one of `nodes`, at least three.
    #[must_use]
    pub fn draw(rng: &mut Rng, now: u64, leader: usize, nodes: usize, sleepers: bool) -> Self {
        let plot = if sleepers || rng.one_in(5) {
            Plot::Sleeper { leader, length: rng.spread(50 * Nanos::MILLI, 200 * Nanos::MILLI), stage: 0 }
        } else if rng.one_in(2) {
            let turn = rng.below(nodes as u64 - 1) as usize;
            let followers = (0..nodes - 1).map(|step| (leader + 1 + (step + turn) % (nodes - 1)) % nodes);
            let mut behind: Vec<_> = followers.collect();
            let dirty = behind.split_off((nodes - 1) / 2);
            Plot::Behind { leader, behind, dirty, stage: 0 }
        } else {
            Plot::Carousel { alone: leader, next: Some(leader), rounds: rng.range(2, 6) as u32 }
        };
        Self { plot, noticed: rng.one_in(2), at: now, give_up: now + PATIENCE }
    }

    /// The next steps, none of them if it is not time yet; `None` when the scheme is over.
    pub fn next(&mut self, view: View<'_>, rng: &mut Rng) -> Option<Vec<Act>> {
        let now = view.now;
        if now < self.at {
            return Some(Vec::new());
        }
        if now > self.give_up {
            return None;
        }
        let noticed = self.noticed;
        let mut pause = |low: u64, high: u64| self.at = now + rng.spread(low, high);
        let acts = match &mut self.plot {
            Plot::Behind { leader, behind, dirty, stage } => {
                *stage += 1;
                match stage {
                    1 => {
                        pause(100 * Nanos::MICRO, 20 * Nanos::MILLI);
                        let stalled = rng.pick(&[*leader, dirty[0]]);
                        let until = now + rng.spread(Nanos::MILLI, 60 * Nanos::MILLI);
                        let isolated = behind.iter().map(|node| Act::Isolate(*node, noticed));
                        [Act::Stall(stalled, until)].into_iter().chain(isolated).collect()
                    }
                    2 => dirty.iter().map(|node| Act::Power(*node)).collect(),
                    3 if dirty.iter().any(|node| !view.running[*node]) => {
                        *stage -= 1;
                        Vec::new()
                    }
                    3 => {
                        pause(10 * Nanos::MICRO, 40 * Nanos::MILLI);
                        Vec::new()
                    }
                    4 => {
                        pause(20 * Nanos::MILLI, 200 * Nanos::MILLI);
                        vec![Act::Heal, rng.pick(&[Act::Power(*leader), Act::Isolate(*leader, noticed)])]
                    }
                    _ => return None,
                }
            }
            Plot::Sleeper { leader, length, stage } => {
                *stage += 1;
                match stage {
                    1 => {
                        pause(*length, 2 * *length);
                        vec![Act::Isolate(*leader, noticed), Act::Suspend(*leader, *length)]
                    }
                    _ => return None,
                }
            }
            Plot::Carousel { alone, next, rounds } => match next.take() {
                Some(leader) => {
                    *alone = leader;
                    vec![Act::Heal, Act::Isolate(leader, noticed)]
                }
                None if *rounds == 0 => return None,
                None => {
                    *next = (0..view.leads.len()).find(|node| view.leads[*node] && *node != *alone);
                    if next.is_some() {
                        *rounds -= 1;
                        pause(10 * Nanos::MICRO, 10 * Nanos::MILLI);
                    }
                    Vec::new()
                }
            },
        };
        Some(acts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every scheme ends by itself, whatever the nodes do, and leaves them as it found them but for a heal.
    #[test]
    fn schemes_end() {
        for seed in 0..200 {
            let nodes = if seed < 100 { 3 } else { 5 };
            let mut rng = Rng::new(seed);
            let mut scheme = Scheme::draw(&mut rng, 0, 1, nodes, false);
            let (mut now, mut steps) = (0, 0);
            loop {
                let leads: Vec<_> = (0..nodes).map(|_| rng.one_in(3)).collect();
                let running: Vec<_> = (0..nodes).map(|_| rng.one_in(2)).collect();
                let Some(acts) = scheme.next(View { now, running: &running, leads: &leads }, &mut rng) else {
                    break;
                };
                steps += acts.len();
                now += Nanos::MILLI / 10;
            }
            assert!(now <= PATIENCE + Nanos::MILLI && steps > 0, "seed {seed}: {steps} steps until {now}");
        }
    }
}
