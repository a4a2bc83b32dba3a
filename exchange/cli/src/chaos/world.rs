//! What needs privileges: a network namespace for each node, so that its cable can be pulled, and a small file system
//! for each, so that its disk can be full. Where the machine does not permit them, they are left out, aloud.

use crate::error::{CliError, Result};
use std::fs::File;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Runs a program of the system and says what it said if it fails.
fn system(program: &str, arguments: &[&str]) -> Result<()> {
    let failed = |why: String| {
        CliError::new(
            format!("`{program} {}` failed: {why}", arguments.join(" ")),
            "Run as root with iproute2, e2fsprogs and util-linux, or do without.",
        )
    };
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = output.map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}

/// A bridge with a network namespace for each node. Dropped, all of it goes.
pub struct Namespaces {
    bridge: String,
    net: [u8; 3],
    nodes: Vec<String>,
}

impl Namespaces {
    /// Makes them, in a network that is set aside for measurements (RFC 2544).
    pub fn new(nodes: usize) -> Result<Self> {
        let id = std::process::id();
        let net = [198, 18 + (id >> 8 & 1) as u8, id as u8];
        let bridge = format!("oc{id}");
        // Whatever is there when a step fails goes with this.
        let mut made = Self { bridge, net, nodes: Vec::new() };
        let bridge = made.bridge.clone();
        system("ip", &["link", "add", &bridge, "type", "bridge"])?;
        system("ip", &["address", "add", &format!("{}/24", made.host()), "dev", &bridge])?;
        system("ip", &["link", "set", &bridge, "up"])?;
        for node in 0..nodes {
            let (namespace, cable) = (format!("{bridge}n{node}"), made.cable(node));
            system("ip", &["netns", "add", &namespace])?;
            made.nodes.push(namespace.clone());
            let end = ["type", "veth", "peer", "name", "eth0", "netns", &namespace];
            system("ip", &[&["link", "add", &cable], end.as_slice()].concat())?;
            system("ip", &["link", "set", &cable, "master", &bridge, "up"])?;
            let address = format!("{}/24", made.address(node));
            system("ip", &["-n", &namespace, "address", "add", &address, "dev", "eth0"])?;
            for device in ["lo", "eth0"] {
                system("ip", &["-n", &namespace, "link", "set", device, "up"])?;
            }
        }
        Ok(made)
    }

    fn cable(&self, node: usize) -> String {
        format!("{}v{node}", self.bridge)
    }

    /// The namespace of a node.
    pub fn name(&self, node: usize) -> &str {
        &self.nodes[node]
    }

    /// Where this process is, seen from the nodes.
    pub const fn host(&self) -> Ipv4Addr {
        Ipv4Addr::new(self.net[0], self.net[1], self.net[2], 1)
    }

    /// Where a node is.
    pub const fn address(&self, node: usize) -> Ipv4Addr {
        Ipv4Addr::new(self.net[0], self.net[1], self.net[2], 10 + node as u8)
    }

    /// Pulls a node's cable, or plugs it in again.
    pub fn plug(&self, node: usize, plugged: bool) -> Result<()> {
        system("ip", &["link", "set", &self.cable(node), if plugged { "up" } else { "down" }])
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        // A cable goes with its namespace. What was never made cannot go.
        for namespace in &self.nodes {
            let _ = system("ip", &["netns", "delete", namespace]);
        }
        let _ = system("ip", &["link", "delete", &self.bridge]);
    }
}

/// A file system in a file, which this process can fill. Dropped, it is unmounted.
pub struct SmallDisk {
    mount: PathBuf,
    is_mounted: bool,
}

impl SmallDisk {
    /// Makes one of `bytes` at `mount`, in the file beside it.
    pub fn new(mount: &Path, bytes: u64) -> Result<Self> {
        let failed = |error: std::io::Error| CliError::new(error, "Check the directory.");
        let image = mount.with_extension("img");
        std::fs::create_dir_all(mount).map_err(failed)?;
        File::create(&image).and_then(|file| file.set_len(bytes)).map_err(failed)?;
        let (image, at) = (image.to_string_lossy(), mount.to_string_lossy());
        system("mkfs.ext4", &["-q", "-F", "-m", "0", &image])?;
        let mut made = Self { mount: mount.to_owned(), is_mounted: false };
        system("mount", &["-o", "loop", &image, &at])?;
        made.is_mounted = true;
        Ok(made)
    }

    fn filler(&self) -> PathBuf {
        self.mount.join("filler")
    }

    /// Leaves nothing free.
    pub fn fill(&self) -> Result<()> {
        let failed = |error| CliError::new(format!("a disk cannot be filled: {error}"), "Report this.");
        let file = File::create(self.filler()).map_err(failed)?;
        let mut len = 0;
        // Down to single blocks, because what is free is in pieces.
        let mut step = 64 << 20;
        while step >= 4096 {
            match rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), len, step) {
                Ok(()) => len += step,
                Err(rustix::io::Errno::NOSPC) => step /= 2,
                Err(error) => return Err(failed(error.into())),
            }
        }
        Ok(())
    }

    /// Gives back what [`SmallDisk::fill`] took.
    pub fn free(&self) {
        // Not there: it was not full.
        let _ = std::fs::remove_file(self.filler());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if self.is_mounted {
            let _ = system("umount", &["-l", &self.mount.to_string_lossy()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_takes_nothing_more_until_it_is_freed() {
        let folder = tempfile::tempdir().unwrap();
        let disk = match SmallDisk::new(&folder.path().join("disk"), 32 << 20) {
            Ok(disk) => disk,
            Err(error) => return eprintln!("SKIPPED: {error}"),
        };
        let write = || std::fs::write(folder.path().join("disk/file"), [7; 8192]);
        disk.fill().unwrap();
        assert_eq!(write().unwrap_err().raw_os_error(), Some(rustix::io::Errno::NOSPC.raw_os_error()));
        disk.free();
        write().unwrap();
    }
}
