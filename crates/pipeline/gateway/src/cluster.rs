//! Frames about the cluster itself: who its members are, what it was made with, and an operator's changes.

use crate::ingress::{Frame, Taken, malformed};
use crate::stage::Core;
use ordain_agent::wire::submission;
use ordain_api::{Application, RequestDecoder};
use ordain_types::Term;
use ordain_types::codes::Code;
use ordain_types::frame::{MembersBody, ServerFrame, body};
use ordain_types::record::permission;
use ordain_types::roster::{FactsBody, RosterHead, write_page};
use ordain_types::steer::Steer;
use zerocopy::IntoBytes;

impl<A: Application, D: RequestDecoder<A>> Core<A, D> {
    /// Any node answers, at once, with what it knows: a client looks for the leader by it.
    pub(crate) fn members(&mut self, frame: Frame<'_>) -> Taken {
        let Some(wanted) = body::<MembersBody>(frame.payload).filter(|wanted| wanted.made.get() <= 1) else {
            return malformed("a Members names no number to begin with");
        };
        let first = wanted.first.get();
        let no_copies = self.shared.no_copies.load() == 1;
        let term = Term(self.shared.term.load());
        let cluster = if wanted.made.get() == 1 { &self.config.made } else { &self.cluster };
        let Some(cluster) = cluster else { return self.refuse(frame, Code::Starting, 0) };
        let head = RosterHead::new(cluster, self.config.node, term, self.leader(), no_copies);
        let mut page = std::mem::take(&mut self.page);
        page.clear();
        write_page(&mut page, &head, &cluster.members, first);
        self.own_frame(ServerFrame::Members, Code::Executed, (0, frame.header.number.get(), 0), &page);
        self.page = page;
        Taken::Answered(frame.bytes.len())
    }

    pub(crate) fn cluster_facts(&mut self, slot: u32, frame: Frame<'_>) -> Taken {
        if !frame.payload.is_empty() {
            return malformed("a Facts has no payload");
        }
        if !self.is_operator(slot) {
            return self.refuse(frame, Code::NotPermitted, 0);
        }
        let facts = FactsBody::new(&self.facts, self.config.founder);
        let ids = (0, frame.header.number.get(), 0);
        self.own_frame(ServerFrame::Facts, Code::Executed, ids, facts.as_bytes());
        Taken::Answered(frame.bytes.len())
    }

    /// The log stage judges it; here only whether it is anything, and who asks.
    pub(crate) fn steer(&mut self, slot: u32, frame: Frame<'_>) -> Taken {
        let refusal = if !self.is_operator(slot) {
            Some(Code::NotPermitted)
        } else if Steer::decode(frame.payload).is_none() {
            Some(Code::Malformed)
        } else {
            self.cycle.closed
        };
        match refusal {
            Some(code) => self.refuse(frame, code, 0),
            None => self.ask(slot, frame, submission::STEER),
        }
    }

    pub(crate) fn is_operator(&self, slot: u32) -> bool {
        self.table.get(slot).permissions & permission::OPERATOR != 0
    }
}
