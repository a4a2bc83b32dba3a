//! Memory that outlives the process and not the operating system, for what a node must know of its last life
//! even if the disk then failed.

use ordain_types::BatchIndex;
use std::fmt;

/// See the module. One node's; a call takes about a microsecond and never waits for a disk.
pub trait Witness: Send {
    /// The last value noted in this run of the operating system; `None` if it is not known.
    fn recall(&self) -> Option<BatchIndex>;

    /// Notes that this node may have told others that it received everything up to `written`.
    ///
    /// # Errors
    /// [`WitnessError`]: what is remembered now is not known.
    fn note(&mut self, written: BatchIndex) -> Result<(), WitnessError>;
}

/// Nothing could be noted; the cause, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WitnessError(pub String);

impl fmt::Display for WitnessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for WitnessError {}
