//! The messages, each a view of its bytes in place.
//!
//! All integers are big-endian, text is ASCII padded with spaces on the right, prices have four decimals unless
//! said otherwise. Fields of one letter are given as that byte: the document adds letters over the years, and a
//! reader who counts on an old list would fail for nothing.

use core::fmt;
use zerocopy::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Longest message of the document, bytes.
pub const MESSAGE_MAX: usize = 50;

/// Nanoseconds since midnight, in six bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(transparent)]
pub struct Time([u8; 6]);

impl Time {
    /// A day's length: times of a day are below it.
    pub const DAY: u64 = 86_400_000_000_000;

    /// The lower six bytes of `nanos`.
    #[must_use]
    pub const fn new(nanos: u64) -> Self {
        let [_, _, a, b, c, d, e, f] = nanos.to_be_bytes();
        Self([a, b, c, d, e, f])
    }

    /// Nanoseconds since midnight.
    #[must_use]
    pub const fn nanos(self) -> u64 {
        let [a, b, c, d, e, f] = self.0;
        u64::from_be_bytes([0, 0, a, b, c, d, e, f])
    }
}

/// Text of fixed length, padded with spaces on the right.
#[derive(Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(transparent)]
pub struct Text<const N: usize>([u8; N]);

impl<const N: usize> Text<N> {
    /// `text`, padded; what does not fit is cut off.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let mut bytes = [b' '; N];
        let len = text.len().min(N);
        bytes[..len].copy_from_slice(&text.as_bytes()[..len]);
        Self(bytes)
    }
}

impl<const N: usize> fmt::Display for Text<N> {
    /// Without the padding; bytes that are no printable ASCII, which hostile files have, as escapes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.trim_ascii_end().escape_ascii())
    }
}

impl<const N: usize> fmt::Debug for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// Side of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// `B`
    Buy,
    /// `S`
    Sell,
}

impl Side {
    /// From the letter of a message.
    #[must_use]
    pub const fn from_letter(letter: u8) -> Option<Self> {
        match letter {
            b'B' => Some(Self::Buy),
            b'S' => Some(Self::Sell),
            _ => None,
        }
    }
}

/// What every message begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Header {
    /// The type's letter.
    pub kind: u8,
    /// The day's number of the stock; 0 in messages about none.
    pub locate: U16,
    /// Nasdaq's own.
    pub tracking: U16,
    /// When.
    pub time: Time,
}

/// Why bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// There is no byte.
    Empty,
    /// A type that the document does not have.
    Unknown(u8),
    /// A known type of another length than the document's.
    Length {
        /// The type's letter.
        kind: u8,
        /// Its length in the document.
        wants: usize,
        /// The length found.
        has: usize,
    },
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("a message without a byte"),
            Self::Unknown(kind) => write!(f, "unknown message type `{}`", kind.escape_ascii()),
            Self::Length { kind, wants, has } => {
                write!(f, "message type `{}` of {has} bytes, which has {wants}", kind.escape_ascii())
            }
        }
    }
}

impl core::error::Error for DecodeError {}

/// A type of message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// Its letter.
    pub letter: u8,
    /// Its name.
    pub name: &'static str,
    /// Its length, bytes.
    pub len: usize,
}

/// Makes a struct of each message, with its length checked, and the tables that go over all of them.
macro_rules! messages {
    ($($(#[$doc:meta])* $name:ident = $letter:literal, $len:literal {
        $($(#[$field_doc:meta])* $field:ident: $type:ty,)*
    })*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
            #[repr(C)]
            pub struct $name {
                /// What every message begins with.
                pub header: Header,
                $($(#[$field_doc])* pub $field: $type,)*
            }

            impl $name {
                /// The type's letter.
                pub const LETTER: u8 = $letter;
            }

            const _: () = assert!(size_of::<$name>() == $len && $len <= MESSAGE_MAX);
        )*

        /// A message, borrowed from its bytes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Message<'a> {
            $($(#[$doc])* $name(&'a $name),)*
        }

        /// Every type of the document.
        pub const KINDS: &[Kind] = &[$(Kind { letter: $letter, name: stringify!($name), len: $len }),*];

        impl<'a> Message<'a> {
            /// The message that `bytes` are.
            ///
            /// # Errors
            /// See [`DecodeError`].
            pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
                let kind = *bytes.first().ok_or(DecodeError::Empty)?;
                let (wants, message) = match kind {
                    $($letter => ($len, $name::ref_from_bytes(bytes).ok().map(Self::$name)),)*
                    _ => return Err(DecodeError::Unknown(kind)),
                };
                message.ok_or(DecodeError::Length { kind, wants, has: bytes.len() })
            }

            /// What every message begins with.
            #[must_use]
            pub const fn header(&self) -> &'a Header {
                match self {
                    $(Self::$name(message) => &message.header,)*
                }
            }
        }

        /// Length of a type's messages.
        #[must_use]
        pub const fn len_of(letter: u8) -> Option<usize> {
            match letter {
                $($letter => Some($len),)*
                _ => None,
            }
        }
    };
}

messages! {
    /// The day's beginnings and ends.
    SystemEvent = b'S', 12 {
        /// O, S, Q: messages, system hours, market hours begin; M, E, C: they end.
        event: u8,
    }
    /// A stock of the day.
    StockDirectory = b'R', 39 {
        /// Symbol.
        stock: Text<8>,
        /// Where it is listed.
        market_category: u8,
        /// Whether its issuer is in order.
        financial_status: u8,
        /// Shares in a round lot.
        round_lot: U32,
        /// `Y`: only round lots are accepted.
        round_lots_only: u8,
        /// Class of security.
        classification: u8,
        /// Class within the class.
        sub_type: Text<2>,
        /// `P` is live, `T` a test.
        authenticity: u8,
        /// Whether short sales are held to a threshold.
        short_sale_threshold: u8,
        /// Whether it is new.
        ipo: u8,
        /// Tier of the price limits (limit up, limit down).
        luld_tier: u8,
        /// Whether it is an exchange-traded product.
        etp: u8,
        /// How many times it follows its underlying.
        etp_leverage: U32,
        /// Whether it follows it inversely.
        inverse: u8,
    }
    /// A stock's state of trading.
    TradingAction = b'H', 25 {
        /// Symbol.
        stock: Text<8>,
        /// H halted, P paused, Q quotation only, T trading.
        state: u8,
        /// Nothing.
        reserved: u8,
        /// Why.
        reason: Text<4>,
    }
    /// Restriction of short sales.
    ShortSaleRestriction = b'Y', 20 {
        /// Symbol.
        stock: Text<8>,
        /// 0 none, 1 begins, 2 remains.
        action: u8,
    }
    /// A market participant's standing in a stock.
    ParticipantPosition = b'L', 26 {
        /// The participant.
        participant: Text<4>,
        /// Symbol.
        stock: Text<8>,
        /// `Y`: a primary market maker.
        primary: u8,
        /// Mode of market making.
        mode: u8,
        /// State of registration.
        state: u8,
    }
    /// Levels of the market-wide circuit breaker.
    BreakerLevels = b'V', 35 {
        /// First level, eight decimals.
        level_1: U64,
        /// Second level, eight decimals.
        level_2: U64,
        /// Third level, eight decimals.
        level_3: U64,
    }
    /// The market-wide circuit breaker's level was reached.
    BreakerStatus = b'W', 12 {
        /// 1, 2 or 3.
        level: u8,
    }
    /// When quoting of a new stock begins.
    QuotingPeriod = b'K', 28 {
        /// Symbol.
        stock: Text<8>,
        /// Seconds since midnight.
        release: U32,
        /// A anticipated, C cancelled or postponed.
        qualifier: u8,
        /// Price of the new stock.
        price: U32,
    }
    /// Collar of an auction after a pause by price limits.
    AuctionCollar = b'J', 35 {
        /// Symbol.
        stock: Text<8>,
        /// Price that the collar is around.
        reference: U32,
        /// Highest price.
        upper: U32,
        /// Lowest price.
        lower: U32,
        /// How many times the auction was extended.
        extension: U32,
    }
    /// A halt of one market alone.
    OperationalHalt = b'h', 21 {
        /// Symbol.
        stock: Text<8>,
        /// The market.
        market: u8,
        /// H halted, T again trading.
        action: u8,
    }
    /// An order came to rest, its owner not named.
    AddOrder = b'A', 36 {
        /// The day's number of the order.
        order: U64,
        /// B buys, S sells.
        side: u8,
        /// Shares.
        shares: U32,
        /// Symbol.
        stock: Text<8>,
        /// Price.
        price: U32,
    }
    /// An order came to rest, its owner named.
    AddOrderAttributed = b'F', 40 {
        /// The day's number of the order.
        order: U64,
        /// B buys, S sells.
        side: u8,
        /// Shares.
        shares: U32,
        /// Symbol.
        stock: Text<8>,
        /// Price.
        price: U32,
        /// The owner.
        attribution: Text<4>,
    }
    /// A resting order was executed at its price.
    Executed = b'E', 31 {
        /// The order.
        order: U64,
        /// Shares executed now.
        shares: U32,
        /// The day's number of the match.
        trade: U64,
    }
    /// A resting order was executed at another price than its own.
    ExecutedWithPrice = b'C', 36 {
        /// The order.
        order: U64,
        /// Shares executed now.
        shares: U32,
        /// The day's number of the match.
        trade: U64,
        /// `N`: another message has this volume too.
        printable: u8,
        /// Price.
        price: U32,
    }
    /// A part of an order was cancelled.
    Cancelled = b'X', 23 {
        /// The order.
        order: U64,
        /// Shares cancelled now.
        shares: U32,
    }
    /// All that was left of an order was cancelled.
    Deleted = b'D', 19 {
        /// The order.
        order: U64,
    }
    /// An order was replaced by another of the same side, stock and owner.
    Replaced = b'U', 35 {
        /// The order that goes.
        order: U64,
        /// The order that comes.
        new_order: U64,
        /// Shares of the new one.
        shares: U32,
        /// Price of the new one.
        price: U32,
    }
    /// A trade against an order that was not displayed.
    Trade = b'P', 44 {
        /// 0, or the hidden order in files before 2010.
        order: U64,
        /// Side of the hidden order; always B in later files.
        side: u8,
        /// Shares.
        shares: U32,
        /// Symbol.
        stock: Text<8>,
        /// Price.
        price: U32,
        /// The day's number of the match.
        trade: U64,
    }
    /// All that was traded in a cross.
    CrossTrade = b'Q', 40 {
        /// Shares.
        shares: U64,
        /// Symbol.
        stock: Text<8>,
        /// Price.
        price: U32,
        /// The day's number of the match.
        trade: U64,
        /// O opening, C closing, H halted or new stocks.
        cross: u8,
    }
    /// A trade was undone.
    BrokenTrade = b'B', 19 {
        /// The match that is undone.
        trade: U64,
    }
    /// Imbalance ahead of a cross.
    Imbalance = b'I', 50 {
        /// Shares that would match.
        paired: U64,
        /// Shares that would not.
        imbalance: U64,
        /// B, S, N none, O too few orders, P paused.
        direction: u8,
        /// Symbol.
        stock: Text<8>,
        /// Price at which the cross's own orders would clear.
        far: U32,
        /// Price at which all orders would clear.
        near: U32,
        /// Price that this was reckoned at.
        reference: U32,
        /// The cross.
        cross: u8,
        /// How far `near` is from the nearest inside price, as a letter.
        variation: u8,
    }
    /// Retail price improvement on offer.
    RetailInterest = b'N', 20 {
        /// Symbol.
        stock: Text<8>,
        /// B, S, A both, N none.
        interest: u8,
    }
    /// Price discovery of a direct listing with capital raise.
    DirectListing = b'O', 48 {
        /// Symbol.
        stock: Text<8>,
        /// `Y`: may be released.
        eligible: u8,
        /// Lowest price allowed.
        min_price: U32,
        /// Highest price allowed.
        max_price: U32,
        /// Price at which it would execute.
        near_price: U32,
        /// When that price was reckoned, nanoseconds since midnight.
        near_time: U64,
        /// Lowest price of the collar.
        lower: U32,
        /// Highest price of the collar.
        upper: U32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Length and letter of every type as the document's table of contents has them, in its order.
    const DOCUMENT: &[(u8, usize)] = &[
        (b'S', 12),
        (b'R', 39),
        (b'H', 25),
        (b'Y', 20),
        (b'L', 26),
        (b'V', 35),
        (b'W', 12),
        (b'K', 28),
        (b'J', 35),
        (b'h', 21),
        (b'A', 36),
        (b'F', 40),
        (b'E', 31),
        (b'C', 36),
        (b'X', 23),
        (b'D', 19),
        (b'U', 35),
        (b'P', 44),
        (b'Q', 40),
        (b'B', 19),
        (b'I', 50),
        (b'N', 20),
        (b'O', 48),
    ];

    #[test]
    fn every_type_is_there_with_its_length_and_no_other() {
        assert_eq!(KINDS.iter().map(|kind| (kind.letter, kind.len)).collect::<Vec<_>>(), DOCUMENT);
        for letter in 0..=u8::MAX {
            let len = DOCUMENT.iter().find(|entry| entry.0 == letter).map(|entry| entry.1);
            assert_eq!(len_of(letter), len);
            let mut bytes = [0; 2 * MESSAGE_MAX];
            bytes[0] = letter;
            for has in 1..bytes.len() {
                let decoded = Message::decode(&bytes[..has]).map(|message| message.header().kind);
                let expected = match len {
                    None => Err(DecodeError::Unknown(letter)),
                    Some(len) if len == has => Ok(letter),
                    Some(wants) => Err(DecodeError::Length { kind: letter, wants, has }),
                };
                assert_eq!(decoded, expected);
            }
        }
        assert_eq!(Message::decode(&[]), Err(DecodeError::Empty));
    }

    /// Offsets of fields as the document gives them, by messages whose bytes are their offsets.
    #[test]
    fn fields_are_where_the_document_has_them() {
        let bytes = |letter: u8| {
            let mut bytes: Vec<u8> = (0..len_of(letter).unwrap() as u8).collect();
            bytes[0] = letter;
            bytes
        };
        let u32_at = |at: u8| u32::from_be_bytes([at, at + 1, at + 2, at + 3]);
        let u64_at = |at: u8| u64::from_be_bytes(core::array::from_fn(|i| at + i as u8));
        let add = bytes(b'F');
        let Ok(Message::AddOrderAttributed(add)) = Message::decode(&add) else { panic!() };
        assert_eq!((add.header.locate.get(), add.header.tracking.get()), (0x0102, 0x0304));
        assert_eq!(add.header.time.nanos(), 0x0506_0708_090a);
        assert_eq!((add.order.get(), add.side, add.shares.get()), (u64_at(11), 19, u32_at(20)));
        assert_eq!((add.stock.0[0], add.price.get(), add.attribution.0[0]), (24, u32_at(32), 36));
        let replaced = bytes(b'U');
        let Ok(Message::Replaced(replaced)) = Message::decode(&replaced) else { panic!() };
        assert_eq!((replaced.order.get(), replaced.new_order.get()), (u64_at(11), u64_at(19)));
        assert_eq!((replaced.shares.get(), replaced.price.get()), (u32_at(27), u32_at(31)));
        let executed = bytes(b'C');
        let Ok(Message::ExecutedWithPrice(executed)) = Message::decode(&executed) else { panic!() };
        assert_eq!((executed.shares.get(), executed.trade.get()), (u32_at(19), u64_at(23)));
        assert_eq!((executed.printable, executed.price.get()), (31, u32_at(32)));
        let directory = bytes(b'R');
        let Ok(Message::StockDirectory(directory)) = Message::decode(&directory) else { panic!() };
        assert_eq!((directory.market_category, directory.financial_status), (19, 20));
        assert_eq!((directory.round_lot.get(), directory.round_lots_only), (u32_at(21), 25));
        assert_eq!((directory.classification, directory.sub_type.0[0], directory.authenticity), (26, 27, 29));
        assert_eq!((directory.luld_tier, directory.etp, directory.inverse), (32, 33, 38));
        let imbalance = bytes(b'I');
        let Ok(Message::Imbalance(imbalance)) = Message::decode(&imbalance) else { panic!() };
        assert_eq!(
            (imbalance.direction, imbalance.far.get(), imbalance.near.get()),
            (27, u32_at(36), u32_at(40))
        );
        assert_eq!((imbalance.reference.get(), imbalance.cross, imbalance.variation), (u32_at(44), 48, 49));
        let trade = bytes(b'P');
        let Ok(Message::Trade(trade)) = Message::decode(&trade) else { panic!() };
        assert_eq!(
            (trade.shares.get(), trade.price.get(), trade.trade.get()),
            (u32_at(20), u32_at(32), u64_at(36))
        );
        let listing = bytes(b'O');
        let Ok(Message::DirectListing(listing)) = Message::decode(&listing) else { panic!() };
        assert_eq!(
            (listing.eligible, listing.near_time.get(), listing.upper.get()),
            (19, u64_at(32), u32_at(44))
        );
    }

    #[test]
    fn text_is_shown_without_padding_and_hostile_bytes_as_escapes() {
        assert_eq!(Text::<8>::new("AAPL").to_string(), "AAPL");
        assert_eq!(Text::<2>::new("LONG").to_string(), "LO");
        assert_eq!(Text([0x1b, b'[', 0xff, b' ']).to_string(), "\\x1b[\\xff");
        assert_eq!(Time::new(34_200_000_000_000).nanos(), 34_200_000_000_000);
    }
}
