//! Memory on a tmpfs.

use ordain_agent::witness::Witness;
use ordain_host::witness::{SHARED_MEMORY, SharedMemory};
use ordain_types::BatchIndex;
use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// The file that `open` makes; `None`, aloud, where there is no shared memory.
fn open(dir: &Path, data: &Path) -> Option<(SharedMemory, PathBuf)> {
    match SharedMemory::open(dir, data) {
        Ok(memory) => {
            let path = fs::read_dir(dir).unwrap().next().unwrap().unwrap().path();
            Some((memory, path))
        }
        Err(error) => {
            // Past the capture of the test harness, which would hide it.
            let _ = writeln!(std::io::stderr(), "SKIPPED: no shared memory in {}: {error}", dir.display());
            None
        }
    }
}

#[test]
fn what_was_noted_is_recalled_by_the_next_process_and_nobody_else() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let Ok(shared) = tempfile::tempdir_in(SHARED_MEMORY) else {
        let _ = writeln!(std::io::stderr(), "SKIPPED: {SHARED_MEMORY} cannot be written to");
        return;
    };
    let Some((mut memory, path)) = open(shared.path(), one.path()) else { return };
    assert_eq!(memory.recall(), None, "nothing was noted");
    for written in [7, u64::MAX, 0, 4] {
        memory.note(BatchIndex(written)).unwrap();
        let again = SharedMemory::open(shared.path(), one.path()).unwrap();
        assert_eq!(again.recall(), Some(BatchIndex(written)));
    }
    assert_eq!(SharedMemory::open(shared.path(), other.path()).unwrap().recall(), None);

    let whole = fs::read(&path).unwrap();
    for len in 0..16 {
        fs::write(&path, &whole[..len]).unwrap();
        assert_eq!(memory.recall(), None, "{len} bytes");
    }
    for bit in 0..128 {
        let mut spoilt = whole.clone();
        spoilt[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, spoilt).unwrap();
        assert_eq!(memory.recall(), None, "bit {bit}");
    }

    // What others could write to, or chose, is not believed.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    let kind = |dir: &Path| SharedMemory::open(dir, one.path()).unwrap_err().kind();
    assert_eq!(kind(shared.path()), ErrorKind::PermissionDenied);
    fs::remove_file(&path).unwrap();
    symlink(one.path().join("elsewhere"), &path).unwrap();
    SharedMemory::open(shared.path(), one.path()).unwrap_err();
    assert!(!one.path().join("elsewhere").exists());
}

#[test]
fn a_file_system_on_a_disk_is_no_memory() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let error = SharedMemory::open(dir.path(), dir.path()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}
