//! What operators' controls promise, in any stream of commands.

mod common;

use common::*;
use ordain_exchange_engine::{Engine, Limits};
use ordain_exchange_protocol::*;
use proptest::prelude::*;

const SMALL: Limits = Limits { orders: 24, orders_per_account: 12, levels_per_side: 6, ..LIMITS };

fn scope() -> impl Strategy<Value = (Scope, u32)> {
    prop_oneof![
        4 => (1..=4_u32).prop_map(|id| (Scope::Account, id)),
        3 => (1..=2_u32).prop_map(|id| (Scope::Firm, id)),
        1 => Just((Scope::All, 0)),
    ]
}

fn order() -> impl Strategy<Value = NewOrder2> {
    let kind = prop_oneof![6 => Just(OrderType::Limit), 1 => Just(OrderType::StopLimit), 1 => Just(OrderType::Market)];
    let tif = prop_oneof![
        5 => Just(TimeInForce::Gtc),
        1 => Just(TimeInForce::Ioc),
        1 => Just(TimeInForce::Day),
        1 => Just(TimeInForce::Ato),
    ];
    let mode = prop::sample::select(vec![
        SelfTrade::Allow,
        SelfTrade::CancelMaker,
        SelfTrade::CancelBoth,
        SelfTrade::Decrement,
    ]);
    (1..=3_u32, 1..=2_u32, 0..16_u64, any::<bool>(), 96..104_i64, 1..12_u64, kind, tif, (0..3_u64, mode))
        .prop_map(
            |(
                account,
                instrument,
                id,
                buy,
                price,
                quantity,
                order_type,
                time_in_force,
                (display, self_trade),
            )| {
                let side = if buy { Side::Buy } else { Side::Sell };
                let limit = NewOrder2 {
                    self_trade,
                    ..NewOrder2::limit(account, instrument, id, side, price, quantity)
                };
                match order_type {
                    OrderType::Market => {
                        let auction = time_in_force == TimeInForce::Ato;
                        let time_in_force = if auction { time_in_force } else { TimeInForce::Ioc };
                        NewOrder2 { order_type, price: 0.into(), time_in_force, ..limit }
                    }
                    OrderType::StopLimit => NewOrder2 { order_type, trigger: (price + 1).into(), ..limit },
                    _ if time_in_force == TimeInForce::Gtc => NewOrder2 { display: display.into(), ..limit },
                    _ => NewOrder2 { time_in_force, ..limit },
                }
            },
        )
}

/// Auctions come and go, and with them orders that gather.
fn state() -> impl Strategy<Value = Vec<u8>> {
    let state = prop_oneof![
        3 => Just(MarketState::Continuous),
        2 => Just(MarketState::OpeningAuction),
        1 => Just(MarketState::ClosingAuction),
        1 => Just(MarketState::Closed),
    ];
    (0..=2_u32, state)
        .prop_map(|(instrument, state)| SetState::new(instrument, state, note("")).as_bytes().to_vec())
}

fn control() -> impl Strategy<Value = Vec<u8>> {
    let access =
        prop_oneof![2 => Just(Access::Active), 1 => Just(Access::Blocked), 1 => Just(Access::Suspended)];
    prop_oneof![
        2 => (0..=5_u32, 0..=2_u32).prop_map(|(account, firm)| {
            SetFirm::new(account, firm, note("")).as_bytes().to_vec()
        }),
        3 => (scope(), access).prop_map(|((scope, id), access)| {
            SetAccess::new(scope, id, access, note("")).as_bytes().to_vec()
        }),
        1 => scope().prop_map(|(scope, id)| Kill::new(scope, id, note("")).as_bytes().to_vec()),
        1 => (scope(), 0..=2_u32).prop_map(|((scope, id), instrument)| {
            Purge::new(scope, id, instrument, Sides::Any, note("")).as_bytes().to_vec()
        }),
    ]
}

fn limit() -> impl Strategy<Value = u64> {
    prop_oneof![2 => 0..30_u64, 1 => Just(NO_LIMIT)]
}

fn party() -> impl Strategy<Value = (Scope, u32)> {
    prop_oneof![(0..=4_u32).prop_map(|id| (Scope::Account, id)), (1..=2_u32).prop_map(|id| (Scope::Firm, id))]
}

/// Commands that limit.
fn limits() -> impl Strategy<Value = Vec<u8>> {
    let orders = prop_oneof![2 => 0..6_u32, 1 => Just(NO_LIMIT_32)];
    let rate = prop_oneof![2 => Just((0, 0)), 1 => (1..3_u32, 1..6_u64)];
    prop_oneof![
        2 => (party(), orders, rate, 0..8_u8).prop_map(|((scope, id), orders, (burst, interval), listed)| {
            let listed_only = (listed == 0 && scope == Scope::Account).into();
            let set = SetLimits {
                listed_only,
                orders: orders.into(),
                burst: burst.into(),
                interval: interval.into(),
                ..SetLimits::new(scope, id, note(""))
            };
            set.as_bytes().to_vec()
        }),
        2 => (party(), 1..=5_u32, prop_oneof![2 => 0..30_000_u64, 1 => Just(NO_LIMIT)]).prop_map(
            |((scope, id), currency, limit)| {
                SetGrossLimit::new(scope, id, currency, limit, note("")).as_bytes().to_vec()
            }
        ),
        3 => (1..=3_u32, 1..=2_u32, prop::array::uniform6(limit()), 0..4_u8).prop_map(
            |(account, instrument, [quantity, notional, collar, open, long, short], allowed)| {
                let set = SetInstrumentLimits {
                    allowed: (allowed > 0).into(),
                    quantity: quantity.into(),
                    notional: notional.saturating_mul(1_000).into(),
                    collar: collar.into(),
                    open: open.into(),
                    long: long.into(),
                    short: short.into(),
                    ..SetInstrumentLimits::new(account, instrument, note(""))
                };
                set.as_bytes().to_vec()
            }
        ),
        1 => (1..=3_u32, 1..=2_u32, -20..20_i64).prop_map(|(account, instrument, position)| {
            SetPosition::new(account, instrument, position, note("")).as_bytes().to_vec()
        }),
    ]
}

/// What a new order that was let in must keep within.
fn check_limits(x: &Exchange, order: &NewOrder2) -> Result<(), TestCaseError> {
    let (account, instrument) = (order.account.get(), order.instrument.get());
    let bytes = x.ask(ALL, &InstrumentLimitsQuery::new(account, instrument));
    let Ok(Answer::Control(ControlAnswer::InstrumentLimits(pair))) = Answer::decode(&bytes) else {
        panic!("not an answer")
    };
    let within = |lots: i128, limit: u64| limit == NO_LIMIT || lots <= i128::from(limit);
    let [buys, sells] = [pair.open_buys, pair.open_sells].map(|lots| i128::from(lots.get()));
    prop_assert!(within(order.quantity.get().into(), pair.quantity.get()));
    prop_assert!(within(buys + sells, pair.open.get()));
    match order.side {
        Side::Buy => prop_assert!(within(buys + pair.position.get(), pair.long.get())),
        Side::Sell => prop_assert!(within(sells - pair.position.get(), pair.short.get())),
    }
    let firm = access(x, account).firm.get();
    for (scope, id) in [(Scope::Account, account), (Scope::Firm, firm)] {
        if id == 0 {
            continue;
        }
        let bytes = x.ask(ALL, &LimitsQuery::new(scope, id, QUOTE));
        let Ok(Answer::Control(ControlAnswer::Limits(party))) = Answer::decode(&bytes) else {
            panic!("not an answer")
        };
        prop_assert!(party.orders <= party.max_orders);
        prop_assert!(within(party.gross.get() as i128, party.max_gross.get()));
        prop_assert!(party.listed_only == Flag::No || (pair.set, pair.allowed) == (Flag::Yes, Flag::Yes));
    }
    Ok(())
}

fn request() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        12 => order().prop_map(|order| order.as_bytes().to_vec()),
        2 => (1..=3_u32, 0..16_u64)
            .prop_map(|(account, id)| Cancel::new(account, OrderRef::Client(id)).as_bytes().to_vec()),
        5 => (1..=3_u32, 0..16_u64, 96..104_i64, 0..14_u64).prop_map(|(account, id, price, quantity)| {
            Amend::new(account, OrderRef::Client(id), price, quantity).as_bytes().to_vec()
        }),
        1 => (1..=3_u32, 0..90_u64, 1..1_000_u64).prop_map(|(account, transaction, amount)| {
            Transfer::withdraw(account, QUOTE, 100 + transaction, amount).as_bytes().to_vec()
        }),
        3 => control(),
        2 => state(),
        5 => limits(),
    ]
}

fn access(x: &Exchange, account: u32) -> AccessAnswer {
    match Answer::decode(&x.ask(ALL, &AccessQuery::new(account))) {
        Ok(Answer::Control(ControlAnswer::Access(answer))) => *answer,
        other => panic!("not an answer: {other:?}"),
    }
}

/// The strictest of the three that rule an account.
fn strictest(x: &Exchange, account: u32) -> Access {
    let answer = access(x, account);
    answer.of_account.max(answer.of_firm).max(answer.of_all)
}

fn orders_of(x: &Exchange, account: u32) -> usize {
    let live = |id: &u64| {
        let bytes = x.ask(ALL, &OrderQuery::new(account, OrderRef::Client(*id)));
        matches!(Answer::decode(&bytes), Ok(Answer::Order(answer)) if answer.code == U16::ZERO)
    };
    (0..16).filter(live).count()
}

fn is_in(x: &Exchange, scope: Scope, id: u32, account: u32) -> bool {
    match scope {
        Scope::Account => account == id,
        Scope::Firm => access(x, account).firm.get() == id,
        Scope::All => true,
    }
}

/// A bucket as one would draw it: tokens in units of a nanosecond's share, filled by time.
struct Bucket {
    level: u128,
    size: u128,
    token: u128,
    time: u64,
}

impl Bucket {
    fn new(burst: u32, interval: u64, time: u64) -> Self {
        let size = u128::from(burst) * u128::from(interval);
        Self { level: size, size, token: interval.into(), time }
    }

    fn may_come(&mut self, time: u64) -> bool {
        self.level = self.size.min(self.level + u128::from(time - self.time));
        self.time = time;
        self.level >= self.token
    }
}

proptest! {
    /// The one number that is kept says what a bucket would; a snapshot in the middle changes nothing.
    #[test]
    fn a_rate_is_a_bucket(burst in 1..5_u32, interval in 1..50_u64, gaps in prop::collection::vec(0..60_u64, 1..60), at in 0..60_usize) {
        let mut x = Exchange::open_with(SMALL);
        x.time = Some(5_000);
        let set = SetLimits { burst: burst.into(), interval: interval.into(), ..SetLimits::new(Scope::Account, 1, note("")) };
        x.must(&set);
        let mut bucket = Bucket::new(burst, interval, 5_000);
        let mut time = 5_000;
        for (number, gap) in gaps.into_iter().enumerate() {
            if number == at {
                let mut engine = Engine::new(SMALL, 9);
                engine.load(&x.engine.snapshot()).and_then(|()| engine.finish_load()).expect("loads");
                x.engine = engine;
            }
            time += gap;
            x.time = Some(time);
            let said = x.send(&NewOrder::limit(1, 1, 1, Side::Buy, 100, 2));
            let comes = bucket.may_come(time);
            prop_assert_eq!(said.code(), (!comes).then_some(Reject::AccountRateLimit));
            if comes {
                bucket.level -= bucket.token;
                x.must(&Cancel::new(1, OrderRef::Client(1)));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn controls_hold(requests in prop::collection::vec(request(), 1..120)) {
        let mut x = Exchange::open_with(SMALL);
        for bytes in requests {
            let request = Request::decode(&bytes).expect("decodes");
            let before = x.engine.snapshot();
            let allowed: Vec<Access> = (1..=4).map(|account| strictest(&x, account)).collect();
            let said = x.send_as(KEY, ALL, &bytes);
            if said.code().is_some() {
                prop_assert!(x.engine.snapshot() == before, "a refused command changes nothing");
                prop_assert!(said.outputs.is_empty());
                continue;
            }
            match request {
                Request::NewOrder2(order) => {
                    prop_assert_eq!(allowed[order.account.get() as usize - 1], Access::Active);
                    check_limits(&x, order)?;
                }
                Request::Amend(amend) => {
                    let access = allowed[amend.account.get() as usize - 1];
                    let reply = said.order();
                    prop_assert!(access < Access::Suspended || reply.reason == Reason::AmendedBelowFilled);
                    prop_assert!(access < Access::Blocked || said.fills().is_empty());
                }
                Request::Withdraw(transfer) => {
                    let repeat = x.engine.snapshot() == before;
                    prop_assert!(repeat || allowed[transfer.account.get() as usize - 1] < Access::Suspended);
                }
                Request::Control(Control::Kill(kill)) => {
                    for account in (1..=4).filter(|id| is_in(&x, kill.scope, kill.id.get(), *id)) {
                        prop_assert_eq!(orders_of(&x, account), 0);
                        prop_assert!(strictest(&x, account) >= Access::Blocked);
                    }
                }
                _ => {}
            }
        }
    }

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

    #[test]
    fn spoilt_snapshots_do_no_harm(
        requests in prop::collection::vec(request(), 1..40),
        spoil in prop::collection::vec((1..400_usize, any::<u8>()), 1..4),
    ) {
        let mut x = Exchange::open_with(SMALL);
        requests.iter().for_each(|bytes| drop(x.send_as(KEY, ALL, bytes)));
        let mut snapshot = x.engine.snapshot();
        // The controls are at the end.
        let len = snapshot.len();
        spoil.into_iter().for_each(|(back, byte)| snapshot[len - back] = byte);
        let mut engine = Engine::new(SMALL, 3);
        if engine.load(&snapshot).and_then(|()| engine.finish_load()).is_ok() {
            prop_assert_eq!(engine.audit(), Ok(()));
        }
    }
}

/// A kill of all is one entry, worked in bounded steps, whatever lies there.
#[test]
fn a_kill_goes_in_steps() {
    let limits =
        Limits { accounts: 9_000, orders: 300, orders_per_account: 200, levels_per_side: 200, ..LIMITS };
    let mut x = Exchange::open_with(limits);
    for id in 0..130 {
        x.must(&NewOrder::limit(1, 2, id, Side::Sell, 100 + (id % 90) as i64, 1));
    }
    x.must(&NewOrder::limit(3, 2, 0, Side::Buy, 50, 1));
    let said = x.must(&Kill::new(Scope::All, 0, note("drill")));
    assert_eq!(said.outputs.len(), 131);
    // 131 cancels in steps of 60, then accounts by the 4,096.
    assert_eq!(said.steps, 5);
    assert_eq!(x.engine.live_orders(), 0);
    let refused = x.send(&NewOrder::limit(2, 2, 0, Side::Buy, 50, 1));
    assert_eq!(refused.code(), Some(Reject::ExchangeBlocked));
    let unpermitted =
        x.send_as(KEY, TRADER, SetAccess::new(Scope::All, 0, Access::Active, note("")).as_bytes());
    assert_eq!(unpermitted.code(), Some(Reject::NotPermitted));
}
