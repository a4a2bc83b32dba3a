//! Apply's view of the log, from its journal reader.

use ordain_agent::Fatal;
use ordain_agent::disk::Disk;
use ordain_apply::BatchSource;
use ordain_journal::{LogReader, Peek};
use ordain_types::{BatchIndex, BatchView, Position};

/// A [`LogReader`] from the first batch on.
pub struct Source<D>(LogReader<D>);

impl<D: Disk> Source<D> {
    pub const fn new(reader: LogReader<D>) -> Self {
        Self(reader)
    }
}

impl<D: Disk> BatchSource for Source<D> {
    fn peek(&mut self, limit: BatchIndex) -> Result<Option<BatchView<'_>>, Fatal> {
        match self.0.peek(limit) {
            Ok(Peek::Batch(batch)) => Ok(Some(batch)),
            Ok(Peek::Pending | Peek::End) => Ok(None),
            Err(error) => Err(Fatal::new("the log cannot be replayed", error.to_string())),
        }
    }

    fn advance(&mut self) {
        self.0.advance();
    }

    fn restart(&mut self) {
        self.0.seek(Position(0), BatchIndex(1));
    }

    fn let_go(&mut self) {
        let (at, next) = (self.0.position(), self.0.next_index());
        self.0.seek(at, next);
    }
}
