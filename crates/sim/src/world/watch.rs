//! What a run looks at while it goes on: cursors, frames and replies as they change.

use super::{Node, World};
use crate::disk::Crash;
use crate::history::refusal;
use crate::life::Life;
use crate::shadow::Asked;
use crate::trace::Trace;
use crate::workload::Workload;
use ordain_agent::Fatal;
use ordain_agent::disk::FileId;
use ordain_agent::metrics::Registry;
use ordain_agent::shared::Holder;
use ordain_agent::side::is_side;
use ordain_consensus::{Body, Message};
use ordain_node::journal::{Floor, NodeState, read_state};
use ordain_types::codes::Code;
use ordain_types::frame::{FrameError, ServerFrame, ServerView};
use ordain_types::{BatchIndex, Configuration, NodeId, Term};
use std::sync::Arc;

impl<W: Workload> World<W> {
    pub(super) fn observe(&mut self, node: usize) {
        if self.nodes[node].life.as_ref().is_some_and(Life::is_running) {
            self.check_spot(node);
        }
        let state = &mut self.nodes[node];
        let Some(life) = &mut state.life else { return };
        let cursors = &life.shared;
        if !life.is_running() {
            return;
        }
        if let Some(keep) = state.cutting {
            if cursors.cut.asked(Holder::Journal).is_some() {
                // What it said meanwhile is judged by what it had, and by what it has written meanwhile and keeps.
                let written = cursors.written.load().min(keep);
                self.logs.follow(node, &state.store.lock(), written);
                self.note_whole(node);
                self.hear_sent();
                return self.hear_promises();
            }
            state.cutting = None;
            self.logs.cut(node, keep);
            // What it keeps may have been on its way to the disk when the cut was asked for.
            let store = state.store.lock();
            self.logs.follow(node, &store, cursors.written.load().min(keep));
            if self.logs.known(node).0 >= keep {
                self.logs.nothing_behind(node, &store, keep);
            }
        }
        let seen = (cursors.written.load(), cursors.committed.load());
        let is_fresh = core::mem::take(&mut state.fresh);
        if is_fresh {
            self.logs.succeeded(node, &state.store.lock());
            self.logs.recovered(node, seen.0);
            self.logs.follow(node, &state.store.lock(), seen.0);
            if let Some((file, at, _)) = state.damage.take() {
                let what = format!("node {node} started although {file:?} is damaged at offset {at}");
                self.trace.fail("damage at rest is reported", what);
            }
            if state.evidence {
                let what = format!("node {node} started although it had diverged");
                self.trace.fail("evidence of a divergence is kept", what);
            }
            self.trace.event("recovered", &[node as u64, seen.0]);
            if life.floor.unwrap_or_default() < state.owed_floor {
                let what = format!(
                    "node {node} owed {:?} in its last life and owes {:?}",
                    state.owed_floor, life.floor
                );
                self.trace.fail("a promise floor covers what was acknowledged", what);
            }
            // After anything else than a loss the log still holds what was acknowledged; and who votes for nothing that
            // ends in front of its own log keeps what it promised up to there.
            let owes = core::mem::take(&mut state.owes_promises);
            let kept = life.floor.unwrap_or_default().max(self.logs.end(node));
            if (owes || !life.was_clean) && kept < state.promised {
                let what = format!(
                    "node {node} acknowledged {:?}, owes {:?} and has {:?}",
                    state.promised,
                    life.floor,
                    self.logs.end(node)
                );
                self.trace.fail("a promise floor covers what was acknowledged", what);
            }
        }
        let (commits, before) = (seen.1 > state.seen.1, state.seen.1);
        if seen != state.seen {
            state.seen = seen;
            let store = state.store.lock();
            self.logs.follow(node, &store, seen.0);
            self.logs.commit(node, &store, seen.1);
        }
        if is_fresh {
            let store = state.store.lock();
            self.logs.all_durable(node, &store);
            self.logs.nothing_behind(node, &store, seen.0);
            if life.floor.is_none() {
                self.logs.rejoined(node);
            }
        }
        self.note_whole(node);
        let state = &mut self.nodes[node];
        let Some(life) = &state.life else { return };
        let cursors = &life.shared;
        let owes = life.owes_floor();
        state.robbed &= owes;
        if core::mem::replace(&mut state.owed, owes) && !owes {
            self.logs.rejoined(node);
        }
        let stint = cursors.stint.load();
        let reigns = commits && stint % 2 == 1 && stint == state.stint;
        if stint != state.stint {
            state.stint = stint;
            if stint % 2 == 1 {
                let value = |name| life.registry.value(name).expect("the log stage registers it");
                let (term, last) = (value("ordain_term"), value("ordain_last_batch"));
                self.trace.event("leads", &[node as u64, term]);
                state.term = term;
                // What it answers before it is found out is what it computed.
                self.misled |= self.nodes[node].bent.is_some();
                self.logs.leads(node, term, last);
            }
        }
        if reigns {
            self.hear_commit(node, (before, seen.1));
        }
        self.note_rebuilt(node);
        self.check_mended(node);
        self.hear_sent();
        self.check_trimmed(node);
        self.hear_promises();
    }

    /// Of what a node has trimmed, two nodes hold a snapshot: the disk of either may fail.
    fn check_trimmed(&mut self, node: usize) {
        let Some(life) = &self.nodes[node].life else { return };
        let oldest = life.shared.oldest.load();
        if self.nodes.len() == 1 || oldest <= core::mem::replace(&mut self.nodes[node].oldest, oldest) {
            return;
        }
        self.trace.mark("cluster trimmed");
        // Nobody is told that a disk is lost before the node is back, and makes it up.
        let lost = |node: &Node| if node.blank { node.lost_snapshot } else { 0 };
        let holds = |node: &Node| node.store.lock().newest_snapshot().max(lost(node)) >= oldest;
        let holders = self.nodes.iter().filter(|node| holds(node)).count();
        if holders < 2 {
            let what = format!("node {node} begins at {oldest}, for which {holders} nodes have a snapshot");
            self.trace.fail("two nodes hold what is trimmed", what);
        }
    }

    /// The leader `node` says that what is behind batch `before` up to batch `last` is committed, too.
    fn hear_commit(&mut self, node: usize, (before, last): (u64, u64)) {
        let term = self.nodes[node].term;
        let state = self.stored_state(node);
        let counts_itself = state.is_some_and(|state| state.ack_term.0 == term);
        if let Some(life) = self.nodes[node].life.as_ref().filter(|_| counts_itself) {
            // It counts itself as it counts the others.
            let (written, durable) = (life.shared.written.load(), life.shared.durable.load());
            let window = self.logs.configs(node).window(durable);
            let index = BatchIndex(written.min(durable + window));
            let promised = Floor { term: Term(term), index };
            self.nodes[node].promised = promised.max(self.nodes[node].promised);
        }
        let stores: Vec<_> = self.nodes.iter().map(|node| node.store.clone()).collect();
        let boards = self.boards();
        self.logs.leader_commits(&stores, &boards, (node, term), (before, last), counts_itself);
    }

    /// What each node takes for the last configuration.
    pub(super) fn boards(&self) -> Vec<Option<Arc<Configuration>>> {
        self.nodes.iter().map(|node| node.life.as_ref()?.shared.board.news(&mut 0)).collect()
    }

    /// The node state as the device has it.
    pub(super) fn stored_state(&self, node: usize) -> Option<NodeState> {
        let store = self.nodes[node].store.lock();
        read_state(store.durable(FileId::NodeState)?).ok()
    }

    /// Looks at every frame that left for another node: what it promises must be on disk.
    fn hear_promises(&mut self) {
        let sent = core::mem::take(&mut self.peers.lock().sent);
        for (from, to, frame) in sent {
            if is_side(&frame) {
                continue;
            }
            let Ok((message, _)) = Message::decode(&frame) else {
                return self.trace.fail("nodes send whole frames", format!("node {from} sent {frame:?}"));
            };
            self.check_blank(from, &message);
            let state = self.stored_state(from);
            let voted = |node: usize| {
                state.as_ref().map(|state| (state.term, state.voted_for))
                    == Some((message.term, Some(NodeId(node as u32))))
            };
            let holds = match message.body {
                Body::Vote { .. } => voted(from),
                Body::VoteReply { grant: Some(_), .. } => voted(to),
                Body::Ack { .. } => state.as_ref().is_some_and(|state| state.ack_term == message.term),
                // A blank node that took a later number does not know yet that its disk has it.
                _ => state.as_ref().is_some_and(|state| state.boot >= message.boot),
            };
            let vote = match message.body {
                Body::Vote { .. } => Some(from),
                Body::VoteReply { grant: Some(_), .. } => Some(to),
                _ => None,
            };
            if let Some(candidate) = vote {
                let first = *self.votes.entry((from, message.term.0)).or_insert(candidate);
                if first != candidate {
                    let what =
                        format!("node {from} votes for {first} and {candidate} in term {}", message.term);
                    return self.trace.fail("one vote in a term", what);
                }
            }
            if let Body::Ack { received, durable, .. } = message.body {
                let store = self.nodes[from].store.lock();
                self.logs.acknowledges(from, &store, message.term.0, (received.0, durable.0));
                drop(store);
                let reach = BatchIndex(durable.0 + self.logs.configs(from).window(durable.0));
                let promised = Floor { term: message.term, index: received.min(reach) };
                self.nodes[from].promised = promised.max(self.nodes[from].promised);
            }
            if !holds {
                let what = format!("node {from} sent {message:?} to node {to}; its disk says {state:?}");
                return self.trace.fail("promises are on disk when they leave", what);
            }
        }
    }

    /// Looks at every reply that left a node.
    fn hear_sent(&mut self) {
        let sent = core::mem::take(&mut self.net.lock().sent);
        if sent.is_empty() {
            return;
        }
        let boards = self.boards();
        for (_, conn, bytes) in sent {
            let partial = self.partial.entry(conn).or_default();
            partial.extend_from_slice(&bytes);
            let mut at = 0;
            loop {
                let (view, used) = match ServerView::split(&partial[at..]) {
                    Ok(found) => found,
                    Err(FrameError::Incomplete) => break,
                    Err(FrameError::Malformed(what)) => {
                        return self.trace.fail("nodes send whole frames", what);
                    }
                };
                at += used;
                let header = view.header;
                let code = Code::from_wire(header.code).unwrap_or(Code::Unsupported);
                if code != Code::Executed {
                    self.trace.mark(refusal(code));
                } else if header.kind == ServerFrame::Reply as u8 {
                    let asked =
                        Asked { session: header.session(), number: header.number(), seq: header.seq() };
                    let stores: Vec<_> = self.nodes.iter().map(|node| node.store.clone()).collect();
                    self.logs.reply_leaves(&stores, &boards, asked);
                    self.history.reply_leaves(asked, view.payload, &self.trace);
                }
            }
            partial.drain(..at);
        }
    }

    /// A stage says that its node must stop.
    pub(super) fn node_stopped(&mut self, node: usize, stage: &str, fatal: &Fatal) {
        self.trace.say(|| format!("node {node} stops, {stage}: {fatal}"));
        if fatal.begins_anew {
            self.trace.mark("node began anew");
            self.bring_down(node, Crash::Kill);
            self.nodes[node].restart_at = Some(self.now);
            return;
        }
        if fatal.is_final && fatal.cause.contains("was removed from the cluster") {
            return self.removed(node, &fatal.cause);
        }
        self.check_mended(node);
        let state = &mut self.nodes[node];
        let excused = state.store.lock().failed;
        if let Some((file, at, bit)) = state.damage.take() {
            // The damage was reported: the operator restores the file.
            self.trace.mark("damage reported");
            state.store.lock().flip(file, at, bit);
            return self.bring_down(node, Crash::Kill);
        }
        if state.build < u16::MAX && fatal.to_string().contains("the cluster went on with a newer build") {
            self.trace.mark("older build stopped");
            state.build = u16::MAX;
            return self.bring_down(node, Crash::Kill);
        }
        // It is started again and again until there is room.
        let refused = self.nodes[node].store.lock().refused;
        if !excused && stage == "start" && refused && fatal.to_string().contains("no space") {
            self.trace.mark("start on a full disk");
            return self.bring_down(node, Crash::Kill);
        }
        let is_damaged = !self.nodes[node].rotten.is_empty() || self.nodes[node].spot.is_some();
        if !excused && is_damaged && fatal.to_string().contains("damaged") {
            return self.stopped_for_rot(node, stage, &fatal.to_string());
        }
        if !excused && fatal.to_string().contains("has diverged") {
            return self.diverged(node, stage, &fatal.to_string());
        }
        if !excused {
            return self
                .trace
                .fail("no node stops without a cause", format!("node {node}, {stage}: {fatal}"));
        }
        // After a failed sync the kernel may have dropped what it took, whether or not the machine restarts.
        let how = self.rng.pick(&[Crash::Power(100), Crash::Kill]);
        self.bring_down(node, how);
    }
}

/// Takes the marks that a life's own counters show.
pub(super) fn note_counts(trace: &Trace, registry: &Registry) {
    const MARKS: [(&str, &str); 9] = [
        ("ordain_elections_won_total", "election won"),
        ("ordain_elections_won_weak_total", "election won by weak votes"),
        ("ordain_rejoins_total", "dirty node rejoined"),
        ("ordain_log_cuts_total", "uncommitted suffix cut"),
        ("ordain_log_ticks_total", "tick sealed"),
        ("ordain_requests_repeated_total", "duplicate recognised"),
        ("ordain_snapshot_offers_total", "snapshot offered"),
        ("ordain_snapshot_resumed_total", "snapshot transfer resumed"),
        ("ordain_snapshot_refused_total", "snapshot part refused"),
    ];
    for (metric, mark) in MARKS {
        trace.mark_times(mark, registry.value(metric).unwrap_or(0));
    }
}
