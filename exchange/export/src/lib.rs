//! Tables as files: CSV and Parquet, both made from one list of columns.
//!
//! A [`Column`] has a name, a type, and how a row is asked for it. What a column is in CSV and in Parquet follows from that, so
//! that the two formats have the same rows and names. This is the one crate that depends on `parquet`.
#![forbid(unsafe_code)]

mod column;
mod csv;
mod file;

pub use column::Column;
pub use file::ROWS_MAX;

use std::fmt;
use std::io::Write;

/// Forms of output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Comma-separated values with a line of names.
    Csv,
    /// Apache Parquet, compressed with Snappy.
    Parquet,
}

/// Why a table cannot be written.
#[derive(Debug)]
pub enum ExportError {
    /// The output takes no more.
    Write(std::io::Error),
    /// As before, or a defect: what the Parquet writer says.
    Parquet(parquet::errors::ParquetError),
    /// A value is beyond what its column holds in Parquet.
    Beyond {
        /// Name of the column.
        column: &'static str,
        /// The value.
        value: i128,
    },
}

impl fmt::Display for ExportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Write(error) => error.fmt(f),
            Self::Parquet(error) => error.fmt(f),
            Self::Beyond { column, value } => write!(f, "{value} does not fit into the column {column}"),
        }
    }
}

impl std::error::Error for ExportError {}

impl From<std::io::Error> for ExportError {
    fn from(error: std::io::Error) -> Self {
        Self::Write(error)
    }
}

impl From<parquet::errors::ParquetError> for ExportError {
    fn from(error: parquet::errors::ParquetError) -> Self {
        Self::Parquet(error)
    }
}

/// A table that is being written.
pub struct Table<W: Write + Send, R: 'static>(Writer<W, R>);

enum Writer<W: Write + Send, R: 'static> {
    Csv(csv::Csv<W, R>),
    Parquet(Box<file::Parquet<W, R>>),
}

impl<W: Write + Send, R> fmt::Debug for Table<W, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").finish_non_exhaustive()
    }
}

impl<W: Write + Send, R> Table<W, R> {
    /// Begins a table. `out` should be buffered.
    ///
    /// # Errors
    /// If `out` does not take its head.
    pub fn begin(format: Format, columns: &'static [Column<R>], out: W) -> Result<Self, ExportError> {
        Ok(Self(match format {
            Format::Csv => Writer::Csv(csv::Csv::begin(columns, out)?),
            Format::Parquet => Writer::Parquet(Box::new(file::Parquet::begin(columns, out)?)),
        }))
    }

    /// Adds a row.
    ///
    /// # Errors
    /// If `out` does not take it, or the format has no place for one of its values.
    pub fn put(&mut self, row: R) -> Result<(), ExportError> {
        match &mut self.0 {
            Writer::Csv(csv) => csv.put(&row),
            Writer::Parquet(parquet) => parquet.put(row),
        }
    }

    /// Ends the table and flushes `out`. A Parquet file that was not ended cannot be read.
    ///
    /// # Errors
    /// As [`Table::put`].
    pub fn finish(self) -> Result<(), ExportError> {
        match self.0 {
            Writer::Csv(csv) => csv.finish(),
            Writer::Parquet(parquet) => parquet.finish(),
        }
    }
}
