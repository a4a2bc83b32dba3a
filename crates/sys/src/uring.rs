//! Writes and syncs by io_uring, with buffers that belong to the ring until the kernel is done with them.

use crate::memory::AlignedBuffer;
use io_uring::types::{Fd, FsyncFlags};
use io_uring::{IoUring, opcode, squeue};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Arc;

/// An operation that the kernel has.
#[derive(Debug)]
struct Pending {
    /// Open until the kernel is done with it.
    _file: Arc<File>,
    buffer: Option<AlignedBuffer>,
}

/// A finished operation.
#[derive(Debug)]
pub struct Done {
    /// As submitted.
    pub tag: usize,
    /// Bytes written; 0 for a sync.
    pub result: io::Result<usize>,
    /// The buffer of a write.
    pub buffer: Option<AlignedBuffer>,
}

/// A ring for a few operations at a time. Dropping it waits for them.
pub struct Uring {
    ring: IoUring,
    /// By tag.
    pending: Vec<Option<Pending>>,
    in_flight: usize,
}

impl std::fmt::Debug for Uring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Uring").field("in_flight", &self.in_flight).finish_non_exhaustive()
    }
}

impl Uring {
    /// A ring for up to `depth` operations, tagged 0 to `depth - 1`.
    ///
    /// # Errors
    /// If the kernel has no io_uring, or denies it to this process, as container runtimes do by default.
    pub fn new(depth: u16) -> io::Result<Self> {
        let mut builder = IoUring::builder();
        // Completions are worked off by this thread's next system call instead of interrupting it; the flag
        // tells when they wait for one.
        builder.setup_coop_taskrun().setup_taskrun_flag();
        let ring = builder.build(u32::from(depth))?;
        let pending = (0..depth).map(|_| None).collect();
        Ok(Self { ring, pending, in_flight: 0 })
    }

    /// Operations that the kernel has.
    #[must_use]
    pub const fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Writes the first `len` bytes of `buffer` at `offset`; `durable`: done only when they are on the device,
    /// with all metadata needed to read them back.
    ///
    /// # Errors
    /// If the kernel does not take the operation. The ring is of no use then.
    ///
    /// # Panics
    /// If `tag` is in use or out of range, or `len` beyond the buffer.
    pub fn write(
        &mut self,
        tag: usize,
        file: &Arc<File>,
        offset: u64,
        buffer: AlignedBuffer,
        len: usize,
        durable: bool,
    ) -> io::Result<()> {
        let bytes = &buffer[..len];
        let flags = if durable { DSYNC } else { 0 };
        let len = u32::try_from(len).expect("writes are far below 4 GiB");
        let entry = opcode::Write::new(Fd(file.as_raw_fd()), bytes.as_ptr(), len);
        let entry = entry.offset(offset).rw_flags(flags).build();
        self.submit(tag, &entry, file, Some(buffer))
    }

    /// Makes what was written to `file` durable.
    ///
    /// # Errors
    /// As [`Uring::write`].
    ///
    /// # Panics
    /// If `tag` is in use or out of range.
    pub fn sync_data(&mut self, tag: usize, file: &Arc<File>) -> io::Result<()> {
        let entry = opcode::Fsync::new(Fd(file.as_raw_fd())).flags(FsyncFlags::DATASYNC).build();
        self.submit(tag, &entry, file, None)
    }

    fn submit(
        &mut self,
        tag: usize,
        entry: &squeue::Entry,
        file: &Arc<File>,
        buffer: Option<AlignedBuffer>,
    ) -> io::Result<()> {
        assert!(self.pending[tag].is_none(), "a tag means one operation at a time");
        self.pending[tag] = Some(Pending { _file: file.clone(), buffer });
        let entry = entry.clone().user_data(tag as u64);
        // SAFETY: the descriptor and the bytes that the entry names live in `pending` until its completion
        // was taken; a drop waits for that, and a ring that is leaked leaks them too. A buffer's bytes do not
        // move with it.
        unsafe { self.ring.submission().push(&entry) }.expect("as many entries as tags");
        self.in_flight += 1;
        loop {
            match self.ring.submit() {
                Ok(_) => return Ok(()),
                Err(error) if Errno::from_io_error(&error) == Some(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The next finished operation, if any. Never waits.
    pub fn poll(&mut self) -> Option<Done> {
        if self.in_flight == 0 {
            return None;
        }
        if self.ring.submission().taskrun() {
            // Lets finished operations post their completions; a failure is repeated at the next poll.
            let _ = self.ring.submit_and_wait(0);
        }
        self.take()
    }

    fn take(&mut self) -> Option<Done> {
        let completion = self.ring.completion().next()?;
        let tag = usize::try_from(completion.user_data()).expect("tags are small");
        let pending = self.pending[tag].take().expect("only what was submitted completes");
        self.in_flight -= 1;
        let result = match completion.result() {
            bytes @ 0.. => Ok(bytes as usize),
            error => Err(io::Error::from_raw_os_error(-error)),
        };
        Some(Done { tag, result, buffer: pending.buffer })
    }
}

/// RWF_DSYNC, see pwritev2(2).
const DSYNC: i32 = 2;

impl AsFd for Uring {
    /// Readable while completions can be taken.
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the ring's descriptor is open as long as the ring, which is borrowed for as long.
        unsafe { BorrowedFd::borrow_raw(self.ring.as_raw_fd()) }
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        while self.in_flight > 0 {
            if self.take().is_some() {
                continue;
            }
            if let Err(error) = self.ring.submit_and_wait(1)
                && Errno::from_io_error(&error) != Some(Errno::INTR)
            {
                // The kernel may still read the buffers: they must not be given back.
                std::mem::forget(std::mem::take(&mut self.pending));
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    fn ring() -> Option<Uring> {
        match Uring::new(4) {
            Ok(ring) => Some(ring),
            Err(error) => {
                println!("SKIPPED: this system has no io_uring: {error}");
                None
            }
        }
    }

    fn wait(ring: &mut Uring) -> Done {
        loop {
            if let Some(done) = ring.poll() {
                return done;
            }
            std::thread::yield_now();
        }
    }

    fn buffer(byte: u8) -> AlignedBuffer {
        let mut buffer = AlignedBuffer::new(4096, 4096);
        buffer.fill(byte);
        buffer
    }

    #[test]
    fn what_is_written_can_be_read_and_buffers_come_back() {
        let Some(mut ring) = ring() else { return };
        let file = Arc::new(tempfile::tempfile().unwrap());
        ring.write(0, &file, 0, buffer(1), 4096, true).unwrap();
        ring.write(1, &file, 4096, buffer(2), 100, false).unwrap();
        let mut seen = [wait(&mut ring), wait(&mut ring)];
        seen.sort_by_key(|done| done.tag);
        for (done, (bytes, content)) in seen.iter().zip([(4096, 1), (100, 2)]) {
            assert_eq!(*done.result.as_ref().unwrap(), bytes);
            assert!(done.buffer.as_ref().unwrap().iter().all(|byte| *byte == content));
        }
        ring.sync_data(3, &file).unwrap();
        assert_eq!(wait(&mut ring).result.unwrap(), 0);
        assert!(ring.poll().is_none() && ring.in_flight() == 0);
        let mut found = vec![0; 5000];
        assert_eq!(file.read_at(&mut found, 0).unwrap(), 4196);
        assert!(
            found[..4096].iter().all(|byte| *byte == 1) && found[4096..4196].iter().all(|byte| *byte == 2)
        );
    }

    #[test]
    fn an_error_names_its_operation() {
        let Some(mut ring) = ring() else { return };
        let path = tempfile::NamedTempFile::new().unwrap();
        let read_only = Arc::new(File::open(path.path()).unwrap());
        ring.write(2, &read_only, 0, buffer(1), 10, true).unwrap();
        let done = wait(&mut ring);
        assert_eq!((done.tag, done.buffer.is_some()), (2, true));
        assert_eq!(Errno::from_io_error(&done.result.unwrap_err()), Some(Errno::BADF));
    }

    #[test]
    fn a_drop_waits() {
        let Some(mut ring) = ring() else { return };
        let file = Arc::new(tempfile::tempfile().unwrap());
        for tag in 0..4 {
            ring.write(tag, &file, tag as u64 * 4096, buffer(tag as u8 + 1), 4096, true).unwrap();
        }
        drop(ring);
        let mut found = vec![0; 4 * 4096];
        file.read_exact_at(&mut found, 0).unwrap();
        assert!(found.chunks(4096).zip(1..).all(|(chunk, byte)| chunk.iter().all(|found| *found == byte)));
    }
}
