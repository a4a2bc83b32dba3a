//! Every message's bytes, pinned. A change here is a change of `docs/format/exchange.md` and of the schema.

use ordain_exchange_protocol::*;
use proptest::prelude::*;
use zerocopy::Immutable;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `expected` may hold spaces.
fn check(message: &(impl IntoBytes + Immutable), expected: &str) {
    assert_eq!(hex(message.as_bytes()), expected.replace(' ', ""));
}

fn definition() -> Definition {
    let mut symbol = [0; 16];
    symbol[..7].copy_from_slice(b"BTC-EUR");
    Definition {
        instrument: 1.into(),
        price_decimals: 2,
        quantity_decimals: 3,
        reserved: [Zero::Zero; 2],
        symbol,
        base: 2.into(),
        quote: 3.into(),
        quote_per_tick_lot: 4.into(),
        base_per_lot: 5.into(),
        min_quantity: 6.into(),
        max_quantity: 7.into(),
        min_notional: 8.into(),
        max_price: 9.into(),
        collar: 10.into(),
        maker_ppm: (-1).into(),
        taker_ppm: 12.into(),
        tick: 13.into(),
        lot: 14.into(),
    }
}

const DEFINITION: &str = "01000000 02 03 0000 4254432d455552000000000000000000 02000000 03000000 \
    0400000000000000 0500000000000000 0600000000000000 0700000000000000 0800000000000000 \
    0900000000000000 0a00000000000000 ffffffff 0c000000 0d000000 0e000000";

#[test]
fn requests() {
    check(&CreateInstrument::new(definition()), &format!("0101 000000000000 {DEFINITION}"));
    check(&CreateAccount::new(0x0102_0304), "0201 0000 04030201");
    check(&Grant::new(GrantAction::Revoke, 1, 2), "0301 02 00 01000000 02000000 00000000");
    check(
        &Transfer::deposit(1, 2, 3, 4),
        "0401 0000 01000000 02000000 00000000 0300000000000000 0400000000000000",
    );
    check(
        &Transfer::withdraw(1, 2, 3, 4),
        "0501 0000 01000000 02000000 00000000 0300000000000000 0400000000000000",
    );
    check(
        &NewOrder::limit(1, 2, 3, Side::Sell, 4, 5).post_only(),
        "0601 02 01 01 01 0000 01000000 02000000 0300000000000000 0400000000000000 0500000000000000",
    );
    check(
        &NewOrder::market(1, 2, 3, Side::Buy, 5).lasting(TimeInForce::Fok),
        "0601 01 02 03 00 0000 01000000 02000000 0300000000000000 0000000000000000 0500000000000000",
    );
    check(&Cancel::new(1, OrderRef::Id(2)), "0701 0000 01000000 0200000000000000 0000000000000000");
    check(
        &Amend::new(1, OrderRef::Client(2), -3, 4),
        "0801 0000 01000000 0000000000000000 0200000000000000 fdffffffffffffff 0400000000000000",
    );
    check(&MassCancel::new(1, 2, Sides::Buy), "0901 01 00 01000000 02000000 00000000");
}

#[test]
fn disconnect() {
    let set = SetDisconnect::after(5);
    check(&set, "2301 01 0000000000 0500000000000000");
    check(&SetDisconnect::off(), "2301 00 0000000000 0000000000000000");
    assert_eq!(Request::decode(set.as_bytes()), Ok(Request::SetDisconnect(&set)));
    assert_eq!(Request::SetDisconnect(&set).required_permission(), permission::TRADE);
    let says_both = SetDisconnect { grace: 1.into(), ..SetDisconnect::off() };
    assert_eq!(Request::decode(says_both.as_bytes()), Err(Malformed::Value));
}

#[test]
fn what_operators_say_and_ask() {
    let remark = Remark::new("ticket 7").expect("it is short");
    let zeros = "00".repeat(REMARK_MAX - 8);
    check(&remark, &format!("2401 000000000000 7469636b65742037 {zeros}"));
    assert_eq!(Request::decode(remark.as_bytes()), Ok(Request::Remark(&remark)));
    let long = "x".repeat(REMARK_MAX + 1);
    for text in ["", "\u{7f}", "a\nb", long.as_str()] {
        assert!(Remark::new(text).is_none(), "{text:?}");
    }
    assert!(Remark::new(&long[1..]).is_some());
    for text in [[0; REMARK_MAX], {
        let mut text = [0; REMARK_MAX];
        text[1] = b'x';
        text
    }] {
        assert_eq!(Request::decode(Remark { text, ..remark }.as_bytes()), Err(Malformed::Value));
    }
    check(&BandsQuery::new(1), "5001 0000 01000000");
    check(&ScheduleQuery::new(1), "5101 0000 01000000");
    let bands = BandsAnswer {
        tag: BandsAnswer::TAG,
        schema: Schema::V1,
        code: U16::ZERO,
        instrument: 1.into(),
        action: BandAction::Auction,
        buckets: 2,
        extensions: 3,
        extended: 4,
        fixed: 5.into(),
        moving: 6.into(),
        reserved: [Zero::Zero; 4],
        width: 7.into(),
        call: 8.into(),
        until: 9.into(),
    };
    check(
        &bands,
        "b001 0000 01000000 02 02 03 04 05000000 06000000 00000000 0700000000000000 0800000000000000 0900000000000000",
    );
    assert_eq!(Answer::decode(bands.as_bytes()), Ok(Answer::Bands(&bands)));
    let mut entries = [ScheduleEntry::UNUSED; SCHEDULE_MAX];
    entries[0] = ScheduleEntry { time: 5.into(), random: 6.into(), state: MarketState::Closed, ..entries[0] };
    let schedule = ScheduleAnswer {
        tag: ScheduleAnswer::TAG,
        schema: Schema::V1,
        code: U16::ZERO,
        instrument: 1.into(),
        count: 1,
        next: 0,
        drawn: Flag::Yes,
        reserved: [Zero::Zero; 5],
        period: 3.into(),
        due: 4.into(),
        entries,
    };
    let unused = "00".repeat(24 * (SCHEDULE_MAX - 1));
    check(
        &schedule,
        &format!(
            "b101 0000 01000000 01 00 01 0000000000 0300000000000000 0400000000000000 \
             0500000000000000 0600000000000000 09 00000000000000 {unused}"
        ),
    );
    assert_eq!(Answer::decode(schedule.as_bytes()), Ok(Answer::Schedule(&schedule)));
    check(&FeedQuery::new(1), "5201 0000 01000000");
    let feed = FeedAnswer {
        tag: FeedAnswer::TAG,
        schema: Schema::V1,
        code: U16::ZERO,
        instrument: 1.into(),
        top: Flag::Yes,
        levels: Flag::No,
        orders: Flag::Yes,
        reserved: [Zero::Zero; 5],
    };
    check(&feed, "b201 0000 01000000 01 00 01 0000000000");
    assert_eq!(Answer::decode(feed.as_bytes()), Ok(Answer::Feed(&feed)));
}

#[test]
fn second_layouts() {
    let order = NewOrder2 {
        order_type: OrderType::LimitIfTouched,
        time_in_force: TimeInForce::Gtd,
        post_only: PostOnly::Reprice,
        self_trade: SelfTrade::Decrement,
        trigger: 6.into(),
        display: 7.into(),
        expiry: 8.into(),
        cash: 9.into(),
        ..NewOrder2::limit(1, 2, 3, Side::Sell, -4, 5)
    };
    check(
        &order,
        "0602 02 07 05 02 05 00 01000000 02000000 0300000000000000 fcffffffffffffff 0500000000000000 \
         0600000000000000 0700000000000000 0800000000000000 0900000000000000",
    );
    assert_eq!(Request::decode(order.as_bytes()), Ok(Request::NewOrder2(&order)));
    let amend = Amend2 { trigger: 5.into(), display: 6.into(), ..Amend2::new(1, OrderRef::Id(2), 3, 4) };
    check(
        &amend,
        "0802 0000 01000000 0200000000000000 0000000000000000 0300000000000000 0400000000000000 \
         0500000000000000 0600000000000000",
    );
    assert_eq!(Request::decode(amend.as_bytes()), Ok(Request::Amend2(&amend)));
    let both = Amend2 { client_order_id: 1.into(), ..amend };
    assert_eq!(Request::decode(both.as_bytes()), Err(Malformed::Value));
    // No message has a third layout, and most have no second.
    for bytes in [order.as_bytes(), amend.as_bytes(), Cancel::new(1, OrderRef::Id(2)).as_bytes()] {
        let mut bytes = bytes.to_vec();
        bytes[1] = if bytes[0] == Cancel::TAG { 2 } else { 3 };
        assert_eq!(Request::decode(&bytes), Err(Malformed::Schema));
    }
}

/// What the first layout did not have is malformed in it for ever: no journal has it.
#[test]
fn the_first_layout_stays_as_it_was() {
    let order = NewOrder::limit(1, 2, 3, Side::Buy, 4, 5);
    for (at, byte) in (3..=7).map(|kind| (3, kind)).chain((4..=7).map(|tif| (4, tif))).chain([(5, 2)]) {
        let mut bytes = order.as_bytes().to_vec();
        bytes[at] = byte;
        assert_eq!(Request::decode(&bytes), Err(Malformed::Value), "{byte} at {at}");
    }
    check(
        &NewOrder2::from_first(&order.post_only()),
        "0602 01 01 01 01 00 00 01000000 02000000 0300000000000000 0400000000000000 0500000000000000 \
         0000000000000000 0000000000000000 0000000000000000 0000000000000000",
    );
}

#[test]
fn operators_commands() {
    let why = "6f70732d3132 0000000000000000000000000000000000000000000000000000";
    let mode = SetSelfTrade::new(1, SelfTrade::CancelBoth, note("ops-12"));
    check(&mode, &format!("0a01 04 00 01000000 {why}"));
    check(&SetGroup::new(1, 2, note("ops-12")), &format!("0b01 0000 01000000 02000000 00000000 {why}"));
    assert_eq!(Request::decode(mode.as_bytes()), Ok(Request::SetSelfTrade(&mode)));
    let state = SetState::new(0, MarketState::Halted, note("ops-12"));
    check(&state, &format!("0c01 02 00 00000000 {why}"));
    let none = SetState { state: MarketState::None, ..state };
    assert_eq!(Request::decode(none.as_bytes()), Err(Malformed::Value));
    check(
        &StateReport {
            tag: StateReport::TAG,
            schema: Schema::V1,
            state: MarketState::PostOnly,
            previous: MarketState::Continuous,
            instrument: 1.into(),
            seq: 2.into(),
            time: 3.into(),
        },
        "c601 04 01 01000000 0200000000000000 0300000000000000",
    );
    let default = SetSelfTrade { self_trade: SelfTrade::Default, ..mode };
    assert_eq!(Request::decode(default.as_bytes()), Err(Malformed::Value));
    for (at, byte) in [(0, 0x1f), (31, 0x7f), (3, 0), (6, 0x80)] {
        let mut bad = mode;
        bad.note[at] = byte;
        let decoded = Request::decode(bad.as_bytes());
        assert_eq!(decoded, Err(Malformed::Value), "{byte} at {at}");
    }
}

#[test]
fn replies() {
    check(
        &OrderReply {
            tag: OrderReply::TAG,
            schema: Schema::V1,
            code: Reject::to_wire(Some(Reject::InsufficientFunds)),
            state: OrderState::Cancelled,
            reason: Reason::Budget,
            reserved: [Zero::Zero; 2],
            instrument: 1.into(),
            account: 2.into(),
            order_id: 3.into(),
            client_order_id: 4.into(),
            cumulative: 5.into(),
            remaining: 6.into(),
            cancelled: 7.into(),
            fills: 8.into(),
            fee_currency: 9.into(),
            notional: 10.into(),
            fee: (-1).into(),
            seq: 12.into(),
            time: 13.into(),
        },
        "8101 1800 03 04 0000 01000000 02000000 0300000000000000 0400000000000000 0500000000000000 \
         0600000000000000 0700000000000000 08000000 09000000 0a00000000000000 ffffffffffffffff \
         0c00000000000000 0d00000000000000",
    );
    check(
        &MassCancelReply {
            tag: MassCancelReply::TAG,
            schema: Schema::V1,
            code: U16::ZERO,
            account: 1.into(),
            cancelled: 2.into(),
            seq: 3.into(),
            time: 4.into(),
        },
        "8201 0000 01000000 0200000000000000 0300000000000000 0400000000000000",
    );
    check(
        &AdminReply {
            tag: AdminReply::TAG,
            schema: Schema::V1,
            code: U16::ZERO,
            subject: 1.into(),
            seq: 2.into(),
            time: 3.into(),
        },
        "8301 0000 01000000 0200000000000000 0300000000000000",
    );
    check(
        &TransferReply {
            tag: TransferReply::TAG,
            schema: Schema::V1,
            code: U16::ZERO,
            account: 1.into(),
            currency: 2.into(),
            reserved: [Zero::Zero; 4],
            transaction: 3.into(),
            amount: 4.into(),
            free: 5.into(),
            seq: 6.into(),
            time: 7.into(),
        },
        "8401 0000 01000000 02000000 00000000 0300000000000000 0400000000000000 0500000000000000 \
         0600000000000000 0700000000000000",
    );
}

#[test]
fn the_second_reply() {
    let reply = OrderReply {
        tag: OrderReply::TAG,
        schema: Schema::V1,
        code: U16::ZERO,
        state: OrderState::Waiting,
        reason: Reason::SelfTrade,
        reserved: [Zero::Zero; 2],
        instrument: 1.into(),
        account: 2.into(),
        order_id: 3.into(),
        client_order_id: 4.into(),
        cumulative: 5.into(),
        remaining: 6.into(),
        cancelled: 7.into(),
        fills: 8.into(),
        fee_currency: 9.into(),
        notional: 10.into(),
        fee: (-1).into(),
        seq: 12.into(),
        time: 13.into(),
    };
    let second = OrderReply2::new(&reply, 14, 15);
    check(
        &second,
        "8102 0000 04 07 0000 01000000 02000000 0300000000000000 0400000000000000 0500000000000000 \
         0600000000000000 0700000000000000 08000000 09000000 0a00000000000000 ffffffffffffffff \
         0c00000000000000 0d00000000000000 0e00000000000000 0f00000000000000",
    );
    assert_eq!(second.first(), reply);
    assert_eq!(Reply::decode(second.as_bytes()), Ok(Reply::Order2(&second)));
}

#[test]
fn outputs_of_meetings_and_triggers() {
    check(
        &PreventReport {
            tag: PreventReport::TAG,
            schema: Schema::V1,
            self_trade: SelfTrade::Decrement,
            side: Side::Sell,
            aggressor: Flag::Yes,
            state: OrderState::Cancelled,
            reserved: [Zero::Zero; 2],
            account: 1.into(),
            instrument: 2.into(),
            order_id: 3.into(),
            client_order_id: 4.into(),
            cumulative: 5.into(),
            remaining: 6.into(),
            price: 7.into(),
            prevented: 8.into(),
            cancelled: 9.into(),
            seq: 10.into(),
            time: 11.into(),
            index: 12.into(),
            reserved2: [Zero::Zero; 4],
        },
        "c401 05 02 01 03 0000 01000000 02000000 0300000000000000 0400000000000000 0500000000000000 \
         0600000000000000 0700000000000000 0800000000000000 0900000000000000 0a00000000000000 \
         0b00000000000000 0c000000 00000000",
    );
    check(
        &TriggerReport {
            tag: TriggerReport::TAG,
            schema: Schema::V1,
            order_type: OrderType::StopLimit,
            side: Side::Buy,
            reserved: [Zero::Zero; 4],
            account: 1.into(),
            instrument: 2.into(),
            order_id: 3.into(),
            client_order_id: 4.into(),
            price: 5.into(),
            remaining: 6.into(),
            trigger: 7.into(),
            seq: 8.into(),
            time: 9.into(),
        },
        "c501 05 01 00000000 01000000 02000000 0300000000000000 0400000000000000 0500000000000000 \
         0600000000000000 0700000000000000 0800000000000000 0900000000000000",
    );
}

#[test]
fn details() {
    check(
        &OrderDetailQuery::new(1, OrderRef::Client(2)),
        "4801 0000 01000000 0000000000000000 0200000000000000",
    );
    check(&TradingQuery::new(1), "4901 0000 01000000");
    check(&OwnerQuery::new(1), "4a01 0000 01000000");
    check(
        &OrderDetailAnswer {
            tag: OrderDetailAnswer::TAG,
            schema: Schema::V1,
            code: U16::ZERO,
            instrument: 1.into(),
            account: 2.into(),
            side: Sides::Sell,
            order_type: OrderType::Stop,
            time_in_force: TimeInForce::Gtd,
            post_only: PostOnly::Reprice,
            order_id: 3.into(),
            client_order_id: 4.into(),
            price: 5.into(),
            cumulative: 6.into(),
            remaining: 7.into(),
            visible: 8.into(),
            display: 9.into(),
            trigger: 10.into(),
            expiry: 11.into(),
            self_trade: SelfTrade::CancelTaker,
            state: OrderState::Waiting,
            reserved: [Zero::Zero; 6],
        },
        "a801 0000 01000000 02000000 02 04 05 02 0300000000000000 0400000000000000 0500000000000000 \
         0600000000000000 0700000000000000 0800000000000000 0900000000000000 0a00000000000000 \
         0b00000000000000 02 04 000000000000",
    );
    check(
        &TradingAnswer {
            tag: TradingAnswer::TAG,
            schema: Schema::V1,
            code: U16::ZERO,
            instrument: 1.into(),
            last: 2.into(),
            waiting: 3.into(),
            self_trade: SelfTrade::Allow,
            exists: Flag::Yes,
            state: MarketState::CancelOnly,
            reserved: [Zero::Zero; 9],
        },
        "a901 0000 01000000 0200000000000000 03000000 01 01 03 000000000000000000",
    );
    check(
        &OwnerAnswer {
            tag: OwnerAnswer::TAG,
            schema: Schema::V1,
            code: U16::ZERO,
            account: 1.into(),
            group: 2.into(),
            reserved: [Zero::Zero; 20],
        },
        "aa01 0000 01000000 02000000 0000000000000000000000000000000000000000",
    );
}

#[test]
fn outputs() {
    check(
        &FillReport {
            tag: FillReport::TAG,
            schema: Schema::V1,
            reason: Reason::Fill,
            side: Side::Sell,
            aggressor: Flag::Yes,
            state: OrderState::Filled,
            reserved: [Zero::Zero; 2],
            account: 1.into(),
            instrument: 2.into(),
            order_id: 3.into(),
            client_order_id: 4.into(),
            cumulative: 5.into(),
            remaining: 6.into(),
            price: 7.into(),
            quantity: 8.into(),
            seq: 9.into(),
            time: 10.into(),
            index: 11.into(),
            fee_currency: 12.into(),
            fee: (-1).into(),
        },
        "c101 01 02 01 02 0000 01000000 02000000 0300000000000000 0400000000000000 0500000000000000 \
         0600000000000000 0700000000000000 0800000000000000 0900000000000000 0a00000000000000 \
         0b000000 0c000000 ffffffffffffffff",
    );
    check(
        &CancelReport {
            tag: CancelReport::TAG,
            schema: Schema::V1,
            reason: Reason::MassCancelled,
            side: Side::Buy,
            reserved: [Zero::Zero; 4],
            account: 1.into(),
            instrument: 2.into(),
            order_id: 3.into(),
            client_order_id: 4.into(),
            cumulative: 5.into(),
            cancelled: 6.into(),
            price: 7.into(),
            seq: 8.into(),
            time: 9.into(),
        },
        "c201 06 01 00000000 01000000 02000000 0300000000000000 0400000000000000 0500000000000000 \
         0600000000000000 0700000000000000 0800000000000000 0900000000000000",
    );
    check(
        &TradeReport {
            tag: TradeReport::TAG,
            schema: Schema::V1,
            side: Side::Sell,
            reserved: Zero::Zero,
            instrument: 1.into(),
            price: 2.into(),
            quantity: 3.into(),
            seq: 4.into(),
            time: 5.into(),
            index: 6.into(),
            reserved2: [Zero::Zero; 4],
        },
        "c301 02 00 01000000 0200000000000000 0300000000000000 0400000000000000 0500000000000000 \
         06000000 00000000",
    );
}

#[test]
fn queries() {
    check(&BookLevelsQuery::new(1, 20), "4101 14 00 01000000 0000000000000000 0000000000000000");
    check(
        &BookOrdersQuery::new(1, Side::Sell, 2, 3),
        "4201 02 00 01000000 0200000000000000 0300000000000000",
    );
    check(&BalancesQuery::new(1, 2), "4301 0000 01000000 02000000 00000000");
    check(&OrderQuery::new(1, OrderRef::Client(2)), "4401 0000 01000000 0000000000000000 0200000000000000");
    check(&StatisticsQuery::new(), "4501 000000000000");
    check(&InstrumentQuery::new(1), "4601 0000 01000000");
    check(&CurrencyQuery::new(1), "4701 0000 01000000");
}

#[test]
fn answers() {
    check(
        &ListHead::new(ListHead::LEVELS, Some(Reject::NotPermitted), 1, 2, 3),
        "a101 0100 01000000 0200 0300 00000000",
    );
    check(
        &LevelEntry { price: 1.into(), quantity: 2.into(), orders: 3.into(), reserved: [0; 4] },
        "0100000000000000 0200000000000000 03000000 00000000",
    );
    check(
        &OrderEntry {
            order_id: 1.into(),
            client_order_id: 2.into(),
            account: 3.into(),
            reserved: [0; 4],
            cumulative: 4.into(),
            remaining: 5.into(),
        },
        "0100000000000000 0200000000000000 03000000 00000000 0400000000000000 0500000000000000",
    );
    check(
        &BalanceEntry { currency: 1.into(), reserved: [0; 4], free: 2.into(), held: 3.into() },
        "01000000 00000000 0200000000000000 0300000000000000",
    );
    check(
        &OrderAnswer {
            tag: OrderAnswer::TAG,
            schema: Schema::V1,
            code: U16::ZERO,
            instrument: 1.into(),
            account: 2.into(),
            side: Sides::Sell,
            post_only: Flag::Yes,
            reserved: [Zero::Zero; 2],
            order_id: 3.into(),
            client_order_id: 4.into(),
            price: 5.into(),
            cumulative: 6.into(),
            remaining: 7.into(),
        },
        "a401 0000 01000000 02000000 02 01 0000 0300000000000000 0400000000000000 0500000000000000 \
         0600000000000000 0700000000000000",
    );
    check(
        &StatisticsAnswer {
            tag: StatisticsAnswer::TAG,
            schema: Schema::V1,
            code: U16::ZERO,
            instruments: 1.into(),
            accounts: 2.into(),
            orders: 3.into(),
            accepted: 4.into(),
            trades: 5.into(),
        },
        "a501 0000 01000000 02000000 03000000 0400000000000000 0500000000000000",
    );
    check(
        &InstrumentAnswer {
            tag: InstrumentAnswer::TAG,
            schema: Schema::V1,
            code: U16::ZERO,
            reserved: [Zero::Zero; 4],
            definition: definition(),
        },
        &format!("a601 0000 00000000 {DEFINITION}"),
    );
    check(
        &CurrencyAnswer {
            tag: CurrencyAnswer::TAG,
            schema: Schema::V1,
            code: U16::ZERO,
            currency: 1.into(),
            supply: 2.into(),
            fees: 3.into(),
        },
        "a701 0000 01000000 0200000000000000 0300000000000000",
    );
}

#[test]
fn what_is_not_exactly_a_message_is_refused() {
    let order = NewOrder::limit(1, 2, 3, Side::Sell, 4, 5);
    let good = order.as_bytes();
    assert_eq!(Request::decode(good), Ok(Request::NewOrder(&order)));
    for cut in 0..good.len() {
        assert_eq!(Request::decode(&good[..cut]), Err(Malformed::Length), "cut at {cut}");
    }
    let spoil = |at: usize, byte: u8| {
        let mut bytes = good.to_vec();
        bytes[at] = byte;
        Request::decode(&bytes).expect_err("refused")
    };
    assert_eq!(Request::decode(&[good, &[0]].concat()), Err(Malformed::Length));
    assert_eq!(spoil(0, 0x41), Malformed::Tag);
    // The second layout is longer; there is no third.
    assert_eq!(spoil(1, 2), Malformed::Length);
    assert_eq!(spoil(1, 3), Malformed::Schema);
    for (at, byte) in [(2, 0), (2, 3), (3, 0), (3, 3), (4, 0), (4, 4), (5, 2), (6, 1), (7, 255)] {
        assert_eq!(spoil(at, byte), Malformed::Value, "{byte} at {at}");
    }
    let both = Cancel { client_order_id: 1.into(), ..Cancel::new(1, OrderRef::Id(2)) };
    assert_eq!(Request::decode(both.as_bytes()), Err(Malformed::Value));
    for depth in [0, 21] {
        assert_eq!(Query::decode(BookLevelsQuery::new(1, depth).as_bytes()), Err(Malformed::Value));
    }
    for symbol in
        [*b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", *b"A\0B\0\0\0\0\0\0\0\0\0\0\0\0\0", *b"A B             "]
    {
        let bad = CreateInstrument::new(Definition { symbol, ..definition() });
        assert_eq!(Request::decode(bad.as_bytes()), Err(Malformed::Value));
    }
    // A count that the entries do not bear out.
    let head = ListHead::new(ListHead::BALANCES, None, 1, 1, 0);
    assert_eq!(Answer::decode(head.as_bytes()), Err(Malformed::Length));
}

proptest! {
    /// No bytes make a reader panic, and what is read is what was sent.
    #[test]
    fn hostile_bytes_are_refused(tag: u8, len in 0..130_usize, body in prop::collection::vec(0..3_u8, 130)) {
        let mut bytes = body;
        bytes[0] = tag;
        bytes[1] = 1;
        let bytes = &bytes[..len];
        let classes = [
            Request::decode(bytes).is_ok(),
            Query::decode(bytes).is_ok(),
            Reply::decode(bytes).is_ok(),
            Answer::decode(bytes).is_ok(),
            Output::decode(bytes).is_ok(),
        ];
        prop_assert!(classes.iter().filter(|ok| **ok).count() <= 1, "a tag belongs to one class");
    }
}

#[test]
fn auctions() {
    let set = SetReference::new(1, 2, note("ops-12"));
    check(
        &set,
        "1001 0000 01000000 0200000000000000 6f70732d3132 0000000000000000000000000000000000000000000000000000",
    );
    assert_eq!(Request::decode(set.as_bytes()), Ok(Request::Market(Market::SetReference(&set))));
    assert_eq!(Request::Market(Market::SetReference(&set)).required_permission(), permission::ADMIN);
    let indication = IndicationReport {
        tag: IndicationReport::TAG,
        schema: Schema::V1,
        side: Sides::Sell,
        state: MarketState::OpeningAuction,
        instrument: 1.into(),
        price: 2.into(),
        volume: 3.into(),
        imbalance: 4.into(),
        seq: 5.into(),
        time: 6.into(),
    };
    check(
        &indication,
        "c801 02 06 01000000 0200000000000000 0300000000000000 0400000000000000 0500000000000000 \
         0600000000000000",
    );
    assert_eq!(Output::decode(indication.as_bytes()), Ok(Output::Indication(&indication)));
    let auction = AuctionReport {
        tag: AuctionReport::TAG,
        schema: Schema::V1,
        side: Sides::Any,
        state: MarketState::ClosingAuction,
        instrument: 1.into(),
        price: 2.into(),
        volume: 3.into(),
        imbalance: 4.into(),
        seq: 5.into(),
        time: 6.into(),
        trades: 7.into(),
        reserved: [Zero::Zero; 4],
    };
    check(
        &auction,
        "c901 00 08 01000000 0200000000000000 0300000000000000 0400000000000000 0500000000000000 \
         0600000000000000 07000000 00000000",
    );
    assert_eq!(Output::decode(auction.as_bytes()), Ok(Output::Auction(&auction)));
    let bands = SetBands {
        action: BandAction::Auction,
        buckets: 3,
        fixed: 4.into(),
        moving: 5.into(),
        width: 6.into(),
        call: 7.into(),
        extensions: 8,
        ..SetBands::off(1, note("ops-12"))
    };
    check(
        &bands,
        "1101 02 03 01000000 04000000 05000000 0600000000000000 0700000000000000 08 00000000000000 \
         6f70732d3132 0000000000000000000000000000000000000000000000000000",
    );
    assert_eq!(Request::decode(bands.as_bytes()), Ok(Request::Market(Market::SetBands(&bands))));
    let call = CallReport {
        tag: CallReport::TAG,
        schema: Schema::V1,
        extensions: 1,
        state: MarketState::VolatilityAuction,
        instrument: 2.into(),
        until: 3.into(),
        seq: 4.into(),
        time: 5.into(),
    };
    check(&call, "ca01 01 07 02000000 0300000000000000 0400000000000000 0500000000000000");
    assert_eq!(Output::decode(call.as_bytes()), Ok(Output::Call(&call)));
    let schedule = SetSchedule::new(1, 2, &[(3, 4, MarketState::Closed)], note("ops-12"));
    let unused = "00".repeat(7 * 24);
    check(
        &schedule,
        &format!(
            "1201 01 00 01000000 0200000000000000 0300000000000000 0400000000000000 09 00000000000000 {unused} \
             6f70732d3132 0000000000000000000000000000000000000000000000000000"
        ),
    );
    assert_eq!(Request::decode(schedule.as_bytes()), Ok(Request::Market(Market::SetSchedule(&schedule))));
    let query = AuctionQuery::new(1);
    check(&query, "4b01 0000 01000000");
    assert_eq!(Query::decode(query.as_bytes()), Ok(Query::Auction(&query)));
    let answer = AuctionAnswer {
        tag: AuctionAnswer::TAG,
        schema: Schema::V1,
        code: U16::ZERO,
        instrument: 1.into(),
        under_way: Flag::Yes,
        state: MarketState::VolatilityAuction,
        side: Sides::Buy,
        reserved: [Zero::Zero; 5],
        reference: 2.into(),
        day_reference: 3.into(),
        price: 4.into(),
        volume: 5.into(),
        imbalance: 6.into(),
        market_buys: 7.into(),
        market_sells: 8.into(),
    };
    check(
        &answer,
        "ab01 0000 01000000 01 07 01 0000000000 0200000000000000 0300000000000000 0400000000000000 \
         0500000000000000 0600000000000000 0700000000000000 0800000000000000",
    );
    assert_eq!(Answer::decode(answer.as_bytes()), Ok(Answer::Auction(&answer)));
}

#[test]
fn market_data() {
    let set = SetFeed { top: Flag::Yes, orders: Flag::Yes, ..SetFeed::off(1, note("ops-12")) };
    check(
        &set,
        "1301 01 00 01000000 01 00000000000000 6f70732d3132 0000000000000000000000000000000000000000000000000000",
    );
    assert_eq!(Request::decode(set.as_bytes()), Ok(Request::Market(Market::SetFeed(&set))));
    let top = TopReport {
        tag: TopReport::TAG,
        schema: Schema::V1,
        action: FeedAction::Change,
        reserved: Zero::Zero,
        instrument: 1.into(),
        bid: 2.into(),
        bid_quantity: 3.into(),
        ask: 4.into(),
        ask_quantity: 5.into(),
        seq: 6.into(),
        time: 7.into(),
    };
    check(
        &top,
        "cb01 03 00 01000000 0200000000000000 0300000000000000 0400000000000000 0500000000000000 \
         0600000000000000 0700000000000000",
    );
    assert_eq!(Output::decode(top.as_bytes()), Ok(Output::Top(&top)));
    let level = LevelReport {
        tag: LevelReport::TAG,
        schema: Schema::V1,
        action: FeedAction::Remove,
        side: Sides::Sell,
        instrument: 1.into(),
        price: 2.into(),
        quantity: 3.into(),
        orders: 4.into(),
        reserved: [Zero::Zero; 4],
        seq: 5.into(),
        time: 6.into(),
    };
    check(
        &level,
        "cc01 04 02 01000000 0200000000000000 0300000000000000 04000000 00000000 0500000000000000 \
         0600000000000000",
    );
    assert_eq!(Output::decode(level.as_bytes()), Ok(Output::Level(&level)));
    let book = BookReport {
        tag: BookReport::TAG,
        schema: Schema::V1,
        action: FeedAction::Add,
        side: Sides::Buy,
        instrument: 1.into(),
        order_id: 2.into(),
        price: 3.into(),
        quantity: 4.into(),
        seq: 5.into(),
        time: 6.into(),
        trade: 7.into(),
        reserved: [Zero::Zero; 4],
    };
    check(
        &book,
        "cd01 02 01 01000000 0200000000000000 0300000000000000 0400000000000000 0500000000000000 \
         0600000000000000 07000000 00000000",
    );
    assert_eq!(Output::decode(book.as_bytes()), Ok(Output::Book(&book)));
}

#[test]
fn drop_copies() {
    let grant = GrantFirm::new(GrantAction::Revoke, 1, 2, note("ops-12"));
    check(
        &grant,
        "2501 02 00 01000000 02000000 00000000 6f70732d3132 0000000000000000000000000000000000000000000000000000",
    );
    assert_eq!(Request::decode(grant.as_bytes()), Ok(Request::Control(Control::GrantFirm(&grant))));
}
