//! The slab of orders.

use ordain_exchange_protocol::{OrderType, PostOnly, SelfTrade, Side, TimeInForce};
use zerocopy::{FromZeros, Immutable, KnownLayout};

/// No slot, no level.
pub(crate) const NONE: u32 = u32::MAX;

/// What an order is, in a byte: post-only in the lowest two bits, self-trade mode in the three above.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Traits(u8);

impl Traits {
    const SELF_TRADE: u32 = 2;
    /// There is more about it in its [`Extra`].
    const EXTRA: u8 = 1 << 5;
    /// It waits, for a trigger or for its auction, and is in no book.
    const WAITS: u8 = 1 << 6;
    /// It is on the list of its session. Not in snapshots, which have these lists.
    const OF_SESSION: u8 = 1 << 7;

    #[inline]
    pub const fn new(post_only: PostOnly, self_trade: SelfTrade) -> Self {
        Self(post_only as u8 | (self_trade as u8) << Self::SELF_TRADE)
    }

    #[inline]
    pub const fn with_extra(self) -> Self {
        Self(self.0 | Self::EXTRA)
    }

    #[inline]
    pub const fn waiting(self) -> Self {
        Self(self.0 | Self::EXTRA | Self::WAITS)
    }

    #[inline]
    pub const fn has_extra(self) -> bool {
        self.0 & Self::EXTRA != 0
    }

    #[inline]
    pub const fn waits(self) -> bool {
        self.0 & Self::WAITS != 0
    }

    #[inline]
    pub const fn is_of_session(self) -> bool {
        self.0 & Self::OF_SESSION != 0
    }

    pub const fn of_session(self, is: bool) -> Self {
        Self(self.0 & !Self::OF_SESSION | if is { Self::OF_SESSION } else { 0 })
    }

    /// The same of an order that does not wait any more.
    #[inline]
    pub const fn no_longer_waiting(self, has_extra: bool) -> Self {
        let extra = if has_extra { Self::EXTRA } else { 0 };
        Self(self.0 & !(Self::EXTRA | Self::WAITS) | extra)
    }

    #[inline]
    pub const fn post_only(self) -> PostOnly {
        match self.0 & 3 {
            0 => PostOnly::No,
            1 => PostOnly::Reject,
            _ => PostOnly::Reprice,
        }
    }

    #[inline]
    pub const fn self_trade(self) -> SelfTrade {
        match self.0 >> Self::SELF_TRADE & 7 {
            0 => SelfTrade::Default,
            1 => SelfTrade::Allow,
            2 => SelfTrade::CancelTaker,
            3 => SelfTrade::CancelMaker,
            4 => SelfTrade::CancelBoth,
            _ => SelfTrade::Decrement,
        }
    }

    /// The byte, as snapshots have it.
    pub const fn to_byte(self) -> u8 {
        self.0 & !Self::OF_SESSION
    }

    /// What a snapshot has, if it is valid.
    pub const fn from_byte(byte: u8) -> Option<Self> {
        let traits = Self(byte);
        let known = byte & 3 <= 2 && byte >> Self::SELF_TRADE & 7 <= 5 && byte & Self::OF_SESSION == 0;
        let sound = !traits.waits() || (traits.has_extra() && byte & 3 == 0);
        if known && sound { Some(traits) } else { None }
    }
}

/// An order, one cache line.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(crate) struct Order {
    pub client_order_id: u64,
    pub price: i64,
    /// Lots that can be traded with: of an iceberg those that it shows.
    pub remaining: u64,
    pub cumulative: u64,
    /// 0 if the slot is not a listed order.
    pub account: u32,
    /// How often the slot was taken; 0 never.
    pub generation: u32,
    /// Neighbours in the queue of the level. In a free slot `next` is the slot freed before it.
    pub previous: u32,
    pub next: u32,
    /// Neighbours among the account's orders, in order of entry.
    pub account_previous: u32,
    pub account_next: u32,
    pub level: u32,
    pub instrument: u16,
    pub side: Side,
    pub traits: Traits,
}

const _: () = assert!(size_of::<Order>() == 64);

impl Order {
    pub const EMPTY: Self = Self {
        client_order_id: 0,
        price: 0,
        remaining: 0,
        cumulative: 0,
        account: 0,
        generation: 0,
        previous: NONE,
        next: NONE,
        account_previous: NONE,
        account_next: NONE,
        level: NONE,
        instrument: 0,
        side: Side::Buy,
        traits: Traits(0),
    };
}

/// What few orders have: icebergs, those that wait, those that end at a time or with the day. Lies beside the slab, and no memory of it
/// becomes resident for orders that have none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromZeros, KnownLayout, Immutable)]
#[repr(C)]
pub(crate) struct Extra {
    /// Lots left that the book does not show.
    pub hidden: u64,
    /// Lots shown at a time; 0 for all.
    pub display: u64,
    /// Price of the trade that it waits for; 0 if it waits for none.
    pub trigger: i64,
    /// Log time of its end; 0 for never.
    pub expiry: u64,
    /// How many orders had been accepted with it: what came first among those that end at one time.
    pub accepted: u64,
    /// One more than its place in the heap of expiries; 0 if it is not in.
    pub place: u32,
    /// Neighbours among the orders of its instrument that end with the day.
    pub day_previous: u32,
    pub day_next: u32,
    /// A type's number; 0 if this is no order's.
    pub kind: u8,
    /// Number of the time in force if that ends with the day, else 0.
    pub day: u8,
    pub reserved: [u8; 2],
}

const _: () = assert!(size_of::<Extra>() == 56);

impl Extra {
    pub const NONE: Self = Self {
        hidden: 0,
        display: 0,
        trigger: 0,
        expiry: 0,
        accepted: 0,
        place: 0,
        day_previous: 0,
        day_next: 0,
        kind: 0,
        day: 0,
        reserved: [0; 2],
    };

    pub const fn order_type(&self) -> OrderType {
        match self.kind {
            2 => OrderType::Market,
            4 => OrderType::Stop,
            5 => OrderType::StopLimit,
            6 => OrderType::MarketIfTouched,
            7 => OrderType::LimitIfTouched,
            _ => OrderType::Limit,
        }
    }

    pub const fn time_in_force(&self) -> TimeInForce {
        match self.day {
            4 => TimeInForce::Day,
            6 => TimeInForce::Ato,
            7 => TimeInForce::Atc,
            _ if self.expiry != 0 => TimeInForce::Gtd,
            _ => TimeInForce::Gtc,
        }
    }

    /// Whether it is a market order, which is for an auction and has a place of its own there.
    #[inline]
    pub const fn is_market(&self) -> bool {
        self.kind == OrderType::Market as u8
    }
}

/// All orders. Which slot comes next is part of the state, since clients see it in order ids.
pub(crate) struct Orders {
    pub slots: Vec<Order>,
    /// By slot; means something where the order's traits say so.
    pub extras: Vec<Extra>,
    /// The slot freed last.
    pub free: u32,
    pub live: u32,
    limit: u32,
}

impl Orders {
    pub fn new(limit: u32) -> Self {
        let extras = Extra::new_vec_zeroed(limit as usize).expect("memory for the orders at start");
        Self { slots: Vec::with_capacity(limit as usize), extras, free: NONE, live: 0, limit }
    }

    #[inline]
    pub fn is_full(&self) -> bool {
        self.live == self.limit
    }

    /// Takes a slot: the one freed last, else the lowest that was never taken.
    #[inline]
    pub fn take(&mut self) -> u32 {
        assert!(!self.is_full(), "room was checked");
        self.live += 1;
        let slot = if self.free == NONE {
            self.slots.push(Order::EMPTY);
            self.slots.len() as u32 - 1
        } else {
            let slot = self.free;
            self.free = self.slots[slot as usize].next;
            slot
        };
        let order = &mut self.slots[slot as usize];
        order.generation = order.generation.checked_add(1).unwrap_or(1);
        slot
    }

    /// Gives a slot back.
    #[inline]
    pub fn give_back(&mut self, slot: u32) {
        let free = self.free;
        let order = &mut self.slots[slot as usize];
        order.account = 0;
        order.next = free;
        self.free = slot;
        self.live -= 1;
    }

    #[inline]
    pub fn id(&self, slot: u32) -> u64 {
        u64::from(self.slots[slot as usize].generation) << 32 | u64::from(slot)
    }

    /// The slot of a listed order.
    #[inline]
    pub fn find(&self, id: u64) -> Option<u32> {
        let order = self.slots.get(id as u32 as usize)?;
        (order.account != 0 && u64::from(order.generation) == id >> 32).then_some(id as u32)
    }

    #[inline]
    pub fn get(&self, slot: u32) -> &Order {
        &self.slots[slot as usize]
    }

    #[inline]
    pub fn get_mut(&mut self, slot: u32) -> &mut Order {
        &mut self.slots[slot as usize]
    }

    /// What few orders have, of an order that has it.
    #[inline]
    pub fn extra(&self, slot: u32) -> Option<&Extra> {
        self.get(slot).traits.has_extra().then(|| &self.extras[slot as usize])
    }

    /// Lots left that the book does not show.
    #[inline]
    pub fn hidden(&self, slot: u32) -> u64 {
        self.extra(slot).map_or(0, |extra| extra.hidden)
    }

    /// All lots left.
    #[inline]
    pub fn left(&self, slot: u32) -> u64 {
        self.get(slot).remaining + self.hidden(slot)
    }
}
