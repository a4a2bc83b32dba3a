//! `ordain cluster add|promote|remove|transfer|ack-policy|unsynced-max|level|status`: a running cluster, asked and
//! changed by an operator through any node.

use crate::child;
use crate::error::{CliError, OrNext, Result};
use clap::Args;
use ordain_client::blocking::{Client, ClientError};
use ordain_client::{ClientConfig, Member as Node, SessionWish};
use ordain_host::config::parse_policy;
use ordain_host::members::{self, Members};
use ordain_keys::PublicKey;
use ordain_types::codes::Code;
use ordain_types::configuration::{MemberRole, Seat};
use ordain_types::members::Member;
use ordain_types::roster::{RosterHead, flag};
use ordain_types::steer::Steer;
use ordain_types::{BatchIndex, NodeId};
use serde::Serialize;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// How long a node of `status` may take to answer.
const NODE_PATIENCE: Duration = Duration::from_secs(2);
/// Between two looks at a change that is under way, or two tries of one that must wait.
const LOOK: Duration = Duration::from_millis(50);
/// How long after a transfer was asked for somebody else should lead: a few election time-outs of a slow machine.
const HANDED_OVER: Duration = Duration::from_secs(2);

/// Which cluster, and as whom.
#[derive(Debug, Args)]
pub struct Operator {
    /// Any node of the cluster, HOST:PORT or unix:PATH, or several with commas between them; the others are found
    /// [default: 127.0.0.1:7400]
    #[arg(long, global = true, value_name = "ADDRESS", value_parser = child::address)]
    connect: Option<String>,
    /// Key file of an operator
    #[arg(long, global = true, value_name = "FILE", default_value = "operator.key")]
    key: PathBuf,
    /// Print one JSON object instead of text
    #[arg(long, global = true)]
    json: bool,
    /// Seconds to go on trying while the cluster has no leader or is busy with another change
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 10)]
    patience: u64,
}

/// Makes the data directory of a new node and tells the cluster about it. The node gets the log as a learner: it counts
/// for nothing until it is promoted.
#[derive(Debug, Args)]
pub struct Add {
    /// Data directory to make, for the new node alone. If an earlier `add` made it and did not finish, it is used again
    #[arg(long)]
    dir: PathBuf,
    /// Addresses of the new node, for the other nodes and for clients: HOST:PORT,HOST:PORT
    #[arg(long, value_name = "PEER,CLIENT", value_parser = crate::cluster::member)]
    member: (String, String),
    #[command(flatten)]
    operator: Operator,
}

#[derive(Debug, Args)]
pub struct OfNode {
    /// Number of the member
    id: u32,
    #[command(flatten)]
    operator: Operator,
}

#[derive(Debug, Args)]
pub struct Transfer {
    /// Number of the voter that is to lead; without it, the one that has the most of the log
    id: Option<u32>,
    #[command(flatten)]
    operator: Operator,
}

#[derive(Debug, Args)]
pub struct AckPolicy {
    /// `disk-ram`, `two-disks`, `ram`, `one-disk`, or M/K: M received copies, of which K synced
    policy: String,
    #[command(flatten)]
    operator: Operator,
}

#[derive(Debug, Args)]
pub struct UnsyncedMax {
    /// Batches that a node may hold un-synced and still count as received
    batches: u64,
    #[command(flatten)]
    operator: Operator,
}

#[derive(Debug, Args)]
pub struct Level {
    /// The level, above the one in force
    level: u16,
    #[command(flatten)]
    operator: Operator,
}

/// A member as it is printed.
#[derive(Debug, Serialize)]
struct JsonMember {
    id: u32,
    role: &'static str,
    peer: String,
    client: String,
    key: String,
    leads: bool,
    /// What the node itself says, of `status` alone; null if it does not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    answers: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    term: Option<u64>,
}

/// The cluster as it is printed.
#[derive(Debug, Serialize)]
struct JsonCluster {
    /// The batch that holds the change; absent where nothing was changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    batch: Option<u64>,
    version: u64,
    term: u64,
    leader: Option<u32>,
    received: u8,
    durable: u8,
    wanted_received: u8,
    wanted_durable: u8,
    unsynced_max: u64,
    level: u16,
    changing: bool,
    no_copies: bool,
    members: Vec<JsonMember>,
}

impl Operator {
    /// Whether a cluster is named, and not left to the defaults.
    pub const fn is_named(&self) -> bool {
        self.connect.is_some() || self.json
    }

    /// Whether JSON is to be printed.
    pub const fn json(&self) -> bool {
        self.json
    }

    /// Seconds to go on trying.
    pub fn patience(&self) -> u64 {
        self.patience.max(1)
    }

    pub fn client(&self) -> Result<ClientConfig> {
        child::client(self.connect.as_deref().unwrap_or("127.0.0.1:7400"), &self.key)
    }
}

type View = (RosterHead, Vec<Seat>);

pub const CHECK: &str = "Check --connect, and that --key is an operator's key file of this cluster.";

/// An operator's connection, with patience.
struct Session {
    client: Client,
    until: Instant,
}

impl Session {
    fn open(operator: &Operator) -> Result<Self> {
        let patience = Duration::from_secs(operator.patience());
        let mut config = operator.client()?;
        (config.timeout, config.core.session) = (patience, SessionWish::None);
        let client = Client::connect(&config).or_next("the cluster cannot be asked", CHECK)?;
        Ok(Self { client, until: Instant::now() + patience })
    }

    fn view(&mut self) -> Result<View> {
        self.client.members().or_next("the cluster does not say who its members are", CHECK)
    }

    /// How it is once somebody leads.
    fn led_view(&mut self) -> Result<View> {
        loop {
            let view = self.view()?;
            if view.0.leader().is_some() {
                return Ok(view);
            }
            if Instant::now() >= self.until {
                return Err(CliError::new(
                    "nobody leads",
                    "Start the nodes that are down: `ordain cluster status`.",
                ));
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Tries until it is taken, refused for good, or patience ends; `None` if it may have happened or not.
    fn try_steer(&mut self, steer: &Steer) -> Result<Option<BatchIndex>> {
        loop {
            match self.client.steer(steer) {
                Ok(index) => return Ok(Some(index)),
                Err(ClientError::Unanswered(_)) => return Ok(None),
                Err(ClientError::Refused(code, _)) if self.is_passing(code) => std::thread::sleep(LOOK),
                Err(error @ ClientError::Refused(..)) => return Err(refused(&error)),
                Err(error) => {
                    return Err(CliError::new(format!("the cluster was not changed: {error}"), CHECK));
                }
            }
        }
    }

    fn is_passing(&self, code: Code) -> bool {
        let passes = matches!(
            code,
            Code::NotYet | Code::Busy | Code::NoCopies | Code::NotLeader | Code::Starting | Code::Stopping
        );
        passes && Instant::now() < self.until
    }

    /// Changes the cluster and waits until it is as `is_done` says. What was not answered is looked at: it has
    /// happened, or it is asked for again.
    fn change(&mut self, steer: &Steer, is_done: impl Fn(&View) -> bool) -> Result<(Option<u64>, View)> {
        let view = self.view()?;
        if is_done(&view) {
            return Ok((None, view));
        }
        loop {
            let taken = self.try_steer(steer)?;
            let waits = Instant::now();
            loop {
                let view = self.view()?;
                if is_done(&view) {
                    return Ok((taken.map(|index| index.0), view));
                }
                if Instant::now() >= self.until {
                    return Err(CliError::new(
                        "the change was asked for, but is not done",
                        "Look at `ordain cluster status`; if it says that a change is under way, it goes on by itself \
                         when enough nodes run.",
                    ));
                }
                // Nobody has it: again.
                if taken.is_none() && waits.elapsed() > Duration::from_secs(1) && !view.0.has(flag::CHANGING)
                {
                    break;
                }
                std::thread::sleep(LOOK);
            }
        }
    }
}

fn refused(error: &ClientError) -> CliError {
    let ClientError::Refused(code, _) = error else { unreachable!("the caller looked") };
    let next = match code {
        Code::NotPermitted => "Give --key the key file of an operator.",
        Code::NotYet => {
            "Wait until the change that is under way is done, or the node has caught up: `ordain cluster status`."
        }
        Code::NoCopies | Code::NotLeader => "Start the nodes that are down: `ordain cluster status`.",
        Code::Unsupported => "Run the same build on all nodes and here.",
        _ => "Look at `ordain cluster status`, and ask for something else.",
    };
    CliError::new(format!("the cluster refused: {error}"), next)
}

fn is_settled(view: &View) -> bool {
    !view.0.has(flag::CHANGING)
}

fn role(view: &View, id: u32) -> Option<MemberRole> {
    view.1.iter().find(|seat| seat.member.id.0 == id).map(|seat| seat.role)
}

fn cluster(batch: Option<u64>, (head, members): &View) -> JsonCluster {
    let leader = head.leader().map(|leader| leader.0);
    let member = |Seat { member, role }: &Seat| JsonMember {
        id: member.id.0,
        role: match role {
            MemberRole::Voter => "voter",
            MemberRole::Learner => "learner",
            MemberRole::Witness => "witness",
        },
        peer: member.peer.clone(),
        client: member.client.clone(),
        key: PublicKey(member.key).to_string(),
        leads: leader == Some(member.id.0),
        answers: None,
        version: None,
        term: None,
    };
    JsonCluster {
        batch,
        version: head.version.get(),
        term: head.term.get(),
        leader,
        received: head.copies[0],
        durable: head.copies[1],
        wanted_received: head.wanted[0],
        wanted_durable: head.wanted[1],
        unsynced_max: head.unsynced_max.get(),
        level: head.level.get(),
        changing: head.has(flag::CHANGING),
        no_copies: head.has(flag::NO_COPIES),
        members: members.iter().map(member).collect(),
    }
}

fn print(operator: &Operator, cluster: &JsonCluster, said: &str) -> Result<ExitCode> {
    if operator.json {
        let text = serde_json::to_string(cluster).or_next("the answer is no JSON", "Report this.")?;
        println!("{text}");
    } else {
        print!("{said}{}", describe(cluster));
    }
    Ok(ExitCode::SUCCESS)
}

fn describe(cluster: &JsonCluster) -> String {
    let leader = cluster.leader.map_or_else(|| "nobody leads".to_owned(), |id| format!("node {id} leads"));
    let mut text = format!(
        "{leader}, term {}; configuration {}; answers wait for {} copies, {} of them synced",
        cluster.term, cluster.version, cluster.received, cluster.durable
    );
    if (cluster.received, cluster.durable) != (cluster.wanted_received, cluster.wanted_durable) {
        write!(text, " (wanted: {} and {})", cluster.wanted_received, cluster.wanted_durable)
            .expect("writing to a string cannot fail");
    }
    if cluster.level > 0 {
        write!(text, "; level {}", cluster.level).expect("writing to a string cannot fail");
    }
    text.push('\n');
    if cluster.changing {
        text.push_str("a change is under way\n");
    }
    if cluster.no_copies {
        text.push_str("copies cannot exist at present: new requests are refused\n");
    }
    for member in &cluster.members {
        let JsonMember { id, role, peer, client, .. } = member;
        let state = match (member.answers, member.version) {
            (Some(false), _) => "    does not answer".to_owned(),
            (_, Some(version)) if version < cluster.version => format!("    is at configuration {version}"),
            (Some(true), _) => "    answers".to_owned(),
            _ => String::new(),
        };
        let leads = if member.leads { "    leads" } else { "" };
        writeln!(text, "node {id}    {role}    nodes {peer}    clients {client}{leads}{state}")
            .expect("writing to a string cannot fail");
    }
    text
}

/// The cluster as any node sees it, and of each member whether it answers.
pub fn status(operator: &Operator) -> Result<ExitCode> {
    let mut session = Session::open(operator)?;
    let mut view = session.view()?;
    let base = operator.client()?;
    let looks: Vec<_> = view
        .1
        .iter()
        .map(|seat| {
            let node = Node { address: seat.member.client.clone(), key: Some(PublicKey(seat.member.key)) };
            let mut config = ClientConfig { members: vec![node], discover: false, ..base.clone() };
            (config.timeout, config.connect_timeout) = (NODE_PATIENCE, NODE_PATIENCE);
            config.core.session = SessionWish::None;
            std::thread::spawn(move || Client::connect(&config).ok()?.members().ok())
        })
        .collect();
    let answers: Vec<Option<View>> = looks.into_iter().map(|look| look.join().ok().flatten()).collect();
    // Whoever has seen most says how it is.
    let newest = answers.iter().flatten().max_by_key(|(head, _)| (head.term.get(), head.leader().is_some()));
    if let Some(newest) = newest.filter(|(head, _)| head.version >= view.0.version) {
        view.clone_from(newest);
    }
    let mut shown = cluster(None, &view);
    for member in &mut shown.members {
        let of = answers.iter().flatten().find(|(head, _)| head.node.get() == member.id);
        member.answers = Some(of.is_some());
        member.version = of.map(|(head, _)| head.version.get());
        member.term = of.map(|(head, _)| head.term.get());
    }
    print(operator, &shown, "")
}

pub fn add(add: &Add) -> Result<ExitCode> {
    let operator = &add.operator;
    let mut session = Session::open(operator)?;
    let (head, current) = session.view()?;
    let made = session.client.made().or_next("the cluster does not say what it was made with", CHECK)?;
    let (facts, founder) = session.client.facts().or_next("the cluster does not say its facts", CHECK)?;
    let next = "Name another folder, or remove this one if nobody needs it.";
    let key = members::new_key(&add.dir).or_next("the data directory cannot be made", next)?;
    let present = current.iter().find(|seat| seat.member.key == key.0);
    let (peer, client) = add.member.clone();
    let id = present.map_or(NodeId(head.next_id.get()), |seat| seat.member.id);
    let member = Member { id, peer, client, key: key.0 };
    let all: Vec<Member> = made.into_iter().map(|seat| seat.member).collect();
    let mut joined: Vec<Member> = current.iter().map(|seat| seat.member.clone()).collect();
    joined.retain(|other| !all.contains(other) && other.id != id);
    joined.push(member.clone());
    let file = Members { operator: founder, all, joined };
    members::join(&add.dir, &facts, &file).or_next("the data directory cannot be made", next)?;
    let is_there = |view: &View| view.1.iter().any(|seat| seat.member.key == key.0);
    let (batch, view) = if present.is_some() {
        (None, session.view()?)
    } else {
        session.change(&Steer::AddLearner(member), is_there)?
    };
    let said = format!(
        "node {id} is a learner; its data directory is {dir}\n\nnext:\n  1. Copy {dir} to the machine of the node, where only \
         its user can read it, and remove it here.\n  2. Start it:  ordain node --data DIR\n  3. Make it a voter:  ordain \
         cluster promote {id}\n\n",
        dir = add.dir.display()
    );
    print(operator, &cluster(batch, &view), &said)
}

pub fn promote(of: &OfNode) -> Result<ExitCode> {
    let is_done = |view: &View| is_settled(view) && role(view, of.id) == Some(MemberRole::Voter);
    let said = format!("node {} is a voter\n", of.id);
    run(&of.operator, &Steer::Promote(NodeId(of.id)), is_done, &said)
}

pub fn remove(of: &OfNode) -> Result<ExitCode> {
    let is_done = |view: &View| is_settled(view) && role(view, of.id).is_none();
    let said = format!("node {} is no member any more; stop it, and remove its data directory\n", of.id);
    run(&of.operator, &Steer::Remove(NodeId(of.id)), is_done, &said)
}

pub fn transfer(transfer: &Transfer) -> Result<ExitCode> {
    let mut session = Session::open(&transfer.operator)?;
    let to = transfer.id.map(NodeId);
    loop {
        let before = session.led_view()?;
        if to.is_some() && before.0.leader() == to {
            return print(&transfer.operator, &cluster(None, &before), "");
        }
        let taken = session.try_steer(&Steer::Transfer(to))?;
        let asked = Instant::now();
        // A leader that could not hand over goes on after an election time-out. And whoever leads then may be
        // another than was asked for, or the same again: an election can come between.
        while asked.elapsed() < HANDED_OVER {
            let view = session.view()?;
            let is_other = to.map_or(view.0.leader() != before.0.leader(), |to| view.0.leader() == Some(to));
            let is_news = view.0.term.get() > before.0.term.get() && view.0.leader().is_some();
            if is_news && is_other {
                return print(&transfer.operator, &cluster(taken.map(|index| index.0), &view), "");
            }
            if is_news {
                break;
            }
            std::thread::sleep(LOOK);
        }
        if Instant::now() >= session.until {
            return Err(CliError::new(
                "the lead was not handed over in time",
                "Look at `ordain cluster status`: the other node must run, have the log, and hear the leader.",
            ));
        }
    }
}

pub fn ack_policy(policy: &AckPolicy) -> Result<ExitCode> {
    let mut session = Session::open(&policy.operator)?;
    let (_, members) = session.view()?;
    let voters = members.iter().filter(|seat| seat.role.votes()).count() as u32;
    let Some(wanted) = parse_policy(&policy.policy, voters) else {
        return Err(CliError::new(
            format!("`{}` is no ack policy", policy.policy),
            "Give disk-ram, two-disks, ram, one-disk, or M/K as in 2/1.",
        ));
    };
    let copies = [wanted.received as u8, wanted.durable as u8];
    let is_done = |view: &View| is_settled(view) && view.0.copies == copies;
    let (batch, view) = session.change(&Steer::AckPolicy(wanted), is_done)?;
    print(&policy.operator, &cluster(batch, &view), "")
}

pub fn unsynced_max(of: &UnsyncedMax) -> Result<ExitCode> {
    let is_done = |view: &View| is_settled(view) && view.0.unsynced_max.get() == of.batches;
    run(&of.operator, &Steer::UnsyncedMax(of.batches), is_done, "")
}

pub fn level(of: &Level) -> Result<ExitCode> {
    let is_done = |view: &View| is_settled(view) && view.0.level.get() >= of.level;
    run(&of.operator, &Steer::Level(of.level), is_done, "")
}

fn run(operator: &Operator, steer: &Steer, is_done: impl Fn(&View) -> bool, said: &str) -> Result<ExitCode> {
    let mut session = Session::open(operator)?;
    let (batch, view) = session.change(steer, is_done)?;
    print(operator, &cluster(batch, &view), said)
}
