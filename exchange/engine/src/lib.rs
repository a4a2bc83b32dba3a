//! The exchange's engine: accounts, risk and price-time matching as one deterministic state machine.
//!
//! [`Engine::apply`] takes a decoded request and what the log says about it, and gives a reply and outputs
//! to a [`Sink`]. The rules are those of `docs/format/exchange.md` and `docs/exchange/`. There is no I/O, clock, randomness or
//! floating point, no hash table is iterated, and commands allocate nothing once [`Engine::new`] has
//! reserved what [`Limits`] allow. So equal states given equal requests stay equal.
//!
//! * [`limits`](Limits): every bound, and what happens at it.
//! * `orders`: a slab of 64-byte orders; an order id is a slot and how often the slot was used.
//! * `levels`: prices of a side sorted with the best at the end, each with a queue of orders.
//! * `ledger`: balances and holds. Money moves here and nowhere else.
//! * `instrument`, `accounts`: terms of trading; who may act for whom, and whose orders are live.
//! * `engine`: the state, and the way from a request to its command. `entry`: new orders and their risk checks.
//!   `matching`: trades. `owners`: orders of one owner that meet. `waiting`: orders that wait for a trade, and what a trade
//!   sets off. `expiry`: orders that end at a time. `states`: what may be done in instruments, and
//!   what a change of that brings about. `auction`, `uncross`: orders that gather, and trade at one price. `day`: orders that end
//!   with the day or with an auction. `disconnect`: orders that end when their session's client is gone. `bands`: where may be traded. `timers`, `schedule`: what happens to instruments at a time. `access`, `kill`, `risk`: who may do what and how much, and operators who end it. `amend`, `cancel`, `custody`, `admin`: the other commands.
//! * `fees`: what accounts of a tier pay in instruments of a class. `query`: the questions. `snapshot`: the state as bytes
//!   and back. `audit`: a recount of everything kept twice.
#![forbid(unsafe_code)]

mod access;
mod accounts;
mod admin;
mod amend;
mod auction;
mod audit;
mod bands;
mod cancel;
mod copies;
mod custody;
mod day;
mod disconnect;
mod engine;
mod entry;
mod expiry;
mod feed;
mod fees;
mod index;
mod instrument;
mod keys;
mod kill;
mod ledger;
mod levels;
mod limits;
mod matching;
mod orders;
mod owners;
mod query;
mod reply;
mod risk;
mod schedule;
mod snapshot;
mod states;
mod timers;
mod transfers;
mod uncross;
mod waiting;
mod warm;

pub use access::FIRMS;
pub use accounts::OpenOrder;
pub use engine::Engine;
pub use limits::{KEYS_PER_ACCOUNT, Limits};
pub use ordain_exchange_protocol::Audience;
pub use risk::{PAIRED_ACCOUNTS, PAIRS};
pub use snapshot::LoadError;

/// What the log says about a request. Replicated facts only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// Number of the request in the log.
    pub seq: u64,
    /// Log time, nanoseconds since the Unix epoch.
    pub time: u64,
    /// Key that sent it.
    pub key: u32,
    /// Permission bits of that key.
    pub permissions: u32,
    /// Session that sent it; 0 if none did.
    pub session: u64,
}

/// Takes what an event says. Calls come in the order in which readers are to see them.
pub trait Sink {
    /// The reply to the request's sender. Called once per event, after all outputs but those of market data.
    fn reply(&mut self, bytes: &[u8]);
    /// A message to others.
    fn output(&mut self, audience: Audience, bytes: &[u8]);
    /// From this request on, whether the engine is to be told when the client of the session that sent it is gone
    /// ([`Engine::lost`]) and what else becomes of it.
    fn watch(&mut self, on: bool) {
        let _ = on;
    }
}

/// How far an event has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Step {
    /// The event is finished and answered.
    Done,
    /// [`Engine::resume`] must be called before anything else is asked of the engine.
    More,
}

/// Most outputs of one step. A bound on steps, not on events.
pub const STEP_OUTPUTS_MAX: usize = 60;

const _: () = assert!(matching::MATCH_OUTPUTS < STEP_OUTPUTS_MAX);
