//! With whom a node lets itself be connected as it starts.

mod common;

use common::member;
use ordain_agent::peer::{PeerEvent, Peers};
use ordain_types::configuration::Stage;
use ordain_types::members::Member;
use ordain_types::{BatchIndex, Configuration, NodeId};
use std::sync::{Arc, Mutex};

/// Remembers whom it was last told to let in.
#[derive(Clone, Default)]
struct Door(Arc<Mutex<Vec<u32>>>);

impl Peers for Door {
    fn poll(&mut self) -> Option<PeerEvent<'_>> {
        None
    }

    fn set_members(&mut self, members: &[Member], _next: NodeId) {
        *self.0.lock().unwrap() = members.iter().map(|member| member.id.0).collect();
    }

    fn room(&self, _to: NodeId) -> usize {
        0
    }

    fn send(&mut self, _to: NodeId, _head: &[u8], _body: &[u8]) -> bool {
        false
    }
}

/// Whom a node with these configurations in its log lets in, of which the first is known to be committed.
fn lets_in(configurations: Vec<(BatchIndex, Configuration)>) -> Vec<u32> {
    let door = Door::default();
    let _log = common::log(common::facts(3), configurations, door.clone(), (0, BatchIndex(2)));
    door.0.lock().unwrap().clone()
}

#[test]
fn who_leaves_is_let_in_until_that_is_committed_also_behind_a_start() {
    let first = Configuration::initial(&common::facts(3), &[member(0), member(1), member(2)]);
    let without = |id: u32| {
        let mut next = Configuration { version: first.version + 1, stage: Stage::Changed, ..first.clone() };
        next.members.retain(|seat| seat.member.id != NodeId(id));
        next
    };
    assert_eq!(lets_in(vec![(BatchIndex(0), first.clone())]), [0, 1, 2]);
    // A later leader may cut it off: who is told that it was removed stops for good.
    assert_eq!(lets_in(vec![(BatchIndex(0), first.clone()), (BatchIndex(2), without(2))]), [0, 1, 2]);
    assert_eq!(lets_in(vec![(BatchIndex(2), without(2))]), [0, 1]);
}
