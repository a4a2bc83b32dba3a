//! The file `address` of a data directory: where the running node is reached. For programs that start a node
//! and let the system choose its ports.
//!
//! One address a line: `tcp HOST:PORT`, `unix PATH`, `ops HOST:PORT`. The file is there from the moment at
//! which clients can connect until the node stops. One that a killed node left behind is removed by the next
//! start.

use crate::server::Addresses;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// Name of the file.
pub const FILE: &str = "address";

/// The file of a running node, removed when dropped.
#[derive(Debug)]
pub(crate) struct AddressFile(PathBuf);

impl AddressFile {
    /// Removes what a killed node left behind.
    pub fn clear(data: &Path) -> io::Result<Self> {
        let path = data.join(FILE);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(Self(path)),
        }
    }

    /// Writes the file, so that readers find it whole or not at all.
    pub fn write(&self, addresses: &Addresses) -> io::Result<()> {
        let mut text = String::new();
        let infallible = "writing to a string cannot fail";
        for address in &addresses.tcp {
            writeln!(text, "tcp {address}").expect(infallible);
        }
        for path in &addresses.unix {
            writeln!(text, "unix {}", path.display()).expect(infallible);
        }
        if let Some(address) = &addresses.ops {
            writeln!(text, "ops {address}").expect(infallible);
        }
        // A name that the next start of the node clears away.
        let new = self.0.with_file_name(".new-address");
        fs::write(&new, text)?;
        fs::rename(new, &self.0)
    }
}

impl Drop for AddressFile {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next start.
        let _ = fs::remove_file(&self.0);
    }
}

/// Where the node that runs on `data` is reached; `None` while there is none, or it is not ready.
///
/// # Errors
/// If the file cannot be read, or is not one that a node writes.
pub fn read(data: &Path) -> io::Result<Option<Addresses>> {
    let text = match fs::read_to_string(data.join(FILE)) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        text => text?,
    };
    let mut addresses = Addresses { tcp: Vec::new(), unix: Vec::new(), ops: None };
    for line in text.lines() {
        let socket = |text: &str| text.parse().map_err(|_| invalid(line));
        match line.split_once(' ').ok_or_else(|| invalid(line))? {
            ("tcp", address) => addresses.tcp.push(socket(address)?),
            ("unix", path) => addresses.unix.push(path.into()),
            ("ops", address) => addresses.ops = Some(socket(address)?),
            _ => return Err(invalid(line)),
        }
    }
    Ok(Some(addresses))
}

fn invalid(line: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("`{line}` is no address of a node"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_goes_with_the_node() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE), "tcp 127.0.0.1:1\n").unwrap();
        let file = AddressFile::clear(dir.path()).unwrap();
        assert_eq!(read(dir.path()).unwrap(), None);
        let addresses = Addresses {
            tcp: vec!["127.0.0.1:7".parse().unwrap(), "[::1]:8".parse().unwrap()],
            unix: vec!["/a b/socket".into()],
            ops: Some("127.0.0.1:9".parse().unwrap()),
        };
        file.write(&addresses).unwrap();
        assert_eq!(read(dir.path()).unwrap(), Some(addresses));
        drop(file);
        assert_eq!(read(dir.path()).unwrap(), None);
        fs::write(dir.path().join(FILE), "tcp nowhere\n").unwrap();
        assert!(read(dir.path()).is_err());
    }
}
