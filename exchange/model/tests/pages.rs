//! The examples on the pages of `docs/exchange/`, and the edges that the pages speak of: a row each, for the model
//! alone.
#![forbid(unsafe_code)]

#[path = "pages/desk.rs"]
mod desk;
#[path = "pages/streams.rs"]
mod streams;

use desk::{Desk, amend, limit, market, order};
use ordain_exchange_model::Model;
use ordain_exchange_protocol::{
    Access, Cancel, GrantAction, GrantFirm, IntoBytes, Kill, MarketState, NewOrder2, OrderRef, OrderState,
    OrderType, PostOnly, Reason, Reject, Scope, SelfTrade, SetAccess, SetDisconnect, SetFeeClass, SetFeeTier,
    SetFeed, SetFees, SetFirm, SetInstrumentLimits, SetLimits, SetReference, Side, TimeInForce, note,
};

const A: u32 = 1;
const B: u32 = 2;
const C: u32 = 3;

fn with(order: NewOrder2, self_trade: SelfTrade) -> NewOrder2 {
    NewOrder2 { self_trade, ..order }
}

fn lasting(order: NewOrder2, time_in_force: TimeInForce) -> NewOrder2 {
    NewOrder2 { time_in_force, ..order }
}

fn waiting(order_type: OrderType, order: NewOrder2, trigger: i64) -> NewOrder2 {
    NewOrder2 { order_type, trigger: trigger.into(), ..order }
}

fn iceberg(order: NewOrder2, display: u64) -> NewOrder2 {
    NewOrder2 { display: display.into(), ..order }
}

#[test]
fn orders_market_to_limit() {
    let mut desk = Desk::with_taker_fee(30_000);
    desk.enters(limit(B, Side::Sell, 100, 5));
    let reply = desk.enters(order(A, OrderType::MarketToLimit, Side::Buy, 8));
    assert_eq!((reply.price.get(), reply.cumulative.get(), reply.remaining.get()), (100, 5, 3));
    assert_eq!((reply.state, reply.reason), (OrderState::Live, Reason::None));
    assert_eq!(desk.levels(), (vec![(100, 3, 1)], vec![]));
    assert_eq!(desk.detail(A, reply.order_id.get()).order_type, OrderType::Limit);
}

#[test]
fn orders_by_cash() {
    let mut desk = Desk::with_taker_fee(30_000);
    desk.enters(limit(B, Side::Sell, 100, 5));
    let before = desk.free(A, desk::QUOTE);
    let cash = NewOrder2 { cash: 2_100.into(), ..market(A, Side::Buy, 0) };
    let reply = desk.enters(cash);
    assert_eq!((reply.cumulative.get(), reply.cancelled.get()), (2, 998));
    assert_eq!((reply.state, reply.reason), (OrderState::Cancelled, Reason::Budget));
    assert_eq!(before - desk.free(A, desk::QUOTE), 2_060);
    assert_eq!(desk.refused(NewOrder2 { cash: 1_029.into(), ..cash }), Reject::CashTooSmall);
    assert_eq!(desk.refused(NewOrder2 { quantity: 1.into(), ..cash }), Reject::CashConflict);
    assert_eq!(desk.refused(NewOrder2 { side: Side::Sell, ..cash }), Reject::CashConflict);
}

#[test]
fn orders_post_only_reprices() {
    let mut desk = Desk::new();
    desk.enters(limit(B, Side::Sell, 100, 5));
    let reprice = |order| NewOrder2 { post_only: PostOnly::Reprice, ..order };
    let reply = desk.enters(reprice(limit(A, Side::Buy, 102, 1)));
    assert_eq!((reply.price.get(), reply.state), (99, OrderState::Live));
    // Beside one's own order too.
    let reply = desk.enters(reprice(limit(B, Side::Buy, 100, 1)));
    assert_eq!(reply.price.get(), 99);
    // An amend settles the price anew: here it comes to where it is, and keeps its place.
    let first = desk.book(Side::Buy, 99)[0];
    assert_eq!(desk.amends(amend(A, first, 105, 1)).price.get(), 99);
    assert_eq!(desk.book(Side::Buy, 99)[0], first);
    // There is nothing beside the lowest price.
    desk.enters(limit(C, Side::Sell, 1, 10));
    let reply = desk.refused(reprice(limit(A, Side::Buy, 102, 1)));
    assert_eq!(reply, Reject::PostOnlyWouldCross);
}

#[test]
fn self_trade_takes_the_taker() {
    for (mode, maker_left) in
        [(SelfTrade::CancelTaker, vec![(100, 10, 2)]), (SelfTrade::CancelBoth, vec![(100, 6, 1)])]
    {
        let mut desk = Desk::new();
        desk.enters(limit(A, Side::Sell, 100, 4));
        desk.enters(limit(B, Side::Sell, 100, 6));
        let reply = desk.enters(with(limit(A, Side::Buy, 100, 8), mode));
        assert_eq!((reply.state, reply.reason), (OrderState::Cancelled, Reason::SelfTrade));
        assert_eq!((reply.cancelled.get(), reply.prevented.get(), reply.fills.get()), (8, 4, 0));
        assert_eq!(desk.levels(), (vec![], maker_left));
        assert_eq!(desk.told(), ["meets maker 4", "meets taker 4"]);
    }
}

#[test]
fn self_trade_takes_the_maker() {
    let mut desk = Desk::new();
    desk.enters(limit(A, Side::Sell, 100, 4));
    desk.enters(limit(B, Side::Sell, 100, 6));
    let reply = desk.enters(with(limit(A, Side::Buy, 100, 8), SelfTrade::CancelMaker));
    assert_eq!((reply.state, reply.cumulative.get(), reply.remaining.get()), (OrderState::Live, 6, 2));
    assert_eq!((reply.cancelled.get(), reply.prevented.get()), (0, 4));
    assert_eq!(desk.levels(), (vec![(100, 2, 1)], vec![]));
}

#[test]
fn self_trade_decrements() {
    let mut desk = Desk::new();
    desk.enters(limit(A, Side::Sell, 100, 4));
    desk.enters(limit(B, Side::Sell, 100, 6));
    let reply = desk.enters(with(limit(A, Side::Buy, 100, 8), SelfTrade::Decrement));
    assert_eq!((reply.state, reply.reason), (OrderState::Filled, Reason::None));
    assert_eq!((reply.cumulative.get(), reply.cancelled.get(), reply.prevented.get()), (4, 4, 4));
    assert_eq!(desk.levels(), (vec![], vec![(100, 2, 1)]));
    // The same the other way round: the taker loses its last lots to the meeting.
    desk.enters(limit(A, Side::Sell, 99, 4));
    let reply = desk.enters(with(limit(A, Side::Buy, 100, 3), SelfTrade::Decrement));
    assert_eq!(
        (reply.state, reply.reason, reply.cancelled.get()),
        (OrderState::Cancelled, Reason::SelfTrade, 3)
    );
    // What is left after decrement is what an amend counts from: 1 is not more than the total, so it keeps its place.
    let maker = desk.book(Side::Sell, 99)[0];
    desk.enters(limit(B, Side::Sell, 99, 1));
    desk.amends(amend(A, maker, 99, 1));
    assert_eq!(desk.book(Side::Sell, 99)[0], maker);
}

#[test]
fn self_trade_by_group_and_by_instrument() {
    let mut desk = Desk::new();
    desk.enters(limit(A, Side::Sell, 100, 4));
    desk.sets_mode(SelfTrade::CancelTaker);
    // Not one owner yet.
    assert_eq!(desk.enters(limit(B, Side::Buy, 100, 1)).state, OrderState::Filled);
    desk.sets_group(A, 7);
    desk.sets_group(B, 7);
    assert_eq!(desk.enters(limit(B, Side::Buy, 100, 1)).reason, Reason::SelfTrade);
    // The order's own mode goes before the instrument's.
    assert_eq!(desk.enters(with(limit(B, Side::Buy, 100, 1), SelfTrade::Allow)).state, OrderState::Filled);
    // Group 0 is none.
    desk.sets_group(A, 0);
    desk.sets_group(B, 0);
    assert_eq!(desk.enters(limit(B, Side::Buy, 100, 1)).state, OrderState::Filled);
}

#[test]
fn fok_knows_self_trade_prevention() {
    let fok = |order, mode| lasting(with(order, mode), TimeInForce::Fok);
    let mut desk = Desk::new();
    desk.enters(limit(A, Side::Sell, 100, 4));
    desk.enters(limit(B, Side::Sell, 100, 6));
    for mode in [SelfTrade::CancelTaker, SelfTrade::CancelBoth, SelfTrade::Decrement] {
        assert_eq!(desk.refused(fok(limit(A, Side::Buy, 100, 6), mode)), Reject::NotFillable);
    }
    assert_eq!(desk.refused(fok(limit(A, Side::Buy, 100, 7), SelfTrade::CancelMaker)), Reject::NotFillable);
    let reply = desk.enters(fok(limit(A, Side::Buy, 100, 6), SelfTrade::CancelMaker));
    assert_eq!((reply.state, reply.cumulative.get(), reply.prevented.get()), (OrderState::Filled, 6, 4));
}

#[test]
fn fok_counts_what_is_hidden_but_not_behind_its_owner() {
    let fok = |order| lasting(with(order, SelfTrade::CancelTaker), TimeInForce::Fok);
    let mut desk = Desk::new();
    desk.enters(iceberg(limit(B, Side::Sell, 99, 5), 2));
    desk.enters(iceberg(limit(B, Side::Sell, 100, 5), 2));
    desk.enters(limit(A, Side::Sell, 100, 1));
    // 5 at 99, and of those at 100 the 2 shown in front of A's own.
    assert_eq!(desk.refused(fok(limit(A, Side::Buy, 100, 8))), Reject::NotFillable);
    assert_eq!(desk.enters(fok(limit(A, Side::Buy, 100, 7))).state, OrderState::Filled);
    assert_eq!(desk.levels(), (vec![], vec![(100, 3, 2)]));
}

#[test]
fn stops_the_example() {
    let mut desk = Desk::new();
    desk.enters(limit(A, Side::Sell, 100, 1));
    desk.enters(limit(B, Side::Buy, 100, 1));
    desk.enters(limit(C, Side::Sell, 101, 1));
    desk.enters(limit(C, Side::Sell, 103, 5));
    let stop = desk.enters(waiting(OrderType::Stop, order(A, OrderType::Stop, Side::Buy, 2), 101));
    assert_eq!((stop.state, stop.price.get(), stop.remaining.get()), (OrderState::Waiting, 151, 2));
    assert_eq!(desk.held(A, desk::QUOTE), 2 * 151 * 10);
    let other = desk.enters(waiting(OrderType::StopLimit, limit(B, Side::Sell, 98, 1), 99));
    let reply = desk.enters(limit(C, Side::Buy, 101, 1));
    assert_eq!((reply.state, reply.fills.get()), (OrderState::Filled, 1));
    assert_eq!(
        desk.told(),
        [
            "fill maker 1 at 101",
            "fill taker 1 at 101",
            "trade 1 at 101",
            "triggered 2 at 151",
            "fill maker 2 at 103",
            "fill taker 2 at 103",
            "trade 2 at 103",
        ]
    );
    assert_eq!(desk.detail(B, other.order_id.get()).state, OrderState::Waiting);
    assert_eq!(desk.held(A, desk::QUOTE), 0);
}

#[test]
fn stops_one_sets_off_the_next() {
    let mut desk = Desk::new();
    for price in [101, 102, 103] {
        desk.enters(limit(C, Side::Sell, price, 1));
    }
    // The first trade reaches only the first trigger; it trades at 102, which reaches the second.
    desk.enters(waiting(OrderType::Stop, order(A, OrderType::Stop, Side::Buy, 1), 102));
    desk.enters(waiting(OrderType::Stop, order(B, OrderType::Stop, Side::Buy, 1), 101));
    desk.enters(limit(C, Side::Buy, 101, 1));
    let triggered: Vec<String> = desk.told().into_iter().filter(|said| said.starts_with("tr")).collect();
    assert_eq!(
        triggered,
        ["trade 1 at 101", "triggered 1 at 151", "trade 1 at 102", "triggered 1 at 152", "trade 1 at 103"]
    );
}

#[test]
fn stops_end_or_rest() {
    let mut desk = Desk::new();
    desk.enters(limit(C, Side::Sell, 101, 1));
    desk.enters(waiting(OrderType::Stop, order(A, OrderType::Stop, Side::Buy, 2), 101));
    desk.enters(waiting(OrderType::StopLimit, limit(B, Side::Buy, 99, 3), 101));
    let limit_order = desk.enters(limit(C, Side::Buy, 101, 1));
    assert_eq!(limit_order.state, OrderState::Filled);
    assert_eq!(desk.told()[3..], ["triggered 2 at 151", "cancelled 2, Remainder", "triggered 3 at 99"]);
    assert_eq!(desk.levels(), (vec![(99, 3, 1)], vec![]));
    // The last trade, at 101, meets these already.
    for (kind, side, trigger) in [
        (OrderType::Stop, Side::Buy, 101),
        (OrderType::Stop, Side::Sell, 101),
        (OrderType::MarketIfTouched, Side::Buy, 101),
        (OrderType::MarketIfTouched, Side::Sell, 100),
        (OrderType::Stop, Side::Sell, 102),
    ] {
        let refused = desk.refused(waiting(kind, order(A, kind, side, 1), trigger));
        assert_eq!(refused, Reject::TriggerMet, "{kind:?} {side:?} {trigger}");
    }
}

#[test]
fn stops_find_no_level() {
    let mut desk = Desk::new();
    for price in [10, 11, 12, 13] {
        desk.enters(limit(B, Side::Buy, price, 1));
    }
    desk.enters(limit(C, Side::Sell, 101, 1));
    desk.enters(waiting(OrderType::LimitIfTouched, limit(A, Side::Buy, 99, 3), 102));
    assert_eq!(desk.held(A, desk::QUOTE), 3 * 99 * 10);
    desk.enters(lasting(market(C, Side::Buy, 1), TimeInForce::Ioc));
    assert_eq!(desk.told()[3..], ["triggered 3 at 99", "cancelled 3, NoLevel"]);
    assert_eq!(desk.held(A, desk::QUOTE), 0);
}

#[test]
fn stops_are_amended() {
    let mut desk = Desk::new();
    let stop = desk.enters(waiting(OrderType::Stop, order(A, OrderType::Stop, Side::Buy, 2), 101));
    let id = stop.order_id.get();
    assert_eq!(desk.refused_amend(amend(A, id, 5, 2)), Reject::MarketPriceSet);
    let mut change = amend(A, id, 0, 3);
    change.trigger = 110.into();
    let reply = desk.amends(change);
    assert_eq!((reply.state, reply.price.get(), reply.remaining.get()), (OrderState::Waiting, 160, 3));
    change.trigger = 201.into();
    assert_eq!(desk.refused_amend(change), Reject::TriggerOutOfRange);
    change.trigger = 0.into();
    change.quantity = 0.into();
    assert_eq!(desk.amends(change).reason, Reason::AmendedBelowFilled);
    let rests = desk.enters(limit(A, Side::Buy, 5, 2));
    change = amend(A, rests.order_id.get(), 5, 2);
    change.trigger = 7.into();
    assert_eq!(desk.refused_amend(change), Reject::TriggerConflict);
}

#[test]
fn icebergs_the_example() {
    let mut desk = Desk::new();
    let berg = desk.enters(iceberg(limit(A, Side::Sell, 100, 10), 4)).order_id.get();
    let other = desk.enters(limit(B, Side::Sell, 100, 3)).order_id.get();
    assert_eq!(desk.levels(), (vec![], vec![(100, 7, 2)]));
    let reply = desk.enters(limit(C, Side::Buy, 100, 5));
    assert_eq!(reply.fills.get(), 2);
    // B's is in front now.
    assert_eq!(desk.book(Side::Sell, 100), [other, berg]);
    let reply = desk.enters(limit(C, Side::Buy, 100, 4));
    assert_eq!(reply.fills.get(), 2);
    assert_eq!(desk.levels(), (vec![], vec![(100, 2, 1)]));
    let detail = desk.detail(A, berg);
    assert_eq!((detail.remaining.get(), detail.visible.get(), detail.display.get()), (4, 2, 4));
}

#[test]
fn icebergs_are_amended() {
    let mut desk = Desk::new();
    let berg = desk.enters(iceberg(limit(A, Side::Sell, 100, 10), 4)).order_id.get();
    let other = desk.enters(limit(B, Side::Sell, 100, 3)).order_id.get();
    desk.enters(limit(C, Side::Buy, 100, 1));
    // A lower total keeps the place and what is shown; as low as what is shown, it shows no more than is left.
    desk.amends(amend(A, berg, 100, 5));
    assert_eq!((desk.detail(A, berg).remaining.get(), desk.detail(A, berg).visible.get()), (4, 3));
    desk.amends(amend(A, berg, 100, 3));
    assert_eq!((desk.detail(A, berg).remaining.get(), desk.detail(A, berg).visible.get()), (2, 2));
    assert_eq!(desk.book(Side::Sell, 100), [berg, other]);
    // Another display quantity: it rests anew.
    let mut change = amend(A, berg, 100, 3);
    change.display = 1.into();
    desk.amends(change);
    assert_eq!(desk.detail(A, berg).visible.get(), 1);
    assert_eq!(desk.book(Side::Sell, 100), [other, berg]);
    change.display = 4.into();
    assert_eq!(desk.refused_amend(change), Reject::DisplayInvalid);
    let mut plain = amend(B, other, 100, 3);
    plain.display = 1.into();
    assert_eq!(desk.refused_amend(plain), Reject::DisplayConflict);
}

#[test]
fn gtd_ends_at_its_expiry() {
    for (time, fills) in [(999, 1), (1_000, 0)] {
        let mut desk = Desk::new();
        let gtd =
            NewOrder2 { expiry: 1_000.into(), ..lasting(limit(A, Side::Sell, 100, 1), TimeInForce::Gtd) };
        desk.enters(gtd);
        desk.time = time;
        let reply = desk.enters(lasting(limit(B, Side::Buy, 100, 1), TimeInForce::Ioc));
        assert_eq!(reply.fills.get(), fills);
        let ended = desk.told().contains(&"cancelled 1, Expired".to_owned());
        assert_eq!(ended, fills == 0);
        let again = NewOrder2 { expiry: time.into(), ..gtd };
        assert_eq!(desk.refused(again), Reject::ExpiryPassed);
    }
}

#[test]
fn gtd_end_in_the_order_of_their_expiry() {
    let mut desk = Desk::new();
    let gtd = |lots, expiry: u64| NewOrder2 {
        expiry: expiry.into(),
        ..lasting(limit(A, Side::Sell, 100, lots), TimeInForce::Gtd)
    };
    desk.enters(gtd(1, 20));
    let second = desk.enters(gtd(2, 10)).order_id.get();
    desk.enters(gtd(3, 10));
    desk.enters(NewOrder2 { order_type: OrderType::StopLimit, trigger: 90.into(), ..gtd(4, 15) });
    desk.amends(amend(A, second, 101, 2));
    desk.time = 30;
    desk.enters(limit(B, Side::Buy, 1, 1));
    assert_eq!(
        desk.told(),
        ["cancelled 2, Expired", "cancelled 3, Expired", "cancelled 4, Expired", "cancelled 1, Expired"]
    );
}

#[test]
fn what_does_not_go_together() {
    let stop = waiting(OrderType::Stop, order(A, OrderType::Stop, Side::Buy, 1), 101);
    let plain = limit(A, Side::Buy, 100, 5);
    let taking = market(A, Side::Buy, 1);
    let rows = [
        (lasting(stop, TimeInForce::Ato), Reject::TimeInForceConflict),
        (lasting(taking, TimeInForce::Day), Reject::MarketMustNotRest),
        (lasting(taking, TimeInForce::Gtd), Reject::MarketMustNotRest),
        (lasting(stop, TimeInForce::Ioc), Reject::TimeInForceConflict),
        (NewOrder2 { post_only: PostOnly::Reprice, ..stop }, Reject::PostOnlyConflict),
        (NewOrder2 { price: 1.into(), ..stop }, Reject::MarketPriceSet),
        (NewOrder2 { trigger: 1.into(), ..plain }, Reject::TriggerConflict),
        (iceberg(stop, 1), Reject::DisplayConflict),
        (lasting(plain, TimeInForce::Gtd), Reject::ExpiryConflict),
        (NewOrder2 { expiry: 1.into(), ..plain }, Reject::ExpiryConflict),
        (NewOrder2 { cash: 1.into(), ..plain }, Reject::CashConflict),
        (iceberg(plain, 6), Reject::DisplayInvalid),
        (NewOrder2 { trigger: 0.into(), ..stop }, Reject::TriggerOutOfRange),
        (order(A, OrderType::MarketToLimit, Side::Buy, 1), Reject::NoLiquidity),
    ];
    let mut desk = Desk::new();
    for (order, reject) in rows {
        assert_eq!(desk.refused(order), reject, "{order:?}");
    }
}

#[test]
fn triggers_are_as_many_as_levels() {
    let mut desk = Desk::new();
    let up = |trigger| waiting(OrderType::StopLimit, limit(A, Side::Buy, 50, 1), trigger);
    let ids: Vec<u64> = (110..114).map(|trigger| desk.enters(up(trigger)).order_id.get()).collect();
    assert_eq!(desk.refused(up(114)), Reject::TriggersFull);
    desk.enters(up(110));
    // The sells that wait for up are in the same queue, those for down in another.
    let touched = waiting(OrderType::LimitIfTouched, limit(A, Side::Sell, 150, 1), 114);
    assert_eq!(desk.refused(touched), Reject::TriggersFull);
    desk.enters(waiting(OrderType::StopLimit, limit(A, Side::Sell, 50, 1), 90));
    // One that is alone at its trigger may take it elsewhere, one that is not may not.
    let mut change = amend(A, ids[1], 50, 1);
    change.trigger = 114.into();
    desk.amends(change);
    change = amend(A, ids[0], 50, 1);
    change.trigger = 115.into();
    assert_eq!(desk.refused_amend(change), Reject::TriggersFull);
}

#[test]
fn states_the_example() {
    let mut desk = Desk::new();
    let ask = desk.enters(limit(B, Side::Sell, 100, 4)).order_id.get();
    desk.sets_state(MarketState::Halted);
    assert_eq!(desk.told(), ["state Halted"]);
    let taking = lasting(limit(A, Side::Buy, 100, 1), TimeInForce::Ioc);
    assert_eq!(desk.refused(taking), Reject::MarketHalted);
    assert_eq!(desk.cancels(B, ask).reason, Reason::Cancelled);
    desk.sets_state(MarketState::Continuous);
    assert_eq!(desk.levels(), (vec![], vec![]));
    // To set what it is says nothing.
    desk.sets_state(MarketState::Continuous);
    assert!(desk.told().is_empty());
}

#[test]
fn states_and_amends() {
    let mut desk = Desk::new();
    let bid = desk.enters(limit(A, Side::Buy, 99, 5)).order_id.get();
    let ask = desk.enters(limit(B, Side::Sell, 101, 5)).order_id.get();
    let stop =
        desk.enters(waiting(OrderType::Stop, order(A, OrderType::Stop, Side::Buy, 5), 110)).order_id.get();
    // What the shape of an amend forbids goes before the state, what the quantity forbids behind it.
    desk.sets_state(MarketState::Halted);
    assert_eq!(desk.refused_amend(amend(A, stop, 1, 5)), Reject::MarketPriceSet);
    assert_eq!(desk.refused_amend(amend(A, bid, 99, 2_000)), Reject::MarketHalted);
    desk.sets_state(MarketState::CancelOnly);
    assert_eq!(desk.refused_amend(amend(A, bid, 98, 5)), Reject::MarketCancelOnly);
    assert_eq!(desk.refused_amend(amend(A, bid, 99, 6)), Reject::MarketCancelOnly);
    assert_eq!(desk.amends(amend(A, bid, 99, 4)).remaining.get(), 4);
    assert_eq!(desk.amends(amend(A, stop, 0, 4)).remaining.get(), 4);
    let mut change = amend(A, stop, 0, 4);
    // The trigger that it has is not left, but given.
    change.trigger = 110.into();
    assert_eq!(desk.refused_amend(change), Reject::MarketCancelOnly);
    desk.sets_state(MarketState::PostOnly);
    assert_eq!(desk.refused_amend(amend(A, bid, 101, 4)), Reject::MarketPostOnly);
    assert_eq!(desk.amends(amend(A, bid, 100, 9)).state, OrderState::Live);
    assert_eq!(desk.amends(change).state, OrderState::Waiting);
    assert_eq!(desk.amends(amend(B, ask, 101, 0)).reason, Reason::AmendedBelowFilled);
}

#[test]
fn states_and_new_orders() {
    let mut desk = Desk::new();
    desk.enters(limit(B, Side::Sell, 100, 4));
    let plain = limit(A, Side::Buy, 90, 1);
    let stop = waiting(OrderType::Stop, order(A, OrderType::Stop, Side::Buy, 1), 110);
    let quiet = NewOrder2 { post_only: PostOnly::Reject, ..plain };
    for (state, reject) in
        [(MarketState::Halted, Reject::MarketHalted), (MarketState::CancelOnly, Reject::MarketCancelOnly)]
    {
        desk.sets_state(state);
        for order in [plain, stop, quiet] {
            assert_eq!(desk.refused(order), reject);
        }
        assert_eq!(desk.refused(NewOrder2 { quantity: 0.into(), ..plain }), reject);
    }
    desk.sets_state(MarketState::PostOnly);
    assert_eq!(desk.refused(plain), Reject::MarketPostOnly);
    assert_eq!(desk.enters(stop).state, OrderState::Waiting);
    assert_eq!(desk.enters(quiet).state, OrderState::Live);
    let repriced = NewOrder2 { post_only: PostOnly::Reprice, ..limit(A, Side::Buy, 105, 1) };
    assert_eq!(desk.enters(repriced).price.get(), 99);
}

#[test]
fn access_the_example() {
    let mut desk = Desk::new();
    let why = note("a test");
    for account in [A, C] {
        desk.controls(SetFirm::new(account, 9, why).as_bytes());
    }
    // The lots say which is which: c1, a1, a2, c2.
    for (account, lots) in [(C, 31), (A, 11), (A, 12), (C, 32)] {
        desk.enters(limit(account, Side::Sell, 100, lots));
    }
    desk.enters(limit(B, Side::Sell, 100, 21));
    assert_eq!(desk.controls(Kill::new(Scope::Firm, 9, why).as_bytes()), 4);
    let killed = [11, 12, 31, 32].map(|lots| format!("cancelled {lots}, Killed"));
    assert_eq!(desk.told(), killed);
    let plain = limit(A, Side::Buy, 90, 1);
    assert_eq!(desk.refused(plain), Reject::FirmBlocked);
    desk.controls(SetFirm::new(A, 0, why).as_bytes());
    desk.enters(plain);
    assert_eq!(desk.refused(limit(C, Side::Buy, 90, 1)), Reject::FirmBlocked);
}

#[test]
fn access_of_all_goes_first() {
    let mut desk = Desk::new();
    let why = note("");
    let order = desk.enters(limit(A, Side::Buy, 90, 5)).order_id.get();
    desk.controls(SetFirm::new(A, 1, why).as_bytes());
    let plain = limit(A, Side::Buy, 90, 1);
    let smaller = |lots| amend(A, order, 90, lots);
    let set = |desk: &mut Desk, scope, id, access| {
        desk.controls(SetAccess::new(scope, id, access, why).as_bytes());
    };
    set(&mut desk, Scope::Account, A, Access::Suspended);
    assert_eq!(desk.refused(plain), Reject::AccountSuspended);
    assert_eq!(desk.withdraws(A, 1), Some(Reject::AccountSuspended));
    set(&mut desk, Scope::Firm, 1, Access::Blocked);
    assert_eq!(desk.refused(plain), Reject::FirmBlocked);
    // Blocked would allow it, suspended does not.
    assert_eq!(desk.refused_amend(smaller(4)), Reject::AccountSuspended);
    set(&mut desk, Scope::All, 0, Access::Blocked);
    assert_eq!(desk.refused(plain), Reject::ExchangeBlocked);
    set(&mut desk, Scope::Account, A, Access::Active);
    assert_eq!(desk.withdraws(A, 1), None);
    assert_eq!(desk.amends(smaller(4)).remaining.get(), 4);
    assert_eq!(desk.refused_amend(smaller(5)), Reject::ExchangeBlocked);
    // A kill of what is suspended leaves it so.
    set(&mut desk, Scope::All, 0, Access::Suspended);
    assert_eq!(desk.controls(Kill::new(Scope::All, 0, why).as_bytes()), 1);
    assert_eq!(desk.withdraws(A, 1), Some(Reject::ExchangeSuspended));
    assert_eq!(desk.withdraws(0, 1), Some(Reject::InsufficientFunds));
}

#[test]
fn limits_the_example() {
    let mut desk = Desk::new();
    let why = note("a test");
    let mut limits = SetInstrumentLimits::new(A, 1, why);
    (limits.open, limits.long, limits.short) = (10.into(), 5.into(), 2.into());
    desk.controls(limits.as_bytes());
    desk.enters(limit(A, Side::Buy, 90, 4));
    assert_eq!(desk.refused(limit(A, Side::Buy, 89, 2)), Reject::PositionLimit);
    desk.enters(limit(A, Side::Sell, 110, 2));
    assert_eq!(desk.refused(limit(A, Side::Sell, 111, 1)), Reject::PositionLimit);
    desk.enters(limit(B, Side::Sell, 90, 4));
    assert_eq!(desk.enters(limit(A, Side::Sell, 110, 4)).state, OrderState::Live);
}

#[test]
fn limits_of_the_rate() {
    let mut desk = Desk::new();
    let mut limits = SetLimits::new(Scope::Account, A, note("a test"));
    (limits.burst, limits.interval) = (2.into(), 100.into());
    desk.controls(limits.as_bytes());
    let plain = limit(A, Side::Buy, 90, 1);
    desk.time = 1_000;
    let id = desk.enters(plain).order_id.get();
    desk.enters(plain);
    desk.time = 1_099;
    assert_eq!(desk.refused(plain), Reject::AccountRateLimit);
    assert_eq!(desk.refused_amend(amend(A, id, 91, 1)), Reject::AccountRateLimit);
    // Getting out is not throttled, and does not count.
    assert_eq!(desk.amends(amend(A, id, 91, 0)).reason, Reason::AmendedBelowFilled);
    desk.time = 1_100;
    desk.enters(plain);
}

#[test]
fn fees_the_example() {
    const BASIS: i32 = 10_000;
    let mut desk = Desk::with_fees(BASIS, 3 * BASIS);
    let why = note("a test");
    desk.controls(SetFees::new(1, 0, 0, 2 * BASIS, why).as_bytes());
    let mut tier = SetFees::new(1, 1, -BASIS * 3 / 2, BASIS, why);
    (tier.min, tier.max) = (40.into(), 100.into());
    desk.controls(tier.as_bytes());
    desk.controls(SetFeeClass::new(1, 1, why).as_bytes());
    desk.controls(SetFeeTier::new(A, 1, why).as_bytes());
    // What maker and taker pay.
    let trade = |desk: &mut Desk, maker, taker, lots| {
        desk.enters(limit(maker, Side::Sell, 100, lots));
        let before = desk.free(maker, desk::QUOTE);
        let reply = desk.enters(limit(taker, Side::Buy, 100, lots));
        let notional = i128::from(reply.notional.get());
        (notional - (desk.free(maker, desk::QUOTE) - before), i128::from(reply.fee.get()))
    };
    assert_eq!(trade(&mut desk, A, B, 4), (-60, 80));
    assert_eq!(trade(&mut desk, B, A, 1), (0, 30));
    assert_eq!(trade(&mut desk, B, A, 30), (0, 100));
    desk.controls(SetFeeTier::new(C, 1, why).as_bytes());
    assert_eq!(trade(&mut desk, A, C, 4), (-40, 40));
}

#[test]
fn auctions_the_example() {
    let mut desk = Desk::new();
    desk.does(SetReference::new(1, 100, note("a test")).as_bytes());
    desk.sets_state(MarketState::OpeningAuction);
    let bid = desk.enters(limit(A, Side::Buy, 102, 4));
    assert_eq!(bid.state, OrderState::Live);
    desk.enters(limit(B, Side::Buy, 101, 3));
    let at_open = NewOrder2 { time_in_force: TimeInForce::Ato, ..order(C, OrderType::Market, Side::Buy, 2) };
    assert_eq!(desk.enters(at_open).price.get(), 150);
    desk.enters(limit(B, Side::Sell, 100, 5));
    assert_eq!(desk.told(), ["indication 5 at 102"]);
    desk.enters(limit(C, Side::Sell, 101, 6));
    assert_eq!(desk.told(), ["indication 9 at 101"]);
    desk.sets_state(MarketState::Continuous);
    let told = desk.told();
    let trades = [2, 2, 3, 3, 1, 1, 3, 3].map(|lots| format!("fill maker {lots} at 101"));
    assert_eq!(told[..8], trades);
    assert_eq!(told[8..], ["auction 9 at 101", "state Continuous"]);
    assert_eq!(desk.levels(), (vec![], vec![(101, 2, 1)]));
}

/// Session 7 has `a` and `b`, 8 has `c`; 7 is lost at 10,000 with a grace of 5,000.
fn disconnect_example() -> Desk {
    let mut desk = Desk::new();
    desk.levels_up();
    desk.session = 7;
    desk.controls(SetDisconnect::after(5_000).as_bytes());
    desk.enters(limit(A, Side::Buy, 90, 4));
    desk.enters(limit(B, Side::Sell, 110, 5));
    desk.session = 8;
    desk.enters(limit(A, Side::Buy, 89, 1));
    desk.passes(10_000);
    desk
}

#[test]
fn disconnect_with_a_fill_in_flight() {
    let mut desk = disconnect_example();
    desk.hears(7, Model::lost);
    desk.passes(12_000);
    desk.enters(limit(C, Side::Buy, 110, 2));
    assert!(desk.passes(14_999).is_empty());
    assert_eq!(desk.passes(15_000), ["cancelled 4, Disconnected", "cancelled 3, Disconnected"]);
    assert_eq!(desk.levels(), (vec![(89, 1, 1)], vec![]));
    // It has it on as before.
    desk.session = 7;
    desk.hears(7, |model, session, _| model.back(session));
    desk.enters(limit(A, Side::Buy, 91, 1));
    desk.hears(7, Model::ended);
    assert_eq!(desk.passes(15_000), ["cancelled 1, Disconnected"]);
}

#[test]
fn disconnect_who_comes_back_in_time_keeps_all() {
    let mut desk = disconnect_example();
    desk.hears(7, Model::lost);
    desk.passes(14_999);
    desk.hears(7, |model, session, _| model.back(session));
    assert!(desk.passes(1 << 60).is_empty());
}

#[test]
fn disconnect_a_term_gives_a_second() {
    let mut desk = disconnect_example();
    desk.hears(7, Model::lost);
    desk.passes(14_000);
    desk.hears(7, Model::unproved);
    assert!(desk.passes(1_000_013_999).is_empty());
    assert_eq!(desk.passes(1_000_014_000).len(), 2);
}

#[test]
fn disconnect_covers_what_was_entered_since_and_until_it_is_off() {
    let refused = |desk: &mut Desk, message: SetDisconnect| {
        let reply = desk.does(message.as_bytes());
        Reject::from_wire(u16::from_le_bytes([reply[2], reply[3]]))
    };
    let mut desk = Desk::new();
    (desk.session, desk.time) = (7, 50);
    assert_eq!(refused(&mut desk, SetDisconnect::after(1)), Some(Reject::NotBegun));
    desk.levels_up();
    desk.enters(limit(A, Side::Buy, 80, 1));
    assert_eq!(refused(&mut desk, SetDisconnect::off()), None);
    assert_eq!(refused(&mut desk, SetDisconnect::after(3_600_000_000_001)), Some(Reject::GraceTooLong));
    desk.controls(SetDisconnect::after(0).as_bytes());
    let mine = desk.enters(limit(A, Side::Buy, 81, 1));
    let stop = desk.enters(waiting(OrderType::StopLimit, limit(A, Side::Buy, 100, 2), 95));
    desk.session = 8;
    // Whoever amends it.
    desk.amends(amend(A, mine.order_id.get(), 82, 3));
    desk.hears(7, Model::lost);
    assert_eq!(desk.passes(100), ["cancelled 3, Disconnected", "cancelled 2, Disconnected"]);
    assert_eq!(stop.state, OrderState::Waiting);
    desk.session = 7;
    desk.enters(limit(A, Side::Buy, 83, 1));
    desk.controls(SetDisconnect::off().as_bytes());
    desk.controls(SetDisconnect::after(0).as_bytes());
    desk.hears(7, Model::lost);
    assert!(desk.passes(200).is_empty(), "nobody's orders since it was off");
    assert_eq!(desk.levels().0, [(83, 1, 1), (80, 1, 1)]);
}
