//! Every reject code, with what brings it about. A refusal changes nothing.

mod common;

use common::*;
use ordain_exchange_protocol::*;
use zerocopy::Immutable;

type Setup = fn(&mut Exchange);

struct Rows {
    seen: Vec<Reject>,
}

impl Rows {
    fn row(&mut self, setup: Setup, message: &(impl IntoBytes + Immutable), expected: Reject) {
        let permissions = Request::decode(message.as_bytes()).expect("decodes").required_permission();
        self.row_as(setup, KEY, permissions, message, expected);
    }

    fn row_as(
        &mut self,
        setup: Setup,
        key: u32,
        permissions: u32,
        message: &(impl IntoBytes + Immutable),
        expected: Reject,
    ) {
        let mut exchange = Exchange::open();
        setup(&mut exchange);
        let before = exchange.engine.snapshot();
        let said = exchange.send_as(key, permissions, message.as_bytes());
        assert_eq!(said.code(), Some(expected), "{:?}", Request::decode(message.as_bytes()));
        assert!(said.outputs.is_empty(), "{expected:?} made outputs");
        assert!(exchange.engine.snapshot() == before, "{expected:?} changed something");
        self.seen.push(expected);
    }
}

fn nothing(_: &mut Exchange) {}

/// An ask of account 2: 10 lots at 100.
fn ask(exchange: &mut Exchange) {
    exchange.must(&NewOrder::limit(2, 1, 1, Side::Sell, 100, 10));
}

fn buy(price: i64, quantity: u64) -> NewOrder {
    NewOrder::limit(1, 1, 9, Side::Buy, price, quantity)
}

#[test]
fn every_refusal_has_its_code_and_changes_nothing() {
    use Reject::*;
    let mut rows = Rows { seen: Vec::new() };

    // Who may.
    rows.row_as(nothing, KEY, permission::VIEW | permission::ADMIN, &buy(100, 10), NotPermitted);
    rows.row_as(nothing, KEY, permission::ADMIN, &Transfer::deposit(1, BASE, 50, 1), NotPermitted);
    rows.row_as(nothing, KEY, TRADER, &CreateAccount::new(5), NotPermitted);
    rows.row_as(nothing, KEY, TRADER, &CreateInstrument::new(named(3, b"X")), NotPermitted);
    rows.row_as(nothing, KEY, TRADER, &Grant::new(GrantAction::Grant, 1, 1), NotPermitted);
    rows.row_as(nothing, KEY, 0, &Cancel::new(1, OrderRef::Client(1)), NotPermitted);
    rows.row_as(nothing, KEY, 0, &MassCancel::new(1, 0, Sides::Any), NotPermitted);
    rows.row_as(nothing, KEY + 1, TRADER, &buy(100, 10), NotGranted);
    rows.row_as(ask, KEY + 1, TRADER, &Cancel::new(2, OrderRef::Client(1)), NotGranted);
    rows.row_as(nothing, 0, TRADER, &MassCancel::new(1, 0, Sides::Any), NotGranted);
    rows.row(nothing, &NewOrder::limit(4, 1, 9, Side::Buy, 100, 10), NotGranted);
    for account in [0, 5, 6, 7, u32::MAX] {
        rows.row_as(nothing, KEY, ALL, &NewOrder::limit(account, 1, 9, Side::Buy, 100, 10), UnknownAccount);
        rows.row_as(nothing, KEY, ALL, &Cancel::new(account, OrderRef::Client(1)), UnknownAccount);
        rows.row_as(nothing, KEY, ALL, &MassCancel::new(account, 0, Sides::Any), UnknownAccount);
        rows.row_as(nothing, KEY, ALL, &Grant::new(GrantAction::Grant, account, 1), UnknownAccount);
    }
    rows.row(nothing, &Transfer::deposit(5, BASE, 50, 1), UnknownAccount);

    // Orders.
    for instrument in [0, 3, 4, 5, u32::MAX] {
        rows.row(nothing, &NewOrder::limit(1, instrument, 9, Side::Buy, 100, 10), UnknownInstrument);
    }
    rows.row(nothing, &MassCancel::new(1, 3, Sides::Any), UnknownInstrument);
    rows.row(nothing, &NewOrder::market(1, 1, 9, Side::Buy, 10).lasting(TimeInForce::Gtc), MarketMustNotRest);
    rows.row(ask, &NewOrder::market(1, 1, 9, Side::Buy, 10).post_only(), PostOnlyConflict);
    rows.row(nothing, &buy(90, 10).lasting(TimeInForce::Ioc).post_only(), PostOnlyConflict);
    rows.row(nothing, &buy(90, 10).lasting(TimeInForce::Fok).post_only(), PostOnlyConflict);
    rows.row(
        ask,
        &NewOrder { price: 100.into(), ..NewOrder::market(1, 1, 9, Side::Buy, 10) },
        MarketPriceSet,
    );
    rows.row(nothing, &buy(100, 1), QuantityTooSmall);
    rows.row(nothing, &buy(100, 0), QuantityTooSmall);
    rows.row(nothing, &buy(100, 1_001), QuantityTooLarge);
    rows.row(nothing, &buy(100, u64::MAX), QuantityTooLarge);
    for price in [i64::MIN, -1, 0, 1_001, i64::MAX] {
        rows.row(nothing, &buy(price, 10), PriceOutOfRange);
    }
    rows.row(ask, &NewOrder::market(1, 1, 9, Side::Sell, 10), NoLiquidity);
    rows.row(nothing, &buy(4, 2), NotionalTooSmall);
    rows.row(ask, &NewOrder::limit(2, 2, 1, Side::Buy, 1, 1), DuplicateClientOrderId);
    rows.row(
        |exchange| {
            for account in [1, 2] {
                for id in 0..4 {
                    exchange.must(&NewOrder::limit(account, 1, id, Side::Buy, 100, 2));
                }
            }
        },
        &NewOrder::limit(3, 1, 1, Side::Buy, 100, 2).lasting(TimeInForce::Ioc),
        OrdersFull,
    );
    rows.row(
        |exchange| (0..6).for_each(|id| drop(exchange.must(&NewOrder::limit(1, 1, id, Side::Buy, 100, 2)))),
        &buy(100, 10),
        AccountOrdersFull,
    );
    rows.row(ask, &buy(100, 10).post_only(), PostOnlyWouldCross);
    rows.row(ask, &buy(200, 10).post_only(), PostOnlyWouldCross);
    let three_bids: Setup = |exchange| {
        (0..3).for_each(|id| drop(exchange.must(&NewOrder::limit(3, 1, id, Side::Buy, 90 + id as i64, 2))))
    };
    rows.row(three_bids, &buy(80, 10), LevelsFull);
    rows.row(
        |exchange| {
            (0..3)
                .for_each(|id| drop(exchange.must(&NewOrder::limit(3, 1, id, Side::Buy, 90 + id as i64, 2))));
            exchange.must(&NewOrder::limit(1, 1, 9, Side::Buy, 92, 2));
        },
        &Amend::new(1, OrderRef::Client(9), 80, 10),
        LevelsFull,
    );
    rows.row(ask, &buy(100, 11).lasting(TimeInForce::Fok), NotFillable);
    rows.row(ask, &buy(99, 10).lasting(TimeInForce::Fok), NotFillable);
    rows.row(ask, &NewOrder::market(1, 1, 9, Side::Buy, 11).lasting(TimeInForce::Fok), NotFillable);
    // A lot at 1,000 holds 10,000 and a fee of 300.
    rows.row(nothing, &buy(1_000, 98), InsufficientFunds);
    rows.row(
        |exchange| drop(exchange.must(&Transfer::withdraw(1, BASE, 50, 999_951))),
        &NewOrder::limit(1, 1, 9, Side::Sell, 100, 10),
        InsufficientFunds,
    );
    // A lot at 100 costs 1,030 at worst.
    rows.row(
        |exchange| {
            ask(exchange);
            exchange.must(&Transfer::withdraw(1, QUOTE, 50, 1_000_000 - 1_029));
        },
        &NewOrder::market(1, 1, 9, Side::Buy, 10),
        InsufficientFunds,
    );
    rows.row(
        |exchange| {
            ask(exchange);
            exchange.must(&Transfer::withdraw(1, QUOTE, 50, 1_000_000 - 10_299));
        },
        &NewOrder::market(1, 1, 9, Side::Buy, 10).lasting(TimeInForce::Fok),
        InsufficientFunds,
    );

    // Cancel and amend.
    rows.row(ask, &Cancel::new(1, OrderRef::Client(1)), UnknownOrder);
    rows.row(ask, &Cancel::new(1, OrderRef::Id(1 << 32)), UnknownOrder);
    rows.row(ask, &Cancel::new(2, OrderRef::Id(2 << 32)), UnknownOrder);
    rows.row(ask, &Cancel::new(2, OrderRef::Id(u64::MAX)), UnknownOrder);
    rows.row(ask, &Amend::new(2, OrderRef::Client(2), 100, 10), UnknownOrder);
    let amend = |price, quantity| Amend::new(2, OrderRef::Client(1), price, quantity);
    rows.row(ask, &amend(100, 1), QuantityTooSmall);
    rows.row(ask, &amend(100, 1_001), QuantityTooLarge);
    rows.row(ask, &amend(0, 10), PriceOutOfRange);
    rows.row(ask, &amend(4, 2), NotionalTooSmall);
    rows.row(
        |exchange| {
            exchange.must(&Transfer::withdraw(2, BASE, 50, 999_950));
            ask(exchange);
        },
        &amend(100, 11),
        InsufficientFunds,
    );
    rows.row(
        |exchange| {
            exchange.must(&NewOrder::limit(3, 1, 1, Side::Buy, 90, 10));
            exchange.must(&NewOrder::limit(2, 1, 1, Side::Sell, 100, 10).post_only());
        },
        &amend(90, 10),
        PostOnlyWouldCross,
    );

    // Administration.
    let create = |change: fn(&mut Definition)| {
        let mut definition = named(3, b"NEW");
        change(&mut definition);
        CreateInstrument::new(definition)
    };
    rows.row(nothing, &create(|new| new.instrument = 0.into()), InstrumentOutOfRange);
    rows.row(nothing, &create(|new| new.instrument = 5.into()), InstrumentOutOfRange);
    rows.row(nothing, &create(|new| new.instrument = 1.into()), InstrumentExists);
    rows.row(nothing, &create(|new| new.symbol = definition().symbol), SymbolTaken);
    rows.row(nothing, &create(|new| new.base = 0.into()), CurrencyOutOfRange);
    rows.row(nothing, &create(|new| new.quote = 5.into()), CurrencyOutOfRange);
    rows.row(nothing, &create(|new| new.base = new.quote), SameCurrency);
    rows.row(nothing, &create(|new| new.quote_per_tick_lot = 0.into()), ScaleInvalid);
    rows.row(nothing, &create(|new| new.base_per_lot = 0.into()), ScaleInvalid);
    rows.row(nothing, &create(|new| new.tick = 0.into()), ScaleInvalid);
    rows.row(nothing, &create(|new| new.lot = 0.into()), ScaleInvalid);
    rows.row(nothing, &create(|new| new.price_decimals = 19), ScaleInvalid);
    rows.row(nothing, &create(|new| new.min_quantity = 0.into()), QuantityLimitsInvalid);
    rows.row(nothing, &create(|new| new.max_quantity = 1.into()), QuantityLimitsInvalid);
    rows.row(nothing, &create(|new| new.max_price = 0.into()), PriceLimitsInvalid);
    rows.row(nothing, &create(|new| new.max_price = i64::MIN.into()), PriceLimitsInvalid);
    rows.row(nothing, &create(|new| new.collar = (-1).into()), PriceLimitsInvalid);
    rows.row(nothing, &create(|new| new.collar = 1_001.into()), PriceLimitsInvalid);
    rows.row(nothing, &create(|new| new.taker_ppm = 1_000_001.into()), FeeInvalid);
    rows.row(nothing, &create(|new| new.maker_ppm = i32::MIN.into()), FeeInvalid);
    rows.row(nothing, &create(|new| new.maker_ppm = (-30_001).into()), FeeInvalid);
    rows.row(nothing, &create(|new| new.max_quantity = u64::MAX.into()), LimitsTooLarge);
    rows.row(nothing, &create(|new| new.max_price = i64::MAX.into()), LimitsTooLarge);
    rows.row(nothing, &create(|new| new.quote_per_tick_lot = u64::MAX.into()), LimitsTooLarge);
    rows.row(nothing, &create(|new| new.base_per_lot = (1 << 60).into()), LimitsTooLarge);
    for id in [0, 7, u32::MAX] {
        rows.row(nothing, &CreateAccount::new(id), AccountOutOfRange);
    }
    rows.row(nothing, &CreateAccount::new(1), AccountExists);
    rows.row(
        |exchange| (10..17).for_each(|key| drop(exchange.must(&Grant::new(GrantAction::Grant, 1, key)))),
        &Grant::new(GrantAction::Grant, 1, 9),
        GrantsFull,
    );

    // Custody.
    rows.row(nothing, &Transfer::deposit(1, 0, 50, 1), CurrencyOutOfRange);
    rows.row(nothing, &Transfer::withdraw(1, 5, 50, 1), CurrencyOutOfRange);
    rows.row(nothing, &Transfer::deposit(1, BASE, 50, 0), AmountInvalid);
    rows.row(nothing, &Transfer::deposit(1, BASE, 50, 1 << 63), AmountInvalid);
    rows.row(nothing, &Transfer::deposit(1, BASE, u64::from(BASE), 999_999), TransactionConflict);
    rows.row(nothing, &Transfer::withdraw(1, BASE, u64::from(BASE), 1_000_000), TransactionConflict);
    rows.row(nothing, &Transfer::deposit(1, BASE, 50, i64::MAX as u64 - 2_999_999), SupplyExceeded);
    rows.row(nothing, &Transfer::withdraw(1, BASE, 50, 1_000_001), InsufficientFunds);
    rows.row(ask, &Transfer::withdraw(2, BASE, 50, 999_951), InsufficientFunds);

    second_layouts(&mut rows);
    access(&mut rows);
    limits(&mut rows);
    disconnect(&mut rows);

    for code in Reject::ALL.iter().filter(|code| **code != NotSupported) {
        assert!(rows.seen.contains(code), "no row brings about {code:?}");
    }
}

/// Cancel on disconnect, from its level on.
fn disconnect(rows: &mut Rows) {
    let set = SetDisconnect::after(GRACE_MAX);
    let full = |exchange: &mut Exchange| {
        exchange.begin_level(1);
        for session in 1..=DISCONNECTS_MAX as u64 {
            exchange.session = session;
            exchange.must(&SetDisconnect::after(0));
        }
        exchange.session = 0;
    };
    rows.row(nothing, &set, Reject::NotBegun);
    let remark = Remark::new("why").expect("it is short");
    rows.row_as(nothing, KEY, permission::CUSTODY, &remark, Reject::NotBegun);
    rows.row_as(|exchange| exchange.begin_level(1), KEY, TRADER, &remark, Reject::NotPermitted);
    rows.row_as(|exchange| exchange.begin_level(1), KEY, permission::ADMIN, &set, Reject::NotPermitted);
    let longer = SetDisconnect::after(GRACE_MAX + 1);
    rows.row(|exchange| exchange.begin_level(1), &longer, Reject::GraceTooLong);
    rows.row(full, &set, Reject::SessionsFull);
    // Those who have it on may change it, and off is off.
    let mut exchange = Exchange::open();
    full(&mut exchange);
    exchange.must(&SetDisconnect::off());
    exchange.session = 9;
    exchange.must(&set);
}

/// A sell of account 1 that waits for 90, and a trade of others at 100.
fn waiting(exchange: &mut Exchange) {
    exchange.must(&stop(90));
    exchange.must(&NewOrder::limit(2, 1, 1, Side::Sell, 100, 10));
    exchange.must(&NewOrder::limit(3, 1, 1, Side::Buy, 100, 5));
}

fn stop(trigger: i64) -> NewOrder2 {
    NewOrder2 {
        order_type: OrderType::Stop,
        price: 0.into(),
        trigger: trigger.into(),
        ..NewOrder2::limit(1, 1, 8, Side::Sell, 0, 10)
    }
}

/// The same in the first layout.
fn in_first_layout(order: &NewOrder2) -> NewOrder {
    let (account, instrument) = (order.account.get(), order.instrument.get());
    NewOrder::limit(
        account,
        instrument,
        order.client_order_id.get(),
        order.side,
        order.price.get(),
        order.quantity.get(),
    )
}

fn second_layouts(rows: &mut Rows) {
    use Reject::*;
    let buy = |price: i64, quantity: u64| NewOrder2::limit(1, 1, 9, Side::Buy, price, quantity);
    let good = buy(90, 10);
    for order_type in [
        OrderType::MarketToLimit,
        OrderType::Stop,
        OrderType::StopLimit,
        OrderType::MarketIfTouched,
        OrderType::LimitIfTouched,
    ] {
        for time_in_force in [TimeInForce::Ioc, TimeInForce::Fok, TimeInForce::Ato, TimeInForce::Atc] {
            rows.row(nothing, &NewOrder2 { order_type, time_in_force, ..good }, TimeInForceConflict);
        }
        rows.row(nothing, &NewOrder2 { order_type, post_only: PostOnly::Reprice, ..good }, PostOnlyConflict);
        let has_price = order_type.has_price();
        let code = if has_price { TriggerOutOfRange } else { MarketPriceSet };
        rows.row(nothing, &NewOrder2 { order_type, ..good }, code);
        let price = if has_price { 90 } else { 0 }.into();
        let displayed = NewOrder2 { order_type, price, display: 2.into(), ..good };
        rows.row(nothing, &displayed, DisplayConflict);
        for trigger in [-1, 0, 1_001, i64::MAX, i64::MIN] {
            let code = match (order_type, trigger) {
                (OrderType::MarketToLimit, 0) => NoLiquidity,
                (OrderType::MarketToLimit, _) => TriggerConflict,
                _ => TriggerOutOfRange,
            };
            rows.row(nothing, &NewOrder2 { order_type, price, trigger: trigger.into(), ..good }, code);
        }
    }
    rows.row(nothing, &NewOrder2 { trigger: 1.into(), ..good }, TriggerConflict);
    rows.row(
        waiting,
        &Amend2 { trigger: 1.into(), ..Amend2::new(2, OrderRef::Client(1), 100, 10) },
        TriggerConflict,
    );
    let amend = Amend2::new(1, OrderRef::Client(8), 0, 10);
    for trigger in [-1, 1_001, i64::MAX] {
        rows.row(waiting, &Amend2 { trigger: trigger.into(), ..amend }, TriggerOutOfRange);
    }
    for trigger in [100, 101, 1_000] {
        rows.row(waiting, &NewOrder2 { client_order_id: 9.into(), ..stop(trigger) }, TriggerMet);
        rows.row(waiting, &Amend2 { trigger: trigger.into(), ..amend }, TriggerMet);
    }
    rows.row(waiting, &Amend2 { price: 1.into(), ..amend }, MarketPriceSet);
    let full: Setup = |exchange| {
        for (id, trigger) in [(1, 10), (2, 20), (3, 30), (4, 30)] {
            exchange.must(&NewOrder2 { client_order_id: id.into(), ..stop(trigger) });
        }
    };
    rows.row(full, &stop(40), TriggersFull);
    rows.row(
        full,
        &Amend2 { trigger: 40.into(), ..Amend2::new(1, OrderRef::Client(3), 0, 10) },
        TriggersFull,
    );
    // What a stop holds at its protection price, one lot more than there is.
    let poor: Setup = |exchange| drop(exchange.must(&Transfer::withdraw(1, BASE, 70, 999_951)));
    rows.row(poor, &stop(90), InsufficientFunds);

    rows.row(
        nothing,
        &NewOrder2 { display: 2.into(), time_in_force: TimeInForce::Ioc, ..good },
        DisplayConflict,
    );
    for display in [1, 11, u64::MAX] {
        rows.row(nothing, &NewOrder2 { display: display.into(), ..good }, DisplayInvalid);
    }
    let iceberg: Setup = |exchange| {
        let order = NewOrder2::limit(1, 1, 8, Side::Sell, 100, 10);
        exchange.must(&NewOrder2 { display: 2.into(), ..order });
    };
    let amend = Amend2::new(1, OrderRef::Client(8), 100, 10);
    for display in [1, 11, u64::MAX] {
        rows.row(iceberg, &Amend2 { display: display.into(), ..amend }, DisplayInvalid);
    }
    rows.row(
        ask,
        &Amend2 { display: 2.into(), ..Amend2::new(2, OrderRef::Client(1), 100, 10) },
        DisplayConflict,
    );

    let gtd = |expiry: u64| NewOrder2 { time_in_force: TimeInForce::Gtd, expiry: expiry.into(), ..good };
    rows.row(nothing, &gtd(0), ExpiryConflict);
    rows.row(nothing, &NewOrder2 { expiry: 1.into(), ..good }, ExpiryConflict);
    rows.row(nothing, &gtd(1), ExpiryPassed);

    let cash = NewOrder2 {
        order_type: OrderType::Market,
        time_in_force: TimeInForce::Ioc,
        cash: 1_029.into(),
        ..buy(0, 0)
    };
    rows.row(nothing, &NewOrder2 { cash: 1.into(), ..good }, CashConflict);
    rows.row(ask, &NewOrder2 { side: Side::Sell, ..cash }, CashConflict);
    rows.row(ask, &NewOrder2 { quantity: 2.into(), ..cash }, CashConflict);
    rows.row(ask, &NewOrder2 { time_in_force: TimeInForce::Fok, ..cash }, CashConflict);
    rows.row(nothing, &cash, NoLiquidity);
    rows.row(ask, &cash, CashTooSmall);
    let poor: Setup = |exchange| {
        ask(exchange);
        exchange.must(&Transfer::withdraw(1, QUOTE, 70, 1_000_000 - 1_029));
    };
    rows.row(poor, &NewOrder2 { cash: 5_000.into(), ..cash }, InsufficientFunds);

    // Where not everything may be done.
    let set = |state| SetState::new(1, state, note(""));
    let halted: Setup = |exchange| drop(exchange.must(&SetState::new(0, MarketState::Halted, note(""))));
    let thinning: Setup =
        |exchange| drop(exchange.must(&SetState::new(1, MarketState::CancelOnly, note(""))));
    let posting: Setup = |exchange| drop(exchange.must(&SetState::new(1, MarketState::PostOnly, note(""))));
    rows.row(halted, &good, MarketHalted);
    rows.row(halted, &in_first_layout(&good), MarketHalted);
    rows.row(thinning, &good, MarketCancelOnly);
    rows.row(posting, &good, MarketPostOnly);
    rows.row_as(nothing, KEY, TRADER, &set(MarketState::Halted), NotPermitted);
    rows.row(nothing, &SetState::new(3, MarketState::Halted, note("")), UnknownInstrument);

    auctions(rows, &good);

    // Who may, and whose.
    rows.row_as(nothing, KEY, TRADER, &SetSelfTrade::new(1, SelfTrade::Decrement, note("")), NotPermitted);
    rows.row(nothing, &SetSelfTrade::new(3, SelfTrade::Decrement, note("")), UnknownInstrument);
    rows.row_as(nothing, KEY, TRADER, &SetGroup::new(1, 1, note("")), NotPermitted);
    for account in [0, 5, u32::MAX] {
        rows.row(nothing, &SetGroup::new(account, 1, note("")), UnknownAccount);
    }
    rows.row_as(nothing, KEY + 1, TRADER, &good, NotGranted);
    rows.row(nothing, &NewOrder2 { instrument: 3.into(), ..good }, UnknownInstrument);
    rows.row(nothing, &Amend2::new(1, OrderRef::Client(9), 90, 10), UnknownOrder);
    rows.row_as(nothing, KEY, 0, &Amend2::new(1, OrderRef::Client(9), 90, 10), NotPermitted);
}

fn set(exchange: &mut Exchange, scope: Scope, id: u32, access: Access) {
    exchange.must(&SetFirm::new(1, 5, note("")));
    exchange.must(&SetAccess::new(scope, id, access, note("")));
}

fn access(rows: &mut Rows) {
    use Reject::*;
    let why = note("");
    let blocked: [(Setup, Reject, Setup, Reject); 3] = [
        (
            |exchange| set(exchange, Scope::All, 0, Access::Blocked),
            ExchangeBlocked,
            |exchange| set(exchange, Scope::All, 0, Access::Suspended),
            ExchangeSuspended,
        ),
        (
            |exchange| set(exchange, Scope::Firm, 5, Access::Blocked),
            FirmBlocked,
            |exchange| set(exchange, Scope::Firm, 5, Access::Suspended),
            FirmSuspended,
        ),
        (
            |exchange| set(exchange, Scope::Account, 1, Access::Blocked),
            AccountBlocked,
            |exchange| set(exchange, Scope::Account, 1, Access::Suspended),
            AccountSuspended,
        ),
    ];
    for (blocks, by_block, suspends, by_suspension) in blocked {
        rows.row(blocks, &buy(100, 10), by_block);
        rows.row(suspends, &buy(100, 10), by_suspension);
        // Before the instrument is looked at.
        rows.row(blocks, &NewOrder::limit(1, 9, 9, Side::Buy, 100, 10), by_block);
        rows.row(suspends, &Transfer::withdraw(1, BASE, 50, 1), by_suspension);
    }
    rows.row_as(nothing, KEY, TRADER, &Kill::new(Scope::Account, 1, why), NotPermitted);
    rows.row_as(nothing, KEY, TRADER, &SetFirm::new(1, 1, why), NotPermitted);
    rows.row_as(nothing, KEY, TRADER, &Purge::new(Scope::Account, 1, 0, Sides::Any, why), NotPermitted);
    rows.row(nothing, &SetFirm::new(5, 1, why), UnknownAccount);
    rows.row(nothing, &SetFirm::new(1, 4_097, why), FirmOutOfRange);
    rows.row(nothing, &Kill::new(Scope::Firm, 0, why), FirmOutOfRange);
    rows.row(nothing, &Kill::new(Scope::Account, 0, why), UnknownAccount);
    rows.row(nothing, &Purge::new(Scope::All, 0, 3, Sides::Any, why), UnknownInstrument);
}

fn auctions(rows: &mut Rows, good: &NewOrder2) {
    use Reject::*;
    let opening: Setup =
        |exchange| drop(exchange.must(&SetState::new(1, MarketState::OpeningAuction, note(""))));
    let closed: Setup = |exchange| drop(exchange.must(&SetState::new(1, MarketState::Closed, note(""))));
    let gathered: Setup = |exchange| {
        exchange.must(&SetReference::new(1, 100, note("")));
        exchange.must(&SetState::new(1, MarketState::PreOpen, note("")));
    };
    let reference = SetReference::new(1, 100, note(""));
    rows.row_as(nothing, KEY, TRADER, &reference, NotPermitted);
    rows.row(nothing, &SetReference::new(3, 100, note("")), UnknownInstrument);
    for price in [0, -1, 1_001] {
        rows.row(nothing, &SetReference::new(1, price, note("")), PriceOutOfRange);
    }
    rows.row(gathered, &reference, ReferenceFixed);
    rows.row(closed, good, MarketClosed);
    rows.row(closed, &in_first_layout(good), MarketClosed);
    for time_in_force in [TimeInForce::Ioc, TimeInForce::Fok] {
        rows.row(opening, &NewOrder2 { time_in_force, ..*good }, AuctionGathers);
    }
    for post_only in [PostOnly::Reject, PostOnly::Reprice] {
        rows.row(opening, &NewOrder2 { post_only, ..*good }, AuctionGathers);
    }
    let to_limit = NewOrder2 { order_type: OrderType::MarketToLimit, price: 0.into(), ..*good };
    rows.row(opening, &to_limit, AuctionGathers);
    for time_in_force in [TimeInForce::Ato, TimeInForce::Atc] {
        let market = NewOrder2 { order_type: OrderType::Market, time_in_force, price: 0.into(), ..*good };
        rows.row(nothing, &market, NoReference);
        rows.row(opening, &market, NoReference);
        rows.row(gathered, &NewOrder2 { price: 1.into(), ..market }, MarketPriceSet);
        rows.row(gathered, &NewOrder2 { quantity: 1.into(), ..market }, QuantityTooSmall);
        // 10 lots at 150 with 3 % fee: 15,450.
        let poor: Setup = |exchange| {
            exchange.must(&SetReference::new(1, 100, note("")));
            exchange.must(&Transfer::withdraw(1, QUOTE, 70, 1_000_000 - 15_449));
        };
        rows.row(poor, &market, InsufficientFunds);
        rows.row(nothing, &NewOrder2 { time_in_force, display: 2.into(), ..*good }, DisplayConflict);
        rows.row(
            nothing,
            &NewOrder2 { time_in_force, post_only: PostOnly::Reject, ..*good },
            PostOnlyConflict,
        );
        rows.row(nothing, &NewOrder2 { time_in_force, expiry: 9_000.into(), ..*good }, ExpiryConflict);
        let trigger = Amend2 { trigger: 5.into(), ..Amend2::new(1, OrderRef::Client(9), 90, 10) };
        match time_in_force {
            TimeInForce::Ato => {
                rows.row(|exchange| at_open(exchange, TimeInForce::Ato), &trigger, TriggerConflict)
            }
            _ => rows.row(|exchange| at_open(exchange, TimeInForce::Atc), &trigger, TriggerConflict),
        }
    }
    let bands = SetBands { action: BandAction::Reject, fixed: 50_000.into(), ..SetBands::off(1, note("")) };
    rows.row_as(nothing, KEY, TRADER, &bands, NotPermitted);
    rows.row(nothing, &SetBands { instrument: 3.into(), ..bands }, UnknownInstrument);
    let averaging = SetBands { moving: 1.into(), width: 5.into(), buckets: 4, ..bands };
    for unsound in [
        SetBands { action: BandAction::Off, ..bands },
        SetBands { fixed: 0.into(), ..bands },
        SetBands { fixed: 1_000_001.into(), ..bands },
        SetBands { moving: 1_000_001.into(), ..averaging },
        SetBands { width: 0.into(), ..averaging },
        SetBands { width: 86_400_000_000_001.into(), ..averaging },
        SetBands { buckets: 0, ..averaging },
        SetBands { buckets: 17, ..averaging },
        SetBands { buckets: 1, ..bands },
        SetBands { width: 1.into(), ..bands },
        SetBands { call: 1.into(), ..bands },
        SetBands { extensions: 1, ..bands },
        SetBands { action: BandAction::Auction, ..bands },
    ] {
        rows.row(nothing, &unsound, BandInvalid);
    }
    use MarketState::{Closed, Continuous};
    let plan =
        |period: u64, entries: &[(u64, u64, MarketState)]| SetSchedule::new(1, period, entries, note(""));
    let sound = plan(0, &[(9_000, 5, Closed), (9_006, 0, Continuous)]);
    rows.row_as(nothing, KEY, TRADER, &sound, NotPermitted);
    rows.row(nothing, &SetSchedule { instrument: 3.into(), ..sound }, UnknownInstrument);
    for unsound in [
        plan(0, &[(1_000, 0, Closed)]),
        plan(0, &[(9_000, 0, Closed), (9_000, 0, Continuous)]),
        plan(0, &[(9_000, 5, Closed), (9_005, 0, Continuous)]),
        plan(0, &[(9_000, 0, MarketState::None)]),
        plan(0, &[(9_000, 86_400_000_000_001, Closed)]),
        plan(0, &[(1 << 63, 0, Closed)]),
        plan(6, &[(9_000, 5, Closed), (9_006, 0, Continuous)]),
        plan(366 * 86_400_000_000_000 + 1, &[(9_000, 0, Closed)]),
        plan(1, &[]),
        plan(100, &[(9_000, 0, Closed), (8_000, 0, Continuous)]),
        plan(100, &[(9_000, 0, Closed), (u64::MAX, 400, Continuous)]),
        SetSchedule { count: 9, ..sound },
        SetSchedule { count: 1, ..sound },
        SetSchedule { count: 3, ..sound },
    ] {
        rows.row(nothing, &unsound, ScheduleInvalid);
    }
    let market_day = NewOrder2 { order_type: OrderType::Market, time_in_force: TimeInForce::Day, ..*good };
    rows.row(nothing, &market_day, MarketMustNotRest);
    let at_market: Setup = |exchange| {
        exchange.must(&SetReference::new(1, 100, note("")));
        exchange.must(&SetState::new(1, MarketState::OpeningAuction, note("")));
        exchange.must(&NewOrder2 {
            order_type: OrderType::Market,
            time_in_force: TimeInForce::Ato,
            ..NewOrder2::limit(1, 1, 9, Side::Buy, 0, 10)
        });
    };
    rows.row(at_market, &Amend2::new(1, OrderRef::Client(9), 90, 10), MarketPriceSet);
}

/// An order of account 1 that waits for its auction.
fn at_open(exchange: &mut Exchange, time_in_force: TimeInForce) {
    exchange.must(&NewOrder2 { time_in_force, ..NewOrder2::limit(1, 1, 9, Side::Buy, 90, 10) });
}

fn limit_pair(exchange: &mut Exchange, change: fn(&mut SetInstrumentLimits)) {
    let mut set = SetInstrumentLimits::new(1, 1, note(""));
    change(&mut set);
    exchange.must(&set);
}

fn limit_party(exchange: &mut Exchange, scope: Scope, change: fn(&mut SetLimits)) {
    exchange.must(&SetFirm::new(1, 5, note("")));
    let mut set = SetLimits::new(scope, if scope == Scope::Account { 1 } else { 5 }, note(""));
    change(&mut set);
    exchange.must(&set);
}

fn limits(rows: &mut Rows) {
    use Reject::*;
    let why = note("");
    let order = buy(100, 10);
    rows.row(|x| limit_pair(x, |set| set.quantity = 9.into()), &order, OrderQuantityLimit);
    rows.row(|x| limit_pair(x, |set| set.notional = 9_999.into()), &order, OrderNotionalLimit);
    rows.row(
        |x| {
            ask(x);
            limit_pair(x, |set| set.collar = 3.into());
        },
        &buy(104, 10),
        OrderCollarLimit,
    );
    rows.row(|x| limit_pair(x, |set| set.open = 9.into()), &order, OpenQuantityLimit);
    rows.row(|x| limit_pair(x, |set| set.long = 9.into()), &order, PositionLimit);
    rows.row(
        |x| {
            limit_pair(x, |set| set.short = 0.into());
            x.must(&SetPosition::new(1, 1, 9, note("")));
        },
        &NewOrder::limit(1, 1, 9, Side::Sell, 100, 10),
        PositionLimit,
    );
    rows.row(
        |x| limit_party(x, Scope::Account, |set| set.listed_only = Flag::Yes),
        &order,
        InstrumentNotAllowed,
    );
    rows.row(|x| limit_party(x, Scope::Account, |set| set.orders = 0.into()), &order, AccountOrdersLimit);
    rows.row(|x| limit_party(x, Scope::Firm, |set| set.orders = 0.into()), &order, FirmOrdersLimit);
    rows.row(
        |x| drop(x.must(&SetGrossLimit::new(Scope::Account, 1, QUOTE, 9_999, note("")))),
        &order,
        AccountNotionalLimit,
    );
    rows.row(
        |x| {
            limit_party(x, Scope::Firm, |_| {});
            x.must(&SetGrossLimit::new(Scope::Firm, 5, QUOTE, 9_999, note("")));
        },
        &order,
        FirmNotionalLimit,
    );
    for (scope, code) in [(Scope::Account, AccountRateLimit), (Scope::Firm, FirmRateLimit)] {
        let setup: Setup = match scope {
            Scope::Account => |x| {
                limit_party(x, Scope::Account, |set| (set.burst, set.interval) = (1.into(), 1_000.into()));
                x.must(&buy(90, 10));
            },
            _ => |x| {
                limit_party(x, Scope::Firm, |set| (set.burst, set.interval) = (1.into(), 1_000.into()));
                x.must(&buy(90, 10));
            },
        };
        rows.row(setup, &NewOrder::limit(1, 1, 10, Side::Buy, 90, 10), code);
        rows.row(setup, &Amend::new(1, OrderRef::Client(9), 90, 9), code);
    }
    rows.row(nothing, &SetLimits::new(Scope::Account, 0, why), UnknownAccount);
    rows.row(nothing, &SetLimits::new(Scope::Firm, 0, why), FirmOutOfRange);
    rows.row(nothing, &SetGrossLimit::new(Scope::Account, 1, 5, 1, why), CurrencyOutOfRange);
    rows.row(nothing, &SetInstrumentLimits::new(1, 3, why), UnknownInstrument);
    rows.row(nothing, &SetPosition::new(5, 1, 0, why), UnknownAccount);
    rows.seen.push(RiskTablesFull);
    rows.row(nothing, &SetFees::new(1, 0, 1_000_001, 0, why), FeeInvalid);
    rows.row(
        |x| drop(x.must(&SetFeeClass::new(1, 1, note("")))),
        &SetFees::new(1, 0, 30_001, 0, why),
        FeeAboveTerms,
    );
    rows.row(nothing, &SetFeeClass::new(3, 1, why), UnknownInstrument);
    rows.row(nothing, &SetFeeTier::new(0, 1, why), UnknownAccount);
}

/// It takes more accounts than the other rows' exchange has. Without the audit behind every command, for its length.
#[test]
fn pairs_of_account_and_instrument_have_a_bound() {
    let accounts = ordain_exchange_engine::PAIRED_ACCOUNTS as u32;
    let limits = ordain_exchange_engine::Limits { accounts: accounts + 1, ..LIMITS };
    let mut engine = ordain_exchange_engine::Engine::new(limits, 1);
    let mut send = |bytes: &[u8]| {
        let context = ordain_exchange_engine::Context { permissions: ALL, ..Default::default() };
        let mut said = Said::default();
        let step = engine.apply(&context, &Request::decode(bytes).expect("decodes"), &mut said);
        assert_eq!(step, ordain_exchange_engine::Step::Done);
        said.code()
    };
    assert_eq!(send(CreateInstrument::new(definition()).as_bytes()), None);
    for account in 1..=accounts + 1 {
        assert_eq!(send(CreateAccount::new(account).as_bytes()), None);
        let code = send(SetPosition::new(account, 1, 1, note("")).as_bytes());
        assert_eq!(code, (account > accounts).then_some(Reject::RiskTablesFull));
    }
    assert_eq!(send(SetPosition::new(1, 1, 2, note("")).as_bytes()), None);
    assert_eq!(engine.audit(), Ok(()));
}
