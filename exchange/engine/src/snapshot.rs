//! The state as bytes and back. Layout: `docs/format/exchange-snapshot.md`.
//!
//! A snapshot is a run of chunks. A chunk is a head ([`Head`]) and items of one kind, all little-endian.
//! Sections come in the order of [`Section`]. Only what is state is in it: levels, indexes and totals are
//! built anew. Slots, free ones included, and transfers keep their order, so equal states give equal bytes.

mod auctions;
mod bands;
mod readers;
mod rebuild;
mod schedules;
mod sessions;

use crate::access::AccessItem;
use crate::accounts::Account;
use crate::feed::Feeds;
use crate::fees::Fees;
use crate::keys::Keys;
use crate::ledger::Balance;
use crate::orders::{Extra, Order, Traits};
use crate::transfers::Executed;
use crate::{Engine, KEYS_PER_ACCOUNT, Step};
use core::fmt;
use ordain_exchange_protocol::{Definition, MarketState, SelfTrade, Side, U16, U32, U64};
use zerocopy::{
    FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, TryFromBytes, Unaligned, little_endian::I64,
};

/// Bytes that a chunk's items may take, so that a chunk stays within 64 KiB.
const CHUNK_BYTES: usize = 60 * 1024;
/// Most balances that one step looks at, most of which are empty.
const SCAN_MAX: usize = 1 << 16;

/// What a chunk holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Section {
    Summary = 0,
    Supplies = 1,
    Instruments = 2,
    Accounts = 3,
    Balances = 4,
    Slots = 5,
    Transfers = 6,
    Trading = 7,
    Extras = 8,
    Groups = 9,
    Accesses = 10,
    Auctions = 11,
    Bands = 12,
    Buckets = 13,
    Schedules = 14,
    Parties = 15,
    GrossLimits = 16,
    Pairs = 17,
    FeeSchedules = 18,
    Fees = 19,
    Sessions = 20,
    OrdersOfSessions = 21,
    Readers = 22,
}

impl Section {
    const ALL: [Self; 23] = [
        Self::Summary,
        Self::Supplies,
        Self::Instruments,
        Self::Accounts,
        Self::Balances,
        Self::Slots,
        Self::Transfers,
        Self::Trading,
        Self::Extras,
        Self::Groups,
        Self::Accesses,
        Self::Auctions,
        Self::Bands,
        Self::Buckets,
        Self::Schedules,
        Self::Parties,
        Self::GrossLimits,
        Self::Pairs,
        Self::FeeSchedules,
        Self::Fees,
        Self::Sessions,
        Self::OrdersOfSessions,
        Self::Readers,
    ];
    /// Those from here on are left out from the first behind which all are empty.
    const OPTIONAL: u32 = Self::Accesses as u32;
    /// The last one of the first form, whose summary says nothing of sections.
    const LAST_OF_FIRST: u32 = Self::Transfers as u32;
}

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Head {
    section: U32,
    items: U32,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Summary {
    /// The limits in the order of their fields.
    limits: [U32; 7],
    instruments: U32,
    accounts: U32,
    slots: U32,
    live: U32,
    /// Slot freed last.
    free: U32,
    transfers: U32,
    /// How many sections there are; 0 stands for 7.
    sections: U32,
    accepted: U64,
    trades: U64,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct AccountItem {
    account: U32,
    key_count: U32,
    keys: [U32; KEYS_PER_ACCOUNT],
}

impl AccountItem {
    fn keys(&self) -> Option<Keys> {
        Keys::from_parts(self.key_count.get() as usize, self.keys.map(U32::get))
    }
}

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct BalanceItem {
    account: U32,
    currency: U32,
    free: U64,
    held: U64,
}

/// A slot. Free: account 0, `previous` is the slot freed before it, and all but the generation is zero.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct SlotItem {
    generation: U32,
    account: U32,
    previous: U32,
    account_previous: U32,
    client_order_id: U64,
    price: I64,
    remaining: U64,
    cumulative: U64,
    instrument: U16,
    side: u8,
    traits: u8,
    reserved: U32,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct TransferItem {
    account: U32,
    currency: U32,
    transaction: U64,
    amount: U64,
    free: U64,
    seq: U64,
    time: U64,
    withdrawal: U64,
}

/// How an instrument trades, where it is not as when it was created.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct TradingItem {
    instrument: U32,
    self_trade: u8,
    state: u8,
    feeds: u8,
    reserved: u8,
    last: I64,
}

/// What few orders have.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct ExtraItem {
    slot: U32,
    kind: u8,
    day: u8,
    reserved: [u8; 2],
    hidden: U64,
    display: U64,
    trigger: I64,
    expiry: U64,
    accepted: U64,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct GroupItem {
    account: U32,
    group: U32,
}

/// How an instrument trades when it was just created.
const UNCHANGED: (i64, SelfTrade, MarketState, Feeds) =
    (0, SelfTrade::Allow, MarketState::Continuous, Feeds::NONE);

/// Why bytes are no snapshot of an engine with these limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadError(&'static str);

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the snapshot cannot be loaded: {}; take another copy of it", self.0)
    }
}

impl core::error::Error for LoadError {}

fn ensure(holds: bool, what: &'static str) -> Result<(), LoadError> {
    if holds { Ok(()) } else { Err(LoadError(what)) }
}

const _: () = assert!(size_of::<Summary>() == 72);
const _: () = assert!(size_of::<AccountItem>() == 40);
const _: () = assert!(size_of::<BalanceItem>() == 24);
const _: () = assert!(size_of::<SlotItem>() == 56);
const _: () = assert!(size_of::<TransferItem>() == 56);
const _: () = assert!(size_of::<TradingItem>() == 16);
const _: () = assert!(size_of::<ExtraItem>() == 48);
const _: () = assert!(size_of::<GroupItem>() == 8);
const _: () = assert!(size_of::<AccessItem>() == 12);

/// What is known of a snapshot while its chunks come in.
#[derive(Clone, Copy)]
pub(crate) struct Loading {
    section: u32,
    summary: Summary,
}

/// Writes items up to the chunk's bound.
struct Chunk<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
    items: u32,
}

impl<'a> Chunk<'a> {
    fn new(section: Section, out: &'a mut Vec<u8>) -> Self {
        let start = out.len();
        out.extend_from_slice(Head { section: (section as u32).into(), items: U32::ZERO }.as_bytes());
        Self { out, start, items: 0 }
    }

    fn put(&mut self, item: &(impl IntoBytes + Immutable)) {
        self.out.extend_from_slice(item.as_bytes());
        self.items += 1;
        self.out[self.start + 4..][..4].copy_from_slice(&self.items.to_le_bytes());
    }

    fn put_some(&mut self, item: Option<impl IntoBytes + Immutable>) {
        if let Some(item) = item {
            self.put(&item);
        }
    }

    fn is_full(&self) -> bool {
        self.out.len() - self.start >= CHUNK_BYTES
    }
}

impl Engine {
    /// Appends the next chunk of a snapshot to `out`, at most 64 KiB. `cursor` is 0 at first. The engine must
    /// not change between the steps of one snapshot. Equal states give equal bytes.
    ///
    /// # Panics
    /// If an event is not finished.
    pub fn snapshot_step(&self, cursor: &mut u64, out: &mut Vec<u8>) -> Step {
        assert!(!self.is_busy(), "snapshots are between events");
        let section = Section::ALL[(*cursor >> 32) as usize];
        let mut at = *cursor as u32 as usize;
        let end = self.section_len(section);
        let mut chunk = Chunk::new(section, out);
        let mut scanned = 0;
        while at < end && !chunk.is_full() && scanned < SCAN_MAX {
            self.put_item(section, at, &mut chunk);
            at += 1;
            scanned += 1;
        }
        if at < end {
            *cursor = (section as u64) << 32 | at as u64;
            Step::More
        } else {
            *cursor = (section as u64 + 1) << 32;
            if section as u32 + 1 == self.sections() { Step::Done } else { Step::More }
        }
    }

    /// How many sections a snapshot of this state has.
    fn sections(&self) -> u32 {
        let [parties, gross_limits, pairs] = self.risk.is_kept();
        let kept = [
            !self.accesses.is_unchanged(),
            self.has_auctions(),
            self.has_bands(),
            self.has_buckets(),
            self.has_schedules(),
            parties,
            gross_limits,
            pairs,
            self.fees.has_schedules(),
            self.fees.has_assigned(),
            self.has_sessions(),
            self.has_orders_of_sessions(),
            self.copies.on,
        ];
        Section::OPTIONAL + kept.iter().rposition(|kept| *kept).map_or(0, |last| last as u32 + 1)
    }

    /// Places of a section, of which some may have no item.
    fn section_len(&self, section: Section) -> usize {
        match section {
            Section::Summary => 1,
            Section::Supplies => self.limits.currencies as usize,
            Section::Instruments => self.instruments.len(),
            Section::Accounts => self.accounts.len(),
            Section::Balances => self.accounts.len() * self.limits.currencies as usize,
            Section::Slots => self.orders.slots.len(),
            Section::Transfers => self.transfers.len(),
            Section::Trading => self.instruments.len(),
            Section::Extras => self.orders.slots.len(),
            Section::Groups => self.accounts.len(),
            Section::Accesses => self.access_places(),
            Section::Auctions | Section::Bands | Section::Schedules => self.instruments.len(),
            Section::Buckets => self.bucket_places(),
            Section::Parties => self.risk.party_places(),
            Section::GrossLimits => self.risk.gross_places(),
            Section::Pairs => self.risk.pairs.len(),
            Section::FeeSchedules => Fees::schedule_places(),
            Section::Fees => self.fee_places(),
            Section::Sessions => self.disconnects.parties.len(),
            Section::OrdersOfSessions => self.orders.slots.len(),
            Section::Readers => self.copies.readers.len(),
        }
    }

    fn put_item(&self, section: Section, at: usize, chunk: &mut Chunk<'_>) {
        match section {
            Section::Summary => chunk.put(&self.summary()),
            Section::Supplies => chunk.put(&U64::new(self.ledger.supply(at as u32 + 1))),
            Section::Instruments => {
                if self.instruments[at].is_some() {
                    chunk.put(&self.definitions[at]);
                }
            }
            Section::Accounts => {
                let account = &self.accounts[at];
                if at > 0 && account.exists {
                    let (count, keys) = account.keys.parts();
                    chunk.put(&AccountItem {
                        account: (at as u32).into(),
                        key_count: count.into(),
                        keys: keys.map(U32::new),
                    });
                }
            }
            Section::Balances => {
                let currencies = self.limits.currencies as usize;
                let (account, currency) = ((at / currencies) as u32, (at % currencies) as u32 + 1);
                let balance = self.ledger.get(self.ledger.at(account, currency));
                if balance != Balance::default() {
                    chunk.put(&BalanceItem {
                        account: account.into(),
                        currency: currency.into(),
                        free: balance.free.into(),
                        held: balance.held.into(),
                    });
                }
            }
            Section::Slots => chunk.put(&slot_item(self.orders.get(at as u32))),
            Section::Transfers => {
                let transfer = self.transfers.nth_oldest(at);
                chunk.put(&TransferItem {
                    account: transfer.account.into(),
                    currency: transfer.currency.into(),
                    transaction: transfer.transaction.into(),
                    amount: transfer.amount.into(),
                    free: transfer.free.into(),
                    seq: transfer.seq.into(),
                    time: transfer.time.into(),
                    withdrawal: u64::from(transfer.withdrawal).into(),
                });
            }
            Section::Trading => {
                let Some(instrument) = &self.instruments[at] else { return };
                let now = (instrument.last, instrument.self_trade, instrument.state, instrument.feeds);
                if now != UNCHANGED {
                    chunk.put(&TradingItem {
                        instrument: (at as u32 + 1).into(),
                        self_trade: instrument.self_trade as u8,
                        state: instrument.state as u8,
                        feeds: instrument.feeds.to_byte(),
                        reserved: 0,
                        last: instrument.last.into(),
                    });
                }
            }
            Section::Extras => {
                let order = self.orders.get(at as u32);
                if order.account != 0 && order.traits.has_extra() {
                    let extra = &self.orders.extras[at];
                    chunk.put(&ExtraItem {
                        slot: (at as u32).into(),
                        kind: extra.kind,
                        day: extra.day,
                        reserved: [0; 2],
                        hidden: extra.hidden.into(),
                        display: extra.display.into(),
                        trigger: extra.trigger.into(),
                        expiry: extra.expiry.into(),
                        accepted: extra.accepted.into(),
                    });
                }
            }
            Section::Groups => {
                let group = self.accounts[at].group;
                if group != 0 {
                    chunk.put(&GroupItem { account: (at as u32).into(), group: group.into() });
                }
            }
            Section::Accesses => chunk.put_some(self.access_item(at)),
            Section::Auctions => self.put_auction(at, chunk),
            Section::Bands => self.put_bands_of(at, chunk),
            Section::Schedules => self.put_schedule(at, chunk),
            Section::Buckets => self.put_bucket(at, chunk),
            Section::Parties => chunk.put_some(self.risk.party_item(at)),
            Section::GrossLimits => chunk.put_some(self.risk.gross_item(at)),
            Section::Pairs => chunk.put(&self.risk.pair_item(at)),
            Section::FeeSchedules => chunk.put_some(self.fees.schedule_item(at)),
            Section::Fees => chunk.put_some(self.fee_item(at)),
            Section::Sessions => self.put_session(at, chunk),
            Section::OrdersOfSessions => self.put_order_of_session(at, chunk),
            Section::Readers => self.put_readers(at, chunk),
        }
    }

    fn summary(&self) -> Summary {
        let limits = &self.limits;
        Summary {
            limits: [
                limits.instruments,
                limits.currencies,
                limits.accounts,
                limits.orders,
                limits.orders_per_account,
                limits.levels_per_side,
                limits.transfers,
            ]
            .map(U32::new),
            instruments: self.instrument_count.into(),
            accounts: self.account_count.into(),
            slots: (self.orders.slots.len() as u32).into(),
            live: self.orders.live.into(),
            free: self.orders.free.into(),
            transfers: (self.transfers.len() as u32).into(),
            sections: self.sections().into(),
            accepted: self.accepted.into(),
            trades: self.trades.into(),
        }
    }

    /// The whole snapshot at once.
    #[must_use]
    pub fn snapshot(&self) -> Vec<u8> {
        let (mut cursor, mut bytes) = (0, Vec::new());
        while self.snapshot_step(&mut cursor, &mut bytes) == Step::More {}
        bytes
    }

    /// Takes a chunk that [`Engine::snapshot_step`] appended, or several, into an engine to which nothing has
    /// happened. Chunks come whole and in order. After an error the engine is of no use.
    ///
    /// # Errors
    /// If the bytes are no such chunk, or one of an engine with other limits.
    pub fn load(&mut self, chunk: &[u8]) -> Result<(), LoadError> {
        let mut rest = chunk;
        while !rest.is_empty() {
            rest = self.load_chunk(rest)?;
        }
        Ok(())
    }

    fn load_chunk<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], LoadError> {
        let (head, rest) = Head::ref_from_prefix(bytes).map_err(|_| LoadError("a chunk is cut short"))?;
        let section = head.section.get();
        let (items, rest) = match Section::ALL.get(section as usize) {
            Some(Section::Summary) => self.load_items(head, rest, Self::load_summary)?,
            Some(_) if self.loading.is_none_or(|loading| loading.section > section) => {
                return Err(LoadError("chunks are out of order"));
            }
            Some(Section::Supplies) => self.load_supplies(head, rest)?,
            Some(Section::Instruments) => self.load_items(head, rest, Self::load_instrument)?,
            Some(Section::Accounts) => self.load_items(head, rest, Self::load_account)?,
            Some(Section::Balances) => self.load_items(head, rest, Self::load_balance)?,
            Some(Section::Slots) => self.load_items(head, rest, Self::load_slot)?,
            Some(Section::Transfers) => self.load_items(head, rest, Self::load_transfer)?,
            Some(Section::Trading) => self.load_items(head, rest, Self::load_trading)?,
            Some(Section::Extras) => self.load_items(head, rest, Self::load_extra)?,
            Some(Section::Groups) => self.load_items(head, rest, Self::load_group)?,
            Some(Section::Accesses) => self.load_own(head, rest, Self::load_access)?,
            Some(Section::Auctions) => self.load_items(head, rest, Self::load_auction)?,
            Some(Section::Schedules) => self.load_items(head, rest, Self::load_schedule)?,
            Some(Section::Bands) => self.load_items(head, rest, Self::load_bands)?,
            Some(Section::Buckets) => self.load_items(head, rest, Self::load_bucket)?,
            Some(Section::Parties) => self.load_own(head, rest, Self::load_party)?,
            Some(Section::GrossLimits) => self.load_own(head, rest, Self::load_gross)?,
            Some(Section::Pairs) => self.load_own(head, rest, Self::load_pair)?,
            Some(Section::FeeSchedules) => self.load_own(head, rest, Self::load_fee_schedule)?,
            Some(Section::Fees) => self.load_own(head, rest, Self::load_fee)?,
            Some(Section::Sessions) => self.load_items(head, rest, Self::load_session)?,
            Some(Section::OrdersOfSessions) => self.load_items(head, rest, Self::load_order_of_session)?,
            Some(Section::Readers) => self.load_items(head, rest, Self::load_readers)?,
            None => return Err(LoadError("a chunk is of no known kind")),
        };
        ensure(items == head.items.get() as usize, "a chunk is cut short")?;
        if let Some(loading) = &mut self.loading {
            loading.section = section;
        }
        Ok(rest)
    }

    fn load_items<'a, T: TryFromBytes + Immutable + KnownLayout + Unaligned>(
        &mut self,
        head: &Head,
        bytes: &'a [u8],
        load: fn(&mut Self, &T) -> Result<(), LoadError>,
    ) -> Result<(usize, &'a [u8]), LoadError> {
        self.load_each(head, bytes, load)
    }

    /// The same of items that other modules take.
    fn load_own<'a, T: TryFromBytes + Immutable + KnownLayout + Unaligned>(
        &mut self,
        head: &Head,
        bytes: &'a [u8],
        load: fn(&mut Self, &T) -> Result<(), &'static str>,
    ) -> Result<(usize, &'a [u8]), LoadError> {
        self.load_each(head, bytes, |engine, item| load(engine, item).map_err(LoadError))
    }

    fn load_each<'a, T: TryFromBytes + Immutable + KnownLayout + Unaligned>(
        &mut self,
        head: &Head,
        bytes: &'a [u8],
        load: impl Fn(&mut Self, &T) -> Result<(), LoadError>,
    ) -> Result<(usize, &'a [u8]), LoadError> {
        let count = head.items.get() as usize;
        let (items, rest) = count
            .checked_mul(size_of::<T>())
            .and_then(|len| bytes.split_at_checked(len))
            .ok_or(LoadError("a chunk is cut short"))?;
        for item in items.chunks_exact(size_of::<T>()) {
            load(
                self,
                T::try_ref_from_bytes(item).map_err(|_| LoadError("an item holds an undefined value"))?,
            )?;
        }
        Ok((count, rest))
    }

    fn load_summary(&mut self, item: &Summary) -> Result<(), LoadError> {
        ensure(self.loading.is_none() && self.is_untouched(), "the engine is not empty")?;
        ensure(item.limits == self.summary().limits, "it was made with other limits")?;
        ensure(item.slots.get() <= self.limits.orders, "it has more orders than the limit")?;
        let sections = item.sections.get();
        let known = sections == 0 || (Section::OPTIONAL..=Section::ALL.len() as u32).contains(&sections);
        ensure(known, "it has other sections than this build knows")?;
        self.accepted = item.accepted.get();
        self.trades = item.trades.get();
        self.loading = Some(Loading { section: 0, summary: *item });
        Ok(())
    }

    fn is_untouched(&self) -> bool {
        self.account_count == 0
            && self.instrument_count == 0
            && self.transfers.len() == 0
            && self.orders.slots.is_empty()
    }

    fn load_supplies<'a>(&mut self, head: &Head, bytes: &'a [u8]) -> Result<(usize, &'a [u8]), LoadError> {
        ensure(head.items.get() == self.limits.currencies, "supplies are missing")?;
        let (supplies, rest) = <[U64]>::ref_from_prefix_with_elems(bytes, head.items.get() as usize)
            .map_err(|_| LoadError("a chunk is cut short"))?;
        for (at, supply) in supplies.iter().enumerate() {
            ensure(supply.get() <= i64::MAX as u64, "a supply is too large")?;
            self.ledger.restore_supply(at as u32 + 1, supply.get());
        }
        Ok((supplies.len(), rest))
    }

    fn load_instrument(&mut self, item: &Definition) -> Result<(), LoadError> {
        ensure(self.check_definition(item).is_ok(), "an instrument is not valid")?;
        self.add_instrument(item);
        Ok(())
    }

    fn load_account(&mut self, item: &AccountItem) -> Result<(), LoadError> {
        let id = item.account.get() as usize;
        ensure(
            (1..self.accounts.len()).contains(&id) && !self.accounts[id].exists,
            "an account is not valid",
        )?;
        let keys = item.keys().ok_or(LoadError("an account's keys are not valid"))?;
        self.accounts[id] = Account { exists: true, keys, ..self.accounts[id] };
        self.account_count += 1;
        Ok(())
    }

    fn load_balance(&mut self, item: &BalanceItem) -> Result<(), LoadError> {
        let known = self.accounts.get(item.account.get() as usize).is_some_and(|account| account.exists);
        ensure(known && self.check_currency(item.currency.get()).is_ok(), "a balance is nobody's")?;
        let at = self.ledger.at(item.account.get(), item.currency.get());
        ensure(self.ledger.get(at) == Balance::default(), "a balance comes twice")?;
        self.ledger.restore(at, Balance { free: item.free.get(), held: item.held.get() });
        Ok(())
    }

    fn load_slot(&mut self, item: &SlotItem) -> Result<(), LoadError> {
        ensure(self.orders.slots.len() < self.limits.orders as usize, "it has more orders than the limit")?;
        ensure(item.generation != U32::ZERO && item.reserved == U32::ZERO, "a slot is not valid")?;
        let generation = item.generation.get();
        if item.account == U32::ZERO {
            let free = Order { generation, next: item.previous.get(), ..Order::EMPTY };
            ensure(slot_item(&free).as_bytes() == item.as_bytes(), "a free slot is not empty")?;
            self.orders.slots.push(free);
            return Ok(());
        }
        let side = match item.side {
            1 => Side::Buy,
            2 => Side::Sell,
            _ => return Err(LoadError("an order has no side")),
        };
        let order = Order {
            client_order_id: item.client_order_id.get(),
            price: item.price.get(),
            remaining: item.remaining.get(),
            cumulative: item.cumulative.get(),
            account: item.account.get(),
            generation,
            previous: item.previous.get(),
            account_previous: item.account_previous.get(),
            instrument: item.instrument.get(),
            side,
            traits: Traits::from_byte(item.traits).ok_or(LoadError("an order is not valid"))?,
            ..Order::EMPTY
        };
        let known = self.accounts.get(order.account as usize).is_some_and(|account| account.exists);
        ensure(known && self.is_restable(&order), "an order is not valid")?;
        self.orders.slots.push(order);
        self.orders.live += 1;
        Ok(())
    }

    fn load_transfer(&mut self, item: &TransferItem) -> Result<(), LoadError> {
        ensure(
            self.transfers.len() < self.limits.transfers as usize,
            "it has more transfers than the limit",
        )?;
        let (account, transaction) = (item.account.get(), item.transaction.get());
        ensure(self.transfers.find(account, transaction).is_none(), "a transfer comes twice")?;
        ensure(item.withdrawal.get() <= 1, "a transfer is not valid")?;
        self.transfers.push(Executed {
            account,
            currency: item.currency.get(),
            transaction,
            amount: item.amount.get(),
            withdrawal: item.withdrawal.get() == 1,
            free: item.free.get(),
            seq: item.seq.get(),
            time: item.time.get(),
        });
        Ok(())
    }

    fn load_trading(&mut self, item: &TradingItem) -> Result<(), LoadError> {
        let (id, last) = (item.instrument.get(), item.last.get());
        let self_trade = match item.self_trade {
            1 => SelfTrade::Allow,
            2 => SelfTrade::CancelTaker,
            3 => SelfTrade::CancelMaker,
            4 => SelfTrade::CancelBoth,
            5 => SelfTrade::Decrement,
            _ => return Err(LoadError("an instrument's mode is not valid")),
        };
        let instrument = self.instrument(id).map_err(|_| LoadError("an instrument is missing"))?;
        ensure((0..=instrument.max_price).contains(&last), "a last price is not valid")?;
        let state = match item.state {
            1 => MarketState::Continuous,
            2 => MarketState::Halted,
            3 => MarketState::CancelOnly,
            4 => MarketState::PostOnly,
            5 => MarketState::PreOpen,
            6 => MarketState::OpeningAuction,
            7 => MarketState::VolatilityAuction,
            8 => MarketState::ClosingAuction,
            9 => MarketState::Closed,
            _ => return Err(LoadError("an instrument's state is not valid")),
        };
        let feeds = Feeds::from_byte(item.feeds).ok_or(LoadError("a feed is not valid"))?;
        let before = (instrument.last, instrument.self_trade, instrument.state, instrument.feeds);
        let unchanged = before == UNCHANGED;
        ensure((last, self_trade, state, feeds) != UNCHANGED, "an item says nothing")?;
        ensure(item.reserved == 0 && unchanged, "an instrument comes twice")?;
        let instrument = crate::instrument::live_mut(&mut self.instruments, id as u16);
        (instrument.last, instrument.self_trade, instrument.state) = (last, self_trade, state);
        instrument.feeds = feeds;
        Ok(())
    }

    fn load_extra(&mut self, item: &ExtraItem) -> Result<(), LoadError> {
        let slot = item.slot.get();
        let order = self.orders.slots.get(slot as usize).filter(|order| order.account != 0);
        let order = order.filter(|order| order.traits.has_extra()).ok_or(LoadError("an order is missing"))?;
        let extra = Extra {
            hidden: item.hidden.get(),
            display: item.display.get(),
            trigger: item.trigger.get(),
            expiry: item.expiry.get(),
            accepted: item.accepted.get(),
            place: 0,
            day_previous: 0,
            day_next: 0,
            kind: item.kind,
            day: item.day,
            reserved: [0; 2],
        };
        let instrument = self.live_instrument(order.instrument);
        let total = [order.remaining, order.cumulative, extra.hidden];
        let total = total.into_iter().try_fold(0_u64, u64::checked_add);
        let waits = order.traits.waits();
        let tif = extra.time_in_force();
        let fits = match (waits, extra.kind) {
            (true, 1 | 2) | (false, 2) => tif.is_for_auction(),
            (true, 4..=7) => !tif.is_for_auction(),
            (false, 1) => true,
            _ => false,
        };
        let plain = extra.display == 0 && extra.expiry == 0;
        let sound = total.is_some_and(|total| total <= instrument.max_quantity)
            && extra.display <= instrument.max_quantity
            && fits
            && (if extra.order_type().waits() {
                instrument.check_trigger(extra.trigger).is_ok()
            } else {
                extra.trigger == 0
            })
            && (waits || extra.display != 0 || extra.expiry != 0 || extra.day != 0)
            && (extra.day == 0 || tif.ends_with_day() && extra.expiry == 0)
            && (plain || !tif.is_for_auction())
            && item.reserved == [0; 2]
            && extra.accepted <= self.accepted;
        ensure(sound, "an order is not valid")?;
        ensure(self.orders.extras[slot as usize] == Extra::NONE, "an order comes twice")?;
        self.orders.extras[slot as usize] = extra;
        Ok(())
    }

    fn load_group(&mut self, item: &GroupItem) -> Result<(), LoadError> {
        let (id, group) = (item.account.get() as usize, item.group.get());
        let account = self.accounts.get_mut(id).filter(|account| id != 0 && account.exists);
        let account = account.ok_or(LoadError("an account is missing"))?;
        ensure(group != 0 && account.group == 0, "a group is not valid")?;
        account.group = group;
        Ok(())
    }

    /// All chunks were given: builds what is derived, and checks everything.
    ///
    /// # Errors
    /// If chunks are missing or contradict each other.
    pub fn finish_load(&mut self) -> Result<(), LoadError> {
        let Loading { section, summary } = self.loading.take().ok_or(LoadError("it has no summary"))?;
        let last = summary.sections.get().checked_sub(1).unwrap_or(Section::LAST_OF_FIRST);
        let complete = section == last
            && (summary.sections == U32::ZERO || summary.sections.get() == self.sections())
            && self.instrument_count == summary.instruments.get()
            && self.account_count == summary.accounts.get()
            && self.orders.slots.len() == summary.slots.get() as usize
            && self.orders.live == summary.live.get()
            && self.transfers.len() == summary.transfers.get() as usize;
        ensure(complete, "items are missing")?;
        let mut held = vec![0_u128; self.limits.currencies as usize];
        for slot in 0..self.orders.slots.len() as u32 {
            if self.orders.get(slot).account == 0 {
                continue;
            }
            let whole = self.orders.extra(slot).is_none_or(|extra| extra.kind != 0);
            ensure(whole, "what belongs to an order is missing")?;
            let (currency, hold) = self.hold_of(slot);
            held[currency as usize - 1] += u128::from(hold);
        }
        // What is held bounds every sum over orders, so that nothing below overflows.
        let within = |(at, held): (usize, &u128)| *held <= u128::from(self.ledger.supply(at as u32 + 1));
        ensure(held.iter().enumerate().all(within), "orders hold more than there is")?;
        self.link_forward()?;
        self.queue_orders()?;
        self.list_orders()?;
        self.link_sessions()?;
        self.rebuild_auctions();
        self.set_timers();
        self.find_feeds();
        self.count_loaded();
        self.orders.free = summary.free.get();
        self.audit().map_err(LoadError)
    }
}

fn slot_item(order: &Order) -> SlotItem {
    if order.account == 0 {
        return SlotItem {
            generation: order.generation.into(),
            previous: order.next.into(),
            ..SlotItem::new_zeroed()
        };
    }
    SlotItem {
        generation: order.generation.into(),
        account: order.account.into(),
        previous: order.previous.into(),
        account_previous: order.account_previous.into(),
        client_order_id: order.client_order_id.into(),
        price: order.price.into(),
        remaining: order.remaining.into(),
        cumulative: order.cumulative.into(),
        instrument: order.instrument.into(),
        side: order.side as u8,
        traits: order.traits.to_byte(),
        reserved: U32::ZERO,
    }
}
