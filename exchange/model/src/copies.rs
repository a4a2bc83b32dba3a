//! Drop copies: what a firm hears of its accounts.
//!
//! No command that tells of an order puts an account into another firm or changes who reads a firm's stream. So copies are made of
//! what was told once it is all there.

use crate::access::FIRMS;
use crate::{Context, Model, Outputs, ensure};
use ordain_exchange_protocol::{Audience, GrantAction, GrantFirm, Reject, Request, permission};
use std::collections::BTreeSet;

/// Most keys that may be granted a firm.
const KEYS_PER_FIRM: usize = 8;

impl Model {
    /// The keys granted a firm's stream.
    #[must_use]
    pub fn readers(&self, firm: u32) -> BTreeSet<u32> {
        self.readers.get(&firm).cloned().unwrap_or_default()
    }

    /// Whether a key may read a firm's stream.
    #[must_use]
    pub fn may_read_firm(&self, firm: u32, context: &Context) -> bool {
        let sees = context.may(permission::VIEW).is_ok();
        let granted = self.readers(firm).contains(&context.key) || context.may(permission::ADMIN).is_ok();
        sees && granted && (1..=FIRMS).contains(&firm)
    }

    pub(crate) fn grant_firm(&mut self, context: &Context, request: &GrantFirm) -> Result<(), Reject> {
        let (firm, key) = (request.firm.get(), request.key.get());
        context.may(permission::ADMIN)?;
        ensure(self.level >= 1, Reject::NotBegun)?;
        ensure((1..=FIRMS).contains(&firm), Reject::FirmOutOfRange)?;
        let keys = self.readers.entry(firm).or_default();
        match request.action {
            GrantAction::Grant => {
                ensure(keys.contains(&key) || keys.len() < KEYS_PER_FIRM, Reject::GrantsFull)?;
                keys.insert(key);
            }
            GrantAction::Revoke => {
                keys.remove(&key);
            }
        }
        Ok(())
    }

    /// Who hears copies of what concerns an account: its firm, if that has readers.
    fn copied_to(&self, account: u32) -> Option<Audience> {
        let firm = self.firm(account);
        (firm != 0 && !self.readers(firm).is_empty()).then_some(Audience::Firm(firm))
    }

    /// What is told, each report to an account with its copy right behind.
    pub(crate) fn with_copies(&self, told: Outputs) -> Outputs {
        let mut outputs = Outputs::new();
        for (audience, report) in told {
            let firm = if let Audience::Account(account) = audience { self.copied_to(account) } else { None };
            let copy = firm.map(|firm| (firm, report.clone()));
            outputs.push((audience, report));
            outputs.extend(copy);
        }
        outputs
    }

    /// The copy of a reply, if it is of a kind that is copied and the command was accepted.
    pub(crate) fn copy_of_reply(&self, request: &Request<'_>, reply: &[u8]) -> Option<(Audience, Vec<u8>)> {
        let account = match request {
            Request::NewOrder(it) => it.account,
            Request::NewOrder2(it) => it.account,
            Request::Cancel(it) => it.account,
            Request::Amend(it) => it.account,
            Request::Amend2(it) => it.account,
            Request::MassCancel(it) => it.account,
            _ => return None,
        };
        let accepted = reply[2..4] == [0, 0];
        let firm = self.copied_to(account.get()).filter(|_| accepted)?;
        Some((firm, reply.to_vec()))
    }
}
