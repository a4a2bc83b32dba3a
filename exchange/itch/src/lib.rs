//! Nasdaq TotalView-ITCH 5.0: what its messages say, read from files of them, raw or compressed by gzip.
//!
//! Written from Nasdaq's public document "Nasdaq TotalView-ITCH 5.0". [`message`] is its tables, [`file`] how files
//! hold messages, [`audit`] what can be checked of a file as a whole. Nothing here trusts a byte: any input gives
//! messages, counts of what was none, or an error, in bounded memory.
#![forbid(unsafe_code)]

pub mod audit;
pub mod file;
pub mod message;
