//! Locking memory. In a process of its own, since limits are those of the whole process.

use ordain_host::memory;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
use std::io::Write;

fn locked() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmLck:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
}

#[test]
fn memory_is_locked_or_it_is_said_why_not() {
    // One who may lock anything is bound by no limit.
    let mut mine = capabilities(None).unwrap();
    mine.effective.remove(CapabilitySet::IPC_LOCK);
    set_capabilities(None, mine).unwrap();
    let before = getrlimit(Resource::Memlock);
    setrlimit(Resource::Memlock, Rlimit { current: Some(64 * 1024), ..before }).unwrap();
    let error = memory::lock().unwrap_err().to_string();
    let why = "Cannot allocate memory (os error 12), with a limit of 65536 bytes: raise it (`ulimit -l`; \
               LimitMEMLOCK in a systemd unit)";
    assert_eq!((error.as_str(), locked()), (why, 0));
    setrlimit(Resource::Memlock, Rlimit { current: Some(0), ..before }).unwrap();
    let error = memory::lock().unwrap_err().to_string();
    assert!(error.starts_with("Operation not permitted (os error 1), with a limit of 0 bytes: "), "{error}");

    setrlimit(Resource::Memlock, Rlimit { current: before.maximum, ..before }).unwrap();
    if let Some(limit) = before.maximum {
        // Past the capture of the test harness, which would hide it.
        let _ = writeln!(std::io::stderr(), "SKIPPED: locking, since only {limit} bytes may be locked here");
        return;
    }
    memory::lock().unwrap();
    assert!(locked() > 0);
}
