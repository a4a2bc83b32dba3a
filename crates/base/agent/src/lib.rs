//! What a stage is ([`Agent`]), how it reaches the world ([`disk`], [`net`], [`peer`]), and the cursors
//! through which stages meet ([`shared`]).
//!
//! Nothing here opens a file or socket, starts a thread or reads a clock: `host` does for processes, `sim`
//! for simulations.
#![forbid(unsafe_code)]

pub mod board;
pub mod damage;
pub mod digests;
pub mod disk;
pub mod framing;
pub mod metrics;
pub mod net;
pub mod peer;
pub mod planted;
pub mod shared;
pub mod side;
pub mod states;
pub mod wire;
pub mod witness;

use core::fmt;
use ordain_types::{Nanos, Now};

/// A stage of the pipeline. Runners own threads, waiting and the clock; a stage only ever works.
pub trait Agent: Send {
    /// For thread names, metrics and errors.
    fn name(&self) -> &'static str;

    /// Does a bounded amount of work, about `limit` units of the stage's own kind (frames, records,
    /// batches, completions), and says how much it did; zero means idle. Never blocks, sleeps, spawns,
    /// spins or reads a clock: what must be waited for is a state that the next call looks at.
    ///
    /// # Errors
    /// [`Fatal`] if the node must stop.
    fn do_work(&mut self, now: Now, limit: usize) -> Result<usize, Fatal>;

    /// Monotonic time at which the stage wants to be called though nothing arrives.
    fn next_deadline(&self) -> Option<Nanos> {
        None
    }

    /// Monotonic time before which the stage will not look at its sockets, so that their news need not wake
    /// it: like a network card that gathers packets before it interrupts.
    fn deaf_until(&self) -> Option<Nanos> {
        None
    }
}

impl<A: Agent + ?Sized> Agent for Box<A> {
    fn name(&self) -> &'static str {
        (**self).name()
    }

    fn do_work(&mut self, now: Now, limit: usize) -> Result<usize, Fatal> {
        (**self).do_work(now, limit)
    }

    fn next_deadline(&self) -> Option<Nanos> {
        (**self).next_deadline()
    }

    fn deaf_until(&self) -> Option<Nanos> {
        (**self).deaf_until()
    }
}

/// Why a node must stop. Written for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fatal {
    /// What happened, with the names and numbers needed to find it.
    pub cause: String,
    /// What the operator can do about it.
    pub action: String,
    /// The node need only begin anew, from what its disk holds: nobody has to do anything.
    pub begins_anew: bool,
    /// The node's log goes on in a lineage that was ended (rule R7): before the next start its files are to be moved
    /// aside, so that it joins empty and nothing of them is lost.
    pub outlived: bool,
    /// No start will succeed before an operator has done something: whoever restarts nodes that failed is to leave it.
    pub is_final: bool,
}

impl Fatal {
    /// A fatal condition with its cause and the operator's next action.
    #[must_use]
    pub fn new(cause: impl Into<String>, action: impl Into<String>) -> Self {
        let (cause, action) = (cause.into(), action.into());
        Self { cause, action, begins_anew: false, outlived: false, is_final: false }
    }

    /// Why a node begins anew in the same process.
    #[must_use]
    pub fn anew(cause: impl Into<String>) -> Self {
        Self { begins_anew: true, ..Self::new(cause, "The node begins anew by itself") }
    }

    /// No start will succeed.
    #[must_use]
    pub fn for_good(self) -> Self {
        Self { is_final: true, ..self }
    }

    /// The node's log is of a lineage that was ended.
    #[must_use]
    pub fn outlived(self) -> Self {
        Self { outlived: true, ..self }
    }
}

impl fmt::Display for Fatal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}. {}", self.cause, self.action)
    }
}

impl std::error::Error for Fatal {}
