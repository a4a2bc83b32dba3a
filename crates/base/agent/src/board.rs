//! Where the log stage posts the configuration of the cluster, for those who tell others of it.

use crate::shared::Cursor;
use ordain_types::Configuration;
use std::sync::{Arc, Mutex, PoisonError};

/// Holds the latest configuration. Who reads it looks at a cursor each time and takes the lock only when that has
/// changed: configurations change when an operator changes them.
#[derive(Debug, Default)]
pub struct Board {
    posts: Cursor,
    configuration: Mutex<Option<Arc<Configuration>>>,
}

impl Board {
    /// Replaces what is posted. One thread at a time does that.
    pub fn post(&self, configuration: Configuration) {
        let configuration = Some(Arc::new(configuration));
        *self.configuration.lock().unwrap_or_else(PoisonError::into_inner) = configuration;
        self.posts.store(self.posts.load() + 1);
    }

    /// What is posted, if that was not `seen` yet.
    pub fn news(&self, seen: &mut u64) -> Option<Arc<Configuration>> {
        let posts = self.posts.load();
        if posts == *seen {
            return None;
        }
        *seen = posts;
        // At least as new as the count says; the next look takes it again if it is newer.
        self.configuration.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ordain_types::{ClusterFacts, ClusterId, Nanos};

    #[test]
    fn news_is_told_once() {
        let (board, mut seen) = (Board::default(), 0);
        assert_eq!(board.news(&mut seen), None);
        for version in [4, 5] {
            let facts = ClusterFacts::new(ClusterId([1; 16]), Nanos(1), 1);
            board.post(Configuration { version, ..Configuration::initial(&facts, &[]) });
            assert_eq!(board.news(&mut seen).map(|news| news.version), Some(version));
            assert_eq!(board.news(&mut seen), None);
        }
    }
}
