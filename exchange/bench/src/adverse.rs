//! Flows that ask of the engine what costs most: many orders at a price, many prices, orders that come and go at once,
//! owners who cancel everything, accounts at their limits. Beside them the flows that they are to be compared with.
//!
//! A flow's answer to how much worse it can get is its figures over those of `book`, which does the same to an
//! ordinary book, or of `narrow`.

use crate::engine::{Bench, Requests};
use crate::flow::{Flow, REQUEST_MAX, Random, Settings, definition, setup};
use ordain_exchange_engine::Limits;
use ordain_exchange_protocol::{
    Amend, Cancel, CreateAccount, CreateInstrument, Grant, GrantAction, IntoBytes, MassCancel, NewOrder,
    OrderRef, Request, Scope, SetInstrumentLimits, SetLimits, Side, Sides, TimeInForce, Transfer, note,
};
use rustc_hash::FxHashMap;
use std::collections::VecDeque;
use zerocopy::Immutable;

/// A flow by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adverse {
    /// An ordinary book: 100 prices a side, 10 orders at each.
    Book,
    /// One price a side, 100,000 orders at it.
    OnePrice,
    /// 50,000 prices a side, one order at each.
    Levels,
    /// Orders in front of all others, cancelled at once.
    Quotes,
    /// Orders that take turns at being the best price, and go.
    Best,
    /// 1,000 orders of one lot, and then one that takes them all.
    Crossing,
    /// Owners of ten orders each among 200,000, who cancel them all and enter them anew.
    MassCancel10,
    /// The same with 1,000 orders each.
    MassCancel1000,
    /// An ordinary book, with client order ids that differ in few bits at a time.
    Collisions,
    /// Every account holds as many orders and lots as its limits let it, and tries for more.
    Limits,
    /// The bench's own flow in one instrument, from one account.
    Narrow,
    /// The bench's own flow in 10,000 instruments, from a million accounts.
    Wide,
}

impl Adverse {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Book,
        Self::OnePrice,
        Self::Levels,
        Self::Quotes,
        Self::Best,
        Self::Crossing,
        Self::MassCancel10,
        Self::MassCancel1000,
        Self::Collisions,
        Self::Limits,
        Self::Narrow,
        Self::Wide,
    ];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Book => "book",
            Self::OnePrice => "one-price",
            Self::Levels => "levels",
            Self::Quotes => "quotes",
            Self::Best => "best",
            Self::Crossing => "crossing",
            Self::MassCancel10 => "mass-cancel-10",
            Self::MassCancel1000 => "mass-cancel-1000",
            Self::Collisions => "collisions",
            Self::Limits => "limits",
            Self::Narrow => "narrow",
            Self::Wide => "wide",
        }
    }

    /// The engine with the flow running into it, all its numbers divided by `part`: 1 for what the names say.
    #[must_use]
    pub fn bench(self, part: u32) -> Bench<Box<dyn Requests>> {
        match self {
            Self::Narrow => scene(
                Limits { instruments: 1, orders_per_account: 1 << 18, ..Limits::DEFAULT },
                setup(&narrow(part), 1).collect(),
                Flow::new(&narrow(part)),
            ),
            Self::Wide => wide(part),
            _ => self.on_a_book(part),
        }
    }

    fn on_a_book(self, part: u32) -> Bench<Box<dyn Requests>> {
        // Prices a side and orders at each.
        let (prices, orders) = match self {
            Self::OnePrice => (1, 100_000 / part),
            Self::Levels => (50_000 / part, 1),
            Self::MassCancel10 | Self::MassCancel1000 => (1_000, 100 / part.min(50)),
            _ => (100, 10),
        };
        let does = match self {
            Self::Quotes => Does::Quote,
            Self::Best => Does::Lead,
            Self::Crossing => Does::Cross(1_000 / part.min(10)),
            Self::MassCancel10 => Does::CancelAll(10),
            Self::MassCancel1000 => Does::CancelAll(1_000 / part.min(10)),
            Self::Limits => Does::Press,
            _ => Does::Churn,
        };
        let total = 2 * prices * orders;
        let accounts = match does {
            Does::CancelAll(each) => total / each,
            _ => 1_000.min(total),
        };
        let limits = Limits {
            instruments: 1,
            levels_per_side: prices + 2 * LEADS,
            accounts,
            orders: total + (1 << 12),
            orders_per_account: total + (1 << 12),
            ..Limits::DEFAULT
        };
        let mut market = Market {
            random: Random(1),
            does,
            prices: i64::from(prices),
            accounts,
            scatter: self == Self::Collisions,
            turn: 0,
            next: 0,
            sweeping: 0,
            rebuild: 0,
            orders: Vec::new(),
            places: FxHashMap::default(),
            fronts: [VecDeque::new(), VecDeque::new()],
        };
        let mut requests = commands(1, accounts, 1 << 40);
        for order in 0..total {
            let (side, price) = (order.is_multiple_of(2), i64::from(order / 2 % prices) + 1);
            requests.push(market.add(order % accounts + 1, side, price).as_bytes().to_vec());
        }
        if does == Does::Press {
            for account in 1..=accounts {
                let held = total / accounts;
                let mut limits = SetLimits::new(Scope::Account, account, note("at its limits"));
                limits.orders = held.into();
                let mut lots = SetInstrumentLimits::new(account, 1, note("at its limits"));
                lots.open = (LOTS * u64::from(held)).into();
                requests.extend([limits.as_bytes().to_vec(), lots.as_bytes().to_vec()]);
            }
        }
        scene(limits, requests, (market, [0; REQUEST_MAX]))
    }
}

fn scene<R: Requests + 'static>(
    limits: Limits,
    setup: Vec<Vec<u8>>,
    requests: R,
) -> Bench<Box<dyn Requests>> {
    Bench::with(limits, setup, Box::new(requests) as Box<dyn Requests>)
}

/// Commands that make instruments of one base and one quote currency, and accounts with funds in both.
fn commands(instruments: u32, accounts: u32, funds: u64) -> Vec<Vec<u8>> {
    let mut commands = Vec::new();
    for id in 1..=instruments {
        let mut definition = definition(id);
        (definition.base, definition.quote) = (1.into(), 2.into());
        commands.push(CreateInstrument::new(definition).as_bytes().to_vec());
    }
    for account in 1..=accounts {
        commands.push(CreateAccount::new(account).as_bytes().to_vec());
        commands.push(Grant::new(GrantAction::Grant, account, 1).as_bytes().to_vec());
        for currency in [1, 2] {
            let deposit = Transfer::deposit(account, currency, currency.into(), funds);
            commands.push(deposit.as_bytes().to_vec());
        }
    }
    commands
}

fn narrow(part: u32) -> Settings {
    Settings { accounts: 1, instruments: 1, live_max: (1 << 17) / part as usize, ..Settings::default() }
}

/// Of an account and an instrument of the bench's flow, this many are made, by client order id.
const ACCOUNTS_EACH: u32 = 16;
const INSTRUMENTS_EACH: u32 = 40;

/// The bench's flow, its accounts and instruments multiplied.
struct Wide {
    flow: Flow,
    settings: Settings,
    request: [u8; REQUEST_MAX],
}

fn wide(part: u32) -> Bench<Box<dyn Requests>> {
    let settings =
        Settings { accounts: 62_500 / part, instruments: 250 / part.min(50), ..Settings::default() };
    let (instruments, accounts) =
        (settings.instruments * INSTRUMENTS_EACH, settings.accounts * ACCOUNTS_EACH);
    let limits = Limits { instruments, accounts, currencies: 2, transfers: 1 << 12, ..Limits::DEFAULT };
    let requests = Wide { flow: Flow::new(&settings), settings, request: [0; REQUEST_MAX] };
    scene(limits, commands(instruments, accounts, 1 << 40), requests)
}

impl Requests for Wide {
    fn next_request(&mut self) -> &[u8] {
        let Settings { accounts, instruments, .. } = self.settings;
        // The same order always means the same account and instrument.
        let spread = |id: u64| (id as u32).wrapping_mul(0x9e37_79b9) >> 16;
        let account = |id: u64, account: u32| account + accounts * (spread(id) % ACCOUNTS_EACH);
        let len = match Request::decode(self.flow.next_request()).expect("the flow's are well formed") {
            Request::NewOrder(order) => {
                let id = order.client_order_id.get();
                let instrument = order.instrument.get() + instruments * (spread(id) % INSTRUMENTS_EACH);
                let account = account(id, order.account.get()).into();
                put(&mut self.request, &NewOrder { account, instrument: instrument.into(), ..*order })
            }
            Request::Cancel(cancel) => {
                let account = account(cancel.client_order_id.get(), cancel.account.get()).into();
                put(&mut self.request, &Cancel { account, ..*cancel })
            }
            Request::Amend(amend) => {
                let account = account(amend.client_order_id.get(), amend.account.get()).into();
                put(&mut self.request, &Amend { account, ..*amend })
            }
            other => unreachable!("not of the flow: {other:?}"),
        };
        &self.request[..len]
    }
}

fn put(request: &mut [u8; REQUEST_MAX], message: &(impl IntoBytes + Immutable)) -> usize {
    let bytes = message.as_bytes();
    request[..bytes.len()].copy_from_slice(bytes);
    bytes.len()
}

/// What a market's flow does all the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Does {
    /// Adds and cancels anywhere in the book; each tenth order takes the oldest one at the best price.
    Churn,
    Quote,
    Lead,
    Cross(u32),
    CancelAll(u32),
    Press,
}

/// Lots of an order.
const LOTS: u64 = 10;
/// Where prices are around: far enough above 0 for 50,000 of them.
const MIDDLE: i64 = 100_000;
/// Prices in front of the book's first ones that orders come and go at.
const LEADS: u32 = 8;

/// The `place`-th price of a side, from 1; at 0 and below, in front of the book, as far as the sides do not meet.
const fn price(buys: bool, place: i64) -> i64 {
    let away = place + LEADS as i64;
    if buys { MIDDLE - away } else { MIDDLE + away }
}

/// An order that rests.
#[derive(Clone, Copy)]
struct Entry {
    id: u64,
    account: u32,
    buys: bool,
}

/// A flow on one book that knows what rests in it: all that it cancels is there.
struct Market {
    random: Random,
    does: Does,
    prices: i64,
    accounts: u32,
    scatter: bool,
    turn: u64,
    next: u64,
    /// The account that enters its orders anew, and how many are to come.
    sweeping: u32,
    rebuild: u32,
    orders: Vec<Entry>,
    places: FxHashMap<u64, usize>,
    /// By side, what was entered at the book's first price, oldest first; cancelled ones too.
    fronts: [VecDeque<u64>; 2],
}

impl Market {
    const fn side(buys: bool) -> Side {
        if buys { Side::Buy } else { Side::Sell }
    }

    /// A client order id. Those that are to collide count in the upper half of the word, in steps that hash tables
    /// like least.
    fn id(&mut self) -> u64 {
        self.next += 1;
        if self.scatter { self.next.rotate_right(20) } else { self.next }
    }

    /// An order at the `place`-th price of its side, from 1; below that, in front of the book.
    fn add(&mut self, account: u32, buys: bool, place: i64) -> NewOrder {
        let id = self.id();
        self.places.insert(id, self.orders.len());
        self.orders.push(Entry { id, account, buys });
        if place == 1 {
            self.fronts[usize::from(buys)].push_back(id);
        }
        NewOrder::limit(account, 1, id, Self::side(buys), price(buys, place), LOTS)
    }

    fn forget(&mut self, id: u64) -> Option<Entry> {
        let at = self.places.remove(&id)?;
        let entry = self.orders.swap_remove(at);
        if let Some(moved) = self.orders.get(at) {
            self.places.insert(moved.id, at);
        }
        Some(entry)
    }

    fn anybody(&mut self) -> u32 {
        self.random.below(self.accounts.into()) as u32 + 1
    }

    fn add_anywhere(&mut self) -> NewOrder {
        let (account, buys) = (self.anybody(), self.random.below(2) == 0);
        let place = self.random.below(self.prices as u64) as i64 + 1;
        self.add(account, buys, place)
    }

    fn cancel(&mut self, id: u64) -> Cancel {
        let entry = self.forget(id).expect("it rests");
        Cancel::new(entry.account, OrderRef::Client(id))
    }

    fn cancel_any(&mut self) -> Cancel {
        let at = self.random.below(self.orders.len() as u64) as usize;
        self.cancel(self.orders[at].id)
    }

    /// Twenty requests: nine times an order and a cancel, then an order that takes the oldest at the best price, and
    /// one in its place.
    fn churn(&mut self, request: &mut [u8; REQUEST_MAX]) -> usize {
        let buys = (self.turn / 20).is_multiple_of(2);
        match self.turn % 20 {
            18 => {
                let front = loop {
                    match self.fronts[usize::from(buys)].pop_front() {
                        None => break None,
                        Some(id) => {
                            if let Some(entry) = self.forget(id) {
                                break Some(entry);
                            }
                        }
                    }
                };
                if front.is_none() {
                    return put(request, &self.cancel_any());
                }
                let (account, id) = (self.anybody(), self.id());
                let taker = NewOrder::limit(account, 1, id, Self::side(!buys), price(buys, 1), LOTS);
                put(request, &taker.lasting(TimeInForce::Ioc))
            }
            19 => {
                let account = self.anybody();
                put(request, &self.add(account, buys, 1))
            }
            turn if turn % 2 == 0 => put(request, &self.add_anywhere()),
            _ => put(request, &self.cancel_any()),
        }
    }
}

impl Market {
    /// An order in front of all others, and its cancel.
    fn quote(&mut self, request: &mut [u8; REQUEST_MAX]) -> usize {
        if self.turn % 2 == 1 {
            let id = self.orders.last().expect("it was just entered").id;
            return put(request, &self.cancel(id));
        }
        let (account, buys) = (self.anybody(), self.turn.is_multiple_of(4));
        put(request, &self.add(account, buys, 0))
    }

    /// Orders that each become the best price of their side, one in front of the other, and go the same way back.
    fn lead(&mut self, request: &mut [u8; REQUEST_MAX]) -> usize {
        let leads = u64::from(LEADS) / 2;
        let turn = self.turn % (2 * leads);
        if turn >= leads {
            let id = self.orders.last().expect("they were entered").id;
            return put(request, &self.cancel(id));
        }
        // Bids and offers may not meet: the sides take turns, one a whole round.
        let (account, buys) = (self.anybody(), (self.turn / (2 * leads)).is_multiple_of(2));
        put(request, &self.add(account, buys, -(turn as i64)))
    }

    /// So many offers of a lot, and one buyer of them all.
    fn cross(&mut self, makers: u32, request: &mut [u8; REQUEST_MAX]) -> usize {
        let turn = self.turn % u64::from(makers + 1);
        let (account, id) = (self.anybody(), self.id());
        if turn < u64::from(makers) {
            return put(request, &NewOrder::limit(account, 1, id, Side::Sell, MIDDLE, 1));
        }
        let taker = NewOrder::limit(account, 1, id, Side::Buy, MIDDLE, makers.into());
        put(request, &taker.lasting(TimeInForce::Ioc))
    }

    /// An owner cancels all of its orders and enters as many anew.
    fn cancel_all(&mut self, each: u32, request: &mut [u8; REQUEST_MAX]) -> usize {
        if self.rebuild == 0 {
            self.sweeping = self.sweeping % self.accounts + 1;
            self.rebuild = each;
            return put(request, &MassCancel::new(self.sweeping, 0, Sides::Any));
        }
        self.rebuild -= 1;
        let (id, buys) = (self.id(), self.rebuild.is_multiple_of(2));
        let place = self.random.below(self.prices as u64) as i64 + 1;
        put(request, &NewOrder::limit(self.sweeping, 1, id, Self::side(buys), price(buys, place), LOTS))
    }

    /// Three orders that the limits refuse, for one that is cancelled and entered anew.
    fn press(&mut self, request: &mut [u8; REQUEST_MAX]) -> usize {
        match self.turn % 5 {
            3 => {
                let at = self.random.below(self.orders.len() as u64) as usize;
                let Entry { id, account, .. } = self.orders[at];
                self.sweeping = account;
                put(request, &self.cancel(id))
            }
            4 => {
                let place = self.random.below(self.prices as u64) as i64 + 1;
                let buys = self.random.below(2) == 0;
                put(request, &self.add(self.sweeping, buys, place))
            }
            turn => {
                let (account, id) = (self.anybody(), self.id());
                let order = NewOrder::limit(account, 1, id, Side::Buy, price(true, 1), LOTS);
                if turn == 0 {
                    return put(request, &order);
                }
                // Live orders may not grow either.
                let at = self.random.below(self.orders.len() as u64) as usize;
                let Entry { id, account, buys } = self.orders[at];
                let price = price(buys, self.prices);
                put(request, &Amend::new(account, OrderRef::Client(id), price, 2 * LOTS))
            }
        }
    }
}

impl Requests for (Market, [u8; REQUEST_MAX]) {
    fn next_request(&mut self) -> &[u8] {
        let (market, request) = self;
        let len = match market.does {
            Does::Churn => market.churn(request),
            Does::Quote => market.quote(request),
            Does::Lead => market.lead(request),
            Does::Cross(makers) => market.cross(makers, request),
            Does::CancelAll(each) => market.cancel_all(each, request),
            Does::Press => market.press(request),
        };
        market.turn += 1;
        &request[..len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Operation;

    /// Each flow, smaller, with the engine's audit behind it: it does what its name says, and nothing is refused but
    /// what is meant to be.
    #[test]
    fn the_engine_stays_whole_and_the_flows_are_what_they_say() {
        for flow in Adverse::ALL {
            let mut bench = flow.bench(100);
            let before = bench.engine().live_orders();
            let report = bench.measure(40_000);
            assert_eq!(bench.engine().audit(), Ok(()), "{flow:?}");
            let count = |operation| report.operations.iter().find(|found| found.operation == operation);
            let count = |operation| count(operation).map_or(0, |found| found.count);
            let said = format!("{flow:?}: {report}");
            match flow {
                Adverse::Narrow | Adverse::Wide => assert!(report.trades > 1_000, "{said}"),
                Adverse::Limits => {
                    let refused = report.refused as f64 / report.requests as f64;
                    assert!((0.55..=0.65).contains(&refused), "{said}");
                }
                _ => assert_eq!(report.refused, 0, "{said}"),
            }
            match flow {
                Adverse::Book | Adverse::OnePrice | Adverse::Levels | Adverse::Collisions => {
                    assert!(count(Operation::Take) > 500 && report.trades > 500, "{said}");
                    assert!(report.live.abs_diff(before.into()) < 3, "{said}");
                }
                Adverse::Quotes | Adverse::Best => {
                    assert!(count(Operation::Cancel) * 2 >= 20_000 && report.trades == 0, "{said}");
                    assert!(report.live <= u64::from(before) + 4, "{said}");
                }
                Adverse::Crossing => assert!(report.trades * 2 > report.requests, "{said}"),
                Adverse::MassCancel10 => assert!(count(Operation::MassCancel) > 1_500, "{said}"),
                Adverse::MassCancel1000 => assert!(count(Operation::MassCancel) > 150, "{said}"),
                Adverse::Limits => assert!(count(Operation::Amend) > 2_000, "{said}"),
                Adverse::Narrow => assert_eq!(bench.engine().limits().instruments, 1),
                Adverse::Wide => assert_eq!(bench.engine().limits().instruments, 200),
            }
        }
    }
}
