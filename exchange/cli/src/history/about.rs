//! Which order it is that something is said of.

use ordain_exchange_protocol::{FillReport, Flag, OrderReply, Output, Reply, Side};

/// An order, as reports name it.
#[derive(Clone, Copy, Debug)]
pub struct About {
    pub account: u32,
    pub instrument: u32,
    pub order_id: u64,
    pub client_order_id: u64,
    pub side: Side,
    /// Ticks; of a fill, the trade's.
    pub price: i64,
}

/// The order that an output is about, if it is about one.
pub fn of_output(output: &Output<'_>) -> Option<About> {
    macro_rules! about {
        ($report:ident) => {
            About {
                account: $report.account.get(),
                instrument: $report.instrument.get(),
                order_id: $report.order_id.get(),
                client_order_id: $report.client_order_id.get(),
                side: $report.side,
                price: $report.price.get(),
            }
        };
    }
    Some(match output {
        Output::Fill(report) => about!(report),
        Output::Cancel(report) => about!(report),
        Output::Prevent(report) => about!(report),
        Output::Trigger(report) => about!(report),
        _ => return None,
    })
}

/// What a reply says about an order, in either layout.
pub fn reply(bytes: &[u8]) -> Option<OrderReply> {
    match Reply::decode(bytes).ok()? {
        Reply::Order(reply) => Some(*reply),
        Reply::Order2(reply) => Some(reply.first()),
        _ => None,
    }
}

/// The other side of a fill among what was said in the same event.
pub fn counterpart<'a>(fill: &FillReport, outputs: &'a [Vec<u8>]) -> Option<&'a FillReport> {
    outputs.iter().find_map(|bytes| match Output::decode(bytes) {
        Ok(Output::Fill(other)) if other.index == fill.index && other.side != fill.side => Some(other),
        _ => None,
    })
}

/// Who of the two took; in an auction nobody did.
pub const fn aggressor(buyer: &FillReport, seller: &FillReport) -> Option<Side> {
    match (buyer.aggressor, seller.aggressor) {
        (Flag::Yes, _) => Some(Side::Buy),
        (_, Flag::Yes) => Some(Side::Sell),
        _ => None,
    }
}
