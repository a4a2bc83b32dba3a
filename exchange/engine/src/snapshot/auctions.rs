//! Auctions in snapshots.

use super::{Chunk, LoadError, ensure};
use crate::Engine;
use ordain_exchange_protocol::U32;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned, little_endian::I64};

/// What an instrument's auctions need, where that is something.
#[derive(Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct AuctionItem {
    instrument: U32,
    under_way: u8,
    reserved: [u8; 3],
    reference: I64,
    day_reference: I64,
    low: I64,
    high: I64,
}

const _: () = assert!(size_of::<AuctionItem>() == 40);

/// What is said of an instrument that never had an auction.
fn no_auction(at: usize) -> AuctionItem {
    AuctionItem { instrument: (at as u32 + 1).into(), ..AuctionItem::new_zeroed() }
}

impl Engine {
    pub(super) fn put_auction(&self, at: usize, chunk: &mut Chunk<'_>) {
        let item = self.auction_item(at);
        if self.instruments[at].is_some() && item != no_auction(at) {
            chunk.put(&item);
        }
    }

    /// Whether any instrument has something to say here.
    pub(super) fn has_auctions(&self) -> bool {
        (0..self.calls.len()).any(|at| self.auction_item(at) != no_auction(at))
    }

    fn auction_item(&self, at: usize) -> AuctionItem {
        let call = &self.calls[at];
        AuctionItem {
            instrument: (at as u32 + 1).into(),
            under_way: call.under_way.into(),
            reserved: [0; 3],
            reference: if call.under_way { call.reference } else { 0 }.into(),
            day_reference: call.day_reference.into(),
            low: call.low.into(),
            high: call.high.into(),
        }
    }

    pub(super) fn load_auction(&mut self, item: &AuctionItem) -> Result<(), LoadError> {
        let id = item.instrument.get();
        let instrument = self.instrument(id).map_err(|_| LoadError("an instrument is missing"))?;
        let at = id as usize - 1;
        let prices = [item.reference, item.day_reference, item.low, item.high].map(I64::get);
        let valid = prices.iter().all(|price| (0..=instrument.max_price).contains(price))
            && item.under_way <= 1
            && item.reserved == [0; 3]
            && (item.under_way == 1 || prices[0] == 0)
            && (prices[2] == 0) == (prices[3] == 0)
            && prices[2] <= prices[3];
        ensure(valid && *item != no_auction(at), "an auction is not valid")?;
        ensure(self.auction_item(at) == no_auction(at), "an instrument comes twice")?;
        let call = &mut self.calls[at];
        call.under_way = item.under_way == 1;
        [call.reference, call.day_reference, call.low, call.high] = prices;
        Ok(())
    }

    /// Builds what is derived.
    pub(super) fn rebuild_auctions(&mut self) {
        self.sort_days();
        for id in 1..=self.instruments.len() as u16 {
            if self.instrument(id.into()).is_ok_and(|instrument| instrument.state.is_auction()) {
                self.call_mut(id).said = self.indication(id);
            }
        }
    }
}
