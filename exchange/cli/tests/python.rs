//! The Python client knows nothing but the pages in `docs/format`. Its tests, run against this program, hold the pages
//! to it.

use std::io::{ErrorKind, Write as _};
use std::process::Command;

#[test]
fn the_client_written_from_the_page_works() {
    let output = Command::new("python3")
        .args(["-B", "-m", "unittest", "-v"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../../clients/python"))
        .env("ORDAIN_BIN", env!("CARGO_BIN_EXE_ordain"))
        .output();
    let output = match output {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            // Past the capture of the test harness, which would hide it.
            let _ = writeln!(std::io::stderr(), "SKIPPED: no python3 in PATH");
            return;
        }
        other => other.expect("python3 starts"),
    };
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{log}");
    assert!(log.contains("EndToEnd") && !log.contains("skipped"), "not everything ran:\n{log}");
}
