//! Messages put together byte by byte.

/// A message of a fixed length, zero where nothing was put.
pub struct Message(Vec<u8>);

impl Message {
    /// A message with its tag and schema version.
    pub fn new(tag: u8, bytes: usize) -> Self {
        Self::entry(bytes).put(0, 1, tag).put(1, 1, 1u8)
    }

    /// An entry of a list, which has neither.
    pub fn entry(bytes: usize) -> Self {
        Self(vec![0; bytes])
    }

    /// Puts an integer of `size` bytes, little-endian, signed or not, at byte `at`.
    pub fn put(mut self, at: usize, size: usize, value: impl Into<i128>) -> Self {
        let value = value.into();
        let bits = 8 * size;
        assert!((-(1 << (bits - 1))..1 << bits).contains(&value), "{value} does not fit into {size} bytes");
        self.0[at..at + size].copy_from_slice(&value.to_le_bytes()[..size]);
        self
    }

    /// Puts bytes at byte `at`.
    pub fn put_bytes(mut self, at: usize, bytes: &[u8]) -> Self {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    pub fn bytes(self) -> Vec<u8> {
        self.0
    }
}
