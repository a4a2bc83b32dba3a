//! What accepted commands do, row by row. Instrument 1: a lot at a tick is 10 of quote, a lot is 5 of base, a
//! maker is paid 1 %, a taker pays 3 %.

mod common;

use common::*;
use ordain_exchange_engine::Audience;
use ordain_exchange_protocol::*;

const START: u64 = 1_000_000;

fn ask(id: u64, price: i64, quantity: u64) -> NewOrder {
    NewOrder::limit(2, 1, id, Side::Sell, price, quantity)
}

fn bid(id: u64, price: i64, quantity: u64) -> NewOrder {
    NewOrder::limit(1, 1, id, Side::Buy, price, quantity)
}

/// state, reason, cumulative, remaining, cancelled
fn outcome(reply: &OrderReply) -> (OrderState, Reason, u64, u64, u64) {
    (reply.state, reply.reason, reply.cumulative.get(), reply.remaining.get(), reply.cancelled.get())
}

#[test]
fn a_trade_settles_at_the_makers_price() {
    let mut x = Exchange::open();
    x.must(&ask(1, 100, 10));
    assert_eq!(x.balance(2, BASE), (START - 50, 50));
    let said = x.must(&bid(2, 120, 4));
    let reply = said.order();
    assert_eq!(outcome(&reply), (OrderState::Filled, Reason::None, 4, 0, 0));
    assert_eq!((reply.fills.get(), reply.notional.get(), reply.fee.get()), (1, 4_000, 120));
    assert_eq!(x.balance(1, QUOTE), (START - 4_120, 0));
    assert_eq!(x.balance(1, BASE), (START + 20, 0));
    assert_eq!(x.balance(2, QUOTE), (START + 4_040, 0));
    assert_eq!(x.balance(2, BASE), (START - 50, 30));
    assert_eq!(x.balance(0, QUOTE), (80, 0));

    let fills = said.fills();
    let seen: Vec<_> = said.outputs.iter().map(|(audience, bytes)| (*audience, bytes[0])).collect();
    assert_eq!(
        seen,
        [
            (Audience::Account(2), FillReport::TAG),
            (Audience::Account(1), FillReport::TAG),
            (Audience::Instrument(1), TradeReport::TAG)
        ]
    );
    assert_eq!((fills[0].fee.get(), fills[0].aggressor, fills[0].remaining.get()), (-40, Flag::No, 6));
    assert_eq!(
        (fills[1].fee.get(), fills[1].aggressor, fills[1].state),
        (120, Flag::Yes, OrderState::Filled)
    );
    assert_eq!((fills[1].seq.get(), fills[1].time.get(), fills[1].index.get()), (x.seq, 1_000 + x.seq, 0));
}

#[test]
fn a_resting_buy_holds_its_worst_cost_and_gets_the_difference_back() {
    let mut x = Exchange::open();
    x.must(&bid(1, 100, 10));
    assert_eq!(x.balance(1, QUOTE), (START - 10_300, 10_300));
    x.must(&NewOrder::limit(2, 1, 1, Side::Sell, 90, 4));
    // Four lots at 100 cost 4,000 less the maker's 40.
    assert_eq!(x.balance(1, QUOTE), (START - 10_300 + 4_120 - 3_960, 6_180));
    assert_eq!(x.balance(2, QUOTE), (START + 4_000 - 120, 0));
    x.must(&Cancel::new(1, OrderRef::Client(1)));
    assert_eq!(x.balance(1, QUOTE), (START - 3_960, 0));
}

#[test]
fn price_then_time() {
    let mut x = Exchange::open();
    for (id, price) in [(1, 101), (2, 100), (3, 100), (4, 102)] {
        x.must(&ask(id, price, 2));
    }
    let said = x.must(&bid(9, 101, 7));
    let makers: Vec<_> =
        said.fills().iter().filter(|fill| fill.account == 2).map(|fill| fill.client_order_id.get()).collect();
    assert_eq!(makers, [2, 3, 1]);
    assert_eq!(outcome(&said.order()), (OrderState::Live, Reason::None, 6, 1, 0));
    assert_eq!(x.levels(1, Side::Buy), [(101, 1, 1)]);
    assert_eq!(x.levels(1, Side::Sell), [(102, 2, 1)]);
}

#[test]
fn immediate_orders_never_rest() {
    let check = |order: NewOrder, expected: (OrderState, Reason, u64, u64, u64)| {
        let mut x = Exchange::open();
        x.must(&ask(1, 100, 5));
        x.must(&ask(2, 150, 5));
        x.must(&ask(3, 151, 5));
        let said = x.must(&order);
        assert_eq!(outcome(&said.order()), expected, "{order:?}");
        assert!(x.levels(1, Side::Buy).is_empty());
        assert_eq!(x.balance(1, QUOTE).1, 0);
    };
    use OrderState::{Cancelled, Filled};
    check(bid(9, 100, 8).lasting(TimeInForce::Ioc), (Cancelled, Reason::Remainder, 5, 0, 3));
    check(bid(9, 99, 8).lasting(TimeInForce::Ioc), (Cancelled, Reason::Remainder, 0, 0, 8));
    check(bid(9, 100, 5).lasting(TimeInForce::Fok), (Filled, Reason::None, 5, 0, 0));
    check(bid(9, 151, 15).lasting(TimeInForce::Fok), (Filled, Reason::None, 15, 0, 0));
    // The collar of 50 reaches 150 and no further.
    check(NewOrder::market(1, 1, 9, Side::Buy, 15), (Cancelled, Reason::Remainder, 10, 0, 5));
    check(NewOrder::market(1, 1, 9, Side::Buy, 7), (Filled, Reason::None, 7, 0, 0));
}

#[test]
fn a_market_sell_is_collared_too() {
    let mut x = Exchange::open();
    for (id, price) in [(1, 100), (2, 50), (3, 49)] {
        x.must(&bid(id, price, 5));
    }
    let said = x.must(&NewOrder::market(2, 1, 9, Side::Sell, 15));
    assert_eq!(outcome(&said.order()), (OrderState::Cancelled, Reason::Remainder, 10, 0, 5));
    // Nearer to zero than the collar: down to one tick.
    x.must(&NewOrder::market(2, 1, 9, Side::Sell, 10));
    assert!(x.levels(1, Side::Buy).is_empty());
}

#[test]
fn a_market_buy_stops_at_its_budget() {
    let check = |funds: u64, expected: (OrderState, Reason, u64, u64, u64), left: u64| {
        let mut x = Exchange::open();
        x.must(&ask(1, 100, 5));
        x.must(&ask(2, 110, 5));
        x.must(&Transfer::withdraw(1, QUOTE, 50, START - funds));
        let said = x.must(&NewOrder::market(1, 1, 9, Side::Buy, 10));
        assert_eq!(outcome(&said.order()), expected, "with {funds}");
        assert_eq!(x.balance(1, QUOTE), (left, 0), "with {funds}");
    };
    use OrderState::{Cancelled, Filled};
    check(1_030, (Cancelled, Reason::Budget, 1, 0, 9), 0);
    check(5_150, (Cancelled, Reason::Budget, 5, 0, 5), 0);
    check(5_150 + 1_132, (Cancelled, Reason::Budget, 5, 0, 5), 1_132);
    check(5_150 + 1_133, (Cancelled, Reason::Budget, 6, 0, 4), 0);
    check(5_150 + 5 * 1_133, (Filled, Reason::None, 10, 0, 0), 0);
}

#[test]
fn amends() {
    // An ask of 10 at 100 of which 4 are filled; behind it one of 2.
    let check = |price: i64, quantity: u64, expected: (OrderState, Reason, u64, u64, u64), queue: &[u64]| {
        let mut x = Exchange::open();
        let id = x.must(&ask(1, 100, 10)).order().order_id;
        x.must(&ask(2, 100, 2));
        x.must(&bid(3, 100, 4));
        x.must(&bid(4, 90, 3));
        let reply = x.must(&Amend::new(2, OrderRef::Client(1), price, quantity)).order();
        assert_eq!(outcome(&reply), expected, "to {quantity} at {price}");
        assert_eq!(reply.order_id, id);
        assert_eq!(x.queue(1, Side::Sell, 100), queue, "to {quantity} at {price}");
    };
    use OrderState::{Cancelled, Filled, Live};
    check(100, 10, (Live, Reason::None, 4, 6, 0), &[1, 2]);
    check(100, 7, (Live, Reason::None, 4, 3, 0), &[1, 2]);
    check(100, 11, (Live, Reason::None, 4, 7, 0), &[2, 1]);
    check(101, 10, (Live, Reason::None, 4, 6, 0), &[2]);
    check(101, 6, (Live, Reason::None, 4, 2, 0), &[2]);
    check(100, 4, (Cancelled, Reason::AmendedBelowFilled, 4, 0, 6), &[2]);
    check(-1, 0, (Cancelled, Reason::AmendedBelowFilled, 4, 0, 6), &[2]);
    check(90, 10, (Live, Reason::None, 7, 3, 0), &[2]);
    check(90, 7, (Filled, Reason::None, 7, 0, 0), &[2]);
}

#[test]
fn order_ids_count_generations_of_slots() {
    let mut x = Exchange::open();
    let id = |said: common::Said| said.order().order_id.get();
    assert_eq!(id(x.must(&ask(1, 100, 2))), 1 << 32);
    assert_eq!(id(x.must(&ask(2, 100, 2))), 1 << 32 | 1);
    x.must(&Cancel::new(2, OrderRef::Id(1 << 32)));
    assert_eq!(id(x.must(&ask(3, 100, 2))), 2 << 32);
    assert_eq!(id(x.must(&ask(4, 100, 2))), 1 << 32 | 2);
    // The taker takes slot 3, gives back slots 1, 0, and then 3.
    assert_eq!(id(x.must(&bid(5, 100, 4))), 1 << 32 | 3);
    assert_eq!(id(x.must(&ask(6, 100, 2))), 2 << 32 | 3);
    assert_eq!(id(x.must(&ask(7, 100, 2))), 3 << 32);
    assert_eq!(id(x.must(&ask(8, 100, 2))), 2 << 32 | 1);
}

#[test]
fn a_closed_orders_client_id_is_free_again() {
    let mut x = Exchange::open();
    x.must(&ask(1, 100, 2));
    x.must(&bid(1, 100, 2));
    x.must(&ask(1, 100, 2));
    x.must(&Cancel::new(2, OrderRef::Client(1)));
    x.must(&ask(1, 100, 2));
}

#[test]
fn an_account_may_trade_with_itself() {
    let mut x = Exchange::open();
    x.must(&bid(1, 100, 10));
    x.must(&NewOrder::limit(1, 1, 2, Side::Sell, 100, 10));
    assert_eq!(x.balance(1, BASE), (START, 0));
    assert_eq!(x.balance(1, QUOTE), (START - 300 + 100, 0));
    assert_eq!(x.balance(0, QUOTE), (200, 0));
}

#[test]
fn mass_cancel_goes_by_entry_and_covers_what_it_is_told() {
    let check = |instrument: u32, sides: Sides, expected: &[u64]| {
        let mut x = Exchange::open();
        x.must(&NewOrder::limit(1, 2, 1, Side::Buy, 10, 5));
        x.must(&bid(2, 90, 5));
        x.must(&NewOrder::limit(1, 1, 3, Side::Sell, 100, 5));
        x.must(&bid(4, 80, 5));
        x.must(&ask(5, 100, 5));
        x.must(&Amend::new(1, OrderRef::Client(2), 85, 9));
        let said = x.must(&MassCancel::new(1, instrument, sides));
        let cancelled: Vec<u64> = said
            .outputs
            .iter()
            .map(|(audience, bytes)| match Output::decode(bytes) {
                Ok(Output::Cancel(report)) => {
                    assert_eq!(*audience, Audience::Account(1));
                    assert_eq!(report.reason, Reason::MassCancelled);
                    report.client_order_id.get()
                }
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(cancelled, expected);
        assert_eq!(x.queue(1, Side::Sell, 100).last(), Some(&5), "the other account's order stays");
    };
    check(0, Sides::Any, &[1, 2, 3, 4]);
    check(1, Sides::Any, &[2, 3, 4]);
    check(1, Sides::Buy, &[2, 4]);
    check(0, Sides::Sell, &[3]);
    check(2, Sides::Sell, &[]);
}

#[test]
fn transfers_are_executed_once() {
    let mut x = Exchange::open();
    let deposit = Transfer::deposit(1, BASE, 50, 10);
    let first = x.must(&deposit).reply;
    x.must(&Transfer::deposit(1, BASE, 51, 10));
    assert_eq!(x.must(&deposit).reply, first);
    assert_eq!(x.balance(1, BASE), (START + 20, 0));
    // A refusal is forgotten: what was refused may be tried again.
    let withdraw = Transfer::withdraw(1, BASE, 52, START + 25);
    assert_eq!(x.send(&withdraw).code(), Some(Reject::InsufficientFunds));
    x.must(&Transfer::deposit(1, BASE, 53, 10));
    x.must(&withdraw);
    assert_eq!(x.balance(1, BASE), (5, 0));
    // Another account's number is another transfer.
    x.must(&Transfer::deposit(2, BASE, 50, 10));
    // Twelve are remembered.
    (0..12).for_each(|number| drop(x.must(&Transfer::deposit(3, BASE, 100 + number, 1))));
    assert_ne!(x.must(&deposit).reply, first);
}

#[test]
fn fees_can_be_withdrawn_from_account_0() {
    let mut x = Exchange::open();
    x.must(&ask(1, 100, 10));
    x.must(&bid(1, 100, 10));
    x.must(&Transfer::withdraw(0, QUOTE, 1, 200));
    assert_eq!(x.balance(0, QUOTE), (0, 0));
}

#[test]
fn grants_come_and_go() {
    let mut x = Exchange::open();
    let order = ask(1, 100, 10);
    let code = |x: &mut Exchange, key| x.send_as(key, TRADER, order.as_bytes()).code();
    assert_eq!(code(&mut x, 9), Some(Reject::NotGranted));
    assert!(!x.engine.may_read(2, 9, TRADER));
    for _ in 0..2 {
        x.must(&Grant::new(GrantAction::Grant, 2, 9));
    }
    assert!(
        x.engine.may_read(2, 9, TRADER) && !x.engine.may_read(2, 9, 0) && !x.engine.may_read(1, 9, TRADER)
    );
    assert_eq!(code(&mut x, 9), None);
    for _ in 0..2 {
        x.must(&Grant::new(GrantAction::Revoke, 2, 9));
    }
    assert_eq!(code(&mut x, 9), Some(Reject::NotGranted));
    assert_eq!(code(&mut x, KEY), Some(Reject::DuplicateClientOrderId));
}

#[test]
fn the_largest_order_fits() {
    let mut x = Exchange::open();
    let huge = Definition {
        quote_per_tick_lot: 1.into(),
        base_per_lot: 1.into(),
        max_quantity: 1.into(),
        min_quantity: 1.into(),
        min_notional: 0.into(),
        max_price: (i64::MAX / 2).into(),
        collar: (i64::MAX / 2).into(),
        maker_ppm: 1_000_000.into(),
        taker_ppm: 1_000_000.into(),
        base: 4.into(),
        quote: OTHER.into(),
        ..named(3, b"HUGE")
    };
    x.must(&CreateInstrument::new(huge));
    x.must(&Transfer::deposit(1, OTHER, 60, i64::MAX as u64 - 3 * START));
    x.must(&Transfer::withdraw(2, OTHER, 60, START));
    x.must(&Transfer::withdraw(3, OTHER, 60, START));
    x.must(&Transfer::deposit(2, 4, 61, 1));
    let price = i64::MAX / 2 - 3 * START as i64;
    x.must(&NewOrder::limit(2, 3, 1, Side::Sell, price, 1));
    x.must(&NewOrder::market(1, 3, 1, Side::Buy, 1));
    assert_eq!(x.balance(2, OTHER), (0, 0), "a fee of 100 % leaves the seller nothing");
    assert_eq!(x.balance(0, OTHER), (2 * price as u64, 0));
}

#[test]
fn long_events_go_in_steps() {
    let mut x = Exchange::open_with(ordain_exchange_engine::Limits {
        orders: 512,
        orders_per_account: 256,
        ..LIMITS
    });
    (0..200).for_each(|id| drop(x.must(&ask(id, 100, 2))));
    let said = x.must(&NewOrder::limit(1, 1, 1, Side::Buy, 100, 300));
    assert_eq!((said.order().fills.get(), said.outputs.len()), (150, 450));
    assert!(said.steps > 5);
    assert!(said.fills().iter().enumerate().all(|(at, fill)| fill.index.get() as usize == at / 2));
    (0..200).for_each(|id| drop(x.must(&NewOrder::limit(1, 1, id, Side::Buy, 90, 2))));
    let said = x.must(&MassCancel::new(1, 0, Sides::Any));
    assert_eq!(said.outputs.len(), 200);
    assert!(said.steps > 2);
}

#[test]
fn queries_page() {
    let mut x = Exchange::open();
    for (id, price) in [(1, 100), (2, 100), (3, 101), (4, 102)] {
        x.must(&ask(id, price, 2));
    }
    x.must(&bid(1, 90, 2));
    let query = BookLevelsQuery { after_ask: 100.into(), ..BookLevelsQuery::new(1, 1) };
    let bytes = x.ask(permission::VIEW, &query);
    let Ok(Answer::BookLevels(_, bids, asks)) = Answer::decode(&bytes) else { panic!() };
    assert_eq!((bids[0].price.get(), asks.len(), asks[0].price.get()), (90, 1, 101));

    let first = x.ask(ALL, &BookOrdersQuery::new(1, Side::Sell, 100, 0));
    let Ok(Answer::BookOrders(_, orders)) = Answer::decode(&first) else { panic!() };
    let rest = x.ask(ALL, &BookOrdersQuery::new(1, Side::Sell, 100, orders[0].order_id.get()));
    let Ok(Answer::BookOrders(_, rest)) = Answer::decode(&rest) else { panic!() };
    assert_eq!(rest, &orders[1..]);

    let code = |bytes: Vec<u8>| Reject::from_wire(u16::from_le_bytes([bytes[2], bytes[3]]));
    let strangers = orders[0].order_id.get();
    assert_eq!(
        code(x.ask(ALL, &BookOrdersQuery::new(1, Side::Sell, 101, strangers))),
        Some(Reject::UnknownOrder)
    );
    for price in [i64::MIN, -1, 0, i64::MAX] {
        assert_eq!(code(x.ask(ALL, &BookOrdersQuery::new(1, Side::Sell, price, 0))), None);
        let query = BookLevelsQuery {
            after_ask: price.into(),
            after_bid: price.into(),
            ..BookLevelsQuery::new(1, 20)
        };
        assert_eq!(code(x.ask(ALL, &query)), None);
    }
    assert_eq!(code(x.ask(TRADER, &BookOrdersQuery::new(1, Side::Sell, 100, 0))), Some(Reject::NotPermitted));
    assert_eq!(code(x.ask(TRADER, &BookLevelsQuery::new(3, 1))), Some(Reject::UnknownInstrument));
    assert_eq!(code(x.ask(TRADER, &BalancesQuery::new(4, 0))), Some(Reject::NotGranted));
    assert_eq!(code(x.ask(TRADER, &BalancesQuery::new(0, 0))), Some(Reject::NotGranted));
    assert_eq!(code(x.ask(TRADER, &BalancesQuery::new(5, 0))), Some(Reject::UnknownAccount));
    assert_eq!(code(x.ask(TRADER, &OrderQuery::new(1, OrderRef::Client(7)))), Some(Reject::UnknownOrder));
    assert_eq!(code(x.ask(ALL, &CurrencyQuery::new(9))), Some(Reject::CurrencyOutOfRange));

    let bytes = x.ask(TRADER, &OrderQuery::new(2, OrderRef::Client(3)));
    let Ok(Answer::Order(order)) = Answer::decode(&bytes) else { panic!() };
    assert_eq!((order.price.get(), order.remaining.get(), order.side), (101, 2, Sides::Sell));
    let bytes = x.ask(TRADER, &StatisticsQuery::new());
    let Ok(Answer::Statistics(counts)) = Answer::decode(&bytes) else { panic!() };
    assert_eq!((counts.instruments.get(), counts.accounts.get(), counts.orders.get()), (2, 4, 5));
    let bytes = x.ask(TRADER, &InstrumentQuery::new(1));
    let Ok(Answer::Instrument(terms)) = Answer::decode(&bytes) else { panic!() };
    assert_eq!(terms.definition, definition());
    let bytes = x.ask(ALL, &CurrencyQuery::new(BASE));
    let Ok(Answer::Currency(totals)) = Answer::decode(&bytes) else { panic!() };
    assert_eq!(totals.supply.get(), 3 * START);
}

#[test]
fn open_orders_hold_what_is_held() {
    let mut x = Exchange::open();
    assert_eq!(x.engine.open_orders(1).count(), 0);
    let first = x.must(&bid(1, 100, 10)).order().order_id.get();
    let stop = NewOrder2 {
        order_type: OrderType::StopLimit,
        trigger: 120.into(),
        ..NewOrder2::limit(1, 1, 2, Side::Buy, 130, 2)
    };
    let waiting = x.must(&stop).order().order_id.get();
    let iceberg = NewOrder2 { display: 3.into(), ..NewOrder2::limit(1, 1, 3, Side::Sell, 150, 9) };
    let sell = x.must(&iceberg).order().order_id.get();
    // Not its own, and one that is over.
    x.must(&ask(1, 140, 5));
    x.must(&bid(4, 99, 2));
    x.must(&Cancel::new(1, OrderRef::Client(4)));
    let open: Vec<_> = x.engine.open_orders(1).map(|it| (it.id, it.currency, it.held)).collect();
    // A lot costs 10 a tick and 3 % of that; 9 lots are 45 of base, hidden ones too.
    assert_eq!(open, [(first, QUOTE, 10_300), (waiting, QUOTE, 2_678), (sell, BASE, 45)]);
    for (account, currency) in [(1, BASE), (1, QUOTE), (2, BASE), (2, QUOTE)] {
        let held = x.engine.open_orders(account).filter(|it| it.currency == currency).map(|it| it.held);
        assert_eq!(held.sum::<u64>(), x.balance(account, currency).1);
    }
    x.must(&MassCancel::new(1, 0, Sides::Any));
    assert_eq!((x.engine.open_orders(1).count(), x.engine.open_orders(2).count()), (0, 1));
    assert_eq!(x.engine.open_orders(u32::MAX).count(), 0);
}
