//! Counters and gauges with one writer each, read by whoever prints them.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// A number with one writer. Cheap enough for any path: a plain load and store.
#[derive(Clone, Debug, Default)]
pub struct Gauge(Arc<AtomicU64>);

impl Gauge {
    /// Sets the value.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Adds to the value. Only its one writer may call this: it is no atomic addition.
    pub fn add(&self, by: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
    }

    /// The value.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a number means to those who scrape it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
}

#[derive(Debug)]
struct Entry {
    name: &'static str,
    help: &'static str,
    kind: Kind,
    value: Gauge,
}

/// All numbers of a node. Filled while the node is put together; its lock is never taken on a hot path.
#[derive(Clone, Debug, Default)]
pub struct Registry(Arc<Mutex<Vec<Entry>>>);

impl Registry {
    /// Registers a counter; `name` in Prometheus form without unit suffix left out (`ordain_batches_total`).
    #[must_use]
    pub fn counter(&self, name: &'static str, help: &'static str) -> Gauge {
        self.register(name, help, Kind::Counter)
    }

    /// Registers a gauge.
    #[must_use]
    pub fn gauge(&self, name: &'static str, help: &'static str) -> Gauge {
        self.register(name, help, Kind::Gauge)
    }

    fn register(&self, name: &'static str, help: &'static str, kind: Kind) -> Gauge {
        let value = Gauge::default();
        let mut entries = self.0.lock().expect("no holder of this lock panics");
        assert!(entries.iter().all(|entry| entry.name != name), "metric {name} registered twice");
        entries.push(Entry { name, help, kind, value: value.clone() });
        value
    }

    /// The value of a metric by its name, for tests and tools.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<u64> {
        let entries = self.0.lock().expect("no holder of this lock panics");
        entries.iter().find(|entry| entry.name == name).map(|entry| entry.value.get())
    }

    /// The Prometheus text format.
    #[must_use]
    pub fn render(&self) -> String {
        use core::fmt::Write;
        let mut text = String::new();
        for entry in self.0.lock().expect("no holder of this lock panics").iter() {
            let kind = match entry.kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
            };
            let Entry { name, help, value, .. } = entry;
            writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {}", value.get())
                .expect("writing to a string cannot fail");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_rendered() {
        let registry = Registry::default();
        let batches = registry.counter("ordain_batches_total", "Batches sealed.");
        batches.add(2);
        batches.add(3);
        assert_eq!(registry.value("ordain_batches_total"), Some(5));
        assert!(registry.render().contains("# TYPE ordain_batches_total counter\nordain_batches_total 5\n"));
    }
}
