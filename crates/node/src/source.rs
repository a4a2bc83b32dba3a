//! Apply's view of the log, from its journal reader.

use ordain_agent::Fatal;
use ordain_agent::disk::Disk;
use ordain_apply::BatchSource;
use ordain_journal::{LogReader, Peek};
use ordain_types::{BatchIndex, BatchView, Position};

/// A [`LogReader`].
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

    fn seek(&mut self, at: Position, next: BatchIndex) {
        self.0.seek(at, next);
    }

    fn disk(&mut self) -> Option<&mut dyn Disk> {
        self.0.disk().map(|disk| disk as &mut dyn Disk)
    }

    fn let_go(&mut self) {
        let (at, next) = (self.0.position(), self.0.next_index());
        self.0.seek(at, next);
    }
}
