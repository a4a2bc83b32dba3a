//! The configurations that may be in force, as far as a log says.

use crate::message::Copies;
use ordain_types::BatchIndex;
use ordain_types::configuration::Configuration;

/// The end of a log's configurations. A leader logs one only when the one before is committed, so a log that holds
/// a configuration says of all before it that they are: two are enough to know what may count.
#[derive(Clone, Debug)]
pub(crate) struct Configs {
    /// Committed.
    settled: (BatchIndex, Configuration),
    /// Behind it, and not known to be committed.
    pending: Option<(BatchIndex, Configuration)>,
    /// From which batch on which W. One item for each change of W that operators made since the log's beginning
    /// or the snapshot that this node started from.
    windows: Vec<(BatchIndex, u64)>,
}

impl Configs {
    pub(crate) fn new(first: BatchIndex, configuration: Configuration) -> Self {
        let windows = vec![(first, configuration.unsynced_max)];
        Self { settled: (first, configuration), pending: None, windows }
    }

    pub(crate) fn push(&mut self, index: BatchIndex, configuration: Configuration) {
        if self.window() != configuration.unsynced_max {
            self.windows.push((index, configuration.unsynced_max));
        }
        if let Some(before) = self.pending.replace((index, configuration)) {
            self.settled = before;
        }
        assert!(self.settled.0 < index, "configurations come in order");
    }

    /// Forgets all behind `to`; whether there was one.
    ///
    /// # Panics
    /// If a committed one would be forgotten.
    pub(crate) fn truncate(&mut self, to: BatchIndex) -> bool {
        assert!(self.settled.0 <= to, "a committed configuration is cut");
        self.windows.retain(|(index, _)| *index <= to);
        self.pending.take_if(|(index, _)| *index > to).is_some()
    }

    /// Everything up to `commit` is committed; whether that is news.
    pub(crate) fn settle(&mut self, commit: BatchIndex) -> bool {
        let news = self.pending.take_if(|(index, _)| *index <= commit);
        if let Some(news) = news {
            self.settled = news;
            return true;
        }
        false
    }

    /// The last one: it says who votes.
    pub(crate) const fn latest(&self) -> &Configuration {
        match &self.pending {
            Some((_, configuration)) => configuration,
            None => &self.settled.1,
        }
    }

    /// The last that is known to be committed.
    pub(crate) const fn settled(&self) -> &Configuration {
        &self.settled.1
    }

    /// The batch of the one that is not.
    pub(crate) fn pending(&self) -> Option<BatchIndex> {
        self.pending.as_ref().map(|(index, _)| *index)
    }

    /// R6: the weakest copies that may have been enough for a batch behind the settled one.
    pub(crate) fn weakest(&self) -> Copies {
        let settled = Copies::of(&self.settled.1);
        self.pending.as_ref().map_or(settled, |(_, pending)| settled.min(Copies::of(pending)))
    }

    /// R6: what batches before the pending configuration need, and what it and those behind it need until it is
    /// committed: a weaker number counts only then, a stronger one at once.
    pub(crate) fn counting(&self) -> (Copies, Option<(BatchIndex, Copies)>) {
        let settled = Copies::of(&self.settled.1);
        (settled, self.pending.as_ref().map(|(index, pending)| (*index, settled.max(Copies::of(pending)))))
    }

    /// W, by the last configuration.
    pub(crate) fn window(&self) -> u64 {
        self.windows.last().map_or(0, |(_, window)| *window)
    }

    /// R6: W for a node whose disk has the log up to `durable`: what it owes after a power loss goes by what its
    /// disk knows then, and that may be any from there on.
    pub(crate) fn window_of(&self, durable: BatchIndex) -> u64 {
        if let [(first, window)] = self.windows[..] {
            return if first <= durable { window } else { 0 };
        }
        let known = self.windows.partition_point(|(index, _)| *index <= durable);
        if known == 0 {
            return 0;
        }
        self.windows[known - 1..].iter().map(|(_, window)| *window).min().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ordain_types::{ClusterFacts, ClusterId, Nanos};

    /// Between growing and shrinking and growing again a node may lose power with any of them on its disk.
    #[test]
    fn a_window_is_the_least_that_the_disk_may_know_when_it_stops() {
        let facts = ClusterFacts::new(ClusterId([1; 16]), Nanos(1), 3);
        let of = |unsynced_max| Configuration { unsynced_max, ..Configuration::initial(&facts, &[]) };
        let mut configs = Configs::new(BatchIndex(0), of(64));
        let window = |configs: &Configs, durable| configs.window_of(BatchIndex(durable));
        assert_eq!(window(&configs, 0), 64);
        configs.push(BatchIndex(10), of(16));
        assert_eq!([9, 10].map(|durable| window(&configs, durable)), [16, 16]);
        configs.push(BatchIndex(20), of(200));
        assert_eq!([9, 19, 20].map(|durable| window(&configs, durable)), [16, 16, 200]);
    }
}
