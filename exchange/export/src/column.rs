//! Columns.

/// A column: its name, its type, and how a row is asked for it.
#[derive(Debug)]
pub struct Column<R> {
    pub(crate) name: &'static str,
    pub(crate) ask: Ask<R>,
}

/// What a column holds, and how a row is asked for it. In Parquet all of them are INT32, INT64 or BYTE_ARRAY.
#[derive(Debug)]
pub(crate) enum Ask<R> {
    U16(fn(&R) -> u16),
    U32(fn(&R) -> u32),
    U64(fn(&R) -> u64),
    U64OrNone(fn(&R) -> Option<u64>),
    I64(fn(&R) -> i64),
    I64OrNone(fn(&R) -> Option<i64>),
    Money(fn(&R) -> i128),
    Time(fn(&R) -> u64),
    Text(fn(&R) -> &'static str),
    TextOrNone(fn(&R) -> &'static str),
}

/// A value of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cell {
    None,
    Number(i128),
    Text(&'static str),
}

impl Cell {
    pub const fn number(self) -> Option<i128> {
        if let Self::Number(number) = self { Some(number) } else { None }
    }

    pub const fn text(self) -> Option<&'static str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }
}

impl<R> Column<R> {
    /// Numbers from 0 to 2^16 - 1.
    pub const fn u16(name: &'static str, ask: fn(&R) -> u16) -> Self {
        Self { name, ask: Ask::U16(ask) }
    }

    /// Numbers from 0 to 2^32 - 1.
    pub const fn u32(name: &'static str, ask: fn(&R) -> u32) -> Self {
        Self { name, ask: Ask::U32(ask) }
    }

    /// Numbers from 0 to 2^64 - 1.
    pub const fn u64(name: &'static str, ask: fn(&R) -> u64) -> Self {
        Self { name, ask: Ask::U64(ask) }
    }

    /// The same, of rows that have it.
    pub const fn u64_or_none(name: &'static str, ask: fn(&R) -> Option<u64>) -> Self {
        Self { name, ask: Ask::U64OrNone(ask) }
    }

    /// Numbers from -2^63 to 2^63 - 1.
    pub const fn i64(name: &'static str, ask: fn(&R) -> i64) -> Self {
        Self { name, ask: Ask::I64(ask) }
    }

    /// The same, of rows that have it.
    pub const fn i64_or_none(name: &'static str, ask: fn(&R) -> Option<i64>) -> Self {
        Self { name, ask: Ask::I64OrNone(ask) }
    }

    /// Sums of money. In Parquet they must be from -2^63 to 2^63 - 1.
    pub const fn money(name: &'static str, ask: fn(&R) -> i128) -> Self {
        Self { name, ask: Ask::Money(ask) }
    }

    /// Nanoseconds since 1970, UTC. In Parquet, a timestamp, which must be below 2^63.
    pub const fn time(name: &'static str, ask: fn(&R) -> u64) -> Self {
        Self { name, ask: Ask::Time(ask) }
    }

    /// Text.
    pub const fn text(name: &'static str, ask: fn(&R) -> &'static str) -> Self {
        Self { name, ask: Ask::Text(ask) }
    }

    /// Text; rows that answer with the empty one have none.
    pub const fn text_or_none(name: &'static str, ask: fn(&R) -> &'static str) -> Self {
        Self { name, ask: Ask::TextOrNone(ask) }
    }

    /// Whether a row may be without it.
    pub(crate) const fn may_be_none(&self) -> bool {
        matches!(self.ask, Ask::U64OrNone(_) | Ask::I64OrNone(_) | Ask::TextOrNone(_))
    }

    /// What a row has in this column.
    pub(crate) fn cell(&self, row: &R) -> Cell {
        match self.ask {
            Ask::U16(ask) => Cell::Number(ask(row).into()),
            Ask::U32(ask) => Cell::Number(ask(row).into()),
            Ask::U64(ask) | Ask::Time(ask) => Cell::Number(ask(row).into()),
            Ask::U64OrNone(ask) => ask(row).map_or(Cell::None, |number| Cell::Number(number.into())),
            Ask::I64(ask) => Cell::Number(ask(row).into()),
            Ask::I64OrNone(ask) => ask(row).map_or(Cell::None, |number| Cell::Number(number.into())),
            Ask::Money(ask) => Cell::Number(ask(row)),
            Ask::Text(ask) => Cell::Text(ask(row)),
            Ask::TextOrNone(ask) => match ask(row) {
                "" => Cell::None,
                text => Cell::Text(text),
            },
        }
    }
}
