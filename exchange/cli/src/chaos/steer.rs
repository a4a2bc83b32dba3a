//! The operator: asks for changes of the cluster while it is disturbed, one after the other, until each is done or, where
//! that is all the same, refused.

use super::bed::Bed;
use super::clients::PATIENCE;
use super::plan::Fault;
use crate::error::{CliError, OrNext, Result};
use ordain_client::blocking::{Client, ClientError};
use ordain_client::{ClientConfig, SessionWish};
use ordain_host::members::{self, Members};
use ordain_types::configuration::{MemberRole, Seat};
use ordain_types::facts::AckPolicy;
use ordain_types::members::Member;
use ordain_types::roster::{RosterHead, flag};
use ordain_types::steer::Steer;
use ordain_types::{NodeId, codes::Code};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

/// Between two looks or tries.
const LOOK: Duration = Duration::from_millis(50);
/// How long one answer may take, so that a leader that was cut off is left for another.
const ANSWER: Duration = Duration::from_secs(2);
/// Refusals for good behind which a change is given up: one may cross with what an earlier attempt has done.
const REFUSALS: u32 = 20;

/// A change to make.
#[derive(Clone, Copy, Debug)]
enum Job {
    Transfer,
    Policy(u32, u32),
    /// The node at this place.
    Replace(usize),
}

/// See the module.
pub struct Operator {
    jobs: Mutex<Sender<Job>>,
    asked: AtomicU64,
    done: AtomicU64,
    /// Transfers that were refused, as another change or a fault forbade them.
    refused: AtomicU64,
}

type View = (RosterHead, Vec<Seat>);

impl Operator {
    /// The operator, and what is to be given to [`Operator::work`].
    pub fn new() -> (Self, Jobs) {
        let (sender, jobs) = channel();
        let count = || AtomicU64::new(0);
        (Self { jobs: Mutex::new(sender), asked: count(), done: count(), refused: count() }, Jobs(jobs))
    }

    fn ask(&self, job: Job) {
        self.asked.fetch_add(1, Ordering::Relaxed);
        // Nobody works any more only at the very end.
        let _ = self.jobs.lock().expect("no holder of this lock panics").send(job);
    }

    /// Begins what a plan says, if it is for an operator.
    pub fn begin(&self, fault: Fault, met: Option<usize>) {
        match (fault, met) {
            (Fault::Transfer, _) => self.ask(Job::Transfer),
            (Fault::Policy(received, synced), _) => self.ask(Job::Policy(received, synced)),
            (Fault::Replace(_), Some(node)) => self.ask(Job::Replace(node)),
            _ => {}
        }
    }

    /// Ends it; `usual` is the policy that the cluster was made with.
    pub fn end(&self, fault: Fault, usual: AckPolicy) {
        if let Fault::Policy(..) = fault {
            self.ask(Job::Policy(usual.received, usual.durable));
        }
    }

    /// Whether everything that was asked for is done.
    pub fn is_idle(&self) -> bool {
        self.done.load(Ordering::Relaxed) == self.asked.load(Ordering::Relaxed)
    }

    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Makes the changes, until `ends`.
    pub fn work(&self, jobs: &Jobs, bed: &Bed, config: &ClientConfig, ends: impl Fn() -> bool) -> Result<()> {
        while !ends() {
            let Ok(job) = jobs.0.recv_timeout(LOOK) else { continue };
            let done = match job {
                Job::Transfer => self.transfer(config),
                Job::Policy(received, durable) => policy(config, AckPolicy { received, durable }),
                Job::Replace(place) => replace(config, bed, place),
            };
            done.map_err(|error| CliError::new(format!("{job:?}: {error}"), "The nodes' logs say why."))?;
            self.done.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// A leader may refuse it, and one that cannot hand over goes on.
    fn transfer(&self, config: &ClientConfig) -> Result<()> {
        let until = Instant::now() + ANSWER;
        let mut client = None;
        let asked = loop {
            match with(&mut client, config, |client| client.steer(&Steer::Transfer(None))) {
                // It is sent on to the leader.
                Err(ClientError::Refused(Code::NotLeader, _)) if Instant::now() < until => {}
                asked => break asked,
            }
        };
        self.refused.fetch_add(u64::from(asked.is_err()), Ordering::Relaxed);
        Ok(())
    }
}

/// What is to be done.
pub struct Jobs(Receiver<Job>);

/// Does something with a connection that is kept for the next time: from a node that does not lead it goes on to another.
fn with<T>(
    client: &mut Option<Client>,
    config: &ClientConfig,
    on: impl FnOnce(&mut Client) -> std::result::Result<T, ClientError>,
) -> std::result::Result<T, ClientError> {
    let connected = match client.take() {
        Some(connected) => connected,
        None => {
            let mut config = ClientConfig { timeout: ANSWER, ..config.clone() };
            config.core.session = SessionWish::None;
            // Whoever stands at these addresses today: all that the cluster was made with may have been replaced.
            config.members.iter_mut().for_each(|member| member.key = None);
            Client::connect(&config)?
        }
    };
    on(client.insert(connected))
}

/// Asks for a change until it is there. Whether an attempt that was not answered has been taken shows in the members.
fn insist(config: &ClientConfig, steer: &Steer, is_there: impl Fn(&View) -> bool) -> Result<()> {
    let until = Instant::now() + 2 * PATIENCE;
    let (mut client, mut why, mut refusals) = (None, String::new(), 0);
    while Instant::now() < until {
        let tried = with(&mut client, config, |client| {
            let view = client.members()?;
            if !is_there(&view) {
                client.steer(steer)?;
            }
            client.members()
        });
        match tried {
            Ok(view) if is_there(&view) => return Ok(()),
            Ok(_) => "it is under way".clone_into(&mut why),
            // It may be that an attempt before has succeeded meanwhile.
            Err(ClientError::Refused(
                code @ (Code::Impossible | Code::NotPermitted | Code::Malformed),
                said,
            )) => {
                refusals += 1;
                if refusals > REFUSALS {
                    let what = format!("{steer:?} is refused ({code}): {said}");
                    return Err(CliError::new(what, "Report this."));
                }
                why = said;
            }
            Err(error) => why = error.to_string(),
        }
        std::thread::sleep(LOOK);
    }
    Err(CliError::new(format!("{steer:?} is not done in time: {why}"), "The nodes' logs say why."))
}

fn is_settled(view: &View) -> bool {
    !view.0.has(flag::CHANGING)
}

fn policy(config: &ClientConfig, policy: AckPolicy) -> Result<()> {
    let copies = [policy.received as u8, policy.durable as u8];
    insist(config, &Steer::AckPolicy(policy), |view| is_settled(view) && view.0.copies == copies)
}

/// Removes the node at a place, waits until it has stopped by itself, and puts a new one there.
fn replace(config: &ClientConfig, bed: &Bed, place: usize) -> Result<()> {
    let old = NodeId(bed.number(place));
    let is_gone = |view: &View| is_settled(view) && !view.1.iter().any(|seat| seat.member.id == old);
    bed.leaves(place);
    insist(config, &Steer::Remove(old), is_gone)?;
    let until = Instant::now() + PATIENCE;
    while !bed.has_left(place) {
        if Instant::now() > until {
            return Err(CliError::new(
                format!("node {old} was removed and does not stop"),
                "Its log says why.",
            ));
        }
        std::thread::sleep(LOOK);
    }
    let (head, current, made, facts, founder) = until_told(config)?;
    let _audit = bed.no_audit();
    let next = "Report this.";
    let data = bed.empty(place)?;
    let key = members::new_key(&data).or_next("a new node's directory cannot be made", next)?;
    let (peer, client) = bed.addresses(place);
    let member = Member { id: NodeId(head.next_id.get()), peer, client, key: key.0 };
    let mut joined: Vec<Member> = current.into_iter().map(|seat| seat.member).collect();
    joined.retain(|other| !made.contains(other));
    joined.push(member.clone());
    let file = Members { operator: founder, all: made, joined };
    members::join(&data, &facts, &file).or_next("a new node's directory cannot be made", next)?;
    drop(_audit);
    let id = member.id;
    let role = |view: &View| view.1.iter().find(|seat| seat.member.id == id).map(|seat| seat.role);
    insist(config, &Steer::AddLearner(member), |view| role(view).is_some())?;
    bed.joins(place, id.0);
    insist(config, &Steer::Promote(id), |view| is_settled(view) && role(view) == Some(MemberRole::Voter))
}

type Told = (RosterHead, Vec<Seat>, Vec<Member>, ordain_types::ClusterFacts, ordain_keys::PublicKey);

/// What a new node has to know, from whoever leads.
fn until_told(config: &ClientConfig) -> Result<Told> {
    let (until, mut client) = (Instant::now() + PATIENCE, None);
    loop {
        let told = with(&mut client, config, |client| {
            let (head, current) = client.members()?;
            let made = client.made()?.into_iter().map(|seat| seat.member).collect();
            let (facts, founder) = client.facts()?;
            Ok((head, current, made, facts, founder))
        });
        match told {
            Ok(told) => return Ok(told),
            Err(error) if Instant::now() > until => {
                return Err(CliError::new(
                    format!("the cluster is not told: {error}"),
                    "The nodes' logs say why.",
                ));
            }
            Err(_) => std::thread::sleep(LOOK),
        }
    }
}
