//! What holds after every event of any stream.

mod common;

use common::*;
use ordain_exchange_engine::{Engine, Limits};
use ordain_exchange_protocol::*;
use proptest::prelude::*;

const SMALL: Limits = Limits { orders: 24, orders_per_account: 12, levels_per_side: 6, ..LIMITS };

fn order() -> impl Strategy<Value = NewOrder> {
    let tif =
        prop_oneof![6 => Just(TimeInForce::Gtc), 1 => Just(TimeInForce::Ioc), 2 => Just(TimeInForce::Fok)];
    let kind = prop_oneof![5 => Just(OrderType::Limit), 1 => Just(OrderType::Market)];
    (1..=3_u32, 1..=2_u32, 0..20_u64, any::<bool>(), 96..104_i64, 1..12_u64, tif, kind, 0..8_u8).prop_map(
        |(account, instrument, id, buy, price, quantity, tif, kind, post)| {
            let side = if buy { Side::Buy } else { Side::Sell };
            match kind {
                OrderType::Limit => {
                    let order = NewOrder::limit(account, instrument, id, side, price, quantity).lasting(tif);
                    if post == 0 { order.post_only() } else { order }
                }
                _ => {
                    let tif = if tif == TimeInForce::Fok { tif } else { TimeInForce::Ioc };
                    NewOrder::market(account, instrument, id, side, quantity).lasting(tif)
                }
            }
        },
    )
}

/// Bytes of a request.
fn request() -> impl Strategy<Value = Vec<u8>> {
    let account = 1..=3_u32;
    prop_oneof![
        12 => order().prop_map(|order| order.as_bytes().to_vec()),
        3 => (account.clone(), 0..20_u64)
            .prop_map(|(account, id)| Cancel::new(account, OrderRef::Client(id)).as_bytes().to_vec()),
        4 => (account.clone(), 0..20_u64, 96..104_i64, 0..14_u64).prop_map(|(account, id, price, quantity)| {
            Amend::new(account, OrderRef::Client(id), price, quantity).as_bytes().to_vec()
        }),
        1 => (account.clone(), 0..=2_u32)
            .prop_map(|(account, instrument)| MassCancel::new(account, instrument, Sides::Any).as_bytes().to_vec()),
        1 => (0..=3_u32, 1..=3_u32, 0..40_u64, 1..50_000_u64, any::<bool>()).prop_map(|(account, currency, number, amount, deposit)| {
            let transfer = if deposit { Transfer::deposit } else { Transfer::withdraw };
            transfer(account, currency, 100 + number, amount).as_bytes().to_vec()
        }),
    ]
}

fn check_event(
    x: &Exchange,
    request: &Request<'_>,
    before: &[(i64, u64, u32)],
    said: &Said,
) -> Result<(), TestCaseError> {
    let fills = said.fills();
    // Two reports a trade; both sides name the same price and quantity.
    for pair in fills.chunks(2) {
        prop_assert_eq!(
            (pair[0].price, pair[0].quantity, pair[0].index),
            (pair[1].price, pair[1].quantity, pair[1].index)
        );
        prop_assert!(pair[0].side != pair[1].side);
    }
    if let Request::NewOrder(order) = request {
        let reply = said.order();
        let accepted = said.code().is_none();
        let total = reply.cumulative.get() + reply.remaining.get() + reply.cancelled.get();
        prop_assert_eq!(total, if accepted { order.quantity.get() } else { 0 });
        if order.time_in_force == TimeInForce::Fok {
            prop_assert!(!accepted || reply.state == OrderState::Filled, "all or nothing");
        }
        // Trades walk the opposite side from its best price, and never past the limit.
        let mut expected =
            before.iter().flat_map(|(price, quantity, _)| std::iter::repeat_n(*price, *quantity as usize));
        for fill in fills.iter().filter(|fill| fill.aggressor == Flag::Yes) {
            for _ in 0..fill.quantity.get() {
                prop_assert_eq!(expected.next(), Some(fill.price.get()), "price priority");
            }
            let within = match order.side {
                Side::Buy => fill.price.get() <= order.price.get(),
                Side::Sell => fill.price.get() >= order.price.get(),
            };
            prop_assert!(within || order.order_type == OrderType::Market);
        }
        let (cost, fee) = (reply.notional.get(), reply.fee.get());
        let sums = fills.iter().filter(|fill| fill.aggressor == Flag::Yes);
        prop_assert_eq!(fee, sums.clone().map(|fill| fill.fee.get()).sum::<i64>());
        prop_assert_eq!(reply.fills.get() as usize, sums.count());
        prop_assert!(cost == 0 || reply.cumulative.get() > 0);
    }
    let _ = x;
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Conservation, holds equal to live orders, uncrossed books, totals and links are in `Engine::audit`, which
    /// `Exchange::send_as` runs after every event.
    #[test]
    fn events_keep_the_rules(requests in prop::collection::vec(request(), 1..120)) {
        let mut x = Exchange::open_with(SMALL);
        for bytes in requests {
            let request = Request::decode(&bytes).expect("decodes");
            let before = match request {
                Request::NewOrder(order) => x.levels(order.instrument.get(), order.side.opposite()),
                _ => Vec::new(),
            };
            let said = x.send_as(KEY, ALL, &bytes);
            check_event(&x, &request, &before, &said)?;
        }
    }

    /// Stopping at any event and going on from a snapshot is the same as never having stopped, whatever the
    /// seed of the hash tables.
    #[test]
    fn a_restored_engine_goes_on_alike(requests in prop::collection::vec(request(), 2..100), at in 0..100_usize, seed: u64) {
        let mut x = Exchange::open_with(SMALL);
        let (before, after) = requests.split_at(at % requests.len());
        before.iter().for_each(|bytes| drop(x.send_as(KEY, ALL, bytes)));
        let mut restored = x.restored(seed, SMALL);
        for bytes in after {
            prop_assert_eq!(x.send_as(KEY, ALL, bytes), restored.send_as(KEY, ALL, bytes));
        }
        prop_assert!(x.engine.snapshot() == restored.engine.snapshot());
    }

    /// Bytes that went bad are refused or make a state that adds up; they never panic.
    #[test]
    fn spoilt_snapshots_do_no_harm(
        requests in prop::collection::vec(request(), 1..60),
        spoil in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut x = Exchange::open_with(SMALL);
        requests.iter().for_each(|bytes| drop(x.send_as(KEY, ALL, bytes)));
        let mut snapshot = x.engine.snapshot();
        for (at, byte) in spoil {
            let at = at.index(snapshot.len());
            snapshot[at] = byte;
        }
        if let Some(cut) = cut {
            snapshot.truncate(cut.index(snapshot.len()));
        }
        let mut engine = Engine::new(SMALL, 3);
        if engine.load(&snapshot).and_then(|()| engine.finish_load()).is_ok() {
            prop_assert_eq!(engine.audit(), Ok(()));
        }
    }

    /// Any bytes that decode can be executed.
    #[test]
    fn hostile_requests_do_no_harm(
        tag in 1..=9_u8,
        small in prop::collection::vec(0..4_u8, 112),
        wild in prop::collection::vec((0..112_usize, any::<u8>()), 0..6),
    ) {
        let mut bytes = small;
        wild.into_iter().for_each(|(at, byte)| bytes[at] = byte);
        let len = [112, 8, 16, 32, 32, 40, 24, 40, 16][usize::from(tag) - 1];
        bytes[0] = tag;
        bytes[1] = 1;
        let mut x = Exchange::open();
        x.must(&NewOrder::limit(2, 1, 1, Side::Sell, 100, 10));
        x.must(&NewOrder::limit(1, 1, 1, Side::Buy, 90, 10));
        if Request::decode(&bytes[..len]).is_ok() {
            x.send_as(KEY, ALL, &bytes[..len]);
        }
    }
}
