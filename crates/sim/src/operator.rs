//! An operator, who changes the cluster while it runs: asks for other policies, another W, another leader, through the
//! production client core and the gateway of whichever node it reaches.

use crate::client::{Party, key_pair};
use crate::history::History;
use crate::net::Network;
use crate::plan::{Plan, Wishes, node_pair};
use crate::rng::Rng;
use crate::trace::Trace;
use ordain_client::{ClientCore, CoreConfig, Event, QueryError, QueryId, SessionWish};
use ordain_types::codes::Code;
use ordain_types::facts::AckPolicy;
use ordain_types::steer::Steer;
use ordain_types::{BatchIndex, Nanos, NodeId};

/// A change that is not answered within this time is given up; what became of it the log knows.
const PATIENCE: u64 = 300 * Nanos::MILLI;
/// How long a node may leave a Ping unanswered.
const SILENCE: u64 = 300 * Nanos::MILLI;
/// W, batches. The least that may be set, and more than what is ever un-synced.
const WINDOWS: [u64; 5] = [16, 17, 24, 64, 200];

/// What the operator heard.
#[derive(Debug, Default)]
struct Heard {
    answer: Option<Result<BatchIndex, Option<Code>>>,
}

impl Heard {
    fn hear(&mut self, event: Event<'_>) {
        if let Event::Steered(_, result) = event {
            self.answer = Some(result.map_err(|(error, _)| match error {
                QueryError::Refused(code) => Some(code),
                QueryError::Disconnected => None,
            }));
        }
    }
}

/// See the module.
pub struct Operator {
    id: usize,
    wishes: Wishes,
    policies: Vec<AckPolicy>,
    core: ClientCore,
    heard: Heard,
    conn: Option<u64>,
    input: Vec<u8>,
    /// The node connected to, or tried next.
    member: usize,
    nodes: usize,
    /// What is wanted and was not asked for yet, because the node reached does not lead.
    draft: Option<Steer>,
    asked: Option<(QueryId, Steer)>,
    progress_at: u64,
    next_at: u64,
    finishing: bool,
    rng: Rng,
    trace: Trace,
}

impl Operator {
    /// One who is not connected; `None` if the plan has none.
    #[must_use]
    pub fn new(plan: &Plan, mut rng: Rng, trace: Trace) -> Option<Self> {
        let wishes = plan.wishes?;
        let id = plan.parties();
        let core = ClientCore::new(CoreConfig {
            cluster: plan.facts.cluster,
            session: SessionWish::None,
            silence: SILENCE,
            ..CoreConfig::new(key_pair(id))
        });
        Some(Self {
            id,
            wishes,
            policies: plan.policies(),
            core,
            heard: Heard::default(),
            conn: None,
            input: Vec::new(),
            member: rng.below(plan.nodes as u64) as usize,
            nodes: plan.nodes,
            draft: None,
            asked: None,
            progress_at: 0,
            next_at: 0,
            finishing: false,
            rng,
            trace,
        })
    }

    fn connect(&mut self, now: u64, net: &mut Network) {
        self.conn = net.connect(self.id, self.member);
        if self.conn.is_none() {
            return self.turn_away(now);
        }
        let mut nonce = [0; 32];
        self.rng.fill(&mut nonce);
        self.progress_at = now;
        self.core.connected(Nanos(now), nonce, Some(node_pair(self.member).public()));
    }

    /// Another node is tried next.
    fn turn_away(&mut self, now: u64) {
        self.member = (self.member + 1) % self.nodes;
        self.next_at = now + self.rng.spread(100 * Nanos::MICRO, 10 * Nanos::MILLI);
    }

    fn hang_up(&mut self, now: u64, net: &mut Network) {
        let Self { core, heard, .. } = self;
        core.disconnected(&mut |event| heard.hear(event));
        if let Some(conn) = self.conn.take() {
            net.client_close(conn);
        }
        self.input.clear();
        self.turn_away(now);
    }

    fn listen(&mut self, now: u64, conn: u64, net: &mut Network) -> bool {
        let Self { core, input, heard, .. } = self;
        let before = input.len();
        let stands = net.client_take(conn, input);
        let came = input.len() > before;
        let mut on = |event: Event<'_>| heard.hear(event);
        if came {
            let taken = core.receive(Nanos(now), input, &mut on);
            input.drain(..taken);
        }
        core.tick(Nanos(now), &mut on);
        let owed = !self.core.is_signed_in() || self.asked.is_some();
        if !stands || !self.core.is_connected() || owed && self.progress_at + PATIENCE < now {
            self.hang_up(now, net);
            return true;
        }
        came
    }

    /// An answer came, or will not come.
    fn conclude(&mut self, now: u64, net: &mut Network) -> bool {
        let Some(answer) = self.heard.answer.take() else { return false };
        let Some((_, steer)) = self.asked.take() else { return false };
        self.next_at = now + self.rng.spread(self.wishes.calm.0, self.wishes.calm.1);
        match answer {
            Ok(_) => self.trace.mark(match steer {
                Steer::Transfer(_) => "steered: transfer",
                _ => "steered: change",
            }),
            Err(None) => self.trace.mark("steering unanswered"),
            Err(Some(Code::NotLeader)) => {
                self.draft = Some(steer);
                self.hang_up(now, net);
            }
            Err(Some(Code::Busy | Code::NotYet)) => {
                self.trace.mark("steering refused: busy");
                // Some insist.
                self.draft = Some(steer).filter(|_| self.rng.one_in(2));
            }
            Err(Some(_)) => self.trace.mark("steering refused"),
        }
        true
    }

    fn draw(&mut self) -> Steer {
        let Wishes { policy, window, transfer, level, .. } = self.wishes;
        let at = self.rng.below(policy + window + transfer + level);
        match () {
            () if at < policy => Steer::AckPolicy(self.rng.pick(&self.policies)),
            () if at < policy + window => Steer::UnsyncedMax(self.rng.pick(&WINDOWS)),
            () if at >= policy + window + transfer => Steer::Level(1),
            () if self.rng.one_in(3) => Steer::Transfer(None),
            () => Steer::Transfer(Some(NodeId(self.rng.below(self.nodes as u64) as u32))),
        }
    }

    fn wish(&mut self, now: u64) {
        let steer = self.draft.take().unwrap_or_else(|| self.draw());
        match self.core.steer(&steer) {
            Ok(id) => {
                self.trace.say(|| format!("operator asks node {}: {steer:?}", self.member));
                self.progress_at = now;
                self.asked = Some((id, steer));
            }
            Err(_) => self.draft = Some(steer),
        }
    }
}

impl Party for Operator {
    fn step(&mut self, now: u64, net: &mut Network, _history: &mut History) -> bool {
        if self.is_done() {
            return false;
        }
        let Some(conn) = self.conn else {
            let is_time = now >= self.next_at;
            if is_time {
                self.connect(now, net);
            }
            return is_time;
        };
        let mut worked = self.listen(now, conn, net);
        worked |= self.conclude(now, net);
        if !self.finishing && self.core.is_signed_in() && self.asked.is_none() && now >= self.next_at {
            self.wish(now);
            worked = true;
        }
        if let Some(conn) = self.conn {
            let waiting = self.core.outgoing(Nanos(now));
            let len = waiting.len().min(net.client_room(conn));
            net.client_send(conn, &waiting[..len]);
            self.core.sent(len);
            worked |= len > 0;
        }
        worked
    }

    fn finish(&mut self) {
        self.finishing = true;
        self.draft = None;
    }

    fn is_done(&self) -> bool {
        self.finishing && self.asked.is_none()
    }

    fn next_deadline(&self) -> Option<u64> {
        let waits = self.conn.is_some() && (!self.core.is_signed_in() || self.asked.is_some());
        (!self.is_done()).then_some(if waits { self.progress_at + PATIENCE + 1 } else { self.next_at })
    }

    fn describe(&self) -> String {
        format!("operator: asked node {} for {:?}", self.member, self.asked)
    }
}
