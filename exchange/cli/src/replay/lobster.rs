//! LOBSTER files: messages and the ten best levels after each, and how a venue is driven and checked
//! with them.
//!
//! The files show what happened inside a window of levels. Three consequences shape this module:
//!
//! * Orders that stood before the file began are known only as level totals. Each level of the first row
//!   is opened with one *seed* order, which stands at the front for all of them; messages about unknown
//!   orders act on the seed of their price.
//! * A level that leaves the window is kept as it was. When a level from below the previous row's window
//!   comes up and differs, it is resynchronised: its orders are withdrawn and one seed order is put there.
//! * What lay inside the previous row's window must agree in every price and quantity.

use std::collections::BTreeMap;
use std::fmt;

/// Levels of a row, per side.
const DEPTH: usize = 10;

/// Side of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// Bids.
    Buy,
    /// Offers.
    Sell,
}

impl Side {
    /// The other side.
    #[must_use]
    pub const fn opposite(self) -> Self {
        match self {
            Self::Buy => Self::Sell,
            Self::Sell => Self::Buy,
        }
    }

    /// Whether price `a` is behind price `b` on this side of the book.
    #[must_use]
    pub const fn is_worse(self, a: i64, b: i64) -> bool {
        match self {
            Self::Buy => a < b,
            Self::Sell => a > b,
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Buy => "bids",
            Self::Sell => "offers",
        })
    }
}

/// What a row of the message file says happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A limit order came to rest.
    Add,
    /// A part of an order was cancelled.
    Reduce,
    /// The rest of an order was cancelled.
    Delete,
    /// A visible order was executed.
    Execute,
    /// A hidden order was executed: nothing of the visible book changed.
    Hidden,
    /// A cross or auction trade.
    Cross,
    /// A trading halt or its end.
    Halt,
}

/// A row of the message file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// What happened.
    pub event: Event,
    /// Nanoseconds since midnight.
    pub time: u64,
    /// The file's own order number.
    pub order: u64,
    /// Shares.
    pub size: u64,
    /// Price, dollars x 10,000.
    pub price: i64,
    /// Side of the resting order.
    pub side: Side,
}

/// A row of the book file: (price, size) by side, best first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    bids: Vec<(i64, u64)>,
    asks: Vec<(i64, u64)>,
}

impl Row {
    /// A side's levels, best first.
    #[must_use]
    pub fn side(&self, side: Side) -> &[(i64, u64)] {
        match side {
            Side::Buy => &self.bids,
            Side::Sell => &self.asks,
        }
    }

    /// A side's best price.
    #[must_use]
    pub fn best(&self, side: Side) -> Option<i64> {
        self.side(side).first().map(|(price, _)| *price)
    }
}

/// Why a file cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// Line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub cause: String,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}. Check that this is a LOBSTER file of the right kind", self.line, self.cause)
    }
}

fn field<T: std::str::FromStr>(text: Option<&str>, what: &str, line: usize) -> Result<T, ParseError> {
    let text = text.ok_or_else(|| ParseError { line, cause: format!("it has no {what}") })?;
    text.trim().parse().map_err(|_| ParseError { line, cause: format!("`{text}` is no {what}") })
}

/// Seconds since midnight with decimals, of which nine count, as nanoseconds.
fn nanos(text: &str) -> Option<u64> {
    let (seconds, decimals) = text.split_once('.').unwrap_or((text, ""));
    let digits = decimals.bytes().all(|byte| byte.is_ascii_digit());
    let nanos: u64 = format!("{decimals:0<9.9}").parse().ok().filter(|_| digits)?;
    seconds.parse::<u64>().ok()?.checked_mul(1_000_000_000)?.checked_add(nanos)
}

/// Reads a message file. A seventh column, which some files have, is ignored.
///
/// # Errors
/// [`ParseError`] at the first line that is no message.
pub fn messages(text: &str) -> Result<Vec<Message>, ParseError> {
    let rows = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    rows.map(|(at, row)| {
        let line = at + 1;
        let mut columns = row.split(',');
        let time = columns.next().unwrap_or_default();
        let time =
            nanos(time.trim()).ok_or_else(|| ParseError { line, cause: format!("`{time}` is no time") })?;
        let event = match field::<u8>(columns.next(), "event type", line)? {
            1 => Event::Add,
            2 => Event::Reduce,
            3 => Event::Delete,
            4 => Event::Execute,
            5 => Event::Hidden,
            6 => Event::Cross,
            7 => Event::Halt,
            other => {
                return Err(ParseError { line, cause: format!("{other} is no event type from 1 to 7") });
            }
        };
        let order = field::<i64>(columns.next(), "order number", line)?;
        let size = field(columns.next(), "size", line)?;
        let price = field(columns.next(), "price", line)?;
        let side = match field::<i8>(columns.next(), "direction", line)? {
            1 => Side::Buy,
            -1 => Side::Sell,
            other => return Err(ParseError { line, cause: format!("{other} is no direction: 1 or -1") }),
        };
        Ok(Message { event, time, order: order.unsigned_abs(), size, price, side })
    })
    .collect()
}

/// Reads a book file.
///
/// # Errors
/// [`ParseError`] at the first line that is no row of whole levels.
pub fn rows(text: &str) -> Result<Vec<Row>, ParseError> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(at, line_text)| {
            let line = at + 1;
            let columns: Vec<&str> = line_text.split(',').collect();
            if !columns.len().is_multiple_of(4) || columns.is_empty() {
                let cause = format!("{} columns make no whole levels of four", columns.len());
                return Err(ParseError { line, cause });
            }
            let mut row = Row::default();
            for level in columns.chunks_exact(4).take(DEPTH) {
                let number = |at: usize| field::<i64>(Some(level[at]), "number", line);
                let (ask, ask_size, bid, bid_size) = (number(0)?, number(1)?, number(2)?, number(3)?);
                // Levels that do not exist are marked by size 0 and an impossible price.
                if ask_size > 0 {
                    row.asks.push((ask, ask_size.unsigned_abs()));
                }
                if bid_size > 0 {
                    row.bids.push((bid, bid_size.unsigned_abs()));
                }
            }
            Ok(row)
        })
        .collect()
}

/// A fill as the maker hears of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fill {
    /// The venue's number of the maker's order.
    pub maker: u64,
    /// Price.
    pub price: i64,
    /// Quantity.
    pub quantity: u64,
}

impl fmt::Display for Fill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {} of the venue's order {}", self.quantity, self.price, self.maker)
    }
}

fn list(fills: &[Fill]) -> String {
    let fills: Vec<String> = fills.iter().map(Fill::to_string).collect();
    if fills.is_empty() { "nothing".to_owned() } else { fills.join(" and ") }
}

/// What is driven. Orders are named by the venue's numbers.
pub trait Venue {
    /// What goes wrong with it.
    type Error;

    /// Rests a limit order and gives its number.
    ///
    /// # Errors
    /// If the venue refuses or cannot be reached; so for all of these.
    fn add(&mut self, side: Side, price: i64, quantity: u64) -> Result<u64, Self::Error>;

    /// Sets the total quantity of an order, filled part included, without loss of priority.
    ///
    /// # Errors
    /// As [`Venue::add`].
    fn reduce(&mut self, order: u64, price: i64, total: u64) -> Result<(), Self::Error>;

    /// Cancels an order.
    ///
    /// # Errors
    /// As [`Venue::add`].
    fn cancel(&mut self, order: u64) -> Result<(), Self::Error>;

    /// Sends an immediate order that takes at most `quantity` at `price` or better; the fills that the
    /// makers heard of, in order.
    ///
    /// # Errors
    /// As [`Venue::add`].
    fn take(&mut self, side: Side, price: i64, quantity: u64) -> Result<Vec<Fill>, Self::Error>;

    /// All levels of a side that are at `worst` or better, best first.
    ///
    /// # Errors
    /// As [`Venue::add`].
    fn levels(&mut self, side: Side, worst: i64) -> Result<Vec<(i64, u64)>, Self::Error>;
}

/// What came of a replay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Rows whose book was compared.
    pub rows: u64,
    /// Rows in which at least one level was resynchronised.
    pub resynchronised_rows: u64,
    /// Levels resynchronised.
    pub resynchronised_levels: u64,
    /// Levels compared and found equal.
    pub levels: u64,
    /// Executions compared (maker, price, quantity).
    pub executions: u64,
    /// Executions not compared because a resynchronisation had touched the maker's level.
    pub executions_touched: u64,
    /// Hidden executions skipped.
    pub hidden: u64,
    /// Crosses skipped.
    pub crosses: u64,
    /// Halts skipped.
    pub halts: u64,
    /// Levels, executions or orders that differ.
    pub differing: u64,
    /// The first differences, in words.
    pub differences: Vec<String>,
}

/// Differences kept in words.
const DIFFERENCES_MAX: usize = 20;

impl Outcome {
    /// Nothing differs, and at least 95 % of the rows needed no resynchronisation.
    #[must_use]
    pub const fn is_good(&self) -> bool {
        self.differing == 0 && self.resynchronised_rows * 20 <= self.rows
    }

    fn differ(&mut self, row: usize, what: String) {
        self.differing += 1;
        if self.differences.len() < DIFFERENCES_MAX {
            self.differences.push(format!("row {row}: {what}"));
        }
    }
}

/// An order that the venue holds for us.
#[derive(Clone, Copy, Debug)]
struct Resting {
    venue: u64,
    side: Side,
    price: i64,
    /// Total quantity ever, filled part included.
    total: u64,
    open: u64,
}

/// Drives a venue with a file.
struct Player<'a, V> {
    venue: &'a mut V,
    /// By the file's number.
    known: BTreeMap<u64, Resting>,
    /// One per side and price, for all orders that the file does not name.
    seeds: BTreeMap<(Side, i64), Resting>,
    /// Prices whose orders a resynchronisation put there.
    touched: BTreeMap<(Side, i64), ()>,
    outcome: Outcome,
    row: usize,
}

/// Seeds the venue from the first row, plays the messages from the second on, and compares the book with
/// every row.
///
/// # Errors
/// What the venue says.
pub fn play<V: Venue>(
    venue: &mut V,
    messages: &[Message],
    rows: &[Row],
    mut progress: impl FnMut(usize),
) -> Result<Outcome, V::Error> {
    let mut player = Player {
        venue,
        known: BTreeMap::new(),
        seeds: BTreeMap::new(),
        touched: BTreeMap::new(),
        outcome: Outcome::default(),
        row: 1,
    };
    let (Some(first), Some(opening)) = (rows.first(), messages.first()) else { return Ok(player.outcome) };
    player.seed(first, opening)?;
    for (at, (message, pair)) in messages[1..].iter().zip(rows.windows(2)).enumerate() {
        player.row = at + 2;
        player.apply(message)?;
        player.compare(&pair[0], &pair[1])?;
        progress(at + 1);
    }
    Ok(player.outcome)
}

impl<V: Venue> Player<'_, V> {
    /// Opens the book as the first row shows it: the order that the first message added stands by itself,
    /// behind the seed of its level.
    fn seed(&mut self, row: &Row, opening: &Message) -> Result<(), V::Error> {
        for side in [Side::Buy, Side::Sell] {
            for &(price, size) in row.side(side) {
                let is_opening =
                    opening.event == Event::Add && (opening.side, opening.price) == (side, price);
                let own = if is_opening { opening.size.min(size) } else { 0 };
                self.put_seed(side, price, size - own)?;
                if own > 0 {
                    let resting = self.put(side, price, own)?;
                    self.known.insert(opening.order, resting);
                }
            }
        }
        Ok(())
    }

    fn put(&mut self, side: Side, price: i64, size: u64) -> Result<Resting, V::Error> {
        let venue = self.venue.add(side, price, size)?;
        Ok(Resting { venue, side, price, total: size, open: size })
    }

    fn put_seed(&mut self, side: Side, price: i64, size: u64) -> Result<(), V::Error> {
        if size > 0 {
            let resting = self.put(side, price, size)?;
            self.seeds.insert((side, price), resting);
        }
        Ok(())
    }

    fn apply(&mut self, message: &Message) -> Result<(), V::Error> {
        match message.event {
            Event::Add => {
                let resting = self.put(message.side, message.price, message.size)?;
                self.known.insert(message.order, resting);
            }
            Event::Reduce | Event::Delete => self.withdraw(message)?,
            Event::Execute => self.execute(message)?,
            Event::Hidden => self.outcome.hidden += 1,
            Event::Cross => self.outcome.crosses += 1,
            Event::Halt => self.outcome.halts += 1,
        }
        Ok(())
    }

    /// The order that a message means: the one it names, or else the seed of its price.
    fn meant(&mut self, message: &Message) -> Option<&mut Resting> {
        match self.known.get_mut(&message.order) {
            Some(resting) => Some(resting),
            None => self.seeds.get_mut(&(message.side, message.price)),
        }
    }

    /// Forgets the order that a message means if nothing of it is open.
    fn forget_if_done(&mut self, message: &Message) {
        if self.meant(message).is_some_and(|resting| resting.open == 0)
            && self.known.remove(&message.order).is_none()
        {
            self.seeds.remove(&(message.side, message.price));
        }
    }

    fn withdraw(&mut self, message: &Message) -> Result<(), V::Error> {
        let is_known = self.known.contains_key(&message.order);
        let Some(resting) = self.meant(message) else {
            let what = format!("nothing stands at {} for order {}", message.price, message.order);
            self.outcome.differ(self.row, what);
            return Ok(());
        };
        let is_whole = is_known && message.event == Event::Delete;
        if message.size > resting.open || (is_whole && message.size != resting.open) {
            let what = format!(
                "order {} has {} open, the file withdraws {}",
                message.order, resting.open, message.size
            );
            self.outcome.differ(self.row, what);
            return Ok(());
        }
        resting.open -= message.size;
        resting.total -= message.size;
        let resting = *resting;
        if resting.open == 0 {
            self.venue.cancel(resting.venue)?;
        } else {
            self.venue.reduce(resting.venue, resting.price, resting.total)?;
        }
        self.forget_if_done(message);
        Ok(())
    }

    fn execute(&mut self, message: &Message) -> Result<(), V::Error> {
        let fills = self.venue.take(message.side.opposite(), message.price, message.size)?;
        let expected = self.meant(message).map(|resting| {
            // The venue's fills are what counts; this is what the file says they are.
            resting.open = resting.open.saturating_sub(message.size);
            Fill { maker: resting.venue, price: message.price, quantity: message.size }
        });
        if fills.as_slice() == expected.as_slice() {
            self.outcome.executions += 1;
        } else if self.touched.contains_key(&(message.side, message.price)) {
            self.outcome.executions_touched += 1;
            self.settle_touched(message, &fills);
        } else {
            let what = format!(
                "order {}: the file fills {}, the venue {}",
                message.order,
                list(expected.as_slice()),
                list(&fills)
            );
            self.outcome.differ(self.row, what);
        }
        self.forget_if_done(message);
        Ok(())
    }

    /// On a resynchronised level the file may name an order that the seed stands for in the venue, or the
    /// other way round: what was really filled is booked.
    fn settle_touched(&mut self, message: &Message, fills: &[Fill]) {
        if let Some(resting) = self.meant(message) {
            resting.open = (resting.open + message.size).min(resting.total);
        }
        for fill in fills {
            let all = self.known.values_mut().chain(self.seeds.values_mut());
            for resting in all.filter(|resting| resting.venue == fill.maker) {
                resting.open = resting.open.saturating_sub(fill.quantity);
            }
        }
        self.known.retain(|_, resting| resting.open > 0);
        self.seeds.retain(|_, resting| resting.open > 0);
    }

    /// Compares the venue's book with a row; `before` is the row before, whose window is all that the file
    /// vouched for.
    fn compare(&mut self, before: &Row, row: &Row) -> Result<(), V::Error> {
        let resynchronised = self.outcome.resynchronised_levels;
        for side in [Side::Buy, Side::Sell] {
            let shown = row.side(side);
            // A window that is not full shows the whole side.
            let edge = |row: &[(i64, u64)]| if row.len() < DEPTH { None } else { row.last().map(|l| l.0) };
            let everything = if side == Side::Buy { i64::MIN } else { i64::MAX };
            let worst = edge(shown).unwrap_or(everything);
            let vouched = edge(before.side(side)).unwrap_or(everything);
            let held: BTreeMap<i64, u64> = self.venue.levels(side, worst)?.into_iter().collect();
            let wanted: BTreeMap<i64, u64> = shown.iter().copied().collect();
            let prices: BTreeMap<i64, ()> =
                held.keys().chain(wanted.keys()).map(|price| (*price, ())).collect();
            for price in prices.into_keys() {
                let (has, wants) = (held.get(&price).copied(), wanted.get(&price).copied());
                if has == wants {
                    self.outcome.levels += 1;
                } else if side.is_worse(price, vouched) {
                    self.resynchronise(side, price, wants.unwrap_or(0))?;
                } else {
                    let what = {
                        let (has, wants) = (has.unwrap_or(0), wants.unwrap_or(0));
                        format!("{side} at {price}: the file shows {wants}, the venue {has}")
                    };
                    self.outcome.differ(self.row, what);
                }
            }
        }
        self.outcome.rows += 1;
        self.outcome.resynchronised_rows += u64::from(self.outcome.resynchronised_levels > resynchronised);
        Ok(())
    }

    /// Withdraws every order of a level and puts one seed order of `size` there.
    fn resynchronise(&mut self, side: Side, price: i64, size: u64) -> Result<(), V::Error> {
        self.outcome.resynchronised_levels += 1;
        self.touched.insert((side, price), ());
        let here = |resting: &Resting| (resting.side, resting.price) == (side, price);
        let gone: Vec<(u64, u64)> =
            self.known.iter().filter(|(_, r)| here(r)).map(|(id, r)| (*id, r.venue)).collect();
        for (id, venue) in gone {
            self.venue.cancel(venue)?;
            self.known.remove(&id);
        }
        if let Some(seed) = self.seeds.remove(&(side, price)) {
            self.venue.cancel(seed.venue)?;
        }
        self.put_seed(side, price, size)
    }
}
