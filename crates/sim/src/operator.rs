//! An operator, who changes the cluster while it runs: asks for other policies, another W, another leader, other members,
//! through the production client core and the gateway of whichever node it reaches. In a story it asks for what it is
//! told to, until that is done.

use crate::client::{Party, key_pair};
use crate::history::History;
use crate::net::Network;
use crate::plan::{Plan, Wishes, member, node_pair};
use crate::rng::Rng;
use crate::trace::Trace;
use ordain_client::{ClientCore, CoreConfig, Event, QueryError, QueryId, SessionWish};
use ordain_types::codes::Code;
use ordain_types::configuration::{MemberRole, Seat};
use ordain_types::facts::AckPolicy;
use ordain_types::roster::read_page;
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
    /// Members, as a node told them.
    members: Option<Vec<Seat>>,
}

impl Heard {
    fn hear(&mut self, event: Event<'_>) {
        match event {
            Event::Steered(_, result) => {
                self.answer = Some(result.map_err(|(error, _)| match error {
                    QueryError::Refused(code) => Some(code),
                    QueryError::Disconnected => None,
                }));
            }
            Event::Members(page) => self.members = read_page(page).map(|(_, members)| members),
            _ => {}
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
    /// Nodes that the cluster was made with, and all that may run.
    nodes: usize,
    machines: usize,
    /// The first number that it never saw as a member's.
    unused: usize,
    /// It asked who the members are, and waits.
    looks: bool,
    /// What a story wants done.
    order: Option<Steer>,
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
            machines: plan.machines(),
            unused: plan.nodes,
            looks: false,
            order: None,
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
        self.member = (self.member + 1) % self.machines;
        self.next_at = now + self.rng.spread(100 * Nanos::MICRO, 10 * Nanos::MILLI);
    }

    fn hang_up(&mut self, now: u64, net: &mut Network) {
        let Self { core, heard, .. } = self;
        core.disconnected(&mut |event| heard.hear(event));
        if let Some(conn) = self.conn.take() {
            net.client_close(conn);
        }
        self.input.clear();
        self.looks = false;
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
        let owed = self.waits();
        if !stands || !self.core.is_connected() || owed && self.progress_at + PATIENCE < now {
            self.hang_up(now, net);
            return true;
        }
        came
    }

    fn waits(&self) -> bool {
        !self.core.is_signed_in() || self.asked.is_some() || self.looks
    }

    /// An answer came, or will not come.
    fn conclude(&mut self, now: u64, net: &mut Network) -> bool {
        let Some(answer) = self.heard.answer.take() else { return false };
        let Some((_, steer)) = self.asked.take() else { return false };
        self.next_at = now + self.rng.spread(self.wishes.calm.0, self.wishes.calm.1);
        if answer.is_ok() && self.order.as_ref() == Some(&steer) {
            self.order = None;
        }
        match answer {
            Ok(_) => self.trace.mark(match steer {
                Steer::Transfer(_) => "steered: transfer",
                _ => "steered: change",
            }),
            Err(None) => self.trace.mark("steering unanswered"),
            Err(Some(Code::NotLeader)) => {
                self.draft = Some(steer);
                // Its connection may have ended behind that answer: the next member was chosen then.
                if self.conn.is_some() {
                    self.hang_up(now, net);
                }
            }
            Err(Some(Code::Busy | Code::NotYet)) => {
                self.trace.mark("steering refused: not yet");
                // Some insist.
                self.draft = Some(steer).filter(|_| self.rng.one_in(2));
            }
            Err(Some(_)) => self.trace.mark("steering refused"),
        }
        true
    }

    /// Something to ask for; `None` if there is nothing, or it must be known first who the members are.
    fn draw(&mut self, now: u64) -> Option<Steer> {
        let Wishes { policy, window, transfer, members, level, .. } = self.wishes;
        let sum = policy + window + transfer + members + level;
        if sum == 0 {
            return None;
        }
        if let Some(seats) = self.heard.members.take() {
            self.looks = false;
            return self.draw_member(&seats);
        }
        let at = self.rng.below(sum);
        Some(match () {
            () if at < policy => Steer::AckPolicy(self.rng.pick(&self.policies)),
            () if at < policy + window => Steer::UnsyncedMax(self.rng.pick(&WINDOWS)),
            () if at >= policy + window + transfer + members => Steer::Level(1),
            () if at < policy + window + members => {
                if self.core.discover(NodeId(0)).is_ok() {
                    self.looks = true;
                    self.progress_at = now;
                }
                return None;
            }
            () if self.rng.one_in(3) => Steer::Transfer(None),
            () => Steer::Transfer(Some(self.anybody())),
        })
    }

    fn anybody(&mut self) -> NodeId {
        NodeId(self.rng.below(self.machines as u64) as u32)
    }

    /// A learner is added, becomes a voter, and somebody else goes: one after the other that replaces everybody. Now and
    /// then something senseless, which the leader must refuse or survive.
    fn draw_member(&mut self, seats: &[Seat]) -> Option<Steer> {
        let highest = seats.iter().map(|seat| seat.member.id.0 as usize + 1).max().unwrap_or(0);
        self.unused = self.unused.max(highest);
        let of = |role| seats.iter().filter(move |seat| seat.role == role).map(|seat| seat.member.id);
        let (voters, learners): (Vec<_>, Vec<_>) =
            (of(MemberRole::Voter).collect(), of(MemberRole::Learner).collect());
        if self.rng.one_in(8) {
            let id = self.anybody();
            return Some(match self.rng.below(3) {
                0 => Steer::AddLearner(member(id.0)),
                1 => Steer::Promote(id),
                _ => Steer::Remove(id),
            });
        }
        let is_spare = self.unused < self.machines;
        Some(match () {
            () if !learners.is_empty() && self.rng.one_in(5) => Steer::Remove(self.rng.pick(&learners)),
            () if !learners.is_empty() && voters.len() <= self.nodes => {
                Steer::Promote(self.rng.pick(&learners))
            }
            () if voters.len() > self.nodes => Steer::Remove(self.rng.pick(&voters)),
            () if is_spare && !self.rng.one_in(4) => Steer::AddLearner(member(self.unused as u32)),
            () if voters.len() + 1 >= self.nodes && voters.len() > 2 => Steer::Remove(self.rng.pick(&voters)),
            () => return None,
        })
    }

    fn wish(&mut self, now: u64) -> bool {
        let wanted = self.order.clone().or_else(|| self.draft.take());
        let Some(steer) = wanted.or_else(|| self.draw(now)) else { return self.looks };
        match self.core.steer(&steer) {
            Ok(id) => {
                self.trace.say(|| format!("operator asks node {}: {steer:?}", self.member));
                self.progress_at = now;
                self.asked = Some((id, steer));
            }
            Err(_) => self.draft = Some(steer),
        }
        true
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
        let is_free = !self.waits() || self.asked.is_none() && self.heard.members.is_some();
        if !self.finishing && is_free && now >= self.next_at {
            worked |= self.wish(now);
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
        let idles = self.wishes.members
            + self.wishes.policy
            + self.wishes.window
            + self.wishes.transfer
            + self.wishes.level
            == 0
            && self.order.is_none();
        let next = match () {
            () if self.conn.is_some() && self.waits() => self.progress_at + PATIENCE + 1,
            () if self.conn.is_some() && idles => u64::MAX,
            () => self.next_at,
        };
        (!self.is_done()).then_some(next)
    }

    fn order(&mut self, steer: Option<&Steer>) -> bool {
        self.order = steer.cloned();
        self.draft = None;
        true
    }

    fn is_operator(&self) -> bool {
        true
    }

    fn owes_order(&self) -> bool {
        self.order.is_some()
    }

    fn describe(&self) -> String {
        format!("operator: asked node {} for {:?}", self.member, self.asked)
    }
}
