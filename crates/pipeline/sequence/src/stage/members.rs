//! Configurations: sealing those that consensus asks for, and following those that the log has.

use super::{Log, Other, Peers, Put, Way};
use ordain_agent::Fatal;
use ordain_types::batch::BatchKind;
use ordain_types::members::Member;
use ordain_types::{Configuration, Nanos, NodeId};

/// How long a node that was removed goes on after it knows: whoever leads next is named to its clients meanwhile, and
/// what it sent arrives.
const LEAVES_AFTER: u64 = Nanos::SECOND;

/// Whether node `id` was a member and is none any more, by a configuration that is committed. Numbers are never used
/// twice.
fn is_removed(settled: &Configuration, id: NodeId) -> bool {
    id < settled.next_id && settled.find(id).is_none()
}

/// A node that was removed and is about to stop.
#[derive(Debug, Default)]
pub(super) struct Leaving {
    /// Who says so.
    why: Option<String>,
    since: Option<Nanos>,
}

impl Leaving {
    fn told(&mut self, why: impl Into<String>) {
        self.why.get_or_insert_with(|| why.into());
    }

    /// When it stops.
    pub(super) fn due(&self) -> Option<Nanos> {
        self.since.map(|since| since.plus(LEAVES_AFTER))
    }

    /// Time passes.
    pub(super) fn look(&mut self, id: NodeId, now: Nanos) -> Result<(), Fatal> {
        let Some(why) = &self.why else { return Ok(()) };
        if self.since.is_none() {
            self.since = Some(now);
            tracing::warn!(why, "this node was removed from the cluster and stops in a moment");
        }
        if self.due().is_none_or(|due| now < due) {
            return Ok(());
        }
        Err(Fatal::new(
            format!("this node, number {id}, was removed from the cluster: {why}"),
            "Do not start it again, and remove its data directory. A machine comes back as a new member: \
             `ordain cluster add`",
        )
        .for_good())
    }
}

impl<P: Peers> Log<P> {
    /// A member says that this node was removed.
    pub(super) fn removed_by(&mut self, member: NodeId) {
        self.leaving.told(format!("node {member} says so"));
    }

    /// The other node of that number, new if it was never met. Nodes are not forgotten: their metrics stay.
    pub(super) fn meet(&mut self, id: NodeId) {
        if self.others.iter().any(|other| other.id == id) {
            return;
        }
        let number = id.0.to_string();
        let gauge = |name, help| self.registry.labelled(name, ("peer", &number), help);
        self.others.push(Other {
            id,
            votes: false,
            way: Way::default(),
            is_up: false,
            told: 0,
            up: gauge("ordain_peer_up", "1 while the connection with the node stands."),
            received: gauge("ordain_peer_received_batch", "Of a leader: last batch that the node has."),
            durable: gauge("ordain_peer_durable_batch", "Of a leader: last batch that its disk has."),
        });
    }

    /// The log's last configuration is another one, or is committed now.
    pub(super) fn seat(&mut self, is_settled: bool) {
        let latest = self.core.configuration();
        tracing::info!(
            version = latest.version,
            stage = ?latest.stage,
            members = ?latest.members.iter().map(|seat| (seat.member.id.0, seat.role)).collect::<Vec<_>>(),
            copies = ?latest.copies(),
            unsynced_max = latest.unsynced_max,
            is_settled,
            "the cluster's configuration"
        );
        self.shared.board.post(latest.clone());
        self.metrics.configuration.set(latest.version);
        self.know_members();
        if is_removed(self.core.settled_configuration(), self.core.id()) {
            self.leaving.told("the log says so");
        }
    }

    /// Says with whom there may be connections.
    pub(super) fn know_members(&mut self) {
        let (latest, settled) = (self.core.configuration(), self.core.settled_configuration());
        let mut members: Vec<Member> = latest.members.iter().map(|seat| seat.member.clone()).collect();
        let mut know = |member: &Member| {
            if !members.iter().any(|known| known.id == member.id) {
                members.push(member.clone());
            }
        };
        // Who leaves stays until that is committed. And a node that catches up goes through configurations of the
        // past, in which whoever serves it may be unknown: it knows whom its operator named and whom others told it of, as
        // long as the log has not given out the number. Numbers are never used twice, so that nobody who was removed
        // comes back by this.
        let leaving = settled.members.iter().map(|seat| &seat.member);
        leaving.filter(|_| settled.version != latest.version).for_each(&mut know);
        self.contacts.iter().filter(|member| member.id >= latest.next_id).for_each(&mut know);
        self.roster.unknown(latest.next_id).for_each(&mut know);
        members.sort_unstable_by_key(|member| member.id);
        let (me, next) = (self.core.id(), latest.next_id);
        members.iter().filter(|member| member.id != me).for_each(|member| self.meet(member.id));
        let latest = self.core.configuration();
        self.others.iter_mut().for_each(|other| other.votes = latest.votes(other.id));
        self.peers.set_members(&members, next);
    }

    /// Seals the configuration that is due, behind what is being filled.
    pub(super) fn seal_due(&mut self) -> Put {
        let Some(configuration) = self.core.due().cloned() else { return Put::Done };
        let mut body = Vec::new();
        configuration.encode(&mut body);
        self.writer.seal(BatchKind::Data);
        let put = self.writer.seal_body(BatchKind::Control, &body);
        self.tell_sealed();
        if put == Put::Done {
            self.core.configured(self.writer.tail().index, configuration);
        }
        put
    }
}
