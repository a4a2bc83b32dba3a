//! Bytes of operators' controls, pinned: docs/exchange/access.md.

use ordain_exchange_protocol::*;
use zerocopy::Immutable;

const WHY: &str = "6f70732d3132 0000000000000000000000000000000000000000000000000000";

/// `expected` may hold spaces.
fn check(message: &(impl IntoBytes + Immutable), expected: &str) {
    let hex: String = message.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, expected.replace(' ', ""));
}

#[test]
fn access() {
    let why = note("ops-12");
    check(&SetFirm::new(1, 2, why), &format!("1801 0000 01000000 02000000 00000000 {WHY}"));
    check(&SetAccess::new(Scope::Firm, 2, Access::Suspended, why), &format!("1901 02 03 02000000 {WHY}"));
    let kill = Kill::new(Scope::All, 0, why);
    check(&kill, &format!("1a01 03 00 00000000 {WHY}"));
    check(
        &Purge::new(Scope::Account, 1, 2, Sides::Sell, why),
        &format!("1b01 01 02 01000000 02000000 00000000 {WHY}"),
    );
    assert_eq!(Request::decode(kill.as_bytes()), Ok(Request::Control(Control::Kill(&kill))));
    assert_eq!(Request::Control(Control::Kill(&kill)).required_permission(), permission::ADMIN);
    check(&AccessQuery::new(1), "4c01 0000 01000000");
    check(
        &AccessAnswer {
            tag: AccessAnswer::TAG,
            schema: Schema::V1,
            code: U16::ZERO,
            account: 1.into(),
            firm: 2.into(),
            of_account: Access::Active,
            of_firm: Access::Blocked,
            of_all: Access::Suspended,
            reserved: [Zero::Zero; 17],
        },
        "ac01 0000 01000000 02000000 01 02 03 0000000000000000000000000000000000",
    );
}

#[test]
fn limits() {
    let why = note("ops-12");
    let set = SetLimits {
        listed_only: Flag::Yes,
        orders: 2.into(),
        burst: 3.into(),
        interval: 4.into(),
        ..SetLimits::new(Scope::Account, 1, why)
    };
    check(&set, &format!("1c01 01 01 01000000 02000000 03000000 0400000000000000 0000000000000000 {WHY}"));
    check(
        &SetGrossLimit::new(Scope::Firm, 1, 2, 3, why),
        &format!("1d01 02 00 01000000 02000000 00000000 0300000000000000 {WHY}"),
    );
    let pair = SetInstrumentLimits {
        quantity: 3.into(),
        notional: 4.into(),
        collar: 5.into(),
        open: 6.into(),
        long: 7.into(),
        ..SetInstrumentLimits::new(1, 2, why)
    };
    check(
        &pair,
        &format!(
            "1e01 01 00 01000000 02000000 00000000 0300000000000000 0400000000000000 0500000000000000 \
             0600000000000000 0700000000000000 ffffffffffffffff {WHY}"
        ),
    );
    let position = SetPosition::new(1, 2, -3, why);
    check(&position, &format!("1f01 0000 01000000 02000000 00000000 fdffffffffffffff {WHY}"));
    check(&LimitsQuery::new(Scope::Firm, 1, 2), "4d01 02 00 01000000 02000000 00000000");
    check(&InstrumentLimitsQuery::new(1, 2), "4e01 0000 01000000 02000000 00000000");
    check(
        &LimitsAnswer {
            tag: LimitsAnswer::TAG,
            schema: Schema::V1,
            code: U16::ZERO,
            id: 1.into(),
            currency: 2.into(),
            orders: 3.into(),
            max_orders: 4.into(),
            burst: 5.into(),
            interval: 6.into(),
            full_at: 7.into(),
            gross: 8.into(),
            max_gross: 9.into(),
            listed_only: Flag::Yes,
            reserved: [Zero::Zero; 7],
        },
        "ad01 0000 01000000 02000000 03000000 04000000 05000000 0600000000000000 0700000000000000 \
         08000000000000000000000000000000 0900000000000000 01 00000000000000",
    );
    check(
        &InstrumentLimitsAnswer {
            tag: InstrumentLimitsAnswer::TAG,
            schema: Schema::V1,
            code: U16::ZERO,
            account: 1.into(),
            instrument: 2.into(),
            set: Flag::Yes,
            allowed: Flag::No,
            reserved: [Zero::Zero; 2],
            quantity: 3.into(),
            notional: 4.into(),
            collar: 5.into(),
            open: 6.into(),
            long: 7.into(),
            short: 8.into(),
            open_buys: 9.into(),
            open_sells: 10.into(),
            position: (-1).into(),
        },
        "ae01 0000 01000000 02000000 01 00 0000 0300000000000000 0400000000000000 0500000000000000 \
         0600000000000000 0700000000000000 0800000000000000 0900000000000000 0a00000000000000 \
         ffffffffffffffffffffffffffffffff",
    );
    let refused = |bytes: &[u8]| Request::decode(bytes).expect_err("refused");
    let bad = [
        SetLimits { scope: Scope::All, listed_only: Flag::No, id: 0.into(), ..set },
        SetLimits { scope: Scope::Firm, ..set },
        SetLimits { burst: 0.into(), ..set },
        SetLimits { interval: 0.into(), ..set },
        SetLimits { burst: (BURST_MAX + 1).into(), ..set },
        SetLimits { interval: (INTERVAL_MAX + 1).into(), ..set },
    ];
    for set in bad {
        assert_eq!(refused(set.as_bytes()), Malformed::Value);
    }
    for bound in [POSITION_MAX + 1, -POSITION_MAX - 1, i64::MIN] {
        assert_eq!(refused(SetPosition { position: bound.into(), ..position }.as_bytes()), Malformed::Value);
    }
    let all = SetGrossLimit::new(Scope::All, 0, 1, 1, why);
    assert_eq!(refused(all.as_bytes()), Malformed::Value);
    let all = LimitsQuery::new(Scope::All, 0, 1);
    assert_eq!(Query::decode(all.as_bytes()), Err(Malformed::Value));
}

#[test]
fn fees() {
    let why = note("ops-12");
    let set =
        SetFees { auction_ppm: 4.into(), min: 5.into(), max: 6.into(), ..SetFees::new(16, 15, -2, 3, why) };
    check(&set, &format!("2001 10 0f feffffff 03000000 04000000 0500000000000000 0600000000000000 {WHY}"));
    let class = SetFeeClass::new(1, 2, why);
    check(&class, &format!("2101 02 00 01000000 {WHY}"));
    let tier = SetFeeTier::new(1, 2, why);
    check(&tier, &format!("2201 02 00 01000000 {WHY}"));
    check(&FeesQuery::new(1, 2), "4f01 0000 01000000 02000000 00000000");
    check(
        &FeesAnswer {
            tag: FeesAnswer::TAG,
            schema: Schema::V1,
            code: U16::ZERO,
            account: 1.into(),
            instrument: 2.into(),
            class: 3,
            tier: 4,
            reserved: [Zero::Zero; 2],
            maker_ppm: (-5).into(),
            taker_ppm: 6.into(),
            auction_ppm: 7.into(),
            reserved2: [Zero::Zero; 4],
            min: 8.into(),
            max: 9.into(),
        },
        "af01 0000 01000000 02000000 03 04 0000 fbffffff 06000000 07000000 00000000 \
         0800000000000000 0900000000000000",
    );
    let refused = |bytes: &[u8]| Request::decode(bytes).expect_err("refused");
    for (class, tier) in [(0, 0), (17, 0), (1, 16)] {
        assert_eq!(refused(SetFees { class, tier, ..set }.as_bytes()), Malformed::Value);
    }
    assert_eq!(refused(SetFeeClass { class: 17, ..class }.as_bytes()), Malformed::Value);
    assert_eq!(refused(SetFeeTier { tier: 16, ..tier }.as_bytes()), Malformed::Value);
}

#[test]
fn what_is_no_control_is_refused() {
    let spoil = |message: &[u8], at: usize, byte: u8| {
        let mut bytes = message.to_vec();
        bytes[at] = byte;
        Request::decode(&bytes).expect_err("refused")
    };
    let kill = Kill::new(Scope::All, 0, note("why"));
    let access = SetAccess::new(Scope::Account, 1, Access::Blocked, note("why"));
    for (at, byte) in [(2, 0), (2, 4), (3, 1), (4, 1), (8, 0x1f)] {
        assert_eq!(spoil(kill.as_bytes(), at, byte), Malformed::Value, "{byte} at {at}");
    }
    for (at, byte) in [(2, 3), (3, 0), (3, 4)] {
        assert_eq!(spoil(access.as_bytes(), at, byte), Malformed::Value, "{byte} at {at}");
    }
    assert_eq!(spoil(kill.as_bytes(), 1, 2), Malformed::Schema);
    assert_eq!(spoil(kill.as_bytes(), 0, 0x2F), Malformed::Tag);
    assert_eq!(Request::decode(&kill.as_bytes()[..39]), Err(Malformed::Length));
}
