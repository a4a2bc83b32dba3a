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
    /// `{name="value"}`, or nothing.
    label: String,
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
        self.register(name, String::new(), help, Kind::Counter)
    }

    /// Registers a gauge.
    #[must_use]
    pub fn gauge(&self, name: &'static str, help: &'static str) -> Gauge {
        self.register(name, String::new(), help, Kind::Gauge)
    }

    /// Registers a gauge of several of one name, told apart by a label.
    #[must_use]
    pub fn labelled(&self, name: &'static str, label: (&str, &str), help: &'static str) -> Gauge {
        self.register(name, format!("{{{}=\"{}\"}}", label.0, label.1), help, Kind::Gauge)
    }

    /// Registers a counter of several of one name, told apart by a label.
    #[must_use]
    pub fn labelled_counter(&self, name: &'static str, label: (&str, &str), help: &'static str) -> Gauge {
        self.register(name, format!("{{{}=\"{}\"}}", label.0, label.1), help, Kind::Counter)
    }

    fn register(&self, name: &'static str, label: String, help: &'static str, kind: Kind) -> Gauge {
        let value = Gauge::default();
        let mut entries = self.0.lock().expect("no holder of this lock panics");
        let taken = entries.iter().any(|entry| entry.name == name && entry.label == label);
        assert!(!taken, "metric {name}{label} registered twice");
        // What has one name stands together, as the text format wants it.
        let at = entries.iter().rposition(|entry| entry.name == name).map_or(entries.len(), |at| at + 1);
        entries.insert(at, Entry { name, label, help, kind, value: value.clone() });
        value
    }

    /// The first metric of this name, to be read again and again by tests and tools.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<Gauge> {
        let entries = self.0.lock().expect("no holder of this lock panics");
        entries.iter().find(|entry| entry.name == name).map(|entry| entry.value.clone())
    }

    /// The value of the first metric of this name, for tests and tools.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<u64> {
        self.find(name).map(|gauge| gauge.get())
    }

    /// The Prometheus text format.
    #[must_use]
    pub fn render(&self) -> String {
        use core::fmt::Write;
        let mut text = String::new();
        let infallible = "writing to a string cannot fail";
        let mut before = "";
        for entry in self.0.lock().expect("no holder of this lock panics").iter() {
            let kind = match entry.kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
            };
            let Entry { name, label, help, value, .. } = entry;
            if *name != before {
                writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}").expect(infallible);
            }
            before = name;
            writeln!(text, "{name}{label} {}", value.get()).expect(infallible);
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

    #[test]
    fn what_differs_by_a_label_stands_together() {
        let registry = Registry::default();
        let up = |peer| registry.labelled("ordain_peer_up", ("peer", peer), "Connected.");
        let (one, _) = (up("1"), registry.gauge("ordain_term", "Term."));
        up("2").set(7);
        one.set(3);
        let text = registry.render();
        let expected = "# HELP ordain_peer_up Connected.\n# TYPE ordain_peer_up gauge\n\
                        ordain_peer_up{peer=\"1\"} 3\nordain_peer_up{peer=\"2\"} 7\n";
        assert!(text.starts_with(expected), "{text}");
    }
}
