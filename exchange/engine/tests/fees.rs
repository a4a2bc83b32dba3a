//! What fills cost under fee schedules: docs/exchange/fees.md.

mod common;

use common::*;
use ordain_exchange_engine::{Engine, Limits};
use ordain_exchange_protocol::*;
use proptest::prelude::*;

const SMALL: Limits = Limits { orders: 24, orders_per_account: 12, levels_per_side: 6, ..LIMITS };

/// One instrument that pays makers nothing back: maker 1 %, taker 3 %, 10 of quote for a lot at a tick.
fn open(maker_ppm: i32, taker_ppm: i32) -> Exchange {
    let mut x = Exchange::empty(SMALL);
    x.must(&CreateInstrument::new(Definition {
        min_quantity: 1.into(),
        min_notional: 0.into(),
        maker_ppm: maker_ppm.into(),
        taker_ppm: taker_ppm.into(),
        ..definition()
    }));
    for account in 1..=3 {
        x.must(&CreateAccount::new(account));
        x.must(&Grant::new(GrantAction::Grant, account, KEY));
        for currency in [BASE, QUOTE] {
            x.must(&Transfer::deposit(account, currency, u64::from(currency), 1_000_000));
        }
    }
    x
}

fn bounded(class: u8, tier: u8, maker: i32, taker: i32, min: u64, max: u64) -> SetFees {
    SetFees { min: min.into(), max: max.into(), ..SetFees::new(class, tier, maker, taker, note("")) }
}

/// The page's two schedules; accounts 1 and 3 are in tier 1.
fn scheduled() -> Exchange {
    let mut x = open(10_000, 30_000);
    x.must(&SetFees::new(1, 0, 0, 20_000, note("")));
    x.must(&bounded(1, 1, -15_000, 10_000, 40, 100));
    x.must(&SetFeeClass::new(1, 1, note("")));
    x.must(&SetFeeTier::new(1, 1, note("")));
    x.must(&SetFeeTier::new(3, 1, note("")));
    x
}

/// Fees of maker and taker when `seller` rests and `buyer` takes.
fn trade(x: &mut Exchange, seller: u32, buyer: u32, quantity: u64) -> (i64, i64) {
    let before = x.balance(0, QUOTE).0;
    x.must(&NewOrder::limit(seller, 1, 1, Side::Sell, 100, quantity));
    let said = x.must(&NewOrder::limit(buyer, 1, 2, Side::Buy, 100, quantity));
    let fills = said.fills();
    let fees = (fills[0].fee.get(), fills[1].fee.get());
    assert_eq!(said.order().fee.get(), fees.1);
    assert_eq!(x.balance(0, QUOTE).0.cast_signed() - before.cast_signed(), fees.0 + fees.1);
    fees
}

#[test]
fn the_pages_example() {
    let mut x = scheduled();
    assert_eq!(trade(&mut x, 1, 2, 4), (-60, 80));
    assert_eq!(trade(&mut x, 2, 1, 1), (0, 30));
    assert_eq!(trade(&mut x, 2, 1, 30), (0, 100));
    assert_eq!(trade(&mut x, 3, 1, 4), (-40, 40));
    x.must(&SetFeeClass::new(1, 0, note("")));
    assert_eq!(trade(&mut x, 3, 1, 4), (40, 120), "its own terms again");
}

#[test]
fn a_tier_without_a_schedule_pays_as_the_lowest_and_a_class_without_one_as_the_instrument() {
    let mut x = scheduled();
    x.must(&SetFeeTier::new(1, 9, note("")));
    assert_eq!(trade(&mut x, 2, 1, 4), (0, 80));
    x.must(&SetFeeClass::new(1, 7, note("")));
    assert_eq!(trade(&mut x, 2, 1, 4), (40, 120));
}

/// Whoever is filled in pieces pays for each, and dust is rounded against the payer.
#[test]
fn each_fill_is_charged_by_itself() {
    let mut x = open(10_000, 30_000);
    x.must(&bounded(1, 0, 0, 1, 7, NO_LIMIT));
    x.must(&SetFeeClass::new(1, 1, note("")));
    for id in 0..5 {
        x.must(&NewOrder::limit(1, 1, id, Side::Sell, 100, 1));
    }
    let said = x.must(&NewOrder::limit(2, 1, 9, Side::Buy, 100, 5));
    let fees: Vec<i64> = said.fills().iter().map(|fill| fill.fee.get()).collect();
    assert_eq!(fees, [7; 10], "least charge, five times and on both sides");
    x.must(&SetFees::new(1, 0, 0, 1, note("")));
    assert_eq!(trade(&mut x, 1, 2, 1), (0, 1), "a thousandth of a unit is a unit");
}

/// The order's hold was made under the instrument's own terms; what is set later is paid from it.
#[test]
fn fees_change_under_live_orders() {
    let mut x = open(10_000, 30_000);
    x.must(&NewOrder::limit(1, 1, 1, Side::Buy, 100, 10));
    assert_eq!(x.balance(1, QUOTE), (1_000_000 - 10_300, 10_300));
    x.must(&SetFeeClass::new(1, 2, note("")));
    x.must(&SetFees::new(2, 0, 30_000, 30_000, note("")));
    let said = x.must(&NewOrder::limit(2, 1, 1, Side::Sell, 100, 4));
    assert_eq!(said.fills()[0].fee.get(), 120);
    assert_eq!(x.balance(1, QUOTE), (1_000_000 - 10_300, 6_180));
    x.must(&SetFees::new(2, 0, -30_000, 30_000, note("")));
    let said = x.must(&NewOrder::limit(2, 1, 2, Side::Sell, 100, 6));
    assert_eq!(said.fills()[0].fee.get(), -180);
    assert_eq!(x.balance(1, QUOTE), (1_000_000 - 10_000 - 120 + 180, 0));
}

/// Both sides of an auction's trades pay its rate; by their own terms the higher of the two.
#[test]
fn auctions_have_a_rate_of_their_own() {
    let mut x = scheduled();
    let schedule = SetFees { auction_ppm: 5_000.into(), ..SetFees::new(1, 0, 0, 20_000, note("")) };
    x.must(&schedule);
    x.must(&SetFees { auction_ppm: (-30_000).into(), ..bounded(1, 1, 0, 0, 0, NO_LIMIT) });
    let uncross = |x: &mut Exchange, buyer: u32| {
        x.must(&SetState::new(1, MarketState::OpeningAuction, note("")));
        x.must(&NewOrder::limit(2, 1, 1, Side::Sell, 100, 4));
        x.must(&NewOrder::limit(buyer, 1, 2, Side::Buy, 100, 4));
        let said = x.must(&SetState::new(1, MarketState::Continuous, note("")));
        said.fills().iter().map(|fill| fill.fee.get()).collect::<Vec<_>>()
    };
    assert_eq!(uncross(&mut x, 2), [20, 20]);
    assert_eq!(uncross(&mut x, 1), [-20, 20], "a rebate of 120 is cut to what the seller pays");
    x.must(&SetFeeClass::new(1, 0, note("")));
    assert_eq!(uncross(&mut x, 3), [120, 120]);
}

#[test]
fn two_rebates_are_none() {
    let mut x = open(10_000, 30_000);
    x.must(&SetFees::new(1, 0, -10, -20, note("")));
    x.must(&SetFeeClass::new(1, 1, note("")));
    assert_eq!(trade(&mut x, 1, 2, 400), (0, 0));
}

#[test]
fn terms_bound_schedules() {
    let mut x = open(10_000, 30_000);
    let codes = |x: &mut Exchange, set: &SetFees| x.send(set).code();
    x.must(&SetFees::new(1, 3, 30_001, 0, note("")));
    assert_eq!(x.send(&SetFeeClass::new(1, 1, note(""))).code(), Some(Reject::FeeAboveTerms));
    x.must(&SetFeeClass::new(1, 2, note("")));
    assert_eq!(codes(&mut x, &SetFees::new(2, 3, 30_001, 0, note(""))), Some(Reject::FeeAboveTerms));
    let auction = SetFees { auction_ppm: 30_001.into(), ..SetFees::new(2, 3, 0, 0, note("")) };
    assert_eq!(codes(&mut x, &auction), Some(Reject::FeeAboveTerms));
    assert_eq!(codes(&mut x, &SetFees::new(2, 3, -1_000_001, 0, note(""))), Some(Reject::FeeInvalid));
    assert_eq!(codes(&mut x, &bounded(2, 3, 0, 0, 2, 1)), Some(Reject::FeeInvalid));
    assert_eq!(codes(&mut x, &bounded(2, 3, 30_000, 30_000, 2, 2)), None);
    let bytes = x.ask(ALL, &FeesQuery::new(1, 1));
    let Ok(Answer::Control(ControlAnswer::Fees(answer))) = Answer::decode(&bytes) else {
        panic!("no answer")
    };
    assert_eq!(
        (answer.class, answer.tier, answer.taker_ppm.get(), answer.max.get()),
        (2, 0, 30_000, NO_LIMIT)
    );
}

fn request() -> impl Strategy<Value = Vec<u8>> {
    let bound = prop_oneof![2 => Just(0), 1 => 0..200_u64];
    prop_oneof![
        12 => (1..=3_u32, 0..12_u64, any::<bool>(), 97..103_i64, 1..12_u64).prop_map(
            |(account, id, buy, price, quantity)| {
                let side = if buy { Side::Buy } else { Side::Sell };
                NewOrder::limit(account, 1, id, side, price, quantity).as_bytes().to_vec()
            }
        ),
        2 => (1..=3_u32, 1..500_u64).prop_map(|(account, cash)| {
            let by_cash = NewOrder2 {
                order_type: OrderType::Market,
                time_in_force: TimeInForce::Ioc,
                cash: (cash * 20).into(),
                ..NewOrder2::limit(account, 1, 20, Side::Buy, 0, 0)
            };
            by_cash.as_bytes().to_vec()
        }),
        2 => (1..=2_u8, 0..=2_u8, -40_000..30_000_i32, -40_000..30_000_i32, bound, 0..300_u64).prop_map(
            |(class, tier, maker, taker, min, more)| {
                bounded(class, tier, maker, taker, min, min + more).as_bytes().to_vec()
            }
        ),
        1 => (0..=2_u8).prop_map(|class| SetFeeClass::new(1, class, note("")).as_bytes().to_vec()),
        1 => (0..=4_u32, 0..=3_u8).prop_map(|(account, tier)| {
            SetFeeTier::new(account, tier, note("")).as_bytes().to_vec()
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    /// Beside what `Engine::audit` checks after every event: nobody pays more than the bound, rebates come from the
    /// other side of the fill, and a restored engine goes on alike.
    #[test]
    fn fees_keep_the_rules(requests in prop::collection::vec(request(), 2..120), at in 0..120_usize) {
        let mut x = open(10_000, 30_000);
        let at = at % requests.len();
        for (number, bytes) in requests.iter().enumerate() {
            if number == at {
                let snapshot = x.engine.snapshot();
                let mut engine = Engine::new(SMALL, 9);
                engine.load(&snapshot).and_then(|()| engine.finish_load()).expect("loads");
                prop_assert!(engine.snapshot() == snapshot);
                x.engine = engine;
            }
            let before = (x.balance(0, QUOTE).0, x.engine.snapshot());
            let said = x.send_as(KEY, ALL, bytes);
            if said.code().is_some() {
                prop_assert!(x.engine.snapshot() == before.1, "a refused command changes nothing");
            }
            let fills = said.fills();
            let mut income = 0;
            for pair in fills.chunks(2) {
                let [maker, taker] = [pair[0].fee.get(), pair[1].fee.get()];
                let (price, lots) = (pair[0].price.get().unsigned_abs(), pair[0].quantity.get());
                let bound = (lots * (price * 10 * 30_000).div_ceil(1_000_000)) as i64;
                prop_assert!(maker <= bound && taker <= bound);
                prop_assert!(maker + taker >= 0);
                income += maker + taker;
            }
            prop_assert_eq!(x.balance(0, QUOTE).0, before.0 + income.unsigned_abs());
            if let Ok(Request::NewOrder2(order)) = Request::decode(bytes) {
                let reply = said.order();
                prop_assert!(reply.notional.get().cast_signed() + reply.fee.get() <= order.cash.get().cast_signed());
            }
        }
    }
}
