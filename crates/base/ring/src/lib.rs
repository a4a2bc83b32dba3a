//! The rings.
pub mod log {
    //! The log ring.
    /// Bytes of the ring that cannot be overwritten while this lives.
    #[derive(Debug)]
    pub struct PinnedBytes(Vec<u8>);
    impl core::ops::Deref for PinnedBytes {
        type Target = [u8];
        fn deref(&self) -> &[u8] {
            &self.0
        }
    }
}
