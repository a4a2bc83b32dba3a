//! Auctions that a case cannot show: many orders, little money, snapshots in between, a naive reckoning of the price.

mod common;

use common::*;
use ordain_exchange_engine::{Engine, Limits};
use ordain_exchange_protocol::*;
use proptest::prelude::*;

const WIDE: Limits =
    Limits { orders: 4_000, orders_per_account: 4_000, levels_per_side: 200, transfers: 64, ..LIMITS };

fn state(state: MarketState) -> SetState {
    SetState::new(1, state, note(""))
}

fn at_auction(
    account: u32,
    id: u64,
    side: Side,
    price: Option<i64>,
    lots: u64,
    ends: TimeInForce,
) -> NewOrder2 {
    let order = NewOrder2::limit(account, 1, id, side, price.unwrap_or(0), lots);
    let order_type = if price.is_some() { OrderType::Limit } else { OrderType::Market };
    NewOrder2 { time_in_force: ends, order_type, ..order }
}

fn auctions(said: &Said) -> Vec<AuctionReport> {
    let report = |bytes: &Vec<u8>| match Output::decode(bytes) {
        Ok(Output::Auction(report)) => Some(*report),
        _ => None,
    };
    said.outputs.iter().filter_map(|(_, bytes)| report(bytes)).collect()
}

/// 2,000 orders trade in steps, each of them bounded, which `Said` counts; so do those that end after them.
#[test]
fn a_long_uncross_goes_in_steps() {
    let mut x = Exchange::open_with(WIDE);
    for account in 1..=3 {
        for currency in [BASE, QUOTE] {
            x.must(&Transfer::deposit(account, currency, 90 + u64::from(currency), 1 << 40));
        }
    }
    x.must(&state(MarketState::OpeningAuction));
    for id in 0..1_000 {
        let far = (id % 100) as i64;
        x.must(&at_auction(1, id, Side::Buy, Some(500 + far), 2, TimeInForce::Ato));
        x.must(&at_auction(2, id, Side::Sell, Some(500 - far), 2, TimeInForce::Day));
    }
    for id in 1_000..1_200 {
        x.must(&at_auction(1, id, Side::Buy, Some(300), 2, TimeInForce::Ato));
    }
    let said = x.must(&state(MarketState::Closed));
    let report = auctions(&said)[0];
    assert_eq!((report.trades.get(), report.volume.get()), (1_000, 2_000));
    // Two reports a trade, the auction's and the state's, and 200 orders that were for the auction alone.
    assert_eq!(said.outputs.len(), 2_000 + 2 + 200);
    assert!(said.steps > 2_202 / 60, "{} steps", said.steps);
    assert_eq!(x.engine.live_orders(), 0);
}

/// A market order's price follows the reference; where the money does not, it ends before the auction.
#[test]
fn a_market_order_that_can_no_longer_be_paid_ends() {
    let mut x = Exchange::open();
    x.must(&SetReference::new(1, 100, note("")));
    x.must(&at_auction(1, 9, Side::Buy, None, 10, TimeInForce::Ato));
    // 10 lots at 150 with 3 %: 15,450 are held; at 250 it would be 25,750.
    assert_eq!(x.balance(1, QUOTE), (1_000_000 - 15_450, 15_450));
    x.must(&Transfer::withdraw(1, QUOTE, 90, 1_000_000 - 15_450 - 10_299));
    x.must(&SetReference::new(1, 200, note("")));
    let said = x.must(&state(MarketState::OpeningAuction));
    let reasons: Vec<_> = said
        .outputs
        .iter()
        .filter_map(|(_, bytes)| match Output::decode(bytes) {
            Ok(Output::Cancel(report)) => Some((report.reason, report.price.get())),
            _ => None,
        })
        .collect();
    assert_eq!(reasons, [(Reason::Budget, 150)]);
    assert_eq!(x.balance(1, QUOTE), (25_749, 0));
}

/// An unchanged price is not said again, and each instrument's is said once however many orders end.
#[test]
fn a_mass_cancel_says_each_price_once() {
    let mut x = Exchange::open();
    x.must(&SetState::new(0, MarketState::OpeningAuction, note("")));
    for (instrument, id) in [(1, 1), (2, 2), (1, 3), (2, 4)] {
        x.must(&NewOrder::limit(2, instrument, id, Side::Sell, 100, 10));
    }
    let indications = |said: &Said| {
        let of = |bytes: &Vec<u8>| match Output::decode(bytes) {
            Ok(Output::Indication(report)) => {
                Some((report.instrument.get(), report.price.get(), report.volume.get()))
            }
            _ => None,
        };
        said.outputs.iter().filter_map(|(_, bytes)| of(bytes)).collect::<Vec<_>>()
    };
    assert_eq!(indications(&x.must(&NewOrder::limit(1, 1, 5, Side::Buy, 100, 25))), [(1, 100, 20)]);
    assert_eq!(indications(&x.must(&NewOrder::limit(1, 2, 6, Side::Buy, 101, 5))), [(2, 100, 5)]);
    assert_eq!(indications(&x.must(&NewOrder::limit(3, 2, 7, Side::Buy, 99, 5))), []);
    assert_eq!(indications(&x.must(&MassCancel::new(2, 0, Sides::Any))), [(1, 0, 0), (2, 0, 0)]);
}

/// A buy or a sell: price, or `None` at market, and lots.
type Entry = (bool, Option<i64>, u64);

/// The page's rule, price by price.
fn reckon(entries: &[Entry], reference: i64, collar: i64) -> Option<(i64, u64, u64, u64)> {
    let held_to = |buy: bool| if buy { reference + collar } else { (reference - collar).max(1) };
    let at = |price: i64| {
        let sum = |buy: bool| {
            let trades = |own: i64| if buy { own >= price } else { own <= price };
            let of_side = entries.iter().filter(|entry| entry.0 == buy);
            of_side.filter(|entry| trades(entry.1.unwrap_or(held_to(buy)))).map(|entry| entry.2).sum::<u64>()
        };
        (price, sum(true), sum(false))
    };
    let volume = |found: &(i64, u64, u64)| found.1.min(found.2);
    let imbalance = |found: &(i64, u64, u64)| found.1.abs_diff(found.2);
    let mut limits: Vec<_> = entries.iter().filter_map(|entry| entry.1).collect();
    limits.sort_unstable();
    limits.dedup();
    let all: Vec<_> = limits.into_iter().map(at).collect();
    let most = all.iter().map(volume).max().unwrap_or(0);
    let market = |buy: bool| entries.iter().any(|entry| entry.0 == buy && entry.1.is_none());
    let among = at(reference);
    if market(true) && market(false) && volume(&among) > most {
        return Some((reference, volume(&among), among.1, among.2));
    }
    let mut best: Vec<_> = all.into_iter().filter(|found| volume(found) == most && most > 0).collect();
    let least = best.iter().map(imbalance).min()?;
    best.retain(|found| imbalance(found) == least);
    let chosen = if best.iter().all(|found| found.1 > found.2) {
        best.last()
    } else if best.iter().all(|found| found.1 < found.2) {
        best.first()
    } else {
        best.iter().rev().min_by_key(|found| found.0.abs_diff(reference))
    };
    chosen.map(|found| (found.0, most, found.1, found.2))
}

fn entry() -> impl Strategy<Value = Entry> {
    (any::<bool>(), prop::option::weighted(0.8, 60..140_i64), 2..9_u64)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// The price and what trades are what the page's rule gives, reckoned the slow way; and a snapshot in the middle of
    /// the auction goes on alike.
    #[test]
    fn the_price_is_the_rule_s(entries in prop::collection::vec(entry(), 1..40), reference in 90..110_i64, at in 0..40_usize) {
        let mut x = Exchange::open_with(WIDE);
        x.must(&SetReference::new(1, reference, note("")));
        x.must(&state(MarketState::OpeningAuction));
        for (id, (buy, price, lots)) in entries.iter().enumerate() {
            let (side, account) = if *buy { (Side::Buy, 1) } else { (Side::Sell, 2) };
            let ends = if price.is_some() { TimeInForce::Gtc } else { TimeInForce::Ato };
            x.must(&at_auction(account, id as u64, side, *price, *lots, ends));
            if id == at {
                let snapshot = x.engine.snapshot();
                let mut engine = Engine::new(WIDE, 5);
                engine.load(&snapshot).expect("loads");
                engine.finish_load().expect("is whole");
                prop_assert!(engine.snapshot() == snapshot);
                x.engine = engine;
            }
        }
        let said = x.must(&state(MarketState::Continuous));
        let report = auctions(&said)[0];
        let expected = reckon(&entries, reference, 50);
        let (price, volume, buys, sells) = expected.unwrap_or_default();
        prop_assert_eq!((report.price.get(), report.volume.get()), (price, volume));
        prop_assert_eq!(report.imbalance.get(), buys.abs_diff(sells));
        let lots: u64 = said.fills().iter().step_by(2).map(|fill| fill.quantity.get()).sum();
        prop_assert_eq!(lots, volume);
    }
}
