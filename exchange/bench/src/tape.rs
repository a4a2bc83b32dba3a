//! What a flow makes of a book: the flow through the engine, as a tape of adds, cancels and executions.

use crate::flow::{Flow, Settings, setup};
use ordain_exchange_engine::{Audience, Context, Engine, Limits, Sink, Step};
use ordain_exchange_flow::tape::{Event, Kind, Side};
use ordain_exchange_protocol::{Flag, Output, Reply, Request, Side as WireSide, TimeInForce};
use std::collections::BTreeMap;

/// The flow has no clock: requests come at equal distances, nanoseconds.
const APART: u64 = 1_000_000;

/// An order that rests.
#[derive(Clone, Copy)]
struct Resting {
    side: Side,
    price: i64,
    open: u64,
}

/// What one request made happen.
#[derive(Default)]
struct Heard {
    /// The makers' fills.
    fills: Vec<(u64, u64)>,
    /// The reply, if it is about an order and none was refused: order, lots open, and whether it was amended to another
    /// price or given up.
    reply: Option<(u64, u64)>,
}

impl Sink for Heard {
    fn reply(&mut self, bytes: &[u8]) {
        if let Ok(Reply::Order(reply)) = Reply::decode(bytes)
            && reply.code.get() == 0
        {
            self.reply = Some((reply.order_id.get(), reply.remaining.get()));
        }
    }

    fn output(&mut self, _: Audience, bytes: &[u8]) {
        if let Ok(Output::Fill(fill)) = Output::decode(bytes)
            && fill.aggressor == Flag::No
        {
            self.fills.push((fill.order_id.get(), fill.quantity.get()));
        }
    }
}

/// Shows `each` what `requests` requests of a flow of one instrument make of its book.
///
/// # Panics
/// If the settings have more than one instrument.
pub fn tape(settings: &Settings, requests: u64, each: &mut dyn FnMut(&Event)) {
    assert_eq!(settings.instruments, 1, "a tape is of one book");
    let mut engine = Engine::new(Limits::DEFAULT, 1);
    let mut flow = Flow::new(settings);
    let mut book = Book { orders: BTreeMap::new(), time: 0, each };
    let mut seq = 0;
    let mut apply = |bytes: &[u8]| {
        seq += 1;
        let context = Context { seq, time: seq, key: 1, permissions: u32::MAX, session: 0 };
        let request = Request::decode(bytes).expect("the flow's requests are well formed");
        let mut heard = Heard::default();
        let mut step = engine.apply(&context, &request, &mut heard);
        while step == Step::More {
            step = engine.resume(&mut heard);
        }
        heard
    };
    for request in setup(settings, 1) {
        apply(&request);
    }
    for _ in 0..requests {
        let bytes = flow.next_request();
        let heard = apply(bytes);
        book.time += APART;
        book.take(&Request::decode(bytes).expect("it was executed"), &heard);
    }
}

struct Book<'a> {
    orders: BTreeMap<u64, Resting>,
    time: u64,
    each: &'a mut dyn FnMut(&Event),
}

impl Book<'_> {
    fn take(&mut self, request: &Request<'_>, heard: &Heard) {
        // An amended order that loses its place leaves the book before what it trades, and comes back behind that.
        let amended = match (request, heard.reply) {
            (Request::Amend(amend), Some((order, remaining))) => self
                .orders
                .get(&order)
                .copied()
                .map(|old| Resting { price: amend.price.get(), open: remaining, ..old }),
            _ => None,
        };
        let moved = amended.zip(heard.reply).filter(|(new, (order, _))| {
            let old = self.orders[order];
            new.price != old.price || new.open > old.open || !heard.fills.is_empty()
        });
        if let Some((_, (order, _))) = moved {
            self.take_off(Kind::Delete, order, u64::MAX);
        }
        for (order, quantity) in &heard.fills {
            self.take_off(Kind::Execute, *order, *quantity);
        }
        match (request, heard.reply) {
            (Request::NewOrder(order), Some((id, open))) if order.time_in_force == TimeInForce::Gtc => {
                let side = if order.side == WireSide::Buy { Side::Buy } else { Side::Sell };
                self.add(id, Resting { side, price: order.price.get(), open });
            }
            (Request::Cancel(_), Some((id, _))) => self.take_off(Kind::Delete, id, u64::MAX),
            (Request::Amend(_), Some((id, open))) => match (moved, self.orders.get(&id)) {
                (Some((new, _)), _) => self.add(id, new),
                (None, Some(old)) => {
                    let less = old.open - open;
                    self.take_off(if open == 0 { Kind::Delete } else { Kind::Reduce }, id, less);
                }
                (None, None) => {}
            },
            _ => {}
        }
    }

    fn add(&mut self, order: u64, resting: Resting) {
        if resting.open > 0 {
            self.orders.insert(order, resting);
            let Resting { side, price, open } = resting;
            (self.each)(&Event { time: self.time, kind: Kind::Add, order, size: open, price, side });
        }
    }

    fn take_off(&mut self, kind: Kind, order: u64, most: u64) {
        let Some(resting) = self.orders.get_mut(&order) else { return };
        let size = most.min(resting.open);
        if size == 0 {
            return;
        }
        resting.open -= size;
        let Resting { side, price, open } = *resting;
        if open == 0 {
            self.orders.remove(&order);
        }
        (self.each)(&Event { time: self.time, kind, order, size, price, side });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ordain_exchange_flow::measure::Measure;

    /// The tape's book never crosses, executions are at the best price, and the mix is that of the flow.
    #[test]
    fn the_tape_is_that_of_the_flow() {
        let settings = Settings { accounts: 100, instruments: 1, live_max: 500, ..Settings::default() };
        let mut measure = Measure::new(1);
        let mut events = 0;
        tape(&settings, 30_000, &mut |event| {
            let [bid, offer] = measure.best();
            if let (Some(bid), Some(offer)) = (bid, offer) {
                assert!(bid < offer, "{event:?}");
            }
            if event.kind == Kind::Execute {
                let best = if event.side == Side::Buy { bid } else { offer };
                assert_eq!(best, Some(event.price), "{event:?}");
            }
            measure.take(event, None);
            events += 1;
        });
        let marginals = measure.finish();
        assert_eq!(marginals.mix.iter().sum::<u64>() + marginals.mix[4], events);
        let [adds, reduces, deletes, executions, replaces] = marginals.mix;
        assert!(adds > 8_000 && deletes > 2_000 && executions > 2_000, "{:?}", marginals.mix);
        assert!(reduces > 500 && replaces > 500, "{:?}", marginals.mix);
        assert!(marginals.unfinished > 50 && marginals.unfinished <= 500, "{}", marginals.unfinished);
    }
}
