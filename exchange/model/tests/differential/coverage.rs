//! What the streams reached: a stream that never meets a rule proves nothing about it.

use crate::event::{Event, Presence, Said};
use ordain_exchange_protocol::{
    Answer, Control, ControlQuery, Flag, Market, MarketQuery, OrderState, Output, Query, Reason, Reject,
    Reply, Request,
};
use std::collections::BTreeMap;

/// How often each thing happened.
#[derive(Default)]
pub struct Coverage(BTreeMap<(&'static str, &'static str), u64>);

/// Things that have to happen, by message.
type Required = &'static [(&'static str, &'static [&'static str])];

/// Every reject code of every message that the page lists for it, and every outcome.
///
/// What cannot be reached: the generation of a slot starting over (2^32 orders).
pub const TINY: Required = &[
    ("CreateInstrument", &["accepted", "NotPermitted", "InstrumentOutOfRange", "InstrumentExists"]),
    ("CreateAccount", &["accepted", "NotPermitted", "AccountOutOfRange", "AccountExists"]),
    ("Grant", &["accepted", "NotPermitted", "UnknownAccount", "GrantsFull"]),
    (
        "Deposit",
        &[
            "accepted",
            "repeated",
            "NotPermitted",
            "UnknownAccount",
            "CurrencyOutOfRange",
            "AmountInvalid",
            "TransactionConflict",
            "SupplyExceeded",
        ],
    ),
    (
        "Withdraw",
        &[
            "accepted",
            "repeated",
            "NotPermitted",
            "UnknownAccount",
            "CurrencyOutOfRange",
            "AmountInvalid",
            "TransactionConflict",
            "InsufficientFunds",
        ],
    ),
    (
        "NewOrder",
        &[
            "NotPermitted",
            "NotGranted",
            "UnknownAccount",
            "UnknownInstrument",
            "MarketMustNotRest",
            "PostOnlyConflict",
            "MarketPriceSet",
            "QuantityTooSmall",
            "QuantityTooLarge",
            "PriceOutOfRange",
            "NoLiquidity",
            "NotionalTooSmall",
            "DuplicateClientOrderId",
            "OrdersFull",
            "AccountOrdersFull",
            "PostOnlyWouldCross",
            "LevelsFull",
            "NotFillable",
            "InsufficientFunds",
            "live",
            "live with fills",
            "filled",
            "cancelled: remainder",
            "cancelled: remainder with fills",
            "cancelled: budget with fills",
        ],
    ),
    ("Cancel", &["NotPermitted", "NotGranted", "UnknownAccount", "UnknownOrder", "cancelled: by its owner"]),
    (
        "Amend",
        &[
            "NotPermitted",
            "NotGranted",
            "UnknownAccount",
            "UnknownOrder",
            "QuantityTooSmall",
            "QuantityTooLarge",
            "PriceOutOfRange",
            "NotionalTooSmall",
            "PostOnlyWouldCross",
            "LevelsFull",
            "InsufficientFunds",
            "live",
            "live with fills",
            "filled",
            "cancelled: amended to or below what was filled",
        ],
    ),
    (
        "MassCancel",
        &["NotPermitted", "NotGranted", "UnknownAccount", "UnknownInstrument", "none", "one", "several"],
    ),
    (
        "fill",
        &[
            "filled",
            "live",
            "aggressor",
            "maker",
            "charge",
            "rebate",
            "nothing",
            "with itself",
            "after another",
        ],
    ),
    ("BookLevels", &["accepted", "NotPermitted", "UnknownInstrument"]),
    ("BookOrders", &["accepted", "NotPermitted", "UnknownInstrument", "UnknownOrder"]),
    ("Balances", &["accepted", "NotPermitted", "UnknownAccount", "NotGranted"]),
    ("Order", &["accepted", "NotPermitted", "UnknownAccount", "NotGranted", "UnknownOrder"]),
    ("Statistics", &["accepted", "NotPermitted"]),
    ("Instrument", &["accepted", "NotPermitted", "UnknownInstrument"]),
    ("Currency", &["accepted", "NotPermitted", "CurrencyOutOfRange"]),
    ("restore", &["done"]),
];

/// What needs deep books and many currencies.
pub const DEEP: Required = &[
    ("SetState", &["in several steps"]),
    ("mark", &["feed: an auction trades", "copy: in several steps"]),
    ("NewOrder", &["in several steps"]),
    ("Amend", &["in several steps"]),
    ("MassCancel", &["in several steps"]),
    ("SetFeed", &["in several steps"]),
    ("BookLevels", &["full"]),
    ("BookOrders", &["full"]),
    ("Balances", &["full"]),
    ("restore", &["done"]),
];

/// What needs many instruments.
pub const WIDE: Required = &[("SetState", &["in several steps"]), ("restore", &["done"])];

/// What needs orders in many instruments of which best prices are told.
pub const BROAD: Required = &[
    ("MassCancel", &["in several steps"]),
    (
        "mark",
        &[
            "feed: steps behind the reply",
            "feed: a mass cancel of several instruments",
            "copy: of a reply with steps behind it",
        ],
    ),
];

/// What needs instruments at the edges.
pub const HUGE: Required = &[
    (
        "CreateInstrument",
        &[
            "accepted",
            "NotPermitted",
            "InstrumentOutOfRange",
            "InstrumentExists",
            "SymbolTaken",
            "CurrencyOutOfRange",
            "SameCurrency",
            "ScaleInvalid",
            "QuantityLimitsInvalid",
            "PriceLimitsInvalid",
            "FeeInvalid",
            "LimitsTooLarge",
        ],
    ),
    ("Deposit", &["SupplyExceeded"]),
    ("notional", &["beyond 2^60"]),
    ("restore", &["done"]),
];

/// What the pages of `docs/exchange/` add, and where the things on them cross.
pub const PAGES: Required = &[
    (
        "NewOrder2",
        &[
            "NotPermitted",
            "NotGranted",
            "UnknownAccount",
            "UnknownInstrument",
            "MarketMustNotRest",
            "TimeInForceConflict",
            "PostOnlyConflict",
            "MarketPriceSet",
            "TriggerConflict",
            "DisplayConflict",
            "ExpiryConflict",
            "CashConflict",
            "QuantityTooSmall",
            "QuantityTooLarge",
            "DisplayInvalid",
            "ExpiryPassed",
            "PriceOutOfRange",
            "TriggerOutOfRange",
            "NoLiquidity",
            "NotionalTooSmall",
            "DuplicateClientOrderId",
            "OrdersFull",
            "AccountOrdersFull",
            "PostOnlyWouldCross",
            "TriggerMet",
            "TriggersFull",
            "LevelsFull",
            "NotFillable",
            "CashTooSmall",
            "InsufficientFunds",
            "waiting",
            "live",
            "live with fills",
            "filled",
            "cancelled: remainder",
            "cancelled: remainder with fills",
            "cancelled: budget with fills",
            "cancelled: self-trade",
            "cancelled: self-trade with fills",
        ],
    ),
    (
        "Amend2",
        &[
            "NotPermitted",
            "NotGranted",
            "UnknownAccount",
            "UnknownOrder",
            "TriggerConflict",
            "DisplayConflict",
            "MarketPriceSet",
            "QuantityTooSmall",
            "QuantityTooLarge",
            "DisplayInvalid",
            "PriceOutOfRange",
            "TriggerOutOfRange",
            "NotionalTooSmall",
            "PostOnlyWouldCross",
            "LevelsFull",
            "TriggerMet",
            "TriggersFull",
            "InsufficientFunds",
            "waiting",
            "live",
            "live with fills",
            "filled",
            "cancelled: self-trade",
            "cancelled: self-trade with fills",
            "cancelled: amended to or below what was filled",
        ],
    ),
    ("Amend", &["waiting", "MarketPriceSet"]),
    ("SetSelfTrade", &["accepted", "NotPermitted", "UnknownInstrument"]),
    ("SetGroup", &["accepted", "NotPermitted", "UnknownAccount"]),
    ("OrderDetail", &["accepted", "NotPermitted", "UnknownAccount", "NotGranted", "UnknownOrder"]),
    ("Trading", &["accepted", "NotPermitted", "UnknownInstrument"]),
    ("Owner", &["accepted", "NotPermitted", "UnknownAccount", "NotGranted"]),
    (
        "mark",
        &[
            "self-trade: allowed",
            "self-trade: cancel taker",
            "self-trade: cancel maker",
            "self-trade: cancel both",
            "self-trade: decrement",
            "self-trade: in a group",
            "self-trade: maker hides some",
            "self-trade: in a cascade",
            "self-trade: more than once",
            "self-trade: FOK goes past its owner's",
            "iceberg: shows anew",
            "iceberg: met again by one command",
            "amend: iceberg, keeps its place",
            "amend: iceberg, rests anew",
            "amend: waiting, keeps its place",
            "amend: another trigger",
            "triggered: stop buy",
            "triggered: stop sell",
            "triggered: stop-limit buy",
            "triggered: stop-limit sell",
            "triggered: market-if-touched buy",
            "triggered: market-if-touched sell",
            "triggered: limit-if-touched buy",
            "triggered: limit-if-touched sell",
            "cascade: trades",
            "cascade: several",
            "cascade: no level",
            "cascade: remainder",
            "cancel: waiting",
            "mass cancel: waiting",
            "expiry: in the book",
            "expiry: waiting",
            "expiry: iceberg",
            "expiry: several",
            "expiry: exactly now",
        ],
    ),
];

/// What `states.md` adds.
pub const STATES: Required = &[
    ("SetState", &["accepted", "NotPermitted", "UnknownInstrument"]),
    ("NewOrder", &["MarketHalted", "MarketCancelOnly", "MarketPostOnly"]),
    ("NewOrder2", &["MarketHalted", "MarketCancelOnly", "MarketPostOnly"]),
    ("Amend", &["MarketHalted", "MarketCancelOnly", "MarketPostOnly"]),
    ("Amend2", &["MarketHalted", "MarketCancelOnly", "MarketPostOnly"]),
    (
        "mark",
        &[
            "state: continuous again",
            "state: halted",
            "state: cancel-only",
            "state: post-only",
            "state: of several at once",
            "state: of all, which changes one",
            "state: as it was",
            "halt: orders wait",
            "halt: orders rest",
            "halted: cancel",
            "halted: mass cancel",
            "halted: an order expires",
            "halted: amend to what was filled",
            "cancel-only: cancel",
            "cancel-only: mass cancel",
            "cancel-only: an order expires",
            "cancel-only: amend to what was filled",
            "cancel-only: made smaller",
            "cancel-only: an amend to what it is",
            "cancel-only: an amend of one that waits",
            "post-only: cancel",
            "post-only: mass cancel",
            "post-only: an order expires",
            "post-only: amend to what was filled",
            "post-only: an order waits",
            "post-only: an order may be repriced",
            "post-only: an order rests",
            "post-only: an amend rests anew",
            "post-only: an amend of one that waits",
            "triggered: waited through a halt",
        ],
    ),
];

/// What `access.md` adds.
pub const ACCESS: Required = &[
    ("SetFirm", &["accepted", "NotPermitted", "UnknownAccount", "FirmOutOfRange"]),
    ("SetAccess", &["accepted", "NotPermitted", "UnknownAccount", "FirmOutOfRange"]),
    ("Kill", &["none", "one", "several", "NotPermitted", "UnknownAccount", "FirmOutOfRange"]),
    (
        "Purge",
        &["none", "one", "several", "NotPermitted", "UnknownAccount", "FirmOutOfRange", "UnknownInstrument"],
    ),
    ("NewOrder", REFUSED),
    ("NewOrder2", REFUSED),
    ("Amend2", REFUSED),
    ("Withdraw", &["ExchangeSuspended", "FirmSuspended", "AccountSuspended"]),
    ("Access", &["accepted", "NotPermitted", "UnknownAccount", "NotGranted"]),
    (
        "mark",
        &[
            "kill: an account",
            "kill: a firm",
            "kill: all",
            "kill: suspended already",
            "kill: blocked already",
            "kill: of several accounts",
            "purge: an account",
            "purge: a firm",
            "purge: all",
            "purge: of several accounts",
            "swept: waits",
            "swept: iceberg",
            "swept: where nothing trades",
            "blocked: made smaller",
            "blocked: cancel",
            "blocked: mass cancel",
            "blocked: amend to what was filled",
            "blocked: withdraws",
            "blocked: a maker trades",
            "blocked: is triggered",
            "blocked: an order expires",
            "suspended: cancel",
            "suspended: mass cancel",
            "suspended: amend to what was filled",
            "suspended: deposit",
            "suspended: the exchange's own money",
            "suspended: a maker trades",
            "suspended: is triggered",
            "suspended: an order expires",
        ],
    ),
];

/// What `auctions.md` adds.
pub const AUCTIONS: Required = &[
    ("SetReference", &["accepted", "NotPermitted", "UnknownInstrument", "PriceOutOfRange", "ReferenceFixed"]),
    ("NewOrder2", &["MarketClosed", "AuctionGathers", "NoReference"]),
    ("Amend2", &["MarketClosed"]),
    ("Auction", &["accepted", "NotPermitted", "UnknownInstrument"]),
    (
        "mark",
        &[
            "state: pre-open",
            "state: opening auction",
            "state: volatility auction",
            "state: closing auction",
            "state: closed",
            "auction: pre-open trades",
            "auction: opening trades",
            "auction: volatility trades",
            "auction: closing trades",
            "auction: trades out of a halt",
            "auction: nothing trades",
            "auction: several trades",
            "auction: balanced",
            "auction: buys are left",
            "auction: sells are left",
            "auction: a market order trades",
            "auction: an iceberg trades",
            "auction: a post-only order trades",
            "auction: one owner trades with itself",
            "auction: an order waits for it",
            "auction: an order comes in time",
            "auction: an order that waits for it is amended",
            "auction: limit orders join",
            "auction: market orders join",
            "auction: an order that joins finds no level",
            "auction: an order that joins finds no funds",
            "auction: its orders end",
            "auction: its price triggers",
            "blocked: trades in an auction",
            "suspended: trades in an auction",
            "day: an order in the book ends",
            "day: an order that waits ends",
            "day: an order of an auction ends in the book",
            "day: an order that waits for its auction ends",
            "indication: of a price",
            "indication: of nothing any more",
            "indication: of orders that expire",
            "indication: of a mass cancel, a purge or a kill",
        ],
    ),
];

/// What `bands.md` and `schedules.md` add.
pub const DAY: Required = &[
    ("SetBands", &["accepted", "NotPermitted", "UnknownInstrument", "BandInvalid"]),
    ("Bands", &["accepted", "NotPermitted", "UnknownInstrument"]),
    ("Schedule", &["accepted", "NotPermitted", "UnknownInstrument"]),
    ("Feed", &["accepted", "NotPermitted", "UnknownInstrument"]),
    ("SetSchedule", &["accepted", "NotPermitted", "UnknownInstrument", "ScheduleInvalid"]),
    ("NewOrder2", &["cancelled: band", "cancelled: band with fills"]),
    ("mark", &["call: begins", "call: is made longer"]),
];

/// What `risk.md` adds.
pub const LIMITS: Required = &[
    ("SetLimits", &["accepted", "NotPermitted", "UnknownAccount", "FirmOutOfRange"]),
    (
        "SetGrossLimit",
        &["accepted", "NotPermitted", "UnknownAccount", "FirmOutOfRange", "CurrencyOutOfRange"],
    ),
    ("SetInstrumentLimits", &["accepted", "NotPermitted", "UnknownAccount", "UnknownInstrument"]),
    ("SetPosition", &["accepted", "NotPermitted", "UnknownAccount", "UnknownInstrument"]),
    (
        "Limits",
        &["accepted", "NotPermitted", "UnknownAccount", "NotGranted", "FirmOutOfRange", "CurrencyOutOfRange"],
    ),
    ("InstrumentLimits", &["accepted", "NotPermitted", "UnknownAccount", "NotGranted", "UnknownInstrument"]),
    ("NewOrder2", &["AccountOrdersLimit", "FirmOrdersLimit", "FirmNotionalLimit"]),
    ("NewOrder2", LIMITED),
    ("Amend2", LIMITED),
];

/// What limits new orders and amends.
const LIMITED: &[&str] = &[
    "InstrumentNotAllowed",
    "OrderQuantityLimit",
    "OrderNotionalLimit",
    "OrderCollarLimit",
    "OpenQuantityLimit",
    "PositionLimit",
    "AccountNotionalLimit",
    "AccountRateLimit",
    "FirmRateLimit",
];

/// What `fees.md` adds.
pub const FEES: Required = &[
    ("SetFees", &["accepted", "NotPermitted", "FeeInvalid", "FeeAboveTerms"]),
    ("SetFeeClass", &["accepted", "NotPermitted", "UnknownInstrument", "FeeAboveTerms"]),
    ("SetFeeTier", &["accepted", "NotPermitted", "UnknownAccount"]),
    ("Fees", &["accepted", "NotPermitted", "UnknownAccount", "NotGranted", "UnknownInstrument"]),
    ("mark", &["fees: a rebate as high as the charge", "fees: both charged in an auction"]),
];

/// What `disconnect.md` adds.
pub const DISCONNECT: Required = &[
    ("Remark", &["accepted", "NotPermitted", "NotBegun"]),
    ("SetDisconnect", &["accepted", "NotPermitted", "NotBegun", "GraceTooLong"]),
    ("presence", &["lost", "unproved", "back", "ended"]),
    (
        "mark",
        &[
            "disconnect: in the book",
            "disconnect: waits",
            "disconnect: iceberg",
            "disconnect: partly filled",
            "disconnect: several",
            "disconnect: of several accounts",
            "disconnect: where nothing trades",
            "disconnect: behind orders that expire",
            "indication: of orders that end before",
        ],
    ),
];

/// What `market-data.md` adds.
pub const FEEDS: Required = &[
    ("SetFeed", &["accepted", "NotPermitted", "NotBegun", "UnknownInstrument"]),
    (
        "mark",
        &[
            "orders: are set, of an empty book",
            "orders: are set, of a book",
            "orders: are set again",
            "orders: add",
            "orders: an iceberg's next part",
            "orders: change",
            "orders: remove",
            "orders: off",
            "orders: a market order trades that is not told of",
            "levels: are set",
            "levels: are set again",
            "levels: change",
            "levels: remove",
            "levels: off",
            "top: is set",
            "top: change",
            "top: of an empty book",
            "top: off",
            "feed: by log time",
            "feed: a cancel",
            "feed: an amend in place",
            "feed: an amend that rests anew",
            "feed: an amend that trades",
            "feed: a mass cancel of several instruments",
            "feed: a kill or purge of several instruments",
            "feed: an order expires",
            "feed: a session's orders end",
            "feed: orders end with their auction",
            "feed: orders end with the day",
            "feed: orders of one owner meet",
            "feed: a triggered order rests",
            "feed: orders join an auction",
            "feed: an auction trades",
            "feed: a band stops an order",
            "feed: a sweep of a level, told once",
            "feed: goes on behind a restore",
        ],
    ),
];

/// What `drop-copies.md` adds.
pub const COPIES: Required = &[
    ("GrantFirm", &["accepted", "NotPermitted", "NotBegun", "FirmOutOfRange", "GrantsFull"]),
    (
        "mark",
        &[
            "copy: a granted key may read",
            "copy: an administrator may read",
            "copy: another key may not read",
            "copy: there is no such firm",
            "copy: granted already",
            "copy: revoked already",
            "copy: a key is revoked, not the last",
            "copy: the last key is revoked",
            "copy: granted again",
            "copy: an account has changed its firm",
            "copy: a fill, maker",
            "copy: a fill, aggressor",
            "copy: a fill, while an auction trades",
            "copy: both accounts of a trade",
            "copy: an account trades with itself",
            "copy: a trade of two firms",
            "copy: a meeting",
            "copy: a trigger",
            "copy: an order expires",
            "copy: a session's orders end",
            "copy: a mass cancel's report",
            "copy: a kill",
            "copy: a purge",
            "copy: an order ends with its auction or the day",
            "copy: another cancel",
            "copy: the reply to NewOrder",
            "copy: the reply to NewOrder2",
            "copy: the reply to Cancel",
            "copy: the reply to Amend",
            "copy: the reply to Amend2",
            "copy: the reply to MassCancel",
            "copy: goes on behind a restore",
        ],
    ),
];

/// Who is refused, and by whom.
const REFUSED: &[&str] = &[
    "ExchangeBlocked",
    "ExchangeSuspended",
    "FirmBlocked",
    "FirmSuspended",
    "AccountBlocked",
    "AccountSuspended",
];

fn kind(request: &Request<'_>) -> &'static str {
    match request {
        Request::CreateInstrument(_) => "CreateInstrument",
        Request::CreateAccount(_) => "CreateAccount",
        Request::Grant(_) => "Grant",
        Request::Deposit(_) => "Deposit",
        Request::Withdraw(_) => "Withdraw",
        Request::NewOrder(_) => "NewOrder",
        Request::Cancel(_) => "Cancel",
        Request::Amend(_) => "Amend",
        Request::MassCancel(_) => "MassCancel",
        Request::NewOrder2(_) => "NewOrder2",
        Request::Amend2(_) => "Amend2",
        Request::SetSelfTrade(_) => "SetSelfTrade",
        Request::SetGroup(_) => "SetGroup",
        Request::SetState(_) => "SetState",
        Request::SetDisconnect(_) => "SetDisconnect",
        Request::Remark(_) => "Remark",
        Request::Market(Market::SetReference(_)) => "SetReference",
        Request::Market(Market::SetBands(_)) => "SetBands",
        Request::Market(Market::SetSchedule(_)) => "SetSchedule",
        Request::Market(Market::SetFeed(_)) => "SetFeed",
        Request::Control(Control::SetFirm(_)) => "SetFirm",
        Request::Control(Control::SetAccess(_)) => "SetAccess",
        Request::Control(Control::Kill(_)) => "Kill",
        Request::Control(Control::Purge(_)) => "Purge",
        Request::Control(Control::SetLimits(_)) => "SetLimits",
        Request::Control(Control::SetGrossLimit(_)) => "SetGrossLimit",
        Request::Control(Control::SetInstrumentLimits(_)) => "SetInstrumentLimits",
        Request::Control(Control::SetPosition(_)) => "SetPosition",
        Request::Control(Control::SetFees(_)) => "SetFees",
        Request::Control(Control::SetFeeClass(_)) => "SetFeeClass",
        Request::Control(Control::SetFeeTier(_)) => "SetFeeTier",
        Request::Control(Control::GrantFirm(_)) => "GrantFirm",
    }
}

fn query_kind(query: &Query<'_>) -> &'static str {
    match query {
        Query::BookLevels(_) => "BookLevels",
        Query::BookOrders(_) => "BookOrders",
        Query::Balances(_) => "Balances",
        Query::Order(_) => "Order",
        Query::Statistics(_) => "Statistics",
        Query::Instrument(_) => "Instrument",
        Query::Currency(_) => "Currency",
        Query::OrderDetail(_) => "OrderDetail",
        Query::Trading(_) => "Trading",
        Query::Owner(_) => "Owner",
        Query::Auction(_) => "Auction",
        Query::Market(MarketQuery::Bands(_)) => "Bands",
        Query::Market(MarketQuery::Schedule(_)) => "Schedule",
        Query::Market(MarketQuery::Feed(_)) => "Feed",
        Query::Control(ControlQuery::Access(_)) => "Access",
        Query::Control(ControlQuery::Limits(_)) => "Limits",
        Query::Control(ControlQuery::InstrumentLimits(_)) => "InstrumentLimits",
        Query::Control(ControlQuery::Fees(_)) => "Fees",
    }
}

impl Coverage {
    fn count(&mut self, of: &'static str, what: &'static str) {
        *self.0.entry((of, what)).or_default() += 1;
    }

    /// Counts what a listener marked.
    pub fn mark(&mut self, marks: impl Iterator<Item = &'static str>) {
        marks.for_each(|mark| self.count("mark", mark));
    }

    /// Counts what an event led to.
    pub fn note(&mut self, event: &Event, said: &Said) {
        match event {
            Event::Request(context, bytes) => {
                let request = Request::decode(bytes).expect("a request");
                let reply = Reply::decode(&said.reply).expect("a reply");
                self.note_reply(kind(&request), &reply, context.seq);
                if said.steps > 1 {
                    self.count(kind(&request), "in several steps");
                }
                let outputs: Vec<Output<'_>> =
                    said.outputs.iter().map(|(_, bytes)| Output::decode(bytes).expect("an output")).collect();
                for output in &outputs {
                    match output {
                        Output::Call(it) if it.extensions == 0 => self.count("mark", "call: begins"),
                        Output::Call(_) => self.count("mark", "call: is made longer"),
                        _ => {}
                    }
                }
                outputs.windows(3).for_each(|trade| self.note_fills(trade));
            }
            Event::Query(_, bytes) => {
                let kind = query_kind(&Query::decode(bytes).expect("a query"));
                let code = u16::from_le_bytes([said.reply[2], said.reply[3]]);
                self.count(kind, Reject::from_wire(code).map_or("accepted", Reject::name));
            }
            Event::Presence(_, what, _) => self.count(
                "presence",
                match what {
                    Presence::Lost => "lost",
                    Presence::Unproved => "unproved",
                    Presence::Back => "back",
                    Presence::Ended => "ended",
                },
            ),
            Event::Level(_) => self.count("level", "begins"),
            Event::Restore => self.count("restore", "done"),
        }
        for answer in &said.pages {
            match Answer::decode(answer).expect("an answer") {
                Answer::BookLevels(_, bids, _) if bids.len() == 20 => self.count("BookLevels", "full"),
                Answer::BookOrders(_, orders) if orders.len() == 25 => self.count("BookOrders", "full"),
                Answer::Balances(_, entries) if entries.len() == 42 => self.count("Balances", "full"),
                _ => {}
            }
        }
    }

    fn note_reply(&mut self, kind: &'static str, reply: &Reply<'_>, seq: u64) {
        if let Some(reject) = Reject::from_wire(reply.code()) {
            return self.count(kind, reject.name());
        }
        let second;
        let reply = match reply {
            Reply::Order2(reply) => {
                second = reply.first();
                &Reply::Order(&second)
            }
            other => other,
        };
        if let Reply::Order(reply) = reply
            && reply.notional.get() > 1 << 60
        {
            self.count("notional", "beyond 2^60");
        }
        let outcome = match reply {
            Reply::Admin(_) => "accepted",
            Reply::Transfer(reply) if reply.seq.get() != seq => "repeated",
            Reply::Transfer(_) => "accepted",
            Reply::MassCancel(reply) => match reply.cancelled.get() {
                0 => "none",
                1 => "one",
                _ => "several",
            },
            Reply::Order(reply) => match (reply.state, reply.reason, reply.fills.get() > 0) {
                (OrderState::Waiting, Reason::None, false) => "waiting",
                (OrderState::Cancelled, Reason::SelfTrade, false) => "cancelled: self-trade",
                (OrderState::Cancelled, Reason::SelfTrade, true) => "cancelled: self-trade with fills",
                (OrderState::Cancelled, Reason::Budget, false) => "cancelled: budget",
                (OrderState::Live, Reason::None, false) => "live",
                (OrderState::Live, Reason::None, true) => "live with fills",
                (OrderState::Filled, Reason::None, true) => "filled",
                (OrderState::Cancelled, Reason::Cancelled, false) => "cancelled: by its owner",
                (OrderState::Cancelled, Reason::Remainder, false) => "cancelled: remainder",
                (OrderState::Cancelled, Reason::Remainder, true) => "cancelled: remainder with fills",
                (OrderState::Cancelled, Reason::Band, false) => "cancelled: band",
                (OrderState::Cancelled, Reason::Band, true) => "cancelled: band with fills",
                (OrderState::Cancelled, Reason::Budget, true) => "cancelled: budget with fills",
                (OrderState::Cancelled, Reason::AmendedBelowFilled, false) => {
                    "cancelled: amended to or below what was filled"
                }
                other => panic!("no such outcome: {other:?}"),
            },
            Reply::Order2(_) => unreachable!("taken for the first layout"),
        };
        self.count(kind, outcome);
    }

    fn note_fills(&mut self, trade: &[Output<'_>]) {
        let [Output::Fill(maker), Output::Fill(taker), Output::Trade(_)] = trade else {
            return;
        };
        for report in [maker, taker] {
            self.count("fill", if report.state == OrderState::Filled { "filled" } else { "live" });
            self.count("fill", if report.aggressor == Flag::Yes { "aggressor" } else { "maker" });
            self.count(
                "fill",
                match report.fee.get() {
                    0 => "nothing",
                    1.. => "charge",
                    _ => "rebate",
                },
            );
        }
        if maker.account == taker.account {
            self.count("fill", "with itself");
        }
        if taker.index.get() > 0 {
            self.count("fill", "after another");
        }
    }

    /// Everything required has happened.
    pub fn assert_complete(&self, required: &[Required]) {
        let missing: Vec<String> = required
            .iter()
            .copied()
            .flatten()
            .flat_map(|(of, whats)| whats.iter().map(move |what| (*of, *what)))
            .filter(|key| !self.0.contains_key(key))
            .map(|(of, what)| format!("{of}: {what}"))
            .collect();
        for ((of, what), count) in &self.0 {
            println!("{count:>9} {of}: {what}");
        }
        assert!(missing.is_empty(), "the streams never reached\n{}", missing.join("\n"));
    }
}
