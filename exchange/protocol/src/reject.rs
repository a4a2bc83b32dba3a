//! Why a well-formed command or query was refused.

macro_rules! reject {
    ($($(#[$doc:meta])* $name:ident = $wire:literal, $text:literal;)*) => {
        /// Why a well-formed command or query was refused. A refused command changed nothing.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u16)]
        pub enum Reject {
            $(#[doc = $text] $name = $wire,)*
        }

        impl Reject {
            /// Every code, in wire order.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The code with this number on the wire; 0 (accepted) is none.
            #[must_use]
            pub const fn from_wire(wire: u16) -> Option<Self> {
                match wire {
                    $($wire => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// The code's name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }

            /// What it means and what to do about it.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

reject! {
    NotPermitted = 1, "The key lacks a permission that the message needs.";
    NotGranted = 2, "The key was not granted this account.";
    UnknownAccount = 3, "There is no such account, or it does not trade.";
    UnknownInstrument = 4, "There is no such instrument.";
    UnknownOrder = 5, "The account has no such live order: it was filled, was cancelled, or never was.";
    NotSupported = 6, "This build does not execute that yet.";

    MarketMustNotRest = 10, "A market order must be IOC or FOK.";
    PostOnlyConflict = 11, "Post-only goes with limit orders that may rest only.";
    MarketPriceSet = 12, "A market order carries price 0.";
    QuantityTooSmall = 13, "The quantity is below the instrument's minimum.";
    QuantityTooLarge = 14, "The quantity is above the instrument's maximum.";
    PriceOutOfRange = 15, "The price is below one tick or above the instrument's maximum.";
    NoLiquidity = 16, "A market order found the opposite side empty.";
    NotionalTooSmall = 17, "Price times quantity is below the instrument's minimum.";
    DuplicateClientOrderId = 18, "A live order of the account has this client order id.";
    OrdersFull = 19, "The exchange holds as many orders as it can: try again later.";
    AccountOrdersFull = 20, "The account holds as many orders as it may: cancel some.";
    PostOnlyWouldCross = 21, "The post-only order would trade at once.";
    LevelsFull = 22, "This side of the book has as many prices as it can: use a price that it has.";
    NotFillable = 23, "The FOK order cannot be filled whole at its price.";
    InsufficientFunds = 24, "The account's free funds do not cover this.";
    TimeInForceConflict = 25, "An order of this type does not go with this time in force.";
    TriggerConflict = 26, "A trigger price goes with stop and if-touched orders that wait, and with no other.";
    TriggerOutOfRange = 27, "The trigger price is below one tick or above the instrument's maximum.";
    TriggerMet = 28, "The last trade meets the trigger already: enter an order that trades at once.";
    TriggersFull = 29, "Orders wait for as many different trigger prices as they can: use one of those.";
    DisplayConflict = 30, "A display quantity goes with limit orders that may rest only.";
    DisplayInvalid = 31, "The display quantity is below the instrument's minimum or above the order's quantity.";
    ExpiryConflict = 32, "An expiry time goes with GTD, and with nothing else.";
    ExpiryPassed = 33, "The expiry time is not in the future.";
    CashConflict = 34, "A cash amount goes with market buys that are IOC and name no quantity only.";
    CashTooSmall = 35, "The cash amount does not pay for one lot at the best price.";
    MarketHalted = 36, "The instrument is halted: orders may be cancelled only.";
    MarketCancelOnly = 37, "In the instrument orders may be cancelled or made smaller only.";
    MarketPostOnly = 38, "In the instrument nothing may trade: enter a post-only order.";

    InstrumentOutOfRange = 40, "The instrument id is 0 or above the exchange's bound.";
    InstrumentExists = 41, "The instrument id is taken.";
    SymbolTaken = 42, "Another instrument has this symbol.";
    CurrencyOutOfRange = 43, "The currency id is 0 or above the exchange's bound.";
    SameCurrency = 44, "Base and quote currency are the same.";
    ScaleInvalid = 45, "A scale, tick or lot is 0, or decimals are above 18.";
    QuantityLimitsInvalid = 46, "The minimum quantity is 0 or above the maximum.";
    PriceLimitsInvalid = 47, "The maximum price is below 1, or the collar is negative or above it.";
    FeeInvalid = 48, "A fee is beyond 1,000,000 ppm either way, or maker and taker together pay out.";
    LimitsTooLarge = 49, "The largest order would overflow: lower maximum price, quantity, scales or fees.";
    AccountOutOfRange = 50, "The account id is 0 or above the exchange's bound.";
    AccountExists = 51, "The account id is taken.";
    GrantsFull = 52, "The account has as many keys as it can: revoke one.";
    MarketClosed = 53, "The trading day is over: orders may be cancelled only.";
    AuctionGathers = 54, "In an auction nothing trades at once: enter a limit order, or one for the auction.";
    NoReference = 55, "There is no reference price yet that a market order could be held to.";
    ReferenceFixed = 56, "The reference price stands while an auction is under way: set it before or after.";
    BandInvalid = 57, "The parts of the bands do not go together, or one is out of range.";
    ScheduleInvalid = 58, "The entries of the schedule do not follow each other, or one is out of range.";

    AmountInvalid = 60, "The amount is 0 or above 2^63 - 1.";
    TransactionConflict = 61, "The transaction id was used with other contents. The first result stands.";
    SupplyExceeded = 62, "The currency's total would exceed 2^63 - 1.";
    FirmOutOfRange = 63, "The firm id is above the exchange's bound, or 0 where a firm is meant.";
    ExchangeBlocked = 64, "No account may enter orders or make them larger.";
    ExchangeSuspended = 65, "No account may do anything but cancel.";
    FirmBlocked = 66, "Accounts of this firm may not enter orders or make them larger.";
    FirmSuspended = 67, "Accounts of this firm may do nothing but cancel.";
    AccountBlocked = 68, "The account may not enter orders or make them larger.";
    AccountSuspended = 69, "The account may do nothing but cancel.";
    OrderQuantityLimit = 70, "The quantity is above the account's limit for an order.";
    OrderNotionalLimit = 71, "Price times quantity, or the cash, is above the account's limit for an order.";
    OrderCollarLimit = 72, "The price is worse than the market by more than the account may.";
    InstrumentNotAllowed = 73, "The account may trade listed instruments only, and this is none of them.";
    OpenQuantityLimit = 74, "The account would have more lots open in the instrument than it may.";
    PositionLimit = 75, "The account's position could come to be larger than it may be.";
    AccountOrdersLimit = 76, "The account has as many live orders as it may: cancel some.";
    FirmOrdersLimit = 77, "The firm's accounts have as many live orders as they may: cancel some.";
    AccountNotionalLimit = 78, "The account would have more notional open in the currency than it may.";
    FirmNotionalLimit = 79, "The firm's accounts would have more notional open in the currency than they may.";
    AccountRateLimit = 80, "The account enters and amends faster than it may: wait.";
    FirmRateLimit = 81, "The firm's accounts enter and amend faster than they may: wait.";
    RiskTablesFull = 82, "Limits are kept for as many pairs of account and instrument as they can be.";
    FeeAboveTerms = 83, "A rate is above the higher of the instrument's own, which orders hold for.";
    NotBegun = 84, "The cluster does not do this yet: an operator lets it begin, with `ordain cluster level`.";
    GraceTooLong = 85, "The grace is above an hour.";
    SessionsFull = 86, "As many sessions as can be have their orders cancelled on disconnect.";
}

impl core::fmt::Display for Reject {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.text())
    }
}
