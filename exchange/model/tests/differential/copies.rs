//! What firms hear, as far as it says which rules of drop copies a stream met.

use ordain_exchange_engine::Context;
use ordain_exchange_protocol::{
    Audience, Control, Flag, GrantAction, Output, Reason, Reply, Request, permission,
};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Default)]
pub struct Copies {
    /// Keys granted, by firm.
    readers: BTreeMap<u32, BTreeSet<u32>>,
    /// By account: the firm that heard of it last.
    heard: BTreeMap<u32, u32>,
    /// Firms whose last key was revoked.
    left: BTreeSet<u32>,
    /// Whether grants come from a snapshot.
    restored: bool,
    /// What was reached.
    pub marks: Vec<&'static str>,
}

/// A fill of which a firm heard last: which trade, of which account.
type Fill = (u32, (u64, u32), u32);

impl Copies {
    /// The exchange goes on from a snapshot.
    pub fn restored(&mut self) {
        self.restored = self.readers.values().any(|keys| !keys.is_empty());
    }

    /// Whether a key that has VIEW may read a firm's stream.
    pub fn may_read(&mut self, context: &Context, may: bool) {
        let admin = context.permissions & permission::ADMIN != 0;
        if context.permissions & permission::VIEW != 0 {
            self.marks.push(match (may, admin) {
                (true, false) => "copy: a granted key may read",
                (true, true) => "copy: an administrator may read",
                (false, false) => "copy: another key may not read",
                (false, true) => "copy: there is no such firm",
            });
        }
    }

    /// Hears what came of a request, log time included.
    pub fn hear(&mut self, request: &Request<'_>, reply: &[u8], outputs: &[(Audience, Vec<u8>)]) {
        let auction = outputs.iter().any(|(audience, bytes)| {
            matches!(audience, Audience::Instrument(_))
                && matches!(Output::decode(bytes), Ok(Output::Auction(_)))
        });
        let mut last: Option<Fill> = None;
        for (audience, bytes) in outputs {
            if let Audience::Firm(firm) = *audience {
                self.copy(firm, request, bytes, auction, &mut last);
            }
        }
        let copied = outputs.iter().any(|output| matches!(output.0, Audience::Firm(_)));
        if copied && std::mem::take(&mut self.restored) {
            self.marks.push("copy: goes on behind a restore");
        }
        let accepted = Reply::decode(reply).expect("a reply").code() == 0;
        if let (Request::Control(Control::GrantFirm(it)), true) = (request, accepted) {
            self.grant(it.firm.get(), it.action, it.key.get());
        }
    }

    fn grant(&mut self, firm: u32, action: GrantAction, key: u32) {
        self.restored = false;
        let keys = self.readers.entry(firm).or_default();
        match action {
            GrantAction::Grant if !keys.insert(key) => self.marks.push("copy: granted already"),
            GrantAction::Grant => {}
            GrantAction::Revoke if !keys.remove(&key) => self.marks.push("copy: revoked already"),
            GrantAction::Revoke if keys.is_empty() => {
                self.left.insert(firm);
                self.marks.push("copy: the last key is revoked");
            }
            GrantAction::Revoke => self.marks.push("copy: a key is revoked, not the last"),
        }
    }

    fn copy(
        &mut self,
        firm: u32,
        request: &Request<'_>,
        bytes: &[u8],
        auction: bool,
        last: &mut Option<Fill>,
    ) {
        if self.left.remove(&firm) {
            self.marks.push("copy: granted again");
        }
        let account = match Output::decode(bytes) {
            Ok(report) => self.report(firm, &report, auction, last),
            Err(_) => self.reply(request, bytes),
        };
        if self.heard.insert(account, firm).is_some_and(|before| before != firm) {
            self.marks.push("copy: an account has changed its firm");
        }
    }

    /// Returns the account.
    fn report(&mut self, firm: u32, report: &Output<'_>, auction: bool, last: &mut Option<Fill>) -> u32 {
        match report {
            Output::Fill(it) => {
                let (trade, account) = ((it.seq.get(), it.index.get()), it.account.get());
                self.marks.push(match it.aggressor {
                    _ if auction => "copy: a fill, while an auction trades",
                    Flag::Yes => "copy: a fill, aggressor",
                    Flag::No => "copy: a fill, maker",
                });
                if let Some((heard, of, other)) = *last
                    && of == trade
                {
                    self.marks.push(match (heard == firm, other == account) {
                        (_, true) => "copy: an account trades with itself",
                        (true, false) => "copy: both accounts of a trade",
                        (false, false) => "copy: a trade of two firms",
                    });
                }
                *last = Some((firm, trade, account));
                account
            }
            Output::Cancel(it) => {
                self.marks.push(match it.reason {
                    Reason::Expired => "copy: an order expires",
                    Reason::Disconnected => "copy: a session's orders end",
                    Reason::MassCancelled => "copy: a mass cancel's report",
                    Reason::Killed => "copy: a kill",
                    Reason::Purged => "copy: a purge",
                    Reason::AuctionOver | Reason::DayOver => {
                        "copy: an order ends with its auction or the day"
                    }
                    _ => "copy: another cancel",
                });
                it.account.get()
            }
            Output::Prevent(it) => {
                self.marks.push("copy: a meeting");
                it.account.get()
            }
            Output::Trigger(it) => {
                self.marks.push("copy: a trigger");
                it.account.get()
            }
            other => unreachable!("no account is told {other:?}"),
        }
    }

    /// Returns the account.
    fn reply(&mut self, request: &Request<'_>, bytes: &[u8]) -> u32 {
        let account = match Reply::decode(bytes).expect("neither a report nor a reply") {
            Reply::Order(it) => it.account,
            Reply::Order2(it) => it.account,
            Reply::MassCancel(it) => it.account,
            other => unreachable!("no firm is told {other:?}"),
        };
        self.marks.push(match request {
            Request::NewOrder(_) => "copy: the reply to NewOrder",
            Request::NewOrder2(_) => "copy: the reply to NewOrder2",
            Request::Cancel(_) => "copy: the reply to Cancel",
            Request::Amend(_) => "copy: the reply to Amend",
            Request::Amend2(_) => "copy: the reply to Amend2",
            Request::MassCancel(_) => "copy: the reply to MassCancel",
            other => unreachable!("no firm is told the reply to {other:?}"),
        });
        account.get()
    }
}
