//! What an operator may ask to be done, and the message that says it.

use super::show::Show;
use super::words::{self, Whose};
use clap::{Args, Subcommand};
use ordain_exchange_protocol::{
    Access, BandAction, CreateAccount, CreateInstrument, Definition, Flag, FromZeros, Grant, GrantAction,
    GrantFirm, IntoBytes, Kill, MarketState, NO_LIMIT, NO_LIMIT_32, Note, Purge, SCHEDULE_MAX, SelfTrade,
    SetAccess, SetBands, SetFeeClass, SetFeeTier, SetFeed, SetFees, SetFirm, SetGrossLimit, SetGroup,
    SetInstrumentLimits, SetLimits, SetPosition, SetReference, SetSchedule, SetSelfTrade, SetState, Sides,
    Transfer,
};
use std::fmt;

#[derive(Debug, Subcommand)]
pub enum ExchangeCommand {
    /// Create an instrument
    CreateInstrument(Box<Terms>),
    /// Create an account
    CreateAccount {
        /// Its number
        account: u32,
    },
    /// Let a key act for an account; `ordain keys add` prints the key's number
    Grant(OfKey),
    /// End that a key may act for an account
    Revoke(OfKey),
    /// Money comes in
    Deposit(Money),
    /// Money goes out
    Withdraw(Money),
    /// Choose what happens where orders of one owner meet and leave it to the instrument
    SelfTrade {
        /// Instrument
        instrument: u32,
        /// allow, cancel-taker, cancel-maker, cancel-both or decrement
        #[arg(value_parser = words::mode)]
        mode: SelfTrade,
    },
    /// Put an account into a group whose accounts are one owner
    Group {
        /// Account
        account: u32,
        /// Group; 0 for none
        group: u32,
    },
    /// Set what may be done in an instrument, or in all
    State {
        /// Instrument, or all
        #[arg(value_parser = words::instrument)]
        instrument: u32,
        /// continuous, halted, cancel-only, post-only, pre-open, opening-auction, volatility-auction, closing-auction or
        /// closed
        #[arg(value_parser = words::state)]
        state: MarketState,
    },
    /// Halt an instrument, or all: the same as `state INSTRUMENT halted`
    Halt {
        /// Instrument, or all
        #[arg(value_parser = words::instrument)]
        instrument: u32,
    },
    /// Set the price that an instrument's next auction starts from
    Reference {
        /// Instrument
        instrument: u32,
        /// Ticks
        #[arg(allow_negative_numbers = true)]
        price: i64,
    },
    /// Set an instrument's price bands
    Bands(Bands),
    /// Set the states that an instrument goes into by itself; without entries, none
    Schedule(Schedule),
    /// Publish an instrument's book: what is not named is off, and what is on is told anew
    Feed {
        /// Instrument
        instrument: u32,
        /// Best prices
        #[arg(long)]
        top: bool,
        /// Prices and what is open there
        #[arg(long)]
        levels: bool,
        /// Orders
        #[arg(long)]
        orders: bool,
    },
    /// Put an account into a firm
    Firm {
        /// Account
        account: u32,
        /// Firm; 0 for none
        firm: u32,
    },
    /// Let a key read what a firm's accounts are told
    GrantFirm(OfFirm),
    /// End that
    RevokeFirm(OfFirm),
    /// Set what an account, a firm's accounts, or all may do
    Access {
        /// account:N, firm:N or all
        #[arg(value_parser = words::whose)]
        whose: Whose,
        /// active, blocked or suspended
        #[arg(value_parser = words::access)]
        access: Access,
    },
    /// Cancel all orders of an account, a firm, or all, and let no new ones come
    Kill {
        /// account:N, firm:N or all
        #[arg(value_parser = words::whose)]
        whose: Whose,
    },
    /// Cancel orders of an account, a firm, or all
    Purge {
        /// account:N, firm:N or all
        #[arg(value_parser = words::whose)]
        whose: Whose,
        /// In this instrument only
        #[arg(long, default_value = "all", value_parser = words::instrument)]
        instrument: u32,
        /// any, buy or sell
        #[arg(long, default_value = "any", value_parser = words::sides)]
        sides: Sides,
    },
    /// Limit how many orders an account or a firm has, and how fast it may be; what is not named has no limit
    Limits(Limits),
    /// Limit what an account or a firm may have open in a currency
    GrossLimit {
        /// account:N or firm:N
        #[arg(value_parser = words::party)]
        whose: Whose,
        /// Quote currency
        currency: u32,
        /// Minor units; without it, no limit
        limit: Option<u64>,
    },
    /// Limit an account in an instrument; what is not named has no limit
    InstrumentLimits(InstrumentLimits),
    /// Say what an account has bought net in an instrument so far
    Position {
        /// Account
        account: u32,
        /// Instrument
        instrument: u32,
        /// Lots bought less lots sold
        #[arg(allow_negative_numbers = true)]
        lots: i64,
    },
    /// Set what accounts of a tier pay in instruments of a class
    Fees(Fees),
    /// Put an instrument into a fee class
    FeeClass {
        /// Instrument
        instrument: u32,
        /// Class from 1; 0 for the instrument's own terms
        class: u8,
    },
    /// Put an account into a fee tier
    FeeTier {
        /// Account
        account: u32,
        /// Tier from 0
        tier: u8,
    },
    /// Ask how things are
    #[command(subcommand)]
    Show(Show),
}

#[derive(Debug, Args)]
pub struct OfKey {
    /// Account
    account: u32,
    /// The key's number
    #[arg(id = "number", value_name = "KEY")]
    key: u32,
}

#[derive(Debug, Args)]
pub struct Money {
    /// Account; 0 is the exchange's own, where fees land
    account: u32,
    /// Currency
    currency: u32,
    /// Minor units
    amount: u64,
    /// The outside world's number of this transfer, never used before by the account: a repeat with the same contents is
    /// answered with the first result
    #[arg(long)]
    transaction: u64,
}

#[derive(Debug, Args)]
pub struct Terms {
    /// Its number, from 1
    instrument: u32,
    /// Its name, up to 16 printable characters
    symbol: String,
    /// Currency of what is traded
    #[arg(long)]
    base: u32,
    /// Currency of what is paid
    #[arg(long)]
    quote: u32,
    /// Minor units of quote currency for one lot at a price of one tick
    #[arg(long, default_value_t = 1)]
    quote_per_tick_lot: u64,
    /// Minor units of base currency in one lot
    #[arg(long, default_value_t = 1)]
    base_per_lot: u64,
    /// Smallest quantity of an order, lots
    #[arg(long, default_value_t = 1)]
    min_quantity: u64,
    /// Largest quantity of an order, lots
    #[arg(long)]
    max_quantity: u64,
    /// Smallest price times quantity of an order, minor units
    #[arg(long, default_value_t = 0)]
    min_notional: u64,
    /// Highest price, ticks
    #[arg(long)]
    max_price: i64,
    /// How far from the best opposite price a market order may trade, ticks
    #[arg(long)]
    collar: i64,
    /// What a maker pays of a fill's notional, parts per million; negative is a rebate
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    maker_ppm: i32,
    /// What a taker pays
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    taker_ppm: i32,
    /// Decimals of a price in text
    #[arg(long, default_value_t = 0)]
    price_decimals: u8,
    /// Decimals of a quantity in text
    #[arg(long, default_value_t = 0)]
    quantity_decimals: u8,
    /// A tick in units of the last price decimal
    #[arg(long, default_value_t = 1)]
    tick: u32,
    /// A lot in units of the last quantity decimal
    #[arg(long, default_value_t = 1)]
    lot: u32,
}

#[derive(Debug, Args)]
pub struct OfFirm {
    /// Firm
    firm: u32,
    /// The key's number
    #[arg(id = "number", value_name = "KEY")]
    key: u32,
}

#[derive(Debug, Args)]
pub struct Bands {
    /// Instrument
    instrument: u32,
    /// What happens at them: off, reject or auction
    #[arg(value_parser = words::action)]
    action: BandAction,
    /// Width either way of the day's reference, parts per million
    #[arg(long = "static", value_name = "PPM", default_value_t = 0)]
    fixed: u32,
    /// Width either way of the average of recent trades, parts per million
    #[arg(long = "dynamic", value_name = "PPM", default_value_t = 0)]
    moving: u32,
    /// Time that a bucket of the average covers: 1s, 500ms
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = words::nanos)]
    bucket: u64,
    /// Buckets that the average goes over
    #[arg(long, default_value_t = 0)]
    buckets: u8,
    /// How long the call of an auction is
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = words::nanos)]
    call: u64,
    /// How often a call may be made longer
    #[arg(long, default_value_t = 0)]
    extensions: u8,
}

#[derive(Debug, Args)]
pub struct Schedule {
    /// Instrument
    instrument: u32,
    /// TIME=STATE, or TIME~RANDOM=STATE where RANDOM is how much later it is at most; TIME is nanoseconds of log time since
    /// the Unix epoch (`date -d 'tomorrow 9:00' +%s%N`)
    #[arg(value_parser = words::entry, num_args = 0..=SCHEDULE_MAX)]
    entries: Vec<(u64, u64, MarketState)>,
    /// After how long all of them come again: 24h
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = words::nanos)]
    period: u64,
}

#[derive(Debug, Args)]
pub struct Limits {
    /// account:N or firm:N
    #[arg(value_parser = words::party)]
    whose: Whose,
    /// Most live orders
    #[arg(long)]
    orders: Option<u32>,
    /// New orders and amends that may come at once
    #[arg(long, requires = "interval")]
    burst: Option<u32>,
    /// In how long one more may come
    #[arg(long, value_name = "TIME", requires = "burst", value_parser = words::nanos)]
    interval: Option<u64>,
    /// The account may trade only instruments that `instrument-limits` names
    #[arg(long)]
    listed_only: bool,
}

#[derive(Debug, Args)]
pub struct InstrumentLimits {
    /// Account
    account: u32,
    /// Instrument
    instrument: u32,
    /// Not among the instruments that an account with `listed-only` may trade
    #[arg(long)]
    disallowed: bool,
    /// Largest quantity of an order, lots
    #[arg(long)]
    quantity: Option<u64>,
    /// Largest notional of an order, minor units
    #[arg(long)]
    notional: Option<u64>,
    /// Most ticks by which an order's price may be worse than the market
    #[arg(long)]
    collar: Option<u64>,
    /// Most lots of live orders
    #[arg(long)]
    open: Option<u64>,
    /// Most lots bought net
    #[arg(long)]
    long: Option<u64>,
    /// Most lots sold net
    #[arg(long)]
    short: Option<u64>,
}

#[derive(Debug, Args)]
pub struct Fees {
    /// Class, from 1
    class: u8,
    /// Tier, from 0
    tier: u8,
    /// Of a fill's notional as maker, parts per million; negative is a rebate
    #[arg(long, allow_negative_numbers = true)]
    maker: i32,
    /// As taker
    #[arg(long, allow_negative_numbers = true)]
    taker: i32,
    /// In an auction [default: as taker]
    #[arg(long, allow_negative_numbers = true)]
    auction: Option<i32>,
    /// Least charge of a fill, minor units
    #[arg(long, default_value_t = 0)]
    min: u64,
    /// Highest charge of a fill; without it, none
    #[arg(long)]
    max: Option<u64>,
}

/// A command's bytes, and whether it has a note.
pub struct Message {
    pub bytes: Vec<u8>,
    pub noted: bool,
}

/// Why a command cannot be said at all.
#[derive(Debug)]
pub struct Unsayable(pub String);

impl fmt::Display for Unsayable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn noted(message: &(impl IntoBytes + zerocopy::Immutable)) -> Message {
    Message { bytes: message.as_bytes().to_vec(), noted: true }
}

fn plain(message: &(impl IntoBytes + zerocopy::Immutable)) -> Message {
    Message { noted: false, ..noted(message) }
}

impl Terms {
    fn message(&self) -> Result<Message, Unsayable> {
        let mut symbol = [0; 16];
        let fits = !self.symbol.is_empty() && self.symbol.bytes().all(|byte| byte.is_ascii_graphic());
        match symbol.get_mut(..self.symbol.len()).filter(|_| fits) {
            Some(place) => place.copy_from_slice(self.symbol.as_bytes()),
            None => {
                return Err(Unsayable(format!(
                    "`{}` is no symbol: 1 to 16 printable characters",
                    self.symbol
                )));
            }
        }
        let definition = Definition {
            instrument: self.instrument.into(),
            price_decimals: self.price_decimals,
            quantity_decimals: self.quantity_decimals,
            symbol,
            base: self.base.into(),
            quote: self.quote.into(),
            quote_per_tick_lot: self.quote_per_tick_lot.into(),
            base_per_lot: self.base_per_lot.into(),
            min_quantity: self.min_quantity.into(),
            max_quantity: self.max_quantity.into(),
            min_notional: self.min_notional.into(),
            max_price: self.max_price.into(),
            collar: self.collar.into(),
            maker_ppm: self.maker_ppm.into(),
            taker_ppm: self.taker_ppm.into(),
            tick: self.tick.into(),
            lot: self.lot.into(),
            ..Definition::new_zeroed()
        };
        Ok(plain(&CreateInstrument::new(definition)))
    }
}

impl Bands {
    fn message(&self, note: Note) -> SetBands {
        SetBands {
            action: self.action,
            buckets: self.buckets,
            fixed: self.fixed.into(),
            moving: self.moving.into(),
            width: self.bucket.into(),
            call: self.call.into(),
            extensions: self.extensions,
            ..SetBands::off(self.instrument, note)
        }
    }
}

impl Limits {
    fn message(&self, note: Note) -> SetLimits {
        SetLimits {
            listed_only: Flag::from(self.listed_only),
            orders: self.orders.unwrap_or(NO_LIMIT_32).into(),
            burst: self.burst.unwrap_or(0).into(),
            interval: self.interval.unwrap_or(0).into(),
            ..SetLimits::new(self.whose.scope, self.whose.id, note)
        }
    }
}

impl InstrumentLimits {
    fn message(&self, note: Note) -> SetInstrumentLimits {
        let limit = |limit: Option<u64>| limit.unwrap_or(NO_LIMIT).into();
        SetInstrumentLimits {
            allowed: Flag::from(!self.disallowed),
            quantity: limit(self.quantity),
            notional: limit(self.notional),
            collar: limit(self.collar),
            open: limit(self.open),
            long: limit(self.long),
            short: limit(self.short),
            ..SetInstrumentLimits::new(self.account, self.instrument, note)
        }
    }
}

impl Fees {
    fn message(&self, note: Note) -> SetFees {
        SetFees {
            auction_ppm: self.auction.unwrap_or(self.taker).into(),
            min: self.min.into(),
            max: self.max.unwrap_or(NO_LIMIT).into(),
            ..SetFees::new(self.class, self.tier, self.maker, self.taker, note)
        }
    }
}

impl ExchangeCommand {
    /// The message, with the note where it has one.
    pub fn message(&self, note: Note) -> Result<Message, Unsayable> {
        Ok(match self {
            Self::CreateInstrument(terms) => terms.message()?,
            Self::CreateAccount { account } => plain(&CreateAccount::new(*account)),
            Self::Grant(OfKey { account, key }) => plain(&Grant::new(GrantAction::Grant, *account, *key)),
            Self::Revoke(OfKey { account, key }) => plain(&Grant::new(GrantAction::Revoke, *account, *key)),
            Self::Deposit(it) => {
                plain(&Transfer::deposit(it.account, it.currency, it.transaction, it.amount))
            }
            Self::Withdraw(it) => {
                plain(&Transfer::withdraw(it.account, it.currency, it.transaction, it.amount))
            }
            Self::SelfTrade { instrument, mode } => noted(&SetSelfTrade::new(*instrument, *mode, note)),
            Self::Group { account, group } => noted(&SetGroup::new(*account, *group, note)),
            Self::State { instrument, state } => noted(&SetState::new(*instrument, *state, note)),
            Self::Halt { instrument } => noted(&SetState::new(*instrument, MarketState::Halted, note)),
            Self::Reference { instrument, price } => noted(&SetReference::new(*instrument, *price, note)),
            Self::Bands(bands) => noted(&bands.message(note)),
            Self::Schedule(it) => noted(&SetSchedule::new(it.instrument, it.period, &it.entries, note)),
            Self::Feed { instrument, top, levels, orders } => noted(&SetFeed {
                top: Flag::from(*top),
                levels: Flag::from(*levels),
                orders: Flag::from(*orders),
                ..SetFeed::off(*instrument, note)
            }),
            Self::Firm { account, firm } => noted(&SetFirm::new(*account, *firm, note)),
            Self::GrantFirm(it) => noted(&GrantFirm::new(GrantAction::Grant, it.firm, it.key, note)),
            Self::RevokeFirm(it) => noted(&GrantFirm::new(GrantAction::Revoke, it.firm, it.key, note)),
            Self::Access { whose, access } => noted(&SetAccess::new(whose.scope, whose.id, *access, note)),
            Self::Kill { whose } => noted(&Kill::new(whose.scope, whose.id, note)),
            Self::Purge { whose, instrument, sides } => {
                noted(&Purge::new(whose.scope, whose.id, *instrument, *sides, note))
            }
            Self::Limits(limits) => noted(&limits.message(note)),
            Self::GrossLimit { whose, currency, limit } => {
                let limit = limit.unwrap_or(NO_LIMIT);
                noted(&SetGrossLimit::new(whose.scope, whose.id, *currency, limit, note))
            }
            Self::InstrumentLimits(limits) => noted(&limits.message(note)),
            Self::Position { account, instrument, lots } => {
                noted(&SetPosition::new(*account, *instrument, *lots, note))
            }
            Self::Fees(fees) => noted(&fees.message(note)),
            Self::FeeClass { instrument, class } => noted(&SetFeeClass::new(*instrument, *class, note)),
            Self::FeeTier { account, tier } => noted(&SetFeeTier::new(*account, *tier, note)),
            Self::Show(_) => return Err(Unsayable("a question is no command".to_owned())),
        })
    }
}
