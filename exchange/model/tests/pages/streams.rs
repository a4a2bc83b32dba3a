//! Rows of the pages on market data and on drop copies: what is told in streams.

use super::*;

/// All feeds are on.
fn published() -> Desk {
    let mut desk = Desk::new();
    desk.levels_up();
    let told = desk.publishes(true, true, true);
    assert_eq!(told, ["orders Reset", "levels Reset", "top 0 at 0, 0 at 0"]);
    desk
}

/// What feeds told of the last command: topic by topic.
fn of_feeds(desk: &Desk) -> [Vec<String>; 3] {
    let told = desk.told();
    let of = |is: &dyn Fn(&str) -> bool| told.iter().filter(|it| is(it)).cloned().collect();
    let begins = |it: &str, with: &[&str]| with.iter().any(|word| it.starts_with(word));
    [
        of(&|it| begins(it, &["add", "change", "remove", "orders"])),
        of(&|it| begins(it, &["Buy", "Sell", "levels"])),
        of(&|it| begins(it, &["top"])),
    ]
}

#[test]
fn feeds_the_example() {
    // Order 7 of the page is 0 here, and so on.
    let mut desk = published();
    let rows: [(i64, u64, [&[&str]; 3]); 3] = [
        (100, 4, [&["add 0: Sell 4 at 100"], &["Sell 100: 4 of 1"], &["top 0 at 0, 4 at 100"]]),
        (100, 3, [&["add 1: Sell 3 at 100"], &["Sell 100: 7 of 2"], &["top 0 at 0, 7 at 100"]]),
        (101, 5, [&["add 2: Sell 5 at 101"], &["Sell 101: 5 of 1"], &[]]),
    ];
    let mut last = 0;
    for (price, lots, told) in rows {
        last = desk.enters(limit(A, Side::Sell, price, lots)).order_id.get();
        assert_eq!(of_feeds(&desk), told);
    }
    desk.enters(limit(B, Side::Buy, 101, 9));
    let orders = ["remove 0, trade 1", "remove 1, trade 2", "change 2: 3, trade 3"];
    assert_eq!(
        of_feeds(&desk),
        [&orders[..], &["Sell 100: none", "Sell 101: 3 of 1"], &["top 0 at 0, 3 at 101"]]
    );
    desk.cancels(A, last);
    assert_eq!(of_feeds(&desk), [["remove 2"], ["Sell 101: none"], ["top 0 at 0, 0 at 0"]]);
}

#[test]
fn feeds_are_refused() {
    let refused = |desk: &mut Desk, instrument| {
        let reply = desk.does(SetFeed::off(instrument, note("a test")).as_bytes());
        assert!(desk.told().is_empty());
        Reject::from_wire(u16::from_le_bytes([reply[2], reply[3]]))
    };
    let mut desk = Desk::new();
    assert_eq!(refused(&mut desk, 2), Some(Reject::NotBegun));
    desk.levels_up();
    assert_eq!(refused(&mut desk, 2), Some(Reject::UnknownInstrument));
    // What was never on is not told to be off.
    assert_eq!(refused(&mut desk, 1), None);
}

#[test]
fn feeds_tell_the_book_as_it_is() {
    let mut desk = Desk::new();
    desk.levels_up();
    desk.enters(limit(A, Side::Sell, 110, 4));
    desk.enters(iceberg(limit(A, Side::Buy, 90, 10), 4));
    desk.enters(limit(B, Side::Buy, 91, 1));
    desk.enters(limit(B, Side::Buy, 90, 2));
    desk.enters(waiting(OrderType::StopLimit, limit(C, Side::Buy, 95, 1), 120));
    let orders = [
        "orders Reset",
        "add 2: Buy 1 at 91",
        "add 1: Buy 4 at 90",
        "add 3: Buy 2 at 90",
        "add 0: Sell 4 at 110",
    ];
    let levels = ["levels Reset", "Buy 91: 1 of 1", "Buy 90: 6 of 2", "Sell 110: 4 of 1"];
    let top = ["top 1 at 91, 4 at 110"];
    // Also where it is on.
    for _ in 0..2 {
        assert_eq!(desk.publishes(true, true, true), [&orders[..], &levels, &top].concat());
    }
    assert_eq!(desk.publishes(false, true, false), [&["orders Off"], &levels[..], &["top Off"]].concat());
    assert_eq!(desk.publishes(false, false, true), [&orders[..], &["levels Off"]].concat());
    assert_eq!(desk.publishes(false, false, false), ["orders Off"]);
    desk.enters(limit(B, Side::Buy, 92, 1));
    assert!(desk.told().is_empty());
}

#[test]
fn feeds_of_icebergs() {
    let mut desk = published();
    let berg = desk.enters(iceberg(limit(A, Side::Sell, 100, 10), 4)).order_id.get();
    desk.enters(limit(B, Side::Sell, 100, 3));
    desk.enters(limit(C, Side::Buy, 100, 9));
    let orders = ["remove 0, trade 1", "add 0: Sell 4 at 100", "remove 1, trade 2", "change 0: 2, trade 3"];
    assert_eq!(of_feeds(&desk), [&orders[..], &["Sell 100: 2 of 1"], &["top 0 at 0, 2 at 100"]]);
    // Fewer hidden lots are nobody's business; fewer that are shown are.
    desk.amends(amend(A, berg, 100, 9));
    assert_eq!(of_feeds(&desk), [[""; 0]; 3]);
    desk.amends(amend(A, berg, 100, 7));
    assert_eq!(of_feeds(&desk), [["change 0: 1"], ["Sell 100: 1 of 1"], ["top 0 at 0, 1 at 100"]]);
}

#[test]
fn feeds_of_amends() {
    let mut desk = published();
    desk.enters(limit(B, Side::Sell, 100, 3));
    let bid = desk.enters(limit(A, Side::Buy, 90, 4)).order_id.get();
    desk.amends(amend(A, bid, 90, 2));
    assert_eq!(of_feeds(&desk), [["change 1: 2"], ["Buy 90: 2 of 1"], ["top 2 at 90, 3 at 100"]]);
    desk.amends(amend(A, bid, 100, 5));
    let orders = ["remove 1", "remove 0, trade 1", "add 1: Buy 2 at 100"];
    let levels = ["Buy 90: none", "Sell 100: none", "Buy 100: 2 of 1"];
    assert_eq!(of_feeds(&desk), [&orders[..], &levels, &["top 2 at 100, 0 at 0"]]);
    // What was filled counts as well: 3 of 6 are left, one more than there were, so it loses its place.
    desk.amends(amend(A, bid, 100, 6));
    let orders = ["remove 1", "add 1: Buy 3 at 100"];
    assert_eq!(of_feeds(&desk), [&orders[..], &["Buy 100: 3 of 1"], &["top 3 at 100, 0 at 0"]]);
}

#[test]
fn feeds_of_orders_of_one_owner() {
    let mut desk = published();
    desk.enters(limit(A, Side::Sell, 100, 4));
    desk.enters(limit(B, Side::Sell, 100, 6));
    desk.enters(with(limit(A, Side::Buy, 100, 6), SelfTrade::Decrement));
    // They meet for 4 lots, which is no trade; the first trade is with B's.
    let orders = ["remove 0", "change 1: 4, trade 1"];
    assert_eq!(of_feeds(&desk), [&orders[..], &["Sell 100: 4 of 1"], &["top 0 at 0, 4 at 100"]]);
}

#[test]
fn feeds_of_an_auction() {
    let mut desk = published();
    desk.does(SetReference::new(1, 100, note("a test")).as_bytes());
    let at_open = NewOrder2 { time_in_force: TimeInForce::Ato, ..limit(A, Side::Buy, 101, 4) };
    desk.enters(at_open);
    assert_eq!(of_feeds(&desk), [[""; 0]; 3]);
    desk.sets_state(MarketState::OpeningAuction);
    assert_eq!(of_feeds(&desk), [["add 0: Buy 4 at 101"], ["Buy 101: 4 of 1"], ["top 4 at 101, 0 at 0"]]);
    let market = NewOrder2 { order_type: OrderType::Market, price: 0.into(), ..at_open };
    desk.enters(NewOrder2 { quantity: 2.into(), ..market });
    assert_eq!(of_feeds(&desk), [[""; 0]; 3]);
    desk.enters(iceberg(limit(B, Side::Sell, 101, 10), 3));
    desk.sets_state(MarketState::Continuous);
    // The market order is first of the buys; what is left of the sell shows 3, of which it gave 2, then 1 more.
    let orders = [
        "change 2: 1, trade 1",
        "change 0: 3, trade 2",
        "remove 2, trade 2",
        "add 2: Sell 3 at 101",
        "remove 0, trade 3",
        "remove 2, trade 3",
        "add 2: Sell 3 at 101",
    ];
    let levels =
        ["Sell 101: 1 of 1", "Buy 101: 3 of 1", "Sell 101: 3 of 1", "Buy 101: none", "Sell 101: 3 of 1"];
    assert_eq!(of_feeds(&desk), [&orders[..], &levels, &["top 0 at 0, 3 at 101"]]);
}

#[test]
fn feeds_of_log_time() {
    let mut desk = published();
    let gtd = |price, expiry: u64| NewOrder2 {
        expiry: expiry.into(),
        ..lasting(limit(A, Side::Sell, price, 1), TimeInForce::Gtd)
    };
    for (price, expiry) in [(100, 10), (100, 10), (101, 20)] {
        desk.enters(gtd(price, expiry));
    }
    let told = desk.passes(20);
    let of_feeds: Vec<&String> = told.iter().filter(|it| !it.starts_with("cancelled")).collect();
    // Each time is a command.
    let expected = [
        "remove 0",
        "remove 1",
        "Sell 100: none",
        "top 0 at 0, 1 at 101",
        "remove 2",
        "Sell 101: none",
        "top 0 at 0, 0 at 0",
    ];
    assert_eq!(of_feeds, expected);
}

#[test]
fn feeds_of_a_level_that_comes_and_goes() {
    let mut desk = published();
    desk.enters(limit(C, Side::Sell, 101, 1));
    // Both are triggered: the first rests at 99, the second takes it.
    desk.enters(waiting(OrderType::StopLimit, limit(A, Side::Buy, 99, 3), 101));
    desk.enters(waiting(OrderType::LimitIfTouched, limit(B, Side::Sell, 99, 3), 101));
    desk.enters(limit(C, Side::Buy, 101, 1));
    let orders = ["remove 0, trade 1", "add 1: Buy 3 at 99", "remove 1, trade 2"];
    assert_eq!(of_feeds(&desk), [&orders[..], &["Sell 101: none", "Buy 99: none"], &["top 0 at 0, 0 at 0"]]);
}

#[test]
fn copies_the_example() {
    let mut desk = Desk::new();
    let why = note("a test");
    let grant = |action| GrantFirm::new(action, 9, 7, why);
    let refused = desk.does(grant(GrantAction::Grant).as_bytes());
    assert_eq!(Reject::from_wire(u16::from_le_bytes([refused[2], refused[3]])), Some(Reject::NotBegun));
    desk.levels_up();
    for account in [A, C] {
        desk.controls(SetFirm::new(account, 9, why).as_bytes());
    }
    desk.controls(grant(GrantAction::Grant).as_bytes());
    desk.enters(limit(A, Side::Sell, 100, 4));
    assert_eq!(desk.firm_hears(9), ["reply of 1"]);
    desk.enters(limit(B, Side::Buy, 100, 4));
    assert_eq!(desk.firm_hears(9), ["fill maker 4 at 100"]);
    desk.does(Cancel::new(C, OrderRef::Id(1)).as_bytes());
    assert!(desk.firm_hears(9).is_empty());
    // Both accounts of a trade are in the firm.
    let maker = desk.enters(limit(A, Side::Sell, 100, 4)).order_id.get();
    desk.enters(limit(C, Side::Buy, 100, 1));
    assert_eq!(desk.firm_hears(9), ["fill maker 1 at 100", "fill taker 1 at 100", "reply of 3"]);
    desk.cancels(A, maker);
    assert_eq!(desk.firm_hears(9), ["reply of 1"]);
    desk.controls(grant(GrantAction::Revoke).as_bytes());
    desk.enters(limit(A, Side::Sell, 100, 4));
    assert!(desk.firm_hears(9).is_empty());
}
