//! Questions about the exchange.

use super::words::{self, Whose, kebab};
use crate::error::{CliError, OrNext, Result};
use clap::Subcommand;
use ordain_client::blocking::Client;
use ordain_exchange_protocol::{
    AccessQuery, Answer, AuctionQuery, BalancesQuery, BandsQuery, ControlAnswer, CurrencyQuery, FeedQuery,
    FeesQuery, Flag, InstrumentLimitsQuery, InstrumentQuery, IntoBytes, LimitsQuery, NO_LIMIT_32, OwnerQuery,
    Reject, ScheduleQuery, StatisticsQuery, TradingQuery,
};
use ordain_exchange_server::SCHEMA;
use serde_json::{Value, json};
use zerocopy::Immutable;

#[derive(Debug, Subcommand)]
pub enum Show {
    /// An instrument: terms, state, auction, bands, schedule
    Instrument {
        /// Instrument
        instrument: u32,
    },
    /// An account: firm, group, what it may do, balances
    Account {
        /// Account
        account: u32,
    },
    /// Limits of an account or a firm, and how much of them is used
    Limits {
        /// account:N or firm:N
        #[arg(value_parser = words::party)]
        whose: Whose,
        /// Currency of the notional open
        currency: u32,
    },
    /// Limits of an account in an instrument, and how much of them is used
    InstrumentLimits {
        /// Account
        account: u32,
        /// Instrument
        instrument: u32,
    },
    /// What an account pays in an instrument
    Fees {
        /// Account
        account: u32,
        /// Instrument
        instrument: u32,
    },
    /// What there is of a currency
    Currency {
        /// Currency
        currency: u32,
    },
    /// How much there is of everything
    Statistics,
}

/// Who answers questions: a cluster, or the exchange as it was.
pub trait Answers {
    /// The answer, encoded.
    fn answer(&mut self, question: &[u8]) -> Result<Vec<u8>>;
}

impl Answers for Client {
    fn answer(&mut self, question: &[u8]) -> Result<Vec<u8>> {
        let next = "Check --connect, and that --key is that of an operator, or of a key that may see this.";
        let (_, answer) = self.query(SCHEMA, question).or_next("the exchange cannot be asked", next)?;
        Ok(answer)
    }
}

/// Asks, and has what was answered put into JSON.
pub fn ask<T>(
    from: &mut impl Answers,
    query: &(impl IntoBytes + Immutable),
    read: impl Fn(&Answer<'_>) -> Option<(u16, T)>,
) -> Result<T> {
    let newer = "Run the same build on all nodes and here.";
    let answer = from.answer(query.as_bytes())?;
    let answer = Answer::decode(&answer).or_next("the answer cannot be read", newer)?;
    match read(&answer) {
        Some((0, value)) => Ok(value),
        Some((code, _)) => {
            let reject = Reject::from_wire(code);
            let (name, text) = reject.map_or(("unknown", newer), |reject| (reject.name(), reject.text()));
            Err(CliError::new(format!("the exchange refused the question: {name}"), text))
        }
        None => Err(CliError::new("the answer is to another question", newer)),
    }
}

impl Show {
    pub fn ask(&self, from: &mut impl Answers) -> Result<Value> {
        match *self {
            Self::Instrument { instrument } => of_instrument(from, instrument),
            Self::Account { account } => of_account(from, account),
            Self::Limits { whose, currency } => limits(from, whose, currency),
            Self::InstrumentLimits { account, instrument } => instrument_limits(from, account, instrument),
            Self::Fees { account, instrument } => fees(from, account, instrument),
            Self::Currency { currency } => ask(from, &CurrencyQuery::new(currency), |answer| match answer {
                Answer::Currency(it) => Some((
                    it.code.get(),
                    json!({ "currency": currency, "supply": it.supply.get(), "fees": it.fees.get() }),
                )),
                _ => None,
            }),
            Self::Statistics => ask(from, &StatisticsQuery::new(), |answer| match answer {
                Answer::Statistics(it) => Some((
                    it.code.get(),
                    json!({
                        "instruments": it.instruments.get(),
                        "accounts": it.accounts.get(),
                        "orders": it.orders.get(),
                        "accepted": it.accepted.get(),
                        "trades": it.trades.get(),
                    }),
                )),
                _ => None,
            }),
        }
    }
}

fn of_instrument(from: &mut impl Answers, instrument: u32) -> Result<Value> {
    let terms = ask(from, &InstrumentQuery::new(instrument), |answer| match answer {
        Answer::Instrument(answer) => {
            let it = &answer.definition;
            let value = json!({
                "symbol": String::from_utf8_lossy(it.symbol()),
                "base": it.base.get(),
                "quote": it.quote.get(),
                "quote_per_tick_lot": it.quote_per_tick_lot.get(),
                "base_per_lot": it.base_per_lot.get(),
                "min_quantity": it.min_quantity.get(),
                "max_quantity": it.max_quantity.get(),
                "min_notional": it.min_notional.get(),
                "max_price": it.max_price.get(),
                "collar": it.collar.get(),
                "maker_ppm": it.maker_ppm.get(),
                "taker_ppm": it.taker_ppm.get(),
            });
            Some((answer.code.get(), value))
        }
        _ => None,
    })?;
    let trading = ask(from, &TradingQuery::new(instrument), |answer| match answer {
        Answer::Trading(it) => Some((
            it.code.get(),
            json!({
                "state": kebab(it.state),
                "last": it.last.get(),
                "waiting": it.waiting.get(),
                "self_trade": kebab(it.self_trade),
            }),
        )),
        _ => None,
    })?;
    let auction = ask(from, &AuctionQuery::new(instrument), |answer| match answer {
        Answer::Auction(it) => Some((
            it.code.get(),
            json!({
                "under_way": it.under_way == Flag::Yes,
                "reference": it.reference.get(),
                "day_reference": it.day_reference.get(),
                "price": it.price.get(),
                "volume": it.volume.get(),
                "imbalance": it.imbalance.get(),
            }),
        )),
        _ => None,
    })?;
    let bands = bands(from, instrument)?;
    let schedule = schedule(from, instrument)?;
    let feed = ask(from, &FeedQuery::new(instrument), |answer| match answer {
        Answer::Feed(it) => Some((
            it.code.get(),
            json!({
                "top": it.top == Flag::Yes,
                "levels": it.levels == Flag::Yes,
                "orders": it.orders == Flag::Yes,
            }),
        )),
        _ => None,
    })?;
    Ok(json!({
        "instrument": instrument,
        "terms": terms,
        "trading": trading,
        "auction": auction,
        "bands": bands,
        "schedule": schedule,
        "feed": feed,
    }))
}

fn bands(from: &mut impl Answers, instrument: u32) -> Result<Value> {
    ask(from, &BandsQuery::new(instrument), |answer| match answer {
        Answer::Bands(it) => Some((
            it.code.get(),
            json!({
                "action": kebab(it.action),
                "static_ppm": it.fixed.get(),
                "dynamic_ppm": it.moving.get(),
                "bucket": it.width.get(),
                "buckets": it.buckets,
                "call": it.call.get(),
                "extensions": it.extensions,
                "call_until": it.until.get(),
                "call_extended": it.extended,
            }),
        )),
        _ => None,
    })
}

fn schedule(from: &mut impl Answers, instrument: u32) -> Result<Value> {
    ask(from, &ScheduleQuery::new(instrument), |answer| match answer {
        Answer::Schedule(it) => {
            let used = &it.entries[..usize::from(it.count).min(it.entries.len())];
            let entry = |(at, entry): (usize, &ordain_exchange_protocol::ScheduleEntry)| {
                json!({
                    "time": entry.time.get(),
                    "random": entry.random.get(),
                    "state": kebab(entry.state),
                    "next": at == usize::from(it.next),
                })
            };
            let entries: Vec<Value> = used.iter().enumerate().map(entry).collect();
            let value = json!({ "period": it.period.get(), "due": it.due.get(), "entries": entries });
            Some((it.code.get(), value))
        }
        _ => None,
    })
}

pub fn of_account(from: &mut impl Answers, account: u32) -> Result<Value> {
    let access = ask(from, &AccessQuery::new(account), |answer| match answer {
        Answer::Control(ControlAnswer::Access(it)) => Some((
            it.code.get(),
            json!({
                "firm": it.firm.get(),
                "of_account": kebab(it.of_account),
                "of_firm": kebab(it.of_firm),
                "of_all": kebab(it.of_all),
            }),
        )),
        _ => None,
    })?;
    let group = ask(from, &OwnerQuery::new(account), |answer| match answer {
        Answer::Owner(it) => Some((it.code.get(), it.group.get())),
        _ => None,
    })?;
    let balances = balances(from, account)?;
    Ok(json!({ "account": account, "access": access, "group": group, "balances": balances }))
}

/// All balances of an account that are not 0.
pub fn balances(from: &mut impl Answers, account: u32) -> Result<Vec<Value>> {
    let mut balances: Vec<(u32, u64, u64)> = Vec::new();
    loop {
        let after = balances.last().map_or(0, |last| last.0);
        let page = ask(from, &BalancesQuery::new(account, after), |answer| match answer {
            Answer::Balances(head, entries) => {
                let page = entries.iter().map(|it| (it.currency.get(), it.free.get(), it.held.get()));
                Some((head.code.get(), page.collect::<Vec<_>>()))
            }
            _ => None,
        })?;
        // What does not go on behind the last page would never come to an end.
        if page.first().is_none_or(|first| first.0 <= after) {
            let balance = |(currency, free, held): &(u32, u64, u64)| json!({ "currency": currency, "free": free, "held": held });
            return Ok(balances.iter().map(balance).collect());
        }
        balances.extend(page);
    }
}

pub fn limits(from: &mut impl Answers, whose: Whose, currency: u32) -> Result<Value> {
    let query = LimitsQuery::new(whose.scope, whose.id, currency);
    ask(from, &query, |answer| match answer {
        Answer::Control(ControlAnswer::Limits(it)) => {
            let max_orders = match it.max_orders.get() {
                NO_LIMIT_32 => "none".to_owned(),
                orders => orders.to_string(),
            };
            let value = json!({
                "whose": format!("{}:{}", kebab(whose.scope), whose.id),
                "orders": it.orders.get(),
                "max_orders": max_orders,
                "burst": it.burst.get(),
                "interval": it.interval.get(),
                "full_at": it.full_at.get(),
                "currency": currency,
                "gross": it.gross.get().to_string(),
                "max_gross": words::limit(it.max_gross.get()),
                "listed_only": it.listed_only == Flag::Yes,
            });
            Some((it.code.get(), value))
        }
        _ => None,
    })
}

pub fn instrument_limits(from: &mut impl Answers, account: u32, instrument: u32) -> Result<Value> {
    ask(from, &InstrumentLimitsQuery::new(account, instrument), |answer| match answer {
        Answer::Control(ControlAnswer::InstrumentLimits(it)) => Some((
            it.code.get(),
            json!({
                "account": account,
                "instrument": instrument,
                "set": it.set == Flag::Yes,
                "allowed": it.allowed == Flag::Yes,
                "quantity": words::limit(it.quantity.get()),
                "notional": words::limit(it.notional.get()),
                "collar": words::limit(it.collar.get()),
                "open": words::limit(it.open.get()),
                "long": words::limit(it.long.get()),
                "short": words::limit(it.short.get()),
                "open_buys": it.open_buys.get(),
                "open_sells": it.open_sells.get(),
                "position": it.position.get().to_string(),
            }),
        )),
        _ => None,
    })
}

fn fees(from: &mut impl Answers, account: u32, instrument: u32) -> Result<Value> {
    ask(from, &FeesQuery::new(account, instrument), |answer| match answer {
        Answer::Control(ControlAnswer::Fees(it)) => Some((
            it.code.get(),
            json!({
                "account": account,
                "instrument": instrument,
                "class": it.class,
                "tier": it.tier,
                "maker_ppm": it.maker_ppm.get(),
                "taker_ppm": it.taker_ppm.get(),
                "auction_ppm": it.auction_ppm.get(),
                "min": it.min.get(),
                "max": words::limit(it.max.get()),
            }),
        )),
        _ => None,
    })
}
