//! Control batches as a build meets them that is older than the one that wrote them.

use ordain_agent::Fatal;
use ordain_apply::Replica;
use ordain_apply::testkit::{Log, facts};
use ordain_counter::{CounterDecoder, CounterEncoder, CounterFactory};
use ordain_types::configuration::Configuration;
use ordain_types::lineage::LineageBreak;
use ordain_types::members::Member;
use ordain_types::{BatchIndex, BatchView, Lineage, NodeId, Stint, Term};

/// What a copy makes of a control batch with this body, behind the genesis.
fn meet(body: &[u8]) -> Result<(), Fatal> {
    let (facts, factory) = (facts(), CounterFactory);
    let (mut log, batches) = Log::new(&facts, &factory);
    let mut copy = Replica::new(&facts, &factory, CounterDecoder, CounterEncoder);
    let control = log.control(body);
    for batch in batches.iter().chain([&control]) {
        let batch = BatchView::parse(batch).unwrap();
        copy.begin_batch(&batch, Stint::ZERO)?;
        while copy.step(&batch, &mut ordain_apply::Discard::default())? == ordain_api::Step::More {}
    }
    Ok(())
}

fn alone() -> Configuration {
    let member = Member { id: NodeId(0), peer: String::new(), client: String::new(), key: [1; 32] };
    Configuration { version: 1, ..Configuration::initial(&facts(), &[member]) }
}

#[test]
fn what_a_newer_build_began_stops_an_older_one() {
    #[track_caller]
    fn stops(body: &[u8], expected: &str) {
        let said = meet(body).unwrap_err().to_string();
        assert!(said.contains(expected) && said.contains("Install the build"), "{said}");
    }
    let mut body = Vec::new();
    Configuration { level: 7, ..alone() }.encode(&mut body);
    stops(&body, "the beginning of level 7, and this build has 1 at most");
    stops(&[9, 1, 0, 0, 0, 0, 0, 0], "a control entry of kind 9, which this build does not know");
    let mut later = body;
    later[1] = 2;
    stops(&later, "a control entry of layout 2, which this build does not read");
}

#[test]
fn what_this_build_knows_is_passed() {
    let mut body = Vec::new();
    Configuration { level: 1, ..alone() }.encode(&mut body);
    meet(&body).unwrap();
    let text = LineageBreak {
        lineage: Lineage(2),
        node: NodeId(0),
        end: (Term(1), BatchIndex(2)),
        batches: 0,
        bytes: 0,
        tips: Vec::new(),
    };
    meet(&text.encode()).unwrap();
}
