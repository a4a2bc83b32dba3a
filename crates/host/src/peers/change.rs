//! The members of the cluster change while the node runs.

use super::*;

impl TcpPeers {
    /// See [`Peers::set_members`].
    pub(super) fn change(&mut self, members: &[Member], next: NodeId) {
        self.next = next;
        // What was lent before is not any more: links move.
        self.take_back();
        let now = Instant::now();
        let me = self.me.id;
        let nodes: Vec<OtherNode> =
            members.iter().filter(|member| member.id != me).map(OtherNode::from).collect();
        let mut at = 0;
        while at < self.links.len() {
            let link = &mut self.links[at];
            match nodes.iter().find(|node| node.id == link.node.id && node.key == link.node.key) {
                // A connection that stands stays; the next is made to the new address.
                Some(node) => {
                    link.node.address.clone_from(&node.address);
                    at += 1;
                }
                None => self.forget(at),
            }
        }
        for node in nodes {
            if let Err(place) = self.links.binary_search_by_key(&node.id, |link| link.node.id) {
                tracing::info!(node = node.id.0, address = node.address, "a node belongs to the cluster");
                self.links.insert(place, Link::new(node, me, now));
            }
        }
        self.arm(now);
    }

    /// The bytes of the frame lent last are used up.
    pub(super) fn take_back(&mut self) {
        if let Some((at, bytes)) = self.lent.take()
            && let State::Up(conn, _) = &mut self.links[at].state
        {
            conn.consumed += bytes;
        }
    }

    fn forget(&mut self, at: usize) {
        let Link { node, state, .. } = self.links.remove(at);
        tracing::info!(node = node.id.0, "a node belongs to the cluster no more");
        if matches!(state, State::Up(..)) {
            self.changes.push_back(Change::Down(node.id));
            // Nobody else may have news for this thread.
            self.bell.ring();
        }
    }
}
