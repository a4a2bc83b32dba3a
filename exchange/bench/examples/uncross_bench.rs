//! Prints what an auction costs, by the thread's own time: orders that gather, and the uncross with its longest step.
//! Arguments: orders (1,000,000 if none), prices a side (1,000).

use ordain_exchange_bench::engine::RingSink;
use ordain_exchange_engine::{Context, Engine, Limits, Step};
use ordain_exchange_protocol::{
    CreateAccount, CreateInstrument, Definition, FromZeros, Grant, GrantAction, IntoBytes, MarketState,
    NewOrder, Request, SetState, Side, Transfer, note,
};
use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds that this thread has run for: on a busy machine, what others take of it is left out.
fn cpu_time() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

struct Venue {
    engine: Engine,
    sink: RingSink,
    seq: u64,
    steps: u64,
    longest: u64,
}

impl Venue {
    fn send(&mut self, bytes: &[u8]) {
        self.seq += 1;
        let context = Context { seq: self.seq, time: self.seq, key: 1, permissions: u32::MAX, session: 0 };
        let request = Request::decode(bytes).expect("well formed");
        let mut before = cpu_time();
        let mut step = self.engine.apply(&context, &request, &mut self.sink);
        loop {
            let now = cpu_time();
            self.steps += 1;
            self.longest = self.longest.max(now - before);
            if step == Step::Done {
                return;
            }
            before = now;
            step = self.engine.resume(&mut self.sink);
        }
    }
}

fn main() {
    let mut numbers = std::env::args().skip(1).map(|text| text.parse::<u64>().expect("a number"));
    let orders = numbers.next().unwrap_or(1_000_000);
    let prices = numbers.next().unwrap_or(1_000);
    let accounts = 10_000;
    let limits = Limits {
        orders: orders as u32 + 1,
        orders_per_account: orders as u32,
        instruments: 1,
        accounts: accounts as u32,
        ..Limits::DEFAULT
    };
    let mut venue =
        Venue { engine: Engine::new(limits, 1), sink: RingSink::default(), seq: 0, steps: 0, longest: 0 };
    let mut definition = Definition::new_zeroed();
    definition.instrument = 1.into();
    definition.symbol[0] = b'X';
    (definition.base, definition.quote) = (1.into(), 2.into());
    (definition.quote_per_tick_lot, definition.base_per_lot) = (1.into(), 1.into());
    (definition.min_quantity, definition.max_quantity) = (1.into(), 1_000.into());
    (definition.max_price, definition.collar) = (1_000_000.into(), 1_000.into());
    (definition.maker_ppm, definition.taker_ppm) = (100.into(), 200.into());
    (definition.tick, definition.lot) = (1.into(), 1.into());
    venue.send(CreateInstrument::new(definition).as_bytes());
    for account in 1..=accounts as u32 {
        venue.send(CreateAccount::new(account).as_bytes());
        venue.send(Grant::new(GrantAction::Grant, account, 1).as_bytes());
        for currency in 1..=2 {
            venue.send(Transfer::deposit(account, currency, currency.into(), 1 << 45).as_bytes());
        }
    }
    venue.send(SetState::new(1, MarketState::PreOpen, note("")).as_bytes());
    // All bids are above all asks but for the last tenth, in no order of prices and accounts.
    let mut random = 1_u64;
    let start = cpu_time();
    for id in 0..orders {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (side, place) = if id % 2 == 0 { (Side::Buy, random >> 33) } else { (Side::Sell, random >> 34) };
        let place = (place % prices) as i64;
        let price = if side == Side::Buy { 10_000 + place } else { 10_000 + prices as i64 / 10 - place };
        let order = NewOrder::limit(
            (random >> 40) as u32 % accounts as u32 + 1,
            1,
            id,
            side,
            price,
            random >> 60 | 1,
        );
        venue.send(order.as_bytes());
    }
    let gathered = cpu_time() - start;
    let start = cpu_time();
    venue.send(SetState::new(1, MarketState::OpeningAuction, note("")).as_bytes());
    let indicated = cpu_time() - start;
    (venue.steps, venue.longest) = (0, 0);
    let start = cpu_time();
    venue.send(SetState::new(1, MarketState::Continuous, note("")).as_bytes());
    let uncrossed = cpu_time() - start;
    let ms = |nanoseconds: u64| nanoseconds / 1_000_000;
    println!(
        "{orders} orders gathered in {} ms; first indication in {} us; uncrossed in {} ms, {} steps, the longest {} us; {} left",
        ms(gathered),
        indicated / 1_000,
        ms(uncrossed),
        venue.steps,
        venue.longest / 1_000,
        venue.engine.live_orders()
    );
}
