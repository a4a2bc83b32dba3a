//! Fetching ahead: what the next commands will touch is brought into the cache while nothing waits for it.
//!
//! A command touches some ten cache lines, most of them far from the processor, and finds many only by way of others.
//! Executed one after the other, commands wait for each line in turn. Looked up for a group of commands round by round,
//! all waits of a round are one. These are ordinary loads, into a sum that nobody uses.

use crate::Engine;
use crate::index::Hash;
use crate::levels::key;
use crate::orders::NONE;
use ordain_exchange_protocol::{NewOrder, OrderRef, OrderType, Request};
use std::hint::black_box;

/// Commands of a group: so many waits fit side by side, and what they fetch stays in the nearest cache.
const GROUP_MAX: usize = 8;

/// What a command names, and what was found by it.
#[derive(Clone, Copy)]
struct Hint<'a> {
    new: Option<&'a NewOrder>,
    account: u32,
    hash: Hash,
    /// Of a cancel or an amend: the order. Of a new order: the one it would trade with or stand behind.
    slot: u32,
}

impl<'a> Hint<'a> {
    /// `None` of a command that is rare.
    #[inline]
    fn new(engine: &Engine, request: &Request<'a>) -> Option<Self> {
        let (new, account, order) = match request {
            Request::NewOrder(message) => {
                (Some(*message), message.account.get(), OrderRef::Client(message.client_order_id.get()))
            }
            Request::Cancel(message) => (None, message.account.get(), message.order()),
            Request::Amend(message) => (None, message.account.get(), message.order()),
            _ => return None,
        };
        Some(match order {
            OrderRef::Id(id) => Self { new, account, hash: Hash::default(), slot: id as u32 },
            OrderRef::Client(id) => Self { new, account, hash: engine.index.hash(account, id), slot: NONE },
        })
    }
}

impl Engine {
    /// Brings into the cache what these commands will need, the first eight of them. To be called right before they are
    /// executed: what others change before them may make it useless, which costs a little time and nothing else.
    ///
    /// Changes nothing and says nothing, so no output depends on whether, when and for which commands it is called.
    #[inline]
    pub fn warm<'a>(&self, requests: impl IntoIterator<Item = Request<'a>>) {
        let mut group = [None; GROUP_MAX];
        let mut sum = 0;
        for (place, request) in group.iter_mut().zip(requests) {
            *place = Hint::new(self, &request);
            if let Some(hint) = place {
                sum ^= self.index.fetch(hint.hash) ^ u64::from(self.newest_of(hint.account));
            }
        }
        for hint in group.iter_mut().flatten() {
            sum ^= match hint.new {
                Some(message) => self.fetch_place(message, &mut hint.slot),
                None => self.fetch_order(hint.hash, &mut hint.slot),
            };
        }
        for hint in group.iter().flatten() {
            sum ^= self.fetch_around(hint);
        }
        black_box(sum);
    }

    /// The order that the account entered last.
    #[inline]
    fn newest_of(&self, account: u32) -> u32 {
        self.accounts.get(account as usize).map_or(NONE, |account| account.tail)
    }

    #[inline]
    fn fetch_slot(&self, slot: u32) -> u64 {
        self.orders.slots.get(slot as usize).map_or(0, |order| order.remaining)
    }

    /// The order of a cancel or an amend.
    #[inline]
    fn fetch_order(&self, hash: Hash, slot: &mut u32) -> u64 {
        if *slot == NONE {
            *slot = self.index.guess(hash).unwrap_or(NONE);
        }
        self.fetch_slot(*slot)
    }

    /// Where a new order will go: the level that it meets or joins, what pays for it, the account's newest order.
    #[inline]
    fn fetch_place(&self, message: &NewOrder, slot: &mut u32) -> u64 {
        let (account, side, price) = (message.account.get(), message.side, message.price.get());
        let Ok(instrument) = self.instrument(message.instrument.get()) else { return 0 };
        if account > self.limits.accounts || price < 0 {
            return 0;
        }
        let opposite = side.opposite();
        let meets = |best: i64| message.order_type == OrderType::Market || best >= key(opposite, price);
        *slot = match self.levels.best(instrument.ladder(opposite)) {
            Some((best, level)) if meets(best) => self.levels.get(level).head,
            _ => {
                let level = self.levels.find(instrument.ladder(side), key(side, price));
                level.map_or(NONE, |level| self.levels.get(level).tail)
            }
        };
        let paid_from = self.ledger.at(account, instrument.paid_in(side));
        self.ledger.free(paid_from) ^ self.fetch_slot(self.newest_of(account))
    }

    /// What lies around the order found. Of one that will be closed or moved: its balance, its level, the orders linked
    /// with it. Of one that will be traded with: its owner and the owner's balances.
    #[inline]
    fn fetch_around(&self, hint: &Hint<'_>) -> u64 {
        let Some(order) = self
            .orders
            .slots
            .get(hint.slot as usize)
            .filter(|order| order.account != 0 && order.level != NONE && !order.traits.waits())
        else {
            return 0;
        };
        let instrument = self.live_instrument(order.instrument);
        let free = |currency: u32| self.ledger.free(self.ledger.at(order.account, currency));
        match hint.new {
            Some(message) if message.side == order.side => order.remaining,
            Some(_) => {
                free(instrument.base) ^ free(instrument.quote) ^ u64::from(self.newest_of(order.account))
            }
            None => {
                [order.previous, order.next, order.account_previous, order.account_next]
                    .iter()
                    .fold(self.levels.get(order.level).quantity, |sum, slot| sum ^ self.fetch_slot(*slot))
                    ^ free(instrument.paid_in(order.side))
            }
        }
    }
}
