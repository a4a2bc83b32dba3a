//! Commands: what a client asks to have done.

use crate::{
    Control, Flag, GrantAction, I32, I64, Malformed, Market, MarketState, OrderType, PostOnly, Remark,
    Schema, Schema2, SelfTrade, SetDisconnect, Side, Sides, TimeInForce, U32, U64, Zero, block, head,
    permission,
};
use zerocopy::{FromZeros, Immutable, IntoBytes, KnownLayout, TryFromBytes, Unaligned};

/// The terms of an instrument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromZeros, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Definition {
    /// Instrument id, from 1.
    pub instrument: U32,
    /// Decimals of a price in text.
    pub price_decimals: u8,
    /// Decimals of a quantity in text.
    pub quantity_decimals: u8,
    /// Zero.
    pub reserved: [Zero; 2],
    /// Printable ASCII without spaces, padded with zero bytes at the end, not empty.
    pub symbol: [u8; 16],
    /// Currency id of what is traded.
    pub base: U32,
    /// Currency id of what is paid.
    pub quote: U32,
    /// Minor units of quote currency for one lot at a price of one tick.
    pub quote_per_tick_lot: U64,
    /// Minor units of base currency in one lot.
    pub base_per_lot: U64,
    /// Smallest total quantity of an order, lots.
    pub min_quantity: U64,
    /// Largest total quantity of an order, lots.
    pub max_quantity: U64,
    /// Smallest price times total quantity of an order, minor units of quote currency.
    pub min_notional: U64,
    /// Highest price of an order, ticks.
    pub max_price: I64,
    /// How far from the best opposite price a market order may trade, ticks.
    pub collar: I64,
    /// What a resting order pays of a fill's notional, parts per million; negative is a rebate.
    pub maker_ppm: I32,
    /// What an aggressive order pays of a fill's notional, parts per million; negative is a rebate.
    pub taker_ppm: I32,
    /// A price tick in units of the last price decimal. For text only.
    pub tick: U32,
    /// A lot in units of the last quantity decimal. For text only.
    pub lot: U32,
}

impl Definition {
    /// The symbol without its padding.
    #[must_use]
    pub fn symbol(&self) -> &[u8] {
        let end = self.symbol.iter().position(|byte| *byte == 0).unwrap_or(self.symbol.len());
        &self.symbol[..end]
    }

    fn symbol_is_valid(&self) -> bool {
        let text = self.symbol();
        !text.is_empty()
            && text.iter().all(u8::is_ascii_graphic)
            && self.symbol[text.len()..].iter().all(|byte| *byte == 0)
    }
}

/// Creates an instrument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct CreateInstrument {
    /// [`CreateInstrument::TAG`].
    pub tag: u8,
    /// Layout version.
    pub schema: Schema,
    /// Zero.
    pub reserved: [Zero; 6],
    /// Its terms.
    pub definition: Definition,
}

/// Creates an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct CreateAccount {
    /// [`CreateAccount::TAG`].
    pub tag: u8,
    /// Layout version.
    pub schema: Schema,
    /// Zero.
    pub reserved: [Zero; 2],
    /// Account id, from 1.
    pub account: U32,
}

/// Lets a key act for an account, or ends that. Either may be repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Grant {
    /// [`Grant::TAG`].
    pub tag: u8,
    /// Layout version.
    pub schema: Schema,
    /// Grant or revoke.
    pub action: GrantAction,
    /// Zero.
    pub reserved: Zero,
    /// Account id.
    pub account: U32,
    /// Key id.
    pub key: U32,
    /// Zero.
    pub reserved2: [Zero; 4],
}

/// Moves money in from or out to the world outside: the layout of deposits and withdrawals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Transfer {
    /// [`Transfer::DEPOSIT`] or [`Transfer::WITHDRAW`].
    pub tag: u8,
    /// Layout version.
    pub schema: Schema,
    /// Zero.
    pub reserved: [Zero; 2],
    /// Account id; 0 is the exchange's own account, where fees land.
    pub account: U32,
    /// Currency id.
    pub currency: U32,
    /// Zero.
    pub reserved2: [Zero; 4],
    /// The outside world's number of this transfer, unique per account.
    pub transaction: U64,
    /// Minor units.
    pub amount: U64,
}

/// Enters an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct NewOrder {
    /// [`NewOrder::TAG`].
    pub tag: u8,
    /// Layout version.
    pub schema: Schema,
    /// Buy or sell.
    pub side: Side,
    /// Limit or market.
    pub order_type: OrderType,
    /// How long it lives.
    pub time_in_force: TimeInForce,
    /// Whether it is refused if it would trade at once.
    pub post_only: Flag,
    /// Zero.
    pub reserved: [Zero; 2],
    /// Account id.
    pub account: U32,
    /// Instrument id.
    pub instrument: U32,
    /// The client's name for the order, unique among the account's live orders.
    pub client_order_id: U64,
    /// Limit price, ticks; 0 for a market order.
    pub price: I64,
    /// Quantity, lots.
    pub quantity: U64,
}

/// Enters an order: the second layout, with everything that an order can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct NewOrder2 {
    /// [`NewOrder::TAG`].
    pub tag: u8,
    /// Layout version.
    pub schema: Schema2,
    /// Which way it trades.
    pub side: Side,
    /// How it is priced.
    pub order_type: OrderType,
    /// How long it lives.
    pub time_in_force: TimeInForce,
    /// What it does if it would trade at once.
    pub post_only: PostOnly,
    /// What happens where it would trade with an order of the same owner.
    pub self_trade: SelfTrade,
    /// Zero.
    pub reserved: Zero,
    /// Account id.
    pub account: U32,
    /// Instrument id.
    pub instrument: U32,
    /// The client's name for it, unique among the account's live orders.
    pub client_order_id: U64,
    /// Limit price, ticks; 0 where the type has none.
    pub price: I64,
    /// Lots; 0 if there is a cash amount.
    pub quantity: U64,
    /// Price of the trade that it waits for, ticks; 0 where the type waits for none.
    pub trigger: I64,
    /// Lots that the book shows at a time; 0 for all.
    pub display: U64,
    /// When it ends if GTD, nanoseconds of log time; else 0.
    pub expiry: U64,
    /// The most that a market buy may cost with fees, minor units of quote currency; 0 if it names a quantity.
    pub cash: U64,
}

/// Which live order of an account is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderRef {
    /// By the exchange's order id.
    Id(u64),
    /// By the client's.
    Client(u64),
}

impl OrderRef {
    pub(crate) fn from_fields(order_id: U64, client_order_id: U64) -> Self {
        match order_id.get() {
            0 => Self::Client(client_order_id.get()),
            id => Self::Id(id),
        }
    }

    pub(crate) fn fields(self) -> (U64, U64) {
        match self {
            Self::Id(id) => (id.into(), U64::ZERO),
            Self::Client(id) => (U64::ZERO, id.into()),
        }
    }
}

/// Only one of the two ways to name an order may be used.
fn names_one(order_id: U64, client_order_id: U64) -> bool {
    order_id == U64::ZERO || client_order_id == U64::ZERO
}

/// Cancels an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Cancel {
    /// [`Cancel::TAG`].
    pub tag: u8,
    /// Layout version.
    pub schema: Schema,
    /// Zero.
    pub reserved: [Zero; 2],
    /// Account id.
    pub account: U32,
    /// Order id, or 0 to go by the client's.
    pub order_id: U64,
    /// Client order id; 0 if `order_id` is given.
    pub client_order_id: U64,
}

/// Changes price and quantity of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Amend {
    /// [`Amend::TAG`].
    pub tag: u8,
    /// Layout version.
    pub schema: Schema,
    /// Zero.
    pub reserved: [Zero; 2],
    /// Account id.
    pub account: U32,
    /// Order id, or 0 to go by the client's.
    pub order_id: U64,
    /// Client order id; 0 if `order_id` is given.
    pub client_order_id: U64,
    /// New limit price, ticks.
    pub price: I64,
    /// New total quantity, lots, including what was filled.
    pub quantity: U64,
}

/// Changes an order: the second layout, which also reaches trigger and display quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Amend2 {
    /// [`Amend::TAG`].
    pub tag: u8,
    /// Layout version.
    pub schema: Schema2,
    /// Zero.
    pub reserved: [Zero; 2],
    /// Account id.
    pub account: U32,
    /// Order id, or 0 to go by the client's.
    pub order_id: U64,
    /// Client order id; 0 if `order_id` is given.
    pub client_order_id: U64,
    /// New limit price, ticks; 0 for a waiting order without one.
    pub price: I64,
    /// New total quantity, lots, including what was filled.
    pub quantity: U64,
    /// New trigger price, ticks; 0 to leave it.
    pub trigger: I64,
    /// New display quantity, lots; 0 to leave it.
    pub display: U64,
}

/// Cancels many orders of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct MassCancel {
    /// [`MassCancel::TAG`].
    pub tag: u8,
    /// Layout version.
    pub schema: Schema,
    /// Which side.
    pub sides: Sides,
    /// Zero.
    pub reserved: Zero,
    /// Account id.
    pub account: U32,
    /// Instrument id, or 0 for all.
    pub instrument: U32,
    /// Zero.
    pub reserved2: [Zero; 4],
}

/// Why an operator did something: printable ASCII, spaces included, padded with zero bytes; may be empty.
pub type Note = [u8; 32];

/// Sets what happens in an instrument where orders of one owner meet that leave it to the instrument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct SetSelfTrade {
    /// [`SetSelfTrade::TAG`].
    pub tag: u8,
    /// Layout version.
    pub schema: Schema,
    /// The mode, not [`SelfTrade::Default`].
    pub self_trade: SelfTrade,
    /// Zero.
    pub reserved: Zero,
    /// Instrument id.
    pub instrument: U32,
    /// Why.
    pub note: Note,
}

/// Puts an account into a group whose accounts are one owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct SetGroup {
    /// [`SetGroup::TAG`].
    pub tag: u8,
    /// Layout version.
    pub schema: Schema,
    /// Zero.
    pub reserved: [Zero; 2],
    /// Account id.
    pub account: U32,
    /// Group; 0 for none.
    pub group: U32,
    /// Zero.
    pub reserved2: [Zero; 4],
    /// Why.
    pub note: Note,
}

/// Sets what may be done in an instrument, or in all that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct SetState {
    /// [`SetState::TAG`].
    pub tag: u8,
    /// Layout version.
    pub schema: Schema,
    /// The state, not [`MarketState::None`].
    pub state: MarketState,
    /// Zero.
    pub reserved: Zero,
    /// Instrument id; 0 for all.
    pub instrument: U32,
    /// Why.
    pub note: Note,
}

/// A note from text.
///
/// # Panics
/// If the text is longer than a note or holds other characters.
#[must_use]
pub fn note(text: &str) -> Note {
    let mut note = [0; 32];
    note[..text.len()].copy_from_slice(text.as_bytes());
    assert!(note_is_valid(&note), "a note is printable ASCII");
    note
}

pub(crate) fn note_is_valid(note: &Note) -> bool {
    text_is_valid(note)
}

/// Whether it is printable ASCII, padded with zero bytes.
pub(crate) fn text_is_valid(text: &[u8]) -> bool {
    let end = text.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    text[..end].iter().all(|byte| (0x20..=0x7e).contains(byte))
}

const Z: Zero = Zero::Zero;

impl CreateInstrument {
    /// Tag of the message.
    pub const TAG: u8 = 0x01;

    /// The message.
    #[must_use]
    pub const fn new(definition: Definition) -> Self {
        Self { tag: Self::TAG, schema: Schema::V1, reserved: [Z; 6], definition }
    }
}

impl CreateAccount {
    /// Tag of the message.
    pub const TAG: u8 = 0x02;

    /// The message.
    #[must_use]
    pub fn new(account: u32) -> Self {
        Self { tag: Self::TAG, schema: Schema::V1, reserved: [Z; 2], account: account.into() }
    }
}

impl Grant {
    /// Tag of the message.
    pub const TAG: u8 = 0x03;

    /// The message.
    #[must_use]
    pub fn new(action: GrantAction, account: u32, key: u32) -> Self {
        Self {
            tag: Self::TAG,
            schema: Schema::V1,
            action,
            reserved: Z,
            account: account.into(),
            key: key.into(),
            reserved2: [Z; 4],
        }
    }
}

impl Transfer {
    /// Tag of a deposit.
    pub const DEPOSIT: u8 = 0x04;
    /// Tag of a withdrawal.
    pub const WITHDRAW: u8 = 0x05;

    /// Money comes in.
    #[must_use]
    pub fn deposit(account: u32, currency: u32, transaction: u64, amount: u64) -> Self {
        Self {
            tag: Self::DEPOSIT,
            schema: Schema::V1,
            reserved: [Z; 2],
            account: account.into(),
            currency: currency.into(),
            reserved2: [Z; 4],
            transaction: transaction.into(),
            amount: amount.into(),
        }
    }

    /// Money goes out.
    #[must_use]
    pub fn withdraw(account: u32, currency: u32, transaction: u64, amount: u64) -> Self {
        Self { tag: Self::WITHDRAW, ..Self::deposit(account, currency, transaction, amount) }
    }
}

impl NewOrder {
    /// Tag of the message.
    pub const TAG: u8 = 0x06;

    /// A limit order that rests until filled or cancelled.
    #[must_use]
    pub fn limit(
        account: u32,
        instrument: u32,
        client_order_id: u64,
        side: Side,
        price: i64,
        quantity: u64,
    ) -> Self {
        Self {
            tag: Self::TAG,
            schema: Schema::V1,
            side,
            order_type: OrderType::Limit,
            time_in_force: TimeInForce::Gtc,
            post_only: Flag::No,
            reserved: [Z; 2],
            account: account.into(),
            instrument: instrument.into(),
            client_order_id: client_order_id.into(),
            price: price.into(),
            quantity: quantity.into(),
        }
    }

    /// A market order; what it does not find is cancelled.
    #[must_use]
    pub fn market(account: u32, instrument: u32, client_order_id: u64, side: Side, quantity: u64) -> Self {
        Self {
            order_type: OrderType::Market,
            time_in_force: TimeInForce::Ioc,
            ..Self::limit(account, instrument, client_order_id, side, 0, quantity)
        }
    }

    /// Whether it holds only values that the first layout has.
    #[inline]
    fn is_of_its_time(&self) -> bool {
        self.order_type <= OrderType::Market && self.time_in_force <= TimeInForce::Fok
    }

    /// The same with another time in force.
    #[must_use]
    pub const fn lasting(self, time_in_force: TimeInForce) -> Self {
        Self { time_in_force, ..self }
    }

    /// The same, refused if it would trade at once.
    #[must_use]
    pub const fn post_only(self) -> Self {
        Self { post_only: Flag::Yes, ..self }
    }
}

impl Cancel {
    /// Tag of the message.
    pub const TAG: u8 = 0x07;

    /// The message.
    #[must_use]
    pub fn new(account: u32, order: OrderRef) -> Self {
        let (order_id, client_order_id) = order.fields();
        Self {
            tag: Self::TAG,
            schema: Schema::V1,
            reserved: [Z; 2],
            account: account.into(),
            order_id,
            client_order_id,
        }
    }

    /// Which order.
    #[must_use]
    pub fn order(&self) -> OrderRef {
        OrderRef::from_fields(self.order_id, self.client_order_id)
    }
}

impl Amend {
    /// Tag of the message.
    pub const TAG: u8 = 0x08;

    /// The message.
    #[must_use]
    pub fn new(account: u32, order: OrderRef, price: i64, quantity: u64) -> Self {
        let (order_id, client_order_id) = order.fields();
        Self {
            tag: Self::TAG,
            schema: Schema::V1,
            reserved: [Z; 2],
            account: account.into(),
            order_id,
            client_order_id,
            price: price.into(),
            quantity: quantity.into(),
        }
    }

    /// Which order.
    #[must_use]
    pub fn order(&self) -> OrderRef {
        OrderRef::from_fields(self.order_id, self.client_order_id)
    }
}

impl NewOrder2 {
    /// What the first layout says in the second.
    #[must_use]
    pub const fn from_first(order: &NewOrder) -> Self {
        Self {
            tag: NewOrder::TAG,
            schema: Schema2::V2,
            side: order.side,
            order_type: order.order_type,
            time_in_force: order.time_in_force,
            post_only: match order.post_only {
                Flag::No => PostOnly::No,
                Flag::Yes => PostOnly::Reject,
            },
            self_trade: SelfTrade::Default,
            reserved: Z,
            account: order.account,
            instrument: order.instrument,
            client_order_id: order.client_order_id,
            price: order.price,
            quantity: order.quantity,
            trigger: I64::ZERO,
            display: U64::ZERO,
            expiry: U64::ZERO,
            cash: U64::ZERO,
        }
    }

    /// A limit order that rests until filled or cancelled.
    #[must_use]
    pub fn limit(
        account: u32,
        instrument: u32,
        client_order_id: u64,
        side: Side,
        price: i64,
        quantity: u64,
    ) -> Self {
        Self::from_first(&NewOrder::limit(account, instrument, client_order_id, side, price, quantity))
    }
}

impl Amend2 {
    /// The message; `trigger` and `display` are left as they are.
    #[must_use]
    pub fn new(account: u32, order: OrderRef, price: i64, quantity: u64) -> Self {
        let (order_id, client_order_id) = order.fields();
        Self {
            tag: Amend::TAG,
            schema: Schema2::V2,
            reserved: [Z; 2],
            account: account.into(),
            order_id,
            client_order_id,
            price: price.into(),
            quantity: quantity.into(),
            trigger: I64::ZERO,
            display: U64::ZERO,
        }
    }

    /// Which order.
    #[must_use]
    pub fn order(&self) -> OrderRef {
        OrderRef::from_fields(self.order_id, self.client_order_id)
    }
}

impl SetSelfTrade {
    /// Tag of the message.
    pub const TAG: u8 = 0x0A;

    /// The message.
    #[must_use]
    pub fn new(instrument: u32, self_trade: SelfTrade, note: Note) -> Self {
        Self {
            tag: Self::TAG,
            schema: Schema::V1,
            self_trade,
            reserved: Z,
            instrument: instrument.into(),
            note,
        }
    }
}

impl SetState {
    /// Tag of the message.
    pub const TAG: u8 = 0x0C;

    /// The message; `instrument` 0 means all.
    #[must_use]
    pub fn new(instrument: u32, state: MarketState, note: Note) -> Self {
        Self { tag: Self::TAG, schema: Schema::V1, state, reserved: Z, instrument: instrument.into(), note }
    }
}

impl SetGroup {
    /// Tag of the message.
    pub const TAG: u8 = 0x0B;

    /// The message.
    #[must_use]
    pub fn new(account: u32, group: u32, note: Note) -> Self {
        Self {
            tag: Self::TAG,
            schema: Schema::V1,
            reserved: [Z; 2],
            account: account.into(),
            group: group.into(),
            reserved2: [Z; 4],
            note,
        }
    }
}

impl MassCancel {
    /// Tag of the message.
    pub const TAG: u8 = 0x09;

    /// The message; `instrument` 0 means all.
    #[must_use]
    pub fn new(account: u32, instrument: u32, sides: Sides) -> Self {
        Self {
            tag: Self::TAG,
            schema: Schema::V1,
            sides,
            reserved: Z,
            account: account.into(),
            instrument: instrument.into(),
            reserved2: [Z; 4],
        }
    }
}

/// A command in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// Creates an instrument.
    CreateInstrument(&'a CreateInstrument),
    /// Creates an account.
    CreateAccount(&'a CreateAccount),
    /// Grants or revokes.
    Grant(&'a Grant),
    /// Money comes in.
    Deposit(&'a Transfer),
    /// Money goes out.
    Withdraw(&'a Transfer),
    /// Enters an order.
    NewOrder(&'a NewOrder),
    /// Cancels an order.
    Cancel(&'a Cancel),
    /// Changes an order.
    Amend(&'a Amend),
    /// Cancels many orders.
    MassCancel(&'a MassCancel),
    /// Enters an order, second layout.
    NewOrder2(&'a NewOrder2),
    /// Changes an order, second layout.
    Amend2(&'a Amend2),
    /// Sets an instrument's self-trade prevention.
    SetSelfTrade(&'a SetSelfTrade),
    /// Puts an account into a group.
    SetGroup(&'a SetGroup),
    /// Sets what may be done in an instrument.
    SetState(&'a SetState),
    /// Sets what becomes of a session's orders when its client is gone.
    SetDisconnect(&'a SetDisconnect),
    /// Says why the next command is given.
    Remark(&'a Remark),
    /// An operator's control of who trades and how much.
    Control(Control<'a>),
    /// An operator's control of how instruments trade.
    Market(Market<'a>),
}

impl<'a> Request<'a> {
    /// Reads a command in place.
    ///
    /// # Errors
    /// [`Malformed`].
    #[inline]
    pub fn decode(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let valid = |ok: bool, request: Self| if ok { Ok(request) } else { Err(Malformed::Value) };
        match head(bytes)? {
            (NewOrder::TAG, 1) => {
                let message: &NewOrder = block(bytes)?;
                valid(message.is_of_its_time(), Self::NewOrder(message))
            }
            (Cancel::TAG, 1) => {
                let message: &Cancel = block(bytes)?;
                valid(names_one(message.order_id, message.client_order_id), Self::Cancel(message))
            }
            (Amend::TAG, 1) => {
                let message: &Amend = block(bytes)?;
                valid(names_one(message.order_id, message.client_order_id), Self::Amend(message))
            }
            (NewOrder::TAG, 2) => block(bytes).map(Self::NewOrder2),
            (Amend::TAG, 2) => {
                let message: &Amend2 = block(bytes)?;
                valid(names_one(message.order_id, message.client_order_id), Self::Amend2(message))
            }
            (MassCancel::TAG, 1) => block(bytes).map(Self::MassCancel),
            (Transfer::DEPOSIT, 1) => block(bytes).map(Self::Deposit),
            (Transfer::WITHDRAW, 1) => block(bytes).map(Self::Withdraw),
            (CreateInstrument::TAG, 1) => {
                let message: &CreateInstrument = block(bytes)?;
                valid(message.definition.symbol_is_valid(), Self::CreateInstrument(message))
            }
            (CreateAccount::TAG, 1) => block(bytes).map(Self::CreateAccount),
            (Grant::TAG, 1) => block(bytes).map(Self::Grant),
            (SetSelfTrade::TAG, 1) => {
                let message: &SetSelfTrade = block(bytes)?;
                let sets = message.self_trade != SelfTrade::Default;
                valid(sets && note_is_valid(&message.note), Self::SetSelfTrade(message))
            }
            (SetGroup::TAG, 1) => {
                let message: &SetGroup = block(bytes)?;
                valid(note_is_valid(&message.note), Self::SetGroup(message))
            }
            (SetState::TAG, 1) => {
                let message: &SetState = block(bytes)?;
                let sets = message.state != MarketState::None;
                valid(sets && note_is_valid(&message.note), Self::SetState(message))
            }
            (Remark::TAG, 1) => Remark::decode(bytes).map(Self::Remark),
            (SetDisconnect::TAG, 1) => SetDisconnect::decode(bytes).map(Self::SetDisconnect),
            (tag, 1) if Control::TAGS.contains(&tag) => Control::decode(tag, bytes).map(Self::Control),
            (tag, 1) if Market::TAGS.contains(&tag) => Market::decode(tag, bytes).map(Self::Market),
            (_, 1) => Err(Malformed::Tag),
            _ => Err(Malformed::Schema),
        }
    }

    /// Permission bits that the key needs, all of them.
    #[must_use]
    #[inline]
    pub const fn required_permission(&self) -> u32 {
        match self {
            Self::CreateInstrument(_)
            | Self::CreateAccount(_)
            | Self::Grant(_)
            | Self::SetSelfTrade(_)
            | Self::SetGroup(_)
            | Self::SetState(_)
            | Self::Market(_) => permission::ADMIN,
            Self::Control(control) => control.required_permission(),
            // Either of two is enough, which is looked at when it is executed.
            Self::Remark(_) => 0,
            Self::Deposit(_) | Self::Withdraw(_) => permission::CUSTODY,
            Self::NewOrder(_)
            | Self::Cancel(_)
            | Self::Amend(_)
            | Self::MassCancel(_)
            | Self::NewOrder2(_)
            | Self::Amend2(_)
            | Self::SetDisconnect(_) => permission::TRADE,
        }
    }
}

pub(crate) fn order_ref(order_id: U64, client_order_id: U64) -> Option<OrderRef> {
    names_one(order_id, client_order_id).then(|| OrderRef::from_fields(order_id, client_order_id))
}

const _: () = assert!(size_of::<Definition>() == 104);
const _: () = assert!(size_of::<CreateInstrument>() == 112);
const _: () = assert!(size_of::<CreateAccount>() == 8);
const _: () = assert!(size_of::<Grant>() == 16);
const _: () = assert!(size_of::<Transfer>() == 32);
const _: () = assert!(size_of::<NewOrder>() == 40);
const _: () = assert!(size_of::<Cancel>() == 24);
const _: () = assert!(size_of::<Amend>() == 40);
const _: () = assert!(size_of::<MassCancel>() == 16);
const _: () = assert!(size_of::<NewOrder2>() == 72);
const _: () = assert!(size_of::<Amend2>() == 56);
const _: () = assert!(size_of::<SetSelfTrade>() == 40);
const _: () = assert!(size_of::<SetGroup>() == 48);
const _: () = assert!(size_of::<SetState>() == 40);
