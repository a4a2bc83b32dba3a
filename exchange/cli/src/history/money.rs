//! Money as the journal moves it: every flow of every account, and what the balances are by adding them up.

use super::{DEFECT, Happening, Past};
use crate::error::{CliError, Result};
use ordain_exchange_protocol::{
    Answer, BalancesQuery, FillReport, InstrumentQuery, IntoBytes, Output, Reply, Request, Side,
};
use std::collections::BTreeMap;

/// Why money moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    Deposit,
    Withdrawal,
    Trade,
    Fee,
}

impl Why {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Deposit => "deposit",
            Self::Withdrawal => "withdrawal",
            Self::Trade => "trade",
            Self::Fee => "fee",
        }
    }
}

/// A movement of an account's money.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    pub account: u32,
    pub currency: u32,
    pub why: Why,
    /// Minor units; below 0, it leaves the account.
    pub amount: i128,
    /// The transaction's number, or the trade's second half.
    pub reference: u64,
    /// What the account has afterwards, held or free.
    pub balance: i128,
}

/// What a trade is settled by: base and quote currency, minor units of quote for a lot at a tick, and of base for a lot.
#[derive(Clone, Copy)]
struct Terms {
    base: u32,
    quote: u32,
    quote_per_tick_lot: u64,
    base_per_lot: u64,
}

/// Adds up what an account has, from where the replay began.
#[derive(Default)]
pub struct Money {
    balances: BTreeMap<(u32, u32), i128>,
    terms: BTreeMap<u32, Terms>,
}

/// All balances of an account that are not 0: currency, free and held.
fn balances(past: &Past, account: u32) -> Result<Vec<(u32, u64, u64)>> {
    let mut found: Vec<(u32, u64, u64)> = Vec::new();
    loop {
        let after = found.last().map_or(0, |last| last.0);
        let page = past.ask(BalancesQuery::new(account, after).as_bytes(), |answer| match answer {
            Answer::Balances(_, page) => {
                page.iter().map(|entry| (entry.currency.get(), entry.free.get(), entry.held.get())).collect()
            }
            _ => Vec::new(),
        })?;
        if page.is_empty() {
            return Ok(found);
        }
        found.extend(page);
    }
}

impl Money {
    /// Begins with what accounts have at the beginning of the replay: nothing, unless it begins with a snapshot.
    pub fn begin(&mut self, past: &Past) -> Result<()> {
        if past.from == 0 {
            return Ok(());
        }
        for account in 0..=past.engine().limits().accounts {
            for (currency, free, held) in balances(past, account)? {
                self.balances.insert((account, currency), i128::from(free) + i128::from(held));
            }
        }
        Ok(())
    }

    fn terms(&mut self, past: &Past, instrument: u32) -> Result<Terms> {
        if let Some(terms) = self.terms.get(&instrument) {
            return Ok(*terms);
        }
        let terms = past.ask(InstrumentQuery::new(instrument).as_bytes(), |answer| match answer {
            Answer::Instrument(answer) => Some(Terms {
                base: answer.definition.base.get(),
                quote: answer.definition.quote.get(),
                quote_per_tick_lot: answer.definition.quote_per_tick_lot.get(),
                base_per_lot: answer.definition.base_per_lot.get(),
            }),
            _ => None,
        })?;
        let terms = terms.ok_or_else(|| {
            CliError::new(format!("there is no instrument {instrument}, and it trades"), DEFECT)
        })?;
        self.terms.insert(instrument, terms);
        Ok(terms)
    }

    /// The flows of an event, each with the balance behind it. Flows of 0 are left out.
    pub fn take(&mut self, past: &Past, event: &Happening<'_>) -> Result<Vec<Flow>> {
        let mut flows = Vec::new();
        for bytes in event.outputs {
            if let Ok(Output::Fill(fill)) = Output::decode(bytes) {
                let terms = self.terms(past, fill.instrument.get())?;
                flows.extend(of_fill(fill, terms));
            }
        }
        flows.extend(of_transfer(event));
        flows.retain(|flow| flow.amount != 0);
        for flow in &mut flows {
            let balance = self.balances.entry((flow.account, flow.currency)).or_default();
            *balance += flow.amount;
            flow.balance = *balance;
        }
        Ok(flows)
    }

    /// Compares what the movements add up to with what the exchange says that accounts have.
    pub fn check(&self, past: &Past) -> Result<()> {
        let differing = self.differing(past)?;
        let Some(first) = differing.first() else { return Ok(()) };
        Err(CliError::new(
            format!("the statements do not add up in {} places: {first}", differing.len()),
            DEFECT,
        ))
    }

    /// Accounts and currencies whose sums are not what the exchange says they have.
    fn differing(&self, past: &Past) -> Result<Vec<String>> {
        let mut differing = Vec::new();
        let accounts: BTreeMap<u32, ()> = self.balances.keys().map(|(account, _)| (*account, ())).collect();
        for account in accounts.into_keys() {
            let held: BTreeMap<u32, i128> = balances(past, account)?
                .into_iter()
                .map(|(currency, free, held)| (currency, i128::from(free) + i128::from(held)))
                .collect();
            for ((_, currency), sum) in self.balances.range((account, 0)..=(account, u32::MAX)) {
                let has = held.get(currency).copied().unwrap_or(0);
                if has != *sum {
                    differing.push(format!(
                        "account {account} has {has} of currency {currency}, its movements add up to {sum}"
                    ));
                }
            }
        }
        Ok(differing)
    }
}

/// What one side of a trade moves. Fees go to the exchange's own account, 0.
fn of_fill(fill: &FillReport, terms: Terms) -> [Flow; 4] {
    let lots = i128::from(fill.quantity.get());
    let quote = i128::from(fill.price.get()) * lots * i128::from(terms.quote_per_tick_lot);
    let base = lots * i128::from(terms.base_per_lot);
    let fee = i128::from(fill.fee.get());
    let (base, quote) = if fill.side == Side::Buy { (base, -quote) } else { (-base, quote) };
    let flow = |currency, why, amount| Flow {
        account: fill.account.get(),
        currency,
        why,
        amount,
        reference: fill.index.get().into(),
        balance: 0,
    };
    [
        flow(terms.base, Why::Trade, base),
        flow(terms.quote, Why::Trade, quote),
        flow(fill.fee_currency.get(), Why::Fee, -fee),
        Flow { account: 0, ..flow(fill.fee_currency.get(), Why::Fee, fee) },
    ]
}

/// The transfer that was executed, if the event is one. A repeat is given the first one's reply, with its number.
fn of_transfer(event: &Happening<'_>) -> Option<Flow> {
    let (command, reply) = (event.command.as_ref()?, event.reply?);
    let (why, transfer) = match Request::decode(command.payload).ok()? {
        Request::Deposit(transfer) => (Why::Deposit, transfer),
        Request::Withdraw(transfer) => (Why::Withdrawal, transfer),
        _ => return None,
    };
    let Ok(Reply::Transfer(reply)) = Reply::decode(reply) else { return None };
    let is_first = reply.code.get() == 0 && reply.seq.get() == event.seq;
    let amount = i128::from(transfer.amount.get());
    is_first.then(|| Flow {
        account: transfer.account.get(),
        currency: transfer.currency.get(),
        why,
        amount: if why == Why::Deposit { amount } else { -amount },
        reference: transfer.transaction.get(),
        balance: 0,
    })
}
