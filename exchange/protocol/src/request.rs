//! Commands: what a client asks to have done.

use crate::{
    Flag, GrantAction, I32, I64, Malformed, OrderType, Schema, Side, Sides, TimeInForce, U32, U64, Zero,
    block, permission, tag,
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

/// Which live order of an account is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderRef {
    /// By the exchange's order id.
    Id(u64),
    /// By the client's.
    Client(u64),
}

impl OrderRef {
    fn from_fields(order_id: U64, client_order_id: U64) -> Self {
        match order_id.get() {
            0 => Self::Client(client_order_id.get()),
            id => Self::Id(id),
        }
    }

    fn fields(self) -> (U64, U64) {
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
}

impl<'a> Request<'a> {
    /// Reads a command in place.
    ///
    /// # Errors
    /// [`Malformed`].
    #[inline]
    pub fn decode(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let valid = |ok: bool, request: Self| if ok { Ok(request) } else { Err(Malformed::Value) };
        match tag(bytes)? {
            NewOrder::TAG => block(bytes).map(Self::NewOrder),
            Cancel::TAG => {
                let message: &Cancel = block(bytes)?;
                valid(names_one(message.order_id, message.client_order_id), Self::Cancel(message))
            }
            Amend::TAG => {
                let message: &Amend = block(bytes)?;
                valid(names_one(message.order_id, message.client_order_id), Self::Amend(message))
            }
            MassCancel::TAG => block(bytes).map(Self::MassCancel),
            Transfer::DEPOSIT => block(bytes).map(Self::Deposit),
            Transfer::WITHDRAW => block(bytes).map(Self::Withdraw),
            CreateInstrument::TAG => {
                let message: &CreateInstrument = block(bytes)?;
                valid(message.definition.symbol_is_valid(), Self::CreateInstrument(message))
            }
            CreateAccount::TAG => block(bytes).map(Self::CreateAccount),
            Grant::TAG => block(bytes).map(Self::Grant),
            _ => Err(Malformed::Tag),
        }
    }

    /// Permission bits that the key needs, all of them.
    #[must_use]
    #[inline]
    pub const fn required_permission(&self) -> u32 {
        match self {
            Self::CreateInstrument(_) | Self::CreateAccount(_) | Self::Grant(_) => permission::ADMIN,
            Self::Deposit(_) | Self::Withdraw(_) => permission::CUSTODY,
            Self::NewOrder(_) | Self::Cancel(_) | Self::Amend(_) | Self::MassCancel(_) => permission::TRADE,
        }
    }
}

pub(crate) fn order_ref(order_id: U64, client_order_id: U64) -> Option<OrderRef> {
    names_one(order_id, client_order_id).then(|| OrderRef::from_fields(order_id, client_order_id))
}

pub(crate) fn order_ref_fields(order: OrderRef) -> (U64, U64) {
    order.fields()
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
