//! What happened in a run: a running digest of every event, counters of what was reached, and on demand
//! the events in print.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

#[derive(Debug, Default)]
struct Inner {
    print: bool,
    now: u64,
    digest: u64,
    marks: BTreeMap<&'static str, u64>,
    failure: Option<Failure>,
}

/// A checker found something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Name of the checker.
    pub checker: &'static str,
    /// What it found.
    pub what: String,
}

impl core::fmt::Display for Failure {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "[{}] {}", self.checker, self.what)
    }
}

/// Handle of a run's record; all parts of a simulation write to the same one.
#[derive(Clone, Debug, Default)]
pub struct Trace(Arc<Mutex<Inner>>);

const fn mix(digest: u64, word: u64) -> u64 {
    (digest ^ word).wrapping_mul(0x2545_f491_4f6c_dd1d).rotate_left(29)
}

impl Trace {
    /// An empty record, printing events as they come if `print`.
    #[must_use]
    pub fn new(print: bool) -> Self {
        Self(Arc::new(Mutex::new(Inner { print, ..Inner::default() })))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Simulated time moves on.
    pub fn at(&self, now: u64) {
        self.inner().now = now;
    }

    /// An event with its numbers.
    pub fn event(&self, name: &'static str, numbers: &[u64]) {
        let mut inner = self.inner();
        let mut digest = mix(inner.digest, inner.now);
        for chunk in name.as_bytes().chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            digest = mix(digest, u64::from_le_bytes(word));
        }
        inner.digest = numbers.iter().fold(digest, |digest, number| mix(digest, *number));
        if inner.print {
            println!("{:>13.6} ms  {name} {numbers:?}", inner.now as f64 / 1e6);
        }
    }

    /// A line for the reader only.
    pub fn say(&self, text: impl FnOnce() -> String) {
        let inner = self.inner();
        if inner.print {
            println!("{:>13.6} ms  {}", inner.now as f64 / 1e6, text());
        }
    }

    /// Something worth reaching was reached.
    pub fn mark(&self, name: &'static str) {
        self.mark_times(name, 1);
    }

    /// It was reached so many times.
    pub fn mark_times(&self, name: &'static str, times: u64) {
        if times > 0 {
            *self.inner().marks.entry(name).or_default() += times;
        }
    }

    /// What was reached, and how often.
    #[must_use]
    pub fn marks(&self) -> BTreeMap<&'static str, u64> {
        self.inner().marks.clone()
    }

    /// A checker's finding. The first one counts.
    pub fn fail(&self, checker: &'static str, what: impl Into<String>) {
        let mut inner = self.inner();
        if inner.failure.is_none() {
            let failure = Failure { checker, what: what.into() };
            if inner.print {
                println!("{:>13.6} ms  FAILED {failure}", inner.now as f64 / 1e6);
            }
            inner.failure = Some(failure);
        }
    }

    /// The first finding.
    #[must_use]
    pub fn failure(&self) -> Option<Failure> {
        self.inner().failure.clone()
    }

    /// Digest of all events: equal runs have equal digests.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.inner().digest
    }
}
