//! The state, and what takes a request to the command that executes it.

use crate::access::Accesses;
use crate::accounts::Account;
use crate::auction::Call;
use crate::bands::Bands;
use crate::cancel::Sweep;
use crate::copies::Copies;
use crate::disconnect::{Disconnects, Parting};
use crate::expiry::{Ending, Expiries};
use crate::feed::{Feed, Showing};
use crate::fees::Fees;
use crate::index::Index;
use crate::instrument::{Instrument, live};
use crate::kill::Clearing;
use crate::ledger::Ledger;
use crate::levels::{Ladder, Levels, key};
use crate::matching::{Event, Taker};
use crate::orders::{Order, Orders};
use crate::reply::Answer;
use crate::risk::{Count, Risk};
use crate::schedule::Schedule;
use crate::snapshot::Loading;
use crate::states::{Change, Turn};
use crate::timers::NEVER;
use crate::transfers::Transfers;
use crate::waiting::Cascade;
use crate::{Context, Limits, Sink, Step};
use core::fmt;
use ordain_exchange_protocol::{Definition, FromZeros, Reject, Request, Side, permission};

/// An event that takes more steps.
#[derive(Clone, Copy)]
pub(crate) enum Work {
    Take(Taker),
    Cascade(Cascade, Answer),
    Sweep(Sweep),
    End(Ending),
    States(Change),
    Pause(Turn, Event, Answer),
    Clear(Clearing),
    Count(Count),
    Part(Parting),
    Show(Showing),
}

/// The exchange.
pub struct Engine {
    pub(crate) limits: Limits,
    pub(crate) instruments: Vec<Option<Instrument>>,
    /// Their terms as they were defined, for questions.
    pub(crate) definitions: Vec<Definition>,
    pub(crate) accounts: Vec<Account>,
    pub(crate) accesses: Accesses,
    pub(crate) risk: Risk,
    pub(crate) fees: Fees,
    pub(crate) feed: Feed,
    pub(crate) copies: Copies,
    pub(crate) orders: Orders,
    pub(crate) levels: Levels,
    /// Triggers that orders wait for, as levels are prices.
    pub(crate) triggers: Levels,
    /// By instrument, the triggers waited for from below and from above.
    pub(crate) queues: Vec<[Ladder; 2]>,
    pub(crate) expiries: Expiries,
    /// Sessions whose orders end when their clients are gone.
    pub(crate) disconnects: Disconnects,
    /// Level of behaviour.
    pub(crate) level: u16,
    /// By instrument, what its auctions need.
    pub(crate) calls: Vec<Call>,
    /// By instrument.
    pub(crate) bands: Vec<Bands>,
    /// By instrument.
    pub(crate) schedules: Vec<Schedule>,
    /// The next time at which something happens to an instrument.
    pub(crate) next_timer: u64,
    /// Instruments in an auction whose books the event changed, each once.
    pub(crate) changed: Vec<u16>,
    pub(crate) ledger: Ledger,
    pub(crate) index: Index,
    pub(crate) transfers: Transfers,
    pub(crate) instrument_count: u32,
    pub(crate) account_count: u32,
    /// Orders ever accepted.
    pub(crate) accepted: u64,
    /// Trades ever made.
    pub(crate) trades: u64,
    pub(crate) work: Option<Work>,
    /// Set while a snapshot is loaded.
    pub(crate) loading: Option<Loading>,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("limits", &self.limits)
            .field("instruments", &self.instrument_count)
            .field("accounts", &self.account_count)
            .field("orders", &self.orders.live)
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// An exchange with nothing in it but account 0. Reserves all the memory that it will use.
    ///
    /// `hash_seed` spreads the entries of the indexes and reaches no output: it may and should be drawn at
    /// random by each node, so that no client can choose ids that collide.
    ///
    /// # Panics
    /// If a limit is 0 or beyond what handles can number.
    #[must_use]
    pub fn new(limits: Limits, hash_seed: u64) -> Self {
        assert!(limits.are_valid(), "limits out of range: {limits:?}");
        let mut accounts = vec![Account::ABSENT; limits.accounts as usize + 1];
        let triggers = Levels::new(limits.instruments, limits.levels_per_side, limits.orders);
        accounts[0].exists = true;
        Self {
            limits,
            instruments: std::iter::repeat_with(|| None).take(limits.instruments as usize).collect(),
            definitions: vec![Definition::new_zeroed(); limits.instruments as usize],
            accounts,
            accesses: Accesses::new(),
            risk: Risk::new(&limits),
            fees: Fees::new(),
            feed: Feed::new(limits.instruments),
            copies: Copies::new(),
            orders: Orders::new(limits.orders),
            levels: Levels::new(limits.instruments, limits.levels_per_side, limits.orders),
            queues: (1..=limits.instruments).map(|id| triggers.ladders(id)).collect(),
            triggers,
            expiries: Expiries::new(limits.orders),
            disconnects: Disconnects::new(limits.orders),
            level: 0,
            calls: vec![Call::NONE; limits.instruments as usize],
            bands: vec![Bands::NONE; limits.instruments as usize],
            schedules: vec![Schedule::none(); limits.instruments as usize],
            next_timer: NEVER,
            changed: Vec::with_capacity(limits.instruments as usize),
            ledger: Ledger::new(limits.accounts, limits.currencies),
            index: Index::new(limits.orders, hash_seed),
            transfers: Transfers::new(limits.transfers, hash_seed),
            instrument_count: 0,
            account_count: 0,
            accepted: 0,
            trades: 0,
            work: None,
            loading: None,
        }
    }

    /// The bounds that it was made with.
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Orders that are live now.
    #[must_use]
    pub const fn live_orders(&self) -> u32 {
        self.orders.live
    }

    /// Executes a request, or its first step.
    ///
    /// # Panics
    /// If an earlier event is not finished, or an invariant is broken.
    #[inline]
    pub fn apply<S: Sink>(&mut self, context: &Context, request: &Request<'_>, sink: &mut S) -> Step {
        assert!(!self.is_busy(), "an event follows only when the one before is done");
        self.feed.begin(context);
        let step = match request {
            Request::NewOrder(message) => self.new_order(context, message, sink),
            Request::Cancel(message) => self.cancel(context, message, sink),
            Request::Amend(message) => self.amend(context, message, sink),
            Request::MassCancel(message) => self.mass_cancel(context, message, sink),
            Request::Deposit(message) | Request::Withdraw(message) => self.transfer(context, message, sink),
            Request::CreateInstrument(message) => self.create_instrument(context, message, sink),
            Request::CreateAccount(message) => self.create_account(context, message, sink),
            Request::Grant(message) => self.grant(context, message, sink),
            Request::NewOrder2(message) => self.new_order_second(context, message, sink),
            Request::Amend2(message) => self.amend_second(context, message, sink),
            Request::SetSelfTrade(message) => self.set_self_trade(context, message, sink),
            Request::SetGroup(message) => self.set_group(context, message, sink),
            Request::SetState(message) => self.set_state(context, message, sink),
            Request::Remark(_) => self.remark(context, sink),
            Request::SetDisconnect(message) => self.set_disconnect(context, message, sink),
            Request::Control(control) => self.control(context, control, sink),
            Request::Market(market) => self.market(context, market, sink),
        };
        self.ledger.assert_balanced();
        if self.feed.on { self.end_step(step, sink) } else { step }
    }

    /// The next step of an event that answered [`Step::More`].
    ///
    /// # Panics
    /// If there is none, or an invariant is broken.
    pub fn resume<S: Sink>(&mut self, sink: &mut S) -> Step {
        let Some(work) = self.work.take() else {
            assert!(self.feed.ending, "there is an event to go on with");
            return self.end_step(Step::Done, sink);
        };
        let step = match work {
            Work::Take(mut taker) => self.take(&mut taker, sink),
            Work::Cascade(cascade, answer) => self.cascade(cascade, answer, sink),
            Work::Sweep(sweep) => self.sweep(sweep, sink),
            Work::End(ending) => self.end_orders(ending, sink),
            Work::States(change) => self.change_states(change, sink),
            Work::Pause(turn, event, answer) => self.go_on_pausing(turn, event, answer, sink),
            Work::Clear(clearing) => self.clear(clearing, sink),
            Work::Count(count) => self.count(count, sink),
            Work::Part(parting) => self.part(parting, sink),
            Work::Show(showing) => self.show(showing, sink),
        };
        self.ledger.assert_balanced();
        if self.feed.on { self.end_step(step, sink) } else { step }
    }

    /// Whether an event waits for [`Engine::resume`].
    #[must_use]
    pub const fn is_busy(&self) -> bool {
        self.work.is_some() || self.feed.ending
    }

    /// Whether a key with these permissions may read what the account's stream says.
    #[must_use]
    pub fn may_read(&self, account: u32, key: u32, permissions: u32) -> bool {
        let grants = |account: &Account| account.exists && account.grants(key, permissions);
        permissions & permission::VIEW != 0 && self.accounts.get(account as usize).is_some_and(grants)
    }

    pub(crate) fn instrument(&self, id: u32) -> Result<&Instrument, Reject> {
        let at = (id as usize).wrapping_sub(1);
        self.instruments.get(at).and_then(Option::as_ref).ok_or(Reject::UnknownInstrument)
    }

    pub(crate) fn live_instrument(&self, id: u16) -> &Instrument {
        live(&self.instruments, id)
    }

    /// Whether an order on `side` at `price` would trade at once.
    #[inline]
    pub(crate) fn crosses(&self, instrument: &Instrument, side: Side, price: i64) -> bool {
        let opposite = side.opposite();
        self.levels.best_key(instrument.ladder(opposite)).is_some_and(|best| best >= key(opposite, price))
    }

    /// What a live order holds: currency and amount.
    pub(crate) fn hold_of(&self, slot: u32) -> (u32, u64) {
        let order = self.orders.get(slot);
        self.live_instrument(order.instrument).hold(order.side, order.price, self.orders.left(slot))
    }

    /// Whether its instrument lets there be such an order, hidden lots left aside. What was decremented may be less than
    /// the smallest order.
    pub(crate) fn is_restable(&self, order: &Order) -> bool {
        let Ok(instrument) = self.instrument(order.instrument.into()) else { return false };
        let total = order.remaining.checked_add(order.cumulative);
        order.remaining > 0
            && instrument.check_price(order.price).is_ok()
            && total.is_some_and(|total| total <= instrument.max_quantity)
    }
}

#[inline]
pub(crate) fn permitted(context: &Context, needed: u32) -> Result<(), Reject> {
    if context.permissions & needed == needed { Ok(()) } else { Err(Reject::NotPermitted) }
}
