//! What the machine itself needs for the operations that every answer waits for. Figures of a node mean
//! something only beside these, measured at the same time.

use hdrhistogram::Histogram;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

/// Bytes of a measured write.
const BLOCK: usize = 4096;

/// Bytes of a measured message.
const MESSAGE: usize = 64;

/// Blocks of the pre-allocated file, written in turn.
const BLOCKS: u64 = 1024;

/// Nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Floor {
    /// Median.
    pub p50: u64,
    /// 99th percentile.
    pub p99: u64,
}

/// How the measured file is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// Filled with zeros and synced before: the floor S.
    Zeroed,
    /// Growing with each write.
    Appended,
    /// Zeroed, past the page cache (`O_DIRECT`). Not every file system has it.
    Direct,
}

fn measure(rounds: usize, mut round: impl FnMut() -> std::io::Result<()>) -> std::io::Result<Floor> {
    // A tenth of the rounds warms up.
    for _ in 0..rounds / 10 {
        round()?;
    }
    let mut histogram = Histogram::<u64>::new_with_bounds(1, 60_000_000_000, 3).expect("valid bounds");
    for _ in 0..rounds {
        let start = Instant::now();
        round()?;
        histogram.saturating_record(start.elapsed().as_nanos() as u64);
    }
    Ok(Floor { p50: histogram.value_at_quantile(0.5), p99: histogram.value_at_quantile(0.99) })
}

/// A 4 KiB write and fdatasync to a file in `dir`, which is removed afterwards.
///
/// # Errors
/// The operating system's.
pub fn sync(dir: &Path, kind: FileKind, rounds: usize) -> std::io::Result<Floor> {
    let path = dir.join(format!("floor-{}", std::process::id()));
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(true);
    let file = options.open(&path)?;
    let measured = (|| {
        if kind != FileKind::Appended {
            file.write_all_at(&vec![0; BLOCK * BLOCKS as usize], 0)?;
            file.sync_all()?;
        }
        let file = match kind {
            FileKind::Direct => {
                let flag = rustix::fs::OFlags::DIRECT.bits();
                File::options().write(true).custom_flags(flag as i32).open(&path)?
            }
            _ => file,
        };
        // O_DIRECT wants memory that is aligned to blocks: such a part of twice as much.
        let memory = vec![0x5a; 2 * BLOCK];
        let start = memory.as_ptr().align_offset(BLOCK);
        let block = &memory[start..start + BLOCK];
        let mut at = 0;
        measure(rounds, || {
            file.write_all_at(block, at * BLOCK as u64)?;
            at += 1;
            if kind != FileKind::Appended {
                at %= BLOCKS;
            }
            file.sync_data()
        })
    })();
    std::fs::remove_file(&path)?;
    measured
}

/// A round trip of 64 bytes over loopback TCP between two threads, which block (the floor P) or poll.
///
/// # Errors
/// The operating system's.
pub fn ping(busy: bool, rounds: usize) -> std::io::Result<Floor> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let mut client = TcpStream::connect(listener.local_addr()?)?;
    let (mut server, _) = listener.accept()?;
    for stream in [&client, &server] {
        stream.set_nodelay(true)?;
        stream.set_nonblocking(busy)?;
    }
    let echo = std::thread::spawn(move || {
        let mut message = [0; MESSAGE];
        while receive(&mut server, &mut message).is_ok() && server.write_all(&message).is_ok() {}
    });
    let mut message = [0x5a; MESSAGE];
    let measured = measure(rounds, || {
        client.write_all(&message)?;
        receive(&mut client, &mut message)
    });
    drop(client);
    echo.join().map_err(|_| std::io::Error::other("the echoing thread panicked"))?;
    measured
}

/// Reads a whole message; asks again at once where there is none yet.
fn receive(stream: &mut TcpStream, message: &mut [u8]) -> std::io::Result<()> {
    let mut filled = 0;
    while filled < message.len() {
        match stream.read(&mut message[filled..]) {
            Ok(0) => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            Ok(bytes) => filled += bytes,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => std::hint::spin_loop(),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The calibration C: how long a fixed amount of integer work and hashing takes on one core, the best of five
/// tries.
#[must_use]
pub fn calibrate() -> Duration {
    let mut number = 0x9e37_79b9_7f4a_7c15_u64;
    let mut block = [0_u8; BLOCK];
    (0..5)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..2_000 {
                for _ in 0..2_000 {
                    // xorshift64 (Marsaglia 2003): a chain that cannot be reordered.
                    number ^= number << 13;
                    number ^= number >> 7;
                    number ^= number << 17;
                }
                block[..8].copy_from_slice(&number.to_le_bytes());
                let hash = blake3::hash(&block);
                block[8..40].copy_from_slice(hash.as_bytes());
            }
            std::hint::black_box(&block);
            start.elapsed()
        })
        .min()
        .expect("five tries")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floors_are_measured_and_leave_nothing_behind() {
        let temp = tempfile::tempdir().unwrap();
        for kind in [FileKind::Zeroed, FileKind::Appended] {
            let floor = sync(temp.path(), kind, 20).unwrap();
            assert!(floor.p50 > 0 && floor.p50 <= floor.p99);
        }
        for busy in [false, true] {
            let floor = ping(busy, 50).unwrap();
            assert!(floor.p50 > 0 && floor.p50 <= floor.p99);
        }
        assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 0);
    }
}
