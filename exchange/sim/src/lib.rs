//! The exchange under simulation: what traders ask of it, and the naive model that knows what must come out.
//!
//! Little of everything, so that all limits are met: few instruments, accounts, prices and slots for orders.
#![forbid(unsafe_code)]

mod judge;
mod trader;

pub use judge::Judge;
pub use trader::Trader;

use ordain_exchange_engine::{Engine, Limits};
use ordain_exchange_protocol::{
    Answer, BalancesQuery, BookLevelsQuery, CurrencyQuery, IntoBytes, MESSAGE_MAX, NewOrder, Query, Side,
    StatisticsQuery, permission,
};
use ordain_exchange_server::{Exchange, ExchangeDecoder, ExchangeEncoder, ExchangeFactory, SCHEMA};
use ordain_sim::rng::Rng;
use ordain_sim::workload::{Payload, Workload};

/// Bounds of the simulated exchange.
const LIMITS: Limits = Limits {
    instruments: 3,
    currencies: 3,
    accounts: 5,
    orders: 110,
    orders_per_account: 40,
    levels_per_side: 7,
    transfers: 12,
};

/// All permissions that the exchange knows.
const ALL: u32 = permission::TRADE | permission::ADMIN | permission::CUSTODY | permission::VIEW;

/// What a long series of runs must reach, beside what every application must.
pub const WANTED: &[&str] = &[
    "accepted: cancel on disconnect",
    "accepted: create account",
    "accepted: create instrument",
    "accepted: deposit",
    "accepted: grant",
    "accepted: withdrawal",
    "amend keeps its place",
    "amend loses its place",
    "amend to what was filled",
    "amend trades",
    "cancel",
    "mass cancel of none",
    "mass cancel of several",
    "an order ends on disconnect",
    "order ends unfilled",
    "order ends with a rest",
    "order filled",
    "order rests",
    "order rests after fills",
    "order spends all it has",
    "orders end on disconnect",
    "presence: back",
    "presence: lost",
    "presence: unproved",
    "transfer repeated",
    "refused: before its level",
    "refused: not permitted",
    "rejected: AccountExists",
    "rejected: AccountOrdersFull",
    "rejected: AccountOutOfRange",
    "rejected: AmountInvalid",
    "rejected: CurrencyOutOfRange",
    "rejected: DuplicateClientOrderId",
    "rejected: FeeInvalid",
    "rejected: GraceTooLong",
    "rejected: GrantsFull",
    "rejected: InstrumentExists",
    "rejected: InstrumentOutOfRange",
    "rejected: InsufficientFunds",
    "rejected: LevelsFull",
    "rejected: LimitsTooLarge",
    "rejected: MarketMustNotRest",
    "rejected: MarketPriceSet",
    "rejected: NoLiquidity",
    "rejected: NotFillable",
    "rejected: NotGranted",
    "rejected: NotionalTooSmall",
    "rejected: OrdersFull",
    "rejected: PostOnlyConflict",
    "rejected: PostOnlyWouldCross",
    "rejected: PriceLimitsInvalid",
    "rejected: PriceOutOfRange",
    "rejected: QuantityLimitsInvalid",
    "rejected: QuantityTooLarge",
    "rejected: QuantityTooSmall",
    "rejected: SameCurrency",
    "rejected: ScaleInvalid",
    "rejected: SupplyExceeded",
    "rejected: SymbolTaken",
    "rejected: TransactionConflict",
    "rejected: UnknownAccount",
    "rejected: UnknownInstrument",
    "rejected: UnknownOrder",
];

/// See the crate.
#[derive(Debug)]
pub struct ExchangeWorkload;

impl Workload for ExchangeWorkload {
    type Factory = ExchangeFactory;
    type Decoder = ExchangeDecoder;
    type Encoder = ExchangeEncoder;
    type Model = Judge;
    type Author = Trader;

    fn parts() -> (ExchangeFactory, ExchangeDecoder, ExchangeEncoder) {
        (ExchangeFactory::with_limits(LIMITS), ExchangeDecoder, ExchangeEncoder)
    }

    fn model() -> Judge {
        Judge::new(&LIMITS)
    }

    fn author(client: usize) -> Trader {
        Trader::new(client)
    }

    /// The first client runs the exchange; among the others are some that may not see it.
    fn permissions(client: usize) -> u32 {
        match client {
            0 => ALL,
            3 => permission::TRADE | permission::CUSTODY,
            _ => permission::TRADE | permission::VIEW,
        }
    }

    fn nonsense(rng: &mut Rng) -> Payload {
        let mut bytes = NewOrder::limit(1, 1, 1, Side::Buy, 1, 1).as_bytes().to_vec();
        match rng.below(4) {
            0 => bytes.truncate(rng.below(bytes.len() as u64) as usize),
            1 => bytes[0] |= 0x80,
            2 => bytes[1] = 2,
            // The side.
            _ => bytes[2] = 3,
        }
        Payload { schema: SCHEMA, bytes }
    }

    /// Both say the same of all that can be seen, every currency's money is where it was, and the engine's
    /// books agree with each other.
    fn check_end(app: &Exchange, model: &Judge) -> Result<(), String> {
        let engine = app.engine();
        engine.audit().map_err(str::to_owned)?;
        let mut queries = vec![StatisticsQuery::new().as_bytes().to_vec()];
        for instrument in 1..=LIMITS.instruments {
            queries.push(BookLevelsQuery::new(instrument, 20).as_bytes().to_vec());
        }
        queries.iter().try_for_each(|query| compare(engine, model, query).map(drop))?;
        for currency in 1..=LIMITS.currencies {
            let mut sum = 0;
            for account in 0..=LIMITS.accounts {
                let answer = compare(engine, model, BalancesQuery::new(account, currency - 1).as_bytes())?;
                if let Ok(Answer::Balances(_, entries)) = Answer::decode(&answer) {
                    let own = entries.first().filter(|entry| entry.currency.get() == currency);
                    sum += own.map_or(0, |entry| entry.free.get() + entry.held.get());
                }
            }
            let answer = compare(engine, model, CurrencyQuery::new(currency).as_bytes())?;
            match Answer::decode(&answer) {
                Ok(Answer::Currency(total)) if total.supply.get() == sum => {}
                other => return Err(format!("currency {currency} adds up to {sum}, not {other:?}")),
            }
        }
        Ok(())
    }
}

fn compare(engine: &Engine, model: &Judge, query: &[u8]) -> Result<Vec<u8>, String> {
    let parsed = Query::decode(query).map_err(|error| error.to_string())?;
    let about = ordain_exchange_engine::Context { permissions: ALL, ..Default::default() };
    let mut answer = [0; MESSAGE_MAX];
    let len = engine.query(&about, &parsed, &mut answer);
    let expected = model.answer(0, ALL, &parsed);
    if expected == answer[..len] {
        Ok(expected)
    } else {
        Err(format!("{parsed:?}: the model says {expected:?}, the engine {:?}", &answer[..len]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ordain_sim::run::{Options, Outcome, run};

    fn short(seed: u64, nodes: usize) -> Outcome {
        run::<ExchangeWorkload>(Options { seed, nodes, print: false }, |plan| {
            plan.operations = 300;
            plan.faults = 6;
        })
    }

    #[test]
    fn equal_seeds_give_equal_runs() {
        for nodes in [1, 3] {
            let (one, two, other) = (short(5, nodes), short(5, nodes), short(6, nodes));
            assert_eq!((one.digest, one.totals, &one.marks), (two.digest, two.totals, &two.marks));
            assert_ne!(one.digest, other.digest);
        }
    }

    #[test]
    fn a_cluster_too_small_for_the_exchange_does_not_start() {
        let outcome = run::<ExchangeWorkload>(Options { seed: 1, nodes: 1, print: false }, |plan| {
            plan.facts.step_outputs_max = ordain_exchange_engine::STEP_OUTPUTS_MAX as u32 - 1;
        });
        let failure = outcome.failure.expect("the node does not start");
        assert_eq!(failure.checker, "no node stops without a cause");
        assert!(failure.what.contains("needs step-outputs-max to be at least 60"), "{failure}");
    }

    #[test]
    fn short_runs_find_nothing_and_trade() {
        for nodes in [1, 3] {
            let runs = [1, 2, 3].map(|seed| short(seed, nodes));
            for (seed, outcome) in (1..).zip(&runs) {
                assert_eq!(outcome.failure, None, "seed {seed}, {nodes} nodes");
            }
            let filled = runs.iter().any(|outcome| outcome.marks.contains_key("order filled"));
            assert!(filled, "{nodes} nodes: nobody trades");
        }
    }
}
