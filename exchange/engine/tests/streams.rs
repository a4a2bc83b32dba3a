//! What holds after every event of streams that use all that orders can be.

mod common;
#[path = "common/feed.rs"]
mod feed;

use common::*;
use ordain_exchange_engine::{Audience, Context, Engine, Limits, Step};
use ordain_exchange_protocol::*;
use proptest::prelude::*;

const SMALL: Limits = Limits { orders: 30, orders_per_account: 14, levels_per_side: 6, ..LIMITS };

/// Something that happens.
#[derive(Clone, Debug)]
enum Act {
    Send(Vec<u8>),
    /// Log time moves on by this.
    Pass(u64),
    /// Requests come from this session from here on.
    Session(u64),
    /// The log says of a session's client: lost (0), unproved, back, ended.
    Presence(u64, u8),
}

fn order() -> impl Strategy<Value = NewOrder2> {
    let kind = prop_oneof![
        6 => Just(OrderType::Limit),
        1 => Just(OrderType::Market),
        1 => Just(OrderType::MarketToLimit),
        1 => Just(OrderType::Stop),
        2 => Just(OrderType::StopLimit),
        1 => Just(OrderType::MarketIfTouched),
        2 => Just(OrderType::LimitIfTouched),
    ];
    let tif = prop_oneof![
        6 => Just(TimeInForce::Gtc), 1 => Just(TimeInForce::Ioc), 2 => Just(TimeInForce::Fok), 2 => Just(TimeInForce::Gtd),
        1 => Just(TimeInForce::Day), 1 => Just(TimeInForce::Ato), 1 => Just(TimeInForce::Atc),
    ];
    let self_trade = prop_oneof![
        2 => Just(SelfTrade::Default), 2 => Just(SelfTrade::Allow), 2 => Just(SelfTrade::CancelTaker),
        2 => Just(SelfTrade::CancelMaker), 2 => Just(SelfTrade::CancelBoth), 2 => Just(SelfTrade::Decrement),
    ];
    let names = (1..=3_u32, 1..=2_u32, 0..20_u64, any::<bool>());
    let numbers = (96..104_i64, 2..14_u64, 95..105_i64, 2..8_u64, 0..40_u64, 0..12_u8);
    (names, numbers, kind, tif, self_trade).prop_map(
        |(
            (account, instrument, id, buy),
            (price, quantity, trigger, display, late, odd),
            kind,
            tif,
            self_trade,
        )| {
            let side = if buy { Side::Buy } else { Side::Sell };
            let mut order = NewOrder2::limit(account, instrument, id, side, price, quantity);
            (order.order_type, order.self_trade) = (kind, self_trade);
            order.time_in_force = match (kind, tif) {
                (OrderType::Market, tif @ (TimeInForce::Fok | TimeInForce::Ato | TimeInForce::Atc)) => tif,
                (OrderType::Market, _) => TimeInForce::Ioc,
                (OrderType::Limit, tif) => tif,
                (_, tif @ (TimeInForce::Gtd | TimeInForce::Day)) => tif,
                _ => TimeInForce::Gtc,
            };
            if order.time_in_force == TimeInForce::Gtd {
                order.expiry = (1_000 + late * 10).into();
            }
            if !kind.has_price() {
                order.price = 0.into();
            }
            if kind.waits() {
                order.trigger = trigger.into();
            }
            let tif = order.time_in_force;
            if kind == OrderType::Limit && !tif.is_immediate() && !tif.is_for_auction() {
                match odd {
                    0 => order.post_only = PostOnly::Reject,
                    1 => order.post_only = PostOnly::Reprice,
                    2..=5 => order.display = display.into(),
                    _ => {}
                }
            }
            if kind == OrderType::Market && buy && order.time_in_force == TimeInForce::Ioc && odd < 6 {
                (order.quantity, order.cash) = (0.into(), (quantity * 1_500).into());
            }
            order
        },
    )
}

fn act() -> impl Strategy<Value = Act> {
    let account = 1..=3_u32;
    let send = |message: &dyn Fn() -> Vec<u8>| Act::Send(message());
    prop_oneof![
        24 => order().prop_map(|order| Act::Send(order.as_bytes().to_vec())),
        3 => (account.clone(), 0..20_u64).prop_map(move |(account, id)| {
            send(&|| Cancel::new(account, OrderRef::Client(id)).as_bytes().to_vec())
        }),
        8 => (account.clone(), 0..20_u64, 95..105_i64, 0..16_u64, 0..8_u64, 0..20_i64, any::<bool>()).prop_map(
            |(account, id, price, quantity, display, trigger, priced)| {
                let mut amend =
                    Amend2::new(account, OrderRef::Client(id), if priced { price } else { 0 }, quantity);
                amend.display = (if display > 3 { 0 } else { display }).into();
                amend.trigger = (if trigger > 8 { 0 } else { 95 + trigger }).into();
                Act::Send(amend.as_bytes().to_vec())
            }
        ),
        2 => (account.clone(), 0..20_u64, 95..105_i64, 1..16_u64).prop_map(|(account, id, price, quantity)| {
            Act::Send(Amend::new(account, OrderRef::Client(id), price, quantity).as_bytes().to_vec())
        }),
        1 => (account.clone(), 0..=2_u32).prop_map(|(account, instrument)| {
            Act::Send(MassCancel::new(account, instrument, Sides::Any).as_bytes().to_vec())
        }),
        1 => (1..=2_u32, 0..4_u8).prop_map(|(instrument, mode)| {
            let mode = [SelfTrade::Allow, SelfTrade::CancelMaker, SelfTrade::Decrement, SelfTrade::CancelBoth]
                [usize::from(mode)];
            Act::Send(SetSelfTrade::new(instrument, mode, note("")).as_bytes().to_vec())
        }),
        1 => (account, 0..3_u32).prop_map(|(account, group)| {
            Act::Send(SetGroup::new(account, group, note("")).as_bytes().to_vec())
        }),
        1 => (1..=2_u32, 0..9_u8, 1..60_000_u32, 1..60_000_u32).prop_map(|(instrument, kind, fixed, moving)| {
            let mut bands = SetBands::off(instrument, note(""));
            if kind > 0 {
                bands.action = if kind > 4 { BandAction::Auction } else { BandAction::Reject };
                bands.fixed = if kind == 1 { 0 } else { fixed }.into();
                if kind % 3 != 2 {
                    (bands.moving, bands.width, bands.buckets) = (moving.into(), 7.into(), 3);
                }
                if kind > 4 {
                    (bands.call, bands.extensions) = (15.into(), 2);
                }
            }
            Act::Send(bands.as_bytes().to_vec())
        }),
        1 => (1..=2_u32, 0..6_u8, 0..4_u64, 0..3_u64, 0..8_u64).prop_map(|(instrument, state, late, random, every)| {
            let states = [MarketState::OpeningAuction, MarketState::Closed, MarketState::Halted];
            let state = states.get(usize::from(state)).copied().unwrap_or(MarketState::ClosingAuction);
            let from = 1_100 + late * 200;
            let entries = [(from, random * 5, state), (from + 30, 0, MarketState::Continuous)];
            let period = if every < 4 { 0 } else { every * 20 };
            Act::Send(SetSchedule::new(instrument, period, &entries, note("")).as_bytes().to_vec())
        }),
        1 => (1..=2_u32, 94..106_i64).prop_map(|(instrument, price)| {
            Act::Send(SetReference::new(instrument, price, note("")).as_bytes().to_vec())
        }),
        3 => (0..=2_u32, 0..14_u8).prop_map(|(instrument, state)| {
            let state = match state {
                0 => MarketState::Halted,
                1 => MarketState::CancelOnly,
                2 => MarketState::PostOnly,
                3 => MarketState::PreOpen,
                4 | 5 => MarketState::OpeningAuction,
                6 => MarketState::VolatilityAuction,
                7 | 8 => MarketState::ClosingAuction,
                9 => MarketState::Closed,
                _ => MarketState::Continuous,
            };
            Act::Send(SetState::new(instrument, state, note("")).as_bytes().to_vec())
        }),
        2 => (1..=2_u32, 1..8_u8).prop_map(|(instrument, feeds)| Act::Send(set_feed(instrument, feeds).as_bytes().to_vec())),
        1 => (1..=3_u32, 0..3_u32).prop_map(|(account, firm)| Act::Send(SetFirm::new(account, firm, note("")).as_bytes().to_vec())),
        1 => (1..3_u32, 0..4_u32).prop_map(|(firm, what)| {
            let action = if what == 0 { GrantAction::Revoke } else { GrantAction::Grant };
            Act::Send(GrantFirm::new(action, firm, 5, note("")).as_bytes().to_vec())
        }),
        3 => (1..40_u64).prop_map(Act::Pass),
        2 => (1..4_u64).prop_map(Act::Session),
        1 => (0..4_u64, 0..30_u64).prop_map(|(on, grace)| {
            let set = if on == 0 { SetDisconnect::off() } else { SetDisconnect::after(grace) };
            Act::Send(set.as_bytes().to_vec())
        }),
        2 => (1..4_u64, 0..4_u8).prop_map(|(session, what)| Act::Presence(session, what)),
    ]
}

/// Top, levels and orders are bits 0 to 2.
fn set_feed(instrument: u32, feeds: u8) -> SetFeed {
    let flag = |bit: u8| Flag::from(feeds >> bit & 1 == 1);
    SetFeed { top: flag(0), levels: flag(1), orders: flag(2), ..SetFeed::off(instrument, note("")) }
}

/// A small exchange with everything that this build does.
fn small() -> Exchange {
    let mut x = Exchange::open_with(SMALL);
    x.begin_level(1);
    x.session = 1;
    x
}

fn perform(x: &mut Exchange, act: &Act) -> Vec<Said> {
    let time = x.time.unwrap_or(1_000);
    match act {
        Act::Session(session) => {
            x.session = *session;
            Vec::new()
        }
        Act::Presence(session, what) => {
            match what {
                0 => x.engine.lost(*session, time),
                1 => x.engine.unproved(*session, time),
                2 => x.engine.back(*session),
                _ => x.engine.ended(*session, time),
            }
            x.engine.audit().expect("the state adds up");
            Vec::new()
        }
        Act::Send(bytes) => {
            x.time = Some(time);
            vec![x.send_as(KEY, ALL, bytes)]
        }
        Act::Pass(by) => {
            x.time = Some(time + by);
            let context = Context { seq: x.seq + 1, time: time + by, ..Context::default() };
            let mut all = Vec::new();
            while let Some(due) = x.engine.next_deadline().filter(|due| *due <= time + by) {
                let mut said = Said::default();
                let mut step = x.engine.expire(&context, due, &mut said);
                while step == Step::More {
                    said.next_step();
                    step = x.engine.resume(&mut said);
                }
                let next = x.engine.next_deadline();
                assert!(next.is_none_or(|next| next > due), "time moves on: {next:?} after {due}");
                all.push(said);
            }
            x.engine.audit().expect("the state adds up");
            all
        }
    }
}

/// The firm of an account.
fn firm(x: &Exchange, account: u32) -> u32 {
    let bytes = x.ask(ALL, &AccessQuery::new(account));
    match Answer::decode(&bytes) {
        Ok(Answer::Control(ControlAnswer::Access(answer))) => answer.firm.get(),
        other => panic!("not an account's access: {other:?}"),
    }
}

/// The group of an account.
fn group(x: &Exchange, account: u32) -> u32 {
    let bytes = x.ask(ALL, &OwnerQuery::new(account));
    match Answer::decode(&bytes) {
        Ok(Answer::Owner(answer)) => answer.group.get(),
        other => panic!("not an owner: {other:?}"),
    }
}

fn state(x: &Exchange, instrument: u32) -> MarketState {
    let bytes = x.ask(ALL, &TradingQuery::new(instrument));
    match Answer::decode(&bytes) {
        Ok(Answer::Trading(answer)) => answer.state,
        other => panic!("not an instrument's: {other:?}"),
    }
}

fn mode(x: &Exchange, instrument: u32, own: SelfTrade) -> SelfTrade {
    let bytes = x.ask(ALL, &TradingQuery::new(instrument));
    match (own, Answer::decode(&bytes)) {
        (SelfTrade::Default, Ok(Answer::Trading(answer))) => answer.self_trade,
        _ => own,
    }
}

fn check(x: &Exchange, act: &Act, said: &[Said]) -> Result<(), TestCaseError> {
    for said in said {
        let mut indexes = (0, 0);
        let mut instrument = 0;
        let fills = said.fills();
        for pair in fills.chunks(2) {
            // What log time brings about in several instruments is counted for each by itself.
            let before = std::mem::replace(&mut instrument, pair[0].instrument.get());
            if matches!(act, Act::Pass(_)) && before != instrument {
                indexes.0 = 0;
            }
            let key = |fill: &FillReport| (fill.price, fill.quantity, fill.index.get(), fill.instrument);
            prop_assert_eq!(key(&pair[0]), key(&pair[1]));
            prop_assert_eq!(pair[0].index.get(), indexes.0, "trades are counted through");
            // In an auction neither is the aggressor, and the buyer comes first.
            let uncrossed = pair[0].aggressor == Flag::No && pair[1].aggressor == Flag::No;
            prop_assert!(pair[0].side != pair[1].side && pair[0].aggressor == Flag::No);
            prop_assert!(!uncrossed || pair[0].side == Side::Buy);
            indexes.0 += 1;
        }
        let mut instrument = 0;
        for (audience, bytes) in said.told() {
            if let Ok(Output::Prevent(report)) = Output::decode(bytes) {
                let before = std::mem::replace(&mut instrument, report.instrument.get());
                if matches!(act, Act::Pass(_)) && before != instrument {
                    indexes.1 = 0;
                }
                prop_assert_eq!(*audience, Audience::Account(report.account.get()));
                prop_assert_eq!(report.index.get(), indexes.1 / 2, "meetings are counted through");
                indexes.1 += 1;
            }
        }
    }
    let Act::Send(bytes) = act else { return Ok(()) };
    // Nothing trades but where everything may be done, or at the end of an auction.
    for pair in said[0].fills().chunks(2) {
        let uncrossed = pair[1].aggressor == Flag::No;
        let state = state(x, pair[0].instrument.get());
        // Or what an order reached was a band, and the instrument is in an auction now.
        let paused = said[0].outputs.iter().any(|(_, bytes)| bytes[0] == CallReport::TAG);
        prop_assert!(uncrossed || paused || state == MarketState::Continuous);
        prop_assert!(!uncrossed || paused || !state.gathers());
    }
    check_auctions(said)?;
    let Ok(Request::NewOrder2(order)) = Request::decode(bytes) else { return Ok(()) };
    let reply = said[0].order();
    if said[0].code().is_some() {
        return Ok(());
    }
    let quantity = if order.cash.get() > 0 { 1_000 } else { order.quantity.get() };
    let total = reply.cumulative.get() + reply.remaining.get() + reply.cancelled.get();
    prop_assert_eq!(total, quantity, "lots are traded, left or cancelled");
    let fok = order.time_in_force == TimeInForce::Fok;
    prop_assert!(!fok || reply.state == OrderState::Filled, "all or nothing");
    let own = |fill: &&FillReport| fill.order_id == reply.order_id && fill.aggressor == Flag::Yes;
    let fills = said[0].fills();
    let traded: u64 = fills.iter().filter(own).map(|fill| fill.quantity.get()).sum();
    prop_assert_eq!(traded, reply.cumulative.get());
    if order.cash.get() > 0 {
        let cost = reply.notional.get().checked_add_signed(reply.fee.get());
        prop_assert!(cost.is_some_and(|cost| cost <= order.cash.get()), "no more than the cash");
    }
    // No trade with its owner where its mode forbids that.
    if mode(x, order.instrument.get(), order.self_trade) != SelfTrade::Allow {
        for pair in fills.chunks(2).filter(|pair| own(&&pair[1])) {
            let (maker, taker) = (pair[0].account.get(), pair[1].account.get());
            prop_assert!(maker != taker, "an order trades with its owner's");
            prop_assert!(group(x, maker) == 0 || group(x, maker) != group(x, taker), "or its group's");
        }
    }
    Ok(())
}

fn day_reference(x: &Exchange, instrument: u32) -> i64 {
    let bytes = x.ask(ALL, &AuctionQuery::new(instrument));
    match Answer::decode(&bytes) {
        Ok(Answer::Auction(answer)) => answer.day_reference.get(),
        other => panic!("not an auction: {other:?}"),
    }
}

/// No order trades outside the static band, whatever set it off; what an auction does to its reference is left out.
fn check_static_bands(said: &[Said], references: [i64; 2], widths: [u32; 3]) -> Result<(), TestCaseError> {
    let outputs = said.iter().flat_map(Said::told);
    let mut trades = Vec::new();
    for (_, bytes) in outputs {
        match Output::decode(bytes) {
            Ok(Output::Trade(trade)) => trades.push(trade),
            Ok(Output::Auction(_)) => return Ok(()),
            _ => {}
        }
    }
    for trade in trades {
        let instrument = trade.instrument.get() as usize;
        let (reference, width) = (references[instrument - 1], i64::from(widths[instrument]));
        if reference > 0 && width > 0 {
            let off = (trade.price.get() - reference).abs();
            prop_assert!(off <= reference * width / 1_000_000, "{} is {off} off {reference}", trade.price);
        }
    }
    Ok(())
}

/// The trades of an auction have one price, no order trades beyond its own, and what is told of it adds up.
fn check_auctions(said: &[Said]) -> Result<(), TestCaseError> {
    let mut traded = Vec::new();
    for (_, bytes) in said.iter().flat_map(Said::told) {
        match Output::decode(bytes) {
            Ok(Output::Fill(fill)) if fill.side == Side::Buy => traded.push((fill.price, fill.quantity)),
            Ok(Output::Auction(report)) => {
                prop_assert_eq!(traded.len(), report.trades.get() as usize);
                prop_assert!(traded.iter().all(|(price, _)| *price == report.price));
                let lots: u64 = traded.iter().map(|(_, lots)| lots.get()).sum();
                prop_assert_eq!(lots, report.volume.get(), "what was found to trade trades");
            }
            // The trade of an order that found others is said to everybody.
            Ok(Output::State(_) | Output::Trade(_)) => traded.clear(),
            _ => {}
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// The audit after every event covers conservation, holds, books, queues, expiries.
    #[test]
    fn events_keep_the_rules(acts in prop::collection::vec(act(), 1..160)) {
        let mut x = small();
        let mut widths = [0; 3];
        for act in acts {
            let references = [1, 2].map(|instrument| day_reference(&x, instrument));
            let said = perform(&mut x, &act);
            check(&x, &act, &said)?;
            check_static_bands(&said, references, widths)?;
            if let Act::Send(bytes) = &act
                && let Ok(Request::Market(Market::SetBands(bands))) = Request::decode(bytes)
            {
                widths[bands.instrument.get() as usize] = bands.fixed.get();
            }
        }
    }

    #[test]
    fn a_restored_engine_goes_on_alike(acts in prop::collection::vec(act(), 2..140), at in 0..140_usize, seed: u64) {
        let mut x = small();
        let (before, after) = acts.split_at(at % acts.len());
        before.iter().for_each(|act| drop(perform(&mut x, act)));
        let mut restored = x.restored(seed, SMALL);
        for act in after {
            prop_assert_eq!(perform(&mut x, act), perform(&mut restored, act));
        }
        prop_assert!(x.engine.snapshot() == restored.engine.snapshot());
    }

    /// At every command, and across snapshots, and however feeds are set meanwhile.
    #[test]
    fn books_follow_from_their_feeds(acts in prop::collection::vec(act(), 2..160), at in 0..160_usize) {
        let mut x = small();
        let mut reader = feed::Reader::default();
        for instrument in 1..=2 {
            reader.read(&x.must(&set_feed(instrument, 7)));
        }
        for (place, act) in acts.iter().enumerate() {
            if place == at {
                x = x.restored(7, SMALL);
            }
            perform(&mut x, act).iter().for_each(|said| reader.read(said));
            reader.compare(&x);
        }
    }

    /// Report by report, and every accepted reply, as long as somebody may read them.
    #[test]
    fn firms_hear_what_their_accounts_hear(acts in prop::collection::vec(act(), 2..160)) {
        let mut x = small();
        for act in &acts {
            let firms = [0, 1, 2, 3].map(|account| firm(&x, account));
            let listens = [0, 1, 2].map(|firm| x.engine.may_read_firm(firm, 5, permission::VIEW));
            let reader = |account: u32| {
                Some(firms[account as usize]).filter(|firm| listens[*firm as usize])
            };
            for said in perform(&mut x, act) {
                let mut outputs = said.outputs.iter().filter(|(to, _)| !matches!(to, Audience::Feed(_)));
                let mut own = Vec::new();
                while let Some((to, bytes)) = outputs.next() {
                    match to {
                        Audience::Account(account) => if let Some(firm) = reader(*account) {
                            prop_assert_eq!(outputs.next(), Some(&(Audience::Firm(firm), bytes.clone())));
                        }
                        Audience::Firm(firm) => own.push((*firm, bytes.clone())),
                        _ => {}
                    }
                }
                let account = match Reply::decode(&said.reply) {
                    Ok(Reply::Order(reply)) if said.code().is_none() => reply.account.get(),
                    Ok(Reply::Order2(reply)) if said.code().is_none() => reply.account.get(),
                    Ok(Reply::MassCancel(reply)) if said.code().is_none() => reply.account.get(),
                    _ => 0,
                };
                let expected: Vec<_> = reader(account).map(|firm| (firm, said.reply.clone())).into_iter().collect();
                prop_assert_eq!(own, expected);
            }
        }
    }

    #[test]
    fn spoilt_snapshots_do_no_harm(
        acts in prop::collection::vec(act(), 1..80),
        spoil in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut x = small();
        acts.iter().for_each(|act| drop(perform(&mut x, act)));
        let mut snapshot = x.engine.snapshot();
        for (at, byte) in spoil {
            let at = at.index(snapshot.len());
            snapshot[at] = byte;
        }
        let mut engine = Engine::new(SMALL, 3);
        if engine.load(&snapshot).and_then(|()| engine.finish_load()).is_ok() {
            prop_assert_eq!(engine.audit(), Ok(()));
        }
    }

    /// What the first layout says is what the second says with the rest left as it is.
    #[test]
    fn the_second_layout_contains_the_first(acts in prop::collection::vec(act(), 1..60), order in order()) {
        let (mut first, mut second) = (small(), small());
        for act in &acts {
            perform(&mut first, act);
            perform(&mut second, act);
        }
        let tif = match order.time_in_force {
            tif @ (TimeInForce::Gtc | TimeInForce::Ioc | TimeInForce::Fok) => tif,
            _ => TimeInForce::Gtc,
        };
        let plain = NewOrder::limit(
            order.account.get(), order.instrument.get(), order.client_order_id.get(), order.side,
            order.price.get(), order.quantity.get(),
        ).lasting(tif);
        let one = first.send_as(KEY, ALL, plain.as_bytes());
        let two = second.send_as(KEY, ALL, NewOrder2::from_first(&plain).as_bytes());
        prop_assert_eq!(one.order(), two.order());
        prop_assert!(one.told().eq(two.told()));
        prop_assert!(first.engine.snapshot() == second.engine.snapshot());
    }
}

/// A snapshot of the first form, which ends with the transfers and does not count its sections.
#[test]
fn snapshots_of_the_first_form_load() {
    let mut x = Exchange::open();
    x.must(&NewOrder::limit(2, 1, 1, Side::Sell, 100, 10).post_only());
    x.must(&NewOrder::limit(1, 2, 1, Side::Buy, 90, 10));
    let snapshot = x.engine.snapshot();
    let (mut old, mut rest) = (Vec::new(), &snapshot[..]);
    let sizes = [72, 8, 104, 40, 24, 56, 56, 16, 48, 8, 40];
    while !rest.is_empty() {
        let word = |at: usize| u32::from_le_bytes(rest[at..at + 4].try_into().expect("four")) as usize;
        let (section, length) = (word(0), 8 + word(4) * sizes[word(0)]);
        if section < 7 {
            old.extend_from_slice(&rest[..length]);
        }
        rest = &rest[length..];
    }
    // The count of sections, in the summary behind the head.
    assert_eq!(old[8 + 52..8 + 56], [10, 0, 0, 0]);
    old[8 + 52] = 0;
    let mut engine = Engine::new(LIMITS, 9);
    engine.load(&old).expect("loads");
    engine.finish_load().expect("is whole");
    assert!(engine.snapshot() == snapshot);
    // One that says that it has all sections, and has not, is refused.
    old[8 + 52] = 10;
    let mut engine = Engine::new(LIMITS, 9);
    engine.load(&old).expect("loads");
    assert!(engine.finish_load().is_err());
}

/// The orders of a session leave it, and end with it, in steps, each of them bounded, and only once each.
#[test]
fn sessions_part_in_steps() {
    const ORDERS: u64 = 2_500;
    let limits = Limits { orders: 3_000, orders_per_account: 3_000, ..LIMITS };
    let mut x = Exchange::open_with(limits);
    x.begin_level(1);
    let open = |x: &mut Exchange, session: u64, ids: std::ops::Range<u64>| {
        x.session = session;
        x.must(&SetDisconnect::after(7));
        for id in ids {
            x.must(&NewOrder::limit(1, 2, id, Side::Buy, 1, 1));
        }
    };
    open(&mut x, 3, 0..ORDERS);
    open(&mut x, 4, ORDERS..ORDERS + 150);
    x.session = 3;
    let said = x.must(&SetDisconnect::off());
    assert_eq!((said.steps, said.outputs.len()), (3, 0));
    let mut x = x.restored(5, limits);
    x.engine.lost(3, 10_000);
    assert_eq!(x.engine.next_deadline(), None, "its orders are nobody's");
    x.engine.lost(4, 10_000);
    let mut x = x.restored(6, limits);
    assert_eq!(x.engine.next_deadline(), Some(10_007), "the grace goes on behind a snapshot");
    let mut said = Said::default();
    let context = Context { seq: 9_999, time: 10_007, ..Context::default() };
    let mut step = x.engine.expire(&context, 10_007, &mut said);
    let mut steps = 1;
    while step == Step::More {
        said.next_step();
        steps += 1;
        step = x.engine.resume(&mut said);
    }
    assert_eq!((steps, said.outputs.len()), (3, 150));
    let names = said.outputs.iter().map(|(_, bytes)| match Output::decode(bytes) {
        Ok(Output::Cancel(report)) if report.reason == Reason::Disconnected => report.client_order_id.get(),
        other => panic!("not the end of an order of a session: {other:?}"),
    });
    assert!(names.eq(ORDERS..ORDERS + 150), "in the order of entry");
    assert_eq!(u64::from(x.engine.live_orders()), ORDERS);
    x.engine.audit().expect("the state adds up");
}

/// Many orders end at once, and a cascade is long: in steps, each of them bounded, which `Said` counts.
#[test]
fn long_events_go_in_steps() {
    let limits = Limits { orders: 600, orders_per_account: 400, levels_per_side: 200, ..LIMITS };
    let mut x = Exchange::open_with(limits);
    x.must(&SetSelfTrade::new(1, SelfTrade::Allow, note("")));
    for id in 0..150 {
        let order = NewOrder2::limit(1, 1, id, Side::Buy, 40, 10);
        let waits =
            NewOrder2 { order_type: OrderType::StopLimit, trigger: (100 + id as i64).into(), ..order };
        x.must(&waits);
        x.must(&NewOrder2 {
            time_in_force: TimeInForce::Gtd,
            expiry: 9_000.into(),
            ..NewOrder2::limit(2, 1, id, Side::Sell, 300, 2)
        });
    }
    x.must(&NewOrder::limit(3, 1, 1, Side::Sell, 250, 10));
    let said = x.must(&NewOrder::limit(3, 1, 2, Side::Buy, 250, 10));
    let triggered = said.outputs.iter().filter(|(_, bytes)| bytes[0] == TriggerReport::TAG).count();
    assert_eq!((triggered, said.steps), (150, 4), "{} steps", said.steps);
    let context = Context { seq: 9_999, time: 9_000, ..Context::default() };
    let mut said = Said::default();
    let mut steps = 1;
    let mut step = x.engine.expire(&context, 9_000, &mut said);
    while step == Step::More {
        assert!(x.engine.is_busy());
        said.next_step();
        steps += 1;
        step = x.engine.resume(&mut said);
    }
    assert_eq!((said.outputs.len(), steps), (150, 3));
    assert!(said.reply.is_empty(), "nobody asked");
    assert_eq!(x.engine.next_deadline(), None);
    x.engine.audit().expect("the state adds up");
}
