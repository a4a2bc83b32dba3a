//! Files of messages.
//!
//! Each message stands behind its length in two bytes, big-endian; a length of 0 ends the file. There are also files
//! in which two zero bytes stand in front of each message and its length is that of its type; they are known by
//! beginning so, as a file of lengths that begins with its own end has nothing to say. Either may be compressed by
//! gzip, in any number of members.

use crate::message::{self, MESSAGE_MAX};
use core::fmt;
use flate2::read::MultiGzDecoder;
use std::io::{self, Read};

/// Longest message that a length can announce, with the length.
const FRAME_MAX: usize = 2 + u16::MAX as usize;
/// Bytes read ahead: enough that a message is whole, and that each turn of the source is worth it.
const BUFFER: usize = 1 << 17;
const _: () = assert!(FRAME_MAX <= BUFFER && MESSAGE_MAX <= FRAME_MAX);

const GZIP: [u8; 2] = [0x1f, 0x8b];

/// What stands in front of each message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Its length.
    Length,
    /// Two zero bytes.
    Zeros,
}

/// Why a file cannot be read on. Offsets count bytes of the file, uncompressed, and are those of the message
/// concerned, with what stands in front of it.
#[derive(Debug)]
pub enum FileError {
    /// The source failed, or is no whole gzip file.
    Read(io::Error),
    /// The file ends inside a message.
    Cut(u64),
    /// Where the two zero bytes should be is something else.
    NotZero(u64),
    /// A type whose length is not known, where nothing else says how long the message is.
    NoLength(u64, u8),
    /// The file goes on behind its end.
    BehindEnd(u64),
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(error) => write!(f, "{error}"),
            Self::Cut(at) => write!(f, "it ends inside the message at byte {at}"),
            Self::NotZero(at) => {
                write!(f, "the message at byte {at} does not begin with two zero bytes as others do")
            }
            Self::NoLength(at, kind) => {
                write!(
                    f,
                    "the message at byte {at} has the unknown type `{}` and no length",
                    kind.escape_ascii()
                )
            }
            Self::BehindEnd(at) => write!(f, "it goes on behind its end at byte {at}"),
        }
    }
}

impl std::error::Error for FileError {}

/// A message's bytes, and where they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Of the file, uncompressed, and of what stands in front of the message.
    pub offset: u64,
    /// The message.
    pub bytes: &'a [u8],
}

/// Reads a file's messages one after another, in 128 KiB of memory and what gzip takes.
pub struct Reader<R> {
    source: R,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Offset of `start`.
    offset: u64,
    framing: Option<Framing>,
}

/// A reader of a file that is compressed or not.
///
/// # Errors
/// If the source cannot be read.
pub fn open<R: Read + 'static>(mut source: R) -> io::Result<Reader<Box<dyn Read>>> {
    let mut first = Vec::with_capacity(GZIP.len());
    source.by_ref().take(GZIP.len() as u64).read_to_end(&mut first)?;
    let compressed = first == GZIP;
    let whole = io::Cursor::new(first).chain(source);
    Ok(Reader::new(if compressed { Box::new(MultiGzDecoder::new(whole)) } else { Box::new(whole) }))
}

impl<R: Read> Reader<R> {
    /// A reader of uncompressed bytes.
    pub fn new(source: R) -> Self {
        Self { source, buffer: vec![0; BUFFER], start: 0, end: 0, offset: 0, framing: None }
    }

    /// What stands in front of each message, once the first was read.
    pub const fn framing(&self) -> Option<Framing> {
        self.framing
    }

    /// The next message, which may be of any length and type; none at the end.
    ///
    /// # Errors
    /// See [`FileError`].
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, FileError> {
        let at = self.offset;
        if !self.fill(1)? {
            return Ok(None);
        }
        if !self.fill(2)? {
            return Err(FileError::Cut(at));
        }
        let prefix = u16::from_be_bytes([self.buffer[self.start], self.buffer[self.start + 1]]);
        let framing = if prefix == 0 { Framing::Zeros } else { Framing::Length };
        let len = match (*self.framing.get_or_insert(framing), prefix) {
            (Framing::Length, 0) => return self.finish(),
            (Framing::Length, len) => usize::from(len),
            (Framing::Zeros, 0) => {
                if !self.fill(3)? {
                    return Err(FileError::Cut(at));
                }
                let kind = self.buffer[self.start + 2];
                message::len_of(kind).ok_or(FileError::NoLength(at, kind))?
            }
            (Framing::Zeros, _) => return Err(FileError::NotZero(at)),
        };
        if !self.fill(2 + len)? {
            return Err(FileError::Cut(at));
        }
        let bytes = self.start + 2..self.start + 2 + len;
        self.start = bytes.end;
        self.offset += 2 + len as u64;
        Ok(Some(Frame { offset: at, bytes: &self.buffer[bytes] }))
    }

    /// The end mark was met: it stays the next thing, so that asking again gives the end again.
    fn finish(&mut self) -> Result<Option<Frame<'_>>, FileError> {
        if self.fill(3)? {
            return Err(FileError::BehindEnd(self.offset + 2));
        }
        Ok(None)
    }

    /// Reads until `len` bytes are there, or says that the source ends before.
    fn fill(&mut self, len: usize) -> Result<bool, FileError> {
        if self.end - self.start >= len {
            return Ok(true);
        }
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        while self.end < len {
            match self.source.read(&mut self.buffer[self.end..]) {
                Ok(0) => return Ok(false),
                Ok(read) => self.end += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(FileError::Read(error)),
            }
        }
        Ok(true)
    }
}
