//! Random streams in which everything collides: few accounts, few prices, little money, small limits.
//!
//! The generator looks at the model's state to aim at the edges of the rules: the last affordable minor unit, the
//! first unaffordable one, the last free level, the best price and the one beside it.

#[path = "stream/control.rs"]
mod control;
#[path = "stream/copies.rs"]
mod copies;
#[path = "stream/day.rs"]
mod day;
#[path = "stream/disconnect.rs"]
mod disconnect;
#[path = "stream/feeds.rs"]
mod feeds;
#[path = "stream/limits.rs"]
mod limits;
#[path = "stream/office.rs"]
mod office;
#[path = "stream/orders.rs"]
mod orders;
#[path = "stream/profile.rs"]
mod profile;
#[path = "stream/queries.rs"]
mod queries;
#[path = "stream/random.rs"]
mod random;

pub use profile::{Features, Profile, Theme};

use crate::event::Event;
use ordain_exchange_engine::Context;
use ordain_exchange_model::Model;
use ordain_exchange_protocol::{
    CreateAccount, CreateInstrument, Grant, GrantAction, IntoBytes, SelfTrade, Side, Transfer, permission,
};
use random::Random;
use std::collections::{BTreeSet, VecDeque};

/// Keys that are granted and revoked; more than an account can have.
pub const KEYS: u32 = 10;

pub struct Stream {
    random: Random,
    profile: Profile,
    theme: Theme,
    seq: u64,
    time: u64,
    /// When the next order ends, or a rate lets another command come.
    next_edge: u64,
    /// Whether this is a time in which orders are entered that do not trade, so that books grow.
    building: bool,
    /// Ids of orders that were live once.
    past_orders: VecDeque<u64>,
    /// Transfers that were sent.
    past_transfers: VecDeque<Transfer>,
    /// Whether the level of behaviour with all features has begun.
    levelled: bool,
    /// Sessions that have ended, and whose orders end with the next command.
    ended: BTreeSet<u64>,
}

impl Stream {
    pub fn new(seed: u64, profile: Profile) -> Self {
        Self {
            random: Random::new(seed),
            profile,
            theme: Theme::of(seed),
            seq: 0,
            next_edge: 0,
            time: 1_700_000_000_000_000_000,
            building: true,
            past_orders: VecDeque::new(),
            past_transfers: VecDeque::new(),
            levelled: false,
            ended: BTreeSet::new(),
        }
    }

    fn context(&mut self, key: u32, permissions: u32) -> Context {
        self.seq += 1 + self.random.below(3);
        self.time += self.random.below(1_000);
        // Exactly then, if that is near.
        if (self.time..self.time + 2_000).contains(&self.next_edge) && self.random.percent(20) {
            self.time = self.next_edge;
        }
        let session = self.session();
        Context { seq: self.seq, time: self.time, key, permissions, session }
    }

    fn request(&mut self, key: u32, permissions: u32, message: &[u8]) -> Event {
        Event::Request(self.context(key, permissions), message.to_vec())
    }

    /// Sent by a key that may, now and then by one that may not.
    fn by_office(&mut self, permission: u32, message: &[u8]) -> Event {
        let others = (permission::TRADE | permission::ADMIN | permission::CUSTODY) & !permission;
        let permissions = if self.random.percent(2) { others } else { permission };
        let key = self.random.id(1, KEYS);
        self.request(key, permissions, message)
    }

    /// Sent by a key of the account, now and then by another, by an administrator's or without permission.
    fn by_owner(&mut self, model: &Model, account: u32, permission: u32) -> (u32, u32) {
        let keys: Vec<u32> = model.keys(account).into_iter().flatten().copied().collect();
        let any = self.random.id(1, KEYS);
        match self.random.below(50) {
            0 => (any, permission),
            1 => (any, permission | permission::ADMIN),
            2 => (any, permission::ADMIN | permission::CUSTODY),
            _ if keys.is_empty() => (any, permission | permission::ADMIN),
            _ => (self.random.pick(&keys), permission),
        }
    }

    /// What makes an empty exchange one that trades.
    pub fn opening(&mut self) -> Vec<Event> {
        let limits = self.profile.limits;
        let mut events = Vec::new();
        for account in 1..limits.accounts {
            events.push(self.request(1, permission::ADMIN, CreateAccount::new(account).as_bytes()));
            events.push(self.request(
                1,
                permission::ADMIN,
                Grant::new(GrantAction::Grant, account, account).as_bytes(),
            ));
            // Account 1 has nearly as many keys as it can.
            for key in 4..=10 {
                if account == 1 {
                    let grant = Grant::new(GrantAction::Grant, account, key);
                    events.push(self.request(1, permission::ADMIN, grant.as_bytes()));
                }
            }
            // It also has so many balances that they do not fit into one answer.
            for currency in 1..=if account == 1 { limits.currencies } else { limits.currencies.min(4) } {
                let amount = self.much();
                let transaction = self.random.below(1 << 40);
                let deposit = Transfer::deposit(account, currency, transaction, amount);
                events.push(self.request(1, permission::CUSTODY, deposit.as_bytes()));
            }
        }
        for instrument in 1..=self.profile.opened {
            let definition = self.definition(instrument);
            events.push(self.request(1, permission::ADMIN, CreateInstrument::new(definition).as_bytes()));
        }
        events
    }

    /// Amounts of every size that matters, up to what the dearest orders need.
    fn much(&mut self) -> u64 {
        let top = self.random.pick(&[100, 1_000, 20_000, 300_000, 2_000_000]);
        1 + self.random.below(top * self.profile.wealth)
    }

    /// The next event, or a few that belong together.
    pub fn next(&mut self, model: &Model) -> Vec<Event> {
        for order in model.orders() {
            if self.past_orders.len() < 64 || self.random.percent(1) {
                self.past_orders.truncate(63);
                self.past_orders.push_front(order.id);
            }
        }
        let expiries = model.orders().iter().map(|order| order.expiry);
        let edges = expiries.chain(model.edges()).chain(model.rate_edges()).chain(model.ends());
        self.next_edge = edges.filter(|time| *time > self.time).min().unwrap_or(0);
        // As long as it may take to fill a book and to clear it.
        if self.random.below(2 * u64::from(self.profile.limits.orders)) == 0 {
            self.building = self.random.percent(self.profile.building);
        }
        let mut dice = self.random.below(1_000);
        let mut falls = |weight: u64| {
            let hit = dice < weight;
            dice = dice.wrapping_sub(weight);
            hit
        };
        let Profile { creations, mass_cancels, cancels, transfers, .. } = self.profile;
        if falls(creations) {
            vec![if self.random.percent(70) { self.create_instrument(model) } else { self.create_account() }]
        } else if falls(mass_cancels) {
            vec![self.mass_cancel(model)]
        } else if falls(transfers) {
            vec![self.transfer(model)]
        } else if falls(15) {
            vec![self.grant()]
        } else if falls(self.restores(model)) {
            vec![Event::Restore]
        } else if falls(60) {
            vec![self.query(model)]
        } else if self.profile.features.self_trade && falls(30) {
            vec![self.ownership(model)]
        } else if self.profile.features.states && falls(self.state_changes(model)) {
            vec![self.set_state(model)]
        } else if self.profile.features.auctions && falls(if self.theme.auctions { 15 } else { 3 }) {
            self.set_reference(model)
        } else if self.profile.features.access && falls(self.controls(model)) {
            vec![self.control(model)]
        } else if self.day() && falls(20) {
            self.change_day(model)
        } else if self.profile.features.limits && self.theme.limits && falls(45) {
            vec![self.set_limit(model)]
        } else if self.profile.features.fees && self.theme.fees && falls(30) {
            vec![self.set_fee(model)]
        } else if self.disconnects() && falls(70) {
            vec![self.presence(model)]
        } else if self.feeds() && falls(self.feed_changes(model)) {
            vec![self.set_feed(model)]
        } else if self.copies() && falls(self.copy_changes(model)) {
            self.change_copies(model)
        } else if falls(cancels) {
            vec![self.cancel(model)]
        } else if falls(220) {
            self.amend(model)
        } else {
            self.new_order(model)
        }
    }

    /// How often, of 1,000, a node is restored: more often where something is for a moment only, since what a snapshot leaves
    /// out of it would be gone before the next.
    fn restores(&self, model: &Model) -> u64 {
        match (self.day(), model.is_made_longer()) {
            (true, true) => 300,
            (true, false) => 20,
            _ => 4,
        }
    }

    fn account(&mut self) -> u32 {
        let highest = self.profile.limits.accounts;
        match self.random.below(60) {
            0 => 0,
            1 => highest + 1,
            2 => u32::MAX,
            3..=12 => self.random.id(1, highest),
            // The last one is created late.
            _ => self.random.id(1, highest - 1),
        }
    }

    fn instrument_id(&mut self, model: &Model) -> u32 {
        let highest = self.profile.limits.instruments;
        match self.random.below(60) {
            0 => 0,
            1 => highest + 1,
            2 => u32::MAX,
            // Where something rests already, so that books grow.
            3..=30 if !self.profile.spread && !model.orders().is_empty() => {
                self.random.pick(model.orders()).instrument
            }
            // A number that has an instrument, if few tries find one.
            _ => (0..8)
                .map(|_| self.random.id(1, highest))
                .find(|id| model.instrument(*id).is_some())
                .unwrap_or(1),
        }
    }

    fn currency(&mut self) -> u32 {
        let highest = self.profile.limits.currencies;
        match self.random.below(40) {
            0 => 0,
            1 => highest + 1,
            2 => u32::MAX,
            _ => self.random.id(1, highest),
        }
    }

    fn side(&mut self) -> Side {
        self.random.pick(&[Side::Buy, Side::Sell])
    }
}

fn any_mode(random: &mut Random) -> SelfTrade {
    use SelfTrade::{Allow, CancelBoth, CancelMaker, CancelTaker, Decrement};
    random.pick(&[Allow, CancelTaker, CancelMaker, CancelBoth, Decrement])
}
