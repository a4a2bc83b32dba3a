//! Keeping the process in memory.

use core::fmt;
use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{Resource, getrlimit};

/// Memory is not locked: the node runs, but what is swapped out answers late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockError {
    error: rustix::io::Errno,
    /// Bytes that the process may lock; `None` if there is no limit.
    limit: Option<u64>,
}

impl fmt::Display for LockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.error)?;
        if let Some(limit) = self.limit {
            write!(
                f,
                ", with a limit of {limit} bytes: raise it (`ulimit -l`; LimitMEMLOCK in a systemd unit)"
            )?;
        }
        Ok(())
    }
}

impl std::error::Error for LockError {}

/// Locks all memory that the process has and will have, each page when it is first touched: buffers that are
/// mostly never touched stay free.
///
/// # Errors
/// [`LockError`].
pub fn lock() -> Result<(), LockError> {
    mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT)
        .map_err(|error| LockError { error, limit: getrlimit(Resource::Memlock).current })
}
