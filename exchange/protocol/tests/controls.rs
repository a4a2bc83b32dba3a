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
