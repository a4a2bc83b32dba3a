//! The naive model of the exchange, asked what must come of the committed log.

use ordain_api::{Context, Nanos, Presence, SessionId, Stream};
use ordain_exchange_engine::Limits;
use ordain_exchange_model::{Model as Naive, Order};
use ordain_exchange_protocol::{
    Amend, Audience, Flag, MassCancelReply, OrderRef, OrderReply, OrderState, Output, Query, Reason, Reject,
    Reply, Request,
};
use ordain_sim::workload::{Model, Said};

/// See the module.
pub struct Judge {
    naive: Naive,
}

impl Judge {
    pub(crate) fn new(limits: &Limits) -> Self {
        let limits = ordain_exchange_model::Limits {
            instruments: limits.instruments,
            currencies: limits.currencies,
            accounts: limits.accounts,
            orders: limits.orders as usize,
            orders_per_account: limits.orders_per_account as usize,
            levels_per_side: limits.levels_per_side as usize,
            transfers: limits.transfers as usize,
        };
        Self { naive: Naive::new(limits) }
    }

    pub(crate) fn answer(&self, key: u32, permissions: u32, query: &Query<'_>) -> Vec<u8> {
        let about = ordain_exchange_model::Context { seq: 0, time: 0, key, permissions, session: 0 };
        self.naive.query(&about, query)
    }

    fn named(&self, amend: &Amend) -> Option<Order> {
        let is_it = |order: &&Order| {
            order.account == amend.account.get()
                && match amend.order() {
                    OrderRef::Id(id) => order.id == id,
                    OrderRef::Client(client) => order.client == client,
                }
        };
        self.naive.orders().iter().find(is_it).cloned()
    }

    /// Orders that come before this one at its price.
    fn before(&self, order: &Order) -> Vec<u64> {
        let side = self.naive.side(order.instrument, order.side);
        let queue = side.iter().filter(|other| other.price == order.price);
        queue.map(|other| other.id).take_while(|id| *id != order.id).collect()
    }

    /// What became of an amended order's place at its price.
    fn place(&self, order: &Order, before: &[u64]) -> Option<&'static str> {
        let now = self.naive.orders().iter().find(|now| now.id == order.id)?;
        let kept = now.price == order.price && self.before(now).iter().all(|id| before.contains(id));
        Some(if kept { "amend keeps its place" } else { "amend loses its place" })
    }
}

fn streamed(outputs: ordain_exchange_model::Outputs) -> Vec<(Stream, Vec<u8>)> {
    let stream = |audience| match audience {
        Audience::Account(account) => Stream::Account(account.into()),
        Audience::Firm(firm) => Stream::Account(Audience::firm_stream(firm)),
        Audience::Instrument(topic) | Audience::Feed(topic) => Stream::Topic(topic),
    };
    outputs.into_iter().map(|(audience, bytes)| (stream(audience), bytes)).collect()
}

impl Model for Judge {
    fn begin_level(&mut self, level: u16) {
        self.naive.begin_level(level);
    }

    fn pass(&mut self, until: Nanos, about: &Context) -> Said {
        let context = ordain_exchange_model::Context {
            seq: about.seq.0,
            time: about.time.0,
            key: 0,
            permissions: 0,
            session: 0,
        };
        let outputs = self.naive.pass(&context, until.0);
        let disconnected = |bytes: &Vec<u8>| matches!(Output::decode(bytes), Ok(Output::Cancel(report)) if report.reason == Reason::Disconnected);
        let ended = outputs.iter().filter(|(_, bytes)| disconnected(bytes)).count();
        let reached = match ended {
            0 => vec![],
            1 => vec!["an order ends on disconnect"],
            _ => vec!["orders end on disconnect"],
        };
        Said { outputs: streamed(outputs), reached, ..Said::default() }
    }

    fn presence(&mut self, session: SessionId, presence: Presence, time: Nanos) {
        let (session, time) = (session.0, time.0);
        match presence {
            Presence::Lost => self.naive.lost(session, time),
            Presence::Unproved => self.naive.unproved(session, time),
            Presence::Back => self.naive.back(session),
            Presence::Ended => self.naive.ended(session, time),
        }
    }

    fn execute(&mut self, about: &Context, payload: &[u8]) -> Said {
        let request = Request::decode(payload).expect("what is in the log was admitted");
        let context = ordain_exchange_model::Context {
            seq: about.seq.0,
            time: about.time.0,
            key: about.key.0,
            permissions: about.permissions,
            session: about.session.0,
        };
        let amended = match &request {
            Request::Amend(amend) => self.named(amend).map(|order| (self.before(&order), order)),
            _ => None,
        };
        let (reply, outputs) = self.naive.execute(&context, &request);
        let mut reached = vec![outcome(&request, &reply, about.seq.0)];
        let decoded = Reply::decode(&reply).expect("the model's replies are replies");
        if let (Some((before, order)), 0) = (amended, decoded.code()) {
            reached.extend(self.place(&order, &before));
        }
        let watch = match request {
            Request::SetDisconnect(set) if decoded.code() == 0 => Some(set.on == Flag::Yes),
            _ => None,
        };
        Said { reply, outputs: streamed(outputs), watch, reached }
    }

    fn query(&self, about: &Context, payload: &[u8]) -> Vec<u8> {
        let query = Query::decode(payload).expect("what was answered was admitted");
        self.answer(about.key.0, about.permissions, &query)
    }
}

fn outcome(request: &Request<'_>, reply: &[u8], seq: u64) -> &'static str {
    let reply = Reply::decode(reply).expect("the model's replies are replies");
    if let Some(reject) = Reject::from_wire(reply.code()) {
        return rejected(reject);
    }
    match (request, reply) {
        (Request::CreateInstrument(_), _) => "accepted: create instrument",
        (Request::CreateAccount(_), _) => "accepted: create account",
        (Request::Grant(_), _) => "accepted: grant",
        (_, Reply::Transfer(transfer)) if transfer.seq.get() != seq => "transfer repeated",
        (Request::Deposit(_), _) => "accepted: deposit",
        (Request::Withdraw(_), _) => "accepted: withdrawal",
        (_, Reply::MassCancel(MassCancelReply { cancelled, .. })) => match cancelled.get() {
            0 => "mass cancel of none",
            1 => "mass cancel of one",
            _ => "mass cancel of several",
        },
        (Request::Cancel(_), _) => "cancel",
        (Request::SetSelfTrade(_), _) => "accepted: set self-trade",
        (Request::SetGroup(_), _) => "accepted: set group",
        (Request::SetState(_), _) => "accepted: set state",
        (Request::Market(_), _) => "accepted: market",
        (Request::Remark(_), _) => "accepted: remark",
        (Request::SetDisconnect(set), _) if set.on == Flag::Yes => "accepted: cancel on disconnect",
        (Request::SetDisconnect(_), _) => "accepted: stay on disconnect",
        (Request::Amend(_), Reply::Order(order)) => amended(order),
        (Request::Amend2(_), Reply::Order2(order)) => amended(&order.first()),
        (_, Reply::Order(order)) => entered(order),
        (_, Reply::Order2(order)) => entered(&order.first()),
        (_, Reply::Admin(_) | Reply::Transfer(_)) => unreachable!("their requests are dealt with above"),
    }
}

fn amended(order: &OrderReply) -> &'static str {
    match (order.reason, order.fills.get()) {
        (Reason::AmendedBelowFilled, _) => "amend to what was filled",
        (_, 0) => "amend rests",
        _ => "amend trades",
    }
}

fn entered(order: &OrderReply) -> &'static str {
    match (order.state, order.reason, order.fills.get()) {
        (OrderState::Waiting, ..) => "order waits",
        (OrderState::Live, _, 0) => "order rests",
        (OrderState::Live, ..) => "order rests after fills",
        (OrderState::Filled, ..) => "order filled",
        (_, Reason::SelfTrade, _) => "order meets one of its owner",
        (_, Reason::Budget, _) => "order spends all it has",
        (_, _, 0) => "order ends unfilled",
        _ => "order ends with a rest",
    }
}

/// Marks are told apart by name, so each rejection has a constant one.
fn rejected(reject: Reject) -> &'static str {
    macro_rules! names {
        ($($name:ident)*) => {
            match reject {
                $(Reject::$name => concat!("rejected: ", stringify!($name)),)*
                // What the traders here do not bring about.
                _ => "rejected: other",
            }
        };
    }
    names!(
        NotPermitted NotGranted UnknownAccount UnknownInstrument UnknownOrder MarketMustNotRest
        PostOnlyConflict MarketPriceSet QuantityTooSmall QuantityTooLarge PriceOutOfRange NoLiquidity
        NotionalTooSmall DuplicateClientOrderId OrdersFull AccountOrdersFull PostOnlyWouldCross LevelsFull
        NotFillable InsufficientFunds NotSupported TimeInForceConflict TriggerConflict TriggerOutOfRange
        TriggerMet TriggersFull DisplayConflict DisplayInvalid ExpiryConflict ExpiryPassed CashConflict
        CashTooSmall MarketHalted MarketCancelOnly MarketPostOnly MarketClosed AuctionGathers NoReference
        ReferenceFixed InstrumentOutOfRange InstrumentExists SymbolTaken CurrencyOutOfRange
        SameCurrency ScaleInvalid QuantityLimitsInvalid PriceLimitsInvalid FeeInvalid LimitsTooLarge
        AccountOutOfRange AccountExists GrantsFull AmountInvalid TransactionConflict SupplyExceeded
        NotBegun GraceTooLong
    )
}
