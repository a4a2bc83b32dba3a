//! Money in and out.

use crate::engine::permitted;
use crate::transfers::Executed;
use crate::{Context, Engine, Sink, Step};
use ordain_exchange_protocol::{IntoBytes, Reject, Schema, Transfer, TransferReply, Zero, permission};

/// Most of a currency that there can be.
pub(crate) const SUPPLY_MAX: u64 = i64::MAX as u64;

impl Engine {
    pub(crate) fn transfer<S: Sink>(&mut self, context: &Context, message: &Transfer, sink: &mut S) -> Step {
        let (code, executed) = match self.execute_transfer(context, message) {
            Ok(executed) => (None, executed),
            Err(code) => {
                let nothing = Executed { free: 0, ..transfer_of(context, message) };
                (Some(code), nothing)
            }
        };
        let reply = TransferReply {
            tag: TransferReply::TAG,
            schema: Schema::V1,
            code: Reject::to_wire(code),
            account: executed.account.into(),
            currency: executed.currency.into(),
            reserved: [Zero::Zero; 4],
            transaction: executed.transaction.into(),
            amount: executed.amount.into(),
            free: executed.free.into(),
            seq: executed.seq.into(),
            time: executed.time.into(),
        };
        sink.reply(reply.as_bytes());
        Step::Done
    }

    fn execute_transfer(&mut self, context: &Context, message: &Transfer) -> Result<Executed, Reject> {
        permitted(context, permission::CUSTODY)?;
        let mut transfer = transfer_of(context, message);
        if !self.accounts.get(transfer.account as usize).is_some_and(|account| account.exists) {
            return Err(Reject::UnknownAccount);
        }
        self.check_currency(transfer.currency)?;
        if !(1..=SUPPLY_MAX).contains(&transfer.amount) {
            return Err(Reject::AmountInvalid);
        }
        if let Some(first) = self.transfers.find(transfer.account, transfer.transaction) {
            let same = (first.currency, first.amount, first.withdrawal)
                == (transfer.currency, transfer.amount, transfer.withdrawal);
            return if same { Ok(*first) } else { Err(Reject::TransactionConflict) };
        }
        let at = self.ledger.at(transfer.account, transfer.currency);
        if transfer.withdrawal {
            if self.accesses.any() && transfer.account != 0 {
                self.check_access(&self.accounts[transfer.account as usize], true)?;
            }
            if transfer.amount > self.ledger.free(at) {
                return Err(Reject::InsufficientFunds);
            }
            self.ledger.withdraw(at, transfer.amount);
        } else {
            if transfer.amount > SUPPLY_MAX - self.ledger.supply(transfer.currency) {
                return Err(Reject::SupplyExceeded);
            }
            self.ledger.deposit(at, transfer.amount);
        }
        transfer.free = self.ledger.free(at);
        self.transfers.push(transfer);
        Ok(transfer)
    }

    pub(crate) fn check_currency(&self, currency: u32) -> Result<(), Reject> {
        if (1..=self.limits.currencies).contains(&currency) {
            Ok(())
        } else {
            Err(Reject::CurrencyOutOfRange)
        }
    }
}

fn transfer_of(context: &Context, message: &Transfer) -> Executed {
    Executed {
        account: message.account.get(),
        currency: message.currency.get(),
        transaction: message.transaction.get(),
        amount: message.amount.get(),
        withdrawal: message.tag == Transfer::WITHDRAW,
        free: 0,
        seq: context.seq,
        time: context.time,
    }
}
