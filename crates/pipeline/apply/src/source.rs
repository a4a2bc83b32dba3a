//! Where batches come from.

use ordain_agent::Fatal;
use ordain_agent::disk::Disk;
use ordain_journal::{LogReader, Peek};
use ordain_types::{BatchIndex, BatchView, Position};

/// The log as apply reads it: from the first batch, in order, wherever the bytes lie.
pub trait BatchSource: Send {
    /// The next batch if it is at hand and its index is at most `limit`. Gives the same batch until
    /// [`BatchSource::advance`].
    ///
    /// # Errors
    /// [`Fatal`] if the log cannot be read.
    fn peek(&mut self, limit: BatchIndex) -> Result<Option<BatchView<'_>>, Fatal>;

    /// Goes on to the batch behind the one that [`BatchSource::peek`] gave, whose bytes may be overwritten.
    fn advance(&mut self);

    /// Goes on with batch `next`, which begins at `at`.
    fn seek(&mut self, at: Position, next: BatchIndex);

    /// The disk, to restore a snapshot from, as soon as the source has nothing in flight there. It must
    /// [`BatchSource::seek`] before it goes on.
    fn disk(&mut self) -> Option<&mut dyn Disk>;

    /// The log is about to be cut somewhere behind what was advanced over: lets go of everything that was
    /// looked at beyond that.
    fn let_go(&mut self);
}

impl<D: Disk> BatchSource for LogReader<D> {
    fn peek(&mut self, limit: BatchIndex) -> Result<Option<BatchView<'_>>, Fatal> {
        match LogReader::peek(self, limit) {
            Ok(Peek::Batch(batch)) => Ok(Some(batch)),
            Ok(Peek::Pending | Peek::End) => Ok(None),
            Err(error) => Err(Fatal::new("apply cannot read the log any further", error.to_string())),
        }
    }

    fn advance(&mut self) {
        LogReader::advance(self);
    }

    fn seek(&mut self, at: Position, next: BatchIndex) {
        LogReader::seek(self, at, next);
    }

    fn disk(&mut self) -> Option<&mut dyn Disk> {
        LogReader::disk(self).map(|disk| disk as &mut dyn Disk)
    }

    fn let_go(&mut self) {
        LogReader::seek(self, self.position(), self.next_index());
    }
}
