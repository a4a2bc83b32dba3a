//! Drop copies: a firm hears what its accounts hear. Rules: `docs/exchange/drop-copies.md`.

use crate::access::FIRMS;
use crate::admin::reply_admin;
use crate::keys::Keys;
use crate::reply::Answer;
use crate::{Context, Engine, Sink, Step};
use ordain_exchange_protocol::{
    Audience, GrantAction, GrantFirm, IntoBytes, MassCancelReply, OrderReply2, Reject, permission,
};
use zerocopy::Immutable;

/// Level of behaviour with which this begins.
const LEVEL: u16 = 1;

/// See the module.
pub(crate) struct Copies {
    /// Some firm's stream has readers.
    pub on: bool,
    /// By firm id.
    pub readers: Vec<Keys>,
    /// Copies that were made since room was taken for them.
    made: usize,
}

impl Copies {
    pub fn new() -> Self {
        Self { on: false, readers: vec![Keys::NONE; FIRMS as usize + 1], made: 0 }
    }

    /// Finds out whether anybody listens.
    pub fn settle(&mut self) {
        self.on = !self.readers.iter().all(Keys::is_empty);
    }

    /// Copies since the last call.
    pub const fn take_made(&mut self) -> usize {
        std::mem::replace(&mut self.made, 0)
    }
}

impl Engine {
    pub(crate) fn grant_firm<S: Sink>(
        &mut self,
        context: &Context,
        message: &GrantFirm,
        permitted: Result<(), Reject>,
        sink: &mut S,
    ) -> Step {
        let done = permitted.and_then(|()| self.change_readers(message));
        reply_admin(context, message.firm.get(), done, sink)
    }

    fn change_readers(&mut self, message: &GrantFirm) -> Result<(), Reject> {
        let firm = message.firm.get();
        if self.level < LEVEL {
            return Err(Reject::NotBegun);
        }
        if !(1..=FIRMS).contains(&firm) {
            return Err(Reject::FirmOutOfRange);
        }
        let readers = &mut self.copies.readers[firm as usize];
        match message.action {
            GrantAction::Grant if !readers.insert(message.key.get()) => return Err(Reject::GrantsFull),
            GrantAction::Grant => {}
            GrantAction::Revoke => readers.remove(message.key.get()),
        }
        self.copies.settle();
        Ok(())
    }

    /// Whether a key with these permissions may read what the firm's stream says.
    #[must_use]
    pub fn may_read_firm(&self, firm: u32, key: u32, permissions: u32) -> bool {
        let granted = || self.copies.readers[firm as usize].contains(key);
        permissions & permission::VIEW != 0
            && (1..=FIRMS).contains(&firm)
            && (permissions & permission::ADMIN != 0 || granted())
    }

    /// Tells an account, and its firm.
    #[inline]
    pub(crate) fn tell_account<M: IntoBytes + Immutable + Copy, S: Sink>(
        &mut self,
        account: u32,
        report: &M,
        sink: &mut S,
    ) {
        sink.output(Audience::Account(account), report.as_bytes());
        if self.copies.on {
            // Of its own, so that a report that nobody copies need not be in memory before it is where it goes.
            let copy = *report;
            self.copy(account, copy.as_bytes(), sink);
        }
    }

    /// Answers a command about an order, and lets the firm know what was accepted.
    #[inline]
    pub(crate) fn answer<S: Sink>(&mut self, answer: &Answer, sink: &mut S) {
        answer.send(sink);
        if self.copies.on && answer.reply.code.get() == 0 {
            let account = answer.reply.account.get();
            if answer.second {
                let reply = OrderReply2::new(&answer.reply, answer.price, answer.prevented);
                self.copy(account, reply.as_bytes(), sink);
            } else {
                self.copy(account, answer.reply.as_bytes(), sink);
            }
        }
    }

    /// Answers an account's mass cancel that was accepted.
    pub(crate) fn answer_swept<S: Sink>(&mut self, reply: &MassCancelReply, sink: &mut S) {
        sink.reply(reply.as_bytes());
        if self.copies.on {
            self.copy(reply.account.get(), reply.as_bytes(), sink);
        }
    }

    #[cold]
    fn copy<S: Sink>(&mut self, account: u32, bytes: &[u8], sink: &mut S) {
        let firm = self.accounts[account as usize].firm;
        if firm != 0 && !self.copies.readers[firm as usize].is_empty() {
            sink.output(Audience::Firm(firm), bytes);
            self.copies.made += 1;
        }
    }
}
