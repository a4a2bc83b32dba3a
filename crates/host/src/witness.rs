//! Memory that outlives the process and not the operating system: a file on a tmpfs.

use ordain_agent::witness::{Witness, WitnessError};
use ordain_types::BatchIndex;
use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

/// Where Linux mounts a tmpfs for such files.
pub const SHARED_MEMORY: &str = "/dev/shm";
/// What `statfs` says of a tmpfs (`statfs(2)`).
const TMPFS: u64 = 0x0102_1994;

/// What the witness of a data directory recalls, for tools that change nothing; `None` without one.
#[must_use]
pub fn recall(data: &Path) -> Option<BatchIndex> {
    let data = data.canonicalize().ok()?;
    let file = File::open(Path::new(SHARED_MEMORY).join(name(&data))).ok()?;
    SharedMemory(file).recall()
}

fn name(data: &Path) -> String {
    format!("ordain-{}", blake3::hash(data.as_os_str().as_bytes()).to_hex())
}

/// See the module. The file's name is made from the path of the data directory. It holds the number and its
/// complement, 16 bytes that are written in one call, so that a killed process leaves them whole.
#[derive(Debug)]
pub struct SharedMemory(File);

impl SharedMemory {
    /// The memory in `dir` that belongs to the data directory `data`.
    ///
    /// # Errors
    /// The operating system's; `Unsupported` if `dir` is on no tmpfs, `PermissionDenied` if the file is somebody
    /// else's.
    pub fn open(dir: &Path, data: &Path) -> io::Result<Self> {
        if rustix::fs::statfs(dir)?.f_type as u64 != TMPFS {
            return Err(io::Error::new(io::ErrorKind::Unsupported, format!("{} is no tmpfs", dir.display())));
        }
        let data = data.canonicalize()?;
        let flags = OFlags::CREATE | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::open(dir.join(name(&data)), flags, Mode::RUSR | Mode::WUSR)?);
        // Anybody may make files there.
        let metadata = file.metadata()?;
        let is_own = metadata.is_file() && metadata.uid() == rustix::process::geteuid().as_raw();
        match is_own && metadata.mode() & 0o022 == 0 {
            true => Ok(Self(file)),
            false => {
                Err(io::Error::new(io::ErrorKind::PermissionDenied, "the file there is not this user's"))
            }
        }
    }
}

impl Witness for SharedMemory {
    fn recall(&self) -> Option<BatchIndex> {
        let mut bytes = [0; 16];
        self.0.read_exact_at(&mut bytes, 0).ok()?;
        let (number, complement) = bytes.split_at(8);
        let number = u64::from_le_bytes(number.try_into().expect("eight bytes"));
        (complement == (!number).to_le_bytes()).then_some(BatchIndex(number))
    }

    fn note(&mut self, written: BatchIndex) -> Result<(), WitnessError> {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&written.0.to_le_bytes());
        bytes[8..].copy_from_slice(&(!written.0).to_le_bytes());
        self.0.write_all_at(&bytes, 0).map_err(|error| WitnessError(error.to_string()))
    }
}
