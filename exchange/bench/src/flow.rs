//! A flow of orders like those exchanges see, from a seed.
//!
//! Per 100 orders entered there are 60 cancels and 30 amends, each of an order that the flow entered and has not
//! cancelled, recent ones more often. Of the orders entered, 5 % are market orders, 5 % immediate or cancel,
//! 2 % fill or kill, and the rest rest, of which 10 % are priced to trade at once. Distances from the middle
//! price and sizes follow a power law (the probability of n falls as n to the power of 3/2), accounts and instruments
//! Zipf's law. Stop orders, some 3 % of real flow, are not among the exchange's order types; limit orders
//! stand in their place.
//!
//! The flow knows nothing of the exchange: it keeps the client order ids that it sent and goes by those. So some
//! cancels and amends find that their order was filled, as happens to real clients.

use ordain_exchange_protocol::{
    Amend, Cancel, CreateAccount, CreateInstrument, Definition, Grant, GrantAction, IntoBytes, NewOrder,
    OrderRef, Side, TimeInForce, Transfer, Zero,
};

/// Longest request of a flow, bytes. Setup commands are longer.
pub const REQUEST_MAX: usize = 40;

/// What a flow is made of. Flows with equal settings are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where the random numbers start.
    pub seed: u64,
    /// Sets the client order ids of flows to one exchange apart.
    pub stream: u16,
    /// Accounts, 1 to 65,535.
    pub accounts: u32,
    /// Instruments, 1 to 256.
    pub instruments: u32,
    /// Most orders that the flow leaves live: from there on the oldest one is cancelled for each new one.
    pub live_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { seed: 1, stream: 0, accounts: 10_000, instruments: 100, live_max: 1 << 17 }
    }
}

/// Instruments are pairs of these many base and these many quote currencies.
const BASES: u32 = 10;
const QUOTES: u32 = 26;

/// Where prices start, and the range in which they stay.
const MIDDLE: i64 = 10_000;
const LOWEST: i64 = 5_000;
const HIGHEST: i64 = 20_000;
/// Largest distance from the middle, ticks.
const DISTANCE_MAX: u16 = 1_000;
/// An old order as near to the middle as this is taken to be filled and forgotten.
const NEAR: i64 = 2;
/// Largest size, lots.
const SIZE_MAX: u16 = 200;
/// What every account is given in every currency, minor units.
const FUNDS: u64 = 100_000_000_000_000;

/// Pseudo-random numbers: SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
#[derive(Clone, Debug)]
pub(crate) struct Random(pub u64);

impl Random {
    #[inline]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    #[inline]
    pub fn below(&mut self, bound: u64) -> u64 {
        ((self.next() >> 32) * bound) >> 32
    }
}

/// Draws from a distribution by looking up a random place. The number of places is a power of two.
#[derive(Clone, Debug)]
struct Table(Vec<u16>);

impl Table {
    /// The numbers from 1 to `count` with these weights.
    fn new(places: usize, count: u16, weight: impl Fn(u64) -> u64) -> Self {
        assert!(places.is_power_of_two() && count > 0);
        let total: u128 = (1..=u64::from(count)).map(|number| u128::from(weight(number))).sum();
        let mut table = Vec::with_capacity(places);
        let mut sum = 0;
        for number in 1..=count {
            sum += u128::from(weight(number.into()));
            table.resize((sum * places as u128 / total) as usize, number);
        }
        Self(table)
    }

    fn zipf(places: usize, count: u16) -> Self {
        Self::new(places, count, |number| (1 << 40) / number)
    }

    /// The probability of n falls as n to the power of 3/2.
    fn power_law(places: usize, count: u16) -> Self {
        Self::new(places, count, |number| (1 << 40) / (number * number.isqrt()))
    }

    #[inline]
    fn draw(&self, random: u64) -> u16 {
        self.0[random as usize & (self.0.len() - 1)]
    }
}

/// An order that the flow entered and did not cancel.
#[derive(Clone, Copy, Debug, Default)]
struct Sent {
    client_order_id: u64,
    price: i64,
    quantity: u32,
    /// 0 once cancelled.
    account: u32,
    instrument: u16,
    buys: bool,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Flow {
    random: Random,
    accounts: Table,
    instruments: Table,
    distances: Table,
    sizes: Table,
    /// Middle price of every instrument.
    middles: Vec<i64>,
    /// A ring of the orders sent.
    sent: Vec<Sent>,
    newest: usize,
    next_id: u64,
    request: [u8; REQUEST_MAX],
}

impl Flow {
    /// # Panics
    /// If a setting is out of its range.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        let accounts = u16::try_from(settings.accounts).expect("at most 65,535 accounts");
        assert!((1..=256).contains(&settings.instruments) && settings.live_max > 0);
        Self {
            random: Random(settings.seed),
            accounts: Table::zipf(1 << 17, accounts),
            instruments: Table::zipf(1 << 12, settings.instruments as u16),
            distances: Table::power_law(1 << 13, DISTANCE_MAX),
            sizes: Table::power_law(1 << 12, SIZE_MAX),
            middles: vec![MIDDLE; settings.instruments as usize],
            sent: vec![Sent::default(); settings.live_max],
            newest: 0,
            next_id: u64::from(settings.stream) << 48,
            request: [0; REQUEST_MAX],
        }
    }

    /// The next request.
    #[inline]
    pub fn next_request(&mut self) -> &[u8] {
        let len = match self.random.below(190) {
            0..100 => self.enter(),
            100..160 => self.cancel(),
            _ => self.amend(),
        };
        &self.request[..len]
    }

    #[inline]
    fn put(&mut self, message: &[u8]) -> usize {
        self.request[..message.len()].copy_from_slice(message);
        message.len()
    }

    fn enter(&mut self) -> usize {
        let next = (self.newest + 1) % self.sent.len();
        if self.sent[next].account != 0 && self.distance(next) > NEAR {
            return self.cancel_at(next);
        }
        let draw = self.random.next();
        let account = u32::from(self.accounts.draw(draw));
        let instrument = u32::from(self.instruments.draw(draw >> 18));
        let quantity = u64::from(self.sizes.draw(draw >> 34));
        let buys = draw >> 63 == 0;
        let side = if buys { Side::Buy } else { Side::Sell };
        let middle = self.drift(instrument, draw >> 53);
        let kind = self.random.next();
        let distance = i64::from(self.distances.draw(kind >> 32));
        let outwards = if buys { -distance } else { distance };
        self.next_id += 1;
        let id = self.next_id;
        let limit = |offset: i64| NewOrder::limit(account, instrument, id, side, middle + offset, quantity);
        let order = match ((kind & 0xffff_ffff) * 1_000) >> 32 {
            0..50 => NewOrder::market(account, instrument, id, side, quantity),
            50..100 => limit(-outwards).lasting(TimeInForce::Ioc),
            100..120 => limit(-outwards).lasting(TimeInForce::Fok),
            120..208 => limit(-outwards),
            _ => limit(outwards),
        };
        if order.time_in_force == TimeInForce::Gtc {
            self.newest = next;
            self.sent[next] = Sent {
                client_order_id: id,
                price: order.price.get(),
                quantity: quantity as u32,
                account,
                instrument: instrument as u16,
                buys,
            };
        }
        self.put(order.as_bytes())
    }

    /// Moves an instrument's middle price now and then.
    fn drift(&mut self, instrument: u32, draw: u64) -> i64 {
        let middle = &mut self.middles[instrument as usize - 1];
        let step = match draw & 511 {
            0 => 1,
            1 => -1,
            _ => 0,
        };
        *middle = (*middle + step).clamp(LOWEST, HIGHEST);
        *middle
    }

    /// How far from the middle, on its own side, an order stands. Not above 0: surely filled.
    #[inline]
    fn distance(&self, at: usize) -> i64 {
        let sent = &self.sent[at];
        let middle = self.middles[usize::from(sent.instrument).saturating_sub(1)];
        if sent.buys { middle - sent.price } else { sent.price - middle }
    }

    /// An order sent and not cancelled, recent ones more often; of two, the one less likely to be filled.
    #[inline]
    fn pick(&mut self) -> Option<usize> {
        let candidates = [self.candidate(), self.candidate()];
        candidates.into_iter().flatten().max_by_key(|at| self.distance(*at))
    }

    #[inline]
    fn candidate(&mut self) -> Option<usize> {
        const TRIES: usize = 8;
        let draw = self.random.next();
        let skewed = ((draw >> 32) * (draw & 0xffff_ffff)) >> 32;
        let age = ((skewed * self.sent.len() as u64) >> 32) as usize;
        let start = self.newest + self.sent.len() - age;
        (start..start + TRIES).map(|at| at % self.sent.len()).find(|at| self.sent[*at].account != 0)
    }

    fn cancel(&mut self) -> usize {
        match self.pick() {
            Some(at) => self.cancel_at(at),
            None => self.enter(),
        }
    }

    fn cancel_at(&mut self, at: usize) -> usize {
        let sent = std::mem::take(&mut self.sent[at]);
        self.put(Cancel::new(sent.account, OrderRef::Client(sent.client_order_id)).as_bytes())
    }

    fn amend(&mut self) -> usize {
        let Some(at) = self.pick() else { return self.enter() };
        let draw = self.random.next();
        let sent = self.sent[at];
        let (mut price, mut quantity) = (sent.price, sent.quantity);
        if draw & 1 == 0 {
            // Keeps its place.
            quantity = (quantity / 2).max(1);
        } else {
            let distance = i64::from(self.distances.draw(draw >> 1));
            let middle = self.middles[usize::from(sent.instrument) - 1];
            price = if sent.buys { middle - distance } else { middle + distance };
        }
        self.sent[at] = Sent { price, quantity, ..sent };
        let order = OrderRef::Client(sent.client_order_id);
        self.put(Amend::new(sent.account, order, price, quantity.into()).as_bytes())
    }
}

/// Commands that open the exchange for flows with these accounts and instruments: instruments, accounts, a grant of
/// every account to `key`, deposits. They need the permissions `ADMIN` and `CUSTODY`.
pub fn setup(settings: &Settings, key: u32) -> impl Iterator<Item = Vec<u8>> + use<> {
    let Settings { accounts, instruments, .. } = *settings;
    let quotes = instruments.div_ceil(BASES);
    let currencies = (1..=instruments.min(BASES)).chain(BASES + 1..=BASES + quotes);
    let instruments = (1..=instruments).map(|id| CreateInstrument::new(definition(id)).as_bytes().to_vec());
    let accounts = (1..=accounts).flat_map(move |account| {
        let create = CreateAccount::new(account).as_bytes().to_vec();
        let grant = Grant::new(GrantAction::Grant, account, key).as_bytes().to_vec();
        let deposits = currencies.clone().map(move |currency| {
            Transfer::deposit(account, currency, currency.into(), FUNDS).as_bytes().to_vec()
        });
        [create, grant].into_iter().chain(deposits)
    });
    instruments.chain(accounts)
}

pub(crate) fn definition(id: u32) -> Definition {
    let mut symbol = [0; 16];
    let text = format!("SYM{id:03}");
    symbol[..text.len()].copy_from_slice(text.as_bytes());
    Definition {
        instrument: id.into(),
        price_decimals: 2,
        quantity_decimals: 0,
        reserved: [Zero::Zero; 2],
        symbol,
        base: (1 + (id - 1) % BASES).into(),
        quote: (1 + BASES + (id - 1) / BASES).into(),
        quote_per_tick_lot: 100.into(),
        base_per_lot: 1_000.into(),
        min_quantity: 1.into(),
        max_quantity: 1_000_000.into(),
        min_notional: 1.into(),
        max_price: 1_000_000.into(),
        collar: 1_000.into(),
        maker_ppm: (-50).into(),
        taker_ppm: 300.into(),
        tick: 1.into(),
        lot: 1.into(),
    }
}

const _: () = assert!(256_u32.div_ceil(BASES) <= QUOTES);
const _: () = assert!(size_of::<NewOrder>() <= REQUEST_MAX && size_of::<Amend>() <= REQUEST_MAX);

#[cfg(test)]
mod tests {
    use super::*;
    use ordain_exchange_protocol::{OrderType, Request};

    #[test]
    fn a_flow_is_its_seed() {
        let record = |seed| {
            let mut flow = Flow::new(&Settings { seed, ..Settings::default() });
            (0..10_000).flat_map(|_| flow.next_request().to_vec()).collect::<Vec<u8>>()
        };
        assert!(record(1) == record(1));
        assert!(record(1) != record(2));
    }

    #[test]
    fn the_mix_is_as_stated() {
        let settings = Settings { accounts: 100, instruments: 10, ..Settings::default() };
        let mut flow = Flow::new(&settings);
        let [mut orders, mut cancels, mut amends, mut market, mut ioc, mut fok] = [0_u32; 6];
        for _ in 0..1_000_000 {
            match Request::decode(flow.next_request()).expect("decodes") {
                Request::NewOrder(order) => {
                    orders += 1;
                    assert!(
                        (1..=100).contains(&order.account.get())
                            && (1..=10).contains(&order.instrument.get())
                    );
                    match (order.order_type, order.time_in_force) {
                        (OrderType::Market, _) => market += 1,
                        (_, TimeInForce::Ioc) => ioc += 1,
                        (_, TimeInForce::Fok) => fok += 1,
                        _ => {}
                    }
                }
                Request::Cancel(_) => cancels += 1,
                Request::Amend(_) => amends += 1,
                other => panic!("not of the flow: {other:?}"),
            }
        }
        let per_mille = |count: u32| u64::from(count) * 1_000 / u64::from(orders);
        assert!((560..=700).contains(&per_mille(cancels)), "{}", per_mille(cancels));
        assert!((270..=330).contains(&per_mille(amends)), "{}", per_mille(amends));
        assert!((45..=55).contains(&per_mille(market)), "{}", per_mille(market));
        assert!((45..=55).contains(&per_mille(ioc)), "{}", per_mille(ioc));
        assert!((17..=23).contains(&per_mille(fok)), "{}", per_mille(fok));
    }
}
